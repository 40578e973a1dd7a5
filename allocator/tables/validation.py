"""Hold a table to its contract: cells as written flow in; typed columns and every error flow out.

First the cells are read (below), then pandera judges the typed columns by the rules of the YAML. A cell that
could not be read is reported for that alone.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from allocator.errors import Breach, did_you_mean
from allocator.tables.files import RawTable, silence_libraries
from allocator.tables.schema import ContractOfBook, read_contract
from allocator.types import Vector

if TYPE_CHECKING:
    from pandera.errors import SchemaError
    from pandera.pandas import Check, Column, DataFrameSchema


# Cells as people write them: text and values of one column in, numbers, dates or text out, and why some are not.
#
# A cell that cannot be read becomes a blank of the column's type and a fault: the rule and its cure. Nothing is
# repaired: '1,234.5' could be repaired, but '1,234' could not, and both come from the same export.
#
Fault = tuple[str, str]
"""The rule that a cell breaks, and the cure."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([T ]00:00(:00(\.0+)?)?)?")
_TIMED = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9][T ][0-9]{2}:[0-9]{2}.*")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]+),([0-9]{1,2}|[0-9]{4,}|(?<=0,)[0-9]{3})")
_GROUPED_POINTS = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+")
_AMBIGUOUS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")  # 1,234 is a thousand here and a little over one there
_NOTHING = {"nan", "na", "n/a", "#n/a", "#n/a n/a", "-", "--", "null", "none", "?", "#value!", "#ref!", "#div/0!"}
_INFINITE = {"inf", "infinity", "∞"}
_UNREADABLE_DATE = dt.date.min
YEARS = range(1900, 2200)  # nanosecond dates end in 2262; a year outside is a slip of the hand
_DATE_CURE = "write dates as 2026-11-20"
_TEXT_DTYPE: Any = "str" if int(pd.__version__.split(".")[0]) >= 3 else object


def read_cells(
    cells: pd.Series[Any], dtype: str, nullable: bool, decimal_comma: bool = False
) -> tuple[pd.Series[Any], dict[int, Fault]]:
    """One column in the type of its contract, and the fault of each position (from 0) that could not be read.

    With `decimal_comma`, other cells of the file are written so: then 1.250 may be a thousand, and is refused.
    """
    if dtype == "float64":
        return _read_numbers(cells, nullable, decimal_comma)
    if dtype.startswith("datetime64"):
        return _read_dates(cells)
    written = cells.tolist()
    texts = [_text(cell) for cell in written]
    typed = pd.Series([text or None for text in texts], dtype=_TEXT_DTYPE)
    return typed, {at: _text_fault(written[at]) for at, text in enumerate(texts) if text is False}


