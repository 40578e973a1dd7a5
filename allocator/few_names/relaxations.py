"""The convex programs of the search: by matrices where the mandate is quadratic, else the mandate's own program with a
row a name; and the search of a mandate from end to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from allocator.errors import Infeasible, NotSolved
from allocator.few_names.bounds import Choice, NameBounds, Names, PositionRange, name_bounds, name_caps
from allocator.few_names.feasibility import NamesProgram, names_conflict
from allocator.few_names.search import FEWEST_NODES, NODES, FoundNames, Node, Relaxation, search_names
from allocator.mandate.mandate import Mandate
from allocator.optimization.quadratic_program import TIE_BREAK, ProblemData, QuadraticProgram, is_quadratic
from allocator.optimization.solve import PIQP, RESIDUAL_ALLOWED, Limits, kept_programs, trade_of_solution
from allocator.outlook.outlook import Outlook
from allocator.rules.rows import FewNames, Position, ProgramRows
from allocator.types import Vector

if TYPE_CHECKING:
    from allocator.multistage.mandate import MultistageMandate
    from allocator.multistage.policy import Policy


FURTHER_NODES, ANY_NODES = 300, 50
"""Programs of a search for names that are not the best of fractions, and may be of lots: where some have lots, and
where none were found that have any."""
TAIL_NODES = 1_000
"""Linear programs of a tail."""
_AGAIN, _LEFT = 20, 1e-9
"""Times that what is left of the account is found where floors are of it, at most, and how near to the time before."""


class _OneDecision(Relaxation):
    """Of whatever objective: rules decide alone whether there are names."""

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, few: FewNames) -> None:
        self._feasibility, self._few = NamesProgram(start, outlook, mandate), few

    def nearest(self, choice: Choice, wish: Vector) -> Names | None:
        """By the integer program of the rules."""
        found = self._feasibility.solve(self._few, None, choice, np.round(wish, 6))
        if found.x is not None:
            return self._feasibility.held(found)
        if found.impossible:
            return None
        raise NotSolved("whether names can be chosen was not found; loosen a rule, or allow more names")


class QuadraticRelaxation(_OneDecision):
    """Of a quadratic mandate: one program of PIQP's, of which bounds and curvatures change from node to node."""

    def __init__(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        positions: PositionRange,
        few: FewNames,
        limits: Limits,
    ) -> None:
        super().__init__(start, outlook, mandate, few)
        self._start, self._outlook, self._positions = start, outlook, positions
        self._mandate = with_floors(mandate, positions)
        self._program, self._limits = QuadraticProgram(PIQP.options(limits)), limits
        self._data = self._program.write(start, outlook, self._mandate, TIE_BREAK)
        self._first = len(mandate.rows.labels)
        self.own = np.asarray(mandate.risk_aversion * outlook.risk.specific)
        begins, at = self._data.P.indptr, self._data.P.indices
        every = range(len(self.own))
        self._diagonal = [
            begins[name] + int(np.searchsorted(at[begins[name] : begins[name + 1]], name)) for name in every
        ]

    def _written(self, choice: Choice, parts: Vector) -> ProblemData:
        names, data = len(self.own), self._data
        high, curves, limits = data.high.copy(), data.P.copy(), data.g.copy()
        high[:names] = np.where(choice.out, 0.0, self._positions.most)
        if self._positions.least.any():
            limits[self._first : self._first + names] = np.where(choice.held, 0.0, self._positions.least)
        more = np.divide(1.0, parts, out=np.ones(names), where=choice.free) - 1
        curves.data[self._diagonal] += 2 * self.own / data.scale * more
        return replace(data, P=curves, g=limits, high=high)

    def solve(self, choice: Choice, parts: Vector) -> Node | None:
        """By PIQP, checked outside of it; the bounds hold whatever it says."""
        at, clock = self._written(choice, parts), self._limits.clock()
        raw = self._program.solve(at)
        clock.refuse_late()
        if raw is None or not at.check(raw).worst <= RESIDUAL_ALLOWED:
            return None
        start, outlook, mandate = self._start, self._outlook, self._mandate
        duals = at.duals(raw, outlook, mandate)
        adversary = mandate.ambiguity.project(duals.adversary, outlook.probabilities) if mandate.return_weight else None
        duals = replace(duals, adversary=outlook.probabilities if adversary is None else adversary)
        target = trade_of_solution(start, mandate, raw.x[: len(self.own)], 1.0)
        bounds = name_bounds(start, outlook, mandate, target, duals, self._positions)
        return Node(target.values, mandate.loss(target, outlook), -np.inf, bounds)


