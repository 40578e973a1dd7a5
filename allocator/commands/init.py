"""`allocator init FOLDER`: a book to start from, copied from a sample."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from allocator.commands.answer import answers
from allocator.errors import BadInput, Breach, did_you_mean
from allocator.resources import sample_books


@click.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--from", "sample", default="listed", show_default=True, help="Which sample book to copy.")
@answers
def init(folder: str, sample: str, *, as_json: bool) -> dict[str, Any]:
    """Make FOLDER a book to start from.

    \b
    Example:
      allocator init my-book
    """
    samples = sorted(child.name for child in sample_books().iterdir() if (child / "book.toml").is_file())
    if sample not in samples:
        raise BadInput([Breach("--from", None, None, sample, "no such sample book", did_you_mean(sample, samples))])
    place = Path(folder)
    if place.exists() and any(place.iterdir()):
        raise BadInput(
            [Breach(folder, None, None, None, "this folder is not empty; nothing was written", "name a new folder")]
        )
    try:
        _copy(sample_books() / sample, place)
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}; nothing was written"
        raise BadInput([Breach(folder, None, None, None, rule, "make room, or name another folder")]) from None
    files = sorted(child.name for child in place.iterdir())
    if not as_json:
        click.echo(f"{folder}: {', '.join(files)}")
        click.echo(f"next: edit the tables, then `allocator check {folder}` and `allocator rebalance {folder}`")
    return {"format": "allocator.init/1", "folder": folder, "sample": sample, "files": files}


def _copy(sample: Path, place: Path) -> None:
    """Make `place` a copy of a sample, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".init-") as temporary:
        made = Path(temporary) / "book"
        shutil.copytree(sample, made)
        if place.exists():
            place.rmdir()
        made.rename(place)
