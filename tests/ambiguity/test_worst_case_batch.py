"""The worst cases of many draws against the inner maximiser of one."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.ambiguity.balls import AnyProbabilities, Box, Contamination, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler, ModifiedChiSquared
from allocator.ambiguity.sets import Ambiguity
from allocator.ambiguity.transport import Wasserstein

SETS: list[Ambiguity] = [
    Singleton(),
    AnyProbabilities(),
    *(kind(radius) for kind in (TotalVariation, Box, Contamination) for radius in (0.0, 0.05, 0.3, 1.0)),
    *(KullbackLeibler(radius) for radius in (0.0, 1e-5, 0.02, 0.4, 3.0, 40.0)),
    ModifiedChiSquared(0.1),
    Wasserstein(0.2, np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))),
]


@pytest.mark.parametrize("ambiguity", SETS, ids=str)
def test_the_worst_case_of_each_draw_is_that_of_the_draw_alone(ambiguity: Ambiguity) -> None:
    draw = np.random.default_rng(6)
    losses, beliefs = draw.normal(0.0, 0.2, (60, 4)), draw.dirichlet(np.full(4, 0.7), 60)
    beliefs[0], beliefs[1], losses[2], losses[3, :2] = (0, 0.5, 0.5, 0), (1, 0, 0, 0), 0.1, 0.3
    alone = [ambiguity.worst_case(loss, belief) for loss, belief in zip(losses, beliefs, strict=True)]

    assert ambiguity.worst_cases(losses, beliefs) == pytest.approx(alone, abs=1e-12)
