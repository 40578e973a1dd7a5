"""Whether the prices and the adversary of a plan are the only ones: where they are not, one of several is shown.

Two questions. At the targets several adversaries may be equally bad (losses that tie). And the prices, with the
adversary that fits them, follow from one equation for each name that is traded and still held; where active rules and
ties are more than these equations can tell apart, other prices prove the plan just as well.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from scipy.optimize import linprog

from allocator.ambiguity.sets import Hull, KullbackLeibler, ModifiedChiSquared, Polytope, Wasserstein, is_belief
from allocator.mandate.mandate import Mandate
from allocator.optimization.verification import Prices
from allocator.outlook.outlook import Outlook
from allocator.plan.marginal import HELD, Bools, next_costs, room
from allocator.rules import Trade
from allocator.types import Matrix, Vector

_NAMED = 4
_LOOSE = 1e-6
TIED = 1e-7
"""Of the account: losses nearer than this are equal for the adversary, rules nearer to their limit are active."""


def notes(outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices) -> tuple[str, ...]:
    """What is not unique, in words; nothing where all of it is."""
    ties = tied_adversaries(outlook, mandate, target)
    said = []
    if len(ties):
        losing = np.flatnonzero(np.abs(ties).max(axis=0) > 0)
        names = ", ".join(outlook.scenarios[k] for k in losing)
        said.append(
            f"Losses tie at the targets ({names}): several adversaries are equally bad; the one shown fits the prices."
        )
    loose = loose_prices(outlook, mandate, target, prices, ties)
    if loose:
        named = "; ".join(f"'{label}'" for label in loose[:_NAMED]) + ("; …" if len(loose) > _NAMED else "")
        said.append(f"Prices are not unique, others prove the same plan: {named}.")
    return tuple(said)


def tied_adversaries(outlook: Outlook, mandate: Mandate, target: Trade) -> Matrix:
    """(D, K) directions in which the adversary may move at the targets without being less bad; none where it may not.

    For total variation, box, contamination and any probabilities at all: mass may go between two scenarios of equal
    loss, where one can give and the other take. Transport, hull and polytope may tie between members that differ in any
    two scenarios. A divergence has one worst member, but where all losses are equal.
    """
    ambiguity, p = mandate.ambiguity, outlook.probabilities
    curved = isinstance(ambiguity, KullbackLeibler | ModifiedChiSquared) or is_belief(ambiguity)
    if curved or not mandate.return_weight:
        return np.zeros((0, len(p)))
    before = target.value_before
    losses = -outlook.portfolio_returns(target.values / before, target.cash / before)
    found = []
    order = np.argsort(losses, kind="stable")
    flat = isinstance(ambiguity, Wasserstein | Hull | Polytope)
    for j, k in combinations(range(len(p)), 2) if flat else pairwise(order):
        if not flat and losses[k] - losses[j] > TIED:
            continue
        ways = np.zeros(len(p))
        ways[j], ways[k] = 1.0, -1.0
        pushes = [losses + sign * 2 * TIED * ways for sign in (1, -1)]
        apart = ambiguity.adversary(pushes[0], p) - ambiguity.adversary(pushes[1], p)
        if np.abs(apart).max() > TIED and abs(float(apart @ losses)) <= 2 * TIED * np.abs(apart).sum():
            found.append(apart / np.abs(apart).max())
    return np.array(found).reshape(-1, len(p))


def loose_prices(outlook: Outlook, mandate: Mandate, target: Trade, prices: Prices, ties: Matrix) -> tuple[str, ...]:
    """The rules whose prices could be others, with `money` and `adversary` where they could; none where all are unique.

    A name that is traded and held gives one equation (where trading costs nothing, one that is held), cash that is held
    another; the unknowns are the prices of the active rules, that of money, and the adversary's moves among ties.
    """
    rows, priced = prices.priced(outlook, mandate)
    before = target.value_before
    holdings, bought, sold = target.values / before, target.bought / before, target.sold / before
    active = np.flatnonzero((room(rows, target) <= TIED) | (priced > TIED))
    selling, buying = next_costs(mandate, target)
    traded = bought + sold > HELD
    apart = selling + buying + abs(rows.buys)[active].sum(axis=0) + abs(rows.sells)[active].sum(axis=0) > 0
    telling = np.flatnonzero((holdings > HELD) & (traded | ~apart))
    bought_now, sold_now = (bought[telling] > HELD)[:, None], (sold[telling] > HELD)[:, None]
    own = rows.holdings[active][:, telling].T.toarray() - rows.wealth[active]
    own = own + np.where(bought_now, rows.buys[active][:, telling].T.toarray(), 0.0)
    own = own - np.where(sold_now, rows.sells[active][:, telling].T.toarray(), 0.0)
    money = np.where(bought_now, 1 + buying[telling][:, None], 1 - selling[telling][:, None])
    equations = np.hstack([own, money, -(ties @ outlook.returns[:, telling]).T])
    if target.cash / before > HELD:
        last = np.concatenate([rows.cash[active] - rows.wealth[active], [1.0], -(ties @ outlook.cash_returns)])
        equations = np.vstack([equations, last])
    at_zero = np.concatenate([priced[active] <= TIED, np.zeros(1 + len(ties), dtype=bool)])
    ways = _ways(equations, at_zero)
    labels = [*(rows.labels[r] for r in active), "money", *["adversary"] * len(ties)]
    return tuple(dict.fromkeys(label for label, way in zip(labels, ways, strict=True) if way > _LOOSE))


def _ways(equations: Matrix, at_zero: Bools) -> Vector:
    """(unknowns,) how far each may move while equations·d = 0, with d ≥ 0 where a price is 0 already."""
    free, found = equations[:, ~at_zero], np.zeros(len(at_zero))
    if free.shape[1]:
        _, sizes, ways = np.linalg.svd(free, full_matrices=True)
        found[~at_zero] = np.abs(ways[int((sizes > _LOOSE * max(sizes.max(initial=0.0), 1.0)).sum()) :]).max(
            axis=0, initial=0.0
        )
    if not at_zero.any() or np.linalg.matrix_rank(equations, tol=_LOOSE) == equations.shape[1]:
        return found
    bounds = [(0.0, 1.0) if zero else (-1e3, 1e3) for zero in at_zero]
    way = linprog(-at_zero.astype(float), A_eq=equations, b_eq=np.zeros(len(equations)), bounds=bounds)
    return np.maximum(found, np.abs(way.x)) if way.status == 0 else found
