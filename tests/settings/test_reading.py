"""book.toml: what it may say, how it is refused (line, key, value, cure), and how --set changes it."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from allocator.errors import BadInput, Breach
from allocator.settings.reading import read_settings, settings_from, unused_keys
from allocator.settings.settings import Settings
from tests.make_schemas import settings_schema

LEAST = """[book]
name = "Least"
currency = "USD"
as_of = 2026-11-20

[scenarios.base]
probability = 1.0

[risk]
market_volatility = 0.2
"""


def refused(text: str, **options: Any) -> list[Breach]:
    with pytest.raises(BadInput) as error:
        read_settings(text, **options)
    return list(error.value.breaches)


def test_the_least_book_has_the_stated_defaults() -> None:
    settings = read_settings(LEAST)

    assert (settings.book.name, settings.book.as_of) == ("Least", dt.date(2026, 11, 20))
    assert (settings.mandate.min_cash, settings.mandate.max_cash, settings.mandate.max_weight) == (0.0, 1.0, None)
    assert (settings.robust.set, settings.robust.radius) == ("none", 0.0)
    assert (settings.horizon.months, settings.lots.min_trade, settings.costs.commission_bps) == (12.0, 0.0, 0.0)
    assert settings.tables.holdings == "holdings.csv"


def test_settings_cannot_be_changed_after_reading() -> None:
    settings = read_settings(LEAST)

    with pytest.raises(ValueError, match="frozen"):
        settings.mandate.min_cash = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("added", "place", "value", "rule", "cure"),
    [
        ("[mandate]\nmax_wieght = 0.1", "book.toml:12 mandate.max_wieght", "0.1", "unknown key", "'max_weight'?"),
        ("[mandte]\nmax_weight = 0.1", "book.toml:11 mandte", None, "unknown key", "did you mean 'mandate'?"),
        (
            "[mandate.weights.NVDA]\nmaximum = 0.1",
            "book.toml:12 mandate.weights.NVDA.maximum",
            "0.1",
            "unknown key",
            "did you mean 'max'?",
        ),
        ("[lots]\nmin_trad = 5", "book.toml:12 lots.min_trad", "5", "unknown key", "did you mean 'min_trade'?"),
        (
            "[mandate]\nmax_weight = 12",
            "book.toml:12 mandate.max_weight",
            "12",
            "must be at most 1",
            "write 12 % as 0.12",
        ),
        (
            "[mandate]\nmax_weight = 120",
            "book.toml:12 mandate.max_weight",
            "120",
            "must be at most 1",
            "lower it into the range",
        ),
        (
            "[mandate]\nmax_weight = -0.1",
            "book.toml:12 mandate.max_weight",
            "-0.1",
            "greater than or equal to 0",
            "raise it into the range",
        ),
        (
            "[mandate]\nmax_weight = nan",
            "book.toml:12 mandate.max_weight",
            "nan",
            "finite number",
            "write a finite number",
        ),
        (
            "[mandate]\nmin_expected_return = inf",
            "book.toml:12 mandate.min_expected_return",
            "inf",
            "must be a finite number",
            "write a finite number",
        ),
        (
            '[mandate]\nmax_weight = "0.1"',
            "book.toml:12 mandate.max_weight",
            "0.1",
            "must be a valid number",
            "write a number without quotes",
        ),
        (
            "[mandate]\nmax_weight = true",
            "book.toml:12 mandate.max_weight",
            "True",
            "must be a valid number",
            "write a number without quotes",
        ),
        (
            '[mandate]\nobjective = "max_return"',
            "book.toml:12 mandate.objective",
            "max_return",
            "must be one of 'return_minus_risk', 'minimum_variance', 'log', 'crra', 'return', 'mean_cvar', 'regret' or "
            "'mixture_variance'",
            "did you mean 'return'?",
        ),
        (
            "[mandate]\nrisk_aversion = -1",
            "book.toml:12 mandate.risk_aversion",
            "-1",
            "greater than or equal to 0",
            "raise it into the range",
        ),
        (
            "[mandate]\nmax_volatility = 0",
            "book.toml:12 mandate.max_volatility",
            "0",
            "greater than 0",
            "raise it into the range",
        ),
        (
            "[mandate]\nweights = 0.3",
            "book.toml:12 mandate.weights",
            "0.3",
            "must be a section with keys",
            "write a [section] with keys",
        ),
        (
            "[mandate.buckets.adopter]\nmin = 0.3\nmax = 0.2",
            "book.toml:11 mandate.buckets.adopter",
            None,
            "min = 0.3 is above max = 0.2",
            "lower min or raise max",
        ),
        ("[horizon]\nmonths = 0", "book.toml:12 horizon.months", "0", "greater than 0", "raise it into the range"),
        (
            "[costs]\ncommission_bps = 6000",
            "book.toml:12 costs.commission_bps",
            "6000",
            "must be at most 5000",
            "lower it into the range",
        ),
        (
            "[solver]\ntolerance = 0.1",
            "book.toml:12 solver.tolerance",
            "0.1",
            "must be at most 1e-06",
            "lower it into the range",
        ),
        (
            '[robust]\nset = "CVar"',
            "book.toml:12 robust.set",
            "CVar",
            "must be one of 'none', 'total_variation'",
            "known here: box, contamination, hull, kl",
        ),
        ('[robust]\nset = "KL"\nradius = 0.1', "book.toml:12 robust.set", "KL", "must be one of", "did you mean 'kl'?"),
        (
            '[robust]\nset = "box"\nradius = 1.5',
            "book.toml:11 robust",
            None,
            "radius = 1.5 of a 'box' set must lie in [0, 1]",
            "lower it",
        ),
        ("[robust]\nradius = 0.1", "book.toml:11 robust", None, "no meaning with set = 'none'", "or set it to 0"),
        (
            '[robust]\nset = "worst"\nradius = 0.1',
            "book.toml:11 robust",
            None,
            "no meaning with set = 'worst'",
            "remove it or set it to 0",
        ),
        (
            '[robust]\nset = "kl"\nradius = 1e-7',
            "book.toml:11 robust",
            None,
            "radius = 1e-07 of a 'kl' set is too small to be told from 0",
            "set it to 0, or to at least 0.000001",
        ),
        (
            "[mandate.groups.chips]",
            "book.toml:11 mandate.groups.chips",
            None,
            "states neither min nor max",
            "add one of them, or remove the section",
        ),
        (
            "[tables]\nholdings = ''",
            "book.toml:12 tables.holdings",
            None,
            "must name a file in visible characters",
            "write for example holdings.csv",
        ),
        (
            '[tables]\nfx = "\\u200B.csv"',
            "book.toml:12 tables.fx",
            None,
            "must name a file in visible characters",
            "or remove the key",
        ),
        ('[robust]\nset = "kl"\nradius = 99', "book.toml:11 robust", None, "beyond any probability", "set = 'worst'"),
        (
            '[groups]\nchips = "NVDA"',
            "book.toml:12 groups.chips",
            "NVDA",
            "must be a list of instruments or a table",
            'write for example ["NVDA", "AVGO"]',
        ),
        ("[groups]\nchips = [3]", "book.toml:12 groups.chips.0", "3", "must be a valid string", "write text in quotes"),
        (
            "[groups.chips]\nNVDA = 1.5",
            "book.toml:12 groups.chips.NVDA",
            "1.5",
            "must be at most 1",
            "lower it into the range",
        ),
        (
            "[scenarios.other]\nprobability = 1.2",
            "book.toml:12 scenarios.other.probability",
            "1.2",
            "must be at most 1",
            "lower it into the range",
        ),
        (
            "[scenarios.other]\nprobability = -0.2",
            "book.toml:12 scenarios.other.probability",
            "-0.2",
            "greater than or equal to 0",
            "raise it into the range",
        ),
        (
            '[scenarios.other]\nhypothesis = "generalizable"',
            "book.toml:11 scenarios.other.probability",
            None,
            "is required",
            "add it",
        ),
        (
            "[tables]\nholdings = 3",
            "book.toml:12 tables.holdings",
            "3",
            "must be a valid string",
            "write text in quotes",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_line_key_value_and_cure(
    added: str, place: str, value: str | None, rule: str, cure: str
) -> None:
    text = LEAST + added + "\n"  # the added section begins on line 11

    (breach,) = refused(text)

    shown = str(breach)
    assert shown.startswith(place + ":")
    assert breach.value == value
    assert rule in breach.rule
    assert cure in shown
    assert breach.cure


@pytest.mark.parametrize(
    ("old", "new", "place", "rule", "cure"),
    [
        ("as_of = 2026-11-20", 'as_of = "2026-11-20"', "book.toml:4 book.as_of", "valid date", "without quotes"),
        (
            "as_of = 2026-11-20",
            "as_of = 2026-11-20T10:00:00",
            "book.toml:4 book.as_of",
            "must be a valid date",
            "or a time",
        ),
        ("as_of = 2026-11-20\n", "", "book.toml:1 book.as_of", "is required", "add it"),
        ('"USD"', '"usd"', "book.toml:3 book.currency", "must match pattern", "three capital letters"),
        (
            "[scenarios.base]",
            '[tables.prices]\nurl = "sqlite:///a.db"\nquery = " "\n[scenarios.base]',
            "book.toml:8 tables.prices.query",
            "must not be blank",
            "write one select",
        ),
        ('"Least"', '""', "book.toml:2 book.name", "at least 1 character", "write something"),
        ("[scenarios.base]\nprobability = 1.0", "", "book.toml scenarios", "is required", "add it"),
        (
            "market_volatility = 0.2",
            "",
            "book.toml:9 risk",
            "source = 'exposures' also needs market_volatility",
            "add it to [risk]",
        ),
        (
            "market_volatility = 0.2",
            'source = "prices"',
            "book.toml:9 risk",
            "source = 'prices' also needs window_rows and periods_per_year",
            "add it to [risk]",
        ),
        (
            "market_volatility = 0.2",
            'source = "prices"\nwindow_rows = 60\nperiods_per_year = 252\nlate_listings = "beta"',
            "book.toml:9 risk",
            "also needs market_volatility",
            "add it to [risk]",
        ),
        (
            "market_volatility = 0.2",
            "market_volatility = 18",
            "book.toml:10 risk.market_volatility",
            "must be at most 3",
            "lower it",
        ),
        (
            "market_volatility = 0.2",
            'source = "prices"\nwindow_rows = 5\nperiods_per_year = 252',
            "book.toml:11 risk.window_rows",
            "greater than or equal to 20",
            "raise it into the range",
        ),
        (
            "market_volatility = 0.2",
            'source = "prices"\nwindow_rows = 60.5\nperiods_per_year = 252',
            "book.toml:11 risk.window_rows",
            "valid integer",
            "write a whole number without quotes",
        ),
    ],
)
def test_a_spoiled_required_setting_is_refused_where_it_stands(
    old: str, new: str, place: str, rule: str, cure: str
) -> None:
    assert old in LEAST

    (breach,) = refused(LEAST.replace(old, new))

    assert str(breach).startswith(place + ":")
    assert rule in breach.rule
    assert cure in str(breach)


def test_every_breach_of_the_settings_comes_at_once() -> None:
    text = LEAST.replace('"USD"', '"usd"') + '[mandate]\nmax_weight = 12\nmin_cahs = 0.1\n[robust]\nset = "CVar"\n'

    found = refused(text)

    assert [(breach.row, breach.column) for breach in found] == [
        (3, "book.currency"),
        (12, "mandate.max_weight"),
        (13, "mandate.min_cahs"),
        (15, "robust.set"),
    ]


def test_text_that_is_no_toml_is_refused_with_its_line() -> None:
    (breach,) = refused(LEAST.replace('"Least"', "Least"))

    assert (breach.table, breach.row) == ("book.toml", 2)
    assert "is not valid TOML" in breach.rule
    assert 'text needs "quotes"' in breach.cure


def test_a_key_written_twice_is_refused_with_its_line() -> None:
    (breach,) = refused(LEAST.replace('currency = "USD"', 'currency = "USD"\ncurrency = "EUR"'))

    assert breach.row in (3, 4)
    assert "is not valid TOML" in breach.rule


def test_a_mapping_is_held_to_the_same_contract_as_text() -> None:
    document: dict[str, Any] = tomllib.loads(LEAST)
    assert settings_from(document) == read_settings(LEAST)
    document["mandate"] = {"max_wieght": 0.1}

    with pytest.raises(BadInput, match=r"book.toml mandate.max_wieght: unknown key .*did you mean 'max_weight'\?"):
        settings_from(document)


@pytest.mark.parametrize(
    ("item", "path", "value"),
    [
        ("mandate.max_weight=0.2", ("mandate", "max_weight"), 0.2),
        (" mandate.max_weight = 0.2 ", ("mandate", "max_weight"), 0.2),
        ("mandate.max_weight=1", ("mandate", "max_weight"), 1.0),
        ("book.name=Other words", ("book", "name"), "Other words"),
        ('book.name="Other words"', ("book", "name"), "Other words"),
        ("mandate.objective=minimum_variance", ("mandate", "objective"), "minimum_variance"),
        ('mandate.weights."BRK.B".max=0.2', ("mandate", "weights", "BRK.B", "max"), 0.2),
        ("mandate.weights.NVDA.min=0.05", ("mandate", "weights", "NVDA", "min"), 0.05),
        ('mandate.groups."my chips".max=0.3', ("mandate", "groups", "my chips", "max"), 0.3),
        ("book.as_of=2027-01-31", ("book", "as_of"), dt.date(2027, 1, 31)),
        ('groups.chips=["NVDA", "AVGO"]', ("groups", "chips"), ["NVDA", "AVGO"]),
        ("scenarios.base.note=a=b", ("scenarios", "base", "note"), "a=b"),
        ("mandate.weights.'BRK.B'.max=0.2", ("mandate", "weights", "BRK.B", "max"), 0.2),
    ],
)
def test_a_what_if_replaces_one_key(item: str, path: tuple[str, ...], value: object) -> None:
    found: Any = read_settings(LEAST, overrides=[item])
    for part in path:
        found = found[part] if isinstance(found, dict) else getattr(found, part)

    assert found == value


def test_the_last_of_two_equal_what_ifs_counts() -> None:
    settings = read_settings(LEAST, overrides=["mandate.min_cash=0.1", "mandate.min_cash=0.2"])

    assert settings.mandate.min_cash == 0.2


def test_several_what_ifs_hold_together() -> None:
    settings = read_settings(LEAST, overrides=["robust.set=kl", "robust.radius=0.3"])

    assert (settings.robust.set, settings.robust.radius) == ("kl", 0.3)


@pytest.mark.parametrize(
    "item", ["mandate.max_weight", "=0.2", "", "mandate..max_weight=0.2", "mandate.=3", ".a=1", 'a."=1']
)
def test_a_what_if_of_wrong_syntax_is_refused_with_an_example(item: str) -> None:
    (breach,) = refused(LEAST, overrides=[item])

    assert (breach.table, breach.value) == ("--set", item)
    assert breach.rule == "must be section.key=value"
    assert breach.cure == "write for example mandate.max_weight=0.2"


def test_a_what_if_below_a_value_is_refused() -> None:
    (breach,) = refused(LEAST, overrides=["book.name.first=3"])

    assert (breach.table, breach.column) == ("--set", "book.name.first")
    assert "'name' is a value, not a section" in breach.rule
    assert breach.cure == "shorten the dotted name"


@pytest.mark.parametrize(
    ("item", "column", "cure"),
    [
        ("mandate.max_wieght=0.2", "mandate.max_wieght", "did you mean 'max_weight'?"),
        ("mandat.max_weight=0.2", "mandat", "did you mean 'mandate'?"),
        ("mandate.max_weight=20", "mandate.max_weight", "write 20 % as 0.2"),
        ("mandate.max_weight=a lot", "mandate.max_weight", "write a number without quotes"),
    ],
)
def test_a_what_if_is_held_to_the_contract_like_the_file(item: str, column: str, cure: str) -> None:
    (breach,) = refused(LEAST, overrides=[item])

    assert (breach.column, breach.cure) == (column, cure)


def test_all_wrong_what_ifs_are_told_at_once() -> None:
    assert [breach.value for breach in refused(LEAST, overrides=["one", "two"])] == ["one", "two"]


def test_an_as_of_date_replaces_that_of_the_book_and_of_what_ifs() -> None:
    settings = read_settings(LEAST, overrides=["book.as_of=2027-01-01"], as_of=dt.date(2028, 1, 1))

    assert settings.book.as_of == dt.date(2028, 1, 1)


def test_the_schema_says_what_it_is_and_is_lawful() -> None:
    made = settings_schema()

    Draft202012Validator.check_schema(made)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["title"] == "Book"
    assert settings_schema() == made
    assert set(made["properties"]) == set(Settings.model_fields)


def dates_as_text(document: Any) -> Any:
    """TOML's dates as an editor hands them to a JSON Schema."""
    if isinstance(document, dict):
        return {key: dates_as_text(value) for key, value in document.items()}
    return document.isoformat() if isinstance(document, dt.date) else document


