"""`book.toml`, section by section, as frozen pydantic models: every key with its unit and range."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from allocator.errors import closest_name
from allocator.outlook.efficiency_model_settings import HYPOTHESES, REGIMES, ModelSection
from allocator.settings.fields import BasisPoints, Day, DayKey, Fraction, NonNegative, Positive, SettingsSection
from allocator.settings.mandate import MandateSection
from allocator.settings.mandate import WeightRange as WeightRange  # noqa: PLC0414  # the mandate reads it from here
from allocator.settings.stress import ShockSection, StressSection
from allocator.settings.uncertainty import (
    DisclosureSection,
    MarketSection,
    QuestionSection,
    RobustSection,
    ScenarioSection,
    ViewSection,
)

Parameters = dict[str, Any]
"""What a plugin is given, as the book writes it; what it means is the plugin's to say."""


class PluginsSection(SettingsSection):
    """What other packages add: `[plugins.rules.NAME]` and so on, NAME being theirs, with the parameters it is given."""

    rules: dict[str, Parameters] = Field(default_factory=dict, description="rules, kept and proved like our own")
    objectives: dict[str, Parameters] = Field(
        default_factory=dict, description="what the objective charges for holding a name, beside its own terms"
    )
    models: dict[str, Parameters] = Field(
        default_factory=dict, description="one model that makes scenario returns, in the place of [model]"
    )
    exporters: dict[str, Parameters] = Field(
        default_factory=dict, description="parameters of exporters, which `rebalance --export NAME` runs"
    )

    @model_validator(mode="after")
    def _one_model(self) -> PluginsSection:
        if len(self.models) > 1:
            raise ValueError(f"has {len(self.models)} models, and returns can be made by one; keep one of them")
        return self


# The sections of `book.toml` about trades: what they cost, when they are recommended, how they become whole lots.
#


class CostsSection(SettingsSection):
    """Trading costs: commission plus half the quoted spread, and what a large trade moves the price by.

    Trading the value v of a name also costs impact x daily volatility x v x sqrt(v / average daily traded value).
    """

    commission_bps: BasisPoints = Field(default=0.0, description="of the traded value, each way")
    spread_bps: BasisPoints = Field(
        default=0.0, description="full quoted spread where exposures.csv has no spread_bps; half of it is paid each way"
    )
    impact: NonNegative = Field(
        default=0.0, le=10, description="coefficient of the square-root impact; above 0 wants average_daily_volume"
    )
    ticket: NonNegative = Field(
        default=0.0, description="amount for each order, in the book's currency; shown beside the costs, not optimised"
    )


class TradingSection(SettingsSection):
    """When trading is recommended."""

    min_gain_bps: BasisPoints | None = Field(
        default=None,
        description="no trade unless the whole lots gain more than this; by default 3 where orders cost anything, "
        "which is more than rounding leaves of an applied plan, else 0",
    )
    min_share: Fraction | None = Field(
        default=None,
        description="no trade unless it gains in this share of sampled beliefs and costs; by default 0.5 where "
        "[robust] guards against nothing, else 0: protection gains in few of the beliefs that it guards against",
    )
    cost_factor: float = Field(
        default=2.0, ge=1, le=10, allow_inf_nan=False, description="costs may be off by this factor, either way"
    )
    indifference_bps: NonNegative = Field(
        default=0.0, le=100, description="among plans within this of the best, the one that trades least"
    )


class LotsSection(SettingsSection):
    """How targets become whole lots."""

    min_trade: NonNegative = Field(default=0.0, description="smallest order, in the book's currency")
    gap_bps: NonNegative = Field(
        default=0.1,
        description="of the objective: whole lots that are so near to a bound that none can beat are the best",
    )
    time_limit_seconds: Positive | None = Field(
        default=None,
        le=3600,
        description="for the search; by default work alone ends it, so that every machine finds the same lots",
    )


