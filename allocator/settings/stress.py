"""`[shocks.NAME]`: what might happen at a stroke, to prices, to what is known, or to how the market works."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, create_model, model_validator

from allocator.outlook.efficiency_model_settings import NOT_DRAWN, ModelSection
from allocator.settings.fields import Fraction, NonNegative, Number, Positive, SettingsSection
from allocator.settings.mandate import Return
from allocator.settings.uncertainty import Between, ScenarioParameters

EVERY_SOURCE = ("every source", "every lab")
"""The source of a shock's claim that each source makes of which nothing is claimed."""
EVERY_SCENARIO = "every"
"""Stands for all scenarios where a shock says what changes in them."""
Sign = Literal["gains", "falls", "stays"]


class ShockSignalSection(SettingsSection):
    """One observation that a shock brings, some months after as_of."""

    kind: Literal["claim", "verification", "refutation", "evidence", "usage"]
    source: str = Field(
        default="", description="a source of the question, or 'every source'; of evidence and usage figures anything"
    )
    hypothesis: str | None = Field(default=None, description="what is claimed, where its source may disclose several")
    strength: Fraction = Field(default=1.0, description="part of its weight that counts")
    log10_bayes_factor: float | None = Field(default=None, allow_inf_nan=False, description="of evidence")
    after_months: NonNegative = Field(default=0.0, le=240, description="0 is the day after as_of")
    price_fall: float | None = Field(default=None, allow_inf_nan=False, description="log fall, of a usage figure")
    usage_growth: float | None = Field(default=None, allow_inf_nan=False, description="log growth that came with it")


class ShockSection(SettingsSection):
    """What might happen at a stroke. At once a name moves by its own number, else by its bucket's, else by
    market x its beta, the factors and its multiple; what is learnt and how the market works move prices through the
    model.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    market: Return | None = Field(default=None, description="return of the market; every name then wants a beta")
    factors: dict[str, Number] = Field(
        default_factory=dict, description="moves of factors of factors.csv, in the unit that its exposures are per"
    )
    buckets: dict[str, Return] = Field(default_factory=dict, description="return by bucket label")
    instruments: dict[str, Return] = Field(default_factory=dict, description="return by instrument")
    signals: list[ShockSignalSection] = Field(default_factory=list, description="what is observed")
    silent_months: Positive | None = Field(
        default=None, le=240, description="months of silence by everyone who is silent now"
    )
    model: dict[str, Number] = Field(default_factory=dict, description="keys of [model], as they turn out")
    scenarios: dict[str, dict[str, Number]] = Field(
        default_factory=dict, description="by scenario, or every: parameters of [scenarios.*], as they turn out"
    )
    multiples: Number | None = Field(
        default=None,
        ge=-3,
        le=3,
        description="log fall of multiples at once: a price keeps exp(-multiples x multiple_loading); .77 is 54 to 25",
    )
    delay_months: Positive | None = Field(
        default=None, le=240, description="months by which every day of tradable_from is put off"
    )
    claim: str | None = Field(default=None, description="whose words this is the shock of")
    expect: dict[str, Sign] = Field(
        default_factory=dict, description="what the claim says of an instrument, bucket or group: gains, falls or stays"
    )
    unlike: str | None = Field(default=None, description="why what is computed may differ from what is expected")
    note: str | None = None

    @model_validator(mode="after")
    def _moves_something(self) -> ShockSection:
        if not self.moves_prices and not self.tells and not self.changes_model and self.delay_months is None:
            raise ValueError(
                "moves nothing; state what it moves, such as market, buckets, instruments, signals or model, or remove "
                "the section"
            )
        return self

    @property
    def moves_prices(self) -> bool:
        """Whether prices move by what is stated here."""
        return (
            self.market is not None
            or self.multiples is not None
            or bool(self.factors or self.buckets or self.instruments)
        )

    @property
    def tells(self) -> bool:
        """Whether something is learnt about the question."""
        return bool(self.signals) or self.silent_months is not None

    @property
    def changes_model(self) -> bool:
        """Whether the efficiency model has other parameters."""
        return bool(self.model or self.scenarios)


# `[stress]`: what a stress test varies, as frozen pydantic models; `book/checks/stress.py` says what ranges must be.
#


def _ranges(section: type[SettingsSection], *left_out: str) -> Any:
    """A section with a range for each parameter of another one."""
    names = [name for name in section.model_fields if name not in left_out]
    return create_model("_Ranges", __base__=SettingsSection, **dict.fromkeys(names, (Between | None, None)))  # type: ignore[call-overload]


class ScenarioRangesSection(_ranges(ScenarioParameters)):  # type: ignore[misc]
    """Parameters of one scenario, each as [lowest, highest]."""


class StressRangesSection(_ranges(ModelSection, *NOT_DRAWN)):  # type: ignore[misc]
    """Parameters of [model], of the question and of [scenarios.NAME], each as [lowest, highest]."""

    announcement_share: Between | None = Field(default=None, description="always varied; [0, 1] if not said")
    prior: Between | None = Field(default=None, description="of the first hypothesis, on the day the question opened")
    disclosure: Between | None = Field(default=None, description="one value that all sources share")
    hazard: Between | None = Field(default=None, description="one value that all sources share, a month")
    background: Between | None = Field(default=None, description="one value that all sources share, a month")
    scenarios: dict[str, ScenarioRangesSection] = Field(default_factory=dict, description="by scenario")


class StressSection(SettingsSection):
    """What a stress test varies."""

    ranges: StressRangesSection | None = Field(
        default=None, description="what model stress varies, and how far; without it, illustrative ranges of its own"
    )
