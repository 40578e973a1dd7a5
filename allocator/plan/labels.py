"""What an objective is called on a tree, where it is not what its one-decision name says."""

from __future__ import annotations

from allocator.mandate.one_decision import ExAnteRegret, MixtureVariance, Regret
from allocator.mandate.staged import Staged
from allocator.mandate.tail import MeanCVaR
from allocator.mandate.utility import Linear, Log, PowerUtility

_NAMES = {
    Linear: "expected wealth",
    Log: "log utility",
    PowerUtility: "power utility",
    MixtureVariance: "mean and mixture variance",
    ExAnteRegret: "regret of not knowing the probabilities",
}


def label_of(staged: Staged) -> str:
    """The objective's name; one that is not time-consistent says so."""
    if isinstance(staged.utility, MeanCVaR):
        return "nested CVaR" if staged.tree.nodes > 1 else "mean and CVaR"
    if isinstance(staged.utility, Regret):
        return "regret at the leaves: not time-consistent" if staged.at_leaves else "regret"
    return _NAMES.get(type(staged.utility), "goals")
