"""Belief stress on the screen: how wrong the probabilities may be, what reverses where, and the map of both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Console

from allocator.display.console import fit_table, format_percent, heading, table
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
from allocator.stress_testing.belief_map import BeliefMap
from allocator.stress_testing.belief_stress import AxisStress, BeliefStress, OptimalityInterval, Reversal
from allocator.stress_testing.break_even import BreakEven

_SWEPT = 11
"""Points of a sweep that are shown."""
_FAILED_SHOWN = 3
_MAP_SIDE = 17
"""Points a side of a map, at most; 80 columns hold no more."""
_SWEEP_LEGEND = (
    "The optimum at each probability, today's in bold. Objective: certainty equivalent. Shortfall: by how many bps the "
    "plan's objective is below it. Adverse return: adverse expected return."
)
_BREACH_LEGEND = "Breach: there the plan breaches a limit that the optimum keeps."
_REVERSAL_LEGEND = (
    "By: difference of expected returns. Moved: probability moved to other scenarios. exp(-KL): plausibility, 1 for "
    "today's belief."
)


def belief_sections(stress: BeliefStress, *, in_short: bool = False) -> Iterator[ScreenSection]:
    """The answer first, then what it rests on; `in_short` where the answer stands above already."""
    for axis in stress.axes:
        swept = axis.sweep.axis
        title = f"How wrong may P({swept.name}) = {format_percent(swept.stated)} be?"
        last = axis is stress.axes[-1]
        preferred = _reversals(stress.reversals) if last and stress.reversals else ()
        yield ScreenSection(title, [*_answers(axis, in_short), *_break_evens(axis), *_sweep(axis), *preferred])
    if stress.failed:
        yield _failures(stress)
    if stress.interrupted:
        words = f"Interrupted: {stress.finished} of {stress.asked} beliefs are finished and shown."
        yield ScreenSection("", (text_block(words, priority=ANSWER, least=1, style="bold"),))


def _answers(axis: AxisStress, in_short: bool) -> Iterator[ScreenBlock]:
    yield text_block(_say_interval(axis.interval), "" if in_short else "the interval", REST if in_short else ANSWER)
    if axis.interval is not None and axis.interval.limit_breaches:
        broken = ", ".join(axis.interval.limit_breaches)
        yield text_block(f"Beyond it the plan breaches {broken}.", "limit breaches", DETAIL)
    if nearest := _say_nearest(axis.break_evens):
        yield text_block(nearest, "the nearest reversal", ESSENTIAL)


def _say_interval(found: OptimalityInterval | None) -> str:
    if found is None:
        return "No allocation is verified at today's probability."
    within = f"within {found.within_bps:g} bps of the optimum"
    if found.low is None or found.high is None:
        return f"The plan is {found.shortfall_bps:.1f} bps from the optimum at today's probability, not {within}."
    if found.low <= 0 and found.high >= 1:
        return f"The plan stays {within} at any probability."
    cut = ", beyond which nothing is verified" if found.cut_short else ""
    return f"The plan stays {within} from {format_percent(found.low)} to {format_percent(found.high)}{cut}."


def _say_nearest(turns: tuple[BreakEven, ...]) -> str:
    acted = [one for one in turns if one.kind in ("trade", "tilt") and one.distance is not None]
    if acted:
        nearest = min(acted, key=lambda one: abs(one.distance or 0.0))
        at = f"{format_percent(nearest.probability)} ({_points(nearest)})"
        return f"The nearest reversal of an order or tilt is at {at}: {nearest.what}."
    if any(one.kind in ("trade", "tilt") and one.unverified for one in turns):
        return "Whether an order or a tilt reverses is not known everywhere: some beliefs have no verified allocation."
    if any(one.kind == "trade" for one in turns):
        return "No order and no tilt reverses at any probability."
    return ""


def _points(one: BreakEven) -> str:
    distance = (one.distance or 0.0) * 100
    return f"{'+' if distance >= 0 else '-'}{abs(distance):.1f} points"


def _break_evens(axis: AxisStress) -> Iterator[ScreenBlock]:
    found = sorted(
        (one for one in axis.break_evens if one.distance is not None), key=lambda one: abs(one.distance or 0.0)
    )
    if found:
        yield ScreenBlock(lambda out, rows: _break_even_table(out, found[:rows]), "all reversals", rows=len(found))
    still = [one for one in axis.break_evens if one.distance is None and one.kind in ("trade", "tilt")]
    if never := [one.what for one in still if not one.unverified]:
        yield text_block("Never, from 0 to 100%: " + "; ".join(never) + ".", "what never reverses", REST)
    if unknown := [
        f"{one.what} ({format_percent(one.low)} to {format_percent(one.high)})" for one in still if one.unverified
    ]:
        words = "Not known, as no allocation is verified there: " + "; ".join(unknown) + "."
        yield text_block(words, "what is not known", REST)
    if any(not one.exact for one in found):
        yield text_block("~: accurate to 0.01 points; the others are exact.", "legend", LEGEND, style="dim")


def _break_even_table(out: Console, found: list[BreakEven]) -> None:
    made = table("reversal", "of", "at", "points from now", right=("at", "points from now"))
    for one in found:
        at = format_percent(one.probability, 2 if one.exact else 1)
        made.add_row(one.what, one.kind, ("" if one.exact else "~") + at, _points(one).replace(" points", ""))
    out.print(made)


def _sweep(axis: AxisStress) -> Iterator[ScreenBlock]:
    sweep = axis.sweep
    if not len(sweep.probabilities):
        return
    stated = int(np.argmin(np.abs(sweep.probabilities - sweep.axis.stated)))
    every = np.linspace(0, len(sweep.probabilities) - 1, min(_SWEPT, len(sweep.probabilities)))
    shown = sorted({*map(int, every), stated})

    def show(out: Console, rows: int) -> None:
        if rows < len(shown):  # evenly over the axis, and today's among them
            kept = [shown[int(i)] for i in np.linspace(0, len(shown) - 1, rows)]
            _sweep_table(out, axis, sorted({*kept[: rows - 1], stated}), stated)
        else:
            _sweep_table(out, axis, shown, stated)

    yield ScreenBlock(show, "optima along the axis", DETAIL, len(shown))
    broken = any(sweep.limit_breach[m] for m in shown)
    yield text_block(f"{_SWEEP_LEGEND} {_BREACH_LEGEND}" if broken else _SWEEP_LEGEND, "legend", LEGEND, style="dim")


def _sweep_table(out: Console, axis: AxisStress, shown: list[int], stated: int) -> None:
    sweep = axis.sweep
    columns = ("P", "objective", "shortfall", "adverse return", "efficiency", "capital", "cash")
    made = table(*columns, right=columns)
    for m in shown:
        shares = (format_percent(float(sweep.buckets[m, k])) for k in (0, 1, -1))
        made.add_row(
            format_percent(float(sweep.probabilities[m])),
            format_percent(float(sweep.objective[m]), 2),
            "breach" if sweep.limit_breach[m] else f"{sweep.shortfall[m] * 1e4:.1f}",
            format_percent(float(sweep.adverse_expected_return[m])),
            *shares,
            style="bold" if m == stated else None,
        )
    out.print(fit_table(out, made, "adverse return", "capital", "efficiency"))


def _reversals(found: tuple[Reversal, ...]) -> Iterator[ScreenBlock]:
    yield ScreenBlock(lambda out, rows: _reversal_table(out, found[:rows]), "preferences", DETAIL, len(found))
    yield text_block(_REVERSAL_LEGEND, "legend", LEGEND, style="dim")


def _reversal_table(out: Console, found: tuple[Reversal, ...]) -> None:
    heading(out, "The smallest change of belief that reverses a preference")
    made = table("preferred", "to", "by", "moved", "exp(-KL)", "rating", right=("by", "moved", "exp(-KL)"))
    for one in found:
        moved, likely = one.shifts["total_variation"], one.plausibility
        made.add_row(
            one.first,
            one.second,
            format_percent(one.advantage, 2),
            "never" if moved is None else format_percent(moved.distance),
            "" if likely is None else f"{likely:.3f}",
            one.rating,
        )
    out.print(made)


def _failures(stress: BeliefStress) -> ScreenSection:
    lines = [
        ", ".join(f"{name} {format_percent(p)}" for name, p in one.probabilities.items()) + f": {one.reason}"
        for one in stress.failed[:_FAILED_SHOWN]
    ]
    if len(stress.failed) > _FAILED_SHOWN:
        lines.append(f"And {len(stress.failed) - _FAILED_SHOWN} more; --json has them all.")
    blocks = [text_block(line, "beliefs without an allocation", REST) for line in lines]
    return ScreenSection(f"{len(stress.failed)} beliefs have no verified allocation", blocks)


def belief_map_section(found: BeliefMap) -> ScreenSection:
    """How much of the account differs from today's optimum, over two probabilities."""
    first, second = found.lattice.names
    at = ", ".join(
        f"P({name}) = {format_percent(p)}" for name, p in zip(found.lattice.names, found.lattice.stated, strict=True)
    )
    levels = len(_spread(found, 0))
    blocks = [
        text_block(f"P({first}) down, P({second}) right; today {at}, where 0% differs.", "axes"),
        ScreenBlock(lambda out, rows: _map(out, found, rows), "all rows of the map", ESSENTIAL, levels),
    ]
    if found.failed:
        words = f"·: {len(found.failed)} points have no verified allocation; {found.failed[0].reason}"
        blocks.append(text_block(words, "points that failed", DETAIL))
    if found.interrupted:
        words = f"Interrupted: {found.finished} of {found.asked} points are finished and shown."
        blocks.append(text_block(words, priority=ANSWER, least=1, style="bold"))
    return ScreenSection("Map: % of the account that differs from today's optimum", blocks)


def _spread(found: BeliefMap, axis: int, most: int = _MAP_SIDE) -> list[float]:
    """The probabilities of one side that are shown, at most so many, evenly apart."""
    level = np.unique(np.round(found.lattice.at[:, axis], 12))
    return [float(at) for at in level[:: max(1, -(-(len(level) - 1) // (most - 1)))]]


def _map(out: Console, found: BeliefMap, rows: int) -> None:
    room = max(2, (out.width - 6) // 4)
    down, right = _spread(found, 0), _spread(found, 1, min(_MAP_SIDE, room))
    place = {(round(float(a), 12), round(float(b), 12)): m for m, (a, b) in enumerate(found.lattice.at)}
    out.print(" " * 6 + "".join(f"{b * 100:4.0f}" for b in right), style="dim")
    for i in sorted({int(i) for i in np.linspace(0, len(down) - 1, rows)}):
        cells = "".join(f"{_cell(found, place.get((down[i], b))):>4}" for b in right)
        out.print(f"{format_percent(down[i], 0):>5} {cells}")


def _cell(found: BeliefMap, m: int | None) -> str:
    if m is None:
        return ""
    return "·" if np.isnan(found.apart[m]) else f"{found.apart[m] * 100:.0f}"
