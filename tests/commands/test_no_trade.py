"""`allocator rebalance` on books where trading does not pay: said plainly, exit 0, and no order leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result
from jsonschema import Draft202012Validator

OBJECTIVE = "Objective (certainty equivalent, under adverse probabilities)"

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
HEADER = "account,as_of,side,instrument,name,quantity,price,currency,value,cost,book_currency,plan_sha256\n"
EDGE = ("--set", "mandate.max_turnover=0.3", "--set", "robust.radius=0.05", "--set", "trading.min_gain_bps=0")
DEAR = (*EDGE, "--set", "costs.ticket=2000")


@pytest.fixture
def settled(listed: Folder, run: Run) -> Folder:
    """The listed book as its own plan leaves it: every rule holds, and nothing is left to gain."""
    plan = json.loads(run("rebalance", listed.path, "--json").stdout)
    for row in plan["positions"]:
        listed.cell("holdings.csv", row["instrument"], "quantity", repr(row["quantity_after"]))
    return listed


def test_a_small_edge_is_not_traded_for_dear_tickets(settled: Folder, run: Run) -> None:
    out = settled.path.parent / "plans"

    cheap = run("rebalance", settled.path, *EDGE)
    answer = run("rebalance", settled.path, *DEAR, "--out", out)

    assert (cheap.exit_code, answer.exit_code) == (0, 0)
    assert f"Recommended. {OBJECTIVE}: +" in " ".join(cheap.stdout.split())
    said = " ".join(answer.stdout.split())
    assert f"No trade. {OBJECTIVE}: -" in said
    assert "% of them. Wanted: more than 0 bps (trading.min_gain_bps)." in said
    assert "today's holdings keep all" in said
    assert "side instrument" not in said
    assert "side instrument" in " ".join(cheap.stdout.split())
    assert max(map(len, answer.stdout.splitlines())) <= 80
    assert (out / "orders.csv").read_text(encoding="utf-8") == HEADER


def test_the_document_of_a_plan_that_holds_agrees_with_itself(settled: Folder, run: Run, root: Path) -> None:
    trade = json.loads(run("rebalance", settled.path, *EDGE, "--json").stdout)
    hold = json.loads(run("rebalance", settled.path, *DEAR, "--json").stdout)

    assert (trade["decision"]["verdict"], hold["decision"]["verdict"]) == ("recommended", "no trade")
    assert trade["orders"]
    assert hold["orders"] == []
    assert hold["decision"]["orders"] == len(trade["orders"])
    assert hold["decision"]["tickets"] == 2000 * len(trade["orders"])
    lost = 2000 * len(trade["orders"]) / hold["proof"]["value"] * 1e4
    assert hold["decision"]["gain_bps"] == pytest.approx(trade["decision"]["gain_bps"] - lost, abs=2e-4)
    proof = hold["proof"]
    assert set(proof["after"]["bought"]) == set(proof["after"]["sold"]) == {0}
    assert proof["after"]["holdings"] == pytest.approx(proof["before"]["holdings"], abs=1e-15)
    assert proof["after"]["cash"] == pytest.approx(proof["before"]["cash"], abs=1e-15)
    assert proof["target"] == trade["proof"]["target"]
    assert hold["figures"]["after"] == hold["figures"]["before"]
    assert hold["figures"]["target"] == trade["figures"]["target"]
    assert hold["rounding_bps"] == trade["rounding_bps"]
    for row in hold["positions"]:
        assert row["quantity_after"] == row["quantity_before"]
    _fits_the_schema(hold, root)
    _fits_the_schema(trade, root)


def _fits_the_schema(document: dict[str, Any], root: Path) -> None:
    schema = json.loads((root / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
    for part in ("positions", "orders", "decision", "certificate"):
        assert part in schema["required"]
        Draft202012Validator(schema["properties"][part]).validate(document[part])


def test_more_may_be_wanted_than_there_is(settled: Folder, run: Run) -> None:
    answer = run("rebalance", settled.path, *EDGE, "--set", "trading.min_gain_bps=500")

    said = " ".join(answer.stdout.split())
    assert answer.exit_code == 0
    assert f"No trade. {OBJECTIVE}: +4." in said
    assert "Wanted: more than 500 bps" in said
    assert "insure" not in said


def test_an_insurance_that_few_beliefs_pay_for_is_left_with_a_word_on_how_to_take_it(settled: Folder, run: Run) -> None:
    wider = ("--set", "mandate.max_turnover=0.3", "--set", "robust.radius=0.3")
    left = run("rebalance", settled.path, *wider, "--set", "trading.min_share=0.5")
    taken = run("rebalance", settled.path, *wider)

    said = " ".join(left.stdout.split())
    assert (left.exit_code, taken.exit_code) == (0, 0)
    assert "It would insure against adverse probabilities: to take it, lower trading.min_share." in said
    assert "positive for at least 50% of sampled inputs (trading.min_share)." in said
    assert f"Recommended. {OBJECTIVE}: +8" in " ".join(taken.stdout.split())


def test_a_trade_that_few_beliefs_pay_for_is_called_an_insurance(settled: Folder, run: Run) -> None:
    answer = run("rebalance", settled.path, "--set", "mandate.max_turnover=0.3", "--set", "robust.radius=0.3")

    said = " ".join(answer.stdout.split())
    assert "It insures: it pays under adverse probabilities, and costs in most sampled inputs." in said
    median = re.search(r", median (-[0-9.]+), positive for ([0-9]+)% of them\.", said)
    assert median is not None
    assert float(median[1]) < 0
    assert int(median[2]) < 50


def test_what_holding_forgoes_is_explained(settled: Folder, run: Run, root: Path) -> None:
    wanted = (*EDGE, "--set", "trading.min_gain_bps=500")
    trade = json.loads(run("rebalance", settled.path, *EDGE, "--json").stdout)

    page = run("explain", settled.path, *wanted)
    told = json.loads(run("explain", settled.path, *wanted, "--json").stdout)

    assert page.exit_code == 0
    assert f"No trade. {OBJECTIVE}: +4." in " ".join(page.stdout.split())
    assert "Forgone without trade: bps of the account" in " ".join(page.stdout.split())
    assert "today's holdings are the plan" not in " ".join(page.stdout.split())
    assert told["verdict"] == "no trade"
    assert [order["instrument"] for order in told["attribution"]["orders"]] == [
        order["instrument"] for order in trade["orders"]
    ]
    schema = json.loads((root / "schemas" / "explain.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(told)


def test_a_book_that_breaks_a_rule_trades_whatever_it_gains(listed: Folder, run: Run) -> None:
    answer = run("rebalance", listed.path, "--set", "trading.min_gain_bps=1000", "--set", "costs.ticket=500")

    said = " ".join(answer.stdout.split())
    assert answer.exit_code == 0
    assert f"Trade required: today's holdings breach limits. {OBJECTIVE}: +" in said
    assert "sell NVDA" in said
    assert ", tickets 5,000 USD), cash " in said


def test_minimum_variance_tells_its_gain_in_its_own_unit(settled: Folder, run: Run) -> None:
    calm = ("--set", "mandate.objective='minimum_variance'", "--set", "robust.set='none'", "--set", "robust.radius=0")
    answer = run("rebalance", settled.path, *calm, "--set", "mandate.max_turnover=0.3")

    said = " ".join(answer.stdout.split())
    assert answer.exit_code == 0, answer.stderr
    found = re.search(r"Recommended\. Objective \(variance and costs\): (-[0-9.e-]+)\.", said)
    assert found is not None
    document = json.loads(run("rebalance", settled.path, *calm, "--set", "mandate.max_turnover=0.3", "--json").stdout)
    assert float(found[1]) == pytest.approx(-document["decision"]["gain_bps"] / 1e4, rel=5e-3)
    assert "sampled" not in said
    assert "certainty equivalent" not in run("rebalance", settled.path, *calm, "--full").stdout


@pytest.mark.parametrize(("sample", "ticket"), [("listed", 3_000), ("reviewed", 250_000)])  # of one decision; of a tree
def test_tickets_that_lots_leave_no_cash_for_are_refused_with_a_floor_that_pays_them(
    root: Path, run: Run, sample: str, ticket: int
) -> None:
    dear = (f"costs.ticket={ticket}", "mandate.max_cash=0.02", "mandate.max_turnover=0.6")
    question = ("rebalance", root / "data" / sample, *(part for one in dear for part in ("--set", one)))
    answer = run(*question, "--set", "mandate.min_cash=0")
    said = " ".join(answer.stderr.split())
    assert answer.exit_code == 3
    assert re.search(r"costs.ticket .*leaves cash of -[\d,.]+ after \d+ tickets", said)
    (floor,) = re.findall(r"raise mandate.min_cash to ([\d.]+),", said)
    cured = run(*question, "--set", f"mandate.min_cash={floor}", "--set", "mandate.max_cash=0.1", "--json")
    assert cured.exit_code == 0
    assert json.loads(cured.stdout)["orders"]
