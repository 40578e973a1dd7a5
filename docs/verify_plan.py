"""Verify a plan.json with numpy alone: `python docs/verify_plan.py < plan.json`. Exit 0 when all its claims hold."""

import sys

import numpy as np
from verify_pieces import cheapest, dense, inside, largest, read

doc = read()  # a plan with reviews is verified there; what the names mean: allocator schema plan
proof, claims, loss = {key: np.array(v) if isinstance(v, list) else v for key, v in doc["proof"].items()}, [], {}
p, M, cash_return, L, D = (proof[key] for key in ("probabilities", "returns", "cash_returns", "loadings", "specific"))
gamma, weight, price = (proof[key] for key in ("risk_aversion", "return_weight", "cost_price"))
G, m, error = ({k: np.array(v) for k, v in proof[key].items()} for key in ("rows", "multipliers", "return_error"))
(h0, c0), R, among = proof["before"].values(), np.vstack([L.T, np.diag(np.sqrt(D))]), [*proof["ambiguity"].values(), p]
errors = ("largest", error["names"]) if "names" in error else ("norm", 1)  # which returns may be wrong at once
spread = np.diag(error["spread"]) if "names" in error else error["size"] * R
G |= {k: dense(G[k], (len(m["rows"]), len(p if k == "gains" else D))) for k in ("holdings", "buys", "sells", "gains")}
orders = doc["decision"]["verdict"] != "targets only"  # else after is the target, and nothing is ordered
for name, tolerance in (("target", 1e-6), ("after", 2e-9 if orders else 1e-6)):  # rules, account, figures, objective
    h, c, b, s = (np.array(proof[name][key]) for key in ("holdings", "cash", "bought", "sold"))
    W, gain = h.sum() + c, M @ h + cash_return * c
    used = G["holdings"] @ h + G["buys"] @ b + G["sells"] @ s + G["cash"] * c + G["gains"] @ gain
    excess = [*zip(G["labels"], used - G["wealth"] * W - G["limit"], strict=True), ("short", max(-h.min(), -c))]
    for r in proof["convex"]:  # the largest u'x over a set: a deviation, the largest names, or a worst case
        a, room = np.array(r["against"]), W - 1 - r["limit"] if r["kind"] == "worst_case" else r["limit"] * W
        x = {"risk": R @ (h - a[:-1] * W), "holdings": h - a[:-1] * W}
        x = x.get(r["kind"], M @ a[:-1] + cash_return * a[-1] - gain)
        excess.append((r["label"], largest(x, *r["set"].values(), p) - room))
    claims += [(f"{name}: {label}", by <= tolerance) for label, by in excess]
    paid, worst = proof["cost_rates"] @ (b + s) + proof["impact"] @ (b + s) ** 1.5, largest(-gain, *among)
    account = np.append(h - np.array(h0) - b + s, c - c0 + b.sum() - s.sum() + paid)
    told, own = [*doc["figures"][name].values()][:2], [p @ gain + W - 1, W - 1 - worst]  # expected and adverse return
    claims += [(f"{name}: balance", max(abs(account)) < 1e-9), (f"{name}: figures", np.allclose(told, own, 0, 1e-7))]
    charge = largest(spread @ h, *errors, (), p) + error["deviations"] @ h
    loss[name] = weight * worst + charge + price * (1 - W) + gamma * np.sum((R @ h) ** 2)
net = {o["instrument"]: o["quantity"] * o["price"] * (-1) ** (o["side"] == "sell") for o in doc["orders"]}
net = [net.get(row["instrument"], 0) / proof["value"] for row in doc["positions"][:-1]]
claims.append(("orders make the plan", np.allclose(net, b - s if orders else 0 * b, 0, 1e-9)))
lawful = [min([0, *m["rows"]]) >= 0, inside(m["adversary"], *among, m["witness"]), inside(error["direction"], *errors)]
in_gain, in_wealth = m["rows"] @ G["gains"] - weight * m["adversary"], m["wealth"] - price - m["rows"] @ G["wealth"]
in_h = m["rows"] @ G["holdings"] + m["position"] - m["wealth"] - L @ m["factors"] + error["deviations"]
in_h, bound = in_h + error["direction"] @ spread, price - m["rows"] @ G["limit"] - m["cash"] * c0
for r in proof["convex"]:  # its price times its tangent: any lawful direction u gives a row that the rule implies
    u, a, v = np.array(r["direction"]), np.array(r["against"]), r["price"]
    lawful += [v >= 0, inside(u, *r["set"].values(), p, r["witness"])]
    if r["kind"] == "worst_case":
        in_gain, in_wealth = in_gain - v * u, in_wealth - v
        bound += v * (1 + r["limit"] + u @ (M @ a[:-1] + cash_return * a[-1]))
    else:
        to_h = v * u @ R if r["kind"] == "risk" else v * u
        in_h, in_wealth = in_h + to_h, in_wealth - v * r["limit"] - (to_h @ a[:-1])
in_h, in_c = in_h + in_gain @ M, in_gain @ cash_return + m["rows"] @ G["cash"] + m["cash"] - m["wealth"]
h = np.clip(np.where(gamma * D > 0, -in_h / np.maximum(2 * gamma * D, 1e-300), in_h < 0), 0, 1)
bound += in_h @ h + gamma * D @ h**2 - m["position"] @ h0 - m["factors"] @ m["factors"] / max(4 * gamma, 1e-300)
in_b = m["rows"] @ G["buys"] - m["position"] + m["cash"] * (1 + proof["cost_rates"])
in_s = m["rows"] @ G["sells"] + m["position"] - m["cash"] * (1 - proof["cost_rates"])
bound += min(in_c, 0) + min(in_wealth, 0) + cheapest(in_b, in_s, np.array(h0), m["cash"] * proof["impact"])
gap, most, least = loss["target"] - bound, doc["certificate"]["allowed_bps"] / 1e4, -1e-6 * max(1, abs(bound))
claims += [("prices are lawful", all(lawful)), ("nothing is better by more than is told", least <= gap <= most)]
wrong, lots = "; ".join(claim for claim, holds in claims if not holds), loss["after"] - loss["target"]
sys.exit(f"NOT verified: {wrong}" if wrong else print(f"verified: {len(claims)} claims, lots {lots:+.1e}"))
