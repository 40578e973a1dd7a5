"""Risk within a scenario against numpy, scikit-learn and its own definition."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.errors import BadInput
from allocator.outlook.outlook import build_outlook
from allocator.outlook.risk_model import FactorRisk, build_risk_model
from allocator.types import Matrix
from tests.agreement import HOLDINGS
from tests.books import NAMES, book


def covariance(risk: FactorRisk) -> Matrix:
    return np.asarray(risk.loadings @ risk.loadings.T + np.diag(risk.specific))


def walk(rows: int, names: tuple[str, ...] = NAMES, seed: int = 70) -> pd.DataFrame:
    """Synthetic daily prices: a market and each name's own moves, up to a day before as_of."""
    draw = np.random.default_rng(seed)
    moves = draw.normal(0, 0.01, (rows, 1)) + draw.normal(0, 0.015, (rows, len(names)))
    walked = np.cumsum(moves, axis=0)
    frame = pd.DataFrame(100 * np.exp(walked - walked[-1]), columns=list(names))  # the price of the holdings
    frame.insert(0, "date", pd.bdate_range(end="2026-11-19", periods=rows))
    return frame


def returns_of(prices: pd.DataFrame) -> Matrix:
    values = prices.drop(columns="date").to_numpy()
    return np.asarray(values[1:] / values[:-1] - 1)


def priced(
    prices: pd.DataFrame, *, names: tuple[str, ...] = NAMES, months: float = 12.0, window: int = 250, **risk: object
) -> Book:
    settings = {"source": "prices", "window_rows": window, "periods_per_year": 252.0, **risk}
    returns = {"base": [0.05] * len(names)}
    return book({"risk": settings, "horizon": {"months": months}}, names=names, returns=returns, prices=prices)


def test_beta_and_idiosyncratic_volatility_make_the_single_index_model() -> None:
    beta, own = np.array([0.5, 1.0, 1.5, -0.2]), np.array([0.1, 0.2, 0.3, 0.4])
    held = book(exposures_columns={"beta": beta, "idiosyncratic_volatility": own})

    np.testing.assert_allclose(
        covariance(build_risk_model(held)), 0.15**2 * np.outer(beta, beta) + np.diag(own**2), atol=1e-15
    )
    assert (
        build_risk_model(held).source
        == "beta and idiosyncratic volatility of exposures.csv, market volatility 15.0% a year"
    )


def test_variance_and_covariances_are_those_of_the_full_matrix() -> None:
    draw = np.random.default_rng(71)
    risk = FactorRisk(draw.normal(size=(6, 2)), draw.uniform(0, 1, 6), "random")
    full = covariance(risk)
    for _ in range(20):
        h = draw.normal(size=6)
        assert risk.variance(h) == pytest.approx(h @ full @ h)
        np.testing.assert_allclose(risk.covariances(h), full @ h)


@pytest.mark.parametrize("months", [1.0, 6.0, 12.0, 30.0])
def test_variance_grows_with_the_horizon(months: float) -> None:
    year = covariance(build_risk_model(book()))
    held = book({"horizon": {"months": months}})

    np.testing.assert_allclose(covariance(build_risk_model(held)), year * months / 12)
    assert build_outlook(held).years == months / 12


def test_a_history_is_annualised_by_its_rows_a_year_and_scaled_to_the_horizon() -> None:
    prices = walk(251)
    half = covariance(build_risk_model(priced(prices, months=6.0)))
    fridays = prices.assign(date=pd.date_range(end="2026-11-19", periods=len(prices), freq="7D"))
    weekly = covariance(build_risk_model(priced(fridays, periods_per_year=52.0)))

    np.testing.assert_allclose(half, covariance(build_risk_model(priced(prices))) / 2)
    np.testing.assert_allclose(weekly, covariance(build_risk_model(priced(prices))) * 52 / 252)


def test_rows_that_are_not_so_many_a_year_are_refused() -> None:
    """Annualised with 252, weekly rows would be five times too risky, and those of the calendar a fifth."""
    prices = walk(251)
    for step, per_year in (("7D", 252.0), ("1D", 52.0), ("7D", 12.0), ("1D", 252.0)):
        days = prices.assign(date=pd.date_range(end="2026-11-19", periods=len(prices), freq=step))
        with pytest.raises(BadInput, match=r"rows a year by their dates, and risk.periods_per_year says"):
            build_risk_model(priced(days, periods_per_year=per_year))
    calendar = prices.assign(date=pd.date_range(end="2026-11-19", periods=len(prices), freq="1D"))
    build_risk_model(priced(calendar, periods_per_year=365.0))


