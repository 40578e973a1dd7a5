"""A run on the command line: recorded, listed, shown, verified, replayed, approved, exported; and every refusal."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from allocator.importers import addresses
from allocator.ledger import ledger
from tests.fuzz.killing import faults_of_pair
from tests.ledger.places import Place, Sample, new_place
from tests.thoroughness import some

if TYPE_CHECKING:
    from tests.conftest import Folder
    from tests.importers.postgres import Server

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("plans_made_once")
LEDGER = '\n[ledger]\nurl = "{}"\n'


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `ledger.db` is when nothing else is said."""
    monkeypatch.chdir(tmp_path)


def states(book: Folder, place: Place) -> Path:
    """The book with its ledger written into it."""
    url = place.stated if place.server else f"sqlite:///{place.stated}"
    with (book.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write(LEDGER.format(url))
    return book.path


def done(answer: Result) -> Result:
    assert answer.exit_code == 0, answer.stderr
    return answer


def test_a_run_is_recorded_with_all_that_it_was_made_from(place: Place, listed: Folder, run: Run, valid: Valid) -> None:
    book = states(listed, place)
    answer = done(run("rebalance", book, "--run-id", "first", "--out", "out", "--set", "mandate.max_turnover=0.3"))

    shown = valid(done(run("show", "first", "--ledger", book, "--json")).stdout, "recorded_run")
    entry = shown["entry"]
    files = {path.name: path.read_bytes() for path in Path("out", "first").iterdir()}
    assert {"book.toml", "holdings.csv", "exposures.csv", "scenarios.md"} <= set(entry["contents"]["inputs"])
    assert entry["options"] == {
        "account": None, "overrides": ["mandate.max_turnover=0.3"], "as_of": None, "export": [],
    }  # fmt: skip
    assert shown["plan"] == json.loads(files["plan.json"])
    assert entry["certificate"] == shown["plan"]["certificate"]
    assert sum(entry["beliefs"].values()) == pytest.approx(1)
    assert {"python", "cvxpy", "numpy", "clarabel", "piqp", "highspy"} <= set(entry["versions"])
    assert entry["contents"]["outputs"] == {
        name: hashlib.sha256(files[name]).hexdigest() for name in ("orders.csv", "plan.json")
    }
    assert faults_of_pair(Path("out", "first")) == []
    assert f"recorded run first as entry 1 of {shown['ledger']}\nhead {shown['hash']}\n" in answer.stderr


def test_the_head_is_printed_and_lies_beside_every_orders_file(
    place: Place, listed: Folder, run: Run, valid: Valid
) -> None:
    book = states(listed, place)
    answer = done(run("rebalance", book, "--out", "out"))
    (head,) = re.findall("^head ([0-9a-f]{64})$", answer.stderr, re.MULTILINE)

    receipt = valid(Path("out", "receipt.json").read_text(encoding="utf-8"), "receipt")
    assert (receipt["head"], receipt["hash"], receipt["run_id"], receipt["sequence"]) == (head, head, "run-1", 1)
    assert receipt["files"]["orders.csv"] == hashlib.sha256(Path("out", "orders.csv").read_bytes()).hexdigest()
    assert valid(done(run("verify", "--ledger", book, "--head", head, "--json")).stdout, "verify")["head"] == head


def test_a_run_is_listed_approved_replayed_and_exported(place: Place, listed: Folder, run: Run, valid: Valid) -> None:
    book = states(listed, place)
    for name in ("one", "two"):
        done(run("rebalance", book, "--run-id", name))
    approved = valid(done(run("approve", "two", "--note", "Ann: fine", "--ledger", book, "--json")).stdout, "approve")
    history = valid(done(run("history", "--ledger", book, "--json")).stdout, "history")
    replayed = valid(done(run("replay", "one", "--ledger", book, "--json")).stdout, "replay")
    receipt = valid(done(run("export", "two", "--out", "out", "--ledger", book, "--json")).stdout, "receipt")

    assert [(one["run_id"], one["sequence"], one["approvals"]) for one in history["runs"]] == [
        ("one", 1, 0),
        ("two", 2, 1),
    ]
    assert history["head"] == approved["head"] == receipt["head"]
    assert (replayed["same_plan"], replayed["differs"], replayed["versions"]) == (True, [], [])
    assert [note["note"] for note in receipt["approvals"]] == ["Ann: fine"]
    with Path("out", "orders.csv").open(encoding="utf-8", newline="") as file:
        orders = list(csv.DictReader(file))
    totals = receipt["totals"]
    assert totals["orders"] == len(orders) == replayed["orders"]
    for side, key in (("sell", "sold"), ("buy", "bought")):
        assert totals[key] == pytest.approx(sum(float(one["value"]) for one in orders if one["side"] == side))


def test_screens_of_a_ledger_say_what_their_documents_say(listed: Folder, run: Run) -> None:
    for name in ("one", "two", "three"):
        done(run("rebalance", listed.path, "--record", "--run-id", name))

    history = done(run("history", "--last", "2")).stdout
    assert history.startswith("ledger.db: 3 runs, the last 2 of them\n")
    assert re.findall("^(one|two|three) ", history, re.MULTILINE) == ["two", "three"]
    shown = done(run("show", "two")).stdout
    assert "Not approved." in shown
    said = done(run("approve", "two", "--note", "Ann: fine")).stdout
    assert "A note and no access control" in said
    shown = done(run("show", "two")).stdout
    assert "Ann: fine" in shown
    assert max(len(shown.splitlines()), len(history.splitlines())) <= 45
    assert max(map(len, shown.splitlines())) <= 80
    assert "4 entries, 3 runs" in done(run("verify")).stdout
    assert re.search("the same [0-9]+ orders; plan.json is the same to the byte", done(run("replay", "two")).stdout)


def test_without_record_nothing_is_kept_and_that_is_said(listed: Folder, run: Run) -> None:
    answer = done(run("rebalance", listed.path, "--out", "out"))

    assert "(not recorded)" in answer.stderr
    assert not list(Path().rglob("*.db"))
    assert not Path("out", "receipt.json").exists()


# The same run again.
#
def test_a_run_of_the_same_name_and_inputs_is_not_solved_again(
    place: Place, listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = states(listed, place)
    first = done(run("rebalance", book, "--run-id", "one", "--json"))
    before = place.everything()
    monkeypatch.setattr("allocator.plan.rebalance.rebalance", lambda *_, **__: pytest.fail("it was solved"))

    answer = done(run("rebalance", book, "--run-id", "one", "--json"))
    late = done(run("rebalance", book, "--run-id", "one", "--out", "out"))  # as if it was killed before it wrote

    assert answer.stdout == first.stdout
    assert "already done: run one is entry 1" in late.stdout
    assert faults_of_pair(Path("out", "one")) == []
    assert place.everything() == before


def test_a_run_of_the_same_name_and_other_inputs_is_refused_naming_them(listed: Folder, run: Run, valid: Valid) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))
    listed.cell("holdings.csv", "NVDA", "quantity", "1500")

    answer = run("rebalance", listed.path, "--record", "--run-id", "one", "--set", "mandate.max_weight=0.11", "--json")

    assert answer.exit_code == 3
    assert [one["table"] for one in valid(answer.stdout, "error")["errors"]] == ["--set", "holdings.csv"]


