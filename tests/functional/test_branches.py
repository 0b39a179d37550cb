"""Branches and loops with a condition: at once, interpreted, compiled; derivatives; refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, functional, nn, optim
from mynn.core import interpreter
from mynn.core.graph import verify
from mynn.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, UsageError
from mynn.jit.stage import stage
from mynn.random import Generator
from mynn.transform.check import check_grads
from tests.compiler.harness import Case

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4))
W = RNG.normal(size=(4, 4)) * 0.4
YES, NO = np.asarray(True), np.asarray(False)


def leaves(value: Any) -> list[Any]:
    return list(mynn.base.structure.flatten(value))


def nested(p: Any, x: Any) -> Any:
    inner = lambda x: mynn.cond(x.sum() > 0, lambda: x.tanh(), lambda: x * 2)  # noqa: E731
    return mynn.cond(p, inner, lambda x: x @ W, (x,))


def structured(p: Any, x: Any) -> Any:
    """Nested results; one side gives back what it is given, the other a constant."""
    return mynn.cond(
        p,
        lambda x: {"a": x, "b": (x[0], x.sum())},
        lambda x: {"a": x.T.T * 0.5, "b": (np.ones(4), x.mean())},
        (x,),
    )


def halved(x: Any, n: Any) -> Any:
    return x * 0.5 + 0.01, n + 1


def norm_above(x: Any, n: Any) -> Any:
    return (x * x).sum() > 0.5


def in_a_scan(p: Any, x: Any) -> Any:
    def step(c: Any, row: Any) -> Any:
        new = mynn.cond(row.sum() > 0, lambda: c + row, lambda: c * row, ())
        rounds = mynn.while_loop(lambda n: n < new.sum(), lambda n: (n + 1,), (new[0] * 0,))
        return new, rounds[0]

    return mynn.scan(step, x[0], x)


def loop_in_a_branch(p: Any, x: Any) -> Any:
    return mynn.cond(
        p, lambda x: mynn.while_loop(norm_above, halved, (x, 0))[0], lambda x: -x, (x,)
    )


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "two functions": lambda p, x: mynn.cond(p, lambda x: (x * 2).tanh(), lambda x: x @ W, (x,)),
    "without operands": lambda p, x: mynn.cond(p, lambda: mynn.exp(x), lambda: x - 1.0),
    "nested": nested,
    "structured": structured,
    "the same": lambda p, x: mynn.cond(p, lambda x: x, lambda x: x, (x,)),
    "constants": lambda p, x: mynn.cond(p, lambda: np.ones(3), lambda: np.arange(3.0)),
    "empty": lambda p, x: mynn.cond(p, lambda x: x[:0], lambda x: x[:0] * 2, (x,)),
    "loop": lambda p, x: mynn.while_loop(norm_above, halved, (x, 0)),
    "no rounds": lambda p, x: mynn.while_loop(lambda x: x.sum() > 1e9, lambda x: (x * 2,), (x,)),
    "exchanged": lambda p, x: mynn.while_loop(
        lambda a, b, n: n < 3, lambda a, b, n: (b, a @ W, n + 1), (x, x * 2, 0)
    ),
    "at most": lambda p, x: mynn.while_loop(norm_above, halved, (x, 0), max_steps=2),
    "at most more": lambda p, x: mynn.while_loop(norm_above, halved, (x, 0), max_steps=20),
    "in a scan": in_a_scan,
    "loop in a branch": loop_in_a_branch,
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("p", [YES, NO])
@pytest.mark.parametrize("name", CASES)
def test_all_ways_agree(name: str, p: Any) -> None:
    function = CASES[name]
    expected = [np.asarray(x) for x in leaves(function(p, X))]
    graph = stage(function, (p, X)).graph
    verify(graph)
    case = Case(graph)
    arrays = [p, X]
    for ways in (interpreter.evaluate(graph, arrays), case.native(arrays), case.evaluated(arrays)):
        for got, wanted in zip(ways, expected, strict=True):
            assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_only_the_branch_that_is_taken_is_run() -> None:
    """It counts in the state that it writes."""
    counts = [mynn.tensor(0), mynn.tensor(0)]

    def side(number: int) -> Any:
        def run(x: Any) -> Any:
            counts[number].add_(1)
            return x * (number + 1)

        return run

    function = mynn.compile(lambda p, x: mynn.cond(p, side(0), side(1), (x,)))
    for p in (YES, NO, NO):
        function(p, X)
    assert [count.item() for count in counts] == [1, 2]
    assert "branch" in function.program(YES, X).loop_ir


def smooth(w: Any, x: Any) -> Any:
    """Of both branches; w is used without being an operand."""
    y = mynn.cond(x.sum() > 100, lambda x: x @ w, lambda x: (x @ w.T).tanh() * w[0, 0], (x,))
    z = mynn.cond(x.sum() < 100, lambda: (y * y, x), lambda: (y, x * y))
    return (z[0] * z[1]).sum()


def test_gradients_of_branches_to_second_order() -> None:
    check_grads(smooth, (W, X), 2)
    for function in (mynn.grad(smooth, (0, 1)), mynn.grad(second, (0, 1))):
        traced = mynn.compile(function)(W, X)
        for ours, wanted in zip(traced, function(W, X), strict=True):
            np.testing.assert_allclose(np.asarray(ours), wanted.numpy(), rtol=1e-9, atol=1e-12)


def second(w: Any, x: Any) -> Any:
    first = mynn.grad(smooth, (0, 1))(w, x)
    return (first[0] * first[0]).sum() + (first[1] * x).sum()


def bounded(w: Any, x: Any) -> Any:
    """A loop whose gradient is a scan's."""
    y, _ = mynn.while_loop(
        lambda y, n: n < 3, lambda y, n: ((y @ w).tanh(), n + 1), (x, 0), max_steps=5
    )
    return (y * y).sum()


