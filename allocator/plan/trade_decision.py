"""Should we trade at all: the gain of the whole lots against its own uncertainty.

The gain is what the orders take off the minimised objective, after costs and tickets. It is weighed under plausible
beliefs q and cost estimates f, where a portfolio is worth

    q'r(h, c) − return error − risk_aversion · h'Ωh − f · costs − tickets

against the same of today's holdings, which cost nothing. Where today's holdings break a rule there is no choice.
`minimum_variance` looks at no return: its gain is in ten-thousandths of its own objective (variance, costs and tickets
at the price that the objective puts on them), no belief can be plausible or not, and it trades where that is more than
these costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import BadInput, Infeasible, NotSolved, setting_breach
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.optimization.quadratic_program import is_quadratic
from allocator.optimization.resolve import ParametricSolver
from allocator.optimization.solve import Limits, kept_programs, trade_of_solution
from allocator.optimization.verification import DualCertificate
from allocator.outlook.outlook import Outlook
from allocator.plan.targets import solve_certified
from allocator.presentation import Count, NotNegative, Probability, Rounded
from allocator.rules import RuleMeasurement, RuleRows, Trade
from allocator.rules.rows import Position
from allocator.settings.settings import TradingSection
from allocator.types import Vector

Verdict: TypeAlias = Literal["trade required", "recommended", "no trade", "targets only"]
"""Required where today's holdings breach a limit; recommended where trading is worth its costs; targets only where no
whole lots were asked for, and nothing was weighed."""
DRAWS = 2000
"""Of beliefs and costs; a share is then right to about one point."""
_SEED = 20261120
_CENT = 0.01
_BROKEN = 1e-9
"""Of a rule's own unit: what whole lots are allowed, today's holdings are allowed too."""


@dataclass(frozen=True)
class TradeValue:
    """What trading changes the objective by, in bps of the account over the horizon, after costs and tickets.

    `gain_bps` is the change of the certainty equivalent; None where holding is no choice, as nobody who holds today
    could keep the rules at a review. `positive_share` of sampled inputs (beliefs of the ambiguity set, and costs) in
    which it is positive, and its least, median and largest over them; None with `minimum_variance` and with reviews.
    `orders` and `tickets` are those that were weighed: with the verdict "no trade" they are what is forgone.
    """

    verdict: Annotated[
        Verdict,
        "required where today's holdings breach a limit; targets only where no whole lots were asked for: there are no "
        "orders, and after is the target",
    ]
    gain_bps: Annotated[
        float | None,
        Rounded(4),
        "of the objective; with minimum_variance ten-thousandths of its own unit; with reviews against no trade until "
        "the first of them, null where no trade would break a limit at a review",
    ]
    positive_share: Annotated[
        Probability | None,
        "share of sampled beliefs and cost estimates in which trading changes the objective for the better; null with "
        "minimum_variance and with reviews",
    ]
    lowest_bps: Annotated[float | None, Rounded(4), "the least change among them"]
    median_bps: Annotated[float | None, Rounded(4), "their median"]
    highest_bps: Annotated[float | None, Rounded(4), "the largest"]
    orders: Annotated[Count, "orders that were weighed"]
    tickets: Annotated[NotNegative, Rounded(2), "what their tickets cost, in the book's currency"]

    @staticmethod
    def of_targets(gain: float | None) -> TradeValue:
        """Of targets that nobody wants as orders: `gain` is a fraction of the account, and nothing is weighed."""
        return TradeValue("targets only", None if gain is None else gain * 1e4, None, None, None, None, 0, 0.0)

    @property
    def trades(self) -> bool:
        """Whether the orders leave."""
        return self.verdict != "no trade"


def value_of_trading(
    outlook: Outlook,
    mandate: Mandate,
    today: Trade,
    lots: Trade,
    trading: TradingSection,
    *,
    orders: int,
    ticket: float = 0.0,
    required: bool = False,
) -> TradeValue:
    """Weigh whole lots against holding `today`; `orders` of them at `ticket` money each.

    `required` where no rule in money can say so: a forbidden name at price 0 is to be given away.
    The same inputs give the same draws, and so the same verdict.
    """
    tickets = ticket * orders
    lost = mandate.cost_price(outlook) * tickets / today.value_before
    gain = (mandate.loss(today, outlook) - mandate.loss(lots, outlook) - lost) * 1e4
    gains = None if not mandate.return_weight else _gains(outlook, mandate, today, lots, lost, trading.cost_factor)
    share = None if gains is None else float((gains > 0).mean())
    wanted = least_share(mandate, trading)
    broken = required or any(reading.excess > _BROKEN for reading in mandate.readings(today, outlook))
    lowest, median, highest = (None,) * 3 if gains is None else map(float, np.quantile(gains, (0.0, 0.5, 1.0)))
    # of minimum variance, what the trades cost in its own unit
    charged = mandate.cost_price(outlook) * (lots.costs / today.value_before * 1e4) + lost * 1e4
    least = least_gain(trading, lots.costs + tickets) if mandate.return_weight else charged
    verdict = _verdict(gain, share, least, wanted, broken=broken)
    return TradeValue(verdict, gain, share, lowest, median, highest, orders, tickets)


def value_of_reviewed_trading(
    gain: float | None,
    held: Sequence[RuleMeasurement],
    trading: TradingSection,
    *,
    orders: int,
    costs: float,
    tickets: float,
    account_value: float,
    required: bool = False,
) -> TradeValue:
    """Weigh today's whole lots, which cost `costs` and `tickets`, against holding until the first review.

    `gain` is the difference of the two policies' certainty equivalents, a fraction of the account; None where there is
    none that holds. `held` is every rule measured on today's holdings.
    """
    bps = None if gain is None else (gain - tickets / account_value) * 1e4
    if required or bps is None or any(one.excess > _BROKEN for one in held):
        verdict: Verdict = "trade required"
    else:
        verdict = "recommended" if orders and bps > least_gain(trading, costs + tickets) else "no trade"
    return TradeValue(verdict, bps, None, None, None, None, orders, tickets)


def refuse_unpaid_tickets(book: Book, final: Trade, decision: TradeValue) -> None:
    """Hold the tickets of a plan that trades to the cash that its lots, which are chosen without them, leave.

    Raises:
        BadInput: the account would owe what its tickets cost.
    """
    left = final.cash - decision.tickets
    if not (decision.trades and decision.tickets) or left >= min(book.cash, 0.0) - _CENT:
        return
    ticket, most = book.settings.costs.ticket, book.settings.costs.ticket * len(book.instruments) / book.value
    rule = f"leaves cash of {left:,.2f} after {decision.orders} tickets"
    floor = math.ceil(most * 1e4) / 1e4
    cure = f"raise mandate.min_cash to {floor:g}, what tickets of all names come to, or lower it"
    raise BadInput([setting_breach("costs.ticket", ticket, rule, cure if floor < 1 else "lower it")])


def least_gain(trading: TradingSection, costs: float) -> float:
    """The bps that trading must gain: as stated, or by whether it costs anything."""
    if trading.min_gain_bps is not None:
        return trading.min_gain_bps
    return _LEAST_BPS if costs > 0 else 0.0


_LEAST_BPS = 3.0
"""What whole lots and impact leave of a plan that was carried out is less, and nobody pays to have it."""


def least_share(mandate: Mandate, trading: TradingSection) -> float:
    """The share of plausible beliefs and costs in which trading must gain: as stated, or by what is guarded against."""
    if trading.min_share is not None:
        return trading.min_share
    return 0.0 if mandate.ambiguity.guards else 0.5


def _verdict(gain: float, share: float | None, least_gain: float, least_share: float, *, broken: bool) -> Verdict:
    if broken:
        return "trade required"
    gains = gain > least_gain and (share is None or share >= least_share)
    return "recommended" if gains else "no trade"


def _gains(outlook: Outlook, mandate: Mandate, today: Trade, lots: Trade, lost: float, cost_factor: float) -> Vector:
    """(DRAWS,) what trading gains, in bps, under each plausible belief and cost estimate."""
    draw = np.random.default_rng(_SEED)
    beliefs = mandate.ambiguity.sample(outlook.probabilities, draw, DRAWS)
    factors = cost_factor ** draw.uniform(-1, 1, DRAWS)
    (returns, sure), (held, held_sure) = _parts(outlook, mandate, lots), _parts(outlook, mandate, today)
    costs = 1 - lots.value / lots.value_before
    result: Vector = (beliefs @ (returns - held) + sure - held_sure - factors * costs - lost) * 1e4
    return result


def _parts(outlook: Outlook, mandate: Mandate, trade: Trade) -> tuple[Vector, float]:
    """(K,) gains before costs in each scenario, and what is subtracted whatever happens but for the costs."""
    before = trade.value_before
    holdings = trade.values / before
    gains = outlook.portfolio_returns(holdings, trade.cash / before)
    return gains, -mandate.held_charge(holdings, outlook.risk)


# No-trade regions: for every name, the weights from which trading it alone is not worth its cost.
#
# Everything else at the targets and cash the counterpart, the marginal value of name i at holding x is, by
# stationarity,
#
#     π_i(x) = π_i(h_i) − 2 · risk_aversion · Ω_ii · (x − h_i)
#
# and trading pays only where π_i(x) is above what a unit bought costs, κ(1 + rate) and the rules' prices of a
# purchase, or below what a unit sold brings, κ(1 − rate) less the rules' prices of a sale, κ the price of cash. Exact
# while the prices stay as they are at the targets: the adversary, rules shared with other names, tangents of conic
# rules. Rules on one name alone are no prices but bounds. Impact and the market's volume do not stop the first unit,
# so they move no edge; they stop a trade short of it.
#
_NOISE = 3e-7
"""A marginal value this near to what trading costs is at the edge: the rest is the solver's last digits."""


