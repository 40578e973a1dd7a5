"""By how much the returns of a scenario may be wrong: a charge on what is held, beside the adverse expectation.

Errors common to all scenarios add to every scenario's loss alike, so the adversary's choice between scenarios is
untouched and the charge is a term of its own (science §3.3). A charge is the largest slope'h over lawful directions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.outlook.risk_model import FactorRisk
from allocator.types import Vector

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True, eq=False)
class ErrorConstraints:
    """A return error's constraints in cvxpy; `read(price)` gives the direction of their duals, None if not known, where
    a unit of the shortfall is charged `price`.
    """

    constraints: list[Any]
    read: Callable[[float], Vector | None]


class ReturnError(ABC):
    """What every return error can say of itself."""

    is_conic = False
    """Whether its constraints are more than linear."""
    uses_factors = False
    """Whether they speak of factor exposures."""

    @property
    def linear_charge(self) -> Vector | None:
        """(N,) the charge of a unit held, whatever else is; None where the adversary has a choice."""
        return None

    @property
    def price(self) -> float:
        """What a unit of the shortfall in the program is then charged."""
        return 0.0

    @abstractmethod
    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The largest shortfall of the portfolio's return, as a fraction of wealth."""

    @abstractmethod
    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """(N,) s with charge ≥ s'h for every h ≥ 0, whatever the lawful direction."""

    @abstractmethod
    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """The direction whose slope touches the charge at a portfolio."""

    @abstractmethod
    def outside(self, direction: Vector) -> float:
        """How far a direction is from lawful; at most 0 is lawful."""

    @abstractmethod
    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """(N,) s with s'(after − before) the change of the charge."""

    def numbers(self) -> Mapping[str, Any]:
        """Its numbers by name, which may change between two solves."""
        return {}

    def cone(self, shortfall: Any, holdings: Any, factors: Any, risk: FactorRisk, numbers: Any) -> ErrorConstraints:
        """What `shortfall` is no less than, in cvxpy; nothing where the charge is linear."""
        del shortfall, holdings, factors, risk, numbers
        return ErrorConstraints([], lambda price: None)  # noqa: ARG005

    def document(self, direction: Vector) -> dict[str, Any]:
        """What a proof says of it beside the linear charge."""
        del direction
        return {}


@dataclass(frozen=True, eq=False)
class BoxError(ReturnError):
    """Each name's return may be `deviations_i` lower, all of them at once: charge δ'h. `deviations` (N,) simple."""

    deviations: Vector

    @property
    def linear_charge(self) -> Vector:
        """δ."""
        return self.deviations

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """δ'|h|."""
        del risk
        return float(self.deviations @ np.abs(holdings))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """δ, as there is only one direction."""
        del direction, risk
        return self.deviations

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """No choice: an empty direction."""
        del holdings, risk
        return np.zeros(0)

    def outside(self, direction: Vector) -> float:
        """Whatever is not empty is unlawful."""
        return float(len(direction))

    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """δ."""
        del before, after, risk
        return self.deviations


@dataclass(frozen=True, eq=False)
class EllipsoidError(ReturnError):
    """Returns may be jointly wrong by `size` standard deviations in the metric of the covariance: κ·√(h'Ωh).

    Directions u (F + N,) have length at most 1 in the space of the risk factors and the names.
    """

    size: float
    is_conic = True
    uses_factors = True

    @property
    def price(self) -> float:
        """κ: the shortfall is the deviation itself."""
        return self.size

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """κ·√(h'Ωh)."""
        return self.size * float(np.sqrt(risk.variance(holdings)))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """κ(Lu, √d∘u)."""
        factors = risk.loadings.shape[1]
        result: Vector = self.size * (
            risk.loadings @ direction[:factors] + np.sqrt(risk.specific) * direction[factors:]
        )
        return result

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """The unit vector along which the portfolio is at risk."""
        both = np.concatenate([risk.loadings.T @ holdings, np.sqrt(risk.specific) * holdings])
        length = float(np.linalg.norm(both))
        return both / (length * (1 + 1e-15)) if length > 0 else both

    def outside(self, direction: Vector) -> float:
        """‖u‖ − 1."""
        return float(np.linalg.norm(direction)) - 1

    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """The gradient averaged along the straight way."""
        deviations = [float(np.sqrt(risk.variance(held))) for held in (before, after, after - before)]
        first, second = inverse_norm_weights(*deviations)
        return np.asarray(self.size * risk.covariances(first * before + second * after))

    def cone(self, shortfall: Any, holdings: Any, factors: Any, risk: FactorRisk, numbers: Any) -> ErrorConstraints:
        """shortfall ≥ ‖(y, √d∘h)‖."""
        import cvxpy as cp

        del numbers
        parts = cp.hstack([factors, cp.multiply(np.sqrt(risk.specific), holdings)])
        norm = cp.SOC(shortfall, parts).set_label("return error")

        def read(price: float) -> Vector | None:
            if norm.dual_value is None:
                return None
            direction = -np.ravel(norm.dual_value[1])
            length = float(np.linalg.norm(direction)) * (1 + 1e-15)
            # shorter than the price where nothing is at risk: only a part of the charge is then used
            used = max(length, price)
            return direction / used if used > 0 else direction

        return ErrorConstraints([norm], read)

    def document(self, direction: Vector) -> dict[str, Any]:
        """κ, and the direction in which returns are wrong."""
        return {"size": self.size, "direction": direction.tolist()}


