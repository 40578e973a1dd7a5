"""What draws of the parameters make of the portfolios: returns expected and in the worst case, and on a day of news.

The ambiguity set keeps the reach that it has today, around the belief of each draw. On a day of news one answer becomes
certain: prices move by the announcement share of the re-pricing, Π (Σ q_k g_k / Σ p_k g_k)^J with g the growth to the
horizon, p the market's probabilities and q the same given the answer (as at a review of the tree, without its drift).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.ambiguity.sampling import worst_cases
from allocator.ambiguity.sets import Ambiguity
from allocator.book.checks.question import HYPOTHESES
from allocator.errors import BadInput
from allocator.studies.evaluated import Evaluated, Ground, evaluated, joined
from allocator.studies.portfolios import PLAN, Portfolio
from allocator.studies.ranges import Doubt
from allocator.types import Matrix, Vector

CELLS = 65_536
"""Returns looked at together, draws × K × N: what a processor's cache holds."""


@dataclass(frozen=True)
class Outcome:
    """What is measured: of which portfolio, and what; a part of the account before any trade, after costs."""

    portfolio: str
    measure: str


@dataclass(frozen=True, eq=False)
class Measured:
    """The measures of D draws (outcomes, D), the gains (portfolios, D, K), and the returns (S, K, N) of the first S."""

    values: Matrix
    gains: Matrix
    returns: Matrix


@dataclass(frozen=True, eq=False)
class Gauge:
    """How draws are measured: the ground they start from, the set that is guarded against, the portfolios."""

    ground: Ground
    ambiguity: Ambiguity
    portfolios: tuple[Portfolio, ...]
    keys: tuple[str, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """In the order of the rows of `Measured.values`."""
        return tuple(self._outcomes())

    def _outcomes(self) -> Iterator[Outcome]:
        for portfolio in self.portfolios:
            yield from (Outcome(portfolio.name, measure) for measure in ("expected return", "worst-case return"))
            yield from (Outcome(portfolio.name, f"news: {answer}") for answer in self.answers)
        if len(self.portfolios) > 1:
            yield Outcome(PLAN, "worst-case return over holdings")

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


def gauge_of(ground: Ground, ambiguity: Ambiguity, portfolios: tuple[Portfolio, ...], doubts: Sequence[Doubt]) -> Gauge:
    """A gauge for draws of these parameters."""
    return Gauge(ground, ambiguity, portfolios, tuple(doubt.key for doubt in doubts))


def measured(gauge: Gauge, drawn: Matrix, kept: int = 0, say: Callable[[int], None] | None = None) -> Measured:
    """Measure each draw of (D, P), and keep the returns of the first `kept`; NaN where a draw makes no number.

    Draws are looked at chunk by chunk, so that memory does not grow with K × N × D. Interrupted, it gives the draws
    that are finished: there are then fewer.
    """
    values, gains, returns, finished = [], [], [], 0
    try:
        for at in range(0, len(drawn), gauge.chunk):
            one = drawn[at : at + gauge.chunk]
            found = evaluate(gauge, one)
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
    return Measured(
        np.concatenate(values[:count], axis=1)[:, :finished],
        np.concatenate(gains[:count], axis=1)[:, :finished],
        np.concatenate(returns) if returns else np.zeros((0, *gauge.ground.outlook.returns.shape)),
    )


def evaluate(gauge: Gauge, drawn: Matrix) -> Evaluated:
    """The outlook at each draw of (D, P); no numbers where a draw is beyond what arithmetic can follow."""
    try:
        with np.errstate(all="ignore"):
            return evaluated(gauge.ground, {key: drawn[:, i] for i, key in enumerate(gauge.keys)})
    except BadInput:  # one of them is: all are refused
        if len(drawn) == 1:
            return _nothing(gauge)
    half = len(drawn) // 2
    return joined(evaluate(gauge, drawn[:half]), evaluate(gauge, drawn[half:]))


def _nothing(gauge: Gauge) -> Evaluated:
    outlook, now = gauge.ground.outlook, gauge.ground.market[1]
    returns, beliefs = np.full((1, *outlook.returns.shape), np.nan), np.full((1, len(outlook.scenarios)), np.nan)
    return Evaluated(returns, beliefs, None if now is None else beliefs, np.full(1, np.nan))


def _gains(gauge: Gauge, found: Evaluated) -> Matrix:
    """(portfolios, D, K) gains after costs."""
    cash = gauge.ground.outlook.cash_returns
    return np.array([found.returns @ one.holdings + cash * one.cash - one.spent for one in gauge.portfolios])


def _values(gauge: Gauge, found: Evaluated, gains: Matrix) -> Matrix:
    """(outcomes, D), in the order of `Gauge.outcomes`."""
    rows = []
    worst = []
    for portfolio, own in zip(gauge.portfolios, gains, strict=True):
        sound = np.isfinite(own).all(axis=1) & np.isfinite(found.probabilities).all(axis=1)
        least = np.full(len(own), np.nan)
        least[sound] = -worst_cases(-own[sound], gauge.ambiguity, found.probabilities[sound])
        worst.append(least)
        rows += [(found.probabilities * own).sum(axis=1), least]
        rows += [_on_news(found, portfolio, left) for left in gauge.answers.values()]
    if len(worst) > 1:
        rows.append(worst[1] - worst[0])
    return np.array(rows)


def _on_news(found: Evaluated, portfolio: Portfolio, left: Vector) -> Vector:
    """(D,) what the portfolio gains on the day that one answer is certain, after the costs of getting there."""
    assert found.market is not None
    growth = 1 + found.returns
    given = found.market * left
    given = given / given.sum(axis=1, keepdims=True)
    before = (found.market[:, None, :] @ growth)[:, 0]
    after = (given[:, None, :] @ growth)[:, 0]
    jumps = (after / before) ** found.share[:, None] - 1
    return np.asarray(jumps @ portfolio.holdings) - portfolio.spent