@dataclass(frozen=True, eq=False)
class NoTradeRegions:
    """(N,) the lowest and the highest weight of each name from which it is not traded.

    In weights of the account after the targets' costs, as the target weights are.
    """

    low: Vector
    high: Vector


@dataclass(frozen=True, eq=False)
class _OwnTrade:
    """(N,) what rules on one name alone come to: bounds of its holding, and whether it may not be bought, or sold."""

    low: Vector
    high: Vector
    unbought: NDArray[np.bool_]
    unsold: NDArray[np.bool_]


def no_trade_regions(
    outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate, trading_price: float = 0.0
) -> NoTradeRegions:
    """The regions at the targets; `trading_price` is what the program charged for a unit traded beside its costs."""
    rows, priced = prices.priced(outlook, mandate)
    touched = sp.csr_array(abs(rows.holdings) + abs(rows.buys) + abs(rows.sells))
    touched.eliminate_zeros()
    alone = (np.diff(touched.indptr) == 1) & (rows.cash == 0)
    shared = np.where(alone, 0.0, priced)
    before, (held, bought, sold) = target.value_before, rows.charges(shared)
    value = _marginal_value(outlook, mandate, target, prices) - held
    value = value + mandate.cost_price(outlook) + float(rows.wealth @ priced)
    spent = prices.cash * (1 + mandate.cost_rates) + bought + trading_price
    brought = prices.cash * (1 - mandate.cost_rates) - sold - trading_price
    curvature = 2 * mandate.risk_aversion * outlook.risk.variances
    holdings, wealth = target.values / before, target.value / before
    own = _own(rows, touched, alone, wealth)
    low = np.clip(holdings + _over(value - spent, curvature), own.low, own.high)
    high = np.clip(holdings + _over(value - brought, curvature), own.low, own.high)
    return NoTradeRegions(np.where(own.unbought, 0.0, low / wealth), np.where(own.unsold, 1.0, high / wealth))


