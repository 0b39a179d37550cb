"""A pass through all tools at once, as functions that can be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core import autodiff
from mynn.core.graph import Node
from mynn.core.types import Array
from mynn.report.toolbox.sequence import Arguments
from mynn.report.toolbox.tools import criterion_mse, linear, logistic, relu, sigmoid, tanh
from mynn.tensor import Tensor, graph_node, wrap

# What other tools compute may depend on attributes that a program would not see change.
KNOWN = (linear, sigmoid, tanh, logistic, relu)


def is_known(checked: Arguments) -> bool:
    """Whether all tools are this package's own, whose operations depend on their values alone."""
    return all(type(tool) in KNOWN for tool in checked.tools) and (
        checked.criterion is None or type(checked.criterion) is criterion_mse
    )


def forward_pass(checked: Arguments) -> Callable[..., Any]:
    """A function of the input that gives {"x": ..., "s": ...} of the layers."""

    def run(x: Tensor) -> dict[str, list[Tensor]]:
        outputs, before = _forward(checked, x)
        return {"x": outputs, "s": before}

    return run


def whole_pass(checked: Arguments) -> Callable[..., Any]:
    """A function of input and target that gives a list by layers for each recorded quantity.

    dl_dx begins with the gradient by the input.
    """
    criterion = checked.criterion
    assert criterion is not None

    def run(x: Tensor, target: Tensor) -> dict[str, list[Tensor]]:
        outputs, before = _forward(checked, x)
        loss = criterion.operation(outputs[-1], target)
        weights, biases = zip(*(layer.parameters for layer in checked.layers), strict=True)
        leaves = {graph_node(leaf) for leaf in (x, *weights, *biases)}
        seed = Tensor(np.ones((), loss.dtype))
        found = autodiff.reverse({graph_node(loss): seed}, leaves.__contains__, wrap)
        return {
            "x": outputs,
            "s": before,
            "dl_dx": _pick(found, [x, *outputs]),
            "dl_ds": _pick(found, before),
            "dl_dw": _pick(found, weights),
            "dl_db": _pick(found, biases),
        }

    return run


def _forward(checked: Arguments, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    outputs: list[Tensor] = []
    before: list[Tensor] = []
    for tool in checked.tools:
        x = tool.operation(x)
        if isinstance(tool, linear):
            outputs.append(x)
            before.append(x)
        outputs[-1] = x
    return outputs, before


def _pick(found: dict[Node, Any], tensors: Any) -> list[Tensor]:
    return [found[graph_node(tensor)] for tensor in tensors]


def store(record: Any, values: dict[str, list[Array]]) -> None:
    """Put the results of a program into the constructor's lists."""
    for name, entries in values.items():
        first = 0 if name == "dl_dx" else 1
        getattr(record, name)[first:] = entries
