"""Padding as layers. Each one is `functional.pad` along one, two or three axes."""

from __future__ import annotations

import operator
from typing import Any

from mynn.errors import ArgumentError, ShapeError
from mynn.functional.padding import pad
from mynn.nn.module import Module
from mynn.tensor import Tensor, as_tensor


class _Pad(Module):
    """What all of them share: two numbers for each axis, the last axis first."""

    rank = 0
    mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _pairs(type(self).__name__, padding, self.rank)

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] or [C, ...] -> the same with longer last axes."""
        x = as_tensor(input)
        if self.mode == "circular" and x.ndim not in (self.rank + 1, self.rank + 2):
            raise ShapeError(
                f"the input has shape {x.shape}, it must have {self.rank + 1} or {self.rank + 2} "
                "axes; reshape it"
            )
        return pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"{self.padding}"


def _pairs(name: str, padding: Any, rank: int) -> tuple[int, ...]:
    many = isinstance(padding, tuple | list)
    try:
        counts = tuple(map(operator.index, padding if many else (padding,) * (2 * rank)))
    except TypeError:
        counts = ()
    if len(counts) != 2 * rank:
        raise ArgumentError(
            f"{name}: padding must be a whole number or {2 * rank} of them, it is {padding!r}"
        )
    return counts


class _ConstantPad(_Pad):
    """Padding with a number."""

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Tensor:
        """[...] -> the same with longer last axes."""
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A number before and after the last axis: padding (left, right) or one for both."""

    rank = 1


class ConstantPad2d(_ConstantPad):
    """A number around the last two axes: padding (left, right, top, bottom) or one for all."""

    rank = 2


class ConstantPad3d(_ConstantPad):
    """A number around the last three axes: padding of six numbers or one for all."""

    rank = 3


class ZeroPad1d(_Pad):
    """Zeros before and after the last axis: padding (left, right) or one for both."""

    rank = 1


class ZeroPad2d(_Pad):
    """Zeros around the last two axes: padding (left, right, top, bottom) or one for all."""

    rank = 2


class ZeroPad3d(_Pad):
    """Zeros around the last three axes: padding of six numbers or one for all."""

    rank = 3


class ReflectionPad1d(_Pad):
    """Values inside the edge, mirrored, before and after the last axis."""

    rank = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """Values inside the edges, mirrored, around the last two axes."""

    rank = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """Values inside the edges, mirrored, around the last three axes."""

    rank = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """The outermost values once more before and after the last axis."""

    rank = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """The outermost values once more around the last two axes."""

    rank = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """The outermost values once more around the last three axes."""

    rank = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """Values from the other end before and after the last axis."""

    rank = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """Values from the other ends around the last two axes."""

    rank = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """Values from the other ends around the last three axes."""

    rank = 3
    mode = "circular"
