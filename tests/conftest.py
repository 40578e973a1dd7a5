"""What every room's tests may ask for: the checkout, the files that belong to it, the published reference numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
