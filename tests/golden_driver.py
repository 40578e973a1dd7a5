"""One side of tests/golden.py: runs commands of the tree that PYTHONPATH names, and writes down what each answered.

Takes one argument, a JSON file: `tree`, `work` (the folder to run in), `answers` (the file to write) and `cases`, each
with `name`, `arguments` and `keeps`, the folder whose files belong to the answer. One line of JSON an answer, so that
what was finished is there whatever happens next. No path of this machine is in an answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main(asked: dict[str, Any]) -> None:
    """Run every case in one process: the packages load once, and both sides run the same cases in the same order."""
    import click
    from click.testing import CliRunner

    import allocator
    from allocator.__main__ import main as commands

    tree = Path(asked["tree"]).resolve()
    if not Path(allocator.__file__ or "").resolve().is_relative_to(tree):
        sys.exit(f"golden: {allocator.__file__} is not of {tree}; another checkout shadows it")
    os.chdir(asked["work"])
    assert isinstance(commands, click.Group)
    known = sorted(commands.commands)
    with Path(asked["answers"]).open("w", encoding="utf-8") as answers:
        print(json.dumps({"commands": known}), file=answers, flush=True)
        for case in asked["cases"]:
            arguments = _worded(case["arguments"], commands.commands, asked["renamed"])
            if arguments[0] not in known and not arguments[0].startswith("-"):
                answer: dict[str, Any] = {"unknown": arguments[0]}
            else:
                answer = _answer(CliRunner().invoke(commands, arguments, prog_name="allocator"), tree)
                answer["files"] = _files(case["keeps"], tree)
            print(json.dumps({"name": case["name"], **answer}), file=answers, flush=True)


def _worded(arguments: list[str], commands: Mapping[str, Any], renamed: dict[str, str]) -> list[str]:
    """The command and its options by the names that this side knows them by."""
    command = arguments[0] if arguments[0] in commands else renamed.get(arguments[0], arguments[0])
    own = {name for option in getattr(commands.get(command), "params", ()) for name in option.opts}
    options = [renamed.get(word, word) if word not in own else word for word in arguments[1:]]
    return [command, *options]


def _answer(result: Any, tree: Path) -> dict[str, Any]:
    """What a command printed and its exit code; of a defect also what was raised."""
    raised = result.exception if isinstance(result.exception, Exception) else None
    told = "" if raised is None else f"{type(raised).__name__}: {raised}\n"
    return {
        "exit": result.exit_code,
        "stdout": result.stdout.replace(str(tree), "TREE"),
        "stderr": (result.stderr + told).replace(str(tree), "TREE"),
    }


def _files(folder: str | None, tree: Path) -> dict[str, str]:
    """The text of every file of a folder by its name."""
    if folder is None:
        return {}
    return {
        path.as_posix(): path.read_text(encoding="utf-8").replace(str(tree), "TREE")
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
