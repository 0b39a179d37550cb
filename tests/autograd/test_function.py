"""`autograd.Function` is PyTorch's: values, gradients of gradients, errors; in every mode."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.autograd.function import once_differentiable
from mynn.errors import MynnError, UsageError

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4))
B = RNG.normal(size=(3, 4)) + 0.2


def exp_of(lib: Any) -> Any:
    class Exp(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            return g * y

    return Exp.apply


def two_of(lib: Any) -> Any:
    """Two results, an argument that is no tensor, a result that is none."""

    class Two(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, k: Any, y: Any) -> Any:
            ctx.k = k
            ctx.save_for_backward(x, y)
            return x * y * k, x + 2 * y, "text"

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any, none: Any) -> Any:
            x, y = ctx.saved_tensors
            assert none is None
            assert ctx.needs_input_grad[1:] == (False, True)
            return g * y * ctx.k + h, None, g * x * ctx.k + 2 * h

    return Two.apply


def straight_of(lib: Any) -> Any:
    class Straight(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return (x > 0).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return lib.clamp(g, -1, 1)

    return Straight.apply


def reversed_of(lib: Any) -> Any:
    class Reverse(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, alpha: float) -> Any:
            ctx.alpha = alpha
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.neg() * ctx.alpha, None

    return Reverse.apply


def split_of(lib: Any) -> Any:
    """With `setup_context`; a result without a gradient; no zeros."""

    class Top(lib.autograd.Function):
        @staticmethod
        def forward(x: Any, factor: float = 2.0) -> Any:
            value, place = x.max(1)
            return value * factor, place, x * 3

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, factor = inputs
            ctx.factor, ctx.shape = factor, x.shape
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(output[1])

        @staticmethod
        def backward(ctx: Any, g: Any, _: Any, h: Any) -> Any:
            assert h is None
            (place,) = ctx.saved_tensors
            zeros = lib.zeros(ctx.shape, dtype=g.dtype)
            return zeros.scatter(1, place[:, None], (g * ctx.factor)[:, None]), None

    return Top.apply


def wide_of(lib: Any) -> Any:
    """A gradient that is added up over repeated axes, in another dtype."""

    class Wide(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            return (g * y).float(), g * x

    return Wide.apply


def first(lib: Any, a: Any, b: Any) -> Any:
    return (exp_of(lib)(a * b) * b).sum()


def several(lib: Any, a: Any, b: Any) -> Any:
    y, z, text = two_of(lib)(a * 2, 0.5, b)
    assert text == "text"
    return (y.tanh() * z).sum() + y.mean()


def one_of_two(lib: Any, a: Any, b: Any) -> Any:
    return (two_of(lib)(a * 2, 0.5, b * 1)[1] ** 2).sum()


def straight(lib: Any, a: Any, b: Any) -> Any:
    return (straight_of(lib)(a) * b * 3).sum()


def reverse(lib: Any, a: Any, b: Any) -> Any:
    return (reversed_of(lib)(a, 0.3).tanh() * b).sum() + (a * a).sum()


def split(lib: Any, a: Any, b: Any) -> Any:
    values, places, _ = split_of(lib)(a)
    assert not places.requires_grad
    return (values * b.sum(1)).sum() + split_of(lib)(b, 3.0)[0].sum()


def wide(lib: Any, a: Any, b: Any) -> Any:
    return (wide_of(lib)(a, b[0]) ** 2).sum() + wide_of(lib)(a[:, :1], b).sum()


def within(lib: Any, a: Any, b: Any) -> Any:
    """A function of functions, the same one twice."""
    exp = exp_of(lib)
    return exp(exp(a * 0.3) * 0.5 + exp(b * 0.2)).sum()


PROGRAMS = (first, several, one_of_two, straight, reverse, split, wide, within)


def slopes(lib: Any, program: Callable[..., Any], a: Any, b: Any) -> list[Any]:
    """The value, gradients, and where there are any those of the sum of their squares."""
    value = program(lib, a, b)
    g = lib.autograd.grad(value, (a, b), create_graph=True)
    found = [value, *g]
    bend = sum((one * one).sum() for one in g)
    if bend.requires_grad:
        h = lib.autograd.grad(bend, (a, b), allow_unused=True)
        found += [one for one in h if one is not None]
    leaves = [a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()]
    program(lib, *leaves).backward()
    return [*found, *[one.grad for one in leaves]]


def of_torch(program: Callable[..., Any]) -> list[Any]:
    torch = pytest.importorskip("torch")
    leaves = [torch.tensor(one, requires_grad=True) for one in (A, B)]
    return [one.detach().numpy() for one in slopes(torch, program, *leaves)]


def compare(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # `wide` gives a gradient as float32
        np.testing.assert_allclose(np.asarray(one), other, rtol=2e-6, atol=1e-7)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", ["at once", "tape"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_eagerly(program: Callable[..., Any], mode: Any) -> None:
    expected = of_torch(program)
    with mynn.eager(mode):
        for _ in range(1 if mode == "at once" else 4):
            leaves = [mynn.tensor(one, requires_grad=True) for one in (A, B)]
            compare([one.detach() for one in slopes(mynn, program, *leaves)], expected)


@pytest.mark.parametrize("program", PROGRAMS)
def test_compiled(program: Callable[..., Any]) -> None:
    """Values, gradients of arguments, gradients of state by `backward`."""
    expected = of_torch(program)
    b = mynn.Parameter(B)

    @mynn.compile
    def step(a: Any) -> Any:
        value, slope = mynn.value_and_grad(lambda x: program(mynn, x, b))(a)
        program(mynn, a, b).backward()
        return value, slope, b.grad

    compare(list(step(A)), expected[:3])
    step(A)


def test_gradients_of_gradients_compiled() -> None:
    bend = mynn.grad(lambda a: (mynn.grad(lambda v: first(mynn, v, B))(a) ** 2).sum())
    compare([mynn.compile(bend)(A)], [bend(mynn.tensor(A)).numpy()])
    mynn.check_grads(lambda a, b: within(mynn, a, b), [A, B], order=2)


def test_results_do_not_keep_themselves_alive() -> None:
    x = mynn.tensor(A, requires_grad=True)
    y = exp_of(mynn)(x)
    there = weakref.ref(y)
    del y
    assert there() is None


def test_without_history() -> None:
    x = mynn.tensor(A, requires_grad=True)
    with mynn.no_grad():
        assert not exp_of(mynn)(x).requires_grad
    assert not exp_of(mynn)(mynn.tensor(A)).requires_grad


def dirty_of(lib: Any, mark: bool = True) -> Any:
    class Double(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            if mark:
                ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * g

    return Double.apply


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_in_place(mode: Any) -> None:
    def program(lib: Any) -> Any:
        x = lib.tensor(A, requires_grad=True)
        y = x * 3
        z = dirty_of(lib)(y)
        assert z is y
        (z * z).sum().backward()
        w = x * 1
        part = dirty_of(lib)(w[0])
        (w**2).sum().backward()
        return x.grad, y.detach(), part.detach()

    torch = pytest.importorskip("torch")
    expected = [one.numpy() for one in program(torch)]
    with mynn.eager(mode):
        compare(list(program(mynn)), expected)


def test_gradients_are_counted_and_checked() -> None:
    """PyTorch's words; each names the function."""

    def program(lib: Any, back: Callable[[Any, Any], Any], *others: Any) -> Any:
        class Own(lib.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, *others: Any) -> Any:
                ctx.save_for_backward(x)
                return x * 2

            backward = staticmethod(back)

        x = lib.tensor(A, requires_grad=True)
        Own.apply(x, *others).sum().backward()
        return x.grad

    wrong: list[tuple[Callable[[Any, Any], Any], tuple[Any, ...], str]] = [
        (lambda ctx, g: (g, g), (), "incorrect number of gradients"),
        (lambda ctx, g: g, (1, 2), "incorrect number of gradients"),
        (lambda ctx, g: (g, g), (1,), "different than None at position 2"),
        (lambda ctx, g: g[0], (), "invalid gradient at index 0"),
        (lambda ctx, g: 1.0, (), "expected Variable or None"),
    ]
    torch = pytest.importorskip("torch")
    for back, others, words in wrong:
        with pytest.raises(MynnError, match=words):
            program(mynn, back, *others)
        with pytest.raises((RuntimeError, TypeError), match=words):
            program(torch, back, *others)
    # None where there is a gradient, and too many of them.
    for right in (lambda ctx, g: None, lambda ctx, g: (g, None, None)):
        ours, theirs = program(mynn, right), program(torch, right)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            compare([ours], [theirs.numpy()])


