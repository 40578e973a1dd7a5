"""From a book's `[robust]` to its ambiguity set, with the scenarios in the book's order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.mandate.ambiguity import Ambiguity, ambiguity_of
from allocator.mandate.caution import radius_at, radius_of
from allocator.mandate.polytopes import Hull, Polytope, Wasserstein
from allocator.outlook.outlook import Outlook
from allocator.outlook.posterior import updated
from allocator.outlook.question import Signal
from allocator.settings.reading import dotted
from allocator.types import Matrix, Vector

_NOISE = 1e-9


def set_of(book: Book, outlook: Outlook) -> Ambiguity:
    """The set that `[robust]` states, as far as it reaches on the book's as_of date.

    Raises:
        BadMandate: the belief breaks limits of a polytope, so that it would guard against everything but the belief.
    """
    robust = book.settings.robust
    radius = radius_of(book, outlook)
    if robust.set == "wasserstein":
        return ambiguity_of("wasserstein", radius, metric=metric_of(book))
    if robust.set == "hull":
        experts = [[expert[name] for name in book.scenarios] for expert in robust.experts.values()]
        given = np.array(experts)
        return ambiguity_of("hull", experts=given / given.sum(axis=1, keepdims=True))
    if robust.set == "polytope":
        _refuse_outside(book, outlook.probabilities)
        return ambiguity_of("polytope", limits=limits_of(book))
    return ambiguity_of(robust.set, radius)


@dataclass(frozen=True, eq=False)
class News:
    """What has been learnt since today: the `signals` seen by then, the day that they `told` something of, and by how
    much they multiply the odds of the scenarios, in logs (K,); `when` in words.
    """

    signals: Sequence[Signal]
    told: dt.date
    evidence: Vector
    when: str


def set_after(book: Book, today: Ambiguity, beliefs: Vector, news: News) -> Ambiguity:
    """Today's set as it is around the `beliefs` (K,) that the news has left, at the radius that it leaves.

    Experts have seen the news too: their probabilities move by the same evidence.

    Raises:
        BadMandate: the belief is outside the limits of a polytope.
    """
    if isinstance(today, Hull):
        moved = [updated(expert, news.evidence[None, :])[0] for expert in today.experts]
        return ambiguity_of("hull", experts=np.array(moved))
    if isinstance(today, Polytope):
        if today.excess(beliefs, beliefs) > _NOISE:
            rule = f"leaves out what we would believe {news.when}"
            cure = "widen the limits: what holds today need not hold after the news"
            raise BadMandate([Breach("book.toml", None, "robust.limits", None, rule, cure)])
        return today
    if isinstance(today, Wasserstein):
        return today
    return ambiguity_of(book.settings.robust.set, radius_at(book, beliefs, news.signals, news.told))


def metric_of(book: Book) -> Matrix:
    """(K, K) distances of the scenarios: the weighted L1 distance in the coordinates that `[robust.metric]` names."""
    scenarios, weights = book.settings.scenarios.values(), book.settings.robust.metric
    places = np.array([[float(getattr(scenario, name)) for name in weights] for scenario in scenarios])
    return np.asarray(np.abs(places[:, None, :] - places[None, :, :]) @ list(weights.values()), dtype=np.float64)


def limits_of(book: Book) -> tuple[Matrix, Vector]:
    """(R, K) and (R,): A and b of A·q ≤ b, a row for each stated max and min, the latter with its signs turned."""
    rows, rights = [], []
    for limit in book.settings.robust.limits.values():
        own = np.array([limit.weights.get(name, 0.0) for name in book.scenarios])
        for sign, bound in ((1.0, limit.max), (-1.0, limit.min)):
            if bound is not None:
                rows.append(sign * own)
                rights.append(sign * bound)
    return np.array(rows), np.array(rights)


def _refuse_outside(book: Book, probabilities: Vector) -> None:
    """Signals move the belief, so that this is seen only once there is an outlook."""
    found = []
    for name, limit in book.settings.robust.limits.items():
        measured = float(sum(w * probabilities[book.scenarios.index(of)] for of, w in limit.weights.items()))
        for key, bound, sign in (("max", limit.max, 1), ("min", limit.min, -1)):
            if bound is not None and sign * (measured - bound) > _NOISE:
                found.append(
                    Breach(
                        "book.toml",
                        None,
                        dotted("robust", "limits", name, key),
                        f"{bound:g}",
                        f"today's belief is outside: it makes {measured:.6g} of it",
                        f"{'raise' if sign > 0 else 'lower'} it to {measured:.6g} or {'more' if sign > 0 else 'less'}, "
                        "or correct the probabilities of the scenarios",
                    )
                )
    if found:
        raise BadMandate(found)
