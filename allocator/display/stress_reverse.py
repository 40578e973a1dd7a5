"""Reverse stress on the screen: the least shifts that make a loss expected, and the parameters that do it alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Console

from allocator.display.console import format_percent, table
from allocator.display.stress_screen import (
    DETAIL,
    ESSENTIAL,
    LEGEND,
    REST,
    ScreenBlock,
    ScreenSection,
    text_block,
)
from allocator.stress_testing.outcomes import CURRENT
from allocator.stress_testing.reverse import ReverseShift, ReverseStress, ReverseStressOfPortfolio
from allocator.stress_testing.reverse_parameters import ParameterRoot

_WIDE_ENOUGH = 72
_NAMES = 3
_LEGEND = (
    "z-score: equivalent z-score, the standard deviations by which a normal mean would shift at the same relative "
    "entropy (KL); up to 1 is plausible, to 2 unlikely, to 3 very unlikely. exp(-KL): plausibility."
)


def reverse_section(found: ReverseStress) -> ScreenSection:
    """The proposed portfolio, then the current one where it is another."""
    last, *others = reversed(found.portfolios)
    blocks = [*_portfolio(found, last, ESSENTIAL)]
    if any(np.array_equal(one.portfolio.holdings, last.portfolio.holdings) for one in others):
        blocks.append(text_block("The plan makes no trade: the current portfolio is the proposed one."))
    else:
        for one in others:
            blocks += _portfolio(found, one, REST)
    blocks.append(text_block(_LEGEND, "legend", LEGEND))
    loss = format_percent(found.loss)
    return ScreenSection(f"Reverse stress: the least shifts with an expected loss of {loss}", blocks)


def _portfolio(found: ReverseStress, one: ReverseStressOfPortfolio, priority: int) -> Iterator[ScreenBlock]:
    other = priority == REST
    adds = f"the {one.portfolio.name} portfolio" if other else "other shifts"

    def show(out: Console, rows: int) -> None:
        _returns(out, one)
        _shifts(out, found, one, rows)

    if other:  # whole or not at all: a table without its title would be taken for the other portfolio's
        yield ScreenBlock(lambda out, _: show(out, len(one.shifts)), adds, priority)
    else:
        yield ScreenBlock(show, adds, priority, len(one.shifts), least=1)
    yield from _roots(found, one, priority if other else DETAIL)


def _returns(out: Console, one: ReverseStressOfPortfolio) -> None:
    name = one.portfolio.name
    if name == CURRENT:
        out.print()
    expected, worst = (format_percent(-loss) for loss in (one.expected_loss, one.worst_scenario_loss))
    out.print(f"{name.capitalize()} portfolio: expected return {expected}, worst scenario {worst}.")


def _shifts(out: Console, found: ReverseStress, one: ReverseStressOfPortfolio, rows: int) -> None:
    """A row a way; on a narrow terminal the rating stands before the shift."""
    wide = out.width >= _WIDE_ENOUGH
    columns = ("shift of", "rating", "z-score", "exp(-KL)", "values") if wide else ("shift of", "z-score", "values")
    made = table(*columns, right=("z-score", "exp(-KL)"))
    for shift in one.shifts[-rows:]:  # of both comes last, and is the likeliest
        score = "" if shift.equivalent_z_score is None else f"{shift.equivalent_z_score:.2f}"
        takes = shift.why or _values(found, one, shift)
        if wide:
            made.add_row(shift.way, shift.rating, score, f"{shift.plausibility:.2f}", takes)
        else:
            made.add_row(shift.way, score, f"{shift.rating}: {takes}")
    out.print(made)
    if beyond := sorted({name for shift in one.shifts[-rows:] for name in shift.beyond}):
        out.print(
            f"The normal model of markets would take {', '.join(beyond)} below -100%: read that row as a direction, "
            "not as a size."
        )


def _values(found: ReverseStress, one: ReverseStressOfPortfolio, shift: ReverseShift) -> str:
    """The changes that matter most."""
    parts = []
    if shift.market is not None and shift.market < 0:
        parts.append(f"market {format_percent(shift.market)}")
    if shift.moves.any():
        lost = shift.moves * one.portfolio.holdings
        worst = [i for i in np.argsort(lost, kind="stable")[:_NAMES] if lost[i] < 0]
        names = ", ".join(f"{found.book.instruments[i]} {format_percent(float(shift.moves[i]), 0)}" for i in worst)
        parts.append(f"names {names}")
    rise = shift.probabilities - found.outlook.probabilities
    if rise.max() > 5e-4:
        k = int(np.argmax(rise))
        before, after = (format_percent(float(p[k]), 0) for p in (found.outlook.probabilities, shift.probabilities))
        parts.append(f"{found.outlook.scenarios[k]} {before} to {after}")
    return "; ".join(parts) or "none"


def _roots(found: ReverseStress, one: ReverseStressOfPortfolio, priority: int) -> Iterator[ScreenBlock]:
    adds = "single parameters"
    if not one.roots:
        yield text_block("No parameters are tried: this book has no [model].", adds, priority)
        return
    doing = sorted((root for root in one.roots if root.value is not None), key=_relative)
    if doing:
        yield ScreenBlock(lambda out, rows: _roots_table(out, doing[:rows]), adds, priority, len(doing))
    none = [root for root in one.roots if root.value is None]
    if none:
        worst = max(none, key=lambda root: root.largest_loss)
        label, least = parameter_label(worst.key), f"expected return {format_percent(-worst.largest_loss)}"
        yield text_block(
            f"No {'other ' if doing else ''}single parameter has an expected loss of {format_percent(found.loss)} at "
            f"any allowed value ({len(none)} tried, one at a time); the worst is {label}, {least}.",
            adds,
            priority,
        )


def _roots_table(out: Console, roots: list[ParameterRoot]) -> None:
    wide = out.width >= _WIDE_ENOUGH
    rating = ("rating",) if wide else ()
    made = table("single parameter, prices of today", "now", "loss at", *rating, right=("now", "loss at"))
    for root in roots:
        shown = (root.rating,) if wide else ()
        made.add_row(parameter_label(root.key), f"{root.base_value:g}", f"{root.value:.4g}", *shown)
    out.print(made)


def _relative(root: ParameterRoot) -> float:
    return abs(root.change or 0.0) / max(abs(root.base_value), 0.1)


def parameter_label(key: str) -> str:
    """A parameter's key as people say it: its name, and of which scenario."""
    room, _, name = key.partition(".")
    if room != "scenarios":
        return name
    scenario, _, name = name.rpartition(".")
    return f"{name} ({scenario})"
