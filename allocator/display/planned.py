"""How a plan looks at 80 columns: what do I trade, why, what if I am wrong."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from allocator.display.console import amount, console, percents, table
from allocator.plan.plan import Figures, Plan

_RULES_SHOWN = 8


def show_plan(plan: Plan) -> None:
    """Print a plan for a portfolio manager."""
    out = console()
    settings = plan.book.settings
    out.print(
        f"[bold]{settings.book.name}[/bold] · account {plan.book.account} · {settings.book.as_of} · "
        f"{amount(plan.book.value)} {settings.book.currency}",
        soft_wrap=True,
    )
    _orders(out, plan)
    out.print(_worth(plan))
    if plan.binding:
        out.print(_binding(plan))
    out.print(_scenarios(plan))
    _verdict(out, plan)


def _orders(out: Console, plan: Plan) -> None:
    currency = plan.book.settings.book.currency
    if not plan.orders:
        out.print("\nnothing to trade: today's holdings are the plan")
        return
    numbers = ("quantity", currency, "before", "after", "expected", "worst case")
    made = table("order", "instrument", *numbers, right=numbers, title="\nWhat to trade")
    outlook = plan.outlook
    index = {name: i for i, name in enumerate(plan.book.instruments)}
    for order in plan.orders:
        returns = outlook.returns[:, index[order.instrument]]
        made.add_row(
            order.side,
            order.instrument,
            f"{order.quantity:,.10g}",
            amount(order.value),
            percents(order.weight_before),
            percents(order.weight_after),
            percents(float(outlook.probabilities @ returns)),
            percents(float(plan.adversary @ returns)),
            style="red" if order.side == "sell" else "green",
        )
    cash = plan.final.cash
    made.add_row(
        "",
        plan.book.cash_instrument,
        "",
        amount(cash),
        percents(plan.book.cash / plan.book.value),
        percents(cash / plan.final.value),
        "",
        "",
        style="dim",
    )
    out.print(made)
    costs = sum(order.cost for order in plan.orders)
    out.print(
        f"{len(plan.orders)} orders cost {amount(costs)} {currency} ({plan.after.costs * 1e4:.1f} bps of the account). "
        "Expected and worst case are each name's return under the stated and under the worst probabilities."
    )


def _worth(plan: Plan) -> Table:
    months = plan.book.settings.horizon.months
    made = table(
        f"over {months:g} months",
        "today",
        "target",
        "whole lots",
        right=("today", "target", "whole lots"),
        title="\nWhy: before and after",
    )
    columns = (plan.before, plan.targeted, plan.after)
    rows: list[tuple[str, list[float | None]]] = [
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
    for name, values in rows:
        made.add_row(name, *(percents(value) for value in values))
    return made


def _shares(columns: tuple[Figures, ...], bucket: str) -> list[float | None]:
    return [figures.buckets[bucket] for figures in columns]


def _binding(plan: Plan) -> Table:
    made = table(
        "rule that holds the plan back",
        "bps for 1 point",
        right=("bps for 1 point",),
        title="\nWhy not more: what loosening a rule by one percentage point would earn",
    )
    for rule in plan.binding[:_RULES_SHOWN]:
        made.add_row(rule.label, f"{rule.bps_per_point:.2f}")
    if len(plan.binding) > _RULES_SHOWN:
        made.add_row(f"… and {len(plan.binding) - _RULES_SHOWN} more, see --json", "")
    return made


def _scenarios(plan: Plan) -> Table:
    numbers = ("belief", "worst case", "today", "after")
    made = table("scenario", *numbers, right=numbers, title="\nWhat if I am wrong: return in each scenario")
    for k, name in enumerate(plan.outlook.scenarios):
        made.add_row(
            name,
            percents(float(plan.outlook.probabilities[k])),
            percents(float(plan.adversary[k])),
            percents(plan.before.scenario_returns[k]),
            percents(plan.after.scenario_returns[k]),
        )
    return made


def _verdict(out: Console, plan: Plan) -> None:
    moved = (
        "some shift of 2 points cannot meet the mandate"
        if plan.stability is None
        else (f"2 points of any probability move the targets by {percents(plan.stability)} of the account at most")
    )
    out.print(f"Stability: {moved}. Whole lots cost {plan.rounding_bps:.2f} bps.")
    certificate = plan.certificate
    fallback = f" after {'; '.join(certificate.attempts)}" if certificate.attempts else ""
    gap = max(certificate.gap * 1e4, 0.0)
    out.print(
        f"Proof: all {certificate.rules} rules hold on the final lots; the targets are within {gap:.1g} bps of the "
        f"best there is ({certificate.solver}{fallback}, checked outside the solver)."
    )
