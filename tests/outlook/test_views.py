"""Views: probabilities nearest to the belief under what figures are held to be; or which views conflict, by name."""

from __future__ import annotations

import json
import re
from math import log
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scipy.optimize import minimize
from scipy.optimize import root as root_of
from scipy.stats import norm

from allocator.__main__ import main
from allocator.book.book import Book, from_weights
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.outlook.outlook import Outlook, believed_question, build_outlook
from allocator.outlook.scenario_tree import build_review_tree
from allocator.outlook.views import (
    EntropyPooling,
    PooledViews,
    ScenarioFigure,
    View,
    VolatilityFigure,
    pool_entropy,
    pool_views,
)
from allocator.stress_testing.belief_sweep import weights_by_belief
from allocator.stress_testing.shocked_book import apply_shock, shock_library
from allocator.types import Vector
from tests.command_line import runner
from tests.thoroughness import some

RETURNS = {"AAA": [0.3, 0.1, -0.2], "BBB": [0.1, 0.2, -0.1], "USD": [0.02, 0.02, 0.02]}


def book(views: dict[str, dict[str, Any]], probabilities: tuple[float, ...] = (0.5, 0.3, 0.2), **more: Any) -> Book:
    """Two names, cash and three scenarios."""
    names = ("good", "fair", "bad")[: len(probabilities)]
    return from_weights(
        {"AAA": 0.4, "BBB": 0.3},
        buckets={"AAA": "efficiency", "BBB": "capital_intensity", "USD": "cash"},
        returns={name: dict(zip(names, own, strict=False)) for name, own in RETURNS.items()},
        probabilities=dict(zip(names, probabilities, strict=True)),
        views=views,
        **more,
    )


def told(outlook: Outlook) -> PooledViews:
    assert outlook.views is not None
    return outlook.views


def refusals(views: dict[str, dict[str, Any]], **more: Any) -> list[str]:
    """What is said of views that no probabilities meet, or that mean nothing in the book."""
    with pytest.raises(BadInput) as caught:
        build_outlook(book(views, **more))
    return [str(breach) for breach in caught.value.breaches]


def random_program(seed: int) -> tuple[Vector, Vector, Vector, Any]:
    """Bounds that some probabilities meet, a part of them exactly."""
    rng = np.random.default_rng(seed)
    scenarios = int(rng.integers(2, 12))
    bounds = int(rng.integers(1, min(scenarios, 6)))
    prior, inside = rng.dirichlet(np.full(scenarios, rng.uniform(0.5, 3))), rng.dirichlet(np.full(scenarios, 2.0))
    rows = rng.normal(size=(bounds, scenarios)) * 10 ** rng.uniform(-2, 1)
    equal = rng.random(bounds) < 0.4
    slack = np.where(equal, 0.0, rng.exponential(0.1, bounds) * rng.integers(0, 2, bounds))
    return prior, rows, rows @ inside + slack, equal


@pytest.mark.parametrize("seed", some(range(200), 10))
def test_entropy_pooling_is_what_a_direct_dual_and_a_conic_solver_find(seed: int) -> None:
    prior, rows, limits, equal = random_program(seed)
    found = pool_entropy(prior, rows, limits, equal)
    assert found is not None

    scaled, bounds = rows / np.ptp(rows, axis=1)[:, None], limits / np.ptp(rows, axis=1)

    def dual(weights: Vector) -> tuple[float, Vector]:
        each = prior * np.exp(-weights @ scaled)
        return float(np.log(each.sum()) + weights @ bounds), bounds - scaled @ (each / each.sum())

    ends = [(None, None) if each else (0, None) for each in equal]
    options = {"ftol": 1e-16, "gtol": 1e-11, "maxiter": 20_000, "maxfun": 100_000}
    direct = minimize(dual, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=ends, options=options).x
    free = equal | (direct > 1e-6)

    def slopes(weights: Vector) -> Vector:
        return dual(np.where(free, 0.0, direct) + np.bincount(np.flatnonzero(free), weights, len(free)))[1][free]

    if free.any():  # a search by values ends where they no longer tell; its slopes are then brought to zero
        direct[free] = root_of(slopes, direct[free], method="lm", options={"xtol": 1e-15, "ftol": 1e-15}).x
    again = prior * np.exp(-direct @ scaled)
    assert found.probabilities == pytest.approx(again / again.sum(), abs=1e-8)
    assert found.relative_entropy == pytest.approx(-dual(direct)[0], abs=1e-8)

    q = cp.Variable(len(prior))
    kept = [rows[equal] @ q == limits[equal]] if equal.any() else []
    kept += [rows[~equal] @ q <= limits[~equal]] if not equal.all() else []
    program = cp.Problem(cp.Minimize(cp.sum(cp.kl_div(q, prior))), [cp.sum(q) == 1, *kept])
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert found.relative_entropy == pytest.approx(program.value, abs=1e-8)
    assert found.probabilities == pytest.approx(q.value, abs=1e-4)  # near the optimum the values hardly differ


