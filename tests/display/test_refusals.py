"""How refusals are worded: near names are suggested, far ones are not; breaches that repeat are told once."""

from __future__ import annotations

import pytest

from allocator.display.console import show_refusal
from allocator.errors import BadInput, Breach, closest_name, did_you_mean


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVDIA", "NVDA"), ("mx", "max"), ("quantitty", "quantity"), ("totl_variation", "total_variation"),
        ("maximum", "max"), ("AMZ", "AMZN"), ("KL", "kl"), ("Nvidia", "NVIDIA"), ("CRV", "CRM"),
    ],
)  # fmt: skip
def test_a_slip_of_the_hand_is_recognised_as_one(name: str, known: str) -> None:
    assert did_you_mean(name, [known, "something else"]) == f"did you mean {known!r}?"


@pytest.mark.parametrize(("name", "known"), [("ARM", "CRM"), ("prices", "exposures"), ("TSLA", "TSM"), ("AMD", "ADBE")])
def test_a_name_that_is_merely_alike_is_not_suggested(name: str, known: str) -> None:
    assert closest_name(name, [known]) is None
    assert did_you_mean(name, [known]) == f"known here: {known}"


@pytest.mark.parametrize(
    ("file", "known", "meant"),
    [
        ("benchmrk.csv", "benchmark.csv", "benchmark.csv"),
        ("BENCHMRK.CSV", "benchmark.csv", "benchmark.csv"),
        ("holding.xlsx", "holdings.csv", "holdings.csv"),
        ("long.csv", "holdings.csv", None),
        ("prices.csv", "exposures.csv", None),
        ("a.csv", "fx.csv", None),
    ],
)
def test_files_are_compared_without_their_suffix(file: str, known: str, meant: str | None) -> None:
    assert closest_name(file, [known], by_stem=True) == meant


def test_the_nearest_of_several_names_is_suggested() -> None:
    assert closest_name("proprietary_jevon", ["proprietary_compression", "proprietary_jevons"]) == "proprietary_jevons"


def shown(breaches: list[Breach], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    show_refusal(BadInput(breaches))
    return capsys.readouterr().err.splitlines()


def test_breaches_that_repeat_are_told_once_with_their_first_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Breach("exposures.csv", 7, "beta", "", "must not be blank", "fill it in")
    many = [Breach("holdings.csv", row, "currency", "TWD", "has no rate to USD", "add TWD") for row in range(2, 2403)]

    assert shown([many[0], one, *many[1:]], capsys, monkeypatch) == [
        "2402 errors; nothing was written",
        "holdings.csv: rows 2, 3, 4 and 2398 more currency  has no rate to USD (got 'TWD')",
        "    add TWD",
        "exposures.csv:7 beta  must not be blank (got '')",
        "    fill it in",
    ]


def test_breaches_that_differ_in_value_alone_name_the_first_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Breach("prices", None, "instrument", name, "has no row here", "add its row") for name in "ABCDE"]
    two = [Breach("fx.csv", row, "rate", "-1", "must be above 0", "correct it") for row in (2, 5)]

    assert shown([*rows, *two], capsys, monkeypatch)[1::2] == [
        "prices instrument  has no row here (got 'A', 'B', 'C' and 2 more)",
        "fx.csv: rows 2 and 5 rate  must be above 0 (got '-1')",
    ]


def test_two_errors_of_one_row_name_it_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [Breach("book.toml", 12, "mandate.locked", name, "no such instrument", "known here: A") for name in "XY"]
    rows = [
        Breach("fx.csv", row, "rate", value, "must be above 0", "correct it")
        for row, value in ((2, "0"), (2, "1"), (5, "0"))
    ]

    assert shown([*names, *rows], capsys, monkeypatch)[1::2] == [
        "book.toml:12 mandate.locked  no such instrument (got 'X' and 'Y')",
        "fx.csv: rows 2 and 5 rate  must be above 0 (got '0' and '1')",
    ]


def test_entries_beyond_the_last_one_shown_are_counted_by_breach(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaches = [Breach("t", row, f"c{row // 2}", None, "is wrong", "mend it") for row in range(100)]

    assert shown(breaches, capsys, monkeypatch)[-1] == "… and 20 more; --json lists them all"


def lines_of(breaches: list[Breach]) -> list[str]:
    return str(BadInput(breaches)).splitlines()


def test_columns_that_the_same_rows_lack_are_one_line_and_programs_get_each() -> None:
    columns = [f"c{column}" for column in range(20)]
    breaches = [
        Breach("exposures.csv", row, column, "", "is needed by [model]", "fill it in", name=name)
        for row, name in ((7, "NVDA"), (9, "TSM"))
        for column in columns
    ]

    assert lines_of(breaches) == [
        "exposures.csv: rows 7 and 9 c0, c1, c2 and 17 more: is needed by [model] for NVDA and TSM (got ''); fill it in"
    ]
    assert len(BadInput(breaches).breaches) == 40


def test_names_that_have_no_column_are_one_line_of_their_table() -> None:
    breaches = [Breach("covariance.csv", None, name, None, "has no column here", "add it") for name in ("A", "B")]

    assert lines_of(breaches) == ["covariance.csv A and B: has no column here; add it"]


def test_errors_of_one_rule_in_a_column_are_one_line_whatever_their_cures() -> None:
    breaches = [Breach("p.csv", row, "AAA", f"4{row},5", "must be a number", f"write 4{row}.5") for row in range(2, 9)]

    assert lines_of(breaches) == [
        "p.csv: rows 2, 3, 4 and 4 more AAA: must be a number (got '42,5', '43,5', '44,5' and 4 more); "
        "write 42.5; the others likewise"
    ]
    assert len(lines_of(breaches[:3])) == 3
