"""By how much the returns of a scenario may be wrong: a charge on what is held, beside the adverse expectation.

Errors common to all scenarios add to every scenario's loss alike, so the adversary's choice between scenarios is
untouched and the charge is a term of its own (science §3.3): the largest slope'h over lawful directions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np

from allocator.outlook.risk_model import FactorRisk
from allocator.presentation import Numbers
from allocator.rules.directions import Above, Directions, LargestOf, UnitBall
from allocator.types import Vector

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class ReturnErrorDocument(TypedDict):
    """by how much returns may be wrong, and what objectives of other packages charge: deviations·h + size·|R h|, with
    R h = (loadings'h, sqrt(specific)∘h), or deviations·h + the sum of so many largest of spread∘h"""

    size: float
    deviations: Numbers
    direction: Annotated[
        Numbers, "u, no longer than 1: |R h| >= u'R h; with a spread, in [0, 1] and summing to at most names"
    ]
    names: NotRequired[Annotated[float, "how many names' returns are wrong at once, the last one in part"]]
    spread: NotRequired[Annotated[Numbers, "by how much each name's may be wrong"]]


class ReturnError(ABC):
    """What every return error can say of itself."""

    directions: Directions | None
    """Which errors are lawful; None where all of them happen at once, and the charge is linear."""
    price = 1.0
    """What a unit of the shortfall in the program is charged."""
    uses_factors = False
    """Whether its constraints speak of factor exposures."""

    @property
    def linear_charge(self) -> Vector | None:
        """(N,) the charge of a unit held, whatever else is; None where there is a choice."""
        return None

    @property
    def is_conic(self) -> bool:
        """Whether its constraints are more than linear."""
        return self.directions is not None and self.directions.is_conic

    @property
    def pattern(self) -> tuple[Any, ...]:
        """What of it is compiled in."""
        return (type(self).__name__, self.directions)

    def copied(self, times: int) -> ReturnError:
        """The same where every name is there so many times, and is wrong alike each time."""
        del times
        return self

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
    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """(N,) s with s'(after − before) the change of the charge."""

    def outside(self, direction: Vector) -> float:
        """How far a direction is from lawful; at most 0 is lawful, and so is none where there is no choice."""
        return float(len(direction)) if self.directions is None else self.directions.outside(direction)

    def numbers(self) -> dict[str, Any]:
        """Its numbers by name, which may change between two solves."""
        return {}

    def above(self, shortfall: Any, holdings: Any, factors: Any, risk: FactorRisk, numbers: Any) -> Above:
        """What `shortfall` is no less than, in cvxpy; nothing where the charge is linear."""
        del shortfall, holdings, factors, risk, numbers
        return Above([], lambda: None)

    def document(self, charged: ReturnErrorDocument, direction: Vector) -> ReturnErrorDocument:
        """What a proof says of it: the linear charge, and what else it is."""
        del direction
        return charged


@dataclass(frozen=True, eq=False)
class BoxError(ReturnError):
    """Each name's return may be `deviations_i` lower, all of them at once: charge δ'h. `deviations` (N,) simple."""

    deviations: Vector
    directions = None

    @property
    def linear_charge(self) -> Vector:
        """δ."""
        return self.deviations

    def copied(self, times: int) -> BoxError:
        """δ of each."""
        return BoxError(np.tile(self.deviations, times))

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
    directions = UnitBall()
    uses_factors = True

    @property
    def price(self) -> float:  # type: ignore[override]
        """κ: the shortfall is the deviation itself."""
        return self.size

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """κ·√(h'Ωh)."""
        return self.size * float(np.sqrt(risk.variance(holdings)))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """κ(Lu, √d∘u)."""
        return self.size * risk.slope(direction)

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """The unit vector along which the portfolio is at risk."""
        return self.directions.steepest(risk.parts(holdings))

    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """The gradient averaged along the straight way."""
        deviations = [float(np.sqrt(risk.variance(held))) for held in (before, after, after - before)]
        first, second = inverse_norm_weights(*deviations)
        return self.size * risk.covariances(first * before + second * after)

    def above(self, shortfall: Any, holdings: Any, factors: Any, risk: FactorRisk, numbers: Any) -> Above:
        """shortfall ≥ ‖(y, √d∘h)‖."""
        del numbers
        return self.directions.above(shortfall, risk.parts_expression(holdings, factors), "return error")

    def document(self, charged: ReturnErrorDocument, direction: Vector) -> ReturnErrorDocument:
        """κ, and the direction in which returns are wrong."""
        return {**charged, "size": self.size, "direction": direction.tolist()}


@dataclass(frozen=True, eq=False)
class BudgetError(ReturnError):
    """At most `count` names' returns are wrong at once, each by its `deviations_i` (Bertsimas and Sim 2004).

    The charge is the sum of the ⌊Γ⌋ largest δ_i·h_i and what is left of Γ = `count` times the next. Directions u (N,)
    lie in [0, 1] and sum to at most Γ.
    """

    count: float
    deviations: Vector

    @property
    def directions(self) -> LargestOf:  # type: ignore[override]
        """So many of the deviations."""
        return LargestOf(self.count)

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The Γ largest δ_i·|h_i|."""
        del risk
        shortfalls, whole = np.sort(self.deviations * np.abs(holdings))[::-1], int(self.count)
        return float(shortfalls[:whole].sum() + (self.count - whole) * shortfalls[whole : whole + 1].sum())

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """δ∘u."""
        del risk
        return self.deviations * direction

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """The names that may take most."""
        del risk
        return self.directions.steepest(self.deviations * np.abs(holdings))

    def average_slope(self, before: Vector, after: Vector, risk: FactorRisk) -> Vector:
        """The slopes at both ends, mixed so that they say the change: it lies between what each of them says."""
        moved, change = after - before, self.charge(after, risk) - self.charge(before, risk)
        first, second = (self.slope(self.steepest(held, risk), risk) for held in (before, after))
        least, most = float(first @ moved), float(second @ moved)
        part = float(np.clip((change - least) / (most - least), 0.0, 1.0)) if most > least else 0.5
        return (1 - part) * first + part * second

    def numbers(self) -> dict[str, Any]:
        """δ."""
        return {"deviations of returns": self.deviations}

    def above(self, shortfall: Any, holdings: Any, factors: Any, risk: FactorRisk, numbers: Any) -> Above:
        """shortfall ≥ Γ·z + Σp with z + p_i ≥ δ_i·h_i."""
        import cvxpy as cp

        del factors, risk
        wrong = cp.multiply(numbers["deviations of returns"], holdings)
        return self.directions.above(shortfall, wrong, "return error")

    def document(self, charged: ReturnErrorDocument, direction: Vector) -> ReturnErrorDocument:
        """Γ, δ, and which names are wrong."""
        spread = self.deviations.tolist()
        return {**charged, "direction": direction.tolist(), "names": self.count, "spread": spread}


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
