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

from allocator.errors import BadInput
from allocator.reporting import belief_charts, plan_charts, return_charts, stress_charts
from allocator.reporting.charts import Spec
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
    """A chart for wide and for narrow screens, and the table behind it."""

    title: str
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
    ("trades", "What to trade", ("orders", "relaxed"), ()),
    ("figures", "What it changes", ("figures",), ()),
    ("scenarios", "What comes of it", ("axes",), ()),
    ("slider", "What if the belief were another", (), ()),
    ("beliefs", "What is believed", (), ("beliefs", "signals", "next_signals", "settled_within", "observations")),
    ("returns", "What returns are made of", (), ("returns",)),
    ("reviews", "When to look again", (), ("review_weights",)),
    ("reasons", "Why each order", (), ()),
    ("limits", "What limits it", ("shadow_prices",), ()),
    ("risk", "What is at risk", (), ()),
    ("stress", "What could go wrong", ("reverse",), ("replay", "break_evens", "model_outcomes", "importance")),
    ("proof", "What is proved", (), ("certificate",)),
    ("inputs", "What it stands on", (), ("sources",)),
)
"""Id, title, tables that are shown and tables that are folded, in the order of the page."""


def report(documents: Documents, desk: Mapping[str, Any] | None = None) -> str:
    """The page as HTML; with what `desk_page` says, that of a desk.

    Raises:
        BadInput: the extra `report` is not installed.
    """
    plan = documents["plan"]
    shown_sections = sections(documents)
    sliders = [section.slider for section in shown_sections if section.slider]
    return str(
        _template().render(
            title=f"{plan['book']['name']} · {plan['book']['as_of']}",
            book=plan["book"],
            currency=plan["book"]["currency"],
            verdict=_verdict(plan),
            tiles=_tiles(plan),
            sections=shown_sections,
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
    return made


def sources_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Where each row's numbers come from, as the tables say."""
    columns = (TableColumn("file"), TableColumn("of"), TableColumn("source"))
    return Table("Sources", columns, tuple((row["file"], row["of"], row["source"]) for row in rows))


def _figures(section: str, documents: Documents, tables: Tables) -> Iterable[Panel]:
    for place, name, title, chart, table in CHARTS:
        if place != section or (document := documents.get(name)) is None:
            continue
        wide, narrow = (chart(document, width=width) for width in (_WIDE, _NARROW))
        if wide is not None and narrow is not None:
            yield Panel(title, svg(wide, PAGE), svg(narrow, PAGE), tables.get(table))


_WIDE, _NARROW = 720, 340
"""Pixels across, on a desktop and on a phone."""
CHARTS: tuple[tuple[str, str, str, Callable[..., Spec | None], str], ...] = (
    ("trades", "plan", "Weights by bucket", plan_charts.weights_by_bucket, "buckets"),
    ("trades", "plan", "Weights by name", plan_charts.weights_by_name, "positions"),
    ("scenarios", "plan", "Return in each scenario", plan_charts.scenario_returns, "scenarios"),
    ("scenarios", "plan", "What the expected return is made of", plan_charts.expected_return_parts, ""),
    ("beliefs", "beliefs", "Beliefs through time", belief_charts.beliefs_through_time, "belief_path"),
    ("returns", "returns", "Return in each scenario, and expected", return_charts.returns_by_scenario, ""),
    ("returns", "returns", "Of the expected return", return_charts.drivers_of_expected_return, ""),
    ("reviews", "plan", "How caution is released", plan_charts.caution_release, "reviews"),
    ("reasons", "plan", "What each order changes, bps of the account", plan_charts.order_attribution, "reasons"),
    ("limits", "plan", "Use of each limit", plan_charts.limits_used, "limits"),
    ("stress", "stress", "Return at once under each shock", stress_charts.shocks_by_loss, "shocks"),
    ("stress", "stress", "What each name adds to the worst", stress_charts.contributions_of_the_worst, ""),
    ("stress", "stress", "Best objective over both probabilities", stress_charts.belief_map, ""),
    ("stress", "stress", "Plausibility of the loss", stress_charts.reverse_stress, "reverse"),
)
"""Section, document, title, chart, and the table behind it."""


# Words and figures.
#
def _verdict(plan: Mapping[str, Any]) -> dict[str, str]:
    decision, count = plan["decision"], len(plan["orders"])
    measure = f"Objective ({plan['objective']['label']}) {decision['gain_bps']:+z.1f} bps against no trade"
    spread = ""
    if decision["positive_share"] is not None:
        spread = (
            f"; over sampled inputs {decision['lowest_bps']:+z.1f} to {decision['highest_bps']:+z.1f}, median "
            f"{decision['median_bps']:+z.1f}, positive for {decision['positive_share']:.0%}"
        )
    orders = "1 order" if count == 1 else f"{count} orders"
    return {"head": f"{decision['verdict'].capitalize()}: {orders}.", "why": f"{measure}{spread}."}


def _tiles(plan: Mapping[str, Any]) -> list[dict[str, str]]:
    before, after = plan["figures"]["before"], plan["figures"]["after"]
    named = {
        "expected return": "expected_return",
        "adverse expected return": "adverse_expected_return",
        "expected shortfall, 95%": "expected_shortfall",
        "volatility, a year": "volatility",
    }
    return [
        {"name": name, "before": as_read(before[key], "fraction"), "after": as_read(after[key], "fraction")}
        for name, key in named.items()
        if after.get(key) is not None
    ]


def _lines(documents: Documents) -> dict[str, tuple[str, ...]]:
    plan, lines = documents["plan"], dict[str, tuple[str, ...]]()
    currency, proof = plan["book"]["currency"], plan["certificate"]
    spent = sum(order["cost"] for order in plan["orders"])
    traded = {side: sum(one["value"] for one in plan["orders"] if one["side"] == side) for side in ("sell", "buy")}
    if plan["orders"]:
        told = f"Sells {traded['sell']:,.0f} and buys {traded['buy']:,.0f} {currency}; costs {spent:,.0f} {currency}."
        lines["trades"] = (told,)
    else:
        lines["trades"] = ("Nothing is to be traded.",)
    lines["proof"] = (
        f"The orders keep {proof['rules_checked']} rules and lose {plan['rounding_bps']:z.2f} bps to whole lots; the "
        f"targets are within {max(abs(proof['gap_bps']), 0.001):z.3f} bps of the best there is "
        f"({proof['solver']}, checked outside the solver).",
        f"Risk: {plan['risk_source']}.",
    )
    if beliefs := documents.get("beliefs"):
        likely = ", ".join(f"P({name}) = {p:.1%}" for name, p in beliefs["hypotheses"].items())
        when = f"Settled: {beliefs['settled']}." if beliefs["settled"] else "The question is open."
        by = beliefs["settled_by_silence"]
        lines["beliefs"] = (f"{likely}. {when}" + (f" Silence alone settles it by {by}." if by else ""),)
    if sources := documents.get("sources"):
        illustrative = sum("illustrative" in str(row["source"]) for row in sources)
        lines["inputs"] = (f"{illustrative} of {len(sources)} rows with a source call a number in them illustrative.",)
    return lines


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
        "axis": axis["axis"],
        "own": own,
        "names": shown_names,
        "widest": max(point["weights"][name] for point in points for name in shown_names),
        "points": [
            {
                "probability": point["probability"],
                "says": " · ".join(f"{key.replace('_', ' ')} {as_read(point[key], 'fraction')}" for key in figures),
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
    formats: Mapping[Unit, str] = {"fraction": "z.1%", "bps": "z.1f", "money": "z,.0f"}
    return format(cell, formats[unit]) if unit in formats else f"{cell:z,.6g}"


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
    try:
        import jinja2
    except ImportError as error:
        raise BadInput.of("report", "needs Jinja2", "pip install 'portfolio-allocator[report]'") from error
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["as_read"] = as_read
    return environment.from_string(_file("page.html.j2"))
