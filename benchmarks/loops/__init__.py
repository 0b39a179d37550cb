"""Programs as users write them, line by line, the same text for mynn and PyTorch.

`make(library, compared)` gives the `Program`; `compared` says that its results are wanted, not its
time, where that makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import networks
from benchmarks.loops import acting, folds, sequences, small, training
from benchmarks.loops.library import Library, Program

WITH_TORCH = ("ours", "torch")
ON_TAPE = ("ours", "ours-tape", "torch")
BESIDE_A_CALL = ("ours", "ours-compiled", "torch")
WITH_JAX = ("ours", "torch", "jax-scan")


@dataclass(frozen=True)
class Loop:
    """A row of the table, or one for each number of threads where there are `several`.

    `peers` are timed; those and `torch` are compared, over `steps` steps, unless it is 0. A step
    counts for `units`.
    """

    about: str
    make: Callable[[Library, bool], Program]
    peers: tuple[str, ...] = WITH_TORCH
    steps: int = 5
    units: int = 1
    tolerance: float = 1e-4
    several: bool = False

    @property
    def compared(self) -> tuple[str, ...]:
        """The peers whose results are compared."""
        return tuple(dict.fromkeys((*self.peers, "torch"))) if self.steps else ()


def _plain(function: Callable[..., Program], *arguments: object) -> Callable[..., Program]:
    """`function` of the library and these arguments."""
    return lambda library, compared: function(library, *arguments)


def _sequence(about: str, function: Callable[..., Program], *arguments: object) -> Loop:
    """A pass of `fit` over sequences, counted as its steps."""
    make = _plain(function, *arguments)
    return Loop(about, make, WITH_JAX, steps=1, units=sequences.STEPS, several=True)


def _images(about: str, network: Callable[[Any], Any], tolerance: float = 1e-3) -> Loop:
    """A pass of `fit` over images, counted as its steps."""
    make, units = _plain(training.images, network), training.IMAGE_STEPS
    return Loop(about, make, steps=1, units=units, tolerance=tolerance, several=True)


WRITTEN = "zero_grad, forward, loss, backward, step, loss.item()"
LOOPS = {
    "loop-W3": Loop(f"{WRITTEN}: W3", _plain(training.loop, "W3"), ON_TAPE),
    "loop-W3-look-first": Loop(
        "W3's loop with loss.item() before backward", _plain(training.loop, "W3", True), ON_TAPE
    ),
    "loop-W8": Loop(
        f"{WRITTEN}: LeNet, batch 64", _plain(training.loop, "W8"), ON_TAPE, tolerance=1e-3
    ),
    "loop-resnet20": Loop(
        f"{WRITTEN}: ResNet-20, batch 32",
        _plain(training.loop, "resnet20"),
        ON_TAPE,
        steps=4,
        tolerance=5e-2,  # of many relus near 0 some fall on different sides
    ),
    "act": Loop("an action of 4-128-2, softmax, the largest", _plain(acting.act), ON_TAPE),
    "act-sampled": Loop(
        "an action of 4-128-2 drawn, its log_prob kept",
        _plain(acting.sampled),
        ON_TAPE,
        steps=acting.STEPS,
    ),
    "reinforce-update": Loop(
        "REINFORCE's update after 200 such steps", _plain(acting.update), ON_TAPE, steps=5
    ),
    "actor-critic-update": Loop(
        "an actor-critic's update after 200 such steps",
        _plain(acting.update, acting.Critic),
        ON_TAPE,
        steps=5,
    ),
    "reinforce-episode": Loop(
        "an episode of 200 drawn actions, and REINFORCE's update",
        _plain(acting.episode),
        ON_TAPE,
        steps=5,
    ),
    "add": Loop("[32, 16] + [32, 16], looked at", _plain(small.add, 1), ON_TAPE, steps=4),
    "add-20": Loop("20 such additions, looked at once", _plain(small.add, 20), ON_TAPE, steps=4),
    "new-W3": Loop(
        "a new network of W3, from fit to its first step", _plain(small.new, "W3"), ("ours",)
    ),
    "new-W8": Loop("a new LeNet, from fit to its first step", _plain(small.new, "W8"), ("ours",)),
    "new-eager-W3": Loop(
        "a new network of W3, its first step line by line", _plain(small.new_eager, "W3")
    ),
    "again-predict": Loop(
        "mynn.predict of a batch of W3 again", _plain(small.again_predict), BESIDE_A_CALL
    ),
    "again-fit": Loop("mynn.fit of one step of W3 again", _plain(small.again_fit), BESIDE_A_CALL),
    "S1": _sequence(
        "GRU 16-64, 32 steps, batch 32, 10 classes from the last output, momentum",
        sequences.recurrent,
        *("GRU", 16, 64, 10, 32),
    ),
    "S2": _sequence(
        "LSTM 16-64, 32 steps, batch 32, 10 classes from the last output, momentum",
        sequences.recurrent,
        *("LSTM", 16, 64, 10, 32),
    ),
    "S3": _sequence(
        "LSTM 64-128, 64 steps, batch 32, 10 classes from the last output, momentum",
        sequences.recurrent,
        *("LSTM", 64, 128, 10, 64),
    ),
    "S4": _sequence(
        "transformer, 2 layers of width 64, 4 heads, 64 tokens, batch 16, causal, momentum",
        sequences.language_model,
        *("transformer", 64, 16),
    ),
    "S5": _sequence(
        "embedding bag 5000x64, 64 tokens, batch 32, 4 classes, momentum",
        sequences.bag,
    ),
    "S6": _sequence(
        "characters: embedding 80x64, GRU 64-128, 80 outputs of all 64 steps, batch 32, momentum",
        sequences.language_model,
        *("gru", 80, 32),
    ),
    "predict-S4": Loop(
        "mynn.predict of one text by S4's network again",
        _plain(sequences.prediction, "transformer", 64),
        (*BESIDE_A_CALL, "onnxruntime"),
    ),
    "generate-S4": Loop(
        "a token by S4's network; keys and values of those before are kept",
        _plain(sequences.generation, 64),
        units=sequences.TOKENS,
    ),
    "W10": _images(
        "convolutions in depth and in width, 3x32x32, 16-32-64-64, batch 32, momentum",
        networks.separable,
    ),
    "W11": _images("strided convolutions, 3x32x32, 16-32-64, batch 32, momentum", networks.strided),
    "W12": _images("ResNet-20, 3x32x32, batch 32, momentum", networks.resnet20, 5e-2),
    "predict-S1": Loop(
        "one prediction of 1 from Python, the network of S1",
        _plain(sequences.predicted, "GRU", 16, 64, 10),
        ("ours", "torch", "onnxruntime"),
    ),
    "generate-S6": Loop(
        "one more character from Python, the network of S6, its state kept",
        _plain(sequences.generated, 80),
    ),
    "folds": Loop(
        "one of 50 trainings, 5 folds x 10 seeds: 30-32-2, 20 epochs of 455 rows, Adam",
        folds.folds,
        ("ours", "torch", "sklearn"),
        steps=2,
    ),
    "folds-together": Loop(
        "the 50 trainings in one call of mynn.cross_validate, for each",
        _plain(folds.together),
        ("ours",),
        steps=0,
        units=folds.FOLDS * folds.SEEDS,
    ),
    "folds-epochs": Loop(
        "20 of 1000 such epochs in one call of fit",
        _plain(folds.epochs),
        ("ours",),
        steps=0,
        units=folds.LONGER,
    ),
}
