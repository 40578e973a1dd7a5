"""What other packages add: loaded when it is named, kept and proved like our own, refused by name when not sound."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from tests.packages import importable, package

if TYPE_CHECKING:
    from tests.conftest import Folder

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]
RULE = """
from dataclasses import dataclass, replace
import numpy as np
import scipy.sparse as sp
from allocator.rules import RuleMeasurement, linear_rows

@dataclass(frozen=True, eq=False)
class Cap:
    at: int
    limit: float
    tier: int = 0
    label: str = "mine"
    weighs: float = 1.0

    def rows(self, instruments):
        row = np.zeros((1, instruments))
        row[0, self.at] = self.weighs
        return linear_rows([self.label], instruments, holdings=sp.csr_array(row), wealth=np.array([self.limit]),
                         stated=[self.limit], tier=self.tier)

    def readings(self, trade, outlook):
        return [RuleMeasurement(self.label, float(trade.values[self.at]) / trade.value, self.limit, at_most=True)]

    def with_limits(self, limits):
        return replace(self, limit=limits[0])

def make(book, parameters):
    return Cap(book.instruments.index(parameters["name"]), parameters["limit"], parameters.get("tier", 0))
"""
MODEL = """
import pandas as pd

def make(book, parameters):
    frame = pd.DataFrame({name: 0.1 * book.exposures["beta"] - 0.02 * k for k, name in enumerate(book.scenarios)})
    frame.loc[book.cash_instrument] = 0.03
    return frame
"""
EXPORTER = """
def write(document, folder, parameters):
    (folder / "names.txt").write_text(" ".join(order["instrument"] for order in document["orders"]))
    document["orders"].clear()
"""
SOURCE = """
import pandas as pd

def read(table, folder, parameters):
    return pd.read_csv(folder / "elsewhere" / f"{table}.txt").assign(**parameters.get("columns", {}))
