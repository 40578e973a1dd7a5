"""The tree of a book's reviews: who may speak by when, what is then believed, and what prices hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allocator.book.loading import load
from allocator.outlook.calibration import calibrate
from allocator.outlook.outlook import build_outlook
from allocator.outlook.posterior import bayes_update
from allocator.outlook.scenario_tree import ReviewTree, build_review_tree
from allocator.settings.settings import DAYS_A_YEAR
from tests.implied_books import announced, node_book

REVIEWED = Path(__file__).parents[2] / "tests" / "plain_books" / "reviewed"
DAYS = ("2027-02-20", "2027-05-20", "2027-08-20")


def staged(*overrides: str, root: Path = REVIEWED) -> ReviewTree:
    book = load(root, overrides=overrides)
    return build_review_tree(book, build_outlook(book))


def reviews(count: int) -> str:
    return "horizon.reviews=[" + ", ".join(DAYS[:count]) + "]"


def copied(place: Path, *rows: str) -> Path:
    """The sample with these signals added."""
    place.mkdir()
    for file in REVIEWED.iterdir():
        text = file.read_text(encoding="utf-8")
        if file.name == "signals.csv":
            text = text.rstrip("\n") + "\n" + "".join(f"{row}\n" for row in rows)
        (place / file.name).write_text(text, encoding="utf-8")
    return place


def test_what_a_review_may_find_sums_to_one_and_moves_no_belief_on_average() -> None:
    tree = staged().tree
    inner = [node for node in range(tree.nodes) if len(tree.children(node)[0])]
    assert len(inner) == 5
    for node in inner:
        children = tree.children(node)[0]
        chance = tree.probabilities[children]
        assert chance.sum() == pytest.approx(1, abs=1e-14)
        np.testing.assert_allclose(chance @ tree.beliefs[children], tree.beliefs[node], atol=1e-14)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_so_many_reviews_make_so_many_decisions_and_outcomes(count: int) -> None:
    # verdict nodes keep every scenario, as a verdict is evidence here: where it is certainty, there are 8n + 3 in all
    tree = staged(reviews(count)).tree
    scenarios = tree.beliefs.shape[1]
    assert tree.nodes == 4 * count - 1
    assert tree.leaves == 2 * count * scenarios


def test_prices_are_fair_to_the_market_where_all_is_announced() -> None:
    book = load(REVIEWED, overrides=("horizon.announcement_share=1.0",))
    outlook = build_outlook(book)
    staging, model = build_review_tree(book, outlook), calibrate(book)
    assert model is not None
    assert model.market_now is not None
    market = bayes_update(model.market_now, staging.evidence)
    tree, required = staging.tree, np.asarray(book.exposures["required_return"], dtype=float)
    for node in range(tree.nodes):
        children = tree.children(node)[0]
        if not len(children):
            continue
        # the market's own chance of each child: what makes its belief the mean of those after it
        odds = [market[child] / tree.beliefs[child] * tree.beliefs[node] / market[node] for child in children]
        theirs = np.array([tree.probabilities[c] / float(np.mean(o)) for c, o in zip(children, odds, strict=True)])
        assert theirs.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(theirs @ market[children], market[node], atol=1e-14)
        years = (tree.dates[children[0]] - tree.dates[node]).days / DAYS_A_YEAR
        np.testing.assert_allclose(theirs @ tree.growth[children], (1 + required) ** years, rtol=1e-13)


def test_a_market_that_begins_where_we_do_believes_what_we_believe() -> None:
    book = load(REVIEWED)
    outlook, model = build_outlook(book), calibrate(book)
    assert model is not None
    assert model.market_now is not None
    found = build_review_tree(book, replace(outlook, probabilities=model.market_now))
    ours, market = found.tree.beliefs, bayes_update(model.market_now, found.evidence)
    np.testing.assert_array_equal(ours, market)
    assert np.ptp(ours, axis=0).min() > 0.01


def test_prices_earn_the_required_return_and_no_more_where_nothing_is_announced() -> None:
    tree = staged("horizon.announcement_share=0.0").tree
    for node in range(tree.nodes):
        growth = tree.growth[tree.children(node)[0]]
        if len(growth):
            np.testing.assert_allclose(growth, np.broadcast_to(growth[0], growth.shape), rtol=1e-14)


@pytest.mark.parametrize("share", ["0.0", "0.6", "1.0"])
def test_growth_along_every_path_ends_at_the_scenarios_returns(share: str) -> None:
    override = f"horizon.announcement_share={share}"
    outlook, tree = build_outlook(load(REVIEWED, overrides=(override,))), staged(override).tree
    growth, cash = tree.since_now()
    np.testing.assert_allclose(
        growth[tree.leaf_parents] * tree.leaf_growth, 1 + outlook.returns[tree.leaf_scenarios], rtol=1e-14
    )
    np.testing.assert_allclose(
        cash[tree.leaf_parents] * tree.leaf_cash_growth, 1 + outlook.cash_returns[tree.leaf_scenarios], rtol=1e-14
    )


def test_an_open_claim_is_judged_at_the_first_review(tmp_path: Path) -> None:
    tree = staged(root=copied(tmp_path / "book", "2026-11-01,claim,OpenAI,,,")).tree
    children = tree.children(0)[0]
    assert [tree.kinds[child] for child in children] == ["verified", "refuted"]
    assert tree.names[children[0]] == "OpenAI verified by 2027-02-20"
    np.testing.assert_allclose(tree.probabilities[children] @ tree.beliefs[children], tree.beliefs[0], atol=1e-14)


def test_labs_that_were_all_verified_may_claim_again(tmp_path: Path) -> None:
    rows = [f"2026-{month},{kind},{lab},,," for lab in ("OpenAI", "Google", "Anthropic")
            for month, kind in (("10-01", "claim"), ("11-01", "verification"))]  # fmt: skip
    tree = staged(root=copied(tmp_path / "book", *rows)).tree
    assert set(tree.kinds) == {"now", "silent", "claimed", "verified", "refuted"}
    assert tree.beliefs[:, :2].sum(axis=1).min() > 0.95  # and little comes of it


def test_each_nodes_belief_is_that_of_the_book_it_implies(tmp_path: Path) -> None:
    policy, states = announced(REVIEWED, ())
    for node, state in enumerate(states):
        place = tmp_path / str(node)
        node_book(REVIEWED, place, policy, state, node)
        rest = [day for day in DAYS if day > state.day.isoformat()]
        book = load(place, overrides=(f"book.as_of={state.day}", f"horizon.reviews=[{', '.join(rest)}]"))
        np.testing.assert_allclose(build_outlook(book).probabilities, policy.staged.tree.beliefs[node], atol=1e-12)


def test_a_verdict_that_all_but_proves_a_claim_is_still_a_branch() -> None:
    """Evidence so strong that the belief after it rounds to 1: its chance is told by logs."""
    rates = [f"question.labs.{lab}.background=1e-9" for lab in ("OpenAI", "Google", "Anthropic")]
    ranges = "question.ranges.background=[1e-10, 0.02]"
    tree = staged("question.sensitivity=0.999999999", "question.false_positive=1e-12", *rates, ranges).tree

    for node in range(tree.nodes):
        children = tree.children(node)[0]
        if len(children):
            chances = tree.probabilities[children]
            assert chances.sum() == pytest.approx(1, abs=1e-9)
            np.testing.assert_allclose(chances @ tree.beliefs[children], tree.beliefs[node], atol=1e-9)
    verified = tree.kinds.index("verified")
    assert tree.beliefs[verified][:2].sum() == 1  # where a division by what is left of it would fail
