"""`backward`: gradients of one value are added to `.grad` of what it was computed from."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mynn.base import forks, hooks
from mynn.base.recording import run_at_once
from mynn.core import autodiff
from mynn.core.graph import Node
from mynn.core.rows import Rows
from mynn.core.types import Array
from mynn.tensor.gradients import touched
from mynn.tensor.gradients.grad_mode import no_grad
from mynn.tensor.gradients.history import (
    STOP,
    accumulate,
    array_of,
    arrived,
    check_present,
    graph_node,
    inside_hooked,
    leaf_requires_grad,
    tensor_of,
    wrap,
)
from mynn.tensor.value import AnyTensor, Value
from mynn.tensor.view import value_of
from mynn.trace import leaks, tracing


def backward(output: AnyTensor, seed: AnyTensor) -> None:
    """Add to `.grad` of what `output` was computed from, `seed` being the cotangent of `output`."""
    if tracing.active() is not None:
        _backward_traced(output, seed)
    elif value_of(output) is None:
        raise leaks.without_value(output.node)
    else:
        _backward_eager(output, seed)


def collector(leaf: AnyTensor) -> Any:
    """The tensor that collects the gradients of an eager leaf, which may stand in for it."""
    found = None if leaf.node is None or tracing.active() is not None else tensor_of(leaf.node)
    return leaf if found is None else found


def _backward_traced(output: AnyTensor, seed: AnyTensor) -> None:
    trace = tracing.active()
    assert trace is not None
    seeds = {graph_node(output): seed}
    wanted = {
        node: tensor
        for node, tensor in trace.leaves.items()
        if tensor.requires_grad and tensor not in trace.promoted
    }
    reached = autodiff.reverse(seeds, wanted.__contains__, wrap, keep_rows=True, arrived=arrived())
    state = [one for one in wanted.values() if one._value is not None]
    trace.guards.hooks.update({one: hooks.signature(one) for one in state})
    rows = {node: g.index for node, g in reached.items() if isinstance(g, Rows)}
    reached.update((node, reached[node].dense()) for node in rows)
    found = {node: g for node, g in reached.items() if isinstance(g, Value)}
    trace.observer.cotangents.update(found)
    with no_grad():
        for node, tensor in wanted.items():
            if node in reached:
                # A tensor of its own: gradients may be changed in place.
                g = graph_node(reached[node])
                own: AnyTensor = Value.from_node(Node(STOP, (g,), {}, g.type))
                touched.touch(own, (rows[node],) if node in rows else None)
                accumulate(tensor, own)
                _accumulated(tensor)


@functools.cache
def _on_arrays() -> Any:
    """The walk back on arrays, which comes with the first gradient."""
    with forks.loading:
        from mynn.tensor.gradients import cotangents

    return cotangents


@run_at_once
def _backward_eager(output: AnyTensor, seed: AnyTensor) -> None:
    end = graph_node(output)
    with no_grad():
        if hooks.exist():
            asked = _leaf_or_hooked if hooks.on_results() else leaf_requires_grad
            inside = inside_hooked()
            reached = autodiff.reverse(
                {end: seed}, asked, wrap, keep_rows=True, arrived=arrived(), inside=inside
            )
        else:
            seeds = {end: array_of(seed)}
            reached = _on_arrays().reverse(seeds, leaf_requires_grad, keep_rows=True)
        found = [(tensor_of(node), gradient) for node, gradient in reached.items()]
        _add([(t, g) for t, g in found if t is not None and t.requires_grad], seed)


def _add(found: list[tuple[AnyTensor, Any]], seed: AnyTensor) -> None:
    """Add gradients to `.grad` of tensors: arrays, tensors or `Rows` of these."""
    rows = [(g.index,) if isinstance(g, Rows) else None for _, g in found]
    found = [(t, g.dense() if isinstance(g, Rows) else g) for t, g in found]
    check_present(g for _, g in found if isinstance(g, Value))
    # Gradients may be changed in place, so that each has memory of its own.
    taken = {id(seed._value)}
    hooked = hooks.exist()
    for (tensor, gradient), indices in zip(found, rows, strict=True):
        if isinstance(gradient, np.ndarray):
            own: Any = Value.from_value(_own_array(gradient, taken))
        else:
            own = _owned(gradient, taken)
        if indices is not None:
            touched.touch(own, indices)
        accumulate(tensor, own)
        if hooked:
            _accumulated(tensor)


def own_gradient(gradient: AnyTensor) -> Any:
    """A gradient in memory of its own, which may be changed in place."""
    if tracing.active() is not None:
        node = graph_node(gradient)
        return Value.from_node(Node(STOP, (node,), {}, node.type))
    return _owned(gradient, {id(gradient._value)})


def _owned(gradient: AnyTensor, taken: set[int]) -> Any:
    value = value_of(gradient)
    assert value is not None
    return Value.from_value(np.array(value) if gradient._view else _own_array(value, taken))


def _own_array(value: Array, taken: set[int]) -> Array:
    """The array, or a copy where somebody else may have its memory."""
    if value.base is not None or id(value) in taken or not value.flags.writeable:
        return np.array(value)
    taken.add(id(value))
    return value


def _leaf_or_hooked(node: Node) -> bool:
    """Whether an eager node has hooks, whose leaf may be gone, or stands for a leaf."""
    return leaf_requires_grad(node) or hooks.of(node) is not None


def _accumulated(tensor: AnyTensor) -> None:
    """`.grad` of a leaf was added to."""
    found = hooks.of(tensor)
    if found is not None:
        for hook in tuple(found.accumulated.values()):
            hook(tensor)
