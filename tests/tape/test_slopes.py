"""Gradients of gradients through what a tape ran, whatever gave its results their nodes before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn
from mynn.autograd import functional, grad
from mynn.base import recording
from mynn.errors import UsageError
from mynn.tape.pieces.trial import PATIENCE

X = np.array([0.3, -0.132, 1.1])


@pytest.fixture(autouse=True)
def at_first_sight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs are made as soon as calls come again."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    with mynn.eager("tape"):
        yield


# What makes a node that runs a program back, before the gradient is asked for.
BEFORE: dict[str, Callable[[Tensor, nn.Module], Any]] = {
    "nothing": lambda loss, layer: None,
    "backward": lambda loss, layer: loss.backward(),
    "grad": lambda loss, layer: grad(loss, layer.weight, allow_unused=True),
    "nodes": lambda loss, layer: recording.before_edit(),
}


@pytest.mark.parametrize("before", BEFORE)
def test_a_run_and_what_went_into_it(before: str) -> None:
    """s goes into the second run beside x, from which it came: x sin x counted once."""
    layer = nn.Linear(1, 1)
    for _ in range(6):
        x = Tensor(X, requires_grad=True)
        s = x.sin()
        s.numpy()
        loss = (s * x).sum()
        loss.item()
        BEFORE[before](loss, layer)
        slope, by_s = grad(loss, (x, s), create_graph=True)
        np.testing.assert_allclose(slope.detach(), np.sin(X) + X * np.cos(X))
        np.testing.assert_allclose(by_s.detach(), X)
        (bend,) = grad(slope.sum(), x)
        np.testing.assert_allclose(bend, 2 * np.cos(X) - X * np.sin(X))


def test_a_hessian_of_what_is_looked_at() -> None:
    def looked(x: Tensor) -> Tensor:
        s = x.sin()
        s.numpy()
        return (s * x).sum()

    for _ in range(6):
        found = functional.hessian(looked, Tensor(X)).numpy()
        np.testing.assert_allclose(found, np.diag(2 * np.cos(X) - X * np.sin(X)))


def test_a_result_on_the_way_after_backward() -> None:
    """All results of a run have nodes that run programs; then one is asked for by another."""
    for _ in range(6):
        x = Tensor(X, requires_grad=True)
        s = x.sin()
        t = s * x
        loss = (t * s).sum()
        loss.item()
        for one in (loss, t.sum(), s.sum()):
            one.backward()
        again = (t * 2 + s).sum()
        by_t, by_s = grad(loss + again, (t, s), create_graph=True)
        np.testing.assert_allclose(by_t.detach(), np.sin(X) + 2)
        np.testing.assert_allclose(by_s.detach(), 2 * X * np.sin(X) + 2 * X + 1)
        (third,) = grad(by_s.sum(), x)
        np.testing.assert_allclose(third, 2 * np.sin(X) + 2 * X * np.cos(X) + 2)


def test_a_rule_that_reads_its_result() -> None:
    """That of sqrt is 1 / 2y: what comes by y counts for the gradient by y."""
    for _ in range(6):
        x = Tensor(X, requires_grad=True)
        y = (x * x + 1.0).sqrt()
        y.numpy()
        loss = (y * y).sum()
        loss.backward()
        (slope,) = grad(loss, x, create_graph=True)  # 2y · 1/2y · 2x
        (by_y,) = grad((slope * slope).sum(), y)
        np.testing.assert_allclose(by_y, 0, atol=1e-12)


def test_views_on_the_way() -> None:
    for _ in range(6):
        x = Tensor(X, requires_grad=True)
        s = x * x
        part = s[1:]
        loss = (part * part).sum() + (s * x).sum()
        loss.item()
        loss.backward()
        slope, by_part = grad(loss, (x, part), create_graph=True)
        (bend,) = grad((slope * slope).sum() + by_part.sum(), x)
        first = 3 * X**2 + np.array([0, 1, 1]) * 4 * X**3
        second = 6 * X + np.array([0, 1, 1]) * 12 * X**2
        np.testing.assert_allclose(slope.detach(), first)
        np.testing.assert_allclose(by_part.detach(), 2 * X[1:] ** 2)
        np.testing.assert_allclose(bend, 2 * first * second + np.array([0, 1, 1]) * 4 * X)


def test_what_was_written_since() -> None:
    """The values are kept for `backward`, and refused where calls need them, as at once."""
    for _ in range(6):
        x = Tensor(X, requires_grad=True)
        s = x * 2.0
        square = (x * x).sum()
        (s.sum() + square).item()
        square.backward()
        s.sum().backward()
        with mynn.no_grad():
            x.mul_(3.0)
        (slope,) = grad(s.sum(), x, create_graph=True)
        np.testing.assert_allclose(slope.detach(), [2, 2, 2])
        with pytest.raises(UsageError, match="modified by an inplace operation"):
            grad(square, x, create_graph=True)


def test_a_layer_that_was_edited_since() -> None:
    """Calls that are differentiated again are those that were recorded."""
    layer = nn.LeakyReLU(0.1)
    for _ in range(6):
        layer.negative_slope = 0.1
        x = Tensor(X, requires_grad=True)
        loss = (layer(x) * x).sum()
        loss.item()
        loss.backward()
        layer.negative_slope = 0.5
        (slope,) = grad(loss, x, create_graph=True)
        np.testing.assert_allclose(slope.detach(), 2 * X * np.where(X > 0, 1, 0.1))


def test_a_parameter_that_was_frozen_since() -> None:
    """Calls that would ask for other gradients are not called again: it is said."""
    weight = nn.Parameter(X)
    for number in range(6):
        x = Tensor(X, requires_grad=True)
        loss = ((weight * 2.0).sin() * x).sum()
        loss.item()
        loss.backward()
        weight.requires_grad_(False)
        if number > 3:  # the run is a program, whose calls have no nodes yet
            with pytest.raises(UsageError, match="requires_grad of what"):
                grad(loss, x, create_graph=True)
        weight.requires_grad_(True)
        (slope,) = grad(loss, x, create_graph=True)
        (mixed,) = grad(slope.sum(), weight)
        np.testing.assert_allclose(mixed, 2 * np.cos(2 * X))
        weight.grad = None


def test_gradients_of_leaves_are_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is called again for values, where nobody asks for a result on the way."""
    from mynn.tape.gradients.run import Run

    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    xs = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    again: list[int] = []
    real = Run.again
    monkeypatch.setattr(Run, "again", lambda run: (again.append(1), real(run))[1])
    with mynn.eager("at once"):
        wanted = [grad(net(Tensor(x)).sum(), list(net.parameters())) for x in xs]
    for x, expected in zip(xs, wanted, strict=True):
        again.clear()
        found = grad(net(Tensor(x)).sum(), list(net.parameters()))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    assert not again


def test_no_external_stands_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor is one place of a run, however often calls are given it."""
    from mynn.tape.gradients.run import Run

    seen: list[int] = []
    real = Run.__init__

    def watched(self: Run, step: Any, externals: list[Any], *rest: Any) -> None:
        real(self, step, externals, *rest)
        tensors = [one for one in externals if isinstance(one, Tensor)]
        assert len({id(one) for one in tensors}) == len(tensors)
        assert len(externals) == step.externals
        seen.append(len(tensors))

    monkeypatch.setattr(Run, "__init__", watched)
    for _ in range(6):
        x, y = Tensor(X, requires_grad=True), Tensor(X)
        loss = (F.stack([x, y, x], 0).sum(0) * x + y * F.where(x > 0, x, y)).sum()
        loss.item()
        np.testing.assert_allclose(grad(loss, x)[0], (4 * X + X) + np.where(X > 0, X, 0))
    assert set(seen[2:]) == {2}
