"""Attention in blocks: tiles and rests of them, masks, dropout, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.core.graph import Graph, apply, input_node
from mynn.core.types import Array, Type
from mynn.functional import scaled_dot_product_attention
from mynn.functional.dropout import shares_dropped
from mynn.ops.attention import attention, gradient
from mynn.target.target import host
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.registry.running import pytorch

# Queries, keys, features: less than a tile, tiles and rests of them, more than a block.
EXTENTS = [(1, 1, 1), (4, 8, 8), (5, 7, 3), (3, 40, 9), (23, 50, 17), (70, 70, 4), (150, 130, 6)]
MACHINES = [(16, 16), (32, 16), (64, 32)]


def _inputs(extents: Sequence[int], mask: str, drop: float, dtype: Any) -> list[Array]:
    rng = np.random.default_rng(3)
    length, keys, width = extents
    shapes = [(2, length, 2, width), (2, keys, 2, width), (2, keys, 2, width)]
    arrays: list[Array] = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    matrix = (2, 2, length, keys)
    if mask == "added":
        arrays.append(rng.normal(size=matrix).astype(dtype))
    elif mask == "bools":
        arrays.append(rng.uniform(size=matrix) < 0.6)
    if drop:
        arrays.append(rng.uniform(size=matrix) > drop)
    return arrays


@pytest.mark.one_in(28)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("mask", "drop"), [("", 0.0), ("bools", 0.0), ("added", 0.3)])
@pytest.mark.parametrize("extents", EXTENTS)
@pytest.mark.parametrize("machine", MACHINES)
def test_native_code_means_what_the_interpreter_means(
    machine: tuple[int, int], extents: Sequence[int], mask: str, drop: float, causal: bool
) -> None:
    dtype = np.float64 if extents[0] % 2 else np.float32
    arrays = _inputs(extents, mask, drop, dtype)
    g = np.random.default_rng(5).normal(size=(*arrays[0].shape[:2], 2 * extents[2])).astype(dtype)
    params = {"causal": causal, "scale": 0.7, "mask": bool(mask), "drop": drop}
    bytes_, registers = min(machine[0], host().vector_bytes), machine[1]
    target = replace(host(), vector_bytes=bytes_, vector_registers=registers)
    for primitive, given in ((attention, arrays), (gradient, [g, *arrays])):
        nodes = tuple(input_node(Type.of(x)) for x in given)
        case = Case(Graph(nodes, (apply(primitive, *nodes, **params),)), target=target)
        expected = case.interpreted(given)[0]
        tolerance = 2e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(case.native(given)[0], expected, rtol=0, atol=tolerance)


def test_the_loop_ir_means_it_too() -> None:
    arrays = _inputs((7, 9, 5), "bools", 0.2, np.float32)
    g = np.random.default_rng(5).normal(size=(2, 7, 10)).astype(np.float32)
    params = {"causal": True, "scale": 0.7, "mask": True, "drop": 0.2}
    for primitive, given in ((attention, arrays), (gradient, [g, *arrays])):
        nodes = tuple(input_node(Type.of(x)) for x in given)
        case = Case(Graph(nodes, (apply(primitive, *nodes, **params),)))
        np.testing.assert_allclose(
            case.evaluated(given)[0], case.interpreted(given)[0], rtol=0, atol=1e-5
        )


def _trained(options: dict[str, Any], padded: bool) -> Any:
    def step(q: Any, k: Any, v: Any, padding: Any) -> Any:
        q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
        mask = {"attn_mask": padding.unsqueeze(1).unsqueeze(1)} if padded else {}
        y = scaled_dot_product_attention(q, k, v, **mask, **options)
        return mynn.autograd.grad((y * y).sum(), (q, k, v))

    return mynn.compile(step)


@pytest.mark.wide
@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("options", "padded"), [({"is_causal": True}, False), ({"dropout_p": 0.2}, True)]
)
def test_memory_grows_with_the_length_alone(options: dict[str, Any], padded: bool) -> None:
    """Neither scores, masks nor what dropout draws are there for all queries and keys."""

    def numbers(length: int) -> int:
        x = [np.ones((1, 2, length, 8), np.float32) for _ in range(3)]
        program = _trained(options, padded).program(*x, np.ones((1, length), np.bool_))
        assert max(buffer.elements for buffer in program.buffers) < length * length
        return sum(buffer.elements for buffer in program.buffers)

    assert numbers(4096) <= 2.01 * numbers(2048)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("mask", "compiled", "width"),
    [
        ("none", False, 5),
        ("causal", False, 8),
        ("bools", True, 8),
        ("added", False, 8),
        ("learned", False, 5),
    ],
)
def test_gradients_of_gradients_are_those_of_torch(mask: str, compiled: bool, width: int) -> None:
    """Values wider or narrower than keys, axes that broadcast, masks that are learned."""
    torch = pytorch()
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=s) for s in ((2, 1, 6, 4), (2, 3, 7, 4), (3, 7, width), (6, 7))]

    def run(lib: Any, attend: Any, q: Any, k: Any, v: Any, added: Any) -> Any:
        options: dict[str, Any] = {"is_causal": mask == "causal"}
        if mask == "bools":
            options["attn_mask"] = added > -0.5
        elif mask in ("added", "learned"):
            options["attn_mask"] = added if mask == "learned" else added.detach()
        y = attend(q, k, v, **options)
        inputs = (q, k, v, *((added,) if mask == "learned" else ()))
        first = lib.autograd.grad((y * y * y).sum(), inputs, create_graph=True)
        total = sum((g * g).sum() for g in first)
        return (y, *first, *lib.autograd.grad(total, inputs))

    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    attend = torch.nn.functional.scaled_dot_product_attention
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = run(torch, attend, *theirs)

    def ours(*inputs: Any) -> Any:
        given = [(x.detach() if compiled else mynn.tensor(x)).requires_grad_() for x in inputs]
        return run(mynn, scaled_dot_product_attention, *given)

    got = (mynn.compile(ours) if compiled else ours)(*arrays)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_dropout_leaves_the_mean_and_is_what_shares_lose() -> None:
    """The same draws as of shares that are there: every backend drops the same ones."""
    rng = np.random.default_rng(2)
    q, k, v = (rng.normal(size=(2, 2, 9, 4)).astype(np.float32) for _ in range(3))

    def attend(q: Any, k: Any, v: Any) -> Any:
        return scaled_dot_product_attention(q, k, v, dropout_p=0.4, is_causal=True)

    results = []
    for backend in ("native", "interpreter"):
        mynn.manual_seed(3)
        results.append(np.asarray(mynn.compile(attend, backend=backend)(q, k, v)))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    mynn.manual_seed(3)
    shares = mynn.functional.softmax(
        Tensor(q) @ Tensor(k).transpose(-2, -1) * 0.5
        + np.triu(np.full((9, 9), -np.inf, np.float32), 1),
        -1,
    )
    dropped = shares_dropped(shares, 0.4) @ v
    np.testing.assert_allclose(results[0], dropped.numpy(), atol=1e-6)
