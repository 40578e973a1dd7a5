"""Many solves of nearly the same question: as fast as a bare solver loop, and each answer still proved outside it.

The fast way is for quadratic programs without convex rules, impact and ellipsoids: PIQP updated through `piqp_updates`,
then the canonical check, every rule's row on the trade, the objective by its formula and the lower bound. What
fails any of them is no answer here; whoever asks goes the long way, `Program.solve` and a certificate.

No answer depends on the ones before it, to the last bit: every solve starts cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.optimization.piqp_updates import PiqpUpdater, ProblemData, RawSolution, piqp_updater
from allocator.optimization.single_period import Position, ProblemShape, SinglePeriodProblem, problem_shape
from allocator.optimization.solve import PIQP, RESIDUAL_ALLOWED, Limits, trade_of_solution
from allocator.optimization.verification import least_free, wealth_price
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import Trade
from allocator.types import Matrix, Vector

# The second check for many answers of one shape: rules as rows, the objective by its formula, the bound of §4.9.
#
# What `best_dual_certificate`, `lower_bound` and the certificate say of one plan, said of thousands: the same formulas
# on matrices that were laid out once. Only for mandates without convex rules, impact and ellipsoids,
# which go the long way.
#
GAP_ALLOWED = 1e-6
"""Of the account, or of the objective where it is larger than 1: further from the bound is not called optimal."""
RULE_ALLOWED = 1e-6
"""Of the account, on fractional targets: what a rule may be missed by."""
LAWFUL = 1e-9
"""How far an adversary may lie outside its set."""


def has_fast_path(mandate: Mandate) -> bool:
    """Whether this module can prove answers to the mandate."""
    linear = mandate.return_error is None or mandate.return_error.linear_charge is not None
    return not mandate.convex_rules and mandate.impact is None and linear


@dataclass(frozen=True, eq=False)
class Duals:
    """What the proof takes from the solver, in units of the account: it makes the bound tight, never false.

    `rows` (R,) ≥ 0, `cash` the price of money, `adversary` (K,) inside the set.
    """

    rows: Vector
    cash: float
    adversary: Vector


class RowProof:
    """The rules of a mandate and its risk, transposed once."""

    def __init__(self, mandate: Mandate, risk: FactorRisk) -> None:
        rows = mandate.rows
        self.mandate, self.risk = mandate, risk
        self._all = sp.csr_array(sp.hstack([rows.holdings, rows.buys, rows.sells]))
        self._back = sp.csr_array(self._all.T)
        self._loadings = np.ascontiguousarray(risk.loadings.T)
        sizes = np.abs(rows.cash)
        if self._all.nnz:
            sizes = np.maximum(sizes, abs(self._all).max(axis=1).toarray().ravel())
        # a row whose numbers are tiny is held to what it is missed by, not to what its numbers are
        self._allowed = RULE_ALLOWED * np.where(sizes > 0, np.minimum(sizes, 1.0), 1.0)
        self._own = mandate.risk_aversion * risk.specific
        # slope x step is where slope·h + own·h² is least; without curvature that is one end or the other
        self._steps = -1 / (2 * np.maximum(self._own, 1e-290))
        self._looks = bool(rows.uses_scenario_returns.any())
        self._charge = mandate.marginal_charge(np.zeros(0), risk)

    def fits(self, mandate: Mandate, risk: FactorRisk) -> bool:
        """Whether it was laid out for these."""
        return self.mandate is mandate and self.risk is risk

    def keeps(self, trade: Trade, outlook: Outlook) -> bool:
        """Whether a trade, wealth before it being 1, keeps every row and holds no less than nothing."""
        rows = self.mandate.rows
        used = self._all @ np.concatenate([trade.values, trade.bought, trade.sold]) + rows.cash * trade.cash
        if self._looks:
            used = used + self._weights(outlook) @ outlook.portfolio_returns(trade.values, trade.cash)
        slack = rows.limit + rows.wealth * trade.value - used
        held = trade.cash >= -RULE_ALLOWED and bool((trade.values >= 0).all())
        return held and bool((slack >= -self._allowed).all())

    def _weights(self, outlook: Outlook) -> Matrix:
        """(R, K) what each row makes of the scenarios' gains."""
        rows = self.mandate.rows
        weights = np.outer(rows.expected, outlook.probabilities)
        return weights + rows.gains if rows.gains.shape[1] else weights

    def lawful(self, duals: Duals, outlook: Outlook) -> bool:
        """Whether the prices prove anything: their signs, and an adversary inside the set."""
        q = duals.adversary
        inside = self.mandate.ambiguity.excess(q, outlook.probabilities) <= LAWFUL
        return bool((duals.rows >= 0).all() and (q >= 0).all() and abs(float(q.sum()) - 1) <= LAWFUL and inside)

    def bound(self, start: Position, outlook: Outlook, trade: Trade, duals: Duals, floor: float = -np.inf) -> float:
        """What no plan's objective can fall below; `floor` is the least price of money to try (science §4.9)."""
        mandate, rows, rates, prices = self.mandate, self.mandate.rows, self.mandate.cost_rates, duals.rows
        count, aversion, price = len(rates), mandate.risk_aversion, mandate.cost_price(outlook)
        of_wealth = float(rows.wealth @ prices)
        gains = -mandate.return_weight * duals.adversary
        if self._looks:
            gains = gains + self._weights(outlook).T @ prices
        back = self._back @ prices
        in_rows, on_buys, on_sells = back[:count], back[count : 2 * count], back[2 * count :]
        wealth = price + of_wealth
        pays = float(gains @ outlook.cash_returns) + float(rows.cash @ prices)
        cash = max(wealth - pays, floor)
        factors = -2 * aversion * (self._loadings @ trade.values)
        own = self._own
        loose = gains @ outlook.returns + in_rows - wealth - factors @ self._loadings + self._charge
        # a name that would be held as it was has no better price than the one between buying and selling
        pull = loose + 2 * own * start.holdings
        paid, got = cash * (1 + rates) + on_buys, cash * (1 - rates) - on_sells
        position = np.minimum(np.maximum(-pull, got), paid)
        slopes = loose + position
        at = np.minimum(np.maximum(slopes * self._steps, 0.0), 1.0)
        less = 0.0
        if at.sum() > 1:
            less = wealth_price(slopes, own)
            slopes = slopes + less
            at = np.minimum(np.maximum(slopes * self._steps, 0.0), 1.0)
        traded = np.minimum(paid - position, 0.0) + np.minimum(position - got, 0.0) * start.holdings
        constant = price - float(prices @ rows.limit) - float(position @ start.holdings) - cash * start.cash
        return (
            constant
            + float(at @ (slopes + own * at))
            + least_free(factors, aversion)
            + min(pays + cash - (wealth - less), 0.0)
            + float(traded.sum())
            + min(-less, 0.0)
        )


