"""`backtest(book)`: the book's mandate walked forward through a history of prices, beside simple policies.

On every row what is held is worth its price; at a review the book is asked as it was known by then (`Book.at`), and
trades at that row's prices and the book's own costs. Nothing else ever changes units or cash but a name that ends,
which is sold at its last price. The account is kept twice: units and cash, and start, gains and costs; the two must
agree to the cent on every row, or nothing is said at all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral
from typing import Annotated, Literal, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.backtesting.measures import MEASURES
from allocator.backtesting.standard_portfolios import (
    EQUAL,
    HELD,
    PEERS,
    PLAN,
    Weights,
    chosen_peers,
    equal_weights,
    wanted_weights,
)
from allocator.book.book import Book, dated_book, history_of_table, refuse_no_book, views_of_later
from allocator.book.checks.consistency import CHECKS
from allocator.book.checks.draft import unconfirmed
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import FEWEST_ROWS
from allocator.errors import BadInput, Breach, Infeasible, NotSolved, did_you_mean, setting_breach
from allocator.mandate.builder import build_mandate, cost_rates
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.presentation import BookHeading, Count, Keywords, NotNegative, Rounded, Row
from allocator.rules.builder import locked_names
from allocator.settings.reading import settings_on
from allocator.settings.settings import CashSection, Settings
from allocator.tables.files import RawTable, from_frame
from allocator.types import Matrix, Vector

CENT = 0.005
"""Half of one: what the two ways of counting may differ by."""
EVERY = {"month": "M", "week": "W"}
"""When the book is asked, beside every so many rows."""
WHEN, OUTLOOKS = ("recommended", "always"), ("dated", "today")
"""At which reviews the plan trades, and of which day the outlook is."""
CLOCKS = (252.0, 52.0, 12.0, 4.0, 1.0)
"""Rows a year: trading days, weeks, months, quarters, years."""
OF_THE_DAY = tuple(check for check in CHECKS if check.needs in (None, "signals"))
"""What of a book's tables and settings may agree on one day and not on a later one."""
EVENTS = ("trade required", "recommended", "no trade", "no plan", "rebalanced", "ended")
FEWEST_DAYS = 3
LOTS_GAP_BPS = 5.0
"""Of the objective: how near to the best whole lots must be here, unless the book states `lots.gap_bps`."""
FOOT = (
    "There is no long history of real signals: this tests the machinery on prices, and no forecast. "
    "What is held today, and the names, are known with hindsight."
)


@dataclass(frozen=True)
class TradeEvent:
    """Something that happened to a policy at a review, or to a name: what was traded in money, and what it cost."""

    date: str
    policy: str
    event: Annotated[str, Keywords(enum=[*EVENTS])]
    instrument: Annotated[str | None, "the name that ended; null of a review"]
    orders: Count
    bought: Annotated[NotNegative, Rounded(2)]
    sold: Annotated[NotNegative, Rounded(2)]
    costs: Annotated[NotNegative, Rounded(2)]


