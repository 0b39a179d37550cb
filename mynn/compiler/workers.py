"""Workers in native code: how they are woken, how they meet, and how they are sent home.

The workers of a step run the same kernels, each its share of the loops. They meet at a barrier that
spins for a while and then yields the processor. `Sync` is the layout of the words they share, each
on a cache line of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import IntEnum

from mynn.compiler.instructions import Module
from mynn.compiler.meetings import COUNTS, Turn
from mynn.runtime.machine import host

SPLIT_STEP = "mynn_step_split"
WORKER = "mynn_worker"
# Flush denormals (bits FZ and DAZ of MXCSR): vanishing gradients must not slow arithmetic down.
FLUSH_BITS = 0x8040
_ALL = 1 + sum(1 << count for count in COUNTS)
# Rounds of waiting before a worker offers its processor to others.
_PATIENCE = 2000
# Rounds of offering it, for some tenths of a millisecond in all, before a worker that waits for a
# step sleeps: Python is busy. Each nap is so many microseconds longer than the one before.
_OFFERS = 1000
_LONGER = 10
_LONGEST_NAP = 1000


class Sync(IntEnum):
    """Words that workers share (64 bits each)."""

    PHASE = 0  # raised by one for each step, -1 when there is no more to do
    TABLE = 1  # the table of the step
    STEP = 2  # the address of its function
    CONTROL = 3  # the address of the control block of the training loop
    ARRIVED = 8  # workers that wait at the barrier
    ROUND = 16  # raised by one when all have arrived
    WORDS = 24


def _wait_body(name: str) -> str:
    """A round of waiting in the block `name`, which counts its rounds in %patience.`name`."""
    pause = "  call void @llvm.x86.sse2.pause()\n" if host().is_x86 else ""
    if os.name != "posix":
        return f"{pause}  br label %{name}\n"
    return (
        f"{pause}  %rounds.{name} = add i64 %patience.{name}, 1\n"
        f"  %tired.{name} = icmp ugt i64 %rounds.{name}, {_PATIENCE}\n"
        f"  br i1 %tired.{name}, label %yield.{name}, label %{name}\n"
        f"yield.{name}:\n"
        f"  %ignored.{name} = call i32 @sched_yield()\n"
        f"  br label %{name}\n"
    )


def _patience(name: str, start: str) -> str:
    if os.name != "posix":
        return ""
    return (
        f"  %patience.{name} = phi i64 [ 0, %{start} ], [ %rounds.{name}, %idle.{name} ], "
        f"[ 0, %yield.{name} ]\n"
    )


def _declare(module: Module) -> None:
    if host().is_x86:
        module.declare("declare void @llvm.x86.sse2.pause()")
    if os.name == "posix":
        module.declare("declare i32 @sched_yield()")
        module.declare("declare i32 @usleep(i32)")


def barrier_text() -> str:
    """`mynn_barrier`: returns when all workers have called it.

    At once where the bit of `pass` for the number of workers, or for as many as it has, is set.
    """
    parameters = "ptr %sync, i64 %workers, i64 %pass"
    return f"""define internal void @mynn_barrier({parameters}) noinline nounwind {{
entry:
  %many = icmp ugt i64 %workers, {max(COUNTS)}
  %place = select i1 %many, i64 0, i64 %workers
  %bit = lshr i64 %pass, %place
  %on = trunc i64 %bit to i1
  br i1 %on, label %done, label %meet
meet:
  %arrived = getelementptr i64, ptr %sync, i64 {int(Sync.ARRIVED)}
  %round = getelementptr i64, ptr %sync, i64 {int(Sync.ROUND)}
  %now = load atomic i64, ptr %round acquire, align 8
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %workers
  br i1 %last, label %open, label %wait
open:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %next = add i64 %now, 1
  store atomic i64 %next, ptr %round release, align 8
  ret void
wait:
{_patience("wait", "meet")}  %seen = load atomic i64, ptr %round acquire, align 8
  %opened = icmp ne i64 %seen, %now
  br i1 %opened, label %done, label %idle.wait
idle.wait:
{_wait_body("wait")}done:
  ret void
}}
"""


def add_split_step(module: Module, turns: Sequence[Turn]) -> None:
    """Add the step that every worker runs: its share of each kernel, meeting where it must."""
    _declare(module)
    module.add(barrier_text())
    lines = []
    for turn in turns:
        # Bits for the numbers of workers that need not meet; that of 0 for more than are looked at.
        free = sum(1 << n for n in COUNTS if not turn.meets(n)) + (0 if turn.many else 1)
        if free != _ALL:
            lines.append(f"  call void @mynn_barrier(ptr %sync, i64 %workers, i64 {free})")
        lines.append(f"  call void @{turn.kernel.name}(ptr %table, i64 %worker, i64 %workers)")
    lines.append("  call void @mynn_barrier(ptr %sync, i64 %workers, i64 0)")
    head = (
        f"define void @{SPLIT_STEP}(ptr %table, i64 %worker, i64 %workers, ptr %sync) nounwind {{"
    )
    module.add("\n".join([head, *lines, "  ret void", "}", ""]))


def _flush() -> str:
    """Workers flush denormals as the thread that leads them does, or results would differ."""
    if not host().is_x86:
        return ""
    return (
        "  %mode = alloca i32\n"
        "  call void @llvm.x86.sse.stmxcsr(ptr %mode)\n"
        "  %old = load i32, ptr %mode\n"
        f"  %new = or i32 %old, {FLUSH_BITS}\n"
        "  store i32 %new, ptr %mode\n"
        "  call void @llvm.x86.sse.ldmxcsr(ptr %mode)\n"
    )


def _wait_for_step() -> str:
    """A round of waiting for the next step, in a loop of the block `wait`."""
    pause = "  call void @llvm.x86.sse2.pause()\n" if host().is_x86 else ""
    if os.name != "posix":
        return f"{pause}  br label %wait\n"
    return f"""  %rounds.next = add i64 %rounds, 1
  %fresh = icmp ult i64 %rounds, {_PATIENCE}
  br i1 %fresh, label %pause, label %tired
