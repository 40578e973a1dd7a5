"""Two plans side by side: weights, orders, figures and limits, and what made the difference, as far as it is known.

Parts are of the targets. What whole lots add, or holding where trading is not recommended, is a part of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import Infeasible, NotSolved
from allocator.ledger.causes import CASH, COMPARED, Causes, causes_of_difference
from allocator.ledger.compared_plans import ComparedPlan
from allocator.plan.document import RuleRow
from allocator.plan.plan import Plan
from allocator.presentation import BookHeading, Count, LimitState, NotNegative, Row
from allocator.types import Vector

OBJECTIVE = "objective"
RECORDED = 1e-6
"""Of the account: targets this near to those that were recorded are the same."""
_PLACES = 8


# Both side by side, and the parts, as plain data.
#
Parts: TypeAlias = Annotated[dict[str, float], "by group; groups that no book takes apart are joined by +"]


class _SideRow(TypedDict):
    """One of the two plans."""

    label: Annotated[str, "as it was named"]
    book: BookHeading
    verdict: str
    orders: Count
    turnover: Annotated[NotNegative, "sales or purchases, whichever are more, as a fraction of the account"]


_IN_PARTS = (
    ("a", float),
    ("b", float),
    ("parts", Parts | None, "of the targets' difference; null where no cause is known"),
    (
        "lots",
        float | None,
        "what whole lots add, or holding where trading is not recommended; parts and lots are b - a",
    ),
    ("least", Parts | None, "that the part is in any order of the groups; null where one order was taken"),
    ("most", Parts | None),
)
_SIDES = ("a", "b")
_WEIGHT = (("instrument", str, "of either; cash last"), ("a_today", float), ("b_today", float), *_IN_PARTS)
_ORDER = (
    ("instrument", str),
    *((f"{side}_{key}", kind) for side in _SIDES
      for key, kind in (("side", str | None), ("quantity", float), ("value", float))),
)  # fmt: skip
_READING: dict[str, Any] = {"rule": str, "measured": float, "limit": float, "use": float, "state": LimitState}
_RULE = tuple((f"{side}_{key}", kind | None) for side in _SIDES for key, kind in _READING.items())


class _GroupRow(TypedDict):
    group: str
    joined: Annotated[str | None, "why its groups are together; null of one alone"]
    changed: Annotated[list[str], "what differs in it"]
    moves: Annotated[NotNegative, "the fraction of the account that its part moves"]
    moves_least: Annotated[float | None, "in any order; null where one order was taken"]
    moves_most: float | None


class ComparisonDocument(TypedDict):
    """Two plans side by side, and what made the difference."""

    format: Literal["allocator.comparison/1"]
    a: _SideRow
    b: _SideRow
    weights: Annotated[
        list[Annotated[Row, _WEIGHT]], "after the orders, as fractions of the account; parts are of the targets"
    ]
    figures: Annotated[
        list[Annotated[Row, (("figure", str), *_IN_PARTS)]],
        "after the orders, over the horizon; the objective is of the targets, and left out where the two differ",
    ]
    orders: Annotated[list[Annotated[Row, _ORDER]], "null and 0 where there is none"]
    rules: Annotated[
        list[Annotated[Row, _RULE]], "on the final lots, the same beside the same; null where there is none"
    ]
    groups: Annotated[list[_GroupRow], "what differs; empty where that is not known"]
    order: Annotated[list[str] | None, "the one order that was taken; null where all were"]
    notes: Annotated[list[str], "why there are no parts, why one order was taken, and what else must be known"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Plan B beside plan A, and the `causes` of the difference, where they are known; `notes` say why not."""

    a: ComparedPlan
    b: ComparedPlan
    causes: Causes | None
    notes: tuple[str, ...]

    def document(self) -> ComparisonDocument:
        """All of it as plain data; parts are rounded so that they still add up."""
        causes = self.causes
        return {
            "format": "allocator.comparison/1",
            "a": _side(self.a),
            "b": _side(self.b),
            "weights": list(self._weights()),
            "figures": list(self._figures()),
            "orders": [
                {"instrument": name, "a_side": a[0], "a_quantity": a[1], "a_value": round(a[2], 2),
                 "b_side": b[0], "b_quantity": b[1], "b_value": round(b[2], 2)}
                for name, a, b in _both(self.a.orders, self.b.orders, (None, 0.0, 0.0))
            ],
            "rules": list(_rules(self.a.rules, self.b.rules)),
            "groups": [] if causes is None else list(_groups(causes)),
            "order": None if causes is None or causes.order is None else list(map(group_name, causes.order)),
            "notes": list(self.notes),
        }  # fmt: skip

    def _weights(self) -> Iterator[Row]:
        for name, a, b in _both(*_with_one_cash(self.a.weights, self.b.weights), (0.0, 0.0, 0.0)):
            at = None if self.causes is None else self.causes.names.index(name)
            yield {"instrument": name, "a_today": a[0], "b_today": b[0], **_in_parts(self.causes, at, a[2], b[2])}

    def _figures(self) -> Iterator[Row]:
        causes, weights = self.causes, 0 if self.causes is None else len(self.causes.names)
        if causes is not None and causes.has_objective:
            a, b = map(_rounded, causes.ends[:, weights])
            yield {"figure": OBJECTIVE, **_in_parts(causes, weights, a, b)}
        for at, one in enumerate(COMPARED, weights + 1):
            yield {"figure": one.name, **_in_parts(causes, at, self.a.figures[one.name], self.b.figures[one.name])}


