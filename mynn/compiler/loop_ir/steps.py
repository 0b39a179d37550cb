"""Host code as steps: a flat list, of which each does one thing.

    while less(i, n):            0  if not less(i, n): go to 5
      words[i] = words[i] + 1    1  let t0 = words[i]
      i = i + 1                  2  words[i] = t0 + 1
    return                       3  i = i + 1
                                 4  go to 0
                                 5  return

Every access to memory is a step of its own, as it is in native code, so that a thread can be
stopped between any two of them. All else works on the thread's variables alone. Integers are
Python's, held to the range of their type; floats are NumPy's scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.evaluate import FUNCTIONS
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.loop_ir.ranges import TYPE_RANGES
from mynn.compiler.loop_ir.walk import expr_type, variables
from mynn.ops.elementwise import convert

Variables = dict[str, Any]
Compute = Callable[[Variables], Any]


@dataclass(frozen=True)
class Step:
    """One step.

    - `kind`: "set", "branch", "jump", "return"; or what others can see: "load", "store", "atomic",
      "call".
    - `name`: the variable that it sets. `reads`: those that it needs.
    - `args`: what it computes of the variables: the new value; the condition of a branch, which
      goes to `target` where that does not hold; the address, and then the values, of an access; the
      arguments of a call, after the address that is called where `callee` is empty.
    """

    kind: str
    args: tuple[Compute, ...] = ()
    name: str = ""
    target: int = 0
    type: str = ""
    op: str = ""
    callee: str = ""
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Steps:
    """A function as steps; `live` are the variables that each of them, or what follows, reads."""

    function: ir.Function
    steps: tuple[Step, ...]
    live: tuple[frozenset[str], ...]


def steps_of(function: ir.Function, addresses: Mapping[str, int]) -> Steps:
    """A function as steps; `addresses` are those of the functions that it names."""
    writer = _Writer(addresses)
    writer.body(function.body)
    writer.add(Step("return"))
    steps = tuple(writer.steps)
    return Steps(function, steps, _live(steps))


class _Writer:
    """Writes the steps of a function."""

    def __init__(self, addresses: Mapping[str, int]) -> None:
        self.addresses = addresses
        self.steps: list[Step] = []
        # For each loop around, the breaks out of it.
        self.breaks: list[list[int]] = []
        self.count = 0

    def add(self, step: Step) -> int:
        """Append a step; its place."""
        self.steps.append(step)
        return len(self.steps) - 1

    def aim(self, place: int) -> None:
        """Have a step go to what comes next."""
        self.steps[place] = replace(self.steps[place], target=len(self.steps))

    def expr(self, expr: ir.Expr) -> ir.Expr:
        """The expression without loads, which become steps."""
        if isinstance(expr, ir.Load):
            name = f"load.{self.count}"
            self.count += 1
            self.access("load", expr.buffer, expr.index, (), name=name)
            return ir.Var(name, expr.type)
        if isinstance(expr, ir.Op):
            return replace(expr, args=tuple(map(self.expr, expr.args)))
        return expr

    def computed(self, kind: str, exprs: Sequence[ir.Expr], **more: Any) -> int:
        """Append a step on expressions."""
        pure = [self.expr(expr) for expr in exprs]
        reads = frozenset().union(*map(variables, pure), more.pop("reads", ()))
        args = tuple(_compiled(expr, self.addresses) for expr in pure)
        return self.add(Step(kind, args, reads=reads, **more))

    def access(
        self, kind: str, buffer: ir.Buffer, index: Affine, values: Sequence[ir.Expr], **more: Any
    ) -> None:
        """Append an access to an element of a view."""
        base, size = ir.Var(_base(buffer), "ptr"), DTYPES[buffer.type].itemsize
        address = ir.Op("offset", (base, index * size), "ptr")
        self.computed(kind, (address, *values), type=buffer.type, **more)

    def body(self, body: Sequence[ir.Action]) -> None:
        """The steps of actions in order."""
        for action in body:
            self.action(action)

    def action(self, action: ir.Action) -> None:
        """The steps of an action."""
        match action:
            case ir.Let(name, value) | ir.Declare(name, value) | ir.Assign(name, value):
                self.computed("set", (value,), name=name)
            case ir.View(buffer, address):
                self.computed("set", (address,), name=_base(buffer))
            case ir.Store(buffer, index, value):
                self.access("store", buffer, index, (value,))
            case ir.Atomic(op, buffer, index, args, _, result):
                self.access("atomic", buffer, index, args, op=op, name=result)
            case ir.Call(str(callee), args, result, type):
                self.computed("call", args, callee=callee, name=result, type=type)
            case ir.Call(callee, args, result, type):
                assert not isinstance(callee, str)
                self.computed("call", (callee, *args), name=result, type=type)
            case ir.Return(value):
                self.computed("return", () if value is None else (value,))
            case ir.Break():
                self.breaks[-1].append(self.add(Step("jump")))
            case ir.If(condition, body, orelse):
                start = self.computed("branch", (condition,))
                self.body(body)
                if orelse:
                    end = self.add(Step("jump"))
                    self.aim(start)
                    self.body(orelse)
                    start = end
                self.aim(start)
            case ir.While(condition, body):
                head = len(self.steps)
                start = self.computed("branch", (condition,))
                self.breaks.append([start])
                self.body(body)
                self.add(Step("jump", target=head))
                for place in self.breaks.pop():
                    self.aim(place)


def _base(buffer: ir.Buffer) -> str:
    """The variable that holds the address of a view."""
    return f"[{buffer.name}]"


def _live(steps: Sequence[Step]) -> tuple[frozenset[str], ...]:
    live: list[frozenset[str]] = [frozenset()] * len(steps)
    changed = True
    while changed:
        changed = False
        for place in reversed(range(len(steps))):
            step = steps[place]
            after: frozenset[str] = frozenset()
            if step.kind in ("branch", "jump"):
                after |= live[step.target]
            if step.kind not in ("jump", "return"):
                after |= live[place + 1]
            now = (after - {step.name}) | step.reads
            changed |= now != live[place]
            live[place] = now
    return tuple(live)


# -- expressions -----------------------------------------------------------------------------------


def hold(value: Any, type: str) -> Any:
    """An integer held to its type: what is out of its range wraps around."""
    least, most = TYPE_RANGES[type]
    value = int(value)
    return value if least <= value <= most else (value - least) % (most - least + 1) + least


def scalar(value: Any, type: str) -> Any:
    """A value of a type, as variables hold it."""
    if type == "bool":
        return bool(value)
    return hold(value, type) if type in TYPE_RANGES else DTYPES[type].type(value)


# Operations on integers as Python writes them; where they may leave the range, they are held to it.
_INTEGER = {
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} ^ {1}",
    "logical_not": "not {0}",
    "shift_right": "{0} >> {1}",
    "quotient": "{0} // {1}",
    "remainder": "{0} % {1}",
    "maximum": "max({0}, {1})",
    "minimum": "min({0}, {1})",
}
_WRAPPING = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}"}


def _compiled(expr: ir.Expr, addresses: Mapping[str, int]) -> Compute:
    """A function of the variables that gives the value of an expression without loads."""
    constants: list[Any] = []
    text = _source(expr, addresses, constants)
    scope = {"c": constants, "hold": hold, "call": _call, "max": max, "min": min}
    compute: Compute = eval(f"lambda e: {text}", scope)
    return compute


def _held(text: str, type: str) -> str:
    """The source of an integer that is held to its type, without a call where it need not be."""
    least, most = TYPE_RANGES[type]
    return f"(x if {least} <= (x := {text}) <= {most} else hold(x, {type!r}))"


def _source(expr: ir.Expr, addresses: Mapping[str, int], constants: list[Any]) -> str:
    if isinstance(expr, ir.Const):
        constants.append(scalar(expr.value, expr.type))
        return f"c[{len(constants) - 1}]"
    if isinstance(expr, ir.Var):
        return f"e[{expr.name!r}]"
    if isinstance(expr, ir.FunctionAddress):
        return str(addresses[expr.name])
    if isinstance(expr, Affine):
        terms = [f"e[{name!r}] * {factor}" for name, factor in expr.terms]
        total = " + ".join([str(expr.constant), *terms])
        return _held(total, ir.INDEX) if terms else total
    assert isinstance(expr, ir.Op), expr
    args = [_source(arg, addresses, constants) for arg in expr.args]
    types = [expr_type(arg) for arg in expr.args]
    if expr.name == "where":
        return f"({args[1]} if {args[0]} else {args[2]})"
    if expr.name == "offset":
        return _held(f"{args[0]} + {args[1]}", ir.ADDRESS)
    if all(type in TYPE_RANGES for type in types):
        if expr.name in _INTEGER:
            return f"({_INTEGER[expr.name].format(*args)})"
        if expr.name in _WRAPPING:
            return _held(_WRAPPING[expr.name].format(*args), expr.type)
        if expr.name == "cast" and expr.type != "bool" and expr.type in TYPE_RANGES:
            return _held(f"int({args[0]})", expr.type)
    constants.append((expr, types))
    return f"call(*c[{len(constants) - 1}], {', '.join(args)})"


def _call(op: ir.Op, types: Sequence[str], *args: Any) -> Any:
    """An operation by its meaning in NumPy."""
    values = [DTYPES[type].type(arg) for type, arg in zip(types, args, strict=True)]
    with np.errstate(all="ignore"):
        if op.name == "cast":
            return scalar(convert(np.asarray(values[0]), DTYPES[op.type])[()], op.type)
        return scalar(FUNCTIONS[op.name](*values), op.type)
