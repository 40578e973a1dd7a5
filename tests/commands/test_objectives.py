"""Objectives of other packages: charged for what is held, proved like our own terms, refused by name when not sound."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import Result

from allocator.book.loading import load
from allocator.errors import BadMandate
from allocator.integrations.cvxpy_terms import worst_case_return
from allocator.outlook.outlook import build_outlook
from allocator.plan.attribution import MOTIVES, attribute_gain
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.stress_testing.belief_stress import belief_stress
from tests.agreement import HOLDINGS, OBJECTIVE
from tests.books import book
from tests.packages import importable, package

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
CHARGES = """
import pandas as pd

def make(book, parameters):
    made = pd.Series(parameters.get("every", 0.0), index=list(book.instruments))
    for name, charge in parameters.get("own", {}).items():
        made[name] = charge
    return made

def deviations(book, parameters):
    import numpy as np
    from allocator.outlook.outlook import build_outlook
    risk = build_outlook(book).risk
    sizes = parameters["size"] * np.sqrt((risk.loadings**2).sum(axis=1) + risk.specific)
    return pd.Series(sizes, index=book.instruments)[::-1]
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "packages"
    folder.mkdir()
    package(folder, "acme_desk", CHARGES, {"objectives": {"carry": "make", "doubt": "deviations"}})
    with importable(folder):
        yield folder


def by_name(plan: Plan) -> dict[str, float]:
    return dict(zip(plan.book.instruments, plan.target.weights, strict=True))


def breaches(answer: Result, valid: Valid) -> list[str]:
    assert answer.exit_code == 3, answer.stdout + answer.stderr
    return [f"{one['table']}: {one['rule']}; {one['cure']}" for one in valid(answer.stdout, "error")["errors"]]


RETURNS = {"good": [0.10, 0.20, 0.05, 0.14], "bad": [0.02, -0.10, 0.04, 0.0]}
WISH: dict[str, Any] = {
    "mandate": {"risk_aversion": 2.0, "max_weight": 0.5},
    "robust": {"set": "total_variation", "radius": 0.2},
}


def test_a_charge_is_a_return_that_the_name_lacks_in_every_scenario() -> None:
    """Charging c_i for holding i is the same question as returns lower by c_i; here with rewards among them."""
    charges = {"AAA": 0.03, "BBB": -0.02, "CCC": 0.01, "DDD": 0.0}
    plugged = rebalance(book({**WISH, "plugins": {"objectives": {"carry": {"own": charges}}}}, returns=RETURNS))
    lower = {k: [r - c for r, c in zip(row, charges.values(), strict=True)] for k, row in RETURNS.items()}
    stated = rebalance(book(WISH, returns=lower))
    assert by_name(plugged) == pytest.approx(by_name(stated), abs=HOLDINGS)
    assert plugged.certificate.objective == pytest.approx(stated.certificate.objective, abs=OBJECTIVE)
    assert by_name(plugged) != pytest.approx(by_name(rebalance(book(WISH, returns=RETURNS))), abs=1e-2)


def test_a_charge_is_no_money_and_no_figure_of_return_counts_it() -> None:
    made = {**WISH, "plugins": {"objectives": {"carry": {"own": {"AAA": 0.03}}}}}
    plan = rebalance(book(made, returns=RETURNS))
    gains = plan.outlook.portfolio_returns(plan.final.values / plan.final.value_before,
                                           plan.final.cash / plan.final.value_before)  # fmt: skip
    cost = 1 - plan.final.value / plan.final.value_before
    assert plan.after.expected_return == pytest.approx(plan.outlook.probabilities @ gains - cost, abs=1e-12)


def test_charging_what_a_box_of_return_errors_charges_is_the_same_plan(root: Path) -> None:
    box = rebalance(
        load(
            root / "tests" / "plain_books" / "listed",
            overrides=["robust.return_error=box", "robust.return_error_size=0.1"],
        )
    )
    plugged = rebalance(
        load(root / "tests" / "plain_books" / "listed", overrides=["plugins.objectives.doubt.size=0.1"])
    )
    assert by_name(plugged) == pytest.approx(by_name(box), abs=HOLDINGS)
    assert plugged.certificate.objective == pytest.approx(box.certificate.objective, abs=OBJECTIVE)


def test_charges_of_several_objectives_and_a_box_add_up(root: Path) -> None:
    both = ["plugins.objectives.doubt.size=0.04", "plugins.objectives.carry.every=0.01"]
    error = ["robust.return_error=box", "robust.return_error_size=0.06"]
    added = rebalance(load(root / "tests" / "plain_books" / "listed", overrides=both + error))
    one = ["plugins.objectives.doubt.size=0.1", "plugins.objectives.carry.every=0.01"]
    alone = rebalance(load(root / "tests" / "plain_books" / "listed", overrides=one))
    assert by_name(added) == pytest.approx(by_name(alone), abs=HOLDINGS)


