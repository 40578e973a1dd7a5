"""The report: one self-contained file of what a plan trades, why, what if it is wrong and when to look again.

It is made of documents that `--json` writes, so that a plan.json alone makes as much of it as it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict

from allocator.errors import printable, required_extra
from allocator.presentation import describe_span
from allocator.reporting import belief_charts, plan_charts, return_charts, stress_charts
from allocator.reporting.charts import MOST, Spec
from allocator.reporting.drawings import DARK, LIGHT, PAGE, svg
from allocator.reporting.tables import (
    Cell,
    Table,
    TableColumn,
    Tables,
    Unit,
    belief_tables,
    plan_tables,
    return_tables,
    stress_tables,
)


class Documents(TypedDict, total=False):
    """What a report is made of, as `--json` writes it; `plan` at least. `inputs` are the rows of tables by file."""

    plan: Mapping[str, Any]
    beliefs: Mapping[str, Any]
    returns: Mapping[str, Any]
    stress: Mapping[str, Any]
    sweep: Mapping[str, Any] | None
    sources: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """A chart for wide and for narrow screens, what is to be read in it, and the table behind it."""

    title: str
    note: str
    wide: str
    narrow: str
    table: Table | None


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, charts, tables, and tables that are folded away."""

    id: str
    title: str
    lines: tuple[str, ...] = ()
    charts: tuple[Panel, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    slider: Mapping[str, Any] | None = None

    @property
    def says_something(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.lines or self.charts or self.tables or self.folded or self.slider)


_SECTIONS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("trades", "Trades and weights", ("orders", "relaxed"), ()),
    ("figures", "Figures", ("figures",), ()),
    ("scenarios", "Return by scenario", ("axes",), ()),
    ("slider", "Target weights at another belief", (), ("break_evens", "reversals")),
    ("beliefs", "Beliefs", ("views",), ("beliefs", "signals", "settled_within", "observations")),
    ("returns", "Returns and their drivers", (), ("returns",)),
    ("reviews", "Reviews", (), ("review_trades", "review_weights")),
    ("reasons", "Reasons for each order", (), ()),
    ("limits", "Limits and shadow prices", ("shadow_prices",), ()),
    ("risk", "Risk", ("tails",), ("risk_by_name", "shocks_by_name")),
    ("stress", "Stress", (), ("shock_risk", "shock_trades", "replay", "model_outcomes", "importance")),
    ("proof", "Certificate", (), ("certificate",)),
    ("inputs", "Inputs and sources", (), ("assumed", "sources")),
)
"""Id, title, tables that are shown and tables that are folded, in the order of the page."""


def report(documents: Documents, desk: Mapping[str, Any] | None = None) -> str:
    """The page as HTML; with what `desk_page` says, that of a desk.

    Raises:
        BadInput: the extra `report` is not installed.
    """
    own = as_printable(documents)
    return page_of(own, sections(own), desk)


def page_of(documents: Documents, shown: Sequence[Section], desk: Mapping[str, Any] | None = None) -> str:
    """The page of sections that were made of these documents, all of it printable.

    Raises:
        BadInput: the extra `report` is not installed.
    """
    plan = documents["plan"]
    sliders = [section.slider for section in shown if section.slider]
    return str(
        _template().render(
            title=f"{plan['book']['name']} · {plan['book']['as_of']}",
            book=plan["book"],
            currency=plan["book"]["currency"],
            instruments={row["instrument"] for row in plan["positions"]},
            verdict=_verdict(plan),
            tiles=_tiles(plan),
            answers=_answers(documents),
            sections=shown,
            computed=_json({"slider": sliders[0] if sliders else None, "desk": desk}),
            style=_colours() + _file("page.css"),
            script=_file("page.js") + (_file("desk.js") if desk else ""),
            desk=desk is not None,
            connect="; connect-src 'self'" if desk else "",
            footer="Computed and checked when this file was written; nothing in it is computed anew or fetched. "
            "What is called illustrative is no observation.",
        )
    )


def sections(documents: Documents) -> list[Section]:
    """The parts of the page that have something to say."""
    tables, lines = _tables(documents), _lines(documents)
    made = (
        Section(
            name,
            title,
            lines.get(name, ()),
            tuple(_figures(name, documents, tables)),
            tuple(tables[key] for key in above if key in tables),
            tuple(tables[key] for key in folded if key in tables),
            _slider(_sweep(documents)) if name == "slider" else None,
        )
        for name, title, above, folded in _SECTIONS
    )
    return [section for section in made if section.says_something]


