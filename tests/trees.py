"""The worked tree of science §3.7, built from the efficiency model: seven names, four scenarios, four reviews.

Two labs may announce; silence since the start, a claim since the last review and a verdict on it are the states of the
evidence. Names are priced at the market's probabilities of each state, of which part `share` is in the price already
when one can trade.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from allocator.ambiguity.balls import Box, Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LogUtility, Objective
from allocator.outlook.efficiency_model import Loadings, ModelScenarios, Technique, market_quantities, value_multipliers
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules import InstrumentCaps
from allocator.rules.rows import Position
from allocator.types import Matrix, Vector

NAMES = ("META", "EFFLAB", "OPENAI", "SPX_XAI", "GPU", "CLOUD", "APPS")
META, EFFLAB, OPENAI, SPX_XAI, GPU, CLOUD, APPS = range(7)
SCENARIOS = ("generalizable, Jevons", "generalizable, margins", "proprietary, Jevons", "proprietary, margins")
GRID = (0, 3, 6, 9, 12, 15)
COSTS = (0.001, 0.02, 0.03, 0.03, 0.001, 0.002, 0.001)
"""Of every name, each way; that of SPX_XAI shows in the value of foresight alone, which found it."""
FREE = (0.0,) * 7
CASH_ONLY = Position(np.zeros(7), 1.0)
FLAT = FactorRisk(np.zeros((7, 1)), np.zeros(7), "")
"""No risk within a scenario: the worked tree has none."""

_GENUINE, _RATE, _FALSE = 0.85, 0.136, 0.008
"""δ that a lab can, λ a month that it then claims, ν a month that it claims anyhow (science §2.2)."""
_LABS = 2
_CASH_RETURN = 0.04
_OPENED = dt.date(2026, 1, 1)
_MODEL = ModelScenarios(
    replicability=np.array([1.0, 1.0, 0.1, 0.1]),
    pass_through=np.array([0.85, 1.0, 0.35, 0.6]),
    usage_elasticity=np.array([1.9, 0.6, 1.9, 0.6]),
    training_elasticity=np.array([0.8, 0.3, 0.9, 0.7]),
    multiple_compression=np.array([0.05, 0.45, 0.05, 0.25]),
    capacity=np.ones(4),
)
_TRAINING = np.array([-0.10, -0.15, -0.35, -0.05, 0.45, 0.20, 0.0])
_INFERENCE = np.array([0.25, 0.95, 1.25, 0.35, 0.0, 0.0, 0.0])
_CAPACITY = np.array([0.0, 0.0, 0.0, 0.45, 0.45, 0.40, 0.0])
_APPLICATION = np.array([0.15, 0.0, 0.0, 0.0, 0.0, 0.10, 0.9])
LOADINGS = Loadings(
    training=_TRAINING,
    inference=_INFERENCE,
    capacity=_CAPACITY,
    application=_APPLICATION,
    other=1 - (_TRAINING + _INFERENCE + _CAPACITY + _APPLICATION),
    owner=np.array([1.0, 0.6, 0, 0, 0, 0, 0]),
    gross_margin=np.array([0.6, 0.5, 0.5, 0.5, 1, 1, 1]),
    multiple_loading=np.array([0.1, 0.6, 1, 1, 0.5, 0.3, 0.1]),
    committed_capex=np.array([0.06, 0, 0.25, 0.20, 0, 0.15, 0]),
    required_return=np.array([0.09, 0.18, 0.18, 0.15, 0.11, 0.10, 0.10]),
    token_share=np.array([0.2, 0, 0, 0, 0, 0.2, 0.2]),
    passed_on=np.full(7, 0.5),
    application_margin=np.full(7, 0.7),
    application_elasticity=np.array([1.0, 1, 1, 1, 1, 1, 1.5]),  # META and CLOUD: 1.0, which science leaves out
)


@dataclass(frozen=True)
class State:
    """A decision node: its parent and probability, months from now, and P(G) to the investor and to the market."""

    parent: int
    probability: float
    months: float
    kind: str
    believed: float
    priced: float


def tv(radius: float) -> Ambiguity:
    """A radius of the schedule as it is."""
    return TotalVariation(radius)


def kl(radius: float) -> Ambiguity:
    """Pinsker: as far as a total variation of `radius`."""
    return KullbackLeibler(2 * radius**2)


def box(radius: float) -> Ambiguity:
    """Every child's probability within the radius."""
    return Box(radius)


def states(grid: tuple[float, ...], believed: float, priced: float) -> tuple[list[State], list[int]]:
    """Decision nodes, and those that branch straight to the scenarios."""
    found, silent, claims, ends = [State(-1, 1.0, grid[0], "now", believed, priced)], 0, list[int](), list[int]()
    for before, now in pairwise(grid[:-1]):
        of_market = _step(found[silent].priced, before, now)
        claimed, after, still = _step(found[silent].believed, before, now)
        found.append(State(silent, claimed, now, "claimed", after, of_market[1]))
        found.append(State(silent, 1 - claimed, now, "silent", still, of_market[2]))
        claim, parent = len(found) - 2, len(found) - 1
        for one in claims:
            for kind, p, generalizable in (
                ("verified", found[one].believed, 1.0),
                ("refuted", 1 - found[one].believed, 0.0),
            ):
                ends.append(len(found))
                found.append(State(one, p, now, kind, generalizable, generalizable))
        claims, silent = [claim], parent
    return found, [*ends, silent, *claims]


