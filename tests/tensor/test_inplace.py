"""In-place operations: programs that give what PyTorch gives, however they are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, Tensor
from mynn.errors import DTypeError, ShapeError, UsageError

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
W = RNG.normal(size=(2, 3)).astype(np.float32) + 2
B = RNG.normal(size=(2, 3)).astype(np.float32)
X = RNG.normal(size=(2, 3)).astype(np.float32) + 3


def sgd(lib: Any, p: Any, b: Any, x: Any) -> Any:
    loss = (p * x).tanh().sum()
    loss.backward()
    with lib.no_grad():
        p -= 0.1 * p.grad
    return loss.detach()


def momentum(lib: Any, p: Any, b: Any, x: Any) -> Any:
    ((p * x) ** 2).sum().backward()
    with lib.no_grad():
        b.mul_(0.9).add_(p.grad)
        p.sub_(b, alpha=0.1)
        p.grad.zero_()
    (p * x).sum().backward()
    return b


def adam(lib: Any, p: Any, b: Any, x: Any) -> Any:
    (p * x).sigmoid().sum().backward()
    with lib.no_grad():
        b[0] = 0.9 * b[0] + 0.1 * p.grad[0]
        b[1].mul_(0.999).add_(p.grad[1] * p.grad[1], alpha=0.001)
        p.add_(b / (b.abs().sqrt() + 1e-3), alpha=-0.1)
    p.grad = None
    return p.detach()


def statistics(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = (x - b.mean(0)) * p
    b.mul_(0.9).add_(0.1 * x)
    b[0, 0] += 1
    return y * b


def through_data(lib: Any, p: Any, b: Any, x: Any) -> Any:
    (p * x).tanh().sum().backward()
    p.data.add_(p.grad.data, alpha=-0.1)
    p.data.clamp_(1.0, 3.0)
    b.data[0] = p.data[1]
    p.data = p.data * 0.5
    return (p * b).detach()


def written_twice(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * 2
    y += x
    y *= 3
    y -= p
    y /= 2
    return y


def in_a_loop(lib: Any, p: Any, b: Any, x: Any) -> Any:
    out = x * 0
    for i in range(2):
        for j in range(3):
            out[i, j] = p[i, 2 - j] * x[i, j]
    return out


def rows(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * 1
    y[0] = x[1]
    y[:, 1] += p[:, 0]
    y[..., -1] = 0.5
    y[None, 1, ::2] *= 2
    return y


def column_of_ones(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * x
    y[:, 1:] = x[:1, :2] * p[1:, 1:]
    y[1:1] = 3.0
    return y


def through_views(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * x
    y.reshape(-1)[1:4].mul_(2)
    v = y.reshape(3, 2)
    v[2] += p[0, :2]
    y.transpose(0, 1)[0].add_(1)
    return y * v.reshape(2, 3)


def view_first(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * 1
    v = y[0]
    y.mul_(2)
    w = v * x[0]
    v += 1
    return y * w


def base_without_gradient(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = x * 1
    row = y[1]
    row.copy_(p[0] * 2)
    row += 1
    return y * y.reshape(2, 3)


def view_of_a_buffer(lib: Any, p: Any, b: Any, x: Any) -> Any:
    row = b[0]
    flat = b.reshape(6)
    b += 1
    row *= 2
    flat[5] = 7
    return p * b + row + flat[:3]


def parameter_rows(lib: Any, p: Any, b: Any, x: Any) -> Any:
    with lib.no_grad():
        p[0] = x[1]
        p.reshape(-1)[3:].zero_()
        p[1, 2].fill_(4)
    return p * x


def zeroed(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * x
    y.zero_()
    z = p * 2
    z.copy_(x)
    return y + z * p.detach()


def filled(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p.sum()
    y.fill_(3)
    z = p.sum()
    z *= y
    return z * x


def before_and_after(lib: Any, p: Any, b: Any, x: Any) -> Any:
    first = (p * x).sum()
    with lib.no_grad():
        p += 1
    return first + (p * 2).sum()


def through_detach(lib: Any, p: Any, b: Any, x: Any) -> Any:
    p.detach().add_(1)
    b.detach()[0].mul_(2)
    return p * x + b


def itself(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * 1
    y += y
    y[0] = y[1]
    y -= y.reshape(2, 3) * 0.5
    return y


def pow_and_clamp(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * x
    y **= 2
    y %= 5
    return y


def copied_from_a_view(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * x
    v = y.reshape(3, 2).transpose(0, 1)
    y.copy_(v * 1)
    flat = v.reshape(-1)
    y += 1
    return y * v + flat.reshape(2, 3)


def reassigned(lib: Any, p: Any, b: Any, x: Any) -> Any:
    y = p * x
    y[0] = 0
    z = y * 2
    z[1] = y[0] * p[1]
    return z + y


PROGRAMS: tuple[Callable[..., Any], ...] = (
    sgd,
    momentum,
    adam,
    statistics,
    through_data,
    written_twice,
    in_a_loop,
    rows,
    column_of_ones,
    through_views,
    view_first,
    base_without_gradient,
    view_of_a_buffer,
    parameter_rows,
    zeroed,
    filled,
    before_and_after,
    through_detach,
    itself,
    pow_and_clamp,
    copied_from_a_view,
    reassigned,
)


def whole(program: Callable[..., Any], lib: Any, p: Any, b: Any, x: Any) -> Any:
    """The program's result, and the gradient of its weighted sum."""
    y = program(lib, p, b, x)
    if y.requires_grad:
        weights = np.linspace(0.5, 2, int(np.prod(y.shape)), dtype=np.float32).reshape(y.shape)
        (y * (torch.tensor(weights) if lib is torch else weights)).sum().backward()
    return y, p.grad


