"""Many draws of a book's parameters at once: what its outlook would be at each of them, by the outlook's own formulas.

A parameter is named by its key in `book.toml`, as in `book/checks/stress.py`. With `prices` "follow", the market
is taken to know the parameter as we do, which is what a book with that parameter would say; with "stay", today's prices
are those of the book's own parameters, and the parameter turns out to be another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.book.checks.question import HYPOTHESES
from allocator.errors import BadInput, Breach
from allocator.outlook.calibration import (
    adoption_years,
    build_question,
    calibrate,
    dated_signals,
    market_anchor,
    market_probabilities,
    model_loadings,
    model_scenarios,
    scenario_probabilities,
)
from allocator.outlook.efficiency_model import (
    Loadings,
    ModelScenarios,
    Technique,
    market_quantities,
    scenario_returns,
    value_multipliers,
)
from allocator.outlook.outlook import Outlook, build_outlook, with_typed_returns
from allocator.outlook.posterior import posterior, prior_with
from allocator.outlook.question import Question, Signal
from allocator.plan.plan import Plan
from allocator.stress_testing.parameter_draws import ParameterRange
from allocator.types import Matrix, Vector

# The two portfolios that every stress is about: what is held today, and what the plan's whole lots make of it.
#
CURRENT, PROPOSED = "current", "proposed"

# What is measured of them at each draw.
#
EXPECTED, ADVERSE = "expected return", "adverse expected return"
ADVERSE_GAIN = "adverse expected return less current"


@dataclass(frozen=True, eq=False)
class StressPortfolio:
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


def refuse_plan_of_other_book(book: Book, plan: Plan) -> None:
    """Refuse a plan that was not made of this very book: figures of the two would be mixed.

    Raises:
        BadInput: it was not.
    """
    if plan.book is not book:
        rule, cure = "is of another book", "pass plan.book, or leave the plan out"
        raise BadInput([Breach("plan", None, None, plan.book.settings.book.name, rule, cure)])


def stress_portfolios(book: Book, plan: Plan | None) -> tuple[StressPortfolio, ...]:
    """Today's holdings, and the plan's final lots where there is a plan.

    Raises:
        BadInput: the plan is of another book.
    """
    if plan is not None:
        refuse_plan_of_other_book(book, plan)
    today = StressPortfolio(CURRENT, book.weights, book.cash / book.value)
    if plan is None:
        return (today,)
    before = plan.final.value_before
    return today, StressPortfolio(PROPOSED, plan.final.values / before, plan.final.cash / before)


Prices: TypeAlias = Literal["follow", "stay"]


@dataclass(frozen=True, eq=False)
class StressBase:
    """What draws of a book's parameters start from, read from the book once."""

    book: Book
    outlook: Outlook
    prices: Prices
    question: Question | None
    signals: Sequence[Signal]
    technique: Technique | None
    scenarios: ModelScenarios | None
    loadings: Loadings | None
    anchor: Vector | None
    """(N,) what today's prices hold by the book's own parameters."""
    probabilities: Vector
    market: tuple[Vector | None, Vector | None]


@dataclass(frozen=True, eq=False)
class OutlookDraws:
    """The outlook at D draws: `returns` (D, K, N) over the horizon, `probabilities` (D, K) on as_of.

    `market` (D, K) are the market's probabilities on as_of, None without [market]; `share` (D,) the announcement share.
    """

    returns: Matrix
    probabilities: Matrix
    market: Matrix | None
    share: Vector


def stress_base(book: Book, prices: Prices = "follow", outlook: Outlook | None = None) -> StressBase:
    """Read from a book what its draws need.

    Raises:
        BadInput: the price history cannot give a covariance.
    """
    settings, model = book.settings, calibrate(book)
    return StressBase(
        book=book,
        outlook=outlook or build_outlook(book),
        prices=prices,
        question=build_question(book),
        signals=dated_signals(book),
        technique=None if model is None else model.technique,
        scenarios=None if settings.model is None else model_scenarios(book),
        loadings=None if settings.model is None else model_loadings(book),
        anchor=None if model is None else model.anchor,
        probabilities=scenario_probabilities(book),
        market=market_probabilities(book),
    )


