"""What happens when a loss is not finite: back one step, and the first place where it arose."""

from __future__ import annotations

import time
from typing import NoReturn

import numpy as np

from mynn import interpreter
from mynn.errors import NotFiniteError
from mynn.graph import Array, Node
from mynn.staging import Staged
from mynn.train.engine import Engine

# A copy of the state may cost at most this share of the time.
_SHARE = 0.05


class Guard:
    """Keeps a recent copy of everything that steps change, to go back to."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.arrays: list[Array] = []
        self.copies: list[Array] = []
        self.taken = 0.0
        self.cost = 0.0

    def keep(self) -> None:
        """Take a copy, unless the last one is recent and copying is dear."""
        now = time.perf_counter()
        if self.copies and now - self.taken < self.cost / _SHARE:
            return
        engine = self.engine
        if not self.arrays:
            self.arrays = [*engine.state_arrays(), engine.control, engine.metrics]
            self.arrays += [engine.order] if engine.order is not None else []
        self.copies = [np.array(array) for array in self.arrays]
        self.taken = time.perf_counter()
        self.cost = self.taken - now

    def explain(self) -> NoReturn:
        """Restore the state before the failing step, and raise naming where the value arose."""
        engine = self.engine
        failed = engine.steps - 1
        for array, copy in zip(self.arrays, self.copies, strict=True):
            array[...] = copy
        while engine.steps < failed:
            engine.run(failed - engine.steps)
        engine.begin_epoch()
        staged, _, batch = engine.batch_arguments()
        values = [*batch, *(np.array(array) for array in engine.state_arrays())]
        where = first_not_finite(staged, values)
        raise NotFiniteError(
            f"the loss is not finite at step {failed} "
            f"(epoch {engine.epoch}, batch {engine.batch}): {where}. "
            "The parameters are as they were before this step. Lower the learning rate, or look at "
            "the data of this batch; check_finite=False trains on regardless"
        )


def first_not_finite(staged: Staged, values: list[Array]) -> str:
    """The first operation whose value is not finite, in the order of computation, and its layer."""
    found: list[Node] = []

    def observe(node: Node, value: Array) -> None:
        if not found and value.dtype.kind == "f" and not np.isfinite(value).all():
            found.append(node)

    for node, value in zip(staged.graph.inputs, values, strict=True):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            kind = "data" if node in staged.arguments else "state"
            return f"the {kind} {node.name} already holds values that are not finite"
    order: dict[Node, int] = {}

    def number(node: Node, value: Array) -> None:
        order[node] = len(order)
        observe(node, value)

    interpreter.evaluate(staged.graph, values, number)
    if not found:
        return "interpreted, the step stays finite, so it is at the edge of what floats can hold"
    first = found[0]
    layers = [
        (order[node], path)
        for path, node in staged.tracer.activations.items()
        if node in order and order[node] >= order[first] and path
    ]
    source = f" (made at {first.source})" if first.source else ""
    if not layers:
        return f"it first arose in {first.primitive.name}{source}"
    return f"it first arose in layer {min(layers)[1]!r}, in {first.primitive.name}{source}"
