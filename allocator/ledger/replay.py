"""A recorded run made once more, from the bytes that the ledger holds: the same orders, or what differs."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from allocator.errors import BadInput, Breach
from allocator.ledger.ledger import Ledger, LedgerEntry
from allocator.ledger.record import FOLLOWED, recorded_files, versions

if TYPE_CHECKING:
    from allocator.book.book import Book


class VersionChange(TypedDict):
    """A package of which another version is installed now."""

    name: str
    then: str | None
    now: str | None


class RunReplayDocument(TypedDict):
    """What making a run once more gave."""

    format: Literal["allocator.replay/1"]
    run_id: str
    sequence: int
    orders: Annotated[int, "how many; each the same as then"]
    same_plan: Annotated[bool, "whether plan.json is the same to the byte"]
    differs: Annotated[list[str], "keys of plan.json that are not the same to the byte; its orders are"]
    versions: Annotated[list[VersionChange], "what is of another version now"]


def replay_run(ledger: Ledger, run: LedgerEntry, say: Callable[[str], None]) -> RunReplayDocument:
    """Make a run once more and hold its orders to those that were recorded.

    Raises:
        BadInput: orders differ, with every version that does; or what was recorded is no longer as it was.
        Infeasible, NotSolved: as `rebalance`, where this release or these versions find no plan.
    """
    from allocator.plan.document import plan_document
    from allocator.plan.output import plan_files

    say("reading the ledger")
    recorded = recorded_files(ledger, run)
    then = json.loads(recorded["plan.json"])
    with tempfile.TemporaryDirectory(prefix="allocator-") as temporary:
        plan, deviation = _made_anew(ledger, run, Path(temporary), say)
        files = plan_files(plan, plan_document(plan, deviation))
    now, changes = json.loads(files["plan.json"]), _changes(run.said["versions"])
    if faults := [*_other_orders(then, now)]:
        raise BadInput([*faults, *_reasons(changes)])
    return {
        "format": "allocator.replay/1",
        "run_id": run.run_id,
        "sequence": run.sequence,
        "orders": len(then["orders"]),
        "same_plan": files["plan.json"] == recorded["plan.json"],
        "differs": [key for key in then if then[key] != now.get(key)],
        "versions": changes,
    }


def _made_anew(ledger: Ledger, run: LedgerEntry, folder: Path, say: Callable[[str], None]) -> tuple[Any, Any]:
    """The plan of the inputs and options of a run, and how far it follows the one that it was held against."""
    from allocator.plan.follow import check_announced_policy, policy_deviation
    from allocator.plan.rebalance import rebalance

    book = recorded_book(ledger, run, folder)
    followed = folder / "followed.json" if FOLLOWED in run.said["contents"]["inputs"] else None
    if followed is not None:
        check_announced_policy(book, followed)
    plan = rebalance(book, progress=say)
    return plan, None if followed is None else policy_deviation(plan, followed)


def recorded_book(
    ledger: Ledger, run: LedgerEntry, folder: Path, further: Sequence[str] = (), as_of: dt.date | None = None
) -> Book:
    """The book of a run by its inputs and options, which are written into a `folder`; what-ifs may come on top.

    Raises:
        BadInput: what was recorded is no longer as it was, or a what-if is none of this book.
    """
    from allocator.outlook.scenario_cards import load_with_cards

    options, inputs = run.said["options"], run.said["contents"]["inputs"]
    parameters = run.said["contents"]["parameters"]["settings.json"]
    contents = ledger.contents([*inputs.values(), parameters])
    stated = json.loads(contents[parameters])["tables"]
    moved, beside = list[str](), folder / "book"
    beside.mkdir()
    for name, digest in inputs.items():
        if name == FOLLOWED:
            (folder / "followed.json").write_bytes(contents[digest])
            continue
        file, table = name, run.said["tables"].get(name)
        if table is not None and name != f"{table}.csv":  # of another folder, or the answer of a database
            where = stated[table]  # a workbook's sheet may be named like its file
            file = f"{table}/{PurePath(where).name if isinstance(where, str) else 'answer.csv'}"
            moved.append(f"tables.{table}={json.dumps(file)}")
            (beside / table).mkdir()
        (beside / file).write_bytes(contents[digest])
    if as_of is None and options["as_of"] is not None:
        as_of = dt.date.fromisoformat(options["as_of"])
    overrides = [*options["overrides"], *moved, *further]
    return load_with_cards(beside, account=options["account"], overrides=overrides, as_of=as_of)[0]


def is_made_alike(run: LedgerEntry, book: Book) -> bool:
    """Whether all that makes numbers of its `book` is of the versions that made the run."""
    from allocator.plan.runs import run_inputs

    options: Mapping[str, Any] = run.said["options"]
    return run_inputs(book, {}, options).items() <= run.said["made_from"].items() and not _changes(run.said["versions"])


def _other_orders(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Breach]:
    old, new = ({one["instrument"]: one for one in plan["orders"]} for plan in (then, now))
    cure = "see which version or input differs"
    for name in sorted({*old, *new}):
        was, found = (
            "none" if name not in orders else f"{orders[name]['side']} {orders[name]['quantity']:,.10g}"
            for orders in (old, new)
        )
        if was != found:
            yield Breach("orders", None, None, found, f"was {was} when the run was recorded", cure, name=name)


def _changes(then: Mapping[str, str]) -> list[VersionChange]:
    now = versions()
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    return [{"name": name, "then": then.get(name), "now": now.get(name)} for name in names]


def _reasons(changes: list[VersionChange]) -> Iterator[Breach]:
    for one in changes:
        yield Breach(
            one["name"], None, None, one["now"], f"was {one['then']}", "install that version, and replay again"
        )
    if not changes:
        yield Breach("versions", None, None, None, "are the same, and so are the inputs", "look at plugins of the book")
