"""Belief stress on the screen: how wrong the probabilities may be, what reverses where, and the map of both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from allocator.display.console import describe_columns, fit_table, format_percent, format_signed, table
from allocator.display.stress_screen import (
    ANSWER,
    DETAIL,
    ESSENTIAL,
    REST,
    ScreenBlock,
    ScreenSection,
    answer_block,
    legend_block,
    table_block,
    text_block,
)
from allocator.stress_testing.belief_map import BeliefMap
from allocator.stress_testing.belief_stress import AxisStress, BeliefStress, Reversal
from allocator.stress_testing.belief_sweep import bucket_weights
from allocator.stress_testing.break_even import BreakEven, OptimalityInterval

_SWEPT = 11
"""Points of a sweep that are shown."""
_FAILED_SHOWN = 3
_MAP_SIDE = 17
"""Points a side of a map, at most; 80 columns hold no more."""
_SWEEP_LEGEND = {
    "P": "The optimum at each probability, today's in bold.",
    "objective": "Objective: certainty equivalent.",
    "shortfall": "Shortfall: by how many bps the plan's objective is below it.",
    "adverse return": "Adverse return: adverse expected return.",
}
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
        yield ScreenSection("", (answer_block(words, "bold"),))


def _answers(axis: AxisStress, in_short: bool) -> Iterator[ScreenBlock]:
    yield text_block(_say_interval(axis.interval), "" if in_short else "the interval", REST if in_short else ANSWER)
    if axis.interval is not None and axis.interval.limit_breaches:
        broken = ", ".join(axis.interval.limit_breaches)
        yield text_block(f"Beyond it the plan breaches {broken}.", "limit breaches", DETAIL)
    if nearest := _say_nearest(axis.break_evens):
        yield text_block(nearest, "the nearest reversal", ESSENTIAL)


def _say_interval(interval: OptimalityInterval | None) -> str:
    if interval is None:
        return "No allocation is verified at today's probability."
    within = f"within {interval.within_bps:zg} bps of the optimum"
    if interval.low is None or interval.high is None:
        return f"The plan is {interval.shortfall_bps:z.1f} bps from the optimum at today's probability, not {within}."
    if interval.low <= 0 and interval.high >= 1:
        return f"The plan stays {within} at any probability."
    cut = ", beyond which nothing is verified" if interval.cut_short else ""
    return f"The plan stays {within} from {format_percent(interval.low)} to {format_percent(interval.high)}{cut}."


def _say_nearest(turns: tuple[BreakEven, ...]) -> str:
    acts = [turn for turn in turns if turn.kind in ("trade", "tilt")]
    if reached := [turn for turn in acts if turn.distance is not None]:
        nearest = min(reached, key=_how_far)
        at = f"{format_percent(nearest.probability)} ({format_signed((nearest.distance or 0.0) * 100)} points)"
        return f"The nearest reversal of an order or tilt is at {at}: {nearest.what}."
    if any(turn.unverified for turn in acts):
        return "Whether an order or a tilt reverses is not known everywhere: some beliefs have no verified allocation."
    return "No order and no tilt reverses at any probability." if any(turn.kind == "trade" for turn in acts) else ""


def _how_far(turn: BreakEven) -> float:
    return abs(turn.distance or 0.0)


def _break_evens(axis: AxisStress) -> Iterator[ScreenBlock]:
    if turns := sorted((turn for turn in axis.break_evens if turn.distance is not None), key=_how_far):
        columns, numbers = ("reversal", "of", "at", "points from now"), ("at", "points from now")
        made = table_block(columns, [_break_even_row(turn) for turn in turns], "all reversals", numbers=numbers)
        yield made
    still = [turn for turn in axis.break_evens if turn.distance is None and turn.kind in ("trade", "tilt")]
    if never := [turn.what for turn in still if not turn.unverified]:
        yield text_block("Never, from 0 to 100%: " + "; ".join(never) + ".", "what never reverses", REST)
    if unknown := [
        f"{turn.what} ({format_percent(turn.low)} to {format_percent(turn.high)})" for turn in still if turn.unverified
    ]:
        words = "Not known, as no allocation is verified there: " + "; ".join(unknown) + "."
        yield text_block(words, "what is not known", REST)
    if any(not turn.exact for turn in turns):
        yield legend_block(made, "~: accurate to 0.01 points; the others are exact.", "dim")


def _break_even_row(turn: BreakEven) -> tuple[str, ...]:
    at = format_percent(turn.probability, 2) if turn.exact else f"~{format_percent(turn.probability)}"
    return (turn.what, turn.kind, at, format_signed((turn.distance or 0.0) * 100))


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
            out.print(_sweep_table(out, axis, sorted({*kept[: rows - 1], stated}), stated))
        else:
            out.print(_sweep_table(out, axis, shown, stated))

    said = _SWEEP_LEGEND
    if any(sweep.limit_breach[m] for m in shown):
        said = said | {"shortfall": f"{said['shortfall']} {_BREACH_LEGEND}"}
    yield (made := ScreenBlock(show, "optima along the axis", DETAIL, len(shown)))
    yield legend_block(made, lambda out: describe_columns(_sweep_table(out, axis, shown, stated), said), "dim")


def _sweep_table(out: Console, axis: AxisStress, shown: list[int], stated: int) -> Table:
    sweep = axis.sweep
    pair, buckets = sweep.book.settings.buckets.shown, bucket_weights(sweep.book, sweep.weights)
    figures = ("P", "objective", "shortfall", "adverse return")
    in_short = [name.partition("_")[0] for name in pair]
    if len({*figures, *in_short, "cash"}) < len(figures) + 3:  # a header would be there twice
        in_short = [f"in {name.replace('_', ' ')}" for name in pair]
    columns = (*figures, *in_short, "cash")
    grid = table(*columns, right=columns)
    for m in shown:
        shares = (format_percent(float(buckets[name][m])) for name in (*pair, "cash"))
        grid.add_row(
            format_percent(float(sweep.probabilities[m])),
            format_percent(float(sweep.objective[m]), 2),
            "breach" if sweep.limit_breach[m] else f"{sweep.shortfall[m] * 1e4:z.1f}",
            format_percent(float(sweep.adverse_expected_return[m])),
            *shares,
            style="bold" if m == stated else None,
        )
    return fit_table(out, grid, "adverse return", *reversed(in_short))


def _reversals(reversals: tuple[Reversal, ...]) -> Iterator[ScreenBlock]:
    columns, numbers = ("preferred", "to", "by", "moved", "exp(-KL)", "rating"), ("by", "moved", "exp(-KL)")
    rows = []
    for one in reversals:
        shift, likely = one.shifts["total_variation"], one.plausibility
        moved = "never" if shift is None else format_percent(shift.distance)
        plausibility = "" if likely is None else f"{likely:z.3f}"
        rows.append((one.first, one.second, format_percent(one.advantage, 2), moved, plausibility, one.rating))
    title = "The smallest change of belief that reverses a preference"
    yield (made := table_block(columns, rows, "preferences", DETAIL, numbers=numbers, title=title))
    yield legend_block(made, _REVERSAL_LEGEND, "dim")


def _failures(stress: BeliefStress) -> ScreenSection:
    lines = [
        ", ".join(f"{name} {format_percent(p)}" for name, p in failure.probabilities.items()) + f": {failure.reason}"
        for failure in stress.failed[:_FAILED_SHOWN]
    ]
    if len(stress.failed) > _FAILED_SHOWN:
        lines.append(f"And {len(stress.failed) - _FAILED_SHOWN} more; --json has them all.")
    blocks = [text_block(line, "beliefs without an allocation", REST) for line in lines]
    return ScreenSection(f"{len(stress.failed)} beliefs have no verified allocation", blocks)


def belief_map_section(belief_map: BeliefMap) -> ScreenSection:
    """How much of the account differs from today's optimum, over two probabilities."""
    lattice = belief_map.lattice
    first, second = lattice.names
    stated = zip(lattice.names, lattice.stated, strict=True)
    at = ", ".join(f"P({name}) = {format_percent(p)}" for name, p in stated)
    levels = len(_spread(belief_map, 0))
    blocks = [
        text_block(f"P({first}) down, P({second}) right; today {at}, where 0% differs.", "axes"),
        ScreenBlock(lambda out, rows: _map(out, belief_map, rows), "all rows of the map", ESSENTIAL, levels),
    ]
    if belief_map.failed:
        words = f"·: {len(belief_map.failed)} points have no verified allocation; {belief_map.failed[0].reason}"
        blocks.append(text_block(words, "points that failed", DETAIL))
    if belief_map.interrupted:
        words = f"Interrupted: {belief_map.finished} of {belief_map.asked} points are finished and shown."
        blocks.append(answer_block(words, "bold"))
    return ScreenSection("Map: % of the account that differs from today's optimum", blocks)


