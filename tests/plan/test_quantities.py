"""Quantities as they are written: every digit, no exponent, and never more sold than is held."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from click.testing import Result

from allocator.plan.plan import _units
from allocator.presentation import plain_decimal
from tests.conftest import Folder


@pytest.mark.parametrize(
    ("number", "text"),
    [(75.0, "75"), (5e-9, "0.000000005"), (123456.7891234, "123456.7891234"), (1e22, "1" + "0" * 22), (0.1, "0.1"),
     (1234567.000000001, "1234567.000000001"), (-0.0, "0")],
)  # fmt: skip
def test_a_number_has_every_digit_and_no_exponent(number: float, text: str) -> None:
    assert plain_decimal(number) == text
    assert float(text) == number


def test_lots_multiply_as_decimals_and_a_sale_is_of_what_is_held_at_most() -> None:
    assert _units(7.0, 0.1, 0.0) == 0.7
    assert _units(-1234567891234.0, 1e-7, 123456.7891234) == 123456.7891234
    assert _units(-3.0, 0.1, 0.3) == 0.3
    assert _units(-3.0, 0.1, 0.29999999999999993) == 0.29999999999999993


def test_what_is_written_is_what_was_planned_to_the_last_digit(listed: Folder, run: Callable[..., Result]) -> None:
    rows = listed.rows("holdings.csv")
    at, lot = rows[0].index("quantity"), rows[0].index("lot_size")
    for cells in rows[1:-1]:
        cells[at], cells[lot] = f"{cells[at]}.1234567", "0.0000001"
    listed.write("holdings.csv", rows)
    out = listed.path.parent / "plans"

    answer = run("rebalance", listed.path, "--out", out)

    assert answer.exit_code == 0, answer.stderr
    text = (out / "plan.json").read_text(encoding="utf-8")
    document = json.loads(text)
    held = {cells[1]: Decimal(cells[at]) for cells in rows[1:]}
    orders = list(csv.DictReader(io.StringIO((out / "orders.csv").read_text(encoding="utf-8"))))
    after = {one["instrument"]: Decimal(repr(one["quantity_after"])) for one in document["positions"]}
    assert not re.search(r'"quantity[a-z_]*": [0-9.]+e', text)
    assert [row["side"] for row in orders].count("sell") > 1
    for row, order in zip(orders, document["orders"], strict=True):
        quantity, name = Decimal(row["quantity"]), row["instrument"]
        assert "e" not in row["quantity"].lower()
        assert float(quantity) == order["quantity"]
        assert row["side"] == "buy" or quantity <= held[name]
        assert float(held[name] + (quantity if row["side"] == "buy" else -quantity)) == float(after[name])
