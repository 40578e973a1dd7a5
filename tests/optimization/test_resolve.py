"""Fast re-solves give what the long way gives, prove it alone, refuse what is wrong, and remember nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.mandate.return_errors import BoxError
from allocator.optimization import resolve as again_module
from allocator.optimization.quadratic_program import ProblemData, QuadraticProgram, RawSolution
from allocator.optimization.resolve import CertifiedSolution, ParametricSolver, RowProof
from allocator.optimization.single_period import SinglePeriodProblem
from allocator.optimization.solve import PIQP, Limits, solve_once
from allocator.optimization.verification import DualValues, best_dual_certificate, canonical_check, lower_bound
from allocator.rules import MinimumExpectedReturn, ScenarioFloor, WeightAtMost
from allocator.rules.rows import Position
from tests.agreement import SHARP
from tests.further_sets import FURTHER
from tests.optimization.test_dual_bound import mixed
from tests.problems import SETS, Question, caps, random_question

FAST = [seed for seed in range(60) if seed // len(SETS) % 4 not in (1, 2) and seed % len(SETS) != 3]
"""Of `mixed`: those with a charge for risk and neither a volatility rule nor a set of relative entropy."""


def fast(asked: Question) -> ParametricSolver:
    """Re-solves around a question."""
    return ParametricSolver(asked.start, asked.outlook, asked.mandate)


def moved(asked: Question, seed: int) -> Question:
    """Other returns, other probabilities, other holdings; the same shape."""
    draw = np.random.default_rng(seed)
    outlook = replace(
        asked.outlook,
        returns=asked.outlook.returns + draw.normal(0, 0.05, asked.outlook.returns.shape),
        probabilities=draw.dirichlet(np.ones(len(asked.outlook.probabilities))),
    )
    held = draw.dirichlet(np.ones(len(asked.start.holdings) + 1))
    start = replace(asked.start, holdings=held[:-1], cash=float(held[-1]))
    return replace(asked, outlook=outlook, start=start)


def same_as_the_long_way(found: CertifiedSolution | None, asked: Question) -> bool:
    """Whether an answer is worth what the whole ladder and a certificate find."""
    _, _, certificate = asked.certified()
    return found is not None and abs(found.objective - certificate.objective) <= SHARP and abs(found.gap) <= SHARP


@pytest.mark.parametrize("part", range(4))
def test_a_fast_answer_is_worth_what_the_long_way_finds(part: int) -> None:
    for seed in FAST[part::4]:
        asked = mixed(seed)
        again = fast(asked)

        assert again.is_fast, seed
        assert same_as_the_long_way(again.solve(asked.start, asked.outlook, asked.mandate), asked), seed


def test_changed_numbers_are_solved_as_if_they_were_compiled_afresh() -> None:
    asked = random_question(5, count=9, scenarios=4, ambiguity=SETS[1], risk_aversion=3.0, turnover=None)
    again = fast(asked)
    for seed in range(8):
        other = moved(asked, seed)

        assert same_as_the_long_way(again.solve(other.start, other.outlook, other.mandate), other), seed


@pytest.mark.parametrize("kind", ["contamination", "wasserstein", "hull", "polytope"])
def test_the_further_flat_sets_go_the_fast_way_too(kind: str) -> None:
    for seed in range(3):
        asked = random_question(seed, count=6, scenarios=4, ambiguity=Singleton(), risk_aversion=2.0)
        made = FURTHER[kind](np.random.default_rng(seed), asked.outlook.probabilities, 0.2)
        asked = asked.with_ambiguity(made)

        assert same_as_the_long_way(fast(asked).solve(asked.start, asked.outlook, asked.mandate), asked), seed


def test_rules_on_returns_and_errors_of_returns_are_proved_as_well() -> None:
    asked = random_question(11, count=8, scenarios=3, ambiguity=SETS[1], risk_aversion=4.0)
    floors = ScenarioFloor(asked.outlook.scenarios, (-0.2,) * 3)
    mandate = replace(
        asked.mandate,
        linear_rules=(*asked.mandate.linear_rules, floors),
        return_error=BoxError(np.full(8, 0.01)),
    )
    asked = replace(asked, mandate=mandate)

    assert same_as_the_long_way(fast(asked).solve(asked.start, asked.outlook, asked.mandate), asked)


def test_what_the_fast_way_cannot_prove_it_does_not_answer() -> None:
    curved = random_question(3, count=6, scenarios=3, ambiguity=KullbackLeibler(0.05), risk_aversion=2.0)
    bent = random_question(3, count=6, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0, volatility=0.2)
    for asked in (curved, bent):
        again = fast(asked)

        assert not again.is_fast
        assert again.solve(asked.start, asked.outlook, asked.mandate) is None


@pytest.mark.parametrize("seed", range(8))
def test_where_risk_has_no_price_the_fast_way_ends_in_the_same_corner(seed: int) -> None:
    own = {"turnover": 0.4} if seed % 2 else {}
    asked = random_question(seed, count=9, scenarios=4, ambiguity=SETS[seed % 2], risk_aversion=0.0, **own)
    found = fast(asked).solve(asked.start, asked.outlook, asked.mandate)
    target, _, _ = asked.certified()

    assert found is not None
    assert (found.solver, found.gap <= 1e-6) == ("HIGHS", True)
    assert found.objective == pytest.approx(asked.optimum(), abs=1e-7)
    assert found.holdings == pytest.approx(target.values, abs=1e-12)  # to `rebalance`'s own weights, in ties too


def test_a_belief_that_excludes_a_scenario_is_compiled_when_it_comes() -> None:
    asked = random_question(8, count=6, scenarios=4, ambiguity=Singleton(), risk_aversion=2.0)
    asked = asked.with_ambiguity(FURTHER["wasserstein"](np.random.default_rng(1), asked.outlook.probabilities, 0.2))
    again = fast(asked)
    edge = replace(asked, outlook=replace(asked.outlook, probabilities=np.array([0.5, 0.0, 0.3, 0.2])))

    assert same_as_the_long_way(again.solve(edge.start, edge.outlook, edge.mandate), edge)
    assert same_as_the_long_way(again.solve(asked.start, asked.outlook, asked.mandate), asked)


def test_no_answer_depends_on_the_ones_before_it() -> None:
    asked = random_question(2, count=12, scenarios=4, ambiguity=SETS[1], risk_aversion=3.0, turnover=0.7)
    others = [moved(asked, seed) for seed in range(20)]

    def answers(order: list[int], again: ParametricSolver) -> dict[int, CertifiedSolution | None]:
        return {i: again.solve(others[i].start, others[i].outlook, others[i].mandate) for i in order}

    forth, back = answers(list(range(20)), fast(asked)), answers(list(range(19, -1, -1)), fast(asked))
    for i in range(20):
        one, two = forth[i], back[i]
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert (one.holdings == two.holdings).all()
            assert (one.cash, one.objective, one.gap) == (two.cash, two.objective, two.gap)
    assert sum(one is not None for one in forth.values()) > 15


def test_what_is_kept_of_a_question_is_what_would_be_written_anew() -> None:
    asked = random_question(2, count=12, scenarios=4, ambiguity=SETS[1], risk_aversion=3.0, turnover=0.7)
    mandate, outlook, kept = asked.mandate, asked.outlook, QuadraticProgram(PIQP.options(Limits()))
    other = moved(asked, 1)
    experts = FURTHER["hull"](np.random.default_rng(1), outlook.probabilities, 0.2)
    questions = [
        asked,
        *(replace(asked, mandate=mandate.wanting(risk_aversion=aversion)) for aversion in (0.1, 300.0)),
        asked.with_ambiguity(SETS[2]),
        asked.with_ambiguity(experts),
        asked.with_ambiguity(replace(experts)),
        replace(asked, outlook=replace(outlook, probabilities=other.outlook.probabilities)),
        replace(asked, outlook=replace(outlook, risk=outlook.risk.stressed(own=2.0))),
        replace(asked, mandate=replace(mandate, cost_rates=2 * mandate.cost_rates)),
        asked.with_rules(MinimumExpectedReturn(-0.1)),
        other,
        asked,
    ]
    for one in questions:
        at, anew = (
            program.write(one.start, one.outlook, one.mandate)
            for program in (kept, QuadraticProgram(PIQP.options(Limits())))
        )
        for name, matrix in anew.named().items():
            assert np.array_equal(_dense(at.named()[name]), _dense(matrix)), name
        assert np.array_equal(_dense(at.At), _dense(at.A).T)
        assert np.array_equal(_dense(at.Ft), _dense(at.F).T)
        assert at.same_pattern(anew)


def _dense(of: Any) -> np.ndarray[Any, Any]:
    return np.asarray(of.toarray() if hasattr(of, "toarray") else of)


def test_arrays_that_are_changed_in_place_bring_no_answer_to_what_they_were() -> None:
    asked = random_question(4, count=7, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0)
    again = fast(asked)
    assert again.solve(asked.start, asked.outlook, asked.mandate) is not None
    asked.outlook.returns[:] = asked.outlook.returns[::-1] + 0.05
    assert again.solve(asked.start, asked.outlook, asked.mandate) is None
    assert same_as_the_long_way(fast(asked).solve(asked.start, asked.outlook, asked.mandate), asked)


def test_many_at_once_are_answered_as_one_by_one() -> None:
    asked = random_question(2, count=12, scenarios=4, ambiguity=SETS[1], risk_aversion=3.0, turnover=0.7)
    others = [moved(asked, seed) for seed in range(6)]
    curved = asked.with_ambiguity(KullbackLeibler(0.05))
    questions = [(one.start, one.outlook, one.mandate) for one in (*others[:3], curved, *others[3:])]
    together, again = fast(asked).solve_many(questions), fast(asked)

    assert together[3] is None
    for one, question in zip(together, questions, strict=True):
        alone = again.solve(*question)
        assert (one is None) == (alone is None)
        if one is not None and alone is not None:
            assert (one.holdings == alone.holdings).all()
            assert one.gap == alone.gap


def test_the_bound_is_the_certificates_for_right_and_for_wrong_prices() -> None:
    for seed in FAST:
        asked = mixed(seed)
        draw = np.random.default_rng(seed)
        trade = asked.trade(asked.solved().holdings)
        rows = len(asked.mandate.rows.labels)
        p = asked.outlook.probabilities
        found = asked.solved().multipliers
        for spoiled in (0.0, 0.3, None):  # None: free rules, so that names together want more than there is
            prices = np.zeros(rows) if spoiled is None else found.rows + spoiled * draw.random(rows)
            duals = DualValues(prices, found.cash, found.adversary if spoiled == 0 else p)
            ours = RowProof(asked.mandate, asked.outlook.risk)
            bounds = [
                ours.bound(asked.start, asked.outlook, asked.mandate, trade, duals, floor)
                for floor in (-np.inf, duals.cash)
            ]
            multipliers = DualValues(prices, duals.cash, duals.adversary)
            full, best = best_dual_certificate(asked.start, asked.outlook, asked.mandate, trade, multipliers)

            assert max(bounds) == pytest.approx(best, abs=1e-11), (seed, spoiled)
            assert lower_bound(asked.start, asked.outlook, asked.mandate, full) == best


def test_the_canonical_check_is_the_one_of_every_plan() -> None:
    asked = random_question(4, count=7, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0)
    program = QuadraticProgram(PIQP.options(Limits()))
    at = program.write(asked.start, asked.outlook, asked.mandate)
    right = program.solve(at)
    assert right is not None
    data = {
        "A": at.A, "b": at.b, "F": at.F, "G": at.g, "q": at.q, "P": at.P,
        "lower_bounds": at.low, "upper_bounds": at.high, "dims": _Dims(len(at.b), len(at.g)),
    }  # fmt: skip
    draw = np.random.default_rng(0)
    for size in (0.0, 1e-4, 0.1):
        raw = RawSolution(
            *(part + size * draw.normal(size=part.shape) for part in (right.x, right.equalities, right.rows))
        )
        ours, theirs = at.check(raw), canonical_check(data, raw.x, raw.equalities, raw.rows)

        assert (ours.primal, ours.dual, ours.gap) == pytest.approx((theirs.primal, theirs.dual, theirs.gap), rel=1e-9)
        assert (ours.worst < 1e-6) == (size == 0)
    for row in range(len(right.rows)):  # a dual of the wrong sign, one at a time
        turned = replace(right, rows=np.where(np.arange(len(right.rows)) == row, -5.0, right.rows))
        ours, theirs = at.check(turned), canonical_check(data, turned.x, turned.equalities, turned.rows)

        assert (ours.dual, ours.gap) == pytest.approx((theirs.dual, theirs.gap), rel=1e-9)
        assert ours.dual > 1e-6
    nothing = replace(right, x=np.full(len(right.x), np.nan))
    assert at.check(nothing).worst == np.inf


class _Dims:
    def __init__(self, zero: int, nonneg: int) -> None:
        self.zero, self.nonneg, self.exp = zero, nonneg, 0
        self.soc: list[int] = []
        self.psd: list[int] = []
        self.p3d: list[float] = []
        self.pnd: list[float] = []


@pytest.mark.parametrize("part", ["x", "equalities", "rows"])
def test_a_solver_that_lies_is_not_believed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(4, count=7, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0)
    again = fast(asked)
    honest = QuadraticProgram.solve

    def lying(self: QuadraticProgram, at: ProblemData) -> RawSolution | None:
        raw = honest(self, at)
        assert raw is not None
        return replace(raw, **{part: getattr(raw, part) * 1.01 + 1e-3})

    monkeypatch.setattr(QuadraticProgram, "solve", lying)

    assert again.solve(asked.start, asked.outlook, asked.mandate) is None


@pytest.mark.parametrize("spoiled", ["keeps", "lawful"])
def test_each_part_of_the_second_check_can_refuse(spoiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = random_question(4, count=7, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0)
    again = fast(asked)
    monkeypatch.setattr(RowProof if spoiled == "keeps" else again_module, spoiled, lambda *_: False)

    assert again.solve(asked.start, asked.outlook, asked.mandate) is None


def test_targets_that_break_a_row_or_are_not_optimal_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the canonical check blind, the second check sees it alone."""
    asked = random_question(4, count=7, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0)
    again = fast(asked)
    right = again.solve(asked.start, asked.outlook, asked.mandate)
    assert right is not None

    def shifted(part: float) -> Any:
        def trade(*_: Any) -> Any:
            way = np.zeros(7)
            way[int(np.argmax(right.holdings))], way[int(np.argmin(right.holdings))] = 1.0, -1.0
            return asked.trade(np.maximum(right.holdings + part * way, 0.0))

        return trade

    for part in (0.02, -0.02):
        monkeypatch.setattr(again_module, "trade_of_solution", shifted(part))
        assert again.solve(asked.start, asked.outlook, asked.mandate) is None, part


