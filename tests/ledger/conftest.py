"""Ledgers that tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.places import KINDS, Place, Sample, new_place


@pytest.fixture(scope="session")
def sample() -> Sample:
    """One plan, recorded as often as a test likes."""
    return Sample.made()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A ledger that nobody has written to, on each database."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    if server is not None:
        monkeypatch.setenv("PGTEST_PASSWORD", server.password)
    return new_place(request.param, tmp_path, server)
