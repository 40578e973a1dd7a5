"""The tasks that are measured: each makes its questions, who answers them, and says what an answer is worth."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import by_hand
import highspy
import numpy as np
from by_hand import MeanVariance, Tails
from questions import (
    elsewhere,
    many_scenarios,
    plain_settings,
    settings,
    staged_question,
    tables,
    tail_question,
)
from race import NAN, Contender, clocked, race, row_of

from allocator.book.book import Book, from_frames
from allocator.mandate.builder import build_mandate
from allocator.mandate.mandate import Mandate
from allocator.multistage.policy import Policy
from allocator.multistage.program import tree_program
from allocator.multistage.solve import SMALL_STEPS, solve_policy
from allocator.optimization.quadratic_program import QuadraticProgram
from allocator.optimization.resolve import ParametricSolver
from allocator.optimization.solve import Program
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.plan.certificate import certify_solution
from allocator.plan.document import plan_document
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from allocator.rules.rows import Position

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
SEED = 7


@dataclass(frozen=True, eq=False)
class Question:
    """A book, and what is prepared of it before the clock starts for those who are not handed books."""

    book: Book
    plain: Book | None = None

    def prepare(self, what: str) -> Question:
        """Itself, with that made before the clock starts."""
        getattr(self, what)
        return self

    @cached_property
    def prepared(self) -> tuple[Position, Outlook, Mandate]:
        """Where we stand, what we believe, what we want."""
        outlook = build_outlook(self.book)
        return Position(self.book.weights, self.book.cash / self.book.value), outlook, build_mandate(self.book, outlook)

    @cached_property
    def matrices(self) -> dict[str, Any]:
        """Of the quadratic program."""
        return QuadraticProgram({}).write(*self.prepared).named()

    @cached_property
    def mean_variance(self) -> MeanVariance:
        """The plain question."""
        assert self.plain is not None
        return MeanVariance.of(self.plain)

    @cached_property
    def best(self) -> float:
        """What is least in the plain question; with it program and covariance are made."""
        _ = self.mean_variance.covariance
        return min(
            self.mean_variance.loss(solve(self.mean_variance)) for solve in (by_hand.by_piqp, by_hand.by_clarabel)
        )


def public(book: Book, *, lots: bool) -> Plan:
    """What a user calls, with the document that is written of it."""
    plan = rebalance(book, lots=lots)
    plan_document(plan)
    return plan


def proved(_: Any, plan: Plan) -> tuple[float, float]:
    """What our own certificate says, of the targets and of the lots."""
    return plan.certificate.gap * 1e4 + plan.lots_gap_bps, max(plan.certificate.largest_violation, 0.0)


class Inner:
    """The program of a shape, kept, and the proof; `share` of the proof."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self.solving, self.proving = list[float](), list[float]()

    def __call__(self, question: tuple[Position, Outlook, Mandate]) -> Any:
        start, outlook, mandate = question
        began = time.process_time()
        if self.program is None or not self.program.fits(outlook, mandate):
            self.program = Program(outlook, mandate)
        solution = self.program.solve(start, outlook, mandate)
        solved = time.process_time()
        certificate = certify_solution(start, outlook, mandate, solution)[2]
        self.solving.append(solved - began)
        self.proving.append(time.process_time() - solved)
        return certificate

    @property
    def share(self) -> float:
        """Of the proof in the whole, of the middle call."""
        return float(np.median([p / (s + p) for s, p in zip(self.solving, self.proving, strict=True)]))


def by_certificate(_: Any, certificate: Any) -> tuple[float, float]:
    """What it says."""
    return certificate.gap * 1e4, max(certificate.largest_violation, 0.0)


def set_up_and_solved(question: Question) -> Any:
    """PIQP alone, on prepared matrices."""
    solver = by_hand.fresh_piqp()
    solver.setup(**question.matrices)
    solver.solve()
    return solver


