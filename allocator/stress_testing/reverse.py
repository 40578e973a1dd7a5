"""Reverse stress: the least shifts of probabilities, markets or both that lose so much, and how plausible they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.outlook.outlook import Outlook
from allocator.plan.break_even import least_shift_kl
from allocator.plan.plan import Plan
from allocator.presentation import ByName, Keywords, NotNegative, Numbers, Probability, Row
from allocator.stress_testing.outcomes import StressPortfolio, stress_base, stress_portfolios
from allocator.stress_testing.reverse_parameters import NEVER, ParameterRoot, describe_steps, parameter_roots
from allocator.types import Vector

Way: TypeAlias = Literal["probabilities", "markets", "both"]


@dataclass(frozen=True, eq=False)
class ReverseShift:
    """One way to lose: the least shift, `distance` of relative entropy from the belief (nats), None where none does it.

    `probabilities` (K,) and `moves` (N,), what is added to every name's mean return over the horizon; `factors` (F,)
    the risk factors' moves in standard deviations; `market` the market factor's return where risk is from exposures.
    """

    way: Way
    distance: float | None
    probabilities: Vector
    moves: Vector
    factors: Vector
    market: float | None
    why: str = ""
    """Why nothing does it."""
    beyond: tuple[str, ...] = ()
    """Names that would have to lose more than everything: there the normal law of markets is no guide."""

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


class _ShiftRow(TypedDict):
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
    shifts: list[_ShiftRow]
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
        rows = [
            {
                "portfolio": one.portfolio.name,
                "way": shift.way,
                "distance": shift.distance,
                "plausibility": shift.plausibility,
                "equivalent_z_score": shift.equivalent_z_score,
                "rating": shift.rating,
                "market": shift.market,
                **dict(zip(self.outlook.scenarios, map(float, shift.probabilities), strict=True)),
            }
            for one in self.portfolios
            for shift in one.shifts
        ]
        return pd.DataFrame(rows)

    def moves(self) -> pd.DataFrame:
        """One row a portfolio, way and name: what is added to the name's mean return over the horizon."""
        rows = [
            {"portfolio": one.portfolio.name, "way": shift.way, "instrument": name, "move": float(shift.moves[i])}
            for one in self.portfolios
            for shift in one.shifts
            for i, name in enumerate(self.book.instruments)
        ]
        return pd.DataFrame(rows)

    def parameters(self) -> pd.DataFrame:
        """One row a portfolio and parameter: its own value, the value that loses so much, and what its range does."""
        rows = [{"portfolio": one.portfolio.name} | root.document() for one in self.portfolios for root in one.roots]
        return pd.DataFrame(
            rows, columns=["portfolio", *ParameterRoot.__dataclass_fields__, "change", "reach", "words"]
        )

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

    def _shift(self, shift: ReverseShift) -> _ShiftRow:
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


# The least shift that makes a loss expected, by closed forms (science §4.7): of probabilities, of markets, of both.
#
# Losses are of scenario means; within scenario k the loss is normal with variance v_k = x'Ω_k x. Distance is relative
# entropy in nats. Pure functions of arrays.
#
_FARTHEST = 1e15
_HALVINGS = 200


@dataclass(frozen=True, eq=False)
class ProbabilityTilt:
    """`distance` from the belief, the probabilities `q` (K,), and `strength` ϑ: markets move by −ϑ·Ω_k x."""

    distance: float
    q: Vector
    strength: float


def tilt_probabilities(losses: Vector, probabilities: Vector, loss: float) -> ProbabilityTilt | None:
    """q ∝ p·e^{ϑ·loss}; None where no probabilities that keep impossible scenarios impossible give the loss."""
    found = least_shift_kl(losses - loss, probabilities)
    return None if found is None else ProbabilityTilt(found.distance, found.q, 0.0)


def shift_markets(losses: Vector, variance: float, probabilities: Vector, loss: float) -> ProbabilityTilt | None:
    """z = −ϑΩx with ϑ = (L + μ'x) / x'Ωx, at a distance of (L + μ'x)² / (2·x'Ωx); None without any risk."""
    lacking = max(loss - float(probabilities @ losses), 0.0)
    if lacking == 0:
        return ProbabilityTilt(0.0, probabilities.copy(), 0.0)
    if variance <= 0:
        return None
    return ProbabilityTilt(lacking**2 / (2 * variance), probabilities.copy(), lacking / variance)


