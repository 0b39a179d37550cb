"""Both spellings of an argument: PyTorch's `dim`, `keepdim` and NumPy's `axis`, `keepdims`."""

from __future__ import annotations

from typing import Any

from mynn.errors import ArgumentError


def one_of(name: str, dim: Any, axis: Any) -> Any:
    """What was given as `dim` or as `axis`; both at once are refused."""
    if axis is None:
        return dim
    if dim is not None:
        raise ArgumentError(
            f"{name}: dim={dim!r} and axis={axis!r} are two names of one argument; give one of them"
        )
    return axis


def required(name: str, dim: Any, axis: Any) -> Any:
    """Like `one_of`, where one of the two must be given."""
    chosen = one_of(name, dim, axis)
    if chosen is None:
        raise ArgumentError(f"{name}: dim is missing; name an axis, for example {name}(dim=0)")
    return chosen


def kept(keepdim: bool, keepdims: bool | None) -> bool:
    """Whether reduced axes stay with extent 1."""
    return keepdim if keepdims is None else keepdims
