"""Reverse and model stress on the screen: what would have to happen, and what depends on which parameter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Console

from allocator.book.checks.stress import SHARE
from allocator.display.console import format_percent, table
from allocator.display.stress_screen import (
    DETAIL,
    ESSENTIAL,
    REST,
    WIDE_ENOUGH,
    ScreenBlock,
    ScreenSection,
    answer_block,
    legend_block,
    table_block,
    text_block,
)
from allocator.stress_testing.outcomes import ADVERSE, CURRENT
from allocator.stress_testing.parameter_stress import ModelStress, most_important
from allocator.stress_testing.reverse import ParameterRoot, ReverseShift, ReverseStress, ReverseStressOfPortfolio

# Reverse stress: the least shifts that make a loss expected, and the parameters that do it alone.
#
_NAMES = 3
_LEGEND = (
    "z-score: equivalent z-score, the standard deviations by which a normal mean would shift at the same relative "
    "entropy (KL); up to 1 is plausible, to 2 unlikely, to 3 very unlikely."
)
_PLAUSIBILITY = " exp(-KL): plausibility."
"""Of a column that only a wide terminal shows."""


def reverse_section(stress: ReverseStress) -> ScreenSection:
    """The proposed portfolio, then the current one where it is another."""
    current, proposed = stress.portfolios
    blocks = [*_portfolio(stress, proposed, ESSENTIAL)]
    shifts = blocks[0]
    if np.array_equal(current.portfolio.holdings, proposed.portfolio.holdings):
        blocks.append(text_block("The plan makes no trade: the current portfolio is the proposed one."))
    else:
        blocks += _portfolio(stress, current, REST)
    blocks.append(legend_block(shifts, lambda out: _LEGEND + (_PLAUSIBILITY if out.width >= WIDE_ENOUGH else "")))
    loss = format_percent(stress.loss)
    return ScreenSection(f"Reverse stress: the least shifts with an expected loss of {loss}", blocks)


def _portfolio(stress: ReverseStress, one: ReverseStressOfPortfolio, priority: int) -> Iterator[ScreenBlock]:
    other, rows = priority == REST, len(one.shifts)

    def show(out: Console, count: int) -> None:
        name = one.portfolio.name
        if name == CURRENT:
            out.print()
        expected, worst = (format_percent(-loss) for loss in (one.expected_loss, one.worst_scenario_loss))
        out.print(f"{name.capitalize()} portfolio: expected return {expected}, worst scenario {worst}.")
        _shifts(out, stress, one, one.shifts[-(rows if other else count) :])  # of both is last, and the likeliest

    if other:  # whole or not at all: a table without its title would be taken for the other portfolio's
        yield ScreenBlock(show, f"the {one.portfolio.name} portfolio", priority)
    else:
        yield ScreenBlock(show, "other shifts", priority, rows, least=1)
    yield from _roots(stress, one, priority if other else DETAIL)


def _shifts(
    out: Console, stress: ReverseStress, one: ReverseStressOfPortfolio, shifts: tuple[ReverseShift, ...]
) -> None:
    """A row a way; on a narrow terminal the rating stands before the shift."""
    wide = out.width >= WIDE_ENOUGH
    columns = ("shift of", "rating", "z-score", "exp(-KL)", "values") if wide else ("shift of", "z-score", "values")
    grid = table(*columns, right=("z-score", "exp(-KL)"))
    for shift in shifts:
        score = "" if shift.equivalent_z_score is None else f"{shift.equivalent_z_score:z.2f}"
        takes = shift.why or _values(stress, one, shift)
        if wide:
            grid.add_row(shift.way, shift.rating, score, f"{shift.plausibility:z.2f}", takes)
        else:
            grid.add_row(shift.way, score, f"{shift.rating}: {takes}")
    out.print(grid)
    if beyond := sorted({name for shift in shifts for name in shift.beyond}):
        out.print(
            f"The normal model of markets would take {', '.join(beyond)} below -100%: read that row as a direction, "
            "not as a size."
        )


def _values(stress: ReverseStress, one: ReverseStressOfPortfolio, shift: ReverseShift) -> str:
    """The changes that matter most."""
    parts = []
    if shift.market is not None and shift.market < 0:
        parts.append(f"market {format_percent(shift.market)}")
    if shift.moves.any():
        lost = shift.moves * one.portfolio.holdings
        worst = [i for i in np.argsort(lost, kind="stable")[:_NAMES] if lost[i] < 0]
        names = ", ".join(f"{stress.book.instruments[i]} {format_percent(float(shift.moves[i]), 0)}" for i in worst)
        parts.append(f"names {names}")
    rise = shift.probabilities - stress.outlook.probabilities
    if rise.max() > 5e-4:
        k = int(np.argmax(rise))
        before, after = (format_percent(float(p[k]), 0) for p in (stress.outlook.probabilities, shift.probabilities))
        parts.append(f"{stress.outlook.scenarios[k]} {before} to {after}")
    return "; ".join(parts) or "none"


def _roots(stress: ReverseStress, one: ReverseStressOfPortfolio, priority: int) -> Iterator[ScreenBlock]:
    adds = "single parameters"
    if not one.roots:
        yield text_block("No parameters are tried: this book has no [model].", adds, priority)
        return
    if doing := sorted((root for root in one.roots if root.value is not None), key=_relative):
        columns = ("single parameter, prices of today", "now", "loss at", "rating")
        rows = [(root.key.label, f"{root.base_value:zg}", f"{root.value:z.4g}", root.rating) for root in doing]
        yield table_block(columns, rows, adds, priority, numbers=("now", "loss at"), wide=("rating",))
    if none := [root for root in one.roots if root.value is None]:
        worst = max(none, key=lambda root: root.largest_loss)
        label, least = worst.key.label, f"expected return {format_percent(-worst.largest_loss)}"
        yield text_block(
            f"No {'other ' if doing else ''}single parameter has an expected loss of {format_percent(stress.loss)} at "
            f"any allowed value ({len(none)} tried, one at a time); the worst is {label}, {least}.",
            adds,
            priority,
        )


def _relative(root: ParameterRoot) -> float:
    return abs(root.change or 0.0) / max(abs(root.base_value), 0.1)


# Model stress: outcomes over draws of the parameters, which of them matter, and the plan's targets.
#
_MATTER = 6
_FAILED = 5


def model_sections(stress: ModelStress) -> Iterator[ScreenSection]:
    """What parameters do."""
    title = f"Model stress: {stress.finished:,} draws of {len(stress.doubts)} parameters"
    yield ScreenSection(title, [*_outcomes(stress), *_importance(stress), *_weights(stress)])
    if failures := stress.failures:
        rows = [(str(failure.index), failure.stage, failure.why) for failure in failures[:_FAILED]]
        blocks = [table_block(("draw", "when", "why"), rows, "draws that failed", REST, numbers=("draw",))]
        if len(failures) > _FAILED:
            more = f"And {len(failures) - _FAILED:,} more; --json has each with its parameters."
            blocks.append(text_block(more, "", REST))
        yield ScreenSection(f"{len(failures):,} draws failed", blocks)


def model_summary(stress: ModelStress) -> str:
    """How far the adverse expected return hangs on the parameters, and on which of them most."""
    frame = stress.frame()
    row = frame[frame["measure"] == ADVERSE].iloc[-1]
    summary = (
        f"The adverse expected return of the {row['portfolio']} portfolio is from {format_percent(row['q05'])} to "
        f"{format_percent(row['q95'])} in 90% of the draws"
    )
    if stress.importance is not None:
        top = most_important(stress.importance, str(row["portfolio"]), ADVERSE).iloc[0]
        summary += f"; {_labels(stress)[top['parameter']]} matters most (Sobol index {top['total']:z.2f})"
    return f"{summary}."


def _labels(stress: ModelStress) -> dict[str, str]:
    return {str(doubt.key): doubt.key.label for doubt in stress.doubts}


def _outcomes(stress: ModelStress) -> Iterator[ScreenBlock]:
    stated = any(doubt.stated for doubt in stress.doubts)
    ranges = "[stress.ranges]" if stated else "illustrative ranges (state yours in [stress.ranges])"
    rounded = f", {stress.asked:,} rounded up to a power of two" if stress.made != stress.asked else ""
    yield text_block(f"Sobol points{rounded}; {ranges}; prices follow each draw.", "the ranges", DETAIL)
    if stress.interrupted:
        yield answer_block(f"Interrupted: {stress.finished:,} of {stress.made:,} draws were finished.", "bold")
    outcomes = sorted(stress.frame().to_dict("records"), key=lambda row: row["portfolio"] == CURRENT)
    rows = [
        (
            row["portfolio"],
            row["measure"],
            *(format_percent(row[key]) for key in ("today", "q05", "q50", "q95")),
            format_percent(row["below_0"], 0),
        )
        for row in outcomes
    ]
    numbers = ("today", "5%", "median", "95%", "below 0")
    columns = ("portfolio", "measure", *numbers)
    yield table_block(columns, rows, "all outcomes", numbers=numbers, wide=("median", "below 0"))


def _importance(stress: ModelStress) -> Iterator[ScreenBlock]:
    if stress.importance is None:
        words = "Which parameters matter is not available: a draw failed, or the run was interrupted."
        yield text_block(words, "importance", ESSENTIAL)
        return
    portfolio = stress.outcomes[-1].portfolio
    own = most_important(stress.importance, portfolio, ADVERSE)
    news = stress.importance[
        (stress.importance["portfolio"] == portfolio) & stress.importance["measure"].str.startswith("news")
    ]
    largest = news.groupby("parameter")["total"].max()
    rows = [
        (
            _labels(stress)[row["parameter"]],
            f"{row['total']:z.2f}",
            f"{row['total_low']:z.2f}-{row['total_high']:z.2f}",
            f"{max(row['first'], 0.0):z.2f}",
            f"{largest[row['parameter']]:z.2f}" if len(largest) else "",
        )
        for row in own[(own.index < _MATTER) | (own["parameter"] == str(SHARE))].to_dict("records")
    ]
    numbers, title = ("total", "90% range", "first-order", "news"), "The most important parameters"
    made = table_block(
        ("parameter", *numbers), rows, "more parameters", numbers=numbers, wide=numbers[1:3], title=title, tight=True
    )
    yield made

    def legend(out: Console) -> str:
        indices = "Total and first-order" if out.width >= WIDE_ENOUGH else "Total"
        return (
            f"{indices} Sobol indices: shares of the variance of the {portfolio} portfolio's {ADVERSE}. News: the "
            "largest total index on a day that settles the question."
        )

    yield legend_block(made, legend)
    for note in stress.notes():
        yield text_block(note, "notes", REST)


def _weights(stress: ModelStress) -> Iterator[ScreenBlock]:
    redone = stress.redone
    if redone.why_not:
        yield text_block(f"{redone.why_not[0].upper()}{redone.why_not[1:]}.", "the reason", DETAIL)
        return
    if not redone.weights:
        yield text_block(f"No targets are re-optimised: 0 of {redone.asked:,} draws.", "the draws", DETAIL)
        return
    weights = sorted(stress.weights().to_dict("records"), key=lambda row: -abs(row["proposed"] - row["current"]))
    rows = [
        (
            row["instrument"],
            *(format_percent(row[key]) for key in ("current", "proposed", "q05", "q95")),
            format_percent(row["same_side"], 0),
        )
        for row in weights
    ]
    numbers, title = ("current", "proposed", "5%", "95%", "same side"), "The plan, re-optimised at the draws"
    made = table_block(
        ("instrument", *numbers), rows, "all target weights", numbers=numbers, wide=("current",), title=title
    )
    yield made
    cut = f" of {redone.asked:,} requested" if len(redone.weights) < redone.asked else ""
    yield legend_block(
        made,
        f"Target weights at {len(redone.weights):,}{cut} draws, the largest trade first. Same side: the share of draws "
        "that trade an instrument on the plan's side.",
    )
