"""What it is worth to decide again, to know more, and to be careful: policies of one tree against each other.

Every number is a difference of certainty equivalents (sure returns to the horizon) in bps of today's account; under
goals, which have no certainty equivalent, in ten-thousandths of what they count. Whose probabilities each is under:

- waiting (recourse, idling): those of the sets that the tree guards against, worst case by worst case;
- knowing and averaging (EVPI, VSS): the beliefs as they are, of which alone foresight and averages mean anything;
- caution (its price, its insurance): the first under the beliefs as they are, the second under the sets.

EVPI: Madansky (1960); EEV and VSS: Birge & Louveaux (2011), ch. 4. The literature means two things by VSS in more than
two stages, and both are here under their own names. A policy that cannot be had is None, and `missing` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from allocator.ambiguity.sets import Known
from allocator.errors import Infeasible, NotSolved
from allocator.mandate.staged import Staged, trusting
from allocator.optimization.single_period import Start
from allocator.optimization.solve import Limits
from allocator.program.alternatives import by_averages, foresight, idle, kept, rooted
from allocator.program.decisions import policy_of

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Waiting:
    """Certainty equivalents of policies, as fractions of today's account, and by method what they differ by in bps.

    Under the sets: `flexible` decides again at every review; `static` trades today and never again; `idle` holds
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
        """CE(flexible) − CE(idle): what it costs to stand still until there is news."""
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
    def price_of_robustness(self) -> float | None:
        """CE_p(nominal) − CE_p(flexible): what caution costs if the beliefs are right."""
        return _bps(self.nominal, self.cautious_if_right)

    @property
    def insurance(self) -> float | None:
        """CE_wc(flexible) − CE_wc(nominal): what caution saves if they are as wrong as the sets allow."""
        return _bps(self.flexible, self.nominal_if_wrong)


def waiting(
    staged: Staged,
    start: Start,
    limits: Limits | None = None,
    progress: Callable[[str], None] | None = None,
) -> Waiting:
    """The policies, each solved and checked, from `start`; one solve a leaf for foresight.

    Raises:
        Infeasible: the rules cannot hold together at every node: there is no flexible policy to compare with.
        NotSolved: it, or the one for the beliefs, has no verified solution.
    """
    say, missing = progress or (lambda _: None), dict[str, str]()
    say("the policy that decides at every review")
    flexible = policy_of(staged, start, limits)
    beliefs = trusting(staged)
    plain = all(isinstance(ambiguity, Known) for ambiguity in staged.ambiguities)
    nominal = flexible if plain else policy_of(beliefs, start, limits)

    def tried(name: str, made: Callable[[], _Found]) -> _Found | None:
        say(f"the policy '{name.replace('_', ' ')}'")
        try:
            return made()
        except (Infeasible, NotSolved) as error:
            missing[name] = str(error)
            return None

    utility, sets, known = staged.utility, staged.ambiguities, beliefs.ambiguities
    moves, once, to_the_end = tried("averages", lambda: by_averages(beliefs, start, limits)), None, None
    if moves is not None:
        once = tried("averages_once", lambda: rooted(beliefs, start, moves, limits).equivalent)
        to_the_end = tried("averages_kept", lambda: kept(beliefs, start, moves).equivalent)
    return Waiting(
        flexible=flexible.equivalent,
        static=tried("static", lambda: policy_of(staged, start, limits, trading=False).equivalent),
        idle=tried("idle", lambda: idle(staged, start, limits).equivalent),
        nominal=nominal.equivalent,
        cautious_if_right=utility.equivalent(float(flexible.under(known).losses[0])),
        nominal_if_wrong=utility.equivalent(float(nominal.under(sets).losses[0])),
        foresight=tried("foresight", lambda: utility.equivalent(foresight(beliefs, start, limits))),
        averages_once=once,
        averages_kept=to_the_end,
        missing=missing,
    )


def _bps(better: float | None, worse: float | None) -> float | None:
    return None if better is None or worse is None else (better - worse) * 1e4
