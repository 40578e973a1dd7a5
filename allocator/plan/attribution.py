"""Why a plan trades: the gain of the targets over today's holdings, split by order and by motive so that it adds up.

With F the minimised objective, g the rules as the rows that the certificate prices and λ those prices (science §4.10):

    gain = [F(today) + λ'g(today)] − [F(target) + λ'g(target)]

Each motive's slope is averaged along the straight way from today's holdings and cash to the targets. A convex rule
stands in g as its tangent at the targets, the very row that `plan.json` proves the bound with: the targets minimise
F + λ'g over everything the account can do, today's holdings included, so the gain is never negative, also where they
break a rule. Being linear, the tangent splits exactly; it counts a breach of a convex rule for no more than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypedDict

import numpy as np

from allocator.ambiguity.balls import AnyProbabilities
from allocator.ambiguity.sets import Ambiguity
from allocator.errors import NotSolved
from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import DualCertificate
from allocator.outlook.outlook import Outlook
from allocator.plan.plan import Plan
from allocator.presentation import Row
from allocator.rules import Trade, row_slack
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

# Averages along the straight way from today's holdings to the targets, so that a change splits into parts that add up.
#
# By the fundamental theorem of calculus the change of a convex function is its average slope times the way. For the
# worst case the slope is the adversary, for a norm the direction; both change on the way, so neither end alone adds
# up.
#
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_TOLERANCE = 1e-12
"""Of a probability: how far a quadrature may be from the same on two halves."""
_SHORTEST = 1e-13
"""Of the way: shorter pieces carry nothing."""
Adversary = Callable[[Vector], Vector]


def path_average_adversary(before: Vector, after: Vector, ambiguity: Ambiguity, probabilities: Vector) -> Vector:
    """(K,) the adversary averaged while losses go from `before` to `after` in a straight line: q̄'(after − before) is
    the change of the worst case.

    Exact where the set has flat faces only, so that the adversary changes a finite number of times (all but the
    divergences); for these by Gauss-Legendre quadrature, halved until it is exact to 1e-12.
    """
    if not ambiguity.is_curved:
        pieces = _pieces(before, after, lambda losses: ambiguity.adversary(losses, probabilities))
        return np.asarray(sum((end - begin) * q for begin, end, q in pieces), dtype=np.float64)
    return _averaged(before, after, lambda rows: ambiguity.adversaries(rows, np.tile(probabilities, (len(rows), 1))))


def _pieces(before: Vector, after: Vector, adversary: Adversary) -> list[tuple[float, float, Vector]]:
    """(begin, end, q): parts of the way with one adversary each.

    The worst case is then convex and piecewise linear along the way: where the lines of the two ends meet it either
    touches them, and that is the break, or lies above, and there is another piece between.
    """
    slope, exact = after - before, 1e-15 * (1 + float(np.abs(np.concatenate([before, after])).max()))
    waiting = [(0.0, adversary(before), 1.0, adversary(after))]
    found: list[tuple[float, float, Vector]] = []
    while waiting:
        a, at_a, b, at_b = waiting.pop()
        apart, steeper = float((at_a - at_b) @ (before + a * slope)), float((at_b - at_a) @ slope)
        if b - a <= _SHORTEST or steeper * (b - a) - apart <= exact or steeper <= 0:
            found.append((a, b, at_a))
            continue
        middle = a + apart / steeper
        if middle <= a + _SHORTEST:
            found.append((a, b, at_b))
            continue
        losses = before + middle * slope
        between = adversary(losses)
        if float((between - at_a) @ losses) <= exact:
            found += [(a, middle, at_a), (middle, b, at_b)]
        else:
            waiting += [(a, at_a, middle, between), (middle, between, b, at_b)]
    return found


def _averaged(here: Vector, there: Vector, adversaries: Callable[[Matrix], Matrix]) -> Vector:
    """The same by quadrature, from `adversaries` of (M, K) losses: smooth between the places where another scenario
    becomes the worst.
    """
    breaks = sorted(
        {0.0, 1.0, *(end for _, end, _ in _pieces(here, there, lambda x: AnyProbabilities().adversary(x, x)))}
    )

    def mean(begin: Vector, end: Vector) -> Matrix:
        at = (begin + end)[:, None] / 2 + (end - begin)[:, None] / 2 * _NODES
        q = adversaries((here + at[..., None] * (there - here)).reshape(-1, len(here)))
        averaged: Matrix = np.einsum("n,snk->sk", _WEIGHTS / 2, q.reshape(len(begin), len(_NODES), len(here)))
        return averaged * (end - begin)[:, None]

    begin, end = np.array(breaks[:-1]), np.array(breaks[1:])
    whole, total = mean(begin, end), np.zeros(len(here))
    while len(begin):
        middle = (begin + end) / 2
        halves = mean(np.concatenate([begin, middle]), np.concatenate([middle, end]))
        left, right = halves[: len(begin)], halves[len(begin) :]
        open_ = (np.abs(left + right - whole).max(axis=1) > _TOLERANCE) & (end - begin > _SHORTEST)
        total += (left + right)[~open_].sum(axis=0)
        begin, end = np.concatenate([begin[open_], middle[open_]]), np.concatenate([middle[open_], end[open_]])
        whole = np.concatenate([left[open_], right[open_]])
    return total


MOTIVES = ("expected_return", "robustness", "return_error", "objectives", "risk", "costs", "rules", "funding")
"""The columns of the reasons. Robustness is the worst case less the belief; rules are λ'g. Money is what an order takes
from the others or gives them, at the price of money at the targets: it adds up to nothing over orders and cash, and
without it every purchase would look as if its money came from nowhere and could go nowhere else."""
EXACT = 1e-9
"""Of the account, or of the objective where it is larger than 1: how far parts may be from their whole."""


@dataclass(frozen=True, eq=False)
class GainAttribution:
    """The gain of the targets in parts, as fractions of the account before trading; positive speaks for the trade.

    `parts` (N + 1, motives) have a row for each instrument and, last, one for cash; they add up to `gain`. `lots` is
    what whole lots add to it, F(target) − F(lots), mostly negative.
    """

    parts: Matrix
    gain: float
    lots: float

    @property
    def lines(self) -> Vector:
        """(N + 1,) what each order brings, all motives together."""
        return np.asarray(self.parts.sum(axis=1))

    @property
    def motives(self) -> Vector:
        """(motives,) what each motive brings, all orders together."""
        return np.asarray(self.parts.sum(axis=0))

    @property
    def total(self) -> float:
        """The gain of the final lots."""
        return self.gain + self.lots


def attribute_gain(plan: Plan) -> GainAttribution:
    """The reasons of a plan, adding up to its gain.

    Raises:
        NotSolved: the parts do not add up, which would be a defect of ours.
    """
    assert plan.duals is not None  # of one period: `explain` and the document ask of no other
    found = attribute_trade(plan.start, plan.outlook, plan.mandate, plan.target, plan.duals)
    return GainAttribution(found.parts, found.gain, -plan.rounding_bps / 1e4)


def attribute_trade(
    start: Position, outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate
) -> GainAttribution:
    """The reasons of targets, before whole lots.

    Raises:
        NotSolved: the parts do not add up.
    """
    nothing = np.zeros(len(start.holdings))
    today = Trade(start.holdings, start.cash, nothing, nothing, 0.0, 1.0)
    before, after = mandate.loss(today, outlook), mandate.loss(target, outlook)
    rows, priced = prices.priced(outlook, mandate)
    gain = before - float(priced @ row_slack(rows, today))
    gain -= after - float(priced @ row_slack(rows, target))
    columns = (
        *_returns(start, outlook, mandate, target),
        _return_error(start, outlook, mandate, target),
        _charges(start, mandate, target),
        _risk(start, outlook, mandate, target),
        _costs(outlook, mandate, target),
        _rules(start, outlook, mandate, target, prices),
        _money(start, outlook, mandate, target, prices),
    )
    parts = np.column_stack(columns)
    if not abs(float(parts.sum()) - gain) <= EXACT * max(1.0, abs(before), abs(after)):
        raise NotSolved(f"the reasons miss the gain by {(parts.sum() - gain) * 1e4:.2g} bps; no number leaves")
    return GainAttribution(parts, gain, 0.0)


def moved_amounts(start: Position, target: Trade) -> Vector:
    """(N + 1,) what the targets change, cash last, in fractions of the account before trading."""
    before = target.value_before
    return np.append(target.values / before - start.holdings, target.cash / before - start.cash)


def _returns(start: Position, outlook: Outlook, mandate: Mandate, target: Trade) -> tuple[Vector, Vector]:
    """Return under the belief, and what the adversary, averaged along the way, makes of it."""
    ways, before = moved_amounts(start, target), target.value_before
    if not mandate.return_weight:
        return np.zeros(len(ways)), np.zeros(len(ways))
    p, all_returns = outlook.probabilities, append_cash(outlook)
    today = -outlook.portfolio_returns(start.holdings, start.cash)
    then = -outlook.portfolio_returns(target.values / before, target.cash / before)
    q = path_average_adversary(today, then, mandate.ambiguity, p)
    return (p @ all_returns) * ways, ((q - p) @ all_returns) * ways


def append_cash(outlook: Outlook) -> Matrix:
    """(K, N + 1) returns in each scenario, cash last."""
    return np.column_stack([outlook.returns, outlook.cash_returns])


def _return_error(start: Position, outlook: Outlook, mandate: Mandate, target: Trade) -> Vector:
    error, slope = mandate.return_error, np.zeros(len(start.holdings))
    if error is not None:
        slope = error.average_slope(start.holdings, target.values / target.value_before, outlook.risk)
    return -np.append(slope, 0.0) * moved_amounts(start, target)


def _charges(start: Position, mandate: Mandate, target: Trade) -> Vector:
    """What objectives of other packages charge is linear."""
    own = np.zeros(len(start.holdings)) if mandate.charges is None else mandate.charges
    return -np.append(own, 0.0) * moved_amounts(start, target)


def _risk(start: Position, outlook: Outlook, mandate: Mandate, target: Trade) -> Vector:
    """γ·h'Ωh is quadratic: its slope half way is its average."""
    half = (start.holdings + target.values / target.value_before) / 2
    slope = 2 * mandate.risk_aversion * outlook.risk.covariances(half)
    return -np.append(slope, 0.0) * moved_amounts(start, target)


