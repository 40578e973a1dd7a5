"""Cash that comes or goes at later reviews: against hand calculation, a program written out by hand, and strangers."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from allocator.ambiguity.balls import Singleton, TotalVariation
from allocator.book.loading import load
from allocator.display.console import describe_cash_flows
from allocator.errors import BadInput, Infeasible
from allocator.ledger.input_groups import SECTIONS
from allocator.mandate.mandate import Mandate
from allocator.multistage import solve as reused
from allocator.multistage.mandate import MultistageMandate
from allocator.multistage.objectives import LinearUtility, LogUtility, PowerUtility, Utility
from allocator.multistage.policy import policy_from_trades, refuse_broken_policy
from allocator.multistage.risk_adjustment import Regret
from allocator.multistage.solve import (
    policy_after_first_trades,
    solve_policy,
    solve_side_by_side,
    with_hindsight,
)
from allocator.multistage.value_of_waiting import value_of_waiting
from allocator.outlook.outlook import Outlook, build_outlook
from allocator.outlook.risk_model import FactorRisk
from allocator.outlook.scenario_tree import ScenarioTree, build_review_tree
from allocator.plan.document import plan_document
from allocator.plan.follow import input_fingerprints, policy_deviation
from allocator.plan.rebalance import rebalance
from allocator.rules.rows import Position
from allocator.stress_testing import shock_effects
from tests.multistage.test_verify import verified
from tests.random_trees import random_tree
from tests.thoroughness import some

ROOT = Path(__file__).parents[2]


def with_flows(staged: MultistageMandate, first: float, second: float) -> MultistageMandate:
    """Of today's account, at every node of the first review and of the second."""
    tree = staged.tree
    depth = np.array([0 if above < 0 else 1 if above == 0 else 2 for above in tree.parents])
    return replace(staged, tree=replace(tree, flows=np.array([0.0, first, second])[depth]))


def chain(growth: tuple[float, float, float], utility: Utility, flow: float, rate: float = 0.0) -> MultistageMandate:
    """One name, one scenario, two reviews: it grows by as much to each and to the end; cash does not."""
    nodes = 3
    tree = ScenarioTree(
        ("now", "one", "two"),
        ("now", "silent", "silent"),
        tuple(dt.date(2026, 1 + 3 * i, 1) for i in range(nodes)),
        np.array([-1, 0, 1]),
        np.ones(nodes),
        np.ones((nodes, 1)),
        np.array([[1.0], [growth[0]], [growth[1]]]),
        np.ones(nodes),
        np.array([2]),
        np.array([0]),
        np.ones(1),
        np.array([[growth[2]]]),
        np.ones(1),
        np.array([0.0, 0.0, flow]),
    )
    risk = FactorRisk(np.zeros((1, 1)), np.zeros(1), "")
    outlook = Outlook(("s",), np.ones(1), np.array([[0.1]]), np.zeros(1), risk, 1.0)
    mandate = Mandate(1.0, 0.0, Singleton(), (), (), np.array([rate]))
    return MultistageMandate(tree, (mandate,) * nodes, (outlook,) * nodes, (Singleton(),) * nodes, utility)


@pytest.mark.parametrize("utility", [LinearUtility(), LogUtility(), PowerUtility(3.0)])
@pytest.mark.parametrize("flow", [0.25, -0.3])
def test_a_flow_of_one_scenario_is_invested_or_sold_for_as_by_hand(utility: Utility, flow: float) -> None:
    """What comes is bought of the name, which grows: W = ((1.1 x 1.2 + F) x 1.3); what goes is sold for."""
    asked = chain((1.1, 1.2, 1.3), utility, flow)
    policy = solve_policy(asked, Position(np.array([1.0]), 0.0))
    assert policy.equivalent == pytest.approx((1.1 * 1.2 + flow) * 1.3 - 1, abs=1e-7)
    assert (policy.bought - policy.sold)[:, 0] == pytest.approx([0.0, 0.0, flow], abs=1e-7)
    assert policy.wealth_before[2] == pytest.approx(1.32 + flow, abs=1e-7)


@pytest.mark.parametrize("flow", [0.25, -0.3])
def test_regret_has_none_of_a_flow_in_it(flow: float) -> None:
    """Who knows the one scenario does as well with it, so that nothing is regretted."""
    start = Position(np.array([0.4]), 0.6)
    asked = with_hindsight(chain((1.1, 1.2, 1.3), Regret(), flow, rate=0.01), start)
    policy = solve_policy(asked, start)
    assert policy.objective == pytest.approx(0.0, abs=1e-7)
    assert policy.gain == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("growth", [1.01, 1.1])
