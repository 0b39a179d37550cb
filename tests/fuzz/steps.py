"""The steps by which a random graph grows: one function for each kind of node, or small pattern.

A step adds nodes to the generator and returns the last one, or None where it did not fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mynn.core.graph import CONSTANT, Node, constant
from mynn.core.types import Type
from mynn.ops import (
    along,
    checks,
    contraction,
    convolution,
    elementwise,
    gather,
    integers,
    movement,
    random,
    reduce,
    scan,
    special,
    windows,
)
from tests.fuzz.generator import COMPARISONS, Generator
from tests.fuzz.orders import ordered

UNARY = (
    *(elementwise.neg, elementwise.abs, elementwise.sign, elementwise.exp, elementwise.expm1),
    *(elementwise.log, elementwise.log1p, elementwise.sqrt, elementwise.sin, elementwise.cos),
    *(elementwise.tanh, elementwise.logistic, elementwise.erf, elementwise.relu),
    *(elementwise.floor, elementwise.stop_gradient, elementwise.tanh, elementwise.relu),
    *(one for one in special.PRIMITIVES if one is not special.atan2),
)
BINARY = (
    *(elementwise.add, elementwise.sub, elementwise.mul, elementwise.div, elementwise.mod),
    *(elementwise.pow, elementwise.maximum, elementwise.minimum, elementwise.add, elementwise.mul),
    special.atan2,
)
# Of floats alone; powers of integers are made elsewhere.
FLOATS = (elementwise.div, elementwise.pow, special.atan2)
BITWISE = (
    *(elementwise.bitwise_and, elementwise.bitwise_or, elementwise.bitwise_xor),
    *integers.PRIMITIVES,
)


def _unary(g: Generator) -> Node | None:
    primitive, x = g.pick(UNARY), g.any()
    if primitive in (elementwise.log, elementwise.sqrt) and g.chance(0.7):
        x = _positive(g, x)
    if primitive is special.acosh:  # of 1 and more
        x = g.add(elementwise.exp, g.add(elementwise.abs, x) or x) or x
    return g.add(primitive, x)


def _positive(g: Generator, x: Node) -> Node:
    """Values between 0 and 1, where functions that are not defined everywhere are."""
    return g.add(elementwise.logistic, x) or x


def _binary(g: Generator) -> Node | None:
    x = g.any("f" if g.chance(0.8) else "iu")
    y = g.like(x)
    primitive = g.pick(BINARY)
    if y is None or (x.dtype.kind != "f" and primitive in FLOATS):
        return None
    if primitive is elementwise.mul and x.dtype.kind == "i":
        y = g.leaf(x.type)
    if primitive is elementwise.pow and g.chance(0.7):
        return g.add(primitive, _positive(g, x), y)
    if primitive in (elementwise.div, elementwise.mod) and x.dtype.kind == "f" and g.chance(0.7):
        return g.add(primitive, x, _positive(g, y))
    pair = (x, y) if g.chance(0.5) else (y, x)
    return g.add(primitive, *pair)


def _compare(g: Generator) -> Node | None:
    x = g.any(g.pick(("f", "i", "u", "b")))
    y = g.like(x)
    return None if y is None else g.add(g.pick(COMPARISONS), x, y)


def _where(g: Generator) -> Node | None:
    condition = g.any("b")
    dtype = g.pick((g.dtype, g.dtype, np.dtype(np.int32), np.dtype(np.bool_)))
    x = g.like(Node(CONSTANT, (), {}, condition.type.with_dtype(dtype)))
    y = g.like(x) if x is not None else None
    return None if x is None or y is None else g.add(elementwise.where, condition, x, y)


def _logic(g: Generator) -> Node | None:
    if g.chance(0.3):
        return g.add(elementwise.logical_not, g.any("b"))
    x = g.any(g.pick(("i", "u", "b")))
    y = g.like(x)
    known = BITWISE[:3] if x.dtype.kind == "b" else BITWISE
    return None if y is None else g.add(g.pick(known), x, y)


def _cast(g: Generator) -> Node | None:
    x = g.any(g.pick(("f", "f", "i", "u", "b")))
    target = g.pick((g.dtype, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_))
    return g.add(elementwise.cast, x, dtype=np.dtype(target))


def _reduce(g: Generator) -> Node | None:
    x = g.any("f" if g.chance(0.85) else "iu", ndim=1)
    axes = tuple(axis for axis in range(len(x.shape)) if g.chance(0.5)) or (len(x.shape) - 1,)
    if x.type.size == 0:
        return None
    primitive = g.pick((*(reduce.sum,) * 3, reduce.prod, reduce.max, reduce.min))
    if primitive in (reduce.sum, reduce.prod) and x.dtype.kind == "f":
        scaled = _scaled(g, x, axes)
        if scaled is not None and primitive is reduce.prod:
            scaled = g.add(elementwise.exp, scaled)
        if scaled is None:
            return None
        x = scaled
    y = g.add(primitive, x, axes=axes)
    if y is not None and g.chance(0.5):
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
        y = g.add(movement.reshape, y, shape=kept)
    return y


def _scaled(g: Generator, x: Node, axes: tuple[int, ...]) -> Node | None:
    """x divided by the number of values along the axes."""
    count = math.prod(x.shape[axis] for axis in axes)
    weight = constant(np.full((1,) * len(x.shape), 1 / max(count, 1), x.dtype))
    g.values[weight] = np.asarray(weight.value)
    weights = g.add(movement.broadcast_to, weight, shape=x.shape)
    return weights and g.add(elementwise.mul, x, weights)


def _cumsum(g: Generator) -> Node | None:
    x = g.any("f" if g.chance(0.85) else "iu", ndim=1)
    axis = int(g.rng.integers(len(x.shape)))
    scaled = _scaled(g, x, (axis,)) if x.dtype.kind == "f" else x
    primitive = g.pick((scan.cumsum, scan.cumprod, scan.cummax, scan.cummin))
    if primitive is scan.cumprod and x.dtype.kind == "f":
        scaled = scaled and g.add(elementwise.exp, scaled)
    return scaled and g.add(primitive, scaled, axis=axis)


def _argmax(g: Generator) -> Node | None:
    x = g.any("f" if g.chance(0.5) else "i", ndim=1)
    axis = int(g.rng.integers(len(x.shape)))
    return g.add(reduce.argmax, x, axis=axis) if x.shape[axis] else None


def _reshape(g: Generator) -> Node | None:
    x = g.any(g.pick("fffib"))
    rest, shape = x.type.size, []
    while rest > 1 and len(shape) < 3:
        divisors = [n for n in range(1, rest + 1) if rest % n == 0]
        shape.append(int(g.pick(divisors)))
        rest //= shape[-1]
    shape += [rest] if rest != 1 or g.chance(0.3) else []
    g.rng.shuffle(shape)
    return g.add(movement.reshape, x, shape=tuple(shape)) if x.type.size else None


def _transpose(g: Generator) -> Node | None:
    x = g.any(g.pick("fffib"), ndim=2)
    return g.add(movement.transpose, x, axes=tuple(int(a) for a in g.rng.permutation(len(x.shape))))


def _broadcast(g: Generator) -> Node | None:
    x = g.any(g.pick("fffib"))
    place = int(g.rng.integers(len(x.shape) + 1))
    if not (len(x.shape) < 4 and x.type.size):
        return None
    row = g.add(movement.reshape, x, shape=(*x.shape[:place], 1, *x.shape[place:]))
    target = (
        tuple(g.pick(g.extents) if n == 1 and g.chance(0.7) else n for n in row.shape)
        if row
        else ()
    )
    return row and g.add(movement.broadcast_to, row, shape=target)


def _slice(g: Generator) -> Node | None:
    x = g.any(g.pick("fffib"), ndim=1)
    starts, stops, steps = [], [], []
    for extent in x.shape:
        start = int(g.rng.integers(max(extent, 1))) if g.chance(0.5) else 0
        stop = int(g.rng.integers(min(start + 1, extent), extent + 1)) if g.chance(0.5) else extent
        starts.append(start)
        stops.append(max(start, stop))
        steps.append(int(g.pick((1, 1, 1, 2, 3))))
    return g.add(movement.slice_, x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


def _update_slice(g: Generator) -> Node | None:
    part = _slice(g)
    if part is None or part.primitive is not movement.slice_:
        return part
    new = g.add(elementwise.neg, part) if part.type.dtype.kind in "fi" else part
    return new and g.add(movement.update_slice, part.inputs[0], new, **part.params)


def _pad(g: Generator) -> Node | None:
    x = g.any(g.pick("fffi"), ndim=1)
    widths = tuple(
        (int(g.pick((0, 0, 1, 3))), int(g.pick((0, 0, 2, 5))), int(g.pick((0, 0, 0, 1, 2))))
        for _ in x.shape
    )
    return g.add(movement.pad, x, widths=widths, value=float(g.pick((0, 0, 1, -2))))


def _flip(g: Generator) -> Node | None:
    x = g.any(g.pick("fffib"), ndim=1)
    axes = tuple(axis for axis in range(len(x.shape)) if g.chance(0.5))
    return g.add(movement.flip, x, axes=axes)


def _concatenate(g: Generator) -> Node | None:
    x = g.any(g.pick("fffib"), ndim=1)
    axis = int(g.rng.integers(len(x.shape)))
    rest = [
        y
        for y in g.nodes
        if y.dtype == x.dtype
        and len(y.shape) == len(x.shape)
        and all(a == b or i == axis for i, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)))
    ]
    others = [g.pick(rest) for _ in range(int(g.rng.integers(1, 4)))]
    return g.add(movement.concatenate, x, *others, axis=axis)


def _iota(g: Generator) -> Node | None:
    shape = g.shape(int(g.rng.integers(1, 4)))
    dtype = np.dtype(g.pick((g.dtype, np.int32, np.int64)))
    return g.add(movement.iota, shape=shape, axis=int(g.rng.integers(len(shape))), dtype=dtype)


def _matmul(g: Generator) -> Node | None:
    """A product with operands as they are or transposed, scaled, with an epilogue at times."""
    a = g.any("f", ndim=2)
    if a.type.size == 0 or a.dtype != g.dtype:
        return None
    lead, k, n = a.shape[:-2], a.shape[-1], g.pick(g.extents)
    if a.shape[-2] * k * n * math.prod(lead) > 50 * g.largest:
        return None
    flipped = g.chance(0.5)
    fitting = [x for x in g.nodes if x.type == Type((*lead, k, n), g.dtype)]
    if fitting and g.chance(0.5):
        b = g.pick(fitting)
    else:
        b = g.leaf(Type((*lead, n, k) if flipped else (*lead, k, n), g.dtype))
        b = g.add(movement.transpose, b, axes=_swapped(len(b.shape))) if flipped else b
    scale = constant(np.full((1,) * len(a.shape), max(k, 1) ** -0.5, a.dtype))
    g.values[scale] = np.asarray(scale.value)
    spread = g.add(movement.broadcast_to, scale, shape=a.shape)
    scaled = spread and g.add(elementwise.mul, a, spread)
    if scaled is None or b is None:
        return None
    y = g.add(contraction.matmul, scaled, b)
    return y and _epilogue(g, y)


def _contract(g: Generator) -> Node | None:
    """A product over several axes, as convolutions and attention have it."""
    a = g.any("f", ndim=1)
    if a.type.size == 0 or a.dtype != g.dtype:
        return None
    batch = int(g.rng.integers(0, min(len(a.shape), 2)))
    summed = int(g.rng.integers(0, min(len(a.shape) - batch, 3) + 1))
    shared = (*a.shape[:batch], *a.shape[len(a.shape) - summed :])
    rest = g.shape(int(g.rng.integers(0, 3)))
    if a.type.size * math.prod(rest) > 50 * g.largest or math.prod((*shared, *rest)) > g.largest:
        return None
    kind = Type((*shared, *rest), g.dtype)
    fitting = [x for x in g.nodes if x.type == kind]
    b = g.pick(fitting) if fitting and g.chance(0.5) else g.leaf(kind)
    if g.chance(0.3):
        axes = tuple(int(axis) for axis in g.rng.permutation(len(kind.shape)))
        turned = g.add(movement.transpose, b, axes=axes)
        back = tuple(int(axis) for axis in np.argsort(axes))
        b = turned and g.add(movement.transpose, turned, axes=back)
    inner = max(math.prod(a.shape[len(a.shape) - summed :]), 1)
    scale = constant(np.full((1,) * len(a.shape), inner**-0.5, a.dtype))
    g.values[scale] = np.asarray(scale.value)
    spread = g.add(movement.broadcast_to, scale, shape=a.shape)
    scaled = spread and g.add(elementwise.mul, a, spread)
    y = scaled and b and g.add(contraction.contract, scaled, b, batch=batch, summed=summed)
    return y and _epilogue(g, y)


def _windows(g: Generator) -> Node | None:
    x = g.any("f", ndim=1)
    count = min(len(x.shape), int(g.pick((1, 1, 2))))
    axes = tuple(int(axis) for axis in g.rng.permutation(len(x.shape))[:count])
    sizes = tuple(int(g.pick((1, 2, 2, 3, 5))) for _ in axes)
    strides = tuple(int(g.pick((1, 1, 2, 3))) for _ in axes)
    dilations = tuple(int(g.pick((1, 1, 1, 2))) for _ in axes)
    return g.add(windows.windows, x, axes=axes, sizes=sizes, strides=strides, dilations=dilations)


def _conv(g: Generator) -> Node | None:
    x = g.any("f", ndim=3)
    if x.dtype != g.dtype or len(x.shape) > 5 or not x.type.size:
        return None
    rank = len(x.shape) - 2
    groups = int(g.pick([n for n in (1, 1, 2, 3, x.shape[1]) if x.shape[1] % n == 0]))
    kernel = tuple(min(int(g.pick((1, 2, 3, 3, 5))), n) for n in x.shape[2:])
    outputs = groups * int(g.pick((1, 2, 3, 16)))
    shape = (outputs, x.shape[1] // groups, *kernel)
    if math.prod(shape) > g.largest or math.prod(shape) * x.type.size > 300 * g.largest:
        return None
    weight = g.leaf(Type(shape, g.dtype))
    scale = constant(np.full((1,) * len(shape), math.prod(shape[1:]) ** -0.5, g.dtype))
    g.values[scale] = np.asarray(scale.value)
    spread = g.add(movement.broadcast_to, scale, shape=shape)
    scaled = spread and g.add(elementwise.mul, weight, spread)
    y = scaled and g.add(
        convolution.conv,
        x,
        scaled,
        strides=tuple(int(g.pick((1, 1, 2))) for _ in range(rank)),
        padding=tuple((int(g.pick((0, 1, 2))), int(g.pick((0, 1)))) for _ in range(rank)),
        dilations=tuple(int(g.pick((1, 1, 1, 2))) for _ in range(rank)),
        groups=groups,
    )
    return y and _epilogue(g, y)


def _swapped(ndim: int) -> tuple[int, ...]:
    return (*range(ndim - 2), ndim - 1, ndim - 2)


def _epilogue(g: Generator, y: Node) -> Node | None:
    result: Node | None = y
    if g.chance(0.3) and len(y.shape) > 1:
        result = g.add(movement.transpose, y, axes=_swapped(len(y.shape)))
    if result is not None and g.chance(0.6):
        bias = g.like(result)
        result = bias and g.add(elementwise.add, result, bias)
    if result is not None and g.chance(0.6):
        result = g.add(g.pick((elementwise.tanh, elementwise.relu, elementwise.logistic)), result)
    return result


def _index(g: Generator) -> Node:
    """Indices: an input, or integers that the graph computed (clipped where out of range)."""
    if g.chance(0.5):
        return g.any("i")
    dtype = g.pick((np.int32, np.int64, np.uint32))
    return g.new_input(g.shape(int(g.rng.integers(0, 3))), dtype)


def _take(g: Generator) -> Node | None:
    x, index = g.any(g.pick("fffib"), ndim=1), _index(g)
    axis = int(g.rng.integers(len(x.shape)))
    if x.shape[axis] == 0 or x.type.size // x.shape[axis] * index.type.size > g.largest:
        return None
    if axis == 0 and g.chance(0.3):
        return g.add(gather.take_rows, x, index)
    return g.add(gather.take, x, index, axis=axis)


def _scatter(g: Generator) -> Node | None:
    index = _index(g)
    rest = g.shape(int(g.rng.integers(0, 2)))
    if len(index.shape) + len(rest) > 4 or math.prod((*index.shape, *rest)) > g.largest:
        return None
    front = g.chance(0.5)
    shape = (*rest, *index.shape) if front else (*index.shape, *rest)
    updates = g.like(Node(CONSTANT, (), {}, Type(shape, g.dtype)))
    axis = len(rest) if front else 0
    return updates and g.add(
        gather.scatter_add, updates, index, axis=axis, extent=g.pick(g.extents)
    )


def _first_equal(g: Generator) -> Node | None:
    """Of a scatter's updates those of one row, looked at at their own indices, or their places."""
    index = _index(g)
    if len(index.shape) != 1 or not index.type.size:
        return None
    extent = g.pick([n for n in g.extents if n] or [1])
    if g.chance(0.5):
        return g.add(gather.first_equal, index, extent=extent)
    updates = g.like(Node(CONSTANT, (), {}, Type((*index.shape, 3), g.dtype)))
    sums = updates and g.add(gather.scatter_add, updates, index, axis=0, extent=extent)
    return sums and g.add(gather.take, sums, index, axis=0)


