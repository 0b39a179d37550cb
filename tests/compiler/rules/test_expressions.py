"""Index arithmetic: what is not written because it holds anyway, and that the rest is right."""

from __future__ import annotations

import itertools

import pytest

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Const, Expr, Let, Op, Var
from mynn.compiler.rules.expressions import Expressions, Names

OPERATIONS = {
    "maximum": max,
    "minimum": min,
    "quotient": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "less_equal": lambda a, b: a <= b,
    "bitwise_and": lambda a, b: a and b,
}


def number(expr: Expr, known: dict[str, int]) -> int:
    """The value of an expression, the variables known."""
    if isinstance(expr, Affine):
        return expr.constant + sum(c * known[name] for name, c in expr.terms)
    if isinstance(expr, Var):
        return known[expr.name]
    if isinstance(expr, Const):
        return int(expr.value)
    assert isinstance(expr, Op)
    return OPERATIONS[expr.name](*(number(arg, known) for arg in expr.args))


def rounds(e: Expressions, extents: dict[str, int]) -> list[dict[str, int]]:
    """The variables in each round of loops, those that `e` binds too."""
    found = []
    for values in itertools.product(*map(range, extents.values())):
        known = dict(zip(extents, values, strict=True))
        for statement in e.body:
            assert isinstance(statement, Let)
            known[statement.name] = number(statement.value, known)
        found.append(known)
    return found


def prepared(told: bool, *extents: int) -> tuple[Expressions, dict[str, int]]:
    names = Names()
    return Expressions(names), {names.fresh("i", n if told else None): n for n in extents}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("scale", "start", "extent"), [(1, -1, 5), (1, 0, 7), (2, -3, 9), (-1, 6, 7)]
)
def test_clamp_and_within(told: bool, scale: int, start: int, extent: int) -> None:
    e, loops = prepared(told, 7)
    (i,) = loops
    at = Affine.var(i, scale) + start
    place, valid = e.clamp(at, extent), e.within(None, at, extent - 1)
    again = e.clamp(at, extent), e.within(None, at, extent - 1)
    assert again[0] == place
    for known in rounds(e, loops):
        wanted = number(at, known)
        assert number(place, known) == min(max(wanted, 0), extent - 1)
        assert (valid is None or bool(number(valid, known))) == (0 <= wanted < extent)
    if told and min(start, start + 6 * scale) >= 0 and max(start, start + 6 * scale) < extent:
        assert (place, valid, e.body) == (at, None, [])


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("divisor", "modulus"), [(1, 3), (2, 3), (2, 16), (3, 2), (12, 5), (1, 50)]
)
def test_divide(told: bool, divisor: int, modulus: int) -> None:
    e, loops = prepared(told, 6, 7)
    i, j = loops
    at = Affine.var(i, 7) + Affine.var(j)
    found = e.divide(at, divisor, modulus)
    assert e.divide(at, divisor, modulus) == found
    for known in rounds(e, loops):
        assert number(found, known) == number(at, known) // divisor % modulus
        assert e.range(found)[0] <= number(found, known) <= e.range(found)[1]
    names = [s.value.name for s in e.body if isinstance(s, Let) and isinstance(s.value, Op)]
    assert ("remainder" in names) == (not told or 41 // divisor >= modulus)


def test_an_index_from_data_is_always_held_to_its_range() -> None:
    e = Expressions(Names())
    row = e.clamp(Affine.var("row"), 4)
    assert e.range(row) == (0, 3)
    for known in ({"row": -5}, {"row": 2}, {"row": 9}):
        for statement in e.body:
            assert isinstance(statement, Let)
            known[statement.name] = number(statement.value, known)
        assert number(row, known) == min(max(known["row"], 0), 3)
    assert e.clamp(row, 4) == row
