"""A run by its id: made once, whole, from inputs that are written down; asked for again, it is shown and not repeated.

A run is the folder `OUT/ID`. It is written under another name and renamed, so a run that is there is whole. Its
`run.json` holds what it was made from, file by file, and what it wrote.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict
from uuid import uuid4

from allocator.book.book import OPTIONAL, REQUIRED, Book
from allocator.book.checks.consistency import tables_in_use
from allocator.book.loading import read_source
from allocator.errors import BadInput, Breach
from allocator.plugins import installed_plugins
from allocator.presentation import Keywords
from allocator.settings.reading import read_settings
from allocator.settings.settings import SourceTable

FORMAT: Final = "allocator.run/1"
PLAN_FORMAT: Final = "allocator.plan/2"
"""Of plan.json: a run of another format is another run, and is not given back as this one."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,199}")
"""What cron, Airflow and Dagster call their runs; nothing that leaves the folder, hides, or reads as an option."""


_Digest: TypeAlias = Annotated[str, Keywords(pattern="^[0-9a-f]{64}$")]


class RunDocument(TypedDict):
    """What a run was made from and what it wrote: `run.json` of `allocator rebalance --run-id`."""

    format: Literal["allocator.run/1"]
    run_id: str
    inputs: Annotated[
        dict[str, str], "by name: SHA-256 of each file of the book, the options that were given, and versions"
    ]
    outputs: Annotated[dict[str, _Digest], "SHA-256 of each file that the run wrote"]


@dataclass(frozen=True)
class Run:
    """An id, the folder that is its own, and by name what it is made from: digests of files, options and versions."""

    id: str
    folder: Path
    inputs: Mapping[str, str]


def open_run(run_id: str, out: Path, inputs: Mapping[str, str]) -> Run:
    """The run of this id under `out`.

    Raises:
        BadInput: the id cannot be the name of a folder.
    """
    if not _ID.fullmatch(run_id):
        rule = "must be letters, digits and . _ : + - and begin with a letter or digit"
        raise BadInput([Breach("--run-id", None, None, run_id, rule, "write for example 2026-11-20")])
    return Run(run_id, out / run_id, dict(inputs))


def finished_document(run: Run) -> dict[str, Any] | None:
    """The plan that the run already made from the same inputs; None where it has not been made.

    Raises:
        BadInput: it was made from other inputs, or its files are no longer as it wrote them; all that differs.
    """
    if not os.path.lexists(run.folder):
        return None
    made = _manifest(run)
    if found := [*_changed(run, made["inputs"]), *_spoiled(run, made["outputs"])]:
        raise BadInput(found)
    document: dict[str, Any] = json.loads((run.folder / "plan.json").read_text(encoding="utf-8"))
    return document


