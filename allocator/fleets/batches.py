"""What a process does with a batch of accounts: the plan of each, as `rebalance` makes it, as plain data.

A batch goes there and results come back by pickle, between processes of one installation. What accounts share is read
once a process, and programs are kept from account to account: no answer depends on the one before it.
"""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from importlib.metadata import version
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from allocator.book.book import Book, BookOfAny, LooksAtAccount
from allocator.book.checks.consistency import CHECKS
from allocator.book.checks.draft import Draft, disagreements, looked_at
from allocator.book.checks.tables import check_account
from allocator.errors import AllocatorError, BadInput, Breach
from allocator.fleets.accounts import OWN_CHECKS, AccountCase, Batch, SharedBook
from allocator.fleets.holdings import Holdings
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.optimization.solve import Program, kept_programs
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import Making, plan_under
from allocator.settings.reading import read_settings, with_lines
from allocator.settings.settings import Settings

Result: TypeAlias = dict[str, Any]
"""What became of an account: a row of a shard."""
_DIGITS = 9
"""Of an objective: those that no processor's arithmetic differs in."""
_CHANGED = (None, "exposures", "holdings", "factors")
"""Tables of checks that what an account sets otherwise may fail."""
_KEPT = 64
"""Answers that are kept at most: there are some twenty questions."""
_alone = Lock()


def packed(shared: SharedBook) -> bytes:
    """What accounts share, as it goes to every process."""
    return pickle.dumps((version("portfolio-allocator"), shared), protocol=pickle.HIGHEST_PROTOCOL)


def work_on(shared: bytes, batch: Batch) -> list[Result]:
    """What became of each account of a batch, in their order; one thread of a process at a time."""
    with _alone, _little_garbage():
        solver = _solver(shared)
        return [solver.result(case, held) for case, held in zip(batch.cases, batch.held, strict=True)]


@contextmanager
def _little_garbage() -> Iterator[None]:
    """Python looks for garbage as seldom as in our own command, and afterwards as whose process it is wants it."""
    before = gc.get_threshold()
    gc.set_threshold(100_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@lru_cache(maxsize=1)
def _solver(packed_book: bytes) -> AccountSolver:
    made_by, shared = pickle.loads(packed_book)
    own = version("portfolio-allocator")
    if made_by != own:
        cure = "install one version everywhere"
        raise BadInput.of("--scheduler", f"a worker has allocator {own}, and this is {made_by}", cure)
    return AccountSolver(shared)


def completed(plan: Plan) -> Result:
    """The row of an account that has a plan."""
    final, proof, decision = plan.final, plan.certificate, plan.decision
    numbers = {
        "value": round(plan.book.value, 2),
        "gain_bps": None if decision.gain_bps is None else round(decision.gain_bps, 4),
        "objective": round(proof.objective, _DIGITS),
        "bound": round(proof.bound, _DIGITS),
        "lots_gap_bps": round(plan.lots_gap_bps, 6),
        "bought": round(float(final.bought.sum()), 2),
        "sold": round(float(final.sold.sum()), 2),
        "costs": round(final.costs, 2),
        "cash": round(final.cash, 2),
    }
    weights = zip([*plan.book.instruments, plan.book.cash_instrument], final.all_weights.round(8).tolist(), strict=True)
    return {
        "account": plan.book.account,
        "error": None,
        "message": None,
        "verdict": decision.verdict,
        "solver": proof.solver,
        **{name: None if number is None else number + 0.0 for name, number in numbers.items()},
        "relaxed": [rule.label for rule in plan.relaxed],
        "weights": [{"instrument": name, "weight": weight + 0.0} for name, weight in weights if weight > 0],
        "orders": [dict(vars(order)) for order in plan.orders],
    }


def failed(account: str, error: str, message: str) -> Result:
    """The row of an account that has none, and why."""
    return {"account": account, "error": error, "message": message, "relaxed": [], "weights": [], "orders": []}


def _is_ordinary(book: Book) -> bool:
    """Whether an account is so far from every bound of its own checks that no table has to be asked."""
    held, lots = book.quantities > 0, book.lot_values
    return bool(held.any() and 1 < book.value < 1e12 and (lots[lots > 0] > 1e-12 * book.value).all())


class _Terms:
    """Settings that accounts share, and what is made of them that looks at no account: found once."""

    def __init__(self, book: Book, settings: Settings, program: Callable[[Outlook, Mandate], Program]) -> None:
        self.settings, self._any = settings, BookOfAny.of(replace(book, settings=settings))
        self._found = dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]]()
        self._before: Mandate | None = None
        self.making = Making(program, self._mandate, partial(check_obviously_infeasible, ask=self._ask))

    def _mandate(self, book: Book, outlook: Outlook) -> Mandate:
        made = build_mandate(book, outlook, ask=self._ask)
        self._before = made if self._before is None else made.beside(self._before)
        return made

    def _ask(self, make: Callable[..., Any], book: Book, *others: Any) -> Any:
        """What a function makes of a book, asked once where it looks at no account."""
        key = (make, *map(id, others))
        if len(self._found) > _KEPT:  # others are each account's own
            self._found.clear()
        if key not in self._found:
            self._found[key] = others, _of_any(make, self._any, *others)  # others are kept, so that ids stay theirs
        found = self._found[key][1]
        return make(book, *others) if found is LooksAtAccount else found


