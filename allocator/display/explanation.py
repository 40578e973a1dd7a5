"""How an explanation looks at 80 columns: reasons, what carries the risk, how wrong we may be, or one name's page."""

from __future__ import annotations

import numpy as np
from rich.console import Console, RenderableType
from rich.text import Text

from allocator.display.console import (
    add_cells,
    console,
    count_lines,
    describe_columns,
    describe_parts,
    fit_table,
    format_measurement,
    format_percent,
    format_signed_bps,
    heading,
    scenario_letters,
    table,
    text_console,
    title_of,
)
from allocator.display.outlook import describe_views
from allocator.display.plan import LINES, WIDTH, describe_decision, describe_plan_axes
from allocator.display.plan_details import attribution_table, attribution_title, describe_risk, show_tails
from allocator.plan.attribution import MOTIVES
from allocator.plan.caution import GRID, CautionCurve, CautionRow, CautionStudy
from allocator.plan.explanation import Explanation, NameExplanation
from allocator.plan.marginal import MARGINS
from allocator.plan.plan import Plan
from allocator.presentation import plain_decimal

_MARGIN_WORDS = dict(
    zip(
        MARGINS,
        (
            "expected return, under the belief",
            "what adverse probabilities make of it",
            "what returns may be wrong by",
            "what objectives of other packages charge",
            "risk that it adds",
            "rules that it counts for",
            "funding, which has its uses elsewhere",
            "trading it: costs, and rules on trading",
        ),
        strict=True,
    )
)
_ORDERS, _FEWEST = 10, 4
"""Rows of the tables where there is room, and where there is little."""
_SAME = 1e-6
"""Of the account: weights this near are at the edge."""
_PRICES = "Adverse probabilities and shadow prices are one proof; there may be several."


def show_explanation(found: Explanation, one: NameExplanation | None, *, full: bool = False) -> None:
    """Print an explanation, or one name's page of it; `full` shows all of it, else at most LINES lines."""
    out = console()
    for part in _all(out, found, full=full) if one is None else _one(out, found, one, full=full):
        out.print(part)
    if one is None and full:
        show_tails(out, found.plan)
        _regions(out, found)


def _all(out: Console, found: Explanation, *, full: bool) -> list[RenderableType]:
    plan = found.plan
    above = [_title(found), *map(Text, [*describe_decision(plan), describe_risk(plan.risk, whole=True)]), Text()]
    below = [Text(), *map(Text, [*_break_even(found), *describe_plan_axes(plan), *_views(plan)]), Text(_PRICES)]

    def parts(orders: int | None, names: int | None, out: Console = out) -> list[RenderableType]:
        why: list[RenderableType] = []
        if plan.weighed_orders:
            made = attribution_table(out, plan, found.reasons, orders)
            why = [Text(attribution_title(plan), style="bold"), made, Text()]
        return [*above, *why, *_contributions(out, found, names), *below]

    if full:
        return parts(None, None)
    orders, names, page = _ORDERS, _FEWEST, text_console(max(out.width, WIDTH))
    while orders > _FEWEST and count_lines(page, parts(orders, names, page)) > LINES:
        orders -= 1
    while names <= len(plan.book.instruments) and count_lines(page, parts(orders, names + 1, page)) <= LINES:
        names += 1
    return parts(orders, names)


def _views(plan: Plan) -> list[str]:
    return [] if plan.outlook.views is None else [describe_views(plan.outlook.views)]


def _title(found: Explanation) -> Text:
    settings = found.plan.book.settings
    return Text(f"{title_of(found.plan.book)} · over {settings.months:z.4g} months", style="bold")


