"""The Mandate: what we want, made from `[mandate]`, `[robust]` and `[costs]` and aligned with the book.

Objective, in fractions of the account before trading:

    maximise  min_{q ∈ ambiguity} q'r(h, c)  −  risk_aversion · h'Ωh  −  costs

with r the scenario gains and costs = 1 − W; or, for `minimum_variance`, minimise h'Ωh + 2·(largest variance)·costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.book.sections import Range
from allocator.errors import BadMandate, Breach
from allocator.mandate.ambiguity import Ambiguity, Known, ambiguity_of, worst_case
from allocator.mandate.caution import radius_of
from allocator.mandate.rules import (
    AtLeast,
    AtMost,
    InstrumentCaps,
    InstrumentFloors,
    LinearRule,
    MinimumExpectedReturn,
    NoTrade,
    Reading,
    Rows,
    Trade,
    Turnover,
    VolatilityLimit,
    stacked,
)
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.types import Vector

UNLIMITED = Range(min=0.0)
"""The range of a name for which none is stated."""


@dataclass(frozen=True, eq=False)
class Mandate:
    """The objective, the ambiguity set, the rules and the costs.

    `cost_rates` (N,) are fractions of traded money, each way. `return_weight` is 1, or 0 for minimum variance.
    """

    return_weight: float
    risk_aversion: float
    ambiguity: Ambiguity
    linear_rules: tuple[LinearRule, ...]
    volatility: VolatilityLimit | None
    cost_rates: Vector

    def __post_init__(self) -> None:
        """Refuse what no program solves: a mandate made in Python passes here as one from a book does.

        Raises:
            BadMandate: every number or combination that has no meaning.
        """
        found: list[tuple[str, object, str, str]] = []
        if self.return_weight not in (0.0, 1.0):
            found.append(("return_weight", self.return_weight, "must be 1, or 0 for minimum variance", "choose one"))
        if not 0 <= self.risk_aversion < np.inf:
            found.append(("risk_aversion", self.risk_aversion, "must be 0 or more", "write for example 2.0"))
        if self.return_weight == 0 and not isinstance(self.ambiguity, Known):
            found.append(
                (
                    "ambiguity",
                    self.ambiguity,
                    "means nothing to minimum variance, which looks at no return",
                    "use Known()",
                )
            )
        if not ((self.cost_rates >= 0) & (self.cost_rates < 1)).all():
            found.append(("cost_rates", self.cost_rates, "must be fractions from 0 to below 1", "10 bps are 0.001"))
        if found:
            raise BadMandate(Breach("Mandate", None, name, str(value), rule, cure) for name, value, rule, cure in found)

    @cached_property
    def rows(self) -> Rows:
        """Every linear rule's rows, one above the other."""
        instruments = len(self.cost_rates)
        return stacked([rule.rows(instruments) for rule in self.linear_rules], instruments)

    def loss(self, trade: Trade, outlook: Outlook) -> float:
        """The minimised objective on a trade, from the formulas: no solver, no coefficient of the program."""
        before = trade.value_before
        holdings, cash = trade.values / before, trade.cash / before
        costs = 1 - trade.value / before
        loss = self.risk_aversion * outlook.risk.variance(holdings) + self.cost_price(outlook) * costs
        if not self.return_weight:
            return loss
        gains = outlook.portfolio_returns(holdings, cash)
        return loss + worst_case(-gains, self.ambiguity, outlook.probabilities)

    def cost_price(self, outlook: Outlook) -> float:
        """What a unit of costs weighs in the objective: 1, or in minimum variance so much that burning never pays.

        A portfolio that throws part δ of its money away has 2δ less variance; at 2·γ·(the largest variance of a name)
        that is never worth its cost.
        """
        if self.return_weight:
            return 1.0
        variances = (outlook.risk.loadings**2).sum(axis=1) + outlook.risk.specific
        return 2 * self.risk_aversion * float(variances.max(initial=0.0))

    def readings(self, trade: Trade, outlook: Outlook) -> list[Reading]:
        """Every rule's own formula on a trade."""
        found = [reading for rule in self.linear_rules for reading in rule.readings(trade, outlook)]
        return found + (self.volatility.readings(trade, outlook) if self.volatility else [])


