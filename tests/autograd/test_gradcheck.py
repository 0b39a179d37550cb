"""`gradcheck` and `gradgradcheck` accept and refuse what PyTorch's do, with its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from mynn.errors import ArgumentError, UsageError


def wrong_of(lib: Any, back: Callable[[Any], Any]) -> Any:
    class Wrong(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return back(g)

    return Wrong.apply


def right_once(lib: Any) -> Any:
    """The gradient of x^3, of which the second derivative is cut off."""

    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x.detach() ** 2

    return Cube.apply


FUNCTIONS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "right": lambda lib: lambda x: x.sin() * x,
    "three": lambda lib: wrong_of(lib, lambda g: g * 3),
    "not linear": lambda lib: wrong_of(lib, lambda g: g * 0 + 2),
    "once": right_once,
    "detached": lambda lib: lambda x: x.detach() * 2,
    "partly": lambda lib: lambda x: (x * 2, x.detach() * 2, x.sum()),
    "constant": lambda lib: lambda x: lib.ones(2, dtype=lib.float64) * 3,
    "no number": lambda lib: lambda x: x[:0] * 2,
}
KINDS: dict[str, dict[str, Any]] = {
    "slow": {},
    "fast": {"fast_mode": True},
    "coarse": {"atol": 10.0},
    "false": {"raise_exception": False},
}


def outcome(lib: Any, name: str, kind: str, second: bool) -> Any:
    x = lib.tensor([0.3, -1.2], dtype=lib.float64, requires_grad=True)
    kind_of_error = GradcheckError if lib is mynn else RuntimeError
    check = lib.autograd.gradgradcheck if second else lib.autograd.gradcheck
    try:
        return check(FUNCTIONS[name](lib), x, **KINDS[kind])
    except kind_of_error as error:
        return str(error).splitlines()[0].partition(":")[0].partition(" for output")[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_pytorchs(name: str, kind: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    found, expected = outcome(mynn, name, kind, False), outcome(torch, name, kind, False)
    if kind == "fast" and isinstance(expected, str):  # one number, in our words
        assert isinstance(found, str)
    else:
        assert found == expected
    if name in ("right", "once"):
        found, expected = outcome(mynn, name, kind, True), outcome(torch, name, kind, True)
        assert isinstance(found, str) if kind == "fast" and name == "once" else found == expected


def test_several_inputs() -> None:
    x = mynn.tensor(np.ones((2, 3)) * 0.4, requires_grad=True)
    w = mynn.tensor(np.arange(3.0) + 1, requires_grad=True)
    still = mynn.tensor(np.ones(3))

    def f(x: Any, k: float, w: Any, still: Any) -> Any:
        return (x * w * k).tanh(), (w * still).sum()

    assert gradcheck(f, (x, 2.0, w, still))
    assert gradcheck(f, (x, 2.0, w, still), fast_mode=True)
    assert gradgradcheck(f, (x, 2.0, w, still))
    seeds = (mynn.ones(2, 3, dtype="float64"), mynn.ones((), dtype="float64"))
    assert gradgradcheck(f, (x, 2.0, w, still), seeds)
    assert x.grad is None
    assert not seeds[0].requires_grad
    with pytest.raises(GradcheckError, match="output 1 with respect to input 2,\nnumerical:"):
        gradcheck(lambda *a: (f(*a)[0], wrong_of(mynn, lambda g: g)(a[2])), (x, 2.0, w, still))


def test_what_is_refused() -> None:
    x = mynn.tensor([0.5], dtype="float64", requires_grad=True)
    with pytest.raises(ArgumentError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x * 2, x.detach())
    with pytest.raises(TypeError, match="must return tensors, it returned 3"):
        gradcheck(lambda x: 3, x)
    with pytest.raises(ArgumentError, match="check_forward_ad=True is not there"):
        gradcheck(lambda x: x * 2, x, check_forward_ad=True)
    with pytest.raises(UsageError, match="outside of compiled functions"):
        mynn.compile(lambda v: gradcheck(lambda x: x * 2, x))(np.ones(2))
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double"):
        gradcheck(lambda x: x * 2, mynn.tensor([0.5], requires_grad=True), eps=1e-2)
    noise = iter(range(1000))
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(lambda x: x * next(noise), x)
    assert gradcheck(lambda x: x * (1 + next(noise) * 1e-9), x, nondet_tol=1e-3, rtol=1, atol=1e3)
