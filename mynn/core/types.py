"""Types of values: a shape and a dtype, and the dtypes' short names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.errors import DTypeError

SHORT_NAMES = {
    "float32": "f32",
    "float64": "f64",
    "int32": "i32",
    "int64": "i64",
    "uint32": "u32",
    "uint8": "u8",
    "bool": "bool",
}
# The same by dtype, whose name NumPy takes its time to make.
_SHORT = {np.dtype(name): short for name, short in SHORT_NAMES.items()}
# The dtypes themselves, in the byte order of the machine.
DTYPES = frozenset(_SHORT)

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Type:
    """Shape and dtype of a node's value. Prints as `f32[32,64]`."""

    shape: Shape
    dtype: np.dtype[Any]

    @staticmethod
    def of(array: Array) -> Type:
        """The type of a NumPy array."""
        return Type(array.shape, supported(array.dtype))

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, without padding."""
        return self.size * self.dtype.itemsize

    @property
    def short(self) -> str:
        """The dtype's short name: `f32`, `i64`, `bool`."""
        return _SHORT[self.dtype]

    def with_shape(self, shape: Iterable[int]) -> Type:
        """The same dtype with another shape."""
        return Type(tuple(int(extent) for extent in shape), self.dtype)

    def with_dtype(self, dtype: Any) -> Type:
        """The same shape with another dtype."""
        return Type(self.shape, supported(np.dtype(dtype)))

    def __str__(self) -> str:
        return f"{self.short}[{','.join(map(str, self.shape))}]"


# The dtype of what is no array.
_NONE = np.dtype("V1")


@dataclass(frozen=True, slots=True)
class Tuple(Type):
    """The types of several values that one node has. Prints as `(f32[32], f32[8,32])`."""

    parts: tuple[Type, ...] = ()

    @staticmethod
    def of_parts(parts: Iterable[Type]) -> Tuple:
        """The type of values of these types."""
        return Tuple((), _NONE, tuple(parts))

    @property
    def nbytes(self) -> int:
        """Bytes of the elements of all parts."""
        return sum([part.nbytes for part in self.parts])

    @property
    def short(self) -> str:
        """No dtype has this name."""
        return "tuple"

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.parts))})"


class Absent:
    """A dtype of PyTorch that is not there: naming it is no error, using it is one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


# The dtype of Python's floats, and of what integers become where a function needs floats.
_defaults = {"float": np.dtype(np.float32)}


def default_float() -> np.dtype[Any]:
    """The dtype of floats that say no other: float32, or what `set_default_dtype` was given."""
    return _defaults["float"]


def set_default_float(dtype: np.dtype[Any]) -> None:
    """Make another dtype the default; programs made before have the old one built in."""
    _defaults["float"] = dtype


def as_dtype(value: Any) -> np.dtype[Any]:
    """A supported dtype by any name: NumPy's, Python's `float`, PyTorch's, "torch.float32".

    Raises:
        DTypeError: it is none, or not supported.

    Example:
        >>> as_dtype("torch.float32"), as_dtype(bool)
        (dtype('float32'), dtype('bool'))
    """
    if isinstance(value, np.dtype):
        return supported(value)
    if type(value).__module__ == "torch":
        value = str(value)
    if isinstance(value, str):
        value = value.rpartition(".")[2]
    name = getattr(value, "name", value)
    try:
        dtype = None if isinstance(value, Absent) else np.dtype(value)
    except TypeError:
        dtype = None
    if value is None or dtype is None:
        raise DTypeError(f"dtype {name!r} is not supported; use one of {', '.join(SHORT_NAMES)}")
    return supported(dtype)


def supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype itself (native byte order), or a `DTypeError` where mynn does not know it."""
    if dtype in _SHORT:
        return dtype
    if dtype.name not in SHORT_NAMES:
        raise DTypeError(
            f"dtype {dtype} is not supported; use one of {', '.join(SHORT_NAMES)} "
            f"(for example array.astype(numpy.float32))"
        )
    return dtype.newbyteorder("=")
