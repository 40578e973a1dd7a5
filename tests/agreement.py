"""How far two answers that solvers gave may lie apart, on any processor: as far as what vouches for them allows.

The last digits of a solver are the processor's: another order of the same additions ends the same search elsewhere
within its tolerance. So no test asks two of them to agree further than the certificate proves or the solver's
tolerance promises. What is computed without a solver is held to its own digits, and needs none of these.
"""

from __future__ import annotations

import numpy as np

from allocator.optimization.solve import Limits
from allocator.plan.certificate import GAP_ALLOWED, TARGET_TOLERANCE
from allocator.settings.settings import SolverSection

OBJECTIVE = GAP_ALLOWED
"""Of the account, or of the objective where it is larger than 1: two plans of one question that are both certified."""
KEPT = TARGET_TOLERANCE
"""Of the account, or of a rule's own unit: what targets may miss a rule, or weights their sum, by."""
SHARP = GAP_ALLOWED / 10
"""What a proved gap stays under although more is allowed: a bound that is not sharp shows here first."""
SOLVED = SolverSection().tolerance
"""Residuals and gap at which a solver stops, on the scaled program."""
HOLDINGS = 1e3 * SOLVED
"""Of the account: weights of one optimum, found by two ways, that is curved by a thousandth or more in each of them, or
is a corner at which each rule has a price of that."""


def objectives_within(limits: Limits, scale: float = 1.0) -> float:
    """How far objectives may lie apart that were solved to these limits: the ladder ends at a hundred times their
    tolerance, and a comparison has two ends.
    """
    return 1e3 * limits.tolerance * max(1.0, scale)


def holdings_within(gap: float, curvature: float = 1.0) -> float:
    """How far from the best portfolio one can lie that is `gap` worse, where losses curve by x'x·`curvature`."""
    return float(np.sqrt(gap / curvature))
