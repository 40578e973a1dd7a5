"""`book.toml` as frozen pydantic models: every key with its unit and range, unknown keys refused by name.

`read_settings` turns text into `Settings` or raises `BadInput` with all errors, each with the line it stands on.
The JSON Schema that editors use is made from the same models (`allocator schema book`).
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import reduce
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from allocator.errors import BadInput, Breach, closest_name, did_you_mean, printable
from allocator.settings.mandate import OBJECTIVE_KEYS, OBJECTIVES, REMOVED_OBJECTIVES, flat_tiers, rule_name
from allocator.settings.settings import TABLE_KINDS, RiskSection, Settings, TablesSection, risk_lacks
from allocator.settings.uncertainty import AMBIGUITY_SETS, AXES
from allocator.tables.validation import MINOR_UNITS

# Keys of `book.toml` that are written and that nobody reads: each is refused, or set aside by a what-if.
#
_PRICE_KEYS = ("window_rows", "periods_per_year", "after_as_of", "blanks", "late_listings", "method")
_ERROR_KEYS, _NO_ERROR = ("return_error", "return_error_size", "return_error_names"), (None, "none", 0)
Key = tuple[str, ...]


def unused_keys(document: Mapping[str, Any]) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Keys that are written and that nobody reads: each with the keys that make it idle, and these in words."""
    risk, mandate, robust = (
        section if isinstance(section := document.get(name), Mapping) else {} for name in ("risk", "mandate", "robust")
    )
    source, method = risk.get("source", "exposures"), risk.get("method", "auto")
    late = risk.get("late_listings", "refuse")
    own = ("risk", "source")
    for key in risk:
        of_prices = source in ("exposures", "covariance", "none") and key in (*_PRICE_KEYS, "factors")
        if of_prices or (key == "market_volatility" and source in ("covariance", "none")):
            yield ("risk", key), [own], f"source = '{source}'"
        elif key == "market_volatility" and source == "prices" and late in ("refuse", "shorten_window"):
            words = f"source = 'prices' and late_listings = '{late}'"
            yield ("risk", key), [own, ("risk", "late_listings")], words
        elif key == "factors" and source == "prices" and method == "ledoit_wolf":
            yield ("risk", key), [("risk", "method")], "method = 'ledoit_wolf'"
    horizon = section if isinstance(section := document.get("horizon"), Mapping) else {}
    if "months" in horizon and "until" in horizon:
        yield ("horizon", "months"), [("horizon", "until")], "until, the day that the horizon ends"
    yield from _idle_wishes(document, mandate, robust)
    yield from _idle_reach(robust, ("robust",))
    yield from _idle_ways(robust)


