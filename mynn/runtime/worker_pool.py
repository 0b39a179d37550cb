"""Threads for the workers of a program or of a training loop.

A thread works in native code, without a lock of the interpreter, and holds all that this code
touches until it has returned. Nothing here has to happen for memory to be safe: a pool that is
forgotten, at whatever instruction of Python, tells its threads to leave, and those that nobody
tells leave by themselves after a while (`mynn.compiler.workers`).
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import numpy as np

from mynn.compiler.workers import LINE, SHUTDOWN, State, Sync, sync_words
from mynn.graph import Array
from mynn.runtime.buffers import aligned_bytes

# Rounds, of some tenths of a microsecond, that a leader waits for threads that were just started.
PATIENCE = 4000
# Seconds that a shutdown waits for a thread; it needs some milliseconds to notice.
_FAREWELL = 1.0

_AWAY = int(State.AWAY)
_FIRST, _PHASE = int(Sync.WORDS), int(Sync.PHASE)
# The pools of this process.
_living: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def worker_function(native: Any, name: str) -> Any:
    """The function `void name(sync, worker)` of a native module."""
    return native.function(name, ctypes.c_void_p, ctypes.c_int64)


class WorkerPool:
    """Threads for workers 1 to `most` - 1; worker 0 is the caller.

    Args:
        function: what a thread runs, on the address of `words` and the number of its worker.
        most: workers that may share a step, with the caller.
        keep: whatever else their code touches; it lives as long as a thread does.
    """

    def __init__(self, function: Any, most: int, *keep: Any) -> None:
        self.words = aligned_bytes(8 * sync_words(most)).view(np.int64)
        self.address = self.words.ctypes.data
        self._arguments = function, self.words, keep
        self._threads: list[threading.Thread] = []
        _living.add(self)
        weakref.finalize(self, self.words.__setitem__, _PHASE, SHUTDOWN).atexit = False

    def start(self, workers: int) -> bool:
        """Start threads for those of so many workers that are away; whether there were any.

        Where the system gives no more threads there are fewer workers.
        """
        away = [n for n in range(1, workers) if self.words[_FIRST + LINE * n] == _AWAY]
        if not away:
            return False
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for worker in away:
            thread = threading.Thread(
                target=_work, args=(*self._arguments, worker), name="mynn worker", daemon=True
            )
            try:
                thread.start()
            except (RuntimeError, MemoryError):
                return worker != away[0]
            self._threads.append(thread)
        return True

    def close(self) -> None:
        """Tell the threads to leave, and see them off."""
        self.words[_PHASE] = SHUTDOWN
        for thread in self._threads:
            thread.join(_FAREWELL)
        self._threads = []


def _work(function: Any, words: Array, keep: Any, worker: int) -> None:
    """What a thread does; its frame holds what the function works with."""
    function(words.ctypes.data, worker)
