"""Views: what an investor holds of figures of the outlook, taken into its probabilities by entropy pooling.

Of all probabilities q under which every view's figure lies within its bounds, those nearest to the belief p:

    min Σ q ln(q/p)  such that  Aq ≤ b, Σ q = 1,

found by the dual, ln Σ p exp(−A'λ) + λ'b, which is smooth, convex and has one variable a bound (Meucci 2008). What is
found is held to the conditions of the optimum before anybody sees it. Where scenarios can have no probability under the
views they are left out first: the dual would have no optimum.

A volatility is no linear figure. Its square is E(x − m)² + the variance within scenarios, at the mean m, which is taken
to be the belief's, or a view's own, and then that of what was found, until it is its own: the view is then met by the
volatility that screens show.

Views of confidence below 1: with confidences c1 > c2 > … the probabilities that meet the views of confidence c1 alone
weigh c1 − c2, those that meet the ones of c2 too c2 − c3, and so on, and the belief the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor, inf, log10, sqrt
from typing import Annotated, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from allocator.book.book import Book
from allocator.book.checks.rules import bucket_counts
from allocator.errors import BadInput, Breach, NotSolved, setting_breach
from allocator.outlook.risk_model import FactorRisk
from allocator.presentation import NotNegative, Probability, Rounded, Row, document_of
from allocator.settings.reading import dotted_key
from allocator.settings.uncertainty import ViewSection, ViewSubject
from allocator.types import Matrix, Vector

# Entropy pooling: the nearest probabilities under linear bounds, with the proof that they are.
#
_EXCLUDED = 1e-100
"""Of a probability: less is none, as [believe] leaves what it excludes."""
_NO_ODDS = 500.0
"""How far, in logs, what a view excludes is taken, as by [believe]."""
_FEW_STEPS, _STEPS, _HALVINGS, _ENOUGH = 100, 5000, 60, 1e-14
_PROVED = 1e-9
"""Of a bound, in parts of the reach of its figure, and of the relative entropy: what a proof may miss."""
_EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, eq=False)
class EntropyPooling:
    """The nearest `probabilities` (K,) and the `multipliers` (M,) of the bounds: what one unit more of each would take
    from the relative entropy.

    The proof: bounds are missed by `residual` at most, in parts of the reach of their rows, and the relative entropy is
    within `gap` of the least there is.
    """

    probabilities: Vector
    multipliers: Vector
    relative_entropy: float
    residual: float
    gap: float


def pool_entropy(prior: Vector, rows: Matrix, limits: Vector, equal: NDArray[np.bool_]) -> EntropyPooling | None:
    """The probabilities nearest to `prior` (K,) with rows q ≤ limits (M,), or = where `equal`; None if there are none.

    Raises:
        NotSolved: what was found is not proved to be the nearest.
    """
    there = np.flatnonzero(prior > _EXCLUDED)
    own = prior[there] / prior[there].sum()
    middle, scale = _scale(rows[:, there])
    scaled, bounds = (rows[:, there] - middle[:, None]) / scale[:, None], (limits - middle) / scale
    weights, found = _proved(own, scaled, bounds, equal, np.ones(len(own), dtype=bool), _FEW_STEPS)
    if found is None:
        missed, bounds = _least_missed(scaled, bounds, equal)
        if missed > _PROVED:
            return None
        weights, found = _proved(own, scaled, bounds, equal, _possible(scaled, bounds, equal), _STEPS)
    if found is None:
        raise NotSolved("the probabilities that meet [views] were not proved to be the nearest to the belief")
    nearest = np.zeros(len(prior))
    nearest[there] = found.probabilities
    return replace(found, probabilities=nearest, multipliers=weights / scale)


def _proved(
    prior: Vector, rows: Matrix, limits: Vector, equal: NDArray[np.bool_], possible: NDArray[np.bool_], steps: int
) -> tuple[Vector, EntropyPooling | None]:
    """The multipliers and what they give, of the `possible` scenarios (K,), where that is proved to be the nearest."""
    weights = _nearest(np.log(prior[possible]), rows[:, possible], limits, equal, steps)
    logs = np.log(prior[possible]) - weights @ rows[:, possible]
    nearest, top = np.zeros(len(prior)), logs.max()
    nearest[possible] = np.exp(logs - top)
    total = nearest.sum()
    nearest /= total
    left = limits - rows @ nearest
    entropy = _relative_entropy(nearest, prior)
    missed = float(max(np.abs(left[equal]).max(initial=0.0), (-left[~equal]).max(initial=0.0)))
    gap = abs(entropy + float(top + np.log(total) + weights @ limits))
    if missed > _PROVED or not gap <= _PROVED or (weights[~equal] < 0).any():
        return weights, None
    return weights, EntropyPooling(nearest, weights, max(entropy, 0.0), missed, gap)


def _scale(rows: Matrix) -> tuple[Vector, Vector]:
    """(M,) the middle and the reach of each row; of one that is the same in every scenario its size."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    least = 1e-9 * np.maximum(np.maximum(np.abs(low), np.abs(high)), 1e-3)
    return (low + high) / 2, np.where(high - low > least, high - low, np.maximum(np.abs(high), 1e-3))