def test_ledoit_wolf_is_what_scikit_learn_makes_of_the_same_returns() -> None:
    from sklearn.covariance import ledoit_wolf

    for rows, names in ((251, NAMES), (31, tuple(f"N{i}" for i in range(40)))):
        prices = walk(rows, names)
        risk = build_risk_model(priced(prices, names=names, window=rows - 1, method="ledoit_wolf"))
        expected, shrinkage = ledoit_wolf(returns_of(prices))

        np.testing.assert_allclose(covariance(risk), expected * 252, rtol=1e-9, atol=1e-12)
        assert risk.source.startswith(f"Ledoit-Wolf (shrinkage {shrinkage:.3f}) of {rows - 1} returns to 2026-11-19")
        assert risk.loadings.shape[1] == min(rows - 1, len(names))


def test_statistical_factors_keep_each_names_sample_variance() -> None:
    prices = walk(251, tuple(f"N{i}" for i in range(12)))
    names = tuple(f"N{i}" for i in range(12))
    risk = build_risk_model(priced(prices, names=names, method="statistical_factors", factors=3))
    sample = np.cov(returns_of(prices).T) * 252

    assert risk.loadings.shape == (12, 3)
    np.testing.assert_allclose(np.diag(covariance(risk)), np.diag(sample), rtol=1e-12)
    assert (risk.specific > 0).all()
    assert risk.source == "3 statistical factors of 250 returns to 2026-11-19; 252 rows a year"


def test_statistical_factors_are_the_leading_principal_components() -> None:
    prices = walk(251, tuple(f"N{i}" for i in range(12)))
    risk = build_risk_model(
        priced(prices, names=tuple(f"N{i}" for i in range(12)), method="statistical_factors", factors=2)
    )
    values, vectors = np.linalg.eigh(np.cov(returns_of(prices).T) * 252)
    leading = vectors[:, -2:] @ np.diag(values[-2:]) @ vectors[:, -2:].T

    np.testing.assert_allclose(risk.loadings @ risk.loadings.T, leading, atol=1e-12)


def test_as_many_factors_as_names_are_the_sample_covariance() -> None:
    prices = walk(251)
    risk = build_risk_model(priced(prices, method="statistical_factors", factors=50))

    np.testing.assert_allclose(covariance(risk), np.cov(returns_of(prices).T) * 252, atol=1e-12)


@pytest.mark.parametrize(("count", "method"), [(20, "Ledoit-Wolf"), (21, "10 statistical factors")])
def test_the_method_is_chosen_by_names_against_half_the_rows(count: int, method: str) -> None:
    names = tuple(f"N{i}" for i in range(count))

    assert build_risk_model(priced(walk(41, names), names=names, window=40)).source.startswith(method)


def test_a_given_covariance_is_reproduced() -> None:
    draw = np.random.default_rng(72)
    root = draw.normal(size=(4, 4)) * 0.2
    given = pd.DataFrame(root @ root.T, columns=list(NAMES))
    given.insert(0, "instrument", list(NAMES))
    risk = build_risk_model(book({"risk": {"source": "covariance"}}, covariance=given))

    np.testing.assert_allclose(covariance(risk), root @ root.T, atol=1e-14)
    assert risk.source == "covariance.csv"


def test_a_given_covariance_follows_its_labels_and_not_its_order() -> None:
    order = ["CCC", "AAA", "DDD", "BBB"]
    variances = {"AAA": 0.01, "BBB": 0.02, "CCC": 0.03, "DDD": 0.04}
    given = pd.DataFrame(np.diag([variances[name] for name in order]), columns=order)
    given.insert(0, "instrument", order)

    made = covariance(build_risk_model(book({"risk": {"source": "covariance"}}, covariance=given)))
    np.testing.assert_allclose(made, np.diag([0.01, 0.02, 0.03, 0.04]), atol=1e-15)


def test_a_covariance_of_lower_rank_is_reproduced_by_fewer_factors() -> None:
    beta = np.array([1.0, 2.0, -1.0, 0.0])
    given = pd.DataFrame(np.outer(beta, beta) * 0.04, columns=list(NAMES))
    given.insert(0, "instrument", list(NAMES))
    risk = build_risk_model(book({"risk": {"source": "covariance"}}, covariance=given))

    assert risk.loadings.shape == (4, 1)
    np.testing.assert_allclose(covariance(risk), np.outer(beta, beta) * 0.04, atol=1e-15)


