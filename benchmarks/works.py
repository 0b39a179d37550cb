"""The works that are timed: one small network, its data and its training step each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Array = np.ndarray
Layers = list[tuple[Array, Array]]


@dataclass(frozen=True)
class Work:
    """A training step of a fully connected network, float32 throughout.

    `squares` is the mean over the batch of the summed squared errors, every layer followed by the
    activation, the output too; `cross-entropy` is the mean over the batch of softmax cross-entropy
    with integer labels, the output layer left linear.
    """

    name: str
    sizes: tuple[int, ...]
    activation: Literal["tanh", "relu"]
    loss: Literal["squares", "cross-entropy"]
    batch: int
    samples: int
    lr: float
    momentum: float

    @property
    def about(self) -> str:
        """The network, batch and optimiser in a few words."""
        optimiser = "SGD" if self.momentum == 0 else "momentum"
        shape = "-".join(map(str, self.sizes))
        return f"{shape} {self.activation}, batch {self.batch}, {optimiser}"

    @property
    def steps(self) -> int:
        """Steps in one pass over the data; the batches divide it."""
        return self.samples // self.batch

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def activated(self, index: int) -> bool:
        """Whether layer `index` is followed by the activation."""
        return self.loss == "squares" or index < len(self.layers) - 1


WORKS = (
    Work("W1", (2, 25, 25, 2), "tanh", "squares", 1, 1000, 0.1, 0.0),
    Work("W2", (2, 25, 25, 2), "tanh", "squares", 32, 4096, 0.02, 0.9),
    Work("W3", (16, 64, 64, 4), "relu", "cross-entropy", 32, 4096, 0.02, 0.9),
    Work("W4", (64, 128, 128, 10), "relu", "cross-entropy", 64, 4096, 0.02, 0.9),
)


def work_named(name: str) -> Work:
    """The work called `name`."""
    for work in WORKS:
        if work.name == name:
            return work
    raise ValueError(f"no work is called {name!r}; there are {', '.join(w.name for w in WORKS)}")


def data(work: Work) -> tuple[Array, Array]:
    """Inputs (N, features) and targets: one-hot rows (N, 2), or integer labels (N,)."""
    rng = np.random.default_rng(20)
    if work.loss == "squares":
        x = rng.random((work.samples, work.sizes[0])).astype(np.float32)
        inside = (x**2).sum(axis=1) < 0.25
        return x, np.stack([inside, ~inside], axis=1).astype(np.float32)
    x = rng.standard_normal((work.samples, work.sizes[0])).astype(np.float32)
    teacher = rng.standard_normal((work.sizes[0], work.sizes[-1])).astype(np.float32)
    return x, (x @ teacher).argmax(axis=1).astype(np.int64)


def initial(work: Work) -> Layers:
    """Weights (inputs, outputs) and biases (outputs,) that every peer starts from."""
    rng = np.random.default_rng(7)
    gain = 2.0 if work.activation == "relu" else 1.0
    return [
        (
            (rng.standard_normal((n, m)) * np.sqrt(gain / n)).astype(np.float32),
            (rng.standard_normal(m) * 0.1).astype(np.float32),
        )
        for n, m in work.layers
    ]
