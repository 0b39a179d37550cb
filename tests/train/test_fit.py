"""`fit` against a loop in Python: batches, orders, seeds, dtypes."""

from __future__ import annotations

import itertools
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, TraceWarning
from mynn.jit import stage
from tests.train.reference import (
    BACKENDS,
    Problem,
    assert_same_state,
    backends,
    compare,
    reference_fit,
    shuffle_python,
)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("batch_size", [1, 7, 10, 49, 50, 51, 1000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_same_as_a_loop(batch_size: int, shuffle: bool) -> None:
    """Any batch size, the last partial batch included."""
    one, two = Problem(), Problem()
    epochs = 1 if batch_size == 1 else 3
    history = mynn.fit(
        one.step, one.data, epochs=epochs, batch_size=batch_size, shuffle=shuffle, seed=5
    )
    losses = reference_fit(
        lambda x, t: two.step(x, t).item(), two.data, epochs, batch_size, shuffle, seed=5
    )
    compare(one, two, history, losses)
    assert history.epochs == epochs
    assert history.steps == epochs * -(-50 // batch_size)
    assert history.seconds > 0


@pytest.mark.one_in(3)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_and_dtypes(backend: str, optimizer: str, dtype: Any) -> None:
    one, two = (Problem(33, dtype, optimizer, 0.01) for _ in range(2))
    history = mynn.fit(one.compiled(backend), one.data, epochs=2, batch_size=8, seed=3)
    losses = reference_fit(lambda x, t: two.step(x, t).item(), two.data, 2, 8, True, seed=3)
    compare(one, two, history, losses, 1e-5 if dtype == np.float32 else 1e-10)
    assert one.parameters()[0].dtype == dtype


@backends
@pytest.mark.parametrize("rows", [50, 48])
def test_drop_last(backend: str, rows: int) -> None:
    one, two = Problem(rows), Problem(rows)
    history = mynn.fit(
        one.compiled(backend), one.data, epochs=2, batch_size=12, drop_last=True, seed=1
    )
    losses = reference_fit(
        lambda x, t: two.step(x, t).item(), two.data, 2, 12, True, seed=1, drop_last=True
    )
    compare(one, two, history, losses)
    assert history.steps == 8


@backends
@pytest.mark.parametrize("rows", [1, 2])
def test_few_samples(backend: str, rows: int) -> None:
    problem = Problem(rows)
    history = mynn.fit(problem.compiled(backend), problem.data, epochs=3, batch_size=2)
    assert history.steps == 3
    assert np.isfinite(history["loss"]).all()


def order_of(epochs: int, **options: Any) -> list[list[int]]:
    """The samples in the order in which a step sees them."""
    seen = Tensor(np.zeros(64, np.int64))
    count = Tensor(0)

    def step(x: Any) -> Any:
        place = Tensor(np.arange(64)) == count
        seen.assign(mynn.where(place, x[0], seen))
        count.assign(count + 1)
        return x.sum().astype("float32")

    mynn.fit(step, np.arange(10), epochs=epochs, batch_size=1, **options)
    return [seen.value[10 * i : 10 * i + 10].tolist() for i in range(epochs)]


def test_order() -> None:
    """Every sample once an epoch; orders come from the seed and differ between epochs."""
    assert order_of(2, shuffle=False) == [list(range(10))] * 2
    first = order_of(3, seed=4)
    assert first == order_of(3, seed=4)
    assert first != order_of(3, seed=5)
    assert all(sorted(epoch) == list(range(10)) for epoch in first)
    assert len({tuple(epoch) for epoch in first}) == 3
    order = list(range(10))
    shuffle_python(order, 4)
    assert first[0] == order
    assert order_of(1, seed=-1) == order_of(1, seed=2**64 - 1)


def test_shuffle_is_uniform() -> None:
    """Each sample comes first about equally often (chi-squared, 9 degrees of freedom)."""
    counts = np.zeros((10, 10))
    state = 0
    for _ in range(3000):
        order = list(range(10))
        state = shuffle_python(order, state)
        counts[np.arange(10), order] += 1
    for row in counts:
        assert ((row - 300) ** 2 / 300).sum() < 28


def test_going_on() -> None:
    """In order, two runs of one epoch are one run of two; shuffled, a run starts from its seed."""
    one, two = Problem(optimizer="Adam"), Problem(optimizer="Adam")
    step_one, step_two = one.compiled(), two.compiled()
    mynn.fit(step_one, one.data, epochs=2, batch_size=8, shuffle=False)
    for _ in range(2):
        mynn.fit(step_two, two.data, epochs=1, batch_size=8, shuffle=False)
    assert_same_state(one.state(), two.state())
    again = [order_of(1, seed=0), order_of(1, seed=0)]
    assert again[0] == again[1]


def test_seeds_of_all_sizes() -> None:
    orders = [order_of(1, seed=seed) for seed in (0, 1, -1, 2**63, 2**64 + 1, np.int64(1))]
    assert orders[1] == orders[4] == orders[5]
    assert all(a != b for a, b in itertools.combinations(orders[:4], 2))


def test_a_step_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain function, too: what it reads from outside is compared before each run."""
    problem, factor = Problem(), 1.0

    def step(x: Any, t: Any) -> Any:
        loss = ((problem.net(x) - t) ** 2).mean() * factor
        problem.optimizer.zero_grad()
        loss.backward()
        problem.optimizer.step()
        return loss

    first = mynn.fit(step, problem.data, batch_size=10)["loss"][-1]
    with monkeypatch.context() as patch:
        patch.setattr(stage, "stage", None)
        assert mynn.fit(step, problem.data, batch_size=10)["loss"][-1] < first
        factor = 2.0
        with pytest.raises(TypeError):
            mynn.fit(step, problem.data, batch_size=10)
    problem.optimizer.lr = 0.0
    doubled = mynn.fit(step, problem.data, batch_size=10)["loss"][-1]
    factor = 1.0
    again = mynn.fit(step, problem.data, batch_size=10)["loss"][-1]
    np.testing.assert_allclose(doubled, 2 * again, rtol=1e-5)


def test_a_step_that_reads_what_no_trace_sees() -> None:
    """Nothing is kept of it: each run traces it anew."""
    problem = Problem()
    name = "rate"
    options = SimpleNamespace(rate=1.0)

    def step(x: Any, t: Any) -> Any:
        return ((problem.net(x) - t) ** 2).mean() * getattr(options, name[:2] + "te")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)  # nothing is trained
        first = mynn.fit(step, problem.data)["loss"][-1]
        options.rate = 3.0
        second = mynn.fit(step, problem.data)["loss"][-1]
    np.testing.assert_allclose(second, 3 * first, rtol=1e-5)


def test_a_step_that_draws_with_numpy() -> None:
    """The numbers are built into a program, but not into that of the next run."""
    problem, rng = Problem(), np.random.default_rng(3)

    def step(x: Any, t: Any) -> Any:
        return ((problem.net(x) - t) ** 2).mean() * rng.random()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        losses = [mynn.fit(step, problem.data, batch_size=50)["loss"][-1] for _ in range(3)]
    assert len(set(losses)) == 3
