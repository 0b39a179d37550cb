"""Traces that are known: a function like an earlier one gets what tracing it would give."""

from __future__ import annotations

import gc
import random
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.core.graph import format_graph
from mynn.jit import known, stage
from mynn.jit.stage import Staged
from mynn.runtime.store import Stored
from mynn.trace.snapshot import is_plain

X = np.zeros((4, 6), np.float32)
T = np.zeros(4, np.int64)
SCALE = 2.0
SHIFTS = [1.0, 2.0]


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    known.KNOWN._families.clear()


def staged(function: Any, arguments: tuple[Any, ...] = (X, T)) -> tuple[Staged, bool]:
    """What there is of a function, and whether it was known."""
    traced: list[Staged] = []

    def trace() -> Staged:
        traced.append(stage.stage(function, arguments))
        return traced[0]

    found, general = known.stage(function, arguments, trace)
    if general is not None:
        general.keep(Stored())
    return found, not traced


def shown(kept: Any) -> Any:
    """A snapshot, to compare: plain values as they are written, objects by what they are."""
    if isinstance(kept, list | tuple):
        return (type(kept), *map(shown, kept))
    if isinstance(kept, dict):
        return [(shown(key), shown(value)) for key, value in kept.items()]
    return (type(kept), repr(kept)) if is_plain(kept) else (id(kept), kept)


def told(one: Staged) -> dict[str, Any]:
    """All that is said of a staged function, to compare."""
    guards = one.trace.guards
    return {
        "graph": format_graph(one.graph),
        "state": [(id(tensor), tensor.name) for tensor in one.state],
        "written": [id(tensor) for tensor in one.written],
        "writes": list(one.writes.values()),
        "structure": one.structure,
        "results": one.results,
        "properties": {key: shown(value) for key, value in guards.properties.items()},
        "versions": guards.versions,
        "attributes": {key: shown(kept) for key, kept in guards.attributes.items()},
        "contents": [(id(o), n, shown(kept)) for o, n, kept in guards.contents],
        "tables": [(_table(t), n, shown(kept)) for t, n, kept in guards.tables],
        "cells": [(id(cell), n, shown(kept)) for cell, n, kept in guards.cells],
        "held": [(_table(b.where), b.name, shown(b.kept)) for b in guards.held],
        "modules": one.trace.observer.modules,
        "layers": list(one.trace.observer.activations),
        "gradients": list(one.trace.gradients),
    }


def _table(where: Any) -> Any:
    """A dict by what it is; that of a class is seen through another object each time."""
    return tuple(where) if isinstance(where, types.MappingProxyType) else id(where)


def check(function: Any, arguments: tuple[Any, ...] = (X, T)) -> bool:
    """Hold what there is of a function against a trace of it; whether it was known."""
    found, was_known = staged(function, arguments)
    if was_known:
        fresh = stage.stage(function, arguments)
        assert told(found) == told(fresh)
        assert found.valid(thoroughly=True)
    return was_known


# -- random networks -------------------------------------------------------------------------------


class Block(nn.Module):
    """A layer of the user's: plain values, a branch on the mode, a class attribute."""

    gain = 1.5

    def __init__(self, width: int, slope: float, tied: nn.Module | None) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width) if tied is None else tied
        self.slope = slope
        self.steps = [1.0, slope]
        self.activation = F.relu

    def forward(self, x: Any) -> Any:
        y = self.activation(self.inner(x)) * self.slope
        return self.mixed(y) if self.training else y * self.gain

    def mixed(self, y: Any) -> Any:
        return y + self.steps[0] * SCALE


