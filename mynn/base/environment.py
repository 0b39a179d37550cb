"""Variables of the environment, read often: before each look-up of a program."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# `os.environ` keeps bytes, on POSIX. To ask the mapping itself takes a microsecond.
_ENCODE: Any = getattr(os.environ, "encodekey", None)
_DECODE: Any = getattr(os.environ, "decodevalue", None)


def reader(name: str) -> Callable[[], str | None]:
    """A function that gives the present value of a variable, or None where it is not set.

    Example:
        >>> os.environ["MYNN_OF_AN_EXAMPLE"] = "1"
        >>> reader("MYNN_OF_AN_EXAMPLE")()
        '1'
        >>> del os.environ["MYNN_OF_AN_EXAMPLE"]
        >>> reader("MYNN_OF_AN_EXAMPLE")() is None
        True
    """
    kept: Any = getattr(os.environ, "_data", None)
    if type(kept) is not dict or _ENCODE is None or _DECODE is None:
        return lambda: os.environ.get(name)
    key = _ENCODE(name)

    def read() -> str | None:
        value = kept.get(key)
        return None if value is None else _DECODE(value)

    return read
