"""`Tree`: what a module holds: walked through, looked up by its path, printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mynn.errors import ArgumentError
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients.history import clear

Self = TypeVar("Self", bound="Tree")


class Tree:
    """A module as a tree of modules, with parameters and buffers in its nodes."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]

    # -- walking -----------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The module itself (named "") and all below it, each once, with their paths."""
        seen: set[Any] = set() if memo is None else memo
        if self in seen:
            return
        if remove_duplicate:
            seen.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(seen, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """The module itself and all below it, each once."""
        return (one for _, one in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """Direct submodules with their names."""
        seen: set[Any] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Any]:
        """Direct submodules."""
        return (module for _, module in self.named_children())

    def _named_tensors(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[Tensor] = set()
        modules = self.named_modules(remove_duplicate=remove_duplicate) if recurse else [("", self)]
        for path, module in modules:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and tensor not in seen:
                    if remove_duplicate:
                        seen.add(tensor)
                    yield ".".join([part for part in (prefix, path, name) if part]), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths, each once."""
        return self._named_tensors("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their paths, each once."""
        return self._named_tensors("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    # -- by path -----------------------------------------------------------------------------------

    def get_submodule(self, target: str) -> Any:
        """The module at a path such as `encoder.2`; "" is the module itself."""
        module: Any = self
        for name in target.split(".") if target else []:
            child = module._modules.get(name)
            if child is None:
                known = ", ".join(module._modules) or "none"
                raise ArgumentError(
                    f"there is no submodule {target!r}: {name!r} is not among {known}"
                )
            module = child
        return module

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put a module at a path; with `strict` there must be one already."""
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if strict:
            owner.get_submodule(name)
        owner.add_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as `encoder.2.weight`."""
        found: Parameter = self._tensor_at(target, "_parameters", "parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as `encoder.2.running_mean`."""
        found: Tensor = self._tensor_at(target, "_buffers", "buffer")
        return found

    def _tensor_at(self, target: str, table: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        entries = getattr(self.get_submodule(path), table)
        if entries.get(name) is None:
            known = ", ".join(entries) or "none"
            raise ArgumentError(f"there is no {what} {target!r}: {name!r} is not among {known}")
        return entries[name]

    # -- all of them -------------------------------------------------------------------------------

    def apply(self: Self, fn: Callable[[Any], Any]) -> Self:
        """Call `fn` on every module below, then on the module itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Freeze (False) or release all parameters: optimisers skip frozen ones."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
            if not requires_grad:
                parameter.grad = None
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zeros."""
        for parameter in self.parameters():
            clear(parameter, set_to_none)

    # -- printing ----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of the printed module."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _printed_children(self) -> list[str]:
        """The lines of the submodules, each a text of one or several lines."""
        return [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._modules.items()
        ]

    def __repr__(self) -> str:
        extra, children = self.extra_repr(), self._printed_children()
        lines = [*extra.split("\n"), *children] if extra else children
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"
