"""Groups that are alike are lowered once.

The layers of a deep network have groups that compute the same for other nodes. What lowering goes
by is the primitives of a group, how they hang together, and how what they load and store lies in
memory, not where. So all groups of one kind are instances of the kernel of the first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

from mynn.compiler.fusion.groups import Group
from mynn.compiler.loop_ir.instance import instance
from mynn.compiler.loop_ir.ir import Buffer, Kernel, buffers_of
from mynn.compiler.lowering.base import Context
from mynn.compiler.lowering.inline import Place
from mynn.compiler.lowering.lower import lower_group
from mynn.core.graph import CONSTANT, Node
from mynn.target.target import Target

# Numbers of larger constants are not written into a kernel.
_SMALL = 4096


class Lowering:
    """Lowers the groups of a program, each kind once.

    `places` says where every stored node, input and constant lies.
    """

    def __init__(self, places: Mapping[Node, Place], target: Target) -> None:
        self.places = places
        self.target = target
        self.known: dict[Hashable, tuple[Kernel, list[Buffer]]] = {}

    def kernel(self, name: str, group: Group) -> Kernel:
        """The kernel of a group."""
        key, buffers = group_key(group, self.places)
        known = self.known.get(key)
        if known is None:
            kernel = lower_group(name, Context(group, self.places, self.places, self.target, name))
            self.known[key] = kernel, buffers
            return kernel
        kernel, old = known
        given = dict(zip(old, buffers, strict=True))
        for side in buffers_of(kernel):
            for buffer in side:
                if buffer not in given:  # memory that the kernel has to itself
                    own = buffer.name.replace(kernel.name, name)
                    given[buffer] = replace(buffer, name=own)
        return instance(kernel, name, given)


def group_key(group: Group, places: Mapping[Node, Place]) -> tuple[Hashable, list[Buffer]]:
    """What tells the kernel of a group from others, whichever buffers it works on, and its buffers.

    Groups with equal keys do the same with the buffers at the same places of their lists.
    """
    numbers: dict[Node, int] = {}
    buffers: dict[Buffer, int] = {}
    nodes: list[Hashable] = []

    def place_key(node: Node) -> Hashable:
        place = places.get(node)
        if place is None:
            return None
        buffer = place.buffer
        number = buffers.setdefault(buffer, len(buffers))
        return number, buffer.type, buffer.elements, buffer.pitch, place.strides

    heads = [*group.outputs, *([group.anchor] if group.anchor is not None else [])]
    stack = list(reversed(heads))
    while stack:
        node = stack[-1]
        if node in numbers:
            stack.pop()
            continue
        inside = node in group.maps or node not in places
        missing = [x for x in node.inputs if x not in numbers] if inside else []
        if missing:
            stack += reversed(missing)
            continue
        stack.pop()
        numbers[node] = len(numbers)
        head = (
            (node.primitive, _params(node), tuple([numbers[x] for x in node.inputs]))
            if inside
            else None
        )
        type = node.shape, node.dtype.char
        nodes.append((head, type, group.maps.get(node), place_key(node), _value(node)))
    outputs = tuple([numbers[node] for node in group.outputs])
    anchor = None if group.anchor is None else numbers[group.anchor]
    return (group.space, outputs, anchor, tuple(nodes)), list(buffers)


def _params(node: Node) -> Hashable:
    # Floats by their text: 0.0 and -0.0 are equal as numbers.
    return tuple(
        [
            (name, repr(value) if isinstance(value, float) else value)
            for name, value in node.params.items()
        ]
    )


def _value(node: Node) -> Hashable:
    """What a constant is, as far as it may stand in a kernel."""
    if node.primitive is not CONSTANT or node.value is None:
        return None
    return node.value.tobytes() if node.type.size <= _SMALL else node
