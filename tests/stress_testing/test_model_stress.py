"""Model stress of the sample books: draws, outcomes, re-optimised plans, what fails and what is cut short."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from allocator.book.checks.stress import SHARE, ParameterKey
from allocator.errors import BadInput, Breach, NotSolved
from allocator.optimization.solve import Program
from allocator.outlook.outlook import build_outlook
from allocator.plan.plan import Plan
from allocator.plan.targets import solve_certified
from allocator.stress_testing import outcomes
from allocator.stress_testing import parameter_stress as parameters
from allocator.stress_testing import reoptimization as pool
from allocator.stress_testing.outcomes import (
    ADVERSE,
    ADVERSE_GAIN,
    CURRENT,
    EXPECTED,
    PROPOSED,
    OutcomeMeter,
    OutlookDraws,
    outlook_at_draws,
    stress_base,
    stress_portfolios,
)
from allocator.stress_testing.parameter_draws import ParameterRange, draw_parameters, parameter_ranges
from allocator.stress_testing.parameter_stress import ModelStress, Reoptimization, model_stress, most_important
from allocator.stress_testing.reoptimization import Reoptimizer, UnsolvedProblem
from allocator.stress_testing.stress import stress
from tests.books import book
from tests.stress_testing.sample_plans import planned, sample, staged

TOKENS = ParameterKey("model", "token_reduction")
NARROW = ("stress.ranges.token_reduction=[2.07,2.75]", "stress.ranges.hazard=[0.08,0.2]")


def stressed(*overrides: str, **options: Any) -> ModelStress:
    plan = planned("listed", *overrides)
    return model_stress(plan, **{"draws": 16, "redo": 4} | options)


def measure(found: ModelStress, portfolio: str, words: str) -> Any:
    (at,) = [i for i, one in enumerate(found.outcomes) if (one.portfolio, one.measure) == (portfolio, words)]
    return found.measures[at]


def test_today_s_outcomes_are_the_figures_of_the_plan() -> None:
    plan, found = planned("listed"), stressed()
    today = {(one.portfolio, one.measure): value for one, value in zip(found.outcomes, found.today, strict=True)}

    assert today[CURRENT, EXPECTED] == pytest.approx(plan.before.expected_return, abs=1e-12)
    assert today[PROPOSED, EXPECTED] == pytest.approx(plan.after.expected_return, abs=1e-12)
    assert today[CURRENT, ADVERSE] == pytest.approx(plan.before.adverse_expected_return, abs=1e-12)
    assert today[PROPOSED, ADVERSE] == pytest.approx(plan.after.adverse_expected_return, abs=1e-12)


def test_an_outcome_of_a_draw_is_the_portfolio_s_in_that_draw_s_outlook() -> None:
    plan, found = planned("listed"), stressed()
    at = outlook_at_draws(
        stress_base(plan.book), {doubt.key: found.values[:, i] for i, doubt in enumerate(found.doubts)}
    )
    holdings, cash = plan.final.values / plan.book.value, plan.final.cash / plan.book.value
    spent = plan.final.costs / plan.book.value
    for i in range(16):
        gains = at.returns[i] @ holdings + plan.outlook.cash_returns * cash - spent
        p = at.probabilities[i]
        assert measure(found, PROPOSED, EXPECTED)[i] == pytest.approx(p @ gains, abs=1e-12)
        worst = -plan.mandate.ambiguity.worst_case(-gains, p)
        assert measure(found, PROPOSED, ADVERSE)[i] == pytest.approx(worst, abs=1e-12)
    over = measure(found, PROPOSED, ADVERSE) - measure(found, CURRENT, ADVERSE)
    assert measure(found, PROPOSED, ADVERSE_GAIN) == pytest.approx(over, abs=1e-15)


def test_a_day_of_news_moves_prices_by_the_announcement_share_of_the_re_pricing() -> None:
    own = sample("note")
    plan = planned("note")
    found = model_stress(plan, 4, redo=0)
    keys = [doubt.key for doubt in found.doubts]
    at = outlook_at_draws(stress_base(own), {key: found.values[:, i] for i, key in enumerate(keys)})
    assert at.market is not None
    answer = np.array([one.hypothesis == "proprietary" for one in own.settings.scenarios.values()])
    for i, share in enumerate(found.values[:, keys.index(SHARE)]):
        growth, market = 1 + at.returns[i], at.market[i]
        given = np.where(answer, market, 0) / market[answer].sum()
        jump = (given @ growth / (market @ growth)) ** share - 1
        assert measure(found, CURRENT, "news: proprietary")[i] == pytest.approx(own.weights @ jump, abs=1e-12)


def test_sobol_points_are_rounded_up_and_the_first_do_not_hang_on_how_many_are_asked() -> None:
    doubts = parameter_ranges(sample("listed"))

    assert [stressed(draws=draws, redo=0).made for draws in (2, 3, 60, 64)] == [2, 4, 64, 64]
    np.testing.assert_array_equal(draw_parameters(doubts, 64, 7)[:16], draw_parameters(doubts, 16, 7))
    assert (draw_parameters(doubts, 16, 7) != draw_parameters(doubts, 16, 8)).any()


def test_draws_fill_their_ranges_evenly() -> None:
    doubts = (ParameterRange(TOKENS, None, 2.0, 4.0, True), ParameterRange(SHARE, None, -1.0, -1.0, True))
    points = draw_parameters(doubts, 64, 1)

    assert np.bincount(((points[:, 0] - 2) / 2 * 64).astype(int), minlength=64).tolist() == [1] * 64
    assert (points[:, 1] == -1).all()


def test_the_announcement_share_is_always_among_the_parameters() -> None:
    for own in (sample("listed"), sample("listed", *NARROW), book()):
        assert [doubt.key for doubt in parameter_ranges(own)].count(SHARE) == 1
    assert [
        (doubt.key, doubt.low, doubt.high, doubt.stated) for doubt in parameter_ranges(sample("listed", *NARROW))
    ] == [
        (TOKENS, 2.07, 2.75, True),
        (ParameterKey("question", "hazard"), 0.08, 0.2, True),
        (SHARE, 0.0, 1.0, False),
    ]


def test_ranges_of_our_own_hold_the_book_s_value_and_are_lawful() -> None:
    own = sample("listed", "model.token_reduction=5.0", "model.owner_share=0.0")
    for doubt in parameter_ranges(own):
        assert doubt.low <= doubt.high
        assert doubt.base_value is None or doubt.low <= doubt.base_value <= doubt.high
    token = next(doubt for doubt in parameter_ranges(own) if doubt.key == TOKENS)
    assert (token.low, token.high) == (2.07, 5.0)


def test_every_wrong_wish_is_refused_at_once() -> None:
    plan = planned("listed", "stress.ranges.token_reduction=[2.0,2.5]")
    with pytest.raises(BadInput) as refused:
        stress(plan.book, plan=plan, draws=1, jobs=0)

    assert [str(breach) for breach in refused.value.breaches] == [
        "jobs: must be 1 or more (got '0'); leave it out for one process",
        "model stress draws: must be a whole number from 2 to 1000000 (got '1'); correct it",
        "book.toml stress.ranges.token_reduction: does not hold the book's own 2.7 (got '[2, 2.5]'); "
        "widen it to hold that, or correct the value",
    ]


def test_a_reoptimised_plan_is_the_optimum_of_its_draw() -> None:
    plan, found = planned("listed"), stressed()
    at = outlook_at_draws(
        stress_base(plan.book), {doubt.key: found.values[:4, i] for i, doubt in enumerate(found.doubts)}
    )

    assert sorted(found.redone.weights) == [0, 1, 2, 3]
    for i, weights in found.redone.weights.items():
        from dataclasses import replace

        outlook = replace(plan.outlook, returns=at.returns[i], probabilities=at.probabilities[i])
        target, _, _ = solve_certified(Program(outlook, plan.mandate), plan.start, outlook, plan.mandate)
        assert weights[:-1] == pytest.approx(target.weights, abs=1e-5)
        assert weights.sum() == pytest.approx(1)


def test_the_table_of_weights_counts_sides_over_the_reoptimised_plans() -> None:
    found = stressed()
    rows = found.weights().set_index("instrument")
    again = np.array(list(found.redone.weights.values()))

    assert rows.loc["NVDA", "sold"] == 1
    assert rows.loc["NVDA", "same_side"] == 1
    assert rows["q50"].to_numpy() == pytest.approx(np.median(again, axis=0))
    current = rows["current"].to_numpy()
    sides = [
        np.sign(np.where(abs(one - current) > 1e-4, one - current, 0)) for one in (*again, rows["proposed"].to_numpy())
    ]
    assert rows["same_side"].to_numpy() == pytest.approx(np.mean(np.array(sides[:-1]) == sides[-1], axis=0))
    assert 0 < rows["same_side"].mean() < 1
    assert (rows[["bought", "sold", "unchanged"]].sum(axis=1) == 1).all()


def questions(count: int) -> tuple[Plan, OutcomeMeter, Any]:
    """A plan, what measures draws of its parameters, and so many draws."""
    plan = planned("listed", *NARROW)
    doubts = parameter_ranges(plan.book)
    keys = tuple(doubt.key for doubt in doubts)
    meter = OutcomeMeter(stress_base(plan.book), plan.mandate.ambiguity, stress_portfolios(plan), keys)
    return plan, meter, draw_parameters(doubts, 64, 5)[:count]


def redone(count: int, order: Any = None, jobs: int = 1) -> dict[int, Any]:
    plan, meter, values = questions(count)
    drawn = values if order is None else values[order]
    again, interrupted = parameters.reoptimize(plan, meter, drawn, Reoptimization(count), jobs)
    assert not interrupted
    return again.weights


def test_the_answer_to_a_draw_does_not_hang_on_the_order_of_draws() -> None:
    order = np.random.default_rng(2).permutation(12)
    straight, shuffled = redone(12), redone(12, order)

    for place, index in enumerate(order):
        np.testing.assert_array_equal(shuffled[place], straight[int(index)])


def test_two_workers_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ALONE_SECONDS", 0.0)
    alone, together = redone(64), redone(64, jobs=2)

    assert list(alone) == list(together) == list(range(64))
    for index, weights in alone.items():
        np.testing.assert_array_equal(together[index], weights)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, after: int) -> None:
    """The draw after so many has no plan, or Ctrl-C comes there."""
    monkeypatch.setattr(pool, "AT_ONCE", 1)
    asked: list[int] = []
    real = Reoptimizer.solve_many

    def breaks(self: Reoptimizer, questions: Any) -> Any:
        asked.append(1)
        if len(asked) == after + 1:
            if isinstance(error, NotSolved):
                return [UnsolvedProblem("NotSolved", str(error)) for _ in questions]
            raise error
        return real(self, questions)

    monkeypatch.setattr(Reoptimizer, "solve_many", breaks)


def test_a_draw_without_a_plan_is_reported_with_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, NotSolved("no verified solution"), 2)
    found = stressed(*NARROW)
    (failure,) = found.failures

    assert (failure.index, failure.stage, failure.why) == (2, "re-optimised", "no verified solution")
    assert failure.parameters == dict(zip([str(doubt.key) for doubt in found.doubts], found.values[2], strict=True))
    assert sorted(found.redone.weights) == [0, 1, 3]
    assert found.document()["failures"][0]["parameters"].keys() == failure.parameters.keys()


def test_a_draw_without_numbers_is_reported_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = outcomes.outlook_at_draws

    def spoilt(ground: Any, values: Any) -> OutlookDraws:
        found = sound(ground, values)
        returns = found.returns.copy()
        returns[values.get(TOKENS, np.zeros(len(returns))) > 2.74] = np.inf
        return OutlookDraws(returns, found.probabilities, found.market, found.share)

    whole = stressed(*NARROW, draws=64, redo=0)
    monkeypatch.setattr(outcomes, "outlook_at_draws", spoilt)
    found = stressed(*NARROW, draws=64, redo=64)
    broken = np.flatnonzero(found.values[:, 0] > 2.74)

    assert 0 < len(broken) < 10
    assert [failure.index for failure in found.failures] == list(broken)
    assert {failure.stage for failure in found.failures} == {"evaluated"}
    assert found.importance is None
    rest = np.setdiff1d(np.arange(64), broken)
    np.testing.assert_array_equal(found.measures[:, rest], whole.measures[:, rest])
    assert list(found.redone.weights) == list(rest)
    json.dumps(found.document(), allow_nan=False)


def test_a_draw_that_refuses_its_whole_chunk_is_reported_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = outcomes.outlook_at_draws

    def refusing(ground: Any, values: Any) -> OutlookDraws:
        if (values.get(ParameterKey("question", "hazard"), np.zeros(1)) > 0.195).any():
            raise BadInput([Breach("book.toml", None, "question.labs", None, "cannot be computed", "look")])
        return sound(ground, values)

    whole = stressed(*NARROW, draws=64, redo=0)
    monkeypatch.setattr(outcomes, "outlook_at_draws", refusing)
    found = stressed(*NARROW, draws=64, redo=0)
    broken = np.flatnonzero(found.values[:, 1] > 0.195)
    rest = np.setdiff1d(np.arange(64), broken)

    assert 0 < len(broken) < 10
    assert [failure.index for failure in found.failures] == list(broken)
    np.testing.assert_allclose(found.measures[:, rest], whole.measures[:, rest], rtol=0, atol=1e-15)


def test_an_interruption_while_measuring_what_matters_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        del arguments
        raise KeyboardInterrupt

    monkeypatch.setattr(parameters, "parameter_importance", interrupted)
    found = stressed(*NARROW)

    assert found.interrupted
    assert found.importance is None
    assert len(found.redone.weights) == 4


def test_an_interruption_while_optimising_keeps_what_is_finished_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt(), 3)
    found = stressed(*NARROW, redo=8)

    assert found.interrupted
    assert (found.finished, found.made) == (16, 16)
    assert sorted(found.redone.weights) == [0, 1, 2]
    assert found.importance is None
    assert found.document()["reoptimized"]["finished"] == 3


def test_an_interruption_while_evaluating_keeps_the_chunks_that_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stressed(*NARROW, draws=64, redo=0)
    monkeypatch.setattr(outcomes, "CELLS", 16 * 4 * 13)
    sound, asked = outcomes.outlook_at_draws, []

    def interrupted(ground: Any, values: Any) -> OutlookDraws:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return sound(ground, values)

    monkeypatch.setattr(outcomes, "outlook_at_draws", interrupted)
    found = stressed(*NARROW, draws=64, redo=4)

    assert found.interrupted
    assert (found.finished, found.made, len(found.values)) == (32, 64, 32)
    np.testing.assert_allclose(found.measures, whole.measures[:, :32], rtol=0, atol=1e-15)


def test_progress_is_told_in_words() -> None:
    said: list[str] = []
    stressed(*NARROW, say=said.append)

    assert said[0] == "evaluating draw 16 of 16"
    assert said[1:] == ["4 of 4 draws re-optimised", "measuring which parameter matters"]


def test_a_plan_in_stages_is_evaluated_and_not_reoptimised() -> None:
    plan = staged()
    found = model_stress(plan, 16)

    assert found.redone.why_not.startswith("the plan is not re-optimised at the draws: with objective = 'log'")
    assert found.redone.weights == {}
    assert np.isfinite(found.measures).all()
    today = dict(zip([(one.portfolio, one.measure) for one in found.outcomes], found.today, strict=True))
    assert today[PROPOSED, EXPECTED] == pytest.approx(plan.after.expected_return, abs=1e-12)
    assert today[PROPOSED, ADVERSE] == pytest.approx(plan.after.adverse_expected_return, abs=1e-9)


def total(found: ModelStress, words: str, key: ParameterKey) -> float:
    assert found.importance is not None
    own = most_important(found.importance, PROPOSED, words).set_index("parameter")
    return float(own.loc[str(key), "total"])


def test_the_announcement_share_matters_to_returns_only_where_news_came_since_the_market_s_date() -> None:
    fresh, old = stressed(redo=0), model_stress(staged(), 16)

    assert total(fresh, ADVERSE, SHARE) == 0
    assert total(fresh, "news: proprietary", SHARE) > 0.2
    assert "so prices already reflect all news." in fresh.share_notes()[0]
    assert total(old, ADVERSE, SHARE) > 0.1
    assert old.share_notes() == ()


def test_without_a_market_there_is_no_news_and_the_share_moves_nothing() -> None:
    from allocator.plan.rebalance import rebalance

    own = book()
    found = model_stress(rebalance(own), 4)

    assert [doubt.key for doubt in found.doubts] == [SHARE]
    assert "no price responds to news" in found.share_notes()[0]
    assert not any(one.measure.startswith("news") for one in found.outcomes)
    assert found.importance is not None
    assert found.importance["constant"].all()


def test_quantiles_and_tables_are_those_of_the_draws() -> None:
    found = stressed(draws=64)
    row = found.frame().set_index(["portfolio", "measure"]).loc[(PROPOSED, EXPECTED)]
    own = measure(found, PROPOSED, EXPECTED)

    assert row["q50"] == pytest.approx(np.median(own))
    assert row["q05"] == pytest.approx(np.quantile(own, 0.05))
    assert len(found.draws()) == 64
    returns = found.scenario_returns().set_index(["scenario", "instrument"])
    at_ = found.returns[:, 0, 1]
    assert len(at_) == 64
    assert returns.loc[(found.plan.book.scenarios[0], found.plan.book.instruments[1]), "q95"] == pytest.approx(
        np.quantile(at_, 0.95)
    )
    assert json.loads(json.dumps(found.document(), allow_nan=False))["made"] == 64


def test_the_returns_of_the_book_lie_in_the_middle_of_narrow_ranges() -> None:
    found = stressed("stress.ranges.token_reduction=[2.69,2.71]", redo=0)

    assert found.returns.mean(axis=0) == pytest.approx(build_outlook(found.plan.book).returns, abs=2e-3)


def test_the_whole_is_the_same_every_time() -> None:
    one, two = (stressed(*NARROW).document() for _ in range(2))

    assert one == two
