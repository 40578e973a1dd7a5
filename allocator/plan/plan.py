"""The Plan: what to do, what it is worth under the belief and under adverse probabilities, and the proof."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from allocator.ambiguity.product import AxisShare, axis_shares, in_bps
from allocator.book.book import Book
from allocator.errors import Infeasible, NotSolved
from allocator.lots.whole_lots import RelaxedRule
from allocator.mandate.mandate import Mandate, no_trade
from allocator.multistage.review_policy import ReviewPolicy
from allocator.optimization.solve import Limits
from allocator.optimization.verification import DualCertificate
from allocator.outlook.calibration import model_splits
from allocator.outlook.outlook import Outlook
from allocator.plan.certificate import Certificate
from allocator.plan.risk_figures import BEYOND, GainMixture, RiskFigures, risk_figures
from allocator.plan.targets import cost_shares, stability
from allocator.plan.trade_decision import LookAgain, NoTradeRegions, TradeValue, Turn, no_trade_regions
from allocator.presentation import HIDDEN, Keywords, Rounded, html_of, text_of
from allocator.rules import RuleMeasurement, RuleRows, Trade, row_slack
from allocator.rules.builder import bucket_shares
from allocator.rules.rows import Position
from allocator.types import Vector

if TYPE_CHECKING:
    import pandas as pd

    from allocator.few_names.search import FoundNames

BINDING = 1e-7
"""A shadow price below this (a hundred-thousandth of a basis point for a point of limit) is the solver's noise."""


@dataclass(frozen=True)
class Order:
    """One whole-lot order; `value` and `cost` in the book's currency, `quantity` in units, always positive."""

    side: Annotated[str, Keywords(enum=["sell", "buy"])]
    instrument: str
    quantity: Annotated[float, Keywords(exclusiveMinimum=0)]
    price: float
    value: Annotated[float, Rounded(2)]
    cost: Annotated[float, Rounded(2)]
    weight_before: Annotated[float, HIDDEN]
    weight_after: Annotated[float, HIDDEN]


@dataclass(frozen=True)
class Figures:
    """One portfolio under the outlook, over the horizon, as fractions of the account before trading; after costs.

    `adverse_expected_return` is the expected return under the adverse probabilities of the ambiguity set. Volatilities
    are annual: `volatility_within` a scenario, `volatility_between` scenario means, `volatility` both together.
    `expected_shortfall` is the mean loss in the worst 5 % of the horizon's outcomes, those of a normal distribution in
    each scenario. `required`, `disagreement`, `undigested_news` and `not_anchored` are parts of the expected return and
    with costs add up to it, None where there is no such part. The `active_*` figures and `tracking_error` (annual,
    within) are against the benchmark, None without. `splits` are parts of the account that the model tells apart beside
    the buckets.
    """

    expected_return: float
    adverse_expected_return: float
    volatility_within: float
    volatility_between: float
    expected_shortfall: float
    costs: float
    buckets: Mapping[str, float]
    scenario_returns: tuple[float, ...]
    required: float | None = None
    disagreement: float | None = None
    undigested_news: float | None = None
    not_anchored: float | None = None
    active_expected_return: float | None = None
    active_adverse_expected_return: float | None = None
    tracking_error: float | None = None
    splits: Mapping[str, float] = field(default_factory=dict)

    @property
    def volatility(self) -> float:
        """Total annual volatility: variances within scenarios and between them add up."""
        return math.hypot(self.volatility_within, self.volatility_between)

    @property
    def worst_scenario_return(self) -> float:
        """The least of the scenario returns."""
        return min(self.scenario_returns)


class Figure(NamedTuple):
    """A figure of a portfolio: a field or property of `Figures`, what screens call it, what its document says of it.

    Without a `label` no screen shows it, without a `note` no document has it; the first screen shows the `brief` ones,
    `--full` all that are not `brief_only`.
    """

    name: str
    label: str
    note: str
    brief: bool = False
    brief_only: bool = False
    optional: bool = False


