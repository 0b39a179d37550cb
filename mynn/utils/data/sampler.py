"""Samplers: in which order, and in which batches, a data set is asked for its samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from mynn.base.arguments import positive, whole_number
from mynn.core.types import Array
from mynn.errors import ArgumentError, UsageError
from mynn.random import Generator, default_generator
from mynn.tensor import Tensor
from mynn.tensor.gradients.history import array_of

Source = Generator | np.random.Generator | None
Index = TypeVar("Index", covariant=True)


def numpy_generator(source: Source) -> np.random.Generator:
    """A generator that is drawn from `source`, or from the default one; one of NumPy's itself."""
    if isinstance(source, np.random.Generator):
        return source
    return np.random.default_rng((source or default_generator()).words(4))


class Sampler(Generic[Index]):
    """Base of samplers: a subclass defines `__iter__`, which gives numbers of samples."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise UsageError(f"{type(self).__name__} defines no __iter__; write def __iter__(self)")


class SequentialSampler(Sampler[int]):
    """All samples in their order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All samples in random order, a new one each time; or some, with replacement.

    Args:
        data_source: the data set.
        replacement: draw each anew from all.
        num_samples: how many; all if None. More than all go through several orders.
        generator: a `mynn.Generator`; the default one if None.

    Example:
        >>> sorted(RandomSampler(range(3)))
        [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Source = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise ArgumentError(f"replacement must be True or False, it is {replacement!r}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = None if num_samples is None else positive("num_samples", num_samples)
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """How many samples it gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def rows(self) -> Array:
        """The numbers of an epoch, in their order."""
        total, count = len(self.data_source), self.num_samples
        generator = numpy_generator(self.generator)
        if self.replacement:
            return generator.integers(0, total, count)
        orders = [generator.permutation(total) for _ in range(math.ceil(count / max(total, 1)))]
        return np.concatenate([np.zeros(0, np.int64), *orders])[:count]

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows().tolist())

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Given numbers in random order."""

    def __init__(self, indices: Sequence[int], generator: Source = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        order = numpy_generator(self.generator).permutation(len(self.indices)).tolist()
        return iter([self.indices[i] for i in order])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Numbers drawn with probabilities in proportion to weights.

    Args:
        weights: one for each sample, at least 0, not all 0.
        num_samples: how many are drawn.
        replacement: whether a number can be drawn again.
        generator: a `mynn.Generator`; the default one if None.
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: Source = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise ArgumentError(f"replacement must be True or False, it is {replacement!r}")
        given = array_of(weights) if isinstance(weights, Tensor) else weights
        found = np.asarray(given, np.float64)
        if found.ndim != 1:
            raise ArgumentError(
                f"weights must be a list of numbers, they have shape {found.shape}; give one for "
                "each sample"
            )
        if not (found >= 0).all() or not 0 < found.sum() < math.inf:
            raise ArgumentError("weights must be at least 0 and finite, and not all 0")
        self.weights = found
        self.num_samples = positive("num_samples", num_samples)
        self.replacement = replacement
        self.generator = generator
        if not replacement and self.num_samples > np.count_nonzero(found):
            raise ArgumentError(
                f"num_samples is {num_samples}, only {np.count_nonzero(found)} weights are above "
                "0; give fewer, or replacement=True"
            )

    def __iter__(self) -> Iterator[int]:
        generator = numpy_generator(self.generator)
        chances = self.weights / self.weights.sum()
        drawn = generator.choice(len(chances), self.num_samples, self.replacement, chances)
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The numbers of another sampler in lists of `batch_size`; the last may be shorter.

    Example:
        >>> list(BatchSampler(range(5), 2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(drop_last, bool):
            raise ArgumentError(f"drop_last must be True or False, it is {drop_last!r}")
        self.sampler = sampler
        self.batch_size = positive("batch_size", batch_size)
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        count = whole_number("the length of the sampler", len(self.sampler))  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
