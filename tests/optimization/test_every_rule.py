"""Every rule and charge, alone and all together: certified, as the textbook has it, beaten by nobody, priced right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.optimization.solve import Limits
from allocator.plan.plan import binding_rules
from allocator.rules import ConvexRule, LinearRule, VolatilityLimit, WeightAtLeast, WeightAtMost
from tests.agreement import HOLDINGS, KEPT, OBJECTIVE, SHARP
from tests.problems import SETS, Question, caps, question
from tests.textbook_program import CHARGES, RULES, rich_question, textbook_optimum
from tests.thoroughness import some

ALWAYS_BINDING = [name for name in RULES if name not in ("tracking error", "scenario floor", "worst case", "active")]
TOGETHER = ("impact", "ellipsoid", *RULES)
KINDS = [(name,) for name in (*CHARGES, *RULES)] + [TOGETHER, ("impact", "box", *RULES), ("budget",)]
EVERY = pytest.mark.parametrize(
    "what", KINDS, ids=lambda what: what[0] if len(what) == 1 else "+".join(what[:2]) + "+all"
)
TIGHT = Limits(tolerance=1e-11)


def rich(what: tuple[str, ...], ambiguity: Ambiguity) -> Question:
    """Every kind meets every set, half of them without a charge for variance."""
    at = KINDS.index(what) + SETS.index(ambiguity)
    return rich_question(at, *what, ambiguity=ambiguity, risk_aversion=2.0 * (at % 2))


def own(asked: Question) -> tuple[LinearRule | ConvexRule, ...]:
    """The rules that `rich_question` put on top."""
    return (*asked.mandate.linear_rules[4:], *asked.mandate.convex_rules)


@pytest.mark.parametrize(("what", "ambiguity"), some(product(KINDS, SETS), 3))  # each kind, and each set with many
def test_a_plan_is_certified_and_is_the_textbook_s(what: tuple[str, ...], ambiguity: Ambiguity) -> None:
    asked = rich(what, ambiguity)
    target, _, certificate = asked.certified()

    assert -SHARP <= certificate.gap <= SHARP
    assert certificate.largest_violation <= KEPT
    assert certificate.objective == pytest.approx(textbook_optimum(asked), abs=OBJECTIVE)
    if set(what) & set(ALWAYS_BINDING):
        assert max(r.missed for rule in own(asked) for r in rule.readings(target, asked.outlook)) > -1e-6, "none binds"


@EVERY
def test_no_random_feasible_portfolio_is_better(what: tuple[str, ...]) -> None:
    """Mixtures of the plan and of what others would want under the same rules, which are convex."""
    asked, draw = rich(what, SETS[KINDS.index(what) % len(SETS)]), np.random.default_rng(KINDS.index(what))
    others = [replace(asked, mandate=replace(asked.mandate, risk_aversion=aversion)) for aversion in (0.3, 8.0, 90.0)]
    _, bound = asked.prices()
    corners = np.array([one.solved(TIGHT).holdings for one in (asked, *others)])
    mixed = [asked.trade(draw.dirichlet([1, 0.5, 0.5, 0.5]) @ corners) for _ in range(60)]
    trades = [trade for trade in mixed if asked.broken(trade) <= 1e-8]

    assert len(trades) >= 20
    losses = [asked.mandate.loss(trade, asked.outlook) for trade in trades]
    assert min(losses) >= max(asked.optimum(), bound) - 5e-8
    assert max(losses) > bound + 1e-5


def eased(asked: Question, by: float) -> Question:
    """Every limit of the rules on top loosened by so much of its own unit."""

    def moved(rule: LinearRule | ConvexRule) -> LinearRule | ConvexRule:
        readings: Sequence[object] = rule.readings(asked.trade(asked.start.holdings), asked.outlook)
        return rule.with_limits([r.limit + (by if r.at_most else -by) for r in readings])  # type: ignore[attr-defined]

    mandate = asked.mandate
    linear = (*mandate.linear_rules[:4], *map(moved, mandate.linear_rules[4:]))
    return replace(
        asked, mandate=replace(mandate, linear_rules=linear, convex_rules=tuple(map(moved, mandate.convex_rules)))
    )  # type: ignore[arg-type]


def price(asked: Question) -> float:
    """What a unit of limit of all the rules on top is worth, by the binding rules of the plan."""
    target, prices, _ = asked.certified(TIGHT)
    mine = {r.label for rule in own(asked) for r in rule.readings(target, asked.outlook)}
    found = binding_rules(asked.outlook, asked.mandate, target, prices)
    return sum(rule.bps_per_point for rule in found if rule.label in mine) / 100


@pytest.mark.parametrize(
    ("kind", "ambiguity"), some(product(RULES, [Singleton(), TotalVariation(0.15), KullbackLeibler(0.05)]), 2)
)
def test_a_rule_loosened_a_little_gains_what_its_price_said(kind: str, ambiguity: Ambiguity) -> None:
    found = (
        (one, price(one)) for one in (rich_question(seed, kind, ambiguity=ambiguity, room=0.6) for seed in range(20))
    )
    asked, priced = next((one, worth) for one, worth in found if worth > 1e-3)
    step = 2e-5
    gained = (eased(asked, -step).optimum(TIGHT) - eased(asked, step).optimum(TIGHT)) / (2 * step)

    assert priced == pytest.approx(gained, rel=0.01)


# The rules of the note's own check of its shadow prices; its instruments were not published, so these are others.

GROUP = np.array([0.0, 0, 1, 1, 1, 0, 0, 0])
LIMITS = {"cap": 0.35, "group": 0.5, "volatility": 0.3, "cash": 0.05, "radius": 0.1}


def eight(**moved: float) -> Question:
    """Total variation .1, caps of 35 %, a group of at most 50 %, volatility of at most 30 %, cash of at least 5 %."""
    at, draw = LIMITS | moved, np.random.default_rng(41)
    returns = draw.normal(0.12, 0.3, (4, 8))
    root = draw.normal(size=(8, 8)) * 0.14
    asked = question(
        returns,
        root @ root.T + 0.02 * np.eye(8),
        probabilities=np.array([0.3, 0.2, 0.3, 0.2]),
        cash_return=0.04,
        risk_aversion=0.0,
        ambiguity=TotalVariation(at["radius"]),
        rules=[
            caps(8, at["cap"]),
            WeightAtMost("CAP", GROUP, at["group"]),
            WeightAtLeast("cash", np.zeros(8), at["cash"], 1.0),
        ],
    )
    return replace(asked, mandate=replace(asked.mandate, convex_rules=(VolatilityLimit(at["volatility"]),)))


@pytest.mark.parametrize(("what", "label", "sign"), [
    ("cap", "I", 1), ("group", "CAP", 1), ("volatility", "volatility", 1), ("cash", "cash", -1),
])  # fmt: skip
def test_the_shadow_prices_of_eight_instruments_are_central_differences(what: str, label: str, sign: int) -> None:
    asked = eight()
    target, prices, _ = asked.certified(TIGHT)
    rules = binding_rules(asked.outlook, asked.mandate, target, prices)
    priced = sign * sum(rule.bps_per_point for rule in rules if rule.label.startswith(label)) / 100
    step = 1e-4
    lower, upper = (eight(**{what: LIMITS[what] + by}).optimum(TIGHT) for by in (-step, step))

    assert priced == pytest.approx((lower - upper) / (2 * step), rel=1e-3, abs=1e-6)


def test_a_larger_radius_costs_the_largest_loss_less_that_of_the_last_donor() -> None:
    asked = eight()
    target, prices, _ = asked.certified(TIGHT)
    losses = -asked.outlook.portfolio_returns(target.values, target.cash)
    q = prices.adversary
    donor = min(loss for loss, mass in zip(losses, q, strict=True) if mass > 1e-6)
    step = 1e-4
    lower, upper = (eight(radius=0.1 + by).optimum(TIGHT) for by in (-step, step))

    assert np.abs(q - asked.outlook.probabilities).sum() / 2 == pytest.approx(0.1, abs=HOLDINGS)
    assert (upper - lower) / (2 * step) == pytest.approx(losses.max() - donor, rel=1e-3)
    assert losses.max() - donor > 0.01
