"""`reverse_stress(plan, loss)`: what would have to happen to lose so much, and how plausible that is (science §4.7).

Three least shifts of what is believed: of the probabilities alone, of markets alone, of both together; then the least
change of one model parameter at a time. A loss is of the account before any trade, after costs, over the horizon, and
expected: the mean under what the world would then have to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, TypedDict

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from allocator.book.book import Book
from allocator.book.checks.question import COORDINATES
from allocator.book.checks.stress import ParameterKey, book_values, contract_range
from allocator.outlook.efficiency_model_settings import CHANNELS, NOT_DRAWN
from allocator.outlook.outlook import Outlook
from allocator.plan.break_even import LeastShift, least_shift_kl, tilt_and_shift
from allocator.plan.plan import Plan
from allocator.presentation import ByName, Keywords, NotNegative, Numbers, Probability, Row
from allocator.stress_testing.outcomes import (
    StressBase,
    StressPortfolio,
    outlook_at_draws,
    stress_base,
    stress_portfolios,
)
from allocator.stress_testing.parameter_draws import ranges_around
from allocator.types import Vector

Way: TypeAlias = Literal["probabilities", "markets", "both"]

# Plausibility in words: what a shift is called by how many steps it takes, a step being what is quite usual.
#
# Of a shift of belief or of markets a step is a standard deviation: a normal mean moved by s of them is ½s² of
# relative entropy away, so a distance d is worth √(2d); 1, 2 and 3 of them have plausibility exp(−d) of 0.61, 0.14 and
# 0.01. Of a parameter a step is the way from the book's own value to the end of its range.
#
BEYOND, THERE, NEVER, UNKNOWN = "extreme", "already the case", "impossible", "no range stated"
RATINGS = ((0.0, THERE), (1.0, "plausible"), (2.0, "unlikely"), (3.0, "very unlikely"))
"""What is rated so takes at most so many steps; what takes more is rated `BEYOND`."""


def describe_steps(steps: float) -> str:
    """What so many steps are called."""
    return next((word for most, word in RATINGS if steps <= most), BEYOND)


@dataclass(frozen=True, eq=False)
class ReverseShift:
    """One way to lose: the least shift, `distance` of relative entropy from the belief (nats), None where none does it.

    `probabilities` (K,) and `moves` (N,), what is added to every name's mean return over the horizon; `factors` (F,)
    the risk factors' moves in standard deviations; `market` the market factor's return where risk is from exposures.
    `why` nothing does it; `beyond` names that would have to lose more than everything: there the normal law of markets
    is no guide.
    """

    way: Way
    distance: float | None
    probabilities: Vector
    moves: Vector
    factors: Vector
    market: float | None
    why: str = ""
    beyond: tuple[str, ...] = ()

    @property
    def plausibility(self) -> float:
        """exp(−KL), from 1 (nothing has to change) to 0."""
        return 0.0 if self.distance is None else float(np.exp(-self.distance))

    @property
    def equivalent_z_score(self) -> float | None:
        """The standard deviations by which a normal mean would be as far away."""
        return None if self.distance is None else float(np.sqrt(2 * self.distance))

    @property
    def rating(self) -> str:
        """What the plausibility is called, by the thresholds of `RATINGS`."""
        return NEVER if self.equivalent_z_score is None else describe_steps(self.equivalent_z_score)


@dataclass(frozen=True)
class ParameterRoot:
    """The `value` of a parameter, nearest to its `base_value`, at which the loss is expected; None where there is none.

    It is looked for in the lawful range from `lowest` to `highest`, over which the expected loss goes from
    `smallest_loss` to `largest_loss`. `low` and `high` are the range that model stress varies it over; None where it
    does not.
    """

    key: ParameterKey
    base_value: float
    value: Annotated[float | None, "nearest value that loses so much; null where none does"]
    lowest: float
    highest: float
    smallest_loss: float
    largest_loss: float
    low: float | None = None
    high: float | None = None

    @property
    def change(self) -> float | None:
        """The value less the book's own."""
        return None if self.value is None else self.value - self.base_value

    @property
    def reach(self) -> float | None:
        """The change in ways from the book's own value to the end of its range: up to 1 lies inside.

        None without a value or a range, or where the range does not go that way at all.
        """
        if self.change is None or self.low is None or self.high is None:
            return None
        way = self.high - self.base_value if self.change > 0 else self.base_value - self.low
        return 0.0 if self.change == 0 else abs(self.change) / way if way > 0 else None

    @property
    def rating(self) -> str:
        """What the plausibility is called, by the thresholds of `RATINGS`."""
        if self.value is None:
            return NEVER
        if self.low is None:
            return UNKNOWN
        return BEYOND if self.reach is None else describe_steps(self.reach)

    def document(self) -> Row:
        """The root as plain data."""
        return vars(self) | {"key": str(self.key), "change": self.change, "reach": self.reach, "rating": self.rating}


