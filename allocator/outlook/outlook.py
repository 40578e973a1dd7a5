"""What we believe: scenario probabilities, what each instrument returns in each scenario, and the risk within one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book, copy_for_plugins, refuse_no_book
from allocator.book.defaults import Classification, ClassificationRows
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.outlook.calibration import (
    announcement_share,
    build_question,
    calibrate,
    dated_signals,
    market_anchor,
    market_path,
    model_splits,
    price_notes,
    refuse_implausible,
    required_growth,
    scenario_probabilities,
    typed_names,
    typed_values,
)
from allocator.outlook.posterior import bayes_update, posterior, require_finite
from allocator.outlook.question import Question
from allocator.outlook.risk_model import FactorRisk, build_risk_model
from allocator.outlook.views import PooledViews, book_views
from allocator.plugins import Plugin, call_plugin, load_plugin, plugin_refusal
from allocator.presentation import ByName, Keywords
from allocator.settings.settings import Settings
from allocator.tables import validate
from allocator.tables.files import from_frame
from allocator.tables.schema import UNCLASSIFIED
from allocator.types import Matrix, Vector

# Scenario returns from another package's model, held to the contract of scenario_returns.csv.
#
# A plugin is `make(book, parameters)` and gives a DataFrame as that table has it: instruments and cash down, scenarios
# across, simple returns over the horizon. It is aligned by label, never by position.
#


def plugin_returns(book: Book) -> pd.DataFrame | None:
    """(N + 1, K) returns of instruments and, last, cash; None where the book names no model of another package.

    Raises:
        BadInput: the plugin is missing or fails, or what it gives is not of the contract; all errors at once.
    """
    for name, parameters in book.settings.plugins.models.items():
        plugin, make = load_plugin("models", name, "book.toml", f"plugins.models.{name}")
        first, again = (
            _held(plugin, book, call_plugin(plugin, make, copy_for_plugins(book), deepcopy(parameters)))
            for _ in range(2)
        )
        if not first.equals(again):  # and so would the plan be: the same inputs give the same plan
            cure = "let it draw its random numbers from a seed among its parameters"
            raise BadInput([plugin_refusal(plugin, "gave two answers to one question", cure)])
        return first
    return None


def _held(plugin: Plugin, book: Book, answer: object) -> pd.DataFrame:
    """The frame in the book's order, once it is of its contract."""
    if not isinstance(answer, pd.DataFrame):
        cure = "a table as of scenario_returns.csv is wanted"
        raise BadInput([plugin_refusal(plugin, f"gives a {type(answer).__name__}, not a DataFrame", cure)])
    raw = from_frame(str(plugin), answer if "instrument" in answer else answer.rename_axis(index="instrument"))
    frame, breaches = validate("scenario_returns", raw)
    everyone = [*book.instruments, book.cash_instrument]
    if not breaches:
        columns = [str(column) for column in frame if column not in ("instrument", "source")]
        breaches += _strangers(plugin, "instrument", list(frame["instrument"]), everyone)
        breaches += _strangers(plugin, "scenario", columns, book.scenarios)
    if breaches:
        own = str(plugin)
        raise BadInput(replace(each, table=plugin.package) if each.table == own else each for each in breaches)
    return frame.set_index("instrument").loc[everyone, list(book.scenarios)]


def _strangers(plugin: Plugin, what: str, given: Sequence[str], wanted: Sequence[str]) -> Iterator[Breach]:
    """Labels that mean nothing here, and those that are missing: neither is dropped or filled in."""
    for name in given:
        if name not in wanted:
            rule = f"knows a{'n' if what[0] == 'i' else ''} {what} that the book has not"
            yield plugin_refusal(plugin, rule, did_you_mean(name, wanted), name)
    for name in wanted:
        if name not in given:
            yield plugin_refusal(plugin, f"gives no returns for the {what}", "have it make them all", name)


# Expected return in three parts, B our expected value of a name, M the market's, A what its price holds, k its required
# return and H the horizon: (1 + k)^H B/A − 1 = required + disagreement + undigested news, by M and then A in its place.
#
PARTS = ("required", "disagreement", "undigested_news", "not_anchored")
"""Of an expected return; the last is what no market says anything of. A part that there is not is left out."""
EXPECTED_PARTS = (
    "of the expected return, adding up to it: required; disagreement with the market; undigested_news, still to come "
    "into prices; not_anchored, of which no market says anything. A part that there is not is left out"
)


