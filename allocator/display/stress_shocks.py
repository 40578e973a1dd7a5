"""Shocks on the screen, supposed ones and those of the price history: worst first, current beside proposed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from rich.console import Console

from allocator.book.book import Book
from allocator.display.console import answer_heading, fit_table, format_percent, format_signed_percent, table
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
from allocator.rules.builder import locked_names
from allocator.stress_testing.outcomes import PROPOSED
from allocator.stress_testing.replay import HistoricalReplay, LosingPosition
from allocator.stress_testing.shock_effects import ClaimedEffect, PortfolioEffect, ShockEffect, ShockStress
from allocator.types import Vector

_FEW = 3
"""Shocks up to which each is shown with all that is known of it."""
_TRADES = 6
_VISIBLE = 5e-4
"""Of the account: what tenths of a percent show."""
_NOUNS = {"gains": "a gain", "falls": "a fall", "stays": "no change"}
_LEGEND = (
    "At once: the change from prices alone. Horizon: the expected return from before the shock to the horizon. "
    "Re-optimised: the plan solved again after the shock, under its limits and after costs; it maximises the mandate's "
    "objective, not the expected return."
)


def shock_sections(stress: ShockStress, book: Book, *, among_others: bool = False) -> Iterator[ScreenSection]:
    """The table of shocks, worst for the proposed portfolio first; a few are shown with all that is known of them.

    Where there is no room for both, details make room for the table `among_others`, else the table for details.
    """
    if not stress.asked:
        empty = "This book has no shocks: add [shocks.NAME] to book.toml."
        yield ScreenSection("Shocks", (text_block(empty, priority=ANSWER),))
        return
    few = len(stress.effects) <= _FEW
    alone = few and not among_others
    blocks = [
        made := _side_by_side(stress, DETAIL if alone else ESSENTIAL),
        *_not_computed(stress),
        *_claims(stress),
        *_structure(stress),
        *(text_block(line, "notes", REST) for line in _asides(stress, book)),
        legend_block(made, _LEGEND),
    ]
    if stress.interrupted:
        words = f"Interrupted: {len(stress.effects)} of {stress.asked} shocks are done, and shown."
        blocks.append(answer_block(words, "bold"))
    yield ScreenSection("Shocks: return in % of the account", blocks)
    for effect in stress.effects if few else ():
        yield ScreenSection(shock_name(effect.name), list(_detail(effect, ESSENTIAL if alone else DETAIL)))


def _side_by_side(stress: ShockStress, priority: int) -> ScreenBlock:
    """The table, of which the worst shock stays unless it has its details below."""
    least = 1 if priority == ESSENTIAL else 0
    rows = max(len(stress.effects), 1)
    return ScreenBlock(lambda out, rows: _table(out, stress, rows), "more shocks", priority, rows, least)


def shock_name(name: str) -> str:
    """The name as people read it."""
    return name.replace("_", " ")


def _table(out: Console, stress: ShockStress, rows: int) -> None:
    now, later = ("current\nat once", "proposed\nat once"), ("current\nhorizon", "proposed\nhorizon")
    first = next((name for effect in stress.effects for name in effect.hypotheses or ()), None)
    answer = "" if first is None else answer_heading(first)
    numbers = (answer, *now, *later, "re-optimised\nhorizon")
    grid = table("shock", *numbers, right=numbers)
    grid.padding = (0, 1, 0, 0)  # two spaces between columns: a third would cost the 80 columns one of them
    grid.add_row("none", *_cells(None, stress.current, stress.proposed, None), style="bold")
    effects = sorted(stress.effects, key=lambda effect: effect.proposed.expected_return)
    for effect in effects[:rows]:
        returns = (effect.current, effect.proposed, effect.reoptimized)
        grid.add_row(shock_name(effect.name), *_cells(next(iter((effect.hypotheses or {}).values()), None), *returns))
    out.print(fit_table(out, grid, answer, now[0], later[0]))
    if left := effects[rows:]:
        mildest = left[-1]
        out.print(
            f"And {len(left)} more; the mildest is {shock_name(mildest.name)}, "
            f"{format_signed_percent(mildest.proposed.expected_return)} by the horizon."
        )


def _cells(
    answer: float | None, current: PortfolioEffect, proposed: PortfolioEffect, again: PortfolioEffect | None
) -> list[str]:
    returns = (
        current.immediate_return,
        proposed.immediate_return,
        current.expected_return,
        proposed.expected_return,
        None if again is None else again.expected_return,
    )
    return [
        "" if answer is None else format_percent(answer, 0),
        *(format_percent(value).removesuffix("%") for value in returns),
    ]


def _structure(stress: ShockStress) -> Iterator[ScreenBlock]:
    """What shocks of the market's structure make of the proposed portfolio's risk."""
    effects = [one for one in stress.effects if one.shock.changes_risk or one.shock.changes_liquidity]
    if not effects:
        return
    columns = ("at once", "volatility", "ES 95%", "re-optimised ES 95%")
    risks = [
        ("none", stress.proposed, None),
        *((shock_name(one.name), one.proposed, one.reoptimized) for one in effects),
    ]
    rows = [
        (name, *map(format_percent, (own.immediate_return, own.volatility, own.expected_shortfall)),
         "" if again is None else format_percent(again.expected_shortfall))
        for name, own, again in risks
    ]  # fmt: skip
    title = "The market's structure: proposed portfolio"
    yield table_block(("shock", *columns), rows, "structure", DETAIL, numbers=columns, title=title, whole=True)


def _not_computed(stress: ShockStress) -> Iterator[ScreenBlock]:
    """What is not in the table and why, each reason once."""
    for reason, names in _by_reason(stress.refused.items()):
        yield text_block(f"Not computed: {names}: {reason}.", "shocks that cannot be computed", DETAIL)
    skipped = [(effect.name, effect.why_not) for effect in stress.effects if effect.why_not is not None]
    for reason, names in _by_reason(skipped):
        yield text_block(f"Not re-optimised after {names}: {reason}.", "shocks without a re-optimised plan", DETAIL)


def _asides(stress: ShockStress, book: Book) -> Iterator[str]:
    """What the figures leave out."""
    effects = stress.effects
    if any(effect.shock.tells or effect.shock.changes_model for effect in effects):
        share = book.settings.horizon.announcement_share
        for missing in ["[market]"] if book.settings.market is None else ["horizon.announcement_share"] * (not share):
            yield f"Without {missing} news changes no price at once: its whole effect comes by the horizon."
    late = [shock_name(effect.name) for effect in effects if effect.shock.delay_months is not None]
    if late and not locked_names(book):
        yield f"{', '.join(late)}: no lock-up is left to be extended."
    unsold = [shock_name(effect.name) for effect in effects if effect.shock.unsold is not None]
    if unsold and book.settings.mandate.max_participation is None:
        yield f"{', '.join(unsold)}: without mandate.max_participation only locked names cannot be sold."
    if worthless := list(dict.fromkeys(name for effect in effects for name in effect.worthless)):
        yield f"What a shock makes worthless cannot be traded after it: {', '.join(worthless)}."
    if unmoved := {name for effect in effects for name in effect.unmoved}:
        typed = ", ".join(name for name in book.instruments if name in unmoved)
        yield f"Typed returns do not respond to parameters of the model: {typed}."
    yield from (f"{shock_name(effect.name)}, {note}" for effect in effects for note in effect.notes)
    if stress.left_out:
        yield f"Starter shocks that this book cannot carry: {', '.join(map(shock_name, stress.left_out))}."


def _by_reason(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each reason with the shocks that it holds for."""
    reasons: dict[str, list[str]] = {}
    for name, reason in said:
        reasons.setdefault(reason, []).append(shock_name(name))
    for reason, names in reasons.items():
        yield reason, ", ".join(names)