@dataclass(eq=False)
class _Account:
    """What a policy holds: (N,) units and cash; and the same once more as gains and costs since the start."""

    policy: str
    units: Vector
    cash: float
    start: float
    gains: float = 0.0
    costs: float = 0.0
    turnovers: list[tuple[pd.Timestamp, float]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    events: list[TradeEvent] = field(default_factory=list)

    def mark(self, day: pd.Timestamp, before: Vector, prices: Vector) -> None:
        """A new row of prices: what is held gains or loses, and the account must still be what it is counted to be."""
        self.gains += float(self.units @ (prices - before))
        self.close(day, prices)

    def close(self, day: pd.Timestamp, prices: Vector) -> float:
        """The account's value.

        Raises:
            NotSolved: the two ways of counting differ.
        """
        value, counted = float(self.units @ prices) + self.cash, self.start + self.gains - self.costs
        if not abs(value - counted) < CENT * max(1.0, self.start / 1e9):
            told = f"cash and holdings are {value:,.4f}, and start, gains and costs make {counted:,.4f}"
            raise NotSolved(f"the account of '{self.policy}' does not close on {day:%Y-%m-%d}: {told}")
        return value

    def trade(
        self,
        day: pd.Timestamp,
        event: str,
        moved: Vector,
        prices: Vector,
        cost: Vector,
        ticket: float,
        name: str | None = None,
    ) -> None:
        """Buy and sell `moved` (N,) units at these prices; `cost` (N,) is money."""
        money, orders = moved * prices, int(np.count_nonzero(moved))
        costs, value = float(cost.sum()) + ticket * orders, self.close(day, prices)
        self.units = np.where(np.abs(self.units + moved) <= 1e-12 * np.abs(self.units), 0.0, self.units + moved)
        self.cash -= float(money.sum()) + costs
        self.costs += costs
        bought, sold = float(np.maximum(money, 0.0).sum()), float(np.maximum(-money, 0.0).sum())
        self.turnovers.append((day, max(bought, sold) / value))
        self.events.append(TradeEvent(f"{day:%Y-%m-%d}", self.policy, event, name, orders, bought, sold, costs))


@dataclass(frozen=True, eq=False)
class _Unplanned:
    """A review without a plan: what the other policies are told of it."""

    book: Book
    mandate: Mandate


@dataclass(frozen=True, eq=False)
class PolicyResult:
    """One policy: the account's `values` (T,), its measures, and what it traded."""

    policy: str
    values: Vector
    measures: Mapping[str, float | None]
    start: float
    gains: float
    costs: float
    turnover: float
    orders: int
    events: tuple[TradeEvent, ...]
    held: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Backtest:
    """Policies on the same rows: `days` (T,), of which `reviews` are those that may trade."""

    book: Book
    days: pd.DatetimeIndex
    per_year: float
    every: str
    when: str
    outlook: str
    reviews: tuple[str, ...]
    policies: tuple[PolicyResult, ...]
    notes: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """The accounts' values, rows × policies."""
        return pd.DataFrame({one.policy: one.values for one in self.policies}, index=self.days)

    def document(self) -> BacktestDocument:
        """The figures as plain data."""
        return {
            "format": "allocator.backtest/1",
            "book": self.book.heading(),
            "from": f"{self.days[0]:%Y-%m-%d}",
            "to": f"{self.days[-1]:%Y-%m-%d}",
            "rows": len(self.days),
            "rows_a_year": self.per_year,
            "every": self.every,
            "when": self.when,
            "outlook": self.outlook,
            "reviews": [*self.reviews],
            "policies": [
                {
                    "policy": one.policy,
                    "measures": {name: _rounded(value) for name, value in one.measures.items()},
                    "start": round(one.start, 2),
                    "gains": round(one.gains, 2) + 0.0,
                    "costs": round(one.costs, 2) + 0.0,
                    "end": round(float(one.values[-1]), 2),
                    "turnover_a_year": round(one.turnover, 8),
                    "costs_a_year_bps": round(self.costs_a_year(one) * 1e4, 6),
                    "orders": one.orders,
                    "held": {name: round(units, 8) for name, units in one.held.items()},
                }
                for one in self.policies
            ],
            "dates": [f"{day:%Y-%m-%d}" for day in self.days],
            "values": {one.policy: [round(float(value), 2) for value in one.values] for one in self.policies},
            "events": [asdict(event) for one in self.policies for event in one.events],
            "notes": [*self.notes],
        }

    def costs_a_year(self, one: PolicyResult) -> float:
        """What trading cost in a year, as a part of the account's mean value."""
        years = max(len(self.days) - 1, 1) / self.per_year
        return one.costs / float(one.values.mean()) / years


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 10) + 0.0


class _PolicyRow(TypedDict):
    policy: str
    measures: Annotated[dict[str, float | None], "of the rows' returns after costs; null where one is not defined"]
    start: Annotated[NotNegative, "the account's value on the first row, before any trade"]
    gains: Annotated[float, "what prices brought; start + gains - costs is the end, to the cent, on every row"]
    costs: NotNegative
    end: float
    turnover_a_year: Annotated[NotNegative, "the larger of purchases and sales, as a part of the value then"]
    costs_a_year_bps: Annotated[NotNegative, "of the mean value"]
    orders: Count
    held: Annotated[dict[str, float], "units at the end, and the amount of cash"]


_Days = TypedDict("_Days", {"from": str, "to": str})


