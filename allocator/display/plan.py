"""The first screen of a plan, at most 45 lines at 80 columns: what do I trade, why, what if I am wrong, the proof.

Each line has one owner (design §7); what finds no line is in `--full`. The largest orders are shown, as many as the
rest leaves room for, and the others as a sum.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from allocator.display.console import (
    add_cells,
    console,
    count_lines,
    describe_axes,
    describe_cash_flows,
    describe_columns,
    describe_parts,
    fit_table,
    fits,
    format_measurement,
    format_money,
    format_percent,
    format_signed,
    table,
    text_console,
    title_of,
)
from allocator.display.multistage import caution_table, describe_deviation
from allocator.display.outlook import describe_views
from allocator.display.plan_details import describe_risk, figure_rows, has_reviews, scenario_table, show_plan_details
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import no_trade
from allocator.outlook.outlook import PARTS
from allocator.plan.follow import PolicyDeviation
from allocator.plan.plan import FIGURES, Order, Plan
from allocator.plan.trade_decision import TradeValue, least_gain, least_share
from allocator.presentation import plain_decimal
from allocator.rules import format_limit

LINES, WIDTH = 45, 80
"""Of the first screen: lines, and columns."""
ORDERS = 12
"""Orders on it, where there is room."""
_FEWEST_ORDERS = 3
_RELAXED, _BREACHES = 4, 3
_SCENARIOS = 6
_SHADOW_PRICES = 3
_UNCHARGED = "The objective charges nothing for risk within a scenario; only limits see it."


def show_plan(plan: Plan, deviation: PolicyDeviation | None = None, *, full: bool = False) -> None:
    """Print a plan for a portfolio manager; `full` shows all of it, and the rest of what is known."""
    out = console()
    for part in _screen(out, plan, deviation, full=full):
        out.print(part)
    if full:
        show_plan_details(out, plan)


def plan_text(plan: Plan) -> str:
    """The screen of `allocator rebalance` as text of 80 columns."""
    out = text_console(WIDTH)
    for part in _screen(out, plan, None, full=False):
        out.print(part)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().rstrip("\n")


def plan_html(plan: Plan) -> str:
    """Title, orders, the decision and the risk as an HTML table, for notebooks."""
    columns = ("side", "instrument", "quantity", plan.book.settings.book.currency, "before", "after")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in order_cells(order)) + "</tr>"
        for order in plan.orders
    )
    told = html.escape(" ".join([*describe_decision(plan), describe_risk(plan.risk, whole=True)]))
    title = html.escape(title_of(plan.book))
    return (
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody><tfoot><tr><td colspan='{len(columns)}'>{told}</td></tr></tfoot></table>"
    )


def _screen(out: Console, plan: Plan, deviation: PolicyDeviation | None, *, full: bool) -> Iterable[RenderableType]:
    """The parts of the screen, top to bottom; the orders take what the others leave of its lines."""
    above = [
        Text(title_of(plan.book), style="bold"),
        *_relaxed(plan, full=full),
        *_limit_breaches(plan, full=full),
        *map(Text, plan.book.classification.notes()),
        Text(),
    ]
    below = [
        *map(Text, _summary(plan)),
        *(Text(line, style="bold" if at == 0 else "") for at, line in enumerate(describe_decision(plan))),
        *([] if plan.charges_risk else [Text(_UNCHARGED)]),
        Text(),
        figures_table(plan),
        Text(describe_risk(plan.risk)),
        *map(Text, _expected_parts(plan)),
        *([] if plan.outlook.views is None else [Text(describe_views(plan.outlook.views))]),
        *map(Text, describe_plan_axes(plan)),
        Text(),
        *_what_if(out, plan, deviation, full=full),
        Text(),
        *_dearest_limits(plan),
        *map(Text, describe_turns(plan)),
        *map(Text, describe_proof(plan)),
    ]
    used = count_lines(out, (*above, *below))
    rows = max(LINES - used - 1, _FEWEST_ORDERS + 1)  # the last of them is a sum where there are more orders
    count = len(plan.orders) if full else min(ORDERS, rows - (len(plan.orders) > rows))
    orders = [orders_table(out, plan, count)] if plan.orders else []
    return (*above, *orders, *below)


# An order in a table: the same cells and colours wherever orders are shown.
#


def order_cells(order: Order) -> tuple[str, ...]:
    """Side, instrument, quantity with every digit, value, and the weights before and after."""
    return (
        order.side,
        order.instrument,
        plain_decimal(order.quantity, grouped=True),
        format_money(order.value),
        format_percent(order.weight_before),
        format_percent(order.weight_after),
    )


def order_style(order: Order) -> str:
    """Sales are red, purchases green."""
    return "red" if order.side == "sell" else "green"


def orders_table(out: Console, plan: Plan, count: int) -> Table:
    """The `count` largest orders, sales before purchases, and what the others come to.

    Where they are too wide, last digits of quantities make room before a column does.
    """
    whole = _orders_table(plan, count, lambda quantity: quantity)
    return (
        whole if fits(out, whole) else fit_table(out, _orders_table(plan, count, _cut), "before", "quantity", "after")
    )


_CUT = 10
"""Characters of a quantity that is too wide; what stands before its point always stays."""


def _cut(quantity: str) -> str:
    """1,234.567890123 as 1,234.567…"""
    most = max(_CUT - 1, quantity.find("."))
    return quantity if "." not in quantity or len(quantity) <= most + 1 else f"{quantity[:most].rstrip('.')}…"


def _orders_table(plan: Plan, count: int, shorten: Callable[[str], str]) -> Table:
    numbers = ("quantity", plan.book.settings.book.currency, "before", "after")
    made = table("side", "instrument", *numbers, right=numbers, compact=True)
    shown = {one.instrument for one in sorted(plan.orders, key=lambda order: -order.value)[:count]}
    for order in plan.orders:
        if order.instrument in shown:
            side, name, quantity, *others = order_cells(order)
            made.add_row(side, name, shorten(quantity), *others, style=order_style(order))
    if rest := [order for order in plan.orders if order.instrument not in shown]:
        before, after = (sum(getattr(order, name) for order in rest) for name in ("weight_before", "weight_after"))
        money = format_money(sum(order.value for order in rest))
        add_cells(made, ("and", f"{len(rest)} more", "", money, before, after), "dim")
    return made


def _summary(plan: Plan) -> list[str]:
    """What the orders come to."""
    if not plan.orders:
        return []
    currency, value = plan.book.settings.book.currency, plan.book.value
    sold, bought = float(plan.final.sold.sum()), float(plan.final.bought.sum())
    count = f"{len(plan.orders)} order{'s' if len(plan.orders) > 1 else ''}"
    tickets = plan.decision.tickets
    return [
        f"{count}: turnover {format_percent(max(sold, bought) / value)}, costs {format_money(plan.final.costs)} "
        f"{currency} ({plan.after.costs * 1e4:z.1f} bps"
        + (f", tickets {format_money(tickets)} {currency}" if tickets else "")
        + f"), cash {format_money(plan.final.cash)} {currency}."
    ]


# Whether to trade at all, in words: three figures, and the objective's change with its range.
#


def describe_decision(plan: Plan) -> list[str]:
    """The verdict with its reason; what trading changes; and what was wanted where it is not recommended."""
    decision = plan.decision
    if not plan.has_lots:
        gain = "" if decision.gain_bps is None else f" {_objective_change(plan)}"
        return [f"Targets only: no whole-lot orders were asked for.{gain}"]
    if not decision.orders and decision.verdict != "trade required":
        return ["No trade: today's holdings are the plan."]
    reason = {
        "trade required": "Trade required: today's holdings breach limits.",
        "recommended": "Recommended.",
        "no trade": "No trade.",
    }[decision.verdict]
    if decision.gain_bps is None:
        return ["Trade required: whoever holds today's holdings cannot keep the limits at a review."]
    return [f"{reason} {_objective_change(plan)}", *_wanted(plan)]


def _objective_change(plan: Plan) -> str:
    decision = plan.decision
    assert decision.gain_bps is not None
    if not plan.mandate.return_weight and plan.policy is None:
        # of minimum variance, whose objective is no return and has no basis points
        return f"Objective (variance and costs): {-decision.gain_bps / 1e4:+z.3g}."
    if plan.policy is not None:
        review = " until the first review" if plan.policy.mandate.tree.children(0)[0].size else ""
        return (
            f"Objective ({plan.policy.mandate.utility.measure}): {format_signed(decision.gain_bps)} bps against no "
            f"trade{review}, after costs."
        )
    guarded = plan.mandate.ambiguity.guards and len(plan.outlook.scenarios) > 1
    robust = ", under adverse probabilities" if guarded else ""
    told = f"Objective (certainty equivalent{robust}): {format_signed(decision.gain_bps)} bps after costs"
    lowest, median, highest = decision.lowest_bps, decision.median_bps, decision.highest_bps
    if lowest is None or median is None or highest is None or lowest == highest:
        return f"{told}."
    return (
        f"{told}; over {_sampled(plan)} {format_signed(lowest)} to {format_signed(highest)}, median "
        f"{format_signed(median)}, positive for {_floor_percent(decision)} of them."
    )


def _sampled(plan: Plan) -> str:
    """What is sampled: of one scenario there is one belief, and only costs vary."""
    return "sampled inputs" if len(plan.outlook.scenarios) > 1 else "sampled costs"


def _floor_percent(decision: TradeValue) -> str:
    """Rounded down: a share is not overstated, and one below the threshold never looks as if it were there."""
    assert decision.positive_share is not None
    return f"{int(decision.positive_share * 100 + 1e-9)}%"


def _wanted(plan: Plan) -> list[str]:
    """What keeps the orders from being recommended, and how to have them all the same."""
    decision, trading = plan.decision, plan.book.settings.trading
    if decision.verdict == "recommended" and decision.positive_share is not None and decision.positive_share < 0.5:
        return ["It insures: it pays under adverse probabilities, and costs in most sampled inputs."]
    if decision.trades or decision.gain_bps is None:
        return []
    gain = least_gain(trading, sum(order.cost for order in plan.weighed_orders) + decision.tickets)
    told = f"Wanted: more than {gain:zg} bps (trading.min_gain_bps)"
    if decision.positive_share is None:
        return [f"{told}."] if plan.policy is not None else []
    least = least_share(plan.mandate, trading)
    told += f", positive for at least {least:z.0%} of {_sampled(plan)} (trading.min_share)." if least else "."
    if decision.gain_bps > gain and plan.mandate.ambiguity.guards:
        told += " It would insure against adverse probabilities: to take it, lower trading.min_share."
    return [told]


def _relaxed(plan: Plan, *, full: bool) -> list[Text]:
    """The rules that could not be kept: before anything else, so that nobody trades without having seen it."""
    shown = len(plan.relaxed) if full else _RELAXED
    told = [
        f"Relaxed: '{one.label}' to {format_limit(float(f'{one.measured:z.5g}'), one.unit)} (priority {one.tier})"
        for one in plan.relaxed[:shown]
    ]
    if len(plan.relaxed) > shown:
        told.append(f"Relaxed: {len(plan.relaxed) - shown} more limits, which --full names")
    return [Text(line, style="bold red") for line in told]


def _limit_breaches(plan: Plan, *, full: bool) -> list[Text]:
    """The limits that today's holdings breach: the first reason to trade."""
    stated = build_mandate(plan.book, plan.outlook) if plan.relaxed else plan.mandate
    readings = stated.readings(no_trade(plan.book), plan.outlook)
    broken = [f"'{reading.label}' ({format_measurement(reading)})" for reading in readings if reading.excess > 1e-9]
    if not broken:
        return []
    shown = len(broken) if full else _BREACHES
    more = f", and {len(broken) - shown} more" if len(broken) > shown else ""
    return [Text(f"Limits broken today: {', '.join(broken[:shown])}{more}.")]


