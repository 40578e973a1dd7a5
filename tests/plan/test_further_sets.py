"""Plans against contamination, χ², transport, experts and limits: proved, best, explained, refused with a conflict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.ambiguity.balls import Contamination
from allocator.ambiguity.divergences import ModifiedChiSquared
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein
from allocator.errors import Infeasible
from allocator.optimization.solve import Program
from allocator.plan.attribution import path_average_adversary
from allocator.rules import WorstCaseFloor
from tests.agreement import OBJECTIVE, SHARP
from tests.further_sets import FURTHER
from tests.problems import Question, random_portfolios, random_question
from tests.thoroughness import count


def asked(kind: str, seed: int, **more: float | None) -> Question:
    made = random_question(seed, count=6, scenarios=2 + seed % 5, **more)  # type: ignore[arg-type]
    draw = np.random.default_rng(seed)
    return made.with_ambiguity(FURTHER[kind](draw, made.outlook.probabilities, float(draw.uniform(0.05, 0.6))))


@pytest.mark.parametrize("kind", FURTHER)
@pytest.mark.parametrize(("risk_aversion", "volatility"), [(2.0, None), (0.0, None), (2.0, 0.18)])
def test_the_bound_meets_the_objective_and_no_random_portfolio_goes_below_it(
    kind: str, risk_aversion: float, volatility: float | None
) -> None:
    for seed in range(count(6, 3)):
        made = asked(kind, seed, risk_aversion=risk_aversion, volatility=volatility)
        _, prices, certificate = made.certified()
        q = prices.adversary

        assert -SHARP <= certificate.gap <= SHARP, f"{seed}: {certificate}"
        assert made.mandate.ambiguity.excess(q, made.outlook.probabilities) <= 1e-9
        trades = random_portfolios(made, seed)
        assert min(made.mandate.loss(trade, made.outlook) for trade in trades) >= certificate.bound - 1e-9


@pytest.mark.parametrize("kind", FURTHER)
def test_a_worst_case_floor_over_the_set_holds_and_binds(kind: str) -> None:
    bound = 0
    for seed in range(5):
        made = asked(kind, seed)
        free = made.certified()[0]
        own = WorstCaseFloor(0.0, made.mandate.ambiguity)
        (reading,) = own.readings(free, made.outlook)
        floor = replace(own, limit=reading.measured + 0.004)
        tight = replace(made, mandate=replace(made.mandate, convex_rules=(floor,), risk_aversion=6.0))
        try:
            trade, _, certificate = tight.certified()
        except Infeasible:
            continue
        bound += 1
        assert floor.readings(trade, made.outlook)[0].measured >= floor.limit - 1e-7
        assert -SHARP <= certificate.gap <= SHARP
    assert bound >= 3


@pytest.mark.parametrize("kind", FURTHER)
def test_a_floor_that_no_portfolio_keeps_is_a_conflict_with_a_fix_that_works(kind: str) -> None:
    made = asked(kind, 3)
    floor = WorstCaseFloor(2.0, made.mandate.ambiguity)
    hopeless = replace(made, mandate=replace(made.mandate, convex_rules=(floor,)))

    with pytest.raises(Infeasible) as caught:
        hopeless.solved()
    assert any("adverse expected return at least" in rule for rule in caught.value.rules)
    assert caught.value.fixes


@pytest.mark.parametrize("kind", FURTHER)
def test_one_program_serves_every_radius_of_a_shape(kind: str) -> None:
    first = asked(kind, 2)
    program = Program(first.outlook, first.mandate)
    for seed in range(2, 12):
        draw = np.random.default_rng(seed)
        set_ = FURTHER[kind](draw, first.outlook.probabilities, float(draw.uniform(0.05, 0.6)))
        again = first.with_ambiguity(set_)
        if program.fits(again.outlook, again.mandate):
            held = program.solve(again.start, again.outlook, again.mandate).holdings
            assert again.loss(held) == pytest.approx(again.optimum(), abs=OBJECTIVE)


def test_a_larger_radius_never_improves_the_objective() -> None:
    metric = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    for seed in range(4):
        made = random_question(seed)
        for kind in (Contamination, ModifiedChiSquared, lambda radius: Wasserstein(radius, metric)):
            values = [made.with_ambiguity(kind(radius)).optimum() for radius in (0.0, 0.1, 0.4, 1.0)]
            assert (np.diff(values) >= -5e-8).all()


@pytest.mark.parametrize("kind", FURTHER)
def test_the_averaged_adversary_is_that_of_a_fine_walk(kind: str) -> None:
    for seed in range(5 if kind == "modified chi squared" else 25):
        draw = np.random.default_rng(seed)
        p, losses = draw.dirichlet(np.ones(5)), draw.normal(0, 0.2, (2, 5))
        ambiguity: Ambiguity = FURTHER[kind](draw, p, 0.3)
        found = path_average_adversary(losses[0], losses[1], ambiguity, p)
        steps = (np.arange(400) + 0.5) / 400
        walked = np.mean([ambiguity.adversary((1 - t) * losses[0] + t * losses[1], p) for t in steps], axis=0)
        change = ambiguity.worst_case(losses[1], p) - ambiguity.worst_case(losses[0], p)

        assert found @ (losses[1] - losses[0]) == pytest.approx(change, abs=1e-10)
        assert found.sum() == pytest.approx(1)
        assert found == pytest.approx(walked, abs=6e-3)
