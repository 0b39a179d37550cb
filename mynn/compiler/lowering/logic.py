"""Choices of a loop body by logic alone: the first place of a window where something holds.

Whether a place is the first one is written as a comparison of numbers (`mynn.ops.reduce`):

    let hit0 = bitwise_or(equal(x0, y), not_equal(x0, x0))
    let hit1 = bitwise_or(equal(x1, y), not_equal(x1, x1))
    let first = minimum(where(hit0, 0.0, 4.0), where(hit1, 1.0, 4.0))
    let g0 = where(equal(first, 0.0), g, 0.0)
    let g1 = where(equal(first, 1.0), g, 0.0)

`Logic` takes down which variables are such numbers, and gives the same answers without them:

    let miss0 = bitwise_and(not_equal(x0, y), equal(x0, x0))
    let g0 = where(miss0, 0.0, g)
    let rest1 = where(miss0, g, 0.0)
    let miss1 = bitwise_and(not_equal(x1, y), equal(x1, x1))
    let g1 = where(miss1, 0.0, rest1)

What is left for the next place waits for one comparison a place, and not for all before it one
after the other. Two choices of which each may give the same number are one:

    where(a, 0.0, where(b, 0.0, g)) = where(bitwise_or(a, b), 0.0, g)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from mynn.compiler.loop_ir.ir import Const, Expr, Let, Op, Statement, Store, Var
from mynn.compiler.loop_ir.walk import variables

# What holds at each place of a window, the number of the place, and the number that means nowhere.
_Places = tuple[tuple[tuple[Expr, float], ...], float]


class Logic:
    """The choices of a loop body; `let` binds a value in it."""

    def __init__(self, let: Callable[[Expr], Expr]) -> None:
        self._bind = let
        self._made: dict[str, Op] = {}
        self._places: dict[str, _Places] = {}
        self._misses: dict[Expr, Expr] = {}
        self._left: dict[tuple[str, int, Expr, Const], Expr] = {}

    def let(self, value: Op) -> Expr:
        """Bind an operation, or what is equal to it."""
        if value.name == "where":
            value = self._first(*value.args) or value
            value = self._once(*value.args) or value
        result = self._bind(value)
        if isinstance(result, Var) and (value.type == "bool" or value.name in ("where", "minimum")):
            self._made[result.name] = value
            places = self._places_of(value)
            if places is not None:
                self._places[result.name] = places
        return result

    def without_unused(self, body: list[Statement]) -> list[Statement]:
        """The body without the choices that nothing reads any more."""
        wanted: set[str] = set()
        kept: list[Statement] = []
        for statement in reversed(body):
            if not isinstance(statement, Let | Store):
                return body
            if isinstance(statement, Store):
                wanted |= variables(statement.value) | variables(statement.index)
            elif statement.name in wanted or statement.name not in self._made:
                wanted |= variables(statement.value)
            else:
                continue
            kept.append(statement)
        return kept[::-1]

    def _op(self, value: Expr, name: str) -> Op | None:
        """The operation of this name that a variable is."""
        made = self._made.get(value.name) if isinstance(value, Var) else None
        return made if made is not None and made.name == name else None

    def _places_of(self, value: Op) -> _Places | None:
        """The places whose least one a value is: that of where(hit, place, nowhere), or several."""
        if value.name == "where":
            hit, place, nowhere = value.args
            if isinstance(place, Const) and isinstance(nowhere, Const):
                return ((hit, place.value),), nowhere.value
        if value.name != "minimum":
            return None
        before, after = map(self._known, value.args)
        if before is None or after is None or before[1] != after[1]:
            return None
        hits, last = (*before[0], *after[0]), before[1]
        numbers = [*(number for _, number in hits), last]
        rising = all(a < b for a, b in itertools.pairwise(numbers))
        return (hits, last) if rising else None

    def _known(self, x: Expr) -> _Places | None:
        return self._places.get(x.name) if isinstance(x, Var) else None

    def _first(self, condition: Expr, value: Expr, other: Expr) -> Op | None:
        """where(equal(least, place), value, number), least being the least of several places."""
        equal = self._op(condition, "equal")
        if equal is None or not isinstance(other, Const):
            return None
        least, place = equal.args[::-1] if isinstance(equal.args[0], Const) else equal.args
        if not isinstance(least, Var) or not isinstance(place, Const):
            return None
        hits, _ = self._places.get(least.name, ((), 0.0))
        at = next((i for i, (_, number) in enumerate(hits) if number == place.value), None)
        if at is None or len(hits) == 1:
            return None
        rest = self._left_for(least.name, at, value, other)
        return Op("where", (self._denied(hits[at][0]), other, rest), other.type)

    def _left_for(self, name: str, at: int, value: Expr, other: Const) -> Expr:
        """`value` if nothing holds at the places before `at`, the other number otherwise."""
        if not at:
            return value
        key = name, at, value, other
        found = self._left.get(key)
        if found is None:
            before = self._left_for(name, at - 1, value, other)
            missed = self._denied(self._places[name][0][at - 1][0])
            found = self._bind(Op("where", (missed, before, other), other.type))
            self._left[key] = found
        return found

    def _denied(self, x: Expr) -> Expr:
        """Not `x`."""
        found = self._misses.get(x)
        if found is None:
            found = self._misses[x] = self._bind(self._opposite(x))
        return found

    def _opposite(self, x: Expr) -> Op:
        either = self._op(x, "bitwise_or")
        if either is not None:
            return Op("bitwise_and", tuple(map(self._denied, either.args)), "bool")
        for name, other in (("equal", "not_equal"), ("not_equal", "equal")):
            compared = self._op(x, name)
            if compared is not None:
                return Op(other, compared.args, "bool")
        return Op("logical_not", (x,), "bool")

    def _once(self, first: Expr, number: Expr, inner: Expr) -> Op | None:
        """where(first, number, where(second, number, value)) as one choice."""
        second = self._op(inner, "where")
        if not isinstance(number, Const) or second is None or second.args[1] != number:
            return None
        neither = tuple(map(self._denied, (first, second.args[0])))
        both = self._bind(Op("bitwise_and", neither, "bool"))
        return Op("where", (both, second.args[2], number), second.type)
