"""How reasons look: one row an order, one column a motive, and the sums that they come to."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from allocator.display.console import heading, table
from allocator.plan.attribution import MOTIVES, Reasons
from allocator.plan.plan import Plan
from allocator.types import Vector

_SHOWN = (
    ("return", ("expected_return",)),
    ("robust", ("robustness",)),
    ("risk", ("risk", "return_error", "objectives")),
    ("costs", ("costs",)),
    ("rules", ("rules",)),
    ("money", ("money",)),
)
_SEEN = 5e-6
"""Of the account: what tenths of a basis point show."""
_NARROW = (*_SHOWN[:3], ("other", ("costs", "rules", "money")))
_WIDE, _HALF = 80, 64
"""Columns that the full table takes; on a narrower terminal the last motives are one column, then all of them."""
_LARGE = 0.1
"""Of the account: from here on tenths of a basis point are not shown."""


def show_reasons(out: Console, plan: Plan, found: Reasons) -> None:
    """The table "Why each order", with cash, whole lots and the total below."""
    if not plan.weighed_orders:
        return
    what = "Why each order" if plan.orders else "Forgone by holding"
    heading(out, f"{what}: bps of the account, + speaks for it")
    shown = _SHOWN if out.width >= _WIDE else _NARROW if out.width >= _HALF else ()
    digits = 1 if max(np.abs(found.parts).max(), np.abs(found.motives).max()) < _LARGE else 0
    numbers = (*(name for name, _ in shown), "sum")
    made = table("", "instrument", *numbers, right=numbers)

    def cells(parts: Vector) -> list[str]:
        own = [sum(float(parts[MOTIVES.index(motive)]) for motive in motives) for _, motives in shown]
        return [signed(part, digits) for part in (*own, float(parts.sum()))]

    index = {name: i for i, name in enumerate(plan.book.instruments)}
    for order in plan.weighed_orders:
        style = "red" if order.side == "sell" else "green"
        made.add_row(order.side, order.instrument, *cells(found.parts[index[order.instrument]]), style=style)
    ordered = [index[order.instrument] for order in plan.weighed_orders]
    others = found.parts[np.setdiff1d(np.arange(len(index)), ordered)]
    if np.abs(others).max(initial=0.0) >= _SEEN:
        made.add_row("", "below one lot", *cells(others.sum(axis=0)), style="dim")
    made.add_row("", plan.book.cash_instrument, *cells(found.parts[-1]), style="dim")
    made.add_row("", "whole lots", *[""] * len(shown), signed(found.lots, digits), style="dim")
    made.add_row("", "together", *cells(found.motives)[:-1], signed(found.total, digits), style="bold")
    out.print(made)
    _legend(out, plan, found.lines[ordered])


def _legend(out: Console, plan: Plan, lines: Vector) -> None:
    risk = "its charge" if plan.mandate.return_error is None else "with what returns may be wrong by"
    if plan.mandate.charges is not None:
        risk += ", and what objectives of other packages charge"
    out.print("Return: under the belief. Robust: what the adversary takes from it, or spares.")
    out.print(f"Risk: {risk}. Rules: room used, or breaches mended.")
    out.print("Money: taken from the other orders, or given to them; it comes to nothing.")
    if lines.min(initial=0.0) <= -_SEEN:
        out.print("An order whose sum is below 0 pays only together with the others.")


def signed(fraction: float, digits: int = 1) -> str:
    """A fraction in bps with its sign; nothing is 0.0 and has none."""
    text = f"{fraction * 1e4:+.{digits}f}"
    return text[1:] if float(text) == 0 else text
