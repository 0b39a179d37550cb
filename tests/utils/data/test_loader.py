"""Loaders: batches, orders, workers, refusals; against PyTorch's where the order is told."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import LengthError, MynnError, ShapeError, UsageError
from mynn.utils import data
from tests.registry.running import pytorch

Pair = collections.namedtuple("Pair", "x t")


def as_lists(value: Any) -> Any:
    """A batch as plain values, whichever library it is of."""
    if hasattr(value, "tolist"):
        return [value.tolist(), str(value.dtype).rpartition(".")[2]]
    if isinstance(value, dict):
        return {key: as_lists(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(as_lists, value)]
    return value


class Items:
    """A data set for both libraries: any samples, by number."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        return self.samples[index]


ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
SAMPLES: dict[str, Any] = {
    "arrays": [(row, i) for i, row in enumerate(ROWS)],
    "numbers": [1.5, 2.5, 3.5, 4.5, 5.5],
    "whole numbers": [1, 2, 3, 4, 5],
    "bools": [True, False, True],
    "texts": ["a", "bb", "c"],
    "dicts": [{"x": row, "name": str(i), "t": [i, 0.5]} for i, row in enumerate(ROWS)],
    "named": [Pair(row, i) for i, row in enumerate(ROWS)],
    "scalars of NumPy": [np.float32(1), np.float32(2), np.float32(4)],
}
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"batch_size": 2},
    {"batch_size": 4, "drop_last": True},
    {"batch_size": 4, "num_workers": 2},
    {"batch_size": None},
    {"sampler": [2, 0, 1]},
    {"batch_sampler": [[0, 1], [2]]},
)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", SAMPLES)
def test_batches_are_those_of_pytorch(kind: str) -> None:
    torch = pytorch()
    samples = Items(SAMPLES[kind])
    for options in OPTIONS:
        ours = data.DataLoader(samples, **options)
        theirs = torch.utils.data.DataLoader(samples, **{**options, "num_workers": 0})
        expected = [as_lists(batch) for batch in theirs]
        assert [as_lists(batch) for batch in ours] == expected, options
        assert len(ours) == len(theirs) == len(expected)


@pytest.mark.parametrize("workers", [0, 3])
def test_tensor_datasets_and_subsets(workers: int) -> None:
    x, t = np.arange(20.0).reshape(10, 2), np.arange(10)
    whole = data.TensorDataset(x, mynn.Tensor(t))
    for dataset, rows in ((whole, range(10)), (data.Subset(whole, [7, 1, 3]), (7, 1, 3))):
        for shuffle in (False, True):
            loader = data.DataLoader(dataset, 4, shuffle=shuffle, num_workers=workers)
            batches = list(loader)
            assert len(batches) == len(loader)
            got = [one for _, batch in batches for one in batch.tolist()]
            assert sorted(got) == sorted(rows)
            assert shuffle or got == list(rows)
            for batch, numbers in batches:
                np.testing.assert_array_equal(batch.numpy(), x[numbers.tolist()])
                assert batch.dtype == np.float64


def test_what_is_done_to_a_batch_leaves_the_data_alone() -> None:
    x = np.zeros((4, 2), np.float32)
    for batch in data.DataLoader(data.TensorDataset(x), 2):
        batch[0].add_(1.0)
    assert not x.any()


def test_orders_come_from_generators() -> None:
    samples = data.TensorDataset(np.arange(50))

    def order(generator: Any) -> list[int]:
        loader = data.DataLoader(samples, 50, shuffle=True, generator=generator)
        return [row for batch in loader for row in batch[0].tolist()]

    assert order(mynn.Generator(3)) == order(mynn.Generator(3))
    mynn.manual_seed(1)
    first = order(None)
    second = order(None)
    mynn.manual_seed(1)
    assert order(None) == first != second
    generator = mynn.Generator(3)
    assert order(generator) != order(generator)
    assert order(np.random.default_rng(2)) == order(np.random.default_rng(2))


class Count(data.IterableDataset):
    """0, 1, 2...: each worker its share."""

    def __iter__(self) -> Iterator[int]:
        info = data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, 7, step))


