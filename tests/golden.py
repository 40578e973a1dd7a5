"""`python tests/golden.py COMMIT`: do the documents of COMMIT and of the working tree say the same?

Both are made here and now, by this machine and this environment, and nothing is stored: COMMIT in a git worktree that
is gone at the end. The books are COMMIT's sample books, 30 random books and 10 random trees; the cases are in
golden_cases.py. Documents that are not the same bytes are compared through TABLE of golden_table.py: orders and texts
exactly, numbers to the tolerance that their certificate states. Exit status 1 tells that some differ.

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
from tests.golden_compare import Difference, Gone, Table, differences, read
from tests.golden_table import TABLE

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
        if case.name in TABLE.cases:
            _say(f"{case.name} is not compared: {TABLE.cases[case.name].because}")
            continue
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
