"""A backtest at 80 columns: ten measures of every policy, what was traded, and what must be known beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from allocator.backtesting.measures import MEASURES
from allocator.backtesting.walk_forward import FOOT, Backtest, PolicyResult
from allocator.display.console import add_cells, console, format_money, format_percent, heading, table

_SIDE_BY_SIDE = 4
"""Policies that 80 columns have room for."""


def show_backtest(found: Backtest) -> None:
    """Print it."""
    out, settings = console(), found.book.settings.book
    span = f"{found.days[0]:%Y-%m-%d} to {found.days[-1]:%Y-%m-%d}"
    out.print(f"{settings.name} · account {found.book.account} · {span}", style="bold")
    rule = "at each" if found.when == "always" else "where that is required or recommended"
    every = f"every {found.every}" if not found.every.isdigit() else f"every {found.every} rows"
    days = f"{len(found.days)} rows of prices, {found.per_year:zg} a year; {len(found.reviews)} reviews, {every}; "
    out.print(f"{days}the plan trades {rule}.")
    if found.outlook == "today":
        out.print("Today's outlook on every row: what it says was not known then.")
    heading(out, "Every account after costs")
    for first in range(0, len(found.policies), _SIDE_BY_SIDE):
        if first:
            out.print()
        out.print(_measured(found, found.policies[first : first + _SIDE_BY_SIDE]))
    out.print()
    counted = Counter(event.event for event in found.policies[0].events if event.event != "ended")
    out.print(f"The plan's reviews: {', '.join(f'{event} {count}' for event, count in counted.most_common())}.")
    for note in found.notes:
        out.print(f"{note[0].upper()}{note[1:]}.")
    out.print(FOOT)


def _measured(found: Backtest, policies: Sequence[PolicyResult]) -> Table:
    """The measures of some policies, side by side."""
    names = [one.policy for one in policies]
    made = table("", *names, right=names, compact=True)
    currency = found.book.settings.book.currency
    add_cells(made, (f"end, {currency}", *(format_money(float(one.values[-1])) for one in policies)))
    for name, measure in MEASURES.items():
        add_cells(made, (measure.label, *(_cell(one, name, fraction=measure.is_fraction) for one in policies)))
    add_cells(made, ("turnover a year", *(format_percent(one.turnover, 0) for one in policies)))
    add_cells(made, ("costs a year, bps", *(f"{found.costs_a_year(one) * 1e4:z.1f}" for one in policies)))
    add_cells(made, ("orders", *(f"{one.orders:,}" for one in policies)))
    return made


def _cell(one: PolicyResult, name: str, *, fraction: bool) -> str:
    value = one.measures[name]
    if value is None:
        return ""
    return format_percent(value) if fraction else f"{value:z.2f}"
