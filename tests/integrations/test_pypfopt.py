"""PyPortfolioOpt 1.6, installed: the same weights as ours, and what its own functions make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.errors import BadInput, BadMandate
from allocator.integrations.host import TranslationWarning
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS
from tests.books import CASH
from tests.integrations.conftest import asked, ours, peer


@pytest.fixture(scope="module")
def pypfopt() -> Any:
    peer("pypfopt")
    return ours("pypfopt")


def test_weights_are_those_of_our_own_api_whatever_the_order_of_tickers(pypfopt: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, costs={"commission_bps": 20.0})
    tickers = [CASH, *prices.columns[::-1]]
    optimizer = pypfopt.RobustOptimizer(book, tickers)
    weights = optimizer.optimize()

    target = rebalance(book).target
    expected = dict(zip(book.instruments, target.weights, strict=True)) | {CASH: target.cash / target.value}
    assert list(weights) == tickers
    assert weights == pytest.approx(expected, abs=HOLDINGS)
    assert optimizer.clean_weights() == pytest.approx(expected, abs=1e-4)


def test_their_discrete_allocation_goes_on_with_the_weights(pypfopt: Any, prices: pd.DataFrame) -> None:
    from pypfopt import DiscreteAllocation

    book = asked(prices.columns)
    weights = pypfopt.RobustOptimizer(book).optimize()
    latest = pd.concat([prices.iloc[-1], pd.Series({CASH: 1.0})])
    shares, left = DiscreteAllocation(weights, latest, total_portfolio_value=1e6).greedy_portfolio()

    bought = {name: count * latest[name] / 1e6 for name, count in shares.items()}
    assert left < latest.max()
    assert bought == pytest.approx({name: w for name, w in weights.items() if w > 1e-6}, abs=3e-3)


def test_their_portfolio_performance_is_our_outlook(pypfopt: Any, prices: pd.DataFrame) -> None:
    from pypfopt.base_optimizer import portfolio_performance

    book = asked(prices.columns)
    optimizer = pypfopt.RobustOptimizer(book)
    weights = optimizer.optimize()
    mean, volatility, sharpe = optimizer.portfolio_performance(risk_free_rate=0.01)

    plan = rebalance(book)
    held, cash = plan.target.weights, plan.target.cash / plan.target.value
    variance = plan.outlook.risk.variance(held) + plan.outlook.variance_between(held, cash)
    assert mean == pytest.approx(plan.outlook.probabilities @ plan.outlook.portfolio_returns(held, cash), abs=1e-9)
    assert volatility == pytest.approx(np.sqrt(variance), abs=1e-9)
    assert sharpe == pytest.approx((mean - 0.01) / volatility)
    outside = portfolio_performance(dict(weights), optimizer.expected_returns, optimizer.cov_matrix)
    assert outside[:2] == pytest.approx((mean, volatility))


def test_figures_are_a_year_where_the_horizon_is_not(pypfopt: Any, prices: pd.DataFrame) -> None:
    one, two = asked(prices.columns), asked(prices.columns, horizon={"months": 24.0})
    halved = pypfopt.RobustOptimizer(two).expected_returns

    outlook = rebalance(two).outlook
    apart = outlook.returns - outlook.probabilities @ outlook.returns
    within = outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)
    covariance = within + (apart.T * outlook.probabilities) @ apart
    assert pypfopt.RobustOptimizer(two).cov_matrix.loc[
        list(two.instruments), list(two.instruments)
    ].to_numpy() == pytest.approx(covariance / 2, abs=1e-12)
    assert halved.to_numpy() == pytest.approx(pypfopt.RobustOptimizer(one).expected_returns.to_numpy() / 2)


def test_a_conflict_is_their_error_with_our_text_alone(pypfopt: Any, prices: pd.DataFrame) -> None:
    from pypfopt.exceptions import OptimizationError

    book = asked(prices.columns, mandate={"max_weight": 0.1, "max_cash": 0.0})
    with pytest.raises(OptimizationError, match=r"caps add up to 60%.*smallest fix") as error:
        pypfopt.RobustOptimizer(book).optimize()
    assert "use a different solver" not in str(error.value)


def test_what_does_not_fit_is_refused_or_warned_of_by_name(pypfopt: Any, prices: pd.DataFrame) -> None:
    book, names = asked(prices.columns), list(prices.columns)

    with pytest.raises(BadInput, match="is not an instrument of the book"):
        pypfopt.RobustOptimizer(book, [*names[1:], "NVDIA"])
    with pytest.raises(BadInput, match="of the book is not there"):
        pypfopt.RobustOptimizer(book, names[1:])
    with pytest.raises(BadMandate, match="is for the tree of decisions"):
        pypfopt.RobustOptimizer(asked(names, mandate={"objective": "log"})).optimize()
    with pytest.raises(ValueError, match="call optimize"):
        pypfopt.RobustOptimizer(book).portfolio_performance()
    with pytest.warns(TranslationWarning, match=f"stays in {CASH}, which is not a name of PyPortfolioOpt"):
        without = pypfopt.RobustOptimizer(asked(names, mandate={"min_cash": 0.1}), names).optimize()
    assert sum(without.values()) <= 0.9 + 1e-9


def test_names_that_are_no_tickers_are_sold_where_that_is_asked(pypfopt: Any, prices: pd.DataFrame) -> None:
    book = asked(prices.columns, mandate={"max_weight": 0.4, "max_cash": 0.0})
    weights = pypfopt.RobustOptimizer(book, list(prices.columns[:-1]), absent="sell").optimize()

    assert sum(weights.values()) == pytest.approx(1)
    assert book.instruments[-1] not in weights


def test_tickers_that_are_numbers_key_the_weights_as_they_were_given(pypfopt: Any, prices: pd.DataFrame) -> None:
    from pypfopt import DiscreteAllocation

    numbers = list(range(len(prices.columns)))
    book = asked(numbers, mandate={"max_weight": 0.4, "max_cash": 0.0})
    optimizer = pypfopt.RobustOptimizer(book, numbers)
    weights = optimizer.optimize()
    plan = rebalance(asked(prices.columns, mandate={"max_weight": 0.4, "max_cash": 0.0}))
    assert [weights[number] for number in numbers] == pytest.approx(list(plan.target.weights), abs=HOLDINGS)
    assert list(optimizer.expected_returns.index) == list(optimizer.cov_matrix.columns) == numbers
    latest = pd.Series(prices.iloc[-1].to_numpy(), index=numbers)
    assert set(DiscreteAllocation(weights, latest, total_portfolio_value=1e6).greedy_portfolio()[0]) <= set(numbers)
