"""The works once more in NumPy and float64: what every peer's results must agree with."""

from __future__ import annotations

import numpy as np

from benchmarks.works import Array, Layers, Work, data, initial

TOLERANCE = 1e-4


def _loss(work: Work, y: Array, t: Array) -> tuple[float, Array]:
    """The loss and its gradient at the outputs `y` (N, C)."""
    if work.loss == "squares":
        return float(((y - t) ** 2).sum() / len(y)), 2 * (y - t) / len(y)
    p = np.exp(y - y.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, t]).mean()
    p[rows, t] -= 1
    return float(loss), p / len(y)


def _step(work: Work, net: Layers, velocity: Layers, x: Array, t: Array) -> float:
    """One step, changing `net` and `velocity` in place; its loss."""
    acts = [x]
    for index, (w, b) in enumerate(net):
        s = acts[-1] @ w + b
        if work.activated(index):
            s = np.tanh(s) if work.activation == "tanh" else np.maximum(s, 0)
        acts.append(s)
    loss, g = _loss(work, acts[-1], t)
    for index in reversed(range(len(net))):
        y = acts[index + 1]
        if work.activated(index):
            g = g * (1 - y * y) if work.activation == "tanh" else g * (y > 0)
        gradients = acts[index].T @ g, g.sum(axis=0)
        g = g @ net[index][0].T
        for p, v, d in zip(net[index], velocity[index], gradients, strict=True):
            v *= work.momentum
            v += d
            p -= work.lr * v
    return loss


def trained(work: Work, epochs: int = 1) -> tuple[float, Layers]:
    """The mean loss of the steps and the parameters after `epochs` passes."""
    x, t = data(work)
    x = x.astype(np.float64)
    net = [(w.astype(np.float64), b.astype(np.float64)) for w, b in initial(work)]
    velocity = [(np.zeros_like(w), np.zeros_like(b)) for w, b in net]
    losses = [
        _step(work, net, velocity, x[k : k + work.batch], t[k : k + work.batch])
        for _ in range(epochs)
        for k in range(0, work.samples, work.batch)
    ]
    return float(np.mean(losses)), net


def deviation(loss: float, net: Layers, expected: tuple[float, Layers]) -> float:
    """The largest absolute difference in loss or parameters; infinite where one is not finite."""
    off = [abs(loss - expected[0])]
    for layer, wanted in zip(net, expected[1], strict=True):
        off += [np.abs(a - b).max() for a, b in zip(layer, wanted, strict=True)]
    worst = float(np.max(off))
    return worst if np.isfinite(worst) else float("inf")
