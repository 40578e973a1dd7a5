"""Cut-off, window, blanks and late listings: each refused with its text, or applied by a named rule and said so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.book.price_history import FEWEST_ROWS, ReturnHistory
from allocator.book.price_history import historical_returns as returns_of
from allocator.errors import BadInput
from allocator.outlook.risk_model import build_risk_model
from tests.books import NAMES, book

DAYS = pd.bdate_range(end="2026-11-19", periods=60)


def prices(names: tuple[str, ...] = NAMES, days: pd.DatetimeIndex = DAYS) -> pd.DataFrame:
    draw = np.random.default_rng(73)
    moves = draw.normal(0, 0.02, (len(days), len(names)))
    walked = np.cumsum(moves, axis=0)
    frame = pd.DataFrame(100 * np.exp(walked - walked[-1]), columns=list(names))  # the price of the holdings
    frame.insert(0, "date", days)
    return frame


def held(
    frame: pd.DataFrame, *, window: int = 40, names: tuple[str, ...] = NAMES, as_of: Any = None, **risk: Any
) -> Book:
    settings: dict[str, Any] = {
        "risk": {"source": "prices", "window_rows": window, "periods_per_year": 252.0, **risk},
    }
    if as_of is not None:
        settings["book"] = {"name": "test", "currency": "USD", "as_of": as_of}
    last = frame.set_index("date").ffill().iloc[-1] if "date" in frame and names != NAMES else None
    return book(settings, names=names, returns={"base": [0.05] * len(names)}, quoted=last, prices=frame)


def historical_returns(book: Book) -> ReturnHistory:
    assert book.price_history is not None
    return returns_of(book.settings, book.price_history)


def refusals(make: Callable[[], Book]) -> list[str]:
    with pytest.raises(BadInput) as refused:
        make()
    assert refused.value.exit_code == 3
    return [str(breach) for breach in refused.value.breaches]


def test_the_window_is_counted_back_from_the_day_the_book_speaks() -> None:
    frame = prices()
    history = historical_returns(held(frame))
    last = frame.drop(columns="date").to_numpy()[-41:]

    np.testing.assert_allclose(history.returns, last[1:] / last[:-1] - 1)
    assert history.fully_listed.all()
    assert history.words == "40 returns to 2026-11-19"


def test_rows_in_any_order_and_a_long_table_are_the_same_history() -> None:
    frame = prices()
    straight = historical_returns(held(frame)).returns
    long = frame.melt("date", var_name="instrument", value_name="price").sample(frac=1, random_state=1)

    np.testing.assert_array_equal(historical_returns(held(frame.sample(frac=1, random_state=2))).returns, straight)
    np.testing.assert_array_equal(historical_returns(held(long)).returns, straight)
    np.testing.assert_array_equal(
        historical_returns(held(frame[["date", "DDD", "BBB", "AAA", "CCC"]])).returns, straight
    )


def test_later_rows_are_cut_off_only_by_the_rule_that_says_so() -> None:
    day = DAYS[49].date()
    history = historical_returns(held(prices(), as_of=day, after_as_of="cut"))

    np.testing.assert_array_equal(
        history.returns, historical_returns(held(prices(days=DAYS).iloc[:50], as_of=day)).returns
    )
    assert history.words == f"40 returns to {day}, 10 later rows cut"
    with pytest.raises(BadInput, match=r"is after as_of = .* \(10 rows are\)"):
        held(prices(), as_of=day)


def test_a_window_longer_than_the_history_is_refused() -> None:
    (said,) = refusals(lambda: held(prices(), window=60))

    assert said == (
        "prices.csv risk.window_rows: 60 returns need 61 prices up to 2026-11-20; there are 60; "
        "shorten the window or lengthen the history"
    )


def test_a_window_of_exactly_the_history_is_used_whole() -> None:
    assert historical_returns(held(prices(), window=59)).returns.shape == (59, 4)


def test_blanks_are_refused_with_their_day_and_number() -> None:
    frame = prices()
    frame.loc[30, "BBB"] = np.nan
    frame.loc[[40, 41, 42], "DDD"] = np.nan
    said = refusals(lambda: held(frame))

    assert said == [
        f'prices.csv BBB: is blank on {DAYS[30].date()}; correct it, or set risk.blanks = "drop_rows" to leave out '
        "those days",
        f'prices.csv DDD: is blank on {DAYS[40].date()} and 2 more days; correct it, or set risk.blanks = "drop_rows" '
        "to leave out those days",
    ]


def test_blanks_before_the_window_do_not_matter() -> None:
    frame = prices()
    frame.loc[5, "BBB"] = np.nan

    assert historical_returns(held(frame)).words == "40 returns to 2026-11-19"


def test_blanks_leave_out_the_whole_row_where_the_rule_says_so() -> None:
    frame = prices()
    frame.loc[30, "BBB"] = np.nan
    frame.loc[40, "DDD"] = np.nan
    history = historical_returns(held(frame, blanks="drop_rows"))
    kept = frame.drop(index=[30, 40]).drop(columns="date").to_numpy()[-39:]

    np.testing.assert_allclose(history.returns, kept[1:] / kept[:-1] - 1)
    assert history.words == "38 returns to 2026-11-19, 2 rows with blanks left out"


def test_too_few_rows_left_after_the_blanks_are_refused() -> None:
    frame = prices()
    frame.loc[21:40, "BBB"] = np.nan
    (said,) = refusals(lambda: held(frame, blanks="drop_rows", window=39))

    assert FEWEST_ROWS == 20
    assert said == "prices.csv risk.window_rows: only 19 returns are left; at least 20 are needed"


def test_late_listings_are_refused_with_their_first_day() -> None:
    frame = prices()
    frame.loc[:24, "CCC"] = np.nan
    frame["DDD"] = np.nan
    said = refusals(lambda: held(frame))

    assert said == [
        f"prices.csv CCC: has no price before {DAYS[25].date()}; shorten risk.window_rows, or set risk.late_listings = "
        '"shorten_window" or "beta"',
        "prices.csv DDD: has no price before as_of; shorten risk.window_rows, or set risk.late_listings = "
        '"shorten_window" or "beta"',
    ]


def test_a_listing_before_the_window_is_not_late() -> None:
    frame = prices()
    frame.loc[:18, "CCC"] = np.nan

    assert historical_returns(held(frame)).fully_listed.all()


def test_the_window_starts_with_the_last_listing_where_the_rule_says_so() -> None:
    frame = prices()
    frame.loc[:24, "CCC"] = np.nan
    history = historical_returns(held(frame, late_listings="shorten_window"))
    kept = frame.drop(columns="date").to_numpy()[25:]

    np.testing.assert_allclose(history.returns, kept[1:] / kept[:-1] - 1)
    assert history.fully_listed.all()
    assert history.words == f"34 returns to 2026-11-19, window starts {DAYS[25].date()} with the last listing"


def test_a_name_that_was_never_priced_cannot_start_a_window() -> None:
    frame = prices()
    frame["DDD"] = np.nan
    said = refusals(lambda: held(frame, late_listings="shorten_window"))

    assert said == ['prices.csv DDD: has no price at all before as_of; set risk.late_listings = "beta"']


def test_a_window_shortened_too_far_is_refused() -> None:
    frame = prices()
    frame.loc[:44, "CCC"] = np.nan
    (said,) = refusals(lambda: held(frame, late_listings="shorten_window"))

    assert said == "prices.csv risk.window_rows: only 14 returns are left; at least 20 are needed"


def test_late_listings_by_beta_leave_the_others_their_whole_window() -> None:
    frame = prices()
    frame.loc[:24, "CCC"] = np.nan
    history = historical_returns(held(frame, late_listings="beta", market_volatility=0.2))

    assert list(history.fully_listed) == [True, True, False, True]
    assert history.returns.shape == (40, 3)


def test_blanks_of_a_late_listing_by_beta_are_nobodys_business() -> None:
    frame = prices()
    frame.loc[:24, "CCC"] = np.nan
    frame.loc[30, "CCC"] = np.nan

    assert historical_returns(held(frame, late_listings="beta", market_volatility=0.2)).returns.shape == (40, 3)


def test_when_nobody_has_a_full_history_it_is_said() -> None:
    frame = prices()
    frame.loc[:24, list(NAMES)] = np.nan
    frame.loc[:20, "AAA"] = np.nan
    said = refusals(lambda: held(frame, late_listings="beta", market_volatility=0.2))

    assert said == ['prices.csv risk.source: no instrument has a full history; set risk.source = "exposures"']


def test_every_breach_of_a_history_is_said_at_once() -> None:
    frame = prices()
    frame.loc[30, "AAA"] = np.nan
    frame.loc[:24, "CCC"] = np.nan

    assert len(refusals(lambda: held(frame, window=59))) == 2
    assert len(refusals(lambda: held(frame, window=100))) == 3


def test_the_two_blanks_of_a_published_history_are_refused_or_left_out(reference: Path) -> None:
    frame = pd.read_csv(reference / "prices" / "sp500_ai_subset_close_2013_2018.csv", parse_dates=["date"])
    names = tuple(frame.columns[1:])
    assert (len(names), int(frame.isna().sum().sum())) == (29, 2)

    def of(**risk: Any) -> Book:
        return held(frame, window=len(frame) - 1, names=names, as_of=frame["date"].max().date(), **risk)

    assert refusals(of) == [
        'prices.csv ORCL: is blank on 2013-07-15 and 1 more day; correct it, or set risk.blanks = "drop_rows" to leave '
        "out those days"
    ]
    history = historical_returns(of(blanks="drop_rows"))
    assert history.returns.shape == (len(frame) - 3, 29)
    assert history.words.endswith(", 2 rows with blanks left out")
    column = list(names).index("FB")
    moved = frame.dropna().set_index("date")["FB"].pct_change().dropna()
    np.testing.assert_allclose(history.returns[:, column], moved)
    assert moved["2013-07-25"] == pytest.approx(0.296, abs=0.001)


def test_published_late_listings_are_refused_or_priced_by_beta(reference: Path) -> None:
    frame = pd.read_csv(reference / "pypfopt" / "stock_prices.csv", parse_dates=["date"])
    names = tuple(frame.columns[1:])
    day = frame["date"].max().date()

    said = refusals(lambda: held(frame, window=2000, names=names, as_of=day))
    assert [text.split()[1] for text in said] == ["FB:", "BABA:", "GM:"]
    assert "has no price before 2012-05-18" in said[0]
    assert "has no price before 2014-09-19" in said[1]

    risk = build_risk_model(
        held(frame, window=2000, names=names, as_of=day, late_listings="beta", market_volatility=0.2)
    )
    assert risk.source.endswith("; by beta, for want of history: FB, BABA, GM")
    assert risk.source.startswith("Ledoit-Wolf")
    full = risk.loadings @ risk.loadings.T + np.diag(risk.specific)
    assert np.linalg.eigvalsh(full)[0] > 0
    for name in ("FB", "BABA", "GM"):
        at = list(names).index(name)
        assert full[at, at] == pytest.approx(0.2**2 + 0.2**2)

    shortened = historical_returns(held(frame, window=2000, names=names, as_of=day, late_listings="shorten_window"))
    assert shortened.returns.shape == (895, 20)
    assert "window starts 2014-09-19 with the last listing" in shortened.words
