"""Claims held against arithmetic: `figures.csv` and `claims.csv` of a folder in, a verdict on each claim out.

A claim states an interval; a formula gives the interval that the figures allow. The verdict compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from allocator.errors import BadInput, Breach, did_you_mean
from allocator.outlook.formulas import EFFICIENCY, Formula, Interval
from allocator.outlook.valuations import VALUE
from allocator.tables import hold
from allocator.tables.files import read_table

FORMULAS: Mapping[str, Formula] = {formula.name: formula for formula in (*EFFICIENCY, *VALUE)}
"""What a row of claims.csv may be checked with, by name."""
HOLDS, IN_PART, FAILS, IMPLIES = "holds", "holds only if", "does not hold", "implies"


@dataclass(frozen=True)
class CheckedClaim:
    """A claim in its author's words, what it states (None: unbounded on that side), and what the figures give.

    `condition` is what would make it hold, as a clause; both intervals are in the formula's unit.
    """

    claim: str
    formula: Formula
    low: float | None
    high: float | None
    found: Interval
    condition: str
    remark: str

    @property
    def verdict(self) -> str:
        """`holds` if all that the figures allow is as stated, `does not hold` if none is, else `holds only if`.

        `implies` where nothing is stated: the figure then is what the claim amounts to.
        """
        if self.low is None and self.high is None:
            return IMPLIES
        (least, most), room = self.found, 1e-9 * max(1.0, *map(abs, self.found))
        low = least - 1 if self.low is None else self.low - room
        high = most + 1 if self.high is None else self.high + room
        if low <= least and most <= high:
            return HOLDS
        return FAILS if most < low or least > high else IN_PART

    @property
    def sentence(self) -> str:
        """The verdict with its reason."""
        verdict = self.verdict
        if verdict == IN_PART:
            verdict = f"holds only if {self.condition}" if self.condition else "holds in a part of the range only"
        elif verdict == FAILS and self.condition:
            verdict = f"does not hold unless {self.condition}"
        return "; ".join(filter(None, (verdict, self.remark)))


def claims_of(folder: str | Path) -> tuple[CheckedClaim, ...]:
    """Check every row of a folder's `claims.csv` with its `figures.csv`.

    Raises:
        BadInput: a table is missing or not of its contract, a check or a figure is unknown; every breach at once.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BadInput([Breach(str(folder), None, None, None, "there is no such folder", "check the path")])
    figures, breaches = _table(place, "figures")
    claims, found = _table(place, "claims")
    breaches += found
    known = {} if figures is None else dict(zip(figures["name"], figures["value"], strict=True))
    checked = []
    if claims is not None:
        for line, row in claims.iterrows():
            claim, faults = _checked(int(str(line)), row.to_dict(), known if figures is not None else None)
            breaches += faults
            checked += [claim] if claim is not None else []
    if breaches:
        raise BadInput(breaches)
    return tuple(checked)


def _table(place: Path, name: str) -> tuple[pd.DataFrame | None, list[Breach]]:
    """A table indexed by its line numbers; None if it broke its contract."""
    try:
        raw = read_table(place / f"{name}.csv")
    except BadInput as error:
        return None, list(error.breaches)
    typed, breaches = hold(name, raw.name, raw.frame, raw.rows)
    return (None if breaches else typed.set_axis(list(raw.rows))), breaches


def _checked(
    line: int, row: Mapping[Any, Any], figures: Mapping[str, float] | None
) -> tuple[CheckedClaim | None, list[Breach]]:
    """One row's claim; None if it could not be checked. Without `figures` only the row itself is judged."""
    low, high = (None if pd.isna(cell := row.get(side)) else float(cell) for side in ("low", "high"))
    breaches = []
    if low is not None and high is not None and low > high:
        breaches.append(Breach("claims.csv", line, "low", f"{low:g}", f"is above high = {high:g}", "swap them"))
    formula = FORMULAS.get(row["check"])
    if formula is None:
        cure = did_you_mean(row["check"], FORMULAS)
        breaches.append(Breach("claims.csv", line, "check", row["check"], "no such check", cure))
    if formula is None or figures is None:
        return None, breaches
    for name in formula.figures:
        if name not in figures:
            rule = f"needs the figure '{name}', which figures.csv lacks"
            breaches.append(Breach("claims.csv", line, "check", formula.name, rule, did_you_mean(name, figures)))
    if breaches:
        return None, breaches
    found = _found(line, formula, [figures[name] for name in formula.figures])
    if isinstance(found, Breach):
        return None, [found]
    condition, remark = (cell if isinstance(cell := row.get(name), str) else "" for name in ("condition", "remark"))
    return CheckedClaim(row["claim"], formula, low, high, found, condition, remark), []


def _found(line: int, formula: Formula, values: list[float]) -> Interval | Breach:
    """What the figures give, or why they give nothing: a division by zero, the root of a loss."""
    try:
        low, high = map(float, formula(*values))
        if isfinite(low) and isfinite(high):
            return low, high
    except (ArithmeticError, TypeError, ValueError):
        pass
    given = ", ".join(f"{name} = {value:g}" for name, value in zip(formula.figures, values, strict=True))
    rule = f"cannot be computed from {given}"
    return Breach("claims.csv", line, "check", formula.name, rule, "correct the figures in figures.csv")
