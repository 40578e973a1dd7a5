"""`allocator stress` on the screen: the answers at a glance, then what each rests on, in 45 lines or --full."""

from __future__ import annotations

from collections.abc import Iterator

from allocator.display.console import console, format_percent, format_signed_percent, title_of
from allocator.display.plan_details import describe_risk
from allocator.display.stress_beliefs import belief_map_section, belief_sections
from allocator.display.stress_model import model_sections, model_summary, reverse_section
from allocator.display.stress_screen import ScreenBlock, ScreenSection, answer_block, show_sections
from allocator.display.stress_shocks import replay_section, replay_summary, shock_name, shock_sections
from allocator.stress_testing.belief_stress import BeliefStress
from allocator.stress_testing.reverse import ReverseStress
from allocator.stress_testing.shock_effects import ShockStress
from allocator.stress_testing.stress import StressReport


def show_stress(report: StressReport, *, full: bool = True) -> None:
    """Print what was asked: all of it, or a first screen of it."""
    show_sections(console(), list(_sections(report)), full=full)


def _sections(report: StressReport) -> Iterator[ScreenSection]:
    book, several = report.plan.book, len(report.parts) > 1
    risk = describe_risk(report.plan.risk, whole=True)
    yield ScreenSection("", (answer_block(title_of(book), "bold"), answer_block(risk)))
    if answers := list(_at_a_glance(report, several=several)):
        yield ScreenSection("At a glance", [answer_block(answer) for answer in answers])
    if report.shocks is not None:
        yield from shock_sections(report.shocks, book, among_others=several)
    if report.reverse is not None:
        yield reverse_section(report.reverse)
    if report.replay is not None:
        yield replay_section(report.replay)
    if report.beliefs is not None:
        yield from belief_sections(report.beliefs, in_short=several)
    if report.map is not None:
        yield belief_map_section(report.map)
    if report.model is not None:
        yield from model_sections(report.model)
    if missing := list(_unfinished(report)):
        yield ScreenSection("Not shown", missing)


def _unfinished(report: StressReport) -> Iterator[ScreenBlock]:
    """The studies that this book cannot have, and those that Ctrl-C cut short."""
    for part, why in report.why_not.items():
        yield answer_block(f"{part.capitalize()}: {why}.")
    if report.interrupted:
        names = ", ".join(report.interrupted)
        yield answer_block(f"Interrupted before the end: {names}. Only what is finished is shown.", "bold")


def _at_a_glance(report: StressReport, *, several: bool) -> Iterator[str]:
    """Each study's answer in one sentence; a study that is alone and begins with its answer needs none."""
    if report.shocks is not None and (several or len(report.shocks.effects) > 1):
        yield from _worst_shock(report.shocks)
    if report.reverse is not None:
        yield _nearest_loss(report.reverse)
    if report.replay is not None:
        yield from replay_summary(report.replay)
    if report.beliefs is not None and report.beliefs.axes and several:
        yield _interval(report.beliefs)
    if report.model is not None:
        yield model_summary(report.model)


def _worst_shock(stress: ShockStress) -> Iterator[str]:
    if (worst := stress.worst) is None:
        return
    name, plan, again = shock_name(worst.name), worst.proposed, worst.reoptimized
    then = "" if again is None else f" ({format_signed_percent(again.expected_return)} if re-optimised)"
    yield (
        f"The worst shock by the horizon for the proposed portfolio is {name}: "
        f"{format_signed_percent(plan.immediate_return)} at once, an expected "
        f"{format_signed_percent(plan.expected_return)} by the horizon{then}."
    )


def _nearest_loss(stress: ReverseStress) -> str:
    """The likeliest way for the proposed portfolio to lose so much."""
    plan = stress.portfolios[-1]
    both, alone = plan.by("both"), plan.by("probabilities")
    loss = f"An expected loss of {format_percent(stress.loss)}"
    if both.distance is None:
        return f"{loss} is impossible: {both.why}."
    if alone.distance is None:
        also = "no shift of probabilities alone is enough"
    else:
        also = f"of probabilities alone, a z-score of {alone.equivalent_z_score:z.1f} ({alone.rating})"
    return (
        f"{loss} needs a joint shift of probabilities and markets with an equivalent z-score of "
        f"{both.equivalent_z_score:z.1f} ({both.rating}); {also}."
    )


def _interval(stress: BeliefStress) -> str:
    axis = stress.axes[0]
    name, interval = axis.sweep.axis.name, axis.interval
    today = f"P({name}), now {format_percent(axis.sweep.axis.stated)}"
    if interval is None:
        return f"How wrong {today}, may be is not known: no allocation is verified there."
    within = f"{interval.within_bps:zg} bps of the optimum"
    if interval.low is None or interval.high is None:
        return f"The plan is not within {within} at {today}."
    if interval.low <= 0 and interval.high >= 1:
        return f"The plan stays within {within} at any value of {today}."
    cut = " (beyond, nothing is verified)" if interval.cut_short else ""
    return (
        f"The plan stays within {within} while {today}, lies between {format_percent(interval.low)} "
        f"and {format_percent(interval.high)}{cut}."
    )
