"""Workers in native code: how they are acquired, woken, how they meet, and how they leave.

The workers of a step run the same kernels, each its share of the loops. They meet at a barrier that
spins for a while and then yields the processor. They share the words of `Sync`
(`mynn.compiler.host.control_block`); after these every worker has a line with its `WorkerState`:

    away -> parked (the worker, as it begins)    parked -> away (the worker, tired of waiting)
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

from mynn.compiler.codegen.function import Module
from mynn.compiler.host.control_block import COUNT_MASK, LINE, SHUTDOWN, Sync, WorkerState
from mynn.compiler.parallel.barriers import COUNTS
from mynn.target.target import Target

WORKER = "mynn_worker"
# Flush denormals (bits FZ and DAZ of MXCSR): vanishing gradients must not slow arithmetic down.
FLUSH_BITS = 0x8040
# What a worker that was never acquired takes for the last phase that it knows; no step has it.
_NONE = -2
# Rounds of waiting before a worker offers its processor to others.
_PATIENCE = 2000
# Rounds of offering it, for some tenths of a millisecond in all, before a worker that waits for a
# step sleeps: Python is busy. Each sleep is so many microseconds longer than the one before. After
# so many of them, more than a second, it leaves.
_OFFERS = 1000
_LONGER = 10
_LONGEST_SLEEP = 1000
_SLEEPS = 1500
# Rounds for which a worker of single calls waits: some tenths of a millisecond.
_CALL_ROUNDS = 8000
# The same for a worker in a training loop, where there is no function that sleeps.
_LOOP_ROUNDS = 1 << 25


def _pause(target: Target) -> str:
    """What tells the processor that it waits."""
    return "  call void @llvm.x86.sse2.pause()\n" if target.is_x86 else ""


def _wait_body(name: str, target: Target) -> str:
    """A round of waiting in the block `name`, which counts its rounds in %patience.`name`."""
    pause = _pause(target)
    if not target.is_posix:
        return f"{pause}  br label %{name}\n"
    return (
        f"{pause}  %rounds.{name} = add i64 %patience.{name}, 1\n"
        f"  %tired.{name} = icmp ugt i64 %rounds.{name}, {_PATIENCE}\n"
        f"  br i1 %tired.{name}, label %yield.{name}, label %{name}\n"
        f"yield.{name}:\n"
        f"  %ignored.{name} = call i32 @sched_yield()\n"
        f"  br label %{name}\n"
    )


def _patience(name: str, start: str, target: Target) -> str:
    if not target.is_posix:
        return ""
    return (
        f"  %patience.{name} = phi i64 [ 0, %{start} ], [ %rounds.{name}, %idle.{name} ], "
        f"[ 0, %yield.{name} ]\n"
    )


def _declare(module: Module) -> None:
    if module.target.is_x86:
        module.declare("declare void @llvm.x86.sse2.pause()")
    if module.target.is_posix:
        module.declare("declare i32 @sched_yield()")
        module.declare("declare i32 @usleep(i32)")


def barrier_text(target: Target) -> str:
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
{_patience("wait", "meet", target)}  %seen = load atomic i64, ptr %round acquire, align 8
  %opened = icmp ne i64 %seen, %now
  br i1 %opened, label %done, label %idle.wait
idle.wait:
{_wait_body("wait", target)}done:
  ret void
}}
"""


def add_barrier(module: Module) -> None:
    """Add `mynn_barrier`."""
    _declare(module)
    module.add(barrier_text(module.target))


def _flush(target: Target) -> str:
    """Workers flush denormals as the thread that leads them does, or results would differ."""
    if not target.is_x86:
        return ""
    return (
        "  %mode = alloca i32\n"
        "  call void @llvm.x86.sse.stmxcsr(ptr %mode)\n"
        "  %old = load i32, ptr %mode\n"
        f"  %new = or i32 %old, {FLUSH_BITS}\n"
        "  store i32 %new, ptr %mode\n"
        "  call void @llvm.x86.sse.ldmxcsr(ptr %mode)\n"
    )


