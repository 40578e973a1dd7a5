"""`--plot FILE`: a picture beside the answer, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import Result

from allocator.__main__ import main
from allocator.errors import BadInput
from allocator.reporting.drawings import write_picture
from allocator.reporting.pictures import picture
from tests.command_line import runner
from tests.reporting import documents

PNG = b"\x89PNG\r\n\x1a\n"


def ask(*arguments: object) -> Result:
    return runner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize(("command", "book"), [("beliefs", "note"), ("returns", "approval"), ("outlook", "approval")])
def test_a_picture_is_written_beside_the_answer(command: str, book: str, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "picture.svg"
    plain = ask(command, root / "tests" / "plain_books" / book, "--json")
    drawn = ask(command, root / "tests" / "plain_books" / book, "--json", "--plot", file)

    assert (drawn.exit_code, drawn.stderr) == (0, f"wrote {file}\n")
    assert json.loads(drawn.stdout) == json.loads(plain.stdout)
    assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_a_plan_is_drawn_as_a_png_beside_its_screen(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.PNG"
    done = ask("rebalance", root / "tests" / "plain_books" / "note", "--plot", file)

    assert done.exit_code == 0, done.output
    assert file.read_bytes().startswith(PNG)
    assert "Proof:" in done.stdout


@pytest.mark.parametrize("command", ["beliefs", "returns", "outlook", "rebalance", "stress"])
def test_what_cannot_be_written_is_refused_before_anything_is_read(command: str, tmp_path: Path) -> None:
    for name, why in (("plan.pdf", "must end in .svg or .png"), ("nowhere/plan.svg", "no such folder")):
        done = ask(command, tmp_path / "no book", "--plot", tmp_path / name, "--json")

        assert done.exit_code == 3
        (error,) = json.loads(done.stdout)["errors"]
        assert error["table"] == "--plot"
        assert why in error["rule"]
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_found_nothing_is_not_drawn(tmp_path: Path) -> None:
    none: dict[str, Any] = dict.fromkeys(("shocks", "reverse", "replay", "beliefs", "map", "model"))

    with pytest.raises(BadInput, match="--plot: has nothing to draw"):
        picture({"format": "allocator.stress/2", **none})
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    done = ask("beliefs", "nowhere", "--plot", tmp_path / "b.svg")
    assert done.exit_code == 3
    assert "pip install 'portfolio-allocator[report]'" in done.stderr


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("spoil", [
    lambda patch: patch.setattr(Path, "write_bytes", _full),
    lambda patch: patch.setattr(Path, "replace", _full),
], ids=["while it is written", "while it is renamed"])  # fmt: skip
def test_a_full_disk_leaves_the_previous_picture(
    spoil: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.svg"
    file.write_text("old", encoding="utf-8")
    spoil(monkeypatch)

    with pytest.raises(BadInput, match="cannot be written: No space left on device"):
        write_picture(picture(documents.returns(("A",), ("up",))), str(file))
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("old.svg", "old")]


def test_a_picture_replaces_the_previous_one_and_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.svg").write_text("old", encoding="utf-8")
    (tmp_path / "link.svg").symlink_to("real.svg")

    write_picture(picture(documents.returns(("A",), ("up",))), str(tmp_path / "link.svg"))
    assert (tmp_path / "link.svg").is_symlink()
    assert (tmp_path / "real.svg").read_text(encoding="utf-8").startswith("<svg")
    assert len(list(tmp_path.iterdir())) == 2
