"""A run as it is recorded: what it was made from, to the byte, what is believed, what proves it, and its orders."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import re
import sys
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from allocator.errors import BadInput, Breach, setting_breach
from allocator.importers.addresses import tells_password
from allocator.ledger.ledger import DEFAULT, Ledger, LedgerEntry, ledger_of, sha256
from allocator.presentation import Count, IsoDate, Keywords, NotNegative, Probability, Row

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.plan.runs import BookInput
    from allocator.settings.settings import Settings

_USED = ("clarabel", "cvxpy", "highspy", "numpy", "pandas", "piqp", "scipy")
FOLLOWED = "--follow"
"""The input that is an earlier plan.json."""
Digest = Annotated[str, Keywords(pattern="^[0-9a-f]{64}$")]


class RunSummary(TypedDict):
    """What a history says of a run."""

    book: str
    account: str
    as_of: IsoDate
    currency: str
    value: Annotated[float, "of the account, in the book's currency"]
    turnover: Annotated[NotNegative, "sales or purchases, whichever are more, as a fraction of the account"]
    expected_return: Annotated[float | None, "after the orders, over the horizon"]
    adverse_expected_return: float | None
    orders: Count
    verdict: str


class RunOptions(TypedDict):
    """What the command was asked for."""

    account: str | None
    overrides: Annotated[list[str], "each as --set takes it"]
    as_of: IsoDate | None
    export: list[str]


class RunContents(TypedDict):
    """The SHA-256 of what the ledger holds of a run, by name."""

    inputs: Annotated[dict[str, Digest], "files of the book, and the answers of databases and other sources as CSV"]
    outputs: Annotated[dict[str, Digest], "files that the run wrote, or would have written with --out"]
    parameters: Annotated[dict[str, Digest], "settings.json: every key of book.toml with its default"]


class RunEntry(TypedDict):
    """An entry of the ledger that is a run; its hash is the SHA-256 of it as canonical JSON."""

    format: Literal["allocator.ledger/1"]
    sequence: Annotated[int, Keywords(minimum=1)]
    previous: Annotated[Digest, "hash of the entry before; 64 zeros before the first"]
    kind: Literal["run"]
    run_id: str
    recorded: Annotated[str, "when, by the clock of the machine that wrote it; the order is that of the numbers"]
    summary: RunSummary
    beliefs: dict[str, Probability]
    certificate: Annotated[Row, "as in plan.json"]
    options: RunOptions
    made_from: Annotated[dict[str, str], "as `inputs` of run.json"]
    tables: Annotated[dict[str, str], "by input: the table of the book that it is"]
    contents: RunContents
    versions: dict[str, str]


def refuse_another(entry: LedgerEntry, made_from: Mapping[str, str]) -> None:
    """Raise where a run of the same id was made from something else: all that differs."""
    from allocator.plan.runs import changed_inputs

    if found := list(changed_inputs(entry.run_id, made_from, entry.said["made_from"])):
        raise BadInput(found)


def record_run(
    ledger: Ledger,
    run_id: str | None,
    document: Mapping[str, Any],
    files: Mapping[str, bytes],
    settings: Settings,
    inputs: Sequence[BookInput],
    options: RunOptions,
    made_from: Mapping[str, str],
) -> LedgerEntry:
    """Add a run to the ledger: its plan as `document`, the `files` that it gives, and all that it was made from.

    Raises:
        BadInput: an input holds a password, the ledger cannot be written, or it has another run of this id.
    """
    refuse_passwords(inputs, options)
    parts = {
        "inputs": {one.name: one.content for one in inputs},
        "outputs": dict(files),
        "parameters": {"settings.json": settings.model_dump_json().encode()},
    }
    digests = {part: {name: sha256(content) for name, content in held.items()} for part, held in parts.items()}
    said = {
        "summary": _summary(document),
        "beliefs": {row["scenario"]: row["probability"] for row in document["scenarios"]},
        "certificate": document["certificate"],
        "options": options,
        "made_from": dict(made_from),
        "tables": {one.name: one.table for one in inputs if one.table is not None},
        "contents": digests,
        "versions": versions(),
    }
    contents = {digests[part][name]: content for part, held in parts.items() for name, content in held.items()}
    entry = ledger.add("run", run_id, said, contents)
    refuse_another(entry, made_from)  # another process may have been faster
    return entry


def _summary(document: Mapping[str, Any]) -> RunSummary:
    book, after = document["book"], document["figures"]["after"]
    sold, bought = (sum(one["value"] for one in document["orders"] if one["side"] == side) for side in ("sell", "buy"))
    return {
        "book": book["name"],
        "account": book["account"],
        "as_of": book["as_of"],
        "currency": book["currency"],
        "value": book["value"],
        "turnover": round(max(sold, bought) / book["value"], 8),
        "expected_return": after["expected_return"],
        "adverse_expected_return": after["adverse_expected_return"],
        "orders": len(document["orders"]),
        "verdict": document["decision"]["verdict"],
    }


def versions() -> dict[str, str]:
    """Of what makes the numbers, on this machine."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _USED:
        # what a package says of itself is there once it is imported; what its files say is to be parsed
        said = getattr(sys.modules.get(name), "__version__", None)
        found[name] = str(said) if said else _installed_version(name)
    return found


