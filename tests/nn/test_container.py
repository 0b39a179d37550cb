"""Containers of parameters."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import IndexRangeError


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([np.float32([2.0, 3.0]), nn.Parameter([1.0])])
        self.named = nn.ParameterDict({"shift": np.float32([0.5]), "unit": nn.Parameter([1.0])})

    def forward(self, x: Any) -> Any:
        for scale in self.scales:
            x = x * scale
        return x + self.named["shift"]


def test_they_are_found_and_trained() -> None:
    net = Scaled()
    keys = ["scales.0", "scales.1", "named.shift", "named.unit"]
    assert list(net.state_dict()) == keys
    assert [name for name, _ in net.named_parameters()] == keys
    x = np.float32([1.0, 1.0])
    np.testing.assert_allclose(net(x).numpy(), [2.5, 3.5])
    np.testing.assert_allclose(mynn.compile(net)(x), [2.5, 3.5])
    net(x).sum().backward()
    np.testing.assert_allclose(net.scales[1].grad.numpy(), [5.0])
    twin = copy.deepcopy(net)
    twin.scales[0] = np.float32([0.0, 0.0])
    np.testing.assert_allclose(twin(x).numpy(), [0.5, 0.5])
    np.testing.assert_allclose(net(x).numpy(), [2.5, 3.5])


def test_they_are_lists_and_dictionaries() -> None:
    net = Scaled()
    assert (len(net.scales), len(net.named)) == (2, 2)
    assert net.scales[-1] is net.scales[1]
    assert len(net.scales[:1]) == 1
    with pytest.raises(IndexRangeError, match="index 2"):
        net.scales[2]
    assert list(net.named) == ["shift", "unit"]
    assert "shift" in net.named
    net.named.pop("shift")
    assert [name for name, _ in net.named.named_parameters()] == ["unit"]


def test_printed_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ours = nn.ParameterList([np.ones((2, 3), np.float32)])
    theirs = torch.nn.ParameterList([torch.ones(2, 3)])
    assert repr(ours) == repr(theirs)
    for make in (
        lambda nn: nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3), nn.Tanh()]),
        lambda nn: nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 3)), "b": nn.Tanh()}),
    ):
        assert repr(make(nn)) == repr(make(torch.nn))


def test_module_dict_changes() -> None:
    layers = nn.ModuleDict([("a", nn.Linear(2, 3)), ("b", nn.Tanh())])
    net = nn.Sequential(layers["a"], layers["b"])
    assert list(layers) == ["a", "b"]
    layers["b"] = nn.ReLU()
    del layers["a"]
    assert list(layers.state_dict()) == []
    assert len(net) == 2
