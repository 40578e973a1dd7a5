"""Claims held against arithmetic: `figures.csv` and `claims.csv` of a folder in, a verdict on each claim out.

A claim states an interval; a formula gives the interval that the figures allow. The verdict compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

import pandas as pd

from allocator.errors import BadInput, Breach, did_you_mean
from allocator.tables import validate
from allocator.tables.files import read_table

# Arithmetic that a claim about thought compression is held against: costs, prices, usage and compute demand.
#
# A formula takes figures and gives the lowest and highest value that they allow. It knows nothing of any claim.
# Symbols: Y tokens and X training compute saved (ratios), θ the log share of the token saving that reaches prices.
#
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


def within_range(*values: float) -> Interval:
    """The interval that holds all values."""
    return min(values), max(values)


@formula("times", "tokens_muse", "tokens_claude", "tokens_gpt")
def token_ratio(own: float, first: float, second: float) -> Interval:
    """Times fewer tokens for the same evaluation: a rival's / our own, over the rivals."""
    return within_range(first / own, second / own)


@formula("of the rival's score", "index_muse", "index_claude", "index_gpt")
def score_ratio(own: float, first: float, second: float) -> Interval:
    """Capability: our own score / a rival's, over the rivals."""
    return within_range(own / first, own / second)


@formula("points", "index_muse", "index_claude", "index_gpt")
def score_gap(own: float, first: float, second: float) -> Interval:
    """Capability: a rival's score − our own, over the rivals."""
    return within_range(first - own, second - own)


@formula("USD m", "training_cost_low", "training_cost_high", "training_reduction")
def training_cost_after(low: float, high: float, x: float) -> Interval:
    """Cost of training one model after the saving: cost / X."""
    return within_range(low / x, high / x)


@formula(
    "USD bn a year", "burn", "compute_share_of_burn", "training_share_low", "training_share_high",
    "training_elasticity_low", "training_elasticity_high", "training_reduction",
)  # fmt: skip
def burn_after(burn: float, compute: float, low: float, high: float, least: float, most: float, x: float) -> Interval:
    """Cash burn after the saving: burn·(1 − compute share·training share·(1 − X^(ε_T − 1))), ε_T of it re-invested."""
    return within_range(
        *(burn * (1 - compute * share * (1 - x ** (e - 1))) for share in (low, high) for e in (least, most))
    )


@formula("times", "token_drop_low", "token_drop_high", "pass_through_low", "pass_through_high")
def volume_to_hold_revenue(y_low: float, y_high: float, low: float, high: float) -> Interval:
    """Volume that keeps revenue when tokens fall Y times: Y^θ."""
    return within_range(*(y**theta for y in (y_low, y_high) for theta in (low, high)))


@formula("times", "price_cut")
def volume_at_price_cut(cut: float) -> Interval:
    """Volume that keeps revenue when the price falls by a share: 1 / (1 − cut)."""
    return within_range(1 / (1 - cut))


@formula("times", "usage_growth_low", "usage_growth_high", "token_drop_low", "token_drop_high")
def revenue_multiplier(usage_low: float, usage_high: float, fall_low: float, fall_high: float) -> Interval:
    """Revenue as a multiple of today's: usage growth / price fall."""
    return within_range(usage_low / fall_high, usage_high / fall_low)


@formula("of the price", "usage_growth_low", "usage_growth_high")
def price_cut_that_stagnates(usage_low: float, usage_high: float) -> Interval:
    """Price cut at which grown usage brings no revenue: 1 − 1 / usage growth."""
    return within_range(1 - 1 / usage_low, 1 - 1 / usage_high)


@formula("in elasticity", "usage_growth_low", "usage_growth_high", "token_drop_low", "token_drop_high")
def usage_elasticity(usage_low: float, usage_high: float, fall_low: float, fall_high: float) -> Interval:
    """Elasticity ε of usage to price: ln(usage growth) / ln(price fall); revenue grows where it is above 1."""
    return within_range(log(usage_low) / log(fall_high), log(usage_high) / log(fall_low))


