"""Elementwise primitives: y[i] = f(x[i], ...).

Inputs have one shape and, but for `where`, one dtype.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core.primitive import Cost, Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops.rules import (
    ANY,
    BITS,
    FLOAT,
    NUMBER,
    SAMPLE_SHAPES,
    binary,
    comparison,
    elementwise_samples,
    integer_samples,
    require_kind,
    require_same,
    unary,
    uniform,
)

_vector_erf = np.vectorize(math.erf, otypes=[np.float64])


def _erf(x: Array) -> Array:
    return np.asarray(_vector_erf(x)).astype(x.dtype) if x.size else x


def _logistic(x: Array) -> Array:
    """1 / (1 + e^-x), or e^x / (1 + e^x) where that power is the one below 1."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(np.signbit(x), e, 1) / (1 + e)).astype(x.dtype, copy=False)


def integer_power(x: Array, y: Array) -> Array:
    """x ** y of integers, modulo 2^bits; a negative power is the whole part of the quotient."""
    exponent = np.where(y < 0, 0, y).astype(y.dtype)
    positive = np.power(x, exponent)
    if x.dtype.kind == "u":
        return np.asarray(positive)
    sign = np.where(y & 1, x, 1)
    return np.asarray(np.where(y < 0, np.where((x == 1) | (x == -1), sign, 0), positive))


def _power(x: Array, y: Array) -> Array:
    return np.power(x, y) if x.dtype.kind == "f" else integer_power(x, y)


def convert(x: Array, dtype: np.dtype[Any]) -> Array:
    """x in another dtype; floats become integers without their fraction, held to their range."""
    if x.dtype.kind != "f" or dtype.kind not in "iu":
        return x.astype(dtype, copy=False)
    bounds = np.iinfo(dtype)
    end = x.dtype.type(2.0) ** (bounds.bits - (dtype.kind == "i"))
    inside = (x >= x.dtype.type(bounds.min)) & (x < end)
    y = np.where(inside, x, x.dtype.type(0)).astype(dtype)
    return np.where(inside | np.isnan(x), y, np.where(x < 0, bounds.min, bounds.max).astype(dtype))


def _sign(x: Array) -> Array:
    """Zero for NaN, as in PyTorch."""
    return np.asarray(np.greater(x, 0).astype(x.dtype) - np.less(x, 0).astype(x.dtype))


neg = unary(
    "neg",
    NUMBER,
    np.negative,
    lambda g, y, x: (-g,),
    elementwise_samples((-4, 4)),
)

abs = unary(
    "abs",
    NUMBER,
    np.abs,
    lambda g, y, x: (g * x.sign(),),
    elementwise_samples((0.5, 4)),
)

sign = unary(
    "sign",
    NUMBER,
    _sign,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
)

