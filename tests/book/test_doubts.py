"""Doubts: what is possible and improbable is refused until it is confirmed in writing, and clean data raises none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from allocator import load
from allocator.book.checks.draft import Doubt, unconfirmed
from allocator.book.doubts.doubts import MINOR_UNITS, plausible_rates, rate_doubts, rate_ranges
from allocator.book.doubts.prices import PriceTable, price_doubts
from allocator.book.price_history import spacing_breach
from allocator.errors import BadInput
from allocator.settings.settings import Confirmation
from tests.conftest import Folder
from tests.golden_books import write_book
from tests.thoroughness import count

TABLE = PriceTable()
DAYS = pd.bdate_range("2024-01-01", periods=260)


def history(names: int = 4, seed: int = 1, rows: int = 260) -> pd.DataFrame:
    """Clean daily closes, of 1 to 2 % a day."""
    draw = np.random.default_rng(seed)
    moves = 1 + draw.normal(0.0003, draw.uniform(0.01, 0.02, names), (rows, names))
    closes = 100 * np.cumprod(moves, axis=0)
    return pd.DataFrame(closes, index=DAYS[:rows], columns=[f"N{i}" for i in range(names)])


def raised(prices: pd.DataFrame) -> list[tuple[str, str | None, dt.date | None]]:
    return [(doubt.kind, doubt.name, doubt.date) for doubt in price_doubts(prices, TABLE)]


def test_clean_histories_raise_no_doubt() -> None:
    assert not [doubt for seed in range(count(300, 10)) for doubt in raised(history(seed=seed))]


@pytest.mark.parametrize("shares", [2, 3, 4, 5, 8, 10, 15, 20, 25, 50, 100, 7, 30, 1000])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_split_that_is_not_adjusted_is_doubted_on_its_day(shares: int, reverse: bool) -> None:
    prices = history()
    prices.iloc[150:, 1] *= shares if reverse else 1 / shares
    assert raised(prices) == [("jump", "N1", DAYS[150].date())]


@pytest.mark.parametrize(("shares", "move"), [(15, 1.04), (15, 0.96), (100, 1.03), (20, 0.97), (2, 1.04)])
def test_the_cure_of_a_split_is_its_own_ratio_and_not_the_one_of_that_day(shares: int, move: float) -> None:
    prices = history()
    prices.iloc[150:, 1] *= prices.iloc[149, 1] / prices.iloc[150, 1] * move / shares

    (doubt,) = price_doubts(prices, TABLE)

    assert doubt.cure == f"adjust for the split: multiply the earlier prices by {1 / shares:.6g}"


def test_a_split_on_the_last_row_is_doubted_too() -> None:
    prices = history()
    prices.iloc[-1:, 1] /= 10
    assert raised(prices) == [("jump", "N1", DAYS[-1].date())]


@pytest.mark.parametrize("factor", [0.5, 0.05, 1.6, 10.0, 0.55])
@pytest.mark.parametrize("length", [1, 2])
def test_a_print_that_the_next_rows_take_back_is_doubted(factor: float, length: int) -> None:
    prices = history()
    prices.iloc[100 : 100 + length, 2] *= factor
    assert raised(prices) == [("spike", "N2", DAYS[100].date())]


def test_a_true_fall_and_a_true_rise_that_stay_are_not_doubted() -> None:
    prices = history()
    prices.iloc[80:, 0] *= 0.57  # no ratio of a split
    prices.iloc[90:, 1] *= 1.53
    assert raised(prices) == []


def test_ten_equal_closes_while_others_move_are_a_name_that_nobody_quotes() -> None:
    prices = history()
    prices.iloc[40:50, 3] = prices.iloc[40, 3]
    assert raised(prices) == [("stale", "N3", DAYS[40].date())]
    prices = history()
    prices.iloc[40:49, 3] = prices.iloc[40, 3]
    assert raised(prices) == []


def test_equal_closes_of_all_names_are_not_doubted_of_each() -> None:
    prices = history()
    prices.iloc[40:52] = prices.iloc[40].to_numpy()
    assert raised(prices) == []


def test_weekly_closes_carried_through_daily_rows_are_another_clock() -> None:
    prices = history()
    prices["N3"] = prices["N3"].iloc[::5].reindex(prices.index).ffill()
    assert ("clock", "N3", None) in raised(prices)


def test_a_gap_of_weeks_in_daily_rows_is_doubted() -> None:
    prices = history()
    prices = prices.drop(prices.index[100:130])
    assert raised(prices) == [("gap", None, DAYS[130].date())]


def test_a_gap_is_counted_out_of_the_rows_a_year() -> None:
    """Else one that is confirmed would be refused as rows of another clock, and a host's fold as well."""
    daily = DAYS.delete(range(60, 200))
    assert not list(spacing_breach(daily, 252.0, "prices.csv"))
    assert list(spacing_breach(daily[::5], 252.0, "prices.csv"))
    assert not list(spacing_breach(DAYS[::5], 52.0, "prices.csv"))


