"""What ships with the package: contracts as written, YAML text in and pandera schema out; and where the samples are.

Contracts are ours: `tests/tables` hold each to what pandera reads, for it skips a key that it does not know, so that
`greater_then: 0` would be no check at all.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from allocator.errors import did_you_mean

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

UNCLASSIFIED = "unclassified"
"""The bucket of a name of which nobody has stated bucket or archetype, and the archetype that it then has."""
_PACKAGE = Path(__file__).resolve().parent.parent


UNCLASSIFIED = "unclassified"
"""The bucket of a name of which nobody has stated bucket or archetype, and the archetype that it then has."""


def _shipped(name: str) -> Path:
    """A folder beside the package in a checkout, inside it in an installed wheel."""
    for root in (_PACKAGE, _PACKAGE.parent):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"'{name}' is neither inside nor beside {_PACKAGE}; reinstall portfolio-allocator")


def schemas_folder() -> Path:
    """The folder of data contracts."""
    return _shipped("schemas")


def sample_books_folder() -> Path:
    """The folder of sample books."""
    return _shipped("data")


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
    """A contract and what only a book says: the texts of its column `choice`, any where they are not known, and the one
    that stands for a blank, with the cure of one that is like none; and `further` columns, each like the column `like`.
    """

    name: str
    choice: str
    allowed: tuple[str, ...] | None
    blank: str
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
    schema.columns[contract.choice].checks = [Check.isin([*allowed, contract.blank], error=said)] if allowed else []
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
