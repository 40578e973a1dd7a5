"""Rules that hold together today and not at every review: which of them, loosened how far, would let them.

A rule that could keep the others from holding is found by leaving it out at the reviews. Its limit then moves until
there is a policy, by halving, and a policy that keeps the moved limit is there before it is told: each figure works.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from allocator.errors import Infeasible, NotSolved
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate, without_ambiguity
from allocator.multistage.objectives import LinearUtility
from allocator.multistage.policy import Policy, policy_from_trades
from allocator.multistage.solve import solve_policy
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits
from allocator.rules import ConvexRule, LinearRule, RuleMeasurement, Turnover, format_loosened

R = TypeVar("R")
Rule = LinearRule | ConvexRule
_NATURAL = 0.01
"""What a limit of 0 is measured in; others are measured in themselves."""
_DOUBLINGS = 12
_HALVINGS = 10
_FIRST = 1e-3
_OVER = 1e-7


@dataclass(frozen=True, eq=False)
class _RulePosition:
    """A rule of every node: the n-th of its kind, and what it reads where nothing is traded."""

    rule: Rule
    nth: int
    readings: Sequence[RuleMeasurement]


def later_review_conflict(staged: MultistageMandate, start: Position, limits: Limits) -> Infeasible:
    """Why there is no policy although the rules can be kept today: rules without which there would be, each with the
    least that it must give.
    """
    # what may be wrong, and what wealth is worth, do not decide whether rules can be kept
    asked = replace(without_ambiguity(staged), utility=LinearUtility())
    found, cures = [], []
    for place in _places(asked, start):
        first, *others = asked.mandates
        later = tuple(_without(mandate, type(place.rule), place.nth) for mandate in others)
        if _policy_or_none(replace(asked, mandates=(first, *later)), start, limits) is None:
            continue
        label = _named(place.rule, len(start.holdings))
        found.append(label)
        cures.append(_least(asked, start, limits, place) or f"loosen '{label}'")
    told = "the rules hold together today, and cannot at every review"
    return Infeasible(told, found, cures or ["loosen a rule, or remove a review"], for_fractions=True)


def _places(staged: MultistageMandate, start: Position) -> Iterator[_RulePosition]:
    mandate = staged.mandates[0]
    rules: tuple[Rule, ...] = (*mandate.linear_rules, *mandate.convex_rules)
    trade = policy_from_trades(staged, start, np.zeros_like(staged.tree.growth)).trade(0)
    for at, rule in enumerate(rules):
        nth = sum(type(one) is type(rule) for one in rules[:at])
        yield _RulePosition(rule, nth, rule.readings(trade, staged.outlooks[0]))


def _policy_or_none(staged: MultistageMandate, start: Position, limits: Limits) -> Policy | None:
    try:
        return solve_policy(staged, start, limits)
    except (Infeasible, NotSolved):
        return None


def _least(staged: MultistageMandate, start: Position, limits: Limits, place: _RulePosition) -> str | None:
    """The least loosening of one rule that lets every other hold, as an instruction; None where it has no limit, or
    none would do.
    """
    if isinstance(place.rule, LinearRule) and np.isnan(place.rule.rows(len(start.holdings)).stated).any():
        return None
    rows = range(len(place.readings))

    def at(step: float, moved: Collection[int]) -> Policy | None:
        return _policy_or_none(_eased(staged, place, step, moved), start, limits)

    low, high = 0.0, _FIRST
    for _ in range(_DOUBLINGS):
        if at(high, rows) is not None:
            break
        low, high = high, 2 * high
    else:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle, rows) is not None else (middle, high)
    moved = set(rows)
    if not isinstance(place.rule, Turnover):
        for row in rows:  # those that need not move stay
            if len(moved) > 1 and at(high, moved - {row}) is not None:
                moved.remove(row)
    return _in_words(place, high, sorted(moved), len(start.holdings))


def _in_words(place: _RulePosition, step: float, moved: Sequence[int], names: int) -> str:
    """The moved limits, rounded so that they work as printed."""
    told = list[str]()
    for row in moved if not isinstance(place.rule, Turnover) else moved[:1]:
        reading, sense = place.readings[row], 1.0 if place.readings[row].at_most else -1.0
        label = _named(place.rule, names) if isinstance(place.rule, Turnover) else reading.label
        limit = format_loosened(_moved(reading, step), sense, reading.unit)
        told.append(f"{'raise' if sense > 0 else 'lower'} '{label}' to {limit}")
    return " and ".join(told)


def _moved(reading: RuleMeasurement, step: float) -> float:
    """A limit `step` times its own size looser."""
    size = abs(reading.limit) if abs(reading.limit) > _OVER else _NATURAL
    return reading.limit + (size if reading.at_most else -size) * step


def _eased(staged: MultistageMandate, place: _RulePosition, step: float, moved: Collection[int]) -> MultistageMandate:
    """The question with some rows of one rule looser at every node, as the book would state them."""
    limits = [_moved(one, step) if row in moved else one.limit for row, one in enumerate(place.readings)]

    def eased(rules: Sequence[R]) -> tuple[R, ...]:
        of_kind = [i for i, one in enumerate(rules) if type(one) is type(place.rule)]
        at = of_kind[place.nth] if place.nth < len(of_kind) else None
        return tuple(one.with_limits(limits) if i == at else one for i, one in enumerate(rules))  # type: ignore[attr-defined]

    return replace(
        staged,
        mandates=tuple(
            replace(one, linear_rules=eased(one.linear_rules), convex_rules=eased(one.convex_rules))
            for one in staged.mandates
        ),
    )


def _named(rule: Rule, names: int) -> str:
    """A rule's label; of many rows the first and the last, but purchases and sales are one turnover."""
    if not isinstance(rule, LinearRule):
        return rule.label
    labels = rule.rows(names).labels
    if isinstance(rule, Turnover):
        return labels[0].partition(" (")[0]
    return labels[0] if len(labels) == 1 else f"{labels[0]} … {labels[-1]}"


def _without(mandate: Mandate, kind: type, nth: int) -> Mandate:
    """The mandate without the n-th of its rules of one kind."""

    def others(rules: Sequence[R]) -> tuple[R, ...]:
        of_kind = [i for i, one in enumerate(rules) if type(one) is kind]
        gone = of_kind[nth] if nth < len(of_kind) else None
        return tuple(one for i, one in enumerate(rules) if i != gone)

    return replace(mandate, linear_rules=others(mandate.linear_rules), convex_rules=others(mandate.convex_rules))
