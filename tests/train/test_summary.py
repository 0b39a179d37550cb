"""The layers of a network with shapes, parameters, operations and bytes."""

from __future__ import annotations

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, ArgumentTypeError


def test_layers_with_what_they_cost() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)
    )
    net[4].bias.requires_grad = False
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    found = mynn.summary(net, input_size=(2, 1, 8, 8))
    kinds = [(row.path, row.kind, row.shape, row.parameters) for row in found.rows]
    assert kinds == [
        ("0", "Conv2d", (2, 4, 6, 6), 40),
        ("1", "BatchNorm2d", (2, 4, 6, 6), 8),
        ("2", "ReLU", (2, 4, 6, 6), 0),
        ("3", "Flatten", (2, 144), 0),
        ("4", "Linear", (2, 10), 1450),
    ]
    linear = found.rows[4]
    assert linear.operations == 2 * 2 * 144 * 10 + 2 * 10
    assert linear.nbytes >= 4 * (2 * 144 + 1450 + 20)
    assert (found.parameters, found.trainable) == (1498, 1488)
    x = np.zeros((2, 1, 8, 8), np.float32)
    assert found.operations == mynn.compile(net.eval()).program(x).operations
    text = repr(found)
    assert "Conv2d" in text
    assert "1,498 parameters, 1,488 of them trained" in text
    net.train()
    mynn.summary(net, np.zeros((2, 1, 8, 8), np.float32))
    assert net.training
    assert net[1].training
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_model_and_a_layer_that_is_called_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: mynn.Tensor) -> mynn.Tensor:
            return self.inner(self.inner(x).tanh())

    net = Twice()
    found = mynn.Model(net, "mse", "sgd").summary(np.zeros((5, 3), np.float32))
    assert [row.path for row in found.rows] == ["inner", "inner"]
    assert found.parameters == 12


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(ArgumentError, match="give the inputs of the network"):
        mynn.summary(nn.Linear(2, 1))
    with pytest.raises(ArgumentTypeError, match="network must be a module"):
        mynn.summary(3, input_size=(1, 2))
    with pytest.raises(ArgumentTypeError, match="input_size must be a whole number"):
        mynn.summary(nn.Linear(2, 1), input_size=(1.5, 2))


def test_a_shape_may_stand_alone() -> None:
    found = mynn.summary(nn.Linear(2, 1), (5, 2))
    assert [row.shape for row in found.rows] == [(5, 1)]
