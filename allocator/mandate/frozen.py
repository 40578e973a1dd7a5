"""What names that cannot move, or not far enough, make hopeless: arithmetic, without a solver.

Costs shrink the account, so a holding that stays weighs a little more afterwards: `least_wealth` bounds how little may
be left, and every fix counts with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from allocator.book.book import Book
from allocator.errors import Infeasible
from allocator.mandate.counted import adv_in_money, locked_names, shock_returns
from allocator.mandate.rules import percent, widened
from allocator.types import Vector

_NOISE = 1e-9


def clash(labels: tuple[str, str], fixes: tuple[str, ...]) -> Infeasible:
    """Two rules that cannot hold together."""
    return Infeasible(f"cannot hold together: '{labels[0]}' and '{labels[1]}'", labels, fixes)


def frozen_names(book: Book) -> dict[int, str]:
    """Where the names stand that cannot be traded, and why: `is not tradable yet` or `is locked`."""
    named = {book.instruments.index(name): "is locked" for name in book.settings.mandate.locked}
    return named | dict.fromkeys(locked_names(book).values(), "is not tradable yet")


def forbidden_names(book: Book) -> set[int]:
    """Where the names stand of which nothing may be left."""
    return {book.instruments.index(name) for name in book.settings.mandate.forbidden}


def least_wealth(book: Book, rates: Vector) -> float:
    """What is left at least of an account that is turned over once; 0 where impact has no simple bound."""
    return 0.0 if book.settings.costs.impact else 1 - 2 * float(rates.max(initial=0.0))


def refuse_frozen(book: Book, floors: Vector, caps: Vector, rates: Vector) -> None:
    """Raise the first conflict of a single name with its own lock.

    Raises:
        Infeasible: naming the rules and the smallest fixes.
    """
    frozen, forbidden, left = frozen_names(book), forbidden_names(book), least_wealth(book, rates)
    for i, name in enumerate(book.instruments):
        weight, floor, cap = float(book.weights[i]), float(floors[i]), float(caps[i])
        allow = f"take {name} out of mandate.forbidden"
        if i in forbidden and floor > _NOISE:
            raise clash(
                (f"{name} is forbidden", f"{name} at least {percent(floor)}"), (allow, "lower the second to 0%")
            )
        if i not in frozen:
            continue
        why = f"{name} {frozen[i]}"
        unlock = (f"take {name} out of mandate.locked",) if frozen[i] == "is locked" else ()
        if i in forbidden and weight > _NOISE:
            raise clash((f"{name} is forbidden", why), (allow, *unlock))
        if weight > cap + _NOISE:
            to = widened(min(weight / left, 1.0) if left > 0 else 1.0, 1)
            raise clash((f"{name} at most {percent(cap)}", why), (f"raise the first to {to}", *unlock))
        if weight < floor * left - _NOISE:
            to = widened(weight, -1)
            raise clash((f"{name} at least {percent(floor)}", why), (f"lower the first to {to}", *unlock))


def refuse_slow(book: Book, caps: Vector, rates: Vector) -> None:
    """Raise where a name must be sold faster than its volume allows.

    Raises:
        Infeasible: naming the rules and the smallest fixes.
    """
    limit = book.settings.mandate.max_participation
    if limit is None or (left := least_wealth(book, rates)) <= 0:
        return
    forbidden, volumes = forbidden_names(book), adv_in_money(book) / book.value
    for i, name in enumerate(book.instruments):
        weight, volume = float(book.weights[i]), float(volumes[i])
        cap = 0.0 if i in forbidden else float(caps[i])
        if weight - cap <= limit * volume + _NOISE:
            continue
        first = f"{name} is forbidden" if i in forbidden else f"{name} at most {percent(cap)}"
        to = widened(min((weight - limit * volume) / left, 1.0), 1)
        fixes = [f"take {name} out of mandate.forbidden" if i in forbidden else f"raise the first to {to}"]
        if volume > 0:
            fixes.append(f"raise the second to {widened((weight - cap * left) / volume, 1)}")
        raise clash((first, f"{name} traded at most {percent(limit)} of its daily volume"), tuple(fixes))


def refuse_stress(book: Book, rates: Vector) -> None:
    """Raise where names that stay lose more under a shock than everything else could make good.

    Raises:
        Infeasible: naming the rule, what stays and the least loss that can be had.
    """
    frozen = sorted(frozen_names(book))
    stays = np.zeros(len(book.instruments), dtype=bool)
    stays[frozen] = True
    for name, limit in book.settings.mandate.max_stress_loss.items():
        shock = shock_returns(book, name)
        lost = -float(shock[stays] @ book.weights[stays])
        gain = max(0.0, float(shock[~stays].max(initial=0.0)))
        least = lost - gain * (1 - float(book.weights[stays].sum()))
        if least <= limit + _NOISE:
            continue
        sold = lost + float(rates[~stays] @ book.weights[~stays])  # all else in cash, which does not move
        label = f"loss under {name} at most {percent(limit)}"
        raise Infeasible(
            f"cannot hold together: '{label}' and what cannot be traded, which alone loses {percent(round(lost, 6))}",
            [label],
            [f"raise the first to {widened(sold, 1)}"],
        )


def most_of_each(book: Book, caps: Vector, rates: Vector) -> tuple[Vector, list[str]]:
    """(N,) the most that each name may weigh, forbidden and frozen ones counted; and who is, in words."""
    most, left = np.minimum(caps, 1.0), least_wealth(book, rates)
    said = dict(_held_back(book))
    for i, why in said.items():
        most[i] = min(most[i], float(book.weights[i]) / left if left > 0 else 1.0) if "forbidden" not in why else 0.0
    return most, [f"{book.instruments[i]} {why}" for i, why in said.items()]


def _held_back(book: Book) -> Iterator[tuple[int, str]]:
    yield from frozen_names(book).items()
    yield from dict.fromkeys(forbidden_names(book), "is forbidden").items()
