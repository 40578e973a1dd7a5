"""What every room's tests may ask for: the checkout, the files that belong to it, the published reference numbers."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result
from jsonschema import Draft202012Validator

from tests.command_line import runner

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.plan.plan import Plan
    from tests.importers.postgres import Server

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def reference() -> Path:
    """Numbers that others published, beside the checkout; .ci/run refuses this skip where the folder is present."""
    folder = ROOT.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("../shared/reference is absent")
    return folder


@pytest.fixture(scope="session")
def committed() -> list[Path]:
    """Every file of the checkout that git holds or would take, relative to `root`: no caches, no environments."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [Path(name) for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


@dataclass(frozen=True)
class Folder:
    """A book on disk that a test may spoil."""

    path: Path

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace text that is there exactly once."""
        text = (self.path / file).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        (self.path / file).write_text(text.replace(old, new), encoding="utf-8")

    def cell(self, file: str, instrument: str, column: str, value: str) -> int:
        """Write one cell of an instrument's row; the line that it stands on."""
        with (self.path / file).open(encoding="utf-8", newline="") as opened:
            header, *rows = list(csv.reader(opened))
        (position,) = [i for i, row in enumerate(rows) if row[header.index("instrument")] == instrument]
        rows[position][header.index(column)] = value
        self.write(file, [header, *rows])
        return position + 2

    def write(self, file: str, rows: Iterable[Sequence[object]]) -> None:
        """Write a whole table."""
        with (self.path / file).open("w", encoding="utf-8", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(rows)

    def price_at(self, last: Mapping[str, float]) -> None:
        """Write the prices of holdings.csv as a history that ends with `last` has them."""
        header, *rows = self.rows("holdings.csv")
        name, price = header.index("instrument"), header.index("price")
        for row in rows:
            row[price] = repr(float(last[row[name]])) if row[name] in last else row[price]
        self.write("holdings.csv", [header, *rows])

    def rows(self, file: str) -> list[list[str]]:
        """Header and rows as text."""
        with (self.path / file).open(encoding="utf-8", newline="") as opened:
            return list(csv.reader(opened))


@pytest.fixture
def listed(tmp_path: Path) -> Folder:
    """A copy of a book of listed names whose probabilities and scenario returns are typed in, to be spoiled."""
    shutil.copytree(ROOT / "tests" / "typed", tmp_path / "listed")
    return Folder(tmp_path / "listed")


@pytest.fixture
def note(tmp_path: Path) -> Folder:
    """A copy of the sample book that runs from signals, with figures and claims, to be spoiled."""
    shutil.copytree(ROOT / "tests" / "plain_books" / "note", tmp_path / "note")
    return Folder(tmp_path / "note")


@pytest.fixture
def run() -> Callable[..., Result]:
    """The command line in this process: `run("check", folder)`; a traceback fails the test that asked."""
    from allocator.__main__ import main

    def invoke(*arguments: object) -> Result:
        answer = runner().invoke(main, list(map(str, arguments)), prog_name="allocator")
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer

    return invoke


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the tests' own; who asks is of the xdist group "postgres", so that there is one."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'portfolio-allocator[postgres]'")
    from tests.importers.postgres import running_server

    with running_server() as found:
        yield found


PLANS: dict[bytes, Plan] = {}


@pytest.fixture
def plans_made_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, Plan]]:
    """Commands give the plan that a book of the same content was given before: for what is shown and written of plans.

    Where the same is to be solved again, a test clears what this gives; the tests after it have it back.
    """
    from allocator.plan import rebalance as plans

    solve, before = plans.rebalance, dict(PLANS)

    def remembered(book: Book, *, progress: Callable[[str], None] | None = None) -> Plan:
        content = hashlib.sha256(pickle.dumps(book)).digest()
        if content not in PLANS:
            PLANS[content] = solve(book, progress=progress)
        return PLANS[content]

    monkeypatch.setattr(plans, "rebalance", remembered)
    yield PLANS
    PLANS.update(before)


@pytest.fixture
def valid(root: Path) -> Callable[[str, str], dict[str, Any]]:
    """The one document that a command printed, held to schemas/<name>.schema.json."""

    def held(text: str, name: str) -> dict[str, Any]:
        document = json.loads(text)
        schema = json.loads((root / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(document)
        assert isinstance(document, dict)
        return document

    return held
