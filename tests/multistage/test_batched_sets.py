"""Many nodes' dual forms in one block say what each node's own form says."""

from __future__ import annotations

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.multistage import solve as solving
from allocator.multistage.mandate import MultistageMandate, NestedWorstCase
from allocator.multistage.program import nested_worst_cases
from allocator.multistage.solve import solve_policy
from tests.agreement import OBJECTIVE
from tests.random_trees import random_tree
from tests.thoroughness import some

SETS: dict[str, tuple[Ambiguity, ...]] = {
    "divergence": (KullbackLeibler(0.02), KullbackLeibler(0.2)),
    "variation": (TotalVariation(0.05), TotalVariation(0.3)),
    "both": (KullbackLeibler(0.1), TotalVariation(0.1)),
}


def guarded(staged: MultistageMandate, sets: tuple[Ambiguity, ...]) -> MultistageMandate:
    """The same tree with `sets` in turn."""
    return replace(staged, ambiguities=tuple(sets[node % len(sets)] for node in range(staged.tree.nodes)))


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("seed", some(range(20), 5))
def test_the_worst_cases_of_many_nodes_are_those_of_each(kind: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    counts = draw.integers(2, 6, size=6)
    ends = np.split(6 + np.arange(counts.sum()), np.cumsum(counts)[:-1])
    losses, theta = draw.normal(size=counts.sum()), cp.Variable(6 + counts.sum())
    nodes = []
    for node, children in enumerate(ends):
        p = draw.dirichlet(np.ones(len(children)))
        if node % 3 == 0:  # a child that the belief excludes
            p = np.append(0.0, p[1:] / p[1:].sum())
        nodes.append(NestedWorstCase(node, children, p, SETS[kind][node % 2]))
    every = [theta[6:] == losses]
    for class_ in {type(one.ambiguity) for one in nodes}:
        alike = [one for one in nodes if type(one.ambiguity) is class_]
        every += nested_worst_cases(alike, theta, theta, cp.Constant(np.zeros(6)))

    cp.Problem(cp.Minimize(cp.sum(theta[:6])), every).solve(solver="CLARABEL")

    for one in nodes:
        own = one.ambiguity.dual_form(cp.Constant(losses[one.at - 6]), one.p)
        alone = cp.Problem(cp.Minimize(own.expression), own.constraints).solve(solver="CLARABEL")
        assert theta.value[one.node] == pytest.approx(alone, abs=OBJECTIVE)


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("seed", some(range(6), 3))
def test_a_tree_s_policy_is_worth_the_same(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, start = random_tree(seed)
    asked = guarded(staged, SETS[kind])
    at_once = solve_policy(asked, start)
    for class_ in (KullbackLeibler, TotalVariation):  # every node then has its own worst case
        monkeypatch.setattr(class_, "batched", False)
    solving._of_thread.__dict__.clear()  # what was compiled at once is not asked again

    one_by_one = solve_policy(asked, start)

    assert at_once.objective == pytest.approx(one_by_one.objective, abs=OBJECTIVE)
    assert at_once.valued.losses[0] == pytest.approx(one_by_one.valued.losses[0], abs=OBJECTIVE)