FIGURES = (
    Figure("expected_return", "expected return", "over the horizon, after costs, under the stated probabilities", True),
    Figure(
        "adverse_expected_return", "adverse expected return",
        "over the horizon, after costs, under the adverse probabilities of the ambiguity set", True,
    ),
    # after these two, which `docs/verify_plan.py` reads by their places
    Figure("required", "expected: required", "of the expected return before costs, what is required", optional=True),
    Figure("disagreement", "expected: disagreement", "of it, disagreement with the market's belief", optional=True),
    Figure("undigested_news", "expected: undigested news", "of it, what prices have still to take in", optional=True),
    Figure("not_anchored", "expected: no market's", "of it, that of which no market says anything", optional=True),
    Figure("worst_scenario_return", "worst scenario ({worst})", "", True, brief_only=True),
    Figure("volatility", "volatility, a year (total)", "annual, in all", True),
    Figure("volatility_within", "volatility within scenarios, a year", "annual, inside a scenario"),
    Figure("volatility_between", "volatility between scenarios, a year", "annual, spread of the scenario means"),
    Figure(
        "expected_shortfall", "expected shortfall, 95% of the horizon",
        "mean loss in the worst 5% of outcomes at the horizon, normal within each scenario", True,
    ),
    Figure("costs", "", "fraction of the account before trading"),
    Figure("active_expected_return", "expected return over benchmark", "over the benchmark's", optional=True),
    Figure(
        "active_adverse_expected_return", "adverse expected return over benchmark",
        "adverse expected return over the benchmark's", optional=True,
    ),
    Figure("tracking_error", "tracking error, a year", "annual, inside a scenario", optional=True),
)  # fmt: skip
"""In the order in which screens and documents have them; after them come the shares by bucket."""


