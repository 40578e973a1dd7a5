"""Many draws of a book's parameters at once: what its outlook would be at each of them, by the outlook's own formulas.

With `prices` "follow", the market
is taken to know the parameter as we do, which is what a book with that parameter would say; with "stay", today's prices
are those of the book's own parameters, and the parameter turns out to be another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.book.checks.stress import SHARE, ParameterKey
from allocator.errors import BadInput
from allocator.outlook.calibration import (
    CalibratedModel,
    MarketPath,
    adoption_years,
    announcement_share,
    calibrate,
    dated_signals,
    implausible,
    market_anchor,
    market_path,
    market_scenarios,
    model_scenarios,
    required_growth,
    typed_values,
)
from allocator.outlook.efficiency_model import (
    ModelScenarios,
    market_quantities,
    scenario_returns,
    value_multipliers,
)
from allocator.outlook.outlook import Outlook, believed_question, build_outlook, with_typed_returns
from allocator.outlook.posterior import posterior, prior_with, with_sources
from allocator.outlook.question import Question, Signal
from allocator.plan.plan import Plan
from allocator.stress_testing.reoptimization import Say, say_nothing
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


def stress_portfolios(plan: Plan) -> tuple[StressPortfolio, StressPortfolio]:
    """Today's holdings, and the plan's final lots."""
    book, final, before = plan.book, plan.final, plan.final.value_before
    today = StressPortfolio(CURRENT, book.weights, book.cash / book.value)
    return today, StressPortfolio(PROPOSED, final.values / before, final.cash / before)


Prices: TypeAlias = Literal["follow", "stay"]


@dataclass(frozen=True, eq=False)
class StressBase:
    """What draws of a book's parameters start from, read from the book once."""

    book: Book
    outlook: Outlook
    prices: Prices
    question: Question | None
    signals: Sequence[Signal]
    model: CalibratedModel | None
    probabilities: Vector
    path: MarketPath | None


@dataclass(frozen=True, eq=False)
class OutlookDraws:
    """The outlook at D draws: `returns` (D, K, N) over the horizon, `probabilities` (D, K) on as_of.

    `implied` (D, K, N) are the returns as the market believes them, None where it believes ours. `market` (D, K) are
    the market's probabilities on as_of, None without [market]; `share` (D,) the announcement share.
    """

    returns: Matrix
    probabilities: Matrix
    market: Matrix | None
    share: Vector
    implied: Matrix | None = None


def stress_base(book: Book, prices: Prices = "follow", outlook: Outlook | None = None) -> StressBase:
    """Read from a book what its draws need.

    Raises:
        BadInput: the price history cannot give a covariance.
    """
    outlook = outlook or build_outlook(book)
    return StressBase(
        book,
        outlook,
        prices,
        question=believed_question(book),
        signals=dated_signals(book),
        model=calibrate(book),
        probabilities=outlook.probabilities,
        path=market_path(book),
    )


Drawn: TypeAlias = Mapping[ParameterKey, Vector]
"""(D,) what is drawn of each parameter."""


def outlook_at_draws(ground: StressBase, values: Drawn) -> OutlookDraws:
    """The outlook at each of D draws; what is not drawn stays as the book has it."""
    draws = len(next(iter(values.values())))
    names, scenarios = len(ground.book.instruments), len(ground.book.scenarios)
    probabilities, path = _beliefs(ground, values)
    share = np.broadcast_to(values.get(SHARE, np.array(announcement_share(ground.book))), (draws,))
    modelled_returns, implied = _modelled(ground, values, path, share)
    returns = ground.outlook.returns if modelled_returns is None else modelled_returns
    if ground.model is not None:
        returns = with_typed_returns(ground.book, returns)
    if implied is not None:
        implied = np.broadcast_to(with_typed_returns(ground.book, implied), (draws, scenarios, names))
    return OutlookDraws(
        returns=np.broadcast_to(returns, (draws, scenarios, names)),
        probabilities=np.broadcast_to(probabilities, (draws, scenarios)),
        market=None if path is None else np.broadcast_to(path.now, (draws, scenarios)),
        share=share,
        implied=implied,
    )


def _beliefs(ground: StressBase, values: Drawn) -> tuple[Matrix, MarketPath | None]:
    """Our probabilities on as_of, (D, K) where the question's numbers are drawn, else (1, K), and the market's."""
    drawn = {key.name: at for key, at in values.items() if key.section == "question"}
    if ground.question is None or not drawn:
        return ground.probabilities[None, :], ground.path
    question = _drawn_question(ground.question, drawn)
    belief = posterior(question, ground.signals, [ground.book.settings.book.as_of])
    return belief[:, 0] if belief.ndim == 3 else belief, market_path(ground.book, question)


