"""Threads for the workers of a program or of a training loop.

A thread works in native code, without a lock of the interpreter, and holds all that this code
touches until it has returned. Nothing here has to happen for memory to be safe: a pool that is
forgotten, at whatever instruction of Python, tells its threads to leave, and those that nobody
tells leave by themselves after a while (`mynn.compiler.host.workers`).
"""

from __future__ import annotations

import _thread
import ctypes
import time
import weakref
from typing import Any

from mynn.base import forks
from mynn.compiler.host.control_block import SyncWords

# Rounds, of some hundredths of a microsecond, that a leader waits for threads just started.
PATIENCE = 10_000
# Seconds that a shutdown waits for threads, which need a millisecond to notice, and how often it
# looks.
_FAREWELL = 1.0
_LOOK = 1e-4

# The pools of this process.
_living: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


@forks.after_fork_in_child
def _forget_threads() -> None:
    """The child of a fork has none of its parent's threads, so every worker is away."""
    for pool in list(_living):
        pool.sync.forget_workers()


def worker_function(native: Any, name: str) -> Any:
    """The function `void name(sync, worker)` of a native module."""
    return native.function(name, ctypes.c_void_p, ctypes.c_int64)


class WorkerPool:
    """Threads for workers 1 to `most` - 1; worker 0 is the caller.

    Args:
        function: what a thread runs, on the address of `sync` and the number of its worker.
        most: workers that may share a step, with the caller.
        keep: whatever else their code touches; it lives as long as a thread does.
    """

    def __init__(self, function: Any, most: int, *keep: Any) -> None:
        self.sync = SyncWords(most)
        self._arguments = function, self.sync, keep
        _living.add(self)
        weakref.finalize(self, self.sync.shut_down).atexit = False

    def start(self, workers: int) -> bool:
        """Start threads for those of so many workers that are away; whether there were any.

        Where the system gives no more threads there are fewer workers.
        """
        started = False
        for worker in range(1, workers):
            if self.sync.is_away(worker):
                try:
                    # A single instruction, unlike `threading.Thread.start`, which an exception of a
                    # signal handler leaves in a mess.
                    _thread.start_new_thread(_work, (*self._arguments, worker))
                except (RuntimeError, MemoryError):
                    break
                started = True
        return started

    def close(self) -> None:
        """Tell the threads to leave, and wait until they have, for a while."""
        self.sync.shut_down()
        end = time.perf_counter() + _FAREWELL
        while not self.sync.all_away() and time.perf_counter() < end:
            time.sleep(_LOOK)


def _work(function: Any, sync: SyncWords, keep: Any, worker: int) -> None:
    """What a thread does; its frame holds what the function works with."""
    function(sync.address, worker)
