"""Multiply-adds: primitives that the compiler alone makes (`mynn.compiler.graph.multiply_add`).

Whether a product is rounded before it is added to something is decided once for each node of a
graph; these primitives are that decision written down.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import ShapeError
from mynn.ops.rules import FLOAT, binary, elementwise_samples, require_kind, require_same

FORMS = ("xy+z", "xy-z", "z-xy")


def _infer_fma(x: Type, y: Type, z: Type, form: str) -> Type:
    if form not in FORMS:
        raise ShapeError(f"fma: form is one of {', '.join(FORMS)}, not {form!r}")
    require_same("fma", x, y, z)
    require_kind("fma", x, FLOAT)
    return x


def _fma(x: Array, y: Array, z: Array, form: str) -> Array:
    """float32: through float64, where the product is exact. float64: see `_fma_double`."""
    x = np.asarray(-x if form == "z-xy" else x)
    z = np.asarray(-z if form == "xy-z" else z)
    if x.dtype == np.float32:
        return np.asarray(x.astype(np.float64) * y + z).astype(np.float32)
    return _fma_double(x, np.asarray(y), z)


def _fma_double(x: Array, y: Array, z: Array) -> Array:
    """The product and the sum each as two numbers that add up to it exactly (Dekker, Knuth)."""
    with np.errstate(all="ignore"):
        product = x * y
        total = product + z
        (a, b), (c, d) = _halves(x), _halves(y)
        lost = ((a * c - product) + a * d + b * c) + b * d
        part = total - product
        lost = lost + ((product - (total - part)) + (z - part))
        return np.asarray(np.where(np.isfinite(lost), total + lost, total))


def _halves(x: Array) -> tuple[Array, Array]:
    """x as the sum of two numbers of 26 bits each."""
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def _fma_vjp(g: Any, w: Any, x: Any, y: Any, z: Any, form: str) -> tuple[Any, ...]:
    product = -g if form == "z-xy" else g
    return product * y, product * x, -g if form == "xy-z" else g


def _fma_samples(rng: np.random.Generator) -> list[Sample]:
    ranges = ((-4, 4), (-4, 4), (-4, 4))
    return [
        Sample(sample.arrays, {"form": form})
        for form in FORMS
        for sample in elementwise_samples(*ranges)(rng)[:4]
    ]


# x * y + z, or another of FORMS, rounded once.
fma = Primitive("fma", _infer_fma, _fma, _fma_vjp, _fma_samples, elementwise=True)

# x * y, which only sums read, and need not round before they add it up.
mul_unrounded = binary(
    "mul_unrounded",
    FLOAT,
    np.multiply,
    lambda g, z, x, y: (g * y, g * x),
    elementwise_samples((-4, 4), (-4, 4)),
)

PRIMITIVES = (fma, mul_unrounded)
