"""Attention of several heads, with its projections, as a function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.dataclass import dataclass
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional.attention import scaled_dot_product_attention
from mynn.functional.dropout import shares_dropped
from mynn.functional.joining import cat
from mynn.functional.linear import linear
from mynn.functional.padding import pad
from mynn.functional.softmax import softmax
from mynn.tensor import Tensor, as_tensor

_NAME = "multi_head_attention_forward"


@explained
def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """W_o [a_1; ...; a_H] + b_o, with a_h = softmax(q_h k_h^T / sqrt(D) + mask) v_h.

    q_h, k_h, v_h are the h-th of H = num_heads slices, each of D = E / H features, of
    query W_q^T + b_q, key W_k^T + b_k, value W_v^T + b_v.

    Args:
        query: [L, N, E] or [L, E]; key, value: [S, N, E] or [S, E]; of other widths where
            `use_separate_proj_weight` has W_q, W_k, W_v apart.
        embed_dim_to_check: E.
        in_proj_weight: W_q, W_k, W_v one below the other, [3 E, E]; `in_proj_bias` [3 E] or None.
        bias_k, bias_v: [1, 1, E], one more key and value for all; or None.
        add_zero_attn: whether there is one more key and value of zeros.
        dropout_p: probability with which shares become 0 where `training`.
        key_padding_mask: [N, S] or [S]: true where a key takes no part, or added to the scores.
        attn_mask: [L, S] or [N H, L, S]: true where a query does not see a key, or added.
        need_weights: whether the shares are returned too, as their mean over the heads where
            `average_attn_weights`.
        static_k, static_v: [N H, S, D], instead of what is projected from key and value.
        is_causal: says of `attn_mask` that query i sees the keys 0..i alone.

    Returns:
        [L, N, E] or [L, E], and the shares ([N, L, S], [N, H, L, S], or without N) or None.

    Raises:
        ShapeError: shapes that do not fit. ArgumentError: options that do not.
        DTypeError: a mask of whole numbers.

    Source: Vaswani et al., "Attention is all you need", 2017.
    """
    separate = q_proj_weight, k_proj_weight, v_proj_weight
    attention = Attention(
        features=embed_dim_to_check,
        heads=num_heads,
        projection=(separate if use_separate_proj_weight else in_proj_weight, in_proj_bias),
        output=(out_proj_weight, out_proj_bias),
        further=(bias_k, bias_v),
        zeros=add_zero_attn,
        dropout=dropout_p if training else 0.0,
    )
    masks = key_padding_mask, attn_mask
    shares = average_attn_weights if need_weights else None
    return attention((query, key, value), masks, is_causal, shares, (static_k, static_v))


@dataclass(frozen=True)
class Attention:
    """Attention of several heads with its weights, as a layer has them.

    - `features`: E, of all `heads` together.
    - `projection`: the weight of query, key and value, one below the other or three of them, and
      the bias of all three; `output`: weight and bias of what the heads give.
    - `further`: one more key and value for all, or None twice; `zeros`: whether there is one of
      zeros.
    - `dropout`: the probability with which shares become 0.
    - `batch_first`: whether tensors are [N, L, E].
    """

    features: int
    heads: int
    projection: tuple[Any, Any]
    output: tuple[Any, Any]
    further: tuple[Any, Any]
    zeros: bool
    dropout: float
    batch_first: bool = False

    def __call__(
        self,
        given: tuple[Any, Any, Any],
        masks: tuple[Any, Any],
        is_causal: bool,
        averaged: bool | None,
        static: tuple[Any, Any] = (None, None),
    ) -> tuple[Tensor, Tensor | None]:
        """`multi_head_attention_forward` of query, key and value, with a mask of keys and one of
        scores; the shares are averaged over the heads or not, or left out for None.
        """
        q, k, v = (as_tensor(one) for one in given)
        single = _without_batch(q, k, v, self.batch_first)
        if single:
            q, k, v = (one.unsqueeze(1) for one in (q, k, v))
        along = int(self.batch_first and not single)
        length, keys = q.shape[along], k.shape[along]
        self._check(q.shape[-1], is_causal and masks[1] is None)
        heads = _Heads(q.shape[1 - along], self.heads, self.features // self.heads, along)
        q, k, v = self._projected(q, k, v, alike=given[0] is given[1] is given[2])
        added = heads.masks(q.dtype, length, keys, *masks)
        by_hint = is_causal and masks[0] is None and averaged is None
        if by_hint:
            added = []
        if any(bias is not None for bias in self.further):
            k, v = self._with_further(heads, k, v, static)
            added = [_seen(mask) for mask in added]
        q = heads.split(q)
        k = heads.split(k) if static[0] is None else heads.given("static_k", static[0])
        v = heads.split(v) if static[1] is None else heads.given("static_v", static[1])
        if self.zeros:
            k, v = (pad(one, (0, 0, 0, 1)) for one in (k, v))
            added = [_seen(mask) for mask in added]
        mask = _sum(added)
        shares = None
        if averaged is None:
            result = scaled_dot_product_attention(q, k, v, mask, self.dropout, by_hint)
        else:
            shares = _shares(q, k, mask)
            shares = shares_dropped(shares, self.dropout) if self.dropout else shares
            result = shares @ v
            shares = shares.mean(1) if averaged else shares
        weight, bias = self.output
        result = linear(heads.join(result), as_tensor(weight), bias)
        if not single:
            return result, shares
        return result.squeeze(1), None if shares is None else shares.squeeze(0)

    def _check(self, width: int, hint_alone: bool) -> None:
        if width != self.features:
            raise ShapeError(
                f"{_NAME}: the query has {width} features, the layer has embed_dim={self.features}"
            )
        if width % self.heads:
            raise ArgumentError(
                f"{_NAME}: num_heads={self.heads} must divide the {width} features of the query"
            )
        if hint_alone:
            raise ArgumentError(
                f"{_NAME}: is_causal says what attn_mask is; give that mask too, as "
                "nn.Transformer.generate_square_subsequent_mask makes it"
            )

    def _projected(self, q: Tensor, k: Tensor, v: Tensor, alike: bool) -> Sequence[Tensor]:
        """W x + b of each; of the same input by one product, where the weights lie together."""
        weight, bias = self.projection
        apart = isinstance(weight, tuple)
        if alike and not apart:
            return _together(q, weight, bias)
        weights = weight if apart else _thirds(weight, self.features)
        return _projected((q, k, v), weights, _thirds(bias, self.features))

    def _with_further(
        self, heads: _Heads, k: Tensor, v: Tensor, static: tuple[Any, Any]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values with one more of each."""
        if any(bias is None for bias in self.further):
            raise ArgumentError(f"{_NAME}: give bias_k and bias_v, or neither")
        if any(one is not None for one in static):
            raise ArgumentError(f"{_NAME}: bias_k and bias_v cannot be added to static_k, static_v")
        more = [heads.row(as_tensor(bias)) for bias in self.further]
        return cat([k, more[0]], heads.along), cat([v, more[1]], heads.along)


