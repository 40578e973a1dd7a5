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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict
from uuid import uuid4

from allocator.book.book import OPTIONAL, REQUIRED, Book
from allocator.book.checks.consistency import tables_in_use
from allocator.book.loading import book_text, read_source
from allocator.errors import BadInput, Breach
from allocator.plugins import installed_plugins
from allocator.presentation import Keywords
from allocator.settings.reading import read_settings
from allocator.tables.files import is_plain_file, names_in, read_regular_file, regular_file_parts

try:
    import fcntl
except ImportError:  # Windows: there writers are not kept apart
    fcntl = None  # type: ignore[assignment]

FORMAT: Final = "allocator.run/1"
PLAN_FORMAT: Final = "allocator.plan/2"
"""Of plan.json: a run of another format is another run, and is not given back as this one."""
RECEIPT = "receipt.json"
"""What a ledger says of a run beside its files: another each time that they leave."""
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
    outputs: Annotated[dict[str, _Digest], "SHA-256 of each file that the run wrote, but of receipt.json"]


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
    if found := [*changed_inputs(run.id, run.inputs, made["inputs"]), *_spoiled(run, made["outputs"])]:
        raise BadInput(found)
    document: dict[str, Any] = json.loads((run.folder / "plan.json").read_text(encoding="utf-8"))
    return document


def run_of_folder(folder: Path) -> tuple[RunDocument, dict[str, Any]]:
    """What the folder of a run was made from, and its plan.

    Raises:
        BadInput: it is no folder of a run, or its files are no longer as it wrote them.
    """
    run = Run(Path(os.path.realpath(folder)).name, folder, {})
    made = _manifest(run)
    if found := list(_spoiled(run, made["outputs"])):
        raise BadInput(found)
    return made, json.loads((folder / "plan.json").read_text(encoding="utf-8"))  # type: ignore[return-value]


