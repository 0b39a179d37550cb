"""JAX, one jitted step called from Python, its state donated.

Images lie with their channels last, which is a few per cent faster here than channels first. The
environment says how many threads there are (`process.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.layers import Layer, cotangent, images
from benchmarks.peers import Differentiator, Predictor
from benchmarks.works import Layers, Pool, Work, data, initial

jax.config.update("jax_cpu_enable_async_dispatch", False)

AXES = ("NHWC", "HWIO", "NHWC")
State = tuple[list, list, jax.Array]  # parameters, velocities, sum of the losses


def forward(work: Work, params: list, x: jax.Array) -> jax.Array:
    """The network's outputs."""
    layers = iter(params)
    for part in work.front:
        if isinstance(part, Pool):
            window = (1, part.size, part.size, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
        else:
            w, b = next(layers)
            margins = [(part.padding, part.padding)] * 2
            x = jax.lax.conv_general_dilated(x, w, (1, 1), margins, dimension_numbers=AXES)
            x = jax.nn.relu(x + b)
    x = x.reshape(len(x), -1)
    for index, (w, b) in enumerate(layers):
        x = x @ w + b
        if work.activated(index):
            x = jnp.tanh(x) if work.activation == "tanh" else jax.nn.relu(x)
    return x


def loss_of(work: Work, params: list, x: jax.Array, t: jax.Array) -> jax.Array:
    """The work's loss."""
    y = forward(work, params, x)
    if work.loss == "squares":
        return ((y - t) ** 2).sum() / work.batch
    shifted = y - jax.scipy.special.logsumexp(y, axis=1, keepdims=True)
    return -jnp.take_along_axis(shifted, t[:, None], axis=1).mean()


def _rows(work: Work) -> np.ndarray:
    """For each feature of a flattened image in the order (H, W, C), its place in (C, H, W)."""
    channels = work.convs[-1].outputs
    return np.arange(work.sizes[0]).reshape(channels, -1).T.ravel()


def start(work: Work) -> State:
    """The initial parameters on the device, in JAX's order; velocities and sum at zero."""
    layers = initial(work)
    for index, (w, b) in enumerate(layers):
        if w.ndim == 4:
            layers[index] = w.transpose(2, 3, 1, 0), b
        elif work.front and index == len(work.convs):
            layers[index] = w[_rows(work)], b
    params = [(jnp.array(w), jnp.array(b)) for w, b in layers]
    velocity = jax.tree.map(jnp.zeros_like, params) if work.momentum else []
    return params, velocity, jnp.zeros(())


def advance(work: Work, state: State, x: jax.Array, t: jax.Array) -> State:
    """One training step."""
    params, velocity, total = state
    loss, grads = jax.value_and_grad(partial(loss_of, work))(params, x, t)
    if work.momentum:
        velocity = jax.tree.map(lambda v, g: work.momentum * v + g, velocity, grads)
        grads = velocity
    params = jax.tree.map(lambda p, g: p - work.lr * g, params, grads)
    return params, velocity, total + loss


def parameters(work: Work, state: State) -> Layers:
    """The parameters in the order of the works."""
    layers = [(np.array(w), np.array(b)) for w, b in state[0]]
    for index, (w, b) in enumerate(layers):
        if w.ndim == 4:
            layers[index] = w.transpose(3, 2, 0, 1), b
        elif work.front and index == len(work.convs):
            layers[index] = w[np.argsort(_rows(work))], b
    return layers


def images_last(x: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) as (N, H, W, C); anything else as it is."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def batches_of(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """The data as (steps, batch, ...) arrays."""
    x, t = data(work)
    x = images_last(x)
    if work.loss == "cross-entropy":
        t = t.astype(np.int32)
    return tuple(a.reshape(work.steps, work.batch, *a.shape[1:]) for a in (x, t))


class Trainer:
    """The work in JAX, a call a step."""

    def __init__(self, work: Work, threads: int = 1) -> None:
        self.work = work
        self.batches = [
            (jnp.array(x), jnp.array(t)) for x, t in zip(*batches_of(work), strict=True)
        ]
        self._step = jax.jit(partial(advance, work), donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        """Back to the initial weights, with no velocity."""
        self.state = start(self.work)

    def train(self, epochs: int) -> float:
        """Train; the mean loss of the steps."""
        state, step = self.state, self._step
        before = float(state[2])
        for _ in range(epochs):
            for x, t in self.batches:
                state = step(state, x, t)
        self.state = jax.block_until_ready(state)
        return (float(state[2]) - before) / (epochs * self.work.steps)

    def weights(self) -> Layers:
        """The trained parameters."""
        return parameters(self.work, self.state)


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """`batch` samples through the jitted network."""
    params = start(work)[0]
    compiled = jax.jit(partial(forward, work))

    def predict(sample: jax.Array) -> jax.Array:
        return compiled(params, sample).block_until_ready()

    return predict, jnp.array(images_last(data(work)[0][:batch]))


class _Layers:
    """The layers of `benchmarks.layers` as functions of parameters and images."""

    def MaxPool2d(self, size: int, stride: int = 0, padding: int = 0) -> tuple[Any, list]:
        window, steps = (1, 1, size, size), (1, 1, stride or size, stride or size)
        margins = [(0, 0), (0, 0), (padding, padding), (padding, padding)]

        def apply(params: list, x: jax.Array) -> jax.Array:
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, steps, margins)

        return apply, []

    def AvgPool2d(self, size: int) -> tuple[Any, list]:
        window = (1, 1, size, size)

        def apply(params: list, x: jax.Array) -> jax.Array:
            total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID")
            return total / size**2

        return apply, []

    def GroupNorm(self, groups: int, channels: int) -> tuple[Any, list]:
        def apply(params: list, x: jax.Array) -> jax.Array:
            y = _standardized(x.reshape(len(x), groups, -1), (2,)).reshape(x.shape)
            return y * params[0][:, None, None] + params[1][:, None, None]

        return apply, [jnp.ones(channels), jnp.zeros(channels)]

    def BatchNorm2d(self, channels: int) -> tuple[Any, list]:
        def apply(params: list, x: jax.Array) -> jax.Array:
            y = _standardized(x, (0, 2, 3))
            return y * params[0][:, None, None] + params[1][:, None, None]

        return apply, [jnp.ones(channels), jnp.zeros(channels)]

    def LayerNorm(self, shape: tuple[int, ...]) -> tuple[Any, list]:
        def apply(params: list, x: jax.Array) -> jax.Array:
            return _standardized(x, (1, 2, 3)) * params[0] + params[1]

        return apply, [jnp.ones(shape), jnp.zeros(shape)]


def _standardized(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5)


def differentiator(layer: Layer, threads: int = 1) -> Differentiator:
    """The jitted layer and its gradients."""
    apply, params = layer.make(_Layers())
    x = jnp.array(images(layer))
    c = jnp.array(cotangent(apply(params, x).shape))

    @jax.jit
    def both(params: list, x: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
        y, back = jax.vjp(apply, params, x)
        gradients, dx = back(c)
        return y, dx, *gradients

    return lambda: jax.block_until_ready(both(params, x, c))
