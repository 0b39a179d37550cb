"""Modules that hold modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mynn.base.arguments import shown
from mynn.errors import ArgumentError
from mynn.nn.module import Module


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
