"""Where a reading turns: the nearest turn, bracketed on both sides, and exact only where lines or ties say so."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.stress_testing.break_even import Reading, nearest_crossing

POINTS = [step / 40 for step in range(41)]


def cubic(x: float) -> float:
    return (x - 0.131) * (x - 0.572) * (x - 0.913)


@pytest.mark.parametrize(("today", "root"), [(0.2, 0.131), (0.5, 0.572), (0.6, 0.572), (1.0, 0.913), (0.0, 0.131)])
def test_the_turn_nearest_to_today_is_found_on_either_side(today: float, root: float) -> None:
    found = nearest_crossing(cubic, POINTS, today)

    assert found is not None
    assert found.low <= root <= found.high
    assert found.high - found.low <= 1e-4
    assert (cubic(found.low) > 0) != (cubic(found.high) > 0)
    assert not found.exact


def test_what_never_turns_has_no_crossing() -> None:
    assert nearest_crossing(lambda x: 1 + x, POINTS, 0.5) is None


def kinked(x: float) -> float:
    return max(0.7 * (x - 0.41237), 0.0)


def test_a_trade_that_ends_in_a_corner_is_found_exactly_by_the_line_that_leads_there() -> None:
    found = nearest_crossing(kinked, POINTS, 0.5, nothing=1e-5, jumps=lambda *_: [])

    assert found is not None
    assert found.exact
    assert found.at == pytest.approx(0.41237, abs=1e-9)
    assert found.low <= found.at <= found.high


def test_a_corner_that_the_solver_rounds_off_is_still_where_the_line_says() -> None:
    def rounded(x: float) -> float:
        return 1e-5 * float(np.logaddexp(0.0, (x - 0.41237) * 0.7e5))

    found = nearest_crossing(rounded, POINTS, 0.5, nothing=1e-5, jumps=lambda *_: [])

    assert found is not None
    assert found.exact
    assert found.at == pytest.approx(0.41237, abs=1e-6)


def test_a_curve_is_only_bracketed() -> None:
    found = nearest_crossing(lambda x: x**3 - 0.1, POINTS, 0.5, jumps=lambda *_: [])

    assert found is not None
    assert not found.exact
    assert found.low**3 <= 0.1 <= found.high**3


def test_a_jump_is_where_the_guess_puts_it_if_that_lies_in_the_bracket() -> None:
    def jumping(x: float) -> float:
        return 0.2 if x > 0.33335 else 0.0

    inside = nearest_crossing(jumping, POINTS, 0.5, nothing=1e-5, jumps=lambda *_: [0.33335])
    outside = nearest_crossing(jumping, POINTS, 0.5, nothing=1e-5, jumps=lambda *_: [0.4])

    assert inside is not None
    assert outside is not None
    assert (inside.at, inside.exact) == (0.33335, True)
    assert not outside.exact


def test_no_turn_is_named_where_an_answer_failed_inside() -> None:
    def failing(low: float, high: float) -> Reading:
        return lambda x: None if low < x < high else x - 0.5125

    inside = nearest_crossing(failing(0.5001, 0.5249), POINTS, 0.4)
    assert inside is not None  # and not None, which would say that it turns nowhere
    assert inside.at is None
    assert 0.5 <= inside.low < inside.high <= 0.525
    assert nearest_crossing(failing(0.2, 0.3), POINTS, 0.4) is not None


def test_a_line_that_meets_nothing_beyond_certainty_is_no_probability() -> None:
    """A jump at certainty itself: the line through what stands clear of it leads out of [0, 1]."""
    asked = list[float]()

    def jumping(x: float) -> float:
        asked.append(x)
        return -1.0 if x == 0 else 0.2 + 3 * x

    found = nearest_crossing(jumping, POINTS, 0.5, nothing=1e-5, jumps=lambda *_: [])

    assert found is not None
    assert found.low == 0
    assert min(asked) >= 0
    assert max(asked) <= 1