def write_run(run: Run, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write the run's files and its run.json as one folder: whole, or not at all.

    Where another process has finished the same run meanwhile, that one stays: the same inputs give the same files.

    Raises:
        BadInput: the folder cannot be written, or the other process's run was made from other inputs.
    """
    outputs = {name: digest(content) for name, content in files.items()}
    inputs = dict(sorted(run.inputs.items()))
    made: RunDocument = {"format": FORMAT, "run_id": run.id, "inputs": inputs, "outputs": outputs}
    whole = {**files, "run.json": (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode()}
    beside = run.folder.parent / f".writing-{uuid4().hex}"
    try:
        beside.mkdir(parents=True)
        for name, content in whole.items():
            _write(beside / name, content)
        _renamed(beside, run)
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise BadInput(
            [Breach("--out", None, None, str(run.folder), rule, "make room, or name another folder")]
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return tuple(run.folder / name for name in whole)


def digest(content: bytes) -> str:
    """What tells one content from another."""
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _renamed(beside: Path, run: Run) -> None:
    try:
        beside.rename(run.folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        finished_document(run)  # another process was faster: the same run, or a refusal


def _manifest(run: Run) -> Mapping[str, Any]:
    path = run.folder / "run.json"
    try:
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        rule = f"is there, and no run of ours: run.json cannot be read ({type(error).__name__})"
        raise BadInput([_breach(run, rule, "move the folder away, or use another --run-id")]) from None
    sound = isinstance(made, dict) and made.get("format") == FORMAT and made.get("run_id") == run.id
    if not sound or not all(isinstance(made.get(name), dict) for name in ("inputs", "outputs")):
        raise BadInput([_breach(run, "is there, and holds another run", "use another --run-id or --out")])
    return made


def _changed(run: Run, before: Mapping[str, str]) -> Iterator[Breach]:
    """Every input that is not what the run was made from."""
    cure = "give the new inputs a --run-id of their own, or put back the old ones"
    for name in sorted({*before, *run.inputs}):
        then, now = before.get(name), run.inputs.get(name)
        if then != now:
            how = "was not there" if then is None else "is gone and was there" if now is None else "was another"
            shown = None if now is None or _is_digest(now) else now
            told = f" ({then})" if then is not None and not _is_digest(then) else ""
            yield Breach(name, None, None, shown, f"{how}{told} when run '{run.id}' was made", cure)


def _spoiled(run: Run, outputs: Mapping[str, str]) -> Iterator[Breach]:
    """Every file of the run that is missing or not as it was written: it would be handed on as the run's own."""
    for name, written in outputs.items():
        path = run.folder / name
        if not path.is_file() or digest(path.read_bytes()) != written:
            rule = f"is not what run '{run.id}' wrote"
            yield Breach(str(path), None, None, None, rule, "restore it, or move the run's folder away to make it anew")


def _is_digest(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _breach(run: Run, rule: str, cure: str) -> Breach:
    return Breach("--run-id", None, None, str(run.folder), rule, cure)


# What a run is made from, by name: the files of its book, its options, and the versions of what reads them.
#
_BESIDE = ("book.toml", "scenarios.md")


def input_digests(folder: Path, overrides: Sequence[str] = (), as_of: dt.date | None = None) -> dict[str, str]:
    """The digest of every file and table that a book is read from; nothing where it cannot be read, as `load` says why.

    What a source of another package gives is read for it: no name tells whether it has changed.
    """
    found: dict[str, str] = {}
    try:
        text = (folder / "book.toml").read_bytes().decode("utf-8-sig")
        tables = read_settings(text, overrides=overrides, as_of=as_of).tables
        for name in REQUIRED + OPTIONAL:
            where = getattr(tables, name)
            if isinstance(where, SourceTable):
                raw = read_source(name, where, folder)
                found[raw.name] = digest(raw.frame.to_csv(index=False).encode())
            elif (folder / where).is_file():
                found[where] = digest((folder / where).read_bytes())
    except (OSError, UnicodeDecodeError, BadInput):
        return {}
    return found | {name: digest((folder / name).read_bytes()) for name in _BESIDE if (folder / name).is_file()}


def refuse_changing_inputs(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise where a file changed while the book was read: nobody could say what the plan was made from."""
    cure = "let whoever writes the book finish, and run again"
    moved = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not before and not moved:  # it could be read in between, and neither before nor after
        moved = ["book.toml"]
    if moved:
        raise BadInput([Breach(name, None, None, None, "changed while it was read", cure) for name in moved])


def run_inputs(book: Book, digests: Mapping[str, str], options: Mapping[str, str | None]) -> dict[str, str]:
    """Digests of files, options that were given (such as `--as-of`), our version and those of the plugins in use."""
    named = tables_in_use(book.settings)
    # an exporter counts where it is asked for, and a command makes no plan
    kinds = [kind for kind in named if kind not in ("exporters", "commands")]
    used = [(kind, name) for kind in kinds for name in sorted(named[kind])]
    exports = (options.get("--export") or "").split()
    plugins = {
        f"{one.package} ({one.name})": one.version
        for kind, name in [*used, *(("exporters", name) for name in exports)]
        for one in installed_plugins(kind)
        if one.name == name
    }
    given = {name: value for name, value in options.items() if value}
    return {**digests, **given, **plugins, "allocator": version("portfolio-allocator"), "plan format": PLAN_FORMAT}
