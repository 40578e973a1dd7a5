"""How beliefs look: now, through time with the signals marked, what each next signal would do, when it is settled."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text
from rich.tree import Tree as Branches

from allocator.book.book import Book
from allocator.display.console import console, format_measurement, format_money, format_percent, heading, table
from allocator.outlook.belief_report import BeliefReport
from allocator.outlook.calibration import build_question
from allocator.outlook.claims import FAILS, HOLDS, IMPLIES, IN_PART, CheckedClaim
from allocator.outlook.implied_probabilities import ImpliedProbabilities
from allocator.outlook.outlook import COLUMNS, Outlook, ReturnAttribution
from allocator.outlook.posterior import generalizable_probability
from allocator.outlook.scenario_cards import DueObservation
from allocator.outlook.scenario_tree import ReviewTree
from allocator.plugins import GROUPS, Plugin
from allocator.rules import RuleMeasurement

_WIDTH = 30


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
    demand = "" if found.jevons is None else f" Jevons with probability {format_percent(found.jevons)}."
    out.print(
        f"Generalizable with probability {format_percent(found.generalizable)}{reach}. "
        f"The question is {answer}.{demand}"
    )
    _now(out, found)
    _through_time(out, found)
    _next(out, found)
    _when(out, found)
    _cards(out, told)


def _now(out: Console, found: BeliefReport) -> None:
    heading(out, "Scenarios")
    numbers = ("at the opening", "now", *(() if found.market is None else ("in prices",)))
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(found.scenarios):
        row = [format_percent(float(found.prior[k])), format_percent(float(found.belief[k]))]
        made.add_row(name, *row, *(() if found.market is None else (format_percent(float(found.market[k])),)))
    out.print(made)


def _through_time(out: Console, found: BeliefReport) -> None:
    heading(out, "P(generalizable) through time")
    told: dict[dt.date, list[str]] = {}
    for signal in found.signals:
        told.setdefault(signal.date, []).append(f"{signal.kind} {signal.lab}".strip())
    made = table("date", "", "", "signal", right=())
    for i in found.months():
        p = float(found.path[i])
        said = ", ".join(told.get(found.days[i], ()))
        made.add_row(found.days[i].isoformat(), format_percent(p), "█" * round(p * _WIDTH), said)
    out.print(made)


def _next(out: Console, found: BeliefReport) -> None:
    if not found.next_signals:
        return
    heading(out, "What each possible next signal would do, today")
    numbers = ("P(generalizable)", *(() if found.jevons is None else ("P(Jevons)",)))
    made = table("signal", *numbers, right=numbers)
    for possible in found.next_signals:
        demand = () if possible.jevons is None else (format_percent(possible.jevons),)
        made.add_row(possible.what, format_percent(possible.probability), *demand)
    out.print(made)


def _when(out: Console, found: BeliefReport) -> None:
    if found.settled is not None:
        heading(out, "When it was settled")
        out.print(f"It was settled on {found.settled_by_silence}.")
        return
    heading(out, "When it will be settled")
    silence = (
        "silence alone never settles it"
        if found.settled_by_silence is None
        else (f"silence alone settles it on {found.settled_by_silence}")
    )
    out.print(f"{silence[0].upper()}{silence[1:]}.")
    out.print("By silence, a verdict or the next claim, with a probability of at least:")
    months = (3, 6, 12, 18, 24, 36)
    made = table("within", *(f"{n} m" for n in months), right=tuple(f"{n} m" for n in months))
    made.add_row("probability", *(format_percent(found.settlement.within(n)) for n in months))
    out.print(made)


_SAID = {True: "yes", False: "no", None: "look"}


def _cards(out: Console, told: Sequence[DueObservation]) -> None:
    if not told:
        return
    heading(out, "Cards that are due")
    made = table("by", "scenario", "what would contradict it", "contradicted", right=("by",))
    for one in told:
        made.add_row(
            one.observation.by.isoformat(), one.observation.scenario, one.observation.text, _SAID[one.contradicted]
        )
    out.print(made)


# The tree of what may be known when, drawn with dates and probabilities.
#


def show_tree(book: Book, reviews: ReviewTree) -> None:
    """Print the tree, and what each branch makes of the question."""
    out, tree, question = console(), reviews.tree, build_question(book)
    out.print(f"{book.settings.book.name} · {book.settings.book.as_of}", style="bold")
    reached, _ = tree.reach()
    branches: list[Branches] = []
    for node in range(tree.nodes):
        day, parent = tree.dates[node], tree.parents[node]
        told = f"{tree.kinds[node]} {day}"
        if node:
            told += (
                f"  {format_percent(float(tree.probabilities[node]))}, in all {format_percent(float(reached[node]))}"
            )
        settled = False
        if question is not None:
            p = float(generalizable_probability(question, tree.beliefs[node][None, :])[0])
            settled = max(p, 1 - p) >= question.threshold
            answer = "generalizable" if p >= question.threshold else "proprietary"
            told += f"  P(gen) {format_percent(p)}{f', settled: {answer}' if settled else ''}"
        label = Text(told, style="green" if settled else "")
        branches.append(Branches(label) if node == 0 else branches[parent].add(label))
    out.print(branches[0])
    until = book.settings.horizon.until
    if tree.nodes == 1:
        out.print("No review lies ahead, or nothing can be learnt by one: state horizon.reviews in book.toml.")
        return
    out.print(
        "Each branch shows its probability given the node before it, its probability in all, and P(gen), the "
        "probability that the technique is generalizable.\n"
        f"{tree.nodes} decisions, {tree.leaves} outcomes on {until}. A verdict comes with the review after a claim; "
        "after it, and after the last review, nothing more is decided."
    )


# How scenario returns look: one row an instrument, or one instrument's drivers.
#


def show_returns(book: Book, found: ReturnAttribution) -> None:
    """Print what `returns` found."""
    out = console()
    outlook = found.outlook
    out.print(
        f"{book.settings.book.name} · {book.settings.book.as_of} · over {book.settings.months:.4g} months",
        style="bold",
    )
    heading(out, "Scenarios")
    made = table("", "scenario", "belief", right=("belief",))
    letters = [chr(ord("A") + k) if k < 26 else str(k) for k in range(len(outlook.scenarios))]
    for letter, name, p in zip(letters, outlook.scenarios, outlook.probabilities, strict=True):
        made.add_row(letter, name, format_percent(float(p)))
    out.print(made)
    heading(out, "Return in each scenario")
    made = table("instrument", *letters, "expected", "from", right=(*letters, "expected"))
    for i, name in enumerate(found.instruments):
        own = outlook.returns[:, i]
        made.add_row(
            name,
            *map(format_percent, map(float, own)),
            format_percent(float(outlook.probabilities @ own)),
            found.origins[i],
        )
    cash = outlook.cash_returns
    made.add_row(
        book.cash_instrument,
        *map(format_percent, map(float, cash)),
        format_percent(float(outlook.probabilities @ cash)),
        "",
    )
    out.print(made)
    if found.drivers is None:
        return
    heading(out, f"Where {found.instrument}'s return comes from (the parts add up)")
    made = table("driver", *letters, right=tuple(letters))
    for column, name in enumerate(COLUMNS):
        made.add_row(name, *(format_percent(float(part)) for part in found.drivers[:, column]))
    made.add_row("return", *(format_percent(float(total)) for total in found.drivers.sum(axis=1)), style="bold")
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
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(found.scenarios):
        columns = (found.stated, found.moved, found.probabilities)
        made.add_row(name, *(format_percent(float(column[k])) for column in columns))
    out.print(made)
    heading(out, "Price moves")
    made = table("instrument", "observed", "explained", "residual", right=("observed", "explained", "residual"))
    for i, name in enumerate(found.names):
        made.add_row(
            name,
            format_percent(float(found.observed[i])),
            format_percent(float(found.explained[i])),
            format_percent(float(found.residuals[i])),
        )
    out.print(made)
    out.print("A residual is mispricing or a wrong exposure: the numbers cannot tell which.")
    if found.not_read:
        heading(out, "Not read")
        made = table("instrument", "why")
        for one in found.not_read:
            made.add_row(one.instrument, one.reason)
        out.print(made)


# How checked claims look: each claim, what it states, what the figures give, and the verdict with its reason.
#
_SHOWN = {
    HOLDS: ("hold", "green"),
    IN_PART: ("hold on a condition", "yellow"),
    FAILS: ("do not hold", "red"),
    IMPLIES: ("state no figure", "cyan"),
}
_INDENT = "   "


def show_claims(name: str, checked: Sequence[CheckedClaim]) -> None:
    """Print every claim with its verdict."""
    out = console()
    count = Counter(one.verdict for one in checked)
    told = ", ".join(f"{count[verdict]} {words}" for verdict, (words, _) in _SHOWN.items() if count[verdict])
    out.print(textwrap.fill(f"{name} · {len(checked)} checks: {told}", out.width), style="bold")
    for one in checked:
        out.print(f"\n{textwrap.fill(f'“{one.claim}”', out.width)}")
        for text, style in _lines(one):
            out.print(textwrap.fill(text, out.width, initial_indent=_INDENT, subsequent_indent=_INDENT), style=style)


def _lines(one: CheckedClaim) -> list[tuple[str, str]]:
    """What is said under a claim, and in which colour."""
    colour = _SHOWN[one.verdict][1]
    given = f"{format_interval(*one.found)} {one.formula.unit}"
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
    text = f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    return exact if size < 1000 and len(exact := f"{value:.9g}") < len(text) else text


# How a checked book looks: what it is, and which limits its holdings breach today.
#


def describe_rates(book: Book) -> str:
    """Rates as one reads them, so that one the other way round is seen."""
    home = book.settings.book.currency
    return "rates: " + ", ".join(f"1 {currency} = {rate:.4g} {home}" for currency, rate in sorted(book.rates.items()))


def show_check(book: Book, outlook: Outlook, readings: Sequence[RuleMeasurement]) -> None:
    """Print what `check` found."""
    out = console()
    settings = book.settings.book
    out.print(
        f"{settings.name} · account {book.account} · {settings.as_of} · {format_money(book.value)} {settings.currency}",
        style="bold",
    )
    out.print(f"{len(book.instruments)} instruments and cash, all tables in order")
    out.print(f"risk: {outlook.risk.source}")
    if book.rates:
        out.print(describe_rates(book))
    heading(out, "Scenarios")
    made = table("scenario", "belief", right=("belief",))
    for name, probability in zip(outlook.scenarios, outlook.probabilities, strict=True):
        made.add_row(name, format_percent(probability))
    out.print(made)
    breached = [reading for reading in readings if reading.excess > 1e-9]
    heading(out, f"Today's holdings keep {len(readings) - len(breached)} of {len(readings)} rules")
    if breached:
        made = table("limit breach", "measured", right=("measured",))
        for reading in breached:
            made.add_row(reading.label, format_measurement(reading, 2))
        out.print(made)


# How plugins look: one row each, by what they are.
#


def show_plugins(found: Sequence[Plugin], used: Mapping[str, set[str]] | None) -> None:
    """Print what `plugins` found; `used` are the names that a book uses, by kind."""
    out = console()
    if not found:
        groups = ", ".join(GROUPS.values())
        out.print(f"No installed package adds anything: none has an entry point of {groups}.")
        return
    made = table("kind", "name", "package", "version", *(() if used is None else ("used",)))
    for plugin in found:
        row = [plugin.kind, plugin.name, plugin.package, plugin.version]
        made.add_row(*row, *(() if used is None else ("yes" if plugin.name in used[plugin.kind] else "",)))
    out.print(made)
