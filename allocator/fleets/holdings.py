"""What every account holds, row by row in a few bytes; of a long holdings.csv only rows that say more are looked at.

In a table of many accounts nearly all rows say nothing but how much an account holds of a name that other rows price
in the same words. One of these stands for all of them: the file is read line by line, and never whole.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from allocator.book.doubts.doubts import MOSTLY, PAR_RANGE, ROUND_NOMINAL
from allocator.book.loading import PLAIN_NUMBER
from allocator.errors import BadInput
from allocator.tables.files import MOST_FILE_BYTES, TOTALS, Line, RawTable, csv_lines, is_plain_file, read_table
from allocator.types import Vector

LONG = 100_000
"""Bytes of a file that is read line by line."""
_WANTED = frozenset({"account", "instrument", "quantity", "price"})
_NEARLY = 0.99
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Holdings:
    """Rows (R,) of accounts: which instrument, by its place among the quotes, how much, and on which line."""

    instruments: Codes
    quantities: Vector
    lines: Codes

    def __getitem__(self, at: slice) -> Holdings:
        """Some of the rows."""
        return Holdings(self.instruments[at], self.quantities[at], self.lines[at])


@dataclass(frozen=True, eq=False)
class _Scan:
    """Rows (R,) of a file: whose each is, of which kind, how much where that is a plain number, and on which line. Rows
    of one kind are alike but for account and quantity; a kind has an instrument and a price.
    """

    accounts: Sequence[str]
    instruments: Sequence[str]
    prices: Vector
    worth: Vector
    """Of each account, in money; 0 where there are several currencies."""
    whose: Codes
    kinds: Codes
    quantities: Vector
    lines: Codes

    def where(self, these: NDArray[np.bool_]) -> _Scan:
        """Some of the rows."""
        parts = {name: getattr(self, name)[these] for name in ("whose", "kinds", "quantities", "lines")}
        return replace(self, **parts)

    def parted(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The rows that stand for others, and which are kept: those, and what others say otherwise, is there twice or
        may be doubted.
        """
        kinds, quantities = Counter(self.instruments), self.quantities
        agreed = np.array([kinds[name] == 1 for name in self.instruments])[self.kinds]
        _, names = np.unique(self.instruments, return_inverse=True)
        pairs = self.whose * np.int64(len(names)) + names[self.kinds]
        ordered = np.sort(pairs)
        once = ~np.isin(pairs, ordered[1:][ordered[1:] == ordered[:-1]])
        del pairs, ordered  # a file of many rows is to be read in little memory
        whole = np.array([not name for name in self.accounts])
        at = np.flatnonzero((quantities >= ROUND_NOMINAL) & (quantities % ROUND_NOMINAL == 0))
        price = self.prices[self.kinds[at]]
        mostly = quantities[at] * price >= _NEARLY * MOSTLY * self.worth[self.whose[at]]
        whole[self.whose[at[(price >= PAR_RANGE[0]) & (price <= PAR_RANGE[1]) & mostly]]] = True
        left = ~np.isnan(quantities) & agreed & once & ~whole[self.whose]
        at = np.flatnonzero(left)
        first, alike = np.full(len(self.instruments), -1), np.bincount(self.kinds[at], minlength=len(self.instruments))
        first[self.kinds[at[::-1]]] = at[::-1]  # the last that is written, which is the first, stays
        left[first[first >= 0]] = False
        return first[alike > 1], ~left


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _plain(text: str) -> float:
    return float(text) if PLAIN_NUMBER.fullmatch(text) else np.nan


def _filled(lines: Iterator[Line]) -> Iterator[Line]:
    return (line for line in lines if any(line[1]))


