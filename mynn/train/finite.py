"""When a loss or a parameter is not finite: back to the state before that step, and the first place
where it arose.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from mynn import interpreter
from mynn.errors import NotFiniteError
from mynn.graph import Array, Node
from mynn.staging import Staged
from mynn.tensor import Tensor, graph_node
from mynn.train.engine import Engine

# Copies of the state may cost at most this share of the time; going back repeats the steps since.
_SHARE = 0.005


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


class Guard:
    """Keeps a recent copy of everything that steps change, to go back to.

    Steps are repeated from there, and give what they gave before. So a copy is due whenever
    something else may have changed the state.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.arrays: list[Array] = []
        self.copies: list[Array] = []
        self.watched: list[Tensor] = []
        self.row: Array = np.zeros(0)
        self.step = self.epoch = 0
        self.taken = 0.0
        self.cost = 0.0

    def keep(self, due: bool) -> None:
        """Take a copy, unless it is not `due`, the last one is recent and copying is dear.

        Raises `NotFiniteError` where a parameter is not finite any more.
        """
        now = time.perf_counter()
        if self.copies and not due and now - self.taken < self.cost / _SHARE:
            return
        self.check()
        engine = self.engine
        changed = engine.changed()
        if due or not self.copies:
            self.watched = [t for t in changed if t.requires_grad and _is_finite(t.data)]
        self.arrays = [tensor.home() for tensor in changed]
        self.copies = [engine.compiled.storage_for_copy(tensor) for tensor in changed]
        for array in (engine.control, engine.order):
            if array is not None:
                self.arrays.append(array)
                self.copies.append(np.empty_like(array))
        for array, copy in zip(self.arrays, self.copies, strict=True):
            copy[...] = array
        self.step, self.epoch = engine.steps, engine.epoch
        self.row = np.array(engine.metrics[self.epoch])
        self.taken = time.perf_counter()
        self.cost = self.taken - now

    def broken(self) -> Tensor | None:
        """A parameter that was finite and is not any more."""
        return next((t for t in self.watched if not _is_finite(t.data)), None)

    def check(self) -> None:
        """Raise `NotFiniteError` where a parameter is not finite any more."""
        if self.copies and self.broken() is not None:
            self.explain()

    def explain(self) -> NoReturn:
        """Restore the state before the step that went wrong, and raise naming where it arose."""
        engine = self.engine
        failed = engine.steps - 1 if engine.stopped else engine.steps
        if engine.stopped:
            self.go_to(failed)
        broken = self.broken()
        what = "the loss"
        if broken is not None:
            what = f"parameter {broken.name or ''}".rstrip()
            failed = self.last_finite_step(failed)
        self.go_to(failed)
        engine.begin_epoch()
        staged, _, batch = engine.batch_arguments()
        values = [*batch, *(np.array(tensor.home()) for tensor in staged.state)]
        where = first_not_finite(staged, values)
        raise NotFiniteError(
            f"{what} is not finite {'at' if broken is None else 'after'} step {failed} "
            f"(epoch {engine.epoch}, batch {engine.batch}): {where}. The parameters are as they "
            "were before this step. Lower the learning rate, or look at the data of this batch; "
            "check_finite=False trains on regardless"
        )

    def go_to(self, step: int) -> None:
        """The state before a step, by repeating the steps since the copy."""
        engine = self.engine
        engine.metrics[self.epoch : engine.epoch + 1] = 0
        for array, copy in zip(self.arrays, self.copies, strict=True):
            array[...] = copy
        engine.metrics[self.epoch] = self.row
        while engine.steps < step and not engine.stopped:
            engine.run(step - engine.steps)

    def last_finite_step(self, high: int) -> int:
        """The last step before which the parameters are finite; before step `high` they are not."""
        low = self.step
        while high - low > 1:
            middle = (low + high) // 2
            self.go_to(middle)
            if self.broken() is None:
                low = middle
            else:
                high = middle
        return low


def first_not_finite(staged: Staged, values: list[Array]) -> str:
    """The first operation whose value is not finite, and the layer it belongs to."""
    for node, value in zip(staged.graph.inputs, values, strict=True):
        if not _is_finite(value):
            if node in staged.arguments:
                kind = f"data array {staged.arguments.index(node)}"
            else:
                kind = f"the state {node.name}"
            return f"{kind} already holds values that are not finite"
    order: dict[Node, int] = {}
    found: list[Node] = []

    def observe(node: Node, value: Array) -> None:
        order[node] = len(order)
        if not found and not _is_finite(value):
            found.append(node)

    interpreter.evaluate(staged.graph, values, observe)
    if not found:
        return "interpreted, the step stays finite, so it is at the edge of what floats can hold"
    first = found[0]
    source = f" (made at {first.source})" if first.source else ""
    place = _place(staged, order, order[first])
    return f"it first arose in {place}{first.primitive.name}{source}"


def _place(staged: Staged, order: dict[Node, int], first: int) -> str:
    """The layer in which the operation number `first` stands, or the gradient or the update."""
    tracer = staged.tracer

    def nearest(places: Iterable[tuple[Node, str]]) -> str | None:
        later = [(order[n], name) for n, name in places if n in order and order[n] >= first]
        return min(later)[1] if later else None

    layers = [(node, path) for path, node in tracer.activations.items() if path]
    layer = nearest(layers)
    if layer is not None:
        return f"layer {layer!r}, in "
    results = [order[node] for node in staged.graph.outputs[: staged.results] if node in order]
    if results and first <= max(results):
        return ""
    cotangents = [
        (graph_node(tracer.cotangents[node]), f"the gradient of the output of layer {path!r}, in ")
        for node, path in layers
        if node in tracer.cotangents
    ]
    gradients = [
        (graph_node(gradient), f"the gradient of {tensor.name}, in ")
        for tensor, gradient in tracer.gradients.items()
    ]
    updates = [
        (staged.graph.outputs[staged.writes[node]], f"the update of {node.name}, in ")
        for node in staged.state_nodes
        if node in staged.writes
    ]
    return nearest([*cotangents, *gradients, *updates]) or ""
