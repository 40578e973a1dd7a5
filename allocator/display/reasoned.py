"""How reasons look: one row an order, one column a motive, and the sums that they come to."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from allocator.display.console import heading, table
from allocator.plan.plan import Plan
from allocator.plan.reasons import MOTIVES, Reasons
from allocator.types import Vector

_SHOWN = (
    ("return", ("expected_return",)),
    ("robust", ("robustness",)),
    ("risk", ("risk", "return_error")),
    ("costs", ("costs",)),
    ("rules", ("rules",)),
    ("money", ("money",)),
)


def show_reasons(out: Console, plan: Plan, found: Reasons) -> None:
    """The table "Why each order", with cash, whole lots and the total below."""
    if not plan.orders:
        return
    heading(out, "Why each order: bps of the account, + speaks for it")
    numbers = (*(name for name, _ in _SHOWN), "sum")
    made = table("", "instrument", *numbers, right=numbers)
    index = {name: i for i, name in enumerate(plan.book.instruments)}
    for order in plan.orders:
        parts = found.parts[index[order.instrument]]
        style = "red" if order.side == "sell" else "green"
        made.add_row(order.side, order.instrument, *_cells(parts), style=style)
    ordered = [index[order.instrument] for order in plan.orders]
    others = found.parts[np.setdiff1d(np.arange(len(index)), ordered)]
    if np.abs(others).max(initial=0.0) >= 5e-7:
        made.add_row("", "below one lot", *_cells(others.sum(axis=0)), style="dim")
    made.add_row("", plan.book.cash_instrument, *_cells(found.parts[-1]), style="dim")
    made.add_row("", "whole lots", *[""] * len(_SHOWN), signed(found.lots), style="dim")
    made.add_row("", "together", *_cells(found.motives)[:-1], signed(found.total), style="bold")
    out.print(made)
    error = " and what returns may be wrong by" if plan.mandate.return_error is not None else ""
    out.print("Return: under the belief. Robust: what the adversary takes from it, or spares.")
    out.print(f"Risk: its charge{error}. Rules: room used up, or breaches mended.")
    out.print("Money: taken from the other orders, or given to them; it comes to nothing.")


def _cells(parts: Vector) -> list[str]:
    cells = [signed(sum(float(parts[MOTIVES.index(motive)]) for motive in motives)) for _, motives in _SHOWN]
    return [*cells, signed(float(parts.sum()))]


def signed(fraction: float, digits: int = 1) -> str:
    """A fraction in bps with its sign; nothing is 0.0 and has none."""
    text = f"{fraction * 1e4:+.{digits}f}"
    return text[1:] if float(text) == 0 else text
