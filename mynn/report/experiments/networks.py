"""The networks of the report, in the versions that are compared.

A network is built and compiled once; each run draws its weights anew, in place.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

import mynn
from mynn import nn, optim
from mynn.core.types import Array, Shape
from mynn.module import criterion_mse, lecun, linear, model, normal, optimizer_sgd, sigmoid
from mynn.report.experiments.data import Sample, accuracy

# log10 of a loss that has reached 0 is drawn here.
FLOOR = 1e-12


@dataclass(frozen=True)
class Epochs:
    """What was measured in each epoch of a run; float64, one entry for each epoch.

    - `loss`: log10 of the sum of the loss over the training samples, while they were trained on.
    - `train_accuracy`: % of the training samples, while they were trained on.
    - `test_accuracy`: % of the test samples after the epoch; empty unless it was asked for.
    """

    loss: Array
    train_accuracy: Array
    test_accuracy: Array
    seconds: float


class Network(Protocol):
    """A network that can be trained from the start again and again."""

    def train(self, sample: Sample, rate: float, epochs: int, watch: bool = False) -> Epochs:
        """Draw the weights of `sample` and train; `watch` measures the test accuracy as well."""
        ...

    def predict(self, input: Array) -> Array:
        """Outputs for points of shape (N, 2)."""
        ...


def log10_loss(total: Any) -> Array:
    """log10 of sums of losses."""
    return np.log10(np.maximum(np.asarray(total, np.float64), FLOOR))


class Toolbox:
    """A network of the report's toolbox: one sample a step, in order, constant learning rate.

    Args:
        sizes: units of the input and of the layers.
        output: the activation of the last layer; the others have `sigmoid`, that is tanh.
        freeze: "output" for the published version, () for the described one.
        sound: whether the initial weights are scaled by their fan-in instead of N(0, 0.1²).
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        output: type = sigmoid,
        freeze: Any = (),
        sound: bool = False,
    ) -> None:
        self.model = model(seed=0)
        criterion = criterion_mse(self.model)
        self.sequence: list[Any] = []
        for k, (m, n) in enumerate(pairwise(sizes), 2):
            last = k == len(sizes)
            init = (at_work if last else lecun) if sound else normal(0.1)
            self.sequence.append(linear(m, n, self.model, criterion, init=init))
            self.sequence.append(output(self.model) if last else sigmoid(self.model))
        self.optimizer = optimizer_sgd(0.1, self.model, freeze=freeze)
        self.model.train(self.sequence, np.zeros(sizes[0]), forward_only=True)

    def train(self, sample: Sample, rate: float, epochs: int, watch: bool = False) -> Epochs:
        """Draw the weights of `sample` and train; `watch` measures the test accuracy as well."""
        self.model.redraw(sample.weights)
        self.optimizer.lr = rate
        loss, train_accuracy, test_accuracy, seconds = [], [], [], 0.0
        for count in [1] * epochs if watch else [epochs]:
            history = self.model.fit(
                self.sequence,
                sample.train_input,
                sample.train_target,
                epochs=count,
                optimizer=self.optimizer,
            )
            loss += list(history.loss)
            train_accuracy += list(100 * history.accuracy)
            seconds += history.seconds
            if watch:
                output = self.predict(sample.test_input)
                test_accuracy.append(accuracy(output, sample.test_target))
        return Epochs(log10_loss(loss), np.array(train_accuracy), np.array(test_accuracy), seconds)

    def predict(self, input: Array) -> Array:
        """Outputs for points of shape (N, 2)."""
        return self.model.predict(self.sequence, input)


def at_work(generator: np.random.Generator, shape: Shape) -> Array:
    """Initialiser for an output layer with relu: weights N(0, 0.1²), biases 1/2.

    Both rectifiers then start at the mean of the targets, so that a gradient flows through them.
    """
    return np.full(shape, 0.5) if len(shape) == 1 else generator.normal(0.0, 0.1, shape)


class OurDefaults:
    """2-25-25-2 with tanh as before, trained with what mynn.nn and mynn.optim do by default.

    Weights U(±1/sqrt(fan_in)), Adam, mini-batches of 20 in random order, learning rate falling to 0
    along a cosine.

    Source: Kingma, Ba, "Adam", ICLR 2015; Loshchilov, Hutter, "SGDR", ICLR 2017 (the cosine).
    """

    BATCH = 20
    RATE = 0.01

    def __init__(self, sizes: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for m, n in pairwise(sizes):
            layers += [nn.Linear(m, n), nn.Tanh()]
        self.net = nn.Sequential(*layers)
        self.layers = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.optimizer = optim.Adam(self.net.parameters(), lr=self.RATE)
        self.fresh = copy.deepcopy(self.optimizer.state_dict())
        self.step = mynn.compile(self._step)
        self.forward = mynn.compile(self.net)

    def _step(self, x: Any, t: Any) -> dict[str, Any]:
        y = self.net(x)
        loss = nn.MSELoss()(y, t)
        loss.backward()
        self.optimizer.step()
        hits = (y.argmax(1) == t.argmax(1)).astype(y.dtype)
        return {"loss": loss, "accuracy": hits.mean()}

    def train(self, sample: Sample, rate: float, epochs: int, watch: bool = False) -> Epochs:
        """Draw the weights of `sample` and train; `watch` measures the test accuracy as well."""
        generator = np.random.default_rng(sample.weights)
        for layer in self.layers:
            layer.reset_parameters(generator)
        self.optimizer.load_state_dict(self.fresh)
        group = self.optimizer.param_groups[0]
        group["lr"] = rate
        test_accuracy = []

        def end(epoch: int) -> None:
            group["lr"] = rate * (1 + math.cos(math.pi * (epoch + 1) / epochs)) / 2
            if watch:
                output = self.predict(sample.test_input)
                test_accuracy.append(accuracy(output, sample.test_target))

        history = mynn.fit(
            self.step,
            (sample.train_input, sample.train_target),
            epochs=epochs,
            batch_size=self.BATCH,
            seed=int(generator.integers(2**32)),
            callbacks=[_AtEpochEnd(end)],
            verbose=False,
        )
        # MSELoss is the mean over samples and outputs; the report sums over both.
        total = history["loss"] * sample.train_target.size
        return Epochs(
            log10_loss(total),
            100 * history["accuracy"],
            np.array(test_accuracy),
            history.seconds,
        )

    def predict(self, input: Array) -> Array:
        """Outputs for points of shape (N, 2)."""
        output: Array = self.forward(input)
        return output


class _AtEpochEnd(mynn.Callback):
    def __init__(self, act: Callable[[int], None]) -> None:
        self.act = act

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Call `act(epoch)`."""
        self.act(epoch)
