"""A household: several accounts in one program. The book's mandate holds of their sum, a row of accounts.csv of one.

The program is that of `rebalance` with A·N names, each instrument once an account; what it costs is the account's own.
An account's cash is what its own trades leave, a linear function of them, so that a rule of one account is rows over
its names alone. Covariance is of the sum: what is a name's own moves all of its copies alike.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypedDict

import highspy
import numpy as np
import scipy.sparse as sp

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, setting_breach
from allocator.fleets.accounts import AccountCase, SharedBook, read_fleet
from allocator.fleets.batches import _DIGITS as DIGITS
from allocator.fleets.batches import AccountSolver, _Terms
from allocator.fleets.fleet import ORDERS, inputs_of_run
from allocator.mandate.builder import build_mandate, cost_rates
from allocator.mandate.mandate import Mandate, no_trade
from allocator.optimization.highs import linear_model, quiet_highs, run_highs
from allocator.optimization.quadratic_program import TIE_BREAK
from allocator.optimization.solve import Limits, Program, Solution, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.plan.document import RuleRow, figures_document, rules_document
from allocator.plan.output import csv_text, order_rows, order_system_row
from allocator.plan.plan import Order, Plan, portfolio_figures
from allocator.plan.rebalance import Making, plan_under
from allocator.plan.runs import digest, refuse_changing_inputs, write_files
from allocator.plan.trade_decision import Verdict
from allocator.presentation import ByName, IsoDate, Keywords, Row, stable_numbers
from allocator.rules import LinearRule, RuleId, RuleMeasurement, RuleRows, Trade, WeightAtLeast
from allocator.rules.builder import _every_linear_rule
from allocator.rules.rows import Position
from allocator.settings.mandate import NO_RULES, MandateSection
from allocator.settings.reading import with_overrides
from allocator.settings.settings import ORDER_COLUMNS, Settings
from allocator.tables.files import names_in
from allocator.types import Vector

_NOT_SUMMED = ("largest", "max_tracking_error", "min_worst_case_active_return", "max_names", "min_position")
"""Under [mandate]: not linear in what accounts hold together, or not yet."""
_NOT_OWN = (*NO_RULES, *_NOT_SUMMED, "max_volatility", "min_worst_case_return")
"""Under [mandate]: what no single account of a household may have."""
_OWN = ("cash.paid_in", "cash.paid_out", "costs.commission_bps", "costs.spread_bps")
"""What it may, beside the rules of [mandate]."""


@dataclass(frozen=True, eq=False)
class Household:
    """Accounts under one outlook (of N names); `book` is that of their sum, whose value all fractions are of."""

    members: tuple[Book, ...]
    book: Book
    outlook: Outlook
    names: tuple[tuple[str, str], ...]
    """(A·N,) the account and instrument of each of the program's names."""

    @cached_property
    def rates(self) -> tuple[Vector, ...]:
        """(A, N) cost rates of each account."""
        return tuple(map(cost_rates, self.members))

    def wide(self, outlook: Outlook) -> Outlook:
        """The outlook of A·N names: what is a name's own is one more factor, on which its copies load alike."""
        accounts, risk = len(self.members), outlook.risk
        own = np.diag(np.sqrt(risk.specific))[:, risk.specific > 0]
        loadings = np.tile(np.hstack([risk.loadings, own]), (accounts, 1))
        spread = FactorRisk(loadings, np.zeros(len(loadings)), risk.source)
        return replace(outlook, returns=np.tile(outlook.returns, (1, accounts)), risk=spread, priced=None)

    def narrow(self, outlook: Outlook) -> Outlook:
        """That of N names, with the probabilities of one of A·N."""
        return replace(self.outlook, probabilities=outlook.probabilities)

    def sum(self, trade: Trade) -> Trade:
        """What all accounts together hold and trade."""
        values, bought, sold = (
            part.reshape(len(self.members), -1).sum(axis=0) for part in (trade.values, trade.bought, trade.sold)
        )
        return Trade(values, trade.cash, bought, sold, trade.costs, trade.value_before)

    def own(self, trade: Trade, account: int) -> Trade:
        """What one account holds and trades, and the cash that its own trades leave."""
        values, bought, sold = (
            part.reshape(len(self.members), -1)[account] for part in (trade.values, trade.bought, trade.sold)
        )
        unit, book = trade.value_before / self.book.value, self.members[account]
        costs = float(self.rates[account] @ (bought + sold))
        cash = book.cash * unit + float(sold.sum()) - float(bought.sum()) - costs
        if -_FLOAT_NOISE * trade.value_before < cash < 0:
            cash = 0.0
        return Trade(values, cash, bought, sold, costs, book.value * unit)


