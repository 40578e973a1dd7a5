"""The lowest versions that pyproject.toml promises, as pip's constraints: what `make lowest` installs, all at once."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_BOUND = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?>=(?P<version>[\w.]+)(,<[\w.]+)?")


def lowest(project: Mapping[str, Any]) -> list[str]:
    """A line for each dependency and each of the extras but lint and integer, which `make test` does without.

    Raises:
        ValueError: one states no lower bound: nobody knows what is promised of it.
    """
    extras = project["optional-dependencies"]
    tried = [name for name in extras if name not in ("lint", "integer")]
    wanted = [*project["dependencies"], *(one for name in tried for one in extras[name])]
    others = [one for one in wanted if not one.startswith(f"{project['name']}[")]
    if unbound := [one for one in others if not _BOUND.fullmatch(one)]:
        raise ValueError(f"no lower bound: {', '.join(unbound)}")
    return [f"{found['name']}=={found['version']}" for found in map(_BOUND.fullmatch, others) if found]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])) + "\n")
