"""`stress(book)`: what happens if, what it takes to lose so much, and how wrong the probabilities may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, cast

import pandas as pd

from allocator.book.book import Book, refuse_no_book
from allocator.errors import AllocatorError, BadInput, Breach
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.plan.risk_figures import RisksDocument, risks_document
from allocator.presentation import OutlookHeading
from allocator.stress_testing.belief_map import MOST_STEPS, BeliefMap, MapDocument, belief_map
from allocator.stress_testing.belief_stress import BeliefStress, BeliefStressDocument, belief_stress
from allocator.stress_testing.parameter_draws import parameter_ranges
from allocator.stress_testing.parameter_stress import MOST, ModelStress, ModelStressDocument, model_stress
from allocator.stress_testing.reoptimization import say_nothing
from allocator.stress_testing.replay import HistoricalReplay, ReplayDocument, replay_history
from allocator.stress_testing.reverse import ReverseDocument, ReverseStress, reverse_stress
from allocator.stress_testing.shock_effects import ShocksDocument, ShockStress, shock_stress
from allocator.stress_testing.shocked_book import shock_library

PARTS = ("shocks", "reverse", "replay", "beliefs")
"""What is asked where nothing is named; `map` is asked by its steps a side, `model` by its number of draws."""
EVERY_PART = (*PARTS, "map", "model")
INTERRUPTED = "interrupted before it began"


class StressDocument(TypedDict):
    """A plan under stress; written by `allocator stress --json`. Returns are fractions of the account before the shock,
    after costs. A part that was not asked is null."""

    format: Literal["allocator.stress/2"]
    book: OutlookHeading
    risk: RisksDocument
    shocks: ShocksDocument | None
    reverse: ReverseDocument | None
    replay: ReplayDocument | None
    beliefs: BeliefStressDocument | None
    map: MapDocument | None
    model: ModelStressDocument | None
    why_not: Annotated[dict[str, str], "parts that were asked and cannot be had, and why"]
    interrupted: Annotated[list[str], "parts that Ctrl-C cut short"]


@dataclass(frozen=True, eq=False)
class StressReport:
    """A plan under stress; a part is None where it was not asked, and `why_not` says it where it cannot be had."""

    plan: Plan
    why_not: dict[str, str]
    shocks: ShockStress | None = None
    reverse: ReverseStress | None = None
    replay: HistoricalReplay | None = None
    beliefs: BeliefStress | None = None
    map: BeliefMap | None = None
    model: ModelStress | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """What is here, by the name of the part."""
        parts = {name: getattr(self, name) for name in EVERY_PART}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def interrupted(self) -> tuple[str, ...]:
        """The parts that were cut short, whose finished figures stand, or that never began."""
        cut = [name for name, part in self.parts.items() if getattr(part, "interrupted", False)]
        return tuple(cut + [name for name, why in self.why_not.items() if why == INTERRUPTED])

    def frame(self) -> pd.DataFrame:
        """One row a shock; the other parts have frames of their own.

        Raises:
            BadInput: shocks were not asked.
        """
        if self.shocks is None:
            rule, cure = "were not requested", "look at .reverse, .beliefs, .replay or .model, or add shocks to parts"
            raise BadInput([Breach("stress", None, "shocks", None, rule, cure)])
        return self.shocks.frame()

    def document(self) -> StressDocument:
        """The stress as plain data."""
        told: Any = {
            "format": "allocator.stress/2",
            "book": self.plan.book.outlook_heading(),
            "risk": risks_document(self.plan.risk),
            **dict.fromkeys(EVERY_PART),
        }
        told |= {name: part.document() for name, part in self.parts.items()}
        return cast("StressDocument", told | {"why_not": self.why_not, "interrupted": list(self.interrupted)})


def stress(
    book: Book,
    *,
    parts: tuple[str, ...] = PARTS,
    shocks: tuple[str, ...] = (),
    loss: float = 0.10,
    within_bps: float = 10.0,
    map_steps: int = 0,
    draws: int = 0,
    jobs: int = 1,
    plan: Plan | None = None,
    progress: Callable[[str], None] | None = None,
) -> StressReport:
    """Put a book's plan under stress, or one that was made already.

    `parts` are of PARTS; `shocks` names some of them only; `loss` is what reverse stress asks for, a fraction of the
    account; `within_bps` how much worse than the best the plan may be; `map_steps` points a side of the map of beliefs
    and `draws` of the model's parameters, 0 for none. Ctrl-C keeps what is finished.

    Raises:
        BadInput: a part or a shock is unknown, or a number is out of its range.
        BadMandate: only beliefs are asked, of a plan that does not follow from probabilities.
        Infeasible, NotSolved: the book has no plan to put under stress.
    """
    _refuse_wrong_names(parts, shocks)
    refuse_no_book(book)
    if plan is not None and plan.book is not book:  # figures of the two would be mixed
        rule, cure = "is of another book", "pass plan.book, or leave the plan out"
        raise BadInput([Breach("plan", None, None, plan.book.settings.book.name, rule, cure)])
    numbers = _wrong_numbers(loss, within_bps, map_steps, draws, jobs)
    ranges = _breaches(lambda: parameter_ranges(book)) if draws else ()
    if breaches := [*_wrong_shocks(book, parts, shocks), *numbers, *ranges]:
        raise BadInput(breaches)  # before anything is solved
    say = progress or say_nothing
    planned = plan or rebalance(book, progress=say)
    studies: dict[str, Callable[[], Any]] = {
        "shocks": lambda: shock_stress(planned, shocks, say),
        "reverse": lambda: reverse_stress(planned, loss),
        "replay": lambda: replay_history(planned),
        "beliefs": lambda: belief_stress(planned, within_bps=within_bps, jobs=jobs, say=say),
        "map": lambda: belief_map(planned, steps=map_steps, jobs=jobs, say=say),
        "model": lambda: model_stress(planned, draws, jobs=jobs, say=say),
    }
    asked = {*parts, *(["map"] if map_steps else []), *(["model"] if draws else [])}
    return _report(planned, {name: study for name, study in studies.items() if name in asked})


def _report(plan: Plan, studies: dict[str, Callable[[], Any]]) -> StressReport:
    """Each study in turn, and none after Ctrl-C; one among others that the book cannot have is said and not raised."""
    parts, why_not, stopped = dict[str, Any](), dict[str, str](), False
    for name, study in studies.items():
        if stopped:
            why_not[name] = INTERRUPTED
            continue
        try:
            parts[name] = study()
            stopped = getattr(parts[name], "interrupted", False)
        except AllocatorError as error:
            if len(studies) == 1:
                raise
            why_not[name] = str(error)
        except KeyboardInterrupt:
            why_not[name], stopped = INTERRUPTED, True
    return StressReport(plan, why_not, **parts)


def _refuse_wrong_names(parts: tuple[str, ...], shocks: tuple[str, ...]) -> None:
    if texts := [(name, given) for name, given in (("parts", parts), ("shocks", shocks)) if isinstance(given, str)]:
        rule, cure = "must be several names, and is one text", 'write ("name",), with the comma'
        raise BadInput(Breach("stress", None, name, str(given), rule, cure) for name, given in texts)
    if unknown := [part for part in parts if part not in PARTS]:
        cure = f"choose of {', '.join(PARTS)}; for the model's parameters give draws"
        raise BadInput(Breach("stress", None, "parts", part, "no such part", cure) for part in unknown)


def _wrong_shocks(book: Book, parts: tuple[str, ...], shocks: tuple[str, ...]) -> Iterator[Breach]:
    if "shocks" in parts:
        yield from _breaches(lambda: shock_library(book).chosen(shocks))
    elif shocks:
        rule, cure = "are named, and shocks are not asked", "add 'shocks' to parts, or leave the names out"
        yield Breach("stress", None, "shocks", ", ".join(shocks), rule, cure)


def _wrong_numbers(loss: float, within_bps: float, map_steps: int, draws: int, jobs: int) -> Iterator[Breach]:
    if not 0 < loss <= 1:
        yield Breach("loss", None, None, f"{loss:g}", "must be above 0 and at most 1", "10 % is 0.1")
    if not 0 < within_bps < float("inf"):
        yield Breach("within_bps", None, None, f"{within_bps:g}", "must be above 0", "10 is usual")
    if map_steps and not 2 <= map_steps <= MOST_STEPS:
        rule = f"must be between 2 and {MOST_STEPS}"
        yield Breach("map_steps", None, None, str(map_steps), rule, "66 is usual")
    if jobs < 1:
        yield Breach("jobs", None, None, str(jobs), "must be 1 or more", "leave it out for one process")
    if draws and not (isinstance(draws, int) and 2 <= draws <= MOST):
        rule = f"must be a whole number from 2 to {MOST}"
        yield Breach("model stress", None, "draws", str(draws), rule, "correct it")


def _breaches(check: Callable[[], object]) -> tuple[Breach, ...]:
    try:
        check()
    except BadInput as error:
        return error.breaches
    return ()
