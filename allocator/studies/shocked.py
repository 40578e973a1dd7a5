"""A plan under shocks, as one study: what was asked, what was finished, and what the book cannot carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from allocator.multistage.plan import StagedPlan
from allocator.plan.plan import Plan
from allocator.studies.effects import Effect, Refused, ShockEffect, effects, unshocked
from allocator.studies.starter import library


@dataclass(frozen=True, eq=False)
class ShockStress:
    """`held` and `planned` are holdings and plan where nothing happens; `effects` what shocks do, as far as it was
    finished of the `asked`; `refused` says of which of them nothing can be computed, `left_out` which starter shocks
    this book cannot carry, and both say why.
    """

    held: Effect
    planned: Effect
    effects: tuple[ShockEffect, ...]
    asked: int
    refused: Mapping[str, str]
    left_out: Mapping[str, str]

    @property
    def interrupted(self) -> bool:
        """Whether something that was asked is not here."""
        return len(self.effects) + len(self.refused) < self.asked

    @property
    def worst(self) -> ShockEffect | None:
        """The shock that leaves the plan least to expect."""
        return min(self.effects, key=lambda one: one.plan.expected, default=None)

    def frame(self) -> pd.DataFrame:
        """One row a shock and one for none, in fractions of the account; a plan that cannot be is blank."""
        rows = {"no shock": _columns(self.held, self.planned, None)}
        rows |= {one.name: _columns(one.held, one.plan, one.again) for one in self.effects}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("shock")

    def document(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "no_shock": {"held": _effect(self.held), "plan": _effect(self.planned)},
            "effects": [_document(one) for one in self.effects],
            "refused": dict(self.refused),
            "left_out": dict(self.left_out),
            "asked": self.asked,
            "interrupted": self.interrupted,
        }


def shock_stress(
    plan: Plan | StagedPlan, names: tuple[str, ...] = (), say: Callable[[str], None] | None = None
) -> ShockStress:
    """What shocks do to a plan: those named, or all that its book can carry. Ctrl-C keeps what is finished.

    Raises:
        BadInput: a name is unknown or not of this book; or nothing can be computed of any shock, as its numbers are
            beyond arithmetic.
        BadMandate: the same, as its belief is outside the limits that the book guards by.
    """
    known = library(plan.book)
    chosen = known.chosen(names)
    held, planned = unshocked(plan)
    found = tuple(_as_far_as_it_gets(effects(plan, chosen, say)))
    done = tuple(one for one in found if isinstance(one, ShockEffect))
    refused = [one for one in found if isinstance(one, Refused)]
    if refused and len(refused) == len(chosen):
        raise refused[0].why
    told = {one.name: str(one.why) for one in refused}
    return ShockStress(held, planned, done, len(chosen), told, {} if names else known.left_out)


def _as_far_as_it_gets(found: Iterator[ShockEffect | Refused]) -> Iterator[ShockEffect | Refused]:
    try:
        yield from found
    except KeyboardInterrupt:
        return


def _columns(held: Effect, plan: Effect, again: Effect | None) -> dict[str, float | None]:
    return {
        f"{whose} {what}": None if one is None else getattr(one, what)
        for whose, one in (("held", held), ("plan", plan), ("again", again))
        for what in ("at_once", "expected", "worst_case")
    }


def _document(one: ShockEffect) -> dict[str, Any]:
    return {
        "shock": one.name,
        "claim": one.shock.claim,
        "generalizable": one.generalizable,
        "held": _effect(one.held),
        "plan": _effect(one.plan),
        "again": None if one.again is None else _effect(one.again),
        "why_not": one.why_not,
        "turnover": None if one.turnover is None else round(one.turnover, 8),
        "trades": {name: round(part, 8) for name, part in one.trades},
        "rules_broken": list(one.rules_broken),
        "told": [
            {"name": told.name, "expected": told.expected, "change": told.change, "as_claimed": told.as_claimed}
            for told in one.told
        ],
        "unlike": one.shock.unlike,
        "unmoved": list(one.unmoved),
        "worthless": list(one.worthless),
    }


def _effect(one: Effect) -> dict[str, float]:
    return {name: round(value, 8) for name, value in vars(one).items()}
