"""What becomes NaN or infinite: the step and the layer are named, the state is as it was before."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, History, Tensor, nn, optim
from mynn.core.types import Array
from mynn.errors import NotFiniteError
from tests.train.reference import Problem, assert_same_state, backends, shuffle_python


def failure(run: Callable[[], Any]) -> str:
    with pytest.raises(NotFiniteError) as caught:
        run()
    return str(caught.value)


def step_in(message: str) -> int:
    found = re.search(r"(?:at|after) step (\d+)", message)
    assert found is not None, message
    return int(found[1])


def replay(problem: Problem, step: Any, steps: int, batch_size: int, shuffle: bool) -> None:
    """So many steps of the same run, one call after the other."""
    order, random = list(range(50)), 0
    done = 0
    while True:
        if shuffle:
            random = shuffle_python(order, random)
        for start in range(0, 50, batch_size):
            if done == steps:
                return
            rows = order[start : start + batch_size]
            step(problem.x[rows], problem.t[rows])
            done += 1


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [8, 50])
def test_diverging_training(backend: str, shuffle: bool, batch_size: int) -> None:
    """A learning rate that is far too high: found, and undone to the step before."""
    problem, other = Problem(lr=20.0), Problem(lr=20.0)
    step = problem.compiled(backend)
    message = failure(
        lambda: mynn.fit(
            step, problem.data, epochs=200, batch_size=batch_size, shuffle=shuffle, seed=0
        )
    )
    failed = step_in(message)
    per_epoch = -(-50 // batch_size)
    assert f"(epoch {failed // per_epoch}, batch {failed % per_epoch})" in message
    assert "learning rate" in message
    assert all(np.isfinite(p).all() for p in problem.parameters())
    replay(other, other.compiled(backend), failed, batch_size, shuffle)
    assert_same_state(problem.state(), other.state())


def poisoned(at: int, how: Callable[[Any], Any], lr: float = 0.05) -> tuple[Problem, Any, Array]:
    """A step that computes `how(loss)` on the sample number `at`, marked in its data."""
    problem = Problem(lr=lr)
    mark = np.zeros(50, np.float32)
    mark[at] = 1

    def step(x: Any, t: Any, mark: Any) -> Any:
        problem.optimizer.zero_grad()
        loss = nn.MSELoss()(problem.net(x), t)
        loss = loss + how(mark.sum())
        loss.backward()
        problem.optimizer.step()
        return loss

    return problem, step, mark


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize(
    ("how", "operation"),
    [
        (lambda m: (1.0 / (1.0 - m)) - 1.0, "div"),
        (lambda m: (0.5 - m).log(), "log"),
        (lambda m: (m * 1000.0).exp() * 0.0, "exp"),
        (lambda m: (0.5 - m).sqrt(), "sqrt"),
    ],
)
def test_the_step_and_the_operation_are_named(backend: str, how: Any, operation: str) -> None:
    problem, step, mark = poisoned(23, how)
    two, _, _ = poisoned(23, how)
    run = mynn.compile(step, backend=backend)
    data = (*problem.data, mark)
    message = failure(lambda: mynn.fit(run, data, batch_size=5, shuffle=False))
    assert "at step 4 (epoch 0, batch 4)" in message
    assert f"first arose in {operation} " in message
    assert "test_nan_guard.py:" in message
    mynn.fit(two.compiled(backend), (two.x[:20], two.t[:20]), batch_size=5, shuffle=False)
    for a, b in zip(problem.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@backends
def test_the_layer_is_named(backend: str) -> None:
    class Bad(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x - x - 1.0).log()

    net = nn.Sequential(
        nn.Linear(3, 4), nn.Tanh(), nn.Sequential(Bad(), nn.Tanh()), nn.Linear(4, 1)
    )
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    @mynn.compile(backend=backend)
    def step(x: Any) -> Any:
        loss = net(x).mean()
        loss.backward()
        optimizer.step()
        return loss

    message = failure(lambda: mynn.fit(step, np.ones((8, 3), np.float32), batch_size=4))
    assert "the loss is not finite at step 0 (epoch 0, batch 0)" in message
    assert "layer '2.0', in log (made at" in message


def square_root_net() -> tuple[Any, Any, Any]:
    """A loss that stays finite where its gradient does not: sqrt at 0."""
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = np.array([[1.0, 2.0]])
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        loss = net(x).abs().sqrt().mean()
        loss.backward()
        optimizer.step()
        return loss

    return net, step, np.ones((40, 2), np.float32)


@backends
@pytest.mark.parametrize("last", [False, True])
def test_parameters_that_break_under_a_finite_loss(backend: str, last: bool) -> None:
    """Found also where no later loss shows it; the state is that before the guilty step."""
    net, step, x = square_root_net()
    at = 39 if last else 17
    x[at] = 0
    run = mynn.compile(step, backend=backend)
    message = failure(lambda: mynn.fit(run, x, batch_size=1, shuffle=False))
    assert f"parameter weight is not finite after step {at} (epoch 0, batch {at})" in message
    assert re.search("gradient of (the output of layer|weight)", message), message
    assert np.isfinite(net.weight.value).all()
    two, step_two, _ = square_root_net()
    mynn.fit(mynn.compile(step_two, backend=backend), x[:at], batch_size=1, shuffle=False)
    np.testing.assert_allclose(net.weight.value, two.weight.value, rtol=1e-6)


def test_after_many_steps() -> None:
    """Between two copies of the state lie thousands of steps."""
    net, step, _ = square_root_net()
    net.weight.data = np.array([[1000.0, 2000.0]])
    x = np.ones((5000, 2), np.float32)
    x[4321] = 0
    message = failure(lambda: mynn.fit(step, x, batch_size=1, shuffle=False))
    assert "after step 4321 (epoch 0, batch 4321)" in message
    assert np.isfinite(net.weight.value).all()


@backends
def test_in_a_later_run(backend: str) -> None:
    """Each run goes back to a state of its own, and what another one changed stays."""
    problem, step, mark = poisoned(23, lambda m: (0.5 - m).log())
    two, step_two, _ = poisoned(23, lambda m: (0.5 - m).log())
    clean = (*problem.data, np.zeros_like(mark))
    run, run_two = mynn.compile(step, backend=backend), mynn.compile(step_two, backend=backend)
    mynn.fit(run, clean, batch_size=5, shuffle=False)
    mynn.fit(run_two, clean, batch_size=5, shuffle=False)
    data = (*problem.data, mark)
    for _ in range(2):
        assert "at step 4 " in failure(lambda: mynn.fit(run, data, batch_size=5, shuffle=False))
        mynn.fit(run_two, tuple(array[:20] for array in clean), batch_size=5, shuffle=False)
    assert_same_state(problem.state(), two.state())


def test_bad_parameters_from_the_start() -> None:
    problem = Problem()
    problem.net[0].weight.value[1, 2] = np.nan
    before = problem.state()
    message = failure(lambda: mynn.fit(problem.step, problem.data))
    assert "parameter 0.weight is not finite before step 0 " in message
    assert "it was so when the run began" in message
    assert_same_state(before, problem.state())


@backends
def test_unchecked(backend: str) -> None:
    """With check_finite=False it trains on regardless."""
    problem = Problem()
    problem.x[7] = np.inf
    history = mynn.fit(
        problem.compiled(backend), problem.data, epochs=2, batch_size=8, check_finite=False
    )
    assert np.isnan(history["loss"]).all()
    assert history.steps == 14


def test_infinite_values_that_are_meant() -> None:
    """Infinity may stand in state that is no parameter, and within a step."""
    best = Tensor(np.inf)
    problem = Problem()

    def step(x: Any, t: Any) -> Any:
        loss = problem.step(x, t)
        masked = mynn.where(loss < np.inf, loss, -np.inf)
        best.assign(best.minimum(masked))
        return loss

    history = mynn.fit(step, problem.data, epochs=2)
    assert best.item() <= history["loss"].min()


def test_state_changed_by_callbacks_is_kept() -> None:
    """Going back does not go back behind the end of an epoch, where something was changed."""
    problem, step, mark = poisoned(49, lambda m: (m * 1e30).exp() - 1.0, lr=0.05)
    epochs: list[int] = []
    mark[49] = 0

    class Change(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            epochs.append(epoch)
            problem.optimizer.lr = 0.0
            if epoch == 2:
                problem.net[0].bias.data = np.full(6, 0.25)
                mark[49] = 1

        def on_train_end(self, history: History) -> None:
            epochs.append(history.epochs)

    data = (*problem.data, mark)
    message = failure(
        lambda: mynn.fit(step, data, epochs=9, batch_size=5, shuffle=False, callbacks=[Change()])
    )
    assert "at step 39 (epoch 3, batch 9)" in message
    assert epochs == [0, 1, 2, 3]
    np.testing.assert_array_equal(problem.net[0].bias.value, np.full(6, 0.25))
    assert problem.optimizer.lr == 0


def test_large_epochs_cost_no_copies() -> None:
    """The guard copies what may change, not the room for the metrics of all epochs to come."""
    problem = Problem()

    class Stop(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.stop = epoch == 3

    history = mynn.fit(problem.step, problem.data, epochs=10**9, callbacks=[Stop()])
    assert history.epochs == 4


class Spoiler(Callback):
    """Puts a value into a tensor, at the end of an epoch or in between."""

    def __init__(self, tensor: Any, value: float, epoch: int) -> None:
        self.tensor = tensor
        self.value = value
        self.epoch = epoch
        self.before: Array | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if epoch == self.epoch:
            changed = self.tensor.numpy().copy()
            changed.reshape(-1)[-1] = self.value
            self.tensor.data = changed


class Meddler(Spoiler):
    """In the middle of an epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        pass

    def on_progress(self, epoch: int, step: int, logs: dict[str, float]) -> None:
        if epoch >= self.epoch and step and self.before is None:
            self.before = np.array([epoch, step])
            super().on_epoch_end(self.epoch, logs)


