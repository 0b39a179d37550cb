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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.core.graph import CONSTANT, Node, apply
from mynn.core.types import Array
from mynn.errors import DTypeError, ShapeError, UsageError
from mynn.ops import elementwise, movement
from mynn.tensor import arithmetic
from mynn.tensor.fields import Fields
from mynn.tensor.grad_mode import grad_enabled
from mynn.tensor.promotion import as_tensor
from mynn.tensor.tape import STOP, changed, graph_node, is_leaf
from mynn.tensor.view import check_written, put, store
from mynn.trace import tracing

if TYPE_CHECKING:
    from mynn.tensor.tensor import Tensor

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
    return write(x, result.astype(x.dtype), name, derived=True)


def write(x: Tensor, new: Tensor, name: str, derived: bool = False) -> Tensor:
    """Give x new values, which have its shape and dtype.

    Where they are `derived` from the old ones, so is their gradient; otherwise the old ones get a
    gradient of zero.
    """
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
        _write_eager(x, base, new, recorded, derived)
    else:
        _write_traced(x, base, new, recorded, derived, name)
    return x


def _write_eager(x: Tensor, base: Tensor, new: Tensor, recorded: bool, derived: bool) -> None:
    value = new.data
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
    if not derived and _is_whole(x):
        node = _overwritten(old, node)
    if node.primitive.view or node is old:
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


def _is_whole(x: Tensor) -> bool:
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
    x: Tensor, base: Tensor, new: Tensor, recorded: bool, derived: bool, name: str
) -> None:
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
    if recorded and base.requires_grad and not derived and _is_whole(x):
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
    if new.requires_grad:
        # The tensor is a leaf, also where the value is that of another one.
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


# -- functions of one tensor -----------------------------------------------------------------------


def _unary(
    name: str, function: Callable[[Tensor], Tensor], needs_input: bool = True
) -> Callable[[Tensor], Tensor]:
    """The in-place form of a function; `needs_input` where its gradient is made from its input."""

    def method(x: Tensor) -> Tensor:
        return replace(x, function(_kept(x) if needs_input else x), name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"x becomes {name.rstrip('_')}(x)."
    return method


neg_ = _unary("neg_", arithmetic.neg, needs_input=False)
abs_ = _unary("abs_", arithmetic.abs)
sign_ = _unary("sign_", arithmetic.sign)
exp_ = _unary("exp_", arithmetic.exp, needs_input=False)
expm1_ = _unary("expm1_", arithmetic.expm1)
log_ = _unary("log_", arithmetic.log)
log1p_ = _unary("log1p_", arithmetic.log1p)
sqrt_ = _unary("sqrt_", arithmetic.sqrt, needs_input=False)
sin_ = _unary("sin_", arithmetic.sin)
cos_ = _unary("cos_", arithmetic.cos)
tanh_ = _unary("tanh_", arithmetic.tanh, needs_input=False)
sigmoid_ = _unary("sigmoid_", arithmetic.sigmoid, needs_input=False)
erf_ = _unary("erf_", arithmetic.erf)
relu_ = _unary("relu_", arithmetic.relu)
floor_ = _unary("floor_", arithmetic.floor)


def clip_(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Values below `min` become `min`, values above `max` become `max`."""
    return replace(x, arithmetic.clip(_kept(x), min, max), "clamp_")


# -- functions of several --------------------------------------------------------------------------


def lerp_(x: Tensor, end: Any, weight: Any) -> Tensor:
    """x += weight (end - x)."""
    start = _kept(x)
    return replace(x, start + (as_tensor(end, like=x) - start) * weight, "lerp_")


def addcmul_(x: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """x += value tensor1 tensor2."""
    product = as_tensor(tensor1, like=x) * tensor2
    return replace(x, arithmetic.add(x, _scaled(product, value)), "addcmul_")


def addcdiv_(x: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """x += value tensor1 / tensor2."""
    quotient = as_tensor(tensor1, like=x) / tensor2
    return replace(x, arithmetic.add(x, _scaled(quotient, value)), "addcdiv_")


def masked_fill_(x: Tensor, mask: Any, value: Any) -> Tensor:
    """One number where `mask` is true, which is broadcast to x."""
    chosen, number = as_tensor(mask), as_tensor(value, like=x)
    if chosen.dtype.kind != "b":
        raise DTypeError(f"masked_fill_: the mask must hold bools, it is {chosen.dtype}")
    if number.ndim:
        raise ShapeError(f"masked_fill_: takes one number, it was given shape {number.shape}")
    return replace(x, chosen.choose(number.astype(x.dtype), _kept(x)), "masked_fill_")


# -- random numbers --------------------------------------------------------------------------------


def _draw(x: Tensor, name: str, *arguments: Any, generator: Any) -> Tensor:
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    numbers = samplers[name](x.shape, *arguments, generator, dtype)
    return write(x, numbers.astype(x.dtype), f"{name}_")


# What draws; `mynn.random`, which is made of tensors, enters it.
samplers: dict[str, Callable[..., Tensor]] = {}


def uniform_(x: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Any = None) -> Tensor:
    """Numbers spread evenly over [low, high)."""
    _require_float(x, "uniform_")
    return _draw(x, "uniform", low, high, generator=generator)


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Numbers from the normal distribution N(mean, std^2)."""
    _require_float(x, "normal_")
    return _draw(x, "normal", mean, std, generator=generator)


def _require_float(x: Tensor, name: str) -> None:
    if x.dtype.kind != "f":
        raise DTypeError(f"{name}: fills tensors of floats, this one is {x.dtype}")


def bernoulli_(x: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """1 with probability p, otherwise 0."""
    return write(x, samplers["bernoulli"](p, x.shape, generator).astype(x.dtype), "bernoulli_")


# -- history ---------------------------------------------------------------------------------------


def requires_grad_(x: Tensor, requires_grad: bool = True) -> Tensor:
    """Ask for a gradient of a leaf, or for none."""
    if requires_grad and x.dtype.kind != "f":
        raise DTypeError(f"requires_grad_: only floats have gradients, this tensor is {x.dtype}")
    if not requires_grad and not is_leaf(x):
        raise UsageError(
            "requires_grad_(False): the tensor was computed from others that require a gradient; "
            "use .detach()"
        )
    if x._value is None and x.node is not None and x.node.primitive is CONSTANT:
        # A leaf of its own, as one that was made with `requires_grad`.
        x._value, x.node = np.array(x.node.value), None
    x.requires_grad = requires_grad
    return x


def detach_(x: Tensor) -> Tensor:
    """Forget what x was computed from: it is a leaf without a gradient."""
    if x._view is not None:
        raise UsageError("detach_: a view cannot be cut from its base in place; use .detach()")
    if is_leaf(x):
        x.requires_grad = False
    elif x._value is None:
        x.node, x._requires_grad = Node(STOP, (graph_node(x),), {}, x.spec), False
    else:
        assert x.node is not None
        # What was recorded keeps the values of today.
        x.node.value, x.node, x._requires_grad = x.numpy(), None, False
    return x
