"""Warnings with the line of the user's code, each once; `MYNN_CHECK` makes errors of them."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from mynn import debug
from mynn.base import recording
from mynn.errors import TraceWarning, UsageError

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
# What was said already, and where.
_said: set[tuple[str, Place]] = set()


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this package."""
    return is_ours_code(frame.f_code)


def is_ours_code(code: CodeType) -> bool:
    """Whether code is of this package."""
    return code.co_filename.startswith(_PACKAGE)


def recorded_place() -> Place | None:
    """The line of the call that a tape is running, if it stands in the user's code."""
    if recording.current.place is None:
        return None
    code, instruction = recording.current.place
    if is_ours_code(code):
        return None
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return Place(code.co_filename, next(lines, None) or code.co_firstlineno)


def user_place(depth: int = 1) -> Place:
    """The innermost frame outside this package (the outermost frame where there is none)."""
    recorded = recorded_place()
    if recorded is not None:
        return recorded
    frame = sys._getframe(depth)
    while is_ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def warn(
    kind: str, message: str, place: Place | None = None, category: type[Warning] = TraceWarning
) -> None:
    """Say something about a line once (for each `kind`); with `MYNN_CHECK` raise it each time.

    Raises:
        UsageError: the message and the line, where `MYNN_CHECK` is set.
    """
    where = user_place(2) if place is None else place
    if debug.checking():
        raise UsageError(f"{message} (at {where})")
    if (kind, where) not in _said:
        warnings.warn_explicit(message, category, where.file, where.line)
        _said.add((kind, where))
