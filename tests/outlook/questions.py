"""The replicability question of science §2.2, also on a calendar whose days are hundredths of a month."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from scipy.special import ndtr

from allocator.outlook.posterior import claim_probabilities, log_likelihoods, settled_hypothesis
from allocator.outlook.question import DisclosureModel, Question, Signal
from allocator.types import Matrix, Vector

HYPOTHESES = ("generalizable", "proprietary")
OPENED = dt.date(2026, 1, 1)
LAB = DisclosureModel(disclosure=0.85, hazard=0.136, background=0.008)


class Hundredths(Question):
    """A question whose months can be hit exactly: a hundred days each."""

    def months(self, day: dt.date) -> float:
        return (day - self.opened).days / 100


def at(months: float) -> dt.date:
    """That many months after the opening, on the calendar of `Hundredths`."""
    return OPENED + dt.timedelta(days=round(100 * months))


def asked(**given: Any) -> Hundredths:
    """Two labs alike, even odds on both axes; `labs` may disclose the first answer."""
    labs = given.pop("labs", {"a": LAB, "b": LAB})
    base: dict[str, Any] = {
        "opened": OPENED,
        "hypotheses": HYPOTHESES,
        "sources": {name: {HYPOTHESES[0]: lab} for name, lab in labs.items()},
        "prior": np.array([0.3, 0.2, 0.3, 0.2]),
        "answers": np.array([0, 0, 1, 1]),
        "regimes": ("jevons", "compression"),
        "regime_of": np.array([0, 1, 0, 1]),
    }
    return Hundredths(**(base | given))


def said(date: dt.date, kind: str, source: str = "", **more: Any) -> Signal:
    """A signal of that source, of the first answer where it is a claim or a verdict."""
    return Signal(date, kind, source, "" if kind == "usage" else HYPOTHESES[0], **more)


def usage(date: dt.date, fall: float, growth: float) -> Signal:
    """A usage figure: log changes."""
    return Signal(date, "usage", price_fall=fall, usage_growth=growth)


def labs_of(question: Question) -> dict[str, DisclosureModel]:
    """What each source may disclose of the first answer."""
    return {source: models[HYPOTHESES[0]] for source, models in question.sources.items()}


def generalizable_probability(question: Question, probabilities: Matrix) -> Vector:
    """P(G), from probabilities of the scenarios."""
    result: Vector = question.by_hypothesis(probabilities)[..., 0]
    return result


def claim_probability(question: Question, signals: Sequence[Signal], day: dt.date, months: float) -> float:
    """P(some silent lab claims within so many months)."""
    return sum(claim_probabilities(question, signals, day, months).values())


def settled_answer(question: Question, path: Sequence[float]) -> str | None:
    """Which answer a path of P(G) has settled on."""
    p = np.asarray(path)
    return settled_hypothesis(question, np.column_stack([p, 1 - p]))


def real(**given: Any) -> Question:
    """The same question on the calendar that there is."""
    whole = asked(**given)
    return Question(**{each.name: getattr(whole, each.name) for each in fields(whole)})


def likelihood_ratio(question: Question, signals: Sequence[Signal], months: Vector) -> Vector:
    """(T,) how much better G explains what was seen than P does."""
    ratio: Vector = np.exp(log_likelihoods(question, signals, months)[..., 0])
    return ratio


def demand_expansion_probability(mean: float, deviation: float) -> float:
    """P(elasticity > 1): that revenue grows when prices fall."""
    return float(ndtr((mean - 1) / deviation))