def _spread(belief_map: BeliefMap, axis: int, most: int = _MAP_SIDE) -> list[float]:
    """The probabilities of one side that are shown, at most so many, evenly apart."""
    level = np.unique(np.round(belief_map.lattice.at[:, axis], 12))
    return [float(at) for at in level[:: max(1, -(-(len(level) - 1) // (most - 1)))]]


def _map(out: Console, belief_map: BeliefMap, rows: int) -> None:
    room = max(2, (out.width - 6) // 4)
    down, right = _spread(belief_map, 0), _spread(belief_map, 1, min(_MAP_SIDE, room))
    place = {(round(float(a), 12), round(float(b), 12)): m for m, (a, b) in enumerate(belief_map.lattice.at)}
    out.print(" " * 6 + "".join(f"{b * 100:z4.0f}" for b in right), style="dim")
    for i in sorted({int(i) for i in np.linspace(0, len(down) - 1, rows)}):
        cells = "".join(f"{_cell(belief_map, place.get((down[i], b))):>4}" for b in right)
        out.print(f"{format_percent(down[i], 0):>5} {cells}")


def _cell(belief_map: BeliefMap, m: int | None) -> str:
    if m is None:
        return ""
    return "·" if np.isnan(belief_map.apart[m]) else f"{belief_map.apart[m] * 100:z.0f}"
