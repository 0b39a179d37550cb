"""Workers: how they are acquired and woken, how they meet, and how they leave.

The workers of a step run the same kernels, each its share of the loops. They meet at a barrier that
spins for a while and then yields the processor. They share the words of `Sync`
(`mynn.compiler.host.control_block`); after these every worker has a line with its `WorkerState`:

    away -> parked (the worker, as it begins)    parked -> away (the worker, who has waited enough)
    parked -> acquired (the leader)              acquired -> parked (the leader, when it is done)

The leader is the thread that calls native code. It acquires workers as it enters and releases them
before it returns, and a step counts on those alone that it holds. So nobody ever waits for a worker
that is not there, and outside of a call every worker may leave at any time. The phase tells the
workers of a step, and how many of them share it: a worker of a higher number has no part in it.

A worker that has just begun does not know which phases are over: an earlier thread may have stood
in its place. It waits to be acquired, and takes the phase of that moment for the last one that is
over.
"""

from __future__ import annotations

import textwrap

from mynn.compiler.host.control_block import COUNT_MASK, LINE, SHUTDOWN, Sync, WorkerState
from mynn.compiler.host.step import BARRIER
from mynn.compiler.loop_ir.ir import Function
from mynn.compiler.loop_ir.parse import parse_function
from mynn.compiler.parallel.barriers import COUNTS

WORKER_MAIN = "mynn_worker_main"
# What a worker that was never acquired takes for the last phase that it knows; no step has it.
NONE = -2
# Rounds of waiting before a worker offers its processor to others.
_SPINS = 2000
# Rounds of offering it, for some tenths of a millisecond in all, before a worker that waits for a
# step sleeps: Python is busy. Each sleep is so many microseconds longer than the one before. After
# so many of them, more than a second, it leaves.
_YIELDS = 1000
_LONGER = 10
_LONGEST_SLEEP = 1000
_SLEEPS = 1500
# Rounds for which a worker of single calls waits: some tenths of a millisecond.
_CALL_SPINS = 8000
# The same for a worker in a training loop, where there is no function that sleeps.
_LOOP_SPINS = 1 << 25

_STATE = f"words[{LINE}*worker + {Sync.WORDS}]"
_AWAY, _PARKED, _ACQUIRED = WorkerState


def barrier() -> Function:
    """`mynn_barrier`: returns when all workers have called it.

    At once where the bit of `free` for the number of workers, or for as many as it has, is set.
    """
    return parse_function(f"""
        function {BARRIER}(sync: ptr, workers: i64, free: i64) noinline:
          let bit = cast.u64(where(less({max(COUNTS)}, workers), 0, workers))
          if not_equal(bitwise_and(shift_right(cast.u64(free), bit), 1), 0):
            return
          view words: i64[] at sync
          let now = atomic load(words[{Sync.ROUND}]) acquire
          let before = atomic add(words[{Sync.ARRIVED}], 1) acq_rel
          if equal(before + 1, workers):
            atomic store(words[{Sync.ARRIVED}], 0) relaxed
            atomic store(words[{Sync.ROUND}], now + 1) release
            return
          var rounds = 0
          while True:
            let seen = atomic load(words[{Sync.ROUND}]) acquire
            if not_equal(seen, now):
              return
            call pause()
            rounds = rounds + 1
            if less({_SPINS}, rounds):
              call yield_processor()
              rounds = 0
        """)


def leader() -> list[Function]:
    """What the leader runs.

    - `mynn_acquire`: the number of workers, with the caller, that it may share a step with: itself,
      worker 1, and so on up to the first that is away. It waits for workers that were just started,
      `patience` rounds at most. It does not offer its processor to others meanwhile, who may keep
      it for long: where none is free, fewer workers are faster.
    - `mynn_lead`: tells so many workers of a step, and runs a share of it.
    - `mynn_release`: lets so many go.
    """
    acquire = f"""
        function mynn_acquire(sync: ptr, workers: i64, patience: i64) -> i64 noinline:
          view words: i64[] at sync
          let base = words[{Sync.PHASE}]
          atomic store(words[{Sync.BASE}], base) relaxed
          var worker = 1
          var left = patience
          while less(worker, workers):
            let there = atomic compare_exchange({_STATE}, {_PARKED}, {_ACQUIRED}) acq_rel
            if there:
              worker = worker + 1
            else:
              if equal(left, 0):
                break
              call pause()
              left = left + -1
          return worker
        """
    lead = f"""
        function mynn_lead(sync: ptr, workers: i64, table: ptr, step: ptr) inline:
          view words: i64[] at sync
          view addresses: ptr[] at sync
          addresses[{Sync.TABLE}] = table
          addresses[{Sync.STEP}] = step
          let phase = bitwise_or(words[{Sync.PHASE}], {COUNT_MASK})
          atomic store(words[{Sync.PHASE}], phase + workers + 1) release
          call (step)(table, 0, workers, sync)
        """
    release = f"""
        function mynn_release(sync: ptr, workers: i64) noinline:
          view words: i64[] at sync
          var worker = 1
          while less(worker, workers):
            atomic store({_STATE}, {_PARKED}) release
            worker = worker + 1
        """
    return [parse_function(text) for text in (acquire, lead, release)]


