"""The command `mynn`: which commands there are. Each lies in a file of `mynn/cli`.

This module lies beside the package, because whatever lies in it cannot be imported before all of
`import mynn` has run: `mynn --help` answers without that.
"""

from __future__ import annotations

import importlib
import io
import sys

import click

# Each command is the function of its name in the module of its name: `mynn.cli.reproduce`.
COMMANDS = {
    "reproduce": "Train everything in the report, and write one page that holds it against the "
    "published.",
}


class Commands(click.Group):
    """Commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported with all that it needs."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mynn.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        command.help = COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with what they do, none of them imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        import mynn

        click.echo(f"mynn {mynn.__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    help="mynn: a glass-box deep-learning toolbox that compiles the whole training loop.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version.",
)
def app() -> None:
    """What comes before the command."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no ± shall show a ? in its place.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="mynn")