# The public call: targets, targets with lots, and what of it is solver and proof.
#
def public_call(size: str, *, large: bool) -> list[Row]:
    """N names, the standard book."""
    del large
    count = int(size)
    repeats = 7 if count < 2000 else 4
    firsts = [_question(names, own) for own, names in enumerate((count + 2, count + 1, count))]
    again = _questions(count, repeats)
    for question in (*firsts, *again):
        question.prepare("matrices")
    inner = Inner()
    found = race("public", size, [
        Contender("PIQP, bare", "bare", set_up_and_solved),
        Contender("solve and proof", "ours", lambda q: inner(q.prepared), by_certificate),
        Contender("rebalance, lots=False", "ours", lambda q: public(q.book, lots=False), proved),
        Contender("rebalance, with lots", "ours", lambda q: public(q.book, lots=True), proved),
    ], firsts, again, [_question(20, 0)])  # fmt: skip
    stated, rng = settings(count, np.random.default_rng(SEED)), np.random.default_rng(SEED + 1)
    frames = [tables(count, rng) for _ in range(4)]
    made = race("public", size, [
        Contender("from_frames", "ours", lambda frame: from_frames(stated, frame)),
    ], frames[:1], frames[1:])  # fmt: skip
    proof = found[1] | {"who": "proof, share of solve and proof", "share": round(inner.share, 3)}
    return [*found, *made, proof | dict.fromkeys(TIMES)]


TIMES = ("first", "first_wall", "first_over", "again", "again_wall", "again_over", "gap_bps", "missed")


def _question(count: int, own: int) -> Question:
    rng = np.random.default_rng([SEED, count, own])
    return Question(from_frames(settings(count, np.random.default_rng([SEED, count])), tables(count, rng)))


def _questions(count: int, how_many: int) -> list[Question]:
    return [_question(count, 10 + i) for i in range(how_many)]


# Peers: the plain question.
#
def mean_variance(size: str, *, large: bool) -> list[Row]:
    """N names, no set, no limit of turnover; our own call with lots and the standard mandate beside it."""
    from peers import PEERS, load_peers

    count = int(size)
    there = load_peers()
    repeats = 5 if count < 2000 else 3

    def asked(own: int) -> Question:
        stated = plain_settings(count, np.random.default_rng([SEED, count]))
        frames = tables(count, np.random.default_rng([SEED, count, own]))
        book = from_frames(stated, frames)
        question = Question(_question(count, own).book, book)
        return question.prepare("best")

    def judged(question: Question, weights: Any) -> tuple[float, float]:
        if isinstance(weights, Plan):
            target = weights.target
            weights = target.values / target.value
        weights = np.asarray(weights)
        return (question.mean_variance.loss(weights) - question.best) * 1e4, question.mean_variance.missed(weights)

    questions = [asked(i) for i in range(repeats + 1)]
    small = Question(
        _question(20, 0).book,
        from_frames(plain_settings(20, np.random.default_rng(1)), tables(20, np.random.default_rng(1))),
    )
    contenders = [
        Contender("PIQP, bare", "bare", lambda q: by_hand.by_piqp(q.mean_variance), judged),
        Contender("Clarabel, bare", "bare", lambda q: by_hand.by_clarabel(q.mean_variance), judged),
        Contender("HiGHS, bare", "bare", lambda q: by_hand.by_highs(q.mean_variance), judged),
        Contender("OSQP, bare, 1e-6", "bare", lambda q: by_hand.by_osqp(q.mean_variance), judged),
        Contender("rebalance, lots=False", "ours", lambda q: public(q.plain, lots=False), judged),
        Contender("rebalance, with lots", "ours", lambda q: public(q.plain, lots=True)),
        Contender("rebalance, robust, with lots", "ours", lambda q: public(q.book, lots=True)),
    ]  # fmt: skip
    for name, peer in PEERS.items():
        note = f"without {peer.leaves_out}" if peer.leaves_out else ""
        if name in there and (large or ("mean-variance", size, name) not in TOO_LONG):
            ask = there[name].mean_variance
            contenders.append(Contender(name, "peer", partial(asked_plainly, ask), judged, note))
            if peer.takes_piqp:
                call = partial(with_piqp, ask)
                contenders.append(Contender(f"{name}, told PIQP", "peer told PIQP", call, judged, note))
    rows = race("mean-variance", size, contenders, questions[:1], questions[1:], [small])
    return [*rows, *_absent("mean-variance", size, there, large=large)]


def asked_plainly(ask: Callable[..., Any], question: Question) -> Any:
    """A peer, as it comes."""
    return ask(question.mean_variance)


def asked_of_tails(ask: Callable[..., Any], question: Any) -> Any:
    """A peer, of mean and CVaR."""
    return ask(Tails.of(*question))


