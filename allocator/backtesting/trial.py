"""The trial: what policies make of one account in the same simulated worlds, and the default caution that follows.

A cell says how wrong its investors are and what is true of the market; every investor of a cell lives through the same
worlds with every policy. An investor's results are a file of their own, written aside and renamed: what is interrupted
goes on where it stopped. `docs/trial.md` says what is measured, and had the rule before the first run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np

from allocator.ambiguity.sets import ABOUT
from allocator.backtesting.cells import Cell, Design, full_cells
from allocator.backtesting.inference import (
    FEWEST,
    Outcomes,
    certainty_equivalents,
    default_caution,
    high_percentile,
    holm_adjusted,
    investor_weights,
    low_percentile,
    passes_rule,
    two_sided_p,
    worst_deciles,
)
from allocator.backtesting.lives import InvestorLife, InvestorResult
from allocator.backtesting.policies import GRID, compared_policies, tree_name
from allocator.backtesting.worlds import ERRORS, WorldSource, random_stream, refuse_untried
from allocator.book.book import Book, refuse_no_book
from allocator.errors import BadInput
from allocator.multistage.mandate import OBJECTIVES
from allocator.multistage.objectives import Objective
from allocator.outlook.outlook import build_outlook
from allocator.outlook.scenario_tree import build_review_tree
from allocator.plan.follow import input_fingerprints
from allocator.presentation import Count, Keywords, NotNegative, OutlookHeading, Probability, Row
from allocator.stress_testing.reoptimization import Work, parallel_map
from allocator.tables.files import replace_file
from allocator.types import Matrix

# Many investors, in any number of processes; each one's results in a file, so that a second run does what is missing.
#
_INPUTS = "inputs.json"
_OF_BOUNDS = 1_000_000
"""Where the draws of the bounds are, beyond any investor's number."""


def _work(book: Book, design: Design, folder: Path | None) -> Work[tuple[int, int], InvestorResult]:
    """Lives of (cell, investor), whose outlooks and programs this process keeps."""
    sources: dict[int, WorldSource] = {}

    def one(at: int, investor: int) -> InvestorResult:
        cell = design.cells[at]
        if at not in sources:
            sources.clear()  # cells come one after the other
            sources[at] = WorldSource(cell.truth(book), design.seed, cell.kind)
        result = InvestorLife(design, at, sources[at]).run(investor)
        if folder is not None:
            content = json.dumps(asdict(result), separators=(",", ":")) + "\n"
            replace_file(_place(folder, at, investor), content.encode())
        return result

    return lambda items: [one(*item) for item in items]


def _place(folder: Path, at: int, investor: int) -> Path:
    return folder / f"cell-{at:02d}-investor-{investor:04d}.json"


def _begin(folder: Path, book: Book, design: Design) -> None:
    """Make the folder of the results, or hold one that is there to the same inputs.

    Raises:
        BadInput: results of other inputs lie there, or nothing can be written.
    """
    held = np.append(book.quantities * book.prices, book.cash)
    stated = {
        "version": version("portfolio-allocator"),  # another one's numbers may be others
        **{key: json.loads(json.dumps(value)) for key, value in design.document().items()},
        **{f"[{name}]": digest for name, digest in input_fingerprints(book).items()},
        "account": book.account,
        "as_of": book.settings.book.as_of.isoformat(),
        "holdings": _digest(held.tobytes()),
        "signals": _digest(b"" if book.signals is None else book.signals.to_csv().encode()),
    }
    place = folder / _INPUTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = json.loads(place.read_text(encoding="utf-8")) if place.exists() else None
    except (OSError, ValueError) as error:
        rule = f"cannot be used: {error}"
        raise BadInput.of("--out", rule, "name another folder, or remove it", value=str(folder)) from None
    if before is None:
        replace_file(place, (json.dumps(stated, indent=1) + "\n").encode())
    elif before != stated:
        differs = ", ".join(sorted(key for key in {*before, *stated} if before.get(key) != stated.get(key)))
        rule = f"has results of another trial, whose {differs} differ"
        raise BadInput.of("--out", rule, "name another folder, or state what that trial had", value=str(folder))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _finished(folder: Path, at: int, investor: int) -> InvestorResult | None:
    """What was written of an investor.

    Raises:
        BadInput: the file is not as it was written.
    """
    place = _place(folder, at, investor)
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
    make = partial(_work, book, design, place)
    results, interrupted = parallel_map(make, left, jobs=jobs, say=say, what="investors", at_once=1)
    done |= {item: result for item, result in zip(left, results, strict=True) if result is not None}
    return Trial(book, design, tuple(done[item] for item in items if item in done), interrupted)


