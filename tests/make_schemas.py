"""Writes `schemas/*.schema.json` from the classes that they describe: `make schemas`.

A document's class is the type of what builds it, so that mypy holds one to the other. What a class says in
`Annotated[...]` is explained in `allocator/presentation.py`; its docstring becomes its description. `book.schema.json`
is made from the settings by pydantic.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from allocator.book.checks.stress import ParameterKey
from allocator.presentation import shown_fields

DIALECT = GenerateJsonSchema.schema_dialect
PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    float: {"type": "number"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    dt.date: {"type": "string", "format": "date"},
    Any: {},
    object: {},
    ParameterKey: {"type": "string"},
}


def document_classes() -> dict[str, type]:
    """The class of each document, by the name of its schema."""
    from allocator.backtesting.trial import TrialDocument
    from allocator.backtesting.walk_forward import BacktestDocument
    from allocator.commands.book import InitDocument, SchemaDocument
    from allocator.commands.options import ErrorDocument
    from allocator.commands.outlook import BeliefsDocument, ClaimsDocument, ImpliedDocument
    from allocator.commands.report import DeskDocument, ReportDocument
    from allocator.fleets.fleet import FleetDocument
    from allocator.fleets.household import HouseholdDocument
    from allocator.importers.positions import ImportDocument
    from allocator.ledger.comparison import ComparisonDocument
    from allocator.ledger.fills import ApplyDocument
    from allocator.ledger.record import ApproveDocument, HistoryDocument, ReceiptDocument, ShowDocument, VerifyDocument
    from allocator.ledger.replay import RunReplayDocument
    from allocator.mandate.precheck import CheckDocument
    from allocator.multistage.value_of_waiting import WaitingDocument
    from allocator.outlook.outlook import ReturnsDocument
    from allocator.outlook.scenario_tree import OutlookDocument
    from allocator.plan.caution import CautionStudyDocument
    from allocator.plan.document import PlanDocument
    from allocator.plan.explanation import ExplainDocument
    from allocator.plan.runs import RunDocument
    from allocator.plugins import PluginsDocument
    from allocator.stress_testing.frontier import FrontierDocument
    from allocator.stress_testing.stress import StressDocument

    return {
        "apply": ApplyDocument,
        "approve": ApproveDocument,
        "backtest": BacktestDocument,
        "beliefs": BeliefsDocument,
        "caution": CautionStudyDocument,
        "frontier": FrontierDocument,
        "check": CheckDocument,
        "claims_report": ClaimsDocument,
        "comparison": ComparisonDocument,
        "desk": DeskDocument,
        "error": ErrorDocument,
        "explain": ExplainDocument,
        "fleet": FleetDocument,
        "history": HistoryDocument,
        "household": HouseholdDocument,
        "implied": ImpliedDocument,
        "import": ImportDocument,
        "init": InitDocument,
        "outlook": OutlookDocument,
        "plan": PlanDocument,
        "plugins": PluginsDocument,
        "receipt": ReceiptDocument,
        "recorded_run": ShowDocument,
        "replay": RunReplayDocument,
        "report": ReportDocument,
        "returns": ReturnsDocument,
        "run": RunDocument,
        "schema": SchemaDocument,
        "stress": StressDocument,
        "trial": TrialDocument,
        "verify": VerifyDocument,
        "waiting": WaitingDocument,
    }


class _Schemas:
    """The schema of a type, and the definitions that it refers to."""

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self.classes: dict[str, type] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of any type that stands in a document."""
        if kind in PLAIN:
            return dict(PLAIN[kind])
        origin, parts = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._annotated(parts[0], parts[1:])
        if origin is Literal:
            return {"const": parts[0]} if len(parts) == 1 else {"enum": list(parts)}
        if origin in (Union, UnionType):
            return _any_of([self.of(part) for part in parts])
        return self._refer(kind) if origin is None else self._container(origin, parts)

    def _container(self, origin: Any, parts: tuple[Any, ...]) -> dict[str, Any]:
        if origin in (dict, Mapping):
            return {"type": "object"} | ({} if parts[1] is Any else {"additionalProperties": self.of(parts[1])})
        if origin is tuple and ... not in parts:
            size, each = len(parts), [self.of(part) for part in parts]
            return {"type": "array", "prefixItems": each, "minItems": size, "maxItems": size}
        return {"type": "array", "items": self.of(parts[0])}

    def _annotated(self, kind: Any, notes: Sequence[Any]) -> dict[str, Any]:
        made = self.of(kind)
        classes = [note for note in notes if isinstance(note, type)]
        keys = [key for note in notes if isinstance(note, tuple) for key in note]
        if keys:
            properties = {name: self.of(part) for owner in classes for name, part in _members(owner).items()}
            for key in keys:
                properties |= self._key(made, classes, key)
            made = _closed(properties)
        elif classes:
            made = self._refer(classes[0])
        for note in notes:
            made |= {"description": note} if isinstance(note, str) else getattr(note, "words", {})
        return made

    def _key(self, mapping: dict[str, Any], classes: Sequence[type], key: str | tuple[Any, ...]) -> dict[str, Any]:
        """One key of a mapping: with its type and notes, a property of its class, or with the mapping's values."""
        if isinstance(key, tuple):
            return {key[0]: self._annotated(key[1], key[2:])}
        found = [inspect.getattr_static(part, key) for part in classes if hasattr(part, key)]
        if not found:
            return {key: mapping["additionalProperties"]}
        return {key: self.of(get_type_hints(found[0].fget, include_extras=True)["return"])}

    def _refer(self, kind: type) -> dict[str, Any]:
        name = kind.__name__.removeprefix("_")
        if self.classes.setdefault(name, kind) is not kind:
            places = f"{kind.__module__} and {self.classes[name].__module__}"
            raise TypeError(f"{places} have both a class {name}; rename one")
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self.members(kind)
        return {"$ref": f"#/$defs/{name}"}

    def members(self, kind: type) -> dict[str, Any]:
        """A class with its fields."""
        hints = _members(kind)
        optional = [name for name, hint in hints.items() if get_origin(hint) is NotRequired]
        properties = {name: self.of(get_args(hint)[0] if name in optional else hint) for name, hint in hints.items()}
        said = inspect.cleandoc(kind.__doc__ or "").replace("\n", " ") if is_typeddict(kind) else ""
        return ({"description": said} if said else {}) | _closed(properties, optional)


