"""A plan carried out at its prices and costs, and the next trading day at the same prices: what would be traded then?

Random books of every set and objective, without `max_participation` and with `max_turnover` as what is left of it: both
are limits of one day's trading, and what they hold back today is rightly wanted tomorrow.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from allocator.book.loading import load
from allocator.errors import AllocatorError
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.golden_books import write_book


@dataclass(frozen=True)
class NextDay:
    """What the next day's plan weighs against no trade: gain and cost in bps of the account, and what comes of it."""

    objective: str
    orders: int
    gain: float
    cost: float
    verdict: str

    @property
    def trades(self) -> bool:
        """Whether anything is traded."""
        return bool(self.orders) and self.verdict != "no trade"


def next_day(seed: int, folder: Path) -> NextDay | None:
    """Of a random book; None where it has no plan, today or (a solver's limit) tomorrow."""
    write_book(folder, seed)
    place = folder / "book.toml"
    kept = re.sub(r'"(max_participation|min_gain_bps)" = .*\n', "", place.read_text(encoding="utf-8"))
    place.write_text(kept, encoding="utf-8")
    try:
        book = load(folder)
        plan = rebalance(book)
        carry_out(plan, folder)
        limit = book.settings.mandate.max_turnover
        left = [] if limit is None else [f"mandate.max_turnover={max(limit - _turnover(plan), 0.0):.8f}"]
        after = rebalance(load(folder, overrides=left, as_of=book.settings.book.as_of + dt.timedelta(days=1)))
    except AllocatorError:
        return None
    return what_is_weighed(after)


def what_is_weighed(plan: Plan) -> NextDay:
    """Of a plan."""
    cost = sum(order.cost for order in plan.weighed_orders) + plan.decision.tickets
    gain, objective = plan.decision.gain_bps or 0.0, plan.book.settings.mandate.objective
    verdict = plan.decision.verdict
    return NextDay(objective, len(plan.weighed_orders), gain, cost / plan.book.value * 1e4, verdict)


def carry_out(plan: Plan, folder: Path) -> None:
    """The orders of a plan written into the holdings of its book, at its prices and costs."""
    held = {plan.book.cash_instrument: round(plan.final.cash, 2)}
    held |= dict(zip(plan.book.instruments, map(float, plan.book.quantities), strict=True))
    for order in plan.orders:
        held[order.instrument] += order.quantity * (1 if order.side == "buy" else -1)
    table = folder / "holdings.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = [{**row, "quantity": round(held[row["instrument"]], 9)} for row in csv.DictReader(file)]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _turnover(plan: Plan) -> float:
    return max(float(plan.final.bought.sum()), float(plan.final.sold.sum())) / plan.book.value
