"""The desk: what it shows is what `rebalance` decides, and what it refuses it refuses in words."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import axe_playwright_python
import numpy as np
import pytest
from starlette.testclient import TestClient

from allocator.__main__ import main
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.commands import report as report_command
from allocator.commands.options import BookChoice
from allocator.errors import BadInput
from allocator.optimization import solve as solve_module
from allocator.plan.document import plan_document
from allocator.plan.output import plan_files
from allocator.plan.rebalance import rebalance
from allocator.plan.runs import write_files
from allocator.reporting.desk import Desk, knobs_of
from allocator.reporting.page import report
from allocator.reporting.server import DeskServer, desk_page
from tests.command_line import runner

ADDRESS = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def book(root: Path) -> Book:
    return load(root / "data" / "listed")


@pytest.fixture(scope="module")
def at_desk(book: Book) -> Desk:
    return Desk(book)


@pytest.mark.parametrize(
    ("turned", "overrides"),
    [
        ({}, []),
        ({"belief": 0.3}, ["believe.generalizable=0.3"]),
        ({"risk": 4.0, "turnover": 0.32}, ["mandate.risk_aversion=4.0", "mandate.max_turnover=0.32"]),
        ({"robust.regime": 0.1}, ["robust.regime.caution=0.1"]),
        ({"cap capital_intensity": 0.5}, ["mandate.buckets.capital_intensity.max=0.5"]),
    ],
)
def test_a_setting_has_the_targets_that_rebalance_has_there(
    root: Path, at_desk: Desk, turned: dict[str, float], overrides: list[str]
) -> None:
    answer = at_desk.answer(turned)
    plan = rebalance(load(root / "data" / "listed", overrides=overrides))

    assert answer["overrides"] == overrides
    assert [*answer["weights"].values()] == pytest.approx(plan.target.all_weights, abs=1e-6)
    assert answer["figures"]["adverse_expected_return"] == pytest.approx(
        plan.targeted.adverse_expected_return, abs=2e-6
    )
    assert [*answer["scenarios"].values()] == pytest.approx(plan.targeted.scenario_returns, abs=2e-6)


def test_with_reviews_today_s_targets_are_those_of_the_policy(root: Path) -> None:
    at = Desk(load(root / "data" / "reviewed"))
    plan = rebalance(load(root / "data" / "reviewed", overrides=["horizon.reviews=[]"]))

    assert [*at.answer({"reviews": 0}).get("weights", {}).values()] == pytest.approx(plan.target.all_weights, abs=1e-5)


def test_a_program_of_a_shape_is_compiled_once(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[object]()

    class Counted(solve_module.Program):
        def __init__(self, *given: Any, **more: Any) -> None:
            made.append(given)
            super().__init__(*given, **more)

    monkeypatch.setattr(solve_module, "Program", Counted)
    at = Desk(book)
    for p in np.linspace(0.1, 0.9, 5):
        at.answer({"belief": float(p), "risk": 1.0 + float(p)})

    assert len(made) == 1


@pytest.mark.parametrize(
    ("turned", "more", "words"),
    [
        ({"belief": 1.5}, [], "P(generalizable): does not go to 1.5; choose from 0.01 to 0.99"),
        ({"beleif": 0.5}, [], "this book has no such knob (got 'beleif'); did you mean 'belief'?"),
        ({"belief": "0.5"}, [], "P(generalizable): is no number; choose from 0.01 to 0.99"),
        ({"belief": float("nan")}, [], "is no number"),
        ({"belief": True}, [], "is no number"),
        ({}, ["mandate.max_weight=1"], "was not offered as a fix (got 'mandate.max_weight=1')"),
    ],
)
def test_what_a_desk_does_not_take_is_refused_in_words(
    at_desk: Desk, turned: dict[str, Any], more: list[str], words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        at_desk.answer(turned, more)

    assert words in str(caught.value)


def test_a_conflict_is_told_with_fixes_that_lead_out_of_it(at_desk: Desk) -> None:
    turned = {"cap capital_intensity": 0.0, "turnover": 0.0}
    answer = at_desk.answer(turned)

    assert answer["conflict"].startswith("infeasible: these limits conflict")
    assert "weights" not in answer
    (fix, *_) = answer["fixes"]
    assert "weights" in at_desk.answer(turned | fix["turned"], fix["more"])


def test_a_book_without_a_question_or_caps_has_the_knobs_that_it_has(root: Path) -> None:
    approval = {knob.id for knob in knobs_of(load(root / "data" / "approval"))}
    typed = {knob.id for knob in knobs_of(load(root / "tests" / "typed"))}

    assert {"belief", "reviews"} <= approval
    assert {"belief", "reviews"}.isdisjoint(typed)


HEAD = """[book]
name = "<b>One</b>"
currency = "USD"
as_of = 2026-11-20
[scenarios."up & <b>"]
probability = 0.6
[scenarios.down]
probability = 0.4
[horizon]
months = 12
[risk]
source = "exposures"
market_volatility = 0.18
"""
CASH = "USD,Cash,Cash,cash,0,0,0,0,0\n"
COLUMNS = (
    "instrument,name,issuer,bucket,efficiency_share,capital_intensity_share,beta,idiosyncratic_volatility,spread_bps\n"
)
MANDATES = {
    "return_minus_risk": '[mandate]\nobjective = "return_minus_risk"\nrisk_aversion = 1.5\n'
                         '[robust]\nset = "total_variation"\nradius = 0.1\n',
    "minimum_variance": '[mandate]\nobjective = "minimum_variance"\nmin_cash = 0.05\nmax_cash = 0.1\n'
                        '[robust]\nset = "none"\n',
}  # fmt: skip


@pytest.mark.parametrize("quantity", [0, 10], ids=["cash only", "one name"])
@pytest.mark.parametrize("objective", MANDATES)
def test_a_book_of_one_name_has_a_desk_and_a_page(objective: str, quantity: int, tmp_path: Path) -> None:
    (tmp_path / "book.toml").write_text(HEAD + MANDATES[objective], encoding="utf-8")
    held = f"main,<i>A,{quantity},100,USD,0.01\nmain,USD,500,1,USD,0.01\n"
    (tmp_path / "holdings.csv").write_text(f"account,instrument,quantity,price,currency,lot_size\n{held}", "utf-8")
    (tmp_path / "exposures.csv").write_text(f"{COLUMNS}<i>A,A,A,neutral,0,0,1,0.2,5\n{CASH}", encoding="utf-8")
    returns = "instrument,up & <b>,down\n<i>A,0.2,-0.3\nUSD,0.02,0.02\n"
    (tmp_path / "scenario_returns.csv").write_text(returns, encoding="utf-8")
    own = load(tmp_path)
    page = report({"plan": plan_document(rebalance(own))}, desk_page(Desk(own)))

    assert desk_page(Desk(own))["first"]["weights"].keys() == {"<i>A", "USD"}
    assert "<i>A" not in page
    assert "&lt;i&gt;A" in page
    assert {knob.id for knob in knobs_of(own)} == ({"risk"} if objective == "return_minus_risk" else set())


def test_a_book_edited_on_disk_is_told_and_nothing_is_written(root: Path, tmp_path: Path) -> None:
    book, out = tmp_path / "book", tmp_path / "out"
    shutil.copytree(root / "tests" / "typed", book)
    server = report_command.server_of(BookChoice(str(book), None, (), None), str(out), ADDRESS, lambda _: None)
    client, asked = TestClient(server.app, base_url=ADDRESS), {"token": server.token, "turned": {"risk": 2.0}}

    assert "weights" in client.post("/solve", json=asked).json()
    with (book / "holdings.csv").open("a", encoding="utf-8") as file:
        file.write("\n")
    for path in ("/solve", "/orders"):
        refused = client.post(path, json=asked)
        assert (refused.status_code, "has changed: nothing was written" in refused.json()["error"]) == (409, True)
    assert not out.exists()


# The server.
#
@pytest.fixture
def served(book: Book, tmp_path: Path) -> tuple[DeskServer, TestClient, list[bool]]:
    """A desk that is not listening, a client of it, and whether the book on disk has changed."""
    changed = [False]

    def write(own: Book, _: object) -> tuple[Path, ...]:
        plan = rebalance(own)
        return write_files(plan_files(plan, plan_document(plan)), tmp_path / "out")

    documents: Any = {"plan": plan_document(rebalance(book))}
    server = DeskServer(Desk(book), documents, ADDRESS, write, lambda: changed[0])
    return server, TestClient(server.app, base_url=ADDRESS), changed


def test_only_the_address_that_was_printed_is_answered(served: tuple[DeskServer, TestClient, list[bool]]) -> None:
    server, client, _ = served
    asked = {"token": server.token, "sequence": 1, "turned": {}}

    assert client.get(f"/?token={server.token}").status_code == 200
    assert client.get("/").status_code == 403
    assert client.get("/?token=guess").status_code == 403
    assert client.get(f"/?token={server.token}", headers={"Host": "evil.example"}).status_code == 421
    assert client.post("/solve", json=asked, headers={"Host": "evil.example:8765"}).status_code == 421
    assert client.post("/solve", json=asked | {"token": "guess"}).status_code == 403
    assert client.post("/solve", json=asked | {"token": None}).status_code == 403
    assert client.post("/solve", content=b'{"token": "' + server.token.encode() + b'"}').status_code == 400
    assert client.post("/solve", json=[1]).status_code == 400
    assert client.post("/solve", json=asked | {"turned": [1]}).status_code == 400
    assert client.post("/solve", json=asked | {"more": "x" * 200_000}).status_code == 413
    assert client.get("/solve").status_code == client.get("/orders").status_code == 405
    assert client.post("/solve", json=asked, headers={"Host": "localhost:8765"}).json()["sequence"] == 1


def test_what_is_no_number_and_no_text_is_answered_in_words(served: tuple[DeskServer, TestClient, list[bool]]) -> None:
    server, client, _ = served
    start, head = f'{{"token": "{server.token}", ', {"Content-Type": "application/json"}
    asked = [
        '"sequence": NaN}',
        '"turned": {"belief": 1%s}}' % ("0" * 400),
        '"turned": {"\\ud800": 1}}',
        '"more": ["\\ud800"]}',
    ]
    found = [
        client.post(path, content=start + one, headers=head) for path in ("/solve", "/orders") for one in asked[1:]
    ]

    assert client.post("/solve", content=start + asked[0], headers=head).json()["sequence"] == 0
    assert [answer.status_code for answer in found] == [400] * 6
    assert "is no number; choose from 0.01 to 0.99" in found[0].json()["error"]
    assert client.post("/solve", content='{"token": "\\ud800"}', headers=head).status_code == 403


def test_a_question_with_a_part_that_no_question_has_is_not_answered(
    served: tuple[DeskServer, TestClient, list[bool]], tmp_path: Path
) -> None:
    server, client, _ = served
    for path in ("/solve", "/orders"):
        answer = client.post(path, json={"token": server.token, "turnd": {"belief": 0.3}})
        assert (answer.status_code, "no 'turnd'; did you mean 'turned'" in answer.json()["error"]) == (400, True)
    assert not (tmp_path / "out").exists()


def test_at_port_80_a_browser_names_the_host_alone(served: tuple[DeskServer, TestClient, list[bool]]) -> None:
    server, _, _ = served
    at_80 = DeskServer(server._desk, {"plan": plan_document(rebalance(server._desk.book))}, "http://127.0.0.1:80",
                       lambda _: (), lambda: False)  # fmt: skip
    client = TestClient(at_80.app, base_url="http://127.0.0.1")

    assert client.get(f"/?token={at_80.token}", headers={"Host": "127.0.0.1"}).status_code == 200
    assert client.get(f"/?token={at_80.token}", headers={"Host": "evil.example"}).status_code == 421


def test_a_knob_beyond_its_range_is_answered_in_words(served: tuple[DeskServer, TestClient, list[bool]]) -> None:
    server, client, _ = served
    answer = client.post("/solve", json={"token": server.token, "sequence": 3, "turned": {"belief": 2}})

    assert (answer.status_code, answer.json()["sequence"]) == (400, 3)
    assert "does not go to 2; choose from 0.01 to 0.99" in answer.json()["error"]


def test_orders_are_those_of_rebalance_and_none_where_the_book_has_changed(
    served: tuple[DeskServer, TestClient, list[bool]], root: Path, tmp_path: Path
) -> None:
    server, client, changed = served
    asked = {"token": server.token, "turned": {"belief": 0.3}}
    asked["shown"] = client.post("/solve", json=asked).json()["shown"]
    changed[0] = True
    refused = client.post("/orders", json=asked)

    assert refused.status_code == 409
    assert "has changed: nothing was written" in refused.json()["error"]
    assert not (tmp_path / "out").exists()

    changed[0] = False
    assert client.post("/orders", json=asked).json() == {
        "written": [str(tmp_path / "out" / name) for name in ("orders.csv", "plan.json")]
    }
    plan = rebalance(load(root / "data" / "listed", overrides=["believe.generalizable=0.3"]))
    wanted = plan_files(plan, plan_document(plan))
    assert (tmp_path / "out" / "orders.csv").read_bytes().splitlines()[1].split(b",")[:9] == wanted[
        "orders.csv"
    ].splitlines()[1].split(b",")[:9]


def test_orders_are_only_of_the_setting_whose_answer_is_shown(
    served: tuple[DeskServer, TestClient, list[bool]], tmp_path: Path
) -> None:
    server, client, _ = served
    turned, conflict = {"belief": 0.3}, {"cap capital_intensity": 0.0, "turnover": 0.0}
    first, answer, refused = (
        client.post("/solve", json={"token": server.token, "turned": one}).json() for one in ({}, turned, conflict)
    )
    assert first["shown"] in client.get(f"/?token={server.token}").text
    assert "conflict" in refused
    assert "shown" not in refused

    def written(turned: dict[str, float], shown: object) -> tuple[int, str]:
        asked = json.dumps({"token": server.token, "turned": turned, "shown": shown})
        told = client.post("/orders", content=asked, headers={"Content-Type": "application/json"})
        return told.status_code, told.json().get("error", "")

    late = [({"belief": 0.31}, answer["shown"]), ({}, answer["shown"]), (turned, first["shown"]), (turned, None)]
    for status, words in (written(*one) for one in [*late, (turned, "\ud800"), (conflict, answer["shown"])]):
        assert (status, "nothing was written. Wait for the answer to the last turn" in words) == (409, True)
    assert not (tmp_path / "out").exists()
    assert written(turned, answer["shown"]) == (200, "")
    assert (tmp_path / "out" / "orders.csv").exists()


def test_the_page_says_what_is_best_as_the_book_stands(at_desk: Desk) -> None:
    told = desk_page(at_desk)

    assert [knob["id"] for knob in told["knobs"]] == [knob.id for knob in at_desk.knobs]
    assert told["first"]["weights"].keys() == {*told["names"]}


def test_a_desk_that_is_still_reading_its_book_has_its_port_already(tmp_path: Path) -> None:
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        first.listen()
        done = runner().invoke(main, ["desk", str(tmp_path), "--port", str(first.getsockname()[1])])

    assert done.exit_code == 3
    assert "cannot be listened on" in done.stderr  # and not that the folder has no book: that would be read later


def test_a_port_that_is_taken_is_refused_with_the_cure(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "cli.py", "desk", "data/listed", "--port", port]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 3
    assert "--port 0 takes any that is free" in " ".join(done.stderr.split())


def test_a_knob_turned_in_the_browser_shows_new_weights_and_ctrl_c_ends_the_desk(
    root: Path, browser: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "cli.py", "desk", "data/listed", "--port", "0", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        address = running.stdout.readline().split()[4]
        page = browser.new_page()
        complaints = list[str]()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        before = page.inner_text("#desk-weights")
        turn = (
            "value => { const knob = document.getElementById('knob-0'); knob.value = value; "
            "knob.dispatchEvent(new Event('input')); }"
        )
        for p in (0.05, 0.9, 0.3, 0.7):
            page.evaluate(turn, p)
        page.wait_for_function("before => document.getElementById('desk-weights').innerText !== before", arg=before)
        wanted = Desk(load(root / "data" / "listed")).answer({"belief": 0.7})
        name, weight = max(wanted["weights"].items(), key=lambda one: one[1])
        page.wait_for_function(
            "told => document.getElementById('desk-weights').innerText.includes(told)", arg=f"{weight:.1%} ("
        )
        assert name in page.inner_text("#desk-weights")
        page.click("#desk-keep")
        assert page.inner_text("#desk-kept thead th:nth-child(2)") == "believe.generalizable=0.7"
        page.click("#desk-write")
        page.wait_for_function("() => document.getElementById('desk-state').innerText.startsWith('wrote')")
        assert (tmp_path / "out" / "orders.csv").exists()
        page.set_viewport_size({"width": 390, "height": 900})
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run('#desk', {resultTypes: ['violations']})")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
        assert complaints == []
        refused = page.evaluate("post('/solve', {token: 'guess'}).then(told => told.error)")
        assert refused.startswith("The desk wants the token")  # and not that it does not answer
        page.close()
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
        assert running.stderr is not None
        assert "the desk is closed" in running.stderr.read()