@pytest.mark.parametrize("seed", some(range(200), 10))
def test_the_nearest_probabilities_meet_the_conditions_of_the_optimum(seed: int) -> None:
    prior, rows, limits, equal = random_program(seed + 1000)
    found = pool_entropy(prior, rows, limits, equal)
    assert isinstance(found, EntropyPooling)
    q, weights, left = found.probabilities, found.multipliers, limits - rows @ found.probabilities
    assert q.sum() == pytest.approx(1, abs=1e-13)
    tilted = prior * np.exp(-weights @ rows)
    assert q == pytest.approx(tilted / tilted.sum(), abs=1e-12)  # the gradient is no multiple of anything else
    size = np.ptp(rows, axis=1)
    assert np.abs(left[equal] / size[equal]).max(initial=0) <= 1e-8
    assert (left[~equal] / size[~equal]).min(initial=0) >= -1e-8
    assert weights[~equal].min(initial=0) >= 0
    assert np.abs(weights * left)[~equal].max(initial=0) <= 1e-8


def test_a_mean_on_two_scenarios_leaves_nothing_to_choose() -> None:
    found = told(build_outlook(book({"a": {"expected_return": {"instrument": "AAA"}, "equals": 0.15}}, (0.7, 0.3))))
    q = (0.15 - 0.1) / 0.2
    assert found.probabilities == pytest.approx([q, 1 - q], abs=1e-12)
    entropy = q * log(q / 0.7) + (1 - q) * log((1 - q) / 0.3)
    assert found.relative_entropy == pytest.approx(entropy, abs=1e-12)
    slope = (log(q / (1 - q)) - log(0.7 / 0.3)) / 0.2  # of the relative entropy, by the mean
    assert found.effects[0].multiplier == pytest.approx(abs(slope), rel=1e-9)


def test_a_probability_moves_the_others_in_proportion_as_believe_does() -> None:
    viewed = build_outlook(book({"p": {"probability": {"scenario": "bad"}, "equals": 0.4}}))
    believed = build_outlook(book({}, believe={"bad": 0.4}))
    assert viewed.probabilities == pytest.approx([0.375, 0.225, 0.4], abs=1e-12)
    assert viewed.probabilities == pytest.approx(believed.probabilities, abs=1e-12)


def test_a_view_that_holds_already_changes_nothing_and_binds_nowhere() -> None:
    found = told(build_outlook(book({"a": {"expected_return": {"instrument": "AAA"}, "at_least": 0.1}})))
    assert found.probabilities == pytest.approx([0.5, 0.3, 0.2], abs=1e-14)
    assert (found.relative_entropy, found.effects[0].multiplier) == (pytest.approx(0, abs=1e-14), 0)


def test_a_view_said_twice_is_said_once() -> None:
    view = {"expected_return": {"instrument": "AAA"}, "at_least": 0.2}
    once, twice = (build_outlook(book(views)).probabilities for views in ({"a": view}, {"a": view, "b": view}))
    assert once == pytest.approx(twice, abs=1e-12)


