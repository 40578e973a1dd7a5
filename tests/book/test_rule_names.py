"""Rules, tiers and shocks about nothing: each name that matches nothing is refused where it stands, with a cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocator.book.loading import load
from tests.spoiled_books import add, told, with_line

if TYPE_CHECKING:
    from tests.conftest import Folder

CASH = "cash has rules of its own"
INSTEAD = "use mandate.min_cash and mandate.max_cash"


@pytest.mark.parametrize(
    ("key", "value", "rest"),
    [
        ("locked", '["NVDIA"]', "no such instrument in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?"),
        ("forbidden", '["CRVW"]', "no such instrument in exposures.csv (got 'CRVW'); did you mean 'CRWV'?"),
        ("locked", '["CRM", "CRM"]', "is named twice (got 'CRM'); name it once"),
        ("forbidden", '["CRM", "CRM"]', "is named twice (got 'CRM'); name it once"),
        ("locked", '["USD"]', f"{CASH} (got 'USD'); {INSTEAD}"),
        ("forbidden", '["USD"]', f"{CASH} (got 'USD'); {INSTEAD}"),
    ],
)
def test_what_is_not_traded_or_not_held_must_be_there(listed: Folder, key: str, value: str, rest: str) -> None:
    listed.replace("book.toml", "[mandate]\n", f"[mandate]\n{key} = {value}\n")

    assert told(listed) == [f"book.toml:{with_line(listed, f'{key} =')} mandate.{key}: {rest}"]


@pytest.mark.parametrize(
    ("added", "written", "key"),
    [
        ("[groups.safe]\nUSD = 1.0\nNVDA = 0.5", "USD = 1.0", "groups.safe.USD"),
        ("[mandate.weights.USD]\nmax = 0.1", "[mandate.weights.USD]", "mandate.weights.USD"),
        ("[mandate.issuers.Treasury]\nmax = 0.1", "[mandate.issuers.Treasury]", "mandate.issuers.Treasury"),
    ],
)
def test_cash_counts_in_no_rule_but_its_own(listed: Folder, added: str, written: str, key: str) -> None:
    listed.cell("exposures.csv", "USD", "issuer", "Treasury")
    add(listed, added)

    value = key.rpartition(".")[2]
    assert told(listed) == [f"book.toml:{with_line(listed, written)} {key}: {CASH} (got '{value}'); {INSTEAD}"]


def test_a_group_that_lists_cash_is_told_so_and_works_without_it(listed: Folder) -> None:
    listed.replace("book.toml", 'chips = ["NVDA", ', 'chips = ["USD", "NVDA", ')

    assert told(listed) == [f"book.toml:{with_line(listed, 'chips =')} groups.chips: {CASH} (got 'USD'); {INSTEAD}"]
    listed.replace("book.toml", '"USD", "NVDA", ', '"NVDA", ')
    assert load(listed.path).settings.groups["chips"] == ["NVDA", "AVGO", "TSM"]


def test_a_name_cannot_be_both_locked_and_forbidden(listed: Folder) -> None:
    listed.replace("book.toml", "[mandate]\n", '[mandate]\nlocked = ["CRM", "VST"]\nforbidden = ["ORCL", "VST"]\n')

    assert told(listed) == [
        f"book.toml:{with_line(listed, 'forbidden =')} mandate.forbidden: is locked too: it can neither be traded nor "
        "stay (got 'VST'); remove it from locked or from forbidden"
    ]


@pytest.mark.parametrize(
    ("group", "to", "key", "rest"),
    [
        ("chip", "efficiency", "group", "no such bucket or group (got 'chip'); did you mean 'chips'?"),
        ("chips", "efficency", "to", "no such bucket or group (got 'efficency'); did you mean 'efficiency'?"),
        ("chips", "cash", "to", f"{CASH} (got 'cash'); {INSTEAD}"),
        ("adopter", "USD", "to", "no such bucket or group (got 'USD'); known here: adopter, capital_intensity, chips, "
         "committed_capacity, efficiency, neutral, power"),
    ],
)  # fmt: skip
def test_a_ratio_is_of_known_buckets_and_groups(listed: Folder, group: str, to: str, key: str, rest: str) -> None:
    add(listed, f'[mandate.ratios.r]\ngroup = "{group}"\nto = "{to}"\nmax = 2.0')

    assert told(listed) == [f"book.toml:{with_line(listed, f'{key} =')} mandate.ratios.r.{key}: {rest}"]


def test_a_ratio_of_a_name_that_is_a_bucket_and_a_group_is_refused(listed: Folder) -> None:
    add(listed, '[groups.adopter]\nNVDA = 0.5\n[mandate.ratios.r]\ngroup = "adopter"\nto = "chips"\nmax = 2.0')

    assert told(listed) == [
        f"book.toml:{with_line(listed, 'group =')} mandate.ratios.r.group: is a bucket and a group of [groups] "
        "(got 'adopter'); give the group another name"
    ]


def test_a_ratio_of_what_nothing_counts_towards_is_refused(listed: Folder) -> None:
    listed.cell("exposures.csv", "AMZN", "bucket", "adopter")
    add(listed, '[groups.none]\nNVDA = 0.0\n[mandate.ratios.r]\ngroup = "neutral"\nto = "none"\nmax = 2.0')

    rule = "nothing in this book counts towards it"
    assert told(listed) == [
        f"book.toml:{with_line(listed, 'group =')} mandate.ratios.r.group: {rule} (got 'neutral'); "
        "correct the labels and shares of exposures.csv, or remove the rule",
        f"book.toml:{with_line(listed, 'to =')} mandate.ratios.r.to: {rule} (got 'none'); "
        "give a member a share above 0, or remove the rule",
    ]


@pytest.mark.parametrize("pair", [("capital_intensity", "efficiency"), ("chips", "adopter"), ("power", "chips")])
def test_a_ratio_may_mix_buckets_and_groups(listed: Folder, pair: tuple[str, str]) -> None:
    add(listed, f'[mandate.ratios.r]\ngroup = "{pair[0]}"\nto = "{pair[1]}"\nmin = 0.1\nmax = 2.0')

    assert load(listed.path).settings.mandate.ratios["r"].max == 2.0


UNSTATED = "the mandate states no such rule"
ADD_IT = "state it under [mandate], or remove its priority"


@pytest.mark.parametrize(
    ("key", "rest"),
    [
        ("max_turnovr", f"mandate.tiers.max_turnovr: {UNSTATED} (got 'max_turnovr'); did you mean 'max_turnover'?"),
        ("max_volatility", f"mandate.tiers.max_volatility: {UNSTATED} (got 'max_volatility'); {ADD_IT}"),
        ("min_expected_return", f"mandate.tiers.min_expected_return: {UNSTATED} (got 'min_expected_return'); {ADD_IT}"),
        ("max_participation", f"mandate.tiers.max_participation: {UNSTATED} (got 'max_participation'); {ADD_IT}"),
        ("max_volatilty", f"mandate.tiers.max_volatilty: {UNSTATED} (got 'max_volatilty'); "
         "did you mean 'max_volatility'?"),
        ("largest", f"mandate.tiers.largest: {UNSTATED} (got 'largest'); {ADD_IT}"),
        ("weights.NVDIA", f"mandate.tiers.\"weights.NVDIA\": {UNSTATED} (got 'weights.NVDIA'); "
         "did you mean 'weights.NVDA'?"),
        ("weights", f"mandate.tiers.weights: {UNSTATED} (got 'weights'); did you mean 'weights.NVDA'?"),
        ("weights.NVDA.min", f"mandate.tiers.\"weights.NVDA.min\": {UNSTATED} (got 'weights.NVDA.min'); "
         "did you mean 'weights.NVDA'?"),
        ('"groups.chip"', f"mandate.tiers.\"groups.chip\": {UNSTATED} (got 'groups.chip'); "
         "did you mean 'groups.chips'?"),
        ("objective", f"mandate.tiers.objective: {UNSTATED} (got 'objective'); {ADD_IT}"),
        ("locked", "mandate.tiers.locked: is always hard: it cannot be relaxed (got 'locked'); remove its priority"),
        ("forbidden", "mandate.tiers.forbidden: is always hard: it cannot be relaxed (got 'forbidden'); "
         "remove its priority"),
        ("tradable_from", "mandate.tiers.tradable_from: is always hard: it cannot be relaxed (got 'tradable_from'); "
         "remove its priority"),
    ],
)  # fmt: skip
def test_a_tier_belongs_to_a_stated_rule(listed: Folder, key: str, rest: str) -> None:
    add(listed, f"[mandate.tiers]\n{key} = 3")

    assert told(listed) == [f"book.toml:{with_line(listed, f'{key} = 3')} {rest}"]


def test_a_rule_that_is_not_stated_is_not_taken_for_its_neighbour(listed: Folder) -> None:
    listed.replace("book.toml", "max_cash = 0.10", "#")
    add(listed, "[mandate.tiers]\nmax_cash = 3")

    (only,) = told(listed)
    assert only.endswith(f"mandate.tiers.max_cash: {UNSTATED} (got 'max_cash'); {ADD_IT}")


def test_every_kind_of_stated_rule_may_have_a_tier(listed: Folder) -> None:
    add(
        listed,
        "[mandate.issuers.NVIDIA]\nmax = 0.2\n[mandate.tiers]\nmax_weight = 1\nmax_issuer_weight = 2\nmin_cash = 3",
    )
    add(listed, 'max_cash = 4\n"buckets.efficiency" = 5\n"groups.chips" = 6\n"weights.NVDA" = 7\n"issuers.NVIDIA" = 8')

    assert len(load(listed.path).settings.mandate.tiers) == 8


def test_a_tier_of_a_what_if_is_held_to_the_rules_stated(listed: Folder) -> None:
    assert load(listed.path, overrides=["mandate.tiers.weights.NVDA=2"]).settings.mandate.tiers == {"weights.NVDA": 2}
    assert told(listed, overrides=["mandate.tiers.weights.CRM=2"])[0].startswith(
        f"--set mandate.tiers.\"weights.CRM\": {UNSTATED} (got 'weights.CRM')"
    )


@pytest.mark.parametrize(
    ("added", "line", "rest"),
    [
        ("[shocks.x.buckets]\nadopters = -0.1", "adopters",
         "shocks.x.buckets.adopters: no such bucket (got 'adopters'); did you mean 'adopter'?"),
        ("[shocks.x.buckets]\ncash = -0.1", "cash",
         "shocks.x.buckets.cash: cash does not move (got 'cash'); remove it"),
        ("[shocks.x.instruments]\nNVDIA = -0.1", "NVDIA",
         "shocks.x.instruments.NVDIA: no such instrument in exposures.csv (got 'NVDIA'); did you mean 'NVDA'?"),
        ("[shocks.x.instruments]\nUSD = -0.1", "USD",
         "shocks.x.instruments.USD: cash does not move (got 'USD'); remove it"),
        ("[shocks.crash]\nmarket = -0.1\n[mandate.max_stress_loss]\ncrsh = 0.2", "crsh",
         "mandate.max_stress_loss.crsh: no such shock (got 'crsh'); did you mean 'crash'?"),
        ("[mandate.max_stress_loss]\ncrash = 0.2", "crash",
         "mandate.max_stress_loss.crash: no such shock (got 'crash'); add [shocks.crash] with what it moves"),
    ],
)  # fmt: skip
def test_a_shock_of_nothing_and_a_limit_of_no_shock_are_refused(
    listed: Folder, added: str, line: str, rest: str
) -> None:
    add(listed, added)

    assert told(listed) == [f"book.toml:{with_line(listed, f'{line} =')} {rest}"]


def test_a_shock_of_a_label_that_nothing_has_is_refused(listed: Folder) -> None:
    listed.cell("exposures.csv", "AMZN", "bucket", "adopter")
    add(listed, "[shocks.x.buckets]\nneutral = -0.1")

    assert told(listed) == [
        f"book.toml:{with_line(listed, 'neutral =')} shocks.x.buckets.neutral: nothing in this book has this label "
        "(got 'neutral'); correct the labels of exposures.csv, or remove it"
    ]


def test_all_faults_of_a_mandate_are_told_at_once(listed: Folder) -> None:
    listed.replace("book.toml", "[mandate]\n", '[mandate]\nlocked = ["NVDIA"]\nmax_tracking_error = 0.05\n')
    (listed.path / "benchmark.csv").unlink()
    add(listed, "[mandate.tiers]\nlargest = 1\n[mandate.exposures.bta]\nmax = 1.0\n[shocks.x.buckets]\ncash = 0.1")

    columns = [line.partition(": ")[0].partition(" ")[2] for line in told(listed)]
    assert columns == [
        "mandate.tiers.largest", "shocks.x.buckets.cash", "mandate.max_tracking_error", "mandate.locked",
        "mandate.exposures.bta",
    ]  # fmt: skip
