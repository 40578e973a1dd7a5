"""A fleet's run: batches in, shards out as they are done, and at the end one file of all orders.

A shard is written under another name and renamed, so that one that is there is whole: another run into the same folder
works on what is missing, and writes the same bytes as one that nobody disturbed.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from allocator.errors import BadInput, Breach, required_extra
from allocator.fleets.accounts import Accounts, Batch, SharedBook, read_fleet
from allocator.fleets.batches import Result, packed, work_on
from allocator.fleets.executors import DIED, Workers, work_through
from allocator.plan.output import csv_text, order_rows, order_system_row
from allocator.plan.plan import Order
from allocator.plan.runs import digest, input_digests, refuse_changing_inputs
from allocator.presentation import Count, IsoDate, Keywords
from allocator.settings.settings import ORDER_COLUMNS
from allocator.tables.files import is_plain_file, names_in, read_regular_file, replace_file

MANIFEST, SHARDS, SUMMARY, ORDERS = "run.json", "shards", "fleet.json", "orders.csv"
_FORMAT = "allocator.fleet_run/1"


class FailedAccount(TypedDict):
    """An account without a plan, and why."""

    account: str
    error: Annotated[str, "the class of the refusal; WorkerDied where workers died of the account, Defect where we did"]
    message: str


class FleetDocument(TypedDict):
    """What became of the accounts of a fleet: `fleet.json`."""

    format: Literal["allocator.fleet/1"]
    name: str
    as_of: IsoDate
    currency: str
    inputs_sha256: Annotated[str, Keywords(pattern="^[0-9a-f]{64}$")]
    accounts: Count
    complete: Annotated[Count, "accounts with a plan"]
    verdicts: Annotated[dict[str, int], "accounts with a plan by whether they trade"]
    orders: Count
    value: Annotated[float, "of complete accounts before trading, in the book's currency"]
    bought: float
    sold: float
    costs: float
    failed: list[FailedAccount]
    interrupted: Annotated[bool, "whether accounts are still missing: run it again"]


@dataclass(frozen=True, eq=False)
class FleetRun:
    """The folder of a run, what it is made from, and what its shards have."""

    folder: Path
    inputs: dict[str, str]
    digest: str
    shared: SharedBook
    accounts: Accounts

    def shard(self, number: int) -> Path:
        """Where the results of a batch are."""
        return self.folder / SHARDS / f"{number:06d}.parquet"

    def missing(self) -> list[int]:
        """The batches that have no shard, or one of which an account is to be tried again."""
        there = {*names_in(self.folder / SHARDS)}
        every = range(self.accounts.batches)
        return [number for number in every if self.shard(number).name not in there or self._has_died(number)]

    def _has_died(self, number: int) -> bool:
        return any(one["error"] == DIED for one in self.results(number, ["error"]))

    def results(self, number: int, columns: list[str] | None = None) -> list[Result]:
        """The rows of a shard, or some of their columns.

        Raises:
            BadInput: it is not as this run wrote it.
        """
        path = self.shard(number)
        parquet = _parquet()
        try:
            table = parquet.read_table(io.BytesIO(read_regular_file(path, str(path))), columns=columns)
            if (table.schema.metadata or {}).get(b"inputs") == self.digest.encode():
                rows: list[Result] = table.to_pylist()
                return rows
        except (OSError, ValueError):  # pyarrow's own are of these
            pass
        raise BadInput.of(str(path), "is no shard of this run", "remove it: the next run writes it again")

    def write(self, number: int, results: Sequence[Result]) -> None:
        """Write a shard under another name, then rename it."""
        import pyarrow as pa

        table = pa.Table.from_pylist([*results], schema=_schema().with_metadata({"inputs": self.digest}))
        content = io.BytesIO()
        _parquet().write_table(table, content, compression="zstd")
        replace_file(self.shard(number), content.getvalue())


def _parquet() -> Any:
    return required_extra("pyarrow.parquet", "pyarrow", "fleet", "--out")


def _schema() -> Any:
    import pyarrow as pa

    numbers = ("value", "gain_bps", "objective", "bound", "lots_gap_bps", "bought", "sold", "costs", "cash")
    order = [(name, pa.string()) for name in ("side", "instrument")]
    order += [(name, pa.float64()) for name in ("quantity", "price", "value", "cost", "weight_before", "weight_after")]
    weight = pa.struct([("instrument", pa.string()), ("weight", pa.float64())])
    return pa.schema(
        [(name, pa.string()) for name in ("account", "error", "message", "verdict", "solver")]
        + [(name, pa.float64()) for name in numbers]
        + [("relaxed", pa.list_(pa.string())), ("weights", pa.list_(weight)), ("orders", pa.list_(pa.struct(order)))]
    )


def run_fleet(
    folder: Path,
    out: Path,
    accounts: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    as_of: dt.date | None = None,
    lots: bool = True,
    workers: Callable[[], Workers],
    progress: Callable[[str], None] = lambda _: None,
) -> FleetDocument:
    """Have `workers`, opened where there is something to do, work on every account of a book, and write what becomes of
    each into `out`.

    Raises:
        BadInput: what all accounts share is refused, or `out` holds a run of other inputs.
    """
    progress("reading the accounts")
    _parquet()
    run = _open(folder, out, accounts, overrides, as_of, lots=lots)
    missing = run.missing()
    progress("starting workers")
    interrupted = False
    if missing:
        workforce = workers()
        try:
            told = _Rate(run.accounts, missing, progress)

            def keep(batch: Batch, results: list[Result]) -> None:
                run.write(batch.number, results)
                told.tell(len(results))

            work_through(workforce, map(run.accounts.batch, missing), packed(run.shared), keep, work_on)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            workforce.close()
    progress("writing the orders")
    return _finished(run, interrupted=interrupted)


class _Rate:
    """How many accounts are done, how many a second, and how long the others take: for people, and for nothing else."""

    def __init__(self, accounts: Accounts, missing: Sequence[int], say: Callable[[str], None]) -> None:
        self._say, self._began, self._done = say, time.monotonic(), 0
        size, last = accounts.size, accounts.batches - 1
        self._left = sum(len(accounts.cases) - last * size if number == last else size for number in missing)

    def tell(self, done: int) -> None:
        """So many more are done."""
        self._done += done
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        left = (self._left - self._done) / rate
        shown = f"{left / 60:.0f} min" if left > 120 else f"{left:.0f} s"
        self._say(f"{self._done:,} of {self._left:,} accounts, {rate:.1f} a second, {shown} left")


def _open(
    folder: Path, out: Path, accounts: Path | None, overrides: Sequence[str], as_of: dt.date | None, *, lots: bool
) -> FleetRun:
    """The run in a folder: begun, or gone on with.

    Raises:
        BadInput: the folder holds a run of other inputs, or something else.
    """
    before = inputs_of_run(folder, accounts, overrides, as_of, lots=lots)
    shared, cases = read_fleet(folder, accounts, overrides=overrides, as_of=as_of, lots=lots)
    inputs = inputs_of_run(folder, accounts, overrides, as_of, lots=lots)
    refuse_changing_inputs(before, inputs)
    made = {"format": _FORMAT, "inputs": inputs}
    run = FleetRun(out, inputs, digest(json.dumps(made, sort_keys=True).encode()), shared, cases)
    path = out / MANIFEST
    if is_plain_file(path):
        _refuse_other(path, inputs)
        return run
    if names_in(out):
        cure = "name a folder that is empty, or not there"
        raise BadInput.of("--out", "is not empty, and holds no run of a fleet", cure, value=str(out))
    try:
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise BadInput.of("--out", rule, "make room, or name another folder", value=str(out)) from None
    replace_file(path, (json.dumps(made, indent=1, sort_keys=True) + "\n").encode())
    return run


def inputs_of_run(
    folder: Path, accounts: Path | None, overrides: Sequence[str], as_of: dt.date | None, *, lots: bool
) -> dict[str, str]:
    """By name, the digest of each file, the options, and our version."""
    named = {} if accounts is None else {"--accounts": digest(read_regular_file(accounts, accounts.name))}
    options = {"--set": "; ".join(overrides), "--as-of": "" if as_of is None else as_of.isoformat()}
    options["--targets"] = "" if lots else "yes"
    given = {name: text for name, text in options.items() if text}
    return {**input_digests(folder, overrides, as_of), **named, **given, "allocator": version("portfolio-allocator")}


def _refuse_other(path: Path, inputs: dict[str, str]) -> None:
    """Refuse a folder whose run was made from other inputs: one file of orders would be of both."""
    try:
        made = json.loads(read_regular_file(path, path.name))
        earlier = dict(made["inputs"]) if made["format"] == _FORMAT else None
    except (ValueError, KeyError, TypeError):
        earlier = None
    cure = "name another --out for the new inputs, or put back the old ones"
    if earlier is None:
        raise BadInput.of("--out", "holds another run", "name a folder that is empty, or not there", value=str(path))
    if changed := sorted(name for name in {*earlier, *inputs} if earlier.get(name) != inputs.get(name)):
        rule = f"is not what the run in {path.parent} was made from"
        raise BadInput(Breach.of(name, rule, cure) for name in changed)


# The end of a run: shards are read one by one, so that no more of them is in memory.
#


def _finished(run: FleetRun, *, interrupted: bool) -> FleetDocument:
    """The summary of all shards that are there; where none is missing, the files of all of them are written."""
    totals, document = _Totals(), run.shared.book.settings.book
    results = map(totals.counted, _every(run))
    if interrupted:
        for _ in results:
            pass
    else:
        try:
            _write_orders(run, results)
        except OSError as error:
            rule = f"cannot be written: {error.strerror or error}"
            raise BadInput.of("--out", rule, "make room, and run it again", value=str(run.folder)) from None
    made: FleetDocument = {  # type: ignore[typeddict-item]  # the totals have the other keys
        "format": "allocator.fleet/1",
        "name": document.name,
        "as_of": document.as_of.isoformat(),
        "currency": document.currency,
        "inputs_sha256": run.digest,
        "accounts": len(run.accounts.cases),
        **totals.document(),
        "interrupted": interrupted,
    }
    if not interrupted:
        replace_file(run.folder / SUMMARY, (json.dumps(made, indent=1) + "\n").encode())
    return made


class _Totals:
    """What is counted of results as they pass."""

    def __init__(self) -> None:
        self._verdicts, self._orders, self._failed = Counter[str](), 0, list[FailedAccount]()
        self._money: dict[str, list[float]] = {name: [] for name in ("value", "bought", "sold", "costs")}

    def counted(self, result: Result) -> Result:
        """The same result."""
        if result["error"] is not None:
            told: FailedAccount = {name: result[name] for name in ("account", "error", "message")}  # type: ignore[assignment]
            self._failed.append(told)
            return result
        self._verdicts[result["verdict"]] += 1
        self._orders += len(result["orders"])
        for name, amounts in self._money.items():
            amounts.append(result[name])
        return result

    def document(self) -> Any:
        """The totals; failures by the names of their accounts."""
        return {
            "complete": self._verdicts.total(),
            "verdicts": dict(sorted(self._verdicts.items())),
            "orders": self._orders,
            **{name: round(math.fsum(amounts), 2) for name, amounts in self._money.items()},
            "failed": sorted(self._failed, key=lambda one: one["account"]),
        }


def _every(run: FleetRun) -> Iterator[Result]:
    """The rows of all shards that are there, in the order of batches."""
    there = {*names_in(run.folder / SHARDS)}
    for number in range(run.accounts.batches):
        if run.shard(number).name in there:
            yield from run.results(number)


def _write_orders(run: FleetRun, results: Iterable[Result]) -> None:
    """orders.csv, and what [orders] wants, as `rebalance` writes them for one account: account after account."""
    section, first = run.shared.book.settings.orders, 1
    with ExitStack() as stack:
        add = stack.enter_context(_by_account(run.folder / ORDERS, csv_text([ORDER_COLUMNS])))
        add_to_system = None
        if section is not None:
            add_to_system = stack.enter_context(_by_account(run.folder / section.file, csv_text([[*section.columns]])))
        for result in results:
            book, orders = replace(run.shared.book, account=result["account"]), result["orders"]
            rows = list(order_rows(book, [Order(**order) for order in orders], run.digest, first))
            first += len(rows)
            add(book.account, csv_text([[row[name] for name in ORDER_COLUMNS] for row in rows]))
            if section is not None and add_to_system is not None:
                add_to_system(book.account, csv_text([order_system_row(row, section) for row in rows]))


@contextmanager
def _by_account(path: Path, head: str) -> Iterator[Callable[[str, str], None]]:
    """A file whose parts come in any order, and stand in that of their accounts; none of them is kept in memory. It is
    written under another name, which is renamed once all of it is there.
    """
    places = dict[str, tuple[int, int]]()
    with tempfile.TemporaryFile(dir=path.parent) as parts:

        def add(account: str, text: str) -> None:
            content = text.encode()
            places[account] = (parts.tell(), len(content))
            parts.write(content)

        yield add
        beside = path.with_name(f".writing-{path.name}")
        with beside.open("wb") as file:
            file.write(head.encode())
            for _, (at, size) in sorted(places.items()):
                parts.seek(at)
                file.write(parts.read(size))
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
