"""How shocks look at 80 columns: worst first, holdings beside the plan beside the plan decided again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console

from allocator.book.book import Book
from allocator.display.console import console, fit_table, format_money, format_percent, heading, table
from allocator.display.stress_studies import show_belief_map, show_belief_stress, show_model_stress, show_reverse
from allocator.rules.builder import locked_names
from allocator.stress_testing.belief_stress import BeliefStress
from allocator.stress_testing.replay import HistoricalReplay, LosingPosition
from allocator.stress_testing.reverse import ReverseStress
from allocator.stress_testing.shock_effects import ClaimedEffect, PortfolioEffect, ShockEffect, ShockStress
from allocator.stress_testing.stress import StressReport

# How replay looks: the worst window of each length for each portfolio, and what was left out.
#
_NARROW = 72


def show_replay(found: HistoricalReplay) -> None:
    """Print the worst windows."""
    out = console()
    heading(out, "The worst of the book's own history")
    if found.why:
        out.print(f"None: {found.why}.")
        return
    wide = out.width >= _NARROW
    dates = ("from", "to") if wide else ("from",)
    made = table("rows", "portfolio", "loss", *dates, "lost most", right=("rows", "loss", *dates))
    for one in found.windows:
        days = (one.start, one.end) if wide else (one.start,)
        made.add_row(str(one.rows), one.portfolio, format_percent(one.loss), *days, ", ".join(map(_loser, one.losers)))
    out.print(made)
    out.print("Weights drift through a window and cash stays; lost most: the name, and its part of the account.")
    for note in found.notes:
        out.print(f"{note[0].upper()}{note[1:]}.")


def _loser(one: LosingPosition) -> str:
    return f"{one.instrument}{' (by beta)' if one.by_beta else ''} {format_percent(one.lost)}"


_FEW = 3
"""Shocks up to which each is shown with all that is known of it."""
_TRADES = 6
_NOUNS = {"gains": "a gain", "falls": "a fall", "stays": "no change"}


def show_stress(found: StressReport) -> None:
    """Print what was asked: the answers at a glance, then what each rests on."""
    out, book = console(), found.plan.book
    settings = book.settings
    out.print(
        f"{settings.book.name} · account {book.account} · {settings.book.as_of} · {format_money(book.value)} "
        f"{settings.book.currency}",
        style="bold",
    )
    _at_a_glance(out, found)
    if found.shocks is not None:
        show_shocks(out, found.shocks, book)
    if found.reverse is not None:
        show_reverse(found.reverse)
    if found.replay is not None:
        show_replay(found.replay)
    if found.beliefs is not None:
        show_belief_stress(found.beliefs)
    if found.map is not None:
        show_belief_map(found.map)
    if found.model is not None:
        show_model_stress(found.model)
    for part, why in found.why_not.items():
        out.print()
        out.print(f"No {part}: {why}.")
    if found.interrupted:
        out.print()
        out.print(f"Interrupted: {', '.join(found.interrupted)} not finished; what is shown is.", style="bold")


def _at_a_glance(out: Console, found: StressReport) -> None:
    """The three questions, each answered in one sentence."""
    said = []
    if found.shocks is not None and (worst := found.shocks.worst) is not None:
        again = "" if worst.again is None else f", {_signed(worst.again.expected)} decided again"
        said.append(
            f"What happens if: worst for the plan is {_words(worst.name)}, {_signed(worst.plan.at_once)} at once and "
            f"{_signed(worst.plan.expected)} by the horizon{again}."
        )
    if found.reverse is not None:
        said.append(_to_lose(found.reverse))
    if found.beliefs is not None and found.beliefs.axes:
        said.append(_how_wrong(found.beliefs))
    if len(said) > 1:
        heading(out, "At a glance")
        for line in said:
            out.print(line)


def _to_lose(found: ReverseStress) -> str:
    """The likeliest way for the plan to lose so much."""
    plan = found.portfolios[-1]
    both = plan.by("both")
    if both.distance is None:
        return f"To lose {format_percent(found.loss)}: nothing does it; {both.why}."
    sigmas = "" if both.sigmas is None else f", a move of {both.sigmas:.1f} standard deviations"
    alone = plan.by("probabilities")
    also = "no probabilities alone do it" if alone.distance is None else f"by probabilities alone {alone.words}"
    return f"To lose {format_percent(found.loss)}: {both.words}{sigmas}, by probabilities and markets together; {also}."


def _how_wrong(found: BeliefStress) -> str:
    axis = found.axes[0]
    name, interval = axis.sweep.axis.name, axis.interval
    today = f"P({name}), today {format_percent(axis.sweep.axis.stated)}"
    if interval is None:
        return f"How wrong may we be: not known about {today}, where no allocation is verified."
    if interval.low is None or interval.high is None:
        return f"How wrong may we be: not at all about {today}."
    cut = " (what is beyond was not verified)" if interval.cut_short else ""
    if interval.low <= 0 and interval.high >= 1:
        return f"How wrong may we be: whatever {today}, the plan stays within {interval.within_bps:g} bps of the best."
    return (
        f"How wrong may we be: with {today}, from {format_percent(interval.low)} to {format_percent(interval.high)} "
        f"the plan stays within {interval.within_bps:g} bps of the best{cut}."
    )


def show_shocks(out: Console, found: ShockStress, book: Book) -> None:
    """The table of shocks, worst for the plan first; a few are shown with all that is known of them."""
    heading(out, "What happens if")
    if not found.asked:
        out.print("This book has no shocks: add [shocks.NAME] to book.toml.")
        return
    numbers = ("P(gen)", "held now", "plan now", "held", "plan", "again")
    made = table("shock", *numbers, right=numbers)
    made.add_row("none", *_cells(None, found.held, found.planned, None), style="bold")
    for one in sorted(found.effects, key=lambda one: one.plan.expected):
        made.add_row(_words(one.name), *_cells(one.generalizable, one.held, one.plan, one.again))
    out.print(fit_table(out, made, "P(gen)", "held now", "held"))
    out.print(
        "Percent of the account. Now: at once, by prices alone. Held, plan: expected by the horizon, what comes at "
        "once included; again: with the plan decided again after the shock, under its rules and after costs. What is "
        "best by the mandate need not be expected to earn most."
    )
    _asides(out, found, book)
    _claims(out, found)
    _left_out(out, found)
    if len(found.effects) <= _FEW:
        for one in found.effects:
            _detail(out, one)
    if found.interrupted:
        out.print(f"Interrupted: {len(found.effects)} of {found.asked} shocks are done, and shown.", style="bold")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _signed(value: float) -> str:
    shown = format_percent(value)
    return shown if shown.startswith("-") else f"+{shown}"


def _change(told: ClaimedEffect) -> str:
    return "no number" if told.change is None else _signed(told.change)


def _number(value: float) -> str:
    return format_percent(value).removesuffix("%")


def _cells(
    generalizable: float | None, held: PortfolioEffect, plan: PortfolioEffect, again: PortfolioEffect | None
) -> list[str]:
    return [
        "" if generalizable is None else format_percent(generalizable, 0),
        *map(_number, (held.at_once, plan.at_once, held.expected, plan.expected)),
        "" if again is None else _number(again.expected),
    ]


def _asides(out: Console, found: ShockStress, book: Book) -> None:
    """What is not in the table and why, each reason once, and what its figures leave out."""
    for reason, names in _by_reason(found.refused.items()):
        out.print(f"Nothing is computed of {names}: {reason}.")
    for reason, names in _by_reason((one.name, one.why_not) for one in found.effects if one.why_not is not None):
        out.print(f"Not decided again after {names}: {reason}.")
    if any(one.shock.tells or one.shock.changes_model for one in found.effects):
        share = book.settings.horizon.announcement_share
        for missing in ["[market]"] if book.settings.market is None else ["horizon.announcement_share"] * (not share):
            out.print(f"Without {missing} news moves no price at once: all of it comes by the horizon.")
    if not locked_names(book) and (late := [one for one in found.effects if one.shock.delay_months is not None]):
        out.print(f"{', '.join(_words(one.name) for one in late)}: no lock-up is left that could be put off.")
    if worthless := list(dict.fromkeys(name for one in found.effects for name in one.worthless)):
        out.print(f"What a shock leaves worthless cannot be traded after it: {', '.join(worthless)}.")
    unmoved = {name for one in found.effects for name in one.unmoved}
    if unmoved:
        typed = ", ".join(name for name in book.instruments if name in unmoved)
        out.print(f"The model moves no returns that are typed in: {typed}.")


def _by_reason(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each reason with the shocks that it holds for."""
    reasons: dict[str, list[str]] = {}
    for name, reason in said:
        reasons.setdefault(reason, []).append(_words(name))
    for reason, names in reasons.items():
        yield reason, ", ".join(names)


