"""Questions to ask of the program: small and random ones made without a book, and what independent arithmetic says.

A question is a start, an outlook and a mandate. Nothing here shares code with the compiled program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from allocator.ambiguity.balls import AnyProbabilities, Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.optimization.solve import Limits, Program, Solution
from allocator.optimization.verification import DualCertificate, best_dual_certificate
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.plan.certificate import Certificate, certify_solution
from allocator.rules import InstrumentCaps, LinearRule, Trade, Turnover, VolatilityLimit, WeightAtLeast, WeightAtMost
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

SETS: tuple[Ambiguity, ...] = (Singleton(), TotalVariation(0.15), Box(0.1), KullbackLeibler(0.05), AnyProbabilities())


@dataclass(frozen=True, eq=False)
class Question:
    """A start, an outlook and a mandate."""

    start: Position
    outlook: Outlook
    mandate: Mandate

    def solved(self, limits: Limits | None = None, program: Program | None = None) -> Solution:
        """The program's own solution, compiled afresh unless one is given."""
        program = program or Program(self.outlook, self.mandate)
        return program.solve(self.start, self.outlook, self.mandate, limits)

    def certified(self, limits: Limits | None = None) -> tuple[Trade, DualCertificate, Certificate]:
        """The program's solution as a trade that passed both checks."""
        return certify_solution(self.start, self.outlook, self.mandate, self.solved(limits))

    def trade(self, holdings: Vector) -> Trade:
        """Holdings reached from the start by trading each name one way only."""
        moved = np.maximum(holdings, 0.0) - self.start.holdings
        return self.swapped(np.maximum(moved, 0.0), np.maximum(-moved, 0.0))

    def swapped(self, bought: Vector, sold: Vector) -> Trade:
        """The portfolio after these purchases and sales, wealth before being 1."""
        costs = float(self.mandate.costs(bought, sold).sum())
        cash = self.start.cash + float(sold.sum()) - float(bought.sum()) - costs
        return Trade(self.start.holdings + bought - sold, cash, bought, sold, costs, 1.0)

    def loss(self, holdings: Vector) -> float:
        """The minimised objective there, from the formulas."""
        return self.mandate.loss(self.trade(holdings), self.outlook)

    def optimum(self, limits: Limits | None = None) -> float:
        """The least loss that the program finds."""
        return self.loss(self.solved(limits).holdings)

    def prices(self) -> tuple[DualCertificate, float]:
        """The program's prices and the bound that they prove."""
        solution = self.solved()
        target = self.trade(solution.holdings)
        return best_dual_certificate(self.start, self.outlook, self.mandate, target, solution.multipliers)

    def broken(self, trade: Trade) -> float:
        """The most by which any rule's own formula, or the account, is broken; negative is room to spare."""
        found = [reading.excess for reading in self.mandate.readings(trade, self.outlook)]
        return max([*found, -trade.cash, -float(trade.values.min())])

    def with_rules(self, *rules: LinearRule, volatility: VolatilityLimit | None = None) -> Question:
        """The same question under other rules."""
        convex = () if volatility is None else (volatility,)
        return replace(self, mandate=replace(self.mandate, linear_rules=rules, convex_rules=convex))

    def with_ambiguity(self, ambiguity: Ambiguity) -> Question:
        """The same question guarded against another set of probabilities."""
        return replace(self, mandate=replace(self.mandate, ambiguity=ambiguity))


def question(
    returns: Matrix,
    covariance: Matrix | None = None,
    *,
    probabilities: Vector | None = None,
    cash_return: float = 0.0,
    risk_aversion: float = 1.0,
    return_weight: float = 1.0,
    ambiguity: Ambiguity | None = None,
    rules: Sequence[LinearRule] = (),
    volatility: float | None = None,
    cost_rate: float = 0.0,
    held: Vector | None = None,
    years: float = 1.0,
) -> Question:
    """A question in plain numbers: (K, N) `returns`, an (N, N) `covariance`, all cash at the start unless `held`."""
    scenarios, names = returns.shape
    p = np.full(scenarios, 1 / scenarios) if probabilities is None else probabilities
    before = np.zeros(names) if held is None else held
    outlook = Outlook(
        tuple(f"S{k}" for k in range(scenarios)),
        p,
        returns,
        np.full(scenarios, cash_return),
        risk_from(np.zeros((names, names)) if covariance is None else covariance),
        years,
    )
    mandate = Mandate(
        return_weight,
        risk_aversion,
        ambiguity or Singleton(),
        tuple(rules),
        () if volatility is None else (VolatilityLimit(volatility),),
        np.full(names, cost_rate),
    )
    return Question(Position(before, 1 - float(before.sum())), outlook, mandate)


def risk_from(covariance: Matrix) -> FactorRisk:
    """A covariance as factors: its eigenvectors, no specific variance."""
    values, vectors = np.linalg.eigh(covariance)
    return FactorRisk(vectors * np.sqrt(np.maximum(values, 0.0)), np.zeros(len(values)), "given")


def names(count: int) -> tuple[str, ...]:
    """Instrument names."""
    return tuple(f"I{i}" for i in range(count))


