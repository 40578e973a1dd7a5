"""A household: rules over the sum of accounts and rules of one account, held to a program of its own, to `rebalance`
where there is one account, and to plain arithmetic on what the orders leave.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from allocator.__main__ import main
from allocator.book.loading import load
from allocator.errors import BadInput, Infeasible
from allocator.fleets.household import Household, plan_household, read_household
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.command_line import runner

SIZES = {"charity": 4, "pension": 10, "trust": 2}
OWN = """\
account,mandate.max_weight,mandate.locked,mandate.max_cash,mandate.buckets.efficiency.min,\
mandate.min_expected_return,cash.paid_in,cash.paid_out,costs.commission_bps
charity,0.14,EQIX; AMZN,,0.13,,,,
pension,,,,,0.115,250000,,5
trust,,,0.01,,,,110000,0
"""


def firm(folder: Path, root: Path) -> Path:
    """The listed sample in three accounts, without a set of probabilities: the believed ones are taken."""
    shutil.copytree(root / "data" / "listed", folder)
    text = (folder / "book.toml").read_text(encoding="utf-8")
    head, _, rest = text.partition("[robust.question]")
    (folder / "book.toml").write_text(f"{head}[costs]{rest.partition('[costs]')[2]}", encoding="utf-8")
    with (folder / "holdings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "holdings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        for account, times in SIZES.items():
            for row in rows:
                # no two accounts hold the same parts of names
                held = float(row["quantity"]) * (times + (account == "trust") * (row["instrument"] > "H"))
                writer.writerow({**row, "account": account, "quantity": f"{held:.0f}"})
    (folder / "accounts.csv").write_text(OWN, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    return firm(tmp_path_factory.mktemp("household") / "firm", root)


@pytest.fixture(scope="module")
def household(folder: Path) -> Household:
    return read_household(folder, folder / "accounts.csv")


@pytest.fixture(scope="module")
def plan(household: Household) -> Plan:
    return plan_household(household)


def independent(folder: Path, household: Household) -> tuple[float, Any]:
    """The least loss of the household and its holdings (3, N), from the tables and in variables of each account's own.

    Of ours it has the scenario returns and their probabilities alone, which no rule of a household touches.
    """
    outlook = household.outlook
    exposures = pd.read_csv(folder / "exposures.csv").set_index("instrument").drop(index="CASH", errors="ignore")
    table = pd.read_csv(folder / "holdings.csv")
    names, prices = list(household.book.instruments), table.groupby("instrument")["price"].first()
    exposures = exposures.loc[names]
    units = table.pivot_table(index="account", columns="instrument", values="quantity").loc[sorted(SIZES)]
    money = (units * prices).fillna(0.0)
    cash_name = next(name for name in money if name not in names)
    flows = np.array([0.0, 250_000.0, -110_000.0])
    held, cash = money[names].to_numpy(), money[cash_name].to_numpy() + flows
    total = held.sum() + cash.sum()
    held, cash = held / total, cash / total
    rates = (np.array([[1.0], [5.0], [0.0]]) + exposures["spread_bps"].to_numpy() / 2) / 1e4

    after, bought, sold = (cp.Variable(held.shape, nonneg=True) for _ in range(3))
    left = cash - cp.sum(cp.multiply(1 + rates, bought), axis=1) + cp.sum(cp.multiply(1 - rates, sold), axis=1)
    whole, cash_after = cp.sum(after, axis=0), cp.sum(left)
    wealth, own = cp.sum(whole) + cash_after, cp.sum(after, axis=1) + left
    at = {name: i for i, name in enumerate(names)}
    committed = np.zeros(len(names))
    committed[[at["CRWV"], at["ORCL"]]] = 1.0, 0.6
    efficiency = exposures["efficiency_share"].to_numpy()
    glut = exposures["bucket"].map({"capital_intensity": -0.40, "efficiency": -0.05}).to_numpy(dtype=float)
    glut = np.where(np.isnan(glut), -0.05 * exposures["beta"].to_numpy(), glut)
    gains = outlook.returns @ whole + outlook.cash_returns * cash_after
    limits = [
        after == held + bought - sold,
        left >= 0,
        whole <= 0.12 * wealth,
        whole[at["NVDA"]] >= 0.05 * wealth,
        cash_after >= 0.02 * wealth,
        cash_after <= 0.10 * wealth,
        cp.sum(bought) <= 0.35,
        cp.sum(sold) <= 0.35,
        exposures["capital_intensity_share"].to_numpy() @ whole <= 0.45 * wealth,
        efficiency @ whole >= 0.12 * wealth,
        sum(whole[at[name]] for name in ("NVDA", "AVGO", "TSM")) <= 0.30 * wealth,
        sum(whole[at[name]] for name in ("EQIX", "VST")) <= 0.12 * wealth,
        committed @ whole <= 0.10 * wealth,
        exposures["beta"].to_numpy() @ whole <= 1.10 * wealth,
        glut @ whole + wealth - 1 >= -0.25,
        after[0] <= 0.14 * own[0],
        bought[0, [at["EQIX"], at["AMZN"]]] + sold[0, [at["EQIX"], at["AMZN"]]] == 0,
        efficiency @ after[0] >= 0.13 * own[0],
        outlook.probabilities @ (outlook.returns @ after[1] + outlook.cash_returns * left[1])
        + own[1] - (held[1].sum() + cash[1]) >= 0.115 * (held[1].sum() + cash[1]),
        left[2] <= 0.01 * own[2],
    ]  # fmt: skip
    beta, idiosyncratic = 0.18 * exposures["beta"].to_numpy(), exposures["idiosyncratic_volatility"].to_numpy()
    variance = cp.square(beta @ whole) + cp.sum_squares(cp.multiply(idiosyncratic, whole))
    problem = cp.Problem(cp.Minimize(-outlook.probabilities @ gains + 1.5 * variance + 1 - wealth), limits)
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value), after.value


def test_a_household_of_three_accounts_agrees_with_an_independent_program(
    folder: Path, household: Household, plan: Plan
) -> None:
    loss, holdings = independent(folder, household)
    target = plan.target

    assert plan.certificate.objective == pytest.approx(loss, abs=1e-7)
    assert household.sum(target).values / target.value_before == pytest.approx(holdings.sum(axis=0), abs=2e-5)
    # a cap, a bucket and turnover of the sum hold it back, and so does a rule of each account
    priced = {rule.label for rule in plan.binding if rule.bps_per_point > 1e-3}
    of_sum = {"turnover at most 35% (sales)", "bucket capital_intensity at most 45%", "NVDA at least 5%"}
    assert of_sum <= priced
    assert any(label.endswith("at most 12%") for label in priced)
    assert {label.partition(":")[0] for label in priced} >= set(SIZES)


def test_what_the_orders_leave_keeps_every_rule_by_plain_arithmetic(household: Household, plan: Plan) -> None:
    assert plan.orders
    held = {
        (one.account, name): q
        for one in household.members
        for name, q in zip(one.instruments, one.quantities, strict=True)
    }
    cash = {one.account: one.cash for one in household.members}
    bought, sold, rates = 0.0, 0.0, dict(zip(household.names, np.concatenate(household.rates), strict=True))
    for order in plan.orders:
        name = next(name for name in household.names if ": ".join(name) == order.instrument)
        sign, money = (1 if order.side == "buy" else -1), order.quantity * order.price
        held[name] += sign * order.quantity
        cash[name[0]] -= sign * money + rates[name] * money
        bought, sold = bought + money * (sign > 0), sold + money * (sign < 0)
        assert name not in {("charity", "EQIX"), ("charity", "AMZN")}
    prices = dict(zip(household.book.instruments, household.book.prices, strict=True))
    values = {name: q * prices[name[1]] for name, q in held.items()}
    total = sum(values.values()) + sum(cash.values())

    assert min(cash.values()) >= 0
    assert max(bought, sold) <= 0.35 * household.book.value
    for instrument in prices:
        assert sum(v for name, v in values.items() if name[1] == instrument) <= 0.12 * total + 1e-6
    of_charity = {name: v for name, v in values.items() if name[0] == "charity"}
    assert max(of_charity.values()) <= 0.14 * (sum(of_charity.values()) + cash["charity"])
    assert cash["trust"] <= 0.01 * (sum(v for name, v in values.items() if name[0] == "trust") + cash["trust"])


def test_a_household_of_one_account_is_its_rebalance(root: Path) -> None:
    together, alone = (
        plan_household(read_household(root / "data" / "listed")),
        rebalance(load(root / "data" / "listed")),
    )

    assert together.certificate.objective == pytest.approx(alone.certificate.objective, abs=1e-9)
    assert together.target.weights == pytest.approx(alone.target.weights, abs=1e-6)
    orders = [(one.side, f"main: {one.instrument}", one.quantity) for one in alone.orders]
    assert [(one.side, one.instrument, one.quantity) for one in together.orders] == orders


def test_a_conflict_of_the_sum_with_single_accounts_names_each_and_a_fix_that_works(
    folder: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "conflict.csv"
    rules.write_text("account,mandate.weights.NVDA.max\ncharity,0.01\npension,0.01\ntrust,0.01\n", encoding="utf-8")

    with pytest.raises(Infeasible) as caught:
        plan_household(read_household(folder, rules))

    named = ["NVDA at least 5%", *(f"{account}: NVDA at most 1%" for account in SIZES)]
    assert sorted(caught.value.rules) == sorted(named)
    fix = next(move for move in caught.value.moves if move[0].label == "pension: NVDA at most 1%")[0]
    assert fix.id.key == "mandate.weights.NVDA.max of pension"
    own = f"charity,0.01\npension,{fix.printed}\ntrust,0.01\n"
    rules.write_text(f"account,mandate.weights.NVDA.max\n{own}", encoding="utf-8")
    assert plan_household(read_household(folder, rules), lots=False).certificate.gap < 1e-6


def test_what_a_household_cannot_have_is_refused_with_every_cure_at_once(folder: Path, tmp_path: Path) -> None:
    rules = tmp_path / "refused.csv"
    rules.write_text(
        "account,mandate.risk_aversion,lots.min_trade,mandate.locked\ncharity,3,5000,\ntrust,,,NVDIA\n",
        encoding="utf-8",
    )
    overrides = ["cash.paid_in=1000", "mandate.max_names=5"]

    with pytest.raises(BadInput) as caught:
        read_household(folder, rules, overrides=overrides)

    said = str(caught.value)
    for words in (
        "mandate.risk_aversion", "lots.min_trade", "NVDIA", "cash.paid_in of accounts.csv",
        "mandate.max_names",
    ):  # fmt: skip
        assert words in said, words
    assert len(caught.value.breaches) == 5
    own = Path(shutil.copytree(folder, tmp_path / "utility"))
    place = own / "book.toml"  # without reviews it is the objective that wants a tree
    stated = re.sub(r"(?m)^(objective|risk_aversion) .*$", "", place.read_text(encoding="utf-8"))
    place.write_text(stated.replace("[mandate]\n", '[mandate]\nobjective = "log"\n', 1), encoding="utf-8")
    with pytest.raises(BadInput, match=r"mandate\.objective: looks at reviews or utility"):
        read_household(own)


def test_the_command_writes_one_file_of_orders_and_a_document_of_its_schema(
    folder: Path, tmp_path: Path, root: Path
) -> None:
    arguments = ["household", str(folder), "--accounts", str(folder / "accounts.csv")]
    shown = runner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    said = runner().invoke(main, [*arguments, "--json"])

    assert shown.exit_code == said.exit_code == 0, shown.output
    assert all(len(line) <= 80 for line in shown.stdout.splitlines() if "out/orders.csv" not in line)
    assert len(shown.stdout.splitlines()) <= 45
    document = json.loads(said.stdout)
    schema = json.loads((root / "schemas" / "household.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(document)
    rows = list(csv.DictReader((tmp_path / "out" / "orders.csv").read_text(encoding="utf-8").splitlines()))
    told = [(one["account"], o["side"], o["instrument"]) for one in document["accounts"] for o in one["orders"]]
    assert [(row["account"], row["side"], row["instrument"]) for row in rows] == told
    assert {row["plan_sha256"] for row in rows} == {document["inputs_sha256"]}
    assert json.loads((tmp_path / "out" / "household.json").read_text(encoding="utf-8")) == document
    again = runner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert again.exit_code == 3
    assert "is not empty" in again.output


def test_a_name_that_several_accounts_could_trade_is_parted_in_one_way(folder: Path, household: Household) -> None:
    alike = read_household(folder)

    target = plan_household(alike, lots=False).target

    traded = (target.bought + target.sold).reshape(len(SIZES), -1) > 1e-9 * target.value_before
    # a vertex: beyond one account a name, no more than the accounts that spend all they have or sell all of something
    full = sum(alike.own(target, account).cash < 1e-6 * target.value_before for account in range(len(SIZES)))
    sold_out = int((target.values.reshape(len(SIZES), -1)[traded] < 1e-9 * target.value_before).sum())
    assert int((traded.sum(axis=0) - 1).clip(0).sum()) <= full + sold_out
    assert household.names == alike.names
