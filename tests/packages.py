"""Packages that add to Allocator, made for one test: a module, and the metadata that an installer would leave."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def package(folder: Path, name: str, code: str, groups: Mapping[str, Mapping[str, str]], version: str = "1.0") -> None:
    """Module `name` with `code` in `folder`, and its entry points: by group, name = attribute of the module."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[allocator.{group}]", *(f"{point} = {name}:{attribute}" for point, attribute in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Packages of `folder` can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
