from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.tensor import Parameter, Tensor
from mynn.trace import tracing


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.heads = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 1)])
        self.scale = Parameter([2.0])
        self.register_buffer("mean", np.zeros(3))
        self.register_buffer("cache", np.zeros(1), persistent=False)
        self.register_parameter("absent", None)
        self.width = 4

    def forward(self, x: Any) -> Any:
        y = self.encoder(x - self.mean.astype(np.float32)) * self.scale
        return self.heads[0](y)


KEYS = [
    "scale",
    "mean",
    "encoder.0.weight",
    "encoder.0.bias",
    "heads.0.weight",
    "heads.0.bias",
    "heads.1.weight",
    "heads.1.bias",
]
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_walks() -> None:
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [k for k in KEYS if k != "mean"]
    assert [name for name, _ in net.named_buffers()] == ["mean", "cache"]
    assert [name for name, _ in net.named_children()] == ["encoder", "heads"]
    paths = ["", "encoder", "encoder.0", "encoder.1", "heads", "heads.0", "heads.1"]
    assert [name for name, _ in net.named_modules()] == paths
    assert len(list(net.modules())) == 7
    assert len(list(net.parameters())) == 7
    assert list(net.parameters(recurse=False)) == [net.scale]
    assert [name for name, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert net.get_submodule("encoder.0") is net.encoder[0]
    assert net.get_submodule("") is net
    assert net.absent is None
    assert "encoder" in dir(net)
    with pytest.raises(ArgumentError, match="heads"):
        net.get_submodule("decoder")


def test_shared_parameters_are_walked_once_and_saved_twice() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    twice = nn.Sequential(net[0], net[0])
    assert [name for name, _ in twice.named_parameters()] == ["0.weight", "0.bias"]


def test_attributes() -> None:
    net = Net()
    with pytest.raises(UsageError, match=r"scale is a parameter.*data"):
        net.scale = np.ones(1)
    with pytest.raises(UsageError, match="encoder is a module"):
        net.encoder = "tanh"
    with pytest.raises(AttributeError, match=r"Net.*decoder"):
        _ = net.decoder
    net.mean = np.ones(3)
    assert isinstance(net.mean, Tensor)
    old = net.scale
    net.scale = Parameter([3.0])
    assert next(net.named_parameters())[1] is net.scale
    assert net.scale is not old
    net.scale = None
    assert "scale" not in dict(net.named_parameters())
    del net.encoder
    assert not hasattr(net, "encoder")
    net.width = nn.Linear(1, 1)
    assert "width.weight" in net.state_dict()
    with pytest.raises(ArgumentError, match=r"a\.b"):
        net.add_module("a.b", nn.Tanh())
    with pytest.raises(ArgumentError, match="forward"):
        net.register_buffer("forward", np.ones(1))


def test_super_init_is_asked_for() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(UsageError, match="super"):
        Early()
    with pytest.raises(UsageError, match="forward"):
        nn.Module()(1)


def test_state_dict_round_trip() -> None:
    net, other = Net(), Net()
    state = net.state_dict()
    assert list(state) == KEYS
    assert all(type(value) is mynn.Tensor and not value.requires_grad for value in state.values())
    result = other.load_state_dict(state)
    assert result == ([], [])
    np.testing.assert_array_equal(net(X).value, other(X).value)


def test_state_dict_shares_the_memory() -> None:
    """As in PyTorch: averages of weights are kept by writing into the tensors of a state dict."""
    net = Net()
    state, kept = net.state_dict(), copy.deepcopy(net.state_dict())
    state["scale"].fill_(7)
    assert net.scale.item() == 7
    with mynn.no_grad():
        net.scale.mul_(2)
    assert state["scale"].item() == 14
    assert kept["scale"].item() == 2
    state["scale"] = mynn.zeros(1)
    assert net.scale.item() == 14
    assert net.state_dict(prefix="net.", keep_vars=True)["net.scale"] is net.scale
    into = {"more": 1}
    assert net.state_dict(destination=into) is into
    assert list(into) == ["more", *KEYS]


def test_state_dict_that_does_not_fit_changes_nothing() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    state = {key: value + 1 for key, value in before.items()}
    missing = {key: value for key, value in state.items() if key != "scale"}
    with pytest.raises(ArgumentError, match=r"missing keys \['scale'\]"):
        net.load_state_dict(missing)
    with pytest.raises(ArgumentError, match=r"unexpected keys \['more'\]"):
        net.load_state_dict({**state, "more": np.ones(1)})
    with pytest.raises(ShapeError, match=r"heads\.1\.bias.*\(1,\).*\(2,\)"):
        net.load_state_dict({**state, "heads.1.bias": np.ones(2)})
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    result = net.load_state_dict({**missing, "more": np.ones(1)}, strict=False)
    assert result.missing_keys == ["scale"]
    assert result.unexpected_keys == ["more"]
    np.testing.assert_array_equal(net.mean.value, before["mean"] + 1)
    np.testing.assert_array_equal(net.scale.value, before["scale"])


def test_state_dict_of_pytorch_both_ways() -> None:
    torch = pytest.importorskip("torch")

    def make(nn: Any) -> Any:
        return nn.Sequential(nn.Linear(3, 25), nn.Tanh(), nn.Linear(25, 2))

    ours, theirs = make(nn), make(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(ours(X).value, expected, rtol=1e-5, atol=1e-6)
    again = make(torch.nn)
    again.load_state_dict({k: torch.from_dlpack(v) for k, v in ours.state_dict().items()})
    np.testing.assert_array_equal(again(torch.tensor(X)).detach().numpy(), expected)


def test_train_and_eval() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    assert net.eval() is net
    assert not any(one.training for one in net.modules())
    assert all(one.training for one in net.train().modules())
    net[0].training = False
    assert [one.training for one in net.modules()] == [True, False, True, True]


def test_zero_grad_and_freezing() -> None:
    net = Net()
    net(X).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.tolist() == [0]
    net.zero_grad()
    assert net.scale.grad is None
    net.encoder.requires_grad_(False)
    net(X).sum().backward()
    assert net.encoder[0].weight.grad is None
    assert net.heads[0].weight.grad is not None
    net.encoder.requires_grad_()
    assert all(p.requires_grad for p in net.parameters())


def test_apply() -> None:
    net = Net()
    seen: list[nn.Module] = []
    assert net.apply(seen.append) is net
    assert seen[-1] is net
    assert len(seen) == 7


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.at_once("a first call and a later one have other last digits")
def test_copies(copied: Any) -> None:
    net = Net().eval()
    net(X).sum().backward()
    twin = copied(net)
    assert net.scale.grad is not None
    assert not twin.training
    np.testing.assert_array_equal(net(X).value, twin(X).value)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert type(q) is Parameter
        assert q.value.strides == p.value.strides
        assert q.value.ctypes.data % 64 == 0
        assert q.grad is None
    twin.scale.data = [9.0]
    assert net.scale.item() == 2


def test_copies_keep_shared_parameters_shared() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    twin = copy.deepcopy(net)
    assert twin[0].weight is twin[1].weight
    assert twin[0].weight is not net[0].weight


def test_repr() -> None:
    assert repr(Net()) == "\n".join(
        [
            "Net(",
            "  (encoder): Sequential(",
            "    (0): Linear(in_features=3, out_features=4, bias=True)",
            "    (1): Tanh()",
            "  )",
            "  (heads): ModuleList(",
            "    (0): Linear(in_features=4, out_features=2, bias=True)",
            "    (1): Linear(in_features=4, out_features=1, bias=True)",
            "  )",
            ")",
        ]
    )


def test_trace_fills_activations_and_names() -> None:
    net, loss = Net(), nn.MSELoss()
    with tracing.tracing() as trace:
        y = net(Tensor(X))
        loss(y, np.zeros((5, 2), np.float32))
    assert list(trace.observer.activations) == [
        "encoder.0",
        "encoder.1",
        "encoder",
        "heads.0",
        "",
        "MSELoss",
    ]
    assert trace.observer.activations[""] is y.node
    assert trace.observer.modules[net.encoder[1]] == "encoder.1"
    assert net.encoder[0].weight.name == "encoder.0.weight"
    names = {node.name for node in trace.reads.values()}
    assert {"mean", "scale", "heads.0.bias"} <= names
    assert "heads.1.bias" not in names


def test_trace_of_two_networks() -> None:
    first, second = nn.Sequential(nn.Tanh()), nn.Sequential(nn.Sigmoid())
    with tracing.tracing() as trace:
        second(first(Tensor(X)))
        second(Tensor(X))
    assert list(trace.observer.activations) == ["0", "", "Sequential.0", "Sequential"]


def test_error_names_a_layer_that_is_not_registered() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 2)]

        def forward(self, x: Any) -> Any:
            return self.layers[0](x)

    with pytest.raises(ShapeError, match=r"^Linear: .*in_features=2"):
        Hidden()(X)