def mandate_of(book: Book, outlook: Outlook | None = None) -> Mandate:
    """The mandate of a book's settings; the radius may follow the outlook (by default the book's own)."""
    wanted = book.settings.mandate
    minimum_variance = wanted.objective == "minimum_variance"
    robust = book.settings.robust
    radius = robust.radius if robust.schedule == "fixed" else radius_of(book, outlook or outlook_of(book))
    return Mandate(
        return_weight=0.0 if minimum_variance else 1.0,
        risk_aversion=1.0 if minimum_variance else wanted.risk_aversion,
        ambiguity=ambiguity_of(robust.set, radius),
        linear_rules=tuple(_linear_rules(book)),
        volatility=None if wanted.max_volatility is None else VolatilityLimit(wanted.max_volatility),
        cost_rates=_cost_rates(book),
    )


def untraded(book: Book) -> Trade:
    """The portfolio as it is, as a trade of nothing."""
    nothing = np.zeros(len(book.instruments))
    return Trade(book.quantities * book.prices, book.cash, nothing, nothing, 0.0, book.value)


def _cost_rates(book: Book) -> Vector:
    """Commission plus half the quoted spread, as a fraction."""
    costs = book.settings.costs
    if "spread_bps" in book.exposures:
        spread = book.exposures["spread_bps"].fillna(costs.spread_bps).to_numpy(dtype=float)
    else:
        spread = np.full(len(book.instruments), costs.spread_bps)
    rates: Vector = (costs.commission_bps + spread / 2) / 1e4
    return rates


def _linear_rules(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    nobody = np.zeros(len(book.instruments))
    yield from _instrument_ranges(book)
    yield from _issuer_ranges(book)
    for bucket, limits in wanted.buckets.items():
        yield from _range(f"bucket {bucket}", bucket_shares(book, bucket), limits)
    for group, limits in wanted.groups.items():
        members = book.members(group)
        yield from _range(f"group {group}", np.array([members.get(name, 0.0) for name in book.instruments]), limits)
    if wanted.min_cash > 0:
        yield AtLeast("cash", nobody, wanted.min_cash, cash_share=1.0)
    if wanted.max_cash < 1:
        yield AtMost("cash", nobody, wanted.max_cash, cash_share=1.0)
    if wanted.max_turnover is not None:
        yield Turnover(wanted.max_turnover)
    if wanted.min_expected_return is not None:
        yield MinimumExpectedReturn(wanted.min_expected_return)
    if locked := _locked(book):
        yield NoTrade(tuple(locked), tuple(locked.values()))


def _instrument_ranges(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    caps: dict[int, float] = {}
    floors: dict[int, float] = {}
    for i, name in enumerate(book.instruments):
        limits = wanted.weights.get(name, UNLIMITED)
        cap = limits.max if limits.max is not None else wanted.max_weight
        if cap is not None and cap < 1:
            caps[i] = cap
        if limits.min:
            floors[i] = limits.min
    if caps:
        yield InstrumentCaps(tuple(book.instruments[i] for i in caps), tuple(caps), tuple(caps.values()))
    if floors:
        yield InstrumentFloors(tuple(book.instruments[i] for i in floors), tuple(floors), tuple(floors.values()))


def _issuer_ranges(book: Book) -> Iterator[LinearRule]:
    wanted = book.settings.mandate
    issuers = book.exposures["issuer"]
    for issuer in dict.fromkeys(issuers):
        limits = wanted.issuers.get(str(issuer), UNLIMITED)
        shares = np.asarray(issuers == issuer, dtype=np.float64)
        yield from _range(f"issuer {issuer}", shares, limits, cap=wanted.max_issuer_weight)


def _range(name: str, shares: Vector, limits: Range, *, cap: float | None = None) -> Iterator[LinearRule]:
    """A floor and a cap; the general `cap` holds where the name's own range states none."""
    highest = limits.max if limits.max is not None else cap
    if highest is not None and highest < 1:
        yield AtMost(name, shares, highest)
    if limits.min:
        yield AtLeast(name, shares, limits.min)


def bucket_shares(book: Book, bucket: str) -> Vector:
    """(N,) how much of each instrument counts towards a bucket.

    `efficiency` and `capital_intensity` read the numeric shares of exposures.csv where they are given; everything else
    is the label.
    """
    label = (book.exposures["bucket"] == bucket).astype(float)
    column = f"{bucket}_share"
    if column in book.exposures:
        return np.asarray(book.exposures[column].fillna(label), dtype=np.float64)
    return np.asarray(label, dtype=np.float64)


def _locked(book: Book) -> dict[str, int]:
    if "tradable_from" not in book.exposures:
        return {}
    later = book.exposures["tradable_from"] > pd.Timestamp(book.settings.book.as_of)
    return {str(name): i for i, (name, locked) in enumerate(later.items()) if locked}