def test_iterable_datasets() -> None:
    got = [batch.tolist() for batch in data.DataLoader(Count(), 3)]
    assert got == [[0, 1, 2], [3, 4, 5], [6]]
    got = [batch.tolist() for batch in data.DataLoader(Count(), 3, drop_last=True)]
    assert got == [[0, 1, 2], [3, 4, 5]]
    got = [batch.tolist() for batch in data.DataLoader(Count(), 2, num_workers=2)]
    assert got == [[0, 2], [1, 3], [4, 6], [5]]
    assert list(data.DataLoader(Count(), None)) == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(LengthError, match="Count has no length"):
        len(data.DataLoader(Count(), 2))


def test_workers_keep_the_order_and_work_at_once() -> None:
    started = threading.Barrier(3, timeout=20)
    inits: list[int] = []
    seen = []

    class Slow(data.Dataset[int]):
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> int:
            info = data.get_worker_info()
            assert info is not None
            seen.append((index, info.id))
            if index < 3:
                started.wait()  # the first three samples are fetched by three workers at once
            return index

    loader = data.DataLoader(Slow(), num_workers=3, worker_init_fn=inits.append, prefetch_factor=1)
    assert [batch.item() for batch in loader] == list(range(9))
    assert sorted(inits) == [0, 1, 2]
    assert sorted(seen) == [(index, index % 3) for index in range(9)]
    assert data.get_worker_info() is None


def test_workers_tell_what_went_wrong_and_leave() -> None:
    class Broken(Items):
        def __getitem__(self, index: int) -> int:
            if index == 5:
                raise KeyError("row 5")
            return index

    loader = data.DataLoader(Broken(range(9)), num_workers=2)
    got = []

    def collect() -> None:
        for batch in loader:
            got.append(batch.item())

    with pytest.raises(KeyError, match="row 5"):
        collect()
    assert got == [0, 1, 2, 3, 4]
    for _ in data.DataLoader(Items(range(100)), num_workers=2):
        break

    def failing(number: int) -> None:
        raise OSError("no file")

    with pytest.raises(OSError, match="no file"):
        list(data.DataLoader(Items(range(9)), num_workers=2, worker_init_fn=failing))

    def alive() -> bool:
        return any("DataLoader" in thread.name for thread in threading.enumerate())

    for _ in range(200):
        if not alive():
            break
        time.sleep(0.01)
    assert not alive()


def test_timeout() -> None:
    hold = threading.Event()

    class Stuck(Items):
        def __getitem__(self, index: int) -> int:
            hold.wait(20)
            return index

    with pytest.raises(UsageError, match=r"timed out after 0\.05"):
        next(iter(data.DataLoader(Stuck(range(3)), num_workers=1, timeout=0.05)))
    hold.set()


