"""Graphs in a graph: the kernels of one step, run step after step; or of one of two branches.

The body is a program like any other, with the carry as its state: its new value is written over the
old one where that may be, otherwise it is copied at the end of a step. So all passes up to the
kernels run on it as they do on a whole program, once for all steps.

What a step of a scan reads and gives lies in the stacks of the whole loop: the buffers of the body
for them are views, which move from step to step. The carry lies where the last carry is to be.

Before:
    %0: (f32[32,64], f32[20,32,64]) = scan(%init, %x, %w) body=graph(%c, %x, %w) {..}
After:
    repeat k3 in 20:
      kernel k3.init0: the first carry
      view k3.x at x[0 + 2048 * step]
      each:
        kernel k3.k0: ...

A loop with a condition is one without stacks, which goes on as long as the first carry is true. The
bodies of a branch read what it is given where it lies, and write its values where these shall be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.groups import Group
from mynn.compiler.loop_ir.instance import instance
from mynn.compiler.loop_ir.ir import Buffer, Kernel, buffers_of
from mynn.compiler.loop_ir.repeat import Branch, Moving, Nest, Repeat
from mynn.compiler.lowering.inline import Place
from mynn.compiler.lowering.map import copy_kernel
from mynn.core.graph import Graph, Node, constant
from mynn.core.types import Array, Shape, Type
from mynn.ops import branches
from mynn.target.storage import padded_strides, storage_elements
from mynn.target.target import Target


@dataclass(frozen=True)
class Body:
    """The kernels of one step, and where inputs, constants and results lie."""

    kernels: Sequence[Kernel]
    inputs: Sequence[Place]
    constants: Sequence[tuple[Array, Place]]
    results: Sequence[Buffer]


# Makes the kernels of a graph; `writes`, the strides of inputs, those of outputs, and how far parts
# of something larger are apart as in `mynn.compiler.compilation`.
MakeBody = Callable[
    [
        Graph,
        Mapping[Node, int],
        Mapping[Node, Shape],
        Mapping[int, Shape],
        Mapping[Node | int, int],
    ],
    Body,
]


@dataclass(frozen=True)
class Loop:
    """The kernel of a loop or a branch, and constants of its bodies, as nodes of the graph around
    it.
    """

    kernel: Nest
    constants: Mapping[Node, tuple[Array, Place]]


def loop_of(
    name: str, group: Group, places: Mapping[Node, Place], target: Target, make: MakeBody
) -> Loop:
    """The loop or branch that a group is; `places` says where its operands and parts lie."""
    scan = group.anchor
    assert scan is not None
    if scan.primitive is branches.cond:
        return _branch_of(name, group, places, make)
    params = scan.params
    graph: Graph = params["body"]
    conditional = scan.primitive is branches.while_loop
    carry, steps = params["carry"], params.get("length", 1)
    ends = carry, carry + params.get("sequences", 0)
    parts = {part.params["number"]: places[part] for part in group.outputs}
    carried = [
        parts.get(j) or _new_place(f"{name}.carry{j}", graph.inputs[j].type) for j in range(carry)
    ]
    stacks = [places[x] for x in scan.inputs[ends[0] : ends[1]]]
    fixed = [places[x] for x in scan.inputs[ends[1] :]]
    ys = {number: parts[number] for number in range(carry, len(graph.outputs))}
    body = _body_of(graph, carried, stacks, fixed, ys, make)

    buffers: dict[Buffer, Buffer] = {}
    moving: list[Moving] = []

    def view(own: Buffer, whole: Place) -> None:
        step = whole.strides[0]
        seen = buffers[own] = _renamed(name, own)
        back = params["reverse"]
        moving.append(
            Moving(seen, whole.buffer, step * (steps - 1) if back else 0, -step if back else step)
        )

    for own, place in zip(body.inputs[: ends[0]], carried, strict=True):
        buffers[own.buffer] = place.buffer
    for own, place in zip(body.inputs[ends[1] :], fixed, strict=True):
        buffers[own.buffer] = place.buffer
    for own, place in zip(body.inputs[ends[0] : ends[1]], stacks, strict=True):
        view(own.buffer, place)
    for number, result in enumerate(body.results, carry):
        view(result, parts[number])
    each, constants = _kernels(name, body, buffers)
    before = [
        copy_kernel(f"{name}.init{j}", x, places.get(x), place, target)
        for j, (x, place) in enumerate(zip(scan.inputs, carried, strict=False))
    ]
    loop = Repeat(
        name,
        (),
        "loop with a condition" if conditional else f"scan of {steps} steps",
        sum(kernel.operations for kernel in each) * steps,
        sum(kernel.nbytes for kernel in each) * steps,
        rounds=steps,
        before=tuple(before),
        kernels=each,
        moving=tuple(moving),
        condition=carried[0].buffer if conditional else None,
    )
    return Loop(loop, constants)


def _body_of(
    graph: Graph,
    carried: Sequence[Place],
    stacks: Sequence[Place],
    fixed: Sequence[Place],
    ys: Mapping[int, Place],
    make: MakeBody,
) -> Body:
    """The kernels of one step; `ys` are the stacks of its outputs, by their numbers."""
    carry = len(carried)
    given = [*carried, *(Place(x.buffer, x.strides[1:]) for x in stacks), *fixed]
    strides = {node: place.strides for node, place in zip(graph.inputs, given, strict=True)}
    wanted = {number: place.strides[1:] for number, place in ys.items()}
    rows = zip(graph.inputs[carry : carry + len(stacks)], stacks, strict=True)
    apart = _apart(graph, given)
    apart |= {node: stack.strides[0] for node, stack in rows}
    apart |= {number: stack.strides[0] for number, stack in ys.items()}
    return make(graph, {graph.inputs[j]: j for j in range(carry)}, strides, wanted, apart)


def _apart(graph: Graph, given: Sequence[Place]) -> dict[Node | int, int]:
    """How far what inputs of a body lie in is apart, where it is a row of something already."""
    return {node: place.buffer.pitch for node, place in zip(graph.inputs, given, strict=True)}


_Constants = dict[Node, tuple[Array, Place]]


def _kernels(
    name: str, body: Body, buffers: dict[Buffer, Buffer]
) -> tuple[tuple[Kernel, ...], _Constants]:
    """The kernels of a body, and its constants; `buffers` says where some of its buffers lie, all
    others become the loop's own.
    """
    constants: _Constants = {}
    for value, place in body.constants:
        buffers[place.buffer] = _renamed(name, place.buffer)
        constants[constant(value)] = value, Place(buffers[place.buffer], place.strides)
    for kernel in body.kernels:
        for side in buffers_of(kernel):
            for buffer in side:
                if buffer not in buffers:
                    buffers[buffer] = _renamed(name, buffer)
    each = [instance(kernel, f"{name}.{kernel.name}", buffers) for kernel in body.kernels]
    return tuple(each), constants


def _branch_of(name: str, group: Group, places: Mapping[Node, Place], make: MakeBody) -> Loop:
    branch = group.anchor
    assert branch is not None
    given = [places[x] for x in branch.inputs[1:]]
    parts = {part.params["number"]: places[part] for part in group.outputs}
    sides: dict[str, tuple[Kernel, ...]] = {}
    constants: _Constants = {}
    for side in ("true", "false"):
        graph: Graph = branch.params[side]
        layouts = {node: place.strides for node, place in zip(graph.inputs, given, strict=True)}
        wanted = {number: place.strides for number, place in parts.items()}
        apart = _apart(graph, given)
        apart |= {number: place.buffer.pitch for number, place in parts.items()}
        body = make(graph, {}, layouts, wanted, apart)
        buffers = {own.buffer: place.buffer for own, place in zip(body.inputs, given, strict=True)}
        for number, result in enumerate(body.results):
            if number in parts:
                buffers[result] = parts[number].buffer
        sides[side], more = _kernels(f"{name}.{side}", body, buffers)
        constants |= more
    kernel = Branch(
        name,
        (),
        "branch",
        max(sum(kernel.operations for kernel in side) for side in sides.values()),
        max(sum(kernel.nbytes for kernel in side) for side in sides.values()),
        condition=places[branch.inputs[0]].buffer,
        kernels=sides["true"],
        otherwise=sides["false"],
    )
    return Loop(kernel, constants)


def _renamed(name: str, buffer: Buffer) -> Buffer:
    """A buffer like another one, of the loop of a name."""
    own = f"{name}.{buffer.name}"
    return Buffer(own, buffer.type, buffer.elements, buffer.storage, buffer.pitch)


def _new_place(name: str, type: Type) -> Place:
    """Row-major memory."""
    size = type.dtype.itemsize
    strides = padded_strides(type.shape, size)
    steps = [s for n, s in zip(type.shape, strides, strict=True) if n > 1 and s > 1]
    elements = max(storage_elements(type.shape, size), 1)
    return Place(Buffer(name, type.short, elements, pitch=min(steps, default=0)), strides)