def _drawn_question(question: Question, drawn: Mapping[str, Vector]) -> Question:
    """The question with the prior of its first hypothesis, and values that all sources share, drawn: (D, 1, 1)."""
    own = {name: values[:, None, None] for name, values in drawn.items()}
    shared: dict[str, Any] = {name: own[name] for name in ("disclosure", "hazard", "background") if name in own}
    prior = prior_with(question, own["prior"]) if "prior" in own else question.prior
    return replace(with_sources(question, **shared), prior=prior)


def _modelled(
    ground: StressBase, values: Drawn, path: MarketPath | None, share: Vector
) -> tuple[Matrix | None, Matrix | None]:
    """(D, K, N) the efficiency model's returns, None without it or where nothing drawn reaches it; and the same as the
    market believes them, where it has parameters of its own.
    """
    if ground.model is None:
        return _anchored(ground, path, share), None
    loadings, years = ground.model.loadings, ground.book.settings.years
    shared = {key.name: at[:, None] for key, at in values.items() if key.section == "model"}
    technique = replace(ground.model.technique, **shared)
    scenarios, adopted = _drawn_scenarios(ground.book, values), years + adoption_years(ground.book)
    worth = value_multipliers(market_quantities(scenarios, technique, adopted), loadings, technique)
    own, implied = market_scenarios(ground.book, scenarios), worth
    if own is not scenarios:
        implied = value_multipliers(market_quantities(own, technique, adopted), loadings, technique)
    anchor = ground.model.anchor
    if ground.prices == "follow":
        anchor = market_anchor(implied, path, share[:, None])[0][..., None, :]
    returns = scenario_returns(worth, loadings, anchor, years)
    return returns, None if own is scenarios else scenario_returns(implied, loadings, anchor, years)


def _anchored(ground: StressBase, path: MarketPath | None, share: Vector) -> Matrix | None:
    """(D, K, N) typed returns as the market drawn anchors them; None where nothing does, or prices stay."""
    typed = typed_values(ground.book)
    if typed is None or path is None or ground.prices == "stay":
        return None
    anchor, _ = market_anchor(typed[None], path, share[:, None])
    result: Matrix = required_growth(ground.book) * typed / anchor[..., None, :] - 1
    return result


def _drawn_scenarios(book: Book, values: Drawn) -> ModelScenarios:
    """The scenarios' parameters, (D, K) where one of them is drawn."""
    stated, changed = model_scenarios(book), dict[str, Matrix]()
    for key, drawn in values.items():
        if key.scenario is not None:
            changed.setdefault(key.name, np.tile(getattr(stated, key.name), (len(drawn), 1)))
            changed[key.name][:, book.scenarios.index(key.scenario)] = drawn
    return replace(stated, **changed)


# What draws of the parameters make of the portfolios: expected and adverse expected returns, and those of news.
#
# The ambiguity set keeps the reach that it has today, around the belief of each draw. On a day of news one answer
# becomes certain: prices move by the announcement share of the re-pricing, Π (Σ q_k g_k / Σ p_k g_k)^J with g the
# growth to the horizon, p the market's probabilities and q the same given the answer (as at a review of the tree,
# without its drift).
#
CELLS = 65_536
"""Returns looked at together, draws × K × N: what a processor's cache holds."""
_PATH_CELLS = 16 * CELLS
"""The same of paths of digested news, draws × days × N."""


@dataclass(frozen=True)
class Outcome:
    """What is measured: of which portfolio, and what; a part of the account before any trade, after costs."""

    portfolio: str
    measure: str


@dataclass(frozen=True, eq=False)
class MeasuredOutcomes:
    """The measures of D draws (outcomes, D), and the returns (S, K, N) of the first S.

    `implausible` counts the draws in which some return is above `model.max_return`, `where` (K, N) which.
    """

    values: Matrix
    returns: Matrix
    implausible: int
    where: Matrix