# Figures before and after, and what each scenario would bring.
#


def figures_table(plan: Plan) -> Table:
    """Today's figures and those of the proposed lots, over the horizon, after costs."""
    held = ", if held to the horizon" if has_reviews(plan) else ""
    brief = [figure for figure in FIGURES if figure.brief]
    rows = figure_rows(plan, (plan.before, plan.after), brief, (*plan.book.settings.buckets.shown, "cash"))
    over, columns = f"over {plan.book.settings.months:z.4g} months{held}", ("today", "proposed")
    return table(over, *columns, right=columns, rows=rows, compact=True)


def _expected_parts(plan: Plan) -> list[str]:
    """Where the proposed lots' expected return comes from, where a market says what prices hold."""
    parts = {name: part for name in PARTS if (part := getattr(plan.after, name)) is not None}
    if "undigested_news" not in parts:
        return []
    return [f"Expected before costs: {describe_parts(parts)}."]


def describe_plan_axes(plan: Plan) -> list[str]:
    """What of the adverse figure is about the answer, and what about the regime; with reviews their table says so."""
    if not plan.axes or has_reviews(plan):
        return []
    measure = "expected return" if plan.policy is None else plan.policy.mandate.utility.measure
    return [describe_axes(plan.axes, f"the {measure}")]


