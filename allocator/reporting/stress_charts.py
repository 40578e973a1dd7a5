"""Charts of a plan under stress, of `stress --json`, of frontiers, of `frontier --json`, and of `trial --json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from allocator.reporting.charts import (
    AFTER,
    BAND,
    BEFORE,
    BPS,
    MOST,
    MUTED,
    NARROW,
    PERCENT,
    SERIES,
    TEXT,
    Column,
    Line,
    Marks,
    Rows,
    Series,
    Spec,
    Unit,
    diverging,
    framed,
    grid,
    grouped_bars,
    largest,
    layer,
    lines,
    ticks_between,
)

_LEVELS = ("q05", "q25", "q50", "q75", "q95")


def shocks_by_loss(
    stress: Mapping[str, Any], *, width: int, measure: str = "immediate_return", most: int = MOST
) -> Spec | None:
    """A return under each shock, current and proposed, the largest losses of the proposed portfolio first."""
    shocks = stress["shocks"]
    if shocks is None or not shocks["effects"]:
        return None
    effects = sorted(shocks["effects"], key=lambda effect: effect["proposed"][measure])[:most]
    series = [Series(name, colour, [effect[name][measure] for effect in effects])
              for name, colour in (("current", BEFORE), ("proposed", AFTER))]  # fmt: skip
    return grouped_bars([_words(effect["shock"]) for effect in effects], series, width, PERCENT)


def _words(name: str) -> str:
    return name.replace("_", " ")


def contributions_of_the_worst(stress: Mapping[str, Any], *, width: int) -> Spec | None:
    """What each name adds to the return at once under the shock that costs the proposed portfolio most."""
    shocks = stress["shocks"]
    told = [effect for effect in (shocks or {}).get("effects", ()) if effect.get("positions")]
    if not told:
        return None
    worst = min(told, key=lambda effect: effect["proposed"]["immediate_return"])
    added = {
        whose: {name: one["immediate_return"] for name, one in worst["positions"].get(whose, {}).items()}
        for whose in ("current", "proposed")
    }
    names = list(dict.fromkeys([*added["proposed"], *added["current"]]))
    sizes = [max(abs(added[whose].get(name, 0.0)) for whose in added) for name in names]
    shown, others = largest(names, sizes)
    kept = [names[i] for i in shown]
    series = []
    for whose, colour in (("current", BEFORE), ("proposed", AFTER)):
        rest = [sum(added[whose].get(names[i], 0.0) for i in others)] if others else []
        series.append(Series(whose, colour, [*(added[whose].get(name, 0.0) for name in kept), *rest]))
    return grouped_bars(kept + ([f"{len(others)} others"] if others else []), series, width, PERCENT)


def optimum_over_beliefs(stress: Mapping[str, Any], *, width: int, of: str = "") -> Spec | None:
    """The optimum over two probabilities, today's belief marked: its objective, or the weight of `of`."""
    told = stress["map"]
    points = [] if told is None else [point for point in told["points"] if point["objective"] is not None]
    if not points:
        return None
    place = None if not of else told["instruments"].index(of)
    values = [point["objective"] if place is None else point["weights"][place] for point in points]
    sides = [sorted({point["at"][side] for point in told["points"]}) for side in (0, 1)]
    steps = [1 / max(1, len(side) - 1) for side in sides]
    shade = diverging(values)
    inner = min(width - 64, 420)
    axes: list[dict[str, Any]] = [
        {
            "type": "quantitative",
            "scale": {"domain": [-step / 2, 1 + step / 2], "nice": False, "zero": False},
            "axis": {
                "title": f"probability of {name}",
                "titleLimit": inner,
                "format": ".0%",
                "grid": False,
                "values": list(_TENTHS),
            },
        }
        for step, name in zip(steps, told["probabilities"], strict=True)
    ]
    shades: dict[str, list[dict[str, Any]]] = {}
    found = {tuple(point["at"]): value for point, value in zip(points, values, strict=True)}
    for row in sides[1]:  # neighbours of one shade are one mark
        before: tuple[str, dict[str, Any]] | None = None
        for column in sides[0]:
            value = found.get((column, row))
            if value is None:
                before = None
                continue
            colour = shade(value)
            if before is None or before[0] != colour:
                run = {"x0": column - steps[0] / 2, "y0": row - steps[1] / 2, "y1": row + steps[1] / 2}
                shades.setdefault(colour, []).append(run)
                before = colour, run
            before[1]["x1"] = column + steps[0] / 2
    ends = {"x2": {"field": "x1"}, "y2": {"field": "y1"}}
    x, y = ({"field": f"{axis}0"} | own for axis, own in zip("xy", axes, strict=True))
    layers = [
        layer({"type": "rect", "color": colour, "stroke": colour, "strokeWidth": 0.5}, marks, x=x, y=y, **ends)
        for colour, marks in shades.items()
    ]
    apart = [max(1, math.ceil(size / (inner * step))) for size, step in zip((64, 44), steps, strict=True)]
    numbers = [
        {"x0": column, "y0": row, "value": found[column, row], "text": PERCENT.text(found[column, row])}
        for row in sides[1][apart[1] // 2 :: apart[1]]
        for column in sides[0][apart[0] // 2 :: apart[0]]
        if (column, row) in found and math.dist((column, row), told["stated"]) > 0.13
    ]
    layers.append(layer({"type": "text", "fontSize": 11}, numbers, x=x, y=y, text={"field": "text"}))
    today = [{"x0": told["stated"][0], "y0": told["stated"][1], "text": "today"}]
    layers.append(layer({"type": "point", "color": TEXT, "size": 90, "strokeWidth": 2, "opacity": 1}, today, x=x, y=y))
    layers.append(layer({"type": "text", "dy": -13, "fontWeight": "bold"}, today, x=x, y=y, text={"field": "text"}))
    return framed(inner, 0.8 * inner, layers)


def _sweep(stress: Mapping[str, Any], axis: int) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    beliefs = stress["beliefs"]
    if beliefs is None or len(beliefs["axes"]) <= axis:
        return None
    told = beliefs["axes"][axis]
    points = [point for point in told["points"] if point["objective"] is not None]
    return (told, points) if len(points) > 1 else None


_TENTHS = {0.0: "0%", 0.25: "25%", 0.5: "50%", 0.75: "75%", 1.0: "100%"}


def sweep_weights(stress: Mapping[str, Any], *, width: int, axis: int = 0) -> Spec | None:
    """Optimal weights by the probability of one answer, of the names whose weights change most."""
    found = _sweep(stress, axis)
    if found is None:
        return None
    told, points = found
    names = list(points[0]["weights"])
    moves = [max(p["weights"][name] for p in points) - min(p["weights"][name] for p in points) for name in names]
    shown, _ = largest(names, moves, 5 if width < NARROW else 6)
    drawn = [
        Line(names[i], SERIES[place], [(point["probability"], point["weights"][names[i]]) for point in points])
        for place, i in enumerate(shown[: len(SERIES)])
    ]
    return _by_probability(drawn, told, width)


def sweep_objective(stress: Mapping[str, Any], *, width: int, axis: int = 0) -> Spec | None:
    """Expected and adverse expected return of the optimum by the probability of one answer."""
    found = _sweep(stress, axis)
    if found is None:
        return None
    told, points = found
    kinds = (("expected", "expected_return"), ("adverse", "adverse_expected_return"), ("objective", "objective"))
    drawn = [Line(name, SERIES[i], [(point["probability"], point[key]) for point in points])
             for i, (name, key) in enumerate(kinds)]  # fmt: skip
    return _by_probability(drawn, told, width)


def _by_probability(drawn: Sequence[Line], told: Mapping[str, Any], width: int) -> Spec:
    down = {told["stated"]: f"today {PERCENT.text(told['stated'])}"}
    title = f"probability of {_words(told['axis'])}"
    return lines(drawn, width, PERCENT, ticks=_TENTHS, down=down, end=1.0, title=title)


def model_draws(stress: Mapping[str, Any], *, width: int) -> Spec | None:
    """What the draws of the model's parameters make of each figure: 5 to 95 %, 25 to 75 %, median and today's."""
    model = stress["model"]
    rows = [] if model is None else [row for row in model["outcomes"] if None not in map(row.get, _LEVELS)]
    return _quantiles([f"{row['portfolio']}: {row['measure']}" for row in rows], rows, "today", width)


def sampled_weights(stress: Mapping[str, Any], *, width: int) -> Spec | None:
    """Weights of the plans that are best at the draws, beside the proposed one, the widest first."""
    model = stress["model"]
    rows = [] if model is None else [row for row in model["reoptimized"]["weights"] if row["q50"] is not None]
    shown, _ = largest([row["instrument"] for row in rows], [row["q95"] - row["q05"] for row in rows])
    kept = [rows[i] for i in shown]
    return _quantiles([row["instrument"] for row in kept], kept, "proposed", width)


def _quantiles(names: Sequence[str], rows: Sequence[Mapping[str, Any]], point: str, width: int) -> Spec | None:
    if not rows:
        return None
    chart = Rows(names, width, [row[key] for row in rows for key in (*_LEVELS, point)], PERCENT, room=3, dots=True)
    chart.key((("5 to 95%", BAND), ("25 to 75%", BEFORE), ("median", TEXT), (point, AFTER)))
    at: Marks = [{"name": name, "y": chart.line(i)} for i, name in enumerate(names)]
    for low, high, colour, thick in (("q05", "q95", BAND, 8), ("q25", "q75", BEFORE, 8)):
        marks = [place | {"start": row[low], "value": row[high]} for place, row in zip(at, rows, strict=True)]
        chart.bars(colour, marks, thick=thick)
    middles = [place | {"start": row["q50"], "value": row["q50"], "y": place["y"] - 6, "y2": place["y"] + 6}
               for place, row in zip(at, rows, strict=True)]  # fmt: skip
    chart.rules(TEXT, middles)
    chart.dots(AFTER, [place | {"value": row[point]} for place, row in zip(at, rows, strict=True)
                       if row[point] is not None], shape="diamond", size=60)  # fmt: skip
    return chart.spec()


def plausibility_of_loss(stress: Mapping[str, Any], *, width: int) -> Spec | None:
    """How plausible the least shift is that makes the loss asked for, by the way it comes about."""
    reverse = stress["reverse"]
    if reverse is None or not reverse["portfolios"]:
        return None
    ways = list(dict.fromkeys(shift["way"] for one in reverse["portfolios"] for shift in one["shifts"]))
    colours = {"current": BEFORE, "proposed": AFTER}
    series = []
    for one in reverse["portfolios"]:
        found = {shift["way"]: shift for shift in one["shifts"]}
        values = [found[way]["plausibility"] if way in found else None for way in ways]
        series.append(Series(one["portfolio"], colours.get(one["portfolio"], MUTED), values))
    title = f"plausibility of losing {PERCENT.text(reverse['loss'])}"
    return grouped_bars(list(map(_words, ways)), series, width, PERCENT, title)


def replayed_losses(stress: Mapping[str, Any], *, width: int) -> Spec | None:
    """The worst windows of the price history, by length and portfolio."""
    replay = stress["replay"]
    if replay is None or not replay["windows"]:
        return None
    lengths = sorted({window["rows"] for window in replay["windows"]})
    series = []
    for whose, colour in (("current", BEFORE), ("proposed", AFTER)):
        losses = {one["rows"]: -one["loss"] for one in replay["windows"] if one["portfolio"] == whose}
        series.append(Series(whose, colour, [losses.get(length) for length in lengths]))
    return grouped_bars([f"{length} rows of prices" for length in lengths], series, width, PERCENT)


# Of a frontier.
#
def return_against_risk(frontier: Mapping[str, Any], *, width: int) -> Spec | None:
    """Expected and adverse expected return of the plans at other aversions to risk, by their volatility."""
    points = next((curve["points"] for curve in frontier["curves"] if curve["axis"] in _OF_RISK), None)
    if points is None or not points[0]["volatility"] < points[-1]["volatility"]:
        return None
    kinds = (("expected", "expected_return"), ("adverse", "adverse_expected_return"))
    drawn = [Line(name, SERIES[i], [(point["volatility"], point[key]) for point in points])
             for i, (name, key) in enumerate(kinds)]  # fmt: skip
    return _by_fraction(drawn, {frontier["plan"]["volatility"]: "the plan"}, PERCENT, width, "volatility a year")


_OF_RISK = ("risk_aversion", "relative_risk_aversion", "cvar_weight")


def protection_against_cost(frontier: Mapping[str, Any], *, width: int) -> Spec | None:
    """What caution about each axis protects, by what it costs if the belief is right."""
    curves = [curve for curve in frontier["curves"] if curve["axis"] not in _OF_RISK]
    drawn = [
        Line(
            _words(curve["axis"]),
            SERIES[i],
            [(point["cost_bps"], point["protection_bps"]) for point in curve["points"]],
        )
        for i, curve in enumerate(curves)
        if max(point["cost_bps"] for point in curve["points"]) > 0
    ]
    if not drawn:
        return None
    most = max(x for one in drawn for x, _ in one.points)
    ticks = {at: BPS.text(at) for at in ticks_between(0.0, most, 5)}
    return lines(drawn, width, BPS, ticks=ticks, title="cost if the belief is right, bps")


def gain_by_turnover(frontier: Mapping[str, Any], *, width: int) -> Spec | None:
    """What may be gained over no trade, by what may be traded."""
    points = [(rung["turnover"], rung["gain_bps"]) for rung in frontier["ladder"] if rung["keeps_rules"]]
    if len(points) < 2:
        return None
    return _by_fraction([Line("gain, bps", SERIES[0], points)], {}, BPS, width, "turnover")


def _by_fraction(drawn: Sequence[Line], down: Mapping[float, str], unit: Unit, width: int, title: str) -> Spec:
    xs = [x for one in drawn for x, _ in one.points]
    ticks = {at: PERCENT.text(at) for at in ticks_between(min(xs), max(xs), 6)}
    return lines(drawn, width, unit, ticks=ticks, down=down, title=title)


# Of a trial.
#
def equivalents_by_cell(trial: Mapping[str, Any], *, width: int) -> Spec | None:
    """Each policy's certainty equivalent above the nominal tree's, in bps, a column a cell."""
    return _beside_nominal(trial, "above_nominal_bps", width)


def worst_deciles_by_cell(trial: Mapping[str, Any], *, width: int) -> Spec | None:
    """The same of the mean of the worst tenth of the worlds."""
    return _beside_nominal(trial, "worst_decile_above_nominal_bps", width)


def _beside_nominal(trial: Mapping[str, Any], key: str, width: int) -> Spec | None:
    cells = trial["cells"][:_MOST_CELLS]
    if not cells:
        return None
    columns = [Column(_heading_of(one), [row[key] for row in one["policies"][1:]]) for one in cells]
    return grid([row["policy"] for row in cells[0]["policies"][1:]], columns, width, BPS.text)


_MOST_CELLS = 7


def _heading_of(cell: Mapping[str, Any]) -> str:
    other = ", other" if cell["worlds"] == "other" else ""
    return f"strength {cell['strength']:g}, share {cell['announcement_share']:g}{other}"


def bounds_by_caution(trial: Mapping[str, Any], *, width: int) -> Spec | None:
    """What the rule looks at, by caution: the most that it may lose and the least that it helps, over all shares."""
    if not trial["rule"]:
        return None
    axes = dict.fromkeys(row["axis"] for row in trial["rule"])
    told = (("lost at most", "lost_at_most_bps", max), ("helped at least", "helped_at_least_bps", min))
    drawn = [
        Line(
            f"{axis}, {name}",
            SERIES[i],
            [(row["caution"], worst(row[key])) for row in trial["rule"] if row["axis"] == axis],
        )
        for i, (axis, (name, key, worst)) in enumerate((axis, one) for axis in axes for one in told)
    ]
    across = {0.0: "helps above this", 15.0: "loses no more than this"}
    return lines(drawn, width, BPS, ticks={at: f"{at:g}" for at in _CAUTIONS}, across=across, title="caution")


_CAUTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
