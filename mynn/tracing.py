"""Tracing: what a function does to tensors becomes a graph, and the state that it uses is found.

While a `Tracer` is active, operations make nodes instead of values. A tensor that has a value (it
was made before the trace) is *state*: reading it makes an input of the graph, assigning to it an
output.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mynn.errors import UsageError
from mynn.graph import CONSTANT, INPUT, Node, Type, input_node, next_serial
from mynn.jit import strays
from mynn.jit.kept import Kept
from mynn.jit.notices import user_place
from mynn.runtime import forks

if TYPE_CHECKING:
    from mynn.tensor import Tensor

_PACKAGE = str(Path(__file__).parent)


class Tracer(Kept):
    """The record of one trace, and what it took for granted (`Kept`).

    - `reads`: for each state tensor the input node that stands for its value at the start.
    - `current`: for each state tensor the node of its present value.
    - `gradients`: `.grad` of the state tensors, as set by backward passes inside the trace.
    - `cotangents`: for each node the cotangent that the latest backward pass found.
    - `activations`: outputs of modules by their path, in the order of the calls (filled by
      `nn.Module`).
    - `modules`: modules that were called, with their paths (filled by `nn.Module`).
    - `first`: nodes with smaller serial numbers, but for the `arguments` (None: any), are of other
      traces.
    - `checks`: nodes of `mynn.ops.checks`, in the order in which they were made.
    - `leaves`: for each node that is or was the present value of a state tensor with
      `requires_grad`, the tensor: where gradients are collected.
    - `promoted`: state tensors that were changed in place by values that have a gradient. They are
      no leaves in this trace.
    - `views`: for state tensors that look at the memory of others, the node of their base and the
      node that was made from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = next_serial()
        self.arguments: frozenset[Node] | None = None
        self.reads: dict[Tensor, Node] = {}
        self.current: dict[Tensor, Node] = {}
        self.leaves: dict[Node, Tensor] = {}
        self.promoted: set[Tensor] = set()
        self.views: dict[Tensor, tuple[Node, Node]] = {}
        self.gradients: dict[Tensor, Tensor] = {}
        self.cotangents: dict[Node, Any] = {}
        self.activations: dict[str, Node] = {}
        self.modules: dict[Any, str] = {}
        self.checks: list[Node] = []

    def read(self, tensor: Tensor) -> Node:
        """The node of a state tensor's present value."""
        node = self.current.get(tensor)
        if node is None:
            name = tensor.name or f"state{len(self.reads)}"
            node = input_node(Type(tensor.shape, tensor.dtype), name)
            self.reads[tensor] = node
            self.current[tensor] = node
            self.leaves[node] = tensor
        return node

    def write(self, tensor: Tensor, node: Node) -> None:
        """Make `node` the present value of a state tensor."""
        self.read(tensor)
        self.current[tensor] = node
        if tensor not in self.promoted:
            self.leaves[node] = tensor

    def promote(self, tensor: Tensor) -> None:
        """A state tensor is about to get a value with a history: until the trace ends."""
        self.promoted.add(tensor)
        tensor.requires_grad = True

    def writes(self) -> dict[Tensor, Node]:
        """State tensors whose value changed, with the nodes of their new values."""
        return {t: node for t, node in self.current.items() if node is not self.reads[t]}

    def check_own(self, tensor: Tensor, node: Node) -> None:
        """Raise `UsageError` for a traced tensor of another trace, which has ended."""
        if node.serial > self.first or node.primitive is CONSTANT:
            return
        if node.primitive is not INPUT or (
            self.arguments is not None and node not in self.arguments
        ):
            raise strays.error(tensor, node, self.modules)


def refuse(message: str) -> UsageError:
    """The error for what has no meaning in a trace; that it was raised is remembered."""
    tracer = active()
    if tracer is not None:
        tracer.refused.append((message, user_place(2)))
    return UsageError(message)


class _Active(threading.local):
    """The tracers of a thread, the innermost last."""

    def __init__(self) -> None:
        self.tracers: list[Tracer] = []


_active = _Active()


def active() -> Tracer | None:
    """The tracer in charge, if a function is being traced in this thread."""
    tracers = _active.tracers
    return tracers[-1] if tracers else None


@contextmanager
def tracing() -> Iterator[Tracer]:
    """Record operations on tensors within the block."""
    tracer = Tracer()
    _active.tracers.append(tracer)
    _count(1)
    _watch_attributes(1)
    try:
        yield tracer
    finally:
        _watch_attributes(-1)
        _active.tracers.pop()
        for tensor in tracer.promoted:
            tensor.requires_grad = False
        _count(-1)


# Traces that are going on in all threads, plus edits. Where it equals an earlier number of edits,
# nothing is being traced, and no part of a module has been replaced since.
watch = [0]
_edits = [0]
_lock = forks.register(threading.Lock())


def _count(change: int) -> None:
    with _lock:
        watch[0] += change


# Traces that are going on in all threads, and who is told when the first begins and the last ends.
_traces = [0]
_observers: list[Callable[[bool], None]] = []


def observe(observer: Callable[[bool], None]) -> None:
    """`observer(True)` is called as the first trace begins, `observer(False)` after the last."""
    _observers.append(observer)


def _watch_attributes(change: int) -> None:
    with _lock:
        before = _traces[0]
        _traces[0] += change
        if not before or not _traces[0]:
            for observer in _observers:
                observer(not before)


@forks.after_fork_in_child
def _forget_traces() -> None:
    """In the child of a fork no other thread traces."""
    mine = len(_active.tracers)
    watch[0] = _edits[0] + mine
    if _traces[0] != mine:
        _watch_attributes(mine - _traces[0])


def edits() -> int:
    """How often an attribute of any traced module was set; equal numbers mean that none was."""
    return _edits[0]


def note_edit() -> None:
    """Called when a part or an attribute of a traced module or optimiser is replaced."""
    with _lock:
        _edits[0] += 1
        watch[0] += 1


def user_source() -> str | None:
    """`file:line` of the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        following = frame.f_back
        if following is None:
            return None
        frame = following
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
