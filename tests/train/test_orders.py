"""Where the orders of `fit` come from, and where its progress goes."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.core.types import Array

X = np.arange(12, dtype=np.float32)


class Order:
    """A step that notes which sample came at which place, in a network's own state."""

    def __init__(self) -> None:
        self.seen = mynn.Tensor(np.zeros(12, np.float32))
        self.count = mynn.Tensor(np.zeros((), np.float32))

    def step(self, x: Any) -> Any:
        here = mynn.Tensor(X) == self.count
        self.seen.assign(here.astype("float32") * x + self.seen)
        self.count.assign(self.count + 1)
        return x.mean()

    def run(self, **options: Any) -> Array:
        self.seen.value[...] = self.count.value[...] = 0
        mynn.fit(self.step, X, batch_size=1, verbose=False, **options)
        return self.seen.numpy()


def test_each_call_goes_on_with_new_orders() -> None:
    order = Order()
    mynn.manual_seed(7)
    orders = [order.run() for _ in range(3)]
    for one in orders:
        assert sorted(one) == X.tolist()
    assert len({tuple(one) for one in orders}) == 3
    mynn.manual_seed(7)
    np.testing.assert_array_equal(order.run(), orders[0])
    np.testing.assert_array_equal(order.run(), orders[1])


def test_seed_gives_the_same_order_each_time_and_draws_nothing() -> None:
    order = Order()
    before = mynn.random.default_generator().get_state()
    np.testing.assert_array_equal(order.run(seed=5), order.run(seed=5))
    assert not np.array_equal(order.run(seed=5), order.run(seed=6))
    np.testing.assert_array_equal(order.run(shuffle=False), X)
    np.testing.assert_array_equal(mynn.random.default_generator().get_state(), before)


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


class Broken(io.StringIO):
    def isatty(self) -> bool:
        raise OSError("no such device")


@pytest.mark.parametrize("stream", [None, closed(), Broken()])
@pytest.mark.parametrize("debug", ["0", "1"])
def test_without_standard_error(stream: Any, debug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("MYNN_DEBUG", debug)
    assert mynn.fit(lambda x: x.mean(), X, epochs=2).epochs == 2
