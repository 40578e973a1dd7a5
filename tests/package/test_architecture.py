"""The shape of the house, held by a machine: direction of imports, names, what starts fast, what may be committed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

# Design §3, lowest first (types only names array shapes): a room may import itself and the rooms before it.
ROOMS = (
    "errors", "types", "presentation", "plugins", "cvxpy_parameters", "tables", "importers", "settings",
    "book", "outlook", "ambiguity", "rules", "mandate", "optimization", "lots", "multistage", "few_names", "plan",
    "stress_testing", "backtesting", "fleets", "ledger", "display", "reporting", "integrations", "commands", "__main__",
)  # fmt: skip
LOWER = {"allocator.outlook.efficiency_model_settings": "settings"}
"""Stands beside the model whose keys it has, and in the room that reads book.toml: it needs nothing but its fields."""
VAGUE = {"utils", "util", "base", "core", "manager", "managers", "helper", "helpers"}
DATA_SUFFIXES = {".csv", ".toml", ".md", ".yaml", ".json"}
SLOW = {"cvxpy", "numpy", "pandas", "pandera", "scipy", "sklearn", "sqlalchemy"}
SOLVERS = {"cvxpy", "clarabel", "piqp", "highspy", "scs", "osqp"}


parsed = cache(ast.parse)  # many tests read all of the house


@cache
def imported_names(source: str, module: str, is_package: bool) -> tuple[tuple[int, str], ...]:
    """Line and full dotted name of all that `module` imports: at the top, inside functions, and by name at run time."""
    return tuple(_imported_names(source, module, is_package))


def _imported_names(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            yield from ((node.lineno, text.rstrip(".")) for text in texts if isinstance(text, str))


def upward_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of `module` that go up the list of rooms; the public front `allocator` stands above all of them."""
    room = LOWER.get(module, module.split(".")[1])
    if room not in ROOMS:
        return [f"{module} stands in no room of the list"]
    own = ROOMS.index(room)
    breaches = []
    for line, name in imported_names(source, module, is_package):
        parts = name.split(".")
        if parts[0] != "allocator" or parts[1:] == ["__version__"]:
            continue
        above = LOWER.get(".".join(parts[:3]), parts[1] if len(parts) > 1 else "")
        if above not in ROOMS or ROOMS.index(above) > own:
            breaches.append(f"{module}:{line} imports {name}")
    return breaches


