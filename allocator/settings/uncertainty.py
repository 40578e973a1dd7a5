"""The `[robust]` section of `book.toml`: what we guard against."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from allocator.settings.fields import Day, Fraction, NonNegative, Number, Positive, SettingsSection


@dataclass(frozen=True)
class AmbiguitySetting:
    """What `[robust]` may say of a set; one without `most_radius` reaches as far as it reaches."""

    words: str
    most_radius: float | None = None
    least_radius: float = 0.0
    """Above 0: below it the set cannot be told from the belief."""
    scheduled: bool = False
    """Whether a belief can tell its radius."""
    table: str = ""
    """What it reads besides, a section of `[robust]`."""
    example: str = ""
    unscheduled: str = ""
    """Why it cannot."""
    whole: bool = False
    """Whether it is over whole scenarios alone, and not over one axis of them."""


AMBIGUITY_SETS = {
    "none": AmbiguitySetting("the stated probabilities"),
    "total_variation": AmbiguitySetting("within radius in half the L1 distance", 1.0, scheduled=True),
    "box": AmbiguitySetting("each within radius", 1.0, scheduled=True),
    # beyond the largest radius of a divergence every scenario is reached that could be believed at all
    "kl": AmbiguitySetting("relative entropy within radius", 50.0, 1e-6, scheduled=True),
    "worst": AmbiguitySetting("any probabilities at all"),
    "contamination": AmbiguitySetting("a part radius of every probability may go anywhere", 1.0, scheduled=True),
    "modified_chi2": AmbiguitySetting("sum of (q - p)^2 / p within radius", 1e6, 1e-6, scheduled=True),
    "wasserstein": AmbiguitySetting(
        "moving probability over the distances of [robust.metric] costs at most radius",
        float("inf"),
        table="metric",
        example="write for example replicability = 1.0 there",
        whole=True,
        unscheduled=", and that of 'wasserstein' is in the unit of its metric, which no belief tells",
    ),
    "hull": AmbiguitySetting(
        "any mixture of the belief and [robust.experts]",
        table="experts",
        example="write for example [robust.experts.optimist] with a probability for every scenario",
        unscheduled=", and 'hull' has none: it reaches as far as its experts",
    ),
    "polytope": AmbiguitySetting(
        "all probabilities within [robust.limits]",
        table="limits",
        example="write for example [robust.limits.glut] with weights = { SCENARIO = 1.0 } and max = 0.3",
        whole=True,
        unscheduled=", and 'polytope' has none: it reaches as far as its limits",
    ),
}
"""The sets by name, in the order in which they are told of; the classes are in `ambiguity/`."""
_SCHEDULED = [name for name, setting in AMBIGUITY_SETS.items() if setting.scheduled]
_ON_AXES = [name for name, setting in AMBIGUITY_SETS.items() if not setting.whole]
_TABLES = [setting.table for setting in AMBIGUITY_SETS.values() if setting.table]
AXES = ("question", "regime")
"""The tables of `[robust]` that are of one axis of the scenarios."""
if TYPE_CHECKING:
    SetName: TypeAlias = str
else:
    SetName = Literal[tuple(AMBIGUITY_SETS)]


class LimitSection(SettingsSection):
    """A stated limit on scenario probabilities: min ≤ Σ weight × probability ≤ max."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})  # weights, and a limit

    weights: dict[str, Number] = Field(min_length=1, description="coefficient by scenario; those left out count 0")
    max: Number | None = None
    min: Number | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> LimitSection:
        if self.max is None and self.min is None:
            raise ValueError("states neither min nor max; add one of them, or remove the section")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} must not be above max = {self.max:g}; lower min or raise max")
        if not any(self.weights.values()):
            raise ValueError("counts no scenario; give a weight other than 0, or remove the section")
        return self


