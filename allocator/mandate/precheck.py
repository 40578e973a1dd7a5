"""What can be seen to be infeasible without a solver: floors, caps and cash that cannot add up to an account.

The message counts for the user what a general conflict search would list name by name. Never imports cvxpy, so that
`check` can run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Literal, NotRequired, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Ask, Book, directly
from allocator.book.defaults import ClassificationRows
from allocator.errors import Infeasible, describe_conflict
from allocator.mandate.builder import build_mandate, cost_rates
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.scenario_tree import build_review_tree, free_lunches
from allocator.outlook.views import ViewsDocument
from allocator.presentation import BookHeading, ByName, LimitKind
from allocator.rules import RuleMeasurement, format_limit_percent, format_loosened
from allocator.rules.builder import (
    UNLIMITED,
    bucket_shares,
    daily_volume_in_money,
    group_shares,
    locked_and_forbidden,
    locked_names,
    shock_returns,
    unclassified_names,
)
from allocator.rules.holdings import names_label
from allocator.settings.mandate import WeightRange
from allocator.types import Vector

# Costs shrink the account, so a holding that stays weighs a little more afterwards: `left` bounds how little may be
# left, and every fix counts with it.
#
_NOISE = 1e-9
_percent = format_limit_percent


def _conflict(first: str, second: str, *fixes: str) -> Infeasible:
    """Two limits that conflict."""
    return Infeasible(describe_conflict((first, second)), (first, second), fixes)


@dataclass(frozen=True, eq=False)
class _BookLimits:
    """What settings want of each name, by position: (N,) floors, caps and what half a round trip costs."""

    instruments: tuple[str, ...]
    floors: Vector
    caps: Vector
    rates: Vector
    stuck: dict[int, str]
    """Names that cannot be traded, and why: `NAME is locked`."""
    forbidden: dict[int, str]
    left: float
    """What is left at least of an account that is turned over once; 0 where impact has no simple bound."""

    @staticmethod
    def of(book: Book) -> _BookLimits:
        """The limits of a book's settings."""
        wanted, place = book.settings.mandate, {name: i for i, name in enumerate(book.instruments)}
        own = [wanted.weights.get(name, UNLIMITED) for name in book.instruments]
        general = 1.0 if wanted.max_weight is None else wanted.max_weight
        locks = [rule for rule in locked_and_forbidden(book) if rule.untradable]
        said = {name: label for rule in locks for name, label in zip(rule.names, rule.labels, strict=True)}
        rates = cost_rates(book)
        return _BookLimits(
            book.instruments,
            np.array([limits.min or 0.0 for limits in own]),
            np.array([general if limits.max is None else limits.max for limits in own]),
            rates,
            {place[name]: said[name] for name in (*wanted.locked, *locked_names(book), *unclassified_names(book))},
            {place[name]: f"{name} is forbidden" for name in wanted.forbidden},
            0.0 if book.settings.costs.impact else 1 - 2 * float(rates.max(initial=0.0)),
        )

    def cap(self, i: int) -> str:
        """A name's cap in words."""
        return f"{self.instruments[i]} at most {_percent(float(self.caps[i]))}"

    def floor(self, i: int) -> str:
        """A name's floor in words."""
        return f"{self.instruments[i]} at least {_percent(float(self.floors[i]))}"

    def most(self, book: Book) -> Vector:
        """(N,) the most that each name may weigh, forbidden and stuck ones counted."""
        most = np.minimum(self.caps, 1.0)
        for i in self.stuck:
            most[i] = min(most[i], float(book.weights[i]) / self.left if self.left > 0 else 1.0)
        most[list(self.forbidden)] = 0.0
        return most


def check_obviously_infeasible(book: Book, outlook: Outlook, ask: Ask = directly) -> None:
    """Raise the first conflict that arithmetic alone shows.

    Raises:
        Infeasible: naming the rules and the smallest fix.
    """
    if book.settings.mandate.tiers:  # a rule that may be relaxed makes nothing infeasible
        return
    limits = ask(_BookLimits.of, book)
    for refuse in (
        _refuse_ranges, _refuse_sums, _refuse_stuck, _refuse_few_names, _refuse_forced_sales, _refuse_groups,
        _refuse_stress_losses,
    ):  # fmt: skip
        ask(refuse, book, limits)
    ask(_refuse_return, book, outlook)
    ask(_refuse_worst_return, book, outlook)


def _refuse_ranges(book: Book, limits: _BookLimits) -> None:
    del book
    for i in map(int, np.flatnonzero(limits.floors > limits.caps + _NOISE)):
        low, high = _percent(float(limits.caps[i])), _percent(float(limits.floors[i]))
        raise _conflict(limits.floor(i), limits.cap(i), f"lower the first to {low}", f"raise the second to {high}")


