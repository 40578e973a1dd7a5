"""The example package of the docs: built, installed beside nothing but what is here, and used from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.xdist_group("example plugin")


@dataclass(frozen=True)
class Example:
    """A folder of installed packages, the checkout, and a folder to stand in."""

    packages: Path
    root: Path
    outside: Path

    def run(self, *arguments: str, code: int = 0) -> str:
        """What `allocator ARGUMENTS` prints on stdout with the example installed."""
        paths = os.pathsep.join([str(self.packages), str(self.root)])
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "allocator", *arguments], cwd=self.outside,
            env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "100", "NO_COLOR": "1"}, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def example(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Example:
    place = tmp_path_factory.mktemp("example")
    # Without isolation: built by the hatchling that constraints.txt pins.
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
         "--no-build-isolation", "--target", str(place / "packages"), str(root / "docs" / "example_plugin")],
        check=True, cwd=place,
    )  # fmt: skip
    (place / "outside").mkdir()
    return Example(place / "packages", root, place / "outside")


def with_plugins(example: Example, text: str) -> Path:
    """A copy of the typed-in book with more in its book.toml."""
    book = example.outside / "book"
    book.mkdir(exist_ok=True)
    for path in (example.root / "tests" / "typed").iterdir():
        (book / path.name).write_bytes(path.read_bytes())
    (book / "book.toml").write_text((book / "book.toml").read_text(encoding="utf-8") + text, encoding="utf-8")
    return book


def test_a_book_is_rebalanced_with_everything_of_the_example(example: Example) -> None:
    text = """
[plugins.rules.together]
names = ["EQIX", "MSFT"]
limit = 0.10

[plugins.objectives.intensity]
rate = 0.02

[plugins.models.beta_times_market]
cash = 0.04

[plugins.models.beta_times_market.market]
generalizable_jevons = 0.20
generalizable_compression = -0.15
proprietary_jevons = 0.15
proprietary_compression = 0.02

[plugins.exporters.basket]
desk = "thesis"
"""
    book = with_plugins(example, text)
    (book / "scenario_returns.csv").unlink()

    listed = json.loads(example.run("plugins", "book", "--json"))["plugins"]
    plan = json.loads(example.run("rebalance", "book", "--out", "out", "--export", "basket", "--json"))

    assert [(one["kind"], one["name"], one["version"], one["used"]) for one in listed] == [
        ("rules", "together", "1.2.0", True),
        ("objectives", "intensity", "1.2.0", True),
        ("models", "beta_times_market", "1.2.0", True),
        ("exporters", "basket", "1.2.0", True),
    ]
    (rule,) = [rule for rule in plan["rules"] if rule["rule"] == "the listed names together at most 10%"]
    assert rule["measured"] <= 0.10 + 1e-9
    assert max(map(max, plan["proof"]["returns"])) > 0.2  # the model's: a beta above 1 in the best scenario
    exposures = pd.read_csv(book / "exposures.csv").set_index("instrument")["capital_intensity_share"]
    assert plan["proof"]["return_error"]["deviations"] == pytest.approx(
        0.02 * exposures.loc[[one["instrument"] for one in plan["positions"]][:-1]].to_numpy()
    )
    lines = (example.outside / "out" / "basket.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"desk": "thesis", "side": order["side"], "ticker": order["instrument"], "quantity": order["quantity"]}
        for order in plan["orders"]
    ]


def test_parameters_that_the_example_does_not_know_are_refused_in_its_own_words(example: Example) -> None:
    with_plugins(example, '\n[plugins.rules.together]\nnames = ["NVDIA"]\nlimit = 10.0\nteir = 2\n')

    document = json.loads(example.run("check", "book", "--json", code=3))

    found = {breach["column"]: breach["cure"] for breach in document["errors"]}
    assert found == {
        "plugins.rules.together.names": "did you mean 'NVDA'?",
        "plugins.rules.together.limit": "12 % is 0.12",
        "plugins.rules.together.teir": "did you mean 'tier'?",
    }
