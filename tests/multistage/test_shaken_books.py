"""The reviewed sample with other numbers everywhere, at the most caution: each is planned, or would be told why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.book.loading import load
from allocator.multistage import policy as policies
from allocator.multistage import solve
from allocator.multistage.program import TreeShape, tree_program
from allocator.plan.certificate import GAP_ALLOWED
from allocator.plan.rebalance import rebalance
from tests.random_trees import random_tree
from tests.thoroughness import count

DRIVERS = ["training", "inference", "capacity", "application"]


def shaken(root: Path, folder: Path, seed: int) -> list[str]:
    """Write its exposures to a folder; what else changes, as overrides."""
    z = np.random.default_rng(seed).standard_normal
    shutil.copytree(root / "tests" / "plain_books" / "reviewed", folder, dirs_exist_ok=True)
    settings = load(folder).settings
    assert settings.question is not None
    changes = [
        f"question.labs.{name}.hazard={float(lab.hazard * np.exp(0.4 * z()))!r}"
        for name, lab in settings.question.labs.items()
    ]
    changes += ["question.ranges.hazard=[0.001,5.0]", "question.ranges.prior=[0.001,0.999]"]
    ours = {name: float(one.probability or 0.0) for name, one in settings.scenarios.items()}
    odds = {
        name: p * (np.exp(shift) if settings.scenarios[name].hypothesis == "generalizable" else 1.0)
        for shift in [0.8 * z()]
        for name, p in ours.items()
    }
    changes += [f"scenarios.{name}.probability={float(p / sum(odds.values()))!r}" for name, p in odds.items()]
    table = pd.read_csv(folder / "exposures.csv", dtype=str)
    loadings = table[DRIVERS].astype(float).to_numpy()
    loadings = loadings * np.exp(0.25 * z(loadings.shape))
    for name, column in zip(DRIVERS, loadings.T, strict=True):
        table[name] = [repr(float(each)) for each in column]
    table["other"] = [repr(float(each)) for each in 1 - loadings.sum(axis=1)]
    table.to_csv(folder / "exposures.csv", index=False)
    changes += [
        f"scenarios.{name}.multiple_compression={float((one.multiple_compression or 0.0) * np.exp(0.3 * z()))!r}"
        for name, one in settings.scenarios.items()
    ]
    share = float(np.clip((settings.horizon.announcement_share or 0.0) + 0.15 * z(), 0, 1))
    return [*changes, f"horizon.announcement_share={share!r}"]


@pytest.mark.parametrize("i", range(count(200, 100)))
def test_a_shaken_book_is_planned_at_the_most_caution(root: Path, tmp_path: Path, i: int) -> None:
    changes = shaken(root, tmp_path, 2000 + i)
    for caution in (0.9, 1.0):
        plan = rebalance(load(tmp_path, overrides=[*changes, f"robust.caution={caution}"]))

        assert 0 <= plan.certificate.gap <= 2 * GAP_ALLOWED * max(1.0, abs(plan.certificate.objective))
        assert plan.certificate.largest_violation <= 1e-6


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_limits_that_are_missed_by_last_digits_are_kept_by_a_little_room_and_the_bound_is_of_those_that_are_stated(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, start = random_tree(seed)
    free = solve.solve_policy(staged, start)
    monkeypatch.setattr(policies, "_BROKEN", -5e-7)  # nothing is kept that is not kept with this to spare

    policy = solve.solve_policy(staged, start)

    assert "limits tighter by 1e-06" in policy.solver
    assert any("is missed by" in attempt for attempt in policy.attempts)
    assert max(one.missed for node in range(staged.tree.nodes) for one in policy.readings(node)) <= -5e-7
    assert policy.claimed == pytest.approx(free.claimed, abs=1e-9)
    assert policy.claimed <= policy.objective <= policy.claimed + GAP_ALLOWED
    tighter = tree_program(staged, start, TreeShape(room=1e-6)).problem.solve(solver="CLARABEL")
    assert free.objective < tighter