class ReachSection(SettingsSection):
    """Which probabilities we guard against, of all scenarios or on one axis, and how far they reach."""

    set: SetName = Field(
        default="none",
        description="; ".join(f"{name}: {setting.words}" for name, setting in AMBIGUITY_SETS.items()),
    )
    radius: NonNegative = Field(
        default=0.0, description="how far the set reaches; not for none, worst, hull and polytope"
    )
    schedule: Literal["fixed", "caution", "corners"] = Field(
        default="fixed",
        description="fixed: radius as stated; caution: caution x (1 - the likelier answer's probability), and "
        "nothing once the question is settled, for kl twice its square, for modified_chi2 four times; corners: as far "
        "as [question.ranges] reach",
    )
    caution: Fraction | None = Field(default=None, description="how much of the way to being wrong we guard against")
    experts: dict[str, dict[str, Fraction]] = Field(
        default_factory=dict,
        description="for hull: each expert's probability of every scenario (or answer, or regime), as of as_of; "
        "signals do not move them",
    )

    @property
    def guards(self) -> bool:
        """Whether any other probabilities than the stated are guarded against."""
        return self.set != "none"

    @property
    def makes_its_set(self) -> bool:
        """Whether the schedule is the set itself, whatever `set` is called."""
        return False

    @property
    def name_of_set(self) -> str:
        """What people call it."""
        return self.schedule if self.makes_its_set else self.set

    @model_validator(mode="after")
    def _radius_fits_the_set(self) -> Self:
        if (self.schedule == "caution") != (self.caution is not None):
            raise ValueError("caution and schedule = 'caution' go together; state both or neither")
        setting = AMBIGUITY_SETS[self.set]
        if self.makes_its_set:
            return self
        if self.schedule != "fixed" and (self.radius != 0 or not setting.scheduled):
            raise ValueError(
                f"schedule = '{self.schedule}' makes the radius of a {', '.join(_SCHEDULED[:-1])} or {_SCHEDULED[-1]} "
                f"set{setting.unscheduled}; remove radius, or choose such a set"
            )
        if setting.most_radius is None and self.radius != 0:
            raise ValueError(
                f"radius = {self.radius:g} has no meaning with set = '{self.set}'; remove it or set it to 0"
            )
        if 0 < self.radius < setting.least_radius:
            raise ValueError(
                f"radius = {self.radius:g} of a '{self.set}' set is too small to be told from 0; "
                "set it to 0, or to at least 0.000001"
            )
        if setting.most_radius is not None and self.radius > setting.most_radius:
            if setting.most_radius == 1:
                raise ValueError(f"radius = {self.radius:g} of a '{self.set}' set must lie in [0, 1]; lower it")
            raise ValueError(f"radius = {self.radius:g} is beyond any probability; use set = 'worst'")
        return self


class AxisSection(ReachSection):
    """Of one axis, the answer or, given it, the regime: which probabilities we guard against, and how far they reach.

    On the answer, schedule = 'corners' is the set itself: the beliefs that [question.ranges] allow.
    """

    @property
    def guards(self) -> bool:
        """Whether any other probabilities than the stated are guarded against."""
        return self.set != "none" or self.makes_its_set

    @property
    def makes_its_set(self) -> bool:
        """Whether the schedule is the set itself."""
        return self.schedule == "corners"

    @model_validator(mode="after")
    def _has_a_set_of_its_own(self) -> Self:
        if AMBIGUITY_SETS[self.set].whole:
            raise ValueError(
                f"set = '{self.set}' is over whole scenarios, and an axis has none; "
                f"state it in [robust] without axes, or choose {', '.join(_ON_AXES[:-1])} or {_ON_AXES[-1]}"
            )
        of_another = "set" in self.model_fields_set and self.set != "hull"
        if self.makes_its_set and (of_another or self.radius or self.experts):
            raise ValueError(
                "schedule = 'corners' is a set of its own, the beliefs that [question.ranges] allow; "
                "remove set, radius and experts"
            )
        if (self.set == "hull") == (not self.experts) and not self.makes_its_set:
            raise ValueError(
                "experts and set = 'hull' go together; state both or neither, the experts for example as "
                "experts.optimist with a probability for every name on the axis"
            )
        return self


