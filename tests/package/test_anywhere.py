"""What `make thorough` tries beside the suite itself: which kernels, and that a run that fails is not lost."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import anywhere
from tests.lowest import lowest

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


def test_the_runs_are_everything_in_full_then_each_kernel_then_a_busy_machine_then_old_versions() -> None:
    first, *of_kernels, busy, last = anywhere.runs(["Nehalem", "Haswell"])
    pytest_here = [sys.executable, *anywhere.PYTEST]

    assert first[1:] == ({"ALLOCATOR_THOROUGH": "1"}, pytest_here)
    assert [one[1] for one in of_kernels] == [{"OPENBLAS_CORETYPE": "Nehalem"}, {"OPENBLAS_CORETYPE": "Haswell"}]
    assert all("--ignore=tests/package" in one[2] for one in of_kernels)
    assert busy == (anywhere.BUSY, {}, pytest_here)
    assert last == (anywhere.LOWEST, {}, ["make", "lowest"])


def test_one_run_that_fails_fails_the_whole_and_its_summary_stands_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(anywhere, "kernels", lambda *_: ["Nehalem", "Haswell"])
    monkeypatch.setattr(anywhere, "tried", lambda run, _: ("Nehalem" not in run[0], f"summary of {run[0]}"))
    monkeypatch.setattr(anywhere, "interpreter", lambda version: "python3.12" if version == "3.12" else None)
    monkeypatch.setattr(anywhere, "later", lambda version, *_: (False, f"summary on {version}"))

    assert anywhere.main([]) == 1
    told = capsys.readouterr().out.splitlines()
    assert "== failed: the numbers under Nehalem; everything on Python 3.12" in told
    assert f"summary of {anywhere.LOWEST}" in told
    assert told[-4:] == [
        "everything on Python 3.12:", "summary on 3.12", "Python 3.13 is NOT INSTALLED:", "nothing was tried on it"
    ]  # fmt: skip


def test_plans_that_differ_on_a_later_python_fail_although_its_tests_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anywhere, "tried", lambda *_: (True, "5 passed"))
    plans = {(sys.executable, "note"): b"{}", (sys.executable, "listed"): b"{}"}
    monkeypatch.setattr(anywhere, "plan_on", lambda python, book: plans.get((python, book), b"[]"))
    monkeypatch.setattr(anywhere, "sample_books", lambda: ["listed", "note"])

    assert anywhere.later("3.13", "python3.13", []) == (
        False,
        "5 passed; the sample plans of ['listed', 'note'] differ",
    )
    monkeypatch.setattr(anywhere, "plan_on", lambda *_: b"{}")
    assert anywhere.later("3.13", "python3.13", []) == (True, "5 passed; the sample plans are the same")


def test_an_interpreter_is_found_by_running_it_and_a_shim_of_nothing_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin" / "python3.13"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(sys.executable)
    shim = tmp_path / "bin" / "python3.13"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert anywhere.interpreter("3.13") == str(kept)
    assert anywhere.interpreter("3.99") is None
    assert set(anywhere.sample_books()) >= {"listed", "note", "reviewed"}


PROJECT = {
    "name": "ours",
    "dependencies": ["numpy>=2.0", "cvxpy>=1.9.3,<1.10", "pandera[pandas,io]>=0.32"],
    "optional-dependencies": {"all": ["ours[risk]"], "risk": ["scikit-learn>=1.6"], "lint": ["types-PyYAML"]},
}


def test_the_lowest_versions_are_those_of_every_bound_that_a_user_can_install() -> None:
    assert lowest(PROJECT) == ["numpy==2.0", "cvxpy==1.9.3", "pandera==0.32", "scikit-learn==1.6"]
    with pytest.raises(ValueError, match=r"no lower bound: rich, click<9"):
        lowest(PROJECT | {"dependencies": ["rich", "click<9"]})


def test_every_dependency_of_ours_states_the_lowest_version_that_is_tried(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = dict(
        line.split("==") for line in (root / "constraints.txt").read_text(encoding="utf-8").split() if "==" in line
    )

    for name, version in (line.split("==") for line in lowest(project)):
        here = next(own for known, own in pinned.items() if known.lower() == name.lower())
        assert [*map(int, version.split("."))] <= [*map(int, here.split(".")[:3])], name


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
