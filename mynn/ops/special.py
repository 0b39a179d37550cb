"""Elementwise primitives that are seldom needed: inverse and hyperbolic functions, other bases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core.primitive import Cost
from mynn.core.types import Array
from mynn.ops.rules import FLOAT, binary, elementwise_samples, unary

_vector_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _erfc(x: Array) -> Array:
    return np.asarray(_vector_erfc(x)).astype(x.dtype) if x.size else x


asin = unary(
    "asin",
    FLOAT,
    np.arcsin,
    lambda g, y, x: (g / (1 - x * x).sqrt(),),
    elementwise_samples((-0.9, 0.9)),
    cost=Cost.HEAVY,
)

acos = unary(
    "acos",
    FLOAT,
    np.arccos,
    lambda g, y, x: (-(g / (1 - x * x).sqrt()),),
    elementwise_samples((-0.9, 0.9)),
    cost=Cost.HEAVY,
)

atan = unary(
    "atan",
    FLOAT,
    np.arctan,
    lambda g, y, x: (g / (x * x + 1),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)


def _turned(x: Any, y: Any) -> Any:
    """x / (x^2 + y^2), and 0 at the origin, which has no angle."""
    squares = x * x + y * y
    return x / (squares == 0).choose(1, squares)


# The angle of the point (y, x), whose tangent is x / y.
atan2 = binary(
    "atan2",
    FLOAT,
    np.arctan2,
    lambda g, z, x, y: (g * _turned(y, x), -(g * _turned(x, y))),
    elementwise_samples((0.5, 4), (-4, 4)),
    cost=Cost.HEAVY,
)

sinh = unary(
    "sinh",
    FLOAT,
    np.sinh,
    lambda g, y, x: (g * x.cosh(),),
    elementwise_samples((-3, 3)),
    cost=Cost.HEAVY,
)

cosh = unary(
    "cosh",
    FLOAT,
    np.cosh,
    lambda g, y, x: (g * x.sinh(),),
    elementwise_samples((-3, 3)),
    cost=Cost.HEAVY,
)

asinh = unary(
    "asinh",
    FLOAT,
    np.arcsinh,
    lambda g, y, x: (g / (x * x + 1).sqrt(),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

acosh = unary(
    "acosh",
    FLOAT,
    np.arccosh,
    lambda g, y, x: (g / ((x - 1).sqrt() * (x + 1).sqrt()),),
    elementwise_samples((1.2, 5)),
    cost=Cost.HEAVY,
)

atanh = unary(
    "atanh",
    FLOAT,
    np.arctanh,
    lambda g, y, x: (g / (1 - x * x),),
    elementwise_samples((-0.9, 0.9)),
    cost=Cost.HEAVY,
)

exp2 = unary(
    "exp2",
    FLOAT,
    np.exp2,
    lambda g, y, x: (g * y * math.log(2),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

log2 = unary(
    "log2",
    FLOAT,
    np.log2,
    lambda g, y, x: (g / (x * math.log(2)),),
    elementwise_samples((0.2, 8)),
    cost=Cost.HEAVY,
)

log10 = unary(
    "log10",
    FLOAT,
    np.log10,
    lambda g, y, x: (g / (x * math.log(10)),),
    elementwise_samples((0.2, 8)),
    cost=Cost.HEAVY,
)

erfc = unary(
    "erfc",
    FLOAT,
    _erfc,
    lambda g, y, x: (g * ((-(x * x)).exp() * (-2 / math.sqrt(math.pi))),),
    elementwise_samples((-3, 3)),
    cost=Cost.HEAVY,
)

# The nearest whole number, of two the even one.
round = unary(
    "round",
    FLOAT,
    np.rint,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
)

PRIMITIVES = (
    *(asin, acos, atan, atan2, sinh, cosh, asinh, acosh, atanh),
    *(exp2, log2, log10, erfc, round),
)