# What a network and its training are made of; one of them is changed for a network nearly equal.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "width": (4, 5),
    "layers": ((), ("block",), ("block", "tied"), ("dropout", "norm"), ("norm",), ("tied", "tied")),
    "activation": (nn.ReLU, nn.Tanh),
    "slope": (0.5, 0.25, 1.0, 1),
    "bias": (True, False),
    "frozen": (None, 0, -1),
    "mode": ("train", "eval"),
    "inner_mode": (True, False),
    "dtype": (np.float32, np.float64),
    "order": (False, True),
    "optimizer": ("SGD", "Adam", "AdamW"),
    "decay": (0.0, 0.1),
    "momentum": (0.0, 0.9),
    "groups": (1, 2),
    "left_out": (False, True),
    "smoothing": (0.0, 0.1),
    "zero": (True, False),
    "factor": (1.0, 2.0, 0.0, -0.0, True),
    "widths": ([1, 2], [1, 3], (1, 2)),
    "slots": (True, False),
    "code": (0, 1),
    "shared_optimizer": (False, True),
    "name": (None, "other"),
}


def build(o: dict[str, Any]) -> Callable[..., Any]:
    """A training step of a network of these options, on objects of its own."""
    width, dtype = o["width"], o["dtype"]
    layers: list[nn.Module] = [nn.Linear(6, width, dtype=dtype), o["activation"]()]
    shared = nn.Linear(width, width)
    for kind in o["layers"]:
        if kind in ("block", "tied"):
            layers.append(Block(width, o["slope"], shared if kind == "tied" else None))
        else:
            layers.append(nn.Dropout(0.5) if kind == "dropout" else nn.BatchNorm1d(width))
    layers.append(nn.Linear(width, 3, bias=o["bias"], dtype=dtype))
    net = nn.Sequential(*layers)
    net.train(o["mode"] == "train")
    layers[1].train(o["inner_mode"])
    parameters = list(net.parameters())
    if o["frozen"] is not None:
        parameters[o["frozen"]].requires_grad = False
    if o["order"]:
        layers[0].weight = nn.Parameter(layers[0].weight.numpy(), order=(0, 1))
    if o["name"]:
        layers[0].weight.name = o["name"]
    parameters = list(net.parameters())[o["left_out"] :]
    named = {"momentum": o["momentum"]} if o["optimizer"] == "SGD" else {}
    groups: list[Any] = [parameters]
    if o["groups"] == 2:
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.3}]
    given = groups if o["groups"] == 2 else parameters
    rate = random.random()
    optimizer = getattr(optim, o["optimizer"])(given, lr=rate, weight_decay=o["decay"], **named)
    if not o["slots"]:
        optimizer.state[parameters[0]].pop("exp_avg", None)
        optimizer.state[parameters[0]].pop("momentum_buffer", None)
    loss_of = nn.CrossEntropyLoss(label_smoothing=o["smoothing"])
    factor, widths, zero = o["factor"], o["widths"], o["zero"]
    second = optimizer if o["shared_optimizer"] else None

    def one(x: Any, t: Any) -> Any:
        if zero:
            optimizer.zero_grad()
        loss = loss_of(net(x), t) * factor + widths[1]
        loss.backward()
        optimizer.step()
        if second is not None:
            second.zero_grad()
        return loss

    def other(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        y = net(x) * SCALE + SHIFTS[0]
        loss = loss_of(y, t) * factor
        loss.backward()
        optimizer.step()
        return {"loss": loss, "largest": y.max()}

    return other if o["code"] else one


def drawn(rng: random.Random) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in OPTIONS.items()}


@pytest.mark.parametrize("seed", range(16))
def test_equal_networks(seed: int) -> None:
    """Once traced, known ever after; but for optimisers that change as they are traced."""
    options = {**drawn(random.Random(seed)), "slots": True}
    if options["optimizer"] != "SGD":
        options.update(frozen=None, left_out=False)
    first, *others = (build(options) for _ in range(3))
    assert not check(first)
    for function in others:
        assert check(function)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("seed", range(40))
def test_nearly_equal_networks(seed: int) -> None:
    rng = random.Random(1000 + seed)
    options = drawn(rng)
    check(build(options))
    for _ in range(3):
        name = rng.choice(list(OPTIONS))
        check(build({**options, name: rng.choice(OPTIONS[name])}))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", list(OPTIONS))
def test_each_option(name: str) -> None:
    """Networks that differ in one option, one after the other, in both orders."""
    options = drawn(random.Random(f"7 {name}"))
    for values in (OPTIONS[name], OPTIONS[name][::-1]):
        for value in values:
            check(build({**options, name: value}))


