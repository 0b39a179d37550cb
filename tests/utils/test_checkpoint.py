"""Parts of a network that are marked to be computed twice have the same values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, ArgumentTypeError
from mynn.utils.checkpoint import checkpoint, checkpoint_sequential

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_a_part_and_a_sequence(mode: Any) -> None:
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    found = []
    with mynn.eager(mode):
        for call in (
            net,
            lambda x: checkpoint(net, x, use_reentrant=False, preserve_rng_state=True),
            lambda x: checkpoint_sequential(net, 2, x, use_reentrant=True),
        ):
            x = mynn.tensor(X, requires_grad=True)
            net.zero_grad()
            (call(x) ** 2).sum().backward()
            found.append((x.grad, net[0].weight.grad))
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one.numpy(), same.numpy())


def test_arguments_by_name_go_to_the_function() -> None:
    assert checkpoint(lambda x, times: x * times, mynn.tensor(2.0), times=3).item() == 6.0


def test_what_is_wrong() -> None:
    with pytest.raises(ArgumentTypeError, match="checkpoint: takes a module"):
        checkpoint(3, mynn.tensor(2.0))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="segments"):
        checkpoint_sequential([mynn.exp], 0, mynn.tensor(2.0))
