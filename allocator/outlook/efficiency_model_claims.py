"""Claims held against arithmetic: `figures.csv` and `claims.csv` of a folder in, a verdict on each claim out.

A claim states an interval; a formula gives the interval that the figures allow, or a function of the book's own outlook
what it is today and was when the question opened. The verdict compares the two.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import exp, inf, isfinite, log
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.book.checks.rules import bucket_counts
from allocator.book.loading import load
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.outlook.calibration import model_loadings, model_scenarios, model_technique
from allocator.outlook.efficiency_model import Loadings, Market, Technique, market_quantities, value_multipliers
from allocator.outlook.outlook import believed_probabilities
from allocator.settings.settings import DAYS_A_YEAR
from allocator.tables import validate
from allocator.tables.files import read_table
from allocator.types import Matrix, Vector

# Arithmetic that a claim is held against: costs, prices, usage and compute; then capital, valuations and rivals.
#
# A formula takes figures and gives the lowest and highest value that they allow. It knows nothing of any claim.
# Symbols: Y tokens and X training compute saved (ratios), θ the log share of the token saving that reaches prices.
#
Interval = tuple[float, float]
"""Lowest and highest."""


@dataclass(frozen=True)
class Formula:
    """A named piece of arithmetic: what it means, its unit, the figures it needs, in order, and what it makes of them.

    `values` gives numbers between which the answer lies.
    """

    name: str
    meaning: str
    unit: str
    figures: tuple[str, ...]
    values: Callable[..., Iterable[float]]

    def __call__(self, *figures: float) -> Interval:
        """The lowest and highest value that the figures allow."""
        values = list(self.values(*figures))
        return min(values), max(values)


def _burn_after(
    burn: float, compute: float, low: float, high: float, least: float, most: float, x: float
) -> list[float]:
    return [burn * (1 - compute * share * (1 - x ** (e - 1))) for share in (low, high) for e in (least, most)]


def _rival_share(owner: float, sensitivity: float, g: float, years: float, y: float) -> list[float]:
    shift = y ** ((1 - exp(-1 / years)) * (1 - g) * sensitivity)
    return [1 / (owner * shift + 1 - owner)]


def _silence(labs: float, disclosure: float, hazard: float, t: float) -> float:
    """P(no lab has disclosed by `t` months, if it can)."""
    return float((1 - disclosure + disclosure * exp(-hazard * t)) ** labs)


def _after_silence(prior: float, labs: float, disclosure: float, hazard: float, t: float) -> list[float]:
    seen = prior * _silence(labs, disclosure, hazard, t)
    return [seen / (seen + 1 - prior)]


def _months_to_settle(prior: float, labs: float, disclosure: float, hazard: float, threshold: float) -> list[float]:
    silence = ((1 - threshold) / threshold * (1 - prior) / prior) ** (1 / labs)
    return [-log((silence - 1 + disclosure) / disclosure) / hazard]


_TOKENS, _SCORES = "tokens_muse tokens_claude tokens_gpt", "index_muse index_claude index_gpt"
_USAGE, _FALL = "usage_growth_low usage_growth_high", "token_drop_low token_drop_high"
_PASSED, _MULTIPLE = "pass_through_low pass_through_high", "multiple_low multiple_high"
_REQUIRED, _LABS = "required_return_low required_return_high", "labs disclosure hazard"

_ROWS: tuple[tuple[str, str, str, str, Callable[..., Iterable[float]]], ...] = (
    ("token_ratio", "times", _TOKENS,
     "Times fewer tokens for the same evaluation: a rival's / our own, over the rivals.",
     lambda own, first, second: (first / own, second / own)),
    ("score_ratio", "of the rival's score", _SCORES,
     "Capability: our own score / a rival's, over the rivals.",
     lambda own, first, second: (own / first, own / second)),
    ("score_gap", "points", _SCORES,
     "Capability: a rival's score − our own, over the rivals.",
     lambda own, first, second: (first - own, second - own)),
    ("training_cost_after", "USD m", "training_cost_low training_cost_high training_reduction",
     "Cost of training one model after the saving: cost / X.",
     lambda low, high, x: (low / x, high / x)),
    ("burn_after", "USD bn a year", "burn compute_share_of_burn training_share_low training_share_high "
     "training_elasticity_low training_elasticity_high training_reduction",
     "Cash burn after the saving: burn·(1 − compute share·training share·(1 − X^(ε_T − 1))), ε_T of it re-invested.",
     _burn_after),
    ("volume_to_hold_revenue", "times", f"{_FALL} {_PASSED}",
     "Volume that keeps revenue when tokens fall Y times: Y^θ.",
     lambda y_low, y_high, low, high: (y**theta for y in (y_low, y_high) for theta in (low, high))),
    ("volume_at_price_cut", "times", "price_cut",
     "Volume that keeps revenue when the price falls by a share: 1 / (1 − cut).",
     lambda cut: (1 / (1 - cut),)),
    ("revenue_multiplier", "times", f"{_USAGE} {_FALL}",
     "Revenue as a multiple of today's: usage growth / price fall.",
     lambda usage_low, usage_high, fall_low, fall_high: (usage_low / fall_high, usage_high / fall_low)),
    ("price_cut_that_stagnates", "of the price", _USAGE,
     "Price cut at which grown usage brings no revenue: 1 − 1 / usage growth.",
     lambda low, high: (1 - 1 / low, 1 - 1 / high)),
    ("usage_elasticity", "in elasticity", f"{_USAGE} {_FALL}",
     "Elasticity ε of usage to price: ln(usage growth) / ln(price fall); revenue grows where it is above 1.",
     lambda low, high, fall_low, fall_high: (log(low) / log(fall_high), log(high) / log(fall_low))),
    ("elasticity_for_revenue", "in elasticity", f"{_USAGE} token_reduction",
     "Elasticity at which revenue itself grows that much at full pass-through: 1 + ln(growth) / ln Y.",
     lambda low, high, y: (1 + log(low) / log(y), 1 + log(high) / log(y))),
    ("token_demand", "times", f"{_USAGE} token_reduction",
     "Demand for tokens, and so for inference compute, when tasks grow and each takes Y times less: growth / Y.",
     lambda low, high, y: (low / y, high / y)),
    ("bill_saving", "of the bill", f"token_reduction {_PASSED}",
     "Saving of a customer whose usage stays: 1 − Y^−θ.",
     lambda y, low, high: (1 - y**-low, 1 - y**-high)),
    ("pass_through_of_saving", "of the log saving", "saving_low saving_high token_reduction",
     "Share θ of the log token saving that a saving on the bill means: −ln(1 − saving) / ln Y.",
     lambda low, high, y: (-log(1 - low) / log(y), -log(1 - high) / log(y))),
    ("implied_sales", "USD bn", f"valuation {_MULTIPLE}",
     "Annual sales that a valuation means at a multiple of sales: value / multiple.",
     lambda value, low, high: (value / low, value / high)),
    ("value_over_target", "times", "valuation revenue_target",
     "Today's valuation as a multiple of the sales aimed at.",
     lambda value, target: (value / target,)),
    ("pre_money", "USD bn", "valuation raised",
     "Valuation before the funding came in.",
     lambda value, raised: (value - raised,)),
    ("sales_growth", "a year", f"valuation {_MULTIPLE} revenue_target years_to_target",
     "Growth of sales from what the multiple means to the target: (target / sales)^(1/years) − 1.",
     lambda value, low, high, target, years: ((target * m / value) ** (1 / years) - 1 for m in (low, high))),
    ("required_value", "USD bn", f"valuation {_REQUIRED} years_to_target",
     "Valuation in the target year that pays its holders their required return: value·(1 + k)^years.",
     lambda value, low, high, years: (value * (1 + low) ** years, value * (1 + high) ** years)),
    ("required_multiple", "times sales", f"valuation {_REQUIRED} years_to_target revenue_target target_reached",
     "Multiple of sales then needed, if all or only a part of the target is reached.",
     lambda value, low, high, years, target, reached: (
         value * (1 + k) ** years / (target * part) for k in (low, high) for part in (1.0, reached))),
    ("years_of_burn", "years", "raised burn",
     "How long a raise pays for the burn.",
     lambda raised, burn: (raised / burn,)),
    ("sourced_capital", "USD bn", "raised",
     "Committed capital for which a figure is given.",
     lambda raised: (raised,)),
    ("step_up", "of the value", "merger_value offer_low offer_high",
     "Rise from a merger's value to the value aimed at in a public offer.",
     lambda value, low, high: (low / value - 1, high / value - 1)),
    ("value_lost", "of the value", f"{_MULTIPLE} multiple_after",
     "Loss from a lower multiple alone, at equal sales: 1 − after / before.",
     lambda low, high, after: (1 - after / low, 1 - after / high)),
    ("orbital_ratio", "times the cost on the ground", "orbital_advantage token_reduction",
     "Cost of a task in orbit / on the ground: 1 − advantage if both save Y, times Y if only the ground does.",
     lambda advantage, y: (1 - advantage, (1 - advantage) * y)),
    ("orbital_saving", "of today's cost of a task", "orbital_advantage token_reduction",
     "What orbit saves on a task once both have the technique: advantage / Y.",
     lambda advantage, y: (advantage / y,)),
    ("rival_margin_at_todays_price", "of today's gross margin", "gross_margin",
     "Gross margin of a rival without the technique while its price and cost stay: (P − c) / m, P = 1, c = 1 − m.",
     lambda margin: ((1.0 - (1 - margin)) / margin,)),
    ("price_cut_without_profit", "of the price", "gross_margin",
     "Price cut that leaves a rival without the technique no gross profit: P = c = 1 − m.",
     lambda margin: (margin,)),
    ("rival_share", "of today's share", "owner_share share_sensitivity replicability adoption_years token_reduction",
     "A rival's market share after a year: 1 / (s·Λ + 1 − s), Λ = Y^(a(1 − g)·sensitivity), a = 1 − e^(−1/adoption).",
     _rival_share),
    ("answered_within", "in probability", f"{_LABS} months_early months_late",
     "P(some lab has disclosed, if it can): 1 − (1 − δ + δe^(−λt))^labs, at two dates.",
     lambda labs, disclosure, hazard, early, late: (
         1 - _silence(labs, disclosure, hazard, t) for t in (early, late))),
    ("generalizable_after_silence", "in probability", f"prior {_LABS} months_silent",
     "P(generalizable | silence), by Bayes: the likelihood of silence is (1 − δ + δe^(−λt))^labs against 1.",
     _after_silence),
    ("months_to_settle", "months", f"prior {_LABS} threshold",
     "Silence that settles on proprietary: the t at which P(generalizable | silence) = 1 − threshold.",
     _months_to_settle),
)  # fmt: skip
"""Name, unit, figures, meaning, values."""
FORMULAS: Mapping[str, Formula] = {
    name: Formula(name, meaning, unit, tuple(figures.split()), values) for name, unit, figures, meaning, values in _ROWS
}
"""What a row of claims.csv may be checked with, by name."""

# What a claim may ask of the book's own outlook: values as multiples of today's, against a world without the technique,
# which is 1 (returns are anchored to prices, so that levels are not in them); the market; and what would be held.
#
# GIVEN is a hypothesis, whose scenarios count by their probabilities, or a scenario.
#


@dataclass(frozen=True, eq=False)
class Standpoint:
    """A book's outlook on a day: (K,) probabilities, and the market and values (K, N) at the horizon from there."""

    book: Book
    probabilities: Vector
    years: float
    technique: Technique
    loadings: Loadings
    market: Market
    values: Matrix

    @staticmethod
    def of(book: Book, day: dt.date) -> Standpoint:
        """The outlook as it was on a day; labs adopt since then where `since` is not stated."""
        settings = book.settings
        assert settings.model is not None  # asked before
        since = settings.model.since or day
        adopted = max(0.0, (day - since).days / DAYS_A_YEAR) + settings.months / 12
        if settings.horizon.until is not None:
            adopted = (settings.horizon.until - since).days / DAYS_A_YEAR
        technique, loadings = model_technique(settings.model), model_loadings(book)
        market = market_quantities(model_scenarios(book), technique, adopted)
        values = value_multipliers(market, loadings, technique)
        return Standpoint(book, believed_probabilities(book, day), adopted, technique, loadings, market, values)

    def scenarios(self, given: str) -> list[int]:
        """Positions of a scenario, or of those of a hypothesis; of all where nothing is given."""
        return [
            k
            for k, (name, one) in enumerate(self.book.settings.scenarios.items())
            if given in (name, one.hypothesis, "")
        ]

    def value(self, name: str, given: str, values: Matrix | None = None) -> float:
        """E[V of a name | given]."""
        at, own = self.scenarios(given), self.values if values is None else values
        weights = self.probabilities[at] if len(at) > 1 else np.ones(1)
        return float(weights @ own[at, self.book.instruments.index(name)] / weights.sum())

    def each(self, quantity: str, given: str) -> list[float]:
        """A quantity of the market in each scenario."""
        return [float(getattr(self.market, quantity)[k]) for k in self.scenarios(given)]

    def multiples(self, name: str, given: str) -> list[float]:
        """Log change of its multiple in each scenario."""
        i, s, e = self.book.instruments.index(name), self.market.scenarios, self.loadings
        return [
            float(s.rerating[k] * e.efficiency_tilt[i] - s.multiple_compression[k] * e.multiple_loading[i])
            for k in self.scenarios(given)
        ]