def _tables(documents: Documents) -> Tables:
    made = plan_tables(documents["plan"])
    for name, tables in (("beliefs", belief_tables), ("returns", return_tables), ("stress", stress_tables)):
        if (document := documents.get(name)) is not None:
            made |= tables(document)  # type: ignore[arg-type]  # total=False: a TypedDict's get is an object
    if rows := documents.get("sources"):
        made["sources"] = sources_table(rows)
    fitting = {name: _fitting(table) for name, table in made.items()}
    return {name: table for name, table in fitting.items() if len(table.columns) > 1}


_MOST_COLUMNS = 22
"""Of a table on the page: as many as a sheet of paper bears."""


def _fitting(table: Table) -> Table:
    """A table that fits on paper: no empty column, and of very many numbers the columns of the largest."""

    def size(j: int) -> float:
        numbers = [abs(cell) for row in table.rows if isinstance(cell := row[j], int | float)]
        return max(numbers, default=0.0) if table.columns[j].unit == "fraction" else float("inf")

    filled = [j for j in range(len(table.columns)) if any(row[j] not in (None, "") for row in table.rows)]
    kept = sorted(sorted(filled, key=size, reverse=True)[:_MOST_COLUMNS])
    more = len(filled) - len(kept)
    told = f"{more} columns of smaller numbers are left out; the workbook (--xlsx) has them." if more else ""
    columns, rows = tuple(table.columns[j] for j in kept), tuple(tuple(row[j] for j in kept) for row in table.rows)
    return Table(table.title, columns, rows, f"{table.note} {told}".strip())


def sources_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Where each row's numbers come from, as the tables say."""
    columns = (TableColumn("file"), TableColumn("of"), TableColumn("source"))
    return Table("Sources", columns, tuple((row["file"], row["of"], row["source"]) for row in rows))


def _figures(section: str, documents: Documents, tables: Tables) -> Iterable[Panel]:
    for place, name, title, note, chart, table in CHARTS:
        if place != section or (document := documents.get(name)) is None:
            continue
        wide, narrow = (chart(document, width=width) for width in (_WIDE, _NARROW))
        if wide is not None and narrow is not None:
            yield Panel(title, note, svg(wide, PAGE), svg(narrow, PAGE), tables.get(table))


_WIDE, _NARROW = 760, 340
"""Pixels across, on a desktop and on a phone."""
_ROWS = f"at most {MOST + 1}"
CHARTS: tuple[tuple[str, str, str, str, Callable[..., Spec | None], str], ...] = (
    ("trades", "plan", "Weights by bucket", "", plan_charts.weights_by_bucket, "buckets"),
    (
        "trades", "plan", "Weights by name", "The largest changes first.",
        plan_charts.weights_by_instrument, "positions",
    ),
    (
        "scenarios", "plan", "Return in each scenario",
        "Over the horizon; below each scenario its probability: believed → adverse.",
        plan_charts.returns_per_scenario, "scenarios",
    ),
    (
        "scenarios", "plan", "Parts of the expected return",
        "Before costs. Required: for the risk borne; disagreement: with the market's probabilities; undigested news: "
        "what prices have yet to take in; not anchored: typed, beside no market.",
        plan_charts.expected_return_parts, "",
    ),
    (
        "beliefs", "beliefs", "Belief through time",
        "With each signal, and when silence alone would settle the question.",
        belief_charts.beliefs_through_time, "belief_path",
    ),
    (
        "beliefs", "beliefs", "Belief after each signal that may come next", "",
        belief_charts.beliefs_after_next_signals, "next_signals",
    ),
    (
        "returns", "returns", "Return by name and scenario",
        f"Over the horizon; the names that differ most first, {_ROWS}.",
        return_charts.returns_by_scenario, "",
    ),
    (
        "returns", "returns", "Drivers of the expected return", f"Under the belief; the largest first, {_ROWS}.",
        return_charts.drivers_of_expected_return, "",
    ),
    (
        "reviews", "plan", "Release of caution",
        "The tree of reviews: what robustness costs at each node, how far the set of probabilities reaches there (its "
        "radius), and how likely the node is.",
        plan_charts.caution_release, "reviews",
    ),
    (
        "reasons", "plan", "What each order changes",
        f"In basis points of the account, by cause, {_ROWS}; what is to the right of 0 adds to the objective.",
        plan_charts.order_attribution, "reasons",
    ),
    (
        "limits", "plan", "Use of each limit", f"On the final whole lots, the fullest first, {_ROWS}.",
        plan_charts.limits_used, "limits",
    ),
    (
        "risk", "plan", "What each name adds to risk",
        "To the proposed portfolio's volatility and to its expected shortfall at 95% over the horizon.",
        plan_charts.risk_by_instrument, "",
    ),
    (
        "stress", "stress", "Immediate return under each shock",
        f"The largest losses of the proposed portfolio first, {_ROWS}.",
        stress_charts.shocks_by_loss, "shocks",
    ),
    (
        "stress", "stress", "What each name adds to the worst shock", "", stress_charts.contributions_of_the_worst, "",
    ),
    (
        "stress", "stress", "Objective of the best plan at each pair of probabilities",
        "Certainty equivalent; each cell is solved anew.", stress_charts.optimum_over_beliefs, "belief_map",
    ),
    (
        "stress", "stress", "Plausibility of a large loss",
        "What has to change for it: the probabilities, the markets or both; 100% where nothing has to.",
        stress_charts.plausibility_of_loss, "reverse",
    ),
)  # fmt: skip
"""Section, document, title, note, chart, and the table behind it."""


