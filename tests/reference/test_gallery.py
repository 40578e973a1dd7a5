"""The critical-line gallery's turning points: least variance at each one's return equals its own variance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from allocator.optimization.solve import Limits, Program
from allocator.rules import InstrumentCaps, MinimumExpectedReturn
from allocator.types import Matrix, Vector
from tests.agreement import HOLDINGS, SHARP, objectives_within
from tests.problems import Question, names, no_cash, question

SETS = {"Xu2": (2, 2), "Xu3": (3, 3), "Full5": (5, 6), "DowJones": (28, 13), "FF49Industries": (49, 12)}
"""Names and turning points of each set."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Means (N,), covariance (N, N), upper bounds (N,), and turning points (T, N), highest return first."""

    mean: Vector
    covariance: Matrix
    upper: Vector
    corners: Matrix


def gallery(folder: Path, name: str) -> Gallery:
    """return.csv, risk.csv as a matrix or as i, j, value from 1, problem.csv where there is one, output.csv."""
    home = folder / "cla-gallery" / name
    count, _ = SETS[name]
    mean = np.loadtxt(home / "return.csv", delimiter=",", ndmin=2)[:, 0]
    risk = np.loadtxt(home / "risk.csv", delimiter=",", ndmin=2)
    if risk.shape != (count, count) or name in ("Xu2", "Xu3"):
        listed, risk = risk, np.zeros((count, count))
        rows, columns = listed[:, 0].astype(int) - 1, listed[:, 1].astype(int) - 1
        risk[rows, columns] = risk[columns, rows] = listed[:, 2]
    upper = np.full(count, np.inf)
    if (home / "problem.csv").exists():
        stated = np.loadtxt(home / "problem.csv", delimiter=",", ndmin=2)
        np.testing.assert_allclose(stated[1], mean)
        np.testing.assert_allclose(stated[4:], risk)
        assert (stated[2] == 0).all()
        upper = stated[3]
    return Gallery(mean, risk, upper, np.loadtxt(home / "output.csv", delimiter=",", ndmin=2))


def least_variance(given: Gallery, limit: float) -> Question:
    capped = np.flatnonzero(given.upper < 1)
    rules = [no_cash(len(given.mean)), MinimumExpectedReturn(limit)]
    if len(capped):
        every = names(len(given.mean))
        rules.append(InstrumentCaps(tuple(every[i] for i in capped), tuple(capped), tuple(given.upper[capped])))
    return question(given.mean[None, :], given.covariance, return_weight=0.0, rules=rules)


def worst_error(given: Gallery, limits: Limits | None) -> float:
    """The largest relative difference of the variance over all turning points, by one program."""
    asked = least_variance(given, 0.0)
    program, errors = Program(asked.outlook, asked.mandate), []
    for corner in given.corners:
        first, _, *rest = asked.mandate.linear_rules
        rules = (first, MinimumExpectedReturn(float(given.mean @ corner)), *rest)
        holdings = program.solve(
            asked.start, asked.outlook, replace(asked.mandate, linear_rules=rules), limits
        ).holdings
        published = float(corner @ given.covariance @ corner)
        errors.append(abs(float(holdings @ given.covariance @ holdings) / published - 1))
    return max(errors)


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_read_with_its_names_and_turning_points(reference: Path, name: str) -> None:
    given = gallery(reference, name)

    assert given.corners.shape == SETS[name][::-1]
    assert given.covariance.shape == (SETS[name][0],) * 2
    np.testing.assert_allclose(given.corners.sum(axis=1), 1, atol=1e-9)
    assert (np.diff(given.corners @ given.mean) < 1e-12).all()


@pytest.mark.parametrize("name", SETS)
def test_each_turning_point_is_reproduced_at_default_tolerance(reference: Path, name: str) -> None:
    assert worst_error(gallery(reference, name), None) <= HOLDINGS


@pytest.mark.parametrize("name", SETS)
def test_each_turning_point_is_reproduced_to_more_digits_at_a_tight_tolerance(reference: Path, name: str) -> None:
    tight = Limits(tolerance=1e-10)

    assert worst_error(gallery(reference, name), tight) <= objectives_within(tight)


@pytest.mark.parametrize("name", SETS)
def test_each_turning_point_is_certified(reference: Path, name: str) -> None:
    given = gallery(reference, name)
    for corner in given.corners[1:]:
        _, _, certificate = least_variance(given, float(given.mean @ corner)).certified()

        assert abs(certificate.gap) <= SHARP
