"""How a plan looks at 80 columns: what do I trade, why, what if I am wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from allocator.ambiguity.sets import ExpertHull, Polytope, Singleton, Wasserstein
from allocator.display.console import (
    console,
    fit_table,
    format_measurement,
    format_money,
    format_percent,
    heading,
    table,
)
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.plan.attribution import MOTIVES, GainAttribution, attribute_gain
from allocator.plan.certificate import Certificate
from allocator.plan.plan import Figures, Order, Plan
from allocator.plan.trade_decision import TradeValue, least_share
from allocator.rules import format_limit
from allocator.types import Vector

# An order in a table: the same cells and colours wherever orders are shown.
#


def order_cells(order: Order) -> tuple[str, ...]:
    """Side, instrument, quantity, money, and the weights before and after."""
    return (
        order.side,
        order.instrument,
        f"{order.quantity:,.10g}",
        format_money(order.value),
        format_percent(order.weight_before),
        format_percent(order.weight_after),
    )


def order_style(order: Order) -> str:
    """Sales are red, purchases green."""
    return "red" if order.side == "sell" else "green"


# Whether to trade at all, in words.
#


def describe_decision(plan: Plan) -> str:
    """The verdict, what trading is worth, and in how much of what is plausible it pays."""
    worth, trading = plan.worth, plan.book.settings.trading
    if worth.verdict == "trade":
        return f"Worth it: {_gains(worth)} after costs{_pays(worth, ';')}.{_insurance(plan)}"
    if worth.verdict == "must trade":
        gains = f"trading {_gains(worth)}"
        return f"Must trade: today's holdings break a rule; {gains} after costs{_pays(worth, ' and')}."
    if not worth.orders:
        return "nothing: today's holdings are the plan"
    gains = f"trading would {_gains(worth).replace('gains', 'gain', 1).replace('loses', 'lose', 1)}"
    wanted = ""
    if worth.share is not None:
        least = least_share(plan.mandate, trading)
        wanted = f" Wanted: more than {trading.min_gain_bps:g} bps (trading.min_gain_bps)"
        wanted += f", in at least {least:.0%} (trading.min_share)." if least else "."
        if worth.gain_bps > trading.min_gain_bps and not isinstance(plan.mandate.ambiguity, Singleton):
            wanted += " It would insure against the worst case: to take it, lower trading.min_share."
    return f"Holding: {gains}{_pays(worth, ' and')}.{wanted}"


def describe_tickets(plan: Plan) -> str:
    """What the tickets of the orders cost, beside the costs; empty where tickets are free."""
    if not plan.orders or not plan.worth.tickets:
        return ""
    return f"; tickets {format_money(plan.worth.tickets)} {plan.book.settings.book.currency}"


def _gains(worth: TradeValue) -> str:
    if worth.share is None:  # minimum variance: the objective is no return, and its unit no basis point of one
        return f"gains {worth.gain_bps / 1e4:.3g} of the objective (variance and costs)"
    return f"{'loses' if worth.gain_bps <= -0.05 else 'gains'} {abs(worth.gain_bps):.1f} bps"


def _insurance(plan: Plan) -> str:
    """Said of a trade that few beliefs pay for: what it is, and what it costs if we are right."""
    worth = plan.worth
    if worth.share is None or worth.median_bps is None or worth.share >= 0.5:
        return ""
    lost = f"; under the middle one of them it loses {-worth.median_bps:.1f} bps" if worth.median_bps < 0 else ""
    return f" It is an insurance against the worst case{lost}."


def _pays(worth: TradeValue, joint: str) -> str:
    """Rounded down: a share is not overstated, and one below the threshold never looks as if it were there."""
    if worth.share is None:
        return ""
    return f"{joint} pays in {math.floor(worth.share * 100 + 1e-9)}% of plausible beliefs and costs"


# How reasons look: one row an order, one column a motive, and the sums that they come to.
#
_SHOWN = (
    ("return", ("expected_return",)),
    ("robust", ("robustness",)),
    ("risk", ("risk", "return_error", "objectives")),
    ("costs", ("costs",)),
    ("rules", ("rules",)),
    ("money", ("money",)),
)
_SEEN = 5e-6
"""Of the account: what tenths of a basis point show."""
_NARROW = (*_SHOWN[:3], ("other", ("costs", "rules", "money")))
_FULL_WIDTH, _HALF = 80, 64
"""Columns that the full table takes; on a narrower terminal the last motives are one column, then all of them."""
_LARGE = 0.1
"""Of the account: from here on tenths of a basis point are not shown."""


def show_attribution(out: Console, plan: Plan, found: GainAttribution) -> None:
    """The table "Why each order", with cash, whole lots and the total below."""
    if not plan.weighed_orders:
        return
    what = "Why each order" if plan.orders else "Forgone by holding"
    heading(out, f"{what}: bps of the account, + speaks for it")
    shown = _SHOWN if out.width >= _FULL_WIDTH else _NARROW if out.width >= _HALF else ()
    digits = 1 if max(np.abs(found.parts).max(), np.abs(found.motives).max()) < _LARGE else 0
    numbers = (*(name for name, _ in shown), "sum")
    made = table("", "instrument", *numbers, right=numbers)

    def cells(parts: Vector) -> list[str]:
        own = [sum(float(parts[MOTIVES.index(motive)]) for motive in motives) for _, motives in shown]
        return [format_signed_bps(part, digits) for part in (*own, float(parts.sum()))]

    index = {name: i for i, name in enumerate(plan.book.instruments)}
    for order in plan.weighed_orders:
        style = "red" if order.side == "sell" else "green"
        made.add_row(order.side, order.instrument, *cells(found.parts[index[order.instrument]]), style=style)
    ordered = [index[order.instrument] for order in plan.weighed_orders]
    others = found.parts[np.setdiff1d(np.arange(len(index)), ordered)]
    if np.abs(others).max(initial=0.0) >= _SEEN:
        made.add_row("", "below one lot", *cells(others.sum(axis=0)), style="dim")
    made.add_row("", plan.book.cash_instrument, *cells(found.parts[-1]), style="dim")
    made.add_row("", "whole lots", *[""] * len(shown), format_signed_bps(found.lots, digits), style="dim")
    made.add_row("", "together", *cells(found.motives)[:-1], format_signed_bps(found.total, digits), style="bold")
    out.print(made)
    _legend(out, plan, found.lines[ordered])


def _legend(out: Console, plan: Plan, lines: Vector) -> None:
    risk = "its charge" if plan.mandate.return_error is None else "with what returns may be wrong by"
    if plan.mandate.charges is not None:
        risk += ", and what objectives of other packages charge"
    out.print("Return: under the belief. Robust: what the adversary takes from it, or spares.")
    out.print(f"Risk: {risk}. Rules: room used, or breaches mended.")
    out.print("Money: taken from the other orders, or given to them; it comes to nothing.")
    if lines.min(initial=0.0) <= -_SEEN:
        out.print("An order whose sum is below 0 pays only together with the others.")


def format_signed_bps(fraction: float, digits: int = 1) -> str:
    """A fraction in bps with its sign; nothing is 0.0 and has none."""
    text = f"{fraction * 1e4:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


_RULES_SHOWN = 8
_KEPT_SHOWN = 12
_WIDE = 76
"""Columns that the full order table takes; a narrower terminal is shown fewer columns, not broken words."""


def show_plan(plan: Plan) -> None:
    """Print a plan for a portfolio manager."""
    out = console()
    settings = plan.book.settings
    out.print(
        f"{settings.book.name} · account {plan.book.account} · {settings.book.as_of} · "
        f"{format_money(plan.book.value)} {settings.book.currency}",
        style="bold",
    )
    out.print(f"risk: {plan.outlook.risk.source}")
    _gave_way(out, plan)
    _broken_today(out, plan)
    _orders(out, plan)
    show_attribution(out, plan, attribute_gain(plan))
    _worth(out, plan)
    _binding(out, plan)
    _scenarios(out, plan)
    _verdict(out, plan)


def _orders(out: Console, plan: Plan) -> None:
    currency = plan.book.settings.book.currency
    heading(out, "What to trade")
    if not plan.orders:
        out.print(describe_decision(plan), style="bold" if plan.worth.orders else "")
        return
    wide = out.width >= _WIDE
    numbers = ("quantity", currency, "before", "after", *(("expected", "worst") if wide else ()))
    made = table("order", "instrument", *numbers, right=numbers)
    index = {name: i for i, name in enumerate(plan.book.instruments)}
    for order in plan.orders:
        returns = plan.outlook.returns[:, index[order.instrument]]
        under = (format_percent(float(q @ returns)) for q in (plan.outlook.probabilities, plan.adversary))
        made.add_row(*order_cells(order), *(under if wide else ()), style=order_style(order))
    before, after = plan.book.cash / plan.book.value, plan.final.cash / plan.final.value
    left = (
        "",
        plan.book.cash_instrument,
        "",
        format_money(plan.final.cash),
        format_percent(before),
        format_percent(after),
    )
    made.add_row(*left, style="dim")
    # what is bought or sold at all goes before what a name returns, which is told below once more
    shown = fit_table(out, made, "before", "worst", "expected", "quantity", "after")
    out.print(shown)
    _summary(out, plan, [str(column.header) for column in shown.columns])


def _summary(out: Console, plan: Plan, columns: Sequence[str]) -> None:
    """What the orders come to, and what they leave alone."""
    currency, value = plan.book.settings.book.currency, plan.book.value
    sold, bought = float(plan.final.sold.sum()), float(plan.final.bought.sum())
    count = f"{len(plan.orders)} order{'s' if len(plan.orders) > 1 else ''}"
    out.print(
        f"{count}: sells {format_money(sold)}, buys {format_money(bought)} {currency}; turnover "
        f"{format_percent(max(sold, bought) / value)}; costs {format_money(plan.final.costs)} {currency} "
        f"({plan.after.costs * 1e4:.1f} bps of the account){describe_tickets(plan)}."
    )
    out.print(describe_decision(plan))
    traded = {order.instrument for order in plan.orders}
    kept = [
        f"{name} {format_percent(float(weight))}"
        for name, weight in zip(plan.book.instruments, plan.final.weights, strict=True)
        if name not in traded and weight > 0
    ]
    if kept:
        shown = ", ".join(kept[:_KEPT_SHOWN]) + (
            f" and {len(kept) - _KEPT_SHOWN} more" if len(kept) > _KEPT_SHOWN else ""
        )
        out.print(f"Held as they are: {shown}.")
    if "worst" in columns:
        out.print("Expected and worst: a name's own return under the belief and under the worst case below.")
    elif "expected" in columns:
        out.print("Expected: a name's own return under the belief.")


def _gave_way(out: Console, plan: Plan) -> None:
    """The rules that could not be kept: before anything else, so that nobody trades without having seen it."""
    for one in plan.given_way:
        measured = format_limit(float(f"{one.measured:.5g}"), one.unit)
        out.print(Text(f"Gave way: '{one.label}' -> {measured} (tier {one.tier})", style="bold red"))


def _broken_today(out: Console, plan: Plan) -> None:
    """The rules that today's holdings break: the first reason to trade."""
    stated = build_mandate(plan.book, plan.outlook) if plan.given_way else plan.mandate
    readings = stated.readings(no_trade(plan.book), plan.outlook)
    broken = [f"'{reading.label}' ({format_measurement(reading)})" for reading in readings if reading.excess > 1e-9]
    if broken:
        more = f" and {len(broken) - _RULES_SHOWN} more" if len(broken) > _RULES_SHOWN else ""
        out.print(f"Broken today: {', '.join(broken[:_RULES_SHOWN])}{more}.")


