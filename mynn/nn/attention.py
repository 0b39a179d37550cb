"""Attention of several heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.errors import ArgumentError, ShapeError
from mynn.functional.multi_head_attention import Attention
from mynn.nn import init
from mynn.nn.linear import Linear
from mynn.nn.module import Module
from mynn.nn.placement import like_state, parameter_dtype
from mynn.random import host_generator
from mynn.target.storage import is_narrow
from mynn.tensor import Parameter, Tensor, as_tensor


class NonDynamicallyQuantizableLinear(Linear):
    """`Linear`, under the name by which PyTorch prints the last layer of an attention."""


class MultiheadAttention(Module):
    """Each query's mean of the values, with shares by its likeness to the keys, head by head.

    `functional.multi_head_attention_forward` gives the equation.

    Args:
        embed_dim: E, features of queries and results.
        num_heads: H; each has E / H features.
        dropout: probability with which a share becomes 0 in training.
        bias: whether projections have biases.
        add_bias_kv: whether one more key and value are learned.
        add_zero_attn: whether there is one more key and value of zeros.
        kdim, vdim: features of keys and values; E where left out.
        batch_first: whether axes are [N, L, E] instead of [L, N, E].
        device, dtype: as in `Linear`.

    Attributes:
        in_proj_weight: [3 E, E], for query, key and value; None where kdim or vdim is not E: then
            q_proj_weight [E, E], k_proj_weight [E, kdim] and v_proj_weight [E, vdim] are there.
            From U(-b, b) with b = sqrt(6 / (rows + columns)).
        in_proj_bias: [3 E] or None, from 0; out_proj: `Linear`, its bias from 0.
        bias_k, bias_v: [1, 1, E] or None, normal with variance 1 / E.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> attention = nn.MultiheadAttention(4, num_heads=2, batch_first=True)
        >>> x = np.zeros((3, 5, 4), np.float32)
        >>> y, shares = attention(x, x, x)
        >>> y.shape, shares.shape
        ((3, 5, 4), (3, 5, 5))

    Source: Vaswani et al., "Attention is all you need", 2017.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        dtype = parameter_dtype("MultiheadAttention", device, dtype)
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(
                "MultiheadAttention: embed_dim must be a multiple of num_heads, both at least 1; "
                f"they are {embed_dim} and {num_heads}"
            )
        if not 0 <= dropout <= 1:
            raise ArgumentError(f"MultiheadAttention: dropout must lie in [0, 1], it is {dropout}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        together = self.kdim == self.vdim == embed_dim
        self.in_proj_weight = _weight(3 * embed_dim, embed_dim, dtype) if together else None
        widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
        for letter, width in widths.items():
            weight = None if together else _weight(embed_dim, width, dtype)
            self.register_parameter(f"{letter}_proj_weight", weight)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, dtype)) if bias else None
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, dtype=dtype)
        for letter in "kv":
            extra = Parameter(np.zeros((1, 1, embed_dim), dtype)) if add_bias_kv else None
            self.register_parameter(f"bias_{letter}", extra)
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw the initial values anew."""
        draws = host_generator(generator)
        self.out_proj.reset_parameters(draws)
        for weight in (self.in_proj_weight, *self._separate()):
            if weight is not None:
                init.xavier_uniform_(weight, generator=draws)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra, generator=draws)

    def _separate(self) -> tuple[Any, Any, Any]:
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """query [L, N, E], key [S, N, kdim], value [S, N, vdim] -> [L, N, E] and the shares, None
        without `need_weights`; see `functional.multi_head_attention_forward`.
        """
        q, k, v = (like_state(self, as_tensor(one)) for one in (query, key, value))
        self._check(q, k, v)
        if query is key is value:
            k = v = q
        weight, bias = self.in_proj_weight, self.in_proj_bias
        attention = Attention(
            features=self.embed_dim,
            heads=self.num_heads,
            projection=(self._separate() if weight is None else weight, bias),
            output=(self.out_proj.weight, self.out_proj.bias),
            further=(self.bias_k, self.bias_v),
            zeros=self.add_zero_attn,
            dropout=self.dropout if self.training else 0.0,
            batch_first=self.batch_first,
        )
        shares = average_attn_weights if need_weights else None
        return attention((q, k, v), (key_padding_mask, attn_mask), is_causal, shares)

    def _check(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Raise where one has another number of features than the layer was made for."""
        wanted = {"embed_dim": (q, self.embed_dim), "kdim": (k, self.kdim), "vdim": (v, self.vdim)}
        for option, (x, width) in wanted.items():
            if not x.ndim or x.shape[-1] != width:
                which = {"embed_dim": "query", "kdim": "key", "vdim": "value"}[option]
                raise ShapeError(
                    f"the {which} has shape {list(x.shape)}, its last axis "
                    f"must hold {option}={width} features"
                )


def _weight(rows: int, columns: int, dtype: Any) -> Parameter:
    """Stored as `Linear` stores its own."""
    order = (0, 1) if is_narrow(rows) else (1, 0)
    return Parameter(np.zeros((rows, columns), dtype), order=order)
