"""When a loss or a parameter is not finite: back to the state before that step, and the first place
where it arose. What something else than the steps made not finite is told apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from mynn.core import interpreter
from mynn.core.graph import Node, topological
from mynn.core.types import Array
from mynn.errors import NotFiniteError
from mynn.jit.stage import Staged
from mynn.tensor import Tensor, graph_node
from mynn.tensor.gradients.history import array_of
from mynn.train.engine.base import Executor
from mynn.train.engine.cursor import Snapshot
from mynn.train.engine.state import Copies

# Copies of the state may cost at most this share of the time; going back repeats the steps since.
_SHARE = 0.005


_all = np.logical_and.reduce


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(_all(np.isfinite(array), axis=None))


def may_hold(tensor: Tensor) -> bool:
    """Whether the values of a state tensor are fit to go on with."""
    if tensor.requires_grad or tensor.dtype.kind != "f":
        return _is_finite(array_of(tensor))
    return not np.isnan(array_of(tensor)).any()


class NanGuard:
    """Keeps a recent snapshot of a run, to go back to.

    Steps are repeated from there, and give what they gave before. So one is due whenever something
    else may have changed the state.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.last: Snapshot | None = None
        self.copies: Mapping[Tensor, Array] | None = None
        self.copied: tuple[Tensor, ...] = ()
        self.watched: list[Tensor] = []
        self.taken = 0.0
        self.cost = 0.0

    def keep(self, due: bool) -> None:
        """Take a snapshot, unless it is not `due`, the last one is recent and copying is costly,
        and little is kept for going back to it.

        It is `due` where something else than the steps may have changed the state since `check`.
        Raises `NotFiniteError` where a parameter is not finite (any more).
        """
        now = time.perf_counter()
        due = due or self.last is None
        recent = now - self.taken < self.cost / _SHARE
        if not due and recent and not self.executor.crowded:
            return
        if due:
            self.check_outside()
            self.watched = [t for t in self.executor.run.written if t.requires_grad]
        else:
            self.check()
        self.last = self.executor.snapshot(self._memory())
        self.taken = time.perf_counter()
        self.cost = self.taken - now

    def _memory(self) -> Mapping[Tensor, Array]:
        """Memory for the copies, which no other run has."""
        values = self.executor.run.values
        if self.copies is None or self.copied is not values:
            self.copies, self.copied = self.executor.copies(), values
        return self.copies

    def finish(self) -> None:
        """Leave the memory of the copies to the next run."""
        if isinstance(self.copies, Copies):
            self.copies.recycle()

    def broken(self) -> Tensor | None:
        """What is watched, was finite and is not any more."""
        return next((t for t in self.watched if not may_hold(t)), None)

    def check(self) -> None:
        """Raise `NotFiniteError` where steps have made a parameter not finite."""
        if self.last is None or self.executor.is_finite():
            return
        if self.broken() is not None:
            self.explain()

    def check_outside(self) -> None:
        """Raise `NotFiniteError` where something else than the steps has made a parameter not
        finite; `check` found none after the last of them.
        """
        if self.executor.is_finite():
            return
        natives = self.executor.run.natives
        for tensor in self.executor.run.written:
            if tensor.requires_grad and not _is_finite(natives[tensor]):
                step = self.executor.steps
                self._blame_outside(tensor, f"it was changed after step {step - 1}")

    def _name(self, tensor: Tensor) -> str:
        """What to call a state tensor."""
        staged = self.executor.run.staged
        names = dict(zip(staged.state, (node.name for node in staged.state_nodes), strict=True))
        what = "parameter" if tensor.requires_grad else "the state"
        return f"{what} {tensor.name or names.get(tensor) or ''}".rstrip()

    def _blame_outside(self, tensor: Tensor, when: str) -> NoReturn:
        """Raise `NotFiniteError` for state that was not finite before the next step."""
        executor = self.executor
        step = executor.steps
        how = f"{when} from outside the steps (by a callback?)"
        how = how if step else "it was so when the run began"
        raise NotFiniteError(
            f"{self._name(tensor)} is not finite before step {step} (epoch {executor.epoch}, batch "
            f"{executor.batch}): {how}. Set it anew, or load a state; check_finite=False trains on "
            "regardless"
        )

    def explain(self) -> NoReturn:
        """Restore the state before the step that went wrong, and raise naming where it arose.

        No other thread trains in the meantime. What others did to the state since the last snapshot
        is undone too.
        """
        self.executor.access.alone(self._explain)
        raise AssertionError("the explanation raises")

    def _explain(self) -> None:
        executor = self.executor
        failed = executor.steps
        if executor.stopped:
            failed -= 1
            self._go_to(failed)
        broken = self.broken()
        if broken is not None:
            failed = self._origin(broken, failed)
        self._go_to(failed)
        while (guilty := self._guilty_state(broken)) is not None:
            broken, failed = guilty, self._origin(guilty, failed)
            self._go_to(failed)
        executor.begin_epoch()
        step, batch = executor.batch_arguments(executor.batch)
        values = [*batch, *(np.array(tensor.to_native()) for tensor in step.staged.state)]
        where = first_not_finite(step.staged, values, result_of(step.staged, broken))
        what = "the loss" if broken is None else self._name(broken)
        raise NotFiniteError(
            f"{what} is not finite {'at' if broken is None else 'after'} step {failed} "
            f"(epoch {executor.epoch}, batch {executor.batch}): {where}. The parameters are as "
            "they were before this step. Lower the learning rate, or look at the data of this "
            "batch; check_finite=False trains on regardless"
        )

    def _guilty_state(self, broken: Tensor | None) -> Tensor | None:
        """State that is not finite before the next step, and goes into the loss, or into the new
        value of what breaks. Infinity may be meant where it is no parameter.
        """
        staged = self.executor.run.step(self.executor.batch)[0].staged
        reached = set(topological((result_of(staged, broken),)))
        for node, tensor in zip(staged.state_nodes, staged.state, strict=True):
            if node in reached and not may_hold(tensor):
                return tensor
        return None

    def _origin(self, tensor: Tensor, high: int) -> int:
        """The step that made a tensor not finite; before step `high` it is not.

        Found by bisection between the snapshot and there.
        """
        assert self.last is not None
        low = self.last.cursor.steps
        self.watched = [tensor]
        self._go_to(low)
        if not may_hold(tensor):
            self._blame_outside(tensor, "it was so when the run began, or was changed since")
        while high - low > 1:
            middle = (low + high) // 2
            self._go_to(middle)
            if self.broken() is None:
                low = middle
            else:
                high = middle
        return low

    def _go_to(self, step: int) -> None:
        """The state before a step, by repeating the steps since the snapshot."""
        executor = self.executor
        assert self.last is not None
        executor.restore(self.last)
        while executor.steps < step and not executor.stopped:
            executor.advance(step - executor.steps)


