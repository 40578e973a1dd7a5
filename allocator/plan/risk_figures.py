"""What a portfolio may lose, and what each name adds to it: volatility, value at risk, expected shortfall, shocks.

At the horizon H a gain is that of the scenario k with probability p_k, and normal around it with the variance within
scenarios: a mixture whose distribution function has a closed form and whose quantile is its root. Expected shortfall is
the mean loss beyond the quantile; what a position adds to it is its own mean loss there, E[−x_i r_i | R ≤ q], which is
Euler's allocation and exact for the mixture (Tasche 1999; McNeil, Frey and Embrechts 2015, §8.5).

Over h of H days scenario returns do not come all at once, and nothing says when they come. Assumed is a day of
settlement that is equally likely on each day of the horizon, so that with probability h/H the scenario is known by then
and all that tells its return from the expected one has come, and else nothing of it; what is expected and the variance
within scenarios accrue with time (h/H of each, the rule of the square root of time). Hence both parts of the variance
grow in proportion to time, h = H is the mixture of the horizon, and a day's news shows in the far tail, not in the
usual day. A part that markets digest later (`horizon.announcement_share`) is counted at once: the larger loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, TypeAlias, TypedDict, cast

import numpy as np

from allocator.book.book import Book
from allocator.mandate.builder import marked_down
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.presentation import ByName, NotNegative, stable_list, stable_numbers
from allocator.rules import Trade
from allocator.rules.builder import TRADING_DAYS, daily_volume_in_money, immediate_returns
from allocator.settings.stress import ShockSection, joined_shocks
from allocator.types import Matrix, Vector

DAYS = (1, 10)
"""Over which losses are told beside those of the horizon, as far as they lie within it."""
BEYOND = {0.95: 0.05, 0.99: 0.01}
"""Levels of confidence, and the probability that is beyond each."""
LARGEST = 5
_POINT = 1e-12
"""A standard deviation below this is none: scenarios are then points, and those this near are one."""


@dataclass(frozen=True, eq=False)
class TailLoss:
    """Value at risk and expected shortfall as losses, gains below 0; `contributions` (n,) add up to the latter."""

    value_at_risk: float
    expected_shortfall: float
    contributions: Vector


@dataclass(frozen=True, eq=False)
class GainMixture:
    """The gain of n positions: with probability p_k (K,) normal around the sum of row k of `means` (K, n).

    `covariances` (n,) are those of each position with the whole within a scenario, and sum to its variance.
    """

    probabilities: Vector
    means: Matrix
    covariances: Vector

    @classmethod
    def of(cls, probabilities: Vector, returns: Matrix, risk: FactorRisk, amounts: Vector) -> GainMixture:
        """Of `amounts` (n,), cash last, at `returns` (K, n); cash has no risk."""
        within = amounts[:-1] * risk.covariances(amounts[:-1])
        return cls(probabilities, returns * amounts, np.append(within, 0.0))

    def over(self, share: float) -> GainMixture:
        """Over that share of the horizon: settled with that probability, in which all of the difference has come."""
        expected = self.probabilities @ self.means
        means = np.vstack([self.means - (1 - share) * expected, share * expected])
        return GainMixture(np.append(share * self.probabilities, 1 - share), means, share * self.covariances)

    def after(self, costs: float) -> GainMixture:
        """With costs that cash has paid at once."""
        means = self.means.copy()
        means[:, -1] -= costs
        return GainMixture(self.probabilities, means, self.covariances)

    @cached_property
    def gains(self) -> Vector:
        """(K,) means of all positions together."""
        return np.asarray(self.means.sum(axis=1))

    @property
    def variances(self) -> Vector:
        """(n,) what each position adds to the variance, within scenarios and between them (Euler)."""
        apart = self.probabilities * (self.gains - self.probabilities @ self.gains)
        return np.asarray(self.covariances + apart @ self.means)

    def tail(self, beyond: float) -> TailLoss:
        """The loss that is exceeded with probability `beyond`, and the mean of those.

        With w_k the weight of scenario k in the tail the shortfall is −Σ w_k μ_k + s. What the root leaves of the
        probability is taken at the quantile itself, which is right for points too; so all is wrong by the square of
        what the root is wrong by (Rockafellar and Uryasev 2000), and contributions add up whatever it is wrong by.
        """
        from scipy.special import ndtr

        p, gains = self.probabilities, self.gains
        variance = max(float(self.covariances.sum()), 0.0)
        deviation = math.sqrt(variance)
        if deviation <= _POINT:
            quantile = _point_quantile(p, gains, beyond)
            near = np.abs(gains - quantile) <= _POINT
            below, there, density = np.where(near | (gains > quantile), 0.0, p), np.where(near, p, 0.0), 0.0
        else:
            quantile = _normal_quantile(p, gains, deviation, beyond)
            z = (quantile - gains) / deviation
            below, density = p * ndtr(z), float(p @ np.exp(-z * z / 2)) / math.sqrt(2 * math.pi)
            with np.errstate(divide="ignore"):
                logs = np.log(p) - z * z / 2  # far between two scenarios every density is 0, and one is the nearest
            there = np.exp(logs - logs.max())
        left, there = 1 - float(below.sum()) / beyond, there / there.sum()
        weights = below / beyond + left * there
        spread = deviation * density / beyond - left * float(there @ (quantile - gains))
        contributions = -weights @ self.means + self.covariances * (spread / variance if density else 0.0)
        return TailLoss(-quantile, -float(weights @ gains) + spread * bool(density), contributions)


def _point_quantile(probabilities: Vector, gains: Vector, beyond: float) -> float:
    """The least gain at or below which there is so much probability."""
    order = np.argsort(gains, kind="stable")
    reached = np.cumsum(probabilities[order])
    return float(gains[order][min(int(np.searchsorted(reached, beyond - 1e-12)), len(gains) - 1)])


def _normal_quantile(probabilities: Vector, gains: Vector, deviation: float, beyond: float) -> float:
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    # the mixture's lies between those of its scenarios, which rounding must not shut out
    low, high = deviation * (ndtri(beyond) - 1e-6) + gains.min(), deviation * (ndtri(beyond) + 1e-6) + gains.max()
    return float(brentq(lambda v: float(probabilities @ ndtr((v - gains) / deviation)) - beyond, low, high, xtol=1e-14))


# The figures of one portfolio, and how a document has them.
#


@dataclass(frozen=True, eq=False)
class RiskFigures:
    """Risk of N instruments and, last, of cash with what trading costs; fractions of the account before trading.

    `tails` are by days and level of confidence; the days are trading days, None the horizon. `volatility` is annual and
    total. Shocks are those of the book that tell no news, as losses below 0. Arrays (N + 1,) add up to their
    totals.
    """

    instruments: tuple[str, ...]
    weights: Vector
    """(N + 1,) of the account after trading."""
    volatility: float
    volatilities: Vector
    tails: Mapping[tuple[int | None, float], TailLoss]
    shocks: Mapping[str, Vector]
    liquidation: Vector | None
    """(N,) days that selling each name takes by volume, infinite where none is traded; None where it is not stated."""

    @property
    def longest(self) -> int | None:
        """The most days over which losses are told before the horizon; None, the horizon, where none are."""
        return max((day for day, _ in self.tails if day is not None), default=None)

    @property
    def effective_names(self) -> float:
        """1/Σw² with w the shares of what is invested, cash apart: as many equal positions are as concentrated."""
        invested = self.weights[:-1]
        squares = float(invested @ invested)
        return float(invested.sum()) ** 2 / squares if squares > 0 else 0.0

    @property
    def largest(self) -> dict[str, float]:
        """The five largest positions but cash."""
        order = [i for i in np.argsort(-self.weights[:-1], kind="stable")[:LARGEST] if self.weights[i] > 0]
        return {self.instruments[i]: float(self.weights[i]) for i in order}

    @property
    def days_to_liquidate(self) -> float | None:
        """Until all is sold, names side by side; None where no volume is stated, infinite where something never is."""
        return None if self.liquidation is None else float(self.liquidation.max(initial=0.0))


def risk_figures(book: Book, outlook: Outlook, trade: Trade, participation: float | None) -> RiskFigures:
    """The risk of a portfolio after a trade; `participation` is what may be traded of a day's volume in each name."""
    before, days = trade.value_before, TRADING_DAYS * outlook.years
    amounts, costs = np.append(trade.values, trade.cash) / before, 1 - trade.value / before
    returns = np.column_stack([outlook.returns, outlook.cash_returns])
    whole = GainMixture.of(outlook.probabilities, returns, outlook.risk, amounts)
    variances, total = whole.variances, max(float(whole.variances.sum()), 0.0)
    spans: dict[int | None, GainMixture] = {day: whole.over(day / days).after(costs) for day in DAYS if day < days}
    spans[None] = whole.after(costs)
    paid, liquidation = np.append(np.zeros(len(amounts) - 1), costs), None
    if participation is not None and "average_daily_volume" in book.exposures:
        volumes = participation * daily_volume_in_money(book)
        liquidation = np.divide(trade.values, volumes, out=np.full(len(volumes), np.inf), where=volumes > 0)
        liquidation[trade.values <= 0] = 0.0
    return RiskFigures(
        instruments=(*book.instruments, book.cash_instrument),
        weights=trade.all_weights,
        volatility=math.sqrt(total / outlook.years),
        volatilities=variances / math.sqrt(total * outlook.years) if total > 0 else np.zeros(len(variances)),
        tails={(day, level): span.tail(beyond) for day, span in spans.items() for level, beyond in BEYOND.items()},
        shocks={
            name: np.append(_at_once(book, shock, trade.values), 0.0) * amounts - paid
            for name, shock in joined_shocks(book.settings.shocks).items()
            if (shock.moves_prices or shock.changes_liquidity) and not (shock.tells or shock.changes_model)
        },
        liquidation=liquidation,
    )