def with_piqp(ask: Callable[..., Any], question: Question) -> Any:
    """A peer that is told which solver to use, as who knows of it would."""
    return ask(question.mean_variance, solver="PIQP")


TOO_LONG = {("mean-variance", "2000", "Riskfolio-Lib"): "not asked, about two minutes; with --large"}
"""What a whole default run has no time for."""


def _absent(task: str, size: str, there: Any, *, large: bool) -> Iterator[Row]:
    from peers import PEERS

    for name, peer in PEERS.items():
        words = "could not be installed" if name not in there else TOO_LONG.get((task, size, name), "")
        if task == "CVaR" and peer.tails is None:
            continue
        if name not in there or (words and not large):
            yield {"task": task, "size": size, "who": name, "kind": "peer", **dict.fromkeys(TIMES),
                   "asked": 0, "note": words}  # fmt: skip


# Targets solved again with other returns, probabilities and holdings.
#
def resolved(size: str, *, large: bool) -> list[Row]:
    """N names: PIQP's own update, and ours with every answer proved."""
    del large
    count, at_once = int(size), {"100": 40, "500": 8}.get(size, 2)
    start, outlook, mandate = _question(count, 0).prepared
    rng, writer = np.random.default_rng(SEED), QuadraticProgram({})

    def batch() -> list[tuple[tuple[Position, Outlook, Mandate], dict[str, Any]]]:
        found = []
        for _ in range(at_once):
            returns = outlook.returns + rng.normal(0, 0.02, outlook.returns.shape)
            moved = replace(outlook, returns=returns, probabilities=rng.dirichlet(np.full(4, 20.0)))
            held = start.holdings * rng.uniform(0.8, 1.2, count)
            asked = Position(held / (held.sum() + start.cash), start.cash / (held.sum() + start.cash)), moved, mandate
            found.append((asked, writer.write(*asked).named()))
        return found

    kept = by_hand.fresh_piqp(), by_hand.fresh_piqp()
    kept[1].settings.preconditioner_reuse_on_update = True
    first = batch()
    for solver in kept:
        solver.setup(**first[0][1])
    ours = ParametricSolver(start, outlook, mandate)

    def updated(solver: Any, asked: Any) -> None:
        for _, data in asked:
            solver.update(**data)
            solver.solve()

    def answered(asked: Any) -> Any:
        return ours.solve_many([question for question, _ in asked])

    def gaps(_: Any, found: Any) -> tuple[float, float]:
        return max(NAN if one is None else abs(one.gap) * 1e4 for one in found), NAN

    return race("re-solve", size, [
        Contender("PIQP, bare, updated", "bare", partial(updated, kept[0]), per_call=at_once),
        Contender("PIQP, bare, scaling kept", "bare", partial(updated, kept[1]), per_call=at_once),
        Contender("ParametricSolver", "ours", answered, gaps, per_call=at_once),
    ], [first], [batch() for _ in range(9)])  # fmt: skip


# Whole lots.
#
@contextmanager
def captured() -> Iterator[list[Any]]:
    """The solvers of HiGHS that ran programs with whole numbers, each once."""
    found: list[Any] = []
    plain = highspy.Highs.run

    def run(self: Any) -> Any:
        if len(self.getLp().integrality_) and not any(one is self for one in found):
            found.append(self)
        return plain(self)

    setattr(highspy.Highs, "run", run)  # noqa: B010  types know no other run
    try:
        yield found
    finally:
        setattr(highspy.Highs, "run", plain)  # noqa: B010


def solved_anew(kept: Sequence[Any]) -> None:
    """The same programs from nothing, with the same tolerances."""
    for one in kept:
        solver = highspy.Highs()
        for name in ("output_flag", "small_matrix_value", "mip_rel_gap", "mip_abs_gap", "mip_feasibility_tolerance",
                     "primal_feasibility_tolerance", "mip_pscost_minreliable", "mip_max_nodes"):  # fmt: skip
            solver.setOptionValue(name, one.getOptionValue(name)[1])
        solver.passModel(one.getModel())
        solver.run()