def test_a_run_folder_of_before_is_shown_and_recorded_as_it_is(listed: Folder, run: Run, valid: Valid) -> None:
    done(run("rebalance", listed.path, "--run-id", "old", "--out", "runs"))
    plan = Path("runs", "old", "plan.json").read_bytes()

    shown = valid(done(run("show", "runs/old", "--json")).stdout, "recorded_run")
    assert (shown["ledger"], shown["entry"], shown["run_id"]) == (None, None, "old")
    assert "no ledger holds it" in done(run("show", "runs/old")).stdout
    answer = done(run("rebalance", listed.path, "--run-id", "old", "--out", "runs", "--record"))
    assert "it was recorded" in answer.stdout
    assert valid(done(run("show", "old", "--json")).stdout, "recorded_run")["plan"] == json.loads(plan)
    assert Path("runs", "old", "plan.json").read_bytes() == plan
    done(run("replay", "old"))


def test_a_folder_of_a_run_stays_whole_where_it_is_exported_to_after_approval(listed: Folder, run: Run) -> None:
    done(run("rebalance", listed.path, "--run-id", "one", "--out", "runs", "--record"))
    done(run("approve", "one", "--note", "Ann: fine"))
    done(run("export", "one", "--out", "runs/one"))

    assert "Ann: fine" in Path("runs", "one", "receipt.json").read_text(encoding="utf-8")
    done(run("show", "runs/one"))
    assert "already done" in done(run("rebalance", listed.path, "--run-id", "one", "--out", "runs", "--record")).stdout


