"""The command line: arguments only. What the commands do lies in the modules they name."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from mynn.report.experiments.published import EPOCHS, SAMPLES, SEED

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="mynn: a glass-box deep-learning toolbox that compiles the whole training loop.",
)


def _version(asked: bool) -> None:
    if asked:
        import mynn

        typer.echo(f"mynn {mynn.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What comes before the command."""


@app.command()
def reproduce(
    out: Annotated[
        Path, typer.Option(help="Folder for the page, figures, tables and numbers.")
    ] = Path("reproduction"),
    samples: Annotated[
        int, typer.Option(min=1, help="Runs behind each mean; the report has 10.")
    ] = SAMPLES,
    epochs: Annotated[
        int, typer.Option(min=1, help="Epochs of a run; the report has 100.")
    ] = EPOCHS,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all data and initial weights.")] = SEED,
) -> None:
    """Train everything in the report, and write one page that holds it against the published."""
    try:
        from rich.console import Console

        from mynn.report.experiments.runs import Settings
        from mynn.report.reproduce import reproduce as run
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed: pip install 'mynn-toolbox[report]'"
        raise typer.BadParameter(missing, param_hint="reproduce") from None
    from mynn.errors import ArgumentError

    try:
        run(out, Settings(samples, epochs, seed), Console())
    except ArgumentError as error:
        raise typer.BadParameter(str(error), param_hint="--out") from None
    except KeyboardInterrupt:
        typer.echo("Stopped; nothing was written.", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        typer.echo(f"The results could not be written: {error}", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no ± shall show a ? in its place.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
