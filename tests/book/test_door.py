"""Books as strangers bring them: what is refused at the door, in how many lines, and with which cure."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator import from_frames, load
from allocator.errors import BadInput
from tests.conftest import Folder

SETTINGS: dict[str, Any] = {
    "book": {"name": "stranger", "currency": "USD", "as_of": "2026-11-20"},
    "scenarios": {"up": {"probability": 0.6}, "down": {"probability": 0.4}},
    "risk": {"source": "exposures", "market_volatility": 0.18},
}
NAMES = ["AAA", "BBB", "CCC", "USD"]


def tables() -> dict[str, pd.DataFrame]:
    """A book of three names and cash."""
    price, quantity = [50.0, 25.0, 100.0, 1.0], [100.0, 200.0, 10.0, 1000.0]
    held = {"account": "main", "instrument": NAMES, "quantity": quantity, "price": price, "currency": "USD"}
    known = {
        "instrument": NAMES, "name": NAMES, "issuer": NAMES, "bucket": ["neutral"] * 3 + ["cash"],
        "beta": [1.0, 1.0, 0.9, 0.0], "idiosyncratic_volatility": [0.2, 0.22, 0.22, 0.0], "source": "made up",
    }  # fmt: skip
    returns = {"instrument": NAMES, "up": [0.1, 0.11, 0.12, 0.02], "down": [-0.05, -0.05, -0.05, 0.02]}
    return {
        "holdings": pd.DataFrame(held),
        "exposures": pd.DataFrame(known),
        "scenario_returns": pd.DataFrame(returns),
    }


def said(settings: dict[str, Any] | None = None, given: dict[str, Any] | None = None, **options: Any) -> list[str]:
    """What a book of frames is refused with, line by line."""
    with pytest.raises(BadInput) as refused:
        from_frames(SETTINGS | (settings or {}), given or tables(), **options)
    return str(refused.value).splitlines()


def of_risk(**risk: Any) -> dict[str, Any]:
    return copy.deepcopy(SETTINGS) | {"risk": risk}


@pytest.mark.parametrize(
    ("code", "major", "count"), [("GBX", "GBP", 100), ("ILA", "ILS", 100), ("ZAC", "ZAR", 100), ("KWF", "KWD", 1000)]
)
def test_a_hundredth_of_a_currency_without_a_rate_is_told_to_be_one(code: str, major: str, count: int) -> None:
    given = tables()
    given["holdings"].loc[1, "currency"] = code

    assert said(given=given) == [
        f"holdings:2 currency: is 1/{count} {major} and has no rate to USD (got '{code}'); divide the price by {count} "
        f"and write {major}, or add {code} to fx.csv, in USD for one {code}"
    ]


@pytest.mark.parametrize("written", ["GBp", "GBx", "p", "pence"])
def test_pence_are_named_wherever_a_currency_is_typed(written: str) -> None:
    given = tables()
    given["holdings"].loc[1, "currency"] = written
    (of_holdings,) = said(given=given)
    assert "divide the price by 100 and write GBP, or write GBX and its rate in fx.csv" in of_holdings
    given = tables() | {"fx": pd.DataFrame({"currency": [written], "rate": [0.0127], "date": ["2026-11-20"]})}
    (of_rates,) = said(given=given)
    assert "multiply the rate by 100 and write GBP, or write GBX with this rate" in of_rates
    (of_book,) = said({"book": SETTINGS["book"] | {"currency": written}})
    assert of_book == (
        f"settings book.currency: is 1/100 GBP (got '{written}'); write GBP, with cash, prices and rates in GBP, "
        "or GBX if every amount is in it"
    )


def with_rates(home: str, **rates: float) -> list[str]:
    """What a book in `home` is told of these rates, of which the second name's is the first."""
    given = tables()
    given["holdings"]["currency"] = home
    given["holdings"].loc[1, "currency"] = next(iter(rates))
    given["fx"] = pd.DataFrame({"currency": [*rates], "rate": [*rates.values()], "date": "2026-11-20"})
    settings = SETTINGS | {"book": SETTINGS["book"] | {"currency": home}}
    try:
        from_frames(settings, given)
    except BadInput as refused:
        return str(refused).splitlines()
    return []


