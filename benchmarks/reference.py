"""The works once more in NumPy and float64: what every peer's results must agree with."""

from __future__ import annotations

import functools

import numpy as np

from benchmarks.works import Array, Conv, Layers, Pool, Work, data, initial

TOLERANCE = 1e-4
# With images a few of many thousand maxima are so near to each other, or to 0, that float32 and
# float64 choose differently.
TOLERANCE_OF_IMAGES = 1e-3


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


def _windows(x: Array, kernel: int) -> Array:
    """Every window of `x` (N, C, H, W): (N, C, H', W', K, K), a view."""
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))


def _padded(x: Array, margin: int) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))


def _conv(part: Conv, x: Array, w: Array, b: Array) -> Array:
    """The convolution of x (N, C, H, W) with w (O, C, K, K): (N, O, H', W')."""
    sums = np.tensordot(_windows(_padded(x, part.padding), part.kernel), w, ((1, 4, 5), (1, 2, 3)))
    return (sums + b).transpose(0, 3, 1, 2)


def _conv_gradients(part: Conv, x: Array, w: Array, g: Array) -> tuple[Array, Array, Array]:
    """The gradients of w, b and x, of which `g` (N, O, H', W') is that of the outputs."""
    windows = _windows(_padded(x, part.padding), part.kernel)
    gw = np.tensordot(g, windows, ((0, 2, 3), (0, 2, 3)))
    flipped = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    back = Conv(part.outputs, part.inputs, part.kernel, part.kernel - 1 - part.padding)
    return gw, g.sum(axis=(0, 2, 3)), _conv(back, g, flipped, np.zeros(part.inputs))


def _cells(part: Pool, x: Array) -> Array:
    """The windows of a pooling, flat: (N, C, H', W', size * size)."""
    n, c, h, w = x.shape
    k = part.size
    cut = x.reshape(n, c, h // k, k, w // k, k).swapaxes(3, 4)
    return cut.reshape(n, c, h // k, w // k, k * k)


def _pool_gradient(part: Pool, x: Array, g: Array) -> Array:
    """The gradient goes to the first of the largest values in each window."""
    cells = _cells(part, x)
    grid = np.zeros_like(cells)
    np.put_along_axis(grid, cells.argmax(-1)[..., None], g[..., None], -1)
    n, c, h, w, _ = grid.shape
    k = part.size
    return grid.reshape(n, c, h, w, k, k).swapaxes(3, 4).reshape(x.shape)


def _front(work: Work, net: Layers, x: Array) -> list[Array]:
    """The input and the result of each convolution, after its relu, and of each pooling."""
    acts, layers = [x], iter(net)
    for part in work.front:
        if isinstance(part, Pool):
            acts.append(_cells(part, acts[-1]).max(-1))
        else:
            acts.append(np.maximum(_conv(part, acts[-1], *next(layers)), 0))
    return acts


def _front_gradients(work: Work, net: Layers, acts: list[Array], g: Array) -> Layers:
    """The gradients of the convolutions' parameters from that of the front's result."""
    layers, found = list(net[: len(work.convs)]), []
    g = g.reshape(acts[-1].shape)
    for index in reversed(range(len(work.front))):
        part, x = work.front[index], acts[index]
        if isinstance(part, Pool):
            g = _pool_gradient(part, x, g)
        else:
            gw, gb, g = _conv_gradients(part, x, layers.pop()[0], g * (acts[index + 1] > 0))
            found.append((gw, gb))
    return found[::-1]


def _step(work: Work, net: Layers, velocity: Layers, x: Array, t: Array) -> float:
    """One step, changing `net` and `velocity` in place; its loss."""
    front = _front(work, net, x)
    dense = net[len(work.convs) :]
    acts = [front[-1].reshape(len(x), -1)]
    for index, (w, b) in enumerate(dense):
        s = acts[-1] @ w + b
        if work.activated(index):
            s = np.tanh(s) if work.activation == "tanh" else np.maximum(s, 0)
        acts.append(s)
    loss, g = _loss(work, acts[-1], t)
    gradients: Layers = []
    for index in reversed(range(len(dense))):
        y = acts[index + 1]
        if work.activated(index):
            g = g * (1 - y * y) if work.activation == "tanh" else g * (y > 0)
        gradients.insert(0, (acts[index].T @ g, g.sum(axis=0)))
        g = g @ dense[index][0].T
    gradients = _front_gradients(work, net, front, g) + gradients
    for layer, speed, gradient in zip(net, velocity, gradients, strict=True):
        for p, v, d in zip(layer, speed, gradient, strict=True):
            v *= work.momentum
            v += d
            p -= work.lr * v
    return loss


@functools.cache
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


def tolerance(work: Work) -> float:
    """The largest deviation that a peer may have."""
    return TOLERANCE_OF_IMAGES if work.front else TOLERANCE


def deviation(loss: float, net: Layers, expected: tuple[float, Layers]) -> float:
    """The largest absolute difference in loss or parameters; infinite where one is not finite."""
    off = [abs(loss - expected[0])]
    for layer, wanted in zip(net, expected[1], strict=True):
        off += [np.abs(a - b).max() for a, b in zip(layer, wanted, strict=True)]
    worst = float(np.max(off))
    return worst if np.isfinite(worst) else float("inf")
