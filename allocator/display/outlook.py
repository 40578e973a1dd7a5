"""How beliefs look: now, through time with the signals marked, what each next signal would do, when it is settled."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.text import Text
from rich.tree import Tree as Branches

from allocator.book.book import Book
from allocator.display.console import (
    add_cells,
    answer_heading,
    console,
    describe_cash_flows,
    format_measurement,
    format_percent,
    heading,
    part_words,
    scenario_letters,
    table,
    tell,
    title_of,
)
from allocator.importers import FORMATS
from allocator.outlook.calibration import build_question, price_notes
from allocator.outlook.outlook import PARTS, ReturnAttribution, named_parts
from allocator.plugins import GROUPS, Plugin

if TYPE_CHECKING:
    from allocator.importers.positions import Positions
    from allocator.mandate.precheck import Check
    from allocator.outlook.belief_report import BeliefReport
    from allocator.outlook.efficiency_model_claims import CheckedClaim
    from allocator.outlook.implied_probabilities import ImpliedProbabilities
    from allocator.outlook.question import Signal
    from allocator.outlook.scenario_cards import DueObservation
    from allocator.outlook.scenario_tree import ReviewTree
    from allocator.outlook.views import PooledViews

_WIDTH, _NARROW = 30, 8
"""Of a bar, alone and beside several columns."""


def show_beliefs(book: Book, found: BeliefReport, told: Sequence[DueObservation] = ()) -> None:
    """Print what `beliefs` found, and which scenario cards are due."""
    out = console()
    out.print(f"{book.settings.book.name} · {found.day}", style="bold")
    answer = "open" if found.settled is None else f"settled: {found.settled}"
    reach = (
        ""
        if found.bounds is None
        else f", between {format_percent(found.bounds[0])} and {format_percent(found.bounds[1])}"
    )
    named = zip(found.hypotheses, map(float, found.answers), strict=True)
    first, *others = [f"{name} with probability {format_percent(p)}" for name, p in named]
    believed = ", ".join([first + reach, *(others if len(others) > 1 else ())])
    regimes = [f" {_capital(name)} with probability {format_percent(p)}." for name, p in (found.regimes or {}).items()]
    out.print(f"{_capital(believed)}. The question is {answer}.{''.join(regimes[:1])}")
    _now(out, found)
    _through_time(out, found, viewed=bool(book.settings.believe or book.settings.views))
    _next(out, found)
    _when(out, found)
    _cards(out, told)


def _capital(text: str) -> str:
    """The beginning of a sentence; a name that follows keeps its capitals."""
    return text[:1].upper() + text[1:]


def _now(out: Console, found: BeliefReport) -> None:
    columns = {"at the opening": found.prior, "now": found.belief}
    columns |= {} if found.market is None else {"in prices": found.market}
    heading(out, "Scenarios")
    out.print(table("scenario", *columns, right=[*columns], rows=zip(found.scenarios, *columns.values(), strict=True)))


def _through_time(out: Console, found: BeliefReport, *, viewed: bool) -> None:
    shown = found.hypotheses if len(found.hypotheses) > 2 else found.hypotheses[:1]
    heading(out, f"P({shown[0]}) through time" if len(shown) == 1 else "The hypotheses through time")
    told: dict[dt.date, list[str]] = {}
    for signal in found.signals:
        told.setdefault(signal.date, []).append(_said(signal))
    if viewed:
        told.setdefault(found.day, []).append("a view of today")
    alone = len(shown) == 1
    bars, width = ("", _WIDTH) if alone else (f"P({shown[0]})", _NARROW)
    made = table("date", *(("",) if alone else shown), bars, "signal", right=() if alone else shown)
    for i in found.months():
        p, said = found.path[i][: len(shown)], ", ".join(told.get(found.days[i], ()))
        add_cells(made, (found.days[i].isoformat(), *map(float, p), "█" * round(float(p[0]) * width), said))
    out.print(made)


def _said(signal: Signal) -> str:
    """A signal in a few words."""
    about = signal.hypothesis if signal.kind == "evidence" else signal.source
    weaker = "" if signal.strength == 1 else f", strength {signal.strength:zg}"
    return f"{signal.kind} {about}".strip() + weaker


def _next(out: Console, found: BeliefReport) -> None:
    if not found.next_signals:
        return
    heading(out, "What each possible next signal would do, today")
    shown = found.hypotheses if len(found.hypotheses) > 2 else found.hypotheses[:1]
    regimes = list(found.regimes or {})[:1]
    numbers = tuple(f"P({name})" for name in (*shown, *regimes))
    rows: list[Sequence[str | float | None]] = [
        (one.what, *map(float, one.hypotheses[: len(shown)]), *((one.regimes or {})[name] for name in regimes))
        for one in found.next_signals
    ]
    out.print(table("signal", *numbers, right=numbers, rows=rows))


def _when(out: Console, found: BeliefReport) -> None:
    if found.settled is not None:
        heading(out, "When it was settled")
        out.print(f"It was settled on {found.settled_by_silence}.")
        return
    heading(out, "When it will be settled")
    never = found.settled_by_silence is None
    out.print(f"Silence alone {'never settles it' if never else f'settles it on {found.settled_by_silence}'}.")
    out.print("By silence, a verdict or the next claim, with a probability of at least:")
    within = {f"{months} m": found.settlement.within(months) for months in (3, 6, 12, 18, 24, 36)}
    out.print(table("within", *within, right=[*within], rows=[("probability", *within.values())]))


_SAID = {True: "yes", False: "no", None: "look"}


def _cards(out: Console, told: Sequence[DueObservation]) -> None:
    if not told:
        return
    heading(out, "Cards that are due")
    cards = [(one.observation, _SAID[one.contradicted]) for one in told]
    rows = ((card.by.isoformat(), card.scenario, card.text, said) for card, said in cards)
    out.print(table("by", "scenario", "what would contradict it", "contradicted", right=("by",), rows=rows))


# The tree of what may be known when, drawn with dates and probabilities.
#


def _shown(count: int) -> int:
    """How many hypotheses a line tells: of two the first, which says the other."""
    return 1 if count == 2 else count


def show_tree(book: Book, reviews: ReviewTree) -> None:
    """Print the tree, and what each branch makes of the question."""
    out, tree, question = console(), reviews.tree, build_question(book)
    out.print(f"{book.settings.book.name} · {book.settings.book.as_of}", style="bold")
    reached, _ = tree.reach()
    branches: list[Branches] = []
    for node in range(tree.nodes):
        day, parent = tree.dates[node], tree.parents[node]
        told = f"{reviews.states[node].words} {day}"
        if node:
            told += (
                f"  {format_percent(float(tree.probabilities[node]))}, in all {format_percent(float(reached[node]))}"
            )
        settled = False
        if question is not None:
            named = question.answers_by_name(tree.beliefs[node])
            answer, most = max(named.items(), key=lambda each: each[1])
            settled = most >= question.threshold
            own = list(named.items())
            said = "  ".join(f"{answer_heading(name)} {format_percent(p)}" for name, p in own[: _shown(len(own))])
            told += f"  {said}{f', settled: {answer}' if settled else ''}"
        label = Text(told, style="green" if settled else "")
        branches.append(Branches(label) if node == 0 else branches[parent].add(label))
    out.print(branches[0])
    until, views = book.settings.horizon.until, reviews.outlooks[0].views
    if tree.nodes == 1:
        out.print("No review lies ahead, or nothing can be learnt by one: state horizon.reviews in book.toml.")
        if views is not None:
            show_views(out, views)
        return
    hypotheses = () if question is None else question.hypotheses[: _shown(len(question.hypotheses))]
    headings = " and ".join(map(answer_heading, hypotheses))
    meant = f"the probabilit{'y' if len(hypotheses) == 1 else 'ies'} of {' and '.join(hypotheses)}"
    out.print(
        "Each branch shows its probability given the node before it, its probability in all, and "
        f"{headings}, {meant}.\n"
        f"{tree.nodes} decisions, {tree.leaves} outcomes on {until}. A verdict comes with the review after a claim; "
        "after it, and after the last review, nothing more is decided."
    )
    if views is not None:
        show_views(out, views)


# How scenario returns look: one row an instrument, or one instrument's drivers.
#


def show_returns(book: Book, found: ReturnAttribution) -> None:
    """Print what `returns` found."""
    out = console()
    outlook = found.outlook
    out.print(
        f"{book.settings.book.name} · {book.settings.book.as_of} · over {book.settings.months:z.4g} months",
        style="bold",
    )
    heading(out, "Scenarios")
    letters = scenario_letters(len(outlook.scenarios))
    rows = zip(letters, outlook.scenarios, outlook.probabilities, strict=True)
    out.print(table("", "scenario", "belief", right=("belief",), rows=rows))
    if outlook.views is not None:
        out.print(describe_views(outlook.views))
    heading(out, "Return in each scenario")
    made = table("instrument", *letters, "expected", "from", right=(*letters, "expected"))
    every = np.column_stack([outlook.returns, outlook.cash_returns]).T
    for name, own, origin in zip((*found.instruments, book.cash_instrument), every, (*found.origins, ""), strict=True):
        add_cells(made, (name, *own, float(outlook.probabilities @ own), origin))
    out.print(made)
    parts = outlook.expected_parts()
    there = named_parts(parts, parts[:, 0])
    if "undigested_news" in there:
        heading(out, "Of the expected return (the parts add up)")
        made = table("instrument", *map(part_words, there), "expected", right=(*map(part_words, there), "expected"))
        shown = parts[[name in there for name in PARTS]]
        expected = np.append(outlook.probabilities @ outlook.returns, outlook.probabilities @ outlook.cash_returns)
        for name, own, whole in zip((*found.instruments, book.cash_instrument), shown.T, expected, strict=True):
            add_cells(made, (name, *(None if np.isnan(part) else float(part) for part in own), float(whole)))
        out.print(made)
    for split, parts in found.splits.items():
        named = sorted(zip(parts, found.instruments, strict=True), key=lambda each: -each[0])
        told = ", ".join(f"{name} {format_percent(float(part), 0)}" for part, name in named if part > 0)
        out.print(f"{_capital(split.replace('_', ' '))}, of a name's value: {told or 'by none'}.")
    for note in (*found.classification.notes(), *found.notes):
        out.print(note)
    if found.drivers is None:
        return
    heading(out, f"Where {found.instrument}'s return comes from (the parts add up)")
    driven = ((name, *parts) for name, parts in found.drivers.items())
    made = table("driver", *letters, right=letters, rows=driven)
    add_cells(made, ("return", *np.sum(list(found.drivers.values()), axis=0)), "bold")
    out.print(made)


# How implied probabilities look, with what they leave unexplained.
#


def show_implied(book: Book, found: ImpliedProbabilities) -> None:
    """Print what `implied` found."""
    out = console()
    stated = book.settings.market
    since = "" if stated is None else f" since {stated.date}"
    out.print(f"{book.settings.book.name} · {book.settings.book.as_of} · price moves{since}", style="bold")
    heading(out, "Scenario probabilities in prices")
    numbers = ("stated", "moved by signals", "implied")
    rows = zip(found.scenarios, found.stated, found.moved, found.probabilities, strict=True)
    out.print(table("scenario", *numbers, right=numbers, rows=rows))
    heading(out, "Price moves")
    numbers = ("observed", "explained", "residual")
    rows = zip(found.names, found.observed, found.explained, found.residuals, strict=True)
    out.print(table("instrument", *numbers, right=numbers, rows=rows))
    out.print("A residual is mispricing or a wrong exposure: the numbers cannot tell which.")
    if found.not_read:
        heading(out, "Not read")
        out.print(table("instrument", "why", rows=((one.instrument, one.reason) for one in found.not_read)))


# How checked claims look: each claim, what it states, what the figures give, and the verdict with its reason.
#
_INDENT = "   "


@cache
def _verdicts() -> dict[str, tuple[str, str]]:
    """Words and colour of each verdict; what is only looked at elsewhere is not imported there."""
    from allocator.outlook.efficiency_model_claims import FAILS, HOLDS, IMPLIES, IN_PART, NOT_SOLVED

    return {
        HOLDS: ("hold", "green"),
        IN_PART: ("hold on a condition", "yellow"),
        FAILS: ("do not hold", "red"),
        IMPLIES: ("state no figure", "cyan"),
        NOT_SOLVED: ("need plans: add --advice", "dim"),
    }


def show_claims(name: str, checked: Sequence[CheckedClaim]) -> None:
    """Print every claim with its verdict."""
    out = console()
    count = Counter(one.verdict for one in checked)
    told = ", ".join(f"{count[verdict]} {words}" for verdict, (words, _) in _verdicts().items() if count[verdict])
    out.print(textwrap.fill(f"{name} · {len(checked)} checks: {told}", out.width), style="bold")
    for one in checked:
        out.print(f"\n{textwrap.fill(f'“{one.claim}”', out.width)}")
        for text, style in _lines(one):
            out.print(textwrap.fill(text, out.width, initial_indent=_INDENT, subsequent_indent=_INDENT), style=style)


def _lines(one: CheckedClaim) -> list[tuple[str, str]]:
    """What is said under a claim, and in which colour."""
    from allocator.outlook.efficiency_model_claims import IMPLIES

    colour = _verdicts()[one.verdict][1]
    if one.found is None:
        return [(f"{one.formula.name}: needs plans, which --advice solves for", colour)]
    given = f"{format_interval(*one.found)} {one.formula.unit}"
    if one.dates:
        each = [(format_interval(*found), name) for name, found in one.dates.items()]
        same = len({shown for shown, _ in each}) == 1
        found = each[0][0] if same else ", ".join(f"{shown} ({name})" for shown, name in each)
        given = f"{one.formula.name} = {found} {one.formula.unit}"
        if (margin := one.margin(one.found)) is not None:
            said = f"states {format_interval(one.low, one.high)}: {given}, a margin of {format_figure(margin)}"
            return [(said, ""), (one.sentence, colour)]
    if one.verdict == IMPLIES:
        return [(f"implies {given}", colour), *([(one.remark, "")] if one.remark else [])]
    return [(f"states {format_interval(one.low, one.high)}, the figures give {given}", ""), (one.sentence, colour)]


def format_interval(low: float | None, high: float | None) -> str:
    """An interval as people read it, at least one side of it being bounded."""
    if low is None or high is None:
        return f"at most {format_figure(high)}" if high is not None else f"at least {format_figure(low or 0.0)}"
    first, last = format_figure(low), format_figure(high)
    return first if first == last else f"{first} to {last}"


def format_figure(value: float) -> str:
    """Three digits that tell, none after the point from a hundred on; less where less says it all."""
    size = abs(value)
    text = f"{value:z,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    if value and not text.strip("-0."):
        return f"{value:z.2g}"
    return exact if size < 1000 and len(exact := f"{value:z.9g}") < len(text) else text


# How a checked book looks: what it is, and which limits its holdings breach today.
#


def describe_rates(book: Book) -> str:
    """Rates as one reads them, so that one the other way round is seen."""
    home = book.settings.book.currency
    return "rates: " + ", ".join(f"1 {currency} = {rate:z.4g} {home}" for currency, rate in sorted(book.rates.items()))


def describe_views(views: PooledViews) -> str:
    """What views did to the probabilities, in a sentence, and which of them bind."""
    before, after = views.effective
    told = f"Views: {after:z.2f} effective scenarios, {before:z.2f} before; relative entropy "
    told += f"{views.relative_entropy:z.3f} nats"
    binding = sorted((one for one in views.effects if one.multiplier > _SLACK), key=lambda one: -one.multiplier)
    named = [one.view for one in binding[:_BINDING]] + [f"{len(binding) - _BINDING} more"] * (len(binding) > _BINDING)
    return f"{told}; binding: {', '.join(named)}." if named else f"{told}; none binds."


_SLACK = 1e-6
"""Nats for one unit of a bound: what moves nothing."""
_BINDING = 3


def show_views(out: Console, views: PooledViews) -> None:
    """Print what became of the probabilities and of each view."""
    heading(out, "What the views did")
    shifts = zip(views.scenarios, views.prior, views.probabilities, strict=True)
    out.print(table("scenario", "before", "after", right=("before", "after"), rows=shifts))
    out.print()
    numbers = ("before", "after", "nats a point")
    made = table("view", "is held to be", *numbers, right=numbers)
    for one in views.effects:
        price = f"{one.multiplier / 100:z.3g}" if one.multiplier > _SLACK else "–"
        part = "" if one.confidence == 1 else f", confidence {one.confidence:zg}"
        add_cells(made, (one.view, f"{one.figure}, {one.bounds}{part}", one.before, one.after, price))
    out.print(made)
    out.print(describe_views(views))
    out.print("Nats a point: what one point of its bound takes from the relative entropy, where all views are met.")


def show_check(found: Check) -> None:
    """Print what `check` found."""
    out, book, outlook, readings = console(), found.book, found.outlook, found.readings
    out.print(title_of(book), style="bold")
    out.print(f"{len(book.instruments)} instruments and cash, all tables in order")
    out.print(f"risk: {outlook.risk.source}")
    if not book.cash:
        out.print(f"cash: none is held; a row of {book.cash_instrument} in holdings.csv would say how much")
    if not outlook.cash_returns.any():
        out.print(f"cash: {book.cash_instrument} returns nothing, as no row of it and no required_return says more")
    for note in (*book.classification.notes(), *price_notes(book), *describe_cash_flows(book)):
        out.print(note)
    if book.rates:
        out.print(describe_rates(book))
    heading(out, "Scenarios")
    rows = zip(outlook.scenarios, outlook.probabilities, strict=True)
    out.print(table("scenario", "belief", right=("belief",), rows=rows))
    if outlook.views is not None:
        show_views(out, outlook.views)
    breached = [reading for reading in readings if reading.excess > 1e-9]
    kept = f"keep {len(readings) - len(breached)} of {len(readings)} rules" if readings else "have no rule to keep"
    heading(out, f"Today's holdings {kept}")
    if breached:
        measured = ((reading.label, format_measurement(reading, 2)) for reading in breached)
        out.print(table("limit breach", "measured", right=("measured",), rows=measured))
    if found.free_lunches:
        heading(out, "Free lunches")
        out.print(
            f"At {found.free_lunches} of {found.decisions} decisions some portfolio beats cash whatever comes next, "
            "before costs: the tree knows no risk within a scenario. Limits and a charge for risk keep a plan from it."
        )


# How plugins look: one row each, by what they are.
#


def show_plugins(found: Sequence[Plugin], used: Mapping[str, set[str]] | None) -> None:
    """Print what `plugins` found; `used` are the names that a book uses, by kind."""
    out = console()
    if not found:
        groups = ", ".join(GROUPS.values())
        out.print(f"No installed package adds anything: none has an entry point of {groups}.")
        return
    columns = ("kind", "name", "package", "version", "used")[: 4 if used is None else 5]
    named = {} if used is None else used
    rows = ((*map(vars(one).get, columns[:4]), "yes" if one.name in named.get(one.kind, ()) else "") for one in found)
    out.print(table(*columns, rows=(row[: len(columns)] for row in rows)))


def show_positions(found: Positions, written: str | None) -> None:
    """Print what `import` read, what it did not handle, and how the lines of the file were accounted for."""
    out = console()
    when = "" if found.as_of is None else f" · {found.as_of}"
    out.print(f"{found.file} · {FORMATS[found.format]} · account {found.account}{when}", style="bold")
    rows = [
        (one.instrument, f"{one.quantity.normalize():z,f}", f"{one.price:z.6g}", f"{one.value:z,.2f}", one.currency)
        for one in found.holdings
    ]
    out.print(table("instrument", "quantity", "price", "value", "currency", right=_AMOUNTS, rows=rows[:_MOST_ROWS]))
    if len(rows) > _MOST_ROWS:
        out.print(f"… and {len(rows) - _MOST_ROWS} more; --json lists them all")
    if found.not_handled:
        heading(out, "Not handled")
        odd = [
            (str(one.row), one.label, one.unhandled, "" if one.amount is None else f"{one.amount:z,.2f}", one.currency)
            for one in found.not_handled
        ]
        out.print(table("row", "position", "why", "value", "currency", right=("value",), rows=odd[:_MOST_ROWS]))
        if len(odd) > _MOST_ROWS:
            out.print(f"… and {len(odd) - _MOST_ROWS} more; --json lists them all")
    out.print()
    for one in found.disagreements:
        out.print(f"{found.accepted} accepted: {one.label}: {one.rule}.")
    for entry, said in found.suggestions:
        out.print(f"{entry.label} of row {entry.row} is not in the map: {said}")
    for note in found.notes:
        out.print(f"{note[0].upper()}{note[1:]}.")
    outside = ", ".join(f"{what} {count}" for what, count in found.outside.items())
    counted = f"{found.rows} positions: {found.imported} imported, {len(found.not_handled)} not handled"
    out.print(f"{counted}. Other lines: {outside or 'none'}. {found.counted_again} lines, counted twice.")
    if written is not None:
        tell(f"wrote {written}", err=True)


_AMOUNTS = ("quantity", "price", "value")
_MOST_ROWS = 30
