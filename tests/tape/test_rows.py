"""Rows of tensors that get results: written later, with the errors of calls at once."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn
from mynn.base import recording
from mynn.core.types import Array
from mynn.errors import DataError, IndexRangeError, ShapeError
from mynn.tape.calls.following import Following
from mynn.tape.pieces.trial import PATIENCE
from tests.fuzz.eager.compare import program_problems
from tests.fuzz.eager.statements import parsed


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What comes a second time is a program."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    with mynn.eager("tape"):
        yield recording.current.own


def in_both(work: Callable[[], list[Tensor]]) -> list[Array]:
    """What the function gives, several times on the tape, the same as at once."""
    with mynn.eager("at once"):
        wanted = [one.numpy() for one in work()]
    for _ in range(4):
        found = [one.numpy() for one in work()]
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    return wanted


def waits(x: Tensor) -> bool:
    """Whether a tape has put off the memory of a tensor."""
    return any((id(x), "_value") in one.hidden for one in recording.waiting)


def doubled(values: Array) -> Tensor:
    """A result that waits: what comes for the first time is run at once."""
    for _ in range(3):
        y = Tensor(values) * 2.0
    assert y.pending is not None
    return y


X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
INDICES: dict[str, Any] = {
    "a number": 2,
    "from behind": -1,
    "several": (1, slice(0, 2)),
    "a slice": slice(1, 4),
    "every other": slice(None, None, 2),
    "an array": np.array([3, 0, 3]),
    "a list": [1, 2],
    "a mask": np.array([True, False, True, False]),
    "a mask of all": X > 0.2,
    "two arrays": ([0, 1], [2, 0]),
    "rest": (..., 1),
    "a new axis": (None, 2),
    "nothing": [],
}


@pytest.mark.parametrize("name", INDICES)
def test_indices(name: str) -> None:
    index = INDICES[name]
    shape = np.zeros((4, 3))[index].shape
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    def work() -> list[Tensor]:
        memory, ints = mynn.zeros(4, 3), mynn.zeros(4, 3, dtype="int64")
        y = Tensor(data) * 1.5
        memory[index] = y
        again = memory * 2.0 + 1.0  # looked at as a whole by what comes after
        ints[index] = y
        memory[index] = y.sum() * 0.1
        ints[index] = 3
        memory[0, 0] = np.float64(0.3)
        return [memory, ints, again]

    memory, _, again = in_both(work)
    assert memory.any()
    assert again.shape == (4, 3)


def test_the_number_of_a_row_is_no_part_of_a_key(tape: Any) -> None:
    net, memory = nn.Linear(3, 2), mynn.zeros(40, 2)

    def fill(rows: range) -> int:
        before = tape.size
        for number in rows:
            with mynn.no_grad():
                memory[number] = net(Tensor(X[number % 4]))
            memory.numpy()
        return int(tape.size - before)

    fill(range(3))
    assert fill(range(3, 40)) == 0


def test_what_is_put_off_is_seen_by_all() -> None:
    memory = mynn.zeros(4, 3)
    view, flat = memory[1], memory.reshape(-1)
    for number in range(3):
        memory[1] = doubled(X[number])
        assert waits(memory)
        one = [
            lambda: view,
            lambda: flat[3:6],
            lambda: view * 1.0,
            lambda: copy.deepcopy(memory)[1],
        ]
        found = one[number]().numpy()
        np.testing.assert_array_equal(found, 2 * X[number])
        assert not waits(memory)
    memory[1] = doubled(X[3])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(memory)).numpy()[1], 2 * X[3])


def test_a_value_that_changes_afterwards() -> None:
    def work() -> list[Tensor]:
        memory = mynn.zeros(3, 3)
        y = Tensor(X[0]) + 1.0
        for number in range(3):
            memory[number] = y
            y *= 2.0
        z = memory + y
        memory[0] = 7.0
        return [memory, y, z]

    assert in_both(work)[0].tolist()[0] == [7.0] * 3


def test_memory_of_the_users_is_written_at_once() -> None:
    array = np.zeros((4, 3), np.float32)
    shared, own = mynn.from_numpy(array), mynn.zeros(4)
    shared[1] = Tensor(X[0]) + 1.0
    np.testing.assert_array_equal(array[1], X[0] + 1)
    seen = np.asarray(own)
    own[2] = Tensor(3.0) * 2.0
    assert np.asarray(own)[2] == 6.0
    assert seen.shape == (4,)


def test_what_was_read_before_is_what_it_was() -> None:
    def work() -> list[Tensor]:
        memory = mynn.ones(4, 3)
        y = (memory * 2.0).sum(1)
        memory[2] = y[:3] * 0.5
        return [memory, y, memory * 1.0]

    in_both(work)


def test_gradients_flow_through_rows() -> None:
    def work() -> list[Tensor]:
        weight = nn.Parameter(X)
        out, kept = mynn.zeros(4, 3), mynn.ones(4, 3)
        for number in range(4):
            out[number] = weight[number] * (number + 1.0)
        y = weight * 2.0
        y[:, 1] = kept[:, 0]
        y[y > 1.0] = 0.0
        (out * out).sum().backward()
        (y * y).sum().backward()
        assert weight.grad is not None
        return [out, y, weight.grad]

    gradient = in_both(work)[2]
    wanted = 2 * X * np.arange(1, 5, dtype=np.float32)[:, None] ** 2
    more = np.where((2 * X > 1) | (np.arange(3) == 1), 0, 8 * X)
    np.testing.assert_allclose(gradient, wanted + more, rtol=1e-5)


def test_under_no_grad_none_flow() -> None:
    weight, memory = nn.Parameter(X[0]), mynn.zeros(4, 3)
    for places in ([0, 2], 1):
        y = weight * 2.0
        with mynn.no_grad():
            memory[places] = y
        assert not (memory * 2.0).requires_grad


def test_errors_come_where_they_are_made(tape: Any) -> None:
    memory = mynn.zeros(4, 3)
    for index in (4, -5, [0, 4], (0, 3), np.ones(3, bool)):
        y = doubled(X[0])
        with pytest.raises((IndexRangeError, ShapeError)):
            memory[index] = y
        np.testing.assert_array_equal(y.numpy(), 2 * X[0])
    with pytest.raises(ShapeError, match="cannot be broadcast"):
        memory[1] = Tensor(X[:2]) * 2.0
    assert not memory.numpy().any()


@pytest.mark.parametrize("places", [1, [0, 2]])
def test_results_that_cannot_be_made_leave_the_memory_whole(places: Any) -> None:
    for _ in range(2):
        mynn.functional.cross_entropy(Tensor(X) * 1.0, Tensor([0, 1, 2, 2]))
    for _ in range(3):
        memory = mynn.ones(3)
        y = mynn.functional.cross_entropy(Tensor(X) * 1.0, Tensor([0, 1, 2, 9]))
        memory[places] = y
        with pytest.raises(DataError):
            (memory * 1.0).numpy()
        np.testing.assert_array_equal(memory.numpy(), np.ones(3))
        memory[0] = 2.0
        assert memory.tolist() == [2.0, 1.0, 1.0]


def test_statistics_of_layers_that_are_written() -> None:
    def work() -> list[Tensor]:
        layer = nn.BatchNorm1d(3).eval()
        found = []
        for number in range(4):
            assert layer.running_mean is not None
            layer.running_mean[:] = Tensor(X[number]) * 0.5
            found.append(layer(Tensor(X)))
        return found

    in_both(work)


def test_another_thread_sees_them() -> None:
    memory, found = mynn.zeros(4, 3), []
    memory[2] = doubled(X[0])
    assert waits(memory)
    thread = threading.Thread(target=lambda: found.append(memory.numpy()))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0][2], 2 * X[0])


def test_memory_that_is_not_read_does_not_run_the_tape() -> None:
    memory, other = mynn.zeros(4, 3), mynn.zeros(4, 3)
    for _ in range(3):
        y = other * 2.0
    memory[1] = 3.0
    memory[2] = Tensor(X[0])
    assert y.pending is not None
    other[1] = 3.0
    assert y.pending is None
    assert not y.numpy().any()


def test_steps_of_an_agent_are_run_one_by_one(tape: Any) -> None:
    """As soon as they come again and again, a program of one of them is run each time."""
    net = nn.Linear(3, 1)

    def rollout() -> list[Tensor]:
        values, total = mynn.zeros(40), mynn.zeros(40)
        last: Any = 0
        with mynn.no_grad():
            for number in range(40):
                values[number] = net(Tensor(X[number % 4])).tanh().flatten()
            for number in reversed(range(40)):
                last = values[number] + 0.9 * last
                total[number] = last
        return [values, total]

    for _ in range(3):
        rollout()
    assert len(tape.root.children) < 40
    in_both(rollout)


PROGRAM = """
memory = tensor(draw(490, (6,), 0.0))
view = memory[1:4]
for i in range(8):
    with no_grad():
        y = tensor(draw(400 + i, (3,))) * 1.5
        memory[i % 6] = y[1]
        memory.data[i % 6] += y[0]
        memory[memory > 1.0] = 0.5
        view[0] = memory[5] * 2.0
        memory[[0, 2]] = y[:2]
    memory = memory.clone()
    log(memory.sum(), view)