def test_a_row_is_kept_to_a_millionth_of_what_its_numbers_are() -> None:
    asked = random_question(4, count=7, scenarios=3, ambiguity=SETS[1], risk_aversion=2.0)
    tiny = WeightAtMost("tiny", np.full(7, 1e-6), 5e-7)  # half of the account in names, in millionths
    asked = asked.with_rules(caps(7, 0.4), tiny)
    layout = RowProof(asked.mandate, asked.outlook.risk)
    half = np.full(7, 0.5 / 7)
    held = replace(asked, start=Position(half, 0.5))

    assert layout.keeps(held.trade(half), asked.outlook)
    assert not layout.keeps(replace(held, start=Position(half * 1.01, 1 - 0.505)).trade(half * 1.01), asked.outlook)
    one = np.zeros(7)
    one[0] = 0.401
    assert not layout.keeps(replace(held, start=Position(one, 1 - 0.401)).trade(one), asked.outlook)


def by_cvxpy(asked: Question) -> tuple[float, np.ndarray[Any, Any]]:
    """The objective and holdings of the program as `single_period` states it, by PIQP."""
    compiled = SinglePeriodProblem(asked.outlook, asked.mandate)
    compiled.write(asked.start, asked.outlook, asked.mandate)
    status, check = solve_once(compiled.problem, PIQP, Limits())
    assert check is not None, status
    holdings = np.asarray(compiled.variables.holdings.value, dtype=float)
    return float(compiled.problem.value) * compiled.scale, holdings


