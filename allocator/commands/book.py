"""`allocator init`, `import`, `check`, `schema` and `plugins`: a book to start from, and whether it is in order."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

import click

from allocator.commands.options import BookChoice, book_options, handle_errors_and_json
from allocator.errors import BadInput, Breach, did_you_mean, printable
from allocator.importers import FORMATS
from allocator.presentation import Document, IsoDate, Row

if TYPE_CHECKING:
    from allocator.importers.positions import Positions


class InitDocument(TypedDict):
    """What `allocator init` made."""

    format: Literal["allocator.init/1"]
    folder: str
    sample: Annotated[str | None, "null of a book of positions"]
    files: list[str]
    as_of: NotRequired[Annotated[IsoDate, "of a book of positions: today where their file states no day"]]
    positions: NotRequired[Annotated[Row, "what was read, as of import.schema.json"]]
    unclassified: NotRequired[Annotated[list[str], "names that exposures.csv is to state bucket or archetype of"]]


class Asked(TypedDict):
    """How a file of positions is to be read."""

    format: str | None
    account: str | None
    accept_values: Literal["price", "value"] | None
    identifiers: str | None
    currency: str | None
    period: dt.datetime | None


def position_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `init --positions` and `import` that say how a file is to be read, given to it as `asked`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        command(asked={key: given.pop(key) for key in Asked.__annotations__}, **given)

    for option in reversed(
        (
            click.option("--format", type=click.Choice([*FORMATS]), help="Where the header alone does not tell it."),
            click.option("--account", help="Which account, where the file has several."),
            click.option(
                "--accept-values",
                type=click.Choice(["price", "value"]),
                help="What is right where a value is not quantity x price, or a total not the sum of its rows.",
            ),
            click.option(
                "--identifiers",
                type=click.Path(),
                metavar="TABLE",
                help="instrument by cusip, isin, symbol or name; a book's exposures.csv will do.",
            ),
            click.option("--currency", metavar="CODE", help="Of rows that state none, such as USD."),
            click.option(
                "--period",
                type=click.DateTime(["%Y-%m-%d"]),
                metavar="DATE",
                help="Of a 13F table: the end of its quarter, which says whether values are dollars or thousands.",
            ),
        )
    ):
        wrapped = option(wrapped)
    return wrapped


def _read(file: str, asked: Asked) -> Positions:
    from allocator.importers.formats import import_positions

    period = asked["period"]
    return import_positions(
        file, format=asked["format"], account=asked["account"], accept_values=asked["accept_values"],
        identifiers=asked["identifiers"], currency=asked["currency"], period=None if period is None else period.date(),
    )  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--from", "sample", metavar="SAMPLE", help="Which sample book to copy.  [default: listed]")
@click.option("--positions", type=click.Path(), metavar="FILE", help="Make it of what a broker's file says is held.")
@position_options
@click.option("--rate", "rates", multiple=True, metavar="CODE=RATE", help="Of another currency, in the book's.")
@handle_errors_and_json
def init(
    folder: str, sample: str | None, positions: str | None, rates: tuple[str, ...], asked: Asked, *, as_json: bool
) -> Document:
    """Make FOLDER a book to start from: a copy of a sample, or a book of your own positions.

    With --positions every name of FILE is held, and `unclassified` until exposures.csv states its bucket or archetype;
    scenarios are those of the sample `listed`. FILE is read as by `allocator import`.

    \b
    Examples:
      allocator init my-book
      allocator init mine --positions data/listed/holdings.csv
    """
    place = Path(folder)
    if positions is None:
        _refuse_idle(asked, rates)
    elif sample is not None:
        raise BadInput.of("--from", "names a sample, and --positions a file", "leave one of them out", value=sample)
    if place.exists() and any(place.iterdir()):
        raise BadInput(
            [Breach(folder, None, None, None, "this folder is not empty; nothing was written", "name a new folder")]
        )
    if positions is not None:
        return _init_of_positions(place, _read(positions, asked), rates, as_json=as_json)
    files = _fill(place, partial(shutil.copytree, _sample(sample or "listed")))
    if not as_json:
        from allocator.display.console import tell

        tell(f"{folder}: {', '.join(files)}")
        tell(f"next: edit the tables, then `allocator check {folder}` and `allocator rebalance {folder}`")
    return {"format": "allocator.init/1", "folder": folder, "sample": sample or "listed", "files": files}


def _sample(name: str) -> Path:
    from allocator.tables.schema import sample_books_folder

    samples = sorted(child.name for child in sample_books_folder().iterdir() if (child / "book.toml").is_file())
    if name not in samples:
        raise BadInput([Breach("--from", None, None, name, "no such sample book", did_you_mean(name, samples))])
    return sample_books_folder() / name


def _refuse_idle(asked: Asked, rates: tuple[str, ...]) -> None:
    """Options that only a file of positions gives a meaning."""
    said = [key for key, value in asked.items() if value is not None] + ["rate"] * bool(rates)
    if said:
        raise BadInput(
            Breach.of(f"--{key.replace('_', '-')}", "is of --positions alone", "name a file, or leave it out")
            for key in said
        )


def _init_of_positions(place: Path, found: Positions, rates: tuple[str, ...], *, as_json: bool) -> InitDocument:
    """A book of positions, held to its contracts before it is there."""
    from allocator.book.loading import load
    from allocator.importers.positions import book_files

    texts = book_files(found, printable(place.resolve().name), dt.date.today(), _rates(rates))
    with tempfile.TemporaryDirectory() as temporary:
        _write(texts, Path(temporary) / "book")
        book = load(Path(temporary) / "book")
    files = _fill(place, partial(_write, texts))
    if not as_json:
        from allocator.display.console import tell
        from allocator.display.outlook import show_positions

        show_positions(found, None)
        tell(f"{place}: {', '.join(files)}")
        if found.as_of is None:
            tell(f"as_of is {book.settings.book.as_of}, as the file states no day: correct it in book.toml")
        for currency, rate in book.rates.items():
            tell(f"one {currency} is {rate:.6g} {book.settings.book.currency}: fx.csv")
        for note in book.classification.notes():
            tell(note)
        tell(f"next: `allocator check {place}`, and once names are classified `allocator rebalance {place}`")
    return {
        "format": "allocator.init/1", "folder": str(place), "sample": None, "files": files,
        "as_of": book.settings.book.as_of.isoformat(), "positions": {**found.document()},
        "unclassified": [*book.classification.unclassified],
    }  # fmt: skip


def _rates(given: tuple[str, ...]) -> dict[str, Decimal]:
    rates = {}
    for text in given:
        currency, _, number = text.partition("=")
        if not re.fullmatch(r"[A-Z]{3}=([0-9]{1,9}\.?[0-9]{0,12}|\.[0-9]{1,12})", text) or Decimal(number) <= 0:
            raise BadInput.of("--rate", "must be a currency and a number", "write EUR=1.15", value=printable(text))
        if currency in rates:
            raise BadInput.of("--rate", "is said twice", "say it once", value=currency)
        rates[currency] = Decimal(number)
    return rates


def _write(texts: Mapping[str, str], folder: Path) -> None:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")


def _fill(place: Path, make: Callable[[Path], object]) -> list[str]:
    """Make `place` what `make` makes, whole or not at all; the files that are then there."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".init-") as temporary:
            made = Path(temporary) / "book"
            make(made)
            if place.exists():
                place.rmdir()
            made.rename(place)
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}; nothing was written"
        raise BadInput([Breach(str(place), None, None, None, rule, "make room, or name another folder")]) from None
    return sorted(child.name for child in place.iterdir())


# `allocator import FILE`: what a broker, a filing or a fund says is held, as a table of a book.
#


@click.command("import")
@click.argument("file", type=click.Path())
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False), help="Write holdings.csv here, in place of one before it."
)
@position_options
@handle_errors_and_json
def import_file(file: str, out: str | None, asked: Asked, *, as_json: bool) -> Document:
    """Read the positions of FILE, a broker's export, a 13F filing or a fund's holdings, as rows of holdings.csv.

    The format is told by the header. What is not held here (options, bonds, futures, short positions) is listed with
    its amount, and every line of the file is accounted for. Without -o nothing is written.

    \b
    Examples:
      allocator import data/listed/holdings.csv
      allocator import data/listed/holdings.csv -o holdings.csv
    """
    if out is not None and Path(out).resolve() == Path(file).resolve():
        raise BadInput.of("--out", "is the file that is read", "name another file", value=printable(out))
    found = _read(file, asked)
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
