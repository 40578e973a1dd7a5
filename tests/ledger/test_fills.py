"""What was traded of a run: written into holdings to the cent, once, and counted by the next rebalance."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from click.testing import Result

from allocator.errors import BadInput
from allocator.ledger import fills
from allocator.ledger.ledger import Ledger, find_ledger
from allocator.ledger.record import with_used_turnover
from tests.ledger.places import Place
from tests.thoroughness import THOROUGH

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("plans_made_once")


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `ledger.db` is when nothing else is said."""
    monkeypatch.chdir(tmp_path)


def done(answer: Result) -> Result:
    assert answer.exit_code == 0, answer.stderr
    return answer


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def ordered(listed: Folder, run: Run) -> Path:
    """The listed book with a run that is recorded, its orders in out/one/."""
    done(run("rebalance", listed.path, "--record", "--run-id", "one", "--out", "out"))
    return listed.path


def by_hand(before: list[dict[str, str]], orders: list[dict[str, str]], cash: str = "USD") -> dict[str, Decimal]:
    """What is held after orders, in decimals, from the two files alone."""
    held = {row["instrument"]: Decimal(row["quantity"]) for row in before}
    for order in orders:
        sign = 1 if order["side"] == "buy" else -1
        held[order["instrument"]] += sign * Decimal(order["quantity"])
        held[cash] -= sign * Decimal(order["value"]) + Decimal(order["cost"])
    return held


def test_a_run_is_applied_to_the_cent_once_and_no_other_byte_of_the_table_changes(
    ordered: Path, run: Run, valid: Valid
) -> None:
    table = ordered / "holdings.csv"
    plain = table.read_text(encoding="utf-8")
    cells = [line.split(",") for line in plain.splitlines()]
    wanted = by_hand(rows(table), rows(Path("out", "one", "orders.csv")))
    odd = "\r\n".join(",".join([f'"{a}"', b, f'"{c}"', f" {d} ", *rest]) for a, b, c, d, *rest in cells) + "\r\n\r\n"
    table.write_bytes(b"\xef\xbb\xbf" + odd.encode())  # the same cells, as another program writes them
    told = valid(done(run("apply", "one", "--book", ordered, "--json")).stdout, "apply")

    found = rows(table)
    assert {row["instrument"]: Decimal(row["quantity"]) for row in found} == wanted
    pattern = "\r\n".join(f'"{re.escape(a)}",{re.escape(b)},"[^"]*", {re.escape(d)} ,{re.escape(",".join(rest))}'
                          for a, b, _, d, *rest in cells)  # fmt: skip
    assert re.fullmatch(pattern + "\r\n\r\n", table.read_bytes().decode("utf-8-sig"))
    assert table.read_bytes().startswith(b"\xef\xbb\xbf")
    assert Decimal(str(told["cash_after"])) == wanted["USD"]
    again = run("apply", "one", "--book", ordered)
    assert again.exit_code == 3
    assert "was applied before" in again.stderr
    done(run("verify"))


def test_what_was_applied_is_the_plan_and_the_next_day_trades_nothing(ordered: Path, run: Run) -> None:
    plan = json.loads(Path("out", "one", "plan.json").read_text(encoding="utf-8"))
    done(run("apply", "one", "--book", ordered))

    held = {row["instrument"]: float(row["quantity"]) for row in rows(ordered / "holdings.csv")}
    for row in plan["positions"]:
        assert held[row["instrument"]] == pytest.approx(row["quantity_after"], abs=0.1 if row["price"] == 1 else 0)
    # what max_turnover held back is wanted the next day too: it is a limit of each rebalance
    asked = ("rebalance", ordered, "--as-of", "2026-11-21", "--set", "mandate.max_turnover=0.0001", "--json")
    next_day = json.loads(done(run(*asked)).stdout)
    assert (next_day["decision"]["verdict"], next_day["orders"]) == ("no trade", [])


