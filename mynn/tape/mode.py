"""`eager`: whether calls outside of compiled functions are run as they come, or recorded."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Literal, get_args

from mynn.base import forks, recording
from mynn.errors import ArgumentError

Mode = Literal["at once", "tape"]
MODES: tuple[Mode, ...] = get_args(Mode)
VARIABLE = "MYNN_EAGER"
DEFAULT = "tape"
_mode = ["at once"]


class eager:
    """How calls on tensors run outside of compiled functions, in all threads that begin after it
    and in this one.

    - `"tape"`, the default: calls are recorded, and run together when somebody looks at a value;
      sequences that repeat become programs.
    - `"at once"`: each call as it comes, by NumPy.

    It can be used as a context manager. The environment variable MYNN_EAGER sets it for a process.

    Raises:
        ArgumentError: another mode.

    Example:
        >>> import mynn
        >>> with mynn.eager("at once"):
        ...     float((mynn.Tensor([1.0, 2.0]) * 3.0).sum())
        9.0
    """

    def __init__(self, mode: Mode) -> None:
        if mode not in MODES:
            raise ArgumentError(f"eager: the mode must be one of {MODES}, it is {mode!r}")
        self._before = _mode[0]
        _set(mode)

    def __enter__(self) -> eager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _set(self._before)


def _set(mode: str) -> None:
    if mode != _mode[0]:
        recording.record_with((lambda: recording.Later(_tape)) if mode == "tape" else None)
        _mode[0] = mode


def _tape() -> Any:
    """The tape of a thread, with the first call: what it needs is not imported before."""
    with forks.loading:
        from mynn.tape.tape import Tape

    return Tape()


def from_environment() -> None:
    """The mode that MYNN_EAGER says, or the default."""
    wanted = os.environ.get(VARIABLE) or DEFAULT
    if wanted not in MODES:
        raise ArgumentError(f"{VARIABLE} must be one of {MODES}, it is {wanted!r}")
    _set(wanted)
