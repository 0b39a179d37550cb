"""Whether results remember where they came from: `no_grad`, `enable_grad`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _GradMode(threading.local):
    """Whether results remember where they came from, for each nested block of a thread."""

    def __init__(self) -> None:
        self.enabled = [True]


_mode = _GradMode()


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
    _mode.enabled.append(False)
    try:
        yield
    finally:
        _mode.enabled.pop()


@contextmanager
def enable_grad() -> Iterator[None]:
    """Within the block, eager results remember where they came from, even inside `no_grad`."""
    _mode.enabled.append(True)
    try:
        yield
    finally:
        _mode.enabled.pop()


def grad_enabled() -> bool:
    """Whether results remember where they came from at present."""
    return _mode.enabled[-1]
