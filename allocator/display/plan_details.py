"""What `allocator rebalance --full` shows below the first screen: every figure, rule and reason of a plan."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from allocator.ambiguity.sets import ExpertHull, Polytope, Wasserstein
from allocator.display.console import (
    compact_table,
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
    equivalent_measure,
)
from allocator.display.outlook import describe_rates
from allocator.mandate.mandate import no_trade
from allocator.plan.attribution import MOTIVES, GainAttribution, attribute_gain
from allocator.plan.plan import Plan
from allocator.types import Vector


def show_plan_details(out: Console, plan: Plan) -> None:
    """Print all that the first screen has no line for."""
    out.print()
    out.print(f"Risk: {plan.outlook.risk.source}.")
    if plan.book.rates:
        out.print(f"R{describe_rates(plan.book)[1:]}.")
    if plan.duals is not None:
        show_attribution(out, plan, attribute_gain(plan))
    _figures(out, plan)
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
    out.print(attribution_table(out, plan, found))
    _legend(out, plan, found.lines[[plan.book.instruments.index(one.instrument) for one in plan.weighed_orders]])


def attribution_title(plan: Plan) -> str:
    """What the table says, and in which unit."""
    return f"{'Why each order' if plan.orders else 'Forgone without trade'}: bps of the account, + speaks for it"


def attribution_table(out: Console, plan: Plan, found: GainAttribution, count: int | None = None) -> Table:
    """One row an order, the `count` largest where it is given, one column a motive, and the sums that they come to."""
    shown = _SHOWN if out.width >= _FULL_WIDTH else _NARROW if out.width >= _HALF else ()
    digits = 1 if max(np.abs(found.parts).max(), np.abs(found.motives).max()) < _LARGE else 0
    numbers = (*(name for name, _ in shown), "sum")
    made = compact_table("", "instrument", *numbers, right=numbers)

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


def _legend(out: Console, plan: Plan, lines: Vector) -> None:
    risk = "its charge" if plan.mandate.return_error is None else "with what returns may be wrong by"
    if plan.mandate.charges is not None:
        risk += ", and what objectives of other packages charge"
    out.print("Return: under the belief. Robustness: what adverse probabilities take from it, or spare.")
    out.print(f"Risk: {risk}. Rules: room used, or limit breaches mended, at shadow prices.")
    out.print("Funding: taken from the other orders, or given to them; it sums to zero.")
    out.print("Return, robustness, risk, costs and rounding add up to the change of the objective.")
    if lines.min(initial=0.0) <= -_VISIBLE:
        out.print("An order whose sum is below 0 pays only together with the others.")


def _figures(out: Console, plan: Plan) -> None:
    held = ", if held to the horizon" if has_reviews(plan) else ""
    heading(out, f"Figures over {plan.book.settings.months:.4g} months, after costs{held}")
    columns = (plan.before, plan.targeted, plan.after)
    rows: list[tuple[str, list[float | None]]] = []
    if plan.policy is None:
        losses = [plan.mandate.loss(one, plan.outlook) for one in (no_trade(plan.book), plan.target, plan.final)]
        if plan.mandate.return_weight:
            rows.append(("objective (certainty equivalent)", [-loss for loss in losses]))
        else:
            rows.append(("objective (variance and costs)", list(losses)))
    else:
        equivalents = [None if one is None else one.equivalent for one in (
            plan.policy.holding, plan.policy.best, plan.policy.followed,
        )]  # fmt: skip
        measure = equivalent_measure(plan.policy.mandate)
        label = f"{measure}, re-optimised at reviews" if has_reviews(plan) else f"objective ({measure})"
        rows.append((label, equivalents))
    rows += [
        ("expected return", [one.expected_return for one in columns]),
        ("adverse expected return", [one.adverse_expected_return for one in columns]),
        ("volatility, a year (total)", [one.volatility for one in columns]),
        ("volatility within scenarios, a year", [one.volatility_within for one in columns]),
        ("volatility between scenarios, a year", [one.volatility_between for one in columns]),
        ("expected shortfall, 95% of the horizon", [one.expected_shortfall for one in columns]),
    ]
    if plan.after.tracking_error is not None:
        rows += [
            ("expected return over benchmark", [one.active_expected_return for one in columns]),
            ("adverse expected return over benchmark", [one.active_adverse_expected_return for one in columns]),
            ("tracking error, a year", [one.tracking_error for one in columns]),
        ]
    rows += [(f"in {name.replace('_', ' ')}", [one.buckets[name] for one in columns]) for name in plan.after.buckets]
    numbers = ("today", "target", "final" if plan.orders else "kept")
    made = table("", *numbers, right=numbers)
    for name, values in rows:
        made.add_row(name, *(format_percent(value) for value in values))
    out.print(made)
    out.print(_maximised(plan))


def _maximised(plan: Plan) -> str:
    """What the plan is best at, and the probabilities that it is guarded against."""
    if plan.policy is not None:
        return describe_tree_objective(plan.policy)
    if plan.mandate.return_weight == 0:
        return "The plan minimises the variance within scenarios."
    charged = list(plan.book.settings.plugins.objectives)
    also = f", less what {' and '.join(charged)} charge{'s' * (len(charged) == 1)} for what is held" if charged else ""
    return (
        f"The plan maximises adverse expected return less {plan.mandate.risk_aversion:g} x variance within "
        f"scenarios{also}; adverse probabilities are of {_guarded(plan)}."
    )


def _guarded(plan: Plan) -> str:
    """The ambiguity set in words."""
    robust, radius = plan.book.settings.robust, getattr(plan.mandate.ambiguity, "radius", None)
    if isinstance(plan.mandate.ambiguity, ExpertHull):
        names = list(robust.experts)
        return f"mixtures of the belief with expert{'s' if len(names) > 1 else ''} {', '.join(names)}"
    if isinstance(plan.mandate.ambiguity, Polytope):
        return f"all probabilities within limits {', '.join(robust.limits)}"
    if radius is None:
        return "any probabilities at all" if robust.set == "worst" else "the stated probabilities alone"
    over = f" over {', '.join(robust.metric)}" if isinstance(plan.mandate.ambiguity, Wasserstein) else ""
    why = "" if robust.schedule == "fixed" else f", by schedule {robust.schedule}"
    return f"{robust.set.replace('_', ' ')}{over} within {radius:.3g}{why}"


def scenario_table(out: Console, plan: Plan, count: int | None = None) -> Table:
    """What each scenario brings if the plan is held to the horizon; the `count` most probable where that is given."""
    # the adverse probabilities are those of the targets: today's holdings have their own
    numbers = ("belief", "adverse", "today", "proposed")
    made = compact_table("return in scenario", *numbers, right=numbers)
    likely = np.argsort(-plan.outlook.probabilities, kind="stable")[:count]
    for k in sorted(likely):
        made.add_row(
            plan.outlook.scenarios[k],
            format_percent(float(plan.outlook.probabilities[k])),
            format_percent(float(plan.adversary[k])),
            format_percent(plan.before.scenario_returns[k]),
            format_percent(plan.after.scenario_returns[k]),
        )
    if len(plan.outlook.scenarios) > len(likely):
        made.add_row(f"and {len(plan.outlook.scenarios) - len(likely)} more", "", "", "", "", style="dim")
    return fit_table(out, made, "adverse")


def _rules(out: Console, plan: Plan) -> None:
    """Every rule with what it measures today and on the final lots, and its shadow price."""
    if not plan.measurements:
        return
    heading(out, "Every limit")
    prices = {rule.label: rule.bps_per_point for rule in plan.binding}
    numbers = ("today", "proposed", *(() if plan.duals is None else ("shadow price",)))
    made = table("limit", *numbers, right=numbers)
    today = plan.mandate.readings(no_trade(plan.book), plan.outlook)
    for before, after in zip(today, plan.measurements, strict=True):
        price = prices.pop(after.label, None)
        made.add_row(
            after.label,
            format_measurement(before),
            format_measurement(after),
            *(() if plan.duals is None else ("" if price is None else f"{price:.2f}",)),
            style="red" if before.excess > 1e-9 else "",
        )
    for label, price in prices.items():  # of rules that are several rows: their sides have prices of their own
        made.add_row(label, "", "", f"{price:.2f}")
    out.print(fit_table(out, made, "today"))
    if plan.duals is not None:
        out.print("Shadow price: bps of the objective for one percentage point of the limit, at the margin.")


def _weights(out: Console, plan: Plan) -> None:
    """Every weight, over the benchmark's where there is one, and what each name returns by itself."""
    heading(out, "Every weight")
    benchmark, outlook = plan.book.benchmark, plan.outlook
    against = () if benchmark is None else ("benchmark", "active")
    numbers = ("today", "target", "final", *against, "expected", "adverse")
    made = table("instrument", *numbers, right=numbers)
    names = [*plan.book.instruments, plan.book.cash_instrument]
    today, target = [*plan.book.weights, plan.book.cash / plan.book.value], plan.target
    targets, final = [*target.weights, target.cash / target.value], plan.weights
    returns = np.column_stack([outlook.returns, outlook.cash_returns])
    expected, adverse = outlook.probabilities @ returns, plan.adversary @ returns
    for i, name in enumerate(names):
        active = () if benchmark is None else (float(benchmark[name]), float(final[name] - benchmark[name]))
        row = (today[i], targets[i], final[name], *active, expected[i], adverse[i])
        made.add_row(name, *(format_percent(float(value)) for value in row))
    out.print(fit_table(out, made, "adverse", "expected", "benchmark", "target"))
    currency = plan.book.settings.book.currency
    sold, bought = (format_money(float(part.sum())) for part in (plan.final.sold, plan.final.bought))
    out.print(f"Sales {sold}, purchases {bought}, cash then {format_money(plan.final.cash)} {currency}.")
    out.print("Expected, adverse: a name's own return under the belief and under adverse probabilities.")


def _stability(out: Console, plan: Plan) -> None:
    if plan.policy is not None:
        return
    told = "for some shift of a probability by 2 points there is no verified plan"
    if plan.certificate.round_trips is not None:
        told = "not measured where the best on paper has round trips"
    if plan.stability is not None:
        told = (
            f"if one probability is off by 2 points, targets change by {format_percent(plan.stability)} in all at most"
        )
    out.print()
    out.print(f"Stability: {told}.")