@dataclass(frozen=True, eq=False)
class PricedIn:
    """What prices hold of N names: `required` growth over the horizon, NaN where it is not known; and, in logs,
    `undigested` news that prices take in later but for the part that came with it, the announcement `share`.

    That is NaN for names that no market anchors: those of a book without one, and those whose returns are typed in
    place of a model's.
    """

    required: Vector
    undigested: Vector
    share: float

    def parts(self, expected: Vector) -> Matrix:
        """(4, N) PARTS of expected returns (N,), to which they add up; NaN where there is no such part."""
        required = self.required - 1
        # (1 + k)^H B/M: what would be expected were all news digested, A/M of which is in prices
        digested = (1 + expected) * np.exp((self.share - 1) * self.undigested)
        other = np.where(np.isnan(self.undigested), expected - np.nan_to_num(required), np.nan)
        return np.array([required, digested - self.required, 1 + expected - digested, other])


@dataclass(frozen=True, eq=False)
class Outlook:
    """K scenarios for N instruments and cash, over one horizon.

    `returns` (K, N) and `cash_returns` (K,) are simple returns over `years`; `probabilities` (K,) sum to one; `risk`
    is over the same horizon. `priced` is what prices hold of the names, where that is known; `views` what `[views]` did
    to the probabilities, None without any.
    """

    scenarios: tuple[str, ...]
    probabilities: Vector
    returns: Matrix
    cash_returns: Vector
    risk: FactorRisk
    years: float
    priced: PricedIn | None = None
    views: PooledViews | None = None

    def portfolio_returns(self, holdings: Vector, cash: float) -> Vector:
        """(K,) gains of holdings and cash in each scenario, as fractions of the wealth they are fractions of."""
        result: Vector = self.returns @ holdings + self.cash_returns * cash
        return result

    def expected_parts(self) -> Matrix:
        """(4, N + 1) PARTS of the expected return of each name and, last, of cash, of which all is required; NaN where
        there is no such part.
        """
        nothing = np.full((len(PARTS), self.returns.shape[1] + 1), np.nan)
        if self.priced is not None:
            nothing[:, :-1] = self.priced.parts(self.probabilities @ self.returns)
            nothing[0, -1] = self.probabilities @ self.cash_returns
        return nothing

    def portfolio_parts(self, holdings: Vector, cash: float) -> dict[str, float]:
        """PARTS of the expected return of holdings and cash, those that there are."""
        parts = self.expected_parts()
        return named_parts(parts, np.nan_to_num(parts) @ np.append(holdings, cash))

    def variance_between(self, holdings: Vector, cash: float) -> float:
        """Variance over the horizon of the scenario means, under the stated probabilities."""
        gains = self.portfolio_returns(holdings, cash)
        mean = float(self.probabilities @ gains)
        return float(self.probabilities @ (gains - mean) ** 2)


def named_parts(parts: Matrix, amounts: Vector) -> dict[str, float]:
    """`amounts` (4,) by name, of those PARTS that some column of (4, …) has."""
    there = [name for name, row in zip(PARTS, parts, strict=True) if not np.isnan(row).all()]
    return {name: float(amount) for name, amount in zip(PARTS, amounts, strict=True) if name in there}


def build_outlook(book: Book) -> Outlook:
    """The outlook of a book on its as_of date: (K,) probabilities, (K, N) simple returns over the horizon, and risk.

    Probabilities: those of `book.toml`, updated by signals and silence where there is a `[question]`, by `[believe]`
    and by `[views]`. Returns: the efficiency model's where there is a `[model]`, or another package's of
    `[plugins.models]`, replaced name by name by the user's `scenario_returns.csv`. Without either, typed returns are
    anchored to a `[market]`: under its probabilities each name earns its required return.

    Raises:
        BadInput: the price history cannot give a covariance by the rules of `[risk]`, a plugin's model no returns, or
            no probabilities meet the views.
    """
    refuse_no_book(book)
    return _with_views(book) if book.settings.views else _before_views(book)


def _before_views(book: Book) -> Outlook:
    years = book.settings.years
    returns, cash_returns, priced = _returns(book, years)
    return Outlook(
        scenarios=book.scenarios,
        probabilities=scenario_probabilities(book),
        returns=returns,
        cash_returns=cash_returns,
        risk=build_risk_model(book),
        years=years,
        priced=priced,
    )


# Views are of what the outlook says, and move its probabilities as evidence of as_of does, of exactly the Bayes factors
# that give what they are pooled to: reviews, silence and settlement go on from there. The market does not share them.
#


