"""The picture of the README is what its command draws today."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result


def test_the_picture_of_the_readme_is_current(run: Callable[..., Result], root: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "beliefs.svg"
    run("beliefs", root / "data" / "note", "--plot", drawn)

    assert drawn.read_bytes() == (root / "docs" / "beliefs.svg").read_bytes(), "run `make picture`"
    assert "](docs/beliefs.svg)" in (root / "README.md").read_text(encoding="utf-8")
