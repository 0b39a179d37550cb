"""What a network reads of objects that it holds: a change is seen, also where nothing notes it."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from tests.trace import options

X = np.ones((4, 3), np.float32)


class Options:
    def __init__(self) -> None:
        self.scale = 2.0


class InSlots:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 2.0


@dataclass
class Tree:
    leaf: Options
    leaves: list[Options]
    scale: float = 2.0


def tree() -> Tree:
    return Tree(Options(), [Options()])


def scaled_by_global(y: Any) -> Any:
    return y * options.HELD.scale


def network(forward: Callable[..., Any], held: Any) -> Any:
    net = type("Net", (nn.Module,), {"forward": forward})()
    net.layer = nn.Linear(3, 3)
    net.held = held
    return net


Case = tuple[Callable[..., Any], Callable[[], Any], Callable[[Any], Any]]

# How the network reads it, what it holds, and where the number lies that is changed.
CASES: dict[str, Case] = {
    "object": (lambda net, x: net.layer(x) * net.held.scale, Options, lambda held: held),
    "object in object": (
        lambda net, x: net.layer(x) * net.held.leaf.scale,
        tree,
        lambda held: held.leaf,
    ),
    "list in object": (
        lambda net, x: net.layer(x) * net.held.leaves[0].scale,
        tree,
        lambda held: held.leaves[0],
    ),
    "list": (
        lambda net, x: net.layer(x) * net.held[0].scale,
        lambda: [Options()],
        lambda held: held[0],
    ),
    "list in tuple": (
        lambda net, x: net.layer(x) * net.held[0][0].scale,
        lambda: ([Options()],),
        lambda held: held[0][0],
    ),
    "dict": (
        lambda net, x: net.layer(x) * net.held["a"].scale,
        lambda: {"a": Options()},
        lambda held: held["a"],
    ),
    "getattr": (
        lambda net, x: net.layer(x) * getattr(net.held, "scale", None),
        Options,
        lambda held: held,
    ),
    "vars": (lambda net, x: net.layer(x) * vars(net.held)["scale"], Options, lambda held: held),
    "global": (
        lambda net, x: scaled_by_global(net.layer(x)),
        lambda: None,
        lambda held: options.HELD,
    ),
}
# What cannot be looked for: nothing is kept of such a network.
UNSEEN: dict[str, Case] = {
    "slots": (lambda net, x: net.layer(x) * net.held.scale, InSlots, lambda held: held),
    "a name that is made up": (
        lambda net, x: net.layer(x) * getattr(net.held, "SCALE".lower()),
        Options,
        lambda held: held,
    ),
    "a long list": (
        lambda net, x: net.layer(x) * net.held.leaves[0].scale,
        lambda: Tree(Options(), [Options() for _ in range(40)]),
        lambda held: held.leaves[0],
    ),
    "attrgetter": (
        lambda net, x: net.layer(x) * operator.attrgetter("sc" + "ale"[:3])(net.held),
        Options,
        lambda held: held,
    ),
}


@pytest.mark.parametrize("name", [*CASES, *UNSEEN])
def test_predict(name: str) -> None:
    forward, hold, place = {**CASES, **UNSEEN}[name]
    held = hold()
    net = network(forward, held)
    before = mynn.predict(net, X)
    place(held).scale = 3.0
    try:
        np.testing.assert_allclose(mynn.predict(net, X), before * 1.5, rtol=1e-5)
    finally:
        place(held).scale = 2.0


@pytest.mark.parametrize("name", CASES)
def test_compile(name: str) -> None:
    forward, hold, place = CASES[name]
    held = hold()
    net = mynn.compile(network(forward, held))
    before = net(X)
    place(held).scale = 3.0
    try:
        np.testing.assert_allclose(net(X), before * 1.5, rtol=1e-5)
    finally:
        place(held).scale = 2.0


def test_networks_in_a_global_list() -> None:
    def call(x: Any) -> Any:
        return options.NETWORKS[0](x)

    compiled = mynn.compile(call)
    compiled(X)
    options.NETWORKS[0] = nn.Linear(3, 2)
    np.testing.assert_allclose(compiled(X), options.NETWORKS[0](X).numpy(), rtol=1e-5)


def test_a_long_list_of_numbers() -> None:
    """It is not compared before each call, so that the next run of the function traces it anew."""

    def scaled(x: Any) -> Any:
        return x * options.SCALES[0]

    before = mynn.predict(scaled, X)
    options.SCALES[0] = 3.0
    np.testing.assert_allclose(mynn.predict(scaled, X), before * 1.5)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.layer(x) * options.SOURCES["first"].random(),
        lambda net, x: net.layer(x) * options.SOURCES["all"][0].random(),
        lambda net, x: net.layer(x) * net.held[0].random(),
    ],
)
def test_generators_in_containers(forward: Callable[..., Any]) -> None:
    """Their numbers are built in, which is said, and into the next run's program not the same."""
    net = network(forward, [np.random.default_rng(1)])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first, second = (mynn.predict(net, X) for _ in range(2))
    assert any("gave numbers while the function was traced" in str(one.message) for one in said)
    assert not np.array_equal(first, second)
