"""What caution about each axis takes, and costs: of a plan, and at every caution from none to all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.product import axis_shares
from allocator.ambiguity.sets import AXES, Ambiguity
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits, Program
from allocator.outlook.outlook import Outlook
from allocator.plan.targets import solve_certified
from allocator.presentation import Rounded
from allocator.rules import Trade

if TYPE_CHECKING:
    from allocator.plan.plan import Plan


@dataclass(frozen=True)
class AxisShare:
    """Of one axis, in bps of the account; over both they add up.

    `adverse_bps` is what adverse probabilities of it take of the expected return (with reviews, of the certainty
    equivalent), `cost_bps` what guarding against them costs in the objective if the belief is right; None where a plan
    that it takes to know was not found.
    """

    adverse_bps: Annotated[float, Rounded(4)]
    cost_bps: Annotated[float | None, Rounded(4)]


def shares_of_plan(plan: Plan) -> dict[str, AxisShare]:
    """Of the answer and of the regime; nothing where the set has no axes."""
    ambiguity = plan.mandate.ambiguity
    if not ambiguity.axes:
        return {}
    if plan.policy is not None:
        now = plan.policy.caution_schedule[0]
        costs: Mapping[str, float | None] = now.cost_bps or dict.fromkeys(AXES)
        return {name: AxisShare(taken, costs[name]) for name, taken in (now.adverse_bps or {}).items()}
    outlook, p = plan.outlook, plan.outlook.probabilities
    before = plan.final.value_before
    losses = -outlook.portfolio_returns(plan.final.values / before, plan.final.cash / before)
    taken = axis_shares(
        (ambiguity,), lambda sets: sets[0].worst_case(losses, p), float(p @ losses), ambiguity.worst_case(losses, p)
    )
    try:
        spent = _cost_shares(plan.start, outlook, plan.mandate, plan.target, Limits.of(plan.book))
    except (Infeasible, NotSolved):
        return {name: AxisShare(part * 1e4, None) for name, part in zip(AXES, taken, strict=True)}
    return {name: AxisShare(a * 1e4, b * 1e4) for name, a, b in zip(AXES, taken, spent, strict=True)}


def _cost_shares(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, limits: Limits
) -> tuple[float, float]:
    """What each axis costs if the belief is right: the nominal objective of plans that are guarded against it."""
    nominal = replace(mandate, ambiguity=Singleton())

    def if_right(sets: tuple[Ambiguity, ...]) -> float:
        guarded = replace(mandate, ambiguity=sets[0])
        found, _, _ = solve_certified(Program(outlook, guarded), start, outlook, guarded, limits)
        return nominal.loss(found, outlook)

    return axis_shares((mandate.ambiguity,), if_right, if_right((Singleton(),)), nominal.loss(target, outlook))


def describe_axes(shares: Mapping[str, AxisShare], figure: str) -> str:
    """In a sentence, what of an adverse `figure` is about which axis, and what guarding against it costs."""
    parts, right = list[str](), " if the belief is right"
    for name, one in shares.items():
        cost = "" if one.cost_bps is None else f" (cost {one.cost_bps:z.0f}{right})"
        parts.append(f"{one.adverse_bps:z.0f} about the {name}{cost}")
        right = "" if cost else right
    return f"Adverse probabilities take {sum(one.adverse_bps for one in shares.values()):z.0f} bps of {figure}: " + (
        f"{', '.join(parts)}."
    )
