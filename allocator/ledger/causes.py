"""What made the difference between two books' targets: how much of it is of the holdings and prices, of the signals,
the exposures, the model's parameters, the mandate and the costs.

With v(S) the target weights, and what they are worth, of the book that has the groups S of B and all others of A, the
part of a group is its step v(S with it) − v(S), averaged over all orders in which the groups may come (Shapley; science
§4.11). Parts add up to the whole difference. Which order is taken changes a step, so the least and the most that it is
stand beside each part: one order alone is a story.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any

import numpy as np

from allocator.ambiguity.sets import Ambiguity, ambiguity_set
from allocator.book.book import Book
from allocator.errors import AllocatorError, BadInput, BadMandate, Infeasible, NotSolved
from allocator.ledger.input_groups import GROUPS, MixedBooks
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.optimization.solve import Limits, Program, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.plan import FIGURES, Plan, portfolio_figures
from allocator.plan.reviews import of_chosen_names
from allocator.plan.targets import solve_targets
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

COMPARED = tuple(one for one in FIGURES if one.note and (one.brief or one.name == "costs"))
"""The figures that are compared."""
MOST_OF_A_TREE = 3
"""Groups that are taken in every order where books have reviews: each further one doubles the trees to be solved."""
ADDS_UP = 1e-9
"""Of the account, or of a figure above 1: how far parts may be from the difference."""
CASH = "cash"
"""Its name where two books call it differently."""
BELIEVED = frozenset({"signals", "exposures", "model"})
"""The groups that an outlook is made from."""
GUARDED = BELIEVED | {"mandate"}
"""And those that a set of probabilities is made from."""
_PROGRAMS = 4
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Causes:
    """The difference of two books' targets in parts, by number: weights by `names`, the objective, and COMPARED.

    `ends` (2, numbers) are what both have; `parts`, `least` and `most` (groups, numbers) are of the `blocks`, groups
    that are together with the reason. `range` (groups, 2) is the least and the most that a part moves of the account.
    In one `order` alone there is no range, and `why` says why not in all.
    """

    blocks: Mapping[tuple[str, ...], str]
    changed: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    ends: Matrix
    parts: Matrix
    has_objective: bool
    """Whether both maximise the same."""
    least: Matrix | None = None
    most: Matrix | None = None
    range: Matrix | None = None
    order: tuple[tuple[str, ...], ...] | None = None
    why: str = ""

    @property
    def moves(self) -> Vector:
        """(groups,) the fraction of the account that each part moves."""
        return np.asarray(np.abs(self.parts[:, : len(self.names)]).sum(axis=1) / 2)


@dataclass(frozen=True)
class SolvedTargets:
    """Targets that were solved already: weights by name, cash last, what was minimised, and figures."""

    weights: Mapping[str, float]
    loss: float
    figures: Mapping[str, float]

    @staticmethod
    def of_plan(plan: Plan) -> SolvedTargets:
        """Of a plan that is there."""
        names = (*plan.book.instruments, plan.book.cash_instrument)
        return SolvedTargets(
            weights=dict(zip(names, plan.target.all_weights, strict=True)),
            loss=plan.certificate.objective if plan.policy is None else plan.policy.best.objective,
            figures={one.name: getattr(plan.targeted, one.name) for one in COMPARED},
        )

    @staticmethod
    def of_document(document: Mapping[str, Any]) -> SolvedTargets:
        """Of a `plan.json`."""
        return SolvedTargets(
            weights={str(row["instrument"]): float(row["weight_target"]) for row in document["positions"]},
            loss=float(document["certificate"]["objective"]),
            figures={one.name: float(document["figures"]["target"][one.name]) for one in COMPARED},
        )


def causes_of_difference(
    one: Book,
    other: Book,
    solved: tuple[SolvedTargets | None, SolvedTargets | None],
    say: Say,
    *,
    every_order: bool = False,
) -> Causes | None:
    """What made the difference; None where nothing that a plan is made from differs. `solved` are targets that are
    there.

    Raises:
        Infeasible, NotSolved: one of the two has no plan, or every order leads through a book that has none.
    """
    books = MixedBooks.of(one, other)
    cash = one.cash_instrument if one.cash_instrument == other.cash_instrument else CASH
    worth = _Worth((*dict.fromkeys((*one.instruments, *other.instruments)), cash))
    if not books.changed:
        return None
    ends = [worth.of_book(book, mix) if found is None else worth.of_solved(book, mix, found)
            for book, found, mix in zip((one, other), solved, ((), GROUPS), strict=True)]  # fmt: skip
    mixes = _Mixes(books, worth, say, {0: ends[0], (1 << len(books.blocks)) - 1: ends[1]})
    most = MOST_OF_A_TREE if one.settings.uses_tree or other.settings.uses_tree else len(GROUPS)
    found = mixes.in_every_order() if every_order or len(books.blocks) <= most else None
    return Causes(
        blocks=books.blocks,
        changed=books.changed,
        names=worth.names,
        ends=np.array(ends),
        has_objective=one.settings.mandate.objective == other.settings.mandate.objective,
        **(mixes.in_one_order() if found is None else found),
    )


# What a book's targets are worth, again and again: no lots, and programs that are compiled once a shape.
#


@dataclass(frozen=True, eq=False)
class _Worth:
    """What targets are worth as one row of numbers: weights by `names`, of which cash is the last, and figures."""

    names: tuple[str, ...]
    programs: list[Program] = field(default_factory=list)
    believed: dict[frozenset[str], Outlook] = field(default_factory=dict)
    guarded: dict[frozenset[str], Ambiguity] = field(default_factory=dict)

    def of_solved(self, book: Book, mix: Collection[str], found: SolvedTargets) -> Vector:
        """Of targets that are there."""
        objective = -found.loss
        if book.settings.uses_tree:
            staged = build_multistage_mandate(book, self._outlook(book, mix))
            objective = staged.gain(found.loss)
        return self._row(found.weights, objective, [found.figures[one.name] for one in COMPARED])

    def of_book(self, book: Book, mix: Collection[str], *, explains: bool = False) -> Vector:
        """Of a book whose targets are solved now; `mix` says which it is of those between the two.

        Raises:
            BadInput, BadMandate, Infeasible, NotSolved: there are none.
        """
        outlook, start, limits = (
            self._outlook(book, mix),
            Position(book.weights, book.cash / book.value),
            Limits.of(book),
        )
        check_obviously_infeasible(book, outlook)
        if book.settings.uses_tree:
            staged, _ = of_chosen_names(book, outlook, build_multistage_mandate(book, outlook), start)
            staged = with_hindsight(staged, start, limits)
            best, mandate = solve_policy(staged, start, limits), staged.mandates[0]
            target, objective = trade_of_solution(start, mandate, best.holdings[0], book.value), best.gain
        else:
            compiled = Program if explains else self._compiled
            stated = build_mandate(book, outlook, self._ambiguity(book, outlook, mix))
            found = solve_targets(book, start, outlook, stated, limits, compiled)
            mandate, target = found.mandate, found.target
            objective = -mandate.loss(target, outlook)
        weights = dict(zip((*book.instruments, book.cash_instrument), target.all_weights, strict=True))
        figures = portfolio_figures(book, outlook, mandate, target)
        return self._row(weights, objective, [getattr(figures, one.name) for one in COMPARED])

    def _outlook(self, book: Book, mix: Collection[str]) -> Outlook:
        """What is believed, which holdings, mandate and costs have no part in but by a model of another package."""
        if book.settings.plugins.models:
            return build_outlook(book)
        key = frozenset(mix) & BELIEVED
        return self.believed.get(key) or self.believed.setdefault(key, build_outlook(book))

    def _ambiguity(self, book: Book, outlook: Outlook, mix: Collection[str]) -> Ambiguity:
        """What is guarded against, which holdings and costs have no part in either."""
        if book.settings.plugins.models:
            return ambiguity_set(book, outlook)
        key = frozenset(mix) & GUARDED
        return self.guarded.get(key) or self.guarded.setdefault(key, ambiguity_set(book, outlook))

    def _compiled(self, outlook: Outlook, mandate: Mandate) -> Program:
        """A program of this shape; no answer of it depends on those before."""
        for program in self.programs:
            if program.fits(outlook, mandate):
                return program
        self.programs.insert(0, Program(outlook, mandate, warm=False, explains=False))
        del self.programs[_PROGRAMS:]
        return self.programs[0]

    def _row(self, weights: Mapping[str, float], objective: float, figures: Sequence[float]) -> Vector:
        held = dict(zip((*[*weights][:-1], self.names[-1]), weights.values(), strict=True))
        return np.array([*(held.get(name, 0.0) for name in self.names), objective, *figures], dtype=np.float64)


# The books between, by number: a bit for each block of groups that is of B.
#


@dataclass(eq=False)
class _Mixes:
    """Books between two, solved when they are asked for: what they are worth, or why they have no plan."""

    books: MixedBooks
    worth: _Worth
    say: Say
    solved: dict[int, Vector | str]

    def in_every_order(self) -> dict[str, Any] | None:
        """Parts and their range, over all orders; None where a book between has no plan.

        Raises:
            NotSolved: the parts do not add up, which would be a defect of ours.
        """
        found = [self._at(mix) for mix in range(1 << len(self.books.blocks))]
        if any(isinstance(value, str) for value in found):
            return None
        values, names = np.array(found), len(self.worth.names)
        steps = [*steps_by_group(values)]
        parts = np.array([shares @ step for shares, step in steps])
        missed = float(np.abs(parts.sum(axis=0) - (values[-1] - values[0])).max())
        if not missed <= ADDS_UP * max(1.0, float(np.abs(values).max())):
            raise NotSolved(f"the parts miss the difference by {missed:.1g}; no number leaves")
        sizes = [np.abs(step[:, :names]).sum(axis=1) / 2 for _, step in steps]
        return {
            "parts": parts,
            "least": np.array([step.min(axis=0) for _, step in steps]),
            "most": np.array([step.max(axis=0) for _, step in steps]),
            "range": np.array([[size.min(), size.max()] for size in sizes]),
        }

    def in_one_order(self) -> dict[str, Any]:
        """The steps of one order: that of the groups, or the first after it along which every book has a plan.

        Raises:
            Infeasible: there is no such order.
        """
        order, blocks = next(self._orders(), None), [*self.books.blocks]
        refused = [mix for mix, found in sorted(self.solved.items()) if isinstance(found, str)]
        why = self._refusal(refused) if refused else f"with reviews each of the {1 << len(blocks)} books is a tree"
        if order is None:
            raise Infeasible(f"no order leads from A to B through books that have a plan: {why}")
        mixes = [0]
        for place in order:
            mixes.append(mixes[-1] | 1 << place)
        values = np.array([self._at(mix) for mix in mixes])
        parts = np.empty((len(order), values.shape[1]))
        parts[order] = np.diff(values, axis=0)
        return {"parts": parts, "order": tuple(blocks[place] for place in order), "why": why}

    def _orders(self, mix: int = 0) -> Iterator[list[int]]:
        """Orders along which every book has a plan, that of the groups first."""
        if mix == (1 << len(self.books.blocks)) - 1:
            yield []
        for place in range(len(self.books.blocks)):
            further = mix | 1 << place
            if further != mix and not isinstance(self._at(further), str):
                yield from ([place, *rest] for rest in self._orders(further))

    def _at(self, mix: int) -> Vector | str:
        if mix not in self.solved:
            self.say(f"solving the books between: {len(self.solved) - 1}")
            try:
                groups = self._groups(mix)
                self.solved[mix] = self.worth.of_book(self.books.book(groups), groups)
            except (BadInput, BadMandate, Infeasible, NotSolved) as error:
                self.solved[mix] = str(error)
        return self.solved[mix]

    def _groups(self, mix: int) -> tuple[str, ...]:
        return tuple(group for place, block in enumerate(self.books.blocks) if mix >> place & 1 for group in block)

    def _refusal(self, refused: Sequence[int]) -> str:
        """Which mix has no plan and why, and how many more have none."""
        groups = self._groups(refused[0])
        told = str(self.solved[refused[0]])
        try:
            self.worth.of_book(self.books.book(groups), groups, explains=True)
        except AllocatorError as error:
            told = error.message if isinstance(error, Infeasible) else str(error)
        of_b = " and ".join(GROUPS[group] for group in groups)
        more = f" (nor have {len(refused) - 1} more)" if len(refused) > 1 else ""
        return f"the book with {of_b} of B and the rest of A has no plan{more}: {told.partition(chr(10))[0]}"


def steps_by_group(values: Matrix) -> Iterator[tuple[Vector, Matrix]]:
    """Of each group its steps over all orders (2^(G-1), M), and the share (2^(G-1),) of the orders that has each.

    `values` (2^G, M) are by mix.
    """
    count = len(values).bit_length() - 1
    for group in range(count):
        without = np.array([mix for mix in range(len(values)) if not mix >> group & 1])
        shares = np.array([1 / (count * comb(count - 1, int(mix).bit_count())) for mix in without])
        yield shares, values[without | 1 << group] - values[without]
