"""The peers, one file each.

A peer's module has `Trainer(work, threads)`; `torch_eager`, `jax_step`, `sklearn_mlp`, `onnx` and
`ours` have `predictor(work, batch, threads)` as well, and `torch_eager`, `jax_step` and `ours`
`differentiator(layer, threads)`. Those of `LOOPERS` have `program(name, threads, compared)`, a loop
that can run. A module is imported in a process of its own, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.works import Layers


class Unavailable(Exception):
    """A peer that cannot run here, and why; its cell stays empty."""


class Trainer(Protocol):
    """Trains a work from `initial(work)` over the whole data set, batch by batch, in order."""

    def reset(self) -> None:
        """Back to the initial weights, with no velocity."""

    def train(self, epochs: int) -> float:
        """Train that many passes, to the last instruction; the mean loss of all the steps."""

    def weights(self) -> Layers:
        """Weights and biases of each layer, as NumPy arrays, in the order of `initial`."""


# Takes a batch of samples in the peer's own kind of array, returns when the outputs are there.
Predictor = tuple[Callable[[Any], Any], Any]
# Sends images through a layer and back; returns the output, then the gradients of the images and of
# the parameters.
Differentiator = Callable[[], tuple[Any, ...]]

TRAINERS = {
    "ours": "benchmarks.ours",
    "c": "benchmarks.peers.c",
    "c-fast": "benchmarks.peers.c_fast",
    "jax-scan": "benchmarks.peers.jax_scan",
    "jax-step": "benchmarks.peers.jax_step",
    "torch": "benchmarks.peers.torch_eager",
    "torch-compile": "benchmarks.peers.torch_compiled",
    "sklearn": "benchmarks.peers.sklearn_mlp",
}
PREDICTORS = {
    "ours": "benchmarks.ours",
    "torch": "benchmarks.peers.torch_eager",
    "jax": "benchmarks.peers.jax_step",
    "sklearn": "benchmarks.peers.sklearn_mlp",
    "onnxruntime": "benchmarks.peers.onnx",
}
DIFFERENTIATORS = {
    "ours": "benchmarks.ours",
    "torch": "benchmarks.peers.torch_eager",
    "jax": "benchmarks.peers.jax_step",
}
LOOPERS = {
    "ours": "benchmarks.ours",
    "ours-compiled": "benchmarks.peers.ours_compiled",
    "ours-tape": "benchmarks.peers.ours_tape",
    "torch": "benchmarks.peers.torch_eager",
    "jax-scan": "benchmarks.peers.jax_sequences",
    "sklearn": "benchmarks.peers.sklearn_mlp",
    "onnxruntime": "benchmarks.peers.onnx",
}
# These have one thread, whatever is asked for.
SINGLE_THREADED = frozenset({"c", "c-fast", "sklearn"})
