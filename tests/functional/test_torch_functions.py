"""Functions of `mynn` and `mynn.functional` that PyTorch has too: the names, order and defaults of
their arguments, operators, what is in place. Their values are compared in `test_conformance.py`.
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
from tests.registry import FUNCTIONS
from tests.tensor.parity import assert_parity

RNG = np.random.default_rng(3)


def floats(*shape: int, low: float = -2, high: float = 2) -> Any:
    return RNG.uniform(low, high, shape).astype(np.float32)


X = floats(3, 4)
LABELS = np.array([0, 3, 1])


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

REASONS = {(entry.name, one): why for entry in FUNCTIONS for one, why in entry.differs.items()}
# Our own arguments stand behind PyTorch's, by keyword where there is one by position.
OWN_ARGUMENTS = {"axis", "keepdims", "generator", "dtype"}


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


def test_every_name_at_the_top_is_compared_or_has_a_reason() -> None:
    torch = pytest.importorskip("torch")
    top = {name for name in mynn.__all__ if hasattr(torch, name)}
    assert top - set(F.__all__) == TOP_REASONS.keys()


@pytest.mark.parametrize("name", [entry.name for entry in FUNCTIONS])
def test_arguments_have_their_names_order_and_defaults(name: str) -> None:
    torch = pytest.importorskip("torch")
    if not hasattr(torch.nn.functional, name):
        return
    theirs = _torch_arguments(torch, name)
    ours = _signature(getattr(F, name))
    extra = [one for one in ours if one not in theirs]
    assert set(extra) <= OWN_ARGUMENTS
    missing = {one for one in theirs if one not in ours and (name, one) not in REASONS}
    assert not missing
    order = [one for one in ours if one in theirs]
    assert order == [one for one in theirs if one in ours]
    for one in order:
        if (name, one) not in REASONS and ours[one] is not inspect.Parameter.empty:
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


@pytest.mark.one_in(3)
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