def is_blank(cell: object) -> bool:
    """Whether nothing is written in a cell."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def writes_decimal_commas(cells: pd.Series[Any]) -> bool:
    """Whether some cell can only be a number with a decimal comma, such as 8,80 or 2.100,50."""
    return any(isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip()) for cell in cells.tolist())


def _grouped_points(cells: Sequence[object], decimal_comma: bool) -> dict[int, Fault]:
    """Cells such as 1.250 that may be a thousand, where other cells of the file are written with decimal commas."""
    texts = {at: cell.strip() for at, cell in enumerate(cells) if isinstance(cell, str)}
    grouped = {at: text for at, text in texts.items() if _GROUPED_POINTS.fullmatch(text)} if decimal_comma else {}
    cure = "the file writes decimal commas, so that it may be {}: write that, or {} if the point is a decimal one"
    return {at: (_TWO_WAYS, cure.format(text.replace(".", ""), _bare(text))) for at, text in grouped.items()}


def _odd_quantities(table: RawTable) -> dict[int, Fault]:
    """Quantities such as 1.250 that are no whole lots, and end as nobody ends a decimal, in a column of other forms.

    What is left of a file with decimal commas when somebody has mended only what was refused: 1,250 shares as 1.25.
    """
    cells = table.frame["quantity"].tolist()
    texts = {at: cell.strip() for at, cell in enumerate(cells) if isinstance(cell, str)}
    lots = table.frame["lot_size"].tolist() if "lot_size" in table.frame else ["1"] * len(cells)
    three = {at for at, text in texts.items() if re.fullmatch(r"[0-9]+\.[0-9]{3}", text)}
    if len(three) == len(texts):  # a column of three decimals is one of three decimals
        return {}
    cure = "write {} if it is a thousand and more, or {} if it is not"
    return {
        at: (_TWO_WAYS, cure.format(text.replace(".", ""), _bare(text)))
        for at, text in texts.items()
        if text.endswith("0") and _GROUPED_POINTS.fullmatch(text) and _number(lots[at]) in (1.0, math.nan)
    }


_TWO_WAYS = "can be read in two ways"


def _bare(text: str) -> str:
    """1.250 as one would write it with a decimal point."""
    return text if text.count(".") > 1 else text.rstrip("0").rstrip(".") or "0"


def _read_numbers(
    cells: pd.Series[Any], nullable: bool, decimal_comma: bool
) -> tuple[pd.Series[Any], dict[int, Fault]]:
    values: Vector
    if pd.api.types.is_float_dtype(cells.dtype) or pd.api.types.is_integer_dtype(cells.dtype):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    else:
        values = np.array([_number(cell) for cell in cells.tolist()], dtype=np.float64)
    bad = np.flatnonzero(np.isinf(values))
    values[bad] = np.nan
    faults = {int(at): number_fault(cell, nullable) for at, cell in zip(bad, cells.iloc[bad].tolist(), strict=True)}
    faults |= _grouped_points(cells.tolist(), decimal_comma)
    return pd.Series(values), faults


def _number(cell: object) -> float:
    """The number of a cell: not-a-number if blank, infinite if it is not a finite number."""
    if isinstance(cell, str):
        text = cell.strip()
        return float(text) if _NUMBER.fullmatch(text) else math.inf if text else math.nan
    if is_blank(cell):
        return math.nan
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal | np.integer | np.floating):
        return math.inf
    try:
        return float(cell)
    except (OverflowError, ValueError):
        return math.inf


def number_fault(cell: object, nullable: bool) -> Fault:
    """Why a cell is no number, and how to write it."""
    text = str(cell).strip()
    if isinstance(cell, bool | np.bool_):
        return "must be a number", "write a number instead of true or false"
    if text.lstrip("+-").casefold() in _INFINITE or _NUMBER.fullmatch(text):
        return "must be finite", "write a finite number"
    if text.casefold() in _NOTHING:
        cure = "write a number, or leave the cell blank" if nullable else "write a number; a blank is not allowed here"
        return "must be a number", cure
    return "must be a number", _number_cure(text)


def _number_cure(text: str) -> str:
    """How to write what looks like a number in the style of a spreadsheet, a bank or another country."""
    if text.endswith("%") and (plain := _plain(text[:-1])):
        return f"write {float(plain):g} % as {float(plain) / 100:g}"
    if text.startswith("(") and text.endswith(")") and (plain := _plain(re.sub(r"[($€£¥₹)]", "", text))):
        return f"write -{plain}: brackets for a negative are accounting style"
    bare = re.sub(r"[$€£¥₹]|\b[A-Z]{3}\b", "", text)
    if bare != text and (plain := _plain(bare)):
        return f"write {plain} without the currency sign"
    if text.startswith("="):
        return "the formula was never calculated: open and save the file in a spreadsheet, or write the number"
    return _separator_cure(text)


def _separator_cure(text: str) -> str:
    if _AMBIGUOUS.fullmatch(text):
        whole, decimal = text.replace(",", ""), text.replace(",", ".")
        return f"write {whole} without thousands separators, or {decimal} if the comma is a decimal one"
    if (plain := _plain(text)) is None:
        return "write a number such as 1234.5"
    if "." in plain and "," in text and text.rfind(",") > text.rfind("."):
        return f"write {plain} with a decimal point"
    return f"write {plain} {'without thousands separators' if len(plain) < len(text) else 'in plain characters'}"


def _plain(text: str) -> str | None:
    """`text` as Python would spell the number, if separators and look-alikes are all that is wrong and clear."""
    plain = re.sub(r"[\s'’_]", "", text).replace("−", "-")
    if _AMBIGUOUS.fullmatch(plain):
        return None
    if re.fullmatch(r"[+-]?[0-9]{1,3}(\.[0-9]{3}){2,}", plain):
        return plain.replace(".", "")
    if plain.rfind(",") > plain.rfind(".") and plain.count(",") == 1:
        plain = plain.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?", plain):
        plain = plain.replace(",", "")
    return plain if _NUMBER.fullmatch(plain) else None


def _read_dates(cells: pd.Series[Any]) -> tuple[pd.Series[Any], dict[int, Fault]]:
    written = cells.tolist()
    dates = [_date(cell) for cell in written]
    days = np.array([None if date is _UNREADABLE_DATE else date for date in dates], dtype="datetime64[D]")
    faults = {at: _date_fault(written[at]) for at, date in enumerate(dates) if date is _UNREADABLE_DATE}
    return pd.Series(days.astype("datetime64[ns]")), faults


def _date(cell: object) -> dt.date | None:
    """The day of a cell: None if blank, `_UNREADABLE_DATE` if it is not a day without a time."""
    if is_blank(cell):
        return None
    day: dt.date | None = None
    if isinstance(cell, str) and (iso := _DATE.fullmatch(cell.strip())):
        try:
            day = dt.date.fromisoformat(iso[1])
        except ValueError:
            return _UNREADABLE_DATE
    elif isinstance(cell, dt.datetime):
        day = cell.date() if cell.tzinfo is None and cell == pd.Timestamp(cell.date()) else None
    elif isinstance(cell, dt.date):
        day = cell
    return day if day is not None and day.year in YEARS else _UNREADABLE_DATE


def _date_fault(cell: object) -> Fault:
    timed = isinstance(cell, dt.datetime) or (isinstance(cell, str) and _TIMED.fullmatch(cell.strip()))
    if timed and int(str(cell)[:4]) in YEARS:
        cure = "keep the day, such as 2026-11-20; of several rows a day the last (a history has one price a day)"
        return "must be a date without a time or time zone", cure
    if isinstance(cell, dt.date) or re.match(r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]", str(cell)):
        year = str(cell)[:4]
        if not year.isdigit() or int(year) not in YEARS:
            return "must be a date from 1900 to 2199", _DATE_CURE
    if isinstance(cell, int | float | np.number) or re.fullmatch(r"[0-9]{5}(\.0)?", str(cell).strip()):
        return "must be a date", f"{_DATE_CURE}; for the day number of a spreadsheet, format the column as a date"
    return "must be a date", _DATE_CURE


def _text(cell: object) -> str | bool | None:
    """The text of a cell: None if blank, False if it is not text. Whole numbers are text: account 12345."""
    if isinstance(cell, str):
        return cell.strip()
    if is_blank(cell):
        return None
    if isinstance(cell, int | np.integer) and not isinstance(cell, bool):
        return str(int(cell))
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else False


def _text_fault(cell: object) -> Fault:
    if isinstance(cell, bool | np.bool_):
        return "must be text", "a spreadsheet took it for true or false: format the column as text"
    if isinstance(cell, dt.date):
        return "must be text", "a spreadsheet took it for a date: format the column as text"
    return "must be text", "format the column as text"


_RULES = {
    "greater_than": "must be above {min_value:g}",
    "greater_than_or_equal_to": "must be at least {min_value:g}",
    "less_than": "must be below {max_value:g}",
    "less_than_or_equal_to": "must be at most {max_value:g}",
    "in_range": "must lie from {min_value:g} to {max_value:g}",
    "isin": "must be one of {allowed_values}",
    "str_matches": "must match {pattern}",
}
Cells = set[tuple[str, int]]
"""Cells by column and position (from 0)."""


def validate(contract: str | ContractOfBook, table: RawTable) -> tuple[pd.DataFrame, list[Breach]]:
    """A typed copy of a table (float64, datetime64[ns] at midnight, text) and its errors of a contract.

    The copy is indexed from 0 and is only sound without errors: it lacks unknown columns, and a cell that could not be
    read is missing in it. Errors of columns come first, then those of cells from top to bottom and left to right.

    Raises:
        ValueError: there is no such contract.
    """
    schema = read_contract(contract)
    rules = _rules(schema, table.columns)
    breaches = list(_column_breaches(schema, rules, table))
    block = _plain_block(rules, table)
    others = [name for name in table.columns if name in rules and name not in block]
    commas = any(writes_decimal_commas(table.frame[name]) for name in others if str(rules[name].dtype) == "float64")
    if commas:  # then 1.250 may be a thousand, in any column of texts
        block = block.loc[:, [dtype.kind in "iuf" for dtype in table.frame[block.columns].dtypes]]
    typed, unread, unreadable = _typed(rules, table, block, commas)
    breaches += unreadable
    sound = _within_limits(schema, rules, block)
    rest = {name: rule for name, rule in rules.items() if name not in sound}
    for error in _judge(_named(schema, rest), typed.drop(columns=list(sound)) if sound else typed):
        breaches += _translate(error, schema, table, typed, unread)
    columns = {column: position for position, column in enumerate(table.columns)}
    lines = {row: position for position, row in enumerate(table.rows)}
    breaches.sort(key=lambda b: (-1 if b.row is None else lines[b.row], columns.get(b.column or "", len(columns))))
    return typed, breaches


def _cell_breaches(table: RawTable, column: str, faults: Mapping[int, Fault]) -> Iterator[Breach]:
    """Faults of cells of a column by their position."""
    cells = table.frame[column].tolist() if faults else []
    for position, (rule, cure) in faults.items():
        shown = None if is_blank(cells[position]) else str(cells[position])[:80]
        yield Breach(table.name, table.rows[position], column, shown, rule, cure)


def _rules(schema: DataFrameSchema, names: list[str]) -> dict[str, Column]:
    """The rules of each known column: those of its own name, or those of a pattern that fits."""
    labels, there = pd.Index(names, dtype=object), {*names}
    rules: dict[str, Column] = {}
    for column in sorted(schema.columns.values(), key=lambda column: column.regex):
        # pandera's own way of matching, so that both see the same columns
        fitting = labels[labels.astype(str).str.match(column.name)] if column.regex else [column.name]
        for name in fitting:
            if name in there:
                rules.setdefault(name, column)
    return rules


def _column_breaches(schema: DataFrameSchema, rules: dict[str, Column], table: RawTable) -> Iterator[Breach]:
    """Columns that are missing, and columns that no rule knows."""
    pattern = next((column for column in schema.columns.values() if column.regex), None)
    named = [name for name, column in schema.columns.items() if not column.regex]
    renames = _renames([name for name in table.columns if name not in rules], [n for n in named if n not in rules])
    for name in table.columns:
        if name in renames:
            yield Breach.of(table.name, "unknown column", f"rename it to {renames[name]}", column=name)
        elif name not in rules:
            cure = did_you_mean(name, named)
            if pattern is not None and not cure.startswith("did you mean"):
                cure = f"other columns are {pattern.title}"
            yield Breach.of(table.name, "unknown column", cure, column=name)
    for name, column in schema.columns.items():
        if name in renames.values():
            continue
        if column.required and not any(known is column for known in rules.values()):
            if column.regex:
                yield Breach.of(table.name, "more columns are needed", f"add {column.title}")
            else:
                yield Breach.of(table.name, "this column is missing", f"add it: {column.description}", column=name)


SYNONYMS = {
    "instrument": ("symbol", "ticker", "isin", "cusip", "sedol", "security", "asset", "name", "stock", "fund"),
    "quantity": ("shares", "qty", "units", "amount", "position", "number", "nominal"),
    "price": ("last price", "close", "last", "quote", "share price", "unit price", "market price", "close price"),
    "currency": ("ccy", "cur", "curr"),
    "account": ("portfolio", "depot", "account number", "account id"),
    "market_value": ("value", "market value", "current value", "position value", "total value"),
    "date": ("day", "time", "timestamp", "datetime"),
    "weight": ("weight (%)", "share", "percentage"),
    "rate": ("fx", "exchange rate", "fx rate"),
}
"""What other programs call our columns; a rename is offered and never taken."""


def _renames(unknown: Sequence[str], missing: Sequence[str]) -> dict[str, str]:
    """Unknown columns that are probably ones that are missing, each at most once."""
    found: dict[str, str] = {}
    for name in unknown:
        folded = name.casefold().replace("_", " ").strip()
        for column in missing:
            alike = sorted(folded.split()) == sorted(column.split("_")) or folded in SYNONYMS.get(column, ())
            if alike and column not in found.values():
                found[name] = column
                break
    return found


# A wide table has thousands of columns of numbers under one rule: they are read as one block and judged by their
# extremes. What is not plain, or beyond a limit, is read and judged column by column, as every other is.
#
_LIMITS = {"greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to", "in_range"}


_PLAIN_CELLS = re.compile(r"[0-9+\-.eE]*")


def _plain_block(rules: dict[str, Column], table: RawTable) -> pd.DataFrame:
    """The columns that a pattern names and whose cells are finite numbers or blanks, typed."""
    each = {id(rule): rule for rule in rules.values()}  # one of a pattern, whatever its columns
    of_block = {key: rule.regex and str(rule.dtype) == "float64" for key, rule in each.items()}
    wide = [name for name in table.columns if name in rules and of_block[id(rules[name])]]
    frame = table.frame[wide]
    if all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in set(frame.dtypes)):
        values = frame.to_numpy(dtype=np.float64, copy=True)
    else:
        values = np.column_stack([np.zeros((len(frame), 0)), *(_plain_numbers(frame[name]) for name in wide)])
    finite = ~np.isinf(values).any(axis=0)
    names = [name for name, plain in zip(wide, finite, strict=True) if plain]
    return pd.DataFrame(values if finite.all() else values[:, finite], columns=pd.Index(names, dtype=_TEXT_DTYPE))


def _plain_numbers(cells: pd.Series[Any]) -> Vector:
    """A column as numbers; infinite throughout where some cell wants a closer look."""
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iuf":
        return cells.to_numpy(dtype=np.float64)
    texts = cells.tolist()
    try:
        if _PLAIN_CELLS.fullmatch("".join(texts)):
            return np.array([float(text) if text else math.nan for text in texts], dtype=np.float64)
    except (TypeError, ValueError):  # values among the texts, or 1-2
        pass
    return np.full(len(texts), np.inf)


def _within_limits(schema: DataFrameSchema, rules: dict[str, Column], block: pd.DataFrame) -> set[str]:
    """The columns of a block that keep their rule: where a column's extremes and blanks do, all of it does."""
    from pandera.pandas import Column, DataFrameSchema

    sound: set[str] = set()
    values = block.to_numpy()
    blank = np.isnan(values)
    lows = np.where(blank, np.inf, values).min(axis=0, initial=np.inf)
    highs = np.where(blank, -np.inf, values).max(axis=0, initial=-np.inf)
    for rule in (rule for rule in schema.columns.values() if rule.regex):
        own = np.array([rules[name] is rule for name in block.columns], dtype=bool)
        if not own.any() or rule.unique or not all(check.name in _LIMITS for check in rule.checks):
            continue
        none = blank.all(axis=0) & own
        own &= ~none
        told = np.concatenate([lows[own], highs[own], np.where(blank.any(axis=0)[own], np.nan, lows[own])])
        alone = DataFrameSchema({"cells": Column(rule.dtype, rule.checks, nullable=rule.nullable, name="cells")})
        errors = _judge(alone, pd.DataFrame({"cells": told}))
        failed = {int(at) % max(int(own.sum()), 1) for error in errors for at in error.failure_cases["index"]}
        sound |= {name for at, name in enumerate(block.columns[own]) if at not in failed}
        sound |= {*block.columns[none]} if rule.nullable else set()
    return sound


