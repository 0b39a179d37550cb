"""What several test modules need: graphs from functions, comparisons, random values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.core.graph import Graph, input_node
from mynn.core.types import Array, Type
from mynn.tensor import Tensor, as_tensor, graph_node
from mynn.trace import tracing

NAMES = "xyzuvwabcdefgh"


def own_tape() -> Any:
    """The tape of this thread, which is made where nothing has been recorded."""
    assert recording.current.own.root is not None  # whatever is asked of it makes it
    return recording.current.own


def graph_of(function: Callable[..., Any], *types: Type | Array) -> Graph:
    """The graph of a function of tensors; its inputs are called x, y, z..."""
    kinds = [t if isinstance(t, Type) else Type.of(np.asarray(t)) for t in types]
    nodes = [input_node(kind, name) for kind, name in zip(kinds, NAMES, strict=False)]
    with tracing.tracing():
        result = function(*(Tensor.from_node(node) for node in nodes))
        results = result if isinstance(result, tuple) else (result,)
        outputs = tuple(graph_node(as_tensor(one)) for one in results)
    return Graph(tuple(nodes), outputs)


def f32(*shape: int) -> Type:
    """A float32 type."""
    return Type(shape, np.dtype(np.float32))


def same_bits(a: Array, b: Array) -> bool:
    """Equal dtype, shape and values; NaN equals NaN, and 0 equals -0."""
    nan = a.dtype.kind == "f"
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=nan)


def random_arrays(graph: Graph, seed: int = 0) -> list[Array]:
    """Values for a graph's inputs, of the size of 1."""
    rng = np.random.default_rng(seed)
    return [random_array(rng, node.type) for node in graph.inputs]


def random_array(rng: np.random.Generator, type: Type) -> Array:
    """Values of a type: floats from -2 to 2, integers from 0 to 4."""
    if type.dtype.kind == "f":
        return np.asarray(rng.uniform(-2, 2, type.shape)).astype(type.dtype)
    high = 2 if type.dtype.kind == "b" else 5
    return np.asarray(rng.integers(0, high, type.shape)).astype(type.dtype)


def assert_close(
    got: Sequence[Array], expected: Sequence[Array], scale: float = 1.0, what: str = ""
) -> None:
    """Equal types; integers equal, floats to about 100 roundings times `scale`."""
    assert len(got) == len(expected), what
    for position, (a, b) in enumerate(zip(got, expected, strict=True)):
        where = f"{what} output {position}"
        assert a.dtype == b.dtype, where
        assert a.shape == b.shape, where
        if a.dtype.kind == "f":
            tolerance = 100 * scale * np.finfo(a.dtype).eps
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=where)
        else:
            np.testing.assert_array_equal(a, b, err_msg=where)