class RobustSection(ReachSection):
    """Which probabilities we guard against, and by how much the scenario returns may be wrong.

    One set over all scenarios, or one over the answers to the question and one over the regimes given each answer.
    """

    question: AxisSection | None = Field(default=None, description="of the answers to the question; then no set here")
    regime: AxisSection | None = Field(
        default=None,
        description="of the regimes given each answer; caution is of 1 - the likelier regime's probability, and falls "
        "with the deviation of the elasticity as usage figures come in",
    )
    metric: dict[str, Positive] = Field(
        default_factory=dict,
        description="for wasserstein: weight by scenario parameter, such as replicability; two scenarios are as far "
        "apart as the weighted sum of the differences in these parameters",
    )
    limits: dict[str, LimitSection] = Field(
        default_factory=dict, description="for polytope: named limits on sums of weight x probability"
    )
    return_error: Literal["none", "box", "ellipsoid", "budget"] = Field(
        default="none",
        description="scenario returns may be wrong: box: each name's alone; ellipsoid: all together, in the metric of "
        "the covariance; budget: those of return_error_names names at once",
    )
    return_error_size: NonNegative = Field(
        default=0.0, le=10, description="by how much, in standard deviations over the horizon"
    )
    return_error_names: Positive | None = Field(
        default=None, description="for budget: how many names' returns are wrong at once, a fraction of one allowed"
    )

    @property
    def axes(self) -> dict[str, AxisSection]:
        """The stated axes, by the name of their table."""
        return {name: axis for name in AXES if (axis := getattr(self, name)) is not None}

    @property
    def guards(self) -> bool:
        """Whether any other probabilities than the stated are guarded against."""
        return self.set != "none" or any(axis.guards for axis in self.axes.values())

    @model_validator(mode="after")
    def _is_stated_in_one_way(self) -> Self:
        single = [key for key in ("set", "radius", "schedule", "caution", *_TABLES) if key in self.model_fields_set]
        stated = [key for key in single if getattr(self, key) not in ("none", "fixed", 0, None, {})]
        if self.axes and stated:
            tables = " and ".join(f"[robust.{name}]" for name in self.axes)
            verb, other = ("are", "is")[len(stated) < 2], ("are", "is")[len(self.axes) < 2]
            raise ValueError(
                f"{', '.join(stated)} {verb} of one set over all scenarios, and {tables} {other} of axes; "
                f"remove {' and '.join(stated)}, or remove {tables}"
            )
        return self

    @model_validator(mode="after")
    def _says_what_its_set_needs(self) -> Self:
        setting = AMBIGUITY_SETS[self.set]
        if setting.table and not getattr(self, setting.table):
            raise ValueError(f"set = '{self.set}' needs [robust.{setting.table}]; {setting.example}")
        return self

    @model_validator(mode="after")
    def _size_fits_the_error(self) -> Self:
        if self.return_error == "none" and self.return_error_size > 0:
            raise ValueError(
                f"return_error_size = {self.return_error_size:g} has no meaning with return_error = 'none'; "
                "remove it, or choose return_error = 'box', 'ellipsoid' or 'budget'"
            )
        if self.return_error != "none" and self.return_error_size == 0:
            raise ValueError(
                f"return_error = '{self.return_error}' needs a return_error_size above 0; "
                "write for example return_error_size = 0.2, or remove return_error"
            )
        if (self.return_error == "budget") != (self.return_error_names is not None):
            raise ValueError(
                "return_error_names and return_error = 'budget' go together; state both or neither, "
                "for example return_error_names = 5"
            )
        return self


# The sections of `book.toml` that a belief is made from: the question, its labs, the efficiency model, the market.
#
Interior = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Between = Annotated[list[float], Field(min_length=2, max_length=2)]
"""[lowest, highest]."""


class DisclosureSection(SettingsSection):
    """How one source discloses a hypothesis if it is true, and how often it claims it without substance."""

    disclosure: Interior = Field(description="probability that the source ever discloses it, if it is true")
    hazard: Positive = Field(le=10, description="rate a month at which it then discloses")
    background: Positive = Field(le=10, description="rate a month of claims without substance, whatever is true")
    lag_months: NonNegative = Field(default=0.0, le=120, description="months after the opening before it can disclose")


class DemandSection(SettingsSection):
    """The usage elasticity as believed before any usage figure: tasks = price^-elasticity; above 1 is the first
    regime.
    """

    elasticity_mean: float = Field(ge=-2, le=10, allow_inf_nan=False)
    elasticity_deviation: Positive = Field(le=5)
    figure_noise: Positive = Field(le=5, description="standard error of one log usage figure")


class RangesSection(SettingsSection):
    """What the book is unsure of, as [lowest, highest] of one value that all sources share and that replaces theirs."""

    prior: Between = Field(description="of the first of the hypotheses")
    disclosure: Between
    hazard: Between
    background: Between

    @model_validator(mode="after")
    def _are_ranges(self) -> RangesSection:
        for name in ("prior", "disclosure", "hazard", "background"):
            low, high = getattr(self, name)
            top = 1 if name in ("prior", "disclosure") else 10
            said = f"{name} = [{low:g}, {high:g}]"
            if not (0 < low < top and 0 < high < top):
                raise ValueError(f"{said} must be above 0 and below {top}; correct it")
            if low > high:
                raise ValueError(f"{said} must be [lowest, highest]; write the lowest first: [{high:g}, {low:g}]")
        return self


