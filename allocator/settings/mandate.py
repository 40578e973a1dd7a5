"""The `[mandate]` section of `book.toml`: the objective, the rules, and which of the rules may be relaxed.

Limits are fractions of the account's value after the trades, unless a key says otherwise. A rule is named by its key
under `[mandate]`, as after --set: `max_turnover`, `weights.NVDA`, `exposures.beta`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from allocator.settings.fields import Fraction, NonNegative, Number, Positive, SettingsSection

Return = Annotated[float, Field(ge=-1, le=10, allow_inf_nan=False)]
"""A simple return; -1 loses all, 10 is +1000 %."""
Tier = Annotated[int, Field(ge=1, le=9)]
_TIER = {"type": "integer", "minimum": 1, "maximum": 9}


OneWay = Annotated[
    Fraction | None,
    BeforeValidator(lambda said: (0.0 if said else None) if isinstance(said, bool) else said),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": 1}]}),
]
"""What may be traded one way: true is nothing of it, false any, a fraction so much."""


class _Range(SettingsSection):
    """A floor `min` and a cap `max`, of which one is stated; their units are each range's own."""

    @model_validator(mode="after")
    def _floor_below_cap(self) -> Self:
        low, high = (dict(self)[end] for end in ("min", "max"))
        if low is None and high is None:
            raise ValueError("states neither min nor max; add one of them, or remove the section")
        if low is not None and high is not None and low > high:
            raise ValueError(f"min = {low:g} is above max = {high:g}; lower min or raise max")
        return self


class WeightRange(_Range):
    """A floor and a cap, as fractions of the account's value after the trades."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: Fraction | None = None
    max: Fraction | None = None


class ExposureRange(_Range):
    """A floor and a cap of the sum of weight x column, in the column's own unit; cash counts 0."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: Number | None = None
    max: Number | None = None


class RatioRange(_Range):
    """The weight of `group` in terms of the weight of `to`: at least `min` and at most `max` times as much."""

    group: str = Field(description="a bucket, or a user group of [groups]")
    to: str = Field(description="another bucket or user group")
    min: NonNegative | None = Field(default=None, le=1e6, description="group is at least this many times to")
    max: Positive | None = Field(default=None, le=1e6, description="group is at most this many times to")

    @model_validator(mode="after")
    def _compares_two(self) -> RatioRange:
        if self.group == self.to:
            raise ValueError(f"compares '{self.group}' with itself; name another bucket or group in to")
        return self


class BandRange(SettingsSection):
    """A weight that is left alone within `width` of `target`, and brought back from outside."""

    target: Fraction = Field(description="fraction of the account's value after the trades")
    width: float = Field(gt=0, le=1, description="how far it may be from target on either side, as a fraction too")
    to: Literal["edge", "target"] = Field(default="edge", description="where it is brought from outside of the band")


class LargestRange(SettingsSection):
    """A cap of the largest names together, whichever they turn out to be."""

    count: int = Field(ge=1, le=100_000, description="how many of the largest names, cash not among them")
    max: Fraction = Field(description="their weights together, at most")


class TurnoverBudget(SettingsSection):
    """What may be traded within a window: the trades of runs that were applied, as a ledger has them, and this one."""

    share: Fraction = Field(
        description="one-way, as max_turnover: the sum over the window of the larger of purchases and sales"
    )
    months: int = Field(ge=1, le=600, description="length of the window, which ends on as_of")
    used: NonNegative | None = Field(
        default=None, description="what was traded of it before; by default commands count it in the ledger"
    )


def flat_tiers(tiers: object) -> object:
    """Priorities by one dotted key a rule; a nested table (`weights.NVDA = 2`) says the same as a quoted key."""
    if not isinstance(tiers, Mapping):
        return tiers
    flat: dict[str, object] = {}
    for key, tier in _leaves(tiers):
        if key in flat:
            raise ValueError(f"'{key}' has a priority twice; keep one of them")
        flat[key] = tier
    return flat


def _leaves(tiers: Mapping[Any, object], above: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    for key, value in tiers.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, str(key)))
        else:
            yield rule_name(*above, str(key)), value


def rule_name(*parts: str) -> str:
    """One name a rule, however it was quoted: `weights."BRK.B"` is `weights.BRK.B`, for no kind of rule has a point."""
    kind, point, name = ".".join(parts).partition(".")
    return kind.strip("\"'") + point + name.strip("\"'")


Tiers = Annotated[
    dict[str, Tier],
    BeforeValidator(flat_tiers),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [_TIER, {"type": "object", "additionalProperties": {"anyOf": [_TIER, {"type": "object"}]}}]
            },
        }
    ),
]


