"""Sets of probabilities q around a belief p: the most that q'x can be, and whether q is a member (words: schema)."""

import numpy as np


def worst_case(x, kind, rho, table, p):
    if kind == "product":  # of each answer's regimes given it, then of the answers
        (_, _, *one), *regimes = map(dict.values, table)
        each = [worst_case(x[at], *own, p[at] / p[at].sum() if any(p[at]) else np.array(b)) for at, b, *own in regimes]
        return worst_case(np.array(each), *one, np.array([p[at].sum() for at, *_ in regimes]))
    table, up = np.array(table), np.argsort(x)
    if kind in ("hull", "polytope"):
        return ((corners(table) if kind == "polytope" else table) @ x).max()
    if kind == "wasserstein":  # the least over prices of distance, at one that makes two scenarios worth the same
        apart = table[:, :, None] - table[:, None, :]
        prices = np.append(np.divide(x[:, None] - x, apart, where=apart != 0, out=0 * apart).ravel(), 0)
        return min(t * rho + p @ (x - t * table).max(1) for t in prices[prices >= 0])
    if kind == "total_variation":  # take mass from the smallest losses, give it to the largest
        return p @ x + np.clip(rho - np.cumsum(p[up]) + p[up], 0, p[up]) @ (x.max() - x[up])
    if kind in ("kl", "modified_chi2") and rho >= 1e-6 and np.ptp(x[seen := p > 0]) > 0:
        return (tilted if kind == "kl" else above)(x[seen], p[seen] / p[seen].sum(), rho)
    ranges = {"box": (np.maximum(p - rho, 0), np.minimum(p + rho, 1)), "worst": (0 * p, 0 * p + 1)}
    low, high = ranges.get(kind, ((1 - rho) * p, (1 - rho) * p + rho) if kind == "contamination" else (p, p))
    room = (high - low)[up[::-1]]  # everything at its lowest, then the largest losses filled up
    return low @ x + np.clip(1 - low.sum() - np.cumsum(room) + room, 0, room) @ x[up[::-1]]

def tilted(x, p, rho):  # the belief, until its entropy is the radius
    a, b = 0.0, 1e9 / np.ptp(x)
    for _ in range(200):
        q = (w := p * np.exp((t := (a + b) / 2) * (x - x.max()))) / w.sum()
        a, b = (t, b) if q @ np.log((q + 1e-300) / p) < rho else (a, t)
    return q @ x

def above(x, p, rho):  # the least of eta + sqrt(1 + rho) |sqrt(p) (x - eta)+|, with some of the largest above eta
    home = x[p.argmax()]  # sums are of what lies away from the likeliest, so that the unlikely keep their digits
    mass, first, second = (np.cumsum((p * (x - home) ** n)[np.argsort(-x)]) for n in (0, 1, 2))
    below = np.sqrt(np.maximum(second / mass - (first / mass) ** 2, 0) / np.maximum((1 + rho) * mass - 1, 1e-9))
    etas = np.append(x.max(), home + first / mass - below)
    return min(eta + np.sqrt((1 + rho) * p @ np.maximum(x - eta, 0) ** 2) for eta in etas)

def corners(table):  # of {q >= 0, sum q = 1, a'q <= b}: where as many rows are equal as q has freedoms
    rows = np.vstack([table, np.eye(n := table.shape[1] - 1, n + 1) * -1])
    few = [[*f"{pick:0{len(rows)}b}"] for pick in range(2 ** len(rows)) if pick.bit_count() == n - 1]
    ways = [np.vstack([np.ones(n + 1), rows[np.array(one) > "0"]]) for one in few]
    points = np.array([np.linalg.pinv(way[:, :-1]) @ way[:, -1] for way in ways])
    return points[(points @ rows[:, :-1].T <= rows[:, -1] + 1e-9).all(1) & (abs(points.sum(1) - 1) < 1e-9)]

def is_member(q, kind, rho, table, p, witness):
    table, told = np.array(table), min(q) >= 0 and abs(q.sum() - 1) <= 1e-9
    if kind in ("hull", "wasserstein"):
        w, moved = np.array(witness), kind == "wasserstein"
        lawful = w.min() >= 0 and (abs(w.sum(1) - p).max() if moved else abs(w.sum() - 1)) <= 1e-9
        far = max(abs((w.sum(0) if moved else w @ table) - q).max(), (w * table).sum() - rho if moved else 0)
        return told and lawful and far <= 1e-9
    if kind in ("polytope", "contamination"):
        return told and (table[:, :-1] @ q - table[:, -1] if kind == "polytope" else (1 - rho) * p - q).max() <= 1e-9
    far = {"kl": q @ np.log((q + 1e-300) / (p + 1e-300)), "total_variation": abs(q - p).sum() / 2, "worst": 0}
    far["modified_chi2"] = sum((q - p) ** 2 / np.maximum(p, 1e-300))
    return told and far.get(kind, abs(q - p).max()) <= rho + 1e-9
