"""`backward` through the runs of a tape, without a node for each of their results."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mynn.core.types import Array
from mynn.tape.derivative import Derivative
from mynn.tape.run import Run
from mynn.tensor import Parameter, Tensor, no_grad
from mynn.tensor.history import accumulate


class Link(NamedTuple):
    """A result, the run that made it, its gradient program, and what gets gradients from it."""

    run: Run
    derivative: Derivative
    inputs: list[Tensor]


def backward(loss: Tensor) -> bool:
    """Add the gradients of a result of one element, where they go to parameters alone, through
    nothing but results of programs whose gradients are programs; otherwise give False.

    The sums are those of the walk over nodes, in the same order.
    """
    if loss.pending is not None:
        loss.pending.settle(loss)
    links = _links(loss)
    if links is None:
        return False
    cotangents: dict[int, Array] = {id(loss): np.ones(loss.shape, loss.dtype)}
    parameters: dict[int, Tensor] = {}
    for identity, link in reversed(links.items()):
        found = link.derivative.run(link.run, cotangents.pop(identity))
        for one, value in zip(link.inputs, found, strict=True):
            known = cotangents.get(id(one))
            if known is not None:
                known += value
                continue
            cotangents[id(one)] = value
            if isinstance(one, Parameter):
                parameters[id(one)] = one
    with no_grad():
        for identity, parameter in parameters.items():
            accumulate(parameter, Tensor.from_value(cotangents[identity]))
    return True


def _links(loss: Tensor) -> dict[int, Link] | None:
    """By identity all results that the gradient comes by, each after what it was made from; None
    where something else is among them.
    """
    done: dict[int, Link] = {}
    seen: dict[int, Link] = {}
    stack = [loss]
    while stack:
        tensor = stack[-1]
        identity = id(tensor)
        if identity not in done:
            link = seen.get(identity) or _link(tensor)
            if link is None:
                return None
            seen[identity] = link
            before = [
                one for one in link.inputs if not isinstance(one, Parameter) and id(one) not in done
            ]
            if before:
                stack += before[::-1]
                continue
            done[identity] = link
        stack.pop()
    return done


def _link(tensor: Tensor) -> Link | None:
    output, view = tensor.pending, tensor._view
    if output is None or output.run is None or not tensor.requires_grad:
        return None
    if tensor._version or (view is not None and view.base._version):
        return None  # changed in place since
    run = output.run
    derivative = None if run.fine else run.derivative(tensor, output.slot)
    if derivative is None:
        return None
    inputs: list[Any] = [
        run.externals[one] if isinstance(one, int) else one for one in derivative.inputs
    ]
    if not all(one.requires_grad for one in inputs) or run.changed(derivative.needed) is not None:
        return None
    return Link(run, derivative, inputs)
