"""The value of re-optimising, of knowing more and of robustness: policies of one tree against each other.

Every number is a difference of certainty equivalents (riskless returns to the horizon) in bps of today's account.
Whose probabilities each is under:

- waiting (recourse, idling): the adverse ones of the sets that the tree guards against, node by node;
- knowing and averaging (EVPI, VSS): the beliefs as they are, of which alone foresight and averages mean anything;
- robustness (its cost, its protection): the first under the beliefs as they are, the second under the sets.

EVPI: Madansky (1960); EEV and VSS: Birge & Louveaux (2011), ch. 4. The literature means two things by VSS in more than
two stages, and both are here under their own names. A policy that cannot be had is None, and `missing` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, TypeVar

import numpy as np

from allocator.ambiguity.product import AxisShare
from allocator.ambiguity.sets import Ambiguity
from allocator.book.book import Book
from allocator.errors import BadInput, Breach, Infeasible, NotSolved
from allocator.multistage.mandate import OBJECTIVES, MultistageMandate, build_multistage_mandate, without_ambiguity
from allocator.multistage.policy import Policy, nested_value, policy_from_trades
from allocator.multistage.review_policy import robustness_by_axis
from allocator.multistage.solve import (
    buy_and_hold_policy,
    least_trades,
    path_losses,
    policy_after_first_trades,
    solve_policy,
    solve_side_by_side,
)
from allocator.optimization.solve import Limits
from allocator.outlook.outlook import build_outlook
from allocator.presentation import Keywords, OutlookHeading, Probability, Row, document_of
from allocator.rules.rows import Position
from allocator.types import Vector

_Solved = TypeVar("_Solved")


class WaitingMeasure(NamedTuple):
    """A figure in words, and the two policies whose certainty equivalents it is the difference of."""

    words: str
    better: str
    worse: str


MEASURES: Mapping[str, WaitingMeasure] = {
    "recourse": WaitingMeasure("re-optimising at reviews (recourse)", "flexible", "static"),
    "idling": WaitingMeasure("cost of only required trades until news", "flexible", "idle"),
    "perfect_information": WaitingMeasure("knowing all in advance (EVPI)", "foresight", "nominal"),
    "vss_root": WaitingMeasure("now, over averages (VSS, root)", "nominal", "averages_once"),
    "vss_all": WaitingMeasure("throughout, over averages (VSS, all)", "nominal", "averages_kept"),
    "cost_of_robustness": WaitingMeasure("cost of robustness (belief is right)", "nominal", "cautious_if_right"),
    "protection": WaitingMeasure("protection (belief is wrong)", "flexible", "nominal_if_wrong"),
}


@dataclass(frozen=True)
class ValueOfWaiting:
    """Certainty equivalents of policies by name, as fractions of today's account; `missing` says of one that cannot be
    had why not.

    Under the sets: `flexible` re-optimises at every review; `static` trades today and never again; `idle` trades
    what the rules demand until the first news and is flexible from there; `nominal_if_wrong` is the best policy for the
    beliefs. Under the beliefs: `nominal` that policy again; `cautious_if_right` the flexible one; `foresight` knows its
    path and its scenario; `averages_once` holds after today what is best if every name brought its mean, and decides
    well later; `averages_kept` holds it to the horizon.
    """

    equivalents: Mapping[str, float | None]
    missing: Mapping[str, str]
    axes: Mapping[str, AxisShare] | None = None
    """What of the flexible policy's adverse figure is about the answer and about the regime, and what each costs."""

    def bps(self, measure: str) -> float | None:
        """One of `MEASURES`; None where one of its policies cannot be had."""
        _, *policies = MEASURES[measure]
        better, worse = (self.equivalents.get(name) for name in policies)
        return None if better is None or worse is None else (better - worse) * 1e4