# What it shows: of each policy in each cell, and of the caution along the grid.
#
class PolicyFigures(TypedDict):
    """One policy in one cell; returns are to the horizon, after costs."""

    policy: str
    certainty_equivalent: Annotated[float, "the riskless return with the mean utility of all final wealths"]
    worst_decile: Annotated[float, "mean return of the tenth of the worlds in which the policy itself does worst"]
    mean_return: float
    regret: Annotated[
        float,
        "by how much final wealth is below that of our best policy of the table; below 0 where a peer's is above",
    ]
    turnover: Annotated[NotNegative, "the larger of purchases and sales, summed over today and the reviews"]
    months_to_adapt: Annotated[
        NotNegative | None, "from the first genuine claim to half of the way; null where there was no such claim"
    ]
    truth_inside: Annotated[Probability | None, "how often the true probabilities lay in the guarded set; null without"]
    above_nominal_bps: Annotated[float, "certainty equivalent above that of the tree that trusts the belief"]
    low_bps: Annotated[float | None, f"its 5th percentile over resampled investors; null of fewer than {FEWEST}"]
    high_bps: Annotated[float | None, "its 95th"]
    worst_decile_above_nominal_bps: float
    worst_decile_low_bps: float | None
    worst_decile_high_bps: float | None
    p: Annotated[
        Probability | None,
        f"of no difference from it, corrected by Holm over all cells; null of itself, and of fewer than {FEWEST}",
    ]


class CellDocument(TypedDict):
    """A cell and its table."""

    cell: Annotated[str, "in words"]
    strength: NotNegative
    announcement_share: Annotated[Probability, "what is true"]
    worlds: Annotated[str, Keywords(enum=["model", "other"]), "whose: our model's, or another's"]
    wrong_about: Annotated[list[Annotated[str, Keywords(enum=[*ERRORS])]], "what errors are of"]
    investors: Count
    refused: Annotated[Count, "investors that were drawn again, as the product refused their book"]
    nothing_traded: Annotated[Count, "decisions at which the rules could not be kept, of all policies and worlds"]
    policies: list[PolicyFigures]


@dataclass(frozen=True)
class CautionBounds:
    """A caution about one axis, and whether the rule lets it be the default."""

    axis: Annotated[str, Keywords(enum=[*ABOUT])]
    caution: Probability
    lost_bps: Annotated[list[float], "of certainty equivalent where beliefs are right, at each true announcement share"]
    lost_at_most_bps: Annotated[list[float], "the upper 95 % bound of each"]
    helped_bps: Annotated[list[float], "of the worst decile where they are wrong"]
    helped_at_least_bps: Annotated[list[float], "the lower 95 % bound of each"]
    passes: bool


class TrialDocument(TypedDict):
    """What each policy makes of simulated worlds in which the truth is known, and the default caution that follows;
    written by `allocator trial --json`."""

    format: Literal["allocator.trial/1"]
    book: OutlookHeading
    seed: Count
    investors: Annotated[Count, "of each cell"]
    worlds: Annotated[Count, "of each investor"]
    complete: Annotated[bool, "whether every investor of every cell is done"]
    interrupted: NotRequired[Annotated[bool, "whether Ctrl-C came; absent where it did not"]]
    cells: list[CellDocument]
    rule: Annotated[list[Annotated[Row, CautionBounds]], "empty before enough is done of the cells that it looks at"]
    default_caution: Annotated[dict[str, Probability], "by axis, as the rule says; empty where it says nothing"]


