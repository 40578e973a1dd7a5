"""Whenever the command is killed, orders.csv and plan.json are of one plan, whole, and the plan before is readable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.fuzz.killing import (
    environment,
    faults_of_pair,
    killed_commands,
    killed_writers,
    rebalance,
    two_pairs,
)
from tests.thoroughness import count, some

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and links as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent.parent
BOOK = ROOT / "tests" / "typed"


of_pairs = pytest.mark.xdist_group("pairs of plans")  # which are made once


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two plans."""
    return two_pairs(BOOK, tmp_path_factory.mktemp("pairs"))


@of_pairs
def test_orders_and_plan_name_the_digest_of_each_other(pairs: Path) -> None:
    assert faults_of_pair(pairs / "0") == []
    assert faults_of_pair(pairs / "1") == []
    assert (pairs / "0" / "orders.csv").read_bytes() != (pairs / "1" / "orders.csv").read_bytes()


@of_pairs
def test_a_pair_of_two_plans_is_told_apart(pairs: Path, tmp_path: Path) -> None:
    for name, one in (("orders.csv", "0"), ("plan.json", "1")):
        (tmp_path / name).write_bytes((pairs / one / name).read_bytes())

    assert faults_of_pair(tmp_path) == ["plan.json names other orders", "orders.csv names another plan"]


@of_pairs
@pytest.mark.parametrize("seed", some(range(2), 2))
def test_two_writers_of_which_one_is_killed_never_leave_a_mixed_or_half_pair(
    pairs: Path, tmp_path: Path, seed: int
) -> None:
    out = tmp_path / "deep" / "out"

    found = dict(killed_writers(pairs, out, seed, count(100, 20)))

    assert {number: faults for number, faults in found.items() if faults} == {}


def test_the_real_command_killed_at_any_time_leaves_the_plan_before_or_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"

    found = list(killed_commands(BOOK, out, 15, count(200, 50)))

    assert [one for one in found if one[2]] == []
    assert any(code < 0 for code, _, _ in found)  # some were killed, and some of those as they wrote
    assert any(code < 0 and writing for code, writing, _ in found)
    subprocess.run(rebalance(BOOK, out), env=environment(), check=True, capture_output=True)
    assert faults_of_pair(out) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # what was in the making is swept
    assert sorted(path.name for path in out.iterdir() if path.name != ".plans") == ["orders.csv", "plan.json"]


@of_pairs
def test_what_a_killed_writer_left_behind_is_swept_and_what_a_living_one_makes_is_not(
    pairs: Path, tmp_path: Path
) -> None:
    from allocator.plan.runs import _folder_in_the_making, write_files

    out = tmp_path / "out"
    files, other_files = ({path.name: path.read_bytes() for path in (pairs / one).iterdir()} for one in ("0", "1"))
    write_files(files, out)
    for left in (out / ".writing-abcdefgh", tmp_path / f".writing-{'0' * 32}"):
        left.mkdir()
        (left / "plan.json").write_bytes(b"half")
    other = tmp_path / ".writing-by-hand"
    other.mkdir()

    with _folder_in_the_making(tmp_path) as living:
        write_files(other_files, out)
        write_files(files, tmp_path / "another")
        assert living.is_dir()

    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-by-hand", "another", "out"]
    assert sorted(path.name for path in out.iterdir()) == [".plans", "orders.csv", "plan.json"]


@of_pairs
def test_files_of_before_stay_as_they_were_where_the_folder_cannot_be_written(
    pairs: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(pairs / "0", out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    (out / ".plans").write_text("in the way", encoding="utf-8")

    done = run("rebalance", BOOK, "--out", out, "--set", "mandate.max_turnover=0.3")

    assert done.exit_code == 3, done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in before} == before
