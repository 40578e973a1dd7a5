"""Fleets: each account's orders are those of its own `rebalance`; what is wrong with one is that one's; what dies is
done again, and the files are the same to the byte.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from pyarrow import parquet

from allocator.__main__ import main
from allocator.book.book import BookOfAny, LooksAtAccount
from allocator.book.loading import load
from allocator.errors import BadInput, Infeasible
from allocator.fleets.accounts import AccountCase, Batch, read_fleet
from allocator.fleets.batches import AccountSolver, Result, completed, work_on
from allocator.fleets.executors import DIED, DaskWorkers, ProcessWorkers, work_through
from allocator.fleets.fleet import FleetDocument, run_fleet
from allocator.fleets.holdings import Holdings, HoldingsReader
from allocator.plan.plan import Order
from allocator.plan.rebalance import rebalance
from tests.command_line import runner
from tests.thoroughness import count

INFEASIBLE = "A0002"


def written(folder: Path, root: Path, accounts: int, **others: str) -> Path:
    """The listed sample with so many accounts, each large enough for rounding to be within the gap; `others` are lines
    of holdings.csv to replace, by account and instrument.
    """
    shutil.copytree(root / "data" / "listed", folder)
    with (folder / "holdings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    draw = np.random.default_rng(25)
    lines = [",".join(rows[0])]
    for number in range(accounts):
        for row in rows:
            quantity = int(float(row["quantity"]) * 1000 * draw.uniform(0.9, 1.1))
            line = ",".join({**row, "account": f"A{number:04d}", "quantity": str(quantity)}.values())
            lines.append(others.get(f"A{number:04d}_{row['instrument']}", line))
    (folder / "holdings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def own_limits(folder: Path) -> Path:
    """accounts.csv beside the tables: limits, locked names, cash and risk aversion of some accounts."""
    path = folder / "accounts.csv"
    path.write_text(
        "account,mandate.max_weight,mandate.risk_aversion,mandate.locked,cash.paid_in\n"
        f"A0001,0.13,,,\n{INFEASIBLE},0.0001,,,\nA0003,,3,EQIX; AMZN,\nA0005,,,,250000\n",
        encoding="utf-8",
    )
    return path


class Here:
    """An executor of this process, which is told what to die of."""

    def __init__(self, dies: Callable[[Batch], bool] = lambda _: False) -> None:
        self.dies, self.asked, self.wanted = dies, list[list[str]](), 3

    def submit(self, work: Any, shared: bytes, batch: Batch) -> Future[list[Result]]:
        future: Future[list[Result]] = Future()
        self.asked.append([case.name for case in batch.cases])
        if self.dies(batch):
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(work(shared, batch))
        return future

    def is_death(self, error: BaseException) -> bool:
        return isinstance(error, BrokenExecutor)

    def renew(self) -> bool:
        return True

    def close(self) -> None:
        pass


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a run."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def results(folder: Path) -> dict[str, Result]:
    """The rows of all shards by account."""
    shards = sorted((folder / "shards").iterdir())
    return {row["account"]: row for path in shards for row in parquet.read_table(path).to_pylist()}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A book of many accounts."""
    return written(tmp_path_factory.mktemp("fleet") / "book", root, count(300, 15))