# Words and figures.
#
def _verdict(plan: Mapping[str, Any]) -> dict[str, str]:
    decision, count = plan["decision"], len(plan["orders"])
    gain, spread = decision["gain_bps"], ""
    measure = "" if gain is None else f"Objective ({plan['objective']['label']}) {gain:+z.1f} bps against no trade"
    if count and decision["positive_share"] is not None:
        spread = (
            f"; over sampled inputs {decision['lowest_bps']:+z.1f} to {decision['highest_bps']:+z.1f} bps, median "
            f"{decision['median_bps']:+z.1f} bps, positive for {decision['positive_share']:.0%} of them"
        )
    orders = "1 order" if count == 1 else f"{count} orders"
    return {"head": f"{decision['verdict'].capitalize()}: {orders}.", "why": f"{measure}{spread}." if measure else ""}


def _tiles(plan: Mapping[str, Any]) -> list[dict[str, str]]:
    before, after = plan["figures"]["before"], plan["figures"]["after"]
    current, proposed = plan["risk"]["before"], plan["risk"]["after"]
    told = [
        (_words(key), *(f"{figures[key]:z.1%}" for figures in (before, after)))
        for key in ("expected_return", "adverse_expected_return")
    ]
    told.append(("volatility, a year", *(f"{risk['volatility']:z.1%}" for risk in (current, proposed))))
    days = max((row["days"] for row in proposed["tails"] if row["days"] is not None), default=None)
    for span, key, name in (
        (days, "value_at_risk", f"VaR 95%, {describe_span(days)}"),
        (None, "expected_shortfall", f"ES 95%, {describe_span(None)}"),
    ):
        told.append((name, *(f"{_tail(risk, span, 0.95)[key]:z.1%}" for risk in (current, proposed))))
    told.append(("effective names", *(f"{risk['effective_names']:.1f}" for risk in (current, proposed))))
    return [{"name": name, "before": old, "after": new} for name, old, new in told]


def _tail(risk: Mapping[str, Any], days: int | None, level: float) -> Mapping[str, Any]:
    return next(row for row in risk["tails"] if (row["days"], row["level"]) == (days, level))


def _answers(documents: Documents) -> list[tuple[str, str]]:
    """What a committee asks first, answered in a sentence or two each."""
    asked = {
        "What is traded": _trades(documents["plan"]),
        "Why": _reasons(documents["plan"]),
        "If the belief is wrong": _if_wrong(documents),
        "Look again": _look_again(documents),
    }
    return [(question, told) for question, told in asked.items() if told]


def _trades(plan: Mapping[str, Any]) -> str:
    if not plan["orders"]:
        only = plan["decision"]["verdict"] == "targets only"
        return "Targets only: no whole-lot orders were asked for." if only else "Nothing is to be traded."
    told = []
    for side in ("sell", "buy"):
        own = sorted((order for order in plan["orders"] if order["side"] == side), key=lambda order: -order["value"])
        if own:
            value = sum(order["value"] for order in own)
            told.append(
                f"{side} {value:,.0f} {plan['book']['currency']}: {_listed([one['instrument'] for one in own])}"
            )
    spent = sum(order["cost"] for order in plan["orders"])
    said = f"{'; '.join(told)}; costs {spent:,.0f} {plan['book']['currency']}."
    return said[0].upper() + said[1:]


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Some names, and how many more."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _reasons(plan: Mapping[str, Any]) -> str:
    if not plan["orders"]:
        return ""
    broken = "What is held breaks a limit. " if plan["decision"]["verdict"] == "trade required" else ""
    targets = (plan["attribution"] or {"targets": {}})["targets"]
    parts = sorted(((key, bps) for key, bps in targets.items() if key != "sum"), key=lambda part: -abs(part[1]))
    told = [f"{key.replace('_', ' ')} {bps:+z.1f}" for key, bps in parts[:4] if abs(bps) >= 0.05]
    full = [rule["rule"] for rule in plan["rules"] if (rule["use"] or 0.0) >= _FULL]
    bound = f"At their limits: {_listed(full)}." if full else ""
    return (broken + (f"Of the objective, in bps of the account: {', '.join(told)}. " if told else "") + bound).strip()


