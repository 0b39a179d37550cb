"""Rows of a table, picked by whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional.distance import norm
from mynn.ops import gather, movement
from mynn.tensor import Tensor, apply, as_tensor, no_grad
from mynn.tensor.checks import require_range


def _table(name: str, input: Any, weight: Any) -> tuple[Tensor, Tensor]:
    index, w = as_tensor(input), as_tensor(weight)
    if index.dtype.kind not in "iu":
        raise DTypeError(
            f"{name}: the input must hold whole numbers, it is {index.spec}; convert it with "
            ".astype(numpy.int64)"
        )
    if w.ndim != 2:
        raise ShapeError(f"{name}: the weight must be [rows, D], its shape is {w.shape}")
    require_range(index, name, "index", 0, w.shape[0] - 1)
    return index, w


def padding_row(name: str, padding_idx: int | None, rows: int) -> int | None:
    """The row of padding, counted from the start."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ArgumentError(
            f"{name}: padding_idx must lie in {-rows}..{rows - 1}, it is {padding_idx}"
        )
    return padding_idx % rows


def _renormalize(weight: Any, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Rows that are used and longer than max_norm are shortened to it, in place."""
    if not isinstance(weight, Tensor):
        raise ArgumentError(
            "embedding: max_norm changes the weight in place, it must be a tensor or a parameter"
        )
    with no_grad():
        size = norm(weight.detach(), norm_type, 1, True)
        long = (_counts(index, weight) > 0).unsqueeze(1) & (size > max_norm)
        scale = max_norm / (size + 1e-7)
        weight.assign(long.choose(weight.detach() * scale, weight.detach()))


def _counts(index: Tensor, weight: Tensor) -> Tensor:
    """How often each row is used."""
    ones = as_tensor(np.ones(index.numel(), weight.dtype))
    return ones.scatter_rows(index.reshape(-1), 0, weight.shape[0], clip=True)


def _rows(
    index: Tensor, weight: Tensor, padding: int | None, scale_grad_by_freq: bool, sparse: bool
) -> Tensor:
    """[..., D], where the gradient of the padding row is 0."""
    if sparse:
        if scale_grad_by_freq:
            raise ArgumentError(
                "embedding: scale_grad_by_freq does not go with sparse gradients; leave one of "
                "them out"
            )
        y: Tensor = apply(gather.take_rows, weight, index)
    else:
        y = weight.gather_rows(index, 0, clip=True)
    if scale_grad_by_freq:
        often = _counts(index, weight).gather_rows(index, 0, clip=True).unsqueeze(-1)
        y = y.detach() + (y - y.detach()) / often
    if padding is not None:
        y = (index == padding).unsqueeze(-1).choose(y.detach(), y)
    return y


@recorded
@explained
def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` [rows, D] that `input` [...] names: [..., D].

    Args:
        padding_idx: a row that gets no gradient.
        max_norm: rows that are used and longer are shortened to it in place first; `norm_type` is
            the order of that norm.
        scale_grad_by_freq: whether gradients are divided by how often a row is used here.
        sparse: whether the gradient of the table remembers which rows were read: `SparseAdam`
            needs it, and SGD and Adagrad change no others then. It is looked at as any other.

    Raises:
        IndexRangeError: a row that is not there.

    Example:
        >>> from mynn import functional as F
        >>> F.embedding([1, 0], [[1.0, 2.0], [3.0, 4.0]]).tolist()
        [[3.0, 4.0], [1.0, 2.0]]
    """
    index, w = _table("embedding", input, weight)
    padding = padding_row("embedding", padding_idx, w.shape[0])
    if max_norm is not None:
        _renormalize(weight, index, max_norm, norm_type)
    return _rows(index, w, padding, scale_grad_by_freq, sparse)


@recorded
@explained
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of rows of `weight` [rows, D], bag by bag: [B, D].

    Args:
        input: [B, N], a bag of N rows for each; or [N] with `offsets`.
        offsets: [B], where each bag starts; with `include_last_offset` [B + 1].
        mode: "sum", "mean" or "max"; a bag of nothing gives 0.
        per_sample_weights: factors of the rows, of the input's shape; for "sum" alone.
        padding_idx: a row that does not count.
        max_norm, norm_type, scale_grad_by_freq, sparse: as in `embedding`.
    """
    name = "embedding_bag"
    index, w = _table(name, input, weight)
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f'{name}: mode must be "sum", "mean" or "max", it is {mode!r}')
    if per_sample_weights is not None and mode != "sum":
        raise ArgumentError(f'{name}: per_sample_weights are for mode="sum", the mode is {mode!r}')
    if scale_grad_by_freq and mode == "max":
        raise ArgumentError(f'{name}: scale_grad_by_freq is not for mode="max"')
    if sparse and mode == "max":
        raise ArgumentError(f'{name}: mode="max" has no sparse gradients; leave sparse out')
    padding = padding_row(name, padding_idx, w.shape[0])
    bag, count = _bags(index, offsets, include_last_offset)
    if max_norm is not None:
        _renormalize(weight, index, max_norm, norm_type)
    flat = index.reshape(-1)
    rows = _rows(flat, w, padding, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        factors = as_tensor(per_sample_weights).astype(w.dtype)
        if factors.shape != index.shape:
            raise ShapeError(
                f"{name}: per_sample_weights must have the input's shape {index.shape}, they have "
                f"{factors.shape}"
            )
        rows = rows * factors.reshape((-1, 1))
    member = as_tensor(np.ones(flat.shape, np.bool_)) if padding is None else flat != padding
    if mode == "max":
        bags: Tensor = apply(
            movement.iota, shape=(count, flat.numel()), axis=0, dtype=np.dtype(np.int64)
        )
        inside = ((bag.unsqueeze(0) == bags) & member.unsqueeze(0)).unsqueeze(2)
        least = float(np.finfo(w.dtype).min)
        top = inside.choose(rows.unsqueeze(0), least).max(1).values
        some = inside.astype(w.dtype).sum(1) > 0
        return some.choose(top, 0.0)
    counted = rows if padding is None else member.unsqueeze(1).choose(rows, 0.0)
    total = _by_bags(counted, index, bag, count)
    if mode == "sum":
        return total
    if padding is None and index.ndim == 2:
        return total / max(index.shape[1], 1)
    sizes = _by_bags(member.astype(w.dtype), index, bag, count)
    return total / sizes.maximum(1.0).unsqueeze(1)


def _by_bags(values: Tensor, index: Tensor, bag: Tensor, count: int) -> Tensor:
    """The sums of the values of each bag: bags of one length lie side by side."""
    if index.ndim == 2:
        total: Tensor = values.reshape((*index.shape, *values.shape[1:])).sum(1)
        return total
    sums: Tensor = values.scatter_rows(bag, 0, count, clip=True)
    return sums


def _bags(index: Tensor, offsets: Any, include_last: bool) -> tuple[Tensor, int]:
    """The number of the bag of each entry, and how many bags there are."""
    name = "embedding_bag"
    if index.ndim == 2:
        if offsets is not None:
            raise ArgumentError(f"{name}: offsets are for an input [N], it is {index.shape}")
        bags: Tensor = apply(movement.iota, shape=index.shape, axis=0, dtype=np.dtype(np.int64))
        return bags.reshape(-1), index.shape[0]
    if index.ndim != 1 or offsets is None:
        raise ShapeError(f"{name}: give input [B, N], or [N] with offsets; it is {index.shape}")
    starts = as_tensor(offsets)
    if starts.ndim != 1 or starts.dtype.kind not in "iu":
        raise ShapeError(f"{name}: offsets must be whole numbers [B], they are {starts.spec}")
    require_range(starts, name, "lengths", 0, index.numel())
    starts = starts[:-1] if include_last else starts
    places = as_tensor(np.arange(index.numel()))
    reached = (places.unsqueeze(1) >= starts.astype(np.int64)).astype(np.int64)
    return reached.sum(1) - 1, starts.shape[0]
