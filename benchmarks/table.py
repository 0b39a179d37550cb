"""The rows as a table in the terminal."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row

CAPTION = "microseconds unless it says s; medians, one thread; ratio: the best peer over ours"
WIDTH = 130


def _time(us: float | None) -> str:
    if us is None:
        return ""
    if us >= 1e5:
        return f"{us / 1e6:.2f} s"
    return f"{us:.3g}" if us < 1000 else f"{us:.0f}"


def _table(rows: list[Row]) -> Table:
    table = Table()
    table.add_column("work")
    for title in ("ours", *rows[0].peers_us, "limit", "ratio"):
        table.add_column(title, justify="right")
    for row in rows:
        times = [row.ours_us, *row.peers_us.values(), row.limit_us]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.work, *(_time(us) for us in times), ratio)
    return table


def show(rows: list[Row]) -> None:
    """Print a table for each set of peers: columns are peers, rows are works."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for _, group in groupby(rows, key=lambda row: tuple(row.peers_us)):
        console.print(_table(list(group)))
    console.print(CAPTION)