def test_a_broker_s_confirmation_is_applied_at_its_own_prices_and_costs(ordered: Path, run: Run, valid: Valid) -> None:
    before, orders = rows(ordered / "holdings.csv"), rows(Path("out", "one", "orders.csv"))
    first, *rest = orders[:3]
    lines = ["Symbol,Action,Qty,Fill Price,Commission,Fees,Venue"]
    half = int(Decimal(first["quantity"])) // 2
    lines += [f"{first['instrument']},{first['side']},{half},101.005,1.5,0.25,X"] * 2
    lines += [f"{one['instrument']},{one['side'].upper()},{one['quantity']},{one['price']},0,,Y" for one in rest]
    Path("fills.csv").write_text("\n".join(lines), encoding="utf-8")
    told = valid(done(run("apply", "one", "--book", ordered, "--fills", "fills.csv", "--json")).stdout, "apply")

    value = (Decimal("101.005") * half).quantize(Decimal("0.01"), "ROUND_HALF_UP")
    filled = [{**first, "quantity": str(half), "value": str(value), "cost": "1.75"}] * 2
    filled += [{**one, "cost": "0"} for one in rest]
    wanted = by_hand(before, filled)
    assert {row["instrument"]: Decimal(row["quantity"]) for row in rows(ordered / "holdings.csv")} == wanted
    assert (told["fills"], told["costs"], told["not_read"]) == (4, 3.5, ["Venue"])
    left = {one["instrument"] for one in told["unfilled"]}
    odd = Decimal(first["quantity"]) > 2 * half
    assert left == {one["instrument"] for one in orders[3:]} | ({first["instrument"]} if odd else set())
    done(run("verify"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("VST,buy,1,10", "the run gave no order for it"),
        ("{name},{other},1,10", "and the run ordered to {side} it"),
        ("{name},{side},{more},10", "and the run ordered {quantity}"),
        ("NVDIA,buy,1,10", "did you mean 'NVDA'?"),
        ("{name},short,1,10", "is neither a purchase nor a sale"),
        ("{name},{side},0,10", "must be a number above 0"),
        ("{name},{side},1,free", "must be a number above 0"),
        ("{name},{side},1,-3", "must be a number above 0"),
    ],
)
def test_a_fill_that_is_of_no_order_is_refused_and_nothing_is_written(
    ordered: Path, run: Run, line: str, told: str
) -> None:
    names = {row["instrument"] for row in rows(Path("out", "one", "orders.csv"))}
    assert "VST" not in names
    order = rows(Path("out", "one", "orders.csv"))[0]
    words = {"name": order["instrument"], "side": order["side"], "other": {"buy": "sell", "sell": "buy"}[order["side"]],
             "more": Decimal(order["quantity"]) + 1, "quantity": order["quantity"]}  # fmt: skip
    good = f"{order['instrument']},{order['side']},1,10"
    Path("fills.csv").write_text(f"instrument,side,quantity,price\n{good}\n{line.format(**words)}\n", encoding="utf-8")
    before = (ordered / "holdings.csv").read_bytes()
    answer = run("apply", "one", "--book", ordered, "--fills", "fills.csv")

    assert answer.exit_code == 3
    assert told.format(**words) in " ".join(answer.stderr.split())
    assert "fills.csv:3" in answer.stderr
    assert (ordered / "holdings.csv").read_bytes() == before
    assert find_ledger("ledger.db").applied() == []


