"""NumPy's functions on tensors: `np.exp(t)`, `np.where(c, t, 0)`, `np.concatenate([t, u])`, ...

NumPy asks a tensor among the arguments (`__array_ufunc__`, `__array_function__`), and is answered
with the method, or the function, that means the same: at once or in a trace, with a gradient. What
has none here is computed by NumPy on the values where they are known; in a trace it is refused,
with what to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.errors import UsageError
from mynn.functional import joining, products, shapes
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.gradients.history import array_of
from mynn.trace import tracing

# -- ufuncs ----------------------------------------------------------------------------------------

# Operators: the method of the first operand, and that of the second where the first is no tensor.
_OPERATORS: dict[Any, tuple[str, str]] = {
    np.add: ("__add__", "__radd__"),
    np.subtract: ("__sub__", "__rsub__"),
    np.multiply: ("__mul__", "__rmul__"),
    np.divide: ("__truediv__", "__rtruediv__"),
    np.floor_divide: ("__floordiv__", "__rfloordiv__"),
    np.remainder: ("__mod__", "__rmod__"),
    np.power: ("__pow__", "__rpow__"),
    np.matmul: ("__matmul__", "__rmatmul__"),
    np.less: ("__lt__", "__gt__"),
    np.less_equal: ("__le__", "__ge__"),
    np.greater: ("__gt__", "__lt__"),
    np.greater_equal: ("__ge__", "__le__"),
    np.equal: ("__eq__", "__eq__"),
    np.not_equal: ("__ne__", "__ne__"),
    np.bitwise_and: ("__and__", "__rand__"),
    np.bitwise_or: ("__or__", "__ror__"),
    np.bitwise_xor: ("__xor__", "__rxor__"),
    np.left_shift: ("__lshift__", "__rlshift__"),
    np.right_shift: ("__rshift__", "__rrshift__"),
}
# Methods by another name than NumPy's; all others have the same.
_RENAMED = {
    "absolute": "abs",
    "fabs": "abs",
    "negative": "__neg__",
    "positive": "__pos__",
    "invert": "__invert__",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arctan2": "atan2",
    "rint": "round",
    "float_power": "float_power",
}
_REDUCED = {np.add: "sum", np.multiply: "prod", np.maximum: "amax", np.minimum: "amin"}
_REDUCED |= {np.logical_and: "all", np.logical_or: "any"}
_ACCUMULATED = {np.add: "cumsum", np.multiply: "cumprod"}


def ufunc(function: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """What a universal function of NumPy gives for these inputs, a tensor among them."""
    if method == "__call__" and not options:
        names = _OPERATORS.get(function)
        if names is not None:
            first, second = inputs
            if isinstance(first, Tensor):
                call = getattr(first, names[0], None)
                result = NotImplemented if call is None else call(second)
            else:
                call = getattr(second, names[1], None)
                result = NotImplemented if call is None else call(first)
            if result is not NotImplemented:
                return result
    result = _ufunc(function, method, inputs, options)
    if result is not NotImplemented:
        return result
    call = function if method == "__call__" else getattr(function, method)
    return _by_numpy(_name(function, method), call, inputs, options)


def _ufunc(function: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    options = dict(options)
    out = options.pop("out", None)
    if method == "reduce" and function in _REDUCED:
        options.pop("initial", None) if options.get("initial") is np._NoValue else None
        options = {name: one for name, one in options.items() if one is not None or name == "axis"}
        options.setdefault("axis", 0)
        x = as_tensor(inputs[0])
        result = getattr(x, _REDUCED[function])(**options)
    elif method == "accumulate" and function in _ACCUMULATED:
        axis = options.pop("axis", 0)
        result = getattr(as_tensor(inputs[0]), _ACCUMULATED[function])(axis, **options)
    elif method == "outer" and function is np.multiply and not options:
        result = as_tensor(inputs[0]).reshape(-1).outer(as_tensor(inputs[1]).reshape(-1))
        result = result.reshape((*np.shape(inputs[0]), *np.shape(inputs[1])))
    elif method == "__call__" and options.keys() <= {"dtype"}:
        name = _RENAMED.get(function.__name__, function.__name__)
        if function in _OPERATORS:
            name = _OPERATORS[function][0]
        call = getattr(Tensor, name, None)
        if call is None:
            return NotImplemented
        like = next(x for x in (*inputs, out and out[0]) if isinstance(x, Tensor))
        result = call(as_tensor(inputs[0], like=like), *inputs[1:])
        if options.get("dtype") is not None:
            result = result.astype(options["dtype"])
    else:
        return NotImplemented
    return result if out is None else _written(result, out)


def _written(result: Tensor, out: Any) -> Any:
    """The result in the tensor, or array, that is to hold it."""
    target = out[0] if isinstance(out, tuple) else out
    if target is None:
        return result
    if isinstance(target, Tensor):
        return target.copy_(result)
    if tracing.active() is not None:
        raise UsageError(
            "an array is to hold what a traced function computes, which is not known while "
            "tracing; write y = y + x in place of y += x"
        )
    target[...] = array_of(result)
    return target


# -- functions -------------------------------------------------------------------------------------


def _method(name: str, *order: str, **renamed: str) -> Callable[..., Any]:
    """A method under NumPy's names of its arguments: positions by `order`, others renamed."""

    def call(a: Any, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(order, args, strict=False)) | kwargs
        given = {
            renamed.get(key, key): value
            for key, value in given.items()
            if value is not None and value is not np._NoValue
        }
        out = given.pop("out", None)
        given.pop("kind", None)
        result = getattr(as_tensor(a), name)(**given)
        return result if out is None else _written(result, out)

    return call


