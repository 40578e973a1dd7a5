"""Commands of other packages: found when one is called by a name that is not ours, and imported then."""

from __future__ import annotations

import sys

import click

from allocator.errors import AllocatorError


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
            from allocator.display.refusal import show_refusal

            show_refusal(error)
            sys.exit(error.exit_code)


def _further(name: str) -> click.Command:
    from allocator.errors import BadInput
    from allocator.plugins import loaded, refused

    plugin, command = loaded("commands", name, "allocator")
    if not isinstance(command, click.Command):
        raise BadInput([refused(plugin, "is no click.Command", "let its entry point name one")])
    return command
