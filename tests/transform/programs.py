"""Programs of `func`, written once for both: `torch` and `mynn`, the first argument `T`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

RNG = np.random.default_rng(3)


def mlp(p: Any, x: Any) -> Any:
    return (x @ p["w"] + p["b"]).tanh() @ p["v"]


def loss(p: Any, x: Any, y: Any) -> Any:
    return ((mlp(p, x) - y) ** 2).mean()


def _weights(w: Any, b: Any, v: Any) -> dict[str, Any]:
    return {"w": w, "b": b, "v": v}


def _conv(T: Any, x: Any, w: Any) -> Any:
    return T.nn.functional.conv2d(x.unsqueeze(0), w, padding=1).squeeze(0)


# What stands in the first place, then what it is called with: arrays [5, 3] x, [5, 2] y, [3, 4] w,
# [4] b, [4, 2] v.
MLP: dict[str, Callable[..., Any]] = {
    "gradient": lambda T, x, y, *p: T.func.grad(loss)(_weights(*p), x, y),
    "gradient by several": lambda T, x, y, *p: T.func.grad(loss, (0, 2))(_weights(*p), x, y),
    "gradient and value": lambda T, x, y, *p: T.func.grad_and_value(
        lambda p: (loss(p, x, y), {"out": mlp(p, x)}), has_aux=True
    )(_weights(*p)),
    "gradient of each sample": lambda T, x, y, *p: T.func.vmap(
        T.func.grad(loss), in_dims=(None, 0, 0)
    )(_weights(*p), x, y),
    "in chunks": lambda T, x, y, *p: T.func.vmap(
        T.func.grad(loss), in_dims=(None, 0, 0), chunk_size=2
    )(_weights(*p), x, y),
    "Hessian": lambda T, x, y, *p: T.func.hessian(loss)(_weights(*p), x, y),
    "Hessian by several": lambda T, x, y, *p: T.func.hessian(loss, (1, 2))(_weights(*p), x, y),
    "Jacobian": lambda T, x, y, *p: T.func.jacrev(mlp)(_weights(*p), x),
    "Jacobian forwards": lambda T, x, y, *p: T.func.jacfwd(mlp, (1,))(_weights(*p), x),
    "Jacobian with aux": lambda T, x, y, *p: T.func.jacfwd(
        lambda p: (mlp(p, x), x.sum()), has_aux=True
    )(_weights(*p)),
    "Jacobian in chunks": lambda T, x, y, *p: T.func.jacrev(mlp, chunk_size=3)(_weights(*p), x),
    "Jacobian of each sample": lambda T, x, y, *p: T.func.vmap(
        T.func.jacrev(mlp, 1), in_dims=(None, 0)
    )(_weights(*p), x),
    "vjp": lambda T, x, y, *p: (lambda out, back: (out, back(y)))(
        *T.func.vjp(mlp, _weights(*p), x)
    ),
    "jvp": lambda T, x, y, *p: T.func.jvp(mlp, (_weights(*p), x), (_weights(*p), x * 2)),
    "linearize": lambda T, x, y, *p: T.func.linearize(lambda x: mlp(_weights(*p), x), x)[1](x * x),
    "vjp over a batch": lambda T, x, y, *p: T.func.vmap(
        T.func.vjp(lambda x: mlp(_weights(*p), x), x)[1]
    )(T.stack([y, 2 * y])),
    "product with a Hessian": lambda T, x, y, *p: T.func.jvp(
        T.func.grad(lambda x: loss(_weights(*p), x, y)), (x,), (x * 3,)
    ),
    "trace of a Hessian": lambda T, x, y, *p: T.func.vmap(
        lambda x: T.func.hessian(lambda x: mlp(_weights(*p), x).sum())(x).diagonal().sum()
    )(x),
}

# Called with arrays [4, 3] x, [4, 3] y, [4, 3, 3] m, [4, 2, 5, 5] images, [4, 3, 2, 3, 3] kernels
# and integers [4, 3] i below 3.
MAPPED: dict[str, Callable[..., Any]] = {
    "dot": lambda T, x, y, *_: T.vmap(T.dot)(x, y),
    "dims": lambda T, x, y, *_: T.vmap(lambda a, b: a * b, (1, -1), 1)(x, y),
    "nested dims": lambda T, x, y, *_: T.vmap(
        lambda d, s: d["a"] * s + d["b"][0], ({"a": 0, "b": (None,)}, None)
    )({"a": x, "b": (y[0],)}, 2.0),
    "nested results": lambda T, x, y, *_: T.vmap(
        lambda a: {"sum": a.sum(), "pair": (a, y[0])}, out_dims={"sum": 0, "pair": (1, None)}
    )(x),
    "same for all": lambda T, x, y, *_: T.vmap(lambda a: (y, a), out_dims=(0, -1))(x),
    "outer product": lambda T, x, y, *_: T.vmap(lambda a: T.vmap(lambda b: (a - b).abs().sum())(y))(
        x
    ),
    "matrix": lambda T, x, y, m, *_: T.vmap(T.mv)(m, x),
    "one matrix": lambda T, x, y, m, *_: T.vmap(lambda v: m[0] @ v)(x),
    "batch of products": lambda T, x, y, m, *_: T.vmap(lambda a: T.einsum("bij,jk->bik", m, a))(m),
    "convolution": lambda T, x, y, m, im, k, i: T.vmap(lambda a: _conv(T, a, k[0]))(im),
    "kernels": lambda T, x, y, m, im, k, i: T.vmap(lambda a: _conv(T, im[0], a))(k),
    "both": lambda T, x, y, m, im, k, i: T.vmap(lambda a, b: _conv(T, a, b))(im, k),
    "pooling": lambda T, x, y, m, im, k, i: T.vmap(lambda a: T.nn.functional.max_pool2d(a, 2))(im),
    "rows": lambda T, x, y, m, im, k, i: T.vmap(lambda a, i: a[i])(m, i),
    "rows of one": lambda T, x, y, m, im, k, i: T.vmap(lambda i: x[i])(i),
    "gather": lambda T, x, y, m, im, k, i: T.vmap(lambda a, i: a.gather(0, i))(x, i),
    "scatter": lambda T, x, y, m, im, k, i: T.vmap(
        lambda a, i: T.zeros_like(a).scatter_add(0, i, a)
    )(x, i),
    "sort": lambda T, x, y, *_: T.vmap(lambda a: tuple(a.sort(descending=True)))(x),
    "largest": lambda T, x, y, *_: T.vmap(lambda a: (a.max(), a.argmax(), a.amin(0)))(x),
    "where": lambda T, x, y, *_: T.vmap(lambda a, b: T.where(a > b, a, b * 2))(x, y),
    "softmax": lambda T, x, y, *_: T.vmap(lambda a: a.softmax(0).log())(x),
    "entropy": lambda T, x, y, m, im, k, i: T.vmap(
        lambda a, i: T.nn.functional.cross_entropy(a, i)
    )(m, i),
    "gradient of an entropy": lambda T, x, y, m, im, k, i: T.vmap(
        T.func.grad(lambda a, i: T.nn.functional.cross_entropy(a, i))
    )(m, i),
    "variance": lambda T, x, y, *_: T.vmap(lambda a: (a.var(0), a.cumsum(0), a.prod()))(x),
    "in place": lambda T, x, y, *_: T.vmap(lambda a, b: (a * 1).add_(b).mul_(2))(x, y),
    "an element written": lambda T, x, y, *_: T.vmap(lambda a: _with_first(a.clone()))(x),
    "joined": lambda T, x, y, *_: T.vmap(lambda a: T.cat([a, y[0], a.flip(0)]))(x),
    "norm": lambda T, x, y, m, *_: T.vmap(lambda a: T.nn.functional.layer_norm(a, (3,)))(m),
    "gradient in a gradient": lambda T, x, y, *_: T.func.grad(
        lambda x: T.vmap(T.func.grad(lambda a: (a**3).sum()))(x).sum()
    )(x),
    "Jacobian of Jacobians": lambda T, x, y, *_: T.vmap(
        T.func.jacfwd(T.func.jacrev(lambda a: a.sin() * a.sum()))
    )(x),
}


def _with_first(a: Any) -> Any:
    a[0] = a[1] * 2
    return a


def mlp_arrays() -> list[Any]:
    shapes = ((5, 3), (5, 2), (3, 4), (4,), (4, 2))
    return [RNG.normal(size=shape) for shape in shapes]


def mapped_arrays() -> list[Any]:
    shapes = ((4, 3), (4, 3), (4, 3, 3), (4, 2, 5, 5), (4, 3, 2, 3, 3))
    return [*(RNG.normal(size=shape) for shape in shapes), RNG.integers(0, 3, (4, 3))]