def test_sequential() -> None:
    net = nn.Sequential(OrderedDict([("first", nn.Linear(3, 4)), ("act", nn.ReLU())]))
    assert list(net.state_dict()) == ["first.weight", "first.bias"]
    assert net.act is net[1] is net[-1]
    assert len(net) == 2
    assert isinstance(net[:1], nn.Sequential)
    net = nn.Sequential(nn.Linear(3, 4))
    net.append(nn.ReLU()).extend([nn.Linear(4, 1)])
    assert net(X).shape == (5, 1)
    net[1] = nn.Tanh()
    assert isinstance(list(net)[1], nn.Tanh)
    assert nn.Sequential()(X) is X
    with pytest.raises(IndexError):
        net[3]


@pytest.mark.parametrize(
    ("make", "name", "meant"),
    [
        (lambda: nn.LeakyReLU(), "negativ_slope", "negative_slope"),
        (lambda: nn.LayerNorm(3), "epss", "eps"),
        (lambda: nn.Linear(2, 2), "weights", "weight"),
        (lambda: nn.BatchNorm1d(2), "runing_mean", "running_mean"),
        (lambda: nn.Sequential(nn.Tanh()), "trainig", "training"),
        (lambda: Pair(), "trainning", "training"),
    ],
)
def test_misspelt_attribute(make: Callable[[], nn.Module], name: str, meant: str) -> None:
    module = make()
    with pytest.raises(ArgumentError, match=f"no attribute '{name}'.*mean '{meant}'"):
        setattr(module, name, 0.5)
    assert name not in vars(module)