def _worth(out: Console, plan: Plan) -> None:
    heading(out, f"Why: over {plan.book.settings.months:.4g} months, after costs")
    columns = (plan.before, plan.targeted, plan.after)
    trades = (no_trade(plan.book), plan.target, plan.final)
    rows: list[tuple[str, list[float | None]]] = [
        ("objective (see below)", [-plan.mandate.loss(trade, plan.outlook) for trade in trades]),
        ("expected return", [figures.expected_return for figures in columns]),
        ("worst-case return", [figures.worst_case_return for figures in columns]),
        ("volatility within scenarios, a year", [figures.volatility_within for figures in columns]),
        ("volatility between scenarios, a year", [figures.volatility_between for figures in columns]),
    ]
    if plan.after.tracking_error is not None:
        rows += [
            ("expected return over benchmark", [figures.active_expected_return for figures in columns]),
            ("worst-case return over benchmark", [figures.active_worst_case_return for figures in columns]),
            ("tracking error, a year", [figures.tracking_error for figures in columns]),
        ]
    rows += [(f"in {name.replace('_', ' ')}", _shares(columns, name)) for name in plan.after.buckets]
    numbers = ("today", "target", "whole lots" if plan.orders else "held")
    made = table("", *numbers, right=numbers)
    for name, values in rows:
        made.add_row(name, *(format_percent(value) for value in values))
    out.print(made)
    out.print(_maximised(plan))


