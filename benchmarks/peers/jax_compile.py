"""JAX: the first call of a jitted training step of the networks in `benchmarks.compiling`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AXES = ("NHWC", "HWIO", "NHWC")
Shape = tuple[int, ...]


def _zeros(*shapes: Shape) -> list[np.ndarray]:
    return [np.zeros(shape, np.float32) for shape in shapes]


def _conv_shapes(n: int, m: int, size: int = 3) -> list[Shape]:
    """A convolution's weight, then scale and shift of its normalisation."""
    return [(size, size, n, m), (m,), (m,)]


def _conv(params: Iterator[Any], x: jax.Array, stride: int = 1) -> jax.Array:
    w, scale, shift = next(params), next(params), next(params)
    pads = [(w.shape[0] // 2, w.shape[0] // 2)] * 2
    y = jax.lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=AXES)
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    return (y - mean) * jax.lax.rsqrt(var + 1e-5) * scale + shift


def _tanh(params: list, x: jax.Array) -> jax.Array:
    for w, b in zip(params[::2], params[1::2], strict=True):
        x = jnp.tanh(x @ w + b)
    return x


def first_step(name: str, blocks: Sequence[tuple[int, int, int]], batch: int) -> float:
    """Seconds from the parameters to the end of the first step."""
    if name.startswith("compile-tanh"):
        layers = int(name.removeprefix("compile-tanh"))
        params = _zeros(*[(64, 64), (64,)] * layers)
        x, t = _zeros((batch, 64), (batch, 64))

        def loss_of(params: list, x: jax.Array, t: jax.Array) -> jax.Array:
            return ((_tanh(params, x) - t) ** 2).mean()

    else:
        deep = name == "compile-resnet20"
        shapes = _conv_shapes(3, 16)
        if deep:
            for n, m, _ in blocks:
                shapes += [*_conv_shapes(n, m), *_conv_shapes(m, m)]
                shapes += _conv_shapes(n, m, 1) if n != m else []
        else:
            shapes += _conv_shapes(16, 16) * 4
        last, side = (64, 32) if deep else (16 * 16 * 16, 16)
        params = _zeros(*shapes, (last, 10), (10,))
        (x,) = _zeros((batch, side, side, 3))
        t = np.zeros(batch, np.int32)

        def logits(params: list, x: jax.Array) -> jax.Array:
            rest = iter(params)
            x = jax.nn.relu(_conv(rest, x))
            for n, m, stride in blocks if deep else ():
                y = _conv(rest, jax.nn.relu(_conv(rest, x, stride)))
                x = jax.nn.relu(y + (x if n == m else _conv(rest, x, stride)))
            for _ in range(0 if deep else 4):
                x = jax.nn.relu(_conv(rest, x))
            x = x.mean((1, 2)) if deep else x.reshape(batch, -1)
            return x @ next(rest) + next(rest)

        def loss_of(params: list, x: jax.Array, t: jax.Array) -> jax.Array:
            y = jax.nn.log_softmax(logits(params, x))
            return -jnp.take_along_axis(y, t[:, None], axis=1).mean()

    @jax.jit
    def step(params: list, x: jax.Array, t: jax.Array) -> tuple[list, jax.Array]:
        loss, gradients = jax.value_and_grad(loss_of)(params, x, t)
        moved = [p - 0.01 * g for p, g in zip(params, gradients, strict=True)]
        return moved, loss

    start = perf_counter()
    jax.block_until_ready(step(params, x, t))
    return perf_counter() - start