def expected(program: Callable[..., Any], calls: int) -> list[Any]:
    p, b = torch.nn.Parameter(torch.tensor(W)), torch.tensor(B)
    results = []
    for _ in range(calls):
        p.grad = None
        y, gradient = whole(program, torch, p, b, torch.tensor(X))
        results.append([t if t is None else t.detach().numpy().copy() for t in (y, gradient, p, b)])
        b = b.detach()
    return results


@pytest.mark.one_in(3)
@pytest.mark.parametrize("how", ["eager", "interpreter", "native"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_programs_give_what_pytorch_gives(program: Callable[..., Any], how: str) -> None:
    p, b = Parameter(W), Tensor(B, name="b")

    def step(x: Any) -> Any:
        y, gradient = whole(program, mynn, p, b, x)
        return (y,) if gradient is None else (y, gradient)

    run = step if how == "eager" else mynn.compile(step, backend=how)
    for y, gradient, new_p, new_b in expected(program, 3):
        p.grad = None
        got = run(Tensor(X) if how == "eager" else X)
        assert (len(got) == 1) == (gradient is None)
        wanted = [y, gradient, new_p, new_b] if gradient is not None else [y, new_p, new_b]
        for ours, theirs in zip((*got, p, b), wanted, strict=True):
            array = ours.numpy() if isinstance(ours, Tensor) else ours
            assert (array.shape, array.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_allclose(array, theirs, rtol=2e-5, atol=2e-6)
        b = b.detach() if b.requires_grad else b


# -- errors ----------------------------------------------------------------------------------------


def leaf(lib: Any, p: Any, b: Any, x: Any) -> None:
    p += 1


def leaf_view(lib: Any, p: Any, b: Any, x: Any) -> None:
    p[0] = 1


def leaf_copy(lib: Any, p: Any, b: Any, x: Any) -> None:
    p.copy_(x)


def larger(lib: Any, p: Any, b: Any, x: Any) -> None:
    x[0] += x


def larger_copy(lib: Any, p: Any, b: Any, x: Any) -> None:
    x[0] = x


def float_into_int(lib: Any, p: Any, b: Any, x: Any) -> None:
    i = integers(lib)
    i += 1.5


def division_of_int(lib: Any, p: Any, b: Any, x: Any) -> None:
    i = integers(lib)
    i /= 2


def int_into_bool(lib: Any, p: Any, b: Any, x: Any) -> None:
    i = integers(lib) > 1
    i += integers(lib)


def integers(lib: Any) -> Any:
    return torch.arange(3) if lib is torch else Tensor(np.arange(3))


REFUSED: dict[Callable[..., None], tuple[type[Exception], str]] = {
    leaf: (UsageError, "a leaf Variable that requires grad .* under mynn.no_grad"),
    leaf_view: (UsageError, "a view of a leaf Variable that requires grad"),
    leaf_copy: (UsageError, "a leaf Variable that requires grad"),
    larger: (ShapeError, r"add_: the result has shape \(2, 3\).*\(3,\); only the other operand"),
    larger_copy: (ShapeError, r"x\[index\] = value: values of shape \(2, 3\) cannot"),
    float_into_int: (DTypeError, "add_: .*float32.* can't be cast .*int64.*astype"),
    division_of_int: (DTypeError, "div_: .*can't be cast"),
    int_into_bool: (DTypeError, "add_: .*can't be cast"),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("program", REFUSED, ids=lambda f: f.__name__)
def test_what_pytorch_refuses_is_refused(program: Callable[..., None], traced: bool) -> None:
    p = torch.nn.Parameter(torch.tensor(W))
    with pytest.raises(RuntimeError):
        program(torch, p, torch.tensor(B), torch.tensor(X))

    own = Parameter(W)

    def run(x: Any) -> Any:
        program(mynn, own, Tensor(B), x)
        return x

    kind, message = REFUSED[program]
    with pytest.raises(kind, match=message):
        mynn.compile(run)(X) if traced else run(Tensor(X))
    np.testing.assert_array_equal(own.numpy(), W)


CLOBBERS: dict[str, tuple[Callable[..., Any], bool]] = {
    "product": (lambda p, x: changed(p * x, lambda y: y * y, lambda y: y.add_(1)), True),
    "result": (lambda p, x: changed(p * x, lambda y: y.tanh(), None, lambda z: z.mul_(2)), True),
    "sum": (lambda p, x: changed(p * x, lambda y: y + y, lambda y: y.add_(1)), False),
    "scaled": (lambda p, x: changed(p * x, lambda y: y * 3, lambda y: y.zero_()), False),
    "view": (lambda p, x: changed(p * x, lambda y: y * y, lambda y: y[0].add_(1)), True),
    "of a view": (lambda p, x: changed(p * x, lambda y: y[0] * y[1], lambda y: y.mul_(2)), True),
    "operand": (lambda p, x: changed(x, lambda y: y * p, lambda y: y.mul_(2)), True),
    "part": (lambda p, x: changed(x, lambda y: y[0] * p[0], lambda y: y[1].mul_(2)), True),
    "detached": (lambda p, x: changed(p * 1, lambda y: y * y, lambda y: y.detach().zero_()), True),
    "other way": (lambda p, x: changed(p * 1, lambda y: y.detach() * y, lambda y: y.mul_(2)), True),
    "itself": (lambda p, x: changed(p * x, lambda y: y.mul_(y), None), True),
    "scaled itself": (lambda p, x: changed(p * x, lambda y: y.mul_(2).pow_(2), None), False),
}


def changed(y: Any, use: Any, before: Any, after: Any = None) -> Any:
    # Use a value, change it or the result in place, then ask for gradients.
    z = use(y)
    if before is not None:
        before(y)
    if after is not None:
        after(z)
    return z.sum()


@pytest.mark.parametrize("name", CLOBBERS)
@pytest.mark.at_once("a program takes the values of then, where nodes refuse", first_calls=True)
def test_a_value_that_a_gradient_needs_was_changed(name: str) -> None:
    program, refused = CLOBBERS[name]
    p = torch.nn.Parameter(torch.tensor(W))
    own = Parameter(W)
    theirs, ours = program(p, torch.tensor(X)), program(own, Tensor(X))
    if refused:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            theirs.backward()
        message = "modified by an inplace operation: .* changed .* at .*test_inplace.py:[0-9]+; use"
        with pytest.raises(UsageError, match=message):
            ours.backward()
        assert own.grad is None
    else:
        theirs.backward()
        ours.backward()
        np.testing.assert_allclose(own.grad.numpy(), p.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("how", ["assign", "data", "data of a view"])
def test_results_that_are_given_other_values_are_used_with_them(how: str) -> None:
    """Their gradient goes on to what they were computed from, as after `copy_` under `no_grad`."""
    torch = pytest.importorskip("torch")
    data, new = np.array([1.0, 2.0, 3.0], np.float32), np.array([4.0, 5.0, 6.0], np.float32)
    x, theirs = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, other = x * 3, theirs * 3
    if how == "assign":
        y.assign(Tensor(new))
    elif how == "data":
        y.data = new
    else:
        y[:].data = new
    with torch.no_grad():
        other.copy_(torch.tensor(new))
    (y * y).sum().backward()
    (other * other).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), theirs.grad.numpy())