def _contributions(out: Console, found: Explanation, count: int | None) -> list[RenderableType]:
    """What the targets consist of, the largest first, and by how much names that are not held miss it."""
    plan, split, margins = found.plan, found.contributions, found.margins
    numbers = ("weight", "expected", "adverse", "risk", "break-even")
    made = table("instrument", *numbers, right=numbers, compact=True)
    names = [*plan.book.instruments, plan.book.cash_instrument]
    weights = plan.target.all_weights
    lacking = np.append(margins.to_more, 0.0)
    parts = np.column_stack([weights, split.expected, split.worst_case, split.within])
    told = [i for i in range(len(names)) if margins.held[i] or np.isfinite(lacking[i])]
    largest = sorted(told, key=lambda i: (-weights[i], lacking[i]))[:count]
    for i in sorted(largest):
        add_cells(made, (names[i], *parts[i], "" if margins.held[i] else f"{lacking[i] * 1e4:z,.0f} bps"))
    if rest := [i for i in told if i not in largest]:
        add_cells(made, (f"and {len(rest)} more", *parts[rest].sum(axis=0), ""), "dim")
    add_cells(made, ("together", *parts.sum(axis=0), ""), "bold")
    made = fit_table(out, made, "risk")
    legend = describe_columns(
        made,
        {
            "expected": "Expected, adverse: parts of the two expected returns, before costs.",
            "risk": "Risk: parts of volatility within scenarios.",
            "break-even": "Break-even: excess return that a name would need to be held.",
        },
    )
    before = plan.target.value_before
    own = plan.outlook.portfolio_parts(plan.target.values / before, plan.target.cash / before)
    said = [Text(f"Expected before costs: {describe_parts(own)}.")] if "undigested_news" in own else []
    return [Text("What the targets consist of", style="bold"), made, Text(legend), *said]


def _regions(out: Console, found: Explanation) -> None:
    """Where each name may stand without being worth a trade of its own."""
    plan, regions = found.plan, found.plan.no_trade
    assert regions is not None  # of one period, as every plan that is explained
    heading(out, "No-trade regions, all else at the targets")
    numbers = ("today", "from", "to")
    rows = zip(plan.book.instruments, plan.book.weights, regions.low, regions.high, strict=True)
    shown = ((*row, _standing(*row[1:])) for row in rows if not row[1] == 0 == row[3])
    out.print(table("instrument", *numbers, "today it is", right=numbers, rows=shown))


def _standing(today: float, low: float, high: float) -> str:
    if today < low - _SAME:
        return "too little"
    return "too much" if today > high + _SAME else "right"


def _break_even(found: Explanation) -> list[str]:
    """At which probabilities today's holdings would be as good as the orders."""
    ahead, other = ("more than", "today's holdings") if found.ahead >= 0 else ("less than", "the orders")
    bps = f"{abs(found.ahead) * 1e4:z.1f} bps {ahead} today's holdings, after costs"
    told = [f"How wrong may we be: under the belief the orders are expected to return {bps}."]
    shift = found.shifts["total_variation"]
    if shift is None:
        told.append(f"No probabilities of these scenarios let {other} return more.")
    else:
        to = found.plan.outlook.scenarios[int(np.argmax(shift.q - found.plan.outlook.probabilities))]
        share = format_percent(shift.distance)
        told.append(f"{other.capitalize()} would return as much if {share} of probability moved to {to}.")
    if (flip := found.hypothesis) is None:
        return told
    by_return, by_objective = (
        "at no probability" if at is None else f"at {format_percent(at)}" for at in (flip.by_return, flip.by_objective)
    )
    told.append(
        f"Break-even P({flip.hypothesis}), today {format_percent(flip.probability)}: by expected return {by_return}; "
        f"by the objective {by_objective}. What today's holdings breach is not counted in this."
    )
    return told


def _one(out: Console, found: Explanation, one: NameExplanation, *, full: bool) -> list[RenderableType]:
    above = [_title(found), *map(Text, _position(found, one)), *_margin(found, one)]

    def parts(drivers: int, rules: int) -> list[RenderableType]:
        return [*above, *_scenarios(found, one, drivers), *_rules(one, rules), Text(_PRICES)]

    drivers, rules, page = len(one.drivers or ()), len(one.rules), text_console(max(out.width, WIDTH))
    while not full and (drivers > 1 or rules > 1) and count_lines(page, parts(drivers, rules)) > LINES:
        drivers, rules = (drivers, rules - 1) if rules > 1 else (drivers - 1, rules)
    return parts(drivers, rules)


