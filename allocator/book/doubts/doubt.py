"""One doubt about the data, and what `[[confirm]]` says about it.

What is impossible is an error and needs a correction. What is possible and improbable is an error, too, until it is
confirmed in writing: an entry of `[[confirm]]` that names the table, the kind, and the name and the day where the doubt
has them. An entry that meets no doubt is an error itself: it would confirm what nobody looks at any more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from allocator.errors import Breach
from allocator.settings.settings import Confirmation


@dataclass(frozen=True)
class Doubt:
    """An improbable reading of `table`: which kind, of whom, when, and what would mend it.

    `file` is what errors call the table; `value` is what was read, `cure` what to correct if it is wrong.
    """

    table: str
    kind: str
    name: str | None
    date: dt.date | None
    file: str
    row: int | None
    column: str | None
    value: str | None
    rule: str
    cure: str

    @property
    def key(self) -> tuple[str, str, str | None, dt.date | None]:
        """What an entry of `[[confirm]]` must say to mean this doubt."""
        return self.table, self.kind, self.name, self.date

    def breach(self) -> Breach:
        """The doubt as an error, with the entry that confirms it."""
        cure = f"{self.cure}; if it is right as it stands, confirm it"
        return Breach(self.file, self.row, self.column, self.value, self.rule, cure, self.entry())

    def entry(self) -> str:
        """The entry of `[[confirm]]` that would confirm it, but for its reason."""
        lines = ["[[confirm]]", f'table = "{self.table}"', f'kind = "{self.kind}"']
        if self.name is not None:
            lines.append(f"name = {_toml_text(self.name)}")
        if self.date is not None:
            lines.append(f"date = {self.date.isoformat()}")
        return "\n".join([*lines, 'why = ""  # say why'])


def _toml_text(text: str) -> str:
    """A basic string of TOML; names have no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unconfirmed(
    doubts: Iterable[Doubt], confirmed: Sequence[Confirmation], silent: Collection[str] = ()
) -> Iterator[Breach]:
    """The errors: every doubt that nothing confirms, and every confirmation that no doubt needs.

    Of `silent` tables doubts could not be raised, so that no confirmation of them is needless.
    """
    raised = list(doubts)
    entries = {(entry.table, entry.kind, entry.name, entry.date): at for at, entry in reversed([*enumerate(confirmed)])}
    yield from (doubt.breach() for doubt in raised if doubt.key not in entries)
    needed = {doubt.key for doubt in raised}
    for at, entry in enumerate(confirmed):
        key = (entry.table, entry.kind, entry.name, entry.date)
        if key not in needed and entry.table in silent:
            continue
        if key not in needed:
            yield _needless(at, entry, raised)
        elif entries[key] != at:
            rule, cure = f"says the same as entry {entries[key] + 1}", "remove one of the two"
            yield Breach("book.toml", None, f"confirm.{at}", _said(entry), rule, cure)


def _said(entry: Confirmation) -> str:
    parts = (entry.table, entry.kind, entry.name, entry.date)
    return ", ".join(str(part) for part in parts if part is not None)


def _needless(at: int, entry: Confirmation, raised: Sequence[Doubt]) -> Breach:
    alike = [doubt for doubt in raised if (doubt.table, doubt.kind) == (entry.table, entry.kind)]
    same_name = [doubt for doubt in alike if doubt.name == entry.name]
    if same_name and same_name[0].date is not None:
        cure = f"write date = {same_name[0].date.isoformat()}, or remove the entry"
    elif alike and alike[0].name is not None:
        cure = f"write name = {_toml_text(alike[0].name)}, or remove the entry"
    else:
        cure = "remove the entry: there is nothing to confirm"
    return Breach("book.toml", None, f"confirm.{at}", _said(entry), "confirms what is not in doubt", cure)