def _reduction(name: str) -> Callable[..., Any]:
    return _method(name, "axis", "dtype", "out", "keepdims")


def _extremum(name: str) -> Callable[..., Any]:
    return _method(name, "axis", "out", "keepdims")


def _spread(name: str) -> Callable[..., Any]:
    """Variances: NumPy divides by n - ddof, which is n."""
    inner = _method(name, "axis", "dtype", "out", "ddof", "keepdims", ddof="correction")

    def call(a: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) < 4 and "ddof" not in kwargs:
            kwargs["ddof"] = kwargs.pop("correction", 0)
        kwargs.pop("mean", None)
        return inner(a, *args, **kwargs)

    return call


def _reshape(a: Any, shape: Any, order: str = "C", **options: Any) -> Any:
    if order != "C" or options.get("copy") is False:
        return NotImplemented
    return as_tensor(a).reshape(shape)


def _where(condition: Any, *values: Any) -> Any:
    return (
        joining.where(condition, *values) if values else as_tensor(condition).nonzero(as_tuple=True)
    )


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    return as_tensor(a).repeat_interleave(repeats, axis)


def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    if out is not None or mode != "raise":
        return NotImplemented
    x = as_tensor(a)
    return x.take(indices) if axis is None else x.gather_rows(indices, axis, name="take")


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    x, y = as_tensor(a), as_tensor(b)
    if not x.ndim or not y.ndim:
        return x * y
    if y.ndim > 2:
        return products.tensordot(x, y, ((x.ndim - 1,), (y.ndim - 2,)))
    return x @ y


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **named: Any) -> Any:
    low = named.get("min", a_min)
    high = named.get("max", a_max)
    empty = (None, np._NoValue)
    bounds = (None if low in empty else low, None if high in empty else high)
    result = as_tensor(a).clip(*bounds)
    return result if out is None else _written(result, out)


def _concatenate(arrays: Any, axis: Any = 0, out: Any = None, dtype: Any = None, **_: Any) -> Any:
    parts = [as_tensor(one) for one in arrays]
    if axis is None:
        parts, axis = [one.reshape(-1) for one in parts], 0
    result = joining.concatenate(parts, axis)
    result = result if dtype is None else result.astype(dtype)
    return result if out is None else _written(result, out)


