"""What is installed is what is tested: the wheel, alone in a new environment, away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from allocator.__main__ import main
from tests.command_line import runner

# One build and one environment for all of these: under xdist they stay on one worker (--dist loadgroup).
pytestmark = pytest.mark.xdist_group("wheel")
PRIVATE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Installed:
    """A wheel, the environment that holds nothing but it and its dependencies, and a folder to stand in."""

    wheel: Path
    binaries: Path
    outside: Path

    def run(self, *command: str) -> str:
        """What `command` of the environment prints on stdout, run outside the checkout."""
        return run([str(self.binaries / command[0]), *command[1:]], self.outside)


def run(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in PRIVATE}
    environment |= {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(binaries: Path, *what: str) -> None:
    """With the pip of the tests; nothing is compiled before it is imported, as most of it never is."""
    pip = [sys.executable, "-m", "pip", "--python", str(binaries / "python"), "install", "--quiet", "--quiet"]
    run([*pip, "--no-input", "--no-compile", *what], binaries.parent)


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("wheel")
    # Without isolation: built by the hatchling that constraints.txt pins and that built the checkout's own install.
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(root)], place)
    (wheel,) = place.glob("*.whl")
    run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], place)
    binaries = place / "venv" / "bin"
    install(binaries, "--constraint", str(root / "constraints.txt"), str(wheel))
    outside = place / "outside"
    outside.mkdir()
    return Installed(wheel, binaries, outside)


def test_the_wheel_owns_one_name_only(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    version = installed.wheel.name.split("-")[1]

    assert {name.split("/")[0] for name in names} == {"allocator", f"portfolio_allocator-{version}.dist-info"}


def test_the_wheel_holds_exactly_what_the_checkout_holds(installed: Installed, committed: list[Path]) -> None:
    names = {name for name in zipfile.ZipFile(installed.wheel).namelist() if name.startswith("allocator/")}
    code = {path.as_posix() for path in committed if path.parts[0] == "allocator"}
    resources = {f"allocator/{path.as_posix()}" for path in committed if path.parts[0] in {"data", "schemas"}}

    assert resources
    assert names == code | resources


def test_the_program_runs_from_the_wheel_and_not_from_the_checkout(installed: Installed, root: Path) -> None:
    where = installed.run("python", "-c", "import allocator; print(allocator.__file__)").strip()

    assert Path(where).is_relative_to(installed.binaries.parent)
    assert not Path(where).is_relative_to(root)


def test_the_version_is_that_of_the_wheel(installed: Installed) -> None:
    assert installed.wheel.name.split("-")[1] in installed.run("allocator", "--version")


def test_the_help_is_the_same_as_from_the_checkout(installed: Installed, root: Path) -> None:
    assert installed.run("allocator", "--help") == run([sys.executable, "cli.py", "--help"], root)


def test_the_wheel_prints_the_same_plan_as_the_checkout(
    installed: Installed, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "data" / "listed", installed.outside / "data" / "listed")

    from_wheel = installed.run("allocator", "rebalance", "data/listed")

    assert from_wheel.strip()
    monkeypatch.chdir(root)
    here = runner().invoke(main, ["rebalance", "data/listed"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert from_wheel == here.stdout


def test_a_new_book_made_by_the_wheel_can_be_rebalanced(installed: Installed) -> None:
    installed.run("allocator", "init", "mine")

    assert installed.run("allocator", "rebalance", "mine").strip()


def test_the_wheel_knows_the_contracts_of_the_checkout(installed: Installed, root: Path) -> None:
    contracts = installed.run("allocator", "schema")

    assert contracts.strip()
    assert contracts == run([sys.executable, "cli.py", "schema"], root)


def test_the_example_package_is_installed_beside_the_wheel_and_used(installed: Installed, root: Path) -> None:
    """The last of these: what it installs stays."""
    place = installed.outside / "example"
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place),
         str(root / "docs" / "example_plugin")], installed.outside)  # fmt: skip
    (wheel,) = place.glob("*.whl")
    install(installed.binaries, "--no-deps", "--no-index", str(wheel))

    kinds = {one["kind"] for one in json.loads(installed.run("allocator", "plugins", "--json"))["plugins"]}
    assert kinds == {"rules", "objectives", "models", "exporters"}
    rule = 'plugins.rules.together={names = ["ADBE", "CRM"], limit = 0.10}'
    asked = ("--set", rule, "--set", "plugins.objectives.intensity.rate=0.02", "--export", "basket", "--out", "out")
    shutil.copytree(root / "data" / "listed", installed.outside / "again")
    plan = json.loads(installed.run("allocator", "rebalance", "again", *asked, "--json"))
    measured = {one["rule"]: one["measured"] for one in plan["rules"]}
    assert measured["the listed names together at most 10%"] <= 0.1 + 1e-9
    assert (installed.outside / "out" / "basket.jsonl").is_file()
