"""`[shocks.NAME]`: what might happen at a stroke, to prices, to what is known, or to how the market works."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from math import prod
from typing import Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, create_model, model_validator

from allocator.outlook.efficiency_model_settings import NOT_DRAWN, ModelSection
from allocator.settings.fields import Fraction, NonNegative, Number, Positive, SettingsSection
from allocator.settings.mandate import Return
from allocator.settings.uncertainty import Between, ScenarioParameters
from allocator.tables.schema import sample_books_folder

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
    model. Risk within scenarios, spreads and what can be sold are the market's structure.
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
    beta_times: NonNegative | None = Field(
        default=None, le=10, description="what every beta, and loading on factors of risk, is multiplied by"
    )
    idiosyncratic_times: NonNegative | None = Field(
        default=None, le=10, description="what every volatility of a name's own is multiplied by"
    )
    correlation: Fraction | None = Field(
        default=None, description="part of the way to 1 that every correlation within a scenario goes; 1 is all of it"
    )
    spread_times: NonNegative | None = Field(default=None, le=100, description="what every spread is multiplied by")
    unsold: float | None = Field(
        default=None,
        ge=-1,
        le=0,
        allow_inf_nan=False,
        description="return of what cannot be sold in a day: locked names, and what is held beyond "
        "mandate.max_participation of a day's volume",
    )
    combine: list[str] = Field(
        default_factory=list, description="shocks that happen in one with it, of this book or the starters"
    )
    claim: str | None = Field(default=None, description="whose words this is the shock of")
    expect: dict[str, Sign] = Field(
        default_factory=dict, description="what the claim says of an instrument, bucket or group: gains, falls or stays"
    )
    unlike: str | None = Field(default=None, description="why what is computed may differ from what is expected")
    note: str | None = None
    _parts: tuple[ShockSection, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _moves_something(self) -> ShockSection:
        does = self.moves_prices or self.tells or self.changes_model or self.changes_risk or self.changes_liquidity
        if not does and self.delay_months is None and not self.combine:
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

    @property
    def changes_risk(self) -> bool:
        """Whether risk within a scenario is another."""
        return any(one is not None for one in (self.beta_times, self.idiosyncratic_times, self.correlation))

    @property
    def changes_liquidity(self) -> bool:
        """Whether selling costs more, or cannot be done at once."""
        return self.spread_times is not None or self.unsold is not None

    @property
    def parts(self) -> tuple[ShockSection, ...]:
        """Whose statements of prices follow one another: itself, unless it was joined."""
        return self._parts or (self,)

    def joined(self, known: Mapping[str, ShockSection]) -> ShockSection:
        """With what it combines, as one shock: prices fall by each in turn, factors multiply, news is told together.

        A name that is not known is passed over, and one that was met before: checks of the book refuse both.
        """
        if not self.combine:
            return self
        parts = [part for _, part in self.members(known)]
        said = {name: [getattr(part, name) for part in parts] for name in _IN_ONE}
        said = {name: [value for value in values if value not in (None, [], {})] for name, values in said.items()}
        one = self.model_copy(update={name: _IN_ONE[name](values) for name, values in said.items() if values})
        one._parts = tuple(parts)
        return one

    def members(self, known: Mapping[str, ShockSection]) -> Iterator[tuple[str, ShockSection]]:
        """Itself, under no name, and each shock that it combines, however deep, once."""
        met, ahead = set[str](), [("", self)]
        while ahead:
            name, part = ahead.pop(0)
            yield name, part
            further = [other for other in dict.fromkeys(part.combine) if other in known and other not in met]
            met.update(further)
            ahead += [(other, known[other]) for other in further]


def _nested(changes: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {name: _merged([one.get(name, {}) for one in changes]) for name in _merged(changes)}


def _merged(changes: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(chain.from_iterable(one.items() for one in changes))


def _in_turn(returns: list[float]) -> float:
    """Of what each leaves, the next takes its part."""
    return prod(1 + one for one in returns) - 1


_IN_ONE: dict[str, Callable[[list[Any]], Any]] = {
    # of prices only whether they are stated: each part moves them by itself
    **dict.fromkeys(("market", "multiples", "factors", "buckets", "instruments"), lambda values: values[0]),
    "signals": lambda values: list(chain.from_iterable(values)),
    "silent_months": max,
    "delay_months": max,
    "model": _merged,
    "scenarios": _nested,
    **dict.fromkeys(("beta_times", "idiosyncratic_times", "spread_times"), prod),
    "correlation": lambda values: -_in_turn([-one for one in values]),
    "unsold": _in_turn,
}
"""What shocks that happen in one come to, key by key; claims and notes are those of who combines them."""


@cache
def starter_shocks() -> Mapping[str, ShockSection]:
    """All of `data/shocks.toml`, as written."""
    text = (sample_books_folder() / "shocks.toml").read_text(encoding="utf-8")
    return {name: ShockSection.model_validate(shock) for name, shock in tomllib.loads(text)["shocks"].items()}


def joined_shocks(own: Mapping[str, ShockSection]) -> dict[str, ShockSection]:
    """The shocks of a book, each with what it combines; `own` replace starters of their names there too."""
    known = {**starter_shocks(), **own} if any(shock.combine for shock in own.values()) else own
    return {name: shock.joined(known) for name, shock in own.items()}


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
