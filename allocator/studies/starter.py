"""The starter shocks that a book can carry, beside its own: every claim and signal of the note as one shock each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from allocator.book.book import Book
from allocator.book.checks.stress import BUCKETS, Named, breaches_of_shock
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.resources import sample_books
from allocator.settings.stress import ShockSection


@dataclass(frozen=True, eq=False)
class Library:
    """The shocks of a book by name, its own first; `left_out` says of every other starter shock why."""

    shocks: dict[str, ShockSection]
    left_out: dict[str, str]

    def chosen(self, names: tuple[str, ...]) -> dict[str, ShockSection]:
        """Those of these names, in their order; all where none is given.

        Raises:
            BadInput: a name is not in the library, or this book cannot carry it.
        """
        found = []
        for name in dict.fromkeys(names):
            if name in self.left_out:
                found.append(Breach("--shock", None, None, name, self.left_out[name], "it is not of this book"))
            elif name not in self.shocks:
                near = did_you_mean(name, self.shocks)
                found.append(Breach("--shock", None, None, name, "no such shock", near))
        if found:
            raise BadInput(found)
        return {name: self.shocks[name] for name in dict.fromkeys(names)} if names else dict(self.shocks)


def library(book: Book) -> Library:
    """Every shock that can be asked of a book."""
    there, own = named_in(book), dict(book.settings.shocks)
    shocks, left_out = dict(own), dict[str, str]()
    for name, shock in starter_shocks().items():
        if name in own:
            continue
        breaches = [*breaches_of_shock(there, name, _of_names(there, shock))]
        if breaches:
            left_out[name] = f"{breaches[0].value or breaches[0].column}: {breaches[0].rule}"
        elif shock.market is not None and "beta" not in there.columns:
            left_out[name] = "beta: is needed for every name"
        else:
            shocks[name] = _of_names(there, shock)
    return Library(shocks, left_out)


def starter_shocks() -> dict[str, ShockSection]:
    """All of `data/shocks.toml`."""
    text = (sample_books() / "shocks.toml").read_text(encoding="utf-8")
    return {name: ShockSection.model_validate(shock) for name, shock in tomllib.loads(text)["shocks"].items()}


def named_in(book: Book) -> Named:
    """What a book has names for."""
    exposures = book.exposures
    return Named(
        book.settings,
        book.instruments,
        frozenset({book.cash_instrument}),
        frozenset(map(str, exposures["bucket"])),
        () if book.factors is None else tuple(map(str, book.factors)),
        frozenset(str(name) for name in exposures if exposures[name].notna().all() or name == "tradable_from"),
        book.signals,
    )


def _of_names(there: Named, shock: ShockSection) -> ShockSection:
    """A claim that speaks of many names says of this book's what it says of them."""
    known = (*there.instruments, *BUCKETS, *there.settings.groups)
    return shock.model_copy(update={"expect": {name: sign for name, sign in shock.expect.items() if name in known}})
