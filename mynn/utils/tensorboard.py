"""`SummaryWriter`: curves and histograms for TensorBoard, written by the package tensorboardX."""

from __future__ import annotations

import importlib
import importlib.util
from types import TracebackType
from typing import Any

from mynn.errors import UsageError
from mynn.tensor import Tensor


class SummaryWriter:
    """tensorboardX's writer, with its arguments and methods; tensors are given to it as arrays.

    Example, where tensorboardX is installed:

        writer = SummaryWriter("runs/first")
        writer.add_scalar("loss", loss, step)
        writer.close()

    Raises:
        UsageError: tensorboardX is not installed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if importlib.util.find_spec("tensorboardX") is None:
            raise UsageError(
                "SummaryWriter: the package tensorboardX is not installed; install it, or use the "
                "callbacks mynn.TensorBoard and mynn.CSVLogger of fit"
            )
        self._writer = importlib.import_module("tensorboardX").SummaryWriter(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._writer, name)
        if not name.startswith("add_"):
            return found

        def add(*args: Any, **kwargs: Any) -> Any:
            named = {key: _plain(value) for key, value in kwargs.items()}
            return found(*map(_plain, args), **named)

        return add

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()


def _plain(value: Any) -> Any:
    """Tensors as arrays, single values as numbers; also within a dictionary or a list."""
    if isinstance(value, Tensor):
        return value.numpy() if value.ndim else value.item()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value