def modules(root: Path) -> Iterator[tuple[str, str, bool]]:
    """Source, dotted name and kind of every module but the public front, which may name them all."""
    for path in sorted((root / "allocator").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        if parts != ("allocator", "__init__"):
            yield path.read_text(encoding="utf-8"), ".".join(parts[:-1] if is_package else parts), is_package


def test_imports_flow_down_the_list_of_rooms(root: Path) -> None:
    found = list(modules(root))

    assert len(found) > len(ROOMS) / 2
    assert [breach for module in found for breach in upward_imports(*module)] == []


@pytest.mark.parametrize(
    ("module", "is_package", "source"),
    [
        ("allocator.tables", False, "from allocator.book import Book"),
        ("allocator.tables", False, "import allocator.plan.orders"),
        ("allocator.tables", False, "def late():\n    from .book import Book"),
        ("allocator.tables", False, "from . import commands"),
        ("allocator.book", True, "from ..optimization import solve"),
        ("allocator.book.loading", False, "from ..optimization import solve"),
        ("allocator.book.loading", False, "if TYPE_CHECKING:\n    from allocator.mandate import Mandate"),
        ("allocator.book.loading", False, "importlib.import_module('allocator.plan')"),
        ("allocator.book.loading", False, "import_module(f'allocator.commands.{name}')"),
        ("allocator.attic", False, "import math"),
        ("allocator.plan", True, "from allocator import rebalance"),
        ("allocator.plan", True, "import allocator"),
        ("allocator.plan", True, "from allocator.attic import treasure"),
    ],
)
def test_an_upward_import_is_found_wherever_it_hides(module: str, is_package: bool, source: str) -> None:
    assert len(upward_imports(source, module, is_package)) == 1


@pytest.mark.parametrize(
    ("module", "is_package", "source"),
    [
        ("allocator.book", True, "from allocator.errors import BadInput"),
        ("allocator.book", True, "from . import folder\nfrom .folder import read"),
        ("allocator.book.loading", False, "from .. import tables\nimport numpy as np\nfrom pandas import allocator"),
        ("allocator.commands.book", False, "from allocator.errors import Breach"),
    ],
)
def test_a_downward_import_is_left_alone(module: str, is_package: bool, source: str) -> None:
    assert upward_imports(source, module, is_package) == []


CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time", "time_ns", "monotonic_ns"}
MAY_LOOK_AT_A_CLOCK = {
    "TimeLimit": "the user's own limit of time, which ends a search with an error that says so",
    "_KeptResults": "how often progress is told, and nothing else",
    "_Rate": "how many accounts are told of as done in a second, and nothing else",
    "_work_here": "how many items are done here before other processes help; no answer differs",
}
"""Definitions at the top of a module, and why what they decide is not in any answer: searches end by work."""


def clocks(source: str) -> list[str]:
    """The definitions at the top of a module, or its line, that name a clock; however it was imported."""
    found = []
    for node in parsed(source).body:
        for part in ast.walk(node):
            of_time = isinstance(part, ast.Attribute) and ast.unparse(part.value) == "time" and part.attr in CLOCKS
            if of_time or (isinstance(part, ast.ImportFrom) and part.module == "time"):
                found.append(getattr(node, "name", f"line {node.lineno}"))
    return found


def test_no_search_looks_at_a_clock_but_for_the_users_own_limit(root: Path) -> None:
    looks = [(module, name) for source, module, _ in modules(root) for name in clocks(source)]

    assert {name for _, name in looks} == set(MAY_LOOK_AT_A_CLOCK)
    assert len({module for module, _ in looks}) == 3, looks


@pytest.mark.parametrize(
    "source", ["from time import monotonic", "import time\nx = time.time()", "def f():\n    return time.perf_counter()"]
)
def test_a_clock_is_found_wherever_it_hides(source: str) -> None:
    assert len(clocks(source)) == 1


def files_imported(root: Path) -> dict[str, set[str]]:
    """Which files of the package each file imports, inside functions and for types alone too."""
    found = {module: (source, is_package) for source, module, is_package in modules(root)}
    found["allocator"] = ((root / "allocator" / "__init__.py").read_text(encoding="utf-8"), True)
    imports: dict[str, set[str]] = {}
    for module, (source, is_package) in found.items():
        names = [name for _, name in imported_names(source, module, is_package) if name.startswith("allocator")]
        targets = (name if name in found else name.rpartition(".")[0] for name in names)
        imports[module] = {target for target in targets if target in found} - {module}
    return imports


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Files that import each other, however far around: the strongly connected components of more than one."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen, ahead = set[str](), [start]
        while ahead:
            for target in imports[ahead.pop()] - seen:
                seen.add(target)
                ahead.append(target)
        reached[start] = seen
    around = {
        frozenset({one, *(two for two in reached[one] if one in reached[two])})
        for one in imports
        if one in reached[one]
    }
    return sorted(sorted(circle) for circle in around)


def test_no_file_imports_itself_around_a_circle(root: Path) -> None:
    imports = files_imported(root)

    assert imports.pop("allocator")  # the public front names them all
    assert circles({module: targets - {"allocator"} for module, targets in imports.items()}) == []


def test_a_circle_of_imports_is_found_however_long() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set[str]()}

    assert circles(imports) == [["a", "b", "c"]]
    assert circles({**imports, "c": {"d"}}) == []


OWN_BOUNDS = {"backtesting": 12, "few_names": 5, "fleets": 7, "importers": 8, "ledger": 12, "reporting": 13}
"""Wings that nothing of a rebalance passes through, each with the files that it may have; the others share theirs."""


