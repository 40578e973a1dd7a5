"""How long naming a conflict takes: 15 rules on 100 names that cannot hold together, with every small conflict and fix.

`python benchmarks/conflicts.py [seeds]` prints the median and the slowest, linear alone and with cones and impact.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace

import numpy as np

from allocator.ambiguity.divergences import KullbackLeibler
from allocator.errors import Infeasible
from allocator.mandate.mandate import Mandate
from allocator.optimization.conflicts import explain_conflict
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import (
    ConvexRule,
    ExposureLimit,
    LargestWeights,
    LinearRule,
    MinimumExpectedReturn,
    RatioLimit,
    StressFloor,
    Turnover,
    VolatilityLimit,
    WeightAtLeast,
    WeightAtMost,
    WorstCaseFloor,
)
from allocator.rules.rows import Position

NAMES, SCENARIOS, FACTORS = 100, 4, 5


def question(seed: int, *, convex: bool) -> tuple[Position, Outlook, Mandate]:
    """Random holdings and beliefs under 15 rules, several of which clash."""
    draw = np.random.default_rng(seed)
    outlook = Outlook(
        tuple(f"S{k}" for k in range(SCENARIOS)),
        np.full(SCENARIOS, 1 / SCENARIOS),
        draw.normal(0.08, 0.25, (SCENARIOS, NAMES)),
        np.full(SCENARIOS, 0.03),
        FactorRisk(draw.normal(size=(NAMES, FACTORS)) * 0.15, draw.uniform(0.01, 0.1, NAMES), "random"),
        1.0,
    )
    held = draw.dirichlet(np.full(NAMES + 1, 0.5))
    groups = [(draw.random(NAMES) < 0.4).astype(float) for _ in range(6)]
    cones: tuple[ConvexRule, ...] = (
        VolatilityLimit(0.08),
        LargestWeights(10, 0.25),
        WorstCaseFloor(0.12, KullbackLeibler(0.05)),
    )
    rules: list[LinearRule] = [
        WeightAtLeast("group a", groups[0], 0.6),
        WeightAtMost("group b", groups[0] * groups[1] + groups[2], 0.2),
        WeightAtLeast("group c", groups[3], 0.5),
        WeightAtMost("group d", groups[3] * groups[4], 0.05),
        WeightAtMost("group e", groups[5], 0.3),
        WeightAtLeast("cash", np.zeros(NAMES), 0.1, cash_share=1.0),
        Turnover(0.15),
        MinimumExpectedReturn(0.15),
        StressFloor("crash", -0.3 * draw.uniform(0.5, 1.5, NAMES), 0.15),
        ExposureLimit("beta", draw.uniform(0.5, 1.5, NAMES), 0.5),
        RatioLimit("x {} y", groups[0], groups[3], 0.5),
        WeightAtMost("cash", np.zeros(NAMES), 0.3, cash_share=1.0),
    ]
    if not convex:
        rules += [WeightAtMost(f"group {name}", groups[i], 0.35) for i, name in ((1, "f"), (2, "g"), (4, "h"))]
    mandate = Mandate(
        1.0, 2.0, KullbackLeibler(0.05), tuple(rules), cones if convex else (), draw.uniform(0, 0.002, NAMES)
    )
    if convex:
        mandate = replace(mandate, impact=draw.uniform(0.01, 0.1, NAMES))
    return Position(held[:-1], float(held[-1])), outlook, mandate


def main(seeds: int = 10) -> None:
    """Print what was measured."""
    for convex in (False, True):
        seconds, found, cut = [], [], 0
        for seed in range(seeds):
            asked = question(seed, convex=convex)
            began = time.perf_counter()
            conflict = explain_conflict(*asked)
            seconds.append(time.perf_counter() - began)
            if not isinstance(conflict, Infeasible):
                raise RuntimeError(f"seed {seed} can hold together")
            found.append(len(conflict.conflicts))
            cut += conflict.cut_short
        kind = "12 linear rules, 3 convex ones and impact" if convex else "15 linear rules"
        print(
            f"{kind} at N = {NAMES}: {statistics.median(seconds):.3f} s (slowest {max(seconds):.3f}), "
            f"{statistics.median(found):g} conflicts, {cut} of {seeds} searches cut short"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
