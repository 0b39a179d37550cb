"""`mynn.compile`: structures, state, guards, errors, and programs as objects."""

from __future__ import annotations

import collections
import copy
import gc
import resource
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.compiled
from mynn import Tensor, compiled, nn, optim
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.graph import Array
from mynn.runtime import native
from mynn.runtime.program import InterpretedProgram

BACKENDS = ("native", "interpreter")
backends = pytest.mark.parametrize("backend", BACKENDS)

Point = collections.namedtuple("Point", ["x", "y"])


def ramp(*shape: int, dtype: Any = np.float32) -> Array:
    """1, 2, 3... in a shape."""
    return np.arange(1, 1 + int(np.prod(shape, dtype=int)), dtype=dtype).reshape(shape)


def step_of(net: Any, optimizer: Any, loss: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A training step with the mean of squares as its loss."""

    def step(x: Any, t: Any) -> Any:
        value = (loss or nn.MSELoss())(net(x), t)
        value.backward()
        optimizer.step()
        return value

    return step


# -- structures ------------------------------------------------------------------------------------


@backends
def test_structures_of_results(backend: str) -> None:
    def function(x: Any) -> Any:
        return {"sum": x.sum(), "parts": (x + 1, [x * 2, None]), "point": Point(x, 3.0), "n": 5}

    got = mynn.compile(function, backend=backend)(ramp(3))
    assert list(got) == ["sum", "parts", "point", "n"]
    assert got["sum"].shape == ()
    assert got["sum"].item() == 6
    assert isinstance(got["parts"], tuple)
    assert isinstance(got["parts"][1], list)
    assert got["parts"][1][1] is None
    np.testing.assert_array_equal(got["parts"][1][0], [2, 4, 6])
    assert isinstance(got["point"], Point)
    np.testing.assert_array_equal(got["point"].x, ramp(3))
    assert got["point"].y.dtype == np.float32
    assert got["n"].item() == 5


@backends
def test_structures_of_arguments(backend: str) -> None:
    def function(batch: Any, weights: Any, scale: Any) -> Any:
        first, second = weights
        return batch["x"] * first + batch["more"]["y"] * second.x * scale

    run = mynn.compile(function, backend=backend)
    batch = {"x": ramp(2), "more": {"y": ramp(2)}}
    np.testing.assert_array_equal(run(batch, (10.0, Point(100.0, None)), 2), [210, 420])
    np.testing.assert_array_equal(run(batch, [1.0, Point(0.0, None)], 2), [1, 2])


@backends
def test_same_leaves_in_other_structures_are_other_programs(backend: str) -> None:
    run = mynn.compile(lambda d: d["a"] - d["b"], backend=backend)
    assert run({"a": 5.0, "b": 3.0}) == 2
    assert run({"b": 5.0, "a": 3.0}) == -2


@backends
@pytest.mark.parametrize("result", [(), None, {}, [], (None,)])
def test_no_results(backend: str, result: Any) -> None:
    assert mynn.compile(lambda x: result, backend=backend)(1.0) == result


@backends
def test_results_are_fresh_arrays(backend: str) -> None:
    x = ramp(3)
    run = mynn.compile(lambda x: x, backend=backend)
    first = run(x)
    first += 1
    second = run(x)
    np.testing.assert_array_equal(x, ramp(3))
    np.testing.assert_array_equal(second, ramp(3))
    assert first.flags.writeable
    assert first.flags.c_contiguous or first.ndim > 1


@backends
def test_results_that_are_arguments_state_and_numbers(backend: str) -> None:
    weight = Tensor([1.0, 2.0])

    def function(x: Any) -> Any:
        old = weight + 0.0
        weight.assign(weight * 2.0)
        return x, weight, old, 1.5, np.float64(2.5), True, np.arange(2), x

    got = mynn.compile(function, backend=backend)(ramp(2))
    expected = [[1, 2], [2, 4], [1, 2], 1.5, 2.5, True, [0, 1], [1, 2]]
    for value, wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert [v.dtype.name for v in got[3:7]] == ["float32", "float64", "bool", "int64"]
    np.testing.assert_array_equal(weight.data, [2, 4])


# -- arguments -------------------------------------------------------------------------------------


ARGUMENTS: dict[str, Any] = {
    "array": ramp(3, 4),
    "fortran": np.asfortranarray(ramp(3, 4)),
    "strided": ramp(6, 8)[::2, ::2],
    "reversed": ramp(3, 4)[::-1, ::-1],
    "broadcast": np.broadcast_to(ramp(4), (3, 4)),
    "big endian": ramp(3, 4).astype(">f4"),
    "tensor": Tensor(ramp(3, 4)),
    "tensor that trains": Tensor(ramp(3, 4), requires_grad=True),
    "list": ramp(3, 4).tolist(),
    "number": 2.5,
    "numpy number": np.float32(2.5),
    "float64": ramp(3, 4, dtype=np.float64),
    "no elements": np.zeros((0, 4), np.float32),
    "one": ramp(1, 1),
}


@backends
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(backend: str, name: str) -> None:
    value = ARGUMENTS[name]
    run = mynn.compile(lambda x: x * 2.0 + 1.0, backend=backend)
    if name == "list":
        with pytest.raises(TypeError):  # a list is a structure of numbers
            run(value)
        return
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    for _ in range(2):
        got = run(value)
        np.testing.assert_array_equal(got, array * 2 + 1)
        assert got.dtype == ("float64" if name == "float64" else "float32")


@backends
def test_read_only_arguments_work_and_stay(backend: str) -> None:
    x = ramp(5)
    x.flags.writeable = False
    run = mynn.compile(lambda x: x.flip(0), backend=backend)
    np.testing.assert_array_equal(run(x), x[::-1])
    np.testing.assert_array_equal(x, ramp(5))


def test_numbers_are_arguments_not_constants() -> None:
    run = mynn.compile(lambda x, a: x * a)
    program = run.program(ramp(3), 2.0)
    np.testing.assert_array_equal(run(ramp(3), 5.0), ramp(3) * 5)
    assert run.program(ramp(3), 7.0) is program
    assert run.program(ramp(3), 7) is not program
    assert run(ramp(3), True).dtype == np.float32


@backends
def test_named_arguments(backend: str) -> None:
    run = mynn.compile(lambda x, y=1.0, z=10.0: x - y + z, backend=backend)
    assert run(5.0, y=2.0) == 13
    assert run(y=2.0, x=5.0) == 13
    assert run(5.0, 2.0, z=0.0) == 3
    assert run(5.0, z=0.0) == 4
    with pytest.raises(TypeError, match="x"):
        run(y=5.0)
    with pytest.raises(TypeError, match="w"):
        run(5.0, 2.0, w=1.0)


def test_keyword_only_arguments_are_refused() -> None:
    def function(x: Any, *, scale: Any) -> Any:
        return x * scale

    with pytest.raises(ArgumentError, match=r"scale.*keyword"):
        mynn.compile(function)(1.0, scale=2.0)


# -- one program for each signature ----------------------------------------------------------------


@backends
def test_shapes_and_dtypes_are_compiled_once(backend: str) -> None:
    traces = []

    @mynn.compile(backend=backend)
    def double(x: Any) -> Any:
        traces.append((x.shape, x.dtype.name))
        return x + x

    for _ in range(2):
        for x in (ramp(3), ramp(4), ramp(3, dtype=np.float64), ramp(1, 3), ramp(3, dtype=np.int32)):
            np.testing.assert_array_equal(double(x), x + x)
    assert len(traces) == 5
    assert double.program(ramp(3)) is double.program(ramp(3) + 1)
    assert len(traces) == 5


@backends
def test_modes_have_programs_of_their_own(backend: str) -> None:
    traces = []
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    @mynn.compile(backend=backend)
    def forward(x: Any) -> Any:
        traces.append(net.training)
        return net(x)

    x = ramp(8, 4)
    mynn.manual_seed(0)
    one, two = forward(x), forward(x)
    assert (one == 0).any()
    assert not np.array_equal(one, two)
    net.eval()
    still = forward(x)
    np.testing.assert_allclose(still, net(x).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(still, forward(x))
    net.train()
    assert (forward(x) == 0).any()
    net.eval()
    np.testing.assert_array_equal(still, forward(x))
    assert traces == [True, False]


@backends
def test_frozen_parameters(backend: str) -> None:
    net = nn.Linear(3, 2)
    assert net.bias is not None
    run = mynn.compile(step_of(net, optim.SGD(net.parameters(), lr=0.1)), backend=backend)
    x, t = ramp(4, 3), ramp(4, 2)
    for frozen in (False, True, False):
        net.weight.requires_grad = not frozen
        weight, bias = net.weight.numpy(), net.bias.numpy()
        run(x, t)
        assert np.array_equal(net.weight.data, weight) == frozen
        assert not np.array_equal(net.bias.data, bias)


@backends
def test_parameters_that_are_replaced(backend: str) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    run = mynn.compile(net, backend=backend)
    x = ramp(2, 3) / 10
    run(x)
    net[0].weight = mynn.Parameter(np.ones((2, 3), np.float32))
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-6)
    net[0] = nn.Linear(3, 5)
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-6)
    net[1] = nn.ReLU()
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-6)
    net.append(nn.Linear(5, 1))
    np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-5)


# -- state -----------------------------------------------------------------------------------------


@backends
def test_closures_see_later_values(backend: str) -> None:
    scale = Tensor([2.0, 3.0])
    run = mynn.compile(lambda x: x * scale, backend=backend)
    np.testing.assert_array_equal(run(ramp(2)), [2, 6])
    scale.data = [10.0, 10.0]
    np.testing.assert_array_equal(run(ramp(2)), [10, 20])
    scale.data[0] = 0.0
    np.testing.assert_array_equal(run(ramp(2)), [0, 20])
    scale.assign(scale + 1)
    np.testing.assert_array_equal(run(ramp(2)), [1, 22])


@backends
def test_state_is_written(backend: str) -> None:
    count = Tensor(0, name="count")
    total = Tensor(np.zeros((2, 3)), name="total")

    @mynn.compile(backend=backend)
    def add(x: Any) -> Any:
        count.assign(count + 1)
        total.assign(total + x * count)
        return total.sum()

    values = [add(ramp(2, 3, dtype=np.float64)).item() for _ in range(3)]
    assert values == [21, 63, 126]
    assert count.item() == 3
    assert count.dtype == np.int64
    np.testing.assert_array_equal(total.data, 6 * ramp(2, 3))
    total.data = np.zeros((2, 3))
    assert add(np.zeros((2, 3))).item() == 0


@backends
def test_programs_share_state(backend: str) -> None:
    weight = Tensor([1.0])

    def function(x: Any) -> Any:
        weight.assign(weight * x.sum())
        return weight

    one, two = (mynn.compile(function, backend=b) for b in (backend, "native"))
    one(ramp(1) + 1)
    two(ramp(2))
    one(np.full((3, 3), 2.0, np.float32))
    assert weight.item() == 2 * 3 * 18


@backends
def test_state_with_an_axis_order(backend: str) -> None:
    """A weight stored input-major stays where it is, and reads as its logical shape."""
    net = nn.Linear(3, 5)
    run = mynn.compile(step_of(net, optim.SGD(net.parameters(), lr=0.01)), backend=backend)
    x, t = ramp(2, 3), ramp(2, 5)
    twin = copy.deepcopy(net)
    eager = step_of(twin, optim.SGD(twin.parameters(), lr=0.01))
    for _ in range(3):
        view = net.weight.data
        got, expected = run(x, t), eager(x, t)
        twin.zero_grad()
        np.testing.assert_allclose(got, expected.item(), rtol=1e-5)
        np.testing.assert_allclose(net.weight.data, twin.weight.data, rtol=1e-5)
    assert view.base is net.weight.data.base
    assert net.weight.shape == (5, 3)


@backends
def test_copies_train_apart(backend: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    mynn.compile(net, backend=backend)(ramp(2, 3))
    twin = copy.deepcopy(net)
    before = [p.numpy() for p in twin.parameters()]
    run = mynn.compile(step_of(net, optim.SGD(net.parameters(), lr=0.1)), backend=backend)
    run(ramp(4, 3), ramp(4, 2))
    for old, same, new in zip(before, twin.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(old, same.data)
        assert not np.array_equal(old, new.data)
    other = mynn.compile(step_of(twin, optim.SGD(twin.parameters(), lr=0.1)), backend=backend)
    other(ramp(4, 3), ramp(4, 2))
    for a, b in zip(twin.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@backends
def test_an_error_while_tracing_changes_nothing(backend: str) -> None:
    weight = Tensor([1.0, 2.0], requires_grad=True)

    @mynn.compile(backend=backend)
    def bad(x: Any) -> Any:
        loss = (weight * x).sum()
        loss.backward()
        weight.assign(weight * 0.0)
        return weight @ np.ones((5, 5), np.float32)

    with pytest.raises(ShapeError):
        bad(ramp(2))
    np.testing.assert_array_equal(weight.data, [1, 2])
    assert weight.grad is None
    np.testing.assert_array_equal((weight * 2).numpy(), [2, 4])  # no trace is left open


# -- methods and nesting ---------------------------------------------------------------------------


class Trainer:
    def __init__(self, lr: float) -> None:
        self.net = nn.Linear(2, 1)
        self.optimizer = optim.SGD(self.net.parameters(), lr=lr)

    @mynn.compile
    def step(self, x: Any, t: Any) -> Any:
        """One step."""
        return step_of(self.net, self.optimizer)(x, t)


def test_methods() -> None:
    one, two = Trainer(0.1), Trainer(0.0)
    x, t = ramp(4, 2), ramp(4, 1)
    before = two.net.weight.numpy()
    first = one.step(x, t)
    assert one.step(x, t) != first
    assert two.step(x, t) == two.step(x, t)
    np.testing.assert_array_equal(before, two.net.weight.data)
    assert one.step is one.step
    assert one.step is not two.step
    assert isinstance(Trainer.step, compiled.Compiled)
    assert Trainer.step.__doc__ == "One step."
    history = mynn.fit(one.step, (x, t), epochs=2, batch_size=2)
    assert history.steps == 4


def test_methods_do_not_keep_their_object_alive() -> None:
    one = Trainer(0.1)
    one.step(ramp(4, 2), ramp(4, 1))
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_copied_objects_have_methods_of_their_own() -> None:
    one = Trainer(0.1)
    one.step(ramp(4, 2), ramp(4, 1))
    two = copy.deepcopy(one)
    before = one.net.weight.numpy()
    two.step(ramp(4, 2), ramp(4, 1))
    np.testing.assert_array_equal(one.net.weight.data, before)
    assert not np.array_equal(two.net.weight.data, before)


@backends
def test_compiled_functions_call_each_other(backend: str) -> None:
    inner = mynn.compile(lambda x: x * x, backend=backend)
    outer = mynn.compile(lambda x: inner(x).sum() + inner(x=x)[0], backend=backend)
    assert outer(ramp(3)) == 15
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    forward = mynn.compile(net, backend=backend)
    before = net.weight.numpy()
    forward(ramp(4, 2))
    mynn.compile(step_of(forward, optimizer), backend=backend)(ramp(4, 2), ramp(4, 1))
    assert not np.array_equal(net.weight.data, before)


@backends
def test_derivatives(backend: str) -> None:
    def function(x: Any) -> Any:
        return (x * x * x + x.sin()).sum()

    x = np.linspace(-1, 1, 7)
    first = mynn.compile(mynn.grad(function), backend=backend)
    second = mynn.compile(mynn.grad(lambda x: mynn.grad(function)(x).sum()), backend=backend)
    third = mynn.compile(
        mynn.grad(lambda x: mynn.grad(lambda y: mynn.grad(function)(y).sum())(x).sum()),
        backend=backend,
    )
    np.testing.assert_allclose(first(x), 3 * x**2 + np.cos(x), rtol=1e-12)
    np.testing.assert_allclose(second(x), 6 * x - np.sin(x), rtol=1e-12)
    np.testing.assert_allclose(third(x), 6 - np.cos(x), rtol=1e-12)


@backends
def test_gradient_of_a_gradient_through_parameters(backend: str) -> None:
    """A penalty on the gradient with respect to the input, differentiated by the weights."""
    wide = np.float64
    net = nn.Sequential(nn.Linear(3, 4, dtype=wide), nn.Tanh(), nn.Linear(4, 1, dtype=wide))
    weights = list(net.parameters())

    def penalty(x: Any) -> Any:
        slope = mynn.grad(lambda x: net(x).sum())(x)
        value = (slope * slope).sum()
        value.backward()
        return (value, *(p.grad for p in weights if p.grad is not None))

    x = np.random.default_rng(0).normal(size=(5, 3))
    value, *gradients = mynn.compile(penalty, backend=backend)(x)
    assert len(gradients) == 3
    step = 1e-6
    first = weights[0].data
    first[1, 2] += step
    above = mynn.compile(penalty, backend=backend)(x)[0]
    np.testing.assert_allclose((above - value) / step, gradients[0][1, 2], rtol=1e-4)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["text", object(), {1, 2}, 1j, lambda: 0])
def test_what_cannot_be_returned(value: Any) -> None:
    with pytest.raises((UsageError, DTypeError), match=f"{type(value).__name__}|complex"):
        mynn.compile(lambda x: (x, value))(ramp(2))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: float(x.sum()),
        lambda x: x * int(x[0]),
        lambda x: x.item(),
        lambda x: x.numpy(),
        lambda x: np.tanh(x),
        lambda x: np.asarray(x) + 1,
        lambda x: x.data + 1,
        lambda x: x.tolist(),
        lambda x: [i for i in range(10) if i < x.max()],
    ],
)
def test_values_are_not_known_while_tracing(use: Any) -> None:
    """Whatever asks a traced tensor for its value is told what it is."""
    with pytest.raises(UsageError, match="trac"):
        mynn.compile(use)(ramp(2))


@pytest.mark.parametrize("value", ["text", object(), 1j, np.array(["a"]), np.zeros(2, complex)])
def test_arguments_that_are_no_data(value: Any) -> None:
    with pytest.raises(DTypeError, match="not supported"):
        mynn.compile(lambda x: x)(value)


def test_wrong_use_of_compile() -> None:
    no_function: Any = [1, 2]
    with pytest.raises(ArgumentError, match=r"backend.*'numba'"):
        mynn.compile(lambda x: x, backend="numba")
    with pytest.raises(ArgumentError, match="list"):
        mynn.compile(no_function)
    with pytest.raises(TypeError, match="argument"):
        mynn.compile(lambda x: x)(1.0, 2.0)


def test_errors_name_the_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(ShapeError, match=r"1.*Linear.*5"):
        mynn.compile(net)(ramp(2, 3))


@backends
def test_labels_out_of_range(backend: str) -> None:
    net = nn.Linear(2, 3)
    run = mynn.compile(
        step_of(net, optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss()), backend=backend
    )
    x = ramp(4, 2)
    run(x, np.array([0, 1, 2, 0]))
    before = net.weight.numpy()
    for bad in (3, -1, 2**40):
        with pytest.raises(DataError, match=f"{bad}"):
            run(x, np.array([0, 1, bad, 0]))
    np.testing.assert_array_equal(before, net.weight.data)


# -- backends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_backends_agree(name: str, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(dtype)
    t = np.sin(x[:, :2])
    results = []
    for backend in BACKENDS:
        mynn.manual_seed(3)
        first, last = nn.Linear(3, 7, dtype=dtype), nn.Linear(7, 2, dtype=dtype)
        net = nn.Sequential(first, nn.Dropout(0.2), nn.GELU(), last)
        optimizer = getattr(optim, name)(net.parameters(), lr=0.01)
        run = mynn.compile(step_of(net, optimizer), backend=backend)
        losses = [run(x, t) for _ in range(5)]
        assert all(loss.dtype == dtype for loss in losses)
        results.append([*losses, *(p.numpy() for p in net.parameters())])
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture
def no_llvm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LLVM that cannot make code for this processor."""

    def fails() -> None:
        raise RuntimeError("LLVM ERROR: 64-bit code requested\nmore")

    monkeypatch.setattr(native, "self_test", fails)
    compiled.native_available.cache_clear()
    yield
    compiled.native_available.cache_clear()


@pytest.mark.usefixtures("no_llvm")
def test_without_llvm_it_runs_interpreted(capfd: pytest.CaptureFixture[str]) -> None:
    run = mynn.compile(lambda x: x + 1)
    np.testing.assert_array_equal(run(ramp(3)), ramp(3) + 1)
    np.testing.assert_array_equal(run(ramp(4)), ramp(4) + 1)
    mynn.compile(lambda x: x * 2)(ramp(4))
    assert isinstance(run.program(ramp(3)), InterpretedProgram)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "64-bit code requested" in err
    assert "interpreted" in err


def test_without_llvmlite_it_runs_interpreted() -> None:
    """A process in which llvmlite cannot be imported."""
    code = (
        "import sys; sys.modules['llvmlite'] = sys.modules['llvmlite.binding'] = None\n"
        "import numpy, mynn\n"
        "f = mynn.compile(lambda x: x + 1)\n"
        "print(f(numpy.ones(2)), f(numpy.ones(3)), f.program(numpy.ones(2)).backend)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[2. 2.] [2. 2. 2.] interpreter\n"
    assert done.stderr.count("no native code") == 1
    assert done.stderr.count("\n") == 1


# -- programs as objects ---------------------------------------------------------------------------


def test_programs_outlive_what_made_them() -> None:
    def made() -> Any:
        weight = Tensor(ramp(33, 33))
        return mynn.compile(lambda x: x @ weight).program(ramp(2, 33))

    program = made()
    expected = ramp(2, 33) @ ramp(33, 33)
    gc.collect()
    junk = [np.full((33, 48), np.nan, np.float32) for _ in range(50)]
    np.testing.assert_allclose(program([ramp(2, 33)])[0], expected, rtol=1e-5)
    assert len(junk) == 50


def test_threads_with_programs_of_their_own() -> None:
    """Native code runs without the interpreter's lock."""
    wrong: list[str] = []

    def work(number: int) -> None:
        weight = Tensor(ramp(16, 16) * number)
        run = mynn.compile(lambda x: (x @ weight).sum())
        for i in range(200):
            x = np.full((4, 16), float(i % 7), np.float32)
            expected = float((x @ weight.data).sum())
            if abs(run(x).item() - expected) > 1e-4 * abs(expected):
                wrong.append(f"{number} {i}")

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@backends
def test_threads_with_one_program(backend: str) -> None:
    """The memory of a program serves one call at a time; modes are those of each thread."""
    weight = Tensor(np.eye(64, dtype=np.float32), requires_grad=True)
    run = mynn.compile(lambda x: x @ weight, backend=backend)
    wrong = []

    def work(number: float) -> None:
        x = np.full((64, 64), number, np.float32)
        for i in range(100):
            with mynn.no_grad():
                if not np.array_equal(run(x), x) or (Tensor(x) * weight).requires_grad:
                    wrong.append(f"{number} {i}")

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert (weight * 2.0).requires_grad
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_of_programs_is_given_back() -> None:
    def cycle(count: int) -> None:
        for _ in range(count):
            weight = Tensor(np.ones((64, 64), np.float32))

            def function(x: Any, weight: Tensor = weight) -> Any:
                return x @ weight

            mynn.compile(lambda x, f=function: f(x))(ramp(2, 64))

    cycle(20)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cycle(200)
    gc.collect()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000, f"{grown} KiB"  # 200 KiB each, if nothing were given back: 40 MB
