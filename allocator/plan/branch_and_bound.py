"""The best plan without round trips, where the best on paper has some: branch and bound over ways to trade each name.

Of each branch (`OneWayRule`) the convex program's answer is netted: where that keeps every rule it is a plan. Its
bound, by our own formula, is what no plan of the branch can beat. Else the name that wastes most is split: bought only
or sold only, or traded less than here or more. What is left when no branch can be better is the best, and where the
work is spent before that, the least bound of the branches left says how far from it the plan can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.elastic import HOLDS, ElasticProgram
from allocator.optimization.highs import TimeLimit
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, Program, Solution, trade_of_solution
from allocator.optimization.verification import DualCertificate, DualValues, best_dual_certificate
from allocator.outlook.outlook import Outlook
from allocator.plan.certificate import GAP_ALLOWED, Certificate, RoundTripProof, certify
from allocator.rules import LinearRule, RuleMeasurement, RuleRows, Trade, linear_rows
from allocator.rules.directions import flat_dual
from allocator.types import Vector

# One part of all plans that waste nothing, as a convex program: each name has its most bought, most sold and traded.
#
# A convex program may buy and sell one name at once, or pay more impact than its trades come to, where being rid of
# money keeps a rule. No order does that. In a branch where a name may only be bought, or only sold, it cannot either;
# and where a name trades between two amounts, its impact lies below the chord of impact·t^1.5 between them, so that
#
#     1 − W  ≤  Σ rate·t + Σ chord(t),    t = b + s
#
# which is a row in purchases, sales and wealth. All of it are rows that every plan of the branch keeps, so the bound
# of the mandate with them (`rule`) holds for all these plans, whatever a solver says.
#
_SMALL = 0.01
"""Of the account: what is next to a trade of nothing."""
_NARROW = 1e-9
"""Of the account: between amounts this near the curve is its slope."""


@dataclass(frozen=True, eq=False)
class TradeBranch:
    """(N,) the most bought and sold of each name, and between how much and how much of it is traded."""

    bought: Vector
    sold: Vector
    least: Vector
    most: Vector

    @staticmethod
    def of_all(start: Position) -> TradeBranch:
        """Every plan that wastes nothing: no name trades more than the whole account."""
        ones = np.ones(len(start.holdings))
        return TradeBranch(ones, start.holdings, 0 * ones, ones)

    def narrowed(self, name: int, **parts: float) -> TradeBranch:
        """The same but for some of one name's four numbers."""
        moved = {}
        for part, amount in parts.items():
            moved[part] = getattr(self, part).copy()
            moved[part][name] = amount
        return replace(self, **moved)

    def about(self, bought: Vector, sold: Vector, part: float) -> TradeBranch:
        """What is near these trades: each name the way it trades more, and no more than a `part` more or less of it."""
        ways, traded = bought >= sold, np.abs(bought - sold)
        low, high = self.ends()
        least = np.clip(traded * (1 - part), low, high)
        return TradeBranch(
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

    def rule(self, mandate: Mandate) -> OneWayRule:
        """What every plan of the branch keeps."""
        return OneWayRule(self, mandate.cost_rates, mandate.impact)


@dataclass(frozen=True, eq=False)
class OneWayRule(LinearRule):
    """A branch as a rule, for bounds and for what can hold: b ≤ most bought, s ≤ most sold; with impact also
    least ≤ b + s ≤ most, and costs no more than the chords come to.
    """

    branch: TradeBranch
    cost_rates: Vector
    impact: Vector | None
    tier: int = 0

    def rows(self, instruments: int) -> RuleRows:
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
        return linear_rows(
            [f"one way, row {i}" for i in range(len(wealth))],
            instruments,
            buys=sp.csr_array(sp.vstack(buys)),
            sells=sp.csr_array(sp.vstack(sells)),
            wealth=wealth,
            limit=np.concatenate(limits),
        )

    def readings(self, trade: Trade, outlook: Outlook) -> list[RuleMeasurement]:
        """None: it is no rule of the user's, and trades that waste nothing are checked by their own account."""
        del trade, outlook
        return []

    def with_limits(self, limits: Sequence[float]) -> OneWayRule:
        """There is nothing to ease."""
        del limits
        return self


def restrict_to_branch(branch: TradeBranch, mandate: Mandate) -> Mandate:
    """The mandate for plans of one branch only."""
    return replace(mandate, linear_rules=(*mandate.linear_rules, branch.rule(mandate)))


def without_branch_rows(multipliers: DualValues, mandate: Mandate) -> DualValues:
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
        self, start: Position, outlook: Outlook, mandate: Mandate, branch: TradeBranch, limits: Limits
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
        own = [np.maximum(flat_dual(row.dual_value, row.size), 0.0) * self._compiled.scale for row in self._rows]
        multipliers = solution.multipliers
        if mandate.impact is not None:
            own[-1] = own[-1] / self._compiled.unit
            # costs are 1 − W in the rule: cash is priced without what wealth is worth there
            multipliers = replace(multipliers, cash=multipliers.cash + float(own[-1][0]))
        return replace(solution, multipliers=replace(multipliers, rows=np.concatenate([multipliers.rows, *own])))


WORK = 4000
"""Branches times names: what a search may take. Work ends it, so that a busy machine comes to the same plan."""
FEWEST = 150
"""Branches, however many names."""
_NEARER = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Parts of a trade: how far from the last one the next is looked for, where impact bends costs."""
_KEPT = 2e-7
"""Of the account: a rule missed by more would let a plan beat the bound of plans that keep it."""
_WASTE = 1e-10
"""Of the account: less than this is the last digits of a solver, not worth a branch."""
_LOOSEN = "loosen what asks for little cash, or for much of what is held, a little"


def best_without_round_trips(
    start: Position,
    outlook: Outlook,
    mandate: Mandate,
    paper_solution: Solution,
    limits: Limits,
    value: float,
    branches: int | None = None,
) -> tuple[Trade, DualCertificate, Certificate]:
    """The best plan without round trips, its prices among such plans, and its certificate.

    Looked for in so many `branches` at most, by default as WORK allows. What proves it to strangers is the bound of the
    `paper_solution`, which counts plans with round trips, too.

    Raises:
        Infeasible: every plan that keeps the rules has round trips.
        NotSolved: none that does not was found.
        OutOfTime: the user's time limit passed first.
    """
    proof, paper = best_dual_certificate(start, outlook, mandate, _raw(paper_solution), paper_solution.multipliers)
    search = BranchSearch(start, outlook, mandate, limits, paper)
    search.run(branches)
    if (best := search.best) is None:
        if search.bound == np.inf:
            raise Infeasible(
                "the rules can only be kept by round trips, buying and selling one name at once", [], [_LOOSEN]
            )
        raise NotSolved(
            "the best that these rules allow on paper has round trips, buying and selling one name at once, and no "
            f"plan without them was found in {search.branches} branches; {_LOOSEN}"
        )
    target = trade_of_solution(start, mandate, best.solution.holdings, value)
    own = without_branch_rows(best.solution.multipliers, mandate)
    certificate = certify(
        start,
        outlook,
        mandate,
        target,
        proof,
        solver=best.solution.solver,
        attempts=best.solution.attempts,
        canonical=best.solution.canonical,
        round_trips=RoundTripProof(search.bound, search.branches, max(best.loss - paper, 0.0)),
    )
    return target, best_dual_certificate(start, outlook, mandate, target, own)[0], certificate


@dataclass(frozen=True, eq=False)
class _OpenBranch:
    """A branch not looked at: what is known of its bound, and how deep it is."""

    branch: TradeBranch
    bound: float
    depth: int


@dataclass(frozen=True, eq=False)
class _BranchResult:
    """What a plan came of, and the loss of it."""

    solution: Solution
    loss: float


class BranchSearch:
    """One search; `best` and `bound` say what it came to."""

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, limits: Limits, bound: float) -> None:
        self.best: _BranchResult | None = None
        self.branches = 0
        self._start, self._outlook, self._mandate, self._limits = start, outlook, mandate, limits
        self._program = OneWayProgram(outlook, mandate)
        self._open = [_OpenBranch(TradeBranch.of_all(start), bound, 0)]
        self._closed = np.inf
        """The least bound of the branches that are done with, those left out in which no plan can be."""

    @property
    def bound(self) -> float:
        """What no plan without round trips can beat; infinite where there is none."""
        return float(min([self._closed, *(one.bound for one in self._open)]))

    def run(self, branches: int | None = None) -> None:
        """Until no branch can be better, or the work is spent.

        Raises:
            OutOfTime: the user's time limit passed first.
        """
        limit = TimeLimit("solver.time_limit_seconds", self._limits.seconds)
        most = max(WORK // max(len(self._start.holdings), 1), FEWEST) if branches is None else branches
        while self._open and self.branches < most:
            limit.refuse_late()
            one = self._next()
            if self._can_be_better(one):
                self._look(one)
            else:
                self._close(one)

    def _next(self) -> _OpenBranch:
        """The branch of the least bound; before there is a plan, of the deepest ones."""
        one = min(self._open, key=lambda o: (-o.depth if self.best is None else 0, o.bound))
        self._open.remove(one)
        return one

    def _can_be_better(self, one: _OpenBranch) -> bool:
        return self.best is None or one.bound < self.best.loss - GAP_ALLOWED / 2

    def _close(self, one: _OpenBranch) -> None:
        self._closed = min(self._closed, one.bound)

    def _look(self, one: _OpenBranch) -> None:
        """Solve a branch; split it where it can still hold a better plan than the best."""
        self.branches += 1
        mandate = restrict_to_branch(one.branch, self._mandate)
        solution = self._program.best_of(self._start, self._outlook, self._mandate, one.branch, self._limits)
        if solution is None:
            if not _cannot_hold(self._start, self._outlook, mandate):
                self._close(one)
            return
        _, bound = best_dual_certificate(self._start, self._outlook, mandate, _raw(solution), solution.multipliers)
        one = replace(one, bound=max(one.bound, bound))
        self._keep(solution)
        if self.branches & (self.branches - 1) == 0:  # the first, second, fourth, … branch
            self._look_about(one.branch, solution)
        halves = split_branch(one.branch, solution, self._mandate) if self._can_be_better(one) else []
        if not halves:
            self._close(one)
        self._open += [_OpenBranch(half, one.bound, one.depth + 1) for half in halves]

    def _look_about(self, branch: TradeBranch, near: Solution) -> None:
        """Plans near a solution of a branch, each nearer to the last one: then many names need no splitting."""
        for part in _NEARER if self._mandate.impact is not None else _NEARER[:1]:
            about = branch.about(near.bought, near.sold, part)
            found = self._program.best_of(self._start, self._outlook, self._mandate, about, self._limits)
            self.branches += 1
            if found is None:
                break
            self._keep(found)
            near = found

    def _keep(self, solution: Solution) -> None:
        """Take the netted trade for the best plan where it keeps every rule and is."""
        target = trade_of_solution(self._start, self._mandate, solution.holdings, 1.0)
        readings = self._mandate.readings(target, self._outlook)
        if target.cash < 0 or not all(reading.missed <= _KEPT for reading in readings):
            return
        loss = self._mandate.loss(target, self._outlook)
        if self.best is None or loss < self.best.loss:
            self.best = _BranchResult(solution, loss)


def _raw(solution: Solution) -> Trade:
    """A solution as it is, with what it wastes."""
    return Trade(np.maximum(solution.holdings, 0.0), solution.cash, solution.bought, solution.sold, 0.0, 1.0)


def split_branch(branch: TradeBranch, solution: Solution, mandate: Mandate) -> list[TradeBranch]:
    """The branch in two where the solution wastes most; the half that it is nearer to comes first. None: it wastes
    nothing.
    """
    bought, sold = np.maximum(solution.bought, 0.0), np.maximum(solution.sold, 0.0)
    traded, both = bought + sold, np.minimum(bought, sold)
    swapped = _cost(mandate, traded) - _cost(mandate, traded - 2 * both)
    swapped[(branch.bought == 0) | (branch.sold == 0)] = 0.0
    dearer = np.zeros(len(both))
    if mandate.impact is not None:
        slopes, at_nothing = branch.chords(mandate.impact)
        dearer = slopes * traded + at_nothing - mandate.impact * traded**1.5
    name = int(np.argmax(np.maximum(swapped, dearer)))
    if max(swapped[name], dearer[name]) <= _WASTE:
        return []
    if swapped[name] >= dearer[name]:
        halves = [branch.narrowed(name, sold=0.0), branch.narrowed(name, bought=0.0)]
        return halves if bought[name] >= sold[name] else halves[::-1]
    low, high = (float(end[name]) for end in branch.ends())
    at = float(np.clip(traded[name], low + 0.1 * (high - low), high - 0.1 * (high - low)))
    return [branch.narrowed(name, most=at), branch.narrowed(name, least=at)]


def _cost(mandate: Mandate, traded: Vector) -> Vector:
    return mandate.costs(traded, np.zeros(len(traded)))


def _cannot_hold(start: Position, outlook: Outlook, mandate: Mandate) -> bool:
    """Whether it is proved that no plan keeps these rules, with waste or without."""
    asking = ElasticProgram(start, outlook, mandate)
    try:
        found = asking.elastic(dict.fromkeys(range(len(asking.members)), 1.0), enough=HOLDS)
    except NotSolved:
        return False
    return found is None or found.total > HOLDS