def _state(worker: str) -> str:
    """The address of a worker's state, %state."""
    return (
        f"  %line = mul i64 {worker}, {LINE}\n"
        f"  %place = add i64 %line, {int(Sync.WORDS)}\n"
        "  %state = getelementptr i64, ptr %sync, i64 %place\n"
    )


def _exchange(old: WorkerState, new: WorkerState) -> str:
    return f"cmpxchg ptr %state, i64 {int(old)}, i64 {int(new)} acq_rel acquire"


def next_phase(workers: str) -> tuple[str, ...]:
    """Operations, each on the result `{}` of the one before, that make the phase of a step."""
    return f"or i64 {{}}, {COUNT_MASK}", "add i64 {}, 1", f"add i64 {{}}, {workers}"


def leader_text(module: Module) -> str:
    """`mynn_acquire` and `mynn_release`.

    - `i64 mynn_acquire(sync, workers, patience)`: the number of workers, with the caller, that it
      may share a step with: itself, worker 1, and so on up to the first that is away. It waits for
      workers that were just started, `patience` rounds at most. It does not offer its processor to
      others meanwhile, who may keep it for long: where none is free, fewer workers are faster.
    - `void mynn_release(sync, workers)`: lets so many go.
    """
    _declare(module)
    pause = _pause(module.target)
    parameters = "ptr %sync, i64 %workers"
    return f"""define internal i64 @mynn_acquire({parameters}, i64 %patience) noinline nounwind {{
entry:
  %phase = getelementptr i64, ptr %sync, i64 {int(Sync.PHASE)}
  %base.at = getelementptr i64, ptr %sync, i64 {int(Sync.BASE)}
  %base = load i64, ptr %phase, align 8
  store atomic i64 %base, ptr %base.at monotonic, align 8
  br label %worker
worker:
  %number = phi i64 [ 1, %entry ], [ %following, %next ]
  %left = phi i64 [ %patience, %entry ], [ %rest, %next ]
  %more = icmp ult i64 %number, %workers
  br i1 %more, label %look, label %done
look:
{_state("%number")}  br label %try
try:
  %rest = phi i64 [ %left, %look ], [ %fewer, %wait ]
  %pair = {_exchange(WorkerState.PARKED, WorkerState.ACQUIRED)}
  %there = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %there, label %next, label %away
next:
  %following = add i64 %number, 1
  br label %worker
away:
  %tired = icmp eq i64 %rest, 0
  br i1 %tired, label %done, label %wait
wait:
{pause}  %fewer = sub i64 %rest, 1
  br label %try
done:
  ret i64 %number
}}

define internal void @mynn_release({parameters}) noinline nounwind {{
entry:
  br label %worker
worker:
  %number = phi i64 [ 1, %entry ], [ %following, %next ]
  %more = icmp ult i64 %number, %workers
  br i1 %more, label %next, label %done
next:
{_state("%number")}  store atomic i64 {int(WorkerState.PARKED)}, ptr %state release, align 8
  %following = add i64 %number, 1
  br label %worker
done:
  ret void
}}
"""


def _sleeping(target: Target) -> str:
    """A round of waiting for the next step, from the block `idle` on: spin, yield, sleep, leave."""
    pause = _pause(target)
    return f"""  %fresh = icmp ult i64 %rounds, {_PATIENCE}
  br i1 %fresh, label %pause, label %tired
pause:
{pause}  br label %wait
tired:
  %spent = sub i64 %rounds, {_PATIENCE + _OFFERS}
  %drowsy = icmp slt i64 %spent, 0
  br i1 %drowsy, label %offer, label %bored
offer:
  %offered = call i32 @sched_yield()
  br label %wait
bored:
  %enough = icmp ugt i64 %spent, {_SLEEPS}
  br i1 %enough, label %leave, label %sleep
sleep:
  %longer = mul i64 %spent, {_LONGER}
  %long = icmp ugt i64 %longer, {_LONGEST_SLEEP}
  %nap = select i1 %long, i64 {_LONGEST_SLEEP}, i64 %longer
  %micros = trunc i64 %nap to i32
  %slept = call i32 @usleep(i32 %micros)
  br label %wait
"""