def _idle_wishes(
    document: Mapping[str, Any], mandate: Mapping[str, Any], robust: Mapping[str, Any]
) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Keys that mean nothing to the objective that is stated."""
    objective = mandate.get("objective", "return_minus_risk")
    traits = next((traits for name, traits in OBJECTIVES.items() if name == objective), None)
    if traits is None:
        return
    for section, key in [*(("mandate", key) for key in OBJECTIVE_KEYS if key not in traits.keys), *traits.idle]:
        there = document.get(section)
        if isinstance(there, Mapping) and key in there and (section != "robust" or there[key] not in _NO_ERROR):
            yield (section, key), [("mandate", "objective")], f"objective = '{objective}'"
    error = robust.get("return_error")
    if ("robust", "return_error") not in traits.idle and error in ("none", "box", "ellipsoid"):
        for key in _ERROR_KEYS[1:] if error == "none" else _ERROR_KEYS[2:]:
            if robust.get(key) not in _NO_ERROR:
                yield ("robust", key), [("robust", "return_error")], f"return_error = '{error}'"


def _idle_reach(robust: Mapping[str, Any], place: Key) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """Of what says how far a set reaches, all that the set or the schedule leaves without a meaning."""
    kind, schedule = str(robust.get("set", "none")), robust.get("schedule", "fixed")
    setting = AMBIGUITY_SETS.get(kind, AMBIGUITY_SETS["none"])
    of_set, of_schedule = [(*place, "set")], [(*place, "schedule")]
    if len(place) > 1 and schedule == "corners":  # of an axis they are a set of their own, called hull
        if robust.get("set", "hull") != "hull":
            yield (*place, "schedule"), of_set, f"set = '{kind}'"
            yield (*place, "set"), of_schedule, "schedule = 'corners'"
        for key in ("radius", "caution", "experts"):
            if _stated(robust, key):
                yield (*place, key), of_schedule, "schedule = 'corners'"
        return
    unread = [key for key in _TABLES if key != setting.table and robust.get(key)]
    if not setting.scheduled:
        unread += [key for key in _REACH if _stated(robust, key) and (key != "radius" or setting.most_radius is None)]
    for key in unread:
        yield (*place, key), of_set, f"set = '{kind}'"
    if not setting.scheduled:
        return
    if schedule != "caution" and _stated(robust, "caution"):
        yield (*place, "caution"), of_schedule, f"schedule = '{schedule}'"
    elif schedule in ("caution", "corners") and _stated(robust, "radius"):
        yield (*place, "radius"), of_schedule, f"schedule = '{schedule}'"


_REACH = {"radius": 0, "schedule": "fixed", "caution": None}
_TABLES = [setting.table for setting in AMBIGUITY_SETS.values() if setting.table]


def _stated(robust: Mapping[str, Any], key: str) -> bool:
    """Whether a key says something."""
    nothing = _REACH.get(key, "none" if key == "set" else {})
    return bool(robust.get(key, nothing) != nothing)


def _idle_ways(robust: Mapping[str, Any]) -> Iterator[tuple[Key, Sequence[Key], str]]:
    """One set over all scenarios, or one an axis: each makes the other idle; and what is idle on an axis."""
    axes = {name: axis for name in AXES if isinstance(axis := robust.get(name), Mapping) and axis}
    single = [("robust", key) for key in ("set", *_REACH, *_TABLES) if _stated(robust, key)]
    of_axes = [("robust", name, key) for name, axis in axes.items() for key in axis]
    for key in single if axes else ():
        yield key, of_axes, "sets of axes"
    for name, axis in axes.items():
        if single:
            yield ("robust", name), single, "one set over all scenarios"
        yield from _idle_reach(axis, ("robust", name))


def read_settings(
    text: str, *, source: str = "book.toml", overrides: Sequence[str] = (), as_of: dt.date | None = None
) -> Settings:
    """Read `book.toml`'s text, then `--set` overrides (`'mandate.max_weight=0.2'`) and the as-of date, in that order.

    Raises:
        BadInput: the text is not TOML, or keys or values are not of the contract; all errors at once.
    """
    document = _document(text, source)
    _flatten_tiers(document)
    breaches = [breach for item in overrides if (breach := _override(document, item))]
    if as_of is not None and isinstance(book := document.setdefault("book", {}), dict):
        book["as_of"] = as_of
        _let_pass(document, as_of)
    _set_aside(document, {_key(item.partition("=")[0]) for item in overrides})
    if breaches:
        raise BadInput(breaches)
    try:
        return settings_from(document, source=source)
    except BadInput as error:
        placed = with_lines(error.breaches, text, overrides, source=source)
        if as_of is not None:  # it came from the caller, whatever the file says
            placed = [replace(b, table="--as-of", row=None) if b.column == "book.as_of" else b for b in placed]
        raise BadInput(placed) from None


def with_overrides(settings: Settings, overrides: Sequence[str]) -> Settings:
    """Settings after --set `overrides`, held to the contract again.

    Raises:
        BadInput: a value is outside of its key's range, or against another key's; all errors at once.
    """
    document = settings.model_dump(exclude_unset=True)
    if breaches := [breach for item in overrides if (breach := _override(document, item))]:
        raise BadInput(breaches)
    return settings_from(document, source="--set")


def settings_on(settings: Settings, as_of: dt.date) -> Settings:
    """The same settings on another day, with the reviews that are still ahead of it.

    Raises:
        BadInput: the day is against another key.
    """
    document = settings.model_dump(exclude_unset=True)
    document["book"]["as_of"] = as_of
    _let_pass(document, as_of)
    return settings_from(document)


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        rule, cure = "is nested too deeply", "write lists of names and numbers, and sections with keys"
        raise BadInput([Breach(source, None, None, None, rule, cure)]) from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput([_not_toml(str(error), text, source)]) from None
    except ValueError:  # Python's own limit
        rule, cure = "holds a number of more than 4300 digits", "write a shorter number"
        raise BadInput([Breach(source, None, None, None, rule, cure)]) from None
    if wide := [key for key, number in _whole_numbers(document) if not -(2**63) <= number < 2**63]:
        rule, cure = "must be a whole number of TOML, below 2^63", "write fewer digits"
        raise BadInput(with_lines([Breach(source, None, dotted_key(*key), None, rule, cure) for key in wide], text))
    return document


def _whole_numbers(value: object, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every whole number of a document and the key that it stands under."""
    ahead = [(place, value)]
    while ahead:
        place, value = ahead.pop()
        if isinstance(value, dict):
            ahead += [((*place, key), part) for key, part in value.items()]
        elif isinstance(value, list):
            ahead += [(place, part) for part in value]
        elif isinstance(value, int):
            yield place, value


