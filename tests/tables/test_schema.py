"""The strict reader: nothing stands in a contract that would not be checked."""

from __future__ import annotations

import pytest

from tests.tables.contracts import contract_faults

GOOD = """
strict: true
description: A table.
columns:
  price:
    description: Price of one unit.
    dtype: float64
    greater_than: {min_value: 0, error: "must be above 0; write a price"}
  name:
    description: What it is called.
    dtype: str
    nullable: true
"""


def faults_of(text: str) -> list[str]:
    return contract_faults(text, "my.yaml")


def test_a_sound_contract_has_no_faults() -> None:
    assert faults_of(GOOD) == []


@pytest.mark.parametrize(
    ("written", "instead", "fault"),
    [
        ("greater_than:", "greater_then:", "columns.price: unknown key 'greater_then'; did you mean 'greater_than'?"),
        ("nullable:", "nulable:", "columns.name: unknown key 'nulable'; did you mean 'nullable'?"),
        ("min_value:", "min_val:", "columns.price: greater_than: unknown key 'min_val'; did you mean 'min_value'?"),
        ("error:", "eror:", "columns.price: greater_than: unknown key 'eror'; did you mean 'error'?"),
        ("min_value: 0", "min_value: 1e9",
         "columns.price: greater_than: min_value must be a number, with a point if it has an exponent (got '1e9')"),
        ("nullable: true", "nullable: maybe", "columns.name: nullable must be true or false (got 'maybe')"),
        ("dtype: str", "dtype: int", "columns.name: dtype must be str, float64 or datetime64[ns] (got 'int')"),
        ("strict: true", "strict: filter", "strict must be true, so that unknown columns are refused (got 'filter')"),
        ("strict: true", "strict: true\nunique: [prise]", "unique: unknown column 'prise'; did you mean 'price'?"),
        ("    nullable: true", "    nullable: true\n    default: 0",
         "columns.name: unknown key 'default'; known here: "),
        ("description: A table.", "description: A table.\ndrop_invalid_rows: true",
         "unknown key 'drop_invalid_rows'; "),
        ("    dtype: str\n", "", "columns.name: dtype is required"),
        ("    description: What it is called.\n", "", "columns.name: description is required"),
        ("strict: true\n", "", "strict is required"),
    ],
)  # fmt: skip
def test_what_would_not_be_checked_is_refused_by_name(written: str, instead: str, fault: str) -> None:
    assert written in GOOD

    faults = faults_of(GOOD.replace(written, instead))

    assert [line.startswith(f"my.yaml: {fault}") for line in faults if fault in line] == [True], faults


def test_a_misspelt_section_is_refused_and_the_missing_one_named() -> None:
    assert faults_of(GOOD.replace("columns:", "colums:")) == [
        "my.yaml: unknown key 'colums'; did you mean 'columns'?",
        "my.yaml: columns is required",
    ]


def test_all_faults_are_named_at_once() -> None:
    text = GOOD.replace("greater_than", "greater_then").replace("nullable", "nulable")

    assert len(faults_of(text.replace("strict: true", "strict: 1"))) == 3


def test_a_check_whose_argument_is_missing_is_refused() -> None:
    text = GOOD.replace("{min_value: 0, error:", "{error:")

    assert faults_of(text) == ["my.yaml: columns.price: greater_than: min_value is required"]


def test_a_check_without_named_arguments_is_refused() -> None:
    text = GOOD.replace('{min_value: 0, error: "must be above 0; write a price"}', "0")

    assert faults_of(text) == [
        "my.yaml: columns.price: greater_than: must be a mapping with min_value, and perhaps error"
    ]


def test_a_key_written_twice_is_refused_with_its_line() -> None:
    text = GOOD.replace("    nullable: true", "    nullable: true\n    nullable: false")

    assert faults_of(text) == ["my.yaml:13: is not valid YAML: 'nullable' is written twice"]


@pytest.mark.parametrize("name", ["NO", "on", "yes", "1"])
def test_a_column_name_that_yaml_reads_as_something_else_is_refused(name: str) -> None:
    assert faults_of(GOOD.replace("  name:", f"  '{name}':")) == []

    (fault,) = faults_of(GOOD.replace("  name:", f"  {name}:"))

    assert "a column name must be text; YAML reads NO, on and 1 as something else: put it in quotes" in fault


def test_a_choice_that_yaml_reads_as_a_truth_value_is_refused() -> None:
    text = GOOD.replace("    nullable: true", "    isin: {allowed_values: [US, NO]}")

    (fault,) = faults_of(text)

    assert fault == (
        "my.yaml: columns.name: isin: allowed_values must be a list of texts, "
        "in quotes where YAML would read true or false (got ['US', False])"
    )


def test_a_broken_pattern_is_refused_before_it_meets_data() -> None:
    regex = GOOD.replace("  name:", "  'na(me':").replace("nullable: true", "regex: true")
    check = GOOD.replace("nullable: true", "str_matches: {pattern: '[A-'}")

    assert faults_of(regex) == ["my.yaml: columns.na(me: the name must be a regular expression, because regex is true"]
    assert "str_matches: pattern must be a regular expression" in faults_of(check)[0]


@pytest.mark.parametrize("text", ["", "[]", "price", "columns"])
def test_a_text_that_is_no_contract_at_all_is_refused(text: str) -> None:
    assert faults_of(text) == ["my.yaml: must be a mapping with the keys strict, description and columns"]


def test_a_column_that_says_nothing_is_refused() -> None:
    assert faults_of("strict: true\ndescription: d\ncolumns:\n  price:\n") == [
        "my.yaml: columns.price: must be a mapping with the keys dtype and description"
    ]


def test_text_that_is_not_yaml_is_refused_with_its_line() -> None:
    (fault,) = faults_of("strict: true\ncolumns: ]\n")

    assert fault.startswith("my.yaml:2: is not valid YAML: ")


def test_a_tag_that_would_run_code_is_refused() -> None:
    (fault,) = faults_of("strict: !!python/object/apply:os.getcwd []")

    assert "is not valid YAML: could not determine a constructor" in fault
