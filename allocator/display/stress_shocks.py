"""Shocks on the screen, supposed ones and those of the price history: worst first, current beside proposed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from allocator.book.book import Book
from allocator.display.console import fit_table, format_percent, table
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
from allocator.rules.builder import locked_names
from allocator.stress_testing.outcomes import PROPOSED
from allocator.stress_testing.replay import HistoricalReplay, LosingPosition, ReplayWindow
from allocator.stress_testing.shock_effects import ClaimedEffect, PortfolioEffect, ShockEffect, ShockStress

_FEW = 3
"""Shocks up to which each is shown with all that is known of it."""
_TRADES = 6
_NOUNS = {"gains": "a gain", "falls": "a fall", "stays": "no change"}
_LEGEND = (
    "At once: the change from prices alone. Horizon: the expected return from before the shock to the horizon. "
    "Re-optimised: the plan solved again after the shock, under its limits and after costs; it maximises the mandate's "
    "objective, not the expected return."
)


def shock_sections(found: ShockStress, book: Book, *, among_others: bool = False) -> Iterator[ScreenSection]:
    """The table of shocks, worst for the proposed portfolio first; a few are shown with all that is known of them.

    Where there is no room for both, details make room for the table `among_others`, else the table for details.
    """
    if not found.asked:
        empty = "This book has no shocks: add [shocks.NAME] to book.toml."
        yield ScreenSection("Shocks", (text_block(empty, priority=ANSWER),))
        return
    few = len(found.effects) <= _FEW
    alone = few and not among_others
    blocks = [
        _side_by_side(found, DETAIL if alone else ESSENTIAL),
        *_not_computed(found),
        *_claims(found),
        *(text_block(line, "notes", REST) for line in _asides(found, book)),
        text_block(_LEGEND, "legend", LEGEND),
    ]
    if found.interrupted:
        words = f"Interrupted: {len(found.effects)} of {found.asked} shocks are done, and shown."
        blocks.append(text_block(words, priority=ANSWER, least=1, style="bold"))
    yield ScreenSection("Shocks: return in % of the account", blocks)
    for one in found.effects if few else ():
        yield ScreenSection(shock_name(one.name), list(_detail(one, ESSENTIAL if alone else DETAIL)))


def _side_by_side(found: ShockStress, priority: int) -> ScreenBlock:
    """The table, of which the worst shock stays unless it has its details below."""
    least = 1 if priority == ESSENTIAL else 0
    rows = max(len(found.effects), 1)
    return ScreenBlock(lambda out, rows: _table(out, found, rows), "more shocks", priority, rows, least)


def shock_name(name: str) -> str:
    """The name as people read it."""
    return name.replace("_", " ")


def format_signed(value: float) -> str:
    """+3.0%, -3.0%."""
    shown = format_percent(value)
    return shown if shown.startswith("-") else f"+{shown}"


def _table(out: Console, found: ShockStress, rows: int) -> None:
    now, later = ("current\nat once", "proposed\nat once"), ("current\nhorizon", "proposed\nhorizon")
    numbers = ("P(gen)", *now, *later, "re-optimised\nhorizon")
    made = table("shock", *numbers, right=numbers)
    made.padding = (0, 1, 0, 0)  # two spaces between columns: a third would cost the 80 columns one of them
    made.add_row("none", *_cells(None, found.current, found.proposed, None), style="bold")
    effects = sorted(found.effects, key=lambda one: one.proposed.expected_return)
    for one in effects[:rows]:
        made.add_row(shock_name(one.name), *_cells(one.generalizable, one.current, one.proposed, one.reoptimized))
    out.print(fit_table(out, made, "P(gen)", now[0], later[0]))
    if left := effects[rows:]:
        mildest = left[-1]
        out.print(
            f"And {len(left)} more; the mildest is {shock_name(mildest.name)}, "
            f"{format_signed(mildest.proposed.expected_return)} by the horizon."
        )


def _cells(
    generalizable: float | None, current: PortfolioEffect, proposed: PortfolioEffect, again: PortfolioEffect | None
) -> list[str]:
    returns = (
        current.immediate_return,
        proposed.immediate_return,
        current.expected_return,
        proposed.expected_return,
        None if again is None else again.expected_return,
    )
    return [
        "" if generalizable is None else format_percent(generalizable, 0),
        *(format_percent(value).removesuffix("%") for value in returns),
    ]


def _not_computed(found: ShockStress) -> Iterator[ScreenBlock]:
    """What is not in the table and why, each reason once."""
    for reason, names in _by_reason(found.refused.items()):
        yield text_block(f"Not computed: {names}: {reason}.", "shocks that cannot be computed", DETAIL)
    skipped = [(one.name, one.why_not) for one in found.effects if one.why_not is not None]
    for reason, names in _by_reason(skipped):
        yield text_block(f"Not re-optimised after {names}: {reason}.", "shocks without a re-optimised plan", DETAIL)


def _asides(found: ShockStress, book: Book) -> Iterator[str]:
    """What the figures leave out."""
    if any(one.shock.tells or one.shock.changes_model for one in found.effects):
        share = book.settings.horizon.announcement_share
        for missing in ["[market]"] if book.settings.market is None else ["horizon.announcement_share"] * (not share):
            yield f"Without {missing} news changes no price at once: its whole effect comes by the horizon."
    if not locked_names(book) and (late := [one for one in found.effects if one.shock.delay_months is not None]):
        yield f"{', '.join(shock_name(one.name) for one in late)}: no lock-up is left to be extended."
    if worthless := list(dict.fromkeys(name for one in found.effects for name in one.worthless)):
        yield f"What a shock makes worthless cannot be traded after it: {', '.join(worthless)}."
    unmoved = {name for one in found.effects for name in one.unmoved}
    if unmoved:
        typed = ", ".join(name for name in book.instruments if name in unmoved)
        yield f"Typed returns do not respond to parameters of the model: {typed}."
    if found.left_out:
        yield f"Starter shocks that this book cannot carry: {', '.join(map(shock_name, found.left_out))}."


def _by_reason(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each reason with the shocks that it holds for."""
    reasons: dict[str, list[str]] = {}
    for name, reason in said:
        reasons.setdefault(reason, []).append(shock_name(name))
    for reason, names in reasons.items():
        yield reason, ", ".join(names)


