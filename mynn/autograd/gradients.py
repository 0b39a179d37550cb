"""`grad`: gradients of some tensors by others, as values; `backward`: of several into `.grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn.base import forks, recording
from mynn.base.arguments import explained, shown
from mynn.base.recording import run_at_once
from mynn.core import autodiff
from mynn.core.graph import Node, topological
from mynn.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, UsageError
from mynn.tensor import Tensor, as_tensor, check_present, enable_grad, graph_node, no_grad, wrap
from mynn.tensor.gradients.history import (
    arrived,
    inside,
    inside_hooked,
    leads_to,
    make_node_by_call,
    tensor_of,
)
from mynn.trace import tracing
from mynn.transform.vmap import vmap


@explained
def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The sums over the outputs y of v^T dy/dx, for each input x.

    Args:
        outputs: a tensor or a sequence of tensors, computed from the inputs.
        inputs: a tensor or a sequence of tensors that require a gradient: leaves, or results on
            the way to the outputs.
        grad_outputs: the cotangents v, of the shapes of the outputs; None stands for 1, where an
            output has one element.
        create_graph: whether the gradients can be differentiated again.
        allow_unused: give None for an input that no output depends on, instead of an error.
        materialize_grads: give zeros for it.
        is_grads_batched: the cotangents have an axis more in front, and so have the gradients: one
            for each cotangent, all computed at once (`mynn.vmap`).
        retain_graph, only_inputs: taken, without effect: graphs last as long as their tensors.

    Nothing is added to `.grad`. Values as eager calls, in traces too.

    Raises:
        UsageError: an input that no output depends on; a value that is needed was changed.
        ShapeError: a cotangent of another shape, or none for an output of several elements.
        DTypeError, ArgumentError: an input that requires no gradient; what is no tensor.

    Example:
        >>> import mynn
        >>> x = mynn.tensor([1.0, 2.0], requires_grad=True)
        >>> (slope,) = mynn.autograd.grad((x**3).sum(), x, create_graph=True)
        >>> (bend,) = mynn.autograd.grad(slope.sum(), x)
        >>> slope.tolist(), bend.tolist()
        ([3.0, 12.0], [6.0, 12.0])
    """
    tape = recording.current.tape
    if tape is not None and not is_grads_batched:
        ends, starts, seeds = (_listed(one) for one in (outputs, inputs, grad_outputs))
        if ends and starts and (seeds or grad_outputs is None):
            options = {
                "create_graph": create_graph,
                "allow_unused": allow_unused,
                "materialize_grads": materialize_grads,
            }
            found: tuple[Tensor | None, ...] | None
            found = tape.gradients(_at_once, ends, starts, seeds, options)
            if found is not None:
                return found
    if tape is not None:
        recording.settle(())  # what waits may assign to what the outputs were computed from
    return _at_once(
        outputs,
        inputs,
        grad_outputs,
        create_graph,
        allow_unused,
        is_grads_batched,
        materialize_grads,
    )


def _listed(given: Any) -> list[Tensor] | None:
    """One or several tensors; None where they are something else."""
    found = [given] if isinstance(given, Tensor) else given
    plain = isinstance(found, list | tuple) and all(isinstance(one, Tensor) for one in found)
    return list(found) if plain else None


