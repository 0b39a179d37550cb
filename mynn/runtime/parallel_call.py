"""A single call of a large program on several threads.

After a call the threads stay parked for some tenths of a millisecond, then they end: a call that
follows at once does not have to start them again (`mynn.compiler.host.parallel_call`).
"""

from __future__ import annotations

import ctypes

from mynn.compiler.host.parallel_call import CALL, CALL_WORKER
from mynn.runtime.llvm_jit import NativeModule
from mynn.runtime.worker_pool import PATIENCE, WorkerPool, worker_function


class SharedCall:
    """`call(address)` runs a program once on the table at the address, with so many workers.

    With fewer where threads are not to be had. An exception, at whatever instruction of Python,
    leaves a call that has run as a whole or not at all.
    """

    def __init__(self, native: NativeModule, workers: int) -> None:
        kinds = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64
        self._call = native.function(CALL, *kinds, result=ctypes.c_int64)
        self._workers = workers
        self._pool = WorkerPool(worker_function(native, CALL_WORKER), workers)
        self._sync = self._pool.sync.address

    def __call__(self, address: int) -> None:
        """Run."""
        if not self._call(address, self._workers, self._sync, 0):
            patience = PATIENCE if self._pool.start(self._workers) else 1
            self._call(address, self._workers, self._sync, patience)