def _position(found: Explanation, one: NameExplanation) -> list[str]:
    """What is done with a name, why, and where it would be left alone."""
    plan, i = found.plan, one.index
    cash = i == len(plan.book.instruments)
    before, after = plan.book.cash / plan.book.value, plan.final.cash / plan.final.value
    if not cash:
        before, after = float(plan.book.weights[i]), float(plan.final.weights[i])
    order = next((order for order in plan.orders if order.instrument == one.instrument), None)
    said = "no order" if order is None else f"{order.side} {plain_decimal(order.quantity, grouped=True)}"
    told = [
        f"{one.instrument}: {said}; {format_percent(before)} of the account today, {format_percent(after)} proposed."
    ]
    parts = found.reasons.parts[i]
    named = zip(MOTIVES, parts, strict=True)
    motives = ", ".join(f"{name.replace('_', ' ')} {format_signed_bps(part)}" for name, part in named if part != 0)
    if order is not None or cash:
        told.append(f"Why: {motives}; together {format_signed_bps(float(parts.sum()))} bps of the account.")
    if not cash:
        assert plan.no_trade is not None  # of one period, as every plan that is explained
        low, high = float(plan.no_trade.low[i]), float(plan.no_trade.high[i])
        between = f"from {format_percent(low)} to {format_percent(high)} of the account"
        where = _standing(before, low, high)
        told.append(f"No-trade region, all else at the targets: {between}; today it is {where}.")
    return [*told, *_risk(plan, i)]


def _risk(plan: Plan, i: int) -> list[str]:
    """What a name that is held adds to the risk, as proposed."""
    risk = plan.risk["after"]
    if not risk.weights[i]:
        return []
    tail = risk.tails[None, 0.95]
    parts = [("volatility", risk.volatilities[i], risk.volatility),
             ("ES 95% of the horizon", tail.contributions[i], tail.expected_shortfall)]  # fmt: skip
    if risk.shocks:
        worst = min(risk.shocks, key=lambda name: risk.shocks[name].sum())
        parts.append((f"the shock {worst.replace('_', ' ')}", risk.shocks[worst][i], risk.shocks[worst].sum()))
    said = (f"{format_percent(part)} of {name} {format_percent(total)}" for name, part, total in parts)
    return [f"Risk, as proposed: it is {', '.join(said)}."]


def _margin(found: Explanation, one: NameExplanation) -> list[RenderableType]:
    made = table("", "bps of the account", right=("bps of the account",), compact=True)
    parts = found.margins.parts[one.index]
    for name, part in zip(MARGINS, parts, strict=True):
        if part != 0 or name not in ("return_error", "objectives"):
            made.add_row(_MARGIN_WORDS[name], format_signed_bps(float(part) / 100, 2))
    made.add_row("together", format_signed_bps(float(parts.sum()) / 100, 2), style="bold")
    title = f"Why not more: one more percent of the account in {one.instrument} would bring"
    return [Text(), Text(title, style="bold"), made, Text(_verdict(found, one))]


def _verdict(found: Explanation, one: NameExplanation) -> str:
    """What the account says, in words."""
    margins, i = found.margins, one.index
    if i == len(found.plan.book.instruments):
        return (
            "It is held: at the margin, what it brings and what it takes cancel."
            if margins.held[i]
            else "None is left."
        )
    more, less = float(margins.to_more[i]), float(margins.to_less[i])
    if not margins.held[i]:
        if not np.isfinite(more):
            return "A rule of its own keeps it out, whatever it returns."
        return f"To be held it would have to return {more * 1e4:z.1f} bps more, in every scenario."
    kept = []
    if more > 0:
        lacking = f"its break-even excess return is {more * 1e4:z.1f} bps"
        kept.append(f"for more of it {lacking if np.isfinite(more) else 'a rule of its own stands in the way'}")
    if less > 0:
        spare = f"{less * 1e4:z.1f} bps of return less would do"
        kept.append(f"for less of it {spare if np.isfinite(less) else 'a rule of its own stands in the way'}")
    return "At the margin, what it brings and what it takes cancel" + (f"; {'; '.join(kept)}." if kept else ".")


def _scenarios(found: Explanation, one: NameExplanation, count: int) -> list[RenderableType]:
    outlook, adversary = found.plan.outlook, found.plan.adversary
    numbers = ("belief", "adverse", "return")
    letters = scenario_letters(len(outlook.scenarios))
    labels = outlook.scenarios if one.drivers is None else map("  ".join, zip(letters, outlook.scenarios, strict=True))
    rows = zip(labels, outlook.probabilities, adversary, one.returns, strict=True)
    made = table("scenario", *numbers, right=numbers, rows=rows, compact=True)
    for words, q in (("the belief", outlook.probabilities), ("adverse probabilities", adversary)):
        add_cells(made, (f"expected under {words}", "", "", float(q @ one.returns)), "bold")
    told: list[RenderableType] = [Text(), Text(f"What {one.instrument} returns", style="bold"), made]
    said = f"Expected: {describe_parts(one.parts)}." if "undigested_news" in one.parts else ""
    told.append(Text(said))
    if one.drivers is None:
        return told if said else told[:-1]
    drivers = dict(one.drivers)
    largest = sorted(drivers, key=lambda name: -float(np.abs(drivers[name]).max()))[:count]
    parts = [(name, *own) for name, own in drivers.items() if name in largest]
    if rest := [own for name, own in drivers.items() if name not in largest]:
        parts.append((f"and {len(rest)} more", *np.sum(rest, axis=0)))
    return [*told, table("driver (the parts add up)", *letters, right=letters, rows=parts, compact=True)]