@pytest.mark.parametrize(
    ("columns", "line", "told"),
    [
        ("symbol,symbol,side,quantity,price", "{name},META,{side},1,{price}", "instrument may be any of 'symbol'"),
        (
            "symbol,side,quantity,filled,price",
            "{name},{side},2,1,{price}",
            "quantity may be any of 'quantity', 'filled'",
        ),
        ("symbol,side,qty,price,avg price", "{name},{side},1,1,{price}", "price may be any of 'price', 'avg price'"),
        ("symbol,side,quantity,price", "{name},{side},1,065,{price}", "has more cells than the columns have names"),
        ("symbol,side,quantity,price", "{name},{side},1,{price}00", "is more than 20 times the {price} USD"),
        ("symbol,side,quantity,price", "{name},{side},1,1e29", "must be below 1e15"),
        ("symbol,side,quantity,price", "{name},{side},1e27,{price}", "must be below 1e15"),
        ("symbol,side,quantity,price,fee", "{name},{side},1,{price},1e28", "and no cost"),
        ("symbol,side,quantity,price,cost", "{name},{side},10,{price},{ten}", "is what the fill is worth, and no cost"),
        ("symbol,side,quantity,price,status", "{name},{side},1,{price},Cancelled", "is no fill (got 'Cancelled')"),
        (
            "symbol,side,quantity,price,account",
            "{name},{side},1,{price},other",
            "is another account than the run's, 'main'",
        ),
        (
            "symbol,side,quantity,price,account",
            "{name},{side},1,{price},U1\n{name},{side},1,{price},U2",
            "are 2, and a run is of one, 'main'",
        ),
        (
            "symbol,side,quantity,price,account",
            "{name},{side},1,{price},main\n{name},{side},1,{price},U2",
            "are 2, and a run is of one, 'main'",
        ),
    ],
)
def test_what_a_confirmation_leaves_open_is_refused_and_nothing_is_written(
    ordered: Path, run: Run, columns: str, line: str, told: str
) -> None:
    table = ordered / "holdings.csv"
    table.write_text(table.read_text(encoding="utf-8") + "other,USD,1,1,USD,0.01\n", encoding="utf-8")
    done(run("rebalance", ordered, "--account", "main", "--record", "--run-id", "two"))
    order, before = rows(Path("out", "one", "orders.csv"))[0], table.read_bytes()
    words = {"name": order["instrument"], "side": order["side"], "price": order["price"],
             "ten": 10 * Decimal(order["price"])}  # fmt: skip
    Path("fills.csv").write_text(f"{columns}\n{line.format(**words)}\n", encoding="utf-8")
    answer = run("apply", "two", "--book", ordered, "--fills", "fills.csv")

    assert answer.exit_code == 3
    assert told.format(**words) in " ".join(answer.stderr.split())
    assert table.read_bytes() == before
    assert find_ledger("ledger.db").applied() == []


def test_an_account_number_of_the_broker_is_told_and_stands_in_no_way(ordered: Path, run: Run, valid: Valid) -> None:
    one = rows(Path("out", "one", "orders.csv"))[0]
    line = f"{one['instrument']},{one['side']},{one['quantity']},{one['price']},Filled,U1"
    Path("fills.csv").write_text(f"Symbol,Side,Quantity,Price,Status,Account\n{line}\n", encoding="utf-8")
    told = valid(done(run("apply", "one", "--book", ordered, "--fills", "fills.csv", "--json")).stdout, "apply")
    assert (told["fills"], told["not_read"]) == (1, ["Account"])


def test_every_fault_of_a_confirmation_is_told_at_once(ordered: Path, run: Run) -> None:
    text = "instrument,side,quantity,price,cost\nNVDIA,buy,1,1,0\nMETA,hold,x,1,-2\n"
    Path("fills.csv").write_text(text, encoding="utf-8")
    answer = run("apply", "one", "--book", ordered, "--fills", "fills.csv", "--json")

    assert {one["column"] for one in json.loads(answer.stdout)["errors"]} == {"instrument", "side", "quantity", "cost"}
    Path("fills.csv").write_text("what,how\nMETA,buy\n", encoding="utf-8")
    answer = run("apply", "one", "--book", ordered, "--fills", "fills.csv")
    assert "has no column for instrument and side and quantity and price" in " ".join(answer.stderr.split())


def test_a_confirmation_that_is_separated_by_semicolons_is_read(ordered: Path, run: Run, valid: Valid) -> None:
    one = rows(Path("out", "one", "orders.csv"))[0]
    line = f"{one['instrument']};{one['side']};{one['quantity']};{one['price']};1.25"
    Path("fills.csv").write_text(f"Ticker;B/S;Shares;Price;Commission\n{line}\n", encoding="utf-8")
    told = valid(done(run("apply", "one", "--book", ordered, "--fills", "fills.csv", "--json")).stdout, "apply")
    assert (told["fills"], told["costs"], told["not_read"]) == (1, 1.25, [])


