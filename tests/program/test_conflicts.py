"""Conflicts: what is named cannot hold, each part of it can, each fix as printed works, and half of it does not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.errors import Infeasible
from allocator.mandate.rules import (
    AtLeast,
    AtMost,
    InstrumentCaps,
    InstrumentFloors,
    LinearRule,
    MinimumExpectedReturn,
    NoTrade,
    Turnover,
    VolatilityLimit,
)
from tests.questions import Question, caps, names, no_cash, question, random_question, space

COUNT = 6
WANTED = 60


def demanding(seed: int) -> Question:
    """Random rules with limits so narrow that many sets of them cannot hold together."""
    draw = np.random.default_rng(seed)
    asked = random_question(seed, count=COUNT)
    shares = (draw.random((2, COUNT)) < 0.5).astype(float) * np.round(draw.uniform(0.3, 1, (2, COUNT)), 2)
    floors = np.round(draw.uniform(0, 0.3, 2), 3)

    def limit(low: float, high: float) -> float:
        return float(np.round(draw.uniform(low, high), 3))

    rules: list[LinearRule] = [
        caps(COUNT, limit(0.12, 0.5)),
        InstrumentFloors(names(COUNT)[:2], (0, 1), (float(floors[0]), float(floors[1]))),
        AtMost("group first", shares[0], limit(0.05, 0.6)),
        AtLeast("group second", shares[1], limit(0.1, 0.5)),
        AtLeast("cash", np.zeros(COUNT), limit(0.0, 0.3), 1.0),
        AtMost("cash", np.zeros(COUNT), limit(0.3, 0.6), 1.0),
        Turnover(limit(0.02, 0.4)),
        MinimumExpectedReturn(limit(-0.1, 0.2)),
        NoTrade(names(COUNT)[5:], (5,)),
    ]
    kept = [rule for rule in rules if draw.random() < 0.75]
    rates = np.full(COUNT, 0.01 if seed % 3 == 0 else 0.0)
    asked = asked.with_rules(*kept)
    return replace(asked, mandate=replace(asked.mandate, cost_rates=rates))


def hopeless() -> list[int]:
    """Seeds of mandates whose rules cannot hold together, by a linear program of the tests' own."""
    found: list[int] = []
    for seed in range(1000):
        if not space(demanding(seed)).feasible():
            found.append(seed)
        if len(found) == WANTED:
            break
    return found


HOPELESS = hopeless()
PARTS = [HOPELESS[i::6] for i in range(6)]


def refused(asked: Question) -> Infeasible:
    with pytest.raises(Infeasible) as caught:
        asked.solved()
    return caught.value


def only(asked: Question, labels: tuple[str, ...]) -> bool:
    """Whether the named rows alone can hold together."""
    every = asked.mandate.rows.labels
    return space(asked).without([i for i, label in enumerate(every) if label not in labels]).feasible()


def stated(rule: LinearRule, label: str, limit: float) -> LinearRule:
    """The rule with the limit of one of its labels replaced."""
    at = rule.rows(COUNT).labels.index(label)
    if isinstance(rule, InstrumentCaps):
        return replace(rule, caps=(*rule.caps[:at], limit, *rule.caps[at + 1 :]))
    if isinstance(rule, InstrumentFloors):
        return replace(rule, floors=(*rule.floors[:at], limit, *rule.floors[at + 1 :]))
    changed: Any = replace(rule, limit=limit)  # type: ignore[call-overload]
    return changed  # type: ignore[no-any-return]


def mended(asked: Question, fix: str, part: float = 1.0) -> Question:
    """The question after a printed fix, or after `part` of its way; one limit named twice takes the larger change."""
    changes = dict(re.findall(r"(?:raise|lower) '([^']+)' to (-?[\d.]+(?:e-?\d+)?)%", fix))
    assert changes, fix
    rules = []
    for rule in asked.mandate.linear_rules:
        rows, changed = rule.rows(COUNT), rule
        wanted = [(i, float(changes[label]) / 100) for i, label in enumerate(rows.labels) if label in changes]
        for i, limit in sorted(wanted, key=lambda pair: pair[1] * rows.sense[pair[0]]):
            was = float(rows.stated[i])
            changed = stated(changed, changed.rows(COUNT).labels[i], was + part * (limit - was))
        rules.append(changed)
    return asked.with_rules(*rules)