_FULL = 0.9995
"""Of a limit: what is shown as 100.0%."""


def _if_wrong(documents: Documents) -> str:
    plan = documents["plan"]
    adverse, worst = plan["figures"]["after"]["adverse_expected_return"], None
    told = [f"Under adverse probabilities {adverse:z.1%} is expected."]
    if plan["scenarios"]:
        worst = min(plan["scenarios"], key=lambda row: row["return_after"])
        told.append(
            f"The worst scenario, {_words(worst['scenario'])}, returns {worst['return_after']:z.1%} (current "
            f"{worst['return_before']:z.1%})."
        )
    shocks = (documents.get("stress") or {}).get("shocks")
    if shocks and shocks["effects"]:
        shock = min(shocks["effects"], key=lambda effect: effect["proposed"]["immediate_return"])
        moves = (shock[whose]["immediate_return"] for whose in ("proposed", "current"))
        proposed, current = (f"{move:z.1%}" for move in moves)
        told.append(
            f"The worst shock, {_words(shock['shock'])}, moves the account by {proposed} at once (current {current})."
        )
    return " ".join(told)


def _look_again(documents: Documents) -> str:
    plan, beliefs = documents["plan"], documents.get("beliefs")
    today, told = plan["book"]["as_of"], []
    if plan["policy"] is not None:
        dates = sorted({node["date"] for node in plan["policy"]["nodes"] if node["date"] > today})
        told += [f"At the next review, {dates[0]}."] if dates else []
    if axis := _sweep(documents):
        turns = [turn for turn in axis.get("break_evens", ()) if turn["kind"] == "trade" and turn["distance"]]
        near = [min(side, key=lambda turn: abs(turn["distance"])) for side in (
            [turn for turn in turns if turn["distance"] < 0], [turn for turn in turns if turn["distance"] > 0],
        ) if side]  # fmt: skip
        word = {True: "rises to", False: "falls to"}
        changes = [f"{word[turn['distance'] > 0]} {turn['probability']:.1%} ({turn['what']})" for turn in near]
        told += (
            [f"When P({_words(axis['axis'])}), now {axis['stated']:.1%}, {' or '.join(changes)}."] if changes else []
        )
    if beliefs is not None and beliefs["settled"] is None and beliefs["settled_by_silence"]:
        told.append(f"Silence alone settles the question by {beliefs['settled_by_silence']}.")
    due = sorted((card["by"], card["observation"]) for card in (beliefs or {}).get("cards") or () if card["by"] > today)
    told += [f"Due by {due[0][0]}: {due[0][1]}."] if due else []
    if not told:
        end = plan["book"]["until"] or f"{plan['book']['horizon_months']:g} months after {today}"
        told.append(f"At the end of the horizon, {end}.")
    return " ".join(told)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _lines(documents: Documents) -> dict[str, tuple[str, ...]]:
    plan, lines = documents["plan"], dict[str, tuple[str, ...]]()
    proof, risk = plan["certificate"], plan["risk"]
    kept = "1 rule" if proof["rules_checked"] == 1 else f"{proof['rules_checked']} rules"
    if not plan["orders"]:
        lines["trades"] = (_trades(plan),)
    lines["proof"] = (
        f"The orders keep {kept} and lose {plan['rounding_bps']:z.2f} bps to whole lots; the "
        f"targets are within {max(abs(proof['gap_bps']), 0.001):z.3f} bps of the best there is "
        f"({proof['solver']}, checked outside the solver).",
    )
    largest = ", ".join(f"{name} {weight:.1%}" for name, weight in risk["after"]["largest"].items())
    days = [risk[when]["days_to_liquidate"] for when in ("before", "after")]
    lines["risk"] = (
        f"Volatility {risk['after']['volatility']:.1%} a year (current {risk['before']['volatility']:.1%}); "
        f"{risk['after']['effective_names']:.1f} effective names (current {risk['before']['effective_names']:.1f}).",
        *([f"Largest: {largest}."] if largest else []),
        _liquidation(*days),
        f"Of {plan['risk_source']}.",
    )  # fmt: skip
    if beliefs := documents.get("beliefs"):
        likely = ", ".join(f"P({_words(name)}) = {p:.1%}" for name, p in beliefs["hypotheses"].items())
        when = f"Settled: {beliefs['settled']}." if beliefs["settled"] else "The question is open."
        by = beliefs["settled_by_silence"]
        lines["beliefs"] = (f"{likely}. {when}" + (f" Silence alone settles it by {by}." if by else ""),)
    if (shocks := (documents.get("stress") or {}).get("shocks")) and shocks["effects"]:
        wildest = max(shocks["effects"], key=lambda effect: effect["proposed"]["volatility"])
        lines["stress"] = (
            f"Volatility is largest after {_words(wildest['shock'])}: {wildest['proposed']['volatility']:.1%} a year "
            f"(without a shock {risk['after']['volatility']:.1%}).",
        )
    if _sweep(documents):
        lines["slider"] = ("Each belief is solved and checked like the plan; in brackets, weights at the book's own.",)
    found = []
    if unclassified := plan.get("classification", {}).get("unclassified"):
        found.append(
            f"Held as they are, as exposures.csv says neither bucket nor archetype: {_listed(unclassified, 20)}."
        )
    if sources := documents.get("sources"):
        illustrative = sum("illustrative" in str(row["source"]) for row in sources)
        found.append(f"{illustrative} of {len(sources)} rows with a source say that a number in them is illustrative.")
    if found:
        lines["inputs"] = tuple(found)
    return lines


