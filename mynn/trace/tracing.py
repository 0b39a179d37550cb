"""Tracing: what a function does to tensors becomes a graph, and the state that it uses is found.

While a `Tracer` is active, operations make nodes instead of values. A tensor that has a value (it
was made before the trace) is *state*: reading it makes an input of the graph, assigning to it an
output.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from mynn.base import forks
from mynn.base.notices import user_place
from mynn.core.graph import CONSTANT, Node, input_node, next_serial
from mynn.core.types import Type
from mynn.errors import UsageError
from mynn.trace import strays
from mynn.trace.kept import Kept

# A tensor that was made before the trace. What tensors can do is of no account here.
State: TypeAlias = Any

Result = TypeVar("Result")
_PACKAGE = str(Path(__file__).parents[1])


class Tracer(Kept):
    """The record of one trace, and what it took for granted (`Kept`).

    - `reads`: for each state tensor the input node that stands for its value at the start.
    - `current`: for each state tensor the node of its present value.
    - `gradients`: `.grad` of the state tensors, as set by backward passes inside the trace.
    - `cotangents`: for each node the cotangent that the latest backward pass found.
    - `activations`: outputs of modules by their path, in the order of the calls (filled by
      `nn.Module`).
    - `modules`: modules that were called, with their paths (filled by `nn.Module`).
    - `first`: nodes with smaller serial numbers, but for the `arguments`, are of other traces
      (where these are given).
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
        self.reads: dict[State, Node] = {}
        self.current: dict[State, Node] = {}
        self.leaves: dict[Node, State] = {}
        self.promoted: set[State] = set()
        self.views: dict[State, tuple[Node, Node]] = {}
        self.gradients: dict[State, Any] = {}
        self.cotangents: dict[Node, Any] = {}
        self.activations: dict[str, Node] = {}
        self.modules: dict[Any, str] = {}
        self.checks: list[Node] = []

    def read(self, tensor: State) -> Node:
        """The node of a state tensor's present value."""
        node = self.current.get(tensor)
        if node is None:
            name = tensor.name or f"state{len(self.reads)}"
            node = input_node(Type(tensor.shape, tensor.dtype), name)
            self.reads[tensor] = node
            self.current[tensor] = node
            self.leaves[node] = tensor
        return node

    def write(self, tensor: State, node: Node) -> None:
        """Make `node` the present value of a state tensor."""
        self.read(tensor)
        self.current[tensor] = node
        if tensor not in self.promoted:
            self.leaves.setdefault(node, tensor)

    def promote(self, tensor: State) -> None:
        """A state tensor is about to get a value with a history: until the trace ends."""
        self.promoted.add(tensor)
        tensor.requires_grad = True

    def writes(self) -> dict[State, Node]:
        """State tensors whose value changed, with the nodes of their new values."""
        return {t: node for t, node in self.current.items() if node is not self.reads[t]}

    def check_own(self, tensor: State, node: Node) -> None:
        """Raise `UsageError` for a traced tensor of another trace, which has ended."""
        arguments = self.arguments
        if arguments is None or node.serial > self.first or node.primitive is CONSTANT:
            return
        if node not in arguments:
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
        self.tracers = _Stack()
        _stacks[id(self.tracers)] = self.tracers


class _Stack(list[Tracer]):
    """A list that can be referred to weakly."""


# The tracers of all threads: from them follows what else depends on whether somebody traces.
_stacks: weakref.WeakValueDictionary[int, _Stack] = weakref.WeakValueDictionary()
_active = _Active()


def _all_stacks() -> list[_Stack]:
    """The tracers of each thread, also while other threads begin or end."""
    stacks = (reference() for reference in _stacks.valuerefs())
    return [stack for stack in stacks if stack is not None]


def active() -> Tracer | None:
    """The tracer in charge, if a function is being traced in this thread."""
    tracers = _active.tracers
    return tracers[-1] if tracers else None


@contextmanager
def tracing() -> Iterator[Tracer]:
    """Record operations on tensors within the block."""
    tracer, stack = Tracer(), _active.tracers
    stack.append(tracer)
    settle()
    try:
        yield tracer
    finally:
        if tracer in stack:  # not where `tidy` has been here before
            del stack[stack.index(tracer) :]
        for tensor in tracer.promoted:
            tensor.requires_grad = False
        settle()


def tidy(function: Callable[[], Result]) -> Result:
    """What `function` returns; of traces that it began nothing is left.

    Not even where a signal handler raises before their own end has cleared them away.
    """
    stack = _active.tracers
    depth = len(stack)
    try:
        return function()
    finally:
        # Python looks for signals as a function is called, so nothing comes before this.
        del stack[depth:]
        settle()


# Traces that are going on in all threads, plus edits. Where it equals an earlier number of edits,
# nothing is being traced, and no part of a module has been replaced since.
watch = [0]
_edits = [0]
_lock = forks.register(threading.RLock())
# Who is told when the first trace begins and after the last has ended, and what they were told.
_observers: list[Callable[[bool], None]] = []
_told = [False]


def observe(observer: Callable[[bool], None]) -> None:
    """`observer(True)` is called as the first trace begins, `observer(False)` after the last.

    It may be called twice.
    """
    _observers.append(observer)


def settle() -> None:
    """Bring up to date what follows from the traces that are going on."""
    with _lock:
        count = sum(map(len, _all_stacks()))
        watch[0] = _edits[0] + count
        if (count > 0) != _told[0]:
            for observer in _observers:
                observer(count > 0)
            _told[0] = count > 0


@forks.after_fork_in_child
def _forget_traces() -> None:
    """In the child of a fork no other thread traces."""
    for stack in _all_stacks():
        if stack is not _active.tracers:
            stack.clear()
    settle()


def edits() -> int:
    """How often an attribute of any traced module was set; equal numbers mean that none was."""
    if watch[0] != _edits[0]:  # somebody traces, or an exception came before the end of `settle`
        settle()
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