@pytest.mark.parametrize("part", range(4))
def test_the_program_as_matrices_is_the_one_that_cvxpy_states(part: int) -> None:
    kinds = [*SETS[:3], SETS[4], *(FURTHER[kind] for kind in ("contamination", "wasserstein", "hull", "polytope"))]
    for seed in range(part, 28, 4):
        asked = random_question(seed, count=9, scenarios=4, ambiguity=Singleton(), risk_aversion=3.0)
        made: Any = kinds[seed % len(kinds)]
        made = made(np.random.default_rng(seed), asked.outlook.probabilities, 0.2) if callable(made) else made
        further = (MinimumExpectedReturn(-0.1), ScenarioFloor(asked.outlook.scenarios, (-0.9,) * 4))[: seed % 3]
        mandate = replace(asked.mandate, linear_rules=(*asked.mandate.linear_rules, *further), ambiguity=made)
        asked = replace(asked, mandate=mandate)
        program = QuadraticProgram(PIQP.options(Limits()))
        at = program.write(asked.start, asked.outlook, asked.mandate)
        raw = program.solve(at)
        assert raw is not None
        worth, holdings = by_cvxpy(asked)

        ours = (0.5 * float(raw.x @ (at.P @ raw.x)) + float(at.q @ raw.x)) * at.scale
        assert ours == pytest.approx(worth, abs=1e-7), seed
        np.testing.assert_allclose(raw.x[:9], holdings, atol=1e-5)
