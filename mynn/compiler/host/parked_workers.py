"""Single calls on several workers, in native code.

A worker that has done its share of a call stands by for a moment: the next call, if it comes soon,
finds it awake. Then it leaves, and the next call has to start it again
(`mynn.compiler.host.workers`).
"""

from __future__ import annotations

from mynn.compiler.codegen.function import Module
from mynn.compiler.host.control_block import Sync
from mynn.compiler.host.step import SPLIT_STEP
from mynn.compiler.host.workers import leader_text, next_phase, worker_text

CALL = "mynn_call"
SERVE = "mynn_serve"


def add_calls(module: Module, step: str) -> None:
    """Add `mynn_call` and `mynn_serve` to a module with a split step; `step` is the whole one.

    - `i64 mynn_call(table, workers, sync, patience)`: runs the step on the workers that are there
      and returns 1. Where some are missing and `patience` is 0 it runs nothing and returns 0: they
      can be started, and be waited for with patience. While another call has the workers, it runs
      the step alone.
    - `void mynn_serve(sync, worker)`: a worker's share of a call, and of those that follow soon.
    """
    module.add(leader_text(module))
    names = ("%old", "%low", "%fresh", "%new")
    phase = "\n".join(
        f"  {name} = {operation.format(old)}"
        for old, name, operation in zip(names, names[1:], next_phase("%count"), strict=False)
    )
    parameters = "ptr %table, i64 %workers, ptr %sync, i64 %patience"
    module.add(f"""define i64 @{CALL}({parameters}) nounwind {{
entry:
  %leader = getelementptr i64, ptr %sync, i64 {int(Sync.LEADER)}
  %pair = cmpxchg ptr %leader, i64 0, i64 1 acq_rel acquire
  %led = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %led, label %acquire, label %alone
alone:
  call void @{step}(ptr %table)
  ret i64 1
acquire:
  %count = call i64 @mynn_acquire(ptr %sync, i64 %workers, i64 %patience)
  %some = icmp ult i64 %count, %workers
  %soon = icmp eq i64 %patience, 0
  %not.yet = and i1 %some, %soon
  br i1 %not.yet, label %release, label %run
run:
  %table.at = getelementptr ptr, ptr %sync, i64 {int(Sync.TABLE)}
  store ptr %table, ptr %table.at, align 8
  %step.at = getelementptr ptr, ptr %sync, i64 {int(Sync.STEP)}
  store ptr @{SPLIT_STEP}, ptr %step.at, align 8
  %phase = getelementptr i64, ptr %sync, i64 {int(Sync.PHASE)}
  %old = load i64, ptr %phase, align 8
{phase}
  store atomic i64 %new, ptr %phase release, align 8
  call void @{SPLIT_STEP}(ptr %table, i64 0, i64 %count, ptr %sync)
  br label %release
release:
  %ran = phi i64 [ 0, %acquire ], [ 1, %run ]
  call void @mynn_release(ptr %sync, i64 %count)
  store atomic i64 0, ptr %leader release, align 8
  ret i64 %ran
}}
""")
    module.add(worker_text(module, SERVE, loop=False))
