"""What is changed after compiling changes the program as it changes eager code.

Layer by layer and option by option, by the registry, which has every option of every constructor.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.tensor import Tensor
from tests.registry import MODULES
from tests.registry.entries import DROP, ONLY_MADE

ENTRIES = {entry.name: entry for entry in MODULES}
OPTIONS = [
    (entry.name, option)
    for entry in MODULES
    for option, value in entry.options.items()
    if value is not ONLY_MADE and not entry.alike
]


def outcome(function: Callable[..., Any], inputs: list[Array]) -> list[Array] | str:
    """The results, or the kind of error."""
    mynn.manual_seed(3)
    try:
        result = function(*inputs)
    except MynnError as error:
        return type(error).__name__
    arrays = result if isinstance(result, tuple) else (result,)
    return [np.asarray(one.value if isinstance(one, Tensor) else one) for one in arrays]


def assert_same(got: list[Array] | str, expected: list[Array] | str) -> None:
    assert isinstance(got, str) == isinstance(expected, str), (got, expected)
    if isinstance(got, str) or isinstance(expected, str):
        assert got == expected
        return
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def differ(a: list[Array] | str, b: list[Array] | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a is not b
    return any(x.shape != y.shape or not np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def state_of(layer: nn.Module) -> list[Array]:
    """Parameters and buffers as they are now."""
    return [value.numpy() for value in layer.state_dict().values()]


def results(layer: nn.Module, inputs: list[Array]) -> list[Array] | str:
    """Output and what was noted in buffers, eagerly."""
    found = outcome(layer, inputs)
    return found if isinstance(found, str) else [*found, *state_of(layer)]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_option_changed_after_compiling(name: str, option: str) -> None:
    entry = ENTRIES[name]
    case = entry.guarded or entry.plain
    inputs = case.arrays(name, "float32")
    mynn.manual_seed(1)
    layer: nn.Module = case.call(nn)
    for parameter in layer.parameters():
        parameter.data = np.random.default_rng(2).normal(size=parameter.shape)
    twin = copy.deepcopy(layer)
    compiled = mynn.compile(layer, backend="interpreter")  # guards come before the backends

    def both() -> list[Array] | str:
        got = outcome(compiled, inputs)
        if not isinstance(got, str):
            got = [*got, *state_of(layer)]
        expected = results(twin, inputs)
        assert_same(got, expected)
        return expected

    before = both()
    steady = both()
    value = entry.options[option]
    dropped = isinstance(value, str) and value == DROP
    old = getattr(layer, option)
    for one in (layer, twin):
        setattr(one, option, None if dropped else copy.deepcopy(value))
    after = both()
    assert differ(before, after) or differ(steady, after)
    for one in (layer, twin):
        setattr(one, option, copy.deepcopy(old) if dropped else old)
    both()


# -- modules of the user's -------------------------------------------------------------------------


class Inner(nn.Module):
    """Attributes of every kind."""

    power = 2

    def __init__(self) -> None:
        super().__init__()
        self.gain = 0.3
        self._hidden = 1.0
        self.factors = [1.0, 2.0]
        self.table = {"a": 0.5, "b": (1.0, 2.0)}
        self.offsets = np.full(4, 0.1, np.float32)
        self.large = np.ones(3000, np.float32)
        self.name = "plus"
        self.chosen = getattr

    def forward(self, x: Any) -> Any:
        y = x * self.gain * self._hidden * self.factors[0] * self.table["a"]
        y = y * self.table["b"][1] + self.offsets + 0.1 * float(self.large[7])
        y = y**self.power
        return y + 0.2 if self.name == "plus" else y - 0.2


class Outer(nn.Module):
    """Modules in a list, one behind an attribute, and an option read through another module."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Inner(), Inner()])
        self.out = nn.Sequential(nn.Linear(4, 2), Inner())
        self.out[1].offsets = np.ones(2, np.float32)
        self.out[1].gain = 0.1

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x).tanh()
        if hasattr(self, "shift"):
            x = x + self.shift
        return self.out(x) * self.layers[0].gain


def drop_power(net: Outer) -> None:
    del net.layers[0].power


