"""Elementwise primitives: y[i] = f(x[i], ...).

Inputs have one shape and, but for `where`, one dtype.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops.rules import (
    ANY,
    BITS,
    FLOAT,
    NUMBER,
    SAMPLE_SHAPES,
    comparison,
    elementwise_samples,
    integer_samples,
    require_kind,
    require_same,
    same_type,
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


neg = Primitive(
    "neg",
    "elementwise",
    same_type("neg", NUMBER),
    np.negative,
    lambda g, y, x: (-g,),
    elementwise_samples((-4, 4)),
)

abs = Primitive(
    "abs",
    "elementwise",
    same_type("abs", NUMBER),
    np.abs,
    lambda g, y, x: (g * x.sign(),),
    elementwise_samples((0.5, 4)),
)

sign = Primitive(
    "sign",
    "elementwise",
    same_type("sign", NUMBER),
    _sign,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
)

exp = Primitive(
    "exp",
    "elementwise",
    same_type("exp", FLOAT),
    np.exp,
    lambda g, y, x: (g * y,),
    elementwise_samples((-4, 4)),
)

expm1 = Primitive(
    "expm1",
    "elementwise",
    same_type("expm1", FLOAT),
    np.expm1,
    lambda g, y, x: (g * (y + 1),),
    elementwise_samples((-2, 2)),
)

log = Primitive(
    "log",
    "elementwise",
    same_type("log", FLOAT),
    np.log,
    lambda g, y, x: (g / x,),
    elementwise_samples((0.2, 8)),
)

log1p = Primitive(
    "log1p",
    "elementwise",
    same_type("log1p", FLOAT),
    np.log1p,
    lambda g, y, x: (g / (x + 1),),
    elementwise_samples((-0.5, 4)),
)

sqrt = Primitive(
    "sqrt",
    "elementwise",
    same_type("sqrt", FLOAT),
    np.sqrt,
    lambda g, y, x: (g * 0.5 / y,),
    elementwise_samples((0.2, 8)),
)

sin = Primitive(
    "sin",
    "elementwise",
    same_type("sin", FLOAT),
    np.sin,
    lambda g, y, x: (g * x.cos(),),
    elementwise_samples((-4, 4)),
)

cos = Primitive(
    "cos",
    "elementwise",
    same_type("cos", FLOAT),
    np.cos,
    lambda g, y, x: (-(g * x.sin()),),
    elementwise_samples((-4, 4)),
)

tanh = Primitive(
    "tanh",
    "elementwise",
    same_type("tanh", FLOAT),
    np.tanh,
    lambda g, y, x: (g * (1 - y * y),),
    elementwise_samples((-4, 4)),
)

logistic = Primitive(
    "logistic",
    "elementwise",
    same_type("logistic", FLOAT),
    _logistic,
    lambda g, y, x: (g * (y * (1 - y)),),
    elementwise_samples((-4, 4)),
)

erf = Primitive(
    "erf",
    "elementwise",
    same_type("erf", FLOAT),
    _erf,
    lambda g, y, x: (g * ((-(x * x)).exp() * (2 / math.sqrt(math.pi))),),
    elementwise_samples((-3, 3)),
)

# max(x, 0) with gradient 0 at 0; NaN and its gradient pass through.
relu = Primitive(
    "relu",
    "elementwise",
    same_type("relu", NUMBER),
    lambda x: np.maximum(x, 0),
    lambda g, y, x: ((y <= 0).choose(0, g),),
    elementwise_samples(
        (0.1, 4),
    ),
)

floor = Primitive(
    "floor",
    "elementwise",
    same_type("floor", FLOAT),
    np.floor,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
)

# The identity, through which no gradient flows.
stop_gradient = Primitive(
    "stop_gradient",
    "elementwise",
    same_type("stop_gradient", ANY),
    lambda x: x,
    lambda g, y, x: (None,),
    elementwise_samples((-4, 4)),
    view=True,
    put=lambda x, new: new,
)

logical_not = Primitive(
    "logical_not",
    "elementwise",
    same_type("logical_not", "b"),
    np.logical_not,
    None,
    integer_samples(1, 0, 2, bool),
)

add = Primitive(
    "add",
    "elementwise",
    same_type("add", NUMBER),
    np.add,
    lambda g, z, x, y: (g, g),
    elementwise_samples((-4, 4), (-4, 4)),
)

sub = Primitive(
    "sub",
    "elementwise",
    same_type("sub", NUMBER),
    np.subtract,
    lambda g, z, x, y: (g, -g),
    elementwise_samples((-4, 4), (-4, 4)),
)

mul = Primitive(
    "mul",
    "elementwise",
    same_type("mul", NUMBER),
    np.multiply,
    lambda g, z, x, y: (g * y, g * x),
    elementwise_samples((-4, 4), (-4, 4)),
)

div = Primitive(
    "div",
    "elementwise",
    same_type("div", FLOAT),
    np.divide,
    lambda g, z, x, y: (g / y, -(g * z / y)),
    elementwise_samples((-4, 4), (0.5, 4)),
)

# x - floor(x / y) * y: the result has the sign of y, as in NumPy.
mod = Primitive(
    "mod",
    "elementwise",
    same_type("mod", NUMBER),
    np.mod,
    lambda g, z, x, y: (g, -(g * (x / y).floor())),
    elementwise_samples((0.1, 0.9), (1, 3)),
)

pow = Primitive(
    "pow",
    "elementwise",
    same_type("pow", NUMBER),
    _power,
    lambda g, z, x, y: (
        (y != 0).choose(g * y * x ** (y - 1), 0),
        g * z * ((x == 0) & (y >= 0)).choose(1, x).log(),
    ),
    elementwise_samples((0.3, 3), (-2, 2)),
)

# Where x = y each gets half of the gradient; NaN in either gives NaN, and the gradient to both.
maximum = Primitive(
    "maximum",
    "elementwise",
    same_type("maximum", NUMBER),
    np.maximum,
    lambda g, z, x, y: (_share(g, x < y, x == y), _share(g, y < x, x == y)),
    elementwise_samples((-4, 4), (-4, 4)),
)

minimum = Primitive(
    "minimum",
    "elementwise",
    same_type("minimum", NUMBER),
    np.minimum,
    lambda g, z, x, y: (_share(g, x > y, x == y), _share(g, y > x, x == y)),
    elementwise_samples((-4, 4), (-4, 4)),
)


def _share(g: Any, loses: Any, tie: Any) -> Any:
    return loses.choose(0, tie.choose(g * 0.5, g))


less = Primitive(
    "less",
    "elementwise",
    comparison("less", ANY),
    np.less,
    None,
    elementwise_samples((-4, 4), (-4, 4)),
)

less_equal = Primitive(
    "less_equal",
    "elementwise",
    comparison("less_equal", ANY),
    np.less_equal,
    None,
    integer_samples(2, -2, 2, np.int64),
)

equal = Primitive(
    "equal",
    "elementwise",
    comparison("equal", ANY),
    np.equal,
    None,
    integer_samples(2, -2, 2, np.int32),
)

not_equal = Primitive(
    "not_equal",
    "elementwise",
    comparison("not_equal", ANY),
    np.not_equal,
    None,
    integer_samples(2, -2, 2, np.float64),
)

bitwise_and = Primitive(
    "bitwise_and",
    "elementwise",
    same_type("bitwise_and", BITS),
    np.bitwise_and,
    None,
    integer_samples(2, 0, 9, np.uint32),
)

bitwise_or = Primitive(
    "bitwise_or",
    "elementwise",
    same_type("bitwise_or", BITS),
    np.bitwise_or,
    None,
    integer_samples(2, 0, 2, bool),
)

bitwise_xor = Primitive(
    "bitwise_xor",
    "elementwise",
    same_type("bitwise_xor", BITS),
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
    "elementwise",
    _infer_shift,
    lambda x, bits: np.right_shift(x, x.dtype.type(bits)),
    None,
    _shift_samples,
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
    "elementwise",
    _infer_where,
    np.where,
    lambda g, z, condition, x, y: (None, condition.choose(g, 0), condition.choose(0, g)),
    _where_samples,
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
    "elementwise",
    lambda x, dtype: x.with_dtype(dtype),
    lambda x, dtype: convert(np.asarray(x), dtype),
    lambda g, y, x, dtype: (g.astype(x.dtype) if x.dtype.kind == "f" else None,),
    _cast_samples,
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
