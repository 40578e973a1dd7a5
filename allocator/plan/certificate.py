"""The second of two checks, in the user's words: every rule's own formula, the objective from the formulas, a bound.

Nothing here has seen the compiled program. A plan that fails is not a plan: `certify` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import numpy as np

from allocator.book.book import Book
from allocator.errors import NotSolved
from allocator.lots.whole_lots import RULE_TOLERANCE, trade_of_lots
from allocator.mandate.mandate import Mandate
from allocator.multistage.policy import Policy
from allocator.optimization.solve import Solution, trade_of_solution
from allocator.optimization.verification import CanonicalCheck, DualCertificate, best_dual_certificate, lower_bound
from allocator.outlook.outlook import Outlook
from allocator.presentation import ByName, Count, Keywords
from allocator.rules import RuleMeasurement, Trade
from allocator.rules.rows import Position
from allocator.types import Vector

if TYPE_CHECKING:
    from allocator.few_names.search import FoundNames

GAP_ALLOWED = 1e-6
"""Of the account, or of the objective where it is larger than 1: further from the bound is not called optimal."""
BALANCE_TOLERANCE = 1e-9
"""Of the account: the targets must follow from the trades, and prices be lawful, to this."""
TARGET_TOLERANCE = 1e-6
"""Of the account, on fractional targets; final lots are held to 1e-9 of a rule's own unit."""


class NamesRow(TypedDict):
    """How the names that are held were chosen, as a plan's document says it."""

    held: Annotated[Count, "names of the targets"]
    gap_bps: Annotated[float, "how much better targets with any other choice of names could be at most"]
    of_objective: Annotated[float | None, "the same as a part of the objective; null where that is 0"]
    bound: Annotated[float, "no targets with any names can be below it"]
    programs: Annotated[Count, "convex programs that the search solved"]


class CertificateRow(TypedDict):
    """The proof of a plan as its document says it."""

    solver: str
    attempts: Annotated[list[str], "solvers whose answer was not taken, and why"]
    canonical: Annotated[ByName, ("primal", "dual", "gap")]
    objective: Annotated[float, "minimised loss of the targets, from the formulas"]
    bound: Annotated[float, "no plan of this mandate can be below it"]
    gap_bps: float
    fixed_point_bps: Annotated[
        float,
        "where risk is charged on a path: what charging it on the plan's own wealth moves the certainty equivalent by, "
        "against the wealth of the solve before, at which the bound is proved; else 0",
    ]
    allowed_bps: Annotated[float, "how large the gap may be: the tolerance and trading.indifference_bps"]
    decisions: Annotated[int, Keywords(minimum=1)]
    outcomes: Annotated[Count, "leaves of the tree; 0 without reviews"]
    rules_checked: int
    largest_violation_target: float
    largest_violation_after: float | None
    lots_gap_bps: Annotated[
        float,
        "how much better than the lots that were weighed any whole lots could be at most, in bps of what is minimised, "
        "trading.indifference_bps priced in; 0 of targets only",
    ]
    names: NotRequired[Annotated[NamesRow, "of mandate.max_names and min_position; absent without them"]]


@dataclass(frozen=True, eq=False)
class Certificate:
    """The proof that goes with a plan.

    `objective` is the minimised loss of the targets recomputed from the formulas, `bound` what no plan can beat, both
    in fractions of the account; `largest_violation` the most by which any rule is missed by the targets (negative: by
    which the tightest is kept). `duals` prove the bound of a plan of one period; with reviews it is that of the
    solver's multipliers over `decisions` and `outcomes` of the tree, checked in its canonical form.
    """

    solver: str
    attempts: tuple[str, ...]
    canonical: CanonicalCheck
    objective: float
    bound: float
    duals: DualCertificate | None
    rules: int
    largest_violation: float
    allowed: float = GAP_ALLOWED
    """How far from the bound the targets may be: the tolerance, and the indifference that the book states."""
    decisions: int = 1
    outcomes: int = 0
    """Leaves of the tree; 0 without reviews, where scenarios are all that can come."""
    fixed_point: float | None = None
    """What charging risk on the policy's own wealth moves its certainty equivalent by, the proof being of charges
    linearised around the solve before; None where no risk is charged on a path."""

    @property
    def gap(self) -> float:
        """How far from optimal the targets can be at most."""
        return self.objective - self.bound

    def document(
        self, measurements: Sequence[RuleMeasurement], lots_gap_bps: float, names: FoundNames | None = None
    ) -> CertificateRow:
        """The proof as plain data; `measurements` are of the final lots, which are so far at most from the best."""
        found: CertificateRow = {
            "solver": self.solver,
            "attempts": list(self.attempts),
            "canonical": vars(self.canonical),
            "objective": self.objective,
            "bound": self.bound,
            "gap_bps": self.gap * 1e4,
            "fixed_point_bps": (self.fixed_point or 0.0) * 1e4,
            "allowed_bps": self.allowed * 1e4,
            "decisions": self.decisions,
            "outcomes": self.outcomes,
            "rules_checked": self.rules,
            "largest_violation_target": self.largest_violation,
            "largest_violation_after": max(
                (reading.excess for reading in measurements if np.isfinite(reading.excess)), default=None
            ),
            "lots_gap_bps": round(lots_gap_bps, 6),
        }
        if names is not None:
            found["names"] = {
                "held": int(names.held.sum()),
                "gap_bps": round(names.gap * 1e4, 6),
                "of_objective": names.of_objective,
                "bound": names.bound,
                "programs": names.programs,
            }
        return found


