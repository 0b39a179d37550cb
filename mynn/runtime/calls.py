"""A single call of a large program on several threads.

The threads work in native code, without a lock of the interpreter. After a call they stand by for
some tenths of a millisecond, then they end: a call that follows at once does not have to start them
again (`mynn.compiler.standby`).
"""

from __future__ import annotations

import ctypes
import os
import threading

from mynn.compiler.standby import CALL, SERVE, sync_words
from mynn.compiler.workers import SPLIT_STEP
from mynn.runtime.buffers import aligned_bytes
from mynn.runtime.interrupts import uninterrupted
from mynn.runtime.native import NativeModule

# Operations of a call for which it pays to have several threads.
LEAST_OPERATIONS = 20_000_000
# Workers have a bit each in a word.
MOST_WORKERS = 60


class SharedCall:
    """`call(address)` runs a program once on the table at the address, with so many workers.

    One call at a time; the table is the same for all.
    """

    def __init__(self, native: NativeModule, workers: int) -> None:
        share = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        self._call = native.function(
            CALL, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, result=ctypes.c_int64
        )
        self._serve = native.function(SERVE, *share)
        self._share = native.function(SPLIT_STEP, *share)
        self._workers = workers
        self._reset()

    def _reset(self) -> None:
        """Nobody stands by."""
        self._process = os.getpid()
        self._words = aligned_bytes(8 * sync_words(self._workers))
        self._sync = self._words.ctypes.data

    def __call__(self, address: int) -> None:
        """Run."""
        if os.getpid() != self._process:  # the child of a fork has none of its parent's threads
            self._reset()
        # A worker that Ctrl-C kept from starting would be waited for without end.
        with uninterrupted():
            missing = self._call(address, self._workers, self._sync)
            if missing:
                self._start(missing, address)

    def _start(self, missing: int, address: int) -> None:
        for worker in range(1, self._workers):
            if missing >> worker & 1:
                threading.Thread(target=self._work, args=(address, worker), daemon=True).start()
        self._share(address, 0, self._workers, self._sync)

    def _work(self, address: int, worker: int) -> None:
        """What a thread does; it keeps alive what it works with."""
        words = self._words
        self._serve(address, worker, self._workers, words.ctypes.data)
