"""Table files as they were written: CSV, Parquet, Excel or a pandas object in, cells and their line numbers out.

Nothing is interpreted here: text stays text until a contract says what it means. What makes a file no table at all
(not text, ragged rows, two columns of one name) is refused here, because no contract could say where it went wrong.
"""

from __future__ import annotations

import csv
import io
import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from allocator.errors import BadInput, Breach, did_you_mean

# Silence for warnings of the libraries that we use, one thread at a time.
#
# The filters of `warnings` belong to the whole process: two threads that save and restore them in turns can leave the
# one's silence behind for good. So whoever wants silence waits for it, and wants it for milliseconds.
#
_alone = threading.RLock()
_before: list[Any] | None = None
"""The filters as they were before the silence that is now, for a worker that is forked within it."""


@contextmanager
def silence_libraries(category: type[Warning]) -> Iterator[None]:
    """Ignore warnings of a category; the filters are afterwards as they were, where nobody else changes them too."""
    global _before  # noqa: PLW0603
    with _alone, warnings.catch_warnings():
        outer, _before = _before, _before or list(warnings.filters)
        warnings.simplefilter("ignore", category)
        try:
            yield
        finally:
            _before = outer


def _anew() -> None:
    """A forked worker has no thread that could ever open a lock that was shut, or end a silence, when it was born."""
    global _alone, _before  # noqa: PLW0603
    _alone = threading.RLock()
    if _before is not None:
        warnings.filters[:] = _before  # type: ignore[index]
        _before = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
SUFFIXES = (".csv", ".parquet", ".xlsx")
"""What `read_table` reads; in any case of letters."""
Line = tuple[int, list[Any]]
"""The number of a line in its file, and its cells."""


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it was written: cells as found, with the line that each row stands on.

    `name` is what errors call it, such as holdings.csv. `frame` holds text for CSV (stripped) and values for
    others, indexed from 0. `rows` are the lines of the file for CSV and Excel, where the header is line 1; Parquet and
    pandas have no lines, so the first row is 1 there.
    """

    name: str
    frame: pd.DataFrame
    rows: tuple[int, ...]

    @property
    def columns(self) -> list[str]:
        """The names of the columns, each once."""
        return list(self.frame.columns)


def read_table(path: Path, name: str | None = None) -> RawTable:
    """Read a .csv, .parquet or .xlsx file; of a workbook, its only sheet or the sheet named like the file.

    Raises:
        BadInput: the file is missing, cannot be read, or is not a table; all errors of the file at once.
    """
    called = name or path.name
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".xlsx": _read_xlsx}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput.of(called, "must be a .csv, .parquet or .xlsx file", f"save {path.name} as one of these")
    if not path.is_file():
        raise BadInput.of(called, "this file is missing", _missing_file_cure(path))
    with refuse_unreadable(called):
        return reader(path, called)


def from_frame(name: str, table: object) -> RawTable:
    """A table from a pandas object or plain data, copied; an index level named `instrument` or `date` becomes a column,
    others go. Plain data is columns by name, or one mapping a row.

    Raises:
        BadInput: there are no rows, two columns have one name, or a column name is not text.
    """
    frame = _frame_of_plain_data(name, table)
    levels = [level for level in frame.index.names if level in ("instrument", "date")]
    breaches = list(_header_breaches(name, None, [*levels, *frame.columns]))
    if frame.empty and not breaches:
        breaches.append(Breach.of(name, "the table is empty", "add at least one row"))
    if breaches:
        raise BadInput(breaches)
    plain = frame.reset_index(drop=True).copy()
    for level in reversed(levels):
        plain.insert(0, level, frame.index.get_level_values(level))
    return RawTable(name, plain, tuple(range(1, len(plain) + 1)))


def _frame_of_plain_data(name: str, table: Any) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    by_column = isinstance(table, Mapping) and all(isinstance(cells, list | tuple) for cells in table.values())
    by_row = isinstance(table, list | tuple) and all(isinstance(row, Mapping) for row in table)
    if by_column or by_row:
        try:
            return pd.DataFrame(table)
        except ValueError as error:  # columns of different lengths
            raise BadInput.of(name, f"is no table: {error}", "give all columns the same length") from None
    rule = f"must be a DataFrame, columns by name or a list of rows, not a {type(table).__name__}"
    raise BadInput.of(name, rule, "for a Series call .to_frame(name)")


@contextmanager
def refuse_unreadable(name: str) -> Iterator[None]:
    """Say of a file that the system cannot read that it is the file.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        yield
    except OSError as error:
        rule = f"cannot be read: {error.strerror or error}"
        raise BadInput.of(name, rule, "check the file and its rights") from None


