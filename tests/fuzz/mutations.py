"""Sample books spoiled by chance, each by its seed: what may come through the door, and what means the same."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ("tests/typed", "data/listed", "data/note", "data/reviewed")
Files = dict[str, bytes]
Rows = list[list[str]]
NASTY = (
    "", " ", "0", "-0", "-1", "1e308", "1e-308", "1e999", "nan", "inf", "-inf", "NaN", "#N/A", "0x10", "1_000", "1,5",
    "1.234,5", "1,234.5", "12%", "$5", "5 bp", "(5)", "٣", "1/2", "=1+1", "@x", "+5", "true", "None", "2026-02-30",
    "2026-11-20", "20.11.2026", "46346", "1e5", ".5", "5.", "00012", "9" * 400, "x" * 5000,
    "\x1b[31mred", "a\nb", "a,b",
    '"', "'", "\u202eabc", "NVDA", "nvda", "NVDA ", "\ufeff", "é", "日本", "\x00", "1.250", "99999999999999999999",
)  # fmt: skip
TOML_VALUES = (
    "0", "-1", "1e999", "nan", "inf", "-inf", '""', '"x"', "true", "[]", "{}", "[1, [2]]", "2026-11-20", "07:32:00",
    "2026-11-20T00:00:00Z", "9" * 30, "0xff", "0.2", "20", '"NVDA"', '["NVDA", "NVDA"]', "{a = 1}", "1e-320", "-0.0",
    '"\\u001b[31m"', "12%", ".9", "'''x'''", "[" * 200 + "]" * 200, '"' + "y" * 3000 + '"', "1_0.0_1", "2026-02-30",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A book's files, what was done to it, and whether it still means the same."""

    sample: str
    kind: str
    same: bool
    files: Files


def sample_files(sample: str) -> Files:
    """What a sample book is made of."""
    return {path.name: path.read_bytes() for path in sorted((ROOT / sample).iterdir()) if path.is_file()}


def mutant(seed: int) -> Mutant:
    """The mutant of a seed, the same each time; one in four means the same as its sample."""
    chance = random.Random(seed)
    sample = chance.choice(SAMPLES)
    files = sample_files(sample)
    kinds = KEEPING if chance.random() < 0.25 else SPOILING
    kind = chance.choice(sorted(kinds))
    kinds[kind](files, chance)
    return Mutant(sample, kind, kinds is KEEPING, files)


def rows_of(content: bytes) -> Rows:
    """The cells of a table."""
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def table_of(rows: Rows, **style: object) -> bytes:
    """A table of cells."""
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n", **style}).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue().encode("utf-8", errors="surrogatepass")


def _table(files: Files, chance: random.Random) -> str:
    return chance.choice([name for name in files if name.endswith(".csv")])


def _cell(rows: Rows, chance: random.Random) -> tuple[int, int]:
    row = chance.randrange(1, len(rows))
    return row, chance.randrange(len(rows[row]))


def _of_rows(change: Callable[[Rows, random.Random], None]) -> Callable[[Files, random.Random], None]:
    def changed(files: Files, chance: random.Random) -> None:
        name = _table(files, chance)
        rows = rows_of(files[name])
        change(rows, chance)
        files[name] = table_of(rows)

    return changed