class CashSection(SettingsSection):
    """Cash that comes or goes on the day of the book, before anything is traded; the account's value counts it."""

    paid_in: NonNegative = Field(default=0.0, le=1e15, description="arrives, in the book's currency")
    paid_out: NonNegative = Field(
        default=0.0, le=1e15, description="leaves; what cash does not cover is sold for, as a rule like any other"
    )
    flows: dict[DayKey, Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="what arrives later by day, or leaves below 0: at the first of horizon.reviews from that day on",
    )

    @property
    def flow(self) -> float:
        """What arrives, less what leaves."""
        return self.paid_in - self.paid_out

    @property
    def dated(self) -> dict[dt.date, float]:
        """What arrives later by its day, but nothing."""
        return {dt.date.fromisoformat(day): flow for day, flow in sorted(self.flows.items()) if flow}


DAYS_A_YEAR = 365.25


class BookSection(SettingsSection):
    """What the book is called, in which currency it is valued, and on which day it speaks."""

    name: str = Field(min_length=1)
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code, such as USD")
    as_of: Day = Field(description="the day on which the book speaks; no row of any table may be later")


def _half_life(months: float) -> float:
    if not months >= 0:
        cure = "write 1 for a month, 0 for the next day, or inf for prices that never do before the horizon ends"
        raise ValueError(f"must be a half-life of 0 or more months, and is {months:g}; {cure}")
    return months


class HorizonSection(SettingsSection):
    """How far the scenario returns look, and when it is re-optimised on the way."""

    months: float = Field(default=12.0, gt=0, le=600, description="length of the horizon that returns are quoted over")
    until: Day | None = Field(
        default=None, description="the day that the horizon ends, instead of months: it then stays as as_of moves on"
    )
    reviews: list[Day] = Field(
        default_factory=list,
        description="review dates, on which the plan is re-optimised with what is known by then; wants until",
    )
    announcement_share: Fraction | None = Field(
        default=None,
        description="part of the re-pricing that happens with the news, before anyone can trade; needed once the "
        "market's probabilities are older than as_of, and with reviews",
    )
    digestion_months: Annotated[float, AfterValidator(_half_life)] | None = Field(
        default=None,
        json_schema_extra={"minimum": 0},
        description="half-life in months in which prices take in the rest of a re-pricing; inf: not before the "
        "horizon ends; needed where announcement_share is",
    )

    @model_validator(mode="after")
    def _reviews_in_order(self) -> HorizonSection:
        if self.reviews and self.until is None:
            raise ValueError(
                "reviews need a horizon that stays where it is; write until = the day it ends, instead of months"
            )
        if self.reviews != sorted(set(self.reviews)):
            raise ValueError("reviews must be in date order, each once; sort them")
        return self


class RiskSection(SettingsSection):
    """Where the covariance within a scenario comes from, always kept as factors plus a diagonal."""

    source: Literal["exposures", "prices", "covariance", "none"] = Field(
        default="exposures",
        description="exposures: beta and idiosyncratic volatility; prices: price history, each in its own currency, so "
        "that currency moves are not in it; covariance: covariance.csv; none: returns by scenario are all the risk",
    )
    market_volatility: Positive | None = Field(
        default=None, le=3, description="annual volatility of the market factor; needed where beta is used"
    )
    window_rows: int | None = Field(default=None, ge=20, description="price rows used, counted back from as_of")
    periods_per_year: Positive | None = Field(
        default=None, le=400, description="rows of prices.csv in a year: 252 daily, 52 weekly, 12 monthly"
    )
    max_age_days: int = Field(
        default=31,
        ge=0,
        le=36500,
        description="days that the last price used, or one of holdings.csv with a price_date, may be older than as_of",
    )
    after_as_of: Literal["refuse", "cut"] = Field(
        default="refuse", description="price rows later than as_of: refuse them, or leave them out"
    )
    blanks: Literal["refuse", "drop_rows"] = Field(
        default="refuse", description="a blank after a name's first price: refuse it, or leave out that whole row"
    )
    late_listings: Literal["refuse", "shorten_window", "beta"] = Field(
        default="refuse",
        description="a name listed inside the window: refuse, start the window at the last listing, "
        "or take that name's risk from beta and idiosyncratic volatility",
    )
    method: Literal["auto", "ledoit_wolf", "statistical_factors"] = Field(
        default="auto",
        description="auto: Ledoit-Wolf (pip install 'portfolio-allocator[risk]'), or statistical factors when "
        "instruments exceed half the rows",
    )
    factors: int = Field(default=10, ge=1, description="number of statistical factors")

    @model_validator(mode="after")
    def _states_what_its_source_needs(self) -> RiskSection:
        if fault := risk_lacks({key: value for key, value in self if value is not None}):
            raise ValueError("; ".join(fault))
        return self


