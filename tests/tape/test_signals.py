"""Exceptions at any moment of an eager loop on a tape leave everything whole."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor
from mynn.errors import UsageError
from mynn.jit.instance import Instance
from mynn.jit.interpreted import InterpretedProgram
from mynn.tape.pieces.piece import Piece
from mynn.tape.tape import Tape
from tests.fuzz.interruption import Late
from tests.fuzz.tape_signals import Subject, T, X, check, check_tape, run
from tests.helpers import own_tape
from tests.subset import count

PACKAGE = mynn.__path__[0]
# Where the exceptions come: as functions of these files begin. Python looks for signals there.
PLACES = ("/tape/", "/base/", "/runtime/signals.py", "/jit/program.py", "/jit/instance.py")


@pytest.fixture
def own() -> Iterator[Any]:
    with mynn.eager("tape"):
        yield own_tape()


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


def test_handlers_that_raise_at_random_moments() -> None:
    moments = count(40, 12)
    counts = run(moments, 7)
    assert sum(counts.values()) > moments // 2


class Raise:
    """Raises as the function of a number begins, counted from where the work begins."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE) and file.removeprefix(PACKAGE).startswith(PLACES):
            self.left -= 1
            if self.left == 0:
                raise Late

    def at(self, work: Callable[[], Any]) -> bool:
        """Whether it came to that."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        except Late:
            return True
        finally:
            sys.settrace(before)
        return self.left <= 0  # it was swallowed, as in callbacks of weak references


@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["train", "look_first", "small"])
def test_an_exception_as_each_function_begins(own: Any, kind: str) -> None:
    """In loops that are programs by now."""
    subject = Subject()
    start = subject.arrays()
    work = getattr(subject, kind)
    work(4)
    every = Raise(-1)
    every.at(lambda: work(1))
    assert every.left < -30
    for number in np.random.default_rng(0).integers(1, -every.left, count(30, 10)):
        work(2)
        Raise(int(number)).at(lambda: work(1))
        check(subject, own, start)


@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["train", "look_first"])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_an_exception_in_loops_that_begin(own: Any, kind: str, times: int) -> None:
    """In loops that are run one by one, and where they are traced and compiled."""
    for number in np.random.default_rng(times).integers(1, 2000, count(4, 2)):
        subject = Subject()
        start = subject.arrays()
        work = getattr(subject, kind)
        work(times)
        Raise(int(number)).at(partial(work, 2))
        check(subject, own, start)


def test_a_look_that_is_interrupted_before_anything_ran_can_be_repeated(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as a loop is traced or compiled: what was recorded waits for the next look."""

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    found = {}
    interrupts = 0
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            subject = Subject()
            losses = found[mode] = []
            for number in range(6):
                subject.optimizer.zero_grad()
                loss = F.cross_entropy(subject.net(Tensor(X[0])), Tensor(T[0]))
                loss.backward()
                if mode == "tape":
                    with monkeypatch.context() as patch:
                        patch.setattr(Piece, "__init__", interrupted)
                        patch.setattr(Piece, "prepare", interrupted)
                        if number > 2:
                            with pytest.raises(KeyboardInterrupt):
                                subject.optimizer.step()
                            assert "_grad" in {name for _, name in own_tape().hidden}
                        interrupts += number > 2
                subject.optimizer.step()
                losses.append(loss.item())
            losses += subject.arrays()
    assert interrupts == 3
    for one, other in zip(found["tape"], found["at once"], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_a_look_that_is_interrupted_as_its_calls_are_taken(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait as before, and nothing says that they run."""
    stand, times = Tape._stand, [0]

    def late(tape: Any, *arguments: Any) -> None:
        times[0] += 1
        if times[0] == 1:
            raise KeyboardInterrupt
        stand(tape, *arguments)

    x = Tensor(X[0])
    for _ in range(2):  # the first ones are run at once
        (x * 3.0).tanh().numpy()
    y = (x * 3.0).tanh()
    assert y.pending is not None
    monkeypatch.setattr(Tape, "_stand", late)
    with pytest.raises(KeyboardInterrupt):
        y.numpy()
    assert times[0] >= 1
    assert own_tape().running is None
    np.testing.assert_allclose(y.numpy(), np.tanh(X[0] * 3), rtol=1e-5)
    check_tape(own_tape())


def test_a_step_that_has_run_gives_all_its_results(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception between the program and what it gives."""
    subject = Subject()
    losses = subject.train(4)
    start = subject.arrays()
    mynn.manual_seed(3)
    (expected,) = subject.train(1)
    after = subject.arrays()
    run_instance, run_interpreted = Instance.run, InterpretedProgram.call_noting

    def late(instance: Instance) -> None:
        run_instance(instance)
        raise Late

    def interpreted_late(program: InterpretedProgram, *arguments: Any) -> None:
        run_interpreted(program, *arguments)
        raise Late

    subject.put(start)
    mynn.manual_seed(3)
    subject.optimizer.zero_grad()
    loss = F.cross_entropy(subject.net(Tensor(X[0])), Tensor(T[0]))
    loss.backward()
    monkeypatch.setattr(Instance, "run", late)
    monkeypatch.setattr(InterpretedProgram, "call_noting", interpreted_late)
    with pytest.raises(Late):
        subject.optimizer.step()
    monkeypatch.undo()
    check_tape(own)
    assert losses
    assert loss.item() == expected
    assert all(p.grad is not None for p in subject.net.parameters())
    for one, other in zip(subject.arrays(), after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_handler_that_records_as_a_call_is_recorded(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls come before the one that it interrupts."""
    add, hide = Tape._add, Tape._hide
    handling = [False]

    def handler() -> None:
        if not handling[0]:
            handling[0] = True
            y = (Tensor(X[1]) * 2.0).tanh() + extra
            if looks:
                np.testing.assert_allclose(y.numpy(), np.tanh(X[1] * 2) + 1, rtol=1e-5)
            handling[0] = False

    def interrupted_add(tape: Any, *arguments: Any) -> Any:
        found = add(tape, *arguments)
        handler()
        monkeypatch.setattr(Tape, "_add", add)
        return found

    def interrupted_hide(tape: Any, *arguments: Any) -> None:
        handler()
        hide(tape, *arguments)
        handler()

    looks = 0
    extra = Tensor(np.ones((12, 4), np.float32))
    for turn in range(8):
        looks = turn % 2
        x = Tensor(X[0])
        monkeypatch.setattr(Tape, "_add", interrupted_add)
        y = x * 3.0 + x.exp()
        monkeypatch.setattr(Tape, "_add", interrupted_add)
        z = (y + 1.0) - extra
        np.testing.assert_allclose(z.numpy(), X[0] * 3 + np.exp(X[0]), rtol=1e-5)
    found = {}
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            subject = Subject()
            monkeypatch.setattr(Tape, "_hide", interrupted_hide)
            found[mode] = [*subject.train(5), *subject.arrays()]
            monkeypatch.setattr(Tape, "_hide", hide)
    for one, other in zip(found["tape"], found["at once"], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_what_was_interrupted_half_way_says_so(
    own: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Where calls are run one by one, and state has changed already."""
    if request.config.getoption("--first-calls"):
        pytest.skip("there no calls are run one by one")
    subject = Subject()
    subject.net(Tensor(X[0])).numpy()

    def late(*arguments: Any) -> Any:
        raise Late

    y = subject.net(Tensor(X[0]))
    z = F.softmax(y, 1)
    if z.pending is None:
        y = subject.net(Tensor(X[0]))
        z = F.softmax(y, 1)
    assert z.pending is not None
    monkeypatch.setattr("mynn.tape.pieces.results.adopt", late)
    with pytest.raises(Late):
        z.numpy()
    monkeypatch.undo()
    for _ in range(2):
        with pytest.raises(UsageError, match="interrupted: Late"):
            z.numpy()
    check_tape(own)


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize(
    ("where", "event"),
    [
        ("_fits", "call"),
        ("_fits", "c_return"),
        ("_tidy", "call"),
        ("_tidy", "c_return"),
        ("alive", "call"),
        ("look", "call"),
        ("_add", "c_return"),
    ],
)
@pytest.mark.parametrize("same", [False, True])
def test_known_calls_in_a_handler_amid_a_call(
    where: str, event: str, looked: bool, same: bool
) -> None:
    """They do not begin anew what the call has begun: known calls are recorded in a hurry."""
    x, y = Tensor(np.arange(12.0).reshape(3, 4)), Tensor(np.ones((3, 4)))

    def known() -> Any:
        return (x * 3.0 - y).sum(1) if same else (y * 2.0 + 1.0).sum(1)

    def step(number: int) -> Any:
        z = x * 3.0 - y
        return (z + z.detach()).sum(1) + Tensor(np.full(3, float(number)))

    kept: list[Any] = []

    class Handler:
        """Comes once, at the event with this number."""

        def __init__(self, number: int) -> None:
            self.left = number

        def __call__(self, frame: Any, seen: str, arg: Any) -> None:
            if seen == event and frame.f_code.co_name == where:
                self.left -= 1
                if not self.left:
                    sys.setprofile(None)
                    kept.append(known())
                    if looked:
                        kept[-1].numpy()

    with mynn.eager("at once"), mynn.eager("tape"):
        for number in range(12):
            step(number).numpy()
            known().numpy()
        right = (np.arange(12.0).reshape(3, 4) * 6 - 2).sum(1)
        for number in range(1, 25):
            sys.setprofile(Handler(number))
            try:
                found = step(number)
                result = found.numpy()
            finally:
                sys.setprofile(None)
            np.testing.assert_allclose(result, right + number)
        for one in kept:
            np.testing.assert_allclose(one.numpy(), right / 2 if same else np.full(3, 12.0))


def test_a_handler_that_looks_while_gradients_are_asked_for() -> None:
    with mynn.eager("at once"), mynn.eager("tape"):
        for number in range(1, 30):
            w = Tensor(np.full(3, 2.0), requires_grad=True)
            h = w * w
            loss = (h * 3.0).sum()
            left = [number]

            def look(frame: Any, event: str, arg: Any, loss: Any = loss, left: Any = left) -> None:
                if event == "call" and frame.f_code.co_filename.endswith("asked.py"):
                    left[0] -= 1
                    if not left[0]:
                        sys.setprofile(None)
                        loss.item()

            sys.setprofile(look)
            try:
                (found,) = mynn.autograd.grad(loss, [w])
            finally:
                sys.setprofile(None)
            np.testing.assert_allclose(found.numpy(), np.full(3, 12.0))
