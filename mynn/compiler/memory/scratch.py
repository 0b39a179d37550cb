"""Scratch memory: where the buffers lie that a kernel makes for itself, if not in registers.

They could lie on the stack, if that had room for them: a thread may have 64 KB in all, and columns
of a long sum that were copied side by side take as much as the sum is long.

A worker has a share of the memory to itself, and every kernel uses the share from its start: what
lies there is forgotten when the kernel ends. A buffer lives to the end of the loop body in which it
is made, so that bodies that stand side by side use the same bytes:

    local panel3: f32[4096] scratch           bytes 0 to 16511
    for p in 8: ...
    for q in 4:
      local panel9: f32[64] scratch           bytes 16512 to 16895
      ...
    for q in 2:
      local panel14: f32[32] scratch          bytes 16512 to 16767
      ...

Behind what kernels use is room for a table of addresses, where workers may run a loop around
kernels together (`mynn.compiler.loop_ir.repeat`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mynn.compiler.loop_ir.instance import original
from mynn.compiler.loop_ir.ir import Buffer, For, Kernel, Local, Statement, buffers_of
from mynn.compiler.loop_ir.repeat import innermost, nests, table_bytes
from mynn.target.storage import ALIGNMENT, SLACK

# Shares begin on cache lines that no other worker's prefetcher takes with its own.
_SHARE = 2 * ALIGNMENT


def scratch_offsets(kernel: Kernel) -> tuple[dict[Buffer, int], int]:
    """The offset in bytes of each scratch buffer of a kernel in a worker's share, and the bytes of
    the share that the kernel uses.
    """
    offsets: dict[Buffer, int] = {}

    def place(body: Sequence[Statement], start: int) -> int:
        """Where what `body` uses ends; it begins at `start`."""
        end = start
        for statement in body:
            if isinstance(statement, For):
                end = max(end, place(statement.body, start))
            elif isinstance(statement, Local) and statement.buffer.storage == "scratch":
                offsets[statement.buffer] = start
                start += -(-(statement.buffer.nbytes + SLACK) // ALIGNMENT) * ALIGNMENT
                end = max(end, start)
        return end

    return offsets, place(kernel.body, 0)


def scratch_buffer(kernels: Iterable[Kernel]) -> Buffer | None:
    """A worker's share of the scratch memory of a program, as large as the kernels need it; None
    where no kernel needs any.
    """
    kernels = list(kernels)
    distinct = {id(kernel): kernel for kernel in map(original, innermost(kernels))}
    most = max((scratch_offsets(kernel)[1] for kernel in distinct.values()), default=0)
    share = -(-most // _SHARE) * _SHARE
    if any(nests(kernels)):
        touched = {b for kernel in kernels for side in buffers_of(kernel) for b in side}
        share += table_bytes(len(touched) + 1)
    return Buffer("scratch", "u8", share) if share else None