def test_getitems_and_collate_fn() -> None:
    class Many(Items):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [10 * index for index in indices]

    assert [b.tolist() for b in data.DataLoader(Many(range(3)), 2)] == [[0, 10], [20]]
    loader = data.DataLoader(Items(range(5)), 2, collate_fn=sum)
    assert list(loader) == [1, 5, 4]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "batch_size": (lambda: data.DataLoader(Items([1]), 0), "batch_size must be at least 1"),
    "workers": (lambda: data.DataLoader(Items([1]), num_workers=-1), "num_workers.*-1"),
    "timeout": (lambda: data.DataLoader(Items([1]), timeout=-1), "timeout.*-1"),
    "prefetch": (lambda: data.DataLoader(Items([1]), prefetch_factor=2), "num_workers above 0"),
    "persistent": (lambda: data.DataLoader(Items([1]), persistent_workers=True), "num_workers"),
    "both": (lambda: data.DataLoader(Items([1]), sampler=[0], shuffle=True), "exclude"),
    "batches": (lambda: data.DataLoader(Items([1]), 2, batch_sampler=[[0]]), "give it alone"),
    "drop": (lambda: data.DataLoader(Items([1]), None, drop_last=True), "needs a batch_size"),
    "iterable": (lambda: data.DataLoader(Count(), shuffle=True), "order of its own"),
    "no dataset": (lambda: data.DataLoader(7), "__getitem__.*int"),
    "unknown": (lambda: data.DataLoader(Items([1]), batchsize=7), "did you mean 'batch_size'"),
    "shapes": (
        lambda: list(data.DataLoader(Items([np.ones(1), np.ones(2)]), 2)),
        r"shapes \(1,\), \(2,\).*collate_fn",
    ),
    "lengths": (lambda: list(data.DataLoader(Items([(1,), (1, 2)]), 2)), r"\[1, 2\] entries"),
    "type": (lambda: list(data.DataLoader(Items([object()]))), "holds a object"),
    "rows": (lambda: data.TensorDataset(np.ones(2), np.ones(3)), "Size mismatch"),
    "no rows": (lambda: data.TensorDataset(np.float32(1)), "axis of samples"),
    "concat": (lambda: data.ConcatDataset([]), "empty"),
    "concat iterable": (lambda: data.ConcatDataset([Count()]), "ChainDataset"),
    "split": (lambda: data.random_split(Items(range(5)), [2, 2]), "sum to 4.*5 samples"),
    "samples": (lambda: data.RandomSampler(range(3), num_samples=0), "num_samples"),
    "weights": (lambda: data.WeightedRandomSampler([1.0, -1.0], 2), "at least 0"),
    "few": (lambda: data.WeightedRandomSampler([1.0, 0.0], 2, False), "only 1 weights"),
    "drop_last": (lambda: data.BatchSampler([1], 2, "no"), "True or False"),
    "no getitem": (lambda: data.Dataset()[0], "write def __getitem__"),
    "no iter": (lambda: iter(data.IterableDataset()), "write def __iter__"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(MynnError, match=message):
        call()


def test_datasets_put_together() -> None:
    torch = pytorch()
    for library in (data, torch.utils.data):
        first, second = Items([0, 1, 2]), Items([10, 11])
        both = library.ConcatDataset([first, second])
        assert [both[i] for i in (*range(5), -1)] == [0, 1, 2, 10, 11, 11]
        assert both.cumulative_sizes == [3, 5]
        assert library.StackDataset(first, first)[1] == (1, 1)
        assert library.StackDataset(a=first, b=first)[2] == {"a": 2, "b": 2}
        part = library.Subset(both, [4, 0])
        assert [part[0], part[1], len(part)] == [11, 0, 2]
        parts = library.random_split(both, [0.5, 0.5])
        assert [len(part) for part in parts] == [3, 2]
        assert sorted(one[i] for one in parts for i in range(len(one))) == [0, 1, 2, 10, 11]
    assert list(Count() + Count()) == [*range(7), *range(7)]
    again = [list(data.random_split(range(9), [5, 4], mynn.Generator(1))[0]) for _ in range(2)]
    assert again[0] == again[1]
    with pytest.raises(ShapeError, match="equally long"):
        data.StackDataset(Items([1]), Items([1, 2]))


def test_samplers() -> None:
    assert list(data.SequentialSampler(range(3))) == [0, 1, 2]
    drawn = list(data.RandomSampler(range(4), num_samples=10))
    assert len(drawn) == 10
    assert sorted(drawn[:4]) == [0, 1, 2, 3]
    drawn = list(data.RandomSampler(range(3), replacement=True, num_samples=300))
    counts = collections.Counter(drawn)
    assert set(counts) == {0, 1, 2}
    assert min(counts.values()) > 60
    assert sorted(data.SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    drawn = list(data.WeightedRandomSampler(mynn.Tensor([0.0, 3.0, 1.0]), 4000))
    assert drawn.count(0) == 0
    assert drawn.count(1) / 4000 == pytest.approx(0.75, abs=0.04)
    assert sorted(data.WeightedRandomSampler([1, 2, 0.5], 3, replacement=False)) == [0, 1, 2]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert len(data.BatchSampler(range(5), 2, False)) == 3
