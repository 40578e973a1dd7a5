"""Sets that speak of scenarios, seen through the news of a tree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.__main__ import main
from allocator.ambiguity.polyhedral import ExpertHull, Polytope, Pushforward
from allocator.ambiguity.transport import Wasserstein
from allocator.book.loading import load
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.solve import solve_policy
from allocator.outlook.outlook import build_outlook
from allocator.rules.rows import Position
from tests.command_line import runner

EXPERT = {
    "generalizable_jevons": 0.6, "generalizable_compression": 0.1,
    "proprietary_jevons": 0.2, "proprietary_compression": 0.1,
}  # fmt: skip
SETS = {
    "hull": ["robust.set='hull'", *(f"robust.experts.bull.{name}={p}" for name, p in EXPERT.items())],
    "wasserstein": [
        "robust.set='wasserstein'", "robust.radius=0.1", "robust.metric.replicability=1.0",
        "robust.metric.usage_elasticity=0.5",
    ],
    "polytope": [
        "robust.set='polytope'", "robust.limits.g.weights.generalizable_jevons=1.0",
        "robust.limits.g.weights.generalizable_compression=1.0", "robust.limits.g.max=0.97",
    ],
}  # fmt: skip


def overrides(name: str) -> list[str]:
    return [*SETS[name], "robust.schedule='fixed'"]


def test_the_likelihoods_are_those_of_bayes_and_bring_the_children_back() -> None:
    draw = np.random.default_rng(5)
    beliefs = draw.dirichlet(np.ones(4))
    likelihoods = draw.dirichlet(np.ones(3), size=4)  # P(m | k)
    children = beliefs @ likelihoods
    child_beliefs = (beliefs[:, None] * likelihoods / children).T

    seen = ExpertHull(beliefs[None, :]).after_news(beliefs, children, child_beliefs)

    np.testing.assert_allclose(seen.likelihoods, likelihoods, atol=1e-14)
    np.testing.assert_allclose(seen.adversary(draw.normal(size=3), children), children, atol=1e-14)


@pytest.mark.parametrize("seed", range(20))
def test_the_worst_news_is_that_of_the_worst_scenarios(seed: int) -> None:
    draw = np.random.default_rng(seed)
    beliefs, likelihoods, losses = draw.dirichlet(np.ones(4)), draw.dirichlet(np.ones(3), size=4), draw.normal(size=3)
    limits = (draw.normal(size=(2, 4)), np.zeros(2))
    limits = (limits[0], limits[0] @ beliefs + 0.1)
    seen = Pushforward(Polytope(*limits), likelihoods, beliefs)

    best = linprog(-(likelihoods @ losses), A_ub=limits[0], b_ub=limits[1], A_eq=np.ones((1, 4)), b_eq=[1.0])

    assert seen.adversary(losses, beliefs @ likelihoods) @ losses == pytest.approx(-best.fun, abs=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_scenarios_guards_every_review(root: Path, name: str) -> None:
    book = load(root / "tests" / "plain_books" / "reviewed", overrides=overrides(name))
    staged = build_multistage_mandate(book, build_outlook(book))
    start = Position(book.weights, book.cash / book.value)
    kinds = {"hull": ExpertHull, "wasserstein": Wasserstein, "polytope": Polytope}

    policy = solve_policy(staged, start)

    trusting = load(root / "tests" / "plain_books" / "reviewed", overrides=["robust.set='none'"])
    nominal = solve_policy(build_multistage_mandate(trusting, build_outlook(trusting)), start)
    for node, ambiguity in enumerate(staged.ambiguities):
        below = staged.tree.children(node)[0]
        assert isinstance(ambiguity, Pushforward) == bool(len(below))
        assert isinstance(ambiguity.over if isinstance(ambiguity, Pushforward) else ambiguity, kinds[name])
    # guarding is never better than trusting under the belief, and better than it in the worst case
    assert policy.objective >= nominal.objective - 1e-9
    assert policy.objective <= nominal.under(staged.ambiguities).losses[0] + 1e-9


def test_experts_have_seen_the_news_too(root: Path) -> None:
    book = load(root / "tests" / "plain_books" / "reviewed", overrides=overrides("hull"))
    staged = build_multistage_mandate(book, build_outlook(book))
    claimed = staged.tree.kinds.index("claimed")
    ambiguity = staged.ambiguities[claimed]
    assert isinstance(ambiguity, Pushforward)
    assert isinstance(ambiguity.over, ExpertHull)
    (expert,), before = ambiguity.over.experts, np.array(list(EXPERT.values()))
    odds = (expert[0] / expert[2]) / (before[0] / before[2])
    belief, now = staged.tree.beliefs[claimed], staged.tree.beliefs[0]

    assert odds == pytest.approx((belief[0] / belief[2]) / (now[0] / now[2]), rel=1e-12)


def test_limits_that_the_news_would_break_are_refused_with_the_review(root: Path) -> None:
    arguments = ["rebalance", str(root / "tests" / "plain_books" / "reviewed"), "--json"]
    for override in [*overrides("polytope")[:-2], "robust.limits.g.max=0.25", "robust.schedule='fixed'"]:
        arguments += ["--set", override]

    answer = runner().invoke(main, arguments)

    assert answer.exit_code == 3
    (breach,) = json.loads(answer.stdout)["errors"]
    assert breach["rule"].startswith("leaves out what we would believe at the review 'claimed by 2027-02-20'")
    assert breach["cure"] == "widen the limits: what holds today need not hold after the news"
