"""How things of ours print: said here by name, so that what is shown need not know who shows it.

`print(plan)` is the command's screen and a notebook shows a table, yet screens are far above the plan in the list of
rooms. The public front says once who draws; nothing of it is imported before something is printed.

A document's JSON Schema is made from the types of what builds it (`make schemas`). In its `Annotated[...]` a text is
what the schema says of the value. Of a mapping, a class is the one whose fields it has, and a tuple are its keys: by
name alone (a property of that class, or else of the type of all values), or with a type.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, is_dataclass
from decimal import Decimal
from functools import cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeAlias,
    TypedDict,
    cast,
    get_args,
    get_type_hints,
)

if TYPE_CHECKING:
    from allocator.types import Vector

TEXT: Callable[[object], str] = object.__repr__
"""What `str` of a plan gives: its screen."""
HTML: Callable[[object], str] = object.__repr__
"""What a notebook shows of a plan."""


class Keywords:
    """Further keywords of a value's JSON Schema: `Annotated[float, Keywords(minimum=0)]`."""

    def __init__(self, **words: Any) -> None:
        self.words = words


@dataclass(frozen=True)
class Rounded:
    """The decimals of a number that are stable, to which a document rounds it."""

    places: int


HIDDEN = Keywords()
"""In a field's `Annotated[...]`: no document has it."""
Document: TypeAlias = Mapping[str, object]
Row: TypeAlias = dict[str, Any]
IsoDate: TypeAlias = Annotated[str, Keywords(format="date")]
Probability: TypeAlias = Annotated[float, Keywords(minimum=0, maximum=1)]
NotNegative: TypeAlias = Annotated[float, Keywords(minimum=0)]
Count: TypeAlias = Annotated[int, Keywords(minimum=0)]
Numbers: TypeAlias = list[float]
Table: TypeAlias = list[list[float]]
ByName: TypeAlias = dict[str, float]
LimitKind: TypeAlias = Literal["at most", "at least"]
LimitState: TypeAlias = Literal["green", "amber", "breach"]
Until: TypeAlias = Annotated[IsoDate | None, "the day the horizon ends; null where it is stated in months"]
AnnouncementShare: TypeAlias = Annotated[
    Probability | None, "part of a re-pricing that happens with the news; null where none is stated"
]


class BookHeading(TypedDict):
    """Which account a document is about, and when."""

    name: str
    account: str
    as_of: IsoDate
    currency: str
    value: Annotated[float, "account value in the book's currency"]
    cash_flow: NotRequired[
        Annotated[float, "what of it is paid in, or below 0 what was paid out; absent without either"]
    ]


class OutlookHeading(BookHeading):
    """The same, and how far it looks."""

    until: Until
    horizon_months: float
    announcement_share: AnnouncementShare
    digestion_months: Annotated[
        NotNegative | None, "half-life in which prices take in the rest; null where they do not, or none is stated"
    ]


def document_of(thing: Any) -> Row:
    """A dataclass as plain data: dates as text, tuples as lists, numbers rounded as their types say."""
    return {
        name: _plain(getattr(thing, name), kind) for name, kind in shown_fields(cast("Hashable", type(thing))).items()
    }


@cache
def shown_fields(kind: Hashable) -> dict[str, Any]:
    """The fields of a class that documents have, by their types."""
    return {
        name: hint
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if HIDDEN not in getattr(hint, "__metadata__", ())
    }


def _plain(value: Any, kind: Any) -> Any:
    notes = getattr(kind, "__metadata__", ())
    if isinstance(value, Mapping):
        _, own = get_args(kind.__origin__ if notes else kind)
        return {name: _plain(part, own) for name, part in value.items()}
    if isinstance(value, tuple):
        return list(value)
    if is_dataclass(value):
        return document_of(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    places = [note.places for note in notes if isinstance(note, Rounded)]
    return round(value, places[0]) + 0.0 if places and value is not None else value


def stable_numbers(data: Any, places: int | None = None) -> Any:
    """Plain data whose numbers have no more decimals and zeros no sign: that of rounding is not the same everywhere."""
    if isinstance(data, float):
        return (data if places is None else round(data, places)) + 0.0
    if isinstance(data, Mapping):
        return {name: stable_numbers(part, places) for name, part in data.items()}
    return [stable_numbers(part, places) for part in data] if isinstance(data, list | tuple) else data


def stable_list(values: Vector, places: int = 8) -> list[float]:
    """The same of an array."""
    return cast("list[float]", (values.round(places) + 0.0).tolist())


def describe_span(days: int | None) -> str:
    """Over what a loss is told: trading days, or the horizon."""
    return "the horizon" if days is None else f"{days} day{'s' if days > 1 else ''}"


def plain_decimal(number: float, *, grouped: bool = False) -> str:
    """Every digit that a number has, and never an exponent."""
    return format(Decimal(repr(float(number))).normalize() + 0, ",f" if grouped else "f")


def plain_amount(amount: float, *, grouped: bool = False) -> str:
    """To the cent, and less than a cent to the three digits that it has."""
    if 0 < abs(amount) < 0.01:
        return plain_decimal(float(f"{amount:.3g}"))
    return f"{amount:z,.2f}" if grouped else f"{amount:z.2f}"


def text_of(shown: object) -> str:
    """What a terminal shows."""
    return TEXT(shown)


def html_of(shown: object) -> str:
    """What a notebook shows."""
    return HTML(shown)
