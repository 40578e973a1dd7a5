"""`docs/performance.md` from `benchmarks/results.json`: `python benchmarks/page.py` writes it and measures nothing.

Every figure of the page is one of a run of `make bench`; a test makes the page again and compares.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results.json", ROOT / "docs" / "performance.md"
Row = Mapping[str, Any]
MET, MISSED, NAN = "met", "**missed**", float("nan")

TEXTS = {
    "public": """
### The public call

`rebalance(book)` and its document, of a book in memory, over PIQP alone on the matrices of the same book (set up and
solved). N names, ten group limits, caps, turnover, total variation over four scenarios, ten factors of a year of
prices. *Solve and proof* is what of it is not reading, figures and document. The gap is what our own certificate
proves, of targets and lots together.
""",
    "mean-variance": """
### The peers, on plain mean-variance

Expected return less risk aversion × variance less costs of trading; long only, caps, ten group limits, cash. Peers are
handed finished expected returns and covariance. Each is asked with the solver that it takes by itself, then told to
take PIQP, which is there because we bring it; they have no lots and no proof. Ours is asked the same question without
lots and with them, and the robust question of the table above with lots. Gaps are to the best bare solution, by one
formula for all. Ours keeps limits as parts of the account after costs, theirs before them, which moves it by up to .01
bps; negative gaps come with a limit that is missed.
""",
    "re-solve": """
### Targets re-solved

Other returns, probabilities and holdings of one mandate, one after the other; times are of one question. PIQP is handed
finished matrices and updates its problem, as it comes and with the scaling of the first problem kept. Ours writes the
matrices, and proves every answer.
""",
    "lots": """
### Whole lots

Small accounts with coarse lots: 100 000 a name at N = 15, 400 000 else, of which a lot is 1, 5 or 20 units. What
`rebalance` takes longer than with `lots=False`, lots and the decision whether to trade, over HiGHS alone, from nothing,
on the integer program as it stood at the end. Where rounding is proved within `lots.gap_bps`, there is none.
""",
    "KL": """
### Many scenarios

Relative entropy around K scenarios, 100 names. By hand: adversary cuts on PIQP, written for this one mandate. Gaps are
to its objective.
""",
    "CVaR": """
### Tails of many draws

Mean and CVaR at 95 % of names × draws, caps, costs. By hand: row generation on one kept HiGHS model, which proves
nothing. Our gap is the certificate's. Peers' gaps are to the answer by hand, by one formula; their caps are of the
account before costs.
""",
    "tree": """
### Trees of reviews

Reviews × names: log utility, relative entropy at every node, costs and caps at every decision. Over Clarabel's own time
on the compiled program; the first of a shape is compiled too.
""",
    "tables": """
### Tables

`from_frames`, of names × scenarios × rows of prices.
""",
    "shell": """
### From the shell

Processor time of a whole command, user's and system's, the interpreter's start and imports included.
""",
}


# A table of a task.
#
def tables_of(task: str, rows: Sequence[Row]) -> list[str]:
    """Its text and its lines, a row for each size and contender."""
    timed = any(row["first"] is not None for row in rows)
    judged = any(row["gap_bps"] is not None for row in rows)
    head = ["size", "who", *(("first of a shape", "×", "repeated") if timed else ("processor time",)), "×", "wall"]
    head += ["gap, bps", "limit missed by"] if judged else []
    lines, before = [], None
    for row in rows:
        cells = ["" if row["size"] == before else row["size"]]
        before = row["size"]
        cells.append(f"**{row['who']}**" if row["kind"] == "ours" else row["who"])
        cells += [_time(row["first"]), _over(row["first_over"])] if timed else []
        cells += [_time(row["again"]), _over(row["again_over"]), _time(row["again_wall"] or row["first_wall"])]
        cells += [_small(row["gap_bps"]), _small(row["missed"])] if judged else []
        share = f"{row['share']:.0%} " if "share" in row else ""
        lines.append(_line([*cells, str(row["asked"] or ""), f"{share}{row['note']}".strip()]))
    return [*TEXTS[task].strip().splitlines(), "", *_head(*head, "asked", "note"), *lines, ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*columns: str) -> tuple[str, str]:
    return _line(columns), _line(["---"] * len(columns))


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def _over(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _small(number: float | None) -> str:
    if number is None:
        return ""
    return "0" if abs(number) < 1e-12 else f"{number:.1g}"


# What was wanted.
#
class Run:
    """The rows of a run, by task, size and who."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def figure(self, task: str, size: str, who: str, key: str) -> float | None:
        """One figure, None where there is none."""
        found = [row.get(key) for row in self.rows if (row["task"], row["size"], row["who"]) == (task, size, who)]
        return found[0] if found else None

    def time(self, task: str, size: str, who: str) -> float | None:
        """Milliseconds of a repeated call, of the only one where there was one."""
        return self.figure(task, size, who, "again") or self.figure(task, size, who, "first")

    def best_peer(self, size: str, kind: str) -> float | None:
        """The least time of a peer of that kind for plain mean-variance."""
        rows = [row for row in self.rows if (row["task"], row["size"], row["kind"]) == ("mean-variance", size, kind)]
        times = [row["again"] or row["first"] for row in rows if row["first"]]
        return min(times) if times else None


