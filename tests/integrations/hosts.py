# ruff: noqa: ARG002, ARG005  (a stub has the parameters of its host, whether it looks at them or not)
"""Stubs of hosts that are not installed here: the signatures that the pages of docs/hosts use, and what they record.

Written from vectorbt 1.2.0, zipline-reloaded 3.2.1 and pyqlib 0.9.7 as published; LEAN's optimizer is called directly.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


class Position:
    """What qlib hands over as `current`."""

    def __init__(self, stocks: list[str]) -> None:
        self._stocks = stocks

    def get_stock_list(self) -> list[str]:
        return self._stocks


class WeightStrategyBase:
    """qlib/contrib/strategy/signal_strategy.py."""

    def __init__(self, *, order_generator_cls_or_obj: Any = None, signal: Any = None, **kwargs: Any) -> None:
        assert set(kwargs) <= {"risk_degree", "trade_exchange", "level_infra", "common_infra"}


class Portfolio:
    """vectorbt/portfolio/base.py."""

    calls: list[dict[str, Any]] = []  # noqa: RUF012  # what was asked, for the test to look at

    @classmethod
    def from_orders(
        cls,
        close: Any,
        size: Any = None,
        size_type: Any = None,
        direction: Any = None,
        price: Any = None,
        fees: Any = None,
        fixed_fees: Any = None,
        slippage: Any = None,
        size_granularity: Any = None,
        init_cash: Any = None,
        cash_sharing: Any = None,
        call_seq: Any = None,
        group_by: Any = None,
    ) -> Portfolio:
        cls.calls.append({name: value for name, value in locals().items() if name != "cls"})
        return cls()


class Zipline:
    """zipline/api.py: what a strategy may call, and the orders that it made."""

    def __init__(self) -> None:
        self.orders: dict[str, float] = {}
        self.scheduled: list[Callable[..., None]] = []
        rules = types.SimpleNamespace(month_start=lambda days_offset=0: ("month_start", days_offset))
        self.api = module(
            "zipline.api",
            date_rules=rules,
            schedule_function=lambda func, date_rule=None, time_rule=None, half_days=True, calendar=None: (
                self.scheduled.append(func)
            ),
            symbol=lambda symbol_str, country_code=None: f"asset {symbol_str}",
            order_target_percent=self._order,
        )

    def _order(
        self, asset: str, target: float, limit_price: Any = None, stop_price: Any = None, style: Any = None
    ) -> str:
        self.orders[asset] = target
        return "an order's id"


def module(name: str, **names: Any) -> types.ModuleType:
    """A module of these names."""
    made = types.ModuleType(name)
    vars(made).update(names)
    return made
