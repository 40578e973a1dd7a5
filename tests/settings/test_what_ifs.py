"""--set as people type it: a value that is no TOML has a cure that is right when followed, also through a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.errors import BadInput
from allocator.settings.reading import read_settings

TEXT = (Path(__file__).resolve().parent.parent / "typed" / "book.toml").read_text(encoding="utf-8")


def refused(*overrides: str, text: str = TEXT) -> list[str]:
    """Every error of a book with what-ifs."""
    with pytest.raises(BadInput) as caught:
        read_settings(text, overrides=overrides)
    return [str(breach) for breach in caught.value.breaches]


@pytest.mark.parametrize(
    ("item", "cure"),
    [
        ("mandate.max_weight=20%", "write mandate.max_weight=0.2"),
        ("mandate.max_weight=12,5 %", "write mandate.max_weight=0.125"),
        ("mandate.max_weight=.9", "write mandate.max_weight=0.9"),
        ("mandate.risk_aversion=1,5", "write mandate.risk_aversion=1.5"),
        ("mandate.risk_aversion=1.", "write mandate.risk_aversion=1"),
        ("book.as_of=20.11.2026", "write book.as_of=2026-11-20"),
        ("book.as_of=2026/11/20", "write book.as_of=2026-11-20"),
    ],
)
def test_a_value_that_is_no_toml_has_a_cure_that_works(item: str, cure: str) -> None:
    (said,) = refused(item)

    assert said.startswith(f"--set {item.partition('=')[0]}: is no value of TOML")
    assert said.endswith(f"; {cure}")
    assert read_settings(TEXT, overrides=[cure.removeprefix("write ")])


@pytest.mark.parametrize(
    ("item", "cure"),
    [
        ("costs.x=True", "write costs.x=true"),
        ("mandate.max_weight=", "write a value, such as mandate.max_weight=0.2"),
        ("mandate.max_weight 0.2", "write mandate.max_weight=0.2"),
        ("mandate.max_weight:0.2", "write mandate.max_weight=0.2"),
        ("mandate", "write for example mandate.max_weight=0.2"),
        ("rules.locked=[NVDA]",
         "put texts in double quotes and all of it in single ones: 'rules.locked=[\"NVDA\", \"AVGO\"]'"),
        ('book.name="half', "close the quotes, and put all of it in single ones: 'book.name=\"text\"'"),
        ("mandate.risk_aversion=" + "9" * 25, "write a whole number below 2^63"),
        ("mandate.max_weight=0.2\n[x]", "write one --set for each key"),
        ("mandate.max_weight=\udcff", "write one --set for each key"),
    ],
)  # fmt: skip
def test_what_a_shell_took_or_nobody_wrote_is_said(item: str, cure: str) -> None:
    assert any(said.endswith(f"; {cure}") for said in refused(item))


def test_a_bare_word_is_a_text() -> None:
    assert read_settings(TEXT, overrides=["robust.set=none"]).robust.set == "none"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = " + "9" * 5000, "book.toml: holds a number of more than 4300 digits; write a shorter number"),
        ("x = " + "[" * 3000 + "]" * 3000, "book.toml: is nested too deeply"),
        ("x = 0x" + "f" * 9000, "book.toml:1 x: must be a whole number of TOML, below 2^63; write fewer digits"),
        (".".join(["a"] * 3000) + " = 1", "book.toml a: unknown key"),
    ],
    ids=["digits", "depth", "hexadecimal", "dotted"],
)
def test_a_book_that_python_could_not_hold_is_refused(line: str, said: str) -> None:
    assert any(one.startswith(said) for one in refused(text=f"{line}\n{TEXT}"))


def test_a_long_line_without_a_key_is_passed_over_in_no_time() -> None:
    blanks = "a" + " " * 200_000

    assert refused("mandate.max_weight=2", text=f'{TEXT}\n[stranger]\nx = """\n{blanks}\n"""\n')
