"""Two documents held against each other: byte for byte, else key by key through a table of what was renamed.

A path names a place in a document: its kind first (`plan` of `allocator.plan/1`), then keys and positions with points
between, `plan.orders.0.quantity`. In a pattern `*` stands for any one part, and a pattern also means all below it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

Place = tuple[str, ...]
DEFAULT = 1e-6
"""Absolute and relative: what a certificate allows of the account where none states another."""
EXACT = {"quantity", "quantity_before", "quantity_after", "side", "instrument"}
"""Keys of orders and positions that know no tolerance."""
IN_BPS = {
    "reasons", "attribution", "margin", "marginal_value", "reduced_cost", "to_more", "break_even_excess_return",
    "to_less", "spare_return", "takes",
}  # fmt: skip
"""Keys, beside those that say bps, under which numbers are basis points."""
MISSING = "(not there)"


@dataclass(frozen=True)
class Gone:
    """An old key that the new documents have no more, and why."""

    because: str


@dataclass(frozen=True)
class New:
    """A key that the old documents did not have, and why it is there."""

    because: str


@dataclass(frozen=True)
class Ignored:
    """A key whose value may differ, and why that says nothing."""

    because: str


@dataclass(frozen=True)
class Loose:
    """A key whose numbers may differ by more than is usual, absolutely or relatively, and why."""

    tolerance: float
    because: str


INTERNALS: Mapping[str, Ignored | Loose] = {
    "*.certificate.canonical": Ignored("residuals of a solver's last step; the certificate holds them to its limits"),
    "*.certificate.primal": Ignored("the same, of a tree"),
    "*.certificate.dual": Ignored("the same, of a tree"),
    "*.certificate.gap": Ignored("the same, of a tree"),
    "*.certificate.attempts": Ignored("which solvers were tried first is no part of the answer"),
    "*.certificate.gap_bps": Loose(0.01, "anywhere within what the certificate allows"),
    "*.proof.multipliers": Ignored("one of many where a program is degenerate; the bound that they give is compared"),
    "run.outputs": Ignored("digests of files that are compared themselves"),
    "plan.orders_sha256": Ignored("the same"),
    **{
        f"{kind}.{key}": Ignored("of what was recorded when")
        for kind in ("approve", "history", "receipt", "recorded_run", "verify")
        for key in (
            "head",
            "hash",
            "runs.*.recorded",
            "approvals.*.recorded",
            "entry.recorded",
            "files",
            "entry.contents",
            "entry.versions",
        )
    },
    "csv.orders.*.plan_sha256": Ignored("the same"),
}
"""What may differ between two solutions of the same question once they are no longer the same bytes."""


@dataclass(frozen=True)
class Table:
    """How the documents of an older commit are read as today's.

    `paths`: old path pattern → new path (each `*` of it filled in order) or Gone. `new`: pattern of a new key → New;
    `new_of` the same for old documents of one kind.
    `formats`: old format tag → new one. `commands`: old command → new one or Gone, old option → new one.
    `texts`: regular expression → replacement, for every old string; `keys` the same for old keys that are labels;
    `words`: new path pattern → old word → new one, for what is said in one place alone. `cases`: a case
    whose answer is another now → why.
    `tolerances`: more places that may differ.
    """

    paths: Mapping[str, str | Gone] = field(default_factory=dict)
    new: Mapping[str, New] = field(default_factory=dict)
    new_of: Mapping[str, Mapping[str, New]] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str | Gone] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cases: Mapping[str, Gone] = field(default_factory=dict)
    tolerances: Mapping[str, Ignored | Loose] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One place where two documents differ, as the new ones call it."""

    path: str
    old: object
    new: object
    why: str = "differs"

    def __str__(self) -> str:
        return f"{self.path}: {_short(self.old)} → {_short(self.new)}  ({self.why})"


def _short(value: object) -> str:
    text = MISSING if value == MISSING else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def matches(pattern: str, path: Place) -> Place | None:
    """What the stars of `pattern` stand for in `path` or in a beginning of it; None where it does not fit."""
    parts = tuple(pattern.split("."))
    if len(parts) > len(path) or any(part not in ("*", own) for part, own in zip(parts, path, strict=False)):
        return None
    return tuple(own for part, own in zip(parts, path, strict=False) if part == "*")


def leaves(value: object, above: Place = ()) -> dict[Place, object]:
    """Every number, text and empty container of a document by its path."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: dict[Place, object] = {}
    for key, part in below:
        # a point inside a name would read as two keys
        found |= leaves(part, (*above, str(key).replace(".", "·")))
    return found or {above: value}


def read(text: str, name: str = "") -> object:
    """A document from its text: JSON, the rows of a .csv, or else the text itself."""
    if name.endswith(".csv"):
        return {"format": "csv/1", PurePosixPath(name).stem: list(csv.DictReader(io.StringIO(text)))}
    try:
        return json.loads(text)
    except ValueError:
        return text


def kind_of(document: object) -> str:
    """The kind that a document's format tag names: `plan` of `allocator.plan/1`."""
    tag = document.get("format", "") if isinstance(document, dict) else ""
    return str(tag).partition("/")[0].removeprefix("allocator.") or "text"


