"""Values of the loop IR's types as LLVM writes them: types, constants."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Sequence
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.op_types import DTYPES

# The LLVM type of each scalar type.
LLVM_TYPES = {"f32": "float", "f64": "double", "i32": "i32", "i64": "i64", "u32": "i32"}
LLVM_TYPES |= {"u64": "i64", "u8": "i8", "bool": "i1", "ptr": "ptr"}
# Bits of each scalar type.
BITS = {**{type: 8 * dtype.itemsize for type, dtype in DTYPES.items()}, "bool": 1}


@functools.cache
def llvm_type(type: str, lanes: int = 1) -> str:
    """The LLVM type of a value in registers."""
    scalar = LLVM_TYPES[type]
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


@functools.cache
def memory_type(type: str, lanes: int = 1) -> str:
    """The LLVM type of a value in memory: a bool is a byte there."""
    scalar = "i8" if type == "bool" else LLVM_TYPES[type]
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def suffix(type: str, lanes: int = 1) -> str:
    """How intrinsics call a type: f32, v4i64..., where a bool is a byte."""
    scalar = memory_type(type)
    scalar = {"float": "f32", "double": "f64"}.get(scalar, scalar)
    return f"v{lanes}{scalar}" if lanes > 1 else scalar


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA name or a constant, its scalar type and number of lanes."""

    text: str
    type: str
    lanes: int = 1

    @property
    def llvm_type(self) -> str:
        """Its LLVM type."""
        return llvm_type(self.type, self.lanes)

    @property
    def typed(self) -> str:
        """Type and name, as an argument is written."""
        return f"{llvm_type(self.type, self.lanes)} {self.text}"


def number(value: Any, type: str) -> str:
    """A constant as LLVM writes it, exact."""
    if type == "bool":
        return "true" if value else "false"
    if type == "ptr":
        return "null"
    if type[0] != "f":
        return str(int(value))
    value = float(value)
    if type == "f32":
        if math.isfinite(value) and abs(value) > 3.4028235677973366e38:
            value = math.copysign(math.inf, value)
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def constant(value: Any, type: str, lanes: int = 1) -> Value:
    """A number, the same in every lane."""
    text = number(value, type)
    return Value(text if lanes == 1 else vector([text] * lanes, llvm_type(type)), type, lanes)


def zero(type: str, lanes: int = 1) -> Value:
    """Zeros."""
    return Value("zeroinitializer" if lanes > 1 else number(0, type), type, lanes)


def vector(values: Sequence[Any], scalar: str) -> str:
    """A constant vector."""
    return "<" + ", ".join(f"{scalar} {value}" for value in values) + ">"


def mask(extent: int, lanes: int) -> Value:
    """The constant mask of the first `extent` lanes."""
    text = vector(["true" if i < extent else "false" for i in range(lanes)], "i1")
    return Value(text, "bool", lanes)
