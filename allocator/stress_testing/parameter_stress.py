"""`model_stress(plan, draws)`: how far the outcomes and the plan depend on uncertain parameters.

Parameters vary over ranges, all at once; what they make of returns and of the portfolios is evaluated at every draw,
the plan is re-optimised at some of them, and Sobol indices say which parameter matters. Prices follow: the market knows
a parameter as we do, which is what this book would say with that parameter in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, TypedDict

import numpy as np
import pandas as pd
from scipy.stats import sobol_indices

from allocator.book.checks.stress import SHARE
from allocator.mandate.mandate import no_trade
from allocator.outlook.calibration import announcement_share
from allocator.plan.plan import Plan
from allocator.presentation import Count, Keywords, Row, document_of
from allocator.stress_testing.outcomes import (
    Outcome,
    OutcomeMeter,
    evaluate_draws,
    measure_outcomes,
    stress_base,
    stress_portfolios,
)
from allocator.stress_testing.parameter_draws import ParameterRange, draw_parameters, parameter_ranges
from allocator.stress_testing.reoptimization import (
    PlanProblem,
    Reoptimizer,
    Say,
    UnsolvedProblem,
    Work,
    parallel_map,
    say_nothing,
)
from allocator.types import Matrix, Vector

# What model stress found: distributions of returns, of outcomes and of the plan, and which parameter matters.
#
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
MOVED = 1e-4
"""Of the account: a target nearer than this to what is held is no trade."""
NO_NUMBERS = "its returns or probabilities are not finite"
SEED = 20261120


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
INDICES = ("first", "first_low", "first_high", "total", "total_low", "total_high")
"""Sobol indices with the ends of their 90 % bootstrap intervals."""


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
        list[Annotated[Row, (*_texts_then_numbers(("portfolio", "measure", "parameter"), INDICES), ("constant", bool))]]
        | None
    )
    reoptimized: _Reoptimized
    failures: list[Annotated[Row, DrawFailure, "a draw that failed, with its parameters"]]
    implausible: Annotated[int, Keywords(minimum=0), "draws with a return above model.max_return, counted as others"]
    notes: list[str]


@dataclass(frozen=True, eq=False)
class Reoptimization:
    """Target weights at the first `asked` draws, cash last: by index, (N + 1,) or why there are none; or `why_not`."""

    asked: int
    why_not: str = ""
    weights: dict[int, Vector] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ModelStress:
    """What `made` draws (`asked`, rounded up to a power of two) show; `values` (D, P) are those that are finished.

    `measures` (outcomes, D) and `today` (outcomes,), what the book's own parameters make, are parts of the account;
    `returns` (S, K, N) of the first S draws. `implausible` counts the draws in which some return is above
    `model.max_return`, and `where` (K, N) says which. `importance` is None where a draw failed or it was interrupted.
    """

    plan: Plan
    doubts: tuple[ParameterRange, ...]
    asked: int
    made: int
    interrupted: bool
    values: Matrix
    outcomes: tuple[Outcome, ...]
    measures: Matrix
    returns: Matrix
    today: Vector
    redone: Reoptimization
    importance: pd.DataFrame | None
    implausible: int
    where: Matrix

    @property
    def finished(self) -> int:
        """How many draws are evaluated."""
        return len(self.values)

    @property
    def failures(self) -> tuple[DrawFailure, ...]:
        """Every draw that made no number or no plan."""
        silent = np.flatnonzero(~np.isfinite(self.measures).all(axis=0))
        reasons = {i: ("re-optimised", why) for i, why in self.redone.failed.items()}
        reasons |= {int(i): ("evaluated", NO_NUMBERS) for i in silent}
        keys = [str(doubt.key) for doubt in self.doubts]
        return tuple(
            DrawFailure(i, stage, why, dict(zip(keys, map(float, self.values[i]), strict=True)))
            for i, (stage, why) in sorted(reasons.items())
        )

    def draws(self) -> pd.DataFrame:
        """One row a finished draw: its parameters, then its outcomes; blank where it made no number."""
        names = [str(doubt.key) for doubt in self.doubts]
        names += [f"{outcome.portfolio}: {outcome.measure}" for outcome in self.outcomes]
        return pd.DataFrame(np.column_stack([self.values, self.measures.T]), columns=names)

    def frame(self) -> pd.DataFrame:
        """One row an outcome: what it is today, its quantiles over the draws, the share of draws below 0."""
        rows = []
        for outcome, today, measured in zip(self.outcomes, self.today, self.measures, strict=True):
            numbers = measured[np.isfinite(measured)]
            below = float((numbers < 0).mean()) if len(numbers) else np.nan
            rows.append(vars(outcome) | {"today": today} | _quantiles(numbers) | {"below_0": below})
        return pd.DataFrame(rows)

    def scenario_returns(self) -> pd.DataFrame:
        """One row a scenario and name: quantiles of its return over the first draws (`returns`)."""
        rows = []
        for k, scenario in enumerate(self.plan.book.scenarios):
            for i, name in enumerate(self.plan.book.instruments):
                drawn = self.returns[:, k, i]
                rows.append({"scenario": scenario, "instrument": name} | _quantiles(drawn[np.isfinite(drawn)]))
        return pd.DataFrame(rows)

    def weights(self) -> pd.DataFrame:
        """One row a name, cash last: weight current, proposed, its quantiles over re-optimised plans, and their sides.

        `bought`, `sold` and `unchanged` are shares of those plans; `same_side` of those that trade it as the plan does.
        """
        book = self.plan.book
        current, proposed = no_trade(book).all_weights, self.plan.target.all_weights
        redone = np.array(list(self.redone.weights.values())).reshape(-1, len(current))
        sides, own = _sides(redone - current), _sides(proposed - current)
        rows = []
        for i, name in enumerate((*book.instruments, book.cash_instrument)):
            shares = [float((sides[:, i] == side).mean()) if len(sides) else np.nan for side in (1, -1, 0, own[i])]
            rows.append(
                {"instrument": name, "current": current[i], "proposed": proposed[i]}
                | _quantiles(redone[:, i])
                | dict(zip(_SIDES, shares, strict=True))
            )
        return pd.DataFrame(rows)

    def notes(self) -> Iterator[str]:
        """How many draws make a return that no plan would be made with, and what an index of 0 means in this book."""
        settings = self.plan.book.settings
        if self.implausible and settings.model is not None:
            k, i = np.unravel_index(int(self.where.argmax()), self.where.shape)
            most = f"{self.plan.book.instruments[i]} in {self.plan.book.scenarios[k]}"
            yield (
                f"{self.implausible:,} of {self.finished:,} draws make a return above model.max_return = "
                f"{settings.model.max_return:.0%} a year, most often of {most}: they are counted with the others."
            )
        yield from self.share_notes()

    def share_notes(self) -> tuple[str, ...]:
        """What an index of 0 of the announcement share means; nothing where it moves returns."""
        settings = self.plan.book.settings
        if settings.market is None:
            return ("The announcement share changes no return here: without [market] no price responds to news.",)
        if settings.market.date == settings.book.as_of:
            return (
                f"The announcement share changes the returns of the day of news only: the market's probabilities are "
                f"of {settings.book.as_of}, so prices already reflect all news.",
            )
        return ()

    def document(self) -> ModelStressDocument:
        """The figures as plain data; draws themselves are in `draws()`."""
        return {
            "method": "sobol",
            "prices": "follow",
            "seed": SEED,
            "asked": self.asked,
            "made": self.made,
            "finished": self.finished,
            "interrupted": self.interrupted,
            "parameters": [vars(doubt) | {"key": str(doubt.key)} for doubt in self.doubts],
            "outcomes": _records(self.frame()),
            "scenario_returns": _records(self.scenario_returns()),
            "importance": None if self.importance is None else _records(self.importance),
            "reoptimized": {
                "asked": self.redone.asked,
                "finished": len(self.redone.weights) + len(self.redone.failed),
                "why_not": self.redone.why_not,
                "weights": _records(self.weights()) if self.redone.weights else [],
            },
            "failures": list(map(document_of, self.failures)),
            "implausible": self.implausible,
            "notes": list(self.notes()),
        }


def _quantiles(values: Vector) -> dict[str, float]:
    levels = np.quantile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
    return dict(zip(_LEVELS, map(float, levels), strict=True))


def _sides(moves: Vector) -> Vector:
    """1 bought, −1 sold, 0 left."""
    return np.where(np.abs(moves) <= MOVED, 0.0, np.sign(moves))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data; what is no number is None."""
    return [
        {str(key): None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


MOST = 1_000_000
"""Draws: what is kept of them is then some hundreds of megabytes."""
_KEPT_CELLS = 2_000_000
_KEPT = 4096
"""Draws whose returns by name are kept for quantiles, and how many numbers that may be."""


def model_stress(
    plan: Plan, draws: int = 1024, *, redo: int = MOST, jobs: int = 1, say: Say = say_nothing
) -> ModelStress:
    """Vary what the book is unsure of; the first `redo` of the draws re-optimise the plan, on `jobs` processes.

    Draw i is the same however many are asked. Interrupted, it gives what is finished and says so.

    Raises:
        BadInput: a range does not hold the book's own value.
    """
    doubts = parameter_ranges(plan.book)
    made = 1 << max(draws - 1, 0).bit_length()  # Sobol points are even only in powers of two
    values = draw_parameters(doubts, made, SEED)
    ground, keys = stress_base(plan.book, "follow", plan.outlook), tuple(doubt.key for doubt in doubts)
    meter = OutcomeMeter(ground, plan.mandate.ambiguity, stress_portfolios(plan), keys)
    kept = min(_KEPT, max(1, _KEPT_CELLS // ground.outlook.returns.size))
    measured = measure_outcomes(meter, values, kept, say)
    finished, redone, importance = measured.values.shape[1], _not_redone(plan, min(redo, draws)), None
    interrupted = finished < made
    if not interrupted:
        redone, interrupted = reoptimize(plan, meter, values, redone, jobs, say)
    if not interrupted:
        say("measuring which parameter matters")
        try:
            importance = parameter_importance(meter, doubts, SEED)
        except KeyboardInterrupt:
            interrupted = True
    return ModelStress(
        plan, doubts, draws, made, interrupted, values[:finished], meter.outcomes, measured.values, measured.returns,
        _today(meter), redone, importance, measured.implausible, measured.where,
    )  # fmt: skip


def _today(meter: OutcomeMeter) -> Matrix:
    """(outcomes,) what the book's own parameters make of them: a draw of one, in which nothing is moved."""
    share = announcement_share(meter.ground.book)
    return measure_outcomes(replace(meter, keys=(SHARE,)), np.array([[share]])).values[:, 0]


# The plan itself under draws of the parameters: targets re-optimised at each draw, certified as a plan's are.
#
# The mandate is the plan's: its rules, its costs, and its ambiguity set with the reach that it has today, around the
# belief of the draw. A draw that has no verified targets is reported, never dropped.
#


def _not_redone(plan: Plan, asked: int) -> Reoptimization:
    if plan.policy is None:
        return Reoptimization(asked)
    objective = plan.book.settings.mandate.objective
    why = f"the plan is not re-optimised at the draws: with objective = '{objective}' each draw would need the whole "
    return Reoptimization(0, why + "decision tree; its outcomes are evaluated")


def reoptimize(
    plan: Plan, meter: OutcomeMeter, drawn: Matrix, wanted: Reoptimization, jobs: int = 1, say: Say = say_nothing
) -> tuple[Reoptimization, bool]:
    """Re-optimise at as many of the draws (D, P) as are wanted, and whether Ctrl-C came: it gives what is finished."""
    if not wanted.asked:
        return wanted, False
    work = partial(targets_at_draws, PlanProblem.of(plan), meter)
    results, interrupted = parallel_map(
        work, list(drawn[: wanted.asked]), jobs=jobs, say=say, what="draws re-optimised"
    )
    weights = {i: targets for i, targets in enumerate(results) if isinstance(targets, np.ndarray)}
    failed = {i: why for i, why in enumerate(results) if isinstance(why, str)}
    return replace(wanted, weights=weights, failed=failed), interrupted


def targets_at_draws(problem: PlanProblem, meter: OutcomeMeter) -> Work[Vector, Vector | str]:
    """Certified target weights (N + 1,) at each of some draws (P,), cash last, or why there are none."""
    answers = Reoptimizer(problem)

    def work(drawn: Sequence[Vector]) -> list[Vector | str]:
        draws = evaluate_draws(meter, np.array(drawn))
        finite = np.isfinite(draws.returns).all(axis=(1, 2)) & np.isfinite(draws.probabilities).all(axis=1)
        sound = np.flatnonzero(finite)
        own = [(draws.returns[i], draws.probabilities[i]) for i in sound]
        solved = answers.solve_many([replace(problem.outlook, returns=r, probabilities=p) for r, p in own])
        targets: list[Vector | str] = [NO_NUMBERS] * len(drawn)
        for i, answer in zip(sound, solved, strict=True):
            targets[i] = answer.reason if isinstance(answer, UnsolvedProblem) else answer.weights
        return targets

    return work


# Which parameter matters: Sobol indices of outcomes, first-order and total, with their bootstrap uncertainty.
#
# First-order: the share of an outcome's variance that fixing the parameter would take away. Total: what would be left
# of it if all others were fixed (Saltelli 2010; scipy.stats.sobol_indices). An outcome that no parameter moves has no
# variance to share out: its indices are 0. So are those of a parameter that does not reach an outcome, by the same
# draws.
#
BASE = 512
"""Points of the design; every one is evaluated once for each parameter and twice more."""
_RESAMPLES, _CONFIDENCE = 200, 0.9
_CONSTANT = 1e-12
"""An outcome is constant where it moves by less than this, of the account."""


def parameter_importance(
    meter: OutcomeMeter, doubts: Sequence[ParameterRange], seed: int, base: int = BASE
) -> pd.DataFrame | None:
    """One row an outcome and parameter, its INDICES and whether it is constant; None where a point makes no number.

    Raises:
        KeyboardInterrupt: it was interrupted; a part of a design has no indices.
    """
    count = len(doubts)
    both = draw_parameters([*doubts, *doubts], base, seed)
    at_a, at_b = both[:, :count], both[:, count:]
    mixed = [np.where(np.arange(count) == i, at_b, at_a) for i in range(count)]  # A, but for one parameter of B
    points = np.concatenate([at_a, at_b, *mixed])
    measured = measure_outcomes(meter, points).values
    if measured.shape[1] < len(points):
        raise KeyboardInterrupt
    if not np.isfinite(measured).all():
        return None
    constant = np.ptp(measured, axis=1) <= _CONSTANT
    parts = np.zeros((len(INDICES), len(measured), count))
    if not constant.all():
        parts[:, ~constant] = _indices(measured.reshape(-1, count + 2, base)[~constant], seed)
    rows = [(outcome.portfolio, outcome.measure, str(key)) for outcome in meter.outcomes for key in meter.keys]
    indices = pd.DataFrame(parts.reshape(len(INDICES), -1).T, columns=list(INDICES))
    return pd.DataFrame(rows, columns=["portfolio", "measure", "parameter"]).join(indices).assign(
        constant=np.repeat(constant, count)
    )  # fmt: skip


def most_important(importance: pd.DataFrame, portfolio: str, measure: str) -> pd.DataFrame:
    """One outcome's parameters, the most important first (by total index)."""
    own = importance[(importance["portfolio"] == portfolio) & (importance["measure"] == measure)]
    return own.sort_values("total", ascending=False, kind="stable").reset_index(drop=True)


def _indices(blocks: Matrix, seed: int) -> Matrix:
    """(6, outcomes, P): first, its ends, total, its ends, from (outcomes, P + 2, n) evaluations.

    Percentile bootstrap over the points of the design, seeded: scipy's own takes its resamples from nowhere.
    """
    draw = np.random.default_rng(seed)
    points = blocks.shape[2]
    again = [_of(blocks[:, :, draw.integers(points, size=points)]) for _ in range(_RESAMPLES)]
    low, high = np.quantile(again, ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2), axis=0)
    first, total = _of(blocks)
    return np.array([first, low[0], high[0], total, low[1], high[1]])


def _of(blocks: Matrix) -> tuple[Matrix, Matrix]:
    """(outcomes, P) first-order and total indices."""
    given = {"f_A": blocks[:, 0].copy(), "f_B": blocks[:, 1].copy(), "f_AB": blocks[:, 2:].transpose(1, 0, 2).copy()}
    indices = sobol_indices(func=given, n=blocks.shape[2])
    return indices.first_order, indices.total_order
