"""Primitives at once: how one is computed, settled once for its parameters and types.

What stands in the way of a small operation is all that surrounds it: a type rule, parameters,
warnings of NumPy that are switched off. A *kind* is a primitive with its parameters on inputs of
certain types; what follows from these is found once and kept with it:

    kind = kind_of(add, {}, arrays)      # looked up by shapes and dtypes
    kind.type                            # what the type rule says
    kind.compute(*arrays)                # the value

`mynn.core.interpreter.apply` is the meaning; a kind computes the same bits.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.core.primitive import Primitive
from mynn.core.types import Array, Tuple, Type

# So many kinds are kept; then all are forgotten.
MOST = 4096


class Kind:
    """A primitive with its parameters, on inputs of certain types.

    - `type`: the type of the value.
    - `compute(*arrays)`: the value; run it through `quietly`, but for views.
    - `backs`: programs of its rule, by which inputs get a cotangent
      (`mynn.tensor.gradients.cotangents`); `rules`: the same with a history
      (`mynn.tensor.gradients.rules`).
    """

    __slots__ = ("backs", "compute", "params", "primitive", "rules", "type", "types")

    def __init__(
        self, primitive: Primitive, params: Mapping[str, Any], types: tuple[Type, ...]
    ) -> None:
        self.primitive = primitive
        self.params = params
        self.types = types
        self.type = primitive.infer(*types, **params)
        self.compute = computing(primitive, params, self.type)
        self.backs: dict[int, Any] = {}
        self.rules: dict[int, Any] = {}


def computing(primitive: Primitive, params: Mapping[str, Any], type: Type) -> Callable[..., Any]:
    """What gives the value of a primitive, which has this type, from arrays."""
    function = primitive.numpy
    if primitive.bound is not None and type.shape:
        made: Callable[..., Any] = primitive.bound(type, **params)
        return made
    if isinstance(function, np.ufunc) and not params:
        if type.shape:
            return function
        return lambda *arrays: np.asarray(function(*arrays))
    if primitive.view:
        return lambda *arrays: np.asarray(function(*arrays, **params))
    if isinstance(type, Tuple):
        return lambda *arrays: function(*arrays, **params)
    dtype = type.dtype

    def compute(*arrays: Array) -> Array:
        value = np.asarray(function(*arrays, **params))
        return value if value.dtype == dtype else value.astype(dtype)

    return compute


_kinds: dict[Any, Kind | None] = {}


def kind_of(
    primitive: Primitive, params: Mapping[str, Any], types: Sequence[Array | Type]
) -> Kind | None:
    """The kind of a primitive on arrays, or on values of these types; None where its parameters are
    no plain values.

    Raises:
        ShapeError, DTypeError: the types do not fit the primitive.
    """
    key: list[Any] = [primitive]
    for one in types:
        key += (one.shape, one.dtype)
    for name, value in params.items():
        if type(value) is float:  # 0.0 and -0.0 are equal
            key += (name, value.hex())
        else:
            key += (name, type(value), value)
    whole = tuple(key)
    try:
        return _kinds[whole]
    except KeyError:
        pass
    except TypeError:  # a parameter that has no hash
        return None
    found = None
    if all(map(_is_plain, params.values())):
        own = tuple([Type(one.shape, one.dtype) for one in types])
        found = Kind(primitive, dict(params), own)
    if len(_kinds) >= MOST:
        _kinds.clear()
    _kinds[whole] = found
    return found


def _is_plain(value: Any) -> bool:
    """Whether equal values of its type mean the same."""
    if type(value) is tuple:
        return all(type(one) is not float and _is_plain(one) for one in value)
    return value is None or type(value) in (int, float, bool, str) or isinstance(value, np.dtype)


# -- without NumPy's warnings ----------------------------------------------------------------------


class _Quiet(threading.local):
    """`run(function, *arrays)` calls it where NumPy does not warn."""

    def __init__(self) -> None:
        self.run: Callable[..., Any] = _with_errstate
        if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
            # The state is a context variable: entering a context takes less than setting it.
            context = contextvars.Context()
            context.run(np.errstate(all="ignore").__enter__)
            self.run = context.run


def _with_errstate(function: Callable[..., Any], *arrays: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(*arrays)


_quiet = _Quiet()


def quietly(function: Callable[..., Any], *arrays: Any) -> Any:
    """What `function` of NumPy arrays gives, which calls nothing of the user's."""
    try:
        return _quiet.run(function, *arrays)
    except RuntimeError as error:
        if "cannot enter context" not in str(error):
            raise
    # A signal handler, which runs in the midst of another call.
    return _with_errstate(function, *arrays)


__all__ = ["Kind", "computing", "kind_of", "quietly"]