class _Heads:
    """The heads of a batch: [N, H, L, D], where the projections are [L, N, H D], or [N, L, H D]
    where positions lie `along` axis 1.
    """

    def __init__(self, batch: int, heads: int, features: int, along: int) -> None:
        self.batch, self.heads, self.features, self.along = batch, heads, features, along
        self.order = (0, 2, 1, 3) if along else (1, 2, 0, 3)

    def split(self, x: Tensor) -> Tensor:
        """[L, N, H D] -> [N, H, L, D]."""
        apart = x.reshape((*x.shape[:2], self.heads, self.features))
        return apart.permute(*self.order)

    def join(self, x: Tensor) -> Tensor:
        """[N, H, L, D] -> [L, N, H D]."""
        together = x.permute(*((0, 2, 1, 3) if self.along else (2, 0, 1, 3)))
        return together.reshape((*together.shape[:2], self.heads * self.features))

    def row(self, bias: Tensor) -> Tensor:
        """[1, 1, H D] for each sample, as one more position."""
        width = self.heads * self.features
        return bias.broadcast_to((self.batch, 1, width) if self.along else (1, self.batch, width))

    def given(self, name: str, x: Any) -> Tensor:
        """[N H, S, D] -> [N, H, S, D]."""
        tensor = as_tensor(x)
        rows = self.batch * self.heads
        if tensor.ndim != 3 or (tensor.shape[0], tensor.shape[2]) != (rows, self.features):
            raise ShapeError(
                f"{_NAME}: {name} must have the shape [{rows}, S, {self.features}], it has "
                f"{list(tensor.shape)}"
            )
        return tensor.reshape((self.batch, self.heads, *tensor.shape[1:]))

    def masks(self, dtype: Any, queries: int, keys: int, padding: Any, given: Any) -> list[Tensor]:
        """What is added to the scores [N, H, L, S]; each broadcasts to them."""
        added = []
        if given is not None:
            mask = _added("attn_mask", given, dtype)
            wanted = ((queries, keys), (self.batch * self.heads, queries, keys))
            if mask.shape not in wanted:
                raise ShapeError(
                    f"{_NAME}: attn_mask must have the shape {list(wanted[0])} or "
                    f"{list(wanted[1])}, it has {list(mask.shape)}"
                )
            lead = (1, 1) if mask.ndim == 2 else (self.batch, self.heads)
            added.append(mask.reshape((*lead, queries, keys)))
        if padding is not None:
            mask = _added("key_padding_mask", padding, dtype)
            alone = self.batch == 1 and mask.shape == (keys,)
            if mask.shape != (self.batch, keys) and not alone:
                raise ShapeError(
                    f"{_NAME}: key_padding_mask must have the shape [{self.batch}, {keys}], of "
                    f"batch and keys, it has {list(mask.shape)}"
                )
            added.append(mask.reshape((self.batch, 1, 1, keys)))
        return added


