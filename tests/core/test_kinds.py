"""Primitives at once: what is shorter gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.core.kinds import computing
from mynn.core.primitive import Primitive
from mynn.core.types import Type
from mynn.ops import PRIMITIVES

BOUND = [one for one in PRIMITIVES if one.bound is not None]


@pytest.mark.parametrize("primitive", BOUND, ids=repr)
def test_what_is_bound_gives_the_same_bits(primitive: Primitive) -> None:
    samples = primitive.samples(np.random.default_rng(0))
    with_axes = 0
    for sample in samples:
        type = primitive.infer(*map(Type.of, sample.arrays), **sample.params)
        if not type.shape:
            continue
        with_axes += 1
        function = computing(primitive, sample.params, type)
        assert primitive.bound is not None
        assert function.__class__ is primitive.bound(type, **sample.params).__class__
        found = np.asarray(function(*sample.arrays))
        expected = np.asarray(primitive.numpy(*sample.arrays, **sample.params))
        assert found.dtype == type.dtype
        np.testing.assert_array_equal(found, expected)
    assert with_axes


def test_there_are_some() -> None:
    assert {one.name for one in BOUND} >= {"reshape", "transpose", "slice", "sum"}