exp = unary(
    "exp",
    FLOAT,
    np.exp,
    lambda g, y, x: (g * y,),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

expm1 = unary(
    "expm1",
    FLOAT,
    np.expm1,
    lambda g, y, x: (g * (y + 1),),
    elementwise_samples((-2, 2)),
    cost=Cost.HEAVY,
)

log = unary(
    "log",
    FLOAT,
    np.log,
    lambda g, y, x: (g / x,),
    elementwise_samples((0.2, 8)),
    cost=Cost.HEAVY,
)

log1p = unary(
    "log1p",
    FLOAT,
    np.log1p,
    lambda g, y, x: (g / (x + 1),),
    elementwise_samples((-0.5, 4)),
    cost=Cost.HEAVY,
)

sqrt = unary(
    "sqrt",
    FLOAT,
    np.sqrt,
    lambda g, y, x: (g * 0.5 / y,),
    elementwise_samples((0.2, 8)),
    cost=Cost.MODERATE,
)

sin = unary(
    "sin",
    FLOAT,
    np.sin,
    lambda g, y, x: (g * x.cos(),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

cos = unary(
    "cos",
    FLOAT,
    np.cos,
    lambda g, y, x: (-(g * x.sin()),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

tanh = unary(
    "tanh",
    FLOAT,
    np.tanh,
    lambda g, y, x: (g * (1 - y * y),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

logistic = unary(
    "logistic",
    FLOAT,
    _logistic,
    lambda g, y, x: (g * (y * (1 - y)),),
    elementwise_samples((-4, 4)),
    cost=Cost.HEAVY,
)

erf = unary(
    "erf",
    FLOAT,
    _erf,
    lambda g, y, x: (g * ((-(x * x)).exp() * (2 / math.sqrt(math.pi))),),
    elementwise_samples((-3, 3)),
    cost=Cost.HEAVY,
)

# max(x, 0) with gradient 0 at 0; NaN and its gradient pass through.
relu = unary(
    "relu",
    NUMBER,
    lambda x: np.maximum(x, 0),
    lambda g, y, x: ((y <= 0).choose(0, g),),
    elementwise_samples(
        (0.1, 4),
    ),
)

floor = unary(
    "floor",
    FLOAT,
    np.floor,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
)

# The identity, through which no gradient flows.
stop_gradient = unary(
    "stop_gradient",
    ANY,
    lambda x: x,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
    view=True,
    put=lambda x, new: new,
)

logical_not = unary(
    "logical_not",
    "b",
    np.logical_not,
    None,
    integer_samples(1, 0, 2, bool),
)

add = binary(
    "add",
    NUMBER,
    np.add,
    lambda g, z, x, y: (g, g),
    elementwise_samples((-4, 4), (-4, 4)),
)

sub = binary(
    "sub",
    NUMBER,
    np.subtract,
    lambda g, z, x, y: (g, -g),
    elementwise_samples((-4, 4), (-4, 4)),
)

mul = binary(
    "mul",
    NUMBER,
    np.multiply,
    lambda g, z, x, y: (g * y, g * x),
    elementwise_samples((-4, 4), (-4, 4)),
)

div = binary(
    "div",
    FLOAT,
    np.divide,
    # Not by z: as in PyTorch a quotient may be changed in place.
    lambda g, z, x, y: (g / y, -(g * (x / y) / y)),
    elementwise_samples((-4, 4), (0.5, 4)),
    cost=Cost.MODERATE,
)

# x - floor(x / y) * y: the result has the sign of y, as in NumPy.
mod = binary(
    "mod",
    NUMBER,
    np.mod,
    lambda g, z, x, y: (g, -(g * (x / y).floor())),
    elementwise_samples((0.1, 0.9), (1, 3)),
    cost=Cost.HEAVY,
)

pow = binary(
    "pow",
    NUMBER,
    _power,
    lambda g, z, x, y: (
        (y != 0).choose(g * y * x ** (y - 1), 0),
        g * z * ((x == 0) & (y >= 0)).choose(1, x).log(),
    ),
    elementwise_samples((0.3, 3), (-2, 2)),
    cost=Cost.HEAVY,
)

# Where x = y each gets half of the gradient; NaN in either gives NaN, and the gradient to both.
maximum = binary(
    "maximum",
    NUMBER,
    np.maximum,
    lambda g, z, x, y: (_share(g, x < y, x == y), _share(g, y < x, x == y)),
    elementwise_samples((-4, 4), (-4, 4)),
)

minimum = binary(
    "minimum",
    NUMBER,
    np.minimum,
    lambda g, z, x, y: (_share(g, x > y, x == y), _share(g, y > x, x == y)),
    elementwise_samples((-4, 4), (-4, 4)),
)


def _share(g: Any, loses: Any, tie: Any) -> Any:
    return loses.choose(0, tie.choose(g * 0.5, g))


less = comparison(
    "less",
    ANY,
    np.less,
    elementwise_samples((-4, 4), (-4, 4)),
)

less_equal = comparison(
    "less_equal",
    ANY,
    np.less_equal,
    integer_samples(2, -2, 2, np.int64),
)

equal = comparison(
    "equal",
    ANY,
    np.equal,
    integer_samples(2, -2, 2, np.int32),
)

not_equal = comparison(
    "not_equal",
    ANY,
    np.not_equal,
    integer_samples(2, -2, 2, np.float64),
)

bitwise_and = binary(
    "bitwise_and",
    BITS,
    np.bitwise_and,
    None,
    integer_samples(2, 0, 9, np.uint32),
)

bitwise_or = binary(
    "bitwise_or",
    BITS,
    np.bitwise_or,
    None,
    integer_samples(2, 0, 2, bool),
)

bitwise_xor = binary(
    "bitwise_xor",
    BITS,
    np.bitwise_xor,
    None,
    integer_samples(2, -9, 9, np.int64),
)


def _infer_shift(x: Type, bits: int) -> Type:
    require_kind("shift_right", x, "u")
    if not 0 <= bits < 8 * x.dtype.itemsize:
        raise ShapeError(f"shift_right: {bits} bits do not fit {x}")
    return x


def _shift_samples(rng: np.random.Generator) -> list[Sample]:
    arrays = [rng.integers(0, 2**32, shape, np.uint32) for shape in SAMPLE_SHAPES]
    return [Sample((np.asarray(array),), {"bits": 8}) for array in arrays]


shift_right = Primitive(
    "shift_right",
    _infer_shift,
    lambda x, bits: np.right_shift(x, x.dtype.type(bits)),
    None,
    _shift_samples,
    elementwise=True,
)


def _infer_where(condition: Type, x: Type, y: Type) -> Type:
    require_same("where", x, y)
    if condition.shape != x.shape:
        raise ShapeError(f"where: shapes {condition.shape} and {x.shape} differ")
    if condition.dtype != np.bool_:
        raise DTypeError(f"where: the condition must be bool, it is {condition}")
    return x


def _where_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(
            (
                np.asarray(rng.integers(0, 2, shape).astype(bool)),
                uniform(rng, -4, 4, shape),
                uniform(rng, -4, 4, shape),
            )
        )
        for shape in SAMPLE_SHAPES
    ]


where = Primitive(
    "where",
    _infer_where,
    np.where,
    lambda g, z, condition, x, y: (None, condition.choose(g, 0), condition.choose(0, g)),
    _where_samples,
    elementwise=True,
)


def _cast_samples(rng: np.random.Generator) -> list[Sample]:
    x = uniform(rng, -4, 4, (3, 5))
    targets = (np.float32, np.float64, np.int32, np.int64, np.bool_)
    sources = (x, x.astype(np.float32), x.astype(np.int64), x > 0, np.abs(x).astype(np.uint8))
    return [
        Sample((source,), {"dtype": np.dtype(target)}) for source in sources for target in targets
    ]


# Floats become integers by dropping the fraction; out of range they become the nearest integer that
# there is, and NaN becomes 0.
cast = Primitive(
    "cast",
    lambda x, dtype: x.with_dtype(dtype),
    lambda x, dtype: convert(np.asarray(x), dtype),
    lambda g, y, x, dtype: (g.astype(x.dtype) if x.dtype.kind == "f" else None,),
    _cast_samples,
    elementwise=True,
)

PRIMITIVES = (
    neg,
    abs,
    sign,
    exp,
    expm1,
    log,
    log1p,
    sqrt,
    sin,
    cos,
    tanh,
    logistic,
    erf,
    relu,
    floor,
    stop_gradient,
    logical_not,
    add,
    sub,
    mul,
    div,
    mod,
    pow,
    maximum,
    minimum,
    less,
    less_equal,
    equal,
    not_equal,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    shift_right,
    where,
    cast,
)
