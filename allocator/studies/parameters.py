"""`model_stress(book, plan)`: how far the outcomes, and the plan itself, hang on parameters that nobody knows.

Parameters vary over ranges, all at once; what they make of returns and of the portfolios is evaluated at every draw,
the plan is optimised again at some of them, and Sobol indices say which parameter matters. By default prices follow:
the market knows a parameter as we do, which is what this book would say with that parameter in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.multistage.plan import StagedPlan
from allocator.plan.plan import Plan
from allocator.studies.draws import Method, drawn, rounded
from allocator.studies.evaluated import Evaluated, Prices, ground_of
from allocator.studies.importance import importance_of
from allocator.studies.modelled import Failure, ModelStress
from allocator.studies.outcomes import Gauge, Measured, evaluate, gauge_of, measured
from allocator.studies.portfolios import portfolios_of
from allocator.studies.ranges import Doubt, doubts_of
from allocator.studies.redone import Question, Redone, redone
from allocator.types import Matrix

SEED = 20261120
REDONE = 512
"""Draws at which the plan is optimised again, the first of all: a quantile is then right to a few points."""
MOST = 1_000_000
"""Draws: what is kept of them is then some hundreds of megabytes."""
_KEPT_CELLS = 2_000_000
_KEPT = 4096
"""Draws whose returns by name are kept for quantiles, and how many numbers that may be."""
_WORDS = {"method": ("sobol", "latin_hypercube"), "prices": ("follow", "stay")}


@dataclass(frozen=True)
class _Told:
    """Progress in words, where somebody listens."""

    say: Callable[[str], None] | None

    def count(self, words: str, total: int) -> Callable[[int], None] | None:
        say = self.say
        return None if say is None else lambda done: say(f"{words} {done:,} of {total:,}")


def model_stress(
    book: Book,
    plan: Plan | StagedPlan,
    draws: int = 1024,
    *,
    seed: int = SEED,
    method: Method = "sobol",
    prices: Prices = "follow",
    redo: int = REDONE,
    jobs: int = 1,
    say: Callable[[str], None] | None = None,
) -> ModelStress:
    """Vary what the book is unsure of; `redo` of the draws optimise the plan again, on `jobs` processes.

    The same seed gives the same draws, and draw i is the same however many are asked of Sobol points. Interrupted, it
    gives what is finished and says so.

    Raises:
        BadInput: a count, the method or a range is not what it must be; all at once.
    """
    doubts = checked(book, draws, redo, jobs, {"method": method, "prices": prices})
    staged = isinstance(plan, StagedPlan)
    mandate = plan.staged.mandates[0] if isinstance(plan, StagedPlan) else plan.mandate
    ground = ground_of(book, prices, plan.outlook)
    gauge = gauge_of(ground, mandate.ambiguity, portfolios_of(book, plan), doubts)
    made = rounded(draws, method)
    values, told = drawn(doubts, made, method, seed), _Told(say)
    kept = min(_KEPT, max(1, _KEPT_CELLS // ground.outlook.returns.size))
    found = measured(gauge, values, kept, told.count("evaluating draw", made))
    finished, again, indices = found.values.shape[1], Redone({}, {}), None
    interrupted = finished < made
    if not interrupted and not staged and redo:
        again = _again(plan, gauge, values[:redo], jobs, told)
        interrupted = again.interrupted
    if not interrupted:
        if say is not None:
            say("measuring which parameter matters")
        try:
            indices = importance_of(gauge, doubts, seed)
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
        before=np.append(book.weights, book.cash / book.value),
        planned=np.append(plan.target.values, plan.target.cash) / plan.target.value,
        importance=indices,
        failures=tuple(_failures(doubts, values, found, again)),
    )


def checked(
    book: Book, draws: int, redo: int, jobs: int, words: Mapping[str, str] = MappingProxyType({})
) -> tuple[Doubt, ...]:
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
        doubts = doubts_of(book)
    except BadInput as error:
        raise BadInput([*found, *error.breaches]) from None
    if found:
        raise BadInput(found)
    return doubts


def _again(plan: Plan | StagedPlan, gauge: Gauge, values: Matrix, jobs: int, told: _Told) -> Redone:
    assert isinstance(plan, Plan)

    def draws(batch: range) -> Evaluated:
        return evaluate(gauge, values[batch.start : batch.stop])

    return redone(Question.of(plan), len(values), draws, jobs, told.count("optimising again", len(values)))


def _today(gauge: Gauge) -> Matrix:
    """(outcomes,) what the book's own parameters make of them: a draw of one, in which nothing is moved."""
    share = float(gauge.ground.book.settings.horizon.announcement_share or 0.0)
    still = Gauge(gauge.ground, gauge.ambiguity, gauge.portfolios, ("horizon.announcement_share",))
    return measured(still, np.array([[share]])).values[:, 0]


def _why_not(book: Book) -> str:
    objective = book.settings.mandate.objective
    return (
        f"the plan is not optimised again: with objective = '{objective}' every draw would want the whole tree of "
        "decisions; its outcomes are evaluated all the same"
    )


def _failures(doubts: tuple[Doubt, ...], values: Matrix, found: Measured, again: Redone) -> list[Failure]:
    """Every draw that made no number or no plan, with its parameters."""
    keys = [doubt.key for doubt in doubts]
    silent = np.flatnonzero(~np.isfinite(found.values).all(axis=0))
    told = {int(i): ("evaluated", "its returns or probabilities are no numbers") for i in silent}
    told |= {i: ("optimised again", why) for i, why in again.failed.items() if i not in told}
    return [
        Failure(i, stage, why, dict(zip(keys, map(float, values[i]), strict=True)))
        for i, (stage, why) in sorted(told.items())
    ]