def with_floors(mandate: Mandate, positions: PositionRange) -> Mandate:
    """The mandate with the floors of what is held, the last rows, where there are any: h_i ≥ least_i·W −
    least_i·(1 − z_i), where z_i is 0 and the limit of a held name is to be written.
    """
    least = positions.least
    if not least.any():
        return mandate
    floors = {"holdings": sp.csr_array(-sp.eye_array(len(least))), "wealth": -least, "limit": least}
    return replace(mandate, linear_rules=(*mandate.linear_rules, ProgramRows(floors, is_kept=False)))


def _choice_rows(choice: Choice, positions: PositionRange, few: FewNames) -> ProgramRows:
    """What a choice says: most and least of each name, and how many, in parts of their caps."""
    names, low = len(choice.held), np.where(choice.held, positions.least, 0.0)
    shares = np.divide(1.0, positions.most, out=np.zeros(names), where=positions.most > 0)
    shares = shares * choice.free.any()  # of a choice that is made it would be a cap once more, and take its price
    high, one = np.where(choice.out, 0.0, np.maximum(positions.most, low)), sp.csr_array(sp.eye_array(names))
    return ProgramRows(
        {
            "holdings": sp.csr_array(sp.vstack([one, -one, sp.csr_array(shares[None, :])])),
            "wealth": np.concatenate([np.zeros(names), -low, [min(few.most, names)]]),
            "limit": np.concatenate([high, np.zeros(names + 1)]),
        }
    )


class ProgramRelaxation(_OneDecision):
    """Of any mandate of one period: its own program, a row a name. Parts count where the objective alone has risk."""

    def __init__(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        positions: PositionRange,
        few: FewNames,
        limits: Limits,
    ) -> None:
        super().__init__(start, outlook, mandate, few)
        self._start, self._outlook, self._mandate, self._positions = start, outlook, mandate, positions
        self._limits, self._program = limits, kept_programs(explains=False)
        self._floored = with_floors(mandate, positions)
        self.own = np.asarray(mandate.risk_aversion * outlook.risk.specific)

    def solve(self, choice: Choice, parts: Vector) -> Node | None:
        """By the program's own ladder of solvers."""
        start, outlook, stated = self._start, self._outlook, self._mandate
        own = _choice_rows(choice, self._positions, self._few)
        mandate = replace(stated, linear_rules=(*stated.linear_rules, own))
        error, at = stated.return_error, outlook
        if not stated.convex_rules and (error is None or error.linear_charge is not None):
            more = np.divide(1.0, parts, out=np.ones(len(parts)), where=choice.free)
            at = replace(outlook, risk=replace(outlook.risk, specific=outlook.risk.specific * more))
        try:
            found = self._program(at, mandate).solve(start, at, mandate, self._limits)
        except (Infeasible, NotSolved):
            return None
        target = trade_of_solution(start, mandate, found.holdings, 1.0)
        names, first, rows = len(parts), len(stated.rows.labels), found.multipliers.rows
        floors = rows[first + names : first + 2 * names] * choice.held if self._positions.least.any() else rows[:0]
        duals = replace(found.multipliers, rows=np.concatenate([rows[:first], floors]))
        bounds = name_bounds(start, outlook, self._floored, target, duals, self._positions)
        return Node(target.values, stated.loss(target, outlook), -np.inf, bounds)


class PolicyRelaxation(_OneDecision):
    """Of an objective that the tree of decisions solves, with one decision: what its program claims bounds a choice."""

    def __init__(
        self,
        solve: Callable[[MultistageMandate], Policy],
        start: Position,
        staged: MultistageMandate,
        positions: PositionRange,
        few: FewNames,
    ) -> None:
        super().__init__(start, staged.outlooks[0], staged.mandates[0], few)
        self._solve, self._staged, self._positions = solve, staged, positions
        self.own = np.asarray(staged.outlooks[0].risk.variances)

    def solve(self, choice: Choice, parts: Vector) -> Node | None:
        """By the tree's program."""
        del parts
        (mandate,) = self._staged.mandates
        own = _choice_rows(choice, self._positions, self._few)
        staged = replace(self._staged, mandates=(replace(mandate, linear_rules=(*mandate.linear_rules, own)),))
        try:
            found = self._solve(staged)
        except (Infeasible, NotSolved):
            return None
        objective = found.objective
        return Node(found.holdings[0], objective, objective - found.gap * max(1.0, abs(objective)))


