"""Tiers: which rules give way, how far, and that an earlier tier never pays for a later one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.errors import Infeasible
from allocator.optimization.conflicts import relax_by_tier, solve_lexicographic
from allocator.optimization.elastic import ElasticProgram
from allocator.optimization.solve import Program
from allocator.plan.targets import solve_certified
from allocator.rules import Turnover, VolatilityLimit, WeightAtLeast, WeightAtMost
from tests.infeasible_books import demanding, hopeless
from tests.problems import Question, question

FIRST, SECOND = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def tiered(seed: int, *, cones: bool = False) -> Question:
    """A random hopeless question whose rules have random tiers."""
    asked, draw = demanding(seed, cones=cones), np.random.default_rng(seed + 1)
    linear = [replace(rule, tier=int(draw.integers(1, 5))) for rule in asked.mandate.linear_rules]  # type: ignore[type-var]
    convex = [replace(rule, tier=int(draw.integers(1, 5))) for rule in asked.mandate.convex_rules]  # type: ignore[type-var]
    return replace(asked, mandate=replace(asked.mandate, linear_rules=tuple(linear), convex_rules=tuple(convex)))


def totals(asked: Question) -> dict[int, float]:
    """How much each tier is missed by, in natural units."""
    feasibility = ElasticProgram(asked.start, asked.outlook, asked.mandate)
    found = solve_lexicographic(feasibility, [])
    return {
        tier: sum(m.price * by for m, by in zip(feasibility.members, found.by, strict=True) if m.tier == tier)
        for tier in (1, 2, 3, 4)
    }


def test_the_rule_of_the_later_tier_gives_way_as_far_as_it_must_and_no_other_does() -> None:
    # 80% in the first name; hard: at most 35% of it; tier 1: at least 40% of it (5 points short); tier 9: 30% turnover,
    # which needs 45%
    asked = question(
        np.array([[0.1, 0.05]]), np.eye(2) * 0.04, held=np.array([0.8, 0.2]),
        rules=[WeightAtMost("a", FIRST, 0.35), WeightAtLeast("a", FIRST, 0.4, tier=1), Turnover(0.3, tier=9)],
    )  # fmt: skip
    given = relax_by_tier(asked.start, asked.outlook, asked.mandate)

    assert given is not None
    assert {given.members[i].label: limit for i, limit in given.limits.items()} == {
        "a at least 40%": pytest.approx(0.35, abs=1e-9),
        "turnover at most 30%": pytest.approx(0.45, abs=1e-9),
    }
    replace(asked, mandate=given.with_limits(asked.mandate)).certified()


def test_a_volatility_with_a_tier_gives_way_to_the_least_there_is() -> None:
    asked = question(
        np.array([[0.1, 0.05]]), np.diag([0.04, 0.16]), rules=[WeightAtMost("cash", np.zeros(2), 0.0, cash_share=1.0)]
    )
    asked = replace(asked, mandate=replace(asked.mandate, convex_rules=(VolatilityLimit(0.1, tier=5),)))
    given = relax_by_tier(asked.start, asked.outlook, asked.mandate)

    assert given is not None
    assert list(given.limits.values()) == [pytest.approx(0.1789, abs=1e-9)]  # √0.032, rounded up
    replace(asked, mandate=given.with_limits(asked.mandate)).certified()


def test_where_all_rules_can_hold_nothing_gives_way() -> None:
    asked = question(np.array([[0.1, 0.05]]), np.eye(2) * 0.04, rules=[WeightAtMost("a", FIRST, 0.35, tier=4)])

    assert relax_by_tier(asked.start, asked.outlook, asked.mandate) is None


def test_hard_rules_that_clash_are_refused_and_only_they_are_named() -> None:
    asked = question(
        np.array([[0.1, 0.05]]), np.eye(2) * 0.04,
        rules=[WeightAtLeast("a", FIRST, 0.4), WeightAtMost("b", FIRST, 0.2), WeightAtLeast("c", SECOND, 0.9, tier=3)],
    )  # fmt: skip
    with pytest.raises(Infeasible) as refused:
        relax_by_tier(asked.start, asked.outlook, asked.mandate)

    assert refused.value.rules == ("a at least 40%", "b at most 20%")
    assert refused.value.fixes == ("lower the first to 20%", "raise the second to 40%")


@pytest.mark.parametrize("seed", [*hopeless(6, first=300), *hopeless(4, first=6100, cones=True)])
def test_a_tier_never_gains_when_an_earlier_one_is_eased_further_than_it_was(seed: int) -> None:
    asked = tiered(seed, cones=seed > 6000)
    before = totals(asked)
    worst = next(tier for tier in before if before[tier] > 1e-6)
    for tier in range(worst + 1, 5):
        # without what comes later, no tier can be missed by less
        linear = tuple(rule for rule in asked.mandate.linear_rules if rule.tier <= tier)
        convex = tuple(rule for rule in asked.mandate.convex_rules if rule.tier <= tier)
        alone = totals(replace(asked, mandate=replace(asked.mandate, linear_rules=linear, convex_rules=convex)))
        for one in range(1, tier + 1):
            assert alone[one] == pytest.approx(before[one], abs=1.1e-4)  # the room that a tier leaves to later ones


@pytest.mark.parametrize("seed", hopeless(16, first=400))
def test_the_eased_mandate_is_solved_and_certified(seed: int) -> None:
    asked = tiered(seed)
    given = relax_by_tier(asked.start, asked.outlook, asked.mandate)

    assert given is not None
    eased = given.looser(1e-4).with_limits(asked.mandate)
    solve_certified(Program(asked.outlook, eased), asked.start, asked.outlook, eased)
