"""`book.at(date)`: what was known by then, as a book that is loaded on that day from what there was; nothing later."""

from __future__ import annotations

import datetime as dt
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import allocator
from allocator.book.book import Book
from allocator.errors import BadInput
from allocator.outlook.outlook import build_outlook
from tests.books import CASH, NAMES, book

DAYS = pd.bdate_range(end="2026-11-19", periods=90)
EARLIER = DAYS[69].date()
RISK = {"source": "prices", "window_rows": 30, "periods_per_year": 252.0, "after_as_of": "cut"}


def prices(days: pd.DatetimeIndex = DAYS) -> pd.DataFrame:
    walked = np.cumsum(np.random.default_rng(73).normal(0, 0.02, (len(days), len(NAMES))), axis=0)
    frame = pd.DataFrame(100 * np.exp(walked - walked[-1]), columns=list(NAMES))
    frame.insert(0, "date", days)
    return frame


def priced(frame: pd.DataFrame, *, quantity: float = 10.0, settings: Any = None, **risk: Any) -> Book:
    return book({"risk": {**RISK, **risk}, **(settings or {})}, prices=frame, quantity=quantity)


def refusals(make: Callable[[], object]) -> list[str]:
    with pytest.raises(BadInput) as refused:
        make()
    return [str(breach) for breach in refused.value.breaches]


def same(one: Book, other: Book) -> bool:
    arrays = ("quantities", "prices", "quoted_prices", "lot_sizes")
    frames = ("exposures", "signals", "price_history", "scenario_returns")
    return (
        one.settings == other.settings
        and one.cash == other.cash
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and all(
            (getattr(one, name) is None) == (getattr(other, name) is None)
            and (getattr(one, name) is None or getattr(one, name).equals(getattr(other, name)))
            for name in frames
        )
    )


def test_a_book_on_its_own_day_is_itself(root: Path) -> None:
    for name in ("listed", "note", "reviewed", "approval"):
        loaded = allocator.load(root / "data" / name)
        assert same(loaded.at(loaded.settings.book.as_of), loaded), name


