"""Whole epochs of the report's toolbox as one native program."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import mynn
from mynn.base.arguments import positive
from mynn.core.types import Array
from mynn.errors import NotFiniteError, UsageError
from mynn.report.toolbox.optimizer import optimizer_sgd
from mynn.report.toolbox.passes import is_known
from mynn.report.toolbox.record import Record
from mynn.report.toolbox.sequence import Arguments
from mynn.report.toolbox.tools import criterion_mse
from mynn.tensor import Tensor, graph_node
from mynn.trace import tracing


@dataclass(frozen=True)
class History:
    """What `fit` saw while it trained.

    Attributes:
        loss: float64 of shape (epochs,): sum over all samples of the loss before their update.
        accuracy: float64 of shape (epochs,): share of samples whose largest output stood where the
            largest target stands, before their update.
        seconds: wall time of the native steps: all but the last one.
        setup_seconds: the rest of the wall time: checks, the last step, which is recorded, and the
            first time tracing and compiling.
    """

    loss: Array
    accuracy: Array
    seconds: float
    setup_seconds: float


# Compiled steps that a constructor keeps: those used last.
PLANS = 8


@dataclass(frozen=True)
class Plan:
    """A compiled training step, and what it was made for (kept alive, so that identities last)."""

    tools: tuple[Any, ...]
    criterion: Any
    optimizer: optimizer_sgd
    step: Any


class _Epochs:
    """Runs epochs of one sequence with one optimizer."""

    def __init__(
        self,
        net: Record,
        checked: Arguments,
        optimizer: optimizer_sgd,
        batch: int,
        plans: dict[Any, Plan],
    ) -> None:
        self.net = net
        self.checked = checked
        self.optimizer = optimizer
        self.batch = batch
        self.seconds = 0.0
        # Where the optimizer's frozen layers change, so does the step.
        key = (*map(id, checked.tools), id(checked.criterion), id(optimizer), optimizer.freeze)
        plan = plans.pop(key, None)
        if plan is None or not is_known(checked):
            step = mynn.compile(training_step(checked, optimizer))
            plan = Plan(checked.tools, checked.criterion, optimizer, step)
        plans[key] = plan
        if len(plans) > PLANS:
            del plans[next(iter(plans))]
        self.step = plan.step

    def run(
        self, x: Array, t: Array, epochs: int, shuffle: bool
    ) -> tuple[list[float], list[float]]:
        """Sums of losses and counts of hits, one of each for every epoch."""
        if epochs == 0:
            return [], []
        seed = int(self.net.generator.integers(2**32)) if shuffle else 0
        history = mynn.fit(
            self.step,
            (x, t),
            epochs=epochs,
            batch_size=min(self.batch, len(x)),
            shuffle=shuffle,
            seed=seed,
            verbose=False,
        )
        self.seconds += history.seconds
        metrics = history.metrics
        return list(metrics["loss"] * len(x)), list(metrics["accuracy"] * len(x))


def training_step(checked: Arguments, optimizer: optimizer_sgd) -> Callable[..., Any]:
    """The step of one batch: forward, backward and update, written with the tools' operations."""
    criterion = checked.criterion
    assert criterion is not None
    free = optimizer.free_layers(list(checked.layers))

    def step(x: Tensor, t: Tensor) -> dict[str, Tensor]:
        y = x
        trace = tracing.active()
        for number, tool in enumerate(checked.tools):
            y = tool.operation(y)
            if trace is not None:
                # Named, so that an error about NaN can say where it arose.
                trace.observer.activations[f"{number}: {tool}"] = graph_node(y)
        loss = criterion.operation(y, t)
        if trace is not None:
            trace.observer.activations[type(criterion).__name__] = graph_node(loss)
        loss.backward()
        optimizer.step(free)
        hits = (y.argmax(1) == t.argmax(1)).astype(y.dtype)
        return {"loss": loss * (1 / x.shape[0]), "accuracy": hits.mean()}

    return step


def run(
    net: Record,
    checked: Arguments,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    optimizer: Any,
    plans: dict[Any, Plan],
    train: Callable[..., Array],
) -> History:
    """Train; the arguments are those of `model.fit`, data and sequence checked.

    All updates but the last run in native code; the last one is a `train` (that of the model) and
    an `update`, so that the constructor holds what they record.
    """
    called = time.perf_counter()
    epochs = positive("epochs", epochs)
    batch = positive("batch_size", batch_size)
    if not isinstance(optimizer, optimizer_sgd):
        raise UsageError("fit: give an optimizer, optimizer=optimizer_sgd(lr, model)")
    if optimizer.model is not net:
        raise UsageError("fit: the optimizer belongs to another constructor")
    optimizer.free_layers(list(checked.layers))
    net.enter(checked.tools, checked.layers, checked.target)
    x, t = checked.input, checked.target
    assert t is not None
    assert checked.criterion is not None
    whole = _Epochs(net, checked, optimizer, batch, plans)
    losses, hits = whole.run(x, t, epochs - 1, shuffle)
    order = net.generator.permutation(len(x)) if shuffle else np.arange(len(x))
    last = (len(x) - 1) // batch * batch
    more = whole.run(x[order[:last]], t[order[:last]], 1, False) if last else ([0.0], [0.0])
    losses, hits = [*losses, *more[0]], [*hits, *more[1]]
    rows = order[last] if batch == 1 else order[last:]
    output = train(list(checked.tools), x[rows], t[rows])
    losses[-1] += _finite_loss(net, checked.criterion, epochs)
    hits[-1] += int(np.sum(output.argmax(-1) == t[rows].argmax(-1)))
    optimizer.update()
    overhead = time.perf_counter() - called - whole.seconds
    return History(np.array(losses), np.array(hits) / len(x), whole.seconds, overhead)


def _finite_loss(net: Record, criterion: criterion_mse, epochs: int) -> float:
    """The loss of the pass that `net` recorded last, or `NotFiniteError`."""
    wrong = [k for k in range(1, net.lt + 1) if not np.isfinite(net.s[k]).all()]
    loss = float("nan") if wrong else float(criterion.loss())
    if not math.isfinite(loss):
        where = net.layers[wrong[0] - 1] if wrong else type(criterion).__name__
        raise NotFiniteError(
            f"the loss is not finite at the last step of epoch {epochs - 1}: it first arose in "
            f"{where}. The parameters are as they were before this step; lower the learning rate"
        )
    return loss
