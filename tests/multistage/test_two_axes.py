"""Two axes in a tree: news moves the answers' probabilities, regimes are where the leaves are, and it is consistent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from allocator.ambiguity.balls import TotalVariation
from allocator.ambiguity.polyhedral import ExpertHull
from allocator.ambiguity.product import ProductSet
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate
from allocator.multistage.policy import Policy
from allocator.multistage.program import tree_program
from allocator.multistage.solve import solve_policy
from allocator.outlook.outlook import build_outlook
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.rules.rows import Position
from tests.inner_maximisers import inner
from tests.plan.test_axes import stated
from tests.thoroughness import some

CASES = [
    ("reviewed", "kl", "kl"), ("reviewed", "total_variation", "total_variation"), ("reviewed", "kl", "total_variation"),
    ("approval", "kl", "kl"), ("approval", "total_variation", "total_variation"), ("approval", "modified_chi2", "box"),
]  # fmt: skip


def book_of(root: Path, name: str, overrides: list[str]) -> Book:
    return load(root / "tests" / "plain_books" / name, overrides=overrides)


def asked(book: Book) -> tuple[MultistageMandate, Position]:
    """Its tree, and where one stands."""
    return build_multistage_mandate(book, build_outlook(book)), Position(book.weights, book.cash / book.value)


@pytest.mark.parametrize(("name", "question", "regime"), some(CASES, 4))
def test_a_re_solve_at_every_node_repeats_the_policy(root: Path, name: str, question: str, regime: str) -> None:
    staged, start = asked(book_of(root, name, stated(0.5, 0.5, question, regime)))
    policy = solve_policy(staged, start)

    for node in some(range(1, staged.tree.nodes), 3):
        unit = float(policy.wealth_before[node])
        again = solve_policy(staged.below(node, unit), policy.start_of(node))
        assert np.abs(again.holdings[0] - policy.holdings[node] / unit).sum() <= 1e-3


@pytest.mark.parametrize("name", ["reviewed", "approval"])
def test_the_answers_are_moved_at_every_node_and_the_regimes_at_the_leaves(root: Path, name: str) -> None:
    """By linear programs over the answers, and over each answer's regimes where a scenario comes true."""
    staged, start = asked(book_of(root, name, stated(0.7, 0.6)))
    policy, tree = solve_policy(staged, start), staged.tree

    for node in range(tree.nodes):
        below, ends = tree.children(node)
        whole = staged.ambiguities[node].of_scenarios
        assert isinstance(whole, ProductSet)
        beliefs, count = tree.beliefs[node], len(whole.regimes)
        mass = np.array([beliefs[whole.answers == h].sum() for h in range(count)])
        if len(ends):
            losses = policy.valued.leaf_losses[ends]
            each = [
                inner(losses[own], whole.regimes[h], beliefs[own] / mass[h])
                for h, own in enumerate(whole.answers == h for h in range(count))
            ]
        else:
            after = np.array([[tree.beliefs[m][whole.answers == h].sum() for h in range(count)] for m in below])
            likely = tree.probabilities[below][:, None] * after / mass  # P(child | answer)
            assert likely.sum(axis=0) == pytest.approx(np.ones(count), abs=1e-9)
            each = list(policy.valued.losses[below] @ likely)
        assert policy.valued.losses[node] == pytest.approx(inner(np.array(each), whole.question, mass), abs=1e-7)


def test_all_nodes_in_one_block_are_worth_what_each_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, start = asked(book_of(root, "reviewed", stated(0.5, 0.5, "kl", "total_variation")))
    at_once = solve_policy(staged, start).objective
    plain = replace(staged, ambiguities=tuple(_alone(staged)))
    monkeypatch.setattr(ProductSet, "batched", False)
    program = tree_program(plain, start)
    program.problem.solve(solver="CLARABEL")

    assert program.problem.value == pytest.approx(at_once, abs=2e-7)


def _alone(staged: MultistageMandate) -> Iterator[object]:
    for one in staged.ambiguities:
        object.__setattr__(one, "batched", False)
        yield one


@pytest.mark.parametrize("axis", some([0, 1], 2))
def test_the_certainty_equivalent_never_rises_as_either_caution_grows(root: Path, axis: int) -> None:
    ladder = [(c, 0.3) if axis == 0 else (0.3, c) for c in (0.0, 0.4, 1.0)]
    found = [solve_policy(*asked(book_of(root, "reviewed", stated(*pair)))).equivalent for pair in ladder]

    assert all(less <= more + 1e-6 for more, less in pairwise(found))
    assert found[0] > found[-1] + 1e-4


