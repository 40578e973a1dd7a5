"""Policies that are tried beside the plan, on the same prices and costs: what each wants to hold at a review.

They know no rule of the mandate: they are what is commonly compared with. Those of other packages are estimated from
the rows by then, and are their own defaults but for what is said here.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from allocator.errors import BadInput, NotSolved
from allocator.types import Vector

PLAN, HELD, EQUAL = "plan", "buy and hold", "1/N"
ROUNDING = 1e-4
"""Of the account: what the weights of other packages' solvers may miss 0 and 1 by."""
EXTRA = "pip install 'portfolio-allocator[integrations]'"


def equal_weights(returns: pd.DataFrame) -> Vector:
    """1/n of each name that can be held."""
    return np.full(returns.shape[1], 1 / max(returns.shape[1], 1))


def _minimum_variance_of_skfolio(returns: pd.DataFrame) -> Vector:
    """`MeanRisk()`: minimum variance of the sample covariance."""
    from skfolio.optimization import MeanRisk

    return np.asarray(MeanRisk().fit(returns).weights_, dtype=np.float64)


def _risk_parity_of_skfolio(returns: pd.DataFrame) -> Vector:
    """`HierarchicalRiskParity()`: by a tree of correlations (López de Prado 2016)."""
    from skfolio.optimization import HierarchicalRiskParity

    return np.asarray(HierarchicalRiskParity().fit(returns).weights_, dtype=np.float64)


def _minimum_volatility_of_pypfopt(returns: pd.DataFrame) -> Vector:
    """`EfficientFrontier(None, Ledoit-Wolf).min_volatility()`."""
    from pypfopt import EfficientFrontier, risk_models

    covariance = risk_models.CovarianceShrinkage(returns, returns_data=True).ledoit_wolf()
    return _cleaned(EfficientFrontier(None, covariance), "min_volatility", returns)


def _largest_sharpe_of_pypfopt(returns: pd.DataFrame) -> Vector:
    """`EfficientFrontier(mean historical return, Ledoit-Wolf).max_sharpe(0)`; where no mean is above 0, that of least
    volatility.
    """
    from pypfopt import EfficientFrontier, expected_returns, risk_models

    covariance = risk_models.CovarianceShrinkage(returns, returns_data=True).ledoit_wolf()
    mean = expected_returns.mean_historical_return(returns, returns_data=True)
    if not (mean > 0).any():
        return _minimum_volatility_of_pypfopt(returns)
    return _cleaned(EfficientFrontier(mean, covariance), "max_sharpe", returns, risk_free_rate=0.0)


def _cleaned(program: object, verb: str, returns: pd.DataFrame, **given: float) -> Vector:
    weights = getattr(program, verb)(**given)
    return np.array([max(float(weights[name]), 0.0) for name in returns.columns])


Weights = Callable[[pd.DataFrame], Vector]
PEERS: Mapping[str, Mapping[str, Weights]] = {
    "skfolio": {"skfolio MV": _minimum_variance_of_skfolio, "skfolio HRP": _risk_parity_of_skfolio},
    "pypfopt": {
        "PyPfOpt MV": _minimum_volatility_of_pypfopt, "PyPfOpt Sharpe": _largest_sharpe_of_pypfopt
    },
}  # fmt: skip
"""The standard portfolios of other packages."""


def chosen_peers(peers: tuple[str, ...]) -> dict[str, Weights]:
    """The portfolios of these packages by name.

    Raises:
        BadInput: one is not installed.
    """
    if missing := [name for name in peers if importlib.util.find_spec(name) is None]:
        raise BadInput.of("--peer", "is not installed", EXTRA, value=", ".join(missing))
    return {policy: weights for peer in peers for policy, weights in PEERS[peer].items()}


def wanted_weights(policy: str, weights: Weights, returns: pd.DataFrame) -> Vector:
    """(n,) what a policy wants of names whose (T, n) simple returns are whole: fractions of the account.

    Raises:
        NotSolved: the package has no answer.
    """
    if returns.shape[1] < 2:
        return equal_weights(returns)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions to come, and of means that are small
            found = weights(returns)
    except Exception as error:
        raise NotSolved(f"{policy} has no answer: {type(error).__name__}: {error}") from error
    total = float(found.sum())
    if not (np.isfinite(found).all() and (found >= -ROUNDING).all() and 0 < total <= 1 + ROUNDING):
        raise NotSolved(f"{policy} gives no weights that an account can hold: they come to {total:g}")
    return np.maximum(found, 0.0) / max(total, 1.0)
