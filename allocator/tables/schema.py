"""Contracts as written: YAML text in, pandera schema out.

They are ours and ship with the package: `tests/tables` hold each to what pandera reads, for it skips a key that it does
not know, so that `greater_then: 0` would be no check at all.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING

import yaml

from allocator.errors import did_you_mean
from allocator.resources import schemas_folder

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema


def contract_names() -> list[str]:
    """The tables that have a contract, in alphabetical order."""
    return sorted(path.stem for path in schemas_folder().glob("*.yaml"))


def contract_text(contract: str) -> str:
    """The YAML text of a contract.

    Raises:
        ValueError: there is no contract of this name.
    """
    names = contract_names()
    if contract not in names:
        raise ValueError(f"there is no contract '{contract}' in schemas; {did_you_mean(contract, names)}")
    return (schemas_folder() / f"{contract}.yaml").read_text(encoding="utf-8")


def read_contract(contract: str) -> DataFrameSchema:
    """The pandera schema of a contract, of which the caller may change what he likes.

    Raises:
        ValueError: there is no contract of this name.
    """
    return deepcopy(_read(contract_text(contract)))


@cache
def _read(text: str) -> DataFrameSchema:
    """Read once: parsing YAML takes longer than the table does, and many books are read in one process."""
    from pandera.pandas import DataFrameSchema

    document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # both are safe
    # of what is read already: pandera's from_yaml would parse the text once more, and slowly
    return DataFrameSchema.from_json(json.dumps(document))