def tilt_and_shift(losses: Vector, variances: Vector, probabilities: Vector, loss: float) -> ProbabilityTilt | None:
    """Entropy pooling on scenario × normal: q_k ∝ p_k·exp(ϑℓ_k + ½ϑ²v_k), z_k = −ϑΩ_k x, ϑ by bisection.

    The mean loss at ϑ is the slope of the cumulant function ln Σ p_k exp(ϑℓ_k + ½ϑ²v_k), which is convex, so it rises
    with ϑ. `variances` (K,) may differ by scenario.
    """
    if float(probabilities @ losses) >= loss:
        return ProbabilityTilt(0.0, probabilities.copy(), 0.0)
    possible = probabilities > 0
    p, own, v = probabilities[possible], losses[possible], variances[possible]

    def tilted(strength: float) -> Vector:
        exponent = strength * own + strength**2 * v / 2
        weight = p * np.exp(exponent - exponent.max())
        return np.asarray(weight / weight.sum())

    def mean(strength: float) -> float:
        return float(tilted(strength) @ (own + strength * v))

    low, high = 0.0, 1.0
    while mean(high) < loss:
        low, high = high, 2 * high
        if high > _FARTHEST:
            return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < loss else (low, middle)
    tilt, q = tilted(high), np.zeros_like(probabilities)
    q[possible], seen = tilt, tilt > 0
    entropy = float(np.sum(tilt[seen] * np.log(tilt[seen] / p[seen])))
    return ProbabilityTilt(max(entropy, 0.0) + high**2 * float(tilt @ v) / 2, q, high)


# `reverse_stress(book, plan, loss)`: what would have to happen to lose so much (science §4.7).
#
# Three least shifts of what is believed, in closed form: of the probabilities alone, of markets alone, of both
# together; then the least change of one model parameter at a time. A loss is of the account before any trade, after
# costs, over the horizon, and expected: the mean under what the world would then have to be.
#


def reverse_stress(book: Book, plan: Plan | None = None, loss: float = 0.10) -> ReverseStress:
    """The least shifts that make `loss` of the account expected, for today's holdings and for the plan's final lots.

    Raises:
        BadInput: the loss is not a fraction above 0 and at most 1, or the book's risk cannot be estimated.
    """
    if not 0 < loss <= 1:
        rule, cure = "must be a fraction of the account above 0 and at most 1", "write ten percent as 0.10"
        raise BadInput([Breach("reverse stress", None, "loss", f"{loss:g}", rule, cure)])
    ground = stress_base(book, "stay", None if plan is None else plan.outlook)
    found = [
        ReverseStressOfPortfolio(
            portfolio=portfolio,
            expected_loss=float(ground.outlook.probabilities @ portfolio.losses(ground.outlook)),
            worst_scenario_loss=_largest(ground.outlook, portfolio),
            shifts=least_shifts(book, ground.outlook, portfolio, loss),
            roots=tuple(parameter_roots(ground, portfolio, loss)),
        )
        for portfolio in stress_portfolios(book, plan)
    ]
    return ReverseStress(book, ground.outlook, loss, tuple(found))


def least_shifts(book: Book, outlook: Outlook, portfolio: StressPortfolio, loss: float) -> tuple[ReverseShift, ...]:
    """The three least shifts of one portfolio."""
    losses, p = portfolio.losses(outlook), outlook.probabilities
    variance = outlook.risk.variance(portfolio.holdings)
    same = np.full(len(p), variance)
    largest = f"{_largest(outlook, portfolio):.2%}"
    return (
        _shift(
            book, outlook, portfolio, "probabilities", tilt_probabilities(losses, p, loss),
            f"no probabilities give this loss; the largest is {largest}",
        ),
        _shift(
            book, outlook, portfolio, "markets", shift_markets(losses, variance, p, loss),
            "no shift of markets gives this loss: the portfolio has no risk",
        ),
        _shift(
            book, outlook, portfolio, "both", tilt_and_shift(losses, same, p, loss),
            f"the portfolio has no risk, and no probabilities give this loss; the largest is {largest}",
        ),
    )  # fmt: skip


def _largest(outlook: Outlook, portfolio: StressPortfolio) -> float:
    return float(portfolio.losses(outlook)[outlook.probabilities > 0].max())


def _shift(
    book: Book, outlook: Outlook, portfolio: StressPortfolio, way: Way, tilt: ProbabilityTilt | None, never: str
) -> ReverseShift:
    strength = 0.0 if tilt is None else tilt.strength
    risk, section = outlook.risk, book.settings.risk
    factors = 0.0 - strength * (risk.loadings.T @ portfolio.holdings)  # never -0.0
    market = None
    if section.source == "exposures":  # the one factor is the market, scaled to unit variance over the horizon
        market = float(factors[0]) * float(section.market_volatility or 0.0) * float(np.sqrt(outlook.years))
    q = outlook.probabilities if tilt is None else tilt.q
    moves = 0.0 - strength * risk.covariances(portfolio.holdings)
    return ReverseShift(
        way=way,
        distance=None if tilt is None else tilt.distance,
        probabilities=q,
        moves=moves,
        factors=factors,
        market=market,
        why=never if tilt is None else "",
        beyond=tuple(np.array(book.instruments)[q @ outlook.returns + moves < -1].tolist()),
    )
