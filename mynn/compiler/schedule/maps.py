"""Maps: the same elementwise expressions at every point of a space; and plain copies."""

from __future__ import annotations

from mynn.compiler.fuse import Group
from mynn.compiler.loops import Affine, Kernel, Statement, Store
from mynn.compiler.pull import Place
from mynn.compiler.schedule.base import Context, best_axis, plain_index, serial, vector_loops
from mynn.graph import Node
from mynn.runtime.machine import Machine


def lower_map(context: Context) -> list[Statement]:
    """An elementwise kernel: loops over the space, vectors along one axis."""
    space = context.group.space
    first = context.group.outputs[0]
    if not space:
        return context.emit_outputs(context.puller(), ())
    axis = context.group.maps[first][best_axis(context, first, first.shape)]
    axis = len(space) - 1 if axis is None else axis
    names = [context.names.fresh("i") for _ in space]

    def body(index: Affine) -> list[Statement]:
        loops = tuple(
            index if i == axis else Affine.var(name) if space[i] > 1 else Affine()
            for i, name in enumerate(names)
        )
        return context.emit_outputs(context.puller(), loops)

    inner = vector_loops(context.names, space[axis], context.lanes(), body)
    outer = [(n, e) for i, (n, e) in enumerate(zip(names, space, strict=True)) if i != axis]
    return serial([(n, e) for n, e in outer if e != 1], inner)


def copy_kernel(
    name: str, node: Node, source: Place | None, target: Place, machine: Machine
) -> Kernel:
    """A kernel that copies the value of a node; without a source it is a constant of one element."""
    group = Group(None, node.shape, {}, [])
    places = {node: source} if source is not None else {}
    context = Context(group, places, {}, machine)
    names = [context.names.fresh("i") for _ in node.shape]
    axis = max(range(len(node.shape)), key=lambda i: (-target.strides[i], i), default=0)

    def body(index: Affine) -> list[Statement]:
        at = plain_index(names, node.shape)
        if at:
            at[axis] = index
        puller = context.puller()
        value = puller.value(node, tuple(at))
        return [*puller.body, Store(target.buffer, target.offset(tuple(at)), value)]

    if not node.shape:
        return Kernel(name, tuple(body(Affine())), "copy", 0, 2 * node.type.nbytes)
    lanes = machine.lanes(max(node.dtype.itemsize, 4))
    inner = vector_loops(context.names, node.shape[axis], lanes, body)
    outer = [(n, e) for i, (n, e) in enumerate(zip(names, node.shape, strict=True)) if i != axis]
    loops = serial([(n, e) for n, e in outer if e != 1], inner)
    return Kernel(name, tuple(loops), "copy", 0, 2 * node.type.nbytes)
