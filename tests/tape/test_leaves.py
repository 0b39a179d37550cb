"""Plain tensors that are trained: leaves, and what an update keeps for them, as results of a tape.

Each loop gives on the tape what it gives at once and in PyTorch.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import mynn
from mynn.base import recording
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.trial import PATIENCE
from mynn.tape.pieces.waiting import Waiting

ROUNDS = 9
random = np.random.default_rng(3)
DATA = random.normal(size=(6, 4)).astype(np.float32)
WANTED = random.normal(size=(6, 2)).astype(np.float32)
FIRST = random.normal(size=(4, 2)).astype(np.float32)
# Loops are written for both frameworks.
Loop = Callable[[Any], Iterator[list[Any]]]


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What comes a second time is a program."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    monkeypatch.setattr("mynn.tape.pieces.piece.native_available", lambda: False)
    with mynn.eager("tape"):
        yield recording.current.own


def leaves(T: Any) -> tuple[Any, Any]:
    return T.tensor(FIRST, requires_grad=True), T.zeros(2, requires_grad=True)


def loss_of(T: Any, w: Any, b: Any) -> Any:
    return ((T.tanh(T.tensor(DATA) @ w + b) - T.tensor(WANTED)) ** 2).mean()


def under_no_grad(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        with T.no_grad():
            for one in (w, b):
                one -= 0.5 * one.grad
                one.grad = None
        yield [loss, w, b]


def gradients_set_to_zero(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        with T.no_grad():
            for one in (w, b):
                one.sub_(0.5 * one.grad)
                one.grad.zero_()
        yield [loss, w, b, w.grad, b.grad]


def gradients_set_to_zero_first(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        for one in (w, b):
            if one.grad is not None:
                one.grad.zero_()
        loss = loss_of(T, w, b)
        loss.backward()
        with T.no_grad():
            for one in (w, b):
                one.add_(one.grad, alpha=-0.5)
        yield [loss, w, b, w.grad, b.grad]


def gradients_added_up(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        for scale in (0.5, 1.5):
            (scale * loss_of(T, w, b)).backward()
        with T.no_grad():
            for one in (w, b):
                one -= 0.25 * one.grad
                one.grad = None
        yield [w, b]


def data_in_place(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        for one in (w, b):
            one.data -= 0.5 * one.grad
            one.grad = None
        yield [loss, w, b]


def data_by_methods(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        for one in (w, b):
            one.data.add_(one.grad.data, alpha=-0.5)
            one.grad.data.zero_()
        yield [loss, w, b, w.grad]


def data_assigned(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        for one in (w, b):
            one.data = one.data - 0.5 * one.grad
            one.grad = None
        yield [loss, w, b]


def made_anew(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        w, b = ((one - 0.5 * one.grad).detach().requires_grad_() for one in (w, b))
        yield [loss, w, b]


def made_anew_under_no_grad(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        with T.no_grad():
            w, b = w - 0.5 * w.grad, b - 0.5 * b.grad
        w.requires_grad_()
        b.requires_grad_(True)
        yield [loss, w, b]


def made_anew_and_kept(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        after = [one - 0.5 * one.grad for one in (w, b)]
        w, b = (one.detach().requires_grad_() for one in after)
        yield [loss, w, b, *after]


def by_grad(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        found = T.autograd.grad(loss, [w, b])
        with T.no_grad():
            for one, gradient in zip((w, b), found, strict=True):
                one -= 0.5 * gradient
        yield [loss, w, b]


def momentum(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    kept = [T.zeros_like(one) for one in (w, b)]
    while True:
        loss = loss_of(T, w, b)
        loss.backward()
        with T.no_grad():
            for one, v in zip((w, b), kept, strict=True):
                v.mul_(0.9).add_(one.grad)
                one -= 0.2 * v
                one.clamp_(-1.0, 1.0)
                one.grad = None
        yield [loss, w, b, *kept]


def adam(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    first, second = ([T.zeros_like(one) for one in (w, b)] for _ in range(2))
    step = 0
    while True:
        step += 1
        loss = loss_of(T, w, b)
        loss.backward()
        with T.no_grad():
            for one, m, v in zip((w, b), first, second, strict=True):
                m.mul_(0.9).add_(one.grad, alpha=0.1)
                v.mul_(0.99).addcmul_(one.grad, one.grad, value=0.01)
                size = (v / (1 - 0.99**step)).sqrt() + 1e-6
                one -= 0.1 * (m / (1 - 0.9**step)) / size
                one.grad = None
        yield [loss, w, b, *first, *second]


def looked_at_before_backward(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        loss = loss_of(T, w, b)
        assert loss.item() >= 0.0
        loss.backward()
        with T.no_grad():
            for one in (w, b):
                one -= 0.5 * one.grad
                one.grad = None
        yield [loss, w, b]


def never_looked_at(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    while True:
        for _ in range(5):
            loss_of(T, w, b).backward()
            with T.no_grad():
                for one in (w, b):
                    one -= 0.5 * one.grad
                    one.grad = None
        yield [w, b]


def looked_at_through_views(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    row, whole = w.detach()[1], w.data
    while True:
        loss = loss_of(T, w, b) + (row * row).sum() * 0.0
        loss.backward()
        with T.no_grad():
            w -= 0.5 * w.grad
            b -= 0.5 * b.grad
            turned = w.T
        w.grad = b.grad = None
        yield [row, whole, turned, w]


def averaged(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    mean, total = w.detach().clone(), T.zeros(())
    while True:
        loss = loss_of(T, w, b)
        total += loss.detach()
        loss.backward()
        with T.no_grad():
            w -= 0.5 * w.grad
            b.copy_(b - 0.5 * b.grad)
            mean.lerp_(w, 0.1)
        w.grad = b.grad = None
        yield [total, mean, w, b]


def a_part_of_them(T: Any) -> Iterator[list[Any]]:
    """The gradient of what is not updated stays, and grows."""
    w, b = leaves(T)
    while True:
        loss_of(T, w, b).backward()
        with T.no_grad():
            w -= 0.5 * w.grad
        w.grad = None
        yield [w, b, b.grad]


def chain(T: Any) -> Iterator[list[Any]]:
    """Steps down a slope with a push aside, as in Langevin dynamics."""
    x = T.tensor(FIRST).requires_grad_()
    push = T.tensor(FIRST[::-1].copy())
    while True:
        energy = ((x - 1.0) ** 2).sum() + (x**4).sum() * 0.1
        (slope,) = T.autograd.grad(energy, x)
        x = (x - 0.02 * slope + 0.1 * push).detach().requires_grad_()
        yield [energy, x]


def attack(T: Any) -> Iterator[list[Any]]:
    """Inputs that make a loss larger, step by step, within bounds."""
    w, b = leaves(T)
    x = T.tensor(DATA)
    while True:
        moved = (x + 0.01).requires_grad_()
        for _ in range(3):
            loss = ((moved @ w + b) ** 2).mean()
            loss.backward()
            with T.no_grad():
                moved += 0.05 * moved.grad.sign()
                moved.copy_(T.minimum(T.maximum(moved, x - 0.1), x + 0.1))
            moved.grad = None
        w.grad = b.grad = None
        yield [moved]


def optimizer(T: Any) -> Iterator[list[Any]]:
    w, b = leaves(T)
    update = T.optim.SGD([w, b], lr=0.2, momentum=0.9)
    while True:
        update.zero_grad()
        loss = loss_of(T, w, b)
        loss.backward()
        update.step()
        yield [loss, w, b]


LOOPS: list[Loop] = [
    under_no_grad,
    gradients_set_to_zero,
    gradients_set_to_zero_first,
    gradients_added_up,
    data_in_place,
    data_by_methods,
    data_assigned,
    made_anew,
    made_anew_under_no_grad,
    made_anew_and_kept,
    by_grad,
    momentum,
    adam,
    looked_at_before_backward,
    never_looked_at,
    looked_at_through_views,
    averaged,
    a_part_of_them,
    chain,
    attack,
    optimizer,
]


def arrays(results: list[Any]) -> list[Any]:
    return [np.array(one.detach().numpy()) for one in results]


def rounds(loop: Loop, T: Any, count: int = ROUNDS) -> list[list[Any]]:
    steps = loop(T)
    return [arrays(next(steps)) for _ in range(count)]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_loops_give_what_they_give_at_once_and_in_pytorch(loop: Loop) -> None:
    theirs = rounds(loop, torch)
    with mynn.eager("at once"):
        wanted = rounds(loop, mynn)
    found = rounds(loop, mynn)
    for ours, same, other in zip(found, wanted, theirs, strict=True):
        for one, at_once, foreign in zip(ours, same, other, strict=True):
            np.testing.assert_array_equal(one, at_once)  # the interpreter runs the programs
            np.testing.assert_allclose(one, foreign, rtol=2e-5, atol=1e-6)


# What is one program for a step, once it is known.
WHOLE = [
    under_no_grad,
    gradients_set_to_zero,
    gradients_set_to_zero_first,
    data_in_place,
    data_by_methods,
    data_assigned,
    made_anew,
    made_anew_under_no_grad,
    by_grad,
    momentum,
    chain,
]


@pytest.mark.parametrize("loop", WHOLE, ids=lambda loop: loop.__name__)
def test_a_step_is_one_program(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    flush = Waiting._prepared

    def noted(self: Waiting, step: Any, held: Any) -> Any:
        ran.append(flush(self, step, held))
        return ran[-1]

    monkeypatch.setattr(Waiting, "_prepared", noted)
    steps = loop(mynn)
    for _ in range(30):
        next(steps)[-1].tolist()
    for _ in range(3):
        ran.clear()
        next(steps)[-1].tolist()
        assert [type(one) for one in ran] == [Piece]


@pytest.mark.parametrize(
    "loop",
    [made_anew, made_anew_and_kept, chain, under_no_grad, momentum],
    ids=lambda loop: loop.__name__,
)
@pytest.mark.parametrize("way", ["tape", "at once"])
def test_memory_is_level(loop: Loop, way: Any) -> None:
    """Nothing of a step is alive when the next but one has ended."""
    with mynn.eager(way):
        steps = loop(mynn)
        for _ in range(12):
            next(steps)[0].item()
        first = next(steps)
        noted = [weakref.ref(one) for one in first if one.shape == () or loop is not momentum]
        kept = {id(one) for one in first} if loop in (under_no_grad, momentum) else set()
        del first
        for _ in range(3):
            next(steps)[0].item()
        gc.collect()
        alive = [one() for one in noted if one() is not None and id(one()) not in kept]
        assert not alive
        before = len(gc.get_objects())
        for _ in range(20):
            next(steps)[0].item()
        gc.collect()
        assert len(gc.get_objects()) - before < 60


def test_a_gradient_that_is_read_as_another_is_put_off() -> None:
    """To see whether there is a gradient has all run that waits, in the middle of `backward`."""
    w = mynn.tensor(FIRST, requires_grad=True)
    for _ in range(ROUNDS):
        x = mynn.tensor(DATA, requires_grad=True)
        ((x @ w) ** 2).sum().backward()
        gradient = x.grad
        assert gradient is not None
        assert gradient.shape == x.shape
    np.testing.assert_allclose(gradient.numpy(), 2 * DATA @ FIRST @ FIRST.T, rtol=1e-5)
    np.testing.assert_allclose(w.grad.numpy(), ROUNDS * 2 * DATA.T @ DATA @ FIRST, rtol=1e-5)
