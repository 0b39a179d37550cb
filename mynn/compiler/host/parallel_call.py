"""Single calls on several workers.

A worker that has done its share of a call stays parked for a moment: the next call, if it comes
soon, finds it awake. Then it leaves, and the next call has to start it again
(`mynn.compiler.host.workers`).
"""

from __future__ import annotations

from mynn.compiler.host.control_block import Sync
from mynn.compiler.host.step import SPLIT_STEP, STEP
from mynn.compiler.host.workers import leader, worker_main
from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function

CALL = "mynn_call"
CALL_WORKER = "mynn_call_worker"


def parallel_call(sleeps: bool) -> list[Function]:
    """`mynn_call` and `mynn_call_worker`, for a module with a split step and a whole one.

    - `mynn_call`: runs the step on the workers that are there and returns 1. Where some are missing
      and `patience` is 0 it runs nothing and returns 0: they can be started, and be waited for with
      patience. While another call has the workers, it runs the step alone.
    - `mynn_call_worker`: a worker's share of a call, and of those that follow soon.
    """
    call = f"""
        function {CALL}(table: ptr, workers: i64, sync: ptr, patience: i64) -> i64 exported:
          view words: i64[] at sync
          let leads = atomic compare_exchange(words[{Sync.LEADER}], 0, 1) acq_rel
          if logical_not(leads):
            call {STEP}(table)
            return 1
          let count: i64 = call mynn_acquire(sync, workers, patience)
          var ran = 0
          if less_equal(where(equal(patience, 0), workers, 0), count):
            call mynn_lead(sync, count, table, @{SPLIT_STEP})
            ran = 1
          call mynn_release(sync, count)
          atomic store(words[{Sync.LEADER}], 0) release
          return ran
        """
    return [*leader(), parse_function(call), *worker_main(CALL_WORKER, loop=False, sleeps=sleeps)]
