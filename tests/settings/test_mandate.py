"""What a mandate may wish for, shocks, costs and when to trade: accepted, refused, and set from outside."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from allocator.book.loading import load
from allocator.errors import BadInput, Breach
from allocator.settings.mandate import stated_rules
from allocator.settings.reading import read_settings
from tests.make_schemas import settings_schema
from tests.spoiled_books import add_column, told

if TYPE_CHECKING:
    from tests.conftest import Folder

LEAST = """[book]
name = "Least"
currency = "USD"
as_of = 2026-11-20
[scenarios.base]
probability = 1.0
[risk]
market_volatility = 0.2
"""
MANDATE = """[mandate]
locked = ["NVDA"]
forbidden = ["CRM"]
max_weight = 0.12
max_turnover = 0.35
min_cash = 0.02
max_participation = 0.1
max_volatility = 0.25
max_tracking_error = 0.05
min_expected_return = -0.1
min_worst_scenario_return = -0.2
min_worst_case_return = -0.05
min_worst_case_active_return = -0.05
largest = {count = 5, max = 0.5}
[mandate.weights.NVDA]
min = 0.05
[mandate.weights."BRK.B"]
max = 0.05
[mandate.ratios.balance]
group = "capital_intensity"
to = "efficiency"
min = 0
max = 2.0
[mandate.exposures.beta]
min = -0.5
max = 1.1
[mandate.exposures.carbon]
max = 100
[mandate.max_stress_loss]
crash = 0.2
[mandate.tiers]
max_turnover = 9
largest = 5
"ratios.balance" = 3
weights.NVDA = 2
weights."BRK.B" = 4
'exposures.beta' = 1
max_stress_loss.crash = 6
"""
SHOCKS = """[shocks.crash]
market = -0.2
buckets = {efficiency = -0.1}
instruments = {NVDA = -0.4}
note = "a bad month"
"""
OTHERS = """[costs]
impact = 0.1
ticket = 2
[robust]
return_error = "ellipsoid"
return_error_size = 0.3
[trading]
min_gain_bps = 5
min_share = 0.6
cost_factor = 3
indifference_bps = 1
"""


def refused(text: str, **options: Any) -> list[Breach]:
    with pytest.raises(BadInput) as error:
        read_settings(LEAST + text, **options)
    return list(error.value.breaches)


def test_every_new_key_is_read_in_its_unit() -> None:
    settings = read_settings(LEAST + MANDATE + SHOCKS + OTHERS)
    mandate, shock = settings.mandate, settings.shocks["crash"]

    assert (mandate.locked, mandate.forbidden) == (["NVDA"], ["CRM"])
    assert mandate.largest is not None
    assert (mandate.largest.count, mandate.largest.max) == (5, 0.5)
    assert (mandate.max_participation, mandate.max_tracking_error) == (0.1, 0.05)
    floors = (mandate.min_worst_scenario_return, mandate.min_worst_case_return, mandate.min_worst_case_active_return)
    assert floors == (-0.2, -0.05, -0.05)
    ratio = mandate.ratios["balance"]
    assert (ratio.group, ratio.to, ratio.min, ratio.max) == ("capital_intensity", "efficiency", 0.0, 2.0)
    assert (mandate.exposures["beta"].min, mandate.exposures["beta"].max) == (-0.5, 1.1)
    assert mandate.max_stress_loss == {"crash": 0.2}
    assert (shock.market, shock.buckets, shock.instruments) == (-0.2, {"efficiency": -0.1}, {"NVDA": -0.4})
    assert shock.note == "a bad month"
    assert (settings.costs.impact, settings.costs.ticket) == (0.1, 2.0)
    assert (settings.robust.return_error, settings.robust.return_error_size) == ("ellipsoid", 0.3)
    trading = settings.trading
    assert (trading.min_gain_bps, trading.min_share, trading.cost_factor, trading.indifference_bps) == (5, 0.6, 3, 1)


def test_what_is_not_stated_changes_nothing() -> None:
    settings = read_settings(LEAST)
    mandate, trading = settings.mandate, settings.trading

    assert stated_rules(mandate) == ()
    assert (mandate.locked, mandate.forbidden, mandate.ratios, mandate.exposures) == ([], [], {}, {})
    assert (mandate.largest, mandate.max_participation, mandate.max_tracking_error) == (None, None, None)
    assert (mandate.max_stress_loss, mandate.tiers, settings.shocks) == ({}, {}, {})
    assert (settings.costs.impact, settings.costs.ticket) == (0.0, 0.0)
    assert (settings.robust.return_error, settings.robust.return_error_size) == ("none", 0.0)
    assert (trading.min_gain_bps, trading.min_share, trading.cost_factor, trading.indifference_bps) == (
        None,
        None,
        2,
        0,
    )


def test_a_tier_has_one_name_however_it_is_quoted() -> None:
    settings = read_settings(LEAST + MANDATE + SHOCKS)

    assert settings.mandate.tiers == {
        "max_turnover": 9, "largest": 5, "ratios.balance": 3, "weights.NVDA": 2, "weights.BRK.B": 4,
        "exposures.beta": 1, "max_stress_loss.crash": 6,
    }  # fmt: skip
    assert set(settings.mandate.tiers) <= set(stated_rules(settings.mandate))


@pytest.mark.parametrize("key", ['"weights.BRK.B"', "weights.BRK.B", 'weights."BRK.B"', "'weights.\"BRK.B\"'"])
def test_a_name_with_a_point_may_be_quoted_in_any_way(key: str) -> None:
    settings = read_settings(LEAST + f"[mandate.tiers]\n{key} = 2\n")

    assert settings.mandate.tiers == {"weights.BRK.B": 2}


def test_the_schema_accepts_every_new_key_and_both_forms_of_a_tier() -> None:
    document = tomllib.loads(LEAST + MANDATE + SHOCKS + OTHERS)
    document["book"]["as_of"] = "2026-11-20"

    Draft202012Validator(settings_schema()).validate(document)


@pytest.mark.parametrize(
    ("added", "told_first"),
    [
        ('[mandate]\nlocked = "NVDA"', "10 mandate.locked: must be a valid list (got 'NVDA'); write for "),
        ("[mandate]\nlocked = [3]", "10 mandate.locked.0: must be a valid string (got '3'); write text in"),
        ("[mandate]\nforbiden = []", "10 mandate.forbiden: unknown key; did you mean 'forbidden'?"),
        ("[mandate]\nmax_participation = 0", "10 mandate.max_participation: must be greater than 0 (got '0')"),
        ("[mandate]\nmax_participation = 10.5", "10 mandate.max_participation: must be at most 10 (got"),
        ("[mandate]\nmax_tracking_error = 5", "10 mandate.max_tracking_error: must be at most 3 (got '5')"),
        ("[mandate]\nmax_tracking_error = -1", "10 mandate.max_tracking_error: must be greater than 0"),
        ("[mandate]\nmin_worst_scenario_return = -20", "10 mandate.min_worst_scenario_return: must be great"),
        ("[mandate]\nmin_worst_case_return = 11", "10 mandate.min_worst_case_return: must be at most 10"),
        ("[mandate]\nmin_worst_case_active_return = nan", "10 mandate.min_worst_case_active_return: must be a"),
        ("[mandate.largest]\ncount = 0\nmax = 0.5", "10 mandate.largest.count: must be greater than or equal"),
        ("[mandate.largest]\ncount = 2.5\nmax = 0.5", "10 mandate.largest.count: must be a valid integer"),
        ("[mandate.largest]\ncount = 5\nmax = 50", "11 mandate.largest.max: must be at most 1 (got '50'); wr"),
        ("[mandate.largest]\ncount = 5", "9 mandate.largest.max: is required; add it"),
        ('[mandate.ratios.r]\ngroup = "a"\nmax = 2', "9 mandate.ratios.r.to: is required; add it"),
        ('[mandate.ratios.r]\ngroup = "a"\nto = "b"', "9 mandate.ratios.r: states neither min nor max; add one"),
        ('[mandate.ratios.r]\ngroup = "a"\nto = "a"\nmax = 2', "9 mandate.ratios.r: compares 'a' with itself; "),
        ('[mandate.ratios.r]\ngroup = "a"\nto = "b"\nmax = 0', "12 mandate.ratios.r.max: must be greater than 0"),
        ('[mandate.ratios.r]\ngroup = "a"\nto = "b"\nmin = -1', "12 mandate.ratios.r.min: must be greater than"),
        ('[mandate.ratios.r]\ngroup = "a"\nto = "b"\nmin = 3\nmax = 2', "9 mandate.ratios.r: min = 3 is above"),
        ("[mandate.exposures.beta]", "9 mandate.exposures.beta: states neither min nor max; add one of them"),
        ("[mandate.exposures.beta]\nmin = 2\nmax = 1", "9 mandate.exposures.beta: min = 2 is above max = 1; lo"),
        ("[mandate.exposures.beta]\nmin = -inf", "10 mandate.exposures.beta.min: must be a finite number"),
        ("[mandate.max_stress_loss]\ncrash = 1.5", "10 mandate.max_stress_loss.crash: must be at most 1"),
        ("[mandate.max_stress_loss]\ncrash = -0.2", "10 mandate.max_stress_loss.crash: must be greater than or"),
        ("[mandate.tiers]\nmax_weight = 0", "10 mandate.tiers.max_weight: must be greater than or equal to 1"),
        ("[mandate.tiers]\nmax_weight = 10", "10 mandate.tiers.max_weight: must be at most 9 (got '10'); lower"),
        ("[mandate.tiers]\nweights.NVDA = true", "10 mandate.tiers.\"weights.NVDA\": must be a valid integer"),
        ("[mandate.tiers.weights]\nNVDA = 1.5", "10 mandate.tiers.\"weights.NVDA\": must be a valid integer"),
        ('[mandate.tiers]\n"weights.A" = 1\nweights.A = 2', "9 mandate.tiers: 'weights.A' has a priority twice; "),
        ("[mandate]\ntiers = 3", "10 mandate.tiers: must be a section with keys (got '3'); write a [section]"),
        ("[shocks.x]", "9 shocks.x: moves nothing; state what it moves, such as market, buckets, instruments,"),
        ("[shocks.x]\nmarket = -20", "10 shocks.x.market: must be greater than or equal to -1 (got '-20'); "),
        ("[shocks.x]\nmarket = 11", "10 shocks.x.market: must be at most 10 (got '11'); lower it"),
        ("[shocks.x.buckets]\nadopter = -2", "10 shocks.x.buckets.adopter: must be greater than or equal to -1"),
        ("[shocks.x.instruments]\nNVDA = nan", "10 shocks.x.instruments.NVDA: must be a finite number"),
        ("[shocks.x]\nmarkt = -0.2", "10 shocks.x.markt: unknown key (got '-0.2'); did you mean 'market'?"),
        ("[costs]\nimpact = 11", "10 costs.impact: must be at most 10 (got '11'); lower it into the range"),
        ("[costs]\nticket = -1", "10 costs.ticket: must be greater than or equal to 0 (got '-1'); raise it"),
        ('[robust]\nreturn_error = "bx"', "10 robust.return_error: must be one of 'none', 'box', 'ellipsoid' or "),
        ('[robust]\nreturn_error = "budget"\nreturn_error_size = 1', "9 robust: return_error_names and "),
        ('[robust]\nreturn_error_names = 2', "9 robust: return_error_names and return_error = 'budget' go together"),
        ('[robust]\nreturn_error = "box"', "9 robust: return_error = 'box' needs a return_error_size above 0; "),
        ("[robust]\nreturn_error_size = 1", "9 robust: return_error_size = 1 has no meaning with return_error ="),
        ("[robust]\nreturn_error_size = 11", "10 robust.return_error_size: must be at most 10 (got '11'); lower"),
        ("[trading]\nmin_gain_bps = -1", "10 trading.min_gain_bps: must be greater than or equal to 0"),
        ("[trading]\nmin_share = 60", "10 trading.min_share: must be at most 1 (got '60'); write 60 % as 0.6"),
        ("[trading]\ncost_factor = 0.5", "10 trading.cost_factor: must be greater than or equal to 1"),
        ("[trading]\ncost_factor = 11", "10 trading.cost_factor: must be at most 10 (got '11'); lower it"),
        ("[trading]\nindifference_bps = 101", "10 trading.indifference_bps: must be at most 100 (got '101')"),
        ("[trading]\nmin_gain = 1", "10 trading.min_gain: unknown key (got '1'); did you mean 'min_gain_bps'?"),
    ],
)  # fmt: skip
def test_a_wrong_wish_is_refused_with_line_key_value_and_cure(added: str, told_first: str) -> None:
    (breach,) = refused(added + "\n")  # the added section begins on line 9

    assert str(breach).startswith(f"book.toml:{told_first}")
    assert breach.cure


@pytest.mark.parametrize(
    ("item", "path", "value"),
    [
        ("mandate.largest.count=3", ("mandate", "largest", "count"), 3),
        ("mandate.tiers.max_turnover=1", ("mandate", "tiers", "max_turnover"), 1),
        ("mandate.tiers.weights.NVDA=7", ("mandate", "tiers", "weights.NVDA"), 7),
        ('mandate.tiers."weights.NVDA"=7', ("mandate", "tiers", "weights.NVDA"), 7),
        ("mandate.tiers.ratios.balance=7", ("mandate", "tiers", "ratios.balance"), 7),
        ('mandate.tiers.weights."BRK.B"=7', ("mandate", "tiers", "weights.BRK.B"), 7),
        ("mandate.ratios.balance.max=3", ("mandate", "ratios", "balance", "max"), 3.0),
        ("mandate.exposures.beta.min=-1", ("mandate", "exposures", "beta", "min"), -1.0),
        ("mandate.max_stress_loss.crash=0.3", ("mandate", "max_stress_loss", "crash"), 0.3),
        ('mandate.locked=["AVGO"]', ("mandate", "locked"), ["AVGO"]),
        ("mandate.forbidden=[]", ("mandate", "forbidden"), []),
        ("shocks.crash.market=-0.3", ("shocks", "crash", "market"), -0.3),
        ("shocks.x.market=-0.2", ("shocks", "x", "market"), -0.2),
        ("shocks.crash.instruments.NVDA=-0.5", ("shocks", "crash", "instruments", "NVDA"), -0.5),
        ("costs.impact=0.2", ("costs", "impact"), 0.2),
        ("trading.cost_factor=1", ("trading", "cost_factor"), 1.0),
        ("robust.return_error=box", ("robust", "return_error"), "box"),
        ("robust.return_error=none", ("robust", "return_error_size"), 0.0),
    ],
)
def test_a_what_if_replaces_one_nested_key(item: str, path: tuple[str, ...], value: object) -> None:
    before = read_settings(LEAST + MANDATE + SHOCKS + OTHERS)
    found: Any = read_settings(LEAST + MANDATE + SHOCKS + OTHERS, overrides=[item])
    assert set(found.mandate.tiers) == set(before.mandate.tiers)
    for part in path:
        found = found[part] if isinstance(found, dict) else getattr(found, part)

    assert found == value


def test_a_wrong_tier_of_a_what_if_is_blamed_on_the_command_line() -> None:
    (breach,) = refused("[mandate.tiers]\nmax_weight = 3\n", overrides=["mandate.tiers.weights.NVDA=12"])

    assert str(breach).startswith('--set mandate.tiers."weights.NVDA": must be at most 9')


def test_minimum_variance_sets_aside_what_returns_may_be_wrong_by() -> None:
    settings = read_settings(LEAST + OTHERS, overrides=["mandate.objective=minimum_variance"])

    assert (settings.robust.return_error, settings.robust.return_error_size) == ("none", 0.0)


def test_rules_are_named_by_their_keys_in_the_order_of_the_contract() -> None:
    assert stated_rules(read_settings(LEAST + MANDATE + SHOCKS).mandate) == (
        "max_weight", "min_cash", "max_turnover", "max_participation", "min_expected_return",
        "min_worst_scenario_return", "min_worst_case_return", "min_worst_case_active_return", "max_volatility",
        "max_tracking_error", "largest", "locked", "forbidden", "weights.NVDA", "weights.BRK.B", "ratios.balance",
        "exposures.beta", "exposures.carbon", "max_stress_loss.crash",
    )  # fmt: skip


def test_a_book_may_state_all_of_it(listed: Folder) -> None:
    text = (listed.path / "book.toml").read_text(encoding="utf-8")
    start, end = text.index("[mandate]"), text.index("[groups]")
    asked = MANDATE.replace('[mandate.weights."BRK.B"]\nmax = 0.05\n', "").replace('weights."BRK.B" = 4\n', "")
    others = OTHERS.replace("[costs]\nimpact = 0.1\nticket = 2\n[robust]\n", "").partition("[trading]")
    kept = text[end:].replace("[robust]", f"[robust]\n{others[0]}")
    kept = kept.replace("[costs]", "[costs]\nimpact = 0.1\nticket = 2")
    (listed.path / "book.toml").write_text(text[:start] + asked + SHOCKS + kept + "".join(others[1:]), encoding="utf-8")
    names = [row[0] for row in listed.rows("exposures.csv")[1:-1]]
    add_column(listed, "exposures.csv", "average_daily_volume", ["1e6"] * len(names) + [""])
    listed.write("factors.csv", [["instrument", "carbon"], *([name, "12.5"] for name in names)])

    book = load(listed.path)

    assert book.factors is not None
    assert book.factors.loc["META", "carbon"] == 12.5
    assert book.settings.mandate.tiers["weights.NVDA"] == 2
    assert book.settings.robust.return_error == "ellipsoid"


def test_minimum_variance_refuses_an_error_of_returns(listed: Folder) -> None:
    listed.replace("book.toml", '"return_minus_risk"', '"minimum_variance"')
    listed.replace("book.toml", "risk_aversion = 1.5", "#")
    listed.replace("book.toml", "[robust]", '[robust]\nreturn_error = "box"\nreturn_error_size = 0.5')

    why = "has no effect with objective = 'minimum_variance'"
    assert told(listed, overrides=["robust.set=none", "robust.radius=0"]) == [
        f"book.toml:87 robust.return_error: {why} (got 'box'); remove it",
        f"book.toml:88 robust.return_error_size: {why} (got '0.5'); remove it",
    ]


@pytest.mark.parametrize("floor", ["min_worst_case_return", "min_worst_case_active_return"])
def test_minimum_variance_takes_a_set_for_the_sake_of_a_worst_case_floor(listed: Folder, floor: str) -> None:
    listed.replace("book.toml", '"return_minus_risk"', f'"minimum_variance"\n{floor} = -0.1')
    listed.replace("book.toml", "risk_aversion = 1.5", "#")

    assert load(listed.path).settings.robust.set == "total_variation"
