"""The questions that the benchmarks ask: random books and mandates of a stated size, alike on every machine.

The standard book is long-only with a budget, ten group bounds, caps, turnover, total variation over four scenarios and
ten statistical factors of 260 rows of prices.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from allocator.ambiguity.balls import Singleton
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.ambiguity.sets import Ambiguity
from allocator.mandate.mandate import Mandate
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LogUtility
from allocator.multistage.risk_adjustment import MeanCVaR, simulated_values
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree
from allocator.rules import InstrumentCaps
from allocator.rules.rows import Position

JEVONS, SHARE, CLAIM = 0.6, 0.6, 0.15


def tables(count: int, rng: np.random.Generator, value: float = 1e8, rows: int = 260) -> dict[str, pd.DataFrame]:
    """A random book of `count` instruments with a year of prices; about half of them are held."""
    names = [f"I{i:04d}" for i in range(count)]
    factors = rng.normal(0, 0.01, (rows, 10)) @ rng.normal(0, 1, (10, count))
    prices = 100 * np.exp(np.cumsum(factors + rng.normal(0, 0.015, (rows, count)), axis=0))
    history = pd.DataFrame(prices, columns=names)
    history.insert(0, "date", pd.bdate_range(end="2026-11-20", periods=rows))
    held = rng.random(count) < 0.5
    holdings = pd.DataFrame(
        {
            "account": "main",
            "instrument": [*names, "USD"],
            "price": [*prices[-1], 1.0],
            "currency": "USD",
            "quantity": [*np.where(held, np.rint(value / count / prices[-1]), 0), value / 20],
        }
    )
    exposures = pd.DataFrame(
        {
            "instrument": [*names, "USD"],
            "name": [*names, "cash"],
            "issuer": [*names, "USD"],
            "bucket": [*["neutral"] * count, "cash"],
            "spread_bps": 10.0,
            "source": "random",
        }
    )
    scenario_returns = pd.DataFrame(
        {"instrument": [*names, "USD"]}
        | {f"s{k}": [*np.clip(rng.normal(0.08, 0.2, count), -0.9, 3), 0.04] for k in range(4)}
    )
    return {"holdings": holdings, "exposures": exposures, "scenario_returns": scenario_returns, "prices": history}


def settings(count: int, rng: np.random.Generator) -> dict[str, object]:
    """The mandate of the issue's speed target."""
    names = [f"I{i:04d}" for i in range(count)]
    drawn = {f"g{g}": [name for name in names if rng.random() < 0.2] for g in range(10)}
    groups = {name: members for name, members in drawn.items() if members}
    return {
        "book": {"name": "benchmark", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
        "scenarios": {f"s{k}": {"probability": 0.25} for k in range(4)},
        "risk": {
            "source": "prices",
            "window_rows": 250,
            "periods_per_year": 252,
            "after_as_of": "cut",
            "method": "statistical_factors",
            "factors": 10,
        },
        "mandate": {
            "risk_aversion": 2.0,
            "max_weight": max(0.05, 5 / count),
            "max_turnover": 0.3 if count > 50 else 0.6,  # what few names hold may be far from the groups' limits
            "min_cash": 0.01,
            "groups": {name: {"max": 0.3} for name in groups},
        },
        "robust": {"set": "total_variation", "radius": 0.15},
        "costs": {"commission_bps": 1.0},
        "groups": groups,
    }


def plain_settings(count: int, rng: np.random.Generator) -> dict[str, object]:
    """The part of that mandate that other optimizers know: no set of probabilities, no turnover."""
    stated = settings(count, rng)
    mandate = dict(stated["mandate"])  # type: ignore[call-overload]
    del mandate["max_turnover"]
    return stated | {"mandate": mandate, "robust": {"set": "none"}}


def many_scenarios(
    count: int, scenarios: int, rng: np.random.Generator
) -> tuple[dict[str, object], dict[str, pd.DataFrame]]:
    """Settings and tables of the standard book with returns of five common factors in so many scenarios, guarded by
    relative entropy.
    """
    stated, frames = settings(count, rng), tables(count, rng)
    common = rng.normal(0, 1, (scenarios, 5)) @ rng.normal(0, 1, (5, count))
    returns = np.clip(0.08 + 0.08 * common + rng.normal(0, 0.15, (scenarios, count)), -0.9, 3)
    probabilities = rng.dirichlet(np.full(scenarios, 5.0))
    probabilities[-1] = 1 - probabilities[:-1].sum()
    names = [f"s{k:05d}" for k in range(scenarios)]
    table = pd.DataFrame(np.vstack([returns.T, np.full(scenarios, 0.04)]), columns=names)
    table.insert(0, "instrument", frames["holdings"]["instrument"])
    believed = {name: {"probability": float(p)} for name, p in zip(names, probabilities, strict=True)}
    robust = {"set": "kl", "radius": 0.05}
    return stated | {"scenarios": believed, "robust": robust}, frames | {"scenario_returns": table}


def tail_question(count: int, draws: int, rng: np.random.Generator) -> tuple[MultistageMandate, Position]:
    """Mean and CVaR of one scenario, caps, costs; half of the names are held."""
    returns, p = np.clip(rng.normal(0.08, 0.1, (1, count)), -0.5, 1), np.ones(1)
    risk = FactorRisk(0.15 * rng.uniform(0.5, 1.5, (count, 1)), rng.uniform(0.1, 0.4, count) ** 2, "one market")
    outlook, one = Outlook(("0",), p, returns, np.array([0.03]), risk, 1.0), np.zeros(1, dtype=np.int64)
    tree = ScenarioTree(
        ("now",), ("silent",), (dt.date(2026, 1, 1),), one - 1, p, p[None], np.ones((1, count)), p, one, one, p,
        1 + returns, np.array([1.03]),
    )  # fmt: skip
    cap, names = max(0.05, 2 / count), tuple(f"I{i}" for i in range(count))
    mandate = Mandate(
        1.0, 0.0, Singleton(), (InstrumentCaps(names, tuple(range(count)), (cap,) * count),), (), np.full(count, 0.001)
    )
    objective = MeanCVaR(0.95, 0.5, simulated_values(outlook, draws, one), np.array([1.03]))
    held = np.minimum(0.9 * rng.dirichlet(np.ones(count)) * (rng.random(count) < 0.5), cap)
    return MultistageMandate(tree, (mandate,), (outlook,), (Singleton(),), objective), Position(held, 1 - held.sum())


def chain(reviews: int) -> tuple[list[tuple[str, int, float, float]], list[float]]:
    """Kind, parent, probability and P(generalizable) of every decision node, and the years of each."""
    nodes, years = [("silent", -1, 1.0, 0.5)], [0.0]
    silent, open_claim = 0, -1
    for review in range(1, reviews + 1):
        p = nodes[silent][3]
        claimed = min(0.95, p * 1.8)
        quiet = (p - CLAIM * claimed) / (1 - CLAIM)
        level = [("silent", silent, 1 - CLAIM, quiet), ("claimed", silent, CLAIM, claimed)]
        if open_claim >= 0:
            q = nodes[open_claim][3]
            level += [("verified", open_claim, q, 1.0), ("refuted", open_claim, 1 - q, 0.0)]
        silent, open_claim = len(nodes), len(nodes) + 1
        nodes += level
        years += [1.25 * review / (reviews + 1)] * len(level)
    return nodes, years


def staged_question(reviews: int, count: int, rng: np.random.Generator) -> tuple[MultistageMandate, Position]:
    """A random market of `count` names, priced at the market's probabilities of each node."""
    nodes, years = chain(reviews)
    returns = np.clip(rng.normal(0.1, 0.35, (4, count)), -0.9, 2.0)
    beliefs = np.array([[g * JEVONS, g * (1 - JEVONS), (1 - g) * JEVONS, (1 - g) * (1 - JEVONS)] for *_, g in nodes])
    t = np.array(years)
    implied = beliefs @ (1 + returns)
    price = 1.1 ** t[:, None] * (implied / implied[0]) ** SHARE
    cash = 1.04**t
    parents = np.array([parent for _, parent, *_ in nodes])
    above = np.maximum(parents, 0)
    last = np.setdiff1d(np.arange(len(nodes)), parents)
    ends = [(node, k) for node in last for k in range(4) if beliefs[node, k] > 0]
    at, scenario = np.array([node for node, _ in ends]), np.array([k for _, k in ends])
    tree = ScenarioTree(
        names=tuple(f"{kind} {i}" for i, (kind, *_) in enumerate(nodes)),
        kinds=tuple(kind for kind, *_ in nodes),
        dates=(dt.date(2026, 1, 1),) * len(nodes),
        parents=parents,
        probabilities=np.array([p for *_, p, _ in nodes]),
        beliefs=beliefs,
        growth=price / price[above],
        cash_growth=cash / cash[above],
        leaf_parents=at,
        leaf_scenarios=scenario,
        leaf_probabilities=beliefs[at, scenario],
        leaf_growth=(1 + returns)[scenario] / price[at],
        leaf_cash_growth=1.04**1.25 / cash[at],
    )
    caps = InstrumentCaps(tuple(f"I{i}" for i in range(count)), tuple(range(count)), (max(0.1, 2 / count),) * count)
    mandate = Mandate(1.0, 0.0, Singleton(), (caps,), (), np.full(count, 0.001))
    risk = FactorRisk(0.18 * rng.uniform(0.5, 1.5, (count, 1)), rng.uniform(0.2, 0.5, count) ** 2, "one market")
    outlooks = tuple(
        Outlook(("A", "B", "C", "D"), beliefs[i], (1 + returns) / price[i] - 1, np.full(4, 1.04**1.25 / cash[i] - 1),
                risk.over(1.25 - years[i]), 1.25 - years[i])
        for i in range(len(nodes))
    )  # fmt: skip
    radii = [2 * (0.5 * min(g, 1 - g)) ** 2 for *_, g in nodes]
    sets: list[Ambiguity] = [Singleton() if radius < 1e-6 else KullbackLeibler(radius) for radius in radii]
    held = rng.random(count) * (rng.random(count) < 0.5)
    held = 0.9 * np.minimum(held / held.sum(), 0.05)
    start = Position(held, 1 - float(held.sum()))
    return MultistageMandate(tree, (mandate,) * len(nodes), outlooks, tuple(sets), LogUtility()), start


def elsewhere(count: int, rng: np.random.Generator, start: Position) -> Position:
    """The same names, held in other amounts."""
    held = start.holdings * rng.uniform(0.5, 1.5, count)
    held = 0.9 * np.minimum(held / held.sum(), 0.05)
    return Position(held, 1 - float(held.sum()))
