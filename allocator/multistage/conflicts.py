"""Rules that hold together today and not at every review: which of them, loosened how far, would let them.

A rule that could keep the others from holding is found by leaving it out at the reviews. Its limit then moves by the
least step of a scale at which there is a policy, and that policy is there before it is told: each figure works.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import policy_from_trades
from allocator.multistage.solve import solve_policy
from allocator.optimization.conflicts import Move, describe_fix
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits
from allocator.rules import LooserLimit, Rule, RuleId, RuleMeasurement, one_key_one_limit

_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves."""
_OVER = 1e-7
_FIRST, _DOUBLINGS, _PARTS = 1e-3, 11, 1024
_EACH = np.arange(1, _PARTS + 1)
_DOUBLED = np.outer(_FIRST * 2.0 ** np.arange(_DOUBLINGS), 1 + _EACH / _PARTS)
_SCALE: list[float] = [*(_FIRST * _EACH / _PARTS).tolist(), *_DOUBLED.ravel().tolist()]
"""Steps by which a limit may move: to the first of them and between doublings in as many parts."""
R = TypeVar("R", bound=Rule)


@dataclass(frozen=True, eq=False)
class _RulePosition:
    """A rule of every node, and what it reads where nothing is traded."""

    rule: Rule
    readings: Sequence[RuleMeasurement]

    def stands_for(self, other: Rule) -> bool:
        """Whether the other is the same rule, at whatever node."""
        return not set(self.rule.ids).isdisjoint(other.ids)

    def changed(self, mandate: Mandate, change: Callable[[Any], Any]) -> Mandate:
        """A node's mandate with the rule put through `change`, which may drop it; where it has the rule."""

        def each(rules: tuple[R, ...]) -> tuple[R, ...]:
            after = [change(rule) if self.stands_for(rule) else rule for rule in rules]
            return tuple(rule for rule in after if rule is not None)

        return replace(mandate, linear_rules=each(mandate.linear_rules), convex_rules=each(mandate.convex_rules))

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
    plain = replace(without_ambiguity(staged), utility=LinearUtility())
    labels, moves = list[str](), list[Move]()
    for place in _places(plain, start):
        today, *later = plain.mandates
        without = [place.changed(mandate, lambda _: None) for mandate in later]
        if not _can_be_kept(replace(plain, mandates=(today, *without)), start, limits):
            continue
        labels.append(place.label)
        if (move := _least(plain, start, limits, place)) is not None:
            moves.append(move)
    told = "the rules hold together today, and cannot at every review"
    return Infeasible(told, labels, [describe_fix(move, ()) for move in moves], moves=moves)


def _places(staged: MultistageMandate, start: Position) -> Iterator[_RulePosition]:
    mandate = staged.mandates[0]
    rules: tuple[Rule, ...] = (*mandate.linear_rules, *mandate.convex_rules)
    trade = policy_from_trades(staged, start, np.zeros_like(staged.tree.growth)).trade(0)
    for rule in rules:
        yield _RulePosition(rule, rule.readings(trade, staged.outlooks[0]))


def _can_be_kept(staged: MultistageMandate, start: Position, limits: Limits) -> bool:
    try:
        return bool(solve_policy(staged, start, limits))
    except (Infeasible, NotSolved):
        return False


def _least(staged: MultistageMandate, start: Position, limits: Limits, place: _RulePosition) -> Move | None:
    """The least loosening of one rule that lets every other hold; None where it has no limit, or none would do."""
    if not place.rule.has_limits:
        return None
    every = list(dict.fromkeys(place.rule.ids))

    def works(step: float, moved: Collection[RuleId]) -> bool:
        limits_of_rule = [_moved(one, step) if one.id in moved else one.limit for one in place.readings]
        mandates = [place.changed(one, lambda rule: rule.with_limits(limits_of_rule)) for one in staged.mandates]
        return _can_be_kept(replace(staged, mandates=tuple(mandates)), start, limits)

    nearest = bisect_left(_SCALE, True, key=lambda step: works(step, every))
    if nearest == len(_SCALE):
        return None
    moved = set(every)
    for limit in every:  # those that need not move stay
        if len(moved) > 1 and works(_SCALE[nearest], moved - {limit}):
            moved.remove(limit)
    told = [
        LooserLimit(one.id, label, _moved(one, _SCALE[nearest]), 1.0 if one.at_most else -1.0, one.unit)
        for label, one in zip(place.rule.limit_labels, place.readings, strict=True)
        if one.id in moved
    ]
    return one_key_one_limit(told)


def _moved(reading: RuleMeasurement, step: float) -> float:
    """A limit `step` times its own size looser."""
    size = abs(reading.limit) if abs(reading.limit) > _OVER else _NATURAL
    return reading.limit + (size if reading.at_most else -size) * step
