"""Objectives whose figure is a risk-adjusted return: CVaR, the variance of the mixture of scenarios, and regret.

None of them is an expectation of losses that a leaf knows alone: a common threshold, a common centre or the best that
hindsight allows ties the leaves together, so re-optimising by them would contradict what was planned (science §3.12).
CVaR can be nested, and then does not; regret is asked of a whole tree at its leaves, which is not time-consistent, and
said so; mixture variance is for one decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.multistage.objectives import (
    DrawnTail,
    LinearUtility,
    Objective,
    ObjectiveRows,
    ObjectiveWords,
    ScenarioStep,
    StepValue,
    TreeVariables,
)
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import ReviewTree
from allocator.types import DeferredModule, Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp
else:
    cp = DeferredModule("cvxpy")

# One number that all outcomes share, a centre or a quantile: the best of it, against the adversary.
#
# min over the number of sup over the probabilities: convex in the one and linear in the other, so that the zero of the
# slope gives it with the inner maximisers of the sets alone. Nothing here solves.
#
_NEAR = 1e-15
"""How near the common number is to the best, relative to 1 or to itself."""


def minimise_worst_case(
    at: Callable[[float], tuple[Vector, Vector]], low: float, high: float, ambiguity: Ambiguity, p: Vector
) -> StepValue:
    """min over x in [low, high] of sup_q q'losses(x), `at` giving losses and slopes (L,).

    Where the adversary jumps from one corner to another, the mean of both that makes the slope vanish is his choice
    at the saddle: the set is convex.
    """
    from scipy.optimize import bisect

    def slope(x: float) -> tuple[float, Vector]:
        losses, slopes = at(x)
        q = ambiguity.adversary(losses, p)
        return float(q @ slopes), q

    best = low
    if slope(low)[0] < 0:
        best = high if slope(high)[0] <= 0 else bisect(lambda x: slope(x)[0], low, high, xtol=_NEAR, rtol=_NEAR)
    step = 4 * _NEAR * max(1.0, abs(best))
    (falls, before), (rises, after) = slope(max(best - step, low)), slope(min(best + step, high))
    part = min(max(rises / (rises - falls), 0.0), 1.0) if rises > falls else 0.0
    losses, q = at(best)[0], part * before + (1 - part) * after
    worst = ambiguity.adversary(losses, p)
    return StepValue(float(worst @ losses), losses, q, q)


_SEED = 20261120
"""Of the draws: the same inputs give the same draws, hence the same plan."""


@dataclass(frozen=True, eq=False)
class MeanCVaR(Objective):
    """(1 − weight)·expected loss + weight·CVaR at `level`, in wealth: homogeneous, so that scale changes nothing.

    At a node the loss ahead is a random number, the value of the branch that comes or, of a leaf, its loss on a draw.
    The node's value is min_t sup_q Σ q_m ((1 − weight)·ℓ_m + weight·(t + mean(ℓ_m − t)₊ / (1 − level))), after
    Rockafellar and Uryasev (2000, eq. 4); swapping min and sup is valid (science §3.5). Nested it is time-consistent,
    and another number than the CVaR of the end: a bad branch of a bad branch counts at both.

    The expected loss of a leaf is of its scenario's own mean, so that it has no error of the draws. `growth` (L, S, N)
    are values at the end per unit held, by leaf and draw; `cash_growth` (L,).
    """

    level: float
    weight: float
    growth: NDArray[np.float64]
    cash_growth: Vector

    name: ClassVar[str] = "mean_cvar"
    is_large: ClassVar[bool] = True

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> MeanCVaR:
        """On draws from the last decision on: what happens within a scenario before it is not in the tree."""
        wanted, tree = book.settings.mandate, reviews.tree
        drawn = [
            simulated_values(reviews.outlooks[node], wanted.draws, tree.leaf_scenarios[tree.leaf_parents == node])
            for node in dict.fromkeys(tree.leaf_parents.tolist())
        ]
        return cls(wanted.cvar_level, wanted.cvar_weight, np.concatenate(drawn), tree.leaf_cash_growth)

    def rows(self, v: TreeVariables) -> ObjectiveRows:
        """Excesses over a threshold a node: of a leaf's draws in its loss, of a branch in what stands ahead."""
        plain = super().rows(v)
        if self.weight == 0:  # nothing would hold the thresholds
            return plain
        thresholds = cp.Variable(v.tree.nodes, name="thresholds")
        losses, of_draws = self._leaf_rows(v, thresholds)
        ahead, of_branches = self._branch_rows(v, thresholds)
        return replace(plain, losses=losses, ahead=ahead, constraints=[of_draws, *of_branches])

    def _leaf_rows(self, v: TreeVariables, thresholds: cp.Variable) -> tuple[cp.Expression, cp.Constraint]:
        leaves, draws, names = self.growth.shape
        excess = cp.Variable(leaves * draws, nonneg=True, name="excess")
        parents = np.repeat(v.tree.leaf_parents, draws)
        columns = (parents[:, None] * names + np.arange(names)).ravel()
        begins = np.arange(leaves * draws + 1) * names
        grown = sp.csr_array((self.growth.ravel(), columns, begins), shape=(leaves * draws, v.tree.nodes * names))
        drawn = 1 - grown @ v.holdings - cp.multiply(np.repeat(self.cash_growth, draws), v.cash[parents])
        mean = sp.csr_array(sp.kron(sp.eye_array(leaves), np.full((1, draws), 1 / draws)))
        shortfall = thresholds[v.tree.leaf_parents] + (mean @ excess) / (1 - self.level)
        return (1 - self.weight) * (1 - v.wealth_at_end) + self.weight * shortfall, excess >= drawn - thresholds[
            parents
        ]

    def _branch_rows(self, v: TreeVariables, thresholds: cp.Variable) -> tuple[cp.Expression, list[cp.Constraint]]:
        nodes = v.tree.nodes
        if nodes == 1:
            return v.theta, []
        here, own = v.theta[1:nodes], thresholds[v.tree.parents[1:]]
        excess = cp.Variable(nodes - 1, nonneg=True, name="excess of a branch")
        value = (1 - self.weight) * here + self.weight * (own + excess / (1 - self.level))
        return cp.hstack([v.theta[:1], value, v.theta[nodes:]]), [excess >= here - own]

    def drawn_losses(self, plain: Vector, holdings: Matrix, cash: Vector) -> Matrix:
        """On the draws."""
        del plain
        ends = np.einsum("lsn,ln->ls", self.growth, holdings)
        result: Matrix = 1 - ends - (self.cash_growth * cash)[:, None]
        return result

    def worst(self, step: ScenarioStep, ambiguity: Ambiguity, p: Vector) -> StepValue:
        """At the best threshold."""
        plain, tail = (1 - self.weight) * step.plain, 1 / (1 - self.level)

        def at(threshold: float) -> tuple[Vector, Vector]:
            above = np.maximum(step.drawn - threshold, 0.0).mean(axis=1)
            slopes = self.weight * (1 - tail * (step.drawn > threshold).mean(axis=1))
            return plain + self.weight * (threshold + tail * above), slopes

        value = minimise_worst_case(at, float(step.drawn.min()) - 1e-9, float(step.drawn.max()), ambiguity, p)
        return replace(value, counted=self._counted(step.drawn, value.adversary))

    def _counted(self, drawn: Matrix, q: Vector) -> Vector:
        """(M,) how much each branch's loss counts under probabilities `q`: its part of the mean and of the tail."""
        draws = drawn.shape[1]
        owner, each = np.repeat(np.arange(len(q)), draws), np.repeat(q / draws, draws) / (1 - self.level)
        order = np.argsort(-drawn.ravel(), kind="stable")
        before = np.concatenate([[0.0], np.cumsum(each[order])[:-1]])
        taken = np.clip(1 - before, 0.0, each[order])
        tail = np.bincount(owner[order], taken, minlength=len(q))
        result: Vector = (1 - self.weight) * q + self.weight * tail
        return result

    def restated(self, leaves: Sequence[int], account: float = 1.0) -> MeanCVaR:
        """On the draws of those leaves."""
        del account
        return replace(self, growth=self.growth[list(leaves)], cash_growth=self.cash_growth[list(leaves)])

    def with_tail(self, weight: float) -> MeanCVaR:
        """At that weight."""
        return replace(self, weight=weight)

    @property
    def tail(self) -> DrawnTail | None:
        """Its own, where it counts."""
        return DrawnTail(self.level, self.weight, self.growth, self.cash_growth) if self.weight > 0 else None

    @property
    def charges_risk(self) -> bool:
        """Its tail on draws does."""
        return self.weight > 0

    def of_means(self) -> LinearUtility:
        """What brings its mean has no tail."""
        return LinearUtility()

    @property
    def counts_everything(self) -> bool:
        """Not where the tail alone counts."""
        return self.weight < 1

    def words(self, *, reviewed: bool) -> ObjectiveWords:
        """The weights of mean and tail; nested where there are reviews."""
        parts = f"{1 - self.weight:.4g} x expected loss + {self.weight:g} x CVaR at {self.level:.4g}"
        draws = f"on {self.growth.shape[1]:,} draws a scenario"
        figure = "Risk-adjusted return: minus what is minimised."
        if not reviewed:
            return ObjectiveWords("mean and CVaR", f"minimises the largest over the set of {parts} {draws}", figure)
        return ObjectiveWords(
            "nested CVaR",
            f"minimises nested CVaR: at every node the largest over the set of {parts} of what is ahead, at the end "
            f"{draws}",
            f"{figure} The risk within a scenario counts from the last decision on.",
        )


