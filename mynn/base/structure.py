"""Nested tuples, lists and dicts of arrays: their leaves, and the same form with other leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def flatten(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists and dicts, in order."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from flatten(item)
    elif type(value) is not np.ndarray and isinstance(value, Mapping):  # that takes long
        for item in value.values():
            yield from flatten(item)
    elif value is not None:
        yield value


def rebuild(structure: Any, leaves: Iterator[Any]) -> Any:
    """`structure` with its leaves replaced, one after the other."""
    if isinstance(structure, tuple | list):
        items = [rebuild(item, leaves) for item in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*items)
        return type(structure)(items)
    if type(structure) is np.ndarray:
        return next(leaves)
    if isinstance(structure, Mapping):
        return {key: rebuild(item, leaves) for key, item in structure.items()}
    return None if structure is None else next(leaves)


def leaf_names(value: Any, fallback: str) -> list[str]:
    """A different name for each leaf.

    Keys of dicts and fields of named tuples, joined by dots; `fallback`, `fallback1`... for leaves
    that are in none; a number behind a name that is taken.
    """
    names: list[str] = []
    _name_leaves(value, "", fallback, names)
    return names


def _name_leaves(item: Any, name: str, fallback: str, names: list[str]) -> None:
    if hasattr(item, "_asdict"):
        item = item._asdict()
    if isinstance(item, Mapping):
        for key, inner in item.items():
            _name_leaves(inner, f"{name}.{key}" if name else str(key), fallback, names)
    elif isinstance(item, tuple | list):
        for inner in item:
            _name_leaves(inner, name, fallback, names)
    elif item is not None:
        base = name or (fallback if not names else f"{fallback}{len(names)}")
        unique, count = base, 1
        while unique in names:
            unique, count = f"{base}{count}", count + 1
        names.append(unique)
