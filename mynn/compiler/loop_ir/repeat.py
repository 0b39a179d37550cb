"""Kernels around kernels: loops that run them step after step, and branches that run some of them.

    nest     = Repeat(name, int rounds, Buffer? condition, kernel* before, kernel* kernels,
                      moving* moving)
             | Branch(name, Buffer condition, kernel* kernels, kernel* otherwise)
    moving   = Moving(Buffer view, Buffer whole, int start, int step)

In step t, `view` is what begins in `whole` at element start + step * t: its entry in the table of
addresses is set before the step. So the kernels are those of one step, and are compiled once. A
loop with a condition goes on as long as its element is true, which its kernels change; it has no
number of rounds, and no views.

Printed form:

    nest ::= "repeat" name ("in" rounds | "while" buffer) ":" {kernel} {view} "each:" {kernel}
           | "branch" name "if" buffer ":" {kernel} "else:" {kernel}
    view ::= "view" buffer "at" buffer "[" start "+" step "* step" "]"

Invariants, held by `verify_kernel`: every view lies inside its whole in every step; a whole is no
view of the same loop; a condition is one truth value; that of a loop is written in each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    ADDRESS,
    INDEX,
    Action,
    Assign,
    Buffer,
    Call,
    Declare,
    Expr,
    Function,
    If,
    Kernel,
    Load,
    Op,
    Return,
    Store,
    Var,
    View,
    While,
    buffers_of,
)


@dataclass(frozen=True, slots=True)
class Moving:
    """`view` is what begins in `whole` at element start + step * t, in step t."""

    view: Buffer
    whole: Buffer
    start: int
    step: int


@dataclass(frozen=True)
class Nest(Kernel):
    """Kernels around which a loop or a branch stands.

    `shared`: it takes the number of its worker and of all workers, and only the last one runs it:
    the one to whom the only round of a parallel loop falls (`mynn.compiler.parallel.footprint`).
    """

    condition: Buffer | None = None
    kernels: tuple[Kernel, ...] = ()
    moving: tuple[Moving, ...] = ()
    shared: bool = False

    @property
    def inner(self) -> tuple[Kernel, ...]:
        """All kernels inside."""
        return self.kernels

    @lazy
    def _buffers(self) -> tuple[list[Buffer], list[Buffer]]:
        wholes = {moving.view: moving.whole for moving in self.moving}
        sides: tuple[dict[Buffer, None], dict[Buffer, None]] = ({}, {})
        if self.condition is not None:
            sides[0][self.condition] = None
        for kernel in self.inner:
            for side, buffers in zip(sides, buffers_of(kernel), strict=True):
                for buffer in buffers:
                    side[buffer] = None
                    if buffer in wholes:
                        side[wholes[buffer]] = None
        return list(sides[0]), list(sides[1])

    @lazy
    def is_split(self) -> bool:
        """Whether it takes the number of its worker, and of all workers."""
        return self.shared


@dataclass(frozen=True)
class Repeat(Nest):
    """Kernels that are run before the first step, and those of each step."""

    rounds: int = 1
    before: tuple[Kernel, ...] = ()

    @property
    def inner(self) -> tuple[Kernel, ...]:
        """Those before the steps too."""
        return *self.before, *self.kernels


@dataclass(frozen=True)
class Branch(Nest):
    """Kernels that are run where the condition holds, and those that are run where it does not."""

    otherwise: tuple[Kernel, ...] = ()

    @property
    def inner(self) -> tuple[Kernel, ...]:
        """Those of both sides."""
        return *self.kernels, *self.otherwise


def innermost(kernels: Iterable[Kernel]) -> list[Kernel]:
    """The kernels that stand around no others, in order."""
    return [kernel for kernel, _ in counted(kernels)]


def counted(kernels: Iterable[Kernel], rounds: int = 1) -> Iterator[tuple[Kernel, int]]:
    """The same, each with the number of times that a run of the program runs it, at most; once for
    each time that a loop with a condition is run.
    """
    for kernel in kernels:
        if isinstance(kernel, Repeat):
            yield from counted(kernel.before, rounds)
            yield from counted(kernel.kernels, rounds * kernel.rounds)
        elif isinstance(kernel, Nest):
            yield from counted(kernel.inner, rounds)
        else:
            yield kernel, rounds


def nests(kernels: Iterable[Kernel]) -> Iterator[Nest]:
    """The loops and branches around kernels, inner ones too."""
    for kernel in kernels:
        if isinstance(kernel, Nest):
            yield kernel
            yield from nests(kernel.inner)


def views_of(kernels: Iterable[Kernel]) -> list[Buffer]:
    """The buffers that have no memory of their own, but move along others."""
    return [moving.view for nest in nests(kernels) for moving in nest.moving]


def nest_function(nest: Nest, slots: dict[Buffer, int]) -> Function:
    """The loop or branch as host code; `slots` are the places of buffers in the table."""
    body = _branch(nest, slots) if isinstance(nest, Branch) else _loop(nest, slots)
    parameters: tuple[Var, ...] = (_TABLE,)
    if nest.shared:
        parameters = (_TABLE, Var("worker", INDEX), Var("workers", INDEX))
        other = Op("less", (Affine.var("worker") + 1, Affine.var("workers")), "bool")
        body.insert(0, If(other, (Return(),)))
    return Function(nest.name, parameters, tuple(body), comment=nest.comment)


_TABLE = Var("table", ADDRESS)
_ENTRIES = Buffer("entries", ADDRESS, 0, "view")


def _calls(kernels: Iterable[Kernel]) -> list[Action]:
    return [Call(kernel.name, (_TABLE,)) for kernel in kernels]


def _condition(nest: Nest, slots: dict[Buffer, int]) -> tuple[View, Expr]:
    """The condition by a name, and its value."""
    assert nest.condition is not None
    flag = Buffer("condition", nest.condition.type, 1, "view")
    return View(flag, Load(_ENTRIES, Affine(slots[nest.condition]))), Load(flag, Affine())


def _branch(branch: Branch, slots: dict[Buffer, int]) -> list[Action]:
    """The body of its function.

    function k3(table: ptr):
      view entries: ptr[] at table
      view condition: bool[1] at entries[2]
      if condition[0]:
        call k3.yes.k0(table)
      else:
        call k3.no.k0(table)
    """
    view, holds = _condition(branch, slots)
    sides = tuple(_calls(branch.kernels)), tuple(_calls(branch.otherwise))
    return [View(_ENTRIES, _TABLE), view, If(holds, *sides)]


def _loop(repeat: Nest, slots: dict[Buffer, int]) -> list[Action]:
    """The body of its function.

    function k3(table: ptr):
      call k3.init0(table)
      view entries: ptr[] at table
      var at0 = entries[4]
      var step = 0
      while less(step, 32):
        entries[9] = at0
        call k3.k0(table)
        at0 = offset(at0, 8192)
        step = step + 1
    """
    assert isinstance(repeat, Repeat)
    moving = [one for one in repeat.moving if one.view in slots]
    names = [f"at{number}" for number in range(len(moving))]
    body = _calls(repeat.before)
    body.append(View(_ENTRIES, _TABLE))
    if repeat.condition is not None:
        view, holds = _condition(repeat, slots)
        return [*body, view, While(holds, tuple(_calls(repeat.kernels)))]
    for name, one in zip(names, moving, strict=True):
        start: Expr = Load(_ENTRIES, Affine(slots[one.whole]))
        if one.start:
            start = Op("offset", (start, Affine(one.start * item_bytes(one.whole))), ADDRESS)
        body.append(Declare(name, start))
    each: list[Action] = []
    for name, one in zip(names, moving, strict=True):
        each.append(Store(_ENTRIES, Affine(slots[one.view]), Var(name, ADDRESS)))
    each += _calls(repeat.kernels)
    for name, one in zip(names, moving, strict=True):
        further = Affine(one.step * item_bytes(one.whole))
        each.append(Assign(name, Op("offset", (Var(name, ADDRESS), further), ADDRESS)))
    each.append(Assign("step", Affine.var("step") + 1))
    more = Op("less", (Affine.var("step"), Affine(repeat.rounds)), "bool")
    return [*body, Declare("step", Affine(0)), While(more, tuple(each))]


def item_bytes(buffer: Buffer) -> int:
    """Bytes of an element."""
    return Buffer("", buffer.type, 1).nbytes
