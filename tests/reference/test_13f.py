"""A real portfolio runs: the positions of a 13F filing in the names whose price history is at hand.

Positions, prices (value / shares, both share classes of Alphabet summed) and value are the filing's, of 2021-09-30. The
history ends in 2018 and is used as it is. Invented here, and said so: the cash, and the scenario returns, by the rule
of `scenario_returns`.
"""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

Run = Callable[..., Result]
NAMESPACE = "{http://www.sec.gov/edgar/document/thirteenf/informationtable}"
TICKERS = {  # issuer as filed -> column of the price history
    "ACCENTURE PLC IRELAND": "ACN",
    "ADOBE SYSTEMS INCORPORATED": "ADBE",
    "ALPHABET INC": "GOOGL",
    "AMAZON COM INC": "AMZN",
    "APPLE INC": "AAPL",
    "CISCO SYS INC": "CSCO",
    "EATON CORP PLC": "ETN",
    "EQUINIX INC": "EQIX",
    "FACEBOOK INC": "FB",
    "INTEL CORP": "INTC",
    "INTERNATIONAL BUSINESS MACHS": "IBM",
    "LAM RESEARCH CORP": "LRCX",
    "MICRON TECHNOLOGY INC": "MU",
    "MICROSOFT CORP": "MSFT",
    "NVIDIA CORPORATION": "NVDA",
    "ORACLE CORP": "ORCL",
    "QUALCOMM INC": "QCOM",
    "SALESFORCE COM INC": "CRM",
}
COMMISSION = 2e-4
SETTINGS = """[book]
name = "13F of 2021-09-30"
currency = "USD"
as_of = 2021-09-30

[scenarios.as_before]
probability = 0.5
[scenarios.flat]
probability = 0.3
[scenarios.fall]
probability = 0.2

[risk]
source = "prices"
window_rows = 1258              # the whole history
periods_per_year = 252
blanks = "drop_rows"            # ORCL has two
max_age_days = 1400             # the prices end three and a half years before the filing

[mandate]
risk_aversion = 1.0
max_weight = 0.10
max_turnover = 0.20
min_cash = 0.01

[robust]
set = "total_variation"
radius = 0.1

[costs]
commission_bps = 2.0
"""


@dataclass(frozen=True)
class Position:
    """Shares held and the price that the filing values them at."""

    shares: float
    price: float


def filed(path: Path) -> list[tuple[str, float, float]]:
    """Issuer, value and shares of every row in shares (SH, not PRN)."""
    rows = []
    for row in ET.fromstring(path.read_text(encoding="utf-8").strip()):
        found = {part.tag.removeprefix(NAMESPACE): (part.text or "").strip() for part in row.iter()}
        if found["sshPrnamtType"] == "SH":
            rows.append((found["nameOfIssuer"], float(found["value"]), float(found["sshPrnamt"])))
    return rows


def positions(path: Path) -> dict[str, Position]:
    shares = dict.fromkeys(TICKERS.values(), 0.0)
    values = dict(shares)
    for issuer, value, count in filed(path):
        if ticker := TICKERS.get(issuer):
            shares[ticker] += count
            values[ticker] += value
    return {ticker: Position(shares[ticker], round(values[ticker] / shares[ticker], 4)) for ticker in shares}


def scenario_returns(history: pd.DataFrame) -> pd.DataFrame:
    """Over a year, illustrative: each name's mean return so far, nothing, and minus 20 % for one of beta."""
    returns = history.dropna().pct_change().dropna()
    market = returns.mean(axis=1)
    beta = returns.apply(lambda own: float(np.cov(own, market)[0, 1] / market.var()))
    return pd.DataFrame({"as_before": returns.mean() * 252, "flat": 0.0, "fall": -0.20 * beta}).round(6)