def risk_lacks(stated: Mapping[str, object]) -> tuple[str, str] | None:
    """What [risk] does not say and its source needs, and the cure."""
    source = stated.get("source", "exposures")
    needed = ["market_volatility"] if source == "exposures" else []
    if source == "prices":
        by_beta = stated.get("late_listings") == "beta"
        needed = ["window_rows", "periods_per_year", *(["market_volatility"] if by_beta else [])]
    missing = " and ".join(key for key in needed if key not in stated)
    return (f"source = '{source}' also needs {missing}", "add it to [risk]") if missing else None


class Confirmation(SettingsSection):
    """An improbable reading of a table that is right: `[[confirm]]`, one entry for each doubt that is raised."""

    table: str = Field(min_length=1, description="the table in doubt, such as prices")
    kind: str = Field(min_length=1, description="what is doubted, as the error says it, such as jump")
    name: str | None = Field(default=None, description="the instrument or currency, where the doubt is about one")
    date: Day | None = Field(default=None, description="the day, where the doubt is about one")
    why: str = Field(pattern=r"\S", description="why it is right")

    @property
    def key(self) -> tuple[str, str, str | None, Day | None]:
        """What a doubt must be of to be meant."""
        return self.table, self.kind, self.name, self.date


class SolverSection(SettingsSection):
    """How exactly the program is solved."""

    tolerance: float = Field(default=1e-9, ge=1e-12, le=1e-6, description="residuals and gap at which a solver stops")
    time_limit_seconds: Positive | None = Field(
        default=None,
        le=3600,
        description="for each solver tried; by default work alone ends a search, so that every machine has one answer",
    )


def _names_a_file(name: str, *, address: str = "{ url = …, query = … }", example: str = "holdings.csv") -> str:
    if "://" in name:  # not shown: it may hold a password
        raise ValueError(f"is the address of a database, not a file; write {address}")
    if not name.strip() or not name.isprintable():
        raise ValueError(f"must name a file in visible characters; write for example {example}, or remove the key")
    return name


def _names_a_ledger(name: str) -> str:
    return _names_a_file(name, address="it as url = …, instead of path", example="ledger.db")


FileName = Annotated[str, AfterValidator(_names_a_file), Field(json_schema_extra={"minLength": 1})]
"""A file, relative to the book's folder."""


class SourceTable(SettingsSection):
    """A table that another package reads: the name of its source, and what the source is given."""

    source: str = Field(min_length=1)
    parameters: Parameters = Field(default_factory=dict)


def _tells_no_password(url: str) -> str:
    from allocator.importers.addresses import address_fault

    if fault := address_fault(url):
        raise ValueError("; ".join(fault))
    return url


class QueryTable(SettingsSection):
    """A table that a database answers with: its address, with `${NAME}` for what the environment says, and a query."""

    url: Annotated[str, AfterValidator(_tells_no_password)]
    query: str = Field(pattern=r"\S")


