"""`mynn reproduce`: its arguments; what it does lies in `mynn.report.reproduce`."""

from __future__ import annotations

from pathlib import Path

import click

from mynn.errors import ArgumentError
from mynn.report.experiments.published import EPOCHS, SAMPLES, SEED


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reproduction"),
    help="Folder for the page, figures, tables and numbers.",
    show_default=True,
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=SAMPLES,
    help="Runs behind each mean; the report has 10.",
    show_default=True,
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=EPOCHS,
    help="Epochs of a run; the report has 100.",
    show_default=True,
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=SEED,
    help="Seed of all data and initial weights.",
    show_default=True,
)
def reproduce(out: Path, samples: int, epochs: int, seed: int) -> None:
    """The command; its help stands in `mynn_command.COMMANDS`."""
    try:
        from rich.console import Console

        from mynn.report.experiments.runs import Settings
        from mynn.report.reproduce import reproduce as run
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed: pip install 'mynn-toolbox[report]'"
        raise click.BadParameter(missing, param_hint="reproduce") from None
    try:
        run(out, Settings(samples, epochs, seed), Console())
    except ArgumentError as error:
        raise click.BadParameter(str(error), param_hint="--out") from None
    except KeyboardInterrupt:
        click.echo("Stopped; nothing was written.", err=True)
        raise click.exceptions.Exit(130) from None
    except OSError as error:
        click.echo(f"The results could not be written: {error}", err=True)
        raise click.exceptions.Exit(1) from None
