"""The two portfolios that every stress is about: what is held today, and what the plan's whole lots make of it."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.book.book import Book
from allocator.errors import BadInput, Breach
from allocator.multistage.plan import StagedPlan
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.types import Vector

HOLDINGS, PLAN = "holdings", "plan"


@dataclass(frozen=True, eq=False)
class Portfolio:
    """(N,) `holdings` and `cash` as fractions of the account before any trade; what is missing to 1 went on costs."""

    name: str
    holdings: Vector
    cash: float

    @property
    def spent(self) -> float:
        """What trading took, as a fraction of the account before it."""
        return 1 - float(self.holdings.sum()) - self.cash

    def losses(self, outlook: Outlook) -> Vector:
        """(K,) loss of each scenario's mean, after costs, as a fraction of the account before any trade."""
        result: Vector = self.spent - outlook.portfolio_returns(self.holdings, self.cash)
        return result


def refuse_other_book(book: Book, plan: Plan | StagedPlan) -> None:
    """Refuse a plan that was not made of this very book: figures of the two would be mixed.

    Raises:
        BadInput: it was not.
    """
    if plan.book is not book:
        rule, cure = "is of another book", "pass plan.book, or leave the plan out"
        raise BadInput([Breach("plan", None, None, plan.book.settings.book.name, rule, cure)])


def portfolios_of(book: Book, plan: Plan | StagedPlan | None) -> tuple[Portfolio, ...]:
    """Today's holdings, and the plan's final lots where there is a plan.

    Raises:
        BadInput: the plan is of another book.
    """
    if plan is not None:
        refuse_other_book(book, plan)
    today = Portfolio(HOLDINGS, book.weights, book.cash / book.value)
    if plan is None:
        return (today,)
    before = plan.final.value_before
    return today, Portfolio(PLAN, plan.final.values / before, plan.final.cash / before)
