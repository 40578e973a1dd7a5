"""Do these limits conflict, and if so, by how little are they missed: any subset, linear and convex.

One linear program, kept alive by HiGHS, over purchases b, sales s, cash c, wealth W, and where there is impact its
cost m of each name. What is convex is an epigraph, cut out by tangents: a convex rule by its own
`tangent(steepest(…))`, a volatility by the cones v_i·τ ≥ u_i², Σv ≤ τ of its parts (Vielma, Dunning, Huchette and
Lubin 2017), which take a few rounds where tangents of the whole take hundreds; the cash row by the tangents of
m_i ≥ impact_i·(b_i + s_i)^1.5. A tangent belongs to its function and not to a question, so it serves every later one.

Every rule has a slack. A rule that is off may use it for nothing, a relaxed one pays for it, a kept one has none:
between two questions only costs and bounds change, and the last basis is the next start. Until the last cut the
program is a relaxation: what it calls impossible is impossible, and what it calls possible is checked by the formulas.

It may also meet a limit by a round trip, which no order makes: by buying and selling one name at once, or by an impact
cost above the curve. Then the same portfolio is tried with trades netted, then the one that spends least so, and where
neither misses as little, a binary a name decides (`round_trips`). With impact a round trip may be left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import highspy
import numpy as np
import scipy.sparse as sp

from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.highs import linear_model, quiet_highs, run_highs
from allocator.optimization.round_trips import least_violation_one_way
from allocator.outlook.outlook import Outlook
from allocator.rules import LooserLimit, RuleId, RuleRows, Trade, row_slack
from allocator.rules.epigraphs import ColumnLayout, Cuts, impact_cuts
from allocator.rules.rows import Position
from allocator.types import Vector

# The named things that a conflict is made of: a rule, or one row of a rule of many, each with a limit to move.
#
_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves (science §5.2)."""


@dataclass(frozen=True)
class ConflictRule:
    """One name in a conflict. `rows` are its rows among the linear ones, then one a convex rule.

    `stated` is its limit as written, NaN where there is nothing to move; loosening moves it in the direction `sense`.
    """

    label: str
    rows: tuple[int, ...]
    stated: float
    sense: float
    unit: str
    tier: int
    size: float
    id: RuleId

    @property
    def has_limit(self) -> bool:
        """Whether there is a limit to loosen."""
        return not np.isnan(self.stated)

    def at(self, limit: float | None) -> LooserLimit:
        """The same limit elsewhere; where there is none to move, its name leaves the list that has it."""
        return LooserLimit(self.id, self.label, limit, self.sense, self.unit)

    @property
    def price(self) -> float:
        """What one unit of its row missed counts: a limit missed by all of itself counts 1."""
        natural = abs(self.stated) if self.has_limit and abs(self.stated) > 1e-9 else _NATURAL
        return 1 / (natural * (self.size if self.size > 0 else 1.0))


def conflict_rules(mandate: Mandate, tangents: Sequence[RuleRows]) -> Iterator[ConflictRule]:
    """Every member of a mandate, in the order in which its rules stand; `tangents` are one row a convex rule."""
    at = 0
    for rows in (*(rule.rows(len(mandate.cost_rates)) for rule in mandate.linear_rules), *tangents):
        places: dict[RuleId, list[int]] = {}
        for i, limit in enumerate(rows.ids):
            places.setdefault(limit, []).append(i)
        yield from (_member(rows, own, at) for own in places.values())
        at += len(rows.ids)


def _member(rows: RuleRows, own: Sequence[int], at: int) -> ConflictRule:
    """The limit that the rows `own` share; `at` is where the first of `rows` stands."""
    first = own[0]
    return ConflictRule(
        rows.limit_labels[first],
        tuple(at + i for i in own),
        float(rows.stated[first]),
        float(rows.sense[first]),
        rows.unit[first],
        int(rows.tier[first]),
        float(rows.size[first]),
        rows.ids[first],
    )


