"""Gradients of maxima: which of several largest values has it, by logic alone."""

from __future__ import annotations

import numpy as np
import pytest

import mynn
from mynn.compiler.loop_ir.ir import Let, Op
from mynn.compiler.loop_ir.walk import statements
from mynn.jit.program import Program


def gradient(size: int, relu: bool) -> object:
    """That of pooling [N, H, W, C], after relu or nothing, weighted by the second argument."""

    def f(x: mynn.Tensor, c: mynn.Tensor) -> mynn.Tensor:
        def loss(x: mynn.Tensor) -> mynn.Tensor:
            y = (x * 2).relu() if relu else x * 2
            y = mynn.functional.max_pool2d(y.permute(0, 3, 1, 2), size)
            return (y.permute(0, 2, 3, 1) * c).sum()

        return mynn.grad(loss)(x)

    return f


def awkward(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Few values, many of them equal, zeros of both signs, infinities, NaN."""
    rng = np.random.default_rng(seed)
    values = np.array([-1, -0.0, 0.0, 1, 2, np.inf, -np.inf, np.nan], np.float32)
    return rng.choice(values, shape, p=[0.15, 0.15, 0.15, 0.15, 0.15, 0.05, 0.05, 0.15])


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("size", "side"), [(2, 8), (3, 9), (4, 8)])
@pytest.mark.parametrize("channels", [3, 8, 16, 19])
def test_pooling(relu: bool, size: int, side: int, channels: int) -> None:
    f = gradient(size, relu)
    for seed in range(4):
        x = awkward((2, side, side, channels), seed)
        c = awkward((2, side // size, side // size, channels), seed + 50)
        found = mynn.compile(f)(x, c)
        with mynn.eager("at once"):
            wanted = f(mynn.tensor(x), mynn.tensor(c)).numpy()
        np.testing.assert_array_equal(found, wanted)


def test_no_numbers_of_places_are_left() -> None:
    x, c = np.ones((2, 8, 8, 8), np.float32), np.ones((2, 4, 4, 8), np.float32)
    program: Program = mynn.compile(gradient(2, True)).program(x, c)
    ops = [
        statement.value
        for statement in statements(program.lowered.kernels[0].body)
        if isinstance(statement, Let) and isinstance(statement.value, Op)
    ]
    assert not any(op.name == "minimum" for op in ops)
    # What each of the four values of a window has, and what is left for the last three.
    assert sum(op.name == "where" for op in ops) == 4 + 3


def test_comparisons_of_short_vectors_are_vectors() -> None:
    """In code for AVX-512 too, where longer ones are masks."""
    found = {}
    for channels in (8, 16):
        x = np.ones((2, 8, 8, channels), np.float32)
        c = np.ones((2, 4, 4, channels), np.float32)
        program: Program = mynn.compile(gradient(2, True)).program(x, c)
        found[channels] = program.assembly_for("x86-64-v4")
    assert "%k1" not in found[8]
    assert "%k1" in found[16]
