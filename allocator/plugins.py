"""What other packages add to Allocator: listed from their metadata, imported only when a book or a command names them.

A plugin is never trusted. Whatever it raises is an error with its name, its package and that package's version, and
what it gives back is held to a contract by whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Literal, TypedDict

from allocator.errors import BadInput, BadMandate, Breach, did_you_mean
from allocator.presentation import Keywords

GROUPS = {
    "rules": "allocator.rules",
    "objectives": "allocator.objectives",
    "models": "allocator.models",
    "sources": "allocator.sources",
    "exporters": "allocator.exporters",
    "commands": "allocator.commands",
}
"""What a plugin can be, and the entry-point group in which its package announces it."""
_SINGULAR = {
    "rules": "rule",
    "objectives": "objective",
    "models": "model",
    "sources": "source",
    "exporters": "exporter",
    "commands": "command",
}


@dataclass(frozen=True)
class Plugin:
    """One entry point of another package; `target` is what it names there, as `module:attribute`."""

    kind: str
    name: str
    target: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"{_SINGULAR[self.kind]} '{self.name}' of {self.package} {self.version}"


class _InstalledPlugin(TypedDict):
    kind: Annotated[str, Keywords(enum=[*GROUPS])]
    name: str
    target: Annotated[str, "module:attribute"]
    package: str
    version: str
    used: Annotated[bool | None, "whether the book names it; null without a book"]


class PluginsDocument(TypedDict):
    """What other installed packages add to Allocator: `allocator plugins`."""

    format: Literal["allocator.plugins/1"]
    groups: Annotated[dict[str, str], "the entry-point group of each kind"]
    plugins: list[_InstalledPlugin]


def plugins_document(plugins: Sequence[Plugin], used: Mapping[str, Collection[str]] | None) -> PluginsDocument:
    """The plugins as plain data; `used` are the names of each kind that a book uses, None without a book."""
    rows: list[_InstalledPlugin] = [
        {**vars(plugin), "used": None if used is None else plugin.name in used[plugin.kind]}  # type: ignore[typeddict-item]
        for plugin in plugins
    ]
    return {"format": "allocator.plugins/1", "groups": dict(GROUPS), "plugins": rows}


def installed_plugins(kind: str) -> tuple[Plugin, ...]:
    """Every plugin of a kind, by name and package; nothing of it is imported."""
    return tuple(sorted((_plugin(kind, point) for point in _points(kind)), key=lambda one: (one.name, one.package)))


def plugin_breaches(kind: str, name: str, table: str, column: str | None) -> Iterator[Breach]:
    """What keeps a name from meaning one plugin; by metadata alone, nothing is imported."""
    known = installed_plugins(kind)
    found = [one for one in known if one.name == name]
    if not found:
        cure = did_you_mean(name, [one.name for one in known])
        if not known:
            cure = "install the package that has it; `allocator plugins`, without a book, lists what is here"
        yield Breach(table, None, column, name, f"no installed package has {_article(kind)} of this name", cure)
    elif len(found) > 1:
        packages = " and ".join(f"{one.package} {one.version}" for one in found)
        rule = f"is {_article(kind)} of {packages}, and nobody can tell which is meant"
        yield Breach(table, None, column, name, rule, "uninstall all but one of them")


def load_plugin(kind: str, name: str, table: str, column: str | None = None) -> tuple[Plugin, Callable[..., Any]]:
    """The one plugin of this name and what it can be called by; `table` and `column` say who named it.

    Raises:
        BadInput: there is none of this name, or several, or it cannot be imported or called.
    """
    if found := list(plugin_breaches(kind, name, table, column)):
        raise BadInput(found)
    (point,) = (one for one in _points(kind) if one.name == name)
    plugin = _plugin(kind, point)
    function = call_plugin(plugin, point.load, doing="cannot be imported")
    if not callable(function):
        rule = f"the {plugin} is a {type(function).__name__}, and must be a function"
        raise BadInput([Breach(table, None, column, name, rule, f"correct '{point.value}' in that package")])
    return plugin, function


def call_plugin(plugin: Plugin, function: Callable[..., Any], *arguments: Any, doing: str = "fails") -> Any:
    """What a plugin's function gives; what it raises is an error by its name, for its bugs are no defect of ours.

    Raises:
        BadInput, BadMandate: the plugin's own, which say what is wrong better than we could.
        BadInput: it raised anything else, or wanted to end the program.
    """
    try:
        return function(*arguments)
    except (BadInput, BadMandate):
        raise
    except (Exception, SystemExit) as error:
        rule = f"the {plugin} {doing}: {type(error).__name__}: {error}".rstrip(": ")
        cure = "correct what it is given, or ask who maintains that package"
        raise BadInput([Breach(plugin.package, None, plugin.name, None, rule, cure)]) from error


def plugin_refusal(
    plugin: Plugin, rule: str, cure: str = "ask who maintains that package", value: str | None = None
) -> Breach:
    """An error against the contract that a plugin's answers are held to."""
    return Breach(plugin.package, None, plugin.name, value, f"the {plugin} {rule}", cure)


def _article(kind: str) -> str:
    word = _SINGULAR[kind]
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _points(kind: str) -> Iterator[EntryPoint]:
    yield from entry_points(group=GROUPS[kind])


def _plugin(kind: str, point: EntryPoint) -> Plugin:
    package = point.dist
    name, version = ("an unnamed package", "") if package is None else (package.name, package.version)
    return Plugin(kind, point.name, point.value, name, version)