def _along(g: Generator) -> Node | None:
    """Values picked, or put, at indices with as many axes."""
    x = g.any("f" if g.chance(0.7) else "iu", ndim=1)
    axis = int(g.rng.integers(len(x.shape)))
    reach = tuple(
        g.pick(g.extents) if one == axis else int(g.rng.integers(0 if g.chance(0.1) else 1, n + 1))
        for one, n in enumerate(x.shape)
        if n or one == axis
    )
    if len(reach) < len(x.shape) or not x.shape[axis] or math.prod(reach) > g.largest:
        return None
    dtype = g.pick((np.int32, np.int64, np.uint32))
    fitting = [y for y in g.nodes if y.shape == reach and y.dtype.kind in "iu"]
    index = g.pick(fitting) if fitting and g.chance(0.5) else g.new_input(reach, dtype)
    if g.chance(0.5):
        return g.add(along.take_along, x, index, axis=axis)
    updates = g.like(Node(CONSTANT, (), {}, Type(reach, x.dtype)))
    mode = g.pick(along.MODES)
    return updates and g.add(along.scatter_along, x, index, updates, axis=axis, mode=mode)


def _outside(g: Generator) -> Node | None:
    """Whether anything is out of range, as a number."""
    x = g.any(g.pick("fii"))
    low, high = (0.0, 1.0) if x.dtype.kind == "f" else (int(g.pick((0, -3))), int(g.pick((1, 9))))
    ignore = -100 if x.dtype.kind == "i" and g.chance(0.3) else None
    words = {"name": "f", "kind": "labels", "axis": 0, "warns": False, "ignore": ignore}
    wrong = g.add(checks.outside, x, low=low, high=high, **words)
    return wrong and g.add(elementwise.cast, wrong, dtype=np.dtype(np.int32))


