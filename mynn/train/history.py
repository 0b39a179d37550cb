"""What a training run measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from mynn.base.arguments import nearest
from mynn.core.types import Array
from mynn.errors import KeyNameError
from mynn.train.record import Recorded


@dataclass
class History:
    """The result of `fit`.

    - `metrics`: for each result of the step, its mean over the samples of each finished epoch
      (float64, [epochs]).
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

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={v[-1]:.6g}" for k, v in self.metrics.items() if len(v))
        return f"History({self.epochs} epochs, {self.steps} steps, {self.seconds:.3f} s; {last})"