def value_of_waiting(
    staged: MultistageMandate,
    start: Position,
    limits: Limits | None = None,
    progress: Callable[[str], None] | None = None,
) -> ValueOfWaiting:
    """The policies, each solved and checked, from `start`; one solve a leaf for foresight.

    Raises:
        Infeasible: limits conflict at some node: there is no flexible policy to compare with.
        NotSolved: it, or the one for the beliefs, has no verified solution.
    """
    say, missing = progress or (lambda _: None), dict[str, str]()
    say("the policy that decides at every review")
    flexible = solve_policy(staged, start, limits)
    # risk on the way is charged around the nearest policy there is, where all others are soon at rest
    staged = replace(staged, around=flexible.around)
    beliefs = without_ambiguity(staged)
    nominal = solve_policy(beliefs, start, limits) if staged.guards else flexible
    beliefs = replace(beliefs, around=nominal.around)

    def tried(name: str, solved: Callable[[], _Solved]) -> _Solved | None:
        say(f"the policy '{name.replace('_', ' ')}'")
        try:
            return solved()
        except (Infeasible, NotSolved) as error:
            missing[name] = str(error)
            return None

    def under(policy: Policy, ambiguities: Sequence[Ambiguity]) -> float:
        return staged.utility.equivalent(float(policy.under(ambiguities).losses[0]))

    moves = tried("averages", lambda: mean_value_trades(beliefs, start, limits))
    policies: dict[str, Callable[[], float]] = {}
    if moves is not None:
        policies["averages_once"] = lambda: policy_after_first_trades(beliefs, start, moves, limits).equivalent
        policies["averages_kept"] = lambda: _without_debt(buy_and_hold_policy(beliefs, start, moves)).equivalent
    policies |= {
        "static": lambda: solve_policy(staged, start, limits, trading=False).equivalent,
        "idle": lambda: wait_then_trade_policy(staged, start, limits).equivalent,
        "foresight": lambda: staged.utility.equivalent(perfect_foresight_loss(beliefs, start, limits)),
    }
    equivalents = {name: tried(name, solved) for name, solved in policies.items()}
    equivalents |= {"flexible": flexible.equivalent, "nominal": nominal.equivalent}
    equivalents["cautious_if_right"] = under(flexible, beliefs.ambiguities)
    equivalents["nominal_if_wrong"] = under(nominal, staged.ambiguities)
    axes = robustness_by_axis(flexible, 0, limits, nominal).axes if staged.ambiguities[0].axes else None
    return ValueOfWaiting(equivalents, missing, axes)


def _without_debt(policy: Policy) -> Policy:
    """The policy, which must have in cash what goes out at its nodes.

    Raises:
        NotSolved: it has not.
    """
    node = int(np.argmin(policy.cash))
    if policy.cash[node] < -1e-6:  # of the account; more than a solver's last digits
        raise NotSolved(f"what it holds throughout does not pay what goes out at '{policy.staged.tree.names[node]}'")
    return policy


# The policies that it compares, beside the best ones.
#
QUIET = "silent"
"""The kind of a node at which there is still no news."""


