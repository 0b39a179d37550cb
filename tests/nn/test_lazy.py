"""Layers that learn the extents of their input from the first call."""

from __future__ import annotations

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import UsageError


def test_the_first_call_makes_the_layer() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    assert repr(net[3]) == "LazyLinear(in_features=0, out_features=2, bias=True)"
    assert net[3].has_uninitialized_params()
    assert net(np.ones((5, 3, 6, 6), np.float32)).shape == (5, 2)
    assert [type(one).__name__ for one in net] == ["Conv2d", "BatchNorm2d", "Flatten", "Linear"]
    assert (net[0].in_channels, net[1].num_features, net[3].in_features) == (3, 4, 64)


def test_an_optimiser_made_before_trains_the_parameters() -> None:
    layer = nn.LazyLinear(2)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = np.ones((5, 3), np.float32)
    layer(x).sum().backward()
    before = layer.weight.numpy()
    optimizer.step()
    np.testing.assert_allclose(layer.weight.numpy(), before - 0.5, rtol=1e-6)


def test_it_is_made_eagerly() -> None:
    x = np.ones((5, 3), np.float32)
    layer = nn.LazyLinear(2)
    with pytest.raises(UsageError, match="call the network once on an example"):
        mynn.compile(layer)(x)
    with pytest.raises(UsageError, match=r"LazyLinear.*call the layer once"):
        layer.load_state_dict({})
    expected = layer(x).numpy()
    np.testing.assert_allclose(mynn.compile(layer)(x), expected, rtol=1e-6)


def test_dtype_before_the_first_call() -> None:
    layer = nn.LazyLinear(2).double()
    assert layer(np.ones((5, 3))).dtype == np.float64
