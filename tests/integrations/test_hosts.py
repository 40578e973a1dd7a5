"""The pages of hosts that are not installed here: their lines run on stubs, and each page says so."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.book.book import Book
from allocator.book.loading import load
from allocator.errors import BadInput
from allocator.plan.rebalance import rebalance
from tests.agreement import HOLDINGS
from tests.integrations.hosts import Portfolio, Position, WeightStrategyBase, Zipline, module

BLOCK = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def listed(root: Path) -> Book:  # type: ignore[override]  # the book itself, which nothing here spoils
    return load(root / "data" / "listed")


@pytest.fixture(scope="module")
def expected(listed: Book) -> dict[str, float]:
    return dict(zip(listed.instruments, map(float, rebalance(listed).target.weights), strict=True))


def lines_of(page: str, root: Path, monkeypatch: pytest.MonkeyPatch, stubs: dict[str, Any], **given: Any) -> Any:
    """What the page's lines have defined once they have run from the checkout, with stubs where they import a host."""
    text = (root / "docs" / "hosts" / f"{page}.md").read_text(encoding="utf-8")
    assert "**checked against a stub**" in text
    (code,) = BLOCK.findall(text)
    for name, stub in stubs.items():
        monkeypatch.setitem(__import__("sys").modules, name, stub)
    monkeypatch.chdir(root)
    names = dict(given)
    exec(compile(code, f"{page}.md", "exec"), names)  # the page's own lines
    return types.SimpleNamespace(**names)


def test_the_lines_for_vectorbt_fill_a_table_of_weights_by_name(
    root: Path, monkeypatch: pytest.MonkeyPatch, listed: Book, expected: dict[str, float]
) -> None:
    days = pd.bdate_range("2026-11-20", periods=4)
    close = pd.DataFrame(100.0, index=days, columns=listed.instruments[::-1])
    lines_of("vectorbt", root, monkeypatch, {"vectorbt": module("vectorbt", Portfolio=Portfolio)}, close=close)

    (asked,) = Portfolio.calls
    assert list(asked["size"].columns) == list(close.columns)
    assert asked["size"].iloc[0].to_dict() == pytest.approx(expected, abs=HOLDINGS)
    assert asked["size"].iloc[1:].isna().to_numpy().all()
    assert (asked["size_type"], asked["group_by"], asked["cash_sharing"]) == ("targetpercent", True, True)
    assert asked["init_cash"] == listed.value
    split = pd.DataFrame({name: [100.0, 100.5, 33.4, 33.5] for name in listed.instruments}, index=days)
    with pytest.raises(BadInput, match="as in a 3:1 split"):
        lines_of("vectorbt", root, monkeypatch, {"vectorbt": module("vectorbt", Portfolio=Portfolio)}, close=split)


def test_the_lines_for_zipline_order_the_targets_and_refuse_what_cannot_be_traded(
    root: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, float]
) -> None:
    zipline = Zipline()
    stubs = {"zipline": module("zipline", api=zipline.api), "zipline.api": zipline.api}
    strategy = lines_of("zipline", root, monkeypatch, stubs)
    context = types.SimpleNamespace()
    strategy.initialize(context)
    (scheduled,) = zipline.scheduled
    scheduled(context, types.SimpleNamespace(can_trade=lambda asset: True))  # noqa: ARG005

    assert zipline.orders == pytest.approx({f"asset {name}": weight for name, weight in expected.items()}, abs=HOLDINGS)
    with pytest.raises(ValueError, match=r"cannot be traded today, and the targets want them: \['META'\]"):
        scheduled(context, types.SimpleNamespace(can_trade=lambda asset: asset != "asset META"))


def test_the_lines_for_qlib_are_a_strategy_of_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, float]
) -> None:
    strategies = module("qlib.contrib.strategy", WeightStrategyBase=WeightStrategyBase)
    stubs = {"qlib": module("qlib"), "qlib.contrib": module("qlib.contrib"), "qlib.contrib.strategy": strategies}
    made = lines_of("qlib", root, monkeypatch, stubs).RobustStrategy(folder="data/listed", signal="<PRED>")
    found = made.generate_target_weight_position(None, Position(["META"]), None, None)

    assert found == pytest.approx({name: weight for name, weight in expected.items() if weight > 0}, abs=HOLDINGS)
    with pytest.raises(ValueError, match=r"not an instrument of the book: \['WHO'\]"):
        made.generate_target_weight_position(None, Position(["WHO"]), None, None)


def test_the_lines_for_lean_answer_by_label_under_both_spellings(
    root: Path, monkeypatch: pytest.MonkeyPatch, listed: Book, expected: dict[str, float]
) -> None:
    optimizer = lines_of("lean", root, monkeypatch, {}).RobustOptimizer("data/listed", lambda name: name.split()[0])
    ids = [f"{name} R735QTJ8XC9X" for name in listed.instruments[::-1]]
    returns = pd.DataFrame(np.linspace(-0.02, 0.02, 5 * len(ids)).reshape(5, -1), columns=ids)

    wanted = [expected[name] for name in listed.instruments[::-1]]
    assert optimizer.optimize(returns) == pytest.approx(wanted, abs=HOLDINGS)
    assert optimizer.Optimize(returns, None, None) == pytest.approx(wanted, abs=HOLDINGS)
    with pytest.raises(BadInput, match="is not an instrument of the book"):
        optimizer.optimize(returns.rename(columns={ids[0]: "WHO R735QTJ8XC9X"}))
    with pytest.raises(BadInput, match="are they prices"):
        optimizer.optimize(1 + returns)
    dated = returns.set_axis(pd.bdate_range("2026-11-02", periods=len(returns)))
    dated.iloc[2, 0] = -0.75
    with pytest.raises(BadInput, match=f"returns from LEAN {listed.instruments[-1]}: falls by 75%"):
        optimizer.optimize(dated)