@pytest.mark.parametrize(
    ("view", "row"),
    [
        ({"expected_return": {"bucket": "efficiency"}, "equals": 0.2}, [0.3, 0.1, -0.2]),
        ({"expected_return": {"group": "both"}, "equals": 0.15}, [0.15, 0.175, -0.125]),
        ({"expected_return": {"portfolio": "held"}, "equals": 0.05}, [0.156, 0.106, -0.104]),
        ({"expected_return": {"instrument": "AAA"}, "over": {"instrument": "BBB"}, "equals": 0.08}, [0.2, -0.1, -0.1]),
        ({"probability": {"instrument": "AAA", "below": 0.0}, "equals": 0.3}, [0, 0, 1]),
        ({"probability": {"instrument": "AAA", "above": 0.1}, "equals": 0.3}, [1, 0, 0]),
    ],
)
def test_each_figure_is_the_one_that_its_words_say(view: dict[str, Any], row: list[float]) -> None:
    outlook = build_outlook(book({"it": view}, groups={"both": {"AAA": 0.25, "BBB": 0.75}}))
    assert float(outlook.probabilities @ np.array(row)) == pytest.approx(view["equals"], abs=1e-10)
    assert told(outlook).effects[0].after == pytest.approx(view["equals"], abs=1e-10)


def test_a_bucket_is_its_names_whatever_is_held_of_them() -> None:
    view = {"it": {"expected_return": {"bucket": "efficiency"}, "equals": 0.2}}
    more = from_weights(
        {"BBB": 1.0},
        buckets={"AAA": "efficiency", "BBB": "capital_intensity", "USD": "cash"},
        returns={name: dict(zip(("good", "fair", "bad"), own, strict=True)) for name, own in RETURNS.items()},
        probabilities={"good": 0.5, "fair": 0.3, "bad": 0.2},
        views=view,
    )
    assert build_outlook(more).probabilities == pytest.approx(build_outlook(book(view)).probabilities, abs=1e-15)


def test_a_return_below_a_number_counts_the_risk_within_each_scenario(root: Path) -> None:
    view = 'views.fall={probability={instrument="GPU",below=-0.1},equals=0.3}'
    outlook = build_outlook(load(root / "tests" / "plain_books" / "note", overrides=[view]))
    i = load(root / "tests" / "plain_books" / "note").instruments.index("GPU")
    within = norm.cdf((-0.1 - outlook.returns[:, i]) / np.sqrt(outlook.risk.variances[i]))
    assert float(outlook.probabilities @ within) == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize(
    ("bound", "kept"), [("at_most", 0.12), ("at_least", 0.22), ("equals", 0.13), ("equals", 0.16), ("equals", 0.185)]
)
def test_a_volatility_is_that_of_the_probabilities_that_are_found(bound: str, kept: float) -> None:
    outlook = build_outlook(book({"v": {"volatility": {"instrument": "AAA"}, bound: kept}}))
    gains, q = outlook.returns[:, 0], outlook.probabilities
    assert float(np.sqrt(q @ gains**2 - (q @ gains) ** 2)) == pytest.approx(kept, abs=1e-9)
    # no small step along the constraint comes nearer to the belief
    slope, curve = np.log(q / np.array([0.5, 0.3, 0.2])), gains**2 - 2 * (q @ gains) * gains
    along = np.cross(np.ones(3), curve)
    assert float(slope @ along) / np.linalg.norm(along) == pytest.approx(0, abs=1e-7)


def test_a_volatility_beside_a_stated_mean_is_around_that_mean() -> None:
    views = {
        "m": {"expected_return": {"instrument": "AAA"}, "equals": 0.1},
        "v": {"volatility": {"instrument": "AAA"}, "equals": 0.18},
    }
    q = build_outlook(book(views)).probabilities
    rows = np.array([np.ones(3), RETURNS["AAA"], np.square(RETURNS["AAA"])])
    assert q == pytest.approx(np.linalg.solve(rows, [1, 0.1, 0.18**2 + 0.1**2]), abs=1e-9)


def test_confidence_pools_the_belief_with_what_meets_the_views() -> None:
    view = {"probability": {"scenario": "bad"}, "equals": 0.6}
    half = told(build_outlook(book({"p": view | {"confidence": 0.25}})))
    sure = told(build_outlook(book({"p": view})))
    assert half.probabilities == pytest.approx(0.75 * half.prior + 0.25 * sure.probabilities, abs=1e-12)
    assert (half.effects[0].met, half.effects[0].after) == (pytest.approx(0.6), pytest.approx(0.75 * 0.2 + 0.25 * 0.6))
    aside = told(build_outlook(book({"p": view | {"confidence": 0.0}})))
    assert aside.probabilities == pytest.approx(aside.prior, abs=1e-15)


