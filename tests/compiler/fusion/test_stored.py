"""Why a value is stored: each reason, and what is not stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mynn import functional
from mynn.compiler import pipeline
from mynn.compiler.fusion.stored import SHARED_LIMIT, SIZE_LIMIT, Reason
from mynn.core.types import Type
from mynn.target.target import host
from tests.helpers import f32, graph_of

PLACES = Type((4096,), np.dtype(np.int64))


def chain(x: Any, count: int) -> Any:
    """An expression of so many maxima, each of two nodes: it and its broadcast number."""
    for i in range(count):
        x = x.maximum(-float(i + 1))
    return x


CASES: dict[str, tuple[Callable[..., Any], tuple[Type, ...], set[Reason]]] = {
    "output": (lambda x: x + 1, (f32(8),), {Reason.OUTPUT}),
    "operand": (
        lambda x, w: (x + 1) @ w,
        (f32(16, 32), f32(32, 48)),
        {Reason.OPERAND, Reason.OUTPUT},
    ),
    "kernel": (lambda x: x.sum(1).tanh(), (f32(8, 64),), {Reason.OUTPUT}),
    "kernel of its own": (
        lambda x: x / x.sum(1, keepdim=True),
        (f32(8, 64),),
        {Reason.KERNEL, Reason.OUTPUT},
    ),
    "repeated": (
        lambda x: x.tanh().gather_rows(_places(), clip=True),
        (f32(64, 8),),
        {Reason.REPEATED, Reason.OUTPUT},
    ),
    "running totals": (
        lambda x: x.exp().cumsum(-1).tanh(),
        (f32(8, 64),),
        {Reason.SERIAL, Reason.KERNEL, Reason.OUTPUT},
    ),
    "running totals across": (
        lambda x: x.exp().cumsum(0).tanh(),
        (f32(8, 64),),
        {Reason.OUTPUT},
    ),
    "shared epilogue": (
        lambda x, w: _both(functional.relu(x @ w)),
        (f32(16, 32), f32(32, 48)),
        {Reason.SHARED_EPILOGUE, Reason.OUTPUT},
    ),
    "shared and costly": (
        lambda x: _both(x.tanh()),
        (f32(64, 8),),
        {Reason.SHARED_COSTLY, Reason.OUTPUT},
    ),
    "shared and light": (
        lambda x: _both(chain(x, SHARED_LIMIT // 2)),
        (f32(64, 8),),
        {Reason.OUTPUT},
    ),
    "shared and long": (
        lambda x: _both(chain(x, SHARED_LIMIT // 2 + 1)),
        (f32(64, 8),),
        {Reason.SHARED_LONG, Reason.OUTPUT},
    ),
    "long": (
        lambda x: chain(x, 2 * SIZE_LIMIT),
        (f32(64, 8),),
        {Reason.LONG, Reason.OUTPUT},
    ),
}


def _places() -> np.ndarray[Any, Any]:
    return np.arange(4096) % 64


def _both(x: Any) -> tuple[Any, Any]:
    """Two results that do not fit into one kernel."""
    return x * 2, x[1:] * 3


@pytest.mark.parametrize("name", CASES)
def test_reasons(name: str) -> None:
    function, types, reasons = CASES[name]
    lowered = pipeline.lower(graph_of(function, *types), host(), check=True)
    assert set(lowered.fusion.stored.values()) == reasons
    shown = next(each for each in pipeline.every_pass() if each.name == "fuse").show(lowered)
    for reason in reasons:
        assert reason.value in shown
