"""Tracing: what a function does to tensors becomes a graph, and the state that it uses is found.

While a `Trace` is active, operations make nodes instead of values.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mynn.base import forks, recording
from mynn.base.notices import recorded_place, user_place
from mynn.errors import UsageError
from mynn.trace.trace import Trace

Result = TypeVar("Result")
_PACKAGE = str(Path(__file__).parents[1])


class _Stack(list[Trace]):
    """A list that can be referred to weakly."""


class _Active(threading.local):
    """The traces of a thread, the innermost last."""

    def __init__(self) -> None:
        self.traces = _Stack()
        _stacks[id(self.traces)] = self.traces


class _Tracing:
    """What a thread has as long as it traces: no tape is run meanwhile."""

    def _is_owned(self) -> bool:
        return bool(_active.traces)


_TRACING = _Tracing()

# The traces of all threads: from them follows what else depends on whether somebody traces.
_stacks: weakref.WeakValueDictionary[int, _Stack] = weakref.WeakValueDictionary()
_active = _Active()


def active() -> Trace | None:
    """The trace in charge, if a function is being traced in this thread."""
    traces = _active.traces
    return traces[-1] if traces else None


def compiled() -> Trace | None:
    """The trace of a function that is to be compiled, if there is one in this thread.

    Without one, those that go on are of examples (`mynn.transform.vmap`), and run when they end.
    """
    trace = active()
    while trace is not None and trace.outer is not None:
        trace = trace.outer
    return None if trace is not None and trace.example else trace


@contextmanager
def tracing(example: bool = False) -> Iterator[Trace]:
    """Record operations on tensors within the block; of an `example`, as a part of what is being
    traced, if something is.
    """
    stack = _active.traces
    trace = Trace(stack[-1] if example and stack else None, example)
    before, recording.current.tape = recording.current.tape, None
    stack.append(trace)
    recording.hold(_TRACING)
    activity.settle()
    try:
        yield trace
    finally:
        if trace in stack:  # not where `tidy` has been here before
            del stack[stack.index(trace) :]
        recording.current.tape = before
        for tensor in trace.promoted:
            tensor._requires_grad = False
        activity.settle()


def run_outside(function: Callable[[], Result]) -> Result:
    """What `function` returns: while it runs this thread traces nothing."""
    stack = _active.traces
    traces = stack[:]
    try:
        del stack[:]
        activity.settle()
        return function()
    finally:
        stack[:] = traces
        activity.settle()


def tidy(function: Callable[[], Result]) -> Result:
    """What `function` returns; of traces that it began nothing is left.

    Not even where a signal handler raises before their own end has cleared them away.
    """
    stack = _active.traces
    depth, tape = len(stack), recording.current.tape
    try:
        return function()
    finally:
        # Python looks for signals as a function is called, so nothing comes before this.
        del stack[depth:]
        recording.current.tape = tape
        activity.settle()


def refuse(message: str) -> UsageError:
    """The error for what has no meaning in a trace; that it was raised is remembered."""
    trace = active()
    if trace is not None:
        trace.effects.refused.append((message, user_place(2)))
        if trace.example:
            message += "; vmap computes all examples at once, so that one alone has no value"
    return UsageError(message)


# -- whether anybody traces, and what was edited ---------------------------------------------------


class Activity:
    """Whether any thread traces, and how often a part of a traced module was replaced.

    - `watch`: the number of traces that are going on, plus that of edits. Where it equals an
      earlier number of edits, nothing is being traced, and no part has been replaced since.
    - `observers`: who is told when the first trace begins and after the last has ended; `told`:
      what they were told last.
    """

    __slots__ = ("_edits", "_lock", "observers", "told", "watch")

    def __init__(self) -> None:
        self.watch = 0
        self._edits = 0
        self.observers: list[Callable[[bool], None]] = []
        self.told = False
        self._lock = forks.register(threading.RLock())

    def settle(self) -> None:
        """Bring up to date what follows from the traces that are going on."""
        with self._lock:
            stacks = (reference() for reference in _stacks.valuerefs())
            count = sum(len(stack) for stack in stacks if stack is not None)
            self.watch = self._edits + count
            if (count > 0) != self.told:
                for observer in self.observers:
                    observer(count > 0)
                self.told = count > 0

    def edits(self) -> int:
        """How often an attribute of any traced module was set; equal numbers: none was."""
        if self.watch != self._edits:  # somebody traces, or `settle` was interrupted
            self.settle()
        return self._edits

    def note_edit(self) -> None:
        """A part or an attribute of a traced module or optimiser is replaced."""
        with self._lock:
            self._edits += 1
            self.watch += 1


activity = Activity()


def observe(observer: Callable[[bool], None]) -> None:
    """`observer(True)` is called as the first trace begins, `observer(False)` after the last.

    It may be called twice.
    """
    activity.observers.append(observer)


@forks.after_fork_in_child
def _forget_traces() -> None:
    """In the child of a fork no other thread traces."""
    for reference in _stacks.valuerefs():
        stack = reference()
        if stack is not None and stack is not _active.traces:
            stack.clear()
    activity.settle()


def user_source() -> str | None:
    """`file:line` of the innermost frame outside this package."""
    if recording.current.place is not None:
        recorded = recorded_place()
        if recorded is not None:
            return str(recorded)
    frame = sys._getframe(1)
    while (file := frame.f_code.co_filename) in _own_files or _is_own(file):
        following = frame.f_back
        if following is None:
            return None
        frame = following
    return f"{file}:{frame.f_lineno}"


# The files of this package that have been seen: most frames behind a node are its own.
_own_files: set[str] = set()


def _is_own(file: str) -> bool:
    own = file.startswith(_PACKAGE)
    if own:
        _own_files.add(file)
    return own
