"""Rules that hold together today and not at every review: which of them, loosened how far, would let them.

A rule that could keep the others from holding is found by leaving it out at the reviews. Its limit then moves until
there is a policy, by halving, and a policy that keeps the moved limit is there before it is told: each figure works.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import Policy, policy_from_trades
from allocator.multistage.solve import solve_policy
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits
from allocator.rules import Rule, RuleId, RuleMeasurement, format_loosened

_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves."""
_DOUBLINGS = 12
_HALVINGS = 10
_FIRST = 1e-3
_OVER = 1e-7


@dataclass(frozen=True, eq=False)
class _RulePosition:
    """A rule of every node, and what it reads where nothing is traded."""

    rule: Rule
    readings: Sequence[RuleMeasurement]

    def stands_for(self, other: Rule) -> bool:
        """Whether the other is the same rule, at whatever node."""
        return not set(self.rule.ids).isdisjoint(other.ids)

    @property
    def label(self) -> str:
        """The rule's label; of many limits the first and the last."""
        labels = list(dict.fromkeys(self.rule.limit_labels))
        return labels[0] if len(labels) == 1 else f"{labels[0]} … {labels[-1]}"


def later_review_conflict(staged: MultistageMandate, start: Position, limits: Limits) -> Infeasible:
    """Why there is no policy although the rules can be kept today: rules without which there would be, each with the
    least that it must give.
    """
    # what may be wrong, and what wealth is worth, do not decide whether rules can be kept
    asked = replace(without_ambiguity(staged), utility=LinearUtility(), risk_charge=0.0)
    found, cures = [], []
    for place in _places(asked, start):
        first, *others = asked.mandates
        later = tuple(_without(mandate, place) for mandate in others)
        if _policy_or_none(replace(asked, mandates=(first, *later)), start, limits) is None:
            continue
        found.append(place.label)
        cures.append(_least(asked, start, limits, place) or f"loosen '{place.label}'")
    told = "the rules hold together today, and cannot at every review"
    return Infeasible(told, found, cures or ["loosen a rule, or remove a review"], for_fractions=True)


def _places(staged: MultistageMandate, start: Position) -> Iterator[_RulePosition]:
    mandate = staged.mandates[0]
    rules: tuple[Rule, ...] = (*mandate.linear_rules, *mandate.convex_rules)
    trade = policy_from_trades(staged, start, np.zeros_like(staged.tree.growth)).trade(0)
    for rule in rules:
        yield _RulePosition(rule, rule.readings(trade, staged.outlooks[0]))


def _policy_or_none(staged: MultistageMandate, start: Position, limits: Limits) -> Policy | None:
    try:
        return solve_policy(staged, start, limits)
    except (Infeasible, NotSolved):
        return None


def _least(staged: MultistageMandate, start: Position, limits: Limits, place: _RulePosition) -> str | None:
    """The least loosening of one rule that lets every other hold, as an instruction; None where it has no limit, or
    none would do.
    """
    if not place.rule.has_limits:
        return None
    every = list(dict.fromkeys(place.rule.ids))

    def at(step: float, moved: Collection[RuleId]) -> Policy | None:
        return _policy_or_none(_eased(staged, place, step, moved), start, limits)

    low, high = 0.0, _FIRST
    for _ in range(_DOUBLINGS):
        if at(high, every) is not None:
            break
        low, high = high, 2 * high
    else:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle, every) is not None else (middle, high)
    moved = set(every)
    for limit in every:  # those that need not move stay
        if len(moved) > 1 and at(high, moved - {limit}) is not None:
            moved.remove(limit)
    return _in_words(place, high, moved)


def _in_words(place: _RulePosition, step: float, moved: Collection[RuleId]) -> str:
    """The moved limits, rounded so that they work as printed; rows of one limit are told once."""
    told = list[str]()
    for label, reading in zip(place.rule.limit_labels, place.readings, strict=True):
        if reading.id in moved:
            sense = 1.0 if reading.at_most else -1.0
            limit = format_loosened(_moved(reading, step), sense, reading.unit)
            told.append(f"{'raise' if sense > 0 else 'lower'} '{label}' to {limit}")
    return " and ".join(dict.fromkeys(told))


def _moved(reading: RuleMeasurement, step: float) -> float:
    """A limit `step` times its own size looser."""
    size = abs(reading.limit) if abs(reading.limit) > _OVER else _NATURAL
    return reading.limit + (size if reading.at_most else -size) * step


def _eased(
    staged: MultistageMandate, place: _RulePosition, step: float, moved: Collection[RuleId]
) -> MultistageMandate:
    """The question with some limits of one rule looser at every node, as the book would state them."""
    limits = [_moved(one, step) if one.id in moved else one.limit for one in place.readings]

    def eased(mandate: Mandate) -> Mandate:
        linear = (one.with_limits(limits) if place.stands_for(one) else one for one in mandate.linear_rules)
        convex = (one.with_limits(limits) if place.stands_for(one) else one for one in mandate.convex_rules)
        return replace(mandate, linear_rules=tuple(linear), convex_rules=tuple(convex))

    return replace(staged, mandates=tuple(map(eased, staged.mandates)))


def _without(mandate: Mandate, place: _RulePosition) -> Mandate:
    """The mandate without one of its rules."""
    linear = (one for one in mandate.linear_rules if not place.stands_for(one))
    convex = (one for one in mandate.convex_rules if not place.stands_for(one))
    return replace(mandate, linear_rules=tuple(linear), convex_rules=tuple(convex))
