"""Snapshots of plain Python values, and how they are compared: by type, value and order.

A number, a text or a dtype is its own snapshot; of lists, dicts, sets and arrays it is a copy,
which no later change in place reaches.
"""

from __future__ import annotations

import enum
import math
import zlib
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass

_PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), range, slice, frozenset),
    *(np.generic, np.dtype, enum.Enum),
)
_CONTAINERS = (list, tuple, dict, set)
# Larger arrays are kept as a checksum.
_COPIED_BYTES = 2**20
_DEPTH = 6


@dataclass(frozen=True, slots=True)
class ArrayContent:
    """What stands in an array: its bytes in logical order, or their checksum."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    content: bytes | int

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @staticmethod
    def of(array: np.ndarray[Any, Any]) -> ArrayContent:
        """That of an array now."""
        content: bytes | int
        if array.nbytes <= _COPIED_BYTES:
            content = array.tobytes()
        else:
            content = zlib.crc32(np.ascontiguousarray(array).data)
        return ArrayContent(array.shape, array.dtype, content)


def snapshot(value: Any, depth: int = _DEPTH) -> Any:
    """A copy that no later change of `value` reaches; what is neither plain nor a container of
    plain things stands for itself.
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        return ArrayContent.of(value)
    if depth and type(value) in (list, set):
        return type(value)(snapshot(item, depth - 1) for item in value)
    if depth and isinstance(value, tuple):
        return tuple(snapshot(item, depth - 1) for item in value)
    if depth and type(value) is dict:
        return {key: snapshot(item, depth - 1) for key, item in value.items()}
    return value


def same(kept: Any, value: Any) -> bool:
    """Whether `value` is what it was when `kept` was its snapshot: type, value, order."""
    if kept is value:
        return True
    if isinstance(kept, ArrayContent):
        return isinstance(value, np.ndarray) and ArrayContent.of(value) == kept
    if isinstance(kept, tuple) and isinstance(value, tuple):
        return len(kept) == len(value) and all(map(same, kept, value))
    if type(kept) is not type(value):
        return False
    if isinstance(kept, float):
        return bool(kept == value) or (kept != kept and value != value)
    if isinstance(kept, list):
        return len(kept) == len(value) and all(map(same, kept, value))
    if isinstance(kept, dict):
        return list(kept) == list(value) and all(map(same, kept.values(), value.values()))
    if isinstance(kept, set):
        return bool(kept == value)
    return isinstance(kept, _PLAIN) and bool(kept == value)


def changes_in_place(kept: Any) -> bool:
    """Whether the value behind a snapshot can become another one without an assignment."""
    if isinstance(kept, tuple):
        return any(map(changes_in_place, kept))
    return isinstance(kept, list | dict | set | ArrayContent)


def is_plain(value: Any) -> bool:
    """Whether a value says all by itself: a number, a text, a dtype, a tuple of them."""
    if isinstance(value, _CONTAINERS):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(is_plain, items))
    return isinstance(value, (*_PLAIN, np.ndarray))
