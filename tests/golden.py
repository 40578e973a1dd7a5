"""`python tests/golden.py COMMIT`: do the documents of COMMIT and of the working tree say the same?

Both are made here and now, by this machine and this environment, and nothing is stored: COMMIT in a git worktree that
is gone at the end. The books are COMMIT's sample books, 30 random books and 10 random trees; the cases are in
golden_cases.py. Documents that are not the same bytes are compared through TABLE, orders and texts exactly, numbers to
the tolerance that their certificate states. Exit status 1 tells that some differ.

After a file was moved or a name of the code changed, everything is byte-identical. After a document was changed, TABLE
says what became of each old key. Key paths begin with the document's kind: `plan.certificate.gap_bps`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.golden_books import write_book, write_tree
from tests.golden_cases import Case, cases_of, screens_of
from tests.golden_compare import Difference, Gone, Ignored, Table, differences, read

_OF_STRESS: dict[str, str | Gone] = {
    f"stress.shocks.{place}.{old}{old_figure}": f"stress.shocks.{place}.{new}{new_figure}"
    for place in ("no_shock", "effects.*")
    for old, new in (("held", "current"), ("plan", "proposed"), ("again", "reoptimized"))
    for old_figure, new_figure in (
        ("", ""), (".at_once", ".immediate_return"), (".expected", ".expected_return"),
        (".worst_case", ".adverse_expected_return"),
    )
}  # fmt: skip
_OF_STRESS |= {
    f"stress.{old}": f"stress.{new}"
    for old, new in {
        "shocks.effects.*.rules_broken": "shocks.effects.*.limit_breaches",
        "shocks.effects.*.told": "shocks.effects.*.claimed_signs",
        "shocks.effects.*.told.*.expected": "shocks.effects.*.claimed_signs.*.claimed",
        "reverse.portfolios.*.largest_loss": "reverse.portfolios.*.worst_scenario_loss",
        "reverse.portfolios.*.shifts.*.sigmas": "reverse.portfolios.*.shifts.*.equivalent_z_score",
        "reverse.portfolios.*.shifts.*.words": "reverse.portfolios.*.shifts.*.rating",
        "reverse.portfolios.*.parameters.*.own": "reverse.portfolios.*.parameters.*.base_value",
        "reverse.portfolios.*.parameters.*.least_loss": "reverse.portfolios.*.parameters.*.smallest_loss",
        "reverse.portfolios.*.parameters.*.most_loss": "reverse.portfolios.*.parameters.*.largest_loss",
        "reverse.portfolios.*.parameters.*.words": "reverse.portfolios.*.parameters.*.rating",
        "beliefs.flips": "beliefs.reversals",
        "beliefs.flips.*.ahead": "beliefs.reversals.*.advantage",
        "beliefs.flips.*.in_words": "beliefs.reversals.*.rating",
        "beliefs.axes.*.points.*.worth": "beliefs.axes.*.points.*.objective",
        "beliefs.axes.*.points.*.worst_case_return": "beliefs.axes.*.points.*.adverse_expected_return",
        "beliefs.axes.*.points.*.plan_short": "beliefs.axes.*.points.*.plan_shortfall",
        "beliefs.axes.*.points.*.plan_breaks": "beliefs.axes.*.points.*.plan_limit_breach",
        "beliefs.axes.*.interval.short_bps": "beliefs.axes.*.interval.shortfall_bps",
        "beliefs.axes.*.interval.short_low_bps": "beliefs.axes.*.interval.shortfall_low_bps",
        "beliefs.axes.*.interval.short_high_bps": "beliefs.axes.*.interval.shortfall_high_bps",
        "beliefs.axes.*.interval.broken": "beliefs.axes.*.interval.limit_breaches",
        "map.points.*.worth": "map.points.*.objective",
        "model.parameters.*.own": "model.parameters.*.base_value",
        "model.optimised_again": "model.reoptimized",
        "model.optimised_again.weights.*.before": "model.reoptimized.weights.*.current",
        "model.optimised_again.weights.*.planned": "model.reoptimized.weights.*.proposed",
        "model.optimised_again.weights.*.left": "model.reoptimized.weights.*.unchanged",
    }.items()
}
_STRESS_TEXTS = {
    r"^allocator\.stress/1$": "allocator.stress/2",
    r"--within is how wrong beliefs may be, which are not": "--within applies to --beliefs, which is not",
    r"which is not asked: add --beliefs": "which is not requested: add --beliefs",
    r"^worst-case return$": "adverse expected return",
    r"^worst-case return over holdings$": "adverse expected return less current",
    r"^optimised again$": "re-optimised",
    r"^a stretch$": "unlikely",
    r"^far-fetched$": "very unlikely",
    r"^already there$": "already the case",
    r"^no range is stated$": "no range stated",
    r"^next to nothing$": "negligible change",
    r"^next to impossible$": "extreme",
    r"^a (small|large) change$": r"\1 change",
    r"^a clear change$": "moderate change",
    r"^against our belief$": "very large change",
    r"^no probability gives this loss, the maximum is ": "no probabilities give this loss; the largest is ",
    r"^the horizon is over by (.*)$": r"the horizon ends by \1, when its news is known",
    r"is solved on the tree of decisions, and belief stress is of one decision": (
        "is solved on a decision tree, and belief stress needs a plan of one decision"
    ),
    r"choose return_minus_risk without \[horizon\] reviews; `allocator waiting` and --set stress a tree": (
        "choose return_minus_risk without [horizon] reviews, or try another belief of the tree with --set"
    ),
    r"^The announcement share moves nothing here: .*$": (
        "The announcement share changes no return here: without [market] no price responds to news."
    ),
    r"^The announcement share moves no return from today: the market's probabilities are of ([0-9-]+), .*$": (
        "The announcement share changes the returns of the day of news only: the market's probabilities are of "
        r"\1, so prices already reflect all news."
    ),
    r"^the plan is not optimised again: with objective = '(.*)' every draw .*$": (
        r"the plan is not re-optimised at the draws: with objective = '\1' each draw would need the whole decision "
        "tree; its outcomes are evaluated"
    ),
}
"""What `allocator stress` called otherwise."""
_SCHEMA = Ignored("a schema is held to its documents by tests/commands/test_stress.py")
_PORTFOLIO = Ignored("holdings are now current, plan is proposed, holding is no trade; other documents keep the words")
_PORTFOLIO_NAMES = (
    "reverse.portfolios.*.portfolio", "replay.windows.*.portfolio", "model.outcomes.*.portfolio",
    "model.importance.*.portfolio", "beliefs.reversals.*.first", "beliefs.reversals.*.second",
)  # fmt: skip
_STRESS_SCHEMA = (
    "properties.shocks.properties.no_shock", "properties.shocks.properties.effects", "properties.reverse",
    "properties.beliefs", "properties.map", "properties.model.properties", "properties.model.required", "$defs.effect",
)  # fmt: skip
TABLE = Table(
    paths={**_OF_STRESS},  # "plan.certificate.wasteless": "plan.certificate.round_trip", or Gone("nobody read them")
    new={},  # "plan.today": New("the screen showed it, the document did not")
    formats={"allocator.stress/1": "allocator.stress/2"},  # "allocator.stages/1": "allocator.plan/2"
    commands={},  # "outlook": "tree", "claims": Gone("it is part of check"); an option likewise: "--share": "--shares"
    texts={**_STRESS_TEXTS},  # r"^must trade$": "trade required"; for every text of a document and of stderr
    keys={},  # r"^stranded capex$": "stranded capital expenditure"; the same for keys that are labels
    tolerances={  # "stress.beliefs.axes": Loose(1e-4, "bisected to this width")
        **{f"schema.contract.{part}": _SCHEMA for part in _STRESS_SCHEMA},
        **{f"stress.{place}": _PORTFOLIO for place in _PORTFOLIO_NAMES},
    },
)
ROOT = Path(__file__).resolve().parents[1]
SHOWN = 4
"""Differences of a document that are printed."""


def main() -> int:
    """Make both, compare, and tell; 0 where nothing differs."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with _worktree(asked.commit) as tree, tempfile.TemporaryDirectory(prefix="golden-") as made:
        cases = _cases(tree, asked)
        sides = {"old": tree, "new": ROOT}
        for side in sides:
            _write_books(tree, Path(made) / side / "books", asked.books, asked.trees)
        answers = _answers(sides, cases, Path(made), asked.jobs)
        status = _told(cases, answers["old"], answers["new"], asked)
    _say(f"in {time.monotonic() - began:.0f} s")
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commit", help="what the working tree is compared with")
    parser.add_argument("--only", metavar="TEXT", help="only cases whose name contains it, and what they build on")
    parser.add_argument("--books", type=int, default=30, help="how many random books (30)")
    parser.add_argument("--trees", type=int, default=10, help="how many random trees (10)")
    parser.add_argument("--jobs", type=int, default=2, help="processes in all, half of them for each side (2)")
    parser.add_argument("--screens", action="store_true", help="also what people see: without --json, and --help")
    parser.add_argument("--all", action="store_true", help=f"all differences of a document, not {SHOWN}")
    return parser.parse_args()


