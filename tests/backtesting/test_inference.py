"""What a trial shows: figures by hand on a few worlds, and the rule about the default on made-up numbers."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.backtesting.inference import (
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
from allocator.multistage.objectives import LogUtility, PowerUtility


def test_a_certainty_equivalent_is_the_riskless_return_of_the_same_mean_utility() -> None:
    wealth = np.array([[[1.2, 1.0], [0.9, 1.0]], [[1.1, 1.0], [1.3, 1.0]]])
    once = np.ones((1, 2))

    (log, riskless), *_ = certainty_equivalents(LogUtility(), wealth, once)
    assert log == pytest.approx((1.2 * 0.9 * 1.1 * 1.3) ** 0.25 - 1, abs=1e-14)
    assert riskless == pytest.approx(0.0, abs=1e-14)
    power = certainty_equivalents(PowerUtility(3.0), wealth, once)[0, 0]
    assert power == pytest.approx(np.mean([one**-2.0 for one in (1.2, 0.9, 1.1, 1.3)]) ** -0.5 - 1, abs=1e-14)
    twice = certainty_equivalents(LogUtility(), wealth, np.array([[2.0, 0.0]]))[0, 0]
    assert twice == pytest.approx((1.2 * 0.9) ** 0.5 - 1, abs=1e-14)


def test_a_worst_decile_is_the_mean_of_the_lowest_tenth_and_takes_part_of_the_world_at_its_edge() -> None:
    wealth = (1 + np.arange(30) / 100)[::-1].reshape(5, 6, 1)  # investors of six worlds each
    assert worst_deciles(wealth, np.ones((1, 5)))[0, 0] == pytest.approx((0.00 + 0.01 + 0.02) / 3)
    # the last investor has the six lowest: counted three times, the tenth of 18 worlds is 1.8 of the lowest
    assert worst_deciles(wealth, np.array([[0, 0, 0, 0, 3.0]]))[0, 0] == pytest.approx(0.0)
    half = worst_deciles(wealth, np.array([[0, 0, 0, 0.0, 1.0]]), part=0.25)[0, 0]  # a quarter of six worlds
    assert half == pytest.approx((0.00 * 1 + 0.01 * 0.5) / 1.5)


def test_investors_are_drawn_again_whole_and_the_bounds_are_those_of_a_normal_mean() -> None:
    draw = np.random.default_rng(1)
    weights = investor_weights(400, draw, 4000)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 400).all()

    gains = np.random.default_rng(2).normal(0.0, 1.0, 400)
    means = (weights @ gains / 400)[:, None]
    reach = 1.645 * gains.std() / 20
    assert high_percentile(means)[0] == pytest.approx(gains.mean() + reach, abs=0.012)
    assert low_percentile(means)[0] == pytest.approx(gains.mean() - reach, abs=0.012)


def test_no_difference_has_a_p_value_of_one_and_a_sure_one_the_smallest_that_there_is() -> None:
    resampled = np.vstack([np.array([[0.0, 5.0, -5.0]]), np.tile([0.0, 5.0, -5.0], (999, 1))])

    assert two_sided_p(resampled) == pytest.approx([1.0, 0.002, 0.002])


def test_p_values_of_a_family_are_corrected_as_by_holm_s_own_example() -> None:
    # four tests: the smallest times 4, the next times 3, and none below the one before it
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([0.6, 0.7]) == [1.0, 1.0]
    assert holm_adjusted([]) == []


@pytest.mark.parametrize(
    ("lost", "helped", "passes"),
    [
        ([15.0, 3.0], [0.1, 0.2], True),
        ([15.1, 3.0], [0.1, 0.2], False),  # loses too much at one announcement share
        ([3.0, 15.1], [0.1, 0.2], False),
        ([15.0, 3.0], [0.0, 0.2], False),  # helps no more than nothing
        ([-4.0, -2.0], [9.0, -0.1], False),
    ],
)
def test_a_caution_passes_that_loses_fifteen_bps_at_most_and_helps_at_every_share(
    lost: list[float], helped: list[float], passes: bool
) -> None:
    assert passes_rule(lost, helped) is passes


def test_the_default_is_the_largest_caution_that_passes_and_nothing_where_none_does() -> None:
    grid = [(c / 10, passes) for c, passes in zip(range(1, 11), [1, 1, 0, 1, 0, 0, 0, 0, 0, 0], strict=True)]

    assert default_caution([(c, bool(passes)) for c, passes in grid]) == 0.4  # the largest, also beyond one that fails
    assert default_caution([(c, False) for c, _ in grid]) == 0.0
    assert default_caution([(c, True) for c, _ in grid]) == 1.0
