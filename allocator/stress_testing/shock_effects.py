"""What a shock does to the current and the proposed portfolio, and to the plan re-optimised after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias, TypedDict

import numpy as np
import pandas as pd

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import BadInput, BadMandate, Infeasible, NotSolved, OutOfTime
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, trade_of_solution
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.plan import Plan
from allocator.plan.targets import solve_targets
from allocator.presentation import ByName, Count, NotNegative, Probability, Row
from allocator.rules import Trade
from allocator.rules.builder import group_shares
from allocator.settings.settings import DAYS_A_YEAR
from allocator.settings.stress import ShockSection, Sign
from allocator.stress_testing.shocked_book import ShockedBook, apply_shock, shock_library
from allocator.types import Matrix, Vector

# What would be traded after a shock: verified targets from the holdings that it leaves.
#
# Where the book decides again at reviews, what is learnt comes with its date: the tree is then that of the day by
# which it has been learnt, at the prices and with the reviews that are left by then.
#


def reoptimized_after_shock(owned: Book, after: ShockedBook) -> tuple[Trade, Vector] | str:
    """The trade of who owns that book after the shock, and its gains (K,) from then to the horizon as fractions of what
    it was worth after the shock; or why there is none.
    """
    settings = owned.settings
    limits = Limits(settings.solver.tolerance, settings.solver.time_limit_seconds)
    try:
        if not settings.uses_tree:
            start = _start(owned)
            trade = solve_targets(owned, start, after.outlook, after.mandate, limits).target
            return trade, _gains(trade, after.outlook)
        then, outlook = owned, after.outlook
        if after.shock.tells and settings.horizon.reviews:
            if after.shock.changes_model or after.shock.moves_prices:
                return "with reviews, news and an immediate change of prices are two shocks; state them apart"
            if settings.horizon.until is None or after.told >= settings.horizon.until:
                return f"the horizon ends by {after.told}, when its news is known"
            then = _by_the_day(owned, after)
            outlook = _from_the_day(owned, then, after.outlook)
        start, staged = _start(then), _staged(then, outlook, after)
        policy = solve_policy(with_hindsight(staged, start, limits), start, limits)
        trade = trade_of_solution(start, staged.mandates[0], policy.holdings[0], then.value)
        grown = then.value / owned.value
        return trade, grown * (1 + _gains(trade, outlook)) - 1
    except (BadMandate, Infeasible, NotSolved, OutOfTime) as error:
        return str(error)


def _start(book: Book) -> Position:
    return Position(book.weights, book.cash / book.value)


def _gains(trade: Trade, outlook: Outlook) -> Vector:
    """(K,) what a trade gains to the horizon, its costs included, as fractions of what was there before it."""
    before = trade.value_before
    gains = outlook.portfolio_returns(trade.values / before, trade.cash / before)
    return gains + trade.value / before - 1


def _staged(then: Book, outlook: Outlook, after: ShockedBook) -> MultistageMandate:
    """The mandate over the tree; its set is that which the shock leaves, at the radius of the day of all its news."""
    return build_multistage_mandate(then, outlook, after.ambiguity)


def _from_the_day(owned: Book, then: Book, outlook: Outlook) -> Outlook:
    """The outlook of that day, with what is left of the returns from the shock to the horizon."""
    years = (then.settings.book.as_of - owned.settings.book.as_of).days / DAYS_A_YEAR
    cash = (1 + float(owned.cash_required_return or 0.0)) ** years
    return replace(
        build_outlook(then),
        returns=(1 + outlook.returns) * (owned.prices / then.prices) - 1,
        cash_returns=(1 + outlook.cash_returns) / cash - 1,
    )


def _by_the_day(owned: Book, after: ShockedBook) -> Book:
    """The book on the day by which everything is learnt: names and cash have grown as they must, as by a review."""
    settings, day = owned.settings, after.told
    days = (day - settings.book.as_of).days
    required = np.asarray(owned.exposures["required_return"], dtype=np.float64)
    grown = (1 + required) ** (days / DAYS_A_YEAR)
    left = [review for review in settings.horizon.reviews if review > day]
    signals = after.signals if owned.signals is None else pd.concat([owned.signals, after.signals])
    return replace(
        owned,
        settings=settings.model_copy(
            update={
                "book": settings.book.model_copy(update={"as_of": day}),
                "horizon": settings.horizon.model_copy(update={"reviews": left}),
                # the history is as old as it is: no day has really passed
                "risk": settings.risk.model_copy(update={"max_age_days": settings.risk.max_age_days + days}),
            }
        ),
        signals=signals,
        prices=owned.prices * grown,
        quoted_prices=owned.quoted_prices * grown,
        cash=owned.cash * (1 + float(owned.cash_required_return or 0.0)) ** (days / DAYS_A_YEAR),
    )


NOTHING = 1e-4
"""A name's change by less than this says neither gain nor fall."""
_BROKEN = 1e-9
_TRADED = 5e-4
"""Of the account: what a trade after the shock must move to be listed."""


