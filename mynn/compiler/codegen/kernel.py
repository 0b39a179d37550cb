"""Loop IR to LLVM IR, as text.

Every kernel becomes a function `void @kernel(ptr %table)`; `%table` holds the address of each
memory buffer. A vector loop becomes vector instructions, an unrolled loop is written out, register
buffers become SSA values (with a phi for each at the head of a serial loop), so that little is left
for LLVM's passes but instruction selection.

Vectors may read or write the padding of a row (see `mynn.target.storage`); everything else is
masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mynn.compiler.codegen import function
from mynn.compiler.codegen.function import Module, Value, llvm_type, memory_type
from mynn.compiler.codegen.lane_reduce import horizontal, horizontal_rows
from mynn.compiler.codegen.ops import operation
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    INDEX,
    Buffer,
    Const,
    Expr,
    For,
    FunctionAddress,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Prefetch,
    Reduce,
    Statement,
    Store,
    Var,
)
from mynn.compiler.loop_ir.walk import statements
from mynn.compiler.memory.scratch import scratch_offsets
from mynn.compiler.parallel.cache_blocks import CacheBlock
from mynn.errors import CompileError


@dataclass
class _Slot:
    """The present value of `valid` neighbouring elements of a register buffer: its first lanes."""

    value: Value
    valid: int


@dataclass
class _Scope:
    """What has been computed in a block and those that it dominates."""

    pointers: dict[tuple[Buffer, tuple[tuple[str, int], ...]], str] = field(default_factory=dict)
    scalars: dict[tuple[tuple[str, int], ...], str] = field(default_factory=dict)
    splats: dict[tuple[str, int], str] = field(default_factory=dict)


class KernelEmitter:
    """Writes the function of a kernel.

    Args:
        slots: each buffer's place in the table.
        scratch: a worker's share of the memory that lives within a kernel.
        numbers: where it is given, the function takes a list of slots, and the addresses of these
            buffers are where the entries of these numbers say.
    """

    def __init__(
        self,
        module: Module,
        kernel: Kernel,
        slots: Mapping[Buffer, int],
        scratch: Buffer | None = None,
        numbers: Mapping[Buffer, int] | None = None,
    ) -> None:
        self.module = module
        self.kernel = kernel
        self.slots = slots
        self.numbers = numbers
        self.scratch = scratch
        self.offsets, self.share_bytes = scratch_offsets(kernel)
        self.lines: list[str] = []
        self.prologue: list[str] = []
        self.count = 0
        self.block = "entry"
        self.env: dict[str, Value | int] = {}
        self.registers: dict[Buffer, dict[int, _Slot]] = {}
        self.bases: dict[Buffer, str] = {}
        self.shares: dict[int, tuple[str, str]] = {}
        self.scopes: list[_Scope] = [_Scope()]
        self.cache: dict[tuple[Buffer, Affine, int], Value] = {}
        self.columns: dict[tuple[str, int], list[Value]] = {}
        self.lane: str | None = None
        self.extent = 1
        self.lanes = 1

    # -- text --------------------------------------------------------------------------------------

    def fresh(self) -> str:
        """A new SSA name."""
        self.count += 1
        return f"%v{self.count}"

    def emit(self, text: str) -> str:
        """An instruction with a result."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def effect(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def function(self, name: str = "") -> str:
        """The text of the function, which has the kernel's name where none is given."""
        self.body(self.kernel.body)
        arguments = parameters_of(self.kernel)
        if self.numbers is not None:
            arguments += ", ptr %slots"
        name = name or self.kernel.name
        head = f"define internal void @{name}({arguments}) noinline nounwind #0 {{"
        return "\n".join([head, "entry:", *self.prologue, *self.lines, "  ret void", "}", ""])

    # -- statements --------------------------------------------------------------------------------

    def body(self, body: Iterable[Statement]) -> None:
        """Statements in order."""
        for statement in body:
            if isinstance(statement, Let):
                self.env[statement.name] = self.value(statement.value)
            elif isinstance(statement, Store):
                self.store(statement)
            elif isinstance(statement, Local):
                self.local(statement.buffer)
            elif isinstance(statement, Prefetch):
                self.prefetch(statement)
            elif statement.extent == 0:
                continue
            elif statement.kind == "vector":
                self.vector(statement)
            elif statement.kind == "parallel":
                self.parallel(statement)
            elif statement.where:
                self.ranged(statement)
            elif statement.kind == "unroll" or statement.extent == 1:
                for i in range(statement.extent):
                    self.env[statement.var] = i
                    self.body(statement.body)
            else:
                self.serial(statement)

    def local(self, buffer: Buffer) -> None:
        """Declare a register or scratch buffer."""
        if buffer.place == "register":
            self.registers[buffer] = {}
        else:
            self.bases[buffer] = self.in_scratch(self.offsets[buffer])

    def in_scratch(self, offset: int) -> str:
        """An address in this worker's share of the scratch memory."""
        if self.scratch is None or self.share_bytes > self.scratch.nbytes:
            raise CompileError(
                f"{self.kernel.name} needs {self.share_bytes} bytes of scratch memory"
            )
        start = self.base(self.scratch)
        at = str(offset)
        if is_split(self.kernel):
            share, at = self.fresh(), self.fresh()
            self.prologue.append(f"  {share} = mul i64 %worker, {self.scratch.nbytes}")
            self.prologue.append(f"  {at} = add i64 {share}, {offset}")
        name = self.fresh()
        self.prologue.append(f"  {name} = getelementptr inbounds i8, ptr {start}, i64 {at}")
        return name

    def prefetch(self, statement: Prefetch) -> None:
        """Into the nearest cache, to be written."""
        constant, scalars, _, _ = self.split(statement.index)
        pointer = self.pointer(statement.buffer, constant, scalars)
        self.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.effect(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 1, i32 3, i32 1)")

    def vector(self, loop: For) -> None:
        """All rounds at once."""
        self.lane, self.extent = loop.var, loop.extent
        self.lanes = 1 << (loop.extent - 1).bit_length()
        if loop.extent == 1:
            self.env[loop.var] = 0
            self.lane = None
        self.body(loop.body)
        self.lane, self.extent, self.lanes = None, 1, 1

    def parallel(self, loop: For) -> None:
        """This worker's share of the rounds: those from extent * worker / workers on."""
        bounds = self.share(loop.extent)
        some = self.emit(f"icmp ult i64 {bounds[0]}, {bounds[1]}")
        label, done = f"share{self.count}", f"share{self.count}.end"
        self.effect(f"br i1 {some}, label %{label}, label %{done}")
        self.lines.append(f"{label}:")
        self.block = label
        self.scopes.append(_Scope())
        if loop.extent == 1:
            self.env[loop.var] = 0
            self.body(loop.body)
        else:
            self.serial(loop, bounds[0], bounds[1])
        self.effect(f"br label %{done}")
        self.lines.append(f"{done}:")
        self.block = done
        self.scopes.pop()
        self.cache.clear()
        self.columns.clear()

    def share(self, extent: int) -> tuple[str, str]:
        """The first of this worker's rounds, and that after the last; found once in the kernel."""
        if extent not in self.shares:
            ends = []
            for step in (0, 1):
                number, product, end = self.fresh(), self.fresh(), self.fresh()
                self.prologue.append(f"  {number} = add i64 %worker, {step}")
                self.prologue.append(f"  {product} = mul i64 {number}, {extent}")
                self.prologue.append(f"  {end} = udiv i64 {product}, %workers")
                ends.append(end)
            self.shares[extent] = ends[0], ends[1]
        return self.shares[extent]

    def ranged(self, loop: For) -> None:
        """A loop over the rounds in which its conditions hold, if there are any."""
        bounds = []
        for c in loop.where:
            step, rest = c.index.coefficient(loop.var), -c.index.without(loop.var)
            bounds.append([self.quotient(rest + (n + step - 1), step) for n in (0, c.extent)])
        first, end = bounds[0][0], Value(str(loop.extent), INDEX, 1)
        for low, high in bounds:
            first = operation(self, "maximum", [first, low], INDEX)
            end = operation(self, "minimum", [end, high], INDEX)
        some = self.emit(f"icmp ult i64 {first.text}, {end.text}")
        label, before = f"range{self.count}", self.block
        self.effect(f"br i1 {some}, label %{label}, label %{label}.end")
        self.lines.append(f"{label}:")
        self.block = label
        old = {buffer: dict(slots) for buffer, slots in self.registers.items()}
        self.scopes.append(_Scope())
        self.serial(loop, first.text, end.text)
        self.scopes.pop()
        self.effect(f"br label %{label}.end")
        self.lines.append(f"{label}.end:")
        for buffer, slots in old.items():
            for at, slot in slots.items():
                new, kind = self.registers[buffer][at], slot.value.kind
                if new.value != slot.value:
                    left, right = f"[ {slot.value.text}, %{before} ]", f"[ {new.value.text}, "
                    name = self.emit(f"phi {kind} {left}, {right}%{self.block} ]")
                    value = Value(name, slot.value.type, slot.value.lanes)
                    self.registers[buffer][at] = _Slot(value, slot.valid)
        self.block = f"{label}.end"

    def quotient(self, index: Affine, divisor: int) -> Value:
        """index // divisor, or 0 where that is less."""
        zero = Value("0", INDEX, 1)
        positive = operation(self, "maximum", [self.affine(index), zero], INDEX)
        by = Value(str(divisor), INDEX, 1)
        return operation(self, "quotient", [positive, by], INDEX) if divisor > 1 else positive

    def serial(self, loop: For, first: str = "0", end: str = "") -> None:
        """A counted loop; register buffers that change inside are carried by phis."""
        changed = {
            s.buffer
            for s in statements(loop.body)
            if isinstance(s, Store) and s.buffer in self.registers
        }
        carried = [(b, at) for b in self.registers if b in changed for at in self.registers[b]]
        before, label = self.block, f"loop{self.count}"
        self.count += 1
        self.effect(f"br label %{label}")
        self.lines.append(f"{label}:")
        self.block = label
        counter = self.fresh()
        at_phi = len(self.lines)
        self.lines.append("")
        phis = []
        for buffer, at in carried:
            slot = self.registers[buffer][at]
            name = self.fresh()
            phis.append((buffer, at, name, slot.value))
            self.lines.append("")
            value = Value(name, slot.value.type, slot.value.lanes)
            self.registers[buffer][at] = _Slot(value, slot.valid)
        self.scopes.append(_Scope())
        self.cache.clear()
        self.columns.clear()
        self.env[loop.var] = Value(counter, INDEX, 1)
        self.body(loop.body)
        following = self.emit(f"add nuw nsw i64 {counter}, 1")
        self.lines[at_phi] = (
            f"  {counter} = phi i64 [ {first}, %{before} ], [ {following}, %{self.block} ]"
        )
        for place, (buffer, at, name, initial) in enumerate(phis):
            final = self.registers[buffer][at].value
            kind = llvm_type(initial.type, initial.lanes)
            self.lines[at_phi + 1 + place] = (
                f"  {name} = phi {kind} [ {initial.text}, %{before} ], "
                f"[ {final.text}, %{self.block} ]"
            )
        test = self.emit(f"icmp ult i64 {following}, {end or loop.extent}")
        done = f"{label}.end"
        self.effect(f"br i1 {test}, label %{label}, label %{done}")
        self.lines.append(f"{done}:")
        self.block = done
        self.scopes.pop()
        self.cache.clear()
        self.columns.clear()

    # -- indices -----------------------------------------------------------------------------------

    def split(self, index: Affine) -> tuple[int, tuple[tuple[str, int], ...], int, list[Value]]:
        """An index as constant, scalar terms, coefficient of the lane, vector terms."""
        constant, lane, scalars, vectors = index.constant, 0, [], []
        for name, coefficient in index.terms:
            if name == self.lane:
                lane = coefficient
                continue
            value = self.env[name]
            if isinstance(value, int):
                constant += value * coefficient
            elif value.lanes == 1:
                scalars.append((value.text, coefficient))
            else:
                vectors.append(function.scaled(self, value, coefficient))
        return constant, tuple(scalars), lane, vectors

    def scalar_sum(self, terms: tuple[tuple[str, int], ...]) -> str:
        """The sum of the scalar terms, as an i64."""
        for scope in self.scopes:
            if terms in scope.scalars:
                return scope.scalars[terms]
        total = ""
        for name, coefficient in terms:
            part = name if coefficient == 1 else self.emit(f"mul nsw i64 {name}, {coefficient}")
            total = self.emit(f"add nsw i64 {total}, {part}") if total else part
        self.scopes[-1].scalars[terms] = total
        return total

    def affine(self, index: Affine) -> Value:
        """The value of an index."""
        constant, scalars, lane, vectors = self.split(index)
        total: Value = Value(str(constant), INDEX, 1)
        if scalars:
            text = self.scalar_sum(scalars)
            total = Value(
                self.emit(f"add nsw i64 {text}, {constant}") if constant else text, INDEX, 1
            )
        if lane:
            steps = [lane * i for i in range(self.lanes)]
            row = Value(function.constants(steps, "i64"), INDEX, self.lanes)
            total = function.add_index(self, total, row)
        for value in vectors:
            total = function.add_index(self, total, value)
        return total

    def base(self, buffer: Buffer) -> str:
        """The address of a buffer, loaded from the table once."""
        if buffer not in self.bases:
            slot, name = self.fresh(), self.fresh()
            if self.numbers is not None and buffer in self.numbers:
                entry, place = self.fresh(), self.fresh()
                number = self.numbers[buffer]
                self.prologue.append(f"  {entry} = getelementptr i64, ptr %slots, i64 {number}")
                self.prologue.append(f"  {place} = load i64, ptr {entry}, align 8")
            else:
                place = str(self.slots[buffer])
            self.prologue.append(f"  {slot} = getelementptr ptr, ptr %table, i64 {place}")
            self.prologue.append(f"  {name} = load ptr, ptr {slot}, align 8")
            self.bases[buffer] = name
        return self.bases[buffer]

    def pointer(self, buffer: Buffer, constant: int, scalars: tuple[tuple[str, int], ...]) -> str:
        """The address of an element at a scalar offset."""
        base = self.base(buffer)
        kind = memory_type(buffer.type)
        if scalars:
            key = (buffer, scalars)
            found = next((s.pointers[key] for s in self.scopes if key in s.pointers), None)
            if found is None:
                total = self.scalar_sum(scalars)
                found = self.emit(f"getelementptr inbounds {kind}, ptr {base}, i64 {total}")
                self.scopes[-1].pointers[key] = found
            base = found
        if constant:
            base = self.emit(f"getelementptr inbounds {kind}, ptr {base}, i64 {constant}")
        return base

    # -- values ------------------------------------------------------------------------------------

    def value(self, expr: Expr) -> Value:
        """An expression as an SSA value or a constant."""
        if isinstance(expr, Const):
            return Value(function.number(expr.value, expr.type), expr.type, 1)
        if isinstance(expr, Var):
            found = self.env[expr.name]
            return Value(str(found), INDEX, 1) if isinstance(found, int) else found
        if isinstance(expr, Affine):
            return self.affine(expr)
        if isinstance(expr, Load):
            return self.load(expr)
        if isinstance(expr, Reduce):
            return self.reduce(expr)
        if isinstance(expr, FunctionAddress):
            return Value(f"@{expr.name}", expr.type, 1)
        return operation(self, expr.name, [self.value(x) for x in expr.args], expr.type)

    def broadcast(self, value: Value, lanes: int) -> Value:
        """A scalar repeated over lanes; a vector as it is."""
        if value.lanes == lanes:
            return value
        if value.lanes != 1:
            raise CompileError(f"a vector of {value.lanes} lanes where {lanes} were expected")
        if not value.text.startswith("%"):
            text = function.constants([value.text] * lanes, llvm_type(value.type))
            return Value(text, value.type, lanes)
        key = (value.text, lanes)
        for scope in self.scopes:
            if key in scope.splats:
                return Value(scope.splats[key], value.type, lanes)
        text = function.splat(self, value, lanes)
        self.scopes[-1].splats[key] = text
        return Value(text, value.type, lanes)

    def load(self, load: Load) -> Value:
        """An element, or one for each lane."""
        if load.buffer in self.registers:
            return self.register_load(load)
        resolved = Affine(load.index.constant, load.index.terms)
        key = (load.buffer, resolved, self.extent)
        unrolled = any(isinstance(self.env.get(name), int) for name, _ in resolved.terms)
        lane = any(name == self.lane for name, _ in resolved.terms)
        if not unrolled and not lane and key in self.cache:
            return self.cache[key]
        constant, scalars, step, vectors = self.split(load.index)
        if step == 0 and not vectors:
            pointer = self.pointer(load.buffer, constant, scalars)
            result = function.load(self, load.buffer.type, pointer, 1)
        elif step == 1 and not vectors:
            pointer = self.pointer(load.buffer, constant, scalars)
            result = function.load(self, load.buffer.type, pointer, self.lanes)
        elif 1 < step <= function.MOST_STEPS and not vectors and self.extent > 1:
            pointer = self.pointer(load.buffer, constant, scalars)
            result = function.load_apart(
                self, load.buffer.type, pointer, step, self.extent, self.lanes
            )
        else:
            result = function.gather(
                self, load.buffer.type, self.base(load.buffer), self.affine(load.index), self.extent
            )
        if not unrolled and not lane:
            self.cache[key] = result
        return result

    def store(self, store: Store) -> None:
        """Write an element, or one for each lane."""
        buffer = store.buffer
        if buffer in self.registers:
            self.register_store(store)
            return
        value = self.value(store.value)
        for key in [key for key in self.cache if key[0] is buffer]:
            del self.cache[key]
        constant, scalars, step, vectors = self.split(store.index)
        if self.lane is None and not vectors:
            pointer = self.pointer(buffer, constant, scalars)
            function.store(self, value, pointer, 1, 1)
            return
        value = self.broadcast(value, self.lanes)
        if step == 1 and not vectors:
            rows = [c for _, c in scalars] + [constant, buffer.pitch]
            whole = buffer.place == "scratch" or all(c % self.lanes == 0 for c in rows)
            pointer = self.pointer(buffer, constant, scalars)
            function.store(self, value, pointer, self.lanes, self.lanes if whole else self.extent)
            return
        index = self.broadcast(self.affine(store.index), self.lanes)
        function.scatter(self, value, self.base(buffer), index, self.extent)

    # -- registers ---------------------------------------------------------------------------------

    def constant_index(self, buffer: Buffer, index: Affine) -> tuple[int, int]:
        """The first element and the lane coefficient of an index into registers."""
        constant, scalars, step, vectors = self.split(index)
        if scalars or vectors:
            raise CompileError(f"register buffer {buffer} is indexed by a variable: {index}")
        return constant, step

    def register_store(self, store: Store) -> None:
        """Set elements of a register buffer; a part of a vector is blended with what was there."""
        buffer, index = store.buffer, store.index
        at, step = self.constant_index(buffer, index)
        slots = self.registers[buffer]
        total = self.product_of_part(store)
        if total is not None:
            slots[at] = _Slot(total, slots[at].valid)
            return
        value = self.value(store.value)
        if self.lane is None:
            self.element_store(slots, at, value)
            return
        if step != 1:
            raise CompileError(f"register buffer {buffer} is stored with stride {step}")
        old = slots.get(at)
        if old is None or old.valid <= self.extent:
            slots[at] = _Slot(self.broadcast(value, self.lanes), self.extent)
            return
        wide = function.widen(self, self.broadcast(value, self.lanes), old.value.lanes)
        mask = function.mask(self.extent, old.value.lanes)
        kind = llvm_type(value.type, old.value.lanes)
        name = self.emit(
            f"select <{old.value.lanes} x i1> {mask}, {kind} {wide.text}, {kind} {old.value.text}"
        )
        slots[at] = _Slot(Value(name, value.type, old.value.lanes), old.valid)

    def register_load(self, load: Load) -> Value:
        """Elements of a register buffer: a vector as it was stored, a scalar, or a column."""
        at, step = self.constant_index(load.buffer, load.index)
        slots = self.registers[load.buffer]
        if self.lane is None or step == 0:
            return self.element(load.buffer, at)
        if step == 1:
            value = slots[at].value
            if value.lanes < self.lanes:
                raise CompileError(
                    f"{load.buffer} holds {value.lanes} lanes, {self.lanes} are read"
                )
            return function.narrow(self, value, self.lanes)
        return self.column(load.buffer, at, step)

    def column(self, buffer: Buffer, at: int, step: int) -> Value:
        """Element `at` of every row of `step` elements; shuffles transpose the rows once."""
        slots = self.registers[buffer]
        rows = [slots[row * step] for row in range(self.extent)]
        key = (rows[0].value.text, self.lanes)
        if key not in self.columns:
            width = rows[0].value.lanes
            side = max(width, self.lanes)
            square = [function.widen(self, row.value, side) for row in rows]
            square += [square[-1]] * (side - len(square))
            self.columns[key] = function.transpose(self, square)
        return function.narrow(self, self.columns[key][at % step], self.lanes)

    def product_of_part(self, store: Store) -> Value | None:
        """acc = fma(x, y, acc) for the first lanes of a wider accumulator; None where it is not.

        The lanes that are left add 0 * 0, which takes less than to put back what was there.
        """
        value = store.value
        if self.lane is None or not isinstance(value, Op) or value.name != "fma":
            return None
        if value.args[2] != Load(store.buffer, store.index):
            return None
        at, step = self.constant_index(store.buffer, store.index)
        old = self.registers[store.buffer].get(at)
        if step != 1 or old is None or old.valid <= self.extent or old.value.lanes != self.lanes:
            return None
        mask = function.mask(self.extent, self.lanes)
        factors = []
        for arg in value.args[:2]:
            x = self.broadcast(self.value(arg), self.lanes)
            name = self.emit(
                f"select <{self.lanes} x i1> {mask}, {x.kind} {x.text}, {x.kind} zeroinitializer"
            )
            factors.append(Value(name, x.type, x.lanes))
        return operation(self, "fma", [*factors, old.value], value.type)

    def element_store(self, slots: dict[int, _Slot], at: int, value: Value) -> None:
        """Set one element: a slot of its own, or a lane of the vector that holds it."""
        for start, slot in slots.items():
            if start <= at < start + slot.valid and slot.value.lanes > 1:
                kind, old = slot.value.kind, slot.value
                name = self.emit(
                    f"insertelement {kind} {old.text}, {value.kind} {value.text}, i64 {at - start}"
                )
                slots[start] = _Slot(Value(name, old.type, old.lanes), slot.valid)
                return
        slots[at] = _Slot(value, 1)

    def element(self, buffer: Buffer, at: int) -> Value:
        """One element, out of a vector where it lies in one."""
        for start, slot in self.registers[buffer].items():
            if start <= at < start + slot.valid:
                if slot.value.lanes == 1:
                    return slot.value
                kind = llvm_type(slot.value.type, slot.value.lanes)
                name = self.emit(f"extractelement {kind} {slot.value.text}, i64 {at - start}")
                return Value(name, slot.value.type, 1)
        raise CompileError(f"element {at} of {buffer} was not stored")

    def reduce(self, reduce: Reduce) -> Value:
        """The lanes of one register combined, or of one register for each lane."""
        at, step = self.constant_index(reduce.buffer, reduce.index)
        slots = self.registers[reduce.buffer]
        if self.lane is None or step == 0:
            return horizontal(self, reduce.op, slots[at].value)
        rows = [slots[at + row * step].value for row in range(self.extent)]
        return horizontal_rows(self, reduce.op, rows, self.lanes)


