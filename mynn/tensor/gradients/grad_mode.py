"""Whether results remember where they came from: `no_grad`, `enable_grad`.

Example:
    >>> from mynn import Tensor, no_grad
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, overload

from mynn.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

# Each thread and each asynchronous task has its own.
_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)
# `grad_enabled` for those in a hurry.
enabled = _enabled.get


class _Block:
    """A block in which results remember, or do not remember, where they came from."""

    def __init__(self, enabled: bool) -> None:
        self._before: list[bool] = []
        self._wanted = enabled

    def __enter__(self) -> None:
        self._before.append(_enabled.get())
        _enabled.set(self._wanted)

    def __exit__(self, *error: object) -> None:
        _enabled.set(self._before.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """As a decorator: the whole function is such a block."""
        wanted = self._wanted

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            # The end of a block can be interrupted, that of a `try` is always run.
            before = _enabled.get()
            try:
                _enabled.set(wanted)
                return function(*args, **kwargs)
            finally:
                _enabled.set(before)

        return call


def keeping(function: Callable[[], R]) -> R:
    """What `function` returns; blocks that it began, and did not end, are over.

    The end of a block can be interrupted by a signal handler that raises; that of a `try` is run.
    """
    before = _enabled.get()
    try:
        return function()
    finally:
        _enabled.set(before)


class _Maker:
    """`no_grad`, `enable_grad`: makes a block when it is called, or decorates a function."""

    def __init__(self, name: str, enabled: bool, text: str) -> None:
        self.__name__, self._enabled, self.__doc__ = name, enabled, text

    @overload
    def __call__(self) -> _Block: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...
    def __call__(self, function: Any = None) -> Any:
        block = _Block(self._enabled)
        return block if function is None else block(function)

    def __enter__(self) -> None:
        raise UsageError(f"{self.__name__} is called: write with mynn.{self.__name__}():")

    def __exit__(self, *error: object) -> None:
        """Nothing was entered."""


no_grad = _Maker(
    "no_grad",
    False,
    "Within the block, or the function, eager results do not remember where they came from.",
)
enable_grad = _Maker(
    "enable_grad",
    True,
    "Within the block, eager results remember where they came from, even inside `no_grad`.",
)


class _Mode(_Block):
    """`set_grad_enabled(mode)`: at once, and within the block where it is one."""

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self._at_first: bool | None = _enabled.get()
        _enabled.set(self._wanted)

    def __enter__(self) -> None:
        before, self._at_first = self._at_first, None
        self._before.append(_enabled.get() if before is None else before)
        _enabled.set(self._wanted)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if self._at_first is not None:
            _enabled.set(self._at_first)
        return super().__call__(function)


def set_grad_enabled(mode: bool) -> _Mode:
    """Whether results remember where they came from: from now on, or within the block.

    Example:
        >>> with set_grad_enabled(False):
        ...     is_grad_enabled()
        False
    """
    return _Mode(mode)


def inference_mode(mode: Any = True) -> Any:
    """Like `no_grad`; with mode=False results remember where they came from."""
    if callable(mode):
        return no_grad(mode)
    return _Block(not mode)


def is_grad_enabled() -> bool:
    """Whether results remember where they came from at present."""
    return _enabled.get()


def is_inference_mode_enabled() -> bool:
    """False: it is `no_grad` here."""
    return False


def grad_enabled() -> bool:
    """Whether results remember where they came from at present."""
    return _enabled.get()