def _maximised(plan: Plan) -> str:
    if plan.mandate.return_weight == 0:
        return "The plan minimises the variance within scenarios."
    charged = list(plan.book.settings.plugins.objectives)
    also = f", less what {' and '.join(charged)} charge{'s' * (len(charged) == 1)} for what is held" if charged else ""
    return (
        f"The plan maximises worst-case return less {plan.mandate.risk_aversion:g} x variance within scenarios{also}; "
        f"worst case over {_guarded(plan)}."
    )


def _guarded(plan: Plan) -> str:
    """The probabilities guarded against, in words."""
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


def _shares(columns: tuple[Figures, ...], bucket: str) -> list[float | None]:
    return [figures.buckets[bucket] for figures in columns]


def _binding(out: Console, plan: Plan) -> None:
    if not plan.binding:
        return
    heading(out, "Why not more: which rules hold the plan back")
    made = table("rule", "worth of slack", right=("worth of slack",))
    for rule in plan.binding[:_RULES_SHOWN]:
        made.add_row(rule.label, f"{rule.bps_per_point:.2f}")
    out.print(made)
    if len(plan.binding) > _RULES_SHOWN:
        out.print(f"and {len(plan.binding) - _RULES_SHOWN} more: see --json")
    out.print("Worth of slack: bps of what the plan maximises for one percentage point, at the margin.")


