"""Every way in which Allocator says no, grouped by what the reader can do about it.

`BadInput` wants corrected data, `BadMandate` a corrected wish, `Infeasible` a loosened rule, `NotSolved` another
solver or tolerance, `OutOfTime` a longer time limit or none. The exit code of the command line is
the class's `exit_code`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any, Self


@dataclass(frozen=True)
class Breach:
    """One error of the input: where, what, and the likely cure.

    `row` is the line number in a file (the header is line 1), or the row's label in a pandas object;
    None where a whole column or table is meant.
    """

    table: str
    row: Annotated[int | None, "line in the file; the header is line 1"]
    column: str | None
    value: str | None
    rule: str
    cure: str
    confirm: str | None = None
    """The entry of `book.toml` that lets it pass, where it is improbable and not impossible."""
    name: Annotated[str | None, "the instrument that the row is about, where the rule is said of one"] = None

    def __post_init__(self) -> None:
        for key in ("table", "column", "value", "rule", "cure"):
            if _MAY_TELL.search(text := getattr(self, key) or ""):
                object.__setattr__(self, key, _PASSWORD.sub(r"\1***", text))

    def __str__(self) -> str:
        return _sentence([self])

    @classmethod
    def of(cls, table: str, rule: str, cure: str, *, row: int | None = None, column: str | None = None,
           value: str | None = None) -> Breach:  # fmt: skip
        """The same, said in the order of its importance: what, and where as far as it is known."""
        return cls(table, row, column, value, rule, cure)


_MAY_TELL = re.compile("://|pass|pwd", re.IGNORECASE)
_PASSWORD = re.compile(
    r"""(://[^/\s:@]*:(?!\d+(?:[/?\s'"]|$))|(?:password|passwd|pwd)\s*=\s*)(?!\$\{\w+\})[^@\s'"&]+""", re.IGNORECASE
)
"""What stands for a password in an address that somebody has written where none belongs; a port is none."""


def setting_breach(key: str, value: object, rule: str, cure: str) -> Breach:
    """An error of `book.toml`, by the key that it stands at."""
    return Breach("book.toml", None, key, None if value is None else str(value), rule, cure)


# Errors that differ in their place alone are told in one line for a column and all its rows, or for a row and all its
# columns, whichever takes fewer lines; so are more than three of one rule in a column, or doubts of it, whatever their
# cures. Programs get each by itself.
#
_Placed = list[tuple[int, Breach]]


def alike(breaches: Iterable[Breach]) -> list[list[Breach]]:
    """The errors of each line, in the order of their first."""
    kinds: dict[tuple[str, ...], _Placed] = {}
    for at, breach in enumerate(breaches):
        kinds.setdefault((breach.table, breach.rule, breach.cure), []).append((at, breach))
    lines: list[_Placed] = []
    for kind in kinds.values():
        of_columns, of_rows = _together(kind, "column", "row"), _together(kind, "row", "column")
        lines += of_columns if len(of_columns) <= len(of_rows) else of_rows
    places: dict[tuple[object, ...], list[_Placed]] = {}
    for line in lines:
        first, columns = line[0][1], frozenset(breach.column for _, breach in line)
        places.setdefault((first.table, columns, None if first.confirm else first.rule), []).append(line)
    few = [line for own in places.values() for line in ([sum(own, _Placed())] if len(own) > _NAMED else own)]
    return [[breach for _, breach in line] for line in sorted(few, key=lambda line: line[0][0])]


def _together(kind: _Placed, along: str, across: str) -> list[_Placed]:
    """Columns with errors in the same rows are one line; or rows with errors in the same columns."""
    each: dict[object, _Placed] = {}
    for at, breach in kind:
        each.setdefault(getattr(breach, along), []).append((at, breach))
    lines: dict[frozenset[object], _Placed] = {}
    for one in each.values():
        lines.setdefault(frozenset(getattr(breach, across) for _, breach in one), []).extend(one)
    return list(lines.values())