def worker_main(name: str, loop: bool, sleeps: bool) -> list[Function]:
    """`name(sync, worker)`: what the thread of a worker runs: its share of every step.

    - `loop`: of a training loop, where Python takes its time between two calls; denormals are
      flushed as the leader does, or results would differ. Otherwise of single calls, where it
      leaves soon.
    - `sleeps`: the system has a function that sleeps.

    A second thread for the same worker, and one that comes after the shutdown, returns at once.
    """
    flush = "let mode: u32 = call flush_denormals()" if loop else ""
    main = f"""
        function {name}(sync: ptr, worker: i64) exported:
          {flush}
          view words: i64[] at sync
          view addresses: ptr[] at sync
          let first = atomic load(words[{Sync.PHASE}]) acquire
          if equal(first, {SHUTDOWN}):
            return
          let alone = atomic compare_exchange({_STATE}, {_AWAY}, {_PARKED}) acq_rel
          if logical_not(alone):
            return
          var over = {NONE}
          while True:
            let phase: i64 = call mynn_next_phase(sync, worker, over)
            if equal(phase, {SHUTDOWN}):
              return
            let table = addresses[{Sync.TABLE}]
            let workers = bitwise_and(phase, {COUNT_MASK})
            call (addresses[{Sync.STEP}])(table, worker, workers, sync)
            over = phase
        """
    return [parse_function(_next_phase(loop, sleeps)), parse_function(main)]


def _next_phase(loop: bool, sleeps: bool) -> str:
    """`mynn_next_phase`: waits for the next phase that a worker has a part in; `SHUTDOWN` where
    there is none. `over` is the last one that it knows to be over.
    """
    back_off = _sleeping() if loop and sleeps else _spinning(_LOOP_SPINS if loop else _CALL_SPINS)
    return f"""
        function mynn_next_phase(sync: ptr, worker: i64, over: i64) -> i64 inline:
          view words: i64[] at sync
          var seen = over
          var rounds = 0
          while True:
            let now = atomic load(words[{Sync.PHASE}]) acquire
            if not_equal(now, seen):
              if equal(now, {SHUTDOWN}):
                atomic store({_STATE}, {_AWAY}) release
                return {SHUTDOWN}
              if equal(seen, {NONE}):
                let held = atomic load({_STATE}) acquire
                if equal(held, {_ACQUIRED}):
                  let base = atomic load(words[{Sync.BASE}]) relaxed
                  seen = base
                  rounds = 0
              else:
                if less(worker, bitwise_and(now, {COUNT_MASK})):
                  return now
                seen = now
            rounds = rounds + 1
{textwrap.indent(back_off, 12 * " ")}
              let leaves = atomic compare_exchange({_STATE}, {_PARKED}, {_AWAY}) acq_rel
              if leaves:
                return {SHUTDOWN}
        """


def _sleeping() -> str:
    """A round of waiting for the next step: spin, yield, sleep; after all that, what follows."""
    return f"""\
let spent = rounds + -{_SPINS + _YIELDS}
if less(rounds, {_SPINS}):
  call pause()
else:
  if less(spent, 0):
    call yield_processor()
  else:
    call sleep(minimum({_LONGEST_SLEEP}, {_LONGER}*spent))
if less({_SLEEPS}, spent):"""


def _spinning(most: int) -> str:
    """The same without a sleep: `most` rounds, then what follows."""
    return f"""\
call pause()
if less({most}, rounds):"""
