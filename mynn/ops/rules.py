"""Shape rules and sample inputs that several primitives share."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import DTypeError, ShapeError

FLOAT = "f"
NUMBER = "fiu"
ANY = "fiub"
BITS = "iub"

Samples = Callable[[np.random.Generator], list[Sample]]


@functools.lru_cache(maxsize=1024)
def slices(starts: Shape, stops: Shape, steps: Shape) -> tuple[slice, ...]:
    """The index for a slice of each axis."""
    return tuple(map(slice, starts, stops, steps))


def require_kind(name: str, type: Type, kinds: str) -> None:
    """Raise `DTypeError` unless the dtype is of one of NumPy's `kinds` (f, i, u, b)."""
    if type.dtype.kind not in kinds:
        words = {"f": "float", "i": "int", "u": "unsigned", "b": "bool"}
        allowed = ", ".join(words[kind] for kind in kinds)
        raise DTypeError(
            f"{name} takes {allowed} values, it was given {type}; convert with .astype"
        )


def require_same(name: str, *types: Type) -> None:
    """Raise unless all types are equal: primitives neither broadcast nor promote, `Tensor` does."""
    for other in types[1:]:
        if other.shape != types[0].shape:
            raise ShapeError(f"{name}: shapes {types[0].shape} and {other.shape} differ")
        if other.dtype != types[0].dtype:
            raise DTypeError(f"{name}: dtypes {types[0].dtype} and {other.dtype} differ")


def same_type(name: str, kinds: str) -> Callable[..., Type]:
    """The rule of elementwise arithmetic: all inputs and the output have one shape and dtype."""

    def infer(*types: Type) -> Type:
        require_same(name, *types)
        require_kind(name, types[0], kinds)
        return types[0]

    return infer


def unary(
    name: str,
    kinds: str,
    numpy: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]] | None,
    samples: Samples,
    **more: Any,
) -> Primitive:
    """y[i] = f(x[i]), in the dtype of x, which is one of NumPy's `kinds`."""
    return Primitive(name, same_type(name, kinds), numpy, vjp, samples, elementwise=True, **more)


def binary(
    name: str,
    kinds: str,
    numpy: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]] | None,
    samples: Samples,
    **more: Any,
) -> Primitive:
    """z[i] = f(x[i], y[i]), in the dtype of both, which is one of NumPy's `kinds`."""
    return unary(name, kinds, numpy, vjp, samples, **more)


def comparison(name: str, kinds: str, numpy: Callable[..., Any], samples: Samples) -> Primitive:
    """z[i] = whether x[i] and y[i] are in a relation."""

    def infer(*types: Type) -> Type:
        require_same(name, *types)
        require_kind(name, types[0], kinds)
        return types[0].with_dtype(bool)

    return Primitive(name, infer, numpy, None, samples, elementwise=True)


def normalize_axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """Axes as a sorted tuple of non-negative numbers; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    given: Any = axis if isinstance(axis, tuple | list) else (axis,)
    try:
        axes = tuple(map(operator.index, given))
    except TypeError:
        raise DTypeError(
            f"{name}: an axis must be a whole number or a tuple of them, it is {axis!r}"
        ) from None
    if not ndim and len(axes) == 1 and axes[0] in (0, -1):
        # A single value counts as one of one axis, as in PyTorch.
        return ()
    for one in axes:
        if not -ndim <= one < ndim:
            raise ShapeError(
                f"{name}: axis {one} is out of range for an array of {ndim} axes; axes lie in "
                f"{-ndim}..{ndim - 1}"
            )
    result = tuple(sorted(int(one) % ndim for one in axes))
    if len(set(result)) != len(result):
        raise ShapeError(f"{name}: an axis is named twice in {axis}; name each once")
    return result


SAMPLE_SHAPES: tuple[Shape, ...] = ((), (1,), (7,), (3, 5), (2, 17), (2, 3, 4))


def uniform(rng: np.random.Generator, low: float, high: float, shape: Shape) -> Array:
    """Float64 numbers between `low` and `high`."""
    return np.asarray(rng.uniform(low, high, shape))


def elementwise_samples(*ranges: tuple[float, float]) -> Samples:
    """One array for each range of values, in several shapes."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample(tuple(uniform(rng, low, high, shape) for low, high in ranges))
            for shape in SAMPLE_SHAPES
        ]

    return samples


def integer_samples(count: int, low: int, high: int, dtype: Any) -> Samples:
    """`count` integer arrays, in several shapes."""

    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample(tuple(rng.integers(low, high, shape).astype(dtype) for _ in range(count)))
            for shape in SAMPLE_SHAPES
        ]

    return samples
