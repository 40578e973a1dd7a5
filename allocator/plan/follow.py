"""Today's plan held against the policy that an earlier run announced: does it follow, and where not, what has changed.

The announced policy is read from the `plan.json` of that run. What it announced for today is found by the evidence
that has come since: silence, a claim, a verdict. Four things move a plan away from it: the belief, prices, holdings,
and what was written in the book.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.multistage.mandate import OBJECTIVES
from allocator.outlook.calibration import dated_signals
from allocator.plan.plan import Plan
from allocator.plan.runs import PLAN_FORMAT
from allocator.presentation import NotNegative, Rounded
from allocator.settings.settings import BucketsSection
from allocator.settings.uncertainty import AXES
from allocator.tables.files import read_regular_file
from allocator.types import Vector

Found = TypeVar("Found")
FOLLOWS = 0.005
"""Of the account: targets, or whole lots, within this of what was announced follow it."""
_SAME = 1e-6


@dataclass(frozen=True)
class PolicyDeviation:
    """How far today's targets are from the announced decision `node`, as a part of the account that would change hands.

    `differences` are the names that differ most, today's weight less the announced one. `causes` say in words what is
    no longer as announced; there are none where nothing else has changed.
    """

    node: Annotated[str, "the announced decision that today is held against"]
    between_reviews: Annotated[bool, "whether its day has passed, so that its holdings at today's prices are meant"]
    distance: Annotated[NotNegative, Rounded(8), "the fraction of the account that would change hands to be there"]
    follows: Annotated[bool, "whether the distance is no more than half a percent"]
    differences: Annotated[dict[str, Annotated[float, Rounded(8)]], "by instrument; at most the three largest"]
    causes: Annotated[tuple[str, ...], "what is no longer as announced, in words"]


def check_announced_policy(book: Book, announced: Path) -> None:
    """Refuse what a plan of the book could not be held against, before there is one: solving it would be for nothing.

    Raises:
        BadInput: the file is no such document, is of another account or universe, is later than the book, or one of
            the two is not time-consistent.
    """
    if not book.settings.uses_tree:
        rule = "has no meaning for a book without a utility: it announces no policy"
        raise BadInput([Breach("--follow", None, None, str(announced), rule, "leave it out")])
    _whole(announced, lambda document: _refuse_other(book, document, announced))


def policy_deviation(plan: Plan, announced: Path) -> PolicyDeviation:
    """Hold a plan against the `plan.json` of an earlier run.

    Raises:
        BadInput: as of `check_announced_policy`.
    """
    check_announced_policy(plan.book, announced)
    return _whole(announced, lambda document: _departure(plan, document, announced))


def _whole(announced: Path, read: Callable[[Mapping[str, Any]], Found]) -> Found:
    document = _read(announced)
    try:
        return read(document)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, ZeroDivisionError) as error:
        found = f"it is without {error}" if isinstance(error, KeyError) else str(error)  # BadInput is none of these
        rule = f"is not as it was written: {found}"
        cure = "name the plan.json that `rebalance --out` wrote, as it wrote it"
        raise BadInput([Breach("--follow", None, None, str(announced), rule, cure)]) from None


def _departure(plan: Plan, document: Mapping[str, Any], announced: Path) -> PolicyDeviation:
    node, between = _node_of(plan.book, document, announced)
    names = [*plan.book.instruments]
    then = _drifted(plan.book, document, node) if between else np.array([node["after"][name] for name in names])
    # coarse lots may lie farther from what was announced in lots than their targets do, and these from the lots
    trades = (plan.target, plan.final)
    apart = min((one.values / one.value - then for one in trades), key=_distance)
    order, distance = np.argsort(-np.abs(apart), kind="stable")[:3], _distance(apart)
    return PolicyDeviation(
        node=str(node["node"]),
        between_reviews=between,
        distance=distance,
        follows=distance <= FOLLOWS,
        differences={names[i]: float(apart[i]) for i in order if abs(apart[i]) > 1e-4},
        causes=tuple(_causes(plan, document, node, then if between else _before(plan.book, node))),
    )


def _distance(apart: Vector) -> float:
    """Half of all that is held otherwise, cash among it."""
    return float(np.abs(apart).sum() + abs(float(apart.sum()))) / 2


def input_fingerprints(book: Book) -> dict[str, str]:
    """What was written in a book, by section and table: equal where nothing was changed. Left out are dates that pass,
    and what is said on its own: holdings, prices paid and signals.
    """
    found = {name: _digest(section) for name, section in _settings_written(book).items()}
    tables: dict[str, pd.DataFrame | pd.Series[float] | None] = {
        "exposures.csv": book.exposures,
        "scenario_returns.csv": book.scenario_returns,
        "benchmark.csv": book.benchmark,
        "covariance.csv": book.covariance,
        "factors.csv": book.factors,
    }
    for name, table in tables.items():
        if isinstance(table, pd.DataFrame) and table is not book.exposures and table.size > _LARGE:
            found[name] = _digest_of_numbers(table, json.dumps([*map(str, table.index)]).encode())
        elif table is not None:
            content = json.loads(table.to_json(date_format="iso", double_precision=15))
            content.pop("source" if table is book.exposures else None, None)
            found[name] = _digest(content)
    if (prices := book.price_history) is not None:
        found["prices.csv"] = _digest_of_numbers(prices, prices.index.to_numpy(dtype="datetime64[ns]").tobytes())
    return found


def _settings_written(book: Book) -> dict[str, Any]:
    """By section, without keys that say nothing: plans that were written before there were these keys are as before."""
    settings = book.settings.model_dump(
        mode="json", exclude={"book": {"as_of"}, "horizon": {"reviews"}, "tables": True, "ledger": True, "orders": True}
    )
    for key in ("return_error_names", *AXES):
        if settings["robust"][key] is None:
            del settings["robust"][key]
    if settings["horizon"]["digestion_months"] in (None, math.inf):
        del settings["horizon"]["digestion_months"]
    if not (book.settings.mandate.charge_risk and "charge_risk" in book.settings.mandate.traits.keys):
        del settings["mandate"]["charge_risk"]
    mandate = settings["mandate"]
    few = (mandate["max_names"], mandate["min_position"]) != (None, None)
    for key in ("no_sales", "no_purchases", "eligible", "bands", "max_names", "min_position", "names_gap"):
        if mandate[key] in (None, {}) or (key == "names_gap" and not few):
            del mandate[key]
    own = {"flows"} if book.settings.cash.dated else set()
    settings["cash"] = {key: value for key, value in settings["cash"].items() if key in {"paid_in", "paid_out", *own}}
    if not (book.settings.cash.flow or own):
        del settings["cash"]
    for key in [one for one in ("confirm", "views") if not settings[one]]:
        del settings[key]
    settings["trading"]["min_gain_bps"] = settings["trading"]["min_gain_bps"] or 0.0
    if book.settings.buckets == BucketsSection():
        del settings["buckets"]
    return settings


_LARGE = 10_000
"""Entries: so many numbers are not written out to be told apart."""


def _digest_of_numbers(table: pd.DataFrame, rows: bytes) -> str:
    names = json.dumps([*map(str, table.columns)])
    numbers = np.ascontiguousarray(table.to_numpy(dtype=np.float64)).tobytes()
    return hashlib.sha256(rows + names.encode() + numbers).hexdigest()[:16]


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_plan(path: Path, where: str) -> Mapping[str, Any]:
    """A plan.json; `where` it was named is said of errors.

    Raises:
        BadInput: it is none.
    """
    cure = "name the plan.json that `rebalance --out` wrote"
    try:
        document = json.loads(read_regular_file(path, str(path)))
    except (BadInput, ValueError, RecursionError) as error:
        why = error.breaches[0].rule.removeprefix("cannot be read: ") if isinstance(error, BadInput) else error
        raise BadInput.of(where, f"cannot be read: {why}", cure, value=str(path)) from None
    if not isinstance(document, dict) or document.get("format") != PLAN_FORMAT:
        raise BadInput.of(where, f"is no plan of format {PLAN_FORMAT}", cure, value=str(path))
    return document


def _read(path: Path) -> Mapping[str, Any]:
    document = read_plan(path, "--follow")
    if document.get("policy") is None:
        rule, cure = "has no policy to follow", "name the plan.json of a book with reviews"
        raise BadInput.of("--follow", rule, cure, value=str(path))
    return document


def _refuse_other(book: Book, document: Mapping[str, Any], path: Path) -> None:
    """Raise where the document is of another account or universe, is later than the book, or cannot be followed.

    Raises:
        BadInput: all that differs.
    """
    found: list[tuple[str, str, str]] = []
    if (theirs := document["book"]["account"]) != book.account:
        found.append((str(path), f"is of account {theirs}", f"name a plan of account {book.account}"))
    if dt.date.fromisoformat(made := document["book"]["as_of"]) > book.settings.book.as_of:
        found.append((str(path), f"is of {made}, later than as_of", "name an earlier plan"))
    if others := sorted(set(document["policy"]["nodes"][0]["after"]) ^ set(book.instruments)):
        found.append((", ".join(others), "is about other instruments", "plan anew without --follow"))
    if _at_leaves(book) or not document["objective"]["time_consistent"]:
        rule = "has nothing to follow: regret at the leaves is not time-consistent, and a review decides otherwise"
        found.append((str(path), rule, "leave it out, or choose log, crra, return or mean_cvar"))
    if found:
        raise BadInput([Breach("--follow", None, None, value, rule, cure) for value, rule, cure in found])


def _at_leaves(book: Book) -> bool:
    """Whether regret would be at the leaves, as reviews are left."""
    ahead = [day for day in book.settings.horizon.reviews if day > book.settings.book.as_of]
    return OBJECTIVES[book.settings.mandate.objective].over_leaves and bool(ahead)


def _node_of(book: Book, document: Mapping[str, Any], path: Path) -> tuple[Mapping[str, Any], bool]:
    """The last decision that was announced for a day not after today and for what has been seen since."""
    as_of, nodes = book.settings.book.as_of, document["policy"]["nodes"]
    made = dt.date.fromisoformat(document["book"]["as_of"])
    news = [signal for signal in dated_signals(book) if signal.date > made and signal.kind != "usage"]
    at = 0
    while True:
        ahead = [i for i, node in enumerate(nodes) if node["parent"] == at]
        due = [i for i in ahead if dt.date.fromisoformat(nodes[i]["date"]) <= as_of]
        if not due:
            day = dt.date.fromisoformat(nodes[at]["date"])
            return nodes[at], day < as_of
        day = dt.date.fromisoformat(nodes[due[0]]["date"])
        since = dt.date.fromisoformat(nodes[at]["date"])
        seen = {signal.kind for signal in news if since < signal.date <= day}
        wanted = _kind_seen(seen)
        found = [i for i in due if nodes[i]["kind"] == wanted]
        if not found:
            rule = f"announced nothing for what was seen between {since} and {day} ({wanted})"
            raise BadInput([Breach("--follow", None, None, str(path), rule, "plan anew without --follow")])
        at = found[0]


def _kind_seen(seen: set[str]) -> str:
    if {"verification", "refutation"} <= seen:
        return "mixed"
    if "verification" in seen:
        return "verified"
    if "refutation" in seen:
        return "refuted"
    return "claimed" if "claim" in seen else "silent"


def _drifted(book: Book, document: Mapping[str, Any], node: Mapping[str, Any]) -> Vector:
    """(N,) the announced holdings at today's prices: between reviews the policy holds."""
    names = list(book.instruments)
    priced = {row["instrument"]: row["price"] for row in document["positions"]}
    at_node = np.array([priced[name] * node["prices"][name] for name in names])
    after = np.array([node["after"][name] for name in names])
    values = after * book.prices / at_node
    cash = 1 - float(after.sum())
    result: Vector = values / (values.sum() + cash)
    return result


