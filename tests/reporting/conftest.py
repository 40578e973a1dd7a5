"""The documents of one sample book, as `--json` writes them: what everything here is made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system, which .ci/run installs and of which it refuses this skip."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield opened
        opened.close()