@formula("in elasticity", "usage_growth_low", "usage_growth_high", "token_reduction")
def elasticity_for_revenue(low: float, high: float, y: float) -> Interval:
    """Elasticity at which revenue itself grows that much at full pass-through: 1 + ln(growth) / ln Y."""
    return within_range(1 + log(low) / log(y), 1 + log(high) / log(y))


@formula("times", "usage_growth_low", "usage_growth_high", "token_reduction")
def token_demand(low: float, high: float, y: float) -> Interval:
    """Demand for tokens, and so for inference compute, when tasks grow and each takes Y times less: growth / Y."""
    return within_range(low / y, high / y)


@formula("of the bill", "token_reduction", "pass_through_low", "pass_through_high")
def bill_saving(y: float, low: float, high: float) -> Interval:
    """Saving of a customer whose usage stays: 1 − Y^−θ."""
    return within_range(1 - y**-low, 1 - y**-high)


@formula("of the log saving", "saving_low", "saving_high", "token_reduction")
def pass_through_of_saving(low: float, high: float, y: float) -> Interval:
    """Share θ of the log token saving that a saving on the bill means: −ln(1 − saving) / ln Y."""
    return within_range(-log(1 - low) / log(y), -log(1 - high) / log(y))


EFFICIENCY = (
    token_ratio, score_ratio, score_gap, training_cost_after, burn_after, volume_to_hold_revenue, volume_at_price_cut,
    revenue_multiplier, price_cut_that_stagnates, usage_elasticity, elasticity_for_revenue, token_demand, bill_saving,
    pass_through_of_saving,
)  # fmt: skip


# Arithmetic that a claim about capital and rivals is held against: valuations, raises, orbit, rivals, the answer.
#
# Formulas as above: figures in, the lowest and highest value that they allow out.
#


@formula("USD bn", "valuation", "multiple_low", "multiple_high")
def implied_sales(value: float, low: float, high: float) -> Interval:
    """Annual sales that a valuation means at a multiple of sales: value / multiple."""
    return within_range(value / low, value / high)


@formula("times", "valuation", "revenue_target")
def value_over_target(value: float, target: float) -> Interval:
    """Today's valuation as a multiple of the sales aimed at."""
    return within_range(value / target)


@formula("USD bn", "valuation", "raised")
def pre_money(value: float, raised: float) -> Interval:
    """Valuation before the money raised came in."""
    return within_range(value - raised)


@formula("a year", "valuation", "multiple_low", "multiple_high", "revenue_target", "years_to_target")
def sales_growth(value: float, low: float, high: float, target: float, years: float) -> Interval:
    """Growth of sales from what the multiple means to the target: (target / sales)^(1/years) − 1."""
    return within_range(*((target * multiple / value) ** (1 / years) - 1 for multiple in (low, high)))


@formula("USD bn", "valuation", "required_return_low", "required_return_high", "years_to_target")
def required_value(value: float, low: float, high: float, years: float) -> Interval:
    """Valuation in the target year that pays its holders their required return: value·(1 + k)^years."""
    return within_range(value * (1 + low) ** years, value * (1 + high) ** years)


@formula(
    "times sales", "valuation", "required_return_low", "required_return_high", "years_to_target", "revenue_target",
    "target_reached",
)  # fmt: skip
def required_multiple(value: float, low: float, high: float, years: float, target: float, reached: float) -> Interval:
    """Multiple of sales then needed, if all or only a part of the target is reached."""
    return within_range(*(value * (1 + k) ** years / (target * part) for k in (low, high) for part in (1.0, reached)))


@formula("years", "raised", "burn")
def years_of_burn(raised: float, burn: float) -> Interval:
    """How long a raise pays for the burn."""
    return within_range(raised / burn)


@formula("USD bn", "raised")
def sourced_capital(raised: float) -> Interval:
    """Committed capital for which a figure is given."""
    return within_range(raised)


@formula("of the value", "merger_value", "offer_low", "offer_high")
def step_up(value: float, low: float, high: float) -> Interval:
    """Rise from a merger's value to the value aimed at in a public offer."""
    return within_range(low / value - 1, high / value - 1)


@formula("of the value", "multiple_low", "multiple_high", "multiple_after")
def value_lost(low: float, high: float, after: float) -> Interval:
    """Loss from a lower multiple alone, at equal sales: 1 − after / before."""
    return within_range(1 - after / low, 1 - after / high)