@dataclass(frozen=True, eq=False)
class BudgetError(ReturnError):
    """At most `count` names' returns are wrong at once, each by its `spread_i` (Bertsimas and Sim 2004).

    The charge is the sum of the ⌊Γ⌋ largest δ_i·h_i and what is left of Γ = `count` times the next. Directions u (N,)
    lie in [0, 1] and sum to at most Γ.
    """

    count: float
    spread: Vector
    price = 1.0

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The Γ largest δ_i·|h_i|."""
        return float(self.spread @ (self.steepest(holdings, risk) * np.abs(holdings)))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """δ∘u."""
        del risk
        return np.asarray(self.spread * direction)

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """1 for the names that may take most, what is left of Γ for the next."""
        del risk
        largest = np.argsort(-self.spread * np.abs(holdings), kind="stable")
        direction = np.zeros(len(holdings))
        direction[largest] = np.clip(self.count - np.arange(len(holdings)), 0.0, 1.0)
        return direction

    def outside(self, direction: Vector) -> float:
        """The most by which a bound or the sum is missed."""
        return max(-float(direction.min()), float(direction.max()) - 1, float(direction.sum()) - self.count)

    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """The slopes at both ends, mixed so that they say the change: it lies between what each of them says."""
        moved = after - before
        first, second = (self.slope(self.steepest(held, risk), risk) for held in (before, after))
        least, most = float(first @ moved), float(second @ moved)
        change = self.charge(after, risk) - self.charge(before, risk)
        part = float(np.clip((change - least) / (most - least), 0.0, 1.0)) if most > least else 0.5
        return (1 - part) * first + part * second

    def numbers(self) -> Mapping[str, Any]:
        """Γ and δ."""
        return {"names that may be wrong": self.count, "deviations of returns": self.spread}

    def cone(self, shortfall: Any, holdings: Any, factors: Any, risk: FactorRisk, numbers: Any) -> ErrorConstraints:
        """shortfall ≥ Γ·z + Σp with z + p_i ≥ δ_i·h_i."""
        import cvxpy as cp

        del factors, risk
        least, above = cp.Variable(nonneg=True, name="least of the wrong"), cp.Variable(len(self.spread), nonneg=True)
        each = least + above >= cp.multiply(numbers["deviations of returns"], holdings)
        together = shortfall >= numbers["names that may be wrong"] * least + cp.sum(above)

        def read(price: float) -> Vector | None:
            if each.dual_value is None or price <= 0:
                return None
            direction = np.clip(np.ravel(each.dual_value) / price, 0.0, 1.0)
            return np.asarray(direction * min(1.0, self.count / max(float(direction.sum()), 1e-300)))

        return ErrorConstraints([each.set_label("return error"), together.set_label("return errors together")], read)

    def document(self, direction: Vector) -> dict[str, Any]:
        """Γ, δ, and which names are wrong."""
        return {"names": self.count, "spread": self.spread.tolist(), "direction": direction.tolist()}


def inverse_norm_weights(before: float, after: float, apart: float) -> tuple[float, float]:
    """∫(1 − t)/‖x(t)‖ dt and ∫t/‖x(t)‖ dt over x(t) = (1 − t)·x₀ + t·x₁, from ‖x₀‖, ‖x₁‖ and ‖x₁ − x₀‖.

    With them the gradient of a norm is averaged: first·x₀ + second·x₁. Where one end is 0 it carries no weight.
    """
    if before <= 0 or after <= 0:
        return (0.0, 1 / after) if after > 0 else (1 / before if before > 0 else 0.0, 0.0)
    squared = apart**2
    slope = (after**2 - before**2 - squared) / 2  # x₀'(x₁ − x₀)
    if apart < 0.3 * (before + after):  # where the closed form below loses its digits
        at = (1 + _NODES) / 2
        over = _WEIGHTS / 2 / np.sqrt(before**2 + 2 * slope * at + squared * at**2)
        return float(over @ (1 - at)), float(over @ at)
    whole = 2 / apart * float(np.arctanh(min(apart / (before + after), 1 - 1e-16)))  # potential of a straight rod
    second = (after - before - slope * whole) / squared
    return whole - second, second