def simulated_values(outlook: Outlook, draws: int, scenarios: NDArray[np.int64]) -> NDArray[np.float64]:
    """(L, S, N) values at the end per unit held: normal around the mean of each leaf's scenario with the covariance
    within it, and never below nothing.

    Antithetic: each draw comes with its mirror image, so that S is even and the means are exact but for the floor. All
    scenarios share the draws, so that an adversary cannot choose one for its luck.
    """
    rng, risk = np.random.default_rng(_SEED), outlook.risk
    names, factors = risk.loadings.shape
    half = rng.standard_normal((draws // 2, factors + names))
    moves = half[:, :factors] @ risk.loadings.T + half[:, factors:] * np.sqrt(risk.specific)
    grown = 1 + outlook.returns[scenarios][:, None, :] + np.concatenate([moves, -moves])
    values: NDArray[np.float64] = np.maximum(grown, 0.0, out=grown)
    return values


@dataclass(frozen=True, eq=False)
class MixtureVariance(Objective):
    """−return + γ·variance of the mixture of scenarios: within each one and between them (science §3.4).

    The variance under probabilities q is min_c Σ q_k (h'Ωh + (r_k − c)²), hence the adverse expectation is
    min_c sup_q Σ q_k (−r_k + γ(h'Ωh + (r_k − c)²)), over the horizon.
    """

    aversion: float

    name: ClassVar[str] = "mixture_variance"

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> MixtureVariance:
        """With the book's aversion to risk."""
        del reviews
        return cls(book.settings.mandate.risk_aversion)

    @property
    def charges_risk(self) -> bool:
        """With an aversion to it."""
        return self.aversion > 0

    def rows(self, v: TreeVariables) -> ObjectiveRows:
        """One centre, and one variance within scenarios."""
        plain = super().rows(v)
        if self.aversion == 0:  # the centre would be free, and a solver has nothing to choose it by
            return plain
        within, centre = cp.Variable(name="variance within"), cp.Variable(name="centre")
        parts = v.outlooks[0].risk.parts_expression(v.holdings)
        losses = plain.losses + self.aversion * (within + cp.square(v.wealth_at_end - 1 - centre))
        return replace(plain, losses=losses, constraints=[within >= cp.sum_squares(parts)])

    def worst(self, step: ScenarioStep, ambiguity: Ambiguity, p: Vector) -> StepValue:
        """At the best centre."""
        gains, within = -step.plain, step.outlook.risk.variance(step.holdings)

        def at(centre: float) -> tuple[Vector, Vector]:
            away = gains - centre
            return -gains + self.aversion * (within + away**2), -2 * self.aversion * away

        return minimise_worst_case(at, float(gains.min()), float(gains.max()), ambiguity, p)

    def words(self, *, reviewed: bool) -> ObjectiveWords:
        """The return and what it is reduced by."""
        del reviewed
        variance = f"{self.aversion:g} x variance within and between scenarios"
        aim = f"maximises the adverse expected return less {variance}"
        return ObjectiveWords("mean and mixture variance", aim, "Risk-adjusted return: minus what is minimised.")


@dataclass(frozen=True, eq=False)
class Regret(Objective):
    """What the best portfolio of each scenario would have earned more there: v_k − r_k (science §3.6).

    `best` (L,) are the v_k, the highest returns that the rules allow on the path to each leaf from today's holdings;
    empty until they have been solved for. At the largest radius this is Savage's (1951) minimax regret.
    """

    best: Vector = field(default_factory=lambda: np.zeros(0))

    name: ClassVar[str] = "regret"
    over_leaves: ClassVar[bool] = True

    def loss(self, wealth: Vector) -> Vector:
        """v − r."""
        result: Vector = self.best + 1 - wealth
        return result

    def expression(self, wealth: cp.Expression) -> cp.Expression:
        """v − r."""
        return 1 - wealth + self.best

    def restated(self, leaves: Sequence[int], account: float = 1.0) -> Regret:
        """What hindsight makes of today's account, in the node's."""
        return Regret(((self.best + 1) / account - 1)[list(leaves)]) if len(self.best) else self

    def with_hindsight(self, best: Callable[[], Vector]) -> Regret:
        """Against them."""
        return Regret(best())

    def words(self, *, reviewed: bool) -> ObjectiveWords:
        """Against whom; that it is not time-consistent where there are reviews."""
        if reviewed:
            whose = "at the leaves: what who had known path and scenario would have earned more"
            return ObjectiveWords("regret at the leaves: not time-consistent", f"minimises the largest regret {whose}")
        whose = "what the best portfolio of each scenario would have earned more"
        return ObjectiveWords("regret", f"minimises the largest regret: {whose}")
