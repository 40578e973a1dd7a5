"""Model stress on the screen: outcomes over draws of the parameters, which of them matter, and the plan's targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console

from allocator.display.console import format_percent, heading, table
from allocator.display.stress_reverse import parameter_label
from allocator.display.stress_screen import (
    ANSWER,
    DETAIL,
    ESSENTIAL,
    LEGEND,
    REST,
    ScreenBlock,
    ScreenSection,
    text_block,
)
from allocator.stress_testing.outcomes import ADVERSE, CURRENT
from allocator.stress_testing.parameter_draws import SHARE
from allocator.stress_testing.parameter_stress import ModelStress

_NARROW = 72
_MATTER = 6
_FAILED = 5


def model_sections(found: ModelStress) -> Iterator[ScreenSection]:
    """What parameters do."""
    title = f"Model stress: {found.finished:,} draws of {len(found.doubts)} parameters"
    yield ScreenSection(title, [*_outcomes(found), *_importance(found), *_weights(found)])
    if found.failures:
        yield _failures(found)


def model_summary(found: ModelStress) -> Iterator[str]:
    """How far the adverse expected return hangs on the parameters, and on which of them most."""
    frame = found.frame()
    row = frame[frame["measure"] == ADVERSE].iloc[-1]
    said = (
        f"The adverse expected return of the {row['portfolio']} portfolio is from {format_percent(row['q05'])} to "
        f"{format_percent(row['q95'])} in 90% of the draws"
    )
    if found.importance is not None:
        top = found.importance.of(str(row["portfolio"]), ADVERSE).iloc[0]
        said += f"; {parameter_label(top['parameter'])} matters most (Sobol index {top['total']:.2f})"
    yield f"{said}."


def _outcomes(found: ModelStress) -> Iterator[ScreenBlock]:
    stated = any(doubt.stated for doubt in found.doubts)
    ranges = "[stress.ranges]" if stated else "illustrative ranges (state yours in [stress.ranges])"
    rounded = f", {found.asked:,} rounded up to a power of two" if found.made != found.asked else ""
    prices = "prices follow each draw" if found.prices == "follow" else "prices stay at today's"
    method = found.method.replace("_", " ").capitalize()
    yield text_block(f"{method} points{rounded}; {ranges}; {prices}.", "the ranges", DETAIL)
    if found.interrupted:
        words = f"Interrupted: {found.finished:,} of {found.made:,} draws were finished."
        yield text_block(words, priority=ANSWER, least=1, style="bold")
    rows = sorted(found.frame().to_dict("records"), key=lambda row: row["portfolio"] == CURRENT)
    yield ScreenBlock(lambda out, count: _outcome_table(out, rows[:count]), "all outcomes", ESSENTIAL, len(rows))


def _outcome_table(out: Console, rows: list[dict[Any, Any]]) -> None:
    wide = out.width >= _NARROW
    keys = ("today", "q05", "q50", "q95") if wide else ("today", "q05", "q95")
    numbers = ("today", "5%", "median", "95%", "below 0") if wide else ("today", "5%", "95%")
    made = table("portfolio", "measure", *numbers, right=numbers)
    for row in rows:
        shown = [*(format_percent(row[key]) for key in keys), *([format_percent(row["below_0"], 0)] if wide else [])]
        made.add_row(row["portfolio"], row["measure"], *shown)
    out.print(made)


def _importance(found: ModelStress) -> Iterator[ScreenBlock]:
    if found.importance is None:
        words = "Which parameters matter is not available: a draw failed, or the run was interrupted."
        yield text_block(words, "importance", ESSENTIAL)
        return
    portfolio = found.outcomes[-1].portfolio
    own = found.importance.of(portfolio, ADVERSE)
    shown = own[(own.index < _MATTER) | (own["parameter"] == SHARE)].to_dict("records")
    yield ScreenBlock(lambda out, rows: _importance_table(out, found, shown[:rows]), "more parameters", rows=len(shown))
    yield text_block(
        f"Total and first-order Sobol indices: shares of the variance of the {portfolio} portfolio's {ADVERSE}. News: "
        "the largest total index on a day that settles the question.",
        "legend",
        LEGEND,
    )
    for note in found.share_notes():
        yield text_block(note, "notes", REST)


def _importance_table(out: Console, found: ModelStress, rows: list[dict[Any, Any]]) -> None:
    assert found.importance is not None
    portfolio = found.outcomes[-1].portfolio
    news = [one for one in found.outcomes if one.portfolio == portfolio and one.measure.startswith("news")]
    totals = [found.importance.of(portfolio, one.measure).set_index("parameter")["total"] for one in news]
    wide = out.width >= _NARROW
    heading(out, "The most important parameters")
    numbers = ("total", "90% range", "first-order", "news") if wide else ("total", "news")
    made = table("parameter", *numbers, right=numbers)
    made.padding = (0, 1, 0, 0)
    for row in rows:
        on_news = max((float(total[row["parameter"]]) for total in totals), default=None)
        last = "" if on_news is None else f"{on_news:.2f}"
        middle = (f"{row['total_low']:.2f}-{row['total_high']:.2f}", f"{max(row['first'], 0.0):.2f}") if wide else ()
        made.add_row(parameter_label(row["parameter"]), f"{row['total']:.2f}", *middle, last)
    out.print(made)


def _weights(found: ModelStress) -> Iterator[ScreenBlock]:
    if found.why_not_redone:
        yield text_block(f"{found.why_not_redone[0].upper()}{found.why_not_redone[1:]}.", "the reason", DETAIL)
        return
    done = len(found.redone.weights)
    if not done:
        yield text_block(f"No targets are re-optimised: 0 of {found.to_redo:,} draws.", "the draws", DETAIL)
        return
    rows = found.weights().to_dict("records")
    rows.sort(key=lambda row: -abs(row["proposed"] - row["current"]))
    yield ScreenBlock(lambda out, count: _weight_table(out, rows[:count]), "all target weights", ESSENTIAL, len(rows))
    cut = f" of {found.to_redo:,} requested" if done < found.to_redo else ""
    yield text_block(
        f"Target weights at {done:,}{cut} draws, the largest trade first. Same side: the share of draws that trade an "
        "instrument on the plan's side.",
        "legend",
        LEGEND,
    )


def _weight_table(out: Console, rows: list[dict[Any, Any]]) -> None:
    wide = out.width >= _NARROW
    keys = ("current", "proposed", "q05", "q95") if wide else ("proposed", "q05", "q95")
    numbers = (*(key for key in keys if not key.startswith("q")), "5%", "95%", "same side")
    heading(out, "The plan, re-optimised at the draws")
    made = table("instrument", *numbers, right=numbers)
    for row in rows:
        made.add_row(
            row["instrument"], *(format_percent(row[key]) for key in keys), format_percent(row["same_side"], 0)
        )
    out.print(made)


def _failures(found: ModelStress) -> ScreenSection:
    shown = found.failures[:_FAILED]

    def show(out: Console, rows: int) -> None:
        made = table("draw", "when", "why", right=("draw",))
        for failure in shown[:rows]:
            made.add_row(str(failure.index), failure.stage, failure.why)
        out.print(made)

    blocks = [ScreenBlock(show, "draws that failed", REST, len(shown))]
    if len(found.failures) > _FAILED:
        more = f"And {len(found.failures) - _FAILED:,} more; --json has each with its parameters."
        blocks.append(text_block(more, "", REST))
    return ScreenSection(f"{len(found.failures):,} draws failed", blocks)
