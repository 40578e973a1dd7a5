"""Allocations that stay robust until the replicability question is settled, as whole-lot orders with a proof.

    >>> import allocator
    >>> plan = allocator.rebalance(allocator.load("data/listed"))
    >>> plan.orders[0].side
    'sell'

Names are loaded when they are first used: `import allocator` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from allocator import presentation

if TYPE_CHECKING:
    from allocator.backtesting.cells import Cell as Cell
    from allocator.backtesting.cells import Design as Design
    from allocator.backtesting.trial import Trial as Trial
    from allocator.backtesting.trial import simulate as simulate
    from allocator.backtesting.walk_forward import Backtest as Backtest
    from allocator.backtesting.walk_forward import backtest as backtest
    from allocator.book.book import Book as Book
    from allocator.book.book import from_frames as from_frames
    from allocator.book.book import from_weights as from_weights
    from allocator.book.loading import load as load
    from allocator.errors import AllocatorError as AllocatorError
    from allocator.errors import BadInput as BadInput
    from allocator.errors import BadMandate as BadMandate
    from allocator.errors import Breach as Breach
    from allocator.errors import Infeasible as Infeasible
    from allocator.errors import NotSolved as NotSolved
    from allocator.errors import OutOfTime as OutOfTime
    from allocator.importers.formats import import_positions as import_positions
    from allocator.importers.positions import Positions as Positions
    from allocator.ledger.comparison import Comparison as Comparison
    from allocator.ledger.comparison import compare_plans as compare_plans
    from allocator.mandate.precheck import Check as Check
    from allocator.mandate.precheck import check as check
    from allocator.multistage.review_policy import ReviewPolicy as ReviewPolicy
    from allocator.outlook.outlook import Outlook as Outlook
    from allocator.outlook.outlook import build_outlook as build_outlook
    from allocator.outlook.outlook import returns_frame as returns_frame
    from allocator.plan.caution import caution_study as caution_study
    from allocator.plan.document import plan_document as plan_document
    from allocator.plan.explanation import Explanation as Explanation
    from allocator.plan.explanation import explain as explain
    from allocator.plan.output import orders_frame as orders_frame
    from allocator.plan.output import weights_frame as weights_frame
    from allocator.plan.plan import Plan as Plan
    from allocator.plan.rebalance import rebalance as rebalance
    from allocator.stress_testing.frontier import Frontier as Frontier
    from allocator.stress_testing.frontier import frontier as frontier
    from allocator.stress_testing.stress import StressReport as StressReport
    from allocator.stress_testing.stress import stress as stress

    __version__: str

_NAMES = {
    "backtesting.walk_forward": "Backtest backtest",
    "backtesting.cells": "Cell Design",
    "backtesting.trial": "Trial simulate",
    "book.book": "Book from_frames from_weights",
    "book.loading": "load",
    "errors": "AllocatorError BadInput BadMandate Breach Infeasible NotSolved OutOfTime",
    "importers.formats": "import_positions",
    "importers.positions": "Positions",
    "ledger.comparison": "Comparison compare_plans",
    "mandate.precheck": "Check check",
    "multistage.review_policy": "ReviewPolicy",
    "outlook.outlook": "Outlook build_outlook returns_frame",
    "plan.caution": "caution_study",
    "plan.document": "plan_document",
    "plan.explanation": "Explanation explain",
    "plan.output": "orders_frame weights_frame",
    "plan.plan": "Plan",
    "plan.rebalance": "rebalance",
    "stress_testing.frontier": "Frontier frontier",
    "stress_testing.stress": "StressReport stress",
}
"""By the file that they are in."""
_HOME = {name: f"allocator.{home}" for home, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_HOME, "__version__"])  # noqa: PLE0605  built from the one table above


if not TYPE_CHECKING:  # to a type checker any name would do

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # 80 ms that `--help` need not wait for

            return version("portfolio-allocator")
        if name not in _HOME:
            raise AttributeError(f"module 'allocator' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOME[name]), name)


def _screen(plan: object) -> str:
    return str(importlib.import_module("allocator.display.plan").plan_text(plan))


def _table(plan: object) -> str:
    return str(importlib.import_module("allocator.display.plan").plan_html(plan))


presentation.TEXT, presentation.HTML = _screen, _table


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
