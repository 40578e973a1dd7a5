"""The peers, asked the same question in their own words: plain mean-variance, and mean with CVaR of draws.

They live in an environment of their own and are no dependency: one that is not there says so in its column. Each gets
finished expected returns and covariance, as a user of it who has these would hand them over, so that nothing is
estimated in the timed call. Cash is one more name without risk where a peer knows no cash.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from by_hand import MeanVariance, Tails

from allocator.types import Matrix, Vector

WITHOUT_RISK = 1e-10
"""The variance of cash, where a covariance must be positive definite."""


@dataclass(frozen=True)
class Peer:
    """An optimizer: its `distribution`, how it is asked, and what of the question it leaves out."""

    distribution: str
    mean_variance: Callable[..., Vector]
    tails: Callable[[Tails], Vector] | None = None
    leaves_out: str = ""
    takes_piqp: bool = True
    """Whether `mean_variance` may be told which solver of cvxpy to use, and PIQP can solve what it makes."""


# skfolio
#
def _prior(mean: Vector, covariance: Matrix, returns: Matrix) -> Any:
    from skfolio.prior import BasePrior, ReturnDistribution

    class Given(BasePrior):  # type: ignore[misc]
        """What is believed, finished."""

        def __init__(self) -> None:
            """An estimator of theirs must say so."""

        def fit(self, X: Any, y: Any = None, **_: Any) -> Given:
            del X, y
            self.return_distribution_ = ReturnDistribution(mu=mean, covariance=covariance, returns=returns)
            return self

    return Given()


def _skfolio(mean: Vector, covariance: Matrix, returns: Matrix, **asked: Any) -> Vector:
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    model = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY, prior_estimator=_prior(mean, covariance, returns),
        budget=None, min_budget=0.0, **asked,
    )  # fmt: skip
    return np.array(model.fit(returns).weights_)


def skfolio(asked: MeanVariance, **solver: str) -> Vector:
    """`MeanRisk`."""
    from skfolio import RiskMeasure

    return _skfolio(
        asked.excess, asked.covariance, np.vstack([asked.excess, asked.excess]), risk_measure=RiskMeasure.VARIANCE,
        risk_aversion=asked.aversion, max_weights=asked.cap, max_budget=asked.invested, transaction_costs=asked.rate,
        previous_weights=asked.held, left_inequality=asked.groups,
        right_inequality=np.full(len(asked.groups), asked.most),
        **solver,
    )  # fmt: skip


def skfolio_tails(asked: Tails) -> Vector:
    """`MeanRisk` with CVaR, on HiGHS."""
    from skfolio import RiskMeasure

    spread = np.eye(asked.names)  # it is not looked at
    return _skfolio(
        asked.mean - asked.cash, spread, asked.returns - asked.cash, risk_measure=RiskMeasure.CVAR,
        cvar_beta=asked.level, risk_aversion=1.0, max_weights=asked.cap, max_budget=1.0,
        transaction_costs=2 * asked.rate, previous_weights=asked.held, solver="HIGHS",
    )  # fmt: skip


# PyPortfolioOpt
#
def pypfopt(asked: MeanVariance, **solver: str) -> Vector:
    """`EfficientFrontier`, cash the last name."""
    import cvxpy as cp
    from pypfopt import EfficientFrontier

    mean, covariance, names = _with_cash(asked)
    bounds = [(0.0, asked.cap)] * (names - 1) + [(1 - asked.invested, 1.0)]
    frontier = EfficientFrontier(mean, covariance, weight_bounds=bounds, **solver)
    frontier.add_objective(lambda w: asked.rate * cp.norm1(w[:-1] - asked.held))
    frontier.add_constraint(lambda w: asked.groups @ w[:-1] <= asked.most)
    return np.array(list(frontier.max_quadratic_utility(risk_aversion=2 * asked.aversion).values()))[:-1]


def pypfopt_tails(asked: Tails) -> Vector:
    """`EfficientCVaR`, the mean as a further objective."""
    import cvxpy as cp
    from pypfopt import EfficientCVaR

    mean, returns = (
        np.append(asked.mean, asked.cash),
        np.column_stack([asked.returns, np.full(asked.draws, asked.cash)]),
    )
    bounds = [(0.0, cap) for cap in (*np.full(asked.names, asked.cap), 1.0)]
    frontier = EfficientCVaR(mean, returns, beta=asked.level, weight_bounds=bounds)
    frontier.add_objective(lambda w: 2 * asked.rate * cp.norm1(w[:-1] - asked.held) - mean @ w)
    return np.array(list(frontier.min_cvar().values()))[:-1]


# Riskfolio-Lib
#
def riskfolio(asked: MeanVariance) -> Vector:
    """`Portfolio.optimization`, cash the last name."""
    mean, covariance, names = _with_cash(asked)
    caps = np.append(np.full(names - 1, asked.cap), 1.0)[:, None]
    rows = np.hstack([asked.groups, np.zeros((len(asked.groups), 1))])
    most = np.full(len(rows), asked.most)
    of_cash = np.append(np.zeros(names - 1), -1.0)
    return _riskfolio(
        pd.DataFrame(np.vstack([mean, mean])), mean, covariance, caps, np.vstack([rows, of_cash]),
        np.append(most, asked.invested - 1), "MV", asked.aversion,
    )  # fmt: skip


def riskfolio_tails(asked: Tails) -> Vector:
    """The same of CVaR."""
    returns = pd.DataFrame(np.column_stack([asked.returns, np.full(asked.draws, asked.cash)]))
    caps, mean = np.append(np.full(asked.names, asked.cap), 1.0)[:, None], np.append(asked.mean, asked.cash)
    return _riskfolio(returns, mean, np.eye(len(mean)), caps, None, None, "CVaR", 1.0, alpha=1 - asked.level)


def _riskfolio(
    returns: pd.DataFrame, mean: Vector, covariance: Matrix, caps: Matrix, rows: Any, most: Any, measure: str,
    aversion: float, **further: Any,
) -> Vector:  # fmt: skip
    import riskfolio as rp

    portfolio = rp.Portfolio(returns=returns, upperlng=caps, **further)
    names = returns.columns
    portfolio.mu = pd.DataFrame(mean[None, :], columns=names)
    portfolio.cov = pd.DataFrame(covariance, index=names, columns=names)
    if rows is not None:
        portfolio.ainequality, portfolio.binequality = rows, most[:, None]
    found = portfolio.optimization(model="Classic", rm=measure, obj="Utility", l=aversion, hist=True)
    return np.asarray(found["weights"], dtype=float)[:-1]


# cvxportfolio
#
def cvxportfolio(asked: MeanVariance, **solver: str) -> Vector:
    """`SinglePeriodOptimization` with its factor model of risk."""
    import cvxportfolio as cvx

    names, factors = list(asked.names), list(range(asked.loadings.shape[1]))
    risk = cvx.FactorModelCovariance(
        F=pd.DataFrame(asked.loadings.T, index=factors, columns=names), d=pd.Series(asked.specific, index=names),
        Sigma_F=pd.DataFrame(np.eye(len(factors)), index=factors, columns=factors),
    )  # fmt: skip
    wanted = cvx.ReturnsForecast(pd.Series(asked.excess, index=names), decay=1.0)
    groups = pd.DataFrame(asked.groups.T, index=names)
    rules = [
        cvx.LongOnly(), cvx.MaxWeights(asked.cap), cvx.MinCashBalance(1 - asked.invested),
        cvx.FactorMaxLimit(groups, pd.Series(asked.most, index=groups.columns)),
    ]  # fmt: skip
    policy = cvx.SinglePeriodOptimization(
        wanted - asked.aversion * risk - cvx.TransactionCost(a=asked.rate), rules, include_cash_return=False, **solver
    )
    held = pd.Series(np.append(asked.held, 1 - asked.held.sum()), index=[*names, "cash"])
    trades, _, _ = policy.execute(held, None, pd.Timestamp("2026-11-20"))
    return np.asarray((held + trades).iloc[:-1], dtype=float)


def _with_cash(asked: MeanVariance) -> tuple[Vector, Matrix, int]:
    count = len(asked.names) + 1
    covariance = np.zeros((count, count))
    covariance[:-1, :-1] = asked.covariance
    covariance[-1, -1] = WITHOUT_RISK
    return np.append(asked.excess, 0.0), covariance, count


PEERS = {
    "skfolio": Peer("skfolio", skfolio, skfolio_tails, takes_piqp=False),  # what it makes has cones
    "PyPortfolioOpt": Peer("PyPortfolioOpt", pypfopt, pypfopt_tails),
    "Riskfolio-Lib": Peer("riskfolio-lib", riskfolio, riskfolio_tails, "costs of trading", takes_piqp=False),
    "cvxportfolio": Peer("cvxportfolio", cvxportfolio),
}


def load_peers() -> dict[str, Peer]:
    """Those that are installed and can be imported here, imported."""
    found = {}
    modules = {"skfolio": "skfolio.optimization", "PyPortfolioOpt": "pypfopt", "Riskfolio-Lib": "riskfolio"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, peer in PEERS.items():
            try:
                importlib.import_module(modules.get(name, name))
            except ImportError:
                continue
            found[name] = peer
    return found
