"""Every primitive with each of its samples, as pytest parameters."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from mynn.core import interpreter
from mynn.core.graph import Graph, apply, input_node
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.ops import PRIMITIVES


def samples(primitive: Primitive) -> list[Sample]:
    """The primitive's samples, the same at each call."""
    return primitive.samples(np.random.default_rng(zlib.crc32(primitive.name.encode())))


def cases(primitives: Iterable[Primitive] = PRIMITIVES, differentiable: bool = False) -> list[Any]:
    """`pytest.param(primitive, sample)` for all samples, or for those with a gradient."""
    found = []
    for primitive in primitives:
        for number, sample in enumerate(samples(primitive)):
            if not differentiable or _has_gradient(primitive, sample):
                found.append(pytest.param(primitive, sample, id=f"{primitive.name}-{number}"))
    return found


def _has_gradient(primitive: Primitive, sample: Sample) -> bool:
    result = primitive.infer(*map(Type.of, sample.arrays), **sample.params)
    floats = any(array.dtype.kind == "f" for array in sample.arrays)
    return primitive.vjp is not None and floats and result.dtype.kind == "f"


def graph_of_sample(primitive: Primitive, arrays: tuple[Array, ...], params: Any) -> Graph:
    """A graph of one primitive."""
    inputs = tuple(input_node(Type.of(array)) for array in arrays)
    return Graph(inputs, (apply(primitive, *inputs, **params),))


def evaluate(primitive: Primitive, arrays: tuple[Array, ...], params: Any) -> Array:
    """The primitive's value through the interpreter."""
    return interpreter.evaluate(graph_of_sample(primitive, arrays, params), arrays)[0]


def with_float(sample: Sample, dtype: Any) -> tuple[Array, ...]:
    """The sample's arrays, the floats among them as `dtype`."""
    return tuple(
        array.astype(dtype) if array.dtype.kind == "f" else array for array in sample.arrays
    )
