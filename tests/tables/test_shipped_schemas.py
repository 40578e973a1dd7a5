"""The contracts that we ship: strict, described, and still plain pandera."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from allocator.tables import contract_names, contract_text, read_contract
from allocator.tables.schema import _read, schemas_folder
from tests.tables.contracts import contract_faults

EXPECTED = [
    "archetypes",
    "benchmark", "claims", "covariance", "exposures", "factors", "figures", "fx", "holdings", "prices", "prices_long",
    "scenario_returns", "signals",
]  # fmt: skip
INVISIBLE = r"\x00-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ud800-\udfff"
INSTRUMENT = rf"^(?![\s=])[^{INVISIBLE}]{{1,100}}(?<!\s)$"


def test_every_table_has_a_contract() -> None:
    assert contract_names() == EXPECTED


@pytest.mark.parametrize("contract", EXPECTED)
def test_nothing_stands_in_a_contract_that_would_not_be_checked(contract: str) -> None:
    assert contract_faults(contract_text(contract), contract) == []


@pytest.mark.parametrize("contract", EXPECTED)
def test_our_reader_and_plain_pandera_read_the_same_schema(contract: str) -> None:
    from pandera.pandas import DataFrameSchema

    _read.cache_clear()  # pandera compares checks by the functions of now, and another test may have registered others
    strict = read_contract(contract)

    assert strict == DataFrameSchema.from_yaml(schemas_folder() / f"{contract}.yaml")
    assert strict.name == contract
    assert strict.strict is True


@pytest.mark.parametrize("contract", EXPECTED)
def test_every_table_and_column_says_what_it_means(contract: str) -> None:
    document = yaml.safe_load(contract_text(contract))

    assert document["title"]
    assert document["description"]
    assert [name for name, column in document["columns"].items() if len(column["description"]) < 10] == []


@pytest.mark.parametrize("contract", EXPECTED)
def test_every_number_is_bounded_on_both_sides_so_that_infinity_fails(contract: str) -> None:
    columns = yaml.safe_load(contract_text(contract))["columns"]
    lower, upper = {"greater_than", "greater_than_or_equal_to"}, {"less_than", "less_than_or_equal_to"}
    numbers = {name: set(column) for name, column in columns.items() if column["dtype"] == "float64"}

    bounded = {name for name, keys in numbers.items() if "in_range" in keys or (keys & lower and keys & upper)}

    assert set(numbers) - bounded == set()


@pytest.mark.parametrize("contract", EXPECTED)
def test_every_rule_but_a_choice_has_a_cure_beside_it(contract: str) -> None:
    columns = yaml.safe_load(contract_text(contract))["columns"]
    entries = [entry for column in columns.values() for entry in column.items() if isinstance(entry[1], dict)]

    assert [check for check, rule in entries if check != "isin" and "; " not in rule["error"]] == []


def test_an_instrument_is_spelt_by_one_pattern_everywhere() -> None:
    columns = {name: yaml.safe_load(contract_text(name))["columns"] for name in EXPECTED}
    patterns = {table["instrument"]["str_matches"]["pattern"] for table in columns.values() if "instrument" in table}
    wide = [key for name in ("prices", "covariance") for key in columns[name] if key.startswith("^")]

    assert patterns == {INSTRUMENT}
    assert [key for key in wide if not key.endswith(INSTRUMENT[1:])] == []


def test_a_contract_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError) as caught:
        contract_text("holding")

    assert str(caught.value) == "there is no contract 'holding' in schemas; did you mean 'holdings'?"


def test_a_contract_name_cannot_climb_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("columns: {}", encoding="utf-8")

    with pytest.raises(ValueError, match="there is no contract"):
        contract_text(str(tmp_path / "evil"))
