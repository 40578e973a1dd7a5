"""What we believe: scenario probabilities, scenario returns, and the risk within a scenario.

The room is called like the verb that people call: `allocator.outlook(book)` is `outlook_of(book)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocator.book.book import Book
    from allocator.outlook.outlook import Outlook


class _Room(ModuleType):
    """A package whose name is a verb too: importing anything of it would otherwise hide a function of that name."""

    def __call__(self, book: Book) -> Outlook:
        """The outlook of a book on its as_of date; see `outlook_of`."""
        from allocator.outlook.outlook import outlook_of

        return outlook_of(book)


sys.modules[__name__].__class__ = _Room
