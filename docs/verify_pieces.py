"""What verify_plan.py is made of: the sets that rules and probabilities range over, and the cheapest trades.

A set's `kind` is norm (u no longer than 1), largest (u in [0, 1], adding up to `rho`), or one of probabilities
around p, which verify_sets.py knows; `rho` is its size.
"""

import json
import sys

import numpy as np
from verify_sets import is_member, worst_case


def read():
    """The document; one with reviews has a verifier of its own, and nothing comes after it."""
    doc = json.load(sys.stdin)
    if doc.get("policy") is not None:
        from verify_policy import verify  # noqa: PLC0415  # which is made of these pieces, too

        sys.exit(verify(doc))
    return doc

def largest(x, kind, rho, table, p):
    """The largest u'x over the set."""
    if kind == "norm":
        return np.linalg.norm(x)
    if kind == "largest":
        return np.sort(x)[::-1] @ np.clip(rho - np.arange(len(x)), 0, 1)
    return worst_case(x, kind, rho, table, p)

def inside(u, kind, rho=1, table=(), p=(), witness=()):
    """Whether u belongs to the set."""
    if kind == "norm":
        return np.linalg.norm(u) <= 1 + 1e-9
    if kind == "largest":
        return min(u) >= 0 and max(u) <= 1 and sum(u) <= rho + 1e-9
    if kind == "product":  # on each axis, with its own part of the witness
        (_, _, *one), *regimes = map(dict.values, table)
        each = [(*(v[at] / v[at].sum() if any(v[at]) else np.array(b) for v in (u, p)), s) for at, b, *s in regimes]
        each, w = [(*(np.array([v[at].sum() for at, *_ in regimes]) for v in (u, p)), one), *each], [*witness]
        return all(is_member(a, *s, b, [w.pop(0) for _ in s[2]] if s[0] == "hull" else ()) for a, b, s in each)
    return is_member(u, kind, rho, table, p, witness)

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
