"""What stands in an export, whatever it means: records and their lines, amounts, days, and elements of XML.

Nothing here knows a broker. Text is UTF-8, or UTF-16 with its mark; XML is read without a DOCTYPE, so that nothing in
it can name a file, an address or a text that grows.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.parsers import expat

from allocator.errors import BadInput
from allocator.tables.files import read_regular_file, read_table, refuse_other_encodings, utf8_text, workbook_lines

MOST_BYTES = 50_000_000
"""Of an export: the largest 13F tables come to half of it."""
MOST_CELLS, MOST_ELEMENTS, MOST_DEPTH, MOST_TEXT = 4_000_000, 2_000_000, 64, 100_000
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Record:
    """A line of a table with something on it: where it begins, and its cells as text without blanks around."""

    row: int
    cells: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        """What is filled."""
        return [cell for cell in self.cells if cell]


@dataclass(frozen=True)
class Export:
    """A file as it was written: text, which may be XML, or the cells of a workbook or Parquet file."""

    name: str
    stem: str
    text: str = ""
    xml: bytes = b""
    table: tuple[Record, ...] = ()

    def records(self, delimiter: str) -> tuple[Record, ...]:
        """The lines with something on them.

        Raises:
            BadInput: quotes that do not fit.
        """
        return self.table or tuple(_records(self.text, delimiter, self.name))


def read_export(path: Path) -> Export:
    """The file, if it is one that could be an export.

    Raises:
        BadInput: it cannot be read, is too large, or is neither text, XML, a workbook nor Parquet.
    """
    name, suffix = path.name, path.suffix.lower()
    content = read_regular_file(path, name, MOST_BYTES)
    if not content.strip():
        raise BadInput.of(name, "the file is empty", "export it once more")
    if suffix == ".parquet":
        raw = read_table(path, name)
        rows = zip(raw.rows, raw.frame.itertuples(index=False, name=None), strict=True)
        # Parquet has no line of names: its first row is 1, as in every error about one
        return Export(name, path.stem, table=tuple(_typed([(0, raw.columns), *((at, list(row)) for at, row in rows)])))
    if suffix == ".xlsx" or content.startswith(b"PK\x03\x04"):
        return Export(name, path.stem, table=tuple(_typed(workbook_lines(content, name, path.stem))))
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise BadInput.of(name, "is an Excel workbook of before 2007", "save it as .xlsx")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype )?html", content, re.I):
        raise BadInput.of(name, "is a web page and no export", "download it once more, signed in")
    if re.match(rb"(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*(<|-----BEGIN PRIVACY)", content):
        return Export(name, path.stem, xml=content)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError:
            raise BadInput.of(name, "is not UTF-16, as its mark says", "save it as 'CSV UTF-8'") from None
    refuse_other_encodings(content, name)
    text = utf8_text(content, name, "save it as 'CSV UTF-8'")
    if odd := re.search(r"[\x01-\x08\x0e-\x1f\x7f]", text):
        row = text.count("\n", 0, odd.start()) + 1
        raise BadInput.of(name, f"is not text: it holds the control character {odd[0]!r}", "export it again", row=row)
    return Export(name, path.stem, text=text)


def _records(text: str, delimiter: str, name: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start, read = 1, 0
    try:
        for cells in reader:
            read += len(cells)
            if read > MOST_CELLS:
                raise BadInput.of(
                    name, f"holds more than {MOST_CELLS:,} cells", "export the positions alone", row=start
                )
            stripped = tuple(cell.replace("\xa0", " ").strip() for cell in cells)
            if any(stripped):
                yield Record(start, stripped)
            start = reader.line_num + 1
    except csv.Error as error:
        rule = f"the quotes do not fit: {error}"
        raise BadInput.of(name, rule, 'close each quote; write "" for one inside', row=start) from None


def _typed(lines: Sequence[tuple[int, Sequence[Any]]]) -> Iterator[Record]:
    """Cells of a workbook as a person reads them there."""
    for row, cells in lines:
        texts = tuple(as_text(cell) for cell in cells)
        if any(texts):
            yield Record(row, texts)


def as_text(cell: Any) -> str:
    """A cell of a workbook or a Parquet file."""
    if cell is None or cell != cell:  # a number that is none  # noqa: PLR0124
        return ""
    if isinstance(cell, float):
        return format(Decimal(repr(cell)).normalize() + 0, "f") if abs(cell) < float("inf") else str(cell)
    if isinstance(cell, dt.date):
        return cell.isoformat()[:10]
    return str(cell).replace("\xa0", " ").strip() if not isinstance(cell, bool) else str(cell).upper()


def count_records(export: Export, delimiter: str) -> int:
    """The lines with something on them, counted without reading cells: each quoted cell is one letter, or nothing."""
    if export.table:
        return len({record.row for record in export.table if record.texts})
    mark = re.escape(delimiter)
    quoted = re.compile(rf'(?:(?<=[{mark}\r\n])|^)"((?:[^"]|"")*)"')
    bare = quoted.sub(lambda cell: "q" * bool(cell[1].replace("\xa0", " ").strip()), export.text)
    return sum(bool(line.strip(f"{delimiter}\xa0 \t")) for line in re.split(r"\r\n|\r|\n", bare))


# Amounts as people and their brokers write them.
#
BLANKS = {"", "-", "--", "---", "—", "n/a", "na", "none", "null"}
MOST_AMOUNT = Decimal(10) ** 30
"""What nothing comes to, so that sums and floats are numbers."""
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
_AMOUNT = re.compile(rf"(?:([+-]?)\$?|\$([+-]?))({_DIGITS})%?")


def is_blank_mark(text: str) -> bool:
    """Whether a cell says that there is nothing to say."""
    return text.casefold() in BLANKS


def amount(text: str) -> Decimal | None:
    """`$1,234.50`, `($126.93)`, `-$5` or `12.5%` as a number (12.5); None of a blank, `--` or `N/A`.

    Raises:
        ValueError: it is neither.
    """
    plain = text.replace("−", "-").strip()
    if is_blank_mark(plain):
        return None
    bracketed = plain.startswith("(") and plain.endswith(")")
    found = _AMOUNT.fullmatch(plain[1:-1].strip() if bracketed else plain)
    if found is None or (bracketed and (found[1] or found[2])):
        raise ValueError(text)
    number = Decimal(found[3].replace(",", ""))
    if number >= MOST_AMOUNT:
        raise ValueError(text)
    return -number if bracketed or "-" in (found[1] or "", found[2] or "") else number


def is_amount(text: str) -> bool:
    """Whether a cell is a number."""
    try:
        return amount(text) is not None
    except ValueError:
        return False


_DAYS = ("%m/%d/%Y", "%Y/%m/%d", "%Y-%m-%d", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%b-%d-%Y", "%d/%b/%Y", "%Y%m%d")


def day(text: str) -> dt.date | None:
    """A day in one of the forms that these exports have; with slashes the American one. None of anything else."""
    for form in _DAYS:
        try:
            found = dt.datetime.strptime(text.strip(), form).date()
        except ValueError:
            continue
        return found if 1990 <= found.year < 2200 else None
    return None


# XML: the tree of a document by expat, which is asked to stop at whatever would let a document reach beyond itself.
#


@dataclass
class Element:
    """An element by its name without its namespace, with the line that it begins on."""

    tag: str
    row: int
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def walk(self) -> Iterator[Element]:
        """This element and all that are in it, in the order of the document."""
        ahead = [self]
        while ahead:
            yield (own := ahead.pop())
            ahead += reversed(own.children)

    def all(self, tag: str) -> Iterator[Element]:
        """Those of a name, however deep."""
        return (element for element in self.walk() if element.tag == tag)

    def said(self, tag: str) -> str:
        """The text of the first of a name; empty where there is none."""
        return next((element.text.strip() for element in self.all(tag)), "")


def parse_xml(content: bytes, name: str, before: int = 0) -> Element:
    """The root of a document; `before` are the lines above it in the file.

    Raises:
        BadInput: it is not well-formed, has a DOCTYPE, or is larger than any export.
    """
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    plain = content if marked else content.removeprefix(b"\xef\xbb\xbf").lstrip()
    above = before + (0 if marked else content[: len(content) - len(plain)].count(b"\n"))
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    root = Element("", 0, {})
    opened, count = [root], 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS or len(opened) > MOST_DEPTH:
            raise _Refused("holds more than an export does", "export the positions alone")
        plain_names = {key.rpartition(" ")[2]: value.strip() for key, value in attributes.items()}
        element = Element(tag.rpartition(" ")[2], above + parser.CurrentLineNumber, plain_names)
        opened[-1].children.append(element)
        opened.append(element)

    def text(more: str) -> None:
        opened[-1].text += more
        if len(opened[-1].text) > MOST_TEXT:
            raise _Refused("holds a text that is longer than an export's", "export the positions alone")

    def doctype(*_: object) -> None:
        raise _Refused("has a DOCTYPE, which could make it reach beyond itself", "remove it: no export has one")

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: opened.pop()
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(plain, True)
    except _Refused as refused:
        raise BadInput.of(name, *refused.args, row=above + parser.CurrentLineNumber) from None
    except (expat.ExpatError, LookupError, ValueError, UnicodeError) as error:
        rule = f"is not well-formed XML: {str(error).partition(':')[0]}"
        raise BadInput.of(name, rule, "export it again", row=above + parser.CurrentLineNumber) from None
    return root.children[0]


class _Refused(Exception):
    """What a document may not hold: the rule and its cure."""