def _costs(outlook: Outlook, mandate: Mandate, target: Trade) -> Vector:
    """Each order's own cost; what the account's last digits leave over is cash's."""
    spent = _spent(mandate, target)
    rest = 1 - target.value / target.value_before - float(spent.sum())
    return -mandate.cost_price(outlook) * np.append(spent, rest)


def _spent(mandate: Mandate, target: Trade) -> Vector:
    before = target.value_before
    return mandate.costs(target.bought / before, target.sold / before)


def _rules(start: Position, outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate) -> Vector:
    """λ'g is linear; the wealth that limits are a part of falls by each order's cost."""
    rows, priced = prices.priced(outlook, mandate)
    before, ways, spent = target.value_before, moved_amounts(start, target), _spent(mandate, target)
    held, bought, sold = rows.charges(priced)
    own = held * ways[:-1] + bought * target.bought / before + sold * target.sold / before
    rest = 1 - target.value / before - float(spent.sum())
    cash = float(rows.cash @ priced) * float(ways[-1])
    return -np.append(own, cash) - float(rows.wealth @ priced) * np.append(spent, rest)


def _money(start: Position, outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate) -> Vector:
    """What each order spends, its cost with it, at what a unit of money is worth elsewhere; sums to nothing."""
    spent, ways = _spent(mandate, target), moved_amounts(start, target)
    rest = 1 - target.value / target.value_before - float(spent.sum())
    return np.asarray(funding_price(outlook, mandate, prices) * (ways + np.append(spent, rest)))