def _relative_entropy(q: Vector, p: Vector) -> float:
    """Σ q ln(q/p), in nats."""
    some = q > 0
    return float(q[some] @ np.log(q[some] / p[some]))


def _linear(objective: Vector, **program: object) -> Vector:
    """The optimum of a linear program that has one."""
    from scipy.optimize import linprog

    found = linprog(objective, method="highs", options=_EXACT, **program)
    if found.x is None:
        raise NotSolved(f"the linear program of [views] was not solved: {found.message}")
    result: Vector = found.x
    return result


def _parted(rows: Matrix, limits: Vector, equal: NDArray[np.bool_]) -> dict[str, object]:
    """Rows as a linear program wants them."""
    upper, fixed = ~equal, equal
    parts: dict[str, object] = {}
    if upper.any():
        parts |= {"A_ub": rows[upper], "b_ub": limits[upper]}
    return parts | {"A_eq": rows[fixed], "b_eq": limits[fixed]}


def _least_missed(rows: Matrix, limits: Vector, equal: NDArray[np.bool_]) -> tuple[float, Vector]:
    """By how much bounds must be missed in all, and the nearest (M,) that need not be: by rounding, where that is 0."""
    bounds, count = len(limits), rows.shape[1]
    slack = np.eye(bounds)
    whole = np.vstack([np.hstack([rows, slack, -slack]), np.append(np.ones(count), np.zeros(2 * bounds))])
    program = _parted(whole, np.append(limits, 1.0), np.append(equal, True))
    costs = np.concatenate([np.zeros(count), np.ones(2 * bounds)])
    ends = [(0, None)] * count + [(0, None if each else 0) for each in equal] + [(0, None)] * bounds
    found = _linear(costs, bounds=ends, **program)
    inside = np.maximum(found[:count], 0.0)
    reached: Vector = rows @ (inside / inside.sum())
    return float(found[count:].sum()), np.where(equal, reached, np.maximum(limits, reached))