@dataclass(frozen=True)
class PortfolioEffect:
    """One portfolio under a shock, as fractions of the account before it, after costs.

    `immediate_return` is of the moment it happens; the expected and the adverse expected return are from before the
    shock to the horizon, under the belief that it leaves and under adverse probabilities around it.
    """

    immediate_return: Annotated[float, "from prices at once"]
    expected_return: Annotated[float, "expected from before the shock to the horizon, under the belief that it leaves"]
    adverse_expected_return: Annotated[
        float, "the same under adverse probabilities, of the ambiguity set around that belief"
    ]


@dataclass(frozen=True)
class ClaimedEffect:
    """What a claim says of a name, and what the name's growth to the horizon changes by under the belief; None where
    that is no number.
    """

    name: str
    claimed: Sign
    change: Annotated[float | None, "of the name's expected growth to the horizon"]

    @property
    def as_claimed(self) -> bool | None:
        """Whether the sign is the claim's; None where there is no number to tell it by."""
        if self.change is None:
            return None
        sign = "stays" if abs(self.change) < NOTHING else "gains" if self.change > 0 else "falls"
        return sign == self.claimed


@dataclass(frozen=True, eq=False)
class ShockEffect:
    """A shock and what it does; `reoptimized` is None where no plan keeps the rules after it, and `why_not` says why.

    `trades` are what the re-optimised plan trades after the shock, as fractions of the account then, largest first.
    `limit_breaches` are those that the plan breaks once the shock has moved its weights; `worthless` are the names that
    lose everything, which are not bought back.
    """

    name: str
    shock: ShockSection
    generalizable: float | None
    current: PortfolioEffect
    proposed: PortfolioEffect
    reoptimized: PortfolioEffect | None
    why_not: str | None
    trades: tuple[tuple[str, float], ...]
    turnover: float | None
    limit_breaches: tuple[str, ...]
    claimed_signs: tuple[ClaimedEffect, ...]
    unmoved: tuple[str, ...]
    worthless: tuple[str, ...]


@dataclass(frozen=True)
class RefusedShock:
    """A shock of which nothing can be computed here, and why."""

    name: str
    why: BadInput | BadMandate


def shock_effects(
    plan: Plan, shocks: Mapping[str, ShockSection], say: Callable[[str], None] | None = None
) -> Iterator[ShockEffect | RefusedShock]:
    """The effect of each shock on the plan's book, one after the other, so that what is finished can be kept; or why
    there is none: its belief is outside the limits of `[robust]`, or its numbers are beyond arithmetic.
    """
    book = plan.book
    outlook = build_outlook(book)
    for count, (name, shock) in enumerate(shocks.items(), 1):
        if say is not None:
            say(f"shock {count} of {len(shocks)}: {name}")
        try:
            found: ShockEffect | RefusedShock = shock_effect(plan, outlook, apply_shock(book, outlook, name, shock))
        except (BadInput, BadMandate) as error:
            found = RefusedShock(name, error)
        yield found


def effect_without_shock(plan: Plan) -> tuple[PortfolioEffect, PortfolioEffect]:
    """Holdings and plan where nothing happens, to set the others beside."""
    nothing = np.zeros(len(plan.book.instruments))
    outlook = plan.outlook
    growth, cash = 1 + outlook.returns, 1 + outlook.cash_returns
    ways = _PricePaths(nothing, growth, cash, outlook.probabilities, plan.mandate.ambiguity)
    return ways.of(no_trade(plan.book)), ways.of(plan.final)


