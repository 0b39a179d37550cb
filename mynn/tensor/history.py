"""Where values came from: the nodes of tensors, and the walk back over them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from mynn import autodiff, tracing
from mynn.errors import UsageError
from mynn.graph import CONSTANT, INPUT, Node
from mynn.ops import elementwise, movement
from mynn.tensor.fields import Fields
from mynn.tensor.grad_mode import no_grad

if TYPE_CHECKING:
    from mynn.tensor.core import Tensor

# The tensor that an eager leaf node stands for. The tensor owns the node, so the values are weak.
_leaves: weakref.WeakValueDictionary[Node, Tensor] = weakref.WeakValueDictionary()


def leaf_requires_grad(node: Node) -> bool:
    """Whether an eager node stands for a tensor that asked for a gradient."""
    tensor = _leaves.get(node)
    return tensor is not None and tensor.requires_grad


def graph_node(tensor: Tensor) -> Node:
    """The node of a tensor: in a trace its present value, otherwise its eager history or a leaf."""
    tracer = tracing.active()
    if tracer is not None and tensor.value is not None:
        return tracer.read(tensor)
    if tensor.node is None:
        tensor.node = Node(INPUT, (), {}, tensor.type, value=tensor.data, name=tensor.name)
        _leaves[tensor.node] = tensor
    return tensor.node


def wrap(node: Node) -> Tensor:
    """A node as a tensor that knows operators; an eager node has kept its value."""
    if tracing.active() is not None:
        return Fields.from_node(node, requires_grad=True)
    value = node.value
    if value is None or _is_stale(node):
        raise UsageError(
            f"a value that backward needs ({node.name or node!r}) was changed after the forward "
            "pass; run the forward pass again"
        )
    tensor = _leaves.get(node)
    if tensor is not None:
        return tensor
    return Fields.from_value(value, None if node.primitive is CONSTANT else node)


def _is_stale(node: Node) -> bool:
    """Whether the value is a view (a transpose, a slice...) of one that was changed since."""
    while node.primitive in _VIEWS and node.value is not None:
        node = node.inputs[0]
    return node.value is None


_VIEWS = {
    elementwise.stop_gradient,
    movement.reshape,
    movement.transpose,
    movement.broadcast_to,
    movement.slice_,
    movement.flip,
    movement.windows,
}


def backward(output: Tensor, seed: Tensor) -> None:
    """Add to `.grad` of what `output` was computed from, `seed` being the cotangent of `output`."""
    if tracing.active() is not None:
        _backward_traced(output, seed)
    else:
        _backward_eager(output, seed)


def _accumulate(tensor: Tensor, gradient: Tensor) -> None:
    tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient


def _backward_traced(output: Tensor, seed: Tensor) -> None:
    tracer = tracing.active()
    assert tracer is not None
    wanted = {node: t for t, node in tracer.current.items() if t.requires_grad}
    reached = autodiff.reverse({graph_node(output): seed}, wanted.__contains__, wrap)
    tracer.cotangents.update(reached)
    with no_grad():
        for node, tensor in wanted.items():
            if node in reached:
                _accumulate(tensor, reached[node])


def _backward_eager(output: Tensor, seed: Tensor) -> None:
    with no_grad():
        reached = autodiff.reverse({graph_node(output): seed}, leaf_requires_grad, wrap)
        for node, gradient in reached.items():
            tensor = _leaves.get(node)
            if tensor is not None and tensor.requires_grad:
                _accumulate(tensor, gradient.detach())
