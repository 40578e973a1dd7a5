"""What waiting is worth on the worked tree of science §3.7, whose numbers these are, and what cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from allocator.errors import Infeasible, NotSolved
from allocator.multistage import solve as solve_module
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LogUtility
from allocator.multistage.solve import least_trades, path_losses, solve_policy, solve_side_by_side
from allocator.multistage.value_of_waiting import (
    MEASURES,
    ValueOfWaiting,
    value_of_waiting,
    wait_then_trade_policy,
)
from allocator.rules import ExposureLimit, Forbidden, InstrumentCaps, MinimumExpectedReturn, NoTrade
from allocator.rules.rows import Position
from tests.agreement import KEPT, SHARP
from tests.thoroughness import some
from tests.trees import CASH_ONLY, FREE, GPU, NAMES, OPENAI, box, kl, tv, worked


@pytest.fixture(scope="module")
def plain() -> ValueOfWaiting:
    return value_of_waiting(worked(), CASH_ONLY)


def log_of(equivalent: float | None) -> float:
    assert equivalent is not None
    return float(np.log1p(equivalent))


def test_the_worked_tree_s_policies_are_worth_what_science_prints(plain: ValueOfWaiting) -> None:
    assert log_of(plain.equivalents.get("flexible")) == pytest.approx(0.201289, abs=5e-7)
    assert log_of(plain.equivalents.get("static")) == pytest.approx(0.159557, abs=5e-7)
    assert log_of(plain.equivalents.get("averages_once")) == pytest.approx(0.180874, abs=5e-7)
    assert log_of(plain.equivalents.get("averages_kept")) == pytest.approx(0.077637, abs=5e-7)
    assert log_of(plain.equivalents.get("foresight")) == pytest.approx(0.509576, abs=5e-7)
    assert plain.equivalents.get("idle") == pytest.approx(0.1296, abs=5e-5)
    assert plain.missing == {}


def test_the_differences_in_bps_are_science_s(plain: ValueOfWaiting) -> None:
    measures = ("recourse", "idling", "perfect_information", "vss_root", "vss_all")

    assert tuple(map(plain.bps, measures)) == pytest.approx((500, 934, 4416, 247, 1422), abs=0.5)


def test_one_program_a_shape_serves_every_announcement_share(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    build = solve_module.tree_program
    monkeypatch.setattr(
        solve_module, "tree_program", lambda *given, **told: compiled.append(given) or build(*given, **told)
    )
    solve_module._of_thread.__dict__.clear()
    found, made = list[ValueOfWaiting](), list[int]()
    for share in (0.6, 0.4, 0.8):
        found.append(value_of_waiting(worked(share, radius=0.3, set_of=kl), CASH_ONLY))
        made.append(len(compiled))

    assert 8 <= made[0] <= made[-1] <= made[0] + 2  # a name that is not held at a node has no sales there
    solve_module._of_thread.__dict__.clear()
    fresh = value_of_waiting(worked(0.8, radius=0.3, set_of=kl), CASH_ONLY)
    assert fresh.equivalents == found[-1].equivalents != found[0].equivalents


def test_without_ambiguity_caution_costs_nothing_and_saves_nothing(plain: ValueOfWaiting) -> None:
    assert plain.bps("cost_of_robustness") == 0
    assert plain.bps("protection") == 0


def test_a_radius_of_half_the_way_costs_141_bps_and_saves_529(plain: ValueOfWaiting) -> None:
    found = value_of_waiting(worked(radius=0.5), CASH_ONLY)

    assert (found.bps("cost_of_robustness"), found.bps("protection")) == pytest.approx((141, 529), abs=0.5)
    for of_the_beliefs in ("perfect_information", "vss_root"):
        assert found.bps(of_the_beliefs) == pytest.approx(plain.bps(of_the_beliefs), abs=1e-3)


def test_at_no_cost_the_policies_that_science_prints_come_out_and_averages_to_the_horizon_still_lose() -> None:
    """Science's EEV of .246589 there (VSS 0) is that of the mean of the first step alone: see test_worked_tree."""
    found = value_of_waiting(worked(costs=FREE), CASH_ONLY)

    assert log_of(found.equivalents.get("foresight")) == pytest.approx(0.542010, abs=5e-7)
    assert log_of(found.equivalents.get("averages_once")) == pytest.approx(0.239909, abs=5e-7)


@pytest.mark.parametrize(("share", "set_of"), some(product([0.0, 0.6, 1.0], [tv, kl, box]), 4))  # each of both
def test_no_value_is_negative_under_any_set(share: float, set_of: object) -> None:
    found = value_of_waiting(worked(share, radius=0.4, set_of=set_of, grid=(0, 4, 8, 15)), CASH_ONLY)  # type: ignore[arg-type]
    values = [found.bps(measure) for measure in MEASURES]

    assert all(value is not None and value >= -0.01 for value in values), values
    once, to_the_end = found.equivalents["averages_once"], found.equivalents["averages_kept"]
    assert once is not None
    assert to_the_end is not None
    assert once >= to_the_end - 1e-6


def ruled(staged: MultistageMandate, *rules: object, at: Sequence[int]) -> MultistageMandate:
    """More rules at some nodes."""
    mandates = tuple(
        replace(mandate, linear_rules=(*mandate.linear_rules, *rules)) if node in at else mandate  # type: ignore[arg-type]
        for node, mandate in enumerate(staged.mandates)
    )
    return replace(staged, mandates=mandates)


