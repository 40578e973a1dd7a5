"""`allocator schema [NAME]`: the contracts, for editors and for people."""

from __future__ import annotations

import json
from typing import Any

import click

from allocator.commands.answer import answers
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.resources import schemas


@click.command()
@click.argument("name", required=False)
@answers
def schema(name: str | None, *, as_json: bool) -> dict[str, Any] | None:
    """Print the contract NAME, or list them all: tables as YAML, documents as JSON Schema.

    \b
    Examples:
      allocator schema
      allocator schema holdings
      allocator schema book
    """
    files = {path.name.split(".")[0]: path for path in sorted(schemas().iterdir()) if path.suffix in (".yaml", ".json")}
    if name is None:
        if not as_json:
            for known, path in files.items():
                click.echo(f"{known:18} {'table' if path.suffix == '.yaml' else 'document':9} {path.name}")
        return {"format": "allocator.schema/1", "schemas": {known: path.name for known, path in files.items()}}
    if name not in files:
        raise BadInput([Breach("schema", None, None, name, "no such contract", did_you_mean(name, files))])
    text = files[name].read_text(encoding="utf-8")
    if not as_json:
        click.echo(text, nl=False)
        return None
    if files[name].suffix == ".json":
        contract: Any = json.loads(text)
    else:
        import yaml

        contract = _lawful(yaml.safe_load(text))
    return {"format": "allocator.schema/1", "name": name, "contract": contract}


def _lawful(value: Any) -> Any:
    """The same contract in JSON, which has no infinity: there it is the text `.inf`, as YAML writes it."""
    if isinstance(value, dict):
        return {key: _lawful(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_lawful(part) for part in value]
    return ".inf" if value == float("inf") else value