def _rival_margins(at: Standpoint, given: str) -> list[float]:
    m, e, changes = at.market, at.loadings, []
    for k in at.scenarios(given):
        cost = m.rent[k] * at.technique.token_reduction ** (-m.diffusion[k] * m.scenarios.replicability[k])
        for margin in e.gross_margin[(e.owner == 0) & (e.inference != 0)]:
            changes.append(float((m.price[k] - (1 - margin) * cost) / m.price[k] - margin))
    return changes


def _retrained(at: Standpoint, name: str, reduction: float, given: str = "") -> list[float]:
    technique = replace(at.technique, training_reduction=reduction)
    market = market_quantities(at.market.scenarios, technique, at.years)
    return [at.value(name, given, value_multipliers(market, at.loadings, technique)) - at.value(name, given)]


def _once_adopted(at: Standpoint, given: str) -> list[float]:
    market = market_quantities(at.market.scenarios, at.technique, inf)
    return [float(market.usage[k]) for k in at.scenarios(given)]


def _break_even(at: Standpoint, name: str, first: str, second: str) -> list[float]:
    low = at.value(name, second)
    return [(1 - low) / (at.value(name, first) - low)]


def _share_of(at: Standpoint, first: str, second: str) -> float:
    p = [float(at.probabilities[at.scenarios(given)].sum()) for given in (first, second)]
    return p[0] / sum(p)


