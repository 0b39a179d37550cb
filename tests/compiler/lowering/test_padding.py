"""Paddings: values are loaded as neighbours, whatever surrounds them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mynn import functional
from mynn.compiler.loop_ir.ir import For, Let, Load
from mynn.compiler.loop_ir.walk import statements
from mynn.target.target import host
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import check, f64, text
from tests.helpers import f32, graph_of

# Left, right, above, below; rows and columns of what is inside.
PADDINGS = [
    ((1, 1, 1, 1), 5, 32),
    ((1, 2, 0, 3), 4, 17),
    ((0, 5, 2, 0), 3, 31),
    ((20, 0, 1, 1), 2, 9),
    ((3, 40, 0, 0), 1, 16),
    ((2, 1, 1, 2), 3, 1),
]


@pytest.mark.parametrize(("widths", "rows", "columns"), PADDINGS)
@pytest.mark.parametrize("typed", [f32, f64])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_paddings(
    widths: tuple[int, ...], rows: int, columns: int, typed: Callable[..., Any], vector_bytes: int
) -> None:
    def padded(x: Tensor) -> Tensor:
        return functional.pad(x * 2, widths, value=3.0)

    target = replace(host(), vector_bytes=vector_bytes, vector_registers=16)
    case = Case(graph_of(padded, typed(2, 3, rows, columns)), target=target)
    check(case)
    vectors = [
        loop
        for kernel in case.lowered.kernels
        for loop in statements(kernel.body)
        if isinstance(loop, For) and loop.kind == "vector"
    ]
    loads = [
        (loop, s.value)
        for loop in vectors
        for s in loop.body
        if isinstance(s, Let) and isinstance(s.value, Load)
    ]
    assert loads
    assert all(load.index.coefficient(loop.var) == 1 for loop, load in loads if loop.extent > 1)


def test_what_surrounds_is_not_loaded() -> None:
    loops = text(Case(graph_of(lambda x: functional.pad(x, (40, 3)), f32(4, 48))))
    assert len(re.findall(r"let t\d+ = \S+\[", loops)) == 1
    assert "where(" not in loops