@pytest.mark.parametrize("error", ["none", "box", "ellipsoid"])
def test_the_plan_is_verified_without_allocator(root: Path, run: Run, valid: Valid, error: str) -> None:
    given = ["--set", "plugins.objectives.carry.every=0.02", "--set", "plugins.objectives.carry.own.META=-0.05"]
    if error != "none":
        given += ["--set", f"robust.return_error={error}", "--set", "robust.return_error_size=0.1"]
    answer = run("rebalance", root / "tests" / "plain_books" / "listed", *given, "--json")
    assert answer.exit_code == 0, answer.stderr
    valid(answer.stdout, "plan")
    script = [sys.executable, str(root / "docs" / "verify_plan.py")]
    found = subprocess.run(script, input=answer.stdout, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_reasons_have_a_column_of_charges_and_still_add_up(root: Path) -> None:
    plan = rebalance(
        load(
            root / "tests" / "plain_books" / "listed", overrides=["plugins.objectives.carry.own={NVDA=0.2, META=-0.02}"]
        )
    )
    found = attribute_gain(plan)
    column = found.parts[:, MOTIVES.index("objectives")]
    before, after = plan.start.holdings, plan.target.values / plan.target.value_before
    charges = np.zeros(len(before) + 1)
    charges[plan.book.instruments.index("NVDA")], charges[plan.book.instruments.index("META")] = 0.2, -0.02
    assert column == pytest.approx(-charges * np.append(after - before, 0.0), abs=1e-12)
    assert found.parts.sum() == pytest.approx(found.gain, abs=1e-9)


def test_the_command_says_that_it_is_charged(root: Path, run: Run) -> None:
    text = run(
        "rebalance", root / "tests" / "plain_books" / "listed", "--set", "plugins.objectives.carry.every=0.02", "--full"
    ).stdout
    words = " ".join(text.split())
    assert "less what carry charges for what is held" in words
    assert "and what objectives of other packages charge" in words


def test_studies_of_beliefs_charge_it_too() -> None:
    """The plan is within nothing of the best at today's belief, by the same objective."""
    made = {**WISH, "plugins": {"objectives": {"carry": {"own": {"AAA": 0.03, "DDD": -0.02}}}}}
    plan = rebalance(book(made, returns=RETURNS))
    found = belief_stress(plan, within_bps=50.0)
    interval = found.axes[0].interval
    assert interval is not None
    assert interval.low is not None
    assert 0 <= interval.shortfall_bps < 5  # whole lots alone are between


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("made = made.drop('NVDA')", "says no charge of the instrument"),
        ("made = made.rename({'NVDA': 'NVDIA'})", "did you mean 'NVDA'?"),
        ("made[book.cash_instrument] = 0.0", "charges cash"),
        ("made['NVDA'] = float('nan')", "must charge a finite number"),
        ("made['NVDA'] = 1.0", "between -1 and 1"),
        ("made = pd.concat([made, made.iloc[:1]])", "charges an instrument twice"),
        ("return made.to_numpy()", "gives a ndarray, not a Series"),
        ("made = made.astype(str)", "must charge a finite number"),
        ("import random; made['NVDA'] = random.random() / 2", "gave two answers"),
        ("raise ValueError('no data today')", "ValueError: no data today"),
    ],
)
def test_charges_that_are_not_of_the_contract_are_refused_by_name(
    packages: Path, listed: Folder, run: Run, valid: Valid, change: str, said: str
) -> None:
    code = CHARGES.replace("    return made\n", f"    {change}\n    return made\n", 1)
    package(packages, "acme_broken", code, {"objectives": {"broken": "make"}})
    found = breaches(run("check", listed.path, "--set", "plugins.objectives.broken={}", "--json"), valid)
    assert any(said in one for one in found), found
    assert all(one.startswith("acme_broken: ") for one in found)


@pytest.mark.parametrize(
    ("where", "given", "said"),
    [
        ("listed", "mandate.objective=minimum_variance", "'minimum_variance' looks at none"),
        ("listed", "mandate.objective=mean_cvar", "'mean_cvar' is solved in stages"),
        ("reviewed", "book.name=it", "'log' is solved in stages"),
    ],
)
def test_it_stands_beside_the_worst_case_return_alone(
    root: Path, run: Run, valid: Valid, where: str, given: str, said: str
) -> None:
    wanted = ["--set", "plugins.objectives.carry.every=0.02", "--set", given]
    found = breaches(run("check", root / "tests" / "plain_books" / where, *wanted, "--json"), valid)
    assert any(said in one for one in found), found


def test_the_list_of_plugins_has_it(listed: Folder, run: Run, valid: Valid) -> None:
    with (listed.path / "book.toml").open("a", encoding="utf-8") as opened:
        opened.write("\n[plugins.objectives.carry]\nevery = 0.02\n")
    document = valid(run("plugins", listed.path, "--json").stdout, "plugins")
    found = {one["name"]: one for one in document["plugins"] if one["package"] == "acme_desk"}
    assert found["carry"]["kind"] == "objectives"
    assert found["carry"]["used"] is True
    assert found["doubt"]["used"] is False


def test_a_worst_case_return_in_another_program_does_not_say_it() -> None:
    made = book({**WISH, "plugins": {"objectives": {"carry": {"every": 0.01}}}}, returns=RETURNS)
    traded: Any = None  # refused before anything is written
    with pytest.raises(
        BadMandate, match=r"plugins.objectives.carry: is not in an expectation under adverse probabilities"
    ):
        worst_case_return(made, build_outlook(made), traded)