def is_split(kernel: Kernel) -> bool:
    """Whether the kernel takes the number of its worker."""
    return any(isinstance(s, For) and s.kind == "parallel" for s in statements(kernel.body))


def parameters_of(kernel: Kernel) -> str:
    """What the function of a kernel takes."""
    return "ptr %table, i64 %worker, i64 %workers" if is_split(kernel) else "ptr %table"


def step_text(
    name: str, blocks: Sequence[CacheBlock], stops: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The function that runs all kernels, the shares of a block in a loop.

    `stops` gives for a kernel what is to be done behind it: text that goes on at the label `go`, or
    to the `end`.
    """
    stops = stops or {}
    lines = [f"define void @{name}(ptr %table) nounwind #0 {{"]
    if any(block.shares > 1 for block in blocks):
        lines.append("entry:")
    before = "entry"
    for number, block in enumerate(blocks):
        share, here = "0", f"block{number}"
        if block.shares > 1:
            share = f"%share{number}"
            lines += [
                f"  br label %{here}",
                f"{here}:",
                f"  {share} = phi i64 [ 0, %{before} ], [ %next{number}, %{here} ]",
            ]
        for kernel in block.kernels:
            rest = f", i64 {share}, i64 {block.shares}" if is_split(kernel) else ""
            lines.append(f"  call void @{kernel.name}(ptr %table{rest})")
            if kernel.name in stops:
                lines += stops[kernel.name]
                before = "go"
        if block.shares > 1:
            before = f"{here}.end"
            lines += [
                f"  %next{number} = add nuw nsw i64 {share}, 1",
                f"  %more{number} = icmp ult i64 %next{number}, {block.shares}",
                f"  br i1 %more{number}, label %{here}, label %{before}",
                f"{before}:",
            ]
    if stops:
        lines += ["  br label %end", "end:"]
    return "\n".join([*lines, "  ret void", "}", ""])
