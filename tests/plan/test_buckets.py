"""Buckets of one's own in a plan: a rule inside, at and beyond its limit; the headline on screens and in documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from allocator.book.book import Book
from allocator.display.console import console
from allocator.display.multistage import caution_table, describe_caution_columns
from allocator.display.plan_details import show_plan_details
from allocator.display.stress_beliefs import belief_sections
from allocator.display.stress_screen import show_sections
from allocator.errors import Infeasible
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.stress_testing.belief_stress import belief_stress
from tests.books import book
from tests.stress_testing.known_books import two_names

SHARES = np.array([0.6, 0.2])
"""Of late_stage; AAA returns 30 %, BBB 10 %, cash 2 %."""


def limited(low: float | None = None, high: float | None = None, **shares: list[float | None]) -> Book:
    """Two names of a bucket of one's own, to be invested in whole, without risk or costs."""
    limits = {key: value for key, value in (("min", low), ("max", high)) if value is not None}
    return book(
        {
            "mandate": {"risk_aversion": 0.0, "max_cash": 0.0, "buckets": {"late_stage": limits}},
            "buckets": {"names": ["other", "late_stage", "early_stage"], "headline": ["late_stage", "other"]},
        },
        names=("AAA", "BBB"),
        returns={"base": [0.3, 0.1]},
        cash=0.0,
        exposures_columns={"bucket": ["early_stage", "early_stage"], "share_late_stage": list(SHARES)} | shares,
    )


@pytest.mark.parametrize(("high", "first"), [(0.7, 1.0), (0.6, 1.0), (0.5, 0.75), (0.3, 0.25), (0.2, 0.0)])
def test_a_cap_of_an_own_bucket_binds_where_its_shares_reach_it(high: float, first: float) -> None:
    """The most of AAA with 0.6 w + 0.2 (1 - w) at most the cap: w = (cap - 0.2) / 0.4, and 1 where that is inside."""
    plan = rebalance(limited(high=high))

    assert plan.target.weights == pytest.approx([first, 1 - first], abs=1e-6)
    assert plan.targeted.buckets == pytest.approx(
        {"other": 0.0, "late_stage": 0.2 + 0.4 * first, "early_stage": 1.0, "cash": 0.0}, abs=1e-6
    )
    (priced,) = [rule.bps_per_point for rule in plan.binding if rule.label.startswith("bucket")] or [0.0]
    # one more point of the cap moves 0.01 / 0.4 from BBB to AAA; at a corner the price is one of many
    assert priced == pytest.approx(0.0 if high > 0.6 else 50.0, abs=0.01) or high in (0.6, 0.2)


@pytest.mark.parametrize(("low", "high"), [(0.61, None), (None, 0.19)])
def test_a_limit_of_an_own_bucket_that_its_shares_cannot_reach_is_a_conflict(
    low: float | None, high: float | None
) -> None:
    with pytest.raises(Infeasible) as caught:
        rebalance(limited(low, high))

    label = f"bucket late_stage at {'most 19%' if low is None else 'least 61%'}"
    assert label in str(caught.value)


def test_without_shares_a_rule_of_an_own_bucket_counts_its_label() -> None:
    plan = rebalance(limited(high=0.3, bucket=["late_stage", "other"], share_late_stage=[None, None]))

    assert plan.target.weights == pytest.approx([0.3, 0.7], abs=1e-6)


def test_the_document_has_every_bucket_and_keeps_its_schema(root: Path) -> None:
    document = plan_document(rebalance(limited(high=0.3)))

    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(document)
    for figures in document["figures"].values():
        assert list(figures["buckets"]) == ["other", "late_stage", "early_stage", "cash"]
    assert document["figures"]["target"]["buckets"]["late_stage"] == pytest.approx(0.3)
    assert "buckets" in document["fingerprints"]


def in_buckets(text: str) -> list[str]:
    """The rows of a screen that say what is in a bucket."""
    return [line.rsplit(maxsplit=2)[0] for line in text.splitlines() if line.startswith("in ")]


def test_the_first_screen_shows_the_headline_and_full_shows_every_bucket(capsys: pytest.CaptureFixture[str]) -> None:
    plan = rebalance(limited(high=0.3))

    assert in_buckets(str(plan)) == ["in late stage", "in other", "in cash"]
    show_plan_details(console(), plan)
    full = [line.rsplit(maxsplit=1)[0] for line in in_buckets(capsys.readouterr().out)]
    assert full == ["in other", "in late stage", "in early stage", "in cash"]


def staged(names: list[str]) -> Plan:
    """One decision on the tree, whose table of caution has the headline."""
    mandate = {"objective": "log", "max_weight": 0.6}
    returns = {"up": [0.3, 0.1, 0.05, 0.0], "down": [-0.2, 0.0, 0.03, 0.04]}
    columns: dict[str, Any] = {"bucket": [names[0], *names[1:], names[1]][:4], f"share_{names[0]}": [0.5, 0.1, 0, 0]}
    return rebalance(
        book({"mandate": mandate, "buckets": {"names": names}}, returns=returns, exposures_columns=columns)
    )


@pytest.mark.parametrize(
    ("names", "header", "legend"),
    [
        (["trial_stage", "generic", "ESG"], "tri/gen", "Tri/gen: trial stage and generic after the trades."),
        (["ESG", "oil", "gas"], "ESG/oil", "ESG/oil: ESG and oil after the trades."),
    ],
)
def test_the_table_of_caution_shows_the_headline_in_short(
    names: list[str], header: str, legend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    plan = staged(names)
    assert plan.policy is not None
    (now,) = plan.policy.caution_schedule
    made = caution_table(console(), plan.policy)
    cells = {str(column.header): list(column.cells) for column in made.columns}

    held = plan.policy.followed.holdings[0] / plan.policy.followed.wealth[0]
    assert list(now.shares) == [names[0], names[1], "cash"]
    assert now.shares[names[0]] == pytest.approx(held @ [0.5, 0.1, 0, 0])
    assert cells[header] == [f"{now.shares[names[0]] * 100:.0f}/{now.shares[names[1]] * 100:.0f}%"]
    assert legend in describe_caution_columns(plan.policy, made)


@pytest.mark.parametrize(
    ("names", "headers", "pair"),
    [
        (["late_stage", "generic"], ("late", "generic"), "late stage and generic"),
        (["late_stage", "late_market"], ("in late stage", "in late market"), "late stage and late market"),
        (["objective", "other"], ("in objective", "in other"), "objective and other"),
    ],
)
def test_belief_stress_holds_the_headline_against_each_other(
    names: list[str], headers: tuple[str, str], pair: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "160")
    made = two_names(buckets={"names": names}, labels=tuple(names))
    stress = belief_stress(rebalance(made))
    frame = stress.axes[0].sweep.frame()

    turns = [turn.what for turn in stress.axes[0].break_evens if turn.kind == "tilt"]
    assert turns == [f"{pair} weigh the same", f"{pair} are as far apart as in today's holdings"]
    if "objective" not in names:
        np.testing.assert_allclose(frame[names[0]], frame["AAA"])
    show_sections(console(), list(belief_sections(stress)), full=True)
    (header,) = [line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("P ")]
    assert header.split("adverse return")[1].split() == " ".join((*headers, "cash")).split()
