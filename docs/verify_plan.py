"""Verify a plan.json with numpy alone: `python docs/verify_plan.py < plan.json`. Exit 0 when all its claims hold."""
import json
import sys

import numpy as np

doc = json.load(sys.stdin)      # what the names mean: allocator schema plan
A = {key: np.array(value, float) for key, value in doc["proof"].items() if isinstance(value, list | float)}
p, M, cash_return, L, D = (A[key] for key in ("probabilities", "returns", "cash_returns", "loadings", "specific"))
gamma, weight, price, limit = (A[k] for k in ("risk_aversion", "return_weight", "cost_price", "volatility_limit"))
(kind, rho), (h0, c0), rate = doc["proof"]["ambiguity"].values(), doc["proof"]["before"].values(), A["cost_rates"]
m = {key: np.array(value, float) for key, value in doc["proof"]["multipliers"].items()}
G = {key: np.array(value, float) for key, value in doc["proof"]["rows"].items() if key != "labels"}
for key in ("holdings", "buys", "sells"):       # coefficients of the rules, stored as (row, instrument, value)
    (i, j, value), G[key] = G[key].reshape(-1, 3).T, np.zeros((len(G["limit"]), len(h0)))
    G[key][i.astype(int), j.astype(int)] = value
def worst(loss):        # the largest q'loss over the ambiguity set, in closed form
    up = np.argsort(loss)
    low, high = {"box": (np.maximum(p - rho, 0), np.minimum(p + rho, 1)), "worst": (0 * p, 0 * p + 1)}.get(kind, (p, p))
    if kind == "total_variation":       # take mass from the smallest losses, give it to the largest
        return p @ loss + np.clip(rho - np.cumsum(p[up]) + p[up], 0, p[up]) @ (loss.max() - loss[up])
    if kind == "kl" and rho >= 1e-6 and np.ptp(loss[p > 1e-9]) > 0:     # tilt the belief, its entropy is the radius
        a, b = 0.0, 1e9 / np.ptp(loss[p > 1e-9])
        for _ in range(200):
            q = (w := p * np.exp((t := (a + b) / 2) * np.minimum(loss - loss[p > 1e-9].max(), 0))) / w.sum()
            a, b = (t, b) if q @ np.log((q + 1e-300) / (p + 1e-300)) < rho else (a, t)
        return q @ loss
    room = (high - low)[up[::-1]]       # everything at its lowest, then the largest losses filled up
    return low @ loss + np.clip(1 - low.sum() - np.cumsum(room) + room, 0, room) @ loss[up[::-1]]
def objective(name, tolerance):     # from its formula, after the account's equations, every rule and the figures shown
    h, c, b, s = (np.array(doc["proof"][name][key]) for key in ("holdings", "cash", "bought", "sold"))
    W, gain, variance = h.sum() + c, M @ h + cash_return * c, np.sum((L.T @ h) ** 2) + D @ h**2
    used = G["holdings"] @ h + G["buys"] @ b + G["sells"] @ s + G["cash"] * c + G["expected"] * (p @ gain)
    for label, excess in zip(doc["proof"]["rows"]["labels"], used - G["wealth"] * W - G["limit"], strict=True):
        claims[f"{name}: {label}"] = excess <= tolerance
    claims[f"{name}: short, volatile"] = min(h.min(), c, W * (limit or 1e9) + tolerance - np.sqrt(variance)) >= -1e-9
    claims[f"{name}: balance"] = np.abs([*(h - h0 - b + s), c - c0 + (1 + rate) @ b - (1 - rate) @ s]).max() < 1e-9
    told = [*doc["figures"][name].values()][:2]     # expected and worst-case return
    claims[f"{name}: figures"] = np.allclose(told, [p @ gain + W - 1, W - 1 - worst(-gain)], 0, 1e-7)
    return weight * worst(-gain) + price * (1 - W) + gamma * variance
q, u, F, at = m["adversary"], m["volatility"] * m["direction"], L.shape[1], doc["proof"]["after"]
far = {"kl": q @ np.log((q + 1e-300) / (p + 1e-300)), "total_variation": abs(q - p).sum() / 2, "worst": 0}
claims = {"adversary": min(q) >= 0 and abs(q.sum() - 1) < 1e-9 and far.get(kind, abs(q - p).max()) < rho + 1e-9}
claims["prices are lawful"] = min([0, *m["rows"], m["volatility"]]) >= 0 and np.linalg.norm(m["direction"]) < 1 + 1e-9
moved = {o["instrument"]: o["quantity"] * o["price"] * (-1) ** (o["side"] == "sell") for o in doc["orders"]}
net = [moved.get(row["instrument"], 0) / doc["proof"]["value"] for row in doc["positions"][:-1]]
claims["orders make the plan"] = np.allclose(net, np.subtract(at["bought"], at["sold"]), 0, 1e-9)
gain, free = m["rows"] @ G["expected"] * p - weight * q, m["factors"] + u[:F]       # prices of gains and of factors
linear = M.T @ gain + m["rows"] @ G["holdings"] + m["position"] - m["wealth"] - L @ m["factors"] + np.sqrt(D) * u[F:]
h = np.clip(np.where(gamma * D > 0, -linear / np.maximum(2 * gamma * D, 1e-300), linear < 0), 0, 1)
bound = price - m["rows"] @ G["limit"] - m["position"] @ h0 - m["cash"] * c0 + linear @ h + gamma * D @ h**2
bound -= free @ free / max(4 * gamma, 1e-300)     # now cash, purchases, sales and wealth, each at its best
bound += min(gain @ cash_return + m["rows"] @ G["cash"] + m["cash"] - m["wealth"], 0)
bound += np.minimum(m["rows"] @ G["buys"] - m["position"] + m["cash"] * (1 + rate), 0).sum()
bound += h0 @ np.minimum(m["rows"] @ G["sells"] + m["position"] - m["cash"] * (1 - rate), 0)
bound += min(m["wealth"] - price - m["rows"] @ G["wealth"] - m["volatility"] * limit, 0)
best, lots = objective("target", 1e-6), objective("after", 2e-9)
claims["nothing is better by 0.01 bps"] = abs(best - bound) <= 1e-6 * max(1, abs(best))
wrong = "; ".join(claim for claim, holds in claims.items() if not holds)
sys.exit(f"NOT verified: {wrong}" if wrong else print(f"verified: {len(claims)} claims, lots {lots - best:+.1e}"))
