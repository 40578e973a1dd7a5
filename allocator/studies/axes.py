"""Ways through the beliefs: one probability from 0 to 1, everything else kept in proportion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadMandate, Breach
from allocator.outlook.outlook import Outlook
from allocator.types import Vector

HYPOTHESIS = "generalizable"
DEMAND = "jevons"


@dataclass(frozen=True, eq=False)
class Axis:
    """The probability of `name`, `stated` today; `if_true` and `if_false` (K,) are the beliefs at 1 and at 0.

    Scenarios keep their probabilities given `name` and given its contrary.
    """

    name: str
    stated: float
    if_true: Vector
    if_false: Vector

    def at(self, probability: float) -> Vector:
        """(K,) the belief in which `name` has this probability."""
        belief: Vector = probability * self.if_true + (1 - probability) * self.if_false
        return belief


def refuse_unbelieved(book: Book) -> None:
    """Raise where the plan does not follow from probabilities, or not by one decision.

    Raises:
        BadMandate: with the reason.
    """
    objective = book.settings.mandate.objective
    found = []
    if book.settings.in_stages:
        rule = "is solved on the tree of decisions, and belief stress is of one decision"
        cure = "choose return_minus_risk without [horizon] reviews; `allocator waiting` and --set stress a tree"
        found.append(Breach("book.toml", None, "mandate.objective", objective, rule, cure))
    elif objective == "minimum_variance":
        rule = "looks at no return, so that no probability changes what it wants"
        found.append(Breach("book.toml", None, "mandate.objective", objective, rule, "choose return_minus_risk"))
    if len(book.scenarios) == 1:
        rule = "there is one scenario, and nothing to be wrong about"
        found.append(Breach("book.toml", None, "scenarios", book.scenarios[0], rule, "state at least two"))
    if found:
        raise BadMandate(found)


def axes_of(book: Book, outlook: Outlook) -> tuple[Axis, ...]:
    """The hypothesis where scenarios say which answer they stand for, else each scenario's own probability."""
    hypothesis = hypothesis_axis(book, outlook)
    if hypothesis is not None:
        return (hypothesis,)
    named = [axis(name, np.arange(len(outlook.scenarios)) == k, outlook) for k, name in enumerate(outlook.scenarios)]
    return tuple(one for one in named if one is not None)


def hypothesis_axis(book: Book, outlook: Outlook) -> Axis | None:
    """P(generalizable); None where scenarios do not say which answer they stand for, or one of both is certain."""
    sections = book.settings.scenarios
    answers = [sections[name].hypothesis for name in outlook.scenarios]
    if any(answer is None for answer in answers):
        return None
    return axis(HYPOTHESIS, np.array([answer == HYPOTHESIS for answer in answers]), outlook, certain=False)


def axis(
    name: str, true: np.ndarray[tuple[int], np.dtype[np.bool_]], outlook: Outlook, *, certain: bool = True
) -> Axis | None:
    """The axis of an event that holds in some scenarios; None where the belief leaves nothing to be in proportion.

    Where it holds in one scenario alone and `certain`, that one has all of the probability at 1, whatever it has now.
    """
    p = outlook.probabilities
    stated = float(p[true].sum())
    if stated >= 1 or (stated <= 0 and (not certain or true.sum() != 1)):
        return None
    if_true = np.where(true, p, 0.0) / stated if stated > 0 else true.astype(np.float64)
    return Axis(name, stated, if_true, np.where(true, 0.0, p) / (1 - stated))
