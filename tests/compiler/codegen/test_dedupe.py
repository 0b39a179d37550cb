"""Kernels that differ in their buffers alone have one body."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mynn.compiler import pipeline
from mynn.compiler.codegen.dedupe import FEWEST, kernel_key
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Kernel, Load, Local, Op, Store
from mynn.target.target import host
from mynn.tensor import Tensor
from tests.compiler.codegen.deep import train_deep
from tests.compiler.harness import Case
from tests.helpers import f32, graph_of, random_arrays

AT = Affine.var("i")
X, Y, Z = (Buffer(name, "f32", 16) for name in "xyz")


def double(
    x: Buffer, y: Buffer, factor: float = 2.0, extent: int = 16, storage: str = "register"
) -> Kernel:
    """y = factor * x."""
    kept = Buffer("kept", "f32", 16, storage)
    value = Op("mul", (Load(x, AT), Const(factor, "f32")), "f32")
    return Kernel("k", (Local(kept), For("i", extent, (Store(y, AT, value),))))


def test_buffers_make_no_difference() -> None:
    one, other = kernel_key(double(X, Y)), kernel_key(double(Z, X))
    assert one[0] == other[0]
    assert (set(one[1]), set(other[1])) == ({X, Y}, {Z, X})
    assert [one[1].index(b) for b in (X, Y)] == [other[1].index(b) for b in (Z, X)]


@pytest.mark.parametrize(
    "other",
    [
        double(X, Y, 3.0),
        double(X, Y, -0.0),
        double(X, Y, extent=8),
        double(X, X),
        double(Buffer("x", "f64", 16), Y),
        double(X, Buffer("y", "f32", 16, pitch=4)),
        double(X, Y, storage="scratch"),
    ],
)
def test_all_else_does(other: Kernel) -> None:
    assert kernel_key(other)[0] != kernel_key(double(X, Y))[0]
    assert kernel_key(double(X, Y, 0.0))[0] != kernel_key(double(X, Y, -0.0))[0]
    nan = float("nan")
    assert kernel_key(double(X, Y, nan))[0] == kernel_key(double(Z, Y, nan))[0]


def test_kernels_without_buffers() -> None:
    """State without elements: there is nothing to set, in as many kernels as there are."""
    graph = graph_of(lambda *s: (*s[1:], s[0]), *[f32(3, 0)] * FEWEST)
    case = Case(graph, {node: number for number, node in enumerate(graph.inputs)})
    assert len(case.lowered.kernels) >= FEWEST
    arguments = random_arrays(graph)
    assert [a.shape for a in case.native(arguments)] == [(3, 0)] * FEWEST


def layers(x: Tensor, *weights: Tensor) -> Tensor:
    for weight in weights:
        x = (x @ weight).tanh()
    return x


def test_layers_alike_are_compiled_once() -> None:
    graph = graph_of(layers, f32(8, 16), *(f32(16, 16) for _ in range(6)))
    case = Case(graph)
    text = pipeline.finish(case.lowered).text
    assert len(case.lowered.kernels) == 6
    assert len(re.findall(r"define internal void @k\d+\.body\(", text)) == 1
    arguments = random_arrays(graph)
    np.testing.assert_allclose(
        case.native(arguments)[0], case.interpreted(arguments)[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_training_a_deep_network(threads: int) -> None:
    losses = [train_deep(12, threads, backend) for backend in ("native", "interpreter")]
    np.testing.assert_allclose(*losses, rtol=2e-5)


def test_a_few_keep_their_own_code() -> None:
    """Small networks pay nothing for it."""
    graph = graph_of(layers, f32(8, 16), *(f32(16, 16) for _ in range(FEWEST - 1)))
    assert ".body" not in pipeline.finish(pipeline.lower(graph, host())).text