def _bytes(files: Files, chance: random.Random) -> None:
    name = chance.choice(sorted(files))
    content = bytearray(files[name])
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content) + 1)
        what = chance.randrange(4)
        if what == 0 and at < len(content):
            content[at] = chance.randrange(256)
        elif what == 1:
            content[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        elif what == 2:
            del content[at : at + chance.randint(1, 40)]
        else:
            content[at:at] = content[at : at + chance.randint(1, 200)]
    files[name] = bytes(content)


def _cut(files: Files, chance: random.Random) -> None:
    name = chance.choice(sorted(files))
    files[name] = files[name][: chance.randrange(len(files[name]))]


def _nasty_cell(rows: Rows, chance: random.Random) -> None:
    row, column = _cell(rows, chance)
    rows[row][column] = chance.choice(NASTY)


def _number(rows: Rows, chance: random.Random) -> None:
    numbers = [(r, c) for r, cells in enumerate(rows) for c, cell in enumerate(cells) if r and _is_number(cell)]
    if numbers:
        row, column = chance.choice(numbers)
        cell = rows[row][column]
        forms = (
            f"-{cell}", f"{float(cell) * 100:g}", f"{float(cell) / 100:g}", f"{float(cell) * 1e6:g}", cell + "0" * 3,
            cell + "%", "$" + cell, cell.replace(".", ","), f"{float(cell):,.2f}", f"{float(cell):e}", cell + "e300",
            f"{float(cell) * (1 + 1e-12)!r}",
        )  # fmt: skip
        rows[row][column] = chance.choice(forms)


def _column_of_numbers(rows: Rows, chance: random.Random) -> None:
    column = chance.randrange(len(rows[0]))
    factor = chance.choice((100.0, 0.01, 1000.0, 0.0, -1.0))
    for cells in rows[1:]:
        if _is_number(cells[column]):
            cells[column] = repr(float(cells[column]) * factor)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?", cell) is not None


def _header(rows: Rows, chance: random.Random) -> None:
    at = chance.randrange(len(rows[0]))
    what = chance.randrange(5)
    if what == 0:
        rows[0][at] = chance.choice((*NASTY, rows[0][at].upper(), rows[0][at] + "s", "ticker", "weight"))
    elif what == 1:
        for cells in rows:
            del cells[at]
    elif what == 2:
        for cells in rows:
            cells.append(cells[at])
    elif what == 3:
        other = chance.randrange(len(rows[0]))
        rows[0][at], rows[0][other] = rows[0][other], rows[0][at]
    else:
        rows.pop(0)


def _rows(rows: Rows, chance: random.Random) -> None:
    at = chance.randrange(1, len(rows))
    what = chance.randrange(5)
    if what == 0:
        del rows[at]
    elif what == 1:
        rows.insert(at, list(rows[at]))
    elif what == 2:
        rows[at] = rows[at][: chance.randrange(len(rows[at]) + 1)]
    elif what == 3:
        rows.insert(chance.choice((0, len(rows))), ["Total", *[""] * (len(rows[0]) - 1)])
    else:
        del rows[1:]


def _file(files: Files, chance: random.Random) -> None:
    name = chance.choice(sorted(files))
    what = chance.randrange(4)
    if what == 0:
        del files[name]
    elif what == 1:
        files[chance.choice((name.upper(), name + ".bak", "x" + name, name.replace(".", " .")))] = files.pop(name)
    elif what == 2:
        files[name] = files[chance.choice(sorted(files))]
    else:
        files[name] = chance.choice((b"", b"\n", b"\xff\xfe", b"PK\x03\x04", b"\0" * 50))


def _toml_line(files: Files, chance: random.Random) -> None:
    lines = files["book.toml"].decode().splitlines()
    at = chance.choice([i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")])
    what = chance.randrange(5)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines[at] = lines[at].replace("m", "n", 1).replace("e", "", 1)
    elif what == 3:
        lines.insert(at, f"{chance.choice(('x', 'max_weight', 'a.b', 'set'))} = {chance.choice(TOML_VALUES)}")
    else:
        lines[at] = f"[{chance.choice(('mandate', 'robust', 'x', 'groups', 'tables', 'horizon', 'question'))}]"
    files["book.toml"] = "\n".join(lines).encode()


def _toml_value(files: Files, chance: random.Random) -> None:
    lines = files["book.toml"].decode().splitlines()
    at = chance.choice([i for i, line in enumerate(lines) if "=" in line and not line.startswith("#")])
    lines[at] = f"{lines[at].partition('=')[0]}= {chance.choice(TOML_VALUES)}"
    files["book.toml"] = "\n".join(lines).encode()


def _workbook(files: Files, chance: random.Random) -> None:
    """A table as a workbook or Parquet, typed as a spreadsheet would, and perhaps spoiled after."""
    name = _another_form(files, chance, text=False)
    content = bytearray(files[name])
    for _ in range(chance.choice((0, 1, 3))):
        content[chance.randrange(len(content))] = chance.randrange(256)
    files[name] = bytes(content[: chance.choice((len(content), len(content), len(content) // 2))])


def _another_form(files: Files, chance: random.Random, *, text: bool) -> str:
    """A table in the form of another program, the book told where it is; its new name."""
    from tests.fuzz.forms import parquet_of, workbook_of

    stem = chance.choice([s for s in ("holdings", "exposures", "benchmark") if f"{s}.csv" in files])
    rows = rows_of(files.pop(f"{stem}.csv"))
    form = chance.choice(("xlsx", "parquet"))
    make = workbook_of if form == "xlsx" else parquet_of
    odd = None if text else (chance.randrange(1, len(rows)), chance.randrange(len(rows[0])), chance.randrange(8))
    files[f"{stem}.{form}"] = make(rows, odd)
    files["book.toml"] += f'\n[tables]\n{stem} = "{stem}.{form}"\n'.encode()
    return f"{stem}.{form}"


# What means the same.
#


def _restyled(change: Callable[[Rows, random.Random], bytes]) -> Callable[[Files, random.Random], None]:
    def changed(files: Files, chance: random.Random) -> None:
        for name in [name for name in files if name.endswith(".csv")]:
            files[name] = change(rows_of(files[name]), chance)

    return changed


def _shuffled(rows: Rows, chance: random.Random) -> bytes:
    body = rows[1:]
    chance.shuffle(body)
    return table_of([rows[0], *body])


def _columns(rows: Rows, chance: random.Random) -> bytes:
    order = list(range(len(rows[0])))
    chance.shuffle(order)
    return table_of([[cells[at] for at in order] for cells in rows])


def _zeros(rows: Rows, chance: random.Random) -> bytes:
    def longer(cell: str) -> str:
        if not _is_number(cell) or chance.random() < 0.5:
            return cell
        return cell + chance.choice(("0", "00")) if "." in cell else cell + chance.choice((".0", ".00", ".", "e0"))

    return table_of([rows[0], *([longer(cell) for cell in cells] for cells in rows[1:])])


def _blanks(rows: Rows, chance: random.Random) -> bytes:
    spaced = [[" " * chance.randrange(3) + cell + " " * chance.randrange(3) for cell in cells] for cells in rows]
    for _ in range(3):
        spaced.insert(chance.randrange(len(spaced) + 1), [""] * chance.choice((1, len(rows[0]))))
    return table_of(spaced)


def _toml_style(files: Files, chance: random.Random) -> None:
    text = files["book.toml"].decode()
    text = re.sub(r"(?m)^(\w+) = ", lambda m: f"{' ' * chance.randrange(3)}{m[1]}{' ' * chance.randrange(4)}= ", text)
    text = re.sub(r"(?m)(= 0\.\d+)(?=\s)", lambda m: m[1] + "0" * chance.randrange(3), text)
    files["book.toml"] = text.replace("\n", chance.choice(("\n", "\r\n"))).encode()


def _same_form(files: Files, chance: random.Random) -> None:
    _another_form(files, chance, text=True)


SPOILING: Mapping[str, Callable[[Files, random.Random], None]] = {
    "bytes": _bytes, "cut": _cut, "cell": _of_rows(_nasty_cell), "number": _of_rows(_number),
    "column": _of_rows(_column_of_numbers), "header": _of_rows(_header), "rows": _of_rows(_rows), "file": _file,
    "key": _toml_line, "value": _toml_value, "workbook": _workbook,
}  # fmt: skip
KEEPING: Mapping[str, Callable[[Files, random.Random], None]] = {
    "order of rows": _restyled(_shuffled),
    "order of columns": _restyled(_columns),
    "byte order mark": _restyled(lambda rows, _: b"\xef\xbb\xbf" + table_of(rows)),
    "line ends": _restyled(lambda rows, chance: table_of(rows, lineterminator=chance.choice(("\r\n", "\r")))),
    "quotes": _restyled(lambda rows, _: table_of(rows, quoting=csv.QUOTE_ALL)),
    "zeros": _restyled(_zeros),
    "blanks": _restyled(_blanks),
    "style of book.toml": _toml_style,
    "another form": _same_form,
}
