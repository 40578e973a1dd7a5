"""What `make thorough` runs: the suite with everything random in full, then what could differ on another machine.

`python tests/anywhere.py` runs the numeric part once under each set of linear-algebra kernels that OpenBLAS has for
this processor (`OPENBLAS_CORETYPE`: another order of the same additions, so other last digits), and the whole suite
once while every core is kept busy. A kernel counts as tried only where it was seen to be in force. Each run ends with
pytest's summary, all of them stand together at the end, and one that fails fails the whole.
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
Run = tuple[str, dict[str, str], list[str]]
"""What is tried, the environment it adds, and what pytest is given beside."""


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
    """Everything in full, then the numbers under each kernel, then everything on a busy machine."""
    yield "everything that is random, in full", {"ALLOCATOR_THOROUGH": "1"}, []
    numeric = [f"--ignore=tests/{folder}" for folder in WORDS_ONLY]
    for kernel in found:
        yield f"the numbers under {kernel}", {"OPENBLAS_CORETYPE": kernel}, numeric
    yield BUSY, {}, []


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
    name, environment, arguments = run
    say(f"\n== {name}\n")
    command = [sys.executable, "-m", "pytest", "-n", "auto", "--dist", "loadgroup", *arguments, *further]
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


def main(further: Sequence[str]) -> int:
    """Every run, whether or not one before it failed; what is given goes to each pytest."""
    found = kernels(platform.machine(), flags(), kernel_in_force)
    if not found:
        say("no OpenBLAS here whose kernels can be chosen: the numbers are tried under the machine's own\n")
    told = [(run[0], *tried(run, further)) for run in runs(found)]
    failed = [name for name, content, _ in told if not content]
    outcome = f"failed: {'; '.join(failed)}" if failed else "all runs passed"
    say(f"\n== {outcome}\n")
    for name, _, summary in told:
        say(f"{name}:\n{summary}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
