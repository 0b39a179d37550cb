"""What is known to differ from PyTorch on its own samples, by operation and kind, with the reason.

Kinds: `values`, `dtype`, `shape`, `gradient`, `compiled`, `refused` (PyTorch takes it), `accepted`
(PyTorch refuses it), `raw error` (an error that says nothing), `refused in a trace`.
"""

from __future__ import annotations

_LOOKS = "looks at values: eagerly only"
_OPEN = "open"
_FRACTIONS = "PyTorch cuts the fraction off a factor of integers, without a word"
_AT_ONCE = "singular values, eigenvalues and QR are computed by NumPy: eagerly only"
_SIGNS = "vectors are unique but for their sign"
_TIES = "equal values always stay in their order; PyTorch leaves it open which comes first"
_SAMPLES = "the samples of normal_ are those of another function"
_FLOATS = "of integers"
_DRAWS = "values are drawn where numbers are not given"

# Elementwise functions, reductions, creation.
_ELEMENTWISE: dict[str, dict[str, str]] = {
    "item": {"refused in a trace": _LOOKS},
    "max": {"refused": _OPEN},
    "min": {"refused": _OPEN},
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
    "bincount": {"refused in a trace": _LOOKS},
    "unique": {"refused in a trace": _LOOKS},
    "unique_consecutive": {"refused in a trace": _LOOKS},
    "tensor_split": {"refused in a trace": _LOOKS},
    "repeat_interleave": {"refused in a trace": _LOOKS},
    "argwhere": {"refused in a trace": _LOOKS},
    **{
        name: {"refused in a trace": _AT_ONCE}
        for name in ("pinverse", "linalg.cond", "linalg.eigvalsh", "linalg.svdvals")
    },
    "linalg.matrix_rank": {"refused in a trace": _AT_ONCE},
    "linalg.pinv": {
        "refused in a trace": _AT_ONCE,
        "refused": "samples of two factors, which only the samples know",
        "gradient": "with `hermitian` of the triangle that is read",
    },
    "linalg.eigh": {"refused in a trace": _AT_ONCE, "values": _SIGNS},
    "linalg.svd": {"refused in a trace": _AT_ONCE, "values": _SIGNS, "gradient": _SIGNS},
    "qr": {"refused in a trace": _AT_ONCE, "gradient": "of wide matrices there is none"},
    "svd": {"refused in a trace": _AT_ONCE, "values": _SIGNS, "gradient": _SIGNS},
    "unravel_index": {"refused": "more than 2^53 positions"},
    "linalg.qr": {"refused in a trace": _AT_ONCE, "gradient": "of wide matrices there is none"},
    "linalg.lstsq": {
        "refused in a trace": _AT_ONCE,
        "shape": "rank and singular values are always there",
        "values": "residuals and rank are always there",
        "gradient": "of the solution that has the least norm",
    },
    "linalg.norm": {"refused": "the largest of no values"},
    **{name: {"refused": _FRACTIONS} for name in ("addmv", "addbmm", "baddbmm")},
    "nonzero": {"refused in a trace": _LOOKS},
    "masked_select": {"refused in a trace": _LOOKS},
    "cat": {"refused": _OPEN, "raw error": _OPEN},
}
# Functions of layers.
_LAYERS: dict[str, dict[str, str]] = {
    "softmax": {"refused": _OPEN},
    "log_softmax": {"refused": _OPEN},
    "nn.functional.adaptive_max_pool1d": {"refused": _OPEN},
    "nn.functional.adaptive_max_pool2d": {"refused": _OPEN},
    "nn.functional.avg_pool1d": {"refused": _OPEN},
    "nn.functional.avg_pool2d": {"refused": _OPEN},
    "nn.functional.conv1d": {"refused": _OPEN},
    "nn.functional.conv2d": {"refused": _OPEN},
    "nn.functional.conv_transpose1d": {"refused": _OPEN},
    "nn.functional.conv_transpose2d": {"refused": _OPEN},
    "nn.functional.max_pool1d": {"refused": _OPEN, "accepted": _OPEN},
    "nn.functional.max_pool2d": {"refused": _OPEN, "accepted": _OPEN},
    "nn.functional.batch_norm": {"refused": _OPEN, "refused in a trace": _OPEN},
    "nn.functional.ctc_loss": {
        "gradient": "PyTorch adds e^x to the gradient, which log_softmax takes away again",
    },
    "nn.functional.triplet_margin_with_distance_loss": {"refused": "the distance is PyTorch's"},
    "nn.functional.avg_pool3d": {"refused": _FLOATS},
    "nn.functional.conv3d": {"refused": _FLOATS},
    "nn.functional.conv_transpose3d": {"refused": _FLOATS},
    "nn.functional.local_response_norm": {"values": _FLOATS, "dtype": _FLOATS},
    "nn.functional.instance_norm": {"refused in a trace": "statistics are arguments there"},
    "nn.functional.max_pool3d": {"accepted": "an axis of nothing that no window reaches"},
    "nn.functional.fractional_max_pool2d": {"values": _DRAWS},
    "nn.functional.fractional_max_pool3d": {"values": _DRAWS, "refused": "an empty batch"},
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
