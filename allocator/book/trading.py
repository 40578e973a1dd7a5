"""The sections of `book.toml` about trades: what they cost, when they are worth it, how they become whole lots."""

from __future__ import annotations

from pydantic import Field

from allocator.book.section import BasisPoints, Fraction, NonNegative, Positive, Section


class CostsSection(Section):
    """Trading costs: commission plus half the quoted spread, and what a large trade moves the price by.

    Trading the value v of a name also costs impact x daily volatility x v x sqrt(v / average daily volume in money).
    """

    commission_bps: BasisPoints = Field(default=0.0, description="of the traded value, each way")
    spread_bps: BasisPoints = Field(
        default=0.0, description="full quoted spread where exposures.csv has no spread_bps; half of it is paid each way"
    )
    impact: NonNegative = Field(
        default=0.0, le=10, description="coefficient of the square-root impact; above 0 wants average_daily_volume"
    )
    ticket: NonNegative = Field(
        default=0.0, description="money for each order, in the book's currency; told beside the costs, not optimised"
    )


class TradingSection(Section):
    """When trading is worth it."""

    min_gain_bps: BasisPoints = Field(default=0.0, description="no trade unless the whole lots gain more than this")
    min_share: Fraction | None = Field(
        default=None,
        description="no trade unless it gains in this share of plausible beliefs and costs; by default 0.5 where "
        "[robust] guards against nothing, else 0: an insurance pays in few of the beliefs that it guards against",
    )
    cost_factor: float = Field(
        default=2.0, ge=1, le=10, allow_inf_nan=False, description="costs may be off by this factor, either way"
    )
    indifference_bps: NonNegative = Field(
        default=0.0, le=100, description="among plans within this of the best, the one that trades least"
    )


class LotsSection(Section):
    """How targets become whole lots."""

    min_trade: NonNegative = Field(default=0.0, description="smallest order, in the book's currency")
    time_limit_seconds: Positive | None = Field(
        default=None,
        le=3600,
        description="for the search; by default work alone ends it, so that every machine finds the same lots",
    )