def _scanned(lines: Iterator[Line]) -> _Scan | None:
    """What a table says row by row; None where there is more on its lines than rows of many accounts."""
    rows = _filled(lines)
    _, header = next(rows, (0, ()))
    if not {*header} >= _WANTED or "market_value" in header or len({*header}) < len(header):
        return None
    of_account, of_quantity, of_price = map(header.index, ("account", "quantity", "price"))
    of_kind = itemgetter(*(at for at in range(len(header)) if at not in (of_account, of_quantity)))
    accounts, kinds, prices, worth = dict[str, int](), dict[tuple[str, ...], int](), list[float](), list[float]()
    whose, which, lines_of, quantities = array("i"), array("i"), array("i"), array("d")
    for line, cells in rows:
        no_row = len(cells) - cells.count("") < 2 or cells[0].casefold().rstrip(":") in TOTALS
        if no_row or len(cells) != len(header) or "\0" in "".join(cells):
            return None
        quantity, kind, account = _plain(cells[of_quantity]), of_kind(cells), cells[of_account]
        if kind not in kinds:
            kinds[kind] = len(kinds)
            prices.append(_number(cells[of_price]))
        if account not in accounts:
            accounts[account] = len(accounts)
            worth.append(0.0)
        whose.append(accounts[account])
        which.append(kinds[kind])
        quantities.append(quantity)
        if (money := quantity * prices[which[-1]]) > 0:
            worth[whose[-1]] += money
        lines_of.append(line)
    if not whose:
        return None
    columns = [name for name in header if name not in ("account", "quantity")]
    instruments = [kind[columns.index("instrument")] for kind in kinds]
    counted = (np.frombuffer(whose, np.int32), np.frombuffer(which, np.int32), np.frombuffer(quantities))
    currencies = {kind[columns.index("currency")] for kind in kinds} if "currency" in columns else {""}
    lines_read = np.frombuffer(lines_of, np.int32)
    total = np.array(worth) * (len(currencies) == 1)
    return _Scan([*accounts], instruments, np.array(prices), total, *counted, lines_read)


class NotForAll(Exception):
    """A row that stands for others is wrong: then every one of them must be looked at."""


class HoldingsReader:
    """Reads holdings.csv, and leaves out of the table what is in no doubt."""

    def __init__(self, *, whole: bool = False) -> None:
        """Of the `whole` table every row is kept, however long it is."""
        self._whole = whole
        self.names: list[str] = []
        """The accounts of a long file, in the order of their rows."""
        self._left: _Scan | None = None
        self._stands: frozenset[int] = frozenset()

    @property
    def leaves_out(self) -> bool:
        """Whether there are rows that nobody has looked at."""
        return self._left is not None

    def read(self, path: Path, name: str) -> RawTable:
        """The rows that say anything but a quantity.

        Raises:
            BadInput: as of `read_table`.
        """
        by_line = not self._whole and path.suffix.lower() == ".csv" and is_plain_file(path)
        if by_line and LONG < path.stat().st_size <= MOST_FILE_BYTES:
            with suppress(BadInput, UnicodeDecodeError, OSError, OverflowError):
                if (found := self._parted(path, name)) is not None:
                    return found
        return read_table(path, name)

    def _parted(self, path: Path, name: str) -> RawTable | None:
        """The same of a file line by line; None where it wants to be looked at whole."""
        with path.open(encoding="utf-8-sig", newline="") as file:
            scan = _scanned(csv_lines(file, name))
        if scan is None:
            return None
        stands, kept = scan.parted()
        with path.open(encoding="utf-8-sig", newline="") as file:
            (_, header), *lines = compress(_filled(csv_lines(file, name)), [True, *kept.tolist()])
        frame = pd.DataFrame([cells for _, cells in lines], columns=pd.Index(header, dtype=object), dtype=object)
        self.names, self._left = [*scan.accounts], scan.where(~kept)
        self._stands = frozenset(scan.lines[stands].tolist())
        return RawTable(name, frame, tuple(line for line, _ in lines))

    def refuse_wrong(self, rows: Iterable[int | None]) -> None:
        """Where a row that stands for others is among those that are wrong.

        Raises:
            NotForAll: it is.
        """
        if not self._stands.isdisjoint(rows):
            raise NotForAll

    def rows(
        self, holdings: pd.DataFrame, quotes: Sequence[str], order: Mapping[str, int]
    ) -> tuple[Holdings, NDArray[np.int64]]:
        """The rows of accounts in their `order`, one after the other, and where those of each begin; `holdings` are
        the sound ones that were kept, `quotes` the instruments.
        """
        places, left = {name: at for at, name in enumerate(quotes)}, self._left
        whose, which = (
            np.array([*map(of.get, names)], dtype=np.int32)
            for of, names in ((order, holdings["account"]), (places, holdings["instrument"]))
        )
        quantities, lines = holdings["quantity"].to_numpy(), holdings.index.to_numpy(dtype=np.int32)
        if left is not None:
            ranks = np.array([order[name] for name in left.accounts], dtype=np.int32)
            known = np.array([places.get(name, 0) for name in left.instruments], dtype=np.int32)
            whose = np.concatenate([whose, ranks[left.whose]])
            which = np.concatenate([which, known[left.kinds]])
            quantities = np.concatenate([quantities, left.quantities])
            lines = np.concatenate([lines, left.lines])
            self._left = left = None
        at = np.lexsort((lines, whose))
        whose, which, lines = whose[at], which[at], lines[at]
        return Holdings(which, quantities[at], lines), np.searchsorted(whose, np.arange(len(order) + 1))