def in_parts(line: Sequence[Breach]) -> tuple[str, str, str, str]:
    """What one line says of errors that are alike: the file with its rows, the columns, what is wrong, and the cure."""
    table, rule = line[0].table, _first_few([breach.rule for breach in line])
    rows, columns, names = (_first_few([getattr(b, key) for b in line]) for key in ("row", "column", "name"))
    values = _first_few([None if breach.value is None else repr(breach.value) for breach in line])
    if rows:
        table += f":{rows}" if rows.isdigit() else f": rows {rows}"
    wrong = rule + f" for {names}" * bool(names) + f" (got {values})" * bool(values)
    cures = list(dict.fromkeys(breach.cure for breach in line))
    likewise = len({breach.rule for breach in line}) == 1 and not any(cure.startswith("did you mean") for cure in cures)
    return (
        table,
        columns,
        wrong,
        cures[0] + "; the others likewise" * (len(cures) > 1) if likewise else _first_few(cures),
    )


def _sentence(line: Sequence[Breach]) -> str:
    place, columns, wrong, cure = in_parts(line)
    return f"{place} {columns}".rstrip() + f": {wrong}; {cure}"


_NAMED = 3
"""Rows, columns, names and values that one line tells."""


def _first_few(items: Sequence[object]) -> str:
    """`2, 3, 4 and 2398 more`, each once."""
    texts = [str(item) for item in dict.fromkeys(items) if item is not None]
    if len(texts) > _NAMED:
        texts[_NAMED:] = [f"{len(texts) - _NAMED} more"]
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


class AllocatorError(Exception):
    """The root of every error that Allocator raises on purpose."""

    exit_code = 1


def printable(text: str) -> str:
    """What came from outside as a terminal may show it: what would steer it, or cannot be encoded, is written out.

    A line break and a tab stay: they are laid out and steer nothing. Letters that only look odd stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter in "\n\t" or not _STEERING.match(letter) else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, marks that reverse the order of letters, halves of characters, and what XML has no place for."""


_TOLD = 100
"""Lines of an exception's own text; `.breaches` has every error."""


class _Breached(AllocatorError):
    """Carries all errors at once; `breaches` is for programs, the text is for people."""

    exit_code = 3

    def __init__(self, breaches: Iterable[Breach]) -> None:
        self.breaches: tuple[Breach, ...] = tuple(breaches)
        lines = alike(self.breaches)
        more = sum(map(len, lines[_TOLD:]))
        super().__init__("\n".join([*map(_sentence, lines[:_TOLD]), *([f"and {more} more"] if more else [])]))

    @classmethod
    def of(cls, table: str, rule: str, cure: str, **place: Any) -> Self:
        """The same of one error alone, said as `Breach.of` has it."""
        return cls([Breach.of(table, rule, cure, **place)])

    def __reduce__(self) -> tuple[type, tuple[tuple[Breach, ...]]]:
        return type(self), (self.breaches,)


class BadInput(_Breached):
    """A table or setting is not what its contract says: correct the data and try again."""


class BadMandate(_Breached):
    """The mandate names something that is not there, or asks for a combination we do not solve: change the wish."""


