"""The search for few names: against every choice of small questions, SCIP on larger ones, and what bounds prove.

Questions are of a factor model, with costs, caps and what is held; of a tail of draws too. SCIP is in the extra
`integer`, which `make test` does without.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.ambiguity.divergences import KullbackLeibler
from allocator.errors import Infeasible
from allocator.few_names.bounds import Choice, PositionRange, name_bounds
from allocator.few_names.feasibility import names_conflict
from allocator.few_names.relaxations import QuadraticRelaxation, choose_names, with_floors, without_few_names
from allocator.mandate.mandate import Mandate
from allocator.multistage.solve import solve_policy
from allocator.optimization.solve import Limits, Program, trade_of_solution
from allocator.optimization.verification import DualValues
from allocator.outlook.outlook import Outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.rules import InstrumentCaps, NoTrade, WeightAtMost
from allocator.rules.holdings import MinimumPosition, NameCount
from allocator.rules.rows import FewNames, LinearRule, Position
from tests.thoroughness import THOROUGH, some

Question = tuple[Position, Outlook, Mandate]


def question(
    seed: int, names: int, most: int | None, least: float, *, cap: float = 0.6, held: bool = False
) -> Question:
    """Few names of a factor model of three factors, two scenarios and costs; cash at most a tenth."""
    draw = np.random.default_rng(seed)
    loadings = np.column_stack([0.16 * draw.uniform(0.6, 1.5, names), 0.06 * draw.normal(size=(names, 2))])
    risk = FactorRisk(loadings, draw.uniform(0.1, 0.35, names) ** 2, "drawn")
    returns = draw.normal(0.07, 0.03, names) + 0.06 * draw.normal(size=(2, names))
    outlook = Outlook(("up", "down"), np.array([0.6, 0.4]), returns, np.full(2, 0.02), risk, 1.0)
    everyone, labels = tuple(range(names)), tuple(f"N{i}" for i in range(names))
    rules: list[LinearRule] = [
        WeightAtMost("cash", np.zeros(names), 0.1, 1.0),
        InstrumentCaps(labels, everyone, (cap,) * names),
    ]
    if most is not None:
        rules.append(NameCount(float(most), np.full(names, cap)))
    if least:
        rules.append(MinimumPosition(labels, (least,) * names))
    weighs = float(seed % 3 > 0)
    sets = (Singleton(), TotalVariation(0.1), KullbackLeibler(0.05)) if weighs else (Singleton(),)
    mandate = Mandate(weighs, 2.0 if weighs else 1.0, sets[seed % len(sets)], tuple(rules), (), np.full(names, 0.002))
    weights = 0.9 * draw.dirichlet(np.ones(names)) * (draw.random(names) < 0.5) if held else np.zeros(names)
    return Position(weights, 1 - float(weights.sum())), outlook, mandate


def best_of(asked: Question, held: tuple[int, ...]) -> float | None:
    """The objective with these names alone, by the program of every mandate; None where rules conflict."""
    start, outlook, stated = asked
    mandate = stated.choosing(np.isin(np.arange(len(start.holdings)), held))
    try:
        found = Program(outlook, mandate, explains=False).solve(start, outlook, mandate)
    except Infeasible:
        return None
    return mandate.loss(trade_of_solution(start, mandate, found.holdings, 1.0), outlook)


def every_choice(asked: Question, most: int) -> dict[tuple[int, ...], float]:
    """The objective of every choice of names that keeps the rules."""
    names = range(len(asked[0].holdings))
    choices = (held for size in range(most + 1) for held in itertools.combinations(names, size))
    found = {held: best_of(asked, held) for held in choices}
    return {held: loss for held, loss in found.items() if loss is not None}


@pytest.mark.parametrize("seed", some(range(30), 6))
def test_the_search_finds_the_best_of_every_choice_and_bounds_none_away(seed: int) -> None:
    least = (0.0, 0.15, 0.3)[seed % 3]
    most = None if seed % 5 == 4 and least else 2 + seed % 2
    asked = question(seed, 6, most, least, held=seed % 2 == 0)
    counted = every_choice(asked, most or 6)

    found = choose_names(*asked, Limits(), 0.0)

    if found is None:
        assert not counted
        return
    best = min(counted.values())
    assert found.objective == pytest.approx(best, abs=2e-6), "a gap of 1e-6 is none"
    assert found.bound <= best + 1e-8
    assert found.gap <= 1e-6 + 1e-9


@pytest.mark.parametrize("seed", some(range(40), 8))
def test_prices_of_any_kind_bound_every_choice_from_below(seed: int) -> None:
    least = 0.15 * (seed % 2)
    asked = question(3 * seed + 1, 5, 3, least, held=True)
    start, outlook, stated = asked
    mandate, draw = without_few_names(stated), np.random.default_rng(seed)
    positions = PositionRange(np.full(5, least), np.full(5, 0.6), 1 - 0.004)
    mandate = with_floors(mandate, positions)
    prices = np.abs(draw.normal(size=len(mandate.rows.labels))) * 0.02
    duals = DualValues(
        prices,
        float(draw.uniform(0.9, 1.2)),
        mandate.ambiguity.project(draw.dirichlet(np.ones(2)), outlook.probabilities),
    )
    anywhere = trade_of_solution(start, mandate, draw.dirichlet(np.ones(6))[:5], 1.0)

    bounds = name_bounds(start, outlook, mandate, anywhere, duals, positions)

    for held, loss in every_choice(asked, 3).items():
        chosen = np.isin(np.arange(5), held)
        assert bounds.least(Choice(chosen, ~chosen), 3) <= loss + 1e-9
        assert bounds.least(Choice(np.zeros(5, bool), np.zeros(5, bool)), 3) <= loss + 1e-9


def test_prices_of_a_choice_meet_its_own_objective() -> None:
    """Or the search would never end: at names that were solved the bound loses only what costs leave of W."""
    start, outlook, stated = question(1, 8, 3, 0.2, held=True)
    mandate, chosen = without_few_names(stated), np.arange(8) < 3
    positions = PositionRange(np.full(8, 0.2), np.full(8, 0.6), 1 - 0.004)
    node = QuadraticRelaxation(start, outlook, mandate, positions, FewNames(3, 0.2), Limits()).solve(
        Choice(chosen, ~chosen), np.ones(8)
    )

    assert node is not None
    assert node.bounds is not None
    assert node.loss - node.bounds.least(Choice(chosen, ~chosen), 3) <= 2e-5


@pytest.mark.parametrize("seed", [3, 4, 10])
def test_a_book_of_a_hundred_names_is_proved_to_one_percent(seed: int) -> None:
    asked = question(seed, 100, 10, 0.0, cap=1.0)

    found = choose_names(*asked, Limits(), 0.01)

    assert found is not None
    assert found.held.sum() <= 10
    assert found.gap <= 0.01 * abs(found.objective)
    alone = best_of(asked, tuple(np.flatnonzero(found.held).tolist()))
    assert alone == pytest.approx(found.objective, abs=1e-6)


def by_scip(asked: Question, most: int, least: float, cap: float) -> float:
    """The same minimum variance by SCIP, written by hand: z_i is 1 where a name is held."""
    import pyscipopt

    start, outlook, mandate = asked
    rate, price = float(mandate.cost_rates[0]), mandate.cost_price(outlook)
    names, factors = outlook.risk.loadings.shape
    model = pyscipopt.Model()
    model.hideOutput()
    model.setParam("limits/gap", 1e-7)
    h = [model.addVar(lb=0, ub=cap) for _ in range(names)]
    b, s = ([model.addVar(lb=0, ub=1) for _ in range(names)] for _ in range(2))
    z = [model.addVar(vtype="B") for _ in range(names)]
    y = [model.addVar(lb=None) for _ in range(factors)]
    cash, wealth, variance = model.addVar(lb=0), model.addVar(lb=0), model.addVar(lb=0)
    total = pyscipopt.quicksum
    for i in range(names):
        model.addCons(h[i] == float(start.holdings[i]) + b[i] - s[i])
        model.addCons(h[i] <= cap * wealth)
        model.addCons(h[i] <= z[i])
        model.addCons(h[i] >= least * wealth - least * (1 - z[i]))
    for j in range(factors):
        model.addCons(y[j] == total(float(outlook.risk.loadings[i, j]) * h[i] for i in range(names)))
    model.addCons(cash == start.cash - (1 + rate) * total(b) + (1 - rate) * total(s))
    model.addCons(wealth == total(h) + cash)
    model.addCons(cash <= 0.1 * wealth)
    model.addCons(total(z) <= most)
    own = total(float(d) * h[i] * h[i] for i, d in enumerate(outlook.risk.specific))
    model.addCons(variance >= total(y[j] * y[j] for j in range(factors)) + own)
    model.setObjective(mandate.risk_aversion * variance + price * (1 - wealth))
    model.optimize()
    return float(model.getObjVal())


@pytest.mark.skipif(not THOROUGH, reason="SCIP takes seconds a question: only in thorough")
@pytest.mark.skipif(importlib.util.find_spec("pyscipopt") is None, reason="the extra `integer` is not installed")
@pytest.mark.parametrize("seed", range(0, 90, 3))
def test_scip_and_the_search_agree_on_larger_questions(seed: int) -> None:
    most, least = 4 + seed % 4, 0.05 * (seed % 2)
    asked = question(seed, 30, most, least, cap=0.4, held=seed % 4 > 1)

    found = choose_names(*asked, Limits(), 0.0)

    assert found is not None
    assert found.objective == pytest.approx(by_scip(asked, most, least, 0.4), abs=3e-6)


def tail_question(seed: int, names: int, draws: int, **few: Any) -> tuple[Any, Position]:
    """Mean and CVaR on draws of one scenario, half and half."""
    import datetime as dt

    from allocator.multistage.mandate import MultistageMandate
    from allocator.multistage.risk_adjustment import MeanCVaR, simulated_values
    from allocator.outlook.scenario_tree import ScenarioTree

    start, outlook, mandate = question(3 * seed, names, held=True, **few)
    one, p = np.zeros(1, dtype=np.int64), np.ones(1)
    outlook = replace(
        outlook, scenarios=("0",), probabilities=p, returns=outlook.returns[:1], cash_returns=outlook.cash_returns[:1]
    )
    tree = ScenarioTree(
        ("now",), ("silent",), (dt.date(2026, 1, 1),), one - 1, p, p[None], np.ones((1, names)), p, one, one, p,
        1 + outlook.returns, 1 + outlook.cash_returns,
    )  # fmt: skip
    mandate = replace(mandate, return_weight=1.0, risk_aversion=0.0, ambiguity=Singleton())
    objective = MeanCVaR(0.9, 0.5, simulated_values(outlook, draws, one), 1 + outlook.cash_returns)
    return MultistageMandate(tree, (mandate,), (outlook,), (Singleton(),), objective), start


@pytest.mark.parametrize("seed", some(range(12), 5))
def test_few_names_of_a_tail_of_draws_are_the_best_of_every_choice(seed: int) -> None:
    least = 0.2 * (seed % 2)
    staged, start = tail_question(seed, 6, 200, most=3, least=least)
    (mandate,) = staged.mandates
    losses = []
    for held in itertools.chain.from_iterable(itertools.combinations(range(6), size) for size in range(4)):
        chosen = replace(staged, mandates=(mandate.choosing(np.isin(np.arange(6), held)),))
        try:
            losses.append(solve_policy(chosen, start).objective)
        except Infeasible:
            continue

    found = choose_names(start, staged.outlooks[0], mandate, Limits(), 0.0, staged)

    assert found is not None
    assert found.objective == pytest.approx(min(losses), abs=2e-6)
    assert found.bound <= min(losses) + 1e-8


def only(stated: Mandate, labels: Sequence[str]) -> Mandate:
    """The mandate of these limits alone."""
    rules: list[LinearRule] = []
    for rule in stated.linear_rules:
        kept = [i for i, label in enumerate(rule.limit_labels) if label in labels]
        if isinstance(rule, InstrumentCaps | NoTrade):
            names, at = (tuple(each[i] for i in kept) for each in (rule.names, rule.at))
            limits = {"limits": tuple(rule.limits[i] for i in kept)} if isinstance(rule, InstrumentCaps) else {}
            rules += [replace(rule, names=names, at=at, **limits)] if kept else []
        elif kept:
            rules.append(rule)
    return replace(stated, linear_rules=tuple(rules))


@pytest.mark.parametrize("seed", some(range(100), 10))
def test_a_conflict_of_few_names_is_minimal(seed: int) -> None:
    """Without any one of its rules some choice of names keeps the others; of all of them together none does."""
    draw = np.random.default_rng(seed)
    cap, least = float(draw.choice([0.2, 0.25, 0.3])), float(draw.choice([0.0, 0.15]))
    start, outlook, stated = question(seed, 5, int(draw.integers(1, 4)), least, cap=cap, held=True)
    kept = [int(i) for i in np.flatnonzero(start.holdings > 0) if draw.random() < 0.5]
    locked = NoTrade(tuple(f"N{i}" for i in kept), tuple(kept))
    stated = replace(stated, ambiguity=Singleton(), linear_rules=(*stated.linear_rules, *([locked] if kept else [])))

    conflict = names_conflict(start, outlook, stated)

    def possible(asked: Mandate) -> bool:
        choices = itertools.chain.from_iterable(itertools.combinations(range(5), size) for size in range(6))
        few = asked.few_names or FewNames()
        return any(best_of((start, outlook, asked), held) is not None for held in choices if len(held) <= few.most)

    if conflict is None:
        assert possible(stated)
        return
    assert not possible(only(stated, conflict.rules))
    for label in conflict.rules:
        assert possible(only(stated, [one for one in conflict.rules if one != label])), label
