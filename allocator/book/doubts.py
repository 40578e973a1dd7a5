"""`[stress]`: what a stress test varies, as frozen pydantic models. What the ranges must be is in `doubted.py`."""

from __future__ import annotations

from pydantic import Field

from allocator.book.question import Between
from allocator.book.section import Section


class ScenarioRangesSection(Section):
    """Parameters of one scenario, each as [lowest, highest]."""

    replicability: Between | None = None
    pass_through: Between | None = None
    usage_elasticity: Between | None = None
    training_elasticity: Between | None = None
    multiple_compression: Between | None = None
    capacity: Between | None = None


class StressRangesSection(Section):
    """Parameters of [model], of the question and of [scenarios.NAME], each as [lowest, highest]."""

    training_reduction: Between | None = None
    token_reduction: Between | None = None
    adoption_years: Between | None = None
    training_share: Between | None = None
    owner_share: Between | None = None
    share_sensitivity: Between | None = None
    rent_elasticity: Between | None = None
    rent_low: Between | None = None
    rent_high: Between | None = None
    salvage: Between | None = None
    least_value: Between | None = None
    announcement_share: Between | None = Field(default=None, description="always varied; [0, 1] if not said")
    prior_generalizable: Between | None = Field(default=None, description="of the day the question opened")
    disclosure: Between | None = Field(default=None, description="one value that all labs share")
    hazard: Between | None = Field(default=None, description="one value that all labs share, a month")
    background: Between | None = Field(default=None, description="one value that all labs share, a month")
    scenarios: dict[str, ScenarioRangesSection] = Field(default_factory=dict, description="by scenario")


class StressSection(Section):
    """What a stress test varies."""

    ranges: StressRangesSection | None = Field(
        default=None, description="what model stress varies, and how far; without it, illustrative ranges of its own"
    )
