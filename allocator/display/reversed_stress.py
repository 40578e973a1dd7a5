"""How reverse stress looks: what would have to happen to lose so much, in words, in standard deviations, in moves."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from allocator.display.console import console, heading, percents, table
from allocator.stress_testing.reverse import Reversed, ReverseStress, Shift
from allocator.stress_testing.reverse_parameters import Root

_NARROW = 72
_NAMES = 3
_ROOTS = 5


def show_reverse(found: ReverseStress) -> None:
    """Print what would have to happen."""
    out = console()
    first, last = (one.portfolio.holdings for one in (found.portfolios[0], found.portfolios[-1]))
    same = len(found.portfolios) > 1 and np.array_equal(first, last)
    for one in found.portfolios[:1] if same else found.portfolios:
        gain = -one.expected_loss
        heading(out, f"{one.portfolio.name}: what would have to happen to lose {percents(found.loss)}")
        out.print(
            f"Expected {'gain' if gain >= 0 else 'loss'} {percents(abs(gain))} over the horizon; in the worst scenario "
            f"{'a loss' if one.largest_loss > 0 else 'a gain'} of {percents(abs(one.largest_loss))} on average."
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


def _show_shifts(out: Console, found: ReverseStress, one: Reversed) -> None:
    """A row a way; on a narrow terminal the words stand before what it takes."""
    wide = out.width >= _NARROW
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


def _takes(found: ReverseStress, one: Reversed, shift: Shift) -> str:
    """The moves that matter most, in words."""
    parts = []
    if shift.market is not None and shift.market < 0:
        parts.append(f"market {percents(shift.market)}")
    if shift.moves.any():
        lost = shift.moves * one.portfolio.holdings
        worst = np.argsort(lost, kind="stable")[:_NAMES]
        parts.append(
            "names "
            + ", ".join(
                f"{found.book.instruments[i]} {percents(float(shift.moves[i]), 0)}" for i in worst if lost[i] < 0
            )
        )
    rise = shift.probabilities - found.outlook.probabilities
    if rise.max() > 5e-4:
        k = int(np.argmax(rise))
        before, after = (percents(float(p[k]), 0) for p in (found.outlook.probabilities, shift.probabilities))
        parts.append(f"{found.outlook.scenarios[k]} {before} to {after}")
    return "; ".join(parts) or "nothing"


def _show_roots(out: Console, found: ReverseStress, one: Reversed) -> None:
    if not one.roots:
        out.print("No parameter does it: this book has no [model].")
        return
    loss = percents(found.loss)
    doing = sorted((root for root in one.roots if root.value is not None), key=_relative)
    if doing:
        wide = out.width >= _NARROW
        words = ("this is",) if wide else ()
        made = table("one parameter, prices as today", "now", "loses at", *words, right=("now", "loses at"))
        for root in doing[:_ROOTS]:
            shown = (root.words,) if wide else ()
            made.add_row(parameter_name(root.key), f"{root.own:g}", f"{root.value:.4g}", *shown)
        out.print(made)
        more = len(doing) - _ROOTS
        if more > 0:
            out.print(f"And {more} more parameter{'s' if more > 1 else ''} with a larger change.")
    none = [root for root in one.roots if root.value is None]
    if none:
        worst = max(none, key=lambda root: root.most_loss)
        most, nobody = percents(abs(worst.most_loss)), "No other" if doing else "No"
        left = f"loses {most} at most" if worst.most_loss > 0 else f"still leaves a gain of {most}"
        out.print(
            f"{nobody} single parameter loses {loss} at any lawful value ({len(none)} tried, one at a time); "
            f"the worst, {parameter_name(worst.key)}, {left}."
        )


def _relative(root: Root) -> float:
    return abs(root.change or 0.0) / max(abs(root.own), 0.1)


def parameter_name(key: str) -> str:
    """A parameter's key as people say it: its name, and of which scenario."""
    room, _, name = key.partition(".")
    if room != "scenarios":
        return name
    scenario, _, name = name.rpartition(".")
    return f"{name} ({scenario})"
