"""What one writes by hand for one question, without our product: the bare solvers that it is measured beside.

Plain mean-variance for PIQP, Clarabel, HiGHS and OSQP, with risk in factor form; adversary cuts on PIQP for a mandate
guarded by a set; row generation on HiGHS for mean and CVaR. Each is as fast as we know to write it, and checks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import clarabel
import highspy
import numpy as np
import piqp
import scipy.sparse as sp

from allocator.book.book import Book
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class MeanVariance:
    """maximise excess·w − aversion·w'Ωw − rate·|w − held| subject to 0 ≤ w ≤ cap, groups·w ≤ most, sum(w) ≤ invested.

    What is not in the names is cash, beyond whose return names have their `excess`; Ω = loadings·loadings' + specific.
    """

    names: tuple[str, ...]
    excess: Vector
    loadings: Matrix
    specific: Vector
    aversion: float
    rate: float
    held: Vector
    cap: float
    groups: Matrix
    most: float
    invested: float

    @staticmethod
    def of(book: Book) -> MeanVariance:
        """The question of a book with the plain settings."""
        outlook = build_outlook(book)
        mandate = build_mandate(book, outlook)
        wanted, believed = book.settings.mandate, outlook.probabilities
        excess = believed @ outlook.returns - float(believed @ outlook.cash_returns)
        members = [[float(name in group) for name in book.instruments] for group in book.settings.groups.values()]
        return MeanVariance(
            tuple(book.instruments), excess, outlook.risk.loadings, outlook.risk.specific, wanted.risk_aversion,
            float(mandate.cost_rates[0]), book.weights, float(wanted.max_weight or 1.0), np.array(members), 0.3,
            1 - float(wanted.min_cash or 0.0),
        )  # fmt: skip

    @cached_property
    def covariance(self) -> Matrix:
        """(N, N), which most peers want."""
        return np.asarray(self.loadings @ self.loadings.T + np.diag(self.specific))

    def loss(self, weights: Vector) -> float:
        """What is minimised."""
        factors = self.loadings.T @ weights
        risk = float(factors @ factors + self.specific @ weights**2)
        return (
            self.aversion * risk - float(self.excess @ weights) + self.rate * float(np.abs(weights - self.held).sum())
        )

    def missed(self, weights: Vector) -> float:
        """By how much the worst limit is broken, in parts of the account."""
        invested = weights.sum() - self.invested
        parts = -weights, weights - self.cap, self.groups @ weights - self.most, np.atleast_1d(invested)
        return float(np.concatenate(parts).max())

    @cached_property
    def program(self) -> dict[str, Any]:
        """minimise ½x'Px + c'x, Ax = b, Gx ≤ h, low ≤ x ≤ high; x is w, purchases, sales and exposures to factors."""
        n, factors = self.loadings.shape
        eye, curved = sp.eye(n), np.concatenate([2 * self.aversion * self.specific, np.zeros(2 * n)])
        A = sp.bmat([[eye, -eye, eye, None], [sp.csr_matrix(self.loadings.T), None, None, -sp.eye(factors)]])
        G = sp.hstack([np.vstack([self.groups, np.ones(n)]), sp.csr_matrix((len(self.groups) + 1, 2 * n + factors))])
        free = np.full(factors, np.inf)
        return {
            "P": sp.csc_matrix(sp.diags(np.append(curved, np.full(factors, 2 * self.aversion)))),
            "c": np.concatenate([-self.excess, np.full(2 * n, self.rate), np.zeros(factors)]),
            "A": sp.csc_matrix(A),
            "b": np.append(self.held, np.zeros(factors)),
            "G": sp.csc_matrix(G),
            "h": np.append(np.full(len(self.groups), self.most), self.invested),
            "low": np.append(np.zeros(3 * n), -free),
            "high": np.concatenate([np.full(n, self.cap), np.full(n, np.inf), self.held, free]),
        }


def by_piqp(asked: MeanVariance) -> Vector:
    """Set up and solved."""
    at = asked.program
    solver = fresh_piqp()
    solver.setup(P=at["P"], c=at["c"], A=at["A"], b=at["b"], G=at["G"], h_u=at["h"], x_l=at["low"], x_u=at["high"])
    solver.solve()
    return np.array(solver.result.x)[: len(asked.names)]


def fresh_piqp() -> Any:
    """PIQP at the tolerance that the product asks for, its other settings as they come."""
    solver = piqp.SparseSolver()
    own = solver.settings
    own.eps_abs = own.eps_rel = own.eps_duality_gap_abs = own.eps_duality_gap_rel = TOLERANCE
    own.compute_timings = False
    return solver


def by_clarabel(asked: MeanVariance) -> Vector:
    """Set up and solved."""
    at, n = asked.program, len(asked.names)
    bounded, above = np.isfinite(at["low"]), np.isfinite(at["high"])
    eye = sp.eye(len(at["c"]), format="csr")
    A = sp.csc_matrix(sp.vstack([at["A"], at["G"], eye[above], -eye[bounded]]))
    b = np.concatenate([at["b"], at["h"], at["high"][above], -at["low"][bounded]])
    own = clarabel.DefaultSettings()
    own.verbose, own.max_threads = False, 1
    own.tol_gap_abs = own.tol_gap_rel = own.tol_feas = TOLERANCE
    cones = [clarabel.ZeroConeT(len(at["b"])), clarabel.NonnegativeConeT(len(b) - len(at["b"]))]
    return np.array(clarabel.DefaultSolver(at["P"], at["c"], A, b, cones, own).solve().x)[:n]


def by_highs(asked: MeanVariance) -> Vector:
    """Set up and solved."""
    at = asked.program
    rows = sp.csr_matrix(sp.vstack([at["A"], at["G"]]))
    model = highspy.HighsModel()
    lp, curve = model.lp_, model.hessian_
    lp.num_row_, lp.num_col_ = rows.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = at["c"], at["low"], at["high"]
    lp.row_lower_ = np.append(at["b"], np.full(len(at["h"]), -np.inf))
    lp.row_upper_ = np.append(at["b"], at["h"])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.indptr, rows.indices, rows.data
    curve.dim_, curve.format_ = len(at["c"]), highspy.HessianFormat.kTriangular
    curve.start_, curve.index_, curve.value_ = at["P"].indptr, at["P"].indices, at["P"].data
    solver = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, "time_limit": 30.0}.items():
        solver.setOptionValue(name, value)
    solver.passModel(model)
    solver.run()
    return np.array(solver.getSolution().col_value)[: len(asked.names)]


def by_osqp(asked: MeanVariance) -> Vector:
    """Set up and solved, to a thousandth of the others' accuracy: it takes no better one in reasonable time."""
    import osqp

    at = asked.program
    eye = sp.eye(len(at["c"]))
    A = sp.csc_matrix(sp.vstack([at["A"], at["G"], eye]))
    low = np.concatenate([at["b"], np.full(len(at["h"]), -np.inf), at["low"]])
    solver = osqp.OSQP()
    options = {"eps_abs": 1e-6, "eps_rel": 1e-6, "polishing": True, "max_iter": 20_000, "verbose": False}
    solver.setup(at["P"], at["c"], A, low, np.concatenate([at["b"], at["h"], at["high"]]), **options)
    return np.array(solver.solve().x)[: len(asked.names)]


