"""Whether to trade at all, in words."""

from __future__ import annotations

import math

from allocator.ambiguity.sets import Known
from allocator.display.console import amount
from allocator.plan.plan import Plan
from allocator.plan.trade_decision import Worth, least_share


def verdict_in_words(plan: Plan) -> str:
    """The verdict, what trading is worth, and in how much of what is plausible it pays."""
    worth, trading = plan.worth, plan.book.settings.trading
    if worth.verdict == "trade":
        return f"Worth it: {_gains(worth)} after costs{_pays(worth, ';')}.{_insurance(plan)}"
    if worth.verdict == "must trade":
        gains = f"trading {_gains(worth)}"
        return f"Must trade: today's holdings break a rule; {gains} after costs{_pays(worth, ' and')}."
    if not worth.orders:
        return "nothing: today's holdings are the plan"
    gains = f"trading would {_gains(worth).replace('gains', 'gain', 1).replace('loses', 'lose', 1)}"
    wanted = ""
    if worth.share is not None:
        least = least_share(plan.mandate, trading)
        wanted = f" Wanted: more than {trading.min_gain_bps:g} bps (trading.min_gain_bps)"
        wanted += f", in at least {least:.0%} (trading.min_share)." if least else "."
        if worth.gain_bps > trading.min_gain_bps and not isinstance(plan.mandate.ambiguity, Known):
            wanted += " It would insure against the worst case: to take it, lower trading.min_share."
    return f"Holding: {gains}{_pays(worth, ' and')}.{wanted}"


def tickets_in_words(plan: Plan) -> str:
    """What the tickets of the orders cost, beside the costs; empty where tickets are free."""
    if not plan.orders or not plan.worth.tickets:
        return ""
    return f"; tickets {amount(plan.worth.tickets)} {plan.book.settings.book.currency}"


def _gains(worth: Worth) -> str:
    if worth.share is None:  # minimum variance: the objective is no return, and its unit no basis point of one
        return f"gains {worth.gain_bps / 1e4:.3g} of the objective (variance and costs)"
    return f"{'loses' if worth.gain_bps <= -0.05 else 'gains'} {abs(worth.gain_bps):.1f} bps"


def _insurance(plan: Plan) -> str:
    """Said of a trade that few beliefs pay for: what it is, and what it costs if we are right."""
    worth = plan.worth
    if worth.share is None or worth.median_bps is None or worth.share >= 0.5:
        return ""
    lost = f"; under the middle one of them it loses {-worth.median_bps:.1f} bps" if worth.median_bps < 0 else ""
    return f" It is an insurance against the worst case{lost}."


def _pays(worth: Worth, joint: str) -> str:
    """Rounded down: a share is not overstated, and one below the threshold never looks as if it were there."""
    if worth.share is None:
        return ""
    return f"{joint} pays in {math.floor(worth.share * 100 + 1e-9)}% of plausible beliefs and costs"
