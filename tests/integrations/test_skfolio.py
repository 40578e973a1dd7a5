"""skfolio 1.12, installed: the same weights as ours, usable afterwards in everything that skfolio does with them."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput, BadMandate
from allocator.integrations.host import TranslationWarning, with_holdings
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS, KEPT
from tests.books import AS_OF, CASH
from tests.integrations.conftest import EARLY, asked, ours, peer

INVESTED = {"mandate": {"risk_aversion": 1.0, "max_weight": 0.4, "max_cash": 0.0}}


@pytest.fixture(scope="module")
def skfolio() -> Any:
    peer("skfolio")
    return ours("skfolio")


def with_cash(returns: pd.DataFrame) -> pd.DataFrame:
    """Names in another order than the book's, and a column of cash."""
    return returns[returns.columns[::-1]].assign(**{CASH: 0.0})


def by_name(book: Book) -> dict[str, float]:
    """Our own API's targets."""
    target = rebalance(book).target
    return dict(zip(book.instruments, target.weights, strict=True)) | {CASH: target.cash / target.value}


def test_weights_are_those_of_our_own_api(skfolio: Any, returns: pd.DataFrame) -> None:
    book, X = asked(returns.columns, as_of=EARLY, costs={"commission_bps": 20.0}), with_cash(returns)
    fitted = skfolio.RobustAllocation(book, portfolio_params={"transaction_costs": 0.0}).fit(X)

    expected = by_name(book)
    assert fitted.weights_ == pytest.approx([expected[name] for name in X.columns], abs=HOLDINGS)
    assert fitted.weights_.sum() == pytest.approx(1, abs=1e-12)


def test_rows_of_x_are_the_history_where_the_book_takes_risk_from_prices(
    skfolio: Any, prices: pd.DataFrame, returns: pd.DataFrame
) -> None:
    last = prices.index[-1].date()
    risk = {"source": "prices", "window_rows": 250, "periods_per_year": 252.0}
    table = prices.rename_axis("date").reset_index()
    quoted = prices.iloc[-1]
    book = asked(returns.columns, as_of=last, risk=risk, prices=table, quoted=quoted)
    blind = asked(returns.columns, as_of=last, risk=risk, prices=table.assign(**quoted.to_dict()), quoted=quoted)

    X = with_cash(returns)
    fitted, same = skfolio.RobustAllocation(book).fit(X), skfolio.RobustAllocation(blind).fit(X)
    expected = by_name(book)
    assert fitted.weights_ == pytest.approx([expected[name] for name in X.columns], abs=HOLDINGS)
    assert same.weights_ == pytest.approx(fitted.weights_, abs=HOLDINGS)
    with pytest.raises(BadInput, match="wants more rows than 100"):
        skfolio.RobustAllocation(book).fit(X.tail(100))


def test_without_a_book_every_row_is_a_scenario_of_our_own_api(skfolio: Any, returns: pd.DataFrame) -> None:
    from allocator.book.book import from_frames
    from allocator.integrations.returns_table import ESTIMATE
    from allocator.outlook.risk_model import estimate_risk
    from tests.books import exposures, holdings

    X, names = returns.tail(24), list(map(str, returns.columns))
    risk = estimate_risk(X.to_numpy(), ESTIMATE, "rows")
    covariance = risk.loadings @ risk.loadings.T + np.diag(risk.specific)
    mandate = {"risk_aversion": 3.0, "min_cash": 0.01, "max_cash": 0.02, "max_weight": 0.5}
    robust = {"set": "box", "radius": 0.03}
    scenarios = {f"row{k}": [*row, 0.0] for k, row in enumerate(X.to_numpy())}
    book = from_frames(
        {
            "book": {"name": "rows", "currency": "USD", "as_of": EARLY},
            "scenarios": {name: {"probability": 1 / 24} for name in scenarios},
            "risk": {"source": "covariance"},
            "mandate": mandate,
            "robust": robust,
        },
        {
            "holdings": holdings(tuple(names), 1e6, quantity=0.0),
            "exposures": exposures(tuple(names)),
            "scenario_returns": pd.DataFrame({"instrument": [*names, CASH], **scenarios}),
            "covariance": pd.DataFrame({"instrument": names, **dict(zip(names, covariance, strict=True))}),
        },
        confirm=[{"table": "covariance", "kind": "scale", "why": "of one row, like the returns"}],
    )
    with pytest.warns(TranslationWarning, match="stays in UNINVESTED"):
        fitted = skfolio.RobustAllocation(settings={"mandate": mandate, "robust": robust}).fit(X)

    expected = by_name(book)
    assert fitted.weights_ == pytest.approx([expected[name] for name in names], abs=HOLDINGS)


