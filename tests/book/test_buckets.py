"""Buckets of one's own: what a book may call them, which columns of exposures.csv are theirs, and what is refused."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.integrations.returns_table import book_from_returns
from allocator.plan.follow import input_fingerprints
from allocator.rules.builder import bucket_shares, group_shares, shock_returns
from allocator.settings.settings import BucketsSection
from allocator.tables import read_contract
from tests import books
from tests.spoiled_books import add, told, with_line

if TYPE_CHECKING:
    from tests.conftest import Folder

OWN = {"names": ["late_stage", "generic", "insurer"], "headline": ["late_stage", "generic"]}
LABELS = {"bucket": ["late_stage", "generic", "insurer", "generic"]}


def own(settings: dict[str, Any] | None = None, **columns: list[Any]) -> Book:
    """Four names in three buckets of their own, with further columns of exposures.csv."""
    return books.book({"buckets": OWN} | (settings or {}), exposures_columns=LABELS | columns)


def refused(settings: dict[str, Any] | None = None, **columns: list[Any]) -> list[str]:
    with pytest.raises(BadInput) as caught:
        own(settings, **columns)
    return list(map(str, caught.value.breaches))


def rename_column(book: Folder, old: str, new: str) -> None:
    book.replace("exposures.csv", f",{old},", f",{new},")


def test_shares_of_an_own_bucket_count_and_default_to_the_label() -> None:
    made = own(share_late_stage=[0.6, 0.2, None, 0.0], share_generic=[None, None, 0.5, None])

    np.testing.assert_array_equal(bucket_shares(made, "late_stage"), [0.6, 0.2, 0.0, 0.0])
    np.testing.assert_array_equal(bucket_shares(made, "generic"), [0, 1, 0.5, 1])
    np.testing.assert_array_equal(bucket_shares(made, "insurer"), [0, 0, 1, 0])
    assert group_shares(made, "generic")[1] == 0.0


def test_another_column_that_ends_in_share_is_no_bucket_s() -> None:
    """A bucket called token does not read token_share, which the efficiency model has."""
    buckets = {"names": ["token", "other"]}
    made = books.book(
        {"buckets": buckets}, exposures_columns={"bucket": ["token", "other"] * 2, "token_share": [0.25] * 4}
    )

    np.testing.assert_array_equal(bucket_shares(made, "token"), [1, 0, 1, 0])


def test_a_book_that_states_no_buckets_has_those_of_the_contract() -> None:
    (labels,) = (check.statistics["allowed_values"] for check in read_contract("exposures").columns["bucket"].checks)

    assert [*BucketsSection().names, "cash"] == labels
    assert BucketsSection().shown == labels[:2]
    assert BucketsSection(names=["a", "b", "c"]).shown == ["a", "b"]


def test_the_columns_of_before_say_what_the_new_ones_say(listed: Folder) -> None:
    before = {name: bucket_shares(load(listed.path), name) for name in BucketsSection().names}
    for name in ("efficiency", "capital_intensity"):
        rename_column(listed, f"{name}_share", f"share_{name}")
    after = load(listed.path)

    for name, shares in before.items():
        np.testing.assert_array_equal(bucket_shares(after, name), shares)
    assert 0 < before["efficiency"].sum() != round(before["efficiency"].sum())


def test_the_columns_of_before_are_read_where_the_buckets_are_named(listed: Folder) -> None:
    before = load(listed.path)
    add(listed, '[buckets]\nnames = ["adopter", "neutral", "capital_intensity", "efficiency"]')
    made = load(listed.path)

    np.testing.assert_array_equal(bucket_shares(made, "efficiency"), bucket_shares(before, "efficiency"))
    assert made.settings.buckets.shown == ["adopter", "neutral"]


def test_a_bucket_without_a_column_of_before_may_have_shares_too(listed: Folder) -> None:
    header, *rows = listed.rows("exposures.csv")
    listed.write("exposures.csv", [[*header, "share_adopter"], *([*row, "0.25"] for row in rows[:-1]), [*rows[-1], ""]])

    np.testing.assert_array_equal(bucket_shares(load(listed.path), "adopter"), [0.25] * 13)


def test_a_label_that_is_no_bucket_is_told_with_the_nearest_or_with_how_to_name_it() -> None:
    labels = ["late_stge", "generic", "efficiency", "generic"]
    rule = "bucket: must be one of late_stage, generic, insurer, cash"

    assert refused(bucket=labels) == [
        f"exposures:1 {rule} (got 'late_stge'); did you mean 'late_stage'?",
        f"exposures:3 {rule} (got 'efficiency'); name it in [buckets] of settings, or write one of these",
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"share_late_stag": [0.5] * 4},
         "exposures share_late_stag: holds the shares of no bucket of this book; did you mean 'share_late_stage'?"),
        ({"share_bonds": [0.5] * 4},
         "exposures share_bonds: holds the shares of no bucket of this book; name 'bonds' in [buckets], or remove the "
         "column"),
        ({"efficiency_share": [0.5] * 4},
         "exposures efficiency_share: holds the shares of no bucket of this book; name 'efficiency' in [buckets], or "
         "remove the column"),
        ({"share_cash": [0.0] * 4},
         "exposures share_cash: cash is no bucket: it counts as cash in full; remove the column"),
        ({"late_stage_share": [0.5] * 4},
         "exposures late_stage_share: unknown column; rename it to share_late_stage"),
        ({"share_generic": [0.5, 1.5, "x", -0.1]},
         "exposures:2 share_generic: must lie from 0 to 1 (got '1.5'); write 12 % as 0.12\n"
         "exposures:3 share_generic: must be a number (got 'x'); write a number such as 1234.5\n"
         "exposures:4 share_generic: must lie from 0 to 1 (got '-0.1'); write 12 % as 0.12"),
    ],
)  # fmt: skip
def test_a_share_column_is_of_a_bucket_of_the_book_and_from_0_to_1(columns: dict[str, list[Any]], said: str) -> None:
    assert refused(**columns) == said.split("\n")


def test_shares_that_are_spelt_in_both_ways_are_refused(listed: Folder) -> None:
    header, *rows = listed.rows("exposures.csv")
    column = ["share_efficiency", *["0"] * len(rows)]
    listed.write("exposures.csv", [[*row, cell] for row, cell in zip([header, *rows], column, strict=True)])

    assert told(listed) == [
        "exposures.csv efficiency_share: says what share_efficiency says; keep one of the two columns"
    ]


@pytest.mark.parametrize("column", ["efficiency_share", "capital_intensity_share"])
def test_cash_counts_towards_no_bucket_and_is_refused_where_it_would(listed: Folder, column: str) -> None:
    line = listed.cell("exposures.csv", "USD", column, "0.5")

    assert told(listed) == [
        f"exposures.csv:{line} {column}: cash counts towards no bucket (got '0.5'); write 0, or leave it blank"
    ]


def test_every_error_of_the_names_is_told_at_once() -> None:
    names = ["late_stage", "generic", "insurer", "insurer", "Cash", "AAA", "chips"]
    buckets = {"names": names, "headline": ["late_stge", "generic", "generic"]}
    too = "give one of the two another name"

    assert refused({"buckets": buckets, "groups": {"chips": ["AAA"]}}) == [
        "settings buckets.names: is named twice (got 'insurer'); name it once",
        "settings buckets.names: is the label of cash in every book (got 'Cash'); leave it out",
        f"settings buckets.names: is the name of an instrument of exposures.csv too (got 'AAA'); {too}",
        f"settings buckets.names: is the name of a group of [groups] too (got 'chips'); {too}",
        "settings buckets.headline: no such bucket in buckets.names (got 'late_stge'); did you mean 'late_stage'?",
        "settings buckets.headline: is named twice (got 'generic'); name it once",
        "settings buckets.headline: must be two buckets (got '3'); name the two that screens show, or remove it",
    ]


@pytest.mark.parametrize("names", [[], ["late_stage"]])
def test_a_book_with_buckets_has_two_or_more(names: list[str]) -> None:
    assert refused({"buckets": {"names": names}}) == [
        f"settings buckets.names: must be two buckets or more, and is {len(names)}; name the others of the book too"
    ]


@pytest.mark.parametrize("name", ["", " late", "a\tb", "=late", "x" * 41])
def test_a_bucket_has_a_name_that_people_and_spreadsheets_can_read(name: str) -> None:
    assert refused({"buckets": {"names": ["generic", name]}}) == [
        "settings buckets.names.1: must be visible text of at most 40 characters; write for example late_stage"
    ]


def test_rules_ratios_and_shocks_go_by_the_book_s_own_buckets() -> None:
    mandate = {
        "buckets": {"late_stge": {"max": 0.3}, "efficiency": {"max": 0.3}, "cash": {"max": 0.3}},
        "ratios": {"r": {"group": "insurr", "to": "generic", "max": 2.0}},
    }
    shocks = {"x": {"buckets": {"adopter": -0.1}, "expect": {"generics": "falls"}}}

    assert refused({"mandate": mandate, "shocks": shocks}) == [
        "settings mandate.buckets.late_stge: no such bucket (got 'late_stge'); did you mean 'late_stage'?",
        "settings mandate.buckets.efficiency: no such bucket (got 'efficiency'); known here: generic, insurer, "
        "late_stage",
        "settings mandate.buckets.cash: cash has rules of its own; use mandate.min_cash and mandate.max_cash",
        "settings mandate.ratios.r.group: no such bucket or group (got 'insurr'); did you mean 'insurer'?",
        "settings shocks.x.buckets.adopter: no such bucket (got 'adopter'); known here: generic, insurer, late_stage",
        "settings shocks.x.expect.generics: no such instrument, bucket or group (got 'generics'); did you mean "
        "'generic'?",
    ]


def test_a_rule_or_claim_about_an_own_bucket_that_nothing_counts_towards_is_refused() -> None:
    settings = {
        "mandate": {"buckets": {"insurer": {"max": 0.3}}},
        "shocks": {"x": {"market": -0.1, "expect": {"insurer": "falls", "generic": "falls"}}},
    }

    assert refused(settings, share_insurer=[0.0] * 4) == [
        "settings shocks.x.expect.insurer: nothing in this book counts towards it (got 'insurer'); correct the labels "
        "of exposures.csv, or remove it",
        "settings mandate.buckets.insurer: nothing in this book counts towards it: a cap always holds, a floor never "
        "can; correct the labels and shares of exposures.csv, or remove the rule",
    ]
    assert own(settings, share_insurer=[0.01, 0, 0, 0]).settings.buckets.names == OWN["names"]


def test_a_shock_moves_names_by_their_own_labels() -> None:
    made = own({"shocks": {"x": {"buckets": {"generic": -0.4}, "instruments": {"DDD": 0.1}}}}, share_generic=[0.5] * 4)

    np.testing.assert_array_equal(shock_returns(made, "x"), [0, -0.4, 0, 0.1])


def test_a_limit_of_an_exposure_may_be_of_a_share_column() -> None:
    shares = {"share_generic": [0.1, 1.0, 0.3, 1.0]}

    assert own({"mandate": {"exposures": {"share_generic": {"max": 0.3}}}}, **shares).instruments == books.NAMES
    assert refused({"mandate": {"exposures": {"share_genric": {"max": 0.3}}}}, **shares) == [
        "settings mandate.exposures.share_genric: no such column in exposures.csv or factors.csv (got 'share_genric'); "
        "did you mean 'share_generic'?"
    ]


def test_a_factor_may_not_be_called_like_a_share_column(listed: Folder) -> None:
    names = [row[0] for row in listed.rows("exposures.csv")[1:-1]]
    listed.write("factors.csv", [["instrument", "share_neutral"], *([name, "1"] for name in names)])

    assert told(listed) == [
        "factors.csv share_neutral: is the name of a column of exposures.csv, 'share_neutral'; give the factor another "
        "name"
    ]


def test_errors_of_labels_shares_and_numbers_are_told_together(listed: Folder) -> None:
    names = '[buckets]\nnames = ["efficiency", "capital_intensity", "adopter", "utility"]'
    add(listed, f'{names}\nheadline = ["utility", "gas"]')
    header, *rows = listed.rows("exposures.csv")
    listed.write("exposures.csv", [[*header, "share_gas"], *([*row, ""] for row in rows)])
    beta = listed.cell("exposures.csv", "TSM", "beta", "99")
    label = listed.cell("exposures.csv", "AMZN", "bucket", "utilty")

    found = told(listed)

    assert [line.split(": ")[0] for line in found] == [
        "exposures.csv share_gas", f"exposures.csv:{label} bucket", f"exposures.csv:{beta} beta",
        f"book.toml:{with_line(listed, 'headline =')} buckets.headline",
    ]  # fmt: skip


def test_a_book_whose_settings_cannot_be_read_has_no_label_refused_for_it(listed: Folder) -> None:
    add(listed, '[buckets]\nnames = ["power", "gas"]\nheadlin = ["power", "gas"]')
    header, *rows = listed.rows("exposures.csv")
    at = header.index("bucket")
    for row in rows[:-1]:
        row[at] = "power"
    listed.write("exposures.csv", [[*header, "share_gas"], *([*row, "0.5"] for row in rows[:-1]), [*rows[-1], "2"]])

    assert told(listed) == [
        f"book.toml:{with_line(listed, 'headlin')} buckets.headlin: unknown key; did you mean 'headline'?",
        "exposures.csv:15 share_gas: must lie from 0 to 1 (got '2'); write 12 % as 0.12",
    ]


def test_what_if_buckets_are_refused_where_they_were_set(listed: Folder) -> None:
    assert told(listed, overrides=['buckets.headline=["adopter", "power"]']) == [
        "--set buckets.headline: no such bucket in buckets.names (got 'power'); known here: adopter, "
        "capital_intensity, efficiency, neutral"
    ]


def test_only_buckets_of_one_s_own_are_among_the_fingerprints_of_a_plan() -> None:
    assert "buckets" not in input_fingerprints(books.book())
    found = {input_fingerprints(own({"buckets": OWN | {"headline": pair}}))["buckets"] for pair in (
        ["late_stage", "generic"], ["generic", "insurer"],
    )}  # fmt: skip
    assert len(found) == 2


def test_rows_of_returns_have_no_buckets_and_no_rule_of_one() -> None:
    with pytest.raises(BadInput) as caught:
        book_from_returns(["AAA"], {"buckets": OWN, "mandate": {"buckets": {"neutral": {"max": 0.5}}}}, peer="a peer")

    assert [str(breach).partition(";")[0] for breach in caught.value.breaches] == [
        "settings from a peer buckets: cannot be stated without a book",
        "settings from a peer mandate.buckets: counts labels of exposures.csv, and rows have none",
    ]


def test_nobody_but_the_settings_knows_the_name_of_a_bucket(root: Path) -> None:
    names = {*BucketsSection().names, "efficiency_share", "capital_intensity_share"}
    knowing = {
        str(path.relative_to(root))
        for path in (root / "allocator").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }

    assert knowing == {"allocator/settings/settings.py"}
