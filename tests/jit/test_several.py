"""Calls with several arrays, whose program is kept ready: as those that look it up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import MynnError


def test_other_types_find_other_programs() -> None:
    add = mynn.compile(lambda x, y: x + y)
    one, two = np.ones(3, np.float32), np.full(3, 2.0, np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(add(one, two), 3.0)
    assert add._several is not None
    assert add(one.astype(np.float64), two).dtype == np.float64
    assert add(np.ones(2, np.float32), two[:2]).shape == (2,)
    assert add(one, 2.0).dtype == np.float32
    assert add(x=one, y=two).shape == (3,)
    strided = np.ones((3, 2), np.float32)[:, 1]
    np.testing.assert_array_equal(add(strided, two), 3.0)
    with pytest.raises(MynnError):
        add(one, two[:2])
    with pytest.raises(TypeError):
        add(one, two, one)
    first = add(one, two)
    add(two, two)
    np.testing.assert_array_equal(first, 3.0)  # a result is nobody else's memory


def test_what_decided_the_program_is_looked_at() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)
            self.factor = 2.0

        def forward(self, x: Any, y: Any) -> Any:
            return self.drop(x) * self.factor + y

    net = Scaled().eval()
    step = mynn.compile(net)
    ones = np.ones(64, np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(step(ones, ones), 3.0)
    net.factor = 5.0
    np.testing.assert_array_equal(step(ones, ones), 6.0)
    net.train()
    assert len(np.unique(step(ones, ones))) == 2


def test_a_check_that_fails_says_so() -> None:
    pick = mynn.compile(lambda x, index: x.index_select(0, index))
    x = np.arange(4.0, dtype=np.float32)
    for _ in range(3):
        assert pick(x, np.array([3, 1])).tolist() == [3, 1]
    with pytest.raises(MynnError, match="4"):
        pick(x, np.array([0, 4]))
    assert pick(x, np.array([2, 0])).tolist() == [2, 0]
