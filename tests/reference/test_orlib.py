"""OR-Library's portfolio problems (J. E. Beasley) through our own program: all 2000 points of each frontier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from allocator.mandate.mandate import Mandate
from allocator.optimization.solve import Program
from allocator.rules import MinimumExpectedReturn
from allocator.types import Matrix, Vector
from tests.agreement import HOLDINGS, KEPT, SHARP
from tests.problems import Question, no_cash, question
from tests.thoroughness import some

POINTS = 2000


@dataclass(frozen=True, eq=False)
class Problem:
    """Means (N,), covariance (N, N), and the published frontier (2000, 2): return, variance."""

    mean: Vector
    covariance: Matrix
    frontier: Matrix


def problem(folder: Path, number: int) -> Problem:
    """N; N rows of mean and standard deviation; then i j correlation. Split by blanks, never by column."""
    fields = (folder / "orlib" / f"port{number}.txt").read_text().split()
    count = int(fields[0])
    moments = np.array(fields[1 : 1 + 2 * count], dtype=float).reshape(count, 2)
    triples = np.array(fields[1 + 2 * count :], dtype=float).reshape(-1, 3)
    correlation = np.full((count, count), np.nan)
    rows, columns = triples[:, 0].astype(int) - 1, triples[:, 1].astype(int) - 1
    correlation[rows, columns] = correlation[columns, rows] = triples[:, 2]
    assert not np.isnan(correlation).any()
    published = (folder / "orlib" / f"portef{number}.txt").read_text().split()
    frontier = np.array(published, dtype=float).reshape(-1, 2)
    return Problem(moments[:, 0], correlation * np.outer(moments[:, 1], moments[:, 1]), frontier)


def least_variance(given: Problem, limit: float) -> Question:
    """Least variance at an expected return, everything invested, no costs, from cash."""
    return question(
        given.mean[None, :],
        given.covariance,
        return_weight=0.0,
        rules=[no_cash(len(given.mean)), MinimumExpectedReturn(limit)],
    )


def at(asked: Question, limit: float) -> Mandate:
    return replace(asked.mandate, linear_rules=(asked.mandate.linear_rules[0], MinimumExpectedReturn(limit)))


@pytest.fixture(scope="module")
def given(reference: Path) -> dict[int, Problem]:
    return {number: problem(reference, number) for number in (1, 4)}


def test_leading_dots_and_negative_means_are_read_as_written(given: dict[int, Problem]) -> None:
    first, fourth = given[1], given[4]

    assert (len(first.mean), len(fourth.mean)) == (31, 98)
    assert first.mean[0] == 0.001309
    assert first.covariance[0, 1] == pytest.approx(0.562289 * 0.043208 * 0.040258)
    assert (fourth.mean < 0).any()
    for one in (first, fourth):
        assert one.frontier.shape == (POINTS, 2)
        assert (np.diff(one.frontier[:, 0]) < 0).all()


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("number", [1, 4])
def test_points_of_the_published_frontier_are_reproduced(given: dict[int, Problem], number: int, part: int) -> None:
    one = given[number]
    asked = least_variance(one, 0.0)
    program = Program(asked.outlook, asked.mandate)
    compared = 0
    for limit, variance in some(one.frontier[part::4], 4):
        holdings = program.solve(asked.start, asked.outlook, at(asked, float(limit))).holdings

        assert holdings @ one.covariance @ holdings == pytest.approx(variance, rel=1e-6)
        assert one.mean @ holdings >= limit - KEPT
        assert holdings.sum() == pytest.approx(1, abs=KEPT)
        compared += 1
    assert compared == len(some(range(POINTS // 4), 4))


@pytest.mark.parametrize(
    ("number", "limit", "variance"),
    [
        (1, -1.0, 0.0006422572),
        (1, 0.0068266003, 0.0010585969),
        (1, 0.010865, 0.0047755),
        (4, -1.0, 0.0001214131),
        (4, 0.0055678754, 0.0003059553),
    ],
)
def test_the_single_figures_of_the_frontiers_are_reproduced_and_certified(
    given: dict[int, Problem], number: int, limit: float, variance: float
) -> None:
    one = given[number]
    trade, _, certificate = least_variance(one, limit).certified()

    # half a unit of the last digit that is published
    assert trade.values @ one.covariance @ trade.values == pytest.approx(
        variance, rel=1e-6, abs=5e-8 if limit > 0.01 else 6e-11
    )
    assert abs(certificate.gap) <= SHARP


def test_the_largest_return_of_all_is_the_best_names(given: dict[int, Problem]) -> None:
    assert given[1].mean.max() == pytest.approx(0.010865)
    trade, _, _ = least_variance(given[1], 0.010865).certified()

    assert trade.values[int(np.argmax(given[1].mean))] == pytest.approx(1, abs=HOLDINGS)
