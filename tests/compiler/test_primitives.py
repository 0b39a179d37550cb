"""Native code against the interpreter: every primitive, its samples, every dtype it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.core import interpreter
from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops import PRIMITIVES, elementwise, gather
from tests.compiler.harness import Case
from tests.helpers import assert_close
from tests.ops.cases import samples

DTYPES = ("float32", "float64", "int32", "int64", "uint32", "uint8", "bool")


def converted(array: Array, dtype: np.dtype[Any]) -> Array:
    """The values in another dtype, nothing out of its range."""
    if dtype.kind == "b":
        return np.asarray(array > 0)
    if dtype.kind in "iu" and array.dtype.kind == "f":
        array = np.clip(np.nan_to_num(array), -100, 100)
    return np.asarray(np.abs(array) if dtype.kind == "u" else array).astype(dtype)


def variants(primitive: Primitive, dtype: np.dtype[Any]) -> list[Sample]:
    """The primitive's samples with their values (not their indices, not conditions) in `dtype`."""
    found = []
    for sample in samples(primitive):
        values = [array.dtype.kind == "f" for array in sample.arrays]
        if not any(values) and primitive.elementwise:
            values = [True] * len(values)
        if not any(values) and dtype != np.float32:
            continue
        arrays = tuple(
            converted(array, dtype) if value else array
            for array, value in zip(sample.arrays, values, strict=True)
        )
        try:
            primitive.infer(*map(Type.of, arrays), **sample.params)
        except (DTypeError, ShapeError):
            continue
        found.append(Sample(arrays, sample.params))
    return found


def run_both(primitive: Primitive, cases: list[Sample]) -> None:
    """Compile one graph that holds all cases, and compare it with the interpreter."""
    inputs: list[Node] = []
    outputs = []
    arguments: list[Array] = []
    for sample in cases:
        nodes = [input_node(Type.of(array)) for array in sample.arrays]
        inputs += nodes
        arguments += sample.arrays
        outputs.append(apply(primitive, *nodes, **sample.params))
    graph = Graph(tuple(inputs), tuple(outputs))
    expected = interpreter.evaluate(graph, arguments)
    got = Case(graph).native(arguments)
    assert_close(got, expected, what=primitive.name)


CASES = [
    pytest.param(primitive, np.dtype(dtype), id=f"{primitive.name}-{dtype}")
    for primitive in PRIMITIVES
    for dtype in DTYPES
    if variants(primitive, np.dtype(dtype))
]


@pytest.mark.one_in(9, each="primitive")
@pytest.mark.parametrize(("primitive", "dtype"), CASES)
def test_native_matches_interpreter(primitive: Primitive, dtype: np.dtype[Any]) -> None:
    run_both(primitive, variants(primitive, dtype))


SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 88.0, -87.0, 1e-20, 1e20, np.inf, -np.inf, np.nan)
# Out of range the result of a cast is unspecified.
FLOATS = [
    primitive
    for primitive in PRIMITIVES
    if primitive.elementwise
    and primitive is not elementwise.cast
    and variants(primitive, np.dtype(np.float32))
]


@pytest.mark.one_in(3, each="primitive")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("primitive", FLOATS, ids=repr)
def test_special_values(primitive: Primitive, dtype: str) -> None:
    """Infinities, NaN, zeros of both signs, numbers whose exponential overflows."""
    count = len(samples(primitive)[0].arrays)
    if primitive is elementwise.where:
        count = 2
    values = np.array(SPECIAL, dtype)
    if primitive in (elementwise.sin, elementwise.cos):
        # Where neighbouring float32 numbers are many periods apart, native code promises nothing.
        values = values[(np.abs(values) < 1e12) | ~np.isfinite(values)]
    grids = np.meshgrid(*([values] * count))
    arrays = [grid.reshape(-1) for grid in grids]
    if primitive is elementwise.where:
        arrays.insert(0, np.arange(arrays[0].size) % 3 == 0)
    params = samples(primitive)[0].params
    run_both(primitive, [Sample(tuple(arrays), params)])


def test_zero_signs_survive() -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0], np.float32)
    node = input_node(Type.of(x))
    names = (elementwise.neg, elementwise.sqrt, elementwise.floor, elementwise.tanh)
    outputs = [apply(primitive, node) for primitive in names]
    outputs.append(apply(elementwise.mul, node, node))
    graph = Graph((node,), tuple(outputs))
    for got, expected in zip(
        Case(graph).native([x]), interpreter.evaluate(graph, [x]), strict=True
    ):
        finite = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got)[finite], np.signbit(expected)[finite])


@pytest.mark.parametrize(
    ("dtype", "index"), [("float32", "int32"), ("float64", "int64"), ("int32", "uint32")]
)
def test_indices_out_of_range_are_clipped(dtype: str, index: str) -> None:
    x = np.arange(12).reshape(4, 3).astype(dtype)
    places = np.array([0, 3, 4, 1000, 2, 2**31 - 1], index)
    if index != "uint32":
        places = np.concatenate([places, np.array([-1, -7, -(2**31)], index)])
    updates = np.ones((places.size, 3), dtype)
    nodes = tuple(input_node(Type.of(array)) for array in (x, places, updates))
    taken = apply(gather.take, nodes[0], nodes[1], axis=0)
    added = apply(gather.scatter_add, nodes[2], nodes[1], axis=0, extent=4)
    graph = Graph(nodes, (taken, added))
    arguments = [x, places, updates]
    assert_close(Case(graph).native(arguments), interpreter.evaluate(graph, arguments))
