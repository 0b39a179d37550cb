"""Simplification: a graph in, a smaller graph with the same meaning out.

`simplify` runs the named list `PASSES` again and again until nothing changes. Declared inputs stay
as they are, used or not; outputs keep their order and types, though an output may become an input
or a constant. What nothing needs any more is no longer reached from the outputs, and so is gone.

The rules are in compiler/graph/algebra.py; they change no bit of the results but the sign of zeros.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from mynn.compiler.graph.algebra import algebraic
from mynn.compiler.graph.uniform import full, uniform_value
from mynn.core import interpreter
from mynn.core.graph import CONSTANT, Graph, Node, apply, constant
from mynn.core.rewrite import Pass, rewrite
from mynn.core.types import Array
from mynn.ops import contraction, elementwise, gather, movement, reduce

# Results above this many elements are not computed ahead: a table would cost more memory traffic
# than it saves.
FOLD_LIMIT = 4096
MAX_ROUNDS = 20


def simplify(graph: Graph) -> Graph:
    """The graph after all `PASSES`, repeated until none of them finds anything.

    Example:
        >>> from mynn.core.graph import apply, input_node
        >>> from mynn.core.types import Type
        >>> x = input_node(Type((3,), np.dtype("float32")), "x")
        >>> one = apply(movement.reshape, constant(np.float32(1)), shape=(1,))
        >>> ones = apply(movement.broadcast_to, one, shape=(3,))
        >>> y = apply(elementwise.tanh, apply(elementwise.mul, x, ones))
        >>> print(simplify(Graph((x,), (y,))))
        graph(%x: f32[3]) {
          %0: f32[3] = tanh(%x)
          return %0
        }
    """
    for _ in range(MAX_ROUNDS):
        before = graph
        for _, run in PASSES:
            graph = run(graph)
        if graph is before:
            break
    return graph


# -- expand ----------------------------------------------------------------------------------------


def expand(graph: Graph) -> Graph:
    """Write a primitive that is a composite to the compiler in terms of others.

    Before:
        %0: f32[8,4,26] = conv(%x, %w) strides=(1,) padding=((0, 0),) dilations=(1,) groups=1
    After:
        %0: f32[8,1,26,3] = windows(%x) axes=(2,) sizes=(3,) strides=(1,) dilations=(1,)
        %1: f32[8,26,1,3] = transpose(%0) axes=(0, 2, 1, 3)
        %2: f32[1,3,4] = transpose(%w) axes=(1, 2, 0)
        %3: f32[8,26,4] = contract(%1, %2) batch=0 summed=2
        %4: f32[8,4,26] = transpose(%3) axes=(0, 2, 1)
    """
    return rewrite(graph, _expand_node)


def _expand_node(node: Node) -> Node | None:
    rule = node.primitive.expand
    return None if rule is None else rule(*node.inputs, **node.params)


# -- fold ------------------------------------------------------------------------------------------


def fold(graph: Graph) -> Graph:
    """Compute what depends on constants alone, where the result has at most 4096 elements.

    Broadcasts are left to the reader of the value, so what is uniform stays one number. Empty
    values are constants too, so that the passes that follow meet few of them.

    Before:
        %0: f32[] = constant 2.0
        %1: f32[1] = reshape(%0) shape=(1,)
        %2: f32[3] = broadcast_to(%1) shape=(3,)
        %3: f32[3] = exp(%2)
        %4: f32[3] = mul(%x, %3)
    After:
        %0: f32[1] = constant [7.389056205749512]
        %1: f32[3] = broadcast_to(%0) shape=(3,)
        %2: f32[3] = mul(%x, %1)
    """
    return rewrite(graph, _fold_node)


def _fold_node(node: Node) -> Node | None:
    if node.primitive is CONSTANT:
        return _fold_constant(node)
    if 0 in node.type.shape:
        return constant(np.zeros(node.shape, node.dtype))
    if any(0 in x.type.shape for x in node.inputs):
        return _fold_empty(node)
    if not node.inputs or not all(map(_is_known, node.inputs)):
        return None
    if node.primitive is movement.broadcast_to:
        return None
    scalars = [uniform_value(x) for x in node.inputs]
    uniform = _fold_uniform(node, [x for x in scalars if x is not None])
    if uniform is not None:
        return uniform
    if node.type.size > FOLD_LIMIT:
        return None
    return constant(
        np.array(interpreter.compute(node, [_known(x) for x in node.inputs]), order="C")
    )


# Over nothing they are 0.
_EMPTY_SUMS = {reduce.sum, contraction.matmul, contraction.contract, gather.scatter_add}


def _fold_empty(node: Node) -> Node | None:
    """A result that is not empty although an input is: a sum over nothing, the border of a pad."""
    if node.primitive in _EMPTY_SUMS:
        return full(np.zeros((), node.dtype), node.shape)
    if node.primitive is movement.pad:
        return full(np.asarray(node.params["value"], node.dtype), node.shape)
    if node.primitive is movement.concatenate:
        parts = [x for x in node.inputs if x.type.size]
        return apply(movement.concatenate, *parts, source=node.source, **node.params)
    return None


def _is_known(node: Node) -> bool:
    """Whether a node is a constant or a broadcast of one."""
    if node.primitive is movement.broadcast_to:
        node = node.inputs[0]
    return node.primitive is CONSTANT


def _known(node: Node) -> Array:
    source = node.inputs[0] if node.inputs else node
    assert source.value is not None
    return np.broadcast_to(source.value, node.shape)


def _fold_constant(node: Node) -> Node | None:
    """An array whose elements have all the same bits becomes a broadcast scalar."""
    value = node.value
    if value is None or not 1 < node.type.size <= FOLD_LIMIT:
        return None
    flat = value.reshape(-1)
    same = flat[0] == flat[-1] and flat.tobytes() == flat[:1].tobytes() * flat.size
    return full(flat[0], node.shape) if same else None


def _fold_uniform(node: Node, scalars: list[Array]) -> Node | None:
    """A node whose inputs are all uniform, where its result is uniform too."""
    if len(scalars) < len(node.inputs) or node.type.size == 0:
        return None
    primitive = node.primitive
    if primitive.family == "elementwise":
        return full(interpreter.compute(node, scalars), node.shape)
    if primitive in _KEEPS_UNIFORM:
        return full(scalars[0], node.shape)
    if primitive is reduce.sum:
        count = node.inputs[0].type.size // node.type.size
        total = _exact_multiple(scalars[0], count)
        return None if total is None else full(total, node.shape)
    return None


_KEEPS_UNIFORM = {
    movement.reshape,
    movement.transpose,
    movement.slice_,
    movement.flip,
    reduce.max,
    reduce.min,
}


def _exact_multiple(value: Array, count: int) -> Array | None:
    """`count` * `value` where adding it up, in any order, cannot round; otherwise None."""
    if value.dtype.kind != "f":
        wrapped = int(value) * count % 2 ** (8 * value.dtype.itemsize)
        return np.asarray(wrapped, np.uint64).astype(value.dtype)
    if not np.isfinite(value):
        return None
    numerator, denominator = float(value).as_integer_ratio()
    while numerator and numerator % 2 == 0:
        numerator //= 2
    total = float(value) * count
    fits = abs(numerator) * count <= 2 ** (np.finfo(value.dtype).nmant + 1)
    if not fits or abs(total) > np.finfo(value.dtype).max or denominator > 2**100:
        return None
    return np.asarray(total, value.dtype)


# -- common subexpressions -------------------------------------------------------------------------

_COMMUTATIVE = {
    elementwise.add,
    elementwise.mul,
    elementwise.equal,
    elementwise.not_equal,
    elementwise.bitwise_and,
    elementwise.bitwise_or,
    elementwise.bitwise_xor,
}


def cse(graph: Graph) -> Graph:
    """Compute equal things once: same primitive, parameters and inputs; constants by their bytes.

    Before:
        %0: f32[3] = tanh(%x)
        %1: f32[3] = tanh(%x)
        %2: f32[3] = mul(%0, %1)
    After:
        %0: f32[3] = tanh(%x)
        %1: f32[3] = mul(%0, %0)
    """
    seen: dict[Hashable, Node] = {}

    def rule(node: Node) -> Node | None:
        first = seen.setdefault(_key(node), node)
        return None if first is node else first

    return rewrite(graph, rule)


def _key(node: Node) -> Hashable:
    if node.primitive is CONSTANT and node.value is not None:
        small = node.type.size <= FOLD_LIMIT
        return (CONSTANT, node.shape, node.dtype.char, node.value.tobytes()) if small else node
    inputs = node.inputs
    if node.primitive in _COMMUTATIVE and inputs[0].serial > inputs[1].serial:
        inputs = (inputs[1], inputs[0])
    if not node.params:
        return (node.primitive, inputs) if inputs else node
    # Floats by their text: 0.0 and -0.0 are equal as numbers.
    params = tuple(
        (name, repr(value) if isinstance(value, float) else value)
        for name, value in node.params.items()
    )
    return (node.primitive, inputs, params)


# In this order: composites are written out, then constants, since the other rules look for them.
PASSES: tuple[tuple[str, Pass], ...] = (
    ("expand", expand),
    ("fold", fold),
    ("algebraic", algebraic),
    ("cse", cse),
)
