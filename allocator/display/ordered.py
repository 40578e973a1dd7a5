"""An order in a table: the same cells and colours wherever orders are shown."""

from __future__ import annotations

from allocator.display.console import amount, percents
from allocator.plan.plan import Order


def cells(order: Order) -> tuple[str, ...]:
    """Side, instrument, quantity, money, and the weights before and after."""
    return (
        order.side,
        order.instrument,
        f"{order.quantity:,.10g}",
        amount(order.value),
        percents(order.weight_before),
        percents(order.weight_after),
    )


def style(order: Order) -> str:
    """Sales are red, purchases green."""
    return "red" if order.side == "sell" else "green"
