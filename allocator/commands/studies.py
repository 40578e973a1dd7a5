"""Studies, which ask the same question of a book many times: `allocator explain`, `waiting`, `caution`, `frontier`,
`stress`, `backtest`, `trial`, `fleet` and `household`.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from allocator.commands.options import BookChoice, book_options, file_options, handle_errors_and_json
from allocator.presentation import Document

# `allocator explain BOOK [INSTRUMENT]`: why these orders, why not more, and how wrong we may be.
#


@click.command()
@book_options
@click.argument("instrument", required=False)
@click.option("--full", is_flag=True, help="Show all orders and names, and every no-trade region.")
@handle_errors_and_json
def explain(
    choice: BookChoice,
    instrument: str | None,
    full: bool,
    *,
    as_json: bool,
) -> Document:
    """Say why BOOK's plan trades what it trades, in bps that add up; of INSTRUMENT also why not more of it.

    \b
    Examples:
      allocator explain data/listed
      allocator explain data/listed NVDA
    """
    from allocator.display.console import progress_spinner

    with progress_spinner() as say:
        say("reading the book")
        loaded = choice.load()
        say("loading the solvers")
        from allocator.plan.explanation import explain as explained
        from allocator.plan.explanation import (
            explain_name,
            explanation_document,
            position_of,
            refuse_unexplained,
        )
        from allocator.plan.rebalance import rebalance

        if instrument is not None:
            position_of(loaded, instrument)
        refuse_unexplained(loaded)
        plan = rebalance(loaded, progress=say)
        say("explaining")
        found = explained(plan)
        one = None if instrument is None else explain_name(plan, instrument)
    if not as_json:
        from allocator.display.explanation import show_explanation

        show_explanation(found, one, full=full)
    return explanation_document(found, one)


# `allocator waiting BOOK`: the value of re-optimising, of knowing more and of robustness.
#


@click.command()
@book_options
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=click.FloatRange(0, 1),
    metavar="J",
    help="Announcement shares to show beside the book's own. Repeatable; 0 and 1 by default.",
)
@handle_errors_and_json
def waiting(
    choice: BookChoice,
    shares: tuple[float, ...],
    *,
    as_json: bool,
) -> Document:
    """Show the value of BOOK's reviews, in bps and in its currency, and how it depends on the announcement share.

    \b
    Examples:
      allocator waiting data/reviewed
      allocator waiting data/reviewed --share 0.3 --share 0.9
    """
    from allocator.display.console import progress_spinner

    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.multistage.value_of_waiting import value_of_waiting_by_share

        found = value_of_waiting_by_share(choice.load(), shares or (0.0, 1.0), say)
    if not as_json:
        from allocator.display.multistage import show_value_of_waiting

        show_value_of_waiting(found)
    return found.document()


# `allocator caution BOOK`: what caution costs, what it protects, and where more of it no longer pays.
#


@click.command()
@book_options
@handle_errors_and_json
def caution(choice: BookChoice, *, as_json: bool) -> Document:
    """Show what caution about the answer and about the regime costs, what it protects, and where BOOK's plan lies.

    \b
    Examples:
      allocator caution data/note
      allocator caution data/reviewed --as-of 2026-12-20
    """
    from allocator.display.console import progress_spinner

    loaded = choice.load()
    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.plan.caution import caution_study

        found = caution_study(loaded, progress=say)
    if not as_json:
        from allocator.display.explanation import show_caution

        show_caution(found)
    return found.document()


# `allocator frontier BOOK`: what the next bit of return, of caution and of turnover costs.
#


@click.command()
@book_options
@click.option(
    "--points", type=click.IntRange(2, 1000), help="Plans along each curve.  [default: 30; of a tree of decisions 6]"
)
@click.option("--full", is_flag=True, help="Every point of every curve, and the whole ladder.")
@handle_errors_and_json
@file_options
def frontier(choice: BookChoice, points: int | None, *, full: bool, as_json: bool) -> Document:
    """Show what the next bit of return, of caution and of turnover costs, and each scenario's own optimum.

    Every point is a plan of its own under BOOK's rules and costs, proved, without lots.

    \b
    Examples:
      allocator frontier data/note
      allocator frontier data/note --full --plot frontier.png
    """
    from allocator.display.console import progress_spinner

    loaded = choice.load()
    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.stress_testing.frontier import frontier as study

        found = study(loaded, points=points, progress=say)
    if not as_json:
        from allocator.display.frontier import show_frontier

        show_frontier(found, full=full)
    return found.document()


# `allocator stress BOOK`: shocks, reverse stress, replay, and how wrong beliefs and parameters may be.
#


class _Part(click.ParamType):  # type: ignore[type-arg]  # generic in its stubs only
    """A part of the account: 10% or 0.1."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        number, percent, rest = str(value).strip().partition("%")
        try:
            part = float(number) / (100 if percent else 1)
        except ValueError:
            self.fail(f"{value!r} is not a fraction of the account; write 10% or 0.1", param, ctx)
        if rest or not 0 < part <= 1:
            self.fail(f"{value!r} is not above 0% and at most 100% of the account; write 10% or 0.1", param, ctx)
        return part


