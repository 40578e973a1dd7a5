"""Arithmetic that a claim about thought compression is held against: costs, prices, usage and compute demand.

A formula takes figures and gives the lowest and highest value that they allow. It knows nothing of any claim.
Symbols: Y tokens and X training compute saved (ratios), θ the log share of the token saving that reaches prices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

Interval = tuple[float, float]
"""Lowest and highest."""


@dataclass(frozen=True)
class Formula:
    """A named piece of arithmetic: the figures that it needs, in order, and the unit that it answers in."""

    name: str
    meaning: str
    unit: str
    figures: tuple[str, ...]
    compute: Callable[..., Interval]

    def __call__(self, *values: float) -> Interval:
        """The lowest and highest value that the figures allow."""
        return self.compute(*values)


def formula(unit: str, *figures: str) -> Callable[[Callable[..., Interval]], Formula]:
    """Make a function of figures a `Formula` of its own name; its docstring is its meaning."""

    def made(compute: Callable[..., Interval]) -> Formula:
        return Formula(compute.__name__, (compute.__doc__ or "").strip(), unit, figures, compute)

    return made


def between(*values: float) -> Interval:
    """The interval that holds all values."""
    return min(values), max(values)


@formula("times", "tokens_muse", "tokens_claude", "tokens_gpt")
def token_ratio(own: float, first: float, second: float) -> Interval:
    """Times fewer tokens for the same evaluation: a rival's / our own, over the rivals."""
    return between(first / own, second / own)


@formula("of the rival's score", "index_muse", "index_claude", "index_gpt")
def score_ratio(own: float, first: float, second: float) -> Interval:
    """Capability: our own score / a rival's, over the rivals."""
    return between(own / first, own / second)


@formula("points", "index_muse", "index_claude", "index_gpt")
def score_gap(own: float, first: float, second: float) -> Interval:
    """Capability: a rival's score − our own, over the rivals."""
    return between(first - own, second - own)


@formula("USD m", "training_cost_low", "training_cost_high", "training_reduction")
def training_cost_after(low: float, high: float, x: float) -> Interval:
    """Cost of training one model after the saving: cost / X."""
    return between(low / x, high / x)


@formula(
    "USD bn a year", "burn", "compute_share_of_burn", "training_share_low", "training_share_high",
    "training_elasticity_low", "training_elasticity_high", "training_reduction",
)  # fmt: skip
def burn_after(burn: float, compute: float, low: float, high: float, least: float, most: float, x: float) -> Interval:
    """Cash burn after the saving: burn·(1 − compute share·training share·(1 − X^(ε_T − 1))), ε_T of it re-invested."""
    return between(*(burn * (1 - compute * share * (1 - x ** (e - 1))) for share in (low, high) for e in (least, most)))


@formula("times", "token_drop_low", "token_drop_high", "pass_through_low", "pass_through_high")
def volume_to_hold_revenue(y_low: float, y_high: float, low: float, high: float) -> Interval:
    """Volume that keeps revenue when tokens fall Y times: Y^θ."""
    return between(*(y**theta for y in (y_low, y_high) for theta in (low, high)))


@formula("times", "price_cut")
def volume_at_price_cut(cut: float) -> Interval:
    """Volume that keeps revenue when the price falls by a share: 1 / (1 − cut)."""
    return between(1 / (1 - cut))


@formula("times", "usage_growth_low", "usage_growth_high", "token_drop_low", "token_drop_high")
def revenue_multiplier(usage_low: float, usage_high: float, fall_low: float, fall_high: float) -> Interval:
    """Revenue as a multiple of today's: usage growth / price fall."""
    return between(usage_low / fall_high, usage_high / fall_low)


@formula("of the price", "usage_growth_low", "usage_growth_high")
def price_cut_that_stagnates(usage_low: float, usage_high: float) -> Interval:
    """Price cut at which grown usage brings no revenue: 1 − 1 / usage growth."""
    return between(1 - 1 / usage_low, 1 - 1 / usage_high)


@formula("in elasticity", "usage_growth_low", "usage_growth_high", "token_drop_low", "token_drop_high")
def usage_elasticity(usage_low: float, usage_high: float, fall_low: float, fall_high: float) -> Interval:
    """Elasticity ε of usage to price: ln(usage growth) / ln(price fall); revenue grows where it is above 1."""
    return between(log(usage_low) / log(fall_high), log(usage_high) / log(fall_low))


@formula("in elasticity", "usage_growth_low", "usage_growth_high", "token_reduction")
def elasticity_for_revenue(low: float, high: float, y: float) -> Interval:
    """Elasticity at which revenue itself grows that much at full pass-through: 1 + ln(growth) / ln Y."""
    return between(1 + log(low) / log(y), 1 + log(high) / log(y))


@formula("times", "usage_growth_low", "usage_growth_high", "token_reduction")
def token_demand(low: float, high: float, y: float) -> Interval:
    """Demand for tokens, and so for inference compute, when tasks grow and each takes Y times less: growth / Y."""
    return between(low / y, high / y)


@formula("of the bill", "token_reduction", "pass_through_low", "pass_through_high")
def bill_saving(y: float, low: float, high: float) -> Interval:
    """Saving of a customer whose usage stays: 1 − Y^−θ."""
    return between(1 - y**-low, 1 - y**-high)


@formula("of the log saving", "saving_low", "saving_high", "token_reduction")
def pass_through_of_saving(low: float, high: float, y: float) -> Interval:
    """Share θ of the log token saving that a saving on the bill means: −ln(1 − saving) / ln Y."""
    return between(-log(1 - low) / log(y), -log(1 - high) / log(y))


EFFICIENCY = (
    token_ratio, score_ratio, score_gap, training_cost_after, burn_after, volume_to_hold_revenue, volume_at_price_cut,
    revenue_multiplier, price_cut_that_stagnates, usage_elasticity, elasticity_for_revenue, token_demand, bill_saving,
    pass_through_of_saving,
)  # fmt: skip