@dataclass(frozen=True, eq=False)
class ReverseStressOfPortfolio:
    """One portfolio: its `expected_loss` under the belief, its `worst_scenario_loss`, and the ways."""

    portfolio: StressPortfolio
    expected_loss: float
    worst_scenario_loss: float
    shifts: tuple[ReverseShift, ...]
    roots: tuple[ParameterRoot, ...]

    def by(self, way: Way) -> ReverseShift:
        """The shift of one kind."""
        return next(shift for shift in self.shifts if shift.way == way)


class _ReverseShiftRow(TypedDict):
    way: Way
    distance: Annotated[NotNegative | None, "relative entropy from the belief, in nats; null where nothing does it"]
    plausibility: Annotated[Probability, "exp(-KL): 1 where nothing has to change"]
    equivalent_z_score: Annotated[
        float | None, "standard deviations by which a normal mean would shift at the same relative entropy"
    ]
    rating: str
    why: str
    beyond: Annotated[list[str], "names that would have to lose more than everything"]
    market: Annotated[float | None, "the market's return, where risk is by beta"]
    factors: Annotated[Numbers, "moves in standard deviations"]
    probabilities: dict[str, Probability]
    moves: Annotated[ByName, "added to a name's mean return over the horizon"]


class _ReversePortfolio(TypedDict):
    portfolio: Annotated[str, Keywords(enum=["current", "proposed"])]
    expected_loss: float
    worst_scenario_loss: Annotated[float, "mean loss of the worst possible scenario"]
    shifts: list[_ReverseShiftRow]
    parameters: list[Annotated[Row, ParameterRoot, ("change", "reach", "rating")]]


class ReverseDocument(TypedDict):
    """What would have to happen to lose so much."""

    loss: Annotated[float, Keywords(exclusiveMinimum=0, maximum=1)]
    portfolios: list[_ReversePortfolio]


@dataclass(frozen=True, eq=False)
class ReverseStress:
    """What would have to happen to lose `loss` of the account, in each portfolio."""

    book: Book
    outlook: Outlook
    loss: float
    portfolios: tuple[ReverseStressOfPortfolio, ...]

    def frame(self) -> pd.DataFrame:
        """One row a portfolio and way: distance, plausibility, equivalent z-score, rating, and the probabilities."""
        columns = ("way", "distance", "plausibility", "equivalent_z_score", "rating", "market")
        scenarios = self.outlook.scenarios
        rows = [
            {"portfolio": one.portfolio.name, **{name: getattr(shift, name) for name in columns}}
            | dict(zip(scenarios, map(float, shift.probabilities), strict=True))
            for one in self.portfolios
            for shift in one.shifts
        ]
        return pd.DataFrame(rows)

    def document(self) -> ReverseDocument:
        """The figures as plain data."""
        return {
            "loss": self.loss,
            "portfolios": [
                {
                    "portfolio": one.portfolio.name,
                    "expected_loss": one.expected_loss,
                    "worst_scenario_loss": one.worst_scenario_loss,
                    "shifts": [self._shift(shift) for shift in one.shifts],
                    "parameters": [root.document() for root in one.roots],
                }
                for one in self.portfolios
            ],
        }

    def _shift(self, shift: ReverseShift) -> _ReverseShiftRow:
        return {
            "way": shift.way,
            "distance": shift.distance,
            "plausibility": shift.plausibility,
            "equivalent_z_score": shift.equivalent_z_score,
            "rating": shift.rating,
            "why": shift.why,
            "beyond": list(shift.beyond),
            "market": shift.market,
            "factors": list(map(float, shift.factors)),
            "probabilities": dict(zip(self.outlook.scenarios, map(float, shift.probabilities), strict=True)),
            "moves": dict(zip(self.book.instruments, map(float, shift.moves), strict=True)),
        }


