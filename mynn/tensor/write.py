"""Giving a tensor other values: outside a trace its memory, in a trace the node that stands for it.

The values keep the shape and dtype of the tensor. What is changed is

- outside a trace the memory, and the history, which goes on from the operation;
- in a trace the node that stands for the tensor; where that was made before, it is a write of
  program state.

A value that an earlier result needs for its gradient is overwritten: `backward` through it raises
(`history.changed`). In a trace values cannot be overwritten, so that the gradient is right.

As in PyTorch a leaf that requires a gradient may only be changed under `no_grad`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from mynn.base.recording import current
from mynn.core.graph import Node, apply
from mynn.core.kinds import kind_of
from mynn.core.types import Array
from mynn.errors import DTypeError, ShapeError, UsageError
from mynn.ops import elementwise, movement
from mynn.target.storage import axis_order
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.tensor.gradients.history import STOP, array_of, changed, graph_node, is_users_call
from mynn.tensor.promotion import RANK, as_tensor
from mynn.tensor.value import AnyTensor
from mynn.tensor.view import check_written, memory_of, put, store, value_of
from mynn.trace import tracing

Changed = TypeVar("Changed", bound=AnyTensor)


def replace(x: Changed, result: Any, name: str, own: bool = False) -> Changed:
    """Give x the result of an operation on it, which came last, or is our `own`."""
    shape, dtype, kind = x.shape, x.dtype, result.spec
    if kind.shape != shape:
        raise ShapeError(
            f"{name}: the result has shape {kind.shape}, the tensor that is changed in place has "
            f"{shape}; only the other operand is broadcast"
        )
    new = result
    if kind.dtype != dtype:
        if RANK[kind.dtype.kind] > RANK[dtype.kind]:
            raise DTypeError(
                f"{name}: the result is {kind.dtype}, it can't be cast to the dtype {dtype} of the "
                f"tensor that is changed in place; convert that first, with .astype({kind.dtype})"
            )
        new = result.astype(dtype)
    if new.pending is not None:
        tape = current.tape
        if x.pending is not None and tape is not None and tape.renew(x, new, own):
            return x
        if put_off(x, new):
            return x
    return write(x, new, name, derived=True)


def put_off(x: AnyTensor, new: AnyTensor) -> bool:
    """Whether a tape does it later: of what is no result, and of leaves under `no_grad` or through
    `.data`; nobody else has the new values.
    """
    tape, target = current.tape, x
    if tape is None or new.pending is None or x.pending is not None:
        return False
    if x._view is not None:
        if not is_same(x):
            return False
        target = x._view.base
    elif grad_enabled() and x.requires_grad:
        return False
    done: bool = tape.assign(target, new)
    return done


def put_off_copy(x: AnyTensor, values: Any) -> bool:
    """The same with values that others may have."""
    if values.pending is None or values.pending.tape is None or current.tape is None:
        return False
    if x.pending is not None:
        return False
    memory: Any = memory_of(x)
    if memory._is_state:
        return put_off(x, values)
    return not values.requires_grad and put_off(x, values.clone())


def write(x: Changed, new: AnyTensor, name: str, derived: bool = False) -> Changed:
    """Give x new values, which have its shape and dtype.

    Where they are `derived` from the old ones, so is their gradient; otherwise the old ones get a
    gradient of zero.
    """
    view = x._view
    base = x if view is None else view.base
    if view is not None:
        check_written(name, view)
    attached = view is None or view.attached
    source = x if view is None or not attached else view.source
    recording = grad_enabled() and x.dtype.kind == "f"
    if recording and source.requires_grad and source.is_leaf:
        what = "a leaf" if source is x else "a view of a leaf"
        raise UsageError(
            f"{name}: {what} Variable that requires grad is being used in an in-place operation "
            f"({source.name or 'tensor'} {source.spec}); change it under mynn.no_grad()"
        )
    recorded = recording and (new.requires_grad or (attached and x.requires_grad))
    if recorded and source is not base:
        raise UsageError(
            f"{name}: by detach() or no_grad() the tensor shares its memory with "
            f"{base.name or 'another one'}, so that it cannot get a history of its own; change a "
            "copy of it"
        )
    if tracing.active() is None and base._value is not None:
        _write_eager(x, base, new, recorded, derived)
    else:
        _write_traced(x, base, new, recorded, derived, name)
    return x


def _write_eager(
    x: AnyTensor, base: AnyTensor, new: AnyTensor, recorded: bool, derived: bool
) -> None:
    value = array_of(new)
    if not recorded:
        _overwrite(x, base, value)
        return
    old, node = graph_node(base), graph_node(new)
    if x._view is not None:
        node = put(old, x._view.steps, node)
    if not derived and _is_whole(x):
        node = _overwritten(old, node)
    if node.primitive.view or node is old:
        # Its value is not that of its input, which has none.
        node = same_value(node, None)
    store(x, value)
    changed(base)
    node.value = base._value
    base.node, base._requires_grad = node, True


def _overwrite(x: AnyTensor, base: AnyTensor, value: Array) -> None:
    """Other values; the gradient goes on to what the base was computed from."""
    store(x, value)
    changed(base)
    if base.node is not None:
        base.node = same_value(base.node, value_of(base))


def same_value(node: Node, value: Array | None) -> Node:
    """A node of the same value, so that the value of the one can change."""
    kind = kind_of(elementwise.cast, {"dtype": node.dtype}, [node.type])
    assert kind is not None
    result = Node(elementwise.cast, (node,), kind.params, kind.type, value)
    result.kind = kind
    return result


def is_same(x: AnyTensor) -> bool:
    """Whether a view shows its base as it is."""
    return x._view is not None and all(primitive is STOP for primitive, _ in x._view.steps)


def _is_whole(x: AnyTensor) -> bool:
    """Whether all of the base is written through x."""
    steps = () if x._view is None else x._view.steps
    return all(primitive is not movement.slice_ for primitive, _ in steps)


def _overwritten(old: Node, new: Node) -> Node:
    """A node of the values `new`, where the gradient of what was there before is zero."""
    if not old.shape:
        old, new = (apply(movement.reshape, node, shape=(1,)) for node in (old, new))
        return apply(movement.reshape, _overwritten(old, new), shape=())
    zeros, ones = (0,) * len(old.shape), (1,) * len(old.shape)
    return apply(movement.update_slice, old, new, starts=zeros, stops=old.shape, steps=ones)


def _write_traced(
    x: AnyTensor, base: AnyTensor, new: AnyTensor, recorded: bool, derived: bool, name: str
) -> None:
    trace = tracing.active()
    if trace is None:
        raise UsageError(
            f"{name}: a traced tensor was used outside the function that made it; return its value"
        )
    if not recorded and base.requires_grad and not base.is_leaf:
        raise UsageError(
            f"{name}: the tensor was computed from others that require a gradient, and is changed "
            "under no_grad or through detach(); use the operation that is not in-place, or "
            ".detach() and copy it first"
        )
    old, node = graph_node(base), graph_node(new)
    if x._view is not None:
        node = put(old, x._view.steps, node)
    if recorded and base.requires_grad and not derived and _is_whole(x):
        node = _overwritten(old, node)
    if not recorded and base.requires_grad:
        node = Node(STOP, (node,), {}, node.type)
    if base._value is None:
        _renew(base, node)
        base._requires_grad = base._requires_grad or recorded
        return
    if recorded and not base.requires_grad:
        trace.promote(base)
    trace.write(base, node)


def set_value(x: AnyTensor, value: Array) -> None:
    """Copy an array into the memory of a tensor that has one."""
    array_of(x)  # raises in a trace
    _overwrite(x, memory_of(x), value)


def assign(x: AnyTensor, value: Any) -> None:
    """Give the tensor a new value of the same shape; in a trace this writes program state."""
    new = as_tensor(value, like=x)
    if new.shape != x.shape:
        raise ShapeError(
            f"{x.name or 'tensor'}: cannot assign shape {new.shape} to shape {x.shape}"
        )
    trace = tracing.active()
    if x._value is None and (trace is None or is_users_call(1)):
        raise UsageError(
            "only tensors made before the traced function can be assigned to; x.copy_(value) gives "
            "one of those that it makes another value"
        )
    if trace is None:
        _overwrite(x, memory_of(x), array_of(new))
        return
    node = graph_node(new.astype(x.dtype))
    base = x
    if x._view is not None:
        check_written("assign", x._view)
        base = x._view.base
        node = put(graph_node(base), x._view.steps, node)
    if new.requires_grad:
        # The tensor is a leaf, also where the value is that of another one.
        node = Node(STOP, (node,), {}, node.type)
    if base._value is None:
        _renew(base, node)
    else:
        trace.write(base, node)


def _renew(base: AnyTensor, node: Node) -> None:
    """Another node stands for a tensor that was made in the trace; a leaf stays one."""
    trace = tracing.active()
    if trace is not None:
        trace.overwrite(graph_node(base))
        if base.requires_grad and base.is_leaf:
            trace.leaves[node] = base
    base.node = node


def adopt(x: Any, other: Any) -> None:
    """Give a tensor that had no shape yet the memory of another one, which is not used again."""
    x._value, x.node, x.is_native = other._value, None, other.is_native
    x._version += 1


def retype(x: Any, dtype: Any) -> None:
    """Give a tensor that is no view its values in another dtype; it has no history then.

    Memory that programs have bound is left to them: who calls has them made anew.
    """
    value = array_of(x)
    order = axis_order(value) if x.is_native else None
    gradient = x._grad
    x._value, x.node, x.is_native = value.astype(dtype), None, False
    x._version += 1
    x.shared = None
    if order is not None:
        x.to_native(order)
    if gradient is not None:
        x._grad = gradient.detach().astype(dtype)