def translated(old: object, table: Table) -> dict[Place, object]:
    """The leaves of an old document where, and with the texts with which, today's has them.

    Raises:
        ValueError: the table puts two old keys in one place.
    """
    kind = kind_of(old)
    tag = str(old.get("format")) if isinstance(old, dict) else ""
    now = kind_of({"format": table.formats.get(tag, tag)}) if tag else kind
    found: dict[Place, object] = {}
    for path, value in leaves(old, (kind,)).items():
        place = _place(path, now, table)
        if place is None:
            continue
        if place in found:
            raise ValueError(f"the table puts two old keys at {'.'.join(place)}")
        words = next((own for pattern, own in table.words.items() if matches(pattern, place) is not None), {})
        found[place] = _text(value, table.formats if path == (kind, "format") else words, table)
    return found


def _place(path: Place, now: str, table: Table) -> Place | None:
    """Where a leaf stands today; None where it is gone. The longest pattern that fits has the say."""
    fits = [(pattern, stars) for pattern in table.paths if (stars := matches(pattern, path)) is not None]
    if not fits:
        return (now, *(_replaced(part, table.keys) for part in path[1:]))
    pattern, stars = max(fits, key=lambda fit: fit[0].count("."))
    target = table.paths[pattern]
    if isinstance(target, Gone):
        return None
    filling = iter(stars)
    moved = tuple(next(filling) if part == "*" else part for part in target.split("."))
    return (*moved, *(_replaced(part, table.keys) for part in path[pattern.count(".") + 1 :]))


def _replaced(text: str, rules: Mapping[str, str]) -> str:
    for pattern, replacement in rules.items():
        text = re.sub(pattern, replacement, text)
    return text


def _text(value: object, formats: Mapping[str, str], table: Table) -> object:
    if not isinstance(value, str):
        return value
    return formats[value] if value in formats else _replaced(value, table.texts)


def differences(old: object, new: object, table: Table) -> list[Difference]:
    """Every place where two documents differ beyond the table and the tolerances; none where they say the same."""
    expected, found = translated(old, table), leaves(new, (kind_of(new),))
    allowed = _allowed_bps(old)
    told = []
    for path in [*expected, *(path for path in found if path not in expected)]:
        before, after = expected.get(path, MISSING), found.get(path, MISSING)
        if isinstance(_rule_of(path, table), Ignored):
            continue
        if path not in found:
            why: str | None = "gone without a reason"
        elif path not in expected:
            allowed_new = (*table.new, *table.new_of.get(kind_of(old), {}))
            excused = any(matches(pattern, path) is not None for pattern in allowed_new)
            why = None if excused else "new without a reason"
        else:
            why = _unlike(path, before, after, allowed, table)
        if why is not None:
            told.append(Difference(".".join(path), before, after, why))
    return told


def _allowed_bps(document: Any) -> float:
    """How far from the best this document's certificate lets a plan be, in bps of the account."""
    certificate = document.get("certificate") if isinstance(document, dict) else None
    stated = certificate.get("allowed_bps") if isinstance(certificate, dict) else None
    return float(stated) if isinstance(stated, int | float) else DEFAULT * 1e4


def _unlike(path: Place, old: object, new: object, allowed_bps: float, table: Table) -> str | None:
    """Why two values are not the same; None where they are."""
    rule = _rule_of(path, table)
    if not (_number(old) and _number(new)):
        as_numbers = _both_numbers(path, old, new)
        if as_numbers is None:
            return None if type(old) is type(new) and old == new else "differs"
        old, new = as_numbers
    assert isinstance(old, int | float)
    assert isinstance(new, int | float)
    if path[-1] in EXACT:
        return None if old == new else "must be exactly equal"
    tolerance = allowed_bps / 1e4
    relative = DEFAULT
    if isinstance(rule, Loose):
        tolerance = relative = rule.tolerance
    elif any("bps" in part or part in IN_BPS for part in path):
        tolerance = allowed_bps
    distance = abs(old - new)
    return None if distance <= max(tolerance, relative * abs(old)) else f"by {distance:.3g}, allowed {tolerance:.3g}"


def _rule_of(path: Place, table: Table) -> Ignored | Loose | None:
    rules = {**INTERNALS, **table.tolerances}
    return next((rule for pattern, rule in rules.items() if matches(pattern, path) is not None), None)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _both_numbers(path: Place, old: object, new: object) -> tuple[float, float] | None:
    """Two cells of a table of text as numbers, where both are."""
    if path[0] != "csv" or not (isinstance(old, str) and isinstance(new, str)):
        return None
    try:
        return float(old), float(new)
    except ValueError:
        return None
