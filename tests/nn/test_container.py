"""Containers of parameters."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, IndexRangeError


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


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
def test_members_are_put_in_and_taken_out_as_in_pytorch(kind: str) -> None:
    torch = pytest.importorskip("torch")

    def seen(lib: Any) -> list[Any]:
        def made(*layers: Any) -> Any:
            return lib.Sequential(*layers) if kind == "Sequential" else lib.ModuleList(layers)

        found = made(*(lib.Linear(3, 3) for _ in range(4)))
        found.insert(1, lib.Tanh())
        taken = [type(found.pop(2)).__name__, type(found.pop(-1)).__name__]
        del found[0]
        found += made(lib.Identity())
        longer = found + made(lib.GELU())
        state = list(found.state_dict())
        del found[1:3]
        names = [[type(one).__name__ for one in some] for some in (found, longer)]
        return [taken, names, state, type(longer).__name__, len(found)]

    assert seen(nn) == seen(torch.nn)


def test_what_was_called_before_a_member_is_taken_out_has_its_value() -> None:
    net = nn.Sequential(nn.Identity(), nn.Tanh())
    x = mynn.tensor([2.0])
    for _ in range(6):
        y = net(x)
        net.pop()
        z = net(x)
        net.insert(1, nn.Tanh())
        np.testing.assert_allclose([y.item(), z.item()], [np.tanh(2.0), 2.0], rtol=1e-6)


def test_only_modules_are_put_in() -> None:
    net = nn.Sequential(nn.Tanh(), nn.Identity())
    with pytest.raises(ArgumentError, match=r"Sequential: .* is not a Module"):
        net.insert(0, np.tanh)  # type: ignore[arg-type]
    assert [type(one) for one in net] == [nn.Tanh, nn.Identity]


@pytest.mark.parametrize("given", [dict, OrderedDict, list])
def test_order_of_named_parameters(given: Any) -> None:
    """PyTorch's: an optimizer's state goes by the numbers of parameters."""
    torch = pytest.importorskip("torch")
    entries = given([("b", 1.0), ("c", 2.0), ("a", 3.0)])
    values = dict(entries)

    def made(nn: Any, tensor: Any) -> list[tuple[str, float]]:
        pairs = [(key, nn.Parameter(tensor(values[key]))) for key, _ in dict(entries).items()]
        found = nn.ParameterDict(given(pairs))
        found |= {"z": nn.Parameter(tensor(5.0)), "y": nn.Parameter(tensor(6.0))}
        found.setdefault("b", nn.Parameter(tensor(0.0)))
        found.setdefault("d", nn.Parameter(tensor(4.0)))
        other = found.copy()
        last, value = other.popitem()
        assert (last, value.item(), next(reversed(other))) == ("d", 4.0, "z")
        both = other | nn.ParameterDict({"w": nn.Parameter(tensor(8.0))})
        assert (list(both)[-1], len(other), list(found.fromkeys(["k"]))) == ("w", 5, ["k"])
        other.clear()
        assert not list(other.parameters())
        return [(name, one.item()) for name, one in found.named_parameters()]

    assert made(nn, mynn.tensor) == made(torch.nn, torch.tensor)
