"""By how much the returns of a scenario may be wrong: a charge on what is held, beside the worst case over scenarios.

Errors common to all scenarios add to every scenario's loss alike, so the adversary's choice between scenarios is
untouched and the charge is a term of its own (science §3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from allocator.outlook.risk_model import FactorRisk
from allocator.types import Vector


@dataclass(frozen=True, eq=False)
class BoxError:
    """Each name's return may be `deviations_i` lower, all of them at once: charge δ'h. `deviations` (N,) simple."""

    deviations: Vector

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The largest shortfall of the portfolio's return, as a fraction of wealth."""
        del risk
        return float(self.deviations @ np.abs(holdings))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """(N,) s with charge ≥ s'h for every h ≥ 0; there is only one."""
        del direction, risk
        return self.deviations

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """No choice: an empty direction."""
        del holdings, risk
        return np.zeros(0)

    def outside(self, direction: Vector) -> float:
        """Whatever is not empty is unlawful."""
        return float(len(direction))


@dataclass(frozen=True, eq=False)
class EllipsoidError:
    """Returns may be jointly wrong by `size` standard deviations in the metric of the covariance: κ·√(h'Ωh)."""

    size: float

    def charge(self, holdings: Vector, risk: FactorRisk) -> float:
        """The largest shortfall of the portfolio's return, as a fraction of wealth."""
        return self.size * float(np.sqrt(risk.variance(holdings)))

    def slope(self, direction: Vector, risk: FactorRisk) -> Vector:
        """(N,) κ(Lu, √d∘u): charge ≥ slope'h for every direction u (F + N,) of length at most 1."""
        factors = risk.loadings.shape[1]
        result: Vector = self.size * (
            risk.loadings @ direction[:factors] + np.sqrt(risk.specific) * direction[factors:]
        )
        return result

    def steepest(self, holdings: Vector, risk: FactorRisk) -> Vector:
        """(F + N,) the unit vector along which the portfolio is at risk."""
        both = np.concatenate([risk.loadings.T @ holdings, np.sqrt(risk.specific) * holdings])
        length = float(np.linalg.norm(both))
        return both / (length * (1 + 1e-15)) if length > 0 else both

    def outside(self, direction: Vector) -> float:
        """‖u‖ − 1."""
        return float(np.linalg.norm(direction)) - 1


ReturnError: TypeAlias = BoxError | EllipsoidError
