"""Python loops of many alike rounds are named; networks of many layers are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.jit.unrolled import ROUNDS

X = np.ones((2, 3), np.float32)


def traced(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """The warnings of a trace, with their lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mynn.compile(function, backend="interpreter")(*arguments)
    return [f"{one.lineno} {one.message}" for one in caught]


def recurrent(rounds: int) -> Callable[..., Any]:
    cell = nn.GRUCell(3, 3)

    def loss(x: Any) -> Any:
        h = x
        for _ in range(rounds):
            h = cell(x, h)
        total = h.sum()
        total.backward()
        return total

    return loss


def test_a_loop_of_alike_rounds_is_named_once() -> None:
    loss = recurrent(ROUNDS)
    (said,) = traced(loss, X)
    line = loss.__code__.co_firstlineno + 3
    assert said.startswith(f"{line} a loop goes through this line {ROUNDS} times")
    assert "mynn.scan" in said
    assert traced(recurrent(ROUNDS), X) == []


def test_what_is_not_named() -> None:
    assert traced(recurrent(ROUNDS - 1), X) == []
    layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(ROUNDS + 4)])
    w = mynn.Parameter(np.eye(3, dtype=np.float32))

    def deep(x: Any) -> Any:
        for layer in layers:
            x = layer(x).tanh()
        x.sum().backward()
        return x

    def side_by_side(x: Any) -> Any:
        total = (x @ w).sum()
        for number in range(ROUNDS + 4):
            total = total + ((x + number) @ w).sum()
        total.backward()
        return total

    def as_a_scan(x: Any) -> Any:
        return mynn.scan(lambda h, _: (h @ w, None), x, length=100)[0].sum()

    for function in (deep, side_by_side, as_a_scan):
        assert traced(function, X) == [], function.__name__


def test_checking_makes_an_error_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNN_CHECK", "1")
    with pytest.raises(mynn.errors.UsageError, match="a loop goes through this line"):
        mynn.compile(recurrent(ROUNDS), backend="interpreter")(X)
