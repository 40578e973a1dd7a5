"""The JSON Schemas that we ship are those of the classes that they describe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator

from allocator.presentation import IsoDate, Keywords, NotNegative, Row
from tests.make_schemas import document_schema, schema_files


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return schema_files()


def meaning(text: str) -> Any:
    """A schema without what earlier versions of pydantic write otherwise: 10.0 for 10, and no default that is said."""

    def said(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pair for pair in pairs if pair != ("additionalProperties", True))

    return json.loads(text, object_pairs_hook=said)


def test_every_schema_says_what_its_class_says(made: dict[str, str], root: Path) -> None:
    shipped = {path.name: path.read_text(encoding="utf-8") for path in (root / "schemas").glob("*.schema.json")}

    assert sorted(shipped) == sorted(made), "a document needs its class in tests/make_schemas.py `document_classes`"
    stale = [name for name, text in made.items() if meaning(shipped[name]) != meaning(text)]
    assert stale == [], f"{', '.join(stale)} is not what its class says: run `make schemas`"


@dataclass(frozen=True)
class Move:
    """A dataclass, whose fields are keys."""

    name: str
    part: NotNegative

    @property
    def large(self) -> bool:
        """A property that a row may have too."""
        return self.part > 1


class Toy(TypedDict):
    """What a toy says."""

    format: Literal["toy/1"]
    day: Annotated[IsoDate | None, "null for none"]
    side: Literal["buy", "sell"] | None
    moves: Annotated[list[Annotated[Row, Move, ("large",)]], Keywords(minItems=1)]
    figures: Annotated[dict[str, float], ("mean", "least")]
    labelled: Annotated[Row, (("one", float | None, "in bps"), ("two", str))]
    pair: tuple[int, float]
    first: Annotated[Row, Move] | None
    again: NotRequired[Annotated[Row, Move]]
    anything: Any


TOY: dict[str, Any] = {
    "format": "toy/1",
    "day": "2026-11-20",
    "side": None,
    "moves": [{"name": "NVDA", "part": 0.5, "large": False}],
    "figures": {"mean": 1.0, "least": 0.0},
    "labelled": {"one": None, "two": "x"},
    "pair": [1, 0.5],
    "first": {"name": "NVDA", "part": 0.5},
    "anything": [],
}


def refused(document: dict[str, Any]) -> list[str]:
    schema = document_schema(Toy)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.json_path for error in validator.iter_errors(document)]


def test_what_a_class_says_is_what_its_schema_accepts() -> None:
    assert refused(TOY) == []
    assert refused(TOY | {"again": TOY["first"], "first": None, "day": None, "side": "buy"}) == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"format": "toy/2"}, "$.format"),
        ({"day": "yesterday"}, "$.day"),
        ({"side": "hold"}, "$.side"),
        ({"moves": []}, "$.moves"),
        ({"moves": [{"name": "NVDA", "part": 0.5}]}, "$.moves[0]"),
        ({"moves": [{"name": "NVDA", "part": -0.5, "large": False}]}, "$.moves[0].part"),
        ({"figures": {"mean": 1.0}}, "$.figures"),
        ({"figures": {"mean": "1", "least": 0.0}}, "$.figures.mean"),
        ({"labelled": {"one": None, "two": None}}, "$.labelled.two"),
        ({"pair": [1]}, "$.pair"),
        ({"first": {}}, "$.first"),
        ({"more": 1}, "$"),
    ],
)
def test_what_a_class_does_not_say_is_refused_where_it_stands(wrong: dict[str, Any], where: str) -> None:
    assert where in "".join(refused(TOY | wrong))


def test_a_key_says_what_it_means_and_a_class_that_serves_twice_is_said_once() -> None:
    schema = document_schema(Toy)

    assert (schema["title"], schema["description"]) == ("Toy", "What a toy says.")
    assert schema["properties"]["day"] == {"type": ["string", "null"], "format": "date", "description": "null for none"}
    assert schema["properties"]["labelled"]["properties"]["one"]["description"] == "in bps"
    assert list(schema["$defs"]) == ["Move"]
    assert "anything" in schema["required"]
    assert "again" not in schema["required"]


def test_a_class_without_fields_cannot_stand_in_a_document() -> None:
    class Wrong(TypedDict):
        part: Path

    with pytest.raises(TypeError, match="neither a TypedDict nor a dataclass"):
        document_schema(Wrong)


def test_a_figure_of_ones_own_is_a_row_of_the_table(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from allocator import load, rebalance
    from allocator.display import plan as screen
    from allocator.display import plan_details
    from allocator.plan import document
    from allocator.plan.plan import FIGURES, Figure

    plan = rebalance(load(root / "data" / "note"))
    own = Figure("worst_scenario_return", "least of the scenarios", "the least of the scenario returns", brief=True)
    for module in (screen, plan_details, document):
        monkeypatch.setattr(module, "FIGURES", (*FIGURES, own))

    assert "least of the scenarios" in str(plan)
    labels = [row[0] for row in plan_details.figure_rows(plan, (plan.after,), [own], ("cash",))]
    assert labels == ["least of the scenarios", "in cash"]
    told = document.plan_document(plan)["figures"]["after"]["worst_scenario_return"]
    assert told == pytest.approx(min(plan.after.scenario_returns), abs=1e-8)


# What validators refuse that are strict with the schema itself, as ajv is in its strict mode: words that mean nothing,
# and words that mean nothing where they stand.
#
_OF_TYPE = {
    "object": {"properties", "additionalProperties", "required", "minProperties", "maxProperties", "propertyNames",
               "patternProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}  # fmt: skip
_OF_ANY = {"$schema", "$defs", "$ref", "title", "description", "default", "type", "enum", "const", "anyOf", "oneOf",
           "allOf", "discriminator"}  # fmt: skip
_FORMATS = {"date"}


def complaints(schema: Any, place: str = "#", above: frozenset[str] = frozenset()) -> Iterator[str]:
    """What is unknown, of another type, required and not there, or a tuple without an end; `above` are known types."""
    if isinstance(schema, bool):
        return
    stated = schema.get("type", [])
    stated = [stated] if isinstance(stated, str) else stated
    types = frozenset("number" if one == "integer" else one for one in stated) or above
    if len({*stated} - {"null"}) > 1:
        yield f"{place}: several types"
    for word in schema:
        needed = next((kind for kind, words in _OF_TYPE.items() if word in words), None)
        if needed is None and word not in _OF_ANY:
            yield f"{place}: unknown keyword {word}"
        elif needed is not None and needed not in types:
            yield f"{place}: {word} without type {needed}"
    if schema.get("format", "date") not in _FORMATS:
        yield f"{place}: unknown format {schema['format']}"
    yield from (f"{place}: requires {name}" for name in schema.get("required", ()) if name not in schema["properties"])
    if "prefixItems" in schema and not schema.get("minItems") == schema.get("maxItems") == len(schema["prefixItems"]):
        yield f"{place}: an open tuple"
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for at, part in enumerate(schema.get(word, ())):
            yield from complaints(part, f"{place}/{word}/{at}", frozenset() if word == "prefixItems" else types)
    for word in ("properties", "patternProperties", "$defs"):
        for name, part in schema.get(word, {}).items():
            yield from complaints(part, f"{place}/{word}/{name}")
    for word in ("items", "additionalProperties", "propertyNames", "contains"):
        yield from complaints(schema.get(word, True), f"{place}/{word}")


def test_validators_that_are_strict_with_schemas_take_ours(made: dict[str, str]) -> None:
    said = {name: list(complaints(json.loads(text))) for name, text in made.items()}

    assert {name: told for name, told in said.items() if told} == {}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object", "properties": {}, "required": ["min"]}, "#: requires min"),
        ({"type": "object", "anyOf": [{"minProperties": 1, "nullable": True}]}, "#/anyOf/0: unknown keyword nullable"),
        ({"properties": {"a": {"minimum": 1}}, "type": "object"}, "#/properties/a: minimum without type number"),
        ({"items": {"type": ["string", "number"]}, "type": "array"}, "#/items: several types"),
        ({"type": "string", "format": "day"}, "#: unknown format day"),
        ({"type": "array", "prefixItems": [{}], "minItems": 1}, "#: an open tuple"),
    ],
)
def test_what_a_strict_validator_refuses_is_seen(schema: dict[str, Any], told: str) -> None:
    assert list(complaints(schema)) == [told]
