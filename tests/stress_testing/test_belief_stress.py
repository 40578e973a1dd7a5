"""Break-evens, intervals, sweeps and shifts against closed forms, and against solves that go the long way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

import allocator
from allocator.book.loading import load
from allocator.errors import BadInput, BadMandate, NotSolved
from allocator.optimization.resolve import CertifiedSolution, ParametricSolver, Problem
from allocator.optimization.solve import Program
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.targets import solve_certified
from allocator.stress_testing import reoptimization as answers_module
from allocator.stress_testing.belief_stress import BeliefStress, belief_stress, describe_plausibility, find_reversal
from allocator.stress_testing.belief_sweep import BeliefAxis, belief_axes
from allocator.stress_testing.break_even import BreakEven
from tests import books
from tests.agreement import HOLDINGS, OBJECTIVE
from tests.stress_testing.known_books import AVERSION, VARIANCE, best, two_names


@cache
def by_hand() -> BeliefStress:
    """Two independent names."""
    return belief_stress(rebalance(two_names()))


@cache
def listed(*overrides: str) -> Plan:
    """The plan of the sample book."""
    return rebalance(load("tests/plain_books/listed", overrides=overrides))


def turn(stress: BeliefStress, what: str) -> BreakEven:
    """The break-even of this name."""
    return next(one for axis in stress.axes for one in axis.break_evens if one.what == what)


def test_a_trade_turns_where_the_closed_form_says() -> None:
    found = turn(by_hand(), "AAA is no longer sold")

    # today 20% is held; (−0.10 + 0.40·p − 0.02) / (2·2·0.25) = 0.20 at p = 0.8
    assert found.probability == pytest.approx(0.8, abs=1e-6)
    assert found.exact
    assert found.distance == pytest.approx(0.2, abs=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low <= 2e-4


def test_a_trade_that_nothing_turns_has_no_probability() -> None:
    found = turn(by_hand(), "BBB is no longer sold")

    assert found.probability is None  # at most (0.14 − 0.02) of it is wanted, and 20% is held


def test_tilt_and_rank_turn_where_both_names_are_wanted_alike() -> None:
    for what in ("efficiency and capital intensity weigh the same", "AAA is no longer above BBB"):
        found = turn(by_hand(), what)

        assert found.probability == pytest.approx(0.5, abs=1e-6)  # −0.10 + 0.40·p = 0.14 − 0.08·p
        assert found.exact
    assert turn(by_hand(), "AAA returns no more than BBB").probability == pytest.approx(0.5, abs=1e-12)


def test_the_interval_is_that_of_the_parabola() -> None:
    found = by_hand().axes[0].interval

    assert found is not None
    # what lacks is γσ²·Σ(h − h*)², and h* moves by (0.40, −0.08) with p
    reach = np.sqrt(10e-4 / (AVERSION * VARIANCE * (0.4**2 + 0.08**2)))
    assert (found.low, found.high) == pytest.approx((0.6 - reach, 0.6 + reach), abs=1.1e-4)
    assert found.shortfall_low_bps is not None
    assert found.shortfall_low_bps <= 10
    assert not found.cut_short


def test_a_wider_allowance_gives_a_wider_interval() -> None:
    wide = belief_stress(rebalance(two_names()), within_bps=40.0).axes[0].interval
    narrow = by_hand().axes[0].interval

    assert wide is not None
    assert narrow is not None
    assert wide.high is not None
    assert narrow.high is not None
    assert wide.high - 0.6 == pytest.approx(2 * (narrow.high - 0.6), abs=4e-4)


def test_a_plan_that_is_not_good_enough_today_has_no_interval() -> None:
    plan = listed()
    found = belief_stress(plan, within_bps=0.001).axes[0].interval

    assert found is not None
    assert found.shortfall_bps > 0.001
    assert (found.low, found.high) == (None, None)


def test_the_sweep_holds_what_is_best_at_each_probability() -> None:
    sweep = by_hand().axes[0].sweep

    lots = by_hand().plan.final.weights
    figures = (
        sweep.probabilities,
        sweep.weights,
        sweep.objective,
        sweep.expected_return,
        sweep.adverse_expected_return,
        sweep.shortfall,
    )
    for at, weights, worth, expected, worst, short in zip(*figures, strict=True):
        wanted = np.maximum(best(float(at)), 0.0)
        mean = at * np.array([0.30, 0.06]) + (1 - at) * np.array([-0.10, 0.14])
        assert weights[:2] == pytest.approx(wanted, abs=3e-5)  # flat where a name just begins to be held
        value = 0.02 + float((mean - 0.02) @ wanted) - AVERSION * VARIANCE * float(wanted @ wanted)
        assert worth == pytest.approx(value, abs=OBJECTIVE)
        assert (expected, worst) == pytest.approx((0.02 + float((mean - 0.02) @ weights[:2]),) * 2, abs=1e-9)
        own = 0.02 + float((mean - 0.02) @ lots) - AVERSION * VARIANCE * float(lots @ lots)
        assert short == pytest.approx(value - own, abs=OBJECTIVE)
    assert sweep.weights.sum(axis=1) == pytest.approx(np.ones(len(sweep.weights)))
    assert sweep.frame()["efficiency"].to_numpy() == pytest.approx(sweep.weights[:, 0])
    assert sweep.frame().shape == (len(sweep.probabilities), 5 + 5 + 3)


def test_with_a_set_the_sweep_tells_the_worst_case_from_the_belief() -> None:
    plan = listed()
    sweep = belief_stress(plan).axes[0].sweep
    today = int(np.argmin(np.abs(sweep.probabilities - sweep.axis.stated)))

    assert sweep.adverse_expected_return[today] == pytest.approx(plan.targeted.adverse_expected_return, abs=HOLDINGS)
    assert sweep.expected_return[today] == pytest.approx(plan.targeted.expected_return, abs=HOLDINGS)
    assert (sweep.adverse_expected_return < sweep.expected_return).all()


def long_way(plan: Plan, belief: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """The best holdings under another belief, compiled afresh, by the whole ladder and a certificate."""
    outlook = replace(plan.outlook, probabilities=belief)
    trade, _, _ = solve_certified(Program(outlook, plan.mandate), plan.start, outlook, plan.mandate)
    return trade.values - plan.start.holdings


def test_every_trade_is_on_different_sides_of_its_break_even() -> None:
    plan = listed()
    stress = belief_stress(plan)
    axis, turned = stress.axes[0].sweep.axis, 0
    for order, one in zip(plan.weighed_orders, stress.axes[0].break_evens, strict=False):
        assert order.instrument in one.what
        if one.low is None or one.high is None:
            continue
        i, sign = plan.book.instruments.index(order.instrument), 1.0 if order.side == "buy" else -1.0
        moves = [sign * long_way(plan, axis.at(at))[i] for at in (one.low - 2e-4, one.high + 2e-4)]
        assert min(moves) <= 1e-5 < max(moves), one
        turned += 1
    assert turned >= 3


def test_the_ends_of_the_interval_are_where_an_independent_solver_says() -> None:
    plan = listed()
    found = belief_stress(plan).axes[0].interval
    assert found is not None
    axis = belief_axes(plan.book, plan.outlook)[0]
    for end, further in ((found.low, -3e-4), (found.high, 3e-4)):
        assert end is not None
        short = []
        for at in (end, end + further):
            outlook = replace(plan.outlook, probabilities=axis.at(at))
            trade, _, _ = solve_certified(Program(outlook, plan.mandate), plan.start, outlook, plan.mandate)
            short.append((plan.mandate.loss(plan.final, outlook) - plan.mandate.loss(trade, outlook)) * 1e4)
        assert short[0] <= 10 < short[1]


def test_without_a_charge_for_risk_the_allocation_jumps_where_two_corners_tie() -> None:
    book = two_names(np.array([0.27, 0.06]), mandate={"risk_aversion": 0.0, "max_weight": 0.5})
    found = turn(belief_stress(rebalance(book)), "AAA is no longer bought")

    assert found.probability == pytest.approx(12 / 37, abs=1e-6)  # −0.10 + 0.37·p = 0.02, what cash returns
    assert found.exact


def test_a_curved_set_gives_brackets_and_calls_nothing_exact() -> None:
    plan = listed("robust.set=kl", "robust.schedule=fixed", "robust.radius=0.05")
    found = belief_stress(plan).axes[0].break_evens
    solved_for = [one for one in found if one.kind != "return" and one.probability is not None]

    assert len(solved_for) > 3
    assert not any(one.exact for one in solved_for)
    assert all(one.high - one.low <= 1e-4 for one in solved_for if one.high is not None and one.low is not None)


def test_scenarios_without_a_hypothesis_have_an_axis_each() -> None:
    book = two_names(scenarios={"open": {"probability": 0.6}, "closed": {"probability": 0.4}})
    stress = belief_stress(rebalance(book))

    assert [axis.sweep.axis.name for axis in stress.axes] == ["open", "closed"]
    first, second = (axis.interval for axis in stress.axes)
    assert first is not None
    assert second is not None
    assert first.low is not None
    assert second.high is not None
    assert first.low == pytest.approx(1 - second.high, abs=2e-4)


def test_an_axis_keeps_everything_else_in_proportion() -> None:
    axis = belief_axes(listed().book, listed().outlook)[0]
    p = listed().outlook.probabilities

    assert axis.at(axis.stated) == pytest.approx(p)
    for at in (0.0, 0.2, 1.0):
        belief = axis.at(at)
        assert belief.sum() == pytest.approx(1)
        assert belief[:2].sum() == pytest.approx(at)
        assert belief[0] * p[1] == pytest.approx(belief[1] * p[0])
        assert belief[2] * p[3] == pytest.approx(belief[3] * p[2])


def test_the_published_break_even_of_two_names_is_met_along_the_axis() -> None:
    """Science §4.5: OPENAI against GPU .4350."""
    openai, gpu = np.array([1.653, -0.074, -0.167, -0.720]), np.array([0.330, -0.611, 0.517, 0.195])
    axis = BeliefAxis("generalizable", 0.5, np.array([0.6, 0.4, 0, 0]), np.array([0, 0, 0.6, 0.4]))

    assert axis.at(0.4350) @ (openai - gpu) == pytest.approx(0, abs=1e-4)
    assert axis.at(0.4349) @ (openai - gpu) < 0 < axis.at(0.4351) @ (openai - gpu)


def test_the_least_shift_is_a_solvers_and_its_plausibility_the_exponential() -> None:
    p = np.array([0.3, 0.2, 0.3, 0.2])
    first, second = np.array([0.2, 0.1, -0.1, 0.05]), np.array([0.0, 0.15, 0.05, 0.0])
    found = find_reversal("A", first, "B", second, p)
    q = cp.Variable(4, nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(q, p))), [cp.sum(q) == 1, q @ (second - first) >= 0])
    problem.solve(solver=cp.CLARABEL)
    shift = found.shifts["kl"]

    assert shift is not None
    assert found.advantage == pytest.approx(0.015)
    assert shift.distance > 1e-3
    assert shift.distance == pytest.approx(problem.value, abs=OBJECTIVE)
    assert found.plausibility == pytest.approx(np.exp(-problem.value), abs=OBJECTIVE)
    assert shift.q @ first == pytest.approx(shift.q @ second, abs=1e-9)


def test_the_better_choice_comes_first_however_they_are_given() -> None:
    p, first, second = np.array([0.5, 0.5]), np.array([0.2, 0.0]), np.array([0.0, 0.1])
    one, other = find_reversal("A", first, "B", second, p), find_reversal("B", second, "A", first, p)

    assert (one.first, one.second) == (other.first, other.second) == ("A", "B")
    assert one.advantage == other.advantage == pytest.approx(0.05)
    assert one.plausibility == other.plausibility


def test_a_shift_that_no_belief_makes_is_called_so() -> None:
    found = find_reversal("A", np.array([0.2, 0.2]), "B", np.array([0.1, 0.1]), np.array([0.5, 0.5]))

    assert found.plausibility is None
    assert found.rating == "impossible"
    said = [describe_plausibility(x) for x in (1.0, 0.95, 0.8, 0.5, 0.2, 0.01)]
    assert len(set(said)) == 6


def test_a_belief_without_a_verified_answer_is_reported_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ParametricSolver.solve_many

    def failing(self: ParametricSolver, asked: Sequence[Problem]) -> list[CertifiedSolution | None]:
        found = honest(self, asked)
        return [
            None if abs(question[1].probabilities[0] - 0.25) < 1e-12 else one
            for question, one in zip(asked, found, strict=True)
        ]

    def refusing(*_: object) -> None:
        raise NotSolved("made to fail")

    monkeypatch.setattr(ParametricSolver, "solve_many", failing)
    monkeypatch.setattr(answers_module, "solve_certified", refusing)
    plan = rebalance(two_names())
    stress = belief_stress(plan)

    assert len(stress.failed) == 1
    assert stress.failed[0].probabilities == {"open": 0.25, "closed": 0.75}
    assert stress.failed[0].error == "NotSolved"
    assert "made to fail" in stress.failed[0].reason
    assert stress.finished == stress.asked
    assert 0.25 not in stress.axes[0].sweep.probabilities
    assert len(stress.document()["failed"]) == 1


def test_what_the_fast_way_does_not_answer_goes_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = rebalance(two_names())
    monkeypatch.setattr(ParametricSolver, "solve_many", lambda _, asked: [None] * len(asked))
    slow = belief_stress(plan).axes[0]
    quick = by_hand().axes[0]

    assert slow.sweep.objective == pytest.approx(quick.sweep.objective, abs=OBJECTIVE)
    assert slow.interval is not None
    assert quick.interval is not None
    assert slow.interval.high == pytest.approx(quick.interval.high, abs=1e-4)


def test_rules_that_cannot_hold_under_a_belief_are_a_failure_of_that_belief() -> None:
    book = two_names(mandate={"risk_aversion": AVERSION, "min_expected_return": 0.13})
    stress = belief_stress(rebalance(book))

    assert stress.failed
    assert {one.error for one in stress.failed} == {"Infeasible"}
    assert all(0.125 < one.probabilities["open"] < 0.575 for one in stress.failed)  # neither name returns as much


def test_ctrl_c_in_the_sweep_keeps_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.stress_testing.reoptimization._TOLD_SECONDS", 0.0)
    monkeypatch.setattr("allocator.stress_testing.reoptimization.AT_ONCE", 1)

    def press(text: str) -> None:
        if text.startswith("10 of"):
            raise KeyboardInterrupt

    plan = rebalance(two_names())
    stress = belief_stress(plan, say=press)

    assert stress.interrupted
    assert stress.finished == 10 == len(stress.axes[0].sweep.probabilities)
    assert stress.asked > 40


def test_ctrl_c_among_the_break_evens_keeps_the_ones_before() -> None:
    def press(text: str) -> None:
        if text.startswith("2 break-evens"):
            raise KeyboardInterrupt

    plan = rebalance(two_names())
    stress = belief_stress(plan, say=press)

    assert stress.interrupted
    assert len(stress.axes[0].break_evens) == 2
    assert stress.axes[0].interval is not None


def test_jobs_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.stress_testing.reoptimization.ALONE_SECONDS", 0.02)
    plan = listed()
    one, two = (belief_stress(plan, jobs=jobs) for jobs in (1, 2))

    assert (one.axes[0].sweep.weights == two.axes[0].sweep.weights).all()
    assert one.document() == two.document()


@pytest.mark.parametrize(("objective", "said"), [("minimum_variance", "uses no returns"), ("log", "decision tree")])
def test_a_plan_that_does_not_follow_from_probabilities_is_refused(objective: str, said: str) -> None:
    with pytest.raises(BadMandate, match=said):
        belief_stress(rebalance(two_names(mandate={"objective": objective})))


def test_a_plan_of_another_book_is_refused() -> None:
    with pytest.raises(BadInput, match="is of another book"):
        allocator.stress(two_names(), plan=by_hand().plan)


def test_one_scenario_leaves_nothing_to_be_wrong_about() -> None:
    with pytest.raises(BadMandate, match="has one scenario, whose probability is 1"):
        belief_stress(rebalance(books.book()))


@pytest.mark.parametrize("within", [0.0, -1.0, float("nan"), float("inf")])
def test_an_allowance_that_is_none_is_refused(within: float) -> None:
    with pytest.raises(BadInput, match="must be above 0"):
        allocator.stress(two_names(), within_bps=within)


def test_a_document_is_plain_data_and_a_frame_has_a_row_a_break_even() -> None:
    stress = by_hand()
    text = json.dumps(stress.document(), allow_nan=False)

    assert json.loads(text)["axes"][0]["axis"] == "generalizable"
    frame = stress.frame()
    assert len(frame) == len(stress.axes[0].break_evens)
    assert list(frame.columns[:3]) == ["kind", "what", "axis"]


def test_a_belief_that_limits_leave_out_is_a_failure_and_no_proof_that_nothing_turns() -> None:
    """A book that believes it is refused; what is best within the limits would not hang on it at all."""
    limits = {"open": {"weights": {"open": 1.0}, "max": 0.75}}
    made = two_names(robust={"set": "polytope", "limits": limits})
    found = belief_stress(rebalance(made), within_bps=50.0)
    (axis,) = found.axes
    assert float(axis.sweep.probabilities.max()) <= 0.75 + 1e-9
    assert {one.error for one in axis.failed} == {"BadMandate"}
    assert all("robust.limits exclude this belief" in one.reason for one in axis.failed)
    assert all(one.probabilities["open"] > 0.75 for one in axis.failed)
    assert axis.interval is not None
    assert axis.interval.high is not None
    assert axis.interval.high <= 0.75 + 1e-9
    assert axis.interval.cut_short
    still = [one for one in axis.break_evens if one.probability is None and one.kind in ("trade", "tilt")]
    assert still
    assert all(one.unverified for one in still)


def test_the_interval_ends_where_the_plan_breaks_a_rule_that_hangs_on_the_belief(root: Path) -> None:
    """Breaking it would look better than the best that keeps it."""
    made = load(root / "tests" / "plain_books" / "listed", overrides=["mandate.min_worst_case_return=0.07"])
    (axis,) = belief_stress(rebalance(made)).axes
    interval, plan = axis.interval, rebalance(made)
    assert interval is not None
    assert interval.high is not None
    assert interval.limit_breaches == ("adverse expected return at least 7%",)
    for point, keeps in ((interval.high, True), (interval.high + 2e-4, False)):
        outlook = replace(plan.outlook, probabilities=axis.sweep.axis.at(point))
        readings = plan.mandate.readings(plan.final, outlook)
        assert all(reading.excess <= 1e-8 for reading in readings) is keeps
    sweep = axis.sweep
    assert sweep.limit_breach == tuple(bool(at > interval.high) for at in sweep.probabilities)
    assert interval.shortfall_high_bps is not None
    assert 0 <= interval.shortfall_high_bps <= interval.within_bps


def test_where_a_view_excludes_an_answer_beliefs_on_the_way_still_sum_to_one(root: Path) -> None:
    made = load(root / "data" / "note", overrides=["believe.generalizable=1"])
    (axis,) = belief_axes(made, allocator.build_outlook(made))

    assert axis.stated == 1
    for probability in (0.0, 0.3, 1.0):
        belief = axis.at(probability)
        assert (belief.sum(), belief[:2].sum()) == pytest.approx((1, probability), abs=1e-12)
    assert (axis.at(0.0)[2:] > 0.1).all()  # in proportion, as far from it as they are
