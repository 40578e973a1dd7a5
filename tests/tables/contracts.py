"""A strict reader of contracts: nothing stands in one that would not be checked.

pandera itself skips every key that it does not know, so that `greater_then: 0` would be no check at all, and YAML
lets the last of two equal keys win. Here both are faults, and so is whatever would repair or drop data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

import yaml

from allocator.errors import did_you_mean

Kind = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words and as a question."""


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


_TEXT: Kind = ("text", lambda value: isinstance(value, str) and bool(value.strip()))
_SWITCH: Kind = ("true or false", lambda value: isinstance(value, bool))
# YAML 1.1 reads 1e9 as text: it wants 1.0e+9.
_NUMBER: Kind = ("a number, with a point if it has an exponent", lambda v: isinstance(v, int | float) and v is not True)
_TEXTS: Kind = (
    "a list of texts, in quotes where YAML would read true or false",
    lambda value: isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value),
)
_PATTERN: Kind = ("a regular expression", _is_pattern)
_DTYPE: Kind = ("str, float64 or datetime64[ns]", lambda value: value in ("str", "float64", "datetime64[ns]"))
_STRICT: Kind = ("true, so that unknown columns are refused", lambda value: value is True)
_COLUMNS: Kind = ("a mapping of columns", lambda value: isinstance(value, dict) and bool(value))
_FRAME_KEYS = {
    "name": _TEXT, "title": _TEXT, "description": _TEXT, "strict": _STRICT, "unique": _TEXTS, "columns": _COLUMNS
}  # fmt: skip
_COLUMN_KEYS = {
    "title": _TEXT, "description": _TEXT, "dtype": _DTYPE,
    "nullable": _SWITCH, "unique": _SWITCH, "required": _SWITCH, "regex": _SWITCH,
}  # fmt: skip
_CHECKS = {
    "greater_than": {"min_value": _NUMBER},
    "greater_than_or_equal_to": {"min_value": _NUMBER},
    "less_than": {"max_value": _NUMBER},
    "less_than_or_equal_to": {"max_value": _NUMBER},
    "in_range": {"min_value": _NUMBER, "max_value": _NUMBER},
    "isin": {"allowed_values": _TEXTS},
    "str_matches": {"pattern": _PATTERN},
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the fast one is in most wheels
    """A SafeLoader that refuses a key written twice, where YAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is written twice", key.start_mark)
            seen.add(str(key.value))
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def contract_faults(text: str, source: str) -> list[str]:
    """What is wrong with a contract's text, a line each; `source` is what it is called."""
    try:
        document = yaml.load(text, Loader=_Loader)  # a SafeLoader that is stricter still
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark else source
        return [f"{place}: is not valid YAML: {getattr(error, 'problem', None) or error}"]
    return [f"{source}: {fault}" for fault in _frame_faults(document)]


def _frame_faults(document: object) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "must be a mapping with the keys strict, description and columns"
        return
    yield from _key_faults(document, _FRAME_KEYS, ("strict", "description", "columns"), "")
    columns = document.get("columns")
    if not isinstance(columns, dict):
        return
    for name, column in columns.items():
        yield from _column_faults(name, column)
    unique = document.get("unique")
    for name in unique if isinstance(unique, list) else ():
        if name not in columns:
            yield f"unique: unknown column {name!r}; {did_you_mean(str(name), map(str, columns))}"


def _column_faults(name: object, column: object) -> Iterator[str]:
    place = f"columns.{name}: "
    if not isinstance(name, str):
        yield f"{place}a column name must be text; YAML reads NO, on and 1 as something else: put it in quotes"
    elif not isinstance(column, dict):
        yield f"{place}must be a mapping with the keys dtype and description"
    else:
        if column.get("regex") is True and not _is_pattern(name):
            yield f"{place}the name must be {_PATTERN[0]}, because regex is true"
        plain = {key: value for key, value in column.items() if key not in _CHECKS}
        yield from _key_faults(plain, _COLUMN_KEYS, ("dtype", "description"), place, also=_CHECKS)
        for check in sorted(column.keys() & _CHECKS.keys()):
            yield from _check_faults(check, column[check], place)


def _check_faults(check: str, arguments: object, place: str) -> Iterator[str]:
    wanted = _CHECKS[check]
    if isinstance(arguments, dict):
        yield from _key_faults(arguments, {**wanted, "error": _TEXT}, tuple(wanted), f"{place}{check}: ")
    else:
        yield f"{place}{check}: must be a mapping with {' and '.join(wanted)}, and perhaps error"


def _key_faults(
    found: Mapping[Any, object],
    kinds: Mapping[str, Kind],
    required: Iterable[str],
    place: str,
    also: Iterable[str] = (),
) -> Iterator[str]:
    for key, value in found.items():
        if key not in kinds:
            yield f"{place}unknown key {key!r}; {did_you_mean(str(key), [*kinds, *also])}"
        elif not kinds[key][1](value):
            yield f"{place}{key} must be {kinds[key][0]} (got {value!r})"
    yield from (f"{place}{key} is required" for key in required if key not in found)
