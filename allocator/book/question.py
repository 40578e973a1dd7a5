"""The sections of `book.toml` that a belief is made from: the question, its labs, the efficiency model, the market."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from allocator.book.section import Day, Fraction, NonNegative, Positive, Section

Ratio = Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]
Interior = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Between = Annotated[list[float], Field(min_length=2, max_length=2)]
"""[lowest, highest]."""


class LabSection(Section):
    """How one lab discloses if the technique is generalizable, and how often it claims without substance."""

    disclosure: Interior = Field(description="probability that the lab ever discloses, if it can replicate")
    hazard: Positive = Field(le=10, description="rate a month at which it then discloses")
    background: Positive = Field(le=10, description="rate a month of claims without substance, whatever the answer")
    lag_months: NonNegative = Field(default=0.0, le=120, description="months after the opening before it can disclose")


class DemandSection(Section):
    """The usage elasticity as believed before any usage figure: tasks = price^-elasticity."""

    elasticity_mean: float = Field(ge=-2, le=10, allow_inf_nan=False)
    elasticity_deviation: Positive = Field(le=5)
    figure_noise: Positive = Field(le=5, description="standard error of one log usage figure")


class RangesSection(Section):
    """What the book is unsure of, as [lowest, highest] of one value that all labs share and that replaces theirs."""

    prior_generalizable: Between
    disclosure: Between
    hazard: Between
    background: Between

    @model_validator(mode="after")
    def _are_ranges(self) -> RangesSection:
        for name in ("prior_generalizable", "disclosure", "hazard", "background"):
            low, high = getattr(self, name)
            top = 1 if name in ("prior_generalizable", "disclosure") else 10
            said = f"{name} = [{low:g}, {high:g}]"
            if not (0 < low < top and 0 < high < top):
                raise ValueError(f"{said} must be above 0 and below {top}; correct it")
            if low > high:
                raise ValueError(f"{said} must be [lowest, highest]; write the lowest first: [{high:g}, {low:g}]")
        return self


class QuestionSection(Section):
    """The replicability question. With it, the probabilities of [scenarios] are the prior of the day it opened."""

    opened: Day = Field(description="the day from which silence counts")
    labs: dict[str, LabSection] = Field(min_length=1, description="who may answer, by name")
    threshold: float = Field(default=0.95, gt=0.5, lt=1, description="settled when one answer is this probable")
    release: float = Field(default=0.85, gt=0.5, lt=1, description="unsettled again below this")
    sensitivity: Interior = Field(default=0.9, description="P(verification succeeds | the claim is genuine)")
    false_positive: Interior = Field(default=0.1, description="P(verification succeeds | it is not)")
    frailty: Positive | None = Field(
        default=None,
        ge=0.05,
        le=1000,
        description="shape of a gamma multiplier common to all labs' hazards; leave it out for independent labs",
    )
    demand: DemandSection | None = None
    ranges: RangesSection | None = None

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> QuestionSection:
        if self.release > self.threshold:
            raise ValueError(f"release = {self.release:g} is above threshold = {self.threshold:g}; lower it")
        if self.false_positive >= self.sensitivity:
            raise ValueError(
                "false_positive must be below sensitivity; a test that errs more than it finds tells nothing"
            )
        return self


class ModelSection(Section):
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


class MarketSection(Section):
    """What prices imply: the market's own scenario probabilities on a date, moved since then by the same signals."""

    date: Day
    probabilities: dict[str, Fraction] = Field(description="by scenario, summing to 1")
