"""Many draws of a book's parameters at once: what its outlook would be at each of them, by the outlook's own formulas.

A parameter is named by its key in `book.toml`, as in `book/doubted.py`. With `prices` "follow", the market is taken to
know the parameter as we do, which is what a book with that parameter would say; with "stay", today's prices are those
of the book's own parameters, and the parameter turns out to be another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from allocator.book.book import Book
from allocator.outlook.calibration import (
    adopted,
    anchored,
    loadings_of,
    market_probabilities,
    modelled,
    probabilities_of,
    question_of,
    scenarios_of,
    signals_of,
)
from allocator.outlook.efficiency_model import (
    Loadings,
    Scenarios,
    Technique,
    market,
    scenario_returns,
    value_multipliers,
)
from allocator.outlook.outlook import Outlook, outlook_of, with_given
from allocator.outlook.posterior import posterior, prior_at
from allocator.outlook.question import Question, Signal
from allocator.types import Matrix, Vector

Prices: TypeAlias = Literal["follow", "stay"]


@dataclass(frozen=True, eq=False)
class Ground:
    """What draws of a book's parameters start from, read from the book once."""

    book: Book
    outlook: Outlook
    prices: Prices
    question: Question | None
    signals: Sequence[Signal]
    technique: Technique | None
    scenarios: Scenarios | None
    loadings: Loadings | None
    anchor: Vector | None
    """(N,) what today's prices hold by the book's own parameters."""
    probabilities: Vector
    market: tuple[Vector | None, Vector | None]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The outlook at D draws: `returns` (D, K, N) over the horizon, `probabilities` (D, K) on as_of.

    `market` (D, K) are the market's probabilities on as_of, None without [market]; `share` (D,) the announcement share.
    """

    returns: Matrix
    probabilities: Matrix
    market: Matrix | None
    share: Vector


def ground_of(book: Book, prices: Prices = "follow", outlook: Outlook | None = None) -> Ground:
    """Read from a book what its draws need.

    Raises:
        BadInput: the price history cannot give a covariance.
    """
    settings, model = book.settings, modelled(book)
    return Ground(
        book=book,
        outlook=outlook or outlook_of(book),
        prices=prices,
        question=question_of(book),
        signals=signals_of(book),
        technique=None if model is None else model.technique,
        scenarios=None if settings.model is None else scenarios_of(book),
        loadings=None if settings.model is None else loadings_of(book),
        anchor=None if model is None else model.anchor,
        probabilities=probabilities_of(book),
        market=market_probabilities(book),
    )


def evaluated(ground: Ground, values: Mapping[str, Vector]) -> Evaluated:
    """The outlook at each of D draws: `values` (D,) by key; what is not named stays as the book has it."""
    draws = len(next(iter(values.values())))
    names, scenarios = len(ground.book.instruments), len(ground.book.scenarios)
    probabilities, now = _beliefs(ground, values)
    stated = float(ground.book.settings.horizon.announcement_share or 0.0)
    share = np.broadcast_to(values.get("horizon.announcement_share", np.array(stated)), (draws,))
    modelled_returns = _modelled(ground, values, now, share)
    returns = ground.outlook.returns if modelled_returns is None else with_given(ground.book, modelled_returns)
    return Evaluated(
        returns=np.broadcast_to(returns, (draws, scenarios, names)),
        probabilities=np.broadcast_to(probabilities, (draws, scenarios)),
        market=None if now is None else np.broadcast_to(now, (draws, scenarios)),
        share=share,
    )


def _beliefs(ground: Ground, values: Mapping[str, Vector]) -> tuple[Matrix, Matrix | None]:
    """Our probabilities and the market's on as_of: (D, K) where the question's numbers are drawn, else (1, K)."""
    drawn = {key.partition(".")[2]: values[key] for key in values if key.startswith("question.")}
    if ground.question is None or not drawn:
        now = ground.market[1]
        return ground.probabilities[None, :], None if now is None else now[None, :]
    question = _asked(ground.question, drawn)
    belief = posterior(question, ground.signals, [ground.book.settings.book.as_of])
    own = belief[:, 0] if belief.ndim == 3 else belief
    now = market_probabilities(ground.book, question)[1]
    return own, None if now is None else np.atleast_2d(now[:, 0] if now.ndim == 3 else now)


def _asked(question: Question, drawn: Mapping[str, Vector]) -> Question:
    """The question with the prior of G, and one value that all labs share, drawn: arrays (D, 1, 1)."""
    own = {name: values[:, None, None] for name, values in drawn.items()}
    labs = {
        name: replace(
            lab,
            disclosure=own.get("disclosure", lab.disclosure),
            hazard=own.get("hazard", lab.hazard),
            background=own.get("background", lab.background),
        )
        for name, lab in question.labs.items()
    }
    prior = prior_at(question, own["prior_generalizable"]) if "prior_generalizable" in own else question.prior
    return replace(question, labs=labs, prior=prior)


def _modelled(ground: Ground, values: Mapping[str, Vector], now: Matrix | None, share: Vector) -> Matrix | None:
    """(D, K, N) the efficiency model's returns; None without it, or where nothing drawn reaches it."""
    if ground.technique is None or ground.scenarios is None or ground.loadings is None:
        return None
    technique = replace(ground.technique, **_of(values, "model."))
    scenarios = _drawn_scenarios(ground, values)
    years = ground.book.settings.years
    state = market(scenarios, technique, years + adopted(ground.book))
    worth = value_multipliers(state, ground.loadings, technique)
    if ground.prices == "stay":
        assert ground.anchor is not None
        return scenario_returns(worth, ground.loadings, ground.anchor, years)
    then, stated = ground.market
    moved = now if stated is None or now is None else stated if stated is then else now[:, None, :]
    anchor = anchored(worth, then, moved, share[:, None])
    return scenario_returns(worth, ground.loadings, anchor[..., None, :], years)


def _of(values: Mapping[str, Vector], prefix: str) -> dict[str, Matrix]:
    """(D, 1) the drawn parameters whose key begins so, by the rest of it."""
    return {key.removeprefix(prefix): drawn[:, None] for key, drawn in values.items() if key.startswith(prefix)}


def _drawn_scenarios(ground: Ground, values: Mapping[str, Vector]) -> Scenarios:
    """The scenarios' parameters, (D, K) where one of them is drawn."""
    assert ground.scenarios is not None
    changed: dict[str, Matrix] = {}
    for key, drawn in values.items():
        room, _, rest = key.partition(".")
        if room != "scenarios":
            continue
        scenario, _, name = rest.rpartition(".")
        if name not in changed:
            changed[name] = np.tile(getattr(ground.scenarios, name), (len(drawn), 1))
        changed[name][:, ground.book.scenarios.index(scenario)] = drawn
    return replace(ground.scenarios, **changed)


def joined(first: Evaluated, second: Evaluated) -> Evaluated:
    """The draws of both, one after the other."""
    market = None
    if first.market is not None and second.market is not None:
        market = np.concatenate([first.market, second.market])
    return Evaluated(
        returns=np.concatenate([first.returns, second.returns]),
        probabilities=np.concatenate([first.probabilities, second.probabilities]),
        market=market,
        share=np.concatenate([first.share, second.share]),
    )
