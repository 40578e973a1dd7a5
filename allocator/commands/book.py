"""`allocator init`, `import`, `check`, `schema` and `plugins`: a book to start from, and whether it is in order."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import click

from allocator.commands.options import BookChoice, book_options, handle_errors_and_json
from allocator.errors import BadInput, Breach, did_you_mean, printable
from allocator.importers import FORMATS
from allocator.presentation import Document, Row


class InitDocument(TypedDict):
    """What `allocator init` made."""

    format: Literal["allocator.init/1"]
    folder: str
    sample: str
    files: list[str]


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--from", "sample", default="listed", show_default=True, help="Which sample book to copy.")
@handle_errors_and_json
def init(folder: str, sample: str, *, as_json: bool) -> InitDocument:
    """Make FOLDER a book to start from.

    \b
    Example:
      allocator init my-book
    """
    from allocator.tables.schema import sample_books_folder

    samples = sorted(child.name for child in sample_books_folder().iterdir() if (child / "book.toml").is_file())
    if sample not in samples:
        raise BadInput([Breach("--from", None, None, sample, "no such sample book", did_you_mean(sample, samples))])
    place = Path(folder)
    if place.exists() and any(place.iterdir()):
        raise BadInput(
            [Breach(folder, None, None, None, "this folder is not empty; nothing was written", "name a new folder")]
        )
    try:
        _copy(sample_books_folder() / sample, place)
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}; nothing was written"
        raise BadInput([Breach(folder, None, None, None, rule, "make room, or name another folder")]) from None
    files = sorted(child.name for child in place.iterdir())
    if not as_json:
        from allocator.display.console import tell

        tell(f"{folder}: {', '.join(files)}")
        tell(f"next: edit the tables, then `allocator check {folder}` and `allocator rebalance {folder}`")
    return {"format": "allocator.init/1", "folder": folder, "sample": sample, "files": files}


def _copy(sample: Path, place: Path) -> None:
    """Make `place` a copy of a sample, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".init-") as temporary:
        made = Path(temporary) / "book"
        shutil.copytree(sample, made)
        if place.exists():
            place.rmdir()
        made.rename(place)


# `allocator import FILE`: what a broker, a filing or a fund says is held, as a table of a book.
#


@click.command("import")
@click.argument("file", type=click.Path())
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False), help="Write holdings.csv here, in place of one before it."
)
@click.option("--format", "asked", type=click.Choice([*FORMATS]), help="Where the header alone does not tell it.")
@click.option("--account", help="Which account, where the file has several.")
@click.option(
    "--accept-values",
    "accept",
    type=click.Choice(["price", "value"]),
    help="What is right where a value is not quantity x price, or a total not the sum of its rows.",
)
@click.option(
    "--identifiers",
    type=click.Path(),
    metavar="TABLE",
    help="instrument by cusip, isin, symbol or name; a book's exposures.csv will do.",
)
@click.option("--currency", metavar="CODE", help="Of rows that state none, such as USD.")
@click.option(
    "--period",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Of a 13F table: the end of its quarter, which says whether values are dollars or thousands.",
)
@handle_errors_and_json
def import_file(
    file: str, out: str | None, asked: str | None, account: str | None, accept: Literal["price", "value"] | None,
    identifiers: str | None, currency: str | None, period: dt.datetime | None, *, as_json: bool,
) -> Document:  # fmt: skip
    """Read the positions of FILE, a broker's export, a 13F filing or a fund's holdings, as rows of holdings.csv.

    The format is told by the header. What is not held here (options, bonds, futures, short positions) is listed with
    its amount, and every line of the file is accounted for. Without -o nothing is written.

    \b
    Examples:
      allocator import data/listed/holdings.csv
      allocator import data/listed/holdings.csv -o holdings.csv
    """
    from allocator.importers.formats import import_positions

    if out is not None and Path(out).resolve() == Path(file).resolve():
        raise BadInput.of("--out", "is the file that is read", "name another file", value=printable(out))
    found = import_positions(
        file, format=asked, account=account, accept_values=accept, identifiers=identifiers, currency=currency,
        period=None if period is None else period.date(),
    )  # fmt: skip
    if out is not None:
        from allocator.tables.files import replace_file

        replace_file(Path(out), found.csv().encode())
    if not as_json:
        from allocator.display.outlook import show_positions

        show_positions(found, out)
    return found.document(out)


# `allocator check BOOK`: hold a book to its contracts, without solving anything.
#


@click.command()
@book_options
@handle_errors_and_json
def check(choice: BookChoice, *, as_json: bool) -> Document:
    """Check every table, scenario card and rule of BOOK, and say which limits its holdings breach today.

    All errors are shown at once, each with its file, row and likely cure.

    \b
    Example:
      allocator check data/listed
    """
    from allocator.mandate.precheck import check as checked

    loaded, _ = choice.load_with_cards()
    found = checked(loaded)
    if not as_json:
        from allocator.display.outlook import show_check

        show_check(found)
    return found.document()


# `allocator schema [NAME]`: the contracts, for editors and for people.
#


class SchemaDocument(TypedDict):
    """What `allocator schema` lists or shows."""

    format: Literal["allocator.schema/1"]
    schemas: NotRequired[dict[str, str]]
    name: NotRequired[str]
    contract: NotRequired[Row]


@click.command()
@click.argument("name", required=False)
@handle_errors_and_json
def schema(name: str | None, *, as_json: bool) -> SchemaDocument | None:
    """Print the contract NAME, or list them all: tables as YAML, documents as JSON Schema.

    \b
    Examples:
      allocator schema
      allocator schema holdings
      allocator schema book
    """
    from allocator.tables.schema import schemas_folder

    files = {
        path.name.split(".")[0]: path
        for path in sorted(schemas_folder().iterdir())
        if path.suffix in (".yaml", ".json")
    }
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


# `allocator plugins [BOOK]`: what other packages add, from which of them, and what of it a book uses.
#


@click.command()
@click.argument("book", metavar="[BOOK]", required=False, type=click.Path())
@handle_errors_and_json
def plugins(book: str | None, *, as_json: bool) -> Document:
    """List the rules, objectives, models, sources, exporters and commands that other installed packages add.

    With BOOK, also which of them it uses. Nothing is imported but the sources of its tables.

    \b
    Examples:
      allocator plugins
      allocator plugins data/listed
    """
    from allocator.plugins import GROUPS, installed_plugins, plugins_document

    used: dict[str, set[str]] | None = None
    if book is not None:
        from allocator.book.checks.consistency import tables_in_use
        from allocator.book.loading import load

        used = tables_in_use(load(book).settings)
    found = [plugin for kind in GROUPS for plugin in installed_plugins(kind)]
    if not as_json:
        from allocator.display.outlook import show_plugins

        show_plugins(found, used)
    return plugins_document(found, used)
