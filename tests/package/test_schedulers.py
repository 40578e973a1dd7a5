"""The page for schedulers: its crontab is run as cron would, its tasks with stand-ins, its codes are the errors'."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from allocator import errors
from allocator.commands.options import INTERRUPTED

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "schedulers.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def crontab(text: str) -> tuple[dict[str, str], list[tuple[list[str], str]]]:
    """A crontab's variables, and its jobs as five fields and a command as a shell is given it.

    Raises:
        ValueError: a line is neither, a field is out of its range, or a percent sign would end the command.
    """
    variables, jobs = dict[str, str](), list[tuple[list[str], str]]()
    for line in text.splitlines():
        if found := re.fullmatch(r"(\w+)\s*=\s*(.*)", line):
            variables[found[1]] = found[2]
            continue
        *fields, command = line.split(maxsplit=5)
        if len(fields) != 5 or not all(map(within, fields, RANGES)):
            raise ValueError(f"not five fields of a crontab: {line}")
        if re.search(r"(?<!\\)%", command):
            raise ValueError(f"cron ends the command at a bare %: {line}")
        jobs.append((fields, command.replace(r"\%", "%")))
    return variables, jobs


def within(field: str, limits: tuple[int, int]) -> bool:
    parts = [re.fullmatch(r"(\*|\d+(-\d+)?)(/[1-9]\d*)?", part) for part in field.split(",")]
    numbers = [int(number) for part in parts if part for number in re.findall(r"\d+", part[1])]
    return all(parts) and all(limits[0] <= number <= limits[1] for number in numbers)


def test_the_crontab_runs_the_book_once_a_day(page: str, root: Path, tmp_path: Path) -> None:
    (text,) = blocks(page, "cron")
    variables, ((_, command),) = crontab(text)
    (tmp_path / "thesis").mkdir()
    for path in (root / "tests" / "typed").iterdir():
        (tmp_path / "thesis" / path.name).write_bytes(path.read_bytes())
    program = tmp_path / "bin" / "allocator"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m allocator "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    surroundings = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root)}

    done = [
        subprocess.run(["sh", "-c", command], env=os.environ | variables | surroundings | {"BOOKS": str(tmp_path)},
                       capture_output=True, encoding="utf-8", check=True, stdin=subprocess.DEVNULL)
        for _ in range(2)
    ]  # fmt: skip

    (made,) = (tmp_path / "plans").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.name)
    assert (made / "orders.csv").is_file()
    assert "BOOKS" in variables
    assert [one.stdout + one.stderr for one in done] == ["", ""]  # kept in the log, not mailed
    (tmp_path / "thesis" / "exposures.csv").unlink()
    failed = subprocess.run(
        ["sh", "-c", command.replace("%F", "%F-again")], env=os.environ | variables | surroundings
        | {"BOOKS": str(tmp_path)}, capture_output=True, encoding="utf-8", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "exposures" in failed.stdout  # the end of the log, with the cure, is what cron mails
    assert "already done" in (tmp_path / "rebalance.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["60 17 * * *  true", "30 17 * *  true", "30 17 * * 1-8  true", "0 1 * * *  date +%F"])
def test_a_line_that_cron_would_not_run_as_it_is_meant_is_found(line: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        crontab(line)


class Refused(Exception):
    """What both schedulers have for a failure that is not tried again."""

    def __init__(self, message: str, *, allow_retries: bool = True) -> None:
        super().__init__(message)
        self.allow_retries = allow_retries


def decorating(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function


def airflow() -> dict[str, ModuleType]:
    sdk, exceptions, pendulum = ModuleType("airflow.sdk"), ModuleType("airflow.exceptions"), ModuleType("pendulum")
    vars(sdk).update(dag=lambda **_: lambda _: lambda: None, task=decorating)
    vars(exceptions).update(AirflowFailException=Refused)
    vars(pendulum).update(datetime=lambda *_, **__: None)
    return {"airflow": ModuleType("airflow"), "airflow.sdk": sdk, "airflow.exceptions": exceptions,
            "pendulum": pendulum}  # fmt: skip


def dagster() -> dict[str, ModuleType]:
    made = ModuleType("dagster")
    vars(made).update(
        asset=decorating, Failure=Refused, AssetExecutionContext=object, MaterializeResult=lambda metadata: metadata,
        DailyPartitionsDefinition=lambda start_date: start_date, RetryPolicy=dict,
    )  # fmt: skip
    return {"dagster": made}


TASKS = {
    "rebalance": (airflow, "scheduled__2026-11-20T17:30:00+00:00"),
    "orders": (dagster, SimpleNamespace(partition_key="2026-11-20")),
}


def task(name: str, page: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """The task of the page by its name, with a stand-in for its scheduler; it is given what names the run."""
    stand_in, given = TASKS[name]
    for module, loaded in stand_in().items():
        monkeypatch.setitem(sys.modules, module, loaded)
    (text,) = (text for text in blocks(page, "py") if f"def {name}(" in text)
    names: dict[str, Any] = {}
    exec(compile(text, f"docs/schedulers.md: {name}", "exec"), names)
    return lambda: names[name](given)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_gives_up_where_no_retry_can_help_and_only_there(
    name: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = task(name, page, monkeypatch)

    def answered(code: int) -> None:
        done = subprocess.CompletedProcess(["allocator"], code, stdout="said", stderr="")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    for code in (1, 2, 3, 4):
        answered(code)
        with pytest.raises(Refused, match="said") as refused:
            run()
        assert name != "orders" or not refused.value.allow_retries
    for code in (5, INTERRUPTED, -9):
        answered(code)
        with pytest.raises(subprocess.CalledProcessError):
            run()
    answered(0)
    assert "/orders.csv" in str(run())


@pytest.mark.parametrize("name", TASKS)
def test_the_command_of_a_task_is_one_that_we_take(
    name: str, page: str, monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path,
    run: Callable[..., Any],
) -> None:  # fmt: skip
    asked: list[list[str]] = []

    def keep(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    here = task(name, page, monkeypatch)
    monkeypatch.setattr(subprocess, "run", keep)
    here()
    monkeypatch.undo()
    ((program, command, _, *options),) = asked
    options[options.index("--out") + 1] = str(tmp_path / "plans")

    assert program == "allocator"
    assert run(command, root / "tests" / "typed", *options).exit_code == 0
    assert len(list((tmp_path / "plans").iterdir())) == 1


def test_the_table_of_exit_codes_is_that_of_the_errors(page: str) -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)}
    own = {
        kind.exit_code
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.AllocatorError)
    }

    assert told == own | {0, 2, INTERRUPTED}