_Asked: TypeAlias = Callable[..., Iterable[float]]
_OUTLOOK_ROWS: tuple[tuple[str, str, str, str, _Asked], ...] = (
    ("value_given", "NAME GIVEN", "times today's value", "Value of a name: E[V | given].",
     lambda at, name, given: [at.value(name, given)]),
    ("value_gap", "NAME GIVEN GIVEN", "of today's value", "Value of a name in one case less that in another.",
     lambda at, name, first, second: [at.value(name, first) - at.value(name, second)]),
    ("value_lead", "NAME NAME GIVEN", "of today's values", "Value of one name less that of another.",
     lambda at, name, other, given: [at.value(name, given) - at.value(other, given)]),
    ("break_even_probability", "NAME GIVEN GIVEN", "in probability",
     "Probability of the first case, given either, at which the name is worth as much as without the technique.",
     _break_even),
    ("multiple_gap", "NAME NAME GIVEN", "in logs", "What a name's multiple rises by, less the other's.",
     lambda at, name, other, given: np.subtract(at.multiples(name, given), at.multiples(other, given))),
    ("with_training_reduction", "NAME RATIO [GIVEN]", "of today's value",
     "Value of a name if training were that much cheaper only, less what it is worth.", _retrained),
    ("margin_of_rivals", "GIVEN", "of the price",
     "Change of the gross margin of rivals without the technique: (P − (1 − m)·κ·Y^(−a·g)) / P − m.", _rival_margins),
    ("stranded", "GIVEN", "of committed capital", "Capital that stands idle and finds no other work: σ.",
     lambda at, given: at.each("stranded", given)),
    ("training_spend", "GIVEN", "times", "Spending on training: M_T.", lambda at, given: at.each("training", given)),
    ("inference_demand", "GIVEN", "times", "Tokens asked for: M_C.", lambda at, given: at.each("tokens", given)),
    ("compute_demand", "GIVEN", "times", "Demand for compute, training and inference: D.",
     lambda at, given: at.each("demand", given)),
    ("market_revenue", "GIVEN", "times", "Revenue of all who answer: P·Q.",
     lambda at, given: at.each("revenue", given)),
    ("price_cut", "GIVEN", "of the price", "Fall of the price of a task: 1 − P.",
     lambda at, given: [1 - price for price in at.each("price", given)]),
    ("price_gap", "GIVEN GIVEN", "of today's price", "Price in one case less that in another, scenario by scenario.",
     lambda at, one, two: [p - q for p in at.each("price", one) for q in at.each("price", two)]),
    ("usage_once_adopted", "GIVEN", "times", "Tasks once all who can have adopted.", _once_adopted),
    ("weight_slope", "BUCKET [COSTS]", "of the account",
     "Weight of a bucket where the first hypothesis is nearly certain, less that where it is nearly excluded.",
     lambda weights: [weights[-1] - weights[0]]),
    ("weight_step", "BUCKET [COSTS]", "of the account",
     "Change of that weight from one step of the probability to the next.", np.diff),
)  # fmt: skip
"""Name, arguments, unit, meaning, values; those of weights want plans."""
COSTS = "costs"
"""Said where costs, turnover and caution are as the book has them; else there are none."""
Weights: TypeAlias = Callable[[Book, bool], Mapping[str, Vector]]
"""(M,) weights of each bucket as the first hypothesis becomes likelier, with costs or without."""
_CALL = re.compile(r"\s*(\w+)\s*\(([^()]*)\)\s*")