@dataclass(frozen=True)
class BindingRule:
    """A rule that holds the targets back: what one more point of its limit is worth, in bps of the account."""

    label: str
    bps_per_point: float
    row: int
    """Where it stands among the rules' readings."""
    has_limit: bool = True
    """Whether there is a limit to loosen: a name that cannot be traded has none, and its price is one of many."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Targets, whole-lot orders and the certificate; made by `rebalance`, never by hand.

    A book with reviews, or of an objective that the tree of decisions solves, has a `policy` too: what is done at each
    review. Then there are no `duals`, `binding` rules, `no_trade` regions and `stability`: these are of one period.
    """

    book: Book
    outlook: Outlook
    mandate: Mandate
    """Today's: at later reviews the policy has its own."""
    start: Position
    target: Trade
    weighed: Trade
    """The whole lots that were weighed against holding; `final` unless the verdict is no trade."""
    final: Trade
    orders: tuple[Order, ...]
    """None where the verdict is no trade; `final` is then today's portfolio. None either of targets only, which `final`
    then is."""
    weighed_orders: tuple[Order, ...]
    """The orders that were weighed: `orders`, or what is forgone by holding."""
    decision: TradeValue
    rounding_bps: float
    """What whole lots cost against the targets, in bps of the account by the objective's formula, traded or not."""
    lots_gap_bps: float
    """How far the objective of the weighed lots is at most from that of the best lots, in bps; 0 of targets only."""
    certificate: Certificate
    relaxed: tuple[RelaxedRule, ...] = ()
    """Rules with a priority that could not be kept; `mandate` has the limits kept instead."""
    duals: DualCertificate | None = None
    """Shadow prices at the targets."""
    traded_prices: tuple[DualCertificate, float] | None = None
    """Those of the targets that are traded, and what was charged for a unit traded beside its costs."""
    best: Trade | None = None
    """The optimum, of which the targets are the one that trades least within the book's indifference."""
    policy: ReviewPolicy | None = None
    names: FoundNames | None = None
    """How the names that are held were chosen, where the mandate wants few."""

    @cached_property
    def adversary(self) -> Vector:
        """(K,) the adverse probabilities of the targets, if they are held to the horizon: the solver's where several
        are equally bad, so that they fit the shadow prices.
        """
        gains = self.outlook.portfolio_returns(self.target.values, self.target.cash)
        own = self.mandate.ambiguity.adversary(-gains, self.outlook.probabilities)
        dual = None if self.duals is None else self.duals.adversary
        return own if dual is None or float((dual - own) @ (gains / self.target.value_before)) >= 1e-6 else dual

    @cached_property
    def measurements(self) -> tuple[RuleMeasurement, ...]:
        """Every rule measured on the final lots."""
        return tuple(self.mandate.readings(self.final, self.outlook))

    @cached_property
    def binding(self) -> tuple[BindingRule, ...]:
        """The rules that hold the targets back, dearest first; none with reviews."""
        return () if self.duals is None else binding_rules(self.outlook, self.mandate, self.target, self.duals)

    @cached_property
    def no_trade(self) -> NoTradeRegions | None:
        """The no-trade regions at the targets; None with reviews."""
        if self.traded_prices is None:
            return None
        return no_trade_regions(self.outlook, self.mandate, self.target, *self.traded_prices)

    @property
    def charges_risk(self) -> bool:
        """Whether the objective charges for the risk within a scenario, or there is none to charge for."""
        if not self.outlook.risk.variances.any():
            return True
        return self.mandate.risk_aversion > 0 if self.policy is None else self.policy.mandate.utility.charges_risk

    @property
    def has_lots(self) -> bool:
        """Whether whole lots were asked for; else there are no orders, whatever the targets trade."""
        return self.decision.verdict != "targets only"

    @property
    def weights(self) -> pd.Series[float]:
        """(N + 1,) final weights by instrument and, last, cash: fractions after costs, which sum to 1."""
        import pandas as pd

        names = pd.Index([*self.book.instruments, self.book.cash_instrument], name="instrument")
        return pd.Series(self.final.all_weights, index=names, name="weight")

    @cached_property
    def before(self) -> Figures:
        """Of what is held."""
        return portfolio_figures(self.book, self.outlook, self.mandate, no_trade(self.book))

    @cached_property
    def targeted(self) -> Figures:
        """Of the targets."""
        return portfolio_figures(self.book, self.outlook, self.mandate, self.target)

    @cached_property
    def after(self) -> Figures:
        """Of the final lots, or of targets only."""
        if self.final is self.target:
            return self.targeted
        return portfolio_figures(self.book, self.outlook, self.mandate, self.final)

    @cached_property
    def axes(self) -> Mapping[str, AxisShare]:
        """What of the adverse figure is about the answer and about the regime, and what each costs; nothing where the
        set has no axes. Further plans are solved for it, when first asked for.
        """
        ambiguity, outlook, p = self.mandate.ambiguity, self.outlook, self.outlook.probabilities
        if not ambiguity.axes:
            return {}
        if self.policy is not None:
            return self.policy.caution_schedule[0].axes or {}
        before = self.final.value_before
        losses = -outlook.portfolio_returns(self.final.values / before, self.final.cash / before)
        adverse = ambiguity.worst_case(losses, p)
        taken = axis_shares((ambiguity,), lambda sets: sets[0].worst_case(losses, p), float(p @ losses), adverse)
        try:
            spent = cost_shares(self.start, outlook, self.mandate, self.target, Limits.of(self.book))
        except (Infeasible, NotSolved):  # a verified plan is not lost for want of a figure beside it
            return in_bps(taken, None)
        return in_bps(taken, spent)

    @cached_property
    def look_again(self) -> LookAgain | None:
        """What turns an order: solved when it is asked for; None with reviews, and where orders are not recommended."""
        if self.no_trade is None or self.orders != self.weighed_orders or self.decision.verdict == "targets only":
            return None
        ambiguity = self.mandate.ambiguity if self.mandate.return_weight else None
        chosen = None if self.names is None else self.names.held
        return LookAgain(self.book, self.outlook, ambiguity, self.target, self.no_trade, chosen)

    @cached_property
    def nearest_turns(self) -> tuple[Turn | None, Turn | None]:
        """The nearest price and the nearest belief that turn an order, or that begin one where there is none."""
        if self.look_again is None:
            return None, None
        sides = {order.instrument: 1 if order.side == "buy" else -1 for order in self.orders}
        names = [i for i in self._turnable() if self.look_again.signs[i] == sides.get(self.book.instruments[i], 0)]
        return self.look_again.nearest([i for i in names if bool(sides) == bool(self.look_again.signs[i])])

    @cached_property
    def turns(self) -> Sequence[Turn]:
        """Both moves of every name that is traded or held; many solves."""
        return () if self.look_again is None else self.look_again.every(self._turnable())

    def _turnable(self) -> list[int]:
        """Names that are held or wanted, and that targets which are solved again trade alike."""
        assert self.look_again is not None
        wanted = (self.start.holdings > 0) | (self.look_again.signs != 0)
        return [int(i) for i in np.flatnonzero(wanted & self.look_again.known)]

    @cached_property
    def stability(self) -> float | None:
        """Largest L1 change of the best target weights when one probability moves by 2 points, of the four largest;
        None where such a move leaves no verified plan. Solved when first asked for.
        """
        if self.best is None:
            return None
        return stability(self.start, self.outlook, self.mandate, self.best, Limits.of(self.book))

    @cached_property
    def risk(self) -> Mapping[str, RiskFigures]:
        """What holdings, targets and proposed lots may lose, by the names of their figures: before, target, after."""
        participation = self.book.settings.mandate.max_participation
        before, target = (
            risk_figures(self.book, self.outlook, trade, participation) for trade in (no_trade(self.book), self.target)
        )
        own = self.final is not self.target
        after = risk_figures(self.book, self.outlook, self.final, participation) if own else target
        return {"before": before, "target": target, "after": after}

    def __str__(self) -> str:
        return text_of(self)

    def __repr__(self) -> str:
        book = self.book.settings.book
        return f"Plan({book.name!r}, {book.as_of}, {len(self.orders)} orders, {self.decision.verdict})"

    def _repr_html_(self) -> str:
        return html_of(self)