def _let_pass(document: dict[str, Any], as_of: dt.date) -> None:
    """Reviews that an as-of date from outside has passed, or stands on, are decided: they are left out."""
    horizon = document.get("horizon")
    if isinstance(horizon, dict) and isinstance(reviews := horizon.get("reviews"), list):
        # a datetime is a date to Python; it is left for the contract to refuse
        horizon["reviews"] = [day for day in reviews if type(day) is not dt.date or day > as_of]


def _set_aside(document: dict[str, Any], set_keys: Collection[tuple[str, ...]]) -> None:
    """Leave out what the file says and a what-if made idle: --set can replace a key, and not remove one."""
    for key, because, _ in list(unused_keys(document)):
        asked = any(one[: len(key)] == key for one in set_keys)
        if not asked and any(reason in set_keys for reason in because):
            reduce(lambda section, part: section.get(part, {}), key[:-1], document).pop(key[-1], None)


def _not_toml(error: str, text: str, source: str) -> Breach:
    """What the parser said, its position once, and the cure by what stands there."""
    message, _, position = error.partition(" (at ")
    place = re.match(r"line (\d+), column (\d+)", position)
    lines = text.splitlines()
    row = int(place[1]) if place else len(lines) or None
    line = lines[row - 1] if row is not None and row <= len(lines) else ""
    return Breach(source, row, None, None, f"is not valid TOML: {message}", _toml_cure(message, line))