HOLDS = 1e-7
"""Limits missed by no more than this in all do not conflict: a tenth of the 1e-6 of their own unit that a certificate
allows, and well above the 1e-9 at which the simplex calls a row kept."""
_CUT = 1e-8
"""A function is cut until its epigraph is this near."""
_NEAR = 1e-7
"""Where cuts end before that, what is left may be this much: a tenth of what a certificate allows."""
_ROUNDS = 200
_TOLERANCE = 1e-9
_ROUND_TRIP = 1e-8
"""Of the account: less is no round trip, but the last digits of costs."""
_LEFT = 1e-6
"""Of the account: rules say nothing of weights where less is left."""
_CUTS = 300
"""Cuts beyond which those that no longer hold anything back are dropped: what they were needed for finds them again."""


@dataclass(frozen=True, eq=False)
class Violation:
    """The least violation: in all as priced, and of each member in its own row's unit (M,); the portfolio there."""

    total: float
    by: Vector
    prices: Vector
    """(M,) what the total falls by where a member is loosened by a unit of its row."""
    trade: Trade
    point: Vector


@dataclass(frozen=True, eq=False)
class _ElasticQuery:
    """One question of `ElasticProgram.elastic`, in its words."""

    relaxed: Mapping[int, float]
    kept: frozenset[int]
    together: tuple[tuple[Mapping[int, float], float], ...]
    limits: Mapping[int, float]
    free: bool

    @property
    def wanted(self) -> set[int]:
        """Every member that counts."""
        return {*self.kept, *self.relaxed, *(member for prices, _ in self.together for member in prices)}

    def total(self, by: Vector) -> float:
        """The priced violation."""
        return float(sum(price * by[member] for member, price in self.relaxed.items()))

    @property
    def noise(self) -> float:
        """What two totals of one portfolio may differ by."""
        return _CUT * max(1.0, *self.relaxed.values())


