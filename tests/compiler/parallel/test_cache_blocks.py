"""Kernels in blocks of rows: the same bits as one kernel after the other, in one pass of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.parallel import cache_blocks, split
from mynn.compiler.parallel.cache_blocks import CacheBlock
from mynn.runtime.llvm_jit import build
from mynn.target.target import host
from mynn.tensor import Tensor
from tests.compiler.harness import Case, run_native
from tests.fuzz import native
from tests.helpers import f32, graph_of, random_arrays, same_bits
from tests.subset import count

SEEDS = range(48)


@pytest.fixture
def tiny_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every run of kernels is cut into many shares."""
    with monkeypatch.context() as patch:
        patch.setattr(cache_blocks, "_LEAST_BYTES", 0)
        patch.setattr(cache_blocks, "_BLOCK_BYTES", 64)
        patch.setattr(cache_blocks, "_LEAST_PIECE", 0)
        patch.setattr(split, "SMALL", 0)
        yield patch


def normalised(x: Tensor, g: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """Group normalisation and its gradients."""
    y = F.group_norm(x, 3, w, b)
    dx, dw, db = mynn.grad(lambda *v: (F.group_norm(v[0], 3, *v[1:]) * g).sum(), (0, 1, 2))(x, w, b)
    return y, dx, dw, db


def softmax(x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    return F.softmax(x, 1), mynn.grad(lambda v: (F.softmax(v, 1) * g).sum())(x)


CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "group norm": (normalised, (f32(16, 6, 5, 7), f32(16, 6, 5, 7), f32(6), f32(6))),
    "group norm of vectors": (normalised, (f32(33, 6), f32(33, 6), f32(6), f32(6))),
    "softmax": (softmax, (f32(37, 11), f32(37, 11))),
    "softmax of columns": (softmax, (f32(3, 5, 40), f32(3, 5, 40))),
}


def shares(lowered: Compilation) -> list[int]:
    return [block.shares for block in pipeline.finish(lowered).blocks]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits(name: str, tiny_cache: pytest.MonkeyPatch) -> None:
    function, types = CASES[name]
    case = Case(graph_of(function, *types))
    arguments = random_arrays(case.graph)
    assert max(shares(case.lowered)) > 1
    blocked = run_native(
        case, build(pipeline.finish(case.lowered, check=True).text, case.target), arguments
    )
    tiny_cache.undo()
    whole = Case(case.graph)
    assert shares(whole.lowered) == [1]
    for a, b in zip(blocked, whole.native(arguments), strict=True):
        assert same_bits(a, b)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", ["plain", "gradient", "stateful"])
def test_random_programs(kind: str, tiny_cache: pytest.MonkeyPatch) -> None:
    """Any graph, with state in place: the blocks change no bit."""
    programs = [p for seed in SEEDS[:: count(3, 9)] if (p := native.KINDS[kind](seed)) is not None]
    tiny_cache.setenv("MYNN_CACHE", "0")
    blocked = [native.run(program) for program in programs]
    tiny_cache.setattr(cache_blocks, "_LEAST_BYTES", 1 << 40)
    for program, steps in zip(programs, blocked, strict=True):
        for got, expected in zip(steps, native.run(program), strict=True):
            assert all(same_bits(a, b) for a, b in zip(got, expected, strict=True)), program


@pytest.mark.wide
def test_random_programs_are_cut(tiny_cache: pytest.MonkeyPatch) -> None:
    """What the test above runs is in blocks often enough."""
    cut = 0
    for seed in SEEDS:
        program = native.KINDS["gradient"](seed)
        if program is not None:
            cut += max(shares(pipeline.lower(program.graph, host())), default=1) > 1
    assert cut > 3


def test_only_what_streams_is_cut(tiny_cache: pytest.MonkeyPatch) -> None:
    """A product would copy its panels again for every share."""

    def function(x: Tensor, w: Tensor) -> Tensor:
        return F.softmax((x @ w).tanh() @ w, 1)

    lowered = pipeline.lower(graph_of(function, f32(64, 64), f32(64, 64)), host())
    blocks = pipeline.finish(lowered).blocks
    products = [b for b in blocks if any("matmul" in k.comment for k in b.kernels)]
    assert products
    assert all(block.shares == 1 for block in products)


def test_what_fits_the_cache_stays_whole() -> None:
    lowered = pipeline.lower(graph_of(softmax, f32(37, 11), f32(37, 11)), host())
    assert pipeline.finish(lowered).blocks == [CacheBlock(tuple(lowered.kernels))]


def test_large_normalisation_is_one_pass_forward_and_backward() -> None:
    shape = (64, 16, 28, 28)
    lowered = pipeline.lower(
        graph_of(normalised_4, f32(*shape), f32(*shape), f32(16), f32(16)), host()
    )
    blocks = pipeline.finish(lowered).blocks
    assert blocks[0].shares > 8
    moved = sum(kernel.nbytes for kernel in blocks[0].kernels)
    assert moved > 0.95 * sum(kernel.nbytes for kernel in lowered.kernels)


def normalised_4(x: Tensor, g: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    y = F.group_norm(x, 4, w, b)
    return y, mynn.grad(lambda v: (F.group_norm(v, 4, w, b) * g).sum())(x)


def test_rows_are_not_cut_into_narrow_columns() -> None:
    """Two kernels that share a row of statistics only: 64 shares of 8 columns each went over all
    rows 64 times, which took three times as long as one pass.
    """

    def function(x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)

    blocks = pipeline.finish(pipeline.lower(graph_of(function, f32(15625, 64)), host())).blocks
    assert all(block.shares == 1 for block in blocks)


def test_profile_of_blocks() -> None:
    program = mynn.compile(lambda x: F.softmax(x, 1)).program(np.ones((4096, 128), np.float32))
    assert any(block.shares > 1 for block in pipeline.finish(program.lowered).blocks)
    assert len(program.profile(repeat=1)) == len(program.lowered.kernels)
