"""What a plan says as pandas objects, for people who go on from there; labels are the book's own."""

from __future__ import annotations

from dataclasses import asdict, fields

import pandas as pd

from allocator.plan.plan import Order, Plan
from allocator.plan.stages import StagedPlan


def orders_frame(plan: Plan | StagedPlan) -> pd.DataFrame:
    """One row an order, sells before buys: `side`, `instrument`, `quantity` in units and always positive, `price`,
    `value` and `cost` in the book's currency, `weight_before` and `weight_after` as fractions. No rows where the plan
    is to hold.
    """
    return pd.DataFrame([asdict(order) for order in plan.orders], columns=[field.name for field in fields(Order)])


def weights_frame(plan: Plan | StagedPlan) -> pd.DataFrame:
    """Instruments and, last, cash down; `before`, `target` and `after` across, as fractions of the account.

    `before` is of the account before trading, `target` and `after` of what is left after costs: each column sums to 1.
    """
    book, target, final = plan.book, plan.target, plan.final
    columns = {
        "before": [*book.weights, book.cash / book.value],
        "target": [*target.weights, target.cash / target.value],
        "after": [*final.weights, final.cash / final.value],
    }
    return pd.DataFrame(columns, index=pd.Index([*book.instruments, book.cash_instrument], name="instrument"))
