"""Every in-place method and operator against PyTorch: values, dtypes, gradients, refusals."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, Tensor
from mynn.errors import DTypeError, IndexRangeError, MynnError, ShapeError, UsageError
from mynn.tensor.methods.inplace_functions import InPlaceFunctions

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:index_reduce")

W = np.array([[0.5, -1.2, 2.5], [1.7, 0.25, -0.4]], np.float32)
V = np.array([[1.5, 0.7, 2.0], [0.3, 1.1, 4.0]], np.float32)
WHOLE = np.array([[3, -5, 2], [7, 1, 4]])


def method(name: str, *arguments: Any, **named: Any) -> Callable[..., Any]:
    """A call of a method; arrays among the arguments become tensors."""

    def call(lib: Any, x: Any) -> Any:
        own = torch.tensor if lib is torch else Tensor
        ready = [_given(own, a) for a in arguments]
        return getattr(x, name)(*ready, **named)

    return call


def _given(own: Any, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_given(own, one) for one in value)
    return own(value) if isinstance(value, np.ndarray) else value


PLACES = np.array([2, 0])
CALLS: dict[str, Callable[..., Any]] = {
    "add_": method("add_", V, alpha=2),
    "sub_": method("sub_", V[0]),
    "mul_": method("mul_", V),
    "div_": method("div_", V),
    "pow_": method("pow_", 3),
    "pow_ float": method("pow_", 2.0),
    "remainder_": method("remainder_", 2),
    "bitwise_and_": method("bitwise_and_", WHOLE),
    "bitwise_or_": method("bitwise_or_", WHOLE),
    "bitwise_xor_": method("bitwise_xor_", WHOLE),
    "copy_": method("copy_", V[:1]),
    "fill_": method("fill_", 2.5),
    "zero_": method("zero_"),
    "neg_": method("neg_"),
    "abs_": method("abs_"),
    "sign_": method("sign_"),
    "exp_": method("exp_"),
    "expm1_": method("expm1_"),
    "log_": method("log_"),
    "log1p_": method("log1p_"),
    "sqrt_": method("sqrt_"),
    "sin_": method("sin_"),
    "cos_": method("cos_"),
    "tanh_": method("tanh_"),
    "sigmoid_": method("sigmoid_"),
    "erf_": method("erf_"),
    "relu_": method("relu_"),
    "floor_": method("floor_"),
    "clip_": method("clip_", -0.5, 1),
    "clamp_": method("clamp_", min=0),
    "lerp_": method("lerp_", V, 0.25),
    "addcmul_": method("addcmul_", V, V, value=2),
    "addcdiv_": method("addcdiv_", V, V + 1),
    "masked_fill_": method("masked_fill_", V > 1, 3),
    "fill_diagonal_": method("fill_diagonal_", 3),
    "index_fill_": method("index_fill_", 1, PLACES, 3),
    "index_copy_": method("index_copy_", 1, PLACES, V[:, :2].copy()),
    "index_add_": method("index_add_", -1, np.array([1, 1]), V[:, :2].copy(), alpha=3),
    "scatter_add_": method("scatter_add_", 1, np.array([[0, 0], [2, 1]]), V[:, :2].copy()),
    "scatter_": method("scatter_", 1, np.array([[0, 1], [2, 1]]), V[:, :2].copy()),
    "scatter_ number": method("scatter_", 1, np.array([[0, 0], [2, 1]]), value=3),
    "scatter_reduce_ prod": method(
        "scatter_reduce_", 0, np.array([[0, 1, 1], [0, 0, 1]]), V, "prod"
    ),
    "scatter_reduce_ amax": method(
        "scatter_reduce_", 0, np.array([[0, 1, 1]]), V, "amax", include_self=False
    ),
    "index_reduce_": method("index_reduce_", 1, np.array([2, 0, 2]), V + 1, "amin"),
    "masked_scatter_": method("masked_scatter_", V > 1, V),
    "index_put_": method("index_put_", (PLACES[1:], PLACES[:1]), V[0, :1].copy()),
    "index_put_ added": method(
        "index_put_", (np.array([1, 1]), np.array([2, 2])), V[0, :2].copy(), accumulate=True
    ),
    "put_": method("put_", np.array([[4, 0]]), V[:1, :2].copy()),
    "put_ added": method("put_", np.array([[4, 4]]), V[:1, :2].copy(), True),
}
# In-place names that are compared elsewhere.
ELSEWHERE = {
    "bitwise_right_shift_": "PyTorch's is the arithmetic shift",
    "uniform_": "test_random_numbers_in_place",
    "normal_": "test_random_numbers_in_place",
    "bernoulli_": "test_random_numbers_in_place",
    "requires_grad_": "test_history_in_place",
    "detach_": "test_history_in_place",
}
LOOKS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda y: y,
    "row": lambda y: y[:, :],
    "turned back": lambda y: y.transpose(0, 1).transpose(0, 1),
    "flat": lambda y: y.reshape(6).reshape(2, 3),
    "flipped": lambda y: y.flip((0, 1)).flip((0, 1)) if isinstance(y, Tensor) else y,
}


def test_every_name_is_compared() -> None:
    names = {n for n in dir(Tensor) if n.endswith("_") and n[0] != "_" and hasattr(torch.Tensor, n)}
    made = {n for n in vars(InPlaceFunctions) if n.endswith("_") and n[0] != "_"}
    assert names == {call.split()[0] for call in CALLS} | ELSEWHERE.keys() | made
    assert {n for n in dir(Tensor) if n.endswith("_") and n[0] != "_"} == names


def test_every_operator_has_its_form_in_place() -> None:
    """Without it Python would bind the name to another tensor, and nothing would be changed."""
    for name in dir(operator):
        plain = f"__{name.strip('_')[1:]}__"
        if name.startswith("__i") and hasattr(Tensor, plain) and hasattr(torch.Tensor, name):
            assert hasattr(Tensor, name), name


def _outcome(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        return type(error)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("look", "backend"),
    [
        *((look, backend) for look in LOOKS for backend in ("eager", "interpreter")),
        ("flat", "native"),
    ],
)
@pytest.mark.parametrize("name", CALLS)
def test_floats(name: str, backend: str, look: str) -> None:
    def run(lib: Any, p: Any) -> Any:
        y = p * 1
        result = CALLS[name](lib, LOOKS[look](y))
        if name.startswith("bitwise"):
            return result, None
        weights = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
        (y * (torch.tensor(weights) if lib is torch else weights)).sum().backward()
        return result, p.grad

    theirs = _outcome(lambda: run(torch, torch.nn.Parameter(torch.tensor(W))))
    p = Parameter(W)
    step = (lambda: run(mynn, p)) if backend == "eager" else None
    step = step or mynn.compile(lambda: run(mynn, p), backend=backend)
    if isinstance(theirs, type):
        with pytest.raises(MynnError):
            step()
        return
    _assert_same(step(), theirs)


def _assert_same(ours: Any, theirs: Any) -> None:
    """No gradient at all is one of zero."""
    for a, b in zip(ours, theirs, strict=True):
        wanted = 0 if b is None else b.detach().numpy()
        array = a.numpy() if isinstance(a, Tensor) else 0 if a is None else a
        np.testing.assert_allclose(array, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CALLS)
def test_integers(name: str) -> None:
    theirs = _outcome(lambda: CALLS[name](torch, torch.tensor(WHOLE)).numpy())
    if isinstance(theirs, type):
        with pytest.raises(MynnError):
            CALLS[name](mynn, Tensor(WHOLE))
        with pytest.raises(MynnError):
            mynn.compile(lambda x: CALLS[name](mynn, x))(WHOLE)
        return
    x = Tensor(WHOLE)
    ours = CALLS[name](mynn, x)
    assert ours is x
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours.numpy(), theirs)
    compiled = mynn.compile(lambda x: CALLS[name](mynn, x))(WHOLE)
    assert compiled.dtype == theirs.dtype
    np.testing.assert_array_equal(compiled, theirs)


# -- x[index] = value ------------------------------------------------------------------------------

MASK = np.array([[True, False, True], [False, True, False]])
INDEXED: dict[str, tuple[Any, Any]] = {
    "number": (1, 2.0),
    "negative": ((-1, -2), 2.0),
    "slice": ((slice(None), slice(1, None)), V[:, :2].copy()),
    "step": ((slice(None), slice(None, None, 2)), V[0, :2].copy()),
    "none": ((None, 1), V[:1]),
    "dots": ((..., 0), V[:, 0].copy()),
    "everything": (..., V),
    "leading ones": ((0, slice(None)), V[None, None, 0]),
    "list": ([1, 0], V),
    "list of one": ([1], V[:1]),
    "array": ((slice(None), PLACES), V[:, :2].copy()),
    "array of two axes": ((slice(None), np.array([[0], [2]])), V[:, :2, None].copy()),
    "arrays": ((np.array([0, 1, 1]), np.array([2, 0, 1])), V[0]),
    "arrays, a number": ((np.array([0, 1, 1]), np.array([2, 0, 1])), 5),
    "negative array": ((np.array([-1]), 0), 3),
    "mask": (MASK, np.array([5.0, 6.0, 7.0], np.float32)),
    "mask, a number": (MASK, -1.0),
    "mask of rows": (np.array([False, True]), V[1]),
    "mask of columns": ((slice(None), np.array([False, True, True])), V[:, 1:].copy()),
    "nothing": (np.zeros((2, 3), bool), 1.0),
    "nothing, a slice": (slice(2, 2), 1.0),
    "too many": (MASK, V[0, :2].copy()),
    "wrong shape": (0, V[:, :2].copy()),
    "out of range": (2, 1.0),
    "out of range, an array": (np.array([0, 2]), 1.0),
    "too many axes": ((0, 0, 0), 1.0),
    "mask of another shape": (MASK[:, :2].copy(), 1.0),
}


def _as(lib: Any, entry: Any) -> Any:
    if isinstance(entry, tuple):
        return tuple(_as(lib, one) for one in entry)
    own = torch.tensor if lib is torch else Tensor
    return own(entry) if isinstance(entry, np.ndarray) else entry


@pytest.mark.one_in(5)
@pytest.mark.parametrize("kind", ["eager", "native", "interpreter", "plain"])
@pytest.mark.parametrize("name", INDEXED)
def test_assignment_to_an_index(name: str, kind: str) -> None:
    index, value = INDEXED[name]

    def run(lib: Any, p: Any, w: Any) -> Any:
        y = p * 2
        y[_as(lib, index) if lib is torch or kind != "native" else index] = w * 3
        (y * y).sum().backward()
        return y, p.grad, w.grad

    def both(lib: Any, make: Any) -> Any:
        return make(W), make(np.asarray(value, np.float32))

    leaves = both(torch, lambda a: torch.tensor(a, requires_grad=True))
    theirs = _outcome(lambda: run(torch, *leaves))
    p, w = both(mynn, lambda a: Tensor(a, requires_grad=True))
    step = (lambda: run(mynn, p, w)) if kind in ("eager", "plain") else None
    if kind == "plain":
        plain, x = torch.tensor(W), Tensor(W)
        if not isinstance(theirs, type):
            plain[_as(torch, index)] = torch.tensor(value) if _array(value) else value
            x[index] = value
            np.testing.assert_array_equal(x.numpy(), plain.numpy())
        return
    step = step or mynn.compile(lambda: run(mynn, p, w), backend=kind)
    if isinstance(theirs, type):
        with pytest.raises((MynnError, IndexError)):
            step()
        return
    _assert_same(step(), theirs)


def _array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def test_indices_that_a_trace_does_not_know() -> None:
    @mynn.compile
    def step(x: Any, i: Any, mask: Any, v: Any) -> Any:
        y, z, u = x * 1, x * 1, x * 1
        y[i] = v
        z[mask] = 7
        u[:, i[0]] += 1
        return y, z, u

    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    i, v = np.array([3, -4, 3]), np.arange(9, dtype=np.float32).reshape(3, 3)
    mask = x > 6
    wanted = [torch.tensor(x) for _ in range(3)]
    for row, values in zip(i, v, strict=True):
        wanted[0][row] = torch.tensor(values)
    wanted[1][torch.tensor(mask)] = 7
    i[0] = 2
    wanted[2][:, i[0]] += 1
    wanted[0] = torch.tensor(x)
    for row, values in zip(i, v, strict=True):
        wanted[0][row] = torch.tensor(values)
    for a, b in zip(step(x, i, mask, v), wanted, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    with pytest.raises(IndexRangeError):
        step(x, np.array([2, 4, 0]), mask, v)
    with pytest.raises(UsageError, match="depends on the mask"):
        mynn.compile(lambda x, m, v: x.__setitem__(m, v))(x, mask, x)
    with pytest.raises(DTypeError, match="an index holds"):
        Tensor(x)[np.array([0.5])] = 1


def test_a_loop_of_assignments_in_fit() -> None:
    """A sequence written step by step, with gradients, as PyTorch has it."""
    x = np.linspace(0, 1, 40, dtype=np.float32).reshape(8, 5)

    def loss_of(lib: Any, w: Any, x: Any) -> Any:
        out = lib.zeros(x.shape) if lib is torch else Tensor(np.zeros(x.shape, np.float32))
        state = x[:, 0] * 0
        for t in range(5):
            state = (state * w + x[:, t]).tanh()
            out[:, t] = state
        return ((out - 0.5) ** 2).mean()

    w = torch.tensor(0.5, requires_grad=True)
    own = Parameter(np.float32(0.5))

    @mynn.compile
    def step(x: Any) -> Any:
        loss = loss_of(mynn, own, x)
        loss.backward()
        with mynn.no_grad():
            own.sub_(own.grad, alpha=0.3)
        return loss

    history = mynn.fit(step, (x,), epochs=6, batch_size=4, shuffle=False, verbose=False)
    losses = []
    for _ in range(6):
        total = 0.0
        for batch in (x[:4], x[4:]):
            loss = loss_of(torch, w, torch.tensor(batch))
            loss.backward()
            with torch.no_grad():
                w -= 0.3 * w.grad
                w.grad.zero_()
            total += loss.item() / 2
        losses.append(total)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(own.item(), w.item(), rtol=1e-5)


# -- the rest --------------------------------------------------------------------------------------


def test_random_numbers_in_place() -> None:
    for draw, low, high in (
        (lambda x: x.uniform_(2, 3), 2, 3),
        (lambda x: x.normal_(10, 0.5), 7, 13),
        (lambda x: x.bernoulli_(0.5), 0, 1),
    ):
        x, y = Tensor(np.zeros((50, 4), np.float32)), Tensor(np.zeros((50, 4), np.float32))
        mynn.manual_seed(3)
        assert draw(x) is x
        assert low <= x.numpy().min() < x.numpy().max() <= high
        mynn.manual_seed(3)
        mynn.compile(lambda draw=draw, y=y: draw(y))()
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)
    assert set(Tensor(np.zeros(99, np.int64)).bernoulli_(0.5).tolist()) == {0, 1}
    with pytest.raises(DTypeError, match="normal_: fills tensors of floats"):
        Tensor([1, 2]).normal_()


def test_history_in_place() -> None:
    for traced in (False, True):

        def run(x: Any) -> Any:
            p = Tensor([1.0, 2.0]).requires_grad_()
            y = p * x
            z = y.tanh()
            y.detach_()
            assert (y.is_leaf, y.requires_grad, p.is_leaf) == (True, False, True)
            y.mul_(2)
            return z + y

        x = np.array([3.0, 4.0], np.float32)
        got = mynn.compile(run)(x) if traced else run(x)
        np.testing.assert_allclose(np.asarray(got), np.add(np.tanh([3, 8]), [6, 16]), rtol=1e-6)
    p = Tensor([1.0, 2.0]).requires_grad_()
    y = p * 2
    with pytest.raises(UsageError, match=r"requires_grad_\(False\)"):
        y.requires_grad_(False)
    with pytest.raises(UsageError, match="detach_: a view"):
        y[0].detach_()
    with pytest.raises(DTypeError, match="only floats have gradients"):
        Tensor([1]).requires_grad_()
    y.tanh().detach_()
    assert not p.requires_grad_(False).requires_grad


def test_a_history_in_place_asks_for_no_gradient() -> None:
    w, x = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0])
    x[0] = w[0]
    (x * x).sum().backward()
    assert x.grad is None
    assert w.grad is not None
    assert w.grad.tolist() == [2.0, 0.0]


def test_what_shows_one_value_in_several_places_cannot_be_written_to() -> None:
    x = Tensor([[1.0], [2.0]])
    with pytest.raises(UsageError, match="add_: the tensor comes from broadcast_to, which shows"):
        x.broadcast_to((2, 3)).add_(1)
    with pytest.raises(UsageError, match="windows, which shows"):
        Tensor(np.ones(5)).windows((0,), (2,), (1,), (1,)).zero_()
    with pytest.raises(ShapeError, match=r"fill_: takes one number"):
        x.fill_(np.ones(2))


def test_a_part_of_a_module_changed_in_place_is_no_new_part() -> None:
    net = mynn.nn.BatchNorm1d(3)
    step = mynn.compile(lambda x: net(x))
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    step(x)
    programs = sum(map(len, step._programs.values()))
    with mynn.no_grad():
        net.weight *= 2
        net.running_mean += 1
        net.bias[0] = 4
    np.testing.assert_allclose(step(x).mean(0), [4, 0, 0], atol=1e-5)
    assert sum(map(len, step._programs.values())) == programs
