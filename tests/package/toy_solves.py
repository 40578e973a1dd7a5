"""Solves a small book with each toy of `toys.py`, in the copy of the checkout that is given: prints what came of each.

Every answer is held to one that is computed here, without Allocator, and every proof to the copy's own
`docs/verify_plan.py`.
"""

from __future__ import annotations

import io
import json
import runpy
import sys
import traceback
from contextlib import redirect_stdout
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonschema import Draft202012Validator
from scipy.optimize import linprog

import allocator
from allocator.book.book import Book, from_frames
from allocator.display.plan import show_plan
from allocator.multistage.mandate import OBJECTIVES
from allocator.outlook.calibration import calibrate
from allocator.plan.document import PlanDocument, plan_document
from allocator.plan.plan import Plan
from allocator.rules import ConvexRule, LinearRule
from tests import books
from tests.make_schemas import document_schema
from tests.package.toys import TOYS

ROOT = Path(sys.argv[1])
NEUTRAL = {"risk_aversion": 0.0}
SCHEMA: list[dict[str, Any]] = []


def solved(book: Book) -> tuple[Plan, dict[str, Any]]:
    """A plan that is certified, and whose document keeps its schema and is verified by a stranger."""
    plan = allocator.rebalance(book)
    document = json.loads(json.dumps(plan_document(plan)))
    SCHEMA[:] = SCHEMA or [document_schema(PlanDocument)]
    Draft202012Validator(SCHEMA[0]).validate(document)
    assert abs(plan.certificate.gap) <= plan.certificate.allowed
    assert refusal(document) == ""
    return plan, document


def refusal(document: dict[str, Any]) -> str:
    """What `docs/verify_plan.py` says of it in the end: nothing where all its claims hold."""
    before, sys.stdin = sys.stdin, io.StringIO(json.dumps(document))
    try:
        with redirect_stdout(io.StringIO()) as said:
            runpy.run_path(str(ROOT / "docs" / "verify_plan.py"))
    except SystemExit as ended:
        return str(ended.code or "").strip() or ("" if said.getvalue().startswith("verified: ") else "nothing said")
    finally:
        sys.stdin = before
    return "it did not end"


def near(told: Any, expected: Any, to: float = 1e-6) -> None:
    """The same but for what a solver leaves."""
    assert np.allclose(told, expected, rtol=0, atol=to), f"{told} where {expected} is right"


def binds(plan: Plan, label: str) -> None:
    """The rule of that label has a price."""
    assert [one for one in plan.binding if one.label == label and one.bps_per_point > 0.1], plan.binding


def a_linear_rule() -> None:
    """Cash at 2 % into BBB at 20 %, as far as a tenth of the account goes; AAA at 5 % stays."""
    book = books.book(
        {"mandate": NEUTRAL | {"max_purchases": 0.1}}, names=("AAA", "BBB"), returns={"base": [0.05, 0.2]}
    )
    plan, document = solved(book)
    bounds = [(0, None)] * 5
    held = np.array([1 / 3, 1 / 3, 1 / 3])
    gains = np.array([-0.05, -0.2, 0.05, 0.2, 0.0]) + 0.02 * np.array([1, 1, -1, -1, 0])
    best = linprog(-gains, A_ub=[[0, 0, 1, 1, 0]], b_ub=[0.1], bounds=[(0, 1 / 3)] * 2 + bounds[2:])

    near(plan.target.weights, held[:2] + best.x[2:4] - best.x[:2])
    binds(plan, "purchases at most 10%")
    assert [(order["side"], order["instrument"], order["quantity"]) for order in document["orders"]] == [
        ("buy", "BBB", 3.0)
    ]
    assert isinstance(plan.mandate.linear_rules[0], LinearRule)


def a_convex_rule() -> None:
    """The largest mean within a ball lies along what each name earns over cash."""
    names, returns = ("AAA", "BBB", "CCC"), [0.05, 0.1, 0.15]
    book = books.book({"mandate": NEUTRAL | {"max_concentration": 0.5}}, names=names, returns={"base": returns})
    plan, document = solved(book)
    over = np.array(returns) - 0.02

    near(plan.target.weights, 0.5 * over / np.linalg.norm(over))
    binds(plan, "concentration at most 50%")
    near(document["proof"]["convex"][0]["direction"], over / np.linalg.norm(over), 1e-5)
    assert isinstance(plan.mandate.convex_rules[0], ConvexRule)
    document["proof"]["convex"][0]["limit"] -= 0.1
    assert "concentration at most 50%" in refusal(document)


