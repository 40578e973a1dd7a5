"""The value of re-optimising, of knowing more and of robustness: policies of one tree against each other.

Every number is a difference of certainty equivalents (riskless returns to the horizon) in bps of today's account; under
goals, which have no certainty equivalent, in ten-thousandths of what they count. Whose probabilities each is under:

- waiting (recourse, idling): the adverse ones of the sets that the tree guards against, node by node;
- knowing and averaging (EVPI, VSS): the beliefs as they are, of which alone foresight and averages mean anything;
- robustness (its cost, its protection): the first under the beliefs as they are, the second under the sets.

EVPI: Madansky (1960); EEV and VSS: Birge & Louveaux (2011), ch. 4. The literature means two things by VSS in more than
two stages, and both are here under their own names. A policy that cannot be had is None, and `missing` says why.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, TypeVar

import numpy as np

from allocator.book.book import Book
from allocator.errors import BadInput, Breach, Infeasible, NotSolved
from allocator.multistage.mandate import MultistageMandate, build_multistage_mandate, without_ambiguity
from allocator.multistage.policy import Policy, policy_from_trades
from allocator.multistage.reference_policies import (
    buy_and_hold_policy,
    mean_value_trades,
    perfect_foresight_loss,
    policy_after_first_trades,
    wait_then_trade_policy,
)
from allocator.multistage.solve import solve_policy
from allocator.optimization.single_period import Position
from allocator.optimization.solve import Limits
from allocator.outlook.calibration import build_question
from allocator.outlook.outlook import build_outlook
from allocator.outlook.posterior import belief_path, generalizable_probability
from allocator.outlook.question import Question
from allocator.outlook.scenario_tree import Evidence, NodeEvidence, build_review_tree
from allocator.presentation import BookHeading, Keywords, NotNegative, Probability, Rounded, Row
from allocator.rules.builder import bucket_shares

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class ValueOfWaiting:
    """Certainty equivalents of policies, as fractions of today's account, and by method what they differ by in bps.

    Under the sets: `flexible` re-optimises at every review; `static` trades today and never again; `idle` holds
    today's holdings until the first news and is flexible from there; `nominal_if_wrong` is the best policy for the
    beliefs. Under the beliefs: `nominal` that policy again; `cautious_if_right` the flexible one; `foresight` knows its
    path and its scenario; `averages_once` holds after today what is best if every name brought its mean, and decides
    well later; `averages_kept` holds it to the horizon.
    """

    flexible: float
    static: float | None
    idle: float | None
    nominal: float
    cautious_if_right: float
    nominal_if_wrong: float
    foresight: float | None
    averages_once: float | None
    averages_kept: float | None
    missing: Mapping[str, str]
    """Why a policy is None."""

    @property
    def recourse(self) -> float | None:
        """CE(flexible) − CE(static): what the right to trade at the reviews is worth."""
        return _bps(self.flexible, self.static)

    @property
    def idling(self) -> float | None:
        """CE(flexible) − CE(idle): what it costs not to trade until there is news."""
        return _bps(self.flexible, self.idle)

    @property
    def perfect_information(self) -> float | None:
        """EVPI = CE(foresight) − CE(nominal): most that anybody should pay to know (Madansky 1960)."""
        return _bps(self.foresight, self.nominal)

    @property
    def vss_root(self) -> float | None:
        """CE(nominal) − CE(averages once): VSS of the first decision, the later ones being the best."""
        return _bps(self.nominal, self.averages_once)

    @property
    def vss_all(self) -> float | None:
        """CE(nominal) − CE(averages kept): VSS of every decision, the mean-value plan being followed to the end."""
        return _bps(self.nominal, self.averages_kept)

    @property
    def cost_of_robustness(self) -> float | None:
        """CE_p(nominal) − CE_p(flexible): what robustness costs if the beliefs are right."""
        return _bps(self.nominal, self.cautious_if_right)

    @property
    def protection(self) -> float | None:
        """CE_adv(flexible) − CE_adv(nominal): what robustness saves if they are as wrong as the sets allow."""
        return _bps(self.flexible, self.nominal_if_wrong)


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
    beliefs = without_ambiguity(staged)
    nominal = solve_policy(beliefs, start, limits) if staged.guards else flexible

    def tried(name: str, made: Callable[[], _Found]) -> _Found | None:
        say(f"the policy '{name.replace('_', ' ')}'")
        try:
            return made()
        except (Infeasible, NotSolved) as error:
            missing[name] = str(error)
            return None

    utility, sets, known = staged.utility, staged.ambiguities, beliefs.ambiguities
    moves, once, to_the_end = tried("averages", lambda: mean_value_trades(beliefs, start, limits)), None, None
    if moves is not None:
        once = tried("averages_once", lambda: policy_after_first_trades(beliefs, start, moves, limits).equivalent)
        to_the_end = tried("averages_kept", lambda: buy_and_hold_policy(beliefs, start, moves).equivalent)
    return ValueOfWaiting(
        flexible=flexible.equivalent,
        static=tried("static", lambda: solve_policy(staged, start, limits, trading=False).equivalent),
        idle=tried("idle", lambda: wait_then_trade_policy(staged, start, limits).equivalent),
        nominal=nominal.equivalent,
        cautious_if_right=utility.equivalent(float(flexible.under(known).losses[0])),
        nominal_if_wrong=utility.equivalent(float(nominal.under(sets).losses[0])),
        foresight=tried("foresight", lambda: utility.equivalent(perfect_foresight_loss(beliefs, start, limits))),
        averages_once=once,
        averages_kept=to_the_end,
        missing=missing,
    )


def _bps(better: float | None, worse: float | None) -> float | None:
    return None if better is None or worse is None else (better - worse) * 1e4


# The value of waiting in a book, and how it depends on one number: the announcement share.
#
MEASURES = {
    "recourse": "re-optimising at reviews (recourse)",
    "idling": "cost of no trade until there is news",
    "perfect_information": "knowing all in advance (EVPI)",
    "vss_root": "now, over averages (VSS, root)",
    "vss_all": "throughout, over averages (VSS, all)",
    "cost_of_robustness": "cost of robustness (belief is right)",
    "protection": "protection (belief is wrong)",
}
"""Properties of `ValueOfWaiting` in bps, and what each is in words."""
_KEYS = tuple((f"{name}_bps", float | None, f"{words}, in bps of today's account") for name, words in MEASURES.items())


class _WaitingBook(BookHeading):
    announcement_share: Probability


class _WaitingAtShare(TypedDict):
    announcement_share: Probability
    missing: Annotated[dict[str, str], "By policy that cannot be had: why."]


class WaitingDocument(TypedDict):
    """The value of re-optimising, of knowing more and of robustness in a book with reviews; written by `allocator
    waiting --json`."""

    format: Literal["allocator.waiting/2"]
    book: _WaitingBook
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
            "book": {**self.book.heading(), "announcement_share": self.stated},
            "waiting": [
                {"announcement_share": share, "missing": dict(found.missing)}
                | {f"{name}_bps": _rounded(getattr(found, name)) for name in MEASURES}
                for share, found in zip(self.shares, self.worth, strict=True)
            ],
        }


def value_of_waiting_by_share(
    book_at: Callable[[float | None], Book], shares: Sequence[float], progress: Callable[[str], None] | None = None
) -> ValueOfWaitingByShare:
    """What waiting is worth; `book_at` gives the book at an announcement share, or at its own for None.

    Raises:
        BadInput: the book has no reviews, so that there is nothing to wait for, or is about regret.
        Infeasible: limits conflict at some review.
        NotSolved: the policy has no verified solution.
    """
    book = book_at(None)
    stated = book.settings.horizon.announcement_share
    if not book.settings.horizon.reviews or stated is None:
        rule, cure = "states no review, so there is nothing to wait for", "add dates to horizon.reviews"
        raise BadInput([Breach("book.toml", None, "horizon.reviews", None, rule, cure)])
    if book.settings.mandate.objective == "regret":
        rule = "is not time-consistent at the leaves, and the value of waiting is summed review by review"
        raise BadInput(
            [Breach("book.toml", None, "mandate.objective", "regret", rule, "choose log, crra or mean_cvar")]
        )
    say = progress or (lambda _: None)
    every = tuple(sorted({*shares, stated}))
    found = []
    for share in every:
        one = book if share == stated else book_at(share)
        outlook = build_outlook(one)
        limits = Limits(one.settings.solver.tolerance, one.settings.solver.time_limit_seconds)
        start = Position(one.weights, one.cash / one.value)

        def told(text: str, share: float = share) -> None:
            say(f"announcement share {share:g}: {text}")

        found.append(value_of_waiting(build_multistage_mandate(one, outlook), start, limits, told))
    return ValueOfWaitingByShare(book, stated, every, tuple(found))


def _rounded(bps: float | None) -> float | None:
    return None if bps is None else round(bps, 2)


# How the cost of robustness falls: at each node, what is believed, the radius, and what robustness costs.
#
HEADLINE = ("efficiency", "capital_intensity")
"""The buckets that the question divides."""
_SHOWN = 0.0005
"""Of the account: smaller trades are no news."""


@dataclass(frozen=True)
class CautionScheduleRow:
    """One node: the probability of coming there, P(generalizable), the radius, and what is decided.

    `cost_of_robustness_bps` is how much higher the certainty equivalent of the policy that trusts the belief is under
    it, from there on; None where that policy was not found.
    """

    node: str
    kind: Evidence
    date: dt.date
    probability: Annotated[Probability, Rounded(8), "of coming here at all"]
    generalizable: Annotated[
        Probability | None, Rounded(8), "P(the technique is generalizable) there; null without a question"
    ]
    settled: Annotated[bool, "whether one answer is as probable as the threshold"]
    radius: Annotated[
        NotNegative | None,
        Rounded(8),
        "how far the probabilities of this node may be wrong, in the measure of the set; 0 where it has none, null "
        "where the one adverse expectation is today's",
    ]
    cost_of_robustness_bps: Annotated[
        NotNegative | None,
        Rounded(2),
        "what guarding costs from here on if the belief is right, in bps of certainty equivalent of the account here",
    ]
    shares: Annotated[
        dict[str, Annotated[float, Rounded(6)]],
        (*HEADLINE, "cash"),
        "after trades, as fractions of the account; a name may count in several",
    ]
    trades: Annotated[
        dict[str, Annotated[float, Rounded(6)]],
        "by instrument, positive to buy, as fractions of the account here, largest first; below 0.05 % left out",
    ]


def caution_schedule(book: Book, policy: Policy, limits: Limits | None = None) -> tuple[CautionScheduleRow, ...]:
    """Every decision node of a policy, in the order of the tree."""
    staged = policy.staged
    tree, question = staged.tree, build_question(book)
    reached, _ = tree.reach()
    states, found = build_review_tree(book, staged.outlooks[0]).states, []
    for node in range(tree.nodes):
        moved = (policy.bought[node] - policy.sold[node]) / policy.wealth_before[node]
        order = [i for i in np.argsort(-np.abs(moved), kind="stable") if abs(moved[i]) > _SHOWN]
        shares = {
            name: float(bucket_shares(book, name) @ policy.holdings[node] / policy.wealth[node]) for name in HEADLINE
        }
        price = cost_of_robustness(policy, node, limits)
        p = None if question is None else float(generalizable_probability(question, tree.beliefs[node][None, :])[0])
        found.append(
            CautionScheduleRow(
                node=tree.names[node],
                kind=tree.kinds[node],
                date=tree.dates[node],
                probability=float(reached[node]),
                generalizable=p,
                settled=question is not None and _settled(question, states[node]),
                radius=None if node and staged.at_leaves else staged.ambiguities[node].reach,
                cost_of_robustness_bps=None if price is None else price * 1e4,
                shares=shares | {"cash": float(policy.cash[node] / policy.wealth[node])},
                trades={book.instruments[i]: float(moved[i]) for i in order},
            )
        )
    return tuple(found)


def _settled(question: Question, state: NodeEvidence) -> bool:
    """As everywhere: in at the threshold, out below the release, along the way that led here."""
    return belief_path(question, state.signals, state.told).settled is not None


def cost_of_robustness(policy: Policy, node: int, limits: Limits | None = None) -> float | None:
    """What robustness costs from `node` on if the belief is right: certainty equivalent under it, of the policy that
    trusts it, less that of ours (science §3.8). As a part of the account at the node; None where that policy
    was not found: a verified plan is not lost for want of a figure beside it.
    """
    unit = float(policy.wealth_before[node])
    below = policy.staged.below(node, unit)
    if not below.guards:
        return 0.0
    start, at, trusted = policy.start_of(node), policy.staged.tree.below(node)[1], without_ambiguity(below)
    ours = policy_from_trades(trusted, start, (policy.bought - policy.sold)[at] / unit)
    try:
        best = solve_policy(trusted, start, limits)
    except (Infeasible, NotSolved):
        return None
    return max(best.equivalent - ours.equivalent, 0.0)
