"""Threads: the same bits for every number of them, and nothing left running."""

from __future__ import annotations

import _thread
import itertools
import time
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.compiler.host import train_loop
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, For, Kernel, Load, Local, Store
from mynn.compiler.lowering.contraction import blocks
from mynn.compiler.parallel import split
from mynn.compiler.parallel.barriers import list_schedule
from mynn.compiler.parallel.footprint import Footprints
from mynn.compiler.parallel.split import is_serial, parallelise
from mynn.errors import ArgumentError
from mynn.runtime import threads as counts
from mynn.runtime.threads import choose_threads, processors
from tests.compiler.harness import shared_kernels


def train(threads: Any, batch: int, sizes: tuple[int, ...], rows: int = 200) -> list[np.ndarray]:
    mynn.manual_seed(3)
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m), nn.GELU(), nn.Dropout(0.1)]
    net = nn.Sequential(*layers[:-2])
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor, t: mynn.Tensor) -> Any:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, sizes[0])).astype(np.float32)
    t = rng.integers(0, sizes[-1], rows)
    history = mynn.fit(step, (x, t), epochs=3, batch_size=batch, verbose=False)
    return [history["loss"], *(p.numpy() for p in net.parameters())]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("batch", "sizes"),
    [(1, (5, 40, 3)), (32, (64, 128, 96, 10)), (33, (17, 130, 7)), (200, (100, 64, 11))],
)
def test_same_bits(batch: int, sizes: tuple[int, ...]) -> None:
    one = train(1, batch, sizes)
    for threads in (2, 3, 4) if batch == 33 else (3,):
        for a, b in zip(one, train(threads, batch, sizes), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_rest_may_be_too_small_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step on 200 rows is split, the one on the last row of an epoch is not."""
    monkeypatch.setenv("MYNN_CACHE", "0")
    monkeypatch.setattr(counts, "OPERATIONS_PER_THREAD", 100_000)
    monkeypatch.setattr(counts, "processors", lambda: 3)
    for rows in (401, 201):
        one = train(1, 200, (40, 30, 10), rows)
        many = train("auto", 200, (40, 30, 10), rows)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_array_equal(a, b)


def left(before: int) -> int:
    """Threads that run, after a moment in which those of workers return to Python."""
    end = time.perf_counter() + 5
    while _thread._count() > before and time.perf_counter() < end:
        time.sleep(0.001)
    return _thread._count()


def test_no_thread_is_left() -> None:
    before = _thread._count()
    train(3, 32, (16, 64, 4))
    assert left(before) <= before


class OfNetwork(mynn.Callback):
    """Knows the network that is trained."""

    net: nn.Module


def train_with(callback: OfNetwork, threads: int) -> list[np.ndarray]:
    """Eight epochs of a network with dropout; the callback may change `callback.net`."""
    mynn.manual_seed(4)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 5))
    callback.net = net
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(60, 32)).astype(np.float32), rng.integers(0, 5, 60)
    mynn.fit(step, (x, t), epochs=8, batch_size=16, callbacks=[callback], verbose=False)
    return [p.numpy() for p in net.parameters()]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("rows", "batch"), [(2, 1), (7, 3), (11, 2), (29, 8), (31, 31)])
def test_all_workers_gather(
    rows: int, batch: int, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with and without padding, fewer and more than there are workers."""
    monkeypatch.setattr(train_loop, "_SHARED_BYTES", 0)
    mynn.programs().clear()
    x = np.arange(rows * 3 * 5, dtype=np.float32).reshape(rows, 3, 5)
    y = np.arange(rows * 16, dtype=np.float64).reshape(rows, 16)
    z = np.arange(rows)
    seen = mynn.Tensor(np.zeros((3, 5), np.float64))

    def step(x: mynn.Tensor, y: mynn.Tensor, z: mynn.Tensor) -> mynn.Tensor:
        factor = z.astype("float64")
        seen.assign(seen + (x.astype("float64") * factor.reshape(-1, 1, 1)).sum(0))
        return (y * factor.reshape(-1, 1)).sum()

    for threads in (1, 2, 3, 4):
        seen.value[...] = 0
        step_on = mynn.compile(step, threads=threads)
        mynn.fit(step_on, (x, y, z), epochs=2, batch_size=batch, shuffle=shuffle, verbose=False)
        np.testing.assert_array_equal(seen.value, 2 * np.tensordot(z, x.astype(float), 1))


class Slow(OfNetwork):
    """Takes so long that the workers fall asleep."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        time.sleep(0.01)


class Switch(OfNetwork):
    """Other programs in every epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.net.train(epoch % 2 == 0)


class Raise(OfNetwork):
    """What Ctrl-C does, in the midst of training."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", [Slow, Switch])
def test_callbacks_between_the_steps(kind: type[OfNetwork]) -> None:
    one = train_with(kind(), 1)
    for threads in (2, 3):
        for a, b in zip(one, train_with(kind(), threads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_thread_is_left_after_an_error() -> None:
    before = _thread._count()
    with pytest.raises(KeyboardInterrupt):
        train_with(Raise(), 3)
    assert left(before) <= before


@pytest.mark.parametrize("threads", [0, -1, "many", 1.5, True])
def test_bad_numbers(threads: Any) -> None:
    with pytest.raises(ArgumentError, match="threads"):
        mynn.compile(lambda x: x, threads=threads)


def test_number_goes_by_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MYNN_THREADS", raising=False)
    assert choose_threads(None, 1000) == 1
    assert choose_threads("auto", 10**12) == processors()
    assert choose_threads(7, 1000) == 7
    monkeypatch.setenv("MYNN_THREADS", "3")
    assert choose_threads(None, 1000) == 3
    monkeypatch.setenv("MYNN_THREADS", "lots")
    with pytest.raises(ArgumentError, match="lots"):
        choose_threads(None, 1000)


def program(threads: int) -> Any:
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 96))
    return mynn.compile(net, threads=threads).program(np.zeros((64, 64), np.float32))


def test_kernels_of_a_network_are_split() -> None:
    kernels = shared_kernels(program(2).lowered)
    assert not any(is_serial(kernel) for kernel in kernels)


def test_workers_do_not_meet_where_each_has_its_own_rows() -> None:
    lowered = program(2).lowered
    turns = list_schedule(shared_kernels(lowered), Footprints(lowered.plan.location))
    assert [turn.has_barrier(2) for turn in turns] == [False, False]
    assert [turn.has_barrier(9) for turn in turns] == [False, True]


def train_convolutions(threads: int) -> list[np.ndarray]:
    mynn.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 17, 3),
        nn.Flatten(),
        nn.Linear(17 * 9, 4),
    )
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(2)
    x = rng.normal(size=(24, 3, 10, 10)).astype(np.float32)
    mynn.fit(step, (x, rng.integers(0, 4, 24)), epochs=4, batch_size=8, verbose=False)
    return [p.numpy() for p in net.parameters()]


@pytest.mark.wide
def test_same_bits_where_sums_run_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_CACHE", "0")
    monkeypatch.setattr(blocks, "_CACHE_BYTES", 64)
    monkeypatch.setattr(split, "SMALL", 0)
    one = train_convolutions(1)
    for threads in (2, 3):
        for a, b in zip(one, train_convolutions(threads), strict=True):
            np.testing.assert_array_equal(a, b)


def index(**terms: int) -> Affine:
    total = Affine()
    for name, coefficient in terms.items():
        total = total + (
            Affine(coefficient) if name == "constant" else Affine.var(name, coefficient)
        )
    return total


@pytest.mark.parametrize(
    ("load", "store", "independent"),
    [
        ({"i": 8, "u": 1}, {"i": 8, "v": 1}, True),  # a row of eight for each round
        ({"i": 4, "u": 1}, {"i": 4, "v": 1}, False),  # rows of eight, four apart
        ({"i": 8, "u": 1, "constant": 8}, {"i": 8, "v": 1}, False),  # the row of the next round
        ({"i": 8, "u": 64}, {"i": 8, "v": 64}, True),  # a column: the place above
        ({"i": 8, "u": 20}, {"i": 8, "v": 20}, False),  # no common base
        ({"i": 16, "u": 1}, {"i": 8, "v": 1}, False),  # another stride
    ],
)
def test_rounds_that_touch_different_elements(
    load: dict[str, int], store: dict[str, int], independent: bool
) -> None:
    memory = Buffer("m", "f32", 4096)
    acc = Buffer("acc", "f32", 8, "register")
    body = (
        Local(acc),
        For("u", 8, (Store(acc, Affine.var("u"), Load(memory, index(**load))),), "vector"),
        For("v", 8, (Store(memory, index(**store), Load(acc, Affine.var("v"))),), "vector"),
    )
    kernel = Kernel("k", (For("i", 8, body),), operations=10**9)
    assert is_serial(next(parallelise(kernel))) is not independent
