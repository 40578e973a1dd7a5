"""`allocator schema`: every contract, for people, editors and programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from jsonschema import Draft202012Validator

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
NAMES = sorted(path.name.split(".")[0] for path in SCHEMAS.iterdir() if path.suffix in (".yaml", ".json"))


def test_every_contract_is_listed_with_its_kind(run: Run, valid: Valid) -> None:
    answer = run("schema")

    lines = {line.split()[0]: line.split()[1:] for line in answer.stdout.splitlines()}
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert sorted(lines) == NAMES
    assert lines["holdings"] == ["table", "holdings.yaml"]
    assert lines["book"] == ["document", "book.schema.json"]
    assert sorted(valid(run("schema", "--json").stdout, "schema")["schemas"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_is_printed_as_it_is_published(name: str, run: Run, valid: Valid) -> None:
    (path,) = [path for path in SCHEMAS.iterdir() if path.name.split(".")[0] == name]
    text = path.read_text(encoding="utf-8")

    document = valid(run("schema", name, "--json").stdout, "schema")

    assert run("schema", name).stdout == text
    assert document["name"] == name
    without_infinity = text.replace(": .inf\n", ': ".inf"\n')  # which JSON cannot say
    assert document["contract"] == (yaml.safe_load(without_infinity) if path.suffix == ".yaml" else json.loads(text))


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_every_published_schema_is_lawful_and_titled(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["description"]


def test_an_unknown_contract_is_asked_back(run: Run, valid: Valid) -> None:
    answer = run("schema", "holding")
    document = valid(run("schema", "holding", "--json").stdout, "error")

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "no such contract (got 'holding') did you mean 'holdings'?" in " ".join(answer.stderr.split())
    assert document["errors"][0]["value"] == "holding"