@cache
def _installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def refuse_own_name(run_id: str | None) -> None:
    """Raise where somebody names a run as the ledger does those without a name."""
    if run_id is not None and re.fullmatch("run-[0-9]+", run_id):
        rule = "is what a ledger calls a run without a name, by its number"
        raise BadInput([Breach("--run-id", None, None, run_id, rule, "write for example 2026-11-20")])


def refuse_passwords(inputs: Sequence[BookInput], options: RunOptions) -> None:
    """Raise where an input holds the password of an address, which the ledger would keep for ever."""
    texts = {one.name: one.content.decode("utf-8", "replace") for one in inputs} | {
        "--set": "\n".join(options["overrides"])
    }
    rule, cure = "holds the password of an address, and the ledger would keep it", "write ${NAME} in its place"
    if found := [Breach(name, None, None, None, rule, cure) for name, text in texts.items() if tells_password(text)]:
        raise BadInput(found)


# What is read of a ledger.
#


class ApprovalNote(TypedDict):
    """A note of approval: a note and no access control."""

    sequence: int
    recorded: str
    note: str


class Application(TypedDict):
    """That what was traded of a run was written into holdings."""

    sequence: int
    recorded: str
    fills: Count
    turnover: NotNegative


class HistoryRow(RunSummary):
    """A run in the index."""

    sequence: int
    run_id: str
    recorded: str
    approvals: Annotated[Count, "notes of approval"]
    applied: Annotated[bool, "whether its trades were written into holdings"]


class HistoryDocument(TypedDict):
    """Runs in their order, oldest first."""

    format: Literal["allocator.history/1"]
    ledger: str
    total: Annotated[Count, "runs of the ledger, of which the last are told"]
    head: Annotated[Digest | None, "hash of the last entry; null where there is none"]
    runs: list[HistoryRow]


class ShowDocument(TypedDict):
    """A run: of a ledger, or of the folder that --run-id made without one."""

    format: Literal["allocator.recorded_run/1"]
    ledger: Annotated[str | None, "null for a folder"]
    run_id: str
    hash: Annotated[Digest | None, "of the entry; null for a folder"]
    approvals: list[ApprovalNote]
    applied: Application | None
    made_from: Annotated[dict[str, str], "digests of files, options that were given, and versions"]
    entry: Annotated[RunEntry | None, "as it was recorded; null for a folder"]
    plan: Annotated[Row, "plan.json"]


class VerifyDocument(TypedDict):
    """What was recomputed of a ledger that is as it was written."""

    format: Literal["allocator.verify/1"]
    ledger: str
    entries: Count
    runs: Count
    contents: Annotated[Count, "inputs and outputs, each once"]
    head: Annotated[Digest, "hash of the last entry; 64 zeros where there is none"]


class ApproveDocument(TypedDict):
    """A note of approval that was added."""

    format: Literal["allocator.approve/1"]
    ledger: str
    run_id: str
    note: str
    sequence: Annotated[int, "of the note"]
    head: Digest


def history_document(ledger: Ledger, last: int | None) -> HistoryDocument:
    """The last runs of a ledger."""
    total, rows, head = ledger.history(last)
    return {
        "format": "allocator.history/1",
        "ledger": ledger.shown,
        "total": total,
        "head": None if head is None else head.hash,
        "runs": rows,  # type: ignore[typeddict-item]  # as the index has them
    }


