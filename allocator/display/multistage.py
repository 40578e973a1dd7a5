"""How plans with reviews look: how caution is released, whether a policy is followed, what waiting is worth."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from allocator.display.console import (
    console,
    fit_table,
    format_money,
    format_percent,
    heading,
    table,
)
from allocator.multistage.mandate import MultistageMandate, objective_label
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
from allocator.multistage.review_policy import ReviewPolicy
from allocator.multistage.value_of_waiting import MEASURES, CautionScheduleRow, ValueOfWaitingByShare
from allocator.plan.follow import PolicyDeviation

_WIDE = 100
"""Columns from which on more than the largest trades of a node are shown."""
_OTHERS = 66
"""Columns that the table of caution takes besides the trades."""
_LARGE = 0.005
"""Of the account: smaller trades are not among the largest."""


def caution_table(out: Console, policy: ReviewPolicy, *, first_review_only: bool = False) -> Table:
    """What is believed, guarded against and held: now and at the first review, or at every review."""
    rows = policy.caution_schedule
    if first_review_only:
        first = min((one.date for one in rows if one.kind != "now"), default=None)
        rows = tuple(one for one in rows if one.kind == "now" or one.date == first)
    numbers = ("probability", "P(gen)", "radius", "robustness", "eff/cap")
    day = rows[-1].date if first_review_only and len(rows) > 1 else None
    made = table(f"by {day}" if day else "if", *numbers, "largest trades, %", right=numbers, compact=True)
    shown = 2 if out.width < _WIDE else 5
    for one in rows:
        if one.kind != "now" and one.date != day:
            if not first_review_only:
                made.add_row(str(one.date), style="dim")
            day = one.date
        made.add_row(
            one.kind,
            format_percent(one.probability, 0),
            "" if one.generalizable is None else format_percent(one.generalizable, 0),
            "" if one.radius is None else f"{one.radius:.3f}",
            "none" if one.cost_of_robustness_bps is None else f"{one.cost_of_robustness_bps:.0f}",
            f"{one.shares['efficiency'] * 100:.0f}/{one.shares['capital_intensity'] * 100:.0f}%",
            _moves(one, shown, None if first_review_only else out.width - _OTHERS),
            style="bold" if one.kind == "now" else "green" if one.settled else "",
        )
    return fit_table(out, made, "radius", "largest trades, %", "eff/cap")


def describe_caution_columns(policy: ReviewPolicy, made: Table) -> str:
    """What the columns of the table mean, those that it has."""
    settled = [f"{one.kind} {one.date}" for one in policy.caution_schedule if one.settled and one.kind != "now"]
    told = f" Settled: {'; '.join(settled)}." if settled else ""
    shown = [column.header for column in made.columns]
    radius = " Radius: how far probabilities may be wrong." if "radius" in shown else ""
    shares = " Eff/cap: efficiency and capital intensity after the trades." if "eff/cap" in shown else ""
    return (
        f"Probability: of coming there.{radius} Robustness: its cost from there on if the belief is right, in bps of "
        f"{equivalent_measure(policy.mandate)}.{shares}{told}"
    )


def _moves(one: CautionScheduleRow, shown: int, width: int | None) -> str:
    """The largest trades in percent, on one line where they fit: a name is not parted from its number."""
    # rounded first, so that a lot that makes exactly half a percent is shown alike everywhere
    told = [
        f"{name} {round(part * 100, 6):+.0f}" for name, part in [*one.trades.items()][:shown] if abs(part) >= _LARGE
    ]
    line = ", ".join(told)
    return line if width is None or len(line) <= width else "\n".join(told)


def describe_deviation(found: PolicyDeviation) -> list[str]:
    """Whether a plan follows what an earlier one announced, how far from it it is, and what has changed since."""
    apart = ", ".join(f"{name} {part:+.1%}" for name, part in found.differences.items())
    decision = f"what '{found.node}' announced" + (", held since" if found.between_reviews else "")
    if found.follows:
        told = f"Follows {decision}: {format_percent(found.distance, 2)} of the account is elsewhere."
    else:
        told = f"Departs from {decision} by {format_percent(found.distance)} of the account: {apart}."
    causes = [f"Changed: {cause}." for cause in found.causes] or ["Nothing else has changed."]
    return [told, *causes]


def describe_tree_objective(policy: ReviewPolicy) -> str:
    """What the policy is best at, over which probabilities, and what its compared figure is."""
    staged, robust = policy.mandate, policy.book.settings.robust
    guarded = "the beliefs as they are"
    if robust.guards:
        guarded = f"the probabilities of the set '{robust.set.replace('_', ' ')}'"
        guarded += f" {_where(staged)}" if staged.tree.nodes > 1 else ""
    told = f"The plan {_aim(staged)}, over {guarded}. {_meaning(staged)}"
    if staged.at_leaves:
        told += f" {objective_label(staged).capitalize()}: solved again at a review it may decide otherwise than here."
    return told


def equivalent_measure(staged: MultistageMandate) -> str:
    """What plans are compared by."""
    return "risk-adjusted return" if isinstance(staged.utility, OneDecision) else "certainty equivalent"


def _where(staged: MultistageMandate) -> str:
    """What the set is around."""
    return "over all paths and scenarios at once" if staged.at_leaves else "at every node"


def _aim(staged: MultistageMandate) -> str:
    """What the plan does, in words."""
    utility = staged.utility
    if isinstance(utility, Regret | ExAnteRegret):
        return f"minimises {_regretted(staged)}"
    if isinstance(utility, MixtureVariance):
        return (
            f"maximises the adverse expected return less {utility.aversion:g} x variance within and between scenarios"
        )
    if isinstance(utility, MeanCVaR):
        return f"minimises {_tail(utility, nested=staged.tree.nodes > 1)}"
    if isinstance(utility, PowerUtility):
        aversion = f"relative risk aversion {utility.aversion:g}"
        return f"maximises the expected final wealth under adverse probabilities at {aversion}"
    what = "log of the final wealth" if isinstance(utility, LogUtility) else "final wealth"
    return f"maximises the expected {what} under adverse probabilities"


def _regretted(staged: MultistageMandate) -> str:
    if staged.at_leaves:
        return "the largest regret at the leaves: what who had known path and scenario would have earned more"
    if isinstance(staged.utility, ExAnteRegret):
        return "the regret of not knowing the probabilities: what is best under them would earn more"
    return "the largest regret: what the best portfolio of each scenario would have earned more"


def _tail(utility: MeanCVaR, *, nested: bool) -> str:
    parts = f"{1 - utility.weight:.4g} x expected loss + {utility.weight:g} x CVaR at {utility.level:.4g}"
    draws = f"on {utility.growth.shape[1]:,} draws a scenario"
    if nested:
        return f"nested CVaR: at every node the largest over the set of {parts} of what is ahead, at the end {draws}"
    return f"the largest over the set of {parts} {draws}"


def _meaning(staged: MultistageMandate) -> str:
    """What the compared figure is, and where risk within a scenario counts."""
    utility = staged.utility
    outside = "The risk within a scenario is in rules alone, not in this objective."
    if isinstance(utility, LinearUtility | LogUtility | PowerUtility | PiecewiseLinearUtility):
        return f"Compared is the certainty equivalent. {outside}"
    said = "Risk-adjusted return: minus what is minimised."
    if isinstance(utility, MeanCVaR) and staged.tree.nodes > 1:
        return f"{said} The risk within a scenario counts from the last decision on."
    return f"{said} {outside}" if isinstance(utility, Regret | ExAnteRegret) else said


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
        "Announcement share: the part of a re-pricing that comes with the news, before anyone can trade. Compared are "
        "certainty equivalents. EVPI and VSS under the belief as it is; EVPI is mostly the spread of the scenarios."
    )
    told: dict[tuple[str, str], list[str]] = {}
    for share, one in zip(found.shares, found.worth, strict=True):
        for reason in one.missing.items():
            told.setdefault(reason, []).append(f"{share:g}")
    for (name, why), shares in told.items():
        out.print(f"None at {', '.join(shares)}: there is no policy '{name.replace('_', ' ')}': {why}.")
