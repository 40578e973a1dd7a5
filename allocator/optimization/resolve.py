"""Many solves of nearly the same question: as fast as a bare solver loop, and each answer still proved outside it.

The fast way is for programs without convex rules, impact and ellipsoids: PIQP updated in place, or HiGHS where risk has
no price, then the canonical check, every rule's row on the trade, the objective by its formula and the lower bound.
What fails any of them is no answer here; whoever asks goes the long way, `Program.solve` and a certificate.

No answer depends on the ones before it, to the last bit: every solve starts cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.optimization.quadratic_program import is_matrices
from allocator.optimization.solve import RESIDUAL_ALLOWED, Limits, MatrixPrograms, trade_of_solution
from allocator.optimization.verification import DualValues, least_free, wealth_price
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import Trade
from allocator.rules.rows import Position
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


class RowProof:
    """The rows of a mandate's rules and its risk, transposed once: for all mandates of the same rows."""

    def __init__(self, mandate: Mandate, risk: FactorRisk) -> None:
        rows = mandate.rows
        self._rows, self._risk = rows, risk
        self._all = sp.csr_array(rows.by_name.T)
        self._loadings = np.ascontiguousarray(risk.loadings.T)
        sizes = np.abs(rows.cash)
        if self._all.nnz:
            sizes = np.maximum(sizes, abs(self._all).max(axis=1).toarray().ravel())
        # a row whose numbers are tiny is held to what it is missed by, not to what its numbers are
        self._allowed = RULE_ALLOWED * np.where(sizes > 0, np.minimum(sizes, 1.0), 1.0)
        self._looks = bool(rows.uses_scenario_returns.any())

    def fits(self, mandate: Mandate, risk: FactorRisk) -> bool:
        """Whether it was laid out for these."""
        return self._rows is mandate.rows and self._risk is risk

    def keeps(self, trade: Trade, outlook: Outlook) -> bool:
        """Whether a trade, wealth before it being 1, keeps every row and holds no less than nothing."""
        rows = self._rows
        used = self._all @ np.concatenate([trade.values, trade.bought, trade.sold]) + rows.cash * trade.cash
        if self._looks:
            used = used + self._weights(outlook) @ outlook.portfolio_returns(trade.values, trade.cash)
        slack = rows.limit + rows.wealth * trade.value - used
        held = trade.cash >= -RULE_ALLOWED and bool((trade.values >= 0).all())
        return held and bool((slack >= -self._allowed).all())

    def _weights(self, outlook: Outlook) -> Matrix:
        """(R, K) what each row makes of the scenarios' gains."""
        rows = self._rows
        weights = np.outer(rows.expected, outlook.probabilities)
        return weights + rows.gains if rows.gains.shape[1] else weights

    def bound(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        trade: Trade,
        duals: DualValues,
        floor: float = -np.inf,
    ) -> float:
        """What no plan's objective can fall below; `floor` is the least price of money to try (science §4.9)."""
        rows, rates, prices = self._rows, mandate.cost_rates, duals.rows
        aversion, price = mandate.risk_aversion, mandate.cost_price(outlook)
        of_wealth = float(rows.wealth @ prices)
        gains = -mandate.return_weight * duals.adversary
        if self._looks:
            gains = gains + self._weights(outlook).T @ prices
        in_rows, on_buys, on_sells = rows.charges(prices)
        wealth = price + of_wealth
        pays = float(gains @ outlook.cash_returns) + float(rows.cash @ prices)
        cash = max(wealth - pays, floor)
        factors = -2 * aversion * (self._loadings @ trade.values)
        own = aversion * outlook.risk.specific
        # slope x step is where slope·h + own·h² is least; without curvature that is one end or the other
        steps = -1 / (2 * np.maximum(own, 1e-290))
        loose = gains @ outlook.returns + in_rows - wealth - factors @ self._loadings
        loose = loose + mandate.marginal_charge(np.zeros(0), outlook.risk)
        # a name that would be held as it was has no better price than the one between buying and selling
        pull = loose + 2 * own * start.holdings
        paid, got = cash * (1 + rates) + on_buys, cash * (1 - rates) - on_sells
        position = np.minimum(np.maximum(-pull, got), paid)
        slopes = loose + position
        at = np.minimum(np.maximum(slopes * steps, 0.0), 1.0)
        less = 0.0
        if at.sum() > 1:
            less = wealth_price(slopes, own)
            slopes = slopes + less
            at = np.minimum(np.maximum(slopes * steps, 0.0), 1.0)
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


