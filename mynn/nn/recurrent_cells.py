"""Single steps of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import positive, truth
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.recurrent import GATES, cell
from mynn.nn.module import Module
from mynn.nn.placement import parameter_dtype
from mynn.nn.recurrent import mode_of
from mynn.random import host_generator
from mynn.target.storage import is_narrow
from mynn.tensor import Parameter, Tensor, as_tensor


class RNNCellBase(Module):
    """What the cells share; see `RNNCell`, `LSTMCell` and `GRUCell`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        chosen = parameter_dtype(name, device, dtype)
        self.input_size = positive(f"{name}: input_size", input_size)
        self.hidden_size = positive(f"{name}: hidden_size", hidden_size)
        self.bias = truth(f"{name}: bias", bias)
        gates = num_chunks * hidden_size
        order = None if is_narrow(gates) else (1, 0)
        self.weight_ih = Parameter(np.empty((gates, input_size), chosen), order=order)
        self.weight_hh = Parameter(np.empty((gates, hidden_size), chosen), order=order)
        self.bias_ih = Parameter(np.empty(gates, chosen)) if bias else None
        self.bias_hh = Parameter(np.empty(gates, chosen)) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw all weights anew, from U(-b, b) with b = 1 / sqrt(hidden_size)."""
        source = host_generator(generator)
        bound = self.hidden_size**-0.5
        for parameter in self.parameters():
            parameter.data = source.uniform(-bound, bound, parameter.shape)

    def _step(self, mode: str, input: Any, states: list[Any]) -> list[Tensor]:
        """The next states, of one step or of a batch of them."""
        x, dtype = as_tensor(input), self.weight_ih.dtype
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"the input must be [N, {self.input_size}] or [{self.input_size}], its "
                f"shape is {x.shape}"
            )
        wanted = (*x.shape[:-1], self.hidden_size)
        given = []
        for label, state in zip(("h_0", "c_0"), states, strict=False):
            part = Tensor(np.zeros(wanted, dtype)) if state is None else as_tensor(state)
            if part.shape != wanted:
                raise ShapeError(
                    f"{label} must be {wanted} for an input of shape {x.shape}, its shape "
                    f"is {part.shape}"
                )
            given.append(part.astype(dtype))
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        return list(cell(mode, x.astype(dtype), tuple(given), weights))

    def extra_repr(self) -> str:
        """As in PyTorch."""
        words = f"{self.input_size}, {self.hidden_size}"
        return words if self.bias else f"{words}, bias=False"


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu: one step of `RNN`.

    Args:
        input_size: extent of the last axis of x.
        hidden_size: H, the extent of h.
        bias: whether there are b_ih and b_hh.
        nonlinearity: "tanh" or "relu".
        device: "cpu" or None.
        dtype: float32 or float64; inputs are converted to it.

    Attributes: weight_ih [H, input_size], weight_hh [H, H], bias_ih, bias_hh [H] or None, from
    U(-b, b) with b = 1 / sqrt(H).

    Shapes: x [N, input_size] or [input_size], h [N, H] or [H] (zeros if left out), h' like h.

    Raises:
        ShapeError: another number of inputs, or another state.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.RNNCell(3, 5)(np.zeros((2, 3), np.float32)).shape
        (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        mode_of("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """x [N, input_size] -> h' [N, H]."""
        return self._step(mode_of("RNNCell", self.nonlinearity), input, [hx])[0]

    def extra_repr(self) -> str:
        """As in PyTorch."""
        words = super().extra_repr()
        return words if self.nonlinearity == "tanh" else f"{words}, nonlinearity=relu"


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: (h, c) -> (h', c').

    Args:
        input_size, hidden_size, bias, device, dtype: as in `RNNCell`.

    Attributes: weight_ih [4 H, input_size], weight_hh [4 H, H], bias_ih, bias_hh [4 H] or None, in
    the order i, f, g, o.

    Shapes: x [N, input_size] or [input_size], h and c [N, H] or [H] (zeros if left out).

    Raises:
        ShapeError: another number of inputs, or another state.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> h, c = nn.LSTMCell(3, 5)(np.zeros((2, 3), np.float32))
        >>> h.shape, c.shape
        ((2, 5), (2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, GATES["LSTM"], device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """x [N, input_size] -> h' and c', [N, H]."""
        states = [None, None] if hx is None else hx
        if not isinstance(states, tuple | list) or len(states) != 2:
            raise ArgumentError(
                f"LSTMCell: hx must be a pair (h_0, c_0), it is {type(hx).__name__}"
            )
        h, c = self._step("LSTM", input, list(states))
        return h, c


class GRUCell(RNNCellBase):
    """One step of `GRU`.

    Args:
        input_size, hidden_size, bias, device, dtype: as in `RNNCell`.

    Attributes: weight_ih [3 H, input_size], weight_hh [3 H, H], bias_ih, bias_hh [3 H] or None, in
    the order r, z, n.

    Shapes: as in `RNNCell`.

    Raises:
        ShapeError: another number of inputs, or another state.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.GRUCell(3, 5)(np.zeros((2, 3), np.float32)).shape
        (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, GATES["GRU"], device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """x [N, input_size] -> h' [N, H]."""
        return self._step("GRU", input, [hx])[0]
