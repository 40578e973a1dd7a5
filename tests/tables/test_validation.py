"""Tables held to the shipped contracts: what is refused, where, and with which cure."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.errors import Breach
from allocator.tables import validate
from allocator.tables.files import RawTable

HOLDING = {"account": "main", "instrument": "NVDA", "quantity": "10", "price": "120.5", "currency": "USD"}
EXPOSURE = {"instrument": "NVDA", "name": "Nvidia", "issuer": "Nvidia", "bucket": "adopter", "source": "filing"}


def held(contract: str, *rows: Mapping[str, Any]) -> tuple[pd.DataFrame, list[Breach]]:
    """Rows as a CSV would give them: text, the first on line 2."""
    return validate(
        contract, RawTable(f"{contract}.csv", pd.DataFrame(list(rows), dtype=object), tuple(range(2, 2 + len(rows))))
    )


def texts(contract: str, *rows: Mapping[str, Any]) -> list[str]:
    return [str(breach) for breach in held(contract, *rows)[1]]


def test_a_sound_table_comes_back_typed_and_without_breaches() -> None:
    frame, breaches = held(
        "holdings",
        HOLDING | {"lot_size": "1", "cost_basis": "", "acquired": ""},
        HOLDING | {"instrument": "BRK.B", "lot_size": "1e2", "cost_basis": "80", "acquired": "2025-02-28"},
    )

    assert breaches == []
    assert frame["quantity"].dtype == np.float64
    assert frame["acquired"].dtype == "datetime64[ns]"
    assert list(frame["lot_size"]) == [1.0, 100.0]
    assert frame["cost_basis"].isna().tolist() == [True, False]
    assert frame["acquired"].tolist() == [pd.NaT, pd.Timestamp("2025-02-28")]
    assert frame["instrument"].tolist() == ["NVDA", "BRK.B"]


def test_the_order_of_columns_does_not_matter_and_optional_ones_stay_absent() -> None:
    frame, breaches = held("holdings", dict(reversed(HOLDING.items())))

    assert breaches == []
    assert set(frame) == set(HOLDING)


def test_the_table_that_was_given_is_never_changed() -> None:
    given = pd.DataFrame([HOLDING | {"quantity": "x"}], index=[7])
    before = given.copy()

    validate("holdings", RawTable("h", given, (1,)))

    pd.testing.assert_frame_equal(given, before)


def test_two_bad_cells_are_both_reported_with_their_rows_and_nothing_else() -> None:
    rows = [HOLDING, HOLDING | {"account": "b", "quantity": "-5"}, HOLDING | {"account": "c", "price": "abc"}]

    assert texts("holdings", *rows) == [
        "holdings.csv:3 quantity: must be at least 0 (got '-5'); long-only: short positions are refused",
        "holdings.csv:4 price: must be a number (got 'abc'); write a number such as 1234.5",
    ]


@pytest.mark.parametrize(
    ("cell", "rule", "cure"),
    [
        ("12%", "must be a number", "write 12 % as 0.12"),
        ("12.5 %", "must be a number", "write 12.5 % as 0.125"),
        ("1,5%", "must be a number", "write 1.5 % as 0.015"),
        ("1,234.5", "must be a number", "write 1234.5 without thousands separators"),
        ("1,234,567", "must be a number", "write 1234567 without thousands separators"),
        ("1'234.5", "must be a number", "write 1234.5 without thousands separators"),
        ("1 234.5", "must be a number", "write 1234.5 without thousands separators"),
        ("1_000", "must be a number", "write 1000 without thousands separators"),
        ("1,5", "must be a number", "write 1.5 with a decimal point"),
        ("1.234,5", "must be a number", "write 1234.5 with a decimal point"),
        ("1,234", "must be a number",
         "write 1234 without thousands separators, or 1.234 if the comma is a decimal one"),
        ("$5", "must be a number", "write 5 without the currency sign"),
        ("€1.234,50", "must be a number", "write 1234.50 without the currency sign"),
        ("5 USD", "must be a number", "write 5 without the currency sign"),
        ("(5)", "must be a number", "write -5: brackets for a negative are accounting style"),
        ("$1,234", "must be a number", "write a number such as 1234.5"),
        ("($1,234.50)", "must be a number", "write -1234.50: brackets for a negative are accounting style"),
        ("−5", "must be a number", "write -5 in plain characters"),
        ("=A1*2", "must be a number",
         "the formula was never calculated: open and save the file in a spreadsheet, or write the number"),
        ("NaN", "must be a number", "write a number; a blank is not allowed here"),
        ("N/A", "must be a number", "write a number; a blank is not allowed here"),
        ("#N/A", "must be a number", "write a number; a blank is not allowed here"),
        ("-", "must be a number", "write a number; a blank is not allowed here"),
        ("inf", "must be finite", "write a finite number"),
        ("-Infinity", "must be finite", "write a finite number"),
        ("1e400", "must be finite", "write a finite number"),
        ("0x10", "must be a number", "write a number such as 1234.5"),
        ("١٢", "must be a number", "write a number such as 1234.5"),
        ("five", "must be a number", "write a number such as 1234.5"),
        (True, "must be a number", "write a number instead of true or false"),
        (float("inf"), "must be finite", "write a finite number"),
        (10**400, "must be finite", "write a finite number"),
        ([1.0], "must be a number", "write a number such as 1234.5"),
        (dt.date(2026, 11, 20), "must be a number", "write a number such as 1234.5"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_number_is_refused_with_the_cure_for_its_look(cell: Any, rule: str, cure: str) -> None:
    _, breaches = held("holdings", HOLDING, HOLDING | {"account": "b", "quantity": cell})

    assert breaches == [Breach("holdings.csv", 3, "quantity", str(cell)[:80], rule, cure)]


@pytest.mark.parametrize(("cell", "number"), [
    ("10", 10.0), (" +1.5 ", 1.5), (".5", 0.5), ("5.", 5.0), ("1E3", 1000.0), ("0.1", 0.1), ("1e-308", 1e-308),
    (7, 7.0), (np.int64(7), 7.0), (np.float32(0.5), 0.5), (Decimal("1.25"), 1.25),
])  # fmt: skip
def test_a_plain_number_is_read_to_the_last_digit(cell: Any, number: float) -> None:
    frame, breaches = held("holdings", HOLDING | {"quantity": cell})

    assert breaches == []
    assert frame["quantity"].tolist() == [number]


@pytest.mark.parametrize("blank", ["", "  ", None, float("nan"), pd.NA, pd.NaT, Decimal("NaN")])
def test_a_blank_is_missing_where_allowed_and_refused_elsewhere(blank: Any) -> None:
    allowed, none = held("holdings", HOLDING | {"cost_basis": blank})
    _, refused = held("holdings", HOLDING | {"quantity": blank})

    assert none == []
    assert allowed["cost_basis"].isna().all()
    assert [(b.rule, b.cure) for b in refused] == [("must not be blank", "fill it in")]


def test_a_word_for_nothing_is_not_a_blank_even_where_blanks_are_allowed() -> None:
    assert texts("holdings", HOLDING | {"cost_basis": "n/a"}) == [
        "holdings.csv:2 cost_basis: must be a number (got 'n/a'); write a number, or leave the cell blank"
    ]


@pytest.mark.parametrize(
    ("cell", "rule", "cure"),
    [
        ("2026-13-01", "must be a date", "write dates as 2026-11-20"),
        ("2026-02-30", "must be a date", "write dates as 2026-11-20"),
        ("11/20/2026", "must be a date", "write dates as 2026-11-20"),
        ("20.11.2026", "must be a date", "write dates as 2026-11-20"),
        ("20261120", "must be a date", "write dates as 2026-11-20"),
        ("NaT", "must be a date", "write dates as 2026-11-20"),
        ("0206-11-20", "must be a date from 1900 to 2199", "write dates as 2026-11-20"),
        ("9999-12-31", "must be a date from 1900 to 2199", "write dates as 2026-11-20"),
        (dt.date(9999, 12, 31), "must be a date from 1900 to 2199", "write dates as 2026-11-20"),
        ("46346", "must be a date",
         "write dates as 2026-11-20; for the day number of a spreadsheet, format the column as a date"),
        (46346, "must be a date",
         "write dates as 2026-11-20; for the day number of a spreadsheet, format the column as a date"),
        (pd.Timestamp("2026-11-20 16:00"), "must be a date without a time or time zone",
         "keep the day, such as 2026-11-20; of several rows a day the last (a history has one price a day)"),
        (pd.Timestamp("2026-11-20", tz="UTC"), "must be a date without a time or time zone",
         "keep the day, such as 2026-11-20; of several rows a day the last (a history has one price a day)"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_day_is_refused_with_the_cure_for_its_look(cell: Any, rule: str, cure: str) -> None:
    _, breaches = held("holdings", HOLDING | {"acquired": cell})

    assert breaches == [Breach("holdings.csv", 2, "acquired", str(cell), rule, cure)]


@pytest.mark.parametrize(
    "cell",
    ["2026-11-20", " 2026-11-20 ", "2026-11-20 00:00:00", "2026-11-20T00:00", dt.date(2026, 11, 20),
     dt.datetime(2026, 11, 20), pd.Timestamp("2026-11-20")],
)  # fmt: skip
def test_a_day_is_read_however_the_source_holds_it(cell: Any) -> None:
    frame, breaches = held("holdings", HOLDING | {"acquired": cell})

    assert breaches == []
    assert frame["acquired"].tolist() == [pd.Timestamp("2026-11-20")]


def test_whole_numbers_are_text_where_text_is_wanted() -> None:
    frame, breaches = held("holdings", HOLDING | {"account": 12345}, HOLDING | {"account": 7.0})

    assert breaches == []
    assert frame["account"].tolist() == ["12345", "7"]


@pytest.mark.parametrize(
    ("cell", "cure"),
    [
        (True, "a spreadsheet took it for true or false: format the column as text"),
        (dt.datetime(2026, 3, 1), "a spreadsheet took it for a date: format the column as text"),
        (1.5, "format the column as text"),
    ],
)
def test_a_ticker_that_a_spreadsheet_changed_is_refused(cell: Any, cure: str) -> None:
    _, breaches = held("holdings", HOLDING | {"instrument": cell})

    assert [(b.rule, b.cure) for b in breaches] == [("must be text", cure)]


@pytest.mark.parametrize("ticker", ["NA", "NAN", "null", "TRUE", "inf", "BRK.B", "BRK/B", "7203.T", "SAP GY", "X:Y-1"])
def test_tickers_that_look_like_something_else_stay_text(ticker: str) -> None:
    frame, breaches = held("holdings", HOLDING | {"instrument": ticker})

    assert breaches == []
    assert frame["instrument"].tolist() == [ticker]


@pytest.mark.parametrize(
    "ticker", ["M&M.NS", "J&KBANK.NS", "^GSPC", "GC=F", "RICE+", "+1", "@SUM", "A  B", "A,B", "A;B", "Ä", "贵州茅台"]
)
def test_a_name_is_any_printable_text(ticker: str) -> None:
    frame, breaches = held("holdings", HOLDING | {"instrument": ticker})

    assert breaches == []
    assert frame["instrument"].tolist() == [ticker]


@pytest.mark.parametrize("ticker", ["=cmd()", "A\tB", "A\nB", "A\x1b[31mB", "A\u00a0B", "A\u202eB", "A" * 101])
def test_a_name_with_control_characters_or_a_formula_is_refused(ticker: str) -> None:
    _, breaches = held("holdings", HOLDING | {"instrument": ticker})

    assert [b.rule for b in breaches] == ["must be printable text of at most 100 characters that does not begin with ="]
    assert [b.cure for b in breaches] == ["write a name such as NVDA or BRK.B"]


def test_a_misspelt_column_is_named_with_the_column_that_was_meant() -> None:
    row = {("quantitty" if key == "quantity" else key): value for key, value in HOLDING.items()}

    assert texts("holdings", row) == [
        "holdings.csv quantitty: unknown column; did you mean 'quantity'?",
        "holdings.csv quantity: this column is missing; "
        "add it: Units held, at least 0; of cash, the amount in the row's currency.",
    ]


def test_column_breaches_come_first_then_cells_by_row_and_column() -> None:
    rows = [HOLDING | {"price": "-1", "extra": "1"}, HOLDING | {"account": "", "quantity": "-1", "extra": ""}]

    assert [(b.row, b.column) for b in held("holdings", *rows)[1]] == [
        (None, "extra"), (2, "price"), (3, "account"), (3, "quantity"),
    ]  # fmt: skip


def test_a_repeated_holding_is_reported_once_with_both_rows() -> None:
    assert texts("holdings", HOLDING, HOLDING | {"account": "b"}, HOLDING, HOLDING) == [
        f"holdings.csv:{row} instrument: account and instrument together must be unique (got 'main, NVDA'); add the "
        "lots up: write quantity 30 in row 2 and remove rows 4, 5, or only remove rows 4, 5 if the same lot is there "
        "twice"
        for row in (4, 5)
    ]


def test_a_repeated_instrument_is_reported_once_with_both_rows() -> None:
    assert texts("exposures", EXPOSURE, EXPOSURE | {"name": "again"}) == [
        "exposures.csv:3 instrument: must be unique (got 'NVDA'); also in row 2, with other values: keep the "
        "one that is right"
    ]


def test_unreadable_or_blank_cells_are_not_called_duplicates_as_well() -> None:
    rows = [{"date": cell, "NVDA": "1"} for cell in ("x", "x", "", "")]

    assert [(b.row, b.rule) for b in held("prices", *rows)[1]] == [
        (2, "must be a date"), (3, "must be a date"), (4, "must not be blank"), (5, "must not be blank"),
    ]  # fmt: skip


SCENARIO = {"instrument": "NVDA", "shared": "0.1"}


@pytest.mark.parametrize(
    ("contract", "row", "expected"),
    [
        ("holdings", HOLDING | {"price": "1e9"},
         "price: must be below 1000000000 (got '1e9'); write the price of one unit, not the value of the position"),
        ("holdings", HOLDING | {"currency": "usd"},
         "currency: must be three capital letters (got 'usd'); write for example USD"),
        ("exposures", EXPOSURE | {"bucket": "eficiency"},
         "bucket: must be one of efficiency, capital_intensity, adopter, neutral, cash (got 'eficiency'); "
         "did you mean 'efficiency'?"),
        ("exposures", EXPOSURE | {"source": " "}, "source: must not be blank; fill it in"),
        ("exposures", EXPOSURE | {"efficiency_share": "12"},
         "efficiency_share: must lie from 0 to 1 (got '12'); write 12 % as 0.12"),
        ("exposures", EXPOSURE | {"idiosyncratic_volatility": "45"},
         "idiosyncratic_volatility: must lie from 0 to 3 a year (got '45'); write 45 % as 0.45"),
        ("exposures", EXPOSURE | {"beta": "12"},
         "beta: must lie from -5 to 10 (got '12'); write the beta to the market, such as 1.2"),
        ("exposures", EXPOSURE | {"spread_bps": "-1"},
         "spread_bps: must lie from 0 to 2000 basis points (got '-1'); write a spread of 0.05 % as 5"),
        ("exposures", EXPOSURE | {"average_daily_volume": "-1"},
         "average_daily_volume: must be at least 0 (got '-1'); leave it blank if unknown"),
        ("scenario_returns", SCENARIO | {"shared": "-1"},
         "shared: must be above -1 (got '-1'); a long holding cannot lose more than all: is it in percent?"),
        ("scenario_returns", SCENARIO | {"shared": "120.5"},
         "shared: must be at most 10 (+1000 %) (got '120.5'); a price or percent? write +12 % as 0.12"),
        ("scenario_returns", SCENARIO | {"shared": ""}, "shared: must not be blank; fill it in"),
        ("prices", {"date": "2026-01-02", "NVDA": "-0.01"},
         "NVDA: must be above 0 (got '-0.01'); are these returns? prices.csv wants prices"),
        ("prices_long", {"date": "2026-01-02", "instrument": "NVDA", "price": "0"},
         "price: must be above 0 (got '0'); are these returns? prices.csv wants prices"),
        ("covariance", {"instrument": "NVDA", "NVDA": "400"},
         "NVDA: must lie from -10 to 10 (got '400'); is it in percent? a volatility of 20 % has the variance 0.04"),
        ("covariance", {"instrument": "NVDA", "NVDA": ""}, "NVDA: must not be blank; fill it in"),
        ("benchmark", {"instrument": "NVDA", "weight": "12"},
         "weight: must lie from 0 to 1 (got '12'); write 12 % as 0.12"),
        ("fx", {"currency": "EUR", "rate": "0", "date": "2026-01-02"},
         "rate: must be above 0 (got '0'); write the book's currency for one unit of this one"),
    ],
)  # fmt: skip
def test_each_rule_of_each_table_is_told_with_its_cure(contract: str, row: dict[str, str], expected: str) -> None:
    assert texts(contract, row) == [f"{contract}.csv:2 {expected}"]


@pytest.mark.parametrize(
    ("contract", "row"),
    [
        ("scenario_returns", SCENARIO | {"source": "", "crowded trade": "-0.999", "Größe": "10"}),
        ("prices", {"date": "2026-01-02", "NVDA": "", "SAP GY": "1"}),
        ("prices_long", {"date": "2026-01-02", "instrument": "NVDA", "price": "1"}),
        ("covariance", {"instrument": "NVDA", "NVDA": "0.04"}),
        ("benchmark", {"instrument": "NVDA", "weight": "1"}),
        ("fx", {"currency": "EUR", "rate": "1.1", "date": "2026-01-02", "source": ""}),
        ("exposures", EXPOSURE | {"efficiency_share": "", "beta": "-5", "tradable_from": ""}),
    ],
)
def test_a_row_on_the_edge_of_its_contract_is_taken(contract: str, row: dict[str, str]) -> None:
    frame, breaches = held(contract, row)

    assert breaches == []
    assert list(frame) == list(row)


@pytest.mark.parametrize(
    ("contract", "row", "expected"),
    [
        ("prices", {"date": "2026-01-02", "NVDA": "1", "=x": "1"},
         "=x: unknown column; "
         "other columns are instruments, in letters, digits and . _ : / - with single spaces between"),
        ("prices", {"Date": "2026-01-02", "date": "2026-01-02", "NVDA": "1"},
         "Date: unknown column; did you mean 'date'?"),
        ("scenario_returns", SCENARIO | {"Source": "me"}, "Source: unknown column; rename it to source"),
    ],
)  # fmt: skip
def test_a_wide_table_refuses_columns_that_are_no_names(contract: str, row: dict[str, str], expected: str) -> None:
    assert texts(contract, row) == [f"{contract}.csv {expected}"]


def test_a_wide_table_without_its_wide_columns_is_refused() -> None:
    assert texts("scenario_returns", {"instrument": "NVDA"}) == [
        "scenario_returns.csv: more columns are needed; "
        "add scenarios of book.toml, each name beginning with a letter, digit or _"
    ]


def test_typed_columns_of_pandas_are_held_to_the_same_rules() -> None:
    frame = pd.DataFrame({
        "date": pd.date_range("2026-01-01", periods=3),
        "A": [1, 2, 3],
        "B": pd.array([1.5, None, np.inf], dtype="Float64"),
        "C": pd.Categorical(["1", "2", "-3"]),
    })  # fmt: skip

    typed, breaches = validate("prices", RawTable("prices", frame, (1, 2, 3)))

    assert [str(b) for b in breaches] == [
        "prices:3 B: must be finite (got 'inf'); write a finite number",
        "prices:3 C: must be above 0 (got '-3'); are these returns? prices.csv wants prices",
    ]
    assert typed.dtypes.astype(str).tolist() == ["datetime64[ns]", "float64", "float64", "float64"]


@pytest.mark.parametrize(
    "switch", [{"PANDERA_VALIDATION_ENABLED": "False"}, {"PANDERA_VALIDATION_DEPTH": "SCHEMA_ONLY"}],
    ids=["disabled", "schema only"],
)  # fmt: skip
def test_the_environment_cannot_switch_contracts_off(root: Path, switch: dict[str, str]) -> None:
    code = (
        "import pandas as pd\n"
        "from allocator.tables import validate\n"
        "from allocator.tables.files import RawTable\n"
        f"row = {HOLDING | {'quantity': '-1', 'price': '-1', 'currency': ''}!r}\n"
        "table = RawTable('h', pd.DataFrame([row, row]), (2, 3))\n"
        "print(*validate('holdings', table)[1], sep='\\n')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=os.environ | switch, capture_output=True, text=True, check=True
    )

    rules = [line.split(" ", 1)[1].split(";")[0] for line in done.stdout.splitlines()]
    assert rules == [
        "quantity: must be at least 0 (got '-1')", "price: must be at least 0 (got '-1')",
        "currency: must not be blank",
        "instrument: account and instrument together must be unique (got 'main, NVDA')",
        "quantity: must be at least 0 (got '-1')", "price: must be at least 0 (got '-1')",
        "currency: must not be blank",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "cell", "rule", "cure"),
    [
        ("greater_than: {min_value: 0}", "0", "must be above 0", "correct it"),
        ("greater_than_or_equal_to: {min_value: 1.5}", "1", "must be at least 1.5", "correct it"),
        ("less_than: {max_value: 0}", "0", "must be below 0", "correct it"),
        ("less_than_or_equal_to: {max_value: 0}", "1", "must be at most 0", "correct it"),
        ("in_range: {min_value: 0, max_value: 1}", "2", "must lie from 0 to 1", "correct it"),
        ("isin: {allowed_values: [red, blue]}", "rad", "must be one of red, blue", "did you mean 'red'?"),
        ("str_matches: {pattern: '^[a-z]$'}", "A", "must match ^[a-z]$", "correct it"),
        ("isin: {allowed_values: [red], error: must be red}", "rad", "must be red", "did you mean 'red'?"),
        ("less_than: {max_value: 0, error: must be small}", "5", "must be small", "correct it"),
        ("less_than: {max_value: 0, error: must be small; halve it; or so}", "5", "must be small", "halve it; or so"),
    ],
)
def test_a_rule_without_words_of_its_own_is_still_told(
    monkeypatch: pytest.MonkeyPatch, check: str, cell: str, rule: str, cure: str
) -> None:
    dtype = "str" if check.startswith(("isin", "str")) else "float64"
    text = f"strict: true\ndescription: d\ncolumns: {{x: {{description: d, dtype: {dtype}, {check}}}}}"
    monkeypatch.setattr("allocator.tables.schema.contract_text", lambda _: text)

    _, breaches = held("mine", {"x": cell})

    assert breaches == [Breach("mine.csv", 2, "x", cell, rule, cure)]


def test_a_long_value_is_cut_short_in_its_breach() -> None:
    (breach,) = held("holdings", HOLDING | {"price": "x" * 500})[1]

    assert breach.value == "x" * 80


def rows_of(breaches: Sequence[Breach]) -> list[int | None]:
    return [breach.row for breach in breaches]


def test_breaches_carry_the_rows_that_the_caller_gave() -> None:
    frame = pd.DataFrame([HOLDING, HOLDING | {"account": "b", "price": "-1"}, HOLDING | {"account": "c", "price": "x"}])

    _, breaches = validate("holdings", RawTable("h", frame, (2, 5, 11)))

    assert rows_of(breaches) == [5, 11]


def test_a_missing_column_of_a_unique_key_is_told_beside_what_else_is_wrong() -> None:
    said = texts("holdings", {name: cell for name, cell in HOLDING.items() if name != "instrument"} | {"price": "x"})

    assert [text.partition(";")[0] for text in said] == [
        "holdings.csv instrument: this column is missing",
        "holdings.csv:2 price: must be a number (got 'x')",
    ]


def test_where_a_column_of_a_unique_key_may_be_left_out_the_others_are_the_key() -> None:
    row = {name: cell for name, cell in HOLDING.items() if name != "account"}

    _, breaches = validate("holdings", RawTable("h", pd.DataFrame([row, row]), (2, 3)))

    assert [(breach.row, breach.column, breach.rule) for breach in breaches] == [(3, "instrument", "must be unique")]