def test_both_cautions_off_are_the_policy_that_trusts_the_belief(root: Path) -> None:
    off, nominal = (
        solve_policy(*asked(book_of(root, "reviewed", overrides)))
        for overrides in (stated(0.0, 0.0), ["robust.question.set=none", "robust.regime.set=none"])
    )

    assert off.objective == pytest.approx(nominal.objective, abs=1e-12)
    assert off.holdings == pytest.approx(nominal.holdings, abs=1e-12)


def test_corners_are_known_at_every_review(root: Path) -> None:
    """After a claim the interval lies higher, after longer silence lower."""
    staged, start = asked(book_of(root, "reviewed", ["robust.question.schedule=corners"]))
    kinds, low, high = staged.tree.kinds, dict[str, float](), dict[str, float]()
    for node, one in enumerate(staged.ambiguities):
        whole = one.of_scenarios
        assert isinstance(whole, ProductSet)
        assert isinstance(whole.question, ExpertHull)
        own = whole.question.table(np.zeros(2))[1:, 0]
        low.setdefault(kinds[node], own[0]), high.setdefault(kinds[node], own[1])
        assert own[0] - 1e-12 <= staged.tree.beliefs[node, whole.answers == 0].sum() <= own[1] + 1e-12
    assert low["silent"] < low["now"] < low["claimed"]
    assert high["silent"] < high["now"] < high["claimed"]
    assert solve_policy(staged, start).gap <= 1e-6


@pytest.fixture(scope="module")
def plan_of_reviewed(root: Path) -> Plan:
    return rebalance(book_of(root, "reviewed", stated(0.5, 0.5, "kl", "kl")))


def test_the_release_table_says_what_each_axis_takes_and_costs(plan_of_reviewed: Plan) -> None:
    policy = plan_of_reviewed.policy
    assert policy is not None
    for node, row in enumerate(policy.caution_schedule):
        assert row.axes is not None
        assert sum(one.adverse_bps for one in row.axes.values()) == pytest.approx(
            _taken(policy.followed, node), abs=1e-3
        )
        costs = [one.cost_bps for one in row.axes.values() if one.cost_bps is not None]
        assert sum(costs) == pytest.approx(row.cost_of_robustness_bps, abs=1e-3)
        assert row.regime_radius is not None
        assert row.regime_radius == pytest.approx(policy.caution_schedule[0].regime_radius)  # news is of the answer
    assert {row.radius for row in policy.caution_schedule} != {policy.caution_schedule[0].radius}
    now = plan_of_reviewed.axes["answer"]
    assert now.cost_bps is not None
    told = str(plan_of_reviewed)
    assert f"{now.adverse_bps:.0f}/{now.cost_bps:.0f}" in told
    assert len(told.splitlines()) <= 45


def _taken(policy: Policy, node: int) -> float:
    """What adverse probabilities take of the certainty equivalent of the account at a node, in bps."""
    unit, nominal = float(policy.wealth_before[node]), policy.under((TotalVariation(0.0),) * policy.staged.tree.nodes)
    return float(np.exp(-nominal.losses[node]) - np.exp(-policy.valued.losses[node])) / unit * 1e4


def test_a_policy_of_two_axes_is_proved_by_a_stranger(root: Path, plan_of_reviewed: Plan) -> None:
    command = [sys.executable, str(root / "docs" / "verify_plan.py")]
    for plan in [plan_of_reviewed, *(rebalance(book) for book in some([None, *_by_corners(root)], 2) if book)]:
        document = json.dumps(plan_document(plan))
        done = subprocess.run(command, input=document, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("verified"), done.stderr


def _by_corners(root: Path) -> list[Book]:
    return [book_of(root, "reviewed", ["robust.question.schedule=corners"])]


def test_an_axis_that_the_book_does_not_have_is_refused_with_the_cure(root: Path, tmp_path: Path) -> None:
    for file in (root / "tests" / "plain_books" / "approval").iterdir():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("regime")]
        (tmp_path / file.name).write_text("".join(kept), encoding="utf-8")
    overrides = ["robust.regime.set=total_variation", "robust.regime.radius=0.1"]

    with pytest.raises(BadInput, match=r"second axis, which the book does not have.*(?s:.*)remove \[robust\.regime\]"):
        load(tmp_path, overrides=overrides)
    load(tmp_path, overrides=["robust.question.set=total_variation", "robust.question.radius=0.1"])
