"""How wrong we can be about the probabilities before we would want something else, at a glance."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from allocator.display.console import console, heading, percents, table
from allocator.stress_testing.belief_map import BeliefMap
from allocator.stress_testing.belief_stress import AxisStress, BeliefStress, Flip, Interval
from allocator.stress_testing.break_even import BreakEven

_SWEPT = 11
"""Points of a sweep that are shown."""
_SHOWN = 12
"""Break-evens that are shown, nearest first."""
_FAILED_SHOWN = 3
_MAP_SIDE = 17
"""Points a side of a map, at most; 80 columns hold no more."""


def show_belief_stress(stress: BeliefStress) -> None:
    """Print the answer first, then what it rests on."""
    out = console()
    for axis in stress.axes:
        heading(out, f"How wrong may we be about P({axis.sweep.axis.name}) = {percents(axis.sweep.axis.stated)}?")
        _say_interval(out, axis.interval)
        _say_nearest(out, axis.break_evens)
        _turns(out, axis)
        _sweep(out, axis)
    _flips(out, stress.flips)
    _failures(out, stress)


def _say_interval(out: Console, found: Interval | None) -> None:
    if found is None:
        out.print("No allocation is verified at today's probability.")
    elif found.low is None or found.high is None:
        out.print(f"The plan is {found.short_bps:.1f} bps from the best there is even today: more than {_bps(found)}.")
    elif found.low <= 0 and found.high >= 1:
        out.print(f"Whatever it is, the plan stays within {_bps(found)} of the best there is.")
    else:
        out.print(
            f"The plan stays within {_bps(found)} of the best there is from {percents(found.low)} to "
            f"{percents(found.high)}" + (", where the answers end." if found.cut_short else ".")
        )
    if found is not None and found.broken:
        out.print(f"Beyond it the plan breaks: {', '.join(found.broken)}.")


def _bps(found: Interval) -> str:
    return f"{found.within_bps:g} bps"


def _say_nearest(out: Console, turns: tuple[BreakEven, ...]) -> None:
    acted = [one for one in turns if one.kind in ("trade", "tilt") and one.distance is not None]
    if acted:
        nearest = min(acted, key=lambda one: abs(one.distance or 0.0))
        out.print(
            f"First order or tilt to turn: {nearest.what}, at {percents(nearest.probability)} ({_points(nearest)})."
        )
    elif any(one.kind in ("trade", "tilt") and one.unverified for one in turns):
        out.print("Whether an order or a tilt turns is not known everywhere: answers failed, see below.")
    elif any(one.kind == "trade" for one in turns):
        out.print("No order and no tilt turns, whatever the probability.")


def _points(one: BreakEven) -> str:
    distance = (one.distance or 0.0) * 100
    return f"{'+' if distance >= 0 else '-'}{abs(distance):.1f} points"


def _turns(out: Console, axis: AxisStress) -> None:
    found = sorted(
        (one for one in axis.break_evens if one.distance is not None), key=lambda one: abs(one.distance or 0.0)
    )
    if found:
        made = table("what turns", "by", "at", "from today", right=("at", "from today"))
        for one in found[:_SHOWN]:
            at = percents(one.probability, 2 if one.exact else 1)
            made.add_row(one.what, one.kind, ("" if one.exact else "~") + at, _points(one).replace(" points", ""))
        out.print(made)
        if len(found) > _SHOWN:
            out.print(f"and {len(found) - _SHOWN} farther away: see --json")
    still = [one for one in axis.break_evens if one.distance is None and one.kind in ("trade", "tilt")]
    if never := [one.what for one in still if not one.unverified]:
        out.print("Never, from 0 to 100%: " + "; ".join(never) + ".")
    if unknown := [f"{one.what} ({percents(one.low)} to {percents(one.high)})" for one in still if one.unverified]:
        out.print("Not known, as answers failed there: " + "; ".join(unknown) + ".")
    if any(not one.exact for one in found):
        out.print("~ is known to a hundredth of a point; the others exactly.", style="dim")


def _sweep(out: Console, axis: AxisStress) -> None:
    sweep = axis.sweep
    if not len(sweep.probabilities):
        return
    stated = int(np.argmin(np.abs(sweep.probabilities - sweep.axis.stated)))
    every = np.linspace(0, len(sweep.probabilities) - 1, min(_SWEPT, len(sweep.probabilities)))
    shown = sorted({*map(int, every), stated})
    columns = ("P", "worth", "plan lacks", "worst case", "efficiency", "capital", "cash")
    made = table(*columns, right=columns)
    for m in shown:
        shares = (percents(float(sweep.buckets[m, k])) for k in (0, 1, -1))
        made.add_row(
            percents(float(sweep.probabilities[m])),
            percents(float(sweep.worth[m]), 2),
            f"{sweep.short[m] * 1e4:.1f}" if not sweep.breaks[m] else "breaks",
            percents(float(sweep.worst_case[m])),
            *shares,
            style="bold" if m == stated else None,
        )
    out.print(made)
    out.print("What is best at each probability, today's in bold. Worth is what the plan", style="dim")
    out.print("maximises; of that our lots lack so many bps of the account there.", style="dim")
    if any(sweep.breaks[m] for m in shown):
        out.print("Breaks: there they break a rule that the best keeps.", style="dim")


def _flips(out: Console, flips: tuple[Flip, ...]) -> None:
    if not flips:
        return
    heading(out, "The least change of mind that turns a preference")
    made = table("now ahead", "of", "by", "moved", "plausible", "which is", right=("by", "moved", "plausible"))
    for one in flips:
        moved, likely = one.shifts["total_variation"], one.plausibility
        made.add_row(
            one.first,
            one.second,
            percents(one.ahead, 2),
            "never" if moved is None else percents(moved.distance),
            "" if likely is None else f"{likely:.3f}",
            one.in_words,
        )
    out.print(made)
    out.print("By: expected return. Moved: probability that goes to other scenarios.", style="dim")
    out.print("Plausible: e^(-relative entropy), 1 is today's belief.", style="dim")


def _failures(out: Console, stress: BeliefStress) -> None:
    if stress.failed:
        heading(out, f"{len(stress.failed)} beliefs have no verified allocation")
        for one in stress.failed[:_FAILED_SHOWN]:
            belief = ", ".join(f"{name} {percents(p)}" for name, p in one.probabilities.items())
            out.print(f"{belief}: {one.reason}")
        if len(stress.failed) > _FAILED_SHOWN:
            out.print(f"and {len(stress.failed) - _FAILED_SHOWN} more: see --json")
    if stress.interrupted:
        out.print(f"interrupted: {stress.finished} of {stress.asked} beliefs are finished and shown", style="bold")


def show_belief_map(found: BeliefMap) -> None:
    """Print over the map how much of the account would lie elsewhere than today's best allocation has it."""
    out = console()
    first, second = found.lattice.names
    heading(out, f"% of the account that would lie elsewhere: P({first}) down, P({second}) right")
    levels = [np.unique(np.round(found.lattice.at[:, axis], 12)) for axis in (0, 1)]
    rows, columns = (level[:: max(1, -(-(len(level) - 1) // (_MAP_SIDE - 1)))] for level in levels)
    place = {(round(float(a), 12), round(float(b), 12)): m for m, (a, b) in enumerate(found.lattice.at)}
    out.print(" " * 6 + "".join(f"{float(b) * 100:4.0f}" for b in columns), style="dim")
    for a in rows:
        cells = [_cell(found, place.get((float(a), float(b)))) for b in columns]
        out.print(f"{percents(float(a), 0):>5} " + "".join(f"{cell:>4}" for cell in cells))
    at = ", ".join(
        f"P({name}) = {percents(p)}" for name, p in zip(found.lattice.names, found.lattice.stated, strict=True)
    )
    out.print(f"Today: {at}; 0 is what is best today.")
    _say_unfinished(out, found)


def _cell(found: BeliefMap, m: int | None) -> str:
    if m is None:
        return ""
    return "·" if np.isnan(found.apart[m]) else f"{found.apart[m] * 100:.0f}"


def _say_unfinished(out: Console, found: BeliefMap) -> None:
    if found.failed:
        out.print(f"·: {len(found.failed)} points have no verified allocation; {found.failed[0].reason}")
    if found.interrupted:
        out.print(f"interrupted: {found.finished} of {found.asked} points are finished and shown", style="bold")