class LedgerSection(SettingsSection):
    """Where every rebalance is recorded, and whether its orders wait for a note of approval."""

    path: Annotated[str, AfterValidator(_names_a_ledger), Field(json_schema_extra={"minLength": 1})] = Field(
        default="ledger.db", description="a file of SQLite, relative to the book's folder"
    )
    url: Annotated[str, AfterValidator(_tells_no_password)] | None = Field(
        default=None, description="instead of path the address of a database, with ${NAME} for what is secret"
    )
    require_approval: bool = Field(
        default=False,
        description="no orders file leaves before `allocator approve`, which is a note and no access control",
    )

    @model_validator(mode="after")
    def _one_place(self) -> LedgerSection:
        if self.url is not None and "path" in self.model_fields_set:
            raise ValueError("has both path and url, and a ledger is in one place; keep one of them")
        return self


TABLE_KINDS: Mapping[str, type[SettingsSection]] = {"query": QueryTable, "source": SourceTable}


def _kind_of_table(given: object) -> str:
    if isinstance(given, dict):  # by the nearest key, so that a misspelt one is told what it is in its own kind
        kinds = {key: kind for kind, section in TABLE_KINDS.items() for key in section.model_fields}
        meant = {kinds.get(closest_name(str(key), kinds) or "") for key in given}
        return "source" if "source" in meant else "query"
    return next((kind for kind, section in TABLE_KINDS.items() if isinstance(given, section)), "file")


Table = Annotated[
    Annotated[FileName, Tag("file")] | Annotated[QueryTable, Tag("query")] | Annotated[SourceTable, Tag("source")],
    Discriminator(_kind_of_table),
]
"""A file; a query of a database, `{ url = "sqlite:///FILE", query = "…" }`; or a table that another package reads,
`{ source = "NAME", parameters = { … } }`.
"""


class TablesSection(SettingsSection):
    """Where the tables are: .csv, .parquet or .xlsx relative to the book's folder, a query, or a source of others."""

    holdings: Table = "holdings.csv"
    exposures: Table = "exposures.csv"
    scenario_returns: Table = "scenario_returns.csv"
    prices: Table = "prices.csv"
    covariance: Table = "covariance.csv"
    benchmark: Table = "benchmark.csv"
    factors: Table = "factors.csv"
    fx: Table = "fx.csv"
    signals: Table = "signals.csv"


ORDER_COLUMNS = (
    "account", "as_of", "side", "instrument", "name", "quantity", "price", "currency", "value", "cost", "book_currency",
    "plan_sha256",
)  # fmt: skip
"""Of orders.csv."""
_NEEDED = ("side", "instrument", "quantity")


class ConstantColumn(SettingsSection):
    """A column that says the same of every order."""

    text: str


def _kind_of_column(given: object) -> str:
    return "same" if isinstance(given, dict | ConstantColumn) else "named"


def _names_an_order_column(name: str) -> str:
    known = (*ORDER_COLUMNS, "order_id")
    if name not in known:
        near = closest_name(name, known)
        cure = f"did you mean '{near}'?" if near else 'write { text = "…" } for what is the same of every order'
        raise ValueError(f"is '{name}', which is no column of orders.csv: {', '.join(known)}; {cure}")
    return name


OrderColumn = Annotated[
    Annotated[str, AfterValidator(_names_an_order_column), Tag("named")] | Annotated[ConstantColumn, Tag("same")],
    Discriminator(_kind_of_column),
]
"""A column of orders.csv, or `order_id`, which no other order of any plan has; or the same text in every row."""


