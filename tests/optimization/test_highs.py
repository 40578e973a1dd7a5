"""HiGHS in a process where somebody else has already started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

IN_A_HOST = """
import highspy
host = highspy.Highs()
host.setOptionValue("output_flag", False)
host.setOptionValue("threads", 2)
host.addVar(0.0, 1.0)
host.run()
import allocator
for rule in ("mandate.max_turnover=0.01", "mandate.max_turnover=0.35"):
    try:
        book = allocator.load("tests/plain_books/listed", overrides=[rule, "mandate.min_cash=0.09"])
        print(len(allocator.rebalance(book).orders) > 0)
    except allocator.Infeasible as error:
        print(sorted(error.rules))
"""


def test_a_conflict_is_found_where_a_host_has_started_more_threads(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_HOST], cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    conflict, plan = done.stdout.splitlines()
    assert "turnover at most 1%" in conflict
    assert plan == "True"
