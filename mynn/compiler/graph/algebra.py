"""Rules that replace one node by what it amounts to; `algebraic` is the pass that applies them.

Every rule is exact: the result has the same bits, but for the sign of a zero (x + 0, and sums over
an axis of extent 1) and for numbers too small or too large to be represented (2c * x for
c * x + c * x). Nothing is assumed about the values, so x * 0 and x - x stay (x may be NaN or
infinite), and products of constants are not regrouped (that would round differently).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.compiler.graph.index_map import view_of
from mynn.compiler.graph.picked_sums import picked_sums
from mynn.compiler.graph.uniform import full, is_number, uniform_value
from mynn.core.graph import Graph, Node, apply
from mynn.core.rewrite import Rule, rewrite
from mynn.core.types import Shape
from mynn.ops import elementwise, gather, movement, reduce


def algebraic(graph: Graph, settled: set[Node] | None = None) -> Graph:
    """Replace nodes that do nothing, or that undo each other, by what they amount to.

    Before:
        %3: f32[4,3] = mul(%x, %ones)
        %4: f32[3,4] = transpose(%3) axes=(1, 0)
        %5: f32[4,3] = transpose(%4) axes=(1, 0)
        %6: f32[12] = reshape(%5) shape=(12,)
        %7: f32[2,6] = reshape(%6) shape=(2, 6)
    After:
        %0: f32[2,6] = reshape(%x) shape=(2, 6)
    """
    return rewrite(graph, _algebraic_node, settled)


def _algebraic_node(node: Node) -> Node | None:
    result: Node | None = None
    while (rule := RULES.get(node.primitive)) is not None:
        simpler = rule(node)
        if simpler is None:
            break
        result = node = simpler
    return result


def _add(node: Node) -> Node | None:
    """x + 0 -> x;  x + (-y) -> x - y;  c * x + c * x -> 2c * x."""
    x, y = node.inputs
    if x is y:
        return _double(x)
    if is_number(y, 0):
        return x
    if is_number(x, 0):
        return y
    if y.primitive is elementwise.neg:
        return apply(elementwise.sub, x, y.inputs[0], source=node.source)
    if x.primitive is elementwise.neg:
        return apply(elementwise.sub, y, x.inputs[0], source=node.source)
    return None


def _double(x: Node) -> Node | None:
    """x + x where x = c * y: 2c * y. So the gradient of 0.5 * y^2 becomes y."""
    if x.primitive is not elementwise.mul or x.dtype.kind != "f":
        return None
    for c, y in (x.inputs, x.inputs[::-1]):
        value = uniform_value(c)
        if value is not None and abs(value) < 1e30:
            return apply(elementwise.mul, full(value + value, x.shape), y, source=x.source)
    return None


def _sub(node: Node) -> Node | None:
    """x - 0 -> x;  x - (-y) -> x + y."""
    x, y = node.inputs
    if is_number(y, 0):
        return x
    if y.primitive is elementwise.neg:
        return apply(elementwise.add, x, y.inputs[0], source=node.source)
    return None


def _mul(node: Node) -> Node | None:
    """x * 1 -> x;  x * -1 -> -x."""
    x, y = node.inputs
    for one, other in ((y, x), (x, y)):
        if is_number(one, 1):
            return other
        if is_number(one, -1) and other.dtype.kind in "fi":
            return apply(elementwise.neg, other, source=node.source)
    return None


def _div(node: Node) -> Node | None:
    """x / 1 -> x;  x / c -> x * (1 / c) where c is a power of two, so that 1 / c is exact."""
    x, y = node.inputs
    value = uniform_value(y)
    if value is None:
        return None
    if value == 1:
        return x
    number = float(value)
    power = math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5
    if not power or not 2.0**-100 <= abs(number) <= 2.0**100:
        return None
    inverse = full(np.asarray(1 / number, value.dtype), node.shape)
    return apply(elementwise.mul, x, inverse, source=node.source)


def _pow(node: Node) -> Node | None:
    """x ** 1 -> x."""
    x, y = node.inputs
    return x if is_number(y, 1) else None


def _undone(node: Node) -> Node | None:
    """f(f(x)) -> x, for neg and logical_not."""
    inner = node.inputs[0]
    return inner.inputs[0] if inner.primitive is node.primitive else None


def _input(node: Node) -> Node | None:
    """stop_gradient(x) -> x: gradients are taken before."""
    return node.inputs[0]


def _both(node: Node) -> Node | None:
    """max(x, x) -> x, and likewise min."""
    x, y = node.inputs
    return x if x is y else None


def _where(node: Node) -> Node | None:
    """where(true, x, y) -> x;  where(c, x, x) -> x;  where(not c, x, y) -> where(c, y, x)."""
    condition, x, y = node.inputs
    if x is y:
        return x
    value = uniform_value(condition)
    if value is not None:
        return x if value else y
    if condition.primitive is elementwise.logical_not:
        return apply(elementwise.where, condition.inputs[0], y, x, source=node.source)
    return None


def _lossless(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether every value of one dtype is a value of the other."""
    if source.kind in "iu" and target.kind == "f":
        return source.itemsize * 8 <= np.finfo(target).nmant + 1
    return np.can_cast(source, target, "safe")


