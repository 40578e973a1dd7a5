"""`allocator init`: a book to start from, whole or not at all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Valid = Callable[[str, str], dict[str, Any]]


def test_a_new_book_is_a_copy_of_the_sample_that_checks(run: Run, tmp_path: Path, root: Path) -> None:
    answer = run("init", tmp_path / "mine")

    made = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    assert answer.exit_code == 0
    assert made == {path.name: path.read_bytes() for path in (root / "data" / "listed").iterdir()}
    assert "book.toml" in answer.stdout
    assert f"`allocator check {tmp_path / 'mine'}`" in answer.stdout
    assert run("check", tmp_path / "mine").exit_code == 0


@pytest.mark.parametrize("sample", ["listed", "note", "reviewed"])
def test_what_the_comments_of_a_new_book_name_is_there(run: Run, tmp_path: Path, sample: str) -> None:
    run("init", tmp_path / "mine", "--from", sample)
    text = (tmp_path / "mine" / "book.toml").read_text(encoding="utf-8")
    comments = " ".join(line.partition("#")[2] for line in text.splitlines())
    named = {name for name in re.findall(r"[\w./-]+\.(?:md|csv|toml)", comments) if name != "scenario_returns.csv"}

    assert "README.md" in named
    assert [name for name in sorted(named) if not (tmp_path / "mine" / name).is_file()] == []
    assert re.findall(r"\bdata/\w+", comments) == []


def test_the_document_names_what_was_made(run: Run, valid: Valid, tmp_path: Path) -> None:
    answer = run("init", tmp_path / "deep" / "mine", "--json")

    document = valid(answer.stdout, "init")
    assert answer.exit_code == 0
    assert document["sample"] == "listed"
    assert document["files"] == sorted(path.name for path in (tmp_path / "deep" / "mine").iterdir())


def test_an_empty_folder_may_be_filled(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    assert run("init", tmp_path / "mine").exit_code == 0
    assert (tmp_path / "mine" / "book.toml").is_file()


def test_a_folder_with_something_in_it_is_left_alone(run: Run, valid: Valid, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    answer = run("init", tmp_path)
    document = valid(run("init", tmp_path, "--json").stdout, "error")

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "this folder is not empty; nothing was written" in " ".join(answer.stderr.split())
    assert document["errors"][0]["cure"] == "name a new folder"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unknown_sample_is_asked_back(run: Run, tmp_path: Path) -> None:
    answer = run("init", tmp_path / "mine", "--from", "lsted")

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "--from no such sample book (got 'lsted') did you mean 'listed'?" in " ".join(answer.stderr.split())
    assert not (tmp_path / "mine").exists()


def test_a_failure_while_copying_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", fail)

    answer = run("init", tmp_path / "mine")

    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "cannot be written: No space left on device; nothing was written" in " ".join(answer.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")

    assert run("init", tmp_path / "mine").exit_code == 2