@dataclass(frozen=True, eq=False)
class OutcomeMeter:
    """How draws are measured: the ground they start from, the set that is guarded against, the portfolios."""

    ground: StressBase
    ambiguity: Ambiguity
    portfolios: tuple[StressPortfolio, ...]
    keys: tuple[ParameterKey, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """In the order of the rows of `MeasuredOutcomes.values`."""
        measures = (EXPECTED, ADVERSE, *(f"news: {answer}" for answer in self.answers))
        every = [Outcome(portfolio.name, measure) for portfolio in self.portfolios for measure in measures]
        return (*every, Outcome(PROPOSED, ADVERSE_GAIN))

    @property
    def answers(self) -> Mapping[str, Vector]:
        """(K,) which scenarios each answer leaves; none where there is no news that the market could re-price by."""
        scenarios = self.ground.book.settings.scenarios.values()
        words, path = [scenario.hypothesis for scenario in scenarios], self.ground.path
        hypotheses = self.ground.book.settings.hypotheses
        if path is None or any(word not in hypotheses for word in words):
            return {}
        left = {answer: np.array([float(word == answer) for word in words]) for answer in hypotheses}
        return {answer: own for answer, own in left.items() if 0 < float(path.now @ own) < 1}

    @property
    def chunk(self) -> int:
        """Draws looked at together."""
        scenarios, names = self.ground.outlook.returns.shape
        days = 0 if self.ground.path is None else len(self.ground.path.probabilities) - 2
        nodes = 1 if self.ground.question is None else len(self.ground.question.common[0])
        each = (CELLS // max(int(scenarios * names), 1), _PATH_CELLS // max(days * max(int(names), nodes), 1))
        return max(1, min(each))


def measure_outcomes(meter: OutcomeMeter, drawn: Matrix, kept: int = 0, say: Say = say_nothing) -> MeasuredOutcomes:
    """Measure each draw of (D, P), and keep the returns of the first `kept`; NaN where a draw makes no number.

    Draws are looked at chunk by chunk, so that memory does not grow with K × N × D. Interrupted, it gives the draws
    that are finished: there are then fewer.
    """
    values, returns = [], []
    implausible_draws, where = 0, np.zeros(meter.ground.outlook.returns.shape)
    try:
        for at in range(0, len(drawn), meter.chunk):
            some = drawn[at : at + meter.chunk]
            draws = evaluate_draws(meter, some)
            with np.errstate(all="ignore"):  # what is no number is reported as a draw that failed
                values.append(_values(meter, draws))
            if meter.ground.model is not None:
                beyond = implausible(meter.ground.book, draws.returns)
                implausible_draws += int(beyond.any(axis=(1, 2)).sum())
                where += beyond.sum(axis=0)
            if at < kept:
                returns.append(draws.returns[: kept - at].copy())
            say(f"evaluating draw {at + len(some):,} of {len(drawn):,}")
    except KeyboardInterrupt:
        if not values:
            raise
    nothing = np.zeros((0, *meter.ground.outlook.returns.shape))
    kept_returns = np.concatenate(returns) if returns else nothing
    return MeasuredOutcomes(np.concatenate(values, axis=1), kept_returns, implausible_draws, where)


def evaluate_draws(meter: OutcomeMeter, drawn: Matrix) -> OutlookDraws:
    """The outlook at each draw of (D, P); no numbers where a draw is beyond what arithmetic can follow."""
    try:
        with np.errstate(all="ignore"):
            return outlook_at_draws(meter.ground, dict(zip(meter.keys, drawn.T, strict=True)))
    except BadInput:  # one of them is: all are refused
        if len(drawn) == 1:
            outlook = meter.ground.outlook
            beliefs = np.full((1, len(outlook.scenarios)), np.nan)
            market = None if meter.ground.path is None else beliefs
            return OutlookDraws(np.full((1, *outlook.returns.shape), np.nan), beliefs, market, np.full(1, np.nan))
    first, second = (evaluate_draws(meter, half) for half in np.split(drawn, [len(drawn) // 2]))
    return OutlookDraws(
        returns=np.concatenate([first.returns, second.returns]),
        probabilities=np.concatenate([first.probabilities, second.probabilities]),
        market=None if first.market is None or second.market is None else np.concatenate([first.market, second.market]),
        share=np.concatenate([first.share, second.share]),
        implied=None
        if first.implied is None or second.implied is None
        else np.concatenate([first.implied, second.implied]),
    )


def _values(meter: OutcomeMeter, draws: OutlookDraws) -> Matrix:
    """(outcomes, D), in the order of `OutcomeMeter.outcomes`."""
    cash, rows, adverse = meter.ground.outlook.cash_returns, [], []
    for portfolio in meter.portfolios:
        gains = draws.returns @ portfolio.holdings + cash * portfolio.cash - portfolio.spent
        sound = np.isfinite(gains).all(axis=1) & np.isfinite(draws.probabilities).all(axis=1)
        least = np.full(len(gains), np.nan)
        least[sound] = -meter.ambiguity.worst_cases(-gains[sound], draws.probabilities[sound])
        adverse.append(least)
        rows += [(draws.probabilities * gains).sum(axis=1), least]
        rows += [_on_news(draws, portfolio, left) for left in meter.answers.values()]
    return np.array([*rows, adverse[1] - adverse[0]])


def _on_news(draws: OutlookDraws, portfolio: StressPortfolio, left: Vector) -> Vector:
    """(D,) what the portfolio gains on the day that one answer is certain, after the costs of getting there."""
    assert draws.market is not None
    growth = 1 + (draws.returns if draws.implied is None else draws.implied)
    given = draws.market * left
    given = given / given.sum(axis=1, keepdims=True)
    before = (draws.market[:, None, :] @ growth)[:, 0]
    after = (given[:, None, :] @ growth)[:, 0]
    jumps = (after / before) ** draws.share[:, None] - 1
    return np.asarray(jumps @ portfolio.holdings) - portfolio.spent
