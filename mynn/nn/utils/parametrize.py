"""Parameters that modules compute from others: `torch.nn.utils.parametrize` under its names."""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import explained
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.nn.container import ModuleDict, ModuleList
from mynn.nn.module import Module
from mynn.tensor import Parameter, Tensor, as_tensor, no_grad


class ParametrizationList(ModuleList):
    """The modules that compute a tensor, and the parameters that they start from.

    `original` is the parameter; where the first module has a `right_inverse` that gives several,
    they are `original0`, `original1`...
    """

    def __init__(self, modules: Any, original: Any) -> None:
        super().__init__(modules)
        values = original
        for module in reversed(list(self)):
            inverse = getattr(module, "right_inverse", None)
            if inverse is not None:
                with no_grad():
                    values = inverse(values)
        self._several = isinstance(values, tuple | list)
        listed = list(values) if self._several else [values]
        for number, value in enumerate(listed):
            name = f"original{number}" if self._several else "original"
            made = value if isinstance(value, Parameter) else Parameter(as_tensor(value).detach())
            setattr(self, name, made)

    def right_inverse(self, value: Any) -> None:
        """Give the originals the values that the tensor is computed from."""
        with no_grad():
            values: Any = as_tensor(value).detach()
            for module in reversed(list(self)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is None:
                    raise UsageError(
                        f"{type(module).__name__} has no right_inverse, so that what it computes "
                        "cannot be assigned; change its originals, or give it one"
                    )
                values = inverse(values)
            listed = [as_tensor(one) for one in (values if self._several else [values])]
            names = [name for name in self._parameters if name.startswith("original")]
            own = [getattr(self, name) for name in names]
            given, wanted = [one.shape for one in listed], [one.shape for one in own]
            if given != wanted:
                raise ShapeError(
                    f"right_inverse of {type(self[0]).__name__} gives values of shapes {given} for "
                    f"{', '.join(names)}, which have {wanted}; assign a tensor of the shape that "
                    "the parameter has"
                )
            for parameter, one in zip(own, listed, strict=True):
                parameter.copy_(one)

    def forward(self) -> Tensor:
        """The tensor as it is now."""
        names = [name for name in self._parameters if name.startswith("original")]
        values: Any = [getattr(self, name) for name in names]
        for number, module in enumerate(self):
            values = module(*values) if number == 0 else module(values)
        return as_tensor(values)


class Computed:
    """What stands for the tensor of a module: reading it computes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Any) -> Tensor:
        """The tensor as it is now."""
        found: Tensor = module.parametrizations[self.name]()
        return found

    def assign(self, module: Any, value: Any) -> None:
        """Let the tensor be computed with this value: `layer.weight = value`."""
        module.parametrizations[self.name].right_inverse(value)


@explained
def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Have a parameter computed by a module whenever it is read.

    Args:
        module: it is changed, and returned.
        tensor_name: the name of its parameter.
        parametrization: computes the tensor from the parameter; with a method `right_inverse`, that
            gives the parameter to start from.
        unsafe: whether the tensor may have another shape.

    Several of one tensor are applied in their order.

    Example:
        >>> from mynn import nn
        >>> class Symmetric(nn.Module):
        ...     def forward(self, x):
        ...         return (x + x.T) * 0.5
        >>> from mynn.nn.utils import parametrize
        >>> layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Symmetric())
        >>> list(layer.state_dict())
        ['bias', 'parametrizations.weight.original']
    """
    if is_parametrized(module, tensor_name):
        entry: Any = module._modules["parametrizations"]
        entry[tensor_name].append(parametrization)
        return module
    original = module._parameters.get(tensor_name)
    if original is None:
        known = ", ".join(module._parameters) or "none"
        raise ArgumentError(
            f"{type(module).__name__} has no parameter {tensor_name!r} to compute; it has {known}"
        )
    made = ParametrizationList([parametrization], original)
    with no_grad():
        shape = made().shape
    if shape != original.shape and not unsafe:
        raise ShapeError(
            f"register_parametrization: {tensor_name} has shape {original.shape}, what is computed "
            f"{shape}; give unsafe=True where that is meant"
        )
    delattr(module, tensor_name)
    if "parametrizations" not in module._modules:
        module.add_module("parametrizations", ModuleDict())
    table: Any = module._modules["parametrizations"]
    table[tensor_name] = made
    computed = {**module.__dict__.get("_computed", {}), tensor_name: Computed(tensor_name)}
    object.__setattr__(module, "_computed", computed)
    module._edited()
    return module


@explained
def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of the module, or any, is computed by others."""
    table: Any = module._modules.get("parametrizations")
    if table is None:
        return False
    return bool(len(table)) if tensor_name is None else tensor_name in table


@explained
def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make the tensor a parameter again: with the values that it has now, or with the original's.

    Args:
        module: it is changed, and returned.
        tensor_name: the name of the tensor.
        leave_parametrized: whether the values are those that were computed.
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(f"{type(module).__name__}.{tensor_name} has no parametrization")
    table: Any = module._modules["parametrizations"]
    entry = table[tensor_name]
    if entry._several and not leave_parametrized:
        raise ArgumentError(f"{tensor_name} has several originals; give leave_parametrized=True")
    with no_grad():
        value = (entry() if leave_parametrized else entry.original).detach().numpy()
    del table[tensor_name]
    computed = dict(module.__dict__["_computed"])
    del computed[tensor_name]
    object.__setattr__(module, "_computed", computed)
    if not len(table):
        delattr(module, "parametrizations")
    module.register_parameter(tensor_name, Parameter(value))
    return module