class BacktestDocument(_Days):
    """A mandate walked forward through prices; written by `allocator backtest --json`."""

    format: Literal["allocator.backtest/1"]
    book: BookHeading
    rows: Annotated[Count, "of prices, each with a value of every account"]
    rows_a_year: Annotated[float, "what measures are annualised by"]
    every: Annotated[str, "month, week, or so many rows"]
    when: Annotated[str, Keywords(enum=[*WHEN])]
    outlook: Annotated[str, Keywords(enum=[*OUTLOOKS])]
    reviews: list[str]
    policies: list[_PolicyRow]
    dates: list[str]
    values: Annotated[dict[str, list[float]], "of the accounts, by policy and row"]
    events: list[Annotated[Row, TradeEvent]]
    notes: list[str]


def backtest(
    book: Book,
    *,
    prices: pd.DataFrame | RawTable | None = None,
    start: dt.date | None = None,
    end: dt.date | None = None,
    every: str | int = "month",
    when: Literal["recommended", "always"] = "recommended",
    outlook: Literal["dated", "today"] = "dated",
    peers: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> Backtest:
    """Walk a book's mandate forward through its price history, or through longer `prices` of the same instruments.

    Every account begins on the first row with today's weights. `every` month or week, or so many rows, the book is
    asked as it was known by then, and trades where that is required or recommended (`when` "always": at all of them).
    A review after the first at which limits conflict, or without a verified answer, trades nothing, and a note tells.
    With `outlook` "today" signals and all that is dated are today's on every row, and only prices are those of then.

    Raises:
        BadInput: the history does not fit the book, is in doubt, or is too short; all errors at once.
        Infeasible: limits conflict at the first review, whose day is told.
        NotSolved: the first review has no verified answer, or an account does not close to the cent.
    """
    refuse_no_book(book)
    peers = (peers,) if isinstance(peers, str) else tuple(peers)
    wrong = [
        Breach.of(f"--{option}", "is not known", did_you_mean(str(value), [*known]), value=str(value))
        for option, value, known in (
            *(("peer", peer, PEERS) for peer in peers), ("when", when, WHEN), ("outlook", outlook, OUTLOOKS),
        )
        if value not in known
    ]  # fmt: skip
    is_count = isinstance(every, Integral) and not isinstance(every, bool)  # numpy's are some, too
    every = int(every) if is_count else every
    if every not in EVERY and not (isinstance(every, int) and is_count and every >= 1):
        rule, cure = "is no time between reviews", "write month, week or a number of rows"
        wrong.append(Breach.of("--every", rule, cure, value=str(every)))
    for option, day in (("--start", start), ("--end", end)):
        if day is not None and (not isinstance(day, dt.date) or pd.isna(day)):
            wrong.append(Breach.of(option, "is no date", "give a datetime.date", value=str(day)))
    if wrong:
        raise BadInput(wrong)
    others = chosen_peers(peers)
    walk = _Walk(book, _history(book, prices), start, end, every, outlook, estimates=bool(others))
    accounts = walk.accounts([PLAN, HELD, EQUAL, *others])
    say, asked = progress or (lambda _: None), 0
    for t in walk.rows:
        for account in accounts:
            walk.mark(account, t)
        if t in walk.reviews:
            asked += 1
            say(f"{walk.days[t]:%Y-%m-%d}: review {asked} of {len(walk.reviews)}")
            plan = walk.plan(accounts[0], t, when)
            for account in accounts[2:]:
                walk.rebalance(account, t, others.get(account.policy, equal_weights), plan)
        for account in accounts:
            account.values.append(account.close(walk.days[t], walk.filled[t]))
    return walk.result(accounts, str(every), when, outlook)


def _history(book: Book, prices: pd.DataFrame | RawTable | None) -> pd.DataFrame:
    """Rows × the book's instruments, once nothing in them is in doubt.

    Raises:
        BadInput: there is none, or what is in it is in doubt or against a rule of `[risk]`.
    """
    raw = prices if prices is None or isinstance(prices, RawTable) else from_frame("prices", prices)
    history, name = (book.price_history, "prices") if raw is None else (history_of_table(book, raw), raw.name)
    if history is None:
        cure = "add prices.csv to the book, or name a file with --prices"
        raise BadInput.of("prices", "this book has no price history", cure)
    if len(history) < FEWEST_DAYS:
        raise BadInput.of(name, f"needs {FEWEST_DAYS} rows or more to walk through, and has {len(history)}", "add rows")
    risk = book.settings.risk
    doubts = price_doubts(history, PriceTable(name))
    silent = {entry.table for entry in book.settings.confirm}
    breaches = list(unconfirmed(doubts, book.settings.confirm, silent))
    if risk.source == "prices" and risk.blanks == "refuse":
        there = history.notna()
        inside = ~there & there.cummax() & there[::-1].cummax()[::-1]
        for column in inside.columns[inside.any()]:
            first = inside.index[inside[column]][0]
            rule = f"is blank on {first:%Y-%m-%d} and has prices later"
            cure = 'correct it, or set risk.blanks = "drop_rows"'
            breaches.append(Breach.of(name, rule, cure, column=str(column)))
    if breaches:
        raise BadInput(breaches)
    return history


class _Walk:
    """The rows of a history as a book goes through them."""

    def __init__(
        self,
        book: Book,
        history: pd.DataFrame,
        start: dt.date | None,
        end: dt.date | None,
        every: str | int,
        outlook: str,
        *,
        estimates: bool,
    ) -> None:
        own = book.settings
        self.flows = bool(own.cash.dated)
        self.near = "gap_bps" not in own.lots.model_fields_set
        lots = own.lots.model_copy(update={"gap_bps": LOTS_GAP_BPS}) if self.near else own.lots
        changes = {"cash": CashSection(), "lots": lots}
        self.book, self.outlook = replace(book, settings=own.model_copy(update=changes)), outlook
        self.history, self.days = history, pd.DatetimeIndex(history.index)
        rates = np.array([{own.book.currency: 1.0, **book.rates}[one] for one in book.currencies])
        self.quoted = history.to_numpy(dtype=float) * rates
        self.filled: Matrix = np.nan_to_num(history.ffill().to_numpy(dtype=float) * rates)
        self.there = ~np.isnan(self.quoted)
        self.eligible = self.there & (self._row_of_listing() <= np.arange(len(history))[:, None])
        self.window = int(own.risk.window_rows or _rows_a_year(self.days))
        before = self.window if estimates or own.risk.source == "prices" else 0
        first = self._first(start, before)
        last = len(self.days) if end is None else int(self.days.searchsorted(pd.Timestamp(end), side="right"))
        if last - first < 2:
            rule = f"leaves no rows to walk through: prices are of {self.days[0]:%Y-%m-%d} to {self.days[-1]:%Y-%m-%d}"
            told = f", and the first review can be on {self.days[first]:%Y-%m-%d}" if first < len(self.days) else ""
            raise BadInput.of("backtest", rule + told, self._cure(start, end, first, before))
        self.rows = range(first, last)
        self.reviews = frozenset(_review_rows(self.days, self.rows, every))
        self.started = first
        self.unplanned = list[tuple[str, str]]()
        """The day of each review without a plan, and why."""
        if outlook == "dated" and (wrong := [*views_of_later(own, self.days[first].date())]):
            raise BadInput(wrong)

    def _cure(self, start: dt.date | None, end: dt.date | None, first: int, before: int) -> str:
        """What helps where nothing is left: about whatever it is that the first row waits for."""
        if end is not None and first + 1 < len(self.days):
            return f"let it end on {self.days[first + 1]:%Y-%m-%d} or later"
        known = _known_since(self.book.settings) if self.outlook == "dated" else None
        if known is not None and self._row_of(known[1]) == first:
            return f"{known[0]} is {known[1]}: give prices from then on, or --outlook today for today's on every row"
        if start is not None and self._row_of(start) == first:
            return "begin earlier, or give more prices with --prices"
        if before:
            return f"give more than {before} rows before the first with --prices, or shorten risk.window_rows"
        return "give prices of more rows: no name can be held on two of them"

    def _row_of(self, day: dt.date) -> int:
        """The first row of the day or later."""
        return int(self.days.searchsorted(pd.Timestamp(day).normalize()))

    def _row_of_listing(self) -> NDArray[np.int64]:
        """(N,) the row from which a name can be held: its first price, or as many rows later as its risk is told by."""
        risk = self.book.settings.risk
        first = np.where(self.there.any(axis=0), self.there.argmax(axis=0), len(self.there))
        needed = {"refuse": int(risk.window_rows or 0), "shorten_window": FEWEST_ROWS, "beta": 0}[risk.late_listings]
        return np.asarray(first + (needed if risk.source == "prices" else 0), dtype=np.int64)

    def _first(self, start: dt.date | None, rows: int) -> int:
        """The first row: with so many before it, and of a day on which the book can speak."""
        known = _known_since(self.book.settings) if self.outlook == "dated" else None
        since = max((self._row_of(one) for one in (start, known and known[1]) if one is not None), default=0)
        able = np.flatnonzero(self.eligible.any(axis=1))
        return max(rows, since, int(able[0]) if len(able) else len(self.days))

    def accounts(self, policies: Sequence[str]) -> list[_Account]:
        """One each with today's weights on the first row; what of them cannot be held then is cash."""
        prices, lots = self.filled[self.started], self.book.lot_sizes
        wanted = np.where(self.eligible[self.started], self.book.weights * self.book.value, 0.0)
        lot_values = np.where(prices > 0, prices, 1.0) * lots
        units = np.floor(wanted / lot_values + 1e-9) * lots
        cash = self.book.value - float(units @ prices)
        return [_Account(policy, units.copy(), cash, self.book.value) for policy in policies]

    def mark(self, account: _Account, t: int) -> None:
        """The account at the row's prices; names that have ended are sold at their last."""
        if t == self.started:
            return
        account.mark(self.days[t], self.filled[t - 1], self.filled[t])
        ended = (account.units > 0) & self._ended(t)
        if ended.any():
            for i in np.flatnonzero(ended):
                moved = np.where(np.arange(len(ended)) == i, -account.units, 0.0)
                cost = cost_rates(self.book) * np.abs(moved) * self.filled[t]
                ticket, name = self.book.settings.costs.ticket, self.book.instruments[i]
                account.trade(self.days[t], "ended", moved, self.filled[t], cost, ticket, name)

    def _ended(self, t: int) -> NDArray[np.bool_]:
        """(N,) names without a price for too long to wait for one: known then, not by what comes later."""
        risk = self.book.settings.risk
        if risk.source == "prices" and risk.blanks == "refuse":
            return np.asarray(~self.there[t])
        oldest = self.days[t] - pd.Timedelta(days=risk.max_age_days)
        recent = (self.days[: t + 1] >= oldest) & (self.days[: t + 1] <= self.days[t])
        return np.asarray(~self.there[: t + 1][recent].any(axis=0))

    def dated(self, account: _Account, t: int) -> Book:
        """The book as it was known on the row, with what the account holds.

        Raises:
            BadInput: it cannot speak on that day.
        """
        day, settings = self.days[t], self.book.settings
        held = replace(self.book, quantities=account.units, cash=account.cash)
        usable = self.eligible[t] | (account.units > 0)
        history = self.history.iloc[: t + 1].copy()
        history.loc[:, ~usable] = np.nan
        signals = self.book.signals
        if self.outlook == "today":
            history.index = history.index + (pd.Timestamp(settings.book.as_of) - day)
        else:
            settings = settings_on(settings, day.date())
        checks = CHECKS if t == self.started else OF_THE_DAY
        known = dated_book(held, settings, signals, history, checks=checks)
        mandate = known.settings.mandate
        if (budget := mandate.turnover_budget) is not None:
            since = day - pd.DateOffset(months=budget.months)
            used = sum(part for then, part in account.turnovers if since < then <= day)
            mandate = mandate.model_copy(update={"turnover_budget": budget.model_copy(update={"used": used})})
        waiting = [name for name, here in zip(known.instruments, self.there[t], strict=True)
                   if not here and name not in (*mandate.locked, *mandate.forbidden)]  # fmt: skip
        mandate = mandate.model_copy(update={"locked": [*mandate.locked, *waiting]}) if waiting else mandate
        return replace(known, settings=known.settings.model_copy(update={"mandate": mandate}))

    def plan(self, account: _Account, t: int, when: str) -> Plan | _Unplanned:
        """The plan of a review, carried out in the account; where a later one than the first has none, nothing is.

        Raises:
            BadInput: the book cannot speak then.
            Infeasible: limits conflict on the first row.
            NotSolved: there is no verified answer there.
        """
        day = f"{self.days[t]:%Y-%m-%d}"
        try:
            known = self.dated(account, t)
            try:
                plan = rebalance(known)
            except (Infeasible, NotSolved) as error:
                if t == self.started:
                    raise
                self.unplanned.append((day, str(error)))
                nothing = 0 * account.units
                account.trade(self.days[t], "no plan", nothing, self.filled[t], nothing, 0.0)
                return _Unplanned(known, build_mandate(known, build_outlook(known)))
        except Infeasible as error:
            error.message = f"at the review of {day}: {error.message}"
            error.args = (error.message,)
            raise
        except NotSolved as error:
            raise NotSolved(f"at the review of {day}: {error}") from error
        except BadInput as error:
            told = (replace(one, rule=f"{one.rule}, at the review of {day}") for one in error.breaches)
            raise BadInput(told) from None
        orders = plan.orders if when == "recommended" else plan.weighed_orders
        place = {name: i for i, name in enumerate(plan.book.instruments)}
        moved = np.zeros(len(place))
        for order in orders:
            moved[place[order.instrument]] = order.quantity if order.side == "buy" else -order.quantity
        event = "rebalanced" if when == "always" and orders else plan.decision.verdict
        self._carry_out(account, t, event, moved, plan)
        return plan

    def rebalance(self, account: _Account, t: int, weights: Weights, plan: Plan | _Unplanned) -> None:
        """What another policy wants of the names that can be held, in whole lots that cash can pay.

        Raises:
            NotSolved: it has no answer.
        """
        moves = self.there[t] & ~np.isin(
            plan.book.instruments, [*locked_names(plan.book)]
        )  # tradable_from is of a name
        can = self.eligible[t] & moves
        window = self.history.iloc[max(t - self.window, 0) : t + 1]
        if weights is not equal_weights:
            can = can & window.notna().all(axis=0).to_numpy()
        wanted = np.zeros(len(can))
        if can.any():
            returns = window.loc[:, can].pct_change(fill_method=None).iloc[1:]
            wanted[can] = wanted_weights(
                f"{account.policy}, at the review of {self.days[t]:%Y-%m-%d},", weights, returns
            )
        prices, lots = self.filled[t], self.book.lot_sizes
        stuck = np.where(moves, 0.0, account.units)
        money = account.close(self.days[t], prices) - float(stuck @ prices)
        lot_values = np.where(prices > 0, prices, 1.0) * lots
        for _ in range(50):  # what trading costs is not known before it is known what is traded
            units = np.where(moves, np.floor(wanted * money / lot_values + 1e-9) * lots, account.units)
            moved = units - account.units
            cost = self._costs(moved, t, plan)
            tickets = self.book.settings.costs.ticket * np.count_nonzero(moved)
            cash = account.cash - float(moved @ prices) - float(cost.sum()) - tickets
            if cash >= 0:
                break
            money = max(money + cash * 1.001 - 1e-9 * abs(money), 0.0)
        self._carry_out(account, t, "rebalanced" if moved.any() else "no trade", moved, plan)

    def _costs(self, moved: Vector, t: int, plan: Plan | _Unplanned) -> Vector:
        bought, sold = (np.maximum(side, 0.0) * self.filled[t] for side in (moved, -moved))
        return plan.mandate.costs(bought, sold, plan.book.value)

    def _carry_out(self, account: _Account, t: int, event: str, moved: Vector, plan: Plan | _Unplanned) -> None:
        """Trade.

        Raises:
            BadInput: tickets, which lots are chosen without, take more cash than there is.
        """
        ticket, before = self.book.settings.costs.ticket, account.cash
        account.trade(self.days[t], event, moved, self.filled[t], self._costs(moved, t, plan), ticket)
        if ticket and account.cash < min(before, 0.0) - CENT:
            told = f"{np.count_nonzero(moved)} tickets of '{account.policy}' at the review of {self.days[t]:%Y-%m-%d}"
            rule = f"leaves cash of {account.cash:,.2f} after {told}"
            cure = "raise mandate.min_cash to what tickets come to, or lower it"
            raise BadInput([setting_breach("costs.ticket", ticket, rule, cure)])

    def result(self, accounts: Sequence[_Account], every: str, when: str, outlook: str) -> Backtest:
        """What came of it."""
        days = self.days[self.rows.start : self.rows.stop]
        per_year = _rows_a_year(days)
        return Backtest(
            self.book, days, per_year, every, when, outlook,
            tuple(f"{self.days[t]:%Y-%m-%d}" for t in sorted(self.reviews)),
            tuple(self._measured(one, per_year) for one in accounts),
            tuple(self._notes(accounts)),
        )  # fmt: skip

    def _measured(self, account: _Account, per_year: float) -> PolicyResult:
        values = np.array(account.values)
        began = np.concatenate([[account.start], values[1:]])  # what the first trades cost is of the first return
        returns = began[1:] / began[:-1] - 1
        years = max(len(values) - 1, 1) / per_year
        held = {name: float(units) for name, units in zip(self.book.instruments, account.units, strict=True) if units}
        return PolicyResult(
            account.policy, values, {name: one.formula(returns, per_year) for name, one in MEASURES.items()},
            account.start, account.gains, account.costs, sum(part for _, part in account.turnovers) / years,
            sum(event.orders for event in account.events if event.event != "ended"), tuple(account.events),
            {**held, self.book.cash_instrument: account.cash},
        )  # fmt: skip

    def _notes(self, accounts: Sequence[_Account]) -> Iterator[str]:
        rows = np.flatnonzero(self.eligible[self.rows.start : self.rows.stop].any(axis=0))
        never = np.delete(self.book.instruments, rows).tolist()
        if never:
            yield f"never held, for want of prices: {', '.join(never)}"
        began = self.eligible[self.rows.start : self.rows.stop].argmax(axis=0)
        for i in rows:
            if began[i]:
                yield f"{self.book.instruments[i]} can be held from {self.days[self.rows.start + began[i]]:%Y-%m-%d} on"
        ended = dict[str, str]()
        for event in (event for one in accounts for event in one.events if event.event == "ended"):
            ended.setdefault(str(event.instrument), event.date)
        for name, day in ended.items():
            last = self.days[: self.rows.stop][self.there[: self.rows.stop, self.book.instruments.index(name)]][-1]
            yield f"{name} has no price after {last:%Y-%m-%d}: who held it sold it on {day} at its last, at a cost"
        if self.unplanned:
            day, why = self.unplanned[0]
            count = f"{len(self.unplanned)} of {len(self.reviews)} reviews had no plan"
            yield f"{count}, and the plan's account traded nothing there; the first, {day}: {why.rstrip('.')}"
        if self.book.foreign_currencies:
            yield f"exchange rates are held constant ({', '.join(self.book.foreign_currencies)})"
        if self.outlook == "dated" and self.book.settings.question is None:
            yield "probabilities here have no date: today's are believed on every row, which is hindsight"
        if self.flows:
            yield "cash.flows, which are planned for later, are left out"
        yield "cash earns nothing; policies beside the plan keep none of its rules"
        if self.near:
            yield f"whole lots may be {LOTS_GAP_BPS:g} bps of the objective from the best; lots.gap_bps states another"


def _known_since(settings: Settings) -> tuple[str, dt.date] | None:
    """The last day that the book's own settings state something of, before which it cannot speak."""
    dated = {
        "question.opened": None if settings.question is None else settings.question.opened,
        "market.date": None if settings.market is None else settings.market.date,
        "model.since": None if settings.model is None else settings.model.since,
    }
    found = [(key, day) for key, day in dated.items() if day is not None]
    return max(found, key=lambda one: one[1]) if found else None


def _review_rows(days: pd.DatetimeIndex, rows: range, every: str | int) -> Iterator[int]:
    """The first row, and the first of every month or week, or every so many."""
    if isinstance(every, int):
        yield from rows[::every]
        return
    stamps = days.to_period(EVERY[every])
    yield from (t for t in rows if t == rows.start or stamps[t] != stamps[t - 1])


def _rows_a_year(days: pd.DatetimeIndex) -> float:
    """The clock that the rows keep."""
    years = (days[-1] - days[0]).days / 365.25
    counted = (len(days) - 1) / years
    return min(CLOCKS, key=lambda one: abs(np.log(one / counted)))