def test_a_table_that_is_none_any_more_and_a_book_that_nobody_named_are_refused(ordered: Path, run: Run) -> None:
    answer = run("apply", "one")
    assert answer.exit_code == 3
    assert "name the book: --book FOLDER" in answer.stderr
    (ordered / "holdings.csv").write_bytes(b"account,instrument\nmain,META,75\n\xff")
    answer = run("apply", "one", "--book", ordered)
    assert answer.exit_code == 3
    assert "holdings.csv" in answer.stderr


def test_both_databases_hold_what_was_traded(place: Place, listed: Folder, run: Run) -> None:
    with (listed.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[ledger]\nurl = "{place.stated if place.server else f"sqlite:///{place.stated}"}"\n')
    done(run("check", listed.path, "--set", BUDGET.format(0.3)))  # of a ledger that is not there yet nothing is used
    done(run("rebalance", listed.path, "--run-id", "one"))
    done(run("apply", "one", "--ledger", listed.path))
    assert run("apply", "one", "--ledger", listed.path).exit_code == 3
    (entry,) = place.ledger.applied()
    assert (entry["run_id"], entry["account"]) == ("one", "main")
    done(run("verify", "--ledger", listed.path))


def test_holdings_that_changed_since_the_run_are_refused(ordered: Path, run: Run) -> None:
    table = ordered / "holdings.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("META,75", "META,76"), encoding="utf-8")
    changed = table.read_bytes()
    answer = run("apply", "one", "--book", ordered)

    assert answer.exit_code == 3
    assert "is not what run 'one' was made from" in answer.stderr
    assert table.read_bytes() == changed
    assert find_ledger("ledger.db").applied() == []


def test_another_account_may_trade_meanwhile(listed: Folder, run: Run) -> None:
    table = listed.path / "holdings.csv"
    plain = table.read_text(encoding="utf-8")
    second = plain.partition("\n")[2].replace("main,", "second,")
    table.write_text(plain + second, encoding="utf-8")
    for account in ("main", "second"):
        done(run("rebalance", listed.path, "--account", account, "--record", "--run-id", account))
    for account in ("second", "main"):
        done(run("apply", account, "--book", listed.path))

    held = rows(table)
    one, other = ([row["quantity"] for row in held if row["account"] == name] for name in ("main", "second"))
    assert one == other
    assert one != [line.split(",")[2] for line in plain.splitlines()[1:]]


def test_what_was_written_before_a_command_was_killed_is_recorded_by_the_next(
    ordered: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ordered / "holdings.csv"
    before = table.read_bytes()

    def lost(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fills, "replace_file", lambda path, content: (path.write_bytes(content), lost()))
        assert run("apply", "one", "--book", ordered).exit_code == 130
    written = table.read_bytes()  # as kill -9 between the table and the ledger leaves it
    assert written != before
    assert find_ledger("ledger.db").applied() == []
    done(run("apply", "one", "--book", ordered))
    assert table.read_bytes() == written
    assert len(find_ledger("ledger.db").applied()) == 1


def test_a_ledger_that_fails_at_the_end_puts_the_table_back(
    ordered: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, add = (ordered / "holdings.csv").read_bytes(), Ledger.add

    def fails(*arguments: Any) -> None:
        arguments[-1]()
        raise BadInput.of("ledger", "database or disk is full", "make room")

    monkeypatch.setattr(Ledger, "add", fails)
    assert run("apply", "one", "--book", ordered).exit_code == 3
    assert (ordered / "holdings.csv").read_bytes() == before
    monkeypatch.setattr(Ledger, "add", add)
    done(run("apply", "one", "--book", ordered))


def test_an_answer_that_is_lost_after_the_commit_is_asked_for_again(
    ordered: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, add, application = (ordered / "holdings.csv").read_bytes(), Ledger.add, Ledger.application

    def lost(ledger: Ledger, *arguments: Any) -> None:
        add(ledger, *arguments)
        raise BadInput.of("ledger", "the database refuses it: the connection was closed", "look at the database")

    def away(*_: Any) -> None:
        raise BadInput.of("ledger", "the database cannot be reached", "look at the database")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "add", lost)
        done(run("apply", "one", "--book", ordered))
    written = (ordered / "holdings.csv").read_bytes()
    assert written != before
    assert find_ledger("ledger.db").run("one") is not None

    (ordered / "holdings.csv").write_bytes(before)
    done(run("rebalance", ordered, "--record", "--run-id", "two"))
    with monkeypatch.context() as patched:  # and where nobody can be asked, the same command finds what it wrote
        patched.setattr(Ledger, "add", lambda *arguments: (arguments[-1](), away()))
        patched.setattr(Ledger, "application", away)
        answer = run("apply", "two", "--book", ordered)
    assert answer.exit_code == 3
    assert "repeat the command when the ledger answers" in " ".join(answer.stderr.split())
    assert (ordered / "holdings.csv").read_bytes() == written
    assert Ledger.application is application
    done(run("apply", "two", "--book", ordered))
    assert (ordered / "holdings.csv").read_bytes() == written
    assert len(find_ledger("ledger.db").applied()) == 2


def test_of_two_runs_of_the_same_holdings_that_are_applied_at_once_one_is_refused(
    ordered: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run("rebalance", ordered, "--record", "--run-id", "two", "--set", "mandate.max_weight=0.11"))
    add = Ledger.add

    def after_the_other(ledger: Ledger, *arguments: Any) -> Any:
        monkeypatch.setattr(Ledger, "add", add)
        done(run("apply", "two", "--book", ordered))  # between the look at the table and the lock of the ledger
        return add(ledger, *arguments)

    monkeypatch.setattr(Ledger, "add", after_the_other)
    answer = run("apply", "one", "--book", ordered)

    assert answer.exit_code == 3
    assert "is not what run 'one' was made from" in answer.stderr
    assert [one["run_id"] for one in find_ledger("ledger.db").applied()] == ["two"]


def test_a_run_that_was_applied_is_told_from_others(ordered: Path, run: Run, valid: Valid) -> None:
    done(run("rebalance", ordered, "--record", "--run-id", "scheduled:2026-11-21T00:00:00+00:00"))
    done(run("apply", "one", "--book", ordered))
    history = valid(done(run("history", "--json")).stdout, "history")
    assert [one["applied"] for one in history["runs"]] == [True, False]
    shown = valid(done(run("show", "one", "--json")).stdout, "recorded_run")["applied"]
    assert (shown["sequence"], shown["turnover"]) == (3, history["runs"][0]["turnover"])
    assert "Applied 20" in done(run("show", "one")).stdout
    lines = done(run("history")).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[2:4]] == ["one", "scheduled:2026-11-21T00:00:00+00:00"]
    assert lines[2].rstrip().endswith("applied")


def test_a_run_that_nobody_approved_is_not_applied_where_the_book_wants_it(listed: Folder, run: Run) -> None:
    with (listed.path / "book.toml").open("a", encoding="utf-8") as file:
        file.write("\n[ledger]\nrequire_approval = true\n")
    done(run("rebalance", listed.path, "--run-id", "one"))
    refused = run("apply", "one", "--ledger", listed.path)
    assert refused.exit_code == 3
    assert "`allocator apply one" in " ".join(refused.stderr.split())
    done(run("approve", "one", "--note", "Ann: fine", "--ledger", listed.path))
    done(run("apply", "one", "--ledger", listed.path))


def test_cash_that_came_with_the_run_is_held_after_it(listed: Folder, run: Run) -> None:
    before = rows(listed.path / "holdings.csv")
    done(run("rebalance", listed.path, "--cash", "+250000", "--record", "--run-id", "one", "--out", "out"))
    done(run("apply", "one", "--book", listed.path))

    wanted = by_hand(before, rows(Path("out", "one", "orders.csv")))
    wanted["USD"] += 250_000
    assert {row["instrument"]: Decimal(row["quantity"]) for row in rows(listed.path / "holdings.csv")} == wanted


def test_a_table_that_is_no_csv_is_left_and_a_new_one_written(listed: Folder, run: Run) -> None:
    table = listed.path / "holdings.csv"
    frame = pd.read_csv(table)
    frame.to_parquet(listed.path / "held.parquet")
    table.unlink()
    stated = ("--set", "tables.holdings=held.parquet")
    done(run("rebalance", listed.path, "--record", "--run-id", "one", "--out", "out", *stated))
    answer = run("apply", "one", "--book", listed.path)

    assert answer.exit_code == 3
    assert "write the holdings as a new CSV: --out FOLDER" in " ".join(answer.stderr.split())
    done(run("apply", "one", "--book", listed.path, "--out", "new"))
    before = [{key: str(value) for key, value in row.items()} for row in frame.to_dict("records")]
    wanted = by_hand(before, rows(Path("out", "one", "orders.csv")))
    assert {row["instrument"]: Decimal(row["quantity"]) for row in rows(Path("new", "holdings.csv"))} == wanted
    assert pd.read_parquet(listed.path / "held.parquet").equals(frame)


def test_fills_that_cost_more_than_there_is_are_refused(ordered: Path, run: Run) -> None:
    lines = ["instrument,side,quantity,price"]
    for one in rows(Path("out", "one", "orders.csv")):
        if one["side"] == "buy":
            lines.append(f"{one['instrument']},buy,{one['quantity']},{one['price']}")
    Path("fills.csv").write_text("\n".join(lines), encoding="utf-8")
    answer = run("apply", "one", "--book", ordered, "--fills", "fills.csv")
    assert answer.exit_code == 3
    assert "would be left with -" in answer.stderr


# The turnover budget.
#

BUDGET = "mandate.turnover_budget={{ share = {}, months = 12 }}"


def test_a_budget_counts_what_was_applied_and_a_replay_counts_no_more(ordered: Path, run: Run, valid: Valid) -> None:
    budget = ("--set", BUDGET.format(0.36))
    done(run("apply", "one", "--book", ordered))
    answer = done(run("rebalance", ordered, "--record", "--run-id", "two", *budget, "--json"))
    plan = valid(answer.stdout, "plan")
    (spent,) = (one["turnover"] for one in find_ledger("ledger.db").applied())
    limits = [row for row in plan["rules"] if row["rule"].startswith("turnover in 12 months at most 36%")]
    turnover = max(sum(one["value"] for one in plan["orders"] if one["side"] == side) for side in ("buy", "sell"))

    assert 0.3 < spent <= 0.35
    assert turnover / plan["book"]["value"] <= 0.36 - spent + 1e-9
    assert max(row["measured"] for row in limits) == pytest.approx(spent + turnover / plan["book"]["value"], abs=1e-7)
    shown = valid(done(run("show", "two", "--json")).stdout, "recorded_run")
    assert shown["entry"]["options"]["overrides"][-1] == f"mandate.turnover_budget.used={spent}"
    done(run("apply", "two", "--book", ordered)) if plan["orders"] else None
    assert valid(done(run("replay", "two", "--json")).stdout, "replay")["same_plan"]


def test_a_spent_budget_is_named_with_the_least_that_would_do(ordered: Path, run: Run) -> None:
    done(run("apply", "one", "--book", ordered))
    asked = ("rebalance", ordered, "--record", "--set", 'mandate.forbidden=["CRM"]')
    answer = run(*asked, "--set", BUDGET.format(0.36))
    said = " ".join(answer.stderr.split())
    (fix,) = re.findall(r"--set (mandate.turnover_budget.share=[0-9.]+)", said)[:1]

    assert answer.exit_code == 4
    assert "turnover in 12 months at most 36% (35% used)" in said
    done(run(*asked, "--set", BUDGET.format(0.36), "--set", fix))


def test_a_budget_without_a_ledger_and_one_with_reviews_are_refused_in_words(
    listed: Folder, run: Run, root: Path
) -> None:
    for command in ("rebalance", "check", "explain"):
        answer = run(command, listed.path, "--set", BUDGET.format(0.3))
        assert answer.exit_code == 3
        assert "counts what was traded in a ledger, and this book names none" in " ".join(answer.stderr.split())
    done(run("check", listed.path, "--set", BUDGET.format(0.3)[:-2] + ", used = 0.1 }"))
    answer = run("rebalance", root / "data" / "reviewed", "--set", BUDGET.format(0.3), "--record")
    assert answer.exit_code == 3
    assert "no plan of them adds that up" in " ".join(answer.stderr.split())


def test_the_window_ends_on_the_day_of_the_book_and_is_of_its_account(
    listed: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allocator.book.loading import load

    name = load(listed.path).settings.book.name
    entries = [
        {"turnover": turnover, "book": of, "account": account, "as_of": day}
        for turnover, of, account, day in (
            (0.01, name, "main", "2026-02-28"), (0.02, name, "main", "2026-03-01"), (0.04, name, "main", "2027-02-28"),
            (0.08, name, "main", "2027-03-01"), (0.16, name, "other", "2026-05-01"),
            (0.32, "other", "main", "2026-05-01"),
        )
    ]  # fmt: skip
    monkeypatch.setattr(Ledger, "applied", lambda _: entries)
    book = load(listed.path, overrides=[BUDGET.format(0.5)], as_of=dt.date(2027, 2, 28))

    budget = with_used_turnover(book, "", records=True).settings.mandate.turnover_budget
    assert budget is not None
    assert budget.used == pytest.approx(0.06)


MONTHS = 24 if THOROUGH else 6


def test_months_of_a_book_s_life_close_to_the_cent_and_keep_the_turnover_budget(run: Run, root: Path) -> None:
    book, share, window = Path("book"), 0.5, 12
    shutil.copytree(root / "data" / "listed", book)
    settings = (book / "book.toml").read_text(encoding="utf-8")
    budget = f"turnover_budget = {{ share = {share}, months = {window} }}\n"
    stated = settings.replace("max_turnover = 0.35 ", f"{budget}max_turnover = 0.35 ")
    assert stated != settings
    stated += "\n[ledger]\nrequire_approval = true\n"
    (book / "book.toml").write_text(stated, encoding="utf-8")
    spent, traded = list[Decimal](), 0
    columns = (book / "signals.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    for month in range(MONTHS):
        day = dt.date(2026 + (11 + month) // 12, (11 + month) % 12 + 1, 15)
        news = {"date": day.isoformat(), "kind": "usage", "source": f"report {month}", "price_fall": "0.2",
                "usage_growth": str(0.1 + 0.07 * (month % 5)), "note": "drawn"}  # fmt: skip
        with (book / "signals.csv").open("a", encoding="utf-8") as file:
            file.write(",".join(news.get(column, "") for column in columns) + "\n")
        before, name = rows(book / "holdings.csv"), f"month-{month}"
        done(run("rebalance", book, "--as-of", day.isoformat(), "--run-id", name))
        assert run("apply", name, "--ledger", book).exit_code == 3
        done(run("approve", name, "--note", "Ann", "--ledger", book))
        done(run("export", name, "--out", name, "--ledger", book))
        done(run("apply", name, "--ledger", book))
        orders = rows(Path(name, "orders.csv"))
        held = {row["instrument"]: Decimal(row["quantity"]) for row in rows(book / "holdings.csv")}
        assert held == by_hand(before, orders)
        assert min(held.values()) >= 0
        value = sum(Decimal(row["quantity"]) * Decimal(row["price"]) for row in before)
        sides = [
            sum((Decimal(one["value"]) for one in orders if one["side"] == side), Decimal(0))
            for side in ("buy", "sell")
        ]
        spent.append(max(sides) / value)
        traded += bool(orders)
        assert sum(spent[-window:]) <= Decimal(str(share)) + Decimal("1e-7")
    assert traded > 1
    assert sum(spent[:window]) > Decimal("0.35")
    done(run("verify", "--ledger", book))
