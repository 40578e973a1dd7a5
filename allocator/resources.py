"""Where `data/` and `schemas/` are: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _resource(name: str) -> Path:
    for root in (_PACKAGE, _PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"'{name}' is neither inside nor beside {_PACKAGE}; reinstall portfolio-allocator")


def schemas_folder() -> Path:
    """The folder of data contracts."""
    return _resource("schemas")


def sample_books_folder() -> Path:
    """The folder of sample books."""
    return _resource("data")