def an_ambiguity_set() -> None:
    """The best of the worst over the set's corners, each of which fills up scenarios in some order."""
    returns, p, radius = {"up": [0.3, -0.1], "flat": [0.02, 0.05], "down": [-0.2, 0.15]}, (0.5, 0.3, 0.2), 0.25
    settings = {"robust": {"set": "capped", "radius": radius}, "mandate": NEUTRAL}
    book = books.book(settings, names=("AAA", "BBB"), returns=returns, probabilities=dict(zip(returns, p, strict=True)))
    plan, _ = solved(book)
    corners = []
    for order in permutations(range(3)):
        q, left = np.zeros(3), 1.0
        for k in order:
            q[k] = min(p[k] + radius, left)
            left -= q[k]
        corners.append(q)
    gains = np.array(corners) @ np.array([[*own, 0.02] for own in returns.values()])
    best = linprog([0, 0, 0, -1], A_ub=np.hstack([-gains, np.ones((6, 1))]), b_ub=np.zeros(6), A_eq=[[1, 1, 1, 0]],
                   b_eq=[1], bounds=[(0, None)] * 3 + [(None, None)])  # fmt: skip

    near(plan.targeted.adverse_expected_return, -best.fun, 1e-7)
    assert max(plan.adversary - np.array(p)) > radius - 1e-9
    draws = plan.mandate.ambiguity.sample(np.array(p), np.random.default_rng(1), 500)
    assert 0.9 * radius < (draws - p).max() <= radius + 1e-12


def an_objective() -> None:
    """One name and cash over two scenarios: where the marginal utilities of both are equal."""
    settings = {"mandate": {"objective": "exponential", "relative_risk_aversion": 3.0}}
    book = books.book(settings, names=("AAA",), returns={"up": [0.3], "down": [-0.2]}, cash=1000.0)
    plan, document = solved(book)
    up, down, aversion = 0.3 - 0.02, -0.2 - 0.02, 3.0
    best = np.log(up / -down) / (aversion * (up - down))
    loss = np.mean(np.expm1(-aversion * (0.02 + best * np.array([up, down]))) / aversion)

    assert OBJECTIVES["exponential"].is_proved
    near(plan.target.weights[0], best, 1e-4)
    near(plan.certificate.objective, loss, 1e-8)
    assert document["policy"]["proof"]["utility"] == "exponential"


def a_driver() -> None:
    """A name that hangs on power is worth e^(−shortage × loading) times what it was; the others are as they were."""
    short, plain = driven(0.4), driven(0.0)
    expected = (1 + plain.outlook.returns) * np.exp(-np.outer([0.4, 0.0], [1.5, 0.0])) - 1

    near(short.outlook.returns, expected, 1e-12)
    model = calibrate(short.book)
    assert model is not None
    parts = model.drivers(short.book.settings.years)
    near(sum(parts.values()), model.returns, 1e-12)
    assert parts["power"][0, 0] < -0.1
    assert plain.target.weights[0] > short.target.weights[0] + 0.5
    solved(short.book)


def driven(shortage: float) -> Plan:
    """Two names, of which the first hangs on power, where one scenario may lack it."""
    frame = books.exposures(("AAA", "BBB")).assign(
        training=[0.2, 0.2, None], inference=0.0, capacity=0.0, application=0.0, other=[0.8, 0.8, None], owner=0.0,
        multiple_loading=0.0, committed_capex=0.0, required_return=[0.12, 0.1, 0.02], power=[1.5, None, None],
    )  # fmt: skip
    world = {
        "replicability": 1.0, "pass_through": 0.5, "usage_elasticity": 1.2, "training_elasticity": 0.8,
        "multiple_compression": 0.0,
    }  # fmt: skip
    settings: dict[str, Any] = {
        "book": {"name": "test", "currency": "USD", "as_of": books.AS_OF},
        "model": {},
        "scenarios": {
            "dark": {"probability": 0.5, "power_shortage": shortage, **world},
            "light": {"probability": 0.5, **world},
        },
        "risk": {"source": "exposures", "market_volatility": 0.15},
        "mandate": NEUTRAL,
    }
    return allocator.rebalance(
        from_frames(settings, {"holdings": books.holdings(("AAA", "BBB")), "exposures": pd.DataFrame(frame)})
    )


def a_figure() -> None:
    """It stands in the document and on both screens, and is what the weights say."""
    plan, document = solved(books.book())
    weights = {row["instrument"]: row["weight_after"] for row in document["positions"]}
    largest = max(weight for name, weight in weights.items() if name != books.CASH)

    near(document["figures"]["after"]["largest_weight"], largest, 1e-8)
    for full in (False, True):
        with redirect_stdout(io.StringIO()) as screen:
            show_plan(plan, full=full)
        shown = [line for line in screen.getvalue().splitlines() if line.startswith("largest name")]
        assert shown, full
        assert all(f"{largest:.1%}" in line for line in shown)


def main() -> None:
    """What came of each toy: nothing to say, or where it went wrong."""
    assert Path(allocator.__file__).is_relative_to(ROOT), allocator.__file__
    told = {}
    solves = (a_linear_rule, a_convex_rule, an_ambiguity_set, an_objective, a_driver, a_figure)
    for toy, solve in zip(TOYS, solves, strict=True):
        try:
            solve()
            told[toy] = ""
        except Exception:
            told[toy] = traceback.format_exc()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
