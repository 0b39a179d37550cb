"""`autograd.grad`: gradients of results with respect to some tensors, returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained, shown
from mynn.base.recording import run_at_once
from mynn.core import autodiff
from mynn.core.graph import Node
from mynn.errors import ArgumentError, ArgumentTypeError, ShapeError, UsageError
from mynn.tensor import (
    Tensor,
    as_tensor,
    check_present,
    enable_grad,
    graph_node,
    no_grad,
    wrap,
)


@explained
def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The sum of the gradients of outputs with respect to each input; `.grad` stays as it is.

    result[i] = sum over j of grad_outputs[j] d outputs[j] / d inputs[i]

    Args:
        outputs: a tensor or several.
        inputs: a tensor or several, that outputs were computed from.
        grad_outputs: the cotangent of each output; may be None where it is one number.
        retain_graph: has no effect: what was recorded stays as long as somebody holds a result.
        create_graph: the gradients can be differentiated again.
        allow_unused: None for an input that outputs do not depend on, instead of an error.
        is_grads_batched: not there.
        materialize_grads: zeros for such an input.

    Raises:
        UsageError: an input that needs no gradient, or that outputs do not depend on.
        ShapeError: a cotangent of another shape.

    Example:
        >>> import mynn
        >>> x = mynn.Tensor([3.0], requires_grad=True)
        >>> (slope,) = mynn.autograd.grad((x * x * x).sum(), x, create_graph=True)
        >>> (curvature,) = mynn.autograd.grad(slope.sum(), x)
        >>> slope.item(), curvature.item()
        (27.0, 18.0)
    """
    if is_grads_batched:
        raise UsageError(
            "grad: is_grads_batched is not there; call grad for each cotangent, or use "
            "autograd.functional.jacobian"
        )
    given, wanted = _tensors("outputs", outputs), _tensors("inputs", inputs)
    seeds = _seeds(given, grad_outputs)
    unused = materialize_grads if allow_unused is None else allow_unused
    if materialize_grads and not unused:
        raise ArgumentError("grad: materialize_grads needs allow_unused; leave allow_unused out")
    for number, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise UsageError(
                f"grad: input {number} does not require a gradient; call requires_grad_() on it "
                "before outputs are computed"
            )
    found = _reverse(given, seeds, wanted, create_graph)
    for number, gradient in enumerate(found):
        if gradient is None and not unused:
            raise UsageError(
                f"grad: outputs do not depend on input {number}, of shape "
                f"{wanted[number].shape}; leave it out, or give allow_unused=True to get None"
            )
    if not materialize_grads:
        return tuple(found)
    return tuple(
        as_tensor(np.zeros(x.shape, x.dtype)) if gradient is None else gradient
        for gradient, x in zip(found, wanted, strict=True)
    )


@run_at_once
def _reverse(
    outputs: Sequence[Tensor], seeds: Sequence[Tensor], inputs: Sequence[Tensor], again: bool
) -> list[Tensor | None]:
    nodes = [graph_node(x) for x in inputs]
    chosen = set(nodes)
    cotangents: dict[Node, Any] = {}
    with enable_grad() if again else no_grad():
        for output, seed in zip(outputs, seeds, strict=True):
            node = graph_node(output)
            cotangents[node] = cotangents[node] + seed if node in cotangents else seed
        reached = autodiff.reverse(cotangents, chosen.__contains__, wrap)
        found = [reached.get(node) for node in nodes]
        check_present([one for one in found if one is not None])
        return [one if one is None or again else one.detach() for one in found]


def _tensors(name: str, given: Any) -> list[Tensor]:
    found = [given] if isinstance(given, Tensor) else list(given)
    for one in found:
        if not isinstance(one, Tensor):
            raise ArgumentTypeError(
                f"grad: {name} must be tensors, one is {shown(one)}; give what was computed, and "
                "what it was computed from"
            )
    if not found:
        raise ArgumentError(f"grad: {name} is empty; give at least one tensor")
    return found


def _seeds(outputs: Sequence[Tensor], given: Any) -> list[Tensor]:
    """The cotangent of each output."""
    parts = list(given) if isinstance(given, list | tuple) else [given] * len(outputs)
    if len(parts) != len(outputs):
        raise ArgumentError(
            f"grad: there are {len(outputs)} outputs and {len(parts)} grad_outputs; give one for "
            "each"
        )
    found = []
    for number, (output, part) in enumerate(zip(outputs, parts, strict=True)):
        if not output.requires_grad:
            raise UsageError(
                f"grad: output {number} does not require a gradient: nothing that it was computed "
                "from does; set requires_grad=True there"
            )
        if part is None and output.numel() != 1:
            raise UsageError(
                f"grad: output {number} has shape {output.shape}; grad can be implicitly created "
                "only for scalar outputs: reduce it with .sum(), or give grad_outputs"
            )
        seed = as_tensor(np.ones(output.shape, output.dtype)) if part is None else as_tensor(part)
        if seed.shape != output.shape:
            raise ShapeError(
                f"grad: output {number} has shape {output.shape}, its grad_outputs {seed.shape}; "
                "they must be equal"
            )
        found.append(seed.astype(output.dtype))
    return found
