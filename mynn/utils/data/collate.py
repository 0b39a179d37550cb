"""Samples made into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mynn.errors import ArgumentTypeError, ShapeError
from mynn.tensor import Tensor
from mynn.tensor.gradients.history import array_of


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples as one batch: tensors with an axis more, in the form that the samples have.

    Tensors and arrays are stacked along a new first axis; floats become a float64 tensor, whole
    numbers an int64 one, bools a bool one; texts stay a list. Tuples, lists and dicts are collated
    entry by entry: tuples and lists give a list.

    Raises:
        ShapeError: samples of different shapes or lengths. ArgumentTypeError: another type.

    Example:
        >>> [column.tolist() for column in default_collate([(1.0, 3), (2.0, 4)])]
        [[1.0, 2.0], [3, 4]]
    """
    first = batch[0]
    if isinstance(first, Tensor | np.ndarray):
        return _stacked(batch)
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, bool | np.bool_):
        return Tensor(np.array(batch, np.bool_))
    if isinstance(first, int | float | np.number):
        dtype = {int: np.int64, float: np.float64}.get(type(first))
        return Tensor(np.array(batch, dtype))
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, Sequence):
        lengths = sorted({len(sample) for sample in batch})
        if len(lengths) > 1:
            raise ShapeError(
                f"default_collate: the samples of a batch have {lengths} entries; they must be "
                "equally long, or give a collate_fn"
            )
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise ArgumentTypeError(
        f"default_collate: a sample holds a {type(first).__name__}, it must hold tensors, arrays, "
        "numbers, texts, or tuples, lists and dicts of these; give a collate_fn"
    )


def _stacked(batch: Sequence[Any]) -> Tensor:
    arrays = [array_of(one) if isinstance(one, Tensor) else one for one in batch]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        shown = ", ".join(map(str, sorted(shapes)[:4]))
        raise ShapeError(
            f"default_collate: the samples of a batch have shapes {shown}; they must be equal, or "
            "give a collate_fn that pads them"
        )
    return Tensor(np.stack(arrays))


def default_convert(data: Any) -> Any:
    """Arrays within a sample as tensors; all else as it is."""
    if isinstance(data, np.ndarray | np.number | np.bool_):
        return Tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, list | tuple):
        return [default_convert(one) for one in data]
    return data
