"""Random trees of three dates: prices, beliefs, sets and today's holdings drawn from a seed."""

from __future__ import annotations

import datetime as dt

import numpy as np

from allocator.ambiguity.balls import Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LinearUtility, LogUtility, PowerUtility
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules import InstrumentCaps
from allocator.rules.rows import Position

NAMES, SCENARIOS = ("A", "B", "C", "D", "E"), ("up", "flat", "down")
SETS = (Singleton(), TotalVariation(0.1), KullbackLeibler(0.05), Box(0.1))
UTILITIES = (LogUtility(), PowerUtility(3.0), LinearUtility())


def random_tree(seed: int, *, impact: bool = False) -> tuple[MultistageMandate, Position]:
    """Root, two or three states at the first review, two each at the second, three scenarios below; caps of 60 %."""
    draw = np.random.default_rng(seed)
    first = int(draw.integers(2, 4))
    parents = np.concatenate([[-1], np.zeros(first), np.repeat(np.arange(1, first + 1), 2)]).astype(np.int64)
    depth = np.concatenate([[0], np.ones(first), np.full(2 * first, 2)]).astype(int)
    nodes, names, last = len(parents), len(NAMES), np.flatnonzero(depth == 2)
    probabilities = np.ones(nodes)
    for node in range(nodes):
        below = np.flatnonzero(parents == node)
        if len(below):
            probabilities[below] = draw.dirichlet(np.full(len(below), 3.0))
    beliefs = draw.dirichlet(np.full(3, 3.0), nodes)
    growth = np.exp(draw.normal(0.03, 0.12, (nodes, names)))
    growth[0] = 1
    tree = ScenarioTree(
        tuple(f"node {node}" for node in range(nodes)),
        ("now", *("silent",) * (nodes - 1)),
        tuple(dt.date(2026, 1 + 3 * int(d), 1) for d in depth),
        parents,
        probabilities,
        beliefs,
        growth,
        np.where(depth > 0, 1.01, 1.0),
        np.repeat(last, 3),
        np.tile(np.arange(3), len(last)),
        beliefs[last].ravel(),
        np.exp(draw.normal(0.03, 0.2, (3 * len(last), names))),
        np.full(3 * len(last), 1.01),
    )
    risk = FactorRisk(draw.normal(0, 0.1, (names, 2)), draw.uniform(0.005, 0.03, names), "")
    outlooks = tuple(
        Outlook(
            SCENARIOS, beliefs[i], draw.normal(0.06, 0.2, (3, names)), np.full(3, 0.02), risk, 0.75 - 0.25 * depth[i]
        )
        for i in range(nodes)
    )
    caps = InstrumentCaps(NAMES, tuple(range(names)), (0.6,) * names)
    rates, curved = draw.uniform(0.0005, 0.005, names), draw.uniform(0.01, 0.05, names)
    mandate = Mandate(1.0, 0.0, Singleton(), (caps,), (), rates, curved if impact else None)
    sets = tuple(SETS[int(draw.integers(len(SETS)))] for _ in range(nodes))
    weights = draw.dirichlet(np.ones(names + 1))
    staged = MultistageMandate(tree, (mandate,) * nodes, outlooks, sets, UTILITIES[seed % len(UTILITIES)])
    return staged, Position(weights[:-1], float(weights[-1]))
