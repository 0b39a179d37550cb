"""Detached tensors: the memory of another tensor, nothing of its history."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, nn
from mynn.core.graph import Node
from mynn.errors import UsageError
from mynn.tape.gradients.run import Run

CUTS: dict[str, Callable[[Any], Any]] = {
    "detach": lambda h: h.detach(),
    "data": lambda h: h.data,
    "view": lambda h: h.detach().reshape(-1).reshape(2, 4),
    "of a view": lambda h: h[:, :].detach(),
    "product": lambda h: (h * 1.5).detach(),
    "asks": lambda h: h.detach().requires_grad_(),
}


def nodes() -> int:
    gc.collect()
    return sum(type(one) in (Node, Run) for one in gc.get_objects())  # others warn if asked more


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("eager", ["at once", "tape"])
def test_a_state_that_goes_on_keeps_nothing_of_what_it_came_from(eager: Any, cut: str) -> None:
    cell, x = nn.GRUCell(3, 4), mynn.ones(2, 3)
    counts, first = [], None
    with mynn.eager(eager):
        h = mynn.zeros(2, 4)
        for step in range(16):
            h = cell(x, CUTS[cut](h))
            loss = h.sum()
            loss.backward()
            loss.item()
            if first is None:
                first = weakref.ref(h)
            if step in (10, 15):
                counts.append(nodes())
    assert first is not None
    assert first() is None
    assert counts[0] == counts[1]


def test_the_walk_back_ends_where_a_tensor_was_detached() -> None:
    with mynn.eager("at once"):
        p = Parameter([2.0, 3.0])
        y = p.exp()
        z = (y.detach() * p).sum()
        assert z.node is not None
        seen, way = set(), [z.node]
        while way:
            node = way.pop()
            seen.add(node.primitive.name)
            way += node.inputs
        z.backward()
    assert "exp" not in seen
    np.testing.assert_array_equal(p.grad.numpy(), y.numpy())


@pytest.mark.parametrize("cut", [name for name in CUTS if name != "product"])
def test_a_value_that_was_changed_is_missed_also_where_the_tensor_is_gone(cut: str) -> None:
    with mynn.eager("at once"):
        p = Parameter(np.ones((2, 4), np.float32))
        y = p * 1
        z = (CUTS[cut](y) * y).sum()
        y.mul_(2)
        del y
        with pytest.raises(UsageError, match=r"changed after .* at .*test_detached.py:[0-9]+"):
            z.backward()
