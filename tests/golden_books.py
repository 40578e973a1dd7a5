"""Random books and trees as folders, the same for every side: written here, from a seed, with no word of the library.

What a book may say stays as it is while the library is rebuilt, so both sides read these.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Draw = np.random.Generator
AS_OF = dt.date(2026, 11, 20)
CASH = "USD-CASH"
SCENARIOS = ("boom", "growth", "middling", "slump", "glut")
BUCKETS = ("efficiency", "capital_intensity", "adopter", "neutral")
PLAIN = "return_minus_risk"
OBJECTIVES = (PLAIN, PLAIN, PLAIN, "minimum_variance", PLAIN, PLAIN, "mean_cvar", PLAIN, PLAIN, "log", PLAIN, "regret",
              PLAIN, "mixture_variance", PLAIN, "crra", "regret")  # fmt: skip
SETS = ("total_variation", "kl", "box", "modified_chi2", "wasserstein", "none", "contamination", "hull", "polytope",
        "worst")  # fmt: skip
ANSWERS = ("generalizable", "proprietary")
TREE_OBJECTIVES = ("log", "crra", "return", "log", "mean_cvar", "crra", "regret")
TREE_SETS = ("kl", "total_variation", "none", "box", "contamination", "kl", "modified_chi2")


def write_book(folder: Path, seed: int) -> None:
    """A book of 3 to 25 typed names, 2 to 5 scenarios, and rules some of which it breaks; a few cannot be met."""
    draw = np.random.default_rng([1, seed])
    count = int(draw.integers(3, 26))
    names = [f"N{i:02}" for i in range(count)]
    scenarios = SCENARIOS[: int(draw.integers(2, 6))]
    value = float(draw.choice([3e5, 2e6, 4e7]))
    prices = np.round(draw.uniform(20, 400, count), 2)
    buckets = [str(draw.choice(BUCKETS)) for _ in names]
    folder.mkdir(parents=True)
    _holdings(folder, draw, names, prices, value)
    _exposures(folder, draw, names, buckets, value / prices)
    _scenario_returns(folder, draw, names, scenarios)
    bench = np.round(draw.dirichlet(np.ones(count)), 4)
    bench[0] = round(1 - bench[1:].sum(), 4)
    _table(folder / "benchmark.csv", ["instrument", "weight"], zip(names, bench.tolist(), strict=True))
    (folder / "book.toml").write_text(_toml(_settings(draw, seed, names, buckets, scenarios, value)), encoding="utf-8")


def write_tree(folder: Path, seed: int) -> None:
    """A book of three to five names of the efficiency model, decided again at one or two reviews."""
    draw = np.random.default_rng([2, seed])
    kinds = sorted(draw.choice(len(KINDS), int(draw.integers(3, 6)), replace=False).tolist())
    names = [list(KINDS)[kind] for kind in kinds]
    prices = np.round(draw.uniform(20, 400, len(names)), 2)
    folder.mkdir(parents=True)
    _holdings(folder, draw, names, prices, 1e7)
    _loadings(folder, draw, names)
    if draw.random() < 0.6:
        signals = [["2026-07-31", "usage", "an API", 0.25, round(float(draw.uniform(0.1, 0.5)), 3), "drawn"]]
        _table(folder / "signals.csv", ["date", "kind", "source", "price_fall", "usage_growth", "note"], signals)
    (folder / "book.toml").write_text(_toml(_tree_settings(draw, seed)), encoding="utf-8")


def _holdings(folder: Path, draw: Draw, names: Sequence[str], prices: Any, value: float) -> None:
    """Parts of the account in odd numbers of units, and lots of a hundredth to a few hundredths of the account."""
    parts = draw.dirichlet(np.full(len(names) + 1, float(draw.choice([1, 20]))))
    coarse = np.maximum(np.round(draw.uniform(0.0005, 0.01, len(names)) * value / prices), 1.0)
    lots = np.where(draw.random(len(names)) < 0.4, coarse, draw.choice([0.01, 1.0], len(names)))
    quantities = np.round(parts[:-1] * value / prices, 2)
    rows = [["main", *row, "USD", lot] for *row, lot in zip(names, quantities, prices, lots, strict=True)]
    rows.append(["main", CASH, round(float(parts[-1]) * value, 2), 1, "USD", 0.01])
    _table(folder / "holdings.csv", ["account", "instrument", "quantity", "price", "currency", "lot_size"], rows)


def _exposures(folder: Path, draw: Draw, names: Sequence[str], buckets: Sequence[str], units: Any) -> None:
    """Two classes of one issuer at the end; volumes from a twentieth to twice the account."""
    columns = ["instrument", "name", "issuer", "bucket", "beta", "idiosyncratic_volatility", "spread_bps",
               "average_daily_volume", "source"]  # fmt: skip
    drawn = np.round(draw.uniform([0.4, 0.1, 1], [1.6, 0.4, 40], (len(names), 3)), 4).tolist()
    volumes = np.round(draw.uniform(0.05, 2, len(names)) * units, 1).tolist()
    issuers = [*names[:-1], names[-2]]
    rows = [
        [name, name, issuers[i], buckets[i], *drawn[i], volumes[i], "drawn"] for i, name in enumerate(names)
    ]  # fmt: skip
    _table(folder / "exposures.csv", columns, [*rows, [CASH, "Cash", "Bank", "cash", 0, 0, 0, "", "drawn"]])


def _scenario_returns(folder: Path, draw: Draw, names: Sequence[str], scenarios: Sequence[str]) -> None:
    means = dict(zip(SCENARIOS, (0.25, 0.12, 0.04, -0.1, -0.25), strict=True))
    drawn = np.column_stack([draw.normal(means[name], 0.12, len(names)).clip(-0.7) for name in scenarios])
    rows = [[name, *np.round(row, 5).tolist()] for name, row in zip(names, drawn, strict=True)]
    _table(folder / "scenario_returns.csv", ["instrument", *scenarios], [*rows, [CASH, *[0.03] * len(scenarios)]])


def _settings(
    draw: Draw, seed: int, names: Sequence[str], buckets: Sequence[str], scenarios: Sequence[str], value: float
) -> dict[str, Any]:
    objective = OBJECTIVES[seed % len(OBJECTIVES)]
    own = objective in (PLAIN, "minimum_variance")
    beliefs = _shares(draw, len(scenarios))
    wanted = {"objective": objective} | _rules(draw, names, buckets)
    if objective in (PLAIN, "mixture_variance"):
        wanted["risk_aversion"] = _uniform(draw, 0.5, 4)
    if objective == "crra":
        wanted["relative_risk_aversion"] = 3.0
    if objective == "mean_cvar":
        wanted["draws"] = 100
    if own and draw.random() < 0.3:
        wanted["tiers"] = {"max_weight": 2, "min_cash": 5} | ({"max_turnover": 7} if "max_turnover" in wanted else {})
    kind = {"minimum_variance": "none"}.get(objective, SETS[seed % len(SETS)])
    robust = _robust(draw, kind, scenarios)
    if objective == PLAIN and seed % 4 == 1:
        robust["return_error"] = str(draw.choice(["box", "ellipsoid"]))
        robust["return_error_size"] = _uniform(draw, 0.05, 0.3)
    trading = {} if objective == "minimum_variance" else {"min_gain_bps": float(draw.choice([0, 0, 5, 50]))}
    if own and seed % 5 == 2:
        trading["indifference_bps"] = 2.0
    return {
        "book": {"name": f"random {seed}", "currency": "USD", "as_of": AS_OF},
        "scenarios": {
            name: {"probability": p, "replicability": _uniform(draw, 0, 1), "usage_elasticity": _uniform(draw, 0.5, 2)}
            for name, p in zip(scenarios, beliefs, strict=True)
        },
        "horizon": {"months": float(draw.choice([3, 6, 12]))},
        "risk": {"market_volatility": _uniform(draw, 0.12, 0.25)},
        "mandate": wanted,
        "groups": {"some": list(names[: max(len(names) // 3, 1)]), "partly": {names[0]: 0.5, names[-1]: 1.0}},
        "shocks": {"rout": {"market": -0.3, "instruments": {names[0]: -0.6}}},
        "robust": robust,
        "costs": {"commission_bps": float(draw.choice([0, 2, 15])), "ticket": float(draw.choice([0, 10])),
                  "impact": float(draw.choice([0, 0, 0.5]))},
        "trading": trading,
        "lots": {"min_trade": float(draw.choice([0, 0.0005, 0.004])) * value},
    }  # fmt: skip


def _rules(draw: Draw, names: Sequence[str], buckets: Sequence[str]) -> dict[str, Any]:
    """Caps that leave room, and each further rule in some of the books."""
    further: dict[str, Any] = {
        "max_turnover": _uniform(draw, 0.25, 0.9), "max_issuer_weight": _uniform(draw, 0.5, 0.8),
        "max_volatility": _uniform(draw, 0.15, 0.3), "max_tracking_error": _uniform(draw, 0.1, 0.25),
        "max_participation": _uniform(draw, 0.5, 3), "largest": {"count": 2, "max": _uniform(draw, 0.5, 0.9)},
        "min_worst_scenario_return": _uniform(draw, -0.3, -0.05), "min_worst_case_return": _uniform(draw, -0.15, 0.0),
        "min_expected_return": _uniform(draw, -0.05, 0.03), "max_stress_loss": {"rout": _uniform(draw, 0.25, 0.45)},
        "groups": {"some": {"max": _uniform(draw, 0.4, 0.9)}, "partly": {"max": _uniform(draw, 0.3, 0.9)}},
        "weights": {names[-1]: {"min": _uniform(draw, 0.01, 0.08)}}, "locked": [names[1]],
        "exposures": {"beta": {"max": _uniform(draw, 0.8, 1.3)}}, "forbidden": [names[2]],
        "ratios": {"pair": {"group": "some", "to": "partly", "max": _uniform(draw, 1, 6)}},
        "buckets": {buckets[0]: {"max": _uniform(draw, 0.5, 0.95)}},
    }  # fmt: skip
    taken = {name: rule for name, rule in further.items() if draw.random() < 0.3}
    cap = min(_uniform(draw, 1.6, 3) / len(names), 0.6)
    return {"max_weight": round(max(cap, 0.12), 4), "min_cash": float(draw.choice([0, 0.01, 0.05]))} | taken


def _robust(draw: Draw, kind: str, scenarios: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"set": kind}
    if kind not in ("none", "worst", "hull", "polytope"):
        found["radius"] = _uniform(draw, 0.03, 0.2)
    if kind == "wasserstein":
        found["metric"] = {"replicability": 0.5, "usage_elasticity": 1.0}
    if kind == "hull":
        found["experts"] = {who: dict(zip(scenarios, _shares(draw, len(scenarios)), strict=True)) for who in ("a", "b")}
    if kind == "polytope":
        found["limits"] = {"last": {"weights": {scenarios[-1]: 1.0}, "min": 0.01, "max": 0.9}}
    return found


# training, inference, capacity, application (`other` is the rest of 1), owner, multiple_loading, required return, beta
KINDS: Mapping[str, tuple[str, float, float, float, float, float, float, float, float]] = {
    "OWNER": ("efficiency", -0.1, 0.25, 0.0, 0.15, 1.0, 0.1, 0.09, 1.1),
    "RIVAL": ("capital_intensity", -0.3, 1.2, 0.0, 0.0, 0.0, 0.9, 0.18, 1.5),
    "SMALL": ("efficiency", -0.15, 0.95, 0.0, 0.0, 0.6, 0.6, 0.18, 1.4),
    "CHIPS": ("capital_intensity", 0.45, 0.0, 0.45, 0.0, 0.0, 0.5, 0.11, 1.5),
    "CLOUD": ("capital_intensity", 0.2, 0.0, 0.4, 0.1, 0.0, 0.3, 0.1, 1.1),
    "APPS": ("adopter", 0.0, 0.0, 0.0, 0.9, 0.0, 0.1, 0.1, 1.15),
}


def _loadings(folder: Path, draw: Draw, names: Sequence[str]) -> None:
    """The efficiency model's loadings of each kind of business, off by up to a fifth."""
    columns = ["instrument", "name", "issuer", "bucket", "beta", "idiosyncratic_volatility", "spread_bps", "training",
               "inference", "capacity", "application", "other", "owner", "gross_margin", "multiple_loading",
               "committed_capex", "required_return", "token_share", "passed_on", "application_margin",
               "application_elasticity", "source"]  # fmt: skip
    rows = []
    for name in names:
        bucket, *own, owner, multiple, required, beta = KINDS[name]
        loads = np.round(np.array(own) * draw.uniform(0.8, 1.2, 4), 4).tolist()
        applies = [0.2, 0.5, 0.7, 1.2] if own[3] else [""] * 4
        risk = [beta, _uniform(draw, 0.15, 0.5), float(draw.choice([2, 20, 200]))]
        worth = [owner, 0.5 if own[1] else "", multiple, _uniform(draw, 0, 0.2), required]
        rows.append([name, name, name, bucket, *risk, *loads, round(1 - sum(loads), 4), *worth, *applies, "drawn"])
    cash = [CASH, "Cash", "Bank", "cash", 0, 0, 0, 0, 0, 0, 0, 1, 0, "", 0, 0, 0.04, *[""] * 4, "drawn"]
    _table(folder / "exposures.csv", columns, [*rows, cash])


