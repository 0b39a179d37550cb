"""Scans: at once, interpreted, compiled; their gradients; what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, Tensor, functional
from mynn.core import interpreter
from mynn.core.graph import bodies_of, verify
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.jit.stage import stage
from mynn.random import Generator
from mynn.transform.check import check_grads
from tests.compiler.harness import Case

RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 2, 4))
W = RNG.normal(size=(4, 4)) * 0.4
H = RNG.normal(size=(2, 4))
KEYS = np.array([[0, 2], [3, 3], [1, 0], [2, 1], [0, 0]])


def affine(c: Any, x: Any) -> Any:
    h = (c @ W + x).tanh()
    return h, h * h


def pairs(c: Any, x: Any) -> Any:
    """Carries that change places, one that stays, and one that nobody reads."""
    a, b, same, count = c["a"], c["b"], c["same"], c["count"]
    new = {"a": b + x["u"], "b": a * 0.5, "same": same, "count": count + 1}
    return new, (a.sum(), x["v"] * same)


def fib(c: Any, x: Any) -> Any:
    return (c[1], c[0] + c[1]), None


def nested(c: Any, x: Any) -> Any:
    inner, ys = functional.control.scan(lambda a, b: (a * 0.5 + b, a), c, x)
    return inner.tanh(), ys.sum(0)


def scan_of(f: Any, init: Any, xs: Any, **options: Any) -> Callable[[], Any]:
    return lambda: (f, init, xs, options)


PAIRS = {"a": H, "b": H + 1, "same": H * 2, "count": np.int64(3)}
CASES = {
    "affine": scan_of(affine, H, X),
    "reverse": scan_of(affine, H, X, reverse=True),
    "pairs": scan_of(pairs, PAIRS, {"u": X, "v": X[:, :1]}),
    "no xs": scan_of(fib, (np.ones(()), np.ones(())), None, length=7),
    "one step": scan_of(affine, H, X[:1]),
    "many": scan_of(lambda c, x: (c + x, c), np.zeros(3), np.ones((300, 3))),
    "nested": scan_of(nested, H, RNG.normal(size=(3, 4, 2, 4))),
    "picks": scan_of(lambda c, i: (c + mynn.tensor(W)[i], i * 2), H * 0, KEYS),
    "constants": scan_of(lambda c, x: (c * 0, np.ones(3)), H, X),
    "no steps": scan_of(affine, H, X[:0]),
    "empty": scan_of(affine, H[:0], X[:, :0]),
}


def leaves(value: Any) -> list[Any]:
    return list(mynn.base.structure.flatten(value))


@pytest.mark.parametrize("name", CASES)
def test_all_ways_agree(name: str) -> None:
    f, init, xs, options = CASES[name]()
    expected = [np.asarray(x) for x in leaves(mynn.scan(f, init, xs, **options))]
    arguments = (init, xs) if xs is not None else (init,)
    graph = stage(lambda c, x=None: mynn.scan(f, c, x, **options), arguments).graph
    verify(graph)
    arrays = [np.asarray(leaf) for leaf in leaves(arguments)]
    for got, wanted in zip(interpreter.evaluate(graph, arrays), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    case = Case(graph)
    for ways in (case.native(arrays), case.evaluated(arrays) if name != "many" else expected):
        for got, wanted in zip(ways, expected, strict=False):  # one may be a status word
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


def test_the_steps_are_as_written() -> None:
    """Against a loop in NumPy."""
    last, ys = mynn.compile(lambda c, x: mynn.scan(affine, c, x, reverse=True))(H, X)
    h, expected = H, np.empty_like(X)
    for step in reversed(range(len(X))):
        h = np.tanh(h @ W + X[step])
        expected[step] = h * h
    np.testing.assert_allclose(np.asarray(last), h, rtol=1e-9)
    np.testing.assert_allclose(np.asarray(ys), expected, rtol=1e-9)


def gated(w: Any, b: Any, c: Any, x: Any) -> Any:
    """Weights in a product, a sum and by themselves, a mask, several carries."""

    def f(state: Any, now: Any) -> Any:
        h, s = state
        gate = (now @ w + h @ w.T + b).sigmoid()
        h = functional.where(now > 0.5, h, gate * h + b * s)
        return (h, s * gate + w.sum(0)), (h, gate)

    (h, s), (ys, gates) = mynn.scan(f, (c, c * 0.5), x)
    return (h * s).sum() + (ys * ys).sum() + (gates[1:3] * 0.3).sum()


GATED = (W, H[0], H, X)


def test_gradients_to_second_order() -> None:
    check_grads(gated, GATED, 2)
    traced = mynn.compile(mynn.grad(gated, (0, 1, 2, 3)))
    eager = mynn.grad(gated, (0, 1, 2, 3))(*GATED)
    for ours, wanted in zip(traced(*GATED), eager, strict=True):
        np.testing.assert_allclose(np.asarray(ours), wanted.numpy(), rtol=1e-9, atol=1e-12)


def second(w: Any, b: Any, c: Any, x: Any) -> Any:
    first = mynn.grad(gated, (0, 2))(w, b, c, x)
    return (first[0] * first[0]).sum() + (first[1] * c).sum()


def test_a_gradient_of_a_gradient_is_compiled() -> None:
    traced = mynn.compile(mynn.grad(second, (0, 1, 2, 3)))(*GATED)
    eager = mynn.grad(second, (0, 1, 2, 3))(*GATED)
    for ours, wanted in zip(traced, eager, strict=True):
        np.testing.assert_allclose(np.asarray(ours), wanted.numpy(), rtol=1e-8, atol=1e-10)


def test_weight_gradients_are_one_product_after_the_loop() -> None:
    w = Parameter(W)

    def loss(x: Any) -> Any:
        last, _ = mynn.scan(lambda h, now: ((h @ w + now).tanh(), None), H, x)
        last.sum().backward()
        return w.grad

    graph = stage(loss, (X,)).graph
    scans = [node for node in graph.nodes() if node.primitive.name == "scan"]
    products = [
        [node.primitive.name for node in bodies_of(scan)[0].nodes()].count("matmul")
        for scan in scans
    ]
    assert products == [1, 1]  # forward, with what is saved, and backward
    assert [node.primitive.name for node in graph.nodes()].count("contract") == 1


def test_the_program_does_not_grow_with_the_steps() -> None:
    def program(steps: int) -> Any:
        x = np.zeros((steps, 2, 4))
        return mynn.compile(lambda c, x: mynn.scan(affine, c, x)).program(H, x)

    few, many = program(4), program(4000)
    assert len(few.llvm_ir) == pytest.approx(len(many.llvm_ir), rel=0.01)
    assert few.stack_bytes == many.stack_bytes
    assert "repeat k0 in 4000" in many.loop_ir
    assert many.operations > 900 * few.operations


def test_threads_do_not_change_the_bits() -> None:
    x = RNG.normal(size=(6, 64, 32))
    w = RNG.normal(size=(32, 32)) * 0.2

    def step(c: Any, x: Any) -> Any:
        last, ys = mynn.scan(lambda h, now: ((h @ w + now).tanh(), h), c, x @ w)
        return last @ w, ys @ w

    one, two = (mynn.compile(step, threads=threads)(np.zeros((64, 32)), x) for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_generators_go_on_from_step_to_step() -> None:
    def noise(generator: Generator) -> Any:
        return lambda c: mynn.scan(
            lambda h, x: (h + mynn.random.uniform((3,), generator=generator), h), c, length=4
        )

    eager, traced = Generator(7), Generator(7)
    function = mynn.compile(noise(traced))
    for _ in range(2):
        expected = noise(eager)(np.zeros(3, np.float32))
        for a, b in zip(function(np.zeros(3, np.float32)), expected, strict=True):
            np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-6)


def test_checks_in_the_body_stop_the_step() -> None:
    function = mynn.compile(lambda i: mynn.scan(lambda c, k: (c, mynn.tensor(W)[k]), H, i)[1])
    function(KEYS)
    wrong = KEYS.copy()
    wrong[3, 1] = 9
    with pytest.raises(IndexError, match="index 9 at \\(3, 1\\) is out of range"):
        function(wrong)


@pytest.mark.parametrize(
    ("f", "init", "xs", "options", "error", "words"),
    [
        (lambda c, x: (c[:1], x), H, X, {}, ShapeError, "shape (2, 4) before a step and (1, 4)"),
        (lambda c, x: (c.astype("int64"), x), H, X, {}, DTypeError, "float64 before a step"),
        (lambda c, x: ((c, c), x), H, X, {}, ShapeError, "of the form that it is given"),
        (lambda c, x: c, H, X, {}, UsageError, "must return a pair"),
        (affine, H, None, {}, ArgumentError, "give xs, or the number of steps"),
        (affine, H, X, {"length": 4}, ShapeError, "has 5 steps along its first axis, length is 4"),
        (affine, H, (X, X[1:]), {}, ShapeError, "has 4 steps along its first axis, xs has 5"),
        (affine, H, 1.0, {}, ShapeError, "has no axes"),
        (fib, (1.0, 1.0), None, {"length": -1}, ArgumentError, "must not be negative"),
    ],
)
def test_refusals(f: Any, init: Any, xs: Any, options: Any, error: Any, words: str) -> None:
    for call in (mynn.scan, lambda *args, **named: stage(lambda: mynn.scan(*args, **named), ())):
        with pytest.raises(error) as caught:
            call(f, init, xs, **options)
        assert words in str(caught.value)


def test_loops_over_numbers() -> None:
    function = lambda c: mynn.fori_loop(2, 6, lambda i, c: c + i, c)  # noqa: E731
    assert function(1).item() == 15
    assert np.asarray(mynn.compile(function)(np.int64(1))) == 15
    assert mynn.fori_loop(3, 3, lambda i, c: c + i, 5).item() == 5


def test_a_data_error_says_where() -> None:
    targets = np.array([[0, 1], [1, 2]])
    loss = mynn.compile(
        lambda z, t: mynn.scan(
            lambda c, k: (c + functional.cross_entropy(z, k), None), np.float64(0), t
        )[0]
    )
    loss(np.ones((2, 3)), targets)
    targets[1, 0] = 5
    with pytest.raises(DataError, match="there is 5 at \\(1, 0\\)"):
        loss(np.ones((2, 3)), targets)


def test_tensors_are_like_others() -> None:
    w = Tensor(W, requires_grad=True)
    last, ys = mynn.scan(lambda h, x: ((h @ w + x).tanh(), h), H, X)
    (last.sum() + ys.sum()).backward()
    assert w.grad is not None
    assert w.grad.shape == (4, 4)
    frozen, _ = mynn.scan(affine, H, X)
    assert not frozen.requires_grad
    assert ys.requires_grad


def test_a_gradient_of_what_the_body_uses_alone() -> None:
    """w is neither carry nor input, and its cotangents are added up step by step."""

    def loss(w: Any) -> Any:
        return mynn.scan(lambda c, x: ((c * w + x).tanh(), None), H[0], X[:, 0])[0].sum()

    w = W[0]
    check_grads(loss, (w,), 2)
    traced = np.asarray(mynn.compile(mynn.grad(loss))(w))
    np.testing.assert_allclose(traced, mynn.grad(loss)(w).numpy(), rtol=1e-12)


def test_many_examples_at_once() -> None:
    """Mapped over each argument in turn, over gradients, and in a program."""
    arguments = [np.stack([x, x * 0.5 + 0.1, -x]) for x in GATED]
    for dims in ((0, 0, 0, 0), (0, None, None, None), (None, None, None, 0), (None, 0, 0, None)):
        given = [a if dim == 0 else x for a, x, dim in zip(arguments, GATED, dims, strict=True)]
        for function in (gated, mynn.grad(gated, (0, 3))):
            mapped = mynn.func.vmap(function, in_dims=dims)
            expected = [
                function(*(x[i] if dim == 0 else x for x, dim in zip(given, dims, strict=True)))
                for i in range(3)
            ]
            for ways in (mapped(*given), mynn.compile(mapped)(*given)):
                for number, got in enumerate(leaves(ways)):
                    each = np.stack([leaves(one)[number].numpy() for one in expected])
                    np.testing.assert_allclose(np.asarray(got), each, rtol=1e-8, atol=1e-10)