@dataclass(frozen=True)
class ObjectiveTraits:
    """What a book has to know of an objective: its own `keys` under [mandate]; what (section, key) it leaves `idle`;
    whether it is solved on the tree of decisions and looks at returns; why reviews cannot follow it, if they cannot.
    """

    keys: tuple[str, ...] = ()
    idle: tuple[tuple[str, str], ...] = (("trading", "min_share"), ("trading", "cost_factor"))
    uses_tree: bool = True
    uses_returns: bool = True
    not_reviewed: str | None = None
    few_names: bool = True
    """Whether a few names can be chosen for it."""


_PLANNED = "what is best at a review by it is not what it planned for that review"
_PLAIN = ObjectiveTraits(("risk_aversion",), (), uses_tree=False, not_reviewed=f"is not time-consistent: {_PLANNED}")
_NO_RETURNS = (
    ("robust", "return_error"),
    ("robust", "return_error_size"),
    ("robust", "return_error_names"),
    ("trading", "min_gain_bps"),
)
OBJECTIVES: Mapping[str, ObjectiveTraits] = {
    "return_minus_risk": _PLAIN,
    "minimum_variance": replace(_PLAIN, keys=(), idle=(*_NO_RETURNS, *ObjectiveTraits.idle), uses_returns=False),
    "log": ObjectiveTraits(("charge_risk",)),
    "crra": ObjectiveTraits(("relative_risk_aversion", "charge_risk")),
    "return": ObjectiveTraits(("step_risk",)),
    "mean_cvar": ObjectiveTraits(("cvar_level", "cvar_weight", "draws")),
    "regret": ObjectiveTraits(few_names=False),  # hindsight would choose names too
    "mixture_variance": ObjectiveTraits(
        ("risk_aversion",),
        not_reviewed=f"is not time-consistent: the variance between scenarios has one mean for all; {_PLANNED}",
    ),
}
if TYPE_CHECKING:
    ObjectiveName: TypeAlias = str
else:
    ObjectiveName = Literal[tuple(OBJECTIVES)]
OBJECTIVE_KEYS = tuple(dict.fromkeys(key for traits in OBJECTIVES.values() for key in traits.keys))
"""Keys under [mandate] that some objectives alone read."""


