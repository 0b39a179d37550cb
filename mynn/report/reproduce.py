"""`mynn reproduce`: train, draw, write, and say what came out."""

from __future__ import annotations

import os
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mynn.report.experiments.runs import PUBLISHED, Results, Settings, count_runs, run_all
from mynn.report.experiments.statistics import (
    BETTER,
    DECIMALS,
    DIFFERS,
    FASTER,
    OVERLAPS,
    WITHIN,
    WORSE,
    Cell,
    cells,
    summary,
)
from mynn.report.folder import check_target, write_folder
from mynn.report.page import figures, tables
from mynn.report.page.page import render

STYLES = {
    WITHIN: "green",
    FASTER: "green",
    BETTER: "green",
    OVERLAPS: "yellow",
    DIFFERS: "red",
    WORSE: "red",
}
MARKS = {WITHIN: "✓", FASTER: "✓", BETTER: "✓", OVERLAPS: "~", DIFFERS: "✗", WORSE: "✗"}
SHORT_LABELS = {"loss": "loss (log10)", "accuracy": "accuracy (%)", "seconds": "time (s)"}


def reproduce(out: Path, settings: Settings, console: Console) -> Results:
    """Train everything in the report and write it into the folder `out`.

    Raises:
        ArgumentError: the folder cannot be used. Nothing has been trained then.
    """
    target = check_target(out)
    results = train(settings, console)
    write_folder(target, files(results))
    show(results, console)
    console.print(
        f"Written to [bold]{_relative(target)}[/bold]; open index.html there.", highlight=False
    )
    return results


def train(settings: Settings, console: Console) -> Results:
    """Train everything, with a progress bar."""
    columns = (
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=count_runs(settings))
        started = 0

        def report(what: str) -> None:
            nonlocal started
            progress.update(task, completed=started, description=what)
            started += 1

        return run_all(settings, report)


def files(results: Results) -> dict[str, bytes]:
    """Every file of the folder."""
    drawn = figures.draw_all(results)
    found = {f"{name}.png": figures.png(figure) for name, figure in drawn.items()}
    page = render(results, {name: figures.svg(figure) for name, figure in drawn.items()})
    texts = {
        "index.html": page,
        "results.json": tables.json_text(results),
        "table1.csv": tables.table1_csv(results),
        "runs.csv": tables.runs_csv(results),
        "curves.csv": tables.curves_csv(results),
        "points.csv": tables.points_csv(results),
    }
    return {**found, **{name: text.encode() for name, text in texts.items()}}


def show(results: Results, console: Console) -> None:
    """A summary in the terminal."""
    found = cells(results)
    for version, label in tables.VERSION_LABELS.items():
        console.print(_table(label, [c for c in found if c.version == version]))
        console.print()
    console.print(
        "Below each value is the report's; ✓ the mean lies within its ± or is better, ~ outside, "
        "but the spreads overlap, ✗ it differs.",
        style="dim",
    )
    wide = [c for c in found if c.version == PUBLISHED and c.wide]
    for cell in wide:
        low, high = cell.interval
        console.print(
            f"With lr = {cell.rate:g} the test accuracy spreads from {low:.1f} to {high:.1f} %, "
            "so that its mean says little.",
            style="dim",
            highlight=False,
        )
    console.print(summary(found), highlight=False)


def _table(label: str, chosen: list[Cell]) -> Table:
    table = Table(
        title=label, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False
    )
    table.add_column("", no_wrap=True)
    for cell in chosen:
        if cell.quantity == "loss":
            table.add_column(tables.column_label(cell), justify="right", no_wrap=True)
    for quantity, name in SHORT_LABELS.items():
        row = [_text(cell) for cell in chosen if cell.quantity == quantity]
        table.add_row(name, *row)
    return table


def _text(cell: Cell) -> str:
    value = tables.plus_minus(cell.mean, cell.deviation, DECIMALS[cell.quantity])
    published = f"{cell.published.mean:g} ± {cell.published.deviation:g}"
    style, mark = STYLES[cell.verdict], MARKS[cell.verdict]
    return f"[{style}]{value}[/{style}]\n[dim]{published}[/dim] [{style}]{mark}[/{style}]"


def _relative(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
