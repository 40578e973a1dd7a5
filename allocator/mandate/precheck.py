"""What can be seen to be infeasible without a solver: floors, caps and cash that cannot add up to an account.

The message counts for the user what a general conflict search would list name by name. Never imports cvxpy, so that
`check` can run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Literal, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import Infeasible, describe_conflict
from allocator.mandate.builder import build_mandate, cost_rates
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.presentation import BookHeading, ByName, LimitKind
from allocator.rules import RuleMeasurement, format_limit_percent, format_loosened
from allocator.rules.builder import (
    UNLIMITED,
    bucket_shares,
    daily_volume_in_money,
    group_shares,
    locked_names,
    shock_returns,
)
from allocator.settings.mandate import WeightRange
from allocator.types import Vector

# What names that cannot move, or not far enough, make hopeless: arithmetic, without a solver.
#
# Costs shrink the account, so a holding that stays weighs a little more afterwards: `least_wealth` bounds how little
# may be left, and every fix counts with it.
#
_WEIGHT_TOLERANCE = 1e-9


def conflict_error(labels: tuple[str, str], fixes: tuple[str, ...]) -> Infeasible:
    """Two limits that conflict."""
    return Infeasible(describe_conflict(labels), labels, fixes)


def untradable_names(book: Book) -> dict[int, str]:
    """Where the names stand that cannot be traded, and why: `is not tradable yet` or `is locked`."""
    named = {book.instruments.index(name): "is locked" for name in book.settings.mandate.locked}
    return named | dict.fromkeys(locked_names(book).values(), "is not tradable yet")


def forbidden_names(book: Book) -> set[int]:
    """Where the names stand of which nothing may be left."""
    return {book.instruments.index(name) for name in book.settings.mandate.forbidden}


def least_wealth(book: Book, rates: Vector) -> float:
    """What is left at least of an account that is turned over once; 0 where impact has no simple bound."""
    return 0.0 if book.settings.costs.impact else 1 - 2 * float(rates.max(initial=0.0))


def check_locked_names(book: Book, floors: Vector, caps: Vector, rates: Vector) -> None:
    """Raise the first conflict of a single name with its own lock.

    Raises:
        Infeasible: naming the rules and the smallest fixes.
    """
    frozen, forbidden, left = untradable_names(book), forbidden_names(book), least_wealth(book, rates)
    for i, name in enumerate(book.instruments):
        weight, floor, cap = float(book.weights[i]), float(floors[i]), float(caps[i])
        allow = f"take {name} out of mandate.forbidden"
        if i in forbidden and floor > _WEIGHT_TOLERANCE:
            raise conflict_error(
                (f"{name} is forbidden", f"{name} at least {format_limit_percent(floor)}"),
                (allow, "lower the second to 0%"),
            )
        if i not in frozen:
            continue
        why = f"{name} {frozen[i]}"
        unlock = (f"take {name} out of mandate.locked",) if frozen[i] == "is locked" else ()
        if i in forbidden and weight > _WEIGHT_TOLERANCE:
            raise conflict_error((f"{name} is forbidden", why), (allow, *unlock))
        if weight > cap + _WEIGHT_TOLERANCE:
            to = format_loosened(min(weight / left, 1.0) if left > 0 else 1.0, 1)
            raise conflict_error(
                (f"{name} at most {format_limit_percent(cap)}", why), (f"raise the first to {to}", *unlock)
            )
        if weight < floor * left - _WEIGHT_TOLERANCE:
            to = format_loosened(weight, -1)
            raise conflict_error(
                (f"{name} at least {format_limit_percent(floor)}", why), (f"lower the first to {to}", *unlock)
            )


def check_forced_sales(book: Book, caps: Vector, rates: Vector) -> None:
    """Raise where a name must be sold faster than its volume allows.

    Raises:
        Infeasible: naming the rules and the smallest fixes.
    """
    limit = book.settings.mandate.max_participation
    if limit is None or (left := least_wealth(book, rates)) <= 0:
        return
    forbidden, volumes = forbidden_names(book), daily_volume_in_money(book) / book.value
    for i, name in enumerate(book.instruments):
        weight, volume = float(book.weights[i]), float(volumes[i])
        cap = 0.0 if i in forbidden else float(caps[i])
        if weight - cap <= limit * volume + _WEIGHT_TOLERANCE:
            continue
        first = f"{name} is forbidden" if i in forbidden else f"{name} at most {format_limit_percent(cap)}"
        to = format_loosened(min((weight - limit * volume) / left, 1.0), 1)
        fixes = [f"take {name} out of mandate.forbidden" if i in forbidden else f"raise the first to {to}"]
        if volume > 0:
            fixes.append(f"raise the second to {format_loosened((weight - cap * left) / volume, 1)}")
        raise conflict_error(
            (first, f"{name} traded at most {format_limit_percent(limit)} of its daily volume"), tuple(fixes)
        )


def check_stress_floors(book: Book, rates: Vector) -> None:
    """Raise where names that stay lose more under a shock than everything else could make good.

    Raises:
        Infeasible: naming the rule, what stays and the least loss that can be had.
    """
    frozen = sorted(untradable_names(book))
    stays = np.zeros(len(book.instruments), dtype=bool)
    stays[frozen] = True
    for name, limit in book.settings.mandate.max_stress_loss.items():
        shock = shock_returns(book, name)
        lost = -float(shock[stays] @ book.weights[stays])
        gain = max(0.0, float(shock[~stays].max(initial=0.0)))
        least = lost - gain * (1 - float(book.weights[stays].sum()))
        if least <= limit + _WEIGHT_TOLERANCE:
            continue
        sold = lost + float(rates[~stays] @ book.weights[~stays])  # all else in cash, which does not move
        label = f"loss under {name} at most {format_limit_percent(limit)}"
        raise Infeasible(
            f"infeasible: '{label}' conflicts with the names that cannot be traded, "
            f"which alone lose {format_limit_percent(round(lost, 6))}",
            [label],
            [f"raise the first to {format_loosened(sold, 1)}"],
        )


def largest_weights(book: Book, caps: Vector, rates: Vector) -> tuple[Vector, list[str]]:
    """(N,) the most that each name may weigh, forbidden and frozen ones counted; and who is, in words."""
    most, left = np.minimum(caps, 1.0), least_wealth(book, rates)
    said = dict(_held_back(book))
    for i, why in said.items():
        most[i] = min(most[i], float(book.weights[i]) / left if left > 0 else 1.0) if "forbidden" not in why else 0.0
    return most, [f"{book.instruments[i]} {why}" for i, why in said.items()]


def _held_back(book: Book) -> Iterator[tuple[int, str]]:
    yield from untradable_names(book).items()
    yield from dict.fromkeys(forbidden_names(book), "is forbidden").items()


_NOISE = 1e-9


def check_obviously_infeasible(book: Book, outlook: Outlook) -> None:
    """Raise the first conflict that arithmetic alone shows.

    Raises:
        Infeasible: naming the rules and the smallest fix.
    """
    wanted = book.settings.mandate
    if wanted.tiers:  # a rule that may be relaxed makes nothing infeasible
        return
    floors, caps = _ranges(book)
    for name, floor, cap in zip(book.instruments, floors, caps, strict=True):
        if floor > cap + _NOISE:
            labels = (f"{name} at least {format_limit_percent(floor)}", f"{name} at most {format_limit_percent(cap)}")
            raise conflict_error(
                labels,
                (
                    f"lower the first to {format_limit_percent(cap)}",
                    f"raise the second to {format_limit_percent(floor)}",
                ),
            )
    if (total := float(floors.sum())) + wanted.min_cash > 1 + _NOISE:
        raise Infeasible(
            f"infeasible: floors add up to {format_limit_percent(total)} and cash is at least "
            f"{format_limit_percent(wanted.min_cash)}: more than 100%",
            fixes=[f"lower floors by {format_loosened(total + wanted.min_cash - 1, 1)} in all"],
        )
    if (total := float(np.minimum(caps, 1.0).sum())) + wanted.max_cash < 1 - _NOISE:
        raise Infeasible(
            f"infeasible: caps add up to {format_limit_percent(total)} and cash is at most "
            f"{format_limit_percent(wanted.max_cash)}: together less than 100%",
            fixes=[
                f"raise caps by {format_loosened(1 - total - wanted.max_cash, 1)} in all",
                f"raise mandate.max_cash to {format_loosened(1 - total, 1)}",
            ],
        )
    rates = cost_rates(book)
    check_locked_names(book, floors, caps, rates)
    check_forced_sales(book, caps, rates)
    for name, shares, limits in _groups(book):
        _refuse_group(book, name, shares, limits, floors, caps)
    check_stress_floors(book, rates)
    _refuse_return(book, outlook)
    _refuse_worst_return(book, outlook)


def _ranges(book: Book) -> tuple[Vector, Vector]:
    """(N,) floors and caps by instrument."""
    wanted = book.settings.mandate
    own = [wanted.weights.get(name, UNLIMITED) for name in book.instruments]
    general = 1.0 if wanted.max_weight is None else wanted.max_weight
    floors = np.array([limits.min or 0.0 for limits in own])
    caps = np.array([general if limits.max is None else limits.max for limits in own])
    return floors, caps


def _groups(book: Book) -> Iterator[tuple[str, Vector, WeightRange]]:
    wanted = book.settings.mandate
    issuers = book.exposures["issuer"]
    for issuer, limits in wanted.issuers.items():
        cap = limits.max if limits.max is not None else wanted.max_issuer_weight
        if limits.min is not None and cap is not None and limits.min > cap:
            raise conflict_error(
                (
                    f"issuer {issuer} at least {format_limit_percent(limits.min)}",
                    f"every issuer at most {format_limit_percent(cap)}",
                ),
                (
                    f"lower the first to {format_limit_percent(cap)}",
                    f"raise the second to {format_limit_percent(limits.min)}",
                ),
            )
        yield f"issuer {issuer}", np.asarray(issuers == issuer, dtype=np.float64), limits
    for bucket, limits in wanted.buckets.items():
        yield f"bucket {bucket}", bucket_shares(book, bucket), limits
    for group, limits in wanted.groups.items():
        members = book.members(group)
        yield f"group {group}", np.array([members.get(name, 0.0) for name in book.instruments]), limits


def _refuse_group(book: Book, name: str, shares: Vector, limits: WeightRange, floors: Vector, caps: Vector) -> None:
    wanted = book.settings.mandate
    cash = group_shares(book, name.partition(" ")[2])[1] if name.startswith(("group ", "bucket ")) else 0.0
    least = float(shares @ floors) + cash * wanted.min_cash
    most = float(shares @ np.minimum(caps, 1.0)) + cash * wanted.max_cash
    if limits.max is not None and least > limits.max + _NOISE:
        raise conflict_error(
            (
                f"{name} at most {format_limit_percent(limits.max)}",
                f"its members' floors, {format_limit_percent(least)} in all",
            ),
            (f"raise the first to {format_loosened(least, 1)}", "lower the floors"),
        )
    if limits.min is not None and most < limits.min - _NOISE:
        raise conflict_error(
            (
                f"{name} at least {format_limit_percent(limits.min)}",
                f"its members' caps, {format_limit_percent(most)} in all",
            ),
            (f"lower the first to {format_loosened(most, -1)}", "raise the caps"),
        )
    _refuse_held_back(book, name, shares, limits.min or 0.0, caps, cash * wanted.max_cash)


def _refuse_held_back(book: Book, name: str, shares: Vector, floor: float, caps: Vector, cash: float) -> None:
    """A group's floor that its forbidden and locked members do not let it reach."""
    rates = cost_rates(book)
    each, who = largest_weights(book, caps, rates)
    most = float(shares @ each) + cash
    if most < floor - _NOISE:
        left = least_wealth(book, rates)
        raise conflict_error(
            (
                f"{name} at least {format_limit_percent(floor)}",
                " and ".join(one for one in who if _counts(book, shares, one)),
            ),
            (f"lower the first to {format_loosened(most * left, -1)}",) if left > 0 else (),
        )


