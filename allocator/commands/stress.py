"""`allocator stress BOOK`: shocks, reverse stress, replay, and how wrong beliefs and parameters may be."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click
from click.core import ParameterSource

from allocator.commands.options import BookChoice, book_options, file_options, handle_errors_and_json
from allocator.presentation import Document


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