def _refuse_sums(book: Book, limits: _BookLimits) -> None:
    """Floors, caps and cash that cannot add up to an account."""
    wanted = book.settings.mandate
    if (total := float(limits.floors.sum())) + wanted.min_cash > 1 + _NOISE:
        raise Infeasible(
            f"infeasible: floors add up to {_percent(total)} and cash is at least {_percent(wanted.min_cash)}: "
            "more than 100%",
            fixes=[f"lower floors by {format_loosened(total + wanted.min_cash - 1, 1)} in all"],
        )
    if (total := float(np.minimum(limits.caps, 1.0).sum())) + wanted.max_cash < 1 - _NOISE:
        raise Infeasible(
            f"infeasible: caps add up to {_percent(total)} and cash is at most {_percent(wanted.max_cash)}: "
            "together less than 100%",
            fixes=[
                f"raise caps by {format_loosened(1 - total - wanted.max_cash, 1)} in all",
                f"raise mandate.max_cash to {format_loosened(1 - total, 1)}",
            ],
        )


def _refuse_stuck(book: Book, limits: _BookLimits) -> None:
    for i in sorted(limits.stuck | limits.forbidden):
        _refuse_locked(book, limits, i, book.instruments[i])


def _refuse_locked(book: Book, limits: _BookLimits, i: int, name: str) -> None:
    """A name that conflicts with its own lock, or with being forbidden."""
    weight, floor, cap, left = float(book.weights[i]), float(limits.floors[i]), limits.caps[i], limits.left
    allow = f"take {name} out of mandate.forbidden"
    if i in limits.forbidden and floor > _NOISE:
        raise _conflict(limits.forbidden[i], limits.floor(i), allow, "lower the second to 0%")
    if i not in limits.stuck:
        return
    why, later = limits.stuck[i], locked_names(book)
    unlock = () if name in later else (f"take {name} out of mandate.locked",)
    if name in unclassified_names(book):
        unlock = (f"state bucket or archetype of {name} in exposures.csv",)
    if i in limits.forbidden and weight > _NOISE:
        raise _conflict(limits.forbidden[i], why, allow, *unlock)
    if weight > cap + _NOISE:
        to = format_loosened(min(weight / left, 1.0) if left > 0 else 1.0, 1)
        raise _conflict(limits.cap(i), why, f"raise the first to {to}", *unlock)
    if weight < floor * left - _NOISE:
        raise _conflict(limits.floor(i), why, f"lower the first to {format_loosened(weight, -1)}", *unlock)


def _refuse_few_names(book: Book, limits: _BookLimits) -> None:
    """More names that must stay than may be held, and one that stays with less than the least position."""
    wanted = book.settings.mandate
    held = {i: why for i, why in limits.stuck.items() if book.weights[i] > 0}
    held |= {int(i): limits.floor(int(i)) for i in np.flatnonzero(limits.floors > 0) if int(i) not in held}
    if wanted.max_names is not None and len(held) > wanted.max_names:
        labels = (names_label(wanted.max_names), *[*held.values()][: wanted.max_names + 1])
        fixes = [f"raise mandate.max_names to {len(held)}"]
        raise Infeasible(describe_conflict(labels), labels, fixes)
    for i, why in limits.stuck.items() if wanted.min_position else ():
        weight, left = float(book.weights[i]), limits.left
        if 0 < weight < (wanted.min_position or 0.0) * left - _NOISE:
            label = f"every name nothing or at least {_percent(wanted.min_position or 0.0)}"
            raise _conflict(label, why, f"lower the first to {format_loosened(weight, -1)}")


def _refuse_forced_sales(book: Book, limits: _BookLimits) -> None:
    """A name that must be sold faster than its volume allows."""
    left, limit = limits.left, book.settings.mandate.max_participation
    if limit is None or left <= 0:
        return
    volumes = daily_volume_in_money(book) / book.value
    for i, name in enumerate(book.instruments):
        weight, volume, forbidden = float(book.weights[i]), float(volumes[i]), i in limits.forbidden
        cap = 0.0 if forbidden else float(limits.caps[i])
        if weight - cap <= limit * volume + _NOISE:
            continue
        to = format_loosened(min((weight - limit * volume) / left, 1.0), 1)
        fixes = [f"take {name} out of mandate.forbidden" if forbidden else f"raise the first to {to}"]
        if volume > 0:
            fixes.append(f"raise the second to {format_loosened((weight - cap * left) / volume, 1)}")
        second = f"{name} traded at most {_percent(limit)} of its daily volume"
        raise _conflict(limits.forbidden[i] if forbidden else limits.cap(i), second, *fixes)


