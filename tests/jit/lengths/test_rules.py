"""Every primitive, batched for two sizes: joined it computes what either size does, or it is said
that it cannot be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn import Tensor
from mynn.autograd import grad
from mynn.core import interpreter
from mynn.core.batching import batch
from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import UsageError
from mynn.jit.lengths.axis import NotAlike
from mynn.jit.lengths.joined import join
from mynn.ops import PRIMITIVES, reduce
from mynn.ops.batches import spread
from mynn.tensor import graph_node
from mynn.trace.tracing import tracing

WHOLE, FEWER = 6, 4
# Without inputs that have rows, without a result that has them, or with places that depend on the
# size of the batch.
APART = {"iota", "outside", "first_equal", "random_bits", "bernoulli"}


def graph_of(primitive: Primitive, sample: Sample, size: int, mapped: tuple[bool, ...]) -> Graph:
    """The primitive on so many examples, its result and sums of that over the examples."""
    nodes = [input_node(Type.of(array)) for array in sample.arrays]
    y = apply(primitive, *nodes, **sample.params)
    examples = {
        node: input_node(Type((size, *node.shape), node.dtype))
        for node, many in zip(nodes, mapped, strict=True)
        if many
    }
    outputs: list[Node] = [batch([y], examples, size, spread)[y]]
    if outputs[0].dtype.kind in "fi":
        outputs += [
            apply(kind, outputs[0], axes=(0,)) for kind in (reduce.sum, reduce.max, reduce.prod)
        ]
    inputs = [examples[node] for node in nodes if node in examples]
    return Graph((*inputs, *(node for node in nodes if node not in examples)), tuple(outputs))


def arrays_of(sample: Sample, mapped: tuple[bool, ...], rows: list[int]) -> list[Array]:
    """Another array for each row: its values in another order."""
    first, others = [], []
    for array, many in zip(sample.arrays, mapped, strict=True):
        if many:
            turned = [np.roll(array.reshape(-1), row).reshape(array.shape) for row in rows]
            first.append(np.stack(turned))
        else:
            others.append(array)
    return [*first, *others]


def check(primitive: Primitive, sample: Sample, mapped: tuple[bool, ...]) -> bool:
    """Whether it could be joined; then it computes the same."""
    try:
        whole, fewer = (graph_of(primitive, sample, size, mapped) for size in (WHOLE, FEWER))
    except UsageError:  # no batching rule
        return False
    try:
        joined = join(whole, fewer, sum(mapped))
    except NotAlike:
        return False
    rows = list(range(FEWER))
    with np.errstate(all="ignore"):
        expected = interpreter.evaluate(fewer, arrays_of(sample, mapped, rows))
        for behind in (FEWER - 1, 0):
            given = arrays_of(sample, mapped, [*rows, *[behind] * (WHOLE - FEWER)])
            given[sum(mapped) : sum(mapped)] = joined.fewer
            found = interpreter.evaluate(joined.graph, given)
            for value, right, at in zip(found, expected, joined.rows, strict=True):
                kept = value if at is None else value.take(range(FEWER), at.axis)
                np.testing.assert_allclose(kept, right, rtol=1e-4, atol=1e-5)
    return True


def cases() -> list[Any]:
    drawn = [p for p in PRIMITIVES if p.samples(np.random.default_rng(0))]
    return [pytest.param(p, id=p.name) for p in drawn]


@pytest.mark.parametrize("primitive", cases())
def test_joined_primitives(primitive: Primitive) -> None:
    done = []
    for sample in primitive.samples(np.random.default_rng(0)):
        count = len(sample.arrays)
        if not count or not all(array.size for array in sample.arrays):
            continue
        every = {(True,) * count, *(tuple(n == k for n in range(count)) for k in range(count))}
        done += [check(primitive, sample, mapped) for mapped in sorted(every)]
    assert any(done) == (primitive.name not in APART)


def put(mode: str, size: int, inside: int) -> Graph:
    """Values that rows put along an axis, each a few, and what is read from there; with gradients
    of the latter by the values.
    """
    shapes = (2, 30), (2, size, inside), (2, size, inside)
    kinds = np.float32, np.int64, np.float32
    x, index, values = (
        Tensor.from_node(input_node(Type(shape, np.dtype(kind))), kind is np.float32)
        for shape, kind in zip(shapes, kinds, strict=True)
    )
    places, given = index.reshape(2, -1), (values * values).reshape(2, -1)
    y = x.tanh().scatter_along(places, given, 1, mode)
    z = y.take_along(places, 1) * y.take_along(places, 1)
    loss = z.sum() / size + (y * x).mean()
    found = grad(loss, [values, x])
    ends = (y, z.reshape(2, size, inside), loss, *found)
    return Graph(
        tuple(map(graph_node, (index, values, x))),
        tuple([graph_node(one) for one in ends if one is not None]),
    )


@pytest.mark.parametrize("mode", ["set", "add"])
@pytest.mark.parametrize("inside", [1, 3])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_values_that_rows_put_in_places(mode: str, inside: int, twice: bool) -> None:
    with tracing():
        whole, fewer = put(mode, WHOLE, inside), put(mode, FEWER, inside)
    joined = join(whole, fewer, 2)
    rng = np.random.default_rng(5)
    x, values = rng.normal(size=(2, 30)), rng.normal(size=(2, WHOLE, inside))
    index = np.stack([rng.permutation(30)[: WHOLE * inside] for _ in range(2)])
    if twice:
        index[:, 1] = index[:, 0]
    index = index.reshape(2, WHOLE, inside)
    arrays: list[Array] = [index, values.astype(np.float32), x.astype(np.float32)]
    few = [one[:, :FEWER] for one in arrays[:2]]
    last = np.minimum(np.arange(WHOLE), FEWER - 1)
    filled = [one[:, last] for one in few]
    cases: list[tuple[Graph, list[Array], list[Array], tuple[Array, ...]]] = [
        (whole, arrays[:2], arrays[:2], joined.whole),
        (fewer, few, filled, joined.fewer),
    ]
    for graph, own, given, further in cases:
        expected = interpreter.evaluate(graph, [*own, arrays[2]])
        found = interpreter.evaluate(joined.graph, [*given, *further, arrays[2]])
        size = own[0].shape[1]
        for value, right, at in zip(found, expected, joined.rows, strict=True):
            kept = value if at is None else value.take(range(size), at.axis)
            np.testing.assert_allclose(kept, right, rtol=1e-5, atol=1e-6)


def test_values_that_rows_multiply_in_places_need_programs_of_their_own() -> None:
    with tracing():
        whole, fewer = put("mul", WHOLE, 1), put("mul", FEWER, 1)
    with pytest.raises(NotAlike):
        join(whole, fewer, 2)