def _at_once(book: Book, shock: ShockSection, held: Vector) -> Vector:
    return (1 + immediate_returns(book, shock, held)) * (1 - marked_down(book, shock)) - 1


class _TailRow(TypedDict):
    days: Annotated[int | None, "trading days; null is the horizon"]
    level: float
    value_at_risk: Annotated[float, "the loss that is exceeded with probability 1 - level; a gain is below 0"]
    expected_shortfall: Annotated[float, "the mean of these losses"]


class _PositionRisk(TypedDict):
    instrument: Annotated[str, "what is held; cash has the costs of trading"]
    volatility: Annotated[float, "what it adds to volatility"]
    expected_shortfall: Annotated[list[float], "what it adds to that of each row of tails"]
    shocks: Annotated[ByName, "what it adds to each shock"]
    days_to_liquidate: Annotated[NotNegative | None, "null where no volume is stated, or none is traded"]


class RiskDocument(TypedDict):
    """Risk of one portfolio, after costs; what positions add is exact and adds up. With reviews, if held to the
    horizon."""

    volatility: Annotated[NotNegative, "annual, within scenarios and between them"]
    tails: Annotated[list[_TailRow], "of the mixture of scenarios, normal within each"]
    shocks: Annotated[ByName, "return at once under each of [shocks] that moves prices or liquidity and tells no news"]
    effective_names: Annotated[NotNegative, "1/sum of squares of shares of what is invested, cash apart"]
    largest: Annotated[ByName, "the five largest weights, cash apart"]
    days_to_liquidate: Annotated[
        NotNegative | None,
        "until all is sold at mandate.max_participation of the daily volume; null where that is not stated, or a name "
        "is not traded at all",
    ]
    positions: list[_PositionRisk]