def _counts(book: Book, shares: Vector, said: str) -> bool:
    return bool(shares[book.instruments.index(said.partition(" is ")[0])] > 0)


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
            f"infeasible: return in {outlook.scenarios[k]} at least {format_limit_percent(wanted)} is above the best "
            f"name's: {names[int(np.argmax(returns[k]))]} has {format_limit_percent(round(float(best[k]), 6))}",
            ["mandate.min_worst_scenario_return"],
            [f"lower it to {to}, which {names[safest]} alone has in every scenario"],
        )


def _refuse_return(book: Book, outlook: Outlook) -> None:
    wanted = book.settings.mandate.min_expected_return
    means = np.append(outlook.probabilities @ outlook.returns, outlook.probabilities @ outlook.cash_returns)
    if wanted is not None and wanted > means.max() + _NOISE:
        best = (*book.instruments, book.cash_instrument)[int(np.argmax(means))]
        raise Infeasible(
            f"infeasible: expected return at least {format_limit_percent(wanted)} is above the best name's: "
            f"{best} has "
            f"{format_limit_percent(round(float(means.max()), 6))}",
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


@dataclass(frozen=True, eq=False)
class Check:
    """A sound book, what it believes, and every rule measured on what it holds today."""

    book: Book
    outlook: Outlook
    readings: tuple[RuleMeasurement, ...]

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
        return {
            "format": "allocator.check/1",
            "book": self.book.heading(),
            "instruments": len(self.book.instruments),
            "scenarios": {name: float(p) for name, p in zip(outlook.scenarios, outlook.probabilities, strict=True)},
            "risk_source": outlook.risk.source,
            "rules": [_row(reading) for reading in self.readings],
        }


def check(book: Book) -> Check:
    """Measure every rule of a book on what it holds today; no solver is imported.

    `load` has held tables and settings to their contracts, so what is left is what they mean together.

    Raises:
        BadInput: the price history cannot give a covariance, or a plugin of the book is not sound.
        BadMandate: a rule or a set of probabilities has no meaning.
        Infeasible: arithmetic alone shows that limits conflict; names them and the smallest fix.
    """
    outlook = build_outlook(book)
    mandate = build_mandate(book, outlook)
    check_obviously_infeasible(book, outlook)
    return Check(book, outlook, tuple(mandate.readings(no_trade(book), outlook)))


def _row(reading: RuleMeasurement) -> _CheckedRule:
    return {
        "rule": reading.label,
        "measured_today": round(reading.measured, 8) if isfinite(reading.measured) else None,
        "limit": reading.limit,
        "kind": reading.kind,
        "holds_today": reading.excess <= _HOLDS,
    }