def test_a_bounded_loop_has_a_gradient() -> None:
    check_grads(bounded, (W, X), 2)
    traced = mynn.compile(mynn.grad(bounded, (0, 1)))(W, X)
    for ours, wanted in zip(traced, mynn.grad(bounded, (0, 1))(W, X), strict=True):
        np.testing.assert_allclose(np.asarray(ours), wanted.numpy(), rtol=1e-9, atol=1e-12)


def unbounded(w: Any, x: Any) -> Any:
    y, _ = mynn.while_loop(lambda y, n: n < 3, lambda y, n: ((y @ w).tanh(), n + 1), (x, 0))
    return (y * y).sum(1)


def test_derivatives_in_a_direction_go_through_a_loop() -> None:
    tangents = (np.ones_like(W), np.cos(X))
    along = lambda w, x: mynn.func.jvp(unbounded, (w, x), tangents)  # noqa: E731
    value, product = along(W, X)
    step = 1e-6
    ends = [unbounded(W + s * tangents[0], X + s * tangents[1]).numpy() for s in (step, -step)]
    np.testing.assert_allclose(product.numpy(), (ends[0] - ends[1]) / (2 * step), rtol=1e-7)
    traced = mynn.compile(along)(W, X)
    np.testing.assert_allclose(np.asarray(traced[0]), value.numpy(), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(traced[1]), product.numpy(), rtol=1e-12)


def test_derivatives_in_two_directions() -> None:
    def twice(x: Any) -> Any:
        inner = lambda x: mynn.func.jvp(lambda y: unbounded(W, y), (x,), (np.cos(X),))[1]  # noqa: E731
        return mynn.func.jvp(inner, (x,), (np.sin(X),))[1]

    np.testing.assert_allclose(np.asarray(mynn.compile(twice)(X)), twice(X).numpy(), rtol=1e-10)


def test_a_gradient_backwards_through_a_loop_is_refused() -> None:
    function = mynn.compile(mynn.grad(lambda x: unbounded(W, x).sum()))
    with pytest.raises(UsageError, match=r"max_steps.*mynn\.scan"):
        function(X)


