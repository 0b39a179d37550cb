"""What `vmap` refuses, and what it does to state, checks and modes outside of the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, DataError, IndexRangeError, MynnError, ShapeError, UsageError
from mynn.func import grad, hessian, jacrev, vmap
from tests.transform.programs import mapped_arrays
from tests.transform.test_func import assert_same

# PyTorch's derivatives forwards use a part of it that it warns about.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

X = mynn.tensor(np.arange(6.0).reshape(2, 3))
SAME = mynn.zeros(3, dtype="float64")


def _leaks() -> Any:
    kept: list[Any] = []
    vmap(lambda a: kept.append(a) or a)(X)
    return kept[0] + 1


def _backward() -> Any:
    w = mynn.ones(3, requires_grad=True)
    return vmap(lambda a: (a * w).sum().backward())(X)


REFUSED: dict[str, tuple[Callable[[], Any], type[MynnError], str]] = {
    "no function": (lambda: vmap(3), ArgumentError, "must be a function, it is 3"),
    "fewer in_dims": (lambda: vmap(mynn.add, (0,))(X, X), ArgumentError, "are a tuple of 2"),
    "list of in_dims": (lambda: vmap(mynn.sin, [0])(X), ArgumentError, r"it is \[0\]"),
    "no whole number": (lambda: vmap(mynn.sin, (0.5,))(X), ArgumentError, "it is 0.5"),
    "other keys": (
        lambda: vmap(lambda d: d["a"], ({"b": 0},))({"a": X}),
        ArgumentError,
        "a dict with the keys a",
    ),
    "sizes": (lambda: vmap(mynn.dot)(X, X.T), ShapeError, "have extents 2, 3"),
    "nothing mapped": (lambda: vmap(mynn.sin, (None,))(X), ArgumentError, "nothing to map over"),
    "by name alone": (lambda: vmap(lambda a: a)(a=X), ArgumentError, "without positional"),
    "a number mapped": (lambda: vmap(mynn.mul)(X, 2.0), ArgumentError, "axis 0 of 2.0"),
    "no such axis": (lambda: vmap(mynn.sin, 2)(X), ArgumentError, r"axis 2 .* -2\.\.1"),
    "no axes": (lambda: vmap(mynn.sin)(X.sum()), ArgumentError, "a single number"),
    "out_dims": (lambda: vmap(mynn.sin, 0, 2)(X), ArgumentError, r"axis 2 .* has 2 axes"),
    "out_dims None": (lambda: vmap(mynn.sin, 0, None)(X), ArgumentError, "depends on the example"),
    "more out_dims": (
        lambda: vmap(lambda a: (a, a), 0, (0, 0, 0))(X),
        ArgumentError,
        "returned a tuple of 2",
    ),
    "no tensor": (lambda: vmap(lambda a: 3.0)(X), ArgumentError, "it returned 3.0"),
    "item": (lambda: vmap(lambda a: a * a.sum().item())(X), UsageError, "no value.*vmap computes"),
    "if": (
        lambda: vmap(lambda a: a if a.sum() > 0 else -a)(X),
        UsageError,
        "mynn.where instead of if; vmap computes",
    ),
    "numpy": (lambda: vmap(np.asarray)(X), UsageError, "no value yet"),
    "mask": (lambda: vmap(lambda a: a[a > 1])(X), UsageError, "mynn.where"),
    "written": (lambda: vmap(SAME.add_)(X), UsageError, r"in place to a tensor f64\[3\].*mapped"),
    "random": (lambda: vmap(lambda a: a + mynn.rand(3))(X), UsageError, '"different".*"same"'),
    "randomness": (lambda: vmap(mynn.sin, randomness="no"), ArgumentError, "it is 'no'"),
    "chunk_size": (lambda: vmap(mynn.sin, chunk_size=0), ArgumentError, "chunk_size must be"),
    "backward": (_backward, UsageError, "use mynn.func.grad"),
    "leak": (_leaks, UsageError, "inside a traced function has no value"),
    "index": (
        lambda: vmap(lambda a, i: a[i])(X, mynn.tensor([1, 7])),
        IndexRangeError,
        r"index 7 at \(1,\) is out of range for axis 0 of extent 3.*test_vmap.py",
    ),
    "label": (
        lambda: vmap(nn.functional.cross_entropy)(X, mynn.tensor([1, 7])),
        DataError,
        r"labels must lie in 0\.\.2 for 3 classes, there is 7",
    ),
    "matrix": (
        lambda: vmap(mynn.linalg.inv)(mynn.ones(2, 3, 3)),
        DataError,
        "linalg.inv: Singular matrix",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()
    assert not SAME.numpy().any()


def test_changes_in_place_reach_what_is_mapped() -> None:
    x = mynn.ones(2, 3)
    vmap(lambda a: a.add_(1), in_dims=1)(x)
    assert x.tolist() == [[2.0] * 3] * 2
    count = mynn.zeros(())
    vmap(lambda a: count.add_(1) + a)(x)
    assert count.item() == 1


def test_random_numbers() -> None:
    x = mynn.zeros(3)
    draw = lambda a: a + mynn.rand(2) + mynn.rand(())[None]  # noqa: E731
    mynn.manual_seed(0)
    different = vmap(draw, randomness="different")(x).numpy()
    mynn.manual_seed(0)
    same = vmap(draw, randomness="same")(x).numpy()
    following = mynn.rand(2).numpy()
    mynn.manual_seed(0)
    np.testing.assert_array_equal(draw(mynn.zeros(())).numpy(), same[0])
    np.testing.assert_array_equal(mynn.rand(2).numpy(), following)
    assert (same == same[0]).all()
    assert len(np.unique(different)) == different.size

    mynn.manual_seed(0)
    compiled = mynn.compile(vmap(draw, randomness="different"), backend="interpreter")
    np.testing.assert_array_equal(compiled(x.numpy()), different)
    # Different for the outer examples too, or the same for all of them.
    both = vmap(vmap(draw, randomness="different"), randomness="same")(mynn.zeros(2, 3)).numpy()
    np.testing.assert_array_equal(both[0], both[1])
    all_of_them = vmap(vmap(draw, randomness="different"), randomness="different")
    assert len(np.unique(all_of_them(mynn.zeros(2, 3)).numpy())) == 12


def test_history() -> None:
    """Gradients flow to what is mapped and to what is not; where nobody asks, nothing is kept."""
    x, w = mynn.ones(2, 3, requires_grad=True), mynn.ones(3, requires_grad=True)
    y = vmap(lambda a: (a * w * a.detach()).sum())(x)
    y.sum().backward()
    assert x.grad.tolist() == [[1.0] * 3] * 2  # type: ignore[union-attr]
    assert w.grad.tolist() == [2.0] * 3  # type: ignore[union-attr]
    with mynn.no_grad():
        assert not vmap(lambda a: a * w)(x).requires_grad
    assert not vmap(lambda a: a * 2)(x.detach()).requires_grad
    assert not hessian(lambda a: (a**3).sum())(w.detach()).requires_grad
    (again,) = mynn.autograd.grad(jacrev(lambda a: (a**3).sum())(w).sum(), w)
    assert again.tolist() == [6.0] * 3


def test_in_a_compiled_function() -> None:
    """Native code, and state that the function reads: gradients of each sample of a network."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3))
    images = mapped_arrays()[3].astype(np.float32)
    labels = np.array([0, 2, 1, 1])

    def loss(p: Any, x: Any, t: Any) -> Any:
        out = mynn.func.functional_call(net, p, x.unsqueeze(0))
        return nn.functional.cross_entropy(out, t.unsqueeze(0))

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    compiled = mynn.compile(lambda x, t: each(dict(net.named_parameters()), x, t))
    at_once = each(dict(net.named_parameters()), mynn.tensor(images), mynn.tensor(labels))
    program = compiled.program(images, labels)
    for name, one in compiled(images, labels).items():
        np.testing.assert_allclose(one, at_once[name].numpy(), rtol=1e-4, atol=1e-6)
    assert compiled.program(images, labels) is program
    for name, parameter in net.named_parameters():
        loss_of = nn.functional.cross_entropy(net(mynn.tensor(images)), mynn.tensor(labels))
        (mean,) = mynn.autograd.grad(loss_of, parameter)
        np.testing.assert_allclose(at_once[name].mean(0).numpy(), mean.numpy(), atol=1e-6)
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.2"):
        compiled(images, labels + 1)


