"""`model_stress(book, plan)`: how far the outcomes and the plan depend on uncertain parameters.

Parameters vary over ranges, all at once; what they make of returns and of the portfolios is evaluated at every draw,
the plan is re-optimised at some of them, and Sobol indices say which parameter matters. By default prices follow:
the market knows a parameter as we do, which is what this book would say with that parameter in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypedDict

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.plan.plan import Plan
from allocator.presentation import Count, Keywords, Row
from allocator.stress_testing.outcomes import (
    MeasuredOutcomes,
    Outcome,
    OutcomeMeter,
    OutlookDraws,
    Prices,
    evaluate_draws,
    measure_outcomes,
    outcome_meter,
    stress_base,
    stress_portfolios,
)
from allocator.stress_testing.parameter_draws import (
    Method,
    ParameterRange,
    draw_count,
    draw_parameters,
    parameter_ranges,
)
from allocator.stress_testing.reoptimization import DrawProblem, Reoptimization, reoptimize
from allocator.stress_testing.sobol import SobolIndices, parameter_importance
from allocator.types import Matrix, Vector

# What model stress found: distributions of returns, of outcomes and of the plan, and which parameter matters.
#
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
MOVED = 1e-4
"""Of the account: a target nearer than this to what is held is no trade."""


@dataclass(frozen=True)
class DrawFailure:
    """A draw that gave no number or no plan, at which stage and why, with its parameters by key."""

    index: int
    stage: str
    why: str
    parameters: Mapping[str, float]


def _texts_then_numbers(texts: tuple[str, ...], numbers: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """The keys of a row of a frame, whose numbers are null where there is none."""
    return (*((name, str) for name in texts), *((name, float | None) for name in numbers))


_LEVELS = tuple(f"q{100 * level:02.0f}" for level in QUANTILES)
_SIDES = ("bought", "sold", "unchanged", "same_side")
_INDICES = ("first", "first_low", "first_high", "total", "total_low", "total_high")


class _Reoptimized(TypedDict):
    asked: Count
    finished: Count
    why_not: str
    weights: list[
        Annotated[
            Row, (*_texts_then_numbers(("instrument",), (*_LEVELS, *_SIDES)), ("current", float), ("proposed", float))
        ]
    ]


class ModelStressDocument(TypedDict):
    """Draws of the model's parameters, and which matter most."""

    method: str
    prices: Annotated[str, Keywords(enum=["follow", "stay"])]
    seed: int
    asked: Count
    made: Count
    finished: Count
    interrupted: bool
    parameters: list[Annotated[Row, ParameterRange]]
    outcomes: list[Annotated[Row, _texts_then_numbers(("portfolio", "measure"), ("today", *_LEVELS, "below_0"))]]
    scenario_returns: list[Annotated[Row, _texts_then_numbers(("scenario", "instrument"), _LEVELS)]]
    importance: (
        list[
            Annotated[Row, (*_texts_then_numbers(("portfolio", "measure", "parameter"), _INDICES), ("constant", bool))]
        ]
        | None
    )
    reoptimized: _Reoptimized
    failures: list[Annotated[Row, DrawFailure, "a draw that failed, with its parameters"]]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class ModelStress:
    """`finished` of the `made` draws (`asked` rounded up for Sobol points); arrays over draws follow `values` (D, P).

    `measures` (outcomes, D) and `today` (outcomes,), what the book's own parameters make, are parts of the account;
    `gains` (portfolios, D, K); `returns` (S, K, N) of the first S draws. Target weights, cash last, (N + 1,):
    `current`, `proposed`, and `redone` at the first `to_redo` draws. `importance` is None where a draw failed or it was
    interrupted.
    """

    book: Book
    doubts: tuple[ParameterRange, ...]
    method: str
    prices: str
    seed: int
    asked: int
    made: int
    finished: int
    interrupted: bool
    values: Matrix
    outcomes: tuple[Outcome, ...]
    measures: Matrix
    gains: Matrix
    returns: Matrix
    today: Vector
    to_redo: int
    redone: Reoptimization
    why_not_redone: str
    current: Vector
    proposed: Vector
    importance: SobolIndices | None
    failures: tuple[DrawFailure, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The instruments, cash last."""
        return (*self.book.instruments, self.book.cash_instrument)

    def draws(self) -> pd.DataFrame:
        """One row a finished draw: its parameters, then its outcomes; blank where it made no number."""
        columns = {doubt.key: self.values[:, i] for i, doubt in enumerate(self.doubts)}
        named = {f"{one.portfolio}: {one.measure}": self.measures[i] for i, one in enumerate(self.outcomes)}
        return pd.DataFrame(columns | named)

    def frame(self) -> pd.DataFrame:
        """One row an outcome: what it is today, its quantiles over the draws, the share of draws below 0."""
        rows = []
        for i, outcome in enumerate(self.outcomes):
            own = self.measures[i][np.isfinite(self.measures[i])]
            rows.append(
                {"portfolio": outcome.portfolio, "measure": outcome.measure, "today": self.today[i]}
                | _quantiles(own)
                | {"below_0": float((own < 0).mean()) if len(own) else np.nan}
            )
        return pd.DataFrame(rows)

    def scenario_returns(self) -> pd.DataFrame:
        """One row a scenario and name: quantiles of its return over the first draws (`returns`)."""
        rows = []
        for k, scenario in enumerate(self.book.scenarios):
            for i, name in enumerate(self.book.instruments):
                own = self.returns[:, k, i]
                rows.append({"scenario": scenario, "instrument": name} | _quantiles(own[np.isfinite(own)]))
        return pd.DataFrame(rows)

    def weights(self) -> pd.DataFrame:
        """One row a name, cash last: weight current, proposed, its quantiles over re-optimised plans, and their sides.

        `bought`, `sold` and `unchanged` are shares of those plans; `same_side` of those that trade it as the plan does.
        """
        again = np.array(list(self.redone.weights.values())).reshape(-1, len(self.current))
        moved = again - self.current
        own = _sides(self.proposed - self.current)
        rows = []
        for i, name in enumerate(self.names):
            sides = _sides(moved[:, i])
            shares = [float((sides == side).mean()) if len(sides) else np.nan for side in (1, -1, 0)]
            rows.append(
                {"instrument": name, "current": self.current[i], "proposed": self.proposed[i]}
                | _quantiles(again[:, i])
                | dict(zip(("bought", "sold", "unchanged"), shares, strict=True))
                | {"same_side": float((sides == own[i]).mean()) if len(sides) else np.nan}
            )
        return pd.DataFrame(rows)

    def share_notes(self) -> tuple[str, ...]:
        """What an index of 0 of the announcement share means in this book; nothing where it moves returns."""
        market, as_of = self.book.settings.market, self.book.settings.book.as_of
        if market is None:
            return ("The announcement share changes no return here: without [market] no price responds to news.",)
        if self.prices == "stay":
            return ("The announcement share changes the returns of the day of news only, as prices stay at today's.",)
        if market.date == as_of:
            return (
                f"The announcement share changes the returns of the day of news only: the market's probabilities are "
                f"of {as_of}, so prices already reflect all news.",
            )
        return ()

    def document(self) -> ModelStressDocument:
        """The figures as plain data; draws themselves are in `draws()`."""
        return {
            "method": self.method,
            "prices": self.prices,
            "seed": self.seed,
            "asked": self.asked,
            "made": self.made,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "parameters": [vars(doubt) for doubt in self.doubts],
            "outcomes": _records(self.frame()),
            "scenario_returns": _records(self.scenario_returns()),
            "importance": None if self.importance is None else _records(self.importance.frame()),
            "reoptimized": {
                "asked": self.to_redo,
                "finished": len(self.redone.weights) + len(self.redone.failed),
                "why_not": self.why_not_redone,
                "weights": _records(self.weights()) if self.redone.weights else [],
            },
            "failures": [vars(failure) | {"parameters": dict(failure.parameters)} for failure in self.failures],
            "notes": list(self.share_notes()),
        }


def _quantiles(values: Vector) -> dict[str, float]:
    found = np.quantile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
    return {f"q{100 * level:02.0f}": float(value) for level, value in zip(QUANTILES, found, strict=True)}


def _sides(moves: Vector) -> Vector:
    """1 bought, −1 sold, 0 left."""
    return np.where(np.abs(moves) <= MOVED, 0.0, np.sign(moves))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data; what is no number is None."""
    return [
        {str(key): None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


SEED = 20261120
REDONE = 512
"""Draws at which the plan is re-optimised, the first of all: a quantile is then right to a few points."""
MOST = 1_000_000
"""Draws: what is kept of them is then some hundreds of megabytes."""
_KEPT_CELLS = 2_000_000
_KEPT = 4096
"""Draws whose returns by name are kept for quantiles, and how many numbers that may be."""
_WORDS = {"method": ("sobol", "latin_hypercube"), "prices": ("follow", "stay")}


@dataclass(frozen=True)
class _ProgressCounter:
    """Progress in words, where somebody listens."""

    say: Callable[[str], None] | None

    def count(self, words: str, total: int) -> Callable[[int], None] | None:
        say = self.say
        return None if say is None else lambda done: say(f"{words} {done:,} of {total:,}")


def model_stress(
    book: Book,
    plan: Plan,
    draws: int = 1024,
    *,
    seed: int = SEED,
    method: Method = "sobol",
    prices: Prices = "follow",
    redo: int = REDONE,
    jobs: int = 1,
    say: Callable[[str], None] | None = None,
) -> ModelStress:
    """Vary what the book is unsure of; `redo` of the draws re-optimise the plan, on `jobs` processes.

    The same seed gives the same draws, and draw i is the same however many are asked of Sobol points. Interrupted, it
    gives what is finished and says so.

    Raises:
        BadInput: a count, the method or a range is not what it must be; all at once.
    """
    doubts = check_ranges(book, draws, redo, jobs, {"method": method, "prices": prices})
    staged = plan.policy is not None
    ground = stress_base(book, prices, plan.outlook)
    gauge = outcome_meter(ground, plan.mandate.ambiguity, stress_portfolios(book, plan), doubts)
    made = draw_count(draws, method)
    values, told = draw_parameters(doubts, made, method, seed), _ProgressCounter(say)
    kept = min(_KEPT, max(1, _KEPT_CELLS // ground.outlook.returns.size))
    found = measure_outcomes(gauge, values, kept, told.count("evaluating draw", made))
    finished, again, indices = found.values.shape[1], Reoptimization({}, {}), None
    interrupted = finished < made
    if not interrupted and not staged and redo:
        again = _again(plan, gauge, values[:redo], jobs, told)
        interrupted = again.interrupted
    if not interrupted:
        if say is not None:
            say("measuring which parameter matters")
        try:
            indices = parameter_importance(gauge, doubts, seed)
        except KeyboardInterrupt:
            interrupted = True
    return ModelStress(
        book=book,
        doubts=doubts,
        method=method,
        prices=prices,
        seed=seed,
        asked=draws,
        made=made,
        finished=finished,
        interrupted=interrupted,
        values=values[:finished],
        outcomes=gauge.outcomes,
        measures=found.values,
        gains=found.gains,
        returns=found.returns,
        today=_today(gauge),
        to_redo=0 if staged else min(redo, made),
        redone=again,
        why_not_redone=_why_not(book) if staged else "",
        current=np.append(book.weights, book.cash / book.value),
        proposed=np.append(plan.target.values, plan.target.cash) / plan.target.value,
        importance=indices,
        failures=tuple(_failures(doubts, values, found, again)),
    )


def check_ranges(
    book: Book, draws: int, redo: int, jobs: int, words: Mapping[str, str] = MappingProxyType({})
) -> tuple[ParameterRange, ...]:
    """What is doubted, once all that is asked of it is what it must be.

    Raises:
        BadInput: a count, a word or a range is not; all at once.
    """
    counts = (("draws", draws, 2, MOST), ("redo", redo, 0, MOST), ("jobs", jobs, 1, 1024))
    found = [
        Breach("model stress", None, name, str(value), f"must be a whole number from {low} to {high}", "correct it")
        for name, value, low, high in counts
        if not isinstance(value, int) or not low <= value <= high
    ]
    for name, value in words.items():
        if value not in (known := _WORDS[name]):
            rule, cure = f"must be {' or '.join(known)}", did_you_mean(value, known)
            found.append(Breach("model stress", None, name, value, rule, cure))
    try:
        doubts = parameter_ranges(book)
    except BadInput as error:
        raise BadInput([*found, *error.breaches]) from None
    if found:
        raise BadInput(found)
    return doubts


def _again(plan: Plan, gauge: OutcomeMeter, values: Matrix, jobs: int, told: _ProgressCounter) -> Reoptimization:
    def draws(batch: range) -> OutlookDraws:
        return evaluate_draws(gauge, values[batch.start : batch.stop])

    return reoptimize(DrawProblem.of(plan), len(values), draws, jobs, told.count("re-optimising", len(values)))


def _today(gauge: OutcomeMeter) -> Matrix:
    """(outcomes,) what the book's own parameters make of them: a draw of one, in which nothing is moved."""
    share = float(gauge.ground.book.settings.horizon.announcement_share or 0.0)
    still = OutcomeMeter(gauge.ground, gauge.ambiguity, gauge.portfolios, ("horizon.announcement_share",))
    return measure_outcomes(still, np.array([[share]])).values[:, 0]


def _why_not(book: Book) -> str:
    objective = book.settings.mandate.objective
    return (
        f"the plan is not re-optimised at the draws: with objective = '{objective}' each draw would need the whole "
        "decision tree; its outcomes are evaluated"
    )


def _failures(
    doubts: tuple[ParameterRange, ...], values: Matrix, found: MeasuredOutcomes, again: Reoptimization
) -> list[DrawFailure]:
    """Every draw that made no number or no plan, with its parameters."""
    keys = [doubt.key for doubt in doubts]
    silent = np.flatnonzero(~np.isfinite(found.values).all(axis=0))
    told = {int(i): ("evaluated", "its returns or probabilities are not finite") for i in silent}
    told |= {i: ("re-optimised", why) for i, why in again.failed.items() if i not in told}
    return [
        DrawFailure(i, stage, why, dict(zip(keys, map(float, values[i]), strict=True)))
        for i, (stage, why) in sorted(told.items())
    ]
