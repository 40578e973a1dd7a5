"""What tables and book.toml must agree on: each disagreement with its place, value and cure, all of them at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.risk_model import build_risk_model
from tests.spoiled_books import add, told, with_line

if TYPE_CHECKING:
    from tests.conftest import Folder

NAMES = ["META", "GOOGL", "MSFT", "AMZN", "ORCL", "NVDA", "AVGO", "TSM", "CRWV", "EQIX", "VST", "CRM", "ADBE"]


def add_row(book: Folder, file: str, row: list[str]) -> int:
    rows = [*book.rows(file), row]
    book.write(file, rows)
    return len(rows)


def drop_row(book: Folder, file: str, instrument: str) -> None:
    header, *rows = book.rows(file)
    book.write(file, [header, *(row for row in rows if row[header.index("instrument")] != instrument)])


def square(book: Folder, change: Callable[[pd.DataFrame], None]) -> None:
    """A covariance table with 0.04 on its diagonal, changed."""
    frame = pd.DataFrame(0.0, index=pd.Index(NAMES, name="instrument"), columns=NAMES)
    for name in NAMES:
        frame.loc[name, name] = 0.04
    change(frame)
    frame.to_csv(book.path / "covariance.csv")


def from_prices(book: Folder) -> pd.DataFrame:
    """Ask for risk from a price history, and give one."""
    book.replace("book.toml", 'source = "exposures"  ', 'source = "prices"\nwindow_rows = 20\nperiods_per_year = 365 ')
    book.replace("book.toml", "market_volatility = 0.18", "#")
    days = pd.date_range("2026-10-20", periods=30, name="date")
    book.price_at(dict.fromkeys(NAMES, 103.0))
    return pd.DataFrame(
        {name: [100.0 + (i * (3 + k)) % 7 + i % 2 for i in range(30)] for k, name in enumerate(NAMES)}, days
    )


def test_a_book_in_order_is_told_nothing(listed: Folder) -> None:
    assert load(listed.path).account == "main"


def test_probabilities_that_do_not_sum_to_one_are_refused(listed: Folder) -> None:
    listed.replace(
        "book.toml",
        'probability = 0.30              # 0.5 x 0.6\nhypothesis = "g',
        'probability = 0.25\nhypothesis = "g',
    )

    assert told(listed) == [
        "book.toml scenarios.*.probability: probabilities must sum to 1 (got '0.95'); "
        "the sum is 0.95: raise them by 0.05 in all"
    ]


def test_probabilities_above_one_in_all_are_to_be_lowered(listed: Folder) -> None:
    assert (
        "the sum is 1.4: lower them by 0.4 in all"
        in told(listed, overrides=["scenarios.proprietary_jevons.probability=0.7"])[0]
    )


@pytest.mark.parametrize(
    ("added", "line", "rest"),
    [
        ("[mandate.buckets.efficency]\nmax = 0.4", "[mandate.buckets.efficency]",
         "mandate.buckets.efficency: no such bucket (got 'efficency'); did you mean 'efficiency'?"),
        ("[mandate.buckets.cash]\nmax = 0.4", "[mandate.buckets.cash]",
         "mandate.buckets.cash: cash has rules of its own; use mandate.min_cash and mandate.max_cash"),
        ("[mandate.groups.chip]\nmax = 0.4", "[mandate.groups.chip]",
         "mandate.groups.chip: no such group (got 'chip'); did you mean 'chips'?"),
        ("[mandate.weights.NVDIA]\nmax = 0.4", "[mandate.weights.NVDIA]",
         "mandate.weights.NVDIA: no such instrument in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?"),
        ('[mandate.weights."NVD.A"]\nmax = 0.4', '[mandate.weights."NVD.A"]',
         "mandate.weights.\"NVD.A\": no such instrument in exposures.csv (got 'NVD.A'); did you mean 'NVDA'?"),
        ("[mandate.weights.USD]\nmax = 0.4", "[mandate.weights.USD]",
         "mandate.weights.USD: cash has rules of its own (got 'USD'); use mandate.min_cash and mandate.max_cash"),
        ("[mandate.issuers.Nvidia]\nmax = 0.4", "[mandate.issuers.Nvidia]",
         "mandate.issuers.Nvidia: no such issuer in exposures.csv (got 'Nvidia'); did you mean 'NVIDIA'?"),
        ('[groups.gpus]\nNVDIA = 1.0', "NVDIA = 1.0",
         "groups.gpus.NVDIA: no such instrument in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?"),
        ("[groups.gpus]", "[groups.gpus]", "groups.gpus: is empty; name its instruments or remove it"),
    ],
)  # fmt: skip
def test_a_rule_about_nothing_is_refused_with_its_line(listed: Folder, added: str, line: str, rest: str) -> None:
    add(listed, added)

    (only,) = told(listed)

    assert only.startswith(f"book.toml:{with_line(listed, line)} {rest}")


@pytest.mark.parametrize(
    ("members", "rest"),
    [
        ('["NVDA", "AVG"]', "groups.chips: no such instrument in exposures.csv (got 'AVG'); did you mean 'AVGO'?"),
        ('["NVDA", "NVDA"]', "groups.chips: is named twice (got 'NVDA'); name it once"),
        ("[]", "groups.chips: is empty; name its instruments or remove it"),
    ],
)
def test_a_list_of_members_holds_each_known_name_once(listed: Folder, members: str, rest: str) -> None:
    listed.replace("book.toml", '["NVDA", "AVGO", "TSM"]', members)

    assert told(listed) == [f"book.toml:{with_line(listed, 'chips =')} {rest}"]


@pytest.mark.parametrize(
    ("item", "told_first"),
    [
        ("mandate.weights.NVDIA.max=0.2", "--set mandate.weights.NVDIA: no such instrument"),
        ('groups.chips=["NVDIA"]', "--set groups.chips: no such instrument"),
        ("mandate.groups.chip.max=0.2", "--set mandate.groups.chip: no such group"),
        ("mandate.min_cash=0.5", "--set mandate.min_cash: must not be above max_cash = 0.1 (got '0.5')"),
        ("mandate.max_wieght=0.5", "--set mandate.max_wieght: unknown key (got '0.5'); did you mean 'max_weight'?"),
        ("robust.radius=1.5", "--set robust: radius = 1.5 of a 'total_variation' set must lie in [0, 1]; lower it"),
    ],
)
def test_a_what_if_is_blamed_on_the_command_line_and_not_on_the_file(
    listed: Folder, item: str, told_first: str
) -> None:
    assert told(listed, overrides=[item])[0].startswith(told_first)


def test_a_floor_of_cash_above_its_cap_is_refused(listed: Folder) -> None:
    listed.replace("book.toml", "min_cash = 0.02", "min_cash = 0.2")

    assert told(listed) == [
        f"book.toml:{with_line(listed, 'min_cash')} mandate.min_cash: must not be above max_cash = 0.1 (got '0.2'); "
        "lower min_cash or raise max_cash"
    ]


def test_minimum_variance_refuses_a_set_of_probabilities(listed: Folder) -> None:
    listed.replace("book.toml", '"return_minus_risk"', '"minimum_variance"')
    listed.replace("book.toml", "risk_aversion = 1.5", "#")

    assert told(listed) == [
        f"book.toml:{with_line(listed, 'set =')} robust.set: has no meaning with objective = 'minimum_variance', which "
        'looks at no return (got \'total_variation\'); set robust.set = "none" or objective = "return_minus_risk"'
    ]


def second_account(book: Folder) -> None:
    for row in book.rows("holdings.csv")[1:]:
        add_row(book, "holdings.csv", ["pension", *row[1:]])


def test_several_accounts_want_to_be_chosen_from(listed: Folder) -> None:
    second_account(listed)

    assert told(listed) == [
        "holdings.csv account: holds 2 accounts and none is chosen; say which with --account: main, pension"
    ]
    assert load(listed.path, account="pension").account == "pension"


def test_an_unknown_account_is_asked_back(listed: Folder) -> None:
    second_account(listed)

    assert told(listed, account="pensoin") == [
        "--account: no such account in holdings.csv (got 'pensoin'); did you mean 'pension'?"
    ]


def test_each_account_has_its_own_quantities_and_the_shared_prices(listed: Folder) -> None:
    second_account(listed)
    rows = listed.rows("holdings.csv")
    for row in rows[15:]:
        row[2] = "7"
    listed.write("holdings.csv", [row for row in rows if row[:2] != ["pension", "TSM"]])

    pension, main = load(listed.path, account="pension"), load(listed.path, account="main")

    at = pension.instruments.index("TSM")
    assert (pension.quantities[at], pension.prices[at]) == (0.0, 300.0)
    assert (main.quantities[at], main.cash, pension.cash) == (400.0, 60500.0, 7.0)
    assert list(pension.prices) == list(main.prices)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("price", "191", "price: differs from another row of NVDA (190.0) (got '191.0'); "),
        ("currency", "EUR", "currency: differs from another row of NVDA (USD) (got 'EUR'); "),
        ("lot_size", "10", "lot_size: differs from another row of NVDA (1.0) (got '10.0'); "),
    ],
)
def test_one_instrument_has_one_price_currency_and_lot(listed: Folder, column: str, value: str, said: str) -> None:
    header = listed.rows("holdings.csv")[0]
    row = ["other", "NVDA", "5", "190", "USD", "1"]
    row[header.index(column)] = value
    line = add_row(listed, "holdings.csv", row)
    add_row(listed, "holdings.csv", ["other", "USD", "5", "1", "USD", "0.01"])
    listed.write("fx.csv", [["currency", "rate", "date"], ["EUR", "1.1", "2026-11-20"]])

    assert told(listed, account="main") == [
        f"holdings.csv:{line} {said}one instrument has one price, currency and lot size in all accounts"
    ]


def test_another_currency_wants_a_rate(listed: Folder) -> None:
    line = listed.cell("holdings.csv", "TSM", "currency", "TWD")

    assert told(listed) == [
        f"holdings.csv:{line} currency: has no rate to USD (got 'TWD'); add TWD to fx.csv, in USD for one TWD"
    ]


def test_a_rate_converts_prices_into_the_currency_of_the_book(listed: Folder) -> None:
    listed.cell("holdings.csv", "TSM", "currency", "TWD")
    listed.cell("holdings.csv", "TSM", "price", "1200")
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "0.03", "2026-11-20"]])

    book = load(listed.path)

    assert book.prices[book.instruments.index("TSM")] == pytest.approx(36.0)
    assert book.value == pytest.approx(1_460_000 - 400 * 300 + 400 * 36)


def test_the_currency_of_the_book_is_one_of_itself(listed: Folder) -> None:
    listed.write("fx.csv", [["currency", "rate", "date"], ["USD", "1.1", "2026-11-20"]])

    assert told(listed) == ["fx.csv:2 rate: one USD is 1 USD (got '1.1'); remove the row"]


def test_a_purchase_after_as_of_is_refused(listed: Folder) -> None:
    dates = ["acquired", "", "2026-11-20", "2026-11-21", *[""] * 11]
    rows = zip(listed.rows("holdings.csv"), dates, strict=True)
    listed.write("holdings.csv", [[*row, date] for row, date in rows])

    assert told(listed) == [
        "holdings.csv:4 acquired: is after as_of = 2026-11-20 (got '2026-11-21'); "
        "correct the date, or move as_of forward"
    ]


def test_a_rate_after_as_of_is_refused(listed: Folder) -> None:
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "0.03", "2026-12-01"]])

    assert told(listed) == [
        "fx.csv:2 date: is after as_of = 2026-11-20 (got '2026-12-01'); correct the date, or move as_of forward"
    ]


def test_prices_after_as_of_are_refused_with_their_count(listed: Folder) -> None:
    from_prices(listed).shift(freq="5D").to_csv(listed.path / "prices.csv")

    assert told(listed) == [
        "prices.csv:29 date: is after as_of = 2026-11-20 (3 rows are) (got '2026-11-21'); "
        'remove them, or set risk.after_as_of = "cut" to leave them out'
    ]


def test_price_rows_after_as_of_may_be_cut_by_a_named_rule(listed: Folder) -> None:
    from_prices(listed).shift(freq="5D").to_csv(listed.path / "prices.csv")

    assert load(listed.path, overrides=["risk.after_as_of=cut"]).price_history is not None


def test_an_earlier_as_of_is_checked_against_every_table(listed: Folder) -> None:
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "0.03", "2026-11-20"]])

    assert "is after as_of = 2026-11-19" in told(listed, as_of=dt.date(2026, 11, 19))[0]


@pytest.mark.parametrize(
    ("buckets", "said"),
    [
        (
            {"USD": "neutral"},
            "exposures.csv bucket: 0 rows have bucket 'cash'; exactly one instrument is the account's",
        ),
        ({"CRM": "cash"}, "exposures.csv bucket: 2 rows have bucket 'cash'; exactly one instrument is the account's"),
    ],
)
def test_exactly_one_instrument_is_cash(listed: Folder, buckets: dict[str, str], said: str) -> None:
    for name, bucket in buckets.items():
        listed.cell("exposures.csv", name, "bucket", bucket)

    assert any(line.startswith(said) for line in told(listed))


def test_a_book_of_nothing_but_cash_is_refused(listed: Folder) -> None:
    for file in ("exposures.csv", "holdings.csv", "scenario_returns.csv"):
        header, *rows = listed.rows(file)
        listed.write(file, [header, rows[-1]])
    (listed.path / "benchmark.csv").unlink()

    assert "exposures.csv bucket: there is nothing but cash; add an instrument" in told(listed)


def test_cash_has_price_one(listed: Folder) -> None:
    line = listed.cell("holdings.csv", "USD", "price", "60500")

    assert told(listed) == [f"holdings.csv:{line} price: cash has price 1 (got '60500'); put the amount into quantity"]


def test_cash_is_in_the_currency_of_the_book(listed: Folder) -> None:
    line = listed.cell("holdings.csv", "USD", "currency", "EUR")
    listed.write("fx.csv", [["currency", "rate", "date"], ["EUR", "1.1", "2026-11-20"]])

    assert told(listed) == [
        f"holdings.csv:{line} currency: cash is in the book's currency USD (got 'EUR'); "
        "convert it, or hold foreign cash as a 'neutral' instrument"
    ]


def test_risk_from_exposures_needs_its_numbers(listed: Folder) -> None:
    line = listed.cell("exposures.csv", "TSM", "beta", "")

    assert told(listed) == [
        f"exposures.csv:{line} beta: must not be blank for TSM (got ''); risk.source = 'exposures' needs it"
    ]


def test_risk_from_exposures_needs_its_columns(listed: Folder) -> None:
    header, *rows = listed.rows("exposures.csv")
    at = header.index("idiosyncratic_volatility")
    listed.write("exposures.csv", [[cell for i, cell in enumerate(row) if i != at] for row in [header, *rows]])

    assert told(listed) == [
        "exposures.csv idiosyncratic_volatility: risk.source = 'exposures' needs it; add the column, or give "
        "prices.csv or covariance.csv and say so in risk.source"
    ]


@pytest.mark.parametrize("source", ["prices", "covariance"])
def test_a_source_of_risk_needs_its_table(listed: Folder, source: str) -> None:
    overrides = [f"risk.source={source}"]
    if source == "prices":
        overrides += ["risk.window_rows=20", "risk.periods_per_year=252"]

    (only,) = told(listed, overrides=overrides)

    assert only == (
        f"--set risk.source: needs {source}.csv (got '{source}'); add {source}.csv, or set risk.source = \"exposures\""
    )


@pytest.mark.parametrize(
    ("file", "row", "cure"),
    [
        ("holdings.csv", ["main", "NVDIA", "5", "190", "USD", "1"], "did you mean 'NVDA'?"),
        ("scenario_returns.csv", ["GOGL", "0.1", "0.1", "0.1", "0.1", "mine"], "did you mean 'GOOGL'?"),
        ("benchmark.csv", ["AMZ", "0"], "did you mean 'AMZN'?"),
    ],
)
def test_a_name_without_exposures_is_refused(listed: Folder, file: str, row: list[str], cure: str) -> None:
    line = add_row(listed, file, row)
    name = row[1] if file == "holdings.csv" else row[0]

    assert told(listed) == [f"{file}:{line} instrument: is not in exposures.csv (got '{name}'); {cure}"]


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        ("holdings.csv", "add a row with today's price, quantity 0 if it is not held"),
        ("scenario_returns.csv", "add its row, or one of its bucket capital_intensity"),
    ],
)
def test_a_name_that_is_missing_from_a_table_is_refused(listed: Folder, file: str, cure: str) -> None:
    drop_row(listed, file, "VST")

    assert told(listed) == [f"{file} instrument: has no row here (got 'VST'); {cure}"]


def test_a_holding_without_exposure_is_refused(listed: Folder) -> None:
    drop_row(listed, "exposures.csv", "CRWV")

    found = told(listed)

    assert any(line.startswith("holdings.csv:10 instrument: is not in exposures.csv (got 'CRWV')") for line in found)
    assert any(line.startswith("scenario_returns.csv:10 instrument: is not in exp") for line in found)
    assert any("groups.committed_capacity.CRWV: no such instrument" in line for line in found)


def test_a_name_outside_the_benchmark_has_weight_zero_there(listed: Folder) -> None:
    drop_row(listed, "benchmark.csv", "CRWV")
    listed.cell("benchmark.csv", "VST", "weight", "0.0053")

    benchmark = load(listed.path).benchmark

    assert benchmark is not None
    assert (benchmark["CRWV"], benchmark["VST"]) == (0.0, 0.0053)


def test_benchmark_weights_sum_to_one(listed: Folder) -> None:
    listed.cell("benchmark.csv", "VST", "weight", "0.0129")

    assert told(listed) == [
        "benchmark.csv weight: weights must sum to 1 (got '1.01'); the sum is 1.01; cash is a row like any other"
    ]


def rename_scenario(book: Folder) -> None:
    rows = book.rows("scenario_returns.csv")
    rows[0][3] = "proprietary_jevon"
    book.write("scenario_returns.csv", rows)


def test_scenario_names_agree_everywhere(listed: Folder) -> None:
    rename_scenario(listed)

    assert told(listed) == [
        "scenario_returns.csv proprietary_jevons: this scenario of book.toml has no column; "
        "did you mean 'proprietary_jevon'?",
        "scenario_returns.csv proprietary_jevon: this column is no scenario of book.toml; "
        "did you mean 'proprietary_jevons'?",
    ]


def test_prices_where_returns_belong_are_recognised(listed: Folder) -> None:
    rows = listed.rows("scenario_returns.csv")
    for row in rows[1:-1]:
        row[1] = "8.5"
    listed.write("scenario_returns.csv", rows)

    assert told(listed) == [
        "scenario_returns.csv generalizable_jevons: 13 of 14 returns are beyond 100 %; "
        "prices or percent where returns belong? write +12 % as 0.12"
    ]


def test_cash_that_returns_four_hundred_percent_is_recognised(listed: Folder) -> None:
    line = listed.cell("scenario_returns.csv", "USD", "proprietary_jevons", "4")

    assert told(listed) == [
        f"scenario_returns.csv:{line} proprietary_jevons: cash does not return more than 30% (got '4'); "
        "percent where a fraction belongs? write 4 % as 0.04"
    ]


@pytest.mark.parametrize(("shape", "what"), [("wide", "column"), ("long", "rows")])
def test_a_price_history_has_a_column_or_rows_for_every_name(listed: Folder, shape: str, what: str) -> None:
    history = from_prices(listed).rename(columns={"NVDA": "NVDIA"})
    if shape == "long":
        history = history.rename_axis(columns="instrument").stack().rename("price").to_frame()
    history.to_csv(listed.path / "prices.csv")

    assert told(listed) == [
        "prices.csv NVDIA: is not in exposures.csv; did you mean 'NVDA'? Else remove "
        + ("its rows" if shape == "long" else "the column"),
        f"prices.csv NVDA: has no {what} here; add it",
    ]


def test_a_long_price_history_is_the_wide_one(listed: Folder) -> None:
    history = from_prices(listed)
    history.to_csv(listed.path / "prices.csv")
    wide = load(listed.path).price_history
    history.rename_axis(columns="instrument").stack().rename("price").to_frame().sample(frac=1, random_state=1).to_csv(
        listed.path / "prices.csv"
    )
    long = load(listed.path).price_history

    assert wide is not None
    assert long is not None
    pd.testing.assert_frame_equal(wide, long, check_names=False, check_freq=False)


def test_a_covariance_that_is_not_symmetric_is_refused_where_it_is_not(listed: Folder) -> None:
    def change(frame: pd.DataFrame) -> None:
        frame.loc["GOOGL", "NVDA"] = 0.02
        frame.loc["NVDA", "GOOGL"] = 0.01

    square(listed, change)

    assert told(listed, overrides=["risk.source=covariance"]) == [
        "covariance.csv:3 NVDA: differs from its mirror image (got '0.02 against 0.01'); a covariance is symmetric"
    ]


def test_a_covariance_with_a_negative_eigenvalue_is_refused(listed: Folder) -> None:
    def change(frame: pd.DataFrame) -> None:
        frame.loc["GOOGL", "NVDA"] = frame.loc["NVDA", "GOOGL"] = 0.0500000123456789  # not a rounded number

    square(listed, change)

    assert told(listed, overrides=["risk.source=covariance"]) == [
        "covariance.csv: has a negative eigenvalue: no portfolio has negative variance (got '-0.01'); "
        "estimate it from complete rows, or give prices.csv instead"
    ]


def test_a_covariance_is_square_and_complete(listed: Folder) -> None:
    def change(frame: pd.DataFrame) -> None:
        del frame["NVDA"]

    square(listed, change)

    found = told(listed, overrides=["risk.source=covariance"])

    assert "covariance.csv NVDA: has a row or a column, not both; a covariance is square" in found
    assert "covariance.csv NVDA: has no column here; add it" in found


def test_a_covariance_is_aligned_by_name(listed: Folder) -> None:
    def change(frame: pd.DataFrame) -> None:
        for i, name in enumerate(NAMES):
            frame.loc[name, name] = 0.01 * (i + 1)

    square(listed, change)
    frame = pd.read_csv(listed.path / "covariance.csv", index_col=0).sample(frac=1, random_state=3)
    frame[frame.columns[::-1]].to_csv(listed.path / "covariance.csv")

    covariance = load(listed.path, overrides=["risk.source=covariance"]).covariance

    assert covariance is not None
    assert list(covariance.index) == list(covariance.columns) == NAMES
    assert covariance.loc["META", "META"] == 0.01
    assert covariance.loc["ADBE", "ADBE"] == pytest.approx(0.13)


def test_several_breaches_of_several_tables_come_all_at_once(listed: Folder) -> None:
    listed.cell("holdings.csv", "USD", "price", "2")
    listed.cell("benchmark.csv", "VST", "weight", "0.5")
    rename_scenario(listed)
    add(listed, "[mandate.weights.NVDIA]\nmax = 0.4")
    listed.replace("book.toml", "min_cash = 0.02", "min_cash = 0.2")

    tables = [line.split(" ")[0].split(":")[0] for line in told(listed)]

    assert sorted(set(tables)) == ["benchmark.csv", "book.toml", "holdings.csv", "scenario_returns.csv"]
    assert len(tables) == 6


def test_breaches_of_one_table_do_not_hide_those_of_another(listed: Folder) -> None:
    listed.cell("holdings.csv", "NVDA", "price", "-190")
    listed.cell("exposures.csv", "TSM", "bucket", "chips")
    listed.cell("scenario_returns.csv", "META", "proprietary_jevons", "nan")
    listed.cell("benchmark.csv", "VST", "weight", "29")
    listed.replace("book.toml", "min_cash = 0.02", "min_cash = 0.2")

    found = told(listed)

    assert [line.split(":")[0] for line in found] == [
        "holdings.csv", "exposures.csv", "scenario_returns.csv", "benchmark.csv", "book.toml"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["instrument", "source", "Source"])
def test_a_scenario_is_not_named_like_another_column(listed: Folder, name: str) -> None:
    listed.replace("book.toml", "[scenarios.proprietary_jevons]", f"[scenarios.{name}]")
    rows = listed.rows("scenario_returns.csv")
    listed.write("scenario_returns.csv", [[*row[:3], *row[4:]] for row in rows])

    assert told(listed) == [
        f"book.toml:{with_line(listed, f'[scenarios.{name}]')} scenarios.{name}: is the name of another column of "
        f"scenario_returns.csv (got '{name}'); give the scenario another name, here and there"
    ]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("quantity", "1e303", "quantity: must be at most 1e15 (got '1e303'); write the number of units"),
        ("lot_size", "1e-300", "lot_size: must lie from 1e-9 to 1e9 (got '1e-300'); write 1 if single units can be"),
        ("lot_size", "1e10", "lot_size: must lie from 1e-9 to 1e9 (got '1e10'); write 1 if single units can be"),
    ],
)
def test_a_holding_beyond_what_can_be_counted_is_refused(listed: Folder, column: str, value: str, said: str) -> None:
    line = listed.cell("holdings.csv", "NVDA", column, value)

    assert told(listed)[0].startswith(f"holdings.csv:{line} {said}")


def test_an_account_worth_more_than_money_can_be_is_refused(listed: Folder) -> None:
    listed.cell("holdings.csv", "NVDA", "quantity", "1e14")

    assert told(listed) == [
        "holdings.csv quantity: the account must be worth from 0.01 to 1e+15 USD (got '1.9e+16'); "
        "correct quantities, prices and rates: is one of them in another unit?"
    ]


def test_an_account_worth_less_than_a_cent_is_refused(listed: Folder) -> None:
    header, *rows = listed.rows("holdings.csv")
    listed.write("holdings.csv", [header, *([*row[:2], "1e-300", *row[3:]] for row in rows)])

    assert "the account must be worth from 0.01 to 1e+15 USD" in told(listed)[0]


def test_a_lot_that_is_worth_nothing_cannot_be_counted(listed: Folder) -> None:
    line = listed.cell("holdings.csv", "CRWV", "price", "1e-300")

    assert told(listed) == [
        f"holdings.csv:{line} price: a lot is worth so little that the account's lots cannot be counted "
        "(got '1e-300'); correct the price, the lot size or the rate"
    ]


@pytest.mark.parametrize("table", ["prices", "covariance"])
def test_a_table_of_risk_is_not_left_aside_in_silence(listed: Folder, table: str) -> None:
    if table == "prices":
        days = pd.date_range("2026-10-20", periods=30, name="date")
        listed.price_at(dict.fromkeys(NAMES, 100.0))
        pd.DataFrame(100.0, days, NAMES).to_csv(listed.path / "prices.csv")
    else:
        square(listed, lambda _: None)
    assert load(listed.path).account == "main"  # source = "exposures" is a statement
    listed.replace("book.toml", 'source = "exposures"  ', "#")

    assert told(listed) == [
        f"book.toml:{with_line(listed, '[risk]')} risk.source: must be stated, because {table}.csv is there; "
        f'write source = "{table}" to use it, or source = "exposures" to leave it aside'
    ]


@pytest.mark.parametrize(
    ("source", "key", "reason"),
    [
        ("exposures", "window_rows = 60", "source = 'exposures'"),
        ("exposures", "periods_per_year = 252", "source = 'exposures'"),
        ("exposures", 'after_as_of = "cut"', "source = 'exposures'"),
        ("exposures", 'blanks = "refuse"', "source = 'exposures'"),
        ("exposures", 'late_listings = "beta"', "source = 'exposures'"),
        ("exposures", 'method = "auto"', "source = 'exposures'"),
        ("exposures", "factors = 5", "source = 'exposures'"),
        ("covariance", "factors = 5", "source = 'covariance'"),
        ("covariance", "market_volatility = 0.2", "source = 'covariance'"),
        ("prices", "market_volatility = 0.2", "source = 'prices' and late_listings = 'refuse'"),
        ("prices", 'factors = 5\nmethod = "ledoit_wolf"', "method = 'ledoit_wolf'"),
    ],
)
def test_a_key_without_effect_is_refused_by_name(listed: Folder, source: str, key: str, reason: str) -> None:
    if source == "prices":
        from_prices(listed).to_csv(listed.path / "prices.csv")
    if source == "covariance":
        square(listed, lambda _: None)
        listed.replace("book.toml", "market_volatility = 0.18", "#")
        listed.replace("book.toml", 'source = "exposures"  ', 'source = "covariance"  #')
    listed.replace("book.toml", "[risk]", f"[risk]\n{key}")
    name, _, value = key.partition("\n")[0].partition(" = ")

    assert told(listed) == [
        f"book.toml:{with_line(listed, name)} risk.{name}: has no effect with {reason} "
        f"(got '{value.strip(chr(34))}'); remove it"
    ]


def test_risk_aversion_means_nothing_to_minimum_variance(listed: Folder) -> None:
    listed.replace("book.toml", '"return_minus_risk"', '"minimum_variance"')
    options = ["robust.set=none", "robust.radius=0"]

    assert told(listed, overrides=options) == [
        f"book.toml:{with_line(listed, 'risk_aversion')} mandate.risk_aversion: has no effect with "
        "objective = 'minimum_variance' (got '1.5'); remove it"
    ]


def test_a_rule_that_nothing_counts_towards_is_refused(listed: Folder) -> None:
    add(listed, "[mandate.buckets.adopter]\nmax = 0.4\n[mandate.groups.none]\nmin = 0.1\n[groups.none]\nNVDA = 0.0")
    for name in ("MSFT", "CRM", "ADBE"):
        listed.cell("exposures.csv", name, "bucket", "neutral")
    rule = "nothing in this book counts towards it: a cap always holds, a floor never can"

    assert told(listed) == [
        f"book.toml:{with_line(listed, '[mandate.buckets.adopter]')} mandate.buckets.adopter: {rule}; "
        "correct the labels and shares of exposures.csv, or remove the rule",
        f"book.toml:{with_line(listed, '[mandate.groups.none]')} mandate.groups.none: {rule}; "
        "give a member a share above 0, or remove the rule",
    ]


def test_a_group_that_no_rule_names_may_be_kept_for_what_ifs(listed: Folder) -> None:
    add(listed, "[groups.later]\nNVDA = 0.0")

    assert load(listed.path).account == "main"


def test_a_rate_that_is_out_of_date_is_refused(listed: Folder) -> None:
    rows = [["currency", "rate", "date"], ["TWD", "0.03", "2026-10-19"], ["EUR", "1.1", "2026-10-20"]]
    listed.write("fx.csv", rows)

    assert told(listed) == [
        "fx.csv:2 date: is more than 31 days before as_of = 2026-11-20 (got '2026-10-19'); bring the rate up to date"
    ]


def stale(book: Folder, **options: Any) -> list[str]:
    with pytest.raises(BadInput) as refused:
        build_risk_model(load(book.path, **options))
    return [str(breach) for breach in refused.value.breaches]


def test_a_price_history_that_is_out_of_date_is_refused(listed: Folder) -> None:
    from_prices(listed).shift(freq="-31D").to_csv(listed.path / "prices.csv")

    assert stale(listed) == [
        "prices.csv date: the last row is of 2026-10-18, 33 days before as_of = 2026-11-20; "
        "bring it up to date, or raise risk.max_age_days above 31"
    ]
    assert build_risk_model(load(listed.path, overrides=["risk.max_age_days=33"])).source


@pytest.mark.parametrize(
    ("blank", "said"),
    [
        ("end", "prices.csv NVDA: has its last price on 2026-10-19, 32 days before as_of = 2026-11-20; bring it up"),
        ("turns", "prices.csv date: the last row without a blank is of 2026-10-19, 32 days before as_of = 2026-11-20;"),
    ],
)
def test_rows_left_out_do_not_hide_that_prices_are_out_of_date(listed: Folder, blank: str, said: str) -> None:
    days = pd.date_range("2026-09-01", "2026-11-20", name="date")
    from_prices(listed)
    history = pd.DataFrame(
        {name: [100.0 + (i * (3 + k)) % 7 + i % 2 for i in range(81)] for k, name in enumerate(NAMES)}, days
    )
    late = history.index > "2026-10-19"
    if blank == "end":
        history.loc[late, "NVDA"] = float("nan")
    else:
        history.loc[late & (history.index.day % 2 == 0), "NVDA"] = float("nan")
        history.loc[late & (history.index.day % 2 == 1), "META"] = float("nan")
    history.to_csv(listed.path / "prices.csv")

    (only,) = stale(listed, overrides=["risk.blanks=drop_rows", "risk.window_rows=80"])

    assert only.startswith(said)


def test_tables_of_today_are_out_of_date_on_the_last_day_of_the_calendar(listed: Folder) -> None:
    from_prices(listed).to_csv(listed.path / "prices.csv")
    last = dt.date(2999, 12, 31)
    old = (last - dt.date(2026, 11, 18)).days

    (only,) = stale(listed, as_of=last)
    assert only.startswith(f"prices.csv date: the last row is of 2026-11-18, {old} days before as_of = 2999-12-31")
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "0.03", "2026-11-18"]])
    assert any("is more than 31 days before as_of = 2999-12-31" in one for one in told(listed, as_of=last))


def test_risk_from_prices_says_that_currency_moves_are_not_in_it(listed: Folder) -> None:
    from_prices(listed).to_csv(listed.path / "prices.csv")
    assert "currency" not in build_risk_model(load(listed.path)).source
    listed.cell("holdings.csv", "TSM", "currency", "TWD")
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "0.03", "2026-11-20"]])

    assert build_risk_model(load(listed.path)).source.endswith("; currency moves are not in it (TWD)")


def test_a_broken_price_history_is_not_also_called_missing(listed: Folder) -> None:
    history = from_prices(listed)
    history.loc[history.index[3], "NVDA"] = -1
    history.to_csv(listed.path / "prices.csv")

    (only,) = told(listed)

    assert only.startswith("prices.csv:5 NVDA: must be above 0 (got '-1.0')")


def test_broken_rates_are_not_also_called_missing(listed: Folder) -> None:
    listed.cell("holdings.csv", "TSM", "currency", "TWD")
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "-0.03", "2026-11-20"]])

    (only,) = told(listed)

    assert only.startswith("fx.csv:2 rate: must be above 0 (got '-0.03')")
