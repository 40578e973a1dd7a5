"""The field's terms and no private ones: in help, errors, screens, contracts and pages, a test a word.

A text is a sentence or a label that somebody reads. Docstrings and code are not texts: what stands between backticks,
and blocks of other languages than console output, are left out, so that `mandate.tiers` may stay the key that it is.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from click.testing import CliRunner

from allocator.__main__ import main

ROOT = Path(__file__).resolve().parents[2]

# A name of the word, as a regular expression, and what is said instead.
WORDS = {
    "worst case": (r"\bworst[- ]case\b", "adverse expected return; expectation under adverse probabilities"),
    "trading gains": (r"\btrading gains\b", "change of expected return, of adverse expected return, of volatility"),
    "breach of input": (
        r"\b\d+ breach(es)?\b|\b([Ee]very|[Aa]ll) breach(es)?\b|\bbreach(es)? of (?!a? ?limit)",
        "error; a breach is of a limit",
    ),
    "broken today": (r"(?<!Limits )\b[Bb]roken today\b", "limit breach"),
    "worth of slack": (r"\b[Ww]orth of slack\b", "shadow price, bps per percentage point"),
    "money": (r"\b[Mm]oney\b(?!-market)", "funding, of a motive of an order; amount, cash or the currency elsewhere"),
    "comes to nothing": (r"\bcomes? to nothing\b", "sums to zero"),
    "trade required": (r"\b[Mm]ust trade\b", "trade required (limit breach)"),
    "worth it": (r"\bworth (it|trading)\b", "recommended"),
    "holding, as a verdict": (r"\bagainst holding\b|\bplan is to hold\b", "no trade"),
    "cannot hold together": (r"\b(can|cannot) hold together\b", "infeasible: conflicting limits"),
    "gave way": (r"\b(gave|gives?|give|giving|given) way\b", "relaxed"),
    "tier": (r"(?<![.\w\"'`])tiers?\b(?![\w.\"'`])", "priority"),
    "sure return": (r"\bsure returns?\b", "certainty equivalent"),
    "caution, as a price": (
        r"\b(price|worth|cost|pricing|release) of caution\b|\bpricing caution\b|^[Cc]aution$|\bCaution:"
        r"|\bcaution (costs|saves|is released|   )",
        "cost of robustness",
    ),
    "chance": (r"\b[Cc]hances?\b", "probability"),
    "decided again": (r"\b[Dd]ecid(e|es|ed|ing) again\b", "re-optimised"),
    "held now, plan now": (r"\b(held|plan) now\b", "current, proposed"),
    "lacks": (r"\b[Ll]acks?\b", "break-even excess return; is without"),
    "pays in plausible beliefs": (r"\bpays in\b|\bplausible beliefs\b", "positive for a share of sampled inputs"),
    "the middle one": (r"\bmiddle one\b", "median"),
    "e^-d": (r"e\^-d", "plausibility exp(-KL)"),
    "sigma of a normal mean": (r"\bsigmas?\b", "equivalent z-score"),
    "burning money": (r"\bburn(s|ed|ing)? money\b|\b[Bb]urning\b|\bwasteless\b", "round trip"),
    "bent": (r"\bbent\b", "impact cost"),
    "lattice": (r"\b[Ll]attice\b", "order grid; a part of it is a neighbourhood"),
    "seen through": (r"\bseen through\b", "pushforward"),
    "standing, past, coming": (r"^(standing|past|coming)$|\b[Ss]tanding still\b", "belief report, path, next signals"),
}

# Texts that keep a word, and why.
KEPT = {
    "post-money": "a claim of the note, in its own words",
    "money market": "a kind of fund, as brokers write it",
}


class Said(NamedTuple):
    """A text and where people read it."""

    place: str
    text: str


def in_help() -> Iterator[Said]:
    """`--help` of the group and of every command."""
    context = click.Context(main)
    for name in ("", *main.list_commands(context)):
        told = CliRunner().invoke(main, [*filter(None, [name]), "--help"], env={"COLUMNS": "120"})
        assert told.exit_code == 0, told.output
        yield Said(f"allocator {name} --help", " ".join(told.output.split()))


def in_code(path: Path) -> Iterator[Said]:
    """Messages: texts with a space in them, and on screens single words, too; of an f-string what is constant in it."""
    tree, place = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix()
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            silent |= set(map(id, parts))
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            text = node.value
        else:
            continue
        if " " in text or "/display/" in place:
            yield Said(f"{place}:{node.lineno}", text)


def in_page(path: Path) -> Iterator[Said]:
    """Prose a paragraph, and what each console block shows."""
    place, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for language, body in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for shown in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:] if language == "console" else ():
            command, _, printed = re.sub(r"\\\n> ", "", shown).partition("\n")
            refused = " (refused)" if "exit 3" in printed or "exit 4" in printed else ""
            yield Said(f"{place}: $ {command.replace('allocator', 'refused') if refused else command}", printed)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", re.sub(r"`[^`]*`", "``", prose)):
        yield Said(f"{place}: prose", " ".join(paragraph.split()))


def in_contract(path: Path) -> Iterator[Said]:
    """Every description and title of a schema."""
    text = path.read_text(encoding="utf-8")
    waiting: list[Any] = [json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)]
    while waiting:
        one = waiting.pop()
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        if isinstance(one, dict):
            yield from (
                Said(f"schemas/{path.name}", one[key])
                for key in ("description", "title")
                if isinstance(one.get(key), str)
            )


@cache
def everything_said() -> tuple[Said, ...]:
    """All texts but those of places that others reword."""
    found = list(in_help())
    for path in sorted((ROOT / "allocator").rglob("*.py")):
        found += in_code(path)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]:
        found += in_page(path)
    for path in sorted((ROOT / "schemas").iterdir()):
        found += in_contract(path)
    return tuple(found)


@pytest.mark.parametrize("word", WORDS)
def test_no_text_that_people_read_uses_the_word(word: str) -> None:
    pattern, instead = WORDS[word]
    found = [one for one in everything_said() if re.search(pattern, without_kept(one.text))]

    told = "\n".join(f"{one.place}: {one.text.strip()[:160]}" for one in found)
    assert not found, f"say {instead!r} instead of {word!r}:\n{told}"


def without_kept(text: str) -> str:
    """The text without the phrases that may stay."""
    for phrase in KEPT:
        text = text.replace(phrase, "")
    return text


def test_texts_are_found_in_every_kind_of_place() -> None:
    places = "\n".join(one.place for one in everything_said())

    for kind in (
        "allocator check --help", "allocator/errors.py:", "allocator/display/outlook.py:", "docs/rules.md: prose",
        "docs/reviews.md: $ allocator outlook", "schemas/holdings.yaml", "schemas/book.schema.json",
    ):  # fmt: skip
        assert kind in places, kind


@pytest.mark.parametrize("text", ["2 breaches; nothing was written", "a breach of a limit is no breach of input"])
def test_a_breach_is_only_of_a_limit(text: str) -> None:
    assert re.search(WORDS["breach of input"][0], text)
    assert not re.search(WORDS["breach of input"][0], "limit breaches today: 'NVDA at most 12%'")
