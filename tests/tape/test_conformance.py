"""Every layer, loss, function and optimiser gives on a tape what it gives at once, by the registry.

Each is called three times over: the first calls run as they come, what comes again is recorded, and
is a program then. That compiled and fitted steps give what these give is tested where the registry
is (`tests/nn/test_conformance.py` and its like).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import optim
from mynn.core.types import Array
from mynn.tape.calls.step import Step
from mynn.tape.mode import MODES
from mynn.tape.pieces.piece import Piece
from mynn.tensor import Parameter
from tests.registry import FUNCTIONS, MODULES, OPTIMIZERS
from tests.registry.entries import all_cases
from tests.registry.running import (
    TOLERANCE,
    assert_all_close,
    build,
    our_function,
    run_eager,
    run_layer,
)
from tests.subset import by_entry

TIMES = 3
LAYERS, CALLS, UPDATES = map(all_cases, (MODULES, FUNCTIONS, OPTIMIZERS))
# Cases that are run at once, or give another call's result: the result is the argument, there are
# several, or Python reads values on the way.
LABELS = {"eval", "of nothing", "identity", "indices"}
NAMES = {
    *("Identity", "ModuleDict", "ModuleList", "MultiheadAttention"),
    *("RNN", "LSTM", "GRU", "LSTMCell"),
    *("accuracy", "one_hot", "gumbel_softmax"),
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of calls that became programs. The interpreter runs them: no compiler is waited
    for.
    """
    monkeypatch.setattr("mynn.tape.pieces.piece.native_available", lambda: False)
    found: set[str] = set()
    made = Piece.__init__

    def noted(self: Piece, step: Step, *args: Any) -> None:
        found.update(call.name for call in step.calls)
        made(self, step, *args)

    monkeypatch.setattr(Piece, "__init__", noted)
    return found


def in_both(make: Callable[[], Callable[[], list[Array]]]) -> None:
    """What is made gives on a tape what it gives at once, each time."""
    results = []
    for mode in MODES:
        mynn.manual_seed(7)
        with mynn.eager(mode):
            once = make()
            results.append([once() for _ in range(TIMES)])
    for got, expected in zip(results[1], results[0], strict=True):
        assert_all_close(got, expected, 10 * TOLERANCE["float32"])


def of_layer(name: str) -> Callable[[], list[Array]]:
    layer, arrays = build(name, LAYERS[name], "float32")
    return lambda: run_layer(layer, arrays)


@pytest.mark.one_in(7, each=by_entry)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, ran: set[str]) -> None:
    in_both(lambda: of_layer(name))
    kind, _, label = name.partition("-")
    assert kind in ran or kind in NAMES or label in LABELS


@pytest.mark.one_in(7, each=by_entry)
@pytest.mark.parametrize("name", CALLS)
def test_functions(name: str, ran: set[str]) -> None:
    arrays = CALLS[name].arrays(name, "float32")
    in_both(lambda: lambda: run_eager(our_function(CALLS[name]), arrays))
    assert ran or name.partition("-")[0] in NAMES


def of_optimizer(name: str) -> Callable[[], list[Array]]:
    draw = np.random.default_rng(1)
    trained = [Parameter(draw.normal(size=shape).astype(np.float32)) for shape in ((3, 5), (5, 5))]
    x = mynn.tensor(draw.normal(size=(5, 5)).astype(np.float32))
    chosen = UPDATES[name].call(optim, trained)

    def step() -> list[Array]:
        chosen.zero_grad()
        loss = ((trained[0] @ x @ trained[1]) ** 2).mean() + trained[1].tanh().sum()
        loss.backward()
        chosen.step()
        return [loss.detach().numpy(), *(one.numpy() for one in trained)]

    return step


@pytest.mark.one_in(5, each=by_entry)
@pytest.mark.parametrize("name", UPDATES)
def test_optimizers(name: str, ran: set[str]) -> None:
    in_both(lambda: of_optimizer(name))
    assert "step" in ran