def _cast(node: Node) -> Node | None:
    """cast(x) to its own dtype -> x;  cast(cast(x)) -> cast(x) if the inner one loses nothing."""
    inner = node.inputs[0]
    if inner.dtype == node.dtype:
        return inner
    if inner.primitive is not elementwise.cast:
        return None
    x = inner.inputs[0]
    if not _lossless(x.dtype, inner.dtype):
        return None
    return apply(elementwise.cast, x, dtype=node.dtype, source=node.source)


def _to_shape(node: Node) -> Node | None:
    """reshape to its own shape -> x;  reshape(reshape(x)) -> reshape(x);  so broadcast_to."""
    inner = node.inputs[0]
    if inner.shape == node.shape:
        return inner
    if inner.primitive is node.primitive:
        return apply(node.primitive, inner.inputs[0], shape=node.shape, source=node.source)
    return None


def _transpose(node: Node) -> Node | None:
    """transpose by (0, 1, ...) -> x;  transpose(transpose(x)) -> transpose(x)."""
    inner = node.inputs[0]
    axes = node.params["axes"]
    if axes == tuple(range(len(axes))):
        return inner
    if inner.primitive is movement.transpose:
        first = inner.params["axes"]
        combined = tuple(first[axis] for axis in axes)
        return apply(movement.transpose, inner.inputs[0], axes=combined, source=node.source)
    return None


def _same_shape(node: Node) -> Node | None:
    """A slice that takes everything, or a pad that adds nothing -> x."""
    return node.inputs[0] if node.inputs[0].shape == node.shape else None


def _flip(node: Node) -> Node | None:
    """flip of no axes -> x;  the same flip twice -> x."""
    inner = node.inputs[0]
    if not node.params["axes"]:
        return inner
    if inner.primitive is movement.flip and inner.params["axes"] == node.params["axes"]:
        return inner.inputs[0]
    return None


def _concatenate(node: Node) -> Node | None:
    """concatenate of a single value -> x."""
    if len(node.inputs) == 1:
        return node.inputs[0]
    # Where elements lie in what is under all movement, as if its rows were side by side.
    views = [view_of(x, lambda base: _side_by_side(base.shape), borders=False) for x in node.inputs]
    base, axis = views[0].base, node.params["axis"]
    if any(view.base is not base for view in views) or base.type.size != node.type.size:
        return None
    steps, start = _side_by_side(node.shape), 0
    for view, x in zip(views, node.inputs, strict=True):
        wrong = any(view.strides[i] != step for i, step in enumerate(steps) if x.shape[i] > 1)
        if wrong or view.offset != start * steps[axis]:
            return None
        start += x.shape[axis]
    return apply(movement.reshape, base, shape=node.shape, source=node.source)


def _side_by_side(shape: Shape) -> Shape:
    """Strides of an array in row-major order, without padding."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _reduction(node: Node) -> Node | None:
    """sum, max, min over axes of extent 1 -> reshape(x)."""
    x = node.inputs[0]
    if x.type.size != node.type.size or x.type.size == 0:
        return None
    if x.shape == node.shape:
        return x
    return apply(movement.reshape, x, shape=node.shape, source=node.source)


RULES: dict[Any, Rule] = {
    elementwise.add: _add,
    elementwise.sub: _sub,
    elementwise.mul: _mul,
    elementwise.div: _div,
    elementwise.pow: _pow,
    elementwise.neg: _undone,
    elementwise.logical_not: _undone,
    elementwise.stop_gradient: _input,
    elementwise.maximum: _both,
    elementwise.minimum: _both,
    elementwise.where: _where,
    elementwise.cast: _cast,
    gather.take: picked_sums,
    movement.reshape: _to_shape,
    movement.broadcast_to: _to_shape,
    movement.transpose: _transpose,
    movement.slice_: _same_shape,
    movement.pad: _same_shape,
    movement.flip: _flip,
    movement.concatenate: _concatenate,
    reduce.sum: _reduction,
    reduce.max: _reduction,
    reduce.min: _reduction,
}