def test_daily_rows_after_weekly_rows_are_two_clocks() -> None:
    prices = history(rows=250)
    weekly = pd.bdate_range(end=DAYS[0] - pd.Timedelta(days=3), periods=80, freq="W-FRI")
    before = pd.DataFrame(prices.iloc[:80].to_numpy(), index=weekly, columns=prices.columns)
    assert ("clock", None, None) in raised(pd.concat([before, prices]))


def test_real_histories_raise_at_most_three_doubts_and_each_is_listed_and_confirmed(
    reference: Path, root: Path
) -> None:
    files = ("pypfopt/stock_prices.csv", "riskfolio/stock_prices.csv", "prices/sp500_ai_subset_close_2013_2018.csv")
    found: list[Doubt] = []
    series = 0
    for name in files:
        table = pd.read_csv(reference / name, index_col=0, parse_dates=True)
        series += table.shape[1]
        found += price_doubts(table, TABLE)
    assert series == 60
    assert [doubt.key for doubt in found] == [("prices", "jump", "AAPL", dt.date(2000, 9, 29))]
    told = (root / "docs" / "data.md").read_text(encoding="utf-8")
    assert found[0].entry().partition("\nwhy")[0] in told
    entry = Confirmation(table="prices", kind="jump", name="AAPL", date=dt.date(2000, 9, 29), why="profit warning")
    assert not list(unconfirmed(found, [entry]))


def test_random_clean_books_raise_no_doubt(tmp_path: Path) -> None:
    for seed in range(count(300, 10)):
        folder = tmp_path / str(seed)
        write_book(folder, seed)
        assert load(folder).instruments


def test_sample_books_raise_no_doubt(root: Path) -> None:
    for name in ("listed", "note", "reviewed"):
        assert load(root / "tests" / "plain_books" / name).instruments


def test_every_rate_of_a_currency_is_plausible_and_its_inverse_is_not() -> None:
    for code, known in rate_ranges().items():
        if code in MINOR_UNITS or code == "USD":
            continue
        middle = (known.lowest * known.highest) ** 0.5
        rates = pd.DataFrame({"currency": [code], "rate": [middle]}, index=[2])
        assert not list(rate_doubts("USD", rates, "fx.csv")), code
        plausible = plausible_rates(code, "USD")
        assert plausible is not None
        if not plausible.lowest <= 1 / middle <= plausible.highest:
            turned = pd.DataFrame({"currency": [code], "rate": [1 / middle]}, index=[2])
            (doubt,) = rate_doubts("USD", turned, "fx.csv")
            assert f"1 {code} = " in doubt.rule