class TailRelaxation(_OneDecision):
    """Of a tail of draws: one linear program kept by HiGHS, of which bounds on holdings change from node to node; draws
    that were once in a tail keep their rows.
    """

    def __init__(
        self, start: Position, staged: MultistageMandate, positions: PositionRange, few: FewNames, limits: Limits
    ) -> None:
        from allocator.multistage.solve import TailRows, solve_policy

        super().__init__(start, staged.outlooks[0], staged.mandates[0], few)
        tail = staged.utility.tail
        assert tail is not None
        self._rows, self._positions, self._limits = TailRows(staged, start, tail), positions, limits
        self._made = PolicyRelaxation(lambda one: solve_policy(one, start, limits), start, staged, positions, few)
        self.own = np.asarray(staged.outlooks[0].risk.variances)

    def solve(self, choice: Choice, parts: Vector) -> Node | None:
        """By the dual simplex, from where it stands; floors are of what is left of the account, found again."""
        del parts
        positions, left = self._positions, self._positions.left
        again = positions.least.any() and not choice.free.any()
        high = np.where(choice.out, 0.0, np.maximum(positions.most, np.where(choice.held, positions.least, 0.0)))
        try:
            for _ in range(_AGAIN):
                low = np.where(choice.held, positions.least * left, 0.0)
                found, prices = self._rows.between(low, high, self._limits)
                before, left = left, float(found.wealth[0]) if again else left
                if abs(left - before) <= _LEFT:
                    break
        except NotSolved:
            return None if choice.free.any() else self._made.solve(choice, positions.least)  # by floors of what is left
        ends = prices.slopes * positions.least * positions.left, prices.slopes * np.maximum(positions.most, low)
        bounds = NameBounds(prices.constant, np.minimum(*ends), np.zeros(len(low)))
        return Node(found.holdings[0], found.objective, -np.inf, bounds)


def choose_names(
    start: Position,
    outlook: Outlook,
    stated: Mandate,
    limits: Limits,
    gap: float,
    staged: MultistageMandate | None = None,
    keep: float = 0.0,
) -> FoundNames | None:
    """The names to hold under a mandate that wants few; `staged` is its tree of one decision where that solves it. None
    where no names keep the rules.

    Raises:
        NotSolved: none were found.
    """
    few, names = stated.few_names, len(start.holdings)
    assert few is not None
    mandate = without_few_names(stated)
    least = np.full(names, few.least)
    caps = name_caps(mandate.rows, names)
    impact = 0.0 if stated.impact is None else float(stated.impact.max(initial=0.0))
    left = max(1 - 2 * float(stated.cost_rates.max(initial=0.0)) - 3 * impact, 0.0)
    positions = PositionRange(least, caps, left)
    kept = np.zeros(names, dtype=bool)
    for rule in mandate.linear_rules:
        kept[list(rule.untradable)] = True
    first = Choice(kept & (start.holdings > 0), (kept & (start.holdings == 0)) | (caps <= 0) | (caps < least * left))
    first = replace(first, out=first.out & ~first.held)
    most = min(few.most, float(np.floor(1 / few.least + 1e-9)) if few.least else np.inf)
    few = replace(few, most=most)
    if first.held.sum() > most:
        return None
    nodes = max(NODES // names, FEWEST_NODES)
    if staged is not None:
        from allocator.multistage.solve import solve_policy

        plain = replace(staged, mandates=(mandate,))
        if plain.utility.tail is not None:
            tails = TailRelaxation(start, plain, positions, few, limits)
            return search_names(tails, few, positions, first, gap, TAIL_NODES)
        relaxation: Relaxation = PolicyRelaxation(
            lambda one: solve_policy(one, start, limits), start, plain, positions, few
        )
        nodes = 100
    elif is_quadratic(mandate):
        relaxation = QuadraticRelaxation(start, outlook, mandate, positions, few, limits)
    else:
        relaxation, nodes = ProgramRelaxation(start, outlook, mandate, positions, few, limits), 200
    if keep:
        nodes = FURTHER_NODES if keep < 1 else ANY_NODES
    return search_names(relaxation, few, positions, first, gap, nodes, keep)


def without_few_names(mandate: Mandate) -> Mandate:
    """The same mandate of fractions alone."""
    return replace(mandate, linear_rules=tuple(rule for rule in mandate.linear_rules if rule.few_names is None))


def choose_names_or_refuse(
    start: Position,
    outlook: Outlook,
    stated: Mandate,
    limits: Limits,
    gap: float,
    staged: MultistageMandate | None = None,
) -> FoundNames:
    """The same; where there are none, the rules that conflict.

    Raises:
        Infeasible: no names keep the rules.
        NotSolved: none were found.
    """
    found = choose_names(start, outlook, stated, limits, gap, staged)
    if found is None:
        raise names_conflict(start, outlook, stated) or Infeasible("infeasible: no choice of names keeps every rule")
    return found
