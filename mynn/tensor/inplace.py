"""In-place operations: the tensor itself gets other values, and every view of it sees them.

    x += y      x.add_(y)      x[index] = y

The operation that is not in-place computes the values; they keep the shape and dtype of x. What
changes is then

- outside a trace the memory of x, and the history of x, which goes on from the operation;
- in a trace the node that stands for x; where x was made before, that is a write of program state.

A value that an earlier result needs for its gradient is overwritten: `backward` through it raises
(`history.changed`). In a trace values cannot be overwritten, so that the gradient is right.

As in PyTorch a leaf that requires a gradient may only be changed under `no_grad`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mynn import tracing
from mynn.errors import DTypeError, ShapeError, UsageError
from mynn.graph import Array, Node, apply
from mynn.ops import elementwise, movement
from mynn.tensor import arithmetic
from mynn.tensor.fields import Fields
from mynn.tensor.grad_mode import grad_enabled
from mynn.tensor.history import STOP, changed, graph_node, is_leaf
from mynn.tensor.operations import as_tensor
from mynn.tensor.view import check_written, put, store

if TYPE_CHECKING:
    from mynn.tensor.core import Tensor

_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}

# -- giving a tensor other values ------------------------------------------------------------------


def replace(x: Tensor, result: Tensor, name: str) -> Tensor:
    """Give x the result of an operation on it."""
    if result.shape != x.shape:
        raise ShapeError(
            f"{name}: the result has shape {result.shape}, the tensor that is changed in place has "
            f"{x.shape}; only the other operand is broadcast"
        )
    if _RANK[result.dtype.kind] > _RANK[x.dtype.kind]:
        raise DTypeError(
            f"{name}: the result is {result.dtype}, it can't be cast to the dtype {x.dtype} of the "
            f"tensor that is changed in place; convert that first, with .astype({result.dtype})"
        )
    return write(x, result.astype(x.dtype), name)


def write(x: Tensor, new: Tensor, name: str) -> Tensor:
    """Give x new values, which have its shape and dtype."""
    view = x._view
    base = x if view is None else view.base
    if view is not None:
        check_written(name, view)
    attached = view is None or view.attached
    recording = grad_enabled() and x.dtype.kind == "f"
    if recording and attached and base.requires_grad and is_leaf(base):
        what = "a leaf" if view is None else "a view of a leaf"
        raise UsageError(
            f"{name}: {what} Variable that requires grad is being used in an in-place operation "
            f"({base.name or 'tensor'} {base.spec}); change it under mynn.no_grad()"
        )
    recorded = recording and (new.requires_grad or (attached and x.requires_grad))
    if recorded and not attached:
        raise UsageError(
            f"{name}: by detach() or no_grad() the tensor shares its memory with "
            f"{base.name or 'another one'}, so that it cannot get a history of its own; change a "
            "copy of it"
        )
    if tracing.active() is None and base._value is not None:
        _write_eager(x, base, new, recorded)
    else:
        _write_traced(x, base, new, recorded, name)
    return x


def _write_eager(x: Tensor, base: Tensor, new: Tensor, recorded: bool) -> None:
    value, before = new.data, base.node
    if not recorded:
        store(x, value)
        changed(base)
        if base.node is not None:
            # Its gradient goes on to what it was computed from.
            base.node = _same(base.node, base.value)
        return
    old, node = graph_node(base), graph_node(new)
    if x._view is not None:
        node = put(old, x._view.steps, node)
    elif before in node.inputs and new._view is None:
        node = _same(node, None)
    else:
        node = _overwritten(old, node)
    if node.primitive.view:
        # Its value is not that of its input, which has none.
        node = _same(node, None)
    store(x, value)
    changed(base)
    node.value = base._value
    base.node, base._requires_grad = node, True


def _same(node: Node, value: Array | None) -> Node:
    """A node of the same value, so that the value of the one can change."""
    result = apply(elementwise.cast, node, dtype=node.dtype)
    result.value = value
    return result


def _overwritten(old: Node, new: Node) -> Node:
    """A node of the values `new`, where the gradient of what was there before is zero."""
    if not old.shape:
        old, new = (apply(movement.reshape, node, shape=(1,)) for node in (old, new))
        return apply(movement.reshape, _overwritten(old, new), shape=())
    zeros, ones = (0,) * len(old.shape), (1,) * len(old.shape)
    return apply(movement.update_slice, old, new, starts=zeros, stops=old.shape, steps=ones)


def _write_traced(x: Tensor, base: Tensor, new: Tensor, recorded: bool, name: str) -> None:
    tracer = tracing.active()
    if tracer is None:
        raise UsageError(
            f"{name}: a traced tensor was used outside the function that made it; return its value"
        )
    if not recorded and base.requires_grad and not is_leaf(base):
        raise UsageError(
            f"{name}: the tensor was computed from others that require a gradient, and is changed "
            "under no_grad or through detach(); use the operation that is not in-place, or "
            ".detach() and copy it first"
        )
    old, node = graph_node(base), graph_node(new)
    if x._view is not None:
        node = put(old, x._view.steps, node)
    elif recorded and base.requires_grad and old not in node.inputs:
        node = _overwritten(old, node)
    if not recorded and base.requires_grad:
        node = Node(STOP, (node,), {}, node.type)
    if base._value is None:
        base.node, base._requires_grad = node, base._requires_grad or recorded
        return
    if recorded and not base.requires_grad:
        tracer.promote(base)
    tracer.write(base, node)


def set_value(x: Tensor, value: Array) -> None:
    """Copy an array into the memory of a tensor that has one."""
    assert x.data is not None, "raises in a trace"
    store(x, value)
    changed(x if x._view is None else x._view.base)


def assign(x: Tensor, value: Any) -> None:
    """Give the tensor a new value of the same shape; in a trace this writes program state."""
    new = as_tensor(value, like=x)
    if new.shape != x.shape:
        raise ShapeError(
            f"{x.name or 'tensor'}: cannot assign shape {new.shape} to shape {x.shape}"
        )
    if x._value is None:
        raise UsageError("only tensors made before the traced function can be assigned to")
    tracer = tracing.active()
    if tracer is None:
        store(x, new.data)
        changed(x if x._view is None else x._view.base)
        return
    node = graph_node(new.astype(x.dtype))
    base = x
    if x._view is not None:
        check_written("assign", x._view)
        base = x._view.base
        node = put(graph_node(base), x._view.steps, node)
    if base.requires_grad and new.requires_grad:
        node = Node(STOP, (node,), {}, node.type)
    tracer.write(base, node)


# -- arithmetic ------------------------------------------------------------------------------------


def add_(x: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """x += alpha other."""
    return replace(x, arithmetic.add(x, _scaled(other, alpha)), "add_")


def sub_(x: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """x -= alpha other."""
    return replace(x, arithmetic.sub(x, _scaled(other, alpha)), "sub_")


def _kept(x: Tensor) -> Tensor:
    """x with memory of its own: for operations whose gradient needs what is overwritten."""
    if tracing.active() is not None or not (x.requires_grad and grad_enabled()):
        return x
    value = x.numpy()
    return Fields.from_value(value, _same(graph_node(x), value))


def _scaled(other: Any, alpha: Any) -> Any:
    return other if isinstance(alpha, int | float) and alpha == 1 else other * alpha


def mul_(x: Tensor, other: Any) -> Tensor:
    """x *= other."""
    return replace(x, arithmetic.mul(_kept(x), other), "mul_")


def div_(x: Tensor, other: Any) -> Tensor:
    """x /= other; x must hold floats."""
    return replace(x, arithmetic.div(_kept(x), other), "div_")


def remainder_(x: Tensor, other: Any) -> Tensor:
    """x %= other."""
    return replace(x, arithmetic.mod(x, other), "remainder_")


def pow_(x: Tensor, exponent: Any) -> Tensor:
    """x **= exponent."""
    return replace(x, arithmetic.power(_kept(x), exponent), "pow_")


def bitwise_and_(x: Tensor, other: Any) -> Tensor:
    """x &= other."""
    return replace(x, arithmetic.bitwise_and(x, other), "bitwise_and_")


def bitwise_or_(x: Tensor, other: Any) -> Tensor:
    """x |= other."""
    return replace(x, arithmetic.bitwise_or(x, other), "bitwise_or_")


def bitwise_xor_(x: Tensor, other: Any) -> Tensor:
    """x ^= other."""
    return replace(x, arithmetic.bitwise_xor(x, other), "bitwise_xor_")


def shift_right_(x: Tensor, bits: int) -> Tensor:
    """x >>= bits."""
    return replace(x, arithmetic.shift_right(x, bits), "bitwise_right_shift_")


# -- copies ----------------------------------------------------------------------------------------


def copy_(x: Tensor, source: Any, non_blocking: bool = False) -> Tensor:
    """The values of `source`, broadcast and converted to the dtype of x."""
    values = as_tensor(source, like=x)
    try:
        shape = np.broadcast_shapes(values.shape, x.shape)
    except ValueError:
        shape = ()
    if shape != x.shape:
        raise ShapeError(
            f"copy_: values of shape {values.shape} cannot be broadcast to the shape {x.shape} of "
            "the tensor that they are copied into"
        )
    return write(x, values.astype(x.dtype).broadcast_to(x.shape), "copy_")


def fill_(x: Tensor, value: Any) -> Tensor:
    """One number everywhere."""
    number = as_tensor(value, like=x)
    if number.ndim:
        raise ShapeError(f"fill_: takes one number, it was given shape {number.shape}; use copy_")
    return copy_(x, number)


def zero_(x: Tensor) -> Tensor:
    """Zeros everywhere."""
    return fill_(x, 0)


# -- x[index] = value ------------------------------------------------------------------------------


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value: the values are broadcast and converted to the dtype of x."""
    part = x[index]
    values = as_tensor(value, like=x)
    if _is_same(part, values):
        # x[index] += y: the view was changed already.
        return
    while values.ndim > part.ndim and values.shape[0] == 1:
        values = values.reshape(values.shape[1:])
    copy_(part, values)


def _is_same(x: Tensor, y: Tensor) -> bool:
    """Whether two views look at the same place."""
    a, b = x._view, y._view
    return a is not None and b is not None and a.base is b.base and a.steps == b.steps
