"""`optimizer_sgd`: stochastic gradient descent on the parameters of a constructor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mynn.base.arguments import in_range, positive
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.report.toolbox.checks import real_array
from mynn.report.toolbox.programs import Programs
from mynn.report.toolbox.tools import linear, require_constructor
from mynn.tensor import Parameter, Tensor, no_grad


class optimizer_sgd:
    """Stochastic gradient descent.

        w[k] <- w[k] - lr dl_dw[k],   b[k] <- b[k] - lr dl_db[k]     for every layer k

    Args:
        lr: learning rate, 0 or more. `optimizer.lr = ...` changes it later.
        model: the constructor.
        freeze: layers that are not updated: their numbers, or "output" for the last one. The
            report's text updates every layer, which is the default; its reference program never
            updated the output layer, so `freeze="output"` gives the published Table 1.

    Raises:
        ArgumentError: lr is negative, NaN or infinite; a frozen layer does not exist.
        UsageError: `model` is no constructor.

    Example:
        >>> from mynn.module import *
        >>> net = model(seed=0)
        >>> criterion = criterion_mse(net)
        >>> sequence = [linear(2, 2, net, criterion), sigmoid(net)]
        >>> optimizer = optimizer_sgd(0.1, net)
        >>> output = net.train(sequence, [0.2, 0.4], [1.0, 0.0])
        >>> optimizer.update()

    Source: the report, section 1.2.
    """

    def __init__(self, lr: float, model: Any, freeze: str | int | Iterable[int] = ()) -> None:
        self.model = require_constructor(model, "optimizer_sgd(lr, model)")
        rate = in_range("the learning rate", lr, 0.0)
        self.freeze = _frozen(freeze)
        self._programs = Programs()
        # A tensor, so that a compiled program reads it and need not be made anew when it changes.
        self._rate = Tensor(np.asarray(rate, self.model.dtype), name="lr")

    def __repr__(self) -> str:
        return f"optimizer_sgd(lr={self.lr:g}, freeze={self.freeze!r})"

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self._rate.item())

    @lr.setter
    def lr(self, value: float) -> None:
        self._rate.assign(np.asarray(in_range("the learning rate", value, 0.0), self.model.dtype))

    def free_layers(self, layers: list[linear]) -> list[linear]:
        """Those of `layers` that are updated."""
        numbers = (len(layers),) if self.freeze == "output" else self.freeze
        for number in numbers:
            if number not in range(1, len(layers) + 1):
                raise ArgumentError(
                    f"optimizer_sgd: there is no layer {number} to freeze; they are "
                    f"1..{len(layers)}"
                )
        return [layer for k, layer in enumerate(layers, 1) if k not in numbers]

    def step(self, layers: list[linear]) -> None:
        """Update the parameters of `layers` by their gradients in the engine; it can be traced."""
        with no_grad():
            for layer in layers:
                for parameter in layer.parameters:
                    if parameter.grad is not None:
                        parameter.assign(parameter - self._rate * parameter.grad)

    def update(self) -> None:
        """Update w and b by dl_dw and dl_db, as the constructor holds them.

        Raises:
            UsageError: there are no gradients: no training with a target and a criterion yet.
            ShapeError: a gradient has been given another shape.
        """
        model = self.model
        layers = self.free_layers(model.layers)
        if not model.layers or any(model.dl_dw[layer.index] is None for layer in layers):
            raise UsageError(
                "optimizer_sgd.update: there are no gradients yet; train with a target and a "
                "criterion first"
            )
        gradients = [one for layer in layers for one in self._gradients(layer)]
        for layer in layers:
            layer.adopt()
        program = self._programs.get(tuple(map(id, layers)), layers, lambda: self._apply(layers))
        (program or self._apply(layers))(*gradients)

    def _apply(self, layers: list[linear]) -> Callable[..., Any]:
        """The update as a function of the gradients of all parameters of `layers`."""
        parameters = [parameter for layer in layers for parameter in layer.parameters]

        def run(*gradients: Any) -> None:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            self.step(layers)
            for parameter in parameters:
                parameter.grad = None

        return run

    def _gradients(self, layer: linear) -> list[Array]:
        k, model = layer.index, self.model
        weight, bias = layer.parameters
        return [
            self._checked(f"dl_dw[{k}]", model.dl_dw[k], weight, layer),
            self._checked(f"dl_db[{k}]", model.dl_db[k], bias, layer),
        ]

    def _checked(self, name: str, value: Any, parameter: Parameter, layer: linear) -> Array:
        dtype, shape = self.model.dtype, parameter.shape
        if type(value) is not np.ndarray or value.dtype != dtype or not np.isfinite(value).all():
            value = real_array(value, f"{name} of {layer}", dtype)
        if value.shape != shape:
            raise ShapeError(f"{name} of {layer} must be of shape {shape}, it is {value.shape}")
        checked: Array = value
        return checked


def _frozen(freeze: str | int | Iterable[int]) -> str | tuple[int, ...]:
    if isinstance(freeze, str):
        if freeze != "output":
            raise ArgumentError(f"freeze takes layer numbers or 'output', it was given {freeze!r}")
        return freeze
    numbers = (freeze,) if isinstance(freeze, int | np.integer) else tuple(freeze)
    return tuple(positive("freeze: a layer's number", number) for number in numbers)