@pytest.mark.parametrize(
    "command", ["show {}", "replay {}", "history --ledger {}", "apply {} --book .", "compare {} one"]
)
def test_a_name_that_no_file_can_have_is_refused_like_any_other(listed: Folder, run: Run, command: str) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))

    assert run(*command.format("x" * 300).split()).exit_code == 3


@pytest.mark.parametrize(
    "command",
    ["history", "show one", "verify", "replay one", "approve one --note x", "apply one --book {}", "export one --out x",
     "compare one {}", "rebalance {} --record", "check {} --set mandate.turnover_budget={{share=0.4,months=12}}"],
)  # fmt: skip
def test_who_has_not_installed_what_a_ledger_wants_is_told_what_to_install(
    listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    Path("ledger.db").write_bytes(b"")
    of_it = [name for name in sys.modules if name.startswith("sqlalchemy.")]
    for name in ("sqlalchemy", "allocator.ledger.tables", *of_it):
        monkeypatch.setitem(sys.modules, name, None)
    answer = run(*command.format(listed.path).split())

    assert answer.exit_code == 3, answer.output
    assert "pip install 'portfolio-allocator[sql]'" in " ".join(answer.stderr.split())


def test_the_cure_of_a_ledger_that_may_only_be_read_is_for_who_wants_to_write(
    place: Place, sample: Sample, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.record(place.ledger, "one")
    engine = addresses.sqlite_engine
    monkeypatch.setattr(ledger, "sqlite_engine", lambda path, _: engine(path, "ro"))  # nobody may write to the file
    read_only = f"{place.stated}%20-cdefault_transaction_read_only%3Don" if place.server else place.stated
    answer = run("approve", "one", "--note", "Ann: fine", "--ledger", read_only)

    assert answer.exit_code == 3
    assert "let this user write to it, or name another ledger" in " ".join(answer.stderr.split())


def test_a_name_that_the_ledger_gives_itself_is_refused(listed: Folder, run: Run) -> None:
    answer = run("rebalance", listed.path, "--record", "--run-id", "run-7")

    assert answer.exit_code == 3
    assert "is what a ledger calls a run without a name" in answer.stderr
    assert not Path("ledger.db").exists()


# Replay.
#
def test_every_kind_of_table_is_replayed_from_what_the_ledger_holds(
    place: Place, listed: Folder, run: Run, tmp_path: Path
) -> None:
    """A query, a spreadsheet, a Parquet file, a file of another folder; and what was there is gone."""
    import pandas as pd

    book = states(listed, place)
    frames = {name: pd.read_csv(book / f"{name}.csv") for name in ("exposures", "benchmark", "scenario_returns")}
    with pd.ExcelWriter(tmp_path / "risk of today.xlsx") as workbook:
        frames["exposures"].to_excel(workbook, sheet_name="risk of today", index=False)
        frames["benchmark"].to_excel(workbook, sheet_name="another", index=False)
    frames["scenario_returns"].to_parquet(book / "ours.parquet")
    shutil.move(book / "benchmark.csv", tmp_path / "benchmark.csv")
    other = Place(str(tmp_path / "positions.db"))
    header, *rows = listed.rows("holdings.csv")
    other.run(f"CREATE TABLE held ({', '.join(header)})")
    for row in rows:
        other.run(f"INSERT INTO held VALUES ({', '.join('?' * len(row))})", *row)
    for name in ("exposures.csv", "holdings.csv", "scenario_returns.csv"):
        (book / name).unlink()
    listed.replace("book.toml", "[book]", f"""[tables]
exposures = "../risk of today.xlsx"
benchmark = "{tmp_path}/benchmark.csv"
scenario_returns = "ours.parquet"
holdings = {{ url = "sqlite:///../positions.db", query = "select * from held" }}

[book]""")  # fmt: skip
    done(run("rebalance", book, "--run-id", "one", "--as-of", "2026-11-21", "--account", "main"))
    for path in (tmp_path / "risk of today.xlsx", tmp_path / "benchmark.csv", Path(other.stated)):
        path.unlink()
    stated = str(place.stated)
    shutil.rmtree(book)

    answer = done(run("replay", "one", "--ledger", stated))

    assert "plan.json is the same to the byte" in answer.stdout


@pytest.mark.parametrize("sample", some(["listed", "note", "approval", "reviewed"], 2))
def test_a_run_of_every_sample_book_is_replayed_to_the_byte(
    sample: str, run: Run, root: Path, plans_made_once: dict[bytes, Any]
) -> None:
    options = ["--set", "horizon.reviews=[2027-02-20]"] if sample == "reviewed" else []
    done(run("rebalance", root / "data" / sample, "--record", "--run-id", "one", *options))
    plans_made_once.clear()

    assert "plan.json is the same to the byte" in done(run("replay", "one")).stdout


def test_a_run_that_follows_an_announced_policy_is_replayed_with_it(run: Run, root: Path) -> None:
    book = root / "tests" / "plain_books" / "reviewed"
    if not book.is_dir():
        book = root / "data" / "reviewed"
    one = ["--set", "horizon.reviews=[2027-02-20]"]
    done(run("rebalance", book, *one, "--out", "plans"))
    done(run("rebalance", book, *one, "--as-of", "2026-12-20", "--follow", "plans/plan.json", "--record"))
    shutil.rmtree("plans")

    assert "plan.json is the same to the byte" in done(run("replay", "run-1")).stdout


def test_a_replay_with_other_orders_names_them_and_every_version_that_differs(
    listed: Folder, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))
    from allocator.ledger import replay as module
    from allocator.plan import document as documents

    whole, now = documents.plan_document, module.versions()

    def another(*arguments: Any) -> Any:
        made = whole(*arguments)
        return {**made, "orders": [{**made["orders"][0], "quantity": 7.0}, *made["orders"][1:]]}

    monkeypatch.setattr(documents, "plan_document", another)
    monkeypatch.setattr(module, "versions", lambda: {**now, "numpy": "9.9"})
    answer = run("replay", "one", "--json")

    errors = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert [(one["table"], one["value"]) for one in errors] == [("orders", "sell 7"), ("numpy", "9.9")]
    assert f"was {now['numpy']}" in errors[1]["rule"]


def test_a_version_that_differs_is_told_where_the_orders_are_the_same(
    listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))
    from allocator.ledger import replay as module

    now = module.versions()
    monkeypatch.setattr(module, "versions", lambda: {**now, "numpy": "9.9"})

    assert f"numpy was {now['numpy']}, and is 9.9" in done(run("replay", "one")).stdout


