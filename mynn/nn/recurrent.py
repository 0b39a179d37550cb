"""Recurrent layers over sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base import notices
from mynn.base.arguments import flag, positive, whole_number
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional.recurrent import GATES, recurrent
from mynn.nn.module import Module
from mynn.nn.placement import parameter_dtype
from mynn.nn.utils.packed import PackedSequence, lengths_of, packed_like, padded
from mynn.random import host_generator
from mynn.target.storage import is_narrow
from mynn.tensor import Parameter, Tensor, as_tensor


class RNNBase(Module):
    """What recurrent layers share; see `RNN`, `LSTM` and `GRU`."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if mode not in GATES:
            raise ArgumentError(f"{name}: mode must be one of {', '.join(GATES)}, it is {mode!r}")
        chosen = parameter_dtype(name, device, dtype)
        self.mode = mode
        self.input_size = positive(f"{name}: input_size", input_size)
        self.hidden_size = positive(f"{name}: hidden_size", hidden_size)
        self.num_layers = positive(f"{name}: num_layers", num_layers)
        self.bias = flag(f"{name}: bias", bias)
        self.batch_first = flag(f"{name}: batch_first", batch_first)
        self.dropout = _probability(name, dropout)
        self.bidirectional = flag(f"{name}: bidirectional", bidirectional)
        self.proj_size = _projected(name, mode, proj_size, hidden_size)
        if self.dropout and num_layers == 1:
            notices.warn(
                "dropout",
                f"{name}: dropout is applied after all layers but the last one, so that "
                f"dropout={self.dropout} does nothing with num_layers=1; give more layers, or "
                "dropout=0",
                category=UserWarning,
            )
        for layer in range(num_layers):
            for suffix in self._suffixes():
                self._make_weights(f"l{layer}{suffix}", layer, chosen)
        self.reset_parameters()

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _make_weights(self, end: str, layer: int, dtype: np.dtype[Any]) -> None:
        gates = GATES[self.mode] * self.hidden_size
        out = self.proj_size or self.hidden_size
        width = out * len(self._suffixes()) if layer else self.input_size
        shapes: dict[str, tuple[int, ...]] = {}
        shapes |= {"weight_ih": (gates, width), "weight_hh": (gates, out)}
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            order = (1, 0) if len(shape) == 2 and not is_narrow(shape[0]) else None
            setattr(self, f"{name}_{end}", Parameter(np.empty(shape, dtype), order=order))

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw all weights anew, from U(-b, b) with b = 1 / sqrt(hidden_size)."""
        source = host_generator(generator)
        bound = self.hidden_size**-0.5
        for parameter in self.parameters():
            parameter.data = source.uniform(-bound, bound, parameter.shape)

    def flatten_parameters(self) -> None:
        """Nothing: the weights lie as the compiler wants them."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """For each layer and direction its weights."""
        rows = [[weight for weight in row if weight is not None] for row in self._weights()]
        return rows

    def _weights(self) -> list[tuple[Any, ...]]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [
            tuple([self._parameters.get(f"{name}_l{layer}{suffix}") for name in names])
            for layer in range(self.num_layers)
            for suffix in self._suffixes()
        ]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The outputs of all steps, and the last states."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        x = as_tensor(input)
        if x.ndim not in (2, 3):
            raise ShapeError(
                f"the input must have 2 axes (one sequence [L, input_size]) or 3 "
                f"([L, N, input_size], with batch_first [N, L, input_size]), its shape is {x.shape}"
            )
        self._check_width(x)
        batched = x.ndim == 3
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.permute((1, 0, 2))
        y, last = self._run(x, self._state(x, hx, batched), None)
        if not batched:
            return y.squeeze(1), self._returned([part.squeeze(1) for part in last])
        return y.permute((1, 0, 2)) if self.batch_first else y, self._returned(list(last))

    def _check_width(self, x: Tensor) -> None:
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"the last axis of the input must hold input_size={self.input_size} "
                f"values, its shape is {x.shape}"
            )
        if x.dtype.kind != "f":
            raise DTypeError(
                f"the input must hold floats, it is {x.dtype}; convert it, or look up an Embedding"
            )

    def _run(self, x: Tensor, state: tuple[Tensor, ...], lengths: Any) -> Any:
        return recurrent(
            self.mode,
            x.astype(self._dtype()),
            state,
            self._weights(),
            self.bidirectional,
            self.dropout,
            self.training,
            lengths,
        )

    def _dtype(self) -> np.dtype[Any]:
        first: Parameter = self.weight_ih_l0
        return first.dtype

    def _state(self, x: Tensor, hx: Any, batched: bool) -> tuple[Tensor, ...]:
        """The states before the first step, [layers * directions, N, H] each."""
        count = self.num_layers * len(self._suffixes())
        sizes = [self.proj_size or self.hidden_size]
        if self.mode == "LSTM":
            sizes.append(self.hidden_size)
        n = x.shape[1]
        if hx is None:
            return tuple([Tensor(np.zeros((count, n, size), self._dtype())) for size in sizes])
        given = hx if self.mode == "LSTM" else (hx,)
        if not isinstance(given, tuple | list) or len(given) != len(sizes):
            raise ArgumentError(f"hx must be a pair (h_0, c_0), it is {type(hx).__name__}")
        states = []
        for name, part, size in zip(("h_0", "c_0"), map(as_tensor, given), sizes, strict=False):
            wanted = (count, n, size) if batched else (count, size)
            if part.shape != wanted:
                raise ShapeError(
                    f"{name} must be {wanted}, for {count} layers times directions"
                    + (f", a batch of {n}" if batched else ", one sequence")
                    + f" and {size} values; its shape is {part.shape}"
                )
            part = part.astype(self._dtype())
            states.append(part if batched else part.unsqueeze(1))
        return tuple(states)

    def _returned(self, last: list[Tensor]) -> Any:
        return tuple(last) if self.mode == "LSTM" else last[0]

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """Sequences of several lengths: they run in the order of their lengths."""
        lengths = lengths_of(input)
        x = padded(input)
        self._check_width(x)
        state = self._state(x, hx, True)
        if hx is not None and input.sorted_indices is not None:
            state = tuple([part[:, input.sorted_indices] for part in state])
        y, last = self._run(x, state, as_tensor(lengths))
        if input.unsorted_indices is not None:
            last = tuple([part[:, input.unsorted_indices] for part in last])
        return packed_like(input, y), self._returned(list(last))

    def extra_repr(self) -> str:
        """As in PyTorch."""
        words = [f"{self.input_size}, {self.hidden_size}"]
        usual = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        words += [
            f"{name}={getattr(self, name)}"
            for name, value in usual.items()
            if getattr(self, name) != value
        ]
        return ", ".join(words)


def _probability(layer: str, value: Any) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not 0 <= value <= 1:
        raise ArgumentError(
            f"{layer}: dropout must be a number from 0 to 1, the probability of a value to be 0, "
            f"it is {value!r}"
        )
    return float(value)


def _projected(layer: str, mode: str, size: int, hidden: int) -> int:
    size = whole_number(f"{layer}: proj_size", size)
    if size and mode != "LSTM":
        raise ArgumentError(f"{layer}: proj_size={size} is there for LSTM alone")
    if not 0 <= size < hidden:
        raise ArgumentError(
            f"{layer}: proj_size must be less than hidden_size={hidden}, and 0 for no projection; "
            f"it is {size}"
        )
    return size


class RNN(RNNBase):
    """h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t-1] + b_hh), or relu.

    Args:
        input_size: extent of the last axis of x.
        hidden_size: H, the extent of h.
        num_layers: layers one above the other: the x of the next is the h of the one below.
        nonlinearity: "tanh" or "relu".
        bias: whether there are b_ih and b_hh.
        batch_first: whether x and y are [N, L, ..] instead of [L, N, ..].
        dropout: in training each h below the last layer is 0 with this probability, see `Dropout`.
        bidirectional: whether a second layer reads from the end; y has the h of both, D = 2.
        device: "cpu" or None.
        dtype: float32 or float64; inputs are converted to it.

    Attributes: weight_ih_l0 [H, input_size], weight_hh_l0 [H, H], bias_ih_l0, bias_hh_l0 [H], for
    layer 0; for others l1...; weight_ih_l0_reverse... for the second direction. All start from
    U(-b, b) with b = 1 / sqrt(H).

    Shapes: x [L, N, input_size] or [L, input_size], h_0 [D num_layers, N, H] (zeros if left out);
    y [L, N, D H], h_n like h_0. x may be a `PackedSequence`, y is one then.

    Raises:
        ShapeError: another number of inputs, or of states.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> y, h = nn.RNN(3, 5)(np.zeros((7, 2, 3), np.float32))
        >>> y.shape, h.shape
        ((7, 2, 5), (1, 2, 5))

    Source: Elman 1990, https://doi.org/10.1207/s15516709cog1402_1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        mode = mode_of("RNN", nonlinearity)
        options = bias, batch_first, dropout, bidirectional, 0, device, dtype
        super().__init__(mode, input_size, hidden_size, num_layers, *options)
        self.nonlinearity = nonlinearity


