"""`Conversions`: parameters and buffers of a module in another dtype, or on another device."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.base import recording
from mynn.base.arguments import shown
from mynn.core.types import supported
from mynn.errors import ArgumentError, DTypeError, UsageError
from mynn.nn.tree import Tree
from mynn.runtime.store import programs
from mynn.tensor import Tensor
from mynn.tensor.write import retype
from mynn.trace import tracing

Self = TypeVar("Self", bound="Conversions")


class Conversions(Tree):
    """Methods that convert what a module holds."""

    _traced: bool

    def _edited(self) -> None:
        """A part was replaced; see `Module`."""
        raise NotImplementedError

    def to(
        self: Self,
        *args: Any,
        device: Any = None,
        dtype: Any = None,
        non_blocking: bool = False,
        memory_format: Any = None,
    ) -> Self:
        """Floating parameters and buffers in another dtype, in place; returns the module.

        Args:
            args: a device, a dtype, both, or a tensor whose dtype is meant.
            device: "cpu", the one device.
            dtype: float32 or float64.
            non_blocking, memory_format: without a meaning here.

        Parameters stay the objects that they are, so that an optimiser that has them goes on.

        Raises:
            ArgumentError: a device that is not there. DTypeError: no floating dtype.

        Example:
            >>> import numpy as np
            >>> from mynn import nn
            >>> nn.Linear(2, 3).to(np.float64).weight.dtype
            dtype('float64')
        """
        for one in args:
            if isinstance(one, bool) or one is None:  # non_blocking, or no device
                continue
            if isinstance(one, Tensor):
                dtype = one.dtype
            elif _is_device(one):
                device = one
            else:
                dtype = one
        if device is not None:
            _require_cpu(type(self).__name__, device)
        return self if dtype is None else self._converted(dtype)

    def _converted(self: Self, dtype: Any) -> Self:
        name = type(self).__name__
        if tracing.active() is not None:
            raise UsageError(
                f"{name}: a compiled function cannot convert the dtype of parameters; convert the "
                "module before"
            )
        try:
            wanted = supported(np.dtype(dtype))
        except TypeError:
            raise DTypeError(
                f"{name}: {shown(dtype)} is neither a dtype nor a device; give numpy.float32, "
                'numpy.float64 or "cpu"'
            ) from None
        if wanted.kind != "f":
            raise DTypeError(
                f"{name}: parameters hold floats, they cannot become {wanted}; give float32 or "
                "float64"
            )
        if recording.waiting:
            recording.settle()
        tensors = [*self.parameters(), *self.buffers()]
        changed = [t for t in tensors if t.dtype.kind == "f" and t.dtype != wanted]
        if any(t.shared is not None for t in changed):
            programs().clear()  # some of them have bound the memory that there was
        for tensor in changed:
            retype(tensor, wanted)
        for module in self.modules():
            module._edited()
        return self

    def type(self: Self, dst_type: Any) -> Self:
        """Floating parameters and buffers in another dtype: `to(dst_type)`."""
        return self._converted(dst_type)

    def float(self: Self) -> Self:
        """Floating parameters and buffers as float32."""
        return self._converted(np.float32)

    def double(self: Self) -> Self:
        """Floating parameters and buffers as float64."""
        return self._converted(np.float64)

    def half(self: Self) -> Self:
        """Refused: there is no arithmetic of 16 bits here."""
        raise _narrow(type(self).__name__, "float16")

    def bfloat16(self: Self) -> Self:
        """Refused: there is no arithmetic of 16 bits here."""
        raise _narrow(type(self).__name__, "bfloat16")

    def cpu(self: Self) -> Self:
        """The module itself: it is there already."""
        return self

    def cuda(self: Self, device: Any = None) -> Self:
        """Refused: the processor is the one device."""
        _require_cpu(type(self).__name__, "cuda" if device is None else f"cuda:{device}")
        return self

    def share_memory(self: Self) -> Self:
        """The module itself: threads share its memory already."""
        return self


def _is_device(value: Any) -> bool:
    """Whether a device is named, or an object that has one's kind."""
    if isinstance(value, str):
        return value.partition(":")[0] in ("cpu", "cuda", "mps", "xpu", "meta")
    return isinstance(getattr(value, "type", None), str) and hasattr(value, "index")


def _require_cpu(name: str, device: Any) -> None:
    kind = str(getattr(device, "type", device)).partition(":")[0]
    if kind != "cpu":
        raise ArgumentError(
            f"{name}: there is no device {str(device)!r}, the processor is the one device; give "
            '"cpu", or leave it out'
        )


def _narrow(name: str, dtype: str) -> DTypeError:
    return DTypeError(f"{name}: {dtype} is not supported; use .float(), which is float32")
