"""Files in the format IDX, that of MNIST's images and labels."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from typing import IO, Any

import numpy as np

from mynn.base.arguments import shown
from mynn.core.types import Array
from mynn.errors import ArgumentTypeError, DataError

# The third byte of a file: how values are stored, and the dtype that they get here.
_TYPES = {
    0x08: (">u1", "uint8"),
    0x09: (">i1", "int32"),
    0x0B: (">i2", "int32"),
    0x0C: (">i4", "int32"),
    0x0D: (">f4", "float32"),
    0x0E: (">f8", "float64"),
}
_BLOCK = 1 << 20


def read_idx(path: Any) -> Array:
    """The array that lies in a file of the format IDX, compressed by gzip or not.

    Args:
        path: the file.

    Returns:
        An array of the shape that the file says: uint8 for bytes, int32 for other whole numbers,
        float32, float64.

    Raises:
        DataError: no IDX file, or one that is shorter or longer than its header says.
        OSError: it cannot be read.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte")
        >>> with open(path, "wb") as file:
        ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 9]))
        >>> read_idx(path)
        array([7, 0, 9], dtype=uint8)

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits": the IDX file format.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"read_idx: path must be a path, it is {shown(path)}")
    where = repr(os.fspath(path))
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not packed:
            return _read(plain, where)
        try:
            with gzip.GzipFile(fileobj=plain) as file:
                return _read(file, where)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"read_idx: {where} is compressed, and damaged: {error}; fetch it anew"
            ) from None


def _read(file: IO[bytes] | gzip.GzipFile, where: str) -> Array:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(
            f"read_idx: {where} is not an IDX file: it begins with {head.hex(' ') or 'nothing'}, "
            f"wanted are 00 00, one of {', '.join(f'{code:02x}' for code in _TYPES)}, and the "
            "number of axes"
        )
    stored, dtype = _TYPES[head[2]]
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise DataError(
            f"read_idx: {where} ends within the lengths of its {head[3]} axes; fetch it anew"
        )
    shape = struct.unpack(f">{head[3]}I", lengths)
    size = math.prod(shape) * np.dtype(stored).itemsize
    # In blocks: memory is taken for what is there, whatever the header says.
    parts, left = [], size
    while left and (part := file.read(min(left, _BLOCK))):
        parts.append(part)
        left -= len(part)
    if left or file.read(1):
        held = f"only {size - left}" if left else "more than that"
        raise DataError(
            f"read_idx: {where} says it holds {' x '.join(map(str, shape)) or 'one'} values of "
            f"{stored[1:]}, {size} bytes; it holds {held}; fetch it anew"
        )
    values = np.frombuffer(b"".join(parts), stored).reshape(shape)
    return values.astype(dtype)
