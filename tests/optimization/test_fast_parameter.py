"""Parameters that check their numbers once take what cvxpy takes, and refuse what it refuses."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from allocator.cvxpy_parameters import FastParameter


@pytest.mark.parametrize(
    ("shape", "value"),
    [((), 0.5), ((), np.float64(0)), ((3,), np.array([0.0, 1.0, 2.0])), ((2, 2), np.eye(2)), ((3,), [1, 2, 3])],
)
def test_lawful_numbers_are_taken_as_they_are(shape: tuple[int, ...], value: Any) -> None:
    ours, theirs = FastParameter(shape, nonneg=True), cp.Parameter(shape, nonneg=True)
    ours.value = theirs.value = value

    assert np.array_equal(ours.value, theirs.value)
    assert np.shape(ours.value) == shape


@pytest.mark.parametrize(
    ("shape", "value"),
    [((), -1.0), ((3,), np.array([1.0, -0.1, 2.0])), ((3,), np.ones(2)), ((2, 2), np.ones(4)), ((), np.ones(1))],
)
def test_what_cvxpy_refuses_is_refused(shape: tuple[int, ...], value: Any) -> None:
    with pytest.raises(ValueError):
        cp.Parameter(shape, nonneg=True).value = value
    with pytest.raises(ValueError):
        FastParameter(shape, nonneg=True).value = value


def test_a_number_is_kept_even_where_the_array_it_came_from_changes() -> None:
    given = np.array([1.0, 2.0])
    parameter = FastParameter(2)
    parameter.value = given
    given[0] = 9.0

    assert parameter.value[0] == 1.0


def test_signs_are_free_where_none_is_asked_for() -> None:
    parameter = FastParameter(2)
    parameter.value = np.array([-1.0, 2.0])

    assert (parameter.value == [-1.0, 2.0]).all()
