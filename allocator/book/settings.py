"""`book.toml` as frozen pydantic models: every key with its unit and range, unknown keys refused by name.

`read_settings` turns text into `Settings` or raises `BadInput` with all breaches, each with the line it stands on.
The JSON Schema that editors use is made from the same models (`allocator schema book`).
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from allocator.errors import BadInput, Breach, did_you_mean, nearest

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A weight, share or probability from 0 to 1; 12 % is 0.12."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
BasisPoints = Annotated[float, Field(ge=0, le=5000, allow_inf_nan=False)]
"""Hundredths of a percent; 10 bps of 1000 USD is 1 USD."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BookSection(_Section):
    """What the book is called, in which currency it is valued, and on which day it speaks."""

    name: str = Field(min_length=1)
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code, such as USD")
    as_of: dt.date = Field(description="the day on which the book speaks; no row of any table may be later")


class HorizonSection(_Section):
    """How far the scenario returns look."""

    months: float = Field(default=12.0, gt=0, le=600, description="length of the horizon that returns are quoted over")


class ScenarioSection(_Section):
    """One answer to the question: its probability, and what it stands for."""

    probability: Fraction
    hypothesis: str | None = Field(default=None, description="generalizable or proprietary, or your own word")
    demand: str | None = Field(default=None, description="demand regime: jevons or compression, or your own word")
    note: str | None = None


class RiskSection(_Section):
    """Where the covariance within a scenario comes from, always kept as factors plus a diagonal."""

    source: Literal["exposures", "prices", "covariance"] = Field(
        default="exposures",
        description="exposures: beta and idiosyncratic volatility; prices: price history, each in its own currency, so "
        "that currency moves are not in it; covariance: covariance.csv",
    )
    market_volatility: Positive | None = Field(
        default=None, le=3, description="annual volatility of the market factor; needed where beta is used"
    )
    window_rows: int | None = Field(default=None, ge=20, description="price rows used, counted back from as_of")
    periods_per_year: Positive | None = Field(
        default=None, le=400, description="rows of prices.csv in a year: 252 daily, 52 weekly, 12 monthly"
    )
    max_age_days: int = Field(
        default=31, ge=0, le=36500, description="days that the last price used may be older than as_of"
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
        description="auto: Ledoit-Wolf, or statistical factors when instruments exceed half the rows",
    )
    factors: int = Field(default=10, ge=1, description="number of statistical factors")

    @model_validator(mode="after")
    def _states_what_its_source_needs(self) -> RiskSection:
        needed: dict[str, tuple[str, ...]] = {
            "exposures": ("market_volatility",),
            "prices": ("window_rows", "periods_per_year"),
        }
        missing = [key for key in needed.get(self.source, ()) if getattr(self, key) is None]
        if self.source == "prices" and self.late_listings == "beta" and self.market_volatility is None:
            missing.append("market_volatility")
        if missing:
            raise ValueError(f"source = '{self.source}' also needs {' and '.join(missing)}; add it to [risk]")
        return self


class Range(_Section):
    """A floor and a cap, as fractions of the account's value after the trades."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: Fraction | None = None
    max: Fraction | None = None

    @model_validator(mode="after")
    def _floor_below_cap(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("states neither min nor max; add one of them, or remove the section")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}; lower min or raise max")
        return self


class MandateSection(_Section):
    """What we want: the objective and the rules. Limits are fractions of the account's value after the trades."""

    objective: Literal["return_minus_risk", "minimum_variance"] = Field(
        default="return_minus_risk",
        description="maximise worst-case return - risk_aversion * variance - costs, or only minimise the variance",
    )
    risk_aversion: NonNegative = Field(default=2.0, le=1e6, description="gamma, per unit of variance over the horizon")
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
    min_expected_return: float | None = Field(
        default=None,
        ge=-1,
        le=10,
        allow_inf_nan=False,
        description="expected return over the horizon after costs, under the stated probabilities",
    )
    max_volatility: Positive | None = Field(
        default=None, le=3, description="annual volatility within a scenario, at most"
    )
    weights: dict[str, Range] = Field(default_factory=dict, description="range by instrument")
    issuers: dict[str, Range] = Field(default_factory=dict, description="range by issuer")
    buckets: dict[str, Range] = Field(
        default_factory=dict,
        description="range by bucket; efficiency and capital_intensity count the numeric shares of exposures.csv",
    )
    groups: dict[str, Range] = Field(default_factory=dict, description="range by user group of [groups]")