@dataclass(frozen=True, eq=False)
class _PricePaths:
    """What prices do at once (N,) and to the horizon (K, N), cash too (K,), and what is believed of the scenarios."""

    at_once: Vector
    growth: Matrix
    cash_growth: Vector
    beliefs: Vector
    ambiguity: Ambiguity

    def of(self, trade: Trade) -> PortfolioEffect:
        """What they make of a portfolio that was worth `value_before` before its trades."""
        holdings, cash = trade.values / trade.value_before, trade.cash / trade.value_before
        return self.made(trade.value / trade.value_before + float(self.at_once @ holdings) - 1,
                         self.growth @ holdings + self.cash_growth * cash - 1)  # fmt: skip

    def made(self, at_once: float, gains: Vector) -> PortfolioEffect:
        """An effect of gains (K,) from before the shock to the horizon."""
        worst = -self.ambiguity.worst_case(-gains, self.beliefs)
        return PortfolioEffect(at_once, float(self.beliefs @ gains), worst)


def shock_effect(plan: Plan, outlook: Outlook, after: ShockedBook) -> ShockEffect:
    """What one shock does to a plan and to what is held, and what would be done about it."""
    ways = _PricePaths(
        after.at_once, after.growth, after.cash_growth, after.outlook.probabilities, after.mandate.ambiguity
    )
    final = plan.final
    owned = replace(after.book, quantities=final.values / plan.book.prices, cash=final.cash)
    after = replace(after, mandate=build_mandate(owned, after.outlook, after.ambiguity))
    readings = after.mandate.readings(no_trade(owned), after.outlook)
    found = reoptimized_after_shock(owned, after)
    again, of_again = None, None
    if not isinstance(found, str):
        again, gains = found
        left = owned.value / final.value_before
        of_again = ways.made(left - 1, left * (1 + gains) - 1)
    return ShockEffect(
        name=after.name,
        shock=after.shock,
        generalizable=after.generalizable,
        current=ways.of(no_trade(plan.book)),
        proposed=ways.of(final),
        reoptimized=of_again,
        why_not=found if isinstance(found, str) else None,
        trades=() if again is None else _trades(again, owned.instruments),
        turnover=None if again is None else float(max(again.bought.sum(), again.sold.sum()) / again.value_before),
        limit_breaches=tuple(reading.label for reading in readings if reading.excess > _BROKEN),
        claimed_signs=tuple(_claimed_signs(plan.book, outlook, after)),
        unmoved=after.unmoved,
        worthless=after.worthless,
    )


