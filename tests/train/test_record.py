"""`record=`: activations, gradients and parameters as the eager step has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Record, nn
from mynn.core.types import Array
from mynn.errors import ArgumentError
from tests.train.reference import Problem, assert_same_state, backends


def eager_record(problem: Problem, x: Array, t: Array) -> dict[str, dict[str, Array]]:
    """One eager step, with what each layer gives and the gradients."""
    problem.optimizer.zero_grad()
    outputs = {}
    value: Any = x
    for name, layer in zip("012", problem.net, strict=True):
        value = layer(value)
        outputs[name] = value
    outputs[""] = value
    loss = nn.MSELoss()(value, t)
    gradients = {}
    for name, y in outputs.items():
        rest = list(problem.net)[int(name) + 1 :] if name else []

        def tail(y: Any, rest: list[Any] = rest) -> Any:
            for layer in rest:
                y = layer(y)
            return nn.MSELoss()(y, t)

        gradients[name] = mynn.grad(tail)(y.detach()).numpy()
    loss.backward()
    for name, p in problem.net.named_parameters():
        assert p.grad is not None
        gradients[name] = p.grad.numpy()
    problem.optimizer.step()
    parameters = {name: p.numpy() for name, p in problem.net.named_parameters()}
    return {
        "activations": {name: y.numpy() for name, y in outputs.items()},
        "gradients": gradients,
        "parameters": parameters,
    }


def assert_records(got: dict[str, Array], expected: dict[str, Array]) -> None:
    assert set(got) == set(expected)
    for name, value in got.items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-5, atol=1e-6, err_msg=name)


@backends
def test_equal_to_eager(backend: str) -> None:
    """Every step of an epoch, the last partial batch included."""
    one, two = Problem(20), Problem(20)
    record = Record(layers=["", "0", "1", "2"])
    history = mynn.fit(one.compiled(backend), one.data, batch_size=8, shuffle=False, record=record)
    assert [(r.step, r.epoch) for r in history.records] == [(0, 0), (1, 0), (2, 0)]
    for number, recorded in enumerate(history.records):
        rows = slice(8 * number, 8 * number + 8)
        expected = eager_record(two, two.x[rows], two.t[rows])
        assert_records(recorded.activations, expected["activations"])
        assert_records(recorded.gradients, expected["gradients"])
        assert_records(recorded.parameters, expected["parameters"])
    assert history.records[2].activations["0"].shape == (4, 6)


@backends
def test_recording_changes_nothing(backend: str) -> None:
    one, two = Problem(), Problem()
    options: dict[str, Any] = {"epochs": 3, "batch_size": 8, "seed": 2}
    history = mynn.fit(one.compiled(backend), one.data, record=Record(every=4), **options)
    plain = mynn.fit(two.compiled(backend), two.data, **options)
    assert [r.step for r in history.records] == [0, 4, 8, 12, 16, 20]
    assert [r.epoch for r in history.records] == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(history["loss"], plain["loss"], rtol=1e-5)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_rows_of_a_shuffled_batch() -> None:
    """What is recorded is of the samples that the order says."""
    from tests.train.reference import shuffle_python

    problem = Problem(20)
    order = list(range(20))
    shuffle_python(order, 9)
    net = problem.net
    hidden = net[0](problem.x[order[:8]]).numpy()
    record = Record(layers="0", quantities="activations", steps=[0])
    history = mynn.fit(problem.step, problem.data, batch_size=8, seed=9, record=record)
    np.testing.assert_allclose(history.records[0].activations["0"], hidden, rtol=1e-5)


@pytest.mark.parametrize(
    ("record", "steps"),
    [
        (Record(steps=[3, 1, 20]), [1, 3, 20]),
        (Record(steps=5), [5]),
        (Record(steps=[10**6]), []),
        (Record(steps=[]), []),
        (Record(steps=range(0, 30, 10)), [0, 10, 20]),
        (Record(every=10), [0, 10, 20]),
        (Record(every=100), [0]),
    ],
)
def test_steps(record: Record, steps: list[int]) -> None:
    problem = Problem()
    history = mynn.fit(problem.step, problem.data, epochs=3, batch_size=7, record=record)
    assert [r.step for r in history.records] == steps
    assert history.steps == 24


def test_layers_and_quantities() -> None:
    problem = Problem()
    record = Record(layers="[02]", quantities=["gradients", "parameters"], steps=0)
    (recorded,) = mynn.fit(problem.step, problem.data, record=record).records
    assert recorded.activations == {}
    assert set(recorded.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(recorded.gradients) == {"0", "2", *recorded.parameters}
    record = Record(layers="1", steps=0)
    (recorded,) = mynn.fit(problem.step, problem.data, record=record).records
    assert set(recorded.activations) == set(recorded.gradients) == {"1"}
    assert recorded.parameters == {}


def test_records_are_copies() -> None:
    problem = Problem()
    history = mynn.fit(problem.step, problem.data, batch_size=10, record=Record())
    first, second = history.records[:2]
    assert not np.array_equal(first.parameters["0.weight"], second.parameters["0.weight"])
    before = problem.state()
    first.parameters["0.weight"][...] = 7
    assert_same_state(before, problem.state())


def test_a_compiled_step_and_callbacks() -> None:
    """Records go with epochs' ends, and with a step that trained before."""
    problem = Problem()
    step = problem.compiled()
    mynn.fit(step, problem.data, batch_size=10)
    ends: list[int] = []

    class Ends(mynn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            ends.append(epoch)

    history = mynn.fit(
        step, problem.data, epochs=4, batch_size=10, record=Record(every=3), callbacks=[Ends()]
    )
    assert ends == [0, 1, 2, 3]
    assert [r.step for r in history.records] == [0, 3, 6, 9, 12, 15, 18]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantities": ["weights"]}, r"quantities are among .*activations.*weights"),
        ({"quantities": "weights"}, "weights"),
        ({"every": 0}, "every must be at least 1"),
        ({"every": 2.5}, "every must be a whole number"),
        ({"steps": [-1]}, r"steps.*-1"),
        ({"steps": [0.5]}, r"steps.*0\.5"),
    ],
)
def test_bad_records(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Record(**options)


def test_unknown_layers_are_named_beside_known_ones() -> None:
    problem = Problem()
    before = problem.state()
    with pytest.raises(ArgumentError, match=r"'conv\*'; layers are '0', '1', '2', ''"):
        mynn.fit(problem.step, problem.data, record=Record(layers=["0", "conv*"]))
    assert_same_state(before, problem.state())


def test_a_step_without_layers() -> None:
    with pytest.raises(ArgumentError, match="layers are none"):
        mynn.fit(lambda x: x.mean(), np.ones(4, np.float32), record=Record())
