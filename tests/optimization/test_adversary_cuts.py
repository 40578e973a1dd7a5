"""Many scenarios by cuts: the plan of the dual forms and of the textbook, whatever the rules; refused as it was."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.sets import Ambiguity
from allocator.errors import Infeasible
from allocator.optimization import solve as solve_module
from allocator.plan.certificate import certify_solution
from allocator.rules import WeightAtLeast, WeightAtMost
from tests.agreement import KEPT, OBJECTIVE, SHARP
from tests.optimization.test_every_rule import KINDS, TOGETHER, rich
from tests.problems import SETS, Question, random_question
from tests.textbook_program import textbook_optimum
from tests.thoroughness import some

CURVED = pytest.mark.parametrize(
    "ambiguity", [KullbackLeibler(0.05), ModifiedChiSquared(0.1)], ids=lambda one: one.name
)


def many(ambiguity: Ambiguity, seed: int = 0, **changed: float | None) -> Question:
    """Sixty scenarios of eight names."""
    given = {"count": 8, "scenarios": 60, "risk_aversion": 3.0} | changed
    return random_question(seed, ambiguity=ambiguity, **given)  # type: ignore[arg-type]


def by_dual_form(asked: Question, monkeypatch: pytest.MonkeyPatch) -> float:
    """The optimum of the cones, a scenario each."""
    with monkeypatch.context() as patched:
        patched.setattr(solve_module, "MANY", np.inf)
        solution = asked.solved()
    assert "cuts" not in solution.solver
    return certify_solution(asked.start, asked.outlook, asked.mandate, solution)[2].objective


@CURVED
def test_many_scenarios_are_solved_by_cuts_to_the_optimum_of_the_dual_form(
    ambiguity: Ambiguity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, changed in enumerate(({}, {"risk_aversion": 0.0}, {"volatility": 0.12})):
        asked = many(ambiguity, seed, **changed)
        solution = asked.solved()
        _, _, certificate = certify_solution(asked.start, asked.outlook, asked.mandate, solution)

        assert solution.solver == ("CLARABEL by cuts" if changed else "PIQP by cuts")
        assert abs(certificate.gap) <= SHARP
        assert certificate.objective == pytest.approx(by_dual_form(asked, monkeypatch), abs=SHARP)


@pytest.mark.parametrize(
    ("what", "ambiguity"), [(TOGETHER, SETS[3]), (TOGETHER, SETS[1]), *some(product(KINDS, SETS), 11)]
)
def test_every_rule_and_charge_goes_by_cuts_to_the_textbook_s_plan(
    what: tuple[str, ...], ambiguity: Ambiguity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solve_module, "MANY", 2)
    asked = rich(what, ambiguity)
    _, _, certificate = asked.certified()

    assert abs(certificate.gap) <= SHARP
    assert certificate.largest_violation <= KEPT
    assert certificate.objective == pytest.approx(textbook_optimum(asked), abs=OBJECTIVE)


def test_a_flat_set_of_many_scenarios_is_solved_as_it_is() -> None:
    assert many(TotalVariation(0.1)).solved().solver == "PIQP"


def test_no_answer_by_cuts_depends_on_the_one_before() -> None:
    asked, other = many(KullbackLeibler(0.05)), many(KullbackLeibler(0.05), 3)
    program = solve_module.Program(asked.outlook, asked.mandate)
    first = asked.solved(program=program)
    program.solve(asked.start, replace(asked.outlook, returns=other.outlook.returns), asked.mandate)

    assert np.array_equal(asked.solved(program=program).holdings, first.holdings)


def test_where_cuts_end_without_an_answer_the_dual_form_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = many(KullbackLeibler(0.05))
    expected = asked.certified()[2].objective
    monkeypatch.setattr(solve_module, "_MOST_ROUNDS", 1)
    solution = asked.solved()

    assert solution.solver == "CLARABEL"
    assert "PIQP by cuts: the adverse expectation is still" in solution.attempts[0]
    found = certify_solution(asked.start, asked.outlook, asked.mandate, solution)[2].objective
    assert found == pytest.approx(expected, abs=SHARP)


@CURVED
def test_conflicting_limits_are_named_as_they_are_without_cuts(ambiguity: Ambiguity) -> None:
    first = np.eye(8)[0]
    rules = (WeightAtLeast("one", first, 0.5), WeightAtMost("one", first, 0.2))
    asked = many(ambiguity).with_rules(*rules)

    with pytest.raises(Infeasible) as raised:
        asked.solved()

    assert {*raised.value.rules} == {label for rule in rules for label in rule.limit_labels}
