"""One operation on tensors: its operands made alike, then run at once or recorded by a trace."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mynn.base import notices, recording
from mynn.core import interpreter
from mynn.core.graph import Node, constant
from mynn.core.kinds import kind_of, quietly
from mynn.core.primitive import Primitive
from mynn.core.types import DTYPES, SHORT_NAMES, Array, Type, as_dtype, default_float, supported
from mynn.errors import DataError, DTypeError, ShapeError
from mynn.ops import PRIMITIVES, elementwise
from mynn.tensor.at_once import pairs
from mynn.tensor.dataframes import frame_array, names_of
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.tensor.gradients.history import STOP, array_of, changed_source, graph_node, missing
from mynn.tensor.value import AnyTensor, T, Value
from mynn.tensor.view import current, look, value_of
from mynn.trace import leaks, tracing

# Primitives that are the same whoever applies them; others are made for one call.
SHARED = frozenset(PRIMITIVES)

# What is no frame for certain.
_PLAIN = (np.ndarray, np.generic, list, tuple, int, float)


def apply(primitive: Primitive, *inputs: Value[T], **params: Any) -> T:
    """Run one primitive: at once on the values, or as a new node of the trace."""
    if tracing.active() is not None:
        return _record(primitive, inputs, params)
    needs_grad = False
    values: list[Any] = []
    for x in inputs:
        value = x._value if x._view is None else current(x, x._view)
        if value is None:
            result = primitive.infer(*[x.spec for x in inputs], **params)
            return _without_value(next(x for x in inputs if value_of(x) is None), result)
        values.append(value)
        if x._requires_grad or x.requires_grad:
            needs_grad = True
    kind = kind_of(primitive, params, values) if primitive in SHARED else None
    result = primitive.infer(*map(Type.of, values), **params) if kind is None else kind.type
    node = None
    if needs_grad and result.dtype.kind == "f" and primitive is not STOP and grad_enabled():
        node = Node(primitive, tuple([graph_node(x) for x in inputs]), params, result)
        node.kind = kind
    if kind is None:
        value = interpreter.apply(primitive, values, params, result)
    elif primitive.view:
        value = kind.compute(*values)
    else:
        value = quietly(kind.compute, *values)
    tensor: Any = Value.from_value(value, node)
    if node is not None:
        node.value = value
    if primitive.view:
        _look(tensor, inputs[0], primitive, params)
    return tensor


def _record(primitive: Primitive, inputs: tuple[Value[T], ...], params: dict[str, Any]) -> T:
    """A primitive as a new node of the trace."""
    needs_grad = any(x.requires_grad for x in inputs)
    result = primitive.infer(*[x.spec for x in inputs], **params)
    differentiable = needs_grad and grad_enabled() and result.dtype.kind == "f"
    nodes = tuple([graph_node(x) for x in inputs])
    node = Node(primitive, nodes, params, result, source=tracing.user_source())
    if needs_grad and not differentiable and result.dtype.kind == "f":
        node = Node(elementwise.stop_gradient, (node,), {}, result)
    tensor: Any = Value.from_node(node, differentiable and primitive is not STOP)
    if primitive.view:
        _look(tensor, inputs[0], primitive, params)
    return tensor


def _look(tensor: Any, x: Any, primitive: Primitive, params: dict[str, Any]) -> None:
    """What a primitive that is a view made of x looks at the memory of x."""
    attached = primitive is not STOP and grad_enabled()
    view = look(tensor, x, ((primitive, params),), attached)
    if tensor.node is not None:
        view.origin = graph_node(view.source)


def _without_value(x: AnyTensor, result: Type) -> Any:
    """What comes of a tensor that has no value outside a trace."""
    source = changed_source(x)
    if source is None:
        raise leaks.without_value(x.node)
    return missing(source, result)


def alias(x: Value[T]) -> T:
    """Another tensor that looks at the memory of x: what PyTorch makes where nothing is to do."""
    tensor: Any
    differentiable = x.requires_grad and grad_enabled()
    if tracing.active() is not None:
        node = graph_node(x)
        if x.requires_grad and not differentiable:
            node = Node(elementwise.stop_gradient, (node,), {}, node.type)
        tensor = Value.from_node(node, differentiable)
    else:
        value = x._value if x._view is None else current(x, x._view)
        if value is None:
            return _without_value(x, x.spec)
        tensor = Value.from_value(value, graph_node(x) if differentiable else None)
    view = look(tensor, x, (), grad_enabled())
    if tensor.node is not None:
        view.origin = graph_node(view.source)
    return tensor


# -- operands --------------------------------------------------------------------------------------


def as_array(data: Any, dtype: Any = None) -> Array:
    """`data` as an array of a supported dtype; Python floats and lists of them become float32."""
    if dtype is None and type(data) is np.ndarray and data.dtype in DTYPES:
        return data
    if isinstance(data, Value):
        data = array_of(data)
    is_array = isinstance(data, np.ndarray | np.generic)
    array = data if type(data) is np.ndarray else plain_array(data)
    if array.dtype.kind in "OVSU":
        raise DTypeError(
            f"dtype {array.dtype} is not supported; use one of {', '.join(SHORT_NAMES)}: "
            f"{_ODD[array.dtype.kind]}"
        )
    if dtype is not None:
        array = elementwise.convert(array, as_dtype(dtype))
    elif not is_array and array.dtype == np.float64:
        array = array.astype(default_float())
    return array.astype(supported(array.dtype), copy=False)


def plain_array(data: Any) -> Array:
    """A plain array of what may be a list, a number or another kind of array."""
    # Who has a masked array has imported numpy.ma: to do it here would be in the way of a fork.
    # Another thread may be in the midst of it.
    is_masked = getattr(sys.modules.get("numpy.ma"), "is_masked", None)
    if is_masked is not None and is_masked(data):
        raise DataError(
            "a masked array: its mask would be lost; write .filled(value) to put a number in the "
            "masked places, or .compressed() to leave them out"
        )
    if isinstance(data, np.matrix):
        raise DataError(
            "a numpy.matrix, whose * is a matrix product; give numpy.asarray(matrix), and write @"
        )
    names = None if isinstance(data, _PLAIN) else names_of(data)
    if names is not None:
        return frame_array(data, names)
    try:
        return np.asarray(data)
    except ValueError as error:
        raise DataError(
            f"the {type(data).__name__} cannot be made into an array, its rows must be equally "
            f"long: {error}"
        ) from None
    except (TypeError, RuntimeError):
        if type(data).__module__.partition(".")[0] != "torch":
            raise
        raise DataError(
            f"a PyTorch tensor of dtype {data.dtype}, requires_grad={data.requires_grad}, on "
            f"{data.device} cannot be made into an array: no gradient flows between PyTorch and "
            "mynn; give x.detach().float().cpu()"
        ) from None


# What to do with arrays that hold no numbers, by the kind of their dtype.
_ODD = {
    "O": "the array holds Python objects; give numbers, for example array.astype(numpy.float32)",
    "V": "a structured array holds no numbers itself; give one of its fields, array['name']",
    "S": "the array holds bytes; give numbers, for example array.astype(numpy.float32)",
    "U": "the array holds text; give numbers, for example array.astype(numpy.float32)",
}


# Kinds of dtypes in the order of promotion.
RANK = {"b": 0, "u": 1, "i": 1, "f": 2}


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in common: float before int before bool, then the wider (as in PyTorch)."""
    best = max(RANK[dtype.kind] for dtype in dtypes)
    return np.result_type(*(dtype for dtype in dtypes if RANK[dtype.kind] == best))


