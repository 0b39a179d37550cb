"""Several threads at once: each sees the results that it would see alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim

COUNTS = [2, 5, 16]


@pytest.fixture(autouse=True)
def _switching() -> Iterator[None]:
    """Threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work` returns in so many threads that begin at the same moment."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Any:
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [task.result(120) for task in [pool.submit(begin, k) for k in range(count)]]


def network(seed: int = 0) -> nn.Sequential:
    mynn.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 2))


def rows(seed: int, count: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


@pytest.mark.one_in(7)
@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("compiled", [True, False])
def test_predict(threads: int, backend: str, compiled: bool) -> None:
    net = network()
    data = [rows(k, 30 + k) for k in range(threads)]
    expected = [mynn.predict(net, x, batch_size=8) for x in data]
    function = mynn.compile(net, backend=backend) if compiled else net
    repeat = 40 if backend == "native" and compiled else 5

    def work(number: int) -> list[np.ndarray]:
        return [mynn.predict(function, data[number], batch_size=8) for _ in range(repeat)]

    for number, got in enumerate(together(threads, work)):
        for one in got:
            np.testing.assert_allclose(one, expected[number], rtol=1e-5, atol=1e-6)
            if backend == "native":
                np.testing.assert_array_equal(one, expected[number])


@pytest.mark.parametrize("threads", COUNTS)
def test_evaluate(threads: int) -> None:
    run = mynn.compile(lambda x: {"mean": x.mean(), "largest": x.max()})
    data = [rows(k, 4000) for k in range(threads)]
    expected = [mynn.evaluate(run, x, batch_size=8) for x in data]

    def work(number: int) -> list[dict[str, float]]:
        return [mynn.evaluate(run, data[number], batch_size=8) for _ in range(50)]

    for number, got in enumerate(together(threads, work)):
        assert got == [expected[number]] * 50


@pytest.mark.one_in(3)
@pytest.mark.parametrize("threads", COUNTS)
def test_calls(threads: int) -> None:
    """One array to one, several arrays, and a function that changes state."""
    net = network().eval()
    total = mynn.Tensor(np.zeros((), np.float64))

    def add(x: Any) -> Any:
        total.assign(total + x.astype(np.float64).sum())
        return x * 3

    single, several, adding = mynn.compile(net), mynn.compile(lambda x, y: x - y), mynn.compile(add)
    data = [np.round(rows(k)) for k in range(threads)]
    expected = [single(x) for x in data]
    many = 200

    def work(number: int) -> None:
        x = data[number]
        for _ in range(many):
            np.testing.assert_array_equal(single(x), expected[number])
            np.testing.assert_array_equal(several(x, x), np.zeros_like(x))
            np.testing.assert_array_equal(adding(x), x * 3)

    together(threads, work)
    assert total.item() == many * sum(x.astype(np.float64).sum() for x in data) + 0.0


@pytest.mark.one_in(3)
@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_fits_of_one_step(threads: int, backend: str) -> None:
    """Losses are those of the caller's data; no update is lost."""
    total = mynn.Tensor(np.zeros((), np.float64))

    @mynn.compile(backend=backend)
    def step(x: Any) -> Any:
        total.assign(total + x.astype(np.float64).sum())
        return x.mean()

    length, repeat, epochs = (2500, 5, 10) if backend == "native" else (48, 3, 3)
    data = [np.full(length, k + 1, np.float32) for k in range(threads)]

    def work(number: int) -> list[float]:
        losses: list[float] = []
        for _ in range(repeat):
            history = mynn.fit(step, data[number], epochs=epochs, batch_size=7, verbose=False)
            losses += history["loss"].tolist()
        return losses

    for number, losses in enumerate(together(threads, work)):
        assert len(losses) == repeat * epochs
        np.testing.assert_allclose(losses, number + 1.0, rtol=1e-6)
    assert total.item() == repeat * epochs * sum(float(x.sum()) for x in data)


@pytest.mark.parametrize("compiled", [True, False])
def test_predict_does_not_switch_the_mode_of_others(compiled: bool) -> None:
    """Dropout of a `fit` goes on while another thread predicts with the network."""
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Dropout(0.5))
    function = mynn.compile(net) if compiled else net
    seen: list[bool] = []
    done = threading.Event()

    class Look(mynn.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            seen.append(net.training and net[0].training)

    def predict() -> None:
        while not done.is_set():
            np.testing.assert_array_equal(mynn.predict(function, ones), ones)

    ones = np.ones((64, 16), np.float32)
    thread = threading.Thread(target=predict)
    thread.start()
    try:
        history = mynn.fit(
            lambda x: (net(x) == 0).astype(np.float32).mean(),
            ones,
            epochs=200,
            callbacks=[Look()],
            verbose=False,
        )
    finally:
        done.set()
        thread.join()
    assert seen == [True] * 200
    assert (np.abs(history["loss"] - 0.5) < 0.2).all()


@pytest.mark.parametrize("threads", [2, 6])
def test_predictions_while_a_network_trains(threads: int) -> None:
    """Each prediction is that of a state between two steps: all weights are equal there."""
    layer = nn.Linear(64, 64, bias=False)
    layer.weight.data = np.zeros((64, 64), np.float32)
    step = mynn.compile(lambda x: layer.weight.assign(layer.weight + 1.0) or x.mean())
    predict = mynn.compile(layer)
    x = np.ones((1, 64), np.float32)
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            mynn.fit(step, np.ones((64, 1), np.float32), batch_size=1, verbose=False)
            step(np.ones((1, 1), np.float32))

    def work(number: int) -> None:
        for _ in range(150):
            for y in (predict(x), mynn.predict(predict, x), mynn.predict(layer, x)):
                assert (y == y[0, 0]).all()

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        together(threads, work)
    finally:
        stop.set()
        trainer.join()


@pytest.mark.filterwarnings("ignore:the list traces")
def test_one_thread_compiles() -> None:
    """Threads that call a new function at once have one program."""
    traces: list[int] = []

    @mynn.compile
    def function(x: Any) -> Any:
        traces.append(1)
        return x * 2

    x = rows(0)
    for got in together(8, lambda number: function(x)):
        np.testing.assert_array_equal(got, x * 2)
    assert len(traces) == 1


def test_two_networks_train_apart() -> None:
    """Two threads with networks of their own get what each would get alone."""

    def train(number: int) -> list[np.ndarray]:
        generator = np.random.default_rng(number)
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        for p in net.parameters():
            p.data = generator.normal(size=p.shape).astype(np.float32)
        optimizer = optim.Adam(net.parameters(), lr=0.01)

        @mynn.compile
        def step(x: Any) -> Any:
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        history = mynn.fit(step, rows(number), epochs=30, batch_size=8, seed=number, verbose=False)
        return [history["loss"], *(p.numpy() for p in net.parameters())]

    alone = [train(k) for k in range(4)]
    for got, expected in zip(together(4, train), alone, strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)
