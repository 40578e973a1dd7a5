"""Load and check mutants, one a line of stdin, in a process of bounded memory and time; one line of JSON for each."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl  # noqa: F401  # before memory is bounded
import pyarrow.parquet  # noqa: F401

import allocator.book.book as book_module
from allocator.book.book import Book
from allocator.book.defaults import ACCOUNT
from allocator.commands.options import error_document
from allocator.display.console import show_refusal
from allocator.errors import AllocatorError
from allocator.mandate.precheck import check
from allocator.outlook.scenario_cards import load_with_cards
from allocator.tables.files import RawTable
from tests.fuzz.mutations import Mutant, mutant, rows_of, sample_files

MEMORY, SECONDS = 1 << 30, 20


def remember_validations() -> None:
    """Of a book one table is spoiled; the others are held to their contracts once, which is most of the time."""
    before: dict[Any, Any] = {}
    validate = book_module.validate

    def remembered(contract: str, raw: RawTable) -> Any:
        cells = repr(raw.frame.astype(object).to_numpy().tolist())
        key = (contract, raw.name, tuple(raw.frame), tuple(map(str, raw.frame.dtypes)), cells, raw.rows)
        if key not in before:
            before[key] = validate(contract, raw)
            if len(before) > 200:
                before.pop(next(iter(before)))
        typed, breaches = before[key]
        return typed.copy(), list(breaches)

    book_module.validate = remembered


class TooSlow(BaseException):
    """The alarm has rung."""


def _ring(*_: object) -> None:
    raise TooSlow


def labelled(book: Book) -> dict[str, Any]:
    """The numbers of a book by label, whatever the order of its rows."""
    order = np.argsort(book.instruments)
    arrays = {
        name: getattr(book, name)[order].tolist() for name in ("quantities", "prices", "quoted_prices", "lot_sizes")
    }
    tables = {
        "exposures": book.exposures.sort_index().sort_index(axis=1),
        "returns": book.scenario_returns.sort_index().sort_index(axis=1),
        "benchmark": None if book.benchmark is None else book.benchmark.sort_index(),
    }
    texts = {name: None if table is None else table.to_json(double_precision=15) for name, table in tables.items()}
    return {"names": sorted(book.instruments), "cash": book.cash, **arrays, **texts}


def disagreements(book: Book, files: dict[str, bytes]) -> Iterator[str]:
    """Numbers that another reader, of csv and Decimal alone, finds otherwise than the book has them."""
    at = {name: i for i, name in enumerate(book.instruments)}
    for row in _records(files.get("holdings.csv")):
        i = at.get(row["instrument"])
        if i is None or row.get("account", ACCOUNT) != book.account:
            continue
        wanted = {"quantity": book.quantities[i], "price": book.quoted_prices[i]}
        wanted |= {"lot_size": book.lot_sizes[i]} if row.get("lot_size") else {}
        yield from (f"{row['instrument']} {key}" for key, value in wanted.items() if not _equal(row[key], value))
    for row in _records(files.get("exposures.csv")):
        if row["instrument"] in at:
            of_book = book.exposures.loc[row["instrument"]]
            numbers = {key: cell for key, cell in row.items() if key in of_book and isinstance(of_book[key], float)}
            yield from (f"{row['instrument']} {key}" for key, cell in numbers.items() if not _equal(cell, of_book[key]))


def _records(content: bytes | None) -> list[dict[str, str]]:
    if content is None:
        return []
    rows = [[cell.strip() for cell in cells] for cells in rows_of(content)]
    header, *body = [cells for cells in rows if any(cells)]
    return [dict(zip(header, cells, strict=True)) for cells in body]


def _equal(cell: str, value: float) -> bool:
    return bool(np.isnan(value)) if cell == "" else float(Decimal(cell)) == value


def judged(case: Mutant, folder: Path, as_sample: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The exit code that a mutant gives, and what is wrong with that."""
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    try:
        book, _ = load_with_cards(folder)
        json.dumps(check(book).document(), allow_nan=False)
    except AllocatorError as error:
        show_refusal(error)
        said = json.dumps(error_document(error))
        return {"exit": error.exit_code, "said": str(error)[:300], "wrong": "" if said else "nothing is said"}
    wrong = "; ".join(disagreements(book, case.files))
    if case.same and labelled(book) != as_sample[case.sample]:
        wrong += " is another book than its sample"
    return {"exit": 0, "said": "", "wrong": wrong}


def main() -> None:
    """Answer every seed."""
    answers, sys.stdout = sys.stdout, io.StringIO()
    remember_validations()
    as_sample = {}
    with tempfile.TemporaryDirectory() as temporary:
        for sample in sorted({mutant(seed).sample for seed in range(50)}):
            place = Path(temporary) / sample.replace("/", "-")
            place.mkdir()
            for name, content in sample_files(sample).items():
                (place / name).write_bytes(content)
            as_sample[sample] = labelled(load_with_cards(place)[0])
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if os.name == "posix" else 0
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        signal.signal(signal.SIGALRM, _ring)
        for number, line in enumerate(sys.__stdin__ or ()):
            case = mutant(int(line))
            place = Path(temporary) / str(number)
            place.mkdir()
            signal.alarm(SECONDS)
            sys.stderr = io.StringIO()
            try:
                answer = judged(case, place, as_sample)
            except TooSlow:
                answer = {"exit": -1, "said": "", "wrong": f"takes more than {SECONDS} s"}
            except BaseException:  # whatever it is, it is a defect to be told
                answer = {"exit": 1, "said": "", "wrong": traceback.format_exc()[-1500:]}
            signal.alarm(0)
            sys.stderr = sys.__stderr__
            for path in place.iterdir():
                path.unlink()
            place.rmdir()
            told = {"seed": int(line), "sample": case.sample, "kind": case.kind, "same": case.same, **answer}
            answers.write(json.dumps(told) + "\n")
            answers.flush()


if __name__ == "__main__":
    csv.field_size_limit(131072)
    main()
