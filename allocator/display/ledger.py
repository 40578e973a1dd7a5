"""The ledger on the screen: its runs, one of them, and what was recomputed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from allocator.display.console import console, format_money, format_percent, heading, table

if TYPE_CHECKING:
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
        made = table(
            "run", "as of", "book", "orders", "turnover", "adverse", "approved", right=("orders", "turnover", "adverse")
        )
        for run in runs:
            made.add_row(
                run["run_id"], run["as_of"], _book(run), str(run["orders"]), format_percent(run["turnover"]),
                format_percent(run["adverse_expected_return"]), "yes" if run["approvals"] else "",
            )  # fmt: skip
        out.print(made)
        out.print("adverse: expected return under adverse probabilities, after the orders.")
    if document["head"] is not None:
        out.print(f"head {document['head']}", soft_wrap=True)


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
        f"{certificate['gap_bps']:.2g} bps of the best there is."
    )
    heading(out, f"Ordered: {plan['decision']['verdict']}")
    orders = sorted(plan["orders"], key=lambda one: -one["value"])
    if orders:
        rows = [
            (one["side"], one["instrument"], f"{one['quantity']:,.10g}", format_money(one["value"])) for one in orders
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
        f"{_count(totals['orders'], 'order')}: {totals['sells']} sells of {totals['sold']:,.2f}, "
        f"{totals['buys']} buys of {totals['bought']:,.2f}, costs {totals['costs']:,.2f}"
    )