def show_document(ledger: Ledger, run_id: str) -> ShowDocument:
    """A run with all that was recorded; of the path of a folder that --run-id made, what that holds."""
    if os.path.isfile(Path(run_id, "run.json")):  # noqa: PTH113  # a Path would not be asked for a name that none can have
        from allocator.plan.runs import run_of_folder

        made, plan = run_of_folder(Path(run_id))
        return {
            "format": "allocator.recorded_run/1", "ledger": None, "run_id": made["run_id"], "hash": None,
            "approvals": [], "applied": None, "made_from": made["inputs"], "entry": None, "plan": plan,
        }  # fmt: skip
    run = ledger.run(run_id)
    applied = ledger.application(run)
    return {
        "format": "allocator.recorded_run/1",
        "ledger": ledger.shown,
        "run_id": run.run_id,
        "hash": run.hash,
        "approvals": approval_notes(ledger.approvals(run)),
        "applied": None if applied is None else {
            "sequence": applied.sequence, "recorded": applied.said["recorded"], "fills": len(applied.said["fills"]),
            "turnover": applied.said["turnover"],
        },
        "made_from": run.said["made_from"],
        "entry": run.said,  # type: ignore[typeddict-item]  # as it was recorded
        "plan": json.loads(recorded_files(ledger, run)["plan.json"]),
    }  # fmt: skip


def verify_document(ledger: Ledger, head: str | None) -> VerifyDocument:
    """What a ledger that is whole adds up to.

    Raises:
        BadInput: it is not as it was written; every row that is not.
    """
    found = ledger.verify(head)
    if found.faults:
        raise BadInput(found.faults)
    return {
        "format": "allocator.verify/1",
        "ledger": ledger.shown,
        "entries": found.entries,
        "runs": found.runs,
        "contents": found.contents,
        "head": found.head,
    }


def approve(ledger: Ledger, run_id: str, note: str) -> ApproveDocument:
    """Add a note of approval to a run; it names the hash of the run that it is of."""
    if not note.strip() or not note.isprintable():
        rule = "is no note"
        raise BadInput([Breach("--note", None, None, note, rule, "say in visible characters who approved, and why")])
    run = ledger.run(run_id)
    entry = ledger.add("approval", run.run_id, {"run": run.hash, "note": note})
    return {
        "format": "allocator.approve/1",
        "ledger": ledger.shown,
        "run_id": run.run_id,
        "note": note,
        "sequence": entry.sequence,
        "head": entry.hash,
    }


# What a turnover budget counts.
#


def with_used_turnover(book: Book, folder: str, *, records: bool) -> Book:
    """The book with what runs that were applied traded of its turnover budget, in the ledger that it names.

    Raises:
        BadInput: it names no ledger, and nobody records it in `ledger.db` here.
    """
    from allocator.settings.reading import with_overrides

    settings, budget = book.settings, book.settings.mandate.turnover_budget
    assert budget is not None
    ledger = ledger_of(settings.ledger, Path(folder))
    if settings.ledger is None and not records and not Path(DEFAULT).is_file():
        rule = "counts what was traded in a ledger, and this book names none"
        cure = "add [ledger] to book.toml, or record its runs with --record; or state used = 0.1 beside share"
        raise BadInput([setting_breach("mandate.turnover_budget", None, rule, cure)])
    day, of_book = settings.book.as_of, (settings.book.name, book.account)
    used = sum(
        one["turnover"]
        for one in ledger.applied()
        if (one["book"], one["account"]) == of_book
        and _months_before(day, budget.months) < dt.date.fromisoformat(one["as_of"]) <= day
    )
    return replace(book, settings=with_overrides(settings, [f"mandate.turnover_budget.used={round(used, 8)}"]))


def _months_before(day: dt.date, months: int) -> dt.date:
    """The same day of an earlier month, or its last."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    if year < 1:
        return dt.date.min
    return dt.date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


# What goes with orders: the run that they are of, and what the ledger's head was when they left.
#


class OrderTotals(TypedDict):
    """What orders add up to, in the book's currency."""

    orders: Count
    sells: Count
    buys: Count
    sold: NotNegative
    bought: NotNegative
    costs: NotNegative


