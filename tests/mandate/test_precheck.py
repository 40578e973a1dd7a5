"""What arithmetic alone shows to be hopeless: each text, and that each fix works as printed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.errors import Infeasible
from allocator.mandate.builder import build_mandate
from allocator.mandate.precheck import check_obviously_infeasible
from allocator.optimization.solve import Program
from allocator.outlook.outlook import build_outlook
from allocator.rules.rows import Position
from tests.books import NAMES, book

Wish = dict[str, Any]


@dataclass(frozen=True)
class Hopeless:
    """A wish, what is said about it, and the wish changed as each printed fix says."""

    wish: Wish
    message: str
    fixes: tuple[str, ...]
    mended: tuple[Wish, ...]
    more: Wish


def case(wish: Wish, message: str, *pairs: tuple[str, Wish], **more: Any) -> Hopeless:
    return Hopeless(wish, message, tuple(text for text, _ in pairs), tuple(mended for _, mended in pairs), more)


def floors(*each: float) -> Wish:
    return {"weights": {name: {"min": floor} for name, floor in zip(NAMES, each, strict=False)}}


TWO_OF_META = {"exposures_columns": {"issuer": ["Meta", "Meta", "Other", "Other"]}}
CHIPS = {"groups": {"chips": ["AAA", "BBB"]}}
SHARED = {"groups": {"power": {"AAA": 0.123, "BBB": 0.777}}}
LATER = {"exposures_columns": {"tradable_from": [pd.Timestamp("2027-06-01"), pd.NaT, pd.NaT, pd.NaT]}}
CASES = {
    "a floor above the general cap": case(
        {"max_weight": 0.1, "weights": {"BBB": {"min": 0.2}}},
        "infeasible: these limits conflict: 'BBB at least 20%' and 'BBB at most 10%'",
        ("lower the first to 10%", {"max_weight": 0.3, "weights": {"BBB": {"min": 0.1}}}),
        ("raise the second to 20%", {"max_weight": 0.3, "weights": {"BBB": {"min": 0.2, "max": 0.2}}}),
    ),
    "floors beyond the account": case(
        floors(0.3, 0.3, 0.3) | {"min_cash": 0.2},
        "infeasible: floors add up to 90% and cash is at least 20%: more than 100%",
        ("lower floors by 10% in all", floors(0.3, 0.3, 0.2) | {"min_cash": 0.2}),
    ),
    "floors beyond the account by an odd amount": case(
        floors(0.33337, 0.33337, 0.33337) | {"min_cash": 0.01234567},
        "infeasible: floors add up to 100.011% and cash is at least 1.23457%: more than 100%",
        ("lower floors by 1.25% in all", floors(0.33337, 0.33337, 0.32087) | {"min_cash": 0.01234567}),
    ),
    "caps below the account": case(
        {"max_weight": 0.2, "max_cash": 0.05},
        "infeasible: caps add up to 80% and cash is at most 5%: together less than 100%",
        ("raise caps by 15% in all", {"max_weight": 0.2375, "max_cash": 0.05}),
        ("raise mandate.max_cash to 20%", {"max_weight": 0.2, "max_cash": 0.2}),
    ),
    "caps below the account by an odd amount": case(
        {"max_weight": 0.21234567, "max_cash": 0.05},
        "infeasible: caps add up to 84.9383% and cash is at most 5%: together less than 100%",
        ("raise caps by 10.07% in all", {"max_weight": 0.21234567 + 0.1007 / 4, "max_cash": 0.05}),
        ("raise mandate.max_cash to 15.07%", {"max_weight": 0.21234567, "max_cash": 0.1507}),
    ),
    "an issuer's floor above every issuer's cap": case(
        {"max_issuer_weight": 0.3, "issuers": {"Meta": {"min": 0.4}}},
        "infeasible: these limits conflict: 'issuer Meta at least 40%' and 'every issuer at most 30%'",
        ("lower the first to 30%", {"max_issuer_weight": 0.3, "issuers": {"Meta": {"min": 0.3}}}),
        ("raise the second to 40%", {"max_issuer_weight": 0.4, "issuers": {"Meta": {"min": 0.4}}}),
        **TWO_OF_META,
    ),
    "a group's cap below its members' floors": case(
        floors(0.3, 0.2) | {"groups": {"chips": {"max": 0.4}}},
        "infeasible: these limits conflict: 'group chips at most 40%' and 'its members' floors, 50% in all'",
        ("raise the first to 50%", floors(0.3, 0.2) | {"groups": {"chips": {"max": 0.5}}}),
        ("lower the floors", floors(0.2, 0.2) | {"groups": {"chips": {"max": 0.4}}}),
        settings=CHIPS,
    ),
    "a shared group's cap below its members' floors": case(
        floors(0.4567, 0.1234) | {"groups": {"power": {"max": 0.1}}},
        "infeasible: these limits conflict: 'group power at most 10%' and 'its members' floors, 15.2056% in all'",
        ("raise the first to 15.21%", floors(0.4567, 0.1234) | {"groups": {"power": {"max": 0.1521}}}),
        ("lower the floors", floors(0.2, 0.05) | {"groups": {"power": {"max": 0.1}}}),
        settings=SHARED,
    ),
    "a group's floor above its members' caps": case(
        {"max_weight": 0.15, "groups": {"chips": {"min": 0.4}}},
        "infeasible: these limits conflict: 'group chips at least 40%' and 'its members' caps, 30% in all'",
        ("lower the first to 30%", {"max_weight": 0.15, "groups": {"chips": {"min": 0.3}}}),
        ("raise the caps", {"max_weight": 0.2, "groups": {"chips": {"min": 0.4}}}),
        settings=CHIPS,
    ),
    "a shared group's floor above its members' caps": case(
        {"max_weight": 0.1511, "groups": {"power": {"min": 0.4}}},
        "infeasible: these limits conflict: 'group power at least 40%' and 'its members' caps, 13.599% in all'",
        ("lower the first to 13.59%", {"max_weight": 0.1511, "groups": {"power": {"min": 0.1359}}}),
        ("raise the caps", {"max_weight": 0.45, "groups": {"power": {"min": 0.4}}}),
        settings=SHARED,
    ),
    "a locked name above its cap": case(
        {"locked": ["AAA"], "weights": {"AAA": {"max": 0.15}}},
        "infeasible: these limits conflict: 'AAA at most 15%' and 'AAA is locked'",
        ("raise the first to 20%", {"locked": ["AAA"], "weights": {"AAA": {"max": 0.2}}}),
        ("take AAA out of mandate.locked", {"weights": {"AAA": {"max": 0.15}}}),
    ),
    "a name that is not tradable below its floor": case(
        {"weights": {"AAA": {"min": 0.25}}},
        "infeasible: these limits conflict: 'AAA at least 25%' and 'AAA is not tradable yet'",
        ("lower the first to 20%", {"weights": {"AAA": {"min": 0.2}}}),
        **LATER,
    ),
    "forbidden, but not tradable": case(
        {"forbidden": ["AAA"]},
        "infeasible: these limits conflict: 'AAA is forbidden' and 'AAA is not tradable yet'",
        ("take AAA out of mandate.forbidden", {}),
        **LATER,
    ),
    "forbidden with a floor": case(
        {"forbidden": ["AAA"], "weights": {"AAA": {"min": 0.1}}},
        "infeasible: these limits conflict: 'AAA is forbidden' and 'AAA at least 10%'",
        ("take AAA out of mandate.forbidden", {"weights": {"AAA": {"min": 0.1}}}),
        ("lower the second to 0%", {"forbidden": ["AAA"]}),
    ),
    "a group's floor with a forbidden and a locked member": case(
        {"forbidden": ["AAA"], "locked": ["BBB"], "groups": {"chips": {"min": 0.3}}},
        "infeasible: these limits conflict: 'group chips at least 30%' and 'BBB is locked and AAA is forbidden'",
        ("lower the first to 20%", {"forbidden": ["AAA"], "locked": ["BBB"], "groups": {"chips": {"min": 0.2}}}),
        settings=CHIPS,
    ),
    "a forbidden name that cannot be sold in a day": case(
        {"forbidden": ["AAA"], "max_participation": 0.1},
        "infeasible: these limits conflict: 'AAA is forbidden' and 'AAA traded at most 10% of its daily volume'",
        ("take AAA out of mandate.forbidden", {"max_participation": 0.1}),
        ("raise the second to 20%", {"forbidden": ["AAA"], "max_participation": 0.2}),
        exposures_columns={"average_daily_volume": [50.0, 50.0, 50.0, 50.0]},
    ),
    "a name above its cap that cannot be sold in a day": case(
        {"max_participation": 0.1, "weights": {"AAA": {"max": 0.05}}},
        "infeasible: these limits conflict: 'AAA at most 5%' and 'AAA traded at most 10% of its daily volume'",
        ("raise the first to 10%", {"max_participation": 0.1, "weights": {"AAA": {"max": 0.1}}}),
        ("raise the second to 15%", {"max_participation": 0.15, "weights": {"AAA": {"max": 0.05}}}),
        exposures_columns={"average_daily_volume": [50.0, 50.0, 50.0, 50.0]},
    ),
    "a loss that locked names alone make": case(
        {"locked": ["AAA"], "max_stress_loss": {"crash": 0.05}},
        "infeasible: 'loss under crash at most 5%' conflicts with the names that cannot be traded, which alone lose 8%",
        ("raise the first to 8%", {"locked": ["AAA"], "max_stress_loss": {"crash": 0.08}}),
        settings={"shocks": {"crash": {"market": -0.4}}},
    ),
    "a return in every scenario above the best name's in one": case(
        {"min_worst_scenario_return": 0.07},
        "infeasible: return in down at least 7% is above the best name's: DDD has 6%",
        (
            "lower it to 4%, which CCC alone has in every scenario",
            {"min_worst_scenario_return": 0.04},
        ),
        returns={"up": [0.1, 0.2, 0.04, -0.1], "down": [-0.1, -0.2, 0.05, 0.06]},
    ),
    "an expected return above the best name's": case(
        {"min_expected_return": 0.09},
        "infeasible: expected return at least 9% is above the best name's: DDD has 8%",
        ("lower it below 8%", {"min_expected_return": 0.08}),
    ),
    "an expected return above the best name's by an odd amount": case(
        {"min_expected_return": 0.09},
        "infeasible: expected return at least 9% is above the best name's: DDD has 8.1235%",
        ("lower it below 8.12%", {"min_expected_return": 0.0812}),
        returns={"base": [0.05, 0.06, 0.07, 0.08123456]},
    ),
}


def made(wish: Wish, hopeless: Hopeless) -> Book:
    more = dict(hopeless.more)
    settings = more.pop("settings", {})
    return book({"mandate": wish, **settings}, **more)


def checked(held: Book) -> None:
    check_obviously_infeasible(held, build_outlook(held))


@pytest.mark.parametrize("name", CASES)
def test_each_hopeless_wish_is_refused_with_its_reason_and_its_fixes(name: str) -> None:
    hopeless = CASES[name]
    with pytest.raises(Infeasible) as refused:
        checked(made(hopeless.wish, hopeless))

    assert refused.value.message == hopeless.message
    assert refused.value.fixes == hopeless.fixes
    assert refused.value.exit_code == 4


@pytest.mark.parametrize(("name", "fix"), [(name, i) for name, one in CASES.items() for i in range(len(one.fixes))])
def test_each_fix_works_as_it_is_printed(name: str, fix: int) -> None:
    hopeless = CASES[name]
    held = made(hopeless.mended[fix], hopeless)

    checked(held)
    outlook, mandate = build_outlook(held), build_mandate(held)
    Program(outlook, mandate).solve(Position(held.weights, held.cash / held.value), outlook, mandate)


@pytest.mark.parametrize("name", CASES)
def test_the_program_agrees_that_a_hopeless_wish_is_hopeless(name: str) -> None:
    held = made(CASES[name].wish, CASES[name])
    outlook, mandate = build_outlook(held), build_mandate(held)

    with pytest.raises(Infeasible):
        Program(outlook, mandate).solve(Position(held.weights, held.cash / held.value), outlook, mandate)


@pytest.mark.parametrize(
    "wish",
    [
        {},
        floors(0.25, 0.25, 0.25, 0.25),
        {"max_weight": 0.25, "max_cash": 0.0},
        {"max_weight": 0.2, "weights": {"AAA": {"min": 0.2}}},
        floors(0.2, 0.2) | {"groups": {"chips": {"min": 0.4, "max": 0.4}}},
        {"min_expected_return": 0.08},
    ],
)
def test_a_wish_on_the_very_edge_is_not_called_hopeless(wish: Wish) -> None:
    checked(book({"mandate": wish, **CHIPS}))


def test_cash_counts_among_the_names_that_may_have_the_best_return() -> None:
    held = book({"mandate": {"min_expected_return": 0.03}}, returns={"base": [0.0, 0.0, 0.0, 0.0]})

    with pytest.raises(Infeasible, match="USD-CASH has 2%"):
        checked(held)


def test_checking_for_hopeless_wishes_imports_no_solver(root: Path) -> None:
    code = "import sys, allocator.mandate.precheck; print('cvxpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_expected_return_of_several_scenarios_is_weighed_by_the_belief() -> None:
    held = book(
        {"mandate": {"min_expected_return": 0.2}},
        returns={"up": [0.5, 0.0, 0.0, 0.0], "down": [-0.3, 0.0, 0.0, 0.0]},
        probabilities={"up": 0.6, "down": 0.4},
    )

    assert np.isclose(0.6 * 0.5 - 0.4 * 0.3, 0.18)
    with pytest.raises(Infeasible, match="AAA has 18%"):
        checked(held)
