"""Gradients that are asked for as results, and in-place changes, as calls of a tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import UsageError
from mynn.tape.calls import loops
from mynn.tape.calls.step import Step
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.trial import PATIENCE
from tests.helpers import own_tape

DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(8, 6, 3)).astype(np.float32)
TIMES = 7


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the calls of each program that was made; the interpreter runs them."""
    monkeypatch.setattr("mynn.tape.pieces.piece.native_available", lambda: False)
    found: list[list[str]] = []
    made = Piece.__init__

    def noted(self: Piece, step: Step, *args: Any) -> None:
        found.append([call.name for call in step.calls])
        made(self, step, *args)

    monkeypatch.setattr(Piece, "__init__", noted)
    return found


def network(lib: Any) -> Any:
    net = lib.nn.Sequential(lib.nn.Linear(3, 5), lib.nn.Tanh(), lib.nn.Linear(5, 1))
    rng = np.random.default_rng(0)
    with lib.no_grad():
        for one in net.parameters():
            one.copy_(lib.tensor(rng.normal(size=tuple(one.shape)).astype(np.float32)))
    return net


def penalty(lib: Any) -> Iterator[Any]:
    """A slope in the loss, by a result that asks for a gradient."""
    net = network(lib)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.05)
    for i in range(TIMES):
        between = (lib.tensor(X[i]) * 0.5 + 0.1).requires_grad_(True)
        y = net(between)
        (slope,) = lib.autograd.grad(
            y, between, grad_outputs=lib.ones_like(y), create_graph=True, retain_graph=True
        )
        loss = ((slope.norm(2, dim=1) - 1.0) ** 2).mean() + y.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def equation(lib: Any) -> Iterator[Any]:
    """Second derivatives by leaves, to which `backward` adds gradients, and what they came from."""
    net = network(lib)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.05)
    raw = lib.tensor(X[0].astype(np.float64), requires_grad=True)
    x, z = raw.float(), lib.tensor(X[1], requires_grad=True)
    for _ in range(TIMES):
        optimizer.zero_grad()
        u = net(z)
        (first,) = lib.autograd.grad(u.sum(), z, create_graph=True)
        (second,) = lib.autograd.grad(first.sum(), z, create_graph=True)
        loss = (u * first.sum(1, keepdim=True) - second).pow(2).mean() + net(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        yield loss.item()
    yield z.grad.numpy()
    yield raw.grad.numpy()


def inner(lib: Any) -> Iterator[Any]:
    """An update that is differentiated through, and gradients given to an optimizer."""
    net = network(lib)
    weights = list(net.parameters())
    optimizer = lib.optim.SGD(weights, lr=0.05)
    for i in range(TIMES):
        x, target = lib.tensor(X[i]), lib.tensor(X[i][:, :1])

        def loss_of(w: Any, x: Any = x, target: Any = target) -> Any:
            y = lib.nn.functional.linear(x, w[0], w[1]).tanh()
            return ((lib.nn.functional.linear(y, w[2], w[3]) - target) ** 2).mean()

        copies = [w.clone() for w in weights]
        slopes = lib.autograd.grad(loss_of(copies), copies, create_graph=True)
        loss = loss_of([w - 0.1 * g for w, g in zip(copies, slopes, strict=True)])
        for w, g in zip(weights, lib.autograd.grad(loss / 2, weights), strict=True):
            w.grad = g
        optimizer.step()
        yield loss.item()


def by_hand(lib: Any) -> Iterator[Any]:
    """Updates that are written out, with gradients set to zeros, or to none."""
    net = network(lib)
    for i in range(2 * TIMES):
        loss = (net(lib.tensor(X[i % 8])) ** 2).mean()
        loss.backward()
        with lib.no_grad():
            for one in net.parameters():
                one -= 0.05 * one.grad
                if i % 2:
                    one.grad.zero_()
        if not i % 2:
            for one in net.parameters():
                one.data.mul_(0.99)
                one.grad = None
        yield loss.item()
    yield from [one.detach().numpy() for one in net.parameters()]


def clipped(lib: Any) -> Iterator[Any]:
    """Gradients that are held to a norm before the update."""
    net = network(lib)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.5)
    for i in range(TIMES):
        (net(lib.tensor(X[i])) ** 2).mean().backward()
        norm = lib.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        held = net[0].weight.grad
        yield held.numpy().copy()
        optimizer.zero_grad()
        yield norm.item()


