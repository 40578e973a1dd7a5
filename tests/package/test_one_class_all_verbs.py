"""One class, all its verbs: nothing outside a thing's own file tells one from another, by its class or by its name.

A row of THINGS is a kind of thing that people add to: the classes, their own files, and the names that books call
them by. Whoever asks which one it is has a verb to write in that class.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from allocator.settings.mandate import OBJECTIVES
from allocator.settings.uncertainty import AMBIGUITY_SETS


@dataclass(frozen=True)
class Kind:
    """`classes` are all that are defined in its `own` files (beginnings of dotted names); `names` of them may be
    compared with in these and in the `table` where the settings state them, when they stand at the end of `keys`.
    """

    own: tuple[str, ...]
    table: str
    keys: tuple[str, ...]
    names: frozenset[str]


RULES = frozenset({"turnover", "participation", "no trade", "forbidden", "largest", "volatility", "tracking error"})
THINGS = {
    "ambiguity set": Kind(
        own=("allocator.ambiguity.",),
        table="allocator.settings.uncertainty",
        keys=("robust.set", "ambiguity.name", "robust.get('set')"),
        names=frozenset(AMBIGUITY_SETS),
    ),
    "objective": Kind(
        own=("allocator.multistage.objectives", "allocator.multistage.risk_adjustment"),
        table="allocator.settings.mandate",
        keys=("mandate.objective", "wanted.objective", "objective", "mandate.get('objective')"),
        names=frozenset(OBJECTIVES),
    ),
    "rule": Kind(own=("allocator.rules.",), table="allocator.settings.mandate", keys=("rule.kind",), names=RULES),
    "return error": Kind(
        own=("allocator.mandate.return_errors",),
        table="allocator.settings.uncertainty",
        keys=("return_error.name", "error.name"),
        names=frozenset({"box", "ellipsoid", "budget"}),
    ),
}


written = cache(ast.unparse)  # every kind looks at all of the house


@cache
def sources(root: Path) -> dict[str, ast.Module]:
    """Every file of the package by its dotted name."""
    paths = (root / "allocator").rglob("*.py")
    named = {".".join(path.relative_to(root).with_suffix("").parts): path for path in paths}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in named.items()}


def classes_of(kind: Kind, files: dict[str, ast.Module]) -> set[str]:
    """The classes that its own files define, and their bases' names with them."""
    own = [tree for name, tree in files.items() if name.startswith(kind.own)]
    return {node.name for tree in own for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def named(node: ast.AST) -> frozenset[str]:
    """The last parts of all names in an expression."""
    return frozenset({getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node)} - {""})


def texts(node: ast.AST) -> set[str]:
    """The texts in an expression."""
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


@cache
def keys(node: ast.AST) -> frozenset[str]:
    """The texts that are keys in an expression."""
    keyed = [part for part in ast.walk(node) if isinstance(part, ast.Dict)]
    return frozenset(text for part in keyed for key in part.keys if key is not None for text in texts(key))


def by_class(tree: ast.Module, classes: set[str]) -> Iterator[int]:
    """Lines that ask for a class: isinstance, issubclass, `type() is` and its kin, match, a table keyed by classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and named(node.func) & {"isinstance", "issubclass"} and len(node.args) > 1:
            asked: ast.AST | None = node.args[1]
        elif isinstance(node, ast.Compare):
            asked = ast.Tuple([node.left, *node.comparators], ast.Load()) if takes_type(node) else None
        elif isinstance(node, ast.Dict):
            asked = ast.Tuple([key for key in node.keys if isinstance(key, ast.Name | ast.Attribute)], ast.Load())
        else:
            asked = node if isinstance(node, ast.MatchClass) else None
        if asked is not None and named(asked) & classes:
            yield node.lineno if hasattr(node, "lineno") else 0


def takes_type(node: ast.Compare) -> bool:
    """Whether `type(x)` or `x.__class__` stands in a comparison."""
    sides = [node.left, *node.comparators]
    return any(named(part.func) == {"type"} for part in sides if isinstance(part, ast.Call)) or any(
        {"__class__", "__name__"} & named(part) for part in sides
    )


def by_name(tree: ast.Module, kind: Kind) -> Iterator[int]:
    """Lines that compare the setting with one of the names, in a comparison, a match, or as keys of a look-up."""
    aliases = {*kind.keys}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            aliases |= {written(to) for to, value in given(node) if stands_for(value, aliases)}
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if texts(node) & kind.names and any(stands_for(side, aliases) for side in sides):
                yield node.lineno
        elif isinstance(node, ast.Match) and stands_for(node.subject, aliases):
            yield node.lineno
        elif isinstance(node, ast.Call | ast.Subscript):
            inside = node.args if isinstance(node, ast.Call) else [node.slice]
            if keys(node) & kind.names and any(stands_for(part, aliases) for part in inside):
                yield node.lineno


def given(node: ast.Assign) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What is given to what, one by one where several are given at once."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def stands_for(node: ast.AST, aliases: set[str]) -> bool:
    """Whether an expression is the setting, or a variable that was given it."""
    text = written(node)
    return any(text == alias or text.endswith(f".{alias}") for alias in aliases)


def breaches(name: str, tree: ast.Module, kind: Kind, classes: set[str]) -> list[str]:
    """Where a file asks which one of a kind something is."""
    lines = set[int]() if name.startswith(kind.own) else {*by_class(tree, classes)}
    if not name.startswith((*kind.own, kind.table)):
        lines |= {*by_name(tree, kind)}
    return [f"{name}:{line}" for line in sorted(lines)]


@pytest.mark.parametrize("what", THINGS)
def test_no_file_but_its_own_asks_which_one_of_a_kind_something_is(root: Path, what: str) -> None:
    files, kind = sources(root), THINGS[what]
    classes = classes_of(kind, files)

    assert len(classes) > len(kind.names) / 2
    assert [place for name, tree in files.items() for place in breaches(name, tree, kind, classes)] == []


def test_nothing_is_dispatched_on_a_class_by_a_register(root: Path) -> None:
    users = [name for name, tree in sources(root).items() if "singledispatch" in named(tree) | imported(tree)]

    assert users == []


def imported(tree: ast.Module) -> set[str]:
    """What a file imports by name."""
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(x, Box)",
        "isinstance(x, sets.Box | Other)",
        "type(x) is Box",
        "type(x) in (Box, Other)",
        "type(x).__name__ == Box.__name__",
        "TABLE = {Box: 'box'}",
        "match x:\n    case Box(radius=r):\n        pass",
        "if book.settings.robust.set == 'box': pass",
        "kind = robust.set\nif kind in ('box', 'kl'): pass",
        "kind, mandate = robust.set, settings.mandate\nif kind == 'box': pass",
        "{'box': 1}.get(robust.set, 2)",
        "{'box': 1}[robust.set]",
        "match robust.set:\n    case 'box':\n        pass",
    ],
)
def test_a_question_for_the_kind_is_seen_however_it_is_put(source: str) -> None:
    assert breaches("allocator.plan.plan", ast.parse(source), THINGS["ambiguity set"], {"Box", "KullbackLeibler"})


@pytest.mark.parametrize(
    "source",
    ["ambiguity.is_curved", "Box(0.1)", "isinstance(x, Other)", "risk.source == 'none'", "robust.set != other"],
)
def test_what_asks_for_nothing_of_the_kind_is_left_alone(source: str) -> None:
    assert not breaches("allocator.plan.plan", ast.parse(source), THINGS["ambiguity set"], {"Box", "KullbackLeibler"})
