"""Whether results remember where they came from: `no_grad`, `enable_grad`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Each thread and each asynchronous task has its own.
_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within the block, eager results do not remember where they came from.

    Example:
        >>> from mynn import Tensor, no_grad
        >>> x = Tensor([1.0], requires_grad=True)
        >>> with no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """
    before = _enabled.get()
    _enabled.set(False)
    try:
        yield
    finally:
        _enabled.set(before)


@contextmanager
def enable_grad() -> Iterator[None]:
    """Within the block, eager results remember where they came from, even inside `no_grad`."""
    before = _enabled.get()
    _enabled.set(True)
    try:
        yield
    finally:
        _enabled.set(before)


def grad_enabled() -> bool:
    """Whether results remember where they came from at present."""
    return _enabled.get()