# -- what no structure tells -----------------------------------------------------------------------


def trainer(forward: Callable[..., Any], net: nn.Module | None = None) -> Callable[..., Any]:
    """A step that calls `forward(net, x)`."""
    net = nn.Linear(6, 3) if net is None else net
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(net, x), t)
        loss.backward()
        optimizer.step()
        return loss

    return step


class Gated(nn.Module):
    """A branch on the value of a buffer."""

    def __init__(self, gate: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("gate", np.array(gate))

    def forward(self, x: Any) -> Any:
        return self.inner(x) if self.gate else -self.inner(x)


class Counted(Gated):
    """A number of rounds that is the value of a buffer."""

    def forward(self, x: Any) -> Any:
        for _ in range(self.gate.astype(np.int64) if False else int(self.gate) + 1):
            x = x * 2.0
        return self.inner(x)


class Listed(Gated):
    """A value that is taken out as a list."""

    def forward(self, x: Any) -> Any:
        return self.inner(x) * (2.0 if self.gate.tolist() else 3.0)


class OneHot(nn.Module):
    """As many classes as there are in a buffer."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("labels", np.array([0, 1, most, 0]))

    def forward(self, x: Any) -> Any:
        return self.inner(x) + F.one_hot(self.labels).astype(np.float32).sum()


@pytest.mark.parametrize("kind", [Gated, Counted, Listed, OneHot])
def test_values_of_state(kind: Any) -> None:
    """Where the trace looks at them they are in no description, so that nothing is known."""
    for value in (True, False, True):
        assert not check(trainer(lambda net, x: net(x), kind(value)))


def test_what_is_written_while_it_is_traced() -> None:
    seen: list[Any] = []

    def forward(net: Any, x: Any) -> Any:
        seen.append(1)
        return net(x)

    with pytest.warns(mynn.errors.TraceWarning):
        assert not check(trainer(forward))
    assert not check(trainer(forward))


def test_print_is_heard_each_time(capfd: pytest.CaptureFixture[str]) -> None:
    def forward(net: Any, x: Any) -> Any:
        print("traced")
        return net(x)

    for _ in range(2):
        assert not check(trainer(forward))
    assert capfd.readouterr().out.split() == ["traced"] * 2


def test_a_global_of_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [trainer(lambda net, x: net(x) * SCALE + SHIFTS[0]) for _ in range(4)]
    assert [check(steps[0]), check(steps[1])] == [False, True]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert not check(steps[2])
    monkeypatch.setitem(globals(), "SHIFTS", [1.5, 2.0])
    assert not check(steps[3])


def test_a_method_of_another_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def net() -> nn.Module:
        return nn.Sequential(Block(6, 0.5, None), nn.Linear(6, 3))

    steps = [trainer(lambda net, x: net(x), net()) for _ in range(5)]
    assert [check(steps[0]), check(steps[1])] == [False, True]
    monkeypatch.setattr(Block, "mixed", lambda self, y: y - self.steps[0])
    assert not check(steps[2])
    monkeypatch.setattr(Block, "gain", 2.5)
    assert not check(steps[3])
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x @ self.weight.T)
    assert not check(steps[4])


def test_sharing_is_seen() -> None:
    """The same objects at the same places; tied weights are others than equal ones."""

    def step_of(tied: bool) -> Callable[..., Any]:
        net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
        if tied:
            net[1].weight = net[0].weight
        return trainer(lambda net, x: net(x), net)

    assert [check(step_of(tied)) for tied in (True, False, True, False)] == [
        False,
        False,
        True,
        True,
    ]


def test_no_grad_around_it() -> None:
    first, second = (trainer(lambda net, x: net(x).detach() + net(x)) for _ in range(2))
    assert not check(first)
    with mynn.no_grad(), pytest.raises(mynn.errors.UsageError, match="requires a gradient"):
        staged(second)
    assert check(second)


def test_methods_of_modules_and_objects() -> None:
    class_steps = [Trained(), Trained()]
    assert [check(one.step) for one in class_steps] == [False, True]
    objects = [Trainer(2.0), Trainer(2.0), Trainer(3.0)]
    assert [check(one.step) for one in objects] == [False, True, False]


class Trained(nn.Module):
    """A network that has its own step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 3)])
        self.optimizer = optim.Adam(self.parameters())

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x).tanh()
        return x

    def step(self, x: Any, t: Any) -> Any:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self(x), t)
        loss.backward()
        self.optimizer.step()
        return loss


