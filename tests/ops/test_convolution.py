"""Contraction over several axes, windows and convolution, against NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.compiler.graph.decompose import decompose
from mynn.core.graph import CONSTANT, INPUT, Graph, apply, input_node, topological
from mynn.core.interpreter import evaluate
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops import contraction, convolution, elementwise, movement, windows
from mynn.ops.convolution import conv
from mynn.tensor import Tensor, contract, graph_node
from mynn.tensor import apply as run
from mynn.trace import tracing
from tests.compiler.graph.simplification import simplify
from tests.compiler.harness import Case
from tests.ops.cases import cases, graph_of_sample


@pytest.mark.parametrize(("primitive", "sample"), cases([contraction.contract]))
def test_contract_is_einsum(primitive: Primitive, sample: Sample) -> None:
    a, b = sample.arrays
    batch, summed = sample.params["batch"], sample.params["summed"]
    letters = "abcdefghij"
    left = letters[: a.ndim]
    shared = letters[:batch] + left[a.ndim - summed :]
    right = shared + "uvwxyz"[: b.ndim - len(shared)]
    out = letters[: a.ndim - summed] + right[len(shared) :]
    got = run(primitive, Tensor(a), Tensor(b), **sample.params)
    np.testing.assert_allclose(got.numpy(), np.einsum(f"{left},{right}->{out}", a, b), rtol=1e-13)


def test_contract_promotes() -> None:
    y = contract(np.ones((2, 3), np.float32), np.ones((3, 4)), 0, 1)
    assert y.dtype == np.float64
    assert y.tolist() == [[3.0] * 4] * 2


@pytest.mark.parametrize(
    ("a", "b", "batch", "summed", "message"),
    [
        ((2, 3), (4, 5), 0, 1, r"summed axes \(3,\)"),
        ((2, 3), (4, 3), 1, 1, "first 1 axes"),
        ((2, 3), (3,), 1, 1, "1 batch and 1 summed"),
        ((2, 3), (3, 2), 0, -1, "summed"),
    ],
)
def test_contract_errors(a: Any, b: Any, batch: int, summed: int, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        contract(np.zeros(a), np.zeros(b), batch, summed)


@pytest.mark.parametrize(("primitive", "sample"), cases([windows.windows]))
def test_windows_by_their_definition(primitive: Primitive, sample: Sample) -> None:
    (x,) = sample.arrays
    p = sample.params
    got = run(primitive, Tensor(x), **p).numpy()
    for place in np.ndindex(got.shape):
        source = list(place[: x.ndim])
        for i, axis in enumerate(p["axes"]):
            source[axis] = source[axis] * p["strides"][i] + place[x.ndim + i] * p["dilations"][i]
        assert got[place] == x[tuple(source)]


def test_gradient_of_windows_apart_is_movement() -> None:
    """Windows side by side are put back without any addition."""
    g = np.arange(12.0).reshape(2, 2, 3)
    x = Tensor(np.zeros((2, 7)), requires_grad=True)
    with tracing.tracing():
        x.windows((1,), (3,), (3,), (1,)).backward(Tensor(g))
        assert x.grad is not None
        gradient = graph_node(x.grad)
        assert gradient.primitive is elementwise.stop_gradient
        primitives = {node.primitive for node in topological(gradient.inputs)}
    assert primitives <= {*movement.PRIMITIVES, INPUT, CONSTANT}
    x.windows((1,), (3,), (3,), (1,)).backward(g)
    assert x.grad.tolist() == [[0, 1, 2, 3, 4, 5, 0], [6, 7, 8, 9, 10, 11, 0]]


def test_windows_are_views_that_go_stale() -> None:
    """A changed input is noticed: the windows are not a copy of it."""
    x = Tensor(np.ones(4), requires_grad=True)
    y = x.windows((0,), (2,), (1,), (1,))
    loss = (y * y).sum()
    x.data = np.zeros(4)
    with pytest.raises(RuntimeError, match="changed after the forward pass"):
        loss.backward()


@pytest.mark.parametrize(
    ("axes", "sizes", "strides", "dilations", "message"),
    [
        ((0,), (6,), (1,), (1,), "spans 6 values does not fit in axis 0"),
        ((1,), (2,), (1,), (3,), "spans 4 values does not fit in axis 1"),
        ((0, 0), (2, 2), (1, 1), (1, 1), "named twice"),
        ((0,), (0,), (1,), (1,), "at least 1"),
        ((0,), (1,), (0,), (1,), "at least 1"),
        ((0,), (2, 2), (1,), (1,), "equally many"),
    ],
)
def test_windows_errors(axes: Any, sizes: Any, strides: Any, dilations: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Tensor(np.zeros((5, 3))).windows(axes, sizes, strides, dilations)


def torch_conv(torch: Any, x: Any, w: Any, params: Any) -> Any:
    """PyTorch's convolution, of an input that is padded first."""
    rank = x.ndim - 2
    ends = [n for pair in reversed(params["padding"]) for n in pair]
    function = (torch.conv1d, torch.conv2d, torch.conv3d)[rank - 1]
    return function(
        torch.nn.functional.pad(x, ends),
        w,
        None,
        params["strides"],
        0,
        params["dilations"],
        params["groups"],
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("primitive", "sample"), cases([conv]))
def test_conv_is_pytorchs(primitive: Primitive, sample: Sample, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    arrays = [a.astype(dtype) for a in sample.arrays]
    ours = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = run(primitive, *ours, **sample.params)
    expected = torch_conv(torch, theirs[0], theirs[1], sample.params)
    g = np.random.default_rng(0).normal(size=y.shape).astype(dtype)
    y.backward(g)
    expected.backward(torch.tensor(g))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    pairs = [(y, expected.detach()), *((a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))]
    for a, b in pairs:
        assert a is not None
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("primitive", "sample"), cases([conv]))
def test_expanded_conv_means_the_same(primitive: Primitive, sample: Sample) -> None:
    graph = graph_of_sample(primitive, sample.arrays, sample.params)
    expected = evaluate(graph, sample.arrays)
    for passes in (decompose, simplify):
        rewritten = passes(graph)
        used = {node.primitive for node in rewritten.nodes()}
        assert conv not in used
        assert {contraction.contract, contraction.matmul} & used
        np.testing.assert_allclose(evaluate(rewritten, sample.arrays), expected, rtol=1e-13)