def _refuse_stress_losses(book: Book, limits: _BookLimits) -> None:
    """Names that stay and lose more under a shock than everything else could make good."""
    stays = np.zeros(len(limits.caps), dtype=bool)
    stays[list(limits.stuck)] = True
    for name, limit in book.settings.mandate.max_stress_loss.items():
        shock = shock_returns(book, name)
        lost = -float(shock[stays] @ book.weights[stays])
        gain = max(0.0, float(shock[~stays].max(initial=0.0)))
        if lost - gain * (1 - float(book.weights[stays].sum())) <= limit + _NOISE:
            continue
        sold = lost + float(limits.rates[~stays] @ book.weights[~stays])  # all else in cash, which does not move
        label = f"loss under {name} at most {_percent(limit)}"
        raise Infeasible(
            f"infeasible: '{label}' conflicts with the names that cannot be traded, "
            f"which alone lose {_percent(round(lost, 6))}",
            [label],
            [f"raise the first to {format_loosened(sold, 1)}"],
        )


def _groups(book: Book) -> Iterator[tuple[str, Vector, float, WeightRange]]:
    """Label, (N,) shares, share of cash and limits of each issuer, bucket and group."""
    wanted, issuers = book.settings.mandate, book.exposures["issuer"]
    for issuer, limits in wanted.issuers.items():
        cap = limits.max if limits.max is not None else wanted.max_issuer_weight
        if limits.min is not None and cap is not None and limits.min > cap:
            low, high = _percent(cap), _percent(limits.min)
            raise _conflict(
                f"issuer {issuer} at least {high}",
                f"every issuer at most {low}",
                f"lower the first to {low}",
                f"raise the second to {high}",
            )
        yield f"issuer {issuer}", np.asarray(issuers == issuer, dtype=np.float64), 0.0, limits
    for bucket, limits in wanted.buckets.items():
        yield f"bucket {bucket}", bucket_shares(book, bucket), 0.0, limits
    for group, limits in wanted.groups.items():
        yield f"group {group}", *group_shares(book, group), limits


def _refuse_groups(book: Book, limits: _BookLimits) -> None:
    """A group's range that its members' own do not let it reach."""
    mandate, held = book.settings.mandate, limits.most(book)
    for label, shares, cash, wanted in _groups(book):
        least = float(shares @ limits.floors) + cash * mandate.min_cash
        most = float(shares @ np.minimum(limits.caps, 1.0)) + cash * mandate.max_cash
        if wanted.max is not None and least > wanted.max + _NOISE:
            members = f"its members' floors, {_percent(least)} in all"
            fixes = f"raise the first to {format_loosened(least, 1)}", "lower the floors"
            raise _conflict(f"{label} at most {_percent(wanted.max)}", members, *fixes)
        if wanted.min is not None and most < wanted.min - _NOISE:
            members = f"its members' caps, {_percent(most)} in all"
            fixes = f"lower the first to {format_loosened(most, -1)}", "raise the caps"
            raise _conflict(f"{label} at least {_percent(wanted.min)}", members, *fixes)
        floor, reached = wanted.min or 0.0, float(shares @ held) + cash * mandate.max_cash
        if reached < floor - _NOISE:
            held_back = limits.stuck | limits.forbidden
            members = " and ".join(why for i, why in held_back.items() if shares[i] > 0)
            fix = (f"lower the first to {format_loosened(reached * limits.left, -1)}",) if limits.left > 0 else ()
            raise _conflict(f"{label} at least {_percent(floor)}", members, *fix)


def _refuse_worst_return(book: Book, outlook: Outlook) -> None:
    """In one scenario no name brings what is wanted in all of them; one name alone shows what can be had."""
    wanted = book.settings.mandate.min_worst_scenario_return
    if wanted is None:
        return
    returns = np.column_stack([outlook.returns, outlook.cash_returns])
    names, best = (*book.instruments, book.cash_instrument), returns.max(axis=1)
    k = int(np.argmin(best))
    if wanted > best[k] + _NOISE:
        safest = int(np.argmax(returns.min(axis=0)))
        to = format_loosened(float(returns[:, safest].min()), -1)
        raise Infeasible(
            f"infeasible: return in {outlook.scenarios[k]} at least {_percent(wanted)} is above the best "
            f"name's: {names[int(np.argmax(returns[k]))]} has {_percent(round(float(best[k]), 6))}",
            ["mandate.min_worst_scenario_return"],
            [f"lower it to {to}, which {names[safest]} alone has in every scenario"],
        )


