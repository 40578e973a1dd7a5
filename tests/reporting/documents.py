"""Documents as the commands write them, as far as charts read them, about names that nobody should have to bear."""

from __future__ import annotations

from typing import Any

WICKED = (
    "</text><script>alert(1)</script>", "\"quoted\" & 'single' 🚀", "x" * 200, "חברה ישראלית", "a.b[0]['c']",
    "var(--after)", 'url(#clip0) id="clip0"', "\x1b[31mred\x00\uffff",
)  # fmt: skip


def plan(names: tuple[str, ...] = WICKED, *, reviews: bool = True) -> dict[str, Any]:
    """A plan of these names, of falling weight, all of which are traded."""
    total = sum(range(1, len(names) + 1))
    before = [(i + 1) / total for i in range(len(names))]
    positions = [
        {
            "instrument": name, "quantity_before": 10.0, "quantity_after": 20.0, "price": 5.0,
            "weight_before": held, "weight_target": want, "weight_after": want, "active_weight_after": None,
            "no_trade_from": max(0.0, want - 0.02), "no_trade_to": want + 0.03,
        }
        for name, held, want in zip(names, before, before[::-1], strict=True)
    ]  # fmt: skip
    scenarios = [
        {
            "scenario": name, "probability": 1 / len(names), "adverse_probability": 0.1,
            "return_before": 0.01 * i - 0.03, "return_target": 0.01, "return_after": 0.005 * i,
        }
        for i, name in enumerate(names[:9])
    ]  # fmt: skip
    rules = [
        {"rule": rule, "measured": measured, "limit": limit, "kind": kind, "use": use, "state": state}
        for rule, measured, limit, kind, use, state in (
            ("over", 0.12, 0.1, "at most", 1.2, "breach"), ("full", 0.1, 0.1, "at most", 1.0, "amber"),
            ("near", 0.2, 0.19, "at least", 0.95, "amber"), ("far", 0.05, 0.1, "at most", 0.5, "green"),
            ("nothing", None, 0.1, "at most", None, "breach"), (names[0], 0.0, 0.0, "at most", None, "green"),
        )
    ]  # fmt: skip
    motives = ("expected_return", "robustness", "return_error", "objectives", "risk", "costs", "rules", "funding")
    orders = [
        {"instrument": name, **{motive: (-1) ** j * (10.0 + i + j) for j, motive in enumerate(motives)}, "sum": -4.0}
        for i, name in enumerate(names)
    ]
    nothing = dict.fromkeys((*motives, "sum"), 0.0)
    added = [{"instrument": name, "volatility": 0.01 * i, "expected_shortfall": [0.02 * i, 0.03 * i],
              "shocks": {names[0]: -0.01}, "days_to_liquidate": None} for i, name in enumerate(names)]  # fmt: skip
    tails = [{"days": days, "level": 0.95, "value_at_risk": 0.1, "expected_shortfall": 0.2} for days in (10, None)]
    risk = {
        "volatility": 0.2, "tails": tails, "shocks": {names[0]: -0.1}, "effective_names": 3.5,
        "largest": dict.fromkeys(names[:5], 0.1), "days_to_liquidate": None, "positions": added,
    }  # fmt: skip
    figures = {"required": 0.06, "disagreement": -0.01, "undigested_news": 0.02, "not_anchored": None}
    parts = {when: {**figures, "buckets": {names[0]: 0.4, "cash": share, "unused": 0.0}}
             for when, share in (("before", 0.6), ("target", 0.5), ("after", 0.55))}  # fmt: skip
    attribution = {"orders": orders, "others": nothing, "cash": nothing, "targets": nothing, "lots": 0.0, "total": 0.0}
    return {
        "format": "allocator.plan/2",
        "book": {"name": names[0], "as_of": "2026-11-20"},
        "positions": positions,
        "scenarios": scenarios,
        "rules": rules,
        "attribution": attribution,
        "figures": parts,
        "risk": dict.fromkeys(("before", "target", "after"), risk),
        "policy": _policy() if reviews else None,
    }


def _policy() -> dict[str, Any]:
    parents, settled = (-1, 0, 0, 1, 1), (False, False, True, False, True)
    dates = ("2026-11-20", "2027-02-20", "2027-02-20", "2027-05-20", "2027-05-20")
    names = ("now", "silent until 2027-02-20", "claimed by 2027-02-20", "silent until 2027-05-20", WICKED[0])
    rows = [
        {"node": name, "date": date, "probability": 0.5, "settled": done, "radius": 0.01 * i,
         "cost_of_robustness_bps": 8.0 - i}
        for i, (name, date, done) in enumerate(zip(names, dates, settled, strict=True))
    ]  # fmt: skip
    return {"nodes": [{"parent": parent} for parent in parents], "caution_schedule": rows}