def cuts_by_hand(start: Position, outlook: Outlook, mandate: Mandate) -> tuple[float, int]:
    """The objective and the rounds; x is h, c, b, s, y, θ, W."""
    rows, load, n, R = mandate.rows, outlook.risk.loadings, len(start.holdings), outlook.returns
    factors, aversion, rates = load.shape[1], mandate.risk_aversion, mandate.cost_rates
    theta, width, y = 3 * n + 1 + factors, 3 * n + 3 + factors, 3 * n + 1
    curved = np.concatenate([2 * aversion * outlook.risk.specific, np.zeros(2 * n + 1), np.full(factors, 2 * aversion)])
    P = sp.csc_matrix(sp.diags(np.append(curved, [0, 0])))
    cost = np.zeros(width)
    cost[theta], cost[n + 1 : y] = 1.0, np.tile(rates, 2)
    eye, one = sp.eye(n), sp.csr_matrix([[1.0]])
    A = sp.bmat(
        [
            [eye, None, -eye, eye, None, None, None],
            [None, one, sp.csr_matrix(1 + rates), sp.csr_matrix(rates - 1), None, None, None],
            [sp.csr_matrix(load.T), None, None, None, -sp.eye(factors), None, None],
            [sp.csr_matrix(np.ones(n)), one, None, None, None, sp.csr_matrix((1, 1)), -one],
        ]
    ).tocsc()
    b = np.concatenate([start.holdings, [start.cash], np.zeros(factors + 1)])
    count = len(rows.limit)
    parts = [rows.holdings, rows.cash[:, None], rows.buys, rows.sells, sp.csr_matrix((count, factors + 1))]
    G = sp.csr_matrix(sp.hstack([*parts, -rows.wealth[:, None]]))
    low, high = np.zeros(width), np.full(width, np.inf)
    low[y:], high[2 * n + 1 : y] = -np.inf, start.holdings

    def loss(x: np.ndarray) -> tuple[np.ndarray, float]:
        losses = -(R @ x[:n] + outlook.cash_returns * x[n])
        q = mandate.ambiguity.adversary(losses, outlook.probabilities)
        return q, 0.5 * x @ (P @ x) + cost @ x - x[theta] + q @ losses

    kept, best = [outlook.probabilities], (np.inf, np.zeros(0))
    for rounds in range(1, 300):
        Q = np.array(kept)
        blocks = [-Q @ R, -(Q @ outlook.cash_returns)[:, None], sp.csr_matrix((len(Q), 2 * n + factors))]
        cut = sp.hstack([*map(sp.csr_matrix, blocks), -np.ones((len(Q), 1)), sp.csr_matrix((len(Q), 1))])
        solver = piqp.SparseSolver()
        own = solver.settings
        own.eps_abs = own.eps_rel = own.eps_duality_gap_abs = own.eps_duality_gap_rel = 1e-9
        limits = np.concatenate([rows.limit, np.zeros(len(Q))])
        solver.setup(P=P, c=cost, A=A, b=b, G=sp.csc_matrix(sp.vstack([G, cut])), h_u=limits, x_l=low, x_u=high)
        solver.solve()
        x, prices = np.array(solver.result.x), np.array(solver.result.z_u)[count:]
        (q, value), bound = loss(x), 0.5 * x @ (P @ x) + cost @ x
        if value - bound <= 1e-8:
            return float(value), rounds
        best = min(best, (value, x), key=lambda at: at[0])
        kept = [*(old for old, price in zip(kept, prices, strict=True) if price > 1e-7), q]
        if best[1] is not x:
            middle = 0.8 * best[1] + 0.2 * x
            q, value = loss(middle)
            kept.append(q)
            best = min(best, (value, middle), key=lambda at: at[0])
    raise RuntimeError("not met")


