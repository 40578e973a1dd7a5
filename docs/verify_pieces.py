"""What verify_plan.py is made of: the sets that rules and probabilities range over, and the cheapest trades.

A set's `kind` is norm (u no longer than 1), largest (u in [0, 1], summing to at most `rho`), or one of probabilities
around p; `rho` is its size.
"""

import numpy as np


def largest(x, kind, rho, p):
    """The largest u'x over the set."""
    if kind == "norm":
        return np.linalg.norm(x)
    if kind == "largest":
        return np.sort(x)[-rho:].sum()
    up = np.argsort(x)
    low, high = {"box": (np.maximum(p - rho, 0), np.minimum(p + rho, 1)), "worst": (0 * p, 0 * p + 1)}.get(kind, (p, p))
    if kind == "total_variation":  # take mass from the smallest losses, give it to the largest
        return p @ x + np.clip(rho - np.cumsum(p[up]) + p[up], 0, p[up]) @ (x.max() - x[up])
    if kind == "kl" and rho >= 1e-6 and np.ptp(x[p > 1e-9]) > 0:  # tilt the belief, its entropy is the radius
        a, b = 0.0, 1e9 / np.ptp(x[p > 1e-9])
        for _ in range(200):
            q = (w := p * np.exp((t := (a + b) / 2) * np.minimum(x - x[p > 1e-9].max(), 0))) / w.sum()
            a, b = (t, b) if q @ np.log((q + 1e-300) / (p + 1e-300)) < rho else (a, t)
        return q @ x
    room = (high - low)[up[::-1]]  # everything at its lowest, then the largest losses filled up
    return low @ x + np.clip(1 - low.sum() - np.cumsum(room) + room, 0, room) @ x[up[::-1]]


def inside(u, kind, rho, p):
    """Whether u belongs to the set."""
    if kind == "norm":
        return np.linalg.norm(u) <= 1 + 1e-9
    if kind == "largest":
        return min(u) >= 0 and max(u) <= 1 and sum(u) <= rho + 1e-9
    far = {"kl": u @ np.log((u + 1e-300) / (p + 1e-300)), "total_variation": abs(u - p).sum() / 2, "worst": 0}
    return min(u) >= 0 and abs(u.sum() - 1) <= 1e-9 and far.get(kind, abs(u - p).max()) <= rho + 1e-9


def cheapest(buys, sells, held, impact):
    """The least of buys·b + sells·s + impact·(b + s)^1.5 over purchases b in [0, 1] and sales s in [0, held]."""

    def least(linear, low, high):
        at = np.clip((np.maximum(-linear, 0) / np.maximum(1.5 * impact, 1e-150)) ** 2, low, high)
        return linear * at + impact * at**1.5

    if impact.min(initial=0) < 0:  # no impact could be better than all of it
        return cheapest(buys, sells, held, 0 * impact) + impact @ (1 + held) ** 1.5
    first, other, most = np.minimum(buys, sells), np.maximum(buys, sells), np.where(sells < buys, held, 1.0)
    return np.minimum(least(first, 0, most), (first - other) * most + least(other, most, 1 + held)).sum()


def dense(entries, shape):
    """A matrix from its (row, column, value)."""
    (i, j, value), matrix = np.reshape(entries, (-1, 3)).T, np.zeros(shape)
    matrix[i.astype(int), j.astype(int)] = value
    return matrix
