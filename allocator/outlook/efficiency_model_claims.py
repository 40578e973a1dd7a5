"""Claims held against arithmetic: `figures.csv` and `claims.csv` of a folder in, a verdict on each claim out.

A claim states an interval; a formula gives the interval that the figures allow. The verdict compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

import pandas as pd

from allocator.errors import BadInput, Breach, did_you_mean
from allocator.tables import validate
from allocator.tables.files import read_table

# Arithmetic that a claim is held against: costs, prices, usage and compute; then capital, valuations and rivals.
#
# A formula takes figures and gives the lowest and highest value that they allow. It knows nothing of any claim.
# Symbols: Y tokens and X training compute saved (ratios), θ the log share of the token saving that reaches prices.
#
Interval = tuple[float, float]
"""Lowest and highest."""


@dataclass(frozen=True)
class Formula:
    """A named piece of arithmetic: what it means, its unit, the figures it needs, in order, and what it makes of them.

    `values` gives numbers between which the answer lies.
    """

    name: str
    meaning: str
    unit: str
    figures: tuple[str, ...]
    values: Callable[..., Iterable[float]]

    def __call__(self, *figures: float) -> Interval:
        """The lowest and highest value that the figures allow."""
        values = list(self.values(*figures))
        return min(values), max(values)


def _burn_after(
    burn: float, compute: float, low: float, high: float, least: float, most: float, x: float
) -> list[float]:
    return [burn * (1 - compute * share * (1 - x ** (e - 1))) for share in (low, high) for e in (least, most)]


def _rival_share(owner: float, sensitivity: float, g: float, years: float, y: float) -> list[float]:
    shift = y ** ((1 - exp(-1 / years)) * (1 - g) * sensitivity)
    return [1 / (owner * shift + 1 - owner)]


def _silence(labs: float, disclosure: float, hazard: float, t: float) -> float:
    """P(no lab has disclosed by `t` months, if it can)."""
    return float((1 - disclosure + disclosure * exp(-hazard * t)) ** labs)


def _after_silence(prior: float, labs: float, disclosure: float, hazard: float, t: float) -> list[float]:
    seen = prior * _silence(labs, disclosure, hazard, t)
    return [seen / (seen + 1 - prior)]


def _months_to_settle(prior: float, labs: float, disclosure: float, hazard: float, threshold: float) -> list[float]:
    silence = ((1 - threshold) / threshold * (1 - prior) / prior) ** (1 / labs)
    return [-log((silence - 1 + disclosure) / disclosure) / hazard]


_TOKENS, _SCORES = "tokens_muse tokens_claude tokens_gpt", "index_muse index_claude index_gpt"
_USAGE, _FALL = "usage_growth_low usage_growth_high", "token_drop_low token_drop_high"
_PASSED, _MULTIPLE = "pass_through_low pass_through_high", "multiple_low multiple_high"
_REQUIRED, _LABS = "required_return_low required_return_high", "labs disclosure hazard"

_ROWS: tuple[tuple[str, str, str, str, Callable[..., Iterable[float]]], ...] = (
    ("token_ratio", "times", _TOKENS,
     "Times fewer tokens for the same evaluation: a rival's / our own, over the rivals.",
     lambda own, first, second: (first / own, second / own)),
    ("score_ratio", "of the rival's score", _SCORES,
     "Capability: our own score / a rival's, over the rivals.",
     lambda own, first, second: (own / first, own / second)),
    ("score_gap", "points", _SCORES,
     "Capability: a rival's score − our own, over the rivals.",
     lambda own, first, second: (first - own, second - own)),
    ("training_cost_after", "USD m", "training_cost_low training_cost_high training_reduction",
     "Cost of training one model after the saving: cost / X.",
     lambda low, high, x: (low / x, high / x)),
    ("burn_after", "USD bn a year", "burn compute_share_of_burn training_share_low training_share_high "
     "training_elasticity_low training_elasticity_high training_reduction",
     "Cash burn after the saving: burn·(1 − compute share·training share·(1 − X^(ε_T − 1))), ε_T of it re-invested.",
     _burn_after),
    ("volume_to_hold_revenue", "times", f"{_FALL} {_PASSED}",
     "Volume that keeps revenue when tokens fall Y times: Y^θ.",
     lambda y_low, y_high, low, high: (y**theta for y in (y_low, y_high) for theta in (low, high))),
    ("volume_at_price_cut", "times", "price_cut",
     "Volume that keeps revenue when the price falls by a share: 1 / (1 − cut).",
     lambda cut: (1 / (1 - cut),)),
    ("revenue_multiplier", "times", f"{_USAGE} {_FALL}",
     "Revenue as a multiple of today's: usage growth / price fall.",
     lambda usage_low, usage_high, fall_low, fall_high: (usage_low / fall_high, usage_high / fall_low)),
    ("price_cut_that_stagnates", "of the price", _USAGE,
     "Price cut at which grown usage brings no revenue: 1 − 1 / usage growth.",
     lambda low, high: (1 - 1 / low, 1 - 1 / high)),
    ("usage_elasticity", "in elasticity", f"{_USAGE} {_FALL}",
     "Elasticity ε of usage to price: ln(usage growth) / ln(price fall); revenue grows where it is above 1.",
     lambda low, high, fall_low, fall_high: (log(low) / log(fall_high), log(high) / log(fall_low))),
    ("elasticity_for_revenue", "in elasticity", f"{_USAGE} token_reduction",
     "Elasticity at which revenue itself grows that much at full pass-through: 1 + ln(growth) / ln Y.",
     lambda low, high, y: (1 + log(low) / log(y), 1 + log(high) / log(y))),
    ("token_demand", "times", f"{_USAGE} token_reduction",
     "Demand for tokens, and so for inference compute, when tasks grow and each takes Y times less: growth / Y.",
     lambda low, high, y: (low / y, high / y)),
    ("bill_saving", "of the bill", f"token_reduction {_PASSED}",
     "Saving of a customer whose usage stays: 1 − Y^−θ.",
     lambda y, low, high: (1 - y**-low, 1 - y**-high)),
    ("pass_through_of_saving", "of the log saving", "saving_low saving_high token_reduction",
     "Share θ of the log token saving that a saving on the bill means: −ln(1 − saving) / ln Y.",
     lambda low, high, y: (-log(1 - low) / log(y), -log(1 - high) / log(y))),
    ("implied_sales", "USD bn", f"valuation {_MULTIPLE}",
     "Annual sales that a valuation means at a multiple of sales: value / multiple.",
     lambda value, low, high: (value / low, value / high)),
    ("value_over_target", "times", "valuation revenue_target",
     "Today's valuation as a multiple of the sales aimed at.",
     lambda value, target: (value / target,)),
    ("pre_money", "USD bn", "valuation raised",
     "Valuation before the funding came in.",
     lambda value, raised: (value - raised,)),
    ("sales_growth", "a year", f"valuation {_MULTIPLE} revenue_target years_to_target",
     "Growth of sales from what the multiple means to the target: (target / sales)^(1/years) − 1.",
     lambda value, low, high, target, years: ((target * m / value) ** (1 / years) - 1 for m in (low, high))),
    ("required_value", "USD bn", f"valuation {_REQUIRED} years_to_target",
     "Valuation in the target year that pays its holders their required return: value·(1 + k)^years.",
     lambda value, low, high, years: (value * (1 + low) ** years, value * (1 + high) ** years)),
    ("required_multiple", "times sales", f"valuation {_REQUIRED} years_to_target revenue_target target_reached",
     "Multiple of sales then needed, if all or only a part of the target is reached.",
     lambda value, low, high, years, target, reached: (
         value * (1 + k) ** years / (target * part) for k in (low, high) for part in (1.0, reached))),
    ("years_of_burn", "years", "raised burn",
     "How long a raise pays for the burn.",
     lambda raised, burn: (raised / burn,)),
    ("sourced_capital", "USD bn", "raised",
     "Committed capital for which a figure is given.",
     lambda raised: (raised,)),
    ("step_up", "of the value", "merger_value offer_low offer_high",
     "Rise from a merger's value to the value aimed at in a public offer.",
     lambda value, low, high: (low / value - 1, high / value - 1)),
    ("value_lost", "of the value", f"{_MULTIPLE} multiple_after",
     "Loss from a lower multiple alone, at equal sales: 1 − after / before.",
     lambda low, high, after: (1 - after / low, 1 - after / high)),
    ("orbital_ratio", "times the cost on the ground", "orbital_advantage token_reduction",
     "Cost of a task in orbit / on the ground: 1 − advantage if both save Y, times Y if only the ground does.",
     lambda advantage, y: (1 - advantage, (1 - advantage) * y)),
    ("orbital_saving", "of today's cost of a task", "orbital_advantage token_reduction",
     "What orbit saves on a task once both have the technique: advantage / Y.",
     lambda advantage, y: (advantage / y,)),
    ("rival_margin_at_todays_price", "of today's gross margin", "gross_margin",
     "Gross margin of a rival without the technique while its price and cost stay: (P − c) / m, P = 1, c = 1 − m.",
     lambda margin: ((1.0 - (1 - margin)) / margin,)),
    ("price_cut_without_profit", "of the price", "gross_margin",
     "Price cut that leaves a rival without the technique no gross profit: P = c = 1 − m.",
     lambda margin: (margin,)),
    ("rival_share", "of today's share", "owner_share share_sensitivity replicability adoption_years token_reduction",
     "A rival's market share after a year: 1 / (s·Λ + 1 − s), Λ = Y^(a(1 − g)·sensitivity), a = 1 − e^(−1/adoption).",
     _rival_share),
    ("answered_within", "in probability", f"{_LABS} months_early months_late",
     "P(some lab has disclosed, if it can): 1 − (1 − δ + δe^(−λt))^labs, at two dates.",
     lambda labs, disclosure, hazard, early, late: (
         1 - _silence(labs, disclosure, hazard, t) for t in (early, late))),
    ("generalizable_after_silence", "in probability", f"prior {_LABS} months_silent",
     "P(generalizable | silence), by Bayes: the likelihood of silence is (1 − δ + δe^(−λt))^labs against 1.",
     _after_silence),
    ("months_to_settle", "months", f"prior {_LABS} threshold",
     "Silence that settles on proprietary: the t at which P(generalizable | silence) = 1 − threshold.",
     _months_to_settle),
)  # fmt: skip
"""Name, unit, figures, meaning, values."""
FORMULAS: Mapping[str, Formula] = {
    name: Formula(name, meaning, unit, tuple(figures.split()), values) for name, unit, figures, meaning, values in _ROWS
}
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
        raise BadInput.of(str(folder), "there is no such folder", "check the path")
    figures, breaches = _table(place, "figures")
    claims, of_claims = _table(place, "claims")
    breaches += of_claims
    known = None if figures is None else dict(zip(figures["name"], figures["value"], strict=True))
    checked = []
    for line, row in claims.iterrows() if claims is not None else ():
        try:
            checked.append(_checked(int(str(line)), row.to_dict(), known))
        except BadInput as error:
            breaches += error.breaches
    if breaches:
        raise BadInput(breaches)
    return tuple(filter(None, checked))


def _table(place: Path, name: str) -> tuple[pd.DataFrame | None, list[Breach]]:
    """A table indexed by its line numbers; None if it broke its contract."""
    try:
        raw = read_table(place / f"{name}.csv")
    except BadInput as error:
        return None, list(error.breaches)
    typed, breaches = validate(name, raw)
    return (None if breaches else typed.set_axis(list(raw.rows))), breaches


def _checked(line: int, row: Mapping[Any, Any], figures: Mapping[str, float] | None) -> CheckedClaim | None:
    """One row's claim; None where there are no figures to check it with.

    Raises:
        BadInput: it cannot be checked; says all that is wrong with the row.
    """
    low, high = (None if pd.isna(cell := row.get(side)) else float(cell) for side in ("low", "high"))
    formula, breaches = FORMULAS.get(row["check"]), []
    if low is not None and high is not None and low > high:
        breaches.append(Breach("claims.csv", line, "low", f"{low:g}", f"is above high = {high:g}", "swap them"))
    if formula is None:
        cure = did_you_mean(row["check"], FORMULAS)
        breaches.append(Breach("claims.csv", line, "check", row["check"], "no such check", cure))
    elif figures is not None:
        for name in (name for name in formula.figures if name not in figures):
            rule = f"needs the figure '{name}', which is not in figures.csv"
            breaches.append(Breach("claims.csv", line, "check", formula.name, rule, did_you_mean(name, figures)))
    if breaches:
        raise BadInput(breaches)
    if formula is None or figures is None:
        return None
    allowed = _allowed(line, formula, {name: figures[name] for name in formula.figures})
    condition, remark = (cell if isinstance(cell := row.get(name), str) else "" for name in ("condition", "remark"))
    return CheckedClaim(row["claim"], formula, low, high, allowed, condition, remark)


def _allowed(line: int, formula: Formula, figures: Mapping[str, float]) -> Interval:
    """What the figures give.

    Raises:
        BadInput: they give nothing: a division by zero, the root of a loss.
    """
    with suppress(ArithmeticError, TypeError, ValueError):
        low, high = map(float, formula(*figures.values()))
        if isfinite(low) and isfinite(high):
            return low, high
    rule = f"cannot be computed from {', '.join(f'{name} = {value:g}' for name, value in figures.items())}"
    place = {"row": line, "column": "check", "value": formula.name}
    raise BadInput.of("claims.csv", rule, "correct the figures in figures.csv", **place)
