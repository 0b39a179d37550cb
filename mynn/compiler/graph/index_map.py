"""Movement as index arithmetic: where the element of a movement node at an index comes from.

Nothing is moved: `transpose(x)[i, j]` is `x[j, i]`, so a kernel that needs the former loads the
latter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass

from mynn.compiler.loop_ir.affine import Affine
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.errors import VerifyError
from mynn.ops import movement

Index = tuple[Affine, ...]

# Movement that neither repeats nor invents elements.
PLACING = frozenset([movement.reshape, movement.transpose, movement.flip, movement.slice_])
# Movement that maps an affine index to an affine index.
_AFFINE = ("transpose", "broadcast_to", "slice", "flip", "windows")


def unit_reshape(old: Shape, new: Shape) -> bool:
    """Whether a reshape only adds or removes axes of extent 1."""
    return [n for n in old if n != 1] == [n for n in new if n != 1]


def splits_only(old: Shape, new: Shape) -> bool:
    """Whether a reshape splits axes, but merges none (axes of extent 1 aside)."""
    return all(sum(old[axis] != 1 for axis in left) <= 1 for left, _ in reshape_groups(old, new))


def is_affine(node: Node) -> bool:
    """Whether the node is movement that maps every affine index to an affine index."""
    name = node.primitive.name
    if name == "reshape":
        return splits_only(node.inputs[0].shape, node.shape)
    return name in _AFFINE


def source_index(node: Node, index: Index) -> Index:
    """For movement that `is_affine`: the index into its input of the element at `index`."""
    name, params = node.primitive.name, node.params
    if name == "transpose":
        result = [Affine()] * len(index)
        for place, axis in enumerate(params["axes"]):
            result[axis] = index[place]
        return tuple(result)
    if name == "broadcast_to":
        shape = node.inputs[0].shape
        return tuple(Affine() if n == 1 else i for n, i in zip(shape, index, strict=True))
    if name == "slice":
        return tuple(
            i * step + start
            for i, start, step in zip(index, params["starts"], params["steps"], strict=True)
        )
    if name == "flip":
        return tuple(
            -i + (n - 1) if axis in params["axes"] else i
            for axis, (i, n) in enumerate(zip(index, node.shape, strict=True))
        )
    if name == "windows":
        inner = list(index[: len(node.inputs[0].shape)])
        offsets = index[len(inner) :]
        lists = (params["axes"], params["strides"], params["dilations"], offsets)
        for axis, stride, dilation, offset in zip(*lists, strict=True):
            inner[axis] = inner[axis] * stride + offset * dilation
        return tuple(inner)
    return reshape_index(node.inputs[0].shape, node.shape, index, _no_division)


def _no_division(value: Affine, divisor: int, modulus: int) -> Affine:
    raise VerifyError("a reshape that merges axes has no affine index")


def reshape_groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Pair the shortest runs of axes of `old` and `new` that hold the same number of elements."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        a = b = 1
        while (not left and not right) or a != b:
            if (a <= b and i < len(old)) or j >= len(new):
                left.append(i)
                a *= old[i]
                i += 1
            else:
                right.append(j)
                b *= new[j]
                j += 1
        groups.append((left, right))
    return groups


def reshape_index(
    old: Shape, new: Shape, index: Index, divide: Callable[[Affine, int, int], Affine]
) -> Index:
    """The index into `old` of the element at `index` of `new`, in row-major order.

    `divide(value, divisor, modulus)` gives (value // divisor) % modulus as a new variable.
    """
    result = [Affine()] * len(old)
    for left, right in reshape_groups(old, new):
        linear = Affine()
        for axis in right:
            linear = linear * new[axis] + index[axis]
        wide = [axis for axis in left if old[axis] != 1]
        if len(wide) == 1:
            result[wide[0]] = linear
            continue
        step = math.prod(old[axis] for axis in wide)
        for axis in wide:
            step //= old[axis]
            result[axis] = divide(linear, step, old[axis])
    return tuple(result)


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
    if node.primitive.name != "pad" or node.dtype.kind != "f" or node.params["value"] != 0:
        return False
    return not any(interior for *_, interior in node.params["widths"])


def view_of(
    node: Node,
    strides_of: Callable[[Node], Shape],
    stored: Container[Node] = (),
    borders: bool = True,
) -> View:
    """Peel movement off `node`, down to a stored node; with `borders` padding with zeros too.

    `strides_of(base)` gives the strides of that node's storage.
    """
    names = [f"a{axis}" for axis in range(len(node.shape))]
    index: Index = tuple(Affine.var(name) for name in names)
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
    offset = Affine()
    for i, stride in zip(index, strides_of(base), strict=True):
        offset = offset + i * stride

    def steps(i: Affine) -> Shape:
        return tuple(i.coefficient(name) for name in names)

    bounds = tuple(Bound(i.constant, steps(i), n) for i, n in limits)
    return View(base, offset.constant, steps(offset), bounds, tuple(pads))


def peel(node: Node, pads: Container[Node] = (), stored: Container[Node] = ()) -> Node:
    """The node under all affine movement and the padding in `pads`; the first one in `stored`."""
    while node not in stored and (is_affine(node) or node in pads):
        node = node.inputs[0]
    return node