_MOST = 32
"""Compiled shapes kept at once: the supports of beliefs on the faces of a simplex of five scenarios."""
_STEP_BACK = 1e-8
"""Of the way from the belief to the solver's adversary: costs the bound that part of what the adversary costs."""


@dataclass(frozen=True, eq=False)
class CertifiedSolution:
    """A proved answer, in fractions of the account before trading.

    (N,) `holdings` and `cash` after the trades; the minimised `objective` by its formula, at most `gap` above the best
    there is; `solver` says which way it came.
    """

    holdings: Vector
    cash: float
    objective: float
    gap: float
    solver: str

    @property
    def weights(self) -> Vector:
        """(N + 1,) fractions of the account after trading, cash last."""
        every = np.append(self.holdings, self.cash)
        return np.asarray(every / every.sum())


Problem: TypeAlias = tuple[Position, Outlook, Mandate]
"""Where we stand, what we believe and what we want."""


@dataclass(frozen=True, eq=False)
class _ScaledProblem:
    """A question as data, and the units that they are in."""

    loop: PiqpUpdater
    data: ProblemData
    scale: float
    row_units: Vector


@dataclass(frozen=True, eq=False)
class _CompiledShape:
    compiled: SinglePeriodProblem
    loop: PiqpUpdater | None


class ParametricSolver:
    """Answers to questions that differ in numbers from the one it was made with.

    Questions of another shape (a belief that excludes a scenario) are compiled when they come.
    """

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._kept: list[_CompiledShape] = []
        self._layout: RowProof | None = None
        self._kept.append(self._compile(start, outlook, mandate))

    @property
    def is_fast(self) -> bool:
        """Whether the question it was made with can go the fast way."""
        return self._kept[0].loop is not None

    def solve(self, start: Position, outlook: Outlook, mandate: Mandate) -> CertifiedSolution | None:
        """The proved answer; None where the fast way has none, which says nothing about whether there is one."""
        return self.solve_many([(start, outlook, mandate)])[0]

    def solve_many(self, asked: Sequence[Problem]) -> list[CertifiedSolution | None]:
        """The same of many questions: all are written, then solved, then proved, which keeps caches warm."""
        written = [self._write(*question) for question in asked]
        raws = [None if one is None else self._solved(one) for one in written]
        return [
            None if one is None or raw is None else self._proved(one, raw, *question)
            for one, raw, question in zip(written, raws, asked, strict=True)
        ]

    def _solved(self, one: _ScaledProblem) -> RawSolution | None:
        """What PIQP says.

        Raises:
            OutOfTime: it took longer than the user allows.
        """
        clock = self._limits.clock()
        raw = one.loop.solve(one.data)
        clock.refuse_late()
        return raw

    def _write(self, start: Position, outlook: Outlook, mandate: Mandate) -> _ScaledProblem | None:
        wanted = problem_shape(outlook, mandate)
        at = self._fitting(wanted, start, outlook, mandate) if _is_fast(wanted, mandate) else None
        if at is None or at.loop is None:
            return None
        own = at.compiled
        own.write(start, outlook, mandate, changed_in_place=False)  # what was changed so the proof would not let pass
        return _ScaledProblem(at.loop, at.loop.write(), own.scale, own.row_units)

    def _compile(self, start: Position, outlook: Outlook, mandate: Mandate) -> _CompiledShape:
        compiled = SinglePeriodProblem(outlook, mandate)
        if not _is_fast(compiled.shape, mandate):
            return _CompiledShape(compiled, None)
        compiled.write(start, outlook, mandate)
        return _CompiledShape(compiled, piqp_updater(compiled, self._limits.tolerance))

    def _fitting(self, wanted: ProblemShape, start: Position, outlook: Outlook, mandate: Mandate) -> _CompiledShape:
        for one in self._kept:
            if one.compiled.shape.fits(wanted):
                return one
        made = self._compile(start, outlook, mandate)
        self._kept = [*self._kept[:1], *self._kept[1:][-_MOST:], made]
        return made

    def _proved(
        self, at: _ScaledProblem, raw: RawSolution, start: Position, outlook: Outlook, mandate: Mandate
    ) -> CertifiedSolution | None:
        if not at.loop.check(at.data, raw).worst <= RESIDUAL_ALLOWED:
            return None
        layout = self._laid_out(outlook, mandate)
        trade = trade_of_solution(start, mandate, at.loop.places.holdings.of(raw.x), 1.0)
        duals = _duals(at, raw, outlook, mandate)
        if not (layout.keeps(trade, outlook) and layout.lawful(duals, outlook)):
            return None
        objective = mandate.loss(trade, outlook)
        allowed = GAP_ALLOWED * max(1.0, abs(objective))
        for floor in (-np.inf, duals.cash):  # with cash left its price follows exactly; with none it may be higher
            gap = objective - layout.bound(start, outlook, trade, duals, floor)
            if -allowed <= gap <= allowed:
                return CertifiedSolution(trade.values, trade.cash, objective, gap, str(PIQP))
        return None

    def _laid_out(self, outlook: Outlook, mandate: Mandate) -> RowProof:
        if self._layout is None or not self._layout.fits(mandate, outlook.risk):
            self._layout = RowProof(mandate, outlook.risk)
        return self._layout