def _of_any(make: Callable[..., Any], book: BookOfAny, *others: Any) -> Any:
    try:
        made = make(book, *others)
        return tuple(made) if isinstance(made, Iterator) else made
    except LooksAtAccount:
        return LooksAtAccount


class AccountSolver:
    """The plans of accounts that share a book."""

    def __init__(self, shared: SharedBook) -> None:
        self._shared, self._program = shared, kept_programs()
        self._terms = lru_cache(maxsize=64)(self._read_terms)
        at = {name: i for i, name in enumerate([*shared.book.instruments, shared.book.cash_instrument])}
        self._at = np.array([at[name] for name in shared.quotes["instrument"]])

    def result(self, case: AccountCase, held: Holdings) -> Result:
        """What became of an account: its plan, or why it has none. Whatever fails is of this account alone."""
        try:
            if case.breaches or not len(held.lines):
                raise BadInput(case.breaches)
            book = self.book(case, held)
            return completed(self.plan(book, self._terms(case.overrides)))
        except AllocatorError as error:
            return failed(case.name, type(error).__name__, str(error))
        except Exception as error:  # a defect, which is not to cost the other accounts their plans
            return failed(case.name, "Defect", f"{type(error).__name__}: {error}")

    def book(self, case: AccountCase, held: Holdings) -> Book:
        """The book that `load` makes of the account with what it sets otherwise.

        Raises:
            BadInput: what is held or set otherwise is refused; all errors at once.
        """
        shared = self._shared
        try:
            settings = self._terms(case.overrides).settings
        except BadInput as error:
            raise BadInput(self._placed(case, error.breaches)) from None
        every = np.zeros(len(shared.book.instruments) + 1)
        every[self._at[held.instruments]] = held.quantities
        quantities, cash = every[:-1].copy(), float(every[-1]) + settings.cash.flow
        book = replace(shared.book, settings=settings, account=case.name, quantities=quantities, cash=cash)
        if case.overrides or not _is_ordinary(book):
            self._refuse_disagreements(case, held, settings)
        return book

    def _refuse_disagreements(self, case: AccountCase, held: Holdings, settings: Settings) -> None:
        """Hold what is held, and what is set otherwise, to the tables that are shared."""
        shared = self._shared
        own = shared.quotes.iloc[held.instruments].assign(account=case.name, quantity=held.quantities)
        own.index = pd.Index(held.lines)
        others = shared.quotes.loc[~shared.quotes["instrument"].isin(own["instrument"])]
        rows = pd.concat([own, others])
        rows.attrs = dict(shared.quotes.attrs)
        draft = Draft(settings, {**shared.tables, "holdings": rows}, shared.given, case.name)
        checks = looked_at(*OWN_CHECKS)
        if case.overrides:
            checks = tuple(one for one in CHECKS if one.needs in _CHANGED and one.look is not check_account)
        if found := disagreements(draft, checks):
            raise BadInput(self._placed(case, found))

    def plan(self, book: Book, terms: _Terms) -> Plan:
        """Its plan, as `rebalance` makes it."""
        outlook = build_outlook(book) if self._shared.outlook is None else self._shared.outlook
        return plan_under(outlook, book, terms.making, lots=self._shared.lots)

    def _read_terms(self, overrides: tuple[str, ...]) -> _Terms:
        shared = self._shared
        settings = shared.book.settings
        if overrides:
            settings = read_settings(shared.text, overrides=[*shared.overrides, *overrides], as_of=shared.as_of)
        return _Terms(shared.book, settings, self._program)

    def _placed(self, case: AccountCase, found: Sequence[Breach]) -> list[Breach]:
        """Errors of what is set otherwise, where it is written."""
        return [
            replace(one, table=case.table, row=case.row) if one.table == "--set" else one
            for one in with_lines(found, self._shared.text, case.overrides)
        ]