def _stack(arrays: Any, axis: int = 0, out: Any = None, **_: Any) -> Any:
    result = joining.stack(arrays, axis)
    return result if out is None else _written(result, out)


def _split(a: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return list(as_tensor(a).tensor_split(indices_or_sections, axis))


def _filled(value: float | None) -> Callable[..., Any]:
    def call(a: Any, fill_value: Any = None, dtype: Any = None, **_: Any) -> Any:
        number = fill_value if value is None else value
        return as_tensor(a).filled(number, dtype if value is None else dtype or fill_value)

    return call


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction("sum"),
    np.prod: _reduction("prod"),
    np.mean: _reduction("mean"),
    np.std: _spread("std"),
    np.var: _spread("var"),
    np.max: _extremum("amax"),
    np.min: _extremum("amin"),
    np.amax: _extremum("amax"),
    np.amin: _extremum("amin"),
    np.any: _extremum("any"),
    np.all: _extremum("all"),
    np.argmax: _extremum("argmax"),
    np.argmin: _extremum("argmin"),
    np.cumsum: lambda a, axis=None, dtype=None, out=None: _flat(a, axis, "cumsum", dtype=dtype),
    np.cumprod: lambda a, axis=None, dtype=None, out=None: _flat(a, axis, "cumprod", dtype=dtype),
    np.sort: lambda a, axis=-1, **_: _flat(a, axis, "sort").values,
    np.argsort: lambda a, axis=-1, **_: _flat(a, axis, "argsort"),
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.hstack: lambda tup, **_: shapes.hstack(tup),
    np.vstack: lambda tup, **_: shapes.vstack(tup),
    np.dstack: shapes.dstack,
    np.column_stack: shapes.column_stack,
    np.atleast_1d: shapes.atleast_1d,
    np.atleast_2d: shapes.atleast_2d,
    np.broadcast_arrays: lambda *args, subok=False: shapes.broadcast_tensors(*args),
    np.meshgrid: lambda *xi, copy=True, sparse=False, indexing="xy": (
        NotImplemented if sparse else list(shapes.meshgrid(*xi, indexing=indexing))
    ),
    np.where: _where,
    np.reshape: _reshape,
    np.ravel: lambda a, order="C": as_tensor(a).reshape(-1),
    np.transpose: lambda a, axes=None: (
        as_tensor(a).transpose() if axes is None else as_tensor(a).permute(axes)
    ),
    np.swapaxes: lambda a, axis1, axis2: as_tensor(a).swapaxes(axis1, axis2),
    np.moveaxis: lambda a, source, destination: as_tensor(a).movedim(source, destination),
    np.squeeze: lambda a, axis=None: as_tensor(a).squeeze(axis),
    np.expand_dims: lambda a, axis: as_tensor(a).unsqueeze(axis),
    np.broadcast_to: lambda array, shape, subok=False: as_tensor(array).broadcast_to(
        (shape,) if isinstance(shape, int) else shape
    ),
    np.tile: lambda A, reps: as_tensor(A).tile(reps),
    np.repeat: _repeat,
    np.roll: lambda a, shift, axis=None: as_tensor(a).roll(shift, axis),
    np.flip: lambda m, axis=None: as_tensor(m).flip(
        tuple(range(as_tensor(m).ndim)) if axis is None else axis
    ),
    np.fliplr: lambda m: as_tensor(m).fliplr(),
    np.flipud: lambda m: as_tensor(m).flipud(),
    np.rot90: lambda m, k=1, axes=(0, 1): as_tensor(m).rot90(k, axes),
    np.tril: lambda m, k=0: as_tensor(m).tril(k),
    np.triu: lambda m, k=0: as_tensor(m).triu(k),
    np.diag: lambda v, k=0: as_tensor(v).diag(k),
    np.diagonal: lambda a, offset=0, axis1=0, axis2=1: as_tensor(a).diagonal(offset, axis1, axis2),
    np.trace: lambda a, offset=0, axis1=0, axis2=1, dtype=None, out=None: (
        as_tensor(a).diagonal(offset, axis1, axis2).sum(-1, dtype=dtype)
    ),
    np.clip: _clip,
    np.take: _take,
    np.take_along_axis: lambda arr, indices, axis=-1: as_tensor(arr).take_along_dim(indices, axis),
    np.dot: _dot,
    np.inner: lambda a, b: as_tensor(a).inner(b),
    np.outer: lambda a, b, out=None: as_tensor(a).reshape(-1).outer(as_tensor(b).reshape(-1)),
    np.tensordot: lambda a, b, axes=2: products.tensordot(a, b, _pair(axes)),
    np.einsum: lambda *operands, **_: products.einsum(*operands),
    np.kron: lambda a, b: as_tensor(a).kron(b),
    np.split: lambda ary, indices_or_sections, axis=0: _split(ary, indices_or_sections, axis),
    np.array_split: _split,
    np.zeros_like: _filled(0),
    np.ones_like: _filled(1),
    np.full_like: _filled(None),
    np.copy: lambda a, order="K", subok=False: as_tensor(a) + 0,
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.numel() if axis is None else a.shape[axis],
    np.nonzero: lambda a: as_tensor(a).nonzero(as_tuple=True),
    np.searchsorted: lambda a, v, side="left", sorter=None: as_tensor(a).searchsorted(
        v, side=side, sorter=sorter
    ),
}