@dataclass(frozen=True, eq=False)
class Tails:
    """minimise −(1 − weight)·mean gain + weight·CVaR of losses over (S, N) draws of `returns`, less `rate` a trade;
    0 ≤ w ≤ cap, the rest is cash. A weight of one half is a peer's risk aversion of 1.
    """

    returns: Matrix
    mean: Vector
    cash: float
    level: float
    weight: float
    rate: float
    cap: float
    held: Vector

    @staticmethod
    def of(staged: MultistageMandate, start: Position) -> Tails:
        """The question that `rows_by_hand` answers, as peers see it."""
        objective: Any = staged.utility
        return Tails(
            objective.growth[0] - 1, staged.tree.leaf_growth[0] - 1, float(staged.tree.leaf_cash_growth[0]) - 1,
            objective.level, objective.weight, float(staged.mandates[0].cost_rates[0]),
            float(staged.mandates[0].linear_rules[0].rows(len(start.holdings)).wealth[0]), start.holdings,
        )  # fmt: skip

    @property
    def draws(self) -> int:
        """S."""
        return len(self.returns)

    @property
    def names(self) -> int:
        """N."""
        return len(self.mean)

    def loss(self, weights: Vector) -> float:
        """What is minimised, costs paid from cash."""
        costs = self.rate * float(np.abs(weights - self.held).sum())
        cash = 1 - float(weights.sum()) - costs
        losses = np.sort(costs - self.returns @ weights - self.cash * cash)[::-1]
        tail = (1 - self.level) * self.draws
        whole = int(tail)
        worst = (float(losses[:whole].sum()) + (tail - whole) * float(losses[min(whole, self.draws - 1)])) / tail
        return (1 - self.weight) * (costs - float(self.mean @ weights) - self.cash * cash) + self.weight * worst

    def missed(self, weights: Vector) -> float:
        """By how much the worst limit is broken."""
        return float(max((-weights).max(), (weights - self.cap).max(), weights.sum() - 1))