def mode_of(layer: str, nonlinearity: Any) -> str:
    """The mode of an `RNN` with this nonlinearity."""
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(
            f'{layer}: nonlinearity must be "tanh" or "relu", it is {nonlinearity!r}'
        )
    return f"RNN_{nonlinearity.upper()}"


class LSTM(RNNBase):
    """Long short-term memory.

    i, f, o = sigmoid(W_i. x[t] + b_i. + W_h. h[t-1] + b_h.), g = tanh(likewise),
    c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]); with `proj_size` h[t] = W_hr (o tanh(c[t])).

    Args:
        proj_size: P, the extent of h where it is projected, 0 for none.
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device,
            dtype: as in `RNN`.

    Attributes: weight_ih_l0 [4 H, input_size], weight_hh_l0 [4 H, H or P], bias_ih_l0, bias_hh_l0
    [4 H], in the order i, f, g, o; weight_hr_l0 [P, H]; further layers as in `RNN`.

    Shapes: x and y as in `RNN`, with P in the place of H where h is projected; the state is a pair
    (h, c), c [D num_layers, N, H].

    Raises:
        ShapeError: another number of inputs, or of states.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> y, (h, c) = nn.LSTM(3, 5, batch_first=True)(np.zeros((2, 7, 3), np.float32))
        >>> y.shape, h.shape, c.shape
        ((2, 7, 5), (1, 2, 5), (1, 2, 5))

    Source: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; Gers et al.
    2000, https://doi.org/10.1162/089976600300015015.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        super().__init__("LSTM", input_size, hidden_size, num_layers, *options)


class GRU(RNNBase):
    """Gated recurrent unit.

    r, z = sigmoid(W_i. x[t] + b_i. + W_h. h[t-1] + b_h.),
    n = tanh(W_in x[t] + b_in + r (W_hn h[t-1] + b_hn)), h[t] = (1 - z) n + z h[t-1].

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device,
            dtype: as in `RNN`.

    Attributes: weight_ih_l0 [3 H, input_size], weight_hh_l0 [3 H, H], bias_ih_l0, bias_hh_l0 [3 H],
    in the order r, z, n; further layers as in `RNN`.

    Shapes: as in `RNN`.

    Raises:
        ShapeError: another number of inputs, or of states.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> y, h = nn.GRU(3, 5)(np.zeros((7, 2, 3), np.float32))
        >>> y.shape, h.shape
        ((7, 2, 5), (1, 2, 5))

    Source: Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        options = bias, batch_first, dropout, bidirectional, 0, device, dtype
        super().__init__("GRU", input_size, hidden_size, num_layers, *options)
