"""Callbacks: what they are told, and what they may change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, nn, optim
from mynn.core.types import Array
from tests.train.reference import Problem, Watch, assert_same_state, backends


@backends
def test_callbacks(backend: str) -> None:
    one, two = Problem(), Problem()
    watch = Watch(one)
    step = one.compiled(backend)
    history = mynn.fit(step, one.data, epochs=3, batch_size=8, shuffle=False, callbacks=[watch])
    assert watch.events == ["begin 3 x 7", "epoch 0", "epoch 1", "epoch 2", "end 3"]
    np.testing.assert_array_equal([logs["loss"] for logs in watch.logs], history["loss"])
    again = two.compiled(backend)
    for state in watch.states:
        mynn.fit(again, two.data, batch_size=8, shuffle=False)
        assert_same_state(state, two.state())


@backends
def test_stopping(backend: str) -> None:
    problem = Problem()
    watch = Watch(problem, stop_after=1)
    step = problem.compiled(backend)
    history = mynn.fit(step, problem.data, epochs=100, batch_size=8, callbacks=[watch])
    assert history.epochs == 2
    assert history.steps == 14
    assert history["loss"].shape == (2,)
    assert watch.events[-1] == "end 2"
    history = mynn.fit(step, problem.data, epochs=1, batch_size=8, callbacks=[watch])
    assert history.epochs == 1
    watch.stop_after = None
    assert watch.stop is False
    watch.stop = True  # left over from elsewhere: a new run starts anew
    assert mynn.fit(step, problem.data, epochs=3, callbacks=[watch]).epochs == 3


def test_callbacks_change_what_is_trained() -> None:
    """A learning rate, a mode, frozen parameters, options: what changes holds from then on."""
    problem = Problem()
    weight, bias = problem.net[0].weight, problem.net[0].bias
    kept: list[Array] = []

    class Change(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            kept.append(np.concatenate([weight.numpy().ravel(), bias.numpy()]))
            if epoch == 0:
                problem.optimizer.lr = 0.0
            if epoch == 1:
                problem.optimizer.lr = 0.05
                weight.requires_grad = False
            if epoch == 2:
                weight.requires_grad = True
                problem.optimizer.param_groups[0]["weight_decay"] = 20.0

    mynn.fit(problem.step, problem.data, epochs=4, batch_size=8, callbacks=[Change()])
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[1][:18], kept[2][:18])
    assert (kept[1][18:] != kept[2][18:]).all()
    assert np.abs(kept[3]).max() < 0.1 * np.abs(kept[2]).max()


def test_a_callback_may_predict_with_another_mode() -> None:
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 2))
    optimizer = optim.SGD(net.parameters(), lr=0.0)

    def step(x: Any, t: Any) -> Any:
        loss = nn.MSELoss()(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    forward = mynn.compile(net)
    problem = Problem()

    class Validate(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            net.eval()
            forward(problem.x)
            net.train(epoch != 1)

    history = mynn.fit(step, problem.data, epochs=4, batch_size=50, callbacks=[Validate()])
    losses = history["loss"]
    assert losses[0] != losses[1]
    assert losses[2] != losses[1]  # evaluated without dropout from here on
    net.eval()
    expected = nn.MSELoss()(net(problem.x), problem.t).item()
    np.testing.assert_allclose(losses[2], expected, rtol=1e-5)


def test_an_error_in_a_callback_leaves_whole_epochs() -> None:
    one, two = Problem(), Problem()

    class Fails(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            if epoch == 1:
                raise ZeroDivisionError

    watch = Watch(one)
    with pytest.raises(ZeroDivisionError):
        mynn.fit(one.step, one.data, epochs=9, shuffle=False, callbacks=[watch, Fails()])
    mynn.fit(two.step, two.data, epochs=2, shuffle=False)
    assert_same_state(one.state(), two.state())
    assert watch.events[-1] == "end 2"


def test_progress_is_told_several_times_a_second() -> None:
    moments: list[tuple[int, int]] = []

    class Progress(Callback):
        def on_progress(self, epoch: int, step: int, logs: dict[str, float]) -> None:
            moments.append((epoch, step))

    problem = Problem(5000)
    mynn.fit(problem.step, problem.data, epochs=400, batch_size=1, callbacks=[Progress()])
    assert len(moments) > 400
    assert moments == sorted(moments)
    assert moments[-1] == (400, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_errors_at_the_end(error: type[BaseException]) -> None:
    """They are raised, after all callbacks were told."""

    class Fails(Callback):
        def on_train_end(self, history: mynn.History) -> None:
            raise error

    problem = Problem()
    watch = Watch(problem)
    with pytest.raises(error):
        mynn.fit(problem.step, problem.data, callbacks=[Fails(), watch, Fails()])
    assert watch.events[-1] == "end 1"
