"""How an explanation looks at 80 columns: reasons, what carries the risk, how wrong we may be, or one name's page."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from allocator.display.console import console, format_measurement, format_percent, heading, table
from allocator.display.plan import describe_decision, format_signed_bps, show_attribution
from allocator.plan.attribution import MOTIVES
from allocator.plan.explanation import HYPOTHESIS, Explanation, NameExplanation
from allocator.plan.marginal import MARGINS

_MARGIN_WORDS = dict(
    zip(
        MARGINS,
        (
            "expected return, under the belief",
            "what the adversary makes of it",
            "what returns may be wrong by",
            "what objectives of other packages charge",
            "risk that it adds",
            "rules that it counts for",
            "money, which has its uses elsewhere",
            "trading it: costs, and rules on trading",
        ),
        strict=True,
    )
)
_RULES_SHOWN = 12
_SAME = 1e-6
"""Of the account: weights this near are at the edge."""


def show_explanation(found: Explanation, one: NameExplanation | None) -> None:
    """Print an explanation, or one name's page of it."""
    out, settings = console(), found.plan.book.settings
    out.print(
        f"{settings.book.name} · account {found.plan.book.account} · {settings.book.as_of} · over "
        f"{settings.months:.4g} months",
        style="bold",
    )
    if one is None:
        _all(out, found)
    else:
        _one(out, found, one)
    if found.notes:
        out.print()
    for note in found.notes:
        out.print(f"Note: {note}")


def _all(out: Console, found: Explanation) -> None:
    out.print(describe_decision(found.plan))
    show_attribution(out, found.plan, found.reasons)
    _carried(out, found)
    _regions(out, found)
    _flips(out, found)


def _carried(out: Console, found: Explanation) -> None:
    heading(out, "What the targets consist of, and what the rest lacks")
    numbers = ("weight", "expected", "worst case", "risk", "lacks")
    made = table("instrument", *numbers, right=numbers)
    plan, split, margins = found.plan, found.contributions, found.margins
    names = [*plan.book.instruments, plan.book.cash_instrument]
    weights = np.append(plan.target.values, plan.target.cash) / plan.target.value
    for i, name in enumerate(names):
        lacking = margins.to_more[i] if i < len(names) - 1 else 0.0
        if not margins.held[i] and not np.isfinite(lacking):
            continue
        parts = (weights[i], split.expected[i], split.worst_case[i], split.within[i])
        lacks = "" if margins.held[i] else f"{lacking * 1e4:,.0f} bps"
        made.add_row(name, *(format_percent(float(part)) for part in parts), lacks)
    sums = (weights.sum(), split.expected.sum(), split.worst_case.sum(), split.within.sum())
    made.add_row("together", *(format_percent(float(part)) for part in sums), "", style="bold")
    out.print(made)
    out.print("Expected and worst case: parts of the return before costs; risk: parts of the")
    out.print("volatility within scenarios. Lacks: return that a name would need to be held.")


def _regions(out: Console, found: Explanation) -> None:
    """Where each name may stand without being worth a trade of its own."""
    plan = found.plan
    heading(out, "Where a name is not worth trading, all else at the targets")
    numbers = ("today", "from", "to")
    made = table("instrument", *numbers, "today it is", right=numbers)
    for i, name in enumerate(plan.book.instruments):
        today, low, high = float(plan.book.weights[i]), float(plan.no_trade.low[i]), float(plan.no_trade.high[i])
        if today == 0 == high:
            continue
        made.add_row(
            name, format_percent(today), format_percent(low), format_percent(high), _standing(today, low, high)
        )
    out.print(made)


def _standing(today: float, low: float, high: float) -> str:
    if today < low - _SAME:
        return "too little"
    return "too much" if today > high + _SAME else "right"


def _flips(out: Console, found: Explanation) -> None:
    heading(out, "How wrong may we be")
    ahead, other = ("ahead of", "Holding today") if found.ahead >= 0 else ("behind", "The orders")
    out.print(f"Expected return after costs: the orders are {abs(found.ahead) * 1e4:.1f} bps {ahead} holding today.")
    shift = found.shifts["total_variation"]
    if shift is None:
        out.print(f"No probabilities of these scenarios let {other[0].lower() + other[1:]} return more.")
    else:
        to = found.plan.outlook.scenarios[int(np.argmax(shift.q - found.plan.outlook.probabilities))]
        out.print(f"{other} would return as much if {format_percent(shift.distance)} of probability moved to {to}.")
    flip = found.hypothesis
    if flip is None:
        return
    out.print(
        f"Holding today is as good as the orders (we believe P({HYPOTHESIS}) = {format_percent(flip.probability)}):"
    )
    for words, at in (("by expected return", flip.by_return), ("by what the plan maximises", flip.by_objective)):
        out.print(f"  {words}: at {'no probability' if at is None else f'{format_percent(at)}'}")
    out.print("Rules that today's holdings break are not counted in this.")