class Trainer:
    """An object that holds a network and what trains it."""

    def __init__(self, scale: float) -> None:
        self.net = nn.Linear(6, 3)
        self.optimizer = optim.Adam(self.net.parameters())
        self.scale = scale

    def step(self, x: Any, t: Any) -> Any:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(x) * self.scale, t)
        loss.backward()
        self.optimizer.step()
        return loss


# -- what it is for --------------------------------------------------------------------------------


def fitted_state(options: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Losses and final state of a few epochs with `fit`, from the same beginning."""
    mynn.manual_seed(1)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(22, 6)).astype(np.float32), rng.integers(0, 3, 22)
    random.seed(5)
    step = build(options)
    history = mynn.fit(step, data, epochs=3, batch_size=4, seed=2)
    cells = dict(zip(step.__code__.co_freevars, step.__closure__ or (), strict=True))
    net = cells["net"].cell_contents
    return history["loss"].tolist(), [t.tolist() for t in [*net.parameters(), *net.buffers()]]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("seed", range(6))
def test_fit_gives_the_same_bits(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network that is known, and of one that is traced."""
    options = {**drawn(random.Random(50 + seed)), "dtype": np.float32, "slots": True}
    options.update(frozen=None, left_out=False)
    first = fitted_state(options)
    traces: list[Any] = []
    trace = stage.stage
    monkeypatch.setattr(stage, "stage", lambda *given: traces.append(given) or trace(*given))
    again = fitted_state(options)
    assert not traces
    mynn.programs().clear()
    assert fitted_state(options) == first == again
    assert len(traces) == 2  # whole batches, and the last one


def test_a_known_network_notes_changes() -> None:
    """Its guards are its own: a changed option, part or mode is seen, and in no other network."""
    x, t = np.ones((4, 6), np.float32), np.zeros(4, np.int64)

    def made() -> tuple[Any, Any]:
        net = nn.Sequential(Block(6, 0.5, None), nn.Linear(6, 3))
        return net, mynn.compile(lambda x: net(x))

    def set_slope(net: Any) -> None:
        net[0].slope = 7.0

    def set_steps(net: Any) -> None:
        net[0].steps[0] = 7.0

    def set_part(net: Any) -> None:
        net[0].inner = nn.Linear(6, 6)

    made()[1](x)
    for change in (set_slope, set_steps, set_part, lambda net: net.eval()):
        (net, run), (other, run_other) = made(), made()
        for one in (run, run_other):
            one(x)
        change(net)
        np.testing.assert_allclose(run(x), net(x).numpy(), rtol=1e-5)
        np.testing.assert_allclose(run_other(x), other(x).numpy(), rtol=1e-5)
        assert [len(made) for made in one_each(run)] == [2]
        assert [len(made) for made in one_each(run_other)] == [1]
    assert t.shape == (4,)


def one_each(run: Any) -> list[Any]:
    """What was made for each signature."""
    return list(run._programs.values())


def test_networks_are_collected() -> None:
    """Neither the first of its kind nor a later one is held by what is known."""
    held = []
    for _ in range(3):
        step = trainer(lambda net, x: net(x), nn.Sequential(Block(6, 0.5, None), nn.Linear(6, 3)))
        mynn.fit(step, (X, T), batch_size=4, verbose=False)
        cells = dict(zip(step.__code__.co_freevars, step.__closure__ or (), strict=True))
        held += [weakref.ref(cells[name].cell_contents) for name in ("net", "optimizer")]
        held.append(weakref.ref(cells["net"].cell_contents[0].inner.weight))
    assert known.KNOWN._families
    del step, cells
    gc.collect()
    assert [one() for one in held] == [None] * len(held)