def _rules(one: NameExplanation, count: int | None) -> list[RenderableType]:
    """The rules that a name counts for, the dearest first."""
    title = Text("Limits that it counts for", style="bold")
    if not one.rules:
        return [Text(), title, Text("none")]
    made = table("limit", "measured", "brings", right=("measured", "brings"), compact=True)
    dearest = sorted(one.rules, key=lambda rule: -abs(rule.takes))
    for rule in dearest[:count]:
        reading = rule.reading
        made.add_row(reading.label, format_measurement(reading, 2), format_signed_bps(-rule.takes / 100, 2))
    if len(dearest) > len(made.rows):
        made.add_row(f"and {len(dearest) - len(made.rows)} more", "", "", style="dim")
    legend = "Brings: bps for one more percent of the account in it, at the limit's shadow price."
    return [Text(), title, made, Text(legend)]


# How caution looks: a row a caution, what it costs and protects about each axis, and which plan all of it makes.
#
_SIDES = {
    "before": "before the knee: more caution would add more of the protection than of the cost",
    "at": "at the knee",
    "beyond": "beyond the knee: less caution would save more of the cost than it gives up of the protection",
}


def show_caution(found: CautionStudy) -> None:
    """Print the study."""
    out, last = console(), found.curves[-1]
    out.print(title_of(found.book), style="bold")
    axes = [one.axis for one in found.curves]
    heading(out, "Cost of robustness / protection, in bps of the account")
    numbers = (*axes, "worst", "turnover", "distance")
    made = table("caution about", *numbers, right=numbers, compact=True)
    for at, c in enumerate(GRID):
        bps = [_both(one.rows[at]) for one in found.curves]
        add_cells(made, (f"{c:zg}", *bps, *last.rows[at][2:]), "bold" if c == last.knee else "")
    add_cells(made, ("the book's plan", *[""] * (len(axes) - 1), _both(found.own), *found.own[2:]))
    made = fit_table(out, made, "distance", "turnover")
    out.print(made)
    said = {
        "worst": f"Worst scenario return, turnover, distance: with caution about {_of(last)}.",
        "distance": "Distance: from the plan at caution 1, of the account.",
    }
    out.print(
        "Cost of robustness: objective lost if the belief is right. Protection: objective saved under the set at "
        f"caution 1. {describe_columns(made, said)}"
    )
    out.print(" ".join(map(_knee, found.curves)))
    cost, protection = last.share(found.own)
    if last.knee is not None:
        out.print(
            f"The book's plan has {format_percent(protection, 0)} of all protection at {format_percent(cost, 0)} of "
            f"all cost: {_SIDES[found.side]}."
        )


def _both(row: CautionRow) -> str:
    return f"{row.cost_bps:z.1f}/{row.protection_bps:z.1f}"


def _of(curve: CautionCurve) -> str:
    return curve.axis if curve.axis == "both" else f"the {curve.axis}"


def _knee(curve: CautionCurve) -> str:
    if curve.knee is None:
        protects = max(row.protection_bps for row in curve.rows) > 0.005
        told = (
            f"has its cost and its protection in step, all of both from {curve.steady_from:zg}"
            if protects
            else "protects nothing"
        )
        return f"Caution about {_of(curve)} {told}."
    cost, protection = curve.shares[GRID.index(curve.knee)]
    steady = f"; from {curve.steady_from:zg} today's targets no longer change" if curve.steady_from < GRID[-1] else ""
    return (
        f"Knee of caution about {_of(curve)}: {curve.knee:zg}, with {format_percent(protection, 0)} of its protection "
        f"at {format_percent(cost, 0)} of its cost{steady}."
    )
