"""`explain(plan)`: why these orders, why not more, what carries risk and worst case, and how wrong we may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.mandate.mandate import untraded
from allocator.outlook.calibration import modelled
from allocator.outlook.outlook import COLUMNS
from allocator.plan.flips import Shift, break_even, crossing, least_shift_chi2, least_shift_kl, least_shift_tv
from allocator.plan.marginal import Contributions, Margins, contributions, margins
from allocator.plan.plan import Plan, figures
from allocator.plan.reasons import Reasons, reasons
from allocator.plan.uniqueness import notes
from allocator.rules import Reading
from allocator.types import Vector

HYPOTHESIS = "generalizable"


@dataclass(frozen=True)
class HypothesisFlip:
    """Where along the hypothesis holding today is as good as the orders; None where nowhere on the way from 0 to 1.

    `by_return` compares expected returns after costs, `by_objective` what the plan maximises, at the same radius. The
    scenarios keep their probabilities given the hypothesis and given its contrary.
    """

    probability: float
    by_return: float | None
    by_objective: float | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """What there is to say about a plan beside its orders. Margins and contributions are those of the targets."""

    plan: Plan
    reasons: Reasons
    margins: Margins
    contributions: Contributions
    ahead: float
    """Expected return of the orders over holding today, after costs, under the belief."""
    hypothesis: HypothesisFlip | None
    """None where the book's scenarios do not say which answer they stand for."""
    shifts: Mapping[str, Shift | None]
    """The nearest belief at which the sign of `ahead` turns, by total variation, relative entropy, modified χ²."""
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TouchingRule:
    """A rule that looks at a name: its reading on the final lots, and what it takes from one more unit of the name."""

    reading: Reading
    takes: float


@dataclass(frozen=True, eq=False)
class About:
    """One name: returns (K,), its drivers (K, COLUMNS) where the efficiency model makes them, the rules it meets."""

    instrument: str
    index: int
    returns: Vector
    drivers: Mapping[str, Vector] | None
    rules: tuple[TouchingRule, ...]


def explain(asked: Plan | Book) -> Explanation:
    """Explain a plan, or the plan of a book: what each order adds, in basis points of the account that add up.

    Raises:
        BadInput: it is neither, such as a plan in stages.
        AllocatorError: of a book, whatever `rebalance` raises.
    """
    if not isinstance(asked, Plan):
        refuse_no_book(asked)
    if isinstance(asked, Plan):
        plan = asked
    else:
        from allocator.plan.rebalance import rebalance

        plan = rebalance(asked)
    outlook, mandate, target, prices = plan.outlook, plan.mandate, plan.target, plan.prices
    weighed = figures(plan.book, outlook, mandate, plan.weighed)
    today, then = (np.array(one.scenario_returns) for one in (plan.before, weighed))
    ahead = float(outlook.probabilities @ (then - today))
    turned = today - then if ahead >= 0 else then - today
    kinds = {"total_variation": least_shift_tv, "kl": least_shift_kl, "chi2": least_shift_chi2}
    return Explanation(
        plan=plan,
        reasons=reasons(plan),
        margins=margins(plan.start, outlook, mandate, target, prices),
        contributions=contributions(outlook, target, plan.adversary),
        ahead=ahead,
        hypothesis=_hypothesis(plan, today, then),
        shifts={kind: shift(turned, outlook.probabilities) for kind, shift in kinds.items()},
        notes=(*_of_branches(plan), *notes(outlook, mandate, target, prices)),
    )


def _of_branches(plan: Plan) -> tuple[str, ...]:
    """What prices are of where the best on paper is no plan."""
    if plan.certificate.wasteless is None:
        return ()
    return (
        "The best on paper burns money: a little less of it would do the plan good. Prices are those of the best plan "
        "that burns none.",
    )


def _hypothesis(plan: Plan, today: Vector, then: Vector) -> HypothesisFlip | None:
    sections, p = plan.book.settings.scenarios, plan.outlook.probabilities
    if any(sections[name].hypothesis is None for name in plan.outlook.scenarios):
        return None
    true = np.array([sections[name].hypothesis == HYPOTHESIS for name in plan.outlook.scenarios])
    stated = float(p[true].sum())
    if not 0 < stated < 1:
        return None
    if_true, if_false = np.where(true, p, 0.0) / stated, np.where(true, 0.0, p) / (1 - stated)
    held = untraded(plan.book)

    def ahead(probability: float) -> float:
        moved = replace(plan.outlook, probabilities=probability * if_true + (1 - probability) * if_false)
        return plan.mandate.loss(held, moved) - plan.mandate.loss(plan.weighed, moved)

    by_objective = crossing(ahead, stated) if plan.mandate.return_weight and plan.weighed_orders else None
    return HypothesisFlip(stated, break_even(then, today, if_true, if_false), by_objective)


def position_of(book: Book, instrument: str) -> int:
    """Where an instrument stands, cash last.

    Raises:
        BadInput: there is no such instrument, with the nearest name.
    """
    known = [*book.instruments, book.cash_instrument]
    if instrument not in known:
        rule, cure = "no such instrument in exposures.csv", did_you_mean(instrument, known)
        raise BadInput([Breach("INSTRUMENT", None, None, instrument, rule, cure)])
    return known.index(instrument)


def about(plan: Plan, instrument: str) -> About:
    """One name of a plan.

    Raises:
        BadInput: there is no such instrument.
    """
    i, book, outlook = position_of(plan.book, instrument), plan.book, plan.outlook
    cash = i == len(book.instruments)
    rows, priced = plan.prices.priced(outlook, plan.mandate)
    coefficients = rows.cash if cash else rows.holdings[:, [i]].toarray()[:, 0]
    trading = np.zeros(len(priced)) if cash else abs(rows.buys[:, [i]] + rows.sells[:, [i]]).toarray()[:, 0]
    touching = np.flatnonzero((coefficients != 0) | (trading != 0))
    model = modelled(book)
    drivers = None
    if not cash and model is not None and instrument not in book.scenario_returns.index:
        drivers = dict(zip(COLUMNS, model.drivers(outlook.years)[:, i, :].T, strict=True))
    return About(
        instrument,
        i,
        outlook.cash_returns if cash else outlook.returns[:, i],
        drivers,
        tuple(TouchingRule(plan.readings[r], float(priced[r] * coefficients[r])) for r in touching),
    )
