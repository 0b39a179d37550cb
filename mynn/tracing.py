"""Tracing: what a function does to tensors becomes a graph, and the state that it uses is found.

While a `Tracer` is active, operations make nodes instead of values. A tensor that has a value (it
was made before the trace) is *state*: reading it makes an input of the graph, assigning to it an
output.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mynn.graph import Node, Type, input_node
from mynn.jit import guards
from mynn.runtime import forks

if TYPE_CHECKING:
    from mynn.tensor import Tensor

_PACKAGE = str(Path(__file__).parent)
_GONE = object()


class Tracer:
    """The record of one trace.

    - `reads`: for each state tensor the input node that stands for its value at the start.
    - `current`: for each state tensor the node of its present value.
    - `gradients`: `.grad` of the state tensors, as set by backward passes inside the trace.
    - `cotangents`: for each node the cotangent that the latest backward pass found.
    - `activations`: outputs of modules by their path, in the order of the calls (filled by
      `nn.Module`).
    - `modules`: modules that were called, with their paths (filled by `nn.Module`).
    - `guards`: attributes (object, name) that decided what was traced, with their values: a program
      made from the trace stands for the function only while they are equal (`training` of modules,
      options of optimisers).
    - `versions`: modules that were called, with the number of their parts' replacements until then
      (`note_edit`).
    - `attributes`: plain attributes of modules and optimisers that were read, with snapshots of
      their values; `Module.__setattr__` notes a change (`note_edit`).
    - `contents`: those among them that can change in place, so that they are compared each time.
    - `tables`: values that lie in the dicts of classes, which note nothing.
    - `checks`: nodes of `mynn.ops.checks`, in the order in which they were made.
    - `leaves`: for each node that is or was the present value of a state tensor with
      `requires_grad`, the tensor: where gradients are collected.
    - `promoted`: state tensors that were changed in place by values that have a gradient. They are
      no leaves in this trace.
    - `views`: for state tensors that look at the memory of others, the node of their base and the
      node that was made from it.
    """

    def __init__(self) -> None:
        self.reads: dict[Tensor, Node] = {}
        self.current: dict[Tensor, Node] = {}
        self.leaves: dict[Node, Tensor] = {}
        self.promoted: set[Tensor] = set()
        self.views: dict[Tensor, tuple[Node, Node]] = {}
        self.gradients: dict[Tensor, Tensor] = {}
        self.cotangents: dict[Node, Any] = {}
        self.activations: dict[str, Node] = {}
        self.modules: dict[Any, str] = {}
        self.guards: dict[tuple[Any, str], Any] = {}
        self.versions: dict[Any, int] = {}
        self.attributes: dict[tuple[Any, str], Any] = {}
        self.contents: list[tuple[Any, str, Any]] = []
        self.tables: list[tuple[Mapping[str, Any], str, Any]] = []
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

    def keep(self, owner: Any, name: str, value: Any) -> None:
        """The trace read a plain attribute from the `__dict__` of a module or an optimiser."""
        if (owner, name) not in self.attributes:
            kept = self.attributes[owner, name] = guards.snapshot(value)
            if guards.changes_in_place(kept):
                self.contents.append((owner, name, kept))

    def keep_absence(self, owner: Any, name: str) -> None:
        """The trace found that there is no such attribute."""
        self.attributes.setdefault((owner, name), _GONE)

    def keep_default(self, kind: type, name: str, value: Any) -> None:
        """The trace read a plain value that a class has for all its instances."""
        table = vars(kind)
        if not any(held is table and held_name == name for held, held_name, _ in self.tables):
            self.tables.append((table, name, guards.snapshot(value)))

    def holds(self) -> bool:
        """Whether modules consist of the same parts, and what was read has the same values."""
        return all(module._edits == count for module, count in self.versions.items()) and all(
            guards.same(kept, vars(owner).get(name, _GONE))
            for (owner, name), kept in self.attributes.items()
        )

    def unchanged(self) -> bool:
        """Whether that is so where nothing notes a change."""
        for owner, name, kept in self.contents:
            if not guards.same(kept, vars(owner).get(name, _GONE)):
                return False
        for table, name, kept in self.tables:
            value = table.get(name, _GONE)
            if value is not kept and not guards.same(kept, value):
                return False
        return not any(
            getattr(owner, name) != value for (owner, name), value in self.guards.items()
        )


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
