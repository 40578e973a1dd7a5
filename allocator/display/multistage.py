"""How a plan in stages looks at 80 columns: how caution is released, what to trade today, its worth, the proof."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from allocator.display.console import (
    console,
    fit_table,
    format_measurement,
    format_money,
    format_percent,
    heading,
    table,
)
from allocator.display.plan import order_cells, order_style
from allocator.mandate.mandate import no_trade
from allocator.multistage.follow import PolicyDeviation
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import (
    ExAnteRegret,
    LinearUtility,
    LogUtility,
    MeanCVaR,
    MixtureVariance,
    OneDecision,
    PiecewiseLinearUtility,
    PowerUtility,
    Regret,
)
from allocator.multistage.plan import MultistagePlan, objective_label
from allocator.multistage.value_of_waiting import MEASURES, CautionScheduleRow, ValueOfWaitingByShare

_WIDE = 100
"""Columns from which on more than the largest trades of a node are shown."""
_FULL = 76
"""Columns that the table of caution takes; a narrower terminal is shown fewer columns, not broken words."""
_OTHERS = 60
"""Columns that the table of caution takes besides the trades."""
_LARGE = 0.005
"""Of the account: smaller trades are not among the largest."""
_RULES_SHOWN = 8


def show_multistage_plan(
    plan: MultistagePlan, release: Sequence[CautionScheduleRow], departure: PolicyDeviation | None = None
) -> None:
    """Print a plan in stages for a portfolio manager, and how it follows an earlier one."""
    out = console()
    settings = plan.book.settings
    out.print(
        f"{settings.book.name} · account {plan.book.account} · {settings.book.as_of} · "
        f"{format_money(plan.book.value)} {settings.book.currency}",
        style="bold",
    )
    show_caution_schedule(out, release, _measure(plan))
    if departure is not None:
        _departure(out, departure)
    _broken_today(out, plan)
    _orders(out, plan)
    _figures(out, plan)
    _proof(out, plan)


def show_caution_schedule(out: Console, release: Sequence[CautionScheduleRow], measure: str = "sure return") -> None:
    """The table that the mission is about: what is believed, guarded against and held at each review."""
    heading(out, "When caution is released" if len(release) > 1 else "What caution costs")
    full = out.width >= _FULL
    numbers = ("chance", "P(gen)", *(("radius",) if full else ()), "caution", "eff/cap")
    made = table("if", *numbers, *(("largest trades, %",) if full else ()), right=("if", *numbers))
    made.columns[0].justify = "left"
    shown, day = 2 if out.width < _WIDE else 5, None
    for one in release:
        if one.kind != "now" and one.date != day:
            made.add_row(str(one.date), style="dim")
            day = one.date
        made.add_row(
            one.kind,
            format_percent(one.probability, 0),
            "" if one.generalizable is None else format_percent(one.generalizable, 0),
            *(("" if one.radius is None else f"{one.radius:.3f}",) if full else ()),
            "none" if one.caution_bps is None else f"{one.caution_bps:.0f}",
            f"{one.shares['efficiency'] * 100:.0f}/{one.shares['capital_intensity'] * 100:.0f}%",
            *((_moves(one, shown, out.width - _OTHERS),) if full else ()),
            style="bold" if one.kind == "now" else "green" if one.settled else "",
        )
    out.print(made)
    radius = " Radius: how far probabilities may be wrong." if full else ""
    out.print(
        f"Chance: of coming there.{radius} Caution: what guarding costs from there on if the belief is right, in bps "
        f"of {measure}. Eff/cap: efficiency and capital intensity after the trades."
    )
    settled = [one for one in release if one.settled and one.kind != "now"]
    if settled:
        out.print(f"Settled: {'; '.join(f'{one.kind} {one.date}' for one in settled)}.")


def _moves(one: CautionScheduleRow, shown: int, width: int) -> str:
    """The largest trades in percent, on one line where they fit: a name is not parted from its number."""
    # rounded first, so that a lot that makes exactly half a percent is shown alike everywhere
    told = [
        f"{move.instrument} {round(move.part * 100, 6):+.0f}" for move in one.moves[:shown] if abs(move.part) >= _LARGE
    ]
    line = ", ".join(told)
    return line if len(line) <= width else "\n".join(told)


def _departure(out: Console, found: PolicyDeviation) -> None:
    heading(out, "Against the announced policy")
    apart = ", ".join(f"{name} {part:+.1%}" for name, part in found.differences)
    decision = f"what '{found.node}' announced" + (", held since" if found.between_reviews else "")
    if found.follows:
        out.print(f"Follows {decision}: {format_percent(found.distance, 2)} of the account is elsewhere.")
    else:
        out.print(f"Departs from {decision} by {format_percent(found.distance)} of the account: {apart}.")
    for cause in found.causes:
        out.print(f"Changed: {cause}.")
    if not found.causes:
        out.print("Nothing else has changed.")


def _broken_today(out: Console, plan: MultistagePlan) -> None:
    readings = plan.staged.mandates[0].readings(no_trade(plan.book), plan.outlook)
    broken = [f"'{reading.label}' ({format_measurement(reading)})" for reading in readings if reading.excess > 1e-9]
    if broken:
        more = f" and {len(broken) - _RULES_SHOWN} more" if len(broken) > _RULES_SHOWN else ""
        out.print()
        out.print(f"Broken today: {', '.join(broken[:_RULES_SHOWN])}{more}.")


def _orders(out: Console, plan: MultistagePlan) -> None:
    currency, value = plan.book.settings.book.currency, plan.book.value
    heading(out, "What to trade now")
    if plan.orders:
        numbers = ("quantity", currency, "before", "after")
        made = table("order", "instrument", *numbers, right=numbers)
        for order in plan.orders:
            made.add_row(*order_cells(order), style=order_style(order))
        left = (format_percent(plan.book.cash / value), format_percent(plan.final.cash / plan.final.value))
        made.add_row("", plan.book.cash_instrument, "", format_money(plan.final.cash), *left, style="dim")
        out.print(fit_table(out, made, "before", "quantity", "after"))
        sold, bought = float(plan.final.sold.sum()), float(plan.final.bought.sum())
        out.print(
            f"{len(plan.orders)} order{'s' if len(plan.orders) > 1 else ''}: sells {format_money(sold)}, buys "
            f"{format_money(bought)} {currency}; costs {format_money(plan.final.costs)} {currency}."
        )
    out.print(_verdict(plan))


def _verdict(plan: MultistagePlan) -> str:
    if plan.gain_bps is None:
        return "Must trade: who holds today cannot keep the rules at a review."
    does = "gain" if plan.gain_bps > -0.05 else "lose"
    gain = f"{abs(plan.gain_bps):.1f} bps of {_measure(plan)} against holding"
    gain += " until the first review" if plan.staged.tree.children(0)[0].size else ""
    if plan.verdict == "must trade":
        return f"Must trade: today's holdings break a rule; trading {does}s {gain}, after costs."
    if plan.verdict == "trade":
        return f"Worth it: gains {gain}, after costs."
    if not plan.weighed_orders:
        return "nothing: today's holdings are the plan"
    least = plan.book.settings.trading.min_gain_bps
    return f"Holding: trading would {does} {gain}. Wanted: more than {least:g} bps (trading.min_gain_bps)."


def _figures(out: Console, plan: MultistagePlan) -> None:
    heading(out, f"Why: over {plan.book.settings.months:.4g} months")
    numbers = ("today, held", "lots" if plan.orders else "held")
    made = table("", *numbers, right=numbers)
    rows = [
        (_first_figure(plan), None if plan.holding is None else plan.holding.equivalent, plan.followed.equivalent),
        ("expected return, never trading again", plan.before.expected_return, plan.after.expected_return),
        ("worst-case return, never trading again", plan.before.worst_case_return, plan.after.worst_case_return),
        *((f"in {name.replace('_', ' ')}", plan.before.buckets[name], share)
          for name, share in plan.after.buckets.items()),
    ]  # fmt: skip
    for name, today, after in rows:
        made.add_row(name, format_percent(today), format_percent(after))
    out.print(made)
    robust = plan.book.settings.robust
    guarded = "the beliefs as they are"
    if robust.set != "none":
        guarded = f"the probabilities of the set '{robust.set.replace('_', ' ')}'"
        guarded += f" {_where(plan.staged)}" if plan.staged.tree.nodes > 1 else ""
    out.print(f"The plan {_aim(plan.staged)}, over {guarded}. {_meaning(plan.staged)}")
    if plan.staged.at_leaves:
        out.print(
            f"{objective_label(plan.staged).capitalize()}: solved again at a review it may decide otherwise than here."
        )


def _measure(plan: MultistagePlan) -> str:
    """What plans are compared by."""
    return "risk-adjusted return" if isinstance(plan.staged.utility, OneDecision) else "sure return"


def _first_figure(plan: MultistagePlan) -> str:
    utility = plan.staged.utility
    if isinstance(utility, Regret | ExAnteRegret):
        return "minus the worst-case regret" + (" at the leaves" if plan.staged.at_leaves else "")
    if isinstance(utility, MeanCVaR) and plan.staged.tree.nodes > 1:
        return "minus the nested CVaR, deciding again at reviews"
    return "risk-adjusted return" if isinstance(utility, OneDecision) else "sure return, deciding again at reviews"


def _where(staged: MultistageMandate) -> str:
    """What the set is around."""
    return "over all paths and scenarios at once" if staged.at_leaves else "at every node"


def _aim(staged: MultistageMandate) -> str:
    """What the plan does, in words."""
    utility = staged.utility
    if isinstance(utility, Regret | ExAnteRegret):
        return f"minimises {_regretted(staged)}"
    if isinstance(utility, MixtureVariance):
        return f"maximises the worst-case return less {utility.aversion:g} x variance within and between scenarios"
    if isinstance(utility, MeanCVaR):
        return f"minimises {_tail(utility, nested=staged.tree.nodes > 1)}"
    if isinstance(utility, PowerUtility):
        return f"maximises the worst-case expected final wealth at relative risk aversion {utility.aversion:g}"
    return f"maximises the worst-case expected {'log of the ' if isinstance(utility, LogUtility) else ''}final wealth"


def _regretted(staged: MultistageMandate) -> str:
    if staged.at_leaves:
        return "the worst-case regret at the leaves: what who had known path and scenario would have earned more"
    if isinstance(staged.utility, ExAnteRegret):
        return "the regret of not knowing the probabilities: what is best under them would earn more"
    return "the worst-case regret: what the best portfolio of each scenario would have earned more"


def _tail(utility: MeanCVaR, *, nested: bool) -> str:
    parts = f"{1 - utility.weight:.4g} x expected loss + {utility.weight:g} x CVaR at {utility.level:.4g}"
    draws = f"on {utility.growth.shape[1]:,} draws a scenario"
    if nested:
        return f"nested CVaR: at every node the worst case of {parts} of what is ahead, at the end {draws}"
    return f"the worst case of {parts} {draws}"


def _meaning(staged: MultistageMandate) -> str:
    """What the compared figure is, and where risk within a scenario counts."""
    utility = staged.utility
    outside = "The risk within a scenario is in rules alone, not in this objective."
    if isinstance(utility, LinearUtility | LogUtility | PowerUtility | PiecewiseLinearUtility):
        return f"Sure return: the certainty equivalent. {outside}"
    said = "Risk-adjusted return: minus what is minimised."
    if isinstance(utility, MeanCVaR) and staged.tree.nodes > 1:
        return f"{said} The risk within a scenario counts from the last decision on."
    return f"{said} {outside}" if isinstance(utility, Regret | ExAnteRegret) else said


def _proof(out: Console, plan: MultistagePlan) -> None:
    tree, policy = plan.staged.tree, plan.policy
    out.print()
    kept = "today's holdings keep every rule"
    if plan.orders:
        lost = max(plan.rounding_bps, 0.0)
        kept = f"the orders keep all {len(plan.readings)} rules and lose {lost:.2f} bps to whole lots"
    after = f" after {'; '.join(policy.attempts)}" if policy.attempts else ""
    out.print(
        f"Proof: {kept}; the policy keeps every rule at "
        f"{tree.nodes} decision{'s' if tree.nodes > 1 else ''} over {tree.leaves} outcomes, its worst case recomputed "
        f"{'node by node' if tree.nodes > 1 and not plan.staged.at_leaves else 'from the formulas'}; within "
        f"{max(policy.gap * 1e4, 0.001):.3f} bps of the best there is ({policy.solver}{after}, checked outside it)."
    )


# How the worth of waiting looks: a row a measure, a column an announcement share, money at the book's own.
#


def show_value_of_waiting(found: ValueOfWaitingByShare) -> None:
    """Print what waiting is worth."""
    out, settings = console(), found.book.settings.book
    out.print(f"{settings.name} · account {found.book.account} · {settings.as_of}", style="bold")
    heading(out, "What waiting is worth, in bps of the account, by announcement share")
    columns = [f"{share:g}" for share in found.shares]
    money = f"{settings.currency} at {found.stated:g}"
    made = table("", *columns, money, right=(*columns, money))
    for name, words in MEASURES.items():
        bps = [getattr(one, name) for one in found.worth]
        own = getattr(found.at_stated(), name)
        shown = ["none" if one is None else f"{one:.0f}" for one in bps]
        # a tenth of a basis point is what is stable from machine to machine, and so is the money that it makes
        made.add_row(words, *shown, "" if own is None else format_money(round(own, 1) / 1e4 * found.book.value))
    out.print(made)
    out.print(
        "Announcement share: the part of a re-pricing that comes with the news, before anyone can trade. In sure "
        "return to the horizon. EVPI and VSS under the belief as it is; EVPI is mostly the spread of the scenarios."
    )
    told: dict[tuple[str, str], list[str]] = {}
    for share, one in zip(found.shares, found.worth, strict=True):
        for reason in one.missing.items():
            told.setdefault(reason, []).append(f"{share:g}")
    for (name, why), shares in told.items():
        out.print(f"None at {', '.join(shares)}: there is no policy '{name.replace('_', ' ')}': {why}.")