def test_the_house_has_at_most_157_files_of_which_few_serve_one_other(root: Path) -> None:
    imports = files_imported(root)
    users = {module: [one for one, targets in imports.items() if module in targets] for module in imports}
    wings = {module: [*module.split("."), ""][1] for module in imports}
    shared = [module for module, wing in wings.items() if wing not in OWN_BOUNDS]

    # 150, and of the ledger, the frontier, the backtest, the trial and the fleet their commands, study and screens,
    # which nobody else shares
    assert len(shared) <= 157
    assert len([module for module in shared if len(users[module]) == 1]) <= 25
    for wing, most in OWN_BOUNDS.items():
        assert 0 < list(wings.values()).count(wing) <= most, wing


PASSES = """
import sys
from click.testing import CliRunner
from allocator.__main__ import main
seen = set()
def look(frame, event, _):
    if event == "call" and frame.f_code.co_flags & 1:  # a function's: bodies of modules and classes are not optimized
        seen.add(frame.f_code.co_filename)
sys.setprofile(look)
answer = CliRunner().invoke(main, ["rebalance", "data/listed"])
sys.setprofile(None)
assert answer.exit_code == 0, answer.output
assert "sqlalchemy" not in sys.modules  # nothing is recorded
print(sum("/allocator/" in name.replace("\\\\", "/").rpartition("site-packages")[2] for name in seen))
"""


def test_one_rebalance_passes_at_most_seventy_files(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PASSES], cwd=root, capture_output=True, text=True, check=True)

    assert 30 < int(done.stdout.splitlines()[-1]) <= 70


def definitions(root: Path, kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[str, str]]:
    """Name and module of every class or function at the top of a module."""
    for source, module, _ in modules(root):
        for node in parsed(source).body:
            if isinstance(node, kind):
                yield getattr(node, "name"), module  # noqa: B009  the kinds given here all have one