def utf8_text(content: bytes, name: str, cure: str) -> str:
    """The text of a file, without the mark that some editors begin it with.

    Raises:
        BadInput: it is not UTF-8; says where.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        rule = f"is not UTF-8 text (byte 0x{content[error.start]:02x})"
        raise BadInput.of(name, rule, cure, row=row) from None


def _missing_file_cure(path: Path) -> str:
    if path.is_dir():
        return "this is a folder: name the file in it"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    there = (entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in SUFFIXES)
    cure = did_you_mean(path.name, there, by_stem=True)
    return cure if cure.startswith("did you mean") else f"add {path.name} to the folder '{path.parent.name or '.'}'"


def _read_csv(path: Path, name: str) -> RawTable:
    text = _decoded(path.read_bytes(), name)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[Line] = []
    start = 1
    try:
        for cells in reader:
            lines.append((start, [cell.strip() for cell in cells]))
            start = reader.line_num + 1
    except csv.Error as error:
        cure = 'close each quote; write "" for one inside'
        raise BadInput.of(name, f"the quotes do not fit: {error}", cure, row=start) from None
    return _table(name, lines)


def _decoded(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput.of(name, "is UTF-16, not UTF-8 text", "save it as 'CSV UTF-8'")
    if content.startswith(b"PK\x03\x04"):
        raise BadInput.of(name, "is not text but a spreadsheet or archive", "name it .xlsx, or save it as 'CSV UTF-8'")
    if b"\0" in content:
        raise BadInput.of(name, "is not text but a binary file", "save it as 'CSV UTF-8'")
    return utf8_text(content, name, "save it as 'CSV UTF-8'")


def _read_xlsx(path: Path, name: str) -> RawTable:
    try:
        import openpyxl  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise BadInput.of(name, "Excel files need openpyxl", "pip install 'portfolio-allocator[excel]'") from None
    _refuse_large_archive(path, name)
    with silence_libraries(Warning):  # of styles and drop-down lists, which are not data
        try:
            values = _sheet_lines(openpyxl, path, name, formulas=False)
            formulas = dict(_sheet_lines(openpyxl, path, name, formulas=True))
        except (BadInput, OSError):
            raise
        except Exception:  # whatever a foreign reader stumbles over is a file that it cannot read
            raise BadInput.of(name, "is not an Excel workbook", "save it as .xlsx") from None
    lines = [(number, _with_formulas(cells, formulas.get(number, []))) for number, cells in values]
    width = next((len(cells) for _, cells in lines if cells), 0)  # the header's: shorter rows end in blanks
    return _table(name, [(number, cells + [None] * (width - len(cells))) for number, cells in lines])


MOST_BYTES, MOST_RATIO = 500_000_000, 200
"""What the parts of a workbook may come to when unpacked, and by how much they may have been packed."""
MOST_CELLS = 20_000_000


def _refuse_large_archive(path: Path, name: str) -> None:
    """Bound what opening would unpack, before it is opened.

    Raises:
        BadInput: it is no archive, or one that unpacks to more than a table can be.
    """
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(path) as archive:
            parts = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError):
        raise BadInput.of(name, "is not an Excel workbook", "save it as .xlsx") from None
    unpacked, packed = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    if unpacked > MOST_BYTES or (unpacked > 1_000_000 and unpacked > MOST_RATIO * packed):
        rule = f"unpacks to {unpacked / 1e6:,.0f} MB from {packed / 1e6:,.1f} MB, which no table does"
        raise BadInput.of(name, rule, "save the table alone, as .xlsx or 'CSV UTF-8'")


def _sheet_lines(openpyxl: Any, path: Path, name: str, *, formulas: bool) -> list[Line]:
    """The rows of the one sheet: the values that formulas last had, or with `formulas` the formulas themselves.

    Rows end with their last cell and not where the sheet says that it ends: a stray cell far away would make millions.
    """
    workbook = openpyxl.load_workbook(path, read_only=True, data_only=not formulas)
    try:
        sheets = [sheet for sheet in workbook.sheetnames if sheet == path.stem] or workbook.sheetnames
        if len(sheets) > 1:
            raise BadInput.of(name, f"has {len(sheets)} sheets, none named '{path.stem}'", f"name one '{path.stem}'")
        sheet = workbook[sheets[0]]
        sheet.reset_dimensions()
        lines: list[Line] = []
        cells_read = 0
        for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            cells_read += len(cells)
            if cells_read > MOST_CELLS:
                rule = f"has more than {MOST_CELLS:,} cells"
                raise BadInput.of(name, rule, "remove stray cells beyond the table: copy it into a new workbook")
            if trimmed := _trimmed(cells):
                lines.append((number, trimmed))
        return lines
    finally:
        workbook.close()


def _with_formulas(cells: list[Any], formulas: list[Any]) -> list[Any]:
    """The values of a row; a formula where its value was never calculated, so that it is refused as one."""
    cells = cells + [None] * (len(formulas) - len(cells))
    return [
        formula if cell is None and isinstance(formula, str) and formula.startswith("=") else cell
        for cell, formula in zip(cells, formulas + [None] * (len(cells) - len(formulas)), strict=True)
    ]


def _trimmed(cells: Sequence[Any]) -> list[Any]:
    """The cells of a spreadsheet's row up to the last one that holds something."""
    plain = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
    while plain and plain[-1] in (None, ""):
        plain.pop()
    return plain


