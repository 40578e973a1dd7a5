"""Should we trade at all: the gain of the whole lots against its own uncertainty.

The gain is what the orders take off the minimised objective, after costs and tickets. It is weighed under plausible
beliefs q and cost estimates f, where a portfolio is worth

    q'r(h, c) − return error − risk_aversion · h'Ωh − f · costs − tickets

against the same of today's holdings, which cost nothing. Where today's holdings break a rule there is no choice.
`minimum_variance` looks at no return: its gain is in ten-thousandths of its own objective (variance, costs and tickets
at the price that the objective puts on them), no belief can be plausible or not, and only a gain of nothing holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from allocator.ambiguity.sampling import plausible
from allocator.ambiguity.sets import Known
from allocator.mandate.mandate import Mandate
from allocator.outlook.outlook import Outlook
from allocator.rules import Trade
from allocator.settings.settings import TradingSection
from allocator.types import Vector

Verdict: TypeAlias = Literal["trade", "hold", "must trade"]
DRAWS = 2000
"""Of beliefs and costs; a share is then right to about one point."""
_SEED = 20261120
_BROKEN = 1e-9
"""Of a rule's own unit: what whole lots are allowed, today's holdings are allowed too."""


@dataclass(frozen=True)
class Worth:
    """What trading is worth, in bps of the account over the horizon, after costs and tickets; and the verdict.

    `share` of the plausible beliefs and costs in which trading beats holding, and the range of the gain over them;
    None with `minimum_variance`. `orders` and `tickets` (money for them) are those that were weighed: with the verdict
    "hold" they are what is forgone.
    """

    gain_bps: float
    share: float | None
    lowest_bps: float | None
    median_bps: float | None
    highest_bps: float | None
    orders: int
    tickets: float
    verdict: Verdict


def worth(
    outlook: Outlook,
    mandate: Mandate,
    today: Trade,
    lots: Trade,
    trading: TradingSection,
    *,
    orders: int,
    ticket: float = 0.0,
) -> Worth:
    """Weigh whole lots against holding `today`; `orders` of them at `ticket` money each.

    The same inputs give the same draws, and so the same verdict.
    """
    tickets = ticket * orders
    lost = mandate.cost_price(outlook) * tickets / today.value_before
    gain = (mandate.loss(today, outlook) - mandate.loss(lots, outlook) - lost) * 1e4
    gains = None if not mandate.return_weight else _gains(outlook, mandate, today, lots, lost, trading.cost_factor)
    share = None if gains is None else float((gains > 0).mean())
    wanted = least_share(mandate, trading)
    broken = any(reading.excess > _BROKEN for reading in mandate.readings(today, outlook))
    lowest, median, highest = (None,) * 3 if gains is None else map(float, np.quantile(gains, (0.0, 0.5, 1.0)))
    verdict = _verdict(gain, share, trading.min_gain_bps, wanted, broken=broken)
    return Worth(gain, share, lowest, median, highest, orders, tickets, verdict)


def least_share(mandate: Mandate, trading: TradingSection) -> float:
    """The share of plausible beliefs and costs in which trading must gain: as stated, or by what is guarded against."""
    if trading.min_share is not None:
        return trading.min_share
    return 0.5 if isinstance(mandate.ambiguity, Known) else 0.0


def _verdict(gain: float, share: float | None, least_gain: float, least_share: float, *, broken: bool) -> Verdict:
    if broken:
        return "must trade"
    if share is None:
        return "trade" if gain > 0 else "hold"
    return "trade" if gain > least_gain and share >= least_share else "hold"


def _gains(outlook: Outlook, mandate: Mandate, today: Trade, lots: Trade, lost: float, cost_factor: float) -> Vector:
    """(DRAWS,) what trading gains, in bps, under each plausible belief and cost estimate."""
    draw = np.random.default_rng(_SEED)
    beliefs = plausible(mandate.ambiguity, outlook.probabilities, draw, DRAWS)
    factors = cost_factor ** draw.uniform(-1, 1, DRAWS)
    (returns, sure), (held, held_sure) = _parts(outlook, mandate, lots), _parts(outlook, mandate, today)
    costs = 1 - lots.value / lots.value_before
    result: Vector = (beliefs @ (returns - held) + sure - held_sure - factors * costs - lost) * 1e4
    return result


def _parts(outlook: Outlook, mandate: Mandate, trade: Trade) -> tuple[Vector, float]:
    """(K,) gains before costs in each scenario, and what is subtracted whatever happens but for the costs."""
    before = trade.value_before
    holdings = trade.values / before
    charge = mandate.risk_aversion * outlook.risk.variance(holdings)
    if mandate.return_error is not None:
        charge += mandate.return_error.charge(holdings, outlook.risk)
    if mandate.charges is not None:
        charge += float(mandate.charges @ holdings)
    return outlook.portfolio_returns(holdings, trade.cash / before), -charge