def repeated(named: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The names that stand in more than one place, with the places."""
    places: dict[str, list[str]] = {}
    for name, place in named:
        places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_class_name_means_two_things(root: Path) -> None:
    assert repeated(definitions(root, ast.ClassDef)) == {}


def test_no_public_function_name_means_two_things_outside_commands(root: Path) -> None:
    functions = [
        (name, module)
        for name, module in definitions(root, (ast.FunctionDef, ast.AsyncFunctionDef))
        if not name.startswith("_") and module.split(".")[1] not in {"commands", "__main__"}
    ]

    assert len(functions) > 300
    assert repeated(functions) == {}


def test_no_file_name_stands_twice_within_a_wing(root: Path) -> None:
    package = root / "allocator"
    files = [path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"]

    assert repeated((str(path.parent / path.stem), str(path)) for path in files) == {}
    assert repeated((f"{path.parts[0]}: {path.stem}", str(path)) for path in files if len(path.parts) == 2) == {}


def test_no_public_name_is_called_like_a_room(root: Path) -> None:
    import allocator

    rooms = {path.stem for path in (root / "allocator").iterdir()} - {"__init__", "__pycache__"}

    assert rooms & set(allocator.__all__) == set()


# Words that say that something was done, or point at something, and not what it is (design §4).
RIDDLES = {"bent", "seen", "unfit", "standing", "past", "footing", "asked", "again", "loop", "waste", "told", "kept"}
NOUNS_IN_ING = {
    "backtesting",
    "loading",
    "reading",
    "reporting",
    "sampling",
    "trading",
    "stress_testing",
    "value_of_waiting",
}


def test_every_file_is_named_by_a_noun_of_the_field(root: Path) -> None:
    package = root / "allocator"
    names = {path.stem for path in package.rglob("*.py")} | {path.name for path in package.rglob("*") if path.is_dir()}
    names -= {"__init__", "__main__", "__pycache__", "py.typed"}

    assert names & RIDDLES == set()
    assert {name for name in names if name.endswith(("ed", "ing")) and name not in NOUNS_IN_ING} == set()


def test_every_module_says_what_it_is_about(committed: list[Path]) -> None:
    code = [path for path in committed if path.suffix == ".py"]
    words = {path: set(re.split(r"[_.]+", "_".join(path.parts).lower())) for path in code}

    assert code
    assert [str(path) for path in code if words[path] & VAGUE] == []


def test_data_and_schemas_hold_no_code(committed: list[Path], root: Path) -> None:
    held = [path for path in committed if path.parts[0] in {"data", "schemas"}]

    assert {path.parts[0] for path in held} == {"data", "schemas"}
    assert [str(path) for path in held if path.suffix not in DATA_SUFFIXES] == []
    assert [str(path) for path in held if (root / path).stat().st_mode & 0o111] == []


@cache
def loaded_by(root: Path, *arguments: str) -> frozenset[str]:
    """The modules that a command has imported by the time it has succeeded."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from allocator.__main__ import main\n"
        f"sys.argv = {['allocator', *arguments]!r}\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    return frozenset(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["rebalance", "--help"], ["history", "--help"]])
def test_asking_for_help_waits_for_no_heavy_import(root: Path, arguments: list[str]) -> None:
    assert loaded_by(root, *arguments) & (SLOW | SOLVERS) == set()


def test_checking_a_book_never_imports_a_solver(root: Path) -> None:
    loaded = loaded_by(root, "check", "data/listed")

    assert "pandas" in loaded  # it really read the tables
    assert loaded & (SOLVERS | {"sqlalchemy"}) == set()


HEAVY = {*SOLVERS, "sklearn", "scipy.optimize", "scipy.integrate", "scipy.stats", "sqlalchemy", "jinja2", "xlsxwriter"}
HEAVY |= {"allocator.few_names", "allocator.backtesting"}
"""What takes a tenth of a second and more to import, and not every command needs."""
NEEDED: dict[tuple[str, ...], set[str]] = {
    ("check", "data/listed"): set(),
    ("check", "data/note"): set(),
    ("beliefs", "data/listed"): {"scipy.integrate", "scipy.optimize"},
    ("rebalance", "data/listed"): {"piqp", "highspy", "scipy.optimize"},
}


@pytest.mark.parametrize("command", NEEDED, ids=" ".join)
def test_a_command_imports_no_heavy_module_but_those_that_it_uses(root: Path, command: tuple[str, ...]) -> None:
    assert loaded_by(root, *command) & HEAVY <= NEEDED[command]


def test_every_test_name_reads_as_a_sentence(committed: list[Path], root: Path) -> None:
    names = [
        f"{path}::{node.name}"
        for path in committed
        if path.parts[0] == "tests" and path.suffix == ".py"
        for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]

    assert names
    assert [name for name in names if len(name.split("::test_")[1].split("_")) < 4] == []


# Written in pieces, so that this file passes its own test.
HOSTS = ("py" "pi.org", "python" "hosted", "registry.np" "mjs", "deb.deb" "ian")  # fmt: skip
MACHINE_PATH = re.compile(r"(^|[\s\"'=(:])/(tmp|work|root|farm|home/\w+)/")


def places_of_one_machine(text: str) -> list[str]:
    """The lines that name a folder of somebody's machine or the host of a package registry."""
    return [line for line in text.splitlines() if MACHINE_PATH.search(line) or any(host in line for host in HOSTS)]


def test_no_committed_file_names_a_machine_or_a_registry(committed: list[Path], root: Path) -> None:
    texts = {path: (root / path).read_bytes().decode("utf-8", errors="ignore") for path in committed}

    assert {str(path): lines for path, text in texts.items() if (lines := places_of_one_machine(text))} == {}


@pytest.mark.parametrize("line", ["cd /" + "work/main", "'/" + "home/ann/book'", f"https://{HOSTS[0]}/simple"])
def test_a_machine_path_or_registry_host_is_found(line: str) -> None:
    assert places_of_one_machine(f"first\n{line}\nlast") == [line]


def test_the_page_of_the_house_names_files_and_functions_that_are_there(root: Path) -> None:
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`(?: `(\w+)(?:\.(\w+))?`)?", page)

    assert len(named) > 20
    for file, name, method in named:
        path = root / file if file.startswith(("docs/", "tests/")) else root / "allocator" / file
        source = path.read_text(encoding="utf-8")
        assert not name or re.search(rf"^\s*(def|class) {name}\b", source, re.MULTILINE), f"{file} {name}"
        assert not method or re.search(rf"^    def {method}\b", source, re.MULTILINE), f"{file} {name}.{method}"
    for room in re.findall(r"^([a-z_]+)/ ", page.partition("```text")[2].partition("```")[0], re.MULTILINE):
        assert (root / "allocator" / room).is_dir(), room