def _what_if(out: Console, plan: Plan, deviation: PolicyDeviation | None, *, full: bool) -> list[RenderableType]:
    """Returns by scenario; with reviews what is done now and at the first review, and an announced policy's fate."""
    told = [] if deviation is None else [Text(line) for line in describe_deviation(deviation)]
    if plan.policy is None or not has_reviews(plan):
        made = scenario_table(out, plan, None if full else _SCENARIOS)
        adverse = "Adverse: the probabilities of the set at which the targets return least."
        legend = describe_columns(made, {"adverse": adverse})
        return [made, *([Text(legend)] if legend else []), *told]
    flows = [Text(line) for line in describe_cash_flows(plan.book)]
    return [caution_table(out, plan.policy, first_review_only=True), *flows, *told]


def _dearest_limits(plan: Plan) -> list[Text]:
    """The limits whose loosening would be worth most."""
    # what has no limit cannot be loosened, and its price is one of many that the solver may give
    loosened = [rule for rule in plan.binding if rule.has_limit]
    dearest = [rule for rule in loosened[:_SHADOW_PRICES] if rule.bps_per_point >= 0.005]  # not 0.00
    if not dearest:
        return []
    told = ", ".join(f"'{rule.label}' {rule.bps_per_point:z.2f}" for rule in dearest)
    return [Text(f"Dearest limits, shadow price in bps per percentage point: {told}.")]


