"""The smallest book that a manager can write, what it has by default, and what it is refused for."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

import allocator
from allocator.__main__ import main
from allocator.errors import BadInput
from tests.command_line import runner

TOML = """\
[book]
name = "Mine"
currency = "USD"
as_of = 2026-11-20

[scenarios]
good.probability = 0.6
bad.probability = 0.4

[mandate]
max_weight = 0.6
"""
TABLES = {
    "holdings.csv": "instrument,quantity,price\nNVDA,100,180\nMETA,20,600\nUSD,10000,1\n",
    "exposures.csv": "instrument,bucket\nNVDA,capital_intensity\nMETA,efficiency\n",
    "scenario_returns.csv": "instrument,good,bad\ncapital_intensity,0.3,-0.3\nefficiency,0.2,-0.1\n",
}
FULL = {
    "holdings.csv": "account,instrument,quantity,price,currency,lot_size\n"
    "main,NVDA,100,180,USD,1\nmain,META,20,600,USD,1\nmain,USD,10000,1,USD,1\n",
    "exposures.csv": "instrument,name,issuer,bucket,source,required_return\n"
    "NVDA,NVDA,NVDA,capital_intensity,me,\nMETA,META,META,efficiency,me,\nUSD,USD,USD,cash,me,0\n",
    "scenario_returns.csv": "instrument,good,bad\nNVDA,0.3,-0.3\nMETA,0.2,-0.1\nUSD,0,0\n",
}


def written(folder: Path, tables: dict[str, str], toml: str = TOML) -> Path:
    for name, text in {**tables, "book.toml": toml}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(*arguments: str) -> Result:
    return runner().invoke(main, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})


def refused(folder: Path, changed: dict[str, str] | None = None, toml: str = TOML) -> str:
    with pytest.raises(BadInput) as caught:
        allocator.load(written(folder, TABLES | (changed or {}), toml))
    return str(caught.value)


def test_the_smallest_book_plans_what_the_same_book_plans_with_everything_written(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "full").mkdir()
    small = allocator.load(written(tmp_path / "small", TABLES))
    full = allocator.load(written(tmp_path / "full", FULL))

    assert (small.account, small.cash_instrument, small.cash) == ("main", "USD", 10000.0)
    plans = [allocator.orders_frame(allocator.rebalance(book)) for book in (small, full)]
    pd.testing.assert_frame_equal(*plans)
    # 0.08 a year of META against 0.06 of NVDA: META to its cap, NVDA with the rest, 20 shares and -12 of whole lots
    assert list(plans[0]["quantity"]) == [12, 20]


def test_every_command_answers_to_the_smallest_book(tmp_path: Path) -> None:
    book = str(written(tmp_path, TABLES))

    for command in ("check", "returns", "rebalance", "explain", "stress", "outlook"):
        assert run(command, book).exit_code == 0, command
    for command, words in {
        "beliefs": "add [question]", "implied": "use a book with a [model]", "waiting": "add dates to horizon.reviews"
    }.items():  # fmt: skip
        said = run(command, book)
        assert (said.exit_code, words in " ".join(said.stderr.split())) == (3, True), command


def test_check_says_in_a_line_each_what_was_left_out(tmp_path: Path) -> None:
    shown = run("check", str(written(tmp_path, TABLES))).stdout

    assert "risk: left out within scenarios, as the book has no [risk]" in shown
    assert "cash: USD returns nothing, as no row of it and no required_return says more" in shown


def test_an_account_without_a_row_of_cash_has_none_and_check_says_so(tmp_path: Path) -> None:
    folder = written(tmp_path, TABLES | {"holdings.csv": TABLES["holdings.csv"].replace("USD,10000,1\n", "")})

    assert allocator.load(folder).cash == 0
    assert "cash: none is held; a row of USD in holdings.csv would say how much" in run("check", str(folder)).stdout


def test_cash_by_default_is_not_asked_what_it_requires(tmp_path: Path) -> None:
    said = refused(tmp_path, toml=f"{TOML}\n[horizon]\nuntil = 2027-11-20\nreviews = [2027-02-20]\n")

    assert "exposures.csv: rows 2 and 3 required_return: is needed with reviews for NVDA and META" in said


def test_a_row_of_a_name_goes_before_that_of_its_bucket(tmp_path: Path) -> None:
    more = "NVDA,0.5,-0.5\ncash,0.02,0.02\n"
    changed = {"scenario_returns.csv": TABLES["scenario_returns.csv"] + more}
    returns = allocator.load(written(tmp_path, TABLES | changed)).scenario_returns

    np.testing.assert_array_equal(returns.loc[["NVDA", "META", "USD"]], [[0.5, -0.5], [0.2, -0.1], [0.02, 0.02]])


def test_cash_by_default_returns_nothing_beside_names_that_state_what_they_require(tmp_path: Path) -> None:
    exposures = "instrument,bucket,required_return\nNVDA,capital_intensity,0.13\nMETA,efficiency,0.1\n"
    book = allocator.load(written(tmp_path, TABLES | {"exposures.csv": exposures}))

    assert book.cash_required_return == 0.0
    assert not allocator.build_outlook(book).cash_returns.any()


def test_an_instrument_that_is_called_like_a_bucket_is_the_instrument(tmp_path: Path) -> None:
    tables = {name: text.replace("META", "efficiency") for name, text in TABLES.items()}
    tables["exposures.csv"] += "GOOGL,efficiency\n"
    tables["holdings.csv"] += "GOOGL,0,200\n"

    assert "scenario_returns.csv instrument: has no row here (got 'GOOGL'); add its row" in refused(tmp_path, tables)


def test_a_bucket_without_returns_is_refused_with_both_cures(tmp_path: Path) -> None:
    said = refused(tmp_path, {"scenario_returns.csv": "instrument,good,bad\nefficiency,0.2,-0.1\n"})

    assert "instrument: has no row here (got 'NVDA'); add its row, or one of its bucket capital_intensity" in said


def test_a_misspelt_bucket_in_the_returns_is_refused_with_the_nearest(tmp_path: Path) -> None:
    said = refused(
        tmp_path, {"scenario_returns.csv": TABLES["scenario_returns.csv"].replace("efficiency", "eficiency")}
    )

    assert "is not in exposures.csv (got 'eficiency'); did you mean 'efficiency'?" in said


def test_an_instrument_twice_without_accounts_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, {"holdings.csv": TABLES["holdings.csv"] + "NVDA,50,180\n"})

    assert "holdings.csv:5 instrument: must be unique (got 'NVDA')" in said
    assert "write quantity 150 in row 2 and remove row 5" in said


def test_a_debit_of_cash_by_default_is_no_short_position(tmp_path: Path) -> None:
    said = refused(tmp_path, {"holdings.csv": TABLES["holdings.csv"].replace("USD,10000", "USD,-500")})

    assert "is a debit of cash (got '-500'); write 0 and pay the 500 in, or sell first" in said


@pytest.mark.parametrize(
    "key",
    ["max_volatility = 0.2", "max_tracking_error = 0.1", "risk_aversion = 2.0", 'objective = "minimum_variance"'],
)
def test_what_asks_for_risk_within_scenarios_wants_a_source_of_it(tmp_path: Path, key: str) -> None:
    said = refused(tmp_path, toml=f"{TOML}{key}\n")

    assert "asks for risk within scenarios, and the book has no [risk]" in said
    assert "add [risk] with the source that it comes from, or remove the key" in said
    none = refused(tmp_path, toml=f'{TOML}{key}\n[risk]\nsource = "none"\n')
    assert "asks for risk within scenarios, and risk.source is none" in none
    assert "choose another risk.source, or remove the key" in none


def test_columns_of_risk_are_not_left_aside_in_silence(tmp_path: Path) -> None:
    own = "instrument,bucket,beta,idiosyncratic_volatility\nNVDA,capital_intensity,1.5,0.3\nMETA,efficiency,1.1,0.2\n"
    said = refused(tmp_path, {"exposures.csv": own})
    aside = allocator.load(written(tmp_path, TABLES | {"exposures.csv": own}, f'{TOML}\n[risk]\nsource = "none"\n'))

    assert "book.toml risk: must be stated, because exposures.csv has beta and idiosyncratic_volatility" in said
    assert not allocator.build_outlook(aside).risk.variances.any()


def sixty_forty(**changed: Any) -> allocator.Book:
    etfs = pd.DataFrame({"weight": [0.6, 0.4], "bucket": ["neutral", "neutral"]}, index=["VTI", "BND"])
    stated: dict[str, Any] = {
        "buckets": etfs["bucket"],
        "returns": {"VTI": {"growth": 0.12, "slump": -0.2}, "BND": {"growth": 0.03, "slump": 0.05}},
        "probabilities": {"growth": 0.7, "slump": 0.3},
        "mandate": {"max_weight": 0.7},
        "as_of": dt.date(2026, 11, 20),
    }
    return allocator.from_weights(changed.pop("weights", etfs["weight"]), **(stated | changed))


def test_a_frame_of_two_lines_is_a_book_that_plans() -> None:
    book = sixty_forty()
    plan = allocator.rebalance(book)

    np.testing.assert_allclose(book.weights, [0.6, 0.4], atol=1e-12)
    # BND returns .036 and VTI .024: BND to its cap
    np.testing.assert_allclose(allocator.weights_frame(plan)["after"].iloc[:2], [0.3, 0.7], atol=1e-6)


def test_weights_leave_the_rest_in_cash_and_may_be_of_names_not_held() -> None:
    book = sixty_forty(weights={"VTI": 0.25}, value=2000.0, currency="EUR")

    assert (book.cash_instrument, book.cash, book.value) == ("EUR", 1500.0, 2000.0)
    np.testing.assert_allclose(book.weights, [0.25, 0.0])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"weights": {"VTI": 60, "BND": 40}},
            "must be fractions from 0 to 1, of at most 1 together, and come to 100",
        ),
        ({"weights": {"VTI": 0.5, "BND": -0.1}}, "correct BND (-0.1); 60 % is 0.6"),
        ({"weights": {"VTI": np.nan, "BND": 0.1}}, "correct VTI"),
        ({"weights": {"VTI": "six"}}, "weights: must be a number for each name, and is 'six' for VTI"),
        ({"weights": pd.DataFrame({"weight": [0.6]}, index=["VTI"])}, "weights: are a DataFrame, and no mapping"),
        ({"weights": pd.Series([0.5, 0.2], index=["VTI", "VTI"])}, "weights: names this twice (got 'VTI')"),
        ({"probabilities": {"growth": None, "slump": 0.3}}, "probabilities: must be a number for each name"),
        ({"returns": [0.1, 0.2]}, "returns: are a list"),
        ({"value": 0.0}, "value: must be an amount above 0, and is 0"),
        ({"value": np.inf}, "value: must be an amount above 0, and is inf"),
        ({"weights": {"VTI": 0.6, "BDN": 0.4}}, "is not in exposures (got 'BDN'); did you mean 'BND'?"),
        ({"buckets": {"VTI": "neutral"}}, "is not in exposures (got 'BND')"),
        ({"buckets": {"VTI": "neutral", "BND": "bonds"}}, "must be one of"),
        ({"returns": {"VTI": {"growth": 0.1, "slump": 0.0}}}, "has no row here (got 'BND')"),
        ({"probabilities": {"growth": 0.7}}, "probabilities must sum to 1"),
        ({"mandate": {"max_wieght": 0.7}}, "did you mean"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_words(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        sixty_forty(**changed)

    assert words in str(caught.value)


def test_cents_that_rounding_spends_are_no_debit() -> None:
    own = {"AAA": 2 / 3, "BBB": 1 / 6, "CCC": 1 / 6}  # 666,666.67 and twice 166,666.67
    book = sixty_forty(
        weights=own, buckets=dict.fromkeys(own, "neutral"), returns={"neutral": {"growth": 0.1, "slump": -0.1}}
    )

    assert (book.cash, book.value) == (0.0, pytest.approx(1_000_000.0))
    np.testing.assert_allclose(book.weights, list(own.values()), atol=1e-7)


def test_labels_of_ones_own_are_the_buckets_of_a_book_of_weights() -> None:
    book = sixty_forty(buckets={"VTI": "equity", "BND": "bonds"}, mandate={"buckets": {"bonds": {"max": 0.2}}})

    assert book.settings.buckets.names == ["equity", "bonds"]
    assert allocator.rebalance(book).after.buckets["bonds"] == pytest.approx(0.2, abs=1e-6)


def test_a_name_that_is_labelled_cash_is_the_cash_of_a_book_of_weights() -> None:
    book = sixty_forty(weights={"VTI": 0.25, "SHV": 0.5}, buckets={"VTI": "neutral", "BND": "neutral", "SHV": "cash"})

    assert (book.cash_instrument, book.cash) == ("SHV", 750_000.0)


def test_no_zero_of_a_document_has_a_sign_whichever_way_it_was_rounded(tmp_path: Path) -> None:
    one = {
        "holdings.csv": "instrument,quantity,price\nNVDA,100,180\n",
        "exposures.csv": "instrument,bucket\nNVDA,capital_intensity\n",
        "scenario_returns.csv": "instrument,good,bad\ncapital_intensity,0.3,-0.3\n",
    }
    book, out = str(written(tmp_path, one)), tmp_path / "out"

    printed = run("rebalance", book, "--out", str(out), "--json").stdout + run("stress", book, "--json").stdout

    assert re.search(r"\b0\.0\b", printed)
    assert not re.search(r"-0\.0\b(?!\d)", printed + (out / "plan.json").read_text(encoding="utf-8"))
