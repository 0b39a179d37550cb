"""Attention, and layers made of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.registry.entries import ONLY_MADE, Case, Entry

QUERY, WIDE = (3, 2, 4), (5, 2, 3)
# 2 samples whose last keys are paddings.
PADDING = np.array([[False, False, True], [False, False, False]])
CAUSAL = np.triu(np.ones((3, 3), np.bool_), 1)

_MADE = dict.fromkeys(("device", "dtype"), ONLY_MADE)
_LAYER_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(("d_model", "nhead", "dim_feedforward", "dropout"), ONLY_MADE),
    **dict.fromkeys(("activation", "layer_norm_eps", "batch_first", "bias"), ONLY_MADE),
    **_MADE,
}


def _layer(nn: Any, name: str, **options: Any) -> Any:
    return getattr(nn, name)(4, 2, 6, 0.0, **{"activation": "gelu", **options})


def _encoder(nn: Any, **options: Any) -> Any:
    return nn.TransformerEncoder(
        _layer(nn, "TransformerEncoderLayer", batch_first=True), 2, **options
    )


def _decoder(nn: Any, **options: Any) -> Any:
    return nn.TransformerDecoder(_layer(nn, "TransformerDecoderLayer"), 2, **options)


ATTENTIONS: tuple[Entry, ...] = (
    Entry(
        "MultiheadAttention",
        {
            "plain": Case(lambda nn: nn.MultiheadAttention(4, 2), (QUERY, QUERY, QUERY)),
            "widths": Case(
                lambda nn: nn.MultiheadAttention(4, 2, kdim=3, vdim=3), (QUERY, WIDE, WIDE)
            ),
            "without batch": Case(
                lambda nn: nn.MultiheadAttention(4, 2, add_bias_kv=True), ((3, 4), (5, 4), (5, 4))
            ),
        },
        {
            **dict.fromkeys(("embed_dim", "num_heads", "kdim", "vdim", "add_bias_kv"), ONLY_MADE),
            **dict.fromkeys(("dropout", "bias"), ONLY_MADE),
            "add_zero_attn": True,
            "batch_first": True,
            **_MADE,
        },
        guarded=Case(lambda nn: nn.MultiheadAttention(4, 2), ((5, 5, 4), (5, 5, 4), (5, 5, 4))),
    ),
    Entry(
        "TransformerEncoderLayer",
        {
            "plain": Case(lambda nn: _layer(nn, "TransformerEncoderLayer"), (QUERY,)),
            "normed first": Case(
                lambda nn: _layer(nn, "TransformerEncoderLayer", norm_first=True, bias=False),
                (QUERY,),
            ),
        },
        {**_LAYER_OPTIONS, "norm_first": True},
    ),
    Entry(
        "TransformerDecoderLayer",
        {"plain": Case(lambda nn: _layer(nn, "TransformerDecoderLayer"), (QUERY, QUERY))},
        {**_LAYER_OPTIONS, "norm_first": True},
    ),
    Entry(
        "TransformerEncoder",
        {
            "plain": Case(lambda nn: _encoder(nn, enable_nested_tensor=False), (QUERY,)),
        },
        {
            **dict.fromkeys(("encoder_layer", "num_layers", "norm"), ONLY_MADE),
            **dict.fromkeys(("enable_nested_tensor", "mask_check"), ONLY_MADE),
        },
    ),
    Entry(
        "TransformerDecoder",
        {"plain": Case(lambda nn: _decoder(nn), (QUERY, QUERY))},
        dict.fromkeys(("decoder_layer", "num_layers", "norm"), ONLY_MADE),
    ),
    Entry(
        "Transformer",
        {
            "plain": Case(
                lambda nn: nn.Transformer(4, 2, 1, 1, 6, 0.0, "gelu", batch_first=True),
                ((2, 3, 4), (2, 5, 4)),
            )
        },
        {
            **_LAYER_OPTIONS,
            **dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), ONLY_MADE),
            **dict.fromkeys(("custom_encoder", "custom_decoder", "norm_first"), ONLY_MADE),
        },
    ),
    Entry(
        "SinusoidalPositionalEncoding",
        {"plain": Case(lambda nn: nn.SinusoidalPositionalEncoding(4), (QUERY,))},
        {"d_model": ONLY_MADE, "base": 30.0},
        twin=None,
    ),
    Entry(
        "RotaryEmbedding",
        {
            "plain": Case(lambda nn: nn.RotaryEmbedding(4), (QUERY,)),
            "halves": Case(lambda nn: nn.RotaryEmbedding(4, interleaved=False), (QUERY,)),
        },
        {"dim": ONLY_MADE, "base": 30.0, "interleaved": False},
        twin=None,
    ),
)


def _forward(F: Any, *inputs: Any, **options: Any) -> Any:
    q, w, b, o = inputs[:4]
    return F.multi_head_attention_forward(
        *(q, q, q, 4, 2, w, b, None, None, False, 0.0, o, None), **options
    )


_WEIGHTS = ((12, 4), (12,), (4, 4))
ATTENTION_FUNCTIONS: tuple[Entry, ...] = (
    Entry(
        "multi_head_attention_forward",
        {
            "plain": Case(_forward, (QUERY, *_WEIGHTS)),
            "masks": Case(
                lambda F, *xs: _forward(F, *xs, key_padding_mask=xs[4], attn_mask=xs[5]),
                (QUERY, *_WEIGHTS, PADDING, CAUSAL),
            ),
            "without shares": Case(
                lambda F, *xs: _forward(
                    F, *xs, need_weights=False, attn_mask=xs[4], is_causal=True
                )[0],
                (QUERY, *_WEIGHTS, CAUSAL),
            ),
            "shares of every head": Case(
                lambda F, *xs: _forward(F, *xs, average_attn_weights=False), (QUERY, *_WEIGHTS)
            ),
        },
        twin="torch.nn.functional",
    ),
    Entry(
        "scaled_dot_product_attention",
        {
            "plain": Case(
                lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v),
                ((2, 3, 4), (2, 5, 4), (2, 5, 6)),
            ),
            "causal": Case(
                lambda F, q, k, v: F.scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=0.3
                ),
                ((2, 2, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4)),
            ),
            "mask": Case(
                lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
                ((2, 3, 4), (2, 5, 4), (2, 5, 6), np.arange(15).reshape(3, 5) % 4 > 0),
            ),
            "added": Case(
                lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m.detach()),
                ((2, 3, 4), (2, 5, 4), (2, 5, 6), (3, 5)),
                smooth=False,
            ),
            "blocks": Case(
                lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                ((2, 2, 9, 4), (2, 2, 9, 4), (2, 2, 9, 4)),
            ),
            "blocks, mask": Case(
                lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m),
                ((2, 6, 4), (2, 5, 4), (2, 5, 6), np.arange(30).reshape(6, 5) % 4 > 0),
            ),
            "shared": Case(
                lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
                ((2, 4, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4)),
            ),
        },
    ),
)
