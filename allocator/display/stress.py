"""`allocator stress` on the screen: the answers at a glance, then what each rests on, in 45 lines or --full."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from allocator.display.console import console, format_money, format_percent
from allocator.display.stress_beliefs import belief_map_section, belief_sections
from allocator.display.stress_model import model_sections, model_summary
from allocator.display.stress_reverse import reverse_section
from allocator.display.stress_screen import ANSWER, ScreenBlock, ScreenSection, show_sections, text_block
from allocator.display.stress_shocks import format_signed, replay_section, replay_summary, shock_name, shock_sections
from allocator.stress_testing.belief_stress import BeliefStress
from allocator.stress_testing.reverse import ReverseStress
from allocator.stress_testing.shock_effects import ShockStress
from allocator.stress_testing.stress import StressReport


def show_stress(found: StressReport, *, full: bool = True) -> None:
    """Print what was asked: all of it, or a first screen of it."""
    show_sections(console(), list(_sections(found)), full=full)


def _sections(found: StressReport) -> Iterator[ScreenSection]:
    book = found.plan.book
    yield ScreenSection("", (ScreenBlock(lambda out, _: _headline(out, found), priority=ANSWER, least=1),))
    if said := list(_at_a_glance(found)):
        yield ScreenSection("At a glance", [text_block(line, priority=ANSWER, least=1) for line in said])
    if found.shocks is not None:
        yield from shock_sections(found.shocks, book, among_others=_several(found))
    if found.reverse is not None:
        yield reverse_section(found.reverse)
    if found.replay is not None:
        yield replay_section(found.replay)
    if found.beliefs is not None:
        yield from belief_sections(found.beliefs, in_short=_several(found))
    if found.map is not None:
        yield belief_map_section(found.map)
    if found.model is not None:
        yield from model_sections(found.model)
    if left := list(_unfinished(found)):
        yield ScreenSection("Not shown", left)


def _headline(out: Console, found: StressReport) -> None:
    book = found.plan.book
    settings = book.settings
    out.print(
        f"{settings.book.name} · account {book.account} · {settings.book.as_of} · {format_money(book.value)} "
        f"{settings.book.currency}",
        style="bold",
    )


def _unfinished(found: StressReport) -> Iterator[ScreenBlock]:
    """The studies that this book cannot have, and those that Ctrl-C cut short."""
    for part, why in found.why_not.items():
        yield text_block(f"{part.capitalize()}: {why}.", priority=ANSWER, least=1)
    if found.interrupted:
        names = ", ".join(found.interrupted)
        words = f"Interrupted before the end: {names}. Only what is finished is shown."
        yield text_block(words, priority=ANSWER, least=1, style="bold")


def _several(found: StressReport) -> bool:
    studies = (found.shocks, found.reverse, found.replay, found.beliefs, found.map, found.model)
    return sum(study is not None for study in studies) > 1


def _at_a_glance(found: StressReport) -> Iterator[str]:
    """Each study's answer in one sentence; a study that is alone and begins with its answer needs none."""
    several = _several(found)
    if found.shocks is not None and (several or len(found.shocks.effects) > 1):
        yield from _worst_shock(found.shocks)
    if found.reverse is not None:
        yield _nearest_loss(found.reverse)
    if found.replay is not None:
        yield from replay_summary(found.replay)
    if found.beliefs is not None and found.beliefs.axes and several:
        yield _interval(found.beliefs)
    if found.model is not None:
        yield from model_summary(found.model)


def _worst_shock(found: ShockStress) -> Iterator[str]:
    if (worst := found.worst) is None:
        return
    name, plan, again = shock_name(worst.name), worst.proposed, worst.reoptimized
    then = "" if again is None else f" ({format_signed(again.expected_return)} if re-optimised)"
    yield (
        f"The worst shock by the horizon for the proposed portfolio is {name}: {format_signed(plan.immediate_return)} "
        f"at once, an expected {format_signed(plan.expected_return)} by the horizon{then}."
    )


def _nearest_loss(found: ReverseStress) -> str:
    """The likeliest way for the proposed portfolio to lose so much."""
    plan = found.portfolios[-1]
    both, alone = plan.by("both"), plan.by("probabilities")
    loss = f"An expected loss of {format_percent(found.loss)}"
    if both.distance is None:
        return f"{loss} is impossible: {both.why}."
    if alone.distance is None:
        also = "no shift of probabilities alone is enough"
    else:
        also = f"of probabilities alone, a z-score of {alone.equivalent_z_score:.1f} ({alone.rating})"
    return (
        f"{loss} needs a joint shift of probabilities and markets with an equivalent z-score of "
        f"{both.equivalent_z_score:.1f} ({both.rating}); {also}."
    )


def _interval(found: BeliefStress) -> str:
    axis = found.axes[0]
    name, interval = axis.sweep.axis.name, axis.interval
    today = f"P({name}), now {format_percent(axis.sweep.axis.stated)}"
    if interval is None:
        return f"How wrong {today}, may be is not known: no allocation is verified there."
    within = f"{interval.within_bps:g} bps of the optimum"
    if interval.low is None or interval.high is None:
        return f"The plan is not within {within} at {today}."
    if interval.low <= 0 and interval.high >= 1:
        return f"The plan stays within {within} at any value of {today}."
    cut = " (beyond, nothing is verified)" if interval.cut_short else ""
    return (
        f"The plan stays within {within} while {today}, lies between {format_percent(interval.low)} "
        f"and {format_percent(interval.high)}{cut}."
    )
