"""Known calls that native code records: the same tape as by Python, and all others left alone."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn
from mynn.base import recording
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.jit import native_available
from mynn.tape.calls import native, quick
from mynn.tape.tape import Tape
from tests.helpers import own_tape

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(2, 3, 4)).astype(np.float32)
# As often as it takes until a call is known.
ROUNDS = 6

pytestmark = pytest.mark.skipif(not native_available(), reason="no native code")


@pytest.fixture
def in_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """On a tape of its own whose known calls are recorded by native code: those that came to
    Python.
    """
    found: list[Any] = []
    call = Tape.call

    def counted(self: Any, function: Any, *given: Any) -> Any:
        found.append(function)
        return call(self, function, *given)

    monkeypatch.setattr(Tape, "call", counted)
    with mynn.eager("at once"), mynn.eager("tape"):
        tape = own_tape()
        tape._begin(True)
        assert tape.knows
        yield found


def learn(found: list[Any], step: Callable[[], Any]) -> Any:
    """Repeat until all calls are known; what the step gives."""
    for _ in range(ROUNDS):
        step()
    found.clear()
    result = step()
    assert not found, "each of its calls is known"
    return result


def network(*between: nn.Module) -> nn.Module:
    """The same one each time."""
    mynn.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), *between, nn.Linear(8, 2))


def test_a_chain_with_plain_arguments_names_and_numbers(in_python: list[Any]) -> None:
    x, y = Tensor(X), Tensor(Y)

    def step() -> list[Array]:
        z = F.softmax((x + y).reshape(2, 6) * 2.5, dim=-1)
        z = (z - x.reshape(2, 6)).sum(1, keepdim=True) + x.reshape(2, 6)[0, 1]
        return [z.numpy(), z.max(dim=0).values.numpy()]

    for _ in range(ROUNDS):
        step()
    in_python.clear()
    found = step()
    assert "softmax" not in str(in_python)
    assert len(in_python) <= 4, "one that is run as it comes, and one with two results"
    with mynn.eager("at once"):
        expected = step()
    for one, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, right, rtol=1e-5)


def test_a_training_has_the_bits_of_one_recorded_by_python(in_python: list[Any]) -> None:
    def train() -> list[Array]:
        net = network(nn.Dropout(0.5))
        optimizer = mynn.optim.Adam(net.parameters(), lr=0.01)
        losses = []
        for i in range(30):
            x = Tensor(X * (1 + i % 3))
            if i % 7 == 6:
                net.eval()
            loss = F.cross_entropy(net(x).tanh() * 1.5, Tensor([0, 1, 1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            net.train()
            losses.append(loss.numpy())
        return [*losses, *[p.numpy() for p in net.parameters()]]

    found = train()
    with mynn.eager("at once"), mynn.eager("tape"):
        assert not own_tape().knows
        expected = train()
    for one, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, right)


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: (x + y) * 2.0,
        lambda x, y: (y + y) * 1.0,
        lambda x, y: (y + x) * 1,
        lambda x, y: (y + x) * True,
        lambda x, y: (y - x) * 1.0,
        lambda x, y: (y + Tensor(X[:2])) * 1.0 if x.shape == (2, 4) else (y + x[:1]) * 1.0,
        lambda x, y: (y.astype("float64") + x) * 1.0,
        lambda x, y: (y + x.reshape(12).reshape(3, 4)) * 1.0,
        lambda x, y: (y + Tensor(X, requires_grad=True)) * 1.0,
        lambda x, y: (y + nn.Parameter(X)) * 1.0,
        lambda x, y: (y + X) * 1.0,
        lambda x, y: (y + x) * -0.0,
        lambda x, y: (y + x) * float("nan"),
    ],
)
def test_calls_that_differ_in_one_thing(
    in_python: list[Any], other: Callable[[Any, Any], Any]
) -> None:
    x, y = Tensor(X), Tensor(Y)
    known = learn(in_python, lambda: ((y + x) * 1.0).numpy())
    np.testing.assert_array_equal(known, Y + X)
    for _ in range(ROUNDS):
        found = other(x, y)
        with mynn.eager("at once"):
            right = other(x, y)
        assert found.dtype == right.dtype
        assert found.requires_grad == right.requires_grad
        np.testing.assert_array_equal(found.numpy(), right.numpy())
        np.testing.assert_array_equal(((y + x) * 1.0).numpy(), known)


def test_integers_in_tuples_are_not_truths(in_python: list[Any]) -> None:
    x = Tensor(X)
    learn(in_python, lambda: (x * 1.0)[1, 1].numpy())
    for _ in range(ROUNDS):
        assert (x * 1.0)[True, 1].shape == X[True, 1].shape
        assert (x * 1.0)[1, 0].item() == X[1, 0]


def test_modes_gradients_and_what_they_are_of(in_python: list[Any]) -> None:
    net, x = network().eval(), Tensor(X)

    def step() -> Any:
        return net(x).exp()

    right = learn(in_python, lambda: step().numpy())
    with mynn.no_grad():
        assert not step().requires_grad
    assert step().requires_grad
    net.train()
    in_python.clear()
    np.testing.assert_allclose(step().numpy(), right, rtol=1e-6)
    assert in_python, "the module has another mode"
    net.eval()
    np.testing.assert_array_equal(step().numpy(), right)
    for p in net.parameters():
        p.requires_grad = False
    assert not step().requires_grad
    net[1].weight = nn.Parameter(np.zeros((2, 8), np.float32))
    np.testing.assert_allclose(step().numpy(), np.exp(np.tile(net[1].bias.numpy(), (3, 1))))
    net[0] = nn.Flatten()
    with pytest.raises(MynnError):
        step()


def test_results_of_runs_are_read_with_their_gradients(in_python: list[Any]) -> None:
    net, w = network().eval(), Tensor(Y[:, :2])

    def step() -> list[Array]:
        net.zero_grad()
        kept = []
        for scale in (1.0, 2.0):
            kept.append(net(Tensor(X * np.float32(scale))))
            kept[-1].sum().item()
        loss = (kept[0] * kept[1] * w).sum()
        loss.backward()
        return [loss.numpy(), *[p.grad.numpy() for p in net.parameters()]]

    for _ in range(4 * ROUNDS):
        found = step()
    in_python.clear()
    again = step()
    assert len(in_python) < 3
    with mynn.eager("at once"):
        right = step()
    for one, other, expected in zip(found, again, right, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, expected, rtol=1e-5)


def test_one_of_two_ways(in_python: list[Any]) -> None:
    """An agent takes one of two actions in turn: both are known."""
    x = Tensor(X)

    def step(column: int) -> Array:
        return (x * 2.0)[0, column].numpy()

    for i in range(4 * ROUNDS):
        step(i % 2)
    in_python.clear()
    for i in range(8):
        assert step(i * i % 2) == 2 * X[0, i * i % 2]
    assert not in_python


def test_numbers_of_which_there_were_many(in_python: list[Any]) -> None:
    """They are arguments of the program, but for those that are infinite in float32."""
    x = Tensor(X)

    def step(number: float) -> Array:
        return ((x * 2.0).exp() - number).numpy()

    for i in range(30):
        step(0.1 * i)
    in_python.clear()
    counts = sys.getrefcount(np.dtype("float32"))
    right = np.exp(2 * X)
    for i in range(60):
        np.testing.assert_allclose(step(1.5 * i), right - np.float32(1.5 * i), rtol=1e-5, atol=1e-5)
    assert not in_python
    assert abs(sys.getrefcount(np.dtype("float32")) - counts) < 50
    for number in (2e38, float("inf"), float("nan"), -3e38, 3, True):
        with mynn.eager("at once"):
            expected = step(number)
        np.testing.assert_allclose(step(number), expected, rtol=1e-6)
    np.testing.assert_allclose(step(0.25), right - np.float32(0.25), rtol=1e-5)


def test_memory_that_the_user_changes(in_python: list[Any]) -> None:
    array = X.copy()
    x = mynn.from_numpy(array)

    def step() -> Array:
        y = x * 2.0
        array[0, 0] += 1
        return y.numpy()

    for _ in range(ROUNDS):
        before = array[0, 0] * 2
        assert step()[0, 0] == before
        view = x.reshape(12)
        array[0, 0] = 5
        assert view[0].item() == 5


def test_what_is_wrong_is_said_where_it_was_before(in_python: list[Any]) -> None:
    x, y = Tensor(X), Tensor(Y)
    learn(in_python, lambda: (x + y).numpy())
    with pytest.raises(MynnError, match="shape"):
        x + Tensor(np.zeros((5, 7), np.float32))
    with pytest.raises((MynnError, TypeError)):
        x.reshape("three")  # type: ignore[arg-type]
    with pytest.raises((MynnError, TypeError)):
        x + object()
    np.testing.assert_array_equal((x + y).numpy(), X + Y)


def test_nothing_is_kept(in_python: list[Any]) -> None:
    """Neither objects nor counts of references grow with known calls."""
    net, x, y = network().eval(), Tensor(X), Tensor(Y)

    def step() -> None:
        with mynn.no_grad():
            ((F.softmax(net(Tensor(X)), dim=-1) * 2.0).sum() + (x + y)[0, 1]).item()

    for _ in range(4 * ROUNDS):
        step()
    in_python.clear()
    watched = (None, True, False, x, y, net, Tensor, F.softmax, own_tape().root)
    gc.collect()
    counts = [sys.getrefcount(one) for one in watched]
    objects = len(gc.get_objects())
    for _ in range(300):
        step()
    gc.collect()
    assert not in_python
    assert len(gc.get_objects()) < objects + 50
    for one, before in zip(watched, counts, strict=True):
        assert abs(sys.getrefcount(one) - before) < 50, one


def test_threads_have_tapes_of_their_own_that_go_with_them(in_python: list[Any]) -> None:
    x, y = Tensor(X), Tensor(Y)
    known = learn(in_python, lambda: (x + y).exp().numpy())
    found: list[Any] = []

    def other() -> None:
        tape = own_tape()
        tape._begin(True)
        for _ in range(ROUNDS):
            found.append((x + y).exp().numpy())
        found.append((x + y).exp())
        found.append(weakref.ref(tape))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    reference = found.pop()
    for one in found:
        np.testing.assert_allclose(np.asarray(one), known, rtol=1e-6)
    del one
    found.clear()
    gc.collect()
    assert reference() is None
    np.testing.assert_array_equal((x + y).exp().numpy(), known)


class InMode:
    """What is done once, in the Python that native code runs to ask for the mode of a module: as a
    signal handler would, or a finalizer.
    """

    def __init__(self, what: Callable[[], Any]) -> None:
        self.what = what

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_mode":
            sys.setprofile(None)
            self.what()

    def __enter__(self) -> None:
        sys.setprofile(self)

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)


def test_calls_that_are_recorded_while_the_mode_is_asked_for(in_python: list[Any]) -> None:
    """They take the tensor that was made for the call."""
    net, x, y = network().eval(), Tensor(X), Tensor(Y)

    def step() -> Array:
        return (y + 1.0).exp().numpy()

    right, known = learn(in_python, lambda: (net(x).exp().numpy(), step()))
    found: list[Array] = []
    for _ in range(ROUNDS):
        with InMode(lambda: found.append(step())):
            result = net(x).exp()
        np.testing.assert_array_equal(result.numpy(), right)
        np.testing.assert_array_equal(found.pop(), known)


def test_an_interrupt_while_the_mode_is_asked_for_is_not_lost(in_python: list[Any]) -> None:
    net, x = network().eval(), Tensor(X)
    right = learn(in_python, lambda: net(x).exp().numpy())

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), InMode(interrupt):
        net(x)
    np.testing.assert_array_equal(net(x).exp().numpy(), right)


def test_whoever_goes_through_all_objects_sees_tensors_that_are_whole(
    in_python: list[Any],
) -> None:
    """As programs do that look for what takes memory."""
    x = Tensor(X)
    learn(in_python, lambda: (x + 1.0).exp().numpy())
    with pytest.raises(MynnError):  # known up to a point, where its tensor is made
        x + Tensor(np.zeros((5, 7), np.float32))
    for one in gc.get_objects():
        if type(one) is Tensor:
            one.pending  # noqa: B018
    y = x + 1.0
    assert gc.is_tracked(y)


def test_the_function_holds_what_it_is_made_of(in_python: list[Any]) -> None:
    """A program that ends may clear the module of its code before the last tensor is gone."""
    call = own_tape().call
    held = call.__module__
    for one in (recording.waiting, recording.arrays, recording.toggles, native.KnownCall):
        assert any(one is other for other in held[1].values())
    assert held[0] is native._methods[Tape]


def test_it_begins_once_many_calls_have_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    recorder = native.recorder

    def noted(tape: Any, plain: Any, checked: Any, make: bool) -> Any:
        asked.append(make)
        return recorder(tape, plain, checked, make) if make else None

    monkeypatch.setattr(native, "recorder", noted)
    monkeypatch.setattr(quick, "SOME", 20)
    monkeypatch.setattr(quick, "MANY", 60)
    x = Tensor(X)
    with mynn.eager("at once"), mynn.eager("tape"):
        for _ in range(100):
            (x + 1.0).exp().numpy()
        assert asked == [False, True]
        assert own_tape().knows


def test_where_objects_lie_otherwise_python_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_methods", {})
    monkeypatch.setattr(native, "readable", lambda: False)
    x = Tensor(X)
    with mynn.eager("at once"), mynn.eager("tape"):
        tape = own_tape()
        tape._begin(True)
        assert not tape.knows
        for _ in range(ROUNDS):
            np.testing.assert_array_equal((x + 1.0).numpy(), X + 1)
    assert recording.current.own is not None