def _liquidation(before: float | None, after: float | None) -> str:
    current, proposed = ("unknown" if days is None else f"{days:z.1f}" for days in (before, after))
    why = "where mandate.max_participation or a daily volume is not stated, or a name is not traded at all"
    told = proposed if current == proposed == "unknown" else f"{proposed} (current {current})"
    return f"Days to liquidate: {told}{f'; unknown {why}' if None in (before, after) else ''}."


def _sweep(documents: Documents) -> Mapping[str, Any] | None:
    """The allocations along the first axis of beliefs."""
    beliefs = (documents.get("stress") or {}).get("beliefs")
    return documents.get("sweep") or (beliefs["axes"][0] if beliefs and beliefs["axes"] else None)


def _slider(axis: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What the slider shows: names by their largest weight, and weights in that order."""
    if axis is None or not axis["points"]:
        return None
    points = axis["points"]
    names = sorted(points[0]["weights"], key=lambda name: -max(point["weights"][name] for point in points))
    shown_names = names[:_MOST_BARS]
    own = min(range(len(points)), key=lambda at: abs(points[at]["probability"] - axis["stated"]))
    figures = [key for key in ("objective", "expected_return", "adverse_expected_return") if key in points[0]]
    return {
        "axis": _words(axis["axis"]),
        "own": own,
        "names": shown_names,
        "widest": max(point["weights"][name] for point in points for name in shown_names),
        "points": [
            {
                "probability": point["probability"],
                "says": " · ".join(f"{_words(key)} {as_read(point[key], 'fraction')}" for key in figures),
                "weights": [point["weights"][name] for name in shown_names],
            }
            for point in points
        ],
    }


_MOST_BARS = 30
"""Names that the slider shows, those with the largest weights."""


def as_read(cell: Cell, unit: Unit) -> str:
    """A cell as people read it."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return cell.replace("_", " ") if unit == "word" else cell
    formats: Mapping[Unit, str] = {"fraction": "z.1%", "bps": "z.1f", "money": "z,.0f", "price": "z,.2f"}
    if unit in formats:
        return format(cell, formats[unit])
    if not 100 <= abs(cell) < 1e15:
        return f"{cell:z,.0f}" if cell == round(cell) and abs(cell) < 1e15 else f"{cell:z,.3g}"
    return f"{cell:z,.{0 if cell == round(cell) else 2}f}"


def as_printable(value: Any) -> Any:
    """A document whose texts steer nothing: marks that reverse the order of letters are written out."""
    if isinstance(value, dict):
        return {as_printable(key): as_printable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_printable(part) for part in value]
    return printable(value) if isinstance(value, str) else value


# The file.
#
def _json(value: object) -> str:
    """JSON that no text in it can end: `<` and its kin are written as escapes."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _colours() -> str:
    """What the charts' colours are, by day and by night."""
    day, night = ("".join(f"--{name}:{colour};" for name, colour in scheme.items()) for scheme in (LIGHT, DARK))
    return f":root{{{day}}}@media screen and (prefers-color-scheme:dark){{:root{{{night}}}}}"


def _file(name: str) -> str:
    return files("allocator.reporting").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    jinja2 = required_extra("jinja2", "Jinja2", "report", "report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["as_read"] = as_read
    return environment.from_string(_file("page.html.j2"))
