"""What is changed after compiling changes the program as it changes eager code.

Layer by layer and option by option; the table is held to the constructors' signatures.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.random import Generator
from mynn.tensor import Tensor

IMAGE, ODD, SIGNAL, LONG, ROWS = (2, 4, 6, 6), (2, 4, 8, 8), (2, 4, 9), (2, 4, 10), (6, 4)
LABELS = np.array([0, 1, 2, 3, 1, 2])
POOL = {"kernel_size": 2, "stride": 1, "padding": 0, "ceil_mode": True}
MAX_POOL = {**POOL, "dilation": 2, "return_indices": None}
AVERAGE_POOL = {**POOL, "count_include_pad": False}
CONV = {
    "in_channels": 6,
    "out_channels": None,
    "kernel_size": None,
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (2, 2),
    "groups": 2,
    "bias": "drop",
    "padding_mode": None,
    "device": None,
    "dtype": None,
}
CONV_1D = {
    key: value[:1] if isinstance(value, tuple) else value  # as the layer keeps them
    for key, value in CONV.items()
}
NORM = {
    "num_features": 5,
    "eps": 0.5,
    "momentum": 0.7,
    "affine": None,
    "track_running_stats": False,
    "device": None,
    "dtype": np.dtype(np.float64),
    "bias": "drop",
}


class Case:
    """A layer, the shapes (or arrays) that it takes, and a new value for each of its options.

    None: changing the attribute has no meaning, because only the constructor looks at it (or it has
    one value alone); "drop": the parameter becomes None.
    """

    def __init__(
        self, make: Callable[[], nn.Module], inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.make = make
        self.options = options
        generator = np.random.default_rng(0)
        self.inputs = [
            generator.normal(size=x).astype(np.float32) if isinstance(x, tuple) else x
            for x in inputs
        ]


LOSS = {"size_average": None, "reduce": None, "reduction": "sum"}
WEIGHT = np.linspace(0.5, 2.0, 4, dtype=np.float32)
TARGET = np.linspace(0.0, 1.0, 24, dtype=np.float32).reshape(ROWS)

CASES: dict[str, Case] = {
    "GELU": Case(nn.GELU, (ROWS,), {"approximate": "tanh"}),
    "AdaptiveAvgPool1d": Case(lambda: nn.AdaptiveAvgPool1d(3), (SIGNAL,), {"output_size": 2}),
    "AdaptiveAvgPool2d": Case(lambda: nn.AdaptiveAvgPool2d(3), (IMAGE,), {"output_size": (2, 1)}),
    "AdaptiveMaxPool1d": Case(
        lambda: nn.AdaptiveMaxPool1d(3), (SIGNAL,), {"output_size": 2, "return_indices": None}
    ),
    "AdaptiveMaxPool2d": Case(
        lambda: nn.AdaptiveMaxPool2d(3), (IMAGE,), {"output_size": (2, 1), "return_indices": None}
    ),
    "AvgPool1d": Case(lambda: nn.AvgPool1d(3, stride=2, padding=1), (LONG,), AVERAGE_POOL),
    "AvgPool2d": Case(
        lambda: nn.AvgPool2d(3, stride=2, padding=1),
        (ODD,),
        {**AVERAGE_POOL, "divisor_override": 7},
    ),
    "BCEWithLogitsLoss": Case(
        nn.BCEWithLogitsLoss, (ROWS, TARGET), {**LOSS, "weight": WEIGHT, "pos_weight": WEIGHT}
    ),
    "BatchNorm1d": Case(lambda: nn.BatchNorm1d(4), (ROWS,), NORM),
    "BatchNorm2d": Case(lambda: nn.BatchNorm2d(4), (IMAGE,), NORM),
    "Conv1d": Case(lambda: nn.Conv1d(4, 4, 3, padding=1), (SIGNAL,), CONV_1D),
    "Conv2d": Case(lambda: nn.Conv2d(4, 4, 3, padding=1), (IMAGE,), CONV),
    "ConvTranspose1d": Case(
        lambda: nn.ConvTranspose1d(4, 4, 3, stride=3, padding=1),
        (SIGNAL,),
        {**CONV_1D, "output_padding": (1,)},
    ),
    "ConvTranspose2d": Case(
        lambda: nn.ConvTranspose2d(4, 4, 3, stride=3, padding=1),
        (IMAGE,),
        {**CONV, "output_padding": (1, 1)},
    ),
    "CrossEntropyLoss": Case(
        nn.CrossEntropyLoss,
        (ROWS, LABELS),
        {**LOSS, "weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.3},
    ),
    "Dropout": Case(nn.Dropout, (ROWS,), {"p": 0.9, "inplace": None, "generator": Generator(5)}),
    "Flatten": Case(nn.Flatten, (IMAGE,), {"start_dim": 2, "end_dim": 2}),
    "GroupNorm": Case(
        lambda: nn.GroupNorm(2, 4),
        (SIGNAL,),
        {
            "num_groups": 4,
            "num_channels": 6,
            "eps": 0.5,
            "affine": None,
            "device": None,
            "dtype": np.dtype(np.float64),
            "bias": "drop",
        },
    ),
    "Identity": Case(nn.Identity, (ROWS,), {"args": None, "kwargs": None}),
    "LayerNorm": Case(
        lambda: nn.LayerNorm(4),
        (ROWS,),
        {
            "normalized_shape": (6, 4),
            "eps": 0.5,
            "elementwise_affine": None,
            "bias": "drop",
            "device": None,
            "dtype": np.dtype(np.float64),
        },
    ),
    "LeakyReLU": Case(nn.LeakyReLU, (ROWS,), {"negative_slope": 0.5, "inplace": None}),
    "Linear": Case(
        lambda: nn.Linear(4, 3),
        (ROWS,),
        {
            "in_features": 5,
            "out_features": None,
            "bias": "drop",
            "device": None,
            "dtype": None,
        },
    ),
    "LogSoftmax": Case(lambda: nn.LogSoftmax(dim=1), (ROWS,), {"dim": 0}),
    "MSELoss": Case(nn.MSELoss, (ROWS, ROWS), LOSS),
    "MaxPool1d": Case(lambda: nn.MaxPool1d(3, stride=2, padding=1), (LONG,), MAX_POOL),
    "MaxPool2d": Case(lambda: nn.MaxPool2d(3, stride=2, padding=1), (ODD,), MAX_POOL),
    "ModuleList": Case(
        lambda: nn.Sequential(*nn.ModuleList([nn.Tanh()])), (ROWS,), {"modules": None}
    ),
    "NLLLoss": Case(nn.NLLLoss, (ROWS, LABELS), {**LOSS, "weight": WEIGHT, "ignore_index": 2}),
    "RMSNorm": Case(
        lambda: nn.RMSNorm(4),
        (ROWS,),
        {
            "normalized_shape": (6, 4),
            "eps": 0.5,
            "elementwise_affine": None,
            "device": None,
            "dtype": np.dtype(np.float64),
        },
    ),
    "ReLU": Case(nn.ReLU, (ROWS,), {"inplace": None}),
    "Sequential": Case(lambda: nn.Sequential(nn.Tanh()), (ROWS,), {"modules": None}),
    "SiLU": Case(nn.SiLU, (ROWS,), {"inplace": None}),
    "Sigmoid": Case(nn.Sigmoid, (ROWS,), {}),
    "Softmax": Case(lambda: nn.Softmax(dim=1), (ROWS,), {"dim": 0}),
    "Softplus": Case(nn.Softplus, (ROWS,), {"beta": 3.0, "threshold": 0.5}),
    "Tanh": Case(nn.Tanh, (ROWS,), {}),
}
OPTIONS = [
    (name, option)
    for name, case in CASES.items()
    for option, value in case.options.items()
    if value is not None
]


def outcome(function: Callable[..., Any], inputs: list[Array]) -> list[Array] | str:
    """The results, or the kind of error."""
    mynn.manual_seed(3)
    try:
        result = function(*inputs)
    except MynnError as error:
        return type(error).__name__
    arrays = result if isinstance(result, tuple) else (result,)
    return [np.asarray(one.data if isinstance(one, Tensor) else one) for one in arrays]


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


def test_table_holds_every_layer_and_every_option() -> None:
    layers = {
        name: kind
        for name in nn.__all__
        if isinstance(kind := getattr(nn, name), type) and issubclass(kind, nn.Module)
    }
    del layers["Module"]
    assert CASES.keys() == layers.keys()
    for name, kind in layers.items():
        assert CASES[name].options.keys() == inspect.signature(kind).parameters.keys(), name


def results(layer: nn.Module, inputs: list[Array]) -> list[Array] | str:
    """Output and what was noted in buffers, eagerly."""
    found = outcome(layer, inputs)
    return found if isinstance(found, str) else [*found, *layer.state_dict().values()]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_option_changed_after_compiling(name: str, option: str) -> None:
    case = CASES[name]
    mynn.manual_seed(1)
    layer = case.make()
    for parameter in layer.parameters():
        parameter.data = np.random.default_rng(2).normal(size=parameter.shape)
    twin = copy.deepcopy(layer)
    compiled = mynn.compile(layer)

    def both() -> list[Array] | str:
        got = outcome(compiled, case.inputs)
        if not isinstance(got, str):
            got = [*got, *layer.state_dict().values()]
        expected = results(twin, case.inputs)
        assert_same(got, expected)
        return expected

    before = both()
    steady = both()
    value = case.options[option]
    old = getattr(layer, option)
    for one in (layer, twin):
        setattr(
            one,
            option,
            None if isinstance(value, str) and value == "drop" else copy.deepcopy(value),
        )
    after = both()
    assert differ(before, after) or differ(steady, after)
    for one in (layer, twin):
        setattr(
            one, option, copy.deepcopy(old) if isinstance(value, str) and value == "drop" else old
        )
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
    edits = mynn.trace.tracing.edits()
    layer.note = "seen in training"
    assert compiled.program(x) is first
    assert mynn.trace.tracing.edits() == edits


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