def _claims(out: Console, found: ShockStress) -> None:
    """How many claims come true here, and why the others do not."""
    told = [(one, sign) for one in found.effects for sign in one.told if sign.change is not None]
    if not told:
        return
    unlike = [(one, sign) for one, sign in told if not sign.as_claimed]
    heading(out, "What is claimed, and what is computed")
    out.print(f"{len(told) - len(unlike)} of {len(told)} signs are as claimed.")
    for one in {id(one): one for one, _ in unlike}.values():
        signs = ", ".join(f"{sign.name} {_change(sign)}, not {_NOUNS[sign.expected]}" for other, sign in unlike
                          if other is one)  # fmt: skip
        why = "" if one.shock.unlike is None else f": {one.shock.unlike}"
        out.print(f"{_words(one.name)}: {signs}{why}.")


def _left_out(out: Console, found: ShockStress) -> None:
    if found.left_out:
        names = ", ".join(_words(name) for name in found.left_out)
        out.print(f"Starter shocks that this book cannot carry: {names}.", style="dim")


def _detail(out: Console, one: ShockEffect) -> None:
    """All that is known of one shock."""
    heading(out, _words(one.name))
    if one.shock.claim is not None:
        out.print(f"“{one.shock.claim}”")
    if one.shock.note is not None:
        out.print(one.shock.note)
    made = table("", "at once", "by the horizon", "worst case", right=("at once", "by the horizon", "worst case"))
    for words, effect in (("held", one.held), ("plan", one.plan), ("plan again", one.again)):
        if effect is not None:
            made.add_row(words, _signed(effect.at_once), _signed(effect.expected), _signed(effect.worst_case))
    out.print(made)
    if one.rules_broken:
        out.print(f"Breaks: {', '.join(one.rules_broken)}.")
    if one.trades:
        shown = ", ".join(f"{name} {_signed(part)}" for name, part in one.trades[:_TRADES])
        more = f" and {len(one.trades) - _TRADES} more" if len(one.trades) > _TRADES else ""
        out.print(f"Then trade, of the account: {shown}{more}; turnover {format_percent(one.turnover)}.")
    elif one.why_not is None:
        out.print("Then trade: nothing.")
    if one.told:
        signs = ", ".join(f"{told.name} {told.expected} ({_change(told)})" for told in one.told)
        out.print(f"Claimed, and computed: {signs}.")