def _scenarios(out: Console, plan: Plan) -> None:
    heading(out, "What if I am wrong: return in each scenario")
    numbers = ("belief", "worst case", "today", "after")
    made = table("scenario", *numbers, right=numbers)
    for k, name in enumerate(plan.outlook.scenarios):
        made.add_row(
            name,
            format_percent(float(plan.outlook.probabilities[k])),
            format_percent(float(plan.adversary[k])),
            format_percent(plan.before.scenario_returns[k]),
            format_percent(plan.after.scenario_returns[k]),
        )
    out.print(made)


def _verdict(out: Console, plan: Plan) -> None:
    moved = "for some shift of a probability by 2 points there is no verified plan"
    if plan.certificate.wasteless is not None:
        moved = "not measured where the best on paper burns money"
    if plan.stability is not None:
        moved = (
            f"if one probability is off by 2 points, targets change by {format_percent(plan.stability)} in all at most"
        )
    out.print()
    out.print(f"Stability: {moved}.")
    certificate = plan.certificate
    fallback = f" after {'; '.join(certificate.attempts)}" if certificate.attempts else ""
    lots = f"the orders keep all {certificate.rules} rules and lose {plan.rounding_bps:.2f} bps to whole lots"
    if not plan.orders:
        lots = f"today's holdings keep all {certificate.rules} rules"
    out.print(
        f"Proof: {lots}; the targets are within {_nearness(certificate)} ({certificate.solver}{fallback}, "
        "checked outside the solver)."
    )


def _nearness(certificate: Certificate) -> str:
    """How near the best there is the targets are, and the best of what where that is said of some plans only."""
    found = certificate.wasteless
    if found is None:
        return f"{max(abs(certificate.gap) * 1e4, 0.001):.3f} bps of the best there is"
    gap = max(abs(certificate.objective - found.bound) * 1e4, 0.001)
    return (
        f"{gap:.3f} bps of the best that burns no money, by {found.branches} branches; burning some, as by buying and "
        f"selling one name at once, would gain up to {found.burned * 1e4:.3f} bps on paper"
    )