def wait_then_trade_policy(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> Policy:
    """The policy that trades what the rules demand and no more, today and at every silent node that only silence led
    to, and is the best from the first news on.

    Raises:
        NotSolved: a part of it has no verified policy.
        Infeasible: limits conflict at some node.
    """
    every, asked = np.zeros_like(staged.tree.growth), list[tuple[list[int], float, MultistageMandate, Position]]()

    def idle(part: MultistageMandate, nodes: Sequence[int], begins: Position, unit: float) -> None:
        """Wait at the first of `nodes`, whose account is worth so much of today's, and go on."""
        first = buy_and_hold_policy(part, begins, least_trades(part, begins, limits))
        every[nodes[0]] = (first.bought[0] - first.sold[0]) * unit
        for child in part.tree.children(0)[0].tolist():
            own, at = float(first.wealth_before[child]), [nodes[i] for i in part.tree.below(child)[0]]
            below = part.below(child, own)
            if part.tree.kinds[child] == QUIET:
                idle(below, at, first.start_of(child), unit * own)
            else:
                asked.append((at, unit * own, below, first.start_of(child)))

    idle(staged, range(staged.tree.nodes), start, 1.0)
    leaves = [leaf for at, *_ in asked for leaf in staged.tree.below(at[0])[1]]
    best = solve_side_by_side(staged, [one[2] for one in asked], leaves, [one[3] for one in asked], limits)
    for (at, unit, *_), policy in zip(asked, best, strict=True):
        every[at] = (policy.bought - policy.sold) * unit
    return policy_from_trades(staged, start, every)


def mean_value_trades(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> Vector:
    """(N,) the trades of the mean-value problem: buy today, hold to the horizon, every name bringing its mean.

    Raises:
        Infeasible: the root's limits conflict.
        NotSolved: there is no verified solution.
    """
    tree, (growth, cash) = staged.tree, staged.tree.since_now()
    reach, root = tree.reach()[1], staged.part([0], [0])
    averaged = replace(
        root,
        tree=replace(
            root.tree,
            leaf_parents=np.zeros(1, dtype=np.int64),
            leaf_scenarios=np.zeros(1, dtype=np.int64),
            leaf_probabilities=np.ones(1),
            leaf_growth=(reach @ (tree.leaf_growth * growth[tree.leaf_parents]))[None, :],
            leaf_cash_growth=np.array([reach @ (tree.leaf_cash_growth * cash[tree.leaf_parents])]),
        ),
        utility=root.utility.of_means(),
    )
    policy = solve_policy(without_ambiguity(averaged), start, limits)
    moves: Vector = policy.bought[0] - policy.sold[0]
    return moves


def perfect_foresight_loss(staged: MultistageMandate, start: Position, limits: Limits | None = None) -> float:
    """The expected loss under the beliefs of who knows path and scenario: one chain a leaf, all in one
    program, the rules unchanged. Under
    a nested CVaR what the paths lose is nested as everybody's losses are.

    Raises:
        Infeasible: limits conflict along a path.
        NotSolved: a path has no verified policy.
    """
    reach, losses = staged.tree.reach()[1], np.zeros(staged.tree.leaves)
    possible = np.flatnonzero(reach > 0)
    losses[possible] = path_losses(staged, possible.tolist(), start, limits)
    nothing_held = np.zeros_like(staged.tree.growth)  # what holding costs on the way is in the losses of the paths
    return float(nested_value(without_ambiguity(staged), losses, losses[:, None], nothing_held).losses[0])


# The value of waiting in a book, and how it depends on one number: the announcement share.
#
_KEYS: tuple[tuple[str, Any, str], ...] = ()
for _name, _measure in MEASURES.items():
    _KEYS += ((f"{_name}_bps", float | None, f"{_measure.words}, in bps of today's account"),)


class _WaitingAtShare(TypedDict):
    announcement_share: Probability
    missing: Annotated[dict[str, str], "By policy that cannot be had: why."]
    axes: Annotated[
        dict[str, Annotated[Row, AxisShare]] | None,
        "where the set is of axes: what is about the answer and about the regime; else null",
    ]


class WaitingDocument(TypedDict):
    """The value of re-optimising, of knowing more and of robustness in a book with reviews; written by `allocator
    waiting --json`."""

    format: Literal["allocator.waiting/2"]
    book: OutlookHeading
    waiting: Annotated[list[Annotated[Row, _WaitingAtShare, _KEYS]], Keywords(minItems=1)]


@dataclass(frozen=True, eq=False)
class ValueOfWaitingByShare:
    """What waiting is worth at each of `shares`, of which `stated` is the book's."""

    book: Book
    stated: float
    shares: tuple[float, ...]
    worth: tuple[ValueOfWaiting, ...]

    def at_stated(self) -> ValueOfWaiting:
        """What it is worth by the book."""
        return self.worth[self.shares.index(self.stated)]

    def document(self) -> WaitingDocument:
        """The figures as plain data."""
        return {
            "format": "allocator.waiting/2",
            "book": self.book.outlook_heading(),
            "waiting": [
                {"announcement_share": share, "missing": dict(worth.missing), "axes": _axes(worth.axes)}
                | {f"{name}_bps": None if (bps := worth.bps(name)) is None else round(bps, 2) for name in MEASURES}
                for share, worth in zip(self.shares, self.worth, strict=True)
            ],
        }


def _axes(axes: Mapping[str, AxisShare] | None) -> dict[str, Row] | None:
    return None if axes is None else {name: document_of(one) for name, one in axes.items()}


def value_of_waiting_by_share(
    book: Book, shares: Sequence[float], progress: Callable[[str], None] | None = None
) -> ValueOfWaitingByShare:
    """What waiting is worth at the book's announcement share and at others.

    Raises:
        BadInput: the book has no reviews, so that there is nothing to wait for, or is about regret.
        Infeasible: limits conflict at some review.
        NotSolved: the policy has no verified solution.
    """
    stated = book.settings.horizon.announcement_share
    if not book.settings.horizon.reviews or stated is None:
        rule, cure = "states no review, so there is nothing to wait for", "add dates to horizon.reviews"
        raise BadInput([Breach("book.toml", None, "horizon.reviews", None, rule, cure)])
    if OBJECTIVES[objective := book.settings.mandate.objective].over_leaves:
        rule = "is not time-consistent at the leaves, and the value of waiting is summed review by review"
        cure = "choose log, crra or mean_cvar"
        raise BadInput([Breach("book.toml", None, "mandate.objective", objective, rule, cure)])
    say = progress or (lambda _: None)
    every = tuple(sorted({*shares, stated}))

    def at(share: float) -> ValueOfWaiting:
        horizon = book.settings.horizon.model_copy(update={"announcement_share": share})
        of_share = replace(book, settings=book.settings.model_copy(update={"horizon": horizon}))
        staged = build_multistage_mandate(of_share, build_outlook(of_share))
        start = Position(of_share.weights, of_share.cash / of_share.value)
        told = "announcement share {:g}: {}".format
        return value_of_waiting(staged, start, Limits.of(of_share), lambda text: say(told(share, text)))

    return ValueOfWaitingByShare(book, stated, every, tuple(map(at, every)))