def _is_fast(wanted: ProblemShape, mandate: Mandate) -> bool:
    """Whether a question can go the fast way: curved by its risk alone."""
    return has_fast_path(mandate) and mandate.risk_aversion > 0 and not wanted.conic


def _duals(at: _ScaledProblem, raw: RawSolution, outlook: Outlook, mandate: Mandate) -> Duals:
    """The solver's duals in units of the account, noise taken out."""
    both, rows, places = np.concatenate([raw.equalities, raw.rows]), mandate.rows, at.loop.places
    prices = np.zeros(0)
    if places.rows is not None:
        prices = np.maximum(places.rows.of(both), 0.0) * at.scale / at.row_units
    # where W is written as 1 − costs, cash is priced without what wealth is worth there
    apart = float(prices @ np.where(rows.uses_scenario_returns != 0, rows.wealth, 0.0)) if len(prices) else 0.0
    cash = float(places.cash.of(both)[0]) * at.scale + mandate.cost_price(outlook) + apart
    q = outlook.probabilities if places.adversary is None else places.adversary.of(both)
    return Duals(prices, cash, _member(q, mandate.ambiguity, outlook.probabilities))


def _member(q: Vector, ambiguity: Ambiguity, probabilities: Vector) -> Vector:
    """A member of the set beside `q`: a last digit outside it needs no search."""
    clean = np.maximum(q, 0.0)
    near: Vector = probabilities + (clean / clean.sum() - probabilities) * (1 - _STEP_BACK)
    return near if ambiguity.excess(near, probabilities) <= 0 else ambiguity.project(q, probabilities)
