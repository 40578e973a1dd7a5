"""`allocator beliefs BOOK`: where the replicability question stands."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from allocator.commands.answer import answers, book_options


@click.command()
@book_options
@answers
def beliefs(
    book: str, account: str | None, overrides: tuple[str, ...], as_of: dt.date | None, *, as_json: bool
) -> dict[str, Any]:
    """Show what BOOK's signals and the silence since say: now, through time, and what would change it.

    \b
    Example:
      allocator beliefs data/note
    """
    from allocator.outlook.belief_report import standing
    from allocator.outlook.scenario_cards import due, load_with_cards

    loaded, observations = load_with_cards(book, account=account, overrides=overrides, as_of=as_of)
    found = standing(loaded)
    told = due(observations, found.signals, found.day)
    if not as_json:
        from allocator.display.believed import show_standing

        show_standing(loaded, found, told)
    return {
        "format": "allocator.beliefs/1",
        "as_of": found.day.isoformat(),
        "generalizable": found.generalizable,
        "jevons": found.jevons,
        "bounds": None if found.bounds is None else list(found.bounds),
        "settled": found.settled,
        "scenarios": [
            {
                "scenario": name,
                "prior": float(found.prior[k]),
                "belief": float(found.belief[k]),
                "market": None if found.market is None else float(found.market[k]),
            }
            for k, name in enumerate(found.scenarios)
        ],
        "path": [{"date": found.days[i].isoformat(), "generalizable": float(found.path[i])} for i in found.months()],
        "signals": [
            {
                "date": signal.date.isoformat(),
                "kind": signal.kind,
                "lab": signal.lab,
                "price_fall": signal.price_fall if signal.kind == "usage" else None,
                "usage_growth": signal.usage_growth if signal.kind == "usage" else None,
            }
            for signal in found.signals
        ],
        "next": [
            {"signal": possible.what, "generalizable": possible.probability, "jevons": possible.jevons}
            for possible in found.next_signals
        ],
        "settled_by_silence": None if found.settled_by_silence is None else found.settled_by_silence.isoformat(),
        "settled_within": {f"{months}_months": found.settlement.within(months) for months in (3, 6, 12, 18, 24, 36)},
        "cards": [
            {
                "scenario": one.observation.scenario,
                "by": one.observation.by.isoformat(),
                "observation": one.observation.text,
                "contradicted": one.contradicted,
            }
            for one in told
        ],
    }