def test_a_replay_of_an_input_that_was_changed_in_the_ledger_is_refused(listed: Folder, run: Run) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))
    place = Place("ledger.db").without_triggers()
    digest = json.loads(place.rows("ledger_entries")[0]["entry"])["contents"]["inputs"]["holdings.csv"]
    place.run("UPDATE ledger_contents SET packed = zeroblob(100) WHERE digest = ?", digest)

    for command in (["replay", "one"], ["export", "one", "--out", "out"]):
        answer = run(*command)
        assert answer.exit_code == 3
        assert "missing or not as it was recorded" in answer.stderr
    assert not Path("out").exists()


# Approval.
#
@pytest.fixture
def careful(listed: Folder) -> Path:
    """A book whose orders wait for approval."""
    with (listed.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write("\n[ledger]\nrequire_approval = true\n")
    return listed.path


def test_orders_leave_after_approval_alone_where_the_book_wants_it(careful: Path, run: Run) -> None:
    refused = run("rebalance", careful, "--out", "out")
    assert refused.exit_code == 3
    assert "orders that nobody approved" in refused.stderr
    done(run("rebalance", careful, "--run-id", "one"))
    for command in (["export", "one", "--out", "out", "--ledger", careful],
                    ["rebalance", careful, "--run-id", "one", "--out", "out"]):  # fmt: skip
        refused = run(*command)
        assert refused.exit_code == 3
        assert "was not approved" in refused.stderr
        assert not Path("out").exists()

    done(run("approve", "one", "--note", "Ann", "--ledger", careful))
    done(run("export", "one", "--out", "out", "--ledger", careful))
    assert faults_of_pair(Path("out")) == []
    done(run("rebalance", careful, "--run-id", "one", "--out", "runs"))
    assert faults_of_pair(Path("runs", "one")) == []


def test_the_desk_records_what_it_writes_and_keeps_what_nobody_approved(careful: Path, run: Run) -> None:
    from allocator.commands.options import BookChoice
    from allocator.commands.report import server_of
    from allocator.errors import BadInput

    server = server_of(BookChoice(str(careful), None, (), None), "out", "http://127.0.0.1:1", lambda _: None)
    book = server._desk.at(turned := ["mandate.max_turnover=0.3"])

    with pytest.raises(BadInput, match="was not approved"):
        server._write(book, turned)
    assert not Path("out").exists()
    done(run("approve", "run-1", "--note", "Ann", "--ledger", careful))
    done(run("export", "run-1", "--out", "out", "--ledger", careful))
    assert "plan.json is the same to the byte" in done(run("replay", "run-1", "--ledger", careful)).stdout


@pytest.mark.parametrize("note", ["", "   ", "a\nb", "\x1b[31mred"])
def test_a_note_that_nobody_could_read_is_none(listed: Folder, run: Run, note: str) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))

    answer = run("approve", "one", "--note", note)

    assert answer.exit_code == 3
    assert "is no note" in answer.stderr


