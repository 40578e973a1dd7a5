"""The peers are hosts: ours works without any of them, imports none, and says which one an adapter wants."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PEERS = {"skfolio": "skfolio", "pypfopt": "PyPortfolioOpt", "cvxportfolio": "cvxportfolio", "bt": "bt"}
"""Module and distribution."""


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_a_peer_is_imported_by_the_file_of_its_name_and_where_it_is_tried_beside_plans(root: Path) -> None:
    files = sorted((root / "allocator").rglob("*.py"))
    hosts = {path.relative_to(root).as_posix(): imported(path) & set(PEERS) for path in files}

    adapters = {f"allocator/integrations/{peer}.py": {peer} for peer in PEERS}
    # what plans are tried beside
    beside = {"standard_portfolios": {"skfolio", "pypfopt"}, "peer_policies": {"skfolio"}}
    tried = {f"allocator/backtesting/{name}.py": peers for name, peers in beside.items()}
    assert {name: peers for name, peers in hosts.items() if peers} == adapters | tried


WITHOUT = """
import sys
PEERS = {peers!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in PEERS:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib, allocator
for name in allocator.__all__:
    getattr(allocator, name)
import allocator.commands, allocator.integrations.host
import allocator.integrations.returns_table, allocator.integrations.cvxpy_terms
assert allocator.rebalance(allocator.load("data/listed")).orders
for peer in PEERS:
    try:
        importlib.import_module(f"allocator.integrations.{{peer}}")
    except ImportError as error:
        print(peer, "|", error)
"""


WITHOUT_ONE = """
import os, sys, warnings
warnings.simplefilter("ignore")  # peers warn of the pandas after this one when they are imported
import importlib, allocator
PEERS = {peers!r}
for peer in PEERS:
    importlib.import_module(peer)
for gone in PEERS:
    sys.stdout.flush()
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    for name in [name for name in sys.modules if name.split(".")[0] == gone]:
        sys.modules[name] = None
    for peer in PEERS:
        try:
            importlib.import_module(f"allocator.integrations.{{peer}}")
        except ImportError as error:
            print(gone, peer, "|", error)
    assert allocator.rebalance(allocator.load("data/listed")).orders
    sys.stdout.flush()
    os._exit(0)
"""
"""Each is away in a fork of one process that has them all."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_without_one_peer_the_other_adapters_work_too(root: Path) -> None:
    code = WITHOUT_ONE.format(peers=list(PEERS))
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()] == [f"{peer} {peer}" for peer in PEERS]


def test_without_any_peer_everything_else_works_and_each_adapter_names_the_cure(root: Path) -> None:
    code = WITHOUT.format(peers=list(PEERS))
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    told = dict(line.split(" | ") for line in done.stdout.splitlines())
    assert set(told) == set(PEERS)
    for peer, text in told.items():
        assert f"needs {PEERS[peer]}: pip install" in text


def test_importing_us_and_rebalancing_imports_no_peer(root: Path) -> None:
    code = (
        "import sys, allocator, allocator.integrations, allocator.integrations.host\n"
        "[getattr(allocator, name) for name in allocator.__all__]\n"
        "allocator.rebalance(allocator.load('data/listed'))\n"
        f"print(sorted({set(PEERS)!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("peer", sorted(PEERS))
def test_a_file_of_a_peers_name_does_not_hide_the_peer(root: Path, peer: str) -> None:
    source = (root / "allocator" / "integrations" / f"{peer}.py").read_text(encoding="utf-8")

    assert "from ." not in source  # a relative import of its own name would be itself
    assert importlib_finds(root, peer)


def importlib_finds(root: Path, peer: str) -> bool:
    """Whether the peer's name, from a checkout, is the installed peer and not our file of the same name."""
    import importlib.util

    spec = importlib.util.find_spec(peer)
    if spec is None:
        pytest.skip(f"the peer {peer} is not installed: pip install 'portfolio-allocator[integrations]'")
    return spec.origin is not None and not Path(spec.origin).is_relative_to(root / "allocator")


def test_no_host_is_a_dependency_but_all_of_them_are_tested(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras, hosts = project["optional-dependencies"], {name.lower() for name in PEERS.values()}

    def named(requirements: list[str]) -> set[str]:
        return {host for host in hosts for one in requirements if one.lower().startswith(host + ">=")}

    assert named(extras["integrations"]) == hosts
    assert named(project["dependencies"]) == set()
    assert not any("integrations" in one for one in extras["all"])
    assert any("integrations" in one for one in extras["dev"])
    pinned = (root / "constraints.txt").read_text(encoding="utf-8").lower()
    assert all(f"\n{host}==" in pinned for host in hosts)
    versions = dict(line.split("==") for line in pinned.splitlines() if "==" in line)
    assert versions["cvxpy-base"] == versions["cvxpy"]  # skfolio brings the one over the other's files
