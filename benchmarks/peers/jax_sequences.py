"""JAX: the training steps on sequences, S1 to S6; a pass over the data is one jitted `lax.scan`.

The parameters have the names and shapes of PyTorch's, so that everybody starts from equal ones. The
environment says how many threads there are (`process.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import networks, ours
from benchmarks.loops import LOOPS, Program
from benchmarks.loops.sequences import LR, MOMENTUM, STEPS
from benchmarks.works import Array

jax.config.update("jax_cpu_enable_async_dispatch", False)

HEADS, LAYERS = 4, 2
Params = dict[str, jax.Array]
Forward = Callable[[Params, jax.Array], jax.Array]
State = tuple[Params, Params]  # parameters, velocities


# -- the networks ----------------------------------------------------------------------------------


def _linear(p: Params, name: str, x: jax.Array) -> jax.Array:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _recurrent(p: Params, name: str, x: jax.Array) -> jax.Array:
    """The outputs of all steps, [L, N, H], of a GRU or an LSTM; x is [N, L, inputs]."""
    weight = p[f"{name}.weight_hh_l0"]
    hidden = weight.shape[1]
    gates = x.swapaxes(0, 1) @ p[f"{name}.weight_ih_l0"].T + p[f"{name}.bias_ih_l0"]
    zero = jnp.zeros((len(x), hidden))

    def gru(h: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = h @ weight.T + p[f"{name}.bias_hh_l0"]
        r, z = jnp.split(jax.nn.sigmoid((given + own)[:, : 2 * hidden]), 2, 1)
        n = jnp.tanh(given[:, 2 * hidden :] + r * own[:, 2 * hidden :])
        h = n + z * (h - n)
        return h, h

    def lstm(
        state: tuple[jax.Array, jax.Array], given: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        h, c = state
        i, f, g, o = jnp.split(given + h @ weight.T + p[f"{name}.bias_hh_l0"], 4, 1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    if len(weight) == 3 * hidden:
        return jax.lax.scan(gru, zero, gates)[1]
    return jax.lax.scan(lstm, (zero, zero), gates)[1]


def _classifier(p: Params, x: jax.Array) -> jax.Array:
    return _linear(p, "head", _recurrent(p, "layer", x)[-1])


def _characters(p: Params, x: jax.Array) -> jax.Array:
    return _linear(p, "head", _recurrent(p, "gru", p["table.weight"][x]).swapaxes(0, 1))


def _norm(p: Params, name: str, x: jax.Array) -> jax.Array:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    scaled = (x - mean) * jax.lax.rsqrt(var + 1e-5)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def _attention(p: Params, name: str, x: jax.Array) -> jax.Array:
    rows, length, width = x.shape
    packed = x @ p[f"{name}.in_proj_weight"].T + p[f"{name}.in_proj_bias"]
    q, k, v = (part.reshape(rows, length, HEADS, -1) for part in jnp.split(packed, 3, -1))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return _linear(p, f"{name}.out_proj", y.reshape(rows, length, width))


def _transformer(p: Params, x: jax.Array) -> jax.Array:
    h = p["table.weight"][x] + p["places.weight"][: x.shape[1]]
    for layer in (f"blocks.layers.{i}" for i in range(LAYERS)):
        h = h + _attention(p, f"{layer}.self_attn", _norm(p, f"{layer}.norm1", h))
        y = _linear(p, f"{layer}.linear1", _norm(p, f"{layer}.norm2", h))
        h = h + _linear(p, f"{layer}.linear2", jax.nn.gelu(y, approximate=False))
    return _linear(p, "head", _norm(p, "blocks.norm", h))


def _bag(p: Params, x: jax.Array) -> jax.Array:
    return _linear(p, "1", p["0.weight"][x].mean(1))


FORWARD: dict[str, Forward] = {
    **dict.fromkeys(("S1", "S2", "S3"), _classifier),
    "S4": _transformer,
    "S5": _bag,
    "S6": _characters,
}


# -- training --------------------------------------------------------------------------------------


def _loss(forward: Forward, params: Params, x: jax.Array, t: jax.Array) -> jax.Array:
    scores = jax.nn.log_softmax(forward(params, x))
    return -jnp.take_along_axis(scores, t[..., None], axis=-1).mean()


def _step(
    forward: Forward, state: State, batch: tuple[jax.Array, jax.Array]
) -> tuple[State, jax.Array]:
    params, velocity = state
    loss, grads = jax.value_and_grad(partial(_loss, forward))(params, *batch)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, grads)
    return (jax.tree.map(lambda p, v: p - LR * v, params, velocity), velocity), loss


class _Network:
    """Parameters under the names of a network of another library."""

    def __init__(self, net: Any) -> None:
        self.params = {name: jnp.array(w) for name, w in networks.weights(net).items()}
        self._names = tuple(self.params)  # JAX sorts them

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """As a module gives them."""
        return ((name, np.array(self.params[name])) for name in self._names)


def _program(name: str, data: tuple[Array, ...], net: Any) -> Program:
    """A pass over the data, from the weights that everybody starts with."""
    network = _Network(net)
    x, t = (jnp.array(a.reshape(STEPS, -1, *a.shape[1:])) for a in data)
    run = jax.jit(partial(jax.lax.scan, partial(_step, FORWARD[name])), donate_argnums=0)
    velocity = jax.tree.map(jnp.zeros_like, network.params)

    def once() -> float:
        nonlocal velocity
        (network.params, velocity), losses = run((network.params, velocity), (x, t))
        return float(losses.mean())

    return Program(once, net=lambda: network)


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """The loop, of the network and the data that are made with our library."""
    given: list[tuple[Array, ...]] = []

    def fitter(step: object, batch: int) -> Callable[[tuple[Array, ...], int], float]:
        def fit(data: tuple[Array, ...], epochs: int) -> float:
            given.append(data)
            return 0.0

        return fit

    loop = LOOPS[name].make(replace(ours.LIBRARY, fitter=fitter), compared)
    loop.step()
    return _program(name, given[0], loop.net())