def test_views_of_several_confidences_are_pooled_layer_by_layer() -> None:
    first = {"probability": {"scenario": "bad"}, "equals": 0.4, "confidence": 0.7}
    second = {"expected_return": {"instrument": "BBB"}, "equals": 0.05, "confidence": 0.2}
    found = told(build_outlook(book({"one": first, "two": second})))
    alone = told(build_outlook(book({"one": first | {"confidence": 1.0}}))).probabilities
    both = told(build_outlook(book({"one": first | {"confidence": 1.0}, "two": second | {"confidence": 1.0}})))
    expected = 0.3 * found.prior + 0.5 * alone + 0.2 * both.probabilities
    assert found.probabilities == pytest.approx(expected, abs=1e-12)


# What no probabilities meet.
#


def test_a_view_out_of_reach_says_what_its_figure_can_be_and_the_cure_works() -> None:
    view = {"expected_return": {"instrument": "AAA"}, "at_least": 0.4}
    (said,) = refusals({"high": view})
    assert said == (
        "book.toml views.high: is met by no probabilities: the expected return of AAA is from -0.2 to 0.3 "
        "(got 'at_least = 0.4'); lower at_least to 0.3 or less"
    )
    assert build_outlook(book({"high": view | {"at_least": 0.3}})).probabilities[0] == pytest.approx(1, abs=1e-8)


def test_views_that_conflict_are_named_with_what_each_can_be_beside_the_others() -> None:
    views = {
        "aaa": {"expected_return": {"instrument": "AAA"}, "at_least": 0.2},
        "idle": {"expected_return": {"instrument": "BBB"}, "at_least": 0.0},
        "bad": {"probability": {"scenario": "bad"}, "at_least": 0.3},
    }
    said = refusals(views)
    assert [re.split(r"[: ]", one)[1] for one in said] == ["views.aaa", "views.bad"]
    assert "beside views.bad: with all others the expected return of AAA is from -0.1 to 0.15 " in said[0]
    assert said[0].endswith("lower at_least to 0.15 or less, or remove one of them")
    assert said[1].endswith("lower at_least to 0.2 or less, or remove one of them")
    assert build_outlook(book(views | {"aaa": views["aaa"] | {"at_least": 0.15}})).probabilities[2] == pytest.approx(
        0.3
    )
    assert build_outlook(book(views | {"bad": views["bad"] | {"at_least": 0.2}})).probabilities[1] < 1e-6


def test_two_numbers_for_one_figure_are_a_conflict_of_the_two() -> None:
    view = {"expected_return": {"instrument": "AAA"}}
    said = refusals({"one": view | {"equals": 0.1}, "two": view | {"equals": 0.2}})
    assert [one.rpartition("; ")[2] for one in said] == [
        "write equals = 0.2, or remove one of them",
        "write equals = 0.1, or remove one of them",
    ]


def test_a_view_that_needs_a_scenario_without_a_probability_says_which() -> None:
    (said,) = refusals({"low": {"expected_return": {"instrument": "AAA"}, "at_most": 0.0}}, probabilities=(0.5, 0.5, 0))
    assert "as bad has no probability" in said
    assert said.endswith("raise at_most to 0.1 or more, or give bad a probability above 0")


def test_a_volatility_out_of_reach_has_a_cure_that_works_at_either_end() -> None:
    view = {"volatility": {"instrument": "AAA"}}
    for key, wanted, far in (("at_least", "lower at_least to ", 0.4), ("at_most", "raise at_most to ", 0.01)):
        (said,) = refusals({"v": view | {key: far}})
        cure = float(said.rpartition(wanted)[2].split()[0])
        found = told(build_outlook(book({"v": view | {key: cure}}))).effects[0].after
        assert found == pytest.approx(cure, abs=1e-6) or (key == "at_most" and found < cure)