class OrdersSection(SettingsSection):
    """The orders once more, in the columns that an order system reads."""

    file: str = Field(
        default="order_system.csv", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.csv$", description="beside orders.csv"
    )
    columns: dict[str, OrderColumn] = Field(description="by the header of each of its columns, in their order")
    sides: dict[Literal["sell", "buy"], str] = Field(
        default={"sell": "sell", "buy": "buy"}, description="what it calls the sides"
    )

    @model_validator(mode="after")
    def _says_what_an_order_is(self) -> OrdersSection:
        if missing := [name for name in _NEEDED if name not in self.columns.values()]:
            raise ValueError(f"has no column for {' and '.join(missing)}; add it to columns, by the header that it has")
        if len({*self.sides.values()}) < 2 or len(self.sides) < 2 or not all(map(str.strip, self.sides.values())):
            raise ValueError('must tell both sides apart; write sides = { sell = "SELL", buy = "BUY" }')
        if odd := [name for name in self.columns if not name.strip() or not name.isprintable()]:
            raise ValueError(f"has a column without a visible name, {odd[0]!r}; name it as the order system does")
        if len({name.strip() for name in self.columns}) < len(self.columns):
            raise ValueError("has two columns that blanks alone tell apart; leave one of them out")
        said = [*self.sides.values(), *(one.text for one in self.columns.values() if isinstance(one, ConstantColumn))]
        if odd := [text for text in said if not text.isprintable()]:
            raise ValueError(f"has {odd[0]!r} in every order, which no order system reads; write visible characters")
        if self.file == "orders.csv":
            raise ValueError("names the file that is there in any case; choose another name")
        return self


EARLIER_SHARES = {"efficiency": "efficiency_share", "capital_intensity": "capital_intensity_share"}
"""The headline of a book that states no `[buckets]`, and the columns that its shares may stand in as well; a re-rating
tells these two apart.
"""


def share_columns(bucket: str) -> tuple[str, ...]:
    """The columns of exposures.csv that may hold the shares of a bucket; a table has one of them at most."""
    earlier = EARLIER_SHARES.get(bucket)
    return (f"share_{bucket}",) if earlier is None else (f"share_{bucket}", earlier)


def _names_a_bucket(name: str) -> str:
    if not (name.isprintable() and name == name.strip() and 0 < len(name) <= 40) or name.startswith("="):
        raise ValueError("must be visible text of at most 40 characters; write for example late_stage")
    return name


def _at_least_two(names: list[str]) -> list[str]:
    if len(names) < 2:
        raise ValueError(f"must be two buckets or more, and is {len(names)}; name the others of the book too")
    return names


class BucketsSection(SettingsSection):
    """What names are counted as: labels of exposures.csv beside cash, each with a column share_<bucket>, 0 to 1."""

    names: Annotated[list[Annotated[str, AfterValidator(_names_a_bucket)]], AfterValidator(_at_least_two)] = Field(
        default=[*EARLIER_SHARES, "adopter", "neutral"],
        description="two or more; rules and shocks go by these names",
        json_schema_extra={"minItems": 2, "uniqueItems": True},
    )
    headline: list[str] | None = Field(
        default=None,
        description="the two that first screens and reviews show beside cash; the first two if not stated",
        json_schema_extra={"minItems": 2, "maxItems": 2, "uniqueItems": True},
    )
    archetypes: dict[str, str] = Field(
        default_factory=dict,
        description="by bucket, the archetype of names that state the bucket and no archetype of their own",
    )

    @property
    def shown(self) -> list[str]:
        """The headline, stated or not."""
        return self.names[:2] if self.headline is None else self.headline


def _kind_of_group(given: object) -> str | None:
    return "list" if isinstance(given, list) else "shares" if isinstance(given, dict) else None


Group = Annotated[
    Annotated[list[str], Tag("list")] | Annotated[dict[str, Fraction], Tag("shares")],
    Discriminator(
        _kind_of_group,
        custom_error_type="group",
        custom_error_message="must be a list of instruments or a table of shares",
    ),
]
"""A list counts each instrument fully, a table counts the share given."""


