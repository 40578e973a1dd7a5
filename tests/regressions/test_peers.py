"""What respected optimizers get wrong in silence, here named after what the user wanted (each was reproduced there).

PyPortfolioOpt, Riskfolio-Lib, skfolio, fortitudo.tech, qlib and LEAN swap labels, drop rules that match nothing, say
"infeasible" without a name, or hand back today's or equal weights when no solver converged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book, from_frames
from allocator.book.loading import load
from allocator.errors import BadInput, Infeasible, NotSolved
from allocator.optimization.quadratic_program import QuadraticProgram
from allocator.plan.plan import Plan
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS, KEPT
from tests.books import CASH, NAMES, book, exposures, holdings

if TYPE_CHECKING:
    from tests.conftest import Folder

SIX = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
NUMBERS = {
    "book": {"name": "two", "currency": "USD", "as_of": pd.Timestamp("2026-11-20").date()},
    "scenarios": {"base": {"probability": 1.0}},
    "risk": {"source": "covariance"},
    "mandate": {"objective": "minimum_variance", "max_cash": 0.0},
}


def refused(make: Callable[[], object]) -> list[str]:
    with pytest.raises(BadInput) as error:
        make()
    return [str(breach) for breach in error.value.breaches]


def by_name(plan: Plan) -> dict[str, float]:
    return {name: round(float(w), 8) for name, w in zip(plan.book.instruments, plan.target.weights, strict=True)}


def two(names: tuple[str, str], covariance_names: tuple[str, str]) -> Book:
    """A risky and a safe name; the covariance is given in an order of its own."""
    variance = {"RISKY": 0.16, "SAFE": 0.0001}
    square = pd.DataFrame(
        np.diag([variance[name] for name in covariance_names]),
        index=pd.Index(covariance_names, name="instrument"), columns=list(covariance_names),
    )  # fmt: skip
    tables = {
        "holdings": holdings(names, cash=0.0), "exposures": exposures(names), "covariance": square,
        "scenario_returns": pd.DataFrame({"instrument": [CASH, *names[::-1]], "base": [0.02, 0.05, 0.05]}),
    }  # fmt: skip
    quiet = [{"table": "covariance", "kind": "scale", "why": "one name is meant to be safe"}]
    return from_frames(NUMBERS, tables, confirm=quiet)


# PyPortfolioOpt and Riskfolio-Lib: RISKY 0.9996, labels swapped without a warning


@pytest.mark.parametrize("names", [("RISKY", "SAFE"), ("SAFE", "RISKY")])
@pytest.mark.parametrize("covariance", [("RISKY", "SAFE"), ("SAFE", "RISKY")])
def test_a_covariance_in_another_order_keeps_its_labels(names: tuple[str, str], covariance: tuple[str, str]) -> None:
    weights = by_name(rebalance(two(names, covariance)))

    # minimum variance of two uncorrelated names: in proportion to 1 / variance
    assert weights["RISKY"] == pytest.approx(0.0001 / 0.1601, abs=HOLDINGS)
    assert weights["SAFE"] == pytest.approx(0.16 / 0.1601, abs=HOLDINGS)


def test_reordered_tables_give_the_same_plan_to_the_same_names(listed: Folder) -> None:
    first = rebalance(load(listed.path))
    for number, file in enumerate(("holdings", "exposures", "scenario_returns", "benchmark")):
        table = pd.read_csv(listed.path / f"{file}.csv").sample(frac=1, random_state=number)
        table[table.columns[::-1]].to_csv(listed.path / f"{file}.csv", index=False)

    second = rebalance(load(listed.path))

    assert second.book.instruments != first.book.instruments
    assert {name: round(weight, 6) for name, weight in by_name(second).items()} == {
        name: round(by_name(first)[name], 6) for name in second.book.instruments
    }
    assert {(order.side, order.instrument, order.quantity) for order in second.orders} == {
        (order.side, order.instrument, order.quantity) for order in first.orders
    }


# PyPortfolioOpt: the dict collapses, weights sum to 0.667


def test_a_ticker_given_twice_is_refused_and_does_not_collapse(listed: Folder) -> None:
    for file in ("exposures.csv", "scenario_returns.csv", "holdings.csv", "benchmark.csv"):
        rows = listed.rows(file)
        listed.write(file, [*rows, rows[6]])

    found = refused(lambda: load(listed.path))

    for file in ("exposures.csv", "scenario_returns.csv", "benchmark.csv"):
        assert any(f"{file}:16 instrument: must be unique (got 'NVDA'); row 7 says the same" in line for line in found)
    assert any("holdings.csv:16 instrument: account and instrument together must be unique" in line for line in found)


def test_the_weights_of_a_plan_always_sum_to_one(listed: Folder) -> None:
    plan = rebalance(load(listed.path))

    assert plan.target.weights.sum() + plan.target.cash / plan.target.value == pytest.approx(1, abs=KEPT)
    assert plan.final.weights.sum() + plan.final.cash / plan.final.value == pytest.approx(1, abs=1e-12)
    assert plan.target.weights.min() >= 0


# PyPortfolioOpt: "Please check your objectives/constraints or use a different solver" for all of these


def test_sector_floors_above_the_whole_are_named_with_a_fix() -> None:
    groups = {"north": ["AAA", "BBB", "CCC"], "south": ["DDD", "EEE", "FFF"]}
    mandate = {"groups": {"north": {"min": 0.7}, "south": {"min": 0.6}}}

    with pytest.raises(Infeasible) as error:
        rebalance(book({"mandate": mandate, "groups": groups}, names=SIX))

    assert set(error.value.rules) == {"group north at least 70%", "group south at least 60%"}
    assert "'group north at least 70%' and 'group south at least 60%'" in str(error.value)
    assert set(error.value.fixes) == {
        "lower the first to 40%",
        "lower the second to 30%",
    }


def test_bounds_that_cannot_add_up_are_counted_for_the_user() -> None:
    with pytest.raises(Infeasible) as error:
        rebalance(book({"mandate": {"max_weight": 0.1, "max_cash": 0.0}}, names=SIX))

    assert "caps add up to 60% and cash is at most 0%: together less than 100%" in str(error.value)
    assert error.value.fixes == ("raise mandate.max_weight to 17.17%", "raise 'cash at most 0%' to 40%")


# Riskfolio-Lib: a row 0·w ≤ 0.3, vacuous; skfolio: a warning, and the rule is gone


@pytest.mark.parametrize(
    ("mandate", "said"),
    [
        ({"groups": {"g3": {"max": 0.3}}}, "mandate.groups.g3: no such group (got 'g3'); known here: g1"),
        ({"groups": {"Clases": {"max": 0.3}}}, "mandate.groups.Clases: no such group (got 'Clases'); known here: g1"),
        ({"Clases": {"g1": {"max": 0.3}}}, "mandate.Clases: unknown key; "),
        ({"issuers": {"Nobody": {"max": 0.3}}}, "mandate.issuers.Nobody: no such issuer in exposures.csv"),
        ({"buckets": {"effciency": {"min": 0.3}}}, "mandate.buckets.effciency: no such bucket (got 'effciency'); did"),
    ],
)  # fmt: skip
def test_a_rule_about_an_unknown_group_is_refused_and_not_dropped(mandate: dict[str, Any], said: str) -> None:
    (only,) = refused(lambda: book({"mandate": mandate, "groups": {"g1": ["AAA"]}}))

    assert said in only


# Riskfolio-Lib: Sign "=<" ends in UnboundLocalError


@pytest.mark.parametrize("sign", ["=<", "maximum", "Max", "le"])
def test_a_typo_in_the_direction_of_a_rule_is_refused_by_name(sign: str) -> None:
    (only,) = refused(lambda: book({"mandate": {"weights": {"AAA": {sign: 0.3}}}}))

    assert f"mandate.weights.AAA.{sign}: unknown key (got '0.3')" in only
    assert "max" in only.split(";")[1]


# Riskfolio-Lib: rm "CVar" ends in UnboundLocalError


@pytest.mark.parametrize(
    ("section", "key", "value", "cure"),
    [
        ("robust", "set", "Total_Variation", "did you mean 'total_variation'?"),
        (
            "robust",
            "set",
            "CVar",
            "known here: box, contamination, hull, kl, modified_chi2, none, polytope, total_variation, "
            "wasserstein, worst",
        ),
        ("mandate", "objective", "min_variance", "did you mean 'minimum_variance'?"),
        ("risk", "method", "LedoitWolf", "did you mean 'ledoit_wolf'?"),
        ("risk", "source", "price", "did you mean 'prices'?"),
    ],
)
def test_a_misspelt_choice_is_refused_with_the_nearest_one(section: str, key: str, value: str, cure: str) -> None:
    given = {"risk": {"market_volatility": 0.15}, section: {"market_volatility": 0.15} if section == "risk" else {}}
    given[section] = given[section] | {key: value}

    (only,) = refused(lambda: book(given))

    assert f"{section}.{key}: must be one of " in only
    assert only.endswith(cure)


# skfolio: max_weights={"NVDIA": 0.05} is ignored and NVDA gets 0.333


def test_a_cap_for_a_misspelt_name_is_refused_with_the_nearest_name(listed: Folder) -> None:
    listed.replace("book.toml", "[mandate.weights.NVDA]\nmin = 0.05", "[mandate.weights.NVDIA]\nmax = 0.05")

    (only,) = refused(lambda: load(listed.path))

    assert "no such instrument in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?" in only


def test_a_cap_for_a_name_is_kept_by_that_name(listed: Folder) -> None:
    plan = rebalance(load(listed.path, overrides=["mandate.weights.NVDA.max=0.05", "mandate.weights.NVDA.min=0.0"]))

    assert plan.final.weights[plan.book.instruments.index("NVDA")] <= 0.05


# skfolio: infeasible bounds are "Solver 'CLARABEL' failed. Try another solver"


def test_an_infeasible_mandate_is_never_blamed_on_the_solver() -> None:
    mandate = {"weights": {"AAA": {"min": 0.6}, "BBB": {"max": 0.1}}, "max_turnover": 0.1}

    with pytest.raises(Infeasible) as error:
        rebalance(book({"mandate": mandate}))

    assert "solver" not in str(error.value).lower()
    assert "AAA at least 60%" in error.value.rules
    assert any(rule.startswith("turnover at most 10%") for rule in error.value.rules)


# skfolio: previous_weights={"NVDIA": 1.0} with max_turnover is the same generic failure


def test_a_turnover_limit_with_an_unknown_holding_names_the_holding(listed: Folder) -> None:
    rows = listed.rows("holdings.csv")
    rows[6][1] = "NVDIA"
    listed.write("holdings.csv", rows)

    found = refused(lambda: load(listed.path))

    assert "holdings.csv:7 instrument: is not in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?" in found


# fortitudo.tech: probabilities that sum to 4e-181, and two numpy warnings


@pytest.mark.parametrize("probabilities", [(4.4e-181, 0.0), (0.5, 0.4), (1.0, 1.0), (0.0, 0.0)])
def test_probabilities_that_are_none_are_refused(probabilities: tuple[float, float]) -> None:
    returns = {"up": [0.1] * 4, "down": [-0.1] * 4}

    (only,) = refused(
        lambda: book(returns=returns, probabilities=dict(zip(("up", "down"), probabilities, strict=True)))
    )

    assert "scenarios.*.probability: probabilities must sum to 1" in only


@pytest.mark.parametrize("probability", [-0.5, 1.5, float("nan"), float("inf")])
def test_a_probability_outside_zero_to_one_is_refused(probability: float) -> None:
    found = refused(
        lambda: book(
            returns={"up": [0.1] * 4, "down": [-0.1] * 4}, probabilities={"up": probability, "down": 1 - probability}
        )
    )

    assert any("scenarios.up.probability" in line for line in found)


# cvxportfolio handles NaN; here too it is refused, never filled


@pytest.mark.parametrize(
    ("table", "column", "row"), [("holdings", "price", 2), ("scenario_returns", "base", 1), ("exposures", "beta", 3)]
)
def test_a_number_that_is_missing_is_refused_and_not_filled(table: str, column: str, row: int) -> None:
    tables = {
        "holdings": holdings(), "exposures": exposures(),
        "scenario_returns": pd.DataFrame({"instrument": [*NAMES, CASH], "base": [0.1] * 4 + [0.02]}),
    }  # fmt: skip
    tables[table].loc[row - 1, column] = np.nan
    settings = {key: NUMBERS[key] for key in ("book", "scenarios")} | {"risk": {"market_volatility": 0.2}}

    (only,) = refused(lambda: from_frames(settings, tables))

    assert only.startswith(f"{table}:{row} {column}: must not be blank")


# cvxportfolio: ProgramInfeasible for a group cap, no rule named


def test_an_infeasible_group_cap_names_the_rules_in_conflict() -> None:
    mandate = {"max_cash": 0.1, "groups": {"all": {"max": 0.5}}}

    with pytest.raises(Infeasible) as error:
        rebalance(book({"mandate": mandate, "groups": {"all": ["AAA", "BBB", "CCC", "DDD"]}}))

    assert set(error.value.rules) == {"group all at most 50%", "cash at most 10%"}
    assert set(error.value.fixes) == {"raise the first to 90%", "raise the second to 50%"}


# qlib logs "solver ECOS is not installed" and returns today's weights; LEAN returns equal weights


@pytest.mark.parametrize("status", [cp.OPTIMAL_INACCURATE, cp.USER_LIMIT, cp.SOLVER_ERROR, cp.UNBOUNDED])
def test_a_solver_that_does_not_converge_never_gives_weights(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsolved(self: QuadraticProgram, _: object) -> None:
        self.status = status

    monkeypatch.setattr(QuadraticProgram, "solve", unsolved)
    monkeypatch.setattr(cp.Problem, "status", property(lambda _: status))

    with pytest.raises(NotSolved) as error:
        rebalance(book({"mandate": {"max_weight": 0.5}}))

    assert f"PIQP: {status}; CLARABEL: {status}" in str(error.value)
    assert error.value.exit_code == 5


def test_a_solver_that_is_not_installed_never_gives_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise cp.SolverError("The solver PIQP is not installed.")

    monkeypatch.setattr(QuadraticProgram, "solve", lambda *_: None)
    monkeypatch.setattr(cp.Problem, "get_problem_data", missing)

    with pytest.raises(NotSolved, match="is not installed"):
        rebalance(book({"mandate": {"max_weight": 0.5}}))


def test_targets_that_nobody_can_vouch_for_never_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that says `optimal` and hands back today's holdings is caught by our own checks."""
    made = book({"mandate": {"risk_aversion": 0.5}}, returns={"base": [0.3, 0.2, -0.1, -0.2]})
    honest = rebalance(made)
    assert honest.orders
    from allocator.optimization.solve import Program

    solve = Program.solve

    def lazy(self: Program, start: Any, *rest: Any) -> Any:
        from dataclasses import replace

        return replace(solve(self, start, *rest), holdings=start.holdings.copy())

    monkeypatch.setattr(Program, "solve", lazy)

    with pytest.raises(NotSolved, match="from the proved bound"):
        rebalance(made)