def outlook_at_draws(ground: StressBase, values: Mapping[str, Vector]) -> OutlookDraws:
    """The outlook at each of D draws: `values` (D,) by key; what is not named stays as the book has it."""
    draws = len(next(iter(values.values())))
    names, scenarios = len(ground.book.instruments), len(ground.book.scenarios)
    probabilities, now = _beliefs(ground, values)
    stated = float(ground.book.settings.horizon.announcement_share or 0.0)
    share = np.broadcast_to(values.get("horizon.announcement_share", np.array(stated)), (draws,))
    modelled_returns = _modelled(ground, values, now, share)
    returns = ground.outlook.returns if modelled_returns is None else with_typed_returns(ground.book, modelled_returns)
    return OutlookDraws(
        returns=np.broadcast_to(returns, (draws, scenarios, names)),
        probabilities=np.broadcast_to(probabilities, (draws, scenarios)),
        market=None if now is None else np.broadcast_to(now, (draws, scenarios)),
        share=share,
    )


def _beliefs(ground: StressBase, values: Mapping[str, Vector]) -> tuple[Matrix, Matrix | None]:
    """Our probabilities and the market's on as_of: (D, K) where the question's numbers are drawn, else (1, K)."""
    drawn = {key.partition(".")[2]: values[key] for key in values if key.startswith("question.")}
    if ground.question is None or not drawn:
        now = ground.market[1]
        return ground.probabilities[None, :], None if now is None else now[None, :]
    question = _asked(ground.question, drawn)
    belief = posterior(question, ground.signals, [ground.book.settings.book.as_of])
    own = belief[:, 0] if belief.ndim == 3 else belief
    now = market_probabilities(ground.book, question)[1]
    return own, None if now is None else np.atleast_2d(now[:, 0] if now.ndim == 3 else now)


def _asked(question: Question, drawn: Mapping[str, Vector]) -> Question:
    """The question with the prior of G, and one value that all labs share, drawn: arrays (D, 1, 1)."""
    own = {name: values[:, None, None] for name, values in drawn.items()}
    labs = {
        name: replace(
            lab,
            disclosure=own.get("disclosure", lab.disclosure),
            hazard=own.get("hazard", lab.hazard),
            background=own.get("background", lab.background),
        )
        for name, lab in question.labs.items()
    }
    prior = prior_with(question, own["prior_generalizable"]) if "prior_generalizable" in own else question.prior
    return replace(question, labs=labs, prior=prior)


def _modelled(ground: StressBase, values: Mapping[str, Vector], now: Matrix | None, share: Vector) -> Matrix | None:
    """(D, K, N) the efficiency model's returns; None without it, or where nothing drawn reaches it."""
    if ground.technique is None or ground.scenarios is None or ground.loadings is None:
        return None
    technique = replace(ground.technique, **_of(values, "model."))
    scenarios = _drawn_scenarios(ground, values)
    years = ground.book.settings.years
    state = market_quantities(scenarios, technique, years + adoption_years(ground.book))
    worth = value_multipliers(state, ground.loadings, technique)
    if ground.prices == "stay":
        assert ground.anchor is not None
        return scenario_returns(worth, ground.loadings, ground.anchor, years)
    then, stated = ground.market
    moved = now if stated is None or now is None else stated if stated is then else now[:, None, :]
    anchor = market_anchor(worth, then, moved, share[:, None])
    return scenario_returns(worth, ground.loadings, anchor[..., None, :], years)


def _of(values: Mapping[str, Vector], prefix: str) -> dict[str, Matrix]:
    """(D, 1) the drawn parameters whose key begins so, by the rest of it."""
    return {key.removeprefix(prefix): drawn[:, None] for key, drawn in values.items() if key.startswith(prefix)}


