"""Charts of a plan: of `rebalance --json`, which is plan.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allocator.reporting.charts import (
    AFTER,
    AMBER,
    BAND,
    BEFORE,
    BPS,
    BREACH,
    GOOD,
    MOST,
    MUTED,
    NARROW,
    PERCENT,
    SERIES,
    Rows,
    Series,
    Spec,
    grouped_bars,
    largest,
    stacked_bars,
    tree_order,
)


def weights_by_bucket(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """Share of each bucket, current and proposed."""
    before, after = (plan["figures"][when]["buckets"] for when in ("before", "after"))
    names = [name for name in before if before[name] or after[name]]
    words = [name.replace("_", " ") for name in names]
    return _current_and_proposed(words, [before[name] for name in names], [after[name] for name in names], width)


def _current_and_proposed(
    names: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    width: int,
    notes: Sequence[str] | None = None,
) -> Spec | None:
    series = [Series("current", BEFORE, before), Series("proposed", AFTER, after)]
    return grouped_bars(names, series, width, PERCENT, notes=notes) if names else None


def weights_by_instrument(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """Weight of each name, current and proposed, the largest changes first; the others in one row."""
    rows = [row for row in plan["positions"] if row["weight_before"] or row["weight_after"]]
    names = [row["instrument"] for row in rows]
    changes = [abs(row["weight_after"] - row["weight_before"]) + 1e-6 * row["weight_after"] for row in rows]
    shown, others = largest(names, changes)
    before, after = ([rows[i][key] for i in shown] for key in ("weight_before", "weight_after"))
    shown_names = [names[i] for i in shown]
    if others:
        shown_names.append(f"{len(others)} others")
        before.append(sum(rows[i]["weight_before"] for i in others))
        after.append(sum(rows[i]["weight_after"] for i in others))
    return _current_and_proposed(shown_names, before, after, width)


def targets_and_no_trade(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """Current weight and target of each name on the weights at which trading it alone is not worth its cost."""
    rows = [row for row in plan["positions"] if row["no_trade_from"] is not None]
    if not rows:
        return None
    changes = [row["weight_target"] - row["weight_before"] for row in rows]
    shown, _ = largest([row["instrument"] for row in rows], changes)
    kept = [rows[i] for i in shown]
    most = 1.25 * max(max(row["weight_before"], row["weight_target"], 0.01) for row in kept)
    ends = [(max(row["no_trade_from"], -most), min(row["no_trade_to"], most)) for row in kept]
    told = [row[key] for row in kept for key in ("weight_before", "weight_target")] + [e for both in ends for e in both]
    chart = Rows([row["instrument"] for row in kept], width, told, PERCENT, room=3, dots=True)
    chart.key((("no trade", BAND), ("current", BEFORE), ("target", AFTER)))
    at = [{"name": row["instrument"], "y": chart.line(i)} for i, row in enumerate(kept)]
    bands = [
        place | {"start": low, "value": high, "from": row["no_trade_from"], "to": row["no_trade_to"]}
        for place, row, (low, high) in zip(at, kept, ends, strict=True)
    ]
    chart.bars(BAND, bands)
    chart.rules(BEFORE, [place | {"start": row["weight_before"], "value": row["weight_target"]}
                         for place, row in zip(at, kept, strict=True)])  # fmt: skip
    for key, colour, filled in (("weight_before", BEFORE, False), ("weight_target", AFTER, True)):
        chart.dots(colour, [place | {"value": row[key]} for place, row in zip(at, kept, strict=True)], filled=filled)
    return chart.spec()


def returns_per_scenario(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """Return of the current and the proposed portfolio in each scenario, with its belief and adverse probability."""
    rows = plan["scenarios"]
    if not rows:
        return None
    notes = [f"{PERCENT.text(row['probability'])} → {PERCENT.text(row['adverse_probability'])}" for row in rows]
    before, after = ([row[key] for row in rows] for key in ("return_before", "return_after"))
    return _current_and_proposed([row["scenario"].replace("_", " ") for row in rows], before, after, width, notes)


_PARTS = (("required", "required"), ("disagreement", "disagreement"), ("undigested_news", "undigested news"),
          ("not_anchored", "not anchored"))  # fmt: skip


def expected_return_parts(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """What of the expected return is required, disagreement with the market, and undigested news."""
    figures = [plan["figures"][when] for when in ("before", "after")]
    parts = [
        Series(name, SERIES[i], [one.get(key) for one in figures])
        for i, (key, name) in enumerate(_PARTS)
        if any(one.get(key) for one in figures)
    ]
    return stacked_bars(["current", "proposed"], parts, width, PERCENT) if parts else None


_MOTIVES = ("expected_return", "robustness", "risk", "rules", "costs", "funding", "return_error", "objectives")


def order_attribution(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """Why each order is made: what each motive gives of the gain, in bps of the account."""
    told = plan["attribution"]
    if told is None or not told["orders"]:
        return None
    shown, _ = largest([row["instrument"] for row in told["orders"]],
                       [sum(abs(row[motive]) for motive in _MOTIVES) for row in told["orders"]])  # fmt: skip
    rows = [told["orders"][i] for i in shown]
    motives = [motive for motive in _MOTIVES if any(abs(row[motive]) >= 0.05 for row in rows)]
    parts = [
        Series(motive.replace("_", " "), (*SERIES, BEFORE, BAND)[i], [row[motive] for row in rows])
        for i, motive in enumerate(motives)
    ]
    return stacked_bars([row["instrument"] for row in rows], parts, width, BPS, "bps of the account")


def risk_by_instrument(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """What each name adds to volatility and to expected shortfall at 95 % over the horizon, the largest first."""
    risk = plan["risk"]["after"]
    at = next((i for i, tail in enumerate(risk["tails"]) if (tail["days"], tail["level"]) == (None, 0.95)), None)
    rows = [] if at is None else risk["positions"]
    losses = [row["expected_shortfall"][at] for row in rows]
    if not any(losses):
        return None
    names = [row["instrument"] for row in rows]
    shown, others = largest(names, losses)
    series = []
    for title, colour, added in (
        ("volatility, a year", BEFORE, [row["volatility"] for row in rows]), ("expected shortfall", AFTER, losses),
    ):  # fmt: skip
        rest = [sum(added[i] for i in others)] if others else []
        series.append(Series(title, colour, [*(added[i] for i in shown), *rest]))
    return grouped_bars([*(names[i] for i in shown), *[f"{len(others)} others"] * bool(others)], series, width, PERCENT)


def limits_used(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """Use of each limit on the final lots, the fullest first, in the colour of its state."""
    # a breach of a limit of 0 has no use, and is beyond every other
    found = [(rule, float("inf") if rule["use"] is None else rule["use"]) for rule in plan["rules"]
             if rule["use"] is not None or rule["state"] == "breach"]  # fmt: skip
    if not found:
        return None
    shown = sorted(found, key=lambda each: -each[1])[:MOST]
    uses = [min(use, 2.0) for _, use in shown]
    unit = PERCENT
    chart = Rows([rule["rule"] for rule, _ in shown], width, [*uses, 1.0], unit)
    colours = {"green": GOOD, "amber": AMBER, "breach": BREACH}
    chart.key((("below 90%", GOOD), ("from 90%", AMBER), ("breach", BREACH)))
    marks = [
        {
            "name": rule["rule"],
            "start": 0.0,
            "value": drawn,
            "use": use if use < 2 else 2.0,
            "y": chart.line(i),
            "text": "breach" if use == float("inf") else unit.text(use),
        }
        for i, ((rule, use), drawn) in enumerate(zip(shown, uses, strict=True))
    ]
    for state, colour in colours.items():
        chart.bars(colour, [mark for mark, (rule, _) in zip(marks, shown, strict=True) if rule["state"] == state])
    chart.rules(MUTED, [{"start": 1.0, "value": 1.0, "y": chart.top, "y2": chart.top + len(shown) * chart.pitch}])
    near = [mark | {"value": 1.0} if 0.85 < mark["use"] < 1 else mark for mark in marks]  # clear of the line at 100 %
    chart.numbers(near)
    return chart.spec()


def caution_release(plan: Mapping[str, Any], *, width: int) -> Spec | None:
    """The tree of reviews: at each node how likely it is, the radius, and what robustness still costs there."""
    if plan["policy"] is None:
        return None
    rows, nodes = plan["policy"]["caution_schedule"], plan["policy"]["nodes"]
    parents = [node["parent"] for node in nodes]
    order, depths = tree_order(parents)
    step = 12.0 if width < NARROW else 18.0
    costs = [rows[i]["cost_of_robustness_bps"] or 0.0 for i in order]  # none where no policy was found to tell it by
    radius, probability = ("", "") if width < NARROW else ("radius ", "probability ")
    said = [
        (None if (cost := rows[i]["cost_of_robustness_bps"]) is None else f"{BPS.text(cost)} bps",
         None if (reach := rows[i]["radius"]) is None else f"{radius}{reach:.3f}",  # where one set is for all nodes
         f"{probability}{PERCENT.text(rows[i]['probability'])}")
        for i in order
    ]  # fmt: skip
    texts = [" · ".join(filter(None, parts)) for parts in said]
    names = [rows[i]["node"] if rows[i]["date"] in rows[i]["node"] else f"{rows[i]['node']} · {rows[i]['date']}"
             for i in order]  # fmt: skip
    indents = [14 + step * depths[i] for i in order]
    left = max(indents) if width < NARROW else 0.44 * width
    chart = Rows(names, width, costs, BPS, room=max(map(len, texts)) - 4, indents=indents, left=left,
                 title=f"cost of robustness, bps{' · radius · probability' if width < NARROW else ''}")  # fmt: skip
    chart.key((("open", AFTER), ("settled", GOOD)))
    where = {node: place for place, node in enumerate(order)}
    x = {node: chart.at(6 + step * depths[node]) for node in order}
    for node in order:
        own = chart.middle(where[node])
        if parents[node] >= 0:
            up, above = x[parents[node]], chart.middle(where[parents[node]])
            chart.rules(MUTED, [{"start": up, "value": up, "y": above, "y2": own}], thick=1)
            chart.rules(MUTED, [{"start": up, "value": x[node], "y": own}], thick=1)
    for settled, colour in ((False, AFTER), (True, GOOD)):
        these = [node for node in order if rows[node]["settled"] == settled]
        chart.dots(colour, [{"value": x[node], "y": chart.middle(where[node])} for node in these], size=50)
        marks = [
            {"name": rows[node]["node"], "start": 0.0, "value": costs[where[node]],
             "y": chart.line(where[node]), "text": texts[where[node]]}
            for node in these
        ]  # fmt: skip
        chart.bars(colour, marks)
        chart.numbers(marks)
    return chart.spec()
