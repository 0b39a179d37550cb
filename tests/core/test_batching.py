"""Every primitive over a batch of examples, against the same primitive called for each of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mynn.core import batching, interpreter
from mynn.core.graph import Graph, apply, input_node, verify
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import UsageError
from mynn.ops import PRIMITIVES, elementwise
from mynn.ops.batches import spread
from tests.ops.cases import evaluate, samples

SIZE = 3


def examples(array: Array) -> Array:
    """The array, and the same values at other places: in range wherever it is."""
    return np.stack([np.roll(array, number).reshape(array.shape) for number in range(SIZE)])


def subsets(count: int) -> list[tuple[bool, ...]]:
    """Which of so many inputs hold examples; of many, all of them or one."""
    found = [mapped for mapped in itertools.product((False, True), repeat=count) if any(mapped)]
    return found if count < 3 else [mapped for mapped in found if sum(mapped) in (1, count)]


def graph_of(primitive: Primitive, sample: Sample, mapped: tuple[bool, ...]) -> tuple[Graph, Any]:
    one = [input_node(Type.of(array)) for array in sample.arrays]
    inputs, known, arguments = [], {}, []
    for node, array, there in zip(one, sample.arrays, mapped, strict=True):
        arguments.append(examples(array) if there else array)
        inputs.append(input_node(Type.of(arguments[-1])) if there else node)
        if there:
            known[node] = inputs[-1]
    result = apply(primitive, *one, **sample.params, source="line")
    found = batching.batch([result], known, SIZE, spread)[result]
    assert found.source == "line"
    return Graph(tuple(inputs), (found,)), arguments


def one_by_one(primitive: Primitive, sample: Sample, mapped: tuple[bool, ...]) -> Array:
    """The meaning: a loop."""
    results = []
    for number in range(SIZE):
        arrays = tuple(
            examples(array)[number] if there else array
            for array, there in zip(sample.arrays, mapped, strict=True)
        )
        results.append(evaluate(primitive, arrays, sample.params))
    return np.stack(results)


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=repr)
def test_batch_is_a_loop(primitive: Primitive) -> None:
    for sample in samples(primitive):
        for mapped in subsets(len(sample.arrays)):
            graph, arguments = graph_of(primitive, sample, mapped)
            verify(graph)
            (got,) = interpreter.evaluate(graph, arguments)
            expected = one_by_one(primitive, sample, mapped)
            assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=repr)
def test_every_primitive_has_a_rule(primitive: Primitive) -> None:
    """Elementwise ones need none: element i of the result is made of element i of each input."""
    assert primitive.elementwise != (primitive.batch is not None), (
        f"{primitive} needs a batching rule in its block, as `batch`: {Primitive.__doc__}"
    )


def test_what_depends_on_no_example_is_computed_once() -> None:
    x, w = (input_node(Type((4,), np.dtype(np.float32))) for _ in range(2))
    shared = apply(elementwise.exp, w)
    y = apply(elementwise.mul, x, apply(elementwise.tanh, shared))
    many = input_node(Type((SIZE, 4), np.dtype(np.float32)))
    found = batching.batch([y, shared], {x: many}, SIZE, spread)
    assert shared not in found
    assert found[y].shape == (SIZE, 4)
    nodes = Graph((many, w), (found[y],)).nodes()
    assert shared in nodes


def test_a_primitive_without_a_rule_is_named() -> None:
    strange = Primitive("strange", lambda x: x, lambda x: x, None, lambda rng: [])
    x = input_node(Type((2,), np.dtype(np.float32)))
    y = apply(strange, x, source="net.py:7")
    many = input_node(Type((SIZE, 2), np.dtype(np.float32)))
    with pytest.raises(UsageError, match=r"strange cannot .* \(made at net.py:7\).*batching rule"):
        batching.batch([y], {x: many}, SIZE, spread)
