"""How plans with reviews look: how caution is released, whether a policy is followed, what waiting is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from allocator.ambiguity.product import AxisShare
from allocator.display.console import (
    answer_heading,
    console,
    describe_axes,
    describe_columns,
    fit_table,
    format_money,
    format_percent,
    format_signed_percent,
    heading,
    table,
)
from allocator.multistage.review_policy import CautionScheduleRow, ReviewPolicy
from allocator.plan.follow import PolicyDeviation

if TYPE_CHECKING:
    from allocator.multistage.value_of_waiting import ValueOfWaitingByShare

_WIDE = 100
"""Columns from which on more than the largest trades of a node are shown."""
_ANSWERS = 2
"""Hypotheses with a column of their own; of two the first alone."""
_OTHERS = 66
"""Columns that the table of caution takes besides the trades."""


def caution_table(out: Console, policy: ReviewPolicy, *, first_review_only: bool = False) -> Table:
    """What is believed, guarded against and held: now and at the first review, or at every review."""
    rows = policy.caution_schedule
    if first_review_only:
        first = min((one.date for one in rows if one.kind != "now"), default=None)
        rows = tuple(one for one in rows if one.kind == "now" or one.date == first)
    answers = [
        answer_heading(name)
        for name in list(rows[0].hypotheses or {})[: 1 if len(rows[0].hypotheses or {}) == 2 else _ANSWERS]
    ]
    axes = tuple(rows[0].axes or ())
    numbers = ("probability", *answers, "radius", *(axes or ("robustness",)), _pair_header(policy))
    day = rows[-1].date if first_review_only and len(rows) > 1 else None
    made = table(f"by {day}" if day else "if", *numbers, "largest trades, %", right=numbers, compact=True)
    shown = 2 if out.width < _WIDE else 5
    for one in rows:
        if one.kind != "now" and one.date != day:
            if not first_review_only:
                made.add_row(str(one.date), style="dim")
            day = one.date
        made.add_row(
            f"{one.kind} {one.about}".rstrip(),
            format_percent(one.probability, 0),
            *(format_percent(p, 0) for p in list((one.hypotheses or {}).values())[: len(answers)]),
            "" if one.radius is None else f"{one.radius:z.3f}",
            *(map(_of_axis, one.axes.values()) if one.axes else [_in_bps(one.cost_of_robustness_bps)]),
            "/".join(f"{one.shares[name] * 100:z.0f}" for name in policy.book.settings.buckets.shown) + "%",
            _moves(one, shown, None if first_review_only else out.width - _OTHERS),
            style="bold" if one.kind == "now" else "green" if one.settled else "",
        )
    pair, trades = _pair_header(policy), "largest trades, %"
    return fit_table(out, made, "radius", *((pair, trades) if axes else (trades, pair)))


def _of_axis(one: AxisShare) -> str:
    """What adverse probabilities of an axis take, and what guarding against them costs."""
    return f"{_in_bps(one.adverse_bps)}/{_in_bps(one.cost_bps)}"


def _in_bps(bps: float | None) -> str:
    return "none" if bps is None else f"{bps:z.0f}"


def _pair_header(policy: ReviewPolicy) -> str:
    """The headline in short: its first letters."""
    return "/".join(name[:3] for name in policy.book.settings.buckets.shown)


def describe_caution_columns(policy: ReviewPolicy, made: Table) -> str:
    """What the columns of the table mean, those that it has."""
    later = [one for one in policy.caution_schedule if one.settled and one.kind != "now"]
    settled = [" ".join(filter(None, (one.kind, one.about, str(one.date)))) for one in later]
    told = f" Settled: {'; '.join(settled)}." if settled else ""
    measure, short = policy.mandate.utility.measure, _pair_header(policy)
    pair = " and ".join(policy.book.settings.buckets.shown).replace("_", " ")
    legend = describe_columns(
        made,
        {
            "probability": "Probability: of coming there.",
            "radius": "Radius: how far probabilities may be wrong.",
            "answer": f"Answer, regime: bps of {measure} that adverse probabilities of it take from there on / that "
            "guarding against them costs if the belief is right.",
            "robustness": f"Robustness: its cost from there on if the belief is right, in bps of {measure}.",
            short: f"{short[0].upper()}{short[1:]}: {pair} after the trades.",
        },
    )
    return legend + told


def _moves(one: CautionScheduleRow, shown: int, width: int | None) -> str:
    """The largest trades in percent, on one line where they fit: a name is not parted from its number."""
    # rounded first, so that a lot that makes exactly half a percent is shown alike everywhere
    parts = ((name, round(part * 100, 6)) for name, part in list(one.trades.items())[:shown])
    told = [f"{name} {part:+.0f}" for name, part in parts if round(part)]
    line = ", ".join(told)
    return line if width is None or len(line) <= width else "\n".join(told)


def describe_deviation(found: PolicyDeviation) -> list[str]:
    """Whether a plan follows what an earlier one announced, how far from it it is, and what has changed since."""
    apart = ", ".join(f"{name} {format_signed_percent(part)}" for name, part in found.differences.items())
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
    words, guarded = staged.words, "the beliefs as they are"
    if robust.guards:
        axes = [f"{name}: {axis.name_of_set}" for name, axis in robust.axes.items()]
        kinds = axes or [robust.name_of_set]
        guarded = f"the probabilities of the set '{', '.join(kinds).replace('_', ' ')}'"
        if staged.tree.nodes > 1:
            guarded += " over all paths and scenarios at once" if staged.at_leaves else " at every node"
    told = f"The plan {words.aim}, over {guarded}. {words.meaning}"
    if staged.at_leaves:
        told += f" {words.label.capitalize()}: solved again at a review it may decide otherwise than here."
    return told


# How the worth of waiting looks: a row a measure, a column an announcement share, money at the book's own.
#


def show_value_of_waiting(found: ValueOfWaitingByShare) -> None:
    """Print what waiting is worth."""
    from allocator.multistage.mandate import OBJECTIVES
    from allocator.multistage.value_of_waiting import MEASURES

    out, settings = console(), found.book.settings.book
    compared = OBJECTIVES[found.book.settings.mandate.objective].measure
    out.print(f"{settings.name} · account {found.book.account} · {settings.as_of}", style="bold")
    heading(out, "What waiting is worth, in bps of the account, by announcement share")
    columns = [f"{share:zg}" for share in found.shares]
    money = f"{settings.currency} at {found.stated:zg}"
    made = table("", *columns, money, right=(*columns, money))
    for name, measure in MEASURES.items():
        bps, own = [one.bps(name) for one in found.worth], found.at_stated().bps(name)
        shown = ["none" if one is None else f"{one:z.0f}" for one in bps]
        # a tenth of a basis point is what is stable from machine to machine, and so is the money that it makes
        made.add_row(measure.words, *shown, "" if own is None else format_money(round(own, 1) / 1e4 * found.book.value))
    out.print(made)
    out.print(
        "Announcement share: the part of a re-pricing that comes with the news, before anyone can trade. Compared are "
        f"{compared}s. EVPI and VSS under the belief as it is; EVPI is mostly the spread of the scenarios."
    )
    if axes := found.at_stated().axes:
        out.print(f"At {found.stated:zg}: {describe_axes(axes, f'the {compared}')}")
    told: dict[tuple[str, str], list[str]] = {}
    for share, one in zip(found.shares, found.worth, strict=True):
        for reason in one.missing.items():
            told.setdefault(reason, []).append(f"{share:zg}")
    for (name, why), shares in told.items():
        out.print(f"None at {', '.join(shares)}: there is no policy '{name.replace('_', ' ')}': {why}.")
