"""Whole lots under every rule of a book and with impact: each rule's own formula holds on what is ordered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.lots.whole_lots import trade_of_lots
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.thin_books import COUNT, NAMES, RULES, SETS, TOGETHER, random_book
from tests.thoroughness import count


def proved(book: Book, plan: Plan) -> None:
    """Every rule's own formula on the ordered lots, the account's equation, and cash."""
    lots = np.zeros(COUNT)
    for order in plan.orders:
        at = NAMES.index(order.instrument)
        lots[at] = order.quantity / book.lot_sizes[at] * (1 if order.side == "buy" else -1)
        sold_out = order.side == "sell" and np.isclose(order.quantity, book.quantities[at])
        assert sold_out or lots[at] == pytest.approx(round(lots[at]), abs=1e-9)
        assert order.value >= 1000 * (1 - 1e-9) or sold_out
    trade = trade_of_lots(book, plan.mandate, lots)
    for reading in plan.mandate.readings(trade, plan.outlook):
        assert reading.excess <= 1e-9, reading
    spent = sum(o.cost + (o.value if o.side == "buy" else -o.value) for o in plan.orders)
    assert trade.cash == pytest.approx(book.cash - spent, abs=1e-6)
    assert trade.cash == pytest.approx(plan.final.cash, abs=1e-6)
    assert trade.cash >= 0


def planned(seeds: range, mandate: dict[str, Any], **more: Any) -> list[Plan]:
    """The plans of these seeds, each proved; a mandate that cannot be met is passed over."""
    found = []
    for seed in seeds:
        book = random_book(seed, mandate, robust=SETS[seed % 5], **more)
        try:
            plan = rebalance(book)
        except Infeasible:
            continue
        except NotSolved as error:
            assert "infeasible" in str(error)  # noqa: PT017
            continue
        proved(book, plan)
        found.append(plan)
    return found


# each rule, every other one with impact, and in full the other half too
CASES = [(name, float((at + turn) % 2)) for turn in (0, 1) for at, name in enumerate(RULES)]


@pytest.mark.parametrize(("name", "impact"), CASES[: count(len(CASES), 2)])
def test_each_rule_holds_on_the_lots_that_it_holds_back(name: str, impact: float) -> None:
    plans = planned(range(count(4, 2)), RULES[name], impact=impact)
    own = len(plans[0].measurements) - COUNT  # beside the caps of six names

    assert len(plans) >= count(2, 2)
    assert own > 0
    others = [reading for plan in plans for reading in plan.measurements[COUNT:]]
    assert any(reading.excess > -0.03 for reading in others), "nothing was held back"


def test_all_rules_hold_together_on_the_lots() -> None:
    assert len(planned(range(6), TOGETHER, impact=0.5)) >= 2


@pytest.mark.parametrize("error", ["none", "box", "ellipsoid", "budget"])
def test_an_error_of_returns_and_impact_go_together_with_a_rule_on_the_lots(error: str) -> None:
    size = {"return_error": error, **({"return_error_size": 0.2} if error != "none" else {})}
    size |= {"return_error_names": 2.5} if error == "budget" else {}
    book = random_book(3, {"max_volatility": 0.2}, robust=SETS[0] | size, impact=0.5)

    proved(book, rebalance(book))


@pytest.mark.parametrize("seed", range(4))
def test_impact_is_in_the_cash_that_is_left_when_nothing_else_is(seed: int) -> None:
    """Fully invested with dear impact: the search knows costs between lines, and the real ones must still be there."""
    book = random_book(seed, {"max_cash": 0.06}, impact=5.0)
    plan = rebalance(book)

    proved(book, plan)
    assert plan.final.costs > float(plan.mandate.cost_rates @ (plan.final.bought + plan.final.sold)) * 1.5
