"""What is right in each situation, computed here by other means, and what the command answers."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import ledoit_wolf

from allocator import load
from allocator.outlook.risk_model import build_risk_model

Ask = Callable[..., Any]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.DictReader(opened))


def targets(mean: np.ndarray, covariance: np.ndarray, aversion: float, cash_return: float) -> np.ndarray:
    """The weights of max μ'w + r(1 - Σw) - γ w'Σw over w ≥ 0, Σw ≤ 1."""
    weights = cp.Variable(len(mean), nonneg=True)
    gain = mean @ weights + cash_return * (1 - cp.sum(weights)) - aversion * cp.quad_form(weights, covariance)
    cp.Problem(cp.Maximize(gain), [cp.sum(weights) <= 1]).solve(solver=cp.CLARABEL)
    return np.asarray(weights.value)


def single_index(exposures: list[dict[str, str]], market: float) -> np.ndarray:
    beta = np.array([float(row["beta"]) for row in exposures])
    own = np.array([float(row["idiosyncratic_volatility"]) for row in exposures])
    return np.outer(beta, beta) * market**2 + np.diag(own**2)


def test_01_an_unadjusted_split_is_refused_and_the_adjusted_history_buys_what_an_independent_program_says(
    answer: Ask, case: Ask
) -> None:
    refused = answer("01")
    assert refused.status == 3
    (error,) = refused.errors
    assert error["column"] == "AAA"
    assert "falls by 90% from one row to the next on 2026-08-28" in error["rule"]
    assert "adjust for the split: multiply the earlier prices by 0.1" in error["cure"]
    book = case("01", "adjusted")
    history = pd.read_csv(book / "prices.csv", index_col=0).tail(121)[["AAA", "BBB", "CCC"]]
    covariance = ledoit_wolf(history.pct_change().dropna().to_numpy())[0] * 252
    weights = cp.Variable(3, nonneg=True)
    cp.Problem(cp.Minimize(cp.quad_form(weights, covariance)), [cp.sum(weights) == 1]).solve(solver=cp.CLARABEL)
    planned = answer("01", "adjusted")
    assert planned.status == 0
    held = {"AAA": 100, "BBB": 100, "CCC": 100}
    for name, price, weight in zip(held, (50, 40, 30), np.asarray(weights.value), strict=True):
        after = held[name] + planned.orders.get(name, 0)
        assert abs(after * price - weight * 12_000) <= 2 * price, name
    assert planned.orders["AAA"] == 132


def test_01_following_the_cure_of_a_split_gives_a_plan(case: Ask, run: Ask) -> None:
    book = case("01")
    table = pd.read_csv(book / "prices.csv", index_col=0)
    table.loc[table.index < "2026-08-28", "AAA"] *= 0.1
    table.to_csv(book / "prices.csv")
    assert run("rebalance", book, "--json").exit_code == 0


def test_03_a_price_of_a_thousandth_of_its_history_is_refused(answer: Ask) -> None:
    refused = answer("03")
    assert refused.status == 3
    (error,) = refused.errors
    assert (error["table"], error["row"], error["column"], error["value"]) == ("holdings.csv", 4, "price", "0.03")
    assert "is a thousandth of its last price in prices.csv, 30 on 2026-11-20" in error["rule"]


def test_04_rows_without_weekends_are_not_annualised_by_365(answer: Ask, case: Ask) -> None:
    refused = answer("04")
    assert refused.status == 3
    assert refused.says("about 261 rows a year", "365", "risk.periods_per_year")
    used = pd.read_csv(case("04") / "prices.csv", index_col=0, parse_dates=True).dropna()
    per_year = (len(used) - 1) / (used.index[-1] - used.index[0]).days * 365.25
    assert per_year == pytest.approx(261, abs=1)
    assert answer("04", "book", "--set", "risk.periods_per_year=261").status == 0


@pytest.mark.parametrize(
    ("code", "major", "other"), [("GBp", "GBP", "GBX"), ("ZAc", "ZAR", "ZAC"), ("ILa", "ILS", "ILA")]
)
def test_05_a_price_in_hundredths_is_refused_with_both_ways_to_write_it(
    case: Ask, run: Ask, code: str, major: str, other: str
) -> None:
    book = case("05")
    text = (book / "holdings.csv").read_text(encoding="utf-8")
    (book / "holdings.csv").write_text(text.replace("GBp", code), encoding="utf-8")
    refused = run("check", book)
    assert refused.exit_code == 3
    assert f"divide the price by 100 and write {major}, or write {other}" in " ".join(refused.stderr.split())


def test_05_pence_with_their_own_rate_are_worth_what_pounds_are(answer: Ask, case: Ask) -> None:
    book = case("05", "as-GBX")
    (pence,) = [row for row in rows(book / "holdings.csv") if row["instrument"] == "LSE1"]
    (rate,) = [row for row in rows(book / "fx.csv") if row["currency"] == "GBX"]
    worth = Decimal(pence["quantity"]) * Decimal(pence["price"]) * Decimal(rate["rate"])
    loaded = load(book)
    assert loaded.quantities[loaded.instruments.index("LSE1")] * loaded.prices[
        loaded.instruments.index("LSE1")
    ] == pytest.approx(float(worth))
    assert float(worth) / loaded.value == pytest.approx(0.34, abs=0.005)
    assert answer("05", "as-GBX").status == 0


def test_06_two_lots_of_one_name_are_to_be_added_up(answer: Ask, case: Ask) -> None:
    refused = answer("06")
    assert refused.status == 3
    book = case("06")
    sums: dict[str, Decimal] = {}
    for row in rows(book / "holdings.csv"):
        sums[row["instrument"]] = sums.get(row["instrument"], Decimal(0)) + Decimal(row["quantity"])
    assert refused.says("add the lots up", f"write quantity {sums['LLG']} in row 2", "remove row 3")
    assert refused.says("add the lots up", f"write quantity {sums['LGS']} in row 4", "remove row 5")
    assert (sums["LLG"], sums["LGS"]) == (Decimal("14.269882"), Decimal("23.683049"))


def test_06_following_the_cure_keeps_the_value_of_the_account(case: Ask) -> None:
    book = case("06")
    held = rows(book / "holdings.csv")
    worth = sum(Decimal(row["quantity"]) * Decimal(row["price"]) for row in held)
    table = pd.read_csv(book / "holdings.csv", dtype=str)
    table.loc[0, "quantity"], table.loc[2, "quantity"] = "14.269882", "23.683049"
    table.drop(index=[1, 3]).to_csv(book / "holdings.csv", index=False)
    assert load(book).value == pytest.approx(float(worth), rel=1e-12)


def test_07_a_thousand_with_a_german_point_is_named_before_and_after_half_a_cure(answer: Ask) -> None:
    for book in ("book", "after-the-cures"):
        refused = answer("07", book)
        assert refused.status == 3, book
        (error,) = [one for one in refused.errors if one["value"] == "1.250"]
        assert (error["row"], error["column"]) == (3, "quantity")
        assert "1250" in error["cure"]
    assert len(answer("07").errors) == 5


def test_08_a_debit_of_cash_is_no_short_position(answer: Ask) -> None:
    refused = answer("08")
    assert refused.status == 3
    (error,) = refused.errors
    assert "short" not in error["rule"] + error["cure"]
    assert "write 0" in error["cure"]
    assert answer("08", "zero").status == 0


def test_10_tickers_beyond_the_alphabet_are_taken_as_they_are_written(answer: Ask, case: Ask) -> None:
    planned = answer("10")
    assert planned.status == 0
    names = [row["instrument"] for row in rows(case("10") / "holdings.csv")]
    assert [target["instrument"] for target in planned.document["positions"]] == names
    assert "贵州茅台" in planned.orders


def test_11_tickers_that_look_like_values_stay_text(answer: Ask, case: Ask) -> None:
    planned = answer("11")
    assert planned.status == 0
    names = [row["instrument"] for row in rows(case("11") / "holdings.csv")]
    assert [target["instrument"] for target in planned.document["positions"]] == names
    assert {"NA", "TRUE", "nan", "1E5", "00100", "None", "INF", "N/A"} <= set(names)


def test_12_a_preamble_and_a_footer_are_named_in_one_error(answer: Ask, case: Ask) -> None:
    refused = answer("12")
    assert refused.status == 3
    (error,) = refused.errors
    assert "the header seems to stand in row 7" in error["rule"]
    assert "remove rows 1 to 6" in error["cure"]
    lines = (case("12") / "holdings.csv").read_text(encoding="utf-8").splitlines()
    assert lines[6].startswith('"Ticker"')
    assert not lines[-1].startswith('"T5')


def test_13_byte_order_marks_and_carriage_returns_change_no_order(answer: Ask) -> None:
    marked, plain = answer("13"), answer("13", "plain")
    assert (marked.status, plain.status) == (0, 0)
    assert marked.orders == plain.orders


def test_14_a_short_position_is_refused_as_such(answer: Ask) -> None:
    refused = answer("14")
    assert refused.status == 3
    assert refused.says("long-only: short positions are refused")


def test_15_an_account_that_cannot_buy_one_share_has_nothing_to_do(answer: Ask) -> None:
    planned = answer("15")
    assert (planned.status, planned.orders) == (0, {})


def test_16_cash_is_spent_to_the_cent_on_the_best_of_all_pairs(answer: Ask, case: Ask) -> None:
    planned = answer("16")
    exposures = [row for row in rows(case("16") / "exposures.csv") if row["bucket"] != "cash"]
    covariance = single_index(exposures, 0.18)
    pairs = [(a, b) for a in range(11) for b in range(21) if 100 * a + 50 * b == 1000]
    variances = {pair: np.array([pair[0] * 100, pair[1] * 50]) / 1000 for pair in pairs}
    best = min(pairs, key=lambda pair: float(variances[pair] @ covariance @ variances[pair]))
    assert planned.status == 0
    assert planned.orders == {"AAA": best[0], "BBB": best[1]}


def test_17_what_lots_cannot_meet_is_said_with_fixes_that_work_and_the_digits_of_a_lot(answer: Ask) -> None:
    refused = answer("17")
    assert refused.status == 4
    assert "0.001 EUR" in refused.document["message"]
    assert "0.00 EUR" not in refused.document["message"]
    assert any("29.99%" in fix for fix in refused.document["fixes"])


def test_20_formulas_that_were_never_calculated_are_named_as_such(answer: Ask) -> None:
    refused = answer("20")
    assert refused.status == 3
    assert [error["value"] for error in refused.errors] == ["=4+6", "=80/2"]
    assert all("never calculated" in error["cure"] for error in refused.errors)


def test_23_an_hourly_history_is_told_to_be_one_row_a_day(answer: Ask) -> None:
    refused = answer("23")
    assert refused.status == 3
    assert refused.says("risk.periods_per_year", "one row a day", "365")
    assert refused.says("prices.csv", "of several rows a day the last")


def test_24_a_holiday_on_the_first_row_is_a_row_with_a_blank_like_any_other(answer: Ask, case: Ask) -> None:
    planned, book = answer("24"), case("24")
    assert planned.status == 0
    names = ["TSM", "ALV.DE", "SAP.DE"]
    history = pd.read_csv(book / "prices.csv", index_col=0, parse_dates=True)[names].tail(61).dropna()
    covariance = ledoit_wolf(history.pct_change().dropna().to_numpy())[0] * 252
    risk = build_risk_model(load(book))
    assert risk.loadings @ risk.loadings.T + np.diag(risk.specific) == pytest.approx(covariance, rel=1e-9)


def test_25_a_daily_or_percent_covariance_is_refused_and_the_annual_one_planned(answer: Ask, case: Ask) -> None:
    refused = answer("25")
    assert refused.status == 3
    assert refused.says("volatilities from 1.26% to 1.89% a year", "is it daily? multiply by 252")
    assert answer("25", "percent").status == 3
    planned = answer("25", "annual")
    assert planned.status == 0
    table = pd.read_csv(case("25", "annual") / "covariance.csv", index_col=0).to_numpy()
    mean = np.array([0.6 * up - 0.4 * 0.05 for up in (0.1, 0.11, 0.12)])
    weights = targets(mean, table, 2.0, 0.02)
    held = {target["instrument"]: target["weight_target"] for target in planned.document["positions"]}
    assert [held[name] for name in ("AAA", "BBB", "CCC")] == pytest.approx(weights, abs=1e-5)
    assert weights == pytest.approx([0.088, 0.038, 0.102], abs=5e-4)


def test_26_floors_of_names_with_a_point_are_kept_by_their_own_formulas(answer: Ask, case: Ask) -> None:
    planned = answer("26")
    assert planned.status == 0
    held = {
        row["instrument"]: (float(row["quantity"]), float(row["price"])) for row in rows(case("26") / "holdings.csv")
    }
    after = {name: (quantity + planned.orders.get(name, 0)) * price for name, (quantity, price) in held.items()}
    after["USD"] -= sum(quantity * held[name][1] for name, quantity in planned.orders.items())
    for name in ("BRK.B", "BF.B", "NCC-B.ST"):
        assert after[name] / sum(after.values()) >= 0.02


def test_28_two_share_classes_alike_are_held_alike_in_any_order_of_rows(answer: Ask, case: Ask, run: Ask) -> None:
    planned, book = answer("28"), case("28")
    held = {target["instrument"]: target["weight_target"] for target in planned.document["positions"]}
    assert held["GOOG"] == pytest.approx(held["GOOGL"], abs=1e-6)
    for table in ("holdings.csv", "exposures.csv", "scenario_returns.csv"):
        header, first, second, *rest = (book / table).read_text(encoding="utf-8").splitlines()
        (book / table).write_text("\n".join([header, second, first, *rest]) + "\n", encoding="utf-8")
    turned = json.loads(run("rebalance", book, "--json").stdout)
    after = {one["instrument"]: one["quantity_after"] for one in planned.document["positions"]}
    assert {one["instrument"]: one["quantity_after"] for one in turned["positions"]} == after
    assert after["GOOG"] == after["GOOGL"]


def test_29_a_benchmark_in_percent_is_refused_with_the_fraction(answer: Ask) -> None:
    refused = answer("29")
    assert refused.status == 3
    assert refused.says("benchmark.csv", "weight", "write 12 % as 0.12")


def test_30_dates_as_people_write_them_are_refused_with_the_form(answer: Ask) -> None:
    refused = answer("30")
    assert refused.status == 3
    assert refused.says("prices.csv", "date", "write dates as 2026-11-20")


def test_32_a_rounded_covariance_is_told_how_many_digits_it_needs(answer: Ask, case: Ask) -> None:
    refused = answer("32")
    assert refused.status == 3
    assert refused.says("rounded to 4 decimals", "down to -0.00015", "write at least 10 decimals")
    table = pd.read_csv(case("32") / "covariance.csv", index_col=0).to_numpy()
    assert -3 * 0.5e-4 < float(np.linalg.eigvalsh(table)[0]) < 0


def test_34_an_order_of_exactly_the_smallest_size_is_allowed(answer: Ask) -> None:
    planned = answer("34")
    assert planned.status == 0
    assert planned.orders == {"AAA": -10, "BBB": 10}


def test_35_one_name_and_cash_is_the_closed_form(answer: Ask) -> None:
    planned = answer("35")
    mean, cash = 0.6 * 0.2 - 0.4 * 0.1, 0.02
    variance, aversion = 0.18**2 + 0.2**2, 2.0
    best = (mean - cash) / (2 * aversion * variance)
    value = {shares: (mean - cash) * (w := shares * 100 / 6000) - aversion * variance * w**2 for shares in range(61)}
    (target,) = [one for one in planned.document["positions"] if one["instrument"] == "ACWI"]
    assert target["weight_target"] == pytest.approx(best, abs=1e-6)
    assert planned.orders == {"ACWI": max(value, key=value.__getitem__) - 10}


def test_38_turnover_and_cash_that_conflict_are_told_by_how_much(answer: Ask) -> None:
    refused = answer("38")
    assert refused.status == 4
    fixes = " | ".join(refused.document["fixes"])
    assert "70%" in fixes
    assert "90%" in fixes


def test_39_sixty_forty_to_the_letter_is_told_what_whole_shares_can_do_and_bands_do_it(
    answer: Ask, case: Ask, run: Ask
) -> None:
    refused = answer("39")
    assert refused.status == 4
    worth = Decimal("30") * Decimal("291.37") + Decimal("40") * Decimal("73.11") + Decimal("812.5")
    near = [
        (a, b)
        for a, b in itertools.product(range(60), range(180))
        if a * Decimal("291.37") + b * Decimal("73.11") <= worth
    ]
    exact = [(a, b) for a, b in near if a * Decimal("291.37") / worth == Decimal("0.6")]
    assert not exact
    assert refused.document["fixes"]

    book = case("39")
    text = (book / "book.toml").read_text(encoding="utf-8")
    for name, target in (("VTI", 0.6), ("BND", 0.4)):
        stated = f"[mandate.weights.{name}]\nmin = {target}\nmax = {target}"
        assert stated in text
        text = text.replace(stated, f'[mandate.bands.{name}]\ntarget = {target}\nwidth = 0.02\nto = "target"')
    (book / "book.toml").write_text(text, encoding="utf-8")
    document = json.loads(run("rebalance", book, "--json").stdout)
    after = {row["instrument"]: row["quantity_after"] for row in document["positions"]}
    prices = np.array([291.37, 73.11])
    wanted = np.array([0.6, 0.4]) * float(worth)
    nearest = min(near, key=lambda pair: float(np.abs(pair * prices - wanted).sum()))
    assert (after["VTI"], after["BND"]) == nearest == (26, 67)


def test_40_a_column_of_another_program_is_to_be_renamed(answer: Ask) -> None:
    refused = answer("40")
    assert refused.status == 3
    (error,) = refused.errors
    assert (error["column"], error["cure"]) == ("symbol", "rename it to instrument")


def test_41_of_two_accounts_one_must_be_named_and_each_alone_works(answer: Ask, case: Ask) -> None:
    refused = answer("41")
    assert refused.status == 3
    assert refused.says("holds 2 accounts", "--account")
    for account in {row["account"] for row in rows(case("41") / "holdings.csv")}:
        assert answer("41", "book", "--account", account).status == 0


def test_42_new_money_buys_alone_and_what_an_independent_program_would_buy(answer: Ask, case: Ask) -> None:
    planned, book = answer("42"), case("42")
    assert planned.status == 0
    held = {row["instrument"]: (float(row["quantity"]), float(row["price"])) for row in rows(book / "holdings.csv")}
    names = [name for name in held if name != "USD"]
    value = sum(quantity * price for quantity, price in held.values())
    covariance = single_index([row for row in rows(book / "exposures.csv") if row["instrument"] != "USD"], 0.18)
    before = np.array([held[name][0] * held[name][1] / value for name in names])
    weights = cp.Variable(len(names))
    rules = [weights >= before, cp.sum(weights) <= 1, cp.sum(weights) >= 0.98]
    cp.Problem(cp.Minimize(cp.quad_form(weights, covariance)), rules).solve(solver=cp.CLARABEL)

    assert all(lots > 0 for lots in planned.orders.values())
    prices = np.array([held[name][1] for name in names])
    bought = np.array([planned.orders.get(name, 0.0) for name in names])
    wanted = (weights.value - before) * value / prices
    assert bought == pytest.approx(wanted, abs=4)  # the least variance of whole lots is not always the next to these
    whole = np.array(list(itertools.product(*zip(np.floor(wanted), np.ceil(wanted), strict=True))))
    rounded = before + whole * prices / value
    kept = rounded[(rounded.sum(axis=1) >= 0.98) & (rounded.sum(axis=1) <= 1)]
    assert len(kept)
    after = before + bought * prices / value
    assert after @ covariance @ after <= np.min(np.sum(kept @ covariance * kept, axis=1)) + 1e-5  # lots.gap_bps


def test_43_the_same_bytes_come_of_other_threads_hash_seeds_and_zones(root: Path) -> None:
    surroundings = (
        {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "12345", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
    )
    command = [sys.executable, "cli.py", "rebalance", "tests/plain_books/listed", "--json"]
    documents = {
        subprocess.run(command, cwd=root, env={**os.environ, **extra}, capture_output=True, check=True).stdout
        for extra in surroundings
    }
    assert len(documents) == 1


def test_51_a_rate_the_other_way_round_is_refused_with_the_right_one(answer: Ask) -> None:
    refused = answer("51")
    assert refused.status == 3
    (error,) = refused.errors
    assert error["table"] == "fx.csv"
    assert "1 JPY = 155.2 USD" in error["rule"]
    assert "did you mean 0.006443?" in error["cure"]
    planned = answer("51", "right")
    assert planned.status == 0
    assert planned.document["book"]["value"] == pytest.approx(39_686, abs=1)
