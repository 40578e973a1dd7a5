"""Beliefs that hold a scenario possible and all but impossible, and worst cases around them to thirty digits.

Nothing here is ours but the classes that say which set is meant: Python's decimals, and bisection on what is monotone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext

import numpy as np

from allocator.ambiguity.divergences import Divergence, KullbackLeibler, ModifiedChiSquared
from allocator.types import Vector

DECADES = [10.0**-power for power in range(6, 13)]
RADII = (0.5, 0.05, 3.0, 0.2, 1.0)
DIVERGENCES: tuple[type[Divergence], ...] = (KullbackLeibler, ModifiedChiSquared)
_DIGITS, _HALVINGS = 30, 70


def unlikely_beliefs(seed: int, p: float, scenarios: int = 4) -> Iterator[tuple[Vector, Vector]]:
    """Losses and a belief with one scenario of probability `p`, with two, and with all but one; now the worst of them,
    now the mildest, now between.
    """
    draw = np.random.default_rng(seed)
    for unlikely in (1, 2, scenarios - 1):
        belief = np.append(np.full(unlikely, p), draw.dirichlet(np.ones(scenarios - unlikely)))
        belief[-1] = 1 - belief[:-1].sum()
        losses = draw.normal(0, 0.2, scenarios)
        losses[0] = (losses[1:].max() + 0.3, losses[1:].min() - 0.3, losses[0])[seed % 3]
        yield losses, belief


def exact_adversary(losses: Vector, ambiguity: Divergence, belief: Vector) -> Vector:
    """The q of max q'losses over the ball of a divergence, rounded once."""
    q = np.zeros(len(belief))
    with localcontext() as context:
        context.prec = _DIGITS
        seen = np.flatnonzero(belief > 0)
        p, loss = [Decimal(float(each)) for each in belief[seen]], [Decimal(float(each)) for each in losses[seen]]
        p, top = [each / sum(p) for each in p], max(loss)
        worst = [each if own == top else Decimal(0) for each, own in zip(p, loss, strict=True)]
        form = _tilted if isinstance(ambiguity, KullbackLeibler) else _raised
        found = form(p, [own - top for own in loss], Decimal(float(ambiguity.radius)), sum(worst))
        weights = found or worst
        q[seen] = [float(each / sum(weights)) for each in weights]
    return q


def exact_worst_case(losses: Vector, ambiguity: Divergence, belief: Vector) -> float:
    """The largest expected loss."""
    return float(exact_adversary(losses, ambiguity, belief) @ losses)


def _tilted(p: list[Decimal], loss: list[Decimal], radius: Decimal, certain: Decimal) -> list[Decimal]:
    """p·e^{loss/price} whose entropy is the radius: it falls with the price, here by its logarithm. Nothing where the
    ball holds the certainty of the worst, whose probability is `certain`; losses are at most 0.
    """
    if min(loss) == 0 or radius >= -certain.ln():
        return []

    def weights(log_price: Decimal) -> list[Decimal]:
        price = log_price.exp()
        return [each * (own / price).exp() for each, own in zip(p, loss, strict=True)]

    def lacking(log_price: Decimal) -> Decimal:
        tilted = weights(log_price)
        mean = _product(tilted, loss) / sum(tilted)
        return radius - (mean / log_price.exp() - sum(tilted).ln())

    return weights(_root(lacking, Decimal(-60), Decimal(25)))


def _raised(p: list[Decimal], loss: list[Decimal], radius: Decimal, certain: Decimal) -> list[Decimal]:
    """p·(loss − η)₊ at the η where η + √(1 + radius)·‖√p∘(loss − η)₊‖ is least: it is convex, and its slope 0."""
    if min(loss) == 0 or (1 + radius) * certain >= 1:
        return []

    def above(eta: Decimal) -> list[Decimal]:
        return [max(own - eta, Decimal(0)) for own in loss]

    def slope(eta: Decimal) -> Decimal:
        return _product(p, [by * by for by in above(eta)]).sqrt() - (1 + radius).sqrt() * _product(p, above(eta))

    low = min(loss) - 1
    while slope(low) > 0:
        low = 2 * low
    return [each * by for each, by in zip(p, above(_root(slope, low, Decimal(0))), strict=True)]


def _product(one: list[Decimal], other: list[Decimal]) -> Decimal:
    return sum((a * b for a, b in zip(one, other, strict=True)), Decimal(0))


def _root(rising: Callable[[Decimal], Decimal], low: Decimal, high: Decimal) -> Decimal:
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return high
