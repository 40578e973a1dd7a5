"""What `make thorough` runs: the suite with everything random in full, then what could differ on another machine.

`python tests/anywhere.py` runs the numeric part once under each set of linear-algebra kernels that OpenBLAS has for
this processor (`OPENBLAS_CORETYPE`: another order of the same additions, so other last digits), the whole suite once
while every core is kept busy, once on the lowest versions that pyproject.toml promises, and once on each later Python
that is installed, whose plans of the sample books are the same to the byte. A kernel counts as tried only where it was
seen to be in force, and a Python that is not there is said. Each run ends with pytest's summary, all of them stand
together at the end, and one that fails fails the whole.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {
    "x86_64": (
        ("Nehalem", frozenset()),
        ("Haswell", frozenset({"avx2", "fma"})),
        ("Zen", frozenset({"avx2", "fma"})),
        ("SkylakeX", frozenset({"avx512f", "avx512dq", "avx512bw", "avx512vl"})),
        ("SapphireRapids", frozenset({"avx512f", "avx512_bf16"})),
    ),
    "aarch64": (
        ("ARMV8", frozenset()),
        ("NEOVERSEN1", frozenset({"atomics", "asimddp"})),
        ("NEOVERSEV1", frozenset({"sve"})),
    ),
}
"""By machine: what OpenBLAS calls its kernels, and the flags without which a processor cannot run them."""
IN_FORCE = """
import numpy, scipy.linalg, threadpoolctl
print(*{one["architecture"] for one in threadpoolctl.threadpool_info() if one["internal_api"] == "openblas"})
"""
WORDS_ONLY = ("book", "commands", "display", "package", "settings", "tables")
"""Folders of tests in which no kernel takes part, or only as a page shows it."""

BUSY = "everything, with every core kept busy"
LOWEST = "everything on the lowest versions that are promised"
LATER = ("3.12", "3.13")
"""The Pythons that pyproject.toml names beside the one that all else runs on."""
PYTEST = ["-m", "pytest", "-n", "auto", "--dist", "loadgroup"]
Run = tuple[str, dict[str, str], list[str]]
"""What is tried, the environment it adds, and what is asked."""


def flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What this processor can do, by the kernel's words; nothing where it does not tell."""
    if not cpuinfo.exists():
        return frozenset()
    lines = (line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines())
    return frozenset(
        next((told.split() for name, _, told in lines if name.strip().lower() in {"flags", "features"}), ())
    )


def kernels(machine: str, able: frozenset[str], in_force: Callable[[str], str]) -> list[str]:
    """The kernels that this processor can run and that are in force when they are asked for.

    `in_force` says which kernel answers to a name: a build of OpenBLAS may lack some, and lets another stand in.
    """
    known = KERNELS.get({"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine), ())
    return [name for name, needed in known if needed <= able and in_force(name).lower() == name.lower()]


def kernel_in_force(name: str) -> str:
    """The kernel that numpy and scipy compute with when this one is asked for; empty where there is no OpenBLAS."""
    environment = {**os.environ, "OPENBLAS_CORETYPE": name}
    done = subprocess.run(
        [sys.executable, "-c", IN_FORCE], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def runs(found: Iterable[str]) -> Iterator[Run]:
    """Everything in full, the numbers under each kernel, everything on a busy machine, and on the lowest versions."""
    pytest = [sys.executable, *PYTEST]
    yield "everything that is random, in full", {"ALLOCATOR_THOROUGH": "1"}, pytest
    numeric = [f"--ignore=tests/{folder}" for folder in WORDS_ONLY]
    for kernel in found:
        yield f"the numbers under {kernel}", {"OPENBLAS_CORETYPE": kernel}, [*pytest, *numeric]
    yield BUSY, {}, pytest
    yield LOWEST, {}, ["make", "lowest"]


def say(text: str) -> None:
    """Pass on what there is to be read, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute, until the end."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def tried(run: Run, further: Sequence[str] = ()) -> tuple[bool, str]:
    """Whether pytest was content, and the last line that it wrote; what it writes is passed on as it comes."""
    name, environment, command = run
    say(f"\n== {name}\n")
    if "pytest" in command:
        command = [*command, *further]
    last = ""
    with (
        busy(os.cpu_count() or 1 if name == BUSY else 0),
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
        ) as one,
    ):
        assert one.stdout is not None
        for line in one.stdout:
            say(line)
            last = line.strip() or last
    return one.returncode == 0, last


def interpreter(version: str) -> str | None:
    """Where the Python of that version is that can make environments; None where none is installed.

    It is tried by running it: a name on the PATH may be a shim of nothing. pyenv keeps those that it does not show.
    """
    kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin/python{version}"))
    for candidate in (f"python{version}", *map(str, kept)):
        try:
            subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


def later(version: str, python: str, further: Sequence[str]) -> tuple[bool, str]:
    """Whether the suite is content on a later Python, and its plans of the sample books are ours to the byte."""
    place = ROOT / "build" / f"python{version}"
    name = f"everything on Python {version}"
    made = [f"build/python{version}/.made", f"PYTHON={python}"]
    ready, said = tried((f"the environment of Python {version}", {}, ["make", *made]))
    if not ready:
        return False, said or "no environment could be made of it"
    own = str(place / "bin" / "python")
    content, summary = tried((name, {}, [own, *PYTEST]), further)
    apart = [book for book in sample_books() if plan_on(own, book) != plan_on(sys.executable, book)]
    return content and not apart, f"{summary}; the sample plans {f'of {apart} differ' if apart else 'are the same'}"


def sample_books() -> list[str]:
    """The books of `data/`."""
    return sorted(place.parent.name for place in (ROOT / "tests" / "plain_books").glob("*/book.toml"))


def plan_on(python: str, book: str) -> bytes:
    """The document of a sample book's plan, as an interpreter writes it."""
    command = [python, "cli.py", "rebalance", f"data/{book}", "--json"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


def main(further: Sequence[str]) -> int:
    """Every run, whether or not one before it failed; what is given goes to each pytest."""
    found = kernels(platform.machine(), flags(), kernel_in_force)
    if not found:
        say("no OpenBLAS here whose kernels can be chosen: the numbers are tried under the machine's own\n")
    told = [(run[0], *tried(run, further)) for run in runs(found)]
    for version in LATER:
        if (python := interpreter(version)) is None:
            told.append((f"Python {version} is NOT INSTALLED", True, "nothing was tried on it"))
        else:
            told.append((f"everything on Python {version}", *later(version, python, further)))
    failed = [name for name, content, _ in told if not content]
    outcome = f"failed: {'; '.join(failed)}" if failed else "all runs passed"
    say(f"\n== {outcome}\n")
    for name, _, summary in told:
        say(f"{name}:\n{summary}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
