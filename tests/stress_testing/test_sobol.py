"""Sobol indices where they are known by hand, and where there is nothing to share out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.checks.stress import ParameterKey
from allocator.stress_testing import parameter_stress as importance
from allocator.stress_testing.outcomes import Outcome
from allocator.stress_testing.parameter_draws import ParameterRange
from allocator.stress_testing.parameter_stress import most_important, parameter_importance

DOUBTS = [ParameterRange(ParameterKey("model", name), None, 0.0, 1.0, True) for name in ("a", "b", "c")]
OUTCOMES = (Outcome("plan", "sum"), Outcome("plan", "product"), Outcome("plan", "constant"))


def found(monkeypatch: pytest.MonkeyPatch, spoil: Any = None) -> pd.DataFrame | None:
    """The indices of 3a + b, of (a − ½)(b − ½), and of a constant; c moves nothing."""

    def measured(gauge: Any, points: Any) -> Any:
        del gauge
        a, b = points[:, 0], points[:, 1]
        values = np.array([3 * a + b + 10, (a - 0.5) * (b - 0.5), np.full(len(a), 0.07)])
        return SimpleNamespace(values=values if spoil is None else spoil(values))

    monkeypatch.setattr(importance, "measure_outcomes", measured)
    gauge: Any = SimpleNamespace(keys=tuple(doubt.key for doubt in DOUBTS), outcomes=OUTCOMES)
    return parameter_importance(gauge, DOUBTS, seed=3)


def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Each column by outcome and parameter."""
    own = found(monkeypatch)
    assert own is not None
    return {str(name): own[name].to_numpy().reshape(len(OUTCOMES), len(DOUBTS)) for name in own}


def test_the_indices_of_a_sum_are_the_shares_of_its_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    own = table(monkeypatch)

    assert own["first"][0] == pytest.approx([0.9, 0.1, 0.0], abs=0.01)
    assert own["total"][0] == pytest.approx([0.9, 0.1, 0.0], abs=0.01)


def test_the_indices_of_a_product_are_all_interaction(monkeypatch: pytest.MonkeyPatch) -> None:
    own = table(monkeypatch)

    assert own["first"][1] == pytest.approx([0, 0, 0], abs=0.05)
    assert own["total"][1] == pytest.approx([1, 1, 0], abs=0.05)


def test_a_constant_outcome_has_indices_of_zero_and_is_called_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    own = table(monkeypatch)

    assert own["constant"].tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert (own["total"][2] == 0).all()
    assert (own["first_high"][2] == 0).all()


def test_intervals_hold_their_index_and_are_numbers_even_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    own = table(monkeypatch)

    assert (own["total_low"][:2] <= own["total"][:2]).all()
    assert (own["total"][:2] <= own["total_high"][:2]).all()
    assert own["total_high"][0, 0] > own["total_low"][0, 0]
    assert (own["total_low"][0, 2], own["total_high"][0, 2]) == (0, 0)
    assert np.isfinite([own["first_low"], own["first_high"]]).all()


def test_the_most_important_parameter_stands_first(monkeypatch: pytest.MonkeyPatch) -> None:
    own = found(monkeypatch)

    assert own is not None
    assert list(most_important(own, "plan", "sum")["parameter"]) == ["model.a", "model.b", "model.c"]


def test_a_point_that_makes_no_number_leaves_no_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(values: Any) -> Any:
        values[0, 5] = np.nan
        return values

    assert found(monkeypatch, spoil) is None


def test_a_part_of_a_design_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        found(monkeypatch, lambda values: values[:, :-1])
