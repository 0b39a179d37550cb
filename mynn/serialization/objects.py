"""`save` and `load`: dicts and lists of tensors, arrays, numbers and texts, in one file.

A dict of tensors by names is a plain safetensors file, which other libraries read. All else has its
form as JSON in the metadata of the file: a number, a text or None as it is, else one of

    {"tensor": name}  {"array": name}  {"dict": [[key, value], ...]}  {"list": [...]}
    {"tuple": [...]}  {"float": "nan"}
"""

from __future__ import annotations

import io
import json
import math
import os
import zlib
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any

import numpy as np

from mynn.base import sharing
from mynn.base.arguments import explained, shown
from mynn.core.types import SHORT_NAMES, Array
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, UsageError
from mynn.serialization import file
from mynn.tensor import Tensor
from mynn.tensor.state_dict import memories
from mynn.trace import tracing

_FORM = "mynn"
_CHECKSUM = "checksum"


@explained
def save(obj: Any, f: Any) -> None:
    """Write tensors to a file: state dicts, and dicts, lists and tuples of such.

    The file is in the format safetensors, never a pickle. It is written beside the old one, synced
    and put in its place, so that there is always a whole one.

    Args:
        obj: tensors, arrays, numbers, texts, None, and dicts, lists and tuples of these.
        f: a path, or a file that is open for writing bytes.

    Raises:
        ArgumentTypeError: something else in it, with its place. OSError: it cannot be written.

    Example:
        >>> import mynn, tempfile, os
        >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
        >>> net = mynn.nn.Linear(2, 1)
        >>> mynn.save({"net": net.state_dict(), "epoch": 3}, path)
        >>> checkpoint = mynn.load(path)
        >>> checkpoint["epoch"], checkpoint["net"]["weight"].shape
        (3, (1, 2))
    """
    if tracing.active() is not None:
        raise UsageError("save inside a compiled function would run once; call it outside")
    data = packed(obj)
    if hasattr(f, "write"):
        f.write(data)
    else:
        file.replace(_path("save", f), data)


def packed(obj: Any, checksum: bool = False) -> bytes:
    """The bytes of a file with tensors; with a checksum of all that lies in it."""
    arrays: dict[str, Array] = {}
    metadata = {"format": "pt"}
    form = sharing.run_whole(lambda: _encode(obj, "", arrays), memories(obj))
    flat = isinstance(obj, Mapping) and all(
        isinstance(key, str) and key and key != "__metadata__" and isinstance(one, Tensor)
        for key, one in obj.items()
    )
    if flat:
        arrays = {key: arrays[one["tensor"]] for key, one in form["dict"]}
    else:
        metadata[_FORM] = json.dumps(form, separators=(",", ":"), allow_nan=False)
    if checksum:
        metadata[_CHECKSUM] = str(_checksum(metadata[_FORM], arrays))
    return file.write(arrays, metadata)


def _checksum(form: str, arrays: Mapping[str, Array]) -> int:
    """A number that changes with every part."""
    found = zlib.crc32(form.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), found)
        found = zlib.crc32(array.reshape(-1).view(np.uint8).data, found)
    return found


@explained
def load(
    f: Any, map_location: Any = None, *, weights_only: bool | None = None, mmap: bool | None = None
) -> Any:
    """What `save` wrote, or the tensors of a safetensors file by name.

    Nothing in the file is executed, whatever it holds. float16 and bfloat16 are read as float32,
    other dtypes that there are not as wider ones.

    Args:
        f: a path, or a file that is open for reading bytes.
        map_location: None or "cpu"; functions and dicts are taken and have no effect.
        weights_only, mmap: have no effect.

    Raises:
        DataError: the file is damaged, or a pickle of PyTorch. ArgumentError: another device.
        OSError: it cannot be read.
    """
    if map_location is not None and not callable(map_location):
        device = str(getattr(map_location, "type", map_location)).partition(":")[0]
        if not isinstance(map_location, Mapping) and device != "cpu":
            raise ArgumentError(
                f'load: map_location must be "cpu" or None, it is {map_location!r}; there is no '
                "other device"
            )
    if hasattr(f, "read"):
        data, where = f.read(), shown(getattr(f, "name", "the file"))
        if not isinstance(data, bytes):
            raise ArgumentTypeError(f'load: {where} gives text; open it with mode "rb"')
        return unpacked(io.BytesIO(data), where)
    path = _path("load", f)
    with open(path, "rb") as opened:
        return unpacked(opened, repr(path))


