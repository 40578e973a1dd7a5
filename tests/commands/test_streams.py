"""Streams and arguments as shells give them: closed, full, left, of other bytes, and wrong usage for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.conftest import ROOT, Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
TYPED = ROOT / "tests" / "typed"
OTHER = os.fsdecode(b"\xff\x1b[31m")
"""What Python makes of an argument that is not UTF-8 and would steer a terminal."""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="what shells of POSIX do to streams")


def in_shell(arguments: str, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it; it may not wait for anything."""
    line = f'"{sys.executable}" -m allocator {arguments} {redirection}'
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment}
    return subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=inherited, capture_output=True, text=True, check=False, timeout=300,
        errors="surrogateescape",
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [("check",), ("check", "x", "--jsn"), ("chek", "x"), ("check", "x", "--as-of", "1")]
)
def test_wrong_usage_answers_in_json_with_exit_2(run: Run, valid: Valid, arguments: tuple[str, ...]) -> None:
    answer = run(*arguments, "--json")

    document = valid(answer.stdout, "error")
    assert answer.exit_code == document["exit_code"] == 2
    assert document["error"] == "UsageError"
    assert document["message"] in run(*arguments).stderr


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&- <&-"])
def test_a_closed_stdout_wants_no_answer_and_gives_no_traceback(redirection: str) -> None:
    done = in_shell("check tests/typed", redirection)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", ["check tests/typed", "check tests/typed --json", "--help", "schema book"])
def test_a_full_stdout_is_said_and_is_no_success(arguments: str) -> None:
    done = in_shell(arguments, ">/dev/full")

    assert done.returncode == 3
    assert "stdout cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_stderr_leaves_the_exit_code_that_says_it() -> None:
    assert in_shell("check nowhere", "2>/dev/full").returncode == 3


@pytest.mark.parametrize("columns", ["0", "-5", "junk", "²", "1", "99999999999999999999"])
def test_a_width_that_no_terminal_has_is_taken_for_80(columns: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    usual = run("check", TYPED)

    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    odd = run("check", TYPED)

    assert (odd.exit_code, odd.stdout) == (0, usual.stdout)


def test_a_shell_that_states_such_a_width_is_answered_in_80_columns() -> None:
    done = in_shell("check tests/typed", COLUMNS="²", LINES="0")

    assert done.returncode == 0
    assert 60 < max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", TYPED, "--account", OTHER), ("check", TYPED, "--set", f"mandate.max_weight={OTHER}"),
        ("check", OTHER), ("check", TYPED, "--set", f"{OTHER}.a=1"), ("init", TYPED, "--from", OTHER),
    ],
)  # fmt: skip
def test_arguments_of_other_bytes_are_refused_and_cannot_steer_the_terminal(
    arguments: tuple[object, ...], run: Run
) -> None:
    for form in ((), ("--json",)):
        done = run(*arguments, *form)

        assert done.exit_code == 3, done.stderr
        assert not set(done.stdout + done.stderr) & {"\x1b", "\udcff"}
        assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 3


def test_other_bytes_reach_the_command_from_a_shell_and_are_refused_as_well() -> None:
    done = in_shell(r"check $'\xff\e[31m'")

    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr
    assert not set(done.stderr) & {"\x1b", "\udcff"}


def test_nothing_from_a_book_steers_the_terminal_and_json_keeps_it(listed: Folder, run: Run) -> None:
    steering = "\x1b[31mred\u202e\x07\x9b2J"
    listed.cell("exposures.csv", "NVDA", "issuer", steering)
    listed.replace("book.toml", 'name = "Listed AI names"', r'name = "\u001b[31mred\u202E"')

    shown = run("rebalance", listed.path, "--full")
    document = json.loads(run("rebalance", listed.path, "--json").stdout)

    assert shown.exit_code == 0, shown.stderr
    assert not set(shown.stdout + shown.stderr) & {"\x1b", "\u202e", "\x07", "\x9b"}
    assert r"\x1b[31mred" in shown.stdout
    assert document["book"]["name"] == "\x1b[31mred\u202e"


def test_what_a_refusal_quotes_steers_nothing(listed: Folder, run: Run) -> None:
    listed.cell("holdings.csv", "NVDA", "currency", "\x1b]0;title\x07")
    (listed.path / "\x1b[31m.csv").write_text("a\n1\n", encoding="utf-8")

    answer = run("check", listed.path)

    assert answer.exit_code == 3
    assert not set(answer.stderr) & {"\x1b", "\x07"}


def test_what_is_told_of_written_files_steers_nothing(listed: Folder, run: Run, tmp_path: Path) -> None:
    answer = run("init", tmp_path / "\x1b[31m")

    assert answer.exit_code == 0
    assert "\x1b" not in answer.stdout
    assert "\\x1b[31m" in answer.stdout
    assert listed.path.is_dir()
