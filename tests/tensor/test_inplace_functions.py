"""In-place forms that are made from methods, against PyTorch: values, gradients, draws."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from mynn import Tensor
from mynn.errors import ArgumentError
from mynn.tensor.methods.inplace_functions import InPlaceFunctions

torch = pytest.importorskip("torch")

DRAWN = {"random_", "exponential_", "geometric_", "cauchy_", "log_normal_"}
# Of matrices: tests/functional/test_further_names.py.
MATRICES = {
    *("addmm_", "addmv_", "addr_", "addbmm_", "baddbmm_", "tril_", "triu_", "renorm_"),
}
FUNCTIONS = sorted(name for name in vars(InPlaceFunctions) if name.endswith("_") and name[0] != "_")
PAIR = {
    *("atan2_", "arctan2_", "copysign_", "float_power_", "floor_divide_", "fmod_", "heaviside_"),
    *("hypot_", "ldexp_", "true_divide_", "xlogy_", "eq_", "ne_", "lt_", "le_", "gt_", "ge_"),
    *("not_equal_", "less_", "less_equal_", "greater_", "greater_equal_", "logical_and_"),
    *("logical_or_", "logical_xor_", "subtract_", "multiply_", "divide_"),
}
NUMBER = {"clamp_min_": 0.4, "clamp_max_": 0.6, "polygamma_": 1, "mvlgamma_": 1}
NUMBER |= {"cumsum_": 0, "cumprod_": 0}


def _gradient(x: Any) -> Any:
    if x.grad is None:
        return None
    return x.grad.numpy() if isinstance(x, Tensor) else x.grad.numpy(force=True)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in DRAWN | MATRICES])
def test_values_and_gradients(name: str) -> None:
    first = np.array([0.2, 0.5, 0.9])
    first = first + 1.5 if name.startswith(("acosh", "arccosh")) else first
    dtype = np.int64 if name.startswith("bitwise") else np.float64
    second = np.array([0.7, 0.5, 1.2])
    if dtype is np.int64:
        first, second = first * 10, np.array([1, 2, 3])
    results = []
    for module in (Tensor, torch.tensor):
        x: Any = module(first.astype(dtype))
        x.requires_grad = dtype is np.float64
        y = x * 1
        more = [module(second)] if name in PAIR or name == "bitwise_left_shift_" else []
        more = [NUMBER[name]] if name in NUMBER else more
        try:
            assert getattr(y, name)(*more) is y
        except NotImplementedError:  # PyTorch computes it only without a gradient
            x = module(first.astype(dtype))
            y = x * 1
            getattr(y, name)(*more)
        if y.requires_grad:
            with contextlib.suppress(RuntimeError):  # PyTorch has not all derivatives
                y.sum().backward()
        results.append((y.detach().numpy(), _gradient(x)))
    (ours, our_gradient), (theirs, their_gradient) = results
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    assert ours.dtype == theirs.dtype
    if their_gradient is not None and not name.startswith("logical"):  # PyTorch's is 1 there
        our_gradient = np.zeros(3) if our_gradient is None else our_gradient
        np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments", "mean"),
    [
        ("exponential_", (2.0,), 0.5),
        ("geometric_", (0.25,), 4.0),
        ("log_normal_", (0.0, 0.5), np.exp(0.125)),
        ("random_", (10,), 4.5),
        ("random_", (5, 8), 6.0),
        ("cauchy_", (1.0, 0.5), None),
    ],
)
def test_what_is_drawn(name: str, arguments: tuple[Any, ...], mean: float | None) -> None:
    x = Tensor(np.zeros(20_000))
    getattr(x, name)(*arguments)
    values = x.numpy()
    middle = 1.0 if mean is None else mean
    got = np.median(values) if mean is None else values.mean()
    assert abs(got - middle) < 0.1
    assert np.unique(values).size > 1


def test_arguments_are_checked() -> None:
    x = Tensor([1.0])
    for call in (
        lambda: x.random_(3, 3),
        lambda: x.geometric_(1.5),
        lambda: x.log_normal_(0, -1),
    ):
        with pytest.raises(ArgumentError):
            call()
    assert x.tolist() == [1.0]