def as_tensor(value: Any, like: AnyTensor | None = None) -> Any:
    """`value` as a tensor.

    A number, Python's or NumPy's, takes the dtype of `like` where that is of its kind or a later
    one of bool, int, float; otherwise int64 or float32.
    """
    if isinstance(value, Value):
        return value
    dtype = None
    if like is not None and isinstance(value, bool | int | float | np.generic):
        value = value.item() if isinstance(value, np.generic) else value
        rank = 2 if isinstance(value, float) else 0 if isinstance(value, bool) else 1
        if rank <= RANK[like.dtype.kind]:
            dtype = like.dtype
    array = as_array(value, dtype)
    if tracing.active() is not None:
        return Value.from_node(constant(array))
    kept = recording.current.tape is not None or grad_enabled()
    if kept and isinstance(value, np.ndarray) and np.may_share_memory(array, value):
        array = array.copy()  # it is read once more, by a gradient or a tape: it may change before
    return Value.from_value(array)


def same_dtype(x: Any, y: Any, floating: bool = False) -> tuple[Any, Any]:
    """Two operands as tensors of their common dtype.

    A tensor of no axes beside one with axes counts, as a number does, by its kind alone.
    """
    a = as_tensor(x, like=y if isinstance(y, Value) else None)
    b = as_tensor(y, like=a if isinstance(x, Value) else None)
    dtype = a.dtype
    if dtype != b.dtype:
        dtype = promote(dtype, b.dtype)
        if bool(a.ndim) != bool(b.ndim):
            more, less = (a.dtype, b.dtype) if a.ndim else (b.dtype, a.dtype)
            dtype = more if RANK[more.kind] >= RANK[less.kind] else dtype
    if floating and dtype.kind != "f":
        dtype = default_float()
    return (
        a if a.dtype == dtype else a.astype(dtype),
        b if b.dtype == dtype else b.astype(dtype),
    )


