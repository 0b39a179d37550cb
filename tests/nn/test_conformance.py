"""What every layer and loss goes through, by the registry."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import DTypeError
from mynn.tensor import Parameter
from tests.helpers import same_bits
from tests.registry import FUNCTIONS, MODULES, OPTIMIZERS, SOLVERS, SPARSE, Entry
from tests.registry.entries import all_cases
from tests.registry.running import (
    DTYPES,
    TOLERANCE,
    assert_all_close,
    backends,
    build,
    dtypes_of,
    pytorch,
    run_layer,
    run_torch,
    weights,
)
from tests.subset import by_entry

# PyTorch warns of it once in a process, in whichever test comes first.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
]

CASES = all_cases(MODULES)
every_case = pytest.mark.parametrize("name", CASES)
ALIKE = {name for entry in MODULES if entry.alike for name in all_cases([entry])}
every_compiled_case = pytest.mark.parametrize("name", [n for n in CASES if n not in ALIKE])
every_entry = pytest.mark.parametrize("entry", MODULES, ids=lambda entry: entry.name)


def test_registry_holds_every_layer_and_every_option() -> None:
    layers = {
        name: kind
        for name in nn.__all__
        if isinstance(kind := getattr(nn, name), type) and issubclass(kind, nn.Module)
    }
    del layers["Module"]
    # Tested in tests/nn/test_lazy.py and tests/nn/test_container.py.
    layers = {name: kind for name, kind in layers.items() if not name.startswith("Lazy")}
    del layers["ParameterList"], layers["ParameterDict"]
    del layers["RNNBase"], layers["RNNCellBase"]  # what the recurrent layers are made of
    entries = {entry.name: entry for entry in MODULES}
    assert entries.keys() == layers.keys()
    for name, kind in layers.items():
        assert entries[name].options.keys() == inspect.signature(kind).parameters.keys(), name


def test_pytorch_has_the_names() -> None:
    """Where the registry says so, and nowhere else; so the list in docs/features.md is true."""
    torch = pytorch()
    for entry in (*MODULES, *OPTIMIZERS, *SOLVERS, *SPARSE, *FUNCTIONS):
        for place in ("torch", "torch.nn", "torch.nn.functional", "torch.optim"):
            owner = functools.reduce(getattr, place.split(".")[1:], torch)
            if entry.twin is None or place == entry.twin:
                assert hasattr(owner, entry.name) == (entry.twin is not None), entry.name


@pytest.mark.one_in(3, each=by_entry)
@pytest.mark.parametrize("name", all_cases([entry for entry in MODULES if entry.twin]))
def test_pytorch(name: str) -> None:
    """Values, gradients, buffers, keys and the printed form are PyTorch's."""
    torch = pytorch()
    case = CASES[name]
    if case.apart:
        pytest.skip(case.apart)
    for dtype in DTYPES:
        layer, arrays = build(name, case, dtype)
        other = case.call(torch.nn).to(getattr(torch, dtype))
        assert repr(layer) == repr(other)
        state = layer.state_dict()
        assert list(state) == list(other.state_dict())
        other.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
        other.train(layer._training)
        expected = run_torch(torch, other, arrays, list(other.parameters()))
        tolerance = max(10 * TOLERANCE[dtype], case.rounded)
        assert_all_close(
            run_layer(layer, arrays),
            [*expected, *(buffer.numpy() for buffer in other.buffers())],
            tolerance,
        )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.smooth])
def test_gradients(name: str) -> None:
    """First and second derivatives for inputs and parameters, against differences."""
    layer, arrays = build(name, CASES[name], "float64")
    mynn.check_grads(layer, arrays)


@pytest.mark.one_in(7, each=by_entry)
@backends
@every_compiled_case
def test_compiled(name: str, backend: str) -> None:
    """A step with the layer gives what it gives eagerly; so do its buffers. Plain ones with
    parameters in float64 too.
    """
    single, _ = build(name, CASES[name], DTYPES[0])
    for dtype in dtypes_of(name) if list(single.parameters()) else DTYPES[:1]:
        layer, arrays = build(name, CASES[name], dtype)
        expected = run_layer(layer, arrays)
        got = run_layer(*build(name, CASES[name], dtype), backend)
        assert_all_close(got, expected, 10 * TOLERANCE[dtype])