def _members(kind: type) -> dict[str, Any]:
    """The fields of a dataclass or the keys of a TypedDict, by their types."""
    if not (is_typeddict(kind) or dataclasses.is_dataclass(kind)):
        raise TypeError(f"{kind!r} cannot stand in a document: it is neither a TypedDict nor a dataclass")
    return shown_fields(kind)


def _closed(properties: dict[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    """An object of these keys and no others."""
    required = [name for name in properties if name not in optional]
    made: dict[str, Any] = {"type": "object", "properties": properties}
    return made | ({"required": required} if required else {}) | {"additionalProperties": False}


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One of several; with null alone beside it, a type stays one schema."""
    null = PLAIN[NoneType]
    others = [schema for schema in schemas if schema != null]
    if len(others) == 1 and len(schemas) == 2:
        (only,) = others
        if "enum" in only:
            return {**only, "enum": [*only["enum"], None]}
        if "type" in only:
            return {**only, "type": [only["type"], "null"]}
    return {"anyOf": schemas}


def _inlined(value: Any, definitions: Mapping[str, dict[str, Any]], once: set[str]) -> Any:
    """The same schema with definitions that are referred to once standing where they are."""
    if isinstance(value, list):
        return [_inlined(part, definitions, once) for part in value]
    if not isinstance(value, dict):
        return value
    made = {key: _inlined(part, definitions, once) for key, part in value.items()}
    name = str(made.get("$ref", "")).rpartition("/")[2]
    if name not in once:
        return made
    del made["$ref"]
    return {**_inlined(definitions[name], definitions, once), **made}


def document_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a document's class."""
    schemas = _Schemas()
    made = schemas.members(kind)
    text = json.dumps([made, schemas.definitions])
    uses = Counter({name: text.count(f'"#/$defs/{name}"') for name in schemas.definitions})
    once = {name for name, count in uses.items() if count == 1}
    kept = {name: _inlined(schemas.definitions[name], schemas.definitions, once) for name in sorted(uses)}
    kept = {name: schema for name, schema in kept.items() if name not in once}
    head = {"$schema": DIALECT, "title": kind.__name__.removesuffix("Document")}
    return head | _inlined(made, schemas.definitions, once) | ({"$defs": kept} if kept else {})


class _BookSchema(GenerateJsonSchema):
    """TOML has no null, and a key is its own title."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", ...) is None:
            made.pop("default")
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of `book.toml`."""
    from allocator.settings.settings import Settings

    made = Settings.model_json_schema(schema_generator=_BookSchema)
    return {"$schema": DIALECT} | made | {"title": "Book"}


def schema_files() -> dict[str, str]:
    """What each file of `schemas/` that is made from classes must hold."""
    made = {"book": settings_schema()} | {name: document_schema(kind) for name, kind in document_classes().items()}
    return {
        f"{name}.schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in made.items()
    }


def main() -> None:
    """Write the files that differ, and say which."""
    folder = Path(__file__).resolve().parents[1] / "schemas"
    stale = [
        (folder / name, text)
        for name, text in schema_files().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        path.write_text(text, encoding="utf-8")
    sys.stdout.write("".join(f"wrote {path.name}\n" for path, _ in stale) or "every schema is as its class says\n")


if __name__ == "__main__":
    main()
