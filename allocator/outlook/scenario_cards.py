"""Scenario cards: `scenarios.md` in, the dated observations that would contradict each scenario out.

A heading `## scenario` opens a card; below it stand bullets and nothing else, with indented lines continuing them. The
page may begin with one `# title`; any other heading, and any line above the first card, is refused: it would be lost.

    - by 2027-04-08: OpenAI announces a similar saving (signal: claim OpenAI)

The bracket ties a bullet to rows of signals.csv: `claim`, `verification` or `refutation`, of anyone or of the lab
named; `no claim` for silence until that day; `usage below 1` or `usage above 1` for a figure's usage growth over its
price fall, both in logs. Without a bracket somebody has to look.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from allocator.book.book import Book
from allocator.book.loading import book_text, load
from allocator.errors import BadInput, Breach, closest_name, did_you_mean
from allocator.outlook.question import Signal
from allocator.settings.reading import read_settings
from allocator.settings.settings import Settings
from allocator.tables.files import read_regular_file, utf8_text

_BULLET = re.compile(r"- by (\d{4}-\d{2}-\d{2}): *(.*)")
_TIED = re.compile(r"(.*\S)\s*\(signal: *([^()]*)\)", re.IGNORECASE)
_MEANT = re.compile(r"[(\[{<]\s*signal|\bsignals?\s*:", re.IGNORECASE)
"""What was meant as a tie, where `_TIED` does not read it."""
_ENDS = re.compile(r".*[(\[{<][^()\[\]{}<>]*:[^()\[\]{}<>]*[)\]}>]?\W*")
"""A bracket with a colon at the end: a tie that is misspelt, since words for people need no colon there."""
_OPENS = re.compile(r"#|[-*+]\s")
"""What begins a heading or a bullet also where it is indented."""
_KINDS = ("claim", "verification", "refutation", "usage")
_CURE = "write '- by 2027-04-08: what would be seen', with '(signal: claim OpenAI)' at its end if a signal shows it"


@dataclass(frozen=True)
class SignalTie:
    """The signals that show an observation: of a kind, by `lab` if one is named.

    `absent` asks that there be none. A usage figure counts if its elasticity is below or above the limit given.
    """

    kind: str
    lab: str = ""
    absent: bool = False
    below: float | None = None
    above: float | None = None

    def shown_by(self, signal: Signal) -> bool:
        """Whether one signal is such a signal."""
        if signal.kind != self.kind or self.lab not in ("", signal.source):
            return False
        if self.kind != "usage":
            return True
        elasticity = signal.usage_growth / signal.price_fall
        return (self.below is not None and elasticity < self.below) or (
            self.above is not None and elasticity > self.above
        )


@dataclass(frozen=True)
class Observation:
    """What would contradict a scenario if it is seen by a day."""

    scenario: str
    by: dt.date
    text: str
    tie: SignalTie | None


@dataclass(frozen=True)
class DueObservation:
    """An observation whose day has come, or that was seen before it; `contradicted` is None if somebody has to look."""

    observation: Observation
    contradicted: bool | None


@dataclass(frozen=True)
class _Line:
    """A heading, a bullet or another line, joined with the lines that continue it."""

    table: str
    number: int
    words: str

    def breach(self, value: str, rule: str, cure: str) -> Breach:
        return Breach(self.table, self.number, None, value, rule, cure)


def read_cards(
    text: str, scenarios: Collection[str], labs: Collection[str] | None = None, table: str = "scenarios.md"
) -> dict[str, tuple[Observation, ...]]:
    """The observations of each scenario that has a card; `labs` are the names that a tie may use, if known.

    Raises:
        BadInput: a heading that is no scenario, or twice, or a line that is no bullet of a card; all errors at once.
    """
    cards: dict[str, list[Observation]] = {}
    breaches: list[Breach] = []
    scenario: str | None = None
    for position, line in enumerate(_entries(text, table)):
        if position == 0 and _is_title(line.words, scenarios):
            continue
        if line.words.startswith("#"):
            breaches += _heading(line, scenarios, cards)
            scenario = line.words[3:].strip() if line.words.startswith("## ") else line.words
            cards.setdefault(scenario, [])
        elif scenario is None:
            cure = f"put it below its scenario, such as '## {next(iter(scenarios), 'scenario')}', or leave it out"
            breaches.append(line.breach(line.words[:60], "stands above the first '## scenario'", cure))
        else:
            read = _observation(line, scenario, labs)
            (breaches if isinstance(read, Breach) else cards[scenario]).append(read)  # type: ignore[arg-type]
    if breaches:
        raise BadInput(breaches)
    return {name: tuple(observations) for name, observations in cards.items()}


def cards_beside(
    folder: str | Path, scenarios: Collection[str], labs: Collection[str] | None = None
) -> dict[str, tuple[Observation, ...]]:
    """The cards of `scenarios.md` in a book's folder; none where there is no such file.

    Raises:
        BadInput: the file cannot be read, is not UTF-8 text, or is no page of cards.
    """
    path = Path(folder) / "scenarios.md"
    if not os.path.lexists(path):
        return {}
    text = utf8_text(read_regular_file(path, path.name), path.name, "save it as UTF-8 text")
    return read_cards(text, scenarios, labs)


def due_observations(
    cards: Mapping[str, Sequence[Observation]], signals: Sequence[Signal], as_of: dt.date
) -> tuple[DueObservation, ...]:
    """What has come due by `as_of`, earliest first, and whether the tied signals contradict the scenario."""
    told = []
    for observation in (observation for card in cards.values() for observation in card):
        tie = observation.tie
        until = min(observation.by, as_of)
        seen = tie is not None and any(tie.shown_by(signal) for signal in signals if signal.date <= until)
        passed = observation.by <= as_of
        if passed or (seen and tie is not None and not tie.absent):
            told.append(DueObservation(observation, None if tie is None else seen != tie.absent))
    return tuple(sorted(told, key=lambda due: due.observation.by))


def _entries(text: str, table: str) -> list[_Line]:
    """Headings, bullets and other lines, each joined with the indented lines that continue it."""
    entries: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words:
            continue
        if line[0].isspace() and entries and not entries[-1].words.startswith("#") and not _OPENS.match(words):
            entries[-1] = replace(entries[-1], words=f"{entries[-1].words} {words}")
        else:
            entries.append(_Line(table, number, words))
    return entries


def _is_title(words: str, scenarios: Collection[str]) -> bool:
    return words.startswith("# ") and closest_name(words[2:].strip(), scenarios) is None


def _heading(line: _Line, scenarios: Collection[str], cards: Collection[str]) -> Iterator[Breach]:
    """What is wrong with a heading, if anything is."""
    scenario = line.words[3:].strip()
    if not line.words.startswith("## "):
        near = closest_name(line.words.strip("# "), scenarios)
        cure = "write '## scenario'; a '# title' may only be the first line" if near is None else f"write '## {near}'"
        yield line.breach(line.words[:60], "is no heading of a card", cure)
    elif scenario in cards:
        yield line.breach(scenario, "is there twice", "join the two")
    elif scenario not in scenarios:
        yield line.breach(scenario, "no such scenario in book.toml", did_you_mean(scenario, scenarios))


def _observation(line: _Line, scenario: str, labs: Collection[str] | None) -> Observation | Breach:
    bullet = _BULLET.fullmatch(line.words)
    if bullet is None or not bullet[2]:
        return line.breach(line.words[:60], "is no dated observation", _CURE)
    try:
        by = dt.date.fromisoformat(bullet[1])
    except ValueError:
        return line.breach(bullet[1], "is no day of the calendar", "write a date such as 2027-04-08")
    tied = _TIED.fullmatch(bullet[2])
    if _MEANT.search(bullet[2] if tied is None else tied[1]):
        return line.breach(line.words[-60:], "has a signal that cannot be read", _CURE)
    if tied is None and _ENDS.fullmatch(bullet[2]):
        return line.breach(line.words[-60:], "ends in a bracket that is no signal", _CURE)
    if tied is None:
        return Observation(scenario, by, bullet[2], None)
    tie = _tie(line, tied[2].split(), labs)
    return tie if isinstance(tie, Breach) else Observation(scenario, by, tied[1], tie)


def _tie(line: _Line, words: list[str], labs: Collection[str] | None) -> SignalTie | Breach:
    absent = words[:1] == ["no"]
    kind, *rest = (words[1:] if absent else words) or [""]
    if kind not in _KINDS:
        return line.breach(" ".join(words), "no such kind of signal", did_you_mean(kind, _KINDS))
    if kind == "usage":
        if len(rest) != 2 or rest[0] not in ("below", "above") or not re.fullmatch(r"\d+(\.\d+)?", rest[1]):
            return line.breach(" ".join(words), "a usage figure needs a limit", "write 'usage below 1' or above")
        return SignalTie(kind, "", absent, **{rest[0]: float(rest[1])})
    lab = " ".join(rest)
    if lab and labs is not None and lab not in labs:
        return line.breach(lab, "no such source in [question.sources] or [question.labs]", did_you_mean(lab, labs))
    return SignalTie(kind, lab, absent)


# A book with the scenario cards beside it, every error of both at once.
#
Cards = dict[str, tuple[Observation, ...]]


def load_with_cards(
    folder: str | Path,
    *,
    account: str | None = None,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
) -> tuple[Book, Cards]:
    """Read and check a book and its `scenarios.md`; see `load` for the arguments.

    Raises:
        BadInput: a table, a setting or a card is not of its contract. Cards are held to the scenarios of `book.toml`:
            where it cannot be read, nothing is said of them.
    """
    try:
        book = load(folder, account=account, overrides=overrides, as_of=as_of)
    except BadInput as error:
        raise BadInput([*error.breaches, *_breaches_of_cards(folder, overrides, as_of)]) from None
    return book, _cards(folder, book.settings)


def _cards(folder: str | Path, settings: Settings) -> Cards:
    sources = None if settings.question is None else tuple(settings.sources)
    return cards_beside(folder, tuple(settings.scenarios), sources)


def _breaches_of_cards(folder: str | Path, overrides: Sequence[str], as_of: dt.date | None) -> tuple[Breach, ...]:
    """What is wrong with the cards of a book whose tables cannot be read."""
    try:
        settings = read_settings(book_text(Path(folder)), overrides=overrides, as_of=as_of)
    except BadInput:
        return ()  # the book's own errors say so
    try:
        _cards(folder, settings)
    except BadInput as error:
        return error.breaches
    return ()