def test_the_schema_accepts_the_sample_book(root: Path) -> None:
    document = dates_as_text(
        tomllib.loads((root / "tests" / "plain_books" / "listed" / "book.toml").read_text(encoding="utf-8"))
    )

    Draft202012Validator(settings_schema()).validate(document)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("[mandate]\nmax_wieght = 0.1", "max_wieght"),
        ("[mandte]\nmax_weight = 0.1", "mandte"),
        ("[mandate.weights.NVDA]\nmaximum = 0.1", "maximum"),
        ("[mandate]\nmax_weight = 12", "12 is greater than the maximum"),
        ('[mandate]\nmax_weight = "0.1"', "is not of type 'number'"),
        ('[robust]\nset = "CVar"', "'CVar' is not one of"),
        ("[groups.chips]\nNVDA = 1.5", "is not valid under any of the given schemas"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(added: str, said: str) -> None:
    document = dates_as_text(tomllib.loads(LEAST + added))

    assert refused(LEAST + added)
    with pytest.raises(ValidationError, match=said):
        Draft202012Validator(settings_schema()).validate(document)


def test_the_schema_wants_what_the_reader_wants() -> None:
    with pytest.raises(ValidationError, match="'scenarios' is a required property"):
        Draft202012Validator(settings_schema()).validate({"book": dates_as_text(tomllib.loads(LEAST)["book"])})


TOML = {
    "chips = [1, 2\nnext = 3": (2, "close the bracket, in this line or above"),
    "[mandate\nmax_weight = 0.1": (1, "close the bracket, in this line or above"),
    "chips = [1, 2": (1, "close the bracket, in this line or above"),
    'name = "Least\nnext = 3': (1, "close the quote, in this line or above"),
    "name = 'Least": (1, "close the quote, in this line or above"),
    "max_weight = 25%": (1, "write 0.25"),
    "max_weight = 12.5 %  # of the account": (1, "write 0.125"),
    "max_weight = 0,25": (1, "write 0.25"),
    "as_of = 20.11.2026": (1, "write 2026-11-20"),
    "as_of = 1.2.2026": (1, "write 2026-02-01"),
    "[mandate]\n[mandate]": (2, "it is there twice: merge the two"),
    "one = 1\none = 2": (2, "it is there twice: merge the two"),
    "one = {two = 1, two = 2}": (1, "it is there twice: merge the two"),
    "name = Least": (1, 'correct the line; text needs "quotes"'),
}


@pytest.mark.parametrize("text", TOML)
def test_text_that_is_no_toml_is_cured_by_its_cause(text: str) -> None:
    row, cure = TOML[text]

    (breach,) = refused(text)

    assert (breach.row, breach.cure) == (row, cure)
    assert breach.rule.startswith("is not valid TOML: ")
    assert "(at " not in str(breach)


@pytest.mark.parametrize("options", [{}, {"overrides": ["book=3"]}])
def test_a_value_where_a_section_belongs_is_refused_under_an_as_of_date(options: dict[str, Any]) -> None:
    text = LEAST if options else "book = 3\n" + LEAST.partition("\n\n")[2]

    (breach,) = refused(text, as_of=dt.date(2027, 1, 1), **options)

    assert (breach.table, breach.column) == ("--set" if options else "book.toml", "book")
    assert (breach.rule, breach.cure) == ("must be a section with keys", "write a [section] with keys")


def test_a_book_without_risk_has_none_and_no_source_of_it_is_guessed() -> None:
    assert read_settings(LEAST.partition("[risk]")[0]).risk.source == "none"


@pytest.mark.parametrize(
    ("item", "cure"),
    [
        ("max_weight=0.3", "did you mean 'mandate.max_weight'?"),
        ("max_wieght=0.3", "did you mean 'mandate.max_weight'?"),
        ("time_limit_seconds=3", "did you mean 'lots.time_limit_seconds' or 'solver.time_limit_seconds'?"),
        ("risk.radius=0.3", "did you mean 'robust.radius'?"),
        ("mandate.groups.chips.mx=0.3", "did you mean 'max'?"),
    ],
)
def test_a_what_if_of_another_section_is_told_where_the_key_is(item: str, cure: str) -> None:
    (breach,) = refused(LEAST, overrides=[item])

    assert (breach.table, breach.column, breach.rule) == ("--set", item.partition("=")[0], "unknown key")
    assert breach.cure == cure


@pytest.mark.parametrize(
    ("what_if", "left"),
    [
        ("robust.set=none", ("none", 0.0, "fixed", None)),
        ("robust.set=worst", ("worst", 0.0, "fixed", None)),
        ("robust.schedule=fixed", ("total_variation", 0.0, "fixed", None)),
        ("robust.caution=0.1", ("total_variation", 0.0, "caution", 0.1)),
    ],
)
def test_another_set_or_schedule_sets_aside_how_far_the_last_one_reached(
    what_if: str, left: tuple[object, ...]
) -> None:
    text = f'{LEAST}\n[robust]\nset = "total_variation"\nschedule = "caution"\ncaution = 0.3\n'

    robust = read_settings(text, overrides=[what_if]).robust

    assert (robust.set, robust.radius, robust.schedule, robust.caution) == left


def test_thresholds_of_a_gain_are_not_read_where_nothing_is_gained() -> None:
    document = {"mandate": {"objective": "minimum_variance"}, "trading": {"min_gain_bps": 5, "indifference_bps": 1}}

    assert [(key, words) for key, _, words in unused_keys(document)] == [
        (("trading", "min_gain_bps"), "objective = 'minimum_variance'")
    ]


def test_a_what_if_sets_aside_what_it_leaves_without_effect() -> None:
    text = LEAST + "[mandate]\nrisk_aversion = 2.0\n"
    what_if = ["risk.source=covariance", "mandate.objective=minimum_variance"]

    settings = read_settings(text, overrides=what_if)

    assert settings.risk.market_volatility is None
    assert "risk_aversion" not in settings.mandate.model_fields_set


def test_the_schema_wants_a_limit_in_every_range() -> None:
    document = dates_as_text(tomllib.loads(LEAST + "[mandate.groups.chips]"))

    with pytest.raises(ValidationError, match=r"should be non-empty|does not have enough properties"):
        Draft202012Validator(settings_schema()).validate(document)