def certificate_of_policy(best: Policy, measurements: Sequence[RuleMeasurement]) -> Certificate:
    """The proof of a policy: its worst case recomputed node by node, against what the solver's multipliers prove.

    `measurements` are the rules of today's node, on the targets.
    """
    objective = float(best.solved.losses[0])
    return Certificate(
        solver=best.solver,
        attempts=best.attempts,
        canonical=best.canonical,
        objective=objective,
        bound=objective - best.gap * max(1.0, abs(objective)),
        duals=None,
        rules=len(measurements),
        largest_violation=max((one.missed for one in measurements), default=-1.0),
        decisions=best.staged.tree.nodes,
        outcomes=best.staged.tree.leaves,
        fixed_point=best.residual if best.staged.utility.path_aversion else None,
    )


def certify(
    start: Position,
    outlook: Outlook,
    mandate: Mandate,
    target: Trade,
    prices: DualCertificate,
    solved: Solution | Certificate,
    indifference: float = 0.0,
    bound: float | None = None,
) -> Certificate:
    """Prove that `target` keeps every rule and is optimal to within 0.01 bps, and `indifference` (of the account).

    `solved` says who found it and that the solver's answer passed the first check; `bound` is what `lower_bound` gives
    of these prices, where that is known.

    Raises:
        NotSolved: it does not, or is not.
    """
    _refuse_unlawful(start, outlook, mandate, target, prices)
    missed = mandate.missed(target, outlook)
    if not (missed <= TARGET_TOLERANCE).all():
        refuse_broken(mandate.readings(target, outlook), TARGET_TOLERANCE, "the solver's targets")
    if target.cash < -TARGET_TOLERANCE * target.value_before or (target.values < 0).any():
        raise NotSolved("the solver's targets hold less than nothing of something")
    objective = mandate.loss(target, outlook)
    bound = lower_bound(start, outlook, mandate, prices) if bound is None else bound
    allowed = GAP_ALLOWED * max(1.0, abs(objective)) + indifference
    if not -GAP_ALLOWED * max(1.0, abs(objective)) <= objective - bound <= allowed:
        raise NotSolved(
            f"the solver's targets are {(objective - bound) * 1e4:.3g} bps of the account from the proved bound; "
            "lower solver.tolerance"
        )
    return Certificate(
        solver=solved.solver,
        attempts=solved.attempts,
        canonical=solved.canonical,
        objective=objective,
        bound=bound,
        duals=prices,
        rules=len(missed),
        largest_violation=float(missed.max()) if len(missed) else -1.0,
        allowed=allowed,
    )


def certify_solution(
    start: Position, outlook: Outlook, mandate: Mandate, solution: Solution, value: float = 1.0
) -> tuple[Trade, DualCertificate, Certificate]:
    """A solution as a trade in money (`value` before), its prices and its certificate.

    Raises:
        NotSolved: it breaks a rule, or is further from the proved bound than 0.01 bps.
    """
    target = trade_of_solution(start, mandate, solution.holdings, value)
    prices, bound = best_dual_certificate(start, outlook, mandate, target, solution.multipliers)
    return target, prices, certify(start, outlook, mandate, target, prices, solution, bound=bound)


def _refuse_unlawful(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate
) -> None:
    """The account's own equations, and what makes prices a proof: signs, and an adversary inside the set."""
    before = target.value_before
    bought, sold = target.bought / before, target.sold / before
    cash = start.cash - float(bought.sum()) + float(sold.sum()) - float(mandate.costs(bought, sold).sum())
    balance = max(
        float(np.abs(target.values / before - start.holdings - bought + sold).max(initial=0.0)),
        abs(target.cash / before - cash),
    )
    if not balance <= BALANCE_TOLERANCE or min(bought.min(initial=0.0), sold.min(initial=0.0)) < 0:
        raise NotSolved(
            f"the targets do not follow from the trades (by {balance:.1e} of the account); no number leaves"
        )
    q = prices.adversary
    convex = list(zip(mandate.convex_rules, prices.slopes, strict=True))
    lawful = (
        (prices.rows >= 0).all()
        and all(slope.price >= 0 and slope.direction is not None for _, slope in convex)
        and all(rule.outside(np.asarray(slope.direction), outlook) <= BALANCE_TOLERANCE for rule, slope in convex)
        and (mandate.return_error is None or mandate.return_error.outside(prices.error) <= BALANCE_TOLERANCE)
        and (q >= 0).all()
        and abs(float(q.sum()) - 1) <= BALANCE_TOLERANCE
        and mandate.ambiguity.excess(q, outlook.probabilities) <= BALANCE_TOLERANCE
    )
    if not lawful:
        raise NotSolved("the prices that should prove the targets are not lawful; no number leaves")


def refuse_broken(readings: list[RuleMeasurement], tolerance: float, what: str) -> None:
    """Raise when any rule's own formula says that it is broken by more than a part of the account.

    Raises:
        NotSolved: naming every broken rule and by how much.
    """
    broken = [reading for reading in readings if not reading.missed <= tolerance]
    if broken:
        said = "; ".join(f"'{reading.label}' measures {reading.measured:.8g}" for reading in broken)
        raise NotSolved(f"{what} break {said}; no number leaves")


def verified_lots(book: Book, outlook: Outlook, mandate: Mandate, lots: Vector) -> Trade:
    """The portfolio that whole lots make, every rule and the account checked by formula.

    Raises:
        NotSolved: a rule is broken, or more is spent or sold than there is.
    """
    final = trade_of_lots(book, mandate, lots)
    refuse_broken(mandate.readings(final, outlook), RULE_TOLERANCE, "the whole lots")
    # what is left of a name may be less than nothing by the last bits of what was held, and by no more
    short = book.quantities + lots * book.lot_sizes < -1e-9 * book.lot_sizes - 1e-12 * book.quantities
    if final.cash < -RULE_TOLERANCE * book.value or short.any():
        raise NotSolved("the whole lots spend more than there is; no number leaves")
    return final