def test_who_may_not_hold_what_he_has_idles_by_selling_that_and_nothing_else() -> None:
    held = np.zeros(7)
    held[OPENAI], held[GPU] = 0.5, 0.2
    start, staged = Position(held, 0.3), ruled(worked(), Forbidden(("OPENAI",), (OPENAI,)), at=[0])
    idle = wait_then_trade_policy(staged, start)

    assert idle.sold[0] == pytest.approx(0.5 * (np.arange(7) == OPENAI), abs=KEPT)
    assert idle.bought[0] == pytest.approx(np.zeros(7), abs=KEPT)
    found = value_of_waiting(staged, start)
    assert found.equivalents["idle"] == pytest.approx(idle.equivalent, abs=1e-9)
    assert all(found.bps(measure) is not None for measure in MEASURES)


def test_who_idles_trades_down_to_a_cap_that_prices_have_broken_at_a_silent_review() -> None:
    """Nothing is asked of him before, and of the silent reviews nothing but the cap."""
    staged, held = worked(), np.zeros(7)
    held[GPU] = 0.55
    quiet = [node for node in range(staged.tree.nodes) if staged.tree.kinds[node] in ("now", "silent")]
    capped = ruled(staged, InstrumentCaps(("GPU",), (GPU,), (0.4,)), at=quiet[1:])
    idle = wait_then_trade_policy(capped, Position(held, 0.45))

    assert np.abs(idle.bought[0] - idle.sold[0]).max() == 0
    weights = idle.holdings[quiet, GPU] / idle.wealth[quiet]
    assert weights[1] == pytest.approx(0.4, abs=KEPT)
    assert weights[1:].max() <= 0.4 + KEPT
    others = [node for node in quiet if node]
    assert np.delete(idle.bought[others], GPU, axis=1).max() == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_least_trades_are_the_least_that_another_solver_finds(seed: int) -> None:
    """Today alone is ruled, at no cost: a linear program of today's trades."""
    rng = np.random.default_rng(seed)
    held = rng.dirichlet(np.ones(8))
    start, staged = Position(held[:7], float(held[7])), worked(costs=FREE, cap=1.0)
    loadings, cap = rng.uniform(0, 1, 7), float(rng.uniform(0.1, 0.2))
    limit = 0.6 * float(loadings @ held[:7])
    rules = (ExposureLimit("load", loadings, limit), InstrumentCaps(NAMES, tuple(range(7)), (cap,) * 7))
    moves = least_trades(ruled(staged, *rules, at=[0]), start)
    found = linprog(
        np.ones(14),
        A_ub=np.vstack([np.r_[loadings, -loadings], np.c_[np.eye(7), -np.eye(7)], np.r_[np.ones(7), -np.ones(7)]]),
        b_ub=np.concatenate([[limit - loadings @ held[:7]], cap - held[:7], [held[7]]]),
        bounds=[(0, None)] * 7 + [(0, most) for most in held[:7]],
    )

    assert np.abs(moves).sum() == pytest.approx(found.fun, abs=1e-6)


def test_a_policy_by_averages_that_later_rules_refuse_is_none_with_the_reason() -> None:
    """OPENAI can be bought today only, and may be no more than 30 % at the next review: averages buy 58 %."""
    staged = worked()
    next_review = [int(node) for node in staged.tree.children(0)[0]]
    locked = (NoTrade(("OPENAI",), (OPENAI,)), InstrumentCaps(("OPENAI",), (OPENAI,), (0.3,)))
    found = value_of_waiting(ruled(staged, *locked, at=next_review), CASH_ONLY)

    assert found.equivalents.get("averages_once") is None
    assert found.bps("vss_root") is None
    assert "no policy keeps every limit" in found.missing["averages_once"]
    assert found.bps("vss_all") == pytest.approx(1422, abs=25), "who never trades again is asked for no rule again"


def test_where_no_policy_keeps_the_rules_there_is_nothing_to_compare() -> None:
    with pytest.raises(Infeasible):
        value_of_waiting(ruled(worked(), MinimumExpectedReturn(9.0), at=[0]), CASH_ONLY)


@pytest.mark.parametrize("charged", [False, True])
def test_paths_solved_side_by_side_lose_what_each_loses_alone(charged: bool) -> None:
    staged = replace(worked(), utility=LogUtility(charged=charged))
    leaves = list(range(staged.tree.leaves))
    alone = [solve_policy(one, CASH_ONLY).objective for one in staged.paths(leaves)]

    assert path_losses(staged, leaves, CASH_ONLY) == pytest.approx(alone, abs=SHARP)


def test_questions_from_starts_of_their_own_are_solved_side_by_side_as_they_are_alone() -> None:
    """The trees below the first reviews under their sets, one from cash and the others from what prices made of it."""
    staged, held = worked(radius=0.5, set_of=kl), np.array([0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0])
    children = staged.tree.children(0)[0].tolist()
    questions = [staged.below(child, 1.0) for child in children]
    leaves = [leaf for child in children for leaf in staged.tree.below(child)[1]]
    starts = [CASH_ONLY, *(Position(held / n, 1 - float(held.sum()) / n) for n in range(1, len(children)))]
    found = solve_side_by_side(staged, questions, leaves, starts)

    assert len(found) == len(children) > 1
    for policy, one, start in zip(found, questions, starts, strict=True):
        assert policy.objective == pytest.approx(solve_policy(one, start).objective, abs=SHARP)
        assert policy.start is start


def test_where_one_program_of_all_fails_each_is_solved_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = worked()
    leaves = list(range(staged.tree.leaves))
    expected = path_losses(staged, leaves, CASH_ONLY)

    def fails(*_: object) -> None:
        raise NotSolved("not together")

    monkeypatch.setattr(solve_module, "_side_by_side", fails)
    assert path_losses(staged, leaves, CASH_ONLY) == pytest.approx(expected, abs=SHARP)


def test_progress_names_the_policies() -> None:
    said: list[str] = []
    value_of_waiting(worked(grid=(0, 6, 15)), CASH_ONLY, progress=said.append)

    assert any("foresight" in one for one in said)
