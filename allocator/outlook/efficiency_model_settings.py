"""The efficiency model's keys of `book.toml`, and the names that its own question goes by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from allocator.settings.fields import Day, Fraction, NonNegative, Positive, SettingsSection

HYPOTHESES = ("generalizable", "proprietary")
"""The answers to the model's question where a book names none of its own; labs may disclose the first."""
REGIMES = ("jevons", "compression")
"""Its second axis: usage grows more than prices fall, or less."""
APPLICATION = ("token_share", "passed_on", "application_margin", "application_elasticity")
"""Columns of exposures.csv that a name with applications needs."""
NEUTRAL = {"gross_margin": 1.0, "application_margin": 1.0} | dict.fromkeys(
    ("token_share", "passed_on", "application_elasticity"), 0.0
)
"""What stands in for a parameter that multiplies a loading of zero."""
CHANNELS = ("rerating", "entry")
"""Parameters of a scenario whose channel is off where it is 0 in all."""
MOST_RETURN = 1e6
Ratio = Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]


class ModelSection(SettingsSection):
    """The efficiency model: what the technique does to the market, the same in all scenarios."""

    training_reduction: Ratio = Field(default=10.0, description="times less training compute at equal capability")
    token_reduction: Ratio = Field(default=2.7, description="times fewer tokens for a task")
    since: Day | None = Field(
        default=None, description="the day from which labs adopt, as_of if not said; say it where as_of moves on"
    )
    adoption_years: Positive = Field(default=0.75, le=50, description="mean time to adopt")
    training_share: Fraction = Field(default=0.45, description="training's share of compute demand")
    owner_share: Fraction = Field(default=0.15, description="the owner's share of the market")
    share_sensitivity: NonNegative = Field(default=0.5, le=10, description="share gained for a log cost advantage")
    rent_elasticity: NonNegative = Field(default=0.6, le=10, description="of compute rent to utilisation")
    rent_low: Positive = Field(default=0.35, le=1, description="rent falls no lower, as a multiple of today's")
    rent_high: float = Field(default=1.6, ge=1, le=100, allow_inf_nan=False, description="and rises no higher")
    salvage: Fraction = Field(default=0.4, description="share of idle capex that finds other work")
    least_value: Positive = Field(default=0.02, le=1, description="no value multiplier falls below this")
    rival_margin: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="gross margin that rivals give up before they stop selling: no price is below their cash cost; "
        "without it they sell at any price",
    )
    max_return: Positive = Field(
        default=3.0,
        le=MOST_RETURN,
        description="a year, or over a shorter horizon; higher is refused, by default where a value floor makes it",
    )


NOT_DRAWN = {"since", "max_return"}
"""Keys of `[model]` that are no numbers of the market."""
