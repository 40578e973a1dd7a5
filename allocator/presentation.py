"""How things of ours print: said here by name, so that what is shown need not know who shows it.

`print(plan)` is the command's screen and a notebook shows a table, yet screens are far above the plan in the list of
rooms. The public front says once who draws; nothing of it is imported before something is printed.

A document's JSON Schema is made from the types of what builds it (`make schemas`). In its `Annotated[...]` a text is
what the schema says of the value. Of a mapping, a class is the one whose fields it has, and a tuple are its keys: by
name alone (a property of that class, or else of the type of all values), or with a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

TEXT: Callable[[object], str] = object.__repr__
"""What `str` of a plan gives: its screen."""
HTML: Callable[[object], str] = object.__repr__
"""What a notebook shows of a plan."""


class Keywords:
    """Further keywords of a value's JSON Schema: `Annotated[float, Keywords(minimum=0)]`."""

    def __init__(self, **words: Any) -> None:
        self.words = words


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


def text_of(shown: object) -> str:
    """What a terminal shows."""
    return TEXT(shown)


def html_of(shown: object) -> str:
    """What a notebook shows."""
    return HTML(shown)
