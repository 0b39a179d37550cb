"""The types of the loop IR's operations: those of the primitives, and of a few more."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.compiler.loop_ir.ir import ADDRESS, INDEX
from mynn.core.types import SHORT_NAMES, Type
from mynn.errors import MynnError, VerifyError
from mynn.ops import elementwise, integers, special

# The NumPy dtype of each scalar type.
DTYPES = {
    **{short: np.dtype(name) for name, short in SHORT_NAMES.items()},
    "u64": np.dtype(np.uint64),
    ADDRESS: np.dtype(np.uint64),
}
# The elementwise primitives that are operations too, by name. A shift's bits are an argument here.
PRIMITIVES = {
    primitive.name: primitive
    for primitive in (*elementwise.PRIMITIVES, *special.PRIMITIVES, *integers.PRIMITIVES)
    if primitive not in (elementwise.stop_gradient, elementwise.shift_right, elementwise.cast)
}
COMPARISONS = ("equal", "not_equal", "less", "less_equal")

# What is not a primitive, or has other arguments: how many there are, all of one of these types.
_ALIKE: dict[str, tuple[int, Sequence[str]]] = {
    "fma": (3, ("f32", "f64")),
    "quotient": (2, ("i64", "u64")),
    "remainder": (2, ("i64", "u64")),
    "shift_right": (2, ("u8", "u32", "u64")),
    "threefry2x32": (4, ("u32",)),
    "threefry2x32_second": (4, ("u32",)),
}
# The type of the bits of a float.
BITS_OF = {"f32": "u32", "f64": "u64"}
# What can be done with addresses.
_OF_ADDRESSES = {
    ("offset", ADDRESS, INDEX): ADDRESS,
    ("equal", ADDRESS, ADDRESS): "bool",
    ("not_equal", ADDRESS, ADDRESS): "bool",
    ("where", "bool", ADDRESS, ADDRESS): ADDRESS,
}


@functools.cache
def _arity(name: str) -> int:
    """How many arguments a primitive takes, as its samples have it."""
    return len(PRIMITIVES[name].samples(np.random.default_rng(0))[0].arrays)


@functools.cache
def op_type(name: str, args: tuple[str, ...], declared: str) -> str:
    """The type of an operation on arguments of these types; `declared` is what a cast is to.

    Raises:
        VerifyError: there is no such operation.
    """
    reason = ""
    if ADDRESS in args or declared == ADDRESS:
        if (name, *args) in _OF_ADDRESSES:
            return _OF_ADDRESSES[name, *args]
    elif name == "cast" and len(args) == 1 and declared in DTYPES:
        return declared
    elif name == "bits" and len(args) == 1 and args[0] in BITS_OF:
        return BITS_OF[args[0]]
    elif name in _ALIKE:
        count, types = _ALIKE[name]
        if len(args) == count and args[0] in types and len(set(args)) == 1:
            return args[0]
    elif name in PRIMITIVES and len(args) == _arity(name):
        try:
            PRIMITIVES[name].infer(*(Type((), DTYPES[arg]) for arg in args))
        except (MynnError, TypeError, KeyError) as error:
            reason = f" ({error})"
        else:
            return "bool" if name in COMPARISONS else args[-1]
    raise VerifyError(f"there is no {name}({', '.join(args)}){reason}")


# -- literals --------------------------------------------------------------------------------------


def literal(value: Any, type: str) -> str:
    """A number as text."""
    if type == "bool":
        return str(bool(value))
    return repr(float(value)) if type in ("f32", "f64") else str(int(value))


def literal_type(text: str) -> str:
    """The type of a number that says none, where nothing around it does."""
    if text in ("True", "False"):
        return "bool"
    return INDEX if text.lstrip("-").isdigit() else "f32"


def literal_value(text: str, type: str) -> Any:
    """The number that a text means."""
    if type == "bool":
        return text == "True"
    return float(text) if type in ("f32", "f64") else int(text)


def argument_type(name: str, place: int, result: str | None, before: str | None) -> str | None:
    """The type that a number has as an argument of an operation, where that can be told.

    `result` is the type of the operation, if it is known, `before` that of an argument before it.
    """
    if name == "offset":
        return (ADDRESS, INDEX)[place]
    if name == "where" and place == 0:
        return "bool"
    if name in ("cast", "bits"):
        return None
    return before if before or name in COMPARISONS else result