def _marginal_value(outlook: Outlook, mandate: Mandate, target: Trade, prices: DualCertificate) -> Vector:
    """(N,) what one more unit held brings at the targets: return under the adversary less risk and charges."""
    holdings = target.values / target.value_before
    value = mandate.return_weight * (outlook.returns.T @ prices.adversary)
    value = value - 2 * mandate.risk_aversion * outlook.risk.covariances(holdings)
    return np.asarray(value - mandate.marginal_charge(prices.error, outlook.risk), dtype=np.float64)


def _over(gain: Vector, curvature: Vector) -> Vector:
    """(N,) how far the edge is; without curvature it is here, or nowhere."""
    clean = np.where(np.abs(gain) <= _NOISE, 0.0, gain)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(curvature > 0, clean / curvature, np.where(clean == 0, 0.0, np.copysign(np.inf, clean)))
    return np.asarray(far, dtype=np.float64)


def _own(rows: RuleRows, touched: sp.csr_array, alone: NDArray[np.bool_], wealth: float) -> _OwnTrade:
    """Rows on one name alone as bounds, at the wealth after the targets' costs."""
    names = touched.shape[1]
    low, high, closed = np.zeros(names), np.full(names, wealth), np.zeros((2, names), dtype=bool)
    at = touched.indices[touched.indptr[:-1][alone]]
    held, limits = np.asarray(rows.holdings.sum(axis=1))[alone], (rows.limit + rows.wealth * wealth)[alone]
    caps, floors = held > 0, held < 0
    np.minimum.at(high, at[caps], limits[caps] / held[caps])
    np.maximum.at(low, at[floors], limits[floors] / held[floors])
    for way, traded in zip(closed, (rows.buys, rows.sells), strict=True):
        way[at[(np.asarray(traded.sum(axis=1))[alone] > 0) & (limits <= 0)]] = True
    return _OwnTrade(low, np.maximum(high, low), *closed)


