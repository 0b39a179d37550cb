"""`grad` and `value_and_grad`: derivatives of functions, as functions.

They work on arrays and tensors, eagerly and inside traced functions, and nest: `grad(grad(f))` is
the second derivative.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import run_at_once
from mynn.base.structure import rebuild
from mynn.errors import UsageError
from mynn.tensor import Tensor, as_tensor
from mynn.transform.called import ArgNums, Called, ends, positions_of


@explained
def grad(
    func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The gradient of a scalar function with respect to one or more of its arguments.

    grad(f)(x)[i] = d f(x) / d x[i]

    Args:
        func: takes arrays or tensors (others are passed through), returns a tensor of one element.
            It sees tensors where a gradient is asked for.
        argnums: the position of the argument to differentiate by, or a tuple of positions. The
            argument may be nested tuples, lists and dicts of arrays and tensors.
        has_aux: whether the function returns a tuple (value, aux), of which the second is passed
            on.

    Returns:
        A function of the same arguments. It returns a tensor of the shape and dtype of the chosen
        argument, nested as that is, or a tuple of them for a tuple of positions; zeros where f does
        not depend on it. With `has_aux` it returns (gradient, aux).

    Raises:
        ArgumentError: a position is out of range or given twice.
        DTypeError: a chosen argument does not hold floats.
        UsageError: the function does not return a tensor of one element.

    Example:
        >>> from mynn import grad
        >>> cube = lambda x: (x * x * x).sum()
        >>> grad(cube)(2.0).item(), grad(grad(cube))(2.0).item()
        (12.0, 12.0)

    Source: Griewank, Walther, "Evaluating Derivatives", 2nd edition, SIAM 2008, chapter 3.2.
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        slopes, value = both(*args, **kwargs)
        return (slopes, value[1]) if has_aux else slopes

    return gradient


@explained
def value_and_grad(
    func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """The value of a scalar function together with its gradient; see `grad`.

    With `has_aux` the value is (value, aux).

    Example:
        >>> from mynn import value_and_grad
        >>> value, slope = value_and_grad(lambda x: (x * x).sum())([1.0, 2.0])
        >>> value.item(), slope.tolist()
        (5.0, [2.0, 4.0])
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func, updated=())
    def value_first(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        slopes, value = both(*args, **kwargs)
        return value, slopes

    return value_first


@explained
def grad_and_value(
    func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """The gradient of a scalar function together with its value; see `grad`.

    With `has_aux` it is (gradient, (value, aux)).

    Example:
        >>> from mynn.func import grad_and_value
        >>> slope, value = grad_and_value(lambda x: (x * x).sum())([1.0, 2.0])
        >>> slope.tolist(), value.item()
        ([2.0, 4.0], 5.0)
    """

    @functools.wraps(func, updated=())
    @run_at_once
    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        chosen = positions_of("grad", argnums, len(args))
        called = Called("grad", func, args, kwargs, chosen, has_aux)
        value = _checked_value(called.returned)
        again = called.again([value])
        seed = as_tensor(np.ones(value.shape, value.dtype))
        slopes = called.slopes(ends([value]), [seed], called.nodes, again)
        gradients = rebuild(called.arguments, iter(slopes))
        value = value if again else value.detach()
        result = (value, called.released(called.aux)) if has_aux else value
        return (gradients if isinstance(argnums, tuple) else gradients[0]), result

    return both


def _checked_value(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise UsageError(
            f"grad: the function must return a tensor of one element, it returned "
            f"{type(value).__name__}"
        )
    if value.numel() != 1 or value.dtype.kind != "f":
        raise UsageError(
            f"grad: the function must return a float of one element, it returned {value.spec}; "
            "reduce it first, for example with .sum() or .mean()"
        )
    return value