def _drawn_scenarios(ground: StressBase, values: Mapping[str, Vector]) -> ModelScenarios:
    """The scenarios' parameters, (D, K) where one of them is drawn."""
    assert ground.scenarios is not None
    changed: dict[str, Matrix] = {}
    for key, drawn in values.items():
        room, _, rest = key.partition(".")
        if room != "scenarios":
            continue
        scenario, _, name = rest.rpartition(".")
        if name not in changed:
            changed[name] = np.tile(getattr(ground.scenarios, name), (len(drawn), 1))
        changed[name][:, ground.book.scenarios.index(scenario)] = drawn
    return replace(ground.scenarios, **changed)


def join_draws(first: OutlookDraws, second: OutlookDraws) -> OutlookDraws:
    """The draws of both, one after the other."""
    market = None
    if first.market is not None and second.market is not None:
        market = np.concatenate([first.market, second.market])
    return OutlookDraws(
        returns=np.concatenate([first.returns, second.returns]),
        probabilities=np.concatenate([first.probabilities, second.probabilities]),
        market=market,
        share=np.concatenate([first.share, second.share]),
    )


# What draws of the parameters make of the portfolios: expected and adverse expected returns, and those of news.
#
# The ambiguity set keeps the reach that it has today, around the belief of each draw. On a day of news one answer
# becomes certain: prices move by the announcement share of the re-pricing, Π (Σ q_k g_k / Σ p_k g_k)^J with g the
# growth to the horizon, p the market's probabilities and q the same given the answer (as at a review of the tree,
# without its drift).
#
CELLS = 65_536
"""Returns looked at together, draws × K × N: what a processor's cache holds."""


@dataclass(frozen=True)
class Outcome:
    """What is measured: of which portfolio, and what; a part of the account before any trade, after costs."""

    portfolio: str
    measure: str


@dataclass(frozen=True, eq=False)
class MeasuredOutcomes:
    """The measures of D draws (outcomes, D), the gains (portfolios, D, K), and the returns (S, K, N) of the first S."""

    values: Matrix
    gains: Matrix
    returns: Matrix


