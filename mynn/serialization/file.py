"""The format safetensors: a file of named arrays.

    8 bytes     length N of the header, little-endian
    N bytes     JSON: {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]},
                       "__metadata__": {text: text}}
    the rest    the arrays, little-endian, C order, one directly after the other

Everything that a header says is held against the file before an array is made of it.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import DataError

# The longest header that other readers take.
_LONGEST = 100_000_000
_METADATA = "__metadata__"
# Its end is looked for among so many bytes, with which it may have been filled up.
_BLANKS = 4096

# Names of dtypes; those that NumPy has none for are read as wider ones.
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items() if name != "BF16"}


def write(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file with these arrays."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    header.update(dict.fromkeys(arrays))  # in their order
    parts: list[bytes] = []
    end = 0
    # Wide ones first, so that each is aligned.
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(arrays[name].shape),
            "data_offsets": [begin, end],
        }
        parts.append(array.tobytes())
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def read(source: BufferedIOBase, where: str) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a file and its metadata; `where` names it in errors.

    Nothing of it is there twice: each array is read into its own memory.

    Raises:
        DataError: it is none, or damaged.
    """
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    head = source.read(9)
    _check_kind(head, size, where)
    length = int.from_bytes(head[:8], "little")
    if size < 8 or length > min(size - 8, _LONGEST):
        raise _damaged(
            where, f"the header is said to be {length} bytes long, the file has {size} bytes"
        )
    source.seek(8)
    header = _header(source.read(length), where)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(where, f"{_METADATA} must hold texts")
    start = 8 + length
    places = {name: _place(where, name, entry) for name, entry in header.items()}
    _check_places(where, [place[2:] for place in places.values()], size - start)
    arrays = {}
    for name, (dtype, shape, begin, _) in places.items():
        array = np.empty(shape, _DTYPES[dtype])
        source.seek(start + begin)
        if source.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise _damaged(where, f"it ends within {name!r}")
        arrays[name] = _native(array, dtype)
    return arrays, metadata


def _check_kind(head: bytes, size: int, where: str) -> None:
    """Raise where the file is one of PyTorch's or NumPy's.

    A header may be as long as makes its first bytes those of a pickle.
    """
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        raise DataError(
            f"load: {where} is a pickle or an archive of pickles, as torch.save and numpy.savez "
            "write them, which can run code when it is opened. Convert it where it is trusted: "
            "safetensors.torch.save_file(torch.load(path), new_path), or "
            "mynn.save(dict(numpy.load(path)), new_path); then call mynn.load(new_path)"
        )
    if head.startswith(b"\x93NUMPY"):
        raise DataError(f"load: {where} is one array of NumPy; use numpy.load({where})")


def _damaged(where: str, what: str) -> DataError:
    return DataError(
        f"load: {where} is no file of mynn.save or safetensors, or it is damaged: {what}. "
        "Nothing of it was used; write it again"
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _header(text: bytes, where: str) -> dict[str, Any]:
    end = text[-_BLANKS:].rstrip()
    try:
        if end and not end.endswith((b"}", b"]")):  # not decoded, which takes memory
            raise ValueError("it ends as none does")
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, f"the header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(where, "the header is no JSON object")
    return header


def _place(where: str, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Dtype, shape, begin and end of an array, as the header says."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(where, f"{name!r} needs dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _damaged(
            where, f"{name!r} has dtype {str(dtype)[:40]!r}, known: {', '.join(_DTYPES)}"
        )
    if not _whole(shape) or len(shape) > 32:
        raise _damaged(where, f"{name!r} has shape {str(shape)[:60]}")
    if not _whole(offsets) or len(offsets) != 2:
        raise _damaged(where, f"{name!r} has data_offsets {str(offsets)[:60]}")
    size = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != size:
        raise _damaged(
            where, f"{name!r} takes {size} bytes, its data_offsets are {str(offsets)[:60]}"
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**62 for one in values
    )


def _check_places(where: str, places: list[tuple[int, ...]], length: int) -> None:
    """Raise where arrays overlap, leave holes or do not end where the file does."""
    end = 0
    for begin, after in sorted(places):
        if begin != end:
            raise _damaged(where, f"an array begins at byte {begin}, the last one ends at {end}")
        end = after
    if end != length:
        raise _damaged(where, f"the arrays take {end} bytes, the file has {length} for them")


def _native(array: Array, dtype: str) -> Array:
    """What was read, in a dtype and a byte order of this machine."""
    if dtype == "BOOL":  # a byte that is neither 0 nor 1 counts as true
        return np.asarray(array.view(np.uint8) != 0)
    if dtype == "BF16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def replace(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all: beside it first, on the disk, then in its place.

    Raises:
        OSError: it cannot be written, and is as it was before.
    """
    target = os.path.realpath(path)
    beside = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException as reason:
        if os.path.exists(beside):
            os.remove(beside)
        if isinstance(reason, OSError) and reason.errno is not None:
            # The system names no file where the disk is full, and otherwise the one beside.
            what = (
                f"{reason.strerror}; the file is as it was before, give another path or make room"
            )
            raise OSError(reason.errno, what, os.fspath(path)) from reason
        raise
    if os.name == "posix":
        folder = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