class ReceiptDocument(TypedDict):
    """Which run orders are of: `receipt.json` beside them, and what `allocator export` answers."""

    format: Literal["allocator.receipt/1"]
    ledger: Annotated[str, "where it is, as it was stated"]
    run_id: str
    sequence: int
    hash: Annotated[Digest, "of the run's entry"]
    head: Annotated[Digest, "of the last entry when the orders left: keep it, for `allocator verify --head`"]
    approvals: list[ApprovalNote]
    files: Annotated[dict[str, Digest], "SHA-256 of each file that left with it"]
    totals: OrderTotals


def approval_notes(approvals: Sequence[LedgerEntry]) -> list[ApprovalNote]:
    """Notes as documents have them."""
    return [{"sequence": one.sequence, "recorded": one.said["recorded"], "note": one.said["note"]} for one in approvals]


def order_totals(orders: Sequence[Mapping[str, Any]]) -> OrderTotals:
    """Counts and sums of a plan's orders."""
    sells, buys = ([one for one in orders if one["side"] == side] for side in ("sell", "buy"))
    return {
        "orders": len(orders),
        "sells": len(sells),
        "buys": len(buys),
        "sold": round(sum(one["value"] for one in sells), 2),
        "bought": round(sum(one["value"] for one in buys), 2),
        "costs": round(sum(one["cost"] for one in orders), 2),
    }


def released_files(ledger: Ledger, run: LedgerEntry) -> tuple[dict[str, bytes], ReceiptDocument]:
    """The files of a run as the ledger holds them, with the receipt among them, and that.

    Raises:
        BadInput: the book wants approval first, and there is none; or a file is not as it was recorded.
    """
    contents, approvals, head = ledger.with_approvals(run)
    parts = run.said["contents"]
    section = json.loads(contents[parts["parameters"]["settings.json"]])["ledger"]
    if section and section["require_approval"] and not approvals:
        refuse_unapproved(ledger, run.run_id)
    files = {name: contents[digest] for name, digest in parts["outputs"].items()}
    made: ReceiptDocument = {
        "format": "allocator.receipt/1",
        "ledger": ledger.shown,
        "run_id": run.run_id,
        "sequence": run.sequence,
        "hash": run.hash,
        "head": head,
        "approvals": approval_notes(approvals),
        "files": dict(parts["outputs"]),
        "totals": order_totals(json.loads(files["plan.json"])["orders"]),
    }
    from allocator.plan.runs import RECEIPT

    return {**files, RECEIPT: (json.dumps(made, indent=1) + "\n").encode()}, made


def record_and_release(
    book: Book,
    folder: Path,
    document: Mapping[str, Any],
    files: Mapping[str, bytes],
    inputs: Sequence[BookInput],
    options: RunOptions,
) -> dict[str, bytes]:
    """Record a run of a book that names a ledger; its files with the receipt, where they may leave.

    Raises:
        BadInput: as `record_run` and `released_files`; where only approval is missing, the run is recorded.
    """
    from allocator.plan.runs import digests_of, run_inputs

    ledger, made_from = ledger_of(book.settings.ledger, folder), run_inputs(book, digests_of(inputs), options)
    run = record_run(ledger, None, document, files, book.settings, inputs, options, made_from)
    return released_files(ledger, run)[0]


def refuse_unapproved(ledger: Ledger, run_id: str | None, then: str = "export {} --out DIR") -> None:
    """Raise: [ledger] of the book wants a note of approval before orders leave, or are applied."""
    named, at = run_id or "RUN", "" if ledger.shown == DEFAULT else f" --ledger '{ledger.shown}'"
    cure = f"`allocator approve {named} --note …{at}`, then `allocator {then.format(named)}{at}`"
    if run_id is not None:
        rule = "was not approved, and [ledger] require_approval keeps its orders"
        raise BadInput([Breach("RUN", None, None, run_id, rule, cure)])
    rule = "would write orders that nobody approved"
    raise BadInput([Breach("--out", None, None, None, rule, f"leave it out to record the run, then {cure}")])


def recorded_files(ledger: Ledger, run: LedgerEntry) -> dict[str, bytes]:
    """The files that a run wrote, or would have written."""
    outputs: Mapping[str, str] = run.said["contents"]["outputs"]
    contents = ledger.contents(list(outputs.values()))
    return {name: contents[digest] for name, digest in outputs.items()}
