"""Every index lies inside its buffer, whatever the memory holds.

An index is a sum of variables; the extents of loops and the arithmetic of `Let` say which integers
each of them may be. The condition of a loop, `0 <= i + k - 1 < 28`, is used where an index has that
sum in it: 28*i + 28*k - 28 + j is 28*s + j for a sum s between 0 and 27. What may come from data is
any integer of its type, until it is held to a range by a minimum and a maximum.

Vectors are whole: the lanes behind the last round of a loop may read, and write, what lies behind
the last element of a row or of a buffer, but no further than its slack (`mynn.target.storage`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.loop_ir.ranges import TYPE_RANGES, Range, range_of
from mynn.errors import VerifyError
from mynn.target.storage import SLACK

_ANY = TYPE_RANGES["i64"]


def verify_bounds(where: str, body: Iterable[ir.Statement | ir.Action]) -> None:
    """Raise `VerifyError` where an index may lie outside its buffer."""
    _Bounds(where).body(body)


class _Bounds:
    """Walks a program with what its variables may be."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.variables: dict[str, Range] = {}
        # Variables that are bound to an index, written out.
        self.indices: dict[str, Affine] = {}
        # Conditions of the loops around, inner ones last, each with the variable of its loop.
        self.conditions: list[tuple[str, ir.Within]] = []
        # The vector loop around: its variable, and the lanes of its vectors.
        self.lane: tuple[str, int] | None = None

    def body(self, body: Iterable[ir.Statement | ir.Action]) -> None:
        """Look at statements; what they bind is unknown behind them."""
        bound: list[str] = []
        for statement in body:
            if isinstance(statement, ir.For):
                self.loop(statement)
            elif isinstance(statement, ir.Let):
                self.expr(statement.value)
                bound.append(statement.name)
                self.let(statement.name, statement.value)
            elif isinstance(statement, ir.Store):
                self.expr(statement.value)
                self.access(statement.buffer, statement.index)
            elif isinstance(statement, ir.If | ir.While):
                self.expr(statement.condition)
                self.body(statement.body)
                if isinstance(statement, ir.If):
                    self.body(statement.orelse)
            elif isinstance(statement, ir.Atomic | ir.Call):
                if isinstance(statement, ir.Atomic):
                    self.access(statement.buffer, statement.index)
                self.all(statement.args)
            elif isinstance(statement, ir.View):
                self.expr(statement.address)
            elif isinstance(statement, ir.Declare | ir.Assign | ir.Return):
                self.all([] if statement.value is None else [statement.value])
        for name in bound:
            self.variables.pop(name, None)
            self.indices.pop(name, None)

    def let(self, name: str, value: ir.Expr) -> None:
        """Note what a variable may be."""
        if isinstance(value, Affine) and all(term in self.variables for term, _ in value.terms):
            self.indices[name] = self.written_out(value)
        found = range_of(value, self.variables, self.range)
        if found is not None:
            self.variables[name] = found

    def loop(self, loop: ir.For) -> None:
        """Look at a loop, unless it has no round."""
        low, high = 0, loop.extent - 1
        self.variables[loop.var] = low, high
        for condition in loop.where:
            step, offset = condition.index.coefficient(loop.var), condition.index.without(loop.var)
            least, most = self.range(offset)
            low = max(low, -(most // step))
            high = min(high, (condition.extent - 1 - least) // step)
        if low <= high:
            self.variables[loop.var] = low, high
            self.conditions += [(loop.var, condition) for condition in loop.where]
            if loop.kind == "vector" and loop.extent > 1:
                self.lane = loop.var, 1 << (loop.extent - 1).bit_length()
            self.body(loop.body)
            if loop.kind == "vector":
                self.lane = None
            del self.conditions[len(self.conditions) - len(loop.where) :]
        del self.variables[loop.var]

    # -- accesses ----------------------------------------------------------------------------------

    def all(self, exprs: Iterable[ir.Expr]) -> None:
        """Look at some expressions."""
        for expr in exprs:
            self.expr(expr)

    def expr(self, expr: ir.Expr) -> None:
        """Look at an expression and all in it."""
        if isinstance(expr, ir.Op):
            self.all(expr.args)
            if expr.name in ("quotient", "remainder"):
                self.divides(expr)
        elif isinstance(expr, ir.Load):
            self.access(expr.buffer, expr.index)
        elif isinstance(expr, ir.Reduce):
            self.access(expr.buffer, expr.index, expr.count)

    def divides(self, op: ir.Op) -> None:
        """Look at a division: of what is not negative, by what is positive."""
        for arg, least in zip(op.args, (0, 1), strict=True):
            found = range_of(arg, self.variables, self.range)
            if found is not None and found[0] < least:
                raise VerifyError(f"{self.where}: {op.name} of what may be {found[0]}")

    def access(self, buffer: ir.Buffer, index: Affine, count: int = 1) -> None:
        """Look at `count` elements of a buffer."""
        if not buffer.elements and buffer.storage == "view":
            return
        index = self.written_out(index)
        low, high = self.range(index)
        if low < 0 or high + count > buffer.elements:
            raise VerifyError(
                f"{self.where}: {buffer}[{index}] goes from {low} to {high + count - 1}, "
                f"{buffer} has {buffer.elements} elements"
            )
        if self.lane is None or buffer.storage == "register":
            return
        name, lanes = self.lane
        step = index.coefficient(name)
        if step < 1 or step >= lanes:
            return
        # Lanes that read or write behind the last round, in whole vectors.
        extent = self.variables[name][1]
        first = self.range(index.without(name))[1]
        end = first + step * extent // lanes * lanes + lanes
        slack = SLACK // DTYPES[buffer.type].itemsize
        if end > buffer.elements + slack:
            raise VerifyError(
                f"{self.where}: vectors of {buffer}[{index}] reach {end}, {buffer} has "
                f"{buffer.elements} elements and a slack of {slack}"
            )

    # -- indices -----------------------------------------------------------------------------------

    def written_out(self, index: Affine) -> Affine:
        """An index without variables that are bound to other indices."""
        if not any(name in self.indices for name, _ in index.terms):
            return index
        total = Affine(index.constant)
        for name, coefficient in index.terms:
            total = total + self.indices.get(name, Affine.var(name)) * coefficient
        return total

    def range(self, index: Affine) -> Range:
        """The integers that an index may be."""
        low = high = index.constant
        for name, coefficient in index.terms:
            ends = self.variables.get(name, _ANY)
            low += coefficient * ends[coefficient < 0]
            high += coefficient * ends[coefficient > 0]
        for name, condition in self.conditions:
            factor, remainder = divmod(index.coefficient(name), condition.index.coefficient(name))
            if factor and not remainder:
                inner = self.range(index + condition.index * -factor)
                ends = 0, condition.extent - 1
                low = max(low, inner[0] + factor * ends[factor < 0])
                high = min(high, inner[1] + factor * ends[factor > 0])
        return low, high
