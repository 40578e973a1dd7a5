"""One investor's lives: what every policy makes of each world of a cell, under the same draws."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.backtesting.cells import Design
from allocator.backtesting.policies import Situation, TrialPolicy, best_if_known, shape_of, traded
from allocator.backtesting.worlds import World, WorldSource, believed_book, book_at_review
from allocator.book.book import Book
from allocator.outlook.question import DAYS_A_MONTH
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

_HALF = 0.5
"""Of the way to what who knows the answer would hold: who has gone so far has adapted."""
_INSIDE = 1e-9
"""How far beyond a set the true probabilities may lie and be called inside."""


@dataclass(frozen=True)
class InvestorResult:
    """By policy and world: final `wealth`, `turnover`, `months` to adapt where there was a genuine claim, reviews at
    which nothing could be traded (`still`), and the part of reviews at which the truth lay `inside` the set. The
    `scenarios` that came true, and how many investors before him were `refused`.
    """

    cell: int
    investor: int
    refused: int
    scenarios: tuple[int, ...]
    wealth: dict[str, list[float]]
    turnover: dict[str, list[float]]
    months: dict[str, list[float | None]]
    still: dict[str, list[int]]
    inside: dict[str, list[float] | None]


class InvestorLife:
    """Lives through a cell's worlds with each policy."""

    def __init__(self, design: Design, at: int, source: WorldSource) -> None:
        self._design, self._at, self._source, self._cell = design, at, source, design.cells[at]
        self._policies = design.policies(self._cell)

    def run(self, investor: int) -> InvestorResult:
        """What comes of it."""
        cell, design = self._cell, self._design
        book, refused = believed_book(self._source.truth, cell.strength, design.seed, investor, cell.about)
        worlds = [self._source.world(investor, number) for number in range(design.worlds)]
        days, names, count = worlds[0].days, len(book.instruments), len(self._policies)
        holdings = np.tile(book.weights, (len(worlds), count, 1))
        cash = np.full((len(worlds), count), book.cash / book.value)
        after = np.empty((len(worlds), len(days), count, names + 1))
        known, still = np.full((len(worlds), len(days), names + 1), np.nan), np.zeros((len(worlds), count), dtype=int)
        turnover, inside = np.zeros((len(worlds), count)), np.full((len(worlds), len(days), count), np.nan)
        situations = dict[Any, Situation]()
        for n, day in enumerate(days):
            met = [self._situation(situations, book, day, world) for world in worlds]
            # who shares a shape is asked in turn, so that its program is compiled once
            order = sorted(range(len(worlds)), key=lambda w: (shape_of(met[w]), w))
            today: dict[int, Any] = {}
            for p, policy in enumerate(self._policies):
                for w in order:
                    whole = float(holdings[w, p].sum() + cash[w, p])
                    start = Position(holdings[w, p] / whole, float(cash[w, p]) / whole)
                    if n:
                        trade = traded(policy, met[w], start)
                    else:  # all stand in the same place
                        trade = today[p] if p in today else today.setdefault(p, traded(policy, met[w], start))
                    if trade is None:
                        still[w, p] += 1
                    else:
                        holdings[w, p], cash[w, p] = trade.values * whole, trade.cash * whole
                        turnover[w, p] += max(float(trade.bought.sum()), float(trade.sold.sum()))
                    own = np.append(holdings[w, p], cash[w, p])
                    after[w, n, p] = own / own.sum()
                    if policy.caution is not None:
                        inside[w, n, p] = _is_inside(met[w], policy, worlds[w].truth[n])
                    if p == 0 and (claimed := worlds[w].claimed) is not None and day >= claimed:
                        best = best_if_known(met[w], start, worlds[w].answer)
                        known[w, n] = np.nan if best is None else best
            growth = np.array([world.growth[n] for world in worlds])
            holdings *= growth[:, None, :]
            cash *= np.array([world.cash_growth[n] for world in worlds])[:, None]
        wealth = holdings.sum(axis=2) + cash
        until = book.settings.horizon.until
        assert until is not None  # the trial refuses a book without
        months = [
            [_adapted(world, until, after[w, :, p], known[w]) for p in range(count)] for w, world in enumerate(worlds)
        ]
        looks = np.nanmean(np.where(np.isnan(inside), 0.0, inside), axis=1)

        def of(values: Any, places: int = 10) -> dict[str, list[Any]]:
            return {
                policy.name: [None if row[p] is None else round(float(row[p]), places) for row in values]
                for p, policy in enumerate(self._policies)
            }

        return InvestorResult(
            cell=self._at,
            investor=investor,
            refused=refused,
            scenarios=tuple(world.scenario for world in worlds),
            wealth=of(wealth),
            turnover=of(turnover, 8),
            months=of(months, 6),
            still={policy.name: still[:, p].tolist() for p, policy in enumerate(self._policies)},
            inside={
                policy.name: None if policy.caution is None else looks[:, p].round(6).tolist()
                for p, policy in enumerate(self._policies)
            },
        )

    @staticmethod
    def _situation(known: dict[Any, Situation], book: Book, day: dt.date, world: World) -> Situation:
        """What the investor sees there: the same in every world in which as much was signalled."""
        seen = tuple(row for row in world.signals if row[0] <= day)
        if (day, seen) not in known:
            known[day, seen] = Situation(book_at_review(book, day, seen))
        return known[day, seen]


def _is_inside(met: Situation, policy: TrialPolicy, truth: Vector) -> float:
    """1 where the true probabilities lie within what the policy guards against, else 0."""
    assert policy.caution is not None  # asked of those that have one
    believed = met.outlook.probabilities
    if not any(policy.caution):
        return float(np.abs(truth - believed).sum() / 2 <= _INSIDE)
    return float(met.guarded(policy.caution).excess(truth, believed) <= _INSIDE)


def _adapted(world: World, until: dt.date, after: Matrix, known: Matrix) -> float | None:
    """Months from the first genuine claim to the review at which half of the way is gone; to the end where it never is;
    None where there was no such claim.
    """
    if world.claimed is None:
        return None
    ahead = [n for n, day in enumerate(world.days) if day >= world.claimed and not np.isnan(known[n]).any()]

    def apart(n: int, best: Vector) -> float:
        return float(np.abs(after[n] - best).sum()) / 2

    for n in ahead:
        if apart(n, known[n]) <= _HALF * apart(ahead[0] - 1, known[ahead[0]]):
            return (world.days[n] - world.claimed).days / DAYS_A_MONTH
    return (until - world.claimed).days / DAYS_A_MONTH