@pytest.fixture(scope="module")
def undisturbed(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FleetDocument]:
    """What becomes of it in this process."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    return out, run_fleet(fleet, out, own_limits(fleet), workers=Here)


def test_each_account_has_the_orders_of_its_own_rebalance(fleet: Path, undisturbed: tuple[Path, FleetDocument]) -> None:
    out, document = undisturbed
    _, accounts = read_fleet(fleet, fleet / "accounts.csv")
    found = results(out)

    assert [*found] == [case.name for case in accounts.cases]
    for case in accounts.cases[:: 1 if len(found) > 100 else 3]:
        book = load(fleet, account=case.name, overrides=case.overrides)
        if case.name == INFEASIBLE:
            continue
        plan, own = rebalance(book), found[case.name]
        assert tuple(Order(**order) for order in own["orders"]) == plan.orders
        assert own["verdict"] == plan.decision.verdict
        assert own["solver"] == plan.certificate.solver
        assert own["objective"] == pytest.approx(plan.certificate.objective, abs=1e-9)
        assert own["bound"] == pytest.approx(plan.certificate.bound, abs=1e-9)
        assert own["cash"] == pytest.approx(plan.final.cash, abs=0.006)
    assert document["complete"] == len(found) - 1
    assert document["orders"] == sum(len(row["orders"]) for row in found.values()) > len(found)


def test_the_book_of_an_account_is_the_one_that_load_makes(fleet: Path) -> None:
    shared, accounts = read_fleet(fleet, own_limits(fleet))
    solver = AccountSolver(shared)
    batches = map(accounts.batch, range(accounts.batches))
    named = {case.name: (case, held) for one in batches for case, held in zip(one.cases, one.held, strict=True)}
    for name in ("A0000", "A0003", "A0005"):
        case, held = named[name]
        made, loaded = solver.book(case, held), load(fleet, account=name, overrides=case.overrides)
        for field in ("settings", "account", "instruments", "cash_instrument", "currencies", "cash"):
            assert getattr(made, field) == getattr(loaded, field), field
        for field in ("quantities", "prices", "quoted_prices", "lot_sizes"):
            assert (getattr(made, field) == getattr(loaded, field)).all(), field
        pd.testing.assert_frame_equal(made.exposures, loaded.exposures)
        pd.testing.assert_frame_equal(made.scenario_returns, loaded.scenario_returns)


def test_rules_that_look_at_an_account_are_each_account_s_own(root: Path, tmp_path: Path) -> None:
    said = ["mandate.bands.MSFT={target=0.102,width=0.004}", 'mandate.bands.chips={target=0.25,width=0.03,to="target"}',
            "mandate.max_participation=0.9", "mandate.locked=[\"VST\"]"]  # fmt: skip
    book = written(tmp_path / "book", root, 6)
    exposures = pd.read_csv(book / "exposures.csv")
    exposures.assign(average_daily_volume=2e6).to_csv(book / "exposures.csv", index=False)
    (book / "accounts.csv").write_text("account,cash.paid_out\nA0001,900000\nA0004,900000\n", encoding="utf-8")
    shared, accounts = read_fleet(book, book / "accounts.csv", overrides=said, lots=False)
    solver, seen = AccountSolver(shared), set[tuple[str, ...]]()

    for case, held in zip(accounts.cases, accounts.batch(0).held, strict=True):
        found = solver.result(case, held)
        plan = rebalance(load(book, account=case.name, overrides=[*said, *case.overrides]), lots=False)
        seen.add(tuple(type(rule).__name__ for rule in plan.mandate.rules))
        assert found == completed(plan)
    assert len(seen) > 2


def test_a_book_of_any_account_shows_nothing_of_one(root: Path) -> None:
    book = load(root / "data" / "listed")
    anyones = BookOfAny.of(book)

    assert book.value > 0
    assert (anyones.prices == book.prices).all()
    for name in ("account", "quantities", "cash", "value", "weights", "given_away"):
        with pytest.raises(LooksAtAccount):
            getattr(anyones, name)


def test_an_account_that_cannot_keep_its_limits_is_named_with_them(
    fleet: Path, undisturbed: tuple[Path, FleetDocument]
) -> None:
    (failed,) = undisturbed[1]["failed"]

    with pytest.raises(Infeasible) as refused:
        rebalance(load(fleet, account=INFEASIBLE, overrides=["mandate.max_weight=0.0001"]))
    assert failed["account"] == INFEASIBLE
    assert failed["error"] == "Infeasible"
    assert failed["message"].startswith(refused.value.message.split(" (")[0].split(";")[0])


def test_one_file_has_the_orders_of_all_accounts(undisturbed: tuple[Path, FleetDocument]) -> None:
    out, document = undisturbed
    orders = pd.read_csv(out / "orders.csv", dtype=str)

    assert len(orders) == document["orders"]
    assert set(orders["plan_sha256"]) == {document["inputs_sha256"]}
    assert list(orders["account"]) == sorted(orders["account"])
    for name, own in results(out).items():
        mine = orders.loc[orders["account"] == name]
        assert list(mine["instrument"]) == [order["instrument"] for order in own["orders"]]
        assert list(mine["quantity"].astype(float)) == [order["quantity"] for order in own["orders"]]
    assert json.loads((out / "fleet.json").read_text(encoding="utf-8")) == document


# Workers that die: what they had is done again.
#


def killing(pids: Callable[[], Sequence[int]]) -> tuple[Callable[[str], None], list[int]]:
    """Progress that kills a worker as the first results come, and whom it killed."""
    killed = list[int]()

    def told(text: str) -> None:
        if " accounts, " in text and not killed:
            killed.append(pids()[0])
            os.kill(killed[0], signal.SIGKILL)

    return told, killed


def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """More batches than workers."""
    monkeypatch.setattr("allocator.fleets.accounts._MOST_A_BATCH", 4)


@pytest.fixture(scope="module")
def in_small_batches(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What becomes of the fleet in this process, in batches of four."""
    out = tmp_path_factory.mktemp("small") / "out"
    with pytest.MonkeyPatch.context() as patched:
        small_batches(patched)
        run_fleet(fleet, out, own_limits(fleet), workers=Here)
    return out


