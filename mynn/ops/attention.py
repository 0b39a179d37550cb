"""Attention: means of values, with shares by the likeness of queries and keys.

Between scores and results lies a matrix of queries times keys for each head, which is never in
memory as a whole: neither rule needs it, and the gradient computes it again. What the kernels of
the compiler do is in `mynn.compiler.lowering.attention`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core.graph import Node, apply
from mynn.core.primitive import Cost, Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops.batches import all_in_front, shaped
from mynn.ops.rules import FLOAT, require_kind, uniform


def _check(
    name: str, q: Type, k: Type, v: Type, further: tuple[Type, ...], mask: bool, drop: float
) -> None:
    require_kind(name, q, FLOAT)
    if len(q.shape) != 4 or k.shape != v.shape or len(k.shape) != 4:
        raise ShapeError(
            f"{name}: queries [N, L, H, D] and keys and values [N, S, H, D] have the shapes "
            f"{q.shape}, {k.shape} and {v.shape}"
        )
    n, length, heads, width = q.shape
    if k.shape != (n, k.shape[1], heads, width):
        raise ShapeError(f"{name}: queries {q.shape} and keys {k.shape} do not fit")
    if not q.dtype == k.dtype == v.dtype:
        raise DTypeError(f"{name}: dtypes {q.dtype}, {k.dtype} and {v.dtype} differ")
    if len(further) != mask + (drop > 0):
        raise ShapeError(f"{name}: {len(further)} inputs behind the values, mask={mask}, {drop=}")
    for number, x in enumerate(further):
        if x.shape != (n, heads, length, k.shape[1]):
            raise ShapeError(f"{name}: scores [N, H, L, S] have a mask of shape {x.shape}")
        if x.dtype != np.bool_ and (not mask or number or x.dtype != q.dtype):
            raise DTypeError(f"{name}: a mask for {q.dtype} is {x.dtype}")


def _apart(further: tuple[Any, ...], mask: bool) -> tuple[Any, Any]:
    """The mask and which shares are kept; None where there is none."""
    return (further[0] if mask else None), (further[-1] if len(further) > mask else None)


# -- meaning ---------------------------------------------------------------------------------------


def _heads_first(x: Any) -> Any:
    """[N, L, H, D] <-> [N, H, L, D], of arrays."""
    return np.swapaxes(x, 1, 2)


def _numpy_shares(q: Array, k: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    """The shares [N, H, L, S]."""
    scores = np.matmul(_heads_first(q), np.swapaxes(_heads_first(k), 2, 3)) * q.dtype.type(scale)
    seen = np.tril(np.ones(scores.shape[2:], np.bool_)) if causal else np.True_
    if mask is not None and mask.dtype == np.bool_:
        seen = seen & mask
    elif mask is not None:
        scores = scores + mask
    scores = np.where(seen, scores, scores.dtype.type(-np.inf))
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    nothing = top == -np.inf
    e = np.exp(scores - np.where(nothing, scores.dtype.type(0), top))
    total = np.where(nothing, scores.dtype.type(1), e.sum(-1, keepdims=True))
    return np.asarray(e / total)


def _kept(x: Array, keep: Array | None, drop: float) -> Array:
    return x if keep is None else np.where(keep, x * x.dtype.type(1 / (1 - drop)), x.dtype.type(0))


def _numpy_attention(
    q: Array, k: Array, v: Array, *further: Array, causal: bool, scale: float, mask: bool,
    drop: float,
) -> Array:  # fmt: skip
    seen, keep = _apart(further, mask)
    shares = _kept(_numpy_shares(q, k, seen, causal, scale), keep, drop)
    y = _heads_first(np.matmul(shares, _heads_first(v)))
    return np.asarray(y.reshape(*y.shape[:2], -1))


def _numpy_gradient(
    g: Array, q: Array, k: Array, v: Array, *further: Array, causal: bool, scale: float,
    mask: bool, drop: float,
) -> Array:  # fmt: skip
    seen, keep = _apart(further, mask)
    shares = _numpy_shares(q, k, seen, causal, scale)
    g, q, k, v = map(_heads_first, (g.reshape(q.shape), q, k, v))
    of_shares = _kept(np.matmul(g, np.swapaxes(v, 2, 3)), keep, drop)
    inner = (shares * of_shares).sum(-1, keepdims=True)
    of_scores = shares * (of_shares - inner) * q.dtype.type(scale)
    parts = (
        np.matmul(of_scores, k),
        np.matmul(np.swapaxes(of_scores, 2, 3), q),
        np.matmul(np.swapaxes(_kept(shares, keep, drop), 2, 3), g),
    )
    flat = [_heads_first(x).reshape(x.shape[0], x.shape[2], -1) for x in parts]
    return np.concatenate(flat, 2 if q.shape[2] == k.shape[2] else 1)


# -- gradients -------------------------------------------------------------------------------------


def shares_of(scores: Any) -> Any:
    """The softmax along the last axis, and 0 where all scores are -infinity.

    `scores` is a value with operators; so is what follows here.
    """
    top = scores.detach().amax(-1, keepdim=True)
    nothing = top == -math.inf
    e = (scores - nothing.choose(0.0, top)).exp()
    return e * (1.0 / nothing.choose(1.0, e.sum(-1, keepdim=True)))


def masked(scores: Any, mask: Any, causal: bool) -> Any:
    """Scores [.., L, S] with a mask: bools that are true where a key takes part, or added."""
    if causal:
        scores = _constant(scores, np.tril(np.ones(scores.shape[-2:], np.bool_))).choose(
            scores, -math.inf
        )
    if mask is None:
        return scores
    return mask.choose(scores, -math.inf) if mask.dtype == np.bool_ else scores + mask


def _constant(like: Any, value: Array) -> Any:
    return type(like)(value)


class _Inner:
    """All that lies between the inputs and the results, as values with operators [N, H, L, ..]."""

    def __init__(
        self, q: Any, k: Any, v: Any, *further: Any, causal: bool, scale: float, mask: bool,
        drop: float,
    ) -> None:  # fmt: skip
        self.mask, self.keep = _apart(further, mask)
        self.scale, self.drop = scale, drop
        self.q, self.k, self.v = (x.permute((0, 2, 1, 3)) for x in (q, k, v))
        scores = (self.q @ _turned(self.k)) * scale
        self.shares = shares_of(masked(scores, self.mask, causal))

    def kept(self, x: Any) -> Any:
        """What dropout leaves of something that is there for each share."""
        return x if self.keep is None else self.keep.choose(x * (1 / (1 - self.drop)), 0.0)

    def of_shares(self, g: Any) -> Any:
        """The cotangent of the shares, from g [N, H, L, D], that of the results."""
        return self.kept(g @ _turned(self.v))

    def of_scores(self, of_shares: Any) -> Any:
        """The cotangent of the scores, from that of the shares."""
        return self.shares * (of_shares - (self.shares * of_shares).sum(-1, keepdim=True))


def _turned(x: Any) -> Any:
    return x.permute((0, 1, 3, 2))


def _outside(x: Any) -> Any:
    """[N, H, L, D] -> [N, L, H, D]."""
    return x.permute((0, 2, 1, 3))


def _parts(y: Any, length: int, keys: int) -> tuple[Any, Any, Any]:
    """The gradients for queries, keys and values, from where they lie together."""
    if length == keys:
        width = y.shape[2] // 3
        return y[:, :, :width], y[:, :, width : 2 * width], y[:, :, 2 * width :]
    return y[:, :length], y[:, length : length + keys], y[:, length + keys :]


def _attention_vjp(g: Any, y: Any, q: Any, k: Any, v: Any, *further: Any, **params: Any) -> Any:
    together = g.attention_gradient(q, k, v, *further, **params)
    parts = _parts(together, q.shape[1], k.shape[1])
    found: list[Any] = [part.reshape(x.shape) for part, x in zip(parts, (q, k, v), strict=True)]
    for x in further:
        of_mask = None
        if x.dtype != np.bool_:
            inner = _Inner(q, k, v, *further, **params)
            of_mask = inner.of_scores(inner.of_shares(_outside(g.reshape(q.shape))))
        found.append(of_mask)
    return tuple(found)


def _gradient_vjp(
    u: Any, y: Any, g: Any, q: Any, k: Any, v: Any, *further: Any, **params: Any
) -> tuple[Any, ...]:
    """The reverse of  dq = s dS k,  dk = s dS^T q,  dv = A^T g  with cotangents a, b, c, where

    A = kept(P),  dP = kept(g v^T),  dS = P (dP - rows(P dP)),  P = softmax(s q k^T + mask)
    """
    parts = _parts(u, q.shape[1], k.shape[1])
    a, b, c = (_outside(x.reshape(y.shape)) for x, y in zip(parts, (q, k, v), strict=True))
    inner = _Inner(q, k, v, *further, **params)
    s, shares = inner.scale, inner.shares
    g = _outside(g.reshape(q.shape))
    of_shares = inner.of_shares(g)
    of_scores = inner.of_scores(of_shares) * s
    kept = inner.kept(shares)
    # Of dS, then of dP and of P.
    to_scores = (a @ _turned(inner.k) + inner.q @ _turned(b)) * s
    rows = (shares * to_scores).sum(-1, keepdim=True)
    to_of_shares = inner.kept(shares * (to_scores - rows))
    centred = of_shares - (shares * of_shares).sum(-1, keepdim=True)
    to_shares = inner.kept(g @ _turned(c)) + to_scores * centred - rows * of_shares
    to_first = inner.of_scores(to_shares)
    found = [
        kept @ c + to_of_shares @ inner.v,
        of_scores @ b + (to_first @ inner.k) * s,
        _turned(of_scores) @ a + (_turned(to_first) @ inner.q) * s,
        _turned(to_of_shares) @ g,
    ]
    masks = [None if x.dtype == np.bool_ else to_first for x in further]
    of_g, *rest = (_outside(x) for x in found)
    return (of_g.reshape((*q.shape[:2], -1)), *rest, *masks)


# -- the primitives --------------------------------------------------------------------------------


def _infer_attention(
    q: Type, k: Type, v: Type, *further: Type, causal: bool, scale: float, mask: bool, drop: float
) -> Type:
    _check("attention", q, k, v, further, mask, drop)
    return q.with_shape((*q.shape[:2], q.shape[2] * q.shape[3]))


def _infer_gradient(
    g: Type, q: Type, k: Type, v: Type, *further: Type, causal: bool, scale: float, mask: bool,
    drop: float,
) -> Type:  # fmt: skip
    _check("attention_gradient", q, k, v, further, mask, drop)
    n, length, heads, width = q.shape
    if g != q.with_shape((n, length, heads * width)):
        raise ShapeError(f"attention_gradient: a cotangent of type {g} for queries of {q}")
    keys, flat = k.shape[1], heads * width
    return q.with_shape((n, length, 3 * flat) if length == keys else (n, length + 2 * keys, flat))


def _samples(cotangent: bool) -> Any:
    cases: tuple[tuple[Shape, int, bool, str, float], ...] = (
        ((2, 4, 2, 8), 4, False, "", 0.0),
        ((1, 5, 1, 3), 7, False, "", 0.0),
        ((1, 9, 2, 4), 9, True, "", 0.0),
        ((1, 4, 1, 5), 6, True, "bool", 0.0),
        ((2, 6, 1, 4), 3, False, "float", 0.0),
        ((1, 5, 2, 3), 5, False, "bool", 0.25),
        ((1, 1, 1, 2), 1, False, "", 0.5),
    )

    def samples(rng: np.random.Generator) -> list[Sample]:
        found = []
        for shape, keys, causal, mask, drop in cases:
            n, length, heads, width = shape
            other = (n, keys, heads, width)
            flat = (n, length, heads * width)
            shapes = (*((flat,) if cotangent else ()), shape, other, other)
            arrays = [uniform(rng, -1, 1, one) for one in shapes]
            matrix = (n, heads, length, keys)
            if mask == "float":
                arrays.append(uniform(rng, -1, 1, matrix))
            elif mask:
                arrays.append(rng.uniform(size=matrix) < 0.7)
            if drop:
                arrays.append(rng.uniform(size=matrix) >= drop)
            params = {"causal": causal, "scale": 0.6, "mask": bool(mask), "drop": drop}
            found.append(Sample(tuple(arrays), params))
        return found

    return samples


def _batched(primitive: str) -> Any:
    """More examples are more samples."""

    def rule(size: int, mapped: tuple[bool, ...], *nodes: Node, **params: Any) -> Node:
        every = all_in_front(size, mapped, *nodes)
        every = [shaped(x, size * x.shape[1], *x.shape[2:]) for x in every]
        y = apply(attention if primitive == "attention" else gradient, *every, **params)
        return shaped(y, size, y.shape[0] // size, *y.shape[1:])

    return rule


# y[n, i, h D ..] = sum over j of A[n, h, i, j] v[n, j, h],  A = softmax over j of
#     scale q[n, i, h] . k[n, j, h] + mask[n, h, i, j]
# of queries q [N, L, H, D], keys k and values v [N, S, H, D]; y is [N, L, H D]. Behind them come,
# where `mask`, what is added to the scores, or bools that are true where a key takes part,
# [N, H, L, S]; and where `drop` > 0 bools that are true for shares that are kept, and divided by
# 1 - drop. `causal`: query i sees the keys 0..i. A query that sees no key has the result 0.
attention = Primitive(
    "attention",
    _infer_attention,
    _numpy_attention,
    _attention_vjp,
    _samples(cotangent=False),
    batch=_batched("attention"),
    cost=Cost.HEAVY,
)

# From the cotangent g of y those of q, k and v: side by side in [N, L, 3 H D] where there are as
# many queries as keys, otherwise one after the other in [N, L + S + S, H D].
gradient = Primitive(
    "attention_gradient",
    _infer_gradient,
    _numpy_gradient,
    _gradient_vjp,
    _samples(cotangent=True),
    batch=_batched("gradient"),
    cost=Cost.HEAVY,
)

PRIMITIVES = (attention, gradient)