def _tree_settings(draw: Draw, seed: int) -> dict[str, Any]:
    objective, kind = TREE_OBJECTIVES[seed % len(TREE_OBJECTIVES)], TREE_SETS[seed % len(TREE_SETS)]
    prior = _shares(draw, 4)
    market = _shares(draw, 4)
    scenarios = [f"{answer}_{demand}" for answer in ANSWERS for demand in ("jevons", "compression")]
    wanted: dict[str, Any] = {"objective": objective, "max_weight": _uniform(draw, 0.4, 0.6), "min_cash": 0.02}
    if objective == "crra":
        wanted["relative_risk_aversion"] = float(draw.choice([0.5, 3.0]))
    if objective == "mean_cvar":
        wanted["draws"] = 60
    if draw.random() < 0.5:
        wanted["max_turnover"] = _uniform(draw, 0.4, 0.9)
    robust: dict[str, Any] = {"set": kind}
    if kind != "none":
        robust |= {"schedule": "caution", "caution": _uniform(draw, 0.1, 0.5)}
    lab = {"disclosure": 0.85, "hazard": _uniform(draw, 0.08, 0.2), "background": 0.008}
    reviews = [dt.date(2027, 3, 20), dt.date(2027, 7, 20)][: int(draw.integers(1, 3))]
    return {
        "book": {"name": f"tree {seed}", "currency": "USD", "as_of": AS_OF},
        "question": {
            "opened": dt.date(2026, 4, 8), "labs": {"Alpha": lab},
            "demand": {"elasticity_mean": 1.2, "elasticity_deviation": 0.6, "figure_noise": 0.25},
        },
        "scenarios": {name: {"probability": p} | _world(draw, name) for name, p in zip(scenarios, prior, strict=True)},
        "model": {
            "since": dt.date(2026, 4, 8), "training_reduction": 10.0, "token_reduction": 2.7, "adoption_years": 0.75,
            "training_share": 0.45, "owner_share": 0.15, "share_sensitivity": 0.5, "rent_elasticity": 0.6,
            "rent_low": 0.35, "rent_high": 1.6, "salvage": 0.4,
        },
        "market": {"date": dt.date(2026, 4, 8), "probabilities": dict(zip(scenarios, market, strict=True))},
        "horizon": {
            "until": dt.date(2027, 11, 20), "reviews": reviews, "announcement_share": _uniform(draw, 0.2, 0.9),
            "digestion_months": 1.0,
        },
        "risk": {"market_volatility": 0.18},
        "mandate": wanted,
        "robust": robust,
        "costs": {"commission_bps": 1.0},
        "lots": {"min_trade": 5000.0},
    }  # fmt: skip


