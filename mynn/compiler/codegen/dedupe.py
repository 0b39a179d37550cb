"""Equal kernels are compiled once.

The layers of a deep network are often alike, and so are their kernels, but for the buffers. Where
there are several, such kernels have one body, which takes from a list of the kernel's own where in
the program's table its buffers are:

    @k3.slots = private constant [2 x i64] [i64 4, i64 9]
    define internal void @k3(ptr %table) { call void @k0.body(ptr %table, ptr @k3.slots) }
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from mynn.compiler.codegen.function import FLUSHING, Function, Module
from mynn.compiler.codegen.kernel import emit_kernel, parameters_of
from mynn.compiler.codegen.stack import stack_bytes
from mynn.compiler.codegen.values import constant
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.instance import bound, original

# Fewer kernels are not worth the loads of a list of slots in each run,
FEWEST = 4
# unless each computes or moves so much that a few loads do not matter: then two are enough.
LARGE = 20_000


def kernel_key(kernel: ir.Kernel) -> tuple[Hashable, list[ir.Buffer]]:
    """What tells a kernel from others, whichever buffers it works on, and its buffers in memory.

    Kernels with equal keys do the same with the buffers at the same places of their lists.
    """
    buffers: dict[ir.Buffer, int] = {}
    kinds: list[Hashable] = []

    def number(buffer: ir.Buffer) -> int:
        if buffer not in buffers:
            buffers[buffer] = len(buffers)
            # How far a buffer in memory reaches is nothing to the code.
            elements = 0 if buffer.storage == "memory" else buffer.elements
            kinds.append((buffer.type, buffer.storage, elements, buffer.pitch))
        return buffers[buffer]

    def of_expr(expr: ir.Expr) -> Hashable:
        if isinstance(expr, ir.Load):
            return number(expr.buffer), expr.index
        if isinstance(expr, ir.Op):
            return expr.name, expr.type, tuple([of_expr(arg) for arg in expr.args])
        if isinstance(expr, ir.Reduce):
            return expr.op, number(expr.buffer), expr.index, expr.count
        if isinstance(expr, ir.Const):  # 0 and -0 are equal, and NaN is not equal to itself
            return repr(expr.value), expr.type
        return expr

    def of(statement: ir.Statement) -> Hashable:
        if isinstance(statement, ir.Let):
            return "let", statement.name, of_expr(statement.value)
        if isinstance(statement, ir.Store):
            place = number(statement.buffer), statement.index
            return "store", *place, of_expr(statement.value)
        if isinstance(statement, ir.For):
            head = statement.var, statement.extent, statement.kind, statement.where
            return "for", *head, tuple([of(inner) for inner in statement.body])
        if isinstance(statement, ir.Local):
            return "local", number(statement.buffer)
        return "prefetch", number(statement.buffer), statement.index

    body = tuple([of(statement) for statement in kernel.body])
    return (body, tuple(kinds)), [b for b in buffers if b.storage == "memory"]


def emit_kernels(
    module: Module,
    kernels: Sequence[ir.Kernel],
    slots: Mapping[ir.Buffer, int],
    scratch: ir.Buffer | None,
) -> None:
    """Add a function for each kernel; `slots` gives each buffer's place in the table, `scratch` is
    a worker's share of the memory that lives within a kernel.

    Raises:
        CompileError: a kernel may take more of the stack than there is.
    """
    equal: dict[Hashable, list[tuple[ir.Kernel, list[ir.Buffer]]]] = {}
    # For each original those that are equal to it: a key is as large as its kernel.
    known: dict[int, tuple[list[tuple[ir.Kernel, list[ir.Buffer]]], list[ir.Buffer]]] = {}
    for kernel in kernels:
        first = original(kernel)
        if id(first) not in known:
            key, buffers = kernel_key(first)
            known[id(first)] = equal.setdefault(key, []), buffers
        members, buffers = known[id(first)]
        members.append((kernel, bound(kernel, buffers)))
    module.stack_bytes = stack_bytes(members[0][0] for members in equal.values())
    for members in equal.values():
        first, buffers = members[0]
        large = max(first.operations, first.nbytes) >= LARGE
        if not buffers or len(members) < (2 if large else FEWEST):
            for kernel, _ in members:
                emit_kernel(module, kernel, slots, scratch)
            continue
        numbers = {buffer: number for number, buffer in enumerate(buffers)}
        body = f"{first.name}.body"
        emit_kernel(module, first, slots, scratch, body, numbers)
        for kernel, own in members:
            _emit_entry(module, kernel, body, [slots[buffer] for buffer in own])


def _emit_entry(module: Module, kernel: ir.Kernel, body: str, slots: Sequence[int]) -> None:
    """Add the function of a kernel whose body others use too; it is part of its caller in the end,
    because LLVM takes half a millisecond for each function, however short.
    """
    parameters = parameters_of(kernel)
    numbers = module.constant(f"{kernel.name}.slots", [constant(slot, ir.INDEX) for slot in slots])
    f = Function(module, kernel.name, parameters, attributes=f"alwaysinline nounwind {FLUSHING}")
    f.call(f"@{body}", [*parameters, numbers])
    f.give()
    f.finish()
