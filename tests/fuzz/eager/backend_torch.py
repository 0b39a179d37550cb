"""The same programs on PyTorch, with what mynn has and PyTorch has not."""

from __future__ import annotations

import contextlib
import functools
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

from mynn.core.types import Array
from tests.fuzz.eager.backends import FUNCTIONS, SKIPPED, Backend
from tests.fuzz.eager.statements import Program


class _Frozen:
    """mynn's optimisers leave what is frozen as it is, also where it has a gradient."""

    def step(self) -> None:
        some = [p for group in self.param_groups for p in group["params"]]  # type: ignore
        hidden = [(p, p.grad) for p in some if not p.requires_grad]
        for p, _ in hidden:
            p.grad = None
        super().step()  # type: ignore
        for p, gradient in hidden:
            p.grad = gradient


class _SGD(_Frozen, torch.optim.SGD): ...


class _Adam(_Frozen, torch.optim.Adam): ...


class _AdamW(_Frozen, torch.optim.AdamW): ...


class Torch(Backend):
    """PyTorch, on one thread."""

    name = "PyTorch"
    tensors = (torch.Tensor,)
    module = torch.nn.Module
    optimizer = torch.optim.Optimizer

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        functions = {
            name: getattr(torch.nn.functional, name)
            for name in dir(torch.nn.functional)
            if not name.startswith("_")
        }
        more = {
            name: getattr(torch, name)
            for name in ("cat", "stack", "where", "maximum", "minimum", "logsumexp")
        }
        self.scope |= {
            "nn": torch.nn,
            "optim": types.SimpleNamespace(SGD=_SGD, Adam=_Adam, AdamW=_AdamW),
            "F": types.SimpleNamespace(**functions | more),
            "tensor": lambda data, requires_grad=False: torch.tensor(
                data, requires_grad=requires_grad
            ),
            "no_grad": torch.no_grad,
            "given": lambda array: torch.tensor(array),
            "shared": torch.from_numpy,
            "Parameter": lambda data: torch.nn.Parameter(torch.tensor(data)),
            "compiled": self._compiled,
            "interpreted": self._compiled,
            "fit": self._fit,
            "predict": self._predict,
            "grad": functools.partial(torch.autograd.grad, retain_graph=True),
            "clip_grad_norm_": torch.nn.utils.clip_grad_norm_,
            "clip_grad_value_": torch.nn.utils.clip_grad_value_,
            "own": lambda value: SKIPPED,
        }
        for name in FUNCTIONS:
            self.scope[name] = getattr(torch.autograd.functional, name)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        torch.set_num_threads(1)
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, self.program.dtype))
        changes = contextlib.ExitStack()
        for kind, name, value in (
            (torch.Tensor, "backward", _backward),
            (torch.Tensor, "numpy", self.array),
            (torch.Tensor, "assign", _assign),
            (torch.Tensor, "__array__", lambda tensor, dtype=None, copy=None: self.array(tensor)),
            (torch.nn.Module, "requires_grad_", _requires_grad),
        ):
            function = value if kind is not torch.Tensor else _plain(value)
            changes.enter_context(mock.patch.object(kind, name, function, create=True))
        try:
            with changes, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            torch.set_default_dtype(before)

    def kind_of(self, error: Exception) -> str:
        if "modified by an inplace operation" in str(error):
            return "modified"
        return type(error).__name__

    def array(self, tensor: Any) -> Array:
        return np.array(_numpy(tensor.detach()))

    def grad(self, tensor: Any) -> Any:
        return tensor.grad if tensor.is_leaf else None

    def put(self, parameter: Any, value: Array) -> None:
        with torch.no_grad():
            parameter.copy_(torch.tensor(value))

    def state(self, net: Any) -> dict[str, Array]:
        return {key: self.array(value) for key, value in net.state_dict().items()}

    def _numbers(self, value: Any) -> Any:
        return SKIPPED

    def _slots(self, optimizer: Any) -> Any:
        return SKIPPED

    # -- compiled functions, and what is made of them ----------------------------------------------

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function from arrays to arrays, in which gradients start as None and do not stay."""

        def call(*arguments: Any) -> Any:
            leaves = self._leaves()
            before = [leaf.grad for leaf in leaves]
            for leaf in leaves:
                leaf.grad = None
            try:
                return self._arrays(function(*map(torch.tensor, arguments)))
            finally:
                for leaf, gradient in zip(leaves, before, strict=True):
                    leaf.grad = gradient

        return call

    def _leaves(self) -> list[Any]:
        found: dict[int, Any] = {}
        for value in self.scope.values():
            some = [value] if isinstance(value, torch.Tensor) else []
            some += value.parameters() if isinstance(value, torch.nn.Module) else []
            found |= {id(one): one for one in some if one.is_leaf}
        return list(found.values())

    def _arrays(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(map(self._arrays, value))
        return self.array(value) if isinstance(value, torch.Tensor) else value

    def _fit(self, step: Any, data: Any, epochs: int, batch_size: int) -> Any:
        losses = []
        for _ in range(epochs):
            total = 0.0
            for start in range(0, len(data[0]), batch_size):
                batch = [array[start : start + batch_size] for array in data]
                total += float(step(*batch)) * len(batch[0])
            losses.append(total / len(data[0]))
        return np.array(losses)

    def _predict(self, net: Any, data: Array) -> Array:
        was = {module: module.training for module in net.modules()}
        net.eval()
        with torch.no_grad():
            found = self.array(net(torch.tensor(data)))
        for module, training in was.items():
            module.training = training
        return found


# What mynn does otherwise, on PyTorch.

_numpy, _real_backward = torch.Tensor.numpy, torch.Tensor.backward


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that becomes a method, also where it is bound to something else."""
    return lambda *arguments, **named: function(*arguments, **named)


def _backward(tensor: Any, gradient: Any = None) -> None:
    """A graph stays after `backward`."""
    gradient = torch.tensor(gradient) if isinstance(gradient, np.ndarray) else gradient
    _real_backward(tensor, gradient, retain_graph=True)


def _assign(tensor: Any, value: Any) -> None:
    if tuple(np.shape(value)) != tuple(tensor.shape):
        raise ValueError("assign: another shape")
    with torch.no_grad():
        tensor.copy_(torch.as_tensor(value).clone())  # which may lie in its memory


def _requires_grad(module: Any, requires_grad: bool = True) -> Any:
    """What is frozen has no gradient left."""
    for parameter in module.parameters():
        parameter.requires_grad_(requires_grad)
        if not requires_grad:
            parameter.grad = None
    return module
