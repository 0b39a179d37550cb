"""The child of a fork works, whatever other threads were about; other processes too."""

from __future__ import annotations

import doctest
import os

import pytest

from mynn.base import forks
from tests.runtime.children import run_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# `child(function)` forks; the child returns what the function does, in time.
FORKING = """
import faulthandler, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what is tested

def child(function):
    number = os.fork()
    if number == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        os._exit(7 if function() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 7

def forking_while_compiling(shape):
    # `program(width)` compiles something new for each width; its result has shape(width).
    stop = []
    def compiling():
        width = 100
        while not stop:
            program(width)
            width += 1
    others = [threading.Thread(target=compiling, daemon=True) for _ in range(2)]
    for other in others:
        other.start()
    for width in range(16, 22):
        child(lambda: program(width).shape == shape(width))
    stop.append(1)
    for other in others:
        other.join()
"""


def test_doctest() -> None:
    assert doctest.testmod(forks).failed == 0


@pytest.mark.one_in(3)
@pytest.mark.parametrize("threads", [1, 3])
def test_while_another_thread_calls(threads: int) -> None:
    run_child(
        FORKING
        + f"""
from mynn.runtime import threads as bounds
bounds.LEAST_OPERATIONS = 1
net = network()
call = mynn.compile(net, threads={threads})
expected = call(X)
stop = []
def serve():
    while not stop:
        call(X)
others = [threading.Thread(target=serve) for _ in range(2)]
for other in others:
    other.start()
for _ in range(30):
    child(lambda: all(np.array_equal(call(X), expected) for _ in range(3)))
stop.append(1)
for other in others:
    other.join()
assert np.array_equal(call(X), expected)
"""
    )


def test_while_another_thread_draws() -> None:
    """NumPy's generators have locks of their own."""
    run_child(
        FORKING
        + """
from mynn import random
for seeded in (False, True):
    if seeded:
        mynn.manual_seed(3)
    held, go = threading.Event(), threading.Event()
    def draw():
        with random.host_generator().bit_generator.lock:
            held.set()
            go.wait(60)
    other = threading.Thread(target=draw)
    other.start()
    held.wait(60)
    child(lambda: nn.Linear(3, 2).weight.shape == (2, 3))
    go.set()
    other.join()
"""
    )


def test_while_another_thread_compiles() -> None:
    run_child(
        FORKING
        + """
def program(width):
    net = nn.Sequential(nn.Linear(24, width), nn.Tanh(), nn.Linear(width, 8))
    return mynn.compile(net)(X)
program(4)
forking_while_compiling(lambda width: (96, 8))
""",
        timeout=120,
        MYNN_CACHE="0",
    )


@pytest.mark.wide
def test_while_threads_compile_parts() -> None:
    run_child(
        FORKING
        + """
from mynn.compiler.codegen import split_module
from mynn.runtime import llvm_objects
split_module.SIZE, llvm_objects.processors = 2000, lambda: 3
def program(width):
    layers = [part for n in range(4) for part in (nn.Linear(width + n, width + n + 1), nn.Tanh())]
    call = mynn.compile(nn.Sequential(*layers))
    result = call(np.ones((3, width), np.float32))
    assert len(call.program(np.ones((3, width), np.float32)).native.engines) > 2
    return result
program(4)
forking_while_compiling(lambda width: (3, width + 4))
""",
        timeout=120,
        MYNN_CACHE="0",
    )


def test_a_fork_waits_for_what_is_held() -> None:
    run_child(
        FORKING
        + """
from mynn.base import forks
lock = forks.hold(threading.RLock())
held, left = threading.Event(), []
def work():
    with lock:
        held.set()
        time.sleep(0.3)
        left.append(1)
other = threading.Thread(target=work)
other.start()
held.wait(60)
child(lambda: left == [1] and lock.acquire(blocking=False))
other.join()
assert lock.acquire(blocking=False)
"""
    )


def test_while_another_thread_loads_the_compiler() -> None:
    """A child could never import what the parent was in the middle of importing."""
    run_child(
        FORKING
        + """
def program():
    return mynn.compile(lambda x: x + 1)(X)
other = threading.Thread(target=program)
other.start()
for number in range(12):
    child(lambda: program().shape == X.shape)
other.join()
assert program().shape == X.shape
""",
        timeout=120,
        MYNN_CACHE="0",
    )


def test_while_another_thread_fits() -> None:
    run_child(
        FORKING
        + """
class Until(mynn.Callback):
    def on_epoch_end(self, epoch, logs):
        self.stop = bool(enough)
enough = []
def fit(step, epochs):
    calls = [Until()] if epochs > 3 else []
    return mynn.fit(step, X, batch_size=8, epochs=epochs, callbacks=calls, verbose=False)
step = make_step(network(), 3)
fit(step, 1)
other = threading.Thread(target=fit, args=(step, 10**9))
other.start()
def train():
    history = fit(make_step(network(2), 2), 3)
    return history.epochs == 3 and mynn.predict(network(), X).shape == (96, 16)
for _ in range(10):
    child(train)
assert other.is_alive()
enough.append(1)
other.join()
"""
    )


@pytest.mark.wide
@pytest.mark.parametrize("goes_on", ["child", "parent"])
def test_a_callback_forks(goes_on: str) -> None:
    """Both sides train on, to the same parameters."""
    run_child(
        FORKING
        + f"""
def train(threads, fork):
    net = network()
    class Forks(mynn.Callback):
        inside = None
        def on_epoch_end(self, epoch, logs):
            if fork and epoch == 2:
                self.inside = os.fork()
                if self.inside == 0:
                    faulthandler.dump_traceback_later(20, exit=True)
                    if "{goes_on}" == "parent":
                        os._exit(7)
    callback = Forks()
    step = make_step(net, threads)
    mynn.fit(step, X, batch_size=8, epochs=6, callbacks=[callback], verbose=False)
    return [p.numpy() for p in net.parameters()], callback.inside

expected, _ = train(1, False)
found, inside = train(3, True)
same = all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
if inside == 0:
    os._exit(7 if same else 1)
assert same
assert os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1]) == 7
"""
    )


def test_while_another_thread_traces() -> None:
    """Compiled calls in the child need not look anything up: nobody traces there."""
    run_child(
        FORKING
        + """
from mynn.trace import tracing
call = mynn.compile(network())
call(X); call(X)
inside, leave = threading.Event(), threading.Event()
def slow(x):
    inside.set()
    leave.wait()
    return x * 2
other = threading.Thread(target=lambda: mynn.compile(slow)(X))
other.start()
inside.wait()
child(lambda: tracing.activity.watch == tracing.activity.edits() and call(X).shape == (96, 16))
leave.set()
other.join()
assert tracing.activity.watch == tracing.activity.edits()
"""
    )


class Noted:
    """A lock that notes when it is taken."""

    def __init__(self, taken: list[object]) -> None:
        self.taken = taken

    def acquire(self) -> bool:
        self.taken.append(self)
        return True

    def release(self) -> None:
        pass


def test_innermost_locks_are_taken_last() -> None:
    """A thread that holds one of the others may need them to come to its end."""
    taken: list[object] = []
    innermost = [forks.hold(Noted(taken), innermost=True) for _ in range(2)]
    others = [forks.hold(Noted(taken)) for _ in range(9)]
    forks._before()
    forks._after()
    assert len(taken) == len(others) + len(innermost)
    assert set(taken[-2:]) == set(innermost)
