"""What a run is made from, by name: the files of its book, its options, and the versions of what reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from allocator.book.book import OPTIONAL, REQUIRED, Book
from allocator.book.settings import read_settings
from allocator.errors import BadInput, Breach
from allocator.plan.run import digest
from allocator.plugins import installed

_BESIDE = ("book.toml", "scenarios.md")


def digests_of(folder: Path, overrides: Sequence[str] = (), as_of: dt.date | None = None) -> dict[str, str]:
    """The digest of every file that a book is read from; nothing of a book that cannot be read, as `load` says why."""
    try:
        text = (folder / "book.toml").read_bytes().decode("utf-8-sig")
        tables = read_settings(text, overrides=overrides, as_of=as_of).tables
    except (OSError, UnicodeDecodeError, BadInput):
        return {}
    names = [*_BESIDE, *(getattr(tables, name) for name in REQUIRED + OPTIONAL)]
    return {name: digest((folder / name).read_bytes()) for name in names if (folder / name).is_file()}


def refuse_moving(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise where a file changed while the book was read: nobody could say what the plan was made from."""
    cure = "let whoever writes the book finish, and run again"
    moved = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if moved:
        raise BadInput([Breach(name, None, None, None, "changed while it was read", cure) for name in moved])


def inputs_of(book: Book, digests: Mapping[str, str], options: Mapping[str, str | None]) -> dict[str, str]:
    """Digests of files, options that were given (such as `--as-of`), our version and those of the plugins in use."""
    used = [(kind, name) for kind in ("rules", "models") for name in getattr(book.settings.plugins, kind)]
    exports = (options.get("--export") or "").split()
    plugins = {
        f"{one.package} ({one.name})": one.version
        for kind, name in [*used, *(("exporters", name) for name in exports)]
        for one in installed(kind)
        if one.name == name
    }
    given = {name: value for name, value in options.items() if value}
    return {**digests, **given, **plugins, "allocator": version("portfolio-allocator")}
