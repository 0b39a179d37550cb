"""Kernels of the loop IR as LLVM functions.

Every kernel becomes a function `void @kernel(ptr %table)`; `%table` holds the address of each
memory buffer. A vector loop becomes vector instructions, an unrolled loop is written out, register
buffers become SSA values (parameters of the blocks of serial loops). What a loop does not change is
computed before it (`Function.pure`). LLVM selects instructions; its passes are not needed.

Vectors may read or write the padding of a row (see `mynn.target.storage`); everything else is
masked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from mynn.compiler.codegen import narrow
from mynn.compiler.codegen.addresses import Addresses, KernelAddresses
from mynn.compiler.codegen.expressions import Expressions
from mynn.compiler.codegen.function import FLUSHING, Block, Function, Module, index
from mynn.compiler.codegen.ops import operation
from mynn.compiler.codegen.registers import SCALAR, Registers, VectorContext
from mynn.compiler.codegen.values import Value
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine

TABLE = Value("%table", "ptr")
WORKER, WORKERS = Value("%worker", ir.INDEX), Value("%workers", ir.INDEX)
SLOTS = Value("%slots", "ptr")


def parameters_of(kernel: ir.Kernel) -> list[Value]:
    """What the function of a kernel takes."""
    return [TABLE, WORKER, WORKERS] if kernel.is_split else [TABLE]


class KernelEmitter:
    """Writes the statements of a kernel into a function; see `emit_kernel` for the arguments;
    `read` and `written` are the buffers in memory that it loads from and stores into."""

    def __init__(
        self,
        function: Function,
        addresses: Addresses,
        read: Collection[ir.Buffer],
        written: Collection[ir.Buffer],
    ) -> None:
        self.function = function
        self.addresses = addresses
        self.written = written
        self.registers = Registers(function)
        fixed = {*read}.difference(written)
        self.expressions = Expressions(function, addresses, self.registers, fixed)
        self.env = self.expressions.env

    def body(self, body: Sequence[ir.Statement], v: VectorContext = SCALAR) -> None:
        """Statements in order."""
        for statement in body:
            if isinstance(statement, ir.Let):
                self.env[statement.name] = self.expressions.value(statement.value, v)
            elif isinstance(statement, ir.Store):
                self.expressions.store(statement, v)
            elif isinstance(statement, ir.Local):
                if statement.buffer.storage == "register":
                    self.registers.declare(statement.buffer)
                else:
                    self.addresses.base(statement.buffer)
            elif isinstance(statement, ir.Prefetch):
                self._prefetch(statement)
            elif statement.extent > 0:
                self._loop(statement, v)

    def _prefetch(self, statement: ir.Prefetch) -> None:
        """Into the nearest cache, to be written; into the second one what is only read."""
        parts = self.expressions.parts(statement.index, SCALAR)
        pointer = self.addresses.pointer(statement.buffer, parts.constant, parts.scalars)
        written, near = ("1", "3") if statement.buffer in self.written else ("0", "2")
        hints = [Value(text, "i32") for text in (written, near, "1")]
        self.function.intrinsic("@llvm.prefetch.p0", [pointer, *hints], "")

    # -- loops -------------------------------------------------------------------------------------

    def _loop(self, loop: ir.For, v: VectorContext) -> None:
        if loop.kind == "vector":
            if loop.extent == 1:
                self.env[loop.var] = 0
            vector = VectorContext(loop.var, loop.extent) if loop.extent > 1 else SCALAR
            self.body(loop.body, vector)
        elif loop.kind == "parallel":
            first, end = self._share(loop.extent)
            self._guarded(first, end, loop)
        elif loop.where:
            self._guarded(*self._range(loop), loop)
        elif loop.kind == "unroll" or loop.extent == 1:
            for i in range(loop.extent):
                self.env[loop.var] = i
                self.body(loop.body, v)
        else:
            self._serial(loop, index(0), index(loop.extent))

    def _share(self, extent: int) -> tuple[Value, Value]:
        """The first of this worker's rounds, extent * worker / workers, and that after the last."""
        f = self.function

        def bound(step: int) -> Value:
            number = f.first(f"add i64 %worker, {step}", ir.INDEX)
            product = f.first(f"mul i64 {number.text}, {extent}", ir.INDEX)
            return f.first(f"udiv i64 {product.text}, %workers", ir.INDEX)

        return bound(0), bound(1)

    def _range(self, loop: ir.For) -> tuple[Value, Value]:
        """The rounds in which the conditions of a loop hold."""
        bounds = []
        for c in loop.where:
            step, left = c.index.coefficient(loop.var), -c.index.without(loop.var)
            bounds.append([self._quotient(left + (n + step - 1), step) for n in (0, c.extent)])
        first, end = bounds[0][0], index(loop.extent)
        for low, high in bounds:
            first = operation(self.function, "maximum", [first, low], ir.INDEX)
            end = operation(self.function, "minimum", [end, high], ir.INDEX)
        return first, end

    def _quotient(self, at: Affine, divisor: int) -> Value:
        """at // divisor, or 0 where that is less."""
        f, value = self.function, self.expressions.affine(at, SCALAR)
        positive = operation(f, "maximum", [value, index(0)], ir.INDEX)
        return f.binary("udiv", positive, index(divisor)) if divisor > 1 else positive

    def _guarded(self, first: Value, end: Value, loop: ir.For) -> None:
        """A loop whose rounds are known as it runs, if there are any."""

        def run() -> None:
            if loop.extent == 1:
                self.env[loop.var] = 0
                self.body(loop.body)
            else:
                self._serial(loop, first, end)

        some = self.function.compare("icmp ult", first, end)
        self._if(some, loop.body, run)

    def _if(self, condition: Value, body: Sequence[ir.Statement], run: Callable[[], None]) -> None:
        """Run something, what `body` says, where a condition holds."""
        f, carried = self.function, self.registers.changed(body)
        then, done = f.make_block("then"), f.make_block("done")
        before = f.block
        f.branch(condition, then, (done, self.registers.values(carried)))
        f.enter(then)
        with f.scope(before, sure=False):
            run()
        f.jump((done, self.registers.values(carried)))
        self._enter(done, carried)

    def _enter(self, block: Block, carried: Sequence[tuple[ir.Buffer, int]]) -> None:
        """Go on in a block whose parameters are the registers that were changed."""
        self.registers.become_parameters(carried, block)
        self.function.enter(block)
        self.expressions.forget_loads()

    def _serial(self, loop: ir.For, first: Value, end: Value) -> None:
        """A counted loop of one round or more."""
        f, carried = self.function, self.registers.changed(loop.body)
        head, done = f.make_block("loop"), f.make_block("done")
        before = f.block
        f.jump((head, [first, *self.registers.values(carried)]))
        with f.scope(before):
            counter = f.parameter(head, ir.INDEX)
            self._enter(head, carried)
            self.env[loop.var] = counter
            self.body(loop.body)
            following = f.freeze(f.binary("add", counter, index(1)))
            more = f.compare("icmp ult", following, end)
        f.branch(more, (head, [following, *self.registers.values(carried)]), done)
        f.enter(done)
        self.expressions.forget_loads()


def emit_kernel(
    module: Module,
    kernel: ir.Kernel,
    slots: Mapping[ir.Buffer, int],
    scratch: ir.Buffer | None = None,
    name: str = "",
    numbers: Mapping[ir.Buffer, int] | None = None,
) -> None:
    """Add the function of a kernel.

    - `slots`: each buffer's place in the table.
    - `scratch`: a worker's share of the memory that lives within a kernel.
    - `name`, `numbers`: of a function for several kernels. It takes a list of slots, and the
      addresses of these buffers are where the entries of these numbers say.
    """
    parameters = parameters_of(kernel) + ([SLOTS] if numbers is not None else [])
    attributes = f"noinline nounwind {FLUSHING}{narrow.attributes(kernel, module.target)}"
    f = Function(module, name or kernel.name, parameters, attributes=attributes)
    worker = WORKER if kernel.is_split else None
    addresses = KernelAddresses(f, kernel, slots, scratch, numbers or {}, worker)
    KernelEmitter(f, addresses, *ir.buffers_of(kernel)).body(kernel.body)
    f.give()
    f.finish()