def added(lib: Any) -> Iterator[Any]:
    """Gradients that are added up over two losses, and over the steps."""
    net = network(lib)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.05)
    for i in range(TIMES):
        for part in (X[i], X[i - 1]):
            (net(lib.tensor(part)) ** 2).mean().backward()
        optimizer.step()
        yield net[0].weight.grad.numpy().copy()


def changed(lib: Any) -> Iterator[Any]:
    """Results that are changed in place, and layers that change their input."""
    net = network(lib)
    optimizer = lib.optim.SGD(net.parameters(), lr=0.05)
    relu = lib.nn.ReLU(inplace=True)
    for i in range(TIMES):
        x = lib.tensor(X[i])
        y = net(x)
        total = x.new_zeros(6)
        total -= y.sum(1)
        out = y * 2.0
        out += x.sum(1, keepdim=True)
        before = out * 0.5
        out.mul_(0.3).clamp_(max=2.0)
        out = relu(out)
        loss = (out**2).mean() + total.mean() + lib.nn.SmoothL1Loss(beta=0.5)(before, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


PROGRAMS: dict[str, tuple[Callable[[Any], Iterator[Any]], set[str]]] = {
    "penalty": (penalty, {"asks", "grad", "part", "backward", "step"}),
    "equation": (equation, {"grad", "part", "backward", "step"}),
    "inner": (inner, {"grad", "part", "step"}),
    "by hand": (by_hand, {"backward", "part", "assign"}),
    "clipped": (clipped, {"backward", "part", "step"}),
    "added": (added, {"Sequential", "backward", "step"}),
    "changed": (changed, {"Sequential", "ReLU", "SmoothL1Loss", "backward", "step"}),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_are_one_piece(name: str, ran: list[list[str]]) -> None:
    program, wanted = PROGRAMS[name]
    with mynn.eager("at once"):
        expected = list(program(mynn))
    with mynn.eager("tape"):
        found = list(program(mynn))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
    assert any(wanted <= set(names) for names in ran), ran


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_under_pytorch(name: str, ran: list[list[str]]) -> None:
    torch = pytest.importorskip("torch")
    with mynn.eager("tape"):
        found = list(PROGRAMS[name][0](mynn))
    for one, other in zip(found, PROGRAMS[name][0](torch), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", PROGRAMS)
def test_equal_programs_have_equal_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ran before in the process."""
    monkeypatch.setattr(PATIENCE, "piece", 0.02)
    monkeypatch.setattr(PATIENCE, "call", 0.001)
    program = PROGRAMS[name][0]
    with mynn.eager("tape"):
        first, second = ([np.asarray(one).tobytes() for one in program(mynn)] for _ in range(2))
    assert first == second


def test_a_gradient_by_what_nothing_leads_to(ran: list[list[str]]) -> None:
    with mynn.eager("tape"):
        for _ in range(5):
            x, y = (mynn.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
            loss = (x * x).sum()
            with pytest.raises(UsageError, match=r"inputs\[1\]"):
                mynn.autograd.grad(loss, [x, y])
            loss = (x * x * 2.0).sum()
            found = mynn.autograd.grad(loss, [x, y], allow_unused=True)
            assert found[1] is None
            assert found[0].tolist() == [4.0, 8.0]
            loss = (x * 3.0).sum()
            zeros = mynn.autograd.grad(loss, [y], materialize_grads=True, allow_unused=True)
            assert zeros[0].tolist() == [0.0, 0.0]


def test_gradients_whose_ways_begin_before_the_tape() -> None:
    """One way is recorded, the other one was run before: both count."""
    with mynn.eager("tape"):
        for _ in range(5):
            x = mynn.tensor([1.0, 2.0], requires_grad=True)
            early = (x * x * x).sum()
            early.item()
            (found,) = mynn.autograd.grad((x * 2.0).sum() + early, x)
            assert found.tolist() == [5.0, 14.0]


def test_a_result_that_asks_for_a_gradient_and_is_kept() -> None:
    with mynn.eager("tape"):
        for _ in range(6):
            x = mynn.tensor([1.0, 2.0])
            y = (x * 2.0).requires_grad_()
            assert y.requires_grad
            assert y.is_leaf
            z = (y * y).sum()
            z.backward()
            assert y.grad is not None
            assert y.grad.tolist() == [4.0, 8.0]
            w = (x * 3.0).requires_grad_()
            out = (w * w).sum()
            assert out.item() == 45.0
            out.backward()
            assert w.grad is not None
            assert w.grad.tolist() == [6.0, 12.0]


def test_views_of_a_gradient_see_what_is_added_to_it() -> None:
    with mynn.eager("tape"):
        p = nn.Parameter(np.ones(4, np.float32))
        (p * 2.0).sum().backward()
        assert p.grad is not None
        held, part = p.grad, p.grad[:2]
        for number in range(2, 8):
            (p * 2.0).sum().backward()
            assert p.grad is held
            doubled = p.grad * 1.0
            assert part.tolist() == [2.0 * number] * 2
            assert doubled.tolist() == [2.0 * number] * 4
            assert held.tolist() == [2.0 * number] * 4


def test_a_parameter_that_was_assigned_to_is_seen_by_all() -> None:
    with mynn.eager("tape"):
        net = nn.Linear(2, 1, bias=False)
        net.weight.data.fill_(1.0)
        x = mynn.tensor([[1.0, 1.0]])
        for number in range(6):
            y = net(x)
            y.sum().backward()
            with mynn.no_grad():
                net.weight -= net.weight.grad
            assert net.weight.tolist() == [[-float(number)] * 2]
            z = net(x)
            assert z.item() == -2.0 * number
            assert y.item() == 2.0 - 2.0 * number
            net.weight.grad = None


def test_memory_that_the_user_changes_is_copied_when_it_is_read(ran: list[list[str]]) -> None:
    """What waits goes on waiting, and has the values of then."""
    with mynn.eager("tape"):
        array = np.ones(4, np.float32)
        x = mynn.from_numpy(array)
        for number in range(6):
            array[:] = number
            y = x * 2.0 + 1.0
            array[:] = 7.0
            z = x * 2.0
            viewed = x.reshape(2, 2)
            array[:] = 9.0
            shown = viewed + 0.0
            if number > 2:
                assert y.pending is not None
            assert y.tolist() == [2.0 * number + 1.0] * 4
            assert z.tolist() == [14.0] * 4
            assert shown.tolist() == [[9.0] * 2] * 2
    assert ["__mul__", "__add__", "__mul__", "__add__"] in ran


def test_long_loops_are_a_piece_for_some_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynn.tape.pieces.piece.native_available", lambda: False)
    counts, real = set(), Piece.run

    def watched(self: Piece, externals: Any, notes: Any) -> None:
        counts.add(len(externals))
        real(self, externals, notes)

    monkeypatch.setattr(Piece, "run", watched)
    lengths = (150, 90, 130)
    results = {}
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            net, found = network(mynn), []
            optimizer = optim.SGD(net.parameters(), lr=0.01)
            for turn in range(9):
                scores = [net(mynn.tensor(X[i % 8, :1]))[0, 0] for i in range(lengths[turn % 3])]
                values = [one.item() for one in scores]
                losses = [-one * (0.5 - value) for one, value in zip(scores, values, strict=True)]
                loss = mynn.stack(losses).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found.append(loss.item())
            results[mode] = found
            if mode == "tape":
                assert own_tape().loops.bodies
                # Two calls a round, of a score and with a number.
                assert loops.TOGETHER in counts
                assert 2 * loops.TIMES not in counts
    np.testing.assert_allclose(results["tape"], results["at once"], rtol=1e-4, atol=1e-5)


def test_modules_made_anew_that_give_several_results() -> None:
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            for i in range(5):
                values, places = nn.MaxPool1d(2, return_indices=True)(
                    mynn.tensor(X[i][None, :, :2])
                )
                assert values.tolist() == X[i][None, :, :2].max(2, keepdims=True).tolist()
                assert places.shape == values.shape


def test_gradients_of_what_was_computed_before_a_parameter_was_assigned_to() -> None:
    """A second gradient knows the values that the first one had, or says that they are gone."""

    def run(mode: Any) -> list[Any]:
        found: list[Any] = []
        with mynn.eager(mode):
            x = mynn.tensor([0.5, -1.0, 2.0], requires_grad=True)
            p = nn.Parameter(np.array([1.0, -0.5, 0.25], np.float32))
            for _ in range(40):
                s = p**2
                loss = (s.sigmoid() * x * s).sum()
                loss.backward()
                assert x.grad is not None
                found.append(x.grad.tolist())
                with mynn.no_grad():
                    p -= 0.1 * p
                try:
                    found.append(mynn.autograd.grad(loss, [x])[0].tolist())
                except UsageError:
                    found.append([np.nan] * 3)
        return found

    got, wanted = np.array(run("tape")), np.array(run("at once"))
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(got, np.where(np.isnan(got), np.nan, wanted), rtol=1e-5)
