"""Every function of `mynn` and `mynn.functional` that PyTorch has too, against PyTorch's.

Values, dtypes, shapes and gradients are compared, eager and compiled, and the names, order and
defaults of the arguments. A public name is in the tables or has a reason not to be.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn import functional as F
from mynn.errors import ArgumentError
from tests.tensor.parity import assert_parity

RNG = np.random.default_rng(3)


def floats(*shape: int, low: float = -2, high: float = 2) -> Any:
    return RNG.uniform(low, high, shape).astype(np.float32)


KINKS = np.array([[0.0, -0.0, np.nan, 30.0, -30.0], [1.0, -1.0, 0.5, -80.0, 90.0]], np.float32)
X, Y, IMAGE, SIGNAL = floats(3, 4), floats(3, 4), floats(2, 4, 6, 6), floats(2, 4, 9)
LABELS = np.array([0, 3, 1])
UNIT = floats(3, 4, low=0, high=1)
POSITIVE = floats(4, low=0.2, high=2)

Case = tuple[Callable[..., Any], tuple[Any, ...]]

FUNCTIONS: dict[str, list[Case]] = {
    "relu": [(lambda F, x: F.relu(x), (KINKS,))],
    "leaky_relu": [
        (lambda F, x: F.leaky_relu(x), (KINKS,)),
        (lambda F, x: F.leaky_relu(x, 0.3), (X,)),
    ],
    "silu": [(lambda F, x: F.silu(x), (X,))],
    "gelu": [
        (lambda F, x: F.gelu(x), (X,)),
        (lambda F, x: F.gelu(x, approximate="tanh"), (X,)),
    ],
    "tanh": [(lambda F, x: F.tanh(x), (KINKS,))],
    "sigmoid": [(lambda F, x: F.sigmoid(x), (KINKS,))],
    "softplus": [
        (lambda F, x: F.softplus(x), (X * 12,)),
        (lambda F, x: F.softplus(x, 2, 1), (X,)),
    ],
    "softmax": [
        (lambda F, x: F.softmax(x, 1), (X,)),
        (lambda F, x: F.softmax(x, dim=-2), (SIGNAL,)),
        (lambda F, x: F.softmax(x.sum(), 0), (X,)),
    ],
    "log_softmax": [(lambda F, x: F.log_softmax(x, 0), (X,))],
    "linear": [
        (lambda F, x, w: F.linear(x, w), (X, floats(5, 4))),
        (lambda F, x, w, b: F.linear(x, w, b), (floats(4), floats(5, 4), floats(5))),
    ],
    "dropout": [
        (lambda F, x: F.dropout(x, 0.4, False), (X,)),
        (lambda F, x: F.dropout(x, p=1.0), (X,)),
    ],
    "one_hot": [
        (lambda F, x: F.one_hot(x, 5), (LABELS,)),
        (lambda F, x: F.one_hot(x, num_classes=4), (LABELS.reshape(3, 1),)),
    ],
    "mse_loss": [
        (lambda F, x, y: F.mse_loss(x, y), (X, Y)),
        (lambda F, x, y: F.mse_loss(x, y, None, None, "none"), (X, Y)),
    ],
    "nll_loss": [
        (lambda F, x, t: F.nll_loss(x, t), (X, LABELS)),
        (
            lambda F, x, t, w: F.nll_loss(x, t, w.detach(), None, 3, None, "sum"),
            (X, LABELS, POSITIVE),
        ),
    ],
    "cross_entropy": [
        (lambda F, x, t: F.cross_entropy(x, t), (X, LABELS)),
        (
            lambda F, x, t, w: F.cross_entropy(x, t, w.detach(), None, -100, None, "mean", 0.1),
            (X, LABELS, POSITIVE),
        ),
        (lambda F, x: F.cross_entropy(x, x.exp(), reduction="none"), (X,)),
    ],
    "binary_cross_entropy_with_logits": [
        (lambda F, x, t: F.binary_cross_entropy_with_logits(x, t.detach()), (X, UNIT)),
        (
            lambda F, x, t, w: F.binary_cross_entropy_with_logits(
                x, t.detach(), w.detach(), None, None, "sum", w.detach()
            ),
            (X, UNIT, POSITIVE),
        ),
    ],
    "conv1d": [(lambda F, x, w: F.conv1d(x, w, None, 2, 1, 1, 2), (SIGNAL, floats(4, 2, 3)))],
    "conv2d": [
        (
            lambda F, x, w, b: F.conv2d(x, w, b, (1, 2), 1, (2, 1), 2),
            (IMAGE, floats(4, 2, 3, 3), floats(4)),
        )
    ],
    "conv_transpose1d": [
        (lambda F, x, w: F.conv_transpose1d(x, w, None, 2, 1, 1, 2), (SIGNAL, floats(4, 2, 3)))
    ],
    "conv_transpose2d": [
        (
            lambda F, x, w: F.conv_transpose2d(x, w, None, 2, 1, 1, 1, 1),
            (IMAGE, floats(4, 2, 3, 3)),
        )
    ],
    "max_pool1d": [(lambda F, x: F.max_pool1d(x, 3, 2, 1, 1, True), (SIGNAL,))],
    "max_pool2d": [(lambda F, x: F.max_pool2d(x, 2, ceil_mode=True), (IMAGE,))],
    "avg_pool1d": [(lambda F, x: F.avg_pool1d(x, 3, 2, 1, True, False), (SIGNAL,))],
    "avg_pool2d": [(lambda F, x: F.avg_pool2d(x, 3, 2, 1, False, True, 5), (IMAGE,))],
    "adaptive_avg_pool1d": [(lambda F, x: F.adaptive_avg_pool1d(x, 4), (SIGNAL,))],
    "adaptive_avg_pool2d": [(lambda F, x: F.adaptive_avg_pool2d(x, (4, None)), (IMAGE,))],
    "adaptive_max_pool1d": [(lambda F, x: F.adaptive_max_pool1d(x, 4), (SIGNAL,))],
    "adaptive_max_pool2d": [(lambda F, x: F.adaptive_max_pool2d(x, 2), (IMAGE,))],
    "batch_norm": [
        (
            lambda F, x, m, v, w, b: F.batch_norm(
                x, m.detach(), v.detach(), w, b, False, 0.3, 1e-3
            ),
            (IMAGE, POSITIVE, POSITIVE, POSITIVE, POSITIVE),
        ),
        (lambda F, x: F.batch_norm(x, None, None, training=True), (IMAGE,)),
    ],
    "layer_norm": [
        (
            lambda F, x, w, b: F.layer_norm(x, (4,), w, b, 1e-3),
            (X, POSITIVE, POSITIVE),
        )
    ],
    "rms_norm": [(lambda F, x, w: F.rms_norm(x, (4,), w), (X, POSITIVE))],
    "group_norm": [
        (lambda F, x, w, b: F.group_norm(x, 2, w, b, 1e-3), (IMAGE, POSITIVE, POSITIVE))
    ],
}

TOP: dict[str, list[Case]] = {
    "cat": [
        (lambda t, x, y: t.concatenate((x, y), 1), (X, Y)),
        (lambda t, x, y: t.concatenate([x, y], dim=-2), (X, LABELS[None].repeat(4, 0).T.copy())),
    ],
    "concatenate": [(lambda t, x, y: t.concatenate((x, y), axis=0), (X, Y))],
    "stack": [
        (lambda t, x, y: t.stack((x, y)), (X, Y)),
        (lambda t, x, y: t.stack((x, y), dim=-1), (X, Y)),
    ],
    "where": [
        (lambda t, x, y: t.where(x > 0, x, y), (X, Y)),
        (lambda t, x: t.where(condition=x > 0, input=x, other=0.5), (X,)),
    ],
    "maximum": [(lambda t, x, y: t.maximum(x, other=y), (KINKS, KINKS[::-1].copy()))],
    "minimum": [(lambda t, x, y: t.minimum(x, y), (KINKS, np.zeros_like(KINKS)))],
    "logsumexp": [
        (lambda t, x: _owner(t, "logsumexp")(x, 1), (X,)),
        (lambda t, x: _owner(t, "logsumexp")(x, (0, 1), True), (X,)),
        (lambda t, x: _owner(t, "logsumexp")(x, dim=-1, keepdim=True), (KINKS,)),
    ],
}


def _owner(module: Any, name: str) -> Any:
    """The function, which we have in `mynn.functional` where PyTorch has it at the top."""
    return getattr(module, name, None) or getattr(F, name)


# Functions of our own, which PyTorch does not have under the name there.
OURS = {"accuracy", "logistic"}
ELSEWHERE = {"cat", "concatenate", "stack", "where", "maximum", "minimum", "logsumexp"}

# What `mynn` has under a name of `torch` and is compared by other tests, or is meant otherwise.
TOP_REASONS = {
    "Generator": "made from a seed, not for a device; tests/test_random.py",
    "Tensor": "as torch.tensor: a number is a value, not the extent of an empty tensor",
    "__version__": "our own",
    "compile": "takes `backend` and `threads` of our own; tests/jit",
    "functional": "a module",
    "manual_seed": "other random numbers; tests/test_random.py",
    "nn": "a module; test_torch_layers.py",
    "no_grad": "tests/core/test_autodiff.py",
    "optim": "a module; test_torch_layers.py",
    "random": "a module of our own",
    "tensor": "`Tensor` under PyTorch's name; test_creation.py",
}

# Arguments that PyTorch has and we have not, or whose default differs.
ARGUMENT_REASONS = {
    ("cross_entropy", "ignore_index"): "None: a label of -100 is an error that names ignore_index",
    ("nll_loss", "ignore_index"): "as cross_entropy",
    ("mse_loss", "weight"): "not there yet",
    ("softmax", "_stacklevel"): "private",
    ("log_softmax", "_stacklevel"): "private",
    ("max_pool1d", "return_indices"): "not there yet",
    ("max_pool2d", "return_indices"): "not there yet",
    ("adaptive_max_pool1d", "return_indices"): "not there yet",
    ("adaptive_max_pool2d", "return_indices"): "not there yet",
}
# Our own arguments stand behind PyTorch's, by keyword where there is one by position.
OWN_ARGUMENTS = {"axis", "keepdims", "generator", "dtype"}


@pytest.mark.parametrize(
    ("name", "number"), [(k, i) for k, v in FUNCTIONS.items() for i in range(len(v))]
)
def test_function(name: str, number: int) -> None:
    torch = pytest.importorskip("torch")
    call, arrays = FUNCTIONS[name][number]
    theirs = torch.nn.functional
    assert_parity(lambda *x: call(F, *x), arrays, lambda *x: call(theirs, *x), rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize(
    ("name", "number"), [(k, i) for k, v in TOP.items() for i in range(len(v))]
)
def test_top_level_function(name: str, number: int) -> None:
    torch = pytest.importorskip("torch")
    call, arrays = TOP[name][number]
    assert_parity(
        lambda *x: call(mynn, *x), arrays, lambda *x: call(torch, *x), rtol=2e-5, atol=5e-6
    )


def test_every_name_is_compared_or_has_a_reason() -> None:
    torch = pytest.importorskip("torch")
    shared = {name for name in F.__all__ if hasattr(torch.nn.functional, name)}
    assert shared == FUNCTIONS.keys()
    assert set(F.__all__) - shared == OURS | ELSEWHERE
    assert TOP.keys() >= ELSEWHERE
    top = {name for name in mynn.__all__ if hasattr(torch, name)}
    assert top - TOP.keys() == TOP_REASONS.keys()


def _signature(function: Any) -> dict[str, Any]:
    """Names and defaults of arguments; of built-in functions by the first line of their text."""
    if inspect.isfunction(function) and "args" not in inspect.signature(function).parameters:
        parameters = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in parameters}
    text = re.search(r"\w+\((.*?)\) -> ", " ".join((function.__doc__ or "").split()))
    assert text, function
    pairs = [part.strip().partition("=") for part in re.split(r",(?![^(]*\))", text.group(1))]
    empty = inspect.Parameter.empty
    return {
        name.strip(): eval(value, {}) if equals else empty
        for name, equals, value in pairs
        if name not in ("*", "out")
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_have_their_names_order_and_defaults(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = _torch_arguments(torch, name)
    ours = _signature(getattr(F, name))
    extra = [one for one in ours if one not in theirs]
    assert set(extra) <= OWN_ARGUMENTS
    missing = {one for one in theirs if one not in ours and (name, one) not in ARGUMENT_REASONS}
    assert not missing
    order = [one for one in ours if one in theirs]
    assert order == [one for one in theirs if one in ours]
    for one in order:
        if (name, one) not in ARGUMENT_REASONS and ours[one] is not inspect.Parameter.empty:
            assert ours[one] == theirs[one], one


def _torch_arguments(torch: Any, name: str) -> dict[str, Any]:
    functional = torch.nn.functional
    if "max_pool" in name:  # dispatched on return_indices
        return _signature(getattr(functional, f"_{name}"))
    found = _signature(getattr(functional, name))
    if name == "one_hot":
        return {"input" if one == "tensor" else one: value for one, value in found.items()}
    return found


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_implicit_axis(name: str, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    x = floats(*shape)
    with pytest.warns(UserWarning, match="Implicit dimension"):
        expected = getattr(torch.nn.functional, name)(torch.tensor(x)).numpy()
    with pytest.warns(UserWarning, match=f"{name}: without dim"):
        got = getattr(F, name)(x).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_softmax_in_another_dtype() -> None:
    assert F.softmax([1.0, 2.0], 0, dtype=np.float64).dtype == np.float64
    assert F.softmax([1, 2], axis=0).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.logsumexp([1.0]), "logsumexp: dim is missing"),
        (lambda: F.softmax([1.0], 0, axis=0), "two names of one argument"),
        (lambda: F.cross_entropy(X, LABELS, None, True), "cross_entropy: size_average=True"),
        (
            lambda: F.mse_loss(X, X, reduce=False),
            'mse_loss: .*reduce=False: write reduction="mean"',
        ),
    ],
)
def test_refusals(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda F, x: F.relu(x, inplace=True),
    "leaky_relu": lambda F, x: F.leaky_relu(x, 0.1, True),
    "silu": lambda F, x: F.silu(x, inplace=True),
    "dropout": lambda F, x: F.dropout(x, 1.0, True, True),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name: str) -> None:
    torch = pytest.importorskip("torch")

    def function(module: Any) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            y = x * 2
            result = IN_PLACE[name](module, y)
            return y * 3 + result

        return run

    assert_parity(function(F), (X,), function(torch.nn.functional), rtol=1e-5)
    x = Tensor(X)
    assert IN_PLACE[name](F, x) is x


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "mod": lambda x, y: x % y,
    "pow": lambda x, y: abs(x) ** y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_all_dtypes(name: str) -> None:
    """Every pair of dtypes, of one axis and of none."""
    torch = pytest.importorskip("torch")
    values = {
        "uint8": np.array([1, 2, 200], np.uint8),
        "int32": np.array([-3, 2, 70000], np.int32),
        "int64": np.array([5, -2, 3], np.int64),
        "float32": np.array([0.5, -2.0, 3.0], np.float32),
        "float64": np.array([1.5, 2.0, -0.25]),
    }
    function = OPERATORS[name]
    for a, b in itertools.product(values, values):
        for x, y in ((values[a], values[b]), (values[a], values[b][0]), (values[a][0], values[b])):
            if name == "pow" and np.dtype(b).kind in "iu":
                y = abs(y)
            left, right = np.asarray(x), np.asarray(y)
            expected = function(torch.from_numpy(left), torch.from_numpy(right)).numpy()
            got = function(Tensor(left), Tensor(right)).numpy()
            assert got.dtype == expected.dtype, (a, b, left.shape, right.shape)
            np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=f"{a} {b}")


@pytest.mark.parametrize("way", ["eager", "compiled", "fit"])
def test_training_through_chosen_values(way: str) -> None:
    """Parameters after some steps on a loss of extrema, bounds, variances and exchanged axes."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    start = rng.normal(size=(4, 3)).astype(np.float32)
    data = rng.integers(-3, 4, (24, 4)).astype(np.float32)
    data[::3] = 0

    def loss(x: Any, w: Any) -> Any:
        y = x @ w
        best = y.max(1).values.sum() - y.min(dim=1)[0].sum() + y.amax((0, 1))
        spread = y.var(0).sum() + y.std(1, unbiased=False).detach().sum()
        inside = y.clamp(-1, 1).transpose(0, 1).sum() + y.relu().mean() + y.clip(max=0.0).sum()
        return best * 0.1 + spread + inside + (y.where(y > 0, y * 0.2) ** 3).mean()

    theirs = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.SGD([theirs], lr=0.01)
    for _ in range(2):
        for rows in np.split(data, 3):
            optimizer.zero_grad()
            loss(torch.tensor(rows), theirs).backward()
            optimizer.step()

    ours = mynn.Parameter(start)
    own = mynn.optim.SGD([ours], lr=0.01)

    def step(x: Any) -> Any:
        own.zero_grad()
        result = loss(x if isinstance(x, Tensor) else Tensor(x), ours)
        result.backward()
        own.step()
        return result

    if way == "fit":
        mynn.fit(step, (data,), epochs=2, batch_size=8, shuffle=False)
    else:
        run = mynn.compile(step) if way == "compiled" else step
        for _ in range(2):
            for rows in np.split(data, 3):
                run(rows)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=2e-5, atol=1e-6)
