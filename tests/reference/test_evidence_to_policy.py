"""Science §3.9, T12: evidence that settles the question leads the one-step robust policy to that answer's optimum.

Eight names of §1.5 over 15 months, half of the belief on either answer and .6 on Jevons at the start, two labs of
§2.2; log utility, no name above .6, total variation within .5·(1 − the likelier answer). Ours are the returns, the
beliefs and the dual form of the worst case; the policy is solved here.
"""

from __future__ import annotations

import functools

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.outlook.efficiency_model import market_quantities, scenario_returns, value_multipliers
from allocator.outlook.question import DisclosureModel, silence_probability
from allocator.types import Matrix, Vector
from tests.outlook.test_efficiency_model import NAMES, NOTE, WORLDS

CAP, CAUTION, JEVONS = 0.6, 0.5, 0.6
LAB = DisclosureModel(disclosure=0.85, hazard=0.136, background=0.008)


@functools.cache
def returns() -> Matrix:
    """(K, N) market-anchored over 15 months, with the market at .5 and .55."""
    p = np.array([0.275, 0.225, 0.275, 0.225])
    values = value_multipliers(market_quantities(WORLDS, NOTE, 1.25), NAMES, NOTE)
    return scenario_returns(values, NAMES, p @ values, 1.25)


def policy(generalizable: float, caution: float = CAUTION) -> Vector:
    """(N,) weights of the robust log-optimal policy at a belief."""
    g = generalizable
    p = np.array([g * JEVONS, g * (1 - JEVONS), (1 - g) * JEVONS, (1 - g) * (1 - JEVONS)])
    radius = caution * (1 - max(g, 1 - g))
    ambiguity = TotalVariation(radius) if radius > 0 else Singleton()
    weights, losses = cp.Variable(returns().shape[1], nonneg=True), cp.Variable(4)
    worst = ambiguity.dual_form(losses, p)
    worst.write(ambiguity, p)
    rules = [losses >= -cp.log(1 + returns() @ weights), cp.sum(weights) == 1, weights[:-1] <= CAP]
    cp.Problem(cp.Minimize(worst.expression), rules + worst.constraints).solve(solver="CLARABEL")
    return np.asarray(weights.value)


def distance(generalizable: float, answer: float) -> float:
    """L1 distance of the policy from the certain answer's optimum."""
    return float(np.abs(policy(generalizable) - policy(answer, 0.0)).sum())


@pytest.mark.parametrize(("months", "printed"), [(0, 2.0), (3, 2.0), (6, 1.35), (12, 0.0)])
def test_silence_leads_the_policy_to_the_proprietary_optimum_as_printed(months: float, printed: float) -> None:
    likelihood = float(silence_probability(LAB, months)) ** 2

    assert distance(0.5 * likelihood / (0.5 * likelihood + 0.5), 0.0) == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize(("belief", "printed"), [(0.95, 0.068), (0.99, 0.066), (0.999, 0.007), (1.0, 0.0)])
def test_evidence_for_the_technique_leads_the_policy_to_its_optimum_as_printed(belief: float, printed: float) -> None:
    assert distance(belief, 1.0) == pytest.approx(printed, abs=0.001)