@pytest.mark.one_in(5)
@backends
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("epoch", [0, 1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_what_a_callback_breaks(backend: str, value: float, epoch: int, shuffle: bool) -> None:
    """No step is blamed for it, not even after the last epoch."""
    problem = Problem()
    spoiler = Spoiler(problem.net[2].weight, value, epoch)
    message = failure(
        lambda: mynn.fit(
            problem.compiled(backend),
            problem.data,
            epochs=4,
            batch_size=8,
            shuffle=shuffle,
            callbacks=[spoiler],
        )
    )
    step = 7 * (epoch + 1)
    assert f"parameter 2.weight is not finite before step {step} (epoch {epoch + 1}" in message
    assert f"changed after step {step - 1} from outside the steps (by a callback?)" in message


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_a_callback_breaks_within_an_epoch(backend: str, value: float) -> None:
    rows = 200_000 if backend == "native" else 20_000
    problem = Problem(rows=rows)
    meddler = Meddler(problem.net[0].bias, value, 0)
    message = failure(
        lambda: mynn.fit(
            problem.compiled(backend), problem.data, epochs=2, batch_size=4, callbacks=[meddler]
        )
    )
    assert meddler.before is not None
    epoch, batch = meddler.before
    step = epoch * rows // 4 + batch
    assert f"parameter 0.bias is not finite before step {step} (epoch {epoch}, batch" in message
    assert "from outside the steps" in message


@backends
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_that_is_bad_from_the_start_under_a_finite_loss(
    backend: str, value: float
) -> None:
    net = nn.Linear(2, 1, bias=False)
    other = nn.Parameter(np.array([value], np.float32))
    optimizer = optim.SGD([*net.parameters(), other], lr=0.1)

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).mean() + other.clip(-1, 1).sum()
        loss.backward()
        optimizer.step()
        return loss

    message = failure(
        lambda: mynn.fit(mynn.compile(step, backend=backend), np.ones((8, 2), np.float32))
    )
    assert "before step 0 (epoch 0, batch 0): it was so when the run began" in message


def test_buffers_and_slots_that_a_callback_breaks() -> None:
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    net[1].eval()
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    spoiler = Spoiler(net[1].running_mean, np.nan, 1)
    message = failure(lambda: mynn.fit(step, x, epochs=4, batch_size=10, callbacks=[spoiler]))
    assert "the state 1.running_mean is not finite before step 8 (epoch 2, batch 0)" in message
    assert "from outside the steps (by a callback?)" in message
    net[1].running_mean.data = np.zeros(4, np.float32)
    slot = next(
        t for t in mynn.compile(step).lookup((x[:10],))[0].state if "exp_avg" in (t.name or "")
    )
    spoiler = Spoiler(slot, np.nan, 0)
    message = failure(lambda: mynn.fit(step, x, epochs=4, batch_size=10, callbacks=[spoiler]))
    assert "not finite before step 4 (epoch 1, batch 0)" in message
    assert "from outside the steps (by a callback?)" in message


def test_a_step_that_breaks_a_buffer_is_blamed() -> None:
    """Its new value goes into the loss two steps later."""
    problem = Problem()
    kept = Tensor(np.zeros(1, np.float32))
    older = Tensor(np.zeros(1, np.float32))
    mark = np.ones(50, np.float32)
    mark[20] = 0

    def step(x: Any, t: Any, m: Any) -> Any:
        loss = problem.step(x, t) + older.sum() * 0
        older.assign(kept)
        kept.assign(((m - 1).sum()).sqrt().reshape(1) * 0)
        return loss

    message = failure(lambda: mynn.fit(step, (*problem.data, mark), batch_size=5, shuffle=False))
    assert re.search(r"the state \S* is not finite after step 4 ", message), message