class RobustSection(_Section):
    """Which probabilities we guard against."""

    set: Literal["none", "total_variation", "box", "kl", "worst"] = Field(
        default="none",
        description="none: the stated probabilities; total_variation: within radius in half the L1 distance; "
        "box: each within radius; kl: relative entropy within radius; worst: any probabilities at all",
    )
    radius: NonNegative = Field(
        default=0.0, description="how far the set reaches; only for total_variation, box and kl"
    )

    @model_validator(mode="after")
    def _radius_fits_the_set(self) -> RobustSection:
        if self.set in ("total_variation", "box") and self.radius > 1:
            raise ValueError(f"radius = {self.radius:g} of a '{self.set}' set must lie in [0, 1]; lower it")
        if self.set in ("none", "worst") and self.radius != 0:
            raise ValueError(
                f"radius = {self.radius:g} has no meaning with set = '{self.set}'; remove it or set it to 0"
            )
        if self.set == "kl" and 0 < self.radius < 1e-6:
            raise ValueError(
                f"radius = {self.radius:g} of a 'kl' set is too small to be told from 0; "
                "set it to 0, or to at least 0.000001"
            )
        if self.set == "kl" and self.radius > 50:
            raise ValueError(f"radius = {self.radius:g} is beyond any probability; use set = 'worst'")
        return self


class CostsSection(_Section):
    """Linear trading costs: commission plus half the quoted spread, of the traded value."""

    commission_bps: BasisPoints = Field(default=0.0, description="of the traded value, each way")
    spread_bps: BasisPoints = Field(
        default=0.0, description="full quoted spread where exposures.csv has no spread_bps; half of it is paid each way"
    )


class LotsSection(_Section):
    """How targets become whole lots."""

    min_trade: NonNegative = Field(default=0.0, description="smallest order, in the book's currency")
    time_limit_seconds: Positive = Field(default=60.0, le=3600)


class SolverSection(_Section):
    """How exactly the program is solved."""

    tolerance: float = Field(default=1e-9, ge=1e-12, le=1e-6, description="residuals and gap at which a solver stops")
    time_limit_seconds: Positive = Field(default=60.0, le=3600, description="for each solver tried")