def _read_parquet(path: Path, name: str) -> RawTable:
    try:
        import pyarrow  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise BadInput.of(name, "Parquet files need pyarrow", "pip install 'portfolio-allocator[parquet]'") from None
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except pyarrow.ArrowException:
        raise BadInput.of(name, "is not a Parquet file", "write it with DataFrame.to_parquet") from None
    return from_frame(name, frame)


def _table(name: str, lines: Sequence[Line]) -> RawTable:
    """A table from numbered lines, the first with something on it being the header; blank lines are left out."""
    filled = [(number, cells) for number, cells in lines if any(cell not in (None, "") for cell in cells)]
    if not filled:
        raise BadInput.of(name, "the file is empty", "write a header and at least one row")
    if stray := _rows_outside(name, filled):
        raise BadInput([stray])
    (top, header), *body = filled
    breaches = list(_header_breaches(name, top, header))
    if not breaches:
        breaches = list(_row_breaches(name, len(header), body))
    if not body:
        breaches.append(Breach.of(name, "the table is empty: it has only a header", "add at least one row"))
    if breaches:
        raise BadInput(breaches)
    frame = pd.DataFrame([cells for _, cells in body], columns=pd.Index(header, dtype=object), dtype=object)
    return RawTable(name, frame, tuple(number for number, _ in body))


def _rows_outside(name: str, filled: Sequence[Line]) -> Breach | None:
    """What exports write above and below a table: named, not skipped, as nobody but the user knows what it says."""
    widths = [sum(cell not in (None, "") for cell in cells) for _, cells in filled]
    usual = Counter(widths).most_common(1)[0][0]
    heads = [at for at, width in enumerate(widths[:_PREAMBLE]) if width >= usual and _is_header(filled[at][1])]
    if usual < 3 or not heads or len(filled) - heads[0] < 2:
        return None
    head, columns = heads[0], len(filled[heads[0]][1])
    outside = [
        width <= 1 or (width <= usual / 2 and len(cells) != columns)
        for width, (_, cells) in zip(widths, filled, strict=True)
    ]
    last = max(at for at, out in enumerate(outside) if not out)
    above, below = filled[:head], filled[last + 1 :]
    if not all(outside[:head]) or (not above and not below):
        return None
    rest = f"rows {below[0][0]} to {below[-1][0]}" if len(below) > 1 else f"row {below[0][0]}" if below else ""
    if not above:
        rule = f"{rest} after the table {'are' if len(below) > 1 else 'is'} no row of it"
        return Breach(name, below[0][0], None, str(below[0][1][0])[:60], rule, f"remove {rest}")
    top = f"rows 1 to {filled[head][0] - 1}" if filled[head][0] > 2 else "row 1"
    rule = f"the header seems to stand in row {filled[head][0]}"
    cure = f"remove {top}" + (f", and {rest} below the table" if rest else "")
    return Breach(name, filled[head][0], None, ", ".join(map(str, filled[head][1]))[:60], rule, cure)


_PREAMBLE = 60
"""Rows from the top in which a header is looked for."""


def _is_header(cells: Sequence[Any]) -> bool:
    """Texts, none twice and none a number."""
    texts = [cell for cell in cells if cell not in (None, "")]
    return all(isinstance(text, str) and not text[:1].isdigit() for text in texts) and len(set(texts)) == len(texts)


def _header_breaches(name: str, row: int | None, header: Sequence[object]) -> Iterator[Breach]:
    only = header[0] if len(header) == 1 else None
    if isinstance(only, str) and (";" in only or "\t" in only):
        mark = "semicolons" if ";" in only else "tabs"
        yield Breach(name, row, None, only, f"is separated by {mark}", "separate with commas, and write 1.5 for 1,5")
        return
    for position, column in enumerate(header, 1):
        if column in (None, ""):
            cure = "name it, or remove it (pandas writes none with index=False)"
            yield Breach(name, row, None, None, f"column {position} has no name", cure)
        elif not isinstance(column, str):
            yield Breach(name, row, None, str(column), "a column name must be text", f"name column {position} in words")
    for column, times in Counter(column for column in header if isinstance(column, str) and column).items():
        if times > 1:
            yield Breach(name, row, column, None, f"this column is there {times} times", "remove or rename all but one")


def _row_breaches(name: str, width: int, body: Sequence[Line]) -> Iterator[Breach]:
    for number, cells in body:
        if len(cells) != width:
            rule = f"the row has {len(cells)} cells and the header {width}"
            wide = "quote text that contains a comma, and write 1.5 for 1,5"
            yield Breach(name, number, None, None, rule, wide if len(cells) > width else "add what is missing")