def _as_written(name: str, own: Collection[str]) -> str:
    """The name of a shock, which the tables show with spaces for its underscores."""
    return name if name in own else name.replace(" ", "_")


@click.command()
@book_options
@click.option(
    "--shock", "shocks", multiple=True, metavar="NAME", help="This shock only; details of up to three. Repeatable."
)
@click.option("--reverse", type=_Part(), metavar="10%", help="The least shifts with so large an expected loss.")
@click.option("--beliefs", is_flag=True, help="How wrong the probabilities may be, and what reverses where.")
@click.option("--map", "map_steps", type=click.IntRange(2, 200), metavar="STEPS",
              help="The optimum over both probabilities; 17 points a side fit a terminal.")  # fmt: skip
@click.option("--replay", is_flag=True, help="The worst windows of the book's own price history.")
@click.option(
    "--model",
    type=click.IntRange(min=2),
    metavar="DRAWS",
    help="Draws of the model's parameters, and which matter most.",
)
@click.option("--within", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True, metavar="BPS",
              help="How far below the optimum the plan may be.")  # fmt: skip
@click.option("--full", is_flag=True, help="All of every study, not one screen.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to work in.")
@handle_errors_and_json
@file_options
def stress(
    choice: BookChoice,
    shocks: tuple[str, ...],
    reverse: float | None,
    map_steps: int | None,
    model: int | None,
    within: float,
    jobs: int,
    *,
    beliefs: bool,
    replay: bool,
    full: bool,
    as_json: bool,
) -> Document:
    """Put BOOK's plan under stress: shocks, a loss of 10%, its price history, other beliefs.

    Without an option that names a study, all are made but --map and --model. The screen holds 45 lines; --full shows
    all. Ctrl-C keeps what is finished.

    \b
    Examples:
      allocator stress data/note
      allocator stress data/note --shock all_silent_12_months --reverse 15%
      allocator stress data/note --model 1000 --jobs 2
    """
    from allocator.display.console import progress_spinner

    named = {"shocks": bool(shocks), "reverse": reverse is not None, "replay": replay, "beliefs": beliefs}
    asked = any(named.values()) or model is not None or map_steps is not None
    stated = click.get_current_context().get_parameter_source("within") is ParameterSource.COMMANDLINE
    if stated and asked and not beliefs:
        raise click.UsageError("--within applies to --beliefs, which is not requested: add --beliefs")
    loaded = choice.load()
    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.stress_testing.stress import PARTS
        from allocator.stress_testing.stress import stress as study

        report = study(
            loaded,
            parts=tuple(part for part in PARTS if named[part]) if asked else PARTS,
            shocks=tuple(_as_written(name, loaded.settings.shocks) for name in shocks),
            loss=0.10 if reverse is None else reverse,
            within_bps=within,
            map_steps=map_steps or 0,
            draws=model or 0,
            jobs=jobs,
            progress=say,
        )
    if not as_json:
        from allocator.display.stress import show_stress

        show_stress(report, full=full)
    return report.document()


# `allocator fleet BOOK`: the orders of every account of a book.
#


