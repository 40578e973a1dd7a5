"""One part of all plans that waste nothing, as a convex program: each name has its most bought, most sold and traded.

A convex program may buy and sell one name at once, or pay more impact than its trades come to, where being rid of money
keeps a rule. No order does that. In a branch where a name may only be bought, or only sold, it cannot either; and where
a name trades between two amounts, its impact lies below the chord of impact·t^1.5 between them, so that

    1 − W  ≤  Σ rate·t + Σ chord(t),    t = b + s

which is a row in purchases, sales and wealth. All of it are rows that every plan of the branch keeps, so the bound of
the mandate with them (`rule`) holds for all these plans, whatever a solver says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.mandate.mandate import Mandate
from allocator.optimization.rule_cones import Multipliers, read
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits, Program, Solution
from allocator.outlook.outlook import Outlook
from allocator.rules import Reading, Rows, Trade, some_rows
from allocator.types import Vector

_SMALL = 0.01
"""Of the account: what is next to a trade of nothing."""
_NARROW = 1e-9
"""Of the account: between amounts this near the curve is its slope."""


@dataclass(frozen=True, eq=False)
class Branch:
    """(N,) the most bought and sold of each name, and between how much and how much of it is traded."""

    bought: Vector
    sold: Vector
    least: Vector
    most: Vector

    @staticmethod
    def of_all(start: Start) -> Branch:
        """Every plan that wastes nothing: no name trades more than the whole account."""
        ones = np.ones(len(start.holdings))
        return Branch(ones, start.holdings, 0 * ones, ones)

    def narrowed(self, name: int, **parts: float) -> Branch:
        """The same but for some of one name's four numbers."""
        moved = {}
        for part, amount in parts.items():
            moved[part] = getattr(self, part).copy()
            moved[part][name] = amount
        return replace(self, **moved)

    def about(self, bought: Vector, sold: Vector, part: float) -> Branch:
        """What is near these trades: each name the way it trades more, and no more than a `part` more or less of it."""
        ways, traded = bought >= sold, np.abs(bought - sold)
        low, high = self.ends()
        least = np.clip(traded * (1 - part), low, high)
        return Branch(
            np.where(ways, self.bought, 0.0),
            np.where(ways, 0.0, self.sold),
            least,
            np.maximum(np.clip(traded * (1 + part) + _SMALL * part, low, high), least),
        )

    def ends(self) -> tuple[Vector, Vector]:
        """(N,) each: the least and the most that can be traded, with the directions that are left."""
        most = np.minimum(self.most, np.maximum(self.bought, self.sold))
        return np.minimum(self.least, most), most

    def chords(self, impact: Vector) -> tuple[Vector, Vector]:
        """(N,) each: slope and height at nothing of the line above impact·t^1.5 between the ends."""
        low, high = self.ends()
        wide = high - low > _NARROW
        slopes = 1.5 * impact * np.sqrt(high)
        slopes[wide] = (impact * (high**1.5 - low**1.5))[wide] / (high - low)[wide]
        return slopes, impact * high**1.5 - slopes * high

    def rule(self, mandate: Mandate) -> OneWay:
        """What every plan of the branch keeps."""
        return OneWay(self, mandate.cost_rates, mandate.impact)


