"""Switches of PyTorch's as a whole: threads, devices, determinism.

The number of threads is what it says. The others can be set, and mean nothing here: results are
the same each time, products are rounded to their dtype, there is one device.
"""

from __future__ import annotations

import os
from typing import Any

from mynn.base.arguments import whole_number
from mynn.base.devices import CPU, device, require_cpu
from mynn.errors import ArgumentError
from mynn.runtime.threads import check_threads, default_threads, processors

_set: dict[str, Any] = {}


def set_num_threads(num: int) -> None:
    """At most so many threads for a program where nothing else is said: as MYNN_THREADS does.

    Raises:
        ArgumentError: not a number of at least 1.
    """
    os.environ["MYNN_THREADS"] = str(check_threads(whole_number("set_num_threads: num", num)))


def get_num_threads() -> int:
    """How many threads a program has at the most."""
    threads = default_threads()
    return threads if isinstance(threads, int) else processors()


def set_default_device(device: Any) -> None:
    """The device of new tensors, which can only be the processor."""
    require_cpu("set_default_device", device)


def get_default_device() -> device:
    """The processor."""
    return CPU


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Nothing is to be done: a program gives the same bits each time."""
    _set["deterministic"], _set["warn_only"] = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was given."""
    return bool(_set.get("deterministic", False))


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was given as `warn_only`."""
    return bool(_set.get("warn_only", False))


_MODES = ("default", "warn", "error")


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` by "default", "warn" or "error", or their numbers 0, 1, 2."""
    known = debug_mode in _MODES or (isinstance(debug_mode, int) and debug_mode in (0, 1, 2))
    if not known:
        raise ArgumentError(
            f"set_deterministic_debug_mode: the mode must be one of {_MODES}, it is {debug_mode!r}"
        )
    number = _MODES.index(debug_mode) if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2; see `set_deterministic_debug_mode`."""
    if not are_deterministic_algorithms_enabled():
        return 0
    return 1 if is_deterministic_algorithms_warn_only_enabled() else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Products of float32 are float32, whatever is asked for."""
    if precision not in ("highest", "high", "medium"):
        raise ArgumentError(
            "set_float32_matmul_precision: precision must be 'highest', 'high' or 'medium', it is "
            f"{precision!r}"
        )
    _set["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given."""
    return str(_set.get("precision", "highest"))


def set_warn_always(b: bool) -> None:
    """Whether warnings were to come each time; here a line of the user's has each of them once."""
    _set["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was given."""
    return bool(_set.get("warn_always", False))