def _typed(
    rules: dict[str, Column], table: RawTable, block: pd.DataFrame, commas: bool
) -> tuple[pd.DataFrame, Cells, list[Breach]]:
    """The known columns in their types, the cells that could not be read, and why; the `block` is read already."""
    columns: dict[str, pd.Series[Any]] = {}
    unread: Cells = set()
    breaches: list[Breach] = []
    for name in table.columns:
        if name in rules and name not in block:
            columns[name], faults = read_cells(table.frame[name], str(rules[name].dtype), rules[name].nullable, commas)
            if name == "quantity":
                faults = _odd_quantities(table) | faults
            unread |= {(name, position) for position in faults}
            breaches += _cell_breaches(table, name, faults)
    if not len(block.columns):
        return pd.DataFrame(columns), unread, breaches
    typed = pd.concat([pd.DataFrame(columns, index=block.index), block], axis=1)
    return typed[[name for name in table.columns if name in rules]], unread, breaches


def _named(schema: DataFrameSchema, rules: dict[str, Column]) -> DataFrameSchema:
    """The contract with a column of its own for each name that a pattern fits.

    pandera gives one column object to all of them, and its lazy errors all bear the name that it had last.
    """
    from pandera.pandas import Column, DataFrameSchema

    columns = {
        name: Column(rule.dtype, rule.checks, nullable=rule.nullable, unique=rule.unique, name=name)
        if rule.regex
        else rule
        for name, rule in rules.items()
    }
    return DataFrameSchema(columns, unique=_unique(schema, columns) or None, strict=False, name=schema.name)