@dataclass(frozen=True, eq=False)
class OutcomeMeter:
    """How draws are measured: the ground they start from, the set that is guarded against, the portfolios."""

    ground: StressBase
    ambiguity: Ambiguity
    portfolios: tuple[StressPortfolio, ...]
    keys: tuple[str, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """In the order of the rows of `MeasuredOutcomes.values`."""
        return tuple(self._outcomes())

    def _outcomes(self) -> Iterator[Outcome]:
        for portfolio in self.portfolios:
            yield from (Outcome(portfolio.name, measure) for measure in (EXPECTED, ADVERSE))
            yield from (Outcome(portfolio.name, f"news: {answer}") for answer in self.answers)
        if len(self.portfolios) > 1:
            yield Outcome(PROPOSED, ADVERSE_GAIN)

    @property
    def answers(self) -> Mapping[str, Vector]:
        """(K,) which scenarios each answer leaves; none where there is no news that the market could re-price by."""
        scenarios = self.ground.book.settings.scenarios.values()
        words, now = [scenario.hypothesis for scenario in scenarios], self.ground.market[1]
        if now is None or any(word not in HYPOTHESES for word in words):
            return {}
        left = {answer: np.array([float(word == answer) for word in words]) for answer in HYPOTHESES}
        return {answer: own for answer, own in left.items() if 0 < float(now @ own) < 1}

    @property
    def chunk(self) -> int:
        """Draws looked at together."""
        scenarios, names = self.ground.outlook.returns.shape
        return max(1, CELLS // max(int(scenarios * names), 1))


def outcome_meter(
    ground: StressBase, ambiguity: Ambiguity, portfolios: tuple[StressPortfolio, ...], doubts: Sequence[ParameterRange]
) -> OutcomeMeter:
    """A gauge for draws of these parameters."""
    return OutcomeMeter(ground, ambiguity, portfolios, tuple(doubt.key for doubt in doubts))


def measure_outcomes(
    gauge: OutcomeMeter, drawn: Matrix, kept: int = 0, say: Callable[[int], None] | None = None
) -> MeasuredOutcomes:
    """Measure each draw of (D, P), and keep the returns of the first `kept`; NaN where a draw makes no number.

    Draws are looked at chunk by chunk, so that memory does not grow with K × N × D. Interrupted, it gives the draws
    that are finished: there are then fewer.
    """
    values, gains, returns, finished = [], [], [], 0
    try:
        for at in range(0, len(drawn), gauge.chunk):
            one = drawn[at : at + gauge.chunk]
            found = evaluate_draws(gauge, one)
            with np.errstate(all="ignore"):  # what is no number is reported as a draw that failed
                made = _gains(gauge, found)
                values.append(_values(gauge, found, made))
            gains.append(made)
            if at < kept:
                returns.append(found.returns[: kept - at].copy())
            finished = at + len(one)
            if say is not None:
                say(finished)
    except KeyboardInterrupt:
        if not finished:
            raise
    count = min(len(values), len(gains))
    return MeasuredOutcomes(
        np.concatenate(values[:count], axis=1)[:, :finished],
        np.concatenate(gains[:count], axis=1)[:, :finished],
        np.concatenate(returns) if returns else np.zeros((0, *gauge.ground.outlook.returns.shape)),
    )


def evaluate_draws(gauge: OutcomeMeter, drawn: Matrix) -> OutlookDraws:
    """The outlook at each draw of (D, P); no numbers where a draw is beyond what arithmetic can follow."""
    try:
        with np.errstate(all="ignore"):
            return outlook_at_draws(gauge.ground, {key: drawn[:, i] for i, key in enumerate(gauge.keys)})
    except BadInput:  # one of them is: all are refused
        if len(drawn) == 1:
            return _nothing(gauge)
    half = len(drawn) // 2
    return join_draws(evaluate_draws(gauge, drawn[:half]), evaluate_draws(gauge, drawn[half:]))


def _nothing(gauge: OutcomeMeter) -> OutlookDraws:
    outlook, now = gauge.ground.outlook, gauge.ground.market[1]
    returns, beliefs = np.full((1, *outlook.returns.shape), np.nan), np.full((1, len(outlook.scenarios)), np.nan)
    return OutlookDraws(returns, beliefs, None if now is None else beliefs, np.full(1, np.nan))


def _gains(gauge: OutcomeMeter, found: OutlookDraws) -> Matrix:
    """(portfolios, D, K) gains after costs."""
    cash = gauge.ground.outlook.cash_returns
    return np.array([found.returns @ one.holdings + cash * one.cash - one.spent for one in gauge.portfolios])


def _values(gauge: OutcomeMeter, found: OutlookDraws, gains: Matrix) -> Matrix:
    """(outcomes, D), in the order of `OutcomeMeter.outcomes`."""
    rows = []
    worst = []
    for portfolio, own in zip(gauge.portfolios, gains, strict=True):
        sound = np.isfinite(own).all(axis=1) & np.isfinite(found.probabilities).all(axis=1)
        least = np.full(len(own), np.nan)
        least[sound] = -gauge.ambiguity.worst_cases(-own[sound], found.probabilities[sound])
        worst.append(least)
        rows += [(found.probabilities * own).sum(axis=1), least]
        rows += [_on_news(found, portfolio, left) for left in gauge.answers.values()]
    if len(worst) > 1:
        rows.append(worst[1] - worst[0])
    return np.array(rows)


def _on_news(found: OutlookDraws, portfolio: StressPortfolio, left: Vector) -> Vector:
    """(D,) what the portfolio gains on the day that one answer is certain, after the costs of getting there."""
    assert found.market is not None
    growth = 1 + found.returns
    given = found.market * left
    given = given / given.sum(axis=1, keepdims=True)
    before = (found.market[:, None, :] @ growth)[:, 0]
    after = (given[:, None, :] @ growth)[:, 0]
    jumps = (after / before) ** found.share[:, None] - 1
    return np.asarray(jumps @ portfolio.holdings) - portfolio.spent