pause:
{pause}  br label %wait
tired:
  %spent = sub i64 %rounds, {_PATIENCE + _OFFERS}
  %drowsy = icmp slt i64 %spent, 0
  br i1 %drowsy, label %offer, label %sleep
offer:
  %offered = call i32 @sched_yield()
  br label %wait
sleep:
  %longer = mul i64 %spent, {_LONGER}
  %long = icmp ugt i64 %longer, {_LONGEST_NAP}
  %nap = select i1 %long, i64 {_LONGEST_NAP}, i64 %longer
  %micros = trunc i64 %nap to i32
  %slept = call i32 @usleep(i32 %micros)
  br label %wait
"""


def worker_text(module: Module) -> str:
    """`mynn_worker`: runs a share of every step until it is sent home.

    Between the steps of one budget it waits for little more than a batch is gathered in, between
    two budgets as long as Python takes.
    """
    _declare(module)
    rounds = ""
    if os.name == "posix":
        ends = ", ".join(f"[ %rounds.next, %{end} ]" for end in ("pause", "offer", "sleep"))
        rounds = f"  %rounds = phi i64 [ 0, %ready ], {ends}\n"
    return f"""define void @{WORKER}(ptr %sync, i64 %worker, i64 %workers) nounwind {{
entry:
{_flush()}  %phase = getelementptr i64, ptr %sync, i64 {int(Sync.PHASE)}
  %table.at = getelementptr ptr, ptr %sync, i64 {int(Sync.TABLE)}
  %step.at = getelementptr ptr, ptr %sync, i64 {int(Sync.STEP)}
  br label %ready
ready:
  %done = phi i64 [ 0, %entry ], [ %now, %work ]
  br label %wait
wait:
{rounds}  %now = load atomic i64, ptr %phase acquire, align 8
  %same = icmp eq i64 %now, %done
  br i1 %same, label %idle, label %woken
idle:
{_wait_for_step()}woken:
  %home = icmp eq i64 %now, -1
  br i1 %home, label %end, label %work
work:
  %table = load ptr, ptr %table.at, align 8
  %step = load ptr, ptr %step.at, align 8
  call void %step(ptr %table, i64 %worker, i64 %workers, ptr %sync)
  br label %ready
end:
  ret void
}}
"""
