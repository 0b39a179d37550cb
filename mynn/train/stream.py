"""Batches that come one after the other: from generators, loaders and other iterables.

They are made into arrays where they are fetched: at once while that is quick, on a thread and a few
batches ahead as soon as it is not. To hand a batch from thread to thread takes some hundred
microseconds where both run Python.
"""

from __future__ import annotations

import contextvars
import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from mynn.base.structure import flatten, rebuild
from mynn.core.types import Array
from mynn.data.arrays import first_not_finite
from mynn.errors import ArgumentError, DataError, DTypeError
from mynn.tensor import Tensor, as_array

# How many batches a thread is ahead, at most.
AHEAD = 4
# Fetching is slow where most batches take more seconds, of so many at least.
_SLOW, _SOME = 5e-4, 3
# Types of what is no structure.
_LEAVES = frozenset({np.ndarray, Tensor})


class Batch(NamedTuple):
    """A batch as a step takes it.

    - `epoch`, `number`: where it came.
    - `arguments`: in their nested form; `arrays`: their leaves.
    - `kind`: their forms, shapes and dtypes; `rows`: how many samples it counts for.
    - `nbytes`: of its arrays.
    """

    epoch: int
    number: int
    arguments: tuple[Any, ...]
    arrays: list[Array]
    kind: Any
    rows: int
    nbytes: int


def is_stream(data: Any) -> bool:
    """Whether data gives batches, and is no array or structure of arrays itself."""
    arrays = Tensor, np.ndarray, Mapping, Sequence
    return (
        isinstance(data, Iterable)
        and not isinstance(data, arrays)
        and not hasattr(data, "__array__")
    )


class Stream:
    """What gives the batches, epoch after epoch.

    - `check_finite`: whether the values of each batch are looked at.
    - `single`: whether float64 values are rounded to float32.

    Raises:
        ArgumentError: more than one epoch of what gives its batches once.
    """

    def __init__(self, data: Any, epochs: int, check_finite: bool) -> None:
        self.data = data
        self.check_finite = check_finite
        self.single = False
        self._slow = False
        self._first: Iterator[Any] | None = iter(data)
        if self._first is data and epochs > 1:
            raise ArgumentError(
                f"epochs is {epochs}, and the data is a {type(data).__name__}, which gives its "
                "batches once; give epochs=1, or an object whose __iter__ begins anew each time, "
                "such as a DataLoader"
            )

    @property
    def length(self) -> int:
        """Batches in an epoch, 0 where that is not known."""
        try:
            return len(self.data)
        except TypeError:
            return 0

    def begin(self, epoch: int) -> Fetcher:
        """The batches of an epoch."""
        iterator, self._first = self._first or iter(self.data), None
        count = 0

        def fetch() -> Batch | None:
            nonlocal count
            try:
                given = next(iterator)
            except StopIteration:
                return None
            except Exception as error:
                raise DataError(
                    f"the data raised {type(error).__name__} where batch {count} of epoch {epoch} "
                    f"was fetched: {error}. The state is that of the steps before"
                ) from error
            batch = self._made(epoch, count, given)
            count += 1
            return batch

        return Fetcher(fetch, self)

    def _made(self, epoch: int, number: int, given: Any) -> Batch:
        plain = isinstance(given, tuple | list) and not hasattr(given, "_fields")
        arguments = tuple(given) if plain else (given,)
        arrays: list[Array] = []
        try:
            flat = _LEAVES.issuperset(map(type, arguments))
            for leaf in arguments if flat else flatten(arguments):
                arrays.append(self._array(leaf, len(arrays)))
            if not arrays:
                raise DataError("it holds nothing; give a tuple of arrays for the step")
            if arrays[0].ndim:
                rows = len(arrays[0])
            else:
                rows = next((len(array) for array in arrays if array.ndim), 1)
            if not rows:
                raise DataError("it holds no samples; leave it out")
        except DataError as error:
            raise DataError(f"batch {number} of epoch {epoch}: {error}") from None
        arguments = tuple(arrays) if flat else rebuild(arguments, iter(arrays))
        form = None if flat else _form(arguments)
        kind = form, *[(array.shape, array.dtype) for array in arrays]
        nbytes = sum([array.nbytes for array in arrays])
        return Batch(epoch, number, arguments, arrays, kind, rows, nbytes)

    def _array(self, leaf: Any, number: int) -> Array:
        """A copy: whoever gave it may change it for the next batch, which is fetched before this
        one is used.
        """
        try:
            array = np.array(as_array(leaf), order="C")
        except (DTypeError, ValueError, TypeError) as error:
            raise DataError(f"array {number} ({type(leaf).__name__}): {error}") from None
        wide = array
        if self.single and array.dtype == np.float64:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        # A sum of squares takes less than to look at each value; it may be too large by itself.
        looked_at = self.check_finite and array.dtype.kind == "f"
        if looked_at and not math.isfinite(np.vdot(array, array)):
            at = first_not_finite(np.atleast_1d(array))
            if at is not None:
                raise DataError(
                    f"array {number} holds {np.atleast_1d(wide)[at]} at {at}; clean the data, "
                    "scale what is too large for float32, or pass check_finite=False"
                )
        return array


def _form(value: Any) -> Any:
    """The nested form without its leaves."""
    if isinstance(value, tuple | list):
        return (type(value), *map(_form, value))
    if isinstance(value, Mapping):
        return tuple((key, _form(item)) for key, item in value.items())
    return None


class Fetcher:
    """The batches of one epoch; the thread ends with it, or when it is closed."""

    def __init__(self, fetch: Callable[[], Batch | None], stream: Stream) -> None:
        self.fetch = fetch
        self.stream = stream
        self.slow = self.count = 0
        self.closed = False
        self.room = threading.Semaphore(AHEAD)
        self.results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        if stream._slow:
            self._start()

    def next(self) -> Batch | None:
        """The next batch, None at the end; what was raised on the thread is raised here."""
        if self.thread is not None:
            good, value = self.results.get()
            self.room.release()
            if not good:
                raise value
            batch: Batch | None = value
            return batch
        start = perf_counter()
        batch = self.fetch()
        self.count += 1
        self.slow += perf_counter() - start > _SLOW
        if batch is not None and self.slow >= _SOME and 2 * self.slow > self.count:
            self.stream._slow = True
            self._start()
        return batch

    def close(self) -> None:
        """The thread leaves when it has done what it is at."""
        self.closed = True
        self.room.release()

    def _start(self) -> None:
        work = contextvars.copy_context().run
        self.thread = threading.Thread(
            target=work, args=(self._work,), daemon=True, name="mynn batches"
        )
        self.thread.start()

    def _work(self) -> None:
        batch: Batch | None = None
        while True:
            self.room.acquire()
            if self.closed:
                return
            try:
                batch = self.fetch()
            except BaseException as error:
                self.results.put((False, error))
                return
            self.results.put((True, batch))
            if batch is None:
                return
