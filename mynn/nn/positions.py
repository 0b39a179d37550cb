"""Where in a sequence something stands, told to networks that see no order by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import positive
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.nn.module import Module
from mynn.tensor import Tensor, as_tensor


class _Positions(Module):
    """What both kinds share: the angles of positions, as wide as half of the features."""

    def __init__(self, features: str, width: int, base: float) -> None:
        super().__init__()
        name = type(self).__name__
        if positive(f"{name}: {features}", width) % 2:
            raise ArgumentError(f"{name}: {features} must be even, it is {width}")
        if not base > 1:
            raise ArgumentError(f"{name}: base must be more than 1, it is {base}")
        self.base = float(base)
        setattr(self, features, width)

    def _angles(self, x: Tensor, axis: int, width: int, offset: Any) -> tuple[Tensor, Tensor]:
        """sin and cos of p base^(-2 i / width) for positions p along an axis, [L, width / 2]."""
        name = type(self).__name__
        if x.ndim < -axis or x.shape[-1] != width:
            raise ShapeError(
                f"{name}: the input must end with an axis of positions and {width} features, its "
                f"shape is {list(x.shape)}"
            )
        rates = self.base ** (-np.arange(0, width, 2) / width)
        places: Array = np.arange(x.shape[axis], dtype=np.float64)
        if isinstance(offset, int | np.integer):
            angles = (places + offset)[:, np.newaxis] * rates
            sin, cos = Tensor(np.sin(angles)), Tensor(np.cos(angles))
        else:
            first = as_tensor(offset)
            if first.ndim or first.dtype.kind != "i":
                raise DTypeError(
                    f"{name}: offset must be a whole number, it is {first.dtype} of shape "
                    f"{list(first.shape)}"
                )
            turned = (Tensor(places) + first.astype(np.float64)).unsqueeze(1) * Tensor(rates)
            sin, cos = turned.sin(), turned.cos()
        return sin.astype(x.dtype), cos.astype(x.dtype)


class SinusoidalPositionalEncoding(_Positions):
    """y[.., p, 2i] = x[.., p, 2i] + sin(p r_i), y[.., p, 2i + 1] = x[.., p, 2i + 1] + cos(p r_i)
    with r_i = base^(-2i / E).

    PyTorch has no such layer.

    Args:
        d_model: E, features of a position; an even number.
        base: the longest wave is 2 pi base positions long.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> encoding = nn.SinusoidalPositionalEncoding(4)
        >>> encoding(np.zeros((2, 4), np.float32)).tolist()[0]
        [0.0, 1.0, 0.0, 1.0]

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.5.
    """

    def __init__(self, d_model: int, base: float = 10000.0) -> None:
        super().__init__("d_model", d_model, base)

    def forward(self, x: Any, offset: Any = 0) -> Tensor:
        """[.., L, E] -> the same; `offset`: the position of the first, a number or a tensor."""
        given = as_tensor(x).floating()
        sin, cos = self._angles(given, -2, self.d_model, offset)
        waves = sin.unsqueeze(-1).concatenate([cos.unsqueeze(-1)], -1)
        return given + waves.reshape((given.shape[-2], self.d_model))


class RotaryEmbedding(_Positions):
    """Queries or keys turned by angles that grow with the position p, a pair of features at a time:

    y_1 = x_1 cos(p r_i) - x_2 sin(p r_i), y_2 = x_1 sin(p r_i) + x_2 cos(p r_i) with
    r_i = base^(-2i / D), so that products of queries and keys depend on their distance alone.

    PyTorch has no such layer.

    Args:
        dim: D, features of a head; an even number.
        base: the longest wave is 2 pi base positions long.
        interleaved: whether pair i is the features 2i and 2i + 1, as in the paper, or i and
            D / 2 + i, as other models have it.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> rotary = nn.RotaryEmbedding(2)
        >>> rotary(np.ones((1, 2), np.float32), offset=3)
        tensor([[-1.1311, -0.8489]])

    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.
    """

    def __init__(self, dim: int, base: float = 10000.0, interleaved: bool = True) -> None:
        super().__init__("dim", dim, base)
        self.interleaved = interleaved

    def forward(self, x: Any, offset: Any = 0) -> Tensor:
        """[.., L, D] -> the same; `offset`: the position of the first, a number or a tensor."""
        given = as_tensor(x).floating()
        angles = self._angles(given, -2, self.dim, offset)
        # Both of a pair along an axis of their own.
        axis = -1 if self.interleaved else -2
        pairs = (self.dim // 2, 2) if self.interleaved else (2, self.dim // 2)
        sin, cos = (each.unsqueeze(axis) for each in angles)
        apart = given.reshape((*given.shape[:-1], *pairs))
        signs = np.array([-1.0, 1.0], given.dtype)
        signed = sin * (signs if self.interleaved else signs[:, np.newaxis])
        return (apart * cos + apart.flip((axis,)) * signed).reshape(given.shape)