@dataclass(frozen=True, eq=False)
class CellResult:
    """A cell's table, and by policy what the rule looks at, estimate and bound."""

    cell: Cell
    investors: int
    refused: int
    still: int
    policies: tuple[PolicyFigures, ...]
    lost_bps: Mapping[str, tuple[float, float]]
    helped_bps: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of it, and what follows."""

    book: Book
    design: Design
    results: tuple[InvestorResult, ...]
    interrupted: bool = False

    @cached_property
    def utility(self) -> Objective:
        """Of final wealth, the book's."""
        reviews = build_review_tree(self.book, build_outlook(self.book))
        return OBJECTIVES[self.book.settings.mandate.objective].from_book(self.book, reviews)

    @cached_property
    def cells(self) -> tuple[CellResult, ...]:
        """Of each cell of which some investor is done; p-values are corrected over all of them."""
        every = [one for at in range(len(self.design.cells)) if (one := self._cell(at)) is not None]
        tested = [row for one in every for row in one.policies if row["p"] is not None]
        for row, p in zip(tested, holm_adjusted([float(row["p"] or 0.0) for row in tested]), strict=True):
            row["p"] = p
        return tuple(every)

    def _cell(self, at: int) -> CellResult | None:
        own, cell = [one for one in self.results if one.cell == at], self.design.cells[at]
        if not own:
            return None
        names = [policy.name for policy in self.design.policies(cell)]
        wealth = _stacked(own, "wealth", names)
        weights = investor_weights(len(own), random_stream(self.design.seed, _OF_BOUNDS, at))
        equivalents, deciles = certainty_equivalents(self.utility, wealth, weights), worst_deciles(wealth, weights)
        above, deeper = ((each - each[:, :1]) * 1e4 for each in (equivalents, deciles))
        bounds = [(low_percentile(each), high_percentile(each)) for each in (above, deeper)]
        bounded = len(own) >= FEWEST
        compared = names[: len(self.design.compared())]
        best = wealth[:, :, : len(compared_policies())].max(axis=2)  # whoever else was asked
        turnover, months, inside = (_stacked(own, what, compared) for what in ("turnover", "months", "inside"))
        p = two_sided_p(above)
        policies = tuple(
            PolicyFigures(
                policy=name,
                certainty_equivalent=float(equivalents[0, i]),
                worst_decile=float(deciles[0, i]),
                mean_return=float(wealth[:, :, i].mean() - 1),
                regret=float((best - wealth[:, :, i]).mean()),
                turnover=float(turnover[:, :, i].mean()),
                months_to_adapt=_mean_or_none(months[:, :, i]),
                truth_inside=_mean_or_none(inside[:, :, i]),
                above_nominal_bps=float(above[0, i]),
                low_bps=float(bounds[0][0][i]) if bounded else None,
                high_bps=float(bounds[0][1][i]) if bounded else None,
                worst_decile_above_nominal_bps=float(deeper[0, i]),
                worst_decile_low_bps=float(bounds[1][0][i]) if bounded else None,
                worst_decile_high_bps=float(bounds[1][1][i]) if bounded else None,
                p=float(p[i]) if i and bounded else None,
            )
            for i, name in enumerate(compared)
        )
        return CellResult(
            cell=cell,
            investors=len(own),
            refused=sum(one.refused for one in own),
            still=sum(sum(one.still[name]) for one in own for name in names),
            policies=policies,
            lost_bps={name: (-float(above[0, i]), -float(bounds[0][0][i])) for i, name in enumerate(names)},
            helped_bps={name: (float(deeper[0, i]), float(bounds[1][0][i])) for i, name in enumerate(names)},
        )

    @cached_property
    def rule(self) -> tuple[CautionBounds, ...]:
        """The rule about the default, caution by caution; nothing before enough is done of its cells."""
        right, wrong = (
            [one for one in self.cells if one.cell.decides and one.cell.strength == strength] for strength in (0.0, 1.0)
        )
        wanted = sum(cell.decides for cell in self.design.cells)
        there = right and wrong and len(right) + len(wrong) == wanted
        if not (self.design.grid and there and min(one.investors for one in (*right, *wrong)) >= FEWEST):
            return ()
        return tuple(
            _rule_row(axis, c, [one.lost_bps[name] for one in right], [one.helped_bps[name] for one in wrong])
            for axis, (answer, regime) in zip(ABOUT, ((1.0, 0.0), (0.0, 1.0)), strict=True)
            for c in GRID
            for name in [tree_name((c * answer, c * regime))]
        )

    @property
    def default_caution(self) -> dict[str, float]:
        """What follows from the rule, by axis."""
        by = {axis: [row for row in self.rule if row.axis == axis] for axis in ABOUT if self.rule}
        return {axis: default_caution([(row.caution, row.passes) for row in rows]) for axis, rows in by.items()}

    def document(self) -> TrialDocument:
        """The figures as plain data."""
        document: TrialDocument = {
            "format": "allocator.trial/1",
            "book": self.book.outlook_heading(),
            "seed": self.design.seed,
            "investors": self.design.investors,
            "worlds": self.design.worlds,
            "complete": len(self.results) == len(self.design.cells) * self.design.investors,
            "cells": [
                {
                    "cell": one.cell.name,
                    "strength": one.cell.strength,
                    "announcement_share": one.cell.share,
                    "worlds": one.cell.kind,
                    "wrong_about": list(one.cell.about),
                    "investors": one.investors,
                    "refused": one.refused,
                    "nothing_traded": one.still,
                    "policies": [_rounded(row) for row in one.policies],
                }
                for one in self.cells
            ],
            "rule": [_rounded(asdict(row)) for row in self.rule],
            "default_caution": self.default_caution,
        }
        return {**document, "interrupted": True} if self.interrupted else document


def _rule_row(
    axis: str, caution: float, lost: Sequence[tuple[float, float]], helped: Sequence[tuple[float, float]]
) -> CautionBounds:
    most, least = [bound for _, bound in lost], [bound for _, bound in helped]
    return CautionBounds(
        axis=axis,
        caution=caution,
        lost_bps=[estimate for estimate, _ in lost],
        lost_at_most_bps=most,
        helped_bps=[estimate for estimate, _ in helped],
        helped_at_least_bps=least,
        passes=passes_rule(most, least),
    )


def _rounded(row: Any) -> Any:
    """To the digits that are stable: fractions to 8 decimals, basis points to 3."""

    def number(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [number(key, one) for one in value]
        return round(value, 3 if key.endswith("bps") else 8) + 0.0 if type(value) is float else value

    return {key: number(key, value) for key, value in row.items()}


def _stacked(results: Sequence[InvestorResult], what: str, names: Sequence[str]) -> Outcomes:
    """(I, W, P), NaN where there is no such figure."""
    nothing = [None] * len(results[0].scenarios)
    rows = [[getattr(one, what)[name] or nothing for name in names] for one in results]
    return np.array(rows, dtype=np.float64).transpose(0, 2, 1)


def _mean_or_none(values: Matrix) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else None