def test_views_leave_what_believe_states_and_name_it_where_they_conflict() -> None:
    believe = {"bad": 0.3}
    kept = build_outlook(book({"a": {"expected_return": {"instrument": "AAA"}, "equals": 0.1}}, believe=believe))
    assert kept.probabilities[2] == pytest.approx(0.3, abs=1e-12)
    assert kept.probabilities @ np.array(RETURNS["AAA"]) == pytest.approx(0.1, abs=1e-12)
    (said,) = refusals({"p": {"probability": {"scenario": "bad"}, "equals": 0.5}}, believe=believe)
    assert "beside believe.bad: with all others the probability of bad is 0.3" in said


def test_all_independent_conflicts_are_told_at_once() -> None:
    said = refusals({
        "high": {"expected_return": {"instrument": "AAA"}, "at_least": 0.9},
        "low": {"expected_return": {"instrument": "BBB"}, "at_most": -0.9},
    })  # fmt: skip
    assert [one.split(":")[0] for one in said] == ["book.toml views.high", "book.toml views.low"]


@pytest.mark.parametrize(
    ("view", "key", "rule"),
    [
        ({"at_least": 0.1}, "views.x", "must be of one figure, and is of none"),
        ({"expected_return": {"instrument": "AAA"}}, "views.x", "has no bound"),
        ({"expected_return": {"instrument": "AAB"}, "equals": 0}, "views.x.expected_return.instrument", "no such inst"),
        ({"expected_return": {"bucket": "neutral"}, "equals": 0}, "views.x.expected_return.bucket", "has no names"),
        ({"expected_return": {}, "equals": 0}, "views.x.expected_return", "must name one thing, and names nothing"),
        ({"expected_return": {"portfolio": "benchmark"}, "equals": 0}, "views.x.expected_return.portfolio", "there is"),
        ({"probability": {"instrument": "AAA"}, "equals": 0.1}, "views.x.probability", "a return has a probability"),
        ({"probability": {"scenario": "bad", "below": 0}, "equals": 0.1}, "views.x.probability", "a scenario is neith"),
        ({"probability": {"scenario": "bad"}, "equals": 12}, "views.x", "a bound on probability must be from 0 to 1"),
        ({"volatility": {"instrument": "AAA"}, "at_least": 0.3, "at_most": 0.2}, "views.x", "at_least = 0.3 is above"),
        ({"probability": {"scenario": "bda"}, "equals": 0.1}, "views.x.probability.scenario", "no such scenario"),
        (
            {"expected_return": {"instrument": "AAA"}, "over": {"instrument": "AAA"}, "equals": 0.1},
            "views.x.over",
            "is what it is ranked over itself",
        ),
    ],
)
def test_a_view_that_means_nothing_is_refused_where_it_stands(view: dict[str, Any], key: str, rule: str) -> None:
    (said,) = refusals({"x": view})
    assert said.startswith(f"settings {key}: {rule}"), said


# What views are part of: trees, screens, documents, stress, what-ifs.
#
VIEW = 'views.compression={probability={regime="compression"},at_least=0.35}'


@pytest.fixture(scope="module")
def reviewed(root: Path) -> Book:
    """A book with reviews, and a view that moves both axes."""
    views = [VIEW, 'views.cloud={expected_return={instrument="CLOUD"},at_most=0.08}']
    return load(root / "tests" / "plain_books" / "reviewed", overrides=views)


def test_a_tree_goes_on_from_the_views_by_bayes_rule(reviewed: Book) -> None:
    outlook = build_outlook(reviewed)
    tree = build_review_tree(reviewed, outlook).tree
    ends = tree.reach()[1]
    assert ends.sum() == pytest.approx(1, abs=1e-12)
    whole = np.array([ends[tree.leaf_scenarios == k].sum() for k in range(len(reviewed.scenarios))])
    assert whole == pytest.approx(outlook.probabilities, abs=1e-12)
    assert told(outlook).effects[1].after == pytest.approx(0.08, abs=1e-9)
    held = whole @ outlook.returns[:, reviewed.instruments.index("CLOUD")]
    assert held == pytest.approx(0.08, abs=1e-9)