log(memory, view)
"""


@pytest.mark.parametrize("seed", [1, 2, 8])
def test_a_program_as_in_pytorch(seed: int) -> None:
    assert not program_problems(parsed(seed, "float32", 0, False, PROGRAM))


@pytest.mark.parametrize("known", [True, False])
def test_rows_by_a_mask_are_part_of_an_update_where_as_many_came_by_calls(known: bool) -> None:
    """Targets of Q-learning: of states that are no last ones the network says them."""
    mask = np.array([True, False, True, True])

    def update(mode: Any) -> tuple[list[float], bool]:
        mynn.manual_seed(2)
        policy, target = nn.Linear(3, 1), nn.Linear(3, 1)
        optimizer = mynn.optim.SGD(policy.parameters(), lr=0.1)
        found = []
        with mynn.eager(mode):
            for _ in range(6):
                values = mynn.zeros(4)
                with mynn.no_grad():
                    rows = target(Tensor(X[mask])).reshape(-1)
                    values[Tensor(mask)] = rows if known else rows.max()
                loss = ((policy(Tensor(X)).reshape(-1) - (values * 0.9 + 1.0)) ** 2).mean()
                waits = rows.pending is not None and rows.pending.tape is not None
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found.append(loss.item())
        return found, waits

    found, waits = update("tape")
    assert waits is known  # a value for all of them is written at once, whatever their number
    np.testing.assert_allclose(found, update("at once")[0], rtol=1e-6)


def test_calls_that_come_again_are_compared_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those that give back an argument, or are given a dtype, between others."""
    recording.arrays.clear()  # while somebody holds memory, views take the long way
    values, sums = mynn.zeros(8), mynn.zeros(8, dtype=mynn.float64)
    found: list[Any] = []
    real = Following._found

    def noted(self: Any, position: Any, function: Any, *rest: Any) -> Any:
        found.append(function)
        return real(self, position, function, *rest)

    monkeypatch.setattr(Following, "_found", noted)
    counts = []
    for t in range(8):
        found.clear()
        y = Tensor(X[0]) * 2.0
        values[t] = y.sum().reshape(1).flatten()
        sums[t] = (y * 0.5).flatten().sum().astype(np.dtype(np.float64))
        counts.append(len(found))
        assert values[t].item() == 2 * sums[t].item() == np.float32(2 * X[0]).sum()
    assert counts[0] > 4
    assert counts[-1] == 0