def make_book(folder: Path, held: dict[str, Position], history: pd.DataFrame, cash: float) -> None:
    """Write the book as its user would: tables and settings, nothing of ours in between."""
    folder.mkdir()
    names = list(held)
    (folder / "book.toml").write_text(SETTINGS, encoding="utf-8")
    history[names].to_csv(folder / "prices.csv")
    expected = scenario_returns(history[names])
    expected.loc["USD"] = 0.01
    expected.rename_axis("instrument").to_csv(folder / "scenario_returns.csv")
    with (folder / "holdings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["account", "instrument", "quantity", "price", "currency"])
        writer.writerows(["fund", name, held[name].shares, held[name].price, "USD"] for name in names)
        writer.writerow(["fund", "USD", cash, 1, "USD"])
    with (folder / "exposures.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["instrument", "name", "issuer", "bucket", "source"])
        issuers = {ticker: issuer for issuer, ticker in TICKERS.items()}
        writer.writerows([name, issuers[name].title(), issuers[name], "neutral", "13F"] for name in names)
        writer.writerow(["USD", "US dollar", "Cash", "cash", "13F"])


@pytest.fixture(scope="module")
def held(reference: Path) -> dict[str, Position]:
    return positions(reference / "sec13f" / "13F-HR.infotable.xml")


@pytest.fixture(scope="module")
def history(reference: Path) -> pd.DataFrame:
    path = reference / "prices" / "sp500_ai_subset_close_2013_2018.csv"
    return pd.read_csv(path, index_col="date")


def test_the_filing_is_the_one_that_is_meant(reference: Path, held: dict[str, Position]) -> None:
    rows = filed(reference / "sec13f" / "13F-HR.infotable.xml")

    assert len([row for row in rows if row[0] == "ALPHABET INC"]) == 2
    assert {issuer for issuer, _, _ in rows} >= set(TICKERS)
    assert held["GOOGL"].shares == 643 + 130
    assert held["AAPL"] == Position(58_228, round(8_239_330 / 58_228, 4))


def test_a_real_portfolio_is_checked_and_rebalanced_under_its_rules(
    held: dict[str, Position], history: pd.DataFrame, run: Run, tmp_path: Path
) -> None:
    cash = 8_500_000.0
    make_book(tmp_path / "book", held, history, cash)
    value = cash + sum(position.shares * position.price for position in held.values())
    before = {name: position.shares * position.price / value for name, position in held.items()}
    assert sorted(name for name, weight in before.items() if weight > 0.10) == ["AAPL", "MSFT"]

    checked = run("check", tmp_path / "book", "--json")
    answer = run("rebalance", tmp_path / "book", "--out", tmp_path / "plan")

    assert checked.exit_code == 0, checked.stdout
    document = json.loads(checked.stdout)
    assert [rule["rule"] for rule in document["rules"] if not rule["holds_today"]] == [
        "AAPL at most 10%", "MSFT at most 10%"
    ]  # fmt: skip
    assert "1256 returns to 2018-02-07, 2 rows with blanks left out" in document["risk_source"]
    assert answer.exit_code == 0, answer.stderr
    shares = {name: position.shares for name, position in held.items()}
    money, sold, bought, sides = cash, 0.0, 0.0, []
    for order in csv.DictReader((tmp_path / "plan" / "orders.csv").read_text(encoding="utf-8").splitlines()):
        name, units = order["instrument"], float(order["quantity"])
        assert units == int(units) > 0
        assert float(order["price"]) == held[name].price
        worth = units * held[name].price
        sides.append(order["side"])
        if order["side"] == "sell":
            assert units <= shares[name]
            shares[name] -= units
            sold += worth
            money += worth * (1 - COMMISSION)
        else:
            shares[name] += units
            bought += worth
            money -= worth * (1 + COMMISSION)
        assert float(order["value"]) == pytest.approx(worth, abs=0.01)
    after = money + sum(shares[name] * held[name].price for name in shares)
    weights = {name: shares[name] * held[name].price / after for name in shares}

    assert sides == sorted(sides, reverse=True)
    assert {"sell", "buy"} == set(sides)
    assert max(weights.values()) <= 0.10 + 1e-9
    assert max(sold, bought) / value <= 0.20 + 1e-9
    assert money / after >= 0.01 - 1e-9
    assert min(shares.values()) >= 0
    assert after == pytest.approx(value - COMMISSION * (sold + bought))
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text(encoding="utf-8"))
    assert {row["instrument"]: row["weight_after"] for row in plan["positions"]} == pytest.approx(
        weights | {"USD": money / after}, abs=1e-8
    )


def test_without_the_cash_cap_and_turnover_conflict_and_say_so(
    held: dict[str, Position], history: pd.DataFrame, run: Run, tmp_path: Path
) -> None:
    make_book(tmp_path / "book", held, history, 1_000.0)
    value = 1_000 + sum(position.shares * position.price for position in held.values())
    too_much = sum(max(position.shares * position.price / value - 0.10, 0) for position in held.values())
    assert too_much > 0.20  # it cannot be: that much must be sold

    answer = run("rebalance", tmp_path / "book", "--json", "--out", tmp_path / "plan")

    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["exit_code"]) == (4, 4)
    assert {"AAPL at most 10%", "turnover at most 20%"} <= set(document["rules"])
    assert document["fixes"]
    assert not (tmp_path / "plan").exists()


def test_a_blank_in_the_history_is_refused_without_a_rule_for_it(
    held: dict[str, Position], history: pd.DataFrame, run: Run, tmp_path: Path
) -> None:
    make_book(tmp_path / "book", held, history, 8_500_000.0)

    answer = run("check", tmp_path / "book", "--json", "--set", "risk.blanks=refuse")

    (breach,) = json.loads(answer.stdout)["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["column"]) == ("prices.csv", "ORCL")
    assert breach["rule"] == "is blank on 2013-07-15 and 1 more day"
    assert 'risk.blanks = "drop_rows"' in breach["cure"]
