"""Plain values from outside of a function that change between calls."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn

X = np.ones((4, 3), np.float32)
net = nn.Linear(3, 2)
rate = 0.5
config = types.SimpleNamespace(scale=1.0, inner=types.SimpleNamespace(shift=0.0))
table = {"power": 1, "other": [1.0, 2.0]}
factors = np.ones(3, np.float32)
widths = [1.0, 2.0]
flag = True


def double(x: Any) -> Any:
    return x * 2


chosen = double


def reads(x: Any) -> Any:
    y = chosen(x) * rate * config.scale + config.inner.shift
    y = y ** table["power"] * factors * widths[1] * table["other"][0]
    return (y if flag else -y) + net(x).sum()


def set_global(name: str, value: Any) -> Callable[[], None]:
    return lambda: globals().__setitem__(name, value)


CHANGES: dict[str, Callable[[], Any]] = {
    "number": set_global("rate", 0.7),
    "whole": set_global("rate", 1),
    "flag": set_global("flag", False),
    "function": set_global("chosen", lambda x: x * 5),
    "namespace": lambda: setattr(config, "scale", 3.0),
    "inner": lambda: setattr(config.inner, "shift", 2.0),
    "item": lambda: table.update(power=2),
    "list in a dict": lambda: table["other"].__setitem__(0, 4.0),
    "array": lambda: factors.__setitem__(1, 9.0),
    "another array": set_global("factors", np.full(3, 0.5, np.float32)),
    "list": lambda: widths.__setitem__(1, 7.0),
    "network": set_global("net", nn.Linear(3, 2)),
}


@pytest.mark.parametrize("direct", [True, False])
def test_values_changed_after_compiling(direct: bool) -> None:
    compiled = mynn.compile(reads if direct else lambda x, y: reads(x) + y)
    arguments = (X,) if direct else (X, X)
    kept = dict(globals())
    config.scale, config.inner.shift = 1.0, 0.0
    table.update(power=1, other=[1.0, 2.0])
    factors[:], widths[:] = 1, [1.0, 2.0]

    def both() -> Any:
        expected = compiled.function(*map(mynn.Tensor, arguments)).value
        np.testing.assert_allclose(compiled(*arguments), expected, rtol=1e-5)
        np.testing.assert_allclose(compiled(*arguments), expected, rtol=1e-5)
        return expected

    try:
        before = both()
        for name, change in CHANGES.items():
            change()
            after = both()
            assert not np.array_equal(before, after), name
            before = after
    finally:
        globals().update(kept)


def test_closure_changed_after_compiling() -> None:
    beta = 1.0
    compiled = mynn.compile(lambda x: x * beta)
    assert compiled(X)[0, 0] == 1
    beta = 2.0
    assert compiled(X)[0, 0] == 2


def test_a_partial_function_is_one_program_and_follows_what_it_holds() -> None:
    weights, options = [2.0, 3.0], {"shift": [1.0]}

    def scaled(by: list[float], x: Any, shift: list[float], power: int) -> Any:
        return (x * by[0] + shift[0]) ** power * rate

    part = functools.partial(scaled, weights, power=2, **options)
    compiled = mynn.compile(part)
    np.testing.assert_allclose(compiled(X), part(X))
    assert compiled.lookup((X,))[1] is compiled.lookup((X,))[1]
    for change in (
        lambda: weights.__setitem__(0, 5.0),
        lambda: part.keywords["shift"].__setitem__(0, 9.0),
        lambda: part.keywords.update(power=3),
    ):
        change()
        np.testing.assert_allclose(compiled(X), part(X))
    inner = mynn.compile(lambda x: part(x) + 1)
    np.testing.assert_allclose(inner(X), part(X) + 1)
    part.keywords.update(power=1)
    np.testing.assert_allclose(inner(X), part(X) + 1)


def test_methods_follow_their_object() -> None:
    class Model:
        def __init__(self) -> None:
            self.scale = 1.0

        @mynn.compile
        def run(self, x: Any) -> Any:
            return self.helper(x)

        def helper(self, x: Any) -> Any:
            return x * self.scale

    model = Model()
    assert model.run(X)[0, 0] == 1
    model.scale = 4.0
    assert model.run(X)[0, 0] == 4


def test_large_array_is_looked_at_where_a_run_begins() -> None:
    values = np.ones(50_000, np.float32)
    compiled = mynn.compile(lambda x: (x * values).mean())
    data = np.ones((2, 50_000), np.float32)
    assert mynn.fit(compiled, data, batch_size=2)["loss"] == 1
    values[:] = 3
    assert mynn.fit(compiled, data, batch_size=2)["loss"] == 3


LOOKS: dict[str, Callable[[Any, Any], Any]] = {
    "int": lambda x, at: x * int(at),
    "float": lambda x, at: x * float(at),
    "item": lambda x, at: x * at.item(),
    "bool": lambda x, at: x * 3 if at else x * 5,
    "slice": lambda x, at: x[at:].sum() * 1.0,
    "narrow": lambda x, at: x.narrow(0, int(at), 2) * 1.0,
    "numpy": lambda x, at: x * at.numpy(),
    "tolist": lambda x, at: x * at.tolist(),
    "array": lambda x, at: x * np.asarray(at),
    "range": lambda x, at: x * len(range(at)),
}


@pytest.mark.parametrize("name", LOOKS)
def test_values_of_tensors_that_are_looked_at(name: str) -> None:
    """They are built in, and compared: later values were not seen, with a warning at the most."""
    at = mynn.tensor(2)
    look = LOOKS[name]

    def function(x: Any) -> Any:
        return look(x, at)

    compiled = mynn.compile(function)
    x = np.arange(6, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (2, 2, 4, 0, 2):
            with mynn.no_grad():
                at.fill_(value)
            want = look(mynn.tensor(x), at)
            assert np.array_equal(compiled(x), want.numpy()), value
