"""What is shared by all threads of a process: generators, gradients, optimisers, modes, traces."""

from __future__ import annotations

import asyncio
import copy
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import UsageError
from mynn.random import Generator
from tests.subset import count
from tests.train.test_races import together


@pytest.fixture(autouse=True)
def _switching() -> Iterator[None]:
    """Threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


# -- random numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_drawing(compiled: bool) -> None:
    """Each number is drawn once, as one thread alone would draw them."""
    generator = Generator(3)

    def draw(x: Any) -> Any:
        return generator.bits((4,)) + x * 0

    if compiled:
        draw = mynn.compile(draw)
    zero = np.zeros(4, np.uint32)

    def work(number: int) -> list[tuple[int, ...]]:
        return [tuple(np.asarray(draw(zero)).tolist()) for _ in range(100)]

    got = [one for found in together(8, work) for one in found]
    other = Generator(3)
    expected = [tuple(other.bits((4,)).tolist()) for _ in range(800)]
    assert sorted(got) == sorted(expected)
    assert generator.get_state().tolist() == [3, 800]


def test_the_default_generator_is_one() -> None:
    from mynn import random

    random._default.clear()
    random._host.clear()
    made = together(16, lambda number: (random.default_generator(), random.host_generator()))
    assert len({id(one) for one, _ in made}) == len({id(one) for _, one in made}) == 1


def test_seeding_while_others_draw() -> None:
    stop = threading.Event()

    def seed() -> None:
        while not stop.is_set():
            mynn.manual_seed(5)

    thread = threading.Thread(target=seed)
    thread.start()
    try:
        together(4, lambda number: [mynn.random.uniform(3) for _ in range(200)])
    finally:
        stop.set()
        thread.join()
    state = mynn.random.default_generator().get_state()
    assert state[0] == 5


def test_copies_of_generators() -> None:
    generator = Generator(9)
    generator.bits()
    for other in (copy.copy(generator), copy.deepcopy(generator)):
        assert other.get_state().tolist() == [9, 1]
        other.bits()
    assert generator.get_state().tolist() == [9, 1]


# -- eager training --------------------------------------------------------------------------------


def test_gradients_add_up() -> None:
    weight = mynn.Parameter(np.ones(5, np.float32))

    def work(number: int) -> None:
        for _ in range(50):
            (weight * 1.0).sum().backward()

    together(8, work)
    assert weight.grad is not None
    assert weight.grad.tolist() == [400.0] * 5


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_steps_of_one_optimizer(make: Any) -> None:
    """No update is lost; a compiled step and eager ones take turns."""
    gradient = np.ones(64, np.float32)
    weight, alone = (mynn.Parameter(np.zeros(64, np.float32)) for _ in range(2))
    optimizer, other = (make([p], lr=1.0, maximize=True) for p in (weight, alone))
    weight.grad = alone.grad = gradient
    for _ in range(240):
        other.step()

    @mynn.compile
    def step(x: Any) -> Any:
        weight.grad = x
        optimizer.step()
        return weight.sum()

    def work(number: int) -> None:
        for _ in range(40):
            if number % 2:
                step(gradient)
            else:
                optimizer.step()

    together(6, work)
    np.testing.assert_allclose(weight.value, alone.value, rtol=1e-5)
    assert np.abs(alone.value - 240).max() < 0.01


def test_state_dicts_are_whole() -> None:
    """A copy of the state while another thread trains is that between two steps."""
    net = nn.Sequential(nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False))
    for p in net.parameters():
        p.data = np.zeros((32, 32), np.float32)
    optimizer = optim.SGD(net.parameters(), lr=1.0, momentum=0.5, maximize=True)

    def step(x: Any) -> Any:
        for p in net.parameters():
            p.grad = x.mean() * np.ones((32, 32), np.float32)
        optimizer.step()
        return x.mean()

    run, stop = mynn.compile(step), threading.Event()

    def train() -> None:
        while not stop.is_set():
            mynn.fit(run, np.zeros(256, np.float32), batch_size=1, verbose=False)
            run(np.ones(1, np.float32))

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(100):
            state = copy.deepcopy(net.state_dict())
            kept = copy.deepcopy(optimizer.state_dict())
            momentum = kept["state"][0]["momentum_buffer"]
            assert len(np.unique(list(state.values()))) == len(np.unique(momentum)) == 1
            net.load_state_dict({key: np.full((32, 32), 7.0) for key in state})
    finally:
        stop.set()
        thread.join()


def test_threads_that_begin_while_others_trace() -> None:
    """Each new thread enters itself among those that may trace."""
    ones, stop = np.ones(3, np.float32), threading.Event()
    failed: list[BaseException] = []

    def trace() -> None:
        try:
            while not stop.is_set():
                mynn.compile(lambda x: x + 1, backend="interpreter").lookup((ones,))
        except BaseException as error:
            failed.append(error)

    tracers = [threading.Thread(target=trace) for _ in range(3)]
    for thread in tracers:
        thread.start()
    for _ in range(count(300, 60)):
        thread = threading.Thread(target=lambda: mynn.Tensor(ones) + 1)
        thread.start()
        thread.join()
    stop.set()
    for thread in tracers:
        thread.join()
    assert not failed


# -- modes -----------------------------------------------------------------------------------------


def test_modes_of_tasks() -> None:
    """`no_grad` of an asynchronous task does not reach those that run in between."""
    weight = mynn.Tensor([1.0], requires_grad=True)
    seen: list[bool] = []

    async def without() -> None:
        with mynn.no_grad():
            for _ in range(20):
                assert not (weight * 2).requires_grad
                await asyncio.sleep(0)
                assert not (weight * 2).requires_grad

    async def with_gradients() -> None:
        for _ in range(20):
            seen.append((weight * 2).requires_grad)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(without(), with_gradients(), without())

    asyncio.run(main())
    assert seen == [True] * 20


def test_executors() -> None:
    """Predictions and fits in the threads of an event loop's executor."""
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    data = [np.random.default_rng(k).normal(size=(20, 3)).astype(np.float32) for k in range(12)]
    compiled = mynn.compile(net)
    expected = [mynn.predict(net, x) for x in data]

    async def main() -> list[np.ndarray]:
        tasks = [asyncio.to_thread(mynn.predict, compiled, x, batch_size=256) for x in data * 5]
        return await asyncio.gather(*tasks)

    for got, right in zip(asyncio.run(main()), expected * 5, strict=True):
        np.testing.assert_array_equal(got, right)
    assert net.training