def _spread_conv(seed: int) -> tuple[Graph, list[Array]]:
    """A convolution of values with zeros between them, of any rank, dilation and groups."""
    rng = np.random.default_rng(seed)
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    kernel = rng.integers(1, 5, rank)
    inner = rng.integers(0, 4, rank)
    inner[rng.integers(rank)] += 1
    low, high, dilations = (
        rng.integers(0, 4, rank),
        rng.integers(0, 4, rank),
        rng.integers(1, 4, rank),
    )
    padding = [(int(a), int(b)) for a, b in rng.integers(0, 3, (rank, 2))]
    extents = []
    for k, s, a, b, d, p in zip(kernel, inner + 1, low, high, dilations, padding, strict=True):
        missing = d * (k - 1) + 1 - (a + b + sum(p) + 1)
        extents.append(int(rng.integers(1, 4)) + max(0, -(-missing // s)))
    x = rng.normal(size=(2, 2 * groups, *extents))
    w = rng.normal(size=(3 * groups, 2, *kernel))
    nodes = input_node(Type.of(x)), input_node(Type.of(w))
    widths = ((0, 0, 0), (0, 0, 0), *zip(low.tolist(), high.tolist(), inner.tolist(), strict=True))
    spread = apply(movement.pad, nodes[0], widths=widths, value=0.0)
    plain = (1,) * rank
    words = {"padding": tuple(padding), "dilations": tuple(dilations.tolist()), "groups": groups}
    return Graph(nodes, (apply(conv, spread, nodes[1], strides=plain, **words),)), [x, w]


@pytest.mark.parametrize("seed", range(60))
def test_zeros_between_values_are_not_multiplied(seed: int) -> None:
    graph, arrays = _spread_conv(seed)
    expanded = decompose(graph)
    (expected,), (got,) = evaluate(graph, arrays), evaluate(expanded, arrays)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    for node in expanded.nodes():
        assert node.primitive is not movement.pad or not any(i for *_, i in node.params["widths"])


@pytest.mark.parametrize("seed", range(60, 66))
def test_zeros_between_values_natively(seed: int) -> None:
    graph, arrays = _spread_conv(seed)
    expected = evaluate(graph, arrays)[0]
    np.testing.assert_allclose(Case(graph).native(arrays)[0], expected, atol=1e-12)


def test_an_empty_batch() -> None:
    x = Tensor(np.zeros((0, 3, 5)), requires_grad=True)
    w = Tensor(np.ones((4, 3, 2)), requires_grad=True)
    y = x.conv(w, (1,), ((0, 0),), (1,))
    y.sum().backward()
    assert y.shape == (0, 4, 4)
    assert w.grad is not None
    assert not w.grad.numpy().any()


def infer(x: Any, w: Any, **options: Any) -> Type:
    rank = len(x) - 2
    params: dict[str, Any] = {
        "strides": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "dilations": (1,) * rank,
        "groups": 1,
    }
    f32 = np.dtype(np.float32)
    return convolution.conv.infer(Type(x, f32), Type(w, f32), **params | options)


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((2, 3, 8), (4, 2, 3), {}, "has 3 channels; a weight .* takes 2"),
        ((2, 4, 8), (4, 4, 3), {"groups": 2}, "has 4 channels; .* groups=2 takes 8"),
        ((2, 3, 8), (4, 1, 3), {"groups": 3}, "3 groups"),
        ((2, 3, 8), (4, 3, 9), {}, "spans 9 values does not fit in spatial axis 0"),
        ((2, 3, 8, 8), (4, 3, 3), {}, "must be"),
        ((2, 3, 8), (4, 3, 3), {"strides": (0,)}, "at least 1"),
        ((2, 3, 8), (4, 3, 3), {"padding": ((-1, 0),)}, "at least 0"),
        ((2, 3, 8), (4, 3, 3), {"dilations": (1, 1)}, "must have 1 entries"),
        ((2, 3, 0), (4, 3, 1), {"padding": ((1, 1),)}, "are empty"),
    ],
)
def test_conv_errors(x: Any, w: Any, options: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        infer(x, w, **options)


def test_conv_takes_one_float_dtype() -> None:
    x: Array = np.zeros((1, 1, 3), np.float32)
    nodes = [input_node(Type.of(x)), input_node(Type.of(x.astype(np.float64)))]
    params: dict[str, Any] = {"strides": (1,), "padding": ((0, 0),), "dilations": (1,)}
    with pytest.raises(DTypeError, match="differ"):
        apply(conv, *nodes, **params, groups=1)
    integers = input_node(Type.of(x.astype(np.int32)))
    with pytest.raises(DTypeError, match="float"):
        apply(conv, integers, integers, **params, groups=1)
