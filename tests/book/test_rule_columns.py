"""What rules, shocks and costs are measured by: columns that are there, of numbers and without a blank; factors.csv."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from allocator.book.loading import load
from tests.spoiled_books import add, add_column, told, with_line

if TYPE_CHECKING:
    from tests.conftest import Folder

NAMES = ["META", "GOOGL", "MSFT", "AMZN", "ORCL", "NVDA", "AVGO", "TSM", "CRWV", "EQIX", "VST", "CRM", "ADBE"]
VOLUME = "average_daily_volume"


def with_volume(book: Folder, **volumes: str) -> None:
    """A million units a day of everything but cash, unless said otherwise."""
    add_column(book, "exposures.csv", VOLUME, [volumes.get(name, "1e6") for name in NAMES] + [""])


def with_factors(book: Folder, **columns: list[object]) -> None:
    pd.DataFrame(columns, index=pd.Index(NAMES, name="instrument")).to_csv(book.path / "factors.csv")


def participate(book: Folder) -> None:
    book.replace("book.toml", "[mandate]\n", "[mandate]\nmax_participation = 0.1\n")


def test_a_limit_of_participation_wants_the_volume_of_every_name(listed: Folder) -> None:
    participate(listed)

    assert told(listed) == [
        f"exposures.csv {VOLUME}: mandate.max_participation needs it; add the column, or remove what needs it"
    ]


def test_a_blank_volume_is_refused_where_it_is_limited_or_priced(listed: Folder) -> None:
    with_volume(listed, TSM="", VST="0")
    assert load(listed.path).account == "main"  # nothing reads it
    participate(listed)

    place = f"exposures.csv:9 {VOLUME}: must not be blank for TSM (got '')"
    assert told(listed) == [f"{place}; mandate.max_participation needs it"]
    assert told(listed, overrides=["costs.impact=0.1"]) == [
        f"{place}; mandate.max_participation and costs.impact need it",
        f"exposures.csv:12 {VOLUME}: must be above 0 for VST (got '0'); "
        "costs.impact divides by it: write the units traded on an average day",
    ]


def test_an_impact_wants_the_volume_of_every_name_and_none_without_impact(listed: Folder) -> None:
    assert load(listed.path, overrides=["costs.impact=0", "costs.ticket=5"]).settings.costs.ticket == 5.0
    assert told(listed, overrides=["costs.impact=0.1"]) == [
        f"exposures.csv {VOLUME}: costs.impact needs it; add the column, or remove what needs it"
    ]
    with_volume(listed)
    assert load(listed.path, overrides=["costs.impact=0.1"]).settings.costs.impact == 0.1


@pytest.mark.parametrize(("key", "value"), [("max_tracking_error", "0.05"), ("min_worst_case_active_return", "-0.1")])
def test_a_rule_against_the_benchmark_wants_one(listed: Folder, key: str, value: str) -> None:
    listed.replace("book.toml", "[mandate]\n", f"[mandate]\n{key} = {value}\n")
    assert load(listed.path).benchmark is not None
    (listed.path / "benchmark.csv").unlink()

    assert told(listed) == [
        f"book.toml:{with_line(listed, key)} mandate.{key}: needs benchmark.csv (got '{value}'); "
        "add benchmark.csv, or remove the rule"
    ]


@pytest.mark.parametrize(
    ("column", "rest"),
    [
        ("betta", "no such column in exposures.csv or factors.csv (got 'betta'); did you mean 'beta'?"),
        ("USD", "no such column in exposures.csv or factors.csv (got 'USD'); known here: beta, "
         "capital_intensity_share, efficiency_share, idiosyncratic_volatility, spread_bps"),
        ("issuer", "is a column of text, not of numbers (got 'issuer'); known here: beta, capital_intensity_share, "
         "efficiency_share, idiosyncratic_volatility, spread_bps"),
        ("tradable_from", "is a column of dates, not of numbers (got 'tradable_from'); known here: beta, "
         "capital_intensity_share, efficiency_share, idiosyncratic_volatility, spread_bps"),
    ],
)  # fmt: skip
def test_an_exposure_is_of_a_column_of_numbers(listed: Folder, column: str, rest: str) -> None:
    add(listed, f"[mandate.exposures.{column}]\nmax = 1.0")

    line = with_line(listed, f"[mandate.exposures.{column}]")
    assert told(listed) == [f"book.toml:{line} mandate.exposures.{column}: {rest}"]


def test_an_exposure_of_a_known_column_wants_it_in_the_table(listed: Folder) -> None:
    add(listed, "[mandate.exposures.owner]\nmax = 0.5")

    assert told(listed) == [
        "exposures.csv owner: mandate.exposures.owner needs it; add the column, or remove what needs it"
    ]


def test_a_blank_in_a_limited_column_is_refused_for_every_name_but_cash(listed: Folder) -> None:
    add(listed, "[mandate.exposures.spread_bps]\nmax = 5.0")
    listed.cell("exposures.csv", "USD", "spread_bps", "")
    assert load(listed.path).settings.mandate.exposures["spread_bps"].max == 5.0
    line = listed.cell("exposures.csv", "CRM", "spread_bps", "")

    assert told(listed) == [
        f"exposures.csv:{line} spread_bps: must not be blank for CRM (got ''); mandate.exposures.spread_bps needs it"
    ]


def test_a_market_shock_wants_the_beta_of_every_name(listed: Folder) -> None:
    frame = pd.DataFrame(0.0, index=pd.Index(NAMES, name="instrument"), columns=NAMES)
    for name in NAMES:
        frame.loc[name, name] = 0.04
    frame.to_csv(listed.path / "covariance.csv")
    line = listed.cell("exposures.csv", "NVDA", "beta", "")
    risk = ["risk.source=covariance"]

    assert load(listed.path, overrides=[*risk, "shocks.x.buckets.adopter=-0.1"]).settings.shocks["x"].market is None
    assert told(listed, overrides=[*risk, "shocks.x.market=-0.2", "shocks.y.market=-0.1"]) == [
        f"exposures.csv:{line} beta: must not be blank for NVDA (got ''); shocks.x.market and shocks.y.market need it"
    ]
    assert told(listed, overrides=["shocks.x.market=-0.2"]) == [  # and says it once where the risk wants it too
        f"exposures.csv:{line} beta: must not be blank for NVDA (got ''); risk.source = 'exposures' needs it"
    ]


def test_factors_are_aligned_by_name_without_cash(listed: Folder) -> None:
    with_factors(listed, size=[float(i) for i in range(13)], carbon=[-1] * 13, source=["a report"] * 13)
    frame = pd.read_csv(listed.path / "factors.csv").sample(frac=1, random_state=3)
    frame.to_csv(listed.path / "factors.csv", index=False)
    add(listed, "[mandate.exposures.size]\nmin = -3\nmax = 5")

    factors = load(listed.path).factors

    assert factors is not None
    assert (list(factors.index), list(factors.columns)) == (NAMES, ["size", "carbon"])
    assert list(factors["size"]) == [float(i) for i in range(13)]


def test_a_book_without_factors_has_none(listed: Folder) -> None:
    assert load(listed.path).factors is None


def test_factors_may_stand_in_another_file(listed: Folder) -> None:
    with_factors(listed, size=[1.0] * 13)
    (listed.path / "factors.csv").rename(listed.path / "loadings.csv")
    add(listed, '[tables]\nfactors = "loadings.csv"')

    assert load(listed.path).factors is not None


def test_a_misspelt_factor_is_asked_back(listed: Folder) -> None:
    with_factors(listed, carbon=[1.0] * 13)
    add(listed, "[mandate.exposures.crbon]\nmax = 1.0")

    assert told(listed)[0].endswith("(got 'crbon'); did you mean 'carbon'?")


def test_a_factor_called_like_a_column_of_exposures_is_refused(listed: Folder) -> None:
    with_factors(listed, Beta=[1.0] * 13, training=[0.0] * 13)

    rule, cure = "is the name of a column of exposures.csv", "give the factor another name"
    assert told(listed) == [
        f"factors.csv Beta: {rule}, 'beta'; {cure}",
        f"factors.csv training: {rule}, 'training'; {cure}",
    ]


def test_factors_have_a_row_for_every_name_and_no_other(listed: Folder) -> None:
    with_factors(listed, size=[1.0] * 13)
    rows = [row for row in listed.rows("factors.csv") if row[0] != "VST"]
    listed.write("factors.csv", [*rows, ["NVDIA", "2"]])

    assert told(listed) == [
        "factors.csv:14 instrument: is not in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?",
        "factors.csv instrument: has no row here (got 'VST'); add its row",
    ]


def test_cash_has_no_factor(listed: Folder) -> None:
    with_factors(listed, size=[1.0] * 13)
    rows = listed.rows("factors.csv")
    listed.write("factors.csv", [*rows, ["USD", "0"]])
    assert load(listed.path).factors is not None
    listed.write("factors.csv", [*rows, ["USD", "2"]])

    assert told(listed) == [
        "factors.csv:15 size: cash counts 0 in every factor (got '2'); write 0, or remove the row of cash"
    ]


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ("", "must not be blank"),
        ("large", "must be a number"),
        ("inf", "must"),
        ("2e9", "must lie from -1e9 to 1e9 (got '2e9'); choose a larger unit, such as billions"),
    ],
)
def test_a_factor_is_a_number_for_every_name(listed: Folder, value: str, rest: str) -> None:
    with_factors(listed, size=[value] + ["1"] * 12, carbon=[1.0] * 13)
    add(listed, "[mandate.exposures.size]\nmax = 1.0")  # which is not said to be unknown

    (only,) = told(listed)
    assert only.startswith(f"factors.csv:2 size: {rest}")