def test_what_the_function_reads_is_looked_at() -> None:
    """Through all transformations around it."""
    factor = 2.0
    cubes = lambda x: (x**3).sum() * factor  # noqa: E731
    compiled = mynn.compile(vmap(vmap(hessian(cubes))), backend="interpreter")
    x = np.ones((2, 2, 1), np.float32)
    assert compiled(x).max() == 12
    factor = 3.0
    assert compiled(x).max() == 18


def test_on_a_tape() -> None:
    """Calls that wait to be run are arguments and results like others."""
    w = mynn.ones(3, requires_grad=True)
    with mynn.eager("tape"):
        x = mynn.ones(2, 3) * 2
        y = vmap(lambda a: (a * w).sum())(x + 1) * 2
        y.sum().backward()
        assert y.tolist() == [18.0, 18.0]
        assert w.grad.tolist() == [12.0] * 3  # type: ignore[union-attr]
        assert grad(lambda a: (a * w).sum())(x[0]).tolist() == [1.0] * 3


class Cube(mynn.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * x * 10


def test_functions_with_gradients_of_their_own() -> None:
    x = mynn.ones(2, 3) * 2
    assert_same(vmap(Cube.apply)(x), x**3)
    assert_same(vmap(grad(lambda a: Cube.apply(a).sum()))(x), x * 10)
    assert_same(jacrev(Cube.apply)(x[0]), mynn.eye(3) * 20)
    x.requires_grad_()
    with pytest.raises(UsageError, match=r"vmap\(grad\(f\)\)"):
        vmap(vmap(Cube.apply))(x).sum().backward()


MATRICES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "inverse": lambda T, a, s: T.vmap(T.linalg.inv)(a),
    "solution": lambda T, a, s: T.vmap(lambda b: T.linalg.solve(a[0], b))(s),
    "Cholesky": lambda T, a, s: T.vmap(T.linalg.cholesky)(s),
    "gradient": lambda T, a, s: T.vmap(T.func.grad(T.linalg.det))(a),
    "Hessian": lambda T, a, s: T.func.hessian(lambda a: T.linalg.slogdet(a)[1])(s[0]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name: str) -> None:
    torch = pytest.importorskip("torch")
    a = np.random.default_rng(0).normal(size=(4, 3, 3))
    arrays = (a, a @ a.transpose(0, 2, 1) + np.eye(3))
    expected = MATRICES[name](torch, *map(torch.tensor, arrays))
    assert_same(MATRICES[name](mynn, *map(mynn.tensor, arrays)), expected)
