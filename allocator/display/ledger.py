"""The ledger on the screen: its runs, one of them, what was recomputed, and two plans side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from allocator.display.console import (
    console,
    count_lines,
    describe_columns,
    fit_table,
    format_money,
    format_percent,
    format_signed,
    heading,
    table,
)

if TYPE_CHECKING:
    from allocator.ledger.comparison import ComparisonDocument
    from allocator.ledger.fills import ApplyDocument
    from allocator.ledger.record import (
        ApprovalNote,
        ApproveDocument,
        HistoryDocument,
        OrderTotals,
        ReceiptDocument,
        ShowDocument,
        VerifyDocument,
    )
    from allocator.ledger.replay import RunReplayDocument

_ORDERS = 8
"""Of a run, on one screen."""
NO_ACCESS_CONTROL = "A note and no access control: whoever can write the ledger can add one."


def show_history(document: HistoryDocument) -> None:
    """The last runs, a line each."""
    out, runs = console(), document["runs"]
    shown = f", the last {len(runs)} of them" if len(runs) < document["total"] else ""
    out.print(Text(f"{document['ledger']}: {_count(document['total'], 'run')}{shown}", style="bold"))
    if runs:
        heads = ("run", "as of", "book", "orders", "turnover", "adverse", "state")
        made = table(*heads, right=("orders", "turnover", "adverse"), compact=True)
        for run in runs:
            state = "applied" if run["applied"] else "approved" if run["approvals"] else ""
            made.add_row(
                run["run_id"], run["as_of"], _book(run), str(run["orders"]), format_percent(run["turnover"]),
                format_percent(run["adverse_expected_return"]), state,
            )  # fmt: skip
        shown_table = fit_table(out, made, "adverse", "book")  # a name of a scheduler is long, and is what is asked for
        out.print(shown_table)
        if told := describe_columns(shown_table, _HEADS):
            out.print(told)
    if document["head"] is not None:
        out.print(f"head {document['head']}", soft_wrap=True)


_HEADS = {"adverse": "adverse: expected return under adverse probabilities, after the orders."}


def _book(run: Mapping[str, Any]) -> str:
    name = textwrap.shorten(str(run["book"]), 24, placeholder="…")
    return name if run["account"] == "main" else f"{name} · {run['account']}"


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def show_run(document: ShowDocument) -> None:
    """One run: where it stands, what it was made from, what it believed, what proves it, what it ordered."""
    out, plan, entry = console(), document["plan"], document["entry"]
    book = plan["book"]
    value = f"{format_money(book['value'])} {book['currency']}"
    title = f"Run {document['run_id']}: {book['name']} · account {book['account']} · {book['as_of']} · {value}"
    out.print(Text(title, style="bold"))
    if entry is None:
        out.print("A folder that --run-id made: no ledger holds it.")
    else:
        out.print(f"Entry {entry['sequence']} of {document['ledger']}, recorded {entry['recorded']}.")
        out.print(f"hash {document['hash']}", soft_wrap=True)
    heading(out, "Made from")
    out.print(
        table(
            "what",
            "is",
            rows=[(name, _in_short(value)) for name, value in sorted(document["made_from"].items())],
            compact=True,
        )
    )
    if entry is not None:
        out.print(f"with {', '.join(f'{name} {number}' for name, number in sorted(entry['versions'].items()))}")
    heading(out, "Believed")
    out.print(", ".join(f"{row['scenario']} {format_percent(row['probability'])}" for row in plan["scenarios"]))
    certificate = plan["certificate"]
    heading(out, "Proved")
    out.print(
        f"{certificate['solver']}: the orders keep {certificate['rules_checked']} rules; the targets are within "
        f"{max(certificate['gap_bps'], 0.001):z.2g} bps of the best there is."
    )
    heading(out, f"Ordered: {plan['decision']['verdict']}")
    orders = sorted(plan["orders"], key=lambda one: -one["value"])
    if orders:
        rows = [
            (one["side"], one["instrument"], f"{one['quantity']:z,.10g}", format_money(one["value"])) for one in orders
        ]
        out.print(
            table(
                "side",
                "instrument",
                "quantity",
                book["currency"],
                right=("quantity", book["currency"]),
                rows=rows[:_ORDERS],
                compact=True,
            )
        )
        if rest := orders[_ORDERS:]:
            out.print(
                f"and {_count(len(rest), 'order')} of {format_money(sum(one['value'] for one in rest))}; --json has all"
            )
    for line in _approvals(document["approvals"]):
        out.print(line)
    if (applied := document["applied"]) is not None:
        made = f"{_count(applied['fills'], 'fill')}, turnover {format_percent(applied['turnover'])}"
        out.print(f"Applied {applied['recorded']}, entry {applied['sequence']}: {made}.")


def _in_short(value: str) -> str:
    """A digest by its first digits; what else a run is told from others by, whole."""
    return value[:12] if len(value) == 64 and not set(value) - set("0123456789abcdef") else value


def _approvals(notes: Iterable[ApprovalNote]) -> Iterable[str]:
    found = [f"Approved {one['recorded']}, entry {one['sequence']}: {one['note']}" for one in notes]
    return [*found, NO_ACCESS_CONTROL] if found else ["Not approved."]


def show_verification(document: VerifyDocument, head: str | None) -> None:
    """That it is as it was written, and what only a kept head would find."""
    out = console()
    said = ", ".join(
        _count(document[key], key[:-1].replace("entrie", "entry")) for key in ("entries", "runs", "contents")
    )
    out.print(f"{document['ledger']} is as it was written: {said}.")
    if head is None:
        out.print("A tail that was cut off is found with --head HASH, a head that was kept elsewhere.")
    else:
        out.print("It holds the entry of the head that was given.")
    out.print(f"head {document['head']}", soft_wrap=True)


def show_replay(document: RunReplayDocument) -> None:
    """The same orders; and what is otherwise."""
    out = console()
    whole = (
        "plan.json is the same to the byte"
        if document["same_plan"]
        else f"plan.json differs in {', '.join(document['differs'])}"
    )
    out.print(f"Run {document['run_id']} made once more: the same {_count(document['orders'], 'order')}; {whole}.")
    for one in document["versions"]:
        out.print(f"{one['name']} was {one['then']}, and is {one['now']}")


def show_approval(document: ApproveDocument) -> None:
    """What was added."""
    out = console()
    out.print(
        f"Run {document['run_id']} of {document['ledger']} is approved, entry {document['sequence']}: "
        f"{document['note']}"
    )
    out.print(NO_ACCESS_CONTROL)
    out.print(f"head {document['head']}", soft_wrap=True)


def show_application(document: ApplyDocument) -> None:
    """What was traded, what is held in cash since, and what was not filled."""
    out = console()
    out.print(f"Run {document['run_id']} is applied, entry {document['sequence']} of {document['ledger']}.")
    taken = f"costs {document['costs']:z,.2f}" + f", tickets {document['tickets']:z,.2f}" * bool(document["tickets"])
    out.print(
        f"{_count(document['fills'], 'fill')}: sold {document['sold']:z,.2f}, bought {document['bought']:z,.2f}, "
        f"{taken}; turnover {format_percent(document['turnover'])}."
    )
    out.print(f"Cash was {document['cash_before']:z,.2f} and is {document['cash_after']:z,.2f}.")
    for one in document["unfilled"][:_ORDERS]:
        left = one["ordered"] - one["filled"]
        out.print(f"Not filled: {one['side']} {left:z,.10g} of {one['ordered']:z,.10g} {one['instrument']}.")
    if rest := document["unfilled"][_ORDERS:]:
        out.print(f"and {_count(len(rest), 'order')} more not filled, or in part; --json has all")
    if document["not_read"]:
        out.print(f"Columns that were not read: {', '.join(document['not_read'])}.")
    out.print(f"wrote {document['written']}", soft_wrap=True)
    out.print(f"head {document['head']}", soft_wrap=True)


def show_receipt(document: ReceiptDocument) -> None:
    """What left, what it adds up to, and how it is told from others."""
    out, totals = console(), document["totals"]
    out.print(f"Run {document['run_id']}, entry {document['sequence']} of {document['ledger']}")
    out.print(_totals(totals))
    out.print(
        table("file", "SHA-256", rows=[(name, digest[:16]) for name, digest in document["files"].items()], compact=True)
    )
    for line in _approvals(document["approvals"]):
        out.print(line)
    out.print(f"head {document['head']}", soft_wrap=True)


def _totals(totals: OrderTotals) -> str:
    return (
        f"{_count(totals['orders'], 'order')}: {totals['sells']} sells of {totals['sold']:z,.2f}, "
        f"{totals['buys']} buys of {totals['bought']:z,.2f}, costs {totals['costs']:z,.2f}"
    )


# Two plans side by side, and what made the difference.
#
LINES, _FEWEST = 45, 3
"""Of the screen, and names that are shown where there is least room for them."""
_LIMITS = 3
_AT_ITS_LIMIT = 0.999
"""Of a limit: what is used of one that holds the plan back."""
_SAME = 5e-9
"""Weights that differ by less have the same eight decimals."""


def show_comparison(document: ComparisonDocument, *, full: bool = False) -> None:
    """Print two plans and what made the difference; `full` shows all of it, else at most LINES lines."""
    out, names = console(), sorted(document["weights"][:-1], key=lambda row: (-abs(row["b"] - row["a"]), -row["a"]))
    most = len(names) if full else min(len(names), LINES // 4)
    parts = list(_comparison(document, names, most, full=full))
    while not full and most > _FEWEST and (over := count_lines(out, parts) - LINES) > 0:
        most = max(_FEWEST, most - max(1, over // 2))  # a name has a line of weights, and one of parts
        parts = list(_comparison(document, names, most, full=full))
    for part in parts:
        out.print(part)


def _comparison(
    document: ComparisonDocument, names: Sequence[Mapping[str, Any]], most: int, *, full: bool
) -> Iterator[RenderableType]:
    """The parts of the screen, with the `most` of the names that differ most."""
    for side, plan in (("A", document["a"]), ("B", document["b"])):
        yield Text(f"{side}  {plan['label']}", style="bold")
        yield Text(f"   {_plan_in_short(plan)}")
    yield Text()
    rows = [*names[:most], *([_together(names[most:])] if names[most:] else []), document["weights"][-1]]
    yield _side_by_side(document, rows)
    yield Text()
    right = ("A", "B", "change")
    figures = ((_figure(row), *_a_b_change(row)) for row in document["figures"])
    yield table("over the horizon, after costs", *right, right=right, rows=figures, compact=True)
    yield from _limits(document, full=full)
    yield Text()
    if groups := document["groups"]:
        yield Text(f"What made the difference, % of the account{_averaged(document)}", style="bold")
        yield from (Text(_changed(group, full=full)) for group in groups)
        yield _parts(document, rows, full=full)
    yield from (Text(f"{one['group']} stand together: {one['joined']}.") for one in groups if one["joined"])
    yield from map(Text, document["notes"])


def _plan_in_short(plan: Mapping[str, Any]) -> str:
    book = plan["book"]
    made = f"{_count(plan['orders'], 'order')}, turnover {format_percent(plan['turnover'])}"
    return f"account {book['account']} · {book['as_of']} · {format_money(book['value'])} {book['currency']} · {made}"


def _together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The names that find no line, as one row."""
    summed: dict[str, Any] = {key: sum(row[key] for row in rows) for key in ("a", "b")}
    summed |= {"instrument": f"{len(rows)} more", "names": [row["instrument"] for row in rows]}
    if rows[0]["parts"] is not None:
        summed["lots"] = sum(row["lots"] for row in rows)
        summed["parts"] = {group: sum(row["parts"][group] for row in rows) for group in rows[0]["parts"]}
    return summed