def _step(belief: float, before: float, now: float) -> tuple[float, float, float]:
    """P(a claim between two dates | silence), and P(G) after a claim and after none."""
    silence = np.exp(-_LABS * _FALSE * (now - before))
    genuine = (1 - _GENUINE + _GENUINE * np.exp(-_RATE * np.array([before, now]))) ** _LABS
    if_g, if_p = 1 - genuine[1] / genuine[0] * silence, 1 - silence
    claimed = belief * if_g + (1 - belief) * if_p
    return float(claimed), float(belief * if_g / claimed), float(belief * (1 - if_g) / (1 - claimed))


def joint(generalizable: float, jevons: float) -> Vector:
    """(4,) probabilities of the scenarios, the two axes being independent."""
    result: Vector = np.outer([generalizable, 1 - generalizable], [jevons, 1 - jevons]).ravel()
    return result


def values(years: float) -> Matrix:
    """(4, 7) what each name is worth in each scenario, as a multiple of today."""
    return value_multipliers(market_quantities(_MODEL, Technique(), years), LOADINGS, Technique())


def worked(
    share: float = 0.6,
    *,
    radius: float = 0.0,
    set_of: Callable[[float], Ambiguity] = tv,
    costs: tuple[float, ...] = COSTS,
    utility: Objective | None = None,
    believed: tuple[float, float] = (0.5, 0.6),
    priced: tuple[float, float] = (0.5, 0.55),
    grid: tuple[float, ...] = GRID,
    cap: float = 0.6,
) -> MultistageMandate:
    """The tree with P(G), P(J) `believed` and `priced`; a node's radius is `radius` times the way to certainty."""
    found, ends = states(grid, believed[0], priced[0])
    years, worth = grid[-1] / 12, values(grid[-1] / 12)
    anchor = joint(*priced) @ worth
    grown = (1 + LOADINGS.required_return) ** (np.array([s.months for s in found])[:, None] / 12)
    prices = grown * np.array([joint(s.priced, priced[1]) @ worth / anchor for s in found]) ** share
    cash = (1 + _CASH_RETURN) ** (np.array([s.months for s in found]) / 12)
    finals, final_cash = (1 + LOADINGS.required_return) ** years * worth / anchor, (1 + _CASH_RETURN) ** years
    beliefs = np.array([joint(s.believed, believed[1]) for s in found])
    parents = np.array([s.parent for s in found])
    at = [(node, k) for node in ends for k in range(4) if beliefs[node, k] > 0]
    nodes, scenarios = np.array([node for node, _ in at]), np.array([k for _, k in at])
    first = np.maximum(parents, 0)
    tree = ScenarioTree(
        tuple(f"{s.kind} at {s.months:g} months" for s in found),
        tuple(s.kind for s in found),
        tuple(_OPENED + dt.timedelta(days=round(30.4375 * s.months)) for s in found),
        parents,
        np.array([s.probability for s in found]),
        beliefs,
        prices / prices[first],
        cash / cash[first],
        nodes,
        scenarios,
        beliefs[nodes, scenarios],
        finals[scenarios] / prices[nodes],
        final_cash / cash[nodes],
    )
    outlooks = tuple(
        Outlook(SCENARIOS, b, finals / price - 1, np.full(4, final_cash / own - 1), FLAT, years - s.months / 12)
        for s, b, price, own in zip(found, beliefs, prices, cash, strict=True)
    )
    mandate = Mandate(1.0, 0.0, Singleton(), (InstrumentCaps(NAMES, tuple(range(7)), (cap,) * 7),), (), np.array(costs))
    guarded = (radius * min(s.believed, 1 - s.believed) for s in found)
    sets = tuple(Singleton() if r < 1e-9 else set_of(r) for r in guarded)
    return MultistageMandate(tree, (mandate,) * len(found), outlooks, sets, utility or LogUtility())


def revealed(share: float, costs: tuple[float, ...] = FREE) -> MultistageMandate:
    """The small tree of science's T2 and T3: a moment after today the scenario itself is known, and one can trade."""
    years, belief, worth = GRID[-1] / 12, joint(0.5, 0.6), values(GRID[-1] / 12)
    moved = worth / (joint(0.5, 0.55) @ worth)
    finals = (1 + LOADINGS.required_return) ** years * moved
    cash, each = (1 + _CASH_RETURN) ** years, np.arange(4)
    prices, beliefs = np.vstack([np.ones(7), moved**share]), np.vstack([belief, np.eye(4)])
    tree = ScenarioTree(
        ("now", *SCENARIOS),
        ("now", *("verified",) * 2, *("refuted",) * 2),
        (_OPENED,) * 5,
        np.array([-1, 0, 0, 0, 0]),
        np.concatenate([[1.0], belief]),
        beliefs,
        prices,
        np.ones(5),
        each + 1,
        each,
        np.ones(4),
        finals / prices[1:],
        np.full(4, cash),
    )
    whole = worked(costs=costs)
    outlooks = tuple(
        Outlook(SCENARIOS, b, finals / price - 1, np.full(4, cash - 1), FLAT, years)
        for b, price in zip(beliefs, prices, strict=True)
    )
    return MultistageMandate(tree, whole.mandates[:5], outlooks, (Singleton(),) * 5, LogUtility())


def of_one(outlook: Outlook) -> ScenarioTree:
    """Decide today, see a scenario: a tree of one decision."""
    scenarios, names = outlook.returns.shape
    return ScenarioTree(
        names=("now",),
        kinds=("now",),
        dates=(dt.date(2026, 11, 20),),
        parents=np.array([-1]),
        probabilities=np.ones(1),
        beliefs=outlook.probabilities[None, :],
        growth=np.ones((1, names)),
        cash_growth=np.ones(1),
        leaf_parents=np.zeros(scenarios, dtype=np.int64),
        leaf_scenarios=np.arange(scenarios),
        leaf_probabilities=outlook.probabilities,
        leaf_growth=1 + outlook.returns,
        leaf_cash_growth=1 + outlook.cash_returns,
    )
