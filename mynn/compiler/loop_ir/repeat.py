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

from collections.abc import Iterable, Iterator, Mapping

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
from mynn.target.storage import ALIGNMENT


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

    `shared`: it takes the number of its worker and of all workers. Only the last one runs it, to
    whom the only round of a parallel loop falls (`mynn.compiler.parallel.footprint`), unless they
    run it together.
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
    """Kernels that are run before the first step, and those of each step.

    Where there are as many workers as `together` names, each runs its share of the kernels in every
    step, and none waits.
    """

    rounds: int = 1
    before: tuple[Kernel, ...] = ()
    together: frozenset[int] = frozenset()

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


def nest_function(
    nest: Nest, slots: Mapping[Buffer, int], scratch: Buffer | None = None
) -> Function:
    """The loop or branch as host code; `slots` are the places of buffers in the table, `scratch` is
    a worker's share of scratch memory.
    """
    parameters = (_TABLE, _WORKER, _WORKERS) if nest.shared else (_TABLE,)
    given: tuple[Expr, ...] = parameters
    body: list[Action] = [_others_return()] if nest.shared else []
    if isinstance(nest, Repeat) and nest.together:
        assert scratch is not None
        body = _own_table(nest, slots, scratch)
        given = Var("own", ADDRESS), Affine.var("number"), Affine.var("count")
    inside = _branch(nest, slots, given) if isinstance(nest, Branch) else _loop(nest, slots, given)
    return Function(nest.name, parameters, (*body, *inside), comment=nest.comment)


_TABLE = Var("table", ADDRESS)
_WORKER, _WORKERS = Var("worker", INDEX), Var("workers", INDEX)
_ENTRIES = Buffer("entries", ADDRESS, 0, "view")


def _calls(kernels: Iterable[Kernel], given: tuple[Expr, ...]) -> list[Action]:
    """Runs of kernels on a table, those that are split with the number of their worker too."""
    return [Call(kernel.name, given if kernel.is_split else given[:1]) for kernel in kernels]


def _condition(nest: Nest, slots: Mapping[Buffer, int]) -> tuple[View, Expr]:
    """The condition by a name, and its value."""
    assert nest.condition is not None
    flag = Buffer("condition", nest.condition.type, 1, "view")
    return View(flag, Load(_ENTRIES, Affine(slots[nest.condition]))), Load(flag, Affine())


def _branch(branch: Branch, slots: Mapping[Buffer, int], given: tuple[Expr, ...]) -> list[Action]:
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
    sides = tuple(_calls(branch.kernels, given)), tuple(_calls(branch.otherwise, given))
    return [View(_ENTRIES, given[0]), view, If(holds, *sides)]


def _loop(repeat: Nest, slots: Mapping[Buffer, int], given: tuple[Expr, ...]) -> list[Action]:
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

    Workers that run it together have a table each, since each may be in another step.
    """
    assert isinstance(repeat, Repeat)
    moving = [one for one in repeat.moving if one.view in slots]
    names = [f"at{number}" for number in range(len(moving))]
    body = _calls(repeat.before, given)
    body.append(View(_ENTRIES, given[0]))
    if repeat.condition is not None:
        view, holds = _condition(repeat, slots)
        return [*body, view, While(holds, tuple(_calls(repeat.kernels, given)))]
    for name, one in zip(names, moving, strict=True):
        start: Expr = Load(_ENTRIES, Affine(slots[one.whole]))
        if one.start:
            start = Op("offset", (start, Affine(one.start * item_bytes(one.whole))), ADDRESS)
        body.append(Declare(name, start))
    each: list[Action] = []
    for name, one in zip(names, moving, strict=True):
        each.append(Store(_ENTRIES, Affine(slots[one.view]), Var(name, ADDRESS)))
    each += _calls(repeat.kernels, given)
    for name, one in zip(names, moving, strict=True):
        further = Affine(one.step * item_bytes(one.whole))
        each.append(Assign(name, Op("offset", (Var(name, ADDRESS), further), ADDRESS)))
    return body + _counted("step", repeat.rounds, each)


def _counted(name: str, rounds: int, each: list[Action]) -> list[Action]:
    """Actions that are done so often."""
    each = [*each, Assign(name, Affine.var(name) + 1)]
    more = Op("less", (Affine.var(name), Affine(rounds)), "bool")
    return [Declare(name, Affine(0)), While(more, tuple(each))]


def _others_return() -> If:
    """All workers but the last one return."""
    other = Op("less", (Affine.var("worker") + 1, Affine.var("workers")), "bool")
    return If(other, (Return(),))


def _own_table(repeat: Repeat, slots: Mapping[Buffer, int], scratch: Buffer) -> list[Action]:
    """The worker's own copy of the table, and which of how many workers it is to the kernels.

    The copy lies at the end of its share of scratch memory. Who runs the loop alone is the only
    worker, and its share the only one.
    """
    common, own = Buffer("common", ADDRESS, 0, "view"), Buffer("copy", ADDRESS, 0, "view")
    memory = Load(common, Affine(slots[scratch]))
    share = Affine.var("worker", scratch.elements)
    start = share + table_offset(scratch, len(slots))
    place = Affine.var("entry")
    alone: tuple[Action, ...] = (
        _others_return(),
        Store(own, Affine(slots[scratch]), Op("offset", (memory, share), ADDRESS)),
        Assign("number", Affine(0)),
        Assign("count", Affine(1)),
    )
    for workers in sorted(repeat.together):
        differ = Op("not_equal", (Affine.var("workers"), Affine(workers)), "bool")
        alone = (If(differ, alone),)
    return [
        View(common, _TABLE),
        Declare("own", Op("offset", (memory, start), ADDRESS)),
        View(own, Var("own", ADDRESS)),
        *_counted("entry", len(slots), [Store(own, place, Load(common, place))]),
        Declare("number", Affine.var("worker")),
        Declare("count", Affine.var("workers")),
        *alone,
    ]


def table_bytes(entries: int) -> int:
    """What a table of so many entries takes in a share of scratch memory."""
    return -(-entries * item_bytes(Buffer("", ADDRESS, 1)) // (2 * ALIGNMENT)) * 2 * ALIGNMENT


def table_offset(scratch: Buffer, entries: int) -> int:
    """Where in its share of scratch memory a worker's own table of so many entries lies."""
    return scratch.elements - table_bytes(entries)


def item_bytes(buffer: Buffer) -> int:
    """Bytes of an element."""
    return Buffer("", buffer.type, 1).nbytes
