"""Pushforward of a set of scenario probabilities by the news: what it allows for the branches away from a node.

Experts, transport and stated limits speak of scenarios. A branch m of a node comes with probability P(m | k) in
scenario k, so probabilities q of the scenarios make Σ_k q_k·P(m | k) of the branches, and an adverse expectation over
branches is one over scenarios whose losses are what the branches bring in each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.ambiguity.polyhedral import ExpertHull, Polytope, Wasserstein
from allocator.ambiguity.sets import Ambiguity
from allocator.types import Matrix, Vector


@dataclass(frozen=True, eq=False)
class Pushforward:
    """The set `over` around `beliefs` (K,), pushed forward by `likelihoods` (K, M) of a node's M children."""

    over: Ambiguity
    likelihoods: Matrix
    beliefs: Vector

    @property
    def radius(self) -> float:
        """That of the set; 0 where it has none."""
        return float(getattr(self.over, "radius", 0.0))

    def adversary(self, losses: Vector, probabilities: Vector) -> Vector:
        """(M,) the adverse probabilities of the children, made by the adverse ones of the scenarios."""
        del probabilities
        result: Vector = self.over.adversary(self.likelihoods @ losses, self.beliefs) @ self.likelihoods
        return result


def scenario_set(ambiguity: Ambiguity | Pushforward) -> Ambiguity:
    """The set of scenario probabilities itself: where there is one decision, nothing is pushed forward."""
    return ambiguity.over if isinstance(ambiguity, Pushforward) else ambiguity


def is_about_scenarios(ambiguity: Ambiguity) -> bool:
    """Whether it is about scenarios by name, so that over anything else it is pushed forward by news."""
    return isinstance(ambiguity, ExpertHull | Polytope | Wasserstein)


def pushforward(over: Ambiguity, beliefs: Vector, children: Vector, child_beliefs: Matrix) -> Pushforward:
    """`over` at a node of `beliefs` (K,) whose M children have probabilities (M,) and beliefs (M, K): by Bayes,
    P(m | k) = P(m)·belief_m(k) / belief(k).
    """
    joint = children[:, None] * child_beliefs
    possible = beliefs > 0
    likelihoods = np.where(possible, joint / np.where(possible, beliefs, 1.0), children[:, None]).T
    return Pushforward(over, likelihoods / likelihoods.sum(axis=1, keepdims=True), beliefs)
