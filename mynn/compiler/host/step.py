"""The step: a function that runs all kernels in order.

On one thread, the kernels of a cache block share by share (`mynn.compiler.parallel.cache_blocks`):

    function mynn_step(table: ptr) exported:
      call k0(table)
      var share1 = 0
      while less(share1, 16):
        call k1(table, share1, 16)
        call k2(table, share1, 16)
        share1 = share1 + 1

Split, every worker runs its share of each kernel, and they meet where `mynn.compiler.parallel`
says that they must:

    function mynn_step_split(table: ptr, worker: i64, workers: i64, sync: ptr) exported:
      call k0(table, worker, workers)
      call mynn_barrier(sync, workers, 4)
      call k1(table, worker, workers)
      call mynn_barrier(sync, workers, 0)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mynn.compiler.graph.status import STOPS
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.parallel.barriers import COUNTS, ScheduledKernel
from mynn.compiler.parallel.cache_blocks import CacheBlock

STEP = "mynn_step"
SPLIT_STEP = "mynn_step_split"
BARRIER = "mynn_barrier"
TABLE, SYNC = ir.Var("table", "ptr"), ir.Var("sync", "ptr")
WORKER, WORKERS = ir.Var("worker", "i64"), ir.Var("workers", "i64")
_ALL = 1 + sum(1 << count for count in COUNTS)


def step(
    blocks: Sequence[CacheBlock],
    checking: Collection[str] = (),
    status: int | None = None,
    name: str = STEP,
) -> ir.Function:
    """Runs all kernels, the shares of a block in a loop.

    After a kernel of the names in `checking` it returns where a check has failed; `status` is the
    place of the status word in the table.
    """
    body: list[ir.Action] = []
    for number, block in enumerate(blocks):
        share = f"share{number}"
        given: tuple[ir.Expr, ...] = (Affine.var(share), Affine(block.shares))
        if block.shares == 1:
            given = Affine(0), Affine(1)
        calls: list[ir.Action] = []
        for kernel in block.kernels:
            calls.append(ir.Call(kernel.name, (TABLE, *(given if kernel.is_split else ()))))
            if kernel.name in checking and status is not None:
                calls += _leave_if_stopped(status)
        if block.shares == 1:
            body += calls
            continue
        more = ir.Op("less", (Affine.var(share), Affine(block.shares)), "bool")
        calls.append(ir.Assign(share, Affine.var(share) + 1))
        body += [ir.Declare(share, Affine(0)), ir.While(more, tuple(calls))]
    return ir.Function(name, (TABLE,), tuple(body), exported=True)


def split_step(schedule: Sequence[ScheduledKernel], status: int | None = None) -> ir.Function:
    """What every worker runs: its share of each kernel, and barriers where they are needed.

    `status` is the place of the status word in the table, if there is one.
    """
    body: list[ir.Action] = []
    for scheduled in schedule:
        # Bits for the numbers of workers that need not meet; that of 0 for more than are looked at.
        free = sum(1 << n for n in COUNTS if not scheduled.has_barrier(n)) + (
            0 if scheduled.more else 1
        )
        if free != _ALL:
            body.append(_barrier(free))
        if not scheduled.checks_status:
            body.append(ir.Call(scheduled.kernel.name, (TABLE, WORKER, WORKERS)))
        elif status is not None:
            body += _leave_if_stopped(status, _barrier())
    parameters = TABLE, WORKER, WORKERS, SYNC
    return ir.Function(SPLIT_STEP, parameters, (*body, _barrier()), exported=True)


def _barrier(free: int = 0) -> ir.Call:
    return ir.Call(BARRIER, (SYNC, WORKERS, Affine(free)))


def _leave_if_stopped(slot: int, *before: ir.Action) -> list[ir.Action]:
    """Return where a check that stops has failed; `slot` is the place of the word in the table."""
    entries, status = ir.Buffer("entries", "ptr", 0, "view"), ir.Buffer("status", "i32", 1, "view")
    stops = ir.Op("bitwise_and", (ir.Load(status, Affine(0)), ir.Const(STOPS, "i32")), "i32")
    failed = ir.Op("not_equal", (stops, ir.Const(0, "i32")), "bool")
    return [
        ir.View(entries, TABLE),
        ir.View(status, ir.Load(entries, Affine(slot))),
        ir.If(failed, (*before, ir.Return())),
    ]