class QuestionSection(SettingsSection):
    """The open question. With it, the probabilities of [scenarios] are the prior of the day it opened."""

    opened: Day = Field(description="the day from which silence counts")
    hypotheses: list[str] = Field(
        default_factory=list,
        description="the answers, two or more, each that of some scenario; those of the efficiency model if not said",
    )
    regimes: list[str] = Field(
        default_factory=list,
        description="names of a second axis, where scenarios have a regime; those of the efficiency model if not said",
    )
    sources: dict[str, dict[str, DisclosureSection]] = Field(
        default_factory=dict, description="who may disclose which hypothesis: [question.sources.NAME.HYPOTHESIS]"
    )
    labs: dict[str, DisclosureSection] = Field(
        default_factory=dict, description="sources that may disclose the first hypothesis alone, by name"
    )
    threshold: float = Field(default=0.95, gt=0.5, lt=1, description="settled when one answer is this probable")
    release: float = Field(default=0.85, gt=0.5, lt=1, description="unsettled again below this")
    sensitivity: Interior = Field(default=0.9, description="P(verification succeeds | the claim is genuine)")
    false_positive: Interior = Field(default=0.1, description="P(verification succeeds | it is not)")
    frailty: Positive | None = Field(
        default=None,
        ge=0.05,
        le=1000,
        description="shape of a gamma multiplier common to all hazards; leave it out for independent sources",
    )
    demand: DemandSection | None = None
    ranges: RangesSection | None = None

    @model_validator(mode="after")
    def _can_be_asked(self) -> QuestionSection:
        if self.release > self.threshold:
            raise ValueError(f"release = {self.release:g} is above threshold = {self.threshold:g}; lower it")
        if self.false_positive >= self.sensitivity:
            raise ValueError(
                "false_positive must be below sensitivity; a test that errs more than it finds tells nothing"
            )
        if len(self.hypotheses) == 1:
            raise ValueError(f"hypotheses has one answer, {self.hypotheses[0]!r}; state all that are possible")
        for name in (*self.hypotheses, *self.regimes):
            if (*self.hypotheses, *self.regimes).count(name) > 1:
                raise ValueError(f"{name!r} is named twice among hypotheses and regimes; give each a name of its own")
        if not (self.sources or self.labs):
            raise ValueError("has no sources; state who may disclose what in [question.sources.NAME.HYPOTHESIS]")
        if both := sorted({*self.sources} & {*self.labs}):
            raise ValueError(f"{both[0]!r} stands in sources and in labs; keep one of them")
        return self


class ScenarioParameters(SettingsSection):
    """The efficiency model's parameters of one scenario."""

    replicability: Fraction | None = Field(default=None, description="share of rivals' capacity able to adopt")
    pass_through: NonNegative | None = Field(
        default=None, le=3, description="log share of the saving that reaches prices; above 1 is a price war"
    )
    usage_elasticity: NonNegative | None = Field(default=None, le=10, description="tasks = price^-elasticity")
    training_elasticity: float | None = Field(
        default=None, ge=0, le=5, allow_inf_nan=False, description="of training spend; 0 saves it all, 1 re-invests all"
    )
    multiple_compression: float | None = Field(
        default=None, ge=-3, le=3, allow_inf_nan=False, description="log fall of multiples; from 54 to 25 times is 0.77"
    )
    rerating: float = Field(
        default=0.0,
        ge=-3,
        le=3,
        allow_inf_nan=False,
        description="log rise of the multiple of what is all efficiency, and fall of what is all capital-intensive",
    )
    entry: NonNegative = Field(
        default=0.0, le=10, description="elasticity of laggards' share to cheaper training, which lets others in"
    )
    capacity: Positive = Field(default=1.0, le=100, description="compute capacity at the horizon, relative to plan")


class ScenarioSection(ScenarioParameters):
    """One answer to the question: its probability, what it stands for, its parameters of the efficiency model."""

    probability: Fraction
    hypothesis: str | None = Field(default=None, min_length=1, description="which answer to the question it stands for")
    regime: str | None = Field(
        default=None, min_length=1, description="where it stands on the second axis, if there is one"
    )
    note: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _old_name_of_the_regime(cls, given: object) -> object:
        if not isinstance(given, dict) or "demand" not in given:
            return given
        if "regime" in given:
            raise ValueError("demand is the old name of regime, and both are stated; state regime alone")
        return {"regime" if key == "demand" else key: value for key, value in given.items()}


class MarketSection(SettingsSection):
    """What prices imply: the market's own scenario probabilities on a date, moved since then by the same signals."""

    date: Day
    probabilities: dict[str, Fraction] = Field(description="by scenario, summing to 1")
    scenarios: dict[str, ScenarioParameters] = Field(
        default_factory=dict, description="the market's own parameters of a scenario; ours where it states none"
    )


# What an investor holds of figures of the outlook, beside its probabilities: `[views.NAME]`.
#
_EVENT_BOUNDS = ("below", "above")
VIEW_FIGURES = {"expected_return": (-1.0, inf), "volatility": (0.0, inf), "probability": (0.0, 1.0)}
"""What a view may be of, and the range of each."""