def unpacked(source: BufferedIOBase, where: str, checksum: bool = False) -> Any:
    """What lies in a file, which `where` names in errors.

    Raises:
        DataError: it is damaged; where a checksum is asked for, also a single bit of it.
    """
    if not source.seekable():  # a pipe
        source = io.BytesIO(source.read())
    arrays, metadata = file.read(source, where)
    if checksum and metadata.get(_CHECKSUM) != str(_checksum(metadata.get(_FORM, ""), arrays)):
        raise DataError(
            f"load: {where} is no checkpoint, or it is damaged: its checksum is not that of what "
            "it holds. Nothing of it was used"
        )
    arrays = {name: _known(array) for name, array in arrays.items()}
    if _FORM not in metadata:
        return {name: Tensor.from_value(array) for name, array in arrays.items()}
    try:
        form = json.loads(metadata[_FORM])
        return _decode(form, arrays)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"load: {where} is damaged: the form of what it holds is none ({error}). Nothing of "
            "it was used; write it again"
        ) from None


def _path(name: str, f: Any) -> str:
    if not isinstance(f, str | os.PathLike):
        raise ArgumentTypeError(
            f"{name}: f must be a path or an open file, it is {shown(f)}; call "
            f"mynn.{name}({'obj, ' if name == 'save' else ''}path)"
        )
    return os.fspath(f)


def _known(array: Array) -> Array:
    """The array in a dtype that tensors have."""
    if array.dtype.name in SHORT_NAMES:
        return array
    wider = {"f": np.float32, "i": np.int32, "u": np.int64, "b": np.bool_}
    return array.astype(wider[array.dtype.kind])


def _encode(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """The form of a value as JSON; its arrays are added to `arrays` under their places."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_ | np.number):
        return _encode(value.item(), place, arrays)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Tensor):
        return {"tensor": _keep(value.detach().numpy(), place, arrays)}
    if isinstance(value, np.ndarray) and value.dtype.name in SHORT_NAMES:
        return {"array": _keep(value, place, arrays)}
    if isinstance(value, Mapping):
        return {
            "dict": [
                [_key(key, place), _encode(one, f"{place}.{key}" if place else str(key), arrays)]
                for key, one in value.items()
            ]
        }
    if isinstance(value, list | tuple):
        entries = [_encode(one, f"{place}.{i}", arrays) for i, one in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": entries}
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "numpy"):
        return {"tensor": _keep(_known(value.detach().numpy()), place, arrays)}
    raise ArgumentTypeError(
        f"save: {place or 'obj'} is {shown(value)}, a {type(value).__name__}; give tensors, "
        "arrays, numbers, texts, and dicts, lists and tuples of these: of a network or an "
        "optimizer its state_dict()"
    )


def _keep(array: Array, place: str, arrays: dict[str, Array]) -> str:
    name = place or "tensor"
    while name in arrays or name == "__metadata__":
        name += "_"
    arrays[name] = array
    return name


def _key(key: Any, place: str) -> Any:
    if key is None or isinstance(key, str | int | bool):
        return key
    if isinstance(key, float) and math.isfinite(key):
        return key
    raise ArgumentTypeError(
        f"save: {place or 'obj'} has the key {shown(key)}; keys must be texts or numbers"
    )


def _decode(form: Any, arrays: dict[str, Array]) -> Any:
    """The value of a form, which takes each array once, so that it is not larger than the file.

    Raises `ValueError`, `KeyError` or `TypeError` where it is none.
    """
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if not isinstance(form, dict) or len(form) != 1:
        raise ValueError("an entry is no object with one name")
    ((kind, inside),) = form.items()
    if kind in ("tensor", "array"):
        array = arrays.pop(inside)
        return Tensor.from_value(array) if kind == "tensor" else array
    if kind == "dict":
        return {key: _decode(value, arrays) for key, value in inside}
    if kind in ("list", "tuple") and isinstance(inside, list):
        entries = [_decode(one, arrays) for one in inside]
        return tuple(entries) if kind == "tuple" else entries
    if kind == "float" and inside in ("nan", "inf", "-inf"):
        return float(inside)
    raise ValueError("an entry of unknown kind")
