"""`allocator beliefs`, `returns`, `implied`, `claims` and `outlook`: what is believed, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from allocator.commands.options import BookChoice, book_options, file_options, handle_errors_and_json
from allocator.errors import BadInput, Breach
from allocator.presentation import ByName, Document, IsoDate, Keywords, Probability

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.outlook.belief_report import BeliefReport
    from allocator.outlook.efficiency_model_claims import CheckedClaim, Weights
    from allocator.outlook.implied_probabilities import ImpliedProbabilities
    from allocator.outlook.question import Signal
    from allocator.outlook.scenario_cards import DueObservation

# `allocator beliefs BOOK`: where the replicability question stands.
#


class _ScenarioBelief(TypedDict):
    scenario: str
    prior: float
    belief: float
    market: float | None


_DatedBelief = TypedDict("_DatedBelief", {"date": IsoDate, "hypotheses": ByName})


class _DatedSignal(TypedDict):
    date: IsoDate
    kind: str
    source: str
    hypothesis: Annotated[str, "what it is about; empty of a usage figure"]
    strength: Annotated[Probability, "the part of its weight that counts"]
    log10_bayes_factor: Annotated[float | None, "of evidence; null for other kinds"]
    price_fall: Annotated[float | None, "log fall of the price, of a usage figure; null for other kinds"]
    usage_growth: Annotated[float | None, "log growth of usage, of a usage figure; null for other kinds"]


class _NextSignalRow(TypedDict):
    signal: str
    hypotheses: ByName
    regimes: Annotated[ByName | None, "of each regime after it; null without [question.demand]"]


_DueCard = TypedDict("_DueCard", {"scenario": str, "by": IsoDate, "observation": str, "contradicted": bool | None})


class BeliefsDocument(TypedDict):
    """Where the open question stands."""

    format: Literal["allocator.beliefs/2"]
    as_of: IsoDate
    hypotheses: Annotated[ByName, "probability of each answer to the question"]
    regimes: Annotated[ByName | None, "probability of each regime; null without [question.demand]"]
    bounds: Annotated[
        list[float] | None,
        Keywords(minItems=2, maxItems=2),
        "of the first hypothesis, lowest and highest over [question.ranges] and the belief itself",
    ]
    settled: Annotated[str | None, "the hypothesis that it is settled on; null while it is open"]
    threshold: Annotated[Probability, "from which on an answer is settled"]
    scenarios: list[_ScenarioBelief]
    path: list[_DatedBelief]
    signals: list[_DatedSignal]
    next: list[_NextSignalRow]
    settled_by_silence: Annotated[
        IsoDate | None,
        "the day on which silence alone settles it; where it is settled, the day on which it was; "
        "null if never within 20 years",
    ]
    settled_within: Annotated[
        dict[str, float],
        "probability of being settled by then, at least: by silence, by a verdict on an open claim, or by the next "
        "claim and its verification; what a second further claim would add is left out",
    ]
    cards: Annotated[list[_DueCard], "scenario cards that are due"]


def beliefs_document(found: BeliefReport, told: Sequence[DueObservation]) -> BeliefsDocument:
    """Where the question stands, and which scenario cards are due, as plain data."""
    market = [None] * len(found.scenarios) if found.market is None else map(float, found.market)
    beliefs = zip(found.scenarios, map(float, found.prior), map(float, found.belief), market, strict=True)
    return {
        "format": "allocator.beliefs/2",
        "as_of": found.day.isoformat(),
        "hypotheses": dict(zip(found.hypotheses, map(float, found.answers), strict=True)),
        "regimes": found.regimes,
        "bounds": None if found.bounds is None else list(found.bounds),
        "settled": found.settled,
        "threshold": found.threshold,
        "scenarios": [
            {"scenario": name, "prior": prior, "belief": belief, "market": price}
            for name, prior, belief, price in beliefs
        ],
        "path": [
            {
                "date": found.days[i].isoformat(),
                "hypotheses": dict(zip(found.hypotheses, map(float, found.path[i]), strict=True)),
            }
            for i in found.months()
        ],
        "signals": list(map(_signal, found.signals)),
        "next": [
            {
                "signal": possible.what,
                "hypotheses": dict(zip(found.hypotheses, map(float, possible.hypotheses), strict=True)),
                "regimes": possible.regimes,
            }
            for possible in found.next_signals
        ],
        "settled_by_silence": None if found.settled_by_silence is None else found.settled_by_silence.isoformat(),
        "settled_within": {f"{months}_months": found.settlement.within(months) for months in (3, 6, 12, 18, 24, 36)},
        "cards": list(map(_card, told)),
    }


def _signal(signal: Signal) -> _DatedSignal:
    usage = signal.kind == "usage"
    return {
        "date": signal.date.isoformat(),
        "kind": signal.kind,
        "source": signal.source,
        "hypothesis": signal.hypothesis,
        "strength": signal.strength,
        "log10_bayes_factor": signal.log10_bayes_factor if signal.kind == "evidence" else None,
        "price_fall": signal.price_fall if usage else None,
        "usage_growth": signal.usage_growth if usage else None,
    }


def _card(one: DueObservation) -> _DueCard:
    card, contradicted = one.observation, one.contradicted
    return {
        "scenario": card.scenario,
        "by": card.by.isoformat(),
        "observation": card.text,
        "contradicted": contradicted,
    }


@click.command()
@book_options
@handle_errors_and_json
@file_options
def beliefs(choice: BookChoice, *, as_json: bool) -> Document:
    """Show the scenario probabilities given BOOK's signals and silence: today, through time, after next signals.

    \b
    Example:
      allocator beliefs data/note
    """
    from allocator.outlook.belief_report import belief_report
    from allocator.outlook.scenario_cards import due_observations

    loaded, observations = choice.load_with_cards()
    found = belief_report(loaded)
    told = due_observations(observations, found.signals, found.day)
    if not as_json:
        from allocator.display.outlook import show_beliefs

        show_beliefs(loaded, found, told)
    return beliefs_document(found, told)


@click.command()
@book_options
@handle_errors_and_json
@file_options
def outlook(choice: BookChoice, *, as_json: bool) -> Document:
    """Draw the tree of what may be known at each review of BOOK, with the probability of each branch and its belief.

    \b
    Examples:
      allocator outlook data/reviewed
      allocator outlook data/reviewed --json
    """
    from allocator.outlook.outlook import build_outlook
    from allocator.outlook.scenario_tree import build_review_tree, tree_document

    loaded = choice.load()
    reviews = build_review_tree(loaded, build_outlook(loaded))
    if not as_json:
        from allocator.display.outlook import show_tree

        show_tree(loaded, reviews)
    return tree_document(loaded, reviews)


# `allocator returns BOOK`: what each instrument returns in each scenario, and which driver makes it.
#


@click.command()
@book_options
@click.option("--drivers", "instrument", metavar="INSTRUMENT", help="Split one instrument's returns into drivers.")
@handle_errors_and_json
@file_options
def returns(
    choice: BookChoice,
    instrument: str | None,
    *,
    as_json: bool,
) -> Document:
    """Show BOOK's scenario returns, and with --drivers where one instrument's come from.

    \b
    Examples:
      allocator returns data/note
      allocator returns data/note --drivers META
    """
    from allocator.outlook.outlook import attribute_returns

    loaded = choice.load()
    found = attribute_returns(loaded, instrument)
    if not as_json:
        from allocator.display.outlook import show_returns

        show_returns(loaded, found)
    return found.document()


# `allocator implied BOOK`: the scenario probabilities that prices imply.
#


class _ScenarioProbabilities(TypedDict):
    scenario: str
    stated: Annotated[float, "the market's, of [market] date"]
    moved: Annotated[float, "the same, moved by the signals and the silence since"]
    implied: Annotated[float, "those nearest to moved that explain the price moves"]


class _InstrumentMove(TypedDict):
    instrument: str
    observed: float
    explained: float
    residual: float


_NotRead = TypedDict("_NotRead", {"instrument": str, "reason": str})


class ImpliedDocument(TypedDict):
    """Scenario probabilities that price moves imply."""

    format: Literal["allocator.implied/1"]
    as_of: IsoDate
    scenarios: list[_ScenarioProbabilities]
    instruments: list[_InstrumentMove]
    not_read: Annotated[list[_NotRead], "names whose price move was not read"]


def implied_document(book: Book, found: ImpliedProbabilities) -> ImpliedDocument:
    """What prices imply, and what is left unexplained, as plain data."""
    beliefs = zip(found.scenarios, found.stated, found.moved, found.probabilities, strict=True)
    moves = zip(found.names, found.observed, found.explained, found.residuals, strict=True)
    return {
        "format": "allocator.implied/1",
        "as_of": book.settings.book.as_of.isoformat(),
        "scenarios": [
            {"scenario": name, "stated": float(stated), "moved": float(moved), "implied": float(implied)}
            for name, stated, moved, implied in beliefs
        ],
        "instruments": [
            {"instrument": name, "observed": float(seen), "explained": float(explained), "residual": float(rest)}
            for name, seen, explained, rest in moves
        ],
        "not_read": [{"instrument": one.instrument, "reason": one.reason} for one in found.not_read],
    }


@click.command()
@book_options
@click.option(
    "--move",
    "moves",
    multiple=True,
    metavar="NAME=RETURN",
    help="A price move since [market] date, such as NVDA=-0.12. Repeatable; without it prices.csv is read.",
)
@click.option(
    "--without", multiple=True, metavar="NAME", help="Leave this name's move unread. Repeatable, with either source."
)
@handle_errors_and_json
def implied(
    choice: BookChoice,
    moves: tuple[str, ...],
    without: tuple[str, ...],
    *,
    as_json: bool,
) -> Document:
    """Infer the market's scenario probabilities from price moves.

    Of all that explain the moves, those nearest to what BOOK's signals have made of the market's own since its date.

    \b
    Example:
      allocator implied data/listed --move NVDA=-0.05 --move META=0.02
    """
    from allocator.outlook.implied_probabilities import infer_probabilities as infer

    loaded = choice.load()
    numbers, breaches = _numbers(moves)
    if breaches and not numbers:
        raise BadInput(breaches)
    try:
        found = infer(loaded, numbers if moves else None, without)
    except BadInput as error:
        raise BadInput([*breaches, *error.breaches]) from None
    if breaches:
        raise BadInput(breaches)
    if not as_json:
        from allocator.display.outlook import show_implied

        show_implied(loaded, found)
    return implied_document(loaded, found)


def _numbers(moves: tuple[str, ...]) -> tuple[dict[str, float], list[Breach]]:
    """The moves that can be read, and what is wrong with the others."""
    numbers: dict[str, float] = {}
    breaches = []
    for move in moves:
        name, _, value = (part.strip() for part in move.partition("="))
        try:
            number = float(value)
        except ValueError:
            breaches.append(Breach("--move", None, None, move, "must be NAME=RETURN", "write for example NVDA=-0.12"))
            continue
        if name in numbers:
            breaches.append(Breach("--move", None, name, value, "is given twice", "give one move for each name"))
        numbers.setdefault(name, number)
    return numbers, breaches


# `allocator claims BOOK`: hold the claims of a text against its own figures.
#


class _FoundInterval(TypedDict):
    low: float
    high: float


class _ClaimVerdict(TypedDict):
    claim: Annotated[str, "in its author's words"]
    check: Annotated[str, "the formula's name, or the question to the book's outlook"]
    meaning: Annotated[str, "the formula in words"]
    unit: Annotated[str, "of both intervals"]
    stated: Annotated[dict[str, float | None], ("low", "high"), "what the claim states; null is unbounded"]
    found: Annotated[_FoundInterval | None, "what the figures give; null where it was not solved"]
    dates: Annotated[dict[str, _FoundInterval], "what the outlook gives, by day; empty of figures"]
    margin: Annotated[float | None, "how far found lies within stated, below 0 where it does not"]
    verdict: Annotated[
        str,
        Keywords(enum=["holds", "holds only if", "does not hold", "implies", "not solved"]),
        "implies: nothing is stated, found is what the claim amounts to; not solved: it needs plans, and --advice",
    ]
    sentence: Annotated[str, "the verdict with its reason"]


class ClaimsDocument(TypedDict):
    """What `allocator claims` found: each claim, what it states, what the figures give, and the verdict."""

    format: Literal["allocator.claims/1"]
    claims: list[_ClaimVerdict]


@click.command()
@book_options
@click.option("--advice", is_flag=True, help="Solve for what would be held, where a claim asks: some seconds.")
@handle_errors_and_json
def claims(choice: BookChoice, advice: bool, *, as_json: bool) -> Document:
    """Check every claim of BOOK's claims.csv with the figures of figures.csv, or with the book's own outlook.

    Each claim is shown with what it states, what was found, and whether it holds.

    \b
    Examples:
      allocator claims data/note
      allocator claims data/note --advice
    """
    from allocator.outlook.efficiency_model_claims import check_claims

    weights: Weights | None = None
    if advice:
        from allocator.stress_testing.belief_sweep import weights_by_belief

        weights = weights_by_belief
    checked = check_claims(choice.path, choice.load, weights)
    if not as_json:
        from allocator.display.outlook import show_claims

        show_claims(choice.path, checked)
    return {"format": "allocator.claims/1", "claims": list(map(_claim, checked))}


def _claim(one: CheckedClaim) -> _ClaimVerdict:
    return {
        "claim": one.claim,
        "check": one.formula.name,
        "meaning": one.formula.meaning,
        "unit": one.formula.unit,
        "stated": {"low": one.low, "high": one.high},
        "found": None if one.found is None else _interval(one.found),
        "dates": {name: _interval(found) for name, found in one.dates.items()},
        "margin": one.margin(one.found),
        "verdict": one.verdict,
        "sentence": one.sentence,
    }


def _interval(found: tuple[float, float]) -> _FoundInterval:
    return {"low": found[0], "high": found[1]}