"""


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "packages"
    folder.mkdir()
    with importable(folder):
        yield folder


def capped(packages: Path, listed: Folder, code: str = RULE, limit: str = "0.05", name: str = "EQIX") -> None:
    package(packages, "acme_rules", code, {"rules": {"cap": "make"}})
    with (listed.path / "book.toml").open("a", encoding="utf-8") as book:
        book.write(f'\n[plugins.rules.cap]\nname = "{name}"\nlimit = {limit}\n')


def breaches(answer: Result, valid: Valid) -> list[str]:
    assert answer.exit_code == 3, answer.stdout + answer.stderr
    return [f"{one['table']}: {one['rule']}; {one['cure']}" for one in valid(answer.stdout, "error")["errors"]]


def test_a_rule_of_another_package_is_kept_on_the_final_lots_and_stands_in_the_proof(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    def weight(answer: Result) -> float:
        positions = valid(answer.stdout, "plan")["positions"]
        return float(next(row["weight_after"] for row in positions if row["instrument"] == "EQIX"))

    without = weight(run("rebalance", listed.path, "--json"))
    capped(packages, listed)
    answer = run("rebalance", listed.path, "--json")

    plan = valid(answer.stdout, "plan")
    assert without > 0.06
    assert weight(answer) <= 0.05 + 1e-9
    assert {"rule": "mine", "limit": 0.05, "kind": "at most"}.items() <= next(
        rule.items() for rule in plan["rules"] if rule["rule"] == "mine"
    )
    assert "mine" in plan["proof"]["rows"]["labels"]
    assert "mine" in [rule["rule"] for rule in plan["shadow_prices"]]


def test_a_rule_of_another_package_is_named_in_a_conflict_with_its_smallest_fix(
    packages: Path, listed: Folder, run: Run
) -> None:
    capped(packages, listed, limit="0.02", name="NVDA")  # the book wants at least 5 %

    answer = run("rebalance", listed.path, "--json")

    found = json.loads(answer.stdout)
    assert answer.exit_code == 4
    assert set(found["rules"]) == {"mine", "NVDA at least 5%"}
    assert len(found["fixes"]) == 2
    assert "raise the second to 5" in found["fixes"][1]  # and a little, for whole lots


def test_a_rule_of_another_package_may_give_way(packages: Path, listed: Folder, run: Run, valid: Valid) -> None:
    capped(packages, listed, limit="0.02", name="NVDA")

    answer = run("rebalance", listed.path, "--set", "plugins.rules.cap.tier=5", "--json")

    (given,) = valid(answer.stdout, "plan")["relaxed"]
    assert (given["rule"], given["priority"], given["stated"]) == ("mine", 5, 0.02)
    assert given["kept"] == pytest.approx(0.05, abs=5e-4)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("row[0, self.at] = self.weighs", "row[0, self.at] = 0.5", "contradicts itself"),
        ("wealth=np.array([self.limit])", "wealth=np.array([0.9 * self.limit])", "'mine' ends elsewhere by its rows"),
        ("wealth=np.array([self.limit])", "limit=np.array([self.limit])", "'mine' ends elsewhere by its rows"),
        ("row[0, self.at] = self.weighs", "row[0, self.at] = np.nan", "no finite numbers"),
        ("linear_rows([self.label], instruments,", "linear_rows([self.label], instruments + 1,", "must give buys"),
        ("linear_rows([self.label]", "linear_rows(['cash at most 10%']", "has rows ['cash at most 10%']"),
        ('label: str = "mine"', 'label: str = "cash at most 10%"', "as another is called"),
        ("return [RuleMeasurement(", "return 2 * [RuleMeasurement(", "reads ['mine', 'mine']"),
        ("self.limit, at_most=True)", "0.9, at_most=True)", "against 0.9, and states 0.05"),
        ("self.limit, at_most=True)", "self.limit, at_most=False)", "both 'at most' and 'at least'"),
        ("float(trade.values[self.at])", "float('nan')", "measures 'mine' as nan"),
        ("return replace(self, limit=limits[0])", "return replace(self, limit=0.5)", "another rule once it is given"),
        ("return replace(self, limit=limits[0])", "return None", "has no coefficients with other limits"),
        ("    tier: int = 0", "    tier: int = 12", "has priority 0"),
        ('parameters.get("tier", 0)', "2.5", "has priority 2.5"),
        ("def make(book, parameters):", "def make(book, parameters):\n    return 7\ndef other():", "makes a int"),
        ("def make(book, parameters):", "def make(book, parameters):\n    return []\ndef other():", "makes no rule"),
        (
            "def make(book, parameters):",
            "def make(book, parameters):\n    raise SystemExit(0)\ndef other():",
            "SystemExit",
        ),
        ('parameters["limit"]', 'parameters["top"]', "KeyError: 'top'"),
        ("import numpy as np", "import numpi as np", "cannot be imported: ModuleNotFoundError"),
        ("def make(", "make = 3\ndef other(", "is a int, and must be a function"),
    ],
    ids=lambda part: part[:40],
)
def test_a_rule_that_is_not_sound_is_refused_by_name_before_anything_is_solved(
    packages: Path, listed: Folder, run: Run, valid: Valid, old: str, new: str, said: str
) -> None:
    assert RULE.count(old) >= 1
    tier = old == "    tier: int = 0"
    code = RULE.replace(old, new) if not tier else RULE.replace("tier=self.tier", "tier=1")
    said = "has priority 0, and rows of another" if tier else said
    capped(packages, listed, code)

    found = breaches(run("check", listed.path, "--json"), valid)

    assert any(said in one for one in found), found
    assert any("acme_rules" in one for one in found)


WRITING = """
def make(book, parameters):
    print("hello", flush=True)
    book.exposures["spread_bps"] = 0.0
    book.settings.mandate.weights.clear()
    return pd.Series(0.0, index=book.instruments)
