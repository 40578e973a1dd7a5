"""How wrong we can be about the probabilities before we would want something else, at a glance."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from allocator.display.console import console, format_percent, heading, table
from allocator.stress_testing.belief_map import BeliefMap
from allocator.stress_testing.belief_stress import AxisStress, BeliefStress, OptimalityInterval, Reversal
from allocator.stress_testing.break_even import BreakEven
from allocator.stress_testing.parameter_draws import SHARE
from allocator.stress_testing.parameter_stress import ModelStress
from allocator.stress_testing.reverse import ReverseShift, ReverseStress, ReverseStressOfPortfolio
from allocator.stress_testing.reverse_parameters import ParameterRoot

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
        heading(out, f"How wrong may we be about P({axis.sweep.axis.name}) = {format_percent(axis.sweep.axis.stated)}?")
        _say_interval(out, axis.interval)
        _say_nearest(out, axis.break_evens)
        _turns(out, axis)
        _sweep(out, axis)
    _flips(out, stress.flips)
    _failures(out, stress)


def _say_interval(out: Console, found: OptimalityInterval | None) -> None:
    if found is None:
        out.print("No allocation is verified at today's probability.")
    elif found.low is None or found.high is None:
        out.print(f"The plan is {found.short_bps:.1f} bps from the best there is even today: more than {_bps(found)}.")
    elif found.low <= 0 and found.high >= 1:
        out.print(f"Whatever it is, the plan stays within {_bps(found)} of the best there is.")
    else:
        out.print(
            f"The plan stays within {_bps(found)} of the best there is from {format_percent(found.low)} to "
            f"{format_percent(found.high)}" + (", where the answers end." if found.cut_short else ".")
        )
    if found is not None and found.broken:
        out.print(f"Beyond it the plan breaks: {', '.join(found.broken)}.")


def _bps(found: OptimalityInterval) -> str:
    return f"{found.within_bps:g} bps"


def _say_nearest(out: Console, turns: tuple[BreakEven, ...]) -> None:
    acted = [one for one in turns if one.kind in ("trade", "tilt") and one.distance is not None]
    if acted:
        nearest = min(acted, key=lambda one: abs(one.distance or 0.0))
        out.print(
            f"First order or tilt to turn: {nearest.what}, at {format_percent(nearest.probability)} "
            f"({_points(nearest)})."
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
            at = format_percent(one.probability, 2 if one.exact else 1)
            made.add_row(one.what, one.kind, ("" if one.exact else "~") + at, _points(one).replace(" points", ""))
        out.print(made)
        if len(found) > _SHOWN:
            out.print(f"and {len(found) - _SHOWN} farther away: see --json")
    still = [one for one in axis.break_evens if one.distance is None and one.kind in ("trade", "tilt")]
    if never := [one.what for one in still if not one.unverified]:
        out.print("Never, from 0 to 100%: " + "; ".join(never) + ".")
    if unknown := [
        f"{one.what} ({format_percent(one.low)} to {format_percent(one.high)})" for one in still if one.unverified
    ]:
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
        shares = (format_percent(float(sweep.buckets[m, k])) for k in (0, 1, -1))
        made.add_row(
            format_percent(float(sweep.probabilities[m])),
            format_percent(float(sweep.worth[m]), 2),
            f"{sweep.short[m] * 1e4:.1f}" if not sweep.breaks[m] else "breaks",
            format_percent(float(sweep.worst_case[m])),
            *shares,
            style="bold" if m == stated else None,
        )
    out.print(made)
    out.print("What is best at each probability, today's in bold. Worth is what the plan", style="dim")
    out.print("maximises; of that our lots lack so many bps of the account there.", style="dim")
    if any(sweep.breaks[m] for m in shown):
        out.print("Breaks: there they break a rule that the best keeps.", style="dim")


def _flips(out: Console, flips: tuple[Reversal, ...]) -> None:
    if not flips:
        return
    heading(out, "The least change of mind that turns a preference")
    made = table("now ahead", "of", "by", "moved", "plausible", "which is", right=("by", "moved", "plausible"))
    for one in flips:
        moved, likely = one.shifts["total_variation"], one.plausibility
        made.add_row(
            one.first,
            one.second,
            format_percent(one.ahead, 2),
            "never" if moved is None else format_percent(moved.distance),
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
            belief = ", ".join(f"{name} {format_percent(p)}" for name, p in one.probabilities.items())
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
        out.print(f"{format_percent(float(a), 0):>5} " + "".join(f"{cell:>4}" for cell in cells))
    at = ", ".join(
        f"P({name}) = {format_percent(p)}" for name, p in zip(found.lattice.names, found.lattice.stated, strict=True)
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


# How reverse stress looks: what would have to happen to lose so much, in words, in standard deviations, in moves.
#
_WIDE_ENOUGH = 72
_NAMES = 3
_ROOTS = 5


def show_reverse(found: ReverseStress) -> None:
    """Print what would have to happen."""
    out = console()
    first, last = (one.portfolio.holdings for one in (found.portfolios[0], found.portfolios[-1]))
    same = len(found.portfolios) > 1 and np.array_equal(first, last)
    for one in found.portfolios[:1] if same else found.portfolios:
        gain = -one.expected_loss
        heading(out, f"{one.portfolio.name}: what would have to happen to lose {format_percent(found.loss)}")
        out.print(
            f"Expected {'gain' if gain >= 0 else 'loss'} {format_percent(abs(gain))} over the horizon; "
            f"in the worst scenario {'a loss' if one.largest_loss > 0 else 'a gain'} "
            f"of {format_percent(abs(one.largest_loss))} on average."
        )
        _show_shifts(out, found, one)
        _show_roots(out, found, one)
    if same:
        out.print("The plan is to hold: the same of the plan.")
    out.print()
    out.print(
        "sigma: standard deviations that a normal mean would have to move to be as far from the belief; up to 1 is "
        "plausible, to 2 a stretch, to 3 far-fetched. e^-d: plausibility, d the relative entropy."
    )


def _show_shifts(out: Console, found: ReverseStress, one: ReverseStressOfPortfolio) -> None:
    """A row a way; on a narrow terminal the words stand before what it takes."""
    wide = out.width >= _WIDE_ENOUGH
    columns = ("what moves", "this is", "sigma", "e^-d", "it takes") if wide else ("what moves", "sigma", "it takes")
    made = table(*columns, right=("sigma", "e^-d"))
    for shift in one.shifts:
        sigmas = "" if shift.sigmas is None else f"{shift.sigmas:.2f}"
        takes = shift.why or _takes(found, one, shift)
        if wide:
            made.add_row(shift.way, shift.words, sigmas, f"{shift.plausibility:.2f}", takes)
        else:
            made.add_row(shift.way, sigmas, f"{shift.words}: {takes}")
    out.print(made)
    if beyond := sorted({name for shift in one.shifts for name in shift.beyond}):
        out.print(
            f"Out of reach of a normal market: {', '.join(beyond)} would have to lose more than everything; "
            "read that row as a direction, not as a size."
        )


def _takes(found: ReverseStress, one: ReverseStressOfPortfolio, shift: ReverseShift) -> str:
    """The moves that matter most, in words."""
    parts = []
    if shift.market is not None and shift.market < 0:
        parts.append(f"market {format_percent(shift.market)}")
    if shift.moves.any():
        lost = shift.moves * one.portfolio.holdings
        worst = np.argsort(lost, kind="stable")[:_NAMES]
        parts.append(
            "names "
            + ", ".join(
                f"{found.book.instruments[i]} {format_percent(float(shift.moves[i]), 0)}" for i in worst if lost[i] < 0
            )
        )
    rise = shift.probabilities - found.outlook.probabilities
    if rise.max() > 5e-4:
        k = int(np.argmax(rise))
        before, after = (format_percent(float(p[k]), 0) for p in (found.outlook.probabilities, shift.probabilities))
        parts.append(f"{found.outlook.scenarios[k]} {before} to {after}")
    return "; ".join(parts) or "nothing"


def _show_roots(out: Console, found: ReverseStress, one: ReverseStressOfPortfolio) -> None:
    if not one.roots:
        out.print("No parameter does it: this book has no [model].")
        return
    loss = format_percent(found.loss)
    doing = sorted((root for root in one.roots if root.value is not None), key=_relative)
    if doing:
        wide = out.width >= _WIDE_ENOUGH
        words = ("this is",) if wide else ()
        made = table("one parameter, prices as today", "now", "loses at", *words, right=("now", "loses at"))
        for root in doing[:_ROOTS]:
            shown = (root.words,) if wide else ()
            made.add_row(parameter_label(root.key), f"{root.own:g}", f"{root.value:.4g}", *shown)
        out.print(made)
        more = len(doing) - _ROOTS
        if more > 0:
            out.print(f"And {more} more parameter{'s' if more > 1 else ''} with a larger change.")
    none = [root for root in one.roots if root.value is None]
    if none:
        worst = max(none, key=lambda root: root.most_loss)
        most, nobody = format_percent(abs(worst.most_loss)), "No other" if doing else "No"
        left = f"loses {most} at most" if worst.most_loss > 0 else f"still leaves a gain of {most}"
        out.print(
            f"{nobody} single parameter loses {loss} at any lawful value ({len(none)} tried, one at a time); "
            f"the worst, {parameter_label(worst.key)}, {left}."
        )


def _relative(root: ParameterRoot) -> float:
    return abs(root.change or 0.0) / max(abs(root.own), 0.1)


def parameter_label(key: str) -> str:
    """A parameter's key as people say it: its name, and of which scenario."""
    room, _, name = key.partition(".")
    if room != "scenarios":
        return name
    scenario, _, name = name.rpartition(".")
    return f"{name} ({scenario})"


# How model stress looks: what parameters make of outcomes, which of them matters, and what they make of the plan.
#
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
        shown = [
            format_percent(row["today"]),
            format_percent(row["q05"]),
            format_percent(row["q50"]),
            format_percent(row["q95"]),
        ]
        shown = [*shown, format_percent(row["below_0"], 0)] if wide else [shown[0], shown[1], shown[3]]
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
        made.add_row(parameter_label(row["parameter"]), f"{row['total']:.2f}", *middle, last)
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
        now = (format_percent(row["before"]),) if wide else ()
        shown = (
            *now,
            *(format_percent(row[key]) for key in ("planned", "q05", "q95")),
            format_percent(row["same_side"], 0),
        )
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