def test_enough_random_mandates_are_hopeless_and_enough_are_not() -> None:
    assert len(HOPELESS) == WANTED
    assert HOPELESS[-1] - HOPELESS[0] > WANTED + 20


@pytest.mark.parametrize("seeds", PARTS, ids=range(len(PARTS)))
def test_what_is_named_cannot_hold_together_and_each_part_of_it_can(seeds: list[int]) -> None:
    for seed in seeds:
        asked = demanding(seed)
        error = refused(asked)

        assert error.exit_code == 4
        assert error.rules
        assert all(f"'{label}'" in error.message for label in error.rules)
        assert not only(asked, error.rules), f"seed {seed}: {error}"
        for label in error.rules:
            assert only(asked, tuple(other for other in error.rules if other != label)), f"seed {seed}: {error}"


@pytest.mark.parametrize("seeds", PARTS, ids=range(len(PARTS)))
def test_each_fix_works_as_printed_and_half_of_it_does_not(seeds: list[int]) -> None:
    for seed in seeds:
        asked = demanding(seed)
        error = refused(asked)

        assert error.fixes, f"seed {seed}: {error}"
        for fix in error.fixes:
            assert space(mended(asked, fix)).feasible(), f"seed {seed}: {fix}"
            assert not space(mended(asked, fix, 0.5)).feasible(), f"seed {seed}: {fix}"


@pytest.mark.parametrize("seeds", PARTS, ids=range(len(PARTS)))
def test_a_mended_mandate_is_solved_and_certified(seeds: list[int]) -> None:
    for seed in seeds[:3]:
        asked = demanding(seed)

        mended(asked, refused(asked).fixes[0]).certified()


def test_a_mandate_that_can_hold_is_never_called_hopeless() -> None:
    found = 0
    for seed in range(200, 400):
        asked = demanding(seed)
        if found < 25 and space(asked).feasible():
            asked.certified()
            found += 1

    assert found == 25


def test_two_rules_that_clash_are_both_named_with_the_smallest_change_of_either() -> None:
    shares = np.array([1.0, 1.0, 0.0])
    asked = question(
        np.array([[0.1, 0.1, 0.1]]), np.eye(3) * 0.04,
        rules=[AtLeast("group capital", shares, 0.4), AtMost("group compute", shares, 0.25)],
    )  # fmt: skip

    assert str(refused(asked)) == (
        "cannot hold together: 'group capital at least 40%' and 'group compute at most 25%'; smallest fix: lower "
        "'group capital at least 40%' to 25%, or raise 'group compute at most 25%' to 40%"
    )


def test_a_rule_that_cannot_be_met_alone_is_named_alone() -> None:
    asked = question(np.array([[0.1, 0.05]]), np.eye(2) * 0.04, rules=[MinimumExpectedReturn(0.12)])
    error = refused(asked)

    assert error.message == "cannot be met: 'expected return at least 12%'"
    assert error.fixes == ("lower 'expected return at least 12%' to 10%",)


def test_a_rule_without_a_limit_to_move_is_named_but_offers_no_fix() -> None:
    asked = question(
        np.array([[0.1, 0.05]]), np.eye(2) * 0.04,
        rules=[NoTrade(("I0",), (0,)), InstrumentFloors(("I0",), (0,), (0.1,))],
    )  # fmt: skip
    error = refused(asked)

    assert set(error.rules) == {"I0 is not tradable yet", "I0 at least 10%"}
    assert error.fixes == ("lower 'I0 at least 10%' to 0%",)


def test_too_little_volatility_is_named_with_the_least_that_the_other_rules_allow() -> None:
    asked = question(
        np.array([[0.1, 0.05]]), np.diag([0.04, 0.16]), rules=[no_cash(2)], volatility=0.1
    )  # the calmest mixture has weights 4:1 and a volatility of √0.032 = 17.8885 %
    error = refused(asked)

    assert error.rules == ("volatility at most 10%",)
    assert error.message.startswith("cannot hold together: 'volatility at most 10%' and the other rules")
    assert error.fixes == ("raise 'volatility at most 10%' to 17.89%",)
    mended_limit = replace(asked.mandate, convex_rules=(VolatilityLimit(0.1789),))
    replace(asked, mandate=mended_limit).certified()
