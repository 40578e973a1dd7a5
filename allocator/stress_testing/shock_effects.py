"""What a shock does to the current and the proposed portfolio, and to the plan re-optimised after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import BadInput, BadMandate, Infeasible, NotSolved, OutOfTime
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate, no_trade
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.solve import solve_policy, with_hindsight
from allocator.optimization.solve import Limits, Program, kept_programs, trade_of_solution
from allocator.outlook.calibration import price_notes
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.plan import Plan
from allocator.plan.risk_figures import BEYOND, GainMixture
from allocator.plan.targets import solve_targets
from allocator.presentation import ByName, Count, NotNegative, Probability, Rounded, Row, document_of
from allocator.rules import Trade
from allocator.rules.builder import group_shares
from allocator.rules.rows import Position
from allocator.settings.settings import DAYS_A_YEAR, CashSection
from allocator.settings.stress import ShockSection, Sign
from allocator.stress_testing.reoptimization import Say, say_nothing
from allocator.stress_testing.shocked_book import ShockedBook, apply_shock, shock_library, shocked_risk
from allocator.types import Matrix, Vector

# What would be traded after a shock: verified targets from the holdings that it leaves.
#
# Where the book decides again at reviews, what is learnt comes with its date: the tree is then that of the day by
# which it has been learnt, at the prices and with the reviews that are left by then.
#


def reoptimized_after_shock(
    owned: Book,
    after: ShockedBook,
    compiled: Callable[[Outlook, Mandate], Program] = Program,
    held: NDArray[np.bool_] | None = None,
) -> tuple[Trade, Vector] | str:
    """The trade of who owns that book after the shock, and its gains (K,) from then to the horizon as fractions of what
    it was worth after the shock; or why there is none. A tree is asked with `held` names (N,), where few are wanted.
    """
    try:
        if not owned.settings.uses_tree:
            start = Position(owned.weights, owned.cash / owned.value)
            trade = solve_targets(owned, start, after.outlook, after.mandate, Limits.of(owned), compiled).target
            return trade, trade.gains(after.outlook)
        return _reoptimized_tree(owned, after, held)
    except (BadMandate, Infeasible, NotSolved, OutOfTime) as error:
        return str(error)


def _reoptimized_tree(owned: Book, after: ShockedBook, held: NDArray[np.bool_] | None) -> tuple[Trade, Vector] | str:
    """The same over a tree; its set is that which the shock leaves, at the radius of the day of all its news."""
    horizon, then, outlook, limits = owned.settings.horizon, owned, after.outlook, Limits.of(owned)
    if after.shock.tells and horizon.reviews:
        if after.shock.changes_model or after.shock.moves_prices:
            return "with reviews, news and an immediate change of prices are two shocks; state them apart"
        if horizon.until is None or after.told >= horizon.until:
            return f"the horizon ends before {after.told}, when its news is known"
        then = _by_the_day(owned, after)
        outlook = _from_the_day(owned, then, after.outlook, after.shock)
    start = Position(then.weights, then.cash / then.value)
    staged = build_multistage_mandate(then, outlook, after.ambiguity)
    if held is not None:
        staged = staged.choosing(held)
    policy = solve_policy(with_hindsight(staged, start, limits), start, limits)
    trade = trade_of_solution(start, staged.mandates[0], policy.holdings[0], then.value)
    came = then.settings.cash.flow - owned.settings.cash.flow  # by that day, which is no gain
    return trade, (then.value * (1 + trade.gains(outlook)) - came) / owned.value - 1


def _from_the_day(owned: Book, then: Book, outlook: Outlook, shock: ShockSection) -> Outlook:
    """The outlook of that day, with what is left of the returns from the shock to the horizon."""
    years = (then.settings.book.as_of - owned.settings.book.as_of).days / DAYS_A_YEAR
    cash = (1 + float(owned.cash_required_return or 0.0)) ** years
    fresh = build_outlook(then)
    return replace(
        fresh,
        risk=shocked_risk(fresh.risk, shock),
        returns=(1 + outlook.returns) * (owned.prices / then.prices) - 1,
        cash_returns=(1 + outlook.cash_returns) / cash - 1,
    )


def _by_the_day(owned: Book, after: ShockedBook) -> Book:
    """The book on the day by which everything is learnt: names and cash have grown as they must, as by a review."""
    settings, day = owned.settings, after.told
    days = (day - settings.book.as_of).days
    required = np.asarray(owned.exposures["required_return"], dtype=np.float64)
    grown = (1 + required) ** (days / DAYS_A_YEAR)
    came = sum(flow for review, flow in settings.cash_at_reviews.items() if review <= day)
    flow, passed = settings.cash.flow + came, [str(one) for one in settings.horizon.reviews if one <= day]
    left = {of: later for of, later in settings.cash.flows.items() if not any(of <= one for one in passed)}
    sections = {
        "cash": CashSection(paid_in=max(flow, 0.0), paid_out=max(-flow, 0.0), flows=left),
        "book": settings.book.model_copy(update={"as_of": day}),
        "horizon": settings.horizon.model_copy(
            update={"reviews": [review for review in settings.horizon.reviews if review > day]}
        ),
        # the history is as old as it is: no day has really passed
        "risk": settings.risk.model_copy(update={"max_age_days": settings.risk.max_age_days + days}),
    }
    return replace(
        owned,
        settings=settings.model_copy(update=sections),
        signals=after.signals if owned.signals is None else pd.concat([owned.signals, after.signals]),
        prices=owned.prices * grown,
        quoted_prices=owned.quoted_prices * grown,
        cash=owned.cash * (1 + float(owned.cash_required_return or 0.0)) ** (days / DAYS_A_YEAR) + came,
    )


NOTHING = 1e-4
"""A name's change by less than this says neither gain nor fall."""
_BROKEN = 1e-9
_TRADED = 5e-4
"""Of the account: what a trade after the shock must move to be listed."""


