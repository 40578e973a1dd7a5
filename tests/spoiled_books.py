"""A book on disk, spoiled: what loading it says, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from allocator.book.loading import load
from allocator.errors import BadInput

if TYPE_CHECKING:
    from tests.conftest import Folder


def told(book: Folder, **options: Any) -> list[str]:
    """What loading a spoiled book says, a line each breach."""
    with pytest.raises(BadInput) as refused:
        load(book.path, **options)
    return [str(breach) for breach in refused.value.breaches]


def with_line(book: Folder, text: str) -> int:
    """The line of book.toml that begins with `text`."""
    lines = (book.path / "book.toml").read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.startswith(text)]
    return number


def add(book: Folder, text: str) -> None:
    """Write more at the end of book.toml."""
    path = book.path / "book.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\n" + text + "\n", encoding="utf-8")


def add_column(book: Folder, file: str, column: str, values: list[str]) -> None:
    """Write one more column, a value each row."""
    header, *rows = book.rows(file)
    book.write(file, [[*header, column], *([*row, value] for row, value in zip(rows, values, strict=True))])