def _possible(rows: Matrix, limits: Vector, equal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(K,) the scenarios that some probabilities within the bounds give a probability to."""
    count = rows.shape[1]
    # q̃ = τq, τ ≥ 1, u ≤ q̃ and u ≤ 1: as many u as can be are 1, and the others 0 (Freund, Roundy and Todd 1985)
    homogeneous = np.hstack([rows, np.zeros((len(limits), count)), -limits[:, None]])
    below = np.hstack([-np.eye(count), np.eye(count), np.zeros((count, 1))])
    total = np.concatenate([np.ones(count), np.zeros(count), [-1.0]])
    whole = np.vstack([homogeneous, below, total])
    kinds = np.concatenate([equal, np.zeros(count, dtype=bool), [True]])
    program = _parted(whole, np.zeros(len(whole)), kinds)
    ends = [(0, None)] * count + [(0, 1)] * count + [(1, None)]
    found = _linear(np.concatenate([np.zeros(count), -np.ones(count), [0.0]]), bounds=ends, **program)
    return found[count : 2 * count] > 0.5


def _nearest(log_prior: Vector, rows: Matrix, limits: Vector, equal: NDArray[np.bool_], steps: int) -> Vector:
    """(M,) the multipliers, by the projected Newton method (Bertsekas 1982) with the exact Hessian, Cov_q(rows)."""

    def dual(weights: Vector) -> tuple[float, Vector]:
        logs = log_prior - weights @ rows
        top = logs.max()
        each = np.exp(logs - top)
        total = each.sum()
        return float(top + np.log(total) + weights @ limits), each / total

    weights = np.zeros(len(limits))
    value, q = dual(weights)
    for _ in range(steps):
        slope = limits - rows @ q
        apart = np.where(equal, np.abs(slope), np.abs(weights - np.maximum(weights - slope, 0.0)))
        if apart.max(initial=0.0) <= _ENOUGH:
            break
        held = ~equal & (weights <= min(apart.max(), 1e-3)) & (slope > 0)
        free = np.flatnonzero(~held)
        centred = (rows[free] - (rows[free] @ q)[:, None]) * np.sqrt(q)
        curve = centred @ centred.T
        curve[np.diag_indices(len(free))] += 1e-15 * max(float(np.trace(curve)), 1e-12)
        step = -slope
        step[free] = -np.linalg.lstsq(curve, slope[free], rcond=None)[0]
        size = 1.0
        for _ in range(_HALVINGS):
            ahead = weights + size * step
            ahead = np.where(equal, ahead, np.maximum(ahead, 0.0))
            then, q_then = dual(ahead)
            if then <= value + 1e-4 * float(slope @ (ahead - weights)) + 4e-16 * max(abs(value), 1.0):
                break
            size /= 2
        else:
            break  # as near as numbers can tell; the proof says whether that is near enough
        weights, value, q = ahead, then, q_then
    return weights


# The figures that views are of: one class each, with its formula and the row that it is in the program.
#


@dataclass(frozen=True, eq=False)
class ScenarioFigure:
    """An expected return or a probability: the mean of `values` (K,), one a scenario."""

    values: Vector
    words: str

    def at(self, probabilities: Vector) -> float:
        """The figure under (K,) probabilities."""
        return float(probabilities @ self.values)

    def row(self, _: float) -> Vector:
        """(K,) what it is a mean of."""
        return self.values

    def bound(self, limit: float) -> float:
        """A bound on it as one on the row's mean."""
        return limit

    def reach(self, ends: tuple[float, float]) -> tuple[float, float]:
        """The least and most that it can be, from those of the row's mean."""
        return ends

    def slope(self, _: float) -> float:
        """Of `bound`."""
        return 1.0


@dataclass(frozen=True, eq=False)
class VolatilityFigure:
    """The volatility a year of a return `gains` (K,) over `years`, with the variance `within` a scenario."""

    gains: Vector
    within: float
    years: float
    words: str

    def at(self, probabilities: Vector) -> float:
        """The figure under (K,) probabilities."""
        return sqrt(float(probabilities @ self.row(float(probabilities @ self.gains))))

    def row(self, mean: float) -> Vector:
        """(K,) the squares of which it is the mean, around a mean."""
        result: Vector = ((self.gains - mean) ** 2 + self.within) / self.years
        return result

    def bound(self, limit: float) -> float:
        """A bound on it as one on the row's mean."""
        return limit * abs(limit)

    def reach(self, ends: tuple[float, float]) -> tuple[float, float]:
        """The least and most that it can be, from those of the row's mean."""
        # near the most there is no step towards it tells how far: what is told as reached is a little less
        return sqrt(max(ends[0], 0.0)), sqrt(max(ends[1], 0.0)) * (1 - 1e-3)

    def slope(self, limit: float) -> float:
        """Of `bound`."""
        return 2 * abs(limit)


@dataclass(frozen=True, eq=False)
class View:
    """A view by its name: the figure lies from `low` to `high`, with a confidence; `like` is whose return it is of."""

    name: str
    figure: ScenarioFigure | VolatilityFigure
    low: float
    high: float
    confidence: float
    like: tuple[str, str] | None = None

    @property
    def key(self) -> str:
        """Where it stands in book.toml."""
        return dotted_key("views", self.name)

    @property
    def words(self) -> str:
        """Its bounds, as book.toml has them."""
        if self.low == self.high:
            return f"equals = {self.low:.10g}"
        bounds = {"at_least": self.low, "at_most": self.high}
        return ", ".join(f"{key} = {value:.10g}" for key, value in bounds.items() if abs(value) < inf)

    def rows(self, mean: float) -> Iterator[tuple[Vector, float, bool]]:
        """Each bound as (K,) a, b and whether a'q = b, else a'q ≤ b."""
        row = self.figure.row(mean)
        if self.low == self.high:
            yield row, self.figure.bound(self.low), True
            return
        if self.high < inf:
            yield row, self.figure.bound(self.high), False
        if self.low > -inf:
            yield -row, -self.figure.bound(self.low), False


@dataclass(frozen=True, eq=False)
class Kept:
    """What [believe] states, which views leave as it is: the probability of the scenarios `values` (K,) marks."""

    name: str
    values: Vector
    low: float

    @property
    def key(self) -> str:
        """Where it stands in book.toml."""
        return dotted_key("believe", self.name)

    def rows(self, _: float) -> Iterator[tuple[Vector, float, bool]]:
        """As those of a view."""
        yield self.values, self.low, True


# All views of a book at once, layer by layer of confidence.
#
_ROUNDS, _FULL_ROUNDS = 240, 40


@dataclass(frozen=True)
class ViewEffect:
    """What became of a view: its figure under the belief, where all views are met, and under what they are pooled to.

    `multiplier` is by how many nats the relative entropy falls for one unit that its bound is moved by, where all are
    met; 0 where it does not bind.
    """

    view: str
    figure: str
    bounds: str
    confidence: Probability
    before: Annotated[float, Rounded(10), "under the belief"]
    met: Annotated[float, Rounded(10), "where every view is met"]
    after: Annotated[float, Rounded(10), "under the probabilities that plans use"]
    multiplier: Annotated[NotNegative, Rounded(8), "nats of relative entropy for one unit of its bound; 0: not binding"]


class _ScenarioShift(TypedDict):
    scenario: str
    before: Annotated[Probability, "the belief, after signals, silence and [believe]"]
    after: Annotated[Probability, "with the views"]


class ViewsDocument(TypedDict):
    """What views did to the probabilities."""

    scenarios: list[_ScenarioShift]
    views: list[Annotated[Row, ViewEffect]]
    relative_entropy: Annotated[NotNegative, "of the probabilities after to those before, in nats"]
    effective_scenarios_before: Annotated[float, "exp of the entropy: how many equally likely ones would have it"]
    effective_scenarios: Annotated[float, "the same after"]
    missed: Annotated[NotNegative, "by how much bounds are at most, in parts of the reach of their figures"]
    gap: Annotated[NotNegative, "by how much the relative entropy may be above the least there is, in nats"]


def _stable(number: float) -> float:
    """To the digits that every machine agrees on."""
    return round(float(number), 10) + 0.0


@dataclass(frozen=True, eq=False)
class PooledViews:
    """Probabilities (K,) before and after the views, and what became of each."""

    scenarios: tuple[str, ...]
    prior: Vector
    probabilities: Vector
    effects: tuple[ViewEffect, ...]
    residual: float
    gap: float

    @property
    def log_odds(self) -> Vector:
        """(K,) what the views add to the log odds of the scenarios."""
        some = (self.prior > _EXCLUDED) & (self.probabilities > 0)
        ratio = np.where(some, self.probabilities, 1.0) / np.where(some, self.prior, 1.0)
        result: Vector = np.where(self.prior > _EXCLUDED, np.where(some, np.log(ratio), -_NO_ODDS), 0.0)
        return result

    @property
    def relative_entropy(self) -> float:
        """Of the probabilities after to those before, in nats."""
        return max(_relative_entropy(self.probabilities, self.prior), 0.0)

    @property
    def effective(self) -> tuple[float, float]:
        """How many equally likely scenarios would have the entropy, before and after."""
        before, after = (float(np.exp(-p[p > 0] @ np.log(p[p > 0]))) for p in (self.prior, self.probabilities))
        return before, after

    def document(self) -> ViewsDocument:
        """Plain data."""
        before, after = self.effective
        shifts = zip(self.scenarios, map(_stable, self.prior), map(_stable, self.probabilities), strict=True)
        return {
            "scenarios": [{"scenario": name, "before": own, "after": then} for name, own, then in shifts],
            "views": list(map(document_of, self.effects)),
            "relative_entropy": _stable(self.relative_entropy),
            "effective_scenarios_before": _stable(before),
            "effective_scenarios": _stable(after),
            "missed": _stable(self.residual),
            "gap": _stable(self.gap),
        }


def pool_views(views: Sequence[View], kept: Sequence[Kept], scenarios: Sequence[str], prior: Vector) -> PooledViews:
    """What views make of the belief `prior` (K,).

    Raises:
        BadInput: no probabilities meet them; says which conflict, and what each can be.
        NotSolved: the nearest were not proved to be so.
    """
    counted = [view for view in views if view.confidence > 0]
    if counted and (breaches := dict(_conflicts(counted, kept, scenarios, prior))):
        raise BadInput([breaches[view.name] for view in counted if view.name in breaches])
    levels = sorted({view.confidence for view in counted}, reverse=True)
    pooled, met, multipliers = prior * (1 - max(levels, default=0.0)), prior, dict[str, float]()
    residual = gap = 0.0
    for level, lower in pairwise([*levels, 0.0]):
        own = [view for view in counted if view.confidence >= level]
        found, multipliers = _met(own, kept, prior)
        met, residual, gap = found.probabilities, max(residual, found.residual), max(gap, found.gap)
        pooled = pooled + (level - lower) * met
    pooled = pooled / pooled.sum()
    effects = tuple(
        ViewEffect(
            view=view.name,
            figure=view.figure.words,
            bounds=view.words,
            confidence=view.confidence,
            before=view.figure.at(prior),
            met=view.figure.at(met),
            after=view.figure.at(pooled),
            multiplier=multipliers.get(view.name, 0.0),
        )
        for view in views
    )
    return PooledViews(tuple(scenarios), prior, pooled, effects, residual, gap)


def _means(views: Sequence[View], prior: Vector) -> dict[str, float]:
    """The mean that each volatility is first taken around: the one that another view states of the same, or p's."""
    stated: dict[tuple[str, str] | None, float] = {
        view.like: view.low
        for view in views
        if isinstance(view.figure, ScenarioFigure) and view.like is not None and view.low == view.high
    }
    return {
        view.name: stated.get(view.like, float(prior @ view.figure.gains))
        for view in views
        if isinstance(view.figure, VolatilityFigure)
    }


def _stacked(
    views: Sequence[View | Kept], means: Mapping[str, float]
) -> tuple[Matrix, Vector, NDArray[np.bool_], list[str]]:
    """The rows of all, their limits, whether they are equalities, and whose they are."""
    rows = [(*row, view.name) for view in views for row in view.rows(means.get(view.name, 0.0))]
    matrix, limits, equal, names = zip(*rows, strict=True)
    return np.array(matrix), np.array(limits), np.array(equal, dtype=bool), list(names)


def _met(views: Sequence[View], kept: Sequence[Kept], prior: Vector) -> tuple[EntropyPooling, dict[str, float]]:
    """The nearest probabilities that meet views, and each one's multiplier."""
    means = _means(views, prior)
    of = {view.name: view.figure for view in views if isinstance(view.figure, VolatilityFigure)}
    for at in range(_ROUNDS if means else 1):
        rows, limits, equal, names = _stacked([*views, *kept], means)
        found = _around(prior, rows, limits, equal, strict=not means)
        if found is None:
            break
        moved = {name: float(found.probabilities @ figure.gains) for name, figure in of.items()}
        if all(abs(moved[name] - mean) <= 1e-10 * np.ptp(of[name].gains) for name, mean in means.items()):
            break
        part = 0.5 ** (at // _FULL_ROUNDS)  # of the way, where whole steps go back and forth
        means = {name: mean + part * (moved[name] - mean) for name, mean in means.items()}
    if found is None:
        raise BadInput(list(_beyond(views, kept, prior)) or [_unsettled(views)])
    for view in views:
        figure = view.figure.at(found.probabilities)
        if max(view.low - figure, figure - view.high) > 1e-8 * max(abs(figure), 1.0):
            raise BadInput([_unsettled(views)])
    unit = {view.name: view.figure.slope(view.figure.at(found.probabilities)) for view in views}
    sums = dict.fromkeys(unit, 0.0)
    for name, each in zip(names, found.multipliers, strict=True):
        if name in sums:
            sums[name] += each
    return found, {name: abs(each) * unit[name] for name, each in sums.items()}


def _around(
    prior: Vector, rows: Matrix, limits: Vector, equal: NDArray[np.bool_], *, strict: bool
) -> EntropyPooling | None:
    """What is nearest around some means; None where it is not there, or not proved and others may be tried."""
    try:
        return pool_entropy(prior, rows, limits, equal)
    except NotSolved:
        if strict:
            raise
        return None


def _unsettled(views: Sequence[View]) -> Breach:
    """A volatility whose own mean was not found."""
    view = next(view for view in views if isinstance(view.figure, VolatilityFigure))
    rule, cure = "is not met around any mean that was tried", "state the expected return of the same, too, with equals"
    return setting_breach(view.key, view.words, rule, cure)


# Views that no probabilities meet: the smallest sets that conflict, and what each figure can be beside the others.
#


def _meets(views: Sequence[View | Kept], means: Mapping[str, float], support: Vector) -> bool:
    """Whether some probabilities meet them."""
    if not views:
        return True
    return _least_missed(*_scaled(views, means, support))[0] <= _PROVED


def _scaled(
    views: Sequence[View | Kept], means: Mapping[str, float], support: Vector
) -> tuple[Matrix, Vector, NDArray[np.bool_]]:
    """Rows over the scenarios that have a probability, and limits, in parts of their reach; and the equalities."""
    rows, limits, equal, _ = _stacked(views, means)
    rows = rows[:, support > _EXCLUDED]
    middle, scale = _scale(rows)
    return (rows - middle[:, None]) / scale[:, None], (limits - middle) / scale, equal


def _conflicts(
    views: Sequence[View], kept: Sequence[Kept], scenarios: Sequence[str], prior: Vector
) -> Iterator[tuple[str, Breach]]:
    """Each view of every conflict that was found, by name, with its reach beside the others and what it may be."""
    everyone: list[View | Kept] = [*views, *kept]
    means, left = _means(views, prior), list(everyone)
    while not _meets(left, means, prior):
        core = list(left)
        for one in left:
            if not _meets(rest := [other for other in core if other is not one], means, prior):
                core = rest
        own = [one for one in core if isinstance(one, View)]
        for view in own:
            beside = [one for one in core if one is not view]
            for one in everyone:  # of the others as many as can be met
                if one not in core and _meets([*beside, one], means, prior):
                    beside.append(one)
            named = [one.key for one in core if one is not view]
            ends, missing = _reach(view, beside, means, prior), _missing(view, core, means, scenarios, prior)
            yield view.name, _refusal(view, named, ends, missing)
        left.remove(own[-1])


def _reach(view: View, beside: Sequence[View | Kept], means: Mapping[str, float], prior: Vector) -> tuple[float, float]:
    """The least and the most that a view's figure can be beside others; its volatility at most, around any mean."""
    from scipy.optimize import minimize_scalar

    there = prior > _EXCLUDED
    count = int(there.sum())
    program: dict[str, object] = {"A_eq": np.ones((1, count)), "b_eq": np.ones(1)}
    if beside:
        scaled, limits, equal = _scaled(beside, means, prior)
        limits = _least_missed(scaled, limits, equal)[1]
        whole = np.vstack([scaled, np.ones(count)])
        program = _parted(whole, np.append(limits, 1.0), np.append(equal, True))

    def end(mean: float, sign: float) -> float:
        row = view.figure.row(mean)[there]
        return float(row @ _linear(sign * row, bounds=(0, None), **program))

    at, figure = means.get(view.name, 0.0), view.figure
    most = end(at, -1.0)
    if isinstance(figure, VolatilityFigure):
        gains = figure.gains[there]
        found = minimize_scalar(lambda mean: end(mean, -1.0), bounds=(gains.min(), gains.max()), method="bounded")
        most = min(most, float(found.fun))
    return figure.reach((end(at, 1.0), most))


def _missing(
    view: View, core: Sequence[View | Kept], means: Mapping[str, float], scenarios: Sequence[str], prior: Vector
) -> list[str]:
    """The scenarios without a probability with which a conflict were none."""
    if not isinstance(view.figure, ScenarioFigure):
        return []
    without = np.flatnonzero(prior <= _EXCLUDED)
    return [scenarios[int(k)] for k in without if _meets(core, means, prior + (np.arange(len(prior)) == k))]


def _beyond(views: Sequence[View], kept: Sequence[Kept], prior: Vector) -> Iterator[Breach]:
    """Volatilities that are more than there can be around their own mean."""
    everyone: list[View | Kept] = [*views, *kept]
    means = _means(views, prior)
    for view in views:
        beside = [one for one in everyone if one is not view]
        if isinstance(view.figure, VolatilityFigure) and view.low > (ends := _reach(view, beside, means, prior))[1]:
            yield _refusal(view, [one.key for one in beside], ends, [])


def _refusal(view: View, others: Sequence[str], ends: tuple[float, float], missing: Sequence[str]) -> Breach:
    """Why no probabilities meet a view, with the cure."""
    low, high = _inward(ends[0], 1), _inward(ends[1], -1)
    same = low >= high
    reach = f"{(ends[0] + ends[1]) / 2:.10g}" if same else f"from {low:.6g} to {high:.6g}"
    beside = f" beside {' and '.join(others)}: with all others" if others else ":"
    around = ", around the mean that is believed or stated" if isinstance(view.figure, VolatilityFigure) else ""
    rule = f"is met by no probabilities{beside} the {view.figure.words} is {reach}{around}"
    if view.low == view.high:
        cure = f"write equals = {reach}" if same else f"set equals to a number {reach}"
    elif view.low > ends[1]:
        cure = f"lower at_least to {reach if same else f'{high:.6g}'}" + ("" if same else " or less")
    else:
        cure = f"raise at_most to {reach if same else f'{low:.6g}'}" + ("" if same else " or more")
    if missing:
        rule += f", as {' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} no probability"
        cure += f", or give {' or '.join(missing)} a probability above 0"
    if others:
        cure += ", or remove one of them"
    return setting_breach(view.key, view.words, rule, cure)


def _inward(number: float, sign: int) -> float:
    """Six digits of a number, rounded up where the sign is 1 and down where it is −1."""
    if number == 0:
        return 0.0
    unit = 10.0 ** (floor(log10(abs(number))) - 5)
    return -sign * floor(-sign * number / unit + 1e-6) * unit


# From `[views]` and `[believe]` to figures of this book's outlook.
#


def book_views(book: Book, prior: Vector, returns: Matrix, cash: Vector, risk: FactorRisk, years: float) -> PooledViews:
    """What `[views]` make of the belief `prior` (K,) in a book with these returns (K, N) and (K,) of cash.

    Raises:
        BadInput: no probabilities meet them.
    """
    whole = np.column_stack([returns, cash])
    views = [_view(book, name, stated, whole, risk, years) for name, stated in book.settings.views.items()]
    return pool_views(views, list(_kept(book, prior)), book.scenarios, prior)


def _kept(book: Book, prior: Vector) -> Iterator[Kept]:
    for name in book.settings.believe:
        marked = [float(name in (key, each.hypothesis)) for key, each in book.settings.scenarios.items()]
        yield Kept(name, np.array(marked), float(prior @ marked))


def _view(book: Book, name: str, stated: ViewSection, returns: Matrix, risk: FactorRisk, years: float) -> View:
    subject = getattr(stated, stated.figure)
    ((key, value),) = subject.named
    of_return = key in ViewSubject.model_fields
    own = _weights(book, key, value) if of_return else np.zeros(0)
    like: tuple[str, str] | None = (key, value) if stated.figure != "probability" else None
    figure: ScenarioFigure | VolatilityFigure
    whose = {"held": "the holdings", "benchmark": "the benchmark"}[value] if key == "portfolio" else value
    if stated.figure == "volatility":
        figure = VolatilityFigure(returns @ own, risk.variance(own[:-1]), years, f"volatility of {whose}")
    elif stated.figure == "expected_return":
        gains, words = returns @ own, f"expected return of {whose}"
        if stated.over is not None:
            ((other, rival),) = stated.over.named
            gains, like = gains - returns @ _weights(book, other, rival), None
            words += f" over {'the holdings' if rival == 'held' else rival}"
        figure = ScenarioFigure(gains, words)
    elif of_return:
        low = subject.below is not None
        level = subject.below if low else subject.above
        gains, deviation = returns @ own, sqrt(risk.variance(own[:-1]))
        under = ndtr((level - gains) / deviation) if deviation > 0 else (gains < level if low else gains <= level) * 1.0
        words = f"probability of a return of {whose} {'below' if low else 'above'} {level:g}"
        figure = ScenarioFigure(under if low else 1 - under, words)
    else:
        of = book.settings.scenarios
        marked = [value in ((each,) if key == "scenario" else (getattr(one, key),)) for each, one in of.items()]
        figure = ScenarioFigure(np.array(marked, dtype=float), f"probability of {value}")
    return View(name, figure, *stated.bounds, stated.confidence, like)


def _weights(book: Book, key: str, value: str) -> Vector:
    """(N + 1,) fractions of instruments and cash that sum to 1."""
    everyone = [*book.instruments, book.cash_instrument]
    if key == "portfolio":
        if value == "held":
            return np.append(book.weights, book.cash / book.value)
        assert book.benchmark is not None  # was checked on loading
        return np.asarray(book.benchmark, dtype=np.float64)
    shares = {value: 1.0} if key == "instrument" else book.members(value) if key == "group" else {}
    own = np.array([shares.get(name, 0.0) for name in everyone])
    if key == "bucket":
        own[-1] = float(value == "cash")
        own[:-1] = 0.0 if value == "cash" else bucket_counts(book.exposures, value)[0]
    result: Vector = own / own.sum()
    return result
