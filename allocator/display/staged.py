"""How a plan in stages looks at 80 columns: how caution is released, what to trade today, its worth, the proof."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from allocator.display.console import amount, console, heading, percents, table
from allocator.display.measured import in_its_unit
from allocator.mandate.mandate import untraded
from allocator.mandate.utility import Linear, Log
from allocator.plan.announced import Departure
from allocator.plan.release import Release
from allocator.plan.stages import StagedPlan

_WIDE = 100
"""Columns from which on more than the largest trades of a node are shown."""
_LARGE = 0.005
"""Of the account: smaller trades are not among the largest."""
_RULES_SHOWN = 8


def show_staged(plan: StagedPlan, release: Sequence[Release], departure: Departure | None = None) -> None:
    """Print a plan in stages for a portfolio manager, and how it follows an earlier one."""
    out = console()
    settings = plan.book.settings
    out.print(
        f"{settings.book.name} · account {plan.book.account} · {settings.book.as_of} · "
        f"{amount(plan.book.value)} {settings.book.currency}",
        style="bold",
    )
    show_release(out, release)
    if departure is not None:
        _departure(out, departure)
    _broken_today(out, plan)
    _orders(out, plan)
    _figures(out, plan)
    _proof(out, plan)


def show_release(out: Console, release: Sequence[Release]) -> None:
    """The table that the mission is about: what is believed, guarded against and held at each review."""
    heading(out, "When caution is released")
    numbers = ("chance", "P(gen)", "radius", "caution", "eff/cap")
    made = table("if", *numbers, "largest trades, %", right=numbers)
    shown, day = 2 if out.width < _WIDE else 5, None
    for one in release:
        if one.kind != "now" and one.date != day:
            made.add_row(str(one.date), style="dim")
            day = one.date
        made.add_row(
            one.kind,
            percents(one.probability, 0),
            "" if one.generalizable is None else percents(one.generalizable, 0),
            f"{one.radius:.3f}",
            f"{one.caution_bps:.0f}",
            f"{one.shares['efficiency'] * 100:.0f}/{one.shares['capital_intensity'] * 100:.0f}%",
            ", ".join(f"{m.instrument} {m.part * 100:+.0f}" for m in one.moves[:shown] if abs(m.part) >= _LARGE),
            style="bold" if one.kind == "now" else "green" if one.settled else "",
        )
    out.print(made)
    out.print(
        "Chance: of coming there. Radius: how far probabilities may be wrong. Caution: what guarding costs from there "
        "on if the belief is right, in bps of sure return. Eff/cap: efficiency and capital intensity after the trades."
    )
    settled = [one for one in release if one.settled and one.kind != "now"]
    if settled:
        out.print(f"Settled: {'; '.join(f'{one.kind} {one.date}' for one in settled)}.")


def _departure(out: Console, found: Departure) -> None:
    heading(out, "Against the announced policy")
    apart = ", ".join(f"{name} {part:+.1%}" for name, part in found.differences)
    decision = f"what '{found.node}' announced" + (", held since" if found.between_reviews else "")
    if found.follows:
        out.print(f"Follows {decision}: {percents(found.distance, 2)} of the account is elsewhere.")
    else:
        out.print(f"Departs from {decision} by {percents(found.distance)} of the account: {apart}.")
    for cause in found.causes:
        out.print(f"Changed: {cause}.")
    if not found.causes:
        out.print("Nothing else has changed.")


def _broken_today(out: Console, plan: StagedPlan) -> None:
    readings = plan.staged.mandates[0].readings(untraded(plan.book), plan.outlook)
    broken = [f"'{reading.label}' ({in_its_unit(reading)})" for reading in readings if reading.excess > 1e-9]
    if broken:
        more = f" and {len(broken) - _RULES_SHOWN} more" if len(broken) > _RULES_SHOWN else ""
        out.print()
        out.print(f"Broken today: {', '.join(broken[:_RULES_SHOWN])}{more}.")


def _orders(out: Console, plan: StagedPlan) -> None:
    currency, value = plan.book.settings.book.currency, plan.book.value
    heading(out, "What to trade now")
    if plan.orders:
        numbers = ("quantity", currency, "before", "after")
        made = table("order", "instrument", *numbers, right=numbers)
        for order in plan.orders:
            made.add_row(
                order.side,
                order.instrument,
                f"{order.quantity:,.10g}",
                amount(order.value),
                percents(order.weight_before),
                percents(order.weight_after),
                style="red" if order.side == "sell" else "green",
            )
        left = (percents(plan.book.cash / value), percents(plan.final.cash / plan.final.value))
        made.add_row("", plan.book.cash_instrument, "", amount(plan.final.cash), *left, style="dim")
        out.print(made)
        sold, bought = float(plan.final.sold.sum()), float(plan.final.bought.sum())
        out.print(
            f"{len(plan.orders)} order{'s' if len(plan.orders) > 1 else ''}: sells {amount(sold)}, buys "
            f"{amount(bought)} {currency}; costs {amount(plan.final.costs)} {currency}."
        )
    out.print(_verdict(plan))


def _verdict(plan: StagedPlan) -> str:
    gain = f"{plan.gain_bps:.1f} bps of sure return over holding until the first review"
    if not plan.staged.tree.children(0)[0].size:
        gain = f"{plan.gain_bps:.1f} bps of sure return over holding"
    if plan.verdict == "must trade":
        return f"Must trade: today's holdings break a rule; trading gains {gain}, after costs."
    if plan.verdict == "trade":
        return f"Worth it: gains {gain}, after costs."
    if not plan.weighed_orders:
        return "nothing: today's holdings are the plan"
    least = plan.book.settings.trading.min_gain_bps
    return f"Holding: trading would gain {gain}. Wanted: more than {least:g} bps (trading.min_gain_bps)."


def _figures(out: Console, plan: StagedPlan) -> None:
    heading(out, f"Why: over {plan.book.settings.months:.4g} months")
    numbers = ("today, held", "lots" if plan.orders else "held")
    made = table("", *numbers, right=numbers)
    rows = [
        ("sure return, deciding again at reviews", plan.holding.equivalent, plan.followed.equivalent),
        ("expected return, never trading again", plan.before.expected_return, plan.after.expected_return),
        ("worst-case return, never trading again", plan.before.worst_case_return, plan.after.worst_case_return),
        *((f"in {name.replace('_', ' ')}", plan.before.buckets[name], share)
          for name, share in plan.after.buckets.items()),
    ]  # fmt: skip
    for name, today, after in rows:
        made.add_row(name, percents(today), percents(after))
    out.print(made)
    robust, utility = plan.book.settings.robust, plan.staged.utility
    if isinstance(utility, Log):
        words = "log of the final wealth"
    elif isinstance(utility, Linear):
        words = "final wealth"
    else:
        words = f"final wealth at relative risk aversion {utility.aversion:g}"  # type: ignore[union-attr]  # no goals in a book
    guarded = "the beliefs as they are" if robust.set == "none" else f"{robust.set.replace('_', ' ')} at every node"
    out.print(
        f"The plan maximises the worst-case expected {words}, over {guarded}. Sure return: the certainty equivalent. "
        "The risk within a scenario is in rules alone, not in this objective."
    )


def _proof(out: Console, plan: StagedPlan) -> None:
    tree, policy = plan.staged.tree, plan.policy
    out.print()
    kept = f"the orders keep all {len(plan.readings)} rules" if plan.orders else "today's holdings keep every rule"
    after = f" after {'; '.join(policy.attempts)}" if policy.attempts else ""
    out.print(
        f"Proof: {kept} and lose {max(plan.rounding_bps, 0.0):.2f} bps to whole lots; the policy keeps every rule at "
        f"{tree.nodes} decisions over {tree.leaves} outcomes, its worst case recomputed node by node; within "
        f"{max(policy.gap * 1e4, 0.001):.3f} bps of the best there is ({policy.solver}{after}, checked outside it)."
    )
