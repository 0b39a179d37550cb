"""Expressions and indices of the loop IR as values."""

from __future__ import annotations

from collections.abc import Collection

from mynn.base.dataclass import dataclass
from mynn.compiler.codegen import memory
from mynn.compiler.codegen.addresses import Addresses, Terms
from mynn.compiler.codegen.function import Function, index
from mynn.compiler.codegen.ops import operation
from mynn.compiler.codegen.registers import Registers, VectorContext
from mynn.compiler.codegen.values import Value, constant, vector
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.errors import CompileError

# What addresses are made of. A float stays where it is needed: as part of an instruction its load
# takes no register.
_INDICES = ("i32", "i64")


@dataclass(frozen=True, slots=True)
class Parts:
    """An index: constant, terms that are scalars, coefficient of the lane, terms for each lane."""

    constant: int
    scalars: Terms
    step: int
    vectors: tuple[Value, ...]


class Expressions:
    """The values of expressions; `env` holds the variables, those of unrolled loops as numbers.

    `fixed` are buffers in which nothing changes while the function runs.
    """

    def __init__(
        self,
        function: Function,
        addresses: Addresses,
        registers: Registers,
        fixed: Collection[ir.Buffer] = (),
    ) -> None:
        self.function = function
        self.addresses = addresses
        self.registers = registers
        self.fixed = fixed
        self.env: dict[str, Value | int] = {}
        self._loads: dict[ir.Buffer, dict[tuple[Parts, int], Value]] = {}

    def value(self, expr: ir.Expr, v: VectorContext) -> Value:
        """An expression as an SSA value or a constant."""
        if isinstance(expr, ir.Op):  # the most of them
            args = [self.value(arg, v) for arg in expr.args]
            return operation(self.function, expr.name, args, expr.type)
        if isinstance(expr, ir.Var):
            found = self.env[expr.name]
            return index(found) if isinstance(found, int) else found
        if isinstance(expr, ir.Load):
            return self.load(expr, v)
        if isinstance(expr, ir.Const):
            return constant(expr.value, expr.type)
        if isinstance(expr, Affine):
            return self.affine(expr, v)
        if isinstance(expr, ir.Reduce):
            at, step = self.in_registers(expr.buffer, expr.index, v)
            return self.registers.reduce(expr.op, expr.buffer, at, step, v)
        return Value(f"@{expr.name}", expr.type)

    # -- indices -----------------------------------------------------------------------------------

    def parts(self, at: Affine, v: VectorContext) -> Parts:
        """An index by what varies in it."""
        total, step = at.constant, 0
        scalars: list[tuple[Value, int]] = []
        vectors: list[Value] = []
        for name, coefficient in at.terms:
            if name == v.lane:
                step = coefficient
                continue
            value = self.env[name]
            if isinstance(value, int):
                total += value * coefficient
            elif value.lanes == 1:
                scalars.append((value, coefficient))
            else:
                vectors.append(self._scaled(value, coefficient))
        return Parts(total, tuple(scalars), step, tuple(vectors))

    def _scaled(self, value: Value, factor: int) -> Value:
        if factor == 1:
            return value
        return self.function.binary("mul", value, constant(factor, value.type, value.lanes))

    def affine(self, at: Affine, v: VectorContext) -> Value:
        """The value of an index."""
        f, parts = self.function, self.parts(at, v)
        total = index(parts.constant)
        if parts.scalars:
            scalars = self.addresses.sum(parts.scalars)
            total = f.binary("add nsw", scalars, total) if parts.constant else scalars
        vectors = parts.vectors
        if parts.step:
            steps = vector([parts.step * i for i in range(v.lanes)], "i64")
            vectors = (Value(steps, ir.INDEX, v.lanes), *vectors)
        for value in vectors:
            if total.text == "0":
                total = value
            else:
                total = f.binary("add", f.broadcast(total, value.lanes), value)
        return total

    def in_registers(self, buffer: ir.Buffer, at: Affine, v: VectorContext) -> tuple[int, int]:
        """The first element and the lane coefficient of an index into registers."""
        parts = self.parts(at, v)
        if parts.scalars or parts.vectors:
            raise CompileError(f"register buffer {buffer} is indexed by a variable: {at}")
        return parts.constant, parts.step

    # -- memory ------------------------------------------------------------------------------------

    def forget_loads(self, buffer: ir.Buffer | None = None) -> None:
        """What was loaded, of a buffer or at all, may not be there any more."""
        if buffer is None:
            self._loads.clear()
        else:
            self._loads.pop(buffer, None)

    def load(self, load: ir.Load, v: VectorContext) -> Value:
        """An element, or one for each lane."""
        if load.buffer in self.registers:
            at, step = self.in_registers(load.buffer, load.index, v)
            return self.registers.load(load.buffer, at, step, v)
        parts = self.parts(load.index, v)
        if load.buffer.storage == "view":  # shared with other views, and other threads
            return self._load(load, parts, v)
        if load.buffer in self.fixed and not (parts.scalars or parts.step or parts.vectors):
            base = self.addresses.base(load.buffer)
            return memory.load_fixed(self.function, load.buffer.type, base, parts.constant)
        if (
            load.buffer in self.fixed
            and load.type in _INDICES
            and not (parts.step or parts.vectors)
        ):
            pointer = self.addresses.pointer(load.buffer, parts.constant, parts.scalars)
            return memory.load_steady(self.function, load.type, pointer)
        # By what the names stand for: in an unrolled loop that is something else each round.
        known, key = self._loads.setdefault(load.buffer, {}), (parts, v.extent)
        found = known.get(key)
        if found is None:
            found = known[key] = self._load(load, parts, v)
        return found

    def _load(self, load: ir.Load, parts: Parts, v: VectorContext) -> Value:
        f, type, step = self.function, load.buffer.type, parts.step
        strided = v.extent > 1 and 1 < step <= memory.MOST_STEPS
        backward = v.extent > 1 and step == -1
        if parts.vectors or not (step in (0, 1) or strided or backward):
            base = self.addresses.base(load.buffer)
            return memory.gather(f, type, base, self.affine(load.index, v), v.extent)
        if backward:
            first = parts.constant - (v.extent - 1)
            pointer = self.addresses.pointer(load.buffer, first, parts.scalars)
            return memory.load_backward(f, type, pointer, v.extent, v.lanes)
        pointer = self.addresses.pointer(load.buffer, parts.constant, parts.scalars)
        if strided:
            return memory.load_strided(f, type, pointer, step, v.extent, v.lanes)
        return memory.load(f, type, pointer, v.lanes if step else 1)

    def store(self, store: ir.Store, v: VectorContext) -> None:
        """Set an element, or one for each lane."""
        buffer = store.buffer
        if buffer in self.registers:
            self._store_register(store, v)
            return
        f, value = self.function, self.value(store.value, v)
        self.forget_loads(buffer)
        parts = self.parts(store.index, v)
        if v.lane is None and not parts.vectors:
            memory.store(f, value, self.addresses.pointer(buffer, parts.constant, parts.scalars))
            return
        value = f.broadcast(value, v.lanes)
        if parts.step == 1 and not parts.vectors:
            rows = [c for _, c in parts.scalars] + [parts.constant, buffer.pitch]
            whole = buffer.storage == "scratch" or all(c % v.lanes == 0 for c in rows)
            pointer = self.addresses.pointer(buffer, parts.constant, parts.scalars)
            memory.store(f, value, pointer, v.lanes if whole else v.extent)
            return
        at = f.broadcast(self.affine(store.index, v), v.lanes)
        memory.scatter(f, value, self.addresses.base(buffer), at, v.extent)

    def _store_register(self, store: ir.Store, v: VectorContext) -> None:
        buffer, value = store.buffer, store.value
        at, step = self.in_registers(buffer, store.index, v)
        if isinstance(value, ir.Op) and value.name == "fma":
            x, y, old = value.args
            if old == ir.Load(buffer, store.index) and self.registers.is_part(buffer, at, step, v):
                factors = (self.value(arg, v) for arg in (x, y))
                self.registers.add_to_part(buffer, at, factors, v)
                return
        self.registers.store(buffer, at, step, self.value(value, v), v)
