"""Objectives that the tree solves, one frozen class each with all its verbs: what is common to them, and utilities.

An objective says in one place what a leaf loses (as rows of a program and, for the check, from the formula), what a
node makes of the losses ahead of it, what its figure is as a return, how it is restated in the account of a later
node, and what people read of it. The others, which have a measure of risk of their own, are in `risk_adjustment.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.outlook.outlook import Outlook
from allocator.outlook.scenario_tree import ReviewTree, ScenarioTree
from allocator.types import DeferredModule, Matrix, Vector

if TYPE_CHECKING:
    import cvxpy as cp
else:
    cp = DeferredModule("cvxpy")

OUTSIDE = "The risk within a scenario is in rules alone, not in this objective."
CHARGED = "The risk within a scenario is charged from each decision to the next: {:g} x its variance."


class ObjectiveWords(NamedTuple):
    """What people read: its name, what a plan does by it, and what the compared figure is."""

    label: str
    aim: str
    meaning: str = f"Risk-adjusted return: minus what is minimised. {OUTSIDE}"


class UtilityProof(TypedDict):
    """The formula by name, and its number."""

    utility: str
    relative_risk_aversion: float | None


@dataclass(frozen=True, eq=False)
class TreeVariables:
    """What every row of a tree's program speaks of: (D·N,) `holdings` after trades, `buys`, `sells`; (D,) `cash` and
    `wealth` after trades, `wealth_before`; (L,) `wealth_at_end`; the values `theta` (D + L,) of nodes and leaves.
    `steps` (D,) are `ScenarioStep.part`. Wealth at the end is less what the objective charges for risk on the way.
    """

    tree: ScenarioTree
    outlooks: Sequence[Outlook]
    steps: Vector
    holdings: cp.Variable
    cash: cp.Variable
    buys: cp.Expression
    sells: cp.Expression
    wealth: cp.Variable
    wealth_before: cp.Variable
    wealth_at_end: cp.Variable
    theta: cp.Variable

    def of(self, node: int) -> tuple[cp.Expression, cp.Expression]:
        """Holdings (N,) and wealth of one node."""
        names = self.tree.growth.shape[1]
        return self.holdings[node * names : (node + 1) * names], self.wealth[node]


@dataclass(frozen=True, eq=False)
class ObjectiveRows:
    """(L,) `losses` of leaves; (D + L,) what stands `ahead`, of which nodes take adverse expectations; (D,) what a node
    is charged beside that; and the constraints of all three.

    Losses and `ahead` are nondecreasing in θ and in wealth lost, so that duals are the adversary (science §3.1).
    """

    losses: cp.Expression
    ahead: cp.Expression
    charges: cp.Expression | Vector
    constraints: list[cp.Constraint] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ScenarioStep:
    """What may come next at a node: (M,) losses `plain` of its mean, and (M, S) on draws, of which a branch has one.

    `holdings` (N,) are carried there, `outlook` is the node's, and `part` of the years to its end pass until then.
    """

    plain: Vector
    drawn: Matrix
    holdings: Vector
    outlook: Outlook
    part: float


@dataclass(frozen=True, eq=False)
class StepValue:
    """What a node makes of its step: its own adverse loss, the (M,) losses that enter it, the (M,) adversary's
    probabilities, and how much each loss counts: the same, but that a tail counts more.
    """

    loss: float
    losses: Vector
    adversary: Vector
    counted: Vector


class DrawnTail(NamedTuple):
    """`weight` times the mean loss beyond the quantile at `level` of what is drawn: values at the end per unit held
    (L, S, N) by leaf and draw, those of cash (L,).
    """

    level: float
    weight: float
    growth: NDArray[np.float64]
    cash_growth: Vector


@dataclass(frozen=True, eq=False)
class Objective:
    """What the final wealth is worth, today's account being 1: minimised is the nested adverse expectation of `loss`.

    `over_leaves`: with reviews there is one adverse expectation over all leaves, which is not time-consistent. A
    program that `is_large` is not kept for another question. What `is_proved` a stranger can recompute.

    `path_aversion` γ: wealth at the end counts as W·exp(−Σ γ/2·Δσ²), the sum over the decisions on the path, each with
    the variance of its holdings until the next (`PathWealth` in `mandate.py`).
    """

    name: ClassVar[str] = ""
    measure: ClassVar[str] = "risk-adjusted return"
    over_leaves: ClassVar[bool] = False
    is_large: ClassVar[bool] = False
    is_proved: ClassVar[bool] = False

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> Self:
        """As `[mandate]` states it."""
        del book, reviews
        return cls()

    def with_tail(self, weight: float) -> Objective | None:
        """The same with its tail at another weight, on the same draws; None where it has none."""
        del weight
        return None

    def loss(self, wealth: Vector) -> Vector:
        """(L,) of final wealth."""
        result: Vector = 1 - wealth
        return result

    def expression(self, wealth: cp.Expression) -> cp.Expression:
        """(L,) the same in a program."""
        return 1 - wealth

    def rows(self, v: TreeVariables) -> ObjectiveRows:
        """Its rows in a program."""
        return ObjectiveRows(self.expression(v.wealth_at_end), v.theta, np.zeros(v.tree.nodes))

    def leaf_losses(self, values: Matrix, cash: Vector) -> Vector:
        """(L,) losses of leaves that end with `values` (L, N) in each name and `cash` (L,)."""
        return self.loss(values.sum(axis=1) + cash)

    def drawn_losses(self, plain: Vector, holdings: Matrix, cash: Vector) -> Matrix:
        """(L, S) losses on draws of leaves that come from `holdings` (L, N) and `cash` (L,), and lose `plain` (L,)."""
        del holdings, cash
        return plain[:, None]

    def worst(self, step: ScenarioStep, ambiguity: Ambiguity, p: Vector) -> StepValue:
        """A node's value from the formulas, under the set around `p` (M,): the adverse mean of what is ahead."""
        q = ambiguity.adversary(step.plain, p) if np.isfinite(step.plain).all() else p
        return StepValue(float(q[q > 0] @ step.plain[q > 0]), step.plain, q, q)

    def equivalent(self, loss: float) -> float:
        """Its figure as a return: minus what is minimised."""
        return -loss

    def restated(self, leaves: Sequence[int], account: float = 1.0) -> Objective:
        """The same for some of the leaves, as one sees it whose account is worth so much of today's."""
        del leaves, account
        return self

    def of_means(self) -> Objective:
        """The same where every name brings its mean."""
        return self

    def with_hindsight(self, best: Callable[[], Vector]) -> Objective:
        """The same, measured against `best` (L,), the highest returns on the path to each leaf, if it asks for them."""
        del best
        return self

    @property
    def tail(self) -> DrawnTail | None:
        """What it makes of a tail of draws; None where it looks at none."""
        return None

    @property
    def counts_everything(self) -> bool:
        """Whether each outcome counts that the adversary leaves a probability."""
        return True

    @property
    def path_aversion(self) -> float:
        """γ of what is charged for the risk within a scenario along the path; 0 where that is nothing."""
        return 0.0

    @property
    def charges_risk(self) -> bool:
        """Whether the risk within a scenario costs anything by it."""
        return self.path_aversion > 0

    def charge(self, part: float) -> float:
        """What a unit of volatility to the horizon costs a node at which `part` of the years pass."""
        del part
        return 0.0

    def proof(self) -> UtilityProof | None:
        """How `docs/verify_policy.py` is told of it; None where it cannot recompute it."""
        return None

    def words(self, *, reviewed: bool) -> ObjectiveWords:
        """What people read of it, on a tree that is `reviewed` or for one decision."""
        del reviewed
        label = self.name.replace("_", " ")
        return ObjectiveWords(label, f"minimises {label} under adverse probabilities")


