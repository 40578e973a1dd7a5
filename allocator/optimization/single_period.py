"""The one builder: a mandate over one decision node as a parametrised cvxpy problem, compiled once for each shape.

Wealth before trading is 1. Variables: holdings h, purchases b, sales s (N,), cash c, wealth W, factor exposures y (F,),
scenario gains r and losses th (K,), costs k = 1 − W. Gains and costs are in units of the largest return, so that what a
solver calls zero is small beside them even where returns are. Everything that may change between two solves is a
parameter; what is compiled in is the shape: instruments, risk factors, which rules there are, and which ambiguity set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from allocator.ambiguity.sets import DualForm
from allocator.cvxpy_parameters import FastParameter
from allocator.mandate.mandate import Mandate
from allocator.optimization.quadratic_program import (
    FEW_FACTORS,
    TIE_BREAK,
    largest_return,
    objective_scale,
    typical_variance,
)
from allocator.outlook.outlook import Outlook
from allocator.rules import RuleRows
from allocator.rules.convex import DecisionVariables, RuleConstraints
from allocator.rules.directions import Above
from allocator.rules.rows import Position
from allocator.types import Vector

# What is compiled in: two questions of one shape share a program, whatever their numbers.
#


@dataclass(frozen=True, eq=False)
class ProblemShape:
    """What must be equal for two questions to share one compiled program."""

    loadings: Vector
    specific: Vector
    scenarios: int
    pattern: tuple[Any, ...]
    conic: bool
    """Whether it takes more than a quadratic program."""

    def fits(self, other: ProblemShape) -> bool:
        """Whether a program compiled for one serves the other."""
        return (
            self.pattern == other.pattern
            and self.scenarios == other.scenarios
            and np.array_equal(self.loadings, other.loadings)
            and np.array_equal(self.specific, other.specific)
        )


def problem_shape(outlook: Outlook, mandate: Mandate) -> ProblemShape:
    """The shape of a question."""
    rows = mandate.rows
    pattern = (
        mandate.ambiguity.structure(outlook.probabilities),
        bool(mandate.return_weight),
        mandate.risk_aversion > 0,
        mandate.impact is not None,
        None if mandate.return_error is None else mandate.return_error.pattern,
        mandate.charges is not None,
        rows.structure,
        tuple(rule.pattern(outlook) for rule in mandate.convex_rules),
    )
    conic = (
        mandate.ambiguity.is_curved
        or mandate.impact is not None
        or (mandate.return_error is not None and mandate.return_error.is_conic)
        or any(rule.is_conic for rule in mandate.convex_rules)
    )
    return ProblemShape(outlook.risk.loadings, outlook.risk.specific, len(outlook.scenarios), pattern, conic)


@dataclass(frozen=True, eq=False)
class ProblemVariables:
    """The variables whose values and duals mean something to the user."""

    holdings: cp.Variable
    cash: cp.Variable
    buys: cp.Variable
    sells: cp.Variable
    wealth: cp.Variable


@dataclass(frozen=True, eq=False)
class ProblemConstraints:
    """The constraints whose duals are read: labelled, one family an attribute."""

    position: cp.Constraint
    cash: cp.Constraint
    wealth: cp.Constraint
    factors: cp.Constraint | None
    losses: cp.Constraint | None
    rows: cp.Constraint | None

    def all(self) -> list[cp.Constraint]:
        """Those that exist."""
        found = (self.position, self.cash, self.wealth, self.factors, self.losses, self.rows)
        return [constraint for constraint in found if constraint is not None]


class SinglePeriodProblem:
    """A cvxpy problem with its parameters; `write` sets them, `problem` is DPP and never rebuilt."""

    def __init__(self, outlook: Outlook, mandate: Mandate, *, fixed_returns: bool = False) -> None:
        """Compile; with `fixed_returns` those of the scenarios are constants, which cvxpy formats a dozen times as fast
        where there are many, and `write` may not change them.
        """
        instruments, scenarios = len(mandate.cost_rates), len(outlook.scenarios)
        rows = mandate.rows
        self.shape = problem_shape(outlook, mandate)
        self._unit_variance = typical_variance(outlook)
        self._full = outlook.risk.loadings.shape[1] > FEW_FACTORS * instruments
        self._returns: Any = outlook.returns / largest_return(outlook)
        if not fixed_returns:
            self._returns = FastParameter((scenarios, instruments), name="scenario returns / unit")
        self._declare(instruments, scenarios, len(rows.labels))
        self.variables = ProblemVariables(
            cp.Variable(instruments, nonneg=True, name="holdings"),
            cp.Variable(nonneg=True, name="cash"),
            cp.Variable(instruments, nonneg=True, name="buys"),
            cp.Variable(instruments, nonneg=True, name="sells"),
            cp.Variable(name="wealth"),
        )
        self._gains = cp.Variable(scenarios, name="gains")
        self._mean, self._costs = cp.Variable(name="expected gain"), cp.Variable(name="costs")
        self._factors = cp.Variable(outlook.risk.loadings.shape[1], name="factor exposures")
        self.moved = cp.Variable(instruments, nonneg=True, name="impact") if mandate.impact is not None else None
        self._shortfall = cp.Variable(nonneg=True, name="return error")
        losses = cp.Variable(scenarios, name="losses")
        v = self.variables
        decision = DecisionVariables(v.holdings, v.wealth, self._factors, self._gains, self._costs)
        self._numbers = [_parameters(rule.numbers(outlook, 1.0)) for rule in mandate.convex_rules]
        self.convex: tuple[RuleConstraints, ...] = tuple(
            rule.cone(decision, outlook, numbers)
            for rule, numbers in zip(mandate.convex_rules, self._numbers, strict=True)
        )
        self.error: Above | None = None
        if (error := mandate.return_error) is not None:
            self._error_numbers = _parameters(error.numbers())
            self.error = error.above(self._shortfall, v.holdings, self._factors, outlook.risk, self._error_numbers)
        self.worst: DualForm | None = None
        if mandate.return_weight:
            self.worst = mandate.ambiguity.dual_form(losses, outlook.probabilities)
        self.constraints = self._constrain(outlook, mandate, rows, losses)
        gains = self._returns @ self.variables.holdings + self._cash_returns * self.variables.cash
        others = [(self._gains == gains).set_label("gain in each scenario")] if self._needs_gains else []
        if rows.expected.any():
            others.append((self._mean == self._belief @ self._gains).set_label("expected gain"))
        traded = self.variables.buys + self.variables.sells
        costs = self._rates @ traded
        if self.moved is not None:
            costs = costs + cp.sum(self.moved)
            others.append((self.moved >= cp.multiply(self._impact, cp.power(traded, 1.5))).set_label("impact"))
        others.append((self._costs == costs).set_label("costs"))
        # nothing is sold that was not held: else a round trip could spend cash at will
        others.append((self.variables.sells <= self._start).set_label("sold at most what is held"))
        self.problem = cp.Problem(
            cp.Minimize(self._objective(outlook, mandate)),
            self.constraints.all()
            + (self.error.constraints if self.error else [])
            + others
            + (self.worst.constraints if self.worst else [])
            + [constraint for rule in self.convex for constraint in rule.constraints],
        )
        if not self.problem.is_dcp(dpp=True):  # a raise, not an assert: python -O must not lose it
            raise RuntimeError("the program is not DPP; every solve would compile anew")
        self.scale, self.row_units = 1.0, np.ones(len(rows.labels))
        self._written: tuple[Position, tuple[Any, ...]] | None = None

    def _declare(self, instruments: int, scenarios: int, rows: int) -> None:
        self._start = FastParameter(instruments, nonneg=True, name="holdings before")
        self._start_cash = FastParameter(name="cash before")
        self._buying = FastParameter(instruments, nonneg=True, name="cash paid for one unit bought")
        self._selling = FastParameter(instruments, nonneg=True, name="cash received for one unit sold")
        self._cash_returns = FastParameter(scenarios, name="cash returns / unit")
        self._rates = FastParameter(instruments, nonneg=True, name="cost rates / unit")
        # cvxpy wants at least one element; an unused parameter is never written into the data
        self._wealth_limits = FastParameter(max(rows, 1), name="limits per wealth")
        self._limits = FastParameter(max(rows, 1), name="fixed limits")
        self._cost_limits = FastParameter(max(rows, 1), name="limits per cost")
        self._expected = FastParameter(max(rows, 1), name="weights of the expected gain")
        self._expected_gains = FastParameter((max(rows, 1), scenarios), name="weights of the gains")
        self._impact = FastParameter(instruments, nonneg=True, name="impact / unit")
        self._unit = FastParameter(nonneg=True, name="largest return")
        self._error_price = FastParameter(nonneg=True, name="price of the return error")
        self._charged = FastParameter(instruments, name="charge of each name")
        self._belief = FastParameter(scenarios, nonneg=True, name="probabilities")
        self._gain_price = FastParameter(nonneg=True, name="price of a unit of return")
        self._cost_price = FastParameter(nonneg=True, name="price of a unit of costs")
        self._risk_price = FastParameter(nonneg=True, name="price of risk")
        self._tie_break = FastParameter(nonneg=True, name="price of trading")

    def _constrain(self, outlook: Outlook, mandate: Mandate, rows: RuleRows, losses: cp.Variable) -> ProblemConstraints:
        v = self.variables
        of_rules = any(rule.looks_at_gains for rule in mandate.convex_rules)
        self._needs_gains = bool(mandate.return_weight) or bool(rows.uses_scenario_returns.any()) or of_rules
        exposures = self._factors == outlook.risk.loadings.T @ v.holdings
        loss = losses >= -self._gain_price * self._gains
        cash = self._start_cash - self._buying @ v.buys + self._selling @ v.sells
        if self.moved is not None:
            cash = cash - self._unit * cp.sum(self.moved)
        factors = not self._full or any(rule.uses_factors for rule in mandate.convex_rules)
        factors = factors or (mandate.return_error is not None and mandate.return_error.uses_factors)
        return ProblemConstraints(
            position=(v.holdings == self._start + v.buys - v.sells).set_label("holdings = before + bought - sold"),
            cash=(v.cash == cash).set_label("cash row"),
            wealth=(v.wealth == cp.sum(v.holdings) + v.cash).set_label("wealth after costs"),
            factors=exposures.set_label("factor exposures") if factors else None,
            losses=loss.set_label("loss in each scenario") if mandate.return_weight else None,
            rows=self._row_constraint(rows),
        )

    def _row_constraint(self, rows: RuleRows) -> cp.Constraint | None:
        if not rows.labels:
            return None
        v = self.variables
        left = rows.holdings @ v.holdings + cp.multiply(rows.cash, v.cash) - self._wealth_limits * v.wealth
        if rows.buys.nnz or rows.sells.nnz:
            left = left + rows.buys @ v.buys + rows.sells @ v.sells
        if rows.uses_scenario_returns.any():
            left = left + self._cost_limits * self._costs
        if rows.expected.any():
            left = left + self._expected * self._mean
        if rows.gains.any():
            left = left + self._expected_gains @ self._gains
        return (left <= self._limits).set_label("rules: " + "; ".join(rows.labels))

    def _objective(self, outlook: Outlook, mandate: Mandate) -> cp.Expression:
        v = self.variables
        objective = self._tie_break * (cp.sum(v.buys) + cp.sum(v.sells)) + self._cost_price * self._costs
        if self.worst:
            objective = objective + self.worst.expression
        if self.error and self.error.constraints:
            objective = objective + self._error_price * self._shortfall
        if mandate.linear_charge is not None:
            objective = objective + self._charged @ v.holdings
        if mandate.risk_aversion > 0:
            risk = outlook.risk
            if self._full:
                full = (risk.loadings @ risk.loadings.T + np.diag(risk.specific)) / self._unit_variance
                spread = cp.quad_form(v.holdings, full, assume_PSD=True)
            else:
                own = sp.diags_array(risk.specific / self._unit_variance)
                spread = cp.sum_squares(self._factors) / self._unit_variance
                if risk.specific.any():
                    spread = spread + cp.quad_form(v.holdings, own, assume_PSD=True)
            objective = objective + self._risk_price * spread
        return objective

    def write(
        self,
        start: Position,
        outlook: Outlook,
        mandate: Mandate,
        trading_price: float = TIE_BREAK,
        *,
        changed_in_place: bool = True,
    ) -> None:
        """Set every parameter; the objective is divided by `scale` to be of order one (solvers lie otherwise).

        Unless their arrays may have been changed in place, what follows from objects that are the same as at the last
        time is left as it is: a sweep of beliefs writes probabilities alone.

        `trading_price` is charged for a unit of wealth traded, beside its costs.
        """
        own = (mandate, outlook.returns, outlook.cash_returns, outlook.risk, trading_price)
        before = self._written if not changed_in_place else None
        self._written = None  # until all is
        if before is None or start is not before[0]:
            self._start.value, self._start_cash.value = start.holdings, start.cash
        if before is None or any(new is not old for new, old in zip(own, before[1], strict=True)):
            self._write_numbers(
                outlook, mandate, trading_price, same_mandate=before is not None and mandate is before[1][0]
            )
        self._belief.value = outlook.probabilities
        if self.worst:
            self.worst.write(mandate.ambiguity, outlook.probabilities)
        for rule, convex, numbers in zip(mandate.convex_rules, self.convex, self._numbers, strict=True):
            _set(numbers, rule.numbers(outlook, self.unit))
            convex.write(rule, outlook)
        self._written = (start, own)

    def _write_numbers(self, outlook: Outlook, mandate: Mandate, trading_price: float, *, same_mandate: bool) -> None:
        """All but where we stand and what we believe."""
        rows, risk_price = mandate.rows, mandate.risk_aversion * self._unit_variance
        unit = largest_return(outlook)
        self.scale = scale = objective_scale(mandate, unit, self._unit_variance)
        if not same_mandate:
            self._buying.value, self._selling.value = 1 + mandate.cost_rates, 1 - mandate.cost_rates
        if isinstance(self._returns, FastParameter):
            self._returns.value = outlook.returns / unit
        self._cash_returns.value = outlook.cash_returns / unit
        self._rates.value, self._unit.value = mandate.cost_rates / unit, unit
        if mandate.impact is not None:
            self._impact.value = mandate.impact / unit
        if mandate.return_error is not None:
            self._error_price.value = mandate.return_error.price / scale
            _set(self._error_numbers, mandate.return_error.numbers())
        if (charges := mandate.linear_charge) is not None:
            self._charged.value = charges / scale
        if rows.labels and (not same_mandate or rows.uses_scenario_returns.any()):
            self._write_rows(rows, unit)
        self._gain_price.value, self._risk_price.value = mandate.return_weight * unit / scale, risk_price / scale
        self._cost_price.value = mandate.cost_price(outlook) * unit / scale
        self._tie_break.value = trading_price / scale

    @property
    def unit(self) -> float:
        """What gains and costs are measured in while solving."""
        return float(self._unit.value)

    @property
    def price_of_error(self) -> float:
        """What a unit of the return error's deviation weighs in the scaled objective."""
        return float(self._error_price.value)

    def _write_rows(self, rows: RuleRows, unit: float) -> None:
        """Rows on gains are in units of return and have W written as 1 − costs."""
        expects = rows.uses_scenario_returns != 0
        self.row_units = np.where(rows.looks_at_gains_alone, unit, 1.0)
        self._wealth_limits.value = np.where(expects, 0.0, rows.wealth)
        self._limits.value = (rows.limit + np.where(expects, rows.wealth, 0.0)) / self.row_units
        self._expected.value = rows.expected * unit / self.row_units
        if rows.gains.any():
            self._expected_gains.value = rows.gains * (unit / self.row_units)[:, None]
        self._cost_limits.value = np.where(expects, rows.wealth * unit, 0.0) / self.row_units


def _parameters(numbers: Mapping[str, Any]) -> dict[str, FastParameter]:
    """A parameter for each number of a rule or a return error."""
    return {name: FastParameter(np.shape(value), name=name) for name, value in numbers.items()}


def _set(parameters: Mapping[str, FastParameter], numbers: Mapping[str, Any]) -> None:
    for name, value in numbers.items():
        parameters[name].value = value