def _names_a_file(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("must name a file in visible characters; write for example holdings.csv, or remove the key")
    return name


FileName = Annotated[str, AfterValidator(_names_a_file), Field(json_schema_extra={"minLength": 1})]
"""A file, relative to the book's folder."""


class TablesSection(_Section):
    """Where the tables are, relative to the book's folder: .csv, .parquet or .xlsx."""

    holdings: FileName = "holdings.csv"
    exposures: FileName = "exposures.csv"
    scenario_returns: FileName = "scenario_returns.csv"
    prices: FileName = "prices.csv"
    covariance: FileName = "covariance.csv"
    benchmark: FileName = "benchmark.csv"
    fx: FileName = "fx.csv"


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


class Settings(_Section):
    """All of `book.toml`."""

    book: BookSection
    scenarios: dict[str, ScenarioSection] = Field(min_length=1)
    horizon: HorizonSection = Field(default_factory=HorizonSection)
    risk: RiskSection
    mandate: MandateSection = Field(default_factory=MandateSection)
    robust: RobustSection = Field(default_factory=RobustSection)
    costs: CostsSection = Field(default_factory=CostsSection)
    lots: LotsSection = Field(default_factory=LotsSection)
    solver: SolverSection = Field(default_factory=SolverSection)
    groups: dict[str, Group] = Field(
        default_factory=dict, description="named groups: a list of instruments, or instrument = share in [0, 1]"
    )
    tables: TablesSection = Field(default_factory=TablesSection)


class _BookSchema(GenerateJsonSchema):
    """TOML has no null, and a key is its own title."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", ...) is None:
            made.pop("default")
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of `book.toml`, made from the models: what `schemas/book.schema.json` holds."""
    made = Settings.model_json_schema(schema_generator=_BookSchema)
    return {"$schema": _BookSchema.schema_dialect} | made | {"title": "Book"}


def read_settings(
    text: str, *, source: str = "book.toml", overrides: Sequence[str] = (), as_of: dt.date | None = None
) -> Settings:
    """Read `book.toml`'s text, then `--set` overrides (`'mandate.max_weight=0.2'`) and the as-of date, in that order.

    Raises:
        BadInput: the text is not TOML, or keys or values are not of the contract; all breaches at once.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput([_not_toml(str(error), text, source)]) from None
    breaches = [breach for item in overrides if (breach := _override(document, item))]
    if as_of is not None and isinstance(book := document.setdefault("book", {}), dict):
        book["as_of"] = as_of
    _set_aside(document, {_parts(item.partition("=")[0]) for item in overrides})
    if breaches:
        raise BadInput(breaches)
    try:
        return settings_from(document, source=source)
    except BadInput as error:
        raise BadInput(placed(error.breaches, text, overrides, source=source)) from None


_PRICE_KEYS = ("window_rows", "periods_per_year", "max_age_days", "after_as_of", "blanks", "late_listings", "method")
Key = tuple[str, str]


def idle_keys(document: Mapping[str, Any]) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Keys that are written and that nobody reads: each with the keys that make it idle, and these in words."""
    risk, mandate = document.get("risk"), document.get("mandate")
    risk, mandate = (section if isinstance(section, Mapping) else {} for section in (risk, mandate))
    source, method = risk.get("source", "exposures"), risk.get("method", "auto")
    late = risk.get("late_listings", "refuse")
    own = ("risk", "source")
    for key in risk:
        if source in ("exposures", "covariance") and key in (*_PRICE_KEYS, "factors"):
            yield ("risk", key), [own], f"source = '{source}'"
        elif key == "market_volatility" and source == "covariance":
            yield ("risk", key), [own], "source = 'covariance'"
        elif key == "market_volatility" and source == "prices" and late in ("refuse", "shorten_window"):
            words = f"source = 'prices' and late_listings = '{late}'"
            yield ("risk", key), [own, ("risk", "late_listings")], words
        elif key == "factors" and source == "prices" and method == "ledoit_wolf":
            yield ("risk", key), [("risk", "method")], "method = 'ledoit_wolf'"
    if mandate.get("objective") == "minimum_variance" and "risk_aversion" in mandate:
        yield ("mandate", "risk_aversion"), [("mandate", "objective")], "objective = 'minimum_variance'"


def _set_aside(document: dict[str, Any], set_keys: Collection[tuple[str, ...]]) -> None:
    """Leave out what the file says and a what-if made idle: --set can replace a key, and not remove one."""
    for key, because, _ in list(idle_keys(document)):
        if key not in set_keys and any(reason in set_keys for reason in because):
            del document[key[0]][key[1]]


def _not_toml(error: str, text: str, source: str) -> Breach:
    """What the parser said, its position once, and the cure by what stands there."""
    message, _, position = error.partition(" (at ")
    place = re.match(r"line (\d+), column (\d+)", position)
    lines = text.splitlines()
    row = int(place[1]) if place else len(lines) or None
    line = lines[row - 1] if row is not None and row <= len(lines) else ""
    return Breach(source, row, None, None, f"is not valid TOML: {message}", _toml_cure(message, line))


_TOML_CURES = {
    "it is there twice: merge the two": (
        "Cannot declare", "Cannot overwrite", "Cannot redefine", "Cannot mutate", "Duplicate"
    ),
    "close the bracket, in this line or above": ("Unclosed", "Expected ']'", "Expected ']]'", "Expected '}'"),
    "close the quote, in this line or above": (
        "Unterminated", r"Illegal character '\n'", 'Expected "', "Expected '\"'"
    ),
}  # fmt: skip
"""By how the parser's words begin."""


def _toml_cure(message: str, line: str) -> str:
    value = line.partition("=")[2].partition("#")[0].strip()
    if found := re.fullmatch(r"([+-]?\d+)(?:[.,](\d+))?\s*%", value):
        return f"write {float(f'{found[1]}.{found[2] or 0}') / 100:.10g}"
    if found := re.fullmatch(r"([+-]?\d+),(\d+)", value):
        return f"write {found[1]}.{found[2]}"
    if found := re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", value):
        return f"write {found[3]}-{int(found[2]):02d}-{int(found[1]):02d}"
    known = (cure for cure, beginnings in _TOML_CURES.items() if message.startswith(beginnings))
    return next(known, 'correct the line; text needs "quotes"')


def placed(
    breaches: Iterable[Breach], text: str, overrides: Sequence[str] = (), *, source: str = "book.toml"
) -> list[Breach]:
    """Breaches of `book.toml` with the line of its text, or the --set, that they come from; others as they are."""
    lines = _line_numbers(text)
    set_keys = [_parts(item.partition("=")[0]) for item in overrides]
    return [
        _placed(breach, lines, set_keys) if breach.table == source and breach.column else breach for breach in breaches
    ]


def _placed(breach: Breach, lines: Mapping[tuple[str, ...], int], set_keys: Sequence[tuple[str, ...]]) -> Breach:
    place = _parts(breach.column or "")
    if any(key[: len(place)] == place or place[: len(key)] == key for key in set_keys):
        return replace(breach, table="--set", row=None)
    row = next((lines[place[:length]] for length in range(len(place), 0, -1) if place[:length] in lines), None)
    return replace(breach, row=row)


def settings_from(document: Mapping[str, Any], *, source: str = "book.toml") -> Settings:
    """Hold a nested mapping to the contract of `book.toml`.

    Raises:
        BadInput: all breaches at once.
    """
    try:
        return Settings.model_validate(dict(document))
    except ValidationError as error:
        raise BadInput([_breach(item, source) for item in error.errors()]) from None


def _override(document: dict[str, Any], item: str) -> Breach | None:
    key, equals, value = item.partition("=")
    path = list(_parts(key))
    if not equals or not _DOTTED.fullmatch(key.strip()):
        return Breach(
            "--set", None, None, item, "must be section.key=value", "write for example mandate.max_weight=0.2"
        )
    try:
        parsed = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word such as robust.set=kl is meant as text
    place = document
    for part in path[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            return Breach("--set", None, key, item, f"{part!r} is a value, not a section", "shorten the dotted name")
    place[path[-1]] = parsed
    return None


_NAME = r"""("[^"]+"|'[^']+'|[^."'=]+)"""
_DOTTED = re.compile(rf"{_NAME}(\.{_NAME})*")
_CURES = {
    "missing": "add it",
    "float_type": "write a number without quotes",
    "int_type": "write a whole number without quotes",
    "string_type": "write text in quotes",
    "date_type": "write a date as 2026-11-20, without quotes or a time",
    "finite_number": "write a finite number",
    "dict_type": "write a [section] with keys",
    "model_type": "write a [section] with keys",
    "string_pattern_mismatch": "write three capital letters, such as USD",
    "greater_than_equal": "raise it into the range",
    "greater_than": "raise it into the range",
    "too_short": "add at least one, for example [scenarios.base] with probability = 1.0",
    "string_too_short": "write something",
    "group": 'write for example ["NVDA", "AVGO"], or a [groups.NAME] section with NVDA = 0.5',
}


def _breach(item: Any, source: str) -> Breach:
    place = tuple(str(part) for part in item["loc"])
    if place[0] == "groups":
        place = place[:2] + place[3:]  # without the kind of group, which the user did not write
    value = item.get("input")
    shown = None if isinstance(value, dict | list) else str(value)
    cure = _CURES.get(item["type"], "correct it")
    rule = re.sub(r"^\w+ should ", "must ", item["msg"])
    if item["type"] == "extra_forbidden":
        rule, cure = "unknown key", _key_cure(place)
    elif item["type"] in ("dict_type", "model_type"):
        rule = "must be a section with keys"
    elif place == ("risk",) and item["type"] == "missing":
        rule, shown, cure = "is required", None, "add [risk] with source and market_volatility"
    elif item["type"] == "missing":
        rule, shown = "is required", None
    elif item["type"] == "value_error":
        (rule, _, own), shown = str(item["ctx"]["error"]).partition("; "), None
        cure = own or cure
    elif item["type"] == "literal_error":
        rule, cure = f"must be one of {item['ctx']['expected']}", did_you_mean(str(value), _choices(item))
    elif item["type"] in ("less_than_equal", "less_than"):
        limit = item["ctx"].get("le", item["ctx"].get("lt"))
        rule = f"must be at most {limit:g}"
        percent = isinstance(value, int | float) and limit == 1 and 2 < value <= 100
        cure = f"write {value:g} % as {value / 100:g}" if percent else "lower it into the range"
    return Breach(source, None, dotted(*place), shown, rule, cure)


def dotted(*parts: str) -> str:
    """A key as TOML and --set want it: a name with a point, such as BRK.B, in quotes."""
    return ".".join(f'"{part}"' if "." in part else part for part in parts)


def _key_cure(place: Sequence[str]) -> str:
    """The nearest key of the section; else the section that has a key of this name."""
    siblings = _known_keys(place[:-1])
    if nearest(place[-1], siblings) is None:
        sections = [name for name, field in Settings.model_fields.items() if isinstance(field.annotation, type)]
        elsewhere = {(name, key) for name in sections for key in _known_keys([name])}
        meant = nearest(place[-1], {key for _, key in elsewhere})
        if found := sorted(f"{name}.{key}" for name, key in elsewhere if key == meant):
            return f"did you mean {' or '.join(map(repr, found))}?"
    return did_you_mean(place[-1], siblings)


def _choices(item: Any) -> list[str]:
    return re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))


def _known_keys(place: Sequence[str]) -> list[str]:
    """The keys that a section knows; follows the models down `place`, stepping over user-chosen names."""
    model: Any = Settings
    for part in place:
        field = model.model_fields.get(part) if model is not None else None
        if field is None:
            continue  # a user-chosen name, such as a scenario's
        found = re.findall(r"(\w+Section|Range)\b", str(field.annotation))
        model = globals().get(found[0]) if found else None
    return list(model.model_fields) if model is not None else []


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Where each dotted key stands in the text (plain sections and keys, which is what a book uses)."""
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?([^\]]+)\]", line):
            section = _parts(header.group(1))
            lines.setdefault(section, number)
        elif key := re.match(r"\s*([\w.\"' -]+?)\s*=", line):
            lines.setdefault(section + _parts(key.group(1)), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted.strip()))