def broadcast(*tensors: Any, name: str = "operands") -> tuple[Any, ...]:
    """The tensors repeated to their common shape, as NumPy would; `name` is for errors."""
    shapes = [x.shape for x in tensors]
    if all(shape == shapes[0] for shape in shapes):
        return tensors
    try:
        target = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            f"{name}: shapes {' and '.join(map(str, shapes))} do not fit together; extents must be "
            "equal or 1, from the last axis on"
        ) from None
    return tuple(x if x.shape == target else x.broadcast_to(target) for x in tensors)


def binary(primitive: Primitive, x: Any, y: Any, floating: bool = False) -> Any:
    """A primitive of two operands, after promotion and broadcasting."""
    if tracing.active() is None:
        result = pairs.at_once(primitive, x, y, floating)
        if result is not None:
            return result
    a, b = same_dtype(x, y, floating)
    if a.dtype.kind == "b":
        primitive = _OF_BOOLS.get(primitive, primitive)
    if primitive is elementwise.sub and a.ndim + b.ndim == 3 and a.ndim and b.ndim:
        _check_pairs(a, b)
    return apply(primitive, *broadcast(a, b, name=primitive.name))


def _check_pairs(a: AnyTensor, b: AnyTensor) -> None:
    """Say where the columns [N, 1] of a batch meet values [N]: that gives N x N differences."""
    trace, count = tracing.active(), a.shape[0]
    if {a.shape, b.shape} != {(count, 1), (count,)} or count == 1 or a.dtype.kind != "f":
        return
    if trace is None or not any(n.shape[:1] == (count,) for n in trace.arguments or ()):
        return
    if _origin(graph_node(a)) is not _origin(graph_node(b)):
        notices.warn(
            "pairs",
            f"the difference of {a.shape} and {b.shape} is {(count, count)}: every sample of the "
            f"batch of {count} less every other one. For one difference a sample give both one "
            "shape: y.reshape(-1, 1), or net(x).reshape(-1)",
        )


def _origin(node: Node) -> Node:
    """What a value is a view of."""
    while node.primitive.view:
        node = node.inputs[0]
    return node


# Arithmetic of truth values, as in PyTorch.
_OF_BOOLS = {
    elementwise.add: elementwise.bitwise_or,
    elementwise.mul: elementwise.bitwise_and,
    elementwise.maximum: elementwise.bitwise_or,
    elementwise.minimum: elementwise.bitwise_and,
}
