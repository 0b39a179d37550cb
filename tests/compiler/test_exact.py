"""A value is the same bits wherever a program computes it, and no instruction is free to differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import nn
from mynn.compiler import pipeline
from mynn.compiler.codegen.ops import verify_exact
from mynn.compiler.graph.multiply_add import fuse_multiply_adds
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import ArgMax, Elementwise, Reduction
from mynn.core.graph import Graph, verify
from mynn.core.types import Type
from mynn.errors import VerifyError
from mynn.ops import elementwise, reduce
from mynn.target.target import host
from mynn.tensor.promotion import apply as tensor_apply
from tests.compiler.graph.simplification import simplify
from tests.compiler.harness import Case
from tests.helpers import f32, graph_of

RNG = np.random.default_rng(6)
X = RNG.normal(size=(6, 33, 96)).astype(np.float32)


def window_gradients(layers: Callable[[Any], Any], size: int) -> np.ndarray:
    """The gradient of the sum of pooled values, window by window: (..., windows, size)."""
    x = mynn.Tensor(X)
    g = np.asarray(mynn.compile(mynn.grad(lambda v: layers(v).sum()))(x))
    return g.reshape(*X.shape[:2], -1, size)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("size", [2, 3, 8, 16, 32])
@pytest.mark.parametrize(
    "before",
    [
        lambda v: v * 1.7 + 0.3,
        lambda v: v * 1.7 - v * v * 0.2,
        lambda v: 0.5 - v * 0.3,
        lambda v: (v * 0.7 + 0.1) * (v * 0.2 + 1.5) + v,
        lambda v: (v * v + 0.01).sqrt() * 3 - 1,
    ],
    ids=range(5),
)
def test_every_window_has_its_gradient(before: Callable[[Any], Any], size: int) -> None:
    """Where the maximum is compared with values computed again, one of them is the maximum."""
    found = window_gradients(lambda v: F.max_pool1d(before(v), size), size)
    slopes = mynn.grad(lambda v: before(v).sum())(mynn.Tensor(X)).numpy()
    slopes = slopes.reshape(found.shape)
    share = (found / slopes).sum(axis=-1)
    np.testing.assert_allclose(share, 1, rtol=1e-4)


@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm1d(33), lambda: nn.GroupNorm(3, 33)])
def test_pooling_after_a_norm(norm: Callable[[], nn.Module]) -> None:
    net = nn.Sequential(norm(), nn.MaxPool1d(8))
    weight = mynn.Tensor(RNG.normal(size=(6, 33, 12)).astype(np.float32))

    def loss(v: Any) -> Any:
        return (net(v) * weight).sum()

    x = mynn.Tensor(X)
    eager = mynn.grad(loss)(x).numpy()
    compiled = np.asarray(mynn.compile(mynn.grad(loss))(x))
    assert np.abs(compiled - eager).max() < 1e-4 * np.abs(eager).max()


@pytest.mark.parametrize("extremum", [np.maximum, np.minimum])
def test_zeros_of_either_sign_are_chosen_alike(extremum: Any) -> None:
    """Among scalars, tails of vectors and whole ones."""
    name = extremum.__name__
    chosen = set()
    for count in (1, 2, 3, 5, 16, 33):
        x = np.full(count, -0.0, np.float32)

        def both(x: Any, y: Any) -> Any:
            z = getattr(elementwise, name)
            return tensor_apply(z, x, y), tensor_apply(z, x, y) * y

        first, second = Case(graph_of(both, x, x)).native([x, x + 0.0])
        chosen |= {bool(sign) for sign in np.signbit(first)}
        assert (np.signbit(second) == np.signbit(first)).all()
    assert len(chosen) == 1


# -- which products are rounded --------------------------------------------------------------------


def largest(x: Any) -> Any:
    """The largest of each row, as a column."""
    return tensor_apply(reduce.max, x, axes=(1,)).reshape(x.shape[0], 1)


def operations(graph: Graph) -> list[str]:
    """The names of the operations after the pass, those of inputs and movement left out."""
    return [
        node.primitive.name
        for node in graph.nodes()
        if isinstance(rule_of(node), Elementwise | Reduction | ArgMax)
    ]


def fused_graph(function: Callable[..., Any], *types: Type) -> Graph:
    graph = fuse_multiply_adds(simplify(graph_of(function, *types)))
    verify(graph)
    assert fuse_multiply_adds(graph) is graph
    return graph


THREE = f32(3, 4)
CASES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "a product and an addend": (lambda x, y, z: x * y + z, ["fma"]),
    "a difference": (lambda x, y, z: x * y - z, ["fma"]),
    "a product taken away": (lambda x, y, z: z - x * y, ["fma"]),
    "two products": (lambda x, y, z: x * y + y * z, ["mul", "fma"]),
    "equal products differ by 0": (lambda x, y, z: x * y - y * z, ["mul", "mul", "sub"]),
    "whatever they are seen through": (
        lambda x, y, z: (x * y).reshape(4, 3) - (y * z).reshape(4, 3),
        ["mul", "mul", "sub"],
    ),
    "seen by two": (lambda x, y, z: (x * y + z, x * y), ["mul", "add"]),
    "a difference from its maximum": (
        lambda x, y, z: x * y - largest(x * y),
        ["mul", "max", "sub"],
    ),
    "a difference from its mean": (
        lambda x, y, z: x * y - (x * y).sum(1, keepdims=True),
        ["mul", "sum", "sub"],
    ),
    "a sum": (lambda x, y, z: (x * y).sum(), ["mul_unrounded", "sum"]),
    "sums": (
        lambda x, y, z: ((x * y).sum(0), (x * y).sum(1)),
        ["mul_unrounded", "sum", "sum"],
    ),
    "a sum of what was moved": (
        lambda x, y, z: (x * y).T.reshape(2, 6).sum(0),
        ["mul_unrounded", "sum"],
    ),
    "a maximum": (lambda x, y, z: largest(x * y), ["mul", "max"]),
}


@pytest.mark.parametrize("name", CASES)
def test_which_products_are_rounded(name: str) -> None:
    function, expected = CASES[name]
    assert operations(fused_graph(function, THREE, THREE, THREE)) == expected


def test_integers_are_left_alone() -> None:
    integers = Type((3,), np.dtype(np.int32))
    graph = fused_graph(lambda x, y: ((x * y + y), (x * y).sum()), integers, integers)
    assert not {"fma", "mul_unrounded"} & set(operations(graph))


def test_a_machine_without_the_instruction_rounds_twice() -> None:
    bare = dataclasses.replace(host(), features="", vector_bytes=16)
    x = np.array([1 + 2.0**-12], np.float32)
    graph = graph_of(lambda x, z: (x * x + z, (x * x - z) * 1.5), x, x)
    lowered = pipeline.lower(graph, bare, check=True)
    assert "fma" not in pipeline.finish(lowered, check=True).text
    y, z = Case(graph, target=bare).native([x, -x * x])
    assert y == 0
    assert z == x * x * 3


# -- what is emitted -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "  %v1 = fadd contract <8 x float> %a, %b",
        "  %v1 = fmul nnan ninf float %a, %b",
        "  %v1 = call nsz <8 x float> @llvm.maximum.v8f32(<8 x float> %a, <8 x float> %b)",
        "  %v1 = call float @llvm.fmuladd.f32(float %a, float %b, float %c)",
        "  %v1 = tail call fast float @llvm.sqrt.f32(float %a)",
        "  %v1 = select nsz i1 %c, float %a, float %b",
    ],
)
def test_free_instructions_are_found(line: str) -> None:
    with pytest.raises(VerifyError, match="leaves its rounding"):
        verify_exact(f"define float @f() {{\n{line}\n}}\n")


def test_exact_instructions_pass() -> None:
    verify_exact(
        "  %v1 = fadd <8 x float> %a, %b\n  call void @fast(ptr %table)\n"
        "  %v2 = call float @llvm.fma.f32(float %a, float %b, float %c) ; contract[3, 4]\n"
    )