def _groups(causes: Causes) -> Iterator[_GroupRow]:
    for at, (block, said) in enumerate(causes.blocks.items()):
        least, most = (None, None) if causes.range is None else map(_rounded, causes.range[at])
        yield {
            "group": group_name(block),
            "joined": said or None,
            "changed": [told for group in block for told in causes.changed[group]],
            "moves": _rounded(causes.moves[at]),
            "moves_least": least,
            "moves_most": most,
        }


def _in_parts(causes: Causes | None, at: int | None, a: float, b: float) -> Row:
    """A number of both, and its parts, rounded so that with what whole lots add they come to b − a."""
    if causes is None:
        return {"a": a, "b": b, **dict.fromkeys(("parts", "lots", "least", "most"))}
    names = list(map(group_name, causes.blocks))
    on_the_way = causes.ends[0, at] + np.cumsum([0.0, *causes.parts[:, at]])
    parts = np.diff([_rounded(one) for one in on_the_way])
    by_name = (
        None if values is None else dict(zip(names, map(_rounded, values), strict=True))
        for values in (parts, *(None if one is None else one[:, at] for one in (causes.least, causes.most)))
    )
    found = dict(zip(("parts", "least", "most"), by_name, strict=True))
    return {"a": a, "b": b, "parts": found.pop("parts"), "lots": _rounded(b - a - float(parts.sum())), **found}


def _rounded(number: float) -> float:
    return round(float(number), _PLACES) + 0.0


def group_name(block: Sequence[str]) -> str:
    """A group by its short name; those that are together by all of theirs."""
    return "+".join(block)


def _side(side: ComparedPlan) -> _SideRow:
    sold, bought = (sum(value for which, _, value in side.orders.values() if which == one) for one in ("sell", "buy"))
    return {
        "label": side.label,
        "book": side.heading,
        "verdict": side.verdict,
        "orders": len(side.orders),
        "turnover": round(max(sold, bought) / side.heading["value"], _PLACES),
    }


