"""Signatures: what of the arguments of a call decides which program it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import Type
from mynn.tensor import as_array


def is_flat(arguments: tuple[Any, ...]) -> bool:
    """Whether all arguments are arrays."""
    return all(type(x) is np.ndarray for x in arguments)


def signature_of(arguments: tuple[Any, ...]) -> Any:
    """Shapes and dtypes of arguments, in their nested form."""
    return tuple((x.shape, x.dtype) if type(x) is np.ndarray else _nested(x) for x in arguments)


def _nested(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return (type(value).__name__, *map(_nested, value))
    if isinstance(value, dict):
        return tuple((key, _nested(item)) for key, item in value.items())
    if value is None:
        return None
    kind = Type.of(as_array(value))
    return (kind.shape, kind.dtype)