@dataclass(frozen=True)
class PortfolioEffect:
    """One portfolio under a shock, as fractions of the account before it, after costs.

    `immediate_return` is of the moment it happens; the expected and the adverse expected return, and the shortfall,
    are from before the shock to the horizon, under the belief that it leaves and under adverse probabilities around it.
    """

    immediate_return: Annotated[float, Rounded(8), "from prices at once"]
    expected_return: Annotated[
        float, Rounded(8), "expected from before the shock to the horizon, under the belief that it leaves"
    ]
    adverse_expected_return: Annotated[
        float, Rounded(8), "the same under adverse probabilities, of the ambiguity set around that belief"
    ]
    volatility: Annotated[float, Rounded(8), "annual, from the shock to the horizon, in all"]
    expected_shortfall: Annotated[float, Rounded(8), "mean loss in the worst 5% of outcomes at the horizon"]


ADDITIVE = ("immediate_return", "expected_return", "expected_shortfall")
"""Figures of an effect that positions add up to."""


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


_Effect: TypeAlias = Annotated[Row, PortfolioEffect]


class _ShockRow(TypedDict):
    shock: str
    claim: str | None
    hypotheses: Annotated[
        dict[str, Probability] | None, "probability of each hypothesis that it leaves; null without a question"
    ]
    current: _Effect
    proposed: _Effect
    positions: Annotated[
        dict[str, dict[str, Annotated[dict[str, float], ADDITIVE]]],
        "what each position adds to figures of current and proposed, exactly; cash has the costs of trading",
    ]
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
    notes: Annotated[list[str], "prices that it asks for and sellers do not support"]