def funding_price(outlook: Outlook, mandate: Mandate, prices: DualCertificate) -> float:
    """What a unit held is worth as wealth, less what it costs as money: the same for every name."""
    rows, priced = prices.priced(outlook, mandate)
    return mandate.cost_price(outlook) + float(rows.wealth @ priced) - prices.cash


_IN_BPS = tuple((name, float) for name in (*MOTIVES, "sum"))
Motives: TypeAlias = Annotated[Row, _IN_BPS]


class AttributionDocument(TypedDict):
    """bps of the account; positive speaks for the order; columns add up to sum, lines to targets, targets and lots to
    total; funding sums to zero; null with reviews"""

    orders: list[Annotated[Row, (("instrument", str), *_IN_BPS)]]
    others: Annotated[Motives, "targets that no whole lot follows, together"]
    cash: Motives
    targets: Annotated[
        Motives, "all lines together: the gain of the targets over today's holdings, rules at their prices"
    ]
    lots: Annotated[float, "what whole lots add to it, mostly negative"]
    total: float


def attribution_document(plan: Plan) -> AttributionDocument:
    """The reasons as plain data, in bps of the account; `others` are targets that no whole lot follows."""
    found = attribute_gain(plan)
    index = {name: i for i, name in enumerate(plan.book.instruments)}
    rows = [index[order.instrument] for order in plan.weighed_orders]
    others = found.parts[np.setdiff1d(np.arange(len(index)), rows)].sum(axis=0)
    return {
        "orders": [{"instrument": plan.book.instruments[i], **motives_in_bps(found.parts[i])} for i in rows],
        "others": motives_in_bps(others),
        "cash": motives_in_bps(found.parts[-1]),
        "targets": motives_in_bps(found.motives),
        "lots": round_bps(found.lots),
        "total": round_bps(found.total),
    }


def motives_in_bps(parts: Vector) -> dict[str, float]:
    """One line of reasons by name, with its sum."""
    return dict(zip(MOTIVES, map(round_bps, parts), strict=True)) | {"sum": round_bps(float(parts.sum()))}


def round_bps(fraction: float) -> float:
    """Basis points with the digits that are stable."""
    return round(float(fraction) * 1e4, 6) + 0.0