@click.command()
@book_options
@click.option(
    "--accounts", type=click.Path(), metavar="FILE", help="What accounts set otherwise: a row each, a column a key."
)
@click.option("--out", type=click.Path(file_okay=False), required=True, metavar="DIR", help="Write the results there.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes to work in.  [default: one a processor]")
@click.option("--scheduler", metavar="ADDRESS", help="Work on this Dask cluster instead, such as tcp://10.0.0.1:8786.")
@click.option("--targets", is_flag=True, help="Target weights alone, without whole lots: there are no orders.")
@handle_errors_and_json
def fleet(
    choice: BookChoice,
    accounts: str | None,
    out: str,
    workers: int | None,
    scheduler: str | None,
    *,
    targets: bool,
    as_json: bool,
) -> Document:
    """Turn every account of BOOK into whole-lot orders, as `rebalance` does one; the outlook is made once.

    Results are Parquet files in DIR/shards as they come, and at the end DIR/orders.csv and DIR/fleet.json. The same
    again works on what is missing alone. Exit code 4: some accounts failed, and all others are complete.

    \b
    Examples:
      allocator fleet data/listed --out plans/fleet --workers 1
    """
    if choice.account is not None:
        raise click.UsageError("--account is for one: use allocator rebalance")
    if workers is not None and scheduler is not None:
        raise click.UsageError("--workers are processes here, and --scheduler has its own: give one of the two")
    from allocator.display.console import progress_spinner

    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.fleets.executors import DaskWorkers, ProcessWorkers
        from allocator.fleets.fleet import run_fleet

        processes = workers or os.cpu_count() or 1
        found = run_fleet(
            Path(choice.path),
            Path(out),
            None if accounts is None else Path(accounts),
            overrides=choice.overrides,
            as_of=choice.as_of,
            lots=not targets,
            workers=lambda: ProcessWorkers(processes) if scheduler is None else DaskWorkers(scheduler),
            progress=say,
        )
    if not as_json:
        from allocator.display.fleet import show_fleet

        show_fleet(found, out)
    return found


# `allocator household BOOK`: all accounts of a book in one program.
#


@click.command()
@book_options
@click.option(
    "--accounts", type=click.Path(), metavar="FILE", help="Rules of single accounts: a row each, a column a key."
)
@click.option(
    "--out", type=click.Path(file_okay=False), metavar="DIR", help="Write orders.csv and household.json there."
)
@click.option("--targets", is_flag=True, help="Target weights alone, without whole lots: there are no orders.")
@click.option("--full", is_flag=True, help="Show every order and limit.")
@handle_errors_and_json
def household(
    choice: BookChoice,
    accounts: str | None,
    out: str | None,
    *,
    targets: bool,
    full: bool,
    as_json: bool,
) -> Document:
    """Plan all accounts of BOOK together: its [mandate] holds of their sum, a row of FILE of one account.

    Each account has its own orders, which it pays for by itself; the objective is that of the whole.

    \b
    Examples:
      allocator household data/listed
    """
    if choice.account is not None:
        raise click.UsageError("--account is for one: use allocator rebalance")
    from allocator.display.console import progress_spinner

    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.fleets.household import run_household

        found = run_household(
            Path(choice.path),
            None if accounts is None else Path(accounts),
            None if out is None else Path(out),
            overrides=choice.overrides,
            as_of=choice.as_of,
            lots=not targets,
        )
    if not as_json:
        from allocator.display.fleet import show_household

        show_household(found, out, full=full)
    return found


# `allocator backtest BOOK`: how the mandate would have behaved on prices that there were.
#


class _Every(click.ParamType):  # type: ignore[type-arg]  # generic in its stubs only
    """month, week, or so many rows."""

    name = "every"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        text = str(value).strip()
        if text in ("month", "week"):
            return text
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
            self.fail(f"{value!r} is no time between reviews; write month, week or a number of rows", param, ctx)
        return int(text)


_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@book_options
@click.option("--prices", metavar="FILE", help="A longer history of the same names than the book has; as prices.csv.")
@click.option(
    "--start", type=_DAY, metavar="DATE", help="The first row.  [default: the first that the book can speak on]"
)
@click.option("--end", type=_DAY, metavar="DATE", help="The last row.")
@click.option("--every", type=_Every(), default="month", show_default=True, metavar="month|week|N",
              help="When the book is asked: the first row of a month or week, or every N rows.")  # fmt: skip