@dataclass(frozen=True, eq=False)
class OneWay:
    """A branch as a rule, for bounds and for what can hold: b ≤ most bought, s ≤ most sold; with impact also
    least ≤ b + s ≤ most, and costs no more than the chords come to.
    """

    branch: Branch
    cost_rates: Vector
    impact: Vector | None
    tier: int = 0

    def rows(self, instruments: int) -> Rows:
        """A row a name for each of its limits, and one for the costs."""
        eye, none, branch = sp.eye_array(instruments), sp.csr_array((instruments, instruments)), self.branch
        buys, sells, limits = [eye, none], [none, eye], [branch.bought, branch.sold]
        wealth = np.zeros(2 * instruments)
        if self.impact is not None:
            slopes, at_nothing = branch.chords(self.impact)
            costs = sp.csr_array(-(self.cost_rates + slopes)[None, :])
            buys, sells = [*buys, eye, -eye, costs], [*sells, eye, -eye, costs]
            limits = [*limits, branch.most, -branch.least, np.array([float(at_nothing.sum()) - 1])]
            wealth = np.append(np.zeros(4 * instruments), 1.0)
        return some_rows(
            [f"one way, row {i}" for i in range(len(wealth))],
            instruments,
            buys=sp.csr_array(sp.vstack(buys)),
            sells=sp.csr_array(sp.vstack(sells)),
            wealth=wealth,
            limit=np.concatenate(limits),
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """None: it is no rule of the user's, and trades that waste nothing are checked by their own account."""
        del trade, outlook
        return []

    def eased(self, limits: Sequence[float]) -> OneWay:
        """There is nothing to ease."""
        del limits
        return self


def within(branch: Branch, mandate: Mandate) -> Mandate:
    """The mandate for plans of one branch only."""
    return replace(mandate, linear_rules=(*mandate.linear_rules, branch.rule(mandate)))


def without_own_rows(multipliers: Multipliers, mandate: Mandate) -> Multipliers:
    """A branch's multipliers as those of the mandate alone, what costs are worth there taken from the price of cash."""
    of_costs = 0.0 if mandate.impact is None else float(multipliers.rows[-1])
    return replace(multipliers, rows=multipliers.rows[: len(mandate.rows.labels)], cash=multipliers.cash - of_costs)


class OneWayProgram(Program):
    """The program of a mandate, compiled once, solved for one branch after another."""

    def __init__(self, outlook: Outlook, mandate: Mandate) -> None:
        super().__init__(outlook, mandate)
        compiled, count = self._compiled, len(mandate.cost_rates)
        v, moved = compiled.variables, compiled.moved
        self._bought, self._sold, self._least, self._most, self._slopes_of_impact = (
            cp.Parameter(count, nonneg=True, name=name) for name in ("bought", "sold", "least", "most", "slopes / unit")
        )
        self._at_nothing = cp.Parameter(name="chords at nothing / unit")
        self._rows: list[cp.Constraint] = [v.buys <= self._bought, v.sells <= self._sold]
        if moved is not None:
            traded = v.buys + v.sells
            self._rows += [traded <= self._most, -traded <= -self._least]
            self._rows.append(cp.sum(moved) <= self._slopes_of_impact @ traded + self._at_nothing)
        compiled.problem = cp.Problem(compiled.problem.objective, [*compiled.problem.constraints, *self._rows])

    def best_of(
        self, start: Start, outlook: Outlook, mandate: Mandate, branch: Branch, limits: Limits
    ) -> Solution | None:
        """The branch's solution, checked canonically, its rows' multipliers those of `within`; None where there is none
        or none was found.
        """
        self._compiled.write(start, outlook, mandate)
        self._bought.value, self._sold.value = branch.bought, branch.sold
        if mandate.impact is not None:
            unit = self._compiled.unit
            slopes, at_nothing = branch.chords(mandate.impact)
            self._least.value, self._most.value = branch.least, branch.most
            self._slopes_of_impact.value, self._at_nothing.value = slopes / unit, float(at_nothing.sum()) / unit
        solution, _ = self.verified(outlook, mandate, limits, {})
        return None if solution is None else self._with_own_rows(solution, mandate)

    def _with_own_rows(self, solution: Solution, mandate: Mandate) -> Solution:
        own = [np.maximum(read(row.dual_value, row.size), 0.0) * self._compiled.scale for row in self._rows]
        multipliers = solution.multipliers
        if mandate.impact is not None:
            own[-1] = own[-1] / self._compiled.unit
            # costs are 1 − W in the rule: cash is priced without what wealth is worth there
            multipliers = replace(multipliers, cash=multipliers.cash + float(own[-1][0]))
        return replace(solution, multipliers=replace(multipliers, rows=np.concatenate([multipliers.rows, *own])))