RisksDocument: TypeAlias = Annotated[dict[str, RiskDocument], ("before", "target", "after")]
"""Of what is held, of the targets, and of what is proposed."""


def risks_document(risk: Mapping[str, RiskFigures]) -> RisksDocument:
    """The figures of each portfolio of a plan."""
    return {name: risk_document(figures) for name, figures in risk.items()}


def risk_document(figures: RiskFigures) -> RiskDocument:
    """The figures as plain data, to the decimals that are stable; what is not held is left out."""
    tails, days = figures.tails, figures.liquidation
    added = [*(tail.contributions for tail in tails.values()), *figures.shocks.values()]
    touched = np.any([figures.weights, *added], axis=0)
    document = {
        "volatility": figures.volatility,
        "tails": [
            {"days": day, "level": level, "value_at_risk": tail.value_at_risk,
             "expected_shortfall": tail.expected_shortfall}
            for (day, level), tail in tails.items()
        ],
        "shocks": {name: float(moved.sum()) for name, moved in figures.shocks.items()},
        "effective_names": figures.effective_names,
        "largest": figures.largest,
        "days_to_liquidate": _finite_days(figures.days_to_liquidate),
    }  # fmt: skip
    volatilities, by_tail = (
        stable_list(figures.volatilities),
        [stable_list(tail.contributions) for tail in tails.values()],
    )
    by_shock = {name: stable_list(moved) for name, moved in figures.shocks.items()}
    positions: list[_PositionRisk] = [
        {
            "instrument": figures.instruments[i],
            "volatility": volatilities[i],
            "expected_shortfall": [each[i] for each in by_tail],
            "shocks": {name: moved[i] for name, moved in by_shock.items()},
            "days_to_liquidate": None if days is None or i == len(days) else _finite_days(float(days[i])),
        }
        for i in np.flatnonzero(touched).tolist()
    ]
    return cast("RiskDocument", {**stable_numbers(document, 8), "positions": positions})


def _finite_days(days: float | None) -> float | None:
    return None if days is None or not math.isfinite(days) else round(days, 4)