def caps(count: int, cap: float) -> InstrumentCaps:
    """The same cap for every instrument."""
    return InstrumentCaps(names(count), tuple(range(count)), (cap,) * count)


def no_cash(count: int) -> WeightAtMost:
    """Everything invested."""
    return WeightAtMost("cash", np.zeros(count), 0.0, cash_share=1.0)


def random_question(
    seed: int,
    *,
    count: int = 10,
    scenarios: int = 4,
    ambiguity: Ambiguity | None = None,
    risk_aversion: float = 2.0,
    volatility: float | None = None,
    turnover: float | None = 0.6,
) -> Question:
    """A feasible book of random holdings, returns, risk, costs and rules."""
    draw = np.random.default_rng(seed)
    outlook = Outlook(
        tuple(f"S{k}" for k in range(scenarios)),
        draw.dirichlet(np.ones(scenarios)),
        draw.normal(0.08, 0.25, (scenarios, count)),
        np.full(scenarios, 0.04),
        FactorRisk(draw.normal(size=(count, 3)) * 0.15, draw.uniform(0.01, 0.1, count), "random"),
        1.0,
    )
    held = draw.dirichlet(np.ones(count + 1))
    rules: list[LinearRule] = [
        caps(count, max(0.25, 3 / count)),
        WeightAtMost("group half", (draw.random(count) < 0.5).astype(float), 0.7),
        WeightAtLeast("cash", np.zeros(count), 0.02, 1.0),
    ]
    if turnover is not None:
        rules.append(Turnover(turnover))
    mandate = Mandate(
        1.0,
        risk_aversion,
        ambiguity or TotalVariation(0.15),
        tuple(rules),
        () if volatility is None else (VolatilityLimit(volatility),),
        draw.uniform(0, 0.003, count),
    )
    return Question(Position(held[:-1], float(held[-1])), outlook, mandate)


@dataclass(frozen=True, eq=False)
class Space:
    """All rules over purchases and sales alone, x = (b, s) ≥ 0: rows·x ≤ limits; the last row keeps cash ≥ 0."""

    rows: Matrix
    limits: Vector
    most: Vector

    def without(self, dropped: Sequence[int]) -> Space:
        """The same without some rows."""
        kept = [i for i in range(len(self.limits)) if i not in set(dropped)]
        return Space(self.rows[kept], self.limits[kept], self.most)

    def nearest(self, direction: Vector) -> Vector | None:
        """The point of least `direction`·x, None where the rules cannot hold together."""
        bounds = np.column_stack([np.zeros(len(self.most)), self.most])
        found = linprog(direction, self.rows, self.limits, bounds=bounds, method="highs")
        return None if found.x is None else np.asarray(found.x, dtype=float)

    def feasible(self) -> bool:
        """Whether all of it can hold."""
        return self.nearest(np.zeros(len(self.most))) is not None


def space(asked: Question) -> Space:
    """The linear rules of a question, with holdings, cash and wealth written out in purchases and sales."""
    rows, start, rates = asked.mandate.rows, asked.start, asked.mandate.cost_rates
    eye = np.eye(len(rates))
    held = np.hstack([eye, -eye])
    cash = np.concatenate([-(1 + rates), 1 - rates])
    wealth = np.concatenate([-rates, -rates])
    weights = np.outer(rows.expected, asked.outlook.probabilities)
    if rows.gains.shape[1]:
        weights = weights + rows.gains
    gains, cash_gains = weights @ asked.outlook.returns, weights @ asked.outlook.cash_returns
    left = (
        rows.holdings @ held
        + np.outer(rows.cash, cash)
        + sp.csr_array(sp.hstack([rows.buys, rows.sells])).toarray()
        + gains @ held
        + np.outer(cash_gains, cash)
        - np.outer(rows.wealth, wealth)
    )
    now = (rows.holdings + gains) @ start.holdings + (rows.cash + cash_gains) * start.cash - rows.wealth
    return Space(
        np.vstack([left, -cash]),
        np.append(rows.limit - now, start.cash),
        np.concatenate([np.ones(len(rates)), start.holdings]),
    )


def random_portfolios(asked: Question, seed: int, count: int = 50, corners: int = 10) -> list[Trade]:
    """Portfolios that keep every rule: mixtures of random corners, and of the optimum where a rule is conic."""
    draw, area = np.random.default_rng(seed), space(asked)
    found = [area.nearest(draw.normal(size=len(area.most))) for _ in range(corners)]
    points = [point for point in found if point is not None]
    if asked.mandate.convex_rules:
        moved = np.maximum(asked.solved().holdings, 0.0) - asked.start.holdings
        points += [np.concatenate([np.maximum(moved, 0.0), np.maximum(-moved, 0.0)])] * corners
    size = len(asked.mandate.cost_rates)
    trades = []
    for _ in range(count):
        mixed = draw.dirichlet(np.full(len(points), 0.3)) @ np.array(points)
        trade = asked.swapped(mixed[:size], mixed[size:])
        if asked.broken(trade) <= 1e-9:
            trades.append(trade)
    return trades
