"""JAX, one jitted step called from Python, its state donated."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Predictor
from benchmarks.works import Layers, Work, data, initial

jax.config.update("jax_cpu_enable_async_dispatch", False)

State = tuple[list, list, jax.Array]  # parameters, velocities, sum of the losses


def forward(work: Work, params: list, x: jax.Array) -> jax.Array:
    """The network's outputs."""
    for index, (w, b) in enumerate(params):
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


def start(work: Work) -> State:
    """The initial parameters on the device, velocities and sum at zero."""
    params = [(jnp.array(w), jnp.array(b)) for w, b in initial(work)]
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


def batches_of(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """The data as (steps, batch, ...) arrays."""
    x, t = data(work)
    if work.loss == "cross-entropy":
        t = t.astype(np.int32)
    return tuple(a.reshape(work.steps, work.batch, *a.shape[1:]) for a in (x, t))


class Trainer:
    """The work in JAX, a call a step."""

    def __init__(self, work: Work) -> None:
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
        return [(np.asarray(w), np.asarray(b)) for w, b in self.state[0]]


def predictor(work: Work) -> Predictor:
    """One sample through the jitted network."""
    params = start(work)[0]
    compiled = jax.jit(partial(forward, work))

    def predict(sample: jax.Array) -> jax.Array:
        return compiled(params, sample).block_until_ready()

    return predict, jnp.array(data(work)[0][:1])