@pytest.mark.parametrize(("name", "day"), [("note", dt.date(2026, 8, 15)), ("approval", dt.date(2026, 9, 30))])
def test_an_earlier_book_is_the_one_that_would_have_been_loaded_then(
    root: Path, tmp_path: Path, name: str, day: dt.date
) -> None:
    folder = shutil.copytree(root / "data" / name, tmp_path / name)
    header, *rows = (folder / "signals.csv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if row[:10] <= day.isoformat()]
    assert len(kept) < len(rows)
    replayed = allocator.load(folder).at(day)
    (folder / "signals.csv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    if not kept:
        (folder / "signals.csv").unlink()
    loaded = allocator.load(folder, as_of=day)

    assert replayed.settings == loaded.settings
    assert np.array_equal(build_outlook(replayed).probabilities, build_outlook(loaded).probabilities)
    assert np.array_equal(build_outlook(replayed).returns, build_outlook(loaded).returns)


def test_nothing_that_is_dated_later_is_in_it_or_moves_it() -> None:
    frame = prices()
    spiked = frame.copy()
    spiked.loc[spiked["date"] > pd.Timestamp(EARLIER), "BBB"] *= 1.4
    then, other = priced(frame).at(EARLIER), priced(frame).at(EARLIER, prices=spiked)
    assert same(then, other)
    assert then.settings.book.as_of == EARLIER
    assert then.price_history is not None
    assert then.price_history.index[-1] == DAYS[69]
    assert np.array_equal(then.prices, frame[[*NAMES]].iloc[69].to_numpy())
    assert np.array_equal(then.quantities, [10.0] * 4)  # what is held is said, and not dated


def test_the_book_that_is_asked_stays_as_it_is() -> None:
    before = priced(prices())
    before.at(EARLIER, holdings={"AAA": 1.0})
    assert before.settings.book.as_of == dt.date(2026, 11, 20)
    assert len(before.price_history if before.price_history is not None else ()) == 90
    assert before.quantities[1] == 10.0


def test_holdings_are_units_by_name_and_what_is_not_said_is_none() -> None:
    then = priced(prices()).at(EARLIER, holdings={"BBB": 3.5, CASH: 250.0})
    assert then.quantities.tolist() == [0.0, 3.5, 0.0, 0.0]
    assert then.cash == 250.0
    assert then.value == pytest.approx(250.0 + 3.5 * then.prices[1], abs=1e-9)


def test_a_name_without_a_price_yet_is_not_bought_and_has_no_risk() -> None:
    frame = prices()
    frame.loc[frame["date"] <= DAYS[62], "CCC"] = np.nan
    now = priced(frame, late_listings="shorten_window", window_rows=21, max_age_days=40)
    then = now.at(DAYS[60].date(), holdings={"AAA": 10.0, CASH: 5000.0})
    outlook = build_outlook(then)
    assert then.untraded.tolist() == [False, False, True, False]
    assert "CCC" in then.settings.mandate.locked
    assert outlook.risk.variances[2] == 0
    without = frame.drop(columns="CCC").iloc[39:61, 1:].to_numpy()
    moves = without[1:] / without[:-1] - 1
    assert np.trace(np.cov(moves.T, bias=True)) * 252 == pytest.approx(outlook.risk.variances.sum(), rel=1e-9)
    plan = allocator.rebalance(then)
    assert plan.final.values[2] == 0
    assert all(order.instrument != "CCC" for order in plan.orders)


def test_what_is_held_must_have_a_price_by_then() -> None:
    frame = prices()
    frame.loc[frame["date"] <= pd.Timestamp(EARLIER), "CCC"] = np.nan
    frame.loc[frame["date"] > DAYS[30], "DDD"] = np.nan
    told = refusals(
        lambda: book(prices=frame, settings={"risk": {"source": "exposures", "market_volatility": 0.2}}).at(EARLIER)
    )
    assert told == [
        "prices CCC: has no price by 2026-10-22, and it is held; give one, or holdings without it",
        "prices DDD: has its last price on 2026-08-28, 55 days before 2026-10-22; give one, or holdings without it; or "
        "raise risk.max_age_days above 31",
    ]  # fmt: skip


def test_a_long_history_may_list_a_name_later() -> None:
    frame = prices()
    frame.loc[frame["date"] <= pd.Timestamp(EARLIER), "CCC"] = np.nan
    long = frame.melt("date", var_name="instrument", value_name="price").dropna()
    now = book({"risk": {"source": "exposures", "market_volatility": 0.2}}, prices=long, quantity=0.0, cash=5000.0)
    assert now.at(EARLIER).untraded.tolist() == [False, False, True, False]
    assert same(now.at(EARLIER), now.at(EARLIER, prices=frame))


def test_a_day_before_all_prices_is_refused() -> None:
    (told,) = refusals(lambda: priced(prices()).at(dt.date(2026, 1, 5)))[:1]
    assert told == "prices date: has no row by 2026-01-05; give prices of earlier days, or ask for a later one"


@pytest.mark.parametrize("date", ["2026-10-22", pd.NaT, 20261022])
def test_what_is_no_date_is_refused_as_such(date: Any) -> None:
    (told,) = refusals(lambda: priced(prices()).at(date))
    assert told == f"date: is no date (got '{date}'); give for example datetime.date(2026, 11, 20)"
    then = priced(prices())
    assert same(then.at(pd.Timestamp(EARLIER)), then.at(EARLIER))


def test_every_error_of_all_that_is_given_comes_at_once() -> None:
    bad = prices().assign(AAA=-1.0)
    told = refusals(lambda: priced(prices()).at(EARLIER, prices=bad, holdings={"AAB": 1.0, "BBB": -2.0}))
    assert any("AAA" in line and "must be above 0" in line for line in told)
    assert any("AAB" in line and "did you mean 'AAA'" in line for line in told)
    assert any("holdings BBB: must be a finite number, 0 or more (got '-2')" in line for line in told)
    told = refusals(lambda: priced(prices()).at(EARLIER, prices=prices().drop(columns="DDD"), holdings={"AAA": 1.0}))
    assert any("prices DDD: has no column here; add it" in line for line in told)


def test_a_view_of_today_is_no_view_of_an_earlier_day(root: Path) -> None:
    now = allocator.load(root / "data" / "note", overrides=["believe.generalizable=0.7"])
    (told,) = refusals(lambda: now.at(dt.date(2026, 9, 1)))
    cure = "leave it out of a book that is asked of that day"
    assert told == f"book.toml believe: is of 2026-11-20, and nobody knew it on 2026-09-01; {cure}"
    assert now.at(dt.date(2026, 12, 1)).settings.believe == now.settings.believe


def test_market_probabilities_of_a_later_day_are_refused(root: Path) -> None:
    (told,) = refusals(lambda: allocator.load(root / "data" / "listed").at(dt.date(2026, 9, 1)))
    assert told.startswith("book.toml market.date: is after as_of = 2026-09-01")


def refused_doubts(frame: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """The entries that confirm what is in doubt."""
    with pytest.raises(BadInput) as refused:
        priced(frame)
    return [
        tomllib.loads(one.confirm.replace('""', '"a test"'))["confirm"] for one in refused.value.breaches if one.confirm
    ]


def test_improbable_prices_are_refused_where_they_are_seen_and_confirmations_of_later_ones_are_kept() -> None:
    frame = prices()
    frame.loc[frame["date"] > DAYS[80], "BBB"] *= 10
    entries = [entry for one in refused_doubts(frame) for entry in one]
    now = priced(frame, settings={"confirm": entries})
    assert now.at(EARLIER).prices[1] == frame["BBB"][69]
    unconfirmed = priced(prices())
    told = refusals(lambda: unconfirmed.at(dt.date(2026, 11, 20), prices=frame))
    assert any("BBB" in line and "confirm it" in line for line in told)


def test_signals_of_ones_own_replace_those_of_the_book(root: Path) -> None:
    now = allocator.load(root / "data" / "note")
    assert now.signals is not None
    first = now.signals.iloc[:1].assign(date=pd.Timestamp("2026-06-30"), usage_growth=0.05)
    then = now.at(dt.date(2026, 9, 1), signals=first)
    assert then.signals is not None
    assert then.signals["date"].tolist() == [pd.Timestamp("2026-06-30")]
    assert not np.array_equal(
        build_outlook(then).probabilities, build_outlook(now.at(dt.date(2026, 9, 1))).probabilities
    )


def test_rates_of_exchange_stay_those_of_the_book_even_where_nothing_has_a_price() -> None:
    frame = prices()
    frame.loc[frame["date"] <= DAYS[40], "CCC"] = np.nan
    held = pd.DataFrame({"account": "main", "instrument": [*NAMES, CASH], "quantity": [10.0, 10.0, 0.0, 10.0, 5000.0],
                         "price": [100.0] * 4 + [1.0], "currency": ["USD", "USD", "EUR", "USD", "USD"]})  # fmt: skip
    fx = pd.DataFrame({"currency": ["EUR"], "rate": [1.1], "date": [pd.Timestamp("2026-11-19")]})
    now = book({"risk": {"source": "exposures", "market_volatility": 0.2}}, prices=frame, holdings=held, fx=fx)
    before = now.at(DAYS[39].date())
    assert before.untraded[2]
    for then in (now.at(EARLIER), before.at(EARLIER, prices=frame)):
        assert then.prices[2] == pytest.approx(1.1 * frame["CCC"][69], rel=1e-15)
