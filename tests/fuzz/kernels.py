"""Random kernels of the loop IR: nests of loops of all kinds, conditions, registers, scratch
memory, all operations and types.

Buffers are read or written, never both, and each statement of a kernel's body writes buffers of its
own: so every order of the workers' shares, and of the rounds of a vector loop, means the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mynn.compiler.codegen.math import UNARY_OPS
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
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
    Within,
)
from mynn.compiler.loop_ir.op_types import COMPARISONS, PRIMITIVES, op_type
from mynn.compiler.loop_ir.verify import verify_kernel
from mynn.errors import VerifyError

TYPES = ("f32", "f32", "f64", "i32", "i64", "u32", "u8", "bool")
# Elements of a buffer, of a row of it, and of the values in that row.
SIZE, PITCH = 192, 16
STEPS = (0, 1, 1, 2, 3, 5, 16)
MATH = (*UNARY_OPS, "pow", "atan2")
# Functions of their own for floats alone.
QUOTIENTS = ("mod", "floor_divide")


@dataclass
class Scope:
    """What is known at a place: variables with their types, indices with their largest values.

    `lane` is the loop of the vector; an index of `fixed` is a number when the kernel is written.
    """

    variables: dict[str, str] = field(default_factory=dict)
    extents: dict[str, int] = field(default_factory=dict)
    lane: tuple[str, int] | None = None

    def inside(self, var: str, extent: int, vector: bool = False) -> Scope:
        """The scope of a loop's body."""
        lane = (var, extent) if vector else self.lane
        return Scope(dict(self.variables), {**self.extents, var: extent}, lane)


