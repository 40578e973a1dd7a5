"""What `docs/contributing.md` promises: one of each kind takes at most three files of code, and all works with it.

A copy of the checkout gets a toy of each kind by the edits of `toys.py`, and a process of its own solves with each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.toys import TOYS

pytestmark = pytest.mark.xdist_group("toys")
SOLVES = Path(__file__).with_name("toy_solves.py")


def named_files(row: str) -> set[str]:
    """The files that a row of the page names, from the root, from allocator/, or from the folder named before."""
    found, folder = set[str](), ""
    for path in re.findall(r"`([\w/.]+)`", row):
        if path.endswith("/"):
            folder = path
        if "/" in path:
            found |= {path, f"allocator/{path}"}
        found.add(f"{folder}{path}")
    return found


@pytest.fixture(scope="module")
def told(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the process said of each toy, solved in one copy that has them all."""
    copy = tmp_path_factory.mktemp("toys")
    for folder in ("allocator", "docs", "schemas"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in (edit for edits in TOYS.values() for edit in edits):
        path = copy / edit.file
        text = path.read_text(encoding="utf-8") if edit.before else ""
        assert text.count(edit.before) == 1, f"{edit.before!r} stands {text.count(edit.before)} times in {edit.file}"
        path.write_text(text.replace(edit.before, edit.text + edit.before), encoding="utf-8")
    paths = os.pathsep.join(map(str, (copy, copy / "docs", root)))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(SOLVES), str(copy)], env=os.environ | {"PYTHONPATH": paths}, cwd=copy,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("toy", TOYS)
def test_a_toy_of_each_kind_is_solved_with_and_proved(told: dict[str, str], toy: str) -> None:
    assert told[toy] == ""


@pytest.mark.parametrize("toy", TOYS)
def test_a_toy_takes_no_more_files_than_the_page_names(root: Path, toy: str) -> None:
    page = (root / "docs" / "contributing.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {toy} |")]
    edited = {edit.file for edit in TOYS[toy]}
    code = {file for file in edited if file.endswith(".py")}

    assert len(code) <= 3
    assert {file for file in edited if not named_files(row) & {file, f"{Path(file).parent}/"}} == set()
