"""The trial: what each policy makes of the same account in the same simulated worlds, and the default caution that follows.

A cell says how wrong its investors are and what is true of the market; every investor of a cell lives through the same
worlds with every policy. An investor's results are a file of their own, written aside and renamed: what is interrupted
goes on where it stopped. `docs/trial.md` says what is measured, and had the rule before the first run.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import numpy as np

from allocator.backtesting.inference import (
    LOSS_ALLOWED_BPS,
    Outcomes,
    certainty_equivalents,
    default_caution,
    holm_adjusted,
    investor_weights,
    lower_bound,
    two_sided_p,
    upper_bound,
    worst_deciles,
)
from allocator.backtesting.policies import (
    GRID,
    NOMINAL,
    Situation,
    TrialPolicy,
    best_if_known,
    compared_policies,
    grid_policies,
    shape_of,
    traded,
    tree_name,
)
from allocator.backtesting.worlds import (
    ERRORS,
    Kind,
    World,
    WorldSource,
    believed_book,
    book_on,
    random_stream,
    refuse_untried,
)
from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput
from allocator.multistage.mandate import OBJECTIVES
from allocator.multistage.objectives import Objective
from allocator.outlook.question import DAYS_A_MONTH
from allocator.outlook.scenario_tree import build_review_tree
from allocator.outlook.outlook import build_outlook
from allocator.plan.follow import input_fingerprints
from allocator.presentation import Count, IsoDate, Keywords, NotNegative, OutlookHeading, Probability
from allocator.rules.rows import Position
from allocator.stress_testing.reoptimization import Work, parallel_map
from allocator.tables.files import replace_file
from allocator.types import Matrix, Vector

SEED = 26
INVESTORS, WORLDS = 200, 10
REDUCED_INVESTORS, REDUCED_WORLDS = 4, 2
_HALF = 0.5
"""Of the way to what who knows the answer would hold: who has gone so far has adapted."""
_INSIDE = 1e-9
"""How far beyond a set the true probabilities may lie and be called inside."""


@dataclass(frozen=True)
class Cell:
    """How wrong investors are, and `about` what; what share of a re-pricing comes at once in truth; whose worlds."""

    strength: float
    share: float
    kind: Kind = "model"
    about: tuple[str, ...] = tuple(ERRORS)

    @property
    def name(self) -> str:
        """In words."""
        said = f"strength {self.strength:g}, share {self.share:g}"
        if self.kind != "model":
            return f"{said}, not our model"
        return said if self.about == tuple(ERRORS) else f"{said}, {', '.join(self.about)} alone"

    def truth(self, book: Book) -> Book:
        """The book in whose market the cell's share is true."""
        horizon = book.settings.horizon.model_copy(update={"announcement_share": self.share})
        return replace(book, settings=book.settings.model_copy(update={"horizon": horizon}))

    @property
    def decides(self) -> bool:
        """Whether the rule about the default looks at it."""
        return self.kind == "model" and self.strength in (0.0, 1.0) and self.about == tuple(ERRORS)


def full_cells(book: Book) -> tuple[Cell, ...]:
    """Strengths 0, 1 and 2 at the book's own announcement share and at 1; last, worlds that are not our model's."""
    own = float(book.settings.horizon.announcement_share or 0.0)
    shares = tuple(dict.fromkeys((own, 1.0)))
    cells = tuple(Cell(float(strength), share) for share in shares for strength in range(3))
    return (*cells, Cell(1.0, own, "other"))


def reduced_cells(book: Book) -> tuple[Cell, ...]:
    """The same, and of strength 1 one error at a time."""
    own = float(book.settings.horizon.announcement_share or 0.0)
    return (*full_cells(book), *(Cell(1.0, own, about=(name,)) for name in ERRORS))


@dataclass(frozen=True)
class Design:
    """What is run: which cells, how many investors in each and worlds for each of them, from which seed, and whether
    the cells that decide about the default have the policies of its grid.
    """

    cells: tuple[Cell, ...]
    investors: int = INVESTORS
    worlds: int = WORLDS
    seed: int = SEED
    grid: bool = True

    def policies(self, cell: Cell) -> list[TrialPolicy]:
        """Those that live in a cell, the table's first."""
        return [*compared_policies(), *(grid_policies() if self.grid and cell.decides else [])]

    def document(self) -> dict[str, Any]:
        """What results of it can stand beside: how many investors there are does not change one of them."""
        return {"cells": [asdict(cell) for cell in self.cells], "worlds": self.worlds, "seed": self.seed, "grid": self.grid}


