"""What is being done, on stderr, for people who wait; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A spinner whose text the caller sets; nothing at all when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from allocator.display.console import console

    with console(err=True).status("starting") as status:
        yield lambda text: status.update(f"{text} …")
