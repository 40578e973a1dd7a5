"""The trial at 80 columns: what each policy makes of each cell beside the nominal tree, and what the rule says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from allocator.backtesting.inference import FEWEST, LOSS_ALLOWED_BPS
from allocator.backtesting.policies import STATED
from allocator.backtesting.trial import CellResult, PolicyFigures, Trial
from allocator.display.console import (
    add_cells,
    console,
    fit_table,
    format_percent,
    format_signed,
    heading,
    scenario_letters,
    table,
    title_of,
)

_SIGNIFICANT = 0.05
_COLUMNS, _HALF = 7, 40
"""Cells beside each other on the first screen, those of one error at a time below them; and half of a line."""


def show_trial(found: Trial, *, full: bool) -> None:
    """Print it: the cells side by side and the rule; with `full` every figure of every cell."""
    out, cells = console(), found.cells
    out.print(title_of(found.book), style="bold")
    design, done = found.design, len(found.results)
    total = len(design.cells) * design.investors
    said = "" if done == total else f", {done:,} of {total:,} investors done"
    out.print(f"{design.investors} investors in each cell, {design.worlds} worlds each, seed {design.seed}{said}")
    if not cells:
        return
    letters = scenario_letters(len(cells))
    if full:
        for letter, one in zip(letters, cells, strict=True):
            _show_cell(out, letter, one)
    else:
        for at in range(0, len(cells), _COLUMNS):
            _show_beside(out, cells[at : at + _COLUMNS], letters[at : at + _COLUMNS], first=at == 0)
    if any(row["p"] is not None and row["p"] <= _SIGNIFICANT for one in cells for row in one.policies):
        out.print("* differs at 5 %, corrected for all comparisons (Holm).")
    _show_rule(out, found, full=full)
    refused, still = sum(one.refused for one in cells), sum(one.still for one in cells)
    if refused or still:
        out.print(f"{refused:,} investors were drawn again; at {still:,} decisions the rules could not be kept.")


def _show_beside(out: Console, cells: tuple[CellResult, ...], letters: list[str], *, first: bool) -> None:
    heading(out, "Certainty equivalent above the nominal tree's, bps; last the tree's own")
    said = [f"{letter}  {one.cell.name}" for letter, one in zip(letters, cells, strict=True)]
    two = max(map(len, said)) < _HALF and out.width >= 2 * _HALF
    for at in range(0, len(said), 2 if two else 1):
        out.print("".join(f"{one:<{_HALF}}" for one in said[at : at + 2]).rstrip() if two else said[at])
    out.print(_beside(cells, letters, lambda row: format_signed(row["above_nominal_bps"], 0) + _mark(row), _EQUIVALENT))
    if first:
        heading(out, "Mean of the worst tenth of the worlds above the nominal tree's, bps")
        out.print(_beside(cells, letters, lambda row: format_signed(row["worst_decile_above_nominal_bps"], 0), _DECILE))


_Figure: TypeAlias = Callable[[PolicyFigures], str]
_EQUIVALENT: _Figure = lambda row: format_percent(row["certainty_equivalent"])  # noqa: E731  a column, as the others
_DECILE: _Figure = lambda row: format_percent(row["worst_decile"])  # noqa: E731


def _beside(cells: tuple[CellResult, ...], letters: list[str], text: _Figure, own: _Figure) -> Table:
    """A policy a row and a cell a column; last what the nominal tree, which others are held against, has itself."""
    made = table("policy", *letters, right=letters, compact=True)
    nominal, *others = (list(rows) for rows in zip(*(one.policies for one in cells), strict=True))
    for rows in others:
        add_cells(made, (rows[0]["policy"], *map(text, rows)))
    add_cells(made, (nominal[0]["policy"], *map(own, nominal)), "bold")
    return made


def _mark(row: PolicyFigures) -> str:
    return "*" if row["p"] is not None and row["p"] <= _SIGNIFICANT else " "


def _show_cell(out: Console, letter: str, one: CellResult) -> None:
    heading(out, f"{letter}  {one.cell.name}: {one.investors:,} investors")
    numbers = ("equivalent", "worst 10%", "regret", "turnover", "months", "inside", "bps", "from", "to")
    made = table("policy", *numbers, right=numbers, compact=True)
    for row in one.policies:
        months = row["months_to_adapt"]
        add_cells(made, (
            row["policy"],
            *map(format_percent, (row["certainty_equivalent"], row["worst_decile"], row["regret"])),
            format_percent(row["turnover"], 0),
            "" if months is None else f"{months:z.1f}",
            format_percent(row["truth_inside"], 0),
            format_signed(row["above_nominal_bps"], 0) + _mark(row),
            *("" if end is None else format_signed(end, 0) for end in (row["low_bps"], row["high_bps"])),
        ))  # fmt: skip
    out.print(fit_table(out, made, "to", "from", "inside"))
    out.print("bps: certainty equivalent above the nominal tree's, from its 5th to its 95th percentile.")


def _show_rule(out: Console, found: Trial, *, full: bool) -> None:
    if not found.rule:
        if found.design.grid:
            out.print(f"The rule about the default wants {FEWEST} investors of strengths 0 and 1 each.")
        return
    heading(out, "The rule about the default caution; bounds in bps, over all shares")
    numbers = ("caution c", "lost at most", "helped at least")
    made = table("axis", *numbers, "passes", right=numbers, compact=True)
    for axis, default in found.default_caution.items():
        looked = {default, round(default + 0.1, 1), STATED}
        for row in found.rule:
            if row.axis == axis and (full or row.caution in looked):
                most, least = max(row.lost_at_most_bps), min(row.helped_at_least_bps)
                add_cells(
                    made, (axis, f"{row.caution:zg}", f"{most:z.1f}", f"{least:z.1f}", "yes" if row.passes else "")
                )
    out.print(made)
    out.print(f"Passes what loses {LOSS_ALLOWED_BPS:zg} bps at most and helps more than 0. The largest of each axis:")
    told = [f"{default:zg} about the {axis}" for axis, default in found.default_caution.items()]
    out.print(", ".join(told) + ".", style="bold")
