"""From what the user gave to the plan of a run: data and step, checked, and the programs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.data import arrays as data_arrays
from mynn.errors import ArgumentError, DataError, DTypeError, UsageError
from mynn.jit.compile import Compiled, native_available
from mynn.jit.stage import Staged
from mynn.jit.structure import flatten
from mynn.tensor import as_array
from mynn.trace import tracing
from mynn.train.engine.base import Executor
from mynn.train.engine.interpreted import InterpretedExecutor
from mynn.train.engine.native import NativeExecutor
from mynn.train.engine.run import Run, first_rows, step_for

Check = Callable[[Staged], None]


def check_outside(name: str) -> None:
    """Raise `UsageError` inside a compiled function."""
    if tracing.active() is not None:
        raise UsageError(
            f"{name} is called inside a compiled function, where it would run once, while that is "
            f"traced; call {name} outside"
        )


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


def load(data: Any, check_finite: bool) -> tuple[tuple[Any, ...], list[Array]]:
    """The arguments as given (a tuple), and their arrays, checked."""
    arguments = tuple(data) if isinstance(data, tuple | list) else (data,)
    leaves = [_array(number, leaf) for number, leaf in enumerate(flatten(arguments))]
    nested = any(isinstance(argument, list | tuple) for argument in arguments)
    return arguments, data_arrays.checked(leaves, check_finite, nested)


def _array(number: int, leaf: Any) -> Array:
    try:
        return as_array(leaf)
    except DTypeError as error:
        raise DTypeError(f"data array {number} ({type(leaf).__name__}): {error}") from None
    except ValueError as error:
        raise DataError(f"data array {number} cannot be made into an array: {error}") from None


def plan(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: list[Array],
    check: Check,
    batch_size: int,
    check_finite: bool,
    drop_last: bool = False,
) -> Run:
    """The plan of one epoch over data that `load` gave.

    The step is traced once for each size of a batch. `check(staged)` raises where a trace of it
    will not do, before it is compiled.
    """
    rows = len(arrays[0])
    if drop_last and rows < batch_size:
        raise ArgumentError(
            f"drop_last leaves nothing to train on: there are {rows} samples, "
            f"batch_size is {batch_size}"
        )
    batch = min(batch_size, rows)
    remainder = 0 if drop_last else rows % batch
    if _trains_single(compiled, arguments, arrays, batch, check):
        arrays = data_arrays.to_single(arrays, check_finite)
    fixed = compiled, arguments, tuple(arrays)
    whole = step_for(*fixed, batch, check)
    last = step_for(*fixed, remainder, check) if remainder else whole
    return Run(*fixed, check, whole, last, remainder)


def _trains_single(
    compiled: Compiled, arguments: tuple[Any, ...], arrays: list[Array], batch: int, check: Check
) -> bool:
    """Whether float64 data shall be rounded to float32: the step trains float32 parameters alone.

    Which it trains is known once it is traced. So it is traced as if it did, and that is the
    program of the run if it does.
    """
    if not any(array.dtype == np.float64 for array in arrays):
        return False
    known = compiled.known(first_rows(arguments, tuple(arrays), batch), thoroughly=True)
    if known is not None:
        return _trained(known[0]) == _SINGLE

    def check_single(staged: Staged) -> None:
        if _trained(staged) != _SINGLE:
            raise DTypeError("the parameters are not float32")
        check(staged)

    single = data_arrays.to_single([array[:batch] for array in arrays])
    try:
        step_for(compiled, arguments, tuple(single), batch, check_single)
    except DTypeError:
        return False
    return True


_SINGLE = {np.dtype(np.float32)}


def _trained(staged: Staged) -> set[np.dtype[Any]]:
    """The dtypes of the parameters that a step trains."""
    return {tensor.dtype for tensor in staged.state if tensor.requires_grad}


def executor_for(run: Run) -> Executor:
    """What runs the steps: the native loop, or the interpreter doing the same in Python."""
    native = run.compiled.backend == "native" and native_available()
    return NativeExecutor(run) if native else InterpretedExecutor(run)
