"""`stress(book)`: what happens if, what it takes to lose so much, and how wrong the probabilities may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from allocator.book.book import Book
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.stages import StagedPlan, rebalance_in_stages
from allocator.studies.effects import Effect, ShockEffect, effects, unshocked
from allocator.studies.starter import library


@dataclass(frozen=True, eq=False)
class Stress:
    """A plan under stress. `held` and `planned` are holdings and plan where nothing happens; `shocks` what was asked,
    as far as it was finished: `asked` counts what was to be done, `left_out` says which starter shocks this book cannot
    carry.
    """

    plan: Plan | StagedPlan
    held: Effect
    planned: Effect
    shocks: tuple[ShockEffect, ...]
    asked: int
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether something that was asked is not here."""
        return len(self.shocks) < self.asked

    def frame(self) -> pd.DataFrame:
        """One row a shock and one for none, in fractions of the account; a plan that cannot be is blank."""
        rows = {"no shock": _columns(self.held, self.planned, None)}
        rows |= {one.name: _columns(one.held, one.plan, one.again) for one in self.shocks}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("shock")

    def document(self) -> dict[str, Any]:
        """The stress as plain data; its JSON Schema is `schemas/stress.schema.json`."""
        settings = self.plan.book.settings
        return {
            "format": "allocator.stress/1",
            "book": {
                "name": settings.book.name,
                "account": self.plan.book.account,
                "as_of": settings.book.as_of.isoformat(),
                "currency": settings.book.currency,
                "value": self.plan.book.value,
                "announcement_share": settings.horizon.announcement_share,
            },
            "no_shock": {"held": vars(self.held), "plan": vars(self.planned)},
            "shocks": [_shock_document(one) for one in self.shocks],
            "left_out": self.left_out,
            "interrupted": self.interrupted,
        }


def stress(
    book: Book,
    *,
    shocks: tuple[str, ...] = (),
    plan: Plan | StagedPlan | None = None,
    progress: Callable[[str], None] | None = None,
) -> Stress:
    """Put a book's plan under shocks: those named, or all that the book can carry.

    Ctrl-C keeps what is finished. `plan` saves planning again what was planned already.

    Raises:
        BadInput: a shock's name is unknown, or its numbers are beyond arithmetic.
        Infeasible, NotSolved: the book has no plan to put under stress.
    """
    say = progress or (lambda _: None)
    known = library(book)
    chosen = known.chosen(shocks)
    plan = plan or (rebalance_in_stages if book.settings.in_stages else rebalance)(book, progress=say)
    held, planned = unshocked(plan)
    found = tuple(_as_far_as_it_gets(effects(plan, chosen, say)))
    return Stress(plan, held, planned, found, len(chosen), {} if shocks else known.left_out)


def _as_far_as_it_gets(found: Iterator[ShockEffect]) -> Iterator[ShockEffect]:
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


def _shock_document(one: ShockEffect) -> dict[str, Any]:
    return {
        "shock": one.name,
        "claim": one.shock.claim,
        "generalizable": one.generalizable,
        "held": vars(one.held),
        "plan": vars(one.plan),
        "again": None if one.again is None else vars(one.again),
        "why_not": one.why_not,
        "turnover": one.turnover,
        "trades": dict(one.trades),
        "rules_broken": list(one.rules_broken),
        "told": [
            {"name": told.name, "expected": told.expected, "change": told.change, "as_claimed": told.as_claimed}
            for told in one.told
        ],
        "unlike": one.shock.unlike,
        "unmoved": list(one.unmoved),
    }
