"""Single calls on several workers, in native code.

A worker that has done its share of a call stands by for a moment: the next call, if it comes soon,
finds it awake. Then it leaves, and the next call has to start it again. Every worker has a word for
its state. The caller claims it, and the worker may leave only where it was not claimed:

    away -> claimed (the caller, who starts it) -> standing by (the worker, after its share)
    standing by -> claimed (the caller) or away (the worker)
"""

from __future__ import annotations

import os
from enum import IntEnum

from mynn.compiler.instructions import Module
from mynn.compiler.workers import SPLIT_STEP, Sync
from mynn.runtime.machine import host

CALL = "mynn_call"
SERVE = "mynn_serve"
# Rounds of standing by: some tenths of a millisecond.
_ROUNDS = 8000
# The words of a worker lie on a cache line of their own, after those of `Sync`.
_LINE = 8


class State(IntEnum):
    """What a worker does."""

    AWAY = 0
    STANDING_BY = 1
    CLAIMED = 2


def sync_words(workers: int) -> int:
    """Words that so many workers share."""
    return int(Sync.WORDS) + _LINE * workers


def _state(worker: str) -> str:
    """The address of a worker's state, %state."""
    return (
        f"  %line = mul i64 {worker}, {_LINE}\n"
        f"  %place = add i64 %line, {int(Sync.WORDS)}\n"
        "  %state = getelementptr i64, ptr %sync, i64 %place\n"
    )


def add_calls(module: Module) -> None:
    """Add `mynn_call` and `mynn_serve` to a module with a split step.

    - `i64 mynn_call(table, workers, sync)`: runs the step and returns 0 where all workers stand by;
      otherwise runs nothing and returns a bit for each worker that has to be started. The caller
      then does its own share.
    - `void mynn_serve(table, worker, workers, sync)`: a share of the step, and of those that follow
      soon.
    """
    pause = "  call void @llvm.x86.sse2.pause()\n" if host().is_x86 else ""
    offer = "  %offered = call i32 @sched_yield()\n" if os.name == "posix" else ""
    claim = f"cmpxchg ptr %state, i64 {int(State.STANDING_BY)}, i64 {int(State.CLAIMED)}"
    module.add(f"""define i64 @{CALL}(ptr %table, i64 %workers, ptr %sync) nounwind {{
entry:
  br label %worker
worker:
  %number = phi i64 [ 1, %entry ], [ %following, %next ]
  %gone = phi i64 [ 0, %entry ], [ %missing, %next ]
  %more = icmp ult i64 %number, %workers
  br i1 %more, label %claim, label %claimed
claim:
{_state("%number")}  br label %try
try:
  %pair = {claim} acq_rel acquire
  %old = extractvalue {{ i64, i1 }} %pair, 0
  %there = icmp eq i64 %old, {int(State.STANDING_BY)}
  br i1 %there, label %next, label %other
other:
  %away = icmp eq i64 %old, {int(State.AWAY)}
  br i1 %away, label %start, label %busy
busy:
{pause}{offer}  br label %try
start:
  store atomic i64 {int(State.CLAIMED)}, ptr %state release, align 8
  %bit = shl i64 1, %number
  %with = or i64 %gone, %bit
  br label %next
next:
  %missing = phi i64 [ %gone, %try ], [ %with, %start ]
  %following = add i64 %number, 1
  br label %worker
claimed:
  %some = icmp ne i64 %gone, 0
  br i1 %some, label %done, label %run
run:
  call void @{SPLIT_STEP}(ptr %table, i64 0, i64 %workers, ptr %sync)
  br label %done
done:
  ret i64 %gone
}}
""")
    parameters = "ptr %table, i64 %worker, i64 %workers, ptr %sync"
    module.add(f"""define void @{SERVE}({parameters}) nounwind {{
entry:
{_state("%worker")}  br label %work
work:
  call void @{SPLIT_STEP}(ptr %table, i64 %worker, i64 %workers, ptr %sync)
  store atomic i64 {int(State.STANDING_BY)}, ptr %state release, align 8
  br label %wait
wait:
  %rounds = phi i64 [ 0, %work ], [ %longer, %idle ]
  %now = load atomic i64, ptr %state acquire, align 8
  %claimed = icmp eq i64 %now, {int(State.CLAIMED)}
  br i1 %claimed, label %work, label %idle
idle:
{pause}  %longer = add i64 %rounds, 1
  %tired = icmp ugt i64 %longer, {_ROUNDS}
  br i1 %tired, label %leave, label %wait
leave:
  %pair = cmpxchg ptr %state, i64 {int(State.STANDING_BY)}, i64 {int(State.AWAY)} acq_rel acquire
  %left = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %left, label %done, label %work
done:
  ret void
}}
""")
