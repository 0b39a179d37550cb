"""The data of a training run, checked before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, DTypeError, UsageError
from mynn.jit import stage
from mynn.jit.stage import Staged
from mynn.tensor import as_array
from mynn.trace import tracing


def check_outside(name: str) -> None:
    """Raise `UsageError` inside a compiled function."""
    if tracing.active() is not None:
        raise UsageError(
            f"{name} is called inside a compiled function, where it would run once, while that is "
            f"traced; call {name} outside"
        )


def load(data: Any, check_finite: bool) -> tuple[tuple[Any, ...], list[Array]]:
    """The arguments as given (a tuple), and their arrays: contiguous, of equal length, finite if
    asked for.

    Arrays that are contiguous already, memory-mapped ones too, are used where they lie.
    """
    arguments = tuple(data) if isinstance(data, tuple | list) else (data,)
    arrays = [_array(number, leaf) for number, leaf in enumerate(stage.flatten(arguments))]
    if not arrays:
        raise DataError(
            "there is no data: give a tuple of arrays, one for each argument of the step"
        )
    for number, array in enumerate(arrays):
        if array.ndim == 0:
            raise DataError(
                f"data array {number} has no axis of samples: its shape is (). "
                "give an array of samples, and make arrays of lists with numpy.asarray"
            )
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        shown = ", ".join(map(str, lengths[:8])) + (", ..." if len(lengths) > 8 else "")
        hint = ""
        if any(isinstance(argument, list | tuple) for argument in arguments):
            hint = "; lists are structures of arrays here, make arrays of them with numpy.asarray"
        raise DataError(
            f"the data arrays hold different numbers of samples: {shown}; they must be equal{hint}"
        )
    if not lengths[0]:
        raise DataError("the data holds no samples; give at least one")
    if check_finite:
        for number, array in enumerate(arrays):
            _require_finite(number, array)
    return arguments, [np.ascontiguousarray(array) for array in arrays]


def check_count(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Raise `ArgumentError` where the data does not fit the parameters of the function."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # built in, without a signature
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        count = len(arguments)
        raise ArgumentError(
            f"the data is {count} array{'s' * (count != 1)} or structure{'s' * (count != 1)}, one "
            f"for each argument of the step, which does not fit: {error}; give as many as the step "
            "takes"
        ) from None


def _array(number: int, leaf: Any) -> Array:
    try:
        return as_array(leaf)
    except DTypeError as error:
        kind = type(leaf).__name__
        raise DTypeError(f"data array {number} ({kind}): {error}") from None
    except ValueError as error:
        raise DataError(f"data array {number} cannot be made into an array: {error}") from None


def _first_not_finite(array: Array) -> tuple[int, ...] | None:
    """The place of the first value that is NaN or infinite, block by block."""
    if array.dtype.kind != "f":
        return None
    for start in range(0, len(array), 65536):
        block = np.isfinite(array[start : start + 65536])
        if not block.all():
            place = [int(i) for i in np.argwhere(~block)[0]]
            return (place[0] + start, *place[1:])
    return None


def _require_finite(number: int, array: Array) -> None:
    place = _first_not_finite(array)
    if place is not None:
        raise DataError(
            f"data array {number} holds {array[place]} at {place}; "
            "clean the data, or pass check_finite=False"
        )


def match_precision(
    trace: Callable[[list[Array]], Staged], arrays: list[Array], check_finite: bool
) -> list[Array]:
    """Float64 data is rounded to float32 where the step trains float32 parameters alone.

    `trace(arrays)` stages the step for such data.
    """
    if not any(array.dtype == np.float64 for array in arrays):
        return arrays
    with np.errstate(over="ignore"):
        single = [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]
    try:
        staged = trace(single)
    except DTypeError:
        return arrays
    if {t.dtype for t in staged.state if t.requires_grad} != {np.dtype(np.float32)}:
        return arrays
    if check_finite:
        for number, (array, rounded) in enumerate(zip(arrays, single, strict=True)):
            place = _first_not_finite(rounded)
            if place is not None:
                raise DataError(
                    f"data array {number} holds {array[place]} at {place}, too large for the "
                    "float32 of the parameters; scale the data, or use float64 parameters"
                )
    return single
