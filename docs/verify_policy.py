"""Verify a plan with reviews with numpy alone, for verify_plan.py: account, rules and worst case, node by node.

What the names mean: allocator schema plan. That no policy is better by more than is told is not looked at here.
"""

import numpy as np
from verify_pieces import dense, largest
from verify_sets import worst_case


def verify(doc):
    """What does not hold, by name; nothing, and a word on it, where everything does."""
    policy, claims = doc["policy"], []
    proof = policy["proof"]
    if proof is None:
        return "NOT verified: the plan carries no proof: its objective is no utility of the final wealth"
    nodes, leaves = proof["nodes"], {key: np.array(v) for key, v in proof["leaves"].items()}
    h, c, before = [], [], []
    for node in nodes:  # trades followed forward: what is held and left in cash, every rule
        n = {
            key: np.array(v) if isinstance(v, list) and key not in ("convex", "rows") else v for key, v in node.items()
        }
        held, cash = (np.array(proof["before"][key]) for key in ("holdings", "cash"))
        if n["parent"] >= 0:
            held, cash = n["growth"] * h[n["parent"]], n["cash_growth"] * c[n["parent"]] + n.get("cash_flow", 0)
        b, s = n["bought"], n["sold"]
        paid = n["cost_rates"] @ (b + s) + n["impact"] @ (b + s) ** 1.5
        h, c = [*h, held + b - s], [*c, cash + s.sum() - b.sum() - paid]
        before = [*before, held.sum() + cash]
        claims.append(("account", max(abs(h[-1] - n["holdings"]).max(), abs(c[-1] - n["cash"])) < 1e-8))
        claims.append(("no short or double trade", min(b.min(), s.min(), h[-1].min() + 1e-9, (c[-1] + 1e-6)) >= 0))
        claims.append(("sold at most what is held", (s - held).max() < 1e-8))
        claims += [(label, by <= 1e-6 * max(1, before[-1])) for label, by in broken(proof, n, h[-1], c[-1], before[-1])]
    net = {o["instrument"]: o["quantity"] * o["price"] * (-1) ** (o["side"] == "sell") for o in doc["orders"]}
    net = [net.get(row["instrument"], 0) / doc["book"]["value"] for row in doc["positions"][:-1]]
    first = np.array(nodes[0]["bought"]) - nodes[0]["sold"]
    first = first if doc["decision"]["verdict"] != "targets only" else 0 * first
    claims.append(("orders make the first trades", np.allclose(net, first, 0, 1e-8)))
    for row, held, cash, worth in zip(policy["nodes"], h, c, before, strict=True):
        told = [*row["after"].values(), row["account"]]
        claims.append((row["node"], np.allclose(told, [*(held / (held.sum() + cash)), worth], 0, 1e-7)))
    value, risk, ahead = np.zeros((3, len(nodes)))
    parents = np.array([node["parent"] for node in nodes])
    for i in range(len(nodes))[:0:-1]:  # cash that is still to come, as it is worth at each decision
        ahead[parents[i]] = (nodes[i].get("cash_flow", 0) + ahead[i]) / nodes[i]["cash_growth"]
    for i, n in enumerate(nodes):  # half the aversion times the variance on the way, until the next decision
        variance = n["step"] * (n["deviation"] * deviation(proof, h[i]) / (h[i].sum() + c[i] + ahead[i])) ** 2
        risk[i] = proof["path_aversion"] / 2 * variance + (risk[parents[i]] if i else 0)
    ahead = loss(proof, leaves, np.array(h), np.array(c), risk)
    for i in range(len(nodes))[::-1]:  # the worst case followed backward
        below, ends, n = np.flatnonzero(parents == i), np.flatnonzero(leaves["parents"] == i), nodes[i]
        p = np.append([nodes[m]["probability"] for m in below], leaves["probabilities"][ends])
        x, of = np.append(value[below], ahead[ends]), np.array(n["of"])
        if n["likelihoods"]:  # what scenarios say of the branches adds up to their probabilities
            claims.append(("seen through the news", np.allclose(of @ n["likelihoods"], p, 0, 1e-9)))
            x = np.array(n["likelihoods"]) @ x
        claims.append(("probabilities", abs(p.sum() - 1) < 1e-9 and (n["likelihoods"] or np.allclose(of, p, 0, 1e-12))))
        value[i] = worst_case(x, *n["set"].values(), of) + n["risk_charge"] * n["deviation"] * deviation(proof, h[i])
    claims.append(("objective", abs(value[0] - proof["objective"]) < 1e-7 * max(1, abs(value[0]))))
    told = utilities(proof["relative_risk_aversion"])[proof["utility"]][1](value[0])
    worth = "certainty_equivalent_" + ("of_holding" if doc["decision"]["verdict"] == "no trade" else "with_lots")
    at, came = len(nodes) - 1, 0  # cash that comes on the way is no gain
    while at > 0:
        at, came = nodes[at]["parent"], came + nodes[at].get("cash_flow", 0)
    claims.append(("certainty equivalent", abs(told - came - policy[worth]) < 2e-8 + 1e-7 * abs(told)))
    wrong = "; ".join(claim for claim, holds in claims if not holds)
    return f"NOT verified: {wrong}" if wrong else print(f"verified: {len(claims)} claims, {len(nodes)} decisions")


def broken(proof, n, h, c, before):
    """Every rule of a node and by how much it is missed, in units of today's account."""
    rows, wealth, parts = n["rows"], h.sum() + c, {"holdings": h, "buys": n["bought"], "sells": n["sold"]}
    used = sum(dense(rows[key], (len(rows["labels"]), len(h))) @ x for key, x in parts.items())
    used = used + np.array(rows["cash"]) * c - np.array(rows["wealth"]) * wealth
    missed = used - np.array(rows["limit"]) * np.where(rows["in_money"], 1, before)
    found = [*zip(rows["labels"], missed, strict=True)]
    gains, of_cash = np.array(n["returns"]), np.array(n["cash_returns"])
    for r in n["convex"]:
        a, room = np.array(r["against"]), wealth - before - r["limit"] * before
        if r["kind"] == "worst_case":
            x = (gains @ a[:-1] + of_cash * a[-1]) * before - gains @ h - of_cash * c
        else:
            x = h - a[:-1] * wealth
            x = n["deviation"] * among(proof) @ x if r["kind"] == "risk" else x
            room = r["limit"] * wealth
        found.append((r["label"], largest(x, *r["set"].values(), np.array(n["beliefs"])) - room))
    return found


def among(proof):
    return np.vstack([np.array(proof["loadings"]).T, np.diag(np.sqrt(proof["specific"]))])


def deviation(proof, h):
    return np.linalg.norm(among(proof) @ h)


def loss(proof, leaves, h, c, risk):
    """What each leaf loses: by the utility of what it ends with, less what the risk on the way is charged."""
    at = leaves["parents"]
    wealth = ((leaves["growth"] * h[at]).sum(1) + leaves["cash_growth"] * c[at]) * np.exp(-risk[at])
    return utilities(proof["relative_risk_aversion"])[proof["utility"]][0](wealth)


def utilities(aversion):
    """By name: what a final wealth loses, and the riskless return that is as good as a loss."""
    return {
        "return": (lambda wealth: 1 - wealth, lambda loss: -loss),
        "log": (lambda wealth: -np.log(wealth), lambda loss: np.expm1(-loss)),
        "crra": (
            lambda wealth: (wealth ** (1 - aversion) - 1) / (aversion - 1),
            lambda loss: (1 + (aversion - 1) * loss) ** (1 / (1 - aversion)) - 1,
        ),
    }
