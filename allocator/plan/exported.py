"""A plan in another package's form: its exporter writes beside us, and what it wrote is taken whole or not at all.

A plugin is `write(document, folder, parameters)`: it is given the plan as plain data and an empty folder that is
nobody's yet, and leaves files there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from allocator.errors import BadInput, Breach
from allocator.plugins import Plugin, called, loaded, refused

OURS = ("orders.csv", "plan.json", "run.json")


def exporters_named(names: Sequence[str]) -> None:
    """Import every exporter that was asked for, so that none is found missing after the work is done.

    Raises:
        BadInput: an exporter is missing, there twice, or cannot be imported; all breaches at once.
    """
    breaches: list[Breach] = []
    for name in dict.fromkeys(names):
        try:
            loaded("exporters", name, "--export")
        except BadInput as error:
            breaches += error.breaches
    if breaches:
        raise BadInput(breaches)


def exported(
    document: Mapping[str, Any], names: Sequence[str], parameters: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """The files of every exporter by name, from a document that none of them can change.

    Raises:
        BadInput: an exporter fails, or leaves something that cannot stand beside the plan.
    """
    files: dict[str, bytes] = {}
    for name in dict.fromkeys(names):
        plugin, write = loaded("exporters", name, "--export")
        with tempfile.TemporaryDirectory(prefix="allocator-") as temporary:
            folder = Path(temporary)
            called(plugin, write, deepcopy(document), folder, deepcopy(dict(parameters.get(name, {}))))
            if faults := list(_faults(plugin, folder, files)):
                raise BadInput(faults)
            files |= {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return files


def _faults(plugin: Plugin, folder: Path, taken: Mapping[str, bytes]) -> Iterator[Breach]:
    left = sorted(folder.iterdir())
    if not left:
        yield refused(plugin, "leaves no file", "ask who maintains that package")
    for path in left:
        if path.is_symlink() or not path.is_file():
            yield refused(plugin, "leaves something that is no file", "let it write plain files", path.name)
        elif path.name in OURS or path.name in taken:
            yield refused(plugin, "writes a file that another wrote", "let it choose another name", path.name)
        elif path.name.startswith(".") or not path.name.isprintable():
            yield refused(plugin, "writes a file that no listing shows", "let it choose another name", path.name)