def _without_batch(q: Tensor, k: Tensor, v: Tensor, batch_first: bool) -> bool:
    """Whether there is no axis of samples; raises where the three do not fit."""
    shapes = f"{list(q.shape)}, {list(k.shape)} and {list(v.shape)}"
    if not q.ndim == k.ndim == v.ndim or q.ndim not in (2, 3):
        raise ShapeError(
            f"{_NAME}: query, key and value must all have 3 axes, or 2 without a batch; they are "
            f"{shapes}"
        )
    batch = slice(0, 1) if batch_first else slice(1, 2)
    of_batch = [x.shape[batch] if x.ndim == 3 else () for x in (q, k)]
    if k.shape[:-1] != v.shape[:-1] or of_batch[0] != of_batch[1]:
        raise ShapeError(
            f"{_NAME}: key and value must have the same length, and all the same batch; they are "
            f"{shapes}"
        )
    return q.ndim == 2


def _thirds(x: Any, width: int) -> tuple[Any, Any, Any]:
    """Of what is stored for query, key and value one below the other."""
    if x is None:
        return None, None, None
    tensor = as_tensor(x)
    if tensor.shape[0] != 3 * width:
        raise ShapeError(
            f"{_NAME}: in_proj_weight and in_proj_bias must have 3 x {width} rows, they have "
            f"{tensor.shape[0]}"
        )
    return tensor[:width], tensor[width : 2 * width], tensor[2 * width :]


def _together(x: Tensor, weight: Any, bias: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of the same input, by one product."""
    _thirds(weight, x.shape[-1])
    _thirds(bias, x.shape[-1])
    y = linear(x, weight, bias)
    apart = y.reshape((*y.shape[:-1], 3, x.shape[-1]))
    return apart[:, :, 0], apart[:, :, 1], apart[:, :, 2]


def _projected(
    inputs: tuple[Tensor, ...], weights: tuple[Any, ...], biases: tuple[Any, ...]
) -> list[Tensor]:
    projected = []
    names = ("query", "key", "value")
    for name, x, weight, bias in zip(names, inputs, weights, biases, strict=True):
        if weight is None:
            raise ArgumentError(f"{_NAME}: there is no weight for the {name}")
        wide = as_tensor(weight)
        if wide.ndim != 2 or x.shape[-1] != wide.shape[1]:
            raise ShapeError(
                f"{_NAME}: the {name} has {x.shape[-1]} features, its weight "
                f"{list(wide.shape)} takes {wide.shape[-1]}"
            )
        projected.append(linear(x, wide, bias))
    return projected


def _added(name: str, mask: Any, dtype: Any) -> Tensor:
    """A mask as what is added to scores: -infinity where bools are true."""
    tensor = as_tensor(mask)
    if tensor.dtype == np.bool_:
        zeros = Tensor(np.zeros((), dtype))
        return tensor.choose(-math.inf, zeros)
    if tensor.dtype.kind != "f":
        raise DTypeError(f"{_NAME}: {name} must hold bools or floats, it holds {tensor.dtype}")
    return tensor.astype(dtype)


def _seen(mask: Tensor) -> Tensor:
    """The mask with one more key, which every query sees."""
    return pad(mask, (0, 1))


def _sum(masks: list[Tensor]) -> Tensor | None:
    if len(masks) < 2:
        return masks[0] if masks else None
    return masks[0] + masks[1]


def _shares(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D) + mask), NaN for a query that sees no key."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    return softmax(scores if mask is None else scores + mask, -1)