def lawful(mandate: Mandate, duals: DualValues, outlook: Outlook) -> bool:
    """Whether the prices prove anything: their signs, and an adversary inside the set."""
    q = duals.adversary
    inside = mandate.ambiguity.excess(q, outlook.probabilities) <= LAWFUL
    return bool((duals.rows >= 0).all() and (q >= 0).all() and abs(float(q.sum()) - 1) <= LAWFUL and inside)


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


class ParametricSolver:
    """Answers to questions that differ in numbers from the one it was made with, or in their shape."""

    def __init__(self, start: Position, outlook: Outlook, mandate: Mandate, limits: Limits | None = None) -> None:
        del start, outlook
        self._limits = limits or Limits()
        self._layout: RowProof | None = None
        self._programs = MatrixPrograms()
        self.is_fast = is_matrices(mandate)
        """Whether the question it was made with can go the fast way."""

    def solve(self, start: Position, outlook: Outlook, mandate: Mandate) -> CertifiedSolution | None:
        """The proved answer; None where the fast way has none, which says nothing about whether there is one."""
        return self.solve_many([(start, outlook, mandate)])[0]

    def solve_many(self, asked: Sequence[Problem]) -> list[CertifiedSolution | None]:
        """The same of many questions.

        Raises:
            OutOfTime: one took longer than the user allows.
        """
        return [self._solved(*question) if is_matrices(question[2]) else None for question in asked]

    def _solved(self, start: Position, outlook: Outlook, mandate: Mandate) -> CertifiedSolution | None:
        mandate.refuse_unchosen()
        solver, program = self._programs.of(mandate, self._limits)
        at, clock = program.write(start, outlook, mandate), self._limits.clock()
        raw = program.solve(at)
        clock.refuse_late()
        if raw is None or not at.check(raw).worst <= RESIDUAL_ALLOWED:
            return None
        layout, duals = self._laid_out(outlook, mandate), at.duals(raw, outlook, mandate)
        trade = trade_of_solution(start, mandate, raw.x[: len(start.holdings)], 1.0)
        # who looks at no return has no adversary
        looks = len(duals.adversary) > 0
        adversary = (
            _member(duals.adversary, mandate.ambiguity, outlook.probabilities) if looks else outlook.probabilities
        )
        duals = replace(duals, adversary=adversary)
        if not (layout.keeps(trade, outlook) and lawful(mandate, duals, outlook)):
            return None
        objective = mandate.loss(trade, outlook)
        allowed = GAP_ALLOWED * max(1.0, abs(objective))
        for floor in (-np.inf, duals.cash):  # with cash left its price follows exactly; with none it may be higher
            gap = objective - layout.bound(start, outlook, mandate, trade, duals, floor)
            if -allowed <= gap <= allowed:
                return CertifiedSolution(trade.values, trade.cash, objective, gap, str(solver))
        return None

    def _laid_out(self, outlook: Outlook, mandate: Mandate) -> RowProof:
        if self._layout is None or not self._layout.fits(mandate, outlook.risk):
            self._layout = RowProof(mandate, outlook.risk)
        return self._layout


def _member(q: Vector, ambiguity: Ambiguity, probabilities: Vector) -> Vector:
    """A member of the set beside `q`: a last digit outside it needs no search."""
    clean = np.maximum(q, 0.0)
    near: Vector = probabilities + (clean / clean.sum() - probabilities) * (1 - _STEP_BACK)
    return near if ambiguity.excess(near, probabilities) <= 0 else ambiguity.project(q, probabilities)
