"""Kernels that are run step after step: a loop around kernels, which is itself a kernel.

    repeat   = Repeat(name, int rounds, kernel* before, kernel* kernels, moving* moving)
    moving   = Moving(Buffer view, Buffer whole, int start, int step)

In step t, `view` is what begins in `whole` at element start + step * t: its entry in the table of
addresses is set before the step. So the kernels are those of one step, and are compiled once.

Printed form:

    repeat ::= "repeat" name "in" rounds ":" {kernel} {view} "each:" {kernel}
    view ::= "view" buffer "at" buffer "[" start "+" step "* step" "]"

Invariants, held by `verify_kernel`: every view lies inside its whole in every step; a whole is no
view of the same loop.
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
class Repeat(Kernel):
    """Kernels that are run before the first step, and those of each step.

    `shared`: it takes the number of its worker and of all workers, and only the last one runs it:
    the one to whom the only round of a parallel loop falls (`mynn.compiler.parallel.footprint`).
    """

    rounds: int = 1
    before: tuple[Kernel, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    moving: tuple[Moving, ...] = ()
    shared: bool = False

    @lazy
    def _buffers(self) -> tuple[list[Buffer], list[Buffer]]:
        wholes = {moving.view: moving.whole for moving in self.moving}
        sides: tuple[dict[Buffer, None], dict[Buffer, None]] = ({}, {})
        for kernel in (*self.before, *self.kernels):
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


def innermost(kernels: Iterable[Kernel]) -> list[Kernel]:
    """The kernels that are no loops around others, in order."""
    return [kernel for kernel, _ in counted(kernels)]


def counted(kernels: Iterable[Kernel], rounds: int = 1) -> Iterator[tuple[Kernel, int]]:
    """The same, each with the number of times that a run of the program runs it."""
    for kernel in kernels:
        if isinstance(kernel, Repeat):
            yield from counted(kernel.before, rounds)
            yield from counted(kernel.kernels, rounds * kernel.rounds)
        else:
            yield kernel, rounds


def repeats(kernels: Iterable[Kernel]) -> Iterator[Repeat]:
    """The loops around kernels, inner ones too."""
    for kernel in kernels:
        if isinstance(kernel, Repeat):
            yield kernel
            yield from repeats((*kernel.before, *kernel.kernels))


def views_of(kernels: Iterable[Kernel]) -> list[Buffer]:
    """The buffers that have no memory of their own, but move along others."""
    return [moving.view for repeat in repeats(kernels) for moving in repeat.moving]


def repeat_function(repeat: Repeat, slots: dict[Buffer, int]) -> Function:
    """The loop as host code; `slots` are the places of buffers in the table.

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
    table = Var("table", ADDRESS)
    entries = Buffer("entries", ADDRESS, 0, "view")
    moving = [one for one in repeat.moving if one.view in slots]
    names = [f"at{number}" for number in range(len(moving))]
    body: list[Action] = [Call(kernel.name, (table,)) for kernel in repeat.before]
    body.append(View(entries, table))
    for name, one in zip(names, moving, strict=True):
        start: Expr = Load(entries, Affine(slots[one.whole]))
        if one.start:
            start = Op("offset", (start, Affine(one.start * item_bytes(one.whole))), ADDRESS)
        body.append(Declare(name, start))
    each: list[Action] = []
    for name, one in zip(names, moving, strict=True):
        each.append(Store(entries, Affine(slots[one.view]), Var(name, ADDRESS)))
    each += [Call(kernel.name, (table,)) for kernel in repeat.kernels]
    for name, one in zip(names, moving, strict=True):
        further = Affine(one.step * item_bytes(one.whole))
        each.append(Assign(name, Op("offset", (Var(name, ADDRESS), further), ADDRESS)))
    each.append(Assign("step", Affine.var("step") + 1))
    more = Op("less", (Affine.var("step"), Affine(repeat.rounds)), "bool")
    body += [Declare("step", Affine(0)), While(more, tuple(each))]
    parameters: tuple[Var, ...] = (table,)
    if repeat.shared:
        parameters = (table, Var("worker", INDEX), Var("workers", INDEX))
        other = Op("less", (Affine.var("worker") + 1, Affine.var("workers")), "bool")
        body.insert(0, If(other, (Return(),)))
    return Function(repeat.name, parameters, tuple(body), comment=repeat.comment)


def item_bytes(buffer: Buffer) -> int:
    """Bytes of an element."""
    return Buffer("", buffer.type, 1).nbytes