# One investor of one cell: what comes of every policy in each of his worlds.
#
@dataclass(frozen=True)
class InvestorResult:
    """By policy and world: final `wealth`, `turnover`, `months` to adapt where there was a genuine claim, reviews at
    which nothing could be traded (`still`), and the part of reviews at which the truth lay `inside` the set; `scenarios`
    that came true, and how many investors before him were `refused`.
    """

    cell: int
    investor: int
    refused: int
    scenarios: tuple[int, ...]
    wealth: dict[str, list[float]]
    turnover: dict[str, list[float]]
    months: dict[str, list[float | None]]
    still: dict[str, list[int]]
    inside: dict[str, list[float] | None]


class InvestorLife:
    """Lives through a cell's worlds with each policy."""

    def __init__(self, design: Design, at: int, source: WorldSource, policies: Sequence[TrialPolicy]) -> None:
        self._design, self._at, self._source, self._policies = design, at, source, policies
        self._cell = design.cells[at]

    def run(self, investor: int) -> InvestorResult:
        """What comes of it."""
        cell, design = self._cell, self._design
        book, refused = believed_book(self._source.truth, cell.strength, design.seed, investor, cell.about)
        worlds = [self._source.world(investor, number) for number in range(design.worlds)]
        days, names, count = worlds[0].days, len(book.instruments), len(self._policies)
        holdings = np.tile(book.weights, (len(worlds), count, 1))
        cash = np.full((len(worlds), count), book.cash / book.value)
        after = np.empty((len(worlds), len(days), count, names + 1))
        known, still = np.full((len(worlds), len(days), names + 1), np.nan), np.zeros((len(worlds), count), dtype=int)
        turnover, inside = np.zeros((len(worlds), count)), np.full((len(worlds), len(days), count), np.nan)
        situations = dict[Any, Situation]()
        for n, day in enumerate(days):
            met = [self._situation(situations, book, day, world) for world in worlds]
            # who shares a shape is asked in turn, so that its program is compiled once
            order = sorted(range(len(worlds)), key=lambda w: (shape_of(met[w]), w))
            today: dict[int, Any] = {}
            for p, policy in enumerate(self._policies):
                for w in order:
                    whole = float(holdings[w, p].sum() + cash[w, p])
                    start = Position(holdings[w, p] / whole, float(cash[w, p]) / whole)
                    if n:
                        trade = traded(policy, met[w], start)
                    else:  # all stand in the same place
                        trade = today[p] if p in today else today.setdefault(p, traded(policy, met[w], start))
                    if trade is None:
                        still[w, p] += 1
                    else:
                        holdings[w, p], cash[w, p] = trade.values * whole, trade.cash * whole
                        turnover[w, p] += max(float(trade.bought.sum()), float(trade.sold.sum()))
                    own = np.append(holdings[w, p], cash[w, p])
                    after[w, n, p] = own / own.sum()
                    if policy.caution is not None:
                        inside[w, n, p] = _is_inside(met[w], policy, worlds[w].truth[n])
                    if p == 0 and (claimed := worlds[w].claimed) is not None and day >= claimed:
                        best = best_if_known(met[w], start, worlds[w].answer)
                        known[w, n] = np.nan if best is None else best
            growth = np.array([world.growth[n] for world in worlds])
            holdings *= growth[:, None, :]
            cash *= np.array([world.cash_growth[n] for world in worlds])[:, None]
        wealth = holdings.sum(axis=2) + cash
        until = book.settings.horizon.until
        assert until is not None  # the trial refuses a book without
        months = [[_adapted(world, until, after[w, :, p], known[w]) for p in range(count)] for w, world in enumerate(worlds)]
        looks = np.nanmean(np.where(np.isnan(inside), 0.0, inside), axis=1)

        def of(values: Any, places: int = 10) -> dict[str, list[Any]]:
            return {
                policy.name: [None if row[p] is None else round(float(row[p]), places) for row in values]
                for p, policy in enumerate(self._policies)
            }

        return InvestorResult(
            cell=self._at,
            investor=investor,
            refused=refused,
            scenarios=tuple(world.scenario for world in worlds),
            wealth=of(wealth),
            turnover=of(turnover, 8),
            months=of(months, 6),
            still={policy.name: still[:, p].tolist() for p, policy in enumerate(self._policies)},
            inside={
                policy.name: None if policy.caution is None else looks[:, p].round(6).tolist()
                for p, policy in enumerate(self._policies)
            },
        )

    @staticmethod
    def _situation(known: dict[Any, Situation], book: Book, day: dt.date, world: World) -> Situation:
        """What the investor sees there: the same in every world in which as much was signalled."""
        seen = tuple(row for row in world.signals if row[0] <= day)
        if (day, seen) not in known:
            known[day, seen] = Situation(book_on(book, day, seen))
        return known[day, seen]


