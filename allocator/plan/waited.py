"""What waiting is worth in a book, and how that hangs on one number: the announcement share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.mandate.reviewed import staged_of
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import outlook_of
from allocator.plan.waiting import Waiting, waiting

MEASURES = {
    "recourse": "deciding again at reviews",
    "idling": "standing still until news costs",
    "perfect_information": "knowing all in advance (EVPI)",
    "vss_root": "now, over averages (VSS, root)",
    "vss_all": "throughout, over averages (VSS, all)",
    "price_of_robustness": "caution costs if belief is right",
    "insurance": "caution saves in the worst case",
}
"""Properties of `Waiting` in bps, and what each is in words."""


@dataclass(frozen=True, eq=False)
class Waited:
    """What waiting is worth at each of `shares`, of which `stated` is the book's."""

    book: Book
    stated: float
    shares: tuple[float, ...]
    worth: tuple[Waiting, ...]

    def at_stated(self) -> Waiting:
        """What it is worth by the book."""
        return self.worth[self.shares.index(self.stated)]

    def document(self) -> dict[str, Any]:
        """The figures as plain data; its JSON Schema is `schemas/waiting.schema.json`."""
        settings = self.book.settings.book
        return {
            "format": "allocator.waiting/1",
            "book": {
                "name": settings.name,
                "account": self.book.account,
                "as_of": settings.as_of.isoformat(),
                "currency": settings.currency,
                "value": round(self.book.value, 2),
                "announcement_share": self.stated,
            },
            "waiting": [
                {"announcement_share": share, "missing": dict(found.missing)}
                | {f"{name}_bps": _rounded(getattr(found, name)) for name in MEASURES}
                for share, found in zip(self.shares, self.worth, strict=True)
            ],
        }


def waited(
    book_at: Callable[[float | None], Book], shares: Sequence[float], progress: Callable[[str], None] | None = None
) -> Waited:
    """What waiting is worth; `book_at` gives the book at an announcement share, or at its own for None.

    Raises:
        BadInput: the book has no reviews, so that there is nothing to wait for, or is about regret.
        Infeasible: the rules cannot hold together at every review.
        NotSolved: the policy has no verified solution.
    """
    book = book_at(None)
    stated = book.settings.horizon.announcement_share
    if not book.settings.horizon.reviews or stated is None:
        rule, cure = "states no review, so there is nothing to wait for", "add dates to horizon.reviews"
        raise BadInput([Breach("book.toml", None, "horizon.reviews", None, rule, cure)])
    if book.settings.mandate.objective == "regret":
        rule = "is not time-consistent at the leaves, and what waiting is worth is summed up review by review"
        raise BadInput(
            [Breach("book.toml", None, "mandate.objective", "regret", rule, "choose log, crra or mean_cvar")]
        )
    say = progress or (lambda _: None)
    every = tuple(sorted({*shares, stated}))
    found = []
    for share in every:
        one = book if share == stated else book_at(share)
        outlook = outlook_of(one)
        limits = Limits(one.settings.solver.tolerance, one.settings.solver.time_limit_seconds)
        start = Start(one.weights, one.cash / one.value)

        def told(text: str, share: float = share) -> None:
            say(f"announcement share {share:g}: {text}")

        found.append(waiting(staged_of(one, outlook), start, limits, told))
    return Waited(book, stated, every, tuple(found))


def _rounded(bps: float | None) -> float | None:
    return None if bps is None else round(bps, 2)
