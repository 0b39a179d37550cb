"""Attention as a function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.dropout import dropout
from mynn.tensor import Tensor, as_tensor


@recorded
@explained
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T scale + mask) v.

    Args:
        query: q, [..., L, E]; key: k, [..., S, E]; value: v, [..., S, V].
        attn_mask: added to the scores, or bools that are true where a key takes part; broadcast to
            [..., L, S].
        dropout_p: probability with which shares become 0; always at work.
        is_causal: whether query i sees the keys 0..i alone.
        scale: 1 / sqrt(E) where left out.
        enable_gqa: whether keys and values of axis -3 are shared by as many queries as there are
            more of them.

    A query that sees no key has the result 0.

    Returns:
        [..., L, V].

    Source: Vaswani et al., "Attention is all you need", 2017.
    """
    name = "scaled_dot_product_attention"
    q, k, v = (as_tensor(one).floating() for one in (query, key, value))
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"{name}: query [.., L, E], key [.., S, E] and value [.., S, V] do not fit: they are "
            f"{q.shape}, {k.shape} and {v.shape}"
        )
    if enable_gqa:
        k, v = (_shared(name, one, q) for one in (k, v))
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = (q * factor) @ k.transpose(-2, -1)
    if is_causal:
        if attn_mask is not None:
            raise ArgumentError(f"{name}: give attn_mask or is_causal, not both")
        attn_mask = np.tril(np.ones(scores.shape[-2:], np.bool_))
    if attn_mask is not None:
        mask = as_tensor(attn_mask)
        if mask.dtype == np.bool_:
            scores = mask.choose(scores, -math.inf)
        else:
            scores = scores + mask.astype(scores.dtype)
    shares = _shares(scores)
    if dropout_p > 0:
        shares = dropout(shares, dropout_p)
    return shares @ v


def _shares(scores: Tensor) -> Tensor:
    """The softmax along the last axis, and 0 where all scores are -infinity."""
    top = scores.detach().amax(-1, keepdim=True)
    nothing = top == -math.inf
    e = (scores - nothing.choose(0.0, top)).exp()
    return e * (1.0 / nothing.choose(1.0, e.sum(-1, keepdim=True)))


def _shared(name: str, x: Tensor, q: Tensor) -> Tensor:
    """Each head repeated for the queries that share it."""
    if x.ndim < 3 or q.ndim < 3 or q.shape[-3] % x.shape[-3]:
        raise ShapeError(
            f"{name}: with enable_gqa the heads of query {q.shape} must be a multiple of those of "
            f"{x.shape}"
        )
    times = q.shape[-3] // x.shape[-3]
    *lead, heads, s, e = x.shape
    wide = x.unsqueeze(-3).broadcast_to((*lead, heads, times, s, e))
    return wide.reshape((*lead, heads * times, s, e))