def whole_lots(size: str, *, large: bool) -> list[Row]:
    """N names of an account whose lots are coarse: lots on top of targets, over HiGHS on the lot program."""
    del large
    count, books = int(size), 4
    bare = Contender("HiGHS, bare, the lot program", "bare", _timed_apart)
    ours = Contender("lots on top of targets", "ours", _timed_apart, gap=0.0)
    for own in range(books):
        rng = np.random.default_rng([SEED, count, own])
        frames = tables(count, rng, (1e5 if count < 50 else 4e5) * count)
        frames["holdings"]["lot_size"] = [*rng.choice([1.0, 5.0, 20.0], count), 0.01]
        book, plans = from_frames(settings(count, np.random.default_rng([SEED, count])), frames), list[Plan]()
        targets = clocked(partial(rebalance, book, lots=False))
        with captured() as ran:
            whole = clocked(lambda: plans.append(rebalance(book)))  # noqa: B023
        ours.again.append((whole[0] - targets[0], whole[1] - targets[1]))
        bare.again.append(clocked(partial(solved_anew, ran)) if ran else None)
        ours.gap = max(ours.gap, plans[0].lots_gap_bps)
    ours.note = f"{bare.again.count(None)} of {books} books without an integer program"
    return [row_of("lots", size, one, bare) for one in (bare, ours)]


def _timed_apart(_: Any) -> None:
    """Who is not asked by `race`, as what is timed is prepared between."""


# Sets of probabilities over many scenarios.
#
def sets(size: str, *, large: bool) -> list[Row]:
    """N = 100 and K scenarios, relative entropy: cuts by hand, ours inside, and the whole public call."""
    del large
    scenarios = int(size)

    def asked(own: int, names: int = 100, count: int = scenarios) -> Question:
        return Question(from_frames(*many_scenarios(names, count, np.random.default_rng([SEED, count, own]))))

    questions = [asked(i) for i in range(4)]
    for question in questions:
        question.prepare("prepared")
    inner = Inner()

    def worth(question: Question, found: Any) -> tuple[float, float]:
        start, outlook, mandate = question.prepared
        value = by_hand.cuts_by_hand(start, outlook, mandate)[0]
        certificate = found.certificate if isinstance(found, Plan) else found
        return (certificate.objective - value) * 1e4, max(certificate.largest_violation, 0.0)

    return race("KL", size, [
        Contender("cuts on PIQP, by hand", "bare", lambda q: by_hand.cuts_by_hand(*q.prepared)),
        Contender("solve and proof", "ours", lambda q: inner(q.prepared), worth),
        Contender("rebalance, lots=False", "ours", lambda q: public(q.book, lots=False), worth),
    ], questions[:1], questions[1:], [asked(0, 20, 55)])  # fmt: skip


# Mean and CVaR of many draws.
#
def tails(size: str, *, large: bool) -> list[Row]:
    """N names x draws: rows by hand on HiGHS, ours, and the peers where it takes them seconds."""
    from peers import load_peers

    count, draws = map(int, size.split("x"))
    enough = 1 if draws > 5000 else 3  # the largest is asked once, and nothing of it is kept by anybody
    questions = [tail_question(count, draws, np.random.default_rng([SEED, own])) for own in range(enough)]
    best: dict[int, float] = {}

    def by_rows(question: Any) -> Any:
        return by_hand.rows_by_hand(*question)

    def worth(question: Any, weights: Any) -> tuple[float, float]:
        seen = Tails.of(*question)
        if id(question) not in best:
            best[id(question)] = seen.loss(by_hand.rows_by_hand(*question)[3])
        return (seen.loss(np.asarray(weights)) - best[id(question)]) * 1e4, seen.missed(np.asarray(weights))

    def of_policy(_: Any, policy: Policy) -> tuple[float, float]:
        return policy.gap * 1e4, NAN

    contenders = [
        Contender("rows on HiGHS, by hand", "bare", by_rows),
        Contender("solve_policy, with proof", "ours", lambda q: solve_policy(*q), of_policy),
    ]
    with_peers = size in ("100x1000", "100x5000") or (large and size == "500x5000")
    there = load_peers() if with_peers else {}
    for name, peer in there.items():
        if peer.tails is not None:
            note = f"without {peer.leaves_out}" if peer.leaves_out else ""
            ask = peer.tails
            contenders.append(Contender(name, "peer", partial(asked_of_tails, ask), worth, note))
    small = tail_question(20, 100, np.random.default_rng(1))
    rows = race("CVaR", size, contenders, questions[1:2], questions[2:] or questions, [small])
    return [*rows, *(_absent("CVaR", size, there, large=large) if with_peers else ())]