class Infeasible(AllocatorError):
    """The limits conflict: loosen one. `rules` names the conflict, `fixes` the smallest ways out.

    `conflicts` are all that were found, `rules` among them; `cut_short` says that there may be more. `moves` are the
    fixes as limits that are moved together, `overrides` as what --set takes, where they are known; `for_fractions` says
    that a fix was not tried on the whole mandate and on whole lots; `of_lots` that fractions keep every rule.
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        rules: Sequence[str] = (),
        fixes: Sequence[str] = (),
        conflicts: Sequence[Sequence[str]] = (),
        *,
        cut_short: bool = False,
        moves: Sequence[Any] = (),
        overrides: Sequence[Sequence[str]] = (),
        for_fractions: bool = False,
        of_lots: bool = False,
    ) -> None:
        self.message, self.rules, self.fixes = message, tuple(rules), tuple(fixes)
        self.conflicts: tuple[tuple[str, ...], ...] = tuple(map(tuple, conflicts)) or (
            (self.rules,) if self.rules else ()
        )
        self.cut_short, self.for_fractions, self.moves = cut_short, for_fractions, tuple(moves)
        self.overrides, self.of_lots = tuple(map(tuple, overrides)), of_lots
        super().__init__(message + (f"; smallest fix: {', or '.join(fixes)}" if fixes else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(Infeasible, cut_short=self.cut_short, moves=self.moves, overrides=self.overrides)
        again = partial(again, for_fractions=self.for_fractions, of_lots=self.of_lots)
        return again, (self.message, self.rules, self.fixes, self.conflicts)


def describe_conflict(labels: Sequence[str]) -> str:
    """`infeasible: these limits conflict: 'a', 'b' and 'c'`, the one form of it; of one limit, that none meets it."""
    names = [f"'{label}'" for label in labels]
    if len(names) == 1:
        return f"infeasible: no portfolio meets {names[0]}"
    return f"infeasible: these limits conflict: {', '.join(names[:-1])} and {names[-1]}"


class NotSolved(AllocatorError):
    """No solver gave an answer that passes our own checks: no number leaves."""

    exit_code = 5


class OutOfTime(AllocatorError):
    """A time limit of the user's own ended a search: no number leaves that hangs on a clock.

    Not a `NotSolved`, of which some are answered by asking another way: what comes then would hang on the clock, too.
    """

    exit_code = 5

    def __init__(self, setting: str, seconds: float) -> None:
        self.setting, self.seconds = setting, seconds
        super().__init__(f"the time limit ended the search, after {seconds:g} s; raise {setting}, or remove it")

    def __reduce__(self) -> tuple[type, tuple[str, float]]:
        return type(self), (self.setting, self.seconds)


def lacking_extra(package: str, extra: str) -> tuple[str, str]:
    """What is said where a package of an extra is not installed: the rule and its cure."""
    return f"needs {package}, which is not installed", f"pip install 'portfolio-allocator[{extra}]'"


def required_extra(module: str, package: str, extra: str, where: str) -> Any:
    """A module of an extra's package; `where` it is wanted is said where there is none.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise BadInput.of(where, *lacking_extra(package, extra)) from None


def did_you_mean(name: str, known: Iterable[str], *, by_stem: bool = False) -> str:
    """The cure for a name that matches nothing: the nearest known name, else the list of them.

    `by_stem` is for names of files: what follows the last point makes no two of them alike.
    """
    names = sorted({str(item) for item in known})
    near = closest_name(name, names, by_stem=by_stem)
    if near is not None:
        return f"did you mean {near!r}?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known here: {shown}" if names else "nothing is known here yet"


def closest_name(name: str, known: Iterable[str], *, by_stem: bool = False) -> str | None:
    """The known name that was probably meant; None where a suggestion would be a guess."""
    given = _stem(name) if by_stem else name
    found: tuple[float, float, str] | None = None
    for item in sorted(set(known)):
        meant = _stem(item) if by_stem else item
        exact = difflib.SequenceMatcher(None, given, meant).ratio()
        folded = difflib.SequenceMatcher(None, given.casefold(), meant.casefold()).ratio()
        rank = (max(exact, folded), exact, item)
        if _alike(given.casefold(), meant.casefold(), rank[0]) and (found is None or rank[:2] > found[:2]):
            found = rank
    return None if found is None else found[2]


def _alike(given: str, meant: str, ratio: float) -> bool:
    """ARM is not CRM and prices are not exposures, but NVDIA is NVDA, mx is max and maximum is max."""
    if ratio >= 0.75:
        return True
    if ratio >= 0.6 and min(len(given), len(meant)) >= 3 and (given.startswith(meant) or meant.startswith(given)):
        return True
    return ratio >= 0.66 and abs(len(given) - len(meant)) <= 1 and given[:1] == meant[:1]


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
