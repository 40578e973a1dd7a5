"""What a run is made from, by name: the files of its book, its options, and the versions of what reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from allocator.book.book import OPTIONAL, REQUIRED, Book
from allocator.book.checks.consistency import used_by
from allocator.book.loading import read_source
from allocator.errors import BadInput, Breach
from allocator.plan.run import digest
from allocator.plugins import installed
from allocator.settings.reading import read_settings
from allocator.settings.settings import SourceTable

_BESIDE = ("book.toml", "scenarios.md")


def digests_of(folder: Path, overrides: Sequence[str] = (), as_of: dt.date | None = None) -> dict[str, str]:
    """The digest of every file and table that a book is read from; nothing where it cannot be read, as `load` says why.

    What a source of another package gives is read for it: no name tells whether it has changed.
    """
    found: dict[str, str] = {}
    try:
        text = (folder / "book.toml").read_bytes().decode("utf-8-sig")
        tables = read_settings(text, overrides=overrides, as_of=as_of).tables
        for name in REQUIRED + OPTIONAL:
            where = getattr(tables, name)
            if isinstance(where, SourceTable):
                raw = read_source(name, where, folder)
                found[raw.name] = digest(raw.frame.to_csv(index=False).encode())
            elif (folder / where).is_file():
                found[where] = digest((folder / where).read_bytes())
    except (OSError, UnicodeDecodeError, BadInput):
        return {}
    return found | {name: digest((folder / name).read_bytes()) for name in _BESIDE if (folder / name).is_file()}


def refuse_moving(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise where a file changed while the book was read: nobody could say what the plan was made from."""
    cure = "let whoever writes the book finish, and run again"
    moved = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not before and not moved:  # it could be read in between, and neither before nor after
        moved = ["book.toml"]
    if moved:
        raise BadInput([Breach(name, None, None, None, "changed while it was read", cure) for name in moved])


def inputs_of(book: Book, digests: Mapping[str, str], options: Mapping[str, str | None]) -> dict[str, str]:
    """Digests of files, options that were given (such as `--as-of`), our version and those of the plugins in use."""
    named = used_by(book.settings)
    # an exporter counts where it is asked for, and a command makes no plan
    kinds = [kind for kind in named if kind not in ("exporters", "commands")]
    used = [(kind, name) for kind in kinds for name in sorted(named[kind])]
    exports = (options.get("--export") or "").split()
    plugins = {
        f"{one.package} ({one.name})": one.version
        for kind, name in [*used, *(("exporters", name) for name in exports)]
        for one in installed(kind)
        if one.name == name
    }
    given = {name: value for name, value in options.items() if value}
    return {**digests, **given, **plugins, "allocator": version("portfolio-allocator")}