def test_a_process_that_is_killed_changes_no_byte(
    fleet: Path, in_small_batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    told, killed = killing(lambda: [child.pid or 0 for child in active_children()])

    run_fleet(fleet, tmp_path / "out", fleet / "accounts.csv", workers=lambda: ProcessWorkers(2), progress=told)

    assert killed
    assert content(tmp_path / "out") == content(in_small_batches)
    assert active_children() == []


@pytest.mark.filterwarnings("ignore")
def test_a_dask_worker_that_is_killed_changes_no_byte(
    fleet: Path, in_small_batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    small_batches(monkeypatch)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        told, killed = killing(lambda: [worker.pid for worker in cluster.workers.values()])
        address = cluster.scheduler_address

        run_fleet(fleet, tmp_path / "out", fleet / "accounts.csv", workers=lambda: DaskWorkers(address), progress=told)

    assert killed
    assert content(tmp_path / "out") == content(in_small_batches)


def test_a_scheduler_that_is_not_there_is_refused_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("allocator.fleets.executors._REACHED_IN", "0.5s")

    with pytest.raises(BadInput, match=r"--scheduler: cannot be reached.*such as tcp://127.0.0.1:8786"):
        DaskWorkers("tcp://127.0.0.1:1")


def echoed(_: bytes, batch: Batch) -> list[Result]:
    return [{"account": case.name, "error": None} for case in batch.cases]


def batches_of(*names: str) -> Iterator[Batch]:
    nothing = Holdings(np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.int32))
    yield from (Batch(at, tuple(map(AccountCase, some)), (nothing,) * len(some)) for at, some in enumerate(names))


def test_an_account_that_kills_twice_is_named_and_costs_the_others_nothing() -> None:
    here, kept = Here(lambda batch: "c" in [case.name for case in batch.cases]), dict[str, Any]()

    def keep(_: Batch, found: list[Result]) -> None:
        kept.update({one["account"]: one["error"] for one in found})

    work_through(here, batches_of("ab", "bcd", "ef"), b"", keep, echoed)

    assert kept == {"a": None, "b": None, "c": DIED, "d": None, "e": None, "f": None}
    assert here.asked.count(["c"]) == 2


def test_an_account_that_a_worker_died_beside_once_has_not_failed() -> None:
    deaths, kept = iter([True, True]), dict[str, Any]()

    def keep(_: Batch, found: list[Result]) -> None:
        kept.update({one["account"]: one["error"] for one in found})

    work_through(Here(lambda _: next(deaths, False)), batches_of("ab", "cd"), b"", keep, echoed)

    assert kept == dict.fromkeys("abcd")


# Runs that end before they are done, and other inputs in the same folder.
#


def test_a_second_run_works_on_what_is_missing_alone(
    fleet: Path, in_small_batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    out = tmp_path / "out"
    shutil.copytree(in_small_batches, out)
    gone = sorted((out / "shards").iterdir())[1]
    again = [row["account"] for row in parquet.read_table(gone).to_pylist()]
    gone.unlink()
    (out / "orders.csv").unlink()
    here = Here()

    run_fleet(fleet, out, fleet / "accounts.csv", workers=lambda: here)

    assert here.asked == [again]
    assert content(out) == content(in_small_batches)


def test_an_interrupted_run_says_so_and_is_gone_on_with(
    fleet: Path, in_small_batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)

    def interrupted(text: str) -> None:
        if text.startswith("8 of"):
            raise KeyboardInterrupt

    first = run_fleet(fleet, tmp_path / "out", fleet / "accounts.csv", workers=Here, progress=interrupted)

    assert first["interrupted"]
    assert first["complete"] + len(first["failed"]) == 8
    assert not (tmp_path / "out" / "orders.csv").exists()
    run_fleet(fleet, tmp_path / "out", fleet / "accounts.csv", workers=Here)
    assert content(tmp_path / "out") == content(in_small_batches)


def test_an_account_that_workers_died_of_is_tried_again_by_another_run(
    fleet: Path, in_small_batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    dies = Here(lambda batch: "A0007" in [case.name for case in batch.cases])

    (first, second) = run_fleet(fleet, tmp_path / "out", fleet / "accounts.csv", workers=lambda: dies)["failed"]

    assert (first["account"], second["account"], second["error"]) == (INFEASIBLE, "A0007", DIED)
    run_fleet(fleet, tmp_path / "out", fleet / "accounts.csv", workers=Here)
    assert content(tmp_path / "out") == content(in_small_batches)


def test_other_inputs_in_the_folder_of_a_run_are_refused_by_name(
    fleet: Path, undisturbed: tuple[Path, FleetDocument], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed[0], out)

    with pytest.raises(BadInput, match=r"--set: is not what the run in .* was made from; name another --out"):
        run_fleet(fleet, out, fleet / "accounts.csv", overrides=["mandate.risk_aversion=3"], workers=Here)
    with pytest.raises(BadInput, match="--accounts: is not what"):
        run_fleet(fleet, out, workers=Here)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match="is not empty, and holds no run of a fleet"):
        run_fleet(fleet, tmp_path / "letters", workers=Here)


def test_a_shard_that_somebody_changed_is_refused(
    fleet: Path, undisturbed: tuple[Path, FleetDocument], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed[0], out)
    next((out / "shards").iterdir()).write_bytes(b"PAR1")

    with pytest.raises(BadInput, match=r"is no shard of this run; remove it"):
        run_fleet(fleet, out, fleet / "accounts.csv", workers=Here)


# Rows that are wrong.
#


def refused(book: Path, accounts: Path | None = None) -> Mapping[str, str]:
    """Why accounts of a book failed before anything was solved."""
    _, cases = read_fleet(book, accounts)
    return {case.name: str(BadInput(case.breaches)) for case in cases.cases if case.breaches}


POISON = {
    "A0001_META": ("A0001,META,many,700,USD,1", r"holdings.csv:\d+ quantity: must be a number \(got 'many'\)"),
    "A0002_META": ("A0002,META,-5,700,USD,1", r"quantity: must be at least 0 \(got '-5'\); long-only"),
    "A0003_META": ("A0003,METO,5,700,USD,1", "instrument: is not in exposures.csv .* did you mean 'META'"),
    "A0000_META": ("A0000,META,5,70,USD,1", r"price: differs from another row of META \(700.0\) \(got '70.0'\)"),
    "A0004_GOOGL": ("A0004,META,5,700,USD,1", "account and instrument together must be unique"),
}  # fmt: skip


def test_a_poisoned_row_fails_its_own_account_and_no_other(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 12, **{place: line for place, (line, _) in POISON.items()})

    found = refused(book)

    assert sorted(found) == ["A0000", "A0001", "A0002", "A0003", "A0004"]
    for place, (_, said) in POISON.items():
        assert pd.Series([found[place[:5]]]).str.contains(said).all(), found[place[:5]]


@pytest.mark.parametrize("place", [None, "A0003_META", "A0004_GOOGL", "all"])
def test_a_table_that_is_read_line_by_line_is_the_one_that_is_read_whole(
    place: str | None, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {name: line for name, (line, _) in POISON.items() if place in (name, "all")}
    book = written(tmp_path / "book", root, 12, **chosen, A0007_MSFT="A0007,MSFT,50000,400.0,USD,1")
    whole = _everything(book)
    monkeypatch.setattr("allocator.fleets.holdings.LONG", 0)

    assert _everything(book) == whole
    assert len(HoldingsReader().read(book / "holdings.csv", "holdings.csv").rows) < 12 * 15 / 2


def test_rows_that_may_be_doubted_or_are_apart_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.fleets.holdings.LONG", 0)
    lines = ["account,instrument,quantity,price"]
    for account, bills in {"a": "10", "b": "11", "c": "2000", "d": "1.250", "e": "12"}.items():
        lines += [f"{account},BILL,{bills},99.5", f"{account},X,100,{7 if account != 'e' else 8}", f"{account},Y,5,3"]
    (tmp_path / "holdings.csv").write_text("\n".join([*lines, "e,Y,6,3"]), encoding="utf-8")

    kept = HoldingsReader().read(tmp_path / "holdings.csv", "holdings.csv").frame

    rows = {account: "".join(own["instrument"].str[0]) for account, own in kept.groupby("account")}
    assert rows == {"a": "BXY", "b": "X", "c": "BXY", "d": "BX", "e": "XYY"}  # what X costs is not agreed


def _everything(book: Path) -> tuple[Any, ...]:
    """Of a fleet what each account holds, by instrument and line, and what is wrong with it."""
    shared, accounts = read_fleet(book)
    names = shared.quotes["instrument"].to_numpy()
    rows = [
        (
            case.name,
            case.breaches,
            *zip(names[one.instruments], one.quantities.tolist(), one.lines.tolist(), strict=True),
        )
        for batch in map(accounts.batch, range(accounts.batches))
        for case, one in zip(batch.cases, batch.held, strict=True)
    ]
    assert shared.outlook is not None
    return rows, shared.quotes.to_csv(), shared.outlook.returns.tolist()


def test_the_only_row_of_a_name_still_says_its_price_where_the_quantity_is_wrong(root: Path, tmp_path: Path) -> None:
    names = [f"A{number:04d}_META" for number in range(4)]
    book = written(tmp_path / "book", root, 4, **dict.fromkeys(names[1:], ""), **{names[0]: "A0000,META,x,700,USD,1"})

    assert [*refused(book)] == ["A0000"]


def test_an_account_that_holds_nothing_fails_by_itself(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 2)
    text = (book / "holdings.csv").read_text(encoding="utf-8")
    (book / "holdings.csv").write_text(text + "A0009,META,0,700,USD,1\n", encoding="utf-8")

    (failed,) = run_fleet(book, tmp_path / "out", workers=Here)["failed"]

    assert (failed["account"], failed["error"]) == ("A0009", "BadInput")
    assert "the account holds nothing" in failed["message"]


def test_a_price_that_half_of_the_rows_state_otherwise_is_everybodys_error(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 2, A0001_META="A0001,META,5,70,USD,1")

    with pytest.raises(BadInput, match="differs from another row of META"):
        refused(book)


def test_errors_that_all_share_refuse_the_run_with_all_others(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 3, A0001_META="A0001,META,x,700,USD,1")
    (book / "exposures.csv").write_text((book / "exposures.csv").read_text().replace("MSFT", "MSFTX", 1))
    (book / "accounts.csv").write_text("account,max_weight\nA0001,0.2\n")

    with pytest.raises(BadInput) as found:
        refused(book, book / "accounts.csv")

    said = str(found.value)
    assert "quantity: must be a number" in said
    assert "MSFTX" in said
    assert "is no key of book.toml that an account may set" in said
    assert "write mandate.max_weight" in said


ROWS = {
    "A0009,0.2,": "no such account in holdings.csv",
    ",0.2,1": "must not be blank; write whose limits these are",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_accounts_that_is_nobodys_refuses_the_run(row: str, root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 2)
    (book / "accounts.csv").write_text(f"account,mandate.max_weight,cash.paid_in\n{row}\n", encoding="utf-8")

    with pytest.raises(BadInput, match=ROWS[row]):
        refused(book, book / "accounts.csv")


OWN = {
    "A0000,7,": r"accounts.csv:2 mandate.max_weight: must be at most 1 \(got '7'\)",
    "A0000,0.2,abc": "accounts.csv:2 cash.paid_in",
    "A0000,0.2,1\nA0000,0.3,1": "accounts.csv:3 account: names the account twice",
}


@pytest.mark.parametrize("rows", OWN)
def test_a_limit_that_is_none_fails_its_account_in_its_row(rows: str, root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 2)
    path = book / "accounts.csv"
    path.write_text(f"account,mandate.max_weight,cash.paid_in\n{rows}\n", encoding="utf-8")

    (failed,) = run_fleet(book, tmp_path / "out", path, workers=Here)["failed"]

    assert failed["account"] == "A0000"
    assert pd.Series([failed["message"]]).str.contains(OWN[rows]).all(), failed["message"]


def test_a_turnover_budget_wants_what_each_account_has_used(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 2)
    text = (book / "book.toml").read_text(encoding="utf-8")
    (book / "book.toml").write_text(text + "\n[mandate.turnover_budget]\nshare = 0.5\nmonths = 12\n", encoding="utf-8")

    with pytest.raises(BadInput, match=r"add the column mandate\.turnover_budget\.used to accounts\.csv"):
        refused(book)


# The command.
#


def test_the_command_exits_with_4_where_accounts_failed_and_says_which(
    fleet: Path, undisturbed: tuple[Path, FleetDocument]
) -> None:
    own_limits(fleet)
    given = ["fleet", str(fleet), "--accounts", str(fleet / "accounts.csv"), "--out", str(undisturbed[0])]
    done = runner().invoke(main, given)

    assert done.exit_code == 4, done.output
    assert "Failed: 1 (Infeasible 1); all others are complete" in done.output
    assert INFEASIBLE in done.output


def test_json_of_the_command_is_the_summary_and_keeps_its_schema(
    fleet: Path, undisturbed: tuple[Path, FleetDocument], root: Path
) -> None:
    own_limits(fleet)
    given = ["fleet", str(fleet), "--accounts", str(fleet / "accounts.csv"), "--out", str(undisturbed[0]), "--json"]
    done = runner().invoke(main, given)

    assert done.exit_code == 4, done.output
    assert json.loads(done.stdout) == undisturbed[1]
    schema = json.loads((root / "schemas" / "fleet.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(done.stdout))


@pytest.mark.parametrize(
    "options", [["--account", "A0001"], ["--workers", "2", "--scheduler", "tcp://127.0.0.1:8786"], []]
)
def test_options_that_do_not_go_together_are_wrong_usage(options: list[str], fleet: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")] if options else []

    assert runner().invoke(main, ["fleet", str(fleet), *out, *options]).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_targets_alone_are_those_of_the_plan_and_leave_no_orders(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 2)

    document = run_fleet(book, tmp_path / "out", lots=False, workers=Here)

    assert (document["orders"], document["complete"]) == (0, 2)
    for name, own in results(tmp_path / "out").items():
        plan = rebalance(load(book, account=name), lots=False)
        weights = {row["instrument"]: row["weight"] for row in own["weights"]}
        assert weights == {name: weight for name, weight in plan.weights.round(8).items() if weight > 0}
        assert own["bound"] == pytest.approx(plan.certificate.bound, abs=1e-9)


def test_an_order_system_gets_the_orders_of_all_accounts_each_with_an_id_of_its_own(root: Path, tmp_path: Path) -> None:
    book = written(tmp_path / "book", root, 3)
    text = (book / "book.toml").read_text(encoding="utf-8")
    columns = {"Id": "order_id", "Who": "account", "Qty": "quantity", "BS": "side", "Sym": "instrument"}
    lines = [f'{name} = "{of}"' for name, of in columns.items()]
    section = "\n".join(["[orders]", 'file = "system.csv"', "[orders.columns]", *lines, ""])
    (book / "book.toml").write_text(f"{text}\n{section}", encoding="utf-8")

    run_fleet(book, tmp_path / "out", workers=Here)

    system, own = (pd.read_csv(tmp_path / "out" / name, dtype=str) for name in ("system.csv", "orders.csv"))
    assert system["Id"].is_unique
    assert list(system["Who"] + system["Sym"] + system["Qty"]) == list(
        own["account"] + own["instrument"] + own["quantity"]
    )


def test_work_comes_back_in_the_order_of_its_accounts(fleet: Path) -> None:
    from allocator.fleets.batches import packed

    shared, accounts = read_fleet(fleet, own_limits(fleet))
    batch = accounts.batch(0)
    some = Batch(0, batch.cases[:2], batch.held[:2])

    assert [row["account"] for row in work_on(packed(shared), some)] == [case.name for case in some.cases]