@formula("times the cost on the ground", "orbital_advantage", "token_reduction")
def orbital_ratio(advantage: float, y: float) -> Interval:
    """Cost of a task in orbit / on the ground: 1 − advantage if both save Y, times Y if only the ground does."""
    return within_range(1 - advantage, (1 - advantage) * y)


@formula("of today's cost of a task", "orbital_advantage", "token_reduction")
def orbital_saving(advantage: float, y: float) -> Interval:
    """What orbit saves on a task once both have the technique: advantage / Y."""
    return within_range(advantage / y)


@formula("of today's gross margin", "gross_margin")
def rival_margin_at_todays_price(margin: float) -> Interval:
    """Gross margin of a rival without the technique while its price and cost stay: (P − c) / m, P = 1, c = 1 − m."""
    price, cost = 1.0, 1 - margin
    return within_range((price - cost) / margin)


@formula("of the price", "gross_margin")
def price_cut_without_profit(margin: float) -> Interval:
    """Price cut that leaves a rival without the technique no gross profit: P = c = 1 − m."""
    return within_range(margin)


@formula("of today's share", "owner_share", "share_sensitivity", "replicability", "adoption_years", "token_reduction")
def rival_share(owner: float, sensitivity: float, g: float, years: float, y: float) -> Interval:
    """A rival's market share after a year: 1 / (s·Λ + 1 − s), Λ = Y^(a(1 − g)·sensitivity), a = 1 − e^(−1/adoption)."""
    shift = y ** ((1 - exp(-1 / years)) * (1 - g) * sensitivity)
    return within_range(1 / (owner * shift + 1 - owner))


@formula("in probability", "labs", "disclosure", "hazard", "months_early", "months_late")
def answered_within(labs: float, disclosure: float, hazard: float, early: float, late: float) -> Interval:
    """P(some lab has disclosed, if it can): 1 − (1 − δ + δe^(−λt))^labs, at two dates."""
    return within_range(*(1 - (1 - disclosure + disclosure * exp(-hazard * t)) ** labs for t in (early, late)))


@formula("in probability", "prior", "labs", "disclosure", "hazard", "months_silent")
def generalizable_after_silence(prior: float, labs: float, disclosure: float, hazard: float, t: float) -> Interval:
    """P(generalizable | silence), by Bayes: the likelihood of silence is (1 − δ + δe^(−λt))^labs against 1."""
    seen = prior * (1 - disclosure + disclosure * exp(-hazard * t)) ** labs
    return within_range(seen / (seen + 1 - prior))


@formula("months", "prior", "labs", "disclosure", "hazard", "threshold")
def months_to_settle(prior: float, labs: float, disclosure: float, hazard: float, threshold: float) -> Interval:
    """Silence that settles on proprietary: the t at which P(generalizable | silence) = 1 − threshold."""
    silence = ((1 - threshold) / threshold * (1 - prior) / prior) ** (1 / labs)
    return within_range(-log((silence - 1 + disclosure) / disclosure) / hazard)


VALUE = (
    implied_sales, value_over_target, pre_money, sales_growth, required_value, required_multiple, years_of_burn,
    sourced_capital, step_up, value_lost, orbital_ratio, orbital_saving, rival_margin_at_todays_price,
    price_cut_without_profit, rival_share, answered_within, generalizable_after_silence, months_to_settle,
)  # fmt: skip
FORMULAS: Mapping[str, Formula] = {formula.name: formula for formula in (*EFFICIENCY, *VALUE)}
"""What a row of claims.csv may be checked with, by name."""
HOLDS, IN_PART, FAILS, IMPLIES = "holds", "holds only if", "does not hold", "implies"