def test_without_a_book_and_without_caution_it_is_their_mean_variance(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.moments import LedoitWolf
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import EmpiricalPrior

    prior = EmpiricalPrior(covariance_estimator=LedoitWolf())
    utility = ObjectiveFunction.MAXIMIZE_UTILITY
    theirs = MeanRisk(objective_function=utility, risk_aversion=40.0, prior_estimator=prior).fit(returns)
    fitted = skfolio.RobustAllocation(risk_aversion=40.0).fit(returns)

    assert fitted.weights_ == pytest.approx(theirs.weights_, abs=1e-4)
    assert fitted.weights_.max() < 0.9  # an answer in the interior, not a corner that anything finds


def test_a_walk_forward_threads_the_held_weights_and_its_prediction_is_usable(
    skfolio: Any, returns: pd.DataFrame
) -> None:
    from skfolio.model_selection import WalkForward, cross_val_predict

    limit = 0.05
    risk = {"source": "exposures", "market_volatility": 0.15}
    sections = {"mandate": {**INVESTED["mandate"], "max_turnover": limit}, "risk": risk}
    book = asked(returns.columns, as_of=EARLY, cash=0.0, **sections)
    model = skfolio.RobustAllocation(book)
    assert model.needs_previous_weights
    walk = WalkForward(test_size=60, train_size=100)
    predicted = cross_val_predict(model, returns, cv=walk)

    weights = [portfolio.weights for portfolio in predicted]
    assert len(weights) == 3
    held = book.weights
    for now in weights:
        assert np.abs(now - held).sum() / 2 == pytest.approx(limit, abs=KEPT)  # the limit binds on every step, once
        held = now
    assert np.isfinite([predicted.sharpe_ratio, predicted.max_drawdown]).all()
    assert len(predicted.returns) == 180


def test_weights_that_drift_between_folds_are_what_is_held_next(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.model_selection import WalkForward, cross_val_predict

    sections = {"mandate": {**INVESTED["mandate"], "max_turnover": 0.05}}
    book = asked(returns.columns, as_of=EARLY, cash=0.0, **sections)
    model = skfolio.RobustAllocation(book, portfolio_params={"weight_drift": True})
    first, second = list(cross_val_predict(model, returns, cv=WalkForward(test_size=100, train_size=100)))[:2]

    ended = np.asarray(first.ending_weights)
    assert np.abs(ended - first.weights).max() > 1e-3
    assert np.maximum(second.weights - ended, 0).sum() <= 0.05 + 1e-6


@pytest.mark.parametrize(
    ("sections", "needed"),
    [
        ({}, False),
        ({"costs": {"commission_bps": 1.0}}, True),
        ({"trading": {"indifference_bps": 1.0}}, True),
        ({"mandate": {"max_turnover": 0.3}}, True),
        ({"mandate": {"locked": ["AAA"]}}, True),
        ({"mandate": {"max_weight": 0.3}}, False),
        ({"mandate": {"risk_aversion": 0.0}}, True),
        ({"costs": {"impact": 0.1}, "exposures_columns": {"average_daily_volume": [9.0] * 3}}, True),
        ({"mandate": {"max_participation": 0.1}, "exposures_columns": {"average_daily_volume": [9.0] * 3}}, True),
        ({"exposures_columns": {"tradable_from": [None, None, pd.Timestamp("2030-01-01")]}}, True),
    ],
)
def test_it_says_honestly_whether_it_needs_previous_weights(
    skfolio: Any, sections: dict[str, Any], needed: bool
) -> None:
    assert skfolio.RobustAllocation(asked(("AAA", "BBB", "CCC"), **sections)).needs_previous_weights is needed
    assert skfolio.RobustAllocation(
        asked(("AAA", "BBB", "CCC")), portfolio_params={"weight_drift": True}
    ).needs_previous_weights


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        (None, False),
        ({"mandate": {"weights": {"AAPL": {"max": 0.1}}, "max_cash": 0.0}}, False),
        ({"groups": {"tech": {"AAPL": 1.0}}, "mandate": {"groups": {"tech": {"max": 0.3}}}}, False),
        ({"mandate": {"locked": ["AAPL"]}}, True),
        ({"mandate": {"max_turnover": 0.2, "weights": {"AAPL": {"max": 0.1}}}}, True),
        ({"mandate": {"risk_aversion": 0.0}}, True),
        ({"costs": {"commission_bps": 5.0}}, True),
    ],
)
def test_without_a_book_it_says_so_too_whatever_names_are_in_the_settings(
    skfolio: Any, settings: dict[str, Any] | None, needed: bool
) -> None:
    assert skfolio.RobustAllocation(settings=settings).needs_previous_weights is needed