def _is_inside(met: Situation, policy: TrialPolicy, truth: Vector) -> float:
    """1 where the true probabilities lie within what the policy guards against, else 0."""
    assert policy.caution is not None  # asked of those that have one
    believed = met.outlook.probabilities
    if not any(policy.caution):
        return float(np.abs(truth - believed).sum() / 2 <= _INSIDE)
    return float(met.guarded(policy.caution).excess(truth, believed) <= _INSIDE)


def _adapted(world: World, until: dt.date, after: Matrix, known: Matrix) -> float | None:
    """Months from the first genuine claim to the review at which half of the way is gone; to the end where it never is;
    None where there was no such claim.
    """
    if world.claimed is None:
        return None
    ahead = [n for n, day in enumerate(world.days) if day >= world.claimed and not np.isnan(known[n]).any()]

    def apart(n: int, best: Vector) -> float:
        return float(np.abs(after[n] - best).sum()) / 2

    for n in ahead:
        if apart(n, known[n]) <= _HALF * apart(ahead[0] - 1, known[ahead[0]]):
            return (world.days[n] - world.claimed).days / DAYS_A_MONTH
    return (until - world.claimed).days / DAYS_A_MONTH


# Many investors, in any number of processes; each one's results in a file, so that a second run does what is missing.
#
def _work(book: Book, design: Design, folder: Path | None) -> Work[tuple[int, int], InvestorResult]:
    """Lives of (cell, investor), whose outlooks and programs this process keeps."""
    sources: dict[int, WorldSource] = {}

    def one(at: int, investor: int) -> InvestorResult:
        cell = design.cells[at]
        if at not in sources:
            sources.clear()  # cells come one after the other
            sources[at] = WorldSource(cell.truth(book), design.seed, cell.kind)
        result = InvestorLife(design, at, sources[at], design.policies(cell)).run(investor)
        if folder is not None:
            content = json.dumps(asdict(result), separators=(",", ":")) + "\n"
            replace_file(folder / _file_name(at, investor), content.encode())
        return result

    return lambda items: [one(*item) for item in items]


def _file_name(at: int, investor: int) -> str:
    return f"cell-{at:02d}-investor-{investor:04d}.json"


INPUTS = "inputs.json"


def _begin(folder: Path, book: Book, design: Design) -> None:
    """Make the folder of the results, or hold one that is there to the same inputs.

    Raises:
        BadInput: results of other inputs lie there, or nothing can be written.
    """
    stated = {"format": "allocator.trial_inputs/1", **design.document(), "book": input_fingerprints(book)}
    stated["account"], stated["as_of"] = book.account, book.settings.book.as_of.isoformat()
    holdings = np.append(book.quantities * book.prices, book.cash)
    stated["holdings"] = hashlib.sha256(np.ascontiguousarray(holdings).tobytes()).hexdigest()[:16]
    signals = "" if book.signals is None else book.signals.to_csv()
    stated["signals"] = hashlib.sha256(signals.encode()).hexdigest()[:16]
    stated = json.loads(json.dumps(stated))
    place = folder / INPUTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = json.loads(place.read_text(encoding="utf-8")) if place.exists() else None
    except (OSError, ValueError) as error:
        rule = f"cannot be used: {error}"
        raise BadInput.of("--out", rule, "name a folder that can be written, or remove it", value=str(folder)) from None
    if before is None:
        replace_file(place, (json.dumps(stated, indent=1) + "\n").encode())
    elif before != stated:
        differs = ", ".join(sorted(key for key in {*before, *stated} if before.get(key) != stated.get(key)))
        rule = f"has results of another trial: {differs} differ"
        raise BadInput.of("--out", rule, "name another folder, or state what that trial had", value=str(folder))


