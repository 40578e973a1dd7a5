"""What the evidence of the sample books moved: two labs of .136 became three of .0829, and their plans with the belief.

Since a claim is what any lab might say without substance once in twenty months, and a verdict settles it, silence until
2026-11-20 tells a little less than it did: that, and nothing else, changed orders. `approval` did not change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.outlook.calibration import build_question, market_probabilities
from allocator.outlook.outlook import build_outlook
from allocator.plan.rebalance import rebalance

_LAB = "{disclosure=0.85,hazard=0.136,background=0.008}"
BEFORE = (
    f"question.labs={{OpenAI={_LAB},Google={_LAB}}}",
    "question.sensitivity=0.9",
    "question.false_positive=0.1",
    "question.ranges.hazard=[0.08,0.2]",
    "question.ranges.background=[0.003,0.02]",
)
"""The evidence that the sample books had before, as what-ifs of those that there are."""

ORDERS = {
    # Generalizable .507 where it was .490. Its market speaks of today, so that no return moved: names at a limit trade
    # as before, the others by some units more or less.
    "listed": {
        "NVDA": (-1065, -1065), "AVGO": (-450, -449), "CRWV": (-1300, -1298), "ORCL": (-144, -163), "VST": (-30, -12),
        "ADBE": (500, 500), "META": (129, 129), "GOOGL": (283, 283), "EQIX": (64, 59), "CRM": (99, 116),
    },
    # .194 where it was .183, the market's in the same way. The radius is half of that: wider, and less goes to EFFLAB.
    "note": {
        "OPENAI": (-9000, -9000), "ANTHROPIC": (-12000, -12000), "GPU": (-23069, -23839), "ORBITAL": (-3147, -4688),
        "GOOGL": (19877, 19881), "APPS": (14294, 14881), "META": (4050, 4408), "CLOUD": (21482, 21494),
        "EFFLAB": (10000, 5000),
    },
    # The same beliefs, and news at its reviews that comes oftener and tells less: an empty claim until the first of
    # them had a probability of .05 and has .36.
    "reviewed": {
        "OPENAI": (-9000, -7000), "ANTHROPIC": (-8000, 0), "META": (-4797, -5000), "CLOUD": (-16394, -54912),
        "EFFLAB": (135000, 130000), "APPS": (22218, 22271), "GOOGL": (15759, 19281), "ORBITAL": (46143, 46380),
    },
}  # fmt: skip
"""Units bought, or sold where negative, of every name with an order: before, and now."""


def sample(root: Path, name: str, *overrides: str) -> Book:
    return load(root / "data" / name, overrides=overrides)


@pytest.mark.parametrize("when", ["before", "now"])
@pytest.mark.parametrize("name", ORDERS)
def test_the_old_evidence_brings_the_old_orders_back_and_the_new_changes_those_listed(
    name: str, when: str, root: Path
) -> None:
    plan = rebalance(sample(root, name, *(BEFORE if when == "before" else ())))

    orders = {order.instrument: order.quantity * (1 if order.side == "buy" else -1) for order in plan.orders}
    told = {instrument: pair[when == "now"] for instrument, pair in ORDERS[name].items()}
    assert orders == {instrument: quantity for instrument, quantity in told.items() if quantity}


@pytest.mark.parametrize("name", ORDERS)
def test_evidence_moves_the_odds_of_the_answer_and_nothing_else_of_an_outlook(name: str, root: Path) -> None:
    old, new = sample(root, name, *BEFORE), sample(root, name)
    question = build_question(new)
    assert question is not None
    months = question.months(new.settings.book.as_of)
    silence = [(1 - 0.85 + 0.85 * np.exp(-hazard * months)) ** labs for labs, hazard in ((2, 0.136), (3, 0.0829))]
    before, now = build_outlook(old), build_outlook(new)
    moved = [now.probabilities / before.probabilities]
    markets = [market_probabilities(book)[1] for book in (old, new)]
    assert markets[0] is not None
    assert markets[1] is not None
    if name == "listed":  # its market speaks of today: nothing has moved it since, and so no return
        assert np.abs(now.returns - before.returns).max() <= 1e-12
        assert np.abs(markets[1] - markets[0]).max() == 0
    else:
        moved.append(markets[1] / markets[0])

    for ratio in moved:  # the same for all scenarios of an answer, whatever usage said
        assert ratio[[0, 2]] == pytest.approx(ratio[[1, 3]], rel=1e-12)
        assert ratio[0] / ratio[2] == pytest.approx(silence[1] / silence[0], rel=1e-12)
    assert (now.risk.loadings == before.risk.loadings).all()
    assert (now.risk.specific == before.risk.specific).all()