def _unique(schema: DataFrameSchema, columns: Collection[str]) -> list[str]:
    """The columns that together name a row; none where one is missing that must be there, which is said of it."""
    named = list(schema.unique or ())
    there = [name for name in named if name in columns]
    return there if all(name in there or not schema.columns[name].required for name in named) else []


def _judge(schema: DataFrameSchema, typed: pd.DataFrame) -> Sequence[SchemaError]:
    from pandera.config import ValidationDepth, config_context
    from pandera.errors import SchemaErrors

    # Both must be said: either can be switched off by an environment variable, and the contract with it.
    with (
        config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA),
        silence_libraries(FutureWarning),  # pandera's own, as it collects failures with pandas 2
    ):
        try:
            schema.validate(typed, lazy=True)
        except SchemaErrors as errors:
            return list(errors.schema_errors)
    return []


def _translate(
    error: SchemaError, schema: DataFrameSchema, table: RawTable, typed: pd.DataFrame, unread: Cells
) -> Iterator[Breach]:
    """Our errors behind one of pandera's, which is about one rule of one column."""
    column = str(error.schema.name)
    match error.reason_code.name:
        case "COLUMN_NOT_IN_DATAFRAME" | "INVALID_COLUMN_NAME":
            return  # `_column_breaches` has said so, and better
        case "SERIES_CONTAINS_DUPLICATES":
            yield from _repeats([column], table, typed, unread)
        case "DUPLICATES":
            yield from _repeats(_unique(schema, typed.columns), table, typed, unread)
        case "SERIES_CONTAINS_NULLS":
            blank = [at for at in map(int, error.failure_cases["index"]) if (column, at) not in unread]
            yield from _cell_breaches(table, column, dict.fromkeys(blank, ("must not be blank", "fill it in")))
        case "DATAFRAME_CHECK":
            cases = zip(error.failure_cases["index"], error.failure_cases["failure_case"], strict=True)
            faults = {int(at): _rule_and_cure(error.check, str(case), str(schema.name)) for at, case in cases}
            yield from _cell_breaches(table, column, faults)
        case reason:
            raise ValueError(f"the contract of '{table.name}' does not fit column '{column}': {reason}: {error}")


