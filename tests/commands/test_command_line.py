"""What all commands share: help with examples that run, streams, terminals, and how they are started."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from allocator.__main__ import main
from allocator.book.loading import load

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
COMMANDS = sorted(main.commands)


def started(
    root: Path, *arguments: str, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, `python -m allocator ARGUMENTS`, warnings as errors."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "allocator", *arguments],
        cwd=folder or root, env=kept | {"PYTHONPATH": str(root)} | environment, stdin=subprocess.DEVNULL,
        capture_output=True, check=False,
    )  # fmt: skip


def examples(command: str, run: Run) -> list[str]:
    shown = run(command, "--help").stdout
    return [line.strip() for line in re.findall(r"^ +(allocator .*)$", shown, flags=re.MULTILINE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_runs(
    command: str, run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "data", tmp_path / "data")
    book = tmp_path / "data" / "reviewed" / "book.toml"  # one review: what is told at three takes as long as all else
    text, changed = re.subn(r"^reviews = \[2027-02-20, .*?\]", "reviews = [2027-02-20]", book.read_text(), flags=re.M)
    assert changed == 1
    book.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("allocator.commands.report._serve", lambda *_: None)  # a desk that Ctrl-C ends at once

    lines = [line.replace("--model 1000", "--model 20") for line in examples(command, run)]
    lines = [line.replace("allocator desk", "allocator desk --port 0") for line in lines]  # another may be open here
    if command == "backtest":
        days, names = (
            pd.date_range("2026-07-31", periods=16, freq="W-FRI", name="date"),
            load("data/listed").instruments,
        )
        moves = np.random.default_rng(1).normal(0, 0.02, (len(days), len(names))).cumsum(axis=0)
        pd.DataFrame(100 * np.exp(moves), days, names).round(2).to_csv("closes.csv", index_label="date")
    if command == "trial":  # hours
        from allocator.backtesting import cells

        for design in ("full_cells", "reduced_cells"):
            monkeypatch.setattr(cells, design, lambda _: (cells.Cell(2.0, 0.6),))
        lines = [f"{line.replace('--jobs 2', '')} --investors 1 --worlds 1" for line in lines]

    assert re.search(r"^ +Examples?:$", run(command, "--help").stdout, flags=re.MULTILINE)
    assert lines
    for line in lines:
        answer = run(*shlex.split(line)[1:])
        assert answer.exit_code == 0, f"{line}\n{answer.stderr}"
        assert answer.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_says_what_it_is_for(command: str) -> None:
    assert main.commands[command].help
    for parameter in main.commands[command].params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_answer_in_json(command: str) -> None:
    assert "--json" in [option for parameter in main.commands[command].params for option in parameter.opts]


def test_the_help_names_the_commands_and_the_exit_codes(run: Run) -> None:
    answer = run("--help")

    shown = " ".join(answer.stdout.split())
    assert answer.exit_code == 0
    assert all(f"  {command} " in answer.stdout for command in COMMANDS)
    codes = ("0 done", "2 wrong usage", "3 input refused", "4 infeasible: conflicting limits", "5 no verified")
    assert all(code in shown for code in codes)
    assert max(map(len, answer.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rebalanse"], "No such command"),
        (["check"], "Missing argument 'BOOK'"),
        (["check", "book", "--colour"], "No such option"),
    ],
)
def test_wrong_usage_is_exit_two_with_a_word_of_help(arguments: list[str], said: str, run: Run) -> None:
    answer = run(*arguments)

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert re.search(r"-h(elp)?' for help", answer.stderr)  # click before 8.2 names the short one


@pytest.fixture(scope="module")
def checked(root: Path) -> subprocess.CompletedProcess[bytes]:
    """A run that goes well, its streams read by a program."""
    return started(root, "check", "data/listed")


@pytest.mark.xdist_group("a run that goes well")
def test_the_module_is_the_command(checked: subprocess.CompletedProcess[bytes]) -> None:
    assert checked.returncode == 0, checked.stderr
    assert "Listed AI names" in checked.stdout.decode()
    assert checked.stderr == b""


def test_the_module_calls_itself_allocator(root: Path) -> None:
    assert b"Usage: python -m allocator" in started(root, "--help").stdout


def test_a_terminal_without_unicode_is_served_too(root: Path) -> None:
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    named = ("data/listed", "--set", "book.name=Zürich €")
    plan = started(root, "rebalance", *named, **plain)
    refused = started(root, "check", *named, "--set", "mandate.max_wieght=1", **plain)

    assert plan.returncode == 0, plan.stderr
    assert b"Z?rich ? ? account main" in plan.stdout
    assert b"sell  NVDA" in plan.stdout
    assert plan.stdout.isascii()
    assert refused.returncode == 3
    assert b"did you mean 'max_weight'?" in refused.stderr


@pytest.mark.xdist_group("a run that goes well")
def test_colours_stay_away_from_files_and_where_they_are_unwanted(
    root: Path, checked: subprocess.CompletedProcess[bytes]
) -> None:
    refused = started(root, "check", "data/lsted", NO_COLOR="1")

    assert b"\x1b[" not in checked.stdout + refused.stderr
    assert refused.returncode == 3


def test_a_wide_terminal_is_asked_through_columns(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = run("check", root / "data" / "listed").stdout.splitlines()

    assert any(len(line) > 80 for line in lines)
    assert max(map(len, lines)) <= 200


def test_a_reader_that_leaves_early_is_no_defect(root: Path) -> None:
    line = f"{sys.executable} -m allocator check data/listed | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)  # 0 where all was written before the reader left
    assert done.stderr == ""
    closed = f"{sys.executable} -m allocator check data/listed | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", closed], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_results_and_messages_go_to_their_own_streams(root: Path, listed: Folder) -> None:
    done = started(root, "rebalance", str(listed.path), "--json", "--out", "plans", folder=listed.path.parent)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"{\n")
    assert done.stdout.endswith(b"}\n")
    assert done.stderr.decode().split() == ["wrote", "plans/orders.csv", "and", "plans/plan.json", "(not", "recorded)"]


def test_a_reader_that_stops_listening_gets_no_traceback(root: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{shlex.quote(sys.executable)} -m allocator schema book | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, check=False,
    )  # fmt: skip

    assert b"Traceback" not in done.stderr
    assert done.stdout == b"{\n"