def _trades(trade: Trade, instruments: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    moved = (trade.bought - trade.sold) / trade.value_before
    listed = [(instruments[i], float(moved[i])) for i in np.argsort(-np.abs(moved), kind="stable")]
    return tuple((name, share) for name, share in listed if abs(share) >= _TRADED)


def _claimed_signs(book: Book, outlook: Outlook, after: ShockedBook) -> Iterator[ClaimedEffect]:
    """What the claim says of a name, beside the change of its growth; of a bucket or group, of its names' average."""
    grown = outlook.probabilities @ (1 + outlook.returns)
    with np.errstate(divide="ignore", invalid="ignore"):  # what was worth nothing grows by no number
        changed = after.outlook.probabilities @ after.growth / grown - 1
    for name, sign in after.shock.expect.items():
        shares = np.array([float(one == name) for one in book.instruments])
        if not shares.any():
            shares, _ = group_shares(book, name)
        own = (shares != 0) & np.isfinite(changed)
        change = float(shares[own] @ changed[own] / shares[own].sum()) if own.any() else None
        yield ClaimedEffect(name, sign, change)


# A plan under shocks, as one study: what was asked, what was finished, and what the book cannot carry.
#


_Effect: TypeAlias = Annotated[Row, PortfolioEffect]


class _ShockRow(TypedDict):
    shock: str
    claim: str | None
    generalizable: Annotated[Probability | None, "P(generalizable) that it leaves; null without a question"]
    current: _Effect
    proposed: _Effect
    reoptimized: Annotated[
        _Effect | None, "the plan re-optimised after the shock; null where there is none, for the reason in why_not"
    ]
    why_not: str | None
    turnover: NotNegative | None
    trades: Annotated[ByName, "by instrument, fractions of the account after the shock; purchases above 0"]
    limit_breaches: Annotated[list[str], "limits that the plan breaches once the shock has moved its weights"]
    claimed_signs: list[Annotated[Row, ClaimedEffect, ("as_claimed",)]]
    unlike: str | None
    unmoved: Annotated[list[str], "names whose returns are typed in, which no parameter of the model moves"]
    worthless: Annotated[list[str], "names that lose everything, and are not bought back"]


class ShocksDocument(TypedDict):
    """What shocks do to holdings, plan and re-optimised plan."""

    no_shock: Annotated[dict[str, _Effect], ("current", "proposed")]
    effects: list[_ShockRow]
    refused: Annotated[dict[str, str], "shocks of which nothing can be computed, and why"]
    left_out: Annotated[dict[str, str], "starter shocks that this book cannot carry, and why"]
    asked: Count
    interrupted: bool


@dataclass(frozen=True, eq=False)
class ShockStress:
    """`current` and `proposed` are the portfolios where nothing happens; `effects` what shocks do, as far as it was
    finished of the `asked`; `refused` says of which of them nothing can be computed, `left_out` which starter shocks
    this book cannot carry, and both say why.
    """

    current: PortfolioEffect
    proposed: PortfolioEffect
    effects: tuple[ShockEffect, ...]
    asked: int
    refused: Mapping[str, str]
    left_out: Mapping[str, str]

    @property
    def interrupted(self) -> bool:
        """Whether something that was asked is not here."""
        return len(self.effects) + len(self.refused) < self.asked

    @property
    def worst(self) -> ShockEffect | None:
        """The shock that leaves the plan least to expect."""
        return min(self.effects, key=lambda one: one.proposed.expected_return, default=None)

    def frame(self) -> pd.DataFrame:
        """One row a shock and one for none, in fractions of the account; a plan that cannot be is blank."""
        rows = {"no shock": _columns(self.current, self.proposed, None)}
        rows |= {one.name: _columns(one.current, one.proposed, one.reoptimized) for one in self.effects}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("shock")

    def document(self) -> ShocksDocument:
        """The figures as plain data."""
        return {
            "no_shock": {"current": _effect(self.current), "proposed": _effect(self.proposed)},
            "effects": [_document(one) for one in self.effects],
            "refused": dict(self.refused),
            "left_out": dict(self.left_out),
            "asked": self.asked,
            "interrupted": self.interrupted,
        }


def shock_stress(plan: Plan, names: tuple[str, ...] = (), say: Callable[[str], None] | None = None) -> ShockStress:
    """What shocks do to a plan: those named, or all that its book can carry. Ctrl-C keeps what is finished.

    Raises:
        BadInput: a name is unknown or not of this book; or nothing can be computed of any shock, as its numbers are
            beyond arithmetic.
        BadMandate: the same, as its belief is outside the limits that the book guards by.
    """
    known = shock_library(plan.book)
    chosen = known.chosen(names)
    current, proposed = effect_without_shock(plan)
    found = tuple(_as_far_as_it_gets(shock_effects(plan, chosen, say)))
    done = tuple(one for one in found if isinstance(one, ShockEffect))
    refused = [one for one in found if isinstance(one, RefusedShock)]
    if refused and len(refused) == len(chosen):
        raise refused[0].why
    told = {one.name: str(one.why) for one in refused}
    return ShockStress(current, proposed, done, len(chosen), told, {} if names else known.left_out)


def _as_far_as_it_gets(found: Iterator[ShockEffect | RefusedShock]) -> Iterator[ShockEffect | RefusedShock]:
    try:
        yield from found
    except KeyboardInterrupt:
        return


def _columns(
    current: PortfolioEffect, proposed: PortfolioEffect, reoptimized: PortfolioEffect | None
) -> dict[str, float | None]:
    return {
        f"{whose} {what}": None if one is None else getattr(one, what)
        for whose, one in (("current", current), ("proposed", proposed), ("reoptimized", reoptimized))
        for what in ("immediate_return", "expected_return", "adverse_expected_return")
    }


def _document(one: ShockEffect) -> _ShockRow:
    return {
        "shock": one.name,
        "claim": one.shock.claim,
        "generalizable": one.generalizable,
        "current": _effect(one.current),
        "proposed": _effect(one.proposed),
        "reoptimized": None if one.reoptimized is None else _effect(one.reoptimized),
        "why_not": one.why_not,
        "turnover": None if one.turnover is None else round(one.turnover, 8),
        "trades": {name: round(part, 8) for name, part in one.trades},
        "limit_breaches": list(one.limit_breaches),
        "claimed_signs": [vars(sign) | {"as_claimed": sign.as_claimed} for sign in one.claimed_signs],
        "unlike": one.shock.unlike,
        "unmoved": list(one.unmoved),
        "worthless": list(one.worthless),
    }


def _effect(one: PortfolioEffect) -> dict[str, float]:
    return {name: round(value, 8) for name, value in vars(one).items()}
