"""How things of ours print: said here by name, so that what is shown need not know who shows it.

`print(plan)` is the command's screen and a notebook shows a table, yet screens are far above the plan in the list of
rooms. The public front says once who draws; nothing of it is imported before something is printed.
"""

from __future__ import annotations

from collections.abc import Callable

TEXT: Callable[[object], str] = object.__repr__
"""What `str` of a plan gives: its screen."""
HTML: Callable[[object], str] = object.__repr__
"""What a notebook shows of a plan."""


def text_of(shown: object) -> str:
    """What a terminal shows."""
    return TEXT(shown)


def html_of(shown: object) -> str:
    """What a notebook shows."""
    return HTML(shown)
