"""What the pages show is what happens: every console and python block of README.md and docs/ is run, in order.

console: what follows `$ ` is run (a line that ends in a backslash goes on after `> `, and <<'EOF' reads on to the line
EOF), the rest must be what it prints, where `...` stands for anything. python: is run; a block of language `result`
after it must be what it printed. Both must succeed: to show a refusal, end the command with `; echo "exit $?"`. Other
languages, sh say, are only read.
The examples of a page share one copy of the checkout, so that a later one may use what an earlier one made.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import command, warm

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("**/*.md")))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"[^\n]*<<'EOF'\n.*?^EOF$|[^\n]*", re.MULTILINE | re.DOTALL)


def examples(page: str) -> list[tuple[list[str], str | None]]:
    """Each command of a page and the output shown for it; None where none is shown."""
    found: list[tuple[list[str], str | None]] = []
    for language, body in BLOCK.findall(page):
        if language == "console":
            for shown in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command = COMMAND.match(joined := re.sub(r"\\\n> ", "", shown))[0]
                found.append((["bash", "-c", command], joined[len(command) + 1 :]))
        elif language == "python":
            found.append((["python-block", body], None))
        elif language == "result":
            found[-1] = (found[-1][0], body)
    return found


def difference(shown: str, printed: str) -> str:
    """Empty if `printed` is what the page shows; spaces at the ends of lines are not seen by readers."""
    want, got = ("".join(line.rstrip() + "\n" for line in text.strip("\n").split("\n")) for text in (shown, printed))
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.REPORT_NDIFF
    if checker.check_output(want, got, flags):
        return ""
    return checker.output_difference(doctest.Example("", want), got, flags)


@pytest.fixture(scope="module")
def shell() -> Iterator[dict[str, str]]:
    """The environment of a shell in which `allocator`, and what runs blocks, start with the libraries imported."""
    binaries = str(Path(sys.executable).parent)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80", "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory() as place:  # a socket has room for a short path only
        door, programs = Path(place, "door"), Path(place, "bin")
        for name in ("allocator", "python-block"):
            command(door, programs / name, name)
        with warm(door, environment):
            yield environment | {"PATH": f"{programs}{os.pathsep}{environment['PATH']}"}


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_a_page_does_what_it_shows(
    page: str, committed: list[Path], tmp_path: Path, shell: dict[str, str]
) -> None:
    for path in committed:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tmp_path / path)
    for example, shown in examples((ROOT / page).read_text(encoding="utf-8")):
        done = subprocess.run(
            example, cwd=tmp_path, env=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{page}: {example[-1]}\n{done.stdout}"
        if shown is not None:
            assert not (told := difference(shown, done.stdout)), f"{page}: {example[-1]}\n{told}"


def test_the_readme_shows_a_command_and_a_library_example() -> None:
    commands = [example for example, _ in examples((ROOT / "README.md").read_text(encoding="utf-8"))]

    assert any(one[0] == "bash" and "allocator rebalance" in one[-1] for one in commands)
    assert any(one[0] == "python-block" for one in commands)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    read = [line for language, body in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
            if language == "sh" for line in body.splitlines()]  # fmt: skip

    assert any(line.startswith("make test") for line in read)
    assert any(line.startswith("make rebalance") for line in read)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_an_output_that_differs_from_the_page_is_told() -> None:
    page = """
```console
$ echo one
one
$ echo two\\
> three
...
$ cat <<'EOF'
four
EOF
four
```

```python
print(4)
```
```result
5
```
```sh
not run
```
"""
    (first, one), (second, rest), (document, four), (third, five) = examples(page)

    assert (first[-1], second[-1], third[-1]) == ("echo one", "echo twothree", "print(4)\n")
    assert (document[-1], four) == ("cat <<'EOF'\nfour\nEOF", "four\n")
    assert not difference(str(one), "one  \n")
    assert difference(str(one), "two\n")
    assert not difference(str(rest), "any\nthing\n")
    assert difference(str(five), "4\n")
