"""Layers, optimisers and initialisers: the arguments of PyTorch's constructors, in their order.

What they compute is compared in tests/nn and tests/optim.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from mynn import Tensor, nn, optim
from mynn.errors import ArgumentError
from tests.registry import MODULES, OPTIMIZERS, SOLVERS

EMPTY = inspect.Parameter.empty

# Arguments of PyTorch's that are not there, or whose default differs.
REASONS = {
    ("Parameter", "data"): "there is no parameter without a value",
    **{
        (entry.name, one): why
        for entry in (*MODULES, *OPTIMIZERS, *SOLVERS)
        for one, why in entry.differs.items()
    },
}
RECURRENT = ("RNN", "LSTM", "GRU")
OWN = {"nonlinearity", "generator", "name", "order", "dtype", "modules"}

GROUPS: dict[str, tuple[Any, str, list[str]]] = {
    "nn": (nn, "nn", [n for n in nn.__all__ if n not in ("Module", "init", "functional", "utils")]),
    "optim": (optim, "optim", [n for n in optim.__all__ if n != "Optimizer"]),
    "init": (nn.init, "nn.init", [n for n in dir(nn.init) if n.endswith("_") and n[0] != "_"]),
}


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(function).parameters)
    found.pop("self", None)
    return found


def _cases() -> list[tuple[str, str]]:
    return [(group, name) for group, (_, _, names) in GROUPS.items() for name in names]


@pytest.mark.parametrize(("group", "name"), _cases())
def test_arguments_have_their_names_order_and_defaults(group: str, name: str) -> None:
    torch = pytest.importorskip("torch")
    module, path, _ = GROUPS[group]
    owner = torch
    for part in path.split("."):
        owner = getattr(owner, part)
    if not hasattr(owner, name):
        assert name in {
            "default_",
            "lecun_normal_",
            "lecun_uniform_",
            "Lion",
            "LAMB",
            "LevenbergMarquardt",
            "RotaryEmbedding",
            "SinusoidalPositionalEncoding",
        } or name.startswith("_")
        return
    theirs, ours = getattr(owner, name), getattr(module, name)
    theirs, ours = _parameters(theirs), _parameters(ours)
    if name in RECURRENT:  # they hand all on to their base
        theirs = _parameters(torch.nn.RNNBase)
        for one in ("mode",) if name == "LSTM" else ("mode", "proj_size"):
            del theirs[one]
    if set(theirs) <= {"args", "kwargs"}:
        assert not set(ours) - {"args", "kwargs", "modules"}
        return
    common = [one for one in theirs if one in ours]
    assert [one for one in ours if one in theirs] == common
    missing = set(theirs) - set(ours)
    assert not {one for one in missing if (name, one) not in REASONS}
    assert set(ours) - set(theirs) <= OWN
    for one in common:
        if (name, one) in REASONS:
            continue
        # What is our own stands behind, or is given by keyword.
        assert ours[one].kind == theirs[one].kind, one
        assert _same(ours[one].default, theirs[one].default), one


def _same(ours: Any, theirs: Any) -> bool:
    if inspect.isfunction(ours):
        return bool(ours.__name__ == theirs.__name__)
    return (ours is EMPTY) == (theirs is EMPTY) and (ours is EMPTY or ours == theirs)


def test_parameter_takes_requires_grad_second() -> None:
    assert not nn.Parameter([1.0], False).requires_grad
    assert nn.Parameter([1.0]).requires_grad
    assert nn.Parameter([1.0], dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("device", [None, "cpu", "cpu:0"])
def test_the_processor_is_the_device(device: Any) -> None:
    assert nn.Linear(2, 3, True, device, np.float64).weight.dtype == np.float64
    assert nn.BatchNorm1d(3, device=device).running_mean.dtype == np.float32


def test_torch_devices_and_others() -> None:
    torch = pytest.importorskip("torch")
    assert nn.Conv2d(1, 2, 3, device=torch.device("cpu")).weight.shape == (2, 1, 3, 3)
    with pytest.raises(ArgumentError, match=r"GroupNorm: device must be .cpu. or None"):
        nn.GroupNorm(1, 2, device="cuda:1")


def test_softmax_layers_name_their_axis() -> None:
    with pytest.warns(UserWarning, match="softmax: without dim"):
        assert nn.Softmax()(Tensor([[1.0, 1.0]])).tolist() == [[0.5, 0.5]]


# -- methods ---------------------------------------------------------------------------------------

METHODS = {
    "Module": [
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "children",
        "cpu",
        "cuda",
        "double",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_parameter",
        "get_submodule",
        "half",
        "load_state_dict",
        "modules",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_module",
        "register_parameter",
        "requires_grad_",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "train",
        "type",
        "zero_grad",
    ],
    "Optimizer": ["add_param_group", "load_state_dict", "state_dict", "step", "zero_grad"],
}
METHOD_REASONS = {
    ("to", "kwargs"): "each by its name",
    ("load_state_dict", "assign"): "values are copied",
    ("state_dict", "destination"): "not there yet",
    ("state_dict", "keep_vars"): "values are arrays",
    ("state_dict", "args"): "an old form",
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in METHODS.items() for n in names])
def test_methods_have_the_arguments(kind: str, name: str) -> None:
    torch = pytest.importorskip("torch")
    ours = _parameters(getattr(getattr(nn if kind == "Module" else optim, kind), name))
    owner = torch.nn.Module if kind == "Module" else torch.optim.Optimizer
    theirs = _parameters(getattr(owner, name))
    if name == "forward":
        return
    missing = {one for one in theirs if one not in ours and (name, one) not in METHOD_REASONS}
    assert not missing, (list(ours), list(theirs))
    assert [one for one in ours if one in theirs] == [one for one in theirs if one in ours]


def test_every_public_method_is_named() -> None:
    torch = pytest.importorskip("torch")
    for kind, owner in (("Module", torch.nn.Module), ("Optimizer", torch.optim.Optimizer)):
        ours = getattr(nn if kind == "Module" else optim, kind)
        shared = {
            name
            for name in dir(ours)
            if not name.startswith("_") and callable(getattr(ours, name)) and hasattr(owner, name)
        }
        assert shared == set(METHODS[kind])
