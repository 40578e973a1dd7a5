"""The note's book as the note says (science §1.7), and what it stated before: tables, evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from allocator.book.book import Book
from allocator.book.loading import load

PARAMETERS = ("pass_through", "usage_elasticity", "training_elasticity", "multiple_compression", "rerating", "entry")
TOLD: dict[str, tuple[float, ...]] = {
    "generalizable_jevons": (0.80, 2.40, 0.90, 0.05, 0.05, 0.35),
    "generalizable_compression": (1.00, 0.65, 0.30, 0.45, 0.30, 0.30),
    "proprietary_jevons": (0.25, 2.10, 0.75, 0.0, -0.15, 0.0),
    "proprietary_compression": (0.40, 0.95, 0.65, 0.15, -0.15, 0.0),
}
BEFORE: dict[str, tuple[float, ...]] = {
    "generalizable_jevons": (0.85, 1.9, 0.8, 0.05, 0.0, 0.0),
    "generalizable_compression": (1.0, 0.6, 0.3, 0.45, 0.0, 0.0),
    "proprietary_jevons": (0.35, 1.9, 0.9, 0.05, 0.0, 0.0),
    "proprietary_compression": (0.6, 0.6, 0.7, 0.25, 0.0, 0.0),
}

_LAB = "{disclosure=0.85,hazard=0.136,background=0.008}"
TWO_LABS = (
    f"question.labs={{OpenAI={_LAB},Google={_LAB}}}",
    "question.sensitivity=0.9",
    "question.false_positive=0.1",
    "question.ranges.hazard=[0.08,0.2]",
    "question.ranges.background=[0.003,0.02]",
)
"""The evidence before: two labs that seldom claim without substance, and verdicts that tell less."""


def scenarios(table: dict[str, tuple[float, ...]], section: str = "scenarios") -> list[str]:
    """The table as overrides."""
    return [
        f"{section}.{name}.{key}={value}"
        for name, values in table.items()
        for key, value in zip(PARAMETERS, values, strict=True)
    ]


def told(root: Path, *more: str) -> Book:
    """`data/note`, which says what the note says."""
    return load(root / "data" / "note", overrides=more)


def before(root: Path, *more: str, name: str = "note") -> Book:
    """A sample book with none of the channels that this is about, but those that `more` states."""
    overrides = [*scenarios(BEFORE), "model.share_sensitivity=0.5", *more]
    book = load(root / "data" / name, overrides=overrides)
    model = book.settings.model
    if model is None or any(each.startswith("model.rival_margin") for each in more):
        return book
    plain = book.settings.model_copy(update={"model": model.model_copy(update={"rival_margin": None})})
    return replace(book, settings=plain)
