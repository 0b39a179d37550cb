"""Nested arguments of transformed functions, and what is said of each of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mynn.base.arguments import shown, whole_number
from mynn.base.structure import flatten
from mynn.errors import ArgumentError
from mynn.tensor import as_array


def dims_of(name: str, dims: Any, structure: Any, what: str) -> Iterator[int | None]:
    """A dim, or None, for each leaf of nested tuples, lists and dicts: a dim for a container counts
    for all that is in it.

    Raises:
        ArgumentError: the structures do not fit, or a dim is no whole number.
    """
    if dims is None or not isinstance(dims, tuple | list | Mapping):
        dim = None if dims is None else whole_number(name, dims)
        yield from (dim for _ in flatten(structure))
    elif isinstance(dims, Mapping):
        if not isinstance(structure, Mapping) or dims.keys() != structure.keys():
            raise _unlike(name, dims, structure, what)
        for key, item in structure.items():
            yield from dims_of(name, dims[key], item, what)
    else:
        if not isinstance(structure, tuple | list) or len(dims) != len(structure):
            raise _unlike(name, dims, structure, what)
        for dim, item in zip(dims, structure, strict=True):
            yield from dims_of(name, dim, item, what)


def _unlike(name: str, dims: Any, structure: Any, what: str) -> ArgumentError:
    if isinstance(structure, tuple | list):
        found = f"a {type(structure).__name__} of {len(structure)}"
    elif isinstance(structure, Mapping):
        found = f"a dict with the keys {', '.join(map(str, structure)) or 'none'}"
    else:
        found = shown(structure)
    return ArgumentError(
        f"{name} is {shown(dims)}, where {what} {found}; give one number for all of it, or the "
        "same structure"
    )


def with_arrays(argument: Any) -> Any:
    """The argument, or where it is a list of numbers alone, the array of them."""
    plain = isinstance(argument, tuple | list) and all(
        isinstance(leaf, int | float | bool) for leaf in flatten(argument)
    )
    return as_array(argument) if plain and argument else argument