@click.option("--always", is_flag=True, help="Trade at every review, also where it is not recommended.")
@click.option("--outlook", type=click.Choice(["dated", "today"]), default="dated", show_default=True,
              help="Signals as dated, or today's outlook on every row, which is hindsight.")  # fmt: skip
@click.option("--peer", "peers", multiple=True, type=click.Choice(["skfolio", "pypfopt"]),
              help="Show the standard portfolios of this package, where it is installed, too. Repeatable.")  # fmt: skip
@handle_errors_and_json
@file_options
def backtest(
    choice: BookChoice,
    prices: str | None,
    start: dt.datetime | None,
    end: dt.datetime | None,
    every: str | int,
    outlook: Literal["dated", "today"],
    peers: tuple[str, ...],
    *,
    always: bool,
    as_json: bool,
) -> Document:
    """Walk BOOK's mandate forward through a price history, beside 1/N, buy and hold and others.

    Nothing later than a row is known on it. It tests the machinery: there is no long history of real signals.

    \b
    Examples:
      allocator backtest data/listed --prices closes.csv --outlook today --every week
    """
    from allocator.display.console import progress_spinner

    loaded = choice.load()
    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.backtesting.walk_forward import backtest as study
        from allocator.tables.files import read_table

        found = study(
            loaded,
            prices=None if prices is None else read_table(Path(prices)),
            start=start and start.date(),
            end=end and end.date(),
            every=every,
            when="always" if always else "recommended",
            outlook=outlook,
            peers=tuple(dict.fromkeys(peers)),
            progress=say,
        )
    if not as_json:
        from allocator.display.backtest import show_backtest

        show_backtest(found)
    return found.document()


# `allocator trial BOOK`: simulated worlds in which the truth is known, and what each policy makes of them.
#


@click.command()
@book_options
@click.option("--out", metavar="FOLDER", help="Keep each investor's results there; what is there is not done again.")
@click.option("--reduced", is_flag=True, help="Few investors, and also one error at a time: two minutes, no default.")
@click.option("--investors", type=click.IntRange(1, 100_000), help="In each cell.  [default: 200; reduced 4]")
@click.option("--worlds", type=click.IntRange(1, 1000), help="Of each investor.  [default: 10; reduced 2]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=26, show_default=True, help="Of all that is drawn.")
@click.option("--peers", is_flag=True, help="skfolio's CVaR and opinion pooling, too, under the same rules.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes to work in.")
@click.option("--full", is_flag=True, help="Every figure of every cell.")
@handle_errors_and_json
@file_options
def trial(
    choice: BookChoice,
    out: str | None,
    investors: int | None,
    worlds: int | None,
    seed: int,
    jobs: int,
    *,
    reduced: bool,
    peers: bool,
    full: bool,
    as_json: bool,
) -> Document:
    """Live through simulated worlds with BOOK's account, and show what each policy makes of them.

    The truth of a world is known, and its investor wrong about it by a controlled amount. The whole trial takes hours:
    with --out it goes on where it was interrupted. It ends with the default caution that its rule gives: docs/trial.md.

    \b
    Examples:
      allocator trial data/reviewed --reduced
      allocator trial data/reviewed --out trial --jobs 2
    """
    from allocator.display.console import progress_spinner

    if out is None and not reduced and investors is None:
        rule = "the whole trial takes hours: name --out FOLDER, where an interrupted one goes on"
        raise click.UsageError(f"{rule}, or ask for --reduced or fewer --investors")
    loaded = choice.load()
    with progress_spinner() as say:
        say("loading the solvers")
        from allocator.backtesting.cells import asked_design
        from allocator.backtesting.trial import simulate

        design = asked_design(loaded, reduced=reduced, investors=investors, worlds=worlds, seed=seed, peers=peers)
        found = simulate(loaded, design, folder=out, jobs=jobs, progress=say)
    if not as_json:
        from allocator.display.trial import show_trial

        show_trial(found, full=full)
    return found.document()