class ElasticProgram:
    """Every question of which limits conflict about one start, outlook and mandate."""

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, *, quick: bool = False) -> None:
        self.iterations = 0
        """Of the simplex, so far: what the work of asking is counted in."""
        self._start, self._outlook, self._mandate = start, outlook, mandate
        self._columns = ColumnLayout(
            start,
            mandate.cost_rates,
            mandate.impact is not None,
            tuple(rule.extra_columns(outlook) for rule in mandate.convex_rules),
        )
        self._epigraphs = [
            rule.epigraph(self._columns.first(position), self._columns, outlook)
            for position, rule in enumerate(mandate.convex_rules)
        ]
        tangents = [
            rule.tangent(epigraph.direction, outlook)
            for rule, epigraph in zip(mandate.convex_rules, self._epigraphs, strict=True)
        ]
        self.members: tuple[ConflictRule, ...] = tuple(conflict_rules(mandate, tangents))
        self._rows = mandate.rows.on(outlook)
        self._room, self._room_limit = self._rooms()
        self._first_slack = self._columns.total
        self._missed_by: list[Vector] = []
        self._cores: list[frozenset[int]] = []
        self._round_trips_are_hard = quick
        self._build()

    def _rooms(self) -> tuple[sp.csr_array, Vector]:
        """What one unit of limit, loosened, makes of room in each row: coefficients over the columns, and a constant.

        Rows are affine in their limits, so that a difference over a whole unit is exact.
        """
        rows, mandate = self._mandate.rows, self._mandate
        convex = [m for m in self.members if m.rows[0] >= len(rows.labels)]
        stated = np.concatenate([rows.stated + rows.sense, [m.stated + m.sense for m in convex]])
        moved = mandate.with_limits(stated)
        pairs = [(self._rows, moved.rows.on(self._outlook))]
        for epigraph, rule, wider in zip(self._epigraphs, mandate.convex_rules, moved.convex_rules, strict=True):
            tangents = (one.tangent(epigraph.direction, self._outlook).on(self._outlook) for one in (rule, wider))
            pairs.append((next(tangents), next(tangents)))
        here, wider_rows = (
            Cuts.all([self._columns.of_rows(rows) for rows in side], self._columns.total)
            for side in zip(*pairs, strict=True)
        )
        room = sp.csr_array(here.rows - wider_rows.rows)
        room.data[np.abs(room.data) < 1e-12] = 0.0
        room.eliminate_zeros()
        return room, wider_rows.limits - here.limits

    def _build(self) -> None:
        columns, members = self._columns, self.members
        linear = columns.of_rows(self._rows)
        convex = sp.csr_array(
            (np.ones(len(self._epigraphs)), (range(len(self._epigraphs)), [e.column for e in self._epigraphs])),
            shape=(len(self._epigraphs), columns.total),
        )
        rules = sp.csr_array(sp.vstack([linear.rows, convex]))
        count = rules.shape[0]
        of = np.zeros(count, dtype=int)
        for position, member in enumerate(members):
            of[list(member.rows)] = position
        slack = sp.csr_array((-np.ones(count), (np.arange(count), of)), shape=(count, len(members)))
        own, low, high = columns.equations(self._epigraphs)
        matrix = sp.csr_array(
            sp.vstack([sp.hstack([rules, slack]), sp.hstack([own, sp.csr_array((own.shape[0], len(members)))])])
        )
        self._base, self._limits = rules, np.concatenate([linear.limits, np.zeros(len(self._epigraphs))])
        solver = self._solver = quiet_highs(
            threads=1,
            presolve="off",
            primal_feasibility_tolerance=_TOLERANCE,
            dual_feasibility_tolerance=_TOLERANCE,
        )
        lower, upper = columns.bounds(self._epigraphs)
        solver.passModel(
            linear_model(
                np.zeros(matrix.shape[1]),
                np.concatenate([lower, np.zeros(len(members))]),
                np.concatenate([upper, np.full(len(members), np.inf)]),
                matrix,
                np.concatenate([np.full(count, -np.inf), low]),
                np.concatenate([self._limits, high]),
            )
        )
        self._cuts, self._crowded = 0, _CUTS
        for epigraph in self._epigraphs:
            self._add(epigraph.first)

    def _drop_idle_cuts(self) -> None:
        """Delete the cuts whose rows are slack at the last basis, which stays one."""
        first = self._solver.getNumRow() - self._cuts
        basis = self._solver.getBasis()
        if basis.valid:
            idle = [
                row
                for row in range(first, first + self._cuts)
                if basis.row_status[row] == highspy.HighsBasisStatus.kBasic
            ]
            self._solver.deleteRows(len(idle), np.array(idle, dtype=np.int32))
            self._cuts -= len(idle)
        self._crowded = self._cuts + _CUTS

    def elastic(
        self,
        relaxed: Mapping[int, float],
        kept: Iterable[int] = (),
        *,
        enough: float = np.inf,
        together: Iterable[tuple[Mapping[int, float], float]] = (),
        limits: Mapping[int, float] = MappingProxyType({}),
        free: bool = False,
    ) -> Violation | None:
        """The least priced violation of the `relaxed` members, subject to the `kept` ones; None where there is none.

        `relaxed` says what a unit of each costs. A total proved to be above `enough` is not followed further. Each of
        `together` (prices, most) bounds a priced violation. `limits` are other limits than stated; with `free`, slacks
        may be negative: then the total says how much room is left.
        """
        if self._cuts > self._crowded:
            self._drop_idle_cuts()
        count, asked = len(self.members), _ElasticQuery(relaxed, frozenset(kept), tuple(together), limits, free)
        upper, lower = np.full(count, np.inf), np.zeros(count)
        upper[list(asked.kept)] = 0.0
        if free:
            lower[list(relaxed)] = -10.0
        at = np.arange(self._first_slack, self._first_slack + count, dtype=np.int32)
        self._write_costs(relaxed)
        self._solver.changeColsBounds(count, at, lower, upper)
        held = [self._hold(prices, most) for prices, most in asked.together]
        for member, limit in limits.items():
            self._move(member, limit)
        try:
            found = self._solve(relaxed, asked.wanted, enough)
            if found is not None and not found.total > enough:
                found = self._without_round_trips(asked, found)
            if found is not None and not limits and not found.total > enough and found.trade.value > _LEFT:
                self._missed_by.append(np.maximum(self._violations(found.point), 0.0))
            return found
        finally:
            for member in limits:
                self._move(member, self.members[member].stated)
            for row in reversed(held):
                self._release(row)

    def holds(self, members: Iterable[int]) -> bool:
        """Whether these members do not conflict, all others left aside.

        A portfolio met before may answer, or a part of them that is known not to hold: of an earlier question the
        members whose rows have no price are not needed for its answer.
        """
        asked = frozenset(members)
        at = sorted(asked)
        if any(missed[at].sum() <= HOLDS for missed in self._missed_by):
            return True
        if self.core(asked) is not None:
            return False
        found = self.elastic(dict.fromkeys(at, 1.0), enough=HOLDS)
        if found is None:
            return False
        if found.total > HOLDS:
            self._cores.append(frozenset(i for i in at if found.prices[i] > 0))
        return bool(found.total <= HOLDS)

    def core(self, members: Iterable[int]) -> frozenset[int] | None:
        """The smallest part of these members that is known to conflict; None where none is."""
        asked = frozenset(members)
        return min((core for core in self._cores if core <= asked), key=len, default=None)

    def _without_round_trips(self, asked: _ElasticQuery, found: Violation) -> Violation | None:
        """The least violation by a portfolio without round trips; None where there is none.

        Where telling takes more work than one question may, the answer keeps its round trips: whoever solves the
        program finds that, and no plan comes of it.
        """
        netted, excess_costs = self._netted(found.point)
        if excess_costs <= _ROUND_TRIP:
            return found
        tried = self._judged(asked, netted)
        if tried is None or tried.total > found.total + asked.noise:
            cheapest = self._cheapest(asked, found)
            tried = None if cheapest is None else self._judged(asked, self._netted(cheapest.point)[0])
        if tried is not None and tried.total <= found.total + asked.noise:
            return replace(tried, prices=found.prices)

        def check(point: Vector) -> tuple[bool, Cuts]:
            judged = self._judged(asked, self._netted(point)[0])
            if judged is not None and judged.total <= asked.total(point[self._first_slack :]) + asked.noise:
                return True, Cuts.all([], self._columns.total)
            cuts, _ = self._violated(point, asked.wanted)
            self._add(cuts)
            return False, cuts

        def spend(iterations: int) -> None:
            self.iterations += max(iterations, 0)

        if self._round_trips_are_hard:
            return found
        try:
            point = least_violation_one_way(self._solver, self._columns, self._mandate.impact, check, spend)
        except NotSolved:
            self._round_trips_are_hard = True  # of the next question, too: the time is better spent on others
            return found
        # integers have no prices: every member may be needed for the answer
        return None if point is None else self._judged(asked, self._netted(point)[0])

    def _cheapest(self, asked: _ElasticQuery, found: Violation) -> Violation | None:
        """A portfolio that misses by as little, and pays least for its trades."""
        rates = self._mandate.cost_rates
        row = self._hold(asked.relaxed, found.total + _TOLERANCE)
        self._write_costs({}, np.concatenate([rates, rates, np.ones(self._columns.cash - 2 * len(rates))]))
        try:
            return self._solve(asked.relaxed, asked.wanted, np.inf)
        except NotSolved:
            return None
        finally:
            self._write_costs(asked.relaxed)
            self._release(row)

    def _write_costs(self, relaxed: Mapping[int, float], trades: Sequence[float] | Vector = ()) -> None:
        """What a unit of each relaxed member's slack costs, and of the first columns, which are the trades."""
        costs = np.zeros(self._first_slack + len(self.members))
        costs[: len(trades)] = trades
        costs[[self._first_slack + member for member in relaxed]] = [*relaxed.values()]
        self._solver.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)

    def _netted(self, point: Vector) -> tuple[Vector, float]:
        """The point without round trips, and what they cost: each name traded one way only, at what that costs."""
        names, columns = self._columns.names, self._columns
        netted = point.copy()
        both = np.minimum(point[:names], point[names : 2 * names])
        bought, sold = np.maximum(point[:names] - both, 0.0), np.maximum(point[names : 2 * names] - both, 0.0)
        netted[:names], netted[names : 2 * names] = bought, sold
        if self._mandate.impact is not None:
            netted[2 * names : 3 * names] = self._mandate.impact * (bought + sold) ** 1.5
        cash = self._start.cash + float(sold.sum() - bought.sum() - self._mandate.costs(bought, sold).sum())
        excess_costs = cash - float(point[columns.cash])
        netted[[columns.cash, columns.wealth]] += excess_costs
        return netted, excess_costs

    def _judged(self, asked: _ElasticQuery, point: Vector) -> Violation | None:
        """What a point misses, by the formulas; None where it breaks what is kept."""
        trade = self._columns.trade(point)
        if trade.value <= _LEFT or point[self._columns.cash] < min(self._start.cash, 0.0) - _NEAR:
            return None
        by = self._violations(point, asked.limits)
        if any(by[member] > _NEAR for member in asked.kept):
            return None
        by = np.maximum(by, -10.0 if asked.free else 0.0)
        if any(
            sum(price * by[m] for m, price in prices.items()) > most + asked.noise for prices, most in asked.together
        ):
            return None
        prices = np.zeros(len(self.members))
        prices[list(asked.relaxed)] = 1.0
        return Violation(asked.total(by), by, prices, trade, point)

    def _violations(self, point: Vector, limits: Mapping[int, float] = MappingProxyType({})) -> Vector:
        """(M,) what each member's worst row is missed by, by the formulas; negative is room to spare."""
        here, trade = point[: self._columns.total], self._columns.trade(point)
        linear = self._base[: len(self._rows.labels)] @ here - self._limits[: len(self._rows.labels)]
        convex = [
            -float(
                row_slack(rule.tangent(rule.steepest(trade, self._outlook), self._outlook).on(self._outlook), trade)[0]
            )
            for rule in self._mandate.convex_rules
        ]
        missed = np.concatenate([linear, convex])
        for member, limit in limits.items():
            rows, one = list(self.members[member].rows), self.members[member]
            missed[rows] -= one.sense * (limit - one.stated) * (self._room[rows] @ here + self._room_limit[rows])
        return np.array([missed[list(member.rows)].max() for member in self.members])

    def room(self, member: int, point: Vector) -> float:
        """What a unit of the member's limit, loosened, makes of room in its row at a point; the least of its rows."""
        rows = list(self.members[member].rows)
        return float((self._room[rows] @ point[: self._columns.total] + self._room_limit[rows]).min())

    def fixed_room(self, member: int) -> bool:
        """Whether that room is the same everywhere."""
        return bool(self._room[list(self.members[member].rows)].nnz == 0)

    def _move(self, member: int, limit: float) -> None:
        """Write a member's limit into its rows."""
        one = self.members[member]
        by = one.sense * (limit - one.stated)
        for row in one.rows:
            room = self._room[[row]].tocoo()
            base = self._base[[row]].toarray()[0]
            for column, per_unit in zip(room.coords[1], room.data, strict=True):
                self._solver.changeCoeff(row, int(column), float(base[column] - by * per_unit))
            self._solver.changeRowBounds(row, -np.inf, float(self._limits[row] + by * self._room_limit[row]))

    def _hold(self, prices: Mapping[int, float], most: float) -> int:
        at = np.array([self._first_slack + member for member in prices], dtype=np.int32)
        row = self._solver.getNumRow()
        self._solver.addRow(-np.inf, most, len(at), at, np.array(list(prices.values())))
        self._cuts += 1
        return int(row)

    def _release(self, row: int) -> None:
        self._solver.deleteRows(1, np.array([row], dtype=np.int32))
        self._cuts -= 1

    def _solve(self, relaxed: Mapping[int, float], wanted: set[int], enough: float) -> Violation | None:
        near = np.inf
        for _ in range(_ROUNDS):
            if not self._ran():
                return None
            point = np.array(self._solver.getSolution().col_value)
            by = point[self._first_slack :]
            total = float(sum(price * by[member] for member, price in relaxed.items()))
            if total > enough:
                break
            found, near = self._violated(point, wanted)
            moved = self._solver.getInfo().simplex_iteration_count > 0
            if near <= _CUT or (near <= _NEAR and not moved):
                break
            self._add(found)
        else:
            if near > _NEAR:
                raise NotSolved("the search for conflicts found no end of its cuts; loosen a convex rule a little")
        duals = -np.array(self._solver.getSolution().row_dual)
        prices = np.array([max(duals[list(member.rows)].sum(), 0.0) for member in self.members])
        return Violation(total, by.copy(), prices, self._columns.trade(point), point)

    def _ran(self) -> bool:
        """Whether there is a point; a basis that leads nowhere is thrown away, and then the scaling.

        Raises:
            NotSolved: the simplex has no answer either way.
        """
        said = ""
        for retry, tolerance in enumerate((_TOLERANCE, _TOLERANCE, 10 * _TOLERANCE, 10 * _TOLERANCE)):
            if retry:
                self._solver.clearSolver()
                self._solver.setOptionValue("simplex_scale_strategy", 4 if retry == 3 else 2)
            for side in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
                self._solver.setOptionValue(side, tolerance)
            run_highs(self._solver)
            self.iterations += max(int(self._solver.getInfo().simplex_iteration_count), 1)
            status = self._solver.getModelStatus()
            if status in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kInfeasible):
                return bool(status == highspy.HighsModelStatus.kOptimal)
            said = self._solver.modelStatusToString(status)
        return self._ran_afresh(said)

    def _ran_afresh(self, said: str) -> bool:
        """The same program read by a new solver that presolves: it settles what a warm simplex gets lost in; once more
        where presolve gets lost in what is left of numbers that cancel.
        """
        fresh = quiet_highs(threads=1)
        fresh.passModel(self._solver.getModel())
        for dropped in (1e-12, 1e-9):  # of what presolve makes: the program's own numbers are read by now
            fresh.setOptionValue("small_matrix_value", dropped)
            run_highs(fresh)
            status = fresh.getModelStatus()
            if status in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kInfeasible):
                break
            fresh.clearSolver()
        if status == highspy.HighsModelStatus.kInfeasible:
            return False
        if status != highspy.HighsModelStatus.kOptimal:
            raise NotSolved(f"the search for conflicts ended without an answer: {said}")
        fresh.setOptionValue("presolve", "off")
        self._solver = fresh
        return True

    def _violated(self, point: Vector, wanted: set[int]) -> tuple[Cuts, float]:
        """Tangents of what the point violates among the wanted members, and by how much at most."""
        trade = self._columns.trade(point)
        found, far = [], 0.0
        for epigraph, member in zip(self._epigraphs, self._convex_members(), strict=True):
            if member in wanted:
                cuts, by = epigraph.cut(point, trade)
                found.append(cuts)
                far = max(far, by)
        if self._mandate.impact is not None:
            cuts, by = impact_cuts(point, self._mandate.impact, self._columns)
            found.append(cuts)
            far = max(far, by)
        return Cuts.all(found, self._columns.total), far

    def _convex_members(self) -> list[int]:
        count = len(self._epigraphs)
        return list(range(len(self.members) - count, len(self.members)))

    def _add(self, cuts: Cuts) -> None:
        rows = sp.csr_array(cuts.rows)
        if rows.shape[0]:
            self._solver.addRows(
                rows.shape[0],
                np.full(rows.shape[0], -np.inf),
                cuts.limits,
                rows.nnz,
                rows.indptr[:-1].astype(np.int32),
                rows.indices.astype(np.int32),
                rows.data,
            )
            self._cuts += rows.shape[0]
