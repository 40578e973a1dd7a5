"""How plugins look: one row each, by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.display.console import console, table
from allocator.plugins import GROUPS, Plugin


def show_plugins(found: Sequence[Plugin], used: Mapping[str, set[str]] | None) -> None:
    """Print what `plugins` found; `used` are the names that a book uses, by kind."""
    out = console()
    if not found:
        groups = ", ".join(GROUPS.values())
        out.print(f"No installed package adds anything: none has an entry point of {groups}.")
        return
    made = table("kind", "name", "package", "version", *(() if used is None else ("used",)))
    for plugin in found:
        row = [plugin.kind, plugin.name, plugin.package, plugin.version]
        made.add_row(*row, *(() if used is None else ("yes" if plugin.name in used[plugin.kind] else "",)))
    out.print(made)