class Pair(nn.Module):
    """A network whose attributes look alike."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0
        self.scale2 = 2.0

    def rescale(self) -> None:
        self.scales = [self.scale, self.scale2]


def test_networks_may_have_attributes_that_look_alike() -> None:
    net = Pair()
    net.rescale()
    net.scale3 = 3.0
    nn.Linear(2, 2).note = "kept"
    assert net.scales == [1.0, 2.0]


@pytest.mark.parametrize("mode", ["at once", "tape", "compiled"])
def test_a_forward_of_one_layer_alone(mode: Any) -> None:
    """`layer.forward = f` counts from the next call on, and no more when it is taken away."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    x = np.ones((3, 2), np.float32)
    run = mynn.compile(net) if mode == "compiled" else lambda x: net(mynn.tensor(x)).numpy()

    def values() -> Any:
        return [run(x) for _ in range(5)][-1]

    with mynn.eager("tape" if mode == "compiled" else mode):
        first = values()
        inner = np.arctanh(first)
        net[1].forward = lambda x: x * 2.0  # type: ignore[method-assign]
        np.testing.assert_allclose(values(), inner * 2.0, rtol=1e-4)
        net[1].forward = lambda x: x * 3.0  # type: ignore[method-assign]
        np.testing.assert_allclose(values(), inner * 3.0, rtol=1e-4)
        del net[1].forward
        np.testing.assert_allclose(values(), first, rtol=1e-6)
        net.forward = lambda input: input - 1.0  # type: ignore[method-assign]
        assert not values().any()
