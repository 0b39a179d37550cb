"""The rows as a table in the terminal."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table

from benchmarks.best import Best
from benchmarks.rows import Row

CAPTION = "microseconds unless it says s; medians; ratio: the best peer over ours"
BEST = "everybody with the number of threads that suits them best; the limit is that of one thread"
WIDTH = 130


def time_text(us: float | None) -> str:
    """Microseconds, or seconds where they are many."""
    if us is None:
        return ""
    if us >= 1e5:
        return f"{us / 1e6:.2f} s"
    return f"{us:.3g}" if us < 1000 else f"{us:.0f}"


def _table(rows: list[Row]) -> Table:
    table = Table()
    table.add_column("work")
    for title in ("threads", "ours", *rows[0].peers_us, "limit", "ratio"):
        table.add_column(title, justify="right")
    for row in rows:
        times = [row.ours_us, *row.peers_us.values(), row.limit_us]
        table.add_row(row.work, str(row.threads), *map(time_text, times), _ratio(row.ratio))
    return table


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _best_table(lines: list[Best]) -> Table:
    table = Table()
    table.add_column("work")
    for title in ("ours", "threads", "best peer", "", "threads", "limit", "ratio"):
        table.add_column(title, justify="right")
    for line in lines:
        table.add_row(
            line.work,
            time_text(line.ours_us),
            str(line.ours_threads or ""),
            line.peer or "",
            time_text(line.peer_us),
            str(line.peer_threads or ""),
            time_text(line.limit_us),
            _ratio(line.ratio),
        )
    return table


def show(rows: list[Row], best: list[Best]) -> None:
    """Print a table for each set of peers, columns are peers, rows are works; then the best."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for _, group in groupby(rows, key=lambda row: tuple(row.peers_us)):
        console.print(_table(list(group)))
    console.print(CAPTION)
    console.print(_best_table(best))
    console.print(BEST)