@pytest.mark.parametrize(
    ("home", "currency", "rate", "words"),
    [
        ("USD", "JPY", 155.2, "did you mean 0.006443? This one is the other way round"),
        ("EUR", "JPY", 0.62, "did you mean 0.0062? This one is per 100"),
        ("USD", "GBX", 1.27, "did you mean 0.0127? This one is per 100"),
        ("JPY", "USD", 0.0064, "did you mean 156.2? This one is the other way round"),
    ],
)
def test_a_rate_in_another_form_is_refused_with_the_rate_that_was_meant(
    home: str, currency: str, rate: float, words: str
) -> None:
    (doubt,) = rate_doubts(home, pd.DataFrame({"currency": [currency], "rate": [rate]}, index=[2]), "fx.csv")
    assert words in doubt.cure


def test_the_ranges_of_rates_are_of_every_major_currency_and_say_where_they_are_from(root: Path) -> None:
    table = pd.read_csv(root / "data" / "fx_ranges.csv", keep_default_na=False)
    assert {"USD", "EUR", "JPY", "GBP", "CHF", "CNY", "INR", "KRW", "BRL", "ZAR", "AUD", "ILS"} <= set(
        table["currency"]
    )
    assert (table["lowest_usd"] > 0).all()
    assert (table["lowest_usd"] < table["highest_usd"]).all()
    assert table["source"].str.len().min() > 10


def spoil_price(listed: Folder, factor: float) -> str:
    """The first instrument of the book, with a price history that ends at `factor` times its price."""
    header, *body = listed.rows("holdings.csv")
    name, price = body[0][header.index("instrument")], float(body[0][header.index("price")])
    names = [row[header.index("instrument")] for row in body if row[header.index("instrument")] != "USD"]
    own = {row[header.index("instrument")]: float(row[header.index("price")]) for row in body}
    days = [day.date().isoformat() for day in pd.bdate_range(end="2026-11-20", periods=3)]
    rows = [[day, *(own[one] * (factor if one == name else 1.0) for one in names)] for day in days]
    listed.write("prices.csv", [["date", *names], *rows])
    assert price > 0
    return name


@pytest.mark.parametrize(
    ("factor", "doubted"), [(1.0, False), (1.45, False), (1.55, True), (0.6, True), (1000.0, True)]
)
def test_a_price_that_its_history_does_not_know_is_doubted_and_can_be_confirmed(
    listed: Folder, factor: float, doubted: bool
) -> None:
    name = spoil_price(listed, factor)
    if not doubted:
        load(listed.path)
        return
    with pytest.raises(BadInput) as refused:
        load(listed.path)
    (breach,) = refused.value.breaches
    assert "its last price in prices.csv" in breach.rule
    assert breach.confirm is not None
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    entry = breach.confirm.replace('why = ""', 'why = "two share classes"')
    (listed.path / "book.toml").write_text(f"{text}\n{entry}\n", encoding="utf-8")
    assert name in load(listed.path).instruments


def test_a_confirmation_of_what_is_not_in_doubt_is_an_error(listed: Folder) -> None:
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    entry = '[[confirm]]\ntable = "holdings"\nkind = "level"\nname = "NVDA"\nwhy = "so it is"\n'
    (listed.path / "book.toml").write_text(f"{text}\n{entry}", encoding="utf-8")
    with pytest.raises(BadInput, match="confirms what is not in doubt"):
        load(listed.path)


def test_a_confirmation_without_a_reason_is_refused(listed: Folder) -> None:
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    entry = '[[confirm]]\ntable = "holdings"\nkind = "level"\nname = "NVDA"\nwhy = " "\n'
    (listed.path / "book.toml").write_text(f"{text}\n{entry}", encoding="utf-8")
    with pytest.raises(BadInput, match=r"confirm\.0\.why"):
        load(listed.path)


def test_the_screen_gives_the_entry_that_confirms_a_doubt(listed: Folder, run: Callable[..., Result]) -> None:
    name = spoil_price(listed, 2.0)
    refused = run("check", listed.path)
    assert refused.exit_code == 3
    assert f'[[confirm]]\ntable = "holdings"\nkind = "level"\nname = "{name}"\nwhy = ""' in refused.stderr