def _world(draw: Draw, name: str) -> dict[str, Any]:
    """The efficiency model's parameters of one scenario."""
    answer, _, demand = name.partition("_")
    jevons, general = demand == "jevons", answer == "generalizable"
    return {
        "hypothesis": answer,
        "demand": demand,
        "replicability": 1.0 if general else 0.1,
        "pass_through": _uniform(draw, 0.7, 1.0) if general else _uniform(draw, 0.3, 0.6),
        "usage_elasticity": _uniform(draw, 1.5, 2.2) if jevons else _uniform(draw, 0.4, 0.8),
        "training_elasticity": _uniform(draw, 0.3, 0.9),
        "multiple_compression": 0.05 if jevons else _uniform(draw, 0.2, 0.5),
    }


def _uniform(draw: Draw, low: float, high: float) -> float:
    return round(float(draw.uniform(low, high)), 4)


def _shares(draw: Draw, count: int) -> list[float]:
    """Probabilities in thousandths that sum to 1, none of them 0."""
    parts = 20 + draw.multinomial(1000 - 20 * count, draw.dirichlet(np.full(count, 3.0)))
    return [int(part) / 1000 for part in parts]


def _table(path: Path, columns: Sequence[str], rows: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *([cell.item() if isinstance(cell, np.generic) else cell for cell in row]
                                               for row in rows)])  # fmt: skip


def _toml(document: Mapping[str, Mapping[str, Any]]) -> str:
    """A section for each key; what is nested deeper becomes an inline table."""
    lines: list[str] = []
    for section, keys in document.items():
        lines += [f"[{section}]", *(f"{json.dumps(key)} = {_value(value)}" for key, value in keys.items()), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return value.isoformat() if isinstance(value, dt.date) else json.dumps(value)