class Trained:
    """A layer behind a parameter of its own, and the step that trains all of it."""

    def __init__(self, entry: Entry) -> None:
        self.layer, self.arrays = build(entry.name, entry.plain, "float32")
        self.scale = Parameter(np.float32(0.5))
        self.optimizer = optim.SGD([self.scale, *self.layer.parameters()], lr=0.01)
        self.indices = entry.indices

    def step(self, x: Any, *targets: Any) -> Any:
        self.optimizer.zero_grad()
        y = self.layer(x if self.indices else self.scale * x, *targets)
        y = y[0] if isinstance(y, tuple) else y
        y = self.scale * y if self.indices else y
        loss = (y * weights(y.shape).astype(np.float32)).mean()
        loss.backward()
        self.optimizer.step()
        return loss

    def state(self) -> list[Array]:
        return [self.scale.numpy(), *self.layer.state_dict().values()]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "entry", [entry for entry in MODULES if not entry.alike], ids=lambda entry: entry.name
)
def test_fit(entry: Entry) -> None:
    """`fit` leaves the parameters and buffers that a loop in Python leaves, and the same losses."""
    ours, eager = Trained(entry), Trained(entry)
    rows = len(ours.arrays[0])
    data = [np.concatenate([array, array[::-1]]) for array in ours.arrays]
    history = mynn.fit(ours.step, tuple(data), epochs=2, batch_size=rows, shuffle=False)
    losses = [
        eager.step(*(array[start : start + rows] for array in data)).item()
        for _ in range(2)
        for start in (0, rows)
    ]
    np.testing.assert_allclose(
        history["loss"], np.reshape(losses, (2, 2)).mean(1), rtol=1e-5, atol=1e-6
    )
    assert_all_close(ours.state(), eager.state(), 2e-5)


# -- copies and states -----------------------------------------------------------------------------


@pytest.mark.one_in(3)
@every_entry
def test_states_go_from_one_to_another(entry: Entry) -> None:
    layer, arrays = build(entry.name, entry.plain, "float32")
    other, _ = build("another", entry.plain, "float32")
    run_layer(layer, arrays)
    run_layer(other, arrays)
    state = layer.state_dict()
    other.load_state_dict(state)
    for key, value in other.state_dict().items():
        assert same_bits(value, state[key]), key
    for a, b in zip(run_layer(layer, arrays), run_layer(other, arrays), strict=True):
        assert same_bits(a, b)


@pytest.mark.one_in(5)
@every_entry
@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies(entry: Entry, way: Any) -> None:
    """A copy computes the same, and shares nothing."""
    layer, arrays = build(entry.name, entry.plain, "float32")
    layer.eval()
    twin = way(layer)
    assert repr(twin) == repr(layer)
    assert not twin._training
    for a, b in zip(run_layer(layer, arrays), run_layer(twin, arrays), strict=True):
        assert same_bits(a, b)
    before = copy.deepcopy(layer.state_dict())
    for parameter in twin.parameters():
        parameter.data = np.ones(parameter.shape)
    for key, value in layer.state_dict().items():
        assert same_bits(value, before[key]), key


# -- dtypes ----------------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@every_entry
def test_default_dtype(entry: Entry) -> None:
    """Layers are made in the dtype of `set_default_dtype`."""
    mynn.set_default_dtype(mynn.float64)
    try:
        layer = entry.plain.call(nn)
        found = [*layer.parameters(), *layer.buffers()]
        assert {one.dtype for one in found if one.dtype.kind == "f"} <= {np.dtype(np.float64)}
    finally:
        mynn.set_default_dtype(mynn.float32)


@every_entry
def test_dtypes(entry: Entry) -> None:
    """Parameters decide, and without them the input; what is no number is refused."""
    if entry.indices:
        return
    layer, (x, *rest) = build(entry.name, entry.plain, "float32")
    typed = bool(list(layer.parameters()))
    for dtype in ("float32", "float64"):
        expected = "float32" if typed else dtype
        given = [t.astype(dtype) if t.dtype.kind == "f" else t for t in rest]
        result = layer(x.astype(dtype), *given)
        assert (result[0] if isinstance(result, tuple) else result).dtype == expected
    first = next(iter(layer.children()), layer)
    with pytest.raises(DTypeError, match=f"{type(first).__name__}|{type(layer).__name__}"):
        layer(x.astype(complex), *rest)