# When to look again: how far the price of a name, or one belief, moves until an order turns or a trade begins.
#
# A name turns where the best targets no longer trade it the way they do: an order ends or becomes its contrary, or what
# is held without one is traded. Its price moves alone, and with it what is held and the account's value; or a belief
# moves, the other scenarios in proportion, and the set of probabilities with it. Moves are counted in steps, and each
# that is told was solved with the one before it: at the one the name turns, at the other it does not. No-trade regions
# only say where to begin.
#
PRICE_STEP, BELIEF_STEP = 0.001, 0.01
"""What a step is: a thousandth of the price of today, a point of probability."""
_MOST_STEPS = {-1: 950, 1: 4000}
"""Of a price: down to a twentieth, up to five times as much."""
_SHARP = 1e-12
"""Of a solver: where a trade begins it is the square root of what is left of the gap that tells it from none."""
_STILL = 1e-5
"""Of the account: less is no trade. A step moves a trade by ten times as much, and a solver's last digits a tenth."""


@dataclass(frozen=True)
class Turn:
    """How far a name's own price, and the belief, move until its order turns; None where no such move was found."""

    instrument: str
    side: Annotated[Literal["sell", "buy", "hold"], "what turns"]
    price_move: Annotated[
        float | None, Rounded(4), "as a fraction of today's price; null where no move of it alone turns it"
    ]
    price: Annotated[float | None, Rounded(8), "where it turns, in the book's currency"]
    probability: Annotated[Probability | None, Rounded(8), "of the belief, where it turns; null where none does"]