def beliefs(names: tuple[str, ...] = WICKED[:5]) -> dict[str, Any]:
    """Answers of these names, two signals on one day and one on the next."""
    equal = dict.fromkeys(names, 1 / len(names))
    signal = {"kind": "claim", "source": names[0], "hypothesis": names[0]}
    return {
        "format": "allocator.beliefs/2", "as_of": "2026-11-20", "hypotheses": equal, "settled": None, "threshold": 0.95,
        "scenarios": [{"scenario": name, "prior": 0.2, "belief": 0.25, "market": None} for name in names],
        "path": [{"date": date, "hypotheses": equal} for date in ("2026-04-08", "2026-08-01", "2026-11-20")],
        "signals": [signal | {"date": date} for date in ("2026-08-01", "2026-08-01", "2026-08-02")],
        "next": [{"signal": f"claim by {name}", "hypotheses": equal} for name in names],
        "settled_by_silence": "2027-08-22",
    }  # fmt: skip


def returns(names: tuple[str, ...] = WICKED, scenarios: tuple[str, ...] = WICKED[:5]) -> dict[str, Any]:
    """Returns of these names, the last of which is not split into parts."""
    rows = [
        {
            "instrument": name, "expected": 0.03,
            "parts": {} if i == len(names) - 1 else {"required": 0.05, "news": -0.02},
            "returns": {world: 0.01 * (i + 1) * (j - 1.5) for j, world in enumerate(scenarios)},
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    return {"format": "allocator.returns/1", "scenarios": dict.fromkeys(scenarios, 0.2), "instruments": rows}


def outlook(names: tuple[str, ...] = WICKED, *, reviews: bool = True) -> dict[str, Any]:
    """A tree of one review with two branches; of one node where there is none."""
    believed = dict.fromkeys(WICKED[:5], 0.2)
    nodes = [
        {"node": name, "parent": min(i, 1) - 1, "beliefs": believed,
         "prices": {each: 1 + 0.01 * i * (j - 3) for j, each in enumerate(names)}}
        for i, name in enumerate(("now", "silent until 2027-02-20", WICKED[0]))
    ]  # fmt: skip
    return {"format": "allocator.outlook/1", "book": {"name": "b"}, "nodes": nodes if reviews else nodes[:1]}


def stress(names: tuple[str, ...] = WICKED) -> dict[str, Any]:
    """Every study, each with a number that is missing where one may be."""
    effects = [
        {
            "shock": f"shock_{i}", "current": {"immediate_return": -0.02 * i},
            "proposed": {"immediate_return": -0.01 * i},
            "positions": {whose: {name: {"immediate_return": -0.001 * i * (j + 1)} for j, name in enumerate(names)}
                          for whose in ("current", "proposed")},
        }
        for i in range(6)
    ]  # fmt: skip
    levels = {"q05": -0.1, "q25": -0.02, "q50": 0.01, "q75": 0.03, "q95": 0.2}
    unknown = dict.fromkeys(levels)
    steps = [i / 8 for i in range(9)]
    points = [{"at": [a, b], "objective": None if a == b == 1 else a - b, "weights": [a] * len(names)}
              for a in steps for b in steps]  # fmt: skip
    sweep = [
        {"probability": p, "objective": 0.1 * p, "expected_return": 0.1, "adverse_expected_return": 0.05,
         "weights": {name: 0.01 * j * p for j, name in enumerate(names)}}
        for p in steps
    ]  # fmt: skip
    shifts = [{"way": way, "plausibility": 0.2 + 0.1 * i} for i, way in enumerate(("probabilities", "markets"))]
    return {
        "format": "allocator.stress/2",
        "book": {"name": "b"},
        "shocks": {"effects": effects},
        "reverse": {"loss": 0.1, "portfolios": [{"portfolio": "proposed", "shifts": shifts}]},
        "replay": {"windows": [{"portfolio": "current", "rows": 5, "loss": 0.1}]},
        "beliefs": {"axes": [{"axis": names[0], "stated": 0.3, "points": sweep}]},
        "map": {"probabilities": list(names[:2]), "stated": [0.2, 0.7], "instruments": list(names), "points": points},
        "model": {
            "outcomes": [
                {"portfolio": "current", "measure": "expected return", "today": 0.0, **levels},
                {"portfolio": "proposed", "measure": "expected return", "today": 0.0, **unknown},
            ],
            "reoptimized": {
                "weights": [{"instrument": name, "current": 0.0, "proposed": 0.1, **levels} for name in names]
            },
        },
    }