def _claims(found: ShockStress) -> Iterator[ScreenBlock]:
    """How many claimed signs are computed here, and why the others are not."""
    told = [(one, sign) for one in found.effects for sign in one.claimed_signs if sign.change is not None]
    if not told:
        return
    unlike = [(one, sign) for one, sign in told if not sign.as_claimed]
    yield text_block(f"{len(told) - len(unlike)} of {len(told)} computed signs are as claimed.", "the claimed signs")
    lines = []
    for one in {id(one): one for one, _ in unlike}.values():
        signs = ", ".join(f"{sign.name} {_change(sign)}, not {_NOUNS[sign.claimed]}" for other, sign in unlike
                          if other is one)  # fmt: skip
        why = "" if one.shock.unlike is None else f": {one.shock.unlike}"
        lines.append(f"{shock_name(one.name)}: {signs}{why}.")
    if lines:
        yield _lines_block(lines, "reasons for other signs", REST)


def _lines_block(lines: Sequence[str], adds: str, priority: int) -> ScreenBlock:
    """Sentences of which the first can stand alone."""

    def show(out: Console, rows: int) -> None:
        for line in lines[:rows]:
            out.print(line)

    return ScreenBlock(show, adds, priority, len(lines))


def _change(sign: ClaimedEffect) -> str:
    return "no number" if sign.change is None else format_signed(sign.change)