def test_after_a_shock_views_are_part_of_the_belief_and_are_not_stated_again(reviewed: Book) -> None:
    outlook, shock = build_outlook(reviewed), shock_library(reviewed).shocks["all_silent_12_months"]
    after = apply_shock(reviewed, outlook, "all_silent_12_months", shock)
    assert after.book.settings.views == {}
    stated = [one.probability for one in after.book.settings.scenarios.values()]
    assert build_outlook(after.book).probabilities == pytest.approx(outlook.probabilities, abs=1e-12)
    assert stated != [one.probability for one in reviewed.settings.scenarios.values()]


def test_a_sweep_of_beliefs_states_the_belief_without_views(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.stress_testing.belief_sweep.SLOPE", (0.3, 0.8))
    path = root / "tests" / "plain_books" / "note"
    plain, viewed = (weights_by_belief(load(path, overrides=views), costs=False) for views in ([], [VIEW]))
    assert all(np.array_equal(plain[name], viewed[name]) for name in plain)


def test_a_book_without_views_has_none_and_what_if_may_take_them_away(root: Path) -> None:
    path = root / "tests" / "plain_books" / "note"
    plain, away = load(path), load(path, overrides=[VIEW, "views={}"])
    assert build_outlook(plain).views is None
    assert np.array_equal(build_outlook(plain).probabilities, build_outlook(away).probabilities)
    question = believed_question(plain)
    assert question is not None
    assert question.view is None


@pytest.mark.parametrize("command", ["check", "outlook", "rebalance", "explain"])
def test_documents_say_what_views_did_and_only_where_there_are_any(root: Path, command: str) -> None:
    schema = json.loads((root / "schemas" / f"{'plan' if command == 'rebalance' else command}.schema.json").read_text())
    path = str(root / "tests" / "plain_books" / "listed")
    view_of = VIEW.replace("0.35", "0.45")
    done = runner().invoke(main, [command, path, "--set", view_of, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    Draft202012Validator(schema).validate(document)
    (view,) = document["views"]["views"]
    assert (view["view"], view["figure"]) == ("compression", "probability of compression")
    assert view["after"] == pytest.approx(0.45, abs=1e-9)
    shown = runner().invoke(main, [command, path, "--set", view_of])
    assert " effective scenarios, " in shown.stdout
    assert "compression." in re.sub(r"\s+", " ", shown.stdout).partition("binding: ")[2][:14]
    if command == "check":
        assert "views" not in json.loads(runner().invoke(main, [command, path, "--json"]).stdout)


def test_a_conflict_of_volatilities_and_means_never_leaves_an_unmet_view() -> None:
    rng = np.random.default_rng(20)
    for _ in range(10):
        prior, gains = rng.dirichlet(np.full(5, 2.0)), rng.normal(size=5) * 0.3
        figure = VolatilityFigure(gains, 0.02, 1.0, "volatility of X")
        kept = figure.at(prior) * rng.uniform(0.7, 1.2)
        mean = View("m", ScenarioFigure(rng.normal(size=5), "expected return of Y"), 0.0, 2.0, 1.0)
        views = [View("v", figure, kept, kept, 1.0), mean]
        said, found = "", None
        try:
            found = pool_views(views, [], list("abcde"), prior)
        except BadInput as error:
            said = str(error)
        assert ("met by no probabilities" in said) == (found is None)
        assert found is None or figure.at(found.probabilities) == pytest.approx(kept, abs=1e-8)


def test_bounds_that_only_rounding_keeps_apart_are_met_and_proved() -> None:
    prior = np.array([0.65, 0.35])
    first, second = np.array([0.101, -0.051]), np.array([0.263, 0.18])
    q = (0.05 + 0.051) / (0.101 + 0.051)
    tight = View("b", ScenarioFigure(second, "of B"), round(q * 0.263 + (1 - q) * 0.18, 10), 1.0, 1.0)
    both = [View("a", ScenarioFigure(first, "of A"), 0.05, 0.05, 1.0), tight]
    assert pool_views(both, [], ["x", "y"], prior).probabilities == pytest.approx([q, 1 - q], abs=1e-8)
