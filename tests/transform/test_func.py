"""`mynn.func` against `torch.func`: derivatives, and many examples at once."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import mynn
from tests.transform.programs import MAPPED, MLP, mapped_arrays, mlp_arrays

PROGRAMS = {**MLP, **MAPPED}


def leaves(value: Any) -> Iterator[tuple[Any, ...]]:
    """Shapes, dtypes and arrays, in the order of the structure."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from leaves(value[key])
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    else:
        array = value if isinstance(value, np.ndarray) else value.detach().numpy()
        yield array.shape, str(array.dtype), array


def assert_same(got: Any, expected: Any) -> None:
    ours, theirs = list(leaves(got)), list(leaves(expected))
    assert [one[:2] for one in ours] == [one[:2] for one in theirs]
    for (*_, a), (*_, b) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("room", ["grad", "jacobians", "products", "vmap"])
def test_examples(room: str) -> None:
    module = importlib.import_module(f"mynn.transform.{room}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.one_in(5)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:Attempted to insert")
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_give_what_torch_gives(name: str) -> None:
    """At once, and as a part of a graph that the interpreter runs."""
    torch = pytest.importorskip("torch")
    program = PROGRAMS[name]
    arrays = mlp_arrays() if name in MLP else mapped_arrays()
    expected = program(torch, *map(torch.tensor, arrays))
    got = program(mynn, *map(mynn.tensor, arrays))
    assert_same(got, expected)
    compiled = mynn.compile(lambda *xs: program(mynn, *xs), backend="interpreter")
    assert_same(compiled(*arrays), expected)
