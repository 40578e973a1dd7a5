"""What regret is measured against: the most that the rules allow in each scenario, or under given probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.ambiguity.pushforward import of_scenarios
from allocator.ambiguity.sets import Known
from allocator.mandate.one_decision import ExAnteRegret, Regret, corners_of
from allocator.mandate.staged import Staged
from allocator.mandate.utility import Linear
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits
from allocator.program.alternatives import foreseen
from allocator.program.decisions import policy_of
from allocator.types import Vector


def with_hindsight(staged: Staged, start: Start, limits: Limits | None = None) -> Staged:
    """The same question, its regret measured against what is best over the same rules; others as they are.

    After the fact that is the best policy of who knew path and scenario from the start, trading at every review.

    Raises:
        Infeasible: the rules cannot hold together.
        NotSolved: no solver's answer passes the checks.
    """
    utility = staged.utility
    if isinstance(utility, Regret):
        plain = replace(staged, utility=Linear(), risk_charge=0.0)
        hindsight = [-foreseen(plain, leaf, start, limits) for leaf in range(staged.tree.leaves)]
        return replace(staged, utility=Regret(np.array(hindsight)))
    if isinstance(utility, ExAnteRegret):
        p = staged.tree.child_probabilities(0)
        corners = corners_of(of_scenarios(staged.ambiguities[0]), p)
        best = np.array([best_under(staged, start, q, limits) for q in corners])
        return replace(staged, utility=ExAnteRegret(corners, best, best_under(staged, start, p, limits)))
    return staged


def best_under(staged: Staged, start: Start, q: Vector, limits: Limits | None = None) -> float:
    """v(q): the highest expected return, after costs, over the rules of one decision, `q` (L,) being known."""
    known = replace(
        staged, tree=replace(staged.tree, leaf_probabilities=q), utility=Linear(), ambiguities=(Known(),), risk_charge=0
    )
    return policy_of(known, start, limits).equivalent
