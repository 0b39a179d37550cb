"""Hooks of tensors, `retain_grad` and `grad_fn` are PyTorch's, in both eager modes and compiled."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.base import hooks
from mynn.errors import MynnError, UsageError

A = np.array([[0.5, -1.0], [2.0, 0.25]])
MODES = ("at once", "tape")


def leaf(lib: Any, array: Any = A) -> Any:
    return lib.tensor(array, requires_grad=True)


def results(lib: Any) -> Any:
    x, w = leaf(lib), leaf(lib, A + 1)
    seen: list[Any] = []
    y = x * 2
    handle = y.register_hook(seen.append)
    y.register_hook(lambda g: g * 10)
    y.retain_grad()
    z = (y * w).sin()
    z.retain_grad()
    z.sum().backward(retain_graph=True)
    assert y.retains_grad
    assert not x.retains_grad
    handle.remove()
    handle.remove()
    z.sum().backward()
    return *seen, x.grad, w.grad, y.grad, z.grad


def leaves(lib: Any) -> Any:
    x = leaf(lib)
    seen: list[Any] = []
    x.register_hook(lambda g: g.clamp(-1, 1))
    x.register_hook(lambda g: seen.append(g * 1))
    with x.register_hook(lambda g: g * 100):
        pass
    x.retain_grad()
    (x**3).sum().backward()
    (x * 0.5).sum().backward()
    return *seen, x.grad


def accumulated(lib: Any) -> Any:
    """An update within the backward pass."""
    x = leaf(lib)

    def step(p: Any) -> None:
        with lib.no_grad():
            p -= 0.1 * p.grad
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        (x * x).sum().backward()
    assert x.grad is None
    return (x.detach(),)


def by_grad(lib: Any) -> Any:
    """`autograd.grad` calls hooks, and differentiates through them."""
    x = leaf(lib)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = lib.autograd.grad(g.sum(), x)
    z = x.exp()
    z.register_hook(lambda g: 3 * g)
    return g, h, *lib.autograd.grad((z * z).sum(), [z, x])


def parts(lib: Any) -> Any:
    """Views, results of several uses."""
    x = leaf(lib)
    row = x[0]
    row.register_hook(lambda g: g + 1)
    y = x * 3
    column = y[:, 1]
    column.register_hook(lambda g: -g)
    y.retain_grad()
    (row.sum() * 2 + (row * column).sum() + y.sum()).backward()
    return x.grad, y.grad


def of_a_leaf_that_is_gone(lib: Any) -> Any:
    y = leaf(lib) * 2
    y.retain_grad()
    (y * y).sum().backward()
    z = leaf(lib).exp()
    z.register_hook(lambda g: g * z)  # a circle
    return y.grad, *lib.autograd.grad((z * 3).sum(), z)


def in_a_network(lib: Any) -> Any:
    torch_like = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.Tanh(), lib.nn.Linear(3, 1))
    net = torch_like.double() if lib is not mynn else torch_like.to("float64")
    with lib.no_grad():
        for number, p in enumerate(net.parameters()):
            p.copy_(lib.tensor(np.cos(np.arange(p.numel()) + number).reshape(p.shape)))
    for p in net.parameters():
        p.register_hook(lambda g: g * 2)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.1)
    kept = []
    for _ in range(6):
        optimizer.zero_grad()
        h = net[1](net[0](lib.tensor(A)))
        h.retain_grad()
        (net[2](h) ** 2).mean().backward()
        kept.append(h.grad)
        optimizer.step()
    return *kept, *[p.detach() for p in net.parameters()]


PROGRAMS = (results, leaves, accumulated, by_grad, parts, of_a_leaf_that_is_gone, in_a_network)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_hooks_are_pytorchs(program: Callable[[Any], Any], mode: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    expected = [one.detach().numpy() for one in program(torch)]
    with mynn.eager(mode):
        for _ in range(1 if mode == "at once" else 4):
            found = program(mynn)
            assert len(found) == len(expected)
            for got, wanted in zip(found, expected, strict=True):
                np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-9, atol=1e-12)
    del found, got
    gc.collect()
    assert not hooks.exist()


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_comes_after_programs_have_run(mode: Any) -> None:
    """On the tape, steps that ran natively before are run so that hooks are called."""
    with mynn.eager(mode):
        w = mynn.Parameter(A)
        for number in range(12):
            w.grad = None
            if number == 8:
                w.register_hook(lambda g: g * 3)
            ((w * 2).tanh() ** 2).sum().backward()
            t = np.tanh(2 * A)
            expected = 4 * t * (1 - t * t) * (3 if number >= 8 else 1)
            np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-9)


def test_compiled() -> None:
    """Hooks are traced; one that is registered or removed later counts, of leaves alone."""
    w = mynn.Parameter(A)

    @mynn.compile
    def step(x: Any) -> Any:
        w.grad = None
        h = x * w
        h.register_hook(lambda g: g * 2)
        h.retain_grad()
        (h * h).sum().backward()
        return w.grad, h.grad

    def expect(factor: float) -> None:
        slope, kept = step(A + 1)
        np.testing.assert_allclose(kept, 4 * A * (A + 1), rtol=1e-12)
        np.testing.assert_allclose(slope, factor * kept * (A + 1), rtol=1e-12)

    expect(1)
    handle = w.register_hook(lambda g: g * 5)
    expect(5)
    more = w.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(2))
    expect(10)
    handle.remove()
    expect(2)
    more.remove()
    expect(1)


def test_networks_alike_with_and_without_hooks() -> None:
    """A trace that is known for one network is not taken for another one that has hooks."""

    def trained(hooked: bool) -> Any:
        mynn.manual_seed(0)
        net = mynn.nn.Linear(2, 1, dtype="float64")
        optimizer = mynn.optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        if hooked:
            net.weight.register_hook(lambda g: g * 0)
        before = net.weight.numpy()
        compiled = mynn.compile(step)
        compiled(A)
        moved = not np.array_equal(before, net.weight.numpy())
        if not hooked:
            net.weight.register_hook(lambda g: g * 0)
            before = net.weight.numpy()
            compiled(A)
            assert np.array_equal(before, net.weight.numpy())
        return moved

    assert [trained(one) for one in (False, True, False, True, False)] == [True, False] * 2 + [True]


def wrong(use: Callable[[], Any], words: str) -> None:
    with pytest.raises(MynnError, match=words):
        use()


def test_what_is_refused() -> None:
    x, y = mynn.tensor(A), leaf(mynn) * 2
    without = "cannot register a hook on a tensor that doesn't require gradient"
    wrong(lambda: x.register_hook(print), without)
    wrong(lambda: x.register_post_accumulate_grad_hook(print), without)
    wrong(x.retain_grad, "can't retain_grad on Tensor that has requires_grad=False")
    wrong(lambda: y.register_post_accumulate_grad_hook(print), "cannot be registered on non-leaf")
    wrong(lambda: y.register_hook(3), "a hook is a function")
    handle = y.register_hook(lambda g: g[0])
    wrong(lambda: y.sum().backward(), "has changed the size of value")
    handle.remove()
    y.register_hook(lambda g: 3)
    wrong(lambda: y.sum().backward(), "expected Variable, but hook returned 'int'")


MADE: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda lib, x: x + 1,
    "sub": lambda lib, x: x - x,
    "rsub": lambda lib, x: 1 - x,
    "mul": lambda lib, x: x * 2,
    "rmul": lambda lib, x: 2 * x,
    "div": lambda lib, x: x / 2,
    "pow": lambda lib, x: x**2,
    "pow1": lambda lib, x: x**x,
    "neg": lambda lib, x: -x,
    "exp": lambda lib, x: x.exp(),
    "log1p": lambda lib, x: x.log1p(),
    "sum": lambda lib, x: x.sum(),
    "sum1": lambda lib, x: x.sum(1),
    "mean": lambda lib, x: x.mean(),
    "mean1": lambda lib, x: x.mean(0),
    "mm": lambda lib, x: x @ x,
    "mv": lambda lib, x: x @ x[0],
    "dot": lambda lib, x: x[0] @ x[1],
    "t": lambda lib, x: x.T,
    "transpose": lambda lib, x: x.transpose(0, 1),
    "permute": lambda lib, x: x.permute(1, 0),
    "view": lambda lib, x: x.view(4),
    "reshape": lambda lib, x: x.reshape(4),
    "select": lambda lib, x: x[0],
    "slice": lambda lib, x: x[:1],
    "index": lambda lib, x: x[lib.tensor([1, 0])],
    "unsqueeze": lambda lib, x: x.unsqueeze(0),
    "cat": lambda lib, x: lib.cat([x, x]),
    "stack": lambda lib, x: lib.stack([x, x]),
    "where": lambda lib, x: lib.where(x > 0, x, x),
    "clone": lambda lib, x: x.clone(),
    "float": lambda lib, x: x.float(),
    "softmax": lambda lib, x: x.softmax(1),
    "log_softmax": lambda lib, x: lib.nn.functional.log_softmax(x, 1),
    "logsumexp": lambda lib, x: x.logsumexp(1),
    "sigmoid": lambda lib, x: lib.sigmoid(x),
    "relu": lambda lib, x: lib.nn.functional.relu(x),
    "gelu": lambda lib, x: lib.nn.functional.gelu(x),
    "leaky_relu": lambda lib, x: lib.nn.functional.leaky_relu(x),
    "linear": lambda lib, x: lib.nn.functional.linear(x, x, x[0]),
    "cross_entropy": lambda lib, x: lib.nn.functional.cross_entropy(x, lib.tensor([0, 1])),
    "mse": lambda lib, x: lib.nn.functional.mse_loss(x, x.detach()),
    "norm": lambda lib, x: x.norm(),
    "clamp": lambda lib, x: x.clamp(0, 1),
    "std": lambda lib, x: x.std(),
    "largest": lambda lib, x: x.max(),
    "least": lambda lib, x: x.min(),
    "largest along": lambda lib, x: x.max(1).values,
    "least along": lambda lib, x: x.min(1).values,
    "ends": lambda lib, x: x.aminmax(dim=1).max,
    "median": lambda lib, x: x.median(),
    "median along": lambda lib, x: x.median(1).values,
    "mode": lambda lib, x: x.mode(1).values,
    "sort": lambda lib, x: x.sort(1).values,
    "topk": lambda lib, x: x.topk(1, 1).values,
    "kthvalue": lambda lib, x: x.kthvalue(1, 1).values,
    "variance and mean": lambda lib, x: lib.var_mean(x)[1],
    "slogdet": lambda lib, x: lib.linalg.slogdet(x).logabsdet,
    "leaf": lambda lib, x: x,
    "detached": lambda lib, x: (x * 2).detach(),
}


@pytest.mark.parametrize("mode", MODES)
def test_grad_fn_has_pytorchs_name(mode: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with mynn.eager(mode):
        for _ in range(1 if mode == "at once" else 4):
            wrong = {}
            for name, make in MADE.items():
                made, theirs = make(mynn, leaf(mynn)).grad_fn, make(torch, leaf(torch)).grad_fn
                if theirs is None:
                    assert made is None, name
                    continue
                if made.name() != theirs.name():
                    wrong[name] = made.name(), theirs.name()
                assert type(made).__name__ == made.name()
                assert repr(made).startswith(f"<{made.name()} object at 0x")
            assert not wrong


def test_grad_fn_leads_on() -> None:
    x = leaf(mynn)
    for times in range(4):
        result = x.exp() * 2 + mynn.ones(2, dtype="float64")
        if times:
            result.numpy()
        made, names = result.grad_fn, []
        while made is not None:
            names.append(made.name())
            last, made = made, next((one for one, _ in made.next_functions if one), None)
        assert names == ["AddBackward0", "MulBackward0", "ExpBackward0", "AccumulateGrad"]
        assert last.variable is x
    with pytest.raises(AttributeError, match="no attribute 'wrong'"):
        _ = (x * 2).grad_fn.wrong

    class Own(mynn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.note = "kept"
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    own = Own.apply(x).grad_fn
    assert own.name() == "OwnBackward"
    assert own.note == "kept"
    assert own.saved_tensors[0] is x


def test_hooks_are_not_copied() -> None:
    x = leaf(mynn)
    x.register_hook(lambda g: g * 0)
    other = copy.deepcopy(x)
    (other * 2).sum().backward()
    np.testing.assert_array_equal(other.grad.numpy(), np.full(A.shape, 2.0))
    with pytest.raises(UsageError):
        mynn.tensor([1]).register_hook(print)