# What wealth at the end is worth: a convex, nonincreasing loss of the wealth that a leaf ends with.
#


@dataclass(frozen=True)
class Utility(Objective):
    """Its figure is the certainty equivalent, a riskless return that is as good: plans under different utilities
    compare.
    """

    measure: ClassVar[str] = "certainty equivalent"
    is_proved: ClassVar[bool] = True
    label: ClassVar[str]
    expected: ClassVar[str] = "final wealth"

    def proof(self) -> UtilityProof | None:
        """Its name, by which the formula is known."""
        return {"utility": self.name, "relative_risk_aversion": None}

    def words(self, *, reviewed: bool) -> ObjectiveWords:
        """What is expected, under which probabilities."""
        del reviewed
        aim = f"maximises the expected {self.expected} under adverse probabilities"
        within = CHARGED.format(self.path_aversion / 2) if self.path_aversion else OUTSIDE
        return ObjectiveWords(self.label, aim, f"Compared is the certainty equivalent. {within}")


@dataclass(frozen=True)
class LinearUtility(Utility):
    """Wealth itself: loss 1 − W, the return with its sign turned.

    `risk_charge` κ adds κ·√(part of the years to the horizon that the step takes)·‖L'h‖ to a node's loss: under any
    other utility it would change with the account's size.
    """

    risk_charge: float = 0.0

    name: ClassVar[str] = "return"
    label: ClassVar[str] = "expected wealth"

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> LinearUtility:
        """With the charge of `step_risk`."""
        del reviews
        return cls(book.settings.mandate.step_risk)

    @property
    def charges_risk(self) -> bool:
        """Where it states a charge."""
        return self.risk_charge > 0

    def charge(self, part: float) -> float:
        """κ·√part, for a risk that is stated to the horizon."""
        return self.risk_charge * float(np.sqrt(part))

    def rows(self, v: TreeVariables) -> ObjectiveRows:
        """A cone a node for what it is charged."""
        plain = super().rows(v)
        if self.risk_charge == 0:
            return plain
        charges = cp.Variable(v.tree.nodes, nonneg=True, name="charges")
        for node, (outlook, part) in enumerate(zip(v.outlooks, v.steps, strict=True)):
            parts = outlook.risk.parts_expression(v.of(node)[0])
            plain.constraints.append(cp.SOC(charges[node], self.charge(part) * parts))
        return replace(plain, charges=charges)

    def worst(self, step: ScenarioStep, ambiguity: Ambiguity, p: Vector) -> StepValue:
        """The adverse mean, and the charge."""
        value = super().worst(step, ambiguity, p)
        charged = self.charge(step.part) * np.sqrt(step.outlook.risk.variance(step.holdings))
        return replace(value, loss=value.loss + float(charged))