def _meant(value: str) -> str | None:
    """How TOML writes a number, a date or a truth that is written as elsewhere; None where it is something else."""
    if re.fullmatch(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?", value):
        return None  # as TOML writes it
    if found := re.fullmatch(r"([+-]?)(\d*)(?:[.,](\d*))?\s*(%?)", value):
        sign, whole, decimals, percent = found.groups()
        if not (whole or decimals) or len(value) > 40:
            return None
        number = Decimal(f"{sign}{whole or 0}.{decimals or 0}") / (100 if percent else 1)
        return f"{number.normalize():f}"
    if found := re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", value):
        return f"{found[3]}-{int(found[2]):02d}-{int(found[1]):02d}"
    if found := re.fullmatch(r"(\d{4})/(\d{1,2})/(\d{1,2})", value):
        return f"{found[1]}-{int(found[2]):02d}-{int(found[3]):02d}"
    return value.casefold() if value.casefold() in ("true", "false") else None


_TOML_CURES = {
    "it is there twice: merge the two": (
        "Cannot declare", "Cannot overwrite", "Cannot redefine", "Cannot mutate", "Duplicate"
    ),
    "close the bracket, in this line or above": ("Unclosed", "Expected ']'", "Expected ']]'", "Expected '}'"),
    "write it as key = value": ("Expected '=' after a key",),
    "write a day that there is, such as 2026-11-20": ("Invalid date",),
    "close the quote, in this line or above": (
        "Unterminated", r"Illegal character '\n'", 'Expected "', "Expected '\"'"
    ),
}  # fmt: skip
"""By how the parser's words begin."""


def _toml_cure(message: str, line: str) -> str:
    value = line.partition("=")[2].partition("#")[0].strip()
    if meant := _meant(value):
        return f"write {meant}"
    if value.casefold() in ("null", "none", "nil", "~"):
        return "remove the line: what is not stated has its default"
    if re.fullmatch(r"\d{1,5}[/-]\d{1,2}[/-]\d{1,4}", value):
        return "write a date as 2026-11-20"
    known = (cure for cure, beginnings in _TOML_CURES.items() if message.startswith(beginnings))
    return next(known, 'correct the line; text needs "quotes"')


def with_lines(
    breaches: Iterable[Breach], text: str, overrides: Sequence[str] = (), *, source: str = "book.toml"
) -> list[Breach]:
    """Breaches of `book.toml` with the line of its text, or the --set, that they come from; others as they are."""
    lines = _line_numbers(text)
    set_keys = [_key(item.partition("=")[0]) for item in overrides]
    return [
        _placed(breach, lines, set_keys) if breach.table == source and breach.column else breach for breach in breaches
    ]


def is_set(key: str, overrides: Sequence[str]) -> bool:
    """Whether a --set replaces a key."""
    return any(_key(item.partition("=")[0]) == _key(key) for item in overrides)


def _placed(breach: Breach, lines: Mapping[tuple[str, ...], int], set_keys: Sequence[tuple[str, ...]]) -> Breach:
    place = _key(breach.column or "")
    if any(key[: len(place)] == place or place[: len(key)] == key for key in set_keys):
        return replace(breach, table="--set", row=None)
    row = next((lines[place[:length]] for length in range(len(place), 0, -1) if place[:length] in lines), None)
    return replace(breach, row=row)


def settings_from(document: Mapping[str, Any], *, source: str = "book.toml") -> Settings:
    """Hold a nested mapping to the contract of `book.toml`.

    Raises:
        BadInput: all errors at once.
    """
    try:
        return Settings.model_validate(dict(document))
    except ValidationError as error:
        breaches = [_breach(item, source) for item in error.errors()]
        risk = document.get("risk")
        of_risk = any(item["loc"][0] == "risk" and len(item["loc"]) > 1 for item in error.errors())
        if of_risk and isinstance(risk, Mapping):  # else told when those are mended
            meant = dict.fromkeys(closest_name(str(key), RiskSection.model_fields) or "" for key in risk)
            if fault := risk_lacks({**meant, **risk}):
                breaches.append(Breach(source, None, "risk", None, *fault))
        raise BadInput(breaches) from None


def stated_risk_source(text: str) -> str | None:
    """The table that risk comes from by a text with whatever else is wrong; None where it names none."""
    with suppress(BadInput):
        risk = _document(text, "book.toml").get("risk")
        source = risk.get("source") if isinstance(risk, Mapping) else None
        return source if source in ("prices", "covariance") else None
    return None


def stated_tables(text: str) -> TablesSection | None:
    """Where the tables are by a text with whatever else is wrong; None where nobody can read what it says of them."""
    with suppress(BadInput, ValidationError):
        return TablesSection.model_validate(_document(text, "book.toml").get("tables", {}))
    return None if "tables" in text else TablesSection()


def settings_of_frames(
    given: Settings | Mapping[str, object], confirm: Sequence[Mapping[str, object]] = ()
) -> Settings:
    """Settings from plain data: days may be texts such as 2026-11-20; errors call it `settings`, as there is no file.

    Raises:
        BadInput: all errors at once.
    """
    if isinstance(given, Settings):
        document: dict[str, Any] = given.model_dump(exclude_unset=True)
    elif isinstance(given, Mapping):
        document = dict(given)
    else:
        rule, cure = f"must be a mapping, not a {type(given).__name__}", "write what book.toml would say, as a dict"
        raise BadInput([Breach("settings", None, None, None, rule, cure)])
    if isinstance(confirm, str | Mapping) or not all(isinstance(entry, Mapping) for entry in confirm):
        rule, cure = "must be a list of entries", 'write [{"table": …, "kind": …, "name": …, "why": …}]'
        raise BadInput([Breach("confirm", None, None, printable(str(confirm))[:80], rule, cure)])
    if confirm:
        document["confirm"] = [*document.get("confirm", ()), *map(dict, confirm)]
    return settings_from(_with_days(document), source="settings")


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_KEYS = ("as_of", "until", "reviews", "date", "opened", "since")
"""Keys of `book.toml` that hold days."""


def _with_days(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same document with its texts that are days as dates, at the keys that hold days."""

    def day(value: Any) -> Any:
        if isinstance(value, str) and _DAY.fullmatch(value):
            with suppress(ValueError):  # such as 2026-02-31: the contract says what is wrong with it
                return dt.date.fromisoformat(value)
        if isinstance(value, dt.datetime) and value.tzinfo is None and value.time() == dt.time():
            return value.date()
        return value

    def part(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                name.isoformat() if type(name) is dt.date else name: part(str(name), inner)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [part(key, inner) for inner in value]
        return day(value) if key in _DAY_KEYS else value

    return {str(name): part(str(name), value) for name, value in document.items()}


def _override(document: dict[str, Any], item: str) -> Breach | None:
    key, equals, value = item.partition("=")
    path = _key(key)
    if printable(item) != item or "\n" in item:  # a line break would begin another key
        rule, cure = "must be one line of printable text", "write one --set for each key"
        return Breach("--set", None, None, printable(item), rule, cure)
    if not equals or not _DOTTED.fullmatch(key.strip()):
        return Breach("--set", None, None, item, "must be section.key=value", _pair_cure(item))
    try:
        parsed: Any = _document(f"value = {value.strip()}", "--set")["value"]
    except BadInput:
        if mended := _value_cure(key.strip(), value.strip()):
            return Breach("--set", None, key.strip(), value.strip(), "is no value of TOML", mended)
        parsed = value.strip()  # a bare word such as robust.set=kl is meant as text
    place = document
    for part in path[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            return Breach("--set", None, key, item, f"{part!r} is a value, not a section", "shorten the dotted name")
    place[path[-1]] = parsed
    return None


def _pair_cure(item: str) -> str:
    """The key and the value as they were probably meant."""
    apart = re.fullmatch(r"\s*([\w.]+)\s*(?::|\s)\s*(\S+)\s*", item)
    if apart and "." in apart[1]:
        return f"write {apart[1]}={apart[2]}"
    return "write for example mandate.max_weight=0.2"


def _value_cure(key: str, value: str) -> str | None:
    """The cure of a value that is no TOML; None where it is a bare text."""
    if re.fullmatch(r"[+-]?[1-9][0-9_]*", value):
        return "write a whole number below 2^63"
    if not value or (meant := _meant(value)):
        return f"write {key}={meant}" if value else f"write a value, such as {key}=0.2"
    if value[0] in "[{":  # the shell keeps what stands between single quotes
        return f"""put texts in double quotes and all of it in single ones: '{key}=["NVDA", "AVGO"]'"""
    if re.fullmatch(r"[+-]?[0-9][0-9_.,' eE+-]*", value):
        return "write a number such as 1234.5 or a date such as 2026-11-20"
    if value[0] in "\"'" or value[-1] in "\"'":
        return f"""close the quotes, and put all of it in single ones: '{key}="text"'"""
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
    "list_type": 'write for example ["NVDA", "AVGO"]',
    "dict_type": "write a [section] with keys",
    "model_type": "write a [section] with keys",
    "string_pattern_mismatch": "write three capital letters, such as USD",
    "greater_than_equal": "raise it into the range",
    "greater_than": "raise it into the range",
    "too_short": "add at least one, for example [scenarios.base] with probability = 1.0",
    "string_too_short": "write something",
    "group": 'write for example ["NVDA", "AVGO"], or a [groups.NAME] section with NVDA = 0.5',
}


_OF_PATTERN = {
    "why": ("must not be blank", "say why it is right"),
    "query": ("must not be blank", "write one select"),
    "file": ("must name a .csv file beside orders.csv", "write for example order_system.csv"),
}
_SECRET_KEY = re.compile("passw|passphrase|(^|_)pass$|pwd|secret|(^|_)token$", re.IGNORECASE)
"""Keys whose values no error repeats."""


def _breach(item: Any, source: str) -> Breach:
    place = tuple(str(part) for part in item["loc"] if part != "[key]")
    if place[0] in ("groups", "tables"):
        place = place[:2] + place[3:]  # without the kind of group or table, which the user did not write
    elif place[:2] == ("orders", "columns"):
        place = place[:3] + place[4:]
    value = item.get("input")
    shown = None if isinstance(value, dict | list) else str(value)[:200]
    cure = _CURES.get(item["type"], "correct it")
    rule = re.sub(r"^\w+ should ", "must ", item["msg"])
    if item["type"] == "extra_forbidden":
        kind = TABLE_KINDS.get(item["loc"][2]) if place[0] == "tables" and len(item["loc"]) > 3 else None
        rule, cure = "unknown key", _key_cure(place, _known_keys(place[:-1]) if kind is None else kind.model_fields)
        shown = None if _SECRET_KEY.search(place[-1]) else shown
    elif item["type"] in ("dict_type", "model_type"):
        rule = "must be a section with keys"
    elif item["type"] == "missing":
        rule, shown = "is required", None
    elif item["type"] == "value_error":
        (rule, _, own), shown = str(item["ctx"]["error"]).partition("; "), None
        cure = own or cure
    elif item["type"] == "literal_error":
        rule, cure = f"must be one of {item['ctx']['expected']}", _choice_cure(str(value), item)
    elif item["type"] in ("less_than_equal", "less_than"):
        limit = item["ctx"].get("le", item["ctx"].get("lt"))
        rule = f"must be {'at most' if 'le' in item['ctx'] else 'below'} {limit:g}"
        percent = isinstance(value, int | float) and limit == 1 and 2 < value <= 100
        cure = f"write {value:g} % as {value / 100:g}" if percent else "lower it into the range"
        if place == ("risk", "periods_per_year"):
            cure = "give one row a day, the last price of each: then write 252, or 365 where weekends are rows"
    elif item["type"] == "string_pattern_mismatch" and place[-1] in _OF_PATTERN:
        rule, cure = _OF_PATTERN[place[-1]]
    elif place == ("book", "currency") and str(value) in MINOR_UNITS:
        rule, cure = MINOR_UNITS[str(value)].fault("book")
    return Breach(source, None, dotted_key(*place), shown, rule, cure)


def dotted_key(*parts: str) -> str:
    """A key as TOML and --set want it: a name with a point, such as BRK.B, in quotes."""
    return ".".join(f'"{part}"' if "." in part else part for part in parts)


def _key_cure(place: Sequence[str], siblings: Collection[str]) -> str:
    """The nearest key of the section; else the section that has a key of this name."""
    if closest_name(place[-1], siblings) is None:
        sections = [name for name, field in Settings.model_fields.items() if isinstance(field.annotation, type)]
        elsewhere = {(name, key) for name in sections for key in _known_keys([name])}
        meant = closest_name(place[-1], {key for _, key in elsewhere})
        if places := sorted(f"{name}.{key}" for name, key in elsewhere if key == meant):
            return f"did you mean {' or '.join(map(repr, places))}?"
    cure = did_you_mean(place[-1], siblings)
    if len(place) > 3 and not cure.startswith("did you mean"):
        cure += f"; a name with a point stands in quotes: {dotted_key('.'.join(place[-2:]))}"
    return cure


def _choice_cure(value: str, item: Any) -> str:
    """What stands in place of an objective that is gone; else the nearest choice."""
    known = re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))
    return REMOVED_OBJECTIVES.get(value) or did_you_mean(value, known)


def _known_keys(place: Sequence[str]) -> list[str]:
    """The keys that a section knows; follows the models down `place`, stepping over user-chosen names."""
    model: type[BaseModel] | None = Settings
    for part in place:
        field = model.model_fields.get(part) if model is not None else None
        if field is not None:  # else a user-chosen name, such as a scenario's
            model = next(iter(_models_in(field.annotation)), None)
    return list(model.model_fields) if model is not None else []


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The section inside an annotation such as `dict[str, Range]` or `QuestionSection | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Where each dotted key stands in the text (plain sections and keys, which is what a book uses)."""
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?([^\]]+)\]", line):
            section = _parts(header.group(1))
            lines.setdefault(section, number)
        elif "=" in line and re.fullmatch(r"[\w.\"' -]+", key := line.partition("=")[0].strip()):
            lines.setdefault(_one_tier(section + _parts(key)), number)
    return lines


def _key(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted key; the name of a rule that has a priority is one part."""
    return _one_tier(_parts(dotted))


def _one_tier(parts: tuple[str, ...]) -> tuple[str, ...]:
    return (*_TIERS, rule_name(*parts[2:])) if parts[:2] == _TIERS and len(parts) > len(_TIERS) else parts


_TIERS = ("mandate", "tiers")


def _flatten_tiers(document: dict[str, Any]) -> None:
    """One key a rule before any --set, so that a what-if replaces the priority however the file writes it."""
    mandate = document.get("mandate")
    if isinstance(mandate, dict) and "tiers" in mandate:
        with suppress(ValueError):  # a priority twice, which the contract refuses
            mandate["tiers"] = flat_tiers(mandate["tiers"])


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted.strip()))
