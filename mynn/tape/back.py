"""`backward` through the runs of a tape, without a node for each of their results."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from mynn.core.types import Array
from mynn.tape.derivative import Derivative
from mynn.tape.output import Later, Output
from mynn.tape.run import Run
from mynn.tape.trial import Trial
from mynn.tensor import Parameter, Tensor, enable_grad, no_grad
from mynn.tensor.backward import backward as backward_of
from mynn.tensor.history import accumulate

# So many tensors may go on by nodes.
_FEW = 8


class Link(NamedTuple):
    """A run, those of its results that a gradient comes by, its gradient program from them, and
    what gets gradients from it.
    """

    run: Run
    results: list[Tensor]
    derivative: Derivative
    inputs: list[Tensor]


def backward(loss: Tensor) -> bool | Trial:
    """Add the gradients of a result of one element, where they go to parameters, and to a few other
    tensors that go on by nodes, through nothing but results of programs whose gradients are
    programs; otherwise give False, or what was tried where a program is to be made after a while.

    The latest run goes first, with the gradients from all its results in one program.
    """
    if loss.pending is not None:
        loss.pending.settle(loss)
    ends: dict[int, Tensor] = {}
    links = _links(loss, ends)
    if not isinstance(links, list):
        return links
    cotangents: dict[int, Array] = {id(loss): np.ones(loss.shape, loss.dtype)}
    parameters: dict[int, Tensor] = {}
    for run, results, derivative, inputs in links:
        found = derivative.run(run, [cotangents.pop(id(one)) for one in results])
        for one, value in zip(inputs, found, strict=True):
            known = cotangents.get(id(one))
            if known is not None:
                known += value
                continue
            cotangents[id(one)] = value
            if isinstance(one, Parameter):
                parameters[id(one)] = one
    if ends:
        _go_on([(one, cotangents[identity]) for identity, one in ends.items()])
    with no_grad():
        for identity, parameter in parameters.items():
            accumulate(parameter, Tensor.from_value(cotangents[identity]))
    return True


def _go_on(ends: list[tuple[Tensor, Array]]) -> None:
    """Add the gradients of what goes on by nodes."""
    total: Any = None
    with enable_grad():
        for end, cotangent in ends:
            part = (end * Tensor.from_value(cotangent)).sum()
            total = part if total is None else total + part.astype(total.dtype)
    backward_of(total, Tensor.from_value(np.ones((), total.dtype)))


def _links(loss: Tensor, ends: dict[int, Tensor]) -> list[Link] | bool | Trial:
    """The runs that the gradient comes by, the latest first; False where much else is among them.
    What goes on by nodes comes into `ends`.
    """
    links: list[Link] = []
    reached: dict[int, tuple[Run, dict[int, Tensor]]] = {}
    later: list[int] = []
    new = [loss]
    while new or later:
        for tensor in new:
            output = _source(tensor)
            if output is None or output.run is None:
                if tensor is loss or len(ends) >= _FEW:
                    return False
                ends[id(tensor)] = tensor
                continue
            number = -output.run.number
            if number not in reached:
                reached[number] = output.run, {}
                heappush(later, number)
            reached[number][1][output.slot] = tensor
        if not later:
            break
        run, found = reached[heappop(later)]
        results = [found[slot] for slot in sorted(found)]
        kinds = {slot: found[slot].spec for slot in sorted(found)}
        derivative = run.derivative(kinds, further=bool(links))
        if type(derivative) is not Derivative:
            assert type(derivative) is Trial
            return derivative
        inputs: list[Any] = [
            run.externals[one] if isinstance(one, int) else one for one in derivative.inputs
        ]
        if not all(one.requires_grad for one in inputs):
            return False
        if run.changed(derivative) is not None:
            return False
        links.append(Link(run, results, derivative, inputs))
        new = [one for one in inputs if not isinstance(one, Parameter)]
    return links


def _source(tensor: Tensor) -> Output | None:
    """What is known of a result that is as a run made it; None of all other tensors."""
    output = tensor.pending
    if output is None or output.run is None or not tensor.requires_grad or tensor._version:
        return None
    base: Any = None
    if type(output) is Later:
        base = output.base
        base = base if base._view is None else base._view.base
    elif tensor._view is not None:
        base = tensor._view.base
    found: Output = output
    return None if output.run.fine or (base is not None and base._version) else found