def _random(g: Generator) -> Node | None:
    """Uniform numbers from bits, as dropout draws them."""
    key = g.new_input((2,), np.uint32)
    if g.chance(0.3):
        return g.add(random.bernoulli, key, size=int(g.pick((5, 64, 300, 520))), threshold=2**30)
    drawn = g.add(random.random_bits, key, shape=g.shape())
    drawn = drawn and g.add(elementwise.shift_right, drawn, bits=int(g.pick((8, 12, 30))))
    return drawn and g.add(elementwise.cast, drawn, dtype=np.dtype(np.int32))


def _softmax(g: Generator) -> Node | None:
    x = g.any("f", ndim=1)
    axis = len(x.shape) - 1 if g.chance(0.7) else int(g.rng.integers(len(x.shape)))
    if x.shape[axis] == 0:
        return None

    def spread(y: Node | None) -> Node | None:
        kept = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
        y = y and g.add(movement.reshape, y, shape=kept)
        return y and g.add(movement.broadcast_to, y, shape=x.shape)

    top = spread(g.add(reduce.max, x, axes=(axis,)))
    centred = top and g.add(elementwise.sub, x, top)
    weights = centred and g.add(elementwise.exp, centred)
    total = spread(g.add(reduce.sum, weights, axes=(axis,))) if weights else None
    return weights and total and g.add(elementwise.div, weights, total)


STEPS: tuple[Callable[[Generator], Node | None], ...] = (
    *(_unary, _unary, _unary, _unary, _binary, _binary, _binary, _binary, _binary),
    *(
        _compare,
        _where,
        _where,
        _logic,
        _cast,
        _reduce,
        _reduce,
        _reduce,
        _cumsum,
        _argmax,
        ordered,
    ),
    *(
        _reshape,
        _transpose,
        _transpose,
        _broadcast,
        _slice,
        _update_slice,
        _pad,
        _flip,
        _concatenate,
        _iota,
    ),
    *(_matmul, _matmul, _matmul, _contract, _windows, _conv, _take, _scatter, _random, _softmax),
    *(_along, _along, _first_equal, _outside),
)


def grow(g: Generator, count: int) -> None:
    """Try `count` random steps."""
    for _ in range(count):
        step: Callable[[Generator], Node | None] = g.pick(STEPS)
        step(g)