def write_run(run: Run, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write the run's files and its run.json as one folder: whole, or not at all.

    Where another process has finished the same run meanwhile, that one stays: the same inputs give the same files.

    Raises:
        BadInput: the folder cannot be written, or the other process's run was made from other inputs.
    """
    outputs = {name: digest(content) for name, content in files.items() if name != RECEIPT}
    inputs = dict(sorted(run.inputs.items()))
    made: RunDocument = {"format": FORMAT, "run_id": run.id, "inputs": inputs, "outputs": outputs}
    whole = {**files, "run.json": (json.dumps(made, indent=1) + "\n").encode()}
    with _writing(run.folder), _folder_in_the_making(run.folder.parent) as beside:
        _fill(beside, whole)
        _renamed(beside, run)
    return tuple(run.folder / name for name in whole)


def digest(content: bytes | Iterable[bytes]) -> str:
    """What tells one content, all of it or part after part, from another."""
    found = hashlib.sha256()
    for part in [content] if isinstance(content, bytes) else content:
        found.update(part)
    return found.hexdigest()


def _renamed(beside: Path, run: Run) -> None:
    try:
        beside.rename(run.folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        finished_document(run)  # another process was faster: the same run, or a refusal
    _settle(run.folder.parent)


def _manifest(run: Run) -> Mapping[str, Any]:
    path = run.folder / "run.json"
    try:
        made: dict[str, Any] = json.loads(read_regular_file(path, path.name))
    except (BadInput, ValueError, RecursionError) as error:
        rule = f"is there, and no run of ours: run.json cannot be read ({type(error).__name__})"
        raise BadInput([_breach(run, rule, "move the folder away, or use another --run-id")]) from None
    sound = isinstance(made, dict) and made.get("format") == FORMAT and made.get("run_id") == run.id
    if not sound or not all(isinstance(made.get(name), dict) for name in ("inputs", "outputs")):
        raise BadInput([_breach(run, "is there, and holds another run", "use another --run-id or --out")])
    return made


def changed_inputs(run_id: str, inputs: Mapping[str, str], before: Mapping[str, str]) -> Iterator[Breach]:
    """Every input that is not what the run was made from."""
    cure = "give the new inputs a --run-id of their own, or put back the old ones"
    for name in sorted({*before, *inputs}):
        then, now = before.get(name), inputs.get(name)
        if then != now:
            how = "was not there" if then is None else "is gone and was there" if now is None else "was another"
            shown = None if now is None or _is_digest(now) else now
            told = f" ({then})" if then is not None and not _is_digest(then) else ""
            yield Breach(name, None, None, shown, f"{how}{told} when run '{run_id}' was made", cure)


def _spoiled(run: Run, outputs: Mapping[str, str]) -> Iterator[Breach]:
    """Every file of the run that is missing or not as it was written: it would be handed on as the run's own."""
    for name, written in outputs.items():
        path = run.folder / name
        if not is_plain_file(path) or digest(read_regular_file(path, name)) != written:
            rule = f"is not what run '{run.id}' wrote"
            yield Breach(str(path), None, None, None, rule, "restore it, or move the run's folder away to make it anew")


def _is_digest(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _breach(run: Run, rule: str, cure: str) -> Breach:
    return Breach("--run-id", None, None, str(run.folder), rule, cure)


# Files that belong together become visible by one rename, whenever their writer is killed and whoever else writes.
#
# A new folder is made under another name and renamed. In a folder that is there already, each file is a link through
# `.plans/current` into a folder of its version, and renaming that one link changes all of them at once. The version
# before stays, for who is reading it; those before it go.
#
VERSIONS, CURRENT = ".plans", "current"
_IN_THE_MAKING = re.compile(r"\.writing-[0-9a-z_]{8,32}")


def write_files(files: Mapping[str, bytes], folder: Path) -> tuple[Path, ...]:
    """Write files into `folder` by name: all of them become visible at once, or none.

    Raises:
        BadInput: the folder cannot be written; files that were there before are as they were.
    """
    with _writing(folder):
        place = Path(os.path.realpath(folder))
        if not _written_as_new_folder(files, place):
            with _only_writer(place):
                _sweep(place)
                if os.name == "nt":  # links want a privilege there
                    _replace_one_by_one(files, place)
                else:
                    _replace_together(files, place)
    return tuple(folder / name for name in files)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name that no folder can have
        rule = f"cannot be written: {getattr(error, 'strerror', None) or error}"
        raise BadInput([Breach("--out", None, None, str(folder), rule, "make room, or name another folder")]) from None


def _written_as_new_folder(files: Mapping[str, bytes], place: Path) -> bool:
    """Whether the files could become a folder of their own, in place of nothing or of an empty one."""
    if place.is_dir() and any(place.iterdir()):
        return False
    try:
        with _folder_in_the_making(place.parent) as made:
            _fill(made, files)
            if place.is_dir():
                shutil.copystat(place, made)
            made.rename(place)
    except OSError:
        if place.is_dir():  # of another who was faster, where nothing may be made beside it, or a mount
            return False
        raise
    _settle(place.parent)
    return True


def _replace_together(files: Mapping[str, bytes], place: Path) -> None:
    shown = {name: path.read_bytes() for name in files if _refuse_odd(path := place / name)}
    if shown == files:
        return  # the same plan once more
    versions = place / VERSIONS
    versions.mkdir(exist_ok=True)
    before = Path(os.path.realpath(versions / CURRENT)).name
    try:
        _show(files, shown, place)
    finally:
        kept = (CURRENT, Path(os.path.realpath(versions / CURRENT)).name, before)
        for old in versions.iterdir():
            if old.name not in kept:
                _remove(old)
        with suppress(OSError):
            versions.rmdir()  # where nothing came of it


def _show(files: Mapping[str, bytes], shown: Mapping[str, bytes], place: Path) -> None:
    """Let each name lead to its new content, all by the last rename."""
    versions = place / VERSIONS
    if any(not _is_link(place / name) for name in shown):  # of an earlier release, or of somebody else
        _switch(versions, _version(versions, {**_current(versions), **shown}))
        for name in shown:
            _link(place, name)
    made = _version(versions, {**_current(versions), **files})
    for name in files:
        _link(place, name)  # a new one leads nowhere until the switch: it is not there yet
    _switch(versions, made)


def _replace_one_by_one(files: Mapping[str, bytes], place: Path) -> None:
    with _folder_in_the_making(place) as made:
        _fill(made, files)
        for name in files:
            (made / name).replace(place / name)


def _refuse_odd(path: Path) -> bool:
    """Whether there is a plain file.

    Raises:
        OSError: something else is in its place.
    """
    if is_plain_file(path):
        return True
    if os.path.lexists(path) and not path.is_symlink():
        raise OSError(errno.EEXIST, f"{path.name} is there, and is no plain file")
    return False


def _is_link(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()) == os.path.join(VERSIONS, CURRENT, path.name)  # noqa: PTH118


def _link(place: Path, name: str) -> None:
    if not _is_link(place / name):
        _rename_link(Path(VERSIONS, CURRENT, name), place / VERSIONS, place / name)


def _switch(versions: Path, version: Path) -> None:
    _rename_link(Path(version.name), versions, versions / CURRENT)
    _settle(versions)


def _rename_link(target: Path, versions: Path, path: Path) -> None:
    fresh = versions / f"link-{uuid4().hex}"
    fresh.symlink_to(target)
    fresh.replace(path)


def _current(versions: Path) -> dict[str, bytes]:
    """The files of the version that is shown, of which those that are not written anew stay."""
    current = versions / CURRENT
    return {path.name: path.read_bytes() for path in current.iterdir()} if current.is_dir() else {}


def _version(versions: Path, files: Mapping[str, bytes]) -> Path:
    made = versions / uuid4().hex
    made.mkdir()
    _fill(made, files)
    return made


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _settle(folder)


def _settle(folder: Path) -> None:
    """Let names outlast a failure of power, where a folder can be asked to."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _only_writer(place: Path) -> Iterator[None]:
    """Wait for others who write there: they take a moment each."""
    handle = os.open(place, os.O_RDONLY)
    try:
        for _ in range(600):
            if _lock(handle):
                break
            Event().wait(0.05)
        else:
            raise OSError(errno.EBUSY, "another writer does not end")
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether this process has the folder for itself; it is free again when the process ends, however it does."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextmanager
def _folder_in_the_making(parent: Path) -> Iterator[Path]:
    """A new folder beside those that are there, held so that nobody who sweeps takes it for left behind."""
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    handle = None
    while handle is None:
        made = parent / f".writing-{uuid4().hex}"
        made.mkdir()
        with suppress(FileNotFoundError):  # swept before it was held
            handle = os.open(made, os.O_RDONLY)
            if not _lock(handle) or not made.exists():
                os.close(handle)
                handle = None
    try:
        yield made
    finally:
        os.close(handle)
        shutil.rmtree(made, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what writers who were killed have left in the making."""
    if fcntl is None:
        return
    for name in names_in(folder):
        if _IN_THE_MAKING.fullmatch(name):
            with suppress(OSError):
                handle = os.open(folder / name, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder / name, ignore_errors=True)
                finally:
                    os.close(handle)


# What a run is made from, by name: the files of its book, its options, and the versions of what reads them.
#
_BESIDE = ("book.toml", "scenarios.md")


@dataclass(frozen=True)
class BookInput:
    """What a book is read from: a file or the answer of a source, its bytes, and the table of the book that it is."""

    name: str
    content: bytes
    table: str | None = None


def book_inputs(folder: Path, overrides: Sequence[str] = (), as_of: dt.date | None = None) -> list[BookInput]:
    """Every file and table that a book is read from; none where it cannot be read, as `load` says why.

    What a database or a source of another package gives is read for it: no name tells whether it has changed.
    """
    try:
        every = _inputs_in_parts(folder, overrides, as_of)
        return [BookInput(name, b"".join(parts), table) for name, table, parts in every]
    except BadInput:
        return []


def _inputs_in_parts(
    folder: Path, overrides: Sequence[str], as_of: dt.date | None
) -> Iterator[tuple[str, str | None, Iterable[bytes]]]:
    """The name of each, the table that it is, and its bytes, part after part, so that no more is in memory.

    Raises:
        BadInput: the book cannot be read; also a part of it.
    """
    settings = read_settings(book_text(folder), overrides=overrides, as_of=as_of)
    for name in REQUIRED + OPTIONAL:
        where = getattr(settings.tables, name)
        if not isinstance(where, str):
            raw = read_source(name, where, folder, settings.book.as_of)
            yield raw.name, name, [raw.frame.to_csv(index=False).encode()]
        elif is_plain_file(folder / where):
            yield where, name, regular_file_parts(folder / where, where)
    for name in _BESIDE:
        if is_plain_file(folder / name):
            yield name, None, regular_file_parts(folder / name, name)


def input_digests(folder: Path, overrides: Sequence[str] = (), as_of: dt.date | None = None) -> dict[str, str]:
    """The digest of everything that a book is read from, by name."""
    try:
        return {name: digest(parts) for name, _, parts in _inputs_in_parts(folder, overrides, as_of)}
    except BadInput:
        return {}


def digests_of(inputs: Sequence[BookInput]) -> dict[str, str]:
    """What tells inputs from others, by name."""
    return {one.name: digest(one.content) for one in inputs}


def refuse_changing_inputs(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise where a file changed while the book was read: nobody could say what the plan was made from."""
    cure = "let whoever writes the book finish, and run again"
    moved = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not before and not moved:  # it could be read in between, and neither before nor after
        moved = ["book.toml"]
    if moved:
        raise BadInput([Breach(name, None, None, None, "changed while it was read", cure) for name in moved])


def run_inputs(
    book: Book, digests: Mapping[str, str], options: Mapping[str, Any], followed: str | None = None
) -> dict[str, str]:
    """Digests of files, options that were given (such as `--as-of`), our version and those of the plugins in use."""
    named = tables_in_use(book.settings)
    # an exporter counts where it is asked for, and a command makes no plan
    kinds = [kind for kind in named if kind not in ("exporters", "commands")]
    used = [(kind, name) for kind in kinds for name in sorted(named[kind])]
    plugins = {
        f"{one.package} ({one.name})": one.version
        for kind, name in [*used, *(("exporters", name) for name in options["export"])]
        for one in installed_plugins(kind)
        if one.name == name
    }
    given = {
        "--account": options["account"],
        "--set": "; ".join(options["overrides"]),
        "--as-of": options["as_of"],
        "--export": " ".join(options["export"]),
        "--follow": followed,
    }
    stated = {name: value for name, value in given.items() if value}
    return {**digests, **stated, **plugins, "allocator": version("portfolio-allocator"), "plan format": PLAN_FORMAT}
