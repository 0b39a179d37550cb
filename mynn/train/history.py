"""What a training run measured."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mynn.base.arguments import nearest
from mynn.core.types import Array
from mynn.errors import KeyNameError, UsageError
from mynn.train.record import Recorded


@dataclass
class History:
    """The result of `fit`.

    - `metrics`: for each result of the step, its mean over the samples of each finished epoch
      (float64, [epochs]); measures, with "val_" before their names those of validation.
    - `steps`: steps that ran; `epochs`: epochs that were finished; `seconds`: wall time of the
      training itself.
    - `compile_seconds`: what it took to make the programs.
    - `records`: what `record=` asked for.

    Each `fit` makes one of its own; nothing changes it afterwards.

    Example:
        >>> import numpy as np, mynn
        >>> rate = mynn.Tensor(0.5)
        >>> def step(x):
        ...     rate.assign(rate * 0.5)
        ...     return rate * x.mean()
        >>> history = mynn.fit(step, np.ones(8, np.float32), epochs=3)
        >>> history["loss"], history.steps
        (array([0.25  , 0.125 , 0.0625]), 3)
    """

    metrics: dict[str, Array] = field(default_factory=dict)
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    records: list[Recorded] = field(default_factory=list)

    def __getitem__(self, name: str) -> Array:
        """The metric of that name."""
        if name not in self.metrics:
            close = nearest(str(name), self.metrics)
            hint = f"did you mean {close!r}?" if close else "return it from the step by that name"
            raise KeyNameError(
                f"the history has no metric {name!r}, it has {', '.join(self.metrics)}; {hint}"
            )
        return self.metrics[name]

    def to_dict(self) -> dict[str, list[Any]]:
        """Lists by the names of the metrics, for JSON and the like."""
        return {name: values.tolist() for name, values in self.metrics.items()}

    @property
    def history(self) -> dict[str, list[Any]]:
        """The same under Keras's name."""
        return self.to_dict()

    def frame(self) -> Any:
        """A table of pandas, whose package must be there: an epoch a row, a metric a column.

        Raises:
            UsageError: pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise UsageError("frame: pandas is not installed; install it, or use to_dict()")
        import pandas  # type: ignore[import-untyped, unused-ignore]

        columns = {
            name: values if values.ndim == 1 else list(values)
            for name, values in self.metrics.items()
        }
        return pandas.DataFrame(columns, index=pandas.RangeIndex(self.epochs, name="epoch"))

    def plot(self, *names: str, axes: Any = None) -> Any:
        """Draw metrics over the epochs with Matplotlib, whose package must be there.

        Args:
            names: of metrics; left out, all single numbers. What belongs together ("loss" and
                "val_loss") has one panel.
            axes: panels to draw in, as `matplotlib.pyplot.subplots` gives them.

        Returns:
            The figure.
        """
        if importlib.util.find_spec("matplotlib") is None:
            raise UsageError("plot: matplotlib is not installed; install it, or use to_dict()")
        from matplotlib.figure import Figure

        shown = names or tuple(name for name, values in self.metrics.items() if values.ndim == 1)
        panels: dict[str, list[str]] = {}
        for name in shown:
            panels.setdefault(name.removeprefix("val_"), []).append(name)
        if axes is None:
            figure = Figure(figsize=(4 * max(len(panels), 1), 3), layout="constrained")
            axes = figure.subplots(1, max(len(panels), 1), squeeze=False)
        flat = np.ravel(np.asarray(axes, object))
        for panel, (title, lines) in zip(flat, panels.items(), strict=True):
            for name in lines:
                panel.plot(np.arange(1, len(self[name]) + 1), self[name], label=name)
            panel.set_xlabel("epoch")
            panel.set_title(title)
            panel.legend()
        return flat[0].figure

    def __repr__(self) -> str:
        last = ", ".join(
            f"{k}={v[-1]:.6g}" for k, v in self.metrics.items() if len(v) and v.ndim == 1
        )
        return f"History({self.epochs} epochs, {self.steps} steps, {self.seconds:.3f} s; {last})"
