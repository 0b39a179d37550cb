"""The progress bar of `fit`, on a terminal."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mynn.train.callbacks.base import Callback
from mynn.train.history import History


def progress_bar() -> list[Callback]:
    """A progress bar where standard error is a terminal, otherwise nothing."""
    return [ProgressBar()] if _is_terminal(sys.stderr) else []


def _is_terminal(stream: Any) -> bool:
    """Programs without a console have no standard error (None), daemons close it."""
    try:
        return bool(stream is not None and stream.isatty())
    except (OSError, ValueError):
        return False


class ProgressBar(Callback):
    """One line: epochs, a bar, the metrics, the time that is left."""

    text = ""

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Draw the empty bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.epochs, self.steps = epochs, steps
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.fields[logs]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=False,
        )
        self.task = self.progress.add_task(
            "fit", total=epochs * steps or None, epoch=0, epochs=epochs, logs=""
        )
        self.progress.start()

    def on_progress(self, epoch: int, step: int, logs: dict[str, Any]) -> None:
        """Move the bar."""
        if logs:
            self.text = "  ".join(
                f"{name} {value:.4g}" for name, value in logs.items() if np.ndim(value) == 0
            )
        self.progress.update(
            self.task,
            completed=epoch * self.steps + step,
            epoch=min(epoch + 1, self.epochs),
            logs=self.text,
        )

    def on_train_end(self, history: History) -> None:
        """Leave the last line standing."""
        self.progress.stop()
