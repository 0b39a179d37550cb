"""`Parameter`: a tensor that training changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base import notices
from mynn.core.types import Array
from mynn.target.storage import allocate, axis_order
from mynn.tensor.promotion import as_array
from mynn.tensor.tensor import Tensor
from mynn.trace import tracing

_MADE = (
    "a parameter is made inside a compiled function: that happens once, while it is traced, and "
    "every call goes on with it, where Python would begin anew. Make networks outside"
)


class Parameter(Tensor):
    """A tensor that training changes: `requires_grad` is set.

    `order` lists the axes from the slowest to the fastest in memory; layers choose the order that
    suits the compiler. The value lies in padded storage, which native code uses as it is.

    Example:
        >>> import numpy as np
        >>> from mynn import Parameter
        >>> weight = Parameter(np.zeros((3, 2), np.float32), order=(1, 0))
        >>> weight.shape, weight.value.strides
        ((3, 2), (4, 16))
    """

    __slots__ = ()
    _is_state = True

    def __init__(
        self,
        data: Any,
        requires_grad: bool = True,
        *,
        dtype: Any = None,
        name: str | None = None,
        order: tuple[int, ...] | None = None,
    ) -> None:
        if tracing.active() is not None:
            notices.warn("made", _MADE)
        if type(data) is np.ndarray and data.dtype.kind == "f":
            self._take(as_array(data, dtype), requires_grad, name, order)
        else:
            super().__init__(data, dtype, requires_grad, name)
            self.to_native(order)

    def _take(
        self, array: Array, requires_grad: bool, name: str | None, order: tuple[int, ...] | None
    ) -> None:
        """What follows otherwise, with one copy."""
        storage = allocate(array.shape, array.dtype, axis_order(array) if order is None else order)
        storage[...] = array
        self._setup(storage, None, requires_grad, name)
        self.is_native = True

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
