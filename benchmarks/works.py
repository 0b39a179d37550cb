"""The works that are timed: one network, its data and its training step each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

Array = np.ndarray
Layers = list[tuple[Array, Array]]


@dataclass(frozen=True)
class Conv:
    """A 2-D convolution of stride 1 and the activation after it."""

    inputs: int
    outputs: int
    kernel: int
    padding: int = 0


@dataclass(frozen=True)
class Pool:
    """The largest value of each window of `size` x `size`, the windows side by side."""

    size: int = 2


@dataclass(frozen=True)
class Work:
    """A training step of a network, float32 throughout.

    The network is fully connected, of extents `sizes`; before it may stand `front`, convolutions
    and poolings of images (C, H, W) whose last result is flattened to sizes[0] features.

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
    image: tuple[int, ...] = ()
    front: tuple[Conv | Pool, ...] = ()
    network: str = ""  # what to call it, where the sizes do not say it all

    @property
    def about(self) -> str:
        """The network, batch and optimiser in a few words."""
        optimiser = "SGD" if self.momentum == 0 else "momentum"
        network = self.network or f"{'-'.join(map(str, self.sizes))} {self.activation}"
        return f"{network}, batch {self.batch}, {optimiser}"

    @property
    def steps(self) -> int:
        """Steps in one pass over the data; the batches divide it."""
        return self.samples // self.batch

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.image or self.sizes[:1]

    @property
    def convs(self) -> list[Conv]:
        """The convolutions."""
        return [part for part in self.front if isinstance(part, Conv)]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each fully connected layer."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def activated(self, index: int) -> bool:
        """Whether fully connected layer `index` is followed by the activation."""
        return self.loss == "squares" or index < len(self.layers) - 1


LENET = (Conv(1, 8, 5), Pool(), Conv(8, 16, 5), Pool())
VGG = (
    Conv(3, 32, 3, 1),
    Conv(32, 32, 3, 1),
    Pool(),
    Conv(32, 64, 3, 1),
    Conv(64, 64, 3, 1),
    Pool(),
)


def _classifier(name: str, sizes: tuple[int, ...], batch: int, samples: int, lr: float) -> Work:
    return Work(name, sizes, "relu", "cross-entropy", batch, samples, lr, 0.9)


WORKS = (
    Work("W1", (2, 25, 25, 2), "tanh", "squares", 1, 1000, 0.1, 0.0),
    Work("W2", (2, 25, 25, 2), "tanh", "squares", 32, 4096, 0.02, 0.9),
    _classifier("W3", (16, 64, 64, 4), 32, 4096, 0.02),
    _classifier("W4", (64, 128, 128, 10), 64, 4096, 0.02),
    _classifier("W5", (784, 128, 10), 32, 2048, 0.005),
    _classifier("W6", (784, 256, 128, 10), 128, 2048, 0.005),
    _classifier("W7", (784, 1024, 1024, 10), 256, 1024, 0.005),
    replace(
        _classifier("W8", (256, 64, 10), 64, 512, 0.005),
        image=(1, 28, 28),
        front=LENET,
        network="LeNet 1x28x28, conv 8@5x5, pool, conv 16@5x5, pool, 64, 10",
    ),
    replace(
        _classifier("W9", (4096, 128, 10), 64, 128, 0.005),
        image=(3, 32, 32),
        front=VGG,
        network="VGG-small 3x32x32, conv3x3 32, 32, pool, 64, 64, pool, 128, 10",
    ),
)


def work_named(name: str) -> Work:
    """The work called `name`."""
    for work in WORKS:
        if work.name == name:
            return work
    raise ValueError(f"no work is called {name!r}; there are {', '.join(w.name for w in WORKS)}")


def data(work: Work) -> tuple[Array, Array]:
    """Inputs (N, ...) and targets: one-hot rows (N, 2), or integer labels (N,)."""
    rng = np.random.default_rng(20)
    if work.loss == "squares":
        x = rng.random((work.samples, work.sizes[0])).astype(np.float32)
        inside = (x**2).sum(axis=1) < 0.25
        return x, np.stack([inside, ~inside], axis=1).astype(np.float32)
    features = prod(work.sample_shape)
    x = rng.standard_normal((work.samples, features)).astype(np.float32)
    teacher = rng.standard_normal((features, work.sizes[-1])).astype(np.float32)
    labels = (x @ teacher).argmax(axis=1).astype(np.int64)
    return x.reshape(-1, *work.sample_shape), labels


def initial(work: Work) -> Layers:
    """The parameters that every peer starts from, layer by layer.

    Weights and biases: (outputs, inputs, K, K) of a convolution, (inputs, outputs) of a fully
    connected layer, whose inputs are flattened from (C, H, W); biases (outputs,).
    """
    rng = np.random.default_rng(7)
    gain = 2.0 if work.activation == "relu" else 1.0
    shapes = [(conv.outputs, conv.inputs, conv.kernel, conv.kernel) for conv in work.convs]
    kinds = [(shape, prod(shape[1:]), shape[0]) for shape in shapes]
    kinds += [((n, m), n, m) for n, m in work.layers]
    return [
        (
            (rng.standard_normal(shape) * np.sqrt(gain / fan_in)).astype(np.float32),
            (rng.standard_normal(outputs) * 0.1).astype(np.float32),
        )
        for shape, fan_in, outputs in kinds
    ]