def test_a_hundredth_costs_a_hundredth_of_its_currency() -> None:
    assert with_rates("GBP", GBX=0.01) == []
    assert with_rates("USD", GBX=0.0127, GBP=1.26) == []
    assert with_rates("GBP", GBX=0.0127) == ["fx:1 rate: one GBX is 1/100 GBP (got '0.0127'); write 0.01"]
    assert with_rates("GBX", GBP=127.0) == ["fx:1 rate: one GBX is 1/100 GBP (got '127'); write 100"]
    assert with_rates("USD", GBX=0.019, GBP=1.27) == ["fx:1 rate: one GBX is 1/100 GBP (got '0.019'); write 0.0127"]


def test_two_names_that_no_covariance_knows_are_two_lines() -> None:
    square = pd.DataFrame([[0.04]], index=pd.Index(["AAA"], name="instrument"), columns=["AAA"])

    assert said(of_risk(source="covariance"), tables() | {"covariance": square}) == [
        "covariance instrument: has no row here (got 'BBB' and 'CCC'); add its row",
        "covariance BBB and CCC: has no column here; add it",
    ]


def history(rows: int = 140) -> pd.DataFrame:
    """Clean daily closes that end at the prices of the book."""
    draw = np.random.default_rng(1)
    days = pd.bdate_range(end="2026-11-20", periods=rows, name="date")
    closes = np.cumprod(1 + draw.normal(0.0003, 0.012, (rows, 3)), axis=0)
    return pd.DataFrame(closes / closes[-1] * [50.0, 25.0, 100.0], index=days, columns=NAMES[:3])


DAILY = {"source": "prices", "window_rows": 120, "periods_per_year": 252}


def test_a_cash_column_of_a_price_history_is_no_stale_name() -> None:
    assert from_frames(of_risk(**DAILY), tables() | {"prices": history().assign(USD=1.0)}).instruments


@pytest.mark.parametrize("price", [98.75, 0.9875])
@pytest.mark.parametrize("source", ["exposures", "covariance", "prices"])
def test_a_bill_per_hundred_is_doubted_wherever_its_quiet_risk_is_from(source: str, price: float) -> None:
    given = tables()
    given["holdings"].loc[1, ["quantity", "price"]] = [10_000.0, price]
    risk = {"source": source, "market_volatility": 0.18} if source == "exposures" else {"source": source}
    column = ["beta", "idiosyncratic_volatility"]
    given["exposures"].loc[1, column] = [0.01, 0.01]
    if source != "exposures":
        given["exposures"] = given["exposures"].drop(columns=column)
    if source == "covariance":
        index = pd.Index(NAMES[:3], name="instrument")
        given["covariance"] = pd.DataFrame(np.diag([0.04, 0.0001, 0.05]), index=index, columns=NAMES[:3])
    if source == "prices":
        calm = price * (1 + 0.0005 * np.sin(np.arange(140) ** 2))
        given["prices"], risk = history().assign(BBB=calm), DAILY
    if price < 1:
        assert from_frames(of_risk(**risk), given).instruments
    else:
        (line,) = said(of_risk(**risk), given)
        assert "bills and bonds are quoted per 100 (got '98.75'); write the price of one unit, 0.9875" in line


@pytest.mark.parametrize("market", [0.011, 1.8])
def test_a_market_of_another_unit_is_doubted_and_can_be_confirmed(market: float) -> None:
    risk = of_risk(source="exposures", market_volatility=market)
    assert "write a year's as a fraction" in said(risk)[0]
    entry = {"table": "risk", "kind": "scale", "name": "market_volatility", "why": "so it is"}
    assert from_frames(risk, tables(), confirm=[entry]).instruments


def test_volatilities_of_a_day_are_doubted() -> None:
    given = tables()
    given["exposures"]["beta"] = 0.0
    given["exposures"]["idiosyncratic_volatility"] = [0.013, 0.014, 0.014, 0.0]

    (line,) = said(given=given)

    assert line.startswith("exposures idiosyncratic_volatility: says volatilities from 1.30% to 1.40% a year")


