"""Data sets: what can be asked for its samples, by number or one after the other."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mynn.base.arguments import shown, whole_number
from mynn.core.types import Array
from mynn.errors import ArgumentError, IndexRangeError, ShapeError, UsageError
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.gradients.history import array_of
from mynn.utils.data.sampler import Source, numpy_generator

Sample = TypeVar("Sample", covariant=True)


class Dataset(Generic[Sample]):
    """Samples by number: a subclass defines `__getitem__`, and `__len__` where there is an end.

    Example:
        >>> class Squares(Dataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         return index**2
        >>> len(Squares() + Squares())
        6
    """

    def __getitem__(self, index: Any) -> Any:
        raise UsageError(
            f"{type(self).__name__} defines no __getitem__; write def __getitem__(self, index)"
        )

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        """The samples of both, one after the other."""
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Sample]):
    """Samples one after the other: a subclass defines `__iter__`.

    Example:
        >>> class Count(IterableDataset):
        ...     def __iter__(self):
        ...         return iter(range(3))
        >>> list(Count() + Count())
        [0, 1, 2, 0, 1, 2]
    """

    def __iter__(self) -> Iterator[Any]:
        raise UsageError(f"{type(self).__name__} defines no __iter__; write def __iter__(self)")

    def __add__(self, other: Dataset[Any]) -> Any:
        """The samples of both, one after the other."""
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of tensors: sample i is (a[i], b[i], ...).

    A loader takes whole batches of rows from it, without a call for each sample.

    Args:
        tensors: tensors or arrays with equally many rows.

    Raises:
        ShapeError: different numbers of rows, or a tensor without axes.

    Example:
        >>> import numpy as np
        >>> data = TensorDataset(np.ones((4, 2)), np.arange(4))
        >>> len(data), data[1][1].item()
        (4, 1)
    """

    def __init__(self, *tensors: Any) -> None:
        found = tuple(as_tensor(tensor) for tensor in tensors)
        if not found or any(not tensor.shape for tensor in found):
            raise ShapeError(
                "TensorDataset: give tensors with an axis of samples, there are "
                f"{[tensor.shape for tensor in found]}"
            )
        if len({tensor.shape[0] for tensor in found}) > 1:
            raise ShapeError(
                "TensorDataset: Size mismatch between tensors: they must have equally many rows, "
                f"their shapes are {', '.join(str(tensor.shape) for tensor in found)}"
            )
        self.tensors = found

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class StackDataset(Dataset[Any]):
    """Samples of several data sets side by side: a tuple of them, or a dict for keyword arguments.

    Raises:
        ShapeError: data sets of different lengths.
    """

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if bool(args) == bool(kwargs):
            raise ArgumentError(
                "StackDataset: give data sets by position or by keyword, and at least one"
            )
        self.datasets: Any = args or kwargs
        parts: Iterable[Any] = args or kwargs.values()
        lengths = [len(part) for part in parts]
        if len(set(lengths)) > 1:
            raise ShapeError(
                f"StackDataset: the data sets must be equally long, they have {lengths} samples"
            )
        self._length = lengths[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {key: part[index] for key, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[Sample]):
    """The samples of several data sets, one set after the other."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError("ConcatDataset: datasets is empty; give at least one")
        if any(isinstance(one, IterableDataset) for one in self.datasets):
            raise ArgumentError(
                "ConcatDataset: an IterableDataset has no numbers; use ChainDataset"
            )
        sizes = [len(one) for one in self.datasets]  # type: ignore[arg-type]
        self.cumulative_sizes = list(itertools.accumulate(sizes))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any) -> Any:
        number = whole_number("index", index)
        if not -len(self) <= number < len(self):
            raise IndexRangeError(
                f"ConcatDataset: index {number} is out of range for {len(self)} samples; give one "
                f"from {-len(self)} to {len(self) - 1}"
            )
        number %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, number)
        before = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][number - before]


class ChainDataset(IterableDataset[Sample]):
    """The samples of several iterable data sets, one set after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise ArgumentError(
                    f"ChainDataset takes IterableDatasets, one is {shown(dataset)}; use "
                    "ConcatDataset"
                )
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


class Subset(Dataset[Sample]):
    """Some samples of a data set, by their numbers."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Dataset[Any], lengths: Sequence[float], generator: Source = None
) -> list[Subset[Any]]:
    """A data set cut at random into parts that do not overlap.

    Args:
        lengths: numbers of samples that sum to all, or parts that sum to 1; what is left over by
            rounding down is dealt out to the first parts.
        generator: a `mynn.Generator`; the default one if None.

    Example:
        >>> [len(part) for part in random_split(range(10), [0.7, 0.3])]
        [7, 3]
    """
    total = len(dataset)  # type: ignore[arg-type]
    sizes: list[int] = [int(one) if one == int(one) else -1 for one in lengths]
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1 + 1e-9:
        if any(not 0 <= part <= 1 for part in lengths):
            raise ArgumentError(f"random_split: parts must lie in [0, 1], they are {lengths}")
        sizes = [math.floor(total * part) for part in lengths]
        for number in range(total - sum(sizes)):
            sizes[number % len(sizes)] += 1
    if sum(sizes) != total or min(sizes) < 0:
        raise ArgumentError(
            f"random_split: lengths sum to {sum(lengths)}, the data set has {total} samples; give "
            "lengths that sum to it, or parts that sum to 1"
        )
    order = numpy_generator(generator).permutation(total).tolist()
    ends = itertools.accumulate(sizes)
    return [Subset(dataset, order[end - n : end]) for end, n in zip(ends, sizes, strict=True)]


def whole_tensors(dataset: Any) -> tuple[list[Array], Array | None] | None:
    """The arrays of a `TensorDataset`, or of a `Subset` of one, and which rows of them belong to
    it, None where all do; None for any other data set.
    """
    if type(dataset) is TensorDataset:
        return [array_of(tensor) for tensor in dataset.tensors], None
    if type(dataset) is Subset:
        inner = whole_tensors(dataset.dataset)
        if inner is not None:
            arrays, rows = inner
            chosen = np.asarray(dataset.indices, np.int64)
            return arrays, chosen if rows is None else rows[chosen]
    return None
