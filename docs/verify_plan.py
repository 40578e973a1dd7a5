"""Verify a plan.json with numpy alone: `python docs/verify_plan.py < plan.json`. Exit 0 when all its claims hold."""
import json
import sys

import numpy as np

proof = json.load(sys.stdin)["proof"]
A = {key: np.array(value, float) for key, value in proof.items() if isinstance(value, list | float)}
p, M, cash_return, L, D = (A[key] for key in ("probabilities", "returns", "cash_returns", "loadings", "specific"))
rate, gamma, weight, limit = (A[key] for key in ("cost_rates", "risk_aversion", "return_weight", "volatility_limit"))
(kind, radius), (h0, c0), tiny = proof["ambiguity"].values(), proof["before"].values(), 1e-300
m = {key: np.array(value, float) for key, value in proof["multipliers"].items()}
G = {key: np.array(value, float) for key, value in proof["rows"].items() if key != "labels"}
for key in ("holdings", "buys", "sells"):       # coefficients of the rules, stored as (row, instrument, value)
    entries, G[key] = G[key].reshape(-1, 3), np.zeros((len(G["limit"]), len(h0)))
    np.add.at(G[key], tuple(entries[:, :2].astype(int).T), entries[:, 2])

def worst(loss):        # the largest q'loss over the ambiguity set, in closed form
    order, box = np.argsort(-loss), (np.maximum(p - radius, 0), np.minimum(p + radius, 1))
    low, high = {"box": box, "worst": (0 * p, 0 * p + 1)}.get(kind, (p, p))
    if kind == "total_variation":       # take mass from the smallest losses, give it to the largest
        source = p[order[::-1]]
        return p @ loss + np.clip(radius - np.cumsum(source) + source, 0, source) @ (loss.max() - loss[order[::-1]])
    if kind == "kl" and radius >= 1e-6 and np.ptp(loss) > 0:        # tilt the belief until its entropy is the radius
        a, b = 0.0, 1e9 / np.ptp(loss)
        for _ in range(200):
            q = (w := p * np.exp((t := (a + b) / 2) * (loss - loss[p > 0].max()))) / w.sum()
            a, b = (t, b) if q @ np.log(np.maximum(q, tiny) / np.maximum(p, tiny)) < radius else (a, t)
        return q @ loss
    room = (high - low)[order]      # everything at its lowest, then the largest losses filled up
    return low @ loss + np.clip(1 - low.sum() - np.cumsum(room) + room, 0, room) @ loss[order]

def objective(name, tolerance):     # from its formula, after the account's equations and every rule
    h, c, b, s = (np.array(proof[name][key]) for key in ("holdings", "cash", "bought", "sold"))
    W, gain, variance = h.sum() + c, M @ h + cash_return * c, np.sum((L.T @ h) ** 2) + D @ h**2
    used = G["holdings"] @ h + G["buys"] @ b + G["sells"] @ s + G["cash"] * c + G["expected"] * (p @ gain)
    for label, excess in zip(proof["rows"]["labels"], used - G["wealth"] * W - G["limit"], strict=True):
        claims[f"{name}: {label}"] = excess <= tolerance
    calm = W * (limit or 1e9) + tolerance - np.sqrt(variance)
    claims[f"{name}: nothing short, not too volatile"] = min(h.min(), c, calm) >= -1e-9
    claims[f"{name}: balance"] = np.abs([*(h - h0 - b + s), c - c0 + (1 + rate) @ b - (1 - rate) @ s]).max() < 1e-9
    return weight * (worst(-gain) + 1 - W) + gamma * variance
q, u, F = m["adversary"], m["volatility"] * m["direction"], L.shape[1]
far = {"kl": q @ np.log(np.maximum(q, tiny) / np.maximum(p, tiny)), "total_variation": abs(q - p).sum() / 2, "worst": 0}
claims = {"adversary": min(q) >= 0 and abs(q.sum() - 1) < 1e-9 and far.get(kind, abs(q - p).max()) < radius + 1e-9}
claims["prices are lawful"] = min([0, *m["rows"], m["volatility"]]) >= 0 and np.linalg.norm(m["direction"]) < 1 + 1e-9
price, free = m["rows"] @ G["expected"] * p - weight * q, m["factors"] + u[:F]      # of a gain, and of the factors
linear = M.T @ price + m["rows"] @ G["holdings"] + m["position"] - m["wealth"] - L @ m["factors"] + np.sqrt(D) * u[F:]
at = np.clip(np.where(gamma * D > 0, -linear / np.maximum(2 * gamma * D, tiny), linear < 0), 0, 1)
bound = weight - m["rows"] @ G["limit"] - m["position"] @ h0 - m["cash"] * c0 + linear @ at + gamma * D @ at**2
bound -= free @ free / max(4 * gamma, tiny)       # now cash, purchases, sales and wealth, each at its best
bound += min(price @ cash_return + m["rows"] @ G["cash"] + m["cash"] - m["wealth"], 0)
bound += np.minimum(m["rows"] @ G["buys"] - m["position"] + m["cash"] * (1 + rate), 0).sum()
bound += h0 @ np.minimum(m["rows"] @ G["sells"] + m["position"] - m["cash"] * (1 - rate), 0)
bound += min(m["wealth"] - weight - m["rows"] @ G["wealth"] - m["volatility"] * limit, 0)
gap, lots = (objective("target", 1e-6) - bound) * 1e4, (objective("after", 2e-9) - bound) * 1e4
claims["the targets are within 0.01 bps of the best"] = abs(gap) <= 0.01
if wrong := [claim for claim, holds in claims.items() if not holds]:
    sys.exit(f"NOT verified: {'; '.join(wrong)}")
print(f"verified: {len(claims)} claims; targets within {abs(gap):.1g} bps of the best, whole lots {lots:.2f} bps")