def _flows_differ(book: Book, document: Mapping[str, Any]) -> bool:
    """Whether cash that is still to come is otherwise than announced. What has come, or comes today, is in holdings,
    whose cause says so: that it is in `[cash]` of one day and not of another is no change of the book.
    """
    here = {review.isoformat(): flow for review, flow in book.settings.cash_at_reviews.items()}
    today, unit = book.settings.book.as_of.isoformat(), document["book"]["value"]
    ahead = [node for node in document["policy"]["nodes"] if node["date"] > today]
    there = {node["date"]: node.get("cash_flow", 0.0) * unit for node in ahead}
    return any(abs(here.get(day, 0.0) - there.get(day, 0.0)) > _SAME * book.value for day in {*here, *there})


def _before(book: Book, node: Mapping[str, Any]) -> Vector:
    return np.array([node["before"][name] for name in book.instruments])


def _causes(plan: Plan, document: Mapping[str, Any], node: Mapping[str, Any], before: Vector) -> list[str]:
    """What is no longer as announced; `before` (N,) is what was to be held before today's trades."""
    book, found = plan.book, []
    beliefs = np.array([node["beliefs"].get(name, 0.0) for name in plan.outlook.scenarios])
    shift = float(np.abs(beliefs - plan.outlook.probabilities).sum()) / 2
    if shift > _SAME:
        found.append(f"the belief: {shift:z.1%} of probability lies elsewhere than announced")
    priced = {row["instrument"]: row["price"] for row in document["positions"]}
    moved = np.array(
        [book.prices[i] / (priced[name] * node["prices"][name]) - 1 for i, name in enumerate(book.instruments)]
    )
    worst = int(np.argmax(np.abs(moved)))
    if abs(moved[worst]) > _SAME:
        count = int((np.abs(moved) > _SAME).sum())
        most = f"{book.instruments[worst]} by {moved[worst]:+z.1%}"
        found.append(f"prices: {count} differ from the announced ones, most {most}")
    held = float(np.abs(book.weights - before).sum() + abs(float((book.weights - before).sum()))) / 2
    if held > _SAME:
        found.append(f"holdings: {held:z.1%} of the account is held otherwise than announced")
    here, there = input_fingerprints(book), document["fingerprints"]
    differ = {name for name in {*here, *there} - {"cash"} if here.get(name) != there.get(name)}
    if changed := sorted(differ | ({"cash"} if _flows_differ(book, document) else set())):
        told = ", ".join(name if name.endswith(".csv") else f"[{name}]" for name in changed)
        found.append(f"the book: {told} changed")
    if (day := node["date"]) != book.settings.book.as_of.isoformat():
        found.append(f"the date: it was announced for {day}")
    return found
