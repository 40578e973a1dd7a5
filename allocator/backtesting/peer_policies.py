"""Another package's optimizers in the trial: skfolio's, of draws of the same outlook and under the same rules.

What they aim at is theirs; what is traded is the nearest to it that the rules let be, as of 1/N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from allocator.backtesting.policies import NearestPolicy, Situation, TrialPolicy
from allocator.multistage.risk_adjustment import simulated_values
from allocator.outlook.calibration import market_path
from allocator.rules.rows import Position
from allocator.types import Vector

_DRAWS = 100
"""Of each scenario, antithetic: returns to the horizon, with cash last."""


@dataclass(frozen=True)
class SkfolioPolicy(NearestPolicy):
    """The optimum of one of skfolio's optimizers, which looks at no holdings: the same wherever one stands."""

    optimizer: Callable[[Situation], Any] | None = None

    def wanted(self, met: Situation, start: Position) -> Vector:
        """(N,) its weights, found once a situation."""
        del start
        assert self.optimizer is not None  # every one of `peer_policies` has one
        return met.once_only(self.name, lambda: _weights(self.optimizer(met), met))  # type: ignore[misc]


def peer_policies() -> list[TrialPolicy]:
    """Its mean and CVaR under the belief, and its pooling of that belief with the market's by halves."""
    return [SkfolioPolicy("skfolio, CVaR", optimizer=_cvar), SkfolioPolicy("skfolio, opinions", optimizer=_opinions)]


def _weights(optimizer: Any, met: Situation) -> Vector:
    result: Vector = optimizer.fit(_draws(met)).weights_[:-1]
    return result


def _draws(met: Situation) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(K·S, N + 1) simple returns, scenario by scenario."""
    outlook = met.outlook
    scenarios = len(outlook.scenarios)
    gains = simulated_values(outlook, _DRAWS, np.arange(scenarios)) - 1
    cash = np.repeat(outlook.cash_returns, _DRAWS)[:, None]
    return np.hstack([gains.reshape(scenarios * _DRAWS, -1), cash])


def _bounds(met: Situation) -> dict[str, Any]:
    """Their own limits of single weights, so that what they aim at is near what the rules let be."""
    mandate, names = met.book.settings.mandate, len(met.book.instruments)
    most = 1.0 if mandate.max_weight is None else mandate.max_weight
    low, high = np.zeros(names + 1), np.full(names + 1, most)
    low[-1], high[-1] = mandate.min_cash, mandate.max_cash
    return {"min_weights": low, "max_weights": high}


def _cvar(met: Situation) -> Any:
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    return MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY,
        risk_measure=RiskMeasure.CVAR,
        prior_estimator=_drawn_prior()(met.outlook.probabilities),
        **_bounds(met),
    )


def _opinions(met: Situation) -> Any:
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import OpinionPooling

    path = market_path(met.book)
    assert path is not None  # the trial refuses a book without a market
    own, market = (_drawn_prior()(one) for one in (met.outlook.probabilities, path.now))
    return MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY,
        risk_measure=RiskMeasure.VARIANCE,
        risk_aversion=met.mean_variance.risk_aversion,
        prior_estimator=OpinionPooling([("belief", own), ("market", market)], opinion_probabilities=[0.5, 0.5]),
        **_bounds(met),
    )


@cache
def _drawn_prior() -> Any:
    """skfolio's prior of draws that count as their scenarios' probabilities say."""
    from skfolio.prior import BasePrior, ReturnDistribution

    class DrawnPrior(BasePrior):  # type: ignore[misc]
        """Draws as they are given, with weights of their own."""

        def __init__(self, probabilities: Vector | None = None) -> None:
            self.probabilities = probabilities

        def fit(self, X: Any, y: Any = None, **_: Any) -> Any:
            """The mean and covariance that the weights make."""
            del y
            weights = np.repeat(np.asarray(self.probabilities) / _DRAWS, _DRAWS)
            mean = weights @ X
            apart = X - mean
            self.return_distribution_ = ReturnDistribution(
                mu=mean, covariance=(apart * weights[:, None]).T @ apart, returns=X, sample_weight=weights
            )
            return self

    return DrawnPrior
