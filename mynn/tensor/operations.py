"""One operation on tensors: its operands made alike, then run at once or recorded by a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mynn import interpreter, tracing
from mynn.errors import ShapeError
from mynn.graph import Array, Node, Primitive, constant, supported
from mynn.ops import elementwise
from mynn.tensor.fields import Fields
from mynn.tensor.grad_mode import grad_enabled
from mynn.tensor.history import graph_node

if TYPE_CHECKING:
    from mynn.tensor.core import Tensor


def apply(primitive: Primitive, *inputs: Tensor, **params: Any) -> Tensor:
    """Run one primitive: at once on the values, or as a new node of the trace."""
    needs_grad = any(x.requires_grad for x in inputs)
    result = primitive.infer(*(x.type for x in inputs), **params)
    differentiable = needs_grad and grad_enabled() and result.dtype.kind == "f"
    if tracing.active() is not None:
        nodes = tuple(graph_node(x) for x in inputs)
        node = Node(primitive, nodes, params, result, source=tracing.user_source())
        if needs_grad and not differentiable and result.dtype.kind == "f":
            node = Node(elementwise.stop_gradient, (node,), {}, result)
        return Fields.from_node(node, differentiable)
    history = tuple(graph_node(x) for x in inputs) if differentiable else ()
    node = Node(primitive, history, params, result)
    value = interpreter.compute(node, [x.data for x in inputs])
    if not differentiable:
        return Fields.from_value(value)
    node.value = value
    return Fields.from_value(value, node)


# -- operands --------------------------------------------------------------------------------------


def as_array(data: Any, dtype: Any = None) -> Array:
    """`data` as an array of a supported dtype; Python floats and lists of them become float32."""
    if isinstance(data, Fields._kind):
        data = data.data
    is_array = isinstance(data, np.ndarray | np.generic)
    array = np.asarray(data)
    if dtype is not None:
        array = array.astype(supported(np.dtype(dtype)), copy=False)
    elif not is_array and array.dtype == np.float64:
        array = array.astype(np.float32)
    return array.astype(supported(array.dtype), copy=False)


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in common: float before int before bool, then the wider (as in PyTorch)."""
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    best = max(rank[dtype.kind] for dtype in dtypes)
    return np.result_type(*(dtype for dtype in dtypes if rank[dtype.kind] == best))


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """`value` as a tensor. A number takes the dtype of `like`, but a float stays a float."""
    if isinstance(value, Fields._kind):
        return value
    dtype = None
    number = isinstance(value, bool | int | float) and not isinstance(value, np.generic)
    if like is not None and number:
        rank = {bool: 0, int: 1, float: 2}[type(value)]
        if rank <= {"b": 0, "u": 1, "i": 1, "f": 2}[like.dtype.kind]:
            dtype = like.dtype
    array = as_array(value, dtype)
    if tracing.active() is not None:
        return Fields.from_node(constant(array))
    return Fields.from_value(array)


def same_dtype(x: Any, y: Any, floating: bool = False) -> tuple[Tensor, Tensor]:
    """Two operands as tensors of their common dtype."""
    a = as_tensor(x, like=y if isinstance(y, Fields._kind) else None)
    b = as_tensor(y, like=a if isinstance(x, Fields._kind) else None)
    dtype = promote(a.dtype, b.dtype)
    if floating and dtype.kind != "f":
        dtype = np.dtype(np.float32)
    return a.astype(dtype), b.astype(dtype)


def broadcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors repeated to their common shape, as NumPy would."""
    shapes = [x.shape for x in tensors]
    if all(shape == shapes[0] for shape in shapes):
        return tensors
    try:
        target = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not fit together") from None
    return tuple(x.broadcast_to(target) for x in tensors)


def binary(primitive: Primitive, x: Any, y: Any, floating: bool = False) -> Tensor:
    """A primitive of two operands, after promotion and broadcasting."""
    return apply(primitive, *broadcast(*same_dtype(x, y, floating)))