def test_approval_is_of_the_run_and_of_no_other_of_its_name(listed: Folder, run: Run, valid: Valid) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "one"))
    done(run("approve", "one", "--note", "Ann"))
    place = Place("ledger.db").without_triggers()
    row = place.rows("ledger_entries")[0]
    said = json.loads(row["entry"])
    said["summary"]["orders"] = 3
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    place.run("UPDATE ledger_entries SET entry = ?, hash = ? WHERE sequence = 1", text,
              hashlib.sha256(text.encode()).hexdigest())  # fmt: skip

    assert valid(done(run("show", "one", "--json")).stdout, "recorded_run")["approvals"] == []
    assert run("verify").exit_code == 3


# Orders for an order system.
#
ORDERS = """
[orders]
sides = { sell = "S", buy = "B" }

[orders.columns]
ClOrdID = "order_id"
Symbol = "instrument"
Side = "side"
"=Qty" = "quantity"
Type = { text = "@market" }
Name = "name"
"""


def test_orders_are_written_in_the_columns_of_an_order_system_and_no_cell_runs(
    listed: Folder, run: Run, valid: Valid
) -> None:
    with (listed.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write(ORDERS)
    listed.cell("exposures.csv", "NVDA", "name", "=HYPERLINK(1)")
    done(run("rebalance", listed.path, "--record", "--out", "out"))

    ours, theirs = (
        list(csv.DictReader(Path("out", name).read_text(encoding="utf-8").splitlines()))
        for name in ("orders.csv", "order_system.csv")
    )
    assert [*theirs[0]] == ["ClOrdID", "Symbol", "Side", "'=Qty", "Type", "Name"]
    assert [(one["Symbol"], one["Side"].lower(), one["'=Qty"]) for one in theirs] == [
        (one["instrument"], one["side"][0], one["quantity"]) for one in ours
    ]
    assert {one["Type"] for one in theirs} == {"'@market"}
    assert {one["Name"] for one in theirs if one["Symbol"] == "NVDA"} == {"'=HYPERLINK(1)"}
    assert len({one["ClOrdID"] for one in theirs}) == len(theirs)
    receipt = valid(Path("out", "receipt.json").read_text(encoding="utf-8"), "receipt")
    content = Path("out", "order_system.csv").read_bytes()
    assert receipt["files"]["order_system.csv"] == hashlib.sha256(content).hexdigest()
    assert "plan.json is the same to the byte" in done(run("replay", "run-1")).stdout


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ('columns = { A = "instrument", B = "side" }', "has no column for quantity"),
        ('columns = { A = "instrumnt", B = "side", C = "quantity" }', "did you mean 'instrument'?"),
        ('columns = { A = "nonsense", B = "side", C = "quantity" }', 'write { text = "…" }'),
        ('columns = { "" = "instrument", B = "side", C = "quantity" }', "a column without a visible name"),
        ('sides = { sell = "X", buy = "X" }\ncolumns = { A = "instrument", B = "side", C = "quantity" }', "tell both"),
        ('file = "orders.csv"\ncolumns = { A = "instrument", B = "side", C = "quantity" }', "there in any case"),
        (
            'file = "../up.csv"\ncolumns = { A = "instrument", B = "side", C = "quantity" }',
            "must name a .csv file beside orders.csv (got '../up.csv') write for example order_system.csv",
        ),
        ('columns = { A = "instrument", "A " = "side", C = "quantity" }', "two columns that blanks alone tell apart"),
        (
            'columns = { A = "instrument", B = "side", C = "quantity", D = { text = "\\u0001" } }',
            "no order system reads",
        ),
        ("", "columns"),
    ],
)
def test_a_map_of_columns_that_would_misstate_orders_is_refused(
    listed: Folder, run: Run, columns: str, said: str
) -> None:
    with (listed.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[orders]\n{columns}\n")

    answer = run("check", listed.path)

    assert answer.exit_code == 3
    assert said in " ".join(answer.stderr.split())


# Passwords, and databases that are not there.
#
@pytest.mark.parametrize(
    "line",
    [
        '# url = "postgresql+psycopg://ann:s3cret@db/positions"',
        '# url = "postgresql+psycopg://db/positions?password=s3cret"',
        '# url = "https://ann:s3cret@example.com/x.csv"',
    ],
)
def test_a_password_that_stands_in_a_comment_of_the_book_is_not_recorded(listed: Folder, run: Run, line: str) -> None:
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    (listed.path / "book.toml").write_text(f"{line}\n{text}", encoding="utf-8")
    done(run("check", listed.path))

    answer = run("rebalance", listed.path, "--record", "--out", "out")

    assert answer.exit_code == 3
    assert "book.toml holds the password of an address" in answer.stderr
    assert "s3cret" not in answer.stderr
    assert not Path("out").exists()
    assert not Path("ledger.db").exists()


@pytest.mark.parametrize("command", [["history"], ["verify"], ["show", "one"], ["replay", "one"],
                                     ["approve", "one", "--note", "x"], ["export", "one", "--out", "out"]])  # fmt: skip
def test_a_password_on_the_command_line_is_refused_and_not_repeated(run: Run, command: list[str]) -> None:
    answer = run(*command, "--ledger", "postgresql+psycopg://ann:s3cret@127.0.0.1:1/db", "--json")

    assert answer.exit_code == 3
    assert "holds a password" in answer.stdout
    assert "s3cret" not in answer.stdout + answer.stderr


@pytest.fixture
def server(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server of all."""
    monkeypatch.setenv("PGTEST_PASSWORD", postgres.password)
    return postgres


@pytest.mark.xdist_group("postgres")
def test_a_database_that_goes_away_meanwhile_leaves_no_orders_and_loses_nothing(
    listed: Folder, run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allocator.plan import rebalance as plans

    monkeypatch.setenv("WRITER", "s3cret/word")
    place = new_place("postgres", tmp_path, server)
    server.run(
        f"CREATE ROLE writer LOGIN PASSWORD 's3cret/word'; GRANT ALL ON SCHEMA {place.schema} TO writer",
    )
    stated = Place(server.url("${WRITER}", "writer", options=f"-csearch_path%3D{place.schema}"), server, place.schema)
    book, solve = states(listed, stated), plans.rebalance
    done(run("rebalance", book, "--run-id", "before"))
    before = place.everything()

    def gone(*arguments: Any, **options: Any) -> Any:
        server.run("ALTER ROLE writer NOLOGIN")
        return solve(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(plans, "rebalance", gone)
        answer = run("rebalance", book, "--run-id", "after", "--out", "out")
    assert answer.exit_code == 3
    assert "is not permitted to log in" in " ".join(answer.stderr.split())
    assert "s3cret" not in answer.stderr + answer.stdout
    assert not Path("out").exists()
    assert place.everything() == before
    server.run("ALTER ROLE writer LOGIN")
    done(run("rebalance", book, "--run-id", "after", "--out", "out"))
    assert done(run("verify", "--ledger", book)).exit_code == 0
    told = json.dumps(place.everything(), default=repr)
    assert "s3cret" not in told
    server.run(f"DROP SCHEMA {place.schema} CASCADE", "DROP ROLE writer")


def test_a_place_that_cannot_be_written_is_told_before_anything_is_solved(
    listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.plan.rebalance.rebalance", lambda *_, **__: pytest.fail("it was solved"))

    answer = run("rebalance", listed.path, "--set", "ledger.path=nowhere/ledger.db", "--out", "out")

    assert answer.exit_code == 3
    assert "unable to open database file" in " ".join(answer.stderr.split())
    assert not Path("out").exists()


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
def test_a_full_disk_leaves_the_ledger_whole_and_no_orders(listed: Folder, run: Run) -> None:
    import resource
    import signal

    done(run("rebalance", listed.path, "--record", "--run-id", "before"))
    size = Path("ledger.db").stat().st_size
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        full = run("rebalance", listed.path, "--record", "--out", "out", "--set", "mandate.max_turnover=0.3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)

    assert full.exit_code == 3
    assert "the database refuses it" in " ".join(full.stderr.split())
    assert not Path("out").exists()
    assert "1 entry, 1 run" in done(run("verify")).stdout
    done(run("rebalance", listed.path, "--record", "--out", "out"))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('path = "a.db"\nurl = "sqlite:///b.db"', "has both path and url"),
        ('url = "postgresql+psycopg://ann:s3cret@h/d"', "holds a password"),
        ('url = "mysql://h/d"', "must begin with sqlite:/// or postgresql+psycopg://"),
        ("require_aproval = true", "did you mean 'require_approval'?"),
        ('path = ""', "write for example ledger.db"),
        ('path = "sqlite:///a.db"', "write it as url = …, instead of path"),
    ],
)
def test_a_ledger_that_the_book_misstates_is_refused_with_the_cure(
    listed: Folder, run: Run, lines: str, said: str
) -> None:
    with (listed.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[ledger]\n{lines}\n")

    answer = run("check", listed.path)

    assert answer.exit_code == 3
    assert said in " ".join(answer.stderr.split())
    assert "s3cret" not in answer.stderr


def test_a_run_that_is_not_there_is_told_from_its_neighbours(listed: Folder, run: Run) -> None:
    done(run("rebalance", listed.path, "--record", "--run-id", "november"))

    for command in (["show"], ["replay"], ["approve", "--note", "x"], ["export", "--out", "out"]):
        answer = run(command[0], "novembre", *command[1:])
        assert answer.exit_code == 3
        assert "did you mean 'november'?" in answer.stderr
    assert run("history", "--ledger", listed.path).exit_code == 3  # the book names none