def binding_rules(
    outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate
) -> tuple[BindingRule, ...]:
    """Rules with a price, dearest first: what one point (0.01) more of the limit is worth, in bps of the account."""
    rows, priced = prices.priced(outlook, mandate)
    found = [
        BindingRule(rows.labels[row], float(priced[row] * room) * 100, row, has_limit=not np.isnan(rows.stated[row]))
        for row, room in enumerate(_room(outlook, mandate, target, prices))
        if priced[row] > BINDING
    ]
    return tuple(sorted(found, key=lambda rule: -rule.bps_per_point))


def _room(outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate) -> Vector:
    """(rules,) how much room in its row one unit of a rule's limit makes, at the targets; 1 where there is no limit, or
    no row of the rule has a price.
    """
    names, at = len(mandate.cost_rates), 0
    found = np.ones(len(prices.rows) + len(mandate.convex_rules))
    for rule, rows in zip(mandate.linear_rules, mandate.parts, strict=True):
        own = slice(at, at + len(rows.labels))
        at = own.stop
        if (prices.rows[own] > BINDING).any():
            found[own] = _row_room(rows, rule.with_limits(_further(rows)).rows(names), outlook, target)
    for place, (convex, slope) in enumerate(zip(mandate.convex_rules, prices.slopes, strict=True), at):
        rows = convex.tangent(np.asarray(slope.direction), outlook)
        wider = convex.with_limits(_further(rows)).tangent(np.asarray(slope.direction), outlook)
        found[place] = _row_room(rows, wider, outlook, target)[0]
    return found


def _further(rows: RuleRows) -> list[float]:
    return list(map(float, rows.stated + 1e-3 * rows.sense))


