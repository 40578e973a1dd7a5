"""A tail of many draws by rows: the optimum of the whole program under every rule and set, proved by its last rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.ambiguity.sets import Ambiguity
from allocator.errors import Infeasible
from allocator.multistage import solve as solve_module
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.policy import Policy
from allocator.multistage.risk_adjustment import MeanCVaR, simulated_values
from allocator.multistage.solve import TailPolicies, TailRows, solve_policy
from allocator.optimization.solve import Limits
from allocator.optimization.verification import linear_check
from allocator.rules import Turnover, WeightAtLeast, WeightAtMost
from tests.agreement import KEPT, SHARP
from tests.problems import SETS, Question, random_question
from tests.textbook_program import RULES, rich_question
from tests.thoroughness import some
from tests.trees import of_one

KINDS = [(), ("impact",), *((rule,) for rule in RULES), ("impact", *RULES)]


def drawn(asked: Question, draws: int, weight: float = 0.6) -> MultistageMandate:
    """The question about the mean and the tail of draws."""
    outlook, tree = asked.outlook, of_one(asked.outlook)
    growth = simulated_values(outlook, draws, np.arange(len(outlook.scenarios)))
    objective = MeanCVaR(0.8, weight, growth, tree.leaf_cash_growth)
    return MultistageMandate(tree, (asked.mandate,), (outlook,), (asked.mandate.ambiguity,), objective)


def whole(staged: MultistageMandate, asked: Question, monkeypatch: pytest.MonkeyPatch) -> Policy:
    """The policy of the program with a row for every draw."""
    with monkeypatch.context() as patched:
        patched.setattr(MeanCVaR, "tail", None)
        return solve_policy(staged, asked.start)


@pytest.mark.parametrize(("kinds", "ambiguity"), some(product(KINDS, SETS), 4))
def test_rows_of_the_tail_find_the_whole_program_s_optimum_under_every_rule_and_set(
    kinds: tuple[str, ...], ambiguity: Ambiguity, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rich_question(KINDS.index(kinds), *kinds, ambiguity=ambiguity, risk_aversion=0.0)
    staged = drawn(asked, 60)
    policy = solve_policy(staged, asked.start)

    assert policy.solver == "HIGHS by rows"
    assert policy.attempts == ()
    assert policy.gap <= SHARP
    assert max(reading.missed for reading in policy.readings(0)) <= KEPT
    assert policy.objective == pytest.approx(whole(staged, asked, monkeypatch).objective, abs=SHARP)


def test_the_tail_alone_and_many_draws_of_one_scenario_end_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(3, count=7, scenarios=1, ambiguity=SETS[0], risk_aversion=0.0)
    for weight in (0.3, 1.0):
        staged = drawn(asked, 600, weight)
        policy = solve_policy(staged, asked.start)

        assert policy.solver == "HIGHS by rows"
        assert policy.gap <= 1e-9
        assert policy.objective == pytest.approx(whole(staged, asked, monkeypatch).objective, abs=SHARP)


def test_where_rows_are_not_enough_the_whole_program_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(3, count=7, scenarios=2, ambiguity=SETS[1], risk_aversion=0.0)
    monkeypatch.setattr(solve_module, "_TAIL_ROUNDS", 0)
    policy = solve_policy(drawn(asked, 100), asked.start)

    assert policy.solver == "CLARABEL"
    assert policy.attempts == ("HIGHS by rows: rows are not enough after 0 rounds",)


def test_limits_that_conflict_are_refused_as_they_are_without_rows() -> None:
    asked = random_question(3, count=7, ambiguity=SETS[0], risk_aversion=0.0)
    first = np.eye(7)[0]
    rules = (WeightAtLeast("one", first, 0.5), WeightAtMost("one", first, 0.2))

    with pytest.raises(Infeasible, match="no policy keeps every limit"):
        solve_policy(drawn(asked.with_rules(*rules), 40), asked.start)


def test_the_linear_check_finds_a_wrong_point_a_wrong_price_and_a_gap() -> None:
    """minimise −x − 2y subject to x + y ≤ 1, 0 ≤ x, y ≤ 1: y = 1 at the price −2."""
    import scipy.sparse as sp

    costs, rows = np.array([-1.0, -2.0]), sp.csr_array([[1.0, 1.0]])
    sides = np.array([-np.inf]), np.array([1.0]), np.zeros(2), np.ones(2)

    def worst(x: tuple[float, float], price: float) -> tuple[float, float, float]:
        found = linear_check(costs, rows, *sides, x=np.array(x), prices=np.array([price]))
        return found.primal, found.dual, found.gap

    assert worst((0.0, 1.0), -2.0) == (0.0, 0.0, 0.0)
    assert worst((0.5, 1.0), -2.0)[0] == pytest.approx(0.5)
    assert worst((0.0, 1.0), 0.5)[1] == pytest.approx(0.25)
    assert worst((1.0, 0.0), -2.0)[2] == pytest.approx(1.0)


def test_no_answer_by_rows_depends_on_the_one_before() -> None:
    asked = random_question(5, count=7, ambiguity=SETS[3], risk_aversion=0.0)
    staged = drawn(asked, 80)
    first = solve_policy(staged, asked.start)
    solve_policy(replace(staged, ambiguities=(SETS[1],)), asked.start)

    assert np.array_equal(solve_policy(staged, asked.start).holdings, first.holdings)


def test_scenarios_that_are_worst_and_unlikely_do_not_leave_the_threshold_without_end() -> None:
    asked = random_question(3, count=7, scenarios=4, ambiguity=SETS[1], risk_aversion=0.0)
    returns = np.vstack([asked.outlook.returns[:2] - 0.5, asked.outlook.returns[2:]])  # of which all worst draws are
    rare = replace(asked.outlook, returns=returns, probabilities=np.array([0.02, 0.02, 0.48, 0.48]))
    policy = solve_policy(drawn(replace(asked, outlook=rare), 200), asked.start)

    assert (policy.solver, policy.attempts) == ("HIGHS by rows", ())
    assert policy.gap <= SHARP


@pytest.mark.parametrize(("kinds", "ambiguity"), some(product(KINDS, SETS), 5))
def test_rows_that_are_kept_find_at_every_weight_and_in_every_set_what_new_ones_do(
    kinds: tuple[str, ...], ambiguity: Ambiguity, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rich_question(KINDS.index(kinds), *kinds, ambiguity=ambiguity, risk_aversion=0.0)
    staged, made = drawn(asked, 60), list[TailRows]()
    kept = TailPolicies(asked.start, Limits())
    monkeypatch.setattr(solve_module, "TailRows", lambda *of: made.append(TailRows(*of)) or made[-1])

    for weight in (0.1, 0.4, 1.0, 0.7):
        one = replace(staged, utility=staged.utility.with_tail(weight))
        policy = kept.solve(one)
        assert (policy.solver, policy.staged) == ("HIGHS by rows", one)
        assert policy.gap <= SHARP
        assert max(reading.missed for reading in policy.readings(0)) <= KEPT
        assert policy.objective == pytest.approx(
            TailRows(one, asked.start, one.utility.tail).solve(Limits()).objective, abs=SHARP
        )
    assert len(made) == 1


def test_rows_are_kept_for_a_larger_set_and_made_anew_for_a_smaller_one_or_another_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = random_question(5, count=7, scenarios=4, ambiguity=SETS[1], risk_aversion=0.0)
    staged, made = drawn(asked, 80), list[TailRows]()
    kept = TailPolicies(asked.start, Limits())
    monkeypatch.setattr(solve_module, "TailRows", lambda *of: made.append(TailRows(*of)) or made[-1])
    capped = replace(asked.mandate, linear_rules=(*asked.mandate.linear_rules, Turnover(0.05)))
    questions = [
        (replace(staged, ambiguities=(TotalVariation(0.05),)), 1),
        (replace(staged, ambiguities=(TotalVariation(0.2),)), 0),
        (replace(staged, ambiguities=(TotalVariation(0.4),)), 0),
        (replace(staged, ambiguities=(TotalVariation(0.1),)), 1),
        (replace(staged, ambiguities=(Singleton(),)), 1),
        (replace(staged, mandates=(capped,)), 1),
        (replace(staged, utility=replace(staged.utility, level=0.9)), 1),
        (drawn(asked, 40), 1),
    ]
    for one, new in questions:
        before = len(made)
        policy = kept.solve(one)
        assert len(made) - before == new
        assert policy.objective == pytest.approx(solve_policy(one, asked.start).objective, abs=SHARP)
        del made[before + new :]