# The least shift that makes a loss expected: of probabilities, of markets, of both.
#
# Losses are of scenario means; within scenario k the loss is normal with variance v_k = x'Ω_k x. Distance is relative
# entropy in nats; where markets move, it is by −ϑ·Ω_k x with ϑ the `strength` of the shift.
#


def shift_markets(losses: Vector, variance: float, probabilities: Vector, loss: float) -> LeastShift | None:
    """z = −ϑΩx with ϑ = (L + μ'x) / x'Ωx, at a distance of (L + μ'x)² / (2·x'Ωx); None without any risk."""
    lacking = max(loss - float(probabilities @ losses), 0.0)
    if lacking == 0:
        return LeastShift(0.0, probabilities.copy(), 0.0)
    if variance <= 0:
        return None
    return LeastShift(lacking**2 / (2 * variance), probabilities.copy(), lacking / variance)


def reverse_stress(plan: Plan, loss: float = 0.10) -> ReverseStress:
    """The least shifts that make `loss` of the account expected, for today's holdings and for the plan's final lots."""
    ground = stress_base(plan.book, "stay", plan.outlook)
    portfolios = []
    for portfolio in stress_portfolios(plan):
        losses = portfolio.losses(plan.outlook)
        expected, worst = float(plan.outlook.probabilities @ losses), _largest(plan.outlook, losses)
        shifts, roots = least_shifts(ground, portfolio, loss), tuple(parameter_roots(ground, portfolio, loss))
        portfolios.append(ReverseStressOfPortfolio(portfolio, expected, worst, shifts, roots))
    return ReverseStress(plan.book, plan.outlook, loss, tuple(portfolios))


def _largest(outlook: Outlook, losses: Vector) -> float:
    return float(losses[outlook.probabilities > 0].max())


def least_shifts(ground: StressBase, portfolio: StressPortfolio, loss: float) -> tuple[ReverseShift, ...]:
    """The three least shifts of one portfolio."""
    outlook, p = ground.outlook, ground.outlook.probabilities
    losses, variance = portfolio.losses(outlook), outlook.risk.variance(portfolio.holdings)
    none = f"no probabilities give this loss; the largest is {_largest(outlook, losses):.2%}"
    alone, markets = least_shift_kl(losses - loss, p), shift_markets(losses, variance, p, loss)
    both = tilt_and_shift(losses, np.full(len(p), variance), p, loss)
    return (
        _shift(ground, portfolio, "probabilities", alone, none),
        _shift(ground, portfolio, "markets", markets, "no shift of markets gives this loss: the portfolio has no risk"),
        _shift(ground, portfolio, "both", both, f"the portfolio has no risk, and {none}"),
    )


def _shift(
    ground: StressBase, portfolio: StressPortfolio, way: Way, tilt: LeastShift | None, never: str
) -> ReverseShift:
    book, outlook, risk = ground.book, ground.outlook, ground.outlook.risk
    strength, q = (0.0, outlook.probabilities) if tilt is None else (tilt.strength, tilt.q)
    factors = 0.0 - strength * (risk.loadings.T @ portfolio.holdings)  # never -0.0
    moves = 0.0 - strength * risk.covariances(portfolio.holdings)
    market = None
    if book.settings.risk.source == "exposures":  # its one factor is the market, at unit variance over the horizon
        market = float(factors[0]) * float(book.settings.risk.market_volatility or 0.0) * float(np.sqrt(outlook.years))
    beyond = tuple(np.array(book.instruments)[q @ outlook.returns + moves < -1].tolist())
    if tilt is None:
        return ReverseShift(way, None, q, moves, factors, market, never, beyond)
    return ReverseShift(way, tilt.distance, q, moves, factors, market, "", beyond)