def _row_room(rows: RuleRows, wider: RuleRows, outlook: Outlook, target: Trade) -> Vector:
    room = (row_slack(wider.on(outlook), target) - row_slack(rows.on(outlook), target)) / 1e-3
    return np.where(np.isnan(rows.stated), 1.0, room)


def portfolio_figures(book: Book, outlook: Outlook, mandate: Mandate, trade: Trade) -> Figures:
    """What a portfolio is worth under the outlook."""
    before, plain = trade.value_before, return_figures(outlook, mandate, trade)
    holdings, cash = trade.values / before, trade.cash / before
    buckets = {name: float(bucket_shares(book, name) @ trade.weights) for name in book.settings.buckets.names}
    buckets["cash"] = trade.cash / trade.value
    active: dict[str, float] = {}
    if book.benchmark is not None:
        weights = np.asarray(book.benchmark, dtype=np.float64)
        against = np.array(plain.scenario_returns) - outlook.portfolio_returns(weights[:-1], float(weights[-1]))
        difference = trade.weights - weights[:-1]
        active = {
            "active_expected_return": float(outlook.probabilities @ against),
            "active_adverse_expected_return": -mandate.ambiguity.worst_case(-against, outlook.probabilities),
            "tracking_error": float(np.sqrt(outlook.risk.variance(difference) / outlook.years)),
        }
    splits = {name: float(part @ trade.weights) for name, part in model_splits(book).items()}
    parts: dict[str, Any] = {**outlook.portfolio_parts(holdings, cash), **active}
    return replace(plain, buckets=buckets, splits=splits, **parts)


def return_figures(outlook: Outlook, mandate: Mandate, trade: Trade) -> Figures:
    """Those of a portfolio's figures that ask nothing of the book: returns, risk and costs."""
    before = trade.value_before
    holdings, cash = trade.values / before, trade.cash / before
    gains = outlook.portfolio_returns(holdings, cash) + trade.value / before - 1
    within = outlook.risk.variance(holdings)
    mixture = GainMixture(outlook.probabilities, gains[:, None], np.array([within]))
    return Figures(
        expected_return=float(outlook.probabilities @ gains),
        adverse_expected_return=-mandate.ambiguity.worst_case(-gains, outlook.probabilities),
        volatility_within=float(np.sqrt(within / outlook.years)),
        volatility_between=float(np.sqrt(outlook.variance_between(holdings, cash) / outlook.years)),
        expected_shortfall=mixture.tail(BEYOND[0.95]).expected_shortfall,
        costs=trade.costs / before,
        buckets={},
        scenario_returns=tuple(map(float, gains)),
    )


def list_orders(book: Book, mandate: Mandate, final: Trade, lots: Vector) -> tuple[Order, ...]:
    """Sells before buys, each with the largest first."""
    weights, costs = final.weights, mandate.costs(final.bought, final.sold, final.value_before)
    listed = []
    for i in np.flatnonzero(lots):
        value = abs(float(lots[i] * book.lot_values[i]))
        listed.append(
            Order(
                side="sell" if lots[i] < 0 else "buy",
                instrument=book.instruments[i],
                quantity=_units(float(lots[i]), float(book.lot_sizes[i]), float(book.quantities[i])),
                price=float(book.prices[i]),
                value=value,
                cost=float(costs[i]),
                weight_before=float(book.weights[i]),
                weight_after=float(weights[i]),
            )
        )
    return tuple(sorted(listed, key=lambda order: (order.side != "sell", -order.value, order.instrument)))


def _units(lots: float, lot_size: float, held: float) -> float:
    """Lots × lot size as decimals multiply (7 lots of 0.1 are 0.7), never negative; a sale of at most what is held."""
    if lots < 0 and abs(lots - round(lots)) > 1e-9 * max(abs(lots), 1.0):  # all of it, which is no whole lots
        return held
    units = float(abs(round(lots)) * Decimal(repr(lot_size)))
    return min(units, held) if lots < 0 else units
