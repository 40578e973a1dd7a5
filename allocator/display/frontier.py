"""The frontier at 80 columns: the curves at a few of their points, the ladder, and the optimum of each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.console import Console

from allocator.display.console import (
    add_cells,
    console,
    fit_table,
    format_percent,
    format_signed_bps,
    heading,
    scenario_letters,
    table,
    title_of,
)
from allocator.stress_testing.frontier import AXES, OF_RISK, Frontier, FrontierCurve, FrontierGap, FrontierPoint

T = TypeVar("T")
_OF_RISK, _OF_CAUTION, _RUNGS, _SCENARIOS = 7, 5, 6, 5
"""Rows of the first screen."""


def show_frontier(found: Frontier, *, full: bool) -> None:
    """Print it: the curve of risk, that of all caution, the ladder and the scenarios; with `full` every row of all."""
    out = console()
    out.print(title_of(found.book), style="bold")
    of_risk = [curve for curve in found.curves if curve.axis in OF_RISK]
    others = found.curves[len(of_risk) :]
    for curve in found.curves if full else [*of_risk, *others[-1:]]:
        _show_curve(out, found, curve, full=full)
    _show_ladder(out, found, full=full)
    if found.optima:
        _show_scenarios(out, found, full=full)
    if full:
        for gap in found.gaps:
            out.print(f"No plan at {_span(gap)}: {gap.reason}.")
    elif found.gaps:
        out.print(f"No plan at {', nor at '.join(map(_span, found.gaps))}: --full says why.")


def _span(gap: FrontierGap) -> str:
    to = f" to {gap.high:z.3g}" if gap.high > gap.low else ""
    return f"{AXES[gap.axis]} {gap.low:z.3g}{to}"


def _some(rows: Sequence[T], count: int, *, full: bool) -> list[T]:
    """The first, the last, and what lies evenly between them."""
    if full or len(rows) <= count:
        return list(rows)
    return [rows[round(at * (len(rows) - 1) / (count - 1))] for at in range(count)]


def _show_curve(out: Console, found: Frontier, curve: FrontierCurve, *, full: bool) -> None:
    of_risk = curve.axis in OF_RISK
    heading(out, "Return against risk" if of_risk else "Return against caution, and what it costs and protects")
    bps = () if of_risk else ("cost", "protection")
    numbers = ("expected", "adverse", "volatility", "worst 5%", *bps, "turnover", "distance")
    made = table(AXES[curve.axis], *numbers, right=numbers, compact=True)
    for one in _some(curve.points, _OF_RISK if of_risk else _OF_CAUTION, full=full):
        add_cells(made, (f"{one.at:z.3g}", *_cells(one, of_risk=of_risk)))
    add_cells(made, ("the plan", *_cells(found.plan, of_risk=of_risk)), "bold")
    if of_risk:
        add_cells(made, ("held today", *_cells(found.today, of_risk=True)))
    made = fit_table(out, made, "distance", "worst 5%", "turnover")
    out.print(made)
    if not of_risk:
        out.print("Cost: bps lost if the belief is right; protection: saved under the whole set.")


def _cells(one: FrontierPoint, *, of_risk: bool) -> list[str]:
    figures = one.figures
    bps = [] if of_risk else [f"{one.cost_bps:z.1f}", f"{one.protection_bps:z.1f}"]
    shown = (figures.expected_return, figures.adverse_expected_return, figures.volatility, -figures.expected_shortfall)
    return [*map(format_percent, shown), *bps, format_percent(one.turnover), format_percent(one.distance)]


def _show_ladder(out: Console, found: Frontier, *, full: bool) -> None:
    heading(out, "The ladder: what is gained over no trade, by what may be traded")
    letters, whole = scenario_letters(len(found.optima)), found.ladder[-1].gain
    shown = letters[:_SCENARIOS]
    numbers = ("gain, bps", "kept", *shown)
    made = table("turnover", *numbers, right=numbers, compact=True)
    for rung in _some(found.ladder, _RUNGS, full=full):
        kept = "" if whole <= 0 else format_percent(rung.gain / whole, 0)
        certain = ["" if gain is None else format_signed_bps(gain, 0) for gain in rung.if_certain]
        at = format_percent(rung.turnover) + ("" if rung.keeps_rules else " *")
        add_cells(made, (at, format_signed_bps(rung.gain), kept, *certain[: len(shown)]))
    out.print(made)
    if found.optima:
        out.print(f"{shown[0]} to {shown[-1]}: bps that the best plan for a scenario gains, were it certain.")
    if not all(rung.keeps_rules for rung in found.ladder):
        out.print("* breaks a rule, so that keeping it may cost more than is gained.")


def _show_scenarios(out: Console, found: Frontier, *, full: bool) -> None:
    heading(out, "The best plan for each scenario: how far from it, and how much below it there")
    numbers = ("belief", "held today", "below, bps", "the plan", "below, bps ")
    made = table("", "scenario", *numbers, right=numbers, compact=True)
    letters = scenario_letters(len(found.optima))
    for letter, one in list(zip(letters, found.optima, strict=True))[: None if full else _SCENARIOS]:
        cells = [
            cell
            for distance, below in (
                (one.today_distance, one.today_shortfall), (one.plan_distance, one.plan_shortfall),
            )
            for cell in (
                "" if distance is None else format_percent(distance), "" if below is None else f"{below * 1e4:z.0f}"
            )
        ]  # fmt: skip
        add_cells(made, (letter, one.scenario, format_percent(one.probability), *cells))
    out.print(fit_table(out, made, "belief"))
    if any(one.objective is None for one in found.optima):
        out.print("Without figures: no plan keeps the rules in that scenario.")
