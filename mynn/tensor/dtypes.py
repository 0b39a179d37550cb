"""Dtypes under PyTorch's names. They are NumPy's: `x.dtype == mynn.float32`, `numpy.float32` too.

    float32 float   float64 double   int32 int   int64 long   uint8 uint32 bool

`float16`, `bfloat16`, `int8` and `int16` have names, so that programs can mention them; no tensor
can be made of them, which the error says.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from mynn.core.types import Absent, Array, as_dtype, default_float
from mynn.errors import DTypeError
from mynn.tensor.promotion import RANK, as_tensor, promote
from mynn.tensor.tensor import Tensor

dtype = np.dtype
float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
uint32 = np.dtype(np.uint32)
bool = np.dtype(np.bool_)
# Not supported: to name them is no error, to make a tensor of them is one.
float16 = half = np.dtype(np.float16)
int16 = short = np.dtype(np.int16)
int8 = np.dtype(np.int8)
uint16 = np.dtype(np.uint16)
uint64 = np.dtype(np.uint64)
bfloat16 = Absent("bfloat16")

# PyTorch's classes of tensors, by dtype.
CLASSES = {
    "FloatTensor": float32,
    "DoubleTensor": float64,
    "IntTensor": int32,
    "LongTensor": int64,
    "ByteTensor": uint8,
    "BoolTensor": bool,
}


def finfo(type: Any = None) -> Any:
    """What floats of a dtype are like: `eps`, `max`, `min`, `tiny`, `bits`; as `numpy.finfo`.

    Example:
        >>> finfo(float32).bits
        32
    """
    return np.finfo(default_float() if type is None else as_dtype(type))


def iinfo(type: Any) -> Any:
    """What integers of a dtype are like: `max`, `min`, `bits`; as `numpy.iinfo`."""
    return np.iinfo(as_dtype(type))


def promote_types(type1: Any, type2: Any) -> Any:
    """The dtype in common: float before int before bool, then the wider."""
    return promote(as_dtype(type1), as_dtype(type2))


def result_type(tensor1: Any, tensor2: Any) -> Any:
    """The dtype of what is computed from both; numbers count by their kind alone."""
    return (as_tensor(tensor1, like=_like(tensor2)) + as_tensor(tensor2, like=_like(tensor1))).dtype


def _like(value: Any) -> Any:
    return value if isinstance(value, Tensor) else None


def can_cast(from_: Any, to: Any) -> builtins.bool:
    """Whether values keep their kind: floats do not become integers, numbers no bools."""
    return RANK[as_dtype(from_).kind] <= RANK[as_dtype(to).kind]


def is_tensor(obj: Any) -> builtins.bool:
    """Whether `obj` is a tensor of mynn."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Any) -> builtins.bool:
    """Whether the tensor holds floats."""
    return as_tensor(input).dtype.kind == "f"


def is_nonzero(input: Any) -> builtins.bool:
    """Whether the one value of the tensor is not 0."""
    return builtins.bool(as_tensor(input) != 0)


def numel(input: Any) -> builtins.int:
    """Number of elements."""
    return as_tensor(input).numel()


def _filled(name: str, kind: Any) -> Any:
    """A class of PyTorch as a function: data, or extents of a tensor of zeros."""

    def make(*data: Any) -> Tensor:
        if all(isinstance(n, builtins.int) for n in data):
            return Tensor(np.zeros(data, kind))
        if len(data) != 1:
            raise DTypeError(f"{name}: give the data as one list, or extents as whole numbers")
        array: Array = np.asarray(data[0].numpy() if isinstance(data[0], Tensor) else data[0])
        return Tensor(array, dtype=kind)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"A tensor of {kind} with the given data; with whole numbers, zeros of extents."
    return make


FloatTensor, DoubleTensor, IntTensor, LongTensor, ByteTensor, BoolTensor = (
    _filled(name, kind) for name, kind in CLASSES.items()
)
