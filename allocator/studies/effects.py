"""What a shock does to what is held, to the plan, and to the plan decided again after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from allocator.ambiguity.sets import Ambiguity, worst_case
from allocator.book.book import Book
from allocator.errors import BadInput, BadMandate
from allocator.mandate.builder import mandate_of
from allocator.mandate.mandate import Mandate, untraded
from allocator.multistage.plan import StagedPlan
from allocator.outlook.outlook import Outlook, outlook_of
from allocator.plan.plan import Plan
from allocator.rules import Trade
from allocator.rules.builder import group_shares
from allocator.settings.stress import ShockSection, Sign
from allocator.studies.decided import decided_again
from allocator.studies.shocks import Shocked, shocked
from allocator.types import Matrix, Vector

NOTHING = 1e-4
"""A name's change by less than this says neither gain nor fall."""
_BROKEN = 1e-9
_TRADED = 5e-4
"""Of the account: what a trade after the shock must move to be listed."""


@dataclass(frozen=True)
class Effect:
    """One portfolio under a shock, as fractions of the account before it, after costs.

    `at_once` is what it gains the moment it happens; `expected` and `worst_case` are returns from before the shock to
    the horizon, under the belief that it leaves and the worst of the set around it.
    """

    at_once: float
    expected: float
    worst_case: float


@dataclass(frozen=True)
class Told:
    """What a claim says of a name, and what the name's growth to the horizon changes by under the belief; None where
    that is no number.
    """

    name: str
    expected: Sign
    change: float | None

    @property
    def as_claimed(self) -> bool | None:
        """Whether the sign is the claim's; None where there is no number to tell it by."""
        if self.change is None:
            return None
        sign = "stays" if abs(self.change) < NOTHING else "gains" if self.change > 0 else "falls"
        return sign == self.expected


@dataclass(frozen=True, eq=False)
class ShockEffect:
    """A shock and what it does; `again` is None where no plan keeps the rules after it, and `why_not` says why.

    `trades` are what the plan decided again trades after the shock, as fractions of the account then, largest first.
    `rules_broken` are those that the plan breaks once the shock has moved its weights; `worthless` are the names that
    lose everything, which are not bought back.
    """

    name: str
    shock: ShockSection
    generalizable: float | None
    held: Effect
    plan: Effect
    again: Effect | None
    why_not: str | None
    trades: tuple[tuple[str, float], ...]
    turnover: float | None
    rules_broken: tuple[str, ...]
    told: tuple[Told, ...]
    unmoved: tuple[str, ...]
    worthless: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A shock of which nothing can be computed here, and why."""

    name: str
    why: BadInput | BadMandate


def effects(
    plan: Plan | StagedPlan, shocks: Mapping[str, ShockSection], say: Callable[[str], None] | None = None
) -> Iterator[ShockEffect | Refused]:
    """The effect of each shock on the plan's book, one after the other, so that what is finished can be kept; or why
    there is none: its belief is outside the limits of `[robust]`, or its numbers are beyond arithmetic.
    """
    book = plan.book
    outlook = outlook_of(book)
    for count, (name, shock) in enumerate(shocks.items(), 1):
        if say is not None:
            say(f"shock {count} of {len(shocks)}: {name}")
        try:
            found: ShockEffect | Refused = effect(plan, outlook, shocked(book, outlook, name, shock))
        except (BadInput, BadMandate) as error:
            found = Refused(name, error)
        yield found


def unshocked(plan: Plan | StagedPlan) -> tuple[Effect, Effect]:
    """Holdings and plan where nothing happens, to set the others beside."""
    nothing = np.zeros(len(plan.book.instruments))
    outlook = plan.outlook
    growth, cash = 1 + outlook.returns, 1 + outlook.cash_returns
    ways = _Ways(nothing, growth, cash, outlook.probabilities, _mandate(plan).ambiguity)
    return ways.of(untraded(plan.book)), ways.of(plan.final)


@dataclass(frozen=True, eq=False)
class _Ways:
    """What prices do at once (N,) and to the horizon (K, N), cash too (K,), and what is believed of the scenarios."""

    at_once: Vector
    growth: Matrix
    cash_growth: Vector
    beliefs: Vector
    ambiguity: Ambiguity

    def of(self, trade: Trade) -> Effect:
        """What they make of a portfolio that was worth `value_before` before its trades."""
        holdings, cash = trade.values / trade.value_before, trade.cash / trade.value_before
        return self.made(trade.value / trade.value_before + float(self.at_once @ holdings) - 1,
                         self.growth @ holdings + self.cash_growth * cash - 1)  # fmt: skip

    def made(self, at_once: float, gains: Vector) -> Effect:
        """An effect of gains (K,) from before the shock to the horizon."""
        worst = -worst_case(-gains, self.ambiguity, self.beliefs)
        return Effect(at_once, float(self.beliefs @ gains), worst)


def effect(plan: Plan | StagedPlan, outlook: Outlook, after: Shocked) -> ShockEffect:
    """What one shock does to a plan and to what is held, and what would be done about it."""
    ways = _Ways(after.at_once, after.growth, after.cash_growth, after.outlook.probabilities, after.mandate.ambiguity)
    final = plan.final
    owned = replace(after.book, quantities=final.values / plan.book.prices, cash=final.cash)
    after = replace(after, mandate=mandate_of(owned, after.outlook, after.ambiguity))
    readings = after.mandate.readings(untraded(owned), after.outlook)
    found = decided_again(owned, after)
    again, of_again = None, None
    if not isinstance(found, str):
        again, gains = found
        left = owned.value / final.value_before
        of_again = ways.made(left - 1, left * (1 + gains) - 1)
    return ShockEffect(
        name=after.name,
        shock=after.shock,
        generalizable=after.generalizable,
        held=ways.of(untraded(plan.book)),
        plan=ways.of(final),
        again=of_again,
        why_not=found if isinstance(found, str) else None,
        trades=() if again is None else _trades(again, owned.instruments),
        turnover=None if again is None else float(max(again.bought.sum(), again.sold.sum()) / again.value_before),
        rules_broken=tuple(reading.label for reading in readings if reading.excess > _BROKEN),
        told=tuple(_told(plan.book, outlook, after)),
        unmoved=after.unmoved,
        worthless=after.worthless,
    )


def _mandate(plan: Plan | StagedPlan) -> Mandate:
    return plan.mandate if isinstance(plan, Plan) else plan.staged.mandates[0]


def _trades(trade: Trade, instruments: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    moved = (trade.bought - trade.sold) / trade.value_before
    listed = [(instruments[i], float(moved[i])) for i in np.argsort(-np.abs(moved), kind="stable")]
    return tuple((name, share) for name, share in listed if abs(share) >= _TRADED)


def _told(book: Book, outlook: Outlook, after: Shocked) -> Iterator[Told]:
    """What the claim says of a name, beside the change of its growth; of a bucket or group, of its names' average."""
    grown = outlook.probabilities @ (1 + outlook.returns)
    with np.errstate(divide="ignore", invalid="ignore"):  # what was worth nothing grows by no number
        changed = after.outlook.probabilities @ after.growth / grown - 1
    for name, sign in after.shock.expect.items():
        shares = np.array([float(one == name) for one in book.instruments])
        if not shares.any():
            shares, _ = group_shares(book, name)
        own = (shares != 0) & np.isfinite(changed)
        change = float(shares[own] @ changed[own] / shares[own].sum()) if own.any() else None
        yield Told(name, sign, change)
