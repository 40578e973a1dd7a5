"""Commands of other packages: found when one is called by a name that is not ours, and imported then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from allocator.errors import AllocatorError

if TYPE_CHECKING:
    from allocator.plugins import Plugin


class Commands(click.Group):
    """Our commands, and behind them those of the entry points `allocator.commands`; none can take the place of ours.

    `--help` lists ours alone: to tell what another's is for, it would have to be imported. `allocator plugins` lists
    those of others.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Ours of this name; else another package's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        from allocator.plugins import installed

        if cmd_name not in [plugin.name for plugin in installed("commands")]:
            return None
        try:
            return _further(cmd_name)
        except AllocatorError as error:
            _show(error)
            sys.exit(error.exit_code)


def _show(error: AllocatorError) -> None:
    from allocator.display.refusal import show_refusal

    show_refusal(error)


def _further(name: str) -> click.Command:
    from allocator.errors import BadInput
    from allocator.plugins import loaded, refused

    plugin, command = loaded("commands", name, "allocator")
    if not isinstance(command, click.Command):
        raise BadInput([refused(plugin, "is no click.Command", "let its entry point name one")])
    own = command.invoke

    def invoke(ctx: click.Context) -> object:
        """What it raises is its own defect, named, and none of ours."""
        try:
            return own(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException, KeyboardInterrupt, BrokenPipeError):
            raise
        except Exception as error:
            _show(_named(plugin, error))
            ctx.exit(BadInput.exit_code)

    command.invoke = invoke  # type: ignore[method-assign]
    return command


def _named(plugin: Plugin, error: Exception) -> AllocatorError:
    """Its own refusal, or its defect by its name."""
    from allocator.errors import BadInput
    from allocator.plugins import refused

    if isinstance(error, AllocatorError):
        return error
    return BadInput([refused(plugin, f"fails: {type(error).__name__}: {error}".rstrip(": "))])
