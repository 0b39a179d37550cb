"""`DataLoader`: batches of a data set, one epoch after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mynn.base.arguments import explained, in_range, positive, truth, whole_number
from mynn.core.types import Array
from mynn.errors import ArgumentError, LengthError
from mynn.random import default_generator
from mynn.tensor import Tensor
from mynn.utils.data.collate import default_collate, default_convert
from mynn.utils.data.dataset import IterableDataset, whole_tensors
from mynn.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    Source,
)
from mynn.utils.data.workers import END, WorkerInfo, Workers

_PREFETCH = 2


class DataLoader:
    """Batches of a data set. Each `iter` is an epoch.

    Args:
        dataset: by number (`__getitem__`, `__len__`) or an `IterableDataset`. Of a `TensorDataset`,
            or a `Subset` of one, whole batches of rows are taken at once.
        batch_size: samples in a batch; None gives single samples.
        shuffle: a new random order in every epoch.
        sampler: gives the numbers of samples, instead of `shuffle`.
        batch_sampler: gives lists of numbers, instead of all of these.
        num_workers: threads that fetch batches ahead, in order; 0 fetches when asked. They share
            the data set and the interpreter: they help where samples come from files, a network or
            from NumPy.
        collate_fn: makes a batch of a list of samples; `default_collate` if None.
        pin_memory: has no effect.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds after which waiting for a worker is an error; 0 waits for ever.
        worker_init_fn: called in each worker with its number.
        multiprocessing_context: has no effect: workers are threads.
        generator: a `mynn.Generator` for the orders; the default one if None.
        prefetch_factor: batches that each worker fetches ahead; 2 if None.
        persistent_workers, pin_memory_device, in_order: have no effect.

    Raises:
        ArgumentError: options that exclude each other, or out of range.

    Example:
        >>> import numpy as np
        >>> from mynn.utils.data import TensorDataset
        >>> data = TensorDataset(np.arange(5), np.ones((5, 2)))
        >>> [t.shape for _, t in DataLoader(data, batch_size=2, shuffle=True)]
        [(2, 2), (2, 2), (1, 2)]
    """

    @explained
    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Source = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        self.dataset = dataset
        self.num_workers = whole_number("num_workers", num_workers)
        if self.num_workers < 0:
            raise ArgumentError(f"num_workers must be at least 0, it is {num_workers}; give 0")
        self.timeout = in_range("timeout", timeout, 0.0)
        if not num_workers and prefetch_factor is not None:
            raise ArgumentError(
                f"prefetch_factor is {prefetch_factor}, which needs num_workers above 0; give both"
            )
        if not num_workers and persistent_workers:
            raise ArgumentError("persistent_workers needs num_workers above 0; give both")
        self.prefetch_factor = (
            None if prefetch_factor is None else positive("prefetch_factor", prefetch_factor)
        )
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.batch_size = batch_size
        self.drop_last = truth("drop_last", drop_last)
        shuffled = shuffle is not None and truth("shuffle", shuffle)
        self._check_samplers(shuffled, sampler, batch_sampler)
        self.sampler, self.batch_sampler = self._samplers(shuffled, sampler, batch_sampler)
        single = self.batch_sampler is None and self.batch_size is None
        self.collate_fn = collate_fn or (default_convert if single else default_collate)

    def _check_samplers(self, shuffle: bool, sampler: Any, batch_sampler: Any) -> None:
        """Raise where two options say in which order or batches samples come."""
        if isinstance(self.dataset, IterableDataset):
            if shuffle or sampler is not None or batch_sampler is not None:
                raise ArgumentError(
                    "DataLoader: an IterableDataset has an order of its own; leave out shuffle, "
                    "sampler and batch_sampler"
                )
        elif not hasattr(self.dataset, "__getitem__"):
            raise ArgumentError(
                f"DataLoader: dataset must have samples by number (__getitem__), or be an "
                f"IterableDataset; it is a {type(self.dataset).__name__}"
            )
        if sampler is not None and shuffle:
            raise ArgumentError("DataLoader: sampler and shuffle exclude each other; give one")
        if batch_sampler is not None and (
            self.batch_size != 1 or shuffle or sampler is not None or self.drop_last
        ):
            raise ArgumentError(
                "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last; "
                "give it alone"
            )
        if self.batch_size is None and self.drop_last:
            raise ArgumentError("DataLoader: drop_last needs a batch_size; leave it out")
        if self.batch_size is not None:
            positive("batch_size", self.batch_size)

    def _samplers(self, shuffle: bool, sampler: Any, batch_sampler: Any) -> tuple[Any, Any]:
        """What gives numbers of samples, and lists of them."""
        if isinstance(self.dataset, IterableDataset):
            return None, None
        if batch_sampler is not None:
            self.batch_size = None
            return SequentialSampler(self.dataset), batch_sampler
        if sampler is None:
            sampler = SequentialSampler(self.dataset)
            if shuffle:
                sampler = RandomSampler(self.dataset, generator=self.generator)
        if self.batch_size is None:
            return sampler, None
        return sampler, BatchSampler(sampler, self.batch_size, self.drop_last)

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if self.sampler is not None:
            return len(self.sampler)
        try:
            count = len(self.dataset)
        except TypeError:
            raise LengthError(
                f"len of a DataLoader: {type(self.dataset).__name__} has no length; define "
                "__len__, or count the batches"
            ) from None
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers:
            return self._with_workers()
        if isinstance(self.dataset, IterableDataset):
            return self._streamed(iter(self.dataset))
        found = self.as_arrays()
        if found is not None:
            arrays, chosen = found
            if type(self.sampler) is RandomSampler:
                rows = self.sampler.rows()
                chosen = rows if chosen is None else chosen[rows]
            return self._sliced(arrays, chosen)
        return map(self._fetch, self._tasks())

    # -- how batches come about --------------------------------------------------------------------

    def as_arrays(self) -> tuple[list[Array], Array | None] | None:
        """The arrays that batches are rows of, and which rows of them belong to the data set (None:
        all); None where samples must be asked for one by one, or batches are not plain.
        """
        plain = type(self.batch_sampler) is BatchSampler and self.collate_fn is default_collate
        if not plain or type(self.sampler) not in (SequentialSampler, RandomSampler):
            return None
        own = self.batch_sampler.sampler is self.sampler
        if not own or self.sampler.data_source is not self.dataset:
            return None
        return whole_tensors(self.dataset)

    def _sliced(self, arrays: list[Array], rows: Array | None) -> Iterator[Any]:
        """Batches of rows, without a call for each sample."""
        total = len(arrays[0]) if rows is None else len(rows)
        size = self.batch_sampler.batch_size
        last = total - total % size if self.batch_sampler.drop_last else total
        for begin in range(0, last, size):
            part = slice(begin, min(begin + size, last))
            if rows is None:
                yield [Tensor.from_value(array[part].copy()) for array in arrays]
            else:
                yield [Tensor.from_value(array.take(rows[part], axis=0)) for array in arrays]

    def _streamed(self, samples: Iterator[Any]) -> Iterator[Any]:
        """Batches of samples that come one after the other."""
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield self.collate_fn(batch)

    def _tasks(self) -> Iterator[Any]:
        """The numbers of the samples of each batch."""
        return iter(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def _fetch(self, numbers: Any) -> Any:
        """The batch of these samples."""
        dataset = self.dataset
        if self.batch_sampler is None:
            return self.collate_fn(dataset[numbers])
        if hasattr(dataset, "__getitems__"):
            return self.collate_fn(dataset.__getitems__(numbers))
        return self.collate_fn([dataset[number] for number in numbers])

    def _with_workers(self) -> Iterator[Any]:
        streamed = isinstance(self.dataset, IterableDataset)

        def start(info: WorkerInfo) -> Callable[[Any], Any]:
            if self.worker_init_fn is not None:
                self.worker_init_fn(info.id)
            if not streamed:
                return self._fetch
            batches = self._streamed(iter(self.dataset))
            return lambda _: next(batches, END)

        seed = _seed(self.generator)
        workers = Workers(
            [
                WorkerInfo(number, self.num_workers, seed + number, self.dataset)
                for number in range(self.num_workers)
            ],
            start,
        )
        ahead = self.num_workers * (self.prefetch_factor or _PREFETCH)
        tasks = itertools.repeat(None) if streamed else self._tasks()
        try:
            yield from workers.ordered(tasks, ahead, self.timeout)
        finally:
            workers.close()


def _seed(generator: Source) -> int:
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(2**62))
    high, low = (generator or default_generator()).words(2)
    return high << 30 | low