@pytest.mark.parametrize(
    ("first", "second", "cure"),
    [
        ("1.125", "2.125", "write quantity 3.25 in row 2 and remove row 6"),
        ("100", "1e2", "write quantity 200 in row 2 and remove row 6"),
        ("8,80", "1.2", "write their sum, once each of them can be read, in row 2 and remove row 6"),
    ],
)
def test_lots_are_summed_to_a_number_that_is_read_as_it_is_meant(
    listed: Folder, first: str, second: str, cure: str
) -> None:
    header, *rows = listed.rows("holdings.csv")
    at = header.index("quantity")
    more = [*rows[0][:at], second, *rows[0][at + 1 :]]
    rows[0][at] = first
    listed.write("holdings.csv", [header, *rows[:4], more])

    with pytest.raises(BadInput) as refused:
        load(listed.path)

    (lots,) = [breach for breach in refused.value.breaches if "together must be unique" in breach.rule]
    assert lots.cure == f"add the lots up: {cure}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Holdings,as of,2026-11-20,,,\n{}", "the header seems to stand in row 2"),
        ("{}Total,,,,12000,\n", "after the table is no row of it (got 'Total')"),
        ("<html>{}</html>", "is no table of cells but HTML, XML or JSON"),
        ('[{{"instrument": "NVDA"}}]{}', "is no table of cells but HTML, XML or JSON"),
    ],
)
def test_what_exports_put_around_a_table_is_named(listed: Folder, text: str, words: str) -> None:
    table = (listed.path / "holdings.csv").read_text(encoding="utf-8")
    (listed.path / "holdings.csv").write_text(text.format(table), encoding="utf-8")

    with pytest.raises(BadInput) as refused:
        load(listed.path)

    assert any(words in str(breach) for breach in refused.value.breaches)


def test_all_that_a_section_of_risk_lacks_is_told_at_once(listed: Folder) -> None:
    listed.replace("book.toml", 'source = "exposures"', 'source = "prices"\nblanks = "drop"')
    listed.replace("book.toml", "market_volatility = 0.18", "#")

    with pytest.raises(BadInput) as refused:
        load(listed.path)

    assert [(breach.column, breach.rule) for breach in refused.value.breaches] == [
        ("risk.blanks", "must be one of 'refuse' or 'drop_rows'"),
        ("risk", "source = 'prices' also needs window_rows and periods_per_year"),
        ("risk.source", "needs prices.csv"),
    ]


def test_a_what_if_of_another_horizon_has_no_typed_returns(root: Path) -> None:
    typed = root / "tests" / "typed"
    assert load(typed, overrides=["horizon.months=12"]).instruments
    with pytest.raises(BadInput, match=r"is another horizon than the 12 months that the returns .* are over"):
        load(typed, overrides=["horizon.months=3"])
    assert load(
        root / "tests" / "plain_books" / "note", overrides=["horizon.months=3"]
    ).instruments  # the model makes its returns


@pytest.mark.parametrize("confirm", ["prices", ["prices"], {"table": "prices", "kind": "jump", "why": "x"}])
def test_confirmations_that_are_no_entries_are_refused(confirm: Any) -> None:
    (line,) = said(confirm=confirm)
    assert line.startswith("confirm: must be a list of entries")


def test_arrays_and_series_by_name_are_columns() -> None:
    arrays = {name: frame.to_dict("series") for name, frame in tables().items()}
    arrays["holdings"] = {name: column.to_numpy() for name, column in tables()["holdings"].items()}
    assert from_frames(SETTINGS, arrays).value == from_frames(SETTINGS, tables()).value


def test_errors_of_frames_speak_of_settings_and_arguments() -> None:
    given = tables()
    given["scenario_returns"] = given["scenario_returns"].rename(columns={"up": "upper"}).iloc[1:]
    del given["exposures"]["source"]
    lines = said(account="nobody", given=given)
    assert len(lines) > 1
    assert not [line for line in lines if ".toml" in line or "--" in line]