@dataclass(frozen=True)
class OutlookFormula:
    """A question to the book's outlook: its function, its arguments, and how it is put in claims.csv."""

    name: str
    takes: tuple[str, ...]
    unit: str
    meaning: str
    values: _Asked

    @property
    def example(self) -> str:
        """How it is put."""
        return f"{self.name}({', '.join(self.takes)})"

    @property
    def wants_plans(self) -> bool:
        """Whether it takes solving."""
        return "BUCKET" in self.takes

    def faults(self, book: Book, arguments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """What is wrong with its arguments, and the cure."""
        least = sum(not kind.startswith("[") for kind in self.takes)
        if not least <= len(arguments) <= len(self.takes):
            yield f"takes {', '.join(self.takes)}", f"write {self.example}"
            return
        given = tuple(dict.fromkeys((*book.settings.hypotheses, *book.scenarios)))
        known = {"NAME": ("instrument", book.instruments), "GIVEN": ("hypothesis or scenario", given),
                 "BUCKET": ("bucket", book.settings.buckets.names), "COSTS": ("choice", (COSTS,))}  # fmt: skip
        for kind, said in zip((kind.strip("[]") for kind in self.takes), arguments, strict=False):
            if kind == "RATIO":
                number = float(said) if re.fullmatch(r"\d+(\.\d+)?", said) else 0.0
                if not 1 <= number <= 1000:
                    yield f"{said!r} is no ratio", "write a number from 1 to 1000"
            elif said not in known[kind][1]:
                yield f"no such {known[kind][0]}: {said!r}", did_you_mean(said, known[kind][1])


OUTLOOK_FORMULAS: Mapping[str, OutlookFormula] = {
    name: OutlookFormula(name, tuple(takes.split()), unit, meaning, values)
    for name, takes, unit, meaning, values in _OUTLOOK_ROWS
}
"""What a row of claims.csv may ask of the book's outlook, by name."""
HOLDS, IN_PART, FAILS, IMPLIES = "holds", "holds only if", "does not hold", "implies"
NOT_SOLVED = "not solved"


@dataclass(frozen=True)
class CheckedClaim:
    """A claim in its author's words, what it states (None: unbounded on that side), and what the figures give.

    `condition` is what would make it hold, as a clause; both intervals are in the formula's unit. Of a question to the
    book's outlook `dates` has what was found on each day, and `found` is all of it; None where it was not solved.
    """

    claim: str
    formula: Formula
    low: float | None
    high: float | None
    found: Interval | None
    condition: str
    remark: str
    dates: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`holds` if all that the figures allow is as stated, `does not hold` if none is, else `holds only if`.

        `implies` where nothing is stated: the figure then is what the claim amounts to.
        """
        if self.found is None:
            return NOT_SOLVED
        if self.low is None and self.high is None:
            return IMPLIES
        (least, most), room = self.found, 1e-9 * max(1.0, *map(abs, self.found))
        low = least - 1 if self.low is None else self.low - room
        high = most + 1 if self.high is None else self.high + room
        if low <= least and most <= high:
            return HOLDS
        return FAILS if most < low or least > high else IN_PART

    def margin(self, found: Interval | None) -> float | None:
        """How far what is found lies within what is stated, below 0 where it does not; None where nothing is stated."""
        if found is None or (self.low is None and self.high is None):
            return None
        return min(inf if self.low is None else found[0] - self.low, inf if self.high is None else self.high - found[1])

    @property
    def sentence(self) -> str:
        """The verdict with its reason."""
        verdict = self.verdict
        if verdict == IN_PART:
            verdict = f"holds only if {self.condition}" if self.condition else "holds in a part of the range only"
        elif verdict == FAILS and self.condition:
            verdict = f"does not hold unless {self.condition}"
        return "; ".join(filter(None, (verdict, self.remark)))


def check_claims(
    folder: str | Path, book: Callable[[], Book] | None = None, weights: Weights | None = None
) -> tuple[CheckedClaim, ...]:
    """Check every row of a folder's `claims.csv` with its `figures.csv`, or with the outlook of its book.

    The `book` is read where a row asks for it; `weights` solve for what would be held, and without them what asks for
    that is not solved.

    Raises:
        BadInput: a table is missing or not of its contract, a check or a figure is unknown; every error at once.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BadInput.of(str(folder), "there is no such folder", "check the path")
    figures, breaches = _table(place, "figures")
    claims, of_claims = _table(place, "claims")
    breaches += of_claims
    known = None if figures is None else dict(zip(figures["name"], figures["value"], strict=True))
    asking = claims is not None and claims["check"].str.contains("(", regex=False).any()
    outlook = _BookOutlook(book() if book is not None else load(place), weights) if asking else None
    checked = []
    for line, row in claims.iterrows() if claims is not None else ():
        try:
            checked.append(_checked(int(str(line)), row.to_dict(), known, outlook))
        except BadInput as error:
            breaches += error.breaches
    if breaches:
        raise BadInput(breaches)
    return tuple(filter(None, checked))


class _BookOutlook:
    """A book's outlook today and when its question opened, asked at leisure."""

    def __init__(self, book: Book, weights: Weights | None) -> None:
        self.book, self._weights = book, weights
        days = {} if book.settings.question is None else {"at the opening": book.settings.question.opened}
        days |= {"today": book.settings.book.as_of}
        modelled = book.settings.model is not None
        self.days = {name: Standpoint.of(book, day) for name, day in days.items()} if modelled else {}
        self._solved: dict[bool, Mapping[str, Vector]] = {}

    def answer(self, formula: OutlookFormula, arguments: tuple[str, ...]) -> dict[str, Interval]:
        """What is found on each day; nothing where nobody solves."""
        if formula.wants_plans:
            return {} if self._weights is None else {"today": _ends(formula.values(self._held(*arguments)))}
        own = [float(said) if kind == "RATIO" else said for kind, said in zip(formula.takes, arguments, strict=False)]
        return {name: _ends(formula.values(day, *own)) for name, day in self.days.items()}

    def _held(self, bucket: str, costs: str = "") -> Vector:
        assert self._weights is not None
        whole = costs == COSTS
        if whole not in self._solved:
            self._solved[whole] = self._weights(self.book, whole)
        return self._solved[whole][bucket]

    def remark(self, formula: OutlookFormula, arguments: tuple[str, ...]) -> str:
        """What should be known beside an answer."""
        today, hypotheses = self.days["today"], self.book.settings.hypotheses
        if formula.name == "break_even_probability":
            _, first, second = arguments
            return f"{first} has {_share_of(today, first, second):.3f} of the two today"
        if not formula.wants_plans:
            return ""
        counted = zip(self.book.instruments, bucket_counts(self.book.exposures, arguments[0])[0], strict=True)
        gaining = [
            name
            for name, part in counted
            if part and today.value(name, hypotheses[0]) > today.value(name, hypotheses[1])
        ]
        names = " and ".join(filter(None, (", ".join(gaining[:-1]), *gaining[-1:]))) or "no name"
        return f"{names} of {arguments[0].replace('_', ' ')} is worth more if {hypotheses[0]}"


def _ends(values: Iterable[float]) -> Interval:
    found = [float(value) for value in values]
    return min(found), max(found)


def _table(place: Path, name: str) -> tuple[pd.DataFrame | None, list[Breach]]:
    """A table indexed by its line numbers; None if it broke its contract."""
    try:
        raw = read_table(place / f"{name}.csv")
    except BadInput as error:
        return None, list(error.breaches)
    typed, breaches = validate(name, raw)
    return (None if breaches else typed.set_axis(list(raw.rows))), breaches


def _checked(
    line: int, row: Mapping[Any, Any], figures: Mapping[str, float] | None, outlook: _BookOutlook | None
) -> CheckedClaim | None:
    """One row's claim; None where there are no figures to check it with.

    Raises:
        BadInput: it cannot be checked; says all that is wrong with the row.
    """
    low, high = (None if pd.isna(cell := row.get(side)) else float(cell) for side in ("low", "high"))
    condition, remark = (cell if isinstance(cell := row.get(name), str) else "" for name in ("condition", "remark"))
    breaches = []
    if low is not None and high is not None and low > high:
        breaches.append(Breach("claims.csv", line, "low", f"{low:g}", f"is above high = {high:g}", "swap them"))
    call, check = _CALL.fullmatch(row["check"]), str(row["check"])
    if call is not None and outlook is not None:
        asked = OUTLOOK_FORMULAS.get(call[1])
        arguments = tuple(filter(None, (said.strip() for said in call[2].split(","))))
        faults = [("no such check", did_you_mean(call[1], OUTLOOK_FORMULAS))] if asked is None else []
        if asked is not None and not outlook.days:
            faults.append(("asks the efficiency model, and book.toml has no [model]", "add [model], or remove the row"))
        elif asked is not None:
            faults += asked.faults(outlook.book, arguments)
        breaches += [Breach("claims.csv", line, "check", check, *fault) for fault in faults]
        if breaches or asked is None:
            raise BadInput(breaches)
        dates = _answered(line, check, outlook, asked, arguments)
        found = _ends(end for interval in dates.values() for end in interval) if dates else None
        told = "; ".join(filter(None, (remark, outlook.remark(asked, arguments))))
        formula = Formula(check, asked.meaning, asked.unit, (), lambda: ())
        return CheckedClaim(row["claim"], formula, low, high, found, condition, told, dates)
    named = FORMULAS.get(check)
    if named is None:
        near = OUTLOOK_FORMULAS.get(check)
        cure = did_you_mean(check, (*FORMULAS, *OUTLOOK_FORMULAS)) if near is None else f"write {near.example}"
        breaches.append(Breach("claims.csv", line, "check", check, "no such check", cure))
    elif figures is not None:
        for name in (name for name in named.figures if name not in figures):
            rule = f"needs the figure '{name}', which is not in figures.csv"
            breaches.append(Breach("claims.csv", line, "check", named.name, rule, did_you_mean(name, figures)))
    if breaches:
        raise BadInput(breaches)
    if named is None or figures is None:
        return None
    allowed = _allowed(line, named, {name: figures[name] for name in named.figures})
    return CheckedClaim(row["claim"], named, low, high, allowed, condition, remark)


def _answered(
    line: int, check: str, outlook: _BookOutlook, formula: OutlookFormula, arguments: tuple[str, ...]
) -> dict[str, Interval]:
    """What the outlook answers, on each day.

    Raises:
        BadInput: it has no answer: a case that is impossible, a name that is worth the same in both.
    """
    with suppress(ArithmeticError, ValueError), np.errstate(all="ignore"):
        dates = outlook.answer(formula, arguments)
        if all(isfinite(end) for interval in dates.values() for end in interval):
            return dates
    rule, cure = "has no answer in this book", "ask of cases that are possible and differ, or remove the row"
    raise BadInput.of("claims.csv", rule, cure, row=line, column="check", value=check)


def _allowed(line: int, formula: Formula, figures: Mapping[str, float]) -> Interval:
    """What the figures give.

    Raises:
        BadInput: they give nothing: a division by zero, the root of a loss.
    """
    with suppress(ArithmeticError, TypeError, ValueError):
        low, high = map(float, formula(*figures.values()))
        if isfinite(low) and isfinite(high):
            return low, high
    rule = f"cannot be computed from {', '.join(f'{name} = {value:g}' for name, value in figures.items())}"
    place = {"row": line, "column": "check", "value": formula.name}
    raise BadInput.of("claims.csv", rule, "correct the figures in figures.csv", **place)
