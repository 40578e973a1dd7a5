"""Tables that another package reads, from wherever it has them; from then on they are tables like any other.

A plugin is `read(table, folder, parameters)`: the name of the table, the folder of the book, what `book.toml` says; it
gives a DataFrame.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from allocator.book.sections import SourceTable
from allocator.book.tables import RawTable, from_frame
from allocator.plugins import called, loaded


def read_source(table: str, wanted: SourceTable, folder: Path) -> RawTable:
    """The table as a source of another package gives it, held to no contract yet.

    Raises:
        BadInput: the source is missing or fails, or gives no table.
    """
    plugin, read = loaded("sources", wanted.source, "book.toml", f"tables.{table}")
    frame = called(plugin, read, table, folder, deepcopy(wanted.parameters))
    return from_frame(f"{table} of {wanted.source}", frame)