def test_wrong_uses() -> None:
    class Alone(mynn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

    x = mynn.tensor(A, requires_grad=True)
    y = Alone.apply(x)
    with pytest.raises(NotImplementedError, match="must implement either the backward or vjp"):
        y.sum().backward()
    with pytest.raises(UsageError, match=r"Alone\.apply"):
        Alone()
    with pytest.raises(TypeError, match="no keyword"):
        Alone.apply(x=x)

    class Legacy(mynn.autograd.Function):
        def forward(self, x: Any) -> Any:  # type: ignore[override]
            return x

    with pytest.raises(UsageError, match="@staticmethod"):
        Legacy.apply(x)

    class Number(mynn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(3)

    with pytest.raises(TypeError, match="can only save variables, but argument 0"):
        Number.apply(x)
    with pytest.raises(UsageError, match="a leaf Variable that requires grad"):
        dirty_of(mynn)(x)


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_saved_tensors_that_were_changed(mode: Any) -> None:
    """Inputs and results, eagerly; in a trace nothing is overwritten."""
    with mynn.eager(mode):
        x = mynn.tensor(A, requires_grad=True)
        y = exp_of(mynn)(x)
        y += 1
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            y.sum().backward()
        a, b = x * 1, mynn.tensor(B, requires_grad=True)
        y = two_of(mynn)(a, 2.0, b)[0]
        a.mul_(2)
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            y.sum().backward()

    def step(x: Any) -> Any:
        y = exp_of(mynn)(x * 1)
        y += 1
        return y.sum()

    compare([mynn.compile(mynn.grad(step))(A)], [np.exp(A)])


def test_once_differentiable() -> None:
    class Cube(mynn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return mynn.tensor(x.numpy() ** 3)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            assert not mynn.is_grad_enabled()
            return g * mynn.tensor(3 * x.numpy() ** 2)

    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            for _ in range(3):
                x = mynn.tensor(A, requires_grad=True)
                (Cube.apply(x * 2) * 0.5).sum().backward()
                compare([x.grad], [12 * A**2])
            (g,) = mynn.autograd.grad((Cube.apply(x) ** 2).sum(), x, create_graph=True)
            with pytest.raises(UsageError, match="once_differentiable"):
                g.sum().backward()
    # In a trace there are no values: the error names the function.
    with pytest.raises(UsageError, match=r"Cube\.forward"):
        mynn.compile(mynn.grad(lambda x: Cube.apply(x).sum()))(A)


def test_what_backward_cannot_do_in_a_trace_names_it() -> None:
    class Half(mynn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x / 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return mynn.tensor(g.numpy() / 2)

    x = mynn.tensor(A, requires_grad=True)
    Half.apply(x).sum().backward()
    compare([x.grad], [np.full(A.shape, 0.5)])
    with pytest.raises(UsageError, match=r"Half\.backward.*traced"):
        mynn.compile(mynn.grad(lambda x: Half.apply(x).sum()))(A)


SCALE = 2.0


class Scaled(mynn.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * SCALE


def test_globals_of_its_methods_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled function whose `Function` reads another number is traced again."""
    step = mynn.compile(mynn.grad(lambda x: Scaled.apply(x).sum()))
    compare([step(A)], [np.full(A.shape, 2.0)])
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    compare([step(A)], [np.full(A.shape, 5.0)])


def test_globals_of_a_function_under_grad(monkeypatch: pytest.MonkeyPatch) -> None:
    step = mynn.compile(mynn.grad(lambda x: (x * SCALE).sum()))
    compare([step(A)], [np.full(A.shape, 2.0)])
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    compare([step(A)], [np.full(A.shape, 5.0)])


def test_in_fit_and_in_a_module() -> None:
    """A network with a straight-through activation is trained natively as eagerly."""

    class Net(mynn.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = mynn.nn.Linear(4, 5, dtype="float64")
            self.b = mynn.nn.Linear(5, 1, dtype="float64")

        def forward(self, x: Any) -> Any:
            return self.b(straight_of(mynn)(self.a(x)))

    weights = []
    for native in (True, False):
        mynn.manual_seed(0)
        net = Net()
        optimizer = mynn.optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        before = net.a.weight.numpy()
        if native:
            mynn.fit(step, A, batch_size=3, epochs=4, shuffle=False, verbose=False)
        else:
            for _ in range(4):
                step(mynn.tensor(A))
        assert not np.array_equal(before, net.a.weight.numpy())
        weights.append(net.a.weight.numpy())
    np.testing.assert_allclose(*weights, rtol=1e-9)