@dataclass(frozen=True, eq=False)
class ShockEffect:
    """A shock and what it does; `reoptimized` is None where no plan keeps the rules after it, and `why_not` says why.

    `trades` are what the re-optimised plan trades after the shock, as fractions of the account then, largest first.
    `limit_breaches` are those that the plan breaks once the shock has moved its weights; `worthless` are the names that
    lose everything, which are not bought back, and `notes` of prices that it asks for and sellers do not support.
    `positions` of current and proposed are (3, N + 1): what each of the `names`, cash last, adds to the ADDITIVE
    figures.
    """

    name: str
    shock: ShockSection
    names: tuple[str, ...]
    hypotheses: dict[str, float] | None
    current: PortfolioEffect
    proposed: PortfolioEffect
    positions: Mapping[str, Matrix]
    limit_breaches: tuple[str, ...]
    claimed_signs: tuple[ClaimedEffect, ...]
    unmoved: tuple[str, ...]
    worthless: tuple[str, ...]
    notes: tuple[str, ...] = ()
    reoptimized: PortfolioEffect | None = None
    why_not: str | None = None
    trades: tuple[tuple[str, float], ...] = ()
    turnover: float | None = None

    def document(self) -> _ShockRow:
        """Plain data."""
        return {
            "shock": self.name,
            "claim": self.shock.claim,
            "hypotheses": self.hypotheses,
            "current": document_of(self.current),
            "proposed": document_of(self.proposed),
            "positions": {
                whose: {
                    self.names[i]: dict(zip(ADDITIVE, map(float, added[:, i]), strict=True))
                    for i in np.flatnonzero(added.any(axis=0))
                }
                for whose, added in self.positions.items()
            },
            "reoptimized": None if self.reoptimized is None else document_of(self.reoptimized),
            "why_not": self.why_not,
            "turnover": None if self.turnover is None else round(self.turnover, 8),
            "trades": {name: round(part, 8) for name, part in self.trades},
            "limit_breaches": list(self.limit_breaches),
            "claimed_signs": [vars(sign) | {"as_claimed": sign.as_claimed} for sign in self.claimed_signs],
            "unlike": self.shock.unlike,
            "unmoved": list(self.unmoved),
            "worthless": list(self.worthless),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class _PricePaths:
    """What a shock does to values at once (N,) and to the horizon (K, N), cash too (K,); the `prices` (N,) that it
    leaves of one unit; and the risk, belief and set from then on.
    """

    at_once: Vector
    prices: Vector
    growth: Matrix
    cash_growth: Vector
    outlook: Outlook
    ambiguity: Ambiguity

    @staticmethod
    def after(shocked: ShockedBook) -> _PricePaths:
        """Of a book after a shock."""
        marked = (1 + shocked.at_once) * (1 - shocked.marked_down) - 1
        prices, cash = 1 + shocked.at_once, shocked.cash_growth
        return _PricePaths(marked, prices, shocked.growth, cash, shocked.outlook, shocked.ambiguity)

    def of(self, trade: Trade) -> tuple[PortfolioEffect, Matrix]:
        """What they make of a portfolio that was worth `value_before` before its trades, and what positions add."""
        amounts, costs = np.append(trade.values, trade.cash) / trade.value_before, 1 - trade.value / trade.value_before
        returns = np.column_stack([self.growth, self.cash_growth]) - 1
        left = amounts[:-1] * self.prices
        covariances = np.append(left * self.outlook.risk.covariances(left), 0.0)
        at_once = np.append(self.at_once * amounts[:-1], -costs)
        mixture = GainMixture(self.outlook.probabilities, returns * amounts, covariances).after(costs)
        expected, tail = mixture.probabilities @ mixture.means, mixture.tail(BEYOND[0.95])
        effect = self.effect(float(at_once.sum()), mixture)
        return effect, np.array([at_once, expected, tail.contributions])

    def effect(self, at_once: float, mixture: GainMixture) -> PortfolioEffect:
        """An effect of gains from before the shock to the horizon."""
        beliefs = self.outlook.probabilities
        return PortfolioEffect(
            at_once,
            float(beliefs @ mixture.gains),
            -self.ambiguity.worst_case(-mixture.gains, beliefs),
            float(np.sqrt(max(float(mixture.variances.sum()), 0.0) / self.outlook.years)),
            mixture.tail(BEYOND[0.95]).expected_shortfall,
        )


def effect_without_shock(plan: Plan) -> tuple[PortfolioEffect, PortfolioEffect]:
    """Holdings and plan where nothing happens, to set the others beside."""
    outlook, nothing = plan.outlook, np.zeros(len(plan.book.instruments))
    growth, cash = 1 + outlook.returns, 1 + outlook.cash_returns
    paths = _PricePaths(nothing, 1 + nothing, growth, cash, outlook, plan.mandate.ambiguity)
    return paths.of(no_trade(plan.book))[0], paths.of(plan.final)[0]


def shock_effect(
    plan: Plan, outlook: Outlook, after: ShockedBook, compiled: Callable[[Outlook, Mandate], Program] = Program
) -> ShockEffect:
    """What one shock does to a plan and to what is held, and what would be done about it."""
    final = plan.final
    current, of_current = _PricePaths.after(after).of(no_trade(plan.book))
    if after.shock.unsold is not None:  # what cannot be sold hangs on what is held
        after = apply_shock(plan.book, outlook, after.name, after.shock, final.values)
    paths = _PricePaths.after(after)
    proposed, of_proposed = paths.of(final)
    prices = plan.book.prices
    quantities = np.divide(final.values, prices, out=plan.book.quantities.copy(), where=prices > 0)
    owned = replace(after.book, quantities=quantities, cash=final.cash)
    after = replace(after, mandate=build_mandate(owned, after.outlook, after.ambiguity))
    readings = after.mandate.readings(no_trade(owned), after.outlook)
    effect = ShockEffect(
        name=after.name,
        shock=after.shock,
        names=(*plan.book.instruments, plan.book.cash_instrument),
        hypotheses=after.hypotheses,
        current=current,
        proposed=proposed,
        positions={"current": of_current, "proposed": of_proposed},
        limit_breaches=tuple(reading.label for reading in readings if reading.excess > _BROKEN),
        claimed_signs=tuple(_claimed_signs(plan.book, outlook, after)),
        unmoved=after.unmoved,
        worthless=after.worthless,
        notes=price_notes(after.book) if after.shock.changes_model else (),
    )
    reoptimized = reoptimized_after_shock(owned, after, compiled, None if plan.names is None else plan.names.held)
    if isinstance(reoptimized, str):
        return replace(effect, why_not=reoptimized)
    trade, gains = reoptimized
    left = owned.value / final.value_before
    held = left * trade.values / trade.value_before
    within = np.array([after.outlook.risk.variance(held)])
    ends = GainMixture(after.outlook.probabilities, (left * (1 + gains) - 1)[:, None], within)
    return replace(
        effect,
        reoptimized=paths.effect(proposed.immediate_return, ends),
        trades=_trades(trade, owned.instruments),
        turnover=float(max(trade.bought.sum(), trade.sold.sum()) / trade.value_before),
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
        shares = np.array([float(instrument == name) for instrument in book.instruments])
        if not shares.any():
            shares, _ = group_shares(book, name)
        own = (shares != 0) & np.isfinite(changed)
        change = float(shares[own] @ changed[own] / shares[own].sum()) if own.any() else None
        yield ClaimedEffect(name, sign, change)


# A plan under shocks, as one study: what was asked, what was finished, and what the book cannot carry.
#


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
        return min(self.effects, key=lambda effect: effect.proposed.expected_return, default=None)

    def frame(self) -> pd.DataFrame:
        """One row a shock and one for none, in fractions of the account; a plan that cannot be is blank."""
        rows = {"no shock": _columns(current=self.current, proposed=self.proposed, reoptimized=None)} | {
            shock.name: _columns(current=shock.current, proposed=shock.proposed, reoptimized=shock.reoptimized)
            for shock in self.effects
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("shock")

    def document(self) -> ShocksDocument:
        """The figures as plain data."""
        return {
            "no_shock": {"current": document_of(self.current), "proposed": document_of(self.proposed)},
            "effects": [effect.document() for effect in self.effects],
            "refused": dict(self.refused),
            "left_out": dict(self.left_out),
            "asked": self.asked,
            "interrupted": self.interrupted,
        }


def _columns(**effects: PortfolioEffect | None) -> dict[str, float | None]:
    return {
        f"{whose} {what}": None if effect is None else getattr(effect, what)
        for whose, effect in effects.items()
        for what in PortfolioEffect.__dataclass_fields__
    }


def shock_stress(plan: Plan, names: tuple[str, ...] = (), say: Say = say_nothing) -> ShockStress:
    """What shocks do to a plan: those named, or all that its book can carry. Ctrl-C keeps what is finished.

    Raises:
        BadInput: a name is unknown or not of this book; or nothing can be computed of any shock, as its numbers are
            beyond arithmetic.
        BadMandate: the same, as its belief is outside the limits that the book guards by.
    """
    library, outlook = shock_library(plan.book), build_outlook(plan.book)
    chosen, effects, refused = library.chosen(names), list[ShockEffect](), dict[str, BadInput | BadMandate]()
    compiled = kept_programs()  # most shocks change numbers alone
    with suppress(KeyboardInterrupt):
        for count, (name, shock) in enumerate(chosen.items(), 1):
            say(f"shock {count} of {len(chosen)}: {name}")
            try:
                after = apply_shock(plan.book, outlook, name, shock)
                effects.append(shock_effect(plan, outlook, after, compiled))
            except (BadInput, BadMandate) as error:
                refused[name] = error
    if refused and len(refused) == len(chosen):
        raise next(iter(refused.values()))
    why = {name: str(error) for name, error in refused.items()}
    left_out = {} if names else library.left_out
    return ShockStress(*effect_without_shock(plan), tuple(effects), len(chosen), why, left_out)