@run_at_once
def _at_once(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    if materialize_grads and allow_unused is False:
        raise ArgumentError("materialize_grads=True needs allow_unused; leave that out")
    ends, starts = _tensors("outputs", outputs), _tensors("inputs", inputs)
    for number, one in enumerate(ends):
        if not one.requires_grad:
            raise UsageError(
                f"grad: outputs[{number}] ({one.spec}) does not require a gradient: nothing that "
                "it was computed from does; set requires_grad=True there"
            )
    for number, one in enumerate(starts):
        if not one.requires_grad:
            raise UsageError(
                f"grad: inputs[{number}] ({one.spec}) does not require a gradient; set "
                "requires_grad_() before the outputs are computed from it"
            )
    seeds = _seeds(ends, grad_outputs, "grad_outputs", is_grads_batched)
    # Programs lead to leaves, with values.
    by_call = create_graph or not all(one.is_leaf for one in starts)
    if by_call:
        for one in (*ends, *starts):
            make_node_by_call(one)
    nodes, targets = ([graph_node(one) for one in them] for them in (starts, ends))
    many = (seeds[0].shape[0],) if is_grads_batched else ()
    way = inside if by_call else inside_hooked()
    way = way if recording.runs else None  # no node runs a program
    with enable_grad() if create_graph else no_grad():
        reached = (_reached_by_many if many else _reached)(targets, seeds, starts, nodes, way)
    gradients: list[Tensor | None] = []
    for number, (one, node) in enumerate(zip(starts, nodes, strict=True)):
        gradient = reached.get(node)
        if gradient is None and materialize_grads:
            gradient = as_tensor(np.zeros((*many, *one.shape), one.dtype))
        elif gradient is None and not allow_unused:
            raise UsageError(
                f"grad: no output depends on inputs[{number}] ({one.spec}); leave it out, or give "
                "allow_unused=True for None in its place"
            )
        gradients.append(gradient)
    check_present(one for one in gradients if one is not None)
    return tuple(
        one if one is None or (create_graph and _grows(one)) else one.detach() for one in gradients
    )


def _grows(gradient: Tensor) -> bool:
    """Whether a gradient depends on what asks for one: that of 3 x is 3."""
    if tracing.active() is not None or not gradient.requires_grad:
        return gradient.requires_grad
    return leads_to(graph_node(gradient), lambda node: bool(node.params.get("asked")))


@explained
def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of the sum of v^T y over the tensors y to `.grad` of what they came from.

    `grad_tensors` are the cotangents v, as for `grad`; `retain_graph` has no effect.

    Example:
        >>> import mynn
        >>> x = mynn.tensor([1.0, 2.0], requires_grad=True)
        >>> mynn.autograd.backward([x.sum(), (x * x).sum()])
        >>> x.grad.tolist()
        [3.0, 5.0]
    """
    if create_graph:
        raise ArgumentError(
            "create_graph=True: `.grad` has no history here; use mynn.autograd.grad(..., "
            "create_graph=True), which gives the gradients"
        )
    ends = _tensors("tensors", tensors)
    total: Any = None
    for end, seed in zip(ends, _seeds(ends, grad_tensors, "grad_tensors"), strict=True):
        part = (end * seed).sum()
        total = part if total is None else total + part
    if total is not None:
        total.backward()


def Variable(data: Any, requires_grad: bool = False) -> Tensor:
    """The tensor itself, as programs for the first versions of PyTorch write it.

    Example:
        >>> import mynn
        >>> mynn.autograd.Variable(mynn.tensor([1.0]), requires_grad=True).requires_grad
        True
    """
    variable = as_tensor(data).detach()
    variable.requires_grad = bool(requires_grad)
    return variable


def _tensors(argument: str, given: Any) -> list[Tensor]:
    tensors = [given] if isinstance(given, Tensor) else given
    if not isinstance(tensors, Sequence):
        tensors = list(tensors) if hasattr(tensors, "__iter__") else [tensors]
    for one in tensors:
        if not isinstance(one, Tensor):
            raise ArgumentTypeError(f"grad: {argument} must be tensors, one is {shown(one)}")
    if not tensors:
        raise ArgumentError(f"grad: {argument} is empty; give at least one tensor")
    return list(tensors)


def _seeds(ends: list[Tensor], given: Any, argument: str, many: bool = False) -> list[Tensor]:
    """A cotangent for each output, or many along a first axis."""
    if given is None or isinstance(given, Tensor | np.ndarray):
        given = [given] * (len(ends) if given is None else 1)
    given = list(given)
    if len(given) != len(ends):
        raise ArgumentError(
            f"{argument}: there are {len(given)} for {len(ends)} outputs; give one for each"
        )
    seeds = []
    for number, (end, one) in enumerate(zip(ends, given, strict=True)):
        if end.dtype.kind != "f":
            raise DTypeError(f"outputs[{number}] is {end.spec}; only floats have gradients")
        if one is None and (end.numel() != 1 or many):
            raise ShapeError(
                f"outputs[{number}] has shape {tuple(end.shape)}: give its cotangent in "
                f"{argument}, or reduce it first, for example with .sum()"
            )
        seed = as_tensor(np.ones(end.shape, end.dtype)) if one is None else as_tensor(one)
        lead = (seed.shape or (0,))[:1] if many else ()
        if seed.shape != (*lead, *end.shape):
            raise ShapeError(
                f"{argument}[{number}] has shape {tuple(seed.shape)}, its output "
                f"{tuple(end.shape)}; they must be the same"
                + (", but for an axis more in front" if many else "")
            )
        seeds.append(seed.astype(end.dtype))
    return seeds


def _reached_by_many(
    ends: list[Node],
    seeds: list[Tensor],
    starts: list[Tensor],
    nodes: list[Node],
    inside: Callable[[Node], Node | None] | None,
) -> dict[Node, Tensor]:
    """Those of the inputs, for many cotangents of the outputs at once."""
    hit: list[Node] = []

    def one(*seeds: Tensor) -> list[Tensor]:
        reached = _reached(ends, list(seeds), starts, nodes, inside)
        hit[:] = [node for node in nodes if node in reached]
        return [reached[node] for node in hit]

    rows = vmap(one)(*seeds)
    return dict(zip(hit, rows, strict=True))


def _reached(
    ends: list[Node],
    seeds: list[Tensor],
    starts: list[Tensor],
    nodes: list[Node],
    inside: Callable[[Node], Node | None] | None,
) -> dict[Node, Tensor]:
    """The cotangents of nodes that lie on the ways from the inputs to the outputs."""
    given: dict[Node, Any] = {}
    for end, seed in zip(ends, seeds, strict=True):
        given[end] = given[end] + seed if end in given else seed
    # A leaf has another node after each change in place.
    leaves = {id(one): node for one, node in zip(starts, nodes, strict=True) if one.is_leaf}
    wanted = set(nodes)

    def asked(node: Node) -> bool:
        return node in wanted or id(tensor_of(node)) in leaves

    with forks.loading:  # what makes recipes comes with the first gradient
        from mynn.tensor.gradients.rules import by_recipe

    hooked = arrived()
    before: dict[Node, Any] = {}

    def noted(node: Node, gradient: Any) -> Any:
        before[node] = gradient
        assert hooked is not None
        return hooked(node, gradient)

    taken = None if hooked is None else noted
    reached = autodiff.reverse(given, asked, wrap, arrived=taken, inside=inside, rule=by_recipe)
    # As in PyTorch, hooks of a tensor on the way to another input change what flows on alone.
    for node in wanted & before.keys():
        way = topological((node,), inside=inside)
        if any(one is not node and one in wanted for one in way):
            reached[node] = before[node]
    for node in [one for one in reached if one not in wanted]:
        place = leaves.get(id(tensor_of(node)))
        if place is not None:
            part = reached[node]
            reached[place] = reached[place] + part if place in reached else part
    return reached