def collatz(n: Any) -> Any:
    """An integer, and how many rounds it takes to 1."""

    def body(n: Any, count: Any) -> Any:
        return mynn.cond(n % 2 == 0, lambda: n // 2, lambda: 3 * n + 1), count + 1

    return mynn.while_loop(lambda n, count: n > 1, body, (n, n * 0))


def test_loops_over_a_number_that_is_given_at_run_time() -> None:
    """One program, and the bits of the program for that number of rounds."""
    xs = RNG.normal(size=(9, 3, 4))

    def last(n: Any, xs: Any) -> Any:
        return mynn.fori_loop(1, n, lambda i, h: (h @ W + xs[i]).tanh(), xs[0])

    function = mynn.compile(last)
    for n in (9, 1, 5, 0):
        known = mynn.compile(lambda xs, n=n: last(n, xs))(xs)
        np.testing.assert_array_equal(np.asarray(function(np.int64(n), xs)), np.asarray(known))
        np.testing.assert_allclose(
            np.asarray(known), last(mynn.tensor(n), mynn.tensor(xs)).numpy(), rtol=1e-12
        )
    assert len(function._programs) == 1
    for wrong, error in ((1.5, DTypeError), (np.arange(2), ShapeError)):
        with pytest.raises(error, match="fori_loop: upper must be a"):
            function(wrong, xs)


def test_many_examples_at_once() -> None:
    """Each goes on as long as it does alone; a choice for each is a choice of both branches."""
    numbers = np.array([1, 6, 27, 7])
    for ways in (mynn.func.vmap(collatz), mynn.compile(mynn.func.vmap(collatz))):
        last, counts = ways(numbers)
        assert np.asarray(last).tolist() == [1, 1, 1, 1]
        assert np.asarray(counts).tolist() == [0, 8, 111, 16]


def test_many_examples_of_one_choice() -> None:
    xs, ps = np.stack([X, -X]), np.array([True, False])
    for name in ("two functions", "structured", "nested", "loop", "loop in a branch", "exchanged"):
        function = CASES[name]
        for p, dim in ((YES, None), (NO, None), (ps, 0)):
            mapped = mynn.func.vmap(function, in_dims=(dim, 0))
            expected = [function(p if dim is None else p[i], xs[i]) for i in range(2)]
            for ways in (mapped(p, xs), mynn.compile(mapped)(p, xs)):
                for number, got in enumerate(leaves(ways)):
                    each = np.stack([leaves(one)[number].numpy() for one in expected])
                    np.testing.assert_allclose(np.asarray(got), each, rtol=1e-9, atol=1e-12)


def test_gradients_of_many_examples() -> None:
    def loss(x: Any) -> Any:
        return mynn.cond(x.sum() > 0, lambda: (x * x).sum(), lambda: (x.exp()).sum())

    xs = np.stack([X, -X, X * 0.1])
    mapped = mynn.func.vmap(mynn.grad(loss))
    expected = np.stack([mynn.grad(loss)(x).numpy() for x in xs])
    np.testing.assert_allclose(mapped(xs).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(mynn.compile(mapped)(xs)), expected, rtol=1e-12)


def test_generators_go_on() -> None:
    def draws(generator: Generator) -> Any:
        def body(n: Any, x: Any) -> Any:
            return n + 1, mynn.random.uniform((3,), generator=generator)

        def function(p: Any, n: Any) -> Any:
            _, x = mynn.while_loop(lambda n, x: n < 3, body, (n, mynn.zeros(3)))
            draw = lambda: mynn.random.uniform((3,), generator=generator)  # noqa: E731
            return x + mynn.cond(p, draw, lambda: mynn.zeros(3))

        return function

    eager, generator = Generator(7), Generator(7)
    function = mynn.compile(draws(generator))
    for p in (NO, YES, NO, YES):
        np.testing.assert_allclose(
            np.asarray(function(p, np.int64(0))), draws(eager)(p, np.int64(0)).numpy(), rtol=1e-6
        )


def test_checks_hold_in_the_branch_that_is_taken() -> None:
    table = mynn.tensor(W)
    function = mynn.compile(lambda p, i: mynn.cond(p, lambda: table[i], lambda: table[i % 4] * 2))
    function(NO, np.array([1, 9]))
    with pytest.raises(IndexError, match="index 9 at \\(1,\\) is out of range"):
        function(YES, np.array([1, 9]))


def test_checks_in_a_loop_stop_the_step() -> None:
    table = mynn.tensor(np.array([1, 7, 2, 0]))
    walk = mynn.compile(
        lambda i: mynn.while_loop(lambda i, n: n < 5, lambda i, n: (table[i], n + 1), (i, 0))[0]
    )
    assert np.asarray(walk(np.int64(2))) == 2
    with pytest.raises(IndexError, match=r"index 7 .*is out of range"):
        walk(np.int64(0))


def test_in_a_training() -> None:
    """The same losses in the native loop and in a loop in Python, on the tape or at once."""
    x = RNG.normal(size=(64, 4)).astype(np.float32)
    t = x.sum(1, keepdims=True)

    def made() -> Any:
        mynn.manual_seed(0)
        net = nn.Linear(4, 1)
        optimizer = optim.SGD(net.parameters(), lr=0.05)

        def step(x: Any, t: Any) -> Any:
            error = net(x) - t
            square = (error * error).mean()
            loss = mynn.cond(square < 0.5, lambda: square * 2, lambda: error.abs().mean())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return step

    native = mynn.fit(made(), (x, t), epochs=8, batch_size=64, shuffle=False)["loss"]
    step = made()
    by_hand = [step(mynn.tensor(x), mynn.tensor(t)).item() for _ in range(8)]
    np.testing.assert_allclose(native, by_hand, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: mynn.cond(x, lambda: x, lambda: x), DTypeError, "compare it, x > 0"),
        (lambda x: mynn.cond(x > 0, lambda: x, lambda: x), ShapeError, "use .all() or .any()"),
        (lambda x: mynn.cond(True, lambda x: x, lambda x: x, x), ArgumentTypeError, "write (x,)"),
        (lambda x: mynn.while_loop(lambda x: x, lambda x: (x,), (x,)), DTypeError, "cond_fn"),
        (
            lambda x: mynn.while_loop(lambda x: x.sum() < 9, lambda x: (x[:1],), (x,)),
            ShapeError,
            "the carry carry has shape (3, 4) before a step and (1, 4) after it",
        ),
        (
            lambda x: mynn.while_loop(lambda x: x.sum() < 9, lambda x: x, (x,)),
            ShapeError,
            "of the form that it is given",
        ),
        (lambda x: mynn.while_loop(norm_above, halved, x), ArgumentTypeError, "write (x,)"),
        (
            lambda x: mynn.while_loop(norm_above, halved, (x, 0), max_steps=-1),
            ArgumentError,
            "must not be negative",
        ),
    ],
)
def test_refusals(call: Any, error: Any, words: str) -> None:
    x = np.abs(X) * 0.01 if "9" in words else X
    for function in (lambda: call(mynn.tensor(x)), lambda: stage(call, (x,))):
        with pytest.raises(error) as caught:
            function()
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("sides", "error", "words"),
    [
        ((lambda x: x, lambda x: x[0]), ShapeError, "has shape (3, 4) where true_fn returned it"),
        ((lambda x: x, lambda x: x > 0), DTypeError, "bool from false_fn"),
        ((lambda x: x, lambda x: (x, x)), ShapeError, "results of one form"),
    ],
)
def test_both_branches_return_the_same_kinds(sides: Any, error: Any, words: str) -> None:
    with pytest.raises(error) as caught:
        stage(lambda p, x: mynn.cond(p, *sides, (x,)), (YES, X))
    assert words in str(caught.value)


def test_backward_within_a_branch_is_refused() -> None:
    w = Parameter(W)

    def loss() -> Any:
        total = (w * w).sum()
        total.backward()
        return total

    with pytest.raises(UsageError, match="call backward\\(\\) behind cond"):
        stage(lambda p: mynn.cond(p, loss, lambda: functional.relu(w).sum()), (YES,))
