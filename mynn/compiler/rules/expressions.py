"""Expressions of a loop body: values bound to variables, integers as indices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Const, Expr, Let, Op, Statement, Var
from mynn.compiler.loop_ir.walk import expr_type


class Names:
    """Fresh variable names, unique within a kernel."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def fresh(self, prefix: str = "t") -> str:
        """A name that was not given before."""
        return f"{prefix}{next(self._count)}"


class Expressions:
    """Builds the `Let`s of one loop body.

    `extents`: how many values the variables of loops around take, where that is known.
    """

    def __init__(self, names: Names, extents: Mapping[str, int] | None = None) -> None:
        self.names = names
        self.extents = extents or {}
        self.body: list[Statement] = []
        self.quotients: dict[tuple[Affine, int, int], Affine] = {}

    def let(self, value: Expr) -> Expr:
        """Bind a value to a variable, unless it is a number or a variable already."""
        if isinstance(value, Const | Var):
            return value
        name = self.names.fresh()
        self.body.append(Let(name, value))
        return Var(name, expr_type(value))

    def integer(self, value: Expr) -> Affine:
        """An integer expression as an index."""
        if isinstance(value, Affine):
            return value
        if isinstance(value, Const):
            return Affine(int(value.value))
        if expr_type(value) != INDEX:
            value = Op("cast", (value,), INDEX)
        bound = self.let(value)
        assert isinstance(bound, Var)
        return Affine.var(bound.name)

    def divide(self, value: Affine, divisor: int, modulus: int) -> Affine:
        """(value // divisor) % modulus, for value >= 0."""
        if all(c % divisor == 0 for _, c in value.terms):
            terms = tuple((name, c // divisor) for name, c in value.terms)
            value, divisor = Affine(value.constant // divisor, terms), 1
            if all(c % modulus == 0 for _, c in terms):
                return Affine(value.constant % modulus)
            if self.largest(value) < modulus:
                return value
        key = (value, divisor, modulus)
        if key not in self.quotients:
            result: Expr = value
            if divisor != 1:
                result = Op("quotient", (result, Const(divisor, INDEX)), INDEX)
            result = Op("remainder", (result, Const(modulus, INDEX)), INDEX)
            self.quotients[key] = self.integer(result)
        return self.quotients[key]

    def largest(self, value: Affine) -> float:
        """What an index is at most."""
        ends = (c * (self.extents.get(name, math.inf) - 1) for name, c in value.terms)
        return value.constant + sum(max(end, 0) for end in ends)

    def clamp(self, value: Affine, extent: int) -> Affine:
        """The nearest valid index into an axis."""
        low = Op("maximum", (value, Const(0, INDEX)), INDEX)
        return self.integer(Op("minimum", (low, Const(extent - 1, INDEX)), INDEX))

    def both(self, a: Expr | None, b: Expr) -> Expr:
        """Logical and, where None stands for true."""
        return b if a is None else self.let(Op("bitwise_and", (a, b), "bool"))