class Settings(SettingsSection):
    """All of `book.toml`."""

    book: BookSection
    scenarios: dict[str, ScenarioSection] = Field(min_length=1)
    horizon: HorizonSection = Field(default_factory=HorizonSection)
    risk: RiskSection = Field(
        default_factory=lambda: RiskSection(source="none"), description="without it risk within a scenario is left out"
    )
    mandate: MandateSection = Field(default_factory=MandateSection)
    robust: RobustSection = Field(default_factory=RobustSection)
    costs: CostsSection = Field(default_factory=CostsSection)
    trading: TradingSection = Field(default_factory=TradingSection)
    lots: LotsSection = Field(default_factory=LotsSection)
    cash: CashSection = Field(default_factory=CashSection)
    solver: SolverSection = Field(default_factory=SolverSection)
    question: QuestionSection | None = Field(default=None, description="turns the probabilities into a prior")
    model: ModelSection | None = Field(default=None, description="the efficiency model, which makes scenario returns")
    market: MarketSection | None = Field(default=None, description="what prices imply; returns are anchored to it")
    believe: dict[str, Fraction] = Field(
        default_factory=dict,
        description="a view of today: probability of a hypothesis or a scenario; the others keep their proportions",
    )
    views: dict[str, ViewSection] = Field(
        default_factory=dict,
        description="what figures of the outlook are held to be, by name: probabilities move as little as that takes",
    )
    buckets: BucketsSection = Field(default_factory=BucketsSection)
    groups: dict[str, Group] = Field(
        default_factory=dict, description="named groups: a list of instruments, or instrument = share in [0, 1]"
    )
    shocks: dict[str, ShockSection] = Field(default_factory=dict, description="what might happen, by name")
    stress: StressSection = Field(default_factory=StressSection)
    tables: TablesSection = Field(default_factory=TablesSection)
    orders: OrdersSection | None = Field(default=None, description="orders for an order system, beside orders.csv")
    ledger: LedgerSection | None = Field(default=None, description="records every rebalance; without it --record does")
    plugins: PluginsSection = Field(default_factory=PluginsSection)
    confirm: list[Confirmation] = Field(default_factory=list, description="improbable data that is right, in writing")

    @property
    def years(self) -> float:
        """From as_of to the end of the horizon."""
        if self.horizon.until is None:
            return self.horizon.months / 12
        return (self.horizon.until - self.book.as_of).days / DAYS_A_YEAR

    @property
    def months(self) -> float:
        """The same in months."""
        return self.horizon.months if self.horizon.until is None else self.years * 12

    @property
    def cash_at_reviews(self) -> dict[dt.date, float]:
        """What arrives at each review in the book's currency, but nothing."""
        found, reviews = dict[dt.date, float](), self.horizon.reviews
        for day, flow in self.cash.dated.items():
            if ahead := [review for review in reviews if review >= day]:  # as the book was checked
                found[ahead[0]] = found.get(ahead[0], 0.0) + flow
        return {review: flow for review, flow in found.items() if flow}

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The answers: those that [question] names, else the efficiency model's where a scenario stands for one;
        without [question], what scenarios stand for where all of them say so.
        """
        return self._named("hypothesis", self.question.hypotheses if self.question else [], HYPOTHESES)

    @property
    def regimes(self) -> tuple[str, ...]:
        """The names of the second axis, in the same way; none where scenarios have none."""
        return self._named("regime", self.question.regimes if self.question else [], REGIMES)

    def _named(self, key: str, stated: list[str], of_the_model: tuple[str, ...]) -> tuple[str, ...]:
        said = dict.fromkeys(getattr(scenario, key) for scenario in self.scenarios.values())
        if stated or self.model is not None or {*said} & {*of_the_model}:
            return tuple(stated) or of_the_model
        # with a question the order matters, and nobody guesses it
        return () if None in said or (key == "hypothesis" and self.question is not None) else tuple(said)

    @property
    def sources(self) -> dict[str, dict[str, DisclosureSection]]:
        """Who may disclose which hypothesis, by source; `labs` disclose the first."""
        if self.question is None:
            return {}
        labs = {name: {first: lab} for first in self.hypotheses[:1] for name, lab in self.question.labs.items()}
        return labs | self.question.sources

    @property
    def uses_tree(self) -> bool:
        """Whether the tree of decisions solves it: a utility of the final wealth, CVaR, regret or mixture variance."""
        return self.mandate.traits.uses_tree
