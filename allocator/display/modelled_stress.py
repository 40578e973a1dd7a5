"""How model stress looks: what parameters make of outcomes, which of them matters, and what they make of the plan."""

from __future__ import annotations

from rich.console import Console

from allocator.display.console import console, heading, percents, table
from allocator.display.reversed_stress import parameter_name
from allocator.stress_testing.parameter_draws import SHARE
from allocator.stress_testing.parameter_stress import ModelStress

_NARROW = 72
_MATTER = 6
_FAILED = 5
_MEASURE = "worst-case return"


def show_model_stress(found: ModelStress) -> None:
    """Print what parameters do."""
    out = console()
    stated = any(doubt.stated for doubt in found.doubts)
    ranges = "[stress.ranges]" if stated else "illustrative ranges; state yours in [stress.ranges]"
    heading(out, f"Model stress: {found.finished:,} draws of {len(found.doubts)} parameters")
    rounded = f", {found.asked:,} rounded up to a power of two" if found.made != found.asked else ""
    prices = "the market knows a parameter as we do" if found.prices == "follow" else "prices stay those of today"
    out.print(f"{found.method.replace('_', ' ').capitalize()} points{rounded}; {ranges}; {prices}.")
    if found.interrupted:
        out.print(f"Interrupted: {found.finished:,} of {found.made:,} draws were finished.", style="bold")
    _show_outcomes(out, found)
    _show_importance(out, found)
    _show_plan(out, found)
    _show_failures(out, found)


def _show_outcomes(out: Console, found: ModelStress) -> None:
    wide = out.width >= _NARROW
    numbers = ("today", "5%", "median", "95%", "below 0") if wide else ("today", "5%", "95%")
    made = table("portfolio", "measure", *numbers, right=numbers)
    for row in found.frame().to_dict("records"):
        shown = [percents(row["today"]), percents(row["q05"]), percents(row["q50"]), percents(row["q95"])]
        shown = [*shown, percents(row["below_0"], 0)] if wide else [shown[0], shown[1], shown[3]]
        made.add_row(row["portfolio"], row["measure"], *shown)
    out.print(made)


def _show_importance(out: Console, found: ModelStress) -> None:
    heading(out, "Which parameter matters")
    if found.importance is None:
        out.print("Not told: a draw failed, or it was interrupted.")
        return
    portfolio = found.outcomes[-1].portfolio
    own = found.importance.of(portfolio, _MEASURE)
    news = [one for one in found.outcomes if one.portfolio == portfolio and one.measure.startswith("news")]
    jumps = {one.measure: found.importance.of(portfolio, one.measure).set_index("parameter")["total"] for one in news}
    shown = own[(own.index < _MATTER) | (own["parameter"] == SHARE)]
    wide = out.width >= _NARROW
    numbers = ("total", "90% range", "alone", "news") if wide else ("total", "news")
    made = table("parameter", *numbers, right=numbers)
    for row in shown.to_dict("records"):
        on_news = max((float(totals[row["parameter"]]) for totals in jumps.values()), default=None)
        last = "" if on_news is None else f"{on_news:.2f}"
        middle = (f"{row['total_low']:.2f}-{row['total_high']:.2f}", f"{max(row['first'], 0.0):.2f}") if wide else ()
        made.add_row(parameter_name(row["parameter"]), f"{row['total']:.2f}", *middle, last)
    out.print(made)
    out.print(
        f"Shares of the variance of the {portfolio}'s {_MEASURE} that hang on a parameter, in total and alone; news: "
        "the largest such share on a day that settles the question."
    )
    for note in found.share_notes():
        out.print(note)


def _show_plan(out: Console, found: ModelStress) -> None:
    heading(out, "The plan, optimised again")
    if found.why_not_redone:
        out.print(f"{found.why_not_redone[0].upper()}{found.why_not_redone[1:]}.")
        return
    done = len(found.redone.weights)
    cut = f" of {found.to_redo:,} asked" if done < found.to_redo else ""
    out.print(f"Target weights at {done:,}{cut} draws; same side: how often a name is traded as the targets trade it.")
    if not done:
        return
    wide = out.width >= _NARROW
    numbers = ("now", "planned", "5%", "95%", "same side") if wide else ("planned", "5%", "95%", "same side")
    made = table("name", *numbers, right=numbers)
    for row in found.weights().to_dict("records"):
        now = (percents(row["before"]),) if wide else ()
        shown = (*now, *(percents(row[key]) for key in ("planned", "q05", "q95")), percents(row["same_side"], 0))
        made.add_row(row["instrument"], *shown)
    out.print(made)


def _show_failures(out: Console, found: ModelStress) -> None:
    if not found.failures:
        return
    heading(out, f"{len(found.failures):,} draws failed")
    made = table("draw", "when", "why", right=("draw",))
    for failure in found.failures[:_FAILED]:
        made.add_row(str(failure.index), failure.stage, failure.why)
    out.print(made)
    if len(found.failures) > _FAILED:
        out.print(f"And {len(found.failures) - _FAILED:,} more; each with its parameters in --json.")
