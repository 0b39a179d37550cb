"""What is known to differ from PyTorch on its own samples, by operation and kind, with the reason.

Kinds: `values`, `dtype`, `shape`, `gradient`, `compiled`, `refused` (PyTorch takes it), `accepted`
(PyTorch refuses it), `raw error` (an error that says nothing), `refused in a trace`.
"""

from __future__ import annotations

_LOOKS = "looks at values: eagerly only"
_FRACTIONS = "PyTorch cuts the fraction off a factor of integers, without a word"
_SIGNS = "vectors are unique but for their sign"
_MEMORY = "samples that count in the memory around a tensor, which comes here without it"
_TIES = "equal values always stay in their order; PyTorch leaves it open which comes first"
_SAMPLES = "the samples of normal_ are those of another function"
_FLOATS = "of integers, whose means and products would be cut or wrap around"
_DRAWS = "values are drawn where numbers are not given"

# Elementwise functions, reductions, creation.
_ELEMENTWISE: dict[str, dict[str, str]] = {
    "item": {"refused in a trace": _LOOKS},
    "allclose": {"refused in a trace": _LOOKS},
    "equal": {"refused in a trace": _LOOKS},
    "linspace": {"refused in a trace": _LOOKS},
    "logspace": {"refused in a trace": _LOOKS},
    "mean": {"accepted": "the mean of integers is a float"},
    "half": {"refused": "there are no float16"},
    "norm": {"refused": "the nuclear norm needs singular values"},
    "normal": {"refused": _SAMPLES, "accepted": _SAMPLES},
}
# Shapes, indices, sorting, linear algebra.
_SHAPES: dict[str, dict[str, str]] = {
    "argsort": {"values": _TIES},
    "kthvalue": {"values": _TIES},
    "sort": {"values": _TIES},
    "topk": {"values": _TIES},
    "mode": {"values": _TIES},
    "as_strided": {"values": _MEMORY, "refused": _MEMORY},
    "matrix_exp": {"values": "computed in float64: 20 times as close as PyTorch's float32"},
    "bincount": {"refused in a trace": _LOOKS},
    "unique": {"refused in a trace": _LOOKS},
    "unique_consecutive": {"refused in a trace": _LOOKS},
    "tensor_split": {"refused in a trace": _LOOKS},
    "argwhere": {"refused in a trace": _LOOKS},
    "linalg.pinv": {
        "refused": "samples of two factors, which only the samples know",
        "gradient": "with `hermitian` of the triangle that is read",
    },
    "linalg.eigh": {"values": _SIGNS},
    "linalg.svd": {"values": _SIGNS},
    "qr": {"gradient": "of wide matrices there is none"},
    "svd": {"values": _SIGNS},
    "unravel_index": {"refused": "more than 2^53 positions"},
    "linalg.qr": {"gradient": "of wide matrices there is none"},
    "linalg.lstsq": {
        "shape": "rank and singular values are always there",
        "values": "residuals and rank are always there",
        "gradient": "of the solution that has the least norm",
    },
    "linalg.norm": {"refused": "the largest of no values"},
    **{name: {"refused": _FRACTIONS} for name in ("addmv", "addbmm", "baddbmm")},
    "nonzero": {"refused in a trace": _LOOKS},
    "masked_select": {"refused in a trace": _LOOKS},
}
# Functions of layers.
_LAYERS: dict[str, dict[str, str]] = {
    **{
        f"nn.functional.{name}": {"refused": _FLOATS}
        for name in ("avg_pool1d", "avg_pool2d", "avg_pool3d", "conv1d", "conv2d", "conv3d")
    },
    **{f"nn.functional.conv_transpose{n}d": {"refused": _FLOATS} for n in (1, 2, 3)},
    "nn.functional.max_pool1d": {"accepted": "no channels are as few as any other number"},
    "nn.functional.batch_norm": {"refused": "an input without values, which has no channels"},
    **{
        name: {"refused": "scale_grad_by_freq with sparse gradients: PyTorch says so in `backward`"}
        for name in ("nn.functional.embedding", "nn.functional.embedding_bag")
    },
    "nn.functional.ctc_loss": {
        "gradient": "PyTorch adds e^x to the gradient, which log_softmax takes away again",
    },
    "nn.functional.triplet_margin_with_distance_loss": {"refused": "the distance is PyTorch's"},
    "nn.functional.local_response_norm": {"values": _FLOATS, "dtype": _FLOATS},
    "nn.functional.max_pool3d": {"accepted": "an axis of nothing that no window reaches"},
    "nn.functional.fractional_max_pool2d": {"values": _DRAWS},
    "nn.functional.fractional_max_pool3d": {"values": _DRAWS},
    "nn.functional.scaled_dot_product_attention": {"values": _DRAWS},
    "nn.functional.multi_head_attention_forward": {"values": _DRAWS},
    "nn.functional.one_hot": {"refused in a trace": _LOOKS},
}

KNOWN: dict[str, dict[str, str]] = {**_ELEMENTWISE, **_SHAPES, **_LAYERS}

# Values are drawn: only dtypes and shapes are compared.
_DRAWN = (
    "bernoulli multinomial normal rand_like randint randint_like randn randn_like empty "
    "empty_like new_empty nn.functional.dropout uniform nn.functional.alpha_dropout "
    "nn.functional.dropout1d nn.functional.dropout2d nn.functional.dropout3d exponential "
    "nn.functional.feature_alpha_dropout nn.functional.rrelu geometric log_normal cauchy "
    "empty_permuted"
)
RANDOM = frozenset(_DRAWN.split())
# There, but not compared here, by the reason.
SKIPPED: dict[str, str] = {}
