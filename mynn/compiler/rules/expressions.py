"""Expressions of a loop body: values bound to variables, integers as indices."""

from __future__ import annotations

import itertools

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Const, Expr, Let, Op, Statement, Var
from mynn.compiler.loop_ir.walk import expr_type

# Further than any index.
_FAR = 2**62


class Names:
    """Fresh variable names, unique within a kernel.

    `extents`: how many values, from 0 on, variables take, where that is known.
    """

    def __init__(self) -> None:
        self._count = itertools.count()
        self.extents: dict[str, int] = {}

    def fresh(self, prefix: str = "t", extent: int | None = None) -> str:
        """A name that was not given before, of a variable that takes so many values."""
        name = f"{prefix}{next(self._count)}"
        if extent is not None:
            self.extents[name] = extent
        return name


def bind(names: Names, body: list[Statement], value: Expr) -> Expr:
    """Bind a value to a new variable in a body, unless it is a number or a variable already."""
    if isinstance(value, (Const, Var)):
        return value
    name = names.fresh()
    body.append(Let(name, value))
    return Var(name, expr_type(value))


class Expressions:
    """Builds the `Let`s of one loop body.

    `quotients`: the quotients and remainders that are computed, each as value, divisor and modulus.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.body: list[Statement] = []
        self.quotients: set[tuple[Affine, int, int]] = set()
        self._indices: dict[Expr, Affine] = {}
        self._tests: dict[tuple[Affine, int], list[Expr]] = {}

    def let(self, value: Expr) -> Expr:
        """Bind a value to a variable, unless it is a number or a variable already."""
        return bind(self.names, self.body, value)

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

    def _index(self, value: Op, extent: int) -> Affine:
        """An index that takes the values from 0 to extent - 1, computed once."""
        found = self._indices.get(value)
        if found is None:
            found = self._indices[value] = self.integer(value)
            self.names.extents[found.terms[0][0]] = extent
        return found

    def divide(self, value: Affine, divisor: int, modulus: int) -> Affine:
        """(value // divisor) % modulus, for value >= 0."""
        if all(c % divisor == 0 for _, c in value.terms):
            terms = tuple((name, c // divisor) for name, c in value.terms)
            value, divisor = Affine(value.constant // divisor, terms), 1
            if all(c % modulus == 0 for _, c in terms):
                return Affine(value.constant % modulus)
        elif (whole := self._whole_part(value, divisor)) is not None:
            value, divisor = whole, 1
        if divisor == 1 and (whole := self._whole_part(value, modulus)) is not None:
            return value + whole * -modulus
        most = self.range(value)[1] // divisor
        result: Expr = value
        if divisor != 1:
            result = Op("quotient", (result, Const(divisor, INDEX)), INDEX)
        if most >= modulus:
            most, result = modulus - 1, Op("remainder", (result, Const(modulus, INDEX)), INDEX)
        if not isinstance(result, Op):
            return value
        self.quotients.add((value, divisor, modulus))
        return self._index(result, most + 1)

    def _whole_part(self, value: Affine, divisor: int) -> Affine | None:
        """value // divisor, where it can be read off: a multiple, and what is less than one."""
        terms = tuple((name, c // divisor) for name, c in value.terms if c % divisor == 0)
        whole = Affine(value.constant // divisor, terms)
        least, most = self.range(value + whole * -divisor)
        return whole if least >= 0 and most < divisor else None

    def range(self, value: Affine) -> tuple[int, int]:
        """What an index is at least and at most."""
        least = most = value.constant
        for name, c in value.terms:
            extent = self.names.extents.get(name)
            if extent is None:
                return -_FAR, _FAR
            end = c * (extent - 1)
            least, most = least + min(end, 0), most + max(end, 0)
        return least, most

    def clamp(self, value: Affine, extent: int) -> Affine:
        """The nearest valid index into an axis."""
        least, most = self.range(value)
        result: Expr = value
        if least < 0:
            result = Op("maximum", (result, Const(0, INDEX)), INDEX)
        if most >= extent:
            result = Op("minimum", (result, Const(extent - 1, INDEX)), INDEX)
        return self._index(result, extent) if isinstance(result, Op) else value

    def within(self, valid: Expr | None, value: Affine, most: int) -> Expr | None:
        """`valid` and 0 <= value <= most, without what holds anyway; None stands for true."""
        tests = self._tests.get((value, most))
        if tests is None:
            low, high = self.range(value)
            bounds: list[tuple[Expr, Expr]] = [(Const(0, INDEX), value)] if low < 0 else []
            bounds += [(value, Const(most, INDEX))] if high > most else []
            tests = [self.let(Op("less_equal", pair, "bool")) for pair in bounds]
            self._tests[value, most] = tests
        for test in tests:
            valid = self.both(valid, test)
        return valid

    def both(self, a: Expr | None, b: Expr) -> Expr:
        """Logical and, where None stands for true."""
        return b if a is None else self.let(Op("bitwise_and", (a, b), "bool"))