def _refuse_return(book: Book, outlook: Outlook) -> None:
    wanted = book.settings.mandate.min_expected_return
    means = np.append(outlook.probabilities @ outlook.returns, outlook.probabilities @ outlook.cash_returns)
    if wanted is not None and wanted > means.max() + _NOISE:
        best = (*book.instruments, book.cash_instrument)[int(np.argmax(means))]
        raise Infeasible(
            f"infeasible: expected return at least {_percent(wanted)} is above the best name's: "
            f"{best} has {_percent(round(float(means.max()), 6))}",
            ["mandate.min_expected_return"],
            [f"lower it below {format_loosened(float(means.max()), -1)}"],
        )


# `check(book) -> Check`: everything that can be said of a book without solving anything.
#
_HOLDS = 1e-9
"""Of a rule's own unit: a limit missed by less is kept."""


class _CheckedRule(TypedDict):
    rule: str
    measured_today: Annotated[float | None, "null where it is infinite"]
    limit: float
    kind: LimitKind
    holds_today: bool


class CheckDocument(TypedDict):
    """What `allocator check` found in a book that is in order."""

    format: Literal["allocator.check/1"]
    book: BookHeading
    instruments: int
    scenarios: ByName
    risk_source: str
    rules: list[_CheckedRule]
    decisions: Annotated[int, "of the tree of reviews; 1 without reviews"]
    free_lunches: Annotated[
        int, "decisions of a tree with reviews at which some portfolio beats cash in all that may follow, before costs"
    ]
    views: NotRequired[Annotated[ViewsDocument, "what [views] did to the probabilities; absent without any"]]
    classification: NotRequired[ClassificationRows]


@dataclass(frozen=True, eq=False)
class Check:
    """A sound book, what it believes, and every rule measured on what it holds today.

    With reviews, `free_lunches` of its tree's `decisions` let a portfolio beat cash in all that may follow.
    """

    book: Book
    outlook: Outlook
    readings: tuple[RuleMeasurement, ...]
    decisions: int = 1
    free_lunches: int = 0

    @property
    def limit_breaches(self) -> tuple[RuleMeasurement, ...]:
        """The limits that today's holdings breach; a plan brings them back."""
        return tuple(reading for reading in self.readings if not reading.excess <= _HOLDS)

    def rules(self) -> pd.DataFrame:
        """One row a rule: `rule`, `measured_today` and `limit` in the rule's unit, `kind`, `holds_today`."""
        return pd.DataFrame(list(map(_row, self.readings)), columns=list(_CheckedRule.__annotations__))

    def document(self) -> CheckDocument:
        """The check as plain data."""
        outlook = self.outlook
        document: CheckDocument = {
            "format": "allocator.check/1",
            "book": self.book.heading(),
            "instruments": len(self.book.instruments),
            "scenarios": {name: float(p) for name, p in zip(outlook.scenarios, outlook.probabilities, strict=True)},
            "risk_source": outlook.risk.source,
            "rules": [_row(reading) for reading in self.readings],
            "decisions": self.decisions,
            "free_lunches": self.free_lunches,
        }
        if outlook.views is not None:
            document["views"] = outlook.views.document()
        if (said := self.book.classification.document()) is not None:
            document["classification"] = said
        return document


def check(book: Book) -> Check:
    """Measure every rule of a book on what it holds today; no solver is imported.

    `load` has held tables and settings to their contracts, so what is left is what they mean together.

    Raises:
        BadInput: the price history cannot give a covariance, or a plugin of the book is not sound.
        BadMandate: a rule or a set of probabilities has no meaning.
        Infeasible: arithmetic alone shows that limits conflict; names them.
    """
    outlook = build_outlook(book)
    mandate = build_mandate(book, outlook)
    try:
        check_obviously_infeasible(book, outlook)
    except Infeasible as error:  # no fix is tried here
        raise Infeasible(f"{error.message}; `allocator rebalance` names fixes that it has tried", error.rules) from None
    readings = tuple(mandate.readings(no_trade(book), outlook))
    if not book.settings.horizon.reviews:
        return Check(book, outlook, readings)
    tree = build_review_tree(book, outlook).tree
    return Check(book, outlook, readings, tree.nodes, free_lunches(tree))


def _row(reading: RuleMeasurement) -> _CheckedRule:
    return {
        "rule": reading.label,
        "measured_today": round(reading.measured, 8) if isfinite(reading.measured) else None,
        "limit": reading.limit,
        "kind": reading.kind,
        "holds_today": reading.excess <= _HOLDS,
    }
