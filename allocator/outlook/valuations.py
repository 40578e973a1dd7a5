"""Arithmetic that a claim about capital and rivals is held against: valuations, raises, orbit, rivals, the answer.

Formulas as in `formulas.py`: figures in, the lowest and highest value that they allow out.
"""

from __future__ import annotations

from math import exp, log

from allocator.outlook.formulas import Interval, between, formula


@formula("USD bn", "valuation", "multiple_low", "multiple_high")
def implied_sales(value: float, low: float, high: float) -> Interval:
    """Annual sales that a valuation means at a multiple of sales: value / multiple."""
    return between(value / low, value / high)


@formula("times", "valuation", "revenue_target")
def value_over_target(value: float, target: float) -> Interval:
    """Today's valuation as a multiple of the sales aimed at."""
    return between(value / target)


@formula("USD bn", "valuation", "raised")
def pre_money(value: float, raised: float) -> Interval:
    """Valuation before the money raised came in."""
    return between(value - raised)


@formula("a year", "valuation", "multiple_low", "multiple_high", "revenue_target", "years_to_target")
def sales_growth(value: float, low: float, high: float, target: float, years: float) -> Interval:
    """Growth of sales from what the multiple means to the target: (target / sales)^(1/years) − 1."""
    return between(*((target * multiple / value) ** (1 / years) - 1 for multiple in (low, high)))


@formula("USD bn", "valuation", "required_return_low", "required_return_high", "years_to_target")
def required_value(value: float, low: float, high: float, years: float) -> Interval:
    """Valuation in the target year that pays its holders their required return: value·(1 + k)^years."""
    return between(value * (1 + low) ** years, value * (1 + high) ** years)


@formula(
    "times sales", "valuation", "required_return_low", "required_return_high", "years_to_target", "revenue_target",
    "target_reached",
)  # fmt: skip
def required_multiple(value: float, low: float, high: float, years: float, target: float, reached: float) -> Interval:
    """Multiple of sales then needed, if all or only a part of the target is reached."""
    return between(*(value * (1 + k) ** years / (target * part) for k in (low, high) for part in (1.0, reached)))


@formula("years", "raised", "burn")
def years_of_burn(raised: float, burn: float) -> Interval:
    """How long a raise pays for the burn."""
    return between(raised / burn)


@formula("USD bn", "raised")
def sourced_capital(raised: float) -> Interval:
    """Committed capital for which a figure is given."""
    return between(raised)


@formula("of the value", "merger_value", "offer_low", "offer_high")
def step_up(value: float, low: float, high: float) -> Interval:
    """Rise from a merger's value to the value aimed at in a public offer."""
    return between(low / value - 1, high / value - 1)


@formula("of the value", "multiple_low", "multiple_high", "multiple_after")
def value_lost(low: float, high: float, after: float) -> Interval:
    """Loss from a lower multiple alone, at equal sales: 1 − after / before."""
    return between(1 - after / low, 1 - after / high)


@formula("times the cost on the ground", "orbital_advantage", "token_reduction")
def orbital_ratio(advantage: float, y: float) -> Interval:
    """Cost of a task in orbit / on the ground: 1 − advantage if both save Y, times Y if only the ground does."""
    return between(1 - advantage, (1 - advantage) * y)


@formula("of today's cost of a task", "orbital_advantage", "token_reduction")
def orbital_saving(advantage: float, y: float) -> Interval:
    """What orbit saves on a task once both have the technique: advantage / Y."""
    return between(advantage / y)


@formula("of today's gross margin", "gross_margin")
def rival_margin_at_todays_price(margin: float) -> Interval:
    """Gross margin of a rival without the technique while its price and cost stay: (P − c) / m, P = 1, c = 1 − m."""
    price, cost = 1.0, 1 - margin
    return between((price - cost) / margin)


@formula("of the price", "gross_margin")
def price_cut_without_profit(margin: float) -> Interval:
    """Price cut that leaves a rival without the technique no gross profit: P = c = 1 − m."""
    return between(margin)


@formula("of today's share", "owner_share", "share_sensitivity", "replicability", "adoption_years", "token_reduction")
def rival_share(owner: float, sensitivity: float, g: float, years: float, y: float) -> Interval:
    """A rival's market share after a year: 1 / (s·Λ + 1 − s), Λ = Y^(a(1 − g)·sensitivity), a = 1 − e^(−1/adoption)."""
    shift = y ** ((1 - exp(-1 / years)) * (1 - g) * sensitivity)
    return between(1 / (owner * shift + 1 - owner))


@formula("in probability", "labs", "disclosure", "hazard", "months_early", "months_late")
def answered_within(labs: float, disclosure: float, hazard: float, early: float, late: float) -> Interval:
    """P(some lab has disclosed, if it can): 1 − (1 − δ + δe^(−λt))^labs, at two dates."""
    return between(*(1 - (1 - disclosure + disclosure * exp(-hazard * t)) ** labs for t in (early, late)))


@formula("in probability", "prior", "labs", "disclosure", "hazard", "months_silent")
def generalizable_after_silence(prior: float, labs: float, disclosure: float, hazard: float, t: float) -> Interval:
    """P(generalizable | silence), by Bayes: the likelihood of silence is (1 − δ + δe^(−λt))^labs against 1."""
    seen = prior * (1 - disclosure + disclosure * exp(-hazard * t)) ** labs
    return between(seen / (seen + 1 - prior))


@formula("months", "prior", "labs", "disclosure", "hazard", "threshold")
def months_to_settle(prior: float, labs: float, disclosure: float, hazard: float, threshold: float) -> Interval:
    """Silence that settles on proprietary: the t at which P(generalizable | silence) = 1 − threshold."""
    silence = ((1 - threshold) / threshold * (1 - prior) / prior) ** (1 / labs)
    return between(-log((silence - 1 + disclosure) / disclosure) / hazard)


VALUE = (
    implied_sales, value_over_target, pre_money, sales_growth, required_value, required_multiple, years_of_burn,
    sourced_capital, step_up, value_lost, orbital_ratio, orbital_saving, rival_margin_at_todays_price,
    price_cut_without_profit, rival_share, answered_within, generalizable_after_silence, months_to_settle,
)  # fmt: skip