def _claims(stress: ShockStress) -> Iterator[ScreenBlock]:
    """How many claimed signs are computed here, and why the others are not."""
    computed = [sign for effect in stress.effects for sign in effect.claimed_signs if sign.change is not None]
    if not computed:
        return
    kept = sum(bool(sign.as_claimed) for sign in computed)
    yield text_block(f"{kept} of {len(computed)} computed signs are as claimed.", "the claimed signs")
    lines = []
    for effect in stress.effects:
        unlike = [sign for sign in effect.claimed_signs if sign.change is not None and not sign.as_claimed]
        if unlike:
            signs = ", ".join(f"{sign.name} {_change(sign)}, not {_NOUNS[sign.claimed]}" for sign in unlike)
            why = "" if effect.shock.unlike is None else f": {effect.shock.unlike}"
            lines.append(f"{shock_name(effect.name)}: {signs}{why}.")
    if lines:
        adds = "reasons for other signs"
        yield ScreenBlock(lambda out, rows: out.print("\n".join(lines[:rows])), adds, REST, len(lines))


def _change(sign: ClaimedEffect) -> str:
    return "no number" if sign.change is None else format_signed_percent(sign.change)


def _detail(effect: ShockEffect, priority: int) -> Iterator[ScreenBlock]:
    """All that is known of one shock."""
    if effect.shock.claim is not None:
        yield text_block(f"“{effect.shock.claim}”", "the claim", REST)
    if effect.shock.note is not None:
        yield text_block(effect.shock.note, "a note", REST)
    columns = ("at once", "expected return", "adverse expected return", "ES 95%")
    portfolios = (("current", effect.current), ("proposed", effect.proposed), ("re-optimised", effect.reoptimized))
    rows = [
        (name, *map(format_signed_percent, figures), format_percent(returns.expected_shortfall))
        for name, returns in portfolios
        if returns is not None
        for figures in [(returns.immediate_return, returns.expected_return, returns.adverse_expected_return)]
    ]
    adds = "adverse expected returns"
    yield table_block(("portfolio", *columns), rows, adds, priority, numbers=columns, whole=True)
    for figure, what in enumerate(("at once", "by the horizon")):
        if told := _largest(effect, effect.positions["proposed"][figure]):
            yield text_block(f"Of the proposed portfolio's return {what}: {told}.", "contributions by name", REST)
    if effect.limit_breaches:
        yield text_block(f"Limit breaches: {', '.join(effect.limit_breaches)}.", "limit breaches", priority)
    if effect.trades:
        shown = ", ".join(f"{name} {format_signed_percent(part)}" for name, part in effect.trades[:_TRADES])
        more = f" and {len(effect.trades) - _TRADES} more" if len(effect.trades) > _TRADES else ""
        words = f"{shown}{more}; turnover {format_percent(effect.turnover)}"
        yield text_block(f"Re-optimised trades, in % of the account: {words}.", "trades", priority)
    elif effect.why_not is None:
        yield text_block("Re-optimised trades: none.", "trades", priority)
    if effect.claimed_signs:
        signs = ", ".join(f"{sign.name} {sign.claimed} ({_change(sign)})" for sign in effect.claimed_signs)
        yield text_block(f"Claimed (and computed): {signs}.", "the claimed signs", REST)