@lru_cache(maxsize=4)
def _with_views(book: Book) -> Outlook:
    """The outlook with `[views]`; of the same book the same one, as every node of a tree asks for its question."""
    before = _before_views(book)
    pooled = book_views(book, before.probabilities, before.returns, before.cash_returns, before.risk, before.years)
    moved = bayes_update(before.probabilities, pooled.log_odds[None, :])[0]
    return replace(before, probabilities=moved, views=pooled)


def believed_question(book: Book) -> Question | None:
    """The open question of a book, with what `[believe]` and `[views]` add to the odds from as_of on."""
    question = build_question(book)
    if question is None or not book.settings.views:
        return question
    views, stated = _with_views(book).views, question.view
    assert views is not None
    return replace(question, view=(book.settings.book.as_of, views.log_odds + (0.0 if stated is None else stated[1])))


def with_belief_as_prior(settings: Settings, book: Book) -> Settings:
    """Settings whose prior is what `[believe]` and `[views]` of a book make of its own, so that news goes on from there
    on later days and at other prices, where a belief stated anew would take the news back.
    """
    if not (book.settings.believe or book.settings.views):
        return settings
    question = believed_question(book)
    if question is None or question.view is None:
        prior = build_outlook(book).probabilities
    else:
        prior = bayes_update(question.prior, question.view[1][None, :])[0]
    believed = zip(settings.scenarios.items(), prior, strict=True)
    scenarios = {name: one.model_copy(update={"probability": float(p)}) for (name, one), p in believed}
    return settings.model_copy(update={"scenarios": scenarios, "believe": {}, "views": {}})


def believed_probabilities(book: Book, day: dt.date) -> Vector:
    """(K,) scenario probabilities on another day, by the signals until then and, from as_of on, what is believed."""
    question = believed_question(book)
    if question is None:
        return build_outlook(book).probabilities if book.settings.views else scenario_probabilities(book, day)
    result: Vector = posterior(question, dated_signals(book), [day])[0]
    return result


def _returns(book: Book, years: float) -> tuple[Matrix, Vector, PricedIn]:
    """(K, N) and (K,): the model's, ours or a plugin's, then the user's own over them; and what prices hold of them."""
    model, given, plugged = calibrate(book), book.scenario_returns, plugin_returns(book)
    nothing = np.full((len(book.scenarios), len(book.instruments)), np.nan)
    returns, undigested = nothing, nothing[0]
    if model is not None:
        refuse_implausible(book, model)
        returns, undigested = model.returns, model.undigested
    if plugged is not None:
        returns, undigested = plugged.to_numpy(dtype=float)[:-1].T, nothing[0]
    returns = with_typed_returns(book, returns)
    undigested = np.where(typed_names(book), np.nan, undigested)
    values, share = typed_values(book), announcement_share(book)
    if values is not None:
        anchor, undigested = market_anchor(values, market_path(book), share)
        returns = required_growth(book) * values / require_finite(anchor, "market", "what prices already hold") - 1
    if book.cash_instrument in given.index:
        cash = given.loc[book.cash_instrument].to_numpy(dtype=float)
    elif plugged is not None:
        cash = plugged.loc[book.cash_instrument].to_numpy(dtype=float)
    else:
        cash = np.full(len(book.scenarios), (1 + float(book.cash_required_return or 0.0)) ** years - 1)
    return np.ascontiguousarray(returns), cash, PricedIn(required_growth(book), undigested, share)


def with_typed_returns(book: Book, returns: Matrix) -> Matrix:
    """(K, N), or (draws, K, N): the user's own scenario returns where there are any, else `returns`."""
    places = {name: at for at, name in enumerate(book.scenario_returns.index)}
    given = np.vstack([book.scenario_returns.to_numpy(dtype=float), np.full(len(book.scenarios), np.nan)])
    own = given[[places.get(name, -1) for name in book.instruments]].T
    result: Matrix = np.where(np.isnan(own), returns, own)
    return result


# What an outlook says as a pandas object, under the labels of its book.
#


def returns_frame(book: Book, outlook: Outlook) -> pd.DataFrame:
    """(N + 1, K) simple returns over the horizon: instruments and, last, cash down, scenarios across.

    It is of the contract of `scenario_returns.csv`, so it can be a table of another book.
    """
    everyone = pd.Index([*book.instruments, book.cash_instrument], name="instrument")
    returns = np.column_stack([outlook.returns, outlook.cash_returns]).T
    return pd.DataFrame(returns, index=everyone, columns=list(outlook.scenarios))


# Scenario returns as something to read: whose they are, and which driver makes them.
#