def _with_one_cash(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Weights by name, of which the last is cash in both, whatever it is called."""
    names = [list(one)[-1] for one in (a, b)]
    if names[0] == names[1]:
        return a, b
    first, second = ({CASH if name == cash else name: one for name, one in weights.items()}
                     for weights, cash in zip((a, b), names, strict=True))  # fmt: skip
    return first, second


def _both(a: Mapping[str, Any], b: Mapping[str, Any], nothing: Any) -> Iterator[tuple[str, Any, Any]]:
    """Everything of either by name; what both have last is last."""
    names = [*dict.fromkeys((*a, *b))]
    if a and b and (last := [*a][-1]) == [*b][-1]:
        names = [*(name for name in names if name != last), last]
    return ((name, a.get(name, nothing), b.get(name, nothing)) for name in names)


def _rules(a: Sequence[tuple[object, RuleRow]], b: Sequence[tuple[object, RuleRow]]) -> Iterator[Row]:
    """Every rule of either, beside the same of the other: of the same label, or the same with another limit."""
    left, ids = {row["rule"]: row for _, row in b}, {known: row["rule"] for known, row in b}
    for known, row in a:
        other = left.pop(row["rule"], None) or left.pop(ids.get(known, ""), None)
        yield _reading("a", row) | _reading("b", other)
    for row in left.values():
        yield _reading("a", None) | _reading("b", row)


def _reading(side: str, row: RuleRow | None) -> Row:
    return {f"{side}_{key}": None if row is None else dict(row)[key] for key in _READING}


# The verb.
#


def compare_plans(
    a: Book | Plan | ComparedPlan,
    b: Book | Plan | ComparedPlan,
    *,
    labels: tuple[str, str] = ("A", "B"),
    every_order: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Put plan B beside plan A and say what made the difference, in parts that add up.

    A book is planned first; a plan is taken as it is. Of books with reviews more than three groups that differ are
    taken in one order, as each further one doubles the trees to be solved; `every_order` takes them in all. The two are
    called by their `labels`.

    Raises:
        BadInput: it is neither book nor plan.
        Infeasible, NotSolved, OutOfTime: a book has no plan; as `rebalance`.
    """
    say = progress or (lambda _: None)
    one, other = (_planned(given, label, say) for given, label in zip((a, b), labels, strict=True))
    if one.book is None or other.book is None:
        return Comparison(one, other, None, tuple(_without_books(one, other)))
    solved = one.solved, other.solved
    try:
        causes = causes_of_difference(one.book, other.book, solved, say, every_order=every_order)
    except (Infeasible, NotSolved) as error:  # what stands side by side is known all the same
        return Comparison(one, other, None, (f"What made the difference is not known: {error}.",))
    if causes is None:
        return Comparison(one, other, None, ("Nothing that a plan is made from differs.",))
    notes = [_recorded_otherwise(side, causes.names, end) for side, end in zip((one, other), causes.ends, strict=True)]
    if causes.order is not None:
        order = ", then ".join(map(group_name, causes.order))
        notes.insert(0, f"In one order alone ({order}), without a range: {causes.why}.")
    return Comparison(one, other, causes, tuple(filter(None, notes)))


def _planned(given: Book | Plan | ComparedPlan, label: str, say: Callable[[str], None]) -> ComparedPlan:
    """One of the two with its plan.

    Raises:
        BadInput: it is neither book nor plan.
        Infeasible: it has no plan; says whose.
    """
    if isinstance(given, ComparedPlan):
        return given
    if isinstance(given, Plan):
        return ComparedPlan.of_plan(given, label)
    refuse_no_book(given)
    from allocator.plan.rebalance import rebalance

    say(f"planning {label}")
    try:
        return ComparedPlan.of_plan(rebalance(given), label)
    except Infeasible as error:
        error.message, error.args = f"{label}: {error.message}", (f"{label}: {error}",)
        raise


def _without_books(one: ComparedPlan, other: ComparedPlan) -> Iterator[str]:
    """Why nobody knows what made the difference, and what was written otherwise."""
    bare = [side.label for side in (one, other) if side.book is None]
    held = "holds no inputs" if len(bare) == 1 else "hold no inputs"
    yield f"What made the difference wants both books: {' and '.join(bare)} {held}. Name the books, or recorded runs."
    names = sorted({*one.fingerprints, *other.fingerprints})
    changed = [name for name in names if one.fingerprints.get(name) != other.fingerprints.get(name)]
    told = ", ".join(name if name.endswith(".csv") else f"[{name}]" for name in changed)
    yield f"Written otherwise, beside holdings, signals and the date: {told or 'nothing'}."


def _recorded_otherwise(side: ComparedPlan, names: Sequence[str], end: Vector) -> str:
    """That a recorded plan has other targets than its inputs have now; nothing where they are the same."""
    weights = [target for _, target, _ in side.weights.values()]
    place = {name: at for at, name in enumerate((*[*side.weights][:-1], names[-1]))}
    then = np.array([weights[place[name]] if name in place else 0.0 for name in names])
    apart = float(np.abs(then - end[: len(names)]).max())
    if apart <= RECORDED:
        return ""
    told = f"Recorded targets of {side.label} are up to {apart:.2%} of the account from those that its inputs give here"
    return f"{told}; the difference stands with whole lots."
