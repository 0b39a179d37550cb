"""Modules as functions of their parameters: `functional_call`, and several modules as one."""

from __future__ import annotations

import copy
import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, UsageError
from mynn.func import functional_call, grad, stack_module_state, vmap
from mynn.nn.utils import stateless

X = mynn.tensor(np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))


class Net(nn.Module):
    """A network with statistics, and one parameter in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Any) -> Any:
        """[N, 3] -> [N, 3]."""
        return self.second(self.norm(self.first(x)).tanh())


def test_examples() -> None:
    assert doctest.testmod(stateless).failed == 0


def test_ensemble() -> None:
    """Several networks as one; what they write in place goes to what was given."""
    nets = [Net() for _ in range(3)]
    parameters, buffers = stack_module_state(nets)
    before = copy.deepcopy(nets[0].state_dict())
    run = vmap(lambda p, b, x: functional_call(nets[0], (p, b), x), in_dims=(0, 0, None))
    out = run(parameters, buffers, X)
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    for number, net in enumerate(nets):
        np.testing.assert_allclose(out[number].detach().numpy(), net(X).detach().numpy(), atol=1e-6)
        mean = buffers["norm.running_mean"][number].numpy()
        np.testing.assert_allclose(mean, net.norm.running_mean.numpy(), atol=1e-6)
    assert buffers["norm.num_batches_tracked"].tolist() == [1, 1, 1]
    out.sum().backward()
    nets[1].zero_grad()
    nets[1](X).sum().backward()
    np.testing.assert_allclose(
        parameters["first.weight"].grad[1].numpy(), nets[1].first.weight.grad.numpy(), atol=1e-4
    )


def test_tied_weights() -> None:
    net = Net().eval()
    other = mynn.eye(3)
    tied = functional_call(net, {"second.weight": other}, X)
    assert net.first.weight is net.second.weight
    both = {"first.weight": other, "second.weight": other}
    np.testing.assert_array_equal(tied.numpy(), functional_call(net, both, X).numpy())
    alone = functional_call(net, {"second.weight": other}, X, tie_weights=False)
    assert not np.allclose(tied.numpy(), alone.numpy())


def test_programs_of_the_module_see_what_is_given() -> None:
    """Also where the module, or a function of it, was compiled before; and its own afterwards."""
    net = nn.Linear(3, 1, bias=False)
    run = mynn.compile(net)
    own = run(X.numpy())
    for factor in (1.0, 2.0):
        given = {"weight": mynn.ones(1, 3) * factor}

        class Outer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, x: Any) -> Any:
                return mynn.tensor(run(x.numpy()))

        named = {f"net.{name}": value for name, value in given.items()}
        found = functional_call(Outer(), named, X).numpy()
        np.testing.assert_allclose(found, X.numpy().sum(1, keepdims=True) * factor, rtol=1e-5)
        np.testing.assert_array_equal(run(X.numpy()), own)


def test_on_a_tape() -> None:
    """Calls of the module that wait are run with its own parameters."""
    net = nn.Linear(3, 1, bias=False)
    expected = net(X).detach().numpy()
    with mynn.eager("tape"):
        waiting = net(X)
        other = functional_call(net, {"weight": mynn.zeros(1, 3)}, X)
        assert not other.numpy().any()
        np.testing.assert_array_equal(waiting.detach().numpy(), expected)
        slopes = grad(lambda p: functional_call(net, p, X).sum())(dict(net.named_parameters()))
        np.testing.assert_allclose(slopes["weight"].numpy(), X.numpy().sum(0)[None], rtol=1e-5)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no module": (lambda: functional_call(3, {}, X), "3 is no module"),  # type: ignore[arg-type]
    "no dict": (lambda: functional_call(nn.ReLU(), 3, X), "as 3; write"),
    "twice": (
        lambda: functional_call(nn.Linear(3, 1), ({"bias": X}, {"bias": X}), X),
        "bias is given in more than one dict",
    ),
    "strict": (
        lambda: functional_call(nn.Linear(3, 1), {"weight": X, "more": X}, X, strict=True),
        "bias is missing and more is unknown",
    ),
    "tied": (
        lambda: functional_call(Net(), {"first.weight": X, "second.weight": X * 2}, X),
        "first.weight, second.weight are one tensor",
    ),
    "no models": (lambda: stack_module_state([]), "at least one"),
    "classes": (
        lambda: stack_module_state([nn.Linear(2, 1), nn.ReLU()]),
        "their classes are Linear, ReLU",
    ),
    "modes": (lambda: stack_module_state([nn.ReLU(), nn.ReLU().eval()]), "all in training or"),
    "shapes": (lambda: stack_module_state([nn.Linear(2, 1), nn.Linear(3, 1)]), "'weight'"),
    "more parameters": (
        lambda: stack_module_state([nn.Linear(2, 1, bias=False), nn.Linear(2, 1)]),
        "'bias' has not the same",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message):
        call()


def test_statistics_of_the_batch() -> None:
    """Statistics that are the same for all cannot be written by each example."""
    net = nn.Sequential(nn.BatchNorm1d(3))
    each = vmap(lambda x: net(x).sum())
    with pytest.raises(UsageError, match="is the same for all"):
        each(mynn.stack([X, X]))
    stateless.replace_all_batch_norm_modules_(net)
    assert each(mynn.stack([X, X])).shape == (2,)