@dataclass(frozen=True)
class CheckedClaim:
    """A claim in its author's words, what it states (None: unbounded on that side), and what the figures give.

    `condition` is what would make it hold, as a clause; both intervals are in the formula's unit.
    """

    claim: str
    formula: Formula
    low: float | None
    high: float | None
    found: Interval
    condition: str
    remark: str

    @property
    def verdict(self) -> str:
        """`holds` if all that the figures allow is as stated, `does not hold` if none is, else `holds only if`.

        `implies` where nothing is stated: the figure then is what the claim amounts to.
        """
        if self.low is None and self.high is None:
            return IMPLIES
        (least, most), room = self.found, 1e-9 * max(1.0, *map(abs, self.found))
        low = least - 1 if self.low is None else self.low - room
        high = most + 1 if self.high is None else self.high + room
        if low <= least and most <= high:
            return HOLDS
        return FAILS if most < low or least > high else IN_PART

    @property
    def sentence(self) -> str:
        """The verdict with its reason."""
        verdict = self.verdict
        if verdict == IN_PART:
            verdict = f"holds only if {self.condition}" if self.condition else "holds in a part of the range only"
        elif verdict == FAILS and self.condition:
            verdict = f"does not hold unless {self.condition}"
        return "; ".join(filter(None, (verdict, self.remark)))


def check_claims(folder: str | Path) -> tuple[CheckedClaim, ...]:
    """Check every row of a folder's `claims.csv` with its `figures.csv`.

    Raises:
        BadInput: a table is missing or not of its contract, a check or a figure is unknown; every error at once.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BadInput([Breach(str(folder), None, None, None, "there is no such folder", "check the path")])
    figures, breaches = _table(place, "figures")
    claims, found = _table(place, "claims")
    breaches += found
    known = {} if figures is None else dict(zip(figures["name"], figures["value"], strict=True))
    checked = []
    if claims is not None:
        for line, row in claims.iterrows():
            claim, faults = _checked(int(str(line)), row.to_dict(), known if figures is not None else None)
            breaches += faults
            checked += [claim] if claim is not None else []
    if breaches:
        raise BadInput(breaches)
    return tuple(checked)


def _table(place: Path, name: str) -> tuple[pd.DataFrame | None, list[Breach]]:
    """A table indexed by its line numbers; None if it broke its contract."""
    try:
        raw = read_table(place / f"{name}.csv")
    except BadInput as error:
        return None, list(error.breaches)
    typed, breaches = validate(name, raw.name, raw.frame, raw.rows)
    return (None if breaches else typed.set_axis(list(raw.rows))), breaches


def _checked(
    line: int, row: Mapping[Any, Any], figures: Mapping[str, float] | None
) -> tuple[CheckedClaim | None, list[Breach]]:
    """One row's claim; None if it could not be checked. Without `figures` only the row itself is judged."""
    low, high = (None if pd.isna(cell := row.get(side)) else float(cell) for side in ("low", "high"))
    breaches = []
    if low is not None and high is not None and low > high:
        breaches.append(Breach("claims.csv", line, "low", f"{low:g}", f"is above high = {high:g}", "swap them"))
    formula = FORMULAS.get(row["check"])
    if formula is None:
        cure = did_you_mean(row["check"], FORMULAS)
        breaches.append(Breach("claims.csv", line, "check", row["check"], "no such check", cure))
    if formula is None or figures is None:
        return None, breaches
    for name in formula.figures:
        if name not in figures:
            rule = f"needs the figure '{name}', which is not in figures.csv"
            breaches.append(Breach("claims.csv", line, "check", formula.name, rule, did_you_mean(name, figures)))
    if breaches:
        return None, breaches
    found = _found(line, formula, [figures[name] for name in formula.figures])
    if isinstance(found, Breach):
        return None, [found]
    condition, remark = (cell if isinstance(cell := row.get(name), str) else "" for name in ("condition", "remark"))
    return CheckedClaim(row["claim"], formula, low, high, found, condition, remark), []


def _found(line: int, formula: Formula, values: list[float]) -> Interval | Breach:
    """What the figures give, or why they give nothing: a division by zero, the root of a loss."""
    try:
        low, high = map(float, formula(*values))
        if isfinite(low) and isfinite(high):
            return low, high
    except (ArithmeticError, TypeError, ValueError):
        pass
    given = ", ".join(f"{name} = {value:g}" for name, value in zip(formula.figures, values, strict=True))
    rule = f"cannot be computed from {given}"
    return Breach("claims.csv", line, "check", formula.name, rule, "correct the figures in figures.csv")
