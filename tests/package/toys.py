"""One toy of each kind that `docs/contributing.md` says how to add: what is written, and where.

An edit puts `text` before the place in a `file` where `before` stands, once; a file without a place is a new one.
"""

from __future__ import annotations

from typing import NamedTuple


class Edit(NamedTuple):
    """Text that is added to a file of the checkout."""

    file: str
    before: str
    text: str


LINEAR_RULE = (
    Edit(
        "allocator/rules/trading.py",
        "@dataclass(frozen=True, eq=False)\nclass Participation(LinearRule):",
        '''@dataclass(frozen=True, eq=False)
class Purchases(OneLimit, LinearRule):
    """At most `limit` of the account is bought: Σb ≤ limit, of the value before trading."""

    limit: float
    tier: int = 0
    kind, words = "purchases", "purchases at most {limit}"

    def rows(self, instruments: int) -> RuleRows:
        """One row."""
        return self._rows(instruments, buys=np.ones((1, instruments)), limit=np.array([self.limit]))

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Money spent over the account's value before."""
        del outlook
        return self._measured(float(trade.bought.sum()) / trade.value_before)


''',
    ),
    Edit(
        "allocator/settings/mandate.py",
        "    max_participation: Positive | None = Field(",
        "    max_purchases: Fraction | None = None\n",
    ),
    Edit(
        "allocator/rules/builder.py",
        "    if wanted.max_participation is not None:\n",
        "    if wanted.max_purchases is not None:\n"
        '        yield Purchases(wanted.max_purchases, wanted.tiers.get("max_purchases", 0))\n',
    ),
    Edit(
        "allocator/rules/builder.py",
        "from allocator.settings.mandate import WeightRange\n",
        "from allocator.rules.trading import Purchases\n",
    ),
)
CONVEX_RULE = (
    Edit(
        "allocator/rules/convex.py",
        "@dataclass(frozen=True, eq=False)\nclass WorstCaseFloor(ConvexRule):",
        '''@dataclass(frozen=True, eq=False)
class Concentration(ConvexRule):
    """The weights' root of squares is at most `limit`: ‖h‖ ≤ limit·W. Directions u (N,) have length at most 1."""

    limit: float
    tier: int = 0
    kind, words = "concentration", "concentration at most {limit}"
    directions = UnitBall()

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """Of the weights after the trades."""
        del outlook
        return self._measured(float(np.linalg.norm(trade.weights)))

    def tangent(self, direction: Vector, outlook: Outlook) -> RuleRows:
        """u'h ≤ limit·W."""
        del outlook
        return self._rows(len(direction), holdings=sp.csr_array(direction[None, :]), wealth=np.array([self.limit]))

    def steepest(self, trade: Trade, outlook: Outlook) -> Vector:
        """The weights, at length 1."""
        del outlook
        return self.directions.steepest(trade.values)

    def numbers(self, outlook: Outlook, unit: float) -> Mapping[str, Any]:
        """The limit."""
        del outlook, unit
        return {"limit of concentration": self.limit}

    def cone(self, decision: DecisionVariables, outlook: Outlook, numbers: Mapping[str, Any]) -> RuleConstraints:
        """A second-order cone."""
        del outlook
        bound = numbers["limit of concentration"] * decision.wealth
        within = self.directions.above(bound, decision.holdings, "concentration")
        return RuleConstraints(within.constraints, within.read)


''',
    ),
    Edit(
        "allocator/settings/mandate.py",
        "    max_tracking_error: Positive | None = Field(",
        "    max_concentration: Positive | None = None\n",
    ),
    Edit(
        "allocator/rules/builder.py",
        "    if wanted.largest is not None and wanted.largest.max < 1:\n",
        "    if wanted.max_concentration is not None:\n"
        '        yield Concentration(wanted.max_concentration, tiers.get("max_concentration", 0))\n',
    ),
    Edit(
        "allocator/rules/builder.py",
        "from allocator.settings.mandate import WeightRange\n",
        "from allocator.rules.convex import Concentration\n",
    ),
)
AMBIGUITY_SET = (
    Edit(
        "allocator/ambiguity/capped.py",
        "",
        '''"""Probabilities that no scenario exceeds by much."""

import numpy as np

from allocator.ambiguity.balls import Ball


class Capped(Ball):
    """No probability is more than `radius` above the belief: {q ≥ 0, Σq = 1, q ≤ p + radius}."""

    name = "capped"

    def adversary(self, losses, probabilities):
        """The largest losses filled up first."""
        q, left = np.zeros(len(losses)), 1.0
        for k in np.argsort(-losses, kind="stable"):
            q[k] = min(probabilities[k] + self.radius, left)
            left -= q[k]
        return q

    def excess(self, q, probabilities):
        """max (q − p) − radius."""
        return float((q - probabilities).max() - self.radius)

    def dual_numbers(self, probabilities):
        """The caps."""
        return {"highest": np.minimum(probabilities + self.radius, 1.0)}

    def dual(self, losses, probabilities, given):
        """What lies above a level η at the highest probabilities, and the level."""
        import cvxpy as cp

        eta, above = cp.Variable(), cp.Variable(len(probabilities), nonneg=True)
        return eta + given[0] @ above, [above >= losses - eta]

    def members(self, q, probabilities, mass=1.0):
        """q ≤ p + radius."""
        return [q <= mass * (probabilities + self.radius)]

    def room_along(self, probabilities, ways, edge):
        """The radius over the largest rise of the way."""
        return self.radius / np.maximum(ways.max(axis=1), 1e-300)
''',
    ),
    Edit(
        "allocator/settings/uncertainty.py",
        '    "worst": AmbiguitySetting(',
        '    "capped": AmbiguitySetting("none more than radius above the belief", 1.0, scheduled=True),\n',
    ),
    Edit(
        "docs/verify_sets.py",
        '    if kind in ("kl", "modified_chi2") and rho >= 1e-6',
        '    if kind == "capped":\n'
        "        high = (p + rho)[up[::-1]]\n"
        "        return np.clip(1 - np.cumsum(high) + high, 0, high) @ x[up[::-1]]\n",
    ),
    Edit(
        "docs/verify_sets.py",
        "    return told and far.get(kind, abs(q - p).max()) <= rho + 1e-9",
        '    far["capped"] = max(q - p)\n',
    ),
)
OBJECTIVE = (
    Edit(
        "allocator/multistage/objectives.py",
        "@dataclass(frozen=True)\nclass PowerUtility(Utility):",
        '''@dataclass(frozen=True)
class ExponentialUtility(Utility):
    """Constant absolute risk aversion a at today's account: loss (e^{−a(W − 1)} − 1) / a."""

    aversion: float

    name: ClassVar[str] = "exponential"
    label: ClassVar[str] = "exponential utility"

    @classmethod
    def from_book(cls, book: Book, reviews: ReviewTree) -> ExponentialUtility:
        """With the book's aversion."""
        del reviews
        return cls(float(book.settings.mandate.relative_risk_aversion or 0.0))

    def loss(self, wealth: Vector) -> Vector:
        """(e^{−a(W − 1)} − 1) / a."""
        result: Vector = np.expm1(self.aversion * (1 - wealth)) / self.aversion
        return result

    def expression(self, wealth: cp.Expression) -> cp.Expression:
        """An exponential cone a leaf."""
        return (cp.exp(self.aversion * (1 - wealth)) - 1) / self.aversion

    def equivalent(self, loss: float) -> float:
        """−ln(1 + a·loss) / a."""
        return -float(np.log1p(self.aversion * loss)) / self.aversion

    def restated(self, leaves: Sequence[int], account: float = 1.0) -> Objective:
        """The same aversion, of an account of another size."""
        del leaves
        return replace(self, aversion=self.aversion * account)

    def proof(self) -> UtilityProof | None:
        """Its name and aversion."""
        return {"utility": self.name, "relative_risk_aversion": self.aversion}


''',
    ),
    Edit(
        "allocator/settings/mandate.py",
        '    "return": ObjectiveTraits(("step_risk",)),',
        '    "exponential": ObjectiveTraits(("relative_risk_aversion",)),\n',
    ),
    Edit(
        "docs/verify_policy.py",
        '        "crra": (\n',
        '        "exponential": (\n'
        "            lambda wealth: np.expm1(aversion * (1 - wealth)) / aversion,\n"
        "            lambda loss: -np.log1p(aversion * loss) / aversion,\n"
        "        ),\n",
    ),
)
DRIVER = (
    Edit(
        "allocator/outlook/efficiency_model.py",
        '    Driver("multiple", column=',
        '    Driver("power", column="power", scale=lambda m, power: np.exp(-m.scenarios.power_shortage * power)),\n',
    ),
    Edit(
        "allocator/outlook/efficiency_model.py",
        "    capacity: Vector\n\n\n@dataclass(frozen=True)\nclass Technique:",
        "    power_shortage: Vector\n",
    ),
    Edit(
        "allocator/outlook/efficiency_model.py",
        "    token_share: Vector\n    passed_on: Vector\n",
        "    power: Vector\n",
    ),
    Edit(
        "allocator/settings/uncertainty.py",
        "    capacity: Positive = Field(default=1.0, le=100",
        "    power_shortage: NonNegative = Field(default=0.0, le=10)\n",
    ),
    Edit(
        "schemas/exposures.yaml",
        "  passed_on:\n",
        "  power:\n"
        "    description: Loading of value on the price of power.\n"
        "    dtype: float64\n"
        "    required: false\n"
        "    nullable: true\n",
    ),
)
FIGURE = (
    Edit(
        "allocator/plan/plan.py",
        "    active_expected_return: float | None = None\n",
        "    largest_weight: float = 0.0\n",
    ),
    Edit(
        "allocator/plan/plan.py",
        '    Figure("costs", "",',
        '    Figure("largest_weight", "largest name", "of the account after costs", True),\n',
    ),
    Edit(
        "allocator/plan/plan.py",
        "        costs=trade.costs / before,\n        buckets={},",
        "        largest_weight=float(trade.weights.max()),\n",
    ),
)
TOYS: dict[str, tuple[Edit, ...]] = {
    "a linear rule": LINEAR_RULE,
    "a convex rule": CONVEX_RULE,
    "an ambiguity set": AMBIGUITY_SET,
    "an objective of the tree": OBJECTIVE,
    "a driver of the efficiency model": DRIVER,
    "a figure on the screen": FIGURE,
}
"""By their row of the page."""
