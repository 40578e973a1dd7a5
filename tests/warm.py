"""Processes that start with all imported that most commands want, which is most of what a short one takes.

One process imports them, then forks for every command that is asked. A fork has the arguments, folder, environment and
streams of who asked, and imports what is left itself; `command` is a small program that asks and ends as the fork does.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

LIBRARIES = (
    "clarabel", "click", "cvxpy", "highspy", "numpy", "pandas", "pandera.io", "pandera.pandas", "piqp", "pydantic",
    "rich.console", "rich.table", "scipy.optimize", "scipy.sparse", "scipy.stats", "sqlalchemy", "yaml",
)  # fmt: skip
OURS = ("display.plan", "ledger.record", "plan.document", "plan.reviews", "plan.rebalance", "stress_testing.stress")
"""Of the checkout that these tests are of, whatever is installed."""
CLIENT = """#!{python} -IS
import json, os, socket, sys
asked = {{"arguments": [{entry!r}, *sys.argv[1:]], "folder": os.getcwd(), "environment": dict(os.environ)}}
to = socket.socket(socket.AF_UNIX)
to.connect({place!r})
content = json.dumps(asked).encode()
socket.send_fds(to, [len(content).to_bytes(8, "big")], [0, 1, 2])
to.sendall(content)
sys.exit(int(to.recv(16) or 141))
"""


def command(place: Path, path: Path, entry: str) -> None:
    """Write a program: `allocator`, or `python-block`, which runs the code that it is given."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(CLIENT.format(python=sys.executable, entry=entry, place=str(place)), encoding="utf-8")
    path.chmod(0o755)


@contextmanager
def warm(place: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A process that answers at the socket `place`."""
    command = [sys.executable, str(Path(__file__).resolve()), str(place)]
    with subprocess.Popen(command, env=environment, cwd=place.parent, stdout=subprocess.PIPE) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline() == b"ready\n"
            yield
        finally:
            serving.kill()


def _answer(conversation: socket.socket) -> None:
    """In a fork: be the command that is asked."""
    size, streams, _, _ = socket.recv_fds(conversation, 8, 3)
    with conversation.makefile("rb") as content:
        asked = json.loads(content.read(int.from_bytes(size, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[1:1] = [str(Path(each).absolute()) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
                                         for number, mode in enumerate("rww"))  # fmt: skip
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    entry, *arguments = asked["arguments"]
    code: object = 0
    try:
        if entry == "python-block":
            sys.argv, sys.path[0] = ["-c"], ""
            warnings.simplefilter("error")
            exec(compile(arguments[0], "<block>", "exec"), module.__dict__)
        else:
            sys.argv = ["allocator", *arguments]
            from allocator.__main__ import main

            main()
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    conversation.sendall(str(code).encode())


def serve(place: str) -> None:
    """Answer until killed."""
    sys.path.pop(0)  # the folder of tests
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for name in (*LIBRARIES, *(f"allocator.{one}" for one in OURS)):
        __import__(name)
    sys.path[0] = str(Path(sys.executable).parent)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        os.write(1, b"ready\n")
        while True:
            conversation, _ = door.accept()
            with warnings.catch_warnings(action="ignore"):  # from 3.12 on of threads: those of BLAS bear a fork
                fork = os.fork()
            if fork == 0:
                _answer(conversation)
                os._exit(0)
            conversation.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


if __name__ == "__main__":
    serve(sys.argv[1])