@dataclass(frozen=True)
class MinorUnit:
    """A hundredth or thousandth of a currency that exchanges quote in, and the code of three capitals that it has."""

    major: str
    count: int
    code: str = ""

    def fault(self, table: str) -> Fault:
        """What is wrong where it stands in the place of the currency, by what stands beside it there."""
        rule = f"is 1/{self.count} {self.major}"
        if table == "holdings":
            other = f", or write {self.code} and its rate in fx.csv" if self.code else ""
            return rule, f"divide the price by {self.count} and write {self.major}{other}"
        if table == "fx":
            other = f", or write {self.code} with this rate" if self.code else ""
            return rule, f"multiply the rate by {self.count} and write {self.major}{other}, as holdings.csv has it"
        other = f", or {self.code} if every amount is in it" if self.code else ""
        return rule, f"write {self.major}, with cash, prices and rates in {self.major}{other}"


MINOR_UNITS = {
    written: unit
    for forms, unit in {
        "GBX GBp GBx p pence": MinorUnit("GBP", 100, "GBX"), "ZAC ZAc ZAr": MinorUnit("ZAR", 100, "ZAC"),
        "ILA ILa ILs": MinorUnit("ILS", 100, "ILA"), "USX USx USc USd": MinorUnit("USD", 100, "USX"),
        "KWF KWf KWd": MinorUnit("KWD", 1000, "KWF"), "EUc EUr": MinorUnit("EUR", 100),
        "CAc CAd": MinorUnit("CAD", 100), "AUc AUd": MinorUnit("AUD", 100), "NZc NZd": MinorUnit("NZD", 100),
        "SGc SGd": MinorUnit("SGD", 100), "HKc HKd": MinorUnit("HKD", 100),
    }.items()
    for written in forms.split()
}  # fmt: skip
"""By every form that exchanges and their vendors write."""


