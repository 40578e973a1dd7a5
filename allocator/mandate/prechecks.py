"""What can be seen to be hopeless without a solver: floors, caps and cash that cannot add up to an account.

The message counts for the user what a general conflict search would list name by name. Never imports cvxpy, so that
`check` can run it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from allocator.book.book import Book
from allocator.errors import Infeasible
from allocator.mandate.counted import bucket_shares, group_shares
from allocator.mandate.frozen import clash, least_wealth, most_of_each, refuse_frozen, refuse_slow, refuse_stress
from allocator.mandate.rules import percent, widened
from allocator.mandate.wanted import UNLIMITED, cost_rates_of
from allocator.outlook.outlook import Outlook
from allocator.settings.mandate import Range
from allocator.types import Vector

_NOISE = 1e-9


def refuse_hopeless(book: Book, outlook: Outlook) -> None:
    """Raise the first conflict that arithmetic alone shows.

    Raises:
        Infeasible: naming the rules and the smallest fix.
    """
    wanted = book.settings.mandate
    if wanted.tiers:  # a rule that may give way makes nothing hopeless
        return
    floors, caps = _ranges(book)
    for name, floor, cap in zip(book.instruments, floors, caps, strict=True):
        if floor > cap + _NOISE:
            labels = (f"{name} at least {percent(floor)}", f"{name} at most {percent(cap)}")
            raise clash(labels, (f"lower the first to {percent(cap)}", f"raise the second to {percent(floor)}"))
    if (total := float(floors.sum())) + wanted.min_cash > 1 + _NOISE:
        raise Infeasible(
            f"floors add up to {percent(total)} and cash is at least {percent(wanted.min_cash)}: more than 100%",
            fixes=[f"lower floors by {widened(total + wanted.min_cash - 1, 1)} in all"],
        )
    if (total := float(np.minimum(caps, 1.0).sum())) + wanted.max_cash < 1 - _NOISE:
        raise Infeasible(
            f"caps add up to {percent(total)} and cash is at most {percent(wanted.max_cash)}: together less than 100%",
            fixes=[
                f"raise caps by {widened(1 - total - wanted.max_cash, 1)} in all",
                f"raise mandate.max_cash to {widened(1 - total, 1)}",
            ],
        )
    rates = cost_rates_of(book)
    refuse_frozen(book, floors, caps, rates)
    refuse_slow(book, caps, rates)
    for name, shares, limits in _groups(book):
        _refuse_group(book, name, shares, limits, floors, caps)
    refuse_stress(book, rates)
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


def _groups(book: Book) -> Iterator[tuple[str, Vector, Range]]:
    wanted = book.settings.mandate
    issuers = book.exposures["issuer"]
    for issuer, limits in wanted.issuers.items():
        cap = limits.max if limits.max is not None else wanted.max_issuer_weight
        if limits.min is not None and cap is not None and limits.min > cap:
            raise clash(
                (f"issuer {issuer} at least {percent(limits.min)}", f"every issuer at most {percent(cap)}"),
                (f"lower the first to {percent(cap)}", f"raise the second to {percent(limits.min)}"),
            )
        yield f"issuer {issuer}", np.asarray(issuers == issuer, dtype=np.float64), limits
    for bucket, limits in wanted.buckets.items():
        yield f"bucket {bucket}", bucket_shares(book, bucket), limits
    for group, limits in wanted.groups.items():
        members = book.members(group)
        yield f"group {group}", np.array([members.get(name, 0.0) for name in book.instruments]), limits


def _refuse_group(book: Book, name: str, shares: Vector, limits: Range, floors: Vector, caps: Vector) -> None:
    wanted = book.settings.mandate
    cash = group_shares(book, name.partition(" ")[2])[1] if name.startswith(("group ", "bucket ")) else 0.0
    least = float(shares @ floors) + cash * wanted.min_cash
    most = float(shares @ np.minimum(caps, 1.0)) + cash * wanted.max_cash
    if limits.max is not None and least > limits.max + _NOISE:
        raise clash(
            (f"{name} at most {percent(limits.max)}", f"its members' floors, {percent(least)} in all"),
            (f"raise the first to {widened(least, 1)}", "lower the floors"),
        )
    if limits.min is not None and most < limits.min - _NOISE:
        raise clash(
            (f"{name} at least {percent(limits.min)}", f"its members' caps, {percent(most)} in all"),
            (f"lower the first to {widened(most, -1)}", "raise the caps"),
        )
    _refuse_held_back(book, name, shares, limits.min or 0.0, caps, cash * wanted.max_cash)


def _refuse_held_back(book: Book, name: str, shares: Vector, floor: float, caps: Vector, cash: float) -> None:
    """A group's floor that its forbidden and locked members do not let it reach."""
    rates = cost_rates_of(book)
    each, who = most_of_each(book, caps, rates)
    most = float(shares @ each) + cash
    if most < floor - _NOISE:
        left = least_wealth(book, rates)
        raise clash(
            (f"{name} at least {percent(floor)}", " and ".join(one for one in who if _counts(book, shares, one))),
            (f"lower the first to {widened(most * left, -1)}",) if left > 0 else (),
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
        to = widened(float(returns[:, safest].min()), -1)
        raise Infeasible(
            f"return in {outlook.scenarios[k]} at least {percent(wanted)} is above the best name's: "
            f"{names[int(np.argmax(returns[k]))]} has {percent(round(float(best[k]), 6))}",
            ["mandate.min_worst_scenario_return"],
            [f"lower it to {to}, which {names[safest]} alone has in every scenario"],
        )


def _refuse_return(book: Book, outlook: Outlook) -> None:
    wanted = book.settings.mandate.min_expected_return
    means = np.append(outlook.probabilities @ outlook.returns, outlook.probabilities @ outlook.cash_returns)
    if wanted is not None and wanted > means.max() + _NOISE:
        best = (*book.instruments, book.cash_instrument)[int(np.argmax(means))]
        raise Infeasible(
            f"expected return at least {percent(wanted)} is above the best name's: {best} has "
            f"{percent(round(float(means.max()), 6))}",
            ["mandate.min_expected_return"],
            [f"lower it below {widened(float(means.max()), -1)}"],
        )
