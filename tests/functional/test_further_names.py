"""Windows, differences, functions of matrices, switches: beside PyTorch, and what is refused."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn
from mynn.errors import ArgumentError, DTypeError, MynnError, ShapeError, UsageError
from mynn.utils import tensorboard

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
WINDOWS = ("hann", "hamming", "blackman", "bartlett", "kaiser")


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    for length in (0, 1, 2, 7, 8):
        for periodic in (True, False):
            ours = getattr(mynn, f"{name}_window")(length, periodic, dtype=mynn.float64)
            theirs = getattr(torch, f"{name}_window")(length, periodic, dtype=torch.float64)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-12)
    assert getattr(mynn, f"{name}_window")(5, requires_grad=True).requires_grad


# Called with mynn or PyTorch, and tensors of it.
SAME: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "det": (lambda t, x: x.det(), (X[:, :3],)),
    "methods": (lambda t, x: x.slogdet()[1] + x.inverse().sum(), (X[:, :3],)),
    "pinverse": (lambda t, x: x.pinverse(), (X,)),
    "cross": (lambda t, x: x.cross(x.flip(1), dim=0), (X,)),
    "exponential": (lambda t, x: x.matrix_exp(), (X[:, :3],)),
    "lu": (lambda t, x: t.linalg.lu(x)[1] @ t.linalg.lu(x)[2], (X,)),
    "addmv_": (lambda t, x: (x[:, 0] * 1).addmv_(x, x[1], beta=2), (X,)),
    "addr_": (lambda t, x: (x * 1).addr_(x[:, 0], x[1], alpha=3), (X,)),
    "addbmm_": (lambda t, x: (x[:, :3] * 1).addbmm_(x[None], x.mT[None]), (X,)),
    "baddbmm_": (lambda t, x: (x[None, :, :3] * 1).baddbmm_(x[None], x.mT[None]), (X,)),
    "tril_": (lambda t, x: (x * 1).tril_(), (X,)),
    "addmm_": (lambda t, x: (x[:, :3] * 1).addmm_(x, x.mT), (X,)),
    "triu_": (lambda t, x: (x * 1).triu_(1), (X,)),
    "renorm_": (lambda t, x: (x * 1).renorm_(2, 0, 1.0), (X,)),
    "detach": (lambda t, x: t.detach(x) * x, (X,)),
    "sum_to_size": (lambda t, x: x.sum_to_size(1, 4) + x.sum_to_size(4), (X,)),
    "narrow_copy": (lambda t, x: x.narrow_copy(1, 1, 2), (X,)),
    "as_strided": (lambda t, x: x.as_strided((3, 2, 4), (2, 1, 1), 1), (X,)),
    "vander": (lambda t, x: t.vander(x[0].detach(), 3) * x[0].sum(), (X,)),
    "prelu": (lambda t, x: x.prelu(x[0, 0].abs()), (X,)),
    "hardshrink": (lambda t, x: x.hardshrink(0.3), (X,)),
}


@pytest.mark.parametrize("name", SAME)
def test_names_that_pytorch_has(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    function, arrays = SAME[name]
    ours = [Tensor(one, requires_grad=True) for one in arrays]
    theirs = [torch.tensor(one, requires_grad=True) for one in arrays]
    results = function(mynn, *ours), function(torch, *theirs)
    np.testing.assert_allclose(results[0].detach(), results[1].detach(), atol=1e-10)
    for result in results:
        (result * result.detach().cos()).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), atol=1e-9)


def test_values_in_place_and_drawn() -> None:
    torch: Any = pytest.importorskip("torch")
    for shape in ((3, 3), (2, 5), (7, 2), (2, 2, 2)):
        for wrap in (False, True):
            ours = mynn.zeros(shape).fill_diagonal_(2.0, wrap)
            assert ours.tolist() == torch.zeros(shape).fill_diagonal_(2.0, wrap).tolist()
    assert mynn.zero_(mynn.ones(2)).tolist() == [0, 0]
    assert mynn.fill_(mynn.ones(2), 3).tolist() == [3, 3]
    x = mynn.tensor([0.0, 1.0])
    assert x.multinomial(5, replacement=True).tolist() == [1] * 5
    assert x.bernoulli().tolist() == [0, 1]
    assert x.new(2, 3).shape == (2, 3)
    assert x.new([1, 2]).dtype == np.float32
    assert x.is_same_size(mynn.zeros(2))
    assert mynn.is_signed(x)
    assert isinstance(nn.utils.skip_init(nn.Linear, 2, 3), nn.Linear)


def test_sequences_are_padded() -> None:
    torch: Any = pytest.importorskip("torch")
    parts = [RNG.normal(size=(n, 2)) for n in (3, 1, 4)]
    for first in (False, True):
        for side in ("right", "left"):
            found = [
                lib.nn.utils.rnn.pad_sequence([lib.tensor(p) for p in parts], first, -1.0, side)
                for lib in (mynn, torch)
            ]
            np.testing.assert_array_equal(found[0], found[1])
        whole = nn.utils.rnn.pad_sequence(parts, first)
        for part, again in zip(
            parts, nn.utils.rnn.unpad_sequence(whole, [3, 1, 4], first), strict=True
        ):
            np.testing.assert_array_equal(again, part)
    order = nn.utils.rnn.invert_permutation(mynn.tensor([2, 0, 1]))
    assert order is not None
    assert order.tolist() == [1, 2, 0]
    x = Tensor(parts[0], requires_grad=True)
    nn.utils.rnn.pad_sequence([x, parts[1]]).sum().backward()
    assert x.grad is not None
    assert (x.grad == 1).all()


def test_a_matrix_of_any_norm_has_an_exponential() -> None:
    torch: Any = pytest.importorskip("torch")
    for scale in (0.0, 1e-3, 1.0, 40.0):
        a = RNG.normal(size=(2, 4, 4)) * scale
        expected = torch.matrix_exp(torch.tensor(a)).numpy()
        compiled: Any = mynn.compile(mynn.matrix_exp)
        for found in (mynn.matrix_exp(a).numpy(), compiled(a)):
            largest = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * largest)
    assert np.isnan(mynn.matrix_exp(np.full((2, 2), np.nan)).numpy()).all()


def test_factors_of_any_shape() -> None:
    for shape in ((4, 4), (2, 3, 5), (5, 3), (1, 1), (0, 0), (2, 0, 3)):
        a = RNG.normal(size=shape)
        compiled: Any = mynn.compile(lambda a: tuple(mynn.linalg.lu(a)))
        for p, lower, upper in (map(np.asarray, mynn.linalg.lu(a)), compiled(a)):
            np.testing.assert_allclose(p @ lower @ upper, a, atol=1e-12)
            np.testing.assert_allclose(lower, np.tril(lower))
            np.testing.assert_allclose(upper, np.triu(upper))
            assert np.abs(lower).max(initial=0) <= 1


def test_top_values_of_every_kind() -> None:
    torch: Any = pytest.importorskip("torch")
    x = np.array([[1.5, np.nan, -np.inf, np.inf, 0.5], [2.0, 1.0, 3.0, np.nan, np.nan]], np.float32)
    for largest in (True, False):
        for k in (1, 3, 5):
            expected = torch.tensor(x).topk(k, largest=largest).values.numpy()
            compiled: Any = mynn.compile(lambda x, k=k, up=largest: tuple(x.topk(k, largest=up)))
            np.testing.assert_array_equal(Tensor(x).topk(k, largest=largest).values, expected)
            values, places = compiled(x)
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_array_equal(np.take_along_axis(x, places, 1), expected)


def test_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_THREADS", "auto")
    mynn.set_num_threads(1)
    assert mynn.get_num_threads() == 1
    mynn.use_deterministic_algorithms(True, warn_only=True)
    assert mynn.get_deterministic_debug_mode() == 1
    mynn.set_deterministic_debug_mode("default")
    assert not mynn.are_deterministic_algorithms_enabled()
    mynn.set_float32_matmul_precision("high")
    assert mynn.get_float32_matmul_precision() == "high"
    mynn.set_default_device("cpu")
    assert str(mynn.get_default_device()) == "cpu"
    with mynn.autograd.set_detect_anomaly(True), mynn.autograd.detect_anomaly():
        pass


def test_a_writer_of_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def add_scalar(self, name: str, value: Any, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append("closed")

    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="tensorboardX is not installed; install it"):
        tensorboard.SummaryWriter()
    fake = types.ModuleType("tensorboardX")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: fake)
    with tensorboard.SummaryWriter("runs") as writer:
        writer.add_scalar("loss", mynn.tensor(0.5), 3)
    assert written == [("loss", 0.5, 3), "closed"]
    assert writer.folder == "runs"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mynn.hann_window(-1), ArgumentError, "0 or more, it is -1"),
        (lambda: mynn.hann_window(3, dtype=mynn.int64), DTypeError, "give mynn.float32"),
        (lambda: mynn.gradient(X, spacing=[1.0, 2.0, 3.0]), ArgumentError, "3 spacings for 2"),
        (lambda: mynn.trapezoid(X, X, dx=1.0), ArgumentError, "x or dx, not both"),
        (lambda: mynn.cov(X, fweights=[1, 2]), ShapeError, r"must be \[4\]"),
        (lambda: Tensor(X).as_strided((9,), (2,)), ShapeError, "last place is 16"),
        pytest.param(
            lambda: Tensor(X).T.as_strided((2,), (1,)),
            UsageError,
            r"x.clone\(\)",
            marks=pytest.mark.at_once("it is an error at the look", first_calls=True),
        ),
        (lambda: mynn.linalg.lu(X, pivot=False), ArgumentError, "leave it"),
        (lambda: mynn.matrix_exp(X), ShapeError, "square"),
        (lambda: Tensor(X).fill_diagonal_(1, wrap=3).sum_to_size(2), MynnError, "sum_to_size"),
        (lambda: nn.utils.rnn.pad_sequence([]), MynnError, "no sequences"),
        (lambda: nn.utils.rnn.pad_sequence([X, X.T]), ShapeError, "alike but for their lengths"),
        (lambda: nn.utils.rnn.pad_sequence([X], padding_side="up"), ArgumentError, "left"),
        (lambda: mynn.set_num_threads(0), ArgumentError, "at least 1"),
        (lambda: mynn.set_default_device("cuda"), ArgumentError, "cpu"),
        (lambda: mynn.set_float32_matmul_precision("low"), ArgumentError, "highest"),
        (lambda: mynn.set_deterministic_debug_mode(7), ArgumentError, "must be one of"),
        (lambda: Tensor(np.zeros((2, 0))).mode(), ShapeError, "empty"),
    ],
)
def test_refusals(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
