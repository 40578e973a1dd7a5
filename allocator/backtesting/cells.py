"""The cells of a trial: how wrong its investors are, what is true of the market, and who lives in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from allocator.backtesting.policies import TrialPolicy, compared_policies, grid_policies
from allocator.backtesting.worlds import ERRORS, Kind, refuse_untried
from allocator.book.book import Book
from allocator.errors import required_extra

SEED = 26
INVESTORS, WORLDS = 200, 10
REDUCED_INVESTORS, REDUCED_WORLDS = 4, 2


@dataclass(frozen=True)
class Cell:
    """How wrong investors are, and `about` what; what share of a re-pricing comes at once in truth; whose worlds."""

    strength: float
    share: float
    kind: Kind = "model"
    about: tuple[str, ...] = tuple(ERRORS)

    @property
    def name(self) -> str:
        """In words."""
        said = f"strength {self.strength:g}, share {self.share:g}"
        if self.kind != "model":
            return f"{said}, not our model"
        return said if self.about == tuple(ERRORS) else f"{said}, {', '.join(self.about).replace('_', ' ')} alone"

    def truth(self, book: Book) -> Book:
        """The book in whose market the cell's share is true."""
        horizon = book.settings.horizon.model_copy(update={"announcement_share": self.share})
        return replace(book, settings=book.settings.model_copy(update={"horizon": horizon}))

    @property
    def decides(self) -> bool:
        """Whether the rule about the default looks at it."""
        return self.kind == "model" and self.strength in (0.0, 1.0) and self.about == tuple(ERRORS)


def full_cells(book: Book) -> tuple[Cell, ...]:
    """Strengths 0, 1 and 2 at the book's own announcement share and at 1; last, worlds that are not our model's."""
    own = float(book.settings.horizon.announcement_share or 0.0)
    shares = tuple(dict.fromkeys((own, 1.0)))
    cells = tuple(Cell(float(strength), share) for share in shares for strength in range(3))
    return (*cells, Cell(1.0, own, "other"))


def reduced_cells(book: Book) -> tuple[Cell, ...]:
    """The same, and of strength 1 one error at a time."""
    own = float(book.settings.horizon.announcement_share or 0.0)
    return (*full_cells(book), *(Cell(1.0, own, about=(name,)) for name in ERRORS))


@dataclass(frozen=True)
class Design:
    """What is run: which cells, how many investors in each and worlds for each of them, from which seed, and whether
    the cells that decide about the default have the policies of its grid.
    """

    cells: tuple[Cell, ...]
    investors: int = INVESTORS
    worlds: int = WORLDS
    seed: int = SEED
    grid: bool = True
    peers: bool = False
    """Whether skfolio's optimizers live in all cells, too."""

    def policies(self, cell: Cell) -> list[TrialPolicy]:
        """Those that live in a cell, the table's first."""
        return [*self.compared(), *(grid_policies() if self.grid and cell.decides else [])]

    def compared(self) -> list[TrialPolicy]:
        """Those of the table."""
        if not self.peers:
            return compared_policies()
        from allocator.backtesting.peer_policies import peer_policies

        return [*compared_policies(), *peer_policies()]

    def document(self) -> dict[str, Any]:
        """What results of it can stand beside: how many investors there are does not change one of them."""
        return {
            "cells": [asdict(cell) for cell in self.cells],
            "worlds": self.worlds,
            "seed": self.seed,
            "grid": self.grid,
            "peers": self.peers,
        }


def asked_design(
    book: Book,
    *,
    reduced: bool,
    investors: int | None = None,
    worlds: int | None = None,
    seed: int = SEED,
    peers: bool = False,
) -> Design:
    """The whole trial or the reduced one, which has no grid and decides no default; other numbers where they are asked.

    Raises:
        BadInput: the trial cannot live through the book, or skfolio is asked for and not installed.
    """
    refuse_untried(book)
    if peers:
        required_extra("skfolio", "skfolio", "integrations", "--peers")
    cells = reduced_cells(book) if reduced else full_cells(book)
    many, each = (REDUCED_INVESTORS, REDUCED_WORLDS) if reduced else (INVESTORS, WORLDS)
    return Design(cells, investors or many, worlds or each, seed, grid=not reduced, peers=peers)