def rows_by_hand(staged: MultistageMandate, start: Position) -> tuple[float, int, int, Vector]:
    """The objective, the rounds, the draws that have rows, and weights of the account after trading.

    x is h, b, s, c, W, t and an excess a draw.
    """
    objective: Any = staged.utility
    values, mean = objective.growth[0], staged.tree.leaf_growth[0]
    (draws, n), tail, weight = values.shape, 1 - objective.level, objective.weight
    cap, price = staged.mandates[0].linear_rules[0].rows(n).wealth, objective.weight / (tail * draws)
    solver, inf = highspy.Highs(), highspy.kHighsInf
    options = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        solver.setOptionValue(name, value)
    cost = np.concatenate([-(1 - weight) * mean, np.full(2 * n, 1e-8), [-(1 - weight) * 1.03, 0.0, weight]])
    low, high = np.zeros(3 * n + 3), np.full(3 * n + 3, inf)
    low[-1], high[2 * n : 3 * n] = -inf, start.holdings
    solver.addVars(len(cost), low, high)
    solver.changeColsCost(len(cost), np.arange(len(cost), dtype=np.int32), cost)
    for i in range(n):
        own = np.array([i, n + i, 2 * n + i], dtype=np.int32)
        solver.addRow(start.holdings[i], start.holdings[i], 3, own, np.array([1.0, -1.0, 1.0]))
        solver.addRow(-inf, 0.0, 2, np.array([i, 3 * n + 1], dtype=np.int32), np.array([1.0, -cap[i]]))
    paid = np.concatenate([np.full(n, 1.001), np.full(n, -0.999), [1.0]])
    solver.addRow(start.cash, start.cash, 2 * n + 1, np.arange(n, 3 * n + 1, dtype=np.int32), paid)
    at = np.append(np.arange(n), [3 * n, 3 * n + 1]).astype(np.int32)
    solver.addRow(0.0, 0.0, n + 2, at, np.append(np.ones(n + 1), -1.0))
    known = np.zeros(draws, dtype=bool)

    def add(new: np.ndarray) -> None:
        count, first = len(new), solver.getNumCol()
        known[new] = True
        none, empty = np.zeros(count, dtype=np.int32), np.zeros(0, dtype=np.int32)
        bounds = np.zeros(count), np.full(count, inf)
        solver.addCols(count, np.full(count, price), *bounds, 0, none, empty, np.zeros(0))
        of = [
            np.tile(np.arange(n), (count, 1)),
            np.tile([3 * n, 3 * n + 2], (count, 1)),
            first + np.arange(count)[:, None],
        ]
        columns = np.concatenate(of, axis=1).astype(np.int32)
        entries = np.concatenate([values[new], np.tile([1.03, 1.0, 1.0], (count, 1))], axis=1)
        starts = (np.arange(count) * columns.shape[1]).astype(np.int32)
        solver.addRows(
            count, np.ones(count), np.full(count, inf), columns.size, starts, columns.ravel(), entries.ravel()
        )

    add(np.argsort(values @ start.holdings, kind="stable")[: int(2 * tail * draws)])
    for rounds in range(1, 300):
        solver.run()
        x, claimed = np.array(solver.getSolution().col_value), solver.getInfo().objective_function_value
        excess = np.maximum(1 - values @ x[:n] - 1.03 * x[3 * n] - x[3 * n + 2], 0.0)
        loss = cost[: 3 * n + 3] @ x[: 3 * n + 3] + price * excess.sum()
        missing = np.flatnonzero((excess > 0) & ~known)
        if loss - claimed <= 1e-10 or not len(missing):
            return float(loss + 1 - weight - 1e-8 * x[n : 3 * n].sum()), rounds, int(known.sum()), x[:n] / x[3 * n + 1]
        add(missing[np.argsort(-excess[missing])[:300]])
    raise RuntimeError("not met")
