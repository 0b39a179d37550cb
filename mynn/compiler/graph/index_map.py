"""Movement as index arithmetic: where the element of a movement node at an index comes from.

Nothing is moved: `transpose(x)[i, j]` is `x[j, i]`, so a kernel that needs the former loads the
latter.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from itertools import pairwise

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine, Index, dot
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Movement
from mynn.compiler.rules.reshape import reshape_groups
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.ops import movement


def is_affine(node: Node) -> bool:
    """Whether the node is movement that maps every affine index to an affine index."""
    rule = rule_of(node)
    return isinstance(rule, Movement) and rule.affine(node)


def is_placing(node: Node) -> bool:
    """Whether the node is movement that neither repeats nor invents elements."""
    rule = rule_of(node)
    return isinstance(rule, Movement) and rule.places


def source_index(node: Node, index: Index) -> Index:
    """For movement that `is_affine`: the index into its input of the element at `index`."""
    rule = rule_of(node)
    assert isinstance(rule, Movement)
    return rule.index(node, index)


@dataclass(frozen=True)
class Bound:
    """An element is 0 unless 0 <= start + (sum of step * index over its axes) < extent."""

    start: int
    steps: Shape
    extent: int


@dataclass(frozen=True)
class View:
    """A node seen through affine movement, and through padding with zeros.

    An offset and a stride for each axis, in elements of the base's storage. `pads` are the paddings
    on the way to the base, and `bounds` says where they put zeros.
    """

    base: Node
    offset: int
    strides: Shape
    bounds: tuple[Bound, ...] = ()
    pads: tuple[Node, ...] = ()


def is_border(node: Node) -> bool:
    """Whether the node puts zeros around a value, and none between its elements."""
    if node.primitive is not movement.pad or node.dtype.kind != "f" or node.params["value"] != 0:
        return False
    return not any(interior for *_, interior in node.params["widths"])


def view_of(
    node: Node,
    strides_of: Callable[[Node], Shape],
    stored: Container[Node] = (),
    borders: bool = True,
) -> View:
    """Peel movement off `node`, down to a stored node; with `borders` padding with zeros too.

    `strides_of(base)` gives the strides of that node's storage. A reshape that merges axes is seen
    through where the value before lies in memory, and these axes side by side.
    """
    names = [f"a{axis}" for axis in range(len(node.shape))]
    index: Index = tuple([Affine.var(name) for name in names])
    base = node
    pads: list[Node] = []
    limits: list[tuple[Affine, int]] = []
    while base not in stored:
        if is_affine(base):
            index = source_index(base, index)
        elif borders and is_border(base):
            pads.append(base)
            widths = base.params["widths"]
            index = tuple(i + -low for i, (low, _, _) in zip(index, widths, strict=True))
            limits += [
                (i, n)
                for i, n, (low, high, _) in zip(index, base.inputs[0].shape, widths, strict=True)
                if low or high
            ]
        else:
            break
        base = base.inputs[0]
    strides = None
    if base not in stored and base.inputs and base.inputs[0] in stored:
        strides = merged_strides(base, strides_of)
    if base is node and strides is None:
        return View(node, 0, strides_of(node))
    base, strides = (base, strides_of(base)) if strides is None else (base.inputs[0], strides)
    offset = dot(index, strides)

    def steps(i: Affine) -> Shape:
        return tuple(i.coefficient(name) for name in names)

    bounds = tuple(Bound(i.constant, steps(i), n) for i, n in limits)
    return View(base, offset.constant, steps(offset), bounds, tuple(pads))


def merged_strides(node: Node, strides_of: Callable[[Node], Shape]) -> Shape | None:
    """The strides of a reshape that merges axes, in the storage of its input; None where these do
    not lie side by side there, and for other nodes.
    """
    if node.primitive is not movement.reshape or is_affine(node):
        return None
    old, strides = node.inputs[0].shape, strides_of(node.inputs[0])
    result = [0] * len(node.shape)
    for left, right in reshape_groups(old, node.shape):
        wide = [axis for axis in left if old[axis] != 1]
        if any(strides[a] != strides[b] * old[b] for a, b in pairwise(wide)):
            return None
        step = strides[wide[-1]] if wide else 0
        for axis in reversed(right):
            result[axis] = step
            step *= node.shape[axis]
    return tuple(result)


def strip_views(node: Node, pads: Container[Node] = (), stored: Container[Node] = ()) -> Node:
    """The node under all affine movement and the padding in `pads`; the first one in `stored`."""
    while node not in stored and (is_affine(node) or node in pads):
        node = node.inputs[0]
    return node
