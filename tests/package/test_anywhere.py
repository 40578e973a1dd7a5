"""What `make thorough` tries beside the suite itself: which kernels, and that a run that fails is not lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import anywhere

AVX2 = frozenset({"sse4_2", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl"}


def itself(name: str) -> str:
    """A build of OpenBLAS that has every kernel."""
    return name


def as_built(name: str) -> str:
    """One that has the usual three, and lets another stand in for what it lacks."""
    return {"Zen": "Haswell", "SapphireRapids": "SkylakeX"}.get(name, name)


@pytest.mark.parametrize(
    ("machine", "able", "build", "expected"),
    [
        ("x86_64", frozenset({"sse4_2"}), itself, ["Nehalem"]),
        ("x86_64", AVX2, itself, ["Nehalem", "Haswell", "Zen"]),
        ("AMD64", AVX2, as_built, ["Nehalem", "Haswell"]),
        ("x86_64", AVX512 | {"avx512_bf16"}, as_built, ["Nehalem", "Haswell", "SkylakeX"]),
        ("aarch64", frozenset({"asimd"}), itself, ["ARMV8"]),
        ("arm64", frozenset({"atomics", "asimddp"}), itself, ["ARMV8", "NEOVERSEN1"]),
        ("x86_64", AVX512, lambda _: "", []),
        ("riscv64", AVX512, itself, []),
    ],
)
def test_only_kernels_that_the_processor_can_run_and_that_answer_to_their_name_are_tried(
    machine: str, able: frozenset[str], build: anywhere.Callable[[str], str], expected: list[str]
) -> None:
    assert anywhere.kernels(machine, able, build) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu avx2 fma\nbugs\t: none\n\nprocessor : 1\nflags : sse\n",
            {"fpu", "avx2", "fma"},
        ),
        ("processor\t: 0\nFeatures\t: fp asimd atomics\n", {"fp", "asimd", "atomics"}),
        ("processor\t: 0\n", set()),
    ],
)
def test_what_the_processor_can_do_is_read_from_its_own_account(text: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")

    assert anywhere.flags(tmp_path / "cpuinfo") == expected
    assert anywhere.flags(tmp_path / "none") == frozenset()


def test_the_runs_are_everything_in_full_then_each_kernel_then_a_busy_machine() -> None:
    first, *of_kernels, last = anywhere.runs(["Nehalem", "Haswell"])

    assert first[1:] == ({"ALLOCATOR_THOROUGH": "1"}, [])
    assert [one[1] for one in of_kernels] == [{"OPENBLAS_CORETYPE": "Nehalem"}, {"OPENBLAS_CORETYPE": "Haswell"}]
    assert all("--ignore=tests/package" in one[2] for one in of_kernels)
    assert last == (anywhere.BUSY, {}, [])


def test_one_run_that_fails_fails_the_whole_and_its_summary_stands_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(anywhere, "kernels", lambda *_: ["Nehalem", "Haswell"])
    monkeypatch.setattr(anywhere, "tried", lambda run, _: ("Nehalem" not in run[0], f"summary of {run[0]}"))

    assert anywhere.main([]) == 1
    told = capsys.readouterr().out.splitlines()
    assert "== failed: the numbers under Nehalem" in told
    assert told[-1] == f"summary of {anywhere.BUSY}"


def test_a_busy_machine_is_left_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given: started.append(start(*given)) or started[-1])
    with anywhere.busy(2):
        assert [one.poll() for one in started] == [None, None]

    assert all(one.poll() is not None for one in started)
    assert sys.executable in started[0].args


def test_folders_that_no_kernel_takes_part_in_are_folders(root: Path) -> None:
    assert [name for name in anywhere.WORDS_ONLY if not (root / "tests" / name).is_dir()] == []
