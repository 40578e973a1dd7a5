"""Frontiers: published points, ends that are known, and every plan against the one that `rebalance` makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import allocator
from allocator.__main__ import main
from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadMandate
from allocator.multistage.mandate import build_multistage_mandate
from allocator.multistage.policy import policy_from_trades
from allocator.rules import Trade
from allocator.rules.rows import Position
from allocator.stress_testing.frontier import Frontier, distance, frontier, turnover
from tests import books
from tests.plan.test_axes import stated as with_caution
from tests.reference.test_orlib import problem

NAMES = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")


@pytest.fixture(scope="module")
def note(root: Path) -> Book:
    return load(root / "tests" / "plain_books" / "note")


@pytest.fixture(scope="module")
def found(note: Book) -> Frontier:
    return frontier(note, points=8)


def quiet_book(seed: int, **mandate: Any) -> Book:
    """Six names, three scenarios; what is held keeps every rule."""
    draw = np.random.default_rng(seed)
    returns = {name: np.round(draw.normal(mean, 0.1, 6), 4).tolist() for name, mean in
               (("up", 0.15), ("flat", 0.04), ("down", -0.08))}  # fmt: skip
    settings = {
        "mandate": {**({} if "objective" in mandate else {"risk_aversion": 2.0}), "max_weight": 0.5, **mandate},
        "robust": {"set": "total_variation", "radius": 0.1},
        "costs": {"spread_bps": 8.0},
    }
    columns = {
        "beta": draw.uniform(0.6, 1.4, 6).round(3),
        "idiosyncratic_volatility": draw.uniform(0.1, 0.3, 6).round(3),
    }
    return books.book(settings, names=NAMES, returns=returns, exposures_columns=columns)


def targets(book: Book) -> Trade:
    plan = allocator.rebalance(book, lots=False)
    return replace(
        plan.target,
        values=plan.target.values / book.value,
        cash=plan.target.cash / book.value,
        bought=plan.target.bought / book.value,
        sold=plan.target.sold / book.value,
        value_before=1.0,
    )


def stated(book: Book, section: str, **changed: Any) -> Book:
    own = getattr(book.settings, section).model_copy(update=changed)
    return replace(book, settings=book.settings.model_copy(update={section: own}))


@pytest.mark.parametrize("number", [1, 4])
def test_every_point_lies_on_the_published_frontier_of_beasley(reference: Path, number: int) -> None:
    given = problem(reference, number)
    names = tuple(f"N{i}" for i in range(len(given.mean)))
    square = pd.DataFrame(52 * given.covariance, columns=list(names)).assign(instrument=list(names))
    book = books.book(
        {"mandate": {"risk_aversion": 50.0, "max_cash": 0.0}, "risk": {"source": "covariance"}},
        names=names, returns={"base": (52 * given.mean).tolist()}, quantity=0.0, cash=1e6,
        covariance=square[["instrument", *names]],
    )  # fmt: skip

    curve = frontier(book, points=12).curves[0]
    published = given.frontier[::-1]

    assert curve.axis == "risk_aversion"
    assert len(curve.points) == 12
    for one in curve.points:
        weights = np.array(one.weights[:-1])
        expected, variance = given.mean @ weights, weights @ given.covariance @ weights
        between = np.interp(expected, *published.T)  # between two of 2,000 points a chord is above the frontier
        assert variance == pytest.approx(between, rel=5e-5)
        assert one.weights[-1] == pytest.approx(0.0, abs=1e-7)
    ends = curve.points[0].weights[:-1], curve.points[-1].weights[:-1]
    assert given.mean @ ends[1] == pytest.approx(published[-1, 0], rel=1e-6)
    assert ends[0] @ given.covariance @ ends[0] == pytest.approx(published[0, 1], rel=0.05)


def test_points_are_the_plans_that_rebalance_makes_at_that_aversion_to_risk(note: Book, found: Frontier) -> None:
    curve = next(curve for curve in found.curves if curve.axis == "risk_aversion")
    assert len(curve.points) == 8
    aversions, volatilities = zip(*((one.at, one.figures.volatility_within) for one in curve.points), strict=True)
    assert list(aversions) == sorted(aversions, reverse=True)
    assert list(volatilities) == sorted(volatilities)
    for one in curve.points[1::3]:
        again = targets(stated(note, "mandate", risk_aversion=one.at))
        assert np.array(one.weights) == pytest.approx(again.all_weights, abs=1e-6)
        assert one.turnover == pytest.approx(turnover(again), abs=1e-6)


def test_a_point_between_two_is_better_than_what_lies_between_them() -> None:
    points = [
        (one.figures.volatility_within**2, one.figures.adverse_expected_return)
        for one in frontier(quiet_book(3, risk_aversion=3.0), points=10).curves[0].points
    ]
    slopes = np.diff([adverse for _, adverse in points]) / np.diff([variance for variance, _ in points])
    assert (np.diff(slopes) < 1e-9).all()  # the first risk brings most


def test_the_ends_of_caution_are_the_plan_that_trusts_and_the_one_at_full_caution(found: Frontier) -> None:
    curves = {curve.axis: curve.points for curve in found.curves}
    assert list(curves) == ["risk_aversion", "answer", "regime", "both"]
    nothing, full = (targets(load("tests/plain_books/note", overrides=with_caution(c, c))) for c in (0.0, 1.0))
    for axis in ("answer", "regime", "both"):
        points = curves[axis]
        assert [points[0].at, points[-1].at] == [0.0, 1.0]
        assert points[0].cost_bps == points[0].protection_bps == 0.0
        assert np.array(points[0].weights) == pytest.approx(nothing.all_weights, abs=1e-6)
        costs = [one.cost_bps for one in points]
        assert (np.diff(costs) > -1e-3).all()
    saved = [one.protection_bps for one in curves["both"]]
    assert (np.diff(saved) > -1e-3).all()
    assert np.array(curves["both"][-1].weights) == pytest.approx(full.all_weights, abs=1e-6)


def test_without_a_question_the_one_radius_goes_from_nothing_to_what_is_stated() -> None:
    book = quiet_book(5)
    curve = frontier(book, points=5).curves[1]
    assert curve.axis == "set"
    for one, radius in zip(curve.points, (0.0, 0.025, 0.05, 0.075, 0.1), strict=True):
        again = targets(stated(book, "robust", radius=radius))
        assert np.array(one.weights) == pytest.approx(again.all_weights, abs=1e-6)
    assert curve.points[-1].distance == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_ladder_goes_from_what_is_held_to_the_plan_and_never_down(seed: int) -> None:
    book = quiet_book(seed)
    found = frontier(book, points=2)
    first, *_, last = found.ladder
    plan = targets(book)

    assert (first.turnover, first.gain, first.returns, first.keeps_rules) == (0.0, 0.0, (0.0, 0.0, 0.0), True)
    assert last.turnover == pytest.approx(turnover(plan), abs=1e-6)
    held = Trade(book.weights, book.cash / book.value, 0 * book.weights, 0 * book.weights, 0.0, 1.0)
    question = allocator.rebalance(book, lots=False)
    gain = question.mandate.loss(held, question.outlook) - question.mandate.loss(plan, question.outlook)
    assert last.gain == pytest.approx(gain, abs=1e-9)
    assert distance(plan, plan) == 0.0
    for column in zip(*((rung.gain, *rung.if_certain) for rung in found.ladder), strict=True):
        assert (np.diff(np.array(column, dtype=float)) > -1e-9).all()
    assert len(found.ladder) >= 4


def test_a_rung_is_the_plan_under_that_limit_of_turnover() -> None:
    book = quiet_book(1)
    found = frontier(book, points=2)
    rung = found.ladder[2]
    own = targets(stated(book, "mandate", max_turnover=rung.turnover))
    returns = build_returns(book, own) - build_returns(book, None)
    assert turnover(own) == pytest.approx(rung.turnover, abs=1e-7)
    assert np.array(rung.returns) == pytest.approx(returns, abs=1e-7)


def build_returns(book: Book, trade: Trade | None) -> np.ndarray[Any, Any]:
    """(K,) by hand, from the table of returns."""
    table = book.scenario_returns
    assert table is not None
    after = np.append(book.weights, book.cash / book.value) if trade is None else np.append(trade.values, trade.cash)
    return np.asarray(after @ (1 + table[list(book.scenarios)].to_numpy(float)) - 1)


def test_where_what_is_held_breaks_a_rule_the_ladder_begins_where_all_can_be_kept() -> None:
    book = quiet_book(2, weights={"AAA": {"max": 0.05}}, max_weight=0.3)
    assert book.weights[0] > 0.09
    found = frontier(book, points=2)
    first, second, *_ = found.ladder
    assert not first.keeps_rules
    assert second.keeps_rules
    least = float(book.weights[0]) - 0.05
    assert least <= second.turnover <= least + 2e-4


def test_the_best_plan_for_a_scenario_is_that_of_a_book_that_knows_it(note: Book, found: Frontier) -> None:
    book = quiet_book(4)
    optima = frontier(book, points=2).optima
    for k, one in enumerate(optima):
        certain = {name: section.model_copy(update={"probability": float(at == k)})
                   for at, (name, section) in enumerate(book.settings.scenarios.items())}  # fmt: skip
        known = replace(book, settings=book.settings.model_copy(update={"scenarios": certain}))
        plan = allocator.rebalance(stated(known, "robust", set="none", radius=0.0), lots=False)
        assert one.objective == pytest.approx(-plan.certificate.objective, abs=1e-7)
        assert one.plan_shortfall is not None
        assert one.today_shortfall is not None
        assert one.plan_shortfall >= 0
        assert one.today_shortfall >= 0
    assert [one.scenario for one in found.optima] == list(note.scenarios)


def test_points_without_a_plan_are_told_with_their_span_and_reason(found: Frontier) -> None:
    (gap,) = found.gaps
    assert gap.axis == "risk_aversion"
    assert gap.high == 150.0
    assert gap.points >= 2
    assert "buys and sells one name at once" in gap.reason
    assert found.curves[0].points[0].at < gap.low


def test_an_objective_that_looks_at_no_return_has_no_frontier() -> None:
    least = stated(stated(quiet_book(1), "robust", set="none", radius=0.0), "mandate", objective="minimum_variance")
    with pytest.raises(BadMandate, match="looks at no return"):
        frontier(least)


def test_a_tree_of_decisions_has_its_policies_along_the_same_axes(root: Path) -> None:
    asked = [*with_caution(0.5, 0.5), "mandate.objective=crra", "mandate.relative_risk_aversion=3"]
    book = load(root / "tests" / "plain_books" / "reviewed", overrides=asked)
    found, study = frontier(book, points=3), allocator.caution_study(book)
    curves = {curve.axis: curve.points for curve in found.curves}

    assert list(curves) == ["relative_risk_aversion", "answer", "regime", "both"]
    assert [one.at for one in curves["relative_risk_aversion"]] == [12.0, 3.0, 0.75]
    assert curves["relative_risk_aversion"][1].distance == pytest.approx(0.0, abs=1e-5)
    rows = study.curves[-1].rows
    for one, row in zip(curves["both"], (rows[0], rows[5], rows[10]), strict=True):
        assert one.cost_bps == pytest.approx(row.cost_bps, abs=2e-2)
        assert one.protection_bps == pytest.approx(row.protection_bps, abs=2e-2)
    assert found.optima == ()
    assert found.plan.turnover == pytest.approx(study.own.turnover, abs=1e-6)
    after = [rung.gain for rung in found.ladder if rung.keeps_rules]
    assert (np.diff(after) > -1e-7).all()
    assert found.ladder[-1].turnover == pytest.approx(found.plan.turnover)
    assert all(rung.if_certain == () for rung in found.ladder)


TAIL = {"objective": "mean_cvar", "cvar_level": 0.8, "draws": 100}


def test_points_along_the_weight_of_a_tail_are_worth_what_rebalance_finds_at_that_weight() -> None:
    book = quiet_book(1, **TAIL)
    curve, around = frontier(book).curves

    assert (curve.axis, around.axis) == ("cvar_weight", "set")
    assert [one.at for one in curve.points][::29] == [1.0, 0.0]
    assert len(curve.points) == len(around.points) == 30
    start = Position(book.weights, book.cash / book.value)
    asked = [(one, stated(book, "mandate", cvar_weight=one.at)) for one in curve.points[::9]]
    asked += [(one, stated(book, "robust", radius=0.1 * one.at)) for one in around.points[1::9]]
    for one, own in asked:
        plan = allocator.rebalance(own, lots=False)
        held = np.array(one.weights[:-1]) * (1 - one.figures.costs)
        staged = build_multistage_mandate(own, plan.outlook)
        policy = policy_from_trades(staged, start, (held - book.weights)[None, :])
        assert policy.objective == pytest.approx(plan.certificate.objective, abs=1e-7)


def test_a_tail_of_few_names_has_points_of_the_names_that_its_plan_holds() -> None:
    book = quiet_book(6, **TAIL, max_names=2, max_cash=0.2)
    found = frontier(book, points=6)
    plan = allocator.rebalance(book, lots=False)

    assert np.array(found.plan.weights) == pytest.approx(plan.target.all_weights, abs=1e-6)
    held = np.array(found.plan.weights[:-1]) > 1e-9
    assert held.sum() == 2
    for one in (one for curve in found.curves for one in curve.points):
        assert not (np.array(one.weights[:-1])[~held] > 1e-7).any()


def test_without_a_number_that_weighs_risk_a_tree_has_no_curve_of_it() -> None:
    found = frontier(load("tests/plain_books/listed", overrides=["mandate.objective=log"]), points=2)
    assert "relative_risk_aversion" not in [curve.axis for curve in found.curves]
    assert found.document()["scenarios"] == []


def test_limits_that_conflict_are_told_as_rebalance_tells_them() -> None:
    with pytest.raises(allocator.Infeasible):
        frontier(quiet_book(1, min_expected_return=0.9), points=2)


def test_the_command_writes_its_document_a_picture_and_a_workbook(root: Path, tmp_path: Path) -> None:
    picture, workbook = tmp_path / "f.svg", tmp_path / "f.xlsx"
    asked = ["frontier", "tests/plain_books/note", "--points", "4", "--plot", str(picture), "--xlsx", str(workbook)]
    done = CliRunner().invoke(main, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads((root / "schemas" / "frontier.schema.json").read_text(encoding="utf-8")))
    assert [curve["axis"] for curve in document["curves"]] == ["risk_aversion", "answer", "regime", "both"]
    assert document["ladder"][-1]["gain_kept"] == 1.0
    assert "What caution protects" in picture.read_text(encoding="utf-8")
    sheets = pd.read_excel(workbook, sheet_name=None)
    assert {"frontier", "ladder", "scenario_optima", "gaps"} <= set(sheets)
    assert len(sheets["frontier"]) == 2 + sum(len(curve["points"]) for curve in document["curves"])


@pytest.mark.parametrize("name", ["note", "listed"])
def test_the_first_screen_has_45_lines_of_80_columns_and_full_has_all(name: str) -> None:
    asked = ["frontier", f"tests/plain_books/{name}", "--points", "9"]
    brief, full = (CliRunner().invoke(main, [*asked, *more]).stdout for more in ([], ["--full"]))
    assert len(brief.splitlines()) <= 45
    assert max(map(len, [*brief.splitlines(), *full.splitlines()])) <= 80
    for told in ("Return against risk", "caution about both", "The ladder", "The best plan for each scenario"):
        assert told in brief
    assert "caution about the regime" in full
    assert full.count("the plan") > brief.count("the plan")
