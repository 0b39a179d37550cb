"""What a constructor records: the lists of the report, and the forward pass that is going on.

Lists have index 0 for the input and 1..lt for the layers (a layer is a `linear` with the activation
that follows it). For one sample values have no batch axis, for a batch of B samples they have one:

    x[k]              output of layer k, x[0] the input          (n_k,)  or (B, n_k)
    s[k]              the same before the activation             (n_k,)  or (B, n_k)
    w[k], b[k]        weights and biases, live views             (n_k, n_k-1) and (n_k,)
    dl_dx[k]          gradient of the loss by x[k]               as x[k]
    dl_ds[k]          gradient of the loss by s[k]               as s[k]
    dl_dw[k], dl_db[k]  gradients by w[k] and b[k], summed over the batch   as w[k] and b[k]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import UsageError
from mynn.tensor import Tensor

Recorded = list[Any]


def memory_of(tensor: Tensor) -> Array:
    """The array of an eager tensor, to be read and changed in place."""
    value = tensor.value
    assert value is not None
    return value


class Record:
    """The attributes of a constructor, and the rules by which tool modules fill them."""

    def __init__(self, dtype: Any, seed: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.generator = np.random.default_rng(seed)
        self.criterion: Any = None
        self.target: Array | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the network: no layers, nothing recorded. Layers keep their parameters."""
        self.layers: list[Any] = []
        self.x: Recorded = [None]
        self.s: Recorded = [None]
        self.w: Recorded = [None]
        self.b: Recorded = [None]
        self.dl_dw: Recorded = [None]
        self.dl_db: Recorded = [None]
        self.dl_ds: Recorded = [None]
        self.dl_dx: Recorded = [None]
        self.lt = 0
        self.ln = 0
        self.ini = False
        self._passed: list[tuple[Any, Tensor, Tensor]] = []
        self._given: Any = None
        # The tools of a forward pass that ran as one program.
        self._replay: tuple[Any, ...] = ()
        # The layer whose activation has been gone back through, so that dl_ds holds its derivative.
        self._derived = 0

    def l_counter(self) -> int:
        """Count one more `linear`: called by its `ini`. Returns the number of layers, `lt`."""
        self.lt += 1
        return self.lt

    def append(self, layer: Any, weight: Array, bias: Array) -> None:
        """Add a layer's parameters, and places for what will be recorded of it."""
        self.l_counter()
        self.layers.append(layer)
        self.w.append(weight)
        self.b.append(bias)
        for entries in (self.x, self.s, self.dl_dw, self.dl_db, self.dl_ds, self.dl_dx):
            entries.append(None)
        self.ini = True

    def enter(self, tools: tuple[Any, ...], layers: tuple[Any, ...], target: Array | None) -> None:
        """Make a checked sequence the constructor's network, and its target the present one."""
        if len(layers) != len(self.layers) or any(
            a is not b for a, b in zip(layers, self.layers, strict=True)
        ):
            self.clear()
        for tool in tools:
            tool.ini()
        for layer in layers:
            layer.adopt()
        self.target = target

    # -- a pass through the tools ------------------------------------------------------------------

    def start(self, input: Array, given: Any) -> None:
        """Begin a forward pass; `given` is the object that the caller handed over as input."""
        self.x[0] = input
        self.ln = 0
        self._given = given
        self._passed.clear()
        self._replay = ()
        self._derived = 0

    def step_forward(self, tool: Any) -> Array:
        """Run `tool.operation` on x[ln], remember it for the way back, and return its value."""
        before = Tensor.from_value(self.x[self.ln])
        before.requires_grad = True
        after = tool.operation(before)
        self._passed.append((tool, before, after))
        return memory_of(after)

    def step_back(self, tool: Any, gradient: Array) -> Array:
        """Gradient by the tool's input from the gradient by its output, through the engine."""
        _, before, after = self._passed.pop()
        after.backward(gradient)
        assert before.grad is not None
        return memory_of(before.grad)

    def require_last(self, tool: Any) -> None:
        """Raise unless `tool` is the one that the backward pass has to go through next."""
        if self._replay:
            for one in self._replay:
                one.forward(self.x[0])
        if not self._passed:
            raise UsageError(
                f"{tool}: backward without a forward pass to go back through; call forward first"
            )
        if self._passed[-1][0] is not tool:
            raise UsageError(
                f"{tool}: backward must go back through the tools in reverse order; "
                f"the next one is {self._passed[-1][0]}"
            )

    def derivative(self, value: Array) -> None:
        """Note the derivative of an activation of layer ln in dl_ds[ln]."""
        again = self._derived == self.ln
        self.dl_ds[self.ln] = self.dl_ds[self.ln] * value if again else value
        self._derived = self.ln

    def gradient_of_s(self) -> Array:
        """dl_ds[ln] = dl_ds[ln] ⊗ dl_dx[ln]; without an activation the derivative is 1."""
        self.derivative(self.dl_dx[self.ln])
        self._derived = 0
        gradient: Array = self.dl_ds[self.ln]
        return gradient

    def is_given(self, value: Any) -> bool:
        """Whether `value` is the object that began this pass."""
        return value is self._given
