"""How beliefs look: now, through time with the signals marked, what each next signal would do, when it is settled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from rich.console import Console

from allocator.book.book import Book
from allocator.display.console import console, heading, percents, table
from allocator.outlook.belief_report import Standing
from allocator.outlook.scenario_cards import Due

_WIDTH = 30


def show_standing(book: Book, found: Standing, told: Sequence[Due] = ()) -> None:
    """Print what `beliefs` found, and which scenario cards are due."""
    out = console()
    out.print(f"{book.settings.book.name} · {found.day}", style="bold")
    answer = "open" if found.settled is None else f"settled: {found.settled}"
    reach = "" if found.bounds is None else f", between {percents(found.bounds[0])} and {percents(found.bounds[1])}"
    demand = "" if found.jevons is None else f" Jevons with probability {percents(found.jevons)}."
    out.print(
        f"Generalizable with probability {percents(found.generalizable)}{reach}. The question is {answer}.{demand}"
    )
    _now(out, found)
    _through_time(out, found)
    _next(out, found)
    _when(out, found)
    _cards(out, told)


def _now(out: Console, found: Standing) -> None:
    heading(out, "Scenarios")
    numbers = ("at the opening", "now", *(() if found.market is None else ("in prices",)))
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(found.scenarios):
        row = [percents(float(found.prior[k])), percents(float(found.belief[k]))]
        made.add_row(name, *row, *(() if found.market is None else (percents(float(found.market[k])),)))
    out.print(made)


def _through_time(out: Console, found: Standing) -> None:
    heading(out, "P(generalizable) through time")
    told: dict[dt.date, list[str]] = {}
    for signal in found.signals:
        told.setdefault(signal.date, []).append(f"{signal.kind} {signal.lab}".strip())
    made = table("date", "", "", "signal", right=())
    for i in found.months():
        p = float(found.path[i])
        said = ", ".join(told.get(found.days[i], ()))
        made.add_row(found.days[i].isoformat(), percents(p), "█" * round(p * _WIDTH), said)
    out.print(made)


def _next(out: Console, found: Standing) -> None:
    if not found.next_signals:
        return
    heading(out, "What each possible next signal would do, today")
    numbers = ("P(generalizable)", *(() if found.jevons is None else ("P(Jevons)",)))
    made = table("signal", *numbers, right=numbers)
    for possible in found.next_signals:
        demand = () if possible.jevons is None else (percents(possible.jevons),)
        made.add_row(possible.what, percents(possible.probability), *demand)
    out.print(made)


def _when(out: Console, found: Standing) -> None:
    if found.settled is not None:
        heading(out, "When it was settled")
        out.print(f"It was settled on {found.settled_by_silence}.")
        return
    heading(out, "When it will be settled")
    silence = (
        "silence alone never settles it"
        if found.settled_by_silence is None
        else (f"silence alone settles it on {found.settled_by_silence}")
    )
    out.print(f"{silence[0].upper()}{silence[1:]}.")
    out.print("By silence, a verdict or the next claim, with a probability of at least:")
    months = (3, 6, 12, 18, 24, 36)
    made = table("within", *(f"{n} m" for n in months), right=tuple(f"{n} m" for n in months))
    made.add_row("probability", *(percents(found.settlement.within(n)) for n in months))
    out.print(made)


_SAID = {True: "yes", False: "no", None: "look"}


def _cards(out: Console, told: Sequence[Due]) -> None:
    if not told:
        return
    heading(out, "Cards that are due")
    made = table("by", "scenario", "what would contradict it", "contradicted", right=("by",))
    for one in told:
        made.add_row(
            one.observation.by.isoformat(), one.observation.scenario, one.observation.text, _SAID[one.contradicted]
        )
    out.print(made)