Figure = Callable[[Run], float | None]


@dataclass(frozen=True)
class Target:
    """A figure of the run beside what is wanted of it: at most so much, or at `least`; NAN where nothing is."""

    words: str
    figure: Figure
    wanted: float
    unit: str = "×"
    least: bool = False

    def verdict(self, run: Run) -> str:
        """Whether it is as wanted; "" where it was not measured, or nothing is wanted of it."""
        found = self.figure(run)
        if found is None or math.isnan(self.wanted):
            return ""
        return MET if (found >= self.wanted if self.least else found <= self.wanted) else MISSED

    def line(self, run: Run) -> str:
        """Its row of the table."""
        found, sign = self.figure(run), "≥" if self.least else "≤"
        told = "not measured in this run" if found is None else f"{found:.3g} {self.unit}"
        wanted = "" if math.isnan(self.wanted) else f"{sign} {self.wanted:g} {self.unit}"
        return _line([self.words, told, wanted, self.verdict(run)])


def _ratio(one: Figure, other: Figure) -> Figure:
    def ratio(run: Run) -> float | None:
        a, b = one(run), other(run)
        return None if a is None or b is None else a / b

    return ratio


def _of(task: str, size: str, who: str, key: str, unit: float = 1.0) -> Figure:
    return lambda run: None if (found := run.figure(task, size, who, key)) is None else found * unit


def _time_of(task: str, size: str, who: str) -> Figure:
    return lambda run: run.time(task, size, who)


def _peer(size: str, kind: str) -> Figure:
    return lambda run: run.best_peer(size, kind)


_ALONE, _ROBUST, _LOTS = "rebalance, lots=False", "rebalance, robust, with lots", "lots on top of targets"
_PROVED, _SOLVER, _PROOF = "solve_policy, with proof", "ParametricSolver", "proof, share of solve and proof"
_INNER, _TABLES = "solve and proof", "from_frames"
_MEAN = "mean-variance"


def _whole(size: str) -> Figure:
    return _time_of(_MEAN, size, _ROBUST)


TARGETS = (
    *(Target(f"`rebalance(book, lots=False)` over PIQP, N = {n}", _of("public", n, _ALONE, "again_over"), most)
      for n, most in (("15", 25), ("100", 12), ("500", 8), ("2000", 8))),
    *(Target(f"the same, first of a shape, N = {n}", _of("public", n, _ALONE, "first_over"), most)
      for n, most in (("15", 40), ("100", 20), ("500", 12), ("2000", 10))),
    *(Target(f"lots on top of targets, over HiGHS, N = {n}", _of("lots", n, _LOTS, "again_over"), 1.3)
      for n in ("15", "50", "100")),
    *(Target(f"the robust call with lots over the best peer, N = {n}", _ratio(_whole(n), _peer(n, "peer")), most)
      for n, most in (("15", 3), ("100", 3), ("500", 2), ("2000", 1.5))),
    *(Target(f"the same over the best peer that is told to take PIQP, N = {n}",
             _ratio(_whole(n), _peer(n, "peer told PIQP")), NAN) for n in ("15", "100", "500", "2000")),
    *(Target(f"skfolio over that call of ours, N = {n}", _ratio(_time_of(_MEAN, n, "skfolio"), _whole(n)), 1,
             least=True) for n in ("500", "2000")),
    *(Target(f"targets re-solved, over PIQP updated, N = {n}", _of("re-solve", n, _SOLVER, "again_over"), most)
      for n, most in (("100", 2), ("500", 1.3), ("2000", 1.2))),
    *(Target(f"cvxportfolio over targets re-solved, N = {n}",
             _ratio(_time_of(_MEAN, n, "cvxportfolio"), _time_of("re-solve", n, _SOLVER)), least, least=True)
      for n, least in (("500", 9), ("2000", 16))),
    Target("KL of 1000 scenarios, solve and proof over cuts by hand", _of("KL", "1000", _INNER, "again_over"), 1.5),
    Target("KL of 1000 scenarios, the public call over cuts by hand", _of("KL", "1000", _ALONE, "again_over"), 1.5),
    *(Target(f"CVaR {size}, over rows by hand", _of("CVaR", size, _PROVED, "again_over"), 1.3)
      for size in ("100x5000", "500x5000", "392x10000", "392x20000")),
    *(Target(f"tree {size}, first of a shape, over Clarabel", _of("tree", size, _PROVED, "first_over"), most)
      for size, most in (("4x100", 1.5), ("12x100", 1.2), ("4x300", 1.2))),
    *(Target(f"tree {size}, re-solved, over Clarabel", _of("tree", size, _PROVED, "again_over"), 1.05)
      for size in ("4x100", "12x100", "4x300")),
    *(Target(f"`allocator {asked}`", _of("shell", asked, "allocator", "again", 1e-3), most, "s")
      for asked, most in (("check data/listed", 1.1), ("rebalance data/listed", 2.0), ("stress data/listed", 3.0),
                          ("waiting data/reviewed", 3.5))),
    *(Target(f"the proof's share of solve and proof, N = {n}", _of("public", n, _PROOF, "share", 100), 12, "%")
      for n in ("100", "500", "2000")),
    Target("`from_frames`, 2000 names, 1000 rows", _of("tables", "2000x4x1000", _TABLES, "again", 1e-3), 0.3, "s"),
    Target("`from_frames`, 10 names, 10 000 scenarios", _of("tables", "10x10000x260", _TABLES, "again", 1e-3), 1, "s"),
)  # fmt: skip
GROWTH = (
    ("names", "public", "100", "2000", 20.0, ("PIQP, bare", _INNER, _ALONE, "rebalance, with lots", _TABLES)),
    ("names", _MEAN, "100", "2000", 20.0, ("Clarabel, bare", "HiGHS, bare", "OSQP, bare, 1e-6", "skfolio",
                                           "PyPortfolioOpt", "cvxportfolio", "cvxportfolio, told PIQP")),
    ("names", _MEAN, "100", "500", 5.0, ("Riskfolio-Lib",)),
    ("names", "re-solve", "100", "2000", 20.0, ("PIQP, bare, updated", _SOLVER)),
    ("scenarios", "KL", "60", "1000", 1000 / 60, ("cuts on PIQP, by hand", _INNER, _ALONE)),
    ("draws", "CVaR", "100x1000", "100x5000", 5.0, ("rows on HiGHS, by hand", _PROVED, "skfolio", "PyPortfolioOpt",
                                                    "Riskfolio-Lib")),
    ("names", "tree", "4x100", "4x300", 3.0, ("Clarabel, bare", _PROVED)),
    ("reviews", "tree", "4x100", "12x100", 3.0, ("Clarabel, bare", _PROVED)),
)  # fmt: skip
"""In what; of which task, between which sizes, that are so many times apart; whose."""


