"""An exporter: the orders as a basket, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def basket(document: Mapping[str, Any], folder: Path, parameters: Mapping[str, Any]) -> None:
    """Write `basket.jsonl` into `folder`, from which Allocator takes it; `document` is what plan.json holds."""
    desk = parameters.get("desk", "")
    lines = [
        json.dumps({"desk": desk, "side": order["side"], "ticker": order["instrument"], "quantity": order["quantity"]})
        for order in document["orders"]
    ]
    (folder / "basket.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
