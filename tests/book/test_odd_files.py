"""What may stand in place of a file: a pipe, a device, a folder, a link to itself, a name that no file can have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from allocator.book.loading import MANY_ROWS, load
from allocator.errors import BadInput
from tests.conftest import Folder

Run = Callable[..., Result]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and links as POSIX has them")
FILES = ("book.toml", "holdings.csv", "benchmark.csv", "scenarios.md")


def refused(folder: Path, **options: list[str]) -> list[str]:
    """Every error of a book."""
    with pytest.raises(BadInput) as caught:
        load(folder, **options)  # type: ignore[arg-type]
    return [str(breach) for breach in caught.value.breaches]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("put", "said"),
    [
        (pipe, "is no plain file but a pipe, a socket or a device; put a plain file there"),
        (device, "is no plain file but a pipe, a socket or a device; put a plain file there"),
        (loop, "cannot be read: Too many levels of symbolic links; check the file and its rights"),
        (folder, ""),
    ],
)
def test_what_is_no_plain_file_is_refused_and_never_opened(
    listed: Folder, run: Run, file: str, put: Callable[[Path], None], said: str
) -> None:
    (listed.path / file).unlink()
    put(listed.path / file)

    for command in ("check", "rebalance"):
        answer = run(command, listed.path)

        assert answer.exit_code == 3
        assert f"{file} {said}".split("; ")[0] in " ".join(answer.stderr.split())


def test_a_pipe_in_place_of_a_neighbouring_book_is_not_opened(listed: Folder) -> None:
    neighbour = listed.path.parent / "other"
    neighbour.mkdir()
    os.mkfifo(neighbour / "book.toml")

    assert refused(listed.path.parent / "othe") == [
        f"{listed.path.parent / 'othe'}: there is no such folder; known here: listed"
    ]


def test_names_that_no_file_can_have_are_refused(listed: Folder) -> None:
    long = "a" * 300

    assert "cannot be read: File name too long" in refused(listed.path.parent / long)[0]
    assert "cannot be read: File name too long" in refused(listed.path, overrides=[f"tables.prices={long}.csv"])[0]


def test_a_folder_that_nobody_may_read_is_refused(listed: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def shut(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", shut)
        found = refused(listed.path)

    assert found == [f"{listed.path}: cannot be read: Permission denied; check the folder and its rights"]


def many_accounts(listed: Folder, accounts: int) -> None:
    """Holdings of so many further accounts, all sound."""
    rows = listed.rows("holdings.csv")
    at = rows[0].index("account")
    further = [[*row[:at], f"a{number}", *row[at + 1 :]] for number in range(accounts) for row in rows[1:]]
    listed.write("holdings.csv", [*rows, *further])


def test_rows_of_other_accounts_change_nothing_and_broken_ones_are_refused(listed: Folder) -> None:
    alone = load(listed.path)
    many_accounts(listed, 2 + MANY_ROWS // len(alone.instruments))
    rows = listed.rows("holdings.csv")

    among_many = load(listed.path, account="main")

    assert among_many.quantities.tolist() == alone.quantities.tolist()
    assert among_many.prices.tolist() == alone.prices.tolist()
    for column, value, said in (
        ("quantity", "1,5", "must be a number"), ("quantity", "-1", "must be at least 0"),
        ("price", "99", "differs from another row"), ("account", "", "must not be blank"),
        ("currency", "usd", "must be three capital letters"), ("instrument", "NVDIA", "NVDIA"),
    ):  # fmt: skip
        broken = [list(row) for row in rows]
        broken[-3][rows[0].index(column)] = value
        listed.write("holdings.csv", broken)
        with pytest.raises(BadInput) as caught:
            load(listed.path, account="main")
        assert [b for b in caught.value.breaches if said in str(b) and b.row == len(rows) - 2], (column, value)


def test_no_pipe_is_opened_or_suggested_for_a_table_that_is_missing(listed: Folder) -> None:
    (listed.path / "holdings.csv").rename(listed.path / "kept.txt")
    os.mkfifo(listed.path / "holdngs.csv")
    (listed.path / "holdins.csv").mkdir()

    told = refused(listed.path)
    assert "holdings.csv: this file is missing; add holdings.csv to the folder 'listed'" in told
    strangers = [one for one in told if one.startswith(("holdngs.csv", "holdins.csv"))]
    assert len(strangers) == 2
    assert all(one.endswith("no table of a book has this name; it is no plain file: move it away") for one in strangers)