def _is_charged(book: Book, reviews: ReviewTree) -> bool:
    return book.settings.mandate.charge_risk and bool(reviews.outlooks[0].risk.variances.any())


@dataclass(frozen=True)
class LogUtility(Utility):
    """Logarithmic utility: loss −ln W, infinite where nothing is left; relative risk aversion 1."""

    charged: bool = False

    name: ClassVar[str] = "log"
    label: ClassVar[str] = "log utility"
    expected: ClassVar[str] = "log of the final wealth"

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> LogUtility:
        """With a charge for risk, where the book does not leave it out and there is any."""
        return cls(charged=_is_charged(book, reviews))

    @property
    def path_aversion(self) -> float:
        """1."""
        return 1.0 if self.charged else 0.0

    def loss(self, wealth: Vector) -> Vector:
        """−ln W."""
        with np.errstate(divide="ignore"):
            result: Vector = np.where(wealth > 0, -np.log(np.maximum(wealth, 0.0)), np.inf)
        return result

    def expression(self, wealth: cp.Expression) -> cp.Expression:
        """An exponential cone a leaf."""
        return -cp.log(wealth)

    def equivalent(self, loss: float) -> float:
        """e^−loss − 1."""
        return float(np.expm1(-loss))


@dataclass(frozen=True)
class PowerUtility(Utility):
    """Constant relative risk aversion γ > 0, γ ≠ 1: loss (W^(1−γ) − 1) / (γ − 1), infinite without wealth if γ > 1."""

    aversion: float
    charged: bool = False

    name: ClassVar[str] = "crra"
    label: ClassVar[str] = "power utility"

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> PowerUtility:
        """With the book's aversion, which was checked when it was loaded, and a charge for risk as of a log."""
        return cls(float(book.settings.mandate.relative_risk_aversion or 0.0), _is_charged(book, reviews))

    @property
    def path_aversion(self) -> float:
        """γ."""
        return self.aversion if self.charged else 0.0

    def loss(self, wealth: Vector) -> Vector:
        """(W^(1−γ) − 1) / (γ − 1)."""
        with np.errstate(divide="ignore"):
            powers = np.maximum(wealth, 0.0) ** (1 - self.aversion)
        result: Vector = (powers - 1) / (self.aversion - 1)
        return result

    def expression(self, wealth: cp.Expression) -> cp.Expression:
        """A power cone a leaf."""
        return (cp.power(wealth, 1 - self.aversion) - 1) / (self.aversion - 1)

    def equivalent(self, loss: float) -> float:
        """(1 + (γ − 1)·loss)^(1 / (1 − γ)) − 1."""
        return float((1 + (self.aversion - 1) * loss) ** (1 / (1 - self.aversion)) - 1)

    def proof(self) -> UtilityProof | None:
        """Its name and aversion."""
        return {"utility": self.name, "relative_risk_aversion": self.aversion}

    def words(self, *, reviewed: bool) -> ObjectiveWords:
        """With the aversion."""
        words = super().words(reviewed=reviewed)
        return words._replace(aim=f"{words.aim} at relative risk aversion {self.aversion:g}")
