"""Attention as a function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional.dropout import shares_dropped
from mynn.functional.padding import pad
from mynn.ops.attention import masked, shares_of
from mynn.random import chosen_anywhere
from mynn.tensor import Tensor, as_tensor, same_dtype


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
    if is_causal and attn_mask is not None:
        raise ArgumentError(f"{name}: give attn_mask or is_causal, not both")
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    q, k, v = same_dtype(q, same_dtype(k, v)[0])[0], *same_dtype(k, v)
    mask = None if attn_mask is None else as_tensor(attn_mask)
    if mask is not None and mask.dtype != np.bool_:
        if mask.dtype.kind != "f":
            raise DTypeError(
                f"{name}: attn_mask must hold bools or floats, it holds {mask.dtype}; compare it, "
                "attn_mask != 0, to say which keys take part"
            )
        mask = mask.astype(q.dtype)
    matrix = (q.shape[-2], k.shape[-2])
    if mask is not None and any(
        n not in (1, m) for n, m in zip(mask.shape[::-1], matrix[::-1], strict=False)
    ):
        raise ShapeError(
            f"{name}: attn_mask has a row for each of {matrix[0]} queries and a column for each of "
            f"{matrix[1]} keys, or 1; its shape is {mask.shape}"
        )
    if _in_blocks(q, k, v, mask) and dropout_p < 1:
        return _blocked(q, k, v, mask, dropout_p, is_causal, factor)
    scores = (q * factor) @ k.transpose(-2, -1)
    shares = shares_of(masked(scores, mask, is_causal))
    if dropout_p > 0:
        shares = shares_dropped(shares, dropout_p)
    result: Tensor = shares @ v
    return result


# Of fewer queries all scores are few.
_LEAST_QUERIES = 4


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    """Whether scores are computed block by block; those of a mask that is learned are there."""
    some = q.shape[-2] >= _LEAST_QUERIES and min(math.prod(x.shape) for x in (q, k, v)) > 0
    return some and (mask is None or not mask.requires_grad)


def _blocked(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, causal: bool, scale: float
) -> Tensor:
    """By the primitive, whose axes are [N, L, H, D]."""
    leads = [x.shape[:-2] for x in (q, k, v, *(() if mask is None else (mask,)))]
    lead = np.broadcast_shapes(*leads)
    heads = lead[-1] if len(lead) > 1 else 1
    samples = math.prod(lead) // heads
    width = max(q.shape[-1], v.shape[-1])

    def together(x: Tensor) -> Tensor:
        """[.., L, E] -> [N, H, L, E]."""
        every = x if x.shape[:-2] == lead else x.broadcast_to((*lead, *x.shape[-2:]))
        return every.reshape((samples, heads, *x.shape[-2:]))

    def operand(x: Tensor) -> Tensor:
        wide = x if x.shape[-1] == width else pad(x, (0, width - x.shape[-1]))
        return together(wide).transpose(1, 2)

    matrix = (*lead, q.shape[-2], k.shape[-2])
    masks = [] if mask is None else [together(mask.broadcast_to(matrix))]
    if p > 0:
        masks.append(together(~chosen_anywhere(p, matrix)))
    params = {"causal": causal, "scale": scale, "mask": mask is not None, "drop": float(p)}
    y = operand(q).attention(operand(k), operand(v), *masks, **params)
    y = y.reshape((samples, q.shape[-2], heads, width)).transpose(1, 2)
    y = y if width == v.shape[-1] else y[..., : v.shape[-1]]
    result: Tensor = y.reshape((*lead, *y.shape[-2:]))
    return result


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