def _flat(a: Any, axis: int | None, name: str, **options: Any) -> Any:
    """A method along an axis, or of the flattened tensor."""
    x = as_tensor(a)
    options = {key: value for key, value in options.items() if value is not None}
    return (
        getattr(x.reshape(-1), name)(0, **options)
        if axis is None
        else getattr(x, name)(axis, **options)
    )


def _pair(axes: Any) -> Any:
    """Lists of axes; one number for each operand is one."""
    if isinstance(axes, int):
        return axes
    return tuple((one,) if isinstance(one, int) else tuple(one) for one in axes)


def function(called: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a function of NumPy gives for these arguments, a tensor among them."""
    ours = _FUNCTIONS.get(called)
    if ours is not None:
        result = ours(*args, **kwargs)
        if result is not NotImplemented:
            return result
    name = f"{called.__module__}.{called.__name__}".replace("numpy", "np")
    return _by_numpy(name, called, args, kwargs)


# -- by NumPy itself -------------------------------------------------------------------------------


def _name(function: Any, method: str) -> str:
    return f"np.{function.__name__}" + ("" if method == "__call__" else f".{method}")


def _by_numpy(
    name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """NumPy's function of the values; refused in a trace, which has none."""
    if tracing.active() is not None and any(map(_is_unknown, _leaves([*args, *kwargs.values()]))):
        short = name.rpartition(".")[2]
        instead = f"x.{short}(...)" if hasattr(Tensor, short) else "methods and mynn's functions"
        raise UsageError(
            f"{name} cannot take a tensor inside a traced function with these arguments, it has no "
            f"value yet; use {instead}, or call it outside of the function"
        )
    return function(*_values(list(args)), **{key: _values(one) for key, one in kwargs.items()})


def _leaves(values: Iterable[Any]) -> Iterable[Any]:
    for one in values:
        if isinstance(one, list | tuple):
            yield from _leaves(one)
        else:
            yield one


def _is_unknown(value: Any) -> bool:
    return isinstance(value, Tensor) and value.value is None


def _values(value: Any) -> Any:
    """Arrays in place of tensors."""
    if isinstance(value, Tensor):
        return np.asarray(value)
    if type(value) in (list, tuple):
        return type(value)(_values(one) for one in value)
    return value
