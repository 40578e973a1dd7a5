"""What `allocator rebalance --full` shows below the first screen: every figure, rule and reason of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from allocator.display.console import (
    add_cells,
    describe_columns,
    fit_table,
    format_measurement,
    format_money,
    format_percent,
    format_signed_bps,
    heading,
    table,
)
from allocator.display.multistage import (
    caution_table,
    describe_caution_columns,
    describe_tree_objective,
)
from allocator.display.outlook import describe_rates, show_views
from allocator.mandate.mandate import no_trade
from allocator.outlook.calibration import price_notes
from allocator.plan.attribution import MOTIVES, GainAttribution, attribute_gain
from allocator.plan.plan import FIGURES, Figure, Figures, Plan
from allocator.plan.risk_figures import LARGEST, RiskFigures
from allocator.presentation import describe_span
from allocator.rules import RuleMeasurement
from allocator.rules.rows import AMBER
from allocator.types import Vector


def show_plan_details(out: Console, plan: Plan) -> None:
    """Print all that the first screen has no line for."""
    out.print()
    out.print(f"Risk: {plan.outlook.risk.source}.")
    if plan.book.rates:
        out.print(f"R{describe_rates(plan.book)[1:]}.")
    for note in price_notes(plan.book):
        out.print(note)
    if plan.outlook.views is not None:
        show_views(out, plan.outlook.views)
    if plan.duals is not None:
        show_attribution(out, plan, attribute_gain(plan))
    _figures(out, plan)
    show_tails(out, plan)
    if plan.policy is not None:
        if has_reviews(plan):
            out.print()
            out.print(scenario_table(out, plan))
        heading(out, "The policy, review by review" if has_reviews(plan) else "What robustness costs")
        released = caution_table(out, plan.policy)
        out.print(released)
        out.print(describe_caution_columns(plan.policy, released))
    _rules(out, plan)
    _weights(out, plan)
    _turns(out, plan)
    _stability(out, plan)


def has_reviews(plan: Plan) -> bool:
    """Whether anything is decided after today: an objective of the tree of decisions may have one decision only."""
    return plan.policy is not None and plan.policy.mandate.tree.nodes > 1


# How the attribution looks: one row an order, one column a motive, and the sums that they come to.
#
_SHOWN = (
    ("return", ("expected_return",)),
    ("robustness", ("robustness",)),
    ("risk", ("risk", "return_error", "objectives")),
    ("costs", ("costs",)),
    ("rules", ("rules",)),
    ("funding", ("funding",)),
)
_VISIBLE = 5e-6
"""Of the account: what tenths of a basis point show."""
_NARROW = (*_SHOWN[:3], ("other", ("costs", "rules", "funding")))
_FULL_WIDTH, _HALF = 80, 64
"""Columns that the full table takes; on a narrower terminal the last motives are one column, then all of them."""
_LARGE = 0.1
"""Of the account: from here on tenths of a basis point are not shown."""


def show_attribution(out: Console, plan: Plan, found: GainAttribution) -> None:
    """The table "Why each order", with cash, rounding and the total below."""
    if not plan.weighed_orders:
        return
    heading(out, attribution_title(plan))
    made = attribution_table(out, plan, found)
    out.print(made)
    ordered = [plan.book.instruments.index(one.instrument) for one in plan.weighed_orders]
    out.print("\n".join(_legend(plan, made, found.lines[ordered])))


def attribution_title(plan: Plan) -> str:
    """What the table says, and in which unit."""
    return f"{'Why each order' if plan.orders else 'Forgone without trade'}: bps of the account, + speaks for it"


def attribution_table(out: Console, plan: Plan, found: GainAttribution, count: int | None = None) -> Table:
    """One row an order, the `count` largest where it is given, one column a motive, and the sums that they come to."""
    shown = _SHOWN if out.width >= _FULL_WIDTH else _NARROW if out.width >= _HALF else ()
    digits = 1 if max(np.abs(found.parts).max(), np.abs(found.motives).max()) < _LARGE else 0
    numbers = (*(name for name, _ in shown), "sum")
    made = table("", "instrument", *numbers, right=numbers, compact=True)

    def cells(parts: Vector) -> list[str]:
        own = [sum(float(parts[MOTIVES.index(motive)]) for motive in motives) for _, motives in shown]
        return [format_signed_bps(part, digits) for part in (*own, float(parts.sum()))]

    index = {name: i for i, name in enumerate(plan.book.instruments)}
    largest = {one.instrument for one in sorted(plan.weighed_orders, key=lambda order: -order.value)[:count]}
    for order in (one for one in plan.weighed_orders if one.instrument in largest):
        style = "red" if order.side == "sell" else "green"
        made.add_row(order.side, order.instrument, *cells(found.parts[index[order.instrument]]), style=style)
    if rest := [index[one.instrument] for one in plan.weighed_orders if one.instrument not in largest]:
        made.add_row("and", f"{len(rest)} more", *cells(found.parts[rest].sum(axis=0)), style="dim")
    ordered = [index[order.instrument] for order in plan.weighed_orders]
    others = found.parts[np.setdiff1d(np.arange(len(index)), ordered)]
    if np.abs(others).max(initial=0.0) >= _VISIBLE:
        made.add_row("", "below one lot", *cells(others.sum(axis=0)), style="dim")
    made.add_row("", plan.book.cash_instrument, *cells(found.parts[-1]), style="dim")
    made.add_row("", "rounding", *[""] * len(shown), format_signed_bps(found.lots, digits), style="dim")
    made.add_row("", "together", *cells(found.motives)[:-1], format_signed_bps(found.total, digits), style="bold")
    return made


def _legend(plan: Plan, made: Table, lines: Vector) -> Iterator[str]:
    """What the columns mean that there is room for, and how they add up where all are."""
    risk = "its charge" if plan.mandate.return_error is None else "with what returns may be wrong by"
    if plan.mandate.charges is not None:
        risk += ", and what objectives of other packages charge"
    yield describe_columns(
        made,
        {
            "return": "Return: under the belief.",
            "robustness": "Robustness: what adverse probabilities take from it, or spare.",
            "risk": f"Risk: {risk}.",
            "rules": "Rules: room used, or limit breaches mended, at shadow prices.",
            "funding": "Funding: taken from the other orders, or given to them; it sums to zero.",
            "other": "Other: costs, rules and funding.",
            "costs": "Return, robustness, risk, costs and rounding add up to the change of the objective.",
        },
    )
    if lines.min(initial=0.0) <= -_VISIBLE:
        yield "An order whose sum is below 0 pays only together with the others."


def _figures(out: Console, plan: Plan) -> None:
    held = ", if held to the horizon" if has_reviews(plan) else ""
    heading(out, f"Figures over {plan.book.settings.months:z.4g} months, after costs{held}")
    columns = (plan.before, plan.targeted, plan.after)
    rows: list[tuple[str | float | None, ...]] = []
    if plan.policy is None:
        losses = [plan.mandate.loss(one, plan.outlook) for one in (no_trade(plan.book), plan.target, plan.final)]
        if plan.mandate.return_weight:
            rows.append(("objective (certainty equivalent)", *(-loss for loss in losses)))
        else:
            rows.append(("objective (variance and costs)", *losses))
    else:
        equivalents = [None if one is None else one.gain for one in (
            plan.policy.holding, plan.policy.best, plan.policy.followed,
        )]  # fmt: skip
        measure = plan.policy.mandate.utility.measure
        label = f"{measure}, re-optimised at reviews" if has_reviews(plan) else f"objective ({measure})"
        rows.append((label, *equivalents))
    shown = [figure for figure in FIGURES if not figure.brief_only]
    rows += figure_rows(plan, columns, shown, tuple(plan.after.buckets))
    rows += [(name.replace("_", " "), *(one.splits[name] for one in columns)) for name in plan.after.splits]
    numbers = ("today", "target", "final" if plan.orders else "kept")
    out.print(table("", *numbers, right=numbers, rows=rows))
    out.print(_maximised(plan))


def describe_risk(risk: Mapping[str, RiskFigures], *, whole: bool = False) -> str:
    """What a first screen says of the risk, proposed and today; the `whole` of it where no figures stand beside it."""
    after, before = risk["after"], risk["before"]
    day = after.longest
    pairs = {
        f"VaR 99% over {describe_span(day)}": [
            format_percent(one.tails[day, 0.99].value_at_risk) for one in (after, before)
        ],
        "effective names": [f"{one.effective_names:z.1f}" for one in (after, before)],
    }
    if whole:
        pairs = {"volatility": [format_percent(one.volatility) for one in (after, before)], **pairs}
    said = (f"{name} {now} ({'' if at else 'today '}{then})" for at, (name, (now, then)) in enumerate(pairs.items()))
    return f"Risk: {', '.join(said)}."


def show_tails(out: Console, plan: Plan) -> None:
    """What may be lost over a day, ten days and the horizon, and what each position adds to it."""
    numbers = ("today", "target", "final" if plan.orders else "kept")
    columns = [plan.risk[name] for name in ("before", "target", "after")]
    rows: list[tuple[str | float | None, ...]] = []
    for measure, name in (("VaR", "value_at_risk"), ("ES", "expected_shortfall")):
        rows += [
            (
                f"{measure} {level:z.0%}, {describe_span(day)}",
                *(getattr(one.tails[day, level], name) for one in columns),
            )
            for day, level in columns[-1].tails
        ]
    rows.append(("effective names (1/Σw²)", *(f"{one.effective_names:z.1f}" for one in columns)))
    rows.append((f"{LARGEST} largest", *(sum(one.largest.values()) for one in columns)))
    if columns[-1].days_to_liquidate is not None:
        days = (one.days_to_liquidate or 0.0 for one in columns)
        rows.append(("days to liquidate", *(f"{day:z.1f}" if np.isfinite(day) else "never" for day in days)))
    heading(out, "What may be lost: value at risk and expected shortfall")
    out.print(table("", *numbers, right=numbers, rows=rows))
    _risk_of_names(out, columns[-1])


def _risk_of_names(out: Console, figures: RiskFigures) -> None:
    """What each position of the final lots adds to volatility, to shortfalls and to the shocks of the book."""
    day = figures.longest
    parts = {"volatility": figures.volatilities, "ES 95%": figures.tails[None, 0.95].contributions}
    if day is not None:
        parts[f"ES 99%, {describe_span(day)}"] = figures.tails[day, 0.99].contributions
    parts |= {name.replace("_", " "): moved for name, moved in figures.shocks.items()}
    days = figures.liquidation
    numbers = (*parts, *(() if days is None else ("days to sell",)))
    made = table("adds to", *numbers, right=numbers, compact=True)
    columns = np.array([*parts.values()])
    for i in np.flatnonzero(np.any(columns, axis=0)):
        sold = "" if days is None or i == len(days) else f"{days[i]:z.1f}" if np.isfinite(days[i]) else "never"
        add_cells(made, (figures.instruments[i], *columns[:, i], *(() if days is None else (sold,))))
    add_cells(made, ("together", *columns.sum(axis=1), *(() if days is None else ("",))), "bold")
    out.print()
    out.print(fit_table(out, made, *reversed(numbers)))


def figure_rows(
    plan: Plan, columns: Sequence[Figures], figures: Sequence[Figure], buckets: Sequence[str]
) -> list[tuple[str | float | None, ...]]:
    """The labels of figures and of buckets, and what they are in each column; none that has no number."""
    worst = dict.fromkeys(plan.outlook.scenarios[int(np.argmin(one.scenario_returns))] for one in columns)
    rows = [
        (figure.label.format(worst=", ".join(worst)), *(getattr(one, figure.name) for one in columns))
        for figure in figures
        if figure.label
    ]
    shares = [(f"in {name.replace('_', ' ')}", *(one.buckets[name] for one in columns)) for name in buckets]
    return [*(row for row in rows if None not in row), *shares]


def _maximised(plan: Plan) -> str:
    """What the plan is best at, and the probabilities that it is guarded against."""
    if plan.policy is not None:
        return describe_tree_objective(plan.policy)
    if plan.mandate.return_weight == 0:
        return "The plan minimises the variance within scenarios."
    charged = list(plan.book.settings.plugins.objectives)
    also = f", less what {' and '.join(charged)} charge{'s' * (len(charged) == 1)} for what is held" if charged else ""
    return (
        f"The plan maximises adverse expected return less {plan.mandate.risk_aversion:zg} x variance within "
        f"scenarios{also}; adverse probabilities are of {plan.mandate.ambiguity.words(plan.book.settings.robust)}."
    )


def scenario_table(out: Console, plan: Plan, count: int | None = None) -> Table:
    """What each scenario brings if the plan is held to the horizon; the `count` most probable where that is given."""
    # the adverse probabilities are those of the targets: today's holdings have their own
    numbers = ("belief", "adverse", "today", "proposed")
    likely, columns = np.argsort(-plan.outlook.probabilities, kind="stable")[:count], (
        plan.outlook.scenarios, plan.outlook.probabilities, plan.adversary, plan.before.scenario_returns,
        plan.after.scenario_returns,
    )  # fmt: skip
    rows = ([column[k] for column in columns] for k in sorted(likely))
    made = table("return in scenario", *numbers, right=numbers, rows=rows, compact=True)
    if len(plan.outlook.scenarios) > len(likely):
        made.add_row(f"and {len(plan.outlook.scenarios) - len(likely)} more", "", "", "", "", style="dim")
    return fit_table(out, made, "adverse")


def _rules(out: Console, plan: Plan) -> None:
    """Every rule with what it measures today and on the final lots, and its shadow price."""
    if not plan.measurements:
        return
    heading(out, "Every limit")
    prices = {rule.row: rule.bps_per_point for rule in plan.binding}
    numbers = ("today", "proposed", "use", *(() if plan.duals is None else ("shadow price",)))
    made = table("limit", *numbers, right=numbers)
    today = plan.mandate.readings(no_trade(plan.book), plan.outlook)
    for row, (before, after) in enumerate(zip(today, plan.measurements, strict=True)):
        price = prices.get(row)
        made.add_row(
            after.label,
            format_measurement(before),
            format_measurement(after),
            _use(after),
            *(() if plan.duals is None else ("" if price is None else f"{price:z.2f}",)),
            style="red" if before.state == "breach" else "yellow" if after.state == "amber" else "",
        )
    out.print(fit_table(out, made, "today"))
    out.print(f"Use: of the limit, as proposed; amber (*) from {AMBER:z.0%}.")
    if plan.duals is not None:
        out.print("Shadow price: bps of the objective for one percentage point of the limit, at the margin.")


def _use(reading: RuleMeasurement) -> str:
    """How much of the limit is used, marked where it is amber or broken."""
    mark = {"green": "", "amber": "*", "breach": "!"}[reading.state]
    return mark if reading.use is None else f"{min(reading.use, 99.99):z.0%}{mark}"


def _weights(out: Console, plan: Plan) -> None:
    """Every weight, over the benchmark's where there is one, and what each name returns by itself."""
    heading(out, "Every weight")
    benchmark, outlook = plan.book.benchmark, plan.outlook
    against = () if benchmark is None else ("benchmark", "active")
    numbers = ("today", "target", "final", *against, "expected", "adverse")
    made = table("instrument", *numbers, right=numbers)
    names = [*plan.book.instruments, plan.book.cash_instrument]
    today, targets, final = no_trade(plan.book).all_weights, plan.target.all_weights, plan.weights
    returns = np.column_stack([outlook.returns, outlook.cash_returns])
    expected, adverse = outlook.probabilities @ returns, plan.adversary @ returns
    for i, name in enumerate(names):
        active = () if benchmark is None else (float(benchmark[name]), float(final[name] - benchmark[name]))
        row = (today[i], targets[i], final[name], *active, expected[i], adverse[i])
        add_cells(made, (name, *row))
    made = fit_table(out, made, "adverse", "expected", "benchmark", "target")
    out.print(made)
    currency = plan.book.settings.book.currency
    sold, bought = (format_money(float(part.sum())) for part in (plan.final.sold, plan.final.bought))
    out.print(f"Sales {sold}, purchases {bought}, cash then {format_money(plan.final.cash)} {currency}.")
    said = {
        "expected": "Expected: a name's own return under the belief.",
        "adverse": "Adverse: the same under adverse probabilities.",
    }
    if legend := describe_columns(made, said):
        out.print(legend)


def _turns(out: Console, plan: Plan) -> None:
    """The two moves of every name, each by itself, at which its order turns or one begins."""
    if not plan.turns:
        return
    heading(out, "When to look again")
    believed = "" if plan.look_again is None or plan.look_again.belief is None else plan.look_again.belief.name
    numbers = ("price turns at", "move", *([f"P({believed}) turns at"] if believed else []))
    made = table("instrument", "order", *numbers, right=numbers)
    for turn in plan.turns:
        price = "" if turn.price is None else f"{turn.price:z,.2f}"
        move = "" if turn.price_move is None else f"{turn.price_move:+z.1%}"
        belief = "" if turn.probability is None else f"{turn.probability:z.0%}"
        made.add_row(turn.instrument, turn.side, price, move, *([belief] if believed else []))
    out.print(made)
    out.print("Each move is of that price, or of the belief, alone: there the order turns, or one begins.")


def _stability(out: Console, plan: Plan) -> None:
    if plan.policy is not None:
        return
    told = "for some shift of a probability by 2 points there is no verified plan"
    if plan.stability is not None:
        told = (
            f"if one probability is off by 2 points, targets change by {format_percent(plan.stability)} in all at most"
        )
    out.print()
    out.print(f"Stability: {told}.")