@dataclass(frozen=True, eq=False)
class _Belief:
    """A line of beliefs: `name` at probability `today`, from `if_false` (K,) to `if_true` (K,)."""

    name: str
    today: float
    if_true: Vector
    if_false: Vector

    @staticmethod
    def of(book: Book, outlook: Outlook) -> _Belief | None:
        """Of the first answer where scenarios stand for answers, else of the likeliest scenario."""
        p, said = outlook.probabilities, [book.settings.scenarios[name].hypothesis for name in outlook.scenarios]
        first = int(np.argmax(p))
        name, true = outlook.scenarios[first], np.arange(len(p)) == first
        if None not in said and book.settings.hypotheses:
            name = book.settings.hypotheses[0]
            true = np.array([one == name for one in said])
        today = float(p[true].sum())
        if not 0 < today < 1:
            return None
        return _Belief(name, today, np.where(true, p, 0.0) / today, np.where(true, 0.0, p) / (1 - today))

    def moved(self, steps: int) -> float:
        """The probability so many steps away, which is whole points but where it is certain."""
        whole = np.floor(self.today / BELIEF_STEP) if steps < 0 else np.ceil(self.today / BELIEF_STEP)
        nearest = abs(whole * BELIEF_STEP - self.today) < 1e-9
        return float((whole + steps + (0 if nearest else -np.sign(steps))) * BELIEF_STEP)

    def most(self, way: int) -> int:
        """Steps until it is certain."""
        return next(n - 1 for n in range(1, 1000) if not -1e-9 <= self.moved(way * n) <= 1 + 1e-9)

    def probabilities(self, steps: int) -> Vector:
        """(K,) the belief so many steps away."""
        at = min(max(self.moved(steps), 0.0), 1.0)
        return at * self.if_true + (1 - at) * self.if_false