class MandateSection(SettingsSection):
    """What we want: the objective and the rules. Limits are fractions of the account's value after the trades."""

    objective: ObjectiveName = Field(
        default="return_minus_risk",
        description="return_minus_risk: maximise adverse expected return - risk_aversion * variance - costs; "
        "minimum_variance: only minimise the variance; log, crra, return: the adverse expected utility of the "
        "final wealth, re-optimised at horizon.reviews; mean_cvar: expected loss and CVaR on draws, with reviews "
        "nested at every one; regret: what hindsight would have earned more, with reviews at the end alone, which is "
        "not time-consistent; for one decision: mixture_variance: return - risk_aversion * (variance within and "
        "between scenarios)",
    )
    risk_aversion: NonNegative = Field(default=2.0, le=1e6, description="gamma, per unit of variance over the horizon")
    relative_risk_aversion: Positive | None = Field(
        default=None, le=50, description="of objective crra; 1 is objective log"
    )
    cvar_level: float = Field(
        default=0.95, gt=0, lt=1, description="of objective mean_cvar: CVaR is the mean loss beyond this quantile"
    )
    cvar_weight: Fraction = Field(
        default=0.5, description="of objective mean_cvar: 1 is CVaR alone, 0 the expected loss alone"
    )
    draws: int = Field(
        default=500, ge=2, multiple_of=2, description="of objective mean_cvar: by scenario, each with its mirror image"
    )
    charge_risk: bool = Field(
        default=True,
        description="of objectives log and crra: charge half the relative risk aversion x the variance within a "
        "scenario from each decision to the next; false looks at the spread of the scenarios alone",
    )
    step_risk: NonNegative = Field(
        default=0.0, le=10, description="of objective return: charge per unit of volatility between decisions"
    )
    max_weight: Fraction | None = Field(
        default=None, description="cap of every instrument but cash, unless its own range says otherwise"
    )
    max_issuer_weight: Fraction | None = Field(
        default=None, description="cap of every issuer's instruments together, unless its own range says otherwise"
    )
    min_cash: Fraction = Field(default=0.0, description="cash left after trades and costs, at least")
    max_cash: Fraction = Field(default=1.0, description="cash left after trades and costs, at most")
    max_turnover: Fraction | None = Field(
        default=None,
        description="one-way: the larger of purchases and sales, as a fraction of the account before trading",
    )
    turnover_budget: TurnoverBudget | None = Field(
        default=None, description="turnover within a window, what applied runs of the ledger traded counted with it"
    )
    max_participation: Positive | None = Field(
        default=None, le=10, description="traded in each name, as a multiple of its average daily volume, at most"
    )
    no_sales: OneWay = Field(
        default=None,
        description="true: nothing is sold; a number: no more than that fraction of the account before trading",
    )
    no_purchases: OneWay = Field(default=None, description="the same of what is bought")
    min_expected_return: Return | None = Field(
        default=None,
        description="expected return over the horizon after costs, under the stated probabilities",
    )
    min_worst_scenario_return: Return | None = Field(
        default=None, description="return over the horizon after costs in every scenario, at least"
    )
    min_worst_case_return: Return | None = Field(
        default=None, description="expected return under adverse probabilities of [robust], after costs, at least"
    )
    min_worst_case_active_return: Return | None = Field(
        default=None, description="the same, of the return over that of benchmark.csv"
    )
    max_volatility: Positive | None = Field(
        default=None, le=3, description="annual volatility within a scenario, at most"
    )
    max_tracking_error: Positive | None = Field(
        default=None, le=3, description="annual volatility of the difference from benchmark.csv, at most"
    )
    largest: LargestRange | None = Field(default=None, description="cap of the largest names together")
    max_names: int | None = Field(
        default=None, ge=1, le=100_000, description="names held after the trades, cash not among them, at most"
    )
    min_position: Fraction | None = Field(
        default=None, description="a name is held with nothing, or with this much at least; cash is free"
    )
    names_gap: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01,
        description="of max_names and min_position: the search ends where no other choice of names can be better by "
        "more than this part of the objective",
    )
    locked: list[str] = Field(default_factory=list, description="names that are not traded at all")
    forbidden: list[str] = Field(default_factory=list, description="names of which nothing is left after the trades")
    eligible: list[str] | None = Field(
        default=None, description="the names that may be bought; others may be kept and sold. All, if not stated"
    )
    weights: dict[str, WeightRange] = Field(default_factory=dict, description="range by instrument")
    issuers: dict[str, WeightRange] = Field(default_factory=dict, description="range by issuer")
    buckets: dict[str, WeightRange] = Field(
        default_factory=dict,
        description="range by bucket of [buckets]; counts its shares of exposures.csv, which default to the label",
    )
    groups: dict[str, WeightRange] = Field(default_factory=dict, description="range by user group of [groups]")
    bands: dict[str, BandRange] = Field(
        default_factory=dict, description="band by instrument, bucket or user group: inside, it is left alone"
    )
    ratios: dict[str, RatioRange] = Field(default_factory=dict, description="one bucket or group in terms of another")
    exposures: dict[str, ExposureRange] = Field(
        default_factory=dict,
        description="range of the sum of weight x column, by numeric column of exposures.csv or factors.csv",
    )
    max_stress_loss: dict[str, Fraction] = Field(
        default_factory=dict, description="loss under a shock of [shocks], costs included, at most; by shock"
    )
    tiers: Tiers = Field(
        default_factory=dict,
        description="priorities of the rules that may be relaxed, by key under [mandate]: 9 is relaxed first, "
        "1 last; others are hard",
    )

    @property
    def counted(self) -> list[str]:
        """What --set takes to make a plan of this mandate again: what was counted in a ledger."""
        budget = self.turnover_budget
        return [] if budget is None else [f"mandate.turnover_budget.used={budget.used!r}"]

    @property
    def traits(self) -> ObjectiveTraits:
        """Of the objective."""
        return OBJECTIVES[self.objective]


REMOVED_OBJECTIVES = {"regret_ex_ante": "use 'regret', or 'return_minus_risk' with a set of [robust]"}
"""Names that books of earlier versions may state, each with its cure."""
NO_RULES = ("objective", *OBJECTIVE_KEYS, "names_gap", "tiers")
ALWAYS_HARD = ("locked", "forbidden", "eligible", "max_names", "min_position", "tradable_from")
"""Rules that cannot be relaxed; tradable_from stands in exposures.csv."""


def stated_rules(mandate: MandateSection) -> tuple[str, ...]:
    """The names of the rules that a mandate states, in the order of its keys."""
    names: list[str] = []
    for key in MandateSection.model_fields:
        value = getattr(mandate, key)
        if key in NO_RULES or key not in mandate.model_fields_set or value in (None, []):
            continue
        names += [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
    return tuple(names)
