"""There is no GPU: what programs ask of one before they use it, or in passing."""

from __future__ import annotations

from typing import Any

from mynn.cuda import amp as amp
from mynn.errors import UsageError


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def is_initialized() -> bool:
    """False."""
    return False


def manual_seed(seed: int) -> None:
    """Nothing is to be seeded."""


manual_seed_all = manual_seed


def synchronize(device: Any = None) -> None:
    """Nothing is to be waited for."""


def empty_cache() -> None:
    """Nothing is kept."""


def memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


max_memory_allocated = memory_reserved = memory_allocated


def set_device(device: Any) -> None:
    """An error: there is none."""
    raise UsageError('set_device: there is no GPU; ask mynn.cuda.is_available(), and use "cpu"')


def current_device() -> int:
    """An error: there is none."""
    raise UsageError('current_device: there is no GPU; use mynn.device("cpu")')


def get_device_name(device: Any = None) -> str:
    """An error: there is none."""
    raise UsageError("get_device_name: there is no GPU; ask mynn.cuda.is_available()")