def result_of(staged: Staged, tensor: Tensor | None) -> Node:
    """The node of the loss, or of the new value of a state tensor."""
    for node, owner in zip(staged.state_nodes, staged.state, strict=True):
        if owner is tensor and node in staged.writes:
            return staged.graph.outputs[staged.writes[node]]
    return staged.graph.outputs[0]


def first_not_finite(staged: Staged, values: list[Array], result: Node) -> str:
    """The first operation on the way to `result` whose value is not finite, and its layer."""
    reached = set(topological((result,)))
    for node, value in zip(staged.graph.inputs, values, strict=True):
        if node in reached and node in staged.arguments and not _is_finite(value):
            number = staged.arguments.index(node)
            return f"data array {number} already holds values that are not finite"
    order: dict[Node, int] = {}
    found: list[Node] = []

    def observe(node: Node, value: Array) -> None:
        order[node] = len(order)
        if not found and node in reached and not _is_finite(value):
            found.append(node)

    interpreter.evaluate(staged.graph, values, observe)
    if not found:
        return "interpreted, the step stays finite, so it is at the edge of what floats can hold"
    first = found[0]
    source = f" (made at {first.source})" if first.source else ""
    layer = _layer(staged, order, order[first])
    return f"it first arose in {layer}{first.primitive.name}{source}"


def _node(gradient: Any) -> Node:
    """The node of a gradient, which a trace that was known before has itself."""
    return gradient if isinstance(gradient, Node) else graph_node(gradient)


def _layer(staged: Staged, order: dict[Node, int], first: int) -> str:
    """The layer in which the operation number `first` stands, or the gradient or the update."""
    trace, found = staged.trace, staged.trace.observer.cotangents

    def nearest(nodes: Iterable[tuple[Node, str]]) -> str | None:
        later = [(order[n], name) for n, name in nodes if n in order and order[n] >= first]
        return min(later)[1] if later else None

    layers = [(node, path) for path, node in trace.observer.activations.items() if path]
    layer = nearest(layers)
    if layer is not None:
        return f"layer {layer!r}, in "
    results = [order[node] for node in staged.graph.outputs[: staged.results] if node in order]
    if results and first <= max(results):
        return ""
    cotangents = [
        (_node(found[node]), f"the gradient of the output of layer {path!r}, in ")
        for node, path in layers
        if node in found
    ]
    gradients = [
        (_node(gradient), f"the gradient of {tensor.name}, in ")
        for tensor, gradient in trace.gradients.items()
    ]
    updates = [
        (staged.graph.outputs[staged.writes[node]], f"the update of {node.name}, in ")
        for node in staged.state_nodes
        if node in staged.writes
    ]
    return nearest([*cotangents, *gradients, *updates]) or ""
