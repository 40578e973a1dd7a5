"""What docs/performance.md says is what the benchmarks measured, of contenders who answer the same question."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from allocator.book.book import from_frames


class Scripts(NamedTuple):
    """The benchmarks, which import each other by their own names."""

    page: ModuleType
    race: ModuleType
    tasks: ModuleType
    by_hand: ModuleType
    questions: ModuleType


@pytest.fixture(scope="module")
def scripts(root: Path) -> Iterator[Scripts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "benchmarks"))
        import by_hand
        import page
        import questions
        import race
        import tasks

        yield Scripts(page, race, tasks, by_hand, questions)
    for name in Scripts._fields:
        del sys.modules[name]


@pytest.fixture(scope="module")
def results(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    return found


def test_the_page_is_made_from_the_results_that_stand_beside_the_benchmarks(
    root: Path, scripts: Scripts, results: dict[str, Any]
) -> None:
    shown = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    assert shown == scripts.page.page(results), "run `python benchmarks/page.py`"


def test_every_task_and_size_of_a_default_run_is_in_the_results(scripts: Scripts, results: dict[str, Any]) -> None:
    there = {(row["task"], row["size"]) for row in results["rows"]}
    tasks = scripts.tasks.TASKS
    commands = {("shell", f"{command} {book}") for command, book, _ in scripts.tasks.COMMANDS}
    wanted = {(name, size) for name, task in tasks.items() if name != "shell" for size in task.sizes} | commands

    assert wanted <= there
    assert set(scripts.page.TEXTS) == set(tasks)


def test_every_figure_that_something_is_wanted_of_was_measured(scripts: Scripts, results: dict[str, Any]) -> None:
    run = scripts.page.Run(results["rows"])
    assert [target.words for target in scripts.page.TARGETS if target.figure(run) is None] == []


def test_losses_are_told_as_losses_and_gains_as_met(scripts: Scripts) -> None:
    target = scripts.page.Target("what is asked", lambda run: run.figure("KL", "60", "ours", "again_over"), 1.5)
    for ratio, verdict in ((1.49, "met"), (1.51, "**missed**")):
        run = scripts.page.Run([{"task": "KL", "size": "60", "who": "ours", "again_over": ratio}])
        assert target.line(run) == f"| what is asked | {ratio:.3g} × | ≤ 1.5 × | {verdict} |"


def test_the_peers_are_no_dependency_and_are_named_with_their_versions_in_the_makefile(root: Path) -> None:
    named = next(line for line in (root / "Makefile").read_text(encoding="utf-8").splitlines() if line[:5] == "PEERS")
    peers = named.partition(":=")[2].split()
    assert all("==" in peer for peer in peers)
    assert "Riskfolio-Lib" in named
    for file in ("pyproject.toml", "constraints.txt"):
        assert "riskfolio-lib" not in (root / file).read_text(encoding="utf-8").lower()


def test_ratios_are_of_each_question_s_own_times_and_who_raises_or_is_slow_says_so(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(scripts.race.gc, "collect", lambda: None)
    monkeypatch.setattr(scripts.race.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(scripts.race.time, "perf_counter", lambda: 2 * clock[0])

    def taking(factor: float) -> Any:
        def call(question: float) -> float:
            clock[0] += factor * question
            return question

        return call

    def failing(_: float) -> float:
        raise ValueError("no such question\nand more")

    bare, ours, slow, broken = scripts.race.race("KL", "60", [
        scripts.race.Contender("bare", "bare", taking(1.0)),
        scripts.race.Contender("ours", "ours", taking(3.0), lambda question, _: (question, 0.0)),
        scripts.race.Contender("slow", "peer", taking(100.0)),
        scripts.race.Contender("broken", "peer", failing),
    ], [0.1], [0.2, 0.4, 0.3], warm=[0.01])  # fmt: skip

    assert (bare["first"], bare["again"], bare["again_wall"]) == pytest.approx((100, 300, 600))
    assert (ours["again"], ours["again_over"], ours["gap_bps"], ours["asked"]) == pytest.approx((900, 3, 0.4, 4))
    assert (slow["first"], slow["again"], slow["asked"]) == (pytest.approx(10_000), None, 1)
    assert (broken["first"], broken["note"]) == (None, "ValueError: no such question")


def test_bare_solvers_and_our_public_call_answer_the_same_plain_question(scripts: Scripts) -> None:
    rng = np.random.default_rng(3)
    book = from_frames(scripts.questions.plain_settings(30, rng), scripts.questions.tables(30, rng))
    asked = scripts.by_hand.MeanVariance.of(book)
    answers = [
        solve(asked) for solve in (scripts.by_hand.by_piqp, scripts.by_hand.by_clarabel, scripts.by_hand.by_highs)
    ]
    target = scripts.tasks.public(book, lots=False).target

    best = asked.loss(answers[0])
    assert all(asked.loss(answer) == pytest.approx(best, abs=1e-8) for answer in answers)
    assert all(asked.missed(answer) < 1e-8 for answer in answers)
    # limits are parts of the account after costs there, and before them here
    assert asked.loss(target.values / target.value) == pytest.approx(best, abs=1e-6)
    assert asked.loss(asked.held) > best + 1e-3


def test_cuts_and_rows_by_hand_find_what_our_certificates_prove(scripts: Scripts) -> None:
    rng = np.random.default_rng(4)
    question = scripts.tasks.Question(from_frames(*scripts.questions.many_scenarios(20, 80, rng)))
    found = scripts.tasks.Inner()(question.prepared)
    assert scripts.by_hand.cuts_by_hand(*question.prepared)[0] == pytest.approx(found.objective, abs=1e-6)

    staged, start = scripts.questions.tail_question(20, 200, rng)
    objective, _, _, weights = scripts.by_hand.rows_by_hand(staged, start)
    assert objective == pytest.approx(scripts.tasks.solve_policy(staged, start).objective, abs=1e-7)
    seen = scripts.by_hand.Tails.of(staged, start)
    assert seen.loss(weights) == pytest.approx(objective, abs=1e-4)
    assert seen.missed(weights) < 1e-8
