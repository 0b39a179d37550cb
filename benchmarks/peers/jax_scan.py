"""JAX, whole epochs inside one jitted `lax.scan`.

Fully connected networks only: XLA computes a convolution inside of a loop without its library,
20 to 200 times slower than `jax_step` does.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from benchmarks.peers import Unavailable
from benchmarks.peers.jax_step import State, advance, batches_of, parameters, start
from benchmarks.works import Layers, Work

UNROLL = 2  # the fastest of 1, 2, 4 and 8 on W1; the others hardly change


def _run(work: Work, state: State, x: jax.Array, t: jax.Array, epochs: jax.Array) -> State:
    def one(state: State, batch: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
        return advance(work, state, *batch), None

    def epoch(_: int, state: State) -> State:
        return jax.lax.scan(one, state, (x, t), unroll=UNROLL)[0]

    return jax.lax.fori_loop(0, epochs, epoch, state)


class Trainer:
    """The work in JAX, one call for any number of epochs."""

    def __init__(self, work: Work, threads: int = 1) -> None:
        if work.front:
            raise Unavailable("XLA has no fast convolutions inside of a loop")
        self.work = work
        self.x, self.t = (jnp.array(a) for a in batches_of(work))
        self._run = jax.jit(partial(_run, work), donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        """Back to the initial weights, with no velocity."""
        self.state = start(self.work)

    def train(self, epochs: int) -> float:
        """Train; the mean loss of the steps."""
        before = float(self.state[2])
        self.state = jax.block_until_ready(
            self._run(self.state, self.x, self.t, jnp.asarray(epochs, jnp.int32))
        )
        return (float(self.state[2]) - before) / (epochs * self.work.steps)

    def weights(self) -> Layers:
        """The trained parameters."""
        return parameters(self.work, self.state)