def test_a_walk_with_settings_of_names_goes_through(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.model_selection import WalkForward, cross_val_predict

    first = str(returns.columns[0])
    model = skfolio.RobustAllocation(settings={"mandate": {"weights": {first: {"min": 0.2, "max": 0.2}}}})
    predicted = cross_val_predict(model, returns, cv=WalkForward(test_size=100, train_size=100))
    assert [one.weights[0] for one in predicted] == pytest.approx([0.2] * len(predicted), abs=HOLDINGS)


@pytest.mark.filterwarnings("ignore:.*of the account stays")  # whole lots of our own API want a little cash
def test_each_step_of_a_walk_is_our_own_api_from_what_has_drifted(skfolio: Any, returns: pd.DataFrame) -> None:
    """With costs and a limit on turnover: every fold is `rebalance` of what the fold before it ended with."""
    from skfolio.model_selection import WalkForward, cross_val_predict

    wishes = {**INVESTED["mandate"], "max_turnover": 0.2, "max_cash": 0.02}
    book = asked(returns.columns, as_of=EARLY, mandate=wishes, costs={"commission_bps": 30.0}, cash=0.0)
    told = {"weight_drift": True, "transaction_costs": 0.0}
    walk = WalkForward(test_size=70, train_size=100)
    predicted = list(cross_val_predict(skfolio.RobustAllocation(book, portfolio_params=told), returns, cv=walk))

    assert len(predicted) == 3
    held = book.weights
    for portfolio in predicted:
        target = rebalance(with_holdings(book, held, 1 - held.sum(), 1e8)).target
        assert portfolio.weights == pytest.approx(target.weights, abs=HOLDINGS)
        held = np.asarray(portfolio.ending_weights)


def test_a_selection_that_changes_goes_on_with_costs_and_without_a_book(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.model_selection import WalkForward, cross_val_predict
    from skfolio.pre_selection import SelectKExtremes
    from sklearn.pipeline import Pipeline

    def walked(absent: str) -> Any:
        model = skfolio.RobustAllocation(
            settings={"costs": {"commission_bps": 1.0}}, absent=absent, portfolio_params={"transaction_costs": 0.0}
        )
        pipe = Pipeline([("select", SelectKExtremes(k=3)), ("weigh", model)]).set_output(transform="pandas")
        return list(cross_val_predict(pipe, returns, cv=WalkForward(test_size=40, train_size=60)))

    found = walked("sell")
    chosen = [set(one.assets) for one in found]
    assert any(one != other for one, other in itertools.pairwise(chosen))
    assert [float(one.weights.sum()) for one in found] == pytest.approx([1.0] * len(found), abs=KEPT)
    with pytest.raises(BadInput, match="or say absent='sell', where a selection has dropped it"):
        walked("refuse")


def test_figures_before_costs_are_warned_of(skfolio: Any, returns: pd.DataFrame) -> None:
    book = asked(returns.columns, **INVESTED, costs={"commission_bps": 10.0})
    with pytest.warns(TranslationWarning, match=r"figures of them are before costs.*transaction_costs"):
        skfolio.RobustAllocation(book).fit(returns)


def test_settings_that_are_no_plain_data_are_refused_and_arrays_are(skfolio: Any, returns: pd.DataFrame) -> None:
    names = np.array(returns.columns[:1])
    forbidden = skfolio.RobustAllocation(settings={"mandate": {"forbidden": names}}).fit(returns)
    assert forbidden.weights_[0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(BadInput, match=r"settings from skfolio: holds a set"):
        skfolio.RobustAllocation(settings={"mandate": {"forbidden": set(names)}}).fit(returns)


def test_previous_weights_are_what_is_held_and_what_they_leave_is_cash(skfolio: Any, returns: pd.DataFrame) -> None:
    names = list(returns.columns)
    sections = {"mandate": {"max_turnover": 0.1, "risk_aversion": 1.0}}
    book = asked(names, as_of=EARLY, **sections)
    held = {names[1]: 0.3, names[0]: 0.2}
    with pytest.warns(TranslationWarning, match=f"stays in {CASH}, which is not a name of skfolio"):
        fitted = skfolio.RobustAllocation(book, previous_weights=held).fit(returns)

    before = np.array([held.get(name, 0.0) for name in names])
    bought = np.maximum(fitted.weights_ - before, 0).sum()
    assert bought <= 0.1 + KEPT
    assert np.abs(fitted.weights_ - before).max() > 1e-3
    with pytest.raises(BadInput, match="is not one of the names"):
        skfolio.RobustAllocation(book, previous_weights={"NVDIA": 0.2}).fit(returns)
    with pytest.raises(BadInput, match="must be a number from 0 to 1"):
        skfolio.RobustAllocation(book, previous_weights=[-0.1, *[0.1] * (len(names) - 1)]).fit(returns)


def test_one_previous_weight_is_that_of_every_instrument_and_cash_the_rest(skfolio: Any, returns: pd.DataFrame) -> None:
    book = asked(returns.columns, as_of=EARLY, mandate={"max_turnover": 0.1, "max_cash": 1.0})
    each, X = [0.1] * len(returns.columns), with_cash(returns)
    for given in (0.1, np.float64(0.1), np.array(0.1)):
        alone = skfolio.RobustAllocation(book, previous_weights=given).fit(X)
        stated = skfolio.RobustAllocation(book, previous_weights=[*each, 0.4]).fit(X)
        assert alone.weights_ == pytest.approx(stated.weights_, abs=HOLDINGS)
        assert np.abs(alone.weights_ - [*each, 0.4]).sum() > 0.1  # as far as the limit on turnover lets it go
    with pytest.raises(BadInput, match="weights held must not add up to more than 1"):
        skfolio.RobustAllocation(book, previous_weights=0.2).fit(returns)


def test_previous_weights_by_numbers_are_those_of_the_columns_of_that_text(skfolio: Any, returns: pd.DataFrame) -> None:
    X = returns.set_axis(["0", "1", "2", "3", "4", "5"], axis=1)
    model = skfolio.RobustAllocation(settings={"mandate": {"max_turnover": 0.1, "max_cash": 1.0}})
    by_text = model.set_params(previous_weights={"4": 0.5, "1": 0.5}).fit(X).weights_
    by_number = model.set_params(previous_weights={4: 0.5, 1: 0.5}).fit(X).weights_
    assert by_number == pytest.approx(by_text, abs=HOLDINGS)
    assert by_text[[1, 4]].sum() > 0.9 - KEPT  # what a tenth of turnover leaves of it
    with pytest.raises(BadInput, match="1: is there more than once"):
        model.set_params(previous_weights={1: 0.5, "1": 0.2}).fit(X)


LABELS = ("S&P 500 (TR)", "=GLD", " padded ", "", "x" * 150, "UNINVESTED")


def test_labels_of_a_table_need_not_look_like_tickers(skfolio: Any, returns: pd.DataFrame) -> None:
    wishes = {"weights": {"=GLD": {"min": 0.1, "max": 0.1}}, "forbidden": ["", "UNINVESTED"]}
    settings = {"mandate": wishes, "groups": {"g": {"x" * 150: 1.0}}}
    odd = skfolio.RobustAllocation(settings=settings).fit(returns.set_axis(LABELS, axis=1))
    assert odd.weights_.sum() == pytest.approx(1.0, abs=KEPT)
    assert odd.weights_[[1, 3, 5]] == pytest.approx([0.1, 0.0, 0.0], abs=KEPT)
    numbered, plain = returns.set_axis(range(6), axis=1), skfolio.RobustAllocation().fit(returns)
    assert skfolio.RobustAllocation().fit(numbered).weights_ == pytest.approx(plain.weights_, abs=HOLDINGS)
    of_book = skfolio.RobustAllocation(asked(range(6), as_of=EARLY, **INVESTED)).fit(numbered[[3, 5, 0, 1, 2, 4]])
    named = skfolio.RobustAllocation(asked(returns.columns, as_of=EARLY, **INVESTED)).fit(returns)
    assert of_book.weights_ == pytest.approx(named.weights_[[3, 5, 0, 1, 2, 4]], abs=HOLDINGS)
    with pytest.raises(BadInput, match="did you mean '=GLD'"):
        skfolio.RobustAllocation(settings={"mandate": {"forbidden": ["=GL"]}}).fit(returns.set_axis(LABELS, axis=1))


def test_folds_that_leave_out_days_have_no_gap_in_their_rows(
    skfolio: Any, prices: pd.DataFrame, returns: pd.DataFrame
) -> None:
    from skfolio.model_selection import CombinatorialPurgedCV, cross_val_predict
    from skfolio.optimization import StackingOptimization
    from sklearn.model_selection import KFold

    last = prices.index[-1].date()
    risk = {"source": "prices", "window_rows": 200, "periods_per_year": 252.0}
    table = prices.rename_axis("date").reset_index()
    book = asked(prices.columns, as_of=last, risk=risk, prices=table, quoted=prices.iloc[-1], **INVESTED)
    for model in (skfolio.RobustAllocation(), skfolio.RobustAllocation(book)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TranslationWarning)  # a book of the last day, asked before
            predicted = cross_val_predict(model, returns, cv=KFold(3))
        assert [float(one.weights.sum()) for one in predicted] == pytest.approx([1.0] * 3, abs=KEPT)
    paths = cross_val_predict(skfolio.RobustAllocation(), returns, cv=CombinatorialPurgedCV(n_folds=4, n_test_folds=2))
    assert [path.n_observations for path in paths] == [len(returns)] * len(paths)
    of_two = [("calm", skfolio.RobustAllocation(risk_aversion=9.0)), ("bold", skfolio.RobustAllocation())]
    stacked = StackingOptimization(of_two, final_estimator=skfolio.RobustAllocation(), cv=KFold(3)).fit(returns)
    assert stacked.weights_.sum() == pytest.approx(1.0, abs=KEPT)


def test_a_grid_search_chooses_the_radius_and_predicts(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.model_selection import WalkForward
    from sklearn.model_selection import GridSearchCV

    book = asked(returns.columns, as_of=EARLY, **INVESTED)
    grid = GridSearchCV(
        skfolio.RobustAllocation(book),
        {"radius": [0.0, 0.2], "risk_aversion": [1.0]},
        cv=WalkForward(test_size=60, train_size=200),
        error_score="raise",
    )
    found = grid.fit(returns)

    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    alone = skfolio.RobustAllocation(book, **found.best_params_).fit(returns)
    robust = book.settings.robust.model_copy(update={"radius": found.best_params_["radius"]})
    chosen = replace(book, settings=book.settings.model_copy(update={"robust": robust}))
    assert found.best_estimator_.weights_ == pytest.approx(rebalance(chosen).target.weights, abs=HOLDINGS)
    assert found.best_estimator_.weights_ == pytest.approx(alone.weights_, abs=HOLDINGS)
    cautious = skfolio.RobustAllocation(book, radius=0.25).fit(returns)
    bold = skfolio.RobustAllocation(book, radius=0.0).fit(returns)
    assert np.abs(cautious.weights_ - bold.weights_).max() > 1e-3
    assert found.predict(returns).mean == pytest.approx(float(returns.to_numpy().mean(axis=0) @ alone.weights_))


def test_names_that_a_pipeline_drops_are_refused_or_sold(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.pre_selection import DropCorrelated
    from sklearn.pipeline import Pipeline

    twin = returns.assign(TWIN=returns.iloc[:, 0] * 1.0001)
    book = asked(twin.columns, as_of=EARLY, **INVESTED)

    def pipe(absent: str) -> Pipeline:
        steps = [("drop", DropCorrelated(0.99)), ("weigh", skfolio.RobustAllocation(book, absent=absent))]
        return Pipeline(steps)

    with pytest.raises(BadInput, match=r"set_output\(transform='pandas'\)"):  # else sklearn takes the names away
        pipe("sell").fit(twin)
    with pytest.raises(BadInput, match="of the book is not there"):
        pipe("refuse").set_output(transform="pandas").fit(twin)
    fitted = pipe("sell").set_output(transform="pandas").fit(twin)
    assert fitted["weigh"].weights_.shape == (len(returns.columns),)
    assert fitted["weigh"].weights_.sum() == pytest.approx(1, abs=KEPT)
    assert fitted.predict(twin).n_assets == len(returns.columns)

    limited = asked(twin.columns, as_of=EARLY, mandate={**INVESTED["mandate"], "max_turnover": 0.3})
    before = {"TWIN": 0.3, **dict.fromkeys(returns.columns, 0.7 / 6)}  # what was held before TWIN was dropped
    later = skfolio.RobustAllocation(limited, absent="sell", previous_weights=before).fit(returns)
    assert later.weights_.sum() == pytest.approx(1, abs=KEPT)
    assert (later.weights_ >= 0.7 / 6 - 1e-7).all()  # selling TWIN is all that the limit allows


def test_a_conflict_is_their_error_with_our_text_and_their_fallback_takes_over(
    skfolio: Any, returns: pd.DataFrame
) -> None:
    from skfolio.exceptions import OptimizationError
    from skfolio.optimization import EqualWeighted

    hopeless = {"mandate": {"max_weight": 0.1, "max_cash": 0.0}}
    model = skfolio.RobustAllocation(settings=hopeless)
    with pytest.raises(OptimizationError, match=r"caps add up to 60%.*smallest fix"):
        model.fit(returns)
    replaced = model.set_params(fallback=[EqualWeighted()]).fit(returns)
    assert replaced.weights_ == pytest.approx(1 / len(returns.columns))
    assert "caps add up to 60%" in replaced.fallback_chain_[0][1]
    ours_after = EqualWeighted(fallback=[skfolio.RobustAllocation()])
    assert ours_after.fit(returns).weights_.sum() == pytest.approx(1)


def test_a_fallback_that_hides_a_wrong_label_is_warned_of(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.optimization import EqualWeighted

    book = asked(["NVDIA", *returns.columns[1:]], as_of=EARLY)
    with pytest.warns(TranslationWarning, match="refused, and not for want of a solution"):
        skfolio.RobustAllocation(book, fallback=EqualWeighted()).fit(returns)


def test_what_does_not_fit_the_book_is_refused_by_name(
    skfolio: Any, prices: pd.DataFrame, returns: pd.DataFrame
) -> None:
    book = asked(returns.columns, as_of=EARLY)
    model = skfolio.RobustAllocation(book)

    with pytest.raises(BadInput, match="the columns have no names"):
        model.fit(returns.to_numpy())
    with pytest.raises(BadInput, match="are they prices"):
        model.fit(prices)
    with pytest.raises(BadInput, match="the book has settings of its own"):
        skfolio.RobustAllocation(book, settings={}).fit(returns)
    with pytest.raises(BadInput, match=r"did you mean 'mandate'"):
        skfolio.RobustAllocation(settings={"mandat": {}}).fit(returns)
    with pytest.raises(BadInput, match="needs scenarios that have names"):
        skfolio.RobustAllocation(settings={"robust": {"set": "hull"}}).fit(returns)
    with pytest.raises(BadInput, match="a floor of every row"):
        skfolio.RobustAllocation(settings={"mandate": {"min_worst_scenario_return": -0.1}}).fit(returns)
    with pytest.raises(BadInput, match="weighs whole lots against not trading"):
        skfolio.RobustAllocation(settings={"trading": {"min_gain_bps": 5.0}}).fit(returns)
    with pytest.warns(TranslationWarning, match=r"trading.min_gain_bps: a peer gets the targets"):
        skfolio.RobustAllocation(asked(returns.columns, as_of=EARLY, trading={"min_gain_bps": 5.0}, **INVESTED)).fit(
            returns
        )
    with pytest.raises(BadMandate, match="is for the tree of decisions"):
        skfolio.RobustAllocation(settings={"mandate": {"objective": "log"}}).fit(returns)
    with pytest.raises(ValueError, match="'refuse' or 'sell'"):
        skfolio.RobustAllocation(book, absent="ignore").fit(returns)


def test_prices_without_a_book_and_hindsight_with_one_are_warned_of(
    skfolio: Any, prices: pd.DataFrame, returns: pd.DataFrame
) -> None:
    with pytest.warns(TranslationWarning, match="are they prices"):
        skfolio.RobustAllocation().fit(prices)
    with pytest.warns(TranslationWarning, match="what it believes was not known then"):
        skfolio.RobustAllocation(asked(returns.columns, as_of=AS_OF, **INVESTED)).fit(returns)
    with pytest.warns(TranslationWarning) as told:
        skfolio.ScenarioPrior(asked(returns.columns, as_of=AS_OF)).fit(returns)
    assert any("what it believes was not known then" in str(one.message) for one in told)


def test_weekly_rows_and_rows_out_of_order_are_no_daily_history(skfolio: Any, prices: pd.DataFrame) -> None:
    last = prices.index[-1].date()
    risk = {"source": "prices", "window_rows": 40, "periods_per_year": 252.0}
    table = prices.rename_axis("date").reset_index()
    book = asked(prices.columns, as_of=last, risk=risk, prices=table, quoted=prices.iloc[-1], **INVESTED)
    weekly = prices.resample("W").last().pct_change().iloc[1:]
    with pytest.raises(BadInput, match=r"about 5\d rows a year by their dates, and risk.periods_per_year says 252"):
        skfolio.RobustAllocation(book).fit(weekly)
    daily = prices.pct_change().iloc[1:]
    with pytest.raises(BadInput, match="rows are not in the order of their dates"):
        skfolio.RobustAllocation(book).fit(daily.iloc[::-1])
    late = asked(prices.columns, as_of=AS_OF, **INVESTED)
    with pytest.warns(TranslationWarning, match="what it believes was not known then"):
        skfolio.RobustAllocation(late).fit(daily.set_axis(daily.index.to_period("D")))


def test_a_rule_that_gives_way_is_warned_of(skfolio: Any, returns: pd.DataFrame) -> None:
    sections = {"mandate": {"max_weight": 0.1, "max_cash": 0.0, "tiers": {"max_weight": 1}}}

    with pytest.warns(TranslationWarning, match=r"was relaxed from 10% to"):
        fitted = skfolio.RobustAllocation(settings=sections).fit(returns)
    assert fitted.weights_.sum() == pytest.approx(1)


def prior_of(skfolio: Any, book: Book, X: pd.DataFrame) -> Any:
    """What skfolio is told of the book's outlook, and that its rows have no order."""
    with pytest.warns(TranslationWarning, match="have no order: measures of a path, such as drawdowns, mean nothing"):
        return skfolio.ScenarioPrior(book).fit(X).return_distribution_


def test_the_prior_is_our_outlook_in_their_optimizers(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    from allocator.integrations.host import match_names, moments
    from allocator.outlook.outlook import build_outlook

    book, X = asked(returns.columns, as_of=EARLY), with_cash(returns).iloc[:, 2:]
    found = prior_of(skfolio, book, X)
    mean, covariance = moments(build_outlook(book), match_names(book, list(X), peer="skfolio", absent="sell"))
    assert found.mu == pytest.approx(mean, abs=1e-15)
    assert found.covariance == pytest.approx(covariance, abs=1e-15)
    assert found.sample_weight @ found.returns == pytest.approx(mean, abs=1e-13)
    assert np.cov(found.returns, rowvar=False, aweights=found.sample_weight) == pytest.approx(covariance, abs=1e-13)
    assert found.returns[:, -1] == pytest.approx(0.02, abs=1e-15)  # cash has no risk within a scenario

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TranslationWarning)  # seen above
        utility = MeanRisk(
            objective_function=ObjectiveFunction.MAXIMIZE_UTILITY,
            risk_aversion=2.0,
            prior_estimator=skfolio.ScenarioPrior(book),
        ).fit(X)
        only_cash = skfolio.ScenarioPrior(book).fit(X[[CASH]]).return_distribution_
    assert utility.predict(X).n_observations == len(X)
    assert (only_cash.covariance == 0).all()


def test_points_of_a_scenario_carry_the_risk_within_it_and_its_belief(skfolio: Any, returns: pd.DataFrame) -> None:
    """Sorted apart by one name without risk of its own, whose return says which scenario a point is of."""
    from allocator.outlook.outlook import build_outlook

    names = list(map(str, returns.columns))
    quiet = {"idiosyncratic_volatility": [0.0] + [0.3] * 5, "beta": [0.0] + [1.2] * 5}
    book = asked(names, as_of=EARLY, exposures_columns=quiet)
    outlook, found = build_outlook(book), prior_of(skfolio, asked(names, as_of=EARLY, exposures_columns=quiet), returns)
    within = outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)
    near = 1 - (found.sample_weight**2).sum()  # what skfolio's covariance makes up for
    for mean, belief in zip(outlook.returns, outlook.probabilities, strict=True):
        own = np.abs(found.returns[:, 0] - mean[0]) < 1e-3
        weights = found.sample_weight[own]
        assert weights.sum() == pytest.approx(belief, abs=1e-12)
        apart = found.returns[own] - weights @ found.returns[own] / weights.sum()
        assert (apart.T * weights) @ apart / weights.sum() == pytest.approx(within * near, abs=1e-13)
        assert weights @ found.returns[own] / weights.sum() == pytest.approx(mean, abs=1e-3)


def test_their_tail_of_the_points_is_our_own_expected_shortfall(skfolio: Any, returns: pd.DataFrame) -> None:
    """Ours is in closed form, of the same normal risk within scenarios; theirs of a thousand points."""
    from skfolio.measures import cvar

    from allocator.outlook.outlook import build_outlook
    from allocator.plan.risk_figures import GainMixture

    book = asked(returns.columns, as_of=EARLY)
    outlook, found = build_outlook(book), prior_of(skfolio, book, returns)
    for held in (np.full(6, 1 / 6), np.eye(6)[2]):
        deviation = float(np.sqrt(outlook.risk.variance(held)))
        mixture = GainMixture(outlook.probabilities, (outlook.returns @ held)[:, None], np.array([deviation**2]))
        exact = mixture.tail(0.05).expected_shortfall
        assert cvar(found.returns @ held, sample_weight=found.sample_weight) == pytest.approx(
            exact, abs=0.1 * deviation
        )


@pytest.mark.parametrize("view", ["{name} == prior({name})", "{name} == {mean!r}", "{name} >= prior({name})"])
def test_a_view_that_says_nothing_new_changes_neither_risk_nor_weights(
    skfolio: Any, root: Path, view: str, returns: pd.DataFrame
) -> None:
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import EntropyPooling

    listed = load(root / "tests" / "plain_books" / "listed")
    for book, X in (
        (listed, pd.DataFrame(0.0, index=range(2), columns=listed.instruments)),
        (asked(returns.columns, as_of=EARLY), returns),
    ):
        known, name = prior_of(skfolio, book, X), str(X.columns[5])
        views = [view.format(name=name, mean=float(known.mu[5]))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TranslationWarning)  # seen above
            prior = EntropyPooling(prior_estimator=skfolio.ScenarioPrior(book), mean_views=views)
            plain, viewed = (
                MeanRisk(
                    objective_function=ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=1.5, prior_estimator=one
                ).fit(X)
                for one in (skfolio.ScenarioPrior(book), prior)
            )
        assert viewed.prior_estimator_.return_distribution_.covariance == pytest.approx(known.covariance, abs=1e-8)
        assert viewed.weights_ == pytest.approx(plain.weights_, abs=1e-6)


def test_a_view_that_moves_a_mean_keeps_the_risk_within_scenarios(skfolio: Any, returns: pd.DataFrame) -> None:
    from skfolio.prior import EntropyPooling, OpinionPooling

    from allocator.outlook.outlook import build_outlook

    book = asked(returns.columns, as_of=EARLY)
    risk, known = build_outlook(book).risk, prior_of(skfolio, book, returns)
    within = np.diag(risk.loadings @ risk.loadings.T) + risk.specific
    view = EntropyPooling(mean_views=[f"{returns.columns[0]} == {float(known.mu[0]) + 0.05!r}"])
    nothing_new = EntropyPooling(mean_views=[f"{returns.columns[0]} == {float(known.mu[0])!r}"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TranslationWarning)  # seen above
        prior = skfolio.ScenarioPrior(book)
        moved = EntropyPooling(prior_estimator=prior, mean_views=view.mean_views).fit(returns).return_distribution_
        pooled, same = (
            OpinionPooling(estimators=[("one", one)], prior_estimator=prior).fit(returns).return_distribution_
            for one in (view, nothing_new)
        )
    for one in (moved, pooled):
        assert one.mu[0] == pytest.approx(known.mu[0] + 0.05, abs=1e-6)
        assert (np.diag(one.covariance) > 0.97 * within).all()
    # pooling begins from equal weights, and points are as many as their scenario is probable: here exactly
    assert same.covariance == pytest.approx(known.covariance, abs=1e-8)


def test_the_prior_leaves_out_the_impossible_and_refuses_the_unknown(skfolio: Any, returns: pd.DataFrame) -> None:
    from tests.books import book as plain

    names = tuple(map(str, returns.columns))
    scenarios = {"likely": [0.1] * len(names), "never": [-0.9] * len(names)}
    early = {"book": {"name": "early", "currency": "USD", "as_of": EARLY}}
    one: Book = plain(early, names=names, returns=scenarios, probabilities={"likely": 1.0, "never": 0.0})
    assert prior_of(skfolio, one, returns).mu == pytest.approx(0.1)
    assert prior_of(skfolio, one, returns).returns.mean() == pytest.approx(0.1)
    with pytest.raises(BadInput, match="is not an instrument of the book"):
        skfolio.ScenarioPrior(one).fit(returns.rename(columns={names[0]: "WHO"}))
    late = returns.copy()
    late.iloc[:9, 0] = np.nan
    assert prior_of(skfolio, one, late).mu == pytest.approx(0.1)
    with pytest.raises(BadInput, match="is required"):
        skfolio.ScenarioPrior().fit(returns)


def test_a_clone_is_another_estimator_of_the_same_book(skfolio: Any, returns: pd.DataFrame) -> None:
    import pickle

    from sklearn.base import clone

    book = asked(returns.columns, as_of=EARLY, **INVESTED)
    model = skfolio.RobustAllocation(book, radius=0.05)
    first = model.fit(returns).weights_

    assert clone(model).fit(returns).weights_ == pytest.approx(first, abs=HOLDINGS)
    assert pickle.loads(pickle.dumps(model)).fit(returns).weights_ == pytest.approx(first, abs=HOLDINGS)
    assert book.settings.robust.radius == 0.1
    assert book.cash == 1000.0


@pytest.mark.filterwarnings("ignore")  # the checks bring figures that are no returns, and warn of much themselves
def test_it_passes_every_check_of_sklearn_that_an_optimizer_of_theirs_passes(skfolio: Any) -> None:
    from skfolio.optimization import MeanRisk
    from sklearn.utils.estimator_checks import check_estimator

    def failed(estimator: Any) -> set[str]:
        done = check_estimator(estimator, on_skip=None, on_fail=None)
        assert len(done) > 30
        return {one["check_name"] for one in done if one["status"] == "failed"}

    assert failed(skfolio.RobustAllocation()) - failed(MeanRisk()) == set()