# The least change of one parameter that makes the loss expected.
#
# Prices stay those of today, which hold the book's own parameters: the parameter turns out to be another than anybody
# priced. One parameter at a time and the root nearest to the book's own value: with several at once the set of losing
# parameters is not convex, so what is found is local. Two roots within one step of the scan are overlooked.
#
_STEPS = 129
_OPEN = 1e-4
"""How near an end that is out of bounds itself is looked at, relative to the parameter's own value."""


def model_parameters(book: Book) -> tuple[ParameterKey, ...]:
    """Every parameter of the efficiency model that is one number; none without [model]."""
    if book.settings.model is None:
        return ()
    stated = book.settings.model.model_dump(exclude=NOT_DRAWN)
    shared = [ParameterKey("model", name) for name, value in stated.items() if value is not None]
    scenarios = book.settings.scenarios
    off = [name for name in CHANNELS if not any(getattr(one, name) for one in scenarios.values())]
    names = [name for name in COORDINATES if name not in off]
    return (*shared, *(ParameterKey("scenarios", name, k) for k in scenarios for name in names))


def parameter_roots(ground: StressBase, portfolio: StressPortfolio, loss: float) -> Iterator[ParameterRoot]:
    """The root of each parameter in turn; `ground` has prices that stay."""
    ranges = {doubt.key: (doubt.low, doubt.high) for doubt in ranges_around(ground.book)}
    for key in model_parameters(ground.book):
        (own,) = book_values(ground.book.settings, key)
        at = _places(key, own)
        losses = expected_losses(ground, portfolio, key, at)
        there = float(losses[at == own][0]) >= loss
        yield ParameterRoot(
            key,
            own,
            own if there else _nearest_root(ground, portfolio, key, at, losses, loss),
            float(at[0]),
            float(at[-1]),
            float(np.nanmin(losses)),
            float(np.nanmax(losses)),
            *ranges.get(key, (None, None)),
        )


def expected_losses(ground: StressBase, portfolio: StressPortfolio, key: ParameterKey, at: Vector) -> Vector:
    """(D,) expected loss of the portfolio with the parameter at each of D values; NaN where it is no number."""
    with np.errstate(all="ignore"):
        draws = outlook_at_draws(ground, {key: at})
        gains = draws.returns @ portfolio.holdings + ground.outlook.cash_returns * portfolio.cash
        losses = portfolio.spent - (draws.probabilities * gains).sum(axis=1)
    return np.asarray(np.where(np.isfinite(losses), losses, np.nan))


def _places(key: ParameterKey, own: float) -> Vector:
    """Where a parameter is looked at: evenly over its lawful range, and evenly in logarithms where it has any."""
    low, high, above, below = contract_range(key)
    room = _OPEN * max(abs(own), _OPEN)
    low, high = min(low + room * above, own), max(high - room * below, own)
    places = [np.linspace(low, high, _STEPS), np.array([own])]
    if high > 0:
        places.append(np.geomspace(max(low, room), high, _STEPS))
    return np.unique(np.clip(np.concatenate(places), low, high))


def _nearest_root(
    ground: StressBase, portfolio: StressPortfolio, key: ParameterKey, at: Vector, losses: Vector, loss: float
) -> float | None:
    """The crossing whose step of the scan lies nearest to the book's own value."""
    (own,) = book_values(ground.book.settings, key)
    apart = losses - loss
    with np.errstate(invalid="ignore"):
        steps = np.flatnonzero((apart[:-1] < 0) != (apart[1:] < 0))
    steps = steps[np.isfinite(apart[steps]) & np.isfinite(apart[steps + 1])]
    if not len(steps):
        return None
    first = min(steps, key=lambda i: min(abs(at[i] - own), abs(at[i + 1] - own)))

    def lacking(value: float) -> float:
        return float(expected_losses(ground, portfolio, key, np.array([value]))[0]) - loss

    low, high = float(at[first]), float(at[first + 1])
    if lacking(low) * lacking(high) >= 0:  # one of them is the root, to rounding
        return min(low, high, key=lambda end: abs(lacking(end)))
    return float(brentq(lacking, low, high, xtol=1e-12))
