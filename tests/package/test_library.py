"""Allocator as a library: its verbs, pandas in and out, silent, without state of its own, in threads and in workers."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import allocator
from tests.thoroughness import some

BOOKS = ("tests/typed", "data/listed")
VERBS = ("load", "from_frames", "check", "build_outlook", "rebalance", "rebalance", "explain", "stress")
WORKERS = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import allocator

def document(book):
    return json.dumps(allocator.plan_document(allocator.rebalance(allocator.load(book))))

if __name__ == "__main__":
    books, way = sys.argv[2:], sys.argv[1]
    if way == "fork":
        document(books[0])  # the solvers have run, and their threads with them, before there are workers
    with ProcessPoolExecutor(2, mp_context=get_context(way)) as workers:
        print(json.dumps(list(workers.map(document, books))))
"""


def document(book: str | Path) -> str:
    return json.dumps(allocator.plan_document(allocator.rebalance(allocator.load(book))))


@pytest.fixture(scope="module")
def alone(root: Path) -> dict[str, str]:
    """The plans of both books, made one after the other."""
    return {book: document(root / book) for book in BOOKS}


def test_plans_made_in_threads_at_once_are_those_made_alone_to_the_last_bit(root: Path, alone: dict[str, str]) -> None:
    filters, errors = list(warnings.filters), np.geterr()

    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(document, [root / book for book in BOOKS * 3]))

    assert made == [alone[book] for book in BOOKS * 3]
    assert list(warnings.filters) == filters  # interleaved, one thread's silence could stay behind
    assert np.geterr() == errors


@pytest.mark.parametrize("way", some(["fork", "spawn"], 2))  # what is spawned: workers of studies and fleets
def test_plans_made_in_workers_at_once_are_those_made_alone_to_the_last_bit(
    root: Path, alone: dict[str, str], tmp_path: Path, way: str
) -> None:
    if way == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    script = tmp_path / "workers.py"
    script.write_text(WORKERS, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, str(script), way, *BOOKS], cwd=root, env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [alone[book] for book in BOOKS]


FORKED = """
import os, sys, warnings
from allocator.tables.files import silence_libraries

before = list(warnings.filters)
with silence_libraries(FutureWarning):
    child = os.fork()
    if child == 0:
        os._exit(0 if warnings.filters == before else 1)
    _, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) or warnings.filters != before)
"""