def _finished(folder: Path, at: int, investor: int) -> InvestorResult | None:
    """What was written of an investor.

    Raises:
        BadInput: the file is not as it was written.
    """
    place = folder / _file_name(at, investor)
    if not place.exists():
        return None
    try:
        stated = json.loads(place.read_text(encoding="utf-8"))
        return InvestorResult(**{**stated, "scenarios": tuple(stated["scenarios"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        rule = f"is not as it was written: {error}"
        raise BadInput.of("--out", rule, "remove it, and it is made again", value=str(place)) from None


def simulate(
    book: Book,
    design: Design | None = None,
    *,
    folder: Path | str | None = None,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Trial:
    """Live through simulated worlds with every policy, as `design` says: by default the full trial, of hours.

    With a `folder` each investor's results are kept in it, and what is there already is not done again.

    Raises:
        BadInput: the trial cannot live through the book, or the folder has results of other inputs.
    """
    refuse_no_book(book)
    refuse_untried(book)
    design, say = design or Design(full_cells(book)), progress or (lambda _: None)
    place = None if folder is None else Path(folder)
    if place is not None:
        _begin(place, book, design)
    items = [(at, investor) for at in range(len(design.cells)) for investor in range(design.investors)]
    done = {} if place is None else {item: found for item in items if (found := _finished(place, *item)) is not None}
    left = [item for item in items if item not in done]
    results, interrupted = parallel_map(
        partial(_work, book, design, place), left, jobs=jobs, say=say, what="investors", at_once=1
    )
    done |= {item: result for item, result in zip(left, results, strict=True) if result is not None}
    return Trial(book, design, [done[item] for item in items if item in done], interrupted)


# What it shows.
#
@dataclass(frozen=True, eq=False)
class PolicyFigures:
    """One policy in one cell; returns to the horizon, and what its certainty equivalent is above the nominal tree's."""

    policy: str
    certainty_equivalent: float
    worst_decile: float
    mean: float
    regret: float
    turnover: float
    months_to_adapt: float | None
    truth_inside: float | None
    above_nominal_bps: float
    low_bps: float
    high_bps: float
    worst_decile_above_nominal_bps: float
    p: float | None


@dataclass(frozen=True, eq=False)
class CellResult:
    """A cell's table, and of the policies along the grid what the rule looks at: by caution, estimate and bound."""

    cell: Cell
    investors: int
    refused: int
    still: int
    figures: tuple[PolicyFigures, ...]
    lost_bps: Mapping[str, tuple[float, float]]
    helped_bps: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class RuleRow:
    """A caution about an axis: the loss and the help at each announcement share, estimate and bound; whether it passes."""

    axis: str
    caution: float
    lost_bps: tuple[tuple[float, float], ...]
    helped_bps: tuple[tuple[float, float], ...]
    passes: bool


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of it, and what follows."""

    book: Book
    design: Design
    results: Sequence[InvestorResult]
    interrupted: bool = False

    @cached_property
    def utility(self) -> Objective:
        """Of final wealth, the book's."""
        reviews = build_review_tree(self.book, build_outlook(self.book))
        return OBJECTIVES[self.book.settings.mandate.objective].from_book(self.book, reviews)

    @cached_property
    def cells(self) -> tuple[CellResult, ...]:
        """Of each cell of which some investor is done; p-values are corrected over all of them."""
        found = [self._cell(at) for at in range(len(self.design.cells))]
        every = [one for one in found if one is not None]
        p = [figures.p for one in every for figures in one.figures if figures.p is not None]
        corrected = iter(holm_adjusted(p))
        return tuple(
            replace(one, figures=tuple(
                figures if figures.p is None else replace(figures, p=next(corrected)) for figures in one.figures
            ))
            for one in every
        )  # fmt: skip

    def _cell(self, at: int) -> CellResult | None:
        own, cell = [one for one in self.results if one.cell == at], self.design.cells[at]
        if not own:
            return None
        names = [policy.name for policy in self.design.policies(cell)]
        compared = [policy.name for policy in compared_policies()]
        wealth = _stacked(own, "wealth", names)
        weights = investor_weights(len(own), random_stream(self.design.seed, 1_000_000, at))
        equivalents, deciles = certainty_equivalents(self.utility, wealth, weights), worst_deciles(wealth, weights)
        above, deeper = ((each - each[:, :1]) * 1e4 for each in (equivalents, deciles))
        best = wealth[:, :, : len(compared)].max(axis=2, keepdims=True)
        p = two_sided_p(above)
        turnover, months, inside = (_stacked(own, what, names) for what in ("turnover", "months", "inside"))
        with np.errstate(invalid="ignore"):
            figures = [
                PolicyFigures(
                    policy=name,
                    certainty_equivalent=float(equivalents[0, i]),
                    worst_decile=float(deciles[0, i]),
                    mean=float(wealth[:, :, i].mean() - 1),
                    regret=float((best[:, :, 0] - wealth[:, :, i]).mean()),
                    turnover=float(turnover[:, :, i].mean()),
                    months_to_adapt=_mean_or_none(months[:, :, i]),
                    truth_inside=_mean_or_none(inside[:, :, i]),
                    above_nominal_bps=float(above[0, i]),
                    low_bps=float(lower_bound(above)[i]),
                    high_bps=float(upper_bound(above)[i]),
                    worst_decile_above_nominal_bps=float(deeper[0, i]),
                    p=float(p[i]) if i else None,
                )
                for i, name in enumerate(compared)
            ]
        lost = {name: (float(-above[0, i]), float(upper_bound(-above)[i])) for i, name in enumerate(names)}
        helped = {name: (float(deeper[0, i]), float(lower_bound(deeper)[i])) for i, name in enumerate(names)}
        still = sum(sum(map(sum, (one.still[name] for name in names))) for one in own)
        refused = sum(one.refused for one in own)
        return CellResult(cell, len(own), refused, still, tuple(figures), lost, helped)

    @cached_property
    def rule(self) -> tuple[RuleRow, ...]:
        """The rule about the default, caution by caution; nothing before the cells that it looks at are all there."""
        right = [one for one in self.cells if one.cell.decides and one.cell.strength == 0]
        wrong = [one for one in self.cells if one.cell.decides and one.cell.strength == 1]
        if not self.design.grid or not right or len(right) != len(wrong):
            return ()
        rows = list[RuleRow]()
        for axis, caution in (("answer", lambda c: (c, 0.0)), ("regime", lambda c: (0.0, c))):
            for c in GRID:
                name = tree_name(caution(c))
                lost = tuple(one.lost_bps[name] for one in right)
                helped = tuple(one.helped_bps[name] for one in wrong)
                bounds = np.array([bound for _, bound in lost]), np.array([bound for _, bound in helped])
                passes = default_caution([c], bounds[0][:, None], bounds[1][:, None]) == c
                rows.append(RuleRow(axis, c, lost, helped, passes))
        return tuple(rows)

    @property
    def defaults(self) -> dict[str, float]:
        """The default caution that follows, by axis."""
        axes = dict.fromkeys(row.axis for row in self.rule)
        return {axis: max((row.caution for row in self.rule if row.axis == axis and row.passes), default=0.0) for axis in axes}

    @property
    def complete(self) -> bool:
        """Whether every investor of every cell is done."""
        return len(self.results) == len(self.design.cells) * self.design.investors


def _stacked(results: Sequence[InvestorResult], what: str, names: Sequence[str]) -> Outcomes:
    """(I, W, P), NaN where there is no such figure."""
    worlds = len(results[0].scenarios)
    rows = [[getattr(one, what)[name] or [None] * worlds for name in names] for one in results]
    return np.array(rows, dtype=np.float64).transpose(0, 2, 1)


def _mean_or_none(values: Matrix) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else None
