"""The program against closed forms, an independent formulation, central differences, and solvers that fail or lie."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.errors import NotSolved, OutOfTime
from allocator.optimization import quadratic_program, solve
from allocator.optimization import single_period as compile_
from allocator.optimization.quadratic_program import ProblemData, QuadraticProgram, RawSolution
from allocator.optimization.resolve import ParametricSolver
from allocator.optimization.solve import CLARABEL, HIGHS, RELAXED, SCS, Limits, Program, Solver
from allocator.rules import (
    InstrumentCaps,
    MinimumExpectedReturn,
    NoTrade,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
)
from allocator.rules.rows import Position
from allocator.types import Vector
from tests.agreement import HOLDINGS, KEPT, OBJECTIVE, SHARP
from tests.problems import SETS, Question, caps, names, no_cash, question, random_question

BY_SET = pytest.mark.parametrize("ambiguity", SETS, ids=lambda set_: type(set_).__name__)


# Closed forms


@pytest.mark.parametrize("aversion", [0.8, 2.0, 5.0])
def test_one_risky_name_beside_cash_is_held_by_mertons_rule(aversion: float) -> None:
    asked = question(np.array([[0.08]]), np.array([[0.09]]), cash_return=0.03, risk_aversion=aversion)

    assert asked.solved().holdings[0] == pytest.approx((0.08 - 0.03) / (2 * aversion * 0.09), abs=HOLDINGS)


def test_costs_enter_mertons_rule_as_a_lower_return_and_lost_interest() -> None:
    mean, cash, rate, aversion, variance = 0.08, 0.03, 0.004, 2.0, 0.09
    asked = question(
        np.array([[mean]]), np.array([[variance]]), cash_return=cash, risk_aversion=aversion, cost_rate=rate
    )

    expected = (mean - cash - rate * (1 + cash)) / (2 * aversion * variance)
    assert asked.solved().holdings[0] == pytest.approx(expected, abs=HOLDINGS)


def test_costs_leave_a_zone_around_the_optimum_in_which_nothing_is_traded() -> None:
    for held in (0.12, 0.14, 0.15):
        asked = question(
            np.array([[0.08]]), np.array([[0.09]]), cash_return=0.03, risk_aversion=2.0, cost_rate=0.01,
            held=np.array([held]),
        )  # fmt: skip
        assert asked.solved().holdings[0] == pytest.approx(held, abs=HOLDINGS)


def test_two_names_of_least_variance_are_held_by_the_textbook_formula() -> None:
    first, second, both = 0.04, 0.09, 0.01
    asked = question(np.zeros((1, 2)), np.array([[first, both], [both, second]]), return_weight=0.0, rules=[no_cash(2)])
    expected = (second - both) / (first + second - 2 * both)

    np.testing.assert_allclose(asked.solved().holdings, [expected, 1 - expected], atol=HOLDINGS)


def test_independent_names_of_least_variance_are_held_by_inverse_variance() -> None:
    variances = np.array([0.01, 0.02, 0.04, 0.08])
    asked = question(np.zeros((1, 4)), np.diag(variances), return_weight=0.0, rules=[no_cash(4)])

    np.testing.assert_allclose(asked.solved().holdings, (1 / variances) / (1 / variances).sum(), atol=HOLDINGS)


def test_under_the_worst_of_all_scenarios_opposite_names_are_mixed_to_a_sure_return() -> None:
    asked = question(
        np.array([[0.3, -0.1], [-0.2, 0.4]]), risk_aversion=0.0, ambiguity=AnyProbabilities(), rules=[no_cash(2)]
    )  # .3a − .1b = −.2a + .4b with a + b = 1: a = b = 1/2, worth 0.1 in both

    solution = asked.solved()
    np.testing.assert_allclose(solution.holdings, [0.5, 0.5], atol=HOLDINGS)
    np.testing.assert_allclose(solution.multipliers.adversary, [0.6, 0.4], atol=HOLDINGS)  # makes both names equal
    assert asked.loss(solution.holdings) == pytest.approx(-0.1, abs=OBJECTIVE)


# An independent formulation


def by_cuts(asked: Question, ambiguity: Ambiguity, p: Vector) -> float:
    """The optimum over weights with the full covariance: cost as an absolute value, one row q'loss for each adversary
    that the last portfolio meets (Clarabel), until the adversary has nothing new to say.
    """
    outlook, mandate, start = asked.outlook, asked.mandate, asked.start
    count = len(start.holdings)
    covariance = outlook.risk.loadings @ outlook.risk.loadings.T + np.diag(outlook.risk.specific)
    root = np.linalg.cholesky(covariance)
    w, cost, worst = cp.Variable(count), cp.Variable(), cp.Variable()
    moved, wealth = w - start.holdings, 1 - cost
    cash = wealth - cp.sum(w)
    rules = [w >= 0, cash >= 0, cost >= mandate.cost_rates @ cp.abs(moved)]
    for rule in mandate.linear_rules:
        if isinstance(rule, InstrumentCaps):
            rules.append(w[list(rule.at)] <= np.array(rule.limits) * wealth)
        elif isinstance(rule, WeightAtMost):
            rules.append(rule.shares @ w + rule.cash_share * cash <= rule.limit * wealth)
        elif isinstance(rule, WeightAtLeast):
            rules.append(rule.shares @ w + rule.cash_share * cash >= rule.limit * wealth)
        else:
            assert isinstance(rule, Turnover)
            rules += [cp.sum(cp.pos(moved)) <= rule.limit, cp.sum(cp.neg(moved)) <= rule.limit]
    for rule in mandate.convex_rules:
        assert isinstance(rule, VolatilityLimit)
        rules.append(cp.norm(root.T @ w) <= rule.limit * np.sqrt(outlook.years) * wealth)
    gains = outlook.returns @ w + outlook.cash_returns * cash
    cuts = [worst >= -(p @ gains)]
    objective = cp.Minimize(worst + mandate.risk_aversion * cp.sum_squares(root.T @ w) + cost)
    for _ in range(60):
        problem = cp.Problem(objective, rules + cuts)
        problem.solve(cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        losses = -np.asarray(gains.value)
        q = ambiguity.adversary(losses, p)
        if q @ losses <= float(worst.value) + 1e-9:
            break
        cuts.append(worst >= -(q @ gains))
    return float(problem.value)


@BY_SET
@pytest.mark.parametrize("volatility", [None, 0.17])
def test_an_independent_formulation_finds_the_same_optimum(ambiguity: Ambiguity, volatility: float | None) -> None:
    for seed in range(4):
        asked = random_question(seed, count=6, ambiguity=ambiguity, volatility=volatility)
        other = by_cuts(asked, ambiguity, asked.outlook.probabilities)

        assert asked.optimum() == pytest.approx(other, abs=OBJECTIVE)


def test_an_independent_formulation_finds_the_same_optimum_without_a_charge_for_risk() -> None:
    for seed in range(6):
        asked = random_question(seed, count=6, risk_aversion=0.0)
        other = by_cuts(asked, asked.mandate.ambiguity, asked.outlook.probabilities)

        assert asked.optimum() == pytest.approx(other, abs=OBJECTIVE)


# Compiled once, solved many times


@BY_SET
def test_solving_again_by_parameters_equals_compiling_afresh(ambiguity: Ambiguity) -> None:
    first = random_question(20, ambiguity=ambiguity, volatility=0.25)
    program, draw = Program(first.outlook, first.mandate), np.random.default_rng(20)
    for seed in range(5):
        held = draw.dirichlet(np.ones(11))
        outlook = replace(
            first.outlook,
            probabilities=draw.dirichlet(np.ones(4)),
            returns=draw.normal(0.05, 0.3, (4, 10)),
            cash_returns=np.full(4, 0.01 * seed),
        )
        rules = (
            caps(10, 0.3 + 0.05 * seed),
            *first.mandate.linear_rules[1:3],
            Turnover(0.4 + 0.1 * seed),
        )
        other = {"radius": 0.02 + 0.01 * seed} if hasattr(ambiguity, "radius") else {}
        mandate = replace(
            first.mandate,
            ambiguity=replace(ambiguity, **other),
            linear_rules=rules,
            risk_aversion=1.0 + seed,
            convex_rules=(VolatilityLimit(0.2 + 0.02 * seed),),
            cost_rates=draw.uniform(0, 0.01, 10),
        )
        again = Question(Position(held[:-1], float(held[-1])), outlook, mandate)

        assert program.fits(outlook, mandate)
        written, fresh = again.solved(program=program).holdings, again.solved().holdings
        np.testing.assert_allclose(written, fresh, atol=1e-5)
        assert again.loss(written) == pytest.approx(again.loss(fresh), abs=OBJECTIVE)


def other_rules(asked: Question) -> Question:
    return replace(asked, mandate=replace(asked.mandate, linear_rules=(caps(10, 0.3),)))


def other_set(asked: Question) -> Question:
    return asked.with_ambiguity(Singleton())


def other_risk(asked: Question) -> Question:
    risk = replace(asked.outlook.risk, specific=asked.outlook.risk.specific * 2)
    return replace(asked, outlook=replace(asked.outlook, risk=risk))


def other_scenarios(asked: Question) -> Question:
    outlook = asked.outlook
    return replace(
        asked,
        outlook=replace(
            outlook,
            scenarios=outlook.scenarios[:3],
            probabilities=np.full(3, 1 / 3),
            returns=outlook.returns[:3],
            cash_returns=outlook.cash_returns[:3],
        ),
    )


def with_volatility(asked: Question) -> Question:
    return replace(asked, mandate=replace(asked.mandate, convex_rules=(VolatilityLimit(0.2),)))


def without_risk(asked: Question) -> Question:
    return replace(asked, mandate=replace(asked.mandate, risk_aversion=0.0))


@pytest.mark.parametrize("change", [other_rules, other_set, other_risk, other_scenarios, with_volatility, without_risk])
def test_a_question_of_another_shape_is_refused_and_not_answered_wrongly(
    change: Callable[[Question], Question],
) -> None:
    quadratic = change is with_volatility  # else what is compiled: matrices are written for each
    asked = random_question(21, volatility=None if quadratic else 0.2)
    program, other = Program(asked.outlook, asked.mandate), change(asked)

    assert not program.fits(other.outlook, other.mandate)
    with pytest.raises(ValueError, match="another shape; compile a Program of its own"):
        other.solved(program=program)


def test_a_relative_entropy_program_does_not_serve_a_belief_with_other_zeros() -> None:
    asked = random_question(22, ambiguity=KullbackLeibler(0.1))
    program = Program(asked.outlook, asked.mandate)
    p = np.array([0.5, 0.5, 0.0, 0.0])

    assert not program.fits(replace(asked.outlook, probabilities=p), asked.mandate)


@pytest.mark.parametrize("ambiguity", [TotalVariation(0.15), KullbackLeibler(0.05)], ids=["quadratic", "exponential"])
def test_the_full_covariance_and_its_factors_give_the_same_plan(
    monkeypatch: pytest.MonkeyPatch, ambiguity: Ambiguity
) -> None:
    asked = random_question(23, ambiguity=ambiguity)
    assert asked.outlook.risk.loadings.shape[1] <= compile_.FEW_FACTORS * 10
    in_factors = asked.solved()
    monkeypatch.setattr(compile_, "FEW_FACTORS", 0.0)
    monkeypatch.setattr(quadratic_program, "FEW_FACTORS", 0.0)
    in_full = asked.solved()

    np.testing.assert_allclose(in_full.holdings, in_factors.holdings, atol=1e-5)
    assert asked.loss(in_full.holdings) == pytest.approx(asked.loss(in_factors.holdings), abs=OBJECTIVE)


def test_an_expected_return_is_kept_exactly_where_returns_are_tiny_and_risk_is_dear() -> None:
    for aversion in (1.0, 1e4):
        asked = random_question(23, risk_aversion=aversion).with_rules(MinimumExpectedReturn(1.2e-4))
        outlook = asked.outlook
        small = replace(outlook, returns=outlook.returns * 1e-3, cash_returns=outlook.cash_returns * 1e-3)
        free = replace(asked.mandate, cost_rates=np.zeros(10))
        asked = replace(asked, outlook=small, mandate=free)
        trade, _, _ = asked.certified()
        (reading,) = asked.mandate.readings(trade, small)

        assert reading.measured == pytest.approx(1.2e-4, abs=1e-10)


# Solvers that fail or lie: real failures where they can be had, else a forged answer on its way back


@pytest.mark.parametrize(
    ("aversion", "volatility", "ambiguity", "solver"),
    [(2.0, None, Singleton(), "PIQP"), (0.0, None, Singleton(), "HIGHS"), (2.0, 0.2, Singleton(), "CLARABEL"),
     (2.0, None, KullbackLeibler(0.05), "CLARABEL")],
)  # fmt: skip
def test_the_solver_is_chosen_by_the_class_of_the_problem(
    aversion: float, volatility: float | None, ambiguity: Ambiguity, solver: str
) -> None:
    solution = random_question(23, ambiguity=ambiguity, risk_aversion=aversion, volatility=volatility).solved()

    assert (solution.solver, solution.attempts) == (solver, ())
    assert solution.canonical.worst <= solve.RESIDUAL_ALLOWED


def out_of_iterations(monkeypatch: pytest.MonkeyPatch, *solvers: str) -> None:
    stops = {"PIQP": {"max_iter": 1}, "CLARABEL": {"max_iter": 1}, "SCS": {"max_iters": 1},
             "HIGHS": {"simplex_iteration_limit": 0, "presolve": "off"}}  # fmt: skip
    options = Solver.options

    def few(self: Solver, limits: Limits) -> dict[str, Any]:
        return options(self, limits) | (stops[self.name] if self.name in solvers else {})

    monkeypatch.setattr(Solver, "options", few)


def test_a_solver_that_runs_out_of_iterations_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(24)
    right = asked.optimum()
    out_of_iterations(monkeypatch, "PIQP")
    solution = asked.solved()

    assert solution.solver == "CLARABEL"
    assert solution.attempts == ("PIQP: max_iter_reached",)
    assert asked.loss(solution.holdings) == pytest.approx(right, abs=OBJECTIVE)


def lying(monkeypatch: pytest.MonkeyPatch, **wrong: Callable[[Vector], Vector]) -> None:
    """PIQP says that it solved, with wrong vectors."""
    honest = QuadraticProgram.solve

    def solve(self: QuadraticProgram, at: ProblemData) -> RawSolution | None:
        raw = honest(self, at)
        return None if raw is None else replace(raw, **{part: by(getattr(raw, part)) for part, by in wrong.items()})

    monkeypatch.setattr(QuadraticProgram, "solve", solve)


def test_a_solver_that_calls_a_wrong_vector_optimal_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(24)
    right = asked.optimum()
    lying(monkeypatch, x=lambda x: x + 1e-3)
    solution = asked.solved()

    assert solution.solver == "CLARABEL"
    assert len(solution.attempts) == 1
    assert solution.attempts[0].startswith("PIQP: said optimal, but residuals are ")
    assert asked.loss(solution.holdings) == pytest.approx(right, abs=OBJECTIVE)


def test_a_solver_that_returns_wrong_prices_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    lying(monkeypatch, equalities=lambda y: y * 0.9)

    assert random_question(24).solved().solver == "CLARABEL"


def test_a_linear_program_falls_back_to_clarabel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(25, risk_aversion=0.0)
    right = asked.optimum()
    out_of_iterations(monkeypatch, "HIGHS")
    solution = asked.solved()

    assert (solution.solver, solution.attempts) == ("CLARABEL", ("HIGHS: iteration limit reached",))
    assert asked.loss(solution.holdings) == pytest.approx(right, abs=OBJECTIVE)


def test_a_conic_program_falls_back_to_scs_which_must_be_as_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(26, count=5, volatility=0.2)
    right = asked.optimum()
    out_of_iterations(monkeypatch, "CLARABEL")
    solution = asked.solved()

    assert (solution.solver, solution.attempts) == ("SCS", ("CLARABEL: user_limit", f"{RELAXED}: user_limit"))
    assert asked.loss(solution.holdings) == pytest.approx(right, abs=OBJECTIVE)


@pytest.mark.parametrize(
    ("volatility", "solvers"), [(None, ("PIQP", "CLARABEL")), (0.2, ("CLARABEL", "SCS"))], ids=["quadratic", "conic"]
)
def test_when_every_solver_fails_there_is_no_plan_and_each_failure_is_named(
    monkeypatch: pytest.MonkeyPatch, volatility: float | None, solvers: tuple[str, ...]
) -> None:
    out_of_iterations(monkeypatch, *solvers)

    with pytest.raises(NotSolved, match="no verified solution") as refused:
        random_question(24, volatility=volatility).solved()

    assert refused.value.exit_code == 5
    assert all(f"{solver}: " in str(refused.value) for solver in solvers)
    assert "loosen solver.tolerance a little" in str(refused.value)


@pytest.mark.parametrize("kind", ["linear", "quadratic", "conic"])
def test_a_time_limit_of_the_users_own_ends_the_search_and_is_said_to_have(kind: str) -> None:
    more = {"linear": {"risk_aversion": 0.0}, "quadratic": {}, "conic": {"count": 5, "volatility": 0.2}}[kind]
    asked = random_question(25, **more)
    program = Program(asked.outlook, asked.mandate)

    with pytest.raises(OutOfTime, match=r"after 1e-09 s; raise solver\.time_limit_seconds") as late:
        program.solve(asked.start, asked.outlook, asked.mandate, Limits(seconds=1e-9))

    assert late.value.exit_code == 5
    assert str(pickle.loads(pickle.dumps(late.value))) == str(late.value)


@pytest.mark.parametrize("solver", [CLARABEL, HIGHS, SCS])
def test_each_solver_that_knows_time_limits_is_told_of_the_users(solver: Solver) -> None:
    (key,) = set(solver.options(Limits(seconds=3.0))) - set(solver.options(Limits()))

    assert solver.options(Limits(seconds=3.0))[key] == 3.0
    assert "time_limit" in key


def test_a_solve_on_the_fast_path_that_takes_too_long_is_no_answer() -> None:
    asked = random_question(25)
    fast = ParametricSolver(asked.start, asked.outlook, asked.mandate, Limits(seconds=1e-9))

    assert fast.is_fast
    with pytest.raises(OutOfTime, match=r"raise solver\.time_limit_seconds"):
        fast.solve(asked.start, asked.outlook, asked.mandate)


@pytest.mark.parametrize("status", ["optimal_inaccurate", "user_limit", "unbounded", "unbounded_inaccurate", None])
def test_no_status_but_optimal_ever_becomes_a_plan(monkeypatch: pytest.MonkeyPatch, status: str | None) -> None:
    unpack = cp.Problem.unpack

    def relabelled(self: cp.Problem, *args: Any) -> None:
        unpack(self, *args)  # the values are right, only the status is not
        self._status = status

    monkeypatch.setattr(cp.Problem, "unpack", relabelled)

    with pytest.raises(NotSolved, match=f"CLARABEL: {status}; {RELAXED}: {status}; SCS: {status}"):
        random_question(24, volatility=0.2).solved()


def test_a_false_claim_of_infeasibility_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    unpack = cp.Problem.unpack

    def relabelled(self: cp.Problem, *args: Any) -> None:
        unpack(self, *args)
        self._status = cp.INFEASIBLE

    monkeypatch.setattr(cp.Problem, "unpack", relabelled)

    with pytest.raises(NotSolved, match="CLARABEL: infeasible"):
        random_question(24, volatility=0.2).solved()


# Among equals, the least trade


def test_of_two_identical_names_nothing_is_swapped_for_nothing() -> None:
    held = np.array([0.35, 0.4, 0.0])
    asked = question(
        np.array([[0.1, 0.1, 0.05], [0.02, 0.02, 0.01]]), risk_aversion=0.0, cash_return=0.1, held=held,
        ambiguity=TotalVariation(0.1), rules=[WeightAtMost("cash", np.zeros(3), 0.25, 1.0)],
    )  # fmt: skip

    np.testing.assert_allclose(asked.solved().holdings, held, atol=HOLDINGS)


def test_where_every_portfolio_is_equally_good_today_s_is_kept() -> None:
    held = np.array([0.1, 0.2, 0.3])
    asked = question(np.full((2, 3), 0.05), risk_aversion=0.0, cash_return=0.05, held=held)

    np.testing.assert_allclose(asked.solved().holdings, held, atol=HOLDINGS)


# Prices


def central_difference(make: Callable[[float], Question], limit: float, step: float = 1e-4) -> float:
    """What one unit of a limit is worth: the fall of the minimised objective, per unit."""
    tight = Limits(tolerance=1e-11)
    return (make(limit - step).optimum(tight) - make(limit + step).optimum(tight)) / (2 * step)


def priced(make: Callable[[float], Question], limit: float, label: str) -> float:
    """The price of all rows whose label begins so, moved as one."""
    asked = make(limit)
    prices, _ = asked.prices()
    sense = asked.mandate.rows.sense
    rows = [i for i, name in enumerate(asked.mandate.rows.labels) if name.startswith(label)]
    return float(sum(prices.rows[i] * sense[i] for i in rows))


BASE = random_question(30, count=8, turnover=None)


@pytest.mark.parametrize("ambiguity", [TotalVariation(0.15), KullbackLeibler(0.05)], ids=["lp", "exponential"])
@pytest.mark.parametrize(
    ("make", "limit", "label"),
    [
        (Turnover, 0.3, "turnover"),
        (lambda limit: caps(8, limit), 0.2, "I"),
        (lambda limit: WeightAtMost("group half", BASE.mandate.linear_rules[1].shares, limit), 0.1, "group"),
        (lambda limit: WeightAtLeast("cash", np.zeros(8), limit, 1.0), 0.3, "cash"),
        (lambda limit: WeightAtMost("cash", np.zeros(8), limit, 1.0), 0.01, "cash"),
        (MinimumExpectedReturn, 0.18, "expected"),
    ],
    ids=["turnover", "caps", "group", "least cash", "most cash", "expected return"],
)
def test_shadow_prices_are_what_a_limit_is_worth(
    make: Callable[[float], Any], limit: float, label: str, ambiguity: Ambiguity
) -> None:
    def asked(at: float) -> Question:
        return BASE.with_rules(make(at)).with_ambiguity(ambiguity)

    price = priced(asked, limit, label)

    assert abs(price) > 1e-3  # the rule binds
    assert price == pytest.approx(central_difference(asked, limit), rel=0.01)


@pytest.mark.parametrize("years", [1.0, 2.0])
def test_the_price_of_volatility_is_what_its_limit_is_worth(years: float) -> None:
    def asked(limit: float) -> Question:
        longer = replace(BASE, outlook=replace(BASE.outlook, years=years))
        return longer.with_rules(caps(8, 0.5), volatility=VolatilityLimit(limit))

    prices, _ = asked(0.08).prices()

    (slope,) = prices.slopes
    assert slope.price > 1e-3
    assert slope.price * np.sqrt(years) == pytest.approx(central_difference(asked, 0.08), rel=0.01)


def test_a_rule_that_does_not_bind_is_worth_nothing() -> None:
    assert priced(lambda limit: BASE.with_rules(Turnover(limit)), 1.0, "turnover") == pytest.approx(0, abs=1e-7)


@BY_SET
def test_the_adversary_in_the_duals_is_the_worst_member_of_the_set(ambiguity: Ambiguity) -> None:
    for seed in range(31, 36):
        asked = random_question(seed, ambiguity=ambiguity)
        solution = asked.solved()
        q, p = solution.multipliers.adversary, asked.outlook.probabilities
        losses = -asked.outlook.portfolio_returns(solution.holdings, solution.cash)

        assert q.sum() == pytest.approx(1, abs=1e-12)
        assert ambiguity.excess(q, p) <= 1e-12
        assert q @ losses == pytest.approx(ambiguity.worst_case(losses, p), abs=1e-7)


# Edges


@pytest.mark.parametrize("radius", [0.0, 1e-9, 9e-7])
def test_a_relative_entropy_radius_below_a_millionth_is_the_belief(radius: float) -> None:
    tiny, known = (random_question(40, ambiguity=set_) for set_ in (KullbackLeibler(radius), Singleton()))

    np.testing.assert_allclose(tiny.solved().holdings, known.solved().holdings, atol=HOLDINGS)


@pytest.mark.parametrize("radius", [1.1e-6, 1e-5, 1e-4, 2.0, 50.0])
def test_extreme_relative_entropy_radii_are_still_certified(radius: float) -> None:
    _, _, certificate = random_question(41, ambiguity=KullbackLeibler(radius)).certified()

    assert abs(certificate.gap) <= OBJECTIVE


@BY_SET
@pytest.mark.parametrize("p", [(0.5, 0.5, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.7, 0.3 - 1e-10, 1e-10, 0.0)])
def test_scenarios_that_the_belief_excludes_are_allowed(ambiguity: Ambiguity, p: tuple[float, ...]) -> None:
    asked = random_question(42, ambiguity=ambiguity)
    asked = replace(asked, outlook=replace(asked.outlook, probabilities=np.array(p)))
    _, _, certificate = asked.certified()

    assert abs(certificate.gap) <= SHARP
    assert asked.optimum() == pytest.approx(by_cuts(asked, ambiguity, np.array(p)), abs=OBJECTIVE)


@pytest.mark.parametrize("radius", [0.0, 1.0])
@pytest.mark.parametrize("kind", [TotalVariation, Box])
def test_the_smallest_and_the_largest_radius_are_solved(kind: type[TotalVariation | Box], radius: float) -> None:
    edge = Singleton() if radius == 0 else AnyProbabilities()
    ambiguity = kind(radius)

    assert random_question(43, ambiguity=ambiguity).optimum() == pytest.approx(
        random_question(43, ambiguity=edge).optimum(), abs=OBJECTIVE
    )


@BY_SET
@pytest.mark.parametrize("aversion", [0.0, 1e-6, 1.0, 1e4, 1e6])
def test_daily_units_and_extreme_aversion_are_still_certified(ambiguity: Ambiguity, aversion: float) -> None:
    asked = random_question(44, ambiguity=ambiguity, risk_aversion=aversion)
    outlook = replace(
        asked.outlook,
        returns=asked.outlook.returns * 1e-3,
        cash_returns=asked.outlook.cash_returns * 1e-3,
        risk=asked.outlook.risk.over(1e-4),
    )
    mandate = replace(asked.mandate, cost_rates=asked.mandate.cost_rates * 1e-3)
    _, _, certificate = replace(asked, outlook=outlook, mandate=mandate).certified()

    assert abs(certificate.gap) <= SHARP  # of which the price of trading that breaks ties is 2e-8


def test_a_program_of_one_name_and_one_scenario_and_no_rule_is_solved() -> None:
    trade, _, certificate = question(np.array([[0.1]]), np.array([[0.04]]), risk_aversion=0.5).certified()

    assert trade.values[0] == pytest.approx(1.0, abs=HOLDINGS)
    assert certificate.rules == 0


def test_names_without_any_risk_are_solved() -> None:
    for aversion in (0.0, 1.0):
        trade, _, _ = question(np.array([[0.1, 0.2]]), risk_aversion=aversion, rules=[caps(2, 0.6)]).certified()
        np.testing.assert_allclose(trade.values, [0.4, 0.6], atol=HOLDINGS)


def test_caps_that_add_up_to_exactly_everything_leave_one_portfolio() -> None:
    for ambiguity in SETS:
        asked = random_question(45, ambiguity=ambiguity).with_rules(caps(10, 0.1), no_cash(10))
        asked = replace(asked, mandate=replace(asked.mandate, cost_rates=np.zeros(10)))
        trade, _, certificate = asked.certified()

        np.testing.assert_allclose(trade.values, np.full(10, 0.1), atol=HOLDINGS)
        assert abs(certificate.gap) <= OBJECTIVE


def test_a_locked_name_stays_as_it_is_even_above_its_wish() -> None:
    held = np.array([0.4, 0.3, 0.3])
    asked = question(
        np.array([[-0.5, 0.1, 0.2]]), np.eye(3) * 0.04, held=held, rules=[NoTrade(names(3)[:1], (0,))], cost_rate=0.001
    )
    trade, _, _ = asked.certified()

    assert trade.values[0] == 0.4
    assert trade.bought[0] == trade.sold[0] == 0.0


def test_a_turnover_of_zero_leaves_everything_where_it_is() -> None:
    asked = random_question(46)
    trade, _, _ = asked.with_rules(Turnover(0.0)).certified()

    np.testing.assert_allclose(trade.values, asked.start.holdings, atol=KEPT)


def test_the_same_question_is_answered_the_same_to_the_last_bit() -> None:
    for ambiguity in SETS:
        first, second = (random_question(47, ambiguity=ambiguity).solved() for _ in range(2))

        np.testing.assert_array_equal(first.holdings, second.holdings)