def test_what_goes_out_lies_in_cash_until_then_where_a_round_trip_costs_more_than_it_brings(growth: float) -> None:
    """At 2 % each way: .3 is kept where names grow 2 % until the review, else bought of the name and sold for."""
    asked = chain((growth, growth, 1.3), LogUtility(), -0.3, rate=0.02)
    policy = solve_policy(asked, Position(np.array([0.7]), 0.3))
    kept = growth**2 < 1.02 / 0.98
    bought, sold = (0.0, 0.0) if kept else (0.3 / 1.02, 0.3 / 0.98)
    assert policy.cash == pytest.approx([0.3, 0.3, 0.0] if kept else [0.0, 0.0, 0.0], abs=1e-6)
    assert policy.holdings[2, 0] == pytest.approx((0.7 + bought) * growth**2 - sold, abs=1e-6)


def by_hand(staged: MultistageMandate, start: Position) -> float:
    """The minimised loss by a program written node by node, with caps of 60 % of what a node is worth after trades."""
    tree, flows = staged.tree, staged.tree.cash_flows
    nodes, names = tree.growth.shape
    h, b, s = (cp.Variable((nodes, names), nonneg=True) for _ in range(3))
    c, theta = cp.Variable(nodes, nonneg=True), cp.Variable(nodes)
    rates = staged.mandates[0].cost_rates
    rules: list[Any] = []
    for n in range(nodes):
        above = tree.parents[n]
        held = start.holdings if n == 0 else cp.multiply(tree.growth[n], h[above])
        cash = start.cash if n == 0 else tree.cash_growth[n] * c[above] + flows[n]
        rules += [h[n] == held + b[n] - s[n], s[n] <= held]
        rules += [c[n] == cash + cp.sum(s[n]) - cp.sum(b[n]) - rates @ (b[n] + s[n])]
        rules += [h[n] <= 0.6 * (cp.sum(h[n]) + c[n])]
        below, ends = tree.children(n)
        ahead = [theta[m] for m in below]
        for leaf in ends:
            wealth = tree.leaf_growth[leaf] @ h[n] + tree.leaf_cash_growth[leaf] * c[n]
            ahead.append(staged.utility.expression(wealth))
        p, losses, one = tree.child_probabilities(n), cp.hstack(ahead), staged.ambiguities[n]
        reach = one.radius if isinstance(one, TotalVariation) else 0.0
        level = cp.Variable()  # the top of it up to the radius at the dearest, the rest as it is without the cheapest
        worst = reach * cp.max(losses) + (1 - reach) * level + p @ cp.pos(losses - level) if reach else p @ losses
        rules.append(theta[n] >= worst)
    problem = cp.Problem(cp.Minimize(theta[0]), rules)
    problem.solve(solver="CLARABEL")
    return float(theta.value[0])


