"""Storage as native code wants it: 64-byte aligned, the fastest axis padded to whole vectors.

Users see the logical shape as a strided NumPy view of it.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

import numpy as np

from mynn.base import forks
from mynn.core.types import Array, Shape

ALIGNMENT = 64
# Bytes after the last element that native code may read, and write without meaning: up to a whole
# vector of the widest elements.
SLACK = 128
# What lies behind an array in its last page may be read, whoever has it. Pages are no smaller.
PAGE = 4096
# Bytes of what is small, and of a block of small ones side by side; the block that is in use, and
# how many of its bytes are.
_SMALL = 1 << 12
_BLOCK = 1 << 16
_block: list[Array] = [np.zeros(0, np.uint8)]
_used = [0]
_lock = forks.register(threading.Lock())


# Outputs of a layer that are too few for a vector along them to pay: with 3 or 4 of them, training
# steps in float64 too took 0.85 to 1.04 of the time that they took with weights the other way.
_NARROW_COLUMNS = 4


def is_narrow(columns: int) -> bool:
    """Whether a product of so many columns is computed along its rows, by dot products.

    Its second operand lies along the summed axis then; weights are stored so from the start.
    """
    return columns <= _NARROW_COLUMNS


def padded_extent(extent: int, itemsize: int) -> int:
    """Elements that an axis occupies: a power of two up to a vector of 64 bytes, then vectors."""
    lanes = ALIGNMENT // itemsize
    if extent >= lanes:
        return -(-extent // lanes) * lanes
    power = 1
    while power < extent:
        power *= 2
    return power


@functools.lru_cache(maxsize=4096)
def padded_strides(shape: Shape, itemsize: int, order: tuple[int, ...] | None = None) -> Shape:
    """Strides in elements of padded storage; `order` lists the axes, slowest to fastest."""
    strides = [0] * len(shape)
    step = 1
    fastest = True
    for axis in reversed(order if order is not None else tuple(range(len(shape)))):
        strides[axis] = step
        step *= padded_extent(shape[axis], itemsize) if fastest else shape[axis]
        fastest = False
    return tuple(strides)


def dense_strides(shape: Shape) -> Shape:
    """Strides in elements of an array with nothing between its rows, as users have theirs."""
    strides = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return (*reversed(strides),)


def storage_elements(shape: Shape, itemsize: int, order: tuple[int, ...] | None = None) -> int:
    """Elements that padded storage occupies."""
    size = 1
    axes = order if order is not None else tuple(range(len(shape)))
    for axis in axes[:-1]:
        size *= shape[axis]
    return size * (padded_extent(shape[axes[-1]], itemsize) if axes else 1)


def aligned_bytes(nbytes: int) -> Array:
    """A zeroed byte array that starts on an alignment boundary.

    Small ones lie side by side: where the addresses of a store and of a load after it differ by a
    multiple of 4 KB, processors take the one for the other, and the load waits.
    """
    size = -(-(nbytes + SLACK) // ALIGNMENT) * ALIGNMENT
    if size > _SMALL:
        return _aligned(size)[:nbytes]
    with _lock:
        start = _used[0]
        if start + size > len(_block[0]):
            _block[0], start = _aligned(_BLOCK), 0
        _used[0] = start + size
        return _block[0][start : start + nbytes]


def _aligned(size: int) -> Array:
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    offset = -address_of(raw) % ALIGNMENT
    return raw[offset : offset + size]


def allocate(shape: Shape, dtype: Any, order: tuple[int, ...] | None = None) -> Array:
    """A zeroed array of logical `shape` in padded, aligned storage; its strides tell the layout."""
    dtype = np.dtype(dtype)
    nbytes, strides = _layout(tuple(shape), dtype.itemsize, order)
    return np.ndarray(shape, dtype, aligned_bytes(nbytes), 0, strides)


def allocate_strided(shape: Shape, dtype: Any, strides: Shape) -> Array:
    """The same with these strides, in elements: those of padded storage, or with less between the
    rows.
    """
    dtype = np.dtype(dtype)
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if all(shape) else 0
    nbytes = -(-(last + 1) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    steps = tuple([step * dtype.itemsize for step in strides])
    return np.ndarray(shape, dtype, aligned_bytes(nbytes), 0, steps)


@functools.lru_cache(maxsize=4096)
def _layout(shape: Shape, itemsize: int, order: tuple[int, ...] | None) -> tuple[int, Shape]:
    """Bytes that padded storage occupies, and its strides in bytes."""
    elements = storage_elements(shape, itemsize, order)
    strides = padded_strides(shape, itemsize, order)
    return max(elements, 1) * itemsize, tuple(step * itemsize for step in strides)


def _interface_address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


# What an array object begins with in NumPy's ABI: the object's head, then where the elements lie.
_HEAD = object.__basicsize__
_word = ctypes.c_size_t.from_address


def _field_address(array: Array) -> int:
    return _word(id(array) + _HEAD).value


def _has_field() -> bool:
    """Whether array objects do begin so here."""
    block = np.zeros(256, np.uint8)
    views = (block, block[64:], block[:128].view(np.float32), block.reshape(2, 128)[::-1])
    return all(_field_address(view) == _interface_address(view) for view in views)


# Where the elements of an array lie. To read the field takes an eighth of the time.
address_of = _field_address if _has_field() else _interface_address


def axis_order(array: Array) -> tuple[int, ...]:
    """The axes of an array from slowest to fastest by its strides.

    Strides tie where the faster axis has extent 1; other ties keep their order.
    """
    return _order(array.shape, array.strides)


@functools.lru_cache(maxsize=4096)
def _order(shape: Shape, strides: Shape) -> tuple[int, ...]:
    return tuple(sorted(range(len(shape)), key=lambda axis: (-strides[axis], shape[axis] == 1)))
