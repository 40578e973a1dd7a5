"""What ships with the package: contracts as written, YAML text in and pandera schema out; and where the samples are.

Contracts are ours: `tests/tables` hold each to what pandera reads, for it skips a key that it does not know, so that
`greater_then: 0` would be no check at all.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from allocator.errors import did_you_mean

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

UNCLASSIFIED = "unclassified"
"""The bucket of a name of which nobody has stated bucket or archetype, and the archetype that it then has."""
_PACKAGE = Path(__file__).resolve().parent.parent


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


# A document held to its JSON Schema, of whose keywords here are those that `make schemas` writes.
#


_Found: TypeAlias = tuple[str, object, str]


def document_breaches(document: object, name: str) -> Iterator[_Found]:
    """Where a document is not as `schemas/NAME.schema.json` says: a JSON pointer, what stands there, and the rule."""
    schema = json.loads((schemas_folder() / f"{name}.schema.json").read_text(encoding="utf-8"))
    yield from _breaches(document, schema, schema, "")


_KINDS: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return isinstance(value, _KINDS[kind]) and (kind not in ("integer", "number"))
    return (kind == "number" and math.isfinite(value)) or (kind == "integer" and value == value // 1)


def _breaches(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any], at: str) -> Iterator[_Found]:
    if "$ref" in schema:
        yield from _breaches(value, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, at)
    if "anyOf" in schema:
        ways = [list(_breaches(value, one, whole, at)) for one in schema["anyOf"]]
        if all(ways):  # of what it may be the likeliest, which says more than that it is another thing
            yield from min(ways, key=lambda way: sum(place == at for place, *_ in way))
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield at, value, f"must be of type {' or '.join(kinds)}"
        return
    choices = [schema["const"]] if "const" in schema else schema.get("enum", [value])
    if value not in choices:
        yield at, value, f"must be {' or '.join(json.dumps(one) for one in choices)}"
    parts: Mapping[str, tuple[Any, Any]] = {}
    if isinstance(value, dict):
        own, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        lacking = [key for key in schema.get("required", ()) if key not in value]
        yield from ((f"{at}/{_escaped(key)}", None, "is missing") for key in lacking)
        unknown = [key for key in value if key not in own] if others is False else []
        yield from ((f"{at}/{_escaped(key)}", value[key], "is no key that is known here") for key in unknown)
        parts = {_escaped(key): (own.get(key, others), part) for key, part in value.items() if key not in unknown}
    elif isinstance(value, list):
        first, others = schema.get("prefixItems", []), schema.get("items", {})
        parts = {str(i): (first[i] if i < len(first) else others, part) for i, part in enumerate(value)}
    elif isinstance(value, str):
        yield from ((at, value, rule) for rule in _text_breaches(value, schema))
    elif value is not None and not isinstance(value, bool):
        yield from ((at, value, rule) for rule in _number_breaches(value, schema))
    if isinstance(value, dict | list):
        least, most = schema.get("minItems", schema.get("minProperties", 0)), schema.get("maxItems", math.inf)
        if not least <= len(value) <= most:
            yield at, None, f"has {len(value)} entries, and must have {'at least ' if most == math.inf else ''}{least}"
    for key, (kind, part) in parts.items():
        yield from _breaches(part, kind, whole, f"{at}/{key}")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _number_breaches(value: float, schema: Mapping[str, Any]) -> Iterator[str]:
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and value < low:
        yield f"must be at least {low}"
    if high is not None and value > high:
        yield f"must be at most {high}"
    if above is not None and value <= above:
        yield f"must be above {above}"


def _text_breaches(value: str, schema: Mapping[str, Any]) -> Iterator[str]:
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"must match {schema['pattern']}"
    if schema.get("format") == "date":
        try:
            dt.date.fromisoformat(value)
        except ValueError:
            yield "must be a date as 2026-11-20"
