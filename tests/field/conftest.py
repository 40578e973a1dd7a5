"""Situations that people reported elsewhere, retold in small books beside the checkout: what came of each, and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result


@dataclass(frozen=True)
class Answer:
    """What `rebalance --json` answered: its exit status and its document."""

    status: int
    document: dict[str, Any]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors of a refusal."""
        return list(self.document.get("errors", ()))

    @property
    def orders(self) -> dict[str, float]:
        """Signed quantities by name."""
        return {
            order["instrument"]: order["quantity"] * (1 if order["side"] == "buy" else -1)
            for order in self.document["orders"]
        }

    def says(self, *words: str) -> bool:
        """Whether one error says all of these, in its rule or its cure."""
        return any(all(word in json.dumps(error, ensure_ascii=False) for word in words) for error in self.errors)


@pytest.fixture(scope="session")
def field() -> Path:
    """The folder of situations; .ci/run refuses this skip where it is present."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "field"
    if not folder.is_dir():
        pytest.skip("../shared/field is absent")
    return folder


@pytest.fixture
def case(field: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of a book of a case, by the case's number: it may be changed."""

    def copied(number: str, book: str = "book") -> Path:
        (folder,) = field.glob(f"{number}-*")
        shutil.copytree(folder / book, tmp_path / f"{number}-{book}", dirs_exist_ok=True)
        return tmp_path / f"{number}-{book}"

    return copied


@pytest.fixture
def answer(run: Callable[..., Result], case: Callable[..., Path]) -> Callable[..., Answer]:
    """What the command answers to a book of a case."""

    def asked(number: str, book: str = "book", *options: str) -> Answer:
        result = run("rebalance", case(number, book), "--json", *options)
        return Answer(result.exit_code, json.loads(result.stdout))

    return asked
