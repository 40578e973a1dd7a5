"""`rebalance --run-id`: asked twice, the same is not solved again, another is refused, and half is never there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from tests.packages import importable, package

if TYPE_CHECKING:
    from allocator.plan.plan import Plan
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("plans_made_once")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unsolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.plan.rebalance.rebalance", lambda *_, **__: pytest.fail("it was solved"))


@pytest.fixture
def done(listed: Folder, run: Run, tmp_path: Path) -> Path:
    """A finished run, `out/one`."""
    answer = run("rebalance", listed.path, "--run-id", "one", "--out", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    return tmp_path / "out"


def again(listed: Folder, run: Run, out: Path, *more: object) -> Result:
    return run("rebalance", listed.path, "--run-id", "one", "--out", out, *more)


def test_a_run_is_a_folder_with_its_orders_its_plan_and_what_it_was_made_from(done: Path, valid: Valid) -> None:
    assert sorted(path.name for path in (done / "one").iterdir()) == ["orders.csv", "plan.json", "run.json"]
    made = valid((done / "one" / "run.json").read_text(encoding="utf-8"), "run")
    assert made["run_id"] == "one"
    assert {"book.toml", "holdings.csv", "exposures.csv", "scenarios.md", "allocator"} <= set(made["inputs"])
    assert sorted(made["outputs"]) == ["orders.csv", "plan.json"]
    assert [path.name for path in done.iterdir()] == ["one"]


def test_the_same_run_again_is_told_not_solved_and_leaves_every_byte(
    done: Path, listed: Folder, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(done)
    unsolved(monkeypatch)

    answer = again(listed, run, done)

    assert answer.exit_code == 0
    assert answer.stdout.startswith("already done: run one")
    assert contents(done) == before


def test_the_same_run_again_answers_in_json_with_the_plan_that_it_made(
    done: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    fresh = run("rebalance", listed.path, "--json")

    answer = again(listed, run, done, "--json")

    assert answer.exit_code == 0
    assert "already done" in answer.stderr
    assert valid(answer.stdout, "plan")
    assert answer.stdout == fresh.stdout


def test_another_id_is_another_run_with_the_identical_plan(
    done: Path, listed: Folder, run: Run, plans_made_once: dict[bytes, Plan]
) -> None:
    plans_made_once.clear()
    answer = run("rebalance", listed.path, "--run-id", "two", "--out", done)

    assert answer.exit_code == 0
    for name in ("orders.csv", "plan.json"):
        assert (done / "one" / name).read_bytes() == (done / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("file", "old", "new", "options", "named"),
    [
        ("book.toml", "commission_bps = 1.0", "commission_bps = 2.0", [], {"book.toml"}),
        ("scenarios.md", "## proprietary_jevons", "## proprietary_jevons\n", [], {"scenarios.md"}),
        (None, "", "", ["--set", "mandate.max_weight=0.11"], {"--set"}),
        (None, "", "", ["--as-of", "2026-11-21"], {"--as-of"}),
        (None, "", "", ["--account", "main", "--set", "robust.radius=0.1"], {"--account", "--set"}),
    ],
)
def test_the_same_id_with_other_inputs_is_refused_naming_all_that_changed(
    done: Path, listed: Folder, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch,
    file: str | None, old: str, new: str, options: list[str], named: set[str],
) -> None:  # fmt: skip
    before = contents(done)
    unsolved(monkeypatch)
    if file is not None:
        listed.replace(file, old, new)

    answer = again(listed, run, done, *options, "--json")

    assert answer.exit_code == 3
    assert {breach["table"] for breach in valid(answer.stdout, "error")["errors"]} == named
    assert contents(done) == before


def test_another_cell_of_a_table_and_a_table_less_are_other_inputs(
    done: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    listed.cell("holdings.csv", "NVDA", "quantity", "1500")
    (listed.path / "scenarios.md").unlink()

    answer = again(listed, run, done, "--json")

    rules = {breach["table"]: breach["rule"] for breach in valid(answer.stdout, "error")["errors"]}
    assert sorted(rules) == ["holdings.csv", "scenarios.md"]
    assert rules["scenarios.md"].startswith("is gone and was there")


PLUGINS = {
    "exporters": "def make(document, folder, parameters):\n    (folder / 'x.txt').write_text('x')\n",
    "objectives": "import pandas as pd\ndef make(book, parameters):\n"
    "    return pd.Series(0.001, index=book.instruments)\n",
    "rules": "from allocator.rules import WeightAtMost\nimport numpy as np\n"
    "def make(book, parameters):\n    return WeightAtMost('x', np.ones(len(book.instruments)), 0.99)\n",
    "models": "import pandas as pd\ndef make(book, parameters):\n"
    "    return pd.DataFrame(0.05, index=[*book.instruments, book.cash_instrument], columns=list(book.scenarios))\n",
    "sources": "import pandas as pd\ndef make(table, folder, parameters):\n"
    "    return pd.read_csv(folder / 'elsewhere.txt')\n",
}


def test_a_run_of_an_older_format_of_plans_is_not_given_back_as_done(
    done: Path, listed: Folder, run: Run, valid: Valid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.plan.runs.PLAN_FORMAT", "allocator.plan/3")

    answer = again(listed, run, done, "--json")

    assert answer.exit_code == 3
    assert [one["table"] for one in valid(answer.stdout, "error")["errors"]] == ["plan format"]


@pytest.mark.parametrize("kind", PLUGINS)
def test_another_version_of_a_plugin_is_another_input(
    listed: Folder, run: Run, valid: Valid, tmp_path: Path, kind: str
) -> None:
    asked = ["--set", f"plugins.{kind}.x={{}}"]
    if kind == "exporters":
        asked = ["--export", "x"]
    elif kind == "sources":
        (listed.path / "holdings.csv").rename(listed.path / "elsewhere.txt")
        asked = ["--set", "tables.holdings={source='x'}"]
    elif kind == "models":
        (listed.path / "scenario_returns.csv").unlink()
    for version in ("1.0", "2.0"):
        folder = tmp_path / version
        folder.mkdir()
        package(folder, "acme", PLUGINS[kind], {kind: {"x": "make"}}, version=version)
        with importable(folder):
            answer = again(listed, run, tmp_path / "out", *asked, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    assert (breach["table"], breach["value"]) == ("acme (x)", "2.0")
    assert "(1.0)" in breach["rule"]


def test_a_run_whose_files_were_touched_is_refused_and_not_handed_on(
    done: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    (done / "one" / "orders.csv").write_text("side,instrument\n", encoding="utf-8")
    (done / "one" / "plan.json").unlink()

    answer = again(listed, run, done, "--json")

    assert answer.exit_code == 3
    assert [Path(breach["table"]).name for breach in valid(answer.stdout, "error")["errors"]] == [
        "orders.csv", "plan.json",
    ]  # fmt: skip


def test_a_folder_that_is_no_run_of_ours_is_left_alone(listed: Folder, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "one").mkdir(parents=True)
    (tmp_path / "out" / "one" / "thesis.txt").write_text("mine", encoding="utf-8")

    answer = again(listed, run, tmp_path / "out")

    assert answer.exit_code == 3
    assert contents(tmp_path / "out") == {"one/thesis.txt": b"mine"}


def test_a_run_that_fails_leaves_nothing_and_may_be_tried_again(listed: Folder, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"

    hopeless = again(listed, run, out, "--set", "mandate.max_weight=0.01")
    again_with_hope = again(listed, run, out)

    assert hopeless.exit_code == 4
    assert again_with_hope.exit_code == 0, again_with_hope.stderr


def test_a_run_that_is_cut_short_while_it_is_written_leaves_no_run(
    listed: Folder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import allocator.plan.runs as writing

    whole = writing._fill

    def cut_short(folder: Path, files: Mapping[str, bytes]) -> None:
        whole(folder, {name: content for name, content in files.items() if name != "run.json"})
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_fill", cut_short)
    full = again(listed, run, tmp_path / "out")
    left = list((tmp_path / "out").iterdir())
    monkeypatch.setattr(writing, "_fill", whole)

    assert full.exit_code == 3
    assert "No space left" in full.stderr
    assert left == []
    assert again(listed, run, tmp_path / "out").exit_code == 0


def test_of_two_processes_with_one_id_the_first_to_finish_stays(
    listed: Folder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import allocator.commands.rebalance as command

    ours = command._keep
    faster: list[dict[str, bytes]] = []

    def overtaken(*arguments: Any) -> None:
        if not faster:
            monkeypatch.setattr(command, "_keep", ours)
            assert again(listed, run, tmp_path / "out").exit_code == 0
            faster.append(contents(tmp_path / "out"))
        ours(*arguments)

    monkeypatch.setattr(command, "_keep", overtaken)
    slower = again(listed, run, tmp_path / "out")

    assert slower.exit_code == 0, slower.stderr
    assert [contents(tmp_path / "out")] == faster


def test_of_two_processes_with_one_id_and_other_inputs_the_slower_is_refused(
    listed: Folder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import allocator.commands.rebalance as command

    ours = command._keep

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(command, "_keep", ours)
        assert again(listed, run, tmp_path / "out", "--set", "mandate.max_weight=0.11").exit_code == 0
        ours(*arguments)

    monkeypatch.setattr(command, "_keep", overtaken)
    slower = again(listed, run, tmp_path / "out")

    assert slower.exit_code == 3
    assert "was there when run" in slower.stderr or "is gone and was there" in slower.stderr
    assert "mandate.max_weight=0.11" in (next((tmp_path / "out").glob("*/run.json"))).read_text(encoding="utf-8")


def test_a_book_that_changes_while_it_is_read_is_refused(
    listed: Folder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allocator.outlook import scenario_cards as carded

    reading = carded.load_with_cards

    def disturbed(*arguments: Any, **options: Any) -> Any:
        found = reading(*arguments, **options)
        listed.cell("holdings.csv", "NVDA", "quantity", "1500")
        return found

    monkeypatch.setattr(carded, "load_with_cards", disturbed)
    answer = again(listed, run, tmp_path / "out")

    assert answer.exit_code == 3
    assert "holdings.csv" in answer.stderr
    assert "changed while it was read" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_book_that_could_not_be_read_twice_is_no_run_without_inputs(
    listed: Folder, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.plan.runs.book_inputs", lambda *_: [])

    answer = again(listed, run, tmp_path / "out")

    assert answer.exit_code == 3
    assert "changed while it was read" in answer.stderr


@pytest.mark.parametrize("run_id", ["", "../up", "a/b", ".hidden", "-x", "a b", "x" * 300])
def test_an_id_that_could_leave_its_folder_or_hide_is_refused(
    listed: Folder, run: Run, tmp_path: Path, run_id: str
) -> None:
    answer = run("rebalance", listed.path, f"--run-id={run_id}", "--out", tmp_path / "out")

    assert answer.exit_code == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--run-id", "--export"])
def test_what_writes_files_wants_to_know_where(listed: Folder, run: Run, option: str) -> None:
    answer = run("rebalance", listed.path, option, "one")

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert f"{option} writes files, and wants --out DIR" in answer.stderr