class LookAgain:
    """The moves that turn a plan's orders; targets are solved again, and certified, for every step that is asked."""

    def __init__(
        self,
        book: Book,
        outlook: Outlook,
        ambiguity: Ambiguity | None,
        target: Trade,
        regions: NoTradeRegions,
        chosen: NDArray[np.bool_] | None = None,
    ) -> None:
        self._book, self._outlook, self._regions, self._limits = book, outlook, regions, Limits.of(book)
        self._ambiguity, self._chosen = ambiguity, chosen
        self._mandate = self._asked(book)
        self._fast: ParametricSolver | None = None
        self.belief = _Belief.of(book, outlook)
        self._program = kept_programs(explains=False)
        self._by_belief: dict[int, Vector | None] = {}
        self.signs, here = _signs(target), self._solved(book, outlook, self._mandate)
        self.known = np.zeros(len(self.signs), dtype=bool) if here is None else here == self.signs
        """(N,) whether targets that are solved again trade a name as the plan does: not where limits were relaxed."""

    def _asked(self, book: Book) -> Mandate:
        """Of the book at whatever prices; where few names are wanted, with those (N,) that the plan chose."""
        mandate = build_mandate(book, self._outlook, self._ambiguity)
        return mandate if self._chosen is None else mandate.choosing(self._chosen)

    def nearest(self, names: Sequence[int]) -> tuple[Turn | None, Turn | None]:
        """Of these names the one that the least move of its own price turns, and the one that the least move of the
        belief does; of prices the two that come first by their regions are looked at.
        """
        guesses = sorted((abs(np.log1p(guess)), i) for i in names for guess in self._price_guesses(i))
        prices = [one for _, i in guesses[:2] if (one := self._priced(i)).price_move is not None]
        price = min(prices, key=lambda one: abs(np.log1p(one.price_move or 0.0)), default=None)
        found = [self._turning(names, way) for way in (-1, 1)] if self.belief is not None else []
        steps = min((n for n in found if n is not None), key=abs, default=None)
        if steps is None or self.belief is None:
            return price, None
        there = self._at_belief(steps)
        assert there is not None
        first = next(i for i in names if there[i] != self.signs[i])
        return price, Turn(self._book.instruments[first], self._side(first), None, None, self.belief.moved(steps))

    def every(self, names: Sequence[int]) -> list[Turn]:
        """Both moves of each of these names."""
        turns = []
        for i in names:
            found = [self._turning([i], way) for way in (-1, 1)] if self.belief is not None else []
            steps = min((n for n in found if n is not None), key=abs, default=None)
            at = None if steps is None or self.belief is None else self.belief.moved(steps)
            turns.append(replace(self._priced(i), probability=at))
        return turns

    def _side(self, i: int) -> Literal["sell", "buy", "hold"]:
        return "hold" if self.signs[i] == 0 else "buy" if self.signs[i] > 0 else "sell"

    def _price_guesses(self, i: int) -> list[float]:
        """Moves of a price that would bring the name's weight to the edges of its no-trade region."""
        weight, low, high = self._book.weights[i], self._regions.low[i], self._regions.high[i]
        edges = {1: [low], -1: [high], 0: [low, high]}[int(self.signs[i])]
        moves = [(edge - weight) / (weight * (1 - edge)) for edge in edges if 0 < edge < 1] if weight > 0 else []
        return [float(move) for move in moves if (move < 0) != (edges == [low]) or len(edges) == 2]

    def _priced(self, i: int) -> Turn:
        book, moves = self._book, list[float]()
        for guess in self._price_guesses(i):
            way = -1 if guess < 0 else 1

            def turned(n: int, way: int = way) -> bool | None:
                there = self._at_price(i, way * n)
                return None if there is None else bool(there[i] != self.signs[i])

            n = _first_turned(turned, abs(guess) / PRICE_STEP, _MOST_STEPS[way])
            moves += [] if n is None else [way * n * PRICE_STEP]
        move = min(moves, key=lambda one: abs(np.log1p(one)), default=None)
        price = None if move is None else float(book.prices[i]) * (1 + move)
        return Turn(book.instruments[i], self._side(i), move, price, None)

    def _turning(self, names: Sequence[int], way: int) -> int | None:
        """Steps of the belief, one way, until one of the names turns."""
        assert self.belief is not None
        at = list(names)

        def turned(n: int) -> bool | None:
            there = self._at_belief(way * n)
            return None if there is None else bool((there[at] != self.signs[at]).any())

        n = _first_turned(turned, 4.0, self.belief.most(way))
        return None if n is None else way * n

    def _at_price(self, i: int, steps: int) -> Vector | None:
        prices = self._book.prices.copy()
        prices[i] *= 1 + steps * PRICE_STEP
        moved = replace(self._book, prices=prices)
        return self._solved(moved, self._outlook, self._asked(moved))

    def _at_belief(self, steps: int) -> Vector | None:
        if steps not in self._by_belief:
            assert self.belief is not None
            moved = replace(self._outlook, probabilities=self.belief.probabilities(steps))
            self._by_belief[steps] = self._solved(self._book, moved, self._mandate)
        return self._by_belief[steps]

    def _solved(self, book: Book, outlook: Outlook, mandate: Mandate) -> Vector | None:
        """(N,) the signs of what the best targets trade; None where there is no plan."""
        start = Position(book.weights, book.cash / book.value)
        if is_quadratic(mandate):
            sharp = replace(self._limits, tolerance=min(self._limits.tolerance, _SHARP))
            self._fast = self._fast or ParametricSolver(start, outlook, mandate, sharp)
            if (found := self._fast.solve(start, outlook, mandate)) is not None:
                return _signs(trade_of_solution(start, mandate, found.holdings, 1.0))
        try:
            return _signs(solve_certified(self._program(outlook, mandate), start, outlook, mandate, self._limits)[0])
        except (Infeasible, NotSolved):
            return None


def _signs(target: Trade) -> Vector:
    moved = (target.bought - target.sold) / target.value_before
    return np.where(np.abs(moved) <= _STILL, 0.0, np.sign(moved))


def _first_turned(turned: Callable[[int], bool | None], guess: float, most: int) -> int | None:
    """The step from 1 to `most` that is turned and whose forerunner is not, by doubling from a guess and halving.

    None where there is none, or where some step that is asked has no plan.
    """
    if most < 1:
        return None
    kept, at, step = 0, int(np.clip(np.ceil(guess - 1e-6), 1, most)), 1
    said = turned(at)
    while said is False and at < most:
        kept, at, step = at, min(at + step, most), 2 * step
        said = turned(at)
    if not said:
        return None
    step = 1
    while kept == 0 and at > 1:  # from a guess beyond, back
        before = max(at - step, 1)
        said = turned(before)
        if said is None:
            return None
        if not said:
            kept = before
        else:
            at, step = before, 2 * step
    while at - kept > 1:
        between = (kept + at) // 2
        said = turned(between)
        if said is None:
            return None
        kept, at = (kept, between) if said else (between, at)
    return at
