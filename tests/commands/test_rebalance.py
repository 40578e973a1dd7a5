"""`allocator rebalance`: the plan on stdout, the files whole or not at all, and an honest exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from allocator.errors import NotSolved

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_plan_answers_what_why_and_what_if(listed: Folder, run: Run) -> None:
    answer = run("rebalance", listed.path)
    full = run("rebalance", listed.path, "--full")

    assert (answer.exit_code, full.exit_code) == (0, 0)
    assert (answer.stderr, full.stderr) == ("", "")
    for said in (
        "Listed AI names · account main · 2026-11-20 · 1,460,000 USD",
        "Limits broken today: ",
        "side  instrument",
        "sell  NVDA",
        "Trade required: today's holdings breach limits. Objective (certainty equivalent): +",
        "over 12 months",
        "adverse expected return",
        "expected shortfall, 95% of the horizon",
        "Dearest limits, shadow price in bps per percentage point: 'cash at most 10%' ",
        "return in scenario",
        "generalizable_compression",
        "all 36 rules",
        "checked outside",
    ):
        assert said in " ".join(answer.stdout.split()) or said in answer.stdout
        assert said in " ".join(full.stdout.split()) or said in full.stdout
    for said in ("Why each order", "Every limit", "Every weight", "Stability: if one probability is off by 2 points"):
        assert said in full.stdout
        assert said not in answer.stdout


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["robust.set=contamination"], "contamination within 0.147, by schedule caution"),
        (["robust.set=modified_chi2"], "modified chi2 within 0.0865, by schedule caution"),
        (["robust.set=wasserstein", "robust.radius=0.2", "robust.metric={replicability=1.0,usage_elasticity=0.5}"],
         "wasserstein over replicability, usage_elasticity within 0.2"),
        (["robust.set=hull", "robust.experts.bear={generalizable_jevons=0.1,generalizable_compression=0.5,"
                             "proprietary_jevons=0.1,proprietary_compression=0.3}"],
         "mixtures of the belief with expert bear"),
        (["robust.set=polytope", "robust.limits.glut={weights={generalizable_compression=1.0,"
                                 "proprietary_compression=1.0},min=0.3,max=0.6}"],
         "all probabilities within limits glut"),
    ],
    ids=lambda part: part[0] if isinstance(part, list) else "",
)  # fmt: skip
def test_every_further_set_is_a_what_if_away_and_its_plan_is_verified_by_the_script(
    root: Path, tmp_path: Path, run: Run, valid: Valid, overrides: list[str], words: str
) -> None:
    what_if = [part for one in overrides for part in ("--set", one)]
    answer = run("rebalance", root / "data" / "listed", *what_if, "--full", "--out", tmp_path / "plan")

    assert answer.exit_code == 0, answer.stderr
    assert words in " ".join(answer.stdout.split())
    plan = (tmp_path / "plan" / "plan.json").read_text(encoding="utf-8")
    valid(plan, "plan")
    command = [sys.executable, "-E", "-s", "-W", "error", str(root / "docs" / "verify_plan.py")]
    done = subprocess.run(command, input=plan, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verified: ")


def test_sells_stand_before_buys(listed: Folder, run: Run) -> None:
    orders, why = run("rebalance", listed.path, "--full").stdout.split("Why each order")
    sides, again = ([line.split()[0] for line in part.splitlines() if line.strip().startswith(("sell ", "buy "))]
                    for part in (orders, why))  # fmt: skip

    assert set(sides) == {"sell", "buy"}
    assert sides == sorted(sides, reverse=True)
    assert again == sides


def test_no_line_of_a_plan_is_longer_than_80_columns(listed: Folder, run: Run) -> None:
    for more in ((), ("--full",)):
        answer = run("rebalance", listed.path, *more)

        assert max(map(len, answer.stdout.splitlines())) <= 80


def test_the_longest_names_still_fit_80_columns_and_can_be_read(listed: Folder, run: Run) -> None:
    for file in ("holdings.csv", "exposures.csv", "scenario_returns.csv", "benchmark.csv"):
        text = (listed.path / file).read_text(encoding="utf-8").replace("NVDA,", "XNAS:NVDA.COMMON/USD-2026,")
        (listed.path / file).write_text(text, encoding="utf-8")
    settings = (listed.path / "book.toml").read_text(encoding="utf-8")
    settings = settings.replace("weights.NVDA", 'weights."XNAS:NVDA.COMMON/USD-2026"')
    settings = settings.replace('["NVDA"', '["XNAS:NVDA.COMMON/USD-2026"')
    settings = settings.replace('"Listed AI names"', '"' + "A very long name of a book " * 5 + '"')
    long = "_and_then_everybody_buys_more_compute_for_ever"
    settings = settings.replace("[scenarios.proprietary_jevons]", f"[scenarios.proprietary_jevons{long}]")
    (listed.path / "book.toml").write_text(settings, encoding="utf-8")
    returns = (listed.path / "scenario_returns.csv").read_text(encoding="utf-8")
    (listed.path / "scenario_returns.csv").write_text(
        returns.replace("proprietary_jevons,", f"proprietary_jevons{long},", 1), encoding="utf-8"
    )

    listed.replace("scenarios.md", "## proprietary_jevons", f"## proprietary_jevons{long}")

    answer = run("rebalance", listed.path)

    assert answer.exit_code == 0, answer.stderr
    assert max(map(len, answer.stdout.splitlines())) <= 80
    assert "…" not in answer.stdout
    joined = "".join(answer.stdout.split())
    assert "1,065" in joined  # numbers are never cut
    assert "XNAS:NVD" in joined


def test_headers_of_the_orders_are_not_cut(listed: Folder, run: Run) -> None:
    header = next(line for line in run("rebalance", listed.path).stdout.splitlines() if "quantity" in line)

    assert header.split() == ["side", "instrument", "quantity", "USD", "before", "after"]


def test_one_document_for_programs_and_nothing_else(listed: Folder, run: Run, valid: Valid) -> None:
    answer = run("rebalance", listed.path, "--json")

    document = valid(answer.stdout, "plan")
    assert answer.exit_code == 0
    assert answer.stderr == ""
    assert document["format"] == "allocator.plan/2"
    assert document["book"]["value"] == 1_460_000
    assert {order["side"] for order in document["orders"]} == {"sell", "buy"}


def test_a_plan_is_written_as_orders_and_as_a_document(listed: Folder, run: Run, valid: Valid) -> None:
    out = listed.path.parent / "new" / "plans"

    answer = run("rebalance", listed.path, "--out", out)
    shown = json.loads(run("rebalance", listed.path, "--json").stdout)

    assert sorted(contents(out)) == ["orders.csv", "plan.json"]
    assert "wrote" in answer.stderr
    assert "orders.csv" not in answer.stdout
    document = valid((out / "plan.json").read_text(encoding="utf-8"), "plan")
    assert document == shown
    orders = list(csv.DictReader(io.StringIO((out / "orders.csv").read_text(encoding="utf-8"))))
    assert [(row["side"], row["instrument"], float(row["quantity"])) for row in orders] == [
        (order["side"], order["instrument"], order["quantity"]) for order in document["orders"]
    ]
    assert {(row["account"], row["as_of"], row["currency"]) for row in orders} == {("main", "2026-11-20", "USD")}
    assert [row["name"] for row in orders if row["instrument"] == "ADBE"] == ["Adobe"]


def test_an_order_is_priced_in_the_currency_that_its_instrument_trades_in(listed: Folder, run: Run) -> None:
    listed.cell("holdings.csv", "NVDA", "currency", "TWD")
    listed.cell("holdings.csv", "NVDA", "price", "5000")
    listed.write("fx.csv", [["currency", "rate", "date"], ["TWD", "0.04", "2026-11-20"]])
    out = listed.path.parent / "plans"

    answer = run("rebalance", listed.path, "--out", out)

    assert answer.exit_code == 0, answer.stderr
    text = (out / "orders.csv").read_text(encoding="utf-8")
    orders = {row["instrument"]: row for row in csv.DictReader(io.StringIO(text))}
    order = orders["NVDA"]
    assert (order["price"], order["currency"], order["book_currency"]) == ("5000", "TWD", "USD")
    assert float(order["value"]) == pytest.approx(float(order["quantity"]) * 5000 * 0.04, abs=0.01)
    assert (orders["META"]["currency"], orders["META"]["book_currency"]) == ("USD", "USD")


def test_the_same_book_writes_the_same_bytes(listed: Folder, run: Run) -> None:
    first, second = listed.path.parent / "first", listed.path.parent / "second"

    run("rebalance", listed.path, "--out", first)
    run("rebalance", listed.path, "--out", second)
    once = contents(second)
    run("rebalance", listed.path, "--out", second)

    assert contents(first) == once == contents(second)


def test_a_plan_written_into_the_book_does_not_change_the_book(listed: Folder, run: Run) -> None:
    once = run("rebalance", listed.path, "--out", listed.path)

    again = run("rebalance", listed.path, "--out", listed.path)

    assert (again.exit_code, again.stdout) == (0, once.stdout)


@pytest.mark.parametrize("broken", ["write", "rename"])
def test_a_failure_of_writing_harms_no_earlier_file(
    broken: str, listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = listed.path.parent / "plans"
    run("rebalance", listed.path, "--out", out)
    before = contents(out)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if broken == "write":
            patched.setattr(os, "fsync", fail)
        else:
            patched.setattr(Path, "replace", fail)
        answer = run("rebalance", listed.path, "--set", "robust.radius=0.3", "--out", out)

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "cannot be written: No space left on device" in " ".join(answer.stderr.split())
    assert "make room, or name another folder" in answer.stderr
    assert contents(out) == before


@pytest.mark.parametrize("earlier", [True, False])
def test_orders_and_document_are_never_of_two_plans(
    earlier: bool, listed: Folder, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = listed.path.parent / "plans"
    out.mkdir()
    if earlier:
        run("rebalance", listed.path, "--out", out)
    before, replace = contents(out), Path.replace

    def fail_on_the_document(path: Path, target: Path) -> Path:
        if path.name == "plan.json":
            raise OSError(28, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail_on_the_document)
        answer = run("rebalance", listed.path, "--set", "robust.radius=0.3", "--out", out, "--json")

    assert answer.exit_code == valid(answer.stdout, "error")["exit_code"] == 3
    assert contents(out) == before


def test_a_file_in_place_of_the_out_folder_is_wrong_usage(listed: Folder, run: Run) -> None:
    answer = run("rebalance", listed.path, "--out", listed.path / "book.toml")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "is a file" in answer.stderr


@pytest.mark.parametrize("start", ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_inert(start: str, listed: Folder, run: Run) -> None:
    listed.cell("exposures.csv", "ADBE", "name", start)
    rows = listed.rows("holdings.csv")
    listed.write("holdings.csv", [rows[0], *([start, *row[1:]] for row in rows[1:])])
    out = listed.path.parent / "plans"

    answer = run("rebalance", listed.path, "--out", out)

    assert answer.exit_code == 0, answer.stderr
    cells = [cell for row in csv.reader(io.StringIO((out / "orders.csv").read_text(encoding="utf-8"))) for cell in row]
    assert f"'{start}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_markup_in_a_name_is_shown_and_not_obeyed(listed: Folder, run: Run) -> None:
    rows = listed.rows("holdings.csv")
    listed.write("holdings.csv", [rows[0], *(["[red]ours[/red]", *row[1:]] for row in rows[1:])])
    listed.replace("book.toml", 'name = "Listed AI names"', 'name = "Book [/] [bold]one"')

    answer = run("rebalance", listed.path)
    checked = run("check", listed.path)

    assert (answer.exit_code, checked.exit_code) == (0, 0), answer.stderr
    for shown in (answer.stdout, checked.stdout):
        assert "Book [/] [bold]one · account [red]ours[/red]" in shown


def test_a_what_if_changes_the_plan_and_not_the_book(listed: Folder, run: Run) -> None:
    before = contents(listed.path)

    plain = json.loads(run("rebalance", listed.path, "--json").stdout)
    capped = json.loads(run("rebalance", listed.path, "--json", "--set", "mandate.max_weight=0.11").stdout)

    assert max(row["weight_after"] for row in plain["positions"][:-1]) > 0.11
    assert max(row["weight_after"] for row in capped["positions"][:-1]) <= 0.11
    assert contents(listed.path) == before


def test_an_as_of_date_is_the_date_of_the_orders(listed: Folder, run: Run) -> None:
    document = json.loads(run("rebalance", listed.path, "--json", "--as-of", "2027-01-04").stdout)

    assert document["book"]["as_of"] == "2027-01-04"


def test_one_of_several_accounts_is_rebalanced(listed: Folder, run: Run, valid: Valid) -> None:
    header, *rows = listed.rows("holdings.csv")
    listed.write("holdings.csv", [header, *rows, *(["pension", *row[1:2], "100", *row[3:]] for row in rows)])

    unsaid = run("rebalance", listed.path, "--json")
    document = valid(run("rebalance", listed.path, "--json", "--account", "pension").stdout, "plan")

    assert unsaid.exit_code == 3
    assert "--account: main, pension" in valid(unsaid.stdout, "error")["message"]
    assert document["book"]["account"] == "pension"
    assert {row["quantity_before"] for row in document["positions"]} == {100.0}


def test_a_conflict_between_rules_is_exit_four(listed: Folder, run: Run, valid: Valid) -> None:
    options = ("--set", "mandate.max_turnover=0.01")

    answer = run("rebalance", listed.path, *options, "--out", listed.path / "plans")
    document = valid(run("rebalance", listed.path, *options, "--json").stdout, "error")

    assert (answer.exit_code, answer.stdout) == (4, "")
    assert "limits conflict" in " ".join(answer.stderr.split())
    assert "smallest fix" in " ".join(answer.stderr.split())
    assert not (listed.path / "plans").exists()
    assert document["exit_code"] == 4
    assert "turnover at most 1%" in document["rules"]
    assert document["fixes"]


SETTINGS = {
    "turnover at most": "mandate.max_turnover",
    "bucket capital_intensity at most": "mandate.buckets.capital_intensity.max",
    "bucket efficiency at least": "mandate.buckets.efficiency.min",
    "group chips at most": "mandate.groups.chips.max",
    "group committed_capacity at most": "mandate.groups.committed_capacity.max",
    "cash at most": "mandate.max_cash",
}


def as_settings(fix: str, rules: list[str]) -> dict[str, float]:
    """A printed fix, "raise 'group chips at most 30%' to 31% and …", as the keys of book.toml that it means."""
    found: dict[str, float] = {}
    for place, name in zip(("first", "second"), rules, strict=False):
        fix = fix.replace(f"the {place} to", f"'{name}' to")
    for label, percent in re.findall(r"(?:raise|lower) '([^']*?) [\d.]+%[^']*' to ([\d.]+)%", fix):
        key = SETTINGS[label]
        found[key] = max(float(percent) / 100, found.get(key, 0.0))
    return found


@pytest.mark.parametrize("turnover", [0.2, 0.1])
def test_following_the_printed_fixes_leads_to_a_plan(turnover: float, listed: Folder, run: Run) -> None:
    settings = {"mandate.max_turnover": turnover}
    for _ in range(3):  # fractions first, then perhaps a basis point more for whole lots
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        answer = run("rebalance", listed.path, "--json", *options)
        if answer.exit_code == 0:
            break
        assert answer.exit_code == 4
        told = json.loads(answer.stdout)
        fix = next(found for fix in told["fixes"] if (found := as_settings(fix, told["rules"])))
        assert fix.items() - settings.items()
        settings |= fix

    assert answer.exit_code == 0
    assert settings != {"mandate.max_turnover": turnover}


def test_each_fix_that_was_tried_on_whole_lots_leads_to_a_plan_as_printed(listed: Folder, run: Run) -> None:
    tight = {"mandate.max_turnover": 0.25}

    told = json.loads(run("rebalance", listed.path, "--json", "--set", "mandate.max_turnover=0.25").stdout)

    assert told["for_fractions"] is False
    assert len(told["fixes"]) == 3
    for fix in told["fixes"]:
        wanted = tight | as_settings(fix, told["rules"])
        options = [part for key, value in wanted.items() for part in ("--set", f"{key}={value}")]
        assert run("rebalance", listed.path, *options).exit_code == 0, fix


def test_no_verified_solution_is_exit_five(
    listed: Folder, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NotSolved("no verified solution (PIQP: user_limit); loosen solver.tolerance a little")

    monkeypatch.setattr("allocator.plan.rebalance.rebalance", fail)

    answer = run("rebalance", listed.path, "--out", listed.path / "plans")
    document = valid(run("rebalance", listed.path, "--json").stdout, "error")

    assert (answer.exit_code, answer.stdout) == (5, "")
    assert "loosen solver.tolerance a little" in " ".join(answer.stderr.split())
    assert not (listed.path / "plans").exists()
    assert (document["error"], document["exit_code"]) == ("NotSolved", 5)
    assert "errors" not in document


def test_an_interruption_ends_without_a_traceback(listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("allocator.plan.rebalance.rebalance", interrupt)

    answer = run("rebalance", listed.path, "--out", listed.path / "plans")

    assert (answer.exit_code, answer.stdout) == (130, "")
    assert answer.stderr.strip() == "interrupted; nothing was written"
    assert not (listed.path / "plans").exists()


def test_nothing_to_trade_is_said_plainly(listed: Folder, run: Run) -> None:
    plan = json.loads(run("rebalance", listed.path, "--json").stdout)
    for row in plan["positions"]:
        listed.cell("holdings.csv", row["instrument"], "quantity", repr(row["quantity_after"]))

    answer = run("rebalance", listed.path, "--set", "mandate.max_turnover=0")

    assert answer.exit_code == 0, answer.stderr
    assert "No trade: today's holdings are the plan." in answer.stdout
    assert "return in scenario" in answer.stdout


@pytest.mark.parametrize("name", ["listed", "reviewed"])
def test_a_narrow_terminal_is_shown_fewer_columns_and_whole_names_and_numbers(
    root: Path, name: str, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def orders(columns: int) -> list[list[str]]:
        monkeypatch.setenv("COLUMNS", str(columns))
        answer = run("rebalance", root / "data" / name, "--full")
        assert answer.exit_code == 0
        rows = answer.stdout.partition(" orders: turnover")[0].splitlines()
        return [row.split() for row in rows if row.startswith(("sell", "buy"))]

    wide, narrow = orders(120), orders(40)
    assert len(wide) >= 8
    for full, short in zip(wide, narrow, strict=True):
        assert short[:2] == full[:2]
        assert short[2:4] == [full[3], full[5]]  # value and the weight after
