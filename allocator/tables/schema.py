"""Contracts as written: YAML text in, pandera schema out.

They are ours and ship with the package: `tests/tables` hold each to what pandera reads, for it skips a key that it does
not know, so that `greater_then: 0` would be no check at all.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ContractOfBook:
    """A contract and what only a book says: the texts of its column `choice`, any where they are not known, with the
    cure of one that is like none of them; and `further` columns, each like the column `like`.
    """

    name: str
    choice: str
    allowed: tuple[str, ...] | None
    cure: str
    like: str
    further: tuple[str, ...]


def read_contract(contract: str | ContractOfBook) -> DataFrameSchema:
    """The pandera schema of a contract, of which the caller may change what he likes.

    Raises:
        ValueError: there is no contract of this name.
    """
    if isinstance(contract, str):
        return deepcopy(_read(contract_text(contract)))
    from pandera.pandas import Check

    schema = read_contract(contract.name)
    allowed = contract.allowed or ()
    said = f"must be one of {', '.join(allowed)}; {contract.cure}"
    schema.columns[contract.choice].checks = [Check.isin(list(allowed), error=said)] if allowed else []
    for name in contract.further:
        schema.columns[name] = deepcopy(schema.columns[contract.like]).set_name(name)
    return schema


@cache
def _read(text: str) -> DataFrameSchema:
    """Read once: parsing YAML takes longer than the table does, and many books are read in one process."""
    from pandera.pandas import DataFrameSchema

    document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # both are safe
    # of what is read already: pandera's from_yaml would parse the text once more, and slowly
    return DataFrameSchema.from_json(json.dumps(document))
