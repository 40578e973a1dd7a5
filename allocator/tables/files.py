"""Table files as they were written: CSV, Parquet, Excel or a pandas object in, cells and their line numbers out.

Nothing is interpreted here: text stays text until a contract says what it means. What makes a file no table at all
(not text, ragged rows, two columns of one name) is refused here, because no contract could say where it went wrong.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import shutil
import stat
import tempfile
import threading
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd

from allocator.errors import BadInput, Breach, did_you_mean, printable, required_extra

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

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
Line = tuple[int, Sequence[Any]]
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
    try:
        return reader(read_regular_file(path, called), called, path.stem)
    except MemoryError:
        raise BadInput.of(
            called, "is too large for the memory here", "split it, or leave out what is not used"
        ) from None


MOST_FILE_BYTES = 500_000_000
"""What a file of a book may come to."""


def read_regular_file(path: Path, name: str, most: int = MOST_FILE_BYTES) -> bytes:
    """All of a plain file of at most so many bytes.

    Raises:
        BadInput: as of `regular_file_parts`.
    """
    return b"".join(regular_file_parts(path, name, most, most + 1))


def regular_file_parts(path: Path, name: str, most: int = MOST_FILE_BYTES, size: int = 1_000_000) -> Iterator[bytes]:
    """The bytes of a plain file of at most so many, `size` at a time. What is none, such as a pipe or a device,
    is not opened.

    Raises:
        BadInput: it is missing, no plain file, too large, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInput.of(name, *_no_plain_file(path))
        # what was replaced by a pipe meanwhile neither blocks here nor is read
        with open(path, "rb", opener=_open_without_waiting) as file:  # a Path has no opener
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadInput.of(name, "is no plain file", "put a plain file there")
            if found.st_size > most:
                rule = f"is {found.st_size / 1e6:,.0f} MB, and {most / 1e6:,.0f} MB are the most"
                raise BadInput.of(name, rule, "leave out what is not used")
            while part := file.read(size):
                yield part
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput.of(name, "this file is missing", _missing_file_cure(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise BadInput.of(name, f"cannot be read: {_reason(error)}", "check the file and its rights") from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _no_plain_file(path: Path) -> tuple[str, str]:
    if path.is_dir():
        return "this file is missing", "this is a folder: name the file in it"
    return "is no plain file but a pipe, a socket or a device", "put a plain file there"


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def check_file(path: str, suffixes: Sequence[str], key: str) -> None:
    """Refuse a file that could not be written, before there is anything to write.

    Raises:
        BadInput: another suffix, or no folder to write to.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        cure = f"name for example {'plan' + suffixes[0]}"
        raise BadInput.of(key, f"must end in {' or '.join(suffixes)}", cure, value=printable(path))
    folder = target.absolute().parent
    why = "is a folder" if is_folder(target) else _bad_name(target) if is_folder(folder) else "no such folder"
    if not why and not os.access(folder, os.W_OK):
        why = "may not be written to"
    if why:
        raise BadInput.of(key, f"cannot be written: {why}", "make room, or name another file", value=printable(path))


def _bad_name(path: Path) -> str:
    """Why no file can be there, such as a name that is too long or a link to itself; nothing where one can."""
    try:
        path.stat()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return _reason(error)
    return ""


def replace_file(path: Path, content: bytes, key: str = "--out") -> None:
    """Write a file beside its place and rename it: what was there stays, or the new one is there, whole.

    Raises:
        BadInput: it cannot be written.
    """
    place = path.resolve()
    try:
        if place.exists() and not place.is_file():  # a device, a pipe or a folder is nobody's earlier file
            raise OSError(errno.EINVAL, "it is no plain file")
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as temporary:
            made = Path(temporary) / place.name
            made.write_bytes(content)
            if place.exists():
                shutil.copymode(place, made)
            made.replace(place)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        rule = f"cannot be written: {getattr(error, 'strerror', None) or error}; what was there is as it was"
        raise BadInput.of(key, rule, "make room, or name another file", value=printable(str(path))) from None


def names_in(folder: Path) -> list[str]:
    """What is in a folder, in order; nothing where nobody may look. No file is opened."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return []


def is_folder(path: Path) -> bool:
    """Whether a folder is there; not where nobody may look, or none can have the name."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_plain_file(path: Path) -> bool:
    """Whether a plain file is there, which is not opened; not where nobody may look, or no file can have the name."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def from_frame(name: str, table: object) -> RawTable:
    """A table from a pandas object or plain data (columns by name, or one mapping a row), copied.

    Index levels that have a name become columns, others go.

    Raises:
        BadInput: there are no rows, two columns have one name, or a column name is not text.
    """
    frame = _frame_of_plain_data(name, table)
    levels = [(level, label) for level, label in enumerate(frame.index.names) if label is not None]
    breaches = list(header_breaches(name, None, [*(label for _, label in levels), *frame.columns]))
    if not len(frame) and not breaches:
        breaches.append(Breach(name, None, None, None, "the table is empty", "add at least one row"))
    if breaches:
        raise BadInput(breaches)
    texts = frame.loc[:, [dtype.kind not in "biufM" for dtype in frame.dtypes]]
    rows = zip(range(1, len(frame) + 1), texts.itertuples(index=False, name=None), strict=False)
    if odd := list(_unwritable(name, rows)):
        raise BadInput(odd)
    plain = frame.reset_index(drop=True).copy()
    for level, label in reversed(levels):
        plain.insert(0, label, frame.index.get_level_values(level))
    return RawTable(name, plain, tuple(range(1, len(plain) + 1)))


def _frame_of_plain_data(name: str, table: Any) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    by_column = isinstance(table, Mapping) and all(isinstance(cells, _COLUMN) for cells in table.values())
    by_row = isinstance(table, list | tuple) and all(isinstance(row, Mapping) for row in table)
    if by_column or by_row:
        try:
            return pd.DataFrame(table)
        except ValueError as error:  # columns of different lengths
            raise BadInput.of(name, f"is no table: {error}", "give all columns the same length") from None
    rule = f"must be a DataFrame, columns by name or a list of rows, not a {type(table).__name__}"
    cure = 'give columns by name, such as {"instrument": ["NVDA", "AVGO"], …}'
    raise BadInput.of(name, rule, "for a Series call .to_frame(name)" if isinstance(table, pd.Series) else cure)


_COLUMN = (list, tuple, np.ndarray, pd.Series, pd.Index)


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
    if os.path.lexists(path):
        return "it is a link to nothing: put the file there"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = (other for other in names_in(path.parent) if other.lower().endswith(SUFFIXES))
    there = (other for other in names if is_plain_file(path.parent / other))
    cure = did_you_mean(path.name, there, by_stem=True)
    return cure if cure.startswith("did you mean") else f"add {path.name} to the folder '{path.parent.name or '.'}'"


def _read_csv(content: bytes, name: str, _: str) -> RawTable:
    refuse_other_encodings(content, name)
    file = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    return _table(name, _NumberedLines(csv_lines(file, name, _Stripped().__getitem__)))


def csv_lines(file: TextIO, name: str, stripped: Callable[[str], str] = str.strip) -> Iterator[Line]:
    """Every line of a file that separates with commas, its cells without the blanks around them.

    Raises:
        BadInput: quotes do not fit, or a cell is too long.
    """
    reader, start = csv.reader(file, strict=True), 1
    try:
        for cells in reader:
            yield start, tuple(map(stripped, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        long = "field larger" in str(error)
        rule = "a cell is longer than 131072 characters" if long else f"the quotes do not fit: {error}"
        raise BadInput.of(name, rule, 'close each quote; write "" for one inside', row=start) from None


class _Stripped(dict[str, str]):
    """Cells without the blanks around them; what is written in a million cells is held once."""

    def __missing__(self, cell: str) -> str:
        text = cell.strip()
        if len(self) < 100_000:
            self[cell] = text
        return text


class _NumberedLines(Sequence[Line]):
    """The lines of a table with something on them, in a third of the memory that a list of pairs takes."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.numbers, self.cells, self.widths = array("q"), list[Sequence[Any]](), array("q")
        for number, cells in lines:
            self.add(number, cells)

    def add(self, number: int, cells: Sequence[Any]) -> None:
        """A line, if there is anything on it; its width is how many cells are filled."""
        if width := len(cells) - cells.count("") - cells.count(None):
            self.numbers.append(number)
            self.cells.append(cells)
            self.widths.append(width)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return list(zip(self.numbers[at], self.cells[at], strict=True))
        return self.numbers[at], self.cells[at]


def refuse_other_encodings(content: bytes, name: str) -> None:
    """What is no UTF-8 text, by what it is instead.

    Raises:
        BadInput: it is another encoding, a binary file, or not a table of cells.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput.of(name, "is UTF-16, not UTF-8 text", "save it as 'CSV UTF-8'")
    if content.lstrip()[:1] in (b"<", b"{", b"["):
        raise BadInput.of(name, "is no table of cells but HTML, XML or JSON", "save it as 'CSV UTF-8'")
    if content.startswith(b"PK\x03\x04"):
        raise BadInput.of(name, "is not text but a spreadsheet or archive", "name it .xlsx, or save it as 'CSV UTF-8'")
    if b"\0" in content:
        raise BadInput.of(name, "is not text but a binary file", "save it as 'CSV UTF-8'")
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        found = f"is not UTF-8 text (byte 0x{content[error.start]:02x})"
        raise BadInput.of(name, found, "save it as 'CSV UTF-8'", row=row) from None


def _read_xlsx(content: bytes, name: str, stem: str) -> RawTable:
    lines = workbook_lines(content, name, stem)
    width = next((len(cells) for _, cells in lines if cells), 0)  # the header's: shorter rows end in blanks
    return _table(name, _NumberedLines((number, cells + [None] * (width - len(cells))) for number, cells in lines))


def workbook_lines(content: bytes, name: str, stem: str) -> list[tuple[int, list[Any]]]:
    """The rows of the one sheet, or of that named `stem`, by their numbers; each up to its last cell.

    Raises:
        BadInput: it is no workbook, or more than a table can be.
    """
    openpyxl = required_extra("openpyxl", "openpyxl", "excel", name)
    has_formulas = _look_through(content, name)
    with silence_libraries(Warning):  # of styles and drop-down lists, which are not data
        try:
            values = _sheet_lines(openpyxl, content, name, stem, formulas=False)
            formulas = dict(_sheet_lines(openpyxl, content, name, stem, formulas=True)) if has_formulas else {}
        except (BadInput, MemoryError):
            raise
        except Exception:  # whatever a foreign reader stumbles over is a file that it cannot read
            raise _not_a_workbook(name) from None
    lines = [(number, _with_formulas(cells, formulas.get(number, []))) for number, cells in values]
    if odd := list(_unwritable(name, lines)):
        raise BadInput(odd)
    return lines


MOST_BYTES, MOST_RATIO, MOST_PARTS = 200_000_000, 200, 10_000
"""What the parts of a workbook may come to when unpacked, by how much they may have been packed, how many they are."""
MOST_CELLS = 2_000_000
"""Of a workbook; blanks between a row's first cell and its last count."""
MOST_VALUES = 20_000_000
"""Of a Parquet file, which takes a fraction of the time a value."""
MOST_TAGS = {"cells": 4 * MOST_CELLS, "texts": 500_000, "others": 250_000}
"""Tags of a workbook: a cell has up to four; texts are shared by cells; others, such as styles, take long to read."""
MOST_TEXT = 4_000_000
LAST_ROW, LAST_COLUMN = 1_048_576, 16_384
"""The most that a spreadsheet has."""
_CELL_TAG = re.compile(rb"</?(?:\w+:)?(?:c|v|row|is|t|f)[\s>/]")
_TEXT_TAG, _FORMULA_TAG = re.compile(rb"<(?:\w+:)?si[\s>/]"), re.compile(rb"<(?:\w+:)?f[\s>/]")


def _look_through(content: bytes, name: str) -> bool:
    """Bound what opening a workbook would make of it, before it is opened; whether there are formulas in it.

    Raises:
        BadInput: it is no archive, or one that unpacks to more than a table can be.
    """
    from zipfile import ZipFile

    tags = dict.fromkeys((*MOST_TAGS, "formulas"), 0)
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            _refuse_large(parts, name)
            for part in parts:
                _count_tags(archive, part, name, tags)
    except (BadInput, MemoryError):
        raise
    except Exception:  # zipfile and zlib have no error in common
        raise _not_a_workbook(name) from None
    return tags["formulas"] > 0


def _refuse_large(parts: Sequence[ZipInfo], name: str) -> None:
    unpacked, packed = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    if unpacked > MOST_BYTES or (unpacked > 1_000_000 and unpacked > MOST_RATIO * packed) or len(parts) > MOST_PARTS:
        rule = f"unpacks to {unpacked / 1e6:,.0f} MB from {packed / 1e6:,.1f} MB, which no table does"
        raise BadInput.of(name, rule, "save the table alone, as .xlsx or 'CSV UTF-8'")


def _count_tags(archive: ZipFile, part: ZipInfo, name: str, tags: dict[str, int]) -> None:
    """Add the tags of a part to those before, and refuse what is small to unpack and endless to read."""
    rest = b""
    with archive.open(part) as unpacked:
        if not unpacked.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
            return  # no XML, such as a picture
        unpacked.seek(0)
        while chunk := unpacked.read(1 << 20):
            whole, mark, rest = (rest + chunk).rpartition(b">")
            whole += mark
            of_cells, texts = len(_CELL_TAG.findall(whole)), len(_TEXT_TAG.findall(whole))
            tags["cells"] += of_cells
            tags["texts"] += texts
            tags["others"] += whole.count(b"<") - of_cells - 2 * texts
            tags["formulas"] += _FORMULA_TAG.search(whole) is not None
            if b"<!DOCTYPE" in whole or b"<!ENTITY" in whole or b"\0" in chunk:
                raise _not_a_workbook(name)
            if len(rest) > MOST_TEXT or any(tags[kind] > most for kind, most in MOST_TAGS.items()):
                raise BadInput.of(name, "holds more than a table does", "copy the table alone into a new workbook")


def _not_a_workbook(name: str) -> BadInput:
    return BadInput.of(name, "is not an Excel workbook", "save it as .xlsx")


def _sheet_lines(openpyxl: Any, content: bytes, name: str, stem: str, *, formulas: bool) -> list[tuple[int, list[Any]]]:
    """The rows of the one sheet: the values that formulas last had, or with `formulas` the formulas themselves.

    Rows end with their last cell and not where the sheet says that it ends: a stray cell far away would make millions.
    """
    workbook = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=not formulas)
    try:
        sheets = [sheet for sheet in workbook.sheetnames if sheet == stem] or workbook.sheetnames
        if len(sheets) > 1:
            raise BadInput.of(name, f"has {len(sheets)} sheets, none named '{stem}'", f"name one '{stem}'")
        sheet = workbook[sheets[0]]
        sheet.reset_dimensions()
        lines: list[tuple[int, list[Any]]] = []
        cells_read = 0
        for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            cells_read += len(cells)
            if cells_read > MOST_CELLS or number > LAST_ROW or len(cells) > LAST_COLUMN:
                raise _too_many_cells(name, MOST_CELLS)
            if trimmed := _trimmed(cells):
                lines.append((number, trimmed))
        return lines
    finally:
        workbook.close()


def _too_many_cells(name: str, most: int) -> BadInput:
    rule = f"has more than {most:,} cells"
    return BadInput.of(name, rule, "remove stray cells beyond the table: copy it into a new file")


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


def _read_parquet(content: bytes, name: str, _: str) -> RawTable:
    required_extra("pyarrow", "pyarrow", "parquet", name)
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    try:
        with parquet.ParquetFile(io.BytesIO(content)) as file:
            size = file.metadata.num_rows * file.metadata.num_columns
            table = None if size > MOST_VALUES else file.read(use_threads=False)
        if table is not None:
            table.validate(full=True)  # texts that are no UTF-8 would be found cell by cell, much later
        frame = None if table is None else table.to_pandas()
    except MemoryError:
        raise
    except Exception:  # pyarrow's errors, and those of pandas over what the file says of itself
        raise BadInput.of(name, "is not a Parquet file", "write it with DataFrame.to_parquet") from None
    if frame is None:
        raise _too_many_cells(name, MOST_VALUES)
    return from_frame(name, frame)


def _table(name: str, filled: _NumberedLines) -> RawTable:
    """A table from numbered lines, the first of which is the header."""
    if not filled:
        raise BadInput.of(name, "the file is empty", "write a header and at least one row")
    if stray := _rows_outside(name, filled):
        raise BadInput([stray])
    top, header = filled[0]
    breaches = list(header_breaches(name, top, header))
    if not breaches:
        breaches = list(_row_breaches(name, len(header), filled))
    if len(filled) == 1:
        rule = "the table is empty: it has only a header"
        breaches.append(Breach(name, None, None, None, rule, "add at least one row"))
    if breaches:
        raise BadInput(breaches)
    del filled.cells[0]
    frame = pd.DataFrame(filled.cells, columns=pd.Index(header, dtype=object), dtype=object)
    return RawTable(name, frame, tuple(filled.numbers[1:]))


def _one_word(cell: object) -> bool:
    """Whether a cell can be a name of which the rest of the row says nothing, as text around a table is not."""
    return isinstance(cell, str) and len(cell.split()) == 1


def _rows_outside(name: str, filled: _NumberedLines) -> Breach | None:
    """What exports write above and below a table: named, not skipped, as nobody but the user knows what it says."""
    widths = filled.widths
    usual = Counter(widths).most_common(1)[0][0]
    heads = [at for at, width in enumerate(widths[:_PREAMBLE]) if width >= usual and _is_header(filled[at][1])]
    if usual < 3 or not heads or len(filled) - heads[0] < 2:
        return None
    head, columns = heads[0], len(filled[heads[0]][1])
    outside = [
        (width <= 1 and not (len(cells) == columns and _one_word(cells[0])))
        or (width <= usual / 2 and len(cells) != columns)
        or (width < usual and str(cells[0]).casefold().rstrip(":") in TOTALS)
        for width, (_, cells) in zip(widths, filled, strict=True)
    ]
    last = max(at for at, out in enumerate(outside) if not out)
    above, below = filled[:head], filled[last + 1 :]
    if any(width >= usual for width in widths[:head]) or (not above and not below):
        return None
    rest = f"rows {below[0][0]} to {below[-1][0]}" if len(below) > 1 else f"row {below[0][0]}" if below else ""
    if not above:
        rule = f"{rest} after the table {'are' if len(below) > 1 else 'is'} no row of it"
        said = next(str(cell) for cell in below[0][1] if cell not in (None, ""))
        return Breach(name, below[0][0], None, said[:60], rule, f"remove {rest}")
    top = f"rows 1 to {filled[head][0] - 1}" if filled[head][0] > 2 else "row 1"
    rule = f"the header seems to stand in row {filled[head][0]}"
    cure = f"remove {top}" + (f", and {rest} below the table" if rest else "")
    return Breach(name, filled[head][0], None, ", ".join(map(str, filled[head][1]))[:60], rule, cure)


def _unwritable(name: str, lines: Iterable[Line]) -> Iterator[Breach]:
    """Cells with halves of characters, which no file can hold; spreadsheets can say them."""
    for number, cells in lines:
        for cell in cells:
            if isinstance(cell, str) and not cell.isascii() and _HALF.search(cell):
                yield Breach(name, number, None, printable(cell)[:80], "is no text that can be written", "correct it")


_HALF = re.compile(r"[\ud800-\udfff]")
TOTALS = ("total", "totals", "sum", "subtotal", "grand total", "account total", "summe", "gesamt", "gesamtsumme")
"""What the first cell of a row of sums says, where cells of it are blank."""
_PREAMBLE = 60
"""Rows from the top in which a header is looked for."""


def _is_header(cells: Sequence[Any]) -> bool:
    """Texts, none twice and none a number."""
    texts = [cell for cell in cells if cell not in (None, "")]
    return all(isinstance(text, str) and not text[:1].isdigit() for text in texts) and len(set(texts)) == len(texts)


def header_breaches(name: str, row: int | None, header: Sequence[object]) -> Iterator[Breach]:
    """Columns without a name, of one name, or called by no text; and a table that is separated by other signs."""
    only = header[0] if len(header) == 1 else None
    marks = {";": "semicolons", "\t": "tabs", "|": "bars"}
    if isinstance(only, str) and (mark := next((words for sign, words in marks.items() if sign in only), None)):
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


def _row_breaches(name: str, width: int, lines: Sequence[Line]) -> Iterator[Breach]:
    for number, cells in lines:
        if len(cells) != width:
            rule = f"the row has {len(cells)} cells and the header {width}"
            wide = "quote text that contains a comma, and write 1.5 for 1,5"
            yield Breach(name, number, None, None, rule, wide if len(cells) > width else "add what is missing")
