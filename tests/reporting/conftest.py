"""The documents of one sample book, as `--json` writes them: what everything here is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import runner


@pytest.fixture(scope="session")
def documents(root: Path) -> dict[str, Any]:
    """By command, of `data/listed`."""
    from allocator.__main__ import main

    book = str(root / "data" / "listed")
    asked = {
        "rebalance": (), "beliefs": (), "returns": (), "outlook": (),
        "stress": (
            "--shock", "rates_up", "--shock", "multiples_54_to_25", "--reverse", "10%", "--beliefs", "--map", "3",
        ),
    }  # fmt: skip
    answers = {name: runner().invoke(main, [name, book, *more, "--json"]) for name, more in asked.items()}
    return {name: json.loads(answer.stdout) for name, answer in answers.items()}
