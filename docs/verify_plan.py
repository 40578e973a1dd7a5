"""Verify a plan.json with numpy alone: `python docs/verify_plan.py plan.json`. Exit 0 when every claim holds."""
import json
import sys

import numpy as np

with open(sys.argv[1], encoding="utf-8") as file:
    proof = json.load(file)["proof"]
p, M, cash_return, L, D, rate, gamma, weight, limit = (np.array(proof[key]) for key in (
    "probabilities", "returns", "cash_returns", "loadings", "specific", "cost_rates", "risk_aversion", "return_weight",
    "volatility_limit"))
h0, c0, kind, radius = np.array(proof["before"]["holdings"]), proof["before"]["cash"], *proof["ambiguity"].values()
G = {key: np.array(rows) for key, rows in proof["rows"].items()}      # G·(h, c, b, s, r) <= wealth·W + limit
m = {key: np.array(price) for key, price in proof["multipliers"].items()}
low, high = (np.maximum(p - radius, 0), np.minimum(p + radius, 1)) if kind == "box" else (p * (kind == "none"), p ** (kind == "none"))


def entropy(q):
    return np.sum(q[q > 0] * np.log(q[q > 0] / p[q > 0]))


def worst(loss):        # sup of q'loss over the ambiguity set: fill the largest losses first, or tilt towards them
    if kind == "kl" and radius >= 1e-6 and np.ptp(loss) > 0:
        a, b = 0.0, 1e9 / np.ptp(loss)
        for _ in range(300):
            q = p * np.exp((a + b) / 2 * (loss - loss[p > 1e-9].max()))
            a, b = ((a + b) / 2, b) if entropy(q / q.sum()) < radius else (a, (a + b) / 2)
        return q @ loss / q.sum()
    lowest, order = low, np.argsort(-loss)
    if kind in ("total_variation", "kl"):       # take radius from the smallest losses, give it to the largest
        taken = np.clip(radius * (kind != "kl") - np.cumsum(p[order[::-1]]) + p[order[::-1]], 0, p[order[::-1]])[::-1]
        return p @ loss + taken @ (loss.max() - loss[order])
    room = (high - lowest)[order]
    return lowest @ loss + np.clip(1 - lowest.sum() - np.cumsum(room) + room, 0, room) @ loss[order]


def objective(trade, tolerance):        # from its formula, after the account's equations and every rule
    h, c, b, s = (np.array(trade[key]) for key in ("holdings", "cash", "bought", "sold"))
    W, r, variance = h.sum() + c, M @ h + cash_return * c, np.sum((L.T @ h) ** 2) + D @ h**2
    assert np.abs(h - h0 - b + s).max() < 1e-9 and abs(c - c0 + (1 + rate) @ b - (1 - rate) @ s) < 1e-9, "books do not balance"
    over = sum(np.dot(G[key], value) for key, value in (("holdings", h), ("buys", b), ("sells", s), ("scenarios", r))
               if G[key].size) + G["cash"] * c - G["wealth"] * W - G["limit"] if len(G["labels"]) else np.zeros(1)
    assert (over <= tolerance).all(), f"breaks {G['labels'][over > tolerance]}"
    assert min(h.min(), c) >= -1e-9 and (limit == 0 or np.sqrt(variance) <= limit * W + tolerance), "short, or too volatile"
    return weight * (worst(-r) + 1 - W) + gamma * variance


q, F = m["adversary"], L.shape[1]
outside = {"none": np.abs(q - p).max(), "box": np.abs(q - p).max() - radius, "total_variation": np.abs(q - p).sum() / 2 - radius}
assert (q >= 0).all() and abs(q.sum() - 1) < 1e-12 and outside.get(kind, entropy(q) - radius if kind == "kl" else 0) < 1e-12
assert (m["rows"] >= 0).all() and m["volatility"] >= 0 and np.linalg.norm(m["direction"]) < 1 + 1e-12
print(worst, objective)