def test_a_worker_that_is_forked_amid_silence_hears_warnings_again(root: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    done = subprocess.run([sys.executable, "-c", FORKED], cwd=root, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0


def test_what_is_no_book_is_refused_with_where_to_get_one(root: Path) -> None:
    listed = root / "data" / "listed"
    verbs = (allocator.rebalance, allocator.check, allocator.build_outlook,
             allocator.explain, allocator.stress)  # fmt: skip
    for verb in verbs:
        with pytest.raises(allocator.BadInput, match=r"book: is a str and not a Book; give what allocator.load"):
            verb(str(listed))  # type: ignore[arg-type]
    with pytest.raises(allocator.BadInput, match=r"plan: is a str and not a Plan; give what allocator\.rebalance"):
        allocator.plan_document(str(listed))  # type: ignore[arg-type]


def test_one_text_where_several_are_meant_is_refused_and_not_split_into_letters(root: Path) -> None:
    with pytest.raises(allocator.BadInput, match="overrides: must be a list, and is one text"):
        allocator.load(root / "data" / "listed", overrides="mandate.max_weight=0.2")
    book = allocator.load(root / "data" / "listed")
    with pytest.raises(allocator.BadInput, match="stress parts: must be several names"):
        allocator.stress(book, parts="shocks")  # type: ignore[arg-type]
    with pytest.raises(allocator.BadInput, match="are named, and shocks are not asked"):
        allocator.stress(book, parts=("reverse",), shocks=("rates_up",))


def test_a_plan_is_put_under_stress_with_its_own_book_alone(root: Path) -> None:
    book = allocator.load(root / "data" / "listed")
    other = allocator.load(root / "data" / "listed", overrides=["mandate.risk_aversion=6.0"])
    with pytest.raises(allocator.BadInput, match="plan: is of another book"):
        allocator.stress(other, plan=allocator.rebalance(book), parts=("shocks",))


def test_a_book_is_told_in_a_line(root: Path) -> None:
    book = allocator.load(root / "data" / "listed")
    assert repr(book) == "Book('Listed AI names', account 'main', 13 instruments, 2026-11-20)"


def test_names_are_listed_before_they_are_loaded_and_strangers_are_no_names() -> None:
    assert set(allocator.__all__) <= set(dir(allocator))
    with pytest.raises(AttributeError, match="optimise"):
        getattr(allocator, "optimise")  # noqa: B009  what a type checker refuses already


def test_a_plan_can_be_handed_from_one_process_to_another(root: Path) -> None:
    plan = allocator.rebalance(allocator.load(root / "tests" / "typed"))

    there = pickle.loads(pickle.dumps(plan))

    assert allocator.plan_document(there) == allocator.plan_document(plan)
    assert allocator.orders_frame(there).equals(allocator.orders_frame(plan))


def state() -> dict[str, object]:
    """What the process shares: every global of ours, contents of containers too, and what belongs to everybody."""
    ours = {
        f"{module}.{name}": (id(value), repr(value) if isinstance(value, dict | list | set) else None)
        for module, loaded in list(sys.modules.items())
        if module.partition(".")[0] == "allocator"
        for name, value in vars(loaded).items()
        if not name.startswith("__")
    }
    numbers: Any = np.random.get_state()
    return ours | {
        "random": random.getstate(),
        "numpy": (numbers[1].tobytes(), numbers[2]),
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }


def use(root: Path) -> None:
    book = allocator.load(root / "tests" / "typed")
    allocator.check(book)
    allocator.build_outlook(book)
    allocator.explain(allocator.rebalance(book))


def test_using_it_leaves_no_trace_in_the_process(root: Path) -> None:
    use(root)  # what is imported late is imported now
    before = state()

    use(root)

    after = state()
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == set()


def test_using_it_prints_nothing_and_warns_of_nothing(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use(root)
        with pytest.raises(allocator.Infeasible):
            allocator.rebalance(allocator.load(root / "tests" / "typed", overrides=["mandate.max_weight=0.01"]))

    assert capfd.readouterr() == ("", "")


def test_no_public_name_hides_a_room_and_no_room_a_public_name(root: Path) -> None:
    code = (
        "import allocator\n"
        "book = allocator.load('tests/typed')\n"
        "assert type(allocator.build_outlook(book)) is allocator.Outlook\n"
        "import allocator.outlook.outlook\n"
        "assert type(allocator.outlook).__name__ == 'module'\n"
    )

    subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True)


def test_a_check_tells_what_the_holdings_break_and_what_arithmetic_refuses(root: Path) -> None:
    found = allocator.check(allocator.load(root / "tests" / "typed"))

    assert "NVDA at most 12%" in [reading.label for reading in found.limit_breaches]
    rules = found.rules()
    assert list(rules.loc[~rules["holds_today"], "rule"]) == [reading.label for reading in found.limit_breaches]
    assert found.document()["rules"] == rules.to_dict("records")
    with pytest.raises(allocator.Infeasible, match="limits conflict"):
        allocator.check(allocator.load(root / "tests" / "typed", overrides=["mandate.max_weight=0.01"]))


def test_frames_carry_the_labels_of_the_book_and_add_up(root: Path) -> None:
    book = allocator.load(root / "tests" / "typed")
    plan = allocator.rebalance(book)

    weights, orders = allocator.weights_frame(plan), allocator.orders_frame(plan)

    assert list(weights.index) == [*book.instruments, book.cash_instrument]
    assert weights.sum().to_numpy() == pytest.approx([1.0, 1.0, 1.0])
    assert weights.loc["NVDA", "before"] == pytest.approx(book.weights[book.instruments.index("NVDA")])
    assert list(orders["side"]) == [order.side for order in plan.orders]
    sells = orders[orders["side"] == "sell"].set_index("instrument")
    assert (sells["weight_after"] < sells["weight_before"]).all()


def test_what_an_outlook_says_can_be_a_table_of_a_book_again(root: Path) -> None:
    book = allocator.load(root / "tests" / "typed")
    returns = allocator.returns_frame(book, allocator.build_outlook(book))
    tables = {name: pd.read_csv(root / "tests" / "typed" / f"{name}.csv") for name in ("holdings", "exposures")}

    again = allocator.from_frames(
        book.settings.model_dump(exclude_unset=True),
        {**tables, "scenario_returns": returns, "benchmark": pd.read_csv(root / "tests" / "typed" / "benchmark.csv")},
    )

    assert np.array_equal(allocator.build_outlook(again).returns, allocator.build_outlook(book).returns)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_raises_and_is_typed(verb: str) -> None:
    function = getattr(allocator, verb)
    signature = inspect.signature(function)

    assert "Raises:" in function.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())


def test_type_checkers_are_told_that_the_package_is_typed(committed: list[Path]) -> None:
    assert Path("allocator/py.typed") in committed


def test_every_public_name_is_there_and_no_other_is() -> None:
    assert [name for name in allocator.__all__ if not hasattr(allocator, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        allocator.optimise  # noqa: B018


LIGHTLY = """
import sys
from threading import Thread
from allocator.types import DeferredModule

cp, found = DeferredModule("cvxpy"), []

def meanwhile():
    import scipy.stats
    while not found:  # whenever it comes, it gets what it asks for
        found.append(scipy.stats.norm.cdf(0.0))

if "at once" in sys.argv:
    other = Thread(target=meanwhile)
    other.start()
cp.Variable
if "at once" in sys.argv:
    other.join()
else:
    assert "scipy.stats" not in sys.modules
    meanwhile()
import numpy as np
import scipy.stats
assert found == [0.5] and scipy.stats.norm.__module__.startswith("scipy")
entropy = cp.quantum_rel_entr(np.diag([0.5, 0.5]), np.diag([0.25, 0.75])).value
assert abs(entropy - 0.5 * np.log(2) - 0.5 * np.log(2 / 3)) < 1e-9, entropy
"""


@pytest.mark.parametrize("way", ["alone", "at once"])
def test_cvxpy_is_imported_without_the_statistics_that_one_of_its_atoms_wants(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHTLY, way], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