"""


def test_what_a_plugin_writes_into_its_book_and_prints_changes_nothing(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    before = valid(run("rebalance", listed.path, "--json").stdout, "plan")
    package(packages, "acme_writes", "import pandas as pd\n" + WRITING, {"objectives": {"mine": "make"}})
    answer = run("rebalance", listed.path, "--set", "plugins.objectives.mine={}", "--json")
    after = valid(answer.stdout, "plan")  # the one document is all of stdout

    assert "hello" in answer.stderr
    assert after["orders"] == before["orders"]
    assert [rule["rule"] for rule in after["rules"]] == [rule["rule"] for rule in before["rules"]]


def test_a_name_that_no_package_has_is_refused_with_the_line_of_the_book(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    capped(packages, listed)
    listed.replace("book.toml", "[plugins.rules.cap]", "[plugins.rules.cpa]")

    answer = run("check", listed.path, "--json")

    (breach,) = valid(answer.stdout, "error")["errors"]
    assert answer.exit_code == 3
    lines = (listed.path / "book.toml").read_text(encoding="utf-8").splitlines()
    assert breach["row"] == lines.index("[plugins.rules.cpa]") + 1
    assert breach["cure"] == "did you mean 'cap'?"


def test_one_name_in_two_packages_is_refused_naming_both(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    capped(packages, listed)
    package(packages, "other_rules", RULE, {"rules": {"cap": "make"}}, version="2.0")

    (found,) = breaches(run("check", listed.path, "--json"), valid)

    assert "acme_rules 1.0 and other_rules 2.0" in found


def modelled(packages: Path, listed: Folder, code: str = MODEL) -> None:
    package(packages, "acme_model", code, {"models": {"mine": "make"}})
    (listed.path / "scenario_returns.csv").unlink()
    with (listed.path / "book.toml").open("a", encoding="utf-8") as book:
        book.write("\n[plugins.models.mine]\n")


def test_a_model_of_another_package_makes_the_returns_that_the_plan_rests_on(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    modelled(packages, listed)

    returns = valid(run("returns", listed.path, "--json").stdout, "returns")
    plan = run("rebalance", listed.path)

    (nvda,) = [row for row in returns["instruments"] if row["instrument"] == "NVDA"]
    exposures = listed.rows("exposures.csv")
    beta = next(float(row[exposures[0].index("beta")]) for row in exposures if row[0] == "NVDA")
    assert list(nvda["returns"].values()) == pytest.approx([0.1 * beta - 0.02 * k for k in range(4)])
    assert {row["origin"] for row in returns["instruments"]} == {"plugin mine"}
    assert plan.exit_code == 0, plan.stderr


def test_rows_of_scenario_returns_replace_those_of_a_plugged_model_name_by_name(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    header, *rows = listed.rows("scenario_returns.csv")
    modelled(packages, listed)
    own = next(row for row in rows if row[0] == "NVDA")
    listed.write("scenario_returns.csv", [header, own])

    returns = valid(run("returns", listed.path, "--json").stdout, "returns")

    assert {row["instrument"]: row["origin"] for row in returns["instruments"]}["NVDA"] == "table"
    assert {row["origin"] for row in returns["instruments"]} == {"table", "plugin mine"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("frame = frame.drop(index='NVDA')", "gives no returns for the instrument"),
        ("frame = frame.drop(index=book.cash_instrument)", "gives no returns for the instrument"),
        ("frame = frame.rename(index={'NVDA': 'NVDIA'})", "did you mean 'NVDA'?"),
        ("frame = frame.rename(columns={book.scenarios[0]: 'boom'})", "gives no returns for the scenario"),
        ("frame.iloc[2, 1] = float('nan')", "must not be blank"),
        ("frame.iloc[2, 1] = float('inf')", "must be finite"),
        ("frame.iloc[2, 1] = -1.5", "must be above -1"),
        ("frame = pd.concat([frame, frame.iloc[:1]])", "must be unique"),
        ("return frame.to_numpy()", "gives a ndarray, not a DataFrame"),
        ("import random; frame.iloc[0, 0] = random.random()", "gave two answers"),
        ("raise ValueError('no data today')", "ValueError: no data today"),
    ],
)
def test_returns_that_are_not_of_the_contract_are_refused_by_name(
    packages: Path, listed: Folder, run: Run, valid: Valid, change: str, said: str
) -> None:
    modelled(packages, listed, MODEL.replace("    return frame", f"    {change}\n    return frame"))

    found = breaches(run("check", listed.path, "--json"), valid)

    assert any(said in one for one in found), found
    assert all(one.startswith("acme_model: ") for one in found)


def test_a_plugged_model_stands_neither_beside_ours_nor_beside_another_nor_before_reviews(
    packages: Path, root: Path, run: Run, valid: Valid
) -> None:
    package(packages, "acme_model", MODEL, {"models": {"mine": "make", "second": "make"}})
    one = ["--set", "plugins.models.mine={}"]

    beside = breaches(run("check", root / "tests" / "plain_books" / "listed", *one, "--json"), valid)
    two = breaches(
        run("check", root / "tests" / "plain_books" / "listed", *one, "--set", "plugins.models.second={}", "--json"),
        valid,
    )
    reviews = breaches(run("check", root / "tests" / "plain_books" / "reviewed", *one, "--json"), valid)

    assert any("and so does [model]" in one for one in beside)
    assert any("2 models" in one for one in two)
    assert any("horizon.reviews" in one for one in reviews)


def test_an_exporter_gets_a_copy_of_the_plan_and_its_files_are_written_with_ours(
    packages: Path, listed: Folder, run: Run, tmp_path: Path
) -> None:
    package(packages, "acme_export", EXPORTER, {"exporters": {"names": "write"}})

    answer = run("rebalance", listed.path, "--out", tmp_path / "out", "--export", "names")

    assert answer.exit_code == 0, answer.stderr
    plan = json.loads((tmp_path / "out" / "plan.json").read_text(encoding="utf-8"))
    assert plan["orders"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["names.txt", "orders.csv", "plan.json"]
    assert (tmp_path / "out" / "names.txt").read_text() == " ".join(order["instrument"] for order in plan["orders"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('disk full')", "OSError: disk full"),
        ("pass", "leaves no file"),
        ("(folder / 'plan.json').write_text('{}')", "writes a file that another wrote"),
        ("(folder / 'inner').mkdir()", "leaves something that is no file"),
        ("(folder / 'link').symlink_to('/etc/hostname')", "leaves something that is no file"),
        ("(folder / '.hidden').write_text('')", "no listing shows"),
    ],
)
def test_an_exporter_that_fails_leaves_no_file_of_anybody(
    packages: Path, listed: Folder, run: Run, valid: Valid, tmp_path: Path, body: str, said: str
) -> None:
    code = f"def write(document, folder, parameters):\n    {body}\n"
    package(packages, "acme_export", code, {"exporters": {"names": "write"}})

    found = breaches(run("rebalance", listed.path, "--out", tmp_path / "out", "--export", "names", "--json"), valid)

    assert said in found[0]
    assert not (tmp_path / "out").exists()


def test_an_exporter_that_is_missing_is_refused_before_anything_is_solved(
    listed: Folder, run: Run, valid: Valid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allocator.plan.rebalance.rebalance", lambda *_, **__: pytest.fail("it was solved"))

    (found,) = breaches(run("rebalance", listed.path, "--out", tmp_path, "--export", "nobodys", "--json"), valid)

    assert "no installed package has a exporter" not in found
    assert "no installed package has an exporter of this name" in found


def test_nothing_of_a_package_is_imported_until_a_book_or_a_command_names_it(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    explosive = "raise RuntimeError('imported')"
    package(packages, "explosive", explosive,
            {kind: {"boom": "make"} for kind in ("rules", "models", "sources", "exporters", "commands")})  # fmt: skip

    for arguments in (["--help"], ["check", listed.path], ["plugins"], ["plugins", listed.path]):
        assert run(*arguments).exit_code == 0
    assert "explosive" not in sys.modules
    document = valid(run("plugins", listed.path, "--json").stdout, "plugins")
    assert {(one["kind"], one["used"]) for one in document["plugins"] if one["package"] == "explosive"} == {
        (kind, False) for kind in ("rules", "models", "sources", "exporters", "commands")
    }


def test_the_list_says_what_is_installed_from_where_and_whether_the_book_uses_it(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    capped(packages, listed)
    package(packages, "acme_export", EXPORTER, {"exporters": {"names": "write"}}, version="3.1")

    shown = run("plugins", listed.path).stdout
    document = valid(run("plugins", "--json").stdout, "plugins")

    assert ["rules", "cap", "acme_rules", "1.0", "yes"] in [line.split() for line in shown.splitlines()]
    assert ["exporters", "names", "acme_export", "3.1"] in [line.split() for line in shown.splitlines()]
    assert {one["used"] for one in document["plugins"]} == {None}
    assert "acme_export:write" in [one["target"] for one in document["plugins"]]


def test_a_command_of_another_package_is_run_by_its_name_and_cannot_take_the_place_of_ours(
    packages: Path, listed: Folder, run: Run
) -> None:
    code = "import click\n@click.command()\n@click.argument('who')\ndef hello(who):\n    click.echo(f'hello {who}')\n"
    package(packages, "acme_hello", code, {"commands": {"hello": "hello", "check": "hello", "broken": "nothing"}})

    assert run("hello", "there").stdout == "hello there\n"
    assert "hello" not in run("check", listed.path).stdout
    broken = run("broken")
    assert broken.exit_code == 3
    assert "command 'broken' of acme_hello 1.0 cannot be imported" in " ".join(broken.stderr.split())
    assert run("unheard").exit_code == 2


def test_a_command_of_another_package_that_fails_is_named_and_no_defect_of_ours(packages: Path, run: Run) -> None:
    code = (
        "import click\nfrom allocator import BadInput, Breach\n@click.command()\n@click.argument('how')\n"
        "def fail(how):\n    if how == 'leave':\n        raise SystemExit(7)\n"
        "    if how == 'refuse':\n        raise BadInput([Breach('its.csv', None, None, None, 'is odd', 'mend it')])\n"
        "    raise RuntimeError('no data today')\n"
    )
    package(packages, "acme_fails", code, {"commands": {"fail": "fail"}})
    failed = run("fail", "badly")
    assert failed.exit_code == 3
    assert "command 'fail' of acme_fails 1.0 fails: RuntimeError: no data today" in " ".join(failed.stderr.split())
    refused = run("fail", "refuse")
    assert refused.exit_code == 3
    assert "its.csv" in refused.stderr
    assert run("fail", "leave").exit_code == 7


def sourced(packages: Path, listed: Folder, code: str = SOURCE) -> None:
    """The holdings come from a source, and their file is where no table is looked for."""
    package(packages, "acme_source", code, {"sources": {"elsewhere": "read"}})
    (listed.path / "elsewhere").mkdir()
    (listed.path / "holdings.csv").rename(listed.path / "elsewhere" / "holdings.txt")
    with (listed.path / "book.toml").open("a", encoding="utf-8") as book:
        book.write('\n[tables]\nholdings = { source = "elsewhere" }\n')


def test_a_table_from_a_source_makes_the_same_plan_as_the_file(packages: Path, listed: Folder, run: Run) -> None:
    from_file = run("rebalance", listed.path, "--json").stdout
    sourced(packages, listed)

    assert run("rebalance", listed.path, "--json").stdout == from_file


def test_a_table_from_a_source_is_held_to_its_contract(packages: Path, listed: Folder, run: Run, valid: Valid) -> None:
    sourced(packages, listed)
    listed.replace("book.toml", '"elsewhere" }', '"elsewhere", parameters = { columns = { quantity = -1.0 } } }')

    found = breaches(run("check", listed.path, "--json"), valid)

    assert found
    assert all(one.startswith("holdings of elsewhere: ") for one in found)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def read(*_):\n    raise ConnectionError('no route')\n", "ConnectionError: no route"),
        ("def read(*_):\n    return [1]\n", "must be a DataFrame, columns by name or a list of rows, not a list"),
        ("def read():\n    pass\n", "TypeError"),
    ],
)
def test_a_source_that_fails_is_refused_by_name_with_every_other_breach(
    packages: Path, listed: Folder, run: Run, valid: Valid, code: str, said: str
) -> None:
    sourced(packages, listed, code)
    listed.cell("exposures.csv", "NVDA", "beta", "much")

    found = breaches(run("check", listed.path, "--json"), valid)

    assert any(said in one for one in found), found
    assert any(one.startswith("exposures.csv: ") for one in found)


def test_a_file_that_a_source_has_replaced_may_not_lie_beside_it(
    packages: Path, listed: Folder, run: Run, valid: Valid
) -> None:
    text = (listed.path / "holdings.csv").read_text(encoding="utf-8")
    sourced(packages, listed)
    (listed.path / "holdings.csv").write_text(text, encoding="utf-8")

    (found,) = breaches(run("check", listed.path, "--json"), valid)

    assert found.startswith("holdings.csv: no table of a book has this name")


@pytest.mark.parametrize(
    ("stated", "required", "unknown", "cure"),
    [
        ("{sorce = 'x'}", "source", "sorce", "did you mean 'source'?"),
        ("{querry = 'select 1'}", "query", "querry", "did you mean 'query'?"),
        ("{user = 'me'}", "url", "user", "known here: query, url"),
        ("{source = 'x', query = 'select 1'}", None, "query", "known here: parameters, source"),
    ],
)
def test_a_key_that_no_table_has_is_told_those_of_the_kind_that_was_meant(
    listed: Folder, run: Run, valid: Valid, stated: str, required: str | None, unknown: str, cure: str
) -> None:
    answer = run("check", listed.path, "--set", f"tables.prices={stated}", "--json")

    found = {breach["column"]: breach for breach in valid(answer.stdout, "error")["errors"]}
    assert required is None or found[f"tables.prices.{required}"]["rule"] == "is required"
    assert (found[f"tables.prices.{unknown}"]["rule"], found[f"tables.prices.{unknown}"]["cure"]) == (
        "unknown key",
        cure,
    )


def test_a_table_is_a_file_or_a_source_and_nothing_else(listed: Folder, run: Run, valid: Valid) -> None:
    answer = run("check", listed.path, "--set", "tables.prices={sorce = 'x'}", "--set", "tables.fx=3", "--json")

    found = {breach["column"]: breach["rule"] for breach in valid(answer.stdout, "error")["errors"]}
    assert found["tables.prices.source"] == "is required"
    assert found["tables.prices.sorce"] == "unknown key"
    assert "tables.fx" in found


def test_a_run_is_refused_again_when_what_a_source_gives_has_changed(
    packages: Path, listed: Folder, run: Run, valid: Valid, tmp_path: Path
) -> None:
    sourced(packages, listed)
    once = ["rebalance", listed.path, "--run-id", "one", "--out", tmp_path / "out", "--json"]
    assert run(*once).exit_code == 0
    assert "already done" in run(*once).stderr
    listed.cell("elsewhere/holdings.txt", "NVDA", "quantity", "1500")

    (found,) = breaches(run(*once), valid)

    assert found.startswith("holdings of elsewhere: was another when run 'one' was made")