def _one(out: Console, found: Explanation, one: NameExplanation) -> None:
    plan, i = found.plan, one.index
    cash = i == len(plan.book.instruments)
    before, after = plan.book.cash / plan.book.value, plan.final.cash / plan.final.value
    if not cash:
        before, after = float(plan.book.weights[i]), float(plan.final.weights[i])
    order = next((order for order in plan.orders if order.instrument == one.instrument), None)
    said = "no order" if order is None else f"{order.side} {order.quantity:,.10g}"
    out.print(
        f"{one.instrument}: {said}; {format_percent(before)} of the account today, {format_percent(after)} after."
    )
    parts = found.reasons.parts[i]
    named = zip(MOTIVES, parts, strict=True)
    motives = ", ".join(f"{name.replace('_', ' ')} {format_signed_bps(part)}" for name, part in named if part != 0)
    if order is not None or cash:
        out.print(f"Why: {motives}; together {format_signed_bps(float(parts.sum()))} bps of the account.")
    if not cash:
        low, high = float(plan.no_trade.low[i]), float(plan.no_trade.high[i])
        between = f"from {format_percent(low)} to {format_percent(high)} of the account"
        out.print(f"Not worth trading {between}, all else at the targets: today it is {_standing(before, low, high)}.")
    _margin(out, found, one)
    _scenarios(out, found, one)
    _rules(out, one)


def _margin(out: Console, found: Explanation, one: NameExplanation) -> None:
    heading(out, f"Why not more: one more percent of the account in {one.instrument} would bring")
    made = table("", "bps of the account", right=("bps of the account",))
    parts = found.margins.parts[one.index]
    for name, part in zip(MARGINS, parts, strict=True):
        if part != 0 or name not in ("return_error", "objectives"):
            made.add_row(_MARGIN_WORDS[name], format_signed_bps(float(part) / 100, 2))
    made.add_row("together", format_signed_bps(float(parts.sum()) / 100, 2), style="bold")
    out.print(made)
    out.print(_verdict(found, one))


def _verdict(found: Explanation, one: NameExplanation) -> str:
    """What the account says, in words."""
    margins, i = found.margins, one.index
    if i == len(found.plan.book.instruments):
        return "It is held: what it brings and what it takes cancel." if margins.held[i] else "None is left."
    more, less = float(margins.to_more[i]), float(margins.to_less[i])
    if not margins.held[i]:
        if not np.isfinite(more):
            return "A rule of its own keeps it out, whatever it returns."
        return f"To be held it would have to return {more * 1e4:.1f} bps more, in every scenario."
    kept = []
    if more > 0:
        lacking = f"it lacks {more * 1e4:.1f} bps of return"
        kept.append(f"for more of it {lacking if np.isfinite(more) else 'a rule of its own stands in the way'}")
    if less > 0:
        spare = f"{less * 1e4:.1f} bps of return less would do"
        kept.append(f"for less of it {spare if np.isfinite(less) else 'a rule of its own stands in the way'}")
    return "What it brings and what it takes cancel" + (f"; {'; '.join(kept)}." if kept else ".")


def _scenarios(out: Console, found: Explanation, one: NameExplanation) -> None:
    outlook, adversary = found.plan.outlook, found.plan.adversary
    heading(out, f"What {one.instrument} returns in each scenario")
    numbers = ("belief", "worst case", "return")
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(outlook.scenarios):
        shares = (outlook.probabilities[k], adversary[k], one.returns[k])
        made.add_row(name, *(format_percent(float(share)) for share in shares))
    expected, worst = (format_percent(float(q @ one.returns)) for q in (outlook.probabilities, adversary))
    made.add_row("expected, and under the adversary", "", worst, expected, style="bold")
    out.print(made)
    if one.drivers is None:
        return
    heading(out, "Where its returns come from (the parts add up)")
    letters = [chr(ord("A") + k) if k < 26 else str(k) for k in range(len(outlook.scenarios))]
    made = table("driver", *letters, right=tuple(letters))
    for driver, parts in one.drivers.items():
        made.add_row(driver, *(format_percent(float(part)) for part in parts))
    out.print(made)


def _rules(out: Console, one: NameExplanation) -> None:
    heading(out, "Rules that look at it")
    if not one.rules:
        out.print("none")
        return
    made = table("rule", "measured", "takes", right=("measured", "takes"))
    dearest = sorted(one.rules, key=lambda rule: -abs(rule.takes))
    for rule in dearest[:_RULES_SHOWN]:
        reading = rule.reading
        made.add_row(reading.label, format_measurement(reading, 2), format_signed_bps(-rule.takes / 100, 2))
    out.print(made)
    if len(dearest) > _RULES_SHOWN:
        out.print(f"and {len(dearest) - _RULES_SHOWN} more: see --json")
    out.print("Takes: bps for one more percent of the account in it, at the rule's price.")