_FLOAT_NOISE = 1e-13
"""Of the household: the last bits of its sums."""


# Rules of the sum, and of one account: the rule as it is for one account of N names, over the A·N of the program.
#


@dataclass(frozen=True, eq=False)
class _Lifted(LinearRule):
    """A rule of N names, over those of a household."""

    rule: LinearRule
    household: Household

    @property
    def tier(self) -> int:  # type: ignore[override]
        """Its own."""
        return self.rule.tier

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its own."""
        return self.rule.names

    @property
    def limits(self) -> tuple[float, ...]:  # type: ignore[override]
        """Its own."""
        return self.rule.limits

    @property
    def labels(self) -> Sequence[str]:
        """Its own."""
        return self.rule.labels

    @property
    def limit_labels(self) -> Sequence[str]:
        """Its own."""
        return self.rule.limit_labels

    @property
    def ids(self) -> Sequence[RuleId]:
        """Its own."""
        return self.rule.ids

    @property
    def has_limits(self) -> bool:
        """Its own."""
        return self.rule.has_limits

    def with_limits(self, limits: Sequence[float]) -> _Lifted:
        """Other limits of the same."""
        return replace(self, rule=self.rule.with_limits(limits))


class RuleOfSum(_Lifted):
    """A rule that holds of what all accounts together hold and trade."""

    def rows(self, instruments: int) -> RuleRows:
        """The rows of N names, once an account."""
        accounts = len(self.household.members)
        rows = self.rule.rows(instruments // accounts)
        held, bought, sold = (
            sp.csr_array(sp.hstack([part] * accounts)) for part in (rows.holdings, rows.buys, rows.sells)
        )
        return replace(rows, holdings=held, buys=bought, sells=sold)

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[RuleMeasurement]:
        """Of the sum."""
        return self.rule.readings(self.household.sum(trade), self.household.narrow(outlook))


@dataclass(frozen=True, eq=False)
class RuleOfAccount(_Lifted):
    """A rule of one account. Of its cash c = c₀ − (1 + k)'b + (1 − k)'s and its wealth Σh + c, rows have h, b and s."""

    account: int

    @cached_property
    def labels(self) -> Sequence[str]:
        """With the account's name."""
        return [f"{self._name}: {label}" for label in self.rule.labels]

    @property
    def limit_labels(self) -> Sequence[str]:
        """With the account's name."""
        return [f"{self._name}: {label}" for label in self.rule.limit_labels]

    @cached_property
    def ids(self) -> Sequence[RuleId]:
        """With the account's name, so that no two accounts have one limit."""
        return [self._own(one) for one in self.rule.ids]

    @property
    def _name(self) -> str:
        return self.household.members[self.account].account

    def _own(self, one: RuleId) -> RuleId:
        key, shared = (f"{key} of {self._name}" if key else "" for key in (one.key, one.shared))
        return RuleId(f"{one.kind} of {self._name}", one.name, key, shared, one.joins)

    def rows(self, instruments: int) -> RuleRows:
        """Rows over the names of its account, in fractions of the household."""
        household, accounts = self.household, len(self.household.members)
        book, rates = household.members[self.account], household.rates[self.account]
        rows = self.rule.rows(instruments // accounts).on(household.outlook)
        whole = household.book.value
        of_cash = (rows.cash - rows.wealth)[:, None]
        held = rows.holdings - sp.csr_array(np.outer(rows.wealth, np.ones(len(rates))))
        bought = rows.buys - sp.csr_array(of_cash * (1 + rates))
        sold = rows.sells + sp.csr_array(of_cash * (1 - rates))
        return replace(
            rows,
            labels=tuple(self.labels),
            limit_labels=tuple(self.limit_labels),
            ids=tuple(self.ids),
            holdings=self._placed(held),
            buys=self._placed(bought),
            sells=self._placed(sold),
            cash=np.zeros(len(rows.cash)),
            wealth=np.zeros(len(rows.cash)),
            limit=(rows.limit * book.value - of_cash[:, 0] * book.cash) / whole,
            size=rows.size * book.value / whole,
        )

    def _placed(self, part: sp.csr_array) -> sp.csr_array:
        accounts, names = len(self.household.members), part.shape[1]
        placed = sp.csr_array(
            (part.data, part.indices + self.account * names, part.indptr), shape=(part.shape[0], accounts * names)
        )
        placed.eliminate_zeros()
        return placed

    def readings(self, trade: Trade, outlook: Outlook) -> Sequence[RuleMeasurement]:
        """Of the account's own portfolio; what it misses is counted as a part of the household."""
        household, book = self.household, self.household.members[self.account]
        part = book.value / household.book.value
        own = self.rule.readings(household.own(trade, self.account), household.narrow(outlook))
        return [
            replace(one, label=f"{self._name}: {one.label}", id=self._own(one.id), of_account=one.missed * part)
            for one in own
        ]


class PaysForItself(WeightAtLeast):
    """An account spends no more than it has: no other account pays for its trades."""

    words, has_limits = "pays for its own trades", False

    def with_limits(self, limits: Sequence[float]) -> PaysForItself:
        """There is none to loosen."""
        del limits
        return self


def household_mandate(household: Household) -> Mandate:
    """The mandate of the sum, and the rules of each account, over A·N names.

    Raises:
        BadInput: a rule that is not of a sum of accounts.
    """
    whole = build_mandate(household.book, household.outlook)
    # of cash that is paid out, the account's own rule speaks
    rules = [RuleOfSum(rule, household) for rule in whole.linear_rules if rule.kind != "paid out"]
    unlimited = {one for rule in rules if not rule.has_limits for one in rule.ids}
    own = list[RuleOfAccount]()
    for account, book in enumerate(household.members):
        stated = [
            rule
            for rule in _every_linear_rule(book, household.outlook)
            if rule.has_limits or not unlimited.issuperset(rule.ids)
        ]
        if book.cash >= 0:
            stated.append(PaysForItself("", np.zeros(len(book.instruments)), 0.0, 1.0))
        own += [RuleOfAccount(rule, household, account) for rule in stated]
    accounts, error = len(household.members), whole.return_error
    return replace(
        whole,
        linear_rules=(*rules, *own),
        cost_rates=np.concatenate(household.rates),
        return_error=None if error is None else error.copied(accounts),
        charges=None if whole.charges is None else np.tile(whole.charges, accounts),
    )


# Reading: every account of the book, with what its row of accounts.csv says.
#


class _OwnRules(AccountSolver):
    """Books of accounts whose mandate is what their rows of accounts.csv say, and nothing of the book's."""

    def __init__(self, shared: SharedBook) -> None:
        stated = shared.book.settings
        objective = stated.mandate.model_dump(include={"objective", "risk_aversion"}, exclude_unset=True)
        of_sum = stated.plugins.model_copy(update={"rules": {}})
        self._bare = stated.model_copy(update={"mandate": MandateSection(**objective), "plugins": of_sum})
        super().__init__(replace(shared, book=replace(shared.book, settings=self._bare)))

    def _read_terms(self, overrides: tuple[str, ...]) -> _Terms:
        return _Terms(self._shared.book, with_overrides(self._bare, overrides), self._program)


def read_household(
    folder: Path,
    accounts: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
) -> Household:
    """Every account of a book as one household; `accounts` are the rules, costs and payments of single accounts.

    Raises:
        BadInput: every error of any account, or what a household cannot have.
    """
    shared, fleet = read_fleet(folder, accounts, overrides=overrides, as_of=as_of)
    settings, read = shared.book.settings, _OwnRules(shared)
    breaches, books = list(_unfit(settings)), dict[str, Book]()
    for batch in map(fleet.batch, range(fleet.batches)):
        for case, held in zip(batch.cases, batch.held, strict=True):
            breaches += [*case.breaches, *_not_own(case)]
            if case.breaches:
                continue
            try:
                books[case.name] = read.book(case, held)
            except BadInput as error:
                breaches += error.breaches
    members = tuple(book for _, book in sorted(books.items()))
    breaches += [
        Breach.of("holdings.csv", f"account {book.account} is worth nothing", "leave it out of the book's holdings")
        for book in members
        if book.value <= 0
    ]
    if breaches:
        raise BadInput(dict.fromkeys(breaches))
    quantities, cash = np.sum([book.quantities for book in members], axis=0), sum(book.cash for book in members)
    whole = replace(shared.book, account="household", quantities=quantities, cash=float(cash))
    if any(book.given_away.any() for book in (whole, *members)):
        cure = "use allocator fleet for it, or take it out of the book"
        raise BadInput([Breach.of("holdings.csv", "has a forbidden name at price 0, to be given away", cure)])
    outlook = build_outlook(whole) if shared.outlook is None else shared.outlook
    names = tuple((book.account, name) for book in members for name in book.instruments)
    if len({_label(*name) for name in names}) < len(names):
        cure = "rename one of the accounts"
        raise BadInput([Breach.of("holdings.csv", "names two accounts that cannot be told apart beside names", cure)])
    return Household(members, whole, outlook, names)


def _unfit(settings: Settings) -> Iterator[Breach]:
    """What a household's book may not say."""
    one = "use allocator fleet, which takes accounts one by one"
    if settings.uses_tree:
        key = "horizon.reviews" if settings.horizon.reviews else "mandate.objective"
        rule = "looks at reviews or utility, and several accounts together are planned by one decision's mean and risk"
        yield setting_breach(key, None, rule, one)
    if settings.costs.impact:
        cure = "set costs.impact to 0, and hold trades to mandate.max_participation"
        rule = "is of what all accounts trade together, and cannot be parted among them"
        yield setting_breach("costs.impact", settings.costs.impact, rule, cure)
    if settings.robust.return_error == "budget":
        rule = "counts names, and a household has each once an account"
        yield setting_breach("robust.return_error", "budget", rule, 'set it to "box" or "ellipsoid"')
    for key in _NOT_SUMMED:
        if getattr(settings.mandate, key) is not None:
            yield setting_breach(
                f"mandate.{key}", None, "cannot be held of a sum of accounts", f"leave it out, or {one}"
            )
    for key in ("paid_in", "paid_out"):
        if getattr(settings.cash, key):
            cure = f"give it in the column cash.{key} of accounts.csv"
            yield setting_breach(f"cash.{key}", getattr(settings.cash, key), "does not say of which account", cure)


def _not_own(case: AccountCase) -> Iterator[Breach]:
    """What an account sets that is its household's."""
    for said in case.overrides:
        key = said.partition("=")[0]
        section, _, name = key.partition(".")
        if key not in _OWN and (section != "mandate" or name.split(".")[0] in _NOT_OWN):
            cure = "leave the cell blank: the book's own holds of all accounts together"
            yield Breach(case.table, case.row, key, None, "cannot be one account's of a household", cure)


# Which account holds what of a name: where several ways cost the same, an interior point ends anywhere among them, and
# elsewhere on another processor. A vertex does not: that of least costs, then of least trades, then of fixed weights.
#

_TIE = 1e-7
"""What a unit traded counts beside its costs: a thousandth of a basis point, which certificates allow a hundredfold."""
_GOLDEN = (5**0.5 - 1) / 2


class _SplitProgram(Program):
    """A program of A·N names whose holdings of each name, once found, are parted among accounts in one way."""

    def __init__(self, household: Household, outlook: Outlook, mandate: Mandate) -> None:
        super().__init__(outlook, mandate, warm=False)
        self._accounts = len(household.members)

    def solve(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        limits: Limits | None = None,
        refused: Mapping[str, str] = MappingProxyType({}),
        trading_price: float = TIE_BREAK,
    ) -> Solution:
        """The solution, parted anew under the same rules at no more costs."""
        found = super().solve(start, outlook, mandate, limits, refused, trading_price)
        rates, rows = mandate.cost_rates, mandate.rows.on(outlook)
        count, names = len(rates), len(rates) // self._accounts
        trade = trade_of_solution(start, mandate, found.holdings, 1.0)
        cash, of_costs = rows.cash[:, None], rows.wealth[:, None] * rates
        bought = rows.holdings + rows.buys + sp.csr_array(of_costs - cash * (1 + rates))
        sold = rows.sells - rows.holdings + sp.csr_array(of_costs + cash * (1 - rates))
        rules = sp.csr_array(sp.hstack([bought, sold]))
        each = sp.hstack([sp.eye_array(names)] * self._accounts)
        sums = sp.csr_array(sp.hstack([each, -each]))
        here = np.concatenate([trade.bought, trade.sold])
        most = np.maximum(
            rows.limit + rows.wealth - rows.holdings @ start.holdings - rows.cash * start.cash, rules @ here
        )
        spread = 1 + np.modf(_GOLDEN * np.arange(1, 2 * count + 1))[0]
        solver = quiet_highs(threads=1, presolve="off", solver="simplex", dual_feasibility_tolerance=1e-9,
                             primal_feasibility_tolerance=1e-9)  # fmt: skip
        solver.passModel(
            linear_model(
                (np.tile(rates, 2) / _TIE + spread) * 1e-3,
                np.zeros(2 * count),
                np.concatenate([np.full(count, np.inf), start.holdings]),
                sp.csr_array(sp.vstack([rules, sums])),
                np.concatenate([np.full(len(most), -np.inf), sums @ here]),
                np.concatenate([most, sums @ here]),
            )
        )
        run_highs(solver)
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return found
        parted = np.asarray(solver.getSolution().col_value)
        holdings = np.maximum(start.holdings + parted[:count] - parted[count:], 0.0)
        return replace(found, holdings=holdings, bought=parted[:count], sold=parted[count:])


# The plan, and what is told of it.
#


def _label(account: str, instrument: str) -> str:
    return f"{account}: {instrument}"


def plan_household(household: Household, *, lots: bool = True) -> Plan:
    """The plan of A·N names: targets, whole lots and the proof, as `rebalance` makes them.

    Raises:
        BadInput: the tickets of an account's orders would leave it owing.
        Infeasible, NotSolved, OutOfTime: as of `rebalance`; fixes are not tried on whole lots.
    """
    book, accounts = household.book, len(household.members)
    stacked = replace(
        book,
        instruments=tuple(_label(*name) for name in household.names),
        quantities=np.concatenate([one.quantities for one in household.members]),
        prices=np.tile(book.prices, accounts),
        lot_sizes=np.tile(book.lot_sizes, accounts),
    )
    making = Making(partial(_SplitProgram, household), lambda *_: household_mandate(household), lambda *_: None)
    plan = plan_under(household.wide(household.outlook), stacked, making, lots=lots)
    _refuse_unpaid(household, plan)
    return plan


def _refuse_unpaid(household: Household, plan: Plan) -> None:
    """Hold the tickets of each account to the cash that its own orders leave."""
    ticket = household.book.settings.costs.ticket
    owed = list[Breach]()
    for account, book in enumerate(household.members):
        left = household.own(plan.final, account).cash - ticket * len(household_orders(household, plan, account))
        if ticket and left < min(book.cash, 0.0) - 0.01:
            rule = f"leaves cash of {left:,.2f} in {book.account}"
            cure = f"raise mandate.min_cash of {book.account} in accounts.csv, or lower the ticket"
            owed.append(setting_breach("costs.ticket", ticket, rule, cure))
    if owed:
        raise BadInput(owed)


def household_orders(household: Household, plan: Plan, account: int) -> list[Order]:
    """The orders of one account, in its own words; weights are of the account."""
    book, own = household.members[account], household.own(plan.final, account)
    at = {_label(book.account, name): i for i, name in enumerate(book.instruments)}
    return [
        replace(
            order,
            instrument=book.instruments[at[order.instrument]],
            weight_before=float(book.weights[at[order.instrument]]),
            weight_after=float(own.weights[at[order.instrument]]),
        )
        for order in plan.orders
        if order.instrument in at
    ]


class HouseholdAccount(TypedDict):
    """One account of a household after its orders; amounts in the book's currency, weights of the account."""

    account: str
    value: Annotated[float, "before trading"]
    bought: float
    sold: float
    costs: float
    cash: Annotated[float, "after its orders"]
    weights: Annotated[ByName, "after its orders, cash last; names of which nothing is held are left out"]
    orders: Annotated[list[Row], "none where nothing is traded, or targets alone were asked for"]


class HouseholdDocument(TypedDict):
    """Accounts that are planned together: `allocator household`."""

    format: Literal["allocator.household/1"]
    name: str
    as_of: IsoDate
    currency: str
    inputs_sha256: Annotated[str, Keywords(pattern="^[0-9a-f]{64}$")]
    value: Annotated[float, "of all accounts before trading"]
    verdict: Verdict
    gain_bps: Annotated[float | None, "what trading changes the objective by, of the household"]
    solver: str
    objective: Annotated[float, "minimised loss of the targets, from the formulas"]
    bound: Annotated[float, "no plan of this household can be below it"]
    gap_bps: Annotated[float, "how far the targets may be from the best"]
    lots_gap_bps: Annotated[float, "how far the weighed whole lots may be from the best; 0 of targets alone"]
    before: Annotated[Row, "figures of the sum, as held"]
    after: Annotated[Row, "the same after the orders"]
    accounts: list[HouseholdAccount]
    rules: Annotated[list[RuleRow], "those of the sum, then of each account, on what is held after the orders"]
    binding: Annotated[ByName, "bps of the household for one more point of a limit, by rule, dearest first"]
    relaxed: Annotated[list[str], "rules with a priority that were relaxed"]


def household_document(household: Household, plan: Plan, inputs_sha256: str) -> HouseholdDocument:
    """What is told of a household's plan."""
    book, proof = household.book, plan.certificate
    whole = build_mandate(book, household.outlook)
    before, after = (
        figures_document(portfolio_figures(book, household.outlook, whole, household.sum(trade)))
        for trade in (no_trade(plan.book), plan.final)
    )
    return {
        "format": "allocator.household/1",
        "name": book.settings.book.name,
        "as_of": book.settings.book.as_of.isoformat(),
        "currency": book.settings.book.currency,
        "inputs_sha256": inputs_sha256,
        "value": round(book.value, 2),
        "verdict": plan.decision.verdict,
        "gain_bps": None if plan.decision.gain_bps is None else round(plan.decision.gain_bps, 4) + 0.0,
        "solver": proof.solver,
        "objective": round(proof.objective, DIGITS),
        "bound": round(proof.bound, DIGITS),
        "gap_bps": round(proof.gap * 1e4, 4) + 0.0,
        "lots_gap_bps": round(plan.lots_gap_bps, 6) + 0.0,
        "before": before,
        "after": after,
        "accounts": [_account(household, plan, account) for account in range(len(household.members))],
        "rules": rules_document(plan.measurements),
        "binding": {one.label: round(one.bps_per_point, 4) for one in plan.binding if one.has_limit},
        "relaxed": [rule.label for rule in plan.relaxed],
    }


def _account(household: Household, plan: Plan, account: int) -> HouseholdAccount:
    book, own = household.members[account], household.own(plan.final, account)
    names = (*book.instruments, book.cash_instrument)
    return {
        "account": book.account,
        "value": round(book.value, 2) + 0.0,
        "bought": round(float(own.bought.sum()), 2) + 0.0,
        "sold": round(float(own.sold.sum()), 2) + 0.0,
        "costs": round(own.costs, 2) + 0.0,
        "cash": round(own.cash, 2) + 0.0,
        "weights": {name: one for name, one in zip(names, own.all_weights.round(8).tolist(), strict=True) if one},
        "orders": [
            {
                "side": order.side,
                "instrument": order.instrument,
                "quantity": order.quantity,
                "price": order.price,
                "value": round(order.value, 2),
                "cost": round(order.cost, 2) + 0.0,
            }
            for order in household_orders(household, plan, account)
        ],
    }


def household_files(household: Household, plan: Plan, document: HouseholdDocument) -> dict[str, bytes]:
    """orders.csv of all accounts in the columns of `rebalance --out`, what [orders] wants, and household.json."""
    section, rows = household.book.settings.orders, list[dict[str, Any]]()
    for account, book in enumerate(household.members):
        named, orders = replace(household.book, account=book.account), household_orders(household, plan, account)
        rows += order_rows(named, orders, document["inputs_sha256"], len(rows) + 1)
    files = {ORDERS: csv_text([ORDER_COLUMNS, *([row[name] for name in ORDER_COLUMNS] for row in rows)])}
    if section is not None:
        files[section.file] = csv_text([[*section.columns], *(order_system_row(row, section) for row in rows)])
    files["household.json"] = json.dumps(stable_numbers(document), indent=1, allow_nan=False) + "\n"
    return {name: text.encode() for name, text in files.items()}


def run_household(
    folder: Path,
    accounts: Path | None = None,
    out: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
    lots: bool = True,
) -> HouseholdDocument:
    """Plan every account of a book together, and write the orders into `out`, a folder that is empty or not there.

    Raises:
        BadInput, Infeasible, NotSolved, OutOfTime: as of `read_household` and `plan_household`.
    """
    if out is not None and names_in(out):
        raise BadInput.of("--out", "is not empty", "name a folder that is empty, or not there", value=str(out))
    before = inputs_of_run(folder, accounts, overrides, as_of, lots=lots)
    household = read_household(folder, accounts, overrides=overrides, as_of=as_of)
    inputs = inputs_of_run(folder, accounts, overrides, as_of, lots=lots)
    refuse_changing_inputs(before, inputs)
    plan = plan_household(household, lots=lots)
    document = household_document(household, plan, digest(json.dumps(inputs, sort_keys=True).encode()))
    if out is not None:
        write_files(household_files(household, plan, document), out)
    return document