def _spinning(most: int, target: Target) -> str:
    """The same without a sleep: `most` rounds, then leave."""
    pause = _pause(target)
    return f"""  %enough = icmp ugt i64 %rounds, {most}
  br i1 %enough, label %leave, label %pause
pause:
{pause}  br label %wait
"""


def worker_text(module: Module, name: str, loop: bool) -> str:
    """`void name(sync, worker)`: what the thread of a worker runs: its share of every step.

    - `loop`: of a training loop, where Python takes its time between two calls; denormals are
      flushed as the leader does. Otherwise of single calls, where it leaves soon.

    A second thread for the same worker, and one that comes after the shutdown, returns at once.
    """
    _declare(module)
    sleeps = loop and module.target.is_posix
    ends = ("pause", "offer", "sleep") if sleeps else ("pause",)
    flush = _flush(module.target) if loop else ""
    most = _LOOP_ROUNDS if loop else _CALL_ROUNDS
    waiting = _sleeping(module.target) if sleeps else _spinning(most, module.target)
    seen = ", ".join(["[ %base, %acquired ]", *(f"[ %known, %{end} ]" for end in ends)])
    rounds = ", ".join(["[ 0, %acquired ]", *(f"[ %rounds.next, %{end} ]" for end in ends)])
    return f"""define void @{name}(ptr %sync, i64 %worker) nounwind {{
entry:
{flush}  %phase = getelementptr i64, ptr %sync, i64 {int(Sync.PHASE)}
  %table.at = getelementptr ptr, ptr %sync, i64 {int(Sync.TABLE)}
  %step.at = getelementptr ptr, ptr %sync, i64 {int(Sync.STEP)}
{_state("%worker")}  %first = load atomic i64, ptr %phase acquire, align 8
  %late = icmp eq i64 %first, {SHUTDOWN}
  br i1 %late, label %end, label %begin
begin:
  %begun = {_exchange(WorkerState.AWAY, WorkerState.PARKED)}
  %only = extractvalue {{ i64, i1 }} %begun, 1
  br i1 %only, label %ready, label %end
ready:
  %done = phi i64 [ {_NONE}, %begin ], [ %now, %work ]
  br label %wait
wait:
  %seen = phi i64 [ %done, %ready ], {seen}
  %rounds = phi i64 [ 0, %ready ], {rounds}
  %now = load atomic i64, ptr %phase acquire, align 8
  %same = icmp eq i64 %now, %seen
  br i1 %same, label %idle, label %woken
woken:
  %over = icmp eq i64 %now, {SHUTDOWN}
  br i1 %over, label %away, label %look
look:
  %unknown = icmp eq i64 %seen, {_NONE}
  br i1 %unknown, label %fresh.look, label %known.look
fresh.look:
  %held = load atomic i64, ptr %state acquire, align 8
  %taken = icmp eq i64 %held, {int(WorkerState.ACQUIRED)}
  br i1 %taken, label %acquired, label %idle
acquired:
  %base.at = getelementptr i64, ptr %sync, i64 {int(Sync.BASE)}
  %base = load atomic i64, ptr %base.at monotonic, align 8
  br label %wait
known.look:
  %count = and i64 %now, {COUNT_MASK}
  %mine = icmp ult i64 %worker, %count
  br i1 %mine, label %work, label %idle
work:
  %table = load ptr, ptr %table.at, align 8
  %step = load ptr, ptr %step.at, align 8
  call void %step(ptr %table, i64 %worker, i64 %count, ptr %sync)
  br label %ready
idle:
  %known = phi i64 [ %seen, %wait ], [ %seen, %fresh.look ], [ %now, %known.look ]
  %rounds.next = add i64 %rounds, 1
{waiting}leave:
  %tried = {_exchange(WorkerState.PARKED, WorkerState.AWAY)}
  %left = extractvalue {{ i64, i1 }} %tried, 1
  br i1 %left, label %end, label %{ends[-1]}
away:
  store atomic i64 {int(WorkerState.AWAY)}, ptr %state release, align 8
  br label %end
end:
  ret void
}}
"""