def _largest(effect: ShockEffect, added: Vector) -> str:
    """The positions that add most to a figure, and what all others add."""
    order = [i for i in np.argsort(-np.abs(added), kind="stable") if abs(added[i]) >= _VISIBLE]
    told = [f"{effect.names[i]} {format_signed_percent(float(added[i]))}" for i in order[:_TRADES]]
    if others := order[_TRADES:]:
        told.append(f"{len(others)} others {format_signed_percent(float(added[others].sum()))}")
    return ", ".join(told)


# Replay: the worst window of each length for each portfolio, and what was left out.
#
_REPLAY_LEGEND = (
    "Return: of the account; holdings are kept from the beginning of a window to its end, and cash does not change. "
    "Largest losses: instruments, and what of the account each loses."
)


def replay_section(replay: HistoricalReplay) -> ScreenSection:
    """The worst windows, the proposed portfolio's first."""
    if replay.why:
        return ScreenSection(f"Replay: not available, as {replay.why}.")
    rows = [
        (
            str(window.rows),
            window.portfolio,
            format_signed_percent(-window.loss),
            window.start,
            window.end,
            ", ".join(map(_loser, window.losers)),
        )
        for window in sorted(replay.windows, key=lambda window: window.portfolio != PROPOSED)
    ]
    columns, numbers = ("rows", "portfolio", "return", "from", "to", "largest losses"), ("rows", "return", "from", "to")
    made = table_block(columns, rows, "all windows", numbers=numbers, wide=("to",))
    blocks = [
        made,
        *(text_block(f"{note[0].upper()}{note[1:]}.", "notes on the history", REST) for note in replay.notes),
        legend_block(made, _REPLAY_LEGEND),
    ]
    return ScreenSection("Replay: the worst windows of the price history", blocks)


def replay_summary(replay: HistoricalReplay) -> Iterator[str]:
    """The window with the largest loss of the proposed portfolio."""
    proposed = [window for window in replay.windows if window.portfolio == PROPOSED]
    if worst := max(proposed, key=lambda window: window.loss, default=None):
        yield (
            f"The worst window of the price history, {worst.rows} rows to {worst.end}, returns "
            f"{format_signed_percent(-worst.loss)} on the proposed portfolio."
        )


def _loser(loser: LosingPosition) -> str:
    return f"{loser.instrument}{' (by beta)' if loser.by_beta else ''} {format_percent(loser.lost)}"
