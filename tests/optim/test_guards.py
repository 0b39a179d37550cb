"""Options and attributes of optimisers changed after compiling, one by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import optim
from mynn.optim.optimizer import Optimizer, ParamGroup
from mynn.optim.options import NO_OPERATION
from mynn.tensor import Parameter
from tests.registry import OPTIMIZERS, SOLVERS, SPARSE

ENTRIES = {entry.name: entry for entry in OPTIMIZERS}


def test_registry_holds_every_optimizer_and_every_option() -> None:
    entries = {**ENTRIES, **{entry.name: entry for entry in (*SOLVERS, *SPARSE)}}
    assert entries.keys() == set(optim.__all__) - {"Optimizer", "LevenbergMarquardt"}
    for name, entry in entries.items():
        signature = inspect.signature(getattr(optim, name)).parameters
        assert ["params", *entry.options] == [n for n in signature if n not in NO_OPERATION], name


# What does not show in these few steps: amsgrad where gradients do not shrink, what is read in the
# first step alone or two steps later, the size of gradients where only their sign counts.
UNSEEN = {
    ("Adam", "amsgrad"),
    ("AdamW", "amsgrad"),
    ("Adagrad", "initial_accumulator_value"),
    ("Rprop", "lr"),
    ("Lion", "betas"),
    ("ASGD", "t0"),
}


class Run:
    """A parameter trained towards a line, eagerly or compiled."""

    def __init__(self, make: Callable[[Any], Optimizer], compiled: bool) -> None:
        self.p = Parameter(np.linspace(-1, 1, 5, dtype=np.float32).reshape(1, 5))
        self.optimizer = make([self.p])
        self.step = mynn.compile(self.run) if compiled else self.run

    def run(self, x: Any) -> Any:
        self.optimizer.zero_grad()
        loss = ((self.p - x) ** 3).sum()
        loss.backward()
        self.optimizer.step()
        return loss

    def __call__(self) -> Any:
        for _ in range(3):
            self.step(np.linspace(0, 1, 5, dtype=np.float32))
        return self.p.numpy()


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("name", "option"), [(n, option) for n, entry in ENTRIES.items() for option in entry.options]
)
def test_option_changed_after_compiling(name: str, option: str) -> None:
    case = ENTRIES[name].guarded
    assert case is not None
    make, value = partial(case.call, optim), ENTRIES[name].options[option]
    eager, compiled, unchanged = Run(make, False), Run(make, True), Run(make, False)
    for run in (eager, compiled, unchanged):
        run()
    old = eager.optimizer.param_groups[0][option]
    for run in (eager, compiled):
        run.optimizer.param_groups[0][option] = value
    expected = eager()
    np.testing.assert_allclose(compiled(), expected, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(unchanged(), expected) or (name, option) in UNSEEN
    for run in (eager, compiled):
        run.optimizer.param_groups[0][option] = old
    np.testing.assert_allclose(compiled(), eager(), rtol=1e-5, atol=1e-6)


class Own(Optimizer):
    """An optimiser of the user's with attributes of its own."""

    power = 1.0

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1, "weight_decay": 0.0})
        self.scale = 1.0
        self.factors = [1.0]

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        for p in params:
            step = p.grad * group.rate.astype(p.dtype) * self.scale * self.factors[0] * self.power
            p.assign(p.detach() - step)


def test_attributes_of_an_optimizer_of_the_users() -> None:
    changes: list[Callable[[Any], Any]] = [
        lambda o: setattr(o, "scale", 0.5),
        lambda o: o.factors.__setitem__(0, 0.3),
        lambda o: setattr(o, "factors", [0.7]),
        lambda o: setattr(o, "power", 2.0),
        lambda o: setattr(o, "lr", 0.2),
    ]
    eager, compiled = Run(Own, False), Run(Own, True)
    for change in changes:
        np.testing.assert_allclose(compiled(), eager(), rtol=1e-5, atol=1e-6)
        for run in (eager, compiled):
            change(run.optimizer)
    np.testing.assert_allclose(compiled(), eager(), rtol=1e-5, atol=1e-6)