class Generator:
    """Draws kernels."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.name = f"r{seed}"
        self.count = 0
        self.inputs = [Buffer(f"{self.name}.in.{type}", type, SIZE) for type in set(TYPES)]
        self.inputs.sort(key=lambda buffer: buffer.name)
        self.outputs: list[Buffer] = []

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    # -- indices -----------------------------------------------------------------------------------

    def index(
        self, scope: Scope, size: int, steps: Sequence[int] = (0, 1, 1, 2, 3, 5, 16)
    ) -> Affine:
        """An index below `size`, for all rounds of the loops around."""
        index, low, high = Affine(), 0, 0
        for name in self.rng.permutation(list(scope.extents)):
            step = int(self.pick(steps))
            if scope.lane is not None and name == scope.lane[0]:
                step = int(self.pick((0, 1, 1, 1, 1, 2, 3, 4, 7, -1)))
            span = step * (scope.extents[name] - 1)
            if max(high, high + span) - min(low, low + span) < size:
                index = index + Affine.var(str(name), step)
                low, high = min(low, low + span), max(high, high + span)
        return index + int(self.rng.integers(-low, size - high))

    def picked_by_data(self, scope: Scope) -> Statement:
        """A variable that data says, held to a range."""
        extent, name = int(self.rng.integers(1, 30)), self.fresh("p")
        source = self.value(scope, "i64", 1)
        low = Op("maximum", (source, Affine()), "i64")
        scope.variables[name], scope.extents[name] = "i64", extent
        return Let(name, Op("minimum", (low, Affine(extent - 1)), "i64"))

    # -- expressions -------------------------------------------------------------------------------

    def number(self, type: str) -> Const:
        """A constant."""
        if type == "bool":
            return Const(self.chance(0.5), type)
        if type in ("f32", "f64"):
            return Const(float(np.float32(self.rng.uniform(-3, 3))), type)
        return Const(int(self.rng.integers(0 if type[0] == "u" else -9, 10)), type)

    def value(self, scope: Scope, type: str, depth: int) -> Expr:
        """An expression of a type."""
        roll = self.rng.random()
        known = [name for name, of in scope.variables.items() if of == type]
        if depth == 0 or roll < 0.2:
            if known and self.chance(0.5):
                return Var(self.pick(known), type)
            if type == "i64" and scope.extents and self.chance(0.4):
                return self.index(scope, 50)
            if self.chance(0.25):
                return self.number(type)
            buffer = next(buffer for buffer in self.inputs if buffer.type == type)
            return Load(buffer, self.index(scope, SIZE))
        while True:
            op = self.operation(scope, type, depth - 1)
            if op is not None:
                return op

    def operation(self, scope: Scope, type: str, depth: int) -> Op | None:
        """An operation that gives a type, or None where the draw has no such one."""
        name = self.pick(OPERATIONS)
        wide = scope.lane is not None and scope.lane[1] > 16
        if wide and (name in MATH or (name in QUOTIENTS and type in ("f32", "f64"))):
            return None
        if name == "cast":
            source = self.pick(TYPES)
            return Op(name, (self.value(scope, source, depth),), type)
        if name in ("quotient", "remainder"):
            if type != "i64":
                return None
            divisor = Affine(int(self.rng.integers(1, 9)))
            return Op(name, (self.index(scope, 60), divisor), type)
        if name == "shift_right":
            if type not in ("u8", "u32"):
                return None
            bits = Const(int(self.rng.integers(8)), type)
            return Op(name, (self.value(scope, type, depth), bits), type)
        operand = self.pick(TYPES) if name in COMPARISONS else type
        types = ("bool", operand, operand) if name == "where" else (operand,) * ARITIES[name]
        try:
            if op_type(name, types, "") != type:
                return None
        except VerifyError:
            return None
        return Op(name, tuple([self.value(scope, one, depth) for one in types]), type)

    # -- statements --------------------------------------------------------------------------------

    def output(self, scope: Scope, type: str) -> Buffer:
        """A new buffer: dense, so that vectors are masked, or of padded rows."""
        pitch = self.pick((1, 1, PITCH))
        if scope.lane is not None and scope.lane[1] > PITCH:
            pitch = 1
        name = f"{self.name}.out{len(self.outputs)}"
        self.outputs.append(Buffer(name, type, SIZE, pitch=pitch))
        return self.outputs[-1]

    def place(self, scope: Scope, buffer: Buffer, own: tuple[str, int] | None) -> Affine:
        """Where a store goes. `own` is the parallel loop: each of its rounds has rows of its own.

        Vectors that lie along padded rows begin at the rows' beginnings.
        """
        inner = Scope(extents=dict(scope.extents), lane=scope.lane)
        start, size = Affine(), buffer.elements
        if own is not None:
            del inner.extents[own[0]]
            size = size // own[1] // PITCH * PITCH
            start = Affine.var(own[0], size)
        if buffer.pitch != PITCH:
            return start + self.index(inner, size)
        lane = inner.lane
        if lane is not None:
            del inner.extents[lane[0]]
        row = self.index(inner, size // PITCH, (0, 1, 1, 2)) * PITCH
        if lane is None:
            return start + row + int(self.rng.integers(PITCH))
        return start + row + Affine.var(lane[0])

    def body(self, scope: Scope, own: tuple[str, int] | None, depth: int) -> list[Statement]:
        """Statements that write buffers of their own."""
        found: list[Statement] = []
        for _ in range(int(self.rng.integers(1, 4))):
            type, name = self.pick(TYPES), self.fresh("t")
            found.append(Let(name, self.value(scope, type, int(self.rng.integers(1, 4)))))
            scope.variables[name] = type
            if self.chance(0.25):
                found.append(self.picked_by_data(scope))
        if depth and scope.lane is None:
            nests = (self.loop, self.loop, self.accumulate, self.through_scratch)
            found += self.pick(nests)(scope, own, depth - 1)
        if not depth or scope.lane is not None or self.chance(0.3):
            type = self.pick(TYPES)
            buffer = self.output(scope, type)
            index = self.place(scope, buffer, own)
            found.append(Store(buffer, index, self.value(scope, type, 2)))
        return found

    def loop(self, scope: Scope, own: tuple[str, int] | None, depth: int) -> list[Statement]:
        """A loop of any kind."""
        kind = self.pick(("serial", "serial", "unroll", "vector", "vector"))
        extent = int(self.rng.integers(1, 5 if kind == "unroll" else 17))
        if kind == "vector" and self.chance(0.1):
            extent = 32
        if kind == "serial" and self.chance(0.05):
            extent = 0
        var = self.fresh("i")
        inner = scope.inside(var, max(extent, 1), kind == "vector")
        where: tuple[Within, ...] = ()
        if kind == "serial" and extent and self.chance(0.4):
            step = int(self.rng.integers(1, 4))
            around = self.index(scope, 9) + int(self.rng.integers(-9, 3))
            where = (Within(around + Affine.var(var, step), int(self.rng.integers(1, 20))),)
        body: list[Statement] = []
        if kind == "serial" and self.chance(0.2):
            body.append(Prefetch(self.inputs[0], self.index(inner, SIZE)))
        body += self.body(inner, own, depth)
        return [For(var, extent, tuple(body), kind, where)]

    def accumulate(self, scope: Scope, own: tuple[str, int] | None, depth: int) -> list[Statement]:
        """Registers that a serial loop changes, and what becomes of them."""
        type = self.pick(("f32", "f64", "i32", "i64", "u32"))
        lanes, rows = int(self.pick((2, 4, 8, 16))), int(self.rng.integers(1, 5))
        acc = Buffer(self.fresh("acc"), type, lanes * rows, "register")
        op = self.pick(("maximum", "minimum") if type[0] == "f" else ("add", "mul", "maximum"))
        found: list[Statement] = [Local(acc)]
        for row in range(rows):
            v, at = self.vector(scope, lanes)
            value = self.value(v, type, 1)
            found.append(
                For(at, lanes, (Store(acc, Affine.var(at) + row * lanes, value),), "vector")
            )
        k = self.fresh("k")
        inner = scope.inside(k, int(self.rng.integers(1, 6)))
        part = lanes if self.chance(0.6) else int(self.rng.integers(1, lanes + 1))
        changes: list[Statement] = []
        for row in range(rows):
            v, at = self.vector(inner, part)
            place = Affine.var(at) + row * lanes
            x, old = self.value(v, type, 2), Load(acc, place)
            new = Op(self.pick(("add", "mul", "maximum")), (old, x), type)
            if type[0] == "f" and self.chance(0.5):
                new = Op("fma", (x, self.value(v, type, 1), old), type)
            changes.append(For(at, part, (Store(acc, place, new),), "vector"))
        found.append(For(k, inner.extents[k], tuple(changes)))
        if self.chance(0.5):
            at = self.fresh("v")
            v = scope.inside(at, rows, vector=True)
            reduced: Expr = Reduce(op, acc, Affine.var(at, lanes), lanes)
            extent = rows
        else:
            v, at = self.vector(scope, lanes)
            reduced, extent = (
                Load(acc, Affine.var(at) + lanes * int(self.rng.integers(rows))),
                lanes,
            )
        name, buffer = self.fresh("t"), self.output(v, type)
        out = Store(buffer, self.place(v, buffer, own), Var(name, type))
        found.append(For(at, extent, (Let(name, reduced), out), "vector"))
        return found

    def vector(self, scope: Scope, extent: int) -> tuple[Scope, str]:
        """The scope of a vector loop, and its variable."""
        var = self.fresh("v")
        return scope.inside(var, extent, vector=True), var

    def through_scratch(
        self, scope: Scope, own: tuple[str, int] | None, depth: int
    ) -> list[Statement]:
        """Memory of the worker that is filled, and read in another order."""
        type, lanes, rows = self.pick(TYPES), int(self.pick((1, 2, 4, 8, 16))), 3
        tile = Buffer(self.fresh("tile"), type, lanes * rows, "scratch")
        row = self.fresh("i")
        v, at = self.vector(scope.inside(row, rows), lanes)
        place = Affine.var(row, lanes) + Affine.var(at)
        fill = For(at, lanes, (Store(tile, place, self.value(v, type, 2)),), "vector")
        found: list[Statement] = [Local(tile), For(row, rows, (fill,))]
        extent = int(self.rng.integers(1, 10))
        v, at = self.vector(scope, extent)
        buffer, name = self.output(v, type), self.fresh("t")
        load = Let(name, Load(tile, self.index(v, tile.elements)))
        out = Store(buffer, self.place(v, buffer, own), Var(name, type))
        return [*found, For(at, extent, (load, out), "vector")]

    def kernel(self) -> Kernel:
        """A kernel; half of them have parallel loops."""
        body: list[Statement] = []
        for _ in range(int(self.rng.integers(1, 4))):
            scope, own = Scope(), None
            if self.chance(0.4):
                var, extent = self.fresh("w"), int(self.rng.integers(1, 7))
                own = var, extent
                inner = scope.inside(var, extent)
                body.append(For(var, extent, tuple(self.body(inner, own, 2)), "parallel"))
            else:
                body += self.body(scope, own, 3)
        return Kernel(self.name, tuple(body))


def _arities() -> Iterator[tuple[str, int]]:
    rng = np.random.default_rng(0)
    for name, primitive in PRIMITIVES.items():
        yield name, len(primitive.samples(rng)[0].arrays)


ARITIES = {**dict(_arities()), "fma": 3, "threefry2x32": 4, "threefry2x32_second": 4}
OPERATIONS = (
    *ARITIES,
    "cast",
    "cast",
    "quotient",
    "remainder",
    "shift_right",
    "where",
    "add",
    "mul",
)


def random_kernel(seed: int) -> tuple[Kernel, list[Buffer]]:
    """A kernel that the checker accepts, and the buffers that it writes."""
    while True:
        g = Generator(seed)
        kernel = g.kernel()
        try:
            verify_kernel(kernel)
        except VerifyError as error:
            if "vectors of" not in str(error):
                raise
            seed += 1 << 32  # vectors that reach past the slack
            continue
        return replace(kernel, name=f"r{seed % (1 << 32)}"), g.outputs