def describe_turns(plan: Plan) -> list[str]:
    """When to look again: the nearest price and the nearest belief that turn an order, or begin one."""
    price, belief = plan.nearest_turns
    told = []
    if price is not None and price.price_move is not None:
        way = "falls" if price.price_move < 0 else "rises"
        told.append(f"{price.instrument} {way} by {format_percent(abs(price.price_move))}")
    if belief is not None and belief.probability is not None and plan.look_again and plan.look_again.belief:
        told.append(f"P({plan.look_again.belief.name}) is {belief.probability:z.0%} ({belief.instrument})")
    turns = "an order turns" if plan.orders else "a trade begins"
    return [f"Look again when {' or when '.join(told)}: then {turns}."] if told else []


# The proof, in one sentence.
#


def _keeping(rules: int) -> tuple[str, str]:
    """What orders do with so many rules, and what a policy does; without a rule nothing is kept."""
    if not rules:
        return "", "is of"
    return f"keep {f'all {rules} rules' if rules > 1 else 'the one rule'} and ", "keeps them at"


def describe_proof(plan: Plan) -> Sequence[str]:
    """What is proved of the orders and of the targets, by whom."""
    certificate = plan.certificate
    keep, keeps = _keeping(certificate.rules)
    most = math.ceil(plan.lots_gap_bps * 100) / 100
    lost = f"lose {max(plan.rounding_bps, 0):z.2f} bps to rounding, at most {most:z.2f} from the best lots"
    lots = f"the orders {keep}{lost}"
    if not plan.has_lots:
        lots = f"the targets {keep.removesuffix(' and ')}, and there are no orders" if keep else "there are no orders"
    elif not plan.orders:
        lots = f"today's holdings {keep.removesuffix(' and ')}" if keep else "there is no rule to keep"
    policy = ""
    if plan.policy is not None:
        decisions = f"{certificate.decisions} decision{'s' if certificate.decisions > 1 else ''}"
        policy = f"; the policy {keeps} {decisions} over {certificate.outcomes} outcomes"
    fallback = f" after {'; '.join(certificate.attempts)}" if certificate.attempts else ""
    own = ""
    if certificate.fixed_point is not None:
        own = f" The charge for risk is {max(abs(certificate.fixed_point) * 1e4, 0.001):z.3f} bps from its fixed point."
    return [
        f"Proof: {lots}{policy}; the targets are within {max(abs(certificate.gap) * 1e4, 0.001):z.3f} bps of the best "
        f"there is{' with these names' if plan.names else ''} ({certificate.solver}{fallback}, checked outside the "
        f"solver).{own}{_describe_names(plan)}"
    ]


def _describe_names(plan: Plan) -> str:
    """How far any other choice of names can be better."""
    if (names := plan.names) is None:
        return ""
    part = "" if names.of_objective is None else f" ({names.of_objective:z.2%} of the objective)"
    most = math.ceil(names.gap * 1e6) / 100
    return f" No other choice of names is better by more than {most:z.2f} bps{part}: {names.programs} programs."