CHANGES: list[Callable[[Outer], Any]] = [
    lambda net: setattr(net.layers[1], "gain", 3.0),
    lambda net: setattr(net.layers[0], "gain", 4),
    lambda net: setattr(net.out[1], "_hidden", 0.3),
    lambda net: net.layers[1].factors.__setitem__(0, 0.7),
    lambda net: net.layers[0].table.update(a=0.9),
    lambda net: net.layers[0].table.update(b=(1.0, 0.5)),
    lambda net: net.layers[1].offsets.__setitem__(2, -1.0),
    lambda net: setattr(net.layers[1], "offsets", np.zeros(4, np.float32)),
    lambda net: setattr(net.layers[0], "name", "minus"),
    lambda net: setattr(net.layers[0], "power", 3),
    drop_power,
    lambda net: setattr(net, "shift", 0.25),
    lambda net: setattr(net, "shift", 0.5),
    lambda net: delattr(net, "shift"),
    lambda net: setattr(net.out, "1", nn.Tanh()),
    lambda net: setattr(net.layers[0], "gain", float("nan")),
]


def test_plain_attributes_of_modules_changed_after_compiling() -> None:
    mynn.manual_seed(0)
    net = Outer()
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    compiled = mynn.compile(net)
    before = net(Tensor(x)).numpy()
    np.testing.assert_allclose(compiled(x), before, rtol=1e-5)
    for number, change in enumerate(CHANGES):
        change(net)
        expected = net(Tensor(x)).numpy()
        assert not np.array_equal(before, expected), number
        np.testing.assert_allclose(compiled(x), expected, rtol=1e-5, err_msg=str(number))
        before = expected


def test_attribute_of_a_class_changed_after_compiling() -> None:
    class Scaled(nn.Module):
        scale = 2.0

        def forward(self, x: Any) -> Any:
            return x * self.scale

    net = Scaled()
    compiled = mynn.compile(net)
    x = np.ones(3, np.float32)
    assert compiled(x).tolist() == [2, 2, 2]
    Scaled.scale = 3.0
    assert compiled(x).tolist() == [3, 3, 3]


def test_going_back_finds_the_old_program() -> None:
    layer = nn.LeakyReLU(0.1)
    compiled = mynn.compile(layer)
    x = np.array([-1.0], np.float32)
    first = compiled.program(x)
    layer.negative_slope = 0.2
    assert compiled.program(x) is not first
    layer.negative_slope = 0.1
    assert compiled.program(x) is first


def test_attributes_that_no_trace_read_change_nothing() -> None:
    layer = nn.LeakyReLU(0.1)
    compiled = mynn.compile(layer)
    x = np.array([-1.0], np.float32)
    first = compiled.program(x)
    edits = mynn.trace.tracing.activity.edits()
    layer.note = "seen in training"
    assert compiled.program(x) is first
    assert mynn.trace.tracing.activity.edits() == edits


def test_attribute_read_by_the_step_alone() -> None:
    net = nn.Linear(2, 2)
    net.weighting = 1.0
    step = mynn.compile(lambda x: net(x).sum() * net.weighting)
    x = np.ones((3, 2), np.float32)
    before = step(x)
    net.weighting = 2.0
    np.testing.assert_allclose(step(x), 2 * before, rtol=1e-6)


def test_callback_changes_an_attribute_while_fit_trains() -> None:
    class Anneal(mynn.Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            net.beta = 10.0

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.beta = 1.0

        def forward(self, x: Any) -> Any:
            return x * self.beta

    net = Scaled()
    history = mynn.fit(
        lambda x: net(x).mean(), np.ones(8, np.float32), epochs=2, callbacks=[Anneal()]
    )
    assert history["loss"].tolist() == [1, 10]


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_array_too_large_to_copy(backend: str) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.values = np.ones(5000, np.float32)

        def forward(self, x: Any) -> Any:
            return x + self.values

    net = Table()
    compiled = mynn.compile(net, backend=backend)
    x = np.ones(5000, np.float32)
    assert compiled(x)[3] == 2
    net.values[3] = 5
    assert compiled(x)[3] == 6