def _rule_and_cure(check: Check, value: str, table: str) -> Fault:
    """What the contract says beside the rule, or what every rule of this kind says."""
    given = check.statistics or {}
    limits = {key: ", ".join(limit) if isinstance(limit, list) else limit for key, limit in given.items()}
    said = str(check.error)
    if said.startswith(f"{check.name}("):  # pandera's own words, because the contract has none
        said = _RULES[str(check.name)].format(**limits)
    rule, _, cure = said.partition("; ")
    if check.name == "isin":
        near = did_you_mean(value, given["allowed_values"])
        return rule, cure if cure and not near.startswith("did you mean") else near
    if check.name == "str_matches" and value in MINOR_UNITS and table in ("holdings", "fx"):
        return MINOR_UNITS[value].fault(table)
    return rule, cure or "correct it"


def _repeats(columns: list[str], table: RawTable, typed: pd.DataFrame, unread: Cells) -> Iterator[Breach]:
    """The rows that repeat what an earlier row says in `columns` together; blank and unread cells repeat nothing."""
    keys = typed[columns].dropna()
    places: dict[tuple[Any, ...], list[int]] = {}
    for position, key in zip(keys.index, keys.itertuples(index=False, name=None), strict=True):
        if not any((column, position) in unread for column in columns):
            places.setdefault(key, []).append(int(position))
    rule = "must be unique" if len(columns) == 1 else f"{' and '.join(columns)} together must be unique"
    for repeated in places.values():
        for position in repeated[1:]:
            shown = ", ".join(str(table.frame[column].iloc[position]) for column in columns)
            cure = _repeat_cure(table, repeated, unread)
            yield Breach(table.name, table.rows[position], columns[-1], shown, rule, cure)


def _repeat_cure(table: RawTable, positions: list[int], unread: Cells) -> str:
    """Two lots are added up; of rows that say the same one is enough; else only the user knows which is right."""
    rows = [table.rows[position] for position in positions]
    others = f"row{'s' if len(rows) > 2 else ''} {', '.join(map(str, rows[1:]))}"
    same = table.frame.iloc[positions].astype(str).drop_duplicates()
    if "quantity" in table.frame:
        texts = [str(cell).strip() for cell in table.frame["quantity"].iloc[positions]]
        total = "their sum, once each of them can be read,"
        if not any(("quantity", at) in unread for at in positions) and all(map(_NUMBER.fullmatch, texts)):
            total = f"quantity {sum(map(Decimal, texts), Decimal(0)).normalize():f}"
        cure = f"add the lots up: write {total} in row {rows[0]} and remove {others}"
        if "price" in same and same["price"].nunique() > 1:
            cure += ", with the price that is right"
        return cure if len(same) > 1 else f"{cure}, or only remove {others} if the same lot is there twice"
    if len(same) == 1:
        return f"row {rows[0]} says the same: remove {others}"
    return f"also in row {rows[0]}, with other values: keep the one that is right"