# -- what evaluate and predict may do --------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_evaluation_changes_nothing(compiled: bool, backend: str) -> None:
    """A function around a network in training mode is refused; the state stays as it was."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    before = copy.deepcopy(net.state_dict())

    def measure(x: Any) -> Any:
        return net(x).mean()

    def rows(x: Any) -> Any:
        return net(x)

    if compiled:
        measure, rows = (mynn.compile(f, backend=backend) for f in (measure, rows))
    with pytest.raises(UsageError, match=r"evaluate: .*running_mean.*\.eval\(\).*mynn\.fit"):
        mynn.evaluate(measure, x)
    with pytest.raises(UsageError, match=r"predict: .*num_batches_tracked.*\.eval\(\)"):
        mynn.predict(rows, x)
    mynn.predict(net, x)
    net.eval()
    assert mynn.evaluate(measure, x)["loss"] == pytest.approx(float(net(x).mean()), rel=1e-4)
    np.testing.assert_allclose(mynn.predict(rows, x), net(x).numpy(), rtol=1e-4, atol=1e-6)
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_drawing_is_no_change() -> None:
    """Monte-Carlo dropout: a function may draw random numbers."""
    dropout = nn.Dropout(0.5)
    ones = np.ones((64, 4), np.float32)
    first, second = (mynn.predict(lambda x: dropout(x), ones, batch_size=16) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 2.0}
    assert (first != second).any()
