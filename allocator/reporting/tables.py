"""The tables behind what people look at, made from the documents that `--json` writes: numbers unrounded, each column
with its unit. The page shows them, the workbook writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from allocator.presentation import describe_span

Unit: TypeAlias = Literal["", "word", "fraction", "bps", "money", "price", "number", "date"]
"""What a column holds: text, an identifier whose underscores are spaces to people, a fraction of 1, basis points, an
amount or a price in the book's currency, a number, a day.
"""
Cell: TypeAlias = str | float | bool | None


@dataclass(frozen=True)
class TableColumn:
    """One column: its name, and the unit of what stands in it."""

    name: str
    unit: Unit = ""


@dataclass(frozen=True)
class Table:
    """Rows (R,) of cells (C,) below `columns` (C,); `note` says what its words mean."""

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


Tables: TypeAlias = dict[str, Table]
_Row: TypeAlias = Mapping[str, Any]
_Keys: TypeAlias = Sequence[tuple[str, str, Unit]]


def _table(title: str, keys: _Keys, rows: Iterable[_Row], note: str = "") -> Table:
    """A table of some keys of each row: (key, name, unit)."""
    cells = tuple(tuple(row.get(key) for key, _, _ in keys) for row in rows)
    return Table(title, tuple(TableColumn(name, unit) for _, name, unit in keys), cells, note)


def _wide(rows: Sequence[_Row], key: str, unit: Unit) -> tuple[list[tuple[str, str, Unit]], list[dict[str, Any]]]:
    """What each row has by name under `key`, as columns of their own: their keys, and the rows with them."""
    names = list(dict.fromkeys(name for row in rows for name in row.get(key) or ()))
    return [(f"{key}: {name}", name, unit) for name in names], [
        {**row, **{f"{key}: {name}": part for name, part in (row.get(key) or {}).items()}} for row in rows
    ]


def _present(tables: Mapping[str, Table]) -> Tables:
    return {name: table for name, table in tables.items() if table.rows}


# Of a plan.
#
def plan_tables(plan: _Row) -> Tables:
    """What `rebalance --json` holds; a table without rows is left out."""
    figures, verdict = plan["figures"], plan["attribution"]
    when = ("before", "target", "after")
    keys = [key for key in figures["after"] if key not in ("buckets", "splits")]
    buckets = [
        {"bucket": name, **{one: figures[one][key].get(name) for one in when}}
        for key in ("buckets", "splits")
        for name in figures["after"][key]
    ]
    weights: _Keys = [
        ("before", "current", "fraction"),
        ("target", "target", "fraction"),
        ("after", "proposed", "fraction"),
    ]
    return _present({
        "orders": _table("Orders", _ORDERS, plan["orders"], "Quantities in units of the instrument."),
        "positions": _table("Weights by name", _POSITIONS, plan["positions"],
                            " ".join(note for key, note in _OF_WEIGHTS.items()
                                     if any(row[key] is not None for row in plan["positions"]))),
        "buckets": _table("Weights by bucket", [("bucket", "bucket", "word"), *weights], buckets),
        "figures": _table(
            "Figures",
            [("figure", "figure", "word"), *weights],
            [
                {"figure": key, **{one: figures[one][key] for one in when}}
                for key in keys
                if figures["after"][key] is not None
            ],
            "Fractions of the account over the horizon; volatilities a year.",
        ),
        "scenarios": _table("Return by scenario", _SCENARIOS, plan["scenarios"], _ADVERSE),
        "axes": _table("What is guarded against, by axis", _AXES, _named(plan["axes"], "axis"), _GUARDED),
        "limits": _table("Limits", _LIMITS, plan["rules"], _STATES),
        "shadow_prices": _table("Shadow prices of limits", _PRICES, plan["shadow_prices"]),
        "relaxed": _table("Rules that could not be kept", _RELAXED, plan["relaxed"]),
        "reasons": _table("Reasons for each order", _REASONS, _reasons(verdict) if verdict else (), _GAIN),
        **_policy_tables(plan["policy"] or {"nodes": (), "caution_schedule": ()}),
        **_risk_tables(plan["risk"]),
        **_views_tables(plan),
        "certificate": _certificate(plan["certificate"]),
    })  # fmt: skip


_ORDERS: _Keys = [
    ("side", "side", ""), ("instrument", "instrument", ""), ("quantity", "quantity", "number"),
    ("price", "price", "price"), ("value", "value", "money"), ("cost", "cost", "money"),
]  # fmt: skip
_POSITIONS: _Keys = [
    ("instrument", "instrument", ""), ("quantity_before", "current quantity", "number"),
    ("quantity_after", "proposed quantity", "number"), ("price", "price", "price"),
    ("weight_before", "current", "fraction"), ("weight_target", "target", "fraction"),
    ("weight_after", "proposed", "fraction"), ("active_weight_after", "proposed, active", "fraction"),
    ("no_trade_from", "no trade from", "fraction"), ("no_trade_to", "no trade to", "fraction"),
]  # fmt: skip
_OF_WEIGHTS = {
    "no_trade_to": "Between the last two, trading this name alone is not worth its cost.",
    "active_weight_after": "Active: beyond the benchmark's weight.",
}
_SCENARIOS: _Keys = [
    ("scenario", "scenario", "word"), ("probability", "belief", "fraction"),
    ("adverse_probability", "adverse", "fraction"), ("return_before", "current", "fraction"),
    ("return_target", "target", "fraction"), ("return_after", "proposed", "fraction"),
]  # fmt: skip
_ADVERSE = "Adverse: the probabilities of the set at which the targets return least."
_AXES: _Keys = [
    ("axis", "about", "word"),
    ("adverse_bps", "adverse probabilities take", "bps"),
    ("cost_bps", "cost of robustness", "bps"),
]
_GUARDED = "Of the expected return; the cost of robustness is what guarding loses if the belief is right."
_PRICES: _Keys = [("rule", "limit", ""), ("bps_per_point", "worth of one percentage point more", "bps")]
_RELAXED: _Keys = [
    ("rule", "rule", ""), ("stated", "stated", "number"), ("kept", "kept instead", "number"),
    ("measured", "measured", "number"), ("priority", "priority", "number"),
]  # fmt: skip
_PARTS = ("expected_return", "robustness", "return_error", "objectives", "risk", "costs", "rules", "funding", "sum")
_REASONS: _Keys = [("instrument", "instrument", ""), *((part, part.replace("_", " "), "bps") for part in _PARTS)]
_GAIN = "What each order changes the objective by, in basis points of the account, by cause."


def _named(parts: Mapping[str, _Row] | None, key: str) -> list[_Row]:
    return [{key: name, **part} for name, part in (parts or {}).items()]


def _reasons(attribution: _Row) -> list[_Row]:
    others = [{"instrument": name, **attribution[name]} for name in ("others", "cash")]
    return [*attribution["orders"], *(row for row in others if any(row[part] for part in _PARTS))]


_LIMITS: _Keys = [
    ("rule", "rule", ""), ("kind", "kind", "word"), ("measured", "measured", "number"), ("limit", "limit", "number"),
    ("use", "use", "fraction"), ("state", "state", ""),
]  # fmt: skip
_STATES = "On the final whole lots. A use of 100% is at the limit; from 90% it is amber."


def _risk_tables(risk: _Row) -> Tables:
    """What may be lost, and what each name adds to it."""
    held = [("before", "current"), ("after", "proposed")]
    tails = [
        {
            "over": describe_span(rows[0]["days"]),
            "level": rows[0]["level"],
            **{f"{when} {key}": row[key] for (when, _), row in zip(held, rows, strict=True) for key in _TAILS},
        }
        for rows in zip(*(risk[when]["tails"] for when, _ in held), strict=True)
    ]
    tail_keys: _Keys = [
        ("over", "over", ""), ("level", "level", "fraction"),
        *((f"{when} {key}", f"{said}: {_TAILS[key]}", "fraction") for key in _TAILS for when, said in held),
    ]  # fmt: skip
    after = risk["after"]
    spans = [f"ES {row['level']:.0%}, {describe_span(row['days'])}" for row in after["tails"]]
    by_name = [row | dict(zip(spans, row["expected_shortfall"], strict=True)) for row in after["positions"]]
    shocks, shocked = _wide(after["positions"], "shocks", "fraction")
    name: _Keys = [("instrument", "instrument", "")]
    added: _Keys = [*name, ("volatility", "volatility", "fraction"), *((span, span, "fraction") for span in spans),
                    ("days_to_liquidate", "days to liquidate", "number")]  # fmt: skip
    return {
        "tails": _table(
            "Value at risk (VaR) and expected shortfall (ES)",
            tail_keys,
            tails,
            _LOSSES + _BEYOND * any(row[key] > 1 for row in tails for key in row if key.endswith(tuple(_TAILS))),
        ),
        "risk_by_name": _table(
            "What each name adds to risk", added, by_name, "Of the proposed portfolio; adds up to its own."
        ),
        "shocks_by_name": _table("What each name adds to each shock", [*name, *shocks], shocked if shocks else ()),
    }


_TAILS = {"value_at_risk": "VaR", "expected_shortfall": "ES"}
_LOSSES = (
    "Losses as parts of the account, over trading days: VaR is exceeded with probability 1 − level, ES is the mean "
    "beyond it, gains are below 0. Normal within each scenario."
)
_BEYOND = " Above 100% that law reaches further down than prices can fall."


def _views_tables(plan: _Row) -> Tables:
    """What views did to the belief, and what names take from archetypes."""
    assumed = plan.get("classification", {}).get("assumed", ())
    return {
        "views": _table("Views", _VIEWS, plan.get("views", {}).get("views", ()),
                        "Figures at the belief, where every view is met, and as used."),
        "assumed": _table("Assumed of archetypes", _ASSUMED,
                          [row | {"instruments": ", ".join(row["instruments"])} for row in assumed]),
    }  # fmt: skip


_VIEWS: _Keys = [
    ("view", "view", "word"), ("figure", "figure", ""), ("bounds", "bounds", ""),
    ("confidence", "confidence", "fraction"), ("before", "at the belief", "number"), ("met", "met", "number"),
    ("after", "as used", "number"),
]  # fmt: skip
_ASSUMED: _Keys = [
    ("archetype", "archetype", "word"), ("instruments", "instruments", ""), ("values", "values assumed", "number"),
]  # fmt: skip


def _policy_tables(policy: _Row) -> Tables:
    """With reviews: what is believed, guarded against and done at each node."""
    answers, schedule = _wide(policy["caution_schedule"], "hypotheses", "fraction")
    shares, schedule = _wide(schedule, "shares", "fraction")
    trades, schedule = _wide(schedule, "trades", "fraction")
    nodes: _Keys = [
        ("node", "node", ""), ("kind", "news", "word"), ("about", "about", ""), ("date", "date", "date"),
        ("probability", "probability", "fraction"),
    ]  # fmt: skip
    guarded: _Keys = [
        ("settled", "settled", ""),
        ("radius", "radius", "number"),
        ("cost_of_robustness_bps", "cost of robustness", "bps"),
    ]
    held, rows = _wide(policy["nodes"], "after", "fraction")
    return {
        "reviews": _table("Reviews", [*nodes, *answers, *guarded, *shares], schedule),
        "review_trades": _table("Trades at reviews", [*nodes, *trades], schedule, "Parts of the account then."),
        "review_weights": _table("Weights after each review", [*nodes[:2], nodes[3], *held], rows),
    }


def _certificate(certificate: _Row) -> Table:
    rows = [
        {"what": name, "value": value}
        for name, value in {**certificate, **certificate["canonical"]}.items()
        if not isinstance(value, dict | list)
    ]
    return _table("Certificate", [("what", "figure of the proof", "word"), ("value", "value", "number")], rows)


# Of an outlook.
#
def belief_tables(beliefs: _Row) -> Tables:
    """What `beliefs --json` holds."""
    path_keys, path = _wide(beliefs["path"], "hypotheses", "fraction")
    next_keys, following = _wide(beliefs["next"], "hypotheses", "fraction")
    within = [{"within": key, "p": p} for key, p in (beliefs["settled_within"] or {}).items()]
    return _present({
        "beliefs": _table("Belief by scenario", _BELIEFS, beliefs["scenarios"]),
        "belief_path": _table("Beliefs through time", [("date", "date", "date"), *path_keys], path),
        "signals": _table("Signals", _SIGNALS, beliefs["signals"], "Every signal that is called illustrative is one."),
        "next_signals": _table("What the next signal would do", [("signal", "signal", ""), *next_keys], following),
        "settled_within": _table(
            "How soon the question is settled",
            [("within", "within", "word"), ("p", "probability", "fraction")],
            within,
            "At least: by silence, a verdict or the next claim. What later claims add is not counted.",
        ),
        "observations": _table("What would contradict each scenario", _CARDS, beliefs["cards"] or ()),
    })  # fmt: skip


_BELIEFS: _Keys = [
    ("scenario", "scenario", "word"), ("prior", "prior", "fraction"), ("belief", "belief", "fraction"),
    ("market", "market", "fraction"),
]  # fmt: skip
_SIGNALS: _Keys = [
    ("date", "date", "date"), ("kind", "kind", "word"), ("source", "source", ""), ("hypothesis", "about", ""),
    ("strength", "strength", "fraction"), ("log10_bayes_factor", "log10 Bayes factor", "number"),
    ("price_fall", "log fall of price", "number"), ("usage_growth", "log growth of usage", "number"),
]  # fmt: skip
_CARDS: _Keys = [
    ("scenario", "scenario", "word"), ("by", "by", "date"), ("observation", "observation", ""),
    ("contradicted", "contradicted", ""),
]  # fmt: skip


def return_tables(returns: _Row) -> Tables:
    """What `returns --json` holds."""
    names, rows = _wide(returns["instruments"], "returns", "fraction")
    parts, rows = _wide(rows, "parts", "fraction")
    keys: _Keys = [
        ("instrument", "instrument", ""),
        ("origin", "from", "word"),
        *names,
        ("expected", "expected", "fraction"),
        *parts,
    ]
    scenarios = [{"scenario": name, "p": p} for name, p in returns["scenarios"].items()]
    believed: _Keys = [("scenario", "scenario", "word"), ("p", "belief", "fraction")]
    return _present({
        "returns": _table("Return by name and scenario", keys, rows, "Over the horizon; expected under the belief."),
        "scenario_beliefs": _table("Belief", believed, scenarios),
    })  # fmt: skip


def outlook_tables(outlook: _Row) -> Tables:
    """What `outlook --json` holds."""
    beliefs, nodes = _wide(outlook["nodes"], "beliefs", "fraction")
    prices, nodes = _wide(nodes, "prices", "number")
    keys: _Keys = [
        ("node", "node", ""), ("kind", "news", "word"), ("date", "date", "date"),
        ("probability", "probability", "fraction"), ("reach", "reached with", "fraction"),
    ]  # fmt: skip
    return _present({
        "node_beliefs": _table("Belief at each node", [*keys, *beliefs], nodes),
        "node_prices": _table("Prices at each node", [*keys[:3], *prices], nodes, "Today's is 1."),
    })  # fmt: skip


# Of a stress report.
#
def stress_tables(stress: _Row) -> Tables:
    """What `stress --json` holds, as far as it was asked for."""
    made = _risk_tables(stress["risk"])
    if shocks := stress["shocks"]:
        rows = [{**effect, **_effects(effect)} for effect in shocks["effects"]]
        trades, rows = _wide(rows, "trades", "fraction")
        made["shocks"] = _table("Shocks", _SHOCKS, rows, "Immediate: what the account changes by at once.")
        after: _Keys = [("shock", "shock", "word"), ("claim", "claim", ""), *_shocked(_AFTERWARDS)]
        made["shock_risk"] = _table(
            "Risk after each shock", after, rows, "Volatility a year; shortfall over the horizon."
        )
        made["shock_trades"] = _table("Trades after each shock", [("shock", "shock", "word"), *trades], rows)
    if reverse := stress["reverse"]:
        rows = [{"portfolio": one["portfolio"], **shift} for one in reverse["portfolios"] for shift in one["shifts"]]
        shifted, rows = _wide(rows, "probabilities", "fraction")
        title = f"What loses {reverse['loss']:.0%} of the account"
        made["reverse"] = _table(title, [*_SHIFTS, *shifted], rows)
    if windows := (stress["replay"] or {}).get("windows"):
        made["replay"] = _table("Worst windows of the price history", _WINDOWS, windows)
    if beliefs := stress["beliefs"]:
        points = [{"axis": axis["axis"], **point} for axis in beliefs["axes"] for point in axis["points"]]
        weights, points = _wide(points, "weights", "fraction")
        made["belief_sweep"] = _table("Best at each belief", [*_SWEEP, *weights], points)
        turns = [turn for axis in beliefs["axes"] for turn in axis["break_evens"] if turn["probability"] is not None]
        turns.sort(key=lambda turn: abs(turn["distance"]))
        made["break_evens"] = _table("Beliefs at which the plan changes", _TURNS, turns, "Nearest break-evens first.")
    if grid := stress["map"]:
        at: _Keys = [*((f"P: {name}", f"P({name})", "fraction") for name in grid["probabilities"])]
        held: _Keys = [*((f"weight: {name}", name, "fraction") for name in grid["instruments"])]
        keys = [*at, ("objective", "objective", "fraction"), *held]
        rows = [
            dict(zip((key for key, *_ in keys), (*one["at"], one["objective"], *(one["weights"] or ())), strict=False))
            for one in grid["points"]
        ]
        made["belief_map"] = _table("Best over both probabilities", keys, rows)
    if model := stress["model"]:
        made["model_outcomes"] = _table(
            "Draws of the model's parameters",
            [("portfolio", "portfolio", ""), ("measure", "measure", "word"), *_rest(model["outcomes"])],
            model["outcomes"],
        )
        made["importance"] = _table(
            "Which parameters matter",
            [
                ("portfolio", "portfolio", ""),
                ("measure", "measure", "word"),
                ("parameter", "parameter", "word"),
                *_rest(model["importance"] or ()),
            ],
            model["importance"] or (),
        )
    return _present(made)


def _rest(rows: Sequence[_Row]) -> list[tuple[str, str, Unit]]:
    texts = ("portfolio", "measure", "parameter", "constant")
    return [(key, key.replace("_", " "), "number") for key in (rows[0] if rows else ()) if key not in texts]


_SHOCKED = ("current", "proposed", "reoptimized")
_EFFECTS = ("immediate_return", "expected_return", "adverse_expected_return")
_AFTERWARDS = ("volatility", "expected_shortfall")
_WORDS = {"current": "current", "proposed": "proposed", "reoptimized": "re-optimised"}


def _shocked(keys: Sequence[str]) -> list[tuple[str, str, Unit]]:
    return [(f"{one} {key}", f"{_WORDS[one]}: {key.replace('_', ' ')}", "fraction") for key in keys for one in _SHOCKED]


_SHOCKS: _Keys = [
    ("shock", "shock", "word"), *_shocked(_EFFECTS), ("turnover", "turnover", "fraction"),
    ("why_not", "why not re-optimised", ""),
]  # fmt: skip
_SHIFTS: _Keys = [
    ("portfolio", "portfolio", ""), ("way", "what moves", "word"), ("distance", "relative entropy, nats", "number"),
    ("plausibility", "plausibility", "fraction"), ("rating", "rating", ""), ("market", "market's return", "fraction"),
]  # fmt: skip
_WINDOWS: _Keys = [
    ("portfolio", "portfolio", ""), ("rows", "rows", "number"), ("start", "from", "date"), ("end", "to", "date"),
    ("loss", "loss", "fraction"),
]  # fmt: skip
_SWEEP: _Keys = [
    ("axis", "probability of", "word"), ("probability", "probability", "fraction"),
    ("objective", "objective", "fraction"),
    ("expected_return", "expected return", "fraction"), ("adverse_expected_return", "adverse return", "fraction"),
    ("plan_shortfall", "shortfall of the plan", "fraction"),
]  # fmt: skip
_TURNS: _Keys = [
    ("what", "change", ""), ("kind", "of", "word"), ("axis", "where the probability of", "word"),
    ("probability", "is", "fraction"), ("distance", "from today's", "fraction"),
]  # fmt: skip


def _effects(effect: _Row) -> dict[str, Any]:
    told = ((one, key) for one in _SHOCKED if effect[one] is not None for key in (*_EFFECTS, *_AFTERWARDS))
    return {f"{one} {key}": effect[one].get(key) for one, key in told}


# Of a frontier.
#
def frontier_tables(frontier: _Row) -> Tables:
    """What `frontier --json` holds: the curves, the ladder, and the optimum of each scenario."""
    ends = [
        {"axis": name.replace("_", " "), **frontier[key]} for name, key in (("the plan", "plan"), ("today", "today"))
    ]
    points = [{"axis": curve["axis"], **point} for curve in frontier["curves"] for point in curve["points"]]
    weights, points = _wide([*ends, *points], "weights", "fraction")
    gains, rungs = _wide(frontier["ladder"], "if_certain_bps", "bps")
    returns, rungs = _wide(rungs, "returns_bps", "bps")
    certain = [(key, f"{name}, if certain", unit) for key, name, unit in gains]
    returned = [(key, f"return in {name}", unit) for key, name, unit in returns]
    return _present({
        "frontier": _table("Plans along each axis", [*_FRONTIER, *weights], points),
        "ladder": _table("Gain by turnover", [*_LADDER, *returned, *certain], rungs, "Over no trade."),
        "scenario_optima": _table("The best plan for each scenario", _OPTIMA, frontier["scenarios"]),
        "gaps": _table("Points without a plan", _GAPS, frontier["gaps"]),
    })  # fmt: skip


_FRONTIER: _Keys = [
    ("axis", "axis", "word"), ("at", "at", "number"), ("expected_return", "expected", "fraction"),
    ("adverse_expected_return", "adverse", "fraction"), ("volatility", "volatility", "fraction"),
    ("expected_shortfall", "worst 5%: mean loss", "fraction"), ("cost_bps", "cost", "bps"),
    ("protection_bps", "protection", "bps"), ("turnover", "turnover", "fraction"),
    ("distance", "distance from the plan", "fraction"),
]  # fmt: skip
_LADDER: _Keys = [
    ("turnover", "turnover", "fraction"), ("keeps_rules", "keeps every rule", ""), ("gain_bps", "gain", "bps"),
    ("gain_kept", "of the plan's", "fraction"),
]  # fmt: skip
_OPTIMA: _Keys = [
    ("scenario", "scenario", "word"), ("probability", "belief", "fraction"), ("objective", "objective", "fraction"),
    ("today_distance", "distance of today", "fraction"), ("today_shortfall_bps", "today below it", "bps"),
    ("plan_distance", "distance of the plan", "fraction"), ("plan_shortfall_bps", "plan below it", "bps"),
]  # fmt: skip
_GAPS: _Keys = [
    ("axis", "axis", "word"), ("low", "from", "number"), ("high", "to", "number"), ("points", "points", "number"),
    ("reason", "reason", ""),
]  # fmt: skip


# Of a backtest.
#
def backtest_tables(backtest: _Row) -> Tables:
    """What `backtest --json` holds: measures by policy, the accounts by row, and what was traded."""
    accounts = [{"date": day, "values": {name: row[t] for name, row in backtest["values"].items()}}
                for t, day in enumerate(backtest["dates"])]  # fmt: skip
    measures, policies = _wide(backtest["policies"], "measures", "number")
    measures = [(key, name.replace("_", " "), unit) for key, name, unit in measures]
    values, accounts = _wide(accounts, "values", "money")
    return _present({
        "policies": _table("Every account after costs", [*_POLICIES, *measures], policies),
        "accounts": _table("Value by row", [("date", "date", "date"), *values], accounts),
        "events": _table("What was traded", _EVENTS, backtest["events"]),
    })  # fmt: skip


_POLICIES: _Keys = [
    ("policy", "policy", "word"), ("start", "start", "money"), ("gains", "gains", "money"), ("costs", "costs", "money"),
    ("end", "end", "money"), ("turnover_a_year", "turnover a year", "fraction"),
    ("costs_a_year_bps", "costs a year", "bps"), ("orders", "orders", "number"),
]  # fmt: skip
_EVENTS: _Keys = [
    ("date", "date", "date"), ("policy", "policy", "word"), ("event", "event", "word"),
    ("instrument", "instrument", "word"), ("orders", "orders", "number"), ("bought", "bought", "money"),
    ("sold", "sold", "money"), ("costs", "costs", "money"),
]  # fmt: skip


# Of a trial.
#
def trial_tables(trial: _Row) -> Tables:
    """What `trial --json` holds: each policy in each cell, and the rule about the default caution."""
    policies = [{"cell": cell["cell"], **row} for cell in trial["cells"] for row in cell["policies"]]
    rule = [
        {**row, "most": max(row["lost_at_most_bps"]), "least": min(row["helped_at_least_bps"])} for row in trial["rule"]
    ]
    return _present({
        "policies": _table("What each policy makes of each cell", _OF_CELLS, policies),
        "rule": _table("The rule about the default caution", _RULE, rule, "Over all true announcement shares."),
    })  # fmt: skip


_OF_CELLS: _Keys = [
    ("cell", "cell", ""), ("policy", "policy", ""), ("certainty_equivalent", "certainty equivalent", "fraction"),
    ("worst_decile", "worst tenth", "fraction"), ("mean_return", "mean", "fraction"), ("regret", "regret", "fraction"),
    ("turnover", "turnover", "fraction"), ("months_to_adapt", "months to adapt", "number"),
    ("truth_inside", "truth inside", "fraction"), ("above_nominal_bps", "above the nominal tree", "bps"),
    ("low_bps", "from", "bps"), ("high_bps", "to", "bps"),
    ("worst_decile_above_nominal_bps", "worst tenth above it", "bps"), ("p", "p, corrected", "number"),
]  # fmt: skip
_RULE: _Keys = [
    ("axis", "axis", "word"), ("caution", "caution", "number"), ("most", "lost at most", "bps"),
    ("least", "helped at least", "bps"), ("passes", "passes", ""),
]  # fmt: skip


OF_FORMAT = {
    "allocator.plan/2": plan_tables,
    "allocator.beliefs/2": belief_tables,
    "allocator.returns/1": return_tables,
    "allocator.outlook/1": outlook_tables,
    "allocator.stress/2": stress_tables,
    "allocator.frontier/1": frontier_tables,
    "allocator.backtest/1": backtest_tables,
    "allocator.trial/1": trial_tables,
}
"""The tables of each document, by its format."""
