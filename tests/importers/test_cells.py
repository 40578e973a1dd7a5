"""Amounts, days and lines as exports write them, and the second way in which lines are counted."""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
from decimal import Decimal
from pathlib import Path

import pytest

from allocator.importers.cells import Export, amount, count_records, day, parse_xml
from allocator.importers.formats import import_positions
from tests.thoroughness import count


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,234.50", "1234.50"), ("($126.93)", "-126.93"), ("-$0.06", "-0.06"), ("$-100.00", "-100.00"),
        ("+0.38%", "0.38"), ("1,234,567", "1234567"), (".5", "0.5"), ("−3", "-3"), ("(5)", "-5"), ("1E-4", "0.0001"),
        ("", None), ("--", None), ("N/A", None), ("-", None), ("n/a", None), (" ", None),
    ],
)  # fmt: skip
def test_an_amount_is_read_as_people_write_it(text: str, number: str | None) -> None:
    assert amount(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    "text",
    ["1,2,3", "12,34", "1.234,50", "NaN", "inf", "1e999", "--5", "(-5)", "-(5)", "$", "€5", "1 000", "0x10", "١٢", "5-",
     "#N/A", "=1+1", "1_000", "1,234.5.6", "$$5", "five"],
)  # fmt: skip
def test_what_is_no_amount_beyond_doubt_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        amount(text)


@pytest.mark.parametrize(
    "text", ["11/20/2026", "2026/11/20", "2026-11-20", "Nov 20, 2026", "November 20, 2026", "20-Nov-2026",
             "Nov-20-2026", "20/Nov/2026", "20261120"],
)  # fmt: skip
def test_a_day_is_read_in_every_form_that_an_export_has(text: str) -> None:
    assert day(text) == dt.date(2026, 11, 20)
    assert day(text.replace("2026", "0026")) is None


def test_what_is_no_day_is_none() -> None:
    assert [day(text) for text in ("", "-", "20/11/2026", "yesterday", "13/13/2026")] == 5 * [None]


@pytest.mark.parametrize("seed", range(count(400, 10)))
def test_lines_are_counted_alike_by_reading_them_and_without(seed: int) -> None:
    rng = random.Random(seed)
    pieces = ["", " ", "a", 'a"b', "1,5", "two\nlines", "\xa0", '""', "\r\n", "x;y", "|", '"']
    rows = [[rng.choice(pieces) for _ in range(rng.randrange(5))] for _ in range(rng.randrange(30))]
    delimiter, text = rng.choice(",;\t|"), io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n", "\r"])).writerows(rows)
    export = Export("f.csv", "f", text=text.getvalue())

    assert count_records(export, delimiter) == len(export.records(delimiter))


def test_elements_know_their_lines_below_blanks_and_other_text() -> None:
    root = parse_xml(b'\n\n<?xml version="1.0"?>\n<a:b xmlns:a="x">\n <a:c a:d=" 1 ">two</a:c>\n</a:b>', "f.xml", 10)

    (inner,) = root.all("c")
    assert (root.tag, root.row, inner.row, inner.attributes, inner.text) == ("b", 14, 15, {"d": "1"}, "two")


WRITTEN = (
    lambda x: f"{x:f}", lambda x: f"{x:,f}", lambda x: f"${x:,f}", lambda x: f'"{x:,f}"', lambda x: f" {x:f} ",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(count(200, 10)))
def test_random_tables_are_read_to_the_cent_whatever_stands_around_them(seed: int, tmp_path: Path) -> None:
    """Drawn rows, written in drawn forms between drawn texts, against their own sums."""
    rng = random.Random(seed)
    held, lines, worth, odd = [], [], Decimal(0), 0
    for at in range(rng.randrange(1, 30)):
        quantity, price = Decimal(rng.randrange(1, 10**7)) / 1000, Decimal(rng.randrange(1, 10**6)) / 100
        kind = rng.choice(["Equity", "ETF", "Mutual Fund", "Option", "Corporate Bond", "Futures", "Crypto", "--"])
        value = (quantity * price).quantize(Decimal("0.01"))
        numbers = [rng.choice(WRITTEN)(one) for one in (quantity, price, value)]
        numbers = [f'"{one}"' if "," in one and '"' not in one else one for one in numbers]
        lines.append(f"N{at},USD,{kind},{','.join(numbers)}")
        if kind in ("Equity", "ETF", "Mutual Fund", "--"):
            held.append((f"N{at}", quantity, price))
        else:
            worth, odd = worth + value, odd + 1
    if not held:
        return
    around = ['"A text, with a comma"', "", ",,,,,", "Another text"]
    above, below = [rng.choice(around) for _ in range(3)], [rng.choice(around) for _ in range(3)]
    text = "\n".join([*above, "Symbol,Currency,Asset Class,Shares,Last Price,Market Value", *lines, *below])
    (tmp_path / "f.csv").write_text(text + rng.choice(["", "\n"]), encoding="utf-8")

    found = import_positions(tmp_path / "f.csv")

    assert [(one.instrument, one.quantity, one.price) for one in found.holdings] == held
    assert (found.rows, len(found.not_handled)) == (len(held) + odd, odd)
    assert sum((one.amount or Decimal(0) for one in found.not_handled), Decimal(0)) == worth
    assert found.counted_again == found.rows + sum(found.outside.values())