class ViewSubject(SettingsSection):
    """Whose return a view is about: one of these."""

    instrument: str | None = None
    bucket: str | None = Field(
        default=None, description="its names by their shares of it, whatever is held of them: no trade changes a view"
    )
    group: str | None = Field(default=None, description="of [groups]: its names by their shares of it")
    portfolio: Literal["held", "benchmark"] | None = Field(
        default=None, description="what the account holds today, or benchmark.csv"
    )

    @property
    def named(self) -> list[tuple[str, str]]:
        """What it names, each with its key: one thing where it is sound."""
        return [(key, str(value)) for key, value in self if key not in _EVENT_BOUNDS and value is not None]

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        if len(self.named) != 1:
            keys = ", ".join(key for key in type(self).model_fields if key not in _EVENT_BOUNDS)
            said = " and ".join(key for key, _ in self.named) or "nothing"
            raise ValueError(f"must name one thing, and names {said}; write one of {keys}")
        return self


class ViewEvent(ViewSubject):
    """What a view gives a probability to: some scenarios, or a return over the horizon below or above a number."""

    scenario: str | None = None
    hypothesis: str | None = None
    regime: str | None = None
    below: Number | None = Field(default=None, description="of a return over the horizon")
    above: Number | None = Field(default=None, description="of a return over the horizon")

    @model_validator(mode="after")
    def _is_an_event(self) -> Self:
        key, bounds = self.named[0][0], [bound for bound in _EVENT_BOUNDS if getattr(self, bound) is not None]
        if key not in ViewSubject.model_fields and bounds:
            raise ValueError(f"a {key} is neither below nor above a number; remove {' and '.join(bounds)}")
        if key in ViewSubject.model_fields and len(bounds) != 1:
            said = " and ".join(bounds) or "neither"
            raise ValueError(
                f"a return has a probability to be below or above a number, and {said} is stated; keep one"
            )
        return self


class ViewSection(SettingsSection):
    """A view: a figure of the outlook, the bounds that it is held to lie in, and with how much confidence.

    Of all probabilities that meet the views those nearest to the belief are taken, by relative entropy (Meucci 2008).
    """

    expected_return: ViewSubject | None = Field(default=None, description="over the horizon, before costs")
    over: ViewSubject | None = Field(default=None, description="what the expected return is in excess of: a ranking")
    volatility: ViewSubject | None = Field(
        default=None, description="a year, in all: within scenarios and between them"
    )
    probability: ViewEvent | None = None
    at_least: Number | None = Field(default=None, description="of the figure")
    at_most: Number | None = Field(default=None, description="of the figure")
    equals: Number | None = Field(default=None, description="of the figure, in the place of both")
    confidence: Fraction = Field(
        default=1.0, description="the weight of the probabilities that meet it; 0 sets it aside"
    )

    @property
    def figure(self) -> str:
        """What it is of."""
        return next(figure for figure in VIEW_FIGURES if getattr(self, figure) is not None)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that the figure may be; infinite where it may be anything."""
        if self.equals is not None:
            return self.equals, self.equals
        return -inf if self.at_least is None else self.at_least, inf if self.at_most is None else self.at_most

    @model_validator(mode="after")
    def _is_of_one_figure(self) -> Self:
        figures = [figure for figure in VIEW_FIGURES if getattr(self, figure) is not None]
        if len(figures) != 1:
            said = " and ".join(figures) or "none"
            raise ValueError(f"must be of one figure, and is of {said}; write one of {', '.join(VIEW_FIGURES)}")
        if self.over is not None and self.expected_return is None:
            raise ValueError("over ranks expected returns; remove it, or write expected_return")
        return self

    @model_validator(mode="after")
    def _bounds_what_it_is_of(self) -> Self:
        (low, high), (least, most) = self.bounds, VIEW_FIGURES[self.figure]
        if self.equals is not None and (self.at_least, self.at_most) != (None, None):
            raise ValueError("equals leaves nothing to at_least and at_most; keep it, or them")
        if low == -inf and high == inf:
            raise ValueError("has no bound; write at_least, at_most or equals")
        if low > high:
            raise ValueError(f"at_least = {low:g} is above at_most = {high:g}; write them the other way round")
        least = -inf if self.over is not None else least
        if any(not least <= bound <= most for bound in (low, high) if abs(bound) < inf):
            reach = f"from {least:g} to {most:g}" if most < inf else f"{least:g} or more"
            raise ValueError(f"a bound on {self.figure} must be {reach}; write 12 % as 0.12")
        return self
