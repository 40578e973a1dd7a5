"""The lower bound meets the optimum, no portfolio goes below it, and a tampered target is not certified."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from allocator.errors import NotSolved
from allocator.optimization.solve import Solution
from allocator.optimization.verification import DualCertificate, DualValues, best_dual_certificate, lower_bound
from allocator.plan.certificate import Certificate, certify
from allocator.rules import MinimumExpectedReturn, Trade
from allocator.rules.convex import ConvexRuleDual
from tests.agreement import KEPT, OBJECTIVE, SHARP
from tests.problems import SETS, Question, no_cash, question, random_portfolios, random_question
from tests.thoroughness import count

BOOKS = count(200, 4)
PARTS = 8


def mixed(seed: int) -> Question:
    """Every set in turn; most with a charge for risk, some linear, some with a volatility rule; 4 to 16 names."""
    kind = seed // len(SETS)
    linear, conic = kind % 4 == 1, kind % 4 == 2
    asked = random_question(
        seed,
        count=4 + seed % 13,
        scenarios=2 + seed % 4,
        ambiguity=SETS[seed % len(SETS)],
        risk_aversion=0.0 if linear else float(10 ** np.random.default_rng(seed).uniform(-1, 2)),
        volatility=0.18 if conic else None,
        turnover=None if seed % 3 == 0 else 0.7,
    )
    if seed % 7 == 0:
        rules = (*asked.mandate.linear_rules, MinimumExpectedReturn(0.0))
        asked = replace(asked, mandate=replace(asked.mandate, linear_rules=rules))
    return asked


@pytest.mark.parametrize("part", range(PARTS))
def test_the_bound_meets_the_objective_on_many_random_books(part: int) -> None:
    for seed in range(part, BOOKS, PARTS):
        _, _, certificate = mixed(seed).certified()

        assert -SHARP <= certificate.gap <= SHARP, f"book {seed}: {certificate}"
        assert certificate.largest_violation <= KEPT


@pytest.mark.parametrize("part", range(PARTS))
def test_no_random_feasible_portfolio_goes_below_the_bound(part: int) -> None:
    for seed in range(part, BOOKS, 4 * PARTS):
        asked = mixed(seed)
        _, bound = asked.prices()
        trades = random_portfolios(asked, seed)

        assert len(trades) >= 10
        assert min(asked.mandate.loss(trade, asked.outlook) for trade in trades) >= bound - 1e-12


def nonsense(asked: Question, draw: np.random.Generator) -> DualCertificate:
    """Lawful multipliers drawn blindly: rows at least nothing, an adversary of the set, a direction of unit length."""
    count, scenarios = len(asked.start.holdings), len(asked.outlook.scenarios)
    factors = asked.outlook.risk.loadings.shape[1]
    direction = draw.normal(size=factors + count)
    size = float(10 ** draw.uniform(-3, 1))
    conic = bool(asked.mandate.convex_rules)
    return DualCertificate(
        rows=size * draw.exponential(size=len(asked.mandate.rows.labels)),
        position=size * draw.normal(size=count),
        cash=size * float(draw.normal()),
        wealth=size * float(draw.normal()),
        factors=size * draw.normal(size=factors),
        adversary=asked.mandate.ambiguity.project(draw.normal(0.3, 0.3, scenarios), asked.outlook.probabilities),
        slopes=(ConvexRuleDual(size * float(draw.exponential()), direction / np.linalg.norm(direction)),)
        if conic
        else (),
        error=np.zeros(0),
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_multipliers_of_any_kind_prove_a_bound_that_holds(part: int) -> None:
    draw = np.random.default_rng(50 + part)
    for seed in range(part, BOOKS, 4 * PARTS):
        asked = mixed(seed)
        optimum, holdings = asked.optimum(), asked.solved().holdings
        for _ in range(40):
            prices = nonsense(asked, draw)
            assert lower_bound(asked.start, asked.outlook, asked.mandate, prices) <= optimum + 1e-9
            found = DualValues(prices.rows, prices.cash, prices.adversary, prices.slopes)
            at = holdings if draw.random() < 0.5 else draw.dirichlet(np.ones(len(holdings)))
            _, bound = best_dual_certificate(asked.start, asked.outlook, asked.mandate, asked.trade(at), found)
            assert bound <= optimum + 2e-9


def test_blunted_multipliers_loosen_the_bound_without_making_it_false() -> None:
    asked = random_question(60)
    solution = asked.solved()
    bounds = []
    for share in (1.0, 0.9, 0.5, 0.0):
        found = replace(solution.multipliers, rows=solution.multipliers.rows * share)
        target = asked.trade(solution.holdings)
        bounds.append(best_dual_certificate(asked.start, asked.outlook, asked.mandate, target, found)[1])

    assert bounds[0] == pytest.approx(asked.loss(solution.holdings), abs=OBJECTIVE)
    assert (np.diff(bounds) < 0).all()


@functools.cache
def solved() -> tuple[Question, Solution, DualCertificate]:
    """One question of ten names, its solution and its prices."""
    asked = random_question(61)
    return asked, asked.solved(), asked.prices()[0]


@functools.cache
def conic() -> tuple[Question, Solution, DualCertificate]:
    """The same with a limit of volatility."""
    asked = random_question(61, volatility=0.2)
    return asked, asked.solved(), asked.prices()[0]


def target() -> Trade:
    asked, solution, _ = solved()
    return asked.trade(solution.holdings)


def certificate_of(target: Trade) -> Certificate:
    asked, solution, prices = solved()
    return certify(
        asked.start, asked.outlook, asked.mandate, target, prices,
        solution,
    )  # fmt: skip


def moved(part: float, giver: int, taker: int | None = None) -> Trade:
    """The target with a part of one name moved to another, or to cash."""
    holdings = target().values.copy()
    holdings[giver] -= part
    if taker is not None:
        holdings[taker] += part
    return solved()[0].trade(holdings)


def test_the_untampered_target_is_certified() -> None:
    assert certificate_of(target()).gap == pytest.approx(0, abs=1e-8)


def test_one_percent_moved_between_any_two_names_is_not_certified() -> None:
    pairs = [(i, j) for i in np.flatnonzero(target().values > 0.01) for j in range(10) if i != j]
    assert len(pairs) > 20
    for giver, taker in pairs:
        with pytest.raises(NotSolved, match=r"from the proved bound|break"):
            certificate_of(moved(0.01, giver, taker))


def test_one_percent_kept_in_cash_is_not_certified() -> None:
    with pytest.raises(NotSolved, match="bps of the account from the proved bound"):
        certificate_of(moved(0.01, int(np.argmax(target().values))))


def test_a_target_that_breaks_a_rule_is_not_certified_and_the_rule_is_named() -> None:
    first = int(np.argmax(target().values))

    with pytest.raises(NotSolved, match=rf"the solver's targets break 'I{first} at most 30%' measures 0\.4"):
        certificate_of(moved(float(target().values[first]) - 0.4, first))


def test_a_target_better_than_the_bound_is_not_believed_either() -> None:
    with pytest.raises(NotSolved, match=r"do not follow from the trades \(by 1.0e-02 of the account\)"):
        certificate_of(replace(target(), cash=target().cash + 0.01))


def test_a_target_that_owes_something_is_not_certified() -> None:
    asked, at = solved()[0], target()
    least, most = np.eye(10)[int(np.argmin(at.values))], np.eye(10)[int(np.argmax(at.sold))]
    short = asked.swapped(at.bought, at.sold + (least - most) * (at.values @ least + 1e-3))
    debt = asked.swapped(at.bought + least * (at.cash + 1e-3), at.sold)

    with pytest.raises(NotSolved, match="hold less than nothing"):
        certificate_of(short)
    with pytest.raises(NotSolved, match="break 'cash at least 2%'"):
        certificate_of(debt)


def test_a_target_that_is_no_number_is_not_certified() -> None:
    with pytest.raises(NotSolved, match="no number leaves"):
        certificate_of(replace(target(), values=np.full(10, np.nan)))


@pytest.mark.parametrize(
    "what", ["rows", "price of volatility", "adversary sum", "adversary sign", "adversary far", "direction"]
)
def test_prices_that_are_not_lawful_certify_nothing(what: str) -> None:
    asked, solution, prices = conic() if what in ("price of volatility", "direction") else solved()
    q = prices.adversary
    order = np.eye(len(q))
    unlawful = {
        "rows": replace(prices, rows=prices.rows - 1e-3),
        "price of volatility": replace(prices, slopes=(ConvexRuleDual(-1e-3, np.zeros(13)),)),
        "adversary sum": replace(prices, adversary=q * 1.001),
        "adversary sign": replace(prices, adversary=q + (order[0] - order[1]) * (q[1] + 1e-3)),
        "adversary far": replace(prices, adversary=order[int(np.argmin(asked.outlook.probabilities))]),
        "direction": replace(prices, slopes=(ConvexRuleDual(0.0, np.full(13, 1.0)),)),
    }[what]

    with pytest.raises(NotSolved, match="not lawful"):
        certify(
            asked.start, asked.outlook, asked.mandate, asked.trade(solution.holdings), unlawful, solution,
        )  # fmt: skip


def test_prices_that_are_no_number_certify_nothing() -> None:
    asked, solution, prices = solved()
    with pytest.raises(NotSolved):
        certify(
            asked.start, asked.outlook, asked.mandate, target(), replace(prices, cash=float("nan")), solution,
        )  # fmt: skip


def test_many_names_without_risk_of_their_own_do_not_blur_the_bound() -> None:
    """With a given covariance no name has curvature of its own, so a solver's last digit would count once a name."""
    draw = np.random.default_rng(62)
    loadings = draw.normal(size=(120, 40)) * 0.02
    returns = draw.normal(0.001, 0.001, (1, 120))
    for weight in (0.0, 1.0):
        asked = question(returns, loadings @ loadings.T, return_weight=weight, risk_aversion=50.0, rules=[no_cash(120)])
        trade, _, certificate = asked.certified()

        assert (trade.values > 1e-4).sum() >= 15
        assert abs(certificate.gap) <= SHARP