def test_a_covariance_of_nothing_at_all_is_no_risk() -> None:
    given = pd.DataFrame(np.zeros((4, 4)), columns=list(NAMES))
    given.insert(0, "instrument", list(NAMES))
    held = book({"risk": {"source": "covariance"}}, covariance=given)

    from allocator.mandate.builder import build_mandate
    from allocator.rules.rows import Position
    from tests.problems import Question

    trade, _, _ = Question(
        Position(held.weights, held.cash / held.value), build_outlook(held), build_mandate(held)
    ).certified()
    assert build_risk_model(held).variance(np.ones(4)) == 0
    assert trade.values[3] == pytest.approx(1, abs=HOLDINGS)


def test_a_late_listing_is_priced_by_its_beta_to_the_average_of_the_others() -> None:
    prices = walk(251)
    prices.loc[:99, "CCC"] = np.nan
    held = book(
        {"risk": {"source": "prices", "window_rows": 250, "periods_per_year": 252.0, "late_listings": "beta",
                  "market_volatility": 0.2}},
        prices=prices,
        exposures_columns={"beta": [1.0, 1.0, 1.3, 1.0], "idiosyncratic_volatility": [0.1, 0.1, 0.4, 0.1]},
    )  # fmt: skip
    risk = build_risk_model(held)
    full = covariance(risk)
    others = [0, 1, 3]
    alone = build_risk_model(priced(prices.drop(columns="CCC"), names=("AAA", "BBB", "DDD")))
    average = np.full(3, 1 / 3)
    length = np.linalg.norm(alone.loadings.T @ average)

    np.testing.assert_allclose(full[np.ix_(others, others)], covariance(alone), atol=1e-15)
    assert full[2, 2] == pytest.approx((1.3 * 0.2) ** 2 + 0.4**2)
    np.testing.assert_allclose(
        full[2, others], 1.3 * 0.2 * (alone.loadings @ alone.loadings.T @ average) / length, atol=1e-15
    )
    assert (full[2, others] > 0).all()
    assert np.linalg.eigvalsh(full)[0] > 0
    assert risk.source.endswith("; by beta, for want of history: CCC")


def test_a_late_listing_without_a_beta_is_refused_by_name() -> None:
    prices = walk(251)
    prices.loc[:99, "CCC"] = np.nan
    held = book(
        {"risk": {"source": "prices", "window_rows": 250, "periods_per_year": 252.0, "late_listings": "beta",
                  "market_volatility": 0.2}},
        prices=prices, exposures_columns={"beta": [1.0, 1.0, None, 1.0]},
    )  # fmt: skip

    with pytest.raises(BadInput, match="must not be blank for CCC; its price history is too short"):
        build_risk_model(held)


def test_without_scikit_learn_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.covariance", None)

    with pytest.raises(BadInput) as refused:
        build_risk_model(priced(walk(251)))

    assert str(refused.value) == (
        "book.toml risk.source: needs scikit-learn, which is not installed (got 'prices'); "
        "pip install 'portfolio-allocator[risk]', or set risk.method = \"statistical_factors\""
    )


def test_scikit_learn_is_imported_only_when_it_is_needed(root: Path) -> None:
    code = "import sys, allocator.outlook.risk_model; print('sklearn' in sys.modules, 'cvxpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_the_outlook_is_the_books_own_in_one_order() -> None:
    held = book(
        {"horizon": {"months": 18.0}},
        returns={"up": [0.1, 0.2, 0.3, 0.4], "down": [-0.1, -0.2, -0.3, -0.4]},
        probabilities={"up": 0.7, "down": 0.3},
    )
    outlook = build_outlook(held)

    assert outlook.scenarios == ("up", "down")
    np.testing.assert_array_equal(outlook.probabilities, [0.7, 0.3])
    np.testing.assert_array_equal(outlook.returns, [[0.1, 0.2, 0.3, 0.4], [-0.1, -0.2, -0.3, -0.4]])
    np.testing.assert_array_equal(outlook.cash_returns, [0.02, 0.02])
    gains = outlook.portfolio_returns(np.array([0.5, 0, 0, 0.25]), 0.25)
    np.testing.assert_allclose(gains, [0.155, -0.145])
    between = 0.7 * 0.3 * (gains[0] - gains[1]) ** 2
    assert outlook.variance_between(np.array([0.5, 0, 0, 0.25]), 0.25) == pytest.approx(between)