def _say(text: str) -> None:
    click.echo(f"golden: {text}", err=True)


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """COMMIT checked out beside us for as long as it takes, whatever ends it."""
    git = ["git", "-C", str(ROOT)]
    named = subprocess.run([*git, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"],
                           capture_output=True, text=True, check=False).stdout.strip()  # fmt: skip
    if not named:
        sys.exit(f"golden: {commit!r} is no commit of this repository")
    folder = Path(tempfile.mkdtemp(prefix="golden-tree-"))
    try:
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(folder / "tree"), named], check=True)
        _say(f"old: {named[:12]}, new: the working tree")
        yield folder / "tree"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([*git, "worktree", "prune"], check=False)


def _cases(tree: Path, asked: argparse.Namespace) -> list[Case]:
    """All that were asked for; of a group whose case is named also what comes before it, which it may build on."""
    samples = sorted(path.parent.name for path in (tree / "data").glob("*/book.toml"))
    schemas = sorted(path.name.split(".")[0] for path in (tree / "schemas").iterdir())
    cases = cases_of(samples, schemas, asked.books, asked.trees)
    if asked.screens:
        cases += screens_of(cases)
    if asked.only:
        named = {i for i, case in enumerate(cases) if asked.only in case.name}
        groups = {cases[i].group for i in named}
        cases = [case for i, case in enumerate(cases) if i in named or (case.keeps and case.group in groups)]
    return cases


