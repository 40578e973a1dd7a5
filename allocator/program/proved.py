"""The second check for many answers of one shape: rules as rows, the objective by its formula, the bound of §4.9.

What `tightest`, `lower_bound` and the certificate say of one plan, said of thousands: the same formulas on matrices
that were laid out once. Only for mandates without convex rules, impact and ellipsoids, which go the long way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from allocator.mandate.mandate import BoxError, Mandate
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.program.bound import excess_price, least_free
from allocator.program.compile import Start
from allocator.rules import Trade
from allocator.types import Matrix, Vector

GAP_ALLOWED = 1e-6
"""Of the account, or of the objective where it is larger than 1: further from the bound is not called optimal."""
RULE_ALLOWED = 1e-6
"""Of the account, on fractional targets: what a rule may be missed by."""
LAWFUL = 1e-9
"""How far an adversary may lie outside its set."""


def is_plain(mandate: Mandate) -> bool:
    """Whether this module can prove answers to the mandate."""
    error = mandate.return_error is None or isinstance(mandate.return_error, BoxError)
    return not mandate.convex_rules and mandate.impact is None and error


@dataclass(frozen=True, eq=False)
class Duals:
    """What the proof takes from the solver, in units of the account: it makes the bound tight, never false.

    `rows` (R,) ≥ 0, `cash` the price of money, `adversary` (K,) inside the set.
    """

    rows: Vector
    cash: float
    adversary: Vector


class Layout:
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
        # a row whose numbers are tiny is held to what it is broken by, not to what its numbers are
        self._allowed = RULE_ALLOWED * np.where(sizes > 0, np.minimum(sizes, 1.0), 1.0)
        self._own = mandate.risk_aversion * risk.specific
        # slope x step is where slope·h + own·h² is least; without curvature that is one end or the other
        self._steps = -1 / (2 * np.maximum(self._own, 1e-290))
        self._looks = bool(rows.looks_at_gains.any())
        self._charge = mandate.held_charge(np.zeros(0), risk)

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

    def bound(self, start: Start, outlook: Outlook, trade: Trade, duals: Duals, floor: float = -np.inf) -> float:
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
            less = excess_price(slopes, own)
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