class _InstrumentReturns(TypedDict):
    instrument: str
    origin: Annotated[str, Keywords(pattern="^(model|table|table, anchored|unclassified|plugin .+)$")]
    expected: float
    parts: Annotated[ByName, EXPECTED_PARTS]
    returns: ByName
    splits: Annotated[ByName, "parts of its value that the model tells apart beside the buckets; empty without a model"]


_InstrumentDrivers = TypedDict("_InstrumentDrivers", {"instrument": str, "scenarios": dict[str, ByName]})


class ReturnsDocument(TypedDict):
    """Scenario returns, and one instrument's drivers."""

    format: Literal["allocator.returns/1"]
    scenarios: ByName
    instruments: list[_InstrumentReturns]
    notes: Annotated[list[str], "prices that pass-through asks for and sellers do not support"]
    drivers: NotRequired[_InstrumentDrivers]
    classification: NotRequired[ClassificationRows]


@dataclass(frozen=True, eq=False)
class ReturnAttribution:
    """Scenario returns of a book: `origins` says model, table, anchored table or `plugin NAME` for each instrument.

    With an `instrument`, `drivers` (K,) by name add up to its return in each scenario. `notes` are of prices that
    sellers do not support, `splits` (N,) parts of values by name.
    """

    outlook: Outlook
    instruments: tuple[str, ...]
    origins: tuple[str, ...]
    instrument: str | None
    drivers: Mapping[str, Vector] | None
    notes: tuple[str, ...]
    splits: Mapping[str, Vector]
    classification: Classification = field(default_factory=Classification)

    def document(self) -> ReturnsDocument:
        """The account as plain data."""
        scenarios, outlook, parts = self.outlook.scenarios, self.outlook, self.outlook.expected_parts()
        document: ReturnsDocument = {
            "format": "allocator.returns/1",
            "scenarios": dict(zip(scenarios, map(float, outlook.probabilities), strict=True)),
            "instruments": [
                {
                    "instrument": name,
                    "origin": self.origins[i],
                    "expected": float(outlook.probabilities @ outlook.returns[:, i]),
                    "parts": named_parts(parts[:, i], parts[:, i]),
                    "returns": dict(zip(scenarios, map(float, outlook.returns[:, i]), strict=True)),
                    "splits": {split: float(parts[i]) for split, parts in self.splits.items()},
                }
                for i, name in enumerate(self.instruments)
            ],
            "notes": list(self.notes),
        }
        if (said := self.classification.document()) is not None:
            document["classification"] = said
        if self.instrument is not None and self.drivers is not None:
            document["drivers"] = {
                "instrument": self.instrument,
                "scenarios": {
                    name: {driver: float(parts[k]) for driver, parts in self.drivers.items()}
                    for k, name in enumerate(scenarios)
                },
            }
        return document


def attribute_returns(book: Book, instrument: str | None = None) -> ReturnAttribution:
    """The scenario returns of a book, and the drivers of one instrument's.

    Raises:
        BadInput: the instrument is unknown, or its returns are the user's own and have no drivers.
    """
    outlook, model = build_outlook(book), calibrate(book)
    given = set(book.scenario_returns.index)
    maker = next((f"plugin {name}" for name in book.settings.plugins.models), "model")
    table = "table" if typed_values(book) is None else "table, anchored"
    origins = tuple(
        UNCLASSIFIED
        if name in book.classification.unclassified and not outlook.returns[:, i].any()
        else table
        if name in given
        else maker
        for i, name in enumerate(book.instruments)
    )
    drivers = None
    if instrument is not None:
        i = _position(book, instrument)
        if model is None or origins[i] == table:
            rule = "its returns are your own, not the model's"
            cure = "remove its row from scenario_returns.csv to let [model] make them"
            if origins[i] == maker:
                rule, cure = f"its returns are those of {maker}, which tells no drivers", "leave --drivers out"
            raise BadInput.of("--drivers", rule, cure, value=instrument)
        drivers = {name: part[:, i] for name, part in model.drivers(outlook.years).items()}
    notes, splits = price_notes(book), model_splits(book)
    return ReturnAttribution(
        outlook, book.instruments, origins, instrument, drivers, notes, splits, book.classification
    )


def _position(book: Book, instrument: str) -> int:
    """Where an instrument stands in the book's order; cash, which no driver moves, has no place in it."""
    if instrument in book.instruments:
        return book.instruments.index(instrument)
    rule, cure = "no such instrument in exposures.csv", did_you_mean(instrument, book.instruments)
    if instrument == book.cash_instrument:
        rule, cure = "is cash and has no drivers", "name an instrument that is not cash"
    raise BadInput.of("--drivers", rule, cure, value=instrument)
