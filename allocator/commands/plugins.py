"""`allocator plugins [BOOK]`: what other packages add, from which of them, and what of it a book uses."""

from __future__ import annotations

from typing import Any

import click

from allocator.commands.answer import answers


@click.command()
@click.argument("book", metavar="[BOOK]", required=False, type=click.Path())
@answers
def plugins(book: str | None, *, as_json: bool) -> dict[str, Any]:
    """List the rules, objectives, models, sources, exporters and commands that other installed packages add.

    With BOOK, also which of them it uses. Nothing is imported but the sources of its tables.

    \b
    Examples:
      allocator plugins
      allocator plugins data/listed
    """
    from allocator.plugins import GROUPS, installed

    used: dict[str, set[str]] | None = None
    if book is not None:
        from allocator.book.checks.consistency import used_by
        from allocator.book.loading import load

        used = used_by(load(book).settings)
    found = [plugin for kind in GROUPS for plugin in installed(kind)]
    if not as_json:
        from allocator.display.plugged import show_plugins

        show_plugins(found, used)
    return {
        "format": "allocator.plugins/1",
        "groups": dict(GROUPS),
        "plugins": [
            vars(plugin) | {"used": None if used is None else plugin.name in used[plugin.kind]} for plugin in found
        ],
    }