def _a_b_change(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return format_percent(row["a"], 2), format_percent(row["b"], 2), _signed(row["b"] - row["a"])


def _signed(number: float) -> str:
    """A change in percent; nothing where there is none, so that a table shows where there is some."""
    return "" if abs(number) < _SAME else format_signed(number * 100, 2)


def _side_by_side(document: ComparisonDocument, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Orders in money, sales below 0, and weights after them."""
    heads = ("A orders", "B orders", "A", "B", "change")
    made = table("", *heads, right=heads, compact=True)
    orders = {one["instrument"]: one for one in document["orders"]}
    for row in rows:
        own = [orders[name] for name in row.get("names", [row["instrument"]]) if name in orders]
        money = [sum((-1 if one[f"{side}_side"] == "sell" else 1) * one[f"{side}_value"] for one in own)
                 for side in ("a", "b")]  # fmt: skip
        made.add_row(row["instrument"], *(f"{value:+z,.0f}" if value else "" for value in money), *_a_b_change(row))
    return made


def _figure(row: Mapping[str, Any]) -> str:
    from allocator.plan.plan import FIGURES  # with all that makes a plan, which other screens of a ledger do without

    return next((one.label for one in FIGURES if one.name == row["figure"] and one.label), str(row["figure"]))


def _limits(document: ComparisonDocument, *, full: bool) -> Iterator[RenderableType]:
    """Limits that differ, or that hold back one plan alone, and how much of each is used."""
    rows = [
        row
        for row in document["rules"]
        if full or row["a_rule"] != row["b_rule"] or _holds(row, "a") != _holds(row, "b")
    ]
    rows.sort(key=lambda row: -max(row["a_use"] or 0.0, row["b_use"] or 0.0))
    if not rows:
        return
    yield Text()
    shown = len(rows) if full else _LIMITS
    cells = ((row["a_rule"] or "", row["a_use"], row["b_rule"] or "", row["b_use"]) for row in rows[:shown])
    yield table("limit of A", "used", "limit of B", "used", right=("used",), rows=cells, compact=True)
    if rows[shown:]:
        yield Text(f"and {len(rows) - shown} more limits that differ, which --full shows")


def _holds(row: Mapping[str, Any], side: str) -> bool:
    return row[f"{side}_state"] == "breach" or (row[f"{side}_use"] or 0.0) >= _AT_ITS_LIMIT


def _averaged(document: ComparisonDocument) -> str:
    """How parts were found, where there is more than one group."""
    if document["order"] is not None or len(document["groups"]) == 1:
        return ""
    return ", mean over all orders of the groups"


def _changed(group: Mapping[str, Any], *, full: bool) -> str:
    told = f"{group['group']}: {', '.join(group['changed'])}"
    return told if full else textwrap.shorten(told, 79, placeholder=" …")


def _short(group: str) -> str:
    """A group at the head of its column; of those that stand together the first, and how many more."""
    first, *others = group.split("+")
    return f"{first}+{len(others)}" if others else first


def _parts(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, full: bool) -> RenderableType:
    """The parts of weights and figures, what whole lots add, how much each moves, and between what in any order."""
    groups = document["groups"]
    names = [group["group"] for group in groups]
    heads = ("change", *map(_short, names), "lots")
    made = table("", *heads, right=heads, compact=True)
    figures = document["figures"] if full else document["figures"][:2]
    for row in (*rows, *figures):
        label = row.get("instrument") or _figure(row)
        made.add_row(label, *(_signed(value) for value in (row["b"] - row["a"], *row["parts"].values(), row["lots"])))
        if full and len(groups) > 1 and row.get("least"):
            ends = [[_signed(row[end][name]) for name in names] for end in ("least", "most")]
            for told, cells in zip(("  in any order", "  to"), ends if any(map(any, ends)) else (), strict=False):
                made.add_row(told, "", *cells, "", style="dim")
    made.add_row("moved", "", *(format_percent(group["moves"], 2) for group in groups), "", style="bold")
    if len(groups) > 1 and groups[0]["moves_least"] is not None:
        for label, key in (("  least", "moves_least"), ("  most", "moves_most")):
            made.add_row(label, "", *(format_percent(group[key], 2) for group in groups), "", style="dim")
    return made