# Trees.
#
def trees(size: str, *, large: bool) -> list[Row]:
    """Reviews x N: a verified policy of a tree still to be compiled, and of one compiled, over Clarabel's own time."""
    del large
    reviews, count = map(int, size.split("x"))
    repeats = 3 if reviews * count <= 400 else 2
    firsts, again = [], []
    for own in range(repeats):
        rng = np.random.default_rng([SEED, own])
        staged, start = staged_question(reviews, count, rng)
        firsts.append((staged, start))
        again.append((staged, elsewhere(count, rng, start)))
    warm_up = staged_question(1, 5, np.random.default_rng(1))
    solve_policy(*warm_up)
    alone(*warm_up)
    bare, ours = (
        Contender("Clarabel, bare", "bare", _timed_apart),
        Contender("solve_policy, with proof", "ours", lambda q: solve_policy(*q)),
    )
    ours.judge = lambda _, policy: (policy.gap * 1e4, NAN)
    for one, other in zip(firsts, again, strict=True):
        for question, times in ((one, "first"), (other, "again")):
            ours.answer(question, getattr(ours, times))
            getattr(bare, times).append(alone(*question))
    return [row_of("tree", size, one, bare) for one in (bare, ours)]


def alone(staged: Any, start: Position) -> tuple[float, float]:
    """Seconds of the bare solver on the prepared matrices, setting them up included."""
    # by the steps that the policy asks for: by its defaults the solver gives up on some of these in no time
    options = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9, "max_iter": 500, **SMALL_STEPS}
    program = tree_program(staged, start)
    data, chain, _ = program.problem.get_problem_data("CLARABEL", canon_backend="COO", solver_opts=options)
    return clocked(lambda: chain.solve_via_data(program.problem, data, False, False, options))


# From the shell, and tables.
#
COMMANDS = (("check", "data/listed", 3), ("rebalance", "data/listed", 3), ("stress", "data/listed", 2),
            ("waiting", "data/reviewed", 1))  # fmt: skip


def shell(size: str, *, large: bool) -> list[Row]:
    """Processor time of a whole command, user's and system's, by the project's own interpreter where it has one."""
    del size, large
    own = ROOT / ".venv" / "bin" / "python"
    python, rows = str(own) if own.exists() else sys.executable, list[Row]()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command, book, runs in COMMANDS:
        one = Contender("allocator", "ours", _timed_apart)
        for _ in range(runs + 1):  # the first reads the disk
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            asked = [python, "cli.py", command, book]
            subprocess.run(asked, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment)
            after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
            one.again.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall))
        del one.again[0]
        rows.append(row_of("shell", f"{command} {book}", one, one))
    return rows


def read_tables(size: str, *, large: bool) -> list[Row]:
    """`from_frames` of tables that are wide or long."""
    del large
    names, scenarios, history = map(int, size.split("x"))

    def made(own: int) -> Any:
        rng = np.random.default_rng([SEED, own])
        if scenarios > 4:
            return many_scenarios(names, scenarios, rng)
        return settings(names, rng), tables(names, rng, rows=history)

    small = many_scenarios(5, 5, np.random.default_rng(0))
    from_frames(*small)
    asked = [made(own) for own in range(3)]
    return race("tables", size, [Contender("from_frames", "ours", lambda q: from_frames(*q))], asked[:1], asked[1:])


@dataclass(frozen=True)
class Task:
    """What is measured in which sizes, each of them in a process of its own."""

    measure: Callable[..., list[Row]]
    sizes: tuple[str, ...]


TASKS = {
    "public": Task(public_call, ("15", "100", "500", "2000")),
    "mean-variance": Task(mean_variance, ("15", "100", "500", "2000")),
    "re-solve": Task(resolved, ("100", "500", "2000")),
    "lots": Task(whole_lots, ("15", "50", "100")),
    "KL": Task(sets, ("60", "200", "1000")),
    "CVaR": Task(tails, ("100x1000", "100x5000", "500x5000", "392x10000", "392x20000")),
    "tree": Task(trees, ("4x20", "4x100", "12x100", "4x300")),
    "tables": Task(read_tables, ("2000x4x1000", "10x10000x260")),
    "shell": Task(shell, ("",)),
}