def _growth(run: Run) -> Iterator[str]:
    for words, task, small, large, times, every in GROWTH:
        for who in every:
            less, more = run.time(task, small, who), run.time(task, large, who)
            if less and more:
                yield _line(
                    [task, f"{words}, {small} to {large}", who, f"{math.log(more / less) / math.log(times):.2f}"]
                )


# The page.
#
def page(results: Mapping[str, Any]) -> str:
    """All of it."""
    at, run = results["machine"], Run(results["rows"])
    verdicts = [target.verdict(run) for target in TARGETS]
    versions = ", ".join(f"{name} {version}" for name, version in at["versions"].items())
    again = f"\nMeasured again since: {', '.join(at['again'])}." if at.get("again") else ""
    opening = f"""
# How fast it is

Our calls beside the bare solvers and the other optimizers, on the same data in the same run. `make bench` measures all
of this again, in an environment of its own where the peers are installed (they are no dependency), and writes this
page. `benchmarks/results.json` has its numbers, `benchmarks/tasks.py` says what each task is.

Measured on {at["date"]}: {at["cpu"]}, {at["cores"]} cores, {at["system"]}, Python {at["python"]};
{versions}.
The run took {at["seconds"]} s; the machine's load was {at["load_before"]} before and {at["load_after"]} after.{again}

Times are processor time of one thread, medians; every timed call gets a book with other returns, holdings and prices.
*First of a shape* is a program whose like was not seen before in the process, *repeated* one that was. × is over the
first row of the same size: the median of the ratios of each question. *Wall* is of the repeated call, and more than its
processor time where others use the machine. Who took more than five seconds was asked once. Read the ratios: machines
differ.

## What is wanted

{verdicts.count(MET)} of {len(verdicts) - verdicts.count("")} figures are as wanted.
"""
    lines = [*opening.strip().splitlines(), "", *_head("what", "measured", "wanted", "")]
    lines += [*(target.line(run) for target in TARGETS), "", "## Task by task", ""]
    for task in TEXTS:
        rows = [row for row in results["rows"] if row["task"] == task]
        lines += tables_of(task, rows) if rows else []
    closing = """
cuOpt on an H200 is published at about .6 s and 2 s for 392 × 10 000 and 392 × 20 000 draws; it was not run here. Peers
at 500 × 5000, and Riskfolio-Lib at N = 2000, are asked by `make bench BENCH=--large` alone: minutes.

## How times grow

The exponent p of time ~ sizeᵖ between two sizes, of repeated calls.
"""
    lines += [*closing.strip().splitlines(), "", *_head("task", "in", "who", "exponent"), *_growth(run), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
