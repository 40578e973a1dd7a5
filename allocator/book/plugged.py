"""`[plugins]` of `book.toml`: what other packages add to this book, by name, and what the book must then not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from allocator.book.section import Section
from allocator.errors import Breach
from allocator.plugins import breaches_of

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.book.sections import Settings

Parameters = dict[str, Any]
"""What a plugin is given, as the book writes it; what it means is the plugin's to say."""


class PluginsSection(Section):
    """What other packages add: `[plugins.rules.NAME]` and so on, NAME being theirs, with the parameters it is given."""

    rules: dict[str, Parameters] = Field(default_factory=dict, description="rules, kept and proved like our own")
    objectives: dict[str, Parameters] = Field(
        default_factory=dict, description="what the objective charges for holding a name, beside its own terms"
    )
    models: dict[str, Parameters] = Field(
        default_factory=dict, description="one model that makes scenario returns, in the place of [model]"
    )
    exporters: dict[str, Parameters] = Field(
        default_factory=dict, description="parameters of exporters, which `rebalance --export NAME` runs"
    )

    @model_validator(mode="after")
    def _one_model(self) -> PluginsSection:
        if len(self.models) > 1:
            raise ValueError(f"has {len(self.models)} models, and returns can be made by one; keep one of them")
        return self


def breaches_of_plugins(settings: Settings) -> Iterator[Breach]:
    """Names that mean no plugin or several, and what a plugin cannot stand beside; nothing is imported."""
    plugins = settings.plugins
    for kind in ("rules", "objectives", "models", "exporters"):
        for name in getattr(plugins, kind):
            yield from breaches_of(kind, name, "book.toml", f"plugins.{kind}.{_quoted(name)}")
    for name in plugins.models:
        if settings.model is not None:
            rule = "makes scenario returns, and so does [model]"
            yield Breach("book.toml", None, f"plugins.models.{_quoted(name)}", None, rule, "remove one of them")
    yield from _beside(settings)
    if settings.horizon.reviews:
        for kind in ("rules", "models"):
            for name in getattr(plugins, kind):
                rule = "speaks of today, and horizon.reviews want what holds at later dates as well"
                cure = "remove the reviews, or the plugin"
                yield Breach("book.toml", None, f"plugins.{kind}.{_quoted(name)}", None, rule, cure)


def _beside(settings: Settings) -> Iterator[Breach]:
    """An objective of another package is a charge beside the worst-case return, and beside nothing else."""
    objective = settings.mandate.objective
    if objective != "return_minus_risk" or settings.in_stages:
        for name in settings.plugins.objectives:
            rule = f"is charged beside the return, and objective = '{objective}' "
            rule += "looks at none" if objective == "minimum_variance" else "is solved in stages"
            cure = "choose return_minus_risk without [horizon] reviews, or remove the plugin"
            yield Breach("book.toml", None, f"plugins.objectives.{_quoted(name)}", None, rule, cure)


def lent(book: Book) -> Book:
    """The book as a plugin gets it: what it writes into these tables and settings changes nothing of ours."""
    import pandas as pd

    own = {field.name: getattr(book, field.name) for field in fields(book)}
    tables: dict[str, Any] = {k: v.copy() for k, v in own.items() if isinstance(v, pd.DataFrame | pd.Series)}
    return replace(book, settings=book.settings.model_copy(deep=True), **tables)


def used_by(settings: Settings) -> dict[str, set[str]]:
    """The plugins that a book names, by kind; an exporter is named where it has parameters."""
    plugins, tables = settings.plugins, vars(settings.tables).values()
    return {
        "rules": set(plugins.rules),
        "objectives": set(plugins.objectives),
        "models": set(plugins.models),
        "exporters": set(plugins.exporters),
        "sources": {table.source for table in tables if not isinstance(table, str)},
        "commands": set(),
    }


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name