def _detail(one: ShockEffect, priority: int) -> Iterator[ScreenBlock]:
    """All that is known of one shock."""
    if one.shock.claim is not None:
        yield text_block(f"“{one.shock.claim}”", "the claim", REST)
    if one.shock.note is not None:
        yield text_block(one.shock.note, "a note", REST)
    yield ScreenBlock(lambda out, _: _effects(out, one), "adverse expected returns", priority)
    if one.limit_breaches:
        yield text_block(f"Limit breaches: {', '.join(one.limit_breaches)}.", "limit breaches", priority)
    if one.trades:
        shown = ", ".join(f"{name} {format_signed(part)}" for name, part in one.trades[:_TRADES])
        more = f" and {len(one.trades) - _TRADES} more" if len(one.trades) > _TRADES else ""
        turnover = format_percent(one.turnover)
        yield text_block(
            f"Re-optimised trades, in % of the account: {shown}{more}; turnover {turnover}.", "trades", priority
        )
    elif one.why_not is None:
        yield text_block("Re-optimised trades: none.", "trades", priority)
    if one.claimed_signs:
        signs = ", ".join(f"{sign.name} {sign.claimed} ({_change(sign)})" for sign in one.claimed_signs)
        yield text_block(f"Claimed (and computed): {signs}.", "the claimed signs", REST)


def _effects(out: Console, one: ShockEffect) -> None:
    columns = ("at once", "expected return", "adverse expected return")
    made = table("portfolio", *columns, right=columns)
    portfolios = (("current", one.current), ("proposed", one.proposed), ("re-optimised", one.reoptimized))
    for words, effect in portfolios:
        if effect is not None:
            returns = (effect.immediate_return, effect.expected_return, effect.adverse_expected_return)
            made.add_row(words, *map(format_signed, returns))
    out.print(made)


# Replay: the worst window of each length for each portfolio, and what was left out.
#
_WIDE_WINDOWS = 72
_REPLAY_LEGEND = (
    "Holdings are kept from the beginning of a window to its end; cash does not change. Largest losses: instruments, "
    "and what of the account each loses."
)


def replay_section(found: HistoricalReplay) -> ScreenSection:
    """The worst windows, the proposed portfolio's first."""
    if found.why:
        return ScreenSection(f"Replay: not available, as {found.why}.")
    windows = sorted(found.windows, key=lambda one: one.portfolio != PROPOSED)
    notes = [f"{note[0].upper()}{note[1:]}." for note in found.notes]
    return ScreenSection(
        "Replay: the worst windows of the price history",
        (
            ScreenBlock(lambda out, rows: _windows_table(out, windows[:rows]), "all windows", ESSENTIAL, len(windows)),
            *(text_block(note, "notes on the history", REST) for note in notes),
            text_block(_REPLAY_LEGEND, "legend", LEGEND),
        ),
    )


def replay_summary(found: HistoricalReplay) -> Iterator[str]:
    """The window with the largest loss of the proposed portfolio."""
    own = [one for one in found.windows if one.portfolio == PROPOSED]
    if own:
        worst = max(own, key=lambda one: one.loss)
        yield (
            f"The worst window of the price history, {worst.rows} rows to {worst.end}, returns "
            f"{format_percent(-worst.loss)} on the proposed portfolio."
        )


def _windows_table(out: Console, windows: list[ReplayWindow]) -> None:
    wide = out.width >= _WIDE_WINDOWS
    dates = ("from", "to") if wide else ("from",)
    made = table("rows", "portfolio", "loss", *dates, "largest losses", right=("rows", "loss", *dates))
    for one in windows:
        days = (one.start, one.end) if wide else (one.start,)
        made.add_row(str(one.rows), one.portfolio, format_percent(one.loss), *days, ", ".join(map(_loser, one.losers)))
    out.print(made)


def _loser(one: LosingPosition) -> str:
    return f"{one.instrument}{' (by beta)' if one.by_beta else ''} {format_percent(one.lost)}"
