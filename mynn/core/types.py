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
