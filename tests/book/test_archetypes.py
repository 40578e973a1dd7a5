"""A name in one word: what its archetype says where its row is blank; and names of which nobody has said anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

import allocator
from allocator.__main__ import main
from allocator.book.checks.question import ALWAYS
from allocator.book.defaults import archetypes
from allocator.errors import BadInput, Infeasible
from tests.command_line import runner

TYPED = """\
[book]
name = "Mine"
currency = "USD"
as_of = 2026-11-20

[scenarios]
good.probability = 0.6
bad.probability = 0.4
"""
MODEL = """\
[book]
name = "Mine"
currency = "USD"
as_of = 2026-11-20

[model]

[market]
date = 2026-11-20
probabilities = { all = 0.5, one = 0.5 }

[risk]
source = "exposures"
market_volatility = 0.18

[mandate]
risk_aversion = 2.0

[scenarios.all]
probability = 0.7
hypothesis = "generalizable"
regime = "jevons"
replicability = 1.0
pass_through = 0.85
usage_elasticity = 1.9
training_elasticity = 0.8
multiple_compression = 0.05

[scenarios.one]
probability = 0.3
hypothesis = "proprietary"
regime = "compression"
replicability = 0.1
pass_through = 0.6
usage_elasticity = 0.6
training_elasticity = 0.7
multiple_compression = 0.25
"""
HOLDINGS = "instrument,quantity,price\nNVDA,100,180\nMETA,20,600\nODD,10.5,300\nUSD,10000,1\n"
RETURNS = "instrument,good,bad\ncapital_intensity,0.3,-0.3\nefficiency,0.2,-0.1\n"
NAMED = "instrument,bucket,archetype\nNVDA,,chip_seller\nMETA,efficiency,efficient_platform\nODD,,\n"
SAMPLES = {
    "chip_seller": ("listed", ["NVDA", "AVGO", "TSM"]), "hyperscaler": ("listed", ["MSFT", "AMZN", "ORCL"]),
    "frontier_lab": ("note", ["OPENAI", "ANTHROPIC"]), "efficient_lab": ("note", ["EFFLAB"]),
    "efficient_platform": ("listed", ["META"]), "neocloud": ("listed", ["CRWV"]), "data_centre": ("listed", ["EQIX"]),
    "utility": ("listed", ["VST"]), "software_adopter": ("listed", ["CRM", "ADBE"]), "orbital": ("note", ["ORBITAL"]),
}  # fmt: skip


def written(
    folder: Path, exposures: str, toml: str = MODEL, *, holdings: str = HOLDINGS, returns: str | None = None
) -> Path:
    texts = {"book.toml": toml, "holdings.csv": holdings, "exposures.csv": exposures}
    if returns is not None:
        texts["scenario_returns.csv"] = returns
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        allocator.load(folder)
    return str(caught.value)


def run(*arguments: object) -> Result:
    return runner().invoke(main, list(map(str, arguments)), env={"COLUMNS": "80", "NO_COLOR": "1"})


def said(*arguments: object) -> str:
    answer = run(*arguments)
    assert answer.exit_code == 0, answer.stderr
    return " ".join(answer.stdout.split())


@pytest.mark.parametrize("archetype", SAMPLES)
def test_the_loadings_of_an_archetype_are_those_of_the_rows_that_it_names(archetype: str, root: Path) -> None:
    book, names = SAMPLES[archetype]
    rows = pd.read_csv(root / "data" / book / "exposures.csv").set_index("instrument").loc[names]
    columns = [*ALWAYS, "gross_margin"]

    own = archetypes().loc[archetype]
    means = rows[columns].mean()

    told = own[columns].astype(float).notna()
    assert told[list(ALWAYS)].all()
    np.testing.assert_allclose(own[columns][told].astype(float), means[told], atol=0.0011)
    assert all(name in own["source"] for name in names)
    assert f"data/{book}" in own["source"]


def test_every_archetype_is_complete_and_says_where_it_is_from() -> None:
    table = archetypes()

    assert {*SAMPLES} < {*table.index}
    np.testing.assert_allclose(table[["training", "inference", "capacity", "application", "other"]].sum(axis=1), 1)
    assert (table["gross_margin"].notna() | (table["inference"] == 0)).all()
    assert (table["application_margin"].notna() | (table["application"] == 0)).all()
    assert table["source"].str.contains("illustrative").all()


def test_a_row_takes_what_it_leaves_blank_and_keeps_what_it_knows(tmp_path: Path) -> None:
    exposures = "instrument,bucket,archetype,beta,training\nNVDA,,chip_seller,2.5,0.4\nMETA,,efficient_platform,,\n"
    holdings = HOLDINGS.replace("ODD,10.5,300\n", "")
    book = allocator.load(written(tmp_path, exposures, holdings=holdings))

    own, chips = book.exposures, archetypes().loc["chip_seller"]
    assert (own.loc["NVDA", "beta"], own.loc["META", "beta"]) == (2.5, archetypes().loc["efficient_platform", "beta"])
    assert own.loc["NVDA", "capacity"] == chips["capacity"]
    assert own.loc["NVDA", "other"] == pytest.approx(1 - 0.4 - chips["capacity"])  # what is left of 1
    assert list(own["bucket"]) == ["capital_intensity", "efficiency"]
    assert "beta" not in book.classification.assumed["NVDA"][1]
    assert "beta" in book.classification.assumed["META"][1]


def test_an_archetype_makes_the_returns_of_the_same_numbers_written_out(tmp_path: Path) -> None:
    for name in ("short", "long"):
        (tmp_path / name).mkdir()
    table = archetypes()
    rows = table.loc[["chip_seller", "efficient_platform"]].drop(columns=["name", "source"])
    rows.insert(0, "instrument", ["NVDA", "META"])
    holdings = HOLDINGS.replace("ODD,10.5,300\n", "")
    short = "instrument,archetype\nNVDA,chip_seller\nMETA,efficient_platform\n"
    books = [
        allocator.load(written(tmp_path / "short", short, holdings=holdings)),
        allocator.load(written(tmp_path / "long", rows.to_csv(index=False), holdings=holdings)),
    ]

    outlooks = [allocator.build_outlook(book) for book in books]
    np.testing.assert_array_equal(outlooks[0].returns, outlooks[1].returns)
    np.testing.assert_array_equal(outlooks[0].risk.variances, outlooks[1].risk.variances)
    assert not books[1].classification.assumed


def test_a_label_that_the_row_states_counts_in_full_beside_another_archetype(tmp_path: Path) -> None:
    exposures = NAMED.replace("META,efficiency,efficient_platform", "META,efficiency,hyperscaler")
    own = allocator.load(written(tmp_path, exposures)).exposures

    assert pd.isna(own.loc["META", "capital_intensity_share"])  # so that the label decides
    assert own.loc["NVDA", "capital_intensity_share"] == archetypes().loc["chip_seller", "capital_intensity_share"]


def test_an_archetype_that_does_not_exist_is_refused_with_its_row_the_nearest_and_the_list(tmp_path: Path) -> None:
    told = refused(written(tmp_path, NAMED.replace("chip_seller", "chip_sellr")))

    assert (
        "exposures.csv:2 archetype: no such archetype for NVDA (got 'chip_sellr'); did you mean 'chip_seller'?" in told
    )
    assert all(name in told for name in SAMPLES)


def test_cash_has_no_archetype_and_own_buckets_must_be_stated(tmp_path: Path) -> None:
    own = TYPED + '[buckets]\nnames = ["late", "early"]\n'
    returns = "instrument,good,bad\nlate,0.3,-0.3\n"
    told = refused(
        written(tmp_path, NAMED.replace("efficiency,", "late,") + "USD,cash,utility\n", own, returns=returns)
    )

    assert (
        "exposures.csv:2 archetype: is counted as capital_intensity, which is no bucket of this book for NVDA" in told
    )
    assert "state its bucket: late, early" in told
    assert "exposures.csv:5 archetype: cash has no archetype (got 'utility'); leave it blank" in told


def test_a_bucket_may_have_an_archetype_of_names_that_state_none(tmp_path: Path) -> None:
    toml = MODEL + '[buckets.archetypes]\nneutral = "diversified"\n'
    exposures = "instrument,bucket\nNVDA,neutral\nMETA,neutral\nODD,neutral\n"
    book = allocator.load(written(tmp_path, exposures, toml))

    assert list(book.exposures["beta"]) == 3 * [archetypes().loc["diversified", "beta"]]
    assert [row["values"] for row in book.classification.rows()] == [3 * 11]
    wrong = toml.replace("neutral =", "neutrl =").replace('"diversified"', '"diversifed"')
    told = refused(written(tmp_path, exposures, wrong))
    assert "buckets.archetypes.neutrl: no such bucket in buckets.names (got 'neutrl'); did you mean 'neutral'?" in told
    assert "no such archetype (got 'diversifed'); did you mean 'diversified'?" in told


def test_a_name_without_loadings_is_told_in_one_line_what_it_needs(tmp_path: Path) -> None:
    told = refused(written(tmp_path, NAMED.replace("META,efficiency,efficient_platform", "META,efficiency,")))

    assert (
        "exposures.csv:3 archetype: is needed by [model], as the row has no loadings for META (got ''); name one"
        in told
    )
    assert told.count("for META") == 2  # the other is its beta


def test_what_is_only_assumed_asks_for_no_section_of_risk(tmp_path: Path) -> None:
    book = allocator.load(written(tmp_path, NAMED, TYPED, returns=RETURNS))

    assert allocator.build_outlook(book).risk.variances.sum() == 0


@pytest.mark.parametrize("odd", ["ODD,,", "ODD,unclassified,", "ODD,,unclassified", "ODD"])
@pytest.mark.parametrize("model", [True, False])
def test_an_unclassified_name_returns_nothing_and_is_neither_bought_nor_sold(
    tmp_path: Path, odd: str, *, model: bool
) -> None:
    exposures = NAMED.replace("ODD,,", odd)
    if odd == "ODD":
        exposures = "instrument,archetype\nNVDA,chip_seller\nMETA,efficient_platform\nODD,\n"
    toml, returns = (MODEL, None) if model else (TYPED, RETURNS)
    book = allocator.load(written(tmp_path, exposures, toml, returns=returns))

    plan = allocator.rebalance(book)

    assert list(book.classification.unclassified.items()) == [("ODD", 4)]
    assert not plan.outlook.returns[:, 2].any()
    assert plan.orders
    assert "ODD" not in {order.instrument for order in plan.orders}
    assert "ODD is unclassified in exposures.csv" in {one.label for one in plan.measurements}
    document = allocator.plan_document(plan)
    assert document["positions"][2]["quantity_after"] == 10.5
    assert document["classification"]["unclassified"] == ["ODD"]


def test_screens_and_documents_count_what_is_unclassified_with_its_cure_and_what_is_assumed(tmp_path: Path) -> None:
    written(tmp_path, NAMED)
    cure = (
        "1 name is unclassified: held, not bought, at a return of 0. State bucket or archetype in exposures.csv, row 4."
    )
    assumed = "Assumed by archetype: 31 values of 2 names: chip_seller (1), efficient_platform (1)."

    for command in ("check", "rebalance", "returns"):
        told = said(command, tmp_path)
        assert cure in told, command
        assert assumed in told, command
        found = json.loads(run(command, tmp_path, "--json").stdout)["classification"]
        assert found["unclassified"] == ["ODD"]
        assert [(row["archetype"], row["instruments"]) for row in found["assumed"]] == [
            ("chip_seller", ["NVDA"]), ("efficient_platform", ["META"])
        ]  # fmt: skip


def test_a_book_that_states_everything_says_nothing_of_it(listed_text: str) -> None:
    assert "nclassified" not in listed_text
    assert "ssumed" not in listed_text


@pytest.fixture(scope="module")
def listed_text(root: Path) -> str:
    return run("check", root / "data" / "listed").stdout + run("check", root / "data" / "listed", "--json").stdout


def test_a_limit_that_an_unclassified_name_breaches_is_named_with_it_and_forbidden_sells_it(tmp_path: Path) -> None:
    written(tmp_path, NAMED)

    with pytest.raises(Infeasible) as caught:
        allocator.rebalance(allocator.load(tmp_path, overrides=["mandate.weights.ODD.max=0.01"]))
    sold = allocator.rebalance(allocator.load(tmp_path, overrides=['mandate.forbidden=["ODD"]']))

    assert "'ODD at most 1%' and 'ODD is unclassified in exposures.csv'" in str(caught.value)
    assert [(order.instrument, order.quantity) for order in sold.orders if order.instrument == "ODD"] == [("ODD", 10.5)]


def test_an_unclassified_name_may_be_worth_nothing(tmp_path: Path) -> None:
    book = allocator.load(written(tmp_path, NAMED, holdings=HOLDINGS.replace("ODD,10.5,300", "ODD,10.5,0")))

    assert "ODD" not in {order.instrument for order in allocator.rebalance(book).orders}


def test_no_bucket_of_ones_own_is_called_unclassified(tmp_path: Path) -> None:
    toml = TYPED + '[buckets]\nnames = ["late", "unclassified"]\n'

    assert "(got 'unclassified'); leave it out" in refused(written(tmp_path, NAMED, toml, returns=RETURNS))