def _write_books(tree: Path, folder: Path, books: int, trees: int) -> None:
    """COMMIT's sample books and the random ones: the same files for both sides."""
    for toml in sorted((tree / "data").glob("*/book.toml")):
        shutil.copytree(toml.parent, folder / toml.parent.name)
    for seed in range(books):
        write_book(folder / f"random-{seed}", seed)
    for seed in range(trees):
        write_tree(folder / f"tree-{seed}", seed)


def _shards(cases: Sequence[Case], count: int) -> list[list[Case]]:
    """The cases of whole groups in so many lists of about the same length."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    shards: list[list[Case]] = [[] for _ in range(count)]
    for group in sorted(groups.values(), key=len, reverse=True):
        min(shards, key=len).extend(group)
    return [shard for shard in shards if shard]


def _answers(sides: Mapping[str, Path], cases: Sequence[Case], made: Path, jobs: int) -> dict[str, dict[str, Any]]:
    """What each side answered, by the name of the case; `commands` holds the names of its commands."""
    shards = _shards(cases, max(jobs // 2, 1))
    waiting = [(side, i) for i in range(len(shards)) for side in sides]
    running: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                side, i = waiting.pop(0)
                running[side, i] = _started(side, sides[side], shards[i], made, i)
            for key, process in list(running.items()):
                if process.poll() is not None:
                    del running[key]
                    if process.returncode:
                        _say(f"the {key[0]} side ended with status {process.returncode}")
            _say_progress(made, len(cases))
            time.sleep(0.5)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        if sys.stderr.isatty():
            click.echo(err=True)
    return {side: _read_answers(made, side) for side in sides}


def _started(side: str, tree: Path, cases: Sequence[Case], made: Path, number: int) -> subprocess.Popen[bytes]:
    """A process that imports `allocator` from `tree`; each side hashes differently, so an order of chance is found."""
    asked = {
        "tree": str(tree),
        "work": str(made / side),
        "answers": str(made / f"{side}-{number}.jsonl"),
        "renamed": {old: new for old, new in TABLE.commands.items() if isinstance(new, str)},
        "cases": [{"name": case.name, "arguments": case.arguments, "keeps": case.keeps} for case in cases],
    }
    file = made / f"{side}-{number}.json"
    file.write_text(json.dumps(asked), encoding="utf-8")
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    plain = {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "1" if side == "old" else "2", "COLUMNS": "80", "NO_COLOR": "1"}
    driver = Path(__file__).resolve().with_name("golden_driver.py")
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", str(driver), str(file)], env=os.environ | threads | plain, cwd=made,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _say_progress(made: Path, cases: int) -> None:
    if sys.stderr.isatty():
        done = {side: len(_read_answers(made, side)) - 1 for side in ("old", "new")}
        told = f"\rgolden: old {max(done['old'], 0)}, new {max(done['new'], 0)} of {cases}"
        click.echo(told, nl=False, err=True)


def _read_answers(made: Path, side: str) -> dict[str, Any]:
    """All whole lines that this side has written."""
    found: dict[str, Any] = {}
    for file in sorted(made.glob(f"{side}-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                answer = json.loads(line)
                if "commands" in answer:
                    found["commands"] = answer
                else:
                    found[answer["name"]] = answer
    return found


def _told(cases: Sequence[Case], old: Mapping[str, Any], new: Mapping[str, Any], asked: argparse.Namespace) -> int:
    """Print what differs and how many do not."""
    same = equal = 0
    differing: dict[str, list[Difference]] = {}
    for case in cases:
        for name, pair in _documents(case.name, old.get(case.name), new.get(case.name)).items():
            if pair[0] == pair[1]:
                same += 1
            elif found := compared(*pair, name=name):
                differing[name] = found
            else:
                equal += 1
    for name, found in differing.items():
        click.echo(f"{name}: {len(found)} differences")
        for one in found if asked.all else found[:SHOWN]:
            click.echo(f"    {one}")
    untried = [] if asked.only else _without_case(cases, old, new)
    for command in untried:
        click.echo(f"{command}: a command without a case in golden_cases.py")
    total = same + equal + len(differing)
    click.echo(f"{same} of {total} documents byte-identical, {equal} equal through the table, {len(differing)} differ")
    _say(f"exit codes: {_exit_codes(cases, old)}")
    return 1 if differing or untried or not total else 0


def _documents(name: str, old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """What a case answered and each file that it wrote, old and new."""
    if old is None or new is None:
        ended = "(nothing: the process ended before it)"
        return {name: (ended if old is None else "(an answer)", ended if new is None else "(an answer)")}
    if "unknown" in old or "unknown" in new:
        gone = isinstance(TABLE.commands.get(str(new.get("unknown"))), Gone)
        return {} if gone or "unknown" in old else {name: (old, new)}  # a command of today's has no elder
    told = ("exit", "stdout", "stderr")
    pairs: dict[str, tuple[Any, Any]] = {name: ({key: old[key] for key in told}, {key: new[key] for key in told})}
    for file in sorted({*old["files"], *new["files"]}):
        pairs[f"{name} → {file}"] = (old["files"].get(file, ""), new["files"].get(file, ""))
    return pairs


def compared(old: Any, new: Any, *, name: str = "", table: Table = TABLE) -> list[Difference]:
    """Where a file, or what a command printed, differs once it is read; nowhere where it says the same."""
    if isinstance(old, str) and isinstance(new, str):
        return differences(read(old, name), read(new, name), table)
    if not {"exit", "stdout", "stderr"} <= old.keys() & new.keys():
        return [Difference(name, old, new, "no such command")]
    found = [] if old["exit"] == new["exit"] else [Difference("exit", old["exit"], new["exit"])]
    told = differences({"format": "stderr", "text": old["stderr"]}, {"format": "stderr", "text": new["stderr"]}, table)
    return found + told + differences(read(old["stdout"]), read(new["stdout"]), table)


def _without_case(cases: Sequence[Case], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Commands of either side that no case runs."""
    tried = {case.arguments[0] for case in cases}
    tried |= {to for name, to in TABLE.commands.items() if isinstance(to, str) and name in tried}
    known = {name for side in (old, new) for name in side.get("commands", {}).get("commands", ())}
    return sorted(known - tried)


def _exit_codes(cases: Sequence[Case], old: Mapping[str, Any]) -> str:
    """How many cases ended how: a net in which all is refused would hold nothing."""
    codes = [old[case.name].get("exit") for case in cases if case.name in old]
    return ", ".join(f"{codes.count(code)} x {code}" for code in sorted(set(codes), key=str))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what was made is gone by now
