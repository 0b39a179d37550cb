"""Modules that hold modules."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mynn.base.arguments import shown
from mynn.errors import ArgumentError, IndexRangeError
from mynn.nn.module import Module
from mynn.tensor import Parameter, Tensor, as_array


class _Numbered(Module):
    """Children named "0", "1", "2"..."""

    @abstractmethod
    def _sliced(self, members: list[Module]) -> Module:
        """A container of the same kind for some of the members."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter([module for module in self._modules.values() if module is not None])

    def __getitem__(self, index: int | slice) -> Any:
        members = list(self)
        if isinstance(index, slice):
            return self._sliced(members[index])
        return members[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[index], module)

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns the container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; returns the container."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Put a module before the one at `index`; returns the container."""
        members = list(self)
        members.insert(index, module)
        return self._numbered(members)

    def pop(self, index: int = -1) -> Any:
        """Take a module out; returns it."""
        members = list(self)
        module = members.pop(index)
        self._numbered(members)
        return module

    def __delitem__(self, index: int | slice) -> None:
        members = list(self)
        del members[index]
        self._numbered(members)

    def __add__(self, other: Iterable[Module]) -> Any:
        return self._sliced([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> Any:
        return self.extend(list(other))

    def _numbered(self, members: list[Any]) -> Any:
        """Have these members, named by their numbers."""
        for module in members:
            if not isinstance(module, Module):
                raise ArgumentError(
                    f"{type(self).__name__}: {shown(module)} is not a Module; {_instead_of(module)}"
                )
        self._before_edit()
        self._modules.clear()
        self.extend(members)
        self._edited()
        return self


def _instead_of(entry: Any) -> str:
    """What to write instead of an entry that is no module."""
    if isinstance(entry, list | tuple):
        return "give the layers one by one: nn.Sequential(*layers)"
    if isinstance(entry, type) and issubclass(entry, Module):
        return f"make a layer of the class: nn.{entry.__name__}(...)"
    if type(entry).__module__.partition(".")[0] == "torch":
        return f"it is PyTorch's: write mynn.nn.{type(entry).__name__}(...)"
    return "use a Module instead of a function, for example nn.Tanh() for tanh"


class Sequential(_Numbered):
    """Modules applied one after the other.

    Args:
        modules: in order; or one mapping from names to modules.

    Example:
        >>> from mynn import nn
        >>> net = nn.Sequential(nn.Linear(2, 25), nn.Tanh(), nn.Linear(25, 2))
        >>> list(net.state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = list(modules[0].items())
        else:
            named = [(str(i), module) for i, module in enumerate(modules)]
        for name, module in named:
            if not isinstance(module, Module):
                raise ArgumentError(
                    f"Sequential: entry {name!r} is not a Module but {shown(module)}; "
                    f"{_instead_of(module)}"
                )
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        """The output of each module is the input of the next."""
        value = input
        for module in self:
            value = module(value)
        return value

    def _sliced(self, members: list[Module]) -> Module:
        return Sequential(*members)


class ModuleList(_Numbered):
    """A list whose modules `parameters()` and `state_dict()` find; it computes nothing itself.

    Example:
        >>> from mynn import nn
        >>> len(nn.ModuleList(nn.Linear(8, 8) for _ in range(3)))
        3
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _sliced(self, members: list[Module]) -> Module:
        return ModuleList(members)

    def _printed_children(self) -> list[str]:
        """Neighbours that are printed alike stand in one line."""
        lines: list[tuple[str, int, int]] = []
        for number, module in enumerate(self):
            text = repr(module)
            if lines and lines[-1][0] == text:
                lines[-1] = (text, lines[-1][1], number)
            else:
                lines.append((text, number, number))
        return [
            (f"({a}): {text}" if a == b else f"({a}-{b}): {b - a + 1} x {text}").replace(
                "\n", "\n  "
            )
            for text, a, b in lines
        ]


class ModuleDict(Module):
    """A dictionary whose modules `parameters()` and `state_dict()` find.

    Args:
        modules: from names to modules, or pairs of both.

    Example:
        >>> from mynn import nn
        >>> list(nn.ModuleDict({"small": nn.Linear(8, 2), "large": nn.Linear(8, 9)}))
        ['small', 'large']
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self._before_edit()
        del self._modules[key]
        self._edited()

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        for key in list(self._modules):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take a module out; returns it."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Add modules, or put others in the place of those that are there."""
        pairs = modules.items() if hasattr(modules, "items") else modules
        for key, module in pairs:
            self[key] = module


def _listed(items: Iterable[tuple[Any, Any]]) -> str:
    """Parameters as `ParameterList` and `ParameterDict` print them."""
    lines = []
    for key, value in items:
        if isinstance(value, Tensor):
            kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
            size = "x".join(str(n) for n in value.shape)
            text = f"{kind} containing: [torch.{value.dtype.name} of size {size}]"
        else:
            text = f"Object of type: {type(value).__name__}"
        lines.append(f"  ({key}): {text}")
    return "\n".join(lines)


class ParameterList(Module):
    """A list whose parameters `parameters()` and `state_dict()` find; tensors become parameters.

    Example:
        >>> from mynn import nn
        >>> [name for name, _ in nn.ParameterList([[1.0], [2.0]]).named_parameters()]
        ['0', '1']
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _key(self, index: int) -> str:
        place = operator.index(index)
        if not -self._size <= place < self._size:
            raise IndexRangeError(f"index {index} is out of range for {self._size} entries")
        return str(place % self._size)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList([self[i] for i in range(self._size)[index]])
        return getattr(self, self._key(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._key(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter(self[i] for i in range(self._size))

    def append(self, value: Any) -> ParameterList:
        """Add a parameter at the end; returns the list."""
        size = self._size
        self._size = size + 1
        setattr(self, str(size), _as_parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add parameters at the end; returns the list."""
        for value in values:
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _listed(enumerate(self))

    def _printed_children(self) -> list[str]:
        return []


def _as_parameter(value: Any) -> Any:
    """Numbers as a parameter; other objects as they are."""
    if isinstance(value, Parameter | Module):
        return value
    if isinstance(value, Tensor):
        return Parameter(value)
    if isinstance(value, list | tuple | np.ndarray | np.generic | float):
        return Parameter(as_array(value))
    return value


class ParameterDict(Module):
    """A dictionary whose parameters `parameters()` and `state_dict()` find.

    Args:
        parameters: from names to parameters, or pairs of both; tensors become parameters. Those of
            a plain dict come in the order of their names, as in PyTorch, others as they stand: an
            optimizer numbers them so.
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, str(key))

    def __setitem__(self, key: str, value: Any) -> None:
        self._keys[key] = None
        setattr(self, str(key), _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, str(key))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def keys(self) -> Any:
        """The names."""
        return self._keys.keys()

    def items(self) -> Any:
        """Names and parameters."""
        return [(key, self[key]) for key in self._keys]

    def values(self) -> Any:
        """The parameters."""
        return [self[key] for key in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, or `default`."""
        return self[key] if key in self._keys else default

    def pop(self, key: str) -> Any:
        """Take a parameter out; returns it."""
        value = self[key]
        del self[key]
        return value

    def update(self, parameters: Any) -> None:
        """Add parameters, or put others in the place of those that are there."""
        pairs = parameters.items() if hasattr(parameters, "items") else parameters
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs = sorted(pairs, key=operator.itemgetter(0))
        for key, value in pairs:
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, which is `default` from now on where there is none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Take the last parameter out; returns its name and it."""
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take all parameters out."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> ParameterDict:
        """Another one of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """One with `default` under each name."""
        return ParameterDict((key, default) for key in keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __or__(self, other: Any) -> ParameterDict:
        new = self.copy()
        new.update(other)
        return new

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _listed(self.items())

    def _printed_children(self) -> list[str]:
        return []
