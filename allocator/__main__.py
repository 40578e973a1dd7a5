"""The command line: `allocator COMMAND BOOK`, `python -m allocator`, and `python cli.py` from a checkout."""

from __future__ import annotations

import atexit
import gc
import os

import click

from allocator.commands.book import check, import_file, init, plugins, schema
from allocator.commands.ledger import apply, approve, compare, export, history, replay, show, verify
from allocator.commands.options import CommandGroup
from allocator.commands.outlook import beliefs, claims, implied, outlook, returns
from allocator.commands.rebalance import rebalance
from allocator.commands.report import desk, report
from allocator.commands.studies import backtest, caution, explain, fleet, frontier, household, stress, trial, waiting

_ALLOCATED = 100_000
"""New objects after which garbage is looked for among them."""


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="portfolio-allocator", prog_name="allocator")
def main() -> None:
    """Portfolio allocations that stay robust until the replicability question is settled.

    \b
    Start with:
      allocator init my-book
      allocator check my-book
      allocator rebalance my-book

    Exit codes: 0 done, 2 wrong usage, 3 input refused (with the cures), 4 infeasible: conflicting limits
    (with the smallest fix), 5 no verified solution.
    """
    # sums that are shared among threads end in other digits where there are other cores, and in a question of this size
    # threads wait for each other longer than they work
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # by its defaults Python looks for garbage in all that was imported, time and again and once more on the way out: a
    # fifth of a command's time, for nothing that was ever found
    gc.set_threshold(_ALLOCATED)
    atexit.register(gc.freeze)


for command in (
    init, import_file, check, beliefs, outlook, returns, implied, claims, rebalance, explain, caution, frontier,
    waiting, stress, backtest, trial, fleet, household, report, desk, history, show, compare, verify, replay, approve,
    export, apply, schema, plugins,
):  # fmt: skip
    main.add_command(command)
if __name__ == "__main__":
    main()