@pytest.mark.parametrize(
    ("seed", "flows"),
    some([(n // 3, ((0.2, 0.0), (-0.15, 0.4), (0.0, -0.35))[n % 3]) for n in range(18)], 4),
)
def test_the_best_policy_with_flows_is_that_of_a_program_written_out_by_hand(
    seed: int, flows: tuple[float, float]
) -> None:
    staged, start = random_tree(seed)
    sets = tuple(TotalVariation(0.1) if node % 2 else Singleton() for node in range(staged.tree.nodes))
    asked = with_flows(replace(staged, ambiguities=sets), *flows)
    policy = solve_policy(asked, start)
    assert policy.objective == pytest.approx(by_hand(asked, start), abs=1e-6)
    assert policy.gap < 1e-6
    refuse_broken_policy(policy, range(asked.tree.nodes))
    without = solve_policy(replace(asked, tree=replace(asked.tree, flows=None)), start)
    assert abs(policy.objective - without.objective) > 1e-2
    part = asked.tree.nodes - 1  # and what is best from there on is what was planned, debts of the day among them
    unit = float(policy.wealth_before[part])
    later = solve_policy(asked.below(part, unit), policy.start_of(part))
    assert later.holdings[0] * unit == pytest.approx(policy.holdings[part], abs=2e-4)


def test_a_flow_of_nothing_changes_not_one_bit() -> None:
    staged, start = random_tree(1)
    plain, none = solve_policy(staged, start), solve_policy(with_flows(staged, 0.0, 0.0), start)
    assert plain.holdings.tobytes() == none.holdings.tobytes()
    assert plain.objective == none.objective


@pytest.mark.parametrize("charged", [False, True])
def test_a_kept_program_answers_another_flow_as_a_new_one_would(charged: bool) -> None:
    staged, start = random_tree(0)
    staged = replace(staged, utility=LogUtility(charged=charged))
    several = [with_flows(staged, *flows) for flows in ((0.1, 0.0), (0.1, -0.2), (0.0, 0.0))] + [staged]
    kept = [solve_policy(one, start) for one in several]
    fresh = []
    for one in several:
        reused._of_thread.__dict__.clear()
        fresh.append(solve_policy(one, start))
    assert [one.holdings.tobytes() for one in kept] == [one.holdings.tobytes() for one in fresh]
    assert len({round(one.equivalent, 4) for one in kept[:3]}) == 3
    assert kept[2].equivalent == pytest.approx(kept[3].equivalent, abs=1e-8)


def test_risk_is_charged_as_if_what_is_to_come_lay_in_cash() -> None:
    """The same trades by who has the flow's present value in cash already are worth the same (science 3.14)."""
    staged, start = random_tree(0)
    staged = replace(staged, utility=PowerUtility(3.0, charged=True))
    asked = with_flows(staged, 0.2, 0.1)
    moves = np.zeros_like(staged.tree.growth)
    moves[0, 0], moves[1:, 1] = 0.05, 0.04
    worth = 0.2 / 1.01 + 0.1 / 1.01**2
    richer = Position(start.holdings, start.cash + worth)
    told, early = policy_from_trades(asked, start, moves), policy_from_trades(staged, richer, moves)
    assert told.objective == pytest.approx(early.objective, abs=1e-12)
    assert told.cash[-1] == pytest.approx(early.cash[-1], abs=1e-12)
    assert told.cash[0] < early.cash[0]
    best = solve_policy(asked, start)
    assert abs(best.residual) < 1e-9
    assert best.gap < 1e-6
    assert best.objective < told.objective


def test_several_trees_with_flows_solved_as_one_are_those_solved_alone() -> None:
    staged, start = random_tree(0)
    asked = with_flows(staged, 0.2, -0.1)
    leaves = list(range(4))
    paths = asked.paths(leaves)
    side = solve_side_by_side(asked, paths, leaves, [start] * 4)
    for one, path in zip(side, paths, strict=True):
        assert one.objective == pytest.approx(solve_policy(path, start).objective, abs=1e-7)


def test_benchmark_policies_have_the_flows_and_none_of_them_owes() -> None:
    """Who trades never again keeps what goes out; who holds the averages' portfolio cannot, and that is said."""
    staged, start = random_tree(1)
    out = with_flows(staged, 0.0, -(start.cash + 0.1))
    found = value_of_waiting(out, start)
    assert "does not pay what goes out" in found.missing["averages_kept"]
    static = solve_policy(out, start, trading=False)
    assert static.cash.min() >= -1e-9
    assert static.cash[0] > start.cash + 0.05
    assert found.equivalents["static"] == pytest.approx(static.equivalent, abs=1e-9)
    assert found.equivalents["idle"] <= found.equivalents["flexible"] + 1e-9
    held = policy_after_first_trades(out, start, 0 * start.holdings)
    assert held.cash.min() >= -1e-9
    assert held.sold[1:].sum() > 0


def test_more_out_than_all_is_worth_is_infeasible_and_no_number() -> None:
    staged, start = random_tree(2)
    with pytest.raises(Infeasible):
        solve_policy(with_flows(staged, 0.0, -3.0), start)
    with pytest.raises(Infeasible):
        policy_after_first_trades(with_flows(staged, -2.0, 0.0), start, 0 * start.holdings)


# A book: where a flow belongs, what is refused, and what strangers recompute.
#
REVIEWED, PLAIN = ROOT / "data" / "reviewed", ROOT / "tests" / "plain_books" / "reviewed"
FREE = ("horizon.reviews=[2027-02-20, 2027-08-20]",)
CHARGED = ("mandate.objective='crra'", "mandate.relative_risk_aversion=3.0", "mandate.charge_risk=true")


def flows(**others: float) -> list[str]:
    """--set of flows, by day without dashes."""
    return [f"cash.flows.{day[1:5]}-{day[5:7]}-{day[7:]}={flow!r}" for day, flow in others.items()]


def test_a_flow_comes_at_the_first_review_from_its_day_on_whatever_was_learnt_before() -> None:
    """At every node of that review, those after a verdict too, which are there for nothing else."""
    book = load(PLAIN, overrides=flows(d20270521=500_000, d20270820=1_000_000, d20270220=-250_000))
    tree = build_review_tree(book, build_outlook(book)).tree
    plain = load(PLAIN)
    without = build_review_tree(plain, build_outlook(plain)).tree
    came = {
        day: {float(flow) for flow, one in zip(tree.flows, tree.dates, strict=True) if one == day} for day in tree.dates
    }
    assert came == {
        dt.date(2026, 11, 20): {0.0},
        dt.date(2027, 2, 20): {-0.005},
        dt.date(2027, 5, 20): {0.0},
        dt.date(2027, 8, 20): {0.03},
    }
    assert (without.nodes, without.leaves) == (11, 24)
    assert (tree.nodes, tree.leaves) == (13, 24)
    assert [name for name in tree.names if name not in without.names] == [
        "verified by 2027-05-20, silent until 2027-08-20",
        "refuted by 2027-05-20, silent until 2027-08-20",
    ]
    assert set(np.round(tree.on_path(tree.cash_flows), 12)) == {0.025}
    for name in tree.names[-2:]:  # nothing was learnt since
        node = tree.names.index(name)
        assert tree.beliefs[node] == pytest.approx(tree.beliefs[tree.parents[node]], abs=1e-12)
        assert tree.probabilities[node] == 1.0
    grown, others = tree.since_now()[0], without.since_now()[0]
    ends = np.unique(np.round(tree.leaf_growth * grown[tree.leaf_parents], 9), axis=0)
    assert ends == pytest.approx(np.unique(np.round(without.leaf_growth * others[without.leaf_parents], 9), axis=0))


@pytest.mark.parametrize(
    ("day", "flow", "told", "cure"),
    [
        ("2026-11-20", 5.0, "is not after as_of = 2026-11-20", "what flows today is cash.paid_in = 5"),
        ("2026-03-01", -5.0, "is not after as_of = 2026-11-20", "what flows today is cash.paid_out = 5"),
        ("2027-09-01", 5.0, "is after the last review, 2027-08-20", "move a review to 2027-09-01 or later"),
        ("2028-01-01", 5.0, "is after the last review, 2027-08-20", "move horizon.until = 2027-11-20 after it and"),
        ("in May", 5.0, "must be a day such as 2026-11-20", "correct the key"),
        ("2027-02-30", 5.0, "must be a day such as 2026-11-20", "correct the key"),
        ("20270220", 5.0, "must be a day such as 2026-11-20", "correct the key"),
    ],
)
def test_a_flow_that_belongs_to_no_review_is_refused_with_its_cure(day: str, flow: float, told: str, cure: str) -> None:
    with pytest.raises(BadInput) as raised:
        load(REVIEWED, overrides=[f"cash.flows.{day}={flow}"])
    (breach,) = raised.value.breaches
    assert (breach.column, breach.rule) == (f"cash.flows.{day}", told)
    assert cure in breach.cure


def test_a_flow_in_a_book_without_reviews_is_refused_and_what_flows_today_is_not() -> None:
    with pytest.raises(BadInput) as raised:
        load(ROOT / "data" / "note", overrides=["cash.flows.2027-02-20=250000"])
    (breach,) = raised.value.breaches
    assert breach.rule == "is planned at the first review from its day on, and there is no review ahead"
    assert "remove it and plan on that day with cash.paid_in = 250000" in breach.cure
    assert load(ROOT / "data" / "note", overrides=["cash.paid_in=250000"]).settings.cash.flow == 250_000


def test_a_payment_that_no_review_can_make_is_a_conflict_by_name_whose_fix_works() -> None:
    """30 million of 50 where 40 % may be turned over: the payment, the turnover, and the most that can be paid."""
    asked = ["horizon.reviews=[2027-08-20]", *flows(d20270810=-30_000_000)]
    with pytest.raises(Infeasible) as raised:
        rebalance(load(PLAIN, overrides=asked))
    error = raised.value
    assert error.exit_code == 4
    assert "30,000,000 USD paid out at the first review from 2027-08-10 on" in error.rules
    assert "turnover at most 40%" in error.rules
    assert "'30,000,000 USD paid out at the first review from 2027-08-10 on'" in str(error)
    (fix,) = [one for one in error.overrides if one[0].startswith("cash.flows.2027-08-10=")]
    assert -30_000_000 < float(fix[0].partition("=")[2]) < -10_000_000
    assert rebalance(load(PLAIN, overrides=[*asked, *fix])).certificate.gap < 1e-6


def test_a_stranger_follows_a_policy_with_flows_and_finds_another_flow_out() -> None:
    """`docs/verify_plan.py` agrees on account, rules, charges for risk and worth; screens say what comes and goes."""
    asked = flows(d20270210=2_500_000, d20270820=-4_000_000)
    plan = rebalance(load(PLAIN, overrides=[*asked, *FREE, *CHARGED]))
    told = describe_cash_flows(plan.book)
    assert told == [
        "2,500,000 USD come in at the review of 2027-02-20; 4,000,000 USD go out at the review of 2027-08-20."
    ]
    made = json.loads(json.dumps(plan_document(plan), allow_nan=False))
    Draft202012Validator(json.loads((ROOT / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))).validate(made)
    assert plan.policy is not None
    lots = plan.policy.with_lots
    assert made["policy"]["certainty_equivalent_with_lots"] == pytest.approx(lots.equivalent + 0.03, abs=1e-8)
    assert {node["date"]: node.get("cash_flow") for node in made["policy"]["nodes"]} == {
        "2026-11-20": None,
        "2027-02-20": 0.05,
        "2027-08-20": -0.08,
    }
    assert verified(made).stdout.startswith("verified")
    made["policy"]["proof"]["nodes"][1]["cash_flow"] += 1e-3
    assert "NOT verified" in verified(made).stderr


def test_after_news_that_takes_months_what_has_come_by_then_is_cash_and_the_rest_is_still_to_come() -> None:
    """A shock whose news is there on the first of March: February's flow lies in cash, August's is to come, once."""
    owned = load(PLAIN, overrides=flows(d20270210=1_000_000, d20270820=-500_000))
    news = SimpleNamespace(told=dt.date(2027, 3, 1), signals=owned.signals)
    then = shock_effects._by_the_day(owned, news)
    grown = owned.cash * (1 + float(owned.cash_required_return or 0.0)) ** (101 / 365.25)
    assert then.cash == pytest.approx(grown + 1_000_000)
    assert then.settings.cash.flow == 1_000_000
    assert then.settings.cash_at_reviews == {dt.date(2027, 8, 20): -500_000.0}


def test_flows_are_inputs_of_the_group_of_holdings_and_of_what_a_plan_is_followed_by() -> None:
    plain, asked = load(PLAIN), load(PLAIN, overrides=flows(d20270210=1_000_000))
    assert "cash" in SECTIONS["holdings"]
    before, after = input_fingerprints(plain), input_fingerprints(asked)
    assert {name for name in after if after.get(name) != before.get(name)} == {"cash"}
    paid = {"paid_in": 5.0, "paid_out": 0.0}  # as it was digested before there were dated flows
    told = input_fingerprints(load(PLAIN, overrides=["cash.paid_in=5"]))["cash"]
    assert told == hashlib.sha256(json.dumps(paid, sort_keys=True).encode()).hexdigest()[:16]


def test_cash_that_came_as_announced_is_no_change_of_the_book_and_other_cash_to_come_is(tmp_path: Path) -> None:
    """What was planned for the review is `paid_in` of its day; August's flow is as announced, or is not."""
    november = [*FREE, *flows(d20270210=2_500_000, d20270820=-4_000_000)]
    announced = tmp_path / "plan.json"
    announced.write_text(json.dumps(plan_document(rebalance(load(PLAIN, overrides=november), lots=False))))

    def changed(day: str, *cash: str) -> list[str]:
        book = load(PLAIN, overrides=[*FREE, *cash], as_of=dt.date.fromisoformat(day))
        found = policy_deviation(rebalance(book, lots=False), announced)
        return [cause for cause in found.causes if cause.startswith("the book")]

    as_announced = flows(d20270820=-4_000_000)
    assert changed("2027-02-20", *as_announced, "cash.paid_in=2500000") == []
    assert changed("2027-02-20", *as_announced) == []  # counted in holdings.csv, or missing from them: another cause
    assert changed("2027-02-20", *flows(d20270520=-4_000_000)) == []  # at the same review
    for other in ([], flows(d20270820=-4_000_100)):
        assert changed("2027-02-20", *other, "cash.paid_in=2500000") == ["the book: [cash] changed"]
    assert changed("2026-12-20", *as_announced) == ["the book: [cash] changed"]
